"""The red-image filter of Pruitt & Romanowsky (2024): images of which most is red are left out.

Owns the rule. Does not own which tables it is applied to (``recipes``, ``dataset``).

Hue is that of HSV as OpenCV counts it for 8-bit images, 0 to 180 for the full circle, so red is
0 to 10 and 160 to 180. A gray pixel has the hue 0 there, and so counts as red.
"""

from collections.abc import Collection

import numpy as np
import numpy.typing as npt

__all__ = ["hue", "is_red_first", "mostly_red"]

FULL_CIRCLE = 180
RED_BELOW, RED_ABOVE = 10, 160
LARGEST_SHARE = 0.5
FROM_RED = "yzirvgbu"
"""Bands by their usual names, the reddest first."""


def is_red_first(bands: Collection[str]) -> bool:
    """Say whether bands can be red, green and blue in this order; unknown names may be any."""
    places = [FROM_RED.index(band) for band in map(str.lower, bands) if band in tuple(FROM_RED)]
    return places == sorted(places)


def hue(image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the hue of red, green and blue along the third axis from the end, 0 <= hue < 180.

    Parameters
    ----------
    image
        Shape ``(..., 3, y, x)``.

    Returns
    -------
    ndarray
        Whole numbers, shape ``(..., y, x)``; NaN where a plane is.
    """
    red, green, blue = np.moveaxis(image, -3, 0)
    largest = image.max(axis=-3)
    span = largest - image.min(axis=-3)
    sixth = np.where(span > 0, span, 1)  # of a gray pixel all differences are 0
    turn = np.select(
        [largest == red, largest == green, largest == blue],
        [(green - blue) / sixth, 2 + (blue - red) / sixth, 4 + (red - green) / sixth],
        np.nan,
    )
    return np.round(turn % 6 * (FULL_CIRCLE / 6)).astype(np.float32) % FULL_CIRCLE


def mostly_red(image: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Say of which images more than half of the pixels that have a value are red.

    Parameters
    ----------
    image
        Red, green and blue, shape ``(n, 3, y, x)``; NaN = no value.

    Returns
    -------
    ndarray
        Shape ``(n,)``.
    """
    found = np.stack([hue(one) for one in image]) if len(image) else image[:, 0]
    is_red = (found <= RED_BELOW) | (found >= RED_ABOVE)  # false of NaN
    n_known = np.isfinite(found).sum(axis=(1, 2))
    return np.asarray(is_red.sum(axis=(1, 2)) > LARGEST_SHARE * n_known)
