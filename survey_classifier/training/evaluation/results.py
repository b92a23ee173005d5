"""The results of an evaluation: all figures, and the tables that hold them.

Owns what is computed of judged objects, and the columns of the tables. Does not own the formulas
(``measures``), the sets (``breakdown``) nor the page (``page``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from survey_classifier.membership.skill import (
    Confusion,
    Reliability,
    calibration_error,
    confusion,
    reliability,
)
from survey_classifier.training.evaluation.breakdown import Group, groups, regions
from survey_classifier.training.evaluation.judged import Judged
from survey_classifier.training.evaluation.measures import (
    MEASURES,
    N_BINS,
    THRESHOLD,
    Figure,
    Resampler,
    curves,
    measure,
)
from survey_classifier.training.evaluation.settings import TruthFile
from survey_classifier.training.evaluation.truth import CLASSES

__all__ = ["Measured", "Results"]

Floats = npt.NDArray[np.float64]
Columns = dict[str, npt.NDArray[Any]]
N_DRAWS = 200
"""Truths that are drawn for the calibration error of honest probabilities."""


@dataclass(frozen=True, slots=True)
class Measured:
    """The figures of one set of objects."""

    group: Group
    n: int
    n_member: int
    figures: dict[str, dict[str, Figure]]
    """By forecast, then by name."""


@dataclass(frozen=True)
class Results:
    """Everything that an evaluation finds."""

    file: TruthFile
    judged: Judged
    forecasts: dict[str, Floats]
    """Probabilities by name: the scores, then the baselines."""
    measured: tuple[Measured, ...]
    curves: dict[str, dict[str, dict[str, Floats]]]
    """By forecast what ``measures.curves`` returns, of all objects."""

    @classmethod
    def of(
        cls,
        judged: Judged,
        baselines: dict[str, Floats],
        file: TruthFile,
        by: Sequence[str],
        seed: int,
    ) -> Self:
        """Compute all figures.

        Parameters
        ----------
        judged
            The objects.
        baselines
            Their forecasts by simple means.
        file
            Says what the sets are.
        by
            Kinds of sets, of ``breakdown.KINDS``.
        seed
            Of the resampling.

        Raises
        ------
        ConfigError
            If there is no such kind.
        """
        forecasts = judged.p | baselines
        is_member = judged.truth.is_member
        resampler = Resampler(len(judged), seed)
        measured = tuple(
            Measured(
                group,
                int(group.rows.sum()),
                int(is_member[group.rows].sum()),
                measure(forecasts, is_member, group.rows, resampler),
            )
            for group in groups(judged, file, by)
        )
        drawn = {name: curves(p, is_member, resampler) for name, p in forecasts.items()}
        return cls(file, judged, forecasts, measured, drawn)

    @property
    def n_score(self) -> int:
        """How many of the forecasts are scores; they come first."""
        return len(self.judged.p)

    @property
    def first(self) -> str:
        """The score that pictures of objects are of."""
        return next(iter(self.forecasts))

    def of_kind(self, by: str) -> list[Measured]:
        """Return the figures of the sets of a kind, in order."""
        return [found for found in self.measured if found.group.by == by]

    def confusion(self, name: str, group: Group) -> Confusion:
        """Return the confusion matrix of a forecast for some objects."""
        rows = group.rows
        return confusion(self.forecasts[name][rows], self.judged.truth.is_member[rows], THRESHOLD)

    def called(self, name: str) -> npt.NDArray[np.int64]:
        """Return how many of each true class are called members and others, ``(class, 2)``."""
        is_called = self.forecasts[name] >= THRESHOLD
        of_class = [self.judged.truth.true_class == kind for kind in CLASSES]
        return np.array([[(is_called & c).sum(), (~is_called & c).sum()] for c in of_class])

    @cached_property
    def reliability(self) -> dict[str, Reliability]:
        """The share of members over the probability claimed, of each forecast."""
        truth = self.judged.truth.is_member
        return {name: reliability(p, truth, N_BINS) for name, p in self.forecasts.items()}

    @cached_property
    def honest_calibration_error(self) -> float:
        """The mean calibration error of the first score, were its probabilities the truth's."""
        p = self.forecasts[self.first]
        rng = np.random.default_rng(0)
        return float(
            np.mean([calibration_error(p, rng.random(len(p)) < p, N_BINS) for _ in range(N_DRAWS)])
        )

    def tables(self) -> dict[str, Columns]:
        """Return the tables by name."""
        return {
            "measures": self._measures_table(),
            "confusion": self._confusion_table(),
            "curves": self._curves_table(),
            "reliability": self._reliability_table(),
            "objects": self._objects_table(),
        }

    def _measures_table(self) -> Columns:
        """Return a row for each set and forecast."""
        rows = []
        for found in self.measured:
            for name, figures in found.figures.items():
                counts = self.confusion(name, found.group)
                row: dict[str, Any] = {
                    "by": found.group.by,
                    "group": found.group.name,
                    "forecast": name,
                    "n": found.n,
                    "n_member": found.n_member,
                    "n_hit": counts.n_hit,
                    "n_missed": counts.n_missed,
                    "n_false": counts.n_false,
                    "n_rejected": counts.n_rejected,
                }
                for key in MEASURES:
                    figure = figures[key]
                    row |= {key: figure.value, f"{key}_low": figure.low, f"{key}_high": figure.high}
                rows.append(row)
        return _columns(rows)

    def _confusion_table(self) -> Columns:
        """Return a row for each forecast and true class."""
        rows = []
        for name in self.forecasts:
            for kind, (member, other) in zip(CLASSES, self.called(name).tolist(), strict=True):
                counts = {"called_member": member, "called_nonmember": other}
                rows.append({"forecast": name, "true_class": kind} | counts)
        return _columns(rows)

    def _curves_table(self) -> Columns:
        """Return the points of all curves."""
        rows = []
        for name, kinds in self.curves.items():
            for kind, line in kinds.items():
                for point in range(len(line["x"])):
                    values = {key: float(line[key][point]) for key in ("x", "y", "low", "high")}
                    rows.append({"forecast": name, "curve": kind} | values)
        return _columns(rows)

    def _reliability_table(self) -> Columns:
        """Return a row for each forecast and bin with objects."""
        return _columns(
            [
                {"forecast": name, "mean_p": p, "member_share": share, "share_err": err, "n": n}
                for name, bins in self.reliability.items()
                for p, share, err, n in zip(
                    bins.mean_p, bins.member_share, bins.share_err, bins.n, strict=True
                )
            ]
        )

    def _objects_table(self) -> Columns:
        """Return a row for each object."""
        truth = self.judged.truth
        tables = np.array([data.name for data in self.file.data], dtype=object)
        return {
            "id": truth.object_id,
            "ra": truth.ra_deg,
            "dec": truth.dec_deg,
            "table": tables[truth.table],
            "true_class": truth.true_class,
            "fold": self.judged.fold,
            "mag": truth.mag,
            "delta_rs": truth.delta_rs,
            "color_region": regions(self.judged, self.file).astype(object),
            **{f"p_{_word(name)}": p for name, p in self.forecasts.items()},
        }


def _columns(rows: Sequence[dict[str, Any]]) -> Columns:
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def _word(name: str) -> str:
    """Return a name as a column may have it; that of a score has its p already."""
    return name.removeprefix("p_").replace(" ", "_")
