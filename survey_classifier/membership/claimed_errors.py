"""Whether claimed errors of probabilities tell which ones are wrong.

Owns the correlations, and which sources are of like certainty. Does not own the probabilities
(``probability``) nor their figures of merit (``skill``).
"""

import numpy as np
import numpy.typing as npt
from scipy import stats

from survey_classifier.membership.skill import checked

__all__ = ["error_correlation", "error_correlation_alike", "like_certainty"]

Floats = npt.NDArray[np.float64]

MAX_ALIKE = 25
"""Most objects of like certainty: neighbors in the distance of their p from one half."""
MIN_ALIKE = 5
MIN_GROUPS = 40
"""Of few objects there are as many such groups, unless they would be of less than five."""


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
    probability, truth = checked(p, is_member)
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
    probability, truth = checked(p, is_member)
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
