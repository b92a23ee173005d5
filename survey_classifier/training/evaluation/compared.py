"""Scores of several tables, to be compared with one another.

Owns what each is called beside the others. Does not own their reading (``scores``).
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import chain, count
from pathlib import Path

from survey_classifier.training.evaluation.scores import (
    Scores,
    column_names_of,
    read_scores,
    renamed,
)
from survey_classifier.training.evaluation.wanted import Wanted

__all__ = ["read_compared"]


def read_compared(paths: Sequence[Path], wanted: Wanted, taken: Collection[str]) -> list[Scores]:
    """Read several tables of scores; probabilities have the names of their tables.

    Parameters
    ----------
    paths
        The first is read as `read_scores` does. Of the others the same columns are taken where
        they have them, else the usual ones.
    wanted
        Which columns.
    taken
        Names that no table may have.

    Raises
    ------
    ConfigError, SourcesError
        As `read_scores`.
    """
    names = [set(column_names_of(path)) for path in paths]
    id_name, p_names = wanted.id_name, wanted.p_names
    is_known = id_name is not None and any(id_name in there for there in names)
    tables = []
    for number, (path, there) in enumerate(zip(paths, names, strict=True)):
        own_id = id_name if id_name in there or not is_known else None
        own_p = p_names if number == 0 or set(p_names) <= there else ()
        tables.append(read_scores(path, replace(wanted, id_name=own_id, p_names=own_p)))
    unique = _unique([(table.name, table.folder_name) for table in tables], taken)
    return [_renamed(table, name) for table, name in zip(tables, unique, strict=True)]


def _unique(names: Sequence[tuple[str, str]], taken: Collection[str]) -> list[str]:
    """Return names that differ: with the folder where tables share one, else with a number."""
    shared = Counter(name for name, _ in names)
    found: list[str] = []
    for name, folder in names:
        wish = name if shared[name] == 1 else f"{folder}/{name}"
        used = {*taken, *found}
        numbered = (f"{wish} {number}" for number in count(2))
        found.append(next(new for new in chain([wish], numbered) if new not in used))
    return found


def _renamed(scores: Scores, name: str) -> Scores:
    """Return scores whose probabilities are called after their table."""
    new = {old: name if len(scores.p) == 1 else f"{name} {old}" for old in scores.p}
    claimed = [] if scores.claim is None else [scores.claim.of]
    other = {of: f"{name} {of}" for of in claimed if of not in new}
    return replace(renamed(scores, new | other), name=name)
