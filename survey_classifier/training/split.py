"""Folds: strips of the sky, so that a network is judged on sky that it has not seen.

Owns which object is in which fold. Does not own the objects (``dataset``).
"""

from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from survey_classifier.errors import SourcesError

__all__ = ["SAME_OBJECT_ARCSEC", "on_unit_sphere", "separation_chord", "strip_folds"]

FloatArray = npt.NDArray[np.float64]

SAME_OBJECT_ARCSEC = 2.0
"""Positions this close are one object."""


def on_unit_sphere(ra_deg: FloatArray, dec_deg: FloatArray) -> FloatArray:
    """Return unit vectors, shape ``(n, 3)``."""
    ra, dec = np.radians(ra_deg), np.radians(dec_deg)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)


def separation_chord(separation_arcsec: float) -> float:
    """Return the straight distance of unit vectors that are so far apart on the sky."""
    return float(2 * np.sin(np.radians(separation_arcsec / 3600) / 2))


def strip_folds(
    ra_deg: FloatArray, dec_deg: FloatArray, axis: Literal["ra", "dec"], n_folds: int
) -> npt.NDArray[np.int64]:
    """Return the fold of each object.

    Objects that are one by `SAME_OBJECT_ARCSEC`, directly or through others, share a fold;
    groups are laid out along the axis and cut where the count passes each n-th part.

    Parameters
    ----------
    ra_deg, dec_deg
        Positions, shape ``(n,)``; right ascensions may straddle 0.
    axis
        What the strips follow one another along.
    n_folds
        Number of folds.

    Raises
    ------
    SourcesError
        If a fold would have no object.
    """
    group = _groups(ra_deg, dec_deg)
    along = dec_deg if axis == "dec" else _unwrapped(ra_deg)
    n_in_group = np.bincount(group)
    place = np.bincount(group, weights=along) / n_in_group
    order = np.argsort(place, kind="stable")
    before = np.cumsum(n_in_group[order]) - n_in_group[order] / 2
    fold_of_group = np.empty(len(order), dtype=np.int64)
    fold_of_group[order] = (before * n_folds / len(ra_deg)).astype(np.int64)
    missing = set(range(n_folds)) - set(fold_of_group.tolist())
    if missing:
        raise SourcesError(
            f"{len(order)} separate objects are too few for {n_folds} folds; choose fewer n_folds"
        )
    return fold_of_group[group]


def _groups(ra_deg: FloatArray, dec_deg: FloatArray) -> npt.NDArray[np.int64]:
    """Return the number of the group of each object."""
    n = len(ra_deg)
    tree = KDTree(on_unit_sphere(ra_deg, dec_deg))
    pairs = tree.query_pairs(separation_chord(SAME_OBJECT_ARCSEC), output_type="ndarray")
    links = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    return connected_components(links, directed=False)[1].astype(np.int64)


def _unwrapped(ra_deg: FloatArray) -> FloatArray:
    """Return right ascensions relative to their mean direction, so that 359 precedes 1."""
    turn = np.exp(1j * np.radians(ra_deg))
    return np.degrees(np.angle(turn * np.conj(turn.mean())))
