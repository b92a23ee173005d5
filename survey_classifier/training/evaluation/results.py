"""The results of an evaluation: all figures.

Owns what is computed of judged objects. Does not own the formulas (``measures``, ``claims``), the
sets (``breakdown``), the tables (``columns``) nor the page (``page``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import numpy.typing as npt

from survey_classifier.membership.skill import Confusion, Reliability, confusion, reliability
from survey_classifier.training.evaluation.breakdown import Group, groups
from survey_classifier.training.evaluation.claims import ClaimsTest, Fifth, fifths, judge_claims
from survey_classifier.training.evaluation.curves import curves
from survey_classifier.training.evaluation.forms import N_BINS, THRESHOLD
from survey_classifier.training.evaluation.judged import Judged
from survey_classifier.training.evaluation.measures import Measures
from survey_classifier.training.evaluation.resampling import Figure, Resampler
from survey_classifier.training.evaluation.settings import TruthFile
from survey_classifier.training.evaluation.truth import CLASSES

__all__ = ["LARGE", "Measured", "Results"]

Floats = npt.NDArray[np.float64]
LARGE = ("set", "table")
"""Kinds of sets in which forecasts are compared, and claimed errors held against true ones."""
N_DRAWN = 8
"""Forecasts in one picture."""


@dataclass(frozen=True, slots=True)
class Measured:
    """The figures of one set of objects."""

    group: Group
    n: int
    n_member: int
    figures: dict[str, dict[str, Figure]]
    """By forecast, then by name."""
    differences: dict[str, dict[str, Figure]]
    """By forecast but the first those of `measures.COMPARED`, less the figure of the first."""
    honest: dict[str, float]
    """By forecast the mean calibration error, were its probabilities the truth's."""


@dataclass(frozen=True)
class Results:
    """Everything that an evaluation finds."""

    file: TruthFile
    judged: Judged
    forecasts: dict[str, Floats]
    """Probabilities by name: the scores, those they are compared with, then the baselines."""
    measured: tuple[Measured, ...]
    curves: dict[str, dict[str, dict[str, Floats]]]
    """By forecast what ``measures.curves`` returns, of all objects."""
    claims: tuple[ClaimsTest, ...]
    """Of the large sets."""
    fifths: tuple[Fifth, ...]

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
        """
        forecasts = judged.p | baselines
        is_member = judged.truth.is_member
        resampler = Resampler(len(judged), seed)
        measured = []
        for group in groups(judged, file, by):
            found = Measures.of(forecasts, is_member, group.rows, resampler)
            n, n_member = int(group.rows.sum()), int(is_member[group.rows].sum())
            honest = {name: float(errors.mean()) for name, errors in found.honest.items()}
            measured.append(
                Measured(group, n, n_member, found.figures(), found.differences(), honest)
            )
        large = [found.group for found in measured if found.group.by in LARGE]
        return cls(
            file,
            judged,
            forecasts,
            tuple(measured),
            {name: curves(p, is_member, resampler) for name, p in forecasts.items()},
            tuple(judge_claims(judged, large, resampler)),
            tuple(fifths(judged, resampler)),
        )

    @property
    def n_own(self) -> int:
        """How many of the forecasts are the scores' own; they come first."""
        return self.judged.n_own

    @property
    def n_score(self) -> int:
        """How many of the forecasts are scores, of any table; baselines come after them."""
        return len(self.judged.p)

    @property
    def drawn(self) -> list[str]:
        """The forecasts that pictures have room for: scores before baselines."""
        return list(self.forecasts)[:N_DRAWN]

    @property
    def fifths_of_first(self) -> list[Fifth]:
        """Those of the first table that claims errors."""
        return [fifth for fifth in self.fifths if fifth.forecast == self.fifths[0].forecast]

    @property
    def claims_shown(self) -> list[ClaimsTest]:
        """Those of the first table that claims errors, and of the others for all objects."""
        everyone = self.measured[0].group
        first = {test.forecast for test in self.claims[:1]}
        return [t for t in self.claims if t.forecast in first or t.group is everyone]

    @property
    def large(self) -> list[Measured]:
        """The figures of the sets of kinds `LARGE`."""
        return [found for found in self.measured if found.group.by in LARGE]

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
    def best_baseline(self) -> str:
        """The baseline with the best Brier score of all objects."""
        figures = self.measured[0].figures
        baselines = list(self.forecasts)[self.n_score :]
        return min(baselines, key=lambda name: figures[name]["brier"].value)
