"""A table file with more columns: the user's as they stand in it, and new ones after them.

Owns which columns a table file has, and writing them with others. Does not own the reading of
cells (``formats``) nor what the new columns are.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from astropy.table import Table
from astropy.utils.exceptions import AstropyWarning

from survey_classifier.errors import SourcesError
from survey_classifier.files import replacing
from survey_classifier.sources.formats import read_table

__all__ = ["SUFFIXES", "table_columns", "widen_table"]

SUFFIXES = (".csv", ".parquet")
"""Of tables that can be written."""
_WHOLE = r"^-?(?:0|[1-9]\d{0,18})$"
_REAL = r"^-?(?:0|[1-9]\d{0,14})(?:\.\d*)?(?:[eE][+-]?\d{1,3})?$"
"""Numbers as programs write them: no leading zeros, and not more digits than a float64 has."""


def table_columns(path: Path) -> tuple[str, ...]:
    """Return the names of a table's columns, in order.

    Raises
    ------
    SourcesError
        If it cannot be read.
    """
    if not path.is_file():
        raise SourcesError(f"there is no table {path}: check the path")
    try:
        with path.open("rb") as file:
            head = file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
        if head.startswith(b"PAR1"):
            return tuple(pq.read_schema(path).names)
        if head.startswith((b"SIMPLE  =", b"<?xml", b"<VOTABLE")):
            kind = "fits" if head.startswith(b"SIMPLE") else "votable"
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", AstropyWarning)
                return tuple(Table.read(path, format=kind).colnames)
        with pa_csv.open_csv(path) as reader:
            return tuple(reader.schema.names)
    except (OSError, ValueError, TypeError, KeyError, pa.ArrowException) as error:
        reason = str(error).strip().split("\n")[0]
        raise SourcesError(f"cannot read the table {path}: {reason}") from error


def widen_table(
    source: Path,
    target: Path,
    new: Mapping[str, npt.NDArray[Any]],
    footer: Mapping[str, str] | None = None,
) -> None:
    """Write a table with more columns; one that has the name of a new one gives way to it.

    Cells of a CSV file stay the text that they are; in a Parquet file a column of them becomes
    numbers where nothing is lost by that, so that an id such as 007 stays as it is.

    Parameters
    ----------
    source
        A CSV, FITS, VOTable or Parquet file.
    target
        The new table, CSV or Parquet by its suffix; one that is there is replaced.
    new
        Column to numbers or texts, shape (n,); a text may be None.
    footer
        What a Parquet file says of where its rows come from.

    Raises
    ------
    SourcesError
        If the table cannot be read or written, or the suffix is of another format.
    """
    if target.suffix not in SUFFIXES:
        raise SourcesError(f"cannot write {target}: give a name that ends in .csv or .parquet")
    names = [name for name in table_columns(source) if name not in new]
    data = read_table(source, names).data.select(names)
    if target.suffix == ".parquet":
        data = _with_numbers(data)
    for name, values in new.items():
        column = pa.array(values)
        # A column of texts that are all unknown.
        column = column.cast(pa.string()) if pa.types.is_null(column.type) else column
        data = data.append_column(name, column)
    try:
        with replacing(target) as temporary:
            if target.suffix == ".csv":
                pa_csv.write_csv(_with_empty_cells(data), temporary)
            else:
                said = data.replace_schema_metadata(footer)
                pq.write_table(said, temporary, compression="zstd")
    except OSError as error:
        raise SourcesError(f"cannot write {target}: {error}; choose another place") from error


def _with_numbers(data: pa.Table) -> pa.Table:
    """Return a table whose text is numbers where all cells of a column are, or are empty."""
    for place, field in enumerate(data.schema):
        if not pa.types.is_string(field.type):
            continue
        text = data.column(place)
        for pattern, kind in ((_WHOLE, pa.int64()), (_REAL, pa.float64())):
            is_empty = pc.equal(text, "") if kind == pa.float64() else pa.scalar(False)
            is_number = pc.or_(pc.match_substring_regex(text, pattern), is_empty)
            if not pc.all(is_number).as_py() or pc.all(is_empty).as_py():
                continue
            try:
                numbers = pc.if_else(is_empty, pa.scalar("nan"), text).cast(kind)
            except pa.ArrowInvalid:  # whole numbers of more than 63 bits
                continue
            data = data.set_column(place, field.name, numbers)
            break
    return data


def _with_empty_cells(data: pa.Table) -> pa.Table:
    """Return a table whose unknown numbers are null: in CSV an empty cell."""
    for place, field in enumerate(data.schema):
        if pa.types.is_floating(field.type):
            values = np.asarray(data.column(place).to_numpy())
            column = pa.array(values, mask=np.isnan(values), type=field.type)
            data = data.set_column(place, field.name, column)
    return data
