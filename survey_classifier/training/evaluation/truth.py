"""The truth: objects of known class, with what photometry there is of them.

Owns which row of which table enters, and with what. Does not own table formats
(``sources.formats``), the scores (``scores``) nor which of several rows of one object is kept
(``judged``).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from survey_classifier.errors import SourcesError
from survey_classifier.membership.red_sequence import RedSequence
from survey_classifier.sources.cells import RawTable
from survey_classifier.sources.formats import read_table
from survey_classifier.training.calibration_recipe import TruthSettings
from survey_classifier.training.evaluation.settings import TruthFile, TruthTable

__all__ = ["CLASSES", "Truth", "TruthRows", "read_truth"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

CLASSES = ("cluster", "background", "star")
"""The true classes; members are of the first."""


@dataclass(frozen=True, slots=True)
class Truth:
    """Objects of known class; every array has shape ``(n,)``."""

    object_id: npt.NDArray[np.object_]
    table: npt.NDArray[np.int64]
    """Which ``[[data]]`` it came from."""
    ra_deg: Floats
    dec_deg: Floats
    true_class: npt.NDArray[np.object_]
    """One of `CLASSES`."""
    is_bright: Bools
    mag: Floats
    """Dereddened magnitude of the red sequence; NaN = unknown."""
    delta_rs: Floats
    """Distance of the dereddened color from the red sequence; NaN = unknown."""
    delta_rs_err: Floats
    """Its error; NaN = unknown."""
    thumb: npt.NDArray[np.object_]
    """File name of the thumbnail, '' where there is none."""
    photometry: dict[str, Floats]
    """Magnitudes, colors and sizes by name; NaN = unknown."""

    def __len__(self) -> int:
        return len(self.object_id)

    @property
    def is_member(self) -> Bools:
        """Whether each object is a member."""
        return np.asarray(self.true_class == CLASSES[0], dtype=np.bool_)

    def take(self, rows: Bools | npt.NDArray[np.intp]) -> "Truth":
        """Return some of the objects."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        some = {name: values[name][rows] for name in values if name != "photometry"}
        return Truth(**some, photometry={k: v[rows] for k, v in self.photometry.items()})

    @classmethod
    def join(cls, parts: "Sequence[Truth]") -> "Truth":
        """Return the objects of several tables as one; what one of them lacks is NaN."""
        names = dict.fromkeys(name for part in parts for name in part.photometry)
        plain = [field.name for field in fields(cls) if field.name != "photometry"]
        return cls(
            **{name: np.concatenate([getattr(part, name) for part in parts]) for name in plain},
            photometry={
                name: np.concatenate(
                    [part.photometry.get(name, np.full(len(part), np.nan)) for part in parts]
                )
                for name in names
            },
        )


@dataclass(frozen=True, slots=True)
class TruthRows:
    """Every row of the truth's tables, in order; every array has shape ``(row,)``."""

    object_id: npt.NDArray[np.object_]
    table: npt.NDArray[np.int64]
    """Which ``[[data]]`` it is of."""
    label: npt.NDArray[np.object_]
    fate: npt.NDArray[np.object_]
    """Why it is left out; '' where it is one of the objects, which have the same order."""

    def __len__(self) -> int:
        return len(self.object_id)


def read_truth(file: TruthFile) -> tuple[Truth, TruthRows]:
    """Read the objects of a truth file, those of ignored labels left out.

    Raises
    ------
    ConfigError
        If there is no such red sequence.
    SourcesError
        If a table can't be read, a label is unknown, a position is missing, or an object of a
        table has two classes.
    """
    sequence = RedSequence.read(file.named(file.red_sequence))
    parts = [_read(file, number, sequence) for number in range(len(file.data))]
    rows = [
        np.concatenate([getattr(part, field.name) for _, part in parts])
        for field in fields(TruthRows)
    ]
    return Truth.join([objects for objects, _ in parts]), TruthRows(*rows)


