"""Reading columns out of table files: CSV, FITS, VOTable and Parquet.

Owns the recognition of the format (by content, never by suffix) and the translation of foreign
errors. Does not own what the cells mean (``cells``), or what a source or a redshift is.

CSV cells stay text until somebody asks for numbers: an id of nineteen digits or one with leading
zeros would not survive a guess of its type.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn
from xml.parsers.expat import ExpatError

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from astropy.io import fits, votable
from astropy.table import meta as table_meta
from astropy.utils.exceptions import AstropyWarning

from survey_classifier.errors import SourcesError
from survey_classifier.problems import nearest_name
from survey_classifier.sources.cells import RawTable

__all__ = ["read_table", "table_columns"]

_SNIFF_BYTES = 4096
_VOPARQUET_CONTENT = b"IVOA.VOTable-Parquet.content"
_ASTROPY_META = b"table_meta_yaml"
_UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    pa.ArrowException,
    ExpatError,
    fits.VerifyError,
)


def read_table(path: Path, columns: Iterable[str], may_be_empty: bool = False) -> RawTable:
    """Read the named columns of a table file.

    Parameters
    ----------
    path
        A CSV file with a header line (comma, UTF-8), a FITS file (its first table), a VOTable
        (its first table) or a Parquet file.
    columns
        Names of the columns wanted; a name given twice is read once.
    may_be_empty
        Whether a table without rows is one, too.

    Raises
    ------
    SourcesError
        If the file is missing, unreadable, of another format or without rows, or if it has no
        such column (the nearest name is suggested).
    """
    wanted = list(dict.fromkeys(columns))
    with _readable(path):
        table = _reader(path)(path, wanted)
    if len(table) == 0 and not may_be_empty:
        raise SourcesError(f"the table {path} has no rows: give one with at least one object")
    return table


def table_columns(path: Path) -> tuple[str, ...]:
    """Return the names of a table file's columns, in order.

    Parameters
    ----------
    path
        As for `read_table`.

    Raises
    ------
    SourcesError
        If the file is missing, unreadable or of another format.
    """
    with _readable(path):
        return tuple(_NAMES[_reader(path)](path))


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Say in our words what is wrong with a table file."""
    if not path.is_file():
        raise SourcesError(f"there is no table {path}: check the path")
    try:
        with warnings.catch_warnings():
            # Odd names, units and version attributes are no concern of ours; what cannot be read
            # raises.
            warnings.simplefilter("ignore", AstropyWarning)
            yield
    except _UNREADABLE as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise SourcesError(
            f"cannot read the table {path}: {reason}; it must be an intact CSV, FITS, VOTable or "
            "Parquet file"
        ) from error


def _reader(path: Path) -> Callable[[Path, list[str]], RawTable]:
    with path.open("rb") as file:
        head = file.read(_SNIFF_BYTES)
    if head.startswith(b"PAR1"):
        return _read_parquet
    if head.startswith(b"SIMPLE  ="):
        return _read_fits
    if head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith((b"<?xml", b"<VOTABLE")):
        return _read_votable
    if not head.strip() or b"\0" in head:
        raise ValueError("it is empty" if not head.strip() else "it is of no known format")
    return _read_csv


def _read_csv(path: Path, wanted: list[str]) -> RawTable:
    _require(path, _csv_names(path), wanted)
    options = pa_csv.ConvertOptions(
        column_types={name: pa.string() for name in wanted},
        include_columns=wanted,
        strings_can_be_null=False,
    )
    parsing = pa_csv.ParseOptions(newlines_in_values=True)
    data = pa_csv.read_csv(path, convert_options=options, parse_options=parsing)
    return RawTable(path, data, {})


def _read_parquet(path: Path, wanted: list[str]) -> RawTable:
    with pq.ParquetFile(path) as file:
        _require(path, file.schema_arrow.names, wanted)
        data = file.read(columns=wanted).select(wanted)
        units = _parquet_units(file.metadata.metadata or {})
    for field in data.schema:
        if pa.types.is_nested(field.type):
            _refuse_vector(path, field.name)
    return RawTable(path, data.replace_schema_metadata(), units)


