"""Spectroscopic redshifts: one row an object, matched to sources by position.

Owns the table and the match on the sky. Does not own the reduction of repeated spectra
(``repeats``), nor say what a redshift means for membership (``membership.redshift``).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from survey_classifier.errors import SourcesError
from survey_classifier.settings import Settings
from survey_classifier.sources.cells import RawTable
from survey_classifier.sources.digest import Column, content_digest
from survey_classifier.sources.formats import read_table
from survey_classifier.sources.repeats import best_spectra, object_names
from survey_classifier.sources.sky import nearest_within, on_unit_sphere

__all__ = [
    "RedshiftColumns",
    "RedshiftMatch",
    "Redshifts",
    "match_redshifts",
    "read_redshifts",
]

_MAX_RADIUS_ARCSEC = 3600.0
# Beyond these no redshift was ever measured; -1, -9, -99, 99 are marks of a missing one.
_MIN_Z, _MAX_Z = -1.0, 20.0
_UNKNOWN_WARNING = -1


class RedshiftColumns(Settings):
    """Which columns of a table hold what: ``columns`` of ``[redshifts]`` in a run file.

    None where the table has no such column.
    """

    id: str = "object_id"
    """Name or number of the object; the spectra of one object share it (and their place)."""
    ra: str = "ra"
    """ICRS right ascension, degrees unless the file states another unit."""
    dec: str = "dec"
    """ICRS declination, degrees unless the file states another unit."""
    z: str = "z"
    """Heliocentric redshift."""
    z_err: str | None = None
    """Its uncertainty."""
    z_warning: str | None = None
    """Integer warning of the redshift pipeline, 0 = none."""
    spec_class: str | None = None
    """Class of the spectrum, such as GALAXY."""

    @property
    def names(self) -> tuple[str, ...]:
        """All columns of the file that are read."""
        optional = (self.z_err, self.z_warning, self.spec_class)
        return (self.id, self.ra, self.dec, self.z, *(name for name in optional if name))


@dataclass(frozen=True, slots=True, eq=False)
class Redshifts:
    """Redshifts of objects, each object once.

    Raises
    ------
    SourcesError
        If columns differ in length, ids are not unique, or a position or redshift is not finite.
    """

    object_id: npt.NDArray[np.object_]
    """Unique ``str``, shape (n,)."""
    ra_deg: npt.NDArray[np.float64]
    """ICRS right ascension in degrees, shape (n,)."""
    dec_deg: npt.NDArray[np.float64]
    """ICRS declination in degrees, shape (n,)."""
    z: npt.NDArray[np.float64]
    """Heliocentric redshift, shape (n,)."""
    z_err: npt.NDArray[np.float64]
    """Uncertainty of ``z``, shape (n,); NaN = unknown."""
    z_warning: npt.NDArray[np.int32]
    """Warning of the redshift pipeline, shape (n,); 0 = none, -1 = unknown."""
    spec_class: npt.NDArray[np.object_]
    """Class of the spectrum (``str``), shape (n,); '' = unknown."""

    def __post_init__(self) -> None:
        columns = (self.ra_deg, self.dec_deg, self.z, self.z_err, self.z_warning, self.spec_class)
        lengths = {len(column) for column in columns}
        if lengths != {len(self.object_id)}:
            raise SourcesError(
                f"redshift columns of lengths {sorted(lengths)} for {len(self.object_id)} ids: "
                "give one value an object"
            )
        if len(set(self.object_id)) != len(self.object_id):
            raise SourcesError(
                f"{len(self.object_id)} redshifts for {len(set(self.object_id))} object ids: "
                "keep one redshift an object"
            )
        finite = np.isfinite(self.ra_deg) & np.isfinite(self.dec_deg) & np.isfinite(self.z)
        if not finite.all():
            raise SourcesError(
                f"the redshift of object {self.object_id[~finite][0]!r} lacks its position or "
                "value: leave that object out"
            )

    def __len__(self) -> int:
        return len(self.object_id)

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over all content: ids, positions, redshifts, warnings, classes, order."""
        numbers: dict[str, Column] = {
            "ra": self.ra_deg,
            "dec": self.dec_deg,
            "z": self.z,
            "z_err": self.z_err,
            "z_warning": self.z_warning,
        }
        return content_digest([*self.object_id, *self.spec_class], numbers)


@dataclass(frozen=True, slots=True, eq=False)
class RedshiftMatch:
    """For each source the redshift nearest to it."""

    index: npt.NDArray[np.int64]
    """Row of the redshift, shape (n_source,); -1 = none within the radius."""
    separation_arcsec: npt.NDArray[np.float32]
    """Distance to it in arcsec, shape (n_source,); NaN = none."""
    ambiguous: npt.NDArray[np.bool_]
    """Shape (n_source,); see :func:`match_redshifts`."""


