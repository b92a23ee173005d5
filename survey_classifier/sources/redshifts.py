"""Spectroscopic redshifts: one row an object, of any number of tables.

Owns the table of objects and the joining of tables. Does not own the reading of a file
(``spectra``), the rules by which rows are one object (``repeats``), the match to sources
(``redshift_match``), nor what a redshift means for membership (``membership.redshift``).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from survey_classifier.errors import SourcesError
from survey_classifier.sources.digest import Column, content_digest
from survey_classifier.sources.repeats import (
    best_spectra,
    known_classes,
    object_names,
    outranks,
    twins,
    unique_names,
)
from survey_classifier.sources.spectra import RedshiftColumns, Rows, is_spectrum, read_spectra

__all__ = [
    "RedshiftTable",
    "Redshifts",
    "read_redshift_tables",
    "read_redshifts",
]


@dataclass(frozen=True, slots=True, eq=False)
class RedshiftTable:
    """What one of several tables gave."""

    name: str
    """What the table is called; `Redshifts.z_source` of what was taken from it."""
    n_row: int
    """Rows of the file."""
    n_spectrum: int
    """Those with a redshift, and with a position or a ``source_id``; the rest is passed over."""
    objects: npt.NDArray[np.int64]
    """Rows of the :class:`Redshifts` that the table has a spectrum of, shape (n_object,)."""


@dataclass(frozen=True, slots=True, eq=False)
class Redshifts:
    """Redshifts of objects, each object once.

    Raises
    ------
    SourcesError
        If columns differ in length, names are not unique, a redshift is not finite, or an object
        has neither a position nor a ``source_id``.
    """

    object_id: npt.NDArray[np.object_]
    """Unique ``str``, shape (n,)."""
    ra_deg: npt.NDArray[np.float64]
    """ICRS right ascension in degrees, shape (n,); NaN = unknown."""
    dec_deg: npt.NDArray[np.float64]
    """ICRS declination in degrees, shape (n,); NaN = unknown."""
    z: npt.NDArray[np.float64]
    """Heliocentric redshift, shape (n,)."""
    z_err: npt.NDArray[np.float64]
    """Uncertainty of ``z``, shape (n,); NaN = unknown."""
    z_warning: npt.NDArray[np.int32]
    """Warning of the redshift pipeline, shape (n,); 0 = none, -1 = unknown."""
    spec_class: npt.NDArray[np.object_]
    """Class of the spectrum (``str``), shape (n,); '' = unknown."""
    source_id: npt.NDArray[np.object_]
    """Name of the object in the source list (``str``), shape (n,); '' = unknown."""
    z_source: npt.NDArray[np.object_]
    """Name of the table that the redshift was taken from (``str``), shape (n,)."""
    tables: tuple[RedshiftTable, ...] = ()
    """The tables that were read, in their order."""

    def __post_init__(self) -> None:
        lengths = {len(column) for column in self.columns().values()}
        if len(lengths) > 1:
            raise SourcesError(
                f"redshift columns of lengths {sorted(lengths)} for {len(self.object_id)} ids: "
                "give one value an object"
            )
        named = self.source_id[self.source_id != ""]
        for what, names in (("object ids", self.object_id), ("source ids", named)):
            if len(set(names)) != len(names):
                raise SourcesError(
                    f"{len(names)} redshifts for {len(set(names))} {what}: keep one an object"
                )
        has_place = np.isfinite(self.ra_deg) & np.isfinite(self.dec_deg)
        usable = np.isfinite(self.z) & (has_place | (self.source_id != ""))
        if not usable.all():
            raise SourcesError(
                f"the redshift of object {self.object_id[~usable][0]!r} lacks its position or "
                "value: leave that object out"
            )

    def __len__(self) -> int:
        return len(self.object_id)

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over all that a match takes from it: names, positions, spectra, order."""
        texts = (self.object_id, self.spec_class, self.source_id, self.z_source)
        numbers: dict[str, Column] = {
            "ra": self.ra_deg,
            "dec": self.dec_deg,
            "z": self.z,
            "z_err": self.z_err,
            "z_warning": self.z_warning,
        }
        return content_digest([text for column in texts for text in column], numbers)

    def columns(self) -> Rows:
        """Return the columns by their names."""
        return {name: getattr(self, name) for name in self.__slots__ if name != "tables"}


