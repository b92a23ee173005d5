"""Binning pixels into the levels of a pyramid.

Owns the rule by which masked pixels are averaged. Does not own where levels are kept
(``store``).
"""

import numpy as np
import numpy.typing as npt

from survey_classifier.mosaic.pixels import UNUSABLE, MaskBit

__all__ = ["N_LEVELS", "bin_block"]

N_LEVELS = 4
"""Levels 0 to 3: the coarsest holds means of 8 x 8 pixels."""


def bin_block(
    flux: npt.NDArray[np.float32], mask: npt.NDArray[np.uint8], level: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """Bin an aligned block ``2**level`` x ``2**level``.

    A binned pixel is the mean of its usable pixels, so surface brightness is kept. It is usable
    when at least half of them are; then its mask keeps only the bits that are warnings.

    Parameters
    ----------
    flux
        ``(y, x)``, NaN where there is no data.
    mask
        ``(y, x)`` of `MaskBit`.
    level
        0 returns the block as it is.

    Returns
    -------
    flux, mask
        Arrays of ``ceil(shape / 2**level)``; bins that stick out of the block count their
        missing pixels as NO_DATA.
    """
    if level == 0:
        return flux, mask
    step = 2**level
    usable = np.isfinite(flux) & ((mask & np.uint8(UNUSABLE)) == 0)
    counts = _sum_bins(usable.astype(np.float32), step)
    total = _sum_bins(np.where(usable, flux, np.float32(0)), step)
    mean = np.full(counts.shape, np.nan, dtype=np.float32)
    np.divide(total, counts, out=mean, where=counts > 0)
    bits = np.bitwise_or.reduce(_bins(mask, step, int(MaskBit.NO_DATA)), axis=(1, 3))
    good = counts >= step * step / 2
    return mean, np.where(good, bits & np.uint8(0xFF ^ UNUSABLE), bits).astype(np.uint8)


def _bins(plane: npt.NDArray[np.generic], step: int, fill: float) -> npt.NDArray[np.generic]:
    """Return a view ``(row, step, column, step)`` of the plane, padded to whole bins."""
    ny, nx = plane.shape
    pad = ((0, -ny % step), (0, -nx % step))
    padded = np.pad(plane, pad, constant_values=fill) if any(after for _, after in pad) else plane
    return padded.reshape(padded.shape[0] // step, step, padded.shape[1] // step, step)


def _sum_bins(plane: npt.NDArray[np.float32], step: int) -> npt.NDArray[np.float32]:
    """Sum each bin; rows first, as that keeps the inner loop contiguous."""
    return np.asarray(_bins(plane, step, 0.0)).sum(axis=1).sum(axis=2)
