"""The list of sources that a run classifies.

Owns the value :class:`Sources` and what makes a source list valid. Does not own file formats
(``sources.formats``), pixel positions or the ownership of sources by tiles (``geometry``).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from survey_classifier.errors import SourcesError
from survey_classifier.settings import Settings
from survey_classifier.sources.cells import RawTable
from survey_classifier.sources.digest import Column, content_digest
from survey_classifier.sources.formats import read_table

__all__ = ["SourceColumns", "Sources", "read_sources"]

Floats = npt.NDArray[np.float64]

# No source of a survey comes near; 99, -99, -999 and -9999 are the customary marks.
_MIN_MAG, _MAX_MAG = -5.0, 60.0
MAX_EBV = 10.0
"""Nothing is seen through as much dust; 99 is a mark of a missing value."""


class SourceColumns(Settings):
    """Which columns of a table hold what: ``columns`` of ``[sources]`` in a run file.

    Angles are in degrees unless the file states another unit.
    """

    id: str = "source_id"
    """Unique name or number of the source."""
    ra: str = "ra"
    """ICRS right ascension."""
    dec: str = "dec"
    """ICRS declination."""
    ebv: str | None = None
    """Column of E(B-V) in mag; None when the table has none."""
    mag: dict[str, str] = Field(default_factory=dict)
    """Band to column of its magnitude, as observed (not dereddened)."""
    mag_err: dict[str, str] = Field(default_factory=dict)
    """Band to column of the error of its magnitude in mag."""
    point_likeness: str | None = None
    """Column of how much a source is like a point, from 0 (extended) to 1."""
    gaia: str | None = None
    """Column of what Gaia says: 1 a star, 0 not one, or a probability; empty where it can't say."""

    @property
    def names(self) -> tuple[str, ...]:
        """All columns of the file that are read."""
        optional = (self.ebv, self.point_likeness, self.gaia)
        given = (name for name in optional if name is not None)
        bands = (*self.mag.values(), *self.mag_err.values())
        return (self.id, self.ra, self.dec, *bands, *given)

    @model_validator(mode="after")
    def _errors_of_magnitudes(self) -> Self:
        for band in self.mag_err:
            if band not in self.mag:
                raise ValueError(f"mag_err has the band {band!r}, which mag lacks: give both")
        return self


def _not_given() -> Floats:
    return np.empty(0)


