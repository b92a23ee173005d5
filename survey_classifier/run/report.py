"""The report of a run: one HTML page that shows what came out.

Owns what is worth showing and the words for it. Does not own what was run (``report_facts``),
pictures (``figures``), HTML (``page``), nor any number: all are read back from the published
catalog, so the page shows what a user of the catalog has.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from survey_classifier.errors import CatalogError
from survey_classifier.files import write_text
from survey_classifier.membership.color import ColorCuts
from survey_classifier.membership.flags import Status
from survey_classifier.run import figures, page
from survey_classifier.run.config import RunConfig
from survey_classifier.run.inputs import color_cuts
from survey_classifier.run.page import Html
from survey_classifier.run.receipt import RunReceipt
from survey_classifier.run.report_facts import run_section
from survey_classifier.run.result import DIAGRAM_BANDS, Result

__all__ = ["report"]

_THRESHOLD = "p_member ≥ 0.5"


def report(catalog: Path, config: RunConfig, receipt: RunReceipt) -> Path:
    """Write the page of a finished run, and return its path.

    Parameters
    ----------
    catalog
        The published catalog.
    config
        The run file; says where the page goes, and where the truth is.
    receipt
        What became of the run.

    Raises
    ------
    CatalogError
        If the catalog cannot be read, or the page cannot be written.
    CheckpointError
        If the network's card cannot be read.
    SourcesError
        If the table of the truth cannot be used.
    LostSourcesError
        If catalog and receipt do not hold the same number of sources.
    """
    result = Result.read(catalog, config, receipt)
    sections = [
        _verdict(result),
        _color_section(result),
        _probability_section(result),
        *_truth_sections(result),
        run_section(result),
    ]
    text = page.page(f"{config.name}: cluster members", page.join(sections))
    try:
        write_text(config.report_path, text)
    except OSError as error:
        raise CatalogError(
            f"cannot write {config.report_path}: {error}; free or choose another `out`"
        ) from error
    return config.report_path


def _verdict(result: Result) -> Html:
    """Return the first screen: what came out."""
    p_member = result.scored("p_member")
    n_likely = int((p_member >= 0.5).sum())
    numbers = [
        (f"{result.receipt.n_in:,}", "sources, one row each"),
        (f"{len(p_member):,}", "classified"),
        (f"{n_likely:,}", f"members at {_THRESHOLD}"),
        (f"{float(p_member.sum(dtype=np.float64)):,.1f}", "members expected: sum of p_member"),
        *_verdict_on_truth(result),
    ]
    return page.join(
        [
            page.heading(result.config.name, "simulated field" if result.simulated else None),
            page.note(f"{result.receipt.line}.", "lead"),
            page.cards(numbers),
            page.columns(_sky_figure(result), _status_table(result)),
        ]
    )


def _verdict_on_truth(result: Result) -> Iterator[tuple[str, str]]:
    """Yield the figures of merit for the first screen."""
    if result.comparison is not None:
        counts, name = result.comparison.confusion, result.truth_name
        yield f"{counts.precision:.1%}", f"precision, {name}"
        yield f"{counts.recall:.1%}", f"recall, {name}"
        yield f"{result.comparison.auc:.4f}", f"AUC, {name}"


def _status_table(result: Result) -> Html:
    """Return how many sources there are of each status; they add up to all."""
    counts = Counter(result.columns["status"].tolist())
    rows: list[tuple[page.Cell, ...]] = [
        (status.value, counts[status.value], status.meaning)
        for status in Status
        if status is Status.CLASSIFIED or counts[status.value]
    ]
    total = ("all", sum(counts.values()), "One row each.")
    status_table = page.table(
        "What became of the sources", ("status", "sources", ""), [*rows, total]
    )
    failures = result.receipt.failures
    if not failures:
        return status_table
    lost = [(f.tile, f.stage, f.reason) for f in failures]
    return page.join(
        [status_table, page.table("Tiles that failed", ("tile", "stage", "reason"), lost)]
    )


def _sky_figure(result: Result) -> Html:
    """Return the map of the sky, and what it cannot show."""
    ra, dec, status = (result.columns[name] for name in ("ra", "dec", "status"))
    shown = result.classified if result.classified.any() else np.isfinite(ra) & np.isfinite(dec)
    frame = figures.sky_frame(ra[shown], dec[shown])
    groups = tuple(
        figures.Unclassified(reason.value, ra[status == reason.value], dec[status == reason.value])
        for reason in Status
        if reason is not Status.CLASSIFIED and (status == reason.value).any()
    )
    picture = figures.sky_map(
        frame, result.scored("ra"), result.scored("dec"), result.scored("p_member"), groups
    )
    n_outside = int((~frame.holds_sky(ra, dec)).sum())
    caption = "Sky map, RA to the left; color is p_member."
    if groups:
        caption += " Crosses were not classified."
    if n_outside:
        caption += f" Outside of the map or without a position: {n_outside}."
    return page.figure(picture, "Sky map of the sources by p_member", caption)


def _color_section(result: Result) -> Html:
    """Return the color-magnitude diagram, or the nearest thing, saying what is missing."""
    heading = "Color and magnitude"
    missing = [band for band in DIAGRAM_BANDS if band not in result.bands]
    cuts = color_cuts(result.config)
    if not missing and cuts.sequence.bands == set(DIAGRAM_BANDS):
        return page.section(heading, _color_figure(result, cuts))
    lack = "No color-magnitude diagram: it needs magnitudes in g, r and z, and "
    if missing:
        lack += f"the source list has none in {', '.join(missing)}."
    else:
        lack += f"the red sequence is in {cuts.sequence.blue} - {cuts.sequence.red}."
    if not result.bands:
        return page.section(heading, page.note(lack))
    band = result.bands[0]
    mag, p_member = result.scored(f"mag_{band}"), result.scored("p_member")
    known = np.isfinite(mag)
    picture = figures.probability_against_magnitude(mag[known], p_member[known], band)
    caption = f"p_member against mag_{band}; {_n(known)} sources, {_n(~known)} without magnitude."
    shown = page.figure(picture, f"p_member against mag_{band}", caption)
    return page.section(heading, page.note(lack), shown)


def _color_figure(result: Result, cuts: ColorCuts) -> Html:
    """Return the color-magnitude diagram."""
    mag_r, color, p_member = (result.scored(n) for n in ("r0", "color_gz", "p_member"))
    known = np.isfinite(mag_r) & np.isfinite(color)
    picture, n_outside = figures.color_magnitude(mag_r[known], color[known], p_member[known], cuts)
    caption = (
        f"Dereddened color against magnitude of {_n(known)} classified sources ({n_outside} of "
        f"them outside of the axes); {_n(~known)} lack a magnitude. Dashed: the edges of the red "
        "sequence."
    )
    return page.figure(picture, "Color-magnitude diagram with the red sequence", caption)


def _probability_section(result: Result) -> Html:
    """Return how probabilities are spread, and over redshift classes."""
    p_member, p_image = result.scored("p_member"), result.scored("p_image")
    picture = figures.histogram(p_member, p_image)
    spread = page.figure(
        picture,
        "Histogram of p_member and p_image",
        "p_image is the network's probability at the share of members it was trained with, "
        f"p_member that with all evidence, from the share assumed at each magnitude "
        f"({result.prior}).",
    )
    z_class = result.scored("z_class")
    by_class = {name: p_image[z_class == name] for name in ("cluster", "background", "star")}
    by_class = {name: p for name, p in by_class.items() if len(p)}
    if not by_class:
        lack = page.note("No classified source has a spectroscopic redshift.")
        return page.section("Probabilities", spread, lack)
    rows = [
        (name, len(p), _n(p_member[z_class == name] >= 0.5), float(np.median(p)))
        for name, p in by_class.items()
    ]
    of_known_redshift = page.figure(
        figures.stacked_histogram(by_class),
        "Histogram of p_image by redshift class",
        "p_image of the classified sources with a spectroscopic redshift. No redshift enters "
        "p_image; whether such sources were trained on, the network's description says.",
    )
    header = ("class by redshift", "classified", _THRESHOLD, "median p_image")
    return page.section(
        "Probabilities",
        page.columns(spread, of_known_redshift),
        page.table("Sources with a redshift", header, rows),
    )


def _truth_sections(result: Result) -> Iterator[Html]:
    """Yield the comparison with the truth, if there is one."""
    found = result.comparison
    if found is None:
        return
    counts, name = found.confusion, result.truth_name
    matrix = page.table(
        f"Confusion matrix at {_THRESHOLD} ({name})",
        ("", "called member", "called nonmember"),
        [
            ("member", counts.n_hit, counts.n_missed),
            ("nonmember", counts.n_false, counts.n_rejected),
        ],
    )
    merit = page.table(
        f"Figures of merit ({name})",
        ("figure", "value"),
        [
            ("precision", counts.precision),
            ("recall", counts.recall),
            ("accuracy", counts.accuracy),
            ("AUC", found.auc),
            ("Brier score", found.brier),
        ],
    )
    text = (
        f"{counts.n} classified sources of known class. Left out: {found.n_unknown} classified "
        f"ones whose class is not known, and {found.n_members_unclassified} members that were "
        "not classified."
    )
    reliability = page.figure(
        figures.reliability_diagram(found.reliability),
        "Share of true members against p_member",
        f"Reliability ({name}): small figures are sources in the bin.",
    )
    shown = page.columns(reliability, page.join([matrix, merit]))
    yield page.section(f"Against the {name}", page.note(text), shown)


def _n(which: npt.NDArray[np.bool_]) -> int:
    return int(which.sum())