def _read(file: TruthFile, number: int, sequence: RedSequence) -> tuple[Truth, TruthRows]:
    """Return the objects of one ``[[data]]``, and all of its rows."""
    data = file.data[number]
    table = read_table(file.path(data.table), _names(data))
    columns, n = data.columns, len(table)
    label = table.text(columns.label)
    mag = np.full(n, np.nan) if columns.mag is None else table.unmarked(columns.mag)
    true_class = np.full(n, CLASSES[1], dtype=object)
    true_class[np.isin(label, file.labels.member)] = CLASSES[0]
    true_class[np.isin(label, file.labels.star)] = CLASSES[2]
    thumb = np.full(n, "", dtype=object)
    everything = Truth(
        table.text(columns.id),
        np.full(n, number),
        table.angles_deg(columns.ra),
        table.angles_deg(columns.dec),
        true_class,
        np.full(n, True) if data.bright_mag is None else mag <= data.bright_mag,
        mag - data.mag_offset,
        _delta(table, data, sequence, mag - data.mag_offset),
        np.full(n, data.color_err)
        if columns.color_err is None
        else table.numbers(columns.color_err),
        thumb if columns.thumb is None else table.text(columns.thumb),
        {name: _sum(parts, table.without_nines) for name, parts in data.photometry.items()},
    )
    is_known = _known_labels(label, file.labels, data.table)
    lost = is_known & ~(np.isfinite(everything.ra_deg) & np.isfinite(everything.dec_deg))
    if lost.any():
        raise SourcesError(
            f"object {everything.object_id[lost][0]!r} of {data.table} has no position; "
            "leave it out"
        )
    is_first = _each_once(everything, is_known, data.table)
    reasons = ["of an ignored label", "of an id that came before"]
    fate = np.select([~is_known, ~is_first], reasons, "")
    rows = TruthRows(everything.object_id, everything.table, label, fate.astype(object))
    return everything.take(is_first), rows


def _names(data: TruthTable) -> list[str]:
    """Return the columns that a table must have."""
    columns = data.columns
    optional = (columns.mag, columns.color_err, columns.thumb)
    return [
        *(columns.id, columns.ra, columns.dec, columns.label, *columns.color),
        *(name for name in optional if name is not None),
        *(name for parts in data.photometry.values() for name in parts),
    ]


def _delta(table: RawTable, data: TruthTable, sequence: RedSequence, mag: Floats) -> Floats:
    """Return the distance from the red sequence, NaN where it is not known."""
    if not data.columns.color:
        return np.full(len(table), np.nan)
    return sequence.delta(_sum(data.columns.color, table.unmarked) - data.color_offset, mag)


def _sum(parts: Iterable[str] | Mapping[str, float], read: Callable[[str], Floats]) -> Floats:
    """Return the sum of columns, each multiplied by its factor where it has one."""
    factors = parts if isinstance(parts, Mapping) else dict.fromkeys(parts, 1.0)
    return np.sum([factor * read(name) for name, factor in factors.items()], axis=0)


def _known_labels(label: npt.NDArray[np.object_], labels: TruthSettings, where: str) -> Bools:
    """Return which rows are not ignored, and raise if a label means nothing."""
    used = [*labels.member, *labels.other, *labels.star]
    for spelled in dict.fromkeys(label.tolist()):
        if spelled not in used and spelled not in labels.ignore:
            raise SourcesError(
                f"{where} has the label {spelled!r}, which means nothing (known are "
                f"{', '.join(used)}); list it under [labels] of a truth file"
            )
    return np.isin(label, used)


def _each_once(rows: Truth, is_known: Bools, where: str) -> Bools:
    """Return which rows are the first of an object, among those of known labels."""
    first: dict[str, int] = {}
    for row in np.flatnonzero(is_known).tolist():
        name = rows.object_id[row]
        if rows.true_class[row] != rows.true_class[first.setdefault(name, row)]:
            raise SourcesError(
                f"object {name!r} of {where} has different classes in different rows; keep one"
            )
    is_first = np.zeros(len(rows), dtype=np.bool_)
    is_first[list(first.values())] = True
    return is_first