@dataclass(frozen=True, slots=True, eq=False)
class Sources:
    """A list of sources, in the user's order; possibly empty (the sources of an empty tile).

    Raises
    ------
    SourcesError
        If an id is empty or not unique, a right ascension is outside 0 <= ra < 360, a declination
        is outside -90 <= dec <= 90, a magnitude is infinite, an E(B-V) or an error is negative
        or infinite, a share is outside 0 to 1, an error is of a band without magnitudes, or the
        columns differ in length. Missing values (NaN) are allowed, positions too.
    """

    source_id: npt.NDArray[np.object_]
    """Unique ``str``, shape (n,)."""
    ra_deg: Floats
    """ICRS right ascension in degrees, shape (n,); NaN = unknown."""
    dec_deg: Floats
    """ICRS declination in degrees, shape (n,); NaN = unknown."""
    mag: Mapping[str, Floats]
    """Band to observed magnitudes (not dereddened), each of shape (n,); NaN = missing."""
    ebv: Floats
    """E(B-V) in mag, shape (n,); NaN = unknown."""
    mag_err: Mapping[str, Floats] = field(default_factory=dict)
    """Band to 1-sigma errors of magnitudes in mag, each of shape (n,); NaN = unknown."""
    point_likeness: Floats = field(default_factory=_not_given)
    """0 (extended) to 1 (a point), shape (n,); NaN = unknown, as all are if it is not given."""
    gaia: Floats = field(default_factory=_not_given)
    """1: Gaia calls it a star, 0: it does not; shape (n,); NaN = unknown, as point_likeness."""

    def __post_init__(self) -> None:
        for name in ("point_likeness", "gaia"):
            if not len(getattr(self, name)):
                object.__setattr__(self, name, np.full(len(self), np.nan))
        self._check_lengths()
        self._check_ids()
        right = (self.ra_deg >= 0) & (self.ra_deg < 360)
        self._refuse(~right, self.ra_deg, "right ascension", "give degrees in 0 <= ra < 360")
        right = np.abs(self.dec_deg) <= 90
        self._refuse(~right, self.dec_deg, "declination", "give degrees in -90 <= dec <= 90")
        right = (self.ebv >= 0) & np.isfinite(self.ebv)
        self._refuse(~right, self.ebv, "E(B-V)", "give a positive number, or leave it empty")
        for band, mag in self.mag.items():
            self._refuse(np.isinf(mag), mag, f"magnitude {band}", "leave it empty")
        for band, error in self.mag_err.items():
            if band not in self.mag:
                raise SourcesError(f"there are errors of the band {band!r} and no magnitudes")
            right = (error >= 0) & np.isfinite(error)
            self._refuse(~right, error, f"magnitude error {band}", "leave it empty")
        for name, share in (("point_likeness", self.point_likeness), ("gaia", self.gaia)):
            self._refuse(~((share >= 0) & (share <= 1)), share, name, "give 0 to 1, or nothing")

    def __len__(self) -> int:
        return len(self.source_id)

    def take(self, index: npt.NDArray[np.integer] | npt.NDArray[np.bool_]) -> "Sources":
        """Return the sources at these positions (or where True), in that order."""
        return Sources(
            self.source_id[index],
            self.ra_deg[index],
            self.dec_deg[index],
            {band: values[index] for band, values in self.mag.items()},
            self.ebv[index],
            {band: values[index] for band, values in self.mag_err.items()},
            self.point_likeness[index],
            self.gaia[index],
        )

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over all content: ids, bands, every column of numbers, order."""
        numbers: dict[str, Column] = {"ra": self.ra_deg, "dec": self.dec_deg, "ebv": self.ebv}
        numbers |= {f"mag {band}": self.mag[band] for band in sorted(self.mag)}
        numbers |= {f"mag_err {band}": self.mag_err[band] for band in sorted(self.mag_err)}
        numbers |= {"point_likeness": self.point_likeness, "gaia": self.gaia}
        return content_digest(self.source_id, numbers)

    def _check_lengths(self) -> None:
        columns = {"ra_deg": self.ra_deg, "dec_deg": self.dec_deg, "ebv": self.ebv, **self.mag}
        columns |= {f"error of {band}": values for band, values in self.mag_err.items()}
        columns |= {"point_likeness": self.point_likeness, "gaia": self.gaia}
        for name, values in columns.items():
            if values.shape != (len(self),):
                raise SourcesError(
                    f"{name} has the shape {values.shape} for {len(self)} ids: "
                    "give one value a source"
                )

    def _check_ids(self) -> None:
        seen: set[str] = set()
        for row, source_id in enumerate(self.source_id):
            if not isinstance(source_id, str) or not source_id:
                raise SourcesError(
                    f"the source in row {row + 1} has the id {source_id!r}: give it a name"
                )
            if source_id in seen:
                raise SourcesError(
                    f"the source id {source_id!r} occurs more than once (again in row {row + 1}): "
                    "make ids unique"
                )
            seen.add(source_id)

    def _refuse(
        self,
        wrong: npt.NDArray[np.bool_],
        values: Floats,
        what: str,
        remedy: str,
    ) -> None:
        rows = np.flatnonzero(wrong & ~np.isnan(values))
        if len(rows):
            more = f" (and {len(rows) - 1} more)" if len(rows) > 1 else ""
            raise SourcesError(
                f"source {self.source_id[rows[0]]!r} has the {what} {values[rows[0]]}{more}: "
                f"{remedy}"
            )


def read_sources(path: Path, columns: SourceColumns) -> Sources:
    """Read a source list from a CSV, FITS, VOTable or Parquet file.

    Every row becomes a source, those without a position too. Magnitudes that are infinite or
    beyond ±90 (99, -99, -9999: customary marks of a missing measurement) become NaN, and so do
    errors that are infinite, negative or beyond 90, an E(B-V) that is infinite or negative, and
    a negative point-likeness or word of Gaia.

    Parameters
    ----------
    path
        The table.
    columns
        Which of its columns to read.

    Raises
    ------
    SourcesError
        If the file can't be read, is empty, lacks a column, or its content makes no valid
        :class:`Sources`.
    """
    table = read_table(path, columns.names)
    mag = {band: _magnitudes(table, name) for band, name in columns.mag.items()}
    mag_err = {band: _no_less_than_0(table, name) for band, name in columns.mag_err.items()}
    mag_err = {band: np.where(error < _MAX_MAG, error, np.nan) for band, error in mag_err.items()}
    ebv, point, gaia = (
        np.full(len(table), np.nan) if name is None else _no_less_than_0(table, name)
        for name in (columns.ebv, columns.point_likeness, columns.gaia)
    )
    ebv = np.where(ebv < MAX_EBV, ebv, np.nan)
    ra, dec = table.angles_deg(columns.ra), table.angles_deg(columns.dec)
    try:
        return Sources(table.text(columns.id), ra, dec, mag, ebv, mag_err, point, gaia)
    except SourcesError as error:
        raise SourcesError(f"{path}: {error}") from error


def _magnitudes(table: RawTable, name: str) -> Floats:
    mag = table.numbers(name)
    return np.where((mag > _MIN_MAG) & (mag < _MAX_MAG), mag, np.nan)


def _no_less_than_0(table: RawTable, name: str) -> Floats:
    values = table.numbers(name)
    return np.where((values >= 0) & np.isfinite(values), values, np.nan)
