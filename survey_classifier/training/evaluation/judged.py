"""Judged objects: truth and scores of the same objects, each once.

Owns which of several rows of an object is judged, in which fold it is, and what became of all rows.
Does not own which score belongs to which row (``matching``) nor the reading of either (``truth``,
``scores``).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from survey_classifier.errors import SourcesError
from survey_classifier.sources.sky import (
    SAME_OBJECT_ARCSEC,
    object_groups,
)
from survey_classifier.training.evaluation.folds import Split, is_regrouped, split_of
from survey_classifier.training.evaluation.matching import (
    Match,
    first_of_each,
    rows_of,
    scored_rows,
)
from survey_classifier.training.evaluation.scores import Claim, Scores
from survey_classifier.training.evaluation.settings import TruthFile
from survey_classifier.training.evaluation.truth import CLASSES, Truth
from survey_classifier.training.split import SECOND_SAMPLE, strip_folds

__all__ = ["Judged", "join"]

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]
Objects = npt.NDArray[np.object_]
TWIN = f"within {SAME_OBJECT_ARCSEC:g} arcsec of another"
OTHER_TWIN = f"{TWIN}, which has another class"
"""What became of rows of an object that is named already."""


@dataclass(frozen=True, slots=True)
class Judged:
    """Objects whose class and score are known; every array has shape ``(n,)``, but two."""

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
    beside: Truth
    """Objects of known class that are not judged: of the other parts, where all scores are of one
    part of a split; else none."""
    split: Split
    """What the scores' table says of their split."""
    n_unscored: dict[str, int]
    """By true class the objects without a score."""
    n_lacking: dict[str, int]
    """By other table the objects that have a score, but none there."""
    is_seen: npt.NDArray[np.bool_]
    """Whether the network that scored the object had been trained on it, or may have been."""
    rows: dict[str, Rows]
    """By the table's name the row of each object's score there."""
    fate: Objects
    """What became of each object of the truth, shape ``(object,)``."""
    judged_as: Objects
    """Identifier that it is judged under, '' where it is not, shape ``(object,)``."""
    n_scores: dict[str, int]
    """What became of the scores, and of how many."""

    def __len__(self) -> int:
        return len(self.truth)

    @property
    def known(self) -> Truth:
        """The judged objects, and after them those beside."""
        return Truth.join([self.truth, self.beside]) if len(self.beside) else self.truth

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
    row = scored_rows(truth, scores, group, match)
    scored = row >= 0
    first = first_of_each(group, scored)
    lost = first_of_each(group, ~scored & ~np.isin(group, group[scored]))
    rows_there = [rows_of(group[first], group, scored_rows(truth, other, group, match))
                  for other in others]  # fmt: skip
    shared = np.all([first >= 0, *(rows >= 0 for rows in rows_there)], axis=0)
    _require_some(shared, [scores, *others])
    kept = first[shared]
    whose = rows_of(group[kept], group, np.arange(len(truth)))
    found = truth.take(whose)
    _require_both(found)
    rows = row[kept]
    split = split_of(None if scores.fold is None else scores.fold[rows])
    beside = _beside(truth.take(lost), found, split)
    fold = _folds(found, scores, rows, file, is_part=len(beside) > 0)
    tables = [(scores, rows), *((o, r[shared]) for o, r in zip(others, rows_there, strict=True))]
    lacking = {o.name: first[r < 0] for o, r in zip(others, rows_there, strict=True)}
    return Judged(
        _with_photometry(found, scores, rows),
        {name: p[some] for table, some in tables for name, p in table.p.items()},
        len(scores.p),
        {table.claim.of: table.claim.take(some) for table, some in tables if table.claim},
        fold,
        beside,
        split,
        {name: int((truth.true_class[lost] == name).sum()) for name in CLASSES},
        {name: len(some) for name, some in lacking.items()},
        _may_be_seen(scores)[rows],
        {table.name: some for table, some in tables},
        *_fates(truth, group, whose, lacking),
        _fates_of_scores(scores, row, rows, lacking),
    )


