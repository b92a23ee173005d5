"""Reading a catalog back: some of its columns, and the run that it says it comes from.

Owns the way from a catalog file to arrays. Does not own the file's layout (``parts``) nor its
footer (``footer``).
"""

import json
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from survey_classifier.catalog.footer import PROVENANCE_KEY, Provenance
from survey_classifier.errors import CatalogError
from survey_classifier.problems import nearest_name

__all__ = ["column_names", "read_columns", "read_provenance", "read_rows"]

N_NEIGHBORS = 500
"""Identifiers that an unknown one is held against, before and after it in their sorted order."""


def column_names(path: Path) -> tuple[str, ...]:
    """Return the names of a catalog's columns, in order.

    Raises
    ------
    CatalogError
        If the file cannot be read.
    """
    with _opened(path) as file:
        return tuple(file.schema_arrow.names)


def read_columns(path: Path, names: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
    """Return some columns of a catalog, each of shape ``(n,)``; strings as objects.

    Parameters
    ----------
    path
        A catalog or a part of one.
    names
        The columns; no others are read from disk.

    Raises
    ------
    CatalogError
        If the file cannot be read, or has no such column.
    """
    with _opened(path) as file:
        missing = [name for name in names if name not in file.schema_arrow.names]
        if missing:
            known = ", ".join(file.schema_arrow.names)
            raise CatalogError(f"{path} has no column {missing[0]!r}; it has {known}")
        table = file.read(columns=list(names))
        return {name: np.asarray(table[name].to_numpy()) for name in names}


def read_rows(path: Path, source_ids: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rows of some sources, in the order asked for, each from column name to value.

    Parameters
    ----------
    path
        A catalog.
    source_ids
        Identifiers; of the other rows nothing else is read.

    Raises
    ------
    CatalogError
        If the file cannot be read, or has no such source; names the nearest.
    """
    wanted = pa.array(source_ids, pa.string())
    found: dict[str, dict[str, Any]] = {}
    with _opened(path) as file:
        for number in range(file.num_row_groups):
            names = file.read_row_group(number, columns=["source_id"])["source_id"]
            here = pc.is_in(names, value_set=wanted)
            if pc.any(here).as_py():
                rows = file.read_row_group(number).filter(here).to_pylist()
                found |= {row["source_id"]: row for row in rows}
    missing = next((name for name in source_ids if name not in found), None)
    if missing is not None:
        known = sorted(read_columns(path, ["source_id"])["source_id"].tolist())
        place = bisect_left(known, missing)
        near = set(known[max(place - N_NEIGHBORS, 0) : place + N_NEIGHBORS])
        raise CatalogError(f"{path} has no source {missing!r}; {nearest_name(missing, near)}")
    return [found[name] for name in source_ids]


def read_provenance(path: Path) -> Provenance:
    """Return the run that wrote a catalog, as its footer tells.

    Raises
    ------
    CatalogError
        If the file cannot be read, or says nothing of a run of ours.
    """
    with _opened(path) as file:
        pairs = file.metadata.metadata or {}
    try:
        return Provenance(**json.loads(pairs[PROVENANCE_KEY.encode()]))
    except (KeyError, ValueError, TypeError) as error:
        raise CatalogError(
            f"{path} does not tell its run; it was not written by survey_classifier"
        ) from error


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    """Open a catalog file, and say in our words what is wrong with it."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            yield file
    except (OSError, pa.ArrowException) as error:
        raise CatalogError(
            f"{path} cannot be read as Parquet ({error}); publish the run again"
        ) from error
