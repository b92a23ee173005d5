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
    "INTERVAL",
    "LEAST_PROBABILITY",
    "Confusion",
    "Reliability",
    "average_precision",
    "brier_score",
    "calibration_error",
    "calibration_interval",
    "calibration_noise",
    "confusion",
    "error_correlation",
    "error_correlation_alike",
    "honest_calibration_errors",
    "like_certainty",
    "log_loss",
    "reliability",
    "roc_area",
]

Floats = npt.NDArray[np.float64]

CELLS_AT_ONCE = 2_000_000
"""Draws times sources held in memory together."""
MAX_ALIKE = 25
"""Most objects of like certainty: neighbors in the distance of their p from one half."""
MIN_ALIKE = 5
MIN_GROUPS = 40
"""Of few objects there are as many such groups, unless they would be of less than five."""
INTERVAL = (2.5, 97.5)
"""Percentiles of an interval."""

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
    probability, truth = _checked(p, is_member)
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
    probability, truth = _checked(p, is_member)
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
    probability, truth = _checked(p, is_member)
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


def honest_calibration_errors(
    p: npt.ArrayLike, n_draws: int, rng: np.random.Generator, n_bins: int = 15
) -> Floats:
    """Return the calibration errors that perfect probabilities of so few sources would show.

    Parameters
    ----------
    p
        Probabilities, shape ``(n,)``.
    n_draws
        How often truths are drawn with the very probabilities claimed.
    rng
        Draws them.
    n_bins
        As in `calibration_error`.

    Returns
    -------
    ndarray
        Shape ``(n_draws,)``; NaN for no source.

    Raises
    ------
    RunError
        As `confusion`.
    """
    probability, _ = _checked(p, np.zeros(np.shape(p), dtype=np.bool_))
    n = len(probability)
    if not n:
        return np.full(n_draws, np.nan)
    in_bin = np.eye(n_bins)[np.minimum((probability * n_bins).astype(np.int64), n_bins - 1)]
    claimed = probability @ in_bin
    step = max(1, CELLS_AT_ONCE // n)
    drawn = [
        (rng.random((min(step, n_draws - start), n)) < probability).astype(np.float64) @ in_bin
        for start in range(0, n_draws, step)
    ]
    return np.asarray(np.abs(claimed - np.concatenate(drawn)).sum(axis=1) / n)


def calibration_noise(value: float, honest: Floats) -> float:
    """Return how much of a calibration error is noise, as far as that can be told.

    All of it where perfect probabilities would often show as much; else as if noise and the true
    one added up in square.

    Parameters
    ----------
    value
        The calibration error.
    honest
        From `honest_calibration_errors`.
    """
    if value <= np.percentile(honest, INTERVAL[1]):
        return value
    return value - float(np.sqrt(value**2 - honest.mean() ** 2))


def calibration_interval(value: float, resampled: Floats, honest: Floats) -> tuple[float, float]:
    """Return the 95 % interval of a calibration error.

    Noise makes the calibration error of few sources larger than it is, and that of resamples
    larger still: percentiles of the bootstrap hardly ever hold a true 0. So the interval begins
    where the error is less by what perfect probabilities would at most show, and ends where the
    resamples do that are moved to have the error itself as their mean. It holds the true one in at
    least 95 % of cases, in more than that where the error is large.

    Parameters
    ----------
    value
        Of the sources.
    resampled
        Of resamples of them, NaN where they do not define it, shape ``(resample,)``.
    honest
        From `honest_calibration_errors`.

    Returns
    -------
    tuple
        Its ends, NaN where no resample defines it.
    """
    known = resampled[np.isfinite(resampled)]
    if not len(known):
        return float("nan"), float("nan")
    low = value - float(np.percentile(honest, INTERVAL[1]))
    high = value + float(np.percentile(known, INTERVAL[1]) - known.mean())
    return max(low, 0.0), max(high, value)


def brier_score(p: npt.ArrayLike, is_member: npt.ArrayLike) -> float:
    """Return the mean square difference of probability and truth (Brier 1950); NaN for none.

    Takes and raises what `confusion` does.
    """
    probability, truth = _checked(p, is_member)
    return float(np.mean((probability - truth) ** 2)) if len(truth) else float("nan")


def log_loss(p: npt.ArrayLike, is_member: npt.ArrayLike) -> float:
    """Return the mean of -ln of the probability that the truth was given (Good 1952).

    That is taken as at least `LEAST_PROBABILITY`; NaN for none. Takes and raises what `confusion`
    does.
    """
    probability, truth = _checked(p, is_member)
    of_truth = np.where(truth, probability, 1 - probability)
    loss = -np.log(np.maximum(of_truth, LEAST_PROBABILITY))
    return float(loss.mean()) if len(truth) else float("nan")


def error_correlation(p: npt.ArrayLike, p_err: npt.ArrayLike, is_member: npt.ArrayLike) -> float:
    """Return the rank correlation of claimed errors with the distances of p from the truth.

    Spearman's (1904), over the sources with a claimed error; NaN where there are fewer than two
    different ones. Takes and raises what `confusion` does.

    Parameters
    ----------
    p, is_member
        As in `confusion`.
    p_err
        Claimed errors, shape ``(n,)``; NaN = none.
    """
    probability, truth = _checked(p, is_member)
    claimed = np.asarray(p_err, dtype=np.float64)
    known = np.isfinite(claimed)
    distance = np.abs(probability - truth)[known]
    if not known.any() or np.ptp(claimed[known]) == 0 or np.ptp(distance) == 0:
        return float("nan")
    return float(stats.spearmanr(claimed[known], distance).statistic)


def like_certainty(p: npt.ArrayLike) -> npt.NDArray[np.intp]:
    """Return for each source the number of its group of like certainty.

    Parameters
    ----------
    p
        Probabilities, shape ``(n,)``; neighbors in their distance from one half are a group.
    """
    probability = np.asarray(p, dtype=np.float64)
    n = len(probability)
    n_alike = min(max(n // MIN_GROUPS, MIN_ALIKE), MAX_ALIKE)
    n_group = max(n // n_alike, 1)
    group = np.empty(n, dtype=np.intp)
    order = np.argsort(np.abs(probability - 0.5), kind="stable")
    group[order] = np.arange(n) * n_group // max(n, 1)
    return group


def error_correlation_alike(
    p: npt.ArrayLike, p_err: npt.ArrayLike, is_member: npt.ArrayLike
) -> float:
    """Return the correlation of `error_correlation` among sources of like certainty.

    Of the ranks less their mean in each group of `like_certainty`: what claimed errors tell beyond
    that a p near one half is unsure. NaN where one of them does not vary. Takes and raises what
    `error_correlation` does.
    """
    probability, truth = _checked(p, is_member)
    claimed = np.asarray(p_err, dtype=np.float64)
    known = np.isfinite(claimed)
    if not known.any():
        return float("nan")
    probability, truth, claimed = probability[known], truth[known], claimed[known]
    group = like_certainty(probability)
    n_in = np.bincount(group)
    ranks = [stats.rankdata(values) for values in (claimed, np.abs(probability - truth))]
    x, y = (rank - (np.bincount(group, rank) / n_in)[group] for rank in ranks)
    scatter = float(np.sqrt((x**2).sum() * (y**2).sum()))
    return float((x * y).sum()) / scatter if scatter else float("nan")


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
    probability, truth = _checked(p, is_member)
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


def _checked(p: npt.ArrayLike, is_member: npt.ArrayLike) -> tuple[Floats, npt.NDArray[np.bool_]]:
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