def _parquet_units(metadata: Mapping[bytes, bytes]) -> dict[str, str]:
    """Return the units that a VOParquet footer, or astropy's own note, states."""
    if _VOPARQUET_CONTENT in metadata:
        return _votable_units(metadata[_VOPARQUET_CONTENT])
    if _ASTROPY_META in metadata:
        header = table_meta.get_header_from_yaml(metadata[_ASTROPY_META].decode().split("\n"))
        return {str(c["name"]): str(c["unit"]) for c in header["datatype"] if c.get("unit")}
    return {}


def _votable_units(xml: bytes) -> dict[str, str]:
    table = votable.parse(pa.BufferReader(xml)).get_first_table()
    return {str(field.name): str(field.unit) for field in table.fields if field.unit}


def _read_fits(path: Path, wanted: list[str]) -> RawTable:
    with fits.open(path) as hdus:
        hdu = _first_table(hdus)
        _require(path, hdu.columns.names, wanted)
        arrays, units = {}, {}
        for name in wanted:
            column = hdu.columns[name]
            raw = np.asarray(hdu.data)[name]
            arrays[name] = _arrow(path, name, np.asarray(hdu.data[name]), _fits_null(column, raw))
            units[name] = str(column.unit or "")
    return RawTable(path, pa.table(arrays), units)


def _fits_null(column: fits.Column, raw: npt.NDArray[Any]) -> npt.NDArray[np.bool_] | None:
    """Return where a FITS column has no value: TNULL is a raw cell, before TSCAL and TZERO."""
    if column.null is None:
        return None
    if raw.dtype.kind == "S":  # an ASCII table
        return np.asarray(np.char.strip(raw) == str(column.null).strip().encode())
    return np.asarray(raw == column.null)


def _read_votable(path: Path, wanted: list[str]) -> RawTable:
    table = votable.parse(path).get_first_table().to_table(use_names_over_ids=True)
    _require(path, table.colnames, wanted)
    arrays, units = {}, {}
    for name in wanted:
        column = table[name]
        mask = np.ma.getmaskarray(column) if hasattr(column, "mask") else None
        arrays[name] = _arrow(path, name, np.asarray(column), mask)
        units[name] = str(column.unit or "")
    return RawTable(path, pa.table(arrays), units)


def _arrow(
    path: Path, name: str, values: npt.NDArray[Any], is_null: npt.NDArray[np.bool_] | None
) -> pa.Array:
    if values.ndim != 1:
        _refuse_vector(path, name)
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8")
    if values.dtype.kind == "U":
        values = values.astype(object)
    # Arrow takes native byte order only; FITS is big-endian.
    return pa.array(values.astype(values.dtype.newbyteorder("=")), mask=is_null)


def _require(path: Path, present: Iterable[str], wanted: Iterable[str]) -> None:
    names = list(present)
    for name in wanted:
        if names.count(name) > 1:
            raise SourcesError(f"the table {path} has several columns {name!r}: rename all but one")
        if name not in names:
            raise SourcesError(
                f"the table {path} has no column {name!r}: {nearest_name(name, set(names))}"
            )


def _refuse_vector(path: Path, name: str) -> NoReturn:
    raise SourcesError(
        f"column {name!r} of {path} holds several values a row: name a column with one value a row"
    )


def _csv_names(path: Path) -> list[str]:
    with pa_csv.open_csv(path) as reader:
        return list(reader.schema.names)


def _parquet_names(path: Path) -> list[str]:
    return list(pq.read_schema(path).names)


def _fits_names(path: Path) -> list[str]:
    with fits.open(path) as hdus:
        return list(_first_table(hdus).columns.names)


def _first_table(hdus: fits.HDUList) -> fits.BinTableHDU | fits.TableHDU:
    tables = [hdu for hdu in hdus if isinstance(hdu, fits.BinTableHDU | fits.TableHDU)]
    if not tables:
        raise ValueError("it is a FITS file without a table")
    return tables[0]


def _votable_names(path: Path) -> list[str]:
    return [str(field.name) for field in votable.parse(path).get_first_table().fields]


_NAMES: Mapping[Callable[[Path, list[str]], RawTable], Callable[[Path], list[str]]] = {
    _read_csv: _csv_names,
    _read_parquet: _parquet_names,
    _read_fits: _fits_names,
    _read_votable: _votable_names,
}
