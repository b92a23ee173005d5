"""One simulated sky, of which every survey file shows a part.

Owns the places of all objects on the sky and their light on any image grid. Does not own the
objects (``scene``), the bands (``passbands``) nor what a camera adds (``plate``).
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from survey_classifier.mosaic.readers.calibration import NJY_ZERO_POINT
from survey_classifier.synthetic.colors import BANDS
from survey_classifier.synthetic.exposure import (
    BLEED_MAG,
    MASKED_STAR_MAG,
    SCALE_ARCSEC,
    BrightStars,
    Hole,
)
from survey_classifier.synthetic.listing import Listed
from survey_classifier.synthetic.passbands import Passband
from survey_classifier.synthetic.plane import TangentPlane
from survey_classifier.synthetic.pointing import Pointing
from survey_classifier.synthetic.render import Components, draw, reach_px
from survey_classifier.synthetic.scene import Scene, dust, fill_scene, list_objects

__all__ = ["Sky", "View", "draw_sky"]

Float = npt.NDArray[np.float64]
Image = npt.NDArray[np.float32]

HOLE_RADIUS = 150 / 4096
"""Of the disc without data, in sides of the sky."""


@dataclass(frozen=True, slots=True)
class Sky:
    """A square of simulated sky: objects, dust, and a disc that no camera has data of."""

    grid: TangentPlane
    """What the scene's pixel positions are on."""
    listed: Listed
    """The objects of the source list: the first rows of the scene."""
    scene: Scene
    ebv: Float
    """E(B-V) in front of each object of the scene, mag."""
    hole: Hole

    def mag(self, band: Passband) -> Float:
        """Return the total magnitudes of the scene's objects behind the dust, shape ``(n,)``."""
        return band.observed(self.scene.population.mag0, self.ebv)

    def flux_njy(self, band: Passband) -> Float:
        """Return the total fluxes of the listed objects behind the dust, shape ``(n,)``."""
        return 10 ** (0.4 * (NJY_ZERO_POINT - self.mag(band)[: len(self.listed)]))

    def through(self, band: Passband, floor: float) -> "View":
        """Return the sky as seen in a band.

        Parameters
        ----------
        band
            Through which filter.
        floor
            Counts per pixel of the band below which light is not followed further out.
        """
        parts, camera = self.scene.structure, band.filter
        flux = 10 ** (0.4 * (camera.zero_point - self.mag(band)))
        components = parts.components(flux, band.tint)
        on_camera = replace(
            components, x_px=np.zeros_like(parts.x_px), y_px=np.zeros_like(parts.y_px)
        )
        reach = reach_px(on_camera, camera.seeing, camera.scale_arcsec, floor)
        mag, reference = self.mag(band), self.scene.mag[:, BANDS.index("r")]
        flawed = (mag <= camera.saturation_mag - BLEED_MAG) | (reference < MASKED_STAR_MAG)
        star = flawed & (self.scene.population.true_class == "star")
        return View(
            sky=self,
            band=band,
            floor=floor,
            components=components,
            reach_px=reach * camera.scale_arcsec / self.grid.scale_arcsec,
            bright=BrightStars(
                self.scene.x_px[star], self.scene.y_px[star], mag[star], reference[star]
            ),
        )

    def on(self, plane: TangentPlane, x_px: Float, y_px: Float) -> tuple[Float, Float]:
        """Return pixel positions of places that are given on the scene's own grid."""
        return plane.world_to_pixel(*self.grid.pixel_to_world(x_px, y_px))

    def hole_on(self, plane: TangentPlane) -> Hole:
        """Return the disc without data on an image grid."""
        x_px, y_px = self.on(plane, np.array([self.hole.x_px]), np.array([self.hole.y_px]))
        radius_px = self.hole.radius_px * self.grid.scale_arcsec / plane.scale_arcsec
        return Hole(float(x_px[0]), float(y_px[0]), radius_px)


@dataclass(frozen=True, slots=True)
class View:
    """The sky in one band, ready to be drawn on many grids."""

    sky: Sky
    band: Passband
    floor: float
    """Counts per pixel below which light is not followed further out."""
    components: Components
    """In counts, on the scene's own grid."""
    reach_px: Float
    """How far each of them is followed, in pixels of that grid."""
    bright: BrightStars
    """Stars that may saturate or have a circle around them, on that grid."""

    def light(self, plane: TangentPlane) -> Image:
        """Return the noiseless light on an image grid, counts.

        Parameters
        ----------
        plane
            The grid; its scale may differ from the band's own.
        """
        image = np.zeros(plane.shape, dtype=np.float32)
        parts = self.components.take(self._near(plane))
        cos, sin = np.cos(parts.angle_rad), np.sin(parts.angle_rad)
        x_px, y_px = self.sky.on(plane, parts.x_px, parts.y_px)
        tip_x, tip_y = self.sky.on(plane, parts.x_px + cos, parts.y_px + sin)
        angle = np.arctan2(tip_y - y_px, tip_x - x_px)
        there = replace(parts, x_px=x_px, y_px=y_px, angle_rad=angle)
        draw(image, there, self.band.filter.seeing, plane.scale_arcsec, self.floor)
        return image

    def _near(self, plane: TangentPlane) -> npt.NDArray[np.bool_]:
        """Return which components may be seen on a grid."""
        ny, nx = plane.shape
        ra, dec = plane.pixel_to_world(np.array([(nx - 1) / 2]), np.array([(ny - 1) / 2]))
        x_px, y_px = self.sky.grid.world_to_pixel(ra, dec)
        radius = 0.5 * np.hypot(ny, nx) * plane.scale_arcsec / self.sky.grid.scale_arcsec
        distance = np.hypot(self.components.x_px - x_px, self.components.y_px - y_px)
        # Planes that touch the sky a degree apart differ in scale by less than a thousandth.
        return distance < 1.001 * (radius + self.reach_px) + 1

    def stars(self, plane: TangentPlane) -> BrightStars:
        """Return the stars that may saturate or have a circle, on an image grid."""
        x_px, y_px = self.sky.on(plane, self.bright.x_px, self.bright.y_px)
        return replace(self.bright, x_px=x_px, y_px=y_px)


def draw_sky(
    rng: np.random.Generator, ra_deg: float, dec_deg: float, side_arcsec: float, n_sources: int
) -> Sky:
    """Draw the objects of a square of sky.

    Parameters
    ----------
    rng
        Source of all randomness.
    ra_deg, dec_deg
        Middle of the square.
    side_arcsec
        Its side; the brightest objects scale with it.
    n_sources
        Objects of the source list; fainter ones are added at their natural density.
    """
    pointing = Pointing(round(side_arcsec / SCALE_ARCSEC), SCALE_ARCSEC, ra_deg, dec_deg)
    size = pointing.size_px
    hole = Hole(0.25 * size, 0.75 * size, HOLE_RADIUS * size)
    listed = list_objects(rng, pointing, hole, n_sources)
    scene = fill_scene(rng, listed, pointing)
    grid = TangentPlane.centered((size, size), SCALE_ARCSEC, ra_deg, dec_deg)
    return Sky(grid, listed, scene, dust(scene.x_px, scene.y_px, pointing), hole)
