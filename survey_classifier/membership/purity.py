"""What a cut in ``p_member`` selects: expected members, purity and completeness, with intervals.

Owns the figures that follow from probabilities alone, and those that a truth measures. Does not
own figures of merit of the probabilities themselves (``skill``).

If the probabilities are calibrated, each source is a member with its own chance p, and the members
among some sources are a sum of such (Poisson-binomial): expected sum p, variance sum p (1 - p).
Purity is the expected share of members among the selected, completeness the share of the expected
members that is selected. The intervals are those of a bootstrap over the sources in which also each
source's truth is drawn, so they hold both what chance does to this field's members and how another
field like it would differ. They do not hold an error of the calibration itself.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from survey_classifier.errors import ConfigError

__all__ = ["Measured", "Selection", "measured", "selection"]

Floats = npt.NDArray[np.float64]
Interval = tuple[float, float]

N_BOOTSTRAP = 2000
CONFIDENCE = 0.95
BINS = 500
"""Of probability on each side of the cut: a bootstrap draws counts in bins, not single sources."""
UNKNOWN = (float("nan"), float("nan"))


@dataclass(frozen=True, slots=True)
class Selection:
    """What a cut selects, by the probabilities; NaN where there is nothing to divide by."""

    n: int
    """Sources with a probability."""
    n_selected: int
    """Those at or above the cut."""
    members: float
    """Expected members among all."""
    members_selected: float
    """Expected members among the selected."""
    members_err: float
    """Standard deviation of the members among the selected (Poisson-binomial)."""
    purity: float
    purity_interval: Interval
    """Of 95 %."""
    completeness: float
    completeness_interval: Interval
    """Of 95 %."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a cut selects of the sources whose truth is known."""

    n: int
    """Sources with a probability and a truth."""
    n_selected: int
    n_members: int
    purity: float
    purity_interval: Interval
    """Of 95 % (Wilson 1927)."""
    completeness: float
    completeness_interval: Interval


def selection(p: npt.ArrayLike, cut: float, seed: int = 0) -> Selection:
    """Return what a cut selects, by the probabilities.

    Parameters
    ----------
    p
        Probabilities of membership, shape (n,); NaN is left out.
    cut
        Least probability that is selected, inside 0 to 1.
    seed
        Of the bootstrap.

    Raises
    ------
    ConfigError
        If the cut is not inside 0 to 1.
    """
    if not 0 <= cut <= 1:
        raise ConfigError(f"the cut is {cut}: give a probability from 0 to 1")
    probability = np.asarray(p, dtype=np.float64)
    probability = probability[np.isfinite(probability)]
    chosen = probability[probability >= cut]
    members, inside = float(probability.sum()), float(chosen.sum())
    purity, completeness = _bootstrap(probability, cut, np.random.default_rng(seed))
    expected = inside / len(chosen) if len(chosen) else float("nan")
    found = inside / members if members > 0 else float("nan")
    return Selection(
        n=len(probability),
        n_selected=len(chosen),
        members=members,
        members_selected=inside,
        members_err=float(np.sqrt((chosen * (1 - chosen)).sum())),
        purity=expected,
        purity_interval=_around(expected, purity),
        completeness=found,
        completeness_interval=_around(found, completeness),
    )


def measured(p: npt.ArrayLike, is_member: npt.ArrayLike, cut: float) -> Measured:
    """Return what a cut selects of sources whose truth is known.

    Parameters
    ----------
    p
        Probabilities of membership, shape (n,); NaN is left out.
    is_member
        The truth, bool, shape (n,).
    cut
        Least probability that is selected.
    """
    probability = np.asarray(p, dtype=np.float64)
    known = np.isfinite(probability)
    truth = np.asarray(is_member, dtype=np.bool_)[known]
    chosen = probability[known] >= cut
    hits = int((truth & chosen).sum())
    n_selected, n_members = int(chosen.sum()), int(truth.sum())
    return Measured(
        n=int(known.sum()),
        n_selected=n_selected,
        n_members=n_members,
        purity=hits / n_selected if n_selected else float("nan"),
        purity_interval=_wilson(hits, n_selected),
        completeness=hits / n_members if n_members else float("nan"),
        completeness_interval=_wilson(hits, n_members),
    )


def _bootstrap(
    probability: Floats, cut: float, rng: np.random.Generator
) -> tuple[Interval, Interval]:
    """Return the intervals of purity and completeness."""
    above, below = (
        _drawn(part, rng)
        for part in (probability[probability >= cut], probability[probability < cut])
    )
    n_selected, hits = above
    members = hits + below[1]
    purity = _interval(np.divide(hits, n_selected, where=n_selected > 0, out=_unknown()))
    completeness = _interval(np.divide(hits, members, where=members > 0, out=_unknown()))
    return purity, completeness


def _drawn(probability: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return how many sources, and members of them, other fields like this one would have."""
    row = np.minimum((probability * BINS).astype(np.intp), BINS - 1)
    count = np.bincount(row, minlength=BINS)
    filled = count > 0
    mean = np.bincount(row, probability, BINS)[filled] / count[filled]
    n = rng.poisson(count[filled], (N_BOOTSTRAP, int(filled.sum())))
    members = rng.binomial(n, np.clip(mean, 0, 1))
    return n.sum(axis=1).astype(np.float64), members.sum(axis=1).astype(np.float64)


def _unknown() -> Floats:
    return np.full(N_BOOTSTRAP, np.nan)


def _interval(values: Floats) -> Interval:
    """Return the middle share of values; those that are unknown are left out."""
    known = values[np.isfinite(values)]
    if not len(known):
        return UNKNOWN
    low, high = np.quantile(known, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def _around(value: float, interval: Interval) -> Interval:
    """Return an interval that holds its value: of few sources most fields are all of one kind."""
    low, high = interval
    return min(low, value), max(high, value)


def _wilson(hits: int, n: int) -> Interval:
    """Return the interval of a share that was counted."""
    if not n:
        return UNKNOWN
    found = stats.binomtest(hits, n).proportion_ci(CONFIDENCE, method="wilson")
    return float(found.low), float(found.high)
