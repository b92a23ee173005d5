"""The pixels of a mosaic's box, out of overlapping images.

Owns which image fills which pixel. Does not own how an image is read (``readers``) or resampled
(``regrid``).
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from astropy.wcs import WCS

from survey_classifier.geometry import Box, overlap
from survey_classifier.mosaic.exposure import Exposure
from survey_classifier.mosaic.pixels import MaskBit
from survey_classifier.mosaic.regrid import read_onto

__all__ = ["Placed", "compose"]

Placed = tuple[Exposure, tuple[int, int] | None]
"""An image with its offset ``(dy, dx)`` on the grid, None where it must be resampled."""


def compose(
    exposures: Sequence[Placed], wcs: WCS, band: str, box: Box
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """Return flux and mask of a box: each pixel from the first file that has data there.

    Parameters
    ----------
    exposures
        The images of all bands.
    wcs
        The mosaic's grid.
    band
        Name of the band.
    box
        Pixels of the mosaic's grid.
    """
    flux = np.full(box.shape, np.nan, dtype=np.float32)
    mask = np.full(box.shape, MaskBit.NO_DATA, dtype=np.uint8)
    for exposure, offset in exposures:
        if exposure.band.name != band:
            continue
        if offset is None:
            _fill(flux, mask, *read_onto(exposure, wcs, box))
            continue
        slices = overlap(box.shifted(-offset[0], -offset[1]), exposure.shape)
        if slices is not None:
            (large, small) = slices
            window = Box(large[0].start, large[0].stop, large[1].start, large[1].stop)
            _fill(flux[small], mask[small], *exposure.read(window))
    return flux, mask


def _fill(
    flux: npt.NDArray[np.float32],
    mask: npt.NDArray[np.uint8],
    new_flux: npt.NDArray[np.float32],
    new_mask: npt.NDArray[np.uint8],
) -> None:
    """Put new pixels where there are none yet, in place; a pixel without data keeps its why."""
    empty = np.isnan(flux)
    flux[empty] = new_flux[empty]
    filled = empty & ~np.isnan(new_flux)
    mask[filled] = new_mask[filled]
    mask[empty & ~filled] |= new_mask[empty & ~filled]
