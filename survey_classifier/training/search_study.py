"""The study of a search: which trials there were, what they were of, and what is tried next.

Owns the journal in which all trials are remembered, and how values are drawn. Does not own a trial
(``trials``), the values that may be drawn (``search_space``) nor the order of the work
(``search``).
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from survey_classifier.errors import ConfigError, RunError, RunMismatchError
from survey_classifier.files import replacing
from survey_classifier.model.checkpoint import file_digest
from survey_classifier.model.shipped import resolve_checkpoint
from survey_classifier.training.identity import data_digests
from survey_classifier.training.recipes import read_recipe
from survey_classifier.training.search_settings import START, SearchSettings
from survey_classifier.training.search_space import Choice, Range, Value

try:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler, TPESampler
    from optuna.storages.journal import JournalFileBackend
    from optuna.trial import FrozenTrial, Trial, TrialState
except ImportError as _error:
    raise ConfigError("search needs Optuna; install survey-classifier[search]") from _error

__all__ = [
    "METRICS",
    "REASON",
    "RECIPE",
    "SECONDS",
    "interrupted",
    "n_counted",
    "note",
    "open_study",
    "suggested",
    "told",
    "what_it_is_of",
]

METRICS, SECONDS, REASON, RECIPE = "metrics", "seconds", "reason", "recipe"
"""What is noted of each trial."""
JOURNAL = "study.journal"
OF = "of"
"""What is noted of the study: names and digests of all that a trial's figures depend on."""


class _Sampler(BaseSampler):
    """Draws by the seed, the trial's number and what other trials have come to, and nothing else.

    A sampler that keeps a random state would draw otherwise in a search that was stopped.

    Parameters
    ----------
    seed
        Of the search.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def _of(self, trial: FrozenTrial, name: str = "") -> TPESampler:
        said = f"{self._seed} {trial.number} {name}"
        return TPESampler(seed=int(hashlib.sha256(said.encode()).hexdigest()[:8], 16))

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """See Optuna."""
        return self._of(trial).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """See Optuna."""
        return self._of(trial).sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:  # noqa: ANN401 - any value
        """See Optuna."""
        sampler = self._of(trial, param_name)
        return sampler.sample_independent(study, trial, param_name, param_distribution)


def what_it_is_of(settings: SearchSettings) -> dict[str, str]:
    """Return the digest of each thing that a trial's figures, or the choice of trials, depend on.

    Parameters
    ----------
    settings
        The search.

    Raises
    ------
    ConfigError, SourcesError, MosaicError, CheckpointError
        If the recipe or its data can't be read.
    """
    said = settings.model_dump(mode="json", include={"objective", "seed", "fixed", "space"})
    base = read_recipe(settings.recipe_path)
    # As it stands, with what it takes from others.
    recipe = base.model_dump_json(exclude={"name", "description", "out", "extends"})
    digests = {key: _digest(json.dumps(value, sort_keys=True)) for key, value in said.items()}
    digests["recipe"] = _digest(recipe)
    for data in base.data:
        digests |= data_digests(base, data)
    if base.fit.start_from:
        digests[START] = file_digest(resolve_checkpoint(base.fit.start_from, base.path("."), START))
    for start in settings.starts:
        digests[start] = file_digest(resolve_checkpoint(start, settings.path("."), START))
    return digests


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def open_study(settings: SearchSettings, of: dict[str, str]) -> optuna.Study:
    """Return the study of the search's folder, a new one if there is none.

    Parameters
    ----------
    settings
        The search.
    of
        From `what_it_is_of`.

    Raises
    ------
    RunMismatchError
        If the folder holds a study of something else.
    RunError
        If its journal is damaged.
    OSError
        If it can't be written.
    """
    folder = settings.out_folder
    mend_journal(folder / JOURNAL)
    with _quiet():
        storage = optuna.storages.JournalStorage(JournalFileBackend(str(folder / JOURNAL)))
        names = optuna.get_all_study_names(storage)
        if names and settings.name not in names:
            raise _of_another(folder, [f"name, {names[0]}"])
        study = optuna.create_study(
            study_name=settings.name,
            storage=storage,
            sampler=_Sampler(settings.seed),
            direction=settings.direction,
            load_if_exists=True,
        )
    known = study.user_attrs.get(OF, {})
    if not study.trials and not known:
        study.set_user_attr(OF, of)
    elif known != of:
        names = [*of, *(known.keys() - of.keys())]
        raise _of_another(folder, [name for name in names if known.get(name) != of.get(name)])
    return study


def mend_journal(path: Path) -> None:
    """Take off a last line that was not written whole, as where the power failed.

    What it told had not happened for anybody yet: it is done again.

    Parameters
    ----------
    path
        Of the journal; it need not be there.

    Raises
    ------
    RunError
        If another line can't be read.
    OSError
        If it can't be written.
    """
    if not path.is_file():
        return
    lines = path.read_bytes().splitlines(keepends=True)
    for number, line in enumerate(lines, 1):
        try:
            json.loads(line)
            is_whole = line.endswith(b"\n")
        except ValueError:
            is_whole = False
        if is_whole:
            continue
        if number < len(lines):
            raise RunError(
                f"line {number} of {path} can't be read; put the file back from a copy, or remove "
                "the folder to begin anew"
            )
        with replacing(path) as temporary:
            temporary.write_bytes(b"".join(lines[:-1]))


def _of_another(folder: Path, things: Sequence[str]) -> RunMismatchError:
    """Return what is said where trials would be compared that can't be."""
    return RunMismatchError(
        f"{folder} holds a study of another {', '.join(things)}; put that back, choose another"
        " 'out', or remove the folder"
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Optuna from telling on the terminal what we tell."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def interrupted(study: optuna.Study) -> list[Trial]:
    """Return the trials that were under way when an earlier call was stopped.

    Parameters
    ----------
    study
        Of which this process alone asks for trials.
    """
    running = study.get_trials(states=(TrialState.RUNNING,))
    # Optuna has no public way to take one up under its own number.
    return [Trial(study, trial._trial_id) for trial in running]  # noqa: SLF001


def note(
    study: optuna.Study, trial: Trial, value: float | None, attributes: Mapping[str, Any]
) -> None:
    """Note what came of a trial.

    Parameters
    ----------
    study
        The study.
    trial
        The trial.
    value
        Of the objective; None if it failed.
    attributes
        By `METRICS`, `SECONDS` and, if it failed, `REASON`.
    """
    for name, attribute in attributes.items():
        trial.set_user_attr(name, attribute)
    with _quiet():
        study.tell(trial, value, TrialState.FAIL if value is None else None)


def told(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that have an outcome: a value, or a reason why there is none."""
    return [t for t in study.trials if t.state is TrialState.COMPLETE or REASON in t.user_attrs]


def n_counted(study: optuna.Study) -> int:
    """Return how many trials count: those with an outcome, and those under way."""
    return len(told(study)) + len(study.get_trials(states=(TrialState.RUNNING,)))


def suggested(trial: Trial, settings: SearchSettings) -> dict[str, Value]:
    """Return the values of a trial; those that it has not yet are drawn."""
    return {key: _one(trial, key, values) for key, values in settings.space.items()}


def _one(trial: Trial, key: str, values: Choice | Range) -> Value:
    if isinstance(values, Choice):
        chosen: Value = trial.suggest_categorical(key, values.choice)  # type: ignore[assignment]
        return chosen
    if values.is_whole:
        step = int(values.step or 1)
        return trial.suggest_int(key, int(values.low), int(values.high), step=step, log=values.log)
    return trial.suggest_float(key, values.low, values.high, step=values.step, log=values.log)
