"""The page of an explanation: one source, its score and all that is known of it; and their index.

Owns the words. Does not own pictures (``explanation_figure``), HTML (``page``) nor any number.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from survey_classifier.catalog.columns import class_column, image_class_column, score_columns
from survey_classifier.catalog.footer import Provenance
from survey_classifier.membership.flags import Flag
from survey_classifier.model.card import ModelCard
from survey_classifier.model.explain import Explanation
from survey_classifier.model.scorer import Scores
from survey_classifier.mosaic.preview import color_bands, color_words
from survey_classifier.run import page
from survey_classifier.run.page import Cell, Html

__all__ = ["Explained", "explanation_index", "explanation_page", "score_words"]

PIXELS = ("valid_fraction", "mask_", "_healpix")
"""What the names of columns begin with that say how good the stamp was."""
DIGITS = {"ra": 9, "dec": 9, "x": 8, "y": 8}
"""Digits shown of columns that need more than others."""

FOCUS_WORDS = {
    "Grad-CAM": (
        "Grad-CAM (Selvaraju et al. 2017) weighs the network's inner maps by how much the log odds "
        "of member depend on them: red speaks for a member, blue against, as far as these maps "
        "tell; it shows where, not by what law."
    ),
    "attention rollout": (
        "Attention rollout (Abnar & Zuidema 2020) follows the class token's attention back through "
        "all blocks; 1 is an equal share. It shows where the network looks, not whether what it "
        "finds there speaks for or against a member."
    ),
}


@dataclass(frozen=True, slots=True)
class Explained:
    """All that is said of a source."""

    row: dict[str, Any]
    """Its row of the catalog."""
    card: ModelCard
    provenance: Provenance
    explanation: Explanation
    scores: Scores
    """Of the stamp that was cut again."""
    mosaic: str
    """Name of the mosaic."""


def explanation_page(explained: Explained, picture: bytes) -> str:
    """Return the page (HTML) of a source.

    Parameters
    ----------
    explained
        What is said.
    picture
        From `explanation_figure`.
    """
    row, card = explained.row, explained.card
    name = str(row["source_id"])
    simulated = "simulated" in card.description.lower()
    body = [
        page.heading(name, "network trained on simulations" if simulated else None),
        page.cards(_numbers(explained)),
        page.columns(_figure(explained, picture), _how_to_read(explained)),
        page.section("Evidence", _evidence_table(explained)),
        page.columns(
            page.section("What else the catalog knows", page.facts("", _other_facts(row))),
            page.section("How it was made", page.facts("", _origin(explained))),
        ),
    ]
    return page.page(f"{name}: why this score", page.join(body))


def score_words(explained: Explained) -> str:
    """Return what the score of a source is and whose, in a line.

    Parameters
    ----------
    explained
        What is said of it.
    """
    p_image, p_member = _with_error(explained.row), explained.row["p_member"]
    log_odds = explained.explanation.log_odds
    network = explained.card.name
    return f"p_image {p_image}, log odds {log_odds:+.2f} ({network}); p_member {p_member:.3f}"


def explanation_index(run: str, told: Sequence[tuple[str, Explained]]) -> str:
    """Return the page (HTML) that leads to those of several sources.

    Parameters
    ----------
    run
        Name of the run.
    told
        Of each source the name of its page, which lies beside this one, and what it says.
    """
    header = ("source", "p_image", "its error", "p_member", "log odds", "novelty", "z_class")
    rows: list[tuple[Cell, ...]] = []
    for file, explained in told:
        row, name = explained.row, escape(str(explained.row["source_id"]))
        rows.append(
            (
                Html(f'<a href="{escape(file)}">{name}</a>'),
                *(_digits(row[column]) for column in ("p_image", "p_image_err", "p_member")),
                Html(f"{explained.explanation.log_odds:+.2f}"),
                _digits(float(explained.scores.novelty[0])),
                row["z_class"] or "none",
            )
        )
    title = f"{run}: why these scores"
    return page.page(title, page.join([page.heading(title), page.table("", header, rows)]))


def _digits(value: float) -> Cell:
    """Return a figure of the index, all of a column with as many digits."""
    return Html(f"{value:.3f}") if math.isfinite(value) else "none"


def _with_error(row: dict[str, Any]) -> str:
    """Return p_image, with its error if it has one."""
    error = f" ± {row['p_image_err']:.3f}" if math.isfinite(row["p_image_err"]) else ""
    return f"{row['p_image']:.3f}{error}"


def _numbers(explained: Explained) -> Iterator[tuple[str, str]]:
    """Yield the figures of the first screen."""
    row = explained.row
    yield _with_error(row), "p_image: member, by the image alone"
    yield f"{row['p_member']:.3f}", "p_member: with all evidence"
    yield f"{explained.explanation.log_odds:+.2f}", "log odds of member, by the image"
    novelty = float(explained.scores.novelty[0])
    if math.isfinite(novelty):
        share = 10.0**-novelty
        words = f"{share:.1%}" if share > 1e-3 else "under 0.1%"
        yield f"{novelty:.1f}", f"novelty: {words} of the objects that training held out are odder"


def _figure(explained: Explained, picture: bytes) -> Html:
    """Return the picture, with what it shows."""
    card = explained.card
    caption = (
        f"What the network sees, {card.stamp_arcsec:g} arcsec wide: its bands after the stretch, "
        "all on one scale, and together "
        f"({color_words(color_bands(card.bands))}); dark grey has no data."
    )
    return page.figure(picture, f"Stamps and maps of {explained.row['source_id']}", caption)


def _how_to_read(explained: Explained) -> Html:
    """Return what one should know of the maps."""
    words = (
        FOCUS_WORDS[explained.explanation.method],
        "Occlusion: by how much the log odds fall when a square there is replaced by blank sky. It "
        "looks at nothing within the network, so it is the map to trust.",
        "The scales of the maps reach at least so far that what hardly matters looks pale: "
        "compare their ends before you compare two sources.",
        "Contours follow the mean of the bands. All maps are means over the orientations that the "
        f"score is a mean of ({explained.card.n_views}).",
    )
    return page.join([page.note("How to read it", "lead"), *map(page.note, words)])


def _evidence_table(explained: Explained) -> Html:
    """Return the probabilities and what they are made of."""
    row = explained.row
    others = [name for name in explained.card.classes if name != "member"]
    columns = [
        *score_columns(),
        *(image_class_column(name) for name in others),
        *(class_column(name) for name in others),
    ]
    meanings = {column.name: column.description for column in columns}
    rows: list[tuple[Cell, ...]] = [
        (name, _number(row[name]), meaning) for name, meaning in meanings.items() if name in row
    ]
    return page.table("", ("column", "value", "meaning"), rows)


def _number(value: float) -> Cell:
    """Return a value as a cell: what is not known is said in a word."""
    return float(value) if math.isfinite(value) else "none"


def _other_facts(row: dict[str, Any]) -> Iterator[tuple[str, Cell]]:
    """Yield what the catalog knows beside the evidence, leaving out what is unknown."""
    evidence = {column.name for column in score_columns()}
    for name, value in row.items():
        is_evidence = name in evidence or name.startswith(("p_", "llr_"))
        unknown = value == "" or (isinstance(value, float) and not math.isfinite(value))
        if name == "flags":
            yield name, " ".join(_flags(int(value))) or "none"
        elif not (is_evidence or unknown or name.startswith(PIXELS)):
            yield name, f"{value:.{DIGITS.get(name, 6)}g}" if isinstance(value, float) else value
    yield "valid_fraction", float(row["valid_fraction"])


def _flags(value: int) -> Iterator[str]:
    """Yield the flags of a sum of bits, each with its meaning."""
    return (f"{flag.name}: {flag.meaning}" for flag in Flag if value & flag)


def _origin(explained: Explained) -> Iterator[tuple[str, Cell]]:
    """Yield what the page was made of."""
    card, provenance = explained.card, explained.provenance
    digest = provenance.mosaics[explained.mosaic]
    yield "network", f"{card.name} ({card.architecture}): {card.description}"
    yield "checkpoint", provenance.checkpoint_digest
    yield "mosaic", f"{explained.mosaic}, {digest}"
    again = float(explained.scores.p_image[0])
    yield "p_image of the stamp cut again", f"{again:.6f} (catalog {explained.row['p_image']:.6f})"
    yield "run", f"{provenance.run}, {provenance.created}"
