"""Judged objects: truth and scores of the same objects, each once.

Owns which score belongs to which true object, and in which fold an object is. Does not own the
reading of either (``truth``, ``scores``).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.spatial import KDTree

from survey_classifier.errors import SourcesError
from survey_classifier.sources.sky import (
    SAME_OBJECT_ARCSEC,
    nearest_within,
    object_groups,
    on_unit_sphere,
)
from survey_classifier.training.evaluation.scores import Claim, Scores
from survey_classifier.training.evaluation.settings import TruthFile
from survey_classifier.training.evaluation.truth import CLASSES, Truth
from survey_classifier.training.split import SECOND_SAMPLE, strip_folds

__all__ = ["Judged", "Match", "Split", "join", "split_of"]

Floats = npt.NDArray[np.float64]
Match = Literal["id", "position"]
Split = Literal["folds", "part", "second sample", "unknown"]
"""``folds``: each score is of a network that had not seen the object's fold. ``part``: all are of
one part of the objects. ``second sample``: all are of that. In the first two there may be objects
of a second sample, too, that no network was fitted to."""


@dataclass(frozen=True, slots=True)
class Judged:
    """Objects whose class and score are known; every array has shape ``(n,)``."""

    truth: Truth
    """With the photometry of the scores' table where the truth has none."""
    p: dict[str, Floats]
    """Probabilities by name: of the scores, then of those that they are compared with."""
    n_own: int
    """How many of them are the scores' own."""
    claims: dict[str, Claim]
    """Errors that the tables claim, by the name of what they are errors of."""
    fold: npt.NDArray[np.int64]
    """Part of the sky, for what is fitted beside the scores; `SECOND_SAMPLE` where an object is of
    that, to which nothing is fitted."""
    split: Split
    """What the scores' table says of their split."""
    n_unscored: dict[str, int]
    """By true class the objects without a score."""
    n_lacking: dict[str, int]
    """By other table the objects that have a score, but none there."""

    def __len__(self) -> int:
        return len(self.truth)

    @property
    def is_second(self) -> npt.NDArray[np.bool_]:
        """Whether each object is of the second sample, shape ``(n,)``."""
        return np.asarray(self.fold == SECOND_SAMPLE, dtype=np.bool_)


def join(
    truth: Truth, scores: Scores, file: TruthFile, match: Match, others: Sequence[Scores] = ()
) -> Judged:
    """Return the objects that are in all, each once.

    Of rows within 2 arcsec of each other, which are one object, the first says what it is, and the
    first with a score says that. Another table may have it under the name of another of these rows.

    Parameters
    ----------
    truth
        Objects of known class.
    scores
        Scored objects.
    file
        Says what the folds are where the scores have none.
    match
        Whether identifiers or positions, within 2 arcsec, say what belongs together.
    others
        Scores of the same objects that they are compared with.

    Raises
    ------
    SourcesError
        If they share no object, or only members or only others.
    """
    group = object_groups(truth.ra_deg, truth.dec_deg)
    row = _scored_rows(truth, scores, group, match)
    scored = row >= 0
    first = _first_of_each(group, scored)
    lost = _first_of_each(group, ~scored & ~np.isin(group, group[scored]))
    rows_there = [_rows_of(group[first], group, _scored_rows(truth, other, group, match))
                  for other in others]  # fmt: skip
    shared = np.all([rows >= 0 for rows in rows_there], axis=0) if others else first >= 0
    if not shared.any():
        raise SourcesError(
            f"no object has a score in all of {', '.join(str(s.path) for s in (scores, *others))}; "
            "compare tables of the same objects"
        )
    kept = first[shared]
    found = truth.take(_rows_of(group[kept], group, np.arange(len(truth))))
    n_member = int(found.is_member.sum())
    if n_member in (0, len(found)):
        what = "no member" if n_member == 0 else "members only"
        raise SourcesError(f"the {len(found)} objects with a score hold {what}; add tables")
    rows = row[kept]
    fold, split = _folds(found, scores, rows, file)
    tables = [(scores, rows), *((o, r[shared]) for o, r in zip(others, rows_there, strict=True))]
    return Judged(
        _with_photometry(found, scores, rows),
        {name: p[some] for table, some in tables for name, p in table.p.items()},
        len(scores.p),
        {table.claim.of: table.claim.take(some) for table, some in tables if table.claim},
        fold,
        split,
        {name: int((truth.true_class[lost] == name).sum()) for name in CLASSES},
        {o.name: int((r < 0).sum()) for o, r in zip(others, rows_there, strict=True)},
    )


