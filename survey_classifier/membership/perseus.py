"""The prior of the Perseus cluster, from published counts.

Owns the numbers and how they become a table; ``priors/perseus.toml`` is its output. Does not own
the table's meaning (``priors``).

Counts per mag and square degree by V_0 are those of members and of background galaxies in the
Perseus Cluster Catalog (Wittmann et al. 2019, ApJS 245, 10), with V_0 = r_0 + 0.27 for its dwarfs.
Brighter than the background is counted, it is extended by the slope of space of even density,
10^(0.6 m); members are missing in the catalog there, so these shares are lower limits. The members'
density at three radii is that of the same catalog (V_0 < 20), the background's is even; log-odds
therefore change with the radius as the log of the members' density over its mean over the catalog's
footprint. Beyond the outer radius the density falls as R^-2, as the projected profile of Navarro,
Frenk & White (1996) does at large radii. Counts of stars, good to 40 %, are cumulative in r.
"""

import numpy as np
import numpy.typing as npt

from survey_classifier.membership.priors import PriorTable
from survey_classifier.membership.probability import expit, logit

__all__ = ["CENTER_DEG", "perseus_prior"]

Floats = npt.NDArray[np.float64]

CENTER_DEG = (49.950667, 41.511696)
"""NGC 1275."""
FOOTPRINT_DEG = ((49.236, 50.009), (41.196, 41.769))
"""Of the catalog, in right ascension and declination."""
V_MINUS_R = 0.27
COUNTED_V = np.arange(14.5, 23)
"""Middles of the bins of one magnitude in V_0."""
MEMBERS = np.array([17, 30, 71, 101, 118, 193, 301, 328, 365], dtype=np.float64)
"""Per mag and square degree."""
BACKGROUND = np.array([17, 78, 217, 562, 1343, 2828, 5866], dtype=np.float64)
"""Per mag and square degree, of the last seven bins."""
EVEN_SPACE = 0.6
"""Slope of log10 of counts with magnitude where density is even."""
FAINTEST = (23.5, 0.028)
"""V_0 and share of members of the faintest bin of galaxies."""
PROFILE_DEG = np.array([2.5, 12.5, 33.0]) / 60
"""Middles of the rings of 0-5, 10-15 and 30-36 arcmin."""
PROFILE = np.array([914.0, 533.0, 350.0])
"""Members with V_0 < 20 per square degree in them."""
OUTER_SLOPE = -2.0
FAR_DEG = 5.0
STARS_R = np.array([14.0, 16.0, 18.0, 20.0, 22.0, 24.0])
STARS_BELOW = np.array([900.0, 3200.0, 8100.0, 16700.0, 31000.0, 53000.0])
"""Stars brighter than that in r, per square degree."""


def perseus_prior() -> PriorTable:
    """Return the table, with values of four digits."""
    faintest_v, faintest = FAINTEST
    magnitudes = np.append(COUNTED_V, faintest_v) - V_MINUS_R
    bright = len(MEMBERS) - len(BACKGROUND)
    steps = np.arange(bright, 0, -1)
    background = np.concatenate([BACKGROUND[0] * 10 ** (-EVEN_SPACE * steps), BACKGROUND])
    marginal = np.append(MEMBERS / (MEMBERS + background), faintest)
    radii = np.append(PROFILE_DEG, FAR_DEG)
    shift = np.log(_density(radii) / _mean_density())
    share = expit(logit(marginal)[:, None] + shift)
    # The faintest bin's galaxies are twice as many as those a magnitude brighter.
    galaxies = np.append(MEMBERS + background, 2 * (MEMBERS + background)[-1])
    stars = _stars(magnitudes)
    return PriorTable(
        source="Perseus Cluster Catalog (Wittmann et al. 2019, ApJS 245, 10): counts by magnitude "
        "and radius; counts of stars to 40 %; made by survey_classifier.membership.perseus",
        magnitudes=_rounded(magnitudes),
        marginal_share=_rounded(marginal),
        radii_deg=_rounded(radii),
        share=tuple(_rounded(row) for row in share),
        star_share=_rounded(stars / (stars + galaxies)),
        overall=_rounded((marginal * galaxies).sum() / galaxies.sum())[0],
        overall_star=_rounded(stars.sum() / (stars + galaxies).sum())[0],
    )


def _density(radius_deg: Floats) -> Floats:
    """Return the members per square degree at a radius, a power law between rings."""
    inner = np.interp(np.log(radius_deg), np.log(PROFILE_DEG), np.log(PROFILE))
    outer = np.maximum(np.log(radius_deg / PROFILE_DEG[-1]), 0)
    return np.asarray(np.exp(inner + OUTER_SLOPE * outer), dtype=np.float64)


def _mean_density() -> float:
    """Return the members per square degree averaged over the catalog's footprint."""
    (ra_min, ra_max), (dec_min, dec_max) = FOOTPRINT_DEG
    ra, dec = np.meshgrid(np.linspace(ra_min, ra_max, 401), np.linspace(dec_min, dec_max, 401))
    east = (ra - CENTER_DEG[0]) * np.cos(np.radians(dec))
    return float(_density(np.hypot(east, dec - CENTER_DEG[1]) + 1e-6).mean())


def _stars(magnitudes: Floats) -> Floats:
    """Return the stars per mag and square degree."""
    middles = (STARS_R[1:] + STARS_R[:-1]) / 2
    density = np.diff(STARS_BELOW) / np.diff(STARS_R)
    slope, level = np.polyfit(middles, np.log(density), 1)
    return np.asarray(np.exp(level + slope * magnitudes), dtype=np.float64)


def _rounded(values: npt.ArrayLike) -> tuple[float, ...]:
    return tuple(float(f"{value:.4g}") for value in np.atleast_1d(values))
