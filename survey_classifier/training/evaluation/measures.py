"""Figures of merit and their differences, with intervals by resampling objects.

Owns which figures there are and their bootstrap. Does not own the draws (``resampling``) nor the
figures' values (``membership.skill``): what is written here is their form for resampled objects,
all resamples at once, and tests hold the two together.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from survey_classifier.membership.calibration_noise import (
    INTERVAL,
    calibration_interval,
    calibration_noise,
    honest_calibration_errors,
)
from survey_classifier.membership.skill import (
    LEAST_PROBABILITY,
    average_precision,
    brier_score,
    calibration_error,
    confusion,
    log_loss,
    roc_area,
)
from survey_classifier.training.evaluation.resampling import (
    Figure,
    Resampler,
    figure_of,
    share,
)

__all__ = ["COMPARED", "MEASURES", "N_BINS", "THRESHOLD", "Measures", "curves"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

N_BINS = 15
"""Bins of the calibration error."""
N_HONEST = 400
"""Truths that are drawn for the calibration errors of perfect probabilities."""
THRESHOLD = 0.5
"""Least probability that is called a member."""
CURVE = np.linspace(0, 1, 101)
"""Where the curves' bands are given."""


@dataclass(frozen=True, slots=True)
class Measures:
    """Every figure of `MEASURES` of each forecast for some objects, and of their resamples."""

    value: dict[str, dict[str, float]]
    """By forecast, then by name; a figure that the objects do not define, such as the recall
    without a member, is NaN."""
    resampled: dict[str, dict[str, Floats]]
    """The same of each resample, shape ``(resample,)``."""
    honest: dict[str, Floats]
    """By forecast calibration errors that it would show if it were perfect, ``(draw,)``."""

    @classmethod
    def of(
        cls, forecasts: Mapping[str, Floats], is_member: Bools, rows: Bools, resampler: Resampler
    ) -> Self:
        """Compute them.

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
        truth = is_member[rows]
        forms = {name: _Form.of(p[rows], truth) for name, p in forecasts.items()}
        parts: dict[str, list[dict[str, Floats]]] = {name: [] for name in forecasts}
        for counts in resampler.counts(rows):
            for name, form in forms.items():
                parts[name].append(form.figures(counts))
        return cls(
            {
                name: {key: value(p[rows], truth) for key, value in MEASURES.items()}
                for name, p in forecasts.items()
            },
            {
                name: {key: np.concatenate([part[key] for part in found]) for key in MEASURES}
                for name, found in parts.items()
            },
            {
                name: honest_calibration_errors(
                    p[rows], N_HONEST, np.random.default_rng(resampler.seed), N_BINS
                )
                for name, p in forecasts.items()
            },
        )

    def figures(self) -> dict[str, dict[str, Figure]]:
        """Return the figures with their intervals.

        That of a calibration error is of its own kind, see `calibration_interval`.
        """
        found = {
            name: {key: figure_of(value, self.resampled[name][key]) for key, value in of.items()}
            for name, of in self.value.items()
        }
        for name, figures in found.items():
            error = figures["calibration_error"].value
            ends = calibration_interval(
                error, self.resampled[name]["calibration_error"], self.honest[name]
            )
            figures["calibration_error"] = Figure(error, *ends)
        return found

    def differences(self) -> dict[str, dict[str, Figure]]:
        """Return the figures of `COMPARED` of each other forecast less those of the first.

        The intervals are of the differences in each resample, so what the two forecasts have in
        common does not widen them. Those of calibration errors are wider by what
        noise may make of them.
        """
        first, *others = self.value
        return {name: self._less(first, name) for name in others}

    def _less(self, first: str, name: str) -> dict[str, Figure]:
        """Return the figures of a forecast less those of the first."""
        found = {}
        for key in COMPARED:
            values = self.value[first][key], self.value[name][key]
            resampled = self.resampled[name][key] - self.resampled[first][key]
            if key == "calibration_error":
                noise = [calibration_noise(v, self.honest[of])
                         for v, of in zip(values, (first, name), strict=True)]  # fmt: skip
                found[key] = _difference_of_calibration(values, resampled, (noise[0], noise[1]))
            else:
                found[key] = figure_of(values[1] - values[0], resampled)
        return found


def _difference_of_calibration(
    values: tuple[float, float], resampled: Floats, noise: tuple[float, float]
) -> Figure:
    """Return the second calibration error less the first, with an interval.

    That is of the resamples, moved to have the difference as their mean, with the noise of each
    error taken off and without: what two like forecasts have of it in common leaves no trace.
    """
    value = values[1] - values[0]
    known = resampled[np.isfinite(resampled)]
    if not len(known):
        return Figure(value, float("nan"), float("nan"))
    low, high = np.percentile(known, INTERVAL) - known.mean() + value
    cleaned = noise[0] - noise[1]
    return Figure(value, float(low) + min(cleaned, 0), float(high) + max(cleaned, 0))


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
    "log_loss": log_loss,
}
"""Figure of merit by name; members are what is looked for."""
COMPARED = ("auc", "accuracy", "brier", "calibration_error", "log_loss")
"""Figures that forecasts are compared by."""


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
