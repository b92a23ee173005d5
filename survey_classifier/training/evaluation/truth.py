"""The truth: objects of known class, with what photometry there is of them.

Owns which object of which table enters, and with what. Does not own table formats
(``sources.formats``), the scores (``scores``) nor which of several rows of one object is kept
(``judged``).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from survey_classifier.errors import SourcesError
from survey_classifier.membership.red_sequence import RedSequence
from survey_classifier.sources.cells import RawTable
from survey_classifier.sources.formats import read_table
from survey_classifier.training.calibration_recipe import TruthSettings
from survey_classifier.training.evaluation.settings import TruthFile, TruthTable

__all__ = ["CLASSES", "Truth", "read_truth"]

Floats = npt.NDArray[np.float64]

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
    is_bright: npt.NDArray[np.bool_]
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
    def is_member(self) -> npt.NDArray[np.bool_]:
        """Whether each object is a member."""
        return np.asarray(self.true_class == CLASSES[0], dtype=np.bool_)

    def take(self, rows: npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> "Truth":
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


def read_truth(file: TruthFile) -> Truth:
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
    return Truth.join(parts)


def _read(file: TruthFile, number: int, sequence: RedSequence) -> Truth:
    """Return the objects of one ``[[data]]``."""
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
        {name: _sum(table, parts) for name, parts in data.photometry.items()},
    )
    kept = everything.take(_known_labels(label, file.labels, data.table))
    lost = ~(np.isfinite(kept.ra_deg) & np.isfinite(kept.dec_deg))
    if lost.any():
        raise SourcesError(
            f"object {kept.object_id[lost][0]!r} of {data.table} has no position; leave it out"
        )
    return _each_once(kept, data.table)


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
    return sequence.delta(_sum(table, data.columns.color) - data.color_offset, mag)


def _sum(table: RawTable, parts: Iterable[str] | Mapping[str, float]) -> Floats:
    """Return the sum of columns, each multiplied by its factor where it has one."""
    factors = parts if isinstance(parts, Mapping) else dict.fromkeys(parts, 1.0)
    return np.sum([factor * table.unmarked(name) for name, factor in factors.items()], axis=0)


def _known_labels(
    label: npt.NDArray[np.object_], labels: TruthSettings, where: str
) -> npt.NDArray[np.bool_]:
    """Return which rows are not ignored, and raise if a label means nothing."""
    used = [*labels.member, *labels.other, *labels.star]
    for spelled in dict.fromkeys(label.tolist()):
        if spelled not in used and spelled not in labels.ignore:
            raise SourcesError(
                f"{where} has the label {spelled!r}, which means nothing (known are "
                f"{', '.join(used)}); list it under [labels] of a truth file"
            )
    return np.isin(label, used)


def _each_once(rows: Truth, where: str) -> Truth:
    """Return the first row of each object."""
    first: dict[str, int] = {}
    for row, name in enumerate(rows.object_id.tolist()):
        if rows.true_class[row] != rows.true_class[first.setdefault(name, row)]:
            raise SourcesError(
                f"object {name!r} of {where} has different classes in different rows; keep one"
            )
    return rows.take(np.array(list(first.values()), dtype=np.intp))
