"""Forecasts: which probabilities of a table are judged, and what they are called.

Owns the choice, and that redshifts are taken out of what a truth of spectra may judge. Does not
own the reading of tables (``scores``) nor how evidence is weighed (``membership.weighing``).

By default no forecast holds a redshift, as far as its table tells: the classes of a truth often
are those of spectra, and to judge by these what was made with them would be circular.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from survey_classifier.catalog.read import column_names, read_columns
from survey_classifier.errors import SourcesError
from survey_classifier.membership.weighing import OBSERVED_COLUMNS, Weighing
from survey_classifier.sources.cells import RawTable
from survey_classifier.training.evaluation.wanted import (
    LLR_REDSHIFT,
    P_IMAGE,
    P_MEMBER,
    Columns,
)

__all__ = ["Posterior", "forecasts_of", "probability", "title_of_trained"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Forecasts = dict[str, Floats]

WITHOUT = f"{P_MEMBER} without redshift"
TOLERANCE = 1e-4
"""Of a probability that is weighed again, over the precision that it is stored in."""


@dataclass(frozen=True, slots=True)
class Posterior:
    """What is known of redshifts in the ``p_member`` of a table."""

    use: Literal["without", "held", "not judged"]
    """``without``: it is judged without them; ``held``: with them; ``not judged``: they can't be
    taken out, and there is another forecast."""
    has_redshift: Bools | None
    """Which objects have one that it holds, shape ``(n,)``; None: the table does not tell."""


def title_of_trained(name: str, *, is_out_of_fold: bool) -> str:
    """Return what a column of ``train`` is called: its ``p_member`` is no posterior of a catalog.

    Parameters
    ----------
    name
        Of the column.
    is_out_of_fold
        Whether every score is of a network that had not seen its object's fold.
    """
    if name != P_MEMBER:
        return name
    return "image score out of fold" if is_out_of_fold else "image score"


def forecasts_of(
    table: RawTable, columns: Columns, weighing: Weighing | None
) -> tuple[Forecasts, Posterior | None]:
    """Return what is judged of a table, and what is known of redshifts in it.

    Parameters
    ----------
    table
        The table.
    columns
        Those that are read; probabilities that were asked for are judged as they are.
    weighing
        How ``p_member`` was made, if the file tells.

    Raises
    ------
    SourcesError
        If a score is not inside 0 to 1.
    """
    found = {name: probability(table, name) for name in columns.probabilities}
    if P_MEMBER not in found or columns.is_trained:
        return found, None
    told = table.numbers(LLR_REDSHIFT) if columns.has_redshift else None
    has_redshift = None if told is None else np.isfinite(told)
    if has_redshift is not None and not has_redshift.any():
        return found, None
    if not columns.is_asked and P_IMAGE in found:
        stored = found.pop(P_MEMBER)
        cleaned = None if weighing is None else _without_redshift(table.path, weighing, stored)
        if cleaned is None:
            return found, Posterior("not judged", has_redshift)
        return found | {WITHOUT: cleaned}, Posterior("without", has_redshift)
    return found, Posterior("held", has_redshift)


def _without_redshift(file: Path, weighing: Weighing, stored: Floats) -> Floats | None:
    """Return the probability that all evidence but redshifts gives.

    None where all of it does not give the stored one: then not all is there that it was made of.
    """
    names = [name for name in OBSERVED_COLUMNS if name in column_names(file)]
    observed = read_columns(file, names)
    again = weighing.weigh(observed).p_member
    if not np.allclose(again, stored, rtol=0, atol=TOLERANCE, equal_nan=True):
        return None
    less = tuple(dict.fromkeys([*weighing.without, "redshift"]))
    return weighing.model_copy(update={"without": less}).weigh(observed).p_member


def probability(table: RawTable, name: str) -> Floats:
    """Return a column of probabilities, shape ``(n,)``; NaN = not scored.

    Raises
    ------
    SourcesError
        If one is not inside 0 to 1.
    """
    p = table.numbers(name)
    wrong = (p < 0) | (p > 1)
    if wrong.any():
        raise SourcesError(
            f"column {name!r} of {table.path} holds {p[wrong][0]:g}, which is no probability; name "
            "another column with --score"
        )
    return p
