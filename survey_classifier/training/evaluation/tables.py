"""The tables that a reader of an evaluation sees.

Owns which figures stand in which table, and how a figure is said. Does not own any number
(``results``) nor the forms (``page``, ``markdown``).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from survey_classifier.run.page import Html
from survey_classifier.training.evaluation.account import Account
from survey_classifier.training.evaluation.claims import Among, ClaimsTest, Fifth
from survey_classifier.training.evaluation.judged import Judged
from survey_classifier.training.evaluation.measures import COMPARED, LEAST_OF_CLASS, MEASURES
from survey_classifier.training.evaluation.resampling import Figure
from survey_classifier.training.evaluation.results import Measured, Results
from survey_classifier.words import counted

__all__ = [
    "CLAIMS_HEADER",
    "COMPARED_HEADER",
    "FATES_HEADER",
    "FIFTHS_HEADER",
    "FIFTHS_TITLES",
    "FORECASTS_HEADER",
    "KIND_TITLES",
    "POOLED",
    "TITLES",
    "Difference",
    "Row",
    "caption",
    "claims_rows",
    "compared_rows",
    "fates_rows",
    "fifths_rows",
    "fitted_to",
    "forecast_rows",
    "formed",
    "kind_notes",
    "said",
    "said_difference",
    "table_of",
]


@dataclass(frozen=True, slots=True)
class Difference:
    """A figure less another one."""

    figure: Figure


POOLED = (
    "Forecasts of all parts of the sky are pooled. Those that are fitted for each part begin at "
    "the share of members in the others, so their levels differ, which takes something off an "
    "AUC; of the majority, which says nothing else, it may lie far below one half."
)
"""What is to be known of any AUC in the tables."""
Row = list[str | int | Figure | Difference]

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
    "log_loss": "log loss",
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
NO_INTERVAL = "[–]"
FIFTHS_TITLES: dict[Among, str] = {
    "all": "By fifths of the claimed errors of all objects",
    "alike": "By fifths among objects of like certainty",
}
SHORT = ("accuracy", "precision", "recall", "auc")
"""Figures of the tables of many sets."""
MAX_MANY = 4
"""Scores in such a table; of more, only the first table's own are shown."""
WIDE = tuple(key for key in MEASURES if key != "log_loss")
"""Figures of the tables of all forecasts, as many as a page is wide."""
FORECASTS_HEADER = ["forecast", *(TITLES[key] for key in WIDE)]
COMPARED_HEADER = ["forecast", *(TITLES[key] for key in COMPARED)]
CLAIMS_HEADER = ["scores", "set", "objects", "called wrongly", "correlation", "at like certainty"]
FATES_HEADER = ["rows", "what became of them"]
FIFTHS_HEADER = ["fifth", "claimed error", "objects", "called wrongly", "expected of p alone"]


def said(figure: Figure | Difference) -> str:
    """Return a figure with its interval."""
    if isinstance(figure, Difference):
        return said_difference(figure.figure)
    if np.isnan(figure.value):
        return UNDEFINED
    if np.isnan(figure.low):
        return f"{figure.value:.3f} {NO_INTERVAL}"
    return f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]"


def said_difference(figure: Figure) -> str:
    """Return a difference with its interval, and with its sign."""
    if np.isnan(figure.value):
        return UNDEFINED
    if np.isnan(figure.low):
        return f"{figure.value:+.4f} {NO_INTERVAL}"
    return f"{figure.value:+.4f} [{figure.low:+.4f}, {figure.high:+.4f}]"


def caption(found: Measured) -> str:
    """Return what a set is."""
    return f"{found.group.name}: {found.n:,} objects, {found.n_member:,} members"


def forecast_rows(found: Measured) -> list[Row]:
    """Return the figures of a set, a row for each forecast."""
    return [[name, *(figures[key] for key in WIDE)] for name, figures in found.figures.items()]


def compared_rows(found: Measured, results: Results) -> list[Row]:
    """Return the figures of the first score in a set, and how those of all others differ."""
    rows: list[Row] = [
        [results.first, *(found.figures[results.first][key] for key in COMPARED)],
    ]
    for name, differences in found.differences.items():
        rows.append([name, *(Difference(differences[key]) for key in COMPARED)])
    return rows


def claims_rows(claims: Iterable[ClaimsTest]) -> list[Row]:
    """Return how claimed errors go with the true ones, a row for each table and set."""
    return [
        [test.forecast, test.group.name, test.n, test.n_wrong,
         test.correlation, test.correlation_alike]
        for test in claims
    ]  # fmt: skip


def fates_rows(account: Account) -> list[list[str | int]]:
    """Return how many rows of the truth were judged, and why others were not."""
    found: list[list[str | int]] = [[n, fate] for fate, n in account.counts.items()]
    return [*found, [len(account), "all"]]


def fitted_to(judged: Judged) -> str:
    """Return what the simple forecasts of the tables were fitted to."""
    if len(judged.beside):
        return (
            f"Baselines are fitted to the {counted(len(judged.beside), 'object')} of known class "
            "in the other parts of the split."
        )
    return (
        "Baselines are fitted in the same split: each object is forecast by fits to the other "
        "parts of the sky."
    )


def fifths_rows(fifths: Iterable[Fifth]) -> list[Row]:
    """Return the share of wrong calls in each fifth of the claimed errors."""
    return [
        [str(f.number), f"{f.least_err:.4f} to {f.largest_err:.4f}", f.n, f.wrong,
         f"{f.expected:.3f}"]
        for f in fifths
    ]  # fmt: skip


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
        header = ["called rightly by", *(f"{m.group.name}, {m.n:,} objects" for m in found)]
        return header, [
            [name, *(m.figures[name]["accuracy"] for m in found)] for name in results.forecasts
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
        for name in _shown(results)
    ]
    return [*start, "forecast", *(TITLES[key] for key in SHORT)], rows


def kind_notes(kind: str, results: Results) -> list[str]:
    """Return what is to be known beside the table of a kind of sets.

    Parameters
    ----------
    kind
        One of `KIND_TITLES`.
    results
        Everything that was found.
    """
    if kind in ("class", "region-mag"):
        return [f"What {results.first} calls the objects."] if kind == "region-mag" else []
    best = f"Of the baselines that of the best Brier score of all objects: {results.best_baseline}."
    return [
        f"{best} No AUC has an interval where there are fewer than {LEAST_OF_CLASS} of a class."
    ]


def _begun(found: Measured) -> list[str | int]:
    """Return how a row of a set begins."""
    return [found.group.name, found.n, found.n_member]


def _counts(results: Results, name: str, found: Measured) -> tuple[int, int, int, int]:
    """Return the cells of a confusion matrix."""
    counts = results.confusion(name, found.group)
    return counts.n_hit, counts.n_missed, counts.n_false, counts.n_rejected


def _shown(results: Results) -> list[str]:
    """Return the scores, as many as there is room for, and the best baseline."""
    n_shown = results.n_score if results.n_score <= MAX_MANY else results.n_own
    return [*list(results.forecasts)[:n_shown], results.best_baseline]


def formed(
    rows: Iterable[Row], form: Callable[[Figure | Difference], Html]
) -> list[list[str | int | Html]]:
    """Return rows with the figures in them put into a form."""
    return [
        [form(cell) if isinstance(cell, Figure | Difference) else cell for cell in row]
        for row in rows
    ]
