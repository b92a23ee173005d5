"""The tables that a reader of an evaluation sees, and all of them as Markdown.

Owns which figures stand in which table, and how a figure is said. Does not own any number
(``results``) nor the page (``page``).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from survey_classifier.catalog.tables import markdown_table
from survey_classifier.run.page import Html
from survey_classifier.training.evaluation.measures import MEASURES, Figure
from survey_classifier.training.evaluation.results import Measured, Results
from survey_classifier.training.evaluation.truth import CLASSES

__all__ = [
    "KIND_TITLES",
    "TITLES",
    "Setting",
    "caption",
    "evaluation_markdown",
    "forecast_rows",
    "formed",
    "said",
    "table_of",
]

Row = list[str | int | Figure]

TITLES = {
    "accuracy": "accuracy",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "false_positive_rate": "false pos. rate",
    "auc": "AUC",
    "average_precision": "avg. precision",
    "calibration_error": "ECE",
    "brier": "Brier",
}
KIND_TITLES = {
    "class": "By true class",
    "region": "By color region",
    "mag": "By magnitude",
    "region-mag": "By color region and magnitude",
    "table": "By table",
    "fold": "By fold",
}
UNDEFINED = "–"
SHORT = ("accuracy", "precision", "recall", "auc")
"""Figures of the tables of many sets."""


@dataclass(frozen=True, slots=True)
class Setting:
    """Where an evaluation comes from, in words."""

    scores: str
    truth: str
    seen: str
    """Whether the network had seen the objects."""
    is_optimistic: bool
    """Whether it had."""


def said(figure: Figure) -> str:
    """Return a figure with its interval."""
    if np.isnan(figure.value):
        return UNDEFINED
    if np.isnan(figure.low):
        return f"{figure.value:.3f}"
    return f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]"


def caption(found: Measured) -> str:
    """Return what a set is."""
    return f"{found.group.name}: {found.n:,} objects, {found.n_member:,} members"


def forecast_rows(found: Measured) -> list[Row]:
    """Return every figure of a set, a row for each forecast."""
    return [[name, *(figures[key] for key in MEASURES)] for name, figures in found.figures.items()]


def table_of(kind: str, found: Sequence[Measured], results: Results) -> tuple[list[str], list[Row]]:
    """Return header and rows of the table of a kind of sets.

    Parameters
    ----------
    kind
        One of `KIND_TITLES`.
    found
        The figures of its sets.
    results
        Everything that was found.
    """
    if kind == "class":
        # Of objects of one class only the share that is called rightly means something.
        names = list(results.forecasts)
        header = ["true class", "objects", *(f"{name} right" for name in names)]
        return header, [
            [m.group.name, m.n, *(m.figures[name]["accuracy"] for name in names)] for m in found
        ]
    start = ["set", "objects", "members"]
    if kind == "region-mag":
        keys, first = ("precision", "recall", "f1"), results.first
        header = [*start, "hit", "missed", "false", "rejected", *(TITLES[key] for key in keys)]
        return header, [
            [*_begun(m), *_counts(results, first, m), *(m.figures[first][key] for key in keys)]
            for m in found
        ]
    rows: list[Row] = [
        [*_begun(m), name, *(m.figures[name][key] for key in SHORT)]
        for m in found
        for name in _shown(m, results)
    ]
    return [*start, "forecast", *(TITLES[key] for key in SHORT)], rows


def _begun(found: Measured) -> list[str | int]:
    """Return how a row of a set begins."""
    return [found.group.name, found.n, found.n_member]


def _counts(results: Results, name: str, found: Measured) -> tuple[int, int, int, int]:
    """Return the cells of a confusion matrix."""
    counts = results.confusion(name, found.group)
    return counts.n_hit, counts.n_missed, counts.n_false, counts.n_rejected


def _shown(found: Measured, results: Results) -> list[str]:
    """Return the scores, and the baseline of the lowest Brier score."""
    names = list(results.forecasts)
    scores, baselines = names[: results.n_score], names[results.n_score :]
    best = min(baselines, key=lambda name: found.figures[name]["brier"].value)
    return [*scores, best]


def formed(
    rows: Iterable[Row], form: Callable[[Figure], str | Html]
) -> list[list[str | int | Html]]:
    """Return rows with the figures in them put into a form."""
    return [[form(cell) if isinstance(cell, Figure) else cell for cell in row] for row in rows]


def evaluation_markdown(results: Results, setting: Setting) -> str:
    """Return the tables as Markdown.

    Parameters
    ----------
    results
        All figures.
    setting
        Where they come from.
    """
    everything = results.measured[0]
    parts = [
        f"# Evaluation of {results.first}\n",
        f"{everything.n} objects of known class, {everything.n_member} members. {setting.seen} "
        f"Scores: {setting.scores}. Truth: {setting.truth}.\n",
    ]
    for found in results.of_kind("set"):
        table = _markdown(["forecast", *TITLES.values()], forecast_rows(found))
        parts += [f"## {caption(found)}\n", table]
    for kind, title in KIND_TITLES.items():
        of_kind = results.of_kind(kind)
        if of_kind:
            parts += [f"## {title}\n", _markdown(*table_of(kind, of_kind, results))]
    counts = zip(CLASSES, results.called(results.first).tolist(), strict=True)
    called: list[Row] = [[name, *pair] for name, pair in counts]
    header = ["true class", "called member", "called nonmember"]
    parts += [f"## What {results.first} calls the objects\n", _markdown(header, called)]
    return "\n".join(parts)


def _markdown(header: Sequence[str], rows: Iterable[Row]) -> str:
    cells = [[said(cell) if isinstance(cell, Figure) else cell for cell in row] for row in rows]
    return markdown_table(header, cells)
