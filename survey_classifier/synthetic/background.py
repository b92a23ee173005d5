"""Background galaxies of the simulated field.

Owns their distributions; the numbers of listed ones are ``population``'s. Counts, sizes, indices
and colors follow the background of the Perseus field as far as it is known; the shares of types
and the redshifts are chosen to give these colors.
"""

import numpy as np
import numpy.typing as npt

from survey_classifier.synthetic.colors import galaxy_colors, v_minus_r
from survey_classifier.synthetic.members import (
    DISTANCE_MODULUS,
    KPC_PER_ARCSEC,
    Z_CLUSTER,
    dwarf_log_radius_kpc,
)
from survey_classifier.synthetic.population import (
    Population,
    axis_ratios,
    bounded_index,
    magnitudes_from_counts,
)

__all__ = ["draw_background", "draw_faint_galaxies"]

Float = npt.NDArray[np.float64]

_V_EDGES = np.arange(16.0, 25.0)
_COUNT_DEG2 = np.cumsum([0, 17, 78, 217, 562, 1343, 2828, 5866, 11732], dtype=np.float64)

_NEAR_SHARE = (0.35, 0.25, 0.10)
"""Share of galaxies in the walls at z = 0.05 and 0.10, at V = 16, 20 and 24."""

_FAINT_V = (24.0, 26.0)
_FAINT_SLOPE = 0.31
_FAINT_V_MINUS_I = 0.8


def draw_background(rng: np.random.Generator, n: int) -> Population:
    """Draw background galaxies with V from 16 to 24.

    Parameters
    ----------
    rng
        Source of all randomness.
    n
        How many.
    """
    return _galaxies(rng, magnitudes_from_counts(rng, n, _V_EDGES, _COUNT_DEG2))


def draw_faint_galaxies(rng: np.random.Generator, area_deg2: float) -> Population:
    """Draw galaxies below the list's limit, V from 24 to 26, at their natural density.

    Parameters
    ----------
    rng
        Source of all randomness.
    area_deg2
        Area of the field.
    """
    # N(<i) = 46 * 10**(0.31 (i - 25)) per arcmin2.
    low, high = (46 * 3600 * 10 ** (_FAINT_SLOPE * (v - _FAINT_V_MINUS_I - 25)) for v in _FAINT_V)
    counts = rng.uniform(1, high / low, rng.poisson((high - low) * area_deg2))
    return _galaxies(rng, _FAINT_V[0] + np.log10(counts) / _FAINT_SLOPE)


def _galaxies(rng: np.random.Generator, v0: Float) -> Population:
    """Draw field galaxies of given magnitudes."""
    n = len(v0)
    early = rng.random(n) < np.interp(v0, [16, 18.5, 20.5, 22.5, 25], [0.55, 0.5, 0.33, 0.2, 0.1])
    typical_late = np.interp(v0, [16, 20, 23], [0.85, 0.8, 0.65])
    late_kind = np.clip(rng.normal(typical_late, 0.45), 0, 1.8)
    kind = np.where(early, np.clip(rng.normal(1.9, 0.1, n), 1.5, 2), late_kind)
    redshift, near = _background_redshift(rng, v0)
    colors = galaxy_colors(kind, redshift, rng.normal(0, [0.12, 0.07, 0.06], (n, 3)))
    axis_ratio = axis_ratios(rng, np.where(early, 0.55, 0.2))
    bulge = np.minimum(rng.beta(1.2, 4, n), 0.5)
    log_n = np.where(early & ~near, rng.normal(0.42, 0.15, n), rng.normal(0.02, 0.12, n))
    return Population(
        true_class=np.full(n, "background", dtype=object),
        mag0=(v0 - v_minus_r(colors[:, 0]))[:, None] + colors,
        redshift=redshift,
        r_eff_arcsec=10 ** _background_radius(rng, v0, redshift, near) / np.sqrt(axis_ratio),
        sersic_n=bounded_index(log_n),
        axis_ratio=axis_ratio,
        angle_rad=rng.uniform(0, np.pi, n),
        bulge_share=np.where(early, 0.0, bulge * np.minimum(kind, 1)),
        nucleus_share=np.zeros(n),
        knot_share=np.where(early, 0.0, rng.uniform(0, 0.35, n) * np.clip(1.6 - kind, 0, 1)),
    )


def _background_redshift(
    rng: np.random.Generator, v0: Float
) -> tuple[Float, npt.NDArray[np.bool_]]:
    """Draw redshifts, and whether a galaxy is one of the walls at 0.05 and 0.10 or a far one."""
    n = len(v0)
    median = np.interp(v0, [16, 18.5, 20.5, 22.5, 25], [0.06, 0.11, 0.25, 0.5, 0.75])
    smooth = median * rng.gamma(5.0, 1 / 4.67, n)
    wall = np.where(rng.random(n) < 0.5, rng.normal(0.05, 0.003, n), rng.normal(0.10, 0.004, n))
    near = rng.random(n) < np.interp(v0, [16, 20, 24], _NEAR_SHARE)
    redshift = np.where(near, wall, smooth)
    return np.maximum(redshift, 0.034 + 0.002 * rng.random(n)), near


def _background_radius(
    rng: np.random.Generator, v0: Float, redshift: Float, near: npt.NDArray[np.bool_]
) -> Float:
    """Draw log10 of circular half-light radii in arcsec.

    Dwarfs in the walls have the sizes of the cluster's at their own distance (Hubble flow, small
    redshift): they are what a cluster dwarf is most easily mistaken for.
    """
    far_log = np.interp(v0, [16, 18.5, 20.5, 22.5, 26], [0.62, 0.27, -0.004, -0.187, -0.45])
    ratio = np.log10(redshift / Z_CLUSTER)
    absolute = v0 - DISTANCE_MODULUS - 5 * ratio
    near_log = dwarf_log_radius_kpc(absolute) - np.log10(KPC_PER_ARCSEC) - ratio
    return rng.normal(np.where(near, near_log, far_log), 0.22)
