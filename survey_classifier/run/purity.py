"""Purity and completeness of a cut in a catalog's ``p_member``, per magnitude and region.

Owns the reading of the catalog and the groups. Does not own the figures (``membership.purity``) nor
the table of results (``purity_table``).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from survey_classifier.catalog.read import column_names
from survey_classifier.catalog.rewrite import read_row_groups
from survey_classifier.errors import ConfigError, RunError, SourcesError
from survey_classifier.membership.purity import measured, selection
from survey_classifier.problems import nearest_name
from survey_classifier.run.purity_table import Group, PurityTable, require_suffix
from survey_classifier.run.reweigh import catalog_of
from survey_classifier.run.truth import Truth
from survey_classifier.sources.formats import read_table
from survey_classifier.sources.wider import table_columns
from survey_classifier.words import counted

__all__ = ["GROUPINGS", "check_table", "purity"]

Columns = Mapping[str, npt.NDArray[Any]]

GROUPINGS = ("magnitude", "region")
UNKNOWN = "unknown"
ALL = "all"
NO_MAGNITUDE = 999
"""Sorts after all that there are."""
_REDSHIFT = "llr_redshift"
_MAGNITUDES = ("r0", "mag_r")


def check_table(path: Path, where: Path, *others: Path) -> None:
    """Refuse a file that no table can be written to, before any work is done.

    Parameters
    ----------
    path
        The file.
    where
        As for `purity`.
    others
        What else is read.

    Raises
    ------
    ConfigError
        If the suffix is of no table, or the file is one that is read.
    """
    require_suffix(path)
    for read in (catalog_of(where), *others):
        if path.exists() and read.exists() and path.samefile(read):
            raise ConfigError(f"cannot write {path}, which is read; give another name")


def purity(
    where: Path, cut: float, by: Sequence[str] = (), truth: Truth | None = None
) -> PurityTable:
    """Return what a cut in ``p_member`` selects.

    Parameters
    ----------
    where
        Output folder of a run, its catalog, or a table with ``p_member``.
    cut
        Least probability that is selected.
    by
        What groups are made by: ``magnitude`` (bins of 1 mag in r), ``region`` (of color).
    truth
        What is compared with, by ``source_id``.

    Raises
    ------
    InputError
        If there is no such catalog, a column is missing, there is no such grouping, or the truth
        names no source that has a ``p_member``.
    """
    for name in by:
        if name not in GROUPINGS:
            raise ConfigError(f"no groups by {name!r}; {nearest_name(name, set(GROUPINGS))}")
    path = catalog_of(where)
    found = _Sources.read(path, by, truth)
    known = np.isfinite(found.p)
    if not known.any():
        raise RunError(f"no source of {path} has a p_member: nothing can be selected")
    groups = [found.group(ALL, ALL, np.ones(len(known), np.bool_), cut)]
    if by:
        # Bins of both, the bright ones first and those that are unknown last.
        cells = np.unique(np.stack([found.magnitude, found.region])[:, known], axis=1).T
        for magnitude, region in cells:
            rows = (found.magnitude == magnitude) & (found.region == region)
            groups.append(found.group(*found.names(magnitude, region, by), rows, cut))
    notes = () if truth is None else tuple(_notes(found, truth, path))
    return PurityTable(cut, tuple(groups), int((~known).sum()), notes)


def _notes(found: "_Sources", truth: Truth, path: Path) -> Iterator[str]:
    """Yield what is to be known of a comparison; raise if nothing is compared."""
    told = found.member >= 0
    compared = told & np.isfinite(found.p)
    n = len(truth.members)
    if not compared.any():
        raise SourcesError(
            f"none of the {counted(n, 'source')} of known class has a p_member in {path}, of which "
            f"{int(told.sum())} are there; see that --truth-columns names the same source_id"
        )
    yield (
        f"{counted(n, 'source')} of known class = {int(compared.sum())} compared + "
        f"{int((told & ~compared).sum())} without a p_member + {n - int(told.sum())} not there"
    )
    n_redshift = int((compared & found.has_redshift).sum())
    if n_redshift:
        yield (
            f"p_member holds the redshifts of {n_redshift} of these: where their classes are those "
            "of spectra that is circular; reweigh --without redshift first"
        )


@dataclass(frozen=True, slots=True)
class _Sources:
    """What is read of n sources; arrays of shape ``(n,)``."""

    p: npt.NDArray[np.float32]
    magnitude: npt.NDArray[np.int16]
    """Whole magnitudes, `NO_MAGNITUDE` = unknown; all 0 if groups are not by magnitude."""
    region: npt.NDArray[np.int16]
    """Place in ``regions``; all 0 if groups are not by region."""
    member: npt.NDArray[np.int16]
    """1 member, 0 not, -1 unknown."""
    has_redshift: npt.NDArray[np.bool_]
    """Whether ``p_member`` holds one, as far as there is a truth and the table tells."""
    regions: tuple[str, ...]
    has_truth: bool

    @classmethod
    def read(cls, path: Path, by: Sequence[str], truth: Truth | None) -> "_Sources":
        """Read the columns that are needed, some rows at a time, and keep only what is."""
        is_parquet = path.suffix == ".parquet"
        names = column_names(path) if is_parquet else table_columns(path)
        r0 = next((name for name in _MAGNITUDES if name in names), None)
        wanted = ["p_member"] + (["source_id"] if truth is not None else [])
        has_redshift = truth is not None and _REDSHIFT in names
        wanted += [_REDSHIFT] if has_redshift else []
        wanted += ["color_region"] if "region" in by else []
        if "magnitude" in by and r0 is None:
            raise SourcesError(f"{path} has no column r0 or mag_r: leave out --by magnitude")
        wanted += [r0] if r0 is not None and "magnitude" in by else []
        missing = [name for name in wanted if name not in names]
        if missing:
            raise SourcesError(
                f"{path} has no column {missing[0]!r}: {nearest_name(missing[0], set(names))}"
            )
        regions: dict[str, int] = {}
        parts = []
        for columns in read_row_groups(path, wanted) if is_parquet else _whole(path, wanted):
            p = columns["p_member"].astype(np.float32)
            none = np.zeros(len(p), dtype=np.int16)
            magnitude = _whole_magnitudes(columns[str(r0)]) if "magnitude" in by else none
            region = _coded(columns["color_region"], regions) if "region" in by else none
            member = none if truth is None else _labels(columns["source_id"], truth)
            held = np.isfinite(columns[_REDSHIFT]) if has_redshift else none > 0
            parts.append((p, magnitude, region, member, held))
        if not parts:
            raise RunError(f"{path} has no rows: nothing can be selected")
        p, magnitude, region, member, held = (
            np.concatenate(arrays) for arrays in zip(*parts, strict=True)
        )
        return cls(p, magnitude, region, member, held, tuple(regions), truth is not None)

    def names(self, magnitude: int, region: int, by: Sequence[str]) -> tuple[str, str]:
        """Return what a bin is called."""
        mag = UNKNOWN if magnitude == NO_MAGNITUDE else f"{magnitude} to {magnitude + 1}"
        color = self.regions[region] if "region" in by else ALL
        return mag if "magnitude" in by else ALL, color or UNKNOWN

    def group(self, magnitude: str, region: str, rows: npt.NDArray[np.bool_], cut: float) -> Group:
        """Return the figures of some of the sources."""
        p = self.p[rows].astype(np.float64)
        seen = None
        if self.has_truth:
            told = self.member[rows] >= 0
            seen = measured(p[told], self.member[rows][told] == 1, cut)
        return Group(magnitude, region, selection(p, cut), seen)


def _whole(path: Path, names: Sequence[str]) -> Iterator[Columns]:
    """Yield the columns of a table that is no Parquet file."""
    table = read_table(path, names)
    text = ("source_id", "color_region")
    yield {name: table.text(name) if name in text else table.numbers(name) for name in names}


def _whole_magnitudes(r0: npt.NDArray[Any]) -> npt.NDArray[np.int16]:
    known = np.isfinite(r0)
    return np.where(known, np.floor(np.where(known, r0, 0)), NO_MAGNITUDE).astype(np.int16)


def _coded(texts: npt.NDArray[Any], codes: dict[str, int]) -> npt.NDArray[np.int16]:
    """Return texts as numbers, new ones in the order in which they turn up."""
    unique, place = np.unique(texts.astype(str), return_inverse=True)
    numbers = [codes.setdefault(str(text), len(codes)) for text in unique]
    return np.array(numbers, dtype=np.int16)[place]


def _labels(source_ids: npt.NDArray[Any], truth: Truth) -> npt.NDArray[np.int16]:
    label = (truth.members.get(str(name)) for name in source_ids)
    return np.array([-1 if known is None else int(known) for known in label], dtype=np.int16)
