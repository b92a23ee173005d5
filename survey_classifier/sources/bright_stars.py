"""Halos of bright stars: which sources lie in one.

Owns the radius of a star's halo and the search. Does not own what follows: such a source is flagged
and never dropped, as halos cover a third of a field of low galactic latitude.
"""

import numpy as np
import numpy.typing as npt
from scipy.spatial import KDTree

from survey_classifier.sources.sky import on_unit_sphere

__all__ = ["halo_radius_arcsec", "near_bright_star"]

Floats = npt.NDArray[np.float64]

FAINTEST_MAG = 17.5
"""About where stars begin to saturate; fainter ones have no halo."""
BRIGHTEST_MAG = -2.0
"""No star of the night is brighter: beyond, a magnitude is a mark of a missing one."""
STARS_AT_ONCE = 1024


def halo_radius_arcsec(mag: npt.ArrayLike) -> Floats:
    """Return the radius of the halo of stars in arcsec.

    200 10^(0.25 (7 - m)) + 12 10^(0.05 (16 - m)): masks of HSC-SSP (Coupon et al. 2018, PASJ 70,
    S7).

    Parameters
    ----------
    mag
        Magnitudes in Gaia's G or a like band (V, r), shape (n,).
    """
    m = np.asarray(mag, dtype=np.float64)
    return np.asarray(200 * 10 ** (0.25 * (7 - m)) + 12 * 10 ** (0.05 * (16 - m)))


def near_bright_star(
    ra_deg: Floats, dec_deg: Floats, star_ra_deg: Floats, star_dec_deg: Floats, star_mag: Floats
) -> npt.NDArray[np.bool_]:
    """Return whether sources lie in the halo of a star.

    Parameters
    ----------
    ra_deg, dec_deg
        ICRS positions of n sources in degrees; one with NaN lies in none.
    star_ra_deg, star_dec_deg, star_mag
        Those of m stars, and their magnitudes in Gaia's G or a like band, m >= 0. Stars with NaN,
        stars that are fainter than `FAINTEST_MAG`, and values that are no star's are passed over.

    Returns
    -------
    ndarray of bool
        Shape (n,).
    """
    near = np.zeros(len(ra_deg), dtype=np.bool_)
    placed = np.flatnonzero(np.isfinite(ra_deg) & np.isfinite(dec_deg))
    bright = np.isfinite(star_ra_deg) & np.isfinite(star_dec_deg)
    bright &= (star_mag >= BRIGHTEST_MAG) & (star_mag <= FAINTEST_MAG)
    if not len(placed) or not bright.any():
        return near
    tree = KDTree(
        on_unit_sphere(ra_deg[placed], dec_deg[placed]), balanced_tree=False, compact_nodes=False
    )
    stars = on_unit_sphere(star_ra_deg[bright], star_dec_deg[bright])
    # Straight distances of unit vectors.
    reach = 2 * np.sin(np.radians(halo_radius_arcsec(star_mag[bright]) / 3600) / 2)
    for start in range(0, len(stars), STARS_AT_ONCE):
        some = slice(start, start + STARS_AT_ONCE)
        for rows in tree.query_ball_point(stars[some], reach[some], workers=-1):
            near[placed[rows]] = True
    return near
