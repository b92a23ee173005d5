"""What a survey's archive is made of: how its area is cut up, and how its files are written.

Owns the vocabulary that the surveys' modules (``hsc_files``, ``euclid_files``, ``sdss_files``)
share. Does not own any format, nor the tables beside the images (``survey``).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from survey_classifier.mosaic.pixels import MaskBit
from survey_classifier.synthetic.passbands import Passband
from survey_classifier.synthetic.plate import Plate, Shot
from survey_classifier.synthetic.tables import Input

__all__ = ["Archive", "Extent", "as_planes"]


@dataclass(frozen=True, slots=True)
class Extent:
    """How large the simulated part of a survey is.

    Raises
    ------
    ValueError
        If a size is not positive.
    """

    size_px: int
    """Side of the square of sky, in pixels of the survey's finest image."""
    tile_px: int
    """Side of a patch without its border, of a tile, or the columns of a frame."""
    overlap_px: int
    """Border of a patch, what two tiles share, or the rows that two frames share."""

    def __post_init__(self) -> None:
        if self.size_px < 1 or self.overlap_px < 0 or self.tile_px <= 2 * self.overlap_px:
            raise ValueError(f"an extent needs positive sizes and tiles above overlaps, got {self}")


@dataclass(frozen=True, slots=True)
class Archive:
    """One survey, as its archive delivers it."""

    bands: Mapping[str, Passband]
    center_deg: tuple[float, float]
    """``(ra, dec)`` of the middle of the square of sky."""
    extent: Extent
    """What is simulated where nothing else is asked for; small, but with its parts in the
    survey's own proportions."""
    plates: Callable[[Extent, Passband], Sequence[Plate]]
    """What is exposed in a band."""
    write: Callable[[Path, Shot, Extent], None]
    """Writes the files of a plate in one band into a folder."""
    inputs: Callable[[Passband, Extent], Input]
    """Table of a band in the run file, without the name of the band and its seeing."""
    store: str
    """Key ``mosaic.store`` of the run file."""
    carried: MaskBit
    """Flaws of the pixels that the files tell of."""
    scale_arcsec: float | None = None
    """Key ``mosaic.scale_arcsec`` of the run file, None for the files' own grid."""


def as_planes(mask: npt.NDArray[np.uint8], bits: Mapping[MaskBit, int]) -> npt.NDArray[np.int32]:
    """Return a mask in a survey's own planes.

    Parameters
    ----------
    mask
        `MaskBit`, shape ``(ny, nx)``.
    bits
        Number of the survey's plane for each of our bits.
    """
    planes = np.zeros(mask.shape, dtype=np.int32)
    for bit, number in bits.items():
        planes[(mask & np.uint8(bit)) != 0] |= np.int32(1 << number)
    return planes