def _may_be_seen(scores: Scores) -> npt.NDArray[np.bool_]:
    return scores.is_unsure if scores.seen is None else scores.seen | scores.is_unsure


def _beside(lost: Truth, found: Truth, split: Split) -> Truth:
    """Return those without a score, where more can be fitted to them than to those with one."""
    is_part = split == "part" and len(lost) > len(found) and len(np.unique(lost.is_member)) == 2
    return lost if is_part else lost.take(np.zeros(len(lost), dtype=np.bool_))


def _require_some(shared: npt.NDArray[np.bool_], tables: Sequence[Scores]) -> None:
    """Raise unless some object has a score in all tables."""
    if not shared.any():
        raise SourcesError(
            f"no object has a score in all of {', '.join(str(table.path) for table in tables)}; "
            "compare tables of the same objects"
        )


def _require_both(found: Truth) -> None:
    """Raise unless there are members and others."""
    n_member = int(found.is_member.sum())
    if n_member in (0, len(found)):
        what = "no member" if n_member == 0 else "members only"
        raise SourcesError(f"the {len(found)} objects with a score hold {what}; add tables")


def _fates(
    truth: Truth, group: npt.NDArray[np.int64], whose: Rows, lacking: dict[str, Rows]
) -> tuple[Objects, Objects]:
    """Return what became of each object of the truth, and what it is judged as.

    Of rows that are one object, the first says what became of it.
    """
    fate = np.full(len(truth), "without a score", dtype=object)
    for name, rows in lacking.items():
        fate[np.isin(group, group[rows])] = f"without a score in {name}"
    is_first = np.zeros(len(truth), dtype=np.bool_)
    is_first[first_of_each(group, np.ones(len(truth), dtype=np.bool_))] = True
    first_class = np.full(int(group.max()) + 1, "", dtype=object)
    first_class[group[is_first]] = truth.true_class[is_first]
    fate[~is_first] = TWIN
    fate[truth.true_class != first_class[group]] = OTHER_TWIN
    fate[whose] = "judged"
    named_as = np.full(int(group.max()) + 1, "", dtype=object)
    named_as[group[whose]] = truth.object_id[whose]
    return fate, named_as[group]


def _fates_of_scores(
    scores: Scores, row: Rows, used: Rows, lacking: dict[str, Rows]
) -> dict[str, int]:
    """Return what became of the rows of a table of scores."""
    fate = np.full(len(scores), "of no object of the truth", dtype=object)
    fate[~np.all([np.isfinite(p) for p in scores.p.values()], axis=0)] = "without a value"
    fate[row[row >= 0]] = "of an object judged by another score"
    for name, some in lacking.items():
        fate[row[some]] = f"without one in {name}"
    fate[used] = "judged"
    found = Counter(fate.tolist())
    return {"judged": found.pop("judged"), **dict(found.most_common())}


def _folds(
    truth: Truth, scores: Scores, rows: Rows, file: TruthFile, *, is_part: bool
) -> npt.NDArray[np.int64]:
    """Return the fold of each object: the scores' own, or else a strip of the sky."""
    fold = None if scores.fold is None else scores.fold[rows]
    split = split_of(fold)
    if fold is None or split == "second sample":
        return _strips(truth, file)
    if (split == "part" and not is_part) or is_regrouped(scores.fold):
        # Within one part, nothing would be left to fit what is put beside the scores; in parts of
        # an object each, as many fits as objects would be made.
        inside = np.flatnonzero(fold != SECOND_SAMPLE)
        fold = fold.copy()
        fold[inside] = _strips(truth.take(inside), file)
    return fold


def _strips(truth: Truth, file: TruthFile) -> npt.NDArray[np.int64]:
    return strip_folds(truth.ra_deg, truth.dec_deg, file.axis, file.n_folds)


def _with_photometry(truth: Truth, scores: Scores, rows: Rows) -> Truth:
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
