"""What is said of a detected source: settings, flags, and the table of all of them.

Owns the ``[detect]`` table of a run file, the flags with their sentences, and the value
`Detections`. Does not own how sources are found (``detect``) nor the file (``catalog``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntFlag
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from survey_classifier.mosaic.store import CHUNK_PX
from survey_classifier.settings import Settings

__all__ = [
    "DETECTION_VERSION",
    "FLAG_SENTENCES",
    "DetectSettings",
    "DetectionFlag",
    "Detections",
    "joined",
    "source_names",
]

DETECTION_VERSION = 1
"""Raised whenever this code finds or measures something else in the same pixels."""

_MAX_PLACES = 26
"""Sources of one name that letters can tell apart; a thousandth of a second holds one."""


class DetectionFlag(IntFlag):
    """Bits of ``detection_flags``; no source is left out for any of them."""

    EDGE = 1
    SATURATED = 2
    BLENDED = 4
    BRIGHT_STAR = 8
    RAISED = 16
    CUT = 32


FLAG_SENTENCES: Mapping[DetectionFlag, str] = {
    DetectionFlag.EDGE: "the total aperture has pixels without data in at least one band",
    DetectionFlag.SATURATED: "a pixel of the source is saturated in at least one band",
    DetectionFlag.BLENDED: "the source was parted from another that it touches",
    DetectionFlag.BRIGHT_STAR: "it lies in the mask of a bright star in at least one band",
    DetectionFlag.RAISED: "it lies in an object too large for one window: threshold was raised",
    DetectionFlag.CUT: "it is so large that its total aperture was limited",
}
"""What each flag says."""


class DetectSettings(Settings):
    """The ``[detect]`` table: how sources are found where the user has no list."""

    threshold_sigma: Annotated[float, Field(ge=1, le=100)] = 3.5
    """Significance that a pixel of a source has on the smoothed combination of all bands."""
    min_area_px: Annotated[int, Field(ge=1)] = 5
    """Pixels above the threshold that a source has."""
    deblend_contrast: Annotated[float, Field(gt=0, le=1)] = 0.005
    """Share of the light of a blend that each of its sources has, less in bright ones; 1 parts
    nothing."""
    deblend_levels: Annotated[int, Field(ge=2, le=64)] = 32
    """Levels between threshold and peak at which a blend is looked at."""
    background_arcsec: Annotated[float, Field(gt=0, le=3600)] = 15.0
    """Side of the cells, aligned on the mosaic's grid, in which the sky is measured."""
    aperture_arcsec: Annotated[float, Field(gt=0, le=60)] = 2.0
    """Diameter of the matched apertures."""
    bands: tuple[str, ...] = ()
    """Bands that are searched, by default all; photometry is in all of them."""
    photometry: bool = True
    """Whether to measure fluxes; an image in display units has none."""
    tile_px: Annotated[int, Field(ge=CHUNK_PX)] = 2048
    """Side of what is worked on at once. It sets memory and time, never the list."""

    @model_validator(mode="after")
    def _bands_once(self) -> "DetectSettings":
        if len(set(self.bands)) < len(self.bands):
            raise ValueError(f"bands names a band twice: {', '.join(self.bands)}")
        return self

    def changing_results(self) -> dict[str, Any]:
        """Return the settings that the list depends on, with the version of this code."""
        return {"version": DETECTION_VERSION} | self.model_dump(exclude={"tile_px"})


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """Detected sources, one row each.

    Raises
    ------
    ValueError
        If the columns differ in length.
    """

    columns: Mapping[str, npt.NDArray[Any]]
    """Values by name, each of shape ``(n,)``."""

    def __post_init__(self) -> None:
        lengths = {name: values.shape for name, values in self.columns.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"detections need columns of one length, got {lengths}")

    def __len__(self) -> int:
        return len(self.columns["x"])

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        return self.columns[name]

    def take(self, index: npt.NDArray[np.integer] | npt.NDArray[np.bool_]) -> "Detections":
        """Return some rows, in the order of the index."""
        return Detections({name: values[index] for name, values in self.columns.items()})

    def with_columns(self, columns: Mapping[str, npt.NDArray[Any]]) -> "Detections":
        """Return the rows with more columns."""
        return Detections({**self.columns, **columns})

    def sorted(self) -> "Detections":
        """Return the rows by right ascension, then declination, whatever their order was."""
        return self.take(np.lexsort((self["dec"], self["ra"])))


def joined(parts: Sequence[Detections]) -> Detections:
    """Return the rows of several tables of the same columns, at least one of them."""
    names = parts[0].columns
    return Detections({name: np.concatenate([part[name] for part in parts]) for name in names})


def source_names(
    ra_deg: npt.NDArray[np.float64], dec_deg: npt.NDArray[np.float64]
) -> npt.NDArray[np.object_]:
    """Return a name of each source that tells where it is: ``J031949.123+413042.12``.

    The coordinates are cut off, not rounded, as the IAU asks. Sources that would share a name
    have a, b, ... behind it, in the order of right ascension and declination.

    Parameters
    ----------
    ra_deg, dec_deg
        ICRS positions, finite, shape ``(n,)``.

    Returns
    -------
    ndarray of object
        Unique ``str``, shape ``(n,)``.
    """
    names = np.empty(len(ra_deg), dtype=np.object_)
    milliseconds = np.floor(ra_deg * (3600_000 / 15)).astype(np.int64)
    hundredths = np.floor(np.abs(dec_deg) * 360_000).astype(np.int64)
    signs = np.where(dec_deg < 0, "-", "+")
    places = zip(milliseconds.tolist(), signs.tolist(), hundredths.tolist(), strict=True)
    names[:] = [f"J{_sexagesimal(ms, 1000, 3)}{sign}{_sexagesimal(cs, 100, 2)}"
                for ms, sign, cs in places]  # fmt: skip
    seen: dict[str, int] = {}
    shared = _shared(names)
    for row in np.lexsort((dec_deg, ra_deg)).tolist() if shared else ():
        name = names[row]
        if name in shared:
            names[row] = name + _letters(seen.get(name, 0))
            seen[name] = seen.get(name, 0) + 1
    return names


def _shared(names: npt.NDArray[np.object_]) -> set[str]:
    unique, times = np.unique(names.astype(str), return_counts=True)
    return {str(name) for name in unique[times > 1]}


def _letters(number: int) -> str:
    """Return a, b, ... z, ba, bb, ..."""
    rest, last = divmod(number, _MAX_PLACES)
    return (_letters(rest) if rest else "") + chr(ord("a") + last)


def _sexagesimal(units: int, per_second: int, digits: int) -> str:
    """Return ``hhmmss.sss`` of a whole number of parts of a second."""
    seconds, part = divmod(units, per_second)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}{minutes:02d}{seconds:02d}.{part:0{digits}d}"
