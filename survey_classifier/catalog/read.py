"""Reading a catalog back: some of its columns, and the run that it says it comes from.

Owns the way from a catalog file to arrays. Does not own the file's layout (``parts``) nor its
footer (``footer``).
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from survey_classifier.catalog.footer import PROVENANCE_KEY, Provenance
from survey_classifier.errors import CatalogError

__all__ = ["column_names", "read_columns", "read_provenance"]


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