def read_redshifts(path: Path, columns: RedshiftColumns) -> Redshifts:
    """Read redshifts from a CSV, FITS, VOTable or Parquet file, one row an object.

    Spectra are of one object if they have the same id and lie within 2 arcsec of each other,
    directly or through others. An id that stands at several places, such as 0 or -9999 for "not
    in the photometric list", is no name of an object: the second place is called '0#2', and so
    on in the order of the file.

    Of several spectra of one object one is kept: first those with warning 0, then the smallest
    uncertainty (unknown last), then the order of the file. Rows without a position, or
    without a redshift (empty, or not in -1 < z < 20), are no spectra and are passed over; an
    uncertainty that is not positive is unknown. Objects come in the order of their first row.

    Parameters
    ----------
    path
        The table.
    columns
        Which of its columns to read.

    Raises
    ------
    SourcesError
        If the file can't be read, lacks a column, has an empty id or no usable redshift at all.
    """
    table = read_table(path, columns.names)
    spectra = _read_spectra(table, columns)
    usable = np.isfinite(spectra.z) & (spectra.z > _MIN_Z) & (spectra.z < _MAX_Z)
    usable &= np.isfinite(spectra.ra_deg) & np.isfinite(spectra.dec_deg)
    if not usable.any():
        raise SourcesError(
            f"none of the {len(table)} rows of {path} has a position and a redshift: "
            f"check the columns {columns.ra!r}, {columns.dec!r}, {columns.z!r}"
        )
    rows = np.flatnonzero(usable)
    object_id = object_names(spectra.object_id[rows], spectra.ra_deg[rows], spectra.dec_deg[rows])
    best = best_spectra(object_id, spectra.z_warning[rows], spectra.z_err[rows])
    return spectra.take(rows[best], object_id[best])


@dataclass(frozen=True, slots=True, eq=False)
class _Spectra:
    """The columns of :class:`Redshifts`, one row a spectrum, unchecked."""

    object_id: npt.NDArray[np.object_]
    ra_deg: npt.NDArray[np.float64]
    dec_deg: npt.NDArray[np.float64]
    z: npt.NDArray[np.float64]
    z_err: npt.NDArray[np.float64]
    z_warning: npt.NDArray[np.int32]
    spec_class: npt.NDArray[np.object_]

    def take(self, rows: npt.NDArray[np.int64], object_id: npt.NDArray[np.object_]) -> Redshifts:
        return Redshifts(
            object_id,
            self.ra_deg[rows],
            self.dec_deg[rows],
            self.z[rows],
            self.z_err[rows],
            self.z_warning[rows],
            self.spec_class[rows],
        )


def _read_spectra(table: RawTable, columns: RedshiftColumns) -> _Spectra:
    object_id = table.text(columns.id)
    if (object_id == "").any():
        row = int(np.flatnonzero(object_id == "")[0]) + 1
        raise SourcesError(f"row {row} of {table.path} has no {columns.id!r}: give it a name")
    unknown = np.full(len(table), np.nan)
    z_err = unknown if columns.z_err is None else table.numbers(columns.z_err)
    no_class = np.full(len(table), "", dtype=object)
    return _Spectra(
        object_id,
        _in_range(table, columns.ra, 0.0, np.nextafter(360.0, 0.0)),
        _in_range(table, columns.dec, -90.0, 90.0),
        table.numbers(columns.z),
        np.where(z_err > 0, z_err, np.nan),
        _warnings(table, columns.z_warning),
        no_class if columns.spec_class is None else table.text(columns.spec_class),
    )


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


def match_redshifts(
    sources_ra: npt.NDArray[np.float64],
    sources_dec: npt.NDArray[np.float64],
    redshifts: Redshifts,
    radius_arcsec: float,
) -> RedshiftMatch:
    """Match each source to the redshift nearest to it on the sky.

    A match is ambiguous when more than one redshift lies within the radius, or when its redshift
    is the nearest of several sources; all of these sources are marked.

    Parameters
    ----------
    sources_ra, sources_dec
        ICRS positions in degrees, shape (n,); a source with NaN matches nothing.
    redshifts
        The objects to match to.
    radius_arcsec
        Largest separation of a match in arcsec, inclusive; 0 < radius <= 3600.

    Raises
    ------
    SourcesError
        If the radius is outside that range.
    """
    if not 0 < radius_arcsec <= _MAX_RADIUS_ARCSEC:
        raise SourcesError(
            f"the match radius is {radius_arcsec} arcsec: give 0 < radius <= {_MAX_RADIUS_ARCSEC:g}"
        )
    n_source = len(sources_ra)
    index = np.full(n_source, -1, dtype=np.int64)
    separation = np.full(n_source, np.nan)
    ambiguous = np.zeros(n_source, dtype=np.bool_)
    located = np.flatnonzero(np.isfinite(sources_ra) & np.isfinite(sources_dec))
    if len(located) and len(redshifts):
        near, n_near, separation[located] = nearest_within(
            on_unit_sphere(sources_ra[located], sources_dec[located]),
            on_unit_sphere(redshifts.ra_deg, redshifts.dec_deg),
            radius_arcsec,
        )
        index[located] = near
        n_claims = np.bincount(near[near >= 0], minlength=len(redshifts))
        ambiguous[located] = (n_near > 1) | ((near >= 0) & (n_claims[near] > 1))
    return RedshiftMatch(index, separation.astype(np.float32), ambiguous)
