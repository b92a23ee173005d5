"""Figures of merit with intervals, by resampling objects.

Owns which figures there are and their bootstrap. Does not own the figures' values
(``membership.skill``): what is written here is their form for resampled objects, all resamples at
once, and tests hold the two together.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from survey_classifier.membership.skill import (
    average_precision,
    brier_score,
    calibration_error,
    confusion,
    roc_area,
)

__all__ = ["MEASURES", "N_RESAMPLES", "Figure", "Resampler", "curves", "measure"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

N_RESAMPLES = 1000
INTERVAL = (2.5, 97.5)
"""Percentiles of an interval."""
N_BINS = 15
"""Bins of the calibration error."""
THRESHOLD = 0.5
"""Least probability that is called a member."""
CELLS_AT_ONCE = 2_000_000
"""Resamples times objects held in memory together."""
CURVE = np.linspace(0, 1, 101)
"""Where the curves' bands are given."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of merit with its 95 % interval."""

    value: float
    low: float
    high: float


class Resampler:
    """Resamples objects with replacement, the same ones for every forecast.

    Parameters
    ----------
    n
        Number of objects.
    seed
        Of the draws.
    n_resamples
        How many there are.
    """

    def __init__(self, n: int, seed: int = 0, n_resamples: int = N_RESAMPLES) -> None:
        self.n, self.seed, self.n_resamples = n, seed, n_resamples

    def counts(self, rows: Bools) -> Iterator[Floats]:
        """Yield how often each of some objects is drawn, shape ``(resample, row)``.

        Parameters
        ----------
        rows
            Which objects are wanted, shape ``(n,)``; the draws are of all, so that two forecasts
            and two sets of objects are compared on the same resamples.
        """
        rng = np.random.default_rng(self.seed)
        step = max(1, CELLS_AT_ONCE // self.n)
        for start in range(0, self.n_resamples, step):
            n_here = min(step, self.n_resamples - start)
            drawn = rng.integers(0, self.n, (n_here, self.n))
            flat = (drawn + self.n * np.arange(n_here)[:, None]).ravel()
            count = np.bincount(flat, minlength=n_here * self.n).reshape(n_here, self.n)
            yield count[:, rows].astype(np.float64)


def measure(
    forecasts: Mapping[str, Floats], is_member: Bools, rows: Bools, resampler: Resampler
) -> dict[str, dict[str, Figure]]:
    """Return every figure of `MEASURES` of each forecast for some of the objects.

    Intervals are percentiles of the bootstrap over objects (Efron 1979). A calibration error is
    raised by the noise of a resample on top of that of the objects: its resamples are moved to
    have the figure itself as their mean, but not below 0. A figure that the objects do not
    define, such as the recall without a member, is NaN, and resamples without it do not count.

    Parameters
    ----------
    forecasts
        By name probabilities, finite, shape ``(n,)``.
    is_member
        Truth, shape ``(n,)``.
    rows
        Which objects are judged, at least one, shape ``(n,)``.
    resampler
        Of n objects.
    """
    forms = {name: _Form.of(p[rows], is_member[rows]) for name, p in forecasts.items()}
    spread: dict[str, list[dict[str, Floats]]] = {name: [] for name in forecasts}
    for counts in resampler.counts(rows):
        for name, form in forms.items():
            spread[name].append(form.figures(counts))
    found = {}
    for name, p in forecasts.items():
        resampled = {key: np.concatenate([part[key] for part in spread[name]]) for key in MEASURES}
        found[name] = {
            key: _figure(key, value(p[rows], is_member[rows]), resampled[key])
            for key, value in MEASURES.items()
        }
    return found


def _figure(key: str, value: float, resampled: Floats) -> Figure:
    """Return a figure and its interval, NaN where no resample defines it."""
    known = resampled[np.isfinite(resampled)]
    if not len(known):
        return Figure(value, float("nan"), float("nan"))
    if key == "calibration_error":
        known = np.maximum(known + value - known.mean(), 0)
    low, high = np.percentile(known, INTERVAL)
    return Figure(value, float(low), float(high))


def _f1(p: Floats, is_member: Bools) -> float:
    counts = confusion(p, is_member, THRESHOLD)
    whole = 2 * counts.n_hit + counts.n_false + counts.n_missed
    return 2 * counts.n_hit / whole if whole else float("nan")


def _false_positive_rate(p: Floats, is_member: Bools) -> float:
    counts = confusion(p, is_member, THRESHOLD)
    whole = counts.n_false + counts.n_rejected
    return counts.n_false / whole if whole else float("nan")


MEASURES: dict[str, Callable[[Floats, Bools], float]] = {
    "accuracy": lambda p, truth: confusion(p, truth, THRESHOLD).accuracy,
    "precision": lambda p, truth: confusion(p, truth, THRESHOLD).precision,
    "recall": lambda p, truth: confusion(p, truth, THRESHOLD).recall,
    "f1": _f1,
    "false_positive_rate": _false_positive_rate,
    "auc": roc_area,
    "average_precision": average_precision,
    "calibration_error": lambda p, truth: calibration_error(p, truth, N_BINS),
    "brier": brier_score,
}
"""Figure of merit by name; members are what is looked for."""


@dataclass(frozen=True, slots=True)
class _Form:
    """What figures of resampled objects are made of, objects in descending order of p."""

    order: npt.NDArray[np.intp]
    last_of_tie: npt.NDArray[np.intp]
    p: Floats
    is_member: Floats
    called: Floats
    bins: npt.NDArray[np.intp]

    @classmethod
    def of(cls, p: Floats, is_member: Bools) -> "_Form":
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
        precision = _share(found, found + false)
        in_bin = np.eye(N_BINS)[self.bins]
        excess = weight @ ((self.p - self.is_member)[:, None] * in_bin)
        return {
            "accuracy": _share(n_hit + n_other - n_false, whole),
            "precision": _share(n_hit, n_called),
            "recall": _share(n_hit, n_member),
            "f1": _share(2 * n_hit, n_called + n_member),
            "false_positive_rate": _share(n_false, n_other),
            "auc": _share(_pairs_won(found, false), n_member * n_other),
            "average_precision": _share(np.nansum(gain * precision, axis=1), n_member),
            "calibration_error": _share(np.abs(excess).sum(axis=1), whole),
            "brier": _share(weight @ (self.p - self.is_member) ** 2, whole),
        }


def _pairs_won(found: Floats, false: Floats) -> Floats:
    """Return how many pairs have the member above the other, ties counting half."""
    before = found - np.diff(found, axis=1, prepend=0)
    won: Floats = ((before + found) / 2 * np.diff(false, axis=1, prepend=0)).sum(axis=1)
    return won


def _share(part: Floats, whole: Floats) -> Floats:
    """Return part / whole, NaN where there is nothing."""
    return np.divide(part, whole, out=np.full_like(whole, np.nan), where=whole > 0)


def curves(p: Floats, is_member: Bools, resampler: Resampler) -> dict[str, dict[str, Floats]]:
    """Return the ROC and the precision-recall curve, each with a 95 % band.

    Parameters
    ----------
    p
        Probabilities, finite, shape ``(n,)``.
    is_member
        Truth with both values, shape ``(n,)``.
    resampler
        Of n objects.

    Returns
    -------
    dict
        ``roc`` and ``precision_recall``, each with ``x``, ``y``, ``low`` and ``high`` of shape
        ``(101,)``: the true positive rate over the false positive rate, and the precision over
        the recall. Between thresholds the ROC curve is straight; the precision at a recall is
        that of the first threshold which reaches it.
    """
    form = _Form.of(p, is_member)
    everyone = np.ones(len(p), dtype=np.bool_)
    rows: dict[str, list[Floats]] = {"roc": [], "precision_recall": []}
    for counts in [np.ones((1, len(p))), *resampler.counts(everyone)]:
        for found, false in zip(*form.steps(counts), strict=True):
            if not (found[-1] and false[-1]):
                continue
            rows["roc"].append(_roc(found, false))
            rows["precision_recall"].append(_precision_recall(found, false))
    result = {}
    for name, (value, *spread) in rows.items():
        low, high = np.percentile(spread, INTERVAL, axis=0)
        result[name] = {"x": CURVE, "y": value, "low": low, "high": high}
    return result


def _roc(found: Floats, false: Floats) -> Floats:
    x, y = np.append(0, false / false[-1]), np.append(0, found / found[-1])
    # Of a vertical step the upper end is the value at its x.
    last = np.append(np.diff(x) > 0, True)
    return np.asarray(np.interp(CURVE, x[last], y[last]))


def _precision_recall(found: Floats, false: Floats) -> Floats:
    # A probability of which no object was drawn is no threshold.
    there = found + false > 0
    found, false = found[there], false[there]
    # A hair less: the recall of a share such as 7/10 may be rounded to just below it.
    first = np.searchsorted(found, CURVE * found[-1] - 1e-9)
    # A recall of 0 is reached by calling the most probable step.
    return np.asarray((found / (found + false))[first])
