"""Binning pixels into the levels of a pyramid.

Owns the rules by which masked pixels are averaged and masks are merged. Does not own where
levels are kept (``store``).
"""

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from survey_classifier.mosaic.pixels import UNUSABLE, MaskBit

__all__ = ["N_LEVELS", "bin_block", "bin_variance", "merged_mask"]

_Number = TypeVar("_Number", bound=np.number[Any])

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
    usable = _usable(flux, mask)
    counts = _merged(usable.astype(np.uint8), level, 0, np.add)
    total = _merged(np.where(usable, flux, np.float32(0)), level, 0, np.add)
    bits = _merged(mask, level, int(MaskBit.NO_DATA), np.bitwise_or)
    merged = merged_mask(bits, counts, 4**level)
    mean = np.full(counts.shape, np.nan, dtype=np.float32)
    np.divide(total, counts, out=mean, where=(merged & np.uint8(MaskBit.NO_DATA)) == 0)
    return mean, merged


def bin_variance(
    variance: npt.NDArray[np.float32],
    flux: npt.NDArray[np.float32],
    mask: npt.NDArray[np.uint8],
    level: int,
) -> npt.NDArray[np.float32]:
    """Return the variance of the means that `bin_block` makes.

    That of a mean of independent pixels: the sum over its usable pixels, divided by the square
    of their number. NaN where the mean is NaN, or one of its pixels has no variance.

    Parameters
    ----------
    variance
        ``(y, x)`` in the square of the unit of flux, NaN where it is not known.
    flux, mask, level
        As for `bin_block`.
    """
    if level == 0:
        return variance
    usable = _usable(flux, mask)
    counts = _merged(usable.astype(np.float32), level, 0, np.add)
    total = _merged(np.where(usable, variance, np.float32(0)), level, 0, np.add)
    binned = np.full(counts.shape, np.nan, dtype=np.float32)
    np.divide(total, counts * counts, out=binned, where=counts >= 4**level / 2)
    return binned


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


def _usable(flux: npt.NDArray[np.float32], mask: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Return which pixels enter a mean."""
    return np.isfinite(flux) & ((mask & np.uint8(UNUSABLE)) == 0)


def _merged(
    plane: npt.NDArray[_Number], level: int, fill: float, merge: np.ufunc
) -> npt.NDArray[_Number]:
    """Merge each bin, a halving at a time: that is some times faster than a reduction of bins."""
    step = 2**level
    ny, nx = plane.shape
    pad = ((0, -ny % step), (0, -nx % step))
    merged = np.pad(plane, pad, constant_values=fill) if any(after for _, after in pad) else plane
    for _ in range(level):
        rows = merge(merged[0::2], merged[1::2])
        merged = merge(rows[:, 0::2], rows[:, 1::2])
    return merged
