"""The simulated scene: which objects lie where, behind how much dust.

Owns places and dust. Does not own the objects themselves (``population``), how they are drawn
(``render``) or the camera (``exposure``).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from survey_classifier.membership.extinction import extinction_coefficient
from survey_classifier.synthetic.background import draw_background, draw_faint_galaxies
from survey_classifier.synthetic.colors import BANDS
from survey_classifier.synthetic.exposure import BrightStars, Hole
from survey_classifier.synthetic.listing import Listed
from survey_classifier.synthetic.members import draw_brightest, draw_members
from survey_classifier.synthetic.pointing import Pointing
from survey_classifier.synthetic.population import BACKGROUND_SHARE, MEMBER_SHARE, Population
from survey_classifier.synthetic.stars import draw_bright_star, draw_faint_stars, draw_stars
from survey_classifier.synthetic.structure import Structure, build_structure

__all__ = ["MIN_SEPARATION_ARCSEC", "Scene", "dust", "fill_scene", "list_objects"]

Float = npt.NDArray[np.float64]

MIN_SEPARATION_ARCSEC = 1.5
"""Listed objects are at least this far apart: closer pairs are one detection in a survey."""


@dataclass(frozen=True, slots=True)
class Scene:
    """All that is drawn: the listed objects first, then the faint sky."""

    population: Population
    structure: Structure
    x_px: Float
    y_px: Float
    mag: Float
    """Total magnitudes behind the dust, shape ``(n, 4)``."""

    def stars(self, band: int) -> BrightStars:
        """Return the stars as seen in one band, 0 to 3."""
        star = self.population.true_class == "star"
        reference = self.mag[star, BANDS.index("r")]
        return BrightStars(self.x_px[star], self.y_px[star], self.mag[star, band], reference)


def list_objects(
    rng: np.random.Generator, pointing: Pointing, hole: Hole, n_sources: int
) -> Listed:
    """Draw the objects of the source list, in an order that says nothing about their class.

    Parameters
    ----------
    rng
        Source of all randomness.
    pointing
        The image they lie on; three of them lie just off it.
    hole
        Where there is no data; at least one of them lies in it.
    n_sources
        How many.
    """
    n_member, n_background = (round(n_sources * s) for s in (MEMBER_SHARE, BACKGROUND_SHARE))
    population = Population.join(
        [
            draw_brightest(pointing.size_px),
            draw_bright_star(rng, pointing.size_px),
            draw_members(rng, n_member - 1),
            draw_background(rng, n_background),
            draw_stars(rng, n_sources - n_member - n_background - 1),
        ]
    )
    x_px, y_px = _places(rng, population, pointing, hole)
    order = rng.permutation(n_sources)
    population, x_px, y_px = population.take(order), x_px[order], y_px[order]
    ra, dec = pointing.pixel_to_world(x_px, y_px)
    ebv = dust(x_px, y_px, pointing)
    return Listed(population, x_px, y_px, ra, dec, ebv, _reddened(population, ebv))


def _places(
    rng: np.random.Generator, population: Population, pointing: Pointing, hole: Hole
) -> tuple[Float, Float]:
    """Put the brightest objects, one source in the hole and three off the image at fixed places."""
    size, n = pointing.size_px, len(population)
    background = np.flatnonzero(population.true_class == "background")
    far = 30 / pointing.scale_arcsec
    fixed = {
        0: (pointing.center_px, pointing.center_px),
        1: (0.72 * size, 0.30 * size),
        2: (-far, 0.4 * size),
        n - 1: (0.6 * size, size + far),
        int(background[0]): (size + 2 * far, -far),
        int(background[1]): (hole.x_px, hole.y_px),
    }
    places = _draw_places(rng, population.true_class == "member", size)
    for row, place in fixed.items():
        places[row] = place
    apart_px = MIN_SEPARATION_ARCSEC / pointing.scale_arcsec
    while pairs := cKDTree(places).query_pairs(apart_px):
        again = sorted({next(row for row in pair[::-1] if row not in fixed) for pair in pairs})
        places[again] = _draw_places(rng, population.true_class[again] == "member", size)
    return places[:, 0], places[:, 1]


def _draw_places(rng: np.random.Generator, member: npt.NDArray[np.bool_], size: int) -> Float:
    """Return places ``(n, 2)`` as (x, y): uniform, but for half the members around the center."""
    places = rng.uniform(-0.5, size - 0.5, (len(member), 2))
    clustered = rng.normal((size - 1) / 2, 0.22 * size, places.shape)
    inside = (np.abs(clustered - (size - 1) / 2) < size / 2).all(axis=1)
    chosen = member & inside & (rng.random(len(member)) < 0.6)
    return np.where(chosen[:, None], clustered, places)


def dust(x_px: Float, y_px: Float, pointing: Pointing) -> Float:
    """Return E(B-V) in mag: smooth, with the mean and the range of the Perseus field.

    Parameters
    ----------
    x_px, y_px
        Places on the image, shape ``(n,)``.
    pointing
        The image.
    """
    u, v = x_px / pointing.size_px, y_px / pointing.size_px
    waves = 0.025 * np.sin(2 * np.pi * (0.9 * u + 0.4 * v)) + 0.015 * np.cos(7 * (v - 0.6 * u))
    return 0.169 + waves + 0.02 * (u - 0.5)


def _reddened(population: Population, ebv: Float) -> Float:
    """Return magnitudes behind the dust, shape ``(n, 4)``; stars are all behind it, too."""
    return population.mag0 + np.outer(ebv, [extinction_coefficient(band, "sdss") for band in BANDS])


def fill_scene(rng: np.random.Generator, listed: Listed, pointing: Pointing) -> Scene:
    """Add the unlisted faint sky and divide everything into components.

    Parameters
    ----------
    rng
        Source of all randomness.
    listed
        The objects of the source list.
    pointing
        The image.
    """
    area = pointing.area_deg2
    faint = Population.join([draw_faint_galaxies(rng, area), draw_faint_stars(rng, area)])
    faint_px = rng.uniform(-0.5, pointing.size_px - 0.5, (2, len(faint)))
    x_px, y_px = np.concatenate([[listed.x_px, listed.y_px], faint_px], axis=1)
    population = Population.join([listed.population, faint])
    return Scene(
        population=population,
        structure=build_structure(rng, population, x_px, y_px, pointing.scale_arcsec),
        x_px=x_px,
        y_px=y_px,
        mag=_reddened(population, dust(x_px, y_px, pointing)),
    )
