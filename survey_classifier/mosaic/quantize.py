"""The sky noise of a shard, and rounding flux to a fraction of it.

Owns the estimate of the noise and the rounding rule. Does not own what is rounded (``writer``).
"""

import math

import numpy as np
import numpy.typing as npt

from survey_classifier.mosaic.pixels import UNUSABLE

__all__ = ["rounded", "sky_noise"]

LAG_PX = 6
"""Pixels this far apart have independent noise, also where an image was resampled to pixels of a
third of its own."""
MIN_PAIRS = 100
"""Pairs of pixels below which the noise is not measured."""
MAX_SAMPLE_PX = 2**17
"""Pixels that are looked at, in rows spread over the shard: the noise is then known to half a
percent, in a fifth of the time that four times as many take."""
DETECTED_SIGMA = 3.0
"""Pixels that stick out of the sky by more belong to sources."""
MAD_TO_SIGMA = 1.482602218505602
"""Of a normal distribution: 1 / (quantile function of 3/4)."""
EXACT = float(2**24)
"""Float32 numbers from here on are all integers."""


def sky_noise(flux: npt.NDArray[np.float32], mask: npt.NDArray[np.uint8]) -> float:
    """Return the standard deviation of the sky in a pixel.

    The median absolute difference of pixels `LAG_PX` apart, over the square root of two: slopes
    of the background cancel. Pixels that sources brighten are left out.

    Parameters
    ----------
    flux
        ``(y, x)`` in any unit.
    mask
        ``(y, x)`` of `MaskBit`.

    Returns
    -------
    float
        In the unit of flux; NaN where there are too few usable pixels.
    """
    step = -(-flux.size // MAX_SAMPLE_PX)
    usable = np.isfinite(flux[::step]) & ((mask[::step] & np.uint8(UNUSABLE)) == 0)
    sky = np.where(usable, flux[::step], np.float32(np.nan))
    noise = _pair_noise(sky)
    if math.isfinite(noise):
        level = np.median(sky[usable])
        noise = _pair_noise(np.where(sky > level + DETECTED_SIGMA * noise, np.nan, sky))
    return noise


def _pair_noise(sky: npt.NDArray[np.floating]) -> float:
    """Return the noise of pairs along the rows, NaN where pixels do not count."""
    difference = sky[:, LAG_PX:] - sky[:, :-LAG_PX]
    difference = difference[np.isfinite(difference)]
    if difference.size < MIN_PAIRS:
        return math.nan
    return float(np.median(np.abs(difference)) * MAD_TO_SIGMA / math.sqrt(2.0))


def rounded(flux: npt.NDArray[np.float32], noise: float, steps: int) -> npt.NDArray[np.float32]:
    """Round flux to multiples of the largest power of two that is at most ``noise / steps``.

    No value moves by more than ``noise / (2 * steps)``. A power of two leaves the lower bits of
    the mantissa zero, which is what compresses; NaN and infinite values stay as they are.

    Parameters
    ----------
    flux
        Any shape.
    noise
        In the unit of flux; where it is not positive or not finite, nothing is rounded.
    steps
        Steps to one standard deviation of the noise.
    """
    if not (math.isfinite(noise) and noise > 0):
        return flux
    step = np.float32(math.ldexp(1.0, math.frexp(noise / steps)[1] - 1))
    if step < np.finfo(np.float32).tiny:
        return flux
    # Beyond this, the spacing of float32 is coarser than the step already.
    fine = np.abs(flux) < EXACT * step
    return np.where(fine, np.rint(np.where(fine, flux, 0) / step) * step, flux)
