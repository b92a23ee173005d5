"""The columns that are read of a table of scores.

Owns their usual names and which are meant. Does not own their cells (``scores``, ``forecasts``).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from survey_classifier.errors import SourcesError
from survey_classifier.problems import nearest_name

__all__ = [
    "BEGUN",
    "LLR_REDSHIFT",
    "MAGNITUDE",
    "P_IMAGE",
    "P_MEMBER",
    "SEEN",
    "USUAL",
    "Columns",
    "Wanted",
    "chosen_columns",
]

ID_NAMES = ("source_id", "id")
"""Identifiers of a catalog, and of ``train``."""
P_IMAGE, P_MEMBER, LLR_REDSHIFT = "p_image", "p_member", "llr_redshift"
CLAIMS = {"p_err": P_MEMBER, "p_image_err": P_IMAGE}
"""Claimed errors, of ``train`` and of a network's scores, and what they are errors of."""
SEEN, BEGUN = "seen", "fold_seen"
"""Of ``train``: whether a network had been trained on the object; in place of ``fold`` where its
first weights had seen all objects."""
FOLD_NAMES = ("fold", BEGUN)
ANGLES = ("ra", "dec")
NUMBERS = ("r0", "delta_rs", "delta_rs_err")
MAGNITUDE = "mag_"
UNLIKE_MAGNITUDES = ("mag_aper_",)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be read of tables, where their usual columns are not meant."""

    id_name: str | None = None
    """Column of identifiers of the tables that have it. By default it is ``source_id``, ``id`` or
    one that the truth calls its own, whichever there is."""
    p_names: Sequence[str] = ()
    """Columns of probabilities; by default ``p_image``, and ``p_member`` without redshifts."""
    truth_ids: Collection[str] = ()
    """Columns of identifiers of the truth's tables."""


USUAL = Wanted()


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of the columns that are read of a table; what it does not have is left out."""

    ids: str
    probabilities: tuple[str, ...]
    is_asked: bool
    """Whether these were asked for."""
    angles: tuple[str, ...]
    numbers: tuple[str, ...]
    bands: tuple[str, ...]
    """Of its magnitudes."""
    claimed: tuple[str, str] | None
    """Claimed errors, and what they are errors of."""
    fold: str | None
    has_seen: bool
    has_redshift: bool

    @property
    def is_trained(self) -> bool:
        """Whether ``train`` wrote the table: its ``p_member`` is what a network says."""
        return self.fold is not None and P_IMAGE not in self.probabilities

    @property
    def all(self) -> list[str]:
        """All of them."""
        more = [(self.fold is not None, self.fold), (self.has_seen, SEEN)]
        more.append((self.has_redshift, LLR_REDSHIFT))
        return [
            *(self.ids, *self.probabilities, *self.angles, *self.numbers, *(self.claimed or ())),
            *(f"{MAGNITUDE}{band}" for band in self.bands),
            *(name for is_there, name in more if is_there and name is not None),
        ]


def chosen_columns(file: Path, names: Sequence[str], wanted: Wanted) -> Columns:
    """Return the columns that are read.

    Parameters
    ----------
    file
        The table, for messages.
    names
        Of its columns.
    wanted
        What was asked for.

    Raises
    ------
    SourcesError
        If it lacks one, or several may be meant.
    """
    usual = [name for name in (P_IMAGE, P_MEMBER) if name in names]
    probabilities = [_require(file, name, names) for name in wanted.p_names] or usual
    if not probabilities:
        raise SourcesError(f"{file} has neither p_image nor p_member: name a column with --score")
    fold = next((name for name in FOLD_NAMES if name in names), None)
    return Columns(
        _id_column(file, names, wanted),
        tuple(probabilities),
        bool(wanted.p_names),
        tuple(name for name in ANGLES if name in names),
        tuple(name for name in NUMBERS if name in names),
        tuple(
            name.removeprefix(MAGNITUDE)
            for name in names
            if name.startswith(MAGNITUDE) and not name.startswith(UNLIKE_MAGNITUDES)
        ),
        next(((err, of) for err, of in CLAIMS.items() if {err, of} <= set(names)), None),
        fold,
        fold is not None and SEEN in names,
        LLR_REDSHIFT in names,
    )


def _id_column(file: Path, names: Sequence[str], wanted: Wanted) -> str:
    """Return the column of identifiers: the one asked for, or else the only usual one."""
    if wanted.id_name is not None:
        return _require(file, wanted.id_name, names)
    usual = list(dict.fromkeys([*ID_NAMES, *wanted.truth_ids]))
    there = [name for name in usual if name in names]
    if not there:
        listed = f"{', '.join(usual[:-1])} nor {usual[-1]}"
        raise SourcesError(f"{file} has neither {listed}: name the column of identifiers with --id")
    if len(there) > 1:
        raise SourcesError(
            f"{file} has {' and '.join(there)}, and each may be its identifiers: say which by --id"
        )
    return there[0]


def _require(file: Path, name: str, names: Sequence[str]) -> str:
    """Return the name of a column that is there."""
    if name not in names:
        raise SourcesError(f"{file} has no column {name!r}: {nearest_name(name, set(names))}")
    return name
