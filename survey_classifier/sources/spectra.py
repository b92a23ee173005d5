"""Files of spectra: which columns hold what, and their rows as they stand in the file.

Owns the columns and the reading. Does not own the formats (``formats``), nor which rows are one
object (``redshifts``).
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy import constants
from astropy import units as u
from pydantic import model_validator

from survey_classifier.errors import SourcesError
from survey_classifier.settings import Settings
from survey_classifier.sources.cells import RawTable
from survey_classifier.sources.formats import read_table

__all__ = ["RedshiftColumns", "Rows", "is_spectrum", "read_spectra"]

# Beyond these no redshift was ever measured; -1, -9, -99, 99 are marks of a missing one.
_MIN_Z, _MAX_Z = -1.0, 20.0
_UNKNOWN_WARNING = -1
Rows = dict[str, npt.NDArray[Any]]
"""Columns by the names of the fields of ``redshifts.Redshifts``, shape (n,) each."""


class RedshiftColumns(Settings):
    """Which columns of a table hold what: ``columns`` of ``[redshifts]`` in a run file.

    None where the table has no such column. A table with ``source_id`` may lack the rest of what
    names and places an object: then ``id`` is that column too, and ``ra`` and ``dec`` are read
    only if they are given.
    """

    id: str = "object_id"
    """Name or number of the object; the spectra of one object share it (and their place)."""
    ra: str = "ra"
    """ICRS right ascension, degrees unless the file states another unit."""
    dec: str = "dec"
    """ICRS declination, degrees unless the file states another unit."""
    z: str = "z"
    """Heliocentric redshift; or the velocity cz, if the file states its unit."""
    z_err: str | None = None
    """Its uncertainty; likewise."""
    z_warning: str | None = None
    """Integer warning of the redshift pipeline, 0 = none."""
    spec_class: str | None = None
    """Class of the spectrum, such as GALAXY."""
    source_id: str | None = None
    """Name of the object in the source list, which it is joined by; a cell may be empty."""

    @model_validator(mode="after")
    def _place_or_none(self) -> "RedshiftColumns":
        if self.source_id is not None and len({"ra", "dec"} & self.model_fields_set) == 1:
            raise ValueError("give both ra and dec, or with source_id neither")
        return self

    @property
    def name(self) -> str:
        """The column that names the object."""
        return (
            self.id if self.source_id is None or "id" in self.model_fields_set else self.source_id
        )

    @property
    def has_place(self) -> bool:
        """Whether positions are read."""
        return self.source_id is None or "ra" in self.model_fields_set

    @property
    def names(self) -> tuple[str, ...]:
        """All columns of the file that are read."""
        place = (self.ra, self.dec) if self.has_place else ()
        optional = (self.z_err, self.z_warning, self.spec_class, self.source_id)
        return (self.name, *place, self.z, *(name for name in optional if name))


def read_spectra(path: Path, columns: RedshiftColumns, name: str) -> Rows:
    """Return the rows of a file of spectra; it may have none.

    What is unknown is NaN, in a warning -1 and in a text ''; so is an uncertainty that is not
    positive.

    Parameters
    ----------
    path
        A CSV, FITS, VOTable or Parquet file.
    columns
        Which of its columns to read.
    name
        What the table is called.

    Raises
    ------
    SourcesError
        If the file can't be read, lacks a column or has an empty id, a position off the sky or a
        warning that is none.
    """
    table = read_table(path, columns.names, may_be_empty=True)
    object_id = table.text(columns.name)
    if (object_id == "").any():
        row = int(np.flatnonzero(object_id == "")[0]) + 1
        raise SourcesError(f"row {row} of {table.path} has no {columns.name!r}: give it a name")
    n = len(table)
    unknown, nothing = np.full(n, np.nan), np.full(n, "", dtype=object)
    z_err = unknown if columns.z_err is None else _redshifts(table, columns.z_err)
    ra = dec = unknown
    if columns.has_place:
        ra = _in_range(table, columns.ra, 0.0, np.nextafter(360.0, 0.0))
        dec = _in_range(table, columns.dec, -90.0, 90.0)
    return {
        "object_id": object_id,
        "ra_deg": ra,
        "dec_deg": dec,
        "z": _redshifts(table, columns.z),
        "z_err": np.where(z_err > 0, z_err, np.nan),
        "z_warning": _warnings(table, columns.z_warning),
        "spec_class": nothing if columns.spec_class is None else table.text(columns.spec_class),
        "source_id": nothing if columns.source_id is None else table.text(columns.source_id),
        "z_source": np.full(n, name, dtype=object),
    }


def is_spectrum(rows: Rows) -> npt.NDArray[np.bool_]:
    """Return which rows have a redshift, and a position or a ``source_id``; shape (n,).

    Parameters
    ----------
    rows
        From `read_spectra`.
    """
    has_z = (rows["z"] > _MIN_Z) & (rows["z"] < _MAX_Z)
    has_place = np.isfinite(rows["ra_deg"]) & np.isfinite(rows["dec_deg"])
    return has_z & (has_place | (rows["source_id"] != ""))


def _in_range(table: RawTable, name: str, low: float, high: float) -> npt.NDArray[np.float64]:
    angle = table.angles_deg(name)
    outside = np.flatnonzero((angle < low) | (angle > high))
    if len(outside):
        row = int(outside[0])
        raise SourcesError(
            f"column {name!r} of {table.path}, row {row + 1}: {angle[row]} deg is not on the sky: "
            "give degrees in 0 <= ra < 360, -90 <= dec <= 90"
        )
    return angle


def _redshifts(table: RawTable, name: str) -> npt.NDArray[np.float64]:
    """Return redshifts, also from a column of velocities cz."""
    values = table.numbers(name)
    unit = u.Unit(table.units.get(name, ""), parse_strict="silent")
    if unit.is_equivalent(u.km / u.s):
        values = values * unit.to(u.km / u.s) / constants.c.to_value(u.km / u.s)
    return values


def _warnings(table: RawTable, name: str | None) -> npt.NDArray[np.int32]:
    if name is None:
        return np.full(len(table), _UNKNOWN_WARNING, dtype=np.int32)
    values = table.numbers(name)
    values = np.where(np.isnan(values), _UNKNOWN_WARNING, values)
    whole = (values == np.floor(values)) & (np.abs(values) < 2**31)
    if not whole.all():
        raise SourcesError(
            f"column {name!r} of {table.path} holds {values[~whole][0]}: "
            "redshift warnings are whole numbers of 32 bits"
        )
    return values.astype(np.int32)
