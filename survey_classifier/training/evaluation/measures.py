"""Figures of merit and their differences, with intervals by resampling objects.

Owns which figures there are, and how the interval of each is read off. Does not own the draws
(``resampling``), what is computed of them (``forms``) nor the figures' values
(``membership.skill``).
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
    Confusion,
    average_precision,
    brier_score,
    calibration_error,
    confusion,
    log_loss,
    roc_area,
)
from survey_classifier.training.evaluation.forms import N_BINS, THRESHOLD, Form
from survey_classifier.training.evaluation.resampling import (
    Figure,
    Resampler,
    figure_of,
    share_figure,
    share_interval,
)

__all__ = ["COMPARED", "LEAST_OF_CLASS", "MEASURES", "Measures"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

N_HONEST = 400
"""Truths that are drawn for the calibration errors of perfect probabilities."""
LEAST_OF_CLASS = 5
"""Of fewer members, or fewer others, a ranking's figure has no interval that means anything."""


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
    counts: dict[str, Confusion]
    """By forecast what it calls the objects."""

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
        forms = {name: Form.of(p[rows], truth) for name, p in forecasts.items()}
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
            {name: confusion(p[rows], truth, THRESHOLD) for name, p in forecasts.items()},
        )

    def figures(self) -> dict[str, dict[str, Figure]]:
        """Return the figures with their intervals, by forecast, then by name.

        Those of the bootstrap, but that of a calibration error is of its own kind, see
        `calibration_interval`. Where every resample says the same, the objects are too few to show
        what else a figure may be: shares have Wilson's interval then, other figures none. Nor
        have figures of a ranking with fewer than `LEAST_OF_CLASS` members or others.
        """
        return {name: self._figures(name) for name in self.value}

    def _figures(self, name: str) -> dict[str, Figure]:
        """Return the figures of a forecast."""
        values, resampled, counts = self.value[name], self.resampled[name], self.counts[name]
        found = {key: _varied(values[key], resampled[key]) for key in MEASURES}
        for key, (part, whole) in _shares(counts).items():
            found[key] = share_figure(part, whole, resampled[key])
        for key in RANKINGS:
            found[key] = _ranking(found[key], key, counts)
        # Twice the hits over all that is called or is a member: of a share s, 2 s / (1 + s).
        wrong = counts.n_false + counts.n_missed
        if counts.n_hit + wrong and not (counts.n_hit and wrong):
            ends = share_interval(counts.n_hit, counts.n_hit + wrong)
            found["f1"] = Figure(values["f1"], *(2 * end / (1 + end) for end in ends))
        error = values["calibration_error"]
        ends = calibration_interval(error, resampled["calibration_error"], self.honest[name])
        return found | {"calibration_error": Figure(error, *ends)}

    def differences(self) -> dict[str, dict[str, Figure]]:
        """Return the figures of `COMPARED` of each other forecast less those of the first.

        The intervals are of the differences in each resample, so what the two forecasts have in
        common does not widen them. Those of calibration errors are wider by what noise may make of
        them. Where all resamples say the same of two forecasts that differ, there is none.
        """
        first, *others = self.value
        return {name: self._less(first, name) for name in others}

    def _less(self, first: str, name: str) -> dict[str, Figure]:
        """Return the figures of a forecast less those of the first."""
        found = {}
        briers = self.resampled[first]["brier"], self.resampled[name]["brier"]
        is_same = np.array_equal(briers[0], briers[1], equal_nan=True)
        for key in COMPARED:
            values = self.value[first][key], self.value[name][key]
            resampled = self.resampled[name][key] - self.resampled[first][key]
            if key == "calibration_error":
                noise = [calibration_noise(v, self.honest[of])
                         for v, of in zip(values, (first, name), strict=True)]  # fmt: skip
                found[key] = _difference_of_calibration(values, resampled, (noise[0], noise[1]))
            else:
                of = figure_of if is_same else _varied
                found[key] = of(values[1] - values[0], resampled)
            if key in RANKINGS and _is_few(self.counts[name]):
                found[key] = _without_interval(found[key].value)
        return found


def _shares(counts: Confusion) -> dict[str, tuple[int, int]]:
    """Return the figures that are shares of objects: of how many, and how many of those."""
    n_other = counts.n_false + counts.n_rejected
    return {
        "accuracy": (counts.n_hit + counts.n_rejected, counts.n),
        "precision": (counts.n_hit, counts.n_hit + counts.n_false),
        "recall": (counts.n_hit, counts.n_hit + counts.n_missed),
        "false_positive_rate": (counts.n_false, n_other),
    }


def _ranking(figure: Figure, key: str, counts: Confusion) -> Figure:
    """Return a ranking's figure, without an interval where there are too few of a class.

    Where no pair, or every pair of a member and another, is in the right order, so are as many
    pairs that share no object as the rarer class has objects: of these, it is a share.
    """
    if _is_few(counts):
        return _without_interval(figure.value)
    if key == "auc" and figure.value in (0, 1):
        n_pair = min(_class_sizes(counts))
        return Figure(figure.value, *share_interval(figure.value * n_pair, n_pair))
    return figure


def _class_sizes(counts: Confusion) -> tuple[int, int]:
    """Return the number of members and of others."""
    return counts.n_hit + counts.n_missed, counts.n_false + counts.n_rejected


def _is_few(counts: Confusion) -> bool:
    return min(_class_sizes(counts)) < LEAST_OF_CLASS


def _varied(value: float, resampled: Floats) -> Figure:
    """Return a figure and its interval, without one where all resamples say the same."""
    known = resampled[np.isfinite(resampled)]
    if len(known) and np.ptp(known) == 0:
        return _without_interval(value)
    return figure_of(value, resampled)


def _without_interval(value: float) -> Figure:
    return Figure(value, float("nan"), float("nan"))


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
RANKINGS = ("auc", "average_precision")
"""Figures of the order of members and others."""
