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
from survey_classifier.training.evaluation import figures
from survey_classifier.training.evaluation.baselines import BASELINES, baselines
from survey_classifier.training.evaluation.breakdown import KINDS, mag_middles
from survey_classifier.training.evaluation.columns import result_tables
from survey_classifier.training.evaluation.galleries import gallery, worst_errors
from survey_classifier.training.evaluation.judged import Judged, Match, join
from survey_classifier.training.evaluation.measures import THRESHOLD
from survey_classifier.training.evaluation.page import Pictures, evaluation_page
from survey_classifier.training.evaluation.pixels import Pixels
from survey_classifier.training.evaluation.profiles import radial_profiles
from survey_classifier.training.evaluation.results import Results
from survey_classifier.training.evaluation.scores import Scores, read_compared, read_scores
from survey_classifier.training.evaluation.setting import Setting, setting_of
from survey_classifier.training.evaluation.settings import TruthFile
from survey_classifier.training.evaluation.tables import evaluation_markdown, said, said_difference
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
    against: Sequence[Path] = (),
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
    against
        Scores of the same objects that these are compared with; all are then called by the
        names of their files. An object that one of them lacks is left out.
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
    tables = _tables([scores, *against], id_name, p_names)
    judged = join(read_truth(truth), tables[0], truth, match, tables[1:])
    for line in _joined(tables, judged):
        say(line)
    pixels = Pixels.of(truth, tables[0].run)
    simple = baselines(judged, radial_profiles(judged.truth, pixels))
    results = Results.of(judged, simple, truth, by, seed)
    for line in _summary(results):
        say(line)
    setting = setting_of(tables, judged, truth)
    page = _write(results, setting, _pictures(results, pixels), out)
    return Evaluation(results, page)


def _tables(paths: Sequence[Path], id_name: str | None, p_names: Sequence[str]) -> list[Scores]:
    """Read the scores; those of a single table are called after their columns."""
    if len(paths) == 1:
        return [read_scores(paths[0], id_name, p_names)]
    return read_compared(paths, id_name, p_names, BASELINES)


def _joined(tables: Sequence[Scores], judged: Judged) -> list[str]:
    """Return lines on what is compared."""
    n_member = int(judged.truth.is_member.sum())
    lines = [f"{counted(len(judged), 'object')}, {n_member} of them members"]
    for table in tables[1:]:
        n = judged.n_lacking[table.name]
        lost = f"; lacks {counted(n, 'object')}, left out" if n else ""
        lines.append(f"against {table.name}: {table.path}{lost}")
    return lines


def _summary(results: Results) -> list[str]:
    """Return a line for each large set and forecast."""
    lines = []
    for found in results.of_kind("set"):
        for name, figures_ in found.figures.items():
            auc, accuracy = figures_["auc"], figures_["accuracy"]
            line = (
                f"{found.group.name} ({found.n}), {name}: AUC {auc.value:.4f} "
                f"[{auc.low:.3f}, {auc.high:.3f}], accuracy {accuracy.value:.3f} "
                f"[{accuracy.low:.3f}, {accuracy.high:.3f}], calibration error "
                f"{figures_['calibration_error'].value:.3f}"
            )
            if name in found.differences:
                less = said_difference(found.differences[name]["auc"])
                line += f"; AUC less that of {results.first} {less}"
            lines.append(line)
    return lines + [
        f"claimed errors of {test.forecast} ({test.n}): correlation with true ones "
        f"{said(test.correlation)}, at like certainty {said(test.correlation_alike)}"
        for test in results.claims
        if test.group is results.measured[0].group
    ]


def _pictures(results: Results, pixels: Pixels) -> Pictures:
    """Draw everything."""
    judged, first = results.judged, results.first
    truth, p = judged.truth, results.forecasts[first]
    scores = list(judged.p)[: figures.MAX_RELIABILITIES]
    counts = results.called(first)
    there = counts.sum(axis=1) > 0
    galleries = {
        name: found
        for name, rows in worst_errors(judged, p).items()
        if pixels.bands and (found := gallery(judged, p, rows, pixels)) is not None
    }
    return Pictures(
        figures.curves_picture(
            {name: results.curves[name] for name in results.drawn},
            (results.n_own, results.n_score),
            float(truth.is_member.mean()),
        ),
        figures.reliability_picture({name: results.reliability[name] for name in scores}),
        figures.confusion_picture(counts[there], list(np.array(CLASSES)[there])),
        _by_mag(results),
        _color_pairs(results),
        figures.errors_picture(results.fifths_of_first) if results.fifths else None,
        galleries,
    )


def _by_mag(results: Results) -> bytes | None:
    """Draw figures against magnitude, if there are at least two bins."""
    bins = results.of_kind("mag")
    if len(bins) < 2:
        return None
    middles = mag_middles(results.file)
    middle = np.array([middles[found.group.name] for found in bins])
    by_name = {name: [found.figures[name] for found in bins] for name in results.drawn}
    return figures.mag_picture(middle, by_name, (results.n_own, results.n_score))


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
    for name, columns in result_tables(results).items():
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
        "errors": pictures.errors,
        **{name.replace(" ", "-"): found.png for name, found in pictures.galleries.items()},
    }
    return {name: png for name, png in every.items() if png is not None}
