"""The training procedure: from a recipe to a checkpoint with honest figures.

Owns the order of the work and what is written in the end. Does not own the fit of one network
(``optimize``), which fits there are (``judgment``), the objects (``dataset``), what scores are
worth (``hindsight``) or what is refused before any work (``outputs``).
"""

import csv
import hashlib
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np

from survey_classifier.errors import RunError, once_written
from survey_classifier.files import replacing
from survey_classifier.model.card import DataDigest, ModelCard
from survey_classifier.model.checkpoint import save_checkpoint
from survey_classifier.model.network import Network
from survey_classifier.training.dataset import TrainingSet, load_training_set
from survey_classifier.training.hindsight import SEEN, Hindsight, hindsight
from survey_classifier.training.identity import identity
from survey_classifier.training.judgment import Judged, by_folds, by_parts
from survey_classifier.training.lessons import Lesson
from survey_classifier.training.log import Log, Progress, opened_log
from survey_classifier.training.optimize import Task, fit_network
from survey_classifier.training.outputs import (
    PREDICTIONS_HEADER,
    claimed,
    finished,
    require_outputs,
)
from survey_classifier.training.recipes import Recipe, read_recipe
from survey_classifier.training.samples import Samples
from survey_classifier.training.stages import fit_in_stages
from survey_classifier.training.start import Start, read_start
from survey_classifier.training.state import FitState
from survey_classifier.training.team import Team, gathered_team

__all__ = ["train"]


def train(
    recipe_path: Path,
    progress: Progress | None = None,
    device: str = "auto",
    say: Callable[[str], None] = lambda _: None,
    *,
    overwrite: bool = False,
) -> Path:
    """Train a network by a recipe and write its checkpoint.

    Beside the checkpoint ``NAME.safetensors`` come ``NAME-log.csv``, the loss of each epoch, and
    ``NAME-out-of-fold.csv``, what networks say of objects; its column ``seen`` tells whether one
    had been trained on the object, itself or by the weights that it started from. The names of
    figures of such objects end in ``_seen``. A training that was interrupted goes on where it was;
    until the end its state is in ``NAME.state``. One that is finished is not done again.

    Parameters
    ----------
    recipe_path
        The recipe.
    progress
        Called after each epoch.
    device
        ``auto``, ``cpu`` or ``cuda``. Processes started by ``torchrun`` fit together.
    say
        Called, in the process that leads, with a line on the rows of each table, one of figures for
        each kind of objects that the network was judged on, and one on the checkpoint.
    overwrite
        Whether to train again what is finished, by this recipe or another.

    Returns
    -------
    Path
        The checkpoint.

    Raises
    ------
    ConfigError
        If the recipe has a wrong key or value, or its outputs would be written over something else.
    SourcesError, MosaicError, CheckpointError
        If the data, or the checkpoint to start from, can't be used.
    RunMismatchError
        If what is there was of another recipe or other data, or another process trains by it.
    RunError
        If the fit fails or a file can't be written.
    """
    recipe = read_recipe(recipe_path)
    require_outputs(recipe)
    with gathered_team(device) as team:
        tell = say if team.leads else lambda _: None
        card = recipe.draft_card()
        start = read_start(recipe, card)
        own = identity(recipe, start.checkpoint)
        done = None if overwrite else finished(recipe, own)
        if done is None:
            _train(recipe, card, start, own, team, progress, tell)
        for line in [] if done is None else _told_again(recipe, done):
            tell(line)
    return recipe.checkpoint_path


def _train(
    recipe: Recipe,
    card: ModelCard,
    start: Start,
    own: str,
    team: Team,
    progress: Progress | None,
    say: Callable[[str], None],
) -> None:
    """Do the work."""
    data = load_training_set(recipe, card)
    for roll in data.rolls:
        say(roll.line)
    has_begun = False

    def note(n_done: int, n_epoch: int) -> None:
        nonlocal has_begun
        has_begun = True
        if progress is not None:
            progress(n_done, n_epoch)

    with once_written(lambda: has_begun), claimed(recipe) if team.leads else nullcontext():
        task = Task(data, card, recipe.fit, team, start.weights)
        fingerprint = _fingerprint(recipe, (*data.digests, *start.checkpoint), team.size)
        with opened_log(recipe.log_path if team.leads else None, _n_epoch(recipe), note) as log:
            judged = _judge(recipe, task, fingerprint, log)
        if judged is not None:
            for line in _write(recipe, data, start, judged, own):
                say(line)


def _told_again(recipe: Recipe, done: ModelCard) -> list[str]:
    """Return the lines that tell of a training that is finished."""
    return [
        f"{recipe.checkpoint_path.name} is there already, by this recipe and of these data;"
        " --overwrite trains it again",
        *_summary(done.metrics),
        f"checkpoint: {recipe.checkpoint_path}",
    ]