def read_redshifts(path: Path, columns: RedshiftColumns, name: str | None = None) -> Redshifts:
    """Read redshifts from a CSV, FITS, VOTable or Parquet file, one row an object.

    Spectra are of one object if they have the same ``source_id``; or else the same id, and lie
    within 2 arcsec of each other, directly or through others. An id that stands at several places,
    such as 0 or -9999 for "not in the photometric list", is no name of an object: the second place
    is called '0#2', and so on in the order of the file.

    Of several spectra of one object one is kept: first those with warning 0, then the smallest
    uncertainty (unknown last), then the order of the file; it may take its class from another,
    if it has none. Rows without a redshift (empty, or not in -1 < z < 20), and rows without both a
    position and a ``source_id``, are no spectra and are passed over; an uncertainty that is not
    positive is unknown. Objects come in the order of their first row.

    Parameters
    ----------
    path
        The table; none of its rows need be a spectrum, it may even be without rows.
    columns
        Which of its columns to read.
    name
        What the table is called; by default as its file.

    Raises
    ------
    SourcesError
        If the file can't be read, lacks a column or has an empty id.
    """
    name = path.name if name is None else name
    rows = read_spectra(path, columns, name)
    usable = np.flatnonzero(is_spectrum(rows))
    objects = _reduced(_take(rows, usable))
    counts = RedshiftTable(name, len(rows["z"]), len(usable), np.arange(len(objects["z"])))
    return Redshifts(**objects, tables=(counts,))


def read_redshift_tables(tables: Sequence[tuple[Path, RedshiftColumns, str]]) -> Redshifts:
    """Read several tables of redshifts into one, one row an object.

    Each table is reduced by itself, as by `read_redshifts`, and joined to those before it by
    `twins`: objects of one ``source_id`` are the same, and so are those that are each other's
    nearest within 1.5 arcsec. Of the spectra of one object that is kept which `best_spectra` would
    keep, the first table's where they are equally good; `Redshifts.z_source` says whose it is.
    Its name and place are those of the first table that gives them.

    Parameters
    ----------
    tables
        File, columns and name of each.

    Raises
    ------
    SourcesError
        If there is no table, two have one name, or one can't be read (see `read_redshifts`).
    """
    names = [name for _, _, name in tables]
    if not names or len(set(names)) != len(names):
        raise SourcesError(
            f"tables of redshifts named {', '.join(names) or '(none)'}: give at least one, each "
            "a name of its own"
        )
    joined, *others = (read_redshifts(*table) for table in tables)
    for other in others:
        joined = _joined(joined, other)
    return joined


def _joined(first: Redshifts, second: Redshifts) -> Redshifts:
    """Return the objects of two tables, each once; the second is one table as it was read."""
    rows, others = first.columns(), second.columns()
    twin = twins(first, second)
    both, new = np.flatnonzero(twin >= 0), np.flatnonzero(twin < 0)
    row = twin[both]
    mine, theirs = _take(rows, row), _take(others, both)
    better = outranks(theirs["z_warning"], theirs["z_err"], mine["z_warning"], mine["z_err"])
    no_place = ~(np.isfinite(mine["ra_deg"]) & np.isfinite(mine["dec_deg"]))
    replaced = {
        "ra_deg": no_place,
        "dec_deg": no_place,
        "source_id": mine["source_id"] == "",
        **dict.fromkeys(("z", "z_err", "z_warning", "z_source"), better),
        "spec_class": np.where(better, theirs["spec_class"] != "", mine["spec_class"] == ""),
    }
    for name, where in replaced.items():
        rows[name] = rows[name].copy()
        rows[name][row[where]] = theirs[name][where]
    rows = {name: np.concatenate([rows[name], others[name][new]]) for name in rows}
    rows["object_id"] = unique_names(rows["object_id"])
    objects = twin.copy()
    objects[new] = len(first) + np.arange(len(new))
    (one,) = second.tables
    return Redshifts(**rows, tables=(*first.tables, replace(one, objects=objects)))


def _reduced(rows: Rows) -> Rows:
    """Return one row an object of the spectra of one table."""
    key = rows["object_id"].copy()
    unnamed = np.flatnonzero(rows["source_id"] == "")
    some = _take(rows, unnamed)
    key[unnamed] = object_names(some["object_id"], some["ra_deg"], some["dec_deg"])
    rows = rows | {"object_id": key.copy()}
    named = np.flatnonzero(rows["source_id"] != "")
    # No file holds the character in front, so that no id is taken for a source's.
    key[named] = "\0" + rows["source_id"][named]
    quality = rows["z_warning"], rows["z_err"]
    best = best_spectra(key, *quality)
    class_of = known_classes(key, rows["spec_class"], *quality)
    objects = _take(rows, best)
    classes = [
        own or class_of.get(k, "") for own, k in zip(objects["spec_class"], key[best], strict=True)
    ]
    objects["spec_class"] = np.array(classes, dtype=object)
    objects["object_id"] = unique_names(objects["object_id"])
    return objects


def _take(rows: Rows, index: npt.NDArray[np.intp]) -> Rows:
    return {name: column[index] for name, column in rows.items()}
