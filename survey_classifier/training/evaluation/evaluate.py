"""Evaluation: from scores and a truth to figures, tables, pictures and a page.

Owns the order of the work and the files that come of it. Does not own what is computed
(``results``) nor what is shown (``page``).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from survey_classifier.catalog.tables import write_columns
from survey_classifier.errors import RunError
from survey_classifier.files import replacing, write_text
from survey_classifier.model.checkpoint import read_card, resolve_checkpoint
from survey_classifier.run.config import RunConfig
from survey_classifier.sources.digest import table_digest
from survey_classifier.training.evaluation import figures
from survey_classifier.training.evaluation.baselines import baselines
from survey_classifier.training.evaluation.breakdown import KINDS, mag_middles
from survey_classifier.training.evaluation.galleries import gallery, worst_errors
from survey_classifier.training.evaluation.judged import Judged, Match, join
from survey_classifier.training.evaluation.measures import THRESHOLD
from survey_classifier.training.evaluation.page import Pictures, evaluation_page
from survey_classifier.training.evaluation.pixels import Pixels
from survey_classifier.training.evaluation.profiles import radial_profiles
from survey_classifier.training.evaluation.results import Results
from survey_classifier.training.evaluation.scores import Scores, read_scores
from survey_classifier.training.evaluation.settings import TruthFile
from survey_classifier.training.evaluation.tables import Setting, evaluation_markdown
from survey_classifier.training.evaluation.truth import CLASSES, read_truth
from survey_classifier.words import counted

__all__ = ["Evaluation", "evaluate"]

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A finished evaluation."""

    results: Results
    page: Path


def evaluate(
    scores: Path,
    truth: TruthFile,
    out: Path,
    *,
    id_name: str | None = None,
    p_names: Sequence[str] = (),
    by: Sequence[str] = KINDS,
    match: Match = "id",
    seed: int = 0,
    say: Say | None = None,
) -> Evaluation:
    """Compare scores with a truth, and write tables, pictures and a page.

    Parameters
    ----------
    scores
        The output folder of a run, or a table of scores.
    truth
        What they are compared with.
    out
        Folder for the results; what is there is replaced.
    id_name
        The scores' column of identifiers; by default ``source_id`` or ``id``.
    p_names
        The scores' columns of probabilities; by default ``p_member``, or else ``p_image``.
    by
        Which sets of objects are judged apart, of ``breakdown.KINDS``.
    match
        Whether identifiers or positions say what belongs together.
    seed
        Of the resampling.
    say
        Called with a line on each part of the work.

    Raises
    ------
    ConfigError
        If a kind or the red sequence is not known, or the folder is none of a run.
    SourcesError
        If a table or thumbnail can't be used, or truth and scores share no objects.
    MosaicError
        If a mosaic can't be used.
    RunError, CatalogError
        If the results can't be written.
    """
    say = say or (lambda _: None)
    found = read_scores(scores, id_name, p_names)
    judged = join(read_truth(truth), found, truth, match)
    say(f"{counted(len(judged), 'object')}, {int(judged.truth.is_member.sum())} of them members")
    pixels = Pixels.of(truth, found.run)
    simple = baselines(judged, radial_profiles(judged.truth, pixels))
    results = Results.of(judged, simple, truth, by, seed)
    for line in _summary(results):
        say(line)
    setting = _setting(found, judged, truth)
    page = _write(results, setting, _pictures(results, pixels), out)
    return Evaluation(results, page)


def _summary(results: Results) -> list[str]:
    """Return a line for each large set and forecast."""
    lines = []
    for found in results.of_kind("set"):
        for name, figures_ in found.figures.items():
            auc, accuracy = figures_["auc"], figures_["accuracy"]
            lines.append(
                f"{found.group.name} ({found.n}), {name}: AUC {auc.value:.4f} "
                f"[{auc.low:.3f}, {auc.high:.3f}], accuracy {accuracy.value:.3f} "
                f"[{accuracy.low:.3f}, {accuracy.high:.3f}], calibration error "
                f"{figures_['calibration_error'].value:.3f}"
            )
    return lines


