"""Figures of merit of resampled objects, all resamples at once.

Owns what is computed of a draw. Does not own the figures (``membership.skill``): what is written
here is their form for resampled objects, and tests hold the two together.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from survey_classifier.membership.skill import LEAST_PROBABILITY
from survey_classifier.training.evaluation.resampling import share

__all__ = ["N_BINS", "THRESHOLD", "Form"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

N_BINS = 15
"""Bins of the calibration error."""
THRESHOLD = 0.5
"""Least probability that is called a member."""


@dataclass(frozen=True, slots=True)
class Form:
    """What figures of resampled objects are made of, objects in descending order of p."""

    order: npt.NDArray[np.intp]
    last_of_tie: npt.NDArray[np.intp]
    p: Floats
    is_member: Floats
    called: Floats
    bins: npt.NDArray[np.intp]

    @classmethod
    def of(cls, p: Floats, is_member: Bools) -> Self:
        """Prepare probabilities, finite, and truths, shape ``(n,)`` each."""
        order = np.argsort(-p, kind="stable")
        sorted_p = p[order]
        last = np.append(np.flatnonzero(np.diff(sorted_p)), len(p) - 1)
        bins = np.minimum((sorted_p * N_BINS).astype(np.intp), N_BINS - 1)
        called = (sorted_p >= THRESHOLD).astype(np.float64)
        return cls(order, last, sorted_p, is_member[order].astype(np.float64), called, bins)

    def steps(self, counts: Floats) -> tuple[Floats, Floats]:
        """Return members and others above each probability, shape ``(resample, step)``."""
        weight = counts[:, self.order]
        found = np.cumsum(weight * self.is_member, axis=1)[:, self.last_of_tie]
        false = np.cumsum(weight * (1 - self.is_member), axis=1)[:, self.last_of_tie]
        return found, false

    def figures(self, counts: Floats) -> dict[str, Floats]:
        """Return every figure of resamples, shape ``(resample,)`` each."""
        weight = counts[:, self.order]
        whole = weight.sum(axis=1)
        n_member = weight @ self.is_member
        n_hit, n_called = weight @ (self.called * self.is_member), weight @ self.called
        n_false, n_other = n_called - n_hit, whole - n_member
        found, false = self.steps(counts)
        gain = np.diff(found, axis=1, prepend=0)
        precision = share(found, found + false)
        in_bin = np.eye(N_BINS)[self.bins]
        excess = weight @ ((self.p - self.is_member)[:, None] * in_bin)
        p_truth = np.where(self.is_member > 0, self.p, 1 - self.p)
        loss = -np.log(np.maximum(p_truth, LEAST_PROBABILITY))
        return {
            "accuracy": share(n_hit + n_other - n_false, whole),
            "precision": share(n_hit, n_called),
            "recall": share(n_hit, n_member),
            "f1": share(2 * n_hit, n_called + n_member),
            "false_positive_rate": share(n_false, n_other),
            "auc": share(_pairs_won(found, false), n_member * n_other),
            "average_precision": share(np.nansum(gain * precision, axis=1), n_member),
            "calibration_error": share(np.abs(excess).sum(axis=1), whole),
            "brier": share(weight @ (self.p - self.is_member) ** 2, whole),
            "log_loss": share(weight @ loss, whole),
        }


def _pairs_won(found: Floats, false: Floats) -> Floats:
    """Return how many pairs have the member above the other, ties counting half."""
    before = found - np.diff(found, axis=1, prepend=0)
    won: Floats = ((before + found) / 2 * np.diff(false, axis=1, prepend=0)).sum(axis=1)
    return won
