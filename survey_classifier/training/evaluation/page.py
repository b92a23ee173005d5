"""The page of an evaluation.

Owns what is shown and the words for it. Does not own any number (``results``), tables
(``tables``), pictures (``figures``, ``galleries``) nor HTML (``run.page``).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from survey_classifier.run import page as html
from survey_classifier.run.page import Html
from survey_classifier.training.evaluation.baselines import BASELINES
from survey_classifier.training.evaluation.folder import TITLE
from survey_classifier.training.evaluation.forms import N_BINS, THRESHOLD
from survey_classifier.training.evaluation.galleries import Gallery
from survey_classifier.training.evaluation.resampling import N_RESAMPLES, Figure
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
    TITLES,
    Difference,
    caption,
    claims_rows,
    compared_rows,
    fates_rows,
    fifths_rows,
    fitted_to,
    forecast_rows,
    formed,
    kind_notes,
    said,
    table_of,
)
from survey_classifier.training.evaluation.truth import CLASSES

__all__ = ["Pictures", "evaluation_page"]


@dataclass(frozen=True, slots=True)
class Pictures:
    """The pictures of an evaluation, PNG; None where there is nothing to draw."""

    curves: bytes
    reliability: bytes
    confusion: bytes
    by_mag: bytes | None
    color_pairs: bytes | None
    errors: bytes | None
    galleries: Mapping[str, Gallery]


def evaluation_page(results: Results, setting: Setting, pictures: Pictures) -> str:
    """Return the page, HTML that loads nothing.

    Parameters
    ----------
    results
        All figures.
    setting
        Where they come from.
    pictures
        Drawn of them.
    """
    body = html.join(
        [
            *_verdict(results, setting),
            html.section("All forecasts", *_forecasts(results)),
            html.section(f"Differences from {results.first}", *_compared(results)),
            html.section("Curves and calibration", *_curves(results, pictures)),
            *_claims(results, pictures),
            *_breakdown(results, pictures),
            *_errors(results, pictures),
            html.section("What was judged", *_judged(results, setting)),
        ]
    )
    return html.page(f"{TITLE}{results.first}", body)


def _verdict(results: Results, setting: Setting) -> Iterator[Html]:
    """Yield the first screen."""
    mark = "objects that were trained on" if setting.is_optimistic else None
    yield html.heading(f"How good is {results.first}?", mark)
    everything = results.measured[0]
    yield html.note(
        f"{everything.n:,} objects of known class, {everything.n_member:,} of them members. "
        f"{setting.said} Intervals are 95 %, of {N_RESAMPLES} resamples of the objects, or "
        f"Wilson's where these all agree; members are called at p ≥ {THRESHOLD:g}.",
        "lead",
    )
    for found in results.of_kind("set"):
        figures = found.figures[results.first]
        yield html.cards(
            [
                (f"{found.n:,}", f"{found.group.name}, {found.n_member:,} members"),
                *(
                    _card(figures[key], TITLES[key])
                    for key in ("auc", "accuracy", "precision", "recall", "calibration_error")
                ),
            ]
        )


def _card(figure: Figure, title: str) -> tuple[str, str]:
    """Return a figure, and below it its title with the interval."""
    value, bracket, interval = said(figure).partition(" [")
    return value, f"{title}{bracket}{interval}"


def _forecasts(results: Results) -> Iterator[Html]:
    """Yield a table of all forecasts for each of the sets that are always judged."""
    yield html.note(fitted_to(results.judged))
    for found in results.of_kind("set"):
        rows = formed(forecast_rows(found), _cell)
        yield html.table(caption(found), FORECASTS_HEADER, rows)
    used = [(name, text) for name, text in BASELINES.items() if name in results.forecasts]
    yield html.facts("The baselines", used)
    lack = [name for name in BASELINES if name not in results.forecasts]
    if lack:
        yield html.note(f"There are no data for: {', '.join(lack)}.")
    yield html.note(POOLED)


def _compared(results: Results) -> Iterator[Html]:
    """Yield a table of differences for each of the large sets."""
    yield html.note(
        f"The first row has the figures of {results.first}, the others say by how much a forecast "
        "differs: more is better for AUC and accuracy, less for the other three. Intervals are of "
        "the differences in the same resamples. Bold: the interval does not hold 0; of twenty "
        "forecasts that are alike, one is bold by chance."
    )
    for found in results.large:
        rows = formed(compared_rows(found, results), _cell)
        yield html.table(caption(found), COMPARED_HEADER, rows)


def _claims(results: Results, pictures: Pictures) -> Iterator[Html]:
    """Yield what claimed errors are worth, where there are any."""
    if not results.claims or pictures.errors is None:
        return
    first = results.fifths[0].forecast
    pieces = [
        html.note(
            "Do claimed errors tell which probabilities are wrong? The correlation is Spearman's, "
            "with the distance of p from the truth. A p near one half is unsure, and its claimed "
            "error is large: that alone makes a correlation. What claimed errors say beyond p is "
            "seen at like certainty, among neighbors in the distance of p from one half."
        ),
        html.table("", CLAIMS_HEADER, formed(claims_rows(results.claims_shown), _unbroken)),
        html.figure(
            pictures.errors,
            "Share of wrong calls by fifths of the claimed errors",
            f"Claimed errors of {first}, the smallest in the first fifth. Lines are 95 % "
            "intervals; the diamonds are what would be wrong if each p were right.",
        ),
    ]
    for among, title in FIFTHS_TITLES.items():
        some = [fifth for fifth in results.fifths_of_first if fifth.among == among]
        pieces.append(html.table(title, FIFTHS_HEADER, formed(fifths_rows(some), _unbroken)))
    yield html.section("Claimed errors", *pieces)


def _unbroken(figure: Figure | Difference) -> Html:
    """Return a figure with its interval in one line of a page."""
    return Html(f'<span style="white-space: nowrap">{said(figure)}</span>')


def _cell(figure: Figure | Difference) -> Html:
    """Return a figure with its interval below it; a difference beyond chance is bold."""
    value, bracket, interval = said(figure).partition(" [")
    if isinstance(figure, Difference) and figure.figure.is_beyond_chance:
        value = f"<b>{value}</b>"
    below = f'<br><span class="note">{bracket.strip()}{interval}</span>' if bracket else ""
    return Html(f'<span style="white-space: nowrap">{value}{below}</span>')


def _curves(results: Results, pictures: Pictures) -> Iterator[Html]:
    """Yield curves, the reliability diagram and the confusion matrix."""
    yield html.figure(
        pictures.curves,
        "ROC and precision-recall curves",
        "All objects. Bold: the scores, with 95 % bands; dotted: baselines; dashed: chance."
        + _left_out(results),
    )
    error = results.measured[0].figures[results.first]["calibration_error"]
    honest = results.measured[0].honest[results.first]
    reliability = html.figure(
        pictures.reliability,
        "Share of members against the probability claimed",
        f"Reliability in {N_BINS} bins; below, how many objects each has. ECE of {results.first}: "
        f"{said(error)}; that of perfect probabilities of as many objects would be {honest:.3f}. "
        "Noise makes it larger than it is: that is taken off the interval, which begins at 0 where "
        "perfect probabilities would show as much.",
    )
    confusion = html.figure(
        pictures.confusion,
        "What objects of each class are called",
        f"What {results.first} calls the objects of each true class.",
    )
    yield html.columns(reliability, confusion)


def _left_out(results: Results) -> str:
    """Say which forecasts a picture has no room for."""
    lack = list(results.forecasts)[len(results.drawn) :]
    return f" Not shown: {', '.join(lack)}." if lack else ""


def _breakdown(results: Results, pictures: Pictures) -> Iterator[Html]:
    """Yield the tables of sets, a section a kind."""
    for kind, title in KIND_TITLES.items():
        found = results.of_kind(kind)
        if not found:
            continue
        header, rows = table_of(kind, found, results)
        form = _cell if kind == "class" else _unbroken  # many columns, or many rows
        notes = [html.note(text) for text in kind_notes(kind, results)]
        shown = html.join([*notes, html.table("", header, formed(rows, form))])
        if kind == "mag" and pictures.by_mag is not None:
            drawn = html.figure(
                pictures.by_mag,
                "Accuracy and AUC against magnitude",
                "Points lie at the median magnitude of each bin's objects, the open-ended bins' "
                "too; an AUC is left out where there are few of a class. Bands are 95 % intervals "
                "of the scores; dotted: baselines." + _left_out(results),
            )
            shown = html.join([drawn, shown])
        if kind == "region" and pictures.color_pairs is not None:
            drawn = html.figure(
                pictures.color_pairs,
                "Color against color, and against magnitude",
                f"Rings: called wrongly by {results.first}. The outermost 1 % at each end lies "
                "outside of the axes.",
            )
            shown = html.join([shown, drawn])
        yield html.section(title, shown)


def _errors(results: Results, pictures: Pictures) -> Iterator[Html]:
    """Yield the galleries."""
    pieces = [
        html.figure(
            found.png,
            f"Stamps of {name}",
            f"{name.capitalize()} of {results.first}: {_how_many(found)}, the most confident "
            f"errors first. Stamps are {results.file.stamp_arcsec:g} arcsec wide.",
        )
        for name, found in pictures.galleries.items()
    ]
    if pieces:
        yield html.section("The worst errors", *pieces)


def _how_many(found: Gallery) -> str:
    n = len(found.rows)
    return f"all {n}" if n == found.n_errors else f"{n} of {found.n_errors}"


def _judged(results: Results, setting: Setting) -> Iterator[Html]:
    """Yield what was compared with what, and what was left out."""
    judged = results.judged
    lost = judged.n_unscored
    without = ", ".join(f"{n} {name}" for name, n in lost.items() if n) or "none"
    counts = {name: int((judged.truth.true_class == name).sum()) for name in CLASSES}
    others = [
        (f"compared with {name}", f"{path}, which lacks {judged.n_lacking[name]:,} objects")
        for name, path in setting.others.items()
    ]
    yield html.facts(
        "The comparison",
        [
            ("scores", setting.scores),
            *others,
            ("truth", setting.truth),
            ("objects judged", ", ".join(f"{n:,} {name}" for name, n in counts.items())),
            ("objects of known class without a score", without),
            ("parts of the sky", len(np.unique(judged.fold[~judged.is_second]))),
            ("objects of the second sample", f"{int(judged.is_second.sum()):,}"),
        ],
    )
    yield html.table(
        "What became of the rows of the truth", FATES_HEADER, fates_rows(setting.account)
    )
    yield html.note(f"truth.parquet has what became of each. {setting.account.lines[-1]}.")