def _write(recipe: Recipe, data: TrainingSet, start: Start, judged: Judged, own: str) -> list[str]:
    """Write what came of a training, and return the lines that tell of it."""
    known = hindsight(recipe, data, start, judged)
    _write_predictions(recipe, data, judged, known)
    novelty, novelty_fit = judged.novelty
    card = recipe.draft_card(
        description=" ".join([recipe.description, *(f"Note: {note}." for note in known.notes)]),
        temperature=judged.temperature,
        novelty=novelty_fit,
        prevalence=data.prevalence,
        data=start.inherited(data.digests),
        metrics=known.metrics,
        trained_by=own,
    )
    save_checkpoint(recipe.checkpoint_path, judged.network, card, novelty)
    shutil.rmtree(recipe.state_folder)
    notes = [f"note: {note}" for note in known.notes]
    return [*_summary(known.metrics), *notes, f"checkpoint: {recipe.checkpoint_path}"]


def _summary(metrics: dict[str, float]) -> list[str]:
    """Return a line for each kind of objects that was judged."""
    return [
        f"{of.replace('_', ' ')}: {_counted(metrics, of)}: AUC {metrics[f'auc_{of}']:.4f},"
        f" accuracy {metrics[f'accuracy_{of}']:.3f}, Brier {metrics[f'brier_{of}']:.4f},"
        f" ECE {metrics[f'calibration_error_{of}']:.4f}"
        for kind in ("out_of_fold", "test", "second_sample")
        for of in (kind, kind + SEEN)
        if f"auc_{of}" in metrics
    ]


def _counted(metrics: dict[str, float], of: str) -> str:
    """Say of how many objects figures are, and how many of them are members."""
    n, n_member = metrics[f"n_{of}"], metrics[f"n_member_{of}"]
    n_object = metrics.get(f"n_object_{of}", n)
    if n_object < n:
        return f"{n:.0f} turned copies of {n_object:.0f} objects, {n_member:.0f} of members"
    return f"{n:.0f} objects, {n_member:.0f} members"


def _judge(recipe: Recipe, task: Task, fingerprint: str, log: Log) -> Judged | None:
    """Fit and judge as the recipe's split says."""

    def fit(samples: Samples, name: str) -> Network:
        def stage(of: Task, seen: Samples, lesson: Lesson, suffix: str) -> Network:
            called = name + suffix
            state = FitState(recipe.state_folder / f"{called}.safetensors", fingerprint)
            return fit_network(of, seen, state, lambda epoch: log(called, epoch), lesson)

        return fit_in_stages(task, samples, stage)

    way = by_folds if recipe.split.kind == "strips" else by_parts
    return way(task, recipe.split, fit)


def _n_epoch(recipe: Recipe) -> int:
    """Return the number of epochs of all fits."""
    n_fit = recipe.split.n_folds + 1 if recipe.split.kind == "strips" else 1
    return n_fit * recipe.fit.n_epoch


def _fingerprint(recipe: Recipe, digests: tuple[DataDigest, ...], n_process: int) -> str:
    """Return a digest of all that the fits' results depend on."""
    said = recipe.model_dump_json(exclude={"name", "description", "out", "extends"})
    known = [said, *(digest.sha256 for digest in digests), str(n_process)]
    return hashlib.sha256("\n".join(known).encode()).hexdigest()


def _write_predictions(recipe: Recipe, data: TrainingSet, judged: Judged, known: Hindsight) -> None:
    """Write what was said of each object, and whether by a network that had seen it.

    ``p_err`` is how far its views disagree on the member probability; empty where there is one.
    """
    labels, classes, path = data.labels, recipe.labels.classes, recipe.predictions_path
    seen = np.select([known.seen, known.is_unsure], ["yes", "unknown"], "no")
    columns = judged.samples.rows, judged.fold, seen, judged.probability, judged.p_err
    try:
        with (
            replacing(path) as temporary,
            temporary.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.writer(file, lineterminator="\n")
            names = (f"p_{name}" for name in classes)
            writer.writerow([*PREDICTIONS_HEADER, "fold", "seen", *names, "p_err"])
            for row, fold, said, probability, p_err in zip(*columns, strict=True):
                writer.writerow(
                    [
                        labels.object_id[row],
                        f"{labels.ra_deg[row]:.7f}",
                        f"{labels.dec_deg[row]:.7f}",
                        classes[labels.label[row]],
                        fold,
                        said,
                        *(f"{p:.6f}" for p in probability),
                        "" if np.isnan(p_err) else f"{p_err:.6f}",
                    ]
                )
    except OSError as error:
        raise RunError(f"{path} can't be written ({error.strerror}); change 'out'") from error
