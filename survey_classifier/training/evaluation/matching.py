"""Which score belongs to which object of the truth, by identifier or by position.

Owns the matching, and the rows of objects that have several. Does not own what is judged
(``judged``).
"""

from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.spatial import KDTree

from survey_classifier.errors import SourcesError
from survey_classifier.sources.sky import SAME_OBJECT_ARCSEC, nearest_within, on_unit_sphere
from survey_classifier.training.evaluation.scores import Scores
from survey_classifier.training.evaluation.truth import Truth

__all__ = ["Match", "first_of_each", "rows_of", "scored_rows"]

Rows = npt.NDArray[np.intp]
Match = Literal["id", "position"]


def scored_rows(truth: Truth, scores: Scores, group: npt.NDArray[np.int64], match: Match) -> Rows:
    """Return the row of each object's score, -1 where there is none or it is not known.

    Parameters
    ----------
    truth
        Objects of known class, of which several may be one.
    scores
        Scored objects.
    group
        Number of the object that each of the truth is, shape ``(n,)``.
    match
        Whether identifiers or positions, within 2 arcsec, say what belongs together.

    Raises
    ------
    SourcesError
        If none has a score, or an identifier names objects at several places.
    """
    by_id = match == "id"
    row = _rows_by_id(truth, scores) if by_id else _rows_by_position(truth, scores, group)
    scored = row >= 0
    for p in scores.p.values():
        scored &= np.isfinite(p[row])
    if not scored.any():
        remedy = "--match position, or other columns" if by_id else "other columns"
        raise SourcesError(
            f"no object of the truth has a score in {scores.path} by {match}; try {remedy}"
        )
    if by_id:
        _require_one_place(truth, row, group)
    return np.where(scored, row, -1)


def rows_of(wanted: npt.NDArray[np.int64], group: npt.NDArray[np.int64], row: Rows) -> Rows:
    """Return the first known row of each wanted group, -1 where it has none.

    Parameters
    ----------
    wanted
        Groups, shape ``(n,)``.
    group, row
        Of each object, shape ``(object,)``; a negative row is not known.
    """
    first = first_of_each(group, row >= 0)
    row_of_group = np.full(int(group.max()) + 1, -1, dtype=np.intp)
    row_of_group[group[first]] = row[first]
    return row_of_group[wanted]


def first_of_each(group: npt.NDArray[np.int64], allowed: npt.NDArray[np.bool_]) -> Rows:
    """Return the first allowed row of each group, ascending.

    Parameters
    ----------
    group
        Of each object, shape ``(object,)``.
    allowed
        Whether it may be one of them, shape ``(object,)``.
    """
    rows = np.flatnonzero(allowed)
    _, first = np.unique(group[rows], return_index=True)
    return np.sort(rows[first])


def _require_one_place(truth: Truth, row: Rows, group: npt.NDArray[np.int64]) -> None:
    """Raise if objects at several places have one score, as where two tables count from 0."""
    known = np.flatnonzero(row >= 0)
    pairs = np.unique(np.stack([row[known], group[known]]), axis=1)
    rows, n_place = np.unique(pairs[0], return_counts=True)
    if (n_place > 1).any():
        name = truth.object_id[row == rows[n_place > 1][0]][0]
        raise SourcesError(
            f"{name!r} names objects at different places in the tables of the truth; use "
            "--match position, or give each an identifier of its own"
        )


def _rows_by_id(truth: Truth, scores: Scores) -> Rows:
    """Return the row of each object's score, -1 where there is none."""
    row_of = {name: row for row, name in enumerate(scores.object_id.tolist())}
    return np.array([row_of.get(name, -1) for name in truth.object_id], dtype=np.intp)


def _rows_by_position(truth: Truth, scores: Scores, group: npt.NDArray[np.int64]) -> Rows:
    """Return the row of the nearest score; one that is nearer to another object is that one's."""
    known = np.flatnonzero(np.isfinite(scores.ra_deg) & np.isfinite(scores.dec_deg))
    if not len(known):
        raise SourcesError(f"{scores.path} has no positions ra, dec; use --match id")
    points = on_unit_sphere(truth.ra_deg, truth.dec_deg)
    targets = on_unit_sphere(scores.ra_deg[known], scores.dec_deg[known])
    nearest, _, _ = nearest_within(points, targets, SAME_OBJECT_ARCSEC)
    _, back = KDTree(points).query(targets[nearest])
    is_own = (nearest >= 0) & (group[np.asarray(back)] == group)
    return np.where(is_own, known[nearest], -1).astype(np.intp)
