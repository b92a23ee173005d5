"""Places on the sky: unit vectors, their distances, and what counts as one place.

Owns the arithmetic on the unit sphere that tables of objects share. Does not own what a match
means (``sources.redshifts``) or pixel positions (``geometry``).
"""

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

__all__ = [
    "SAME_OBJECT_ARCSEC",
    "chord_of_separation",
    "is_new_object",
    "nearest_within",
    "object_groups",
    "on_unit_sphere",
    "separation_deg",
]

FloatArray = npt.NDArray[np.float64]

SAME_OBJECT_ARCSEC = 2.0
"""Positions this close are one object."""
_POINTS_AT_ONCE = 1 << 20
"""Points looked up together: what the tree returns of so many fits 32 MB."""


def on_unit_sphere(ra_deg: FloatArray, dec_deg: FloatArray) -> FloatArray:
    """Return unit vectors, shape ``(n, 3)``, of positions in degrees."""
    ra, dec = np.radians(ra_deg), np.radians(dec_deg)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)


def chord_of_separation(separation_arcsec: float) -> float:
    """Return the straight distance of unit vectors that are so far apart on the sky."""
    return float(2 * np.sin(np.radians(separation_arcsec / 3600) / 2))


def separation_deg(
    ra_deg: npt.ArrayLike, dec_deg: npt.ArrayLike, other_ra: npt.ArrayLike, other_dec: npt.ArrayLike
) -> FloatArray:
    """Return distances on the sky in degrees; NaN where a position is unknown.

    Parameters
    ----------
    ra_deg, dec_deg
        Positions in degrees, shape ``(n,)``.
    other_ra, other_dec
        Of each the other one, or one for all.
    """
    ra, dec, there_ra, there_dec = (
        np.radians(np.asarray(angle, dtype=np.float64))
        for angle in (ra_deg, dec_deg, other_ra, other_dec)
    )
    # The haversine formula: exact for small distances, and three sines a row.
    across = np.sin((ra - there_ra) / 2) ** 2 * np.cos(dec) * np.cos(there_dec)
    square = np.sin((dec - there_dec) / 2) ** 2 + across
    return np.asarray(np.degrees(2 * np.arcsin(np.sqrt(np.minimum(square, 1)))), dtype=np.float64)


def is_new_object(
    ra_deg: FloatArray, dec_deg: FloatArray, known_ra: FloatArray, known_dec: FloatArray
) -> npt.NDArray[np.bool_]:
    """Return which positions are none of some objects that are known already.

    Parameters
    ----------
    ra_deg, dec_deg
        Positions in degrees, shape ``(n,)``.
    known_ra, known_dec
        Of the known objects, at least one.

    Returns
    -------
    ndarray of bool
        Shape ``(n,)``; false within `SAME_OBJECT_ARCSEC` of a known object.
    """
    tree = KDTree(on_unit_sphere(known_ra, known_dec))
    distance, _ = tree.query(on_unit_sphere(ra_deg, dec_deg))
    return np.asarray(distance) > chord_of_separation(SAME_OBJECT_ARCSEC)


def nearest_within(
    points: FloatArray, targets: FloatArray, radius_arcsec: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], FloatArray]:
    """Return the target nearest to each point, and how many there are.

    Parameters
    ----------
    points, targets
        Unit vectors, shape ``(n, 3)`` and ``(m, 3)``, m > 0.
    radius_arcsec
        How far to look, inclusive.

    Returns
    -------
    nearest
        Row of the nearest target, shape ``(n,)``; -1 = none within the radius.
    n_near
        Number of targets within the radius, counted up to 2.
    separation_arcsec
        Distance to the nearest; NaN = none.
    """
    # The tree leaves out points at its bound, the radius includes them.
    bound = np.nextafter(chord_of_separation(radius_arcsec), 1.0)
    tree = KDTree(targets)
    nearest = np.empty(len(points), dtype=np.int64)
    n_near = np.empty(len(points), dtype=np.int64)
    chord = np.empty(len(points))
    for start in range(0, len(points), _POINTS_AT_ONCE):
        some = slice(start, start + _POINTS_AT_ONCE)
        nearest_two = tree.query(points[some], k=[1, 2], distance_upper_bound=bound, workers=-1)
        chords, rows = (np.asarray(column) for column in nearest_two)  # each (n, 2)
        found = np.isfinite(chords)
        nearest[some] = np.where(found[:, 0], rows[:, 0], -1)
        n_near[some] = found.sum(axis=1)
        chord[some] = np.where(found[:, 0], chords[:, 0], np.nan)
    return nearest, n_near, np.degrees(2 * np.arcsin(chord / 2)) * 3600


def object_groups(
    ra_deg: FloatArray, dec_deg: FloatArray, code: npt.NDArray[np.int64] | None = None
) -> npt.NDArray[np.int64]:
    """Return for each row the number of the object that it belongs to.

    Rows within `SAME_OBJECT_ARCSEC` of each other, directly or through others, are one object.

    Parameters
    ----------
    ra_deg, dec_deg
        Finite positions, shape ``(n,)``.
    code
        Rows of different code are never one object, shape ``(n,)``.
    """
    points = on_unit_sphere(ra_deg, dec_deg)
    if code is not None:
        # A fourth axis, along which codes are much further apart than places can be.
        points = np.column_stack([points, code])
    # Thousands of rows at one place would make millions of pairs.
    places, place = np.unique(points, axis=0, return_inverse=True)
    n = len(places)
    pairs = KDTree(places).query_pairs(
        chord_of_separation(SAME_OBJECT_ARCSEC), output_type="ndarray"
    )
    links = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    group: npt.NDArray[np.int64] = connected_components(links, directed=False)[1].astype(np.int64)
    return group[place.reshape(-1)]
