"""Claimed errors of probabilities: whether they tell which probabilities are wrong.

Owns what claimed errors are held against, and the bootstrap of it. Does not own the claims
(``scores``). A probability near one half is unsure and may differ much between two views of one
object, so claimed errors grow with the true ones even if they say nothing that the probability
does not. Therefore everything is said twice: of all objects, and among objects of like certainty.
"""

from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import numpy.typing as npt

from survey_classifier.membership.claimed_errors import like_certainty
from survey_classifier.training.evaluation.breakdown import Group
from survey_classifier.training.evaluation.forms import THRESHOLD
from survey_classifier.training.evaluation.judged import Judged
from survey_classifier.training.evaluation.resampling import (
    Figure,
    Resampler,
    figure_of,
    share,
    share_figure,
)

__all__ = ["N_FIFTH", "Among", "ClaimsTest", "Fifth", "fifths", "judge_claims"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Among = Literal["all", "alike"]

N_FIFTH = 5


@dataclass(frozen=True, slots=True)
class ClaimsTest:
    """How claimed errors go with the distances of p from the truth, in one set of objects."""

    forecast: str
    group: Group
    n: int
    """Objects with a claimed error."""
    n_wrong: int
    """Those of them that are called wrongly."""
    correlation: Figure
    """Spearman's."""
    correlation_alike: Figure
    """The same of ranks less their mean among objects of like certainty."""


@dataclass(frozen=True, slots=True)
class Fifth:
    """One of five equal parts of the objects in the order of their claimed errors."""

    forecast: str
    among: Among
    """``alike``: in that order among objects of like certainty."""
    number: int
    """1 has the smallest claims."""
    n: int
    least_err: float
    largest_err: float
    wrong: Figure
    """Share that is called wrongly."""
    expected: float
    """Share that would be if each p were right: what p alone says."""


def judge_claims(judged: Judged, groups: list[Group], resampler: Resampler) -> list[ClaimsTest]:
    """Return how the errors that scores claim go with their true errors.

    Parameters
    ----------
    judged
        Objects with claims.
    groups
        The sets of objects.
    resampler
        Of all objects.
    """
    found = []
    for name, claim in judged.claims.items():
        for group in groups:
            rows = group.rows & np.isfinite(claim.p_err)
            if not rows.any():
                continue
            is_member = judged.truth.is_member[rows]
            form = _Ranks.of(claim.p[rows], claim.p_err[rows], is_member)
            value = form.correlations(np.ones((1, len(is_member))))
            parts = [form.correlations(counts) for counts in resampler.counts(rows)]
            plain, alike = (np.concatenate(each) for each in zip(*parts, strict=True))
            found.append(
                ClaimsTest(
                    name,
                    group,
                    len(is_member),
                    int(_is_wrong(claim.p[rows], is_member).sum()),
                    figure_of(float(value[0][0]), plain),
                    figure_of(float(value[1][0]), alike),
                )
            )
    return found


def fifths(judged: Judged, resampler: Resampler) -> list[Fifth]:
    """Return the share of wrong calls by fifths of the claimed errors, of all objects.

    Parameters
    ----------
    judged
        Objects with claims.
    resampler
        Of all objects.
    """
    found: list[Fifth] = []
    for name, claim in judged.claims.items():
        rows = np.isfinite(claim.p_err)
        p, p_err = claim.p[rows], claim.p_err[rows]
        is_wrong = _is_wrong(p, judged.truth.is_member[rows]).astype(np.float64)
        numbers: dict[Among, npt.NDArray[np.intp]] = {
            "all": _fifth(p_err, np.zeros(len(p), dtype=np.intp)),
            "alike": _fifth(p_err, like_certainty(p)),
        }
        for among, number in numbers.items():
            for part in np.unique(number):
                inside = (number == part).astype(np.float64)
                parts = [
                    share(counts @ (inside * is_wrong), counts @ inside)
                    for counts in resampler.counts(rows)
                ]
                here = inside > 0
                found.append(
                    Fifth(
                        name,
                        among,
                        int(part) + 1,
                        int(here.sum()),
                        float(p_err[here].min()),
                        float(p_err[here].max()),
                        share_figure(is_wrong[here].sum(), here.sum(), np.concatenate(parts)),
                        float(np.minimum(p, 1 - p)[here].mean()),
                    )
                )
    return found


def _is_wrong(p: Floats, is_member: Bools) -> Bools:
    return np.asarray((p >= THRESHOLD) != is_member)


def _fifth(p_err: Floats, group: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Return the fifth, 0 to 4, that each claim is in among those of its group."""
    order = np.lexsort((p_err, group))
    n_in = np.bincount(group)
    first = np.cumsum(n_in) - n_in
    number = np.empty(len(p_err), dtype=np.intp)
    sorted_group = group[order]
    place = np.arange(len(p_err)) - first[sorted_group]
    number[order] = place * N_FIFTH // n_in[sorted_group]
    return number


@dataclass(frozen=True, slots=True)
class _Ties:
    """A variable as its ranks among resampled objects need it."""

    order: npt.NDArray[np.intp]
    first: npt.NDArray[np.intp]
    """In the order, the place where the tie of each begins."""
    last: npt.NDArray[np.intp]

    @classmethod
    def of(cls, values: Floats) -> Self:
        order = np.argsort(values, kind="stable")
        is_new = np.diff(values[order]) != 0
        starts = np.append(0, np.flatnonzero(is_new) + 1)
        tie = np.append(0, np.cumsum(is_new))
        ends = np.append(starts[1:], len(values)) - 1
        return cls(order, starts[tie], ends[tie])

    def ranks(self, counts: Floats) -> Floats:
        """Return the mean rank of each object's copies, up to a constant, as counts lie."""
        reached = np.cumsum(counts[:, self.order], axis=1)
        before = reached[:, self.first] - counts[:, self.order[self.first]]  # drawn below the tie
        ranks = np.empty_like(counts)
        ranks[:, self.order] = (before + reached[:, self.last]) / 2
        return ranks


@dataclass(frozen=True, slots=True)
class _Ranks:
    """What correlations of resampled objects are made of, in the order of certainty."""

    order: npt.NDArray[np.intp]
    starts: npt.NDArray[np.intp]
    """Where each group of like certainty begins in the order."""
    claimed: _Ties
    distance: _Ties

    @classmethod
    def of(cls, p: Floats, p_err: Floats, is_member: Bools) -> Self:
        alike = like_certainty(p)
        order = np.argsort(alike, kind="stable")
        starts = np.flatnonzero(np.diff(alike[order], prepend=-1))
        distance = np.abs(p - is_member)
        return cls(order, starts, _Ties.of(p_err[order]), _Ties.of(distance[order]))

    def correlations(self, counts: Floats) -> tuple[Floats, Floats]:
        """Return Spearman's correlation of resamples, plain and among objects of like certainty.

        Parameters
        ----------
        counts
            How often each object was drawn, shape ``(resample, row)``.
        """
        weight = counts[:, self.order]
        ranks = self.claimed.ranks(weight), self.distance.ranks(weight)
        plain, alike = (
            _correlation(weight, *(_centered(weight, rank, starts) for rank in ranks))
            for starts in (np.zeros(1, dtype=np.intp), self.starts)
        )
        return plain, alike


def _centered(weight: Floats, rank: Floats, starts: npt.NDArray[np.intp]) -> Floats:
    """Return ranks less the mean of the group that each is in."""
    n_in = np.diff(np.append(starts, rank.shape[1]))
    total = np.add.reduceat(weight * rank, starts, axis=1)
    n_drawn = np.add.reduceat(weight, starts, axis=1)
    mean = np.divide(total, n_drawn, out=np.zeros_like(total), where=n_drawn > 0)
    centered: Floats = rank - np.repeat(mean, n_in, axis=1)
    return centered


def _correlation(weight: Floats, x: Floats, y: Floats) -> Floats:
    """Return the correlation of centered values, NaN where one of them does not vary."""
    scatter = np.sqrt((weight * x**2).sum(axis=1) * (weight * y**2).sum(axis=1))
    return share((weight * x * y).sum(axis=1), scatter)
