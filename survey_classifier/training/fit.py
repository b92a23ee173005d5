"""The training procedure: from a recipe to a checkpoint with honest figures.

Owns the order of the work and the files that come of it. Does not own the fit of one network
(``optimize``), which fits there are (``judgment``) or the objects (``dataset``).
"""

import csv
import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from survey_classifier.errors import RunError
from survey_classifier.files import replacing
from survey_classifier.model.card import DataDigest
from survey_classifier.model.checkpoint import save_checkpoint
from survey_classifier.model.network import Network
from survey_classifier.run.claim import locked
from survey_classifier.training.dataset import TrainingSet, load_training_set
from survey_classifier.training.judgment import Judged, by_folds, by_parts
from survey_classifier.training.lessons import Lesson
from survey_classifier.training.log import Log, Progress, opened_log
from survey_classifier.training.optimize import Task, fit_network
from survey_classifier.training.recipes import Recipe, read_recipe
from survey_classifier.training.samples import Samples
from survey_classifier.training.stages import fit_in_stages
from survey_classifier.training.start import Start, read_start
from survey_classifier.training.state import FitState
from survey_classifier.training.team import Team, gathered_team

__all__ = ["train"]

SEEN = "_seen"
"""End of the names of figures of objects that the first weights were fitted to."""


def train(
    recipe_path: Path,
    progress: Progress | None = None,
    device: str = "auto",
    say: Callable[[str], None] = lambda _: None,
) -> Path:
    """Train a network by a recipe and write its checkpoint.

    Beside the checkpoint ``NAME.safetensors`` come ``NAME.csv``, the loss of each epoch, and
    ``NAME-out-of-fold.csv``, what networks that had not seen an object say of it. Where the
    weights that they started from had seen the objects, the figures' names end in ``_seen``, and
    the table has a column ``fold_seen`` in place of ``fold``. A training that was interrupted goes
    on where it was; until the end its state is in ``NAME.state``.

    Parameters
    ----------
    recipe_path
        The recipe.
    progress
        Called after each epoch.
    device
        ``auto``, ``cpu`` or ``cuda``. Processes started by ``torchrun`` fit together.
    say
        Called with a line of figures for each kind of objects that the network was judged on, and
        with the checkpoint's path, in the process that leads.

    Returns
    -------
    Path
        The checkpoint.

    Raises
    ------
    ConfigError
        If the recipe has a wrong key or value.
    SourcesError, MosaicError, CheckpointError
        If the data, or the checkpoint to start from, can't be used.
    RunMismatchError
        If an interrupted training was of another recipe or other data, or another process trains
        by the recipe.
    RunError
        If the fit fails or a file can't be written.
    """
    recipe = read_recipe(recipe_path)
    card = recipe.draft_card()
    start = read_start(recipe, card)
    data = load_training_set(recipe, card)
    with gathered_team(device) as team, _claimed(recipe, team):
        task = Task(data, card, recipe.fit, team, start.weights)
        fingerprint = _fingerprint(recipe, (*data.digests, *start.checkpoint), team.size)
        log_path = recipe.log_path if team.leads else None
        with opened_log(log_path, _n_epoch(recipe), progress) as log:
            judged = _judge(recipe, task, fingerprint, log)
        if judged is not None:
            for line in _write(recipe, data, start, judged):
                say(line)
    return recipe.checkpoint_path


@contextmanager
def _claimed(recipe: Recipe, team: Team) -> Iterator[None]:
    """Keep the training for one process at a time, or one team: the one that leads asks."""
    if not team.leads:
        yield
        return
    try:
        lock = locked(recipe.state_folder / ".lock", recipe.state_folder)
    except OSError as error:
        raise _unwritable(recipe.state_folder, error) from error
    with lock:
        yield


def _write(recipe: Recipe, data: TrainingSet, start: Start, judged: Judged) -> list[str]:
    """Write what came of a training, and return the lines that tell of it."""
    metrics, description, notes = judged.metrics, recipe.description, []
    seen = start.seen(data.digests)
    if seen:
        had_seen = f"first weights, of {start.checkpoint[0].name}, had seen {', '.join(seen)}"
        better = f"figures '{SEEN[1:]}' are better than they would be of other objects"
        metrics = {f"{name}{SEEN}": value for name, value in metrics.items()}
        description = f"{description} Its {had_seen}: {better}."
        notes = [f"note: the {had_seen}; {better}"]
    _write_predictions(recipe, data, judged, "fold_seen" if seen else "fold")
    novelty, novelty_fit = judged.novelty
    card = recipe.draft_card(
        description=description,
        temperature=judged.temperature,
        novelty=novelty_fit,
        prevalence=data.prevalence,
        data=start.inherited(data.digests),
        metrics=metrics,
    )
    save_checkpoint(recipe.checkpoint_path, judged.network, card, novelty)
    shutil.rmtree(recipe.state_folder)
    return [*_summary(metrics), *notes, f"checkpoint: {recipe.checkpoint_path}"]


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


def _write_predictions(recipe: Recipe, data: TrainingSet, judged: Judged, fold_name: str) -> None:
    """Write what was said of each object by a network that had not seen it.

    ``p_err`` is how far its views disagree on the member probability; empty where there is one.
    """
    labels, classes, path = data.labels, recipe.labels.classes, recipe.predictions_path
    columns = judged.samples.rows, judged.fold, judged.probability, judged.p_err
    try:
        with (
            replacing(path) as temporary,
            temporary.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.writer(file, lineterminator="\n")
            names = (f"p_{name}" for name in classes)
            writer.writerow(["id", "ra", "dec", "class", fold_name, *names, "p_err"])
            for row, fold, probability, p_err in zip(*columns, strict=True):
                writer.writerow(
                    [
                        labels.object_id[row],
                        f"{labels.ra_deg[row]:.7f}",
                        f"{labels.dec_deg[row]:.7f}",
                        classes[labels.label[row]],
                        fold,
                        *(f"{p:.6f}" for p in probability),
                        "" if np.isnan(p_err) else f"{p_err:.6f}",
                    ]
                )
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> RunError:
    """Return what is said of a file or folder that can't be written."""
    return RunError(f"{path} can't be written ({error.strerror}); change 'out'")
