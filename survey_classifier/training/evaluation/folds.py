"""The folds of a table of scores: what they say of the split that its networks were trained by.

Owns the kinds of splits. Does not own the folds (``training.split``) nor their reading
(``scores``).
"""

from typing import Literal

import numpy as np
import numpy.typing as npt

from survey_classifier.training.split import SECOND_SAMPLE

__all__ = ["MAX_FOLDS", "Split", "is_regrouped", "n_folds_of", "split_of"]

Folds = npt.NDArray[np.int64]

Split = Literal["folds", "part", "second sample", "unknown"]
"""``folds``: each score is of a network that had not seen the object's fold. ``part``: all are of
one part of the objects. ``second sample``: all are of that. In the first two there may be objects
of a second sample, too, that no network was fitted to."""
MAX_FOLDS = 20
"""Folds of a table that simple forecasts are fitted in; where there are more, strips of the sky."""


def n_folds_of(fold: Folds | None) -> int:
    """Return the number of folds, the second sample not counted.

    Parameters
    ----------
    fold
        Fold of each object, `SECOND_SAMPLE` where it is in none; None where a table has none.
    """
    return 0 if fold is None else len(np.unique(fold[fold != SECOND_SAMPLE]))


def split_of(fold: Folds | None) -> Split:
    """Return what folds say of a split; takes what `n_folds_of` takes."""
    if fold is None:
        return "unknown"
    n_fold = n_folds_of(fold)
    return "folds" if n_fold > 1 else "part" if n_fold else "second sample"


def is_regrouped(fold: Folds | None) -> bool:
    """Say whether there are more folds than `MAX_FOLDS`; takes what `n_folds_of` takes."""
    return n_folds_of(fold) > MAX_FOLDS
