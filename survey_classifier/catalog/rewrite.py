"""A catalog with some of its columns made anew: row group by row group, the others as they are.

Owns the passing of rows from one file to the other, and the columns as a file describes them. Does
not own what the new values are.
"""

import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.io import votable

from survey_classifier.catalog.column import Column, DType
from survey_classifier.catalog.footer import CONTENT_KEY, Provenance
from survey_classifier.catalog.parts import new_catalog
from survey_classifier.catalog.schema import CatalogSchema
from survey_classifier.errors import CatalogError

__all__ = ["Columns", "read_row_groups", "read_schema", "rewrite_catalog"]

Columns = dict[str, npt.NDArray[Any]]
Change = Callable[[Columns], Mapping[str, npt.NDArray[Any]]]
AHEAD = 4
"""Row groups that are read and changed while one is written."""


def read_schema(path: Path) -> CatalogSchema:
    """Return the columns of a catalog, as its own footer describes them.

    Raises
    ------
    CatalogError
        If the file cannot be read, or does not describe its columns.
    """
    with _opened(path) as file:
        pairs, arrow = file.metadata.metadata or {}, file.schema_arrow
    try:
        described = votable.parse(io.BytesIO(pairs[CONTENT_KEY.encode()])).get_first_table()
    except (KeyError, ValueError, IndexError) as error:
        raise CatalogError(
            f"{path} does not describe its columns; it was not written by survey_classifier"
        ) from error
    columns = []
    for field, said in zip(arrow, described.fields, strict=True):
        unit = "" if said.unit is None else str(said.unit)
        columns.append(
            Column(field.name, _dtype(field), unit, said.ucd or "", said.description or "")
        )
    return CatalogSchema(tuple(columns))


def read_row_groups(path: Path, names: Iterable[str]) -> Iterator[Columns]:
    """Yield some columns of a catalog, row group by row group; those that it lacks are left out.

    Raises
    ------
    CatalogError
        If the file cannot be read.
    """
    with _opened(path) as file:
        wanted = [name for name in names if name in file.schema_arrow.names]
        for group in range(file.num_row_groups):
            yield _arrays(_read(path, file, group, wanted), wanted)


def rewrite_catalog(
    source: Path,
    target: Path,
    provenance: Provenance,
    names: Iterable[str],
    change: Change,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write a catalog again, with some columns made of others.

    Row groups are read and changed ahead of the writing, on threads of their own.

    Parameters
    ----------
    source
        A catalog.
    target
        The new one; one that is there is replaced when it is complete.
    provenance
        What the new one says of where its rows come from.
    names
        Columns that the change looks at; those that the catalog lacks are left out.
    change
        From these to columns of the catalog, each of shape ``(n,)``; called on several threads.
    progress
        Called with the row groups that are done and all.

    Returns
    -------
    int
        Number of rows.

    Raises
    ------
    CatalogError
        If a file cannot be read or written, or the change makes a column that there is not.
    """
    schema = read_schema(source)
    wanted = [name for name in names if name in schema.names]

    def changed(group: int) -> pa.Table:
        with _opened(source) as file:
            table = _read(source, file, group, list(schema.names))
        new = change(_arrays(table, wanted))
        return _with(table.cast(schema.arrow), new)

    with _opened(source) as file:
        groups = range(file.num_row_groups)
    with new_catalog(target, schema, provenance) as catalog, ThreadPoolExecutor(AHEAD) as pool:
        waiting = iter(groups)
        ahead = [pool.submit(changed, group) for group in islice(waiting, AHEAD)]
        for done in groups:
            table = ahead.pop(0).result()
            ahead += [pool.submit(changed, group) for group in islice(waiting, 1)]
            catalog.append(table)
            if progress is not None:
                progress(done + 1, len(groups))
    return catalog.n_rows


def _dtype(field: pa.Field) -> DType:
    """Return the type of a column; `Column` refuses what a catalog cannot hold."""
    if pa.types.is_string(field.type):
        return "string"
    return cast("DType", np.dtype(field.type.to_pandas_dtype()).name)


def _with(table: pa.Table, new: Mapping[str, npt.NDArray[Any]]) -> pa.Table:
    """Return rows with other values in some columns."""
    for name, values in new.items():
        place = table.schema.get_field_index(name)
        if place < 0:
            raise CatalogError(
                f"the catalog has no column {name!r}; it is of another version: classify again"
            )
        field = table.schema.field(place)
        with np.errstate(over="ignore"):
            stored = values.astype(field.type.to_pandas_dtype())
        if stored.dtype.kind == "f" and np.isinf(stored).any():
            raise CatalogError(f"column {name}: infinite in {int(np.isinf(stored).sum())} rows")
        table = table.set_column(place, field, pa.array(stored, type=field.type))
    return table


def _read(path: Path, file: pq.ParquetFile, group: int, names: list[str]) -> pa.Table:
    try:
        return file.read_row_group(group, columns=names, use_threads=False)
    except (OSError, pa.ArrowException) as error:
        raise CatalogError(f"{path} is damaged ({error}); look at the disk") from error


def _arrays(table: pa.Table, names: list[str]) -> Columns:
    return {name: np.asarray(table[name].to_numpy()) for name in names}


def _opened(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        raise CatalogError(f"{path} cannot be read as Parquet ({error})") from error
