"""The search file: one TOML file that says which recipes are tried.

Owns its keys, and how a trial's values become a recipe. Does not own what may be varied
(``search_space``), the recipe (``recipes``) nor the search (``search``). Paths in the file are
relative to it.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr

from survey_classifier.errors import ConfigError
from survey_classifier.model.header import SUFFIX
from survey_classifier.run.config import SCHEDULER
from survey_classifier.settings import Settings, expand_path, parse_settings, read_settings
from survey_classifier.training.fit_settings import Seed
from survey_classifier.training.recipes import Recipe, read_recipe
from survey_classifier.training.search_space import (
    Value,
    Values,
    changes_of,
    merged,
    quoted,
    require_apart,
)

__all__ = ["START", "SearchClusterSettings", "SearchSettings", "read_search", "trial_recipe"]

Count = Annotated[int, Field(ge=1)]

START = "fit.start_from"
"""Key of a recipe whose value may be a path."""
Objective = Literal["auc", "average_precision", "accuracy", "brier", "calibration_error"]
MINIMIZED = ("brier", "calibration_error")


def _kind_of_cluster(kind: str) -> str:
    """Check the words for where trials are trained."""
    if not re.fullmatch(rf"serial|local|{SCHEDULER}", kind):
        raise ValueError(
            f"{kind!r} is none of serial, local, or the address of a scheduler such as"
            " tcp://host:8786"
        )
    return kind


class SearchClusterSettings(Settings):
    """The ``[cluster]`` table: where trials are trained."""

    kind: Annotated[str, AfterValidator(_kind_of_cluster)] = "serial"
    """``serial``, ``local`` or the address of a Dask scheduler."""
    n_workers: Count = 2
    """Worker processes of a local cluster, with a thread each; trials at once. What is drawn for a
    trial depends on which others have ended, so with several it may differ from time to time."""


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
    objective: Objective = "auc"
    """Figure of the card, on objects not seen, that is to be best."""
    seed: Seed = 0
    fixed: Annotated[dict[str, Value], BeforeValidator(quoted)] = Field(default_factory=dict)
    """Keys of the recipe, such as ``fit.epochs``, that all trials have."""
    space: Annotated[dict[str, Values], Field(min_length=1), BeforeValidator(quoted)]
    """Keys of the recipe that are varied; ``stretch.*.softening`` is that of every band."""
    cluster: SearchClusterSettings = SearchClusterSettings()

    _folder: Path = PrivateAttr(default=Path())

    def path(self, text: str) -> Path:
        """Return the absolute path of one written in the search file."""
        return expand_path(text, self._folder)

    @property
    def recipe_path(self) -> Path:
        """The recipe that is varied."""
        return self.path(self.recipe)

    @property
    def out_folder(self) -> Path:
        """Folder of the results."""
        return self.path(self.out)

    @property
    def direction(self) -> Literal["maximize", "minimize"]:
        """Which way is better."""
        return "minimize" if self.objective in MINIMIZED else "maximize"

    @property
    def starts(self) -> tuple[str, ...]:
        """Checkpoints that trials may start from, besides that of the recipe."""
        varied = self.space[START].ends if START in self.space else ()
        return tuple(str(value) for value in (self.fixed.get(START, ""), *varied) if value)

    def cluster_on(self, kind: str | None) -> SearchClusterSettings:
        """Return the ``[cluster]`` table with another kind.

        Parameters
        ----------
        kind
            Takes the place of ``cluster.kind``, None for that itself.

        Raises
        ------
        ConfigError
            If there is no such kind.
        """
        try:
            return self.cluster.model_copy(
                update={} if kind is None else {"kind": _kind_of_cluster(kind)}
            )
        except ValueError as error:
            raise ConfigError(f"cluster kind {error}") from error


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
    require_apart({"fixed": settings.fixed, "space": settings.space}, base, path)
    content = base.model_dump(mode="json", exclude_none=True)
    content = merged(content, changes_of(base, settings.fixed, path))
    parse_settings(content, path, Recipe)
    for key, values in settings.space.items():
        for value in values.ends:
            parse_settings(merged(content, changes_of(base, {key: value}, path)), path, Recipe)
    return settings


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
    changes = changes_of(base, {**settings.fixed, **values}, settings.recipe_path)
    start = str(changes.get("fit", {}).get("start_from", ""))
    if start.endswith(SUFFIX):  # a path, and a trial's recipe lies in a folder of its own
        changes["fit"]["start_from"] = str(settings.path(start))
    if "stretch" in changes:  # what a recipe extends gives all of it or nothing
        stretch = {band: dict(keys) for band, keys in base.stretch.items()}
        changes["stretch"] = merged(stretch, changes["stretch"])
    return {
        "extends": str(settings.recipe_path),
        "name": name,
        "description": f"Trial of the search {settings.name}. {base.description}",
        "out": ".",
        **changes,
    }
