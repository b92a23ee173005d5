"""Evaluation: from scores and a truth to figures, tables, pictures and a page.

Owns the order of the work and the files that come of it. Does not own what is computed
(``results``) nor what is shown (``page``).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from survey_classifier.catalog.tables import write_columns
from survey_classifier.errors import ConfigError, RunError
from survey_classifier.files import write_text
from survey_classifier.training.evaluation import figures
from survey_classifier.training.evaluation.account import Account
from survey_classifier.training.evaluation.baselines import BASELINES, baselines
from survey_classifier.training.evaluation.breakdown import KINDS, UNKNOWN_MAG, check_kinds
from survey_classifier.training.evaluation.columns import result_tables
from survey_classifier.training.evaluation.compared import read_compared
from survey_classifier.training.evaluation.folder import PAGE, check_folder, replaced_folder
from survey_classifier.training.evaluation.forms import THRESHOLD
from survey_classifier.training.evaluation.galleries import gallery, worst_errors
from survey_classifier.training.evaluation.judged import Judged, join
from survey_classifier.training.evaluation.markdown import evaluation_markdown
from survey_classifier.training.evaluation.matching import Match
from survey_classifier.training.evaluation.page import Pictures, evaluation_page
from survey_classifier.training.evaluation.pixels import Pixels
from survey_classifier.training.evaluation.profiles import radial_profiles
from survey_classifier.training.evaluation.results import Results
from survey_classifier.training.evaluation.scores import Scores, read_scores
from survey_classifier.training.evaluation.setting import Setting, setting_of
from survey_classifier.training.evaluation.settings import TruthFile
from survey_classifier.training.evaluation.tables import said, said_difference
from survey_classifier.training.evaluation.truth import CLASSES, read_truth
from survey_classifier.training.evaluation.wanted import Wanted
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
        Folder for the results; those of a former evaluation are replaced, other files stay.
    against
        Scores of the same objects that these are compared with; all are then called by the
        names of their files. An object that one of them lacks is left out.
    id_name
        The scores' column of identifiers, in the tables that have it; by default ``source_id``,
        ``id`` or that of the truth, whichever there is.
    p_names
        The scores' columns of probabilities; by default ``p_image``, and ``p_member`` as it is
        without redshifts.
    by
        Which sets of objects are judged apart, of ``breakdown.KINDS``.
    match
        Whether identifiers or positions say what belongs together.
    seed
        Of the resampling, 0 or more.
    say
        Called with a line on each part of the work.

    Raises
    ------
    ConfigError
        If a kind or the red sequence is not known, the folder is none of a run, the seed is
        negative, or ``out`` can't be a folder or has files that are no evaluation's.
    SourcesError
        If a table or thumbnail can't be used, or truth and scores share no objects.
    MosaicError
        If a mosaic can't be used.
    RunError, CatalogError
        If the results can't be written.
    """
    say = say or (lambda _: None)
    named = [path for path in (scores, *against) if path.is_file()]
    _check(out, [*named, *(truth.path(data.table) for data in truth.data)], by, seed)
    own = {data.columns.id for data in truth.data}
    tables = _tables([scores, *against], Wanted(id_name, p_names, sorted(own)))
    pixels = Pixels.of(truth, tables[0].run)
    objects, rows = read_truth(truth)
    judged = join(objects, tables[0], truth, match, tables[1:])
    setting = setting_of(tables, judged, truth, Account.of(rows, judged, truth))
    for line in _joined(tables, judged, setting):
        say(line)
    simple = baselines(judged, radial_profiles(judged.known, pixels))
    results = Results.of(judged, simple, truth, by, seed)
    for line in _summary(results):
        say(line)
    page = _write(results, setting, _pictures(results, pixels), out)
    return Evaluation(results, page)


def _check(out: Path, inputs: Sequence[Path], by: Sequence[str], seed: int) -> None:
    """Refuse what can't be done before any work is."""
    check_folder(out, inputs)
    check_kinds(by)
    if seed < 0:
        raise ConfigError(f"--seed is {seed}; give 0 or more")


def _tables(paths: Sequence[Path], wanted: Wanted) -> list[Scores]:
    """Read the scores; those of a single table are called after what they are."""
    if len(paths) == 1:
        return [read_scores(paths[0], wanted)]
    return read_compared(paths, wanted, BASELINES)


def _joined(tables: Sequence[Scores], judged: Judged, setting: Setting) -> list[str]:
    """Return lines on what is compared."""
    n_member = int(judged.truth.is_member.sum())
    lines = [
        *setting.account.lines,
        f"{counted(len(judged), 'object')}, {n_member} of them members",
    ]
    for table in tables[1:]:
        n = judged.n_lacking[table.name]
        lost = f"; lacks {counted(n, 'object')}, left out" if n else ""
        lines.append(f"against {table.name}: {table.path}{lost}")
    return [*lines, setting.seen, *setting.notes]


def _summary(results: Results) -> list[str]:
    """Return a line for each large set and forecast."""
    lines = []
    for found in results.of_kind("set"):
        for name, figures_ in found.figures.items():
            line = (
                f"{found.group.name} ({found.n}), {name}: AUC {said(figures_['auc'])}, accuracy "
                f"{said(figures_['accuracy'])}, calibration error "
                f"{said(figures_['calibration_error'])}"
            )
            if name in found.differences:
                difference = said_difference(found.differences[name]["auc"])
                line += f"; difference in AUC to {results.first} {difference}"
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
    bins = [found for found in results.of_kind("mag") if found.group.name != UNKNOWN_MAG]
    if len(bins) < 2:
        return None
    mag = results.judged.truth.mag
    middle = np.array([np.median(mag[found.group.rows]) for found in bins])
    by_name = {name: [found.figures[name] for found in bins] for name in results.drawn}
    return figures.mag_picture(middle, by_name, (results.n_own, results.n_score))


def _color_pairs(results: Results) -> bytes | None:
    """Draw colors against colors, and against magnitude, as far as there are any."""
    truth = results.judged.truth
    colors = {
        f"{name} (mag)": values
        for name, values in truth.photometry.items()
        if "-" in name and np.isfinite(values).any()
    }
    pairs = list(combinations(colors.items(), 2))
    if np.isfinite(truth.delta_rs + truth.mag).any():
        pairs.append(
            (
                ("dereddened magnitude", truth.mag),
                ("distance from the red sequence (mag)", truth.delta_rs),
            )
        )
    if not pairs:
        return None
    is_wrong = (results.forecasts[results.first] >= THRESHOLD) != truth.is_member
    return figures.color_pairs_picture(pairs, truth.true_class, is_wrong)


def _write(results: Results, setting: Setting, pictures: Pictures, out: Path) -> Path:
    """Write everything and return the page."""
    notes = {"scores": setting.scores, "truth": setting.truth, "seen": setting.said}
    tables = result_tables(results) | {"truth": setting.account.columns}
    try:
        with replaced_folder(out) as new:
            for name, columns in tables.items():
                write_columns(new / f"{name}.parquet", columns, notes)
            for name, png in _files(pictures).items():
                (new / f"{name}.png").write_bytes(png)
            write_text(new / "evaluation.md", evaluation_markdown(results, setting))
            write_text(new / PAGE, evaluation_page(results, setting, pictures))
    except OSError as error:
        raise RunError(f"cannot write into {out}: {error}; choose another --out") from error
    return out / PAGE


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