def _scored_rows(
    truth: Truth, scores: Scores, group: npt.NDArray[np.int64], match: Match
) -> npt.NDArray[np.intp]:
    """Return the row of each object's score, -1 where there is none or it is not known."""
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
    return np.where(scored, row, -1)


def _rows_of(
    wanted: npt.NDArray[np.int64], group: npt.NDArray[np.int64], row: npt.NDArray[np.intp]
) -> npt.NDArray[np.intp]:
    """Return the first known row of each wanted group, -1 where it has none."""
    first = _first_of_each(group, row >= 0)
    row_of_group = np.full(int(group.max()) + 1, -1, dtype=np.intp)
    row_of_group[group[first]] = row[first]
    return row_of_group[wanted]


def _folds(
    truth: Truth, scores: Scores, rows: npt.NDArray[np.intp], file: TruthFile
) -> tuple[npt.NDArray[np.int64], Split]:
    """Return the fold of each object: the scores' own, or else a strip of the sky."""
    fold = None if scores.fold is None else scores.fold[rows]
    split = split_of(fold)
    if fold is None or split == "second sample":
        return _strips(truth, file), split
    if split == "part":
        # Within one part, nothing would be left to fit what is put beside the scores.
        inside = np.flatnonzero(fold != SECOND_SAMPLE)
        fold = fold.copy()
        fold[inside] = _strips(truth.take(inside), file)
    return fold, split


def split_of(fold: npt.NDArray[np.int64] | None) -> Split:
    """Return what folds say of a split.

    Parameters
    ----------
    fold
        Fold of each object, `SECOND_SAMPLE` where it is in none; None where a table has none.
    """
    if fold is None:
        return "unknown"
    n_fold = len(np.unique(fold[fold != SECOND_SAMPLE]))
    return "folds" if n_fold > 1 else "part" if n_fold else "second sample"


def _rows_by_id(truth: Truth, scores: Scores) -> npt.NDArray[np.intp]:
    """Return the row of each object's score, -1 where there is none."""
    row_of = {name: row for row, name in enumerate(scores.object_id.tolist())}
    return np.array([row_of.get(name, -1) for name in truth.object_id], dtype=np.intp)


def _rows_by_position(
    truth: Truth, scores: Scores, group: npt.NDArray[np.int64]
) -> npt.NDArray[np.intp]:
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


def _first_of_each(
    group: npt.NDArray[np.int64], allowed: npt.NDArray[np.bool_]
) -> npt.NDArray[np.intp]:
    """Return the first allowed row of each group, ascending."""
    rows = np.flatnonzero(allowed)
    _, first = np.unique(group[rows], return_index=True)
    return np.sort(rows[first])


def _strips(truth: Truth, file: TruthFile) -> npt.NDArray[np.int64]:
    return strip_folds(truth.ra_deg, truth.dec_deg, file.axis, file.n_folds)


def _with_photometry(truth: Truth, scores: Scores, rows: npt.NDArray[np.intp]) -> Truth:
    """Return the truth with what only the scores' table knows of the objects."""
    from_scores = {name: values[rows] for name, values in scores.photometry.items()}
    return replace(
        truth,
        mag=_first_known(truth.mag, scores.mag[rows]),
        delta_rs=_first_known(truth.delta_rs, scores.delta_rs[rows]),
        delta_rs_err=_first_known(truth.delta_rs_err, scores.delta_rs_err[rows]),
        photometry=from_scores | truth.photometry,
    )


def _first_known(one: Floats, other: Floats) -> Floats:
    return np.where(np.isnan(one), other, one)
