"""Sources found on several overlapping mosaics: each is kept once.

Owns the rule. Does not own which mosaic owns a place (``mosaic.survey``) nor the finding.

A source is kept by the mosaic that owns its place. Two mosaics see the same source at places that
differ a little, so near the border of two owners both might keep it or neither: then the mosaic
that is first by name keeps it. Two rows are the same source if each is the other's nearest on its
mosaic, within `SAME_ARCSEC`.
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from survey_classifier.mosaic.survey import SurveyMosaic, owner_of
from survey_classifier.sources.detection import Detections

__all__ = ["SAME_ARCSEC", "kept_once"]

Bool = npt.NDArray[np.bool_]

SAME_ARCSEC = 0.5
"""Two detections nearer than this are one source, if they are of two mosaics."""


def kept_once(
    mosaics: Sequence[SurveyMosaic], tables: Sequence[Detections], bands: Sequence[str]
) -> list[Bool]:
    """Return which sources of each mosaic are kept.

    Parameters
    ----------
    mosaics
        The mosaics, by name.
    tables
        What was found on each.
    bands
        Bands that a mosaic should have at a source, to own it.

    Returns
    -------
    list of ndarray of bool
        One for each mosaic, shape of its table.
    """
    owned = [owner_of(mosaics, table["ra"], table["dec"], bands) == number
             for number, table in enumerate(tables)]  # fmt: skip
    kept = np.concatenate(owned)
    first = np.cumsum([0, *(len(table) for table in tables)])
    group = _groups(tables, first)
    # Of a source that several mosaics see, those rows that are kept: one, or it is undecided.
    n_kept = np.bincount(group, weights=kept)
    n_seen = np.bincount(group)
    undecided = (n_seen > 1) & (n_kept != 1)
    _, leader = np.unique(group, return_index=True)
    kept[undecided[group]] = False
    kept[leader[undecided]] = True
    return np.split(kept, first[1:-1])


def _groups(tables: Sequence[Detections], first: npt.NDArray[np.integer]) -> npt.NDArray[np.intp]:
    """Return the number of the source that each row of all tables is, from 0 without gaps."""
    points = [_unit_vectors(table) for table in tables]
    trees = [KDTree(point, balanced_tree=False) for point in points]
    rows, others = [np.zeros(0, dtype=np.intp)], [np.zeros(0, dtype=np.intp)]
    for one, other in combinations(range(len(tables)), 2):
        if _apart(points[one], points[other]):
            continue
        mine, its = _pairs(trees[one], trees[other], points[one], points[other])
        rows.append(mine + first[one])
        others.append(its + first[other])
    one_end, other_end = np.concatenate(rows), np.concatenate(others)
    n_rows = int(first[-1])
    links = coo_array((np.ones(len(one_end)), (one_end, other_end)), shape=(n_rows, n_rows))
    _, labels = connected_components(links, directed=False)
    return np.asarray(labels, dtype=np.intp)


def _apart(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> bool:
    """Return whether no point of one table can be near one of the other."""
    if not len(one) or not len(other):
        return True
    gap = np.maximum(one.min(axis=0) - other.max(axis=0), other.min(axis=0) - one.max(axis=0))
    return bool((gap > _CHORD).any())


_CHORD = float(np.radians(SAME_ARCSEC / 3600))


def _pairs(
    tree: KDTree,
    others: KDTree,
    points: npt.NDArray[np.float64],
    other_points: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the rows of two tables that are each other's nearest, and the same source."""
    distance, nearest = others.query(points, distance_upper_bound=_CHORD)
    mine = np.flatnonzero(np.isfinite(distance))
    its = np.asarray(nearest, dtype=np.intp)[mine]
    _, back = tree.query(other_points[its])
    mutual = back == mine
    return mine[mutual], its[mutual]


def _unit_vectors(table: Detections) -> npt.NDArray[np.float64]:
    ra, dec = np.radians(table["ra"]), np.radians(table["dec"])
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)