def _setting(scores: Scores, judged: Judged, truth: TruthFile) -> Setting:
    """Say where an evaluation comes from."""
    tables = {data.name: truth.path(data.table) for data in truth.data}
    digests = {path.name: table_digest(path) for path in tables.values()}
    seen_tables = [] if scores.run is None else _trained_on(scores.run, digests)
    if judged.split == "folds":
        seen = "No score is of an object that its network had seen: they are out of fold."
    elif judged.split == "part":
        seen = "All scores are of one part of the split; if it was leaky, it leaks here, too."
    elif seen_tables:
        seen = (
            f"The network was trained on objects of {', '.join(seen_tables)}: figures are "
            "better than they would be of others."
        )
    elif scores.run is not None:
        seen = "None of the truth's tables is among those that the network's card names."
    else:
        seen = "Whether the network had seen these objects is not known."
    return Setting(
        scores.path.name,
        "; ".join(f"{name}, sha256 {digest[:12]}" for name, digest in digests.items()),
        seen,
        bool(seen_tables),
    )


def _trained_on(run: RunConfig, digests: dict[str, str]) -> list[str]:
    """Return which of some tables the network of a run was trained on."""
    card = read_card(resolve_checkpoint(run.checkpoint, run.folder))
    known = {data.sha256 for data in card.data}
    return [name for name, digest in digests.items() if digest in known]


def _pictures(results: Results, pixels: Pixels) -> Pictures:
    """Draw everything."""
    judged, first = results.judged, results.first
    truth, p = judged.truth, results.forecasts[first]
    scores = {name: results.reliability[name] for name in judged.p}
    counts = results.called(first)
    there = counts.sum(axis=1) > 0
    galleries = {
        name: found
        for name, rows in worst_errors(judged, p).items()
        if pixels.bands and (found := gallery(judged, p, rows, pixels)) is not None
    }
    return Pictures(
        figures.curves_picture(results.curves, results.n_score, float(truth.is_member.mean())),
        figures.reliability_picture(scores),
        figures.confusion_picture(counts[there], list(np.array(CLASSES)[there])),
        _by_mag(results),
        _color_pairs(results),
        galleries,
    )


def _by_mag(results: Results) -> bytes | None:
    """Draw figures against magnitude, if there are at least two bins."""
    bins = results.of_kind("mag")
    if len(bins) < 2:
        return None
    middles = mag_middles(results.file)
    middle = np.array([middles[found.group.name] for found in bins])
    by_name = {name: [found.figures[name] for found in bins] for name in results.forecasts}
    return figures.mag_picture(middle, by_name, results.n_score)


def _color_pairs(results: Results) -> bytes | None:
    """Draw colors against colors, if there are two."""
    truth = results.judged.truth
    colors = {
        name: values
        for name, values in truth.photometry.items()
        if "-" in name and np.isfinite(values).any()
    }
    if len(colors) < 2:
        return None
    is_wrong = (results.forecasts[results.first] >= THRESHOLD) != truth.is_member
    return figures.color_pairs_picture(colors, truth.true_class, is_wrong)


def _write(results: Results, setting: Setting, pictures: Pictures, out: Path) -> Path:
    """Write everything and return the page."""
    notes = {"scores": setting.scores, "truth": setting.truth, "seen": setting.seen}
    for name, columns in results.tables().items():
        write_columns(out / f"{name}.parquet", columns, notes)
    page = out / "evaluation.html"
    try:
        for name, png in _files(pictures).items():
            with replacing(out / f"{name}.png") as temporary:
                temporary.write_bytes(png)
        write_text(out / "evaluation.md", evaluation_markdown(results, setting))
        write_text(page, evaluation_page(results, setting, pictures))
    except OSError as error:
        raise RunError(f"cannot write into {out}: {error}; choose another --out") from error
    return page


def _files(pictures: Pictures) -> dict[str, bytes]:
    """Return the pictures by the names of their files."""
    every = {
        "curves": pictures.curves,
        "reliability": pictures.reliability,
        "confusion": pictures.confusion,
        "by-magnitude": pictures.by_mag,
        "color-pairs": pictures.color_pairs,
        **{name.replace(" ", "-"): found.png for name, found in pictures.galleries.items()},
    }
    return {name: png for name, png in every.items() if png is not None}
