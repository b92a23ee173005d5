"""A survey's exposure of the simulated sky on one grid, from which its files are cut.

Owns noise, variance and flaws of a survey exposure: saturation, bleeds, circles around bright
stars, cosmic rays, a corner and a disc without data. Does not own the sky (``sky``), what is
common to all cameras (``exposure``) nor any file.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from survey_classifier.geometry import Box
from survey_classifier.mosaic.pixels import MaskBit
from survey_classifier.synthetic.exposure import (
    BLEED_MAG,
    MASKED_STAR_MAG,
    BrightStars,
    Filter,
    add_noise,
    bright_star_radius_arcsec,
    mark_disc,
    star_mask,
)
from survey_classifier.synthetic.passbands import Passband
from survey_classifier.synthetic.plane import TangentPlane
from survey_classifier.synthetic.sky import Sky, View

__all__ = ["Flaw", "Plate", "Shot", "expose", "view"]

Image = npt.NDArray[np.float32]
Mask = npt.NDArray[np.uint8]

CORNER = 0.08
"""Legs of the corner without data, in sides of the plate."""
RAYS_PER_PX = 2e-5
"""Cosmic rays that the combination of exposures left."""
RAY_LENGTH_PX = 6
_FLOOR, _PURE_FLOOR = 0.002, 5e-5
"""Light below this share of the sky's noise is not drawn, with noise and without."""


@dataclass(frozen=True, slots=True)
class Plate:
    """A grid that is exposed at once: a tract, a tile, a frame."""

    name: str
    plane: TangentPlane
    has_gaps: bool = True
    """Whether its corner and the sky's disc are without data."""


@dataclass(frozen=True, slots=True)
class Flaw:
    """A place where a mask must have a bit: every pixel with its center in the circle."""

    bit: MaskBit
    x_px: float
    y_px: float
    """On the plate."""
    radius_px: float
    """0: the pixel itself."""


@dataclass(frozen=True, slots=True)
class Shot:
    """A plate in one band."""

    plate: Plate
    band: Passband
    flux: Image
    """Counts ``(y, x)``; NaN where there is no data."""
    mask: Mask
    """`MaskBit` ``(y, x)``."""
    variance: Image
    """Square counts ``(y, x)``; infinite where there is no data."""
    flaws: Sequence[Flaw]

    def cut(self, box: Box) -> tuple[Image, Mask, Image]:
        """Return copies of flux, mask and variance within a box of the plate."""
        rows, cols = box.slices
        planes = self.flux[rows, cols], self.mask[rows, cols], self.variance[rows, cols]
        return planes[0].copy(), planes[1].copy(), planes[2].copy()


def view(sky: Sky, band: Passband, *, noise: bool) -> View:
    """Return the sky in a band, followed as far out as an exposure needs; see `expose`."""
    return sky.through(band, band.filter.noise * (_FLOOR if noise else _PURE_FLOOR))


def expose(rng: np.random.Generator, seen: View, plate: Plate, *, noise: bool) -> Shot:
    """Expose a plate.

    Parameters
    ----------
    rng
        Source of noise and cosmic rays.
    seen
        What is seen, as of `view`.
    plate
        Where.
    noise
        Without it the flux is the sky's light alone, unsaturated and without the charge of
        cosmic rays; the mask and the variance are those of a real exposure all the same.
    """
    camera = seen.band.filter
    light, stars = seen.light(plate.plane), seen.stars(plate.plane)
    variance = np.float32(camera.noise**2) + np.maximum(light, 0) / np.float32(camera.gain)
    if noise:
        add_noise(light, camera, rng)
    mask = star_mask(light, camera, stars)
    flaws = _star_flaws(stars, camera, light.shape)
    for x, y, charge in _cosmic_rays(rng, light.shape):
        mask[y, x] |= np.uint8(MaskBit.COSMIC_RAY)
        flaws.append(Flaw(MaskBit.COSMIC_RAY, x, y, 0.0))
        if noise:
            light[y, x] += charge * camera.noise
    if noise:
        np.copyto(light, camera.saturation, where=(mask & np.uint8(MaskBit.SATURATED)) != 0)
    if plate.has_gaps:
        flaws += _gaps(mask, seen.sky, plate)
    empty = (mask & np.uint8(MaskBit.NO_DATA)) != 0
    light[empty], variance[empty] = np.nan, np.inf
    return Shot(plate, seen.band, light, mask, variance.astype(np.float32), tuple(flaws))


def _star_flaws(stars: BrightStars, camera: Filter, shape: tuple[int, ...]) -> list[Flaw]:
    """Return where bright stars must be masked."""
    flaws = []
    for x, y, mag, reference in zip(
        stars.x_px, stars.y_px, stars.mag, stars.reference_mag, strict=True
    ):
        on_plate = 0 <= round(x) < shape[1] and 0 <= round(y) < shape[0]
        if on_plate and mag <= camera.saturation_mag - BLEED_MAG:
            flaws.append(Flaw(MaskBit.SATURATED, round(x), round(y), 0.0))
        if on_plate and reference < MASKED_STAR_MAG:
            radius_px = bright_star_radius_arcsec(reference) / camera.scale_arcsec
            flaws.append(Flaw(MaskBit.BRIGHT_STAR, float(x), float(y), radius_px))
    return flaws


def _cosmic_rays(rng: np.random.Generator, shape: tuple[int, ...]) -> list[tuple[int, int, float]]:
    """Return pixels ``(x, y)`` of short tracks, at least one, and their charge in sky noises."""
    n_rays = 1 + rng.poisson(RAYS_PER_PX * shape[0] * shape[1])
    start = rng.uniform((0, 0), (shape[1], shape[0]), (n_rays, 2))
    angle, charge = rng.uniform(0, np.pi, n_rays), rng.uniform(20, 200, n_rays)
    pixels = {}
    for (x0, y0), turn, amount in zip(start, angle, charge.tolist(), strict=True):
        for step in range(RAY_LENGTH_PX):
            x, y = int(x0 + step * np.cos(turn)), int(y0 + step * np.sin(turn))
            if 0 <= x < shape[1] and 0 <= y < shape[0]:
                pixels[x, y] = amount
    return [(x, y, amount) for (x, y), amount in pixels.items()]


def _gaps(mask: Mask, sky: Sky, plate: Plate) -> list[Flaw]:
    """Mark a corner and the sky's disc as without data; return circles that lie within them."""
    ny, nx = mask.shape
    leg = int(CORNER * min(ny, nx))
    rows, cols = np.indices((leg, leg))
    mask[:leg, :leg][rows + cols < leg] |= np.uint8(MaskBit.NO_DATA)
    hole = sky.hole_on(plate.plane)
    mark_disc(mask, hole.x_px, hole.y_px, hole.radius_px, MaskBit.NO_DATA)
    # The circle inscribed in the corner's triangle, less a pixel for its stairs.
    inner = leg * (1 - np.sqrt(0.5))
    corner = Flaw(MaskBit.NO_DATA, inner, inner, max(inner - 2, 0.0))
    disc = Flaw(MaskBit.NO_DATA, hole.x_px, hole.y_px, hole.radius_px)
    return [corner, disc] if 0 <= disc.x_px < nx and 0 <= disc.y_px < ny else [corner]
