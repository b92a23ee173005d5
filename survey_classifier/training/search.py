"""The search for good hyper-parameters: trials of a recipe, and a table of what came of them.

Owns the order of the work and the table. Does not own the study that remembers the trials
(``search_study``), a trial (``trials``), the keys of the search file (``search_settings``) nor the
workers (``run.cluster``).
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from survey_classifier.catalog.tables import markdown_table, write_columns
from survey_classifier.errors import ConfigError, RunError
from survey_classifier.files import write_text
from survey_classifier.run.claim import locked
from survey_classifier.run.cluster import Workers, open_workers
from survey_classifier.training.search_settings import SearchSettings, read_search
from survey_classifier.training.search_space import Value
from survey_classifier.training.search_study import (
    METRICS,
    REASON,
    RECIPE,
    SECONDS,
    interrupted,
    n_counted,
    note,
    open_study,
    suggested,
    told,
    what_it_is_of,
)
from survey_classifier.training.trials import Outcome, prepare_trial, run_trial

if TYPE_CHECKING:
    from optuna import Study, Trial

__all__ = ["SearchResult", "search"]

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class SearchResult:
    """A finished search."""

    table: Path
    """All trials, Parquet; beside it the same as Markdown."""
    best_recipe: Path
    best_value: float
    best_values: dict[str, Value]


def search(path: Path, cluster: str | None = None, say: Say | None = None) -> SearchResult:
    """Train the trials of a search file, or those that are missing, and write their table.

    Parameters
    ----------
    path
        The search file.
    cluster
        Takes the place of ``cluster.kind``.
    say
        Called with a line on each trial.

    Raises
    ------
    ConfigError
        If the file, or its recipe, has a wrong key or value, or nothing can be written there.
    SourcesError, MosaicError, CheckpointError
        If the recipe's data can't be read.
    RunMismatchError
        If the folder holds a study of another recipe, other data or other keys, or another process
        works on it.
    ClusterError
        If there is no such cluster.
    RunError
        If every trial failed, or the results can't be written.
    """
    say = say or (lambda _: None)
    settings = read_search(path)
    where = settings.cluster_on(cluster)
    of = what_it_is_of(settings)
    with _claimed(settings):
        try:
            study = open_study(settings, of)
            with open_workers(where.kind, where.n_workers) as workers:
                _run(study, settings, of, workers, say)
            table = _write(study, settings)
        except OSError as error:
            raise RunError(
                f"cannot write into {settings.out_folder}: {error}; change 'out'"
            ) from error
    done = [trial for trial in told(study) if trial.value is not None]
    if not done:
        reason = told(study)[0].user_attrs[REASON]
        raise RunError(f"every trial of {settings.name} failed, the first so: {reason}")
    best = study.best_trial
    return SearchResult(table, Path(best.user_attrs[RECIPE]), study.best_value, dict(best.params))


def _claimed(settings: SearchSettings) -> AbstractContextManager[object]:
    """Keep the folder for one process: what another has under way would pass for interrupted."""
    folder = settings.out_folder
    try:
        return locked(folder / ".lock", folder)
    except OSError as error:
        raise ConfigError(f"cannot write into {folder}: {error.strerror}; change 'out'") from error


def _run(
    study: "Study", settings: SearchSettings, of: dict[str, str], workers: Workers, say: Say
) -> None:
    """Train until there are as many trials as wanted, as many at once as there are workers."""
    under_way: dict[int, tuple[Trial, Path]] = {}
    waiting = interrupted(study)
    while True:
        while len(under_way) < workers.n and (waiting or n_counted(study) < settings.n_trials):
            trial = waiting.pop(0) if waiting else study.ask()
            recipe = prepare_trial(settings, suggested(trial, settings), of)
            trial.set_user_attr(RECIPE, str(recipe))
            under_way[trial.number] = trial, recipe
            workers.submit(trial.number, run_trial, recipe)
        if not under_way:
            return
        number, outcome = workers.next_done()
        _tell(study, under_way.pop(number)[0], outcome, settings, say)


def _tell(
    study: "Study", trial: "Trial", outcome: Outcome, settings: SearchSettings, say: Say
) -> None:
    """Write what came of a trial into the study."""
    known = {SECONDS: outcome.seconds, METRICS: outcome.metrics}
    value = _objective(outcome, settings.objective)
    values = ", ".join(f"{key} = {v}" for key, v in trial.params.items())
    if value is None or not np.isfinite(value):
        reason = outcome.reason or _no_value(value, settings.objective)
        note(study, trial, None, {**known, REASON: reason})
        say(f"trial {trial.number} ({values}) failed: {reason}")
        return
    note(study, trial, value, known)
    say(f"trial {trial.number} ({values}): {settings.objective} {value:.4f}")


def _no_value(value: float | None, objective: str) -> str:
    """Say why there is nothing to compare."""
    if value is None:
        return f"it has no {objective} of objects that its first weights had not seen"
    return f"its {objective} is {value}"


def _objective(outcome: Outcome, name: str) -> float | None:
    """Return a figure of objects that the network had not seen."""
    for of in ("out_of_fold", "test"):
        if f"{name}_{of}" in outcome.metrics:
            return outcome.metrics[f"{name}_{of}"]
    return None


def _write(study: "Study", settings: SearchSettings) -> Path:
    """Write the table of trials, the best first, as Parquet and Markdown."""
    sign = -1 if settings.direction == "maximize" else 1
    trials = sorted(told(study), key=lambda t: (t.value is None, sign * (t.value or 0.0), t.number))
    metrics = sorted({name for trial in trials for name in trial.user_attrs.get(METRICS, {})})
    rows = [
        {
            "trial": trial.number,
            settings.objective: np.nan if trial.value is None else trial.value,
            **{key: trial.params.get(key, "") for key in settings.space},
            **{name: trial.user_attrs[METRICS].get(name, np.nan) for name in metrics},
            "seconds": round(trial.user_attrs[SECONDS], 1),
            "recipe": trial.user_attrs[RECIPE],
            "failed": trial.user_attrs.get(REASON, ""),
        }
        for trial in trials
    ]
    header = list(rows[0]) if rows else []
    columns = {name: np.array([row[name] for row in rows]) for name in header}
    table = settings.out_folder / "trials.parquet"
    write_columns(table, columns, {"study": settings.name, "objective": settings.objective})
    shown = [name for name in header if name not in metrics and name != "recipe"]
    text = markdown_table(shown, [[row[name] for name in shown] for row in rows])
    intro = (
        f"# {settings.name}\n\n{len(rows)} trials of {settings.recipe_path.name}, the best first by"
        f" {settings.objective} on objects not seen. The best of many trials looks better than it"
        " is: judge it on objects that had no part in the choice. Seconds are those of a trial's"
        " epochs, in all calls.\n\n"
    )
    write_text(settings.out_folder / "trials.md", intro + text)
    return table
