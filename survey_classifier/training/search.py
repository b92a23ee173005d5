"""The search for good hyper-parameters: trials of a recipe, and a study that remembers them.

Owns the study and the table of results. Does not own a trial (``trials``), the keys of the search
file (``search_settings``) nor the workers (``run.cluster``). The study is a journal of Optuna: a
search that was interrupted, or is to have more trials, goes on where it was.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from survey_classifier.catalog.tables import markdown_table, write_columns
from survey_classifier.errors import ConfigError, RunError, RunMismatchError
from survey_classifier.files import write_text
from survey_classifier.run.cluster import Workers, open_workers
from survey_classifier.sources.digest import table_digest
from survey_classifier.training.recipes import read_recipe
from survey_classifier.training.search_settings import (
    Choice,
    Range,
    SearchSettings,
    Value,
    read_search,
)
from survey_classifier.training.trials import Outcome, prepare_trial, run_trial

try:
    import optuna
    from optuna.storages.journal import JournalFileBackend
    from optuna.trial import TrialState
except ImportError as _error:
    raise ConfigError("search needs Optuna; install survey-classifier[search]") from _error

__all__ = ["SearchResult", "search"]

Say = Callable[[str], None]

FINGERPRINT, METRICS, SECONDS, REASON, RECIPE = (
    "fingerprint",
    "metrics",
    "seconds",
    "reason",
    "recipe",
)


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
        If the file, or its recipe, has a wrong key or value.
    SourcesError
        If a table of the recipe can't be read.
    RunMismatchError
        If the folder holds a study of another recipe, other tables or other keys.
    ClusterError
        If there is no such cluster.
    RunError
        If every trial failed, or the results can't be written.
    """
    say = say or (lambda _: None)
    settings = read_search(path)
    kind = settings.cluster.kind if cluster is None else cluster
    try:
        settings.out_folder.mkdir(parents=True, exist_ok=True)
        study = _study(settings)
        _forget_interrupted(study)
        with open_workers(kind, settings.cluster.n_workers) as workers:
            _run(study, settings, workers, say)
        table = _write(study, settings)
    except OSError as error:
        raise RunError(f"cannot write into {settings.out_folder}: {error}; change 'out'") from error
    done = [trial for trial in study.trials if trial.state is TrialState.COMPLETE]
    if not done:
        reason = next(t.user_attrs[REASON] for t in study.trials if REASON in t.user_attrs)
        raise RunError(f"every trial of {settings.name} failed, the first so: {reason}")
    best = study.best_trial
    return SearchResult(table, Path(best.user_attrs[RECIPE]), study.best_value, dict(best.params))


def _study(settings: SearchSettings) -> optuna.Study:
    """Return the study of the folder, a new one if there is none."""
    with _quiet():
        storage = optuna.storages.JournalStorage(
            JournalFileBackend(str(settings.out_folder / "study.journal"))
        )
        study = optuna.create_study(
            study_name=settings.name,
            storage=storage,
            direction=settings.direction,
            load_if_exists=True,
        )
    # A sampler that began anew would draw the first trials again.
    study.sampler = optuna.samplers.TPESampler(seed=settings.seed + len(study.trials))
    said = settings.model_dump(mode="json", include={"objective", "fixed", "space"})
    base = read_recipe(settings.recipe_path)
    # As it stands, with what it takes from others, and what its tables hold.
    known = [
        json.dumps(said, sort_keys=True),
        base.model_dump_json(exclude={"name", "description", "out", "extends"}),
        *(table_digest(base.path(data.table)) for data in base.data),
    ]
    fingerprint = hashlib.sha256("\n".join(known).encode()).hexdigest()
    if study.user_attrs.setdefault(FINGERPRINT, fingerprint) != fingerprint:
        raise RunMismatchError(
            f"{settings.out_folder} holds a study of another recipe, table, space or objective;"
            " choose another 'out', or remove it"
        )
    study.set_user_attr(FINGERPRINT, fingerprint)
    return study


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Optuna from telling on the terminal what we tell."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def _forget_interrupted(study: optuna.Study) -> None:
    """Queue the trials again that were under way when an earlier call was stopped."""
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
        study.enqueue_trial(trial.params)


def _run(study: optuna.Study, settings: SearchSettings, workers: Workers, say: Say) -> None:
    """Train until there are as many trials as wanted, as many at once as there are workers."""
    under_way: dict[int, tuple[optuna.Trial, Path]] = {}
    while True:
        while len(under_way) < workers.n and _n_counted(study) < settings.n_trials:
            trial = study.ask()
            recipe = prepare_trial(settings, _suggested(trial, settings))
            trial.set_user_attr(RECIPE, str(recipe))
            under_way[trial.number] = trial, recipe
            workers.submit(trial.number, run_trial, recipe)
        if not under_way:
            return
        number, outcome = workers.next_done()
        _tell(study, under_way.pop(number)[0], outcome, settings, say)


def _n_counted(study: optuna.Study) -> int:
    """Return how many trials count: those done, under way, and those that failed for a reason."""
    return sum(
        trial.state in (TrialState.COMPLETE, TrialState.RUNNING) or REASON in trial.user_attrs
        for trial in study.trials
    )


def _suggested(trial: optuna.Trial, settings: SearchSettings) -> dict[str, Value]:
    """Return the values of a trial."""
    return {key: _one(trial, key, values) for key, values in settings.space.items()}


def _one(trial: optuna.Trial, key: str, values: Choice | Range) -> Value:
    if isinstance(values, Choice):
        chosen: Value = trial.suggest_categorical(key, values.choice)  # type: ignore[assignment]
        return chosen
    if values.is_whole:
        step = int(values.step or 1)
        return trial.suggest_int(key, int(values.low), int(values.high), step=step, log=values.log)
    return trial.suggest_float(key, values.low, values.high, step=values.step, log=values.log)


def _tell(
    study: optuna.Study, trial: optuna.Trial, outcome: Outcome, settings: SearchSettings, say: Say
) -> None:
    """Write what came of a trial into the study."""
    trial.set_user_attr(SECONDS, outcome.seconds)
    trial.set_user_attr(METRICS, outcome.metrics)
    value = _objective(outcome, settings.objective)
    values = ", ".join(f"{key} = {v}" for key, v in trial.params.items())
    with _quiet():
        if value is None or not np.isfinite(value):
            reason = outcome.reason or _no_value(value, settings.objective)
            trial.set_user_attr(REASON, reason)
            study.tell(trial, state=TrialState.FAIL)
            say(f"trial {trial.number} ({values}) failed: {reason}")
            return
        study.tell(trial, value)
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


def _write(study: optuna.Study, settings: SearchSettings) -> Path:
    """Write the table of trials, the best first, as Parquet and Markdown."""
    sign = -1 if settings.direction == "maximize" else 1
    told = [t for t in study.trials if t.state is TrialState.COMPLETE or REASON in t.user_attrs]
    trials = sorted(told, key=lambda t: (t.value is None, sign * (t.value or 0.0), t.number))
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
        " is: judge it on objects that had no part in the choice.\n\n"
    )
    write_text(settings.out_folder / "trials.md", intro + text)
    return table
