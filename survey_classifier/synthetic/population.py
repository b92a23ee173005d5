"""Who is in the simulated field: members, background galaxies and stars, drawn by seed.

Owns the distributions. Does not own colors at a given type (``colors``), light profiles
(``structure``) or what an observer would write down (``listing``).

What follows Perseus: the shape of each luminosity function, the red sequence, the blue
fractions, the relations of size and Sersic index with luminosity, nuclei and ultra-diffuse
galaxies of the members; sizes, indices and colors of the background; counts and colors of the
stars. What is scaled: the *numbers* of listed objects. A real field of 11.5 arcmin near the
center holds about 100 members to V = 23, 830 background galaxies to V = 24 and 1100 stars to
r = 22; the simulated one holds 360, 1530 and 1110 of 3000, so that a demonstration has members
enough. Unlisted galaxies and stars fainter than that are drawn at their natural density.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from survey_classifier.synthetic.colors import (
    galaxy_colors,
    member_colors,
    star_colors,
    v_minus_r,
)
from survey_classifier.synthetic.profiles import MAX_INDEX, MIN_INDEX

__all__ = [
    "BACKGROUND_SHARE",
    "MEMBER_SHARE",
    "Population",
    "draw_background",
    "draw_bright_star",
    "draw_brightest",
    "draw_faint_sky",
    "draw_members",
    "draw_stars",
]

Float = npt.NDArray[np.float64]

MEMBER_SHARE, BACKGROUND_SHARE = 0.12, 0.51
"""Shares of the listed objects; the others are stars."""

DISTANCE_MODULUS = 34.29
KPC_PER_ARCSEC = 0.349
Z_CLUSTER = 0.01754
_SIGMA_Z = 1040.0 * (1 + Z_CLUSTER) / 299792.458

# Counts per deg2, cumulative (from DOMAIN tables; the last background magnitude doubles).
_MEMBER_V = np.arange(14.0, 24.0)
_MEMBER_COUNT = np.cumsum([0, 17, 30, 71, 101, 118, 193, 301, 328, 365], dtype=np.float64)
_BACKGROUND_V = np.arange(16.0, 25.0)
_BACKGROUND_COUNT = np.cumsum([0, 17, 78, 217, 562, 1343, 2828, 5866, 11732], dtype=np.float64)
_STAR_R = np.array([12.0, 14.0, 16.0, 18.0, 20.0, 22.0])
_STAR_COUNT = np.array([0.2, 0.9, 3.2, 8.1, 16.7, 31.0]) * 1e3
_FAINT_STAR_COUNT_DEG2 = 22e3
_FAINT_GALAXY_V = (24.0, 26.0)
_FAINT_SLOPE = 0.31


@dataclass(frozen=True, slots=True)
class Population:
    """Simulated objects, one row each; arrays have shape ``(n,)`` unless said otherwise.

    Raises
    ------
    ValueError
        If the arrays differ in length.
    """

    true_class: npt.NDArray[np.object_]
    """``member``, ``background`` or ``star``."""
    mag0: Float
    """Total AB magnitudes free of extinction, shape ``(n, 4)``, bands g r i z."""
    redshift: Float
    r_eff_arcsec: Float
    """Half-light radius of the main component along its major axis; 0 is a point."""
    sersic_n: Float
    axis_ratio: Float
    angle_rad: Float
    bulge_share: Float
    """Share of the r flux in a compact bulge."""
    nucleus_share: Float
    """Share of the flux in a point-like nucleus."""
    knot_share: Float
    """Share of the r flux in star-forming knots."""

    def __post_init__(self) -> None:
        lengths = {len(getattr(self, field.name)) for field in fields(self)}
        if len(lengths) != 1:
            raise ValueError(f"a population needs arrays of one length, got {sorted(lengths)}")

    def __len__(self) -> int:
        return len(self.true_class)

    @classmethod
    def join(cls, parts: Sequence["Population"]) -> "Population":
        """Return all rows of several populations, in order."""
        names = [field.name for field in fields(cls)]
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def take(self, index: npt.NDArray[np.intp]) -> "Population":
        """Return the rows at an index."""
        return Population(*(getattr(self, field.name)[index] for field in fields(self)))


def _from_counts(rng: np.random.Generator, n: int, magnitude: Float, cumulative: Float) -> Float:
    """Draw magnitudes whose counts follow a cumulative table, log-linear between its rows."""
    low = max(cumulative[0], cumulative[1] * 0.1)
    log_count = np.log(np.maximum(cumulative, low))
    return np.interp(np.log(rng.uniform(low, cumulative[-1], n)), log_count, magnitude)


def _bounded_index(log10_n: Float) -> Float:
    return np.clip(10**log10_n, MIN_INDEX, MAX_INDEX)


def _axis_ratio(rng: np.random.Generator, n: int, thin: Float) -> Float:
    """Return apparent axis ratios of randomly tilted spheroids of thickness ``thin``."""
    cosine = rng.uniform(0, 1, n)
    return np.sqrt(thin**2 + (1 - thin**2) * cosine**2)


def draw_members(rng: np.random.Generator, n: int) -> Population:
    """Draw cluster members with V from 14 to 23 (luminosities of the Perseus dwarfs).

    Parameters
    ----------
    rng
        Source of all randomness.
    n
        How many.
    """
    v0 = _from_counts(rng, n, _MEMBER_V, _MEMBER_COUNT)
    r0 = v0 - 0.27
    absolute = v0 - DISTANCE_MODULUS
    blue = rng.random(n) < np.select([r0 < 16, r0 < 17], [0.09, 0.26], 0.15)
    delta = np.where(blue, -0.30 - np.abs(rng.normal(0, 0.22, n)), rng.normal(0, 0.07, n))
    colors = member_colors(r0, delta, rng.normal(0, 0.015, (n, 2)))
    diffuse = (rng.random(n) < 0.2) & (absolute > -15.5) & (absolute < -12.0)
    log_kpc = -0.055 - 0.092 * (absolute + 15) + rng.normal(0, 0.19, n)
    log_kpc = np.where(diffuse, rng.uniform(0.18, 0.5, n), log_kpc)
    axis_ratio = _axis_ratio(rng, n, np.where(blue, 0.25, 0.5))
    log_n = 0.071 - 0.096 * (absolute + 15) + rng.normal(0, 0.20, n)
    log_n = np.where(blue | diffuse, np.minimum(log_n, rng.normal(0.0, 0.1, n)), log_n)
    nucleated = ~blue & (rng.random(n) < np.interp(absolute, [-18, -13, -11], [0.65, 0.45, 0.15]))
    return Population(
        true_class=np.full(n, "member", dtype=object),
        mag0=r0[:, None] + colors,
        redshift=rng.normal(Z_CLUSTER, _SIGMA_Z, n),
        r_eff_arcsec=10**log_kpc / KPC_PER_ARCSEC / np.sqrt(axis_ratio),
        sersic_n=_bounded_index(log_n),
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


def draw_background(rng: np.random.Generator, n: int) -> Population:
    """Draw background galaxies with V from 16 to 24.

    Parameters
    ----------
    rng
        Source of all randomness.
    n
        How many.
    """
    return _galaxies(rng, _from_counts(rng, n, _BACKGROUND_V, _BACKGROUND_COUNT))


def _galaxies(rng: np.random.Generator, v0: Float) -> Population:
    """Draw field galaxies of given magnitudes."""
    n = len(v0)
    early = rng.random(n) < np.interp(v0, [16, 18.5, 20.5, 22.5, 25], [0.55, 0.5, 0.33, 0.2, 0.1])
    typical_late = np.interp(v0, [16, 20, 23], [1.0, 0.95, 0.75])
    late_kind = np.clip(rng.normal(typical_late, 0.4), 0, 1.8)
    kind = np.where(early, np.clip(rng.normal(1.9, 0.1, n), 1.5, 2), late_kind)
    redshift = _background_redshift(rng, v0)
    colors = galaxy_colors(kind, redshift, rng.normal(0, [0.06, 0.04, 0.03], (n, 3)))
    axis_ratio = _axis_ratio(rng, n, np.where(early, 0.55, 0.2))
    log_radius = np.interp(v0, [16, 18.5, 20.5, 22.5, 26], [0.62, 0.27, -0.004, -0.187, -0.45])
    log_n = np.where(early, rng.normal(0.42, 0.15, n), rng.normal(0.0, 0.12, n))
    return Population(
        true_class=np.full(n, "background", dtype=object),
        mag0=(v0 - v_minus_r(colors[:, 0]))[:, None] + colors,
        redshift=redshift,
        r_eff_arcsec=10 ** rng.normal(log_radius, 0.2) / np.sqrt(axis_ratio),
        sersic_n=_bounded_index(log_n),
        axis_ratio=axis_ratio,
        angle_rad=rng.uniform(0, np.pi, n),
        bulge_share=np.where(early, 0.0, rng.beta(1.2, 4, n) * np.minimum(kind, 1)),
        nucleus_share=np.zeros(n),
        knot_share=np.where(early, 0.0, rng.uniform(0, 0.35, n) * np.clip(1.6 - kind, 0, 1)),
    )


def _background_redshift(rng: np.random.Generator, v0: Float) -> Float:
    """Draw redshifts around the median at each magnitude, with walls at 0.05 and 0.10."""
    n = len(v0)
    median = np.interp(v0, [16, 18.5, 20.5, 22.5, 25], [0.06, 0.11, 0.25, 0.5, 0.75])
    smooth = median * rng.gamma(5.0, 1 / 4.67, n)
    wall = np.where(rng.random(n) < 0.4, rng.normal(0.05, 0.002, n), rng.normal(0.10, 0.003, n))
    in_wall = rng.random(n) < np.interp(v0, [18, 21], [0.3, 0.05])
    return np.maximum(np.where(in_wall, wall, smooth), 0.034 + 0.002 * rng.random(n))


def draw_stars(rng: np.random.Generator, n: int) -> Population:
    """Draw stars with r from 12 to 22.

    Parameters
    ----------
    rng
        Source of all randomness.
    n
        How many.
    """
    return _stars(rng, _from_counts(rng, n, _STAR_R, _STAR_COUNT))


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
        redshift=rng.normal(0, 120 / 299792.458, n),
        r_eff_arcsec=zeros,
        sersic_n=np.ones(n),
        axis_ratio=np.ones(n),
        angle_rad=zeros,
        bulge_share=zeros,
        nucleus_share=zeros,
        knot_share=zeros,
    )


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


def draw_faint_sky(rng: np.random.Generator, area_deg2: float) -> Population:
    """Draw what is below the list's limit: galaxies with V 24 to 26, stars with r 22 to 24.

    Parameters
    ----------
    rng
        Source of all randomness.
    area_deg2
        Area of the field.
    """
    faint, faintest = _FAINT_GALAXY_V
    # N(<i) = 46 * 10**(0.31 (i - 25)) per arcmin2, with V - i = 0.8 for faint galaxies.
    counts = [46 * 3600 * 10 ** (_FAINT_SLOPE * (v - 0.8 - 25)) for v in (faint, faintest)]
    n_galaxy = rng.poisson((counts[1] - counts[0]) * area_deg2)
    step = 10 ** (_FAINT_SLOPE * (faintest - faint))
    v0 = faint + np.log10(rng.uniform(1, step, n_galaxy)) / _FAINT_SLOPE
    n_star = rng.poisson(_FAINT_STAR_COUNT_DEG2 * area_deg2)
    return Population.join([_galaxies(rng, v0), _stars(rng, rng.uniform(22, 24, n_star))])
