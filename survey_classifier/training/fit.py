"""The training procedure: from a recipe to a checkpoint with honest figures.

Owns the order of the work and the files that come of it. Does not own the fit of one network
(``optimize``), which fits there are (``judgment``) or the objects (``dataset``).
"""

import csv
import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from survey_classifier.errors import CheckpointError
from survey_classifier.model.card import DataDigest, ModelCard
from survey_classifier.model.checkpoint import (
    file_digest,
    load_network,
    resolve_checkpoint,
    save_checkpoint,
)
from survey_classifier.model.network import Network
from survey_classifier.training.dataset import TrainingSet, load_training_set
from survey_classifier.training.judgment import Judged, by_folds, by_parts
from survey_classifier.training.lessons import Lesson
from survey_classifier.training.log import Log, Progress, opened_log
from survey_classifier.training.optimize import Task, fit_network
from survey_classifier.training.recipes import Recipe, read_recipe
from survey_classifier.training.samples import Samples
from survey_classifier.training.stages import fit_in_stages
from survey_classifier.training.state import FitState
from survey_classifier.training.team import gathered_team

__all__ = ["train"]

START_FIELDS = ("architecture", "width", "transformer", "bands", "stamp_px")
"""What a checkpoint to start from must have in common with the recipe. Not the unit: what a network
sees is stretched, and so has none."""


def train(
    recipe_path: Path,
    progress: Progress | None = None,
    device: str = "auto",
    say: Callable[[str], None] = lambda _: None,
) -> Path:
    """Train a network by a recipe and write its checkpoint.

    Beside the checkpoint ``NAME.safetensors`` come ``NAME.csv``, the loss of each epoch, and
    ``NAME-out-of-fold.csv``, what networks that had not seen an object say of it. A training that
    was interrupted goes on where it was; until the end its state is in ``NAME.state``.

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
        If an interrupted training was of another recipe or other data.
    RunError
        If the fit fails or a file can't be written.
    """
    recipe = read_recipe(recipe_path)
    card = recipe.draft_card()
    start, origin = _start(recipe, card)
    data = load_training_set(recipe, card)
    digests = (*data.digests, *origin)
    with gathered_team(device) as team:
        task = Task(data, card, recipe.fit, team, start)
        fingerprint = _fingerprint(recipe, digests, team.size)
        log_path = recipe.log_path if team.leads else None
        with opened_log(log_path, _n_epoch(recipe), progress) as log:
            judged = _judge(recipe, task, fingerprint, log)
    if judged is None:
        return recipe.checkpoint_path
    _write_predictions(recipe.predictions_path, data, judged, card)
    novelty, novelty_fit = judged.novelty
    final = recipe.draft_card(
        temperature=judged.temperature,
        novelty=novelty_fit,
        prevalence=data.prevalence,
        data=digests,
        metrics=judged.metrics,
    )
    save_checkpoint(recipe.checkpoint_path, judged.network, final, novelty)
    shutil.rmtree(recipe.state_folder)
    for line in (*_summary(judged.metrics), f"checkpoint: {recipe.checkpoint_path}"):
        say(line)
    return recipe.checkpoint_path


def _summary(metrics: dict[str, float]) -> list[str]:
    """Return a line for each kind of objects that was judged."""
    return [
        f"{of.replace('_', ' ')}: {metrics[f'n_{of}']:.0f} objects,"
        f" {metrics[f'n_member_{of}']:.0f} members: AUC {metrics[f'auc_{of}']:.4f},"
        f" accuracy {metrics[f'accuracy_{of}']:.3f}, Brier {metrics[f'brier_{of}']:.4f},"
        f" ECE {metrics[f'calibration_error_{of}']:.4f}"
        for of in ("out_of_fold", "test", "second_sample")
        if f"auc_{of}" in metrics
    ]


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


def _start(
    recipe: Recipe, card: ModelCard
) -> tuple[dict[str, torch.Tensor], tuple[DataDigest, ...]]:
    """Return the weights to start from, and the file that they came from.

    The head is taken over only where the classes are the same.
    """
    if not recipe.fit.start_from:
        return {}, ()
    path = resolve_checkpoint(recipe.fit.start_from, recipe.path("."))
    network, known = load_network(path)
    for field in START_FIELDS:
        have, need = getattr(known, field), getattr(card, field)
        if have != need:
            raise CheckpointError(
                f"{path} has {field} {_spelled(have)}, the recipe {recipe.name} has"
                f" {_spelled(need)}; start from another checkpoint, or make them agree"
            )
    weights = network.state_dict()
    if known.classes != card.classes:
        weights = {name: w for name, w in weights.items() if not name.startswith("head.")}
    return weights, (DataDigest(name=path.name, sha256=file_digest(path), n=0),)


def _spelled(value: object) -> str:
    """Return a card's field as a message shows it."""
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _write_predictions(path: Path, data: TrainingSet, judged: Judged, card: ModelCard) -> None:
    """Write what was said of each object by a network that had not seen it.

    ``p_err`` is how far its views disagree on the member probability; empty where there is one.
    """
    labels = data.labels
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        names = (f"p_{name}" for name in card.classes)
        writer.writerow(["id", "ra", "dec", "class", "fold", *names, "p_err"])
        for row, fold, probability, p_err in zip(
            judged.samples.rows, judged.fold, judged.probability, judged.p_err, strict=True
        ):
            writer.writerow(
                [
                    labels.object_id[row],
                    f"{labels.ra_deg[row]:.7f}",
                    f"{labels.dec_deg[row]:.7f}",
                    card.classes[labels.label[row]],
                    fold,
                    *(f"{p:.6f}" for p in probability),
                    "" if np.isnan(p_err) else f"{p_err:.6f}",
                ]
            )
