"""Stars of the simulated field.

Owns their distributions; the numbers of listed ones are ``population``'s. Counts follow a model
of the Galaxy in the direction of Perseus, good to some 40 %.
"""

import numpy as np
import numpy.typing as npt

from survey_classifier.membership.redshift import SPEED_OF_LIGHT_KM_S
from survey_classifier.synthetic.colors import star_colors
from survey_classifier.synthetic.population import Population, magnitudes_from_counts

__all__ = ["draw_bright_star", "draw_faint_stars", "draw_stars"]

Float = npt.NDArray[np.float64]

_R_EDGES = np.array([12.0, 14.0, 16.0, 18.0, 20.0, 22.0])
_COUNT_DEG2 = np.array([0.2, 0.9, 3.2, 8.1, 16.7, 31.0]) * 1e3
_FAINT_COUNT_DEG2 = 22e3
_DISPERSION_Z = 120.0 / SPEED_OF_LIGHT_KM_S


def draw_stars(rng: np.random.Generator, n: int) -> Population:
    """Draw stars with r from 12 to 22.

    Parameters
    ----------
    rng
        Source of all randomness.
    n
        How many.
    """
    return _stars(rng, magnitudes_from_counts(rng, n, _R_EDGES, _COUNT_DEG2))


def draw_bright_star(rng: np.random.Generator, size_px: int) -> Population:
    """Draw the brightest star, r = 9 at 4096 pixels, fainter in a smaller field.

    Its mask radius goes with 10**(-m/4), so this keeps the masked share of the field.

    Parameters
    ----------
    rng
        Source of all randomness.
    size_px
        Side of the field.
    """
    return _stars(rng, np.array([9.0 - 4 * np.log10(size_px / 4096)]))


def draw_faint_stars(rng: np.random.Generator, area_deg2: float) -> Population:
    """Draw stars below the list's limit, r from 22 to 24, at their natural density.

    Parameters
    ----------
    rng
        Source of all randomness.
    area_deg2
        Area of the field.
    """
    return _stars(rng, rng.uniform(22, 24, rng.poisson(_FAINT_COUNT_DEG2 * area_deg2)))


def _stars(rng: np.random.Generator, r0: Float) -> Population:
    """Draw stars of given magnitudes: main-sequence turn-off and red dwarfs."""
    n = len(r0)
    dwarf = rng.random(n) < np.interp(r0, [14, 18, 22], [0.1, 0.35, 0.65])
    g_i = np.where(dwarf, rng.normal(2.1, 0.45, n), rng.normal(0.7, 0.25, n))
    colors = star_colors(np.clip(g_i, -0.2, 3.5), rng.normal(0, 0.02, (n, 2)))
    zeros = np.zeros(n)
    return Population(
        true_class=np.full(n, "star", dtype=object),
        mag0=r0[:, None] + colors,
        redshift=rng.normal(0, _DISPERSION_Z, n),
        r_eff_arcsec=zeros,
        sersic_n=np.ones(n),
        axis_ratio=np.ones(n),
        angle_rad=zeros,
        bulge_share=zeros,
        nucleus_share=zeros,
        knot_share=zeros,
    )
