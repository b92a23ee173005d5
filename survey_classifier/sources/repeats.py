"""Repeated spectra: which rows are one object, and which of them is kept.

Owns both rules. Does not own the table (``redshifts``) or what is one place on the sky (``sky``).
"""

from collections import Counter

import numpy as np
import numpy.typing as npt

from survey_classifier.sources.sky import object_groups

__all__ = ["best_spectra", "object_names"]

Names = npt.NDArray[np.object_]


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
