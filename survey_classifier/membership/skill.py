"""How good probabilities are, given the truth.

Owns the figures of merit of probabilities of membership. Does not know where a probability or a
truth comes from. Every function takes finite probabilities and known truths: what is unknown is
the caller's to leave out, and to count.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from survey_classifier.errors import RunError

__all__ = [
    "LEAST_PROBABILITY",
    "Confusion",
    "Reliability",
    "average_precision",
    "brier_score",
    "calibration_error",
    "checked",
    "confusion",
    "log_loss",
    "reliability",
    "roc_area",
]

Floats = npt.NDArray[np.float64]


LEAST_PROBABILITY = 1e-6
"""Of the truth, in a log loss. Tables of scores often have six digits: what is 0 in them is not
claimed to be impossible, and would make the loss of one error infinite."""


@dataclass(frozen=True, slots=True)
class Confusion:
    """Counts of sources by what they are and what they are called."""

    n_hit: int
    """Members called members."""
    n_missed: int
    """Members called nonmembers."""
    n_false: int
    """Nonmembers called members."""
    n_rejected: int
    """Nonmembers called nonmembers."""

    @property
    def n(self) -> int:
        """Number of sources."""
        return self.n_hit + self.n_missed + self.n_false + self.n_rejected

    @property
    def precision(self) -> float:
        """Share of members among those called members; NaN if none is."""
        return _share(self.n_hit, self.n_hit + self.n_false)

    @property
    def recall(self) -> float:
        """Share of the members that are called members; NaN if there is none."""
        return _share(self.n_hit, self.n_hit + self.n_missed)

    @property
    def accuracy(self) -> float:
        """Share of the sources that are called what they are; NaN if there is none."""
        return _share(self.n_hit + self.n_rejected, self.n)


@dataclass(frozen=True, slots=True)
class Reliability:
    """Sources in bins of probability that are not empty; arrays of shape ``(n_bin,)``."""

    mean_p: Floats
    """Mean probability in the bin."""
    member_share: Floats
    """Share of members in the bin."""
    share_err: Floats
    """Binomial standard error of the share, with one source of each kind added to the bin."""
    n: npt.NDArray[np.int64]
    """Sources in the bin."""


def confusion(p: npt.ArrayLike, is_member: npt.ArrayLike, threshold: float = 0.5) -> Confusion:
    """Count what is called a member, at ``p >= threshold``, against the truth.

    Parameters
    ----------
    p
        Probabilities, shape ``(n,)``.
    is_member
        The truth, bool, shape ``(n,)``.
    threshold
        Least probability that is called a member.

    Raises
    ------
    RunError
        If the shapes differ or a probability is not inside 0 to 1.
    """
    probability, truth = checked(p, is_member)
    called = probability >= threshold
    return Confusion(
        int((called & truth).sum()),
        int((~called & truth).sum()),
        int((called & ~truth).sum()),
        int((~called & ~truth).sum()),
    )


def roc_area(p: npt.ArrayLike, is_member: npt.ArrayLike) -> float:
    """Return the chance that a member has a higher probability than a nonmember.

    The area under the ROC curve by ranks (Mann & Whitney 1947), ties counting half; NaN unless
    there are both members and nonmembers. Takes and raises what `confusion` does.
    """
    probability, truth = checked(p, is_member)
    n_member, n_other = int(truth.sum()), int((~truth).sum())
    if not n_member or not n_other:
        return float("nan")
    rank_sum = float(stats.rankdata(probability)[truth].sum())
    return (rank_sum - n_member * (n_member + 1) / 2) / (n_member * n_other)


def average_precision(p: npt.ArrayLike, is_member: npt.ArrayLike) -> float:
    """Return the mean precision over the members, sources of equal probability taken together.

    The step sum under the precision-recall curve; NaN without members. Takes and raises what
    `confusion` does.
    """
    probability, truth = checked(p, is_member)
    if not truth.any():
        return float("nan")
    order = np.argsort(-probability, kind="stable")
    last_of_tie = np.append(np.flatnonzero(np.diff(probability[order])), len(order) - 1)
    found = np.cumsum(truth[order])[last_of_tie]
    precision = found / (last_of_tie + 1)
    return float((np.diff(found, prepend=0) * precision).sum() / truth.sum())


def calibration_error(p: npt.ArrayLike, is_member: npt.ArrayLike, n_bins: int = 15) -> float:
    """Return the expected calibration error (Guo et al. 2017, equation 3); NaN for none.

    The mean distance of claimed and true share over equal bins, weighted by their sources. Takes
    and raises what `confusion` does.
    """
    bins = reliability(p, is_member, n_bins)
    if not len(bins.n):
        return float("nan")
    return float((bins.n * np.abs(bins.mean_p - bins.member_share)).sum() / bins.n.sum())


def brier_score(p: npt.ArrayLike, is_member: npt.ArrayLike) -> float:
    """Return the mean square difference of probability and truth (Brier 1950); NaN for none.

    Takes and raises what `confusion` does.
    """
    probability, truth = checked(p, is_member)
    return float(np.mean((probability - truth) ** 2)) if len(truth) else float("nan")


def log_loss(p: npt.ArrayLike, is_member: npt.ArrayLike) -> float:
    """Return the mean of -ln of the probability that the truth was given (Good 1952).

    That is taken as at least `LEAST_PROBABILITY`; NaN for none. Takes and raises what `confusion`
    does.
    """
    probability, truth = checked(p, is_member)
    of_truth = np.where(truth, probability, 1 - probability)
    loss = -np.log(np.maximum(of_truth, LEAST_PROBABILITY))
    return float(loss.mean()) if len(truth) else float("nan")


def reliability(p: npt.ArrayLike, is_member: npt.ArrayLike, n_bins: int = 10) -> Reliability:
    """Return the share of members in equal bins of probability.

    Takes and raises what `confusion` does.

    Parameters
    ----------
    p, is_member
        As in `confusion`.
    n_bins
        Bins between 0 and 1, half-open, the last one closed.
    """
    probability, truth = checked(p, is_member)
    row = np.minimum((probability * n_bins).astype(np.int64), n_bins - 1)
    n = np.bincount(row, minlength=n_bins)
    filled = n > 0
    count = n[filled]
    share = np.bincount(row, truth, n_bins)[filled] / count
    # Laplace's rule: a bin where all agree is not known without error.
    smooth = (share * count + 1) / (count + 2)
    return Reliability(
        mean_p=np.bincount(row, probability, n_bins)[filled] / count,
        member_share=share,
        share_err=np.sqrt(smooth * (1 - smooth) / count),
        n=count,
    )


def checked(p: npt.ArrayLike, is_member: npt.ArrayLike) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Return probabilities and truths as arrays.

    Parameters
    ----------
    p, is_member
        As in `confusion`.

    Raises
    ------
    RunError
        If their shapes differ, or a value is no probability.
    """
    probability = np.asarray(p, dtype=np.float64)
    truth = np.asarray(is_member, dtype=np.bool_)
    if probability.shape != truth.shape or probability.ndim != 1:
        raise RunError(
            f"probabilities of shape {probability.shape} and truths of shape {truth.shape}: "
            "give one of each for every source"
        )
    wrong = ~((probability >= 0) & (probability <= 1))
    if wrong.any():
        raise RunError(
            f"{int(wrong.sum())} values such as {probability[wrong][0]} are no probabilities: "
            "leave out what was not classified"
        )
    return probability, truth


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
