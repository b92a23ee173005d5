"""Repeated spectra: which rows are one object, and which of them is kept.

Owns the rules, within a table and between tables. Does not own the tables (``redshifts``) or what
is one place on the sky (``sky``).
"""

from collections import Counter
from typing import Protocol

import numpy as np
import numpy.typing as npt

from survey_classifier.sources.sky import nearest_within, object_groups, on_unit_sphere

__all__ = [
    "SAME_IN_TABLES_ARCSEC",
    "Objects",
    "best_spectra",
    "known_classes",
    "object_names",
    "outranks",
    "twins",
    "unique_names",
]

Names = npt.NDArray[np.object_]

SAME_IN_TABLES_ARCSEC = 1.5
"""Objects of two tables this close are one, if neither is closer to another."""


class Objects(Protocol):
    """What must be known of a table's objects to find them in another one; shape ``(n,)`` each."""

    @property
    def source_id(self) -> Names:
        """Name in the source list; '' = unknown."""
        ...

    @property
    def ra_deg(self) -> npt.NDArray[np.float64]:
        """ICRS right ascension in degrees; NaN = unknown."""
        ...

    @property
    def dec_deg(self) -> npt.NDArray[np.float64]:
        """ICRS declination in degrees; NaN = unknown."""
        ...


def object_names(
    name: Names, ra_deg: npt.NDArray[np.float64], dec_deg: npt.NDArray[np.float64]
) -> Names:
    """Return names of which each stands for one object; shape ``(n,)``.

    The rows of a name that are apart on the sky (`object_groups`) are different objects: the
    first keeps the name, the next is called ``name#2``, and so on in the order of the rows.

    Parameters
    ----------
    name
        The names as given, shape ``(n,)``; several rows may share one.
    ra_deg, dec_deg
        Finite positions, shape ``(n,)``.
    """
    code = _codes(name)
    repeated = np.flatnonzero(np.bincount(code)[code] > 1)
    group = object_groups(ra_deg[repeated], dec_deg[repeated], code[repeated])
    names = name.copy()
    names[repeated] = _one_name_a_group(name[repeated], group, set(name))
    return names


def unique_names(name: Names) -> Names:
    """Return the names of objects, the second of a name called ``name#2``; shape ``(n,)``.

    Parameters
    ----------
    name
        One name an object, shape ``(n,)``.
    """
    code = _codes(name)
    repeated = np.flatnonzero(np.bincount(code)[code] > 1)
    names = name.copy()
    names[repeated] = _one_name_a_group(name[repeated], np.arange(len(repeated)), set(name))
    return names


def best_spectra(
    name: Names, z_warning: npt.NDArray[np.int32], z_err: npt.NDArray[np.float64]
) -> npt.NDArray[np.intp]:
    """Return the row of the best spectrum of each object, in the order of their first rows.

    First those with warning 0, then the smallest uncertainty (NaN last), then the order of rows.

    Parameters
    ----------
    name
        Object of each row, shape ``(n,)``.
    z_warning
        Warnings, shape ``(n,)``.
    z_err
        Uncertainties, shape ``(n,)``; NaN = unknown.
    """
    code = _codes(name)
    uncertainty = np.nan_to_num(z_err, nan=np.inf)
    by_rank = np.lexsort((np.arange(len(name)), uncertainty, z_warning != 0, code))
    _, best = np.unique(code[by_rank], return_index=True)
    rows: npt.NDArray[np.intp] = by_rank[best]
    return rows


def outranks(
    z_warning: npt.NDArray[np.int32],
    z_err: npt.NDArray[np.float64],
    other_warning: npt.NDArray[np.int32],
    other_err: npt.NDArray[np.float64],
) -> npt.NDArray[np.bool_]:
    """Return whether spectra are better than others, row by row, by the rule of `best_spectra`.

    Parameters
    ----------
    z_warning, z_err
        Warnings and uncertainties, shape ``(n,)``; NaN = unknown.
    other_warning, other_err
        Those of the others, which come first where all is equal.
    """
    warned, others_warned = z_warning != 0, other_warning != 0
    err, others_err = (np.nan_to_num(values, nan=np.inf) for values in (z_err, other_err))
    return np.where(warned == others_warned, err < others_err, others_warned)


def known_classes(
    name: Names,
    spec_class: Names,
    z_warning: npt.NDArray[np.int32],
    z_err: npt.NDArray[np.float64],
) -> dict[str, str]:
    """Return the class of each object by its best spectrum that has one.

    Parameters
    ----------
    name
        Object of each row, shape ``(n,)``.
    spec_class
        Class of each spectrum, shape ``(n,)``; '' = unknown.
    z_warning, z_err
        Warnings and uncertainties, shape ``(n,)``; NaN = unknown.
    """
    rows = np.flatnonzero(spec_class != "")
    best = rows[best_spectra(name[rows], z_warning[rows], z_err[rows])]
    return dict(zip(name[best], spec_class[best], strict=True))


def twins(first: Objects, second: Objects) -> npt.NDArray[np.int64]:
    """Return for each object of a second table the one of the first that it is; -1 = none.

    Objects of one ``source_id`` are the same. Of the others those are that are each other's
    nearest, within `SAME_IN_TABLES_ARCSEC`, unless both have a ``source_id``. So no two objects
    of one table become one.

    Parameters
    ----------
    first, second
        The objects of each table; no ``source_id`` but '' stands twice in one.

    Returns
    -------
    ndarray of int64
        Row in ``first``, shape ``(len(second),)``.
    """
    row_of = {name: row for row, name in enumerate(first.source_id) if name}
    same = (row_of.get(name, -1) for name in second.source_id)
    twin = np.fromiter(same, dtype=np.int64, count=len(second.source_id))
    is_free = np.isfinite(first.ra_deg) & np.isfinite(first.dec_deg)
    is_free[twin[twin >= 0]] = False
    here = np.flatnonzero(is_free)
    there = np.flatnonzero((twin < 0) & np.isfinite(second.ra_deg) & np.isfinite(second.dec_deg))
    if not len(here) or not len(there):
        return twin
    of_first = on_unit_sphere(first.ra_deg[here], first.dec_deg[here])
    of_second = on_unit_sphere(second.ra_deg[there], second.dec_deg[there])
    nearest, _, _ = nearest_within(of_second, of_first, SAME_IN_TABLES_ARCSEC)
    back, _, _ = nearest_within(of_first, of_second, SAME_IN_TABLES_ARCSEC)
    mutual = np.flatnonzero((nearest >= 0) & (back[nearest] == np.arange(len(there))))
    row, other = here[nearest[mutual]], there[mutual]
    apart = (first.source_id[row] != "") & (second.source_id[other] != "")
    twin[other[~apart]] = row[~apart]
    return twin


def _codes(name: Names) -> npt.NDArray[np.int64]:
    """Return a number for each name, counted in the order of first appearance."""
    number: dict[str, int] = {}
    codes = (number.setdefault(one, len(number)) for one in name)
    return np.fromiter(codes, dtype=np.int64, count=len(name))


def _one_name_a_group(name: Names, group: npt.NDArray[np.int64], taken: set[str]) -> list[str]:
    """Return the name of each row's group; ``taken`` are not given anew."""
    count: Counter[str] = Counter()
    name_of: dict[int, str] = {}
    numbers: list[int] = group.tolist()
    for one, number in zip(name, numbers, strict=True):
        if number in name_of:
            continue
        count[one] += 1
        while count[one] > 1 and f"{one}#{count[one]}" in taken:
            count[one] += 1
        name_of[number] = f"{one}#{count[one]}" if count[one] > 1 else one
    return [name_of[number] for number in numbers]
