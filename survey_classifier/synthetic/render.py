"""Draws a list of light components into an image, convolved with the seeing.

Owns the pixels of the noiseless scene. Does not own what is drawn (``population``), noise,
saturation or files (``field``).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from survey_classifier.geometry import Box, nearest_pixel, overlap
from survey_classifier.synthetic.profiles import (
    SERSIC_SIGMA,
    Seeing,
    merge_narrow,
    sersic_weights,
)

__all__ = ["Components", "draw", "reach_px"]

Float = npt.NDArray[np.float64]
Image = npt.NDArray[np.float32]

# Boxes are rounded up to these half-sides so that many Gaussians are evaluated at once.
_HALF_SIDES_PX = np.unique(np.round(4 * 1.25 ** np.arange(36)).astype(np.int64))
_BATCH_PX = 1 << 18
"""Pixels evaluated at once: what fits a core's cache."""

_BLUR_RATIO = 0.09
"""Variance ratio below which one Gaussian only blurs another: widths differ by 3.3."""


@dataclass(frozen=True, slots=True)
class Components:
    """Elliptical Sersic components and points, one row each, all arrays of shape ``(n,)``.

    Raises
    ------
    ValueError
        If the arrays differ in shape.
    """

    x_px: Float
    y_px: Float
    flux: Float
    """Total, in the units of the image."""
    r_eff_arcsec: Float
    """Half-light radius along the major axis; 0 is a point source."""
    sersic_n: Float
    axis_ratio: Float
    angle_rad: Float
    """Of the major axis, from +x towards +y."""

    def __post_init__(self) -> None:
        shapes = {np.shape(getattr(self, name)) for name in self.__slots__}
        if len(shapes) != 1 or len(self.x_px.shape) != 1:
            raise ValueError(f"components need equal shapes (n,), got {sorted(shapes)}")

    def take(self, index: npt.NDArray[np.intp] | npt.NDArray[np.bool_]) -> "Components":
        """Return the rows at an index."""
        return Components(*(getattr(self, name)[index] for name in self.__slots__))


@dataclass(frozen=True, slots=True)
class _Gaussians:
    """Elliptical Gaussians; covariances in square pixels."""

    owner: npt.NDArray[np.intp]
    """Row of the component that each is part of."""
    x_px: Float
    y_px: Float
    flux: Float
    cxx: Float
    cxy: Float
    cyy: Float

    def take(self, index: npt.NDArray[np.intp] | npt.NDArray[np.bool_]) -> "_Gaussians":
        return _Gaussians(*(getattr(self, name)[index] for name in self.__slots__))

    @property
    def peak(self) -> Float:
        """Central surface brightness per pixel."""
        return self.flux / (2 * np.pi * np.sqrt(self.cxx * self.cyy - self.cxy**2))


def draw(image: Image, components: Components, seeing: Seeing, scale: float, floor: float) -> None:
    """Add components to an image in place.

    Parameters
    ----------
    image
        Shape ``(ny, nx)``; parts of components outside it are left out.
    components
        What to draw.
    seeing
        Point-spread function of the image, pixel response included.
    scale
        Arcsec per pixel.
    floor
        Surface brightness per pixel below which a Gaussian is not followed further out.
    """
    gaussians, half = _followed(components, seeing, scale, floor)
    # A box larger than twice the image still meets all of it.
    half = np.minimum(half, min(2 * max(image.shape), _HALF_SIDES_PX[-1]))
    group = np.searchsorted(_HALF_SIDES_PX, half)
    seen = _meets(image.shape, gaussians, _HALF_SIDES_PX[group])
    for level in np.unique(group[seen]):
        _add(image, gaussians.take(seen & (group == level)), int(_HALF_SIDES_PX[level]))


def reach_px(components: Components, seeing: Seeing, scale: float, floor: float) -> Float:
    """Return how far from its center `draw` follows each component, shape ``(n,)``.

    Parameters
    ----------
    components, seeing, scale, floor
        As for `draw`.
    """
    gaussians, half = _followed(components, seeing, scale, floor)
    reach = np.zeros(len(components.flux))
    # Boxes are rounded up, by a quarter at most.
    np.maximum.at(reach, gaussians.owner, 1.25 * half + 1)
    return reach


def _followed(
    components: Components, seeing: Seeing, scale: float, floor: float
) -> tuple[_Gaussians, Float]:
    """Return the Gaussians brighter than the floor, and how far from the center they are."""
    gaussians = _convolved(components, seeing, scale)
    gaussians = gaussians.take(gaussians.peak > floor)
    reach = np.sqrt(2 * np.log(gaussians.peak / floor))
    return gaussians, np.maximum(np.sqrt(np.maximum(gaussians.cxx, gaussians.cyy)) * reach, 4.0)


