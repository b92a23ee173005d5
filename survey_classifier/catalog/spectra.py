"""The file of a radial spectroscopic search: its columns, and writing it.

Owns what users see of such a sample. Does not own the search (``membership.radial``), nor the
catalog of a run (``schema``).
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from survey_classifier.catalog.column import Column, Values
from survey_classifier.catalog.columns import redshift_columns
from survey_classifier.catalog.detections import write_detections
from survey_classifier.errors import CatalogError
from survey_classifier.files import replacing

__all__ = ["SUFFIXES", "spectra_columns", "write_spectra"]

SUFFIXES = (".parquet", ".csv")
_OF_CATALOG = ("z", "z_err", "z_warning", "spec_class", "z_source", "z_class", "dynamic_member")


def spectra_columns() -> tuple[Column, ...]:
    """Return the columns of a sample of objects with spectra, in order."""
    shared = {column.name: column for column in redshift_columns()}
    return (
        Column("source_id", "string", "", "meta.id;meta.main", "Unique name, as in its table"),
        Column("ra", "float64", "deg", "pos.eq.ra;meta.main", "Right ascension (ICRS)", (0, 360)),
        Column("dec", "float64", "deg", "pos.eq.dec;meta.main", "Declination (ICRS)", (-90, 90)),
        *(shared[name] for name in _OF_CATALOG),
        Column("ambiguous_lowz", "int16", "", "meta.code;src.redshift",
               "1 if z is in the window of stars, but spectrum or speed are those of a galaxy",
               (0, 1)),
        Column("radius_deg", "float64", "deg", "pos.angDistance", "Distance from the center",
               (0, 180)),
        Column("label", "string", "", "meta.code.class",
               "z_class; but of an ambiguous_lowz object cluster if it is a dynamic_member, else "
               "empty"),
    )  # fmt: skip


def write_spectra(
    path: Path, values: Mapping[str, Values], parameters: Mapping[str, str], digest: str
) -> None:
    """Write a sample of objects with spectra; it appears complete or not at all.

    Parameters
    ----------
    path
        The file, Parquet or CSV by its suffix; one that is there is replaced, its folder is made.
        In CSV an unknown number is an empty cell.
    values
        The columns of `spectra_columns`, shape ``(n,)`` each.
    parameters
        What a Parquet file says of where its rows come from.
    digest
        SHA-256 over all that changes the sample.

    Raises
    ------
    CatalogError
        If the suffix is of another format, a value may not be published, or the file cannot be
        written.
    """
    if path.suffix not in SUFFIXES:
        raise CatalogError(f"cannot write {path}: give a name that ends in {' or '.join(SUFFIXES)}")
    columns = spectra_columns()
    if path.suffix == ".parquet":
        write_detections(path, columns, values, parameters, digest)
        return
    ids = values["source_id"]
    cells = {column.name: column.convert(values[column.name], ids) for column in columns}
    table = pa.table(
        {
            name: pa.array(column, mask=np.isnan(column) if column.dtype.kind == "f" else None)
            for name, column in cells.items()
        }
    )
    try:
        with replacing(path) as temporary:
            pa_csv.write_csv(table, temporary)
    except OSError as error:
        raise CatalogError(f"cannot write {path}: {error}; free or choose another place") from error
