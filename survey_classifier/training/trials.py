"""One trial of a search: a recipe, its training and what came of it.

Owns a trial's folder and what is told of it. Does not own the training (``fit``) nor which trials
there are (``search``).
"""

import hashlib
import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import tomli_w

from survey_classifier.errors import SurveyClassifierError
from survey_classifier.files import write_text
from survey_classifier.model.checkpoint import read_card
from survey_classifier.training.fit import train
from survey_classifier.training.recipes import read_recipe
from survey_classifier.training.search_settings import SearchSettings, Value, trial_recipe

__all__ = ["Outcome", "prepare_trial", "run_trial"]

ONE_AT_A_TIME = threading.Lock()
"""Fits draw from a random state that a process has once: two at once would not be repeatable."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a trial."""

    metrics: dict[str, float] = field(default_factory=dict)
    """Figures of the card; none if the trial failed."""
    seconds: float = 0.0
    """Wall-clock of this call."""
    reason: str = ""
    """Why it failed, in a line."""


def prepare_trial(settings: SearchSettings, values: Mapping[str, Value]) -> Path:
    """Write the recipe of a trial, in a folder of its own, and return its path.

    The folder's name is made of the values: the same trial is never trained twice, and one that
    was interrupted goes on.

    Parameters
    ----------
    settings
        The search.
    values
        By key of the recipe.

    Raises
    ------
    OSError
        If it can't be written.
    """
    said = json.dumps([settings.fixed, dict(values)], sort_keys=True)
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
    start = time.perf_counter()
    with ONE_AT_A_TIME:
        try:
            checkpoint = read_recipe(recipe_path).checkpoint_path
            if not checkpoint.is_file():
                train(recipe_path)
            metrics = dict(read_card(checkpoint).metrics)
        except SurveyClassifierError as error:
            return Outcome(seconds=time.perf_counter() - start, reason=str(error))
    return Outcome(metrics, time.perf_counter() - start)
