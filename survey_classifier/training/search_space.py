"""What a search varies: values that are tried, and where their keys are in a recipe.

Owns the kinds of values and the spelling of keys. Does not own the search file
(``search_settings``), the recipe (``recipes``) nor the drawing of values (``search_study``).
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Discriminator, Field, Tag, model_validator

from survey_classifier.errors import ConfigError
from survey_classifier.settings import Settings
from survey_classifier.training.recipes import Recipe

__all__ = [
    "Choice",
    "Range",
    "Value",
    "Values",
    "changes_of",
    "merged",
    "quoted",
    "require_apart",
]

Value = str | int | float
Number = int | float

TABLES = ("network", "stamps", "stretch", "split", "fit")
"""Tables of a recipe whose keys may be varied."""
EVERY_BAND = "*"


class Choice(Settings):
    """Some values, of which each may be tried."""

    choice: Annotated[tuple[Value, ...], Field(min_length=1)]

    @property
    def ends(self) -> tuple[Value, ...]:
        """Values that must be valid for the search to be."""
        return self.choice


class Range(Settings):
    """Numbers between two ends, whole ones where both are."""

    low: Number
    high: Number
    log: bool = False
    """Whether ratios count instead of differences."""
    step: Number | None = None
    """Distance of the values; not of logarithmic ranges."""

    @model_validator(mode="after")
    def _sound(self) -> Self:
        """Check what no single key can."""
        if not self.low < self.high:
            raise ValueError(f"low = {self.low} is not below high = {self.high}")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("log = true needs a positive low, and no step")
        return self

    @property
    def ends(self) -> tuple[Value, ...]:
        """Values that must be valid for the search to be."""
        return self.low, self.high

    @property
    def is_whole(self) -> bool:
        """Whether only whole numbers are tried."""
        return all(isinstance(value, int) for value in (self.low, self.high, self.step or 1))


def _kind(values: object) -> str:
    """Say which of the two kinds a table of values is meant to be."""
    is_choice = isinstance(values, Choice) or (isinstance(values, dict) and "choice" in values)
    return "choice" if is_choice else "range"


Values = Annotated[
    Annotated[Choice, Tag("choice")] | Annotated[Range, Tag("range")], Discriminator(_kind)
]


def quoted(values: object) -> object:
    """Refuse keys that TOML takes for tables within tables, and pass on all else.

    Parameters
    ----------
    values
        What ``[fixed]`` or ``[space]`` holds, before it is checked.

    Raises
    ------
    ValueError
        If a key should have been in quotes.
    """
    for table, keys in values.items() if isinstance(values, dict) else ():
        if table in TABLES and isinstance(keys, dict):
            key = f"{table}.{next(iter(keys), 'key')}"
            raise ValueError(f'{key} is one key here; write it in quotes, "{key}"')
    return values


def require_apart(tables: Mapping[str, Iterable[str]], base: Recipe, where: Path) -> None:
    """Refuse a key of the recipe that is given twice.

    Parameters
    ----------
    tables
        Keys of a recipe by the table of the search file that they stand in.
    base
        The recipe.
    where
        The search file, for the message.

    Raises
    ------
    ConfigError
        If it is, or if there can be no such key.
    """
    known: dict[tuple[str, ...], str] = {}
    for table, key in ((table, key) for table, keys in tables.items() for key in keys):
        named = f'"{key}" of [{table}]'
        for place in _places(base, key, where):
            if known.setdefault(place, named) != named:
                raise ConfigError(f"{where}: {known[place]} is {named}, too; keep one of them")


def changes_of(base: Recipe, values: Mapping[str, Value], where: Path) -> dict[str, Any]:
    """Return the tables of a recipe with only the keys that are named.

    Parameters
    ----------
    base
        The recipe.
    values
        By key, such as ``fit.rate``.
    where
        The file that they stand in, for the message.

    Raises
    ------
    ConfigError
        If there can be no such key.
    """
    found: dict[str, Any] = {}
    for key, value in values.items():
        for place in _places(base, key, where):
            branch: Any = value
            for part in reversed(place):
                branch = {part: branch}
            found = merged(found, branch)
    return found


def _places(base: Recipe, key: str, where: Path) -> list[tuple[str, ...]]:
    """Return where a key is in a recipe; ``stretch.*`` is in many places."""
    table, *rest = key.split(".")
    if table not in TABLES or not rest or not all(re.fullmatch(r"[\w*-]+", k) for k in rest):
        raise ConfigError(
            f"{where}: {key!r} is no key of a recipe that can be varied; write such as"
            f" fit.rate, of the tables {', '.join(TABLES)}"
        )
    bands = tuple(base.stretch)
    if table == "stretch" and rest[0] not in (EVERY_BAND, *bands):
        raise ConfigError(
            f"{where}: {key!r} is of the band {rest[0]!r}, the recipe has {', '.join(bands)}"
        )
    firsts = bands if rest[0] == EVERY_BAND else (rest[0],)
    return [(table, first, *rest[1:]) for first in firsts]


def merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Return tables within tables as one.

    Parameters
    ----------
    one
        Tables.
    other
        Those that have their way.
    """
    result = dict(one)
    for key, value in other.items():
        known = result.get(key)
        if isinstance(known, dict) and isinstance(value, dict):
            result[key] = merged(known, value)
        else:
            result[key] = value
    return result
