"""Binning pixels into the levels of a pyramid.

Owns the rules by which masked pixels are averaged and masks are merged. Does not own where
levels are kept (``store``).
"""

import numpy as np
import numpy.typing as npt

from survey_classifier.mosaic.pixels import UNUSABLE, MaskBit

__all__ = ["N_LEVELS", "bin_block", "merged_mask"]

N_LEVELS = 4
"""Levels 0 to 3: the coarsest holds means of 8 x 8 pixels."""


FLAWS = MaskBit.SATURATED | MaskBit.BAD | MaskBit.EDGE
"""Bits that make a merged pixel suspect when they are those of its lesser half."""


def bin_block(
    flux: npt.NDArray[np.float32], mask: npt.NDArray[np.uint8], level: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """Bin an aligned block ``2**level`` x ``2**level``.

    A binned pixel is the mean of its usable pixels, so surface brightness is kept. It is usable
    when at least half of them are, and NaN otherwise; see `merged_mask` for its mask.

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
    bits = np.bitwise_or.reduce(_bins(mask, step, int(MaskBit.NO_DATA)), axis=(1, 3))
    merged = merged_mask(bits, counts, step * step)
    mean = np.full(counts.shape, np.nan, dtype=np.float32)
    np.divide(total, counts, out=mean, where=(merged & np.uint8(MaskBit.NO_DATA)) == 0)
    return mean, merged


def merged_mask(
    bits: npt.NDArray[np.uint8], n_usable: npt.NDArray[np.number], n: int
) -> npt.NDArray[np.uint8]:
    """Return the mask of pixels that are each made of several.

    A merged pixel is usable when at least half of its pixels are. Then it keeps every warning,
    and is SUSPECT where a saturated, bad or edge pixel was left out: eight bits have no room to
    say which of them. Otherwise it keeps all bits, and is NO_DATA besides: it has no value.

    Parameters
    ----------
    bits
        All bits of its pixels, joined.
    n_usable
        How many of its pixels are usable; of the same shape.
    n
        How many pixels it is made of.
    """
    suspect = np.where(bits & np.uint8(FLAWS), np.uint8(MaskBit.SUSPECT), np.uint8(0))
    usable = (bits & np.uint8(0xFF ^ UNUSABLE)) | suspect
    merged = np.where(n_usable >= n / 2, usable, bits | np.uint8(MaskBit.NO_DATA))
    return merged.astype(np.uint8)


def _bins(plane: npt.NDArray[np.generic], step: int, fill: float) -> npt.NDArray[np.generic]:
    """Return a view ``(row, step, column, step)`` of the plane, padded to whole bins."""
    ny, nx = plane.shape
    pad = ((0, -ny % step), (0, -nx % step))
    padded = np.pad(plane, pad, constant_values=fill) if any(after for _, after in pad) else plane
    return padded.reshape(padded.shape[0] // step, step, padded.shape[1] // step, step)


def _sum_bins(plane: npt.NDArray[np.float32], step: int) -> npt.NDArray[np.float32]:
    """Sum each bin; rows first, as that keeps the inner loop contiguous."""
    return np.asarray(_bins(plane, step, 0.0)).sum(axis=1).sum(axis=2)