def _meets(
    shape: tuple[int, ...], gaussians: _Gaussians, half: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """Return which boxes, with some to spare, meet the image."""
    x, y, reach = gaussians.x_px, gaussians.y_px, half + 1
    return (x > -reach) & (x < shape[1] + reach) & (y > -reach) & (y < shape[0] + reach)


def _convolved(components: Components, seeing: Seeing, scale: float) -> _Gaussians:
    """Return the Gaussians of all components after the seeing, with as few of them as it hides."""
    seen = seeing.variance_arcsec2
    n = len(components.flux)
    sigma2 = np.multiply.outer(components.r_eff_arcsec**2, SERSIC_SIGMA**2)  # (n, k)
    weight, sigma2 = merge_narrow(
        sersic_weights(components.sersic_n), sigma2, np.full(n, _BLUR_RATIO * seen[0])
    )
    row, slot = np.nonzero(weight)
    major = sigma2[row, slot]  # (m,)
    minor = major * components.axis_ratio[row] ** 2
    psf_weight, psf_variance = merge_narrow(
        np.tile(seeing.weight, (len(row), 1)),
        np.tile(seen, (len(row), 1)),
        _BLUR_RATIO * minor,
    )  # (m, p)
    item, psf_slot = np.nonzero(psf_weight)
    blur = psf_variance[item, psf_slot]
    flux = components.flux[row[item]] * weight[row, slot][item] * psf_weight[item, psf_slot]
    long_px2, short_px2 = (major[item] + blur) / scale**2, (minor[item] + blur) / scale**2
    owner = row[item]
    cos, sin = np.cos(components.angle_rad[owner]), np.sin(components.angle_rad[owner])
    return _Gaussians(
        owner=owner,
        x_px=components.x_px[owner],
        y_px=components.y_px[owner],
        flux=flux,
        cxx=long_px2 * cos**2 + short_px2 * sin**2,
        cxy=(long_px2 - short_px2) * cos * sin,
        cyy=long_px2 * sin**2 + short_px2 * cos**2,
    )


def _add(image: Image, gaussians: _Gaussians, half: int) -> None:
    """Add Gaussians that share one box size, batch by batch."""
    side = 2 * half + 1
    step = max(1, _BATCH_PX // side**2)
    for start in range(0, len(gaussians.flux), step):
        batch = gaussians.take(np.arange(start, min(start + step, len(gaussians.flux))))
        x0, y0 = nearest_pixel(batch.x_px) - half, nearest_pixel(batch.y_px) - half
        stamps = _evaluate(batch, x0, y0, side)
        for stamp, left, bottom in zip(stamps, x0.tolist(), y0.tolist(), strict=True):
            _paste(image, stamp, left, bottom)


def _evaluate(
    gaussians: _Gaussians, x0: npt.NDArray[np.int64], y0: npt.NDArray[np.int64], side: int
) -> Image:
    """Return stamps ``(n, side, side)`` of Gaussians sampled at the pixel centers."""
    offset = np.arange(side)
    u = (offset + (x0 - gaussians.x_px)[:, None])[:, None, :].astype(np.float32)  # (n, 1, s)
    v = (offset + (y0 - gaussians.y_px)[:, None])[:, :, None].astype(np.float32)  # (n, s, 1)
    determinant = gaussians.cxx * gaussians.cyy - gaussians.cxy**2
    a, b, c, peak = (
        part.astype(np.float32)[:, None, None]
        for part in (
            -0.5 * gaussians.cyy / determinant,
            gaussians.cxy / determinant,
            -0.5 * gaussians.cxx / determinant,
            gaussians.peak,
        )
    )
    stamps = (b * v) * u  # (n, s, s)
    stamps += a * u**2
    stamps += c * v**2
    np.exp(stamps, out=stamps)
    stamps *= peak
    return stamps


def _paste(image: Image, stamp: Image, left: int, bottom: int) -> None:
    """Add one stamp where it meets the image."""
    side = stamp.shape[0]
    if (
        left >= 0
        and bottom >= 0
        and left + side <= image.shape[1]
        and bottom + side <= image.shape[0]
    ):
        image[bottom : bottom + side, left : left + side] += stamp
        return
    shared = overlap(Box(bottom, bottom + side, left, left + side), image.shape)
    if shared is not None:
        large, small = shared
        image[large] += stamp[small]
