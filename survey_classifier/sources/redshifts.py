"""Spectroscopic redshifts: one row an object, matched to sources by position.

Owns the reduction of repeated spectra and the match on the sky. Does not say what a redshift
means for membership (``membership.redshift``).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.spatial import KDTree

from survey_classifier.errors import SourcesError
from survey_classifier.sources.formats import RawTable, read_table

__all__ = [
    "RedshiftColumns",
    "RedshiftMatch",
    "Redshifts",
    "match_redshifts",
    "read_redshifts",
]

_ARCSEC_RAD = np.pi / (180 * 3600)
_MAX_RADIUS_ARCSEC = 3600.0
# Beyond these no redshift was ever measured; -1, -9, -99, 99 are marks of a missing one.
_MIN_Z, _MAX_Z = -1.0, 20.0
_UNKNOWN_WARNING = -1


@dataclass(frozen=True, slots=True)
class RedshiftColumns:
    """Which columns of a table hold what; None where the table has no such column."""

    id: str
    """Name or number of the object; the spectra of one object share it."""
    ra: str
    """ICRS right ascension, degrees unless the file states another unit."""
    dec: str
    """ICRS declination, degrees unless the file states another unit."""
    z: str
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

    Of several spectra of one object (same id) one is kept: first those with warning 0, then the
    smallest uncertainty (unknown last), then the order of the file. Rows without a position, or
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
    return spectra.take(_best_rows(spectra, np.flatnonzero(usable)))


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

    def take(self, rows: npt.NDArray[np.int64]) -> Redshifts:
        return Redshifts(
            self.object_id[rows],
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


def _best_rows(spectra: _Spectra, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return one of ``rows`` for each object, objects in the order of their first row."""
    _, first, code = np.unique(
        spectra.object_id[rows].astype(str), return_index=True, return_inverse=True
    )
    z_err = np.nan_to_num(spectra.z_err[rows], nan=np.inf)
    warned = spectra.z_warning[rows] != 0
    by_rank = np.lexsort((rows, z_err, warned, first[code]))
    _, best = np.unique(first[code][by_rank], return_index=True)
    return rows[by_rank[best]]


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
        near, n_near, chord = _nearest(
            _unit_vectors(sources_ra[located], sources_dec[located]),
            _unit_vectors(redshifts.ra_deg, redshifts.dec_deg),
            radius_arcsec,
        )
        index[located] = near
        separation[located] = 2 * np.arcsin(chord / 2) / _ARCSEC_RAD
        n_claims = np.bincount(near[near >= 0], minlength=len(redshifts))
        ambiguous[located] = (n_near > 1) | ((near >= 0) & (n_claims[near] > 1))
    return RedshiftMatch(index, separation.astype(np.float32), ambiguous)


def _nearest(
    sources: npt.NDArray[np.float64], targets: npt.NDArray[np.float64], radius_arcsec: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return row (-1 = none), number within the radius (up to 2) and chord (NaN = none)."""
    # The tree leaves out points at its bound, the radius includes them.
    bound = np.nextafter(2 * np.sin(radius_arcsec * _ARCSEC_RAD / 2), 1.0)
    nearest_two = KDTree(targets).query(sources, k=[1, 2], distance_upper_bound=bound)
    chords, rows = (np.asarray(column) for column in nearest_two)  # each (n_source, 2)
    found = np.isfinite(chords)
    near = np.where(found[:, 0], rows[:, 0], -1).astype(np.int64)
    n_near = found.sum(axis=1).astype(np.int64)
    return near, n_near, np.where(found[:, 0], chords[:, 0], np.nan)


def _unit_vectors(
    ra_deg: npt.NDArray[np.float64], dec_deg: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    ra, dec = np.radians(ra_deg), np.radians(dec_deg)
    return np.column_stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])
