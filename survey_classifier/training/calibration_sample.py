"""The calibration sample: labeled objects with photometry and out-of-fold scores.

Owns which object of which table enters, once, and with what. Does not own table formats
(``sources.formats``) nor what is fitted (``weighing``).
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.spatial import KDTree

from survey_classifier.errors import SourcesError
from survey_classifier.membership.red_sequence import RedSequence
from survey_classifier.sources.formats import read_table, table_columns
from survey_classifier.sources.sky import is_new_object, on_unit_sphere
from survey_classifier.training.calibration_recipe import (
    CalibrationRecipe,
    LabeledTable,
    TruthSettings,
)
from survey_classifier.training.evaluation.wanted import SEEN

__all__ = ["CalibrationSample", "load_calibration_sample"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class CalibrationSample:
    """Labeled objects, each once; every array has shape ``(n,)``."""

    object_id: npt.NDArray[np.object_]
    table: npt.NDArray[np.object_]
    """Name of the ``[[data]]`` it came from."""
    ra_deg: Floats
    dec_deg: Floats
    mag: Floats
    """Dereddened magnitude of the red sequence; NaN = unknown."""
    delta_rs: Floats
    """Distance of the dereddened color from the red sequence; NaN = unknown."""
    delta_rs_err: Floats
    """Its error; NaN = unknown."""
    is_member: npt.NDArray[np.bool_]
    is_star: npt.NDArray[np.bool_]
    p_image: Floats
    """Out-of-fold score; NaN = none."""
    fold: npt.NDArray[np.int64]
    """Part of the sky; -1 = not known."""

    def __len__(self) -> int:
        return len(self.object_id)

    def take(self, rows: npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> "CalibrationSample":
        """Return some of the objects."""
        return CalibrationSample(*(getattr(self, field.name)[rows] for field in fields(self)))


def load_calibration_sample(recipe: CalibrationRecipe) -> CalibrationSample:
    """Read the labeled objects of a recipe and join their scores by id.

    An object without a score has the fold of the nearest one that has a score: folds are
    connected parts of the sky.

    Raises
    ------
    ConfigError
        If there is no such red sequence.
    SourcesError
        If a table can't be read, a label is unknown, a position is missing, an object has two
        labels, no object has a score, there are no members or no other galaxies that have, or the
        scores are no test: all of one fold, or of objects that their network had seen.
    """
    sequence = RedSequence.read(recipe.named(recipe.red_sequence))
    parts: list[CalibrationSample] = []
    for data in recipe.data:
        parts.append(_without_known(_read_labeled(data, recipe, sequence), parts))
    sample = _with_scores(_joined(parts), recipe)
    galaxies = sample.is_member[~sample.is_star & np.isfinite(sample.p_image)]
    for what, n in (("member", galaxies.sum()), ("other galaxy", (~galaxies).sum())):
        if not n:
            raise SourcesError(
                f"the tables of {recipe.name} hold no {what} with a score; correct [labels], or "
                "give scores of more objects"
            )
    return sample


def _read_labeled(
    data: LabeledTable, recipe: CalibrationRecipe, sequence: RedSequence
) -> CalibrationSample:
    """Return the objects of a table, each once, without scores."""
    columns = data.columns
    errors = () if columns.color_err is None else (columns.color_err,)
    names = [columns.id, columns.ra, columns.dec, columns.label, columns.mag]
    table = read_table(recipe.path(data.table), [*names, *columns.color, *errors])
    n = len(table)
    label = table.text(columns.label)
    mag = table.unmarked(columns.mag) - data.mag_offset
    color = sum((table.unmarked(name) for name in columns.color), start=np.zeros(n))
    error = np.full(n, data.color_err)
    if columns.color_err is not None:
        error = table.numbers(columns.color_err)
    everything = CalibrationSample(
        table.text(columns.id),
        np.full(n, data.name, dtype=object),
        table.angles_deg(columns.ra),
        table.angles_deg(columns.dec),
        mag,
        sequence.delta(color - data.color_offset, mag),
        error,
        np.isin(label, recipe.labels.member),
        np.isin(label, recipe.labels.star),
        np.full(n, np.nan),
        np.full(n, -1),
    )
    kept = everything.take(_known_labels(label, recipe.labels, data.table))
    lost = ~(np.isfinite(kept.ra_deg) & np.isfinite(kept.dec_deg))
    if lost.any():
        raise SourcesError(
            f"object {kept.object_id[lost][0]!r} of {data.table} has no position; leave it out"
        )
    return _each_once(kept, data.table)


def _known_labels(
    label: npt.NDArray[np.object_], truth: TruthSettings, where: str
) -> npt.NDArray[np.bool_]:
    """Return which rows are not ignored, and raise if a label means nothing."""
    used = {*truth.member, *truth.other, *truth.star}
    for spelled in dict.fromkeys(label.tolist()):
        if spelled not in used and spelled not in truth.ignore:
            raise SourcesError(
                f"{where} has the label {spelled!r}, which [labels] does not list (listed are "
                f"{', '.join(sorted(used))}); add it to one of them, or to ignore"
            )
    return np.isin(label, sorted(used))


def _each_once(rows: CalibrationSample, where: str) -> CalibrationSample:
    """Return the first row of each object."""
    first: dict[str, int] = {}
    for row, name in enumerate(rows.object_id.tolist()):
        known = first.setdefault(name, row)
        here, there = (
            (bool(rows.is_member[number]), bool(rows.is_star[number])) for number in (row, known)
        )
        if here != there:
            raise SourcesError(
                f"object {name!r} of {where} has different labels in different rows; keep one"
            )
    return rows.take(np.array(list(first.values()), dtype=np.intp))


def _without_known(
    rows: CalibrationSample, earlier: Sequence[CalibrationSample]
) -> CalibrationSample:
    """Return the objects that are none of the earlier ones."""
    if not len(rows) or not any(len(part) for part in earlier):
        return rows
    known = _joined(earlier)
    return rows.take(is_new_object(rows.ra_deg, rows.dec_deg, known.ra_deg, known.dec_deg))


def _joined(parts: Sequence[CalibrationSample]) -> CalibrationSample:
    """Return the objects of several tables as one."""
    return CalibrationSample(
        *(
            np.concatenate([getattr(part, field.name) for part in parts])
            for field in fields(CalibrationSample)
        )
    )


def _with_scores(sample: CalibrationSample, recipe: CalibrationRecipe) -> CalibrationSample:
    """Return the objects with their scores and folds."""
    columns = recipe.scores.columns
    path = recipe.path(recipe.scores.table)
    told = (SEEN,) if SEEN in table_columns(path) else ()
    table = read_table(path, [columns.id, columns.fold, columns.p_image, *told])
    score = table.numbers(columns.p_image)
    fold = table.numbers(columns.fold)
    wrong = np.isnan(fold) | (fold != np.floor(fold)) | (score < 0) | (score > 1)
    row_of = {name: row for row, name in enumerate(table.text(columns.id).tolist())}
    if wrong.any() or len(row_of) < len(table):
        raise SourcesError(
            f"{path} has a fold that is no number, a score outside 0 to 1, or an id twice: give "
            "what 'train' writes"
        )
    found = np.array([row_of.get(name, -1) for name in sample.object_id], dtype=np.intp)
    scored = found >= 0
    if not scored.any():
        raise SourcesError(f"no id of {path} is one of the labeled objects; correct columns.id")
    if not np.isfinite(score[found[scored]]).any():
        raise SourcesError(f"no labeled object has a score in {path}; correct columns.p_image")
    used = found[scored & np.isfinite(score[found])]
    _require_held_out(path, fold[used], table.text(SEEN)[used] if told else None)
    points = on_unit_sphere(sample.ra_deg, sample.dec_deg)
    _, nearest = KDTree(points[scored]).query(points)
    rows = found[scored][np.asarray(nearest)]
    p_image = np.where(scored, score[found], np.nan)
    values = {field.name: getattr(sample, field.name) for field in fields(sample)}
    return CalibrationSample(**(values | {"p_image": p_image, "fold": fold[rows].astype(np.int64)}))


def _require_held_out(path: Path, fold: Floats, seen: npt.NDArray[np.object_] | None) -> None:
    """Raise unless scores are of networks that had not seen the objects, as far as is told."""
    n_seen = 0 if seen is None else int((seen == "yes").sum())
    if n_seen:
        raise SourcesError(
            f"{n_seen} of the {len(fold)} labeled objects of {path} had been seen by the network "
            f"that scored them (column {SEEN!r}): their scores are no test; give out-of-fold scores"
        )
    if len(np.unique(fold)) < 2:
        raise SourcesError(
            f"all scores of {path} are of one fold, so nothing would be held out to judge the "
            "evidence by; give the out-of-fold scores of a training with two folds or more"
        )
