"""Binning pixels into the levels of a pyramid.

Owns the rules by which masked pixels are averaged and masks are merged. Does not own where
levels are kept (``store``).
"""

from collections.abc import Iterator
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from survey_classifier.mosaic.exposure import Window
from survey_classifier.mosaic.pixels import UNUSABLE, MaskBit

__all__ = ["N_LEVELS", "merged_mask", "pyramid"]

_Number = TypeVar("_Number", bound=np.number[Any])

N_LEVELS = 4
"""Levels 0 to 3: the coarsest holds means of 8 x 8 pixels."""
SHARE = np.float32(1 / 4 ** (N_LEVELS - 1))
"""What sums are of each pixel: so that of 64 of the largest numbers is none too large, either. A
power of two, it changes no mean."""
FLAWS = MaskBit.SATURATED | MaskBit.BAD | MaskBit.EDGE
"""Bits that make a merged pixel suspect when they are those of its lesser half."""


def pyramid(window: Window) -> Iterator[Window]:
    """Yield an aligned window on each level: as it is, then binned 2 x 2, 4 x 4 and 8 x 8.

    A binned pixel is the mean of its usable pixels, so surface brightness is kept. It is usable
    when at least half of them are, and NaN otherwise; see `merged_mask` for its mask. Its variance
    is that of a mean of independent pixels: the sum over the usable ones, divided by the square of
    their number; NaN where the mean is NaN, or one of them has none.

    Parameters
    ----------
    window
        Pixels whose first one is the first of a bin on every level.

    Yields
    ------
    Window
        Of ``ceil(shape / 2**level)``; bins that stick out of the window count their missing
        pixels as NO_DATA. The first is the window itself.
    """
    yield window
    usable = np.isfinite(window.flux) & ((window.mask & np.uint8(UNUSABLE)) == 0)
    counts = usable.view(np.uint8)  # 64 at most
    bits = window.mask
    flux = np.where(usable, window.flux, np.float32(0)) * SHARE
    variance = window.variance
    if variance is not None:
        variance = np.where(usable, variance, np.float32(0)) * SHARE
    for level in range(1, N_LEVELS):
        counts = _halved(counts, 0, np.add)
        bits = _halved(bits, int(MaskBit.NO_DATA), np.bitwise_or)
        flux = _halved(flux, 0, np.add)
        mask = merged_mask(bits, counts, 4**level)
        has_mean = (mask & np.uint8(MaskBit.NO_DATA)) == 0
        n_usable = counts.astype(np.float32)
        mean = _divided(flux, n_usable * SHARE, has_mean)
        of_mean = None
        if variance is not None:
            variance = _halved(variance, 0, np.add)
            of_mean = _divided(variance, n_usable**2 * SHARE, has_mean)
        yield Window(mean, mask, of_mean)


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


def _halved(plane: npt.NDArray[_Number], fill: float, merge: np.ufunc) -> npt.NDArray[_Number]:
    """Merge 2 x 2 pixels into one; some times faster than numpy's reduction of small blocks."""
    ny, nx = plane.shape
    if ny % 2 or nx % 2:
        plane = np.pad(plane, ((0, ny % 2), (0, nx % 2)), constant_values=fill)
    rows = merge(plane[0::2], plane[1::2])
    merged: npt.NDArray[_Number] = merge(rows[:, 0::2], rows[:, 1::2])
    return merged


def _divided(
    total: npt.NDArray[np.float32], by: npt.NDArray[np.float32], where: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float32]:
    quotient = np.full(total.shape, np.nan, dtype=np.float32)
    np.divide(total, by, out=quotient, where=where)
    return quotient
