"""The list of sources that a run classifies.

Owns the value :class:`Sources` and what makes a source list valid. Does not own file formats
(``sources.formats``), pixel positions or the ownership of sources by tiles (``geometry``).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import Field

from survey_classifier.errors import SourcesError
from survey_classifier.settings import Settings
from survey_classifier.sources.cells import RawTable
from survey_classifier.sources.digest import Column, content_digest
from survey_classifier.sources.formats import read_table

__all__ = ["SourceColumns", "Sources", "read_sources"]

# No magnitude in the sky comes near; 99, -99, -999 and -9999 are the customary marks.
_MAX_ABS_MAG = 90.0


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

    @property
    def names(self) -> tuple[str, ...]:
        """All columns of the file that are read."""
        optional = () if self.ebv is None else (self.ebv,)
        return (self.id, self.ra, self.dec, *self.mag.values(), *optional)


@dataclass(frozen=True, slots=True, eq=False)
class Sources:
    """A list of sources, in the user's order; possibly empty (the sources of an empty tile).

    Raises
    ------
    SourcesError
        If an id is empty or not unique, a right ascension is outside 0 <= ra < 360, a declination
        is outside -90 <= dec <= 90, an infinite value or a negative E(B-V) occurs, or the columns
        differ in length. Missing positions (NaN) are allowed.
    """

    source_id: npt.NDArray[np.object_]
    """Unique ``str``, shape (n,)."""
    ra_deg: npt.NDArray[np.float64]
    """ICRS right ascension in degrees, shape (n,); NaN = unknown."""
    dec_deg: npt.NDArray[np.float64]
    """ICRS declination in degrees, shape (n,); NaN = unknown."""
    mag: Mapping[str, npt.NDArray[np.float64]]
    """Band to observed magnitudes (not dereddened), each of shape (n,); NaN = missing."""
    ebv: npt.NDArray[np.float64]
    """E(B-V) in mag, shape (n,); NaN = unknown."""

    def __post_init__(self) -> None:
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

    def __len__(self) -> int:
        return len(self.source_id)

    def take(self, index: npt.NDArray[np.integer] | npt.NDArray[np.bool_]) -> "Sources":
        """Return the sources at these positions (or where True), in that order."""
        mag = {band: values[index] for band, values in self.mag.items()}
        return Sources(
            self.source_id[index], self.ra_deg[index], self.dec_deg[index], mag, self.ebv[index]
        )

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over all content: ids, positions, bands, magnitudes, E(B-V), order."""
        numbers: dict[str, Column] = {"ra": self.ra_deg, "dec": self.dec_deg, "ebv": self.ebv}
        numbers |= {f"mag {band}": self.mag[band] for band in sorted(self.mag)}
        return content_digest(self.source_id, numbers)

    def _check_lengths(self) -> None:
        columns = {"ra_deg": self.ra_deg, "dec_deg": self.dec_deg, "ebv": self.ebv, **self.mag}
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
        values: npt.NDArray[np.float64],
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
    beyond ±90 (99, -99, -9999: customary marks of a missing measurement) become NaN.

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
    unknown = np.full(len(table), np.nan)
    ebv = unknown if columns.ebv is None else table.numbers(columns.ebv)
    ra, dec = table.angles_deg(columns.ra), table.angles_deg(columns.dec)
    try:
        return Sources(table.text(columns.id), ra, dec, mag, ebv)
    except SourcesError as error:
        raise SourcesError(f"{path}: {error}") from error


def _magnitudes(table: RawTable, name: str) -> npt.NDArray[np.float64]:
    mag = table.numbers(name)
    return np.where(np.abs(mag) < _MAX_ABS_MAG, mag, np.nan)
