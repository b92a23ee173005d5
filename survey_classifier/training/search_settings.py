"""The search file: one TOML file that says which recipes are tried.

Owns its keys, and how a trial's values become a recipe. Does not own the recipe (``recipes``) nor
the search (``search``). Paths in the file are relative to it.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, PrivateAttr, Tag, model_validator

from survey_classifier.errors import ConfigError
from survey_classifier.settings import (
    Settings,
    expand_path,
    nearest_name,
    parse_settings,
    read_settings,
)
from survey_classifier.training.fit_settings import Seed
from survey_classifier.training.recipes import Recipe, read_recipe

__all__ = ["Choice", "Range", "SearchSettings", "Value", "read_search", "trial_recipe"]

Value = str | int | float
Number = int | float
Count = Annotated[int, Field(ge=1)]

TABLES = ("network", "stamps", "stretch", "split", "fit")
"""Tables of a recipe whose keys may be varied."""
EVERY_BAND = "*"
OBJECTIVES: dict[str, Literal["maximize", "minimize"]] = {
    "auc": "maximize",
    "average_precision": "maximize",
    "accuracy": "maximize",
    "brier": "minimize",
    "calibration_error": "minimize",
}


def _known(name: object) -> object:
    if name not in OBJECTIVES:
        raise ValueError(f"objective {name!r} is none; {nearest_name(str(name), set(OBJECTIVES))}")
    return name


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


class SearchClusterSettings(Settings):
    """The ``[cluster]`` table: where trials are trained."""

    kind: str = "serial"
    """``serial``, ``local`` or the address of a Dask scheduler."""
    n_workers: Count = 2
    """Worker processes of a local cluster, with a thread each; trials at once."""


class SearchSettings(Settings):
    """A search file."""

    name: str
    """Name of the study."""
    recipe: str
    """The recipe that is varied."""
    out: str
    """Folder of the study, its trials and the table of results."""
    n_trials: Count
    """Trials in all, with those of earlier calls."""
    objective: Annotated[str, BeforeValidator(_known)] = "auc"
    """Figure of the card, on objects not seen, that is to be best."""
    seed: Seed = 0
    fixed: dict[str, Value] = Field(default_factory=dict)
    """Keys of the recipe, such as ``fit.epochs``, that all trials have."""
    space: Annotated[dict[str, Values], Field(min_length=1)]
    """Keys of the recipe that are varied; ``stretch.*.softening`` is that of every band."""
    cluster: SearchClusterSettings = SearchClusterSettings()

    _folder: Path = PrivateAttr(default=Path())

    @property
    def recipe_path(self) -> Path:
        """The recipe that is varied."""
        return expand_path(self.recipe, self._folder)

    @property
    def out_folder(self) -> Path:
        """Folder of the results."""
        return expand_path(self.out, self._folder)

    @property
    def direction(self) -> Literal["maximize", "minimize"]:
        """Which way is better."""
        return OBJECTIVES[self.objective]


def read_search(path: Path) -> SearchSettings:
    """Read a search file and check that each of its values can be part of its recipe.

    Raises
    ------
    ConfigError
        If it, or its recipe, is missing, is not TOML, or a key or value is wrong.
    """
    settings = read_settings(path, SearchSettings)
    settings._folder = path.resolve().parent  # noqa: SLF001 - where it was read from
    base = read_recipe(settings.recipe_path)
    for key, value in _tried(settings):
        content = base.model_dump(mode="json", exclude_none=True)
        for table, keys in _changes(base, {key: value}, path).items():
            content[table] = _merged(content[table], keys)
        parse_settings(content, path, Recipe)
    return settings


def _tried(settings: SearchSettings) -> Iterator[tuple[str, Value]]:
    """Yield every key with each value that must be valid."""
    yield from settings.fixed.items()
    for key, values in settings.space.items():
        yield from ((key, value) for value in values.ends)


def trial_recipe(
    settings: SearchSettings, name: str, values: Mapping[str, Value]
) -> dict[str, Any]:
    """Return the recipe of a trial: the base recipe's name, and what is different.

    Parameters
    ----------
    settings
        The search.
    name
        Of the trial.
    values
        By key of the recipe.
    """
    base = read_recipe(settings.recipe_path)
    changes = _changes(base, {**settings.fixed, **values}, settings.recipe_path)
    if "stretch" in changes:  # what a recipe extends gives all of it or nothing
        stretch = {band: dict(keys) for band, keys in base.stretch.items()}
        changes["stretch"] = _merged(stretch, changes["stretch"])
    return {
        "extends": str(settings.recipe_path),
        "name": name,
        "description": f"Trial of the search {settings.name}. {base.description}",
        "out": ".",
        **changes,
    }


def _changes(base: Recipe, values: Mapping[str, Value], where: Path) -> dict[str, Any]:
    """Return the tables of a recipe with only the keys that are named."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        table, *rest = key.split(".")
        if table not in TABLES or not rest or not all(re.fullmatch(r"[\w*-]+", k) for k in rest):
            raise ConfigError(
                f"{where}: {key!r} is no key of a recipe that can be varied; write such as"
                f" fit.rate, of the tables {', '.join(TABLES)}"
            )
        bands = tuple(base.stretch) if rest[0] == EVERY_BAND else rest[:1]
        for first in bands:
            branch: Any = value
            for part in reversed([table, first, *rest[1:]]):
                branch = {part: branch}
            found = _merged(found, branch)
    return found


def _merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Return tables within tables as one; the other has its way."""
    result = dict(one)
    for key, value in other.items():
        known = result.get(key)
        if isinstance(known, dict) and isinstance(value, dict):
            result[key] = _merged(known, value)
        else:
            result[key] = value
    return result
