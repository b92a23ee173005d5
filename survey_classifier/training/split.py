"""Which objects a network is fitted to and which judge it.

Owns the folds, strips of the sky that a network has not seen when it is judged on them, and the
random parts of published work. Does not own the objects (``dataset``).
"""

from typing import Literal

import numpy as np
import numpy.typing as npt

from survey_classifier.errors import SourcesError
from survey_classifier.sources.sky import object_groups

__all__ = ["SECOND_SAMPLE", "random_parts", "strip_folds"]

FloatArray = npt.NDArray[np.float64]

SECOND_SAMPLE = -1
"""Stands for a fold where objects with ``use = "test"`` are: no network is fitted to them."""


def strip_folds(
    ra_deg: FloatArray, dec_deg: FloatArray, axis: Literal["ra", "dec"], n_folds: int
) -> npt.NDArray[np.int64]:
    """Return the fold of each object.

    Objects that are one by `object_groups` share a fold;
    groups are laid out along the axis and cut where the count passes each n-th part.

    Parameters
    ----------
    ra_deg, dec_deg
        Positions, shape ``(n,)``; right ascensions may straddle 0.
    axis
        What the strips follow one another along.
    n_folds
        Number of folds.

    Raises
    ------
    SourcesError
        If a fold would have no object.
    """
    group = object_groups(ra_deg, dec_deg)
    along = dec_deg if axis == "dec" else _unwrapped(ra_deg)
    n_in_group = np.bincount(group)
    place = np.bincount(group, weights=along) / n_in_group
    order = np.argsort(place, kind="stable")
    before = np.cumsum(n_in_group[order]) - n_in_group[order] / 2
    fold_of_group = np.empty(len(order), dtype=np.int64)
    fold_of_group[order] = (before * n_folds / len(ra_deg)).astype(np.int64)
    missing = set(range(n_folds)) - set(fold_of_group.tolist())
    if missing:
        raise SourcesError(
            f"{len(order)} separate objects are too few for {n_folds} folds; choose fewer n_folds"
        )
    return fold_of_group[group]


def random_parts(
    group: npt.NDArray[np.int64], test_share: float, validation_share: float, seed: int
) -> npt.NDArray[np.int64]:
    """Return the part of each sample: 0 = fitted to, 1 = validation, 2 = test.

    Parameters
    ----------
    group
        Number of the group of each, which stays together, shape ``(n,)``.
    test_share
        Share of all groups, to the nearest number.
    validation_share
        Share of those that are left.
    seed
        Of the draw.

    Raises
    ------
    SourcesError
        If a part would be empty.
    """
    names, member_of = np.unique(group, return_inverse=True)
    n_test = round(test_share * len(names))
    n_validation = round(validation_share * (len(names) - n_test))
    if min(n_test, n_validation, len(names) - n_test - n_validation) < 1:
        raise SourcesError(
            f"{len(names)} separate objects are too few for shares of {test_share} and"
            f" {validation_share}; add objects, or change the shares in [split]"
        )
    part = np.zeros(len(names), dtype=np.int64)
    order = np.random.default_rng(seed).permutation(len(names))
    part[order[:n_test]] = 2
    part[order[n_test : n_test + n_validation]] = 1
    return part[member_of]


def _unwrapped(ra_deg: FloatArray) -> FloatArray:
    """Return right ascensions relative to their mean direction, so that 359 precedes 1."""
    turn = np.exp(1j * np.radians(ra_deg))
    return np.degrees(np.angle(turn * np.conj(turn.mean())))
