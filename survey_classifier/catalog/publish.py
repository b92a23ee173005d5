"""One catalog file from the parts of a run, with every source in it exactly once.

Owns the joining and the roll call. Does not own the writing of a file (``parts``) nor the order
of the tiles (``run.plan``).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from survey_classifier.catalog.footer import Provenance
from survey_classifier.catalog.parts import check_fingerprint, new_catalog
from survey_classifier.catalog.schema import CatalogSchema
from survey_classifier.errors import CatalogError, LostSourcesError

__all__ = ["PublishResult", "publish_catalog"]

_N_NAMED = 5


@dataclass(frozen=True, slots=True)
class PublishResult:
    """What a published catalog holds."""

    n_rows: int
    """Number of rows, one for each source."""
    n_by_status: Mapping[str, int]
    """Number of rows of each status that occurs, the most frequent first."""


def publish_catalog(
    parts: Sequence[Path],
    target: Path,
    schema: CatalogSchema,
    provenance: Provenance,
    expected_ids: Iterable[str],
) -> PublishResult:
    """Join parts to one catalog, in the given order.

    Holds one part and one row group of the target at a time, besides the identifiers.

    Parameters
    ----------
    parts
        The run's parts.
    target
        The catalog; it is replaced when the new one is complete, and untouched before.
    schema
        Columns of the parts.
    provenance
        The run's; parts with another fingerprint are refused.
    expected_ids
        Identifier of each source of the input, in any order.

    Raises
    ------
    LostSourcesError
        If any source of the input is not in exactly one row, or a row is of no such source.
    RunMismatchError
        If a part belongs to another run.
    CatalogError
        If a part cannot be read, or the target cannot be written.
    """
    roll = _RollCall(expected_ids)
    n_by_status: Counter[str] = Counter()
    with new_catalog(target, schema, provenance) as catalog:
        for part in parts:
            rows = _read_part(part, provenance.fingerprint)
            roll.call(rows["source_id"].to_pylist())
            n_by_status.update(rows["status"].to_pylist())
            catalog.append(rows)
        roll.close(target)
    return PublishResult(catalog.n_rows, dict(n_by_status.most_common()))


def _read_part(path: Path, fingerprint: str) -> pa.Table:
    """Return the rows of a part of this run."""
    check_fingerprint(path, fingerprint)
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            return file.read()
    except (OSError, pa.ArrowException) as error:
        raise CatalogError(
            f"{path} is damaged ({error}); look at the disk, remove the file and run again"
        ) from error


class _RollCall:
    """Counts how often each expected source turns up."""

    def __init__(self, expected_ids: Iterable[str]) -> None:
        self._times = dict.fromkeys(expected_ids, 0)
        self._unknown: list[str] = []

    def call(self, source_ids: Iterable[str]) -> None:
        """Tick the sources of some rows."""
        for source_id in source_ids:
            if source_id in self._times:
                self._times[source_id] += 1
            else:
                self._unknown.append(source_id)

    def close(self, target: Path) -> None:
        """Raise unless every source turned up once and nobody else did."""
        missing = [source_id for source_id, times in self._times.items() if times == 0]
        double = [source_id for source_id, times in self._times.items() if times > 1]
        if missing or double or self._unknown:
            raise LostSourcesError(
                f"{target} is not published: of {len(self._times)} sources {_some(missing)} are in "
                f"no part and {_some(double)} in several rows, and {_some(self._unknown)} rows are "
                "of no source; remove the folder of parts and run again"
            )


def _some(source_ids: Sequence[str]) -> str:
    """Return how many there are, and the first of them."""
    if not source_ids:
        return "0"
    named = ", ".join(map(repr, islice(source_ids, _N_NAMED)))
    return f"{len(source_ids)} ({named}{', ...' if len(source_ids) > _N_NAMED else ''})"
