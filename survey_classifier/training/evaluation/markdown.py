"""The tables of an evaluation as one Markdown file.

Owns its order and headings. Does not own any table (``tables``).
"""

from collections.abc import Iterable, Iterator, Sequence

from survey_classifier.catalog.tables import markdown_table
from survey_classifier.training.evaluation.claims import Fifth
from survey_classifier.training.evaluation.resampling import Figure
from survey_classifier.training.evaluation.results import Results
from survey_classifier.training.evaluation.setting import Setting
from survey_classifier.training.evaluation.tables import (
    CLAIMS_HEADER,
    COMPARED_HEADER,
    FATES_HEADER,
    FIFTHS_HEADER,
    FIFTHS_TITLES,
    FORECASTS_HEADER,
    KIND_TITLES,
    POOLED,
    Difference,
    Row,
    caption,
    claims_rows,
    compared_rows,
    fates_rows,
    fifths_rows,
    fitted_to,
    forecast_rows,
    kind_notes,
    said,
    table_of,
)
from survey_classifier.training.evaluation.truth import CLASSES

__all__ = ["evaluation_markdown"]


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
        f"{everything.n} objects of known class, {everything.n_member} members. {setting.said} "
        f"Scores: {setting.scores}. Truth: {setting.truth}.\n",
        "What became of the rows of the truth\n",
        markdown_table(FATES_HEADER, fates_rows(setting.account)),
    ]
    if setting.others:
        lacking = results.judged.n_lacking
        files = ((name, path, lacking[name]) for name, path in setting.others.items())
        parts += ["Compared with\n", markdown_table(["scores", "file", "objects lacking"], files)]
    parts.append(f"{fitted_to(results.judged)} {POOLED}\n")
    for found in results.of_kind("set"):
        table = _markdown(FORECASTS_HEADER, forecast_rows(found))
        parts += [f"## {caption(found)}\n", table]
    parts.append(f"## Differences from {results.first}\n")
    for found in results.large:
        parts += [f"{caption(found)}\n", _markdown(COMPARED_HEADER, compared_rows(found, results))]
    if results.claims:
        parts += [
            "## Claimed errors\n",
            _markdown(CLAIMS_HEADER, claims_rows(results.claims_shown)),
        ]
        parts += _fifths_markdown(results.fifths_of_first)
    for kind, title in KIND_TITLES.items():
        of_kind = results.of_kind(kind)
        if of_kind:
            noted = [f"{note}\n" for note in kind_notes(kind, results)]
            parts += [f"## {title}\n", *noted, _markdown(*table_of(kind, of_kind, results))]
    counts = zip(CLASSES, results.called(results.first).tolist(), strict=True)
    called: list[Row] = [[name, *pair] for name, pair in counts]
    header = ["true class", "called member", "called nonmember"]
    parts += [f"## What {results.first} calls the objects\n", _markdown(header, called)]
    return "\n".join(parts)


def _fifths_markdown(fifths: Sequence[Fifth]) -> Iterator[str]:
    """Yield the two tables of fifths."""
    for among, title in FIFTHS_TITLES.items():
        some = [fifth for fifth in fifths if fifth.among == among]
        yield f"{title}\n"
        yield _markdown(FIFTHS_HEADER, fifths_rows(some))


def _markdown(header: Sequence[str], rows: Iterable[Row]) -> str:
    return markdown_table(header, [[_marked(cell) for cell in row] for row in rows])


def _marked(cell: str | int | Figure | Difference) -> str | int:
    """Return a cell in words, a difference that is beyond chance in bold."""
    if isinstance(cell, str | int):
        return cell
    text = said(cell)
    return f"**{text}**" if isinstance(cell, Difference) and cell.figure.is_beyond_chance else text
