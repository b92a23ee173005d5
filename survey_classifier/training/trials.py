"""One trial of a search: a recipe, its training and what came of it.

Owns a trial's folder and what is told of it. Does not own the training (``fit``) nor which trials
there are (``search``).
"""

import csv
import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import tomli_w

from survey_classifier.errors import SurveyClassifierError
from survey_classifier.files import write_text
from survey_classifier.model.checkpoint import read_card
from survey_classifier.training.fit import train
from survey_classifier.training.recipes import read_recipe
from survey_classifier.training.search_settings import SearchSettings, trial_recipe
from survey_classifier.training.search_space import Value

__all__ = ["Outcome", "prepare_trial", "run_trial"]

ONE_AT_A_TIME = threading.Lock()
"""Fits draw from a random state that a process has once: two at once would not be repeatable."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a trial."""

    metrics: dict[str, float] = field(default_factory=dict)
    """Figures of the card; none if the trial failed."""
    seconds: float = 0.0
    """Wall-clock of its epochs, also of those of earlier calls."""
    reason: str = ""
    """Why it failed, in a line."""


def prepare_trial(
    settings: SearchSettings, values: Mapping[str, Value], of: Mapping[str, str]
) -> Path:
    """Write the recipe of a trial, in a folder of its own, and return its path.

    The folder's name is made of the values and of what the search is of: the same trial is never
    trained twice, and one that was interrupted goes on.

    Parameters
    ----------
    settings
        The search.
    values
        By key of the recipe.
    of
        Digests of all else that the trial's figures depend on.

    Raises
    ------
    OSError
        If it can't be written.
    """
    said = json.dumps([dict(of), dict(values)], sort_keys=True)
    name = f"trial-{hashlib.sha256(said.encode()).hexdigest()[:10]}"
    path = settings.out_folder / "trials" / name / "recipe.toml"
    write_text(path, tomli_w.dumps(trial_recipe(settings, name, values)))
    return path


def run_trial(recipe_path: Path) -> Outcome:
    """Train by a trial's recipe, if that was not done before, and return the card's figures.

    An error of ours is an outcome, too: one recipe that can't be fitted does not end a search.

    Parameters
    ----------
    recipe_path
        From `prepare_trial`.
    """
    with ONE_AT_A_TIME:
        log = Path()
        try:
            recipe = read_recipe(recipe_path)
            log = recipe.log_path
            if not recipe.checkpoint_path.is_file():
                train(recipe_path)
            metrics = dict(read_card(recipe.checkpoint_path).metrics)
        except SurveyClassifierError as error:
            return Outcome(seconds=_seconds(log), reason=str(error))
    return Outcome(metrics, _seconds(log))


def _seconds(log: Path) -> float:
    """Return how long the epochs of a training's log took, 0 where there is no log."""
    if not log.is_file():
        return 0.0
    with log.open(newline="", encoding="utf-8") as file:
        return sum(float(row["seconds"]) for row in csv.DictReader(file))
