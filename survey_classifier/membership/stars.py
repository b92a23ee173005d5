"""Whether a source is a star: point-likeness, Gaia, and color off the galaxies' place.

Owns the star evidence and how its pieces combine to ``p_star``. Does not measure point-likeness
(``sources.pointlike``) nor own the share of stars (``priors``).

Each piece is a ratio of the chance of what was seen if it is a star and if it is a galaxy, and
each is bounded, since each has a rate of failures:

    point-likeness l:  ((1 - e) l + e (1 - l)) / ((1 - f) (1 - l) + f l)
    Gaia says star:    c / w       Gaia says not a star:   (1 - c) / (1 - w)
    color:             distance d of r - z from the stars' locus at the source's g - r,
                       (normal(d; 0, s_star) + u) / (normal(d; m, s_galaxy) + u)

e is the share of stars that look extended, f(r_0) that of galaxies too small to tell from points,
c and w the shares of stars and of galaxies that Gaia calls stars. The index l is what the
probability of a point would be if half of all sources were points, so l / (1 - l) is itself a
ratio of likelihoods.
"""

from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from survey_classifier.membership.probability import expit, logit
from survey_classifier.settings import Settings

__all__ = ["StarEvidence", "StellarLocus", "p_star"]

Floats = npt.NDArray[np.float64]
Share = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class StellarLocus(Settings):
    """Where stars lie in dereddened g - r and r - z, and how far galaxies lie from there; mag."""

    g_r: Annotated[tuple[float, ...], Field(min_length=2)]
    """Nodes in g - r, rising."""
    r_z: Annotated[tuple[float, ...], Field(min_length=2)]
    """r - z of the stars at each node."""
    star_scatter: Positive
    """Of the stars about their locus."""
    galaxy_offset: Annotated[float, Field(allow_inf_nan=False)]
    """Mean distance of galaxies from it."""
    galaxy_scatter: Positive
    floor: Positive = 0.05
    """Density, per mag, of outliers of either kind: bounds the evidence."""

    @model_validator(mode="after")
    def _sound(self) -> "StellarLocus":
        if len(self.g_r) != len(self.r_z):
            raise ValueError(f"{len(self.g_r)} g_r and {len(self.r_z)} r_z: give one for each")
        if np.any(np.diff(self.g_r) <= 0):
            raise ValueError(f"g_r {self.g_r} does not rise: sort it")
        return self

    def llr(self, g_r: npt.ArrayLike, r_z: npt.ArrayLike) -> Floats:
        """Return the evidence for a star of dereddened colors, shape (n,); NaN = unknown.

        Beyond the nodes in g - r the colors say nothing: NaN.
        """
        across = np.asarray(g_r, dtype=np.float64)
        locus = np.interp(across, self.g_r, self.r_z, left=np.nan, right=np.nan)
        distance = np.asarray(r_z, dtype=np.float64) - locus
        star = _normal(distance, self.star_scatter) + self.floor
        galaxy = _normal(distance - self.galaxy_offset, self.galaxy_scatter) + self.floor
        return np.asarray(np.log(star / galaxy), dtype=np.float64)


class StarEvidence(Settings):
    """What the pieces of star evidence are worth: the ``[stars]`` table of an evidence file."""

    extended_stars: Share = 0.02
    """Share of stars that look extended: blends, saturated ones."""
    magnitudes: tuple[float, ...] = (18.0, 20.0, 22.0, 24.0)
    """Nodes in r_0, rising, of ``pointlike_galaxies``."""
    pointlike_galaxies: tuple[Share, ...] = (0.01, 0.03, 0.15, 0.45)
    """Share of galaxies too small to tell from points; log-odds are linear between nodes."""
    gaia_stars: Share = 0.95
    """Share of stars that Gaia calls stars, among sources that it could see."""
    gaia_galaxies: Share = 0.02
    """Share of galaxies that Gaia calls stars, among sources that it could see."""
    gaia_limit: float = 20.0
    """r_0 beyond which Gaia misses stars: there its silence says nothing."""
    locus: StellarLocus | None = None
    """None: colors say nothing of stars."""

    @model_validator(mode="after")
    def _sound(self) -> "StarEvidence":
        if not self.magnitudes or len(self.magnitudes) != len(self.pointlike_galaxies):
            raise ValueError(
                f"{len(self.magnitudes)} magnitudes and {len(self.pointlike_galaxies)} "
                "pointlike_galaxies: give one for each"
            )
        if np.any(np.diff(self.magnitudes) <= 0):
            raise ValueError(f"magnitudes {self.magnitudes} do not rise: sort them")
        return self

    def llr_point(self, point_likeness: npt.ArrayLike, r0: npt.ArrayLike) -> Floats:
        """Return the evidence for a star of point-likeness.

        Parameters
        ----------
        point_likeness
            0 to 1, shape (n,); NaN = unknown, and so is the result.
        r0
            Dereddened r magnitudes, shape (n,); NaN is taken as the faintest node, where points
            say least.
        """
        point = np.asarray(point_likeness, dtype=np.float64)
        mag = np.asarray(r0, dtype=np.float64)
        mag = np.where(np.isnan(mag), self.magnitudes[-1], mag)
        small = expit(np.interp(mag, self.magnitudes, logit(self.pointlike_galaxies)))
        blended = self.extended_stars
        star = (1 - blended) * point + blended * (1 - point)
        galaxy = (1 - small) * (1 - point) + small * point
        return np.asarray(np.log(star / galaxy), dtype=np.float64)

    def llr_gaia(self, gaia: npt.ArrayLike, r0: npt.ArrayLike) -> Floats:
        """Return the evidence for a star of Gaia's word.

        Parameters
        ----------
        gaia
            1: a star, 0: not one, or not in Gaia; between: a probability, which weighs the two;
            NaN: unknown, and so is the result. Shape (n,).
        r0
            Dereddened r magnitudes, shape (n,); where it is fainter than ``gaia_limit`` or NaN, a 0
            is no evidence.
        """
        said = np.asarray(gaia, dtype=np.float64)
        bright = np.asarray(r0, dtype=np.float64) <= self.gaia_limit
        said = np.where((said == 0) & ~bright, np.nan, said)
        star = self.gaia_stars * said + (1 - self.gaia_stars) * (1 - said)
        galaxy = self.gaia_galaxies * said + (1 - self.gaia_galaxies) * (1 - said)
        return np.asarray(np.log(star / galaxy), dtype=np.float64)


def p_star(share: npt.ArrayLike, *llrs: npt.ArrayLike) -> Floats:
    """Return the probability of being a star, by Bayes' rule.

    Parameters
    ----------
    share
        Share of stars among sources of that magnitude, shape (n,).
    llrs
        Pieces of star evidence, each of shape (n,); NaN = none.

    Returns
    -------
    ndarray of float64
        Shape (n,); NaN where there is no piece at all: a share is no evidence.
    """
    log_odds = logit(share)
    known = np.zeros(log_odds.shape, dtype=np.bool_)
    for piece in llrs:
        llr = np.asarray(piece, dtype=np.float64)
        there = ~np.isnan(llr)
        log_odds = log_odds + np.where(there, llr, 0.0)
        known |= there
    return np.where(known, expit(log_odds), np.nan)


def _normal(distance: Floats, scatter: float) -> Floats:
    """Return the density of a normal about zero, per mag."""
    scaled = distance / scatter
    return np.asarray(np.exp(-0.5 * scaled**2) / (np.sqrt(2 * np.pi) * scatter), dtype=np.float64)
