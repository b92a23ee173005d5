"""Members of the simulated cluster.

Owns the distributions of the members; their numbers are ``population``'s. Figures are those of
Perseus: counts of Wittmann et al. (2019), the relations of size and Sersic index of its dwarfs,
the shares of nucleated, blue and ultra-diffuse galaxies.
"""

import numpy as np
import numpy.typing as npt

from survey_classifier.membership.redshift import SPEED_OF_LIGHT_KM_S, RedshiftCuts
from survey_classifier.synthetic.colors import member_colors
from survey_classifier.synthetic.population import (
    Population,
    axis_ratios,
    bounded_index,
    magnitudes_from_counts,
)

__all__ = [
    "DISTANCE_MODULUS",
    "KPC_PER_ARCSEC",
    "Z_CLUSTER",
    "draw_brightest",
    "draw_members",
    "dwarf_log_radius_kpc",
]

Float = npt.NDArray[np.float64]

DISTANCE_MODULUS = 34.29
KPC_PER_ARCSEC = 0.349
_CLUSTER = RedshiftCuts()
Z_CLUSTER = _CLUSTER.z_cluster
_SIGMA_Z = _CLUSTER.sigma_km_s * (1 + Z_CLUSTER) / SPEED_OF_LIGHT_KM_S

_V_EDGES = np.arange(14.0, 24.0)
_COUNT_DEG2 = np.cumsum([0, 17, 30, 71, 101, 118, 193, 301, 328, 365], dtype=np.float64)


def dwarf_log_radius_kpc(absolute_v: Float) -> Float:
    """Return log10 of the typical circular half-light radius in kpc of a dwarf.

    Parameters
    ----------
    absolute_v
        Absolute V magnitude, shape ``(n,)``.
    """
    return -0.055 - 0.092 * (absolute_v + 15)


def draw_members(rng: np.random.Generator, n: int) -> Population:
    """Draw cluster members with V from 14 to 23 (luminosities of the Perseus dwarfs).

    Parameters
    ----------
    rng
        Source of all randomness.
    n
        How many.
    """
    v0 = magnitudes_from_counts(rng, n, _V_EDGES, _COUNT_DEG2)
    r0 = v0 - 0.27
    absolute = v0 - DISTANCE_MODULUS
    blue = rng.random(n) < np.select([r0 < 16, r0 < 17], [0.09, 0.26], 0.15)
    delta = np.where(blue, -0.30 - np.abs(rng.normal(0, 0.22, n)), rng.normal(0, 0.07, n))
    colors = member_colors(r0, delta, rng.normal(0, 0.02, (n, 2)))
    diffuse = (rng.random(n) < 0.06) & (absolute > -15.5) & (absolute < -12.0)
    log_kpc = rng.normal(dwarf_log_radius_kpc(absolute), 0.19)
    log_kpc = np.where(diffuse, rng.uniform(0.18, 0.5, n), log_kpc)
    axis_ratio = axis_ratios(rng, np.where(blue, 0.25, 0.5))
    log_n = 0.071 - 0.096 * (absolute + 15) + rng.normal(0, 0.20, n)
    log_n = np.where(blue | diffuse, np.minimum(log_n, rng.normal(0.0, 0.1, n)), log_n)
    nucleated = ~blue & (rng.random(n) < np.interp(absolute, [-18, -13, -11], [0.65, 0.45, 0.15]))
    return Population(
        true_class=np.full(n, "member", dtype=object),
        mag0=r0[:, None] + colors,
        redshift=rng.normal(Z_CLUSTER, _SIGMA_Z, n),
        r_eff_arcsec=10**log_kpc / KPC_PER_ARCSEC / np.sqrt(axis_ratio),
        sersic_n=bounded_index(log_n),
        axis_ratio=axis_ratio,
        angle_rad=rng.uniform(0, np.pi, n),
        bulge_share=np.where(absolute < -18.5, rng.uniform(0, 0.4, n), 0.0),
        nucleus_share=np.where(nucleated, 10 ** rng.uniform(-2.3, -1.1, n), 0.0),
        knot_share=np.where(blue, rng.uniform(0.05, 0.3, n), 0.0),
    )


def draw_brightest(size_px: int) -> Population:
    """Return the central galaxy and its halo, scaled to the field at fixed surface brightness.

    Parameters
    ----------
    size_px
        Side of the field; at 4096 the galaxy has r = 12.0 and a half-light radius of 22 arcsec.
    """
    part = size_px / 4096
    r0 = np.array([12.0 - 5 * np.log10(part)])
    one = np.ones(1)
    return Population(
        true_class=np.array(["member"], dtype=object),
        mag0=r0[:, None] + member_colors(np.maximum(r0, 13.0), 0 * one, np.zeros((1, 2))),
        redshift=Z_CLUSTER * one,
        r_eff_arcsec=22.0 * part * one,
        sersic_n=3.0 * one,
        axis_ratio=0.8 * one,
        angle_rad=0.4 * one,
        bulge_share=0 * one,
        nucleus_share=0.002 * one,
        knot_share=0 * one,
    )
