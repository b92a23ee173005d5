"""Labeled objects: which rows of which table are one, and what class each is.

Owns their reading. Does not own table formats (``sources.formats``) or pixels (``dataset``).
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from survey_classifier.errors import SourcesError
from survey_classifier.sources.cells import RawTable
from survey_classifier.sources.formats import read_table
from survey_classifier.sources.sky import is_new_object, nearest_within, on_unit_sphere
from survey_classifier.training.recipes import DataSettings, LabelSettings, Recipe
from survey_classifier.training.roll import CUT, IGNORED, NO_THUMBNAIL, TWICE, Roll
from survey_classifier.words import counted

__all__ = ["Labels", "joined", "read_labels", "without_known"]

NO_LABEL = ("", "nan", "null", "none", "--")
ONE_PLACE_ARCSEC = 0.1
"""Closer than two objects can be told apart. Neighbors may well be of two classes."""


@dataclass(frozen=True, slots=True)
class Labels:
    """Labeled objects, each once."""

    object_id: npt.NDArray[np.object_]
    """Unique ``str``, shape ``(n,)``."""
    ra_deg: npt.NDArray[np.float64]
    """ICRS right ascension, shape ``(n,)``."""
    dec_deg: npt.NDArray[np.float64]
    """ICRS declination, shape ``(n,)``."""
    label: npt.NDArray[np.int64]
    """Index of the class, shape ``(n,)``."""
    thumb: npt.NDArray[np.object_]
    """Name of the thumbnail, '' where there is none, shape ``(n,)``."""
    weight: npt.NDArray[np.float64]
    """How often it is shown, relative to one with weight 1, shape ``(n,)``."""
    is_test: npt.NDArray[np.bool_]
    """Whether no network may be fitted to it, shape ``(n,)``."""

    def __len__(self) -> int:
        return len(self.object_id)

    def take(self, rows: npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> "Labels":
        """Return some of the objects."""
        return Labels(*(getattr(self, field.name)[rows] for field in fields(self)))


def read_labels(data: DataSettings, recipe: Recipe) -> tuple[Labels, Roll]:
    """Return the labeled objects of a table, and what became of its other rows.

    Those with an ignored label are left out, those beyond the largest values of ``max``, and
    those without a thumbnail where thumbnails are what their pixels come from.

    Raises
    ------
    SourcesError
        If the table can't be read, a label is missing or unknown, a position is missing or off the
        sky, or rows of one object, or of one place, have different labels.
    """
    columns = data.columns
    thumb = () if columns.thumb is None else (columns.thumb,)
    named = [columns.id, columns.ra, columns.dec, columns.label, *thumb, *data.max]
    table = read_table(recipe.path(data.table), list(dict.fromkeys(named)))
    is_ignored = np.isin(table.text(columns.label), recipe.labels.ignore)
    is_cut = np.zeros(len(table), dtype=np.bool_)
    for name, largest in data.max.items():
        is_cut |= ~(table.numbers(name) <= largest)  # true of NaN
    kept = np.flatnonzero(~is_ignored & ~is_cut)
    rows = _labels_of(table, kept, data, recipe.labels)
    once = _each_once(rows, data.table)
    shown = once if data.thumbnails is None else once.take(once.thumb != "")
    _check_places(shown, data.table)
    roll = Roll(recipe.path(data.table).name, len(table))
    roll = roll.without(IGNORED, int(is_ignored.sum())).without(
        CUT, int((is_cut & ~is_ignored).sum())
    )
    roll = roll.without(TWICE, len(rows) - len(once)).without(NO_THUMBNAIL, len(once) - len(shown))
    return shown, roll


def _labels_of(
    table: RawTable, kept: npt.NDArray[np.intp], data: DataSettings, labels: LabelSettings
) -> Labels:
    """Return some rows of a table as labeled objects."""
    columns, where = data.columns, data.table
    text = table.text(columns.label)[kept]
    object_id = table.text(columns.id)[kept]
    _check_labeled(object_id, text, where)
    no_thumb = np.full(len(table), "", dtype=object)
    return Labels(
        object_id,
        table.angles_deg(columns.ra)[kept],
        table.angles_deg(columns.dec)[kept],
        _class_index(text, labels, where),
        (no_thumb if columns.thumb is None else table.text(columns.thumb))[kept],
        np.full(len(kept), data.weight),
        np.full(len(kept), data.use == "test"),
    )


def _check_places(rows: Labels, where: str) -> None:
    """Raise unless all are on the sky, and no two labels are of one place."""
    lost = ~(np.isfinite(rows.ra_deg) & np.isfinite(rows.dec_deg))
    if lost.any():
        raise SourcesError(
            f"object {rows.object_id[lost][0]!r} of {where} has no position; leave it out"
        )
    for name, angle, on_sky, remedy in (
        ("right ascension", rows.ra_deg, (rows.ra_deg >= 0) & (rows.ra_deg < 360), "0 <= ra < 360"),
        ("declination", rows.dec_deg, np.abs(rows.dec_deg) <= 90, "-90 <= dec <= 90"),
    ):
        if not on_sky.all():
            more = int((~on_sky).sum()) - 1
            raise SourcesError(
                f"object {rows.object_id[~on_sky][0]!r} of {where} has the {name}"
                f" {angle[~on_sky][0]}{f' (and {more} more)' if more else ''}: give degrees in"
                f" {remedy}"
            )
    _check_neighbors(rows, where)


def _check_neighbors(rows: Labels, where: str) -> None:
    """Raise if two objects of different labels are at one place: one label must be wrong."""
    points = on_unit_sphere(rows.ra_deg, rows.dec_deg)
    for label in np.unique(rows.label)[:-1]:
        mine, others = np.flatnonzero(rows.label == label), np.flatnonzero(rows.label > label)
        nearest, _, _ = nearest_within(points[mine], points[others], ONE_PLACE_ARCSEC)
        both = np.flatnonzero(nearest >= 0)
        if len(both):
            one, other = sorted((int(mine[both[0]]), int(others[nearest[both[0]]])))
            raise SourcesError(
                f"objects {rows.object_id[one]!r} and {rows.object_id[other]!r} of {where} are at"
                " one position and have different labels; keep one"
            )


def _check_labeled(
    object_id: npt.NDArray[np.object_], text: npt.NDArray[np.object_], where: str
) -> None:
    """Raise if an object has no label, so that nobody takes a hole in a table for a class."""
    missing = np.array([spelled.lower() in NO_LABEL for spelled in text], dtype=np.bool_)
    if missing.any():
        objects, spelled = counted(int(missing.sum()), "object"), text[missing][0]
        raise SourcesError(
            f"{where} has {objects} without a label, the first {object_id[missing][0]!r} with"
            f" {spelled!r}: label it, leave it out, or add {spelled!r} to ignore of [labels]"
        )


def _class_index(
    text: npt.NDArray[np.object_], labels: LabelSettings, where: str
) -> npt.NDArray[np.int64]:
    """Return the class of each label as the table spells it."""
    for spelled in dict.fromkeys(text.tolist()):
        if spelled not in labels.mapping:
            raise SourcesError(
                f"{where} has the label {spelled!r}, which is in neither mapping nor ignore of"
                f" [labels] (mapped are {', '.join(labels.mapping)}); add it to one of them"
            )
    number = {spelled: labels.classes.index(name) for spelled, name in labels.mapping.items()}
    return np.array([number[spelled] for spelled in text], dtype=np.int64)


def _each_once(rows: Labels, where: str) -> Labels:
    """Return the first row of each object."""
    first = dict(zip(rows.object_id[::-1], range(len(rows) - 1, -1, -1), strict=True))
    for row, name in enumerate(rows.object_id):
        if rows.label[row] != rows.label[first[name]]:
            raise SourcesError(
                f"object {name!r} of {where} has different labels in different rows; keep one"
            )
    return rows.take(np.array(sorted(first.values()), dtype=np.intp))


def without_known(labels: Labels, earlier: Sequence[Labels]) -> Labels:
    """Return the objects that are none of the earlier ones."""
    if not earlier or not len(labels):
        return labels
    known = joined(earlier)
    return labels.take(is_new_object(labels.ra_deg, labels.dec_deg, known.ra_deg, known.dec_deg))


def joined(labels: Sequence[Labels]) -> Labels:
    """Return the objects of several blocks as one."""
    columns = (field.name for field in fields(Labels))
    return Labels(*(np.concatenate([getattr(part, name) for part in labels]) for name in columns))
