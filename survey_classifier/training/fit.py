"""The training procedure: from a recipe to a checkpoint with honest figures.

Owns the order of the work and the files that come of it. Does not own the fit of one network
(``optimize``), the figures (``evaluate``) or the objects (``dataset``).

One network a fold is fitted to the other folds and scores its own; these out-of-fold scores
give the temperature and every figure of the card. The network that is kept is fitted to all
objects, so the figures are those of its like, each trained on a fold's share less.
"""

import csv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from survey_classifier.errors import RunError
from survey_classifier.model.card import ModelCard
from survey_classifier.model.checkpoint import save_checkpoint
from survey_classifier.model.resnet import ResNet
from survey_classifier.training.dataset import TrainingSet, load_training_set
from survey_classifier.training.evaluate import (
    fit_temperature,
    member_metrics,
    score_rows,
    with_temperature,
)
from survey_classifier.training.optimize import EpochReport, fit_network
from survey_classifier.training.recipes import Recipe, read_recipe
from survey_classifier.training.split import strip_folds

__all__ = ["Progress", "train"]

Progress = Callable[[int, int], None]
"""Called with the number of finished epochs and of all, over all fits."""

Log = Callable[[str, EpochReport], None]
"""Called with the name of the fit and the report of each of its epochs."""


def train(recipe_path: Path, progress: Progress | None = None) -> Path:
    """Train a network by a recipe and write its checkpoint.

    Beside the checkpoint ``NAME.safetensors`` come ``NAME.csv``, the loss of each epoch, and
    ``NAME-out-of-fold.csv``, what the networks that had not seen an object say of it.

    Parameters
    ----------
    recipe_path
        The recipe.
    progress
        Called after each epoch.

    Returns
    -------
    Path
        The checkpoint.

    Raises
    ------
    ConfigError
        If the recipe has a wrong key or value.
    SourcesError, MosaicError, CheckpointError
        If the data can't be used.
    RunError
        If the fit fails or the log can't be written.
    """
    recipe = read_recipe(recipe_path)
    card = recipe.draft_card()
    data = load_training_set(recipe, card)
    fold = strip_folds(
        data.labels.ra_deg, data.labels.dec_deg, recipe.split.axis, recipe.split.n_folds
    )
    with _opened_log(recipe, progress) as log:
        raw = _score_out_of_fold(data, fold, card, recipe, log)
        network = _fit(data, np.arange(len(data)), card, recipe, "final", log)
    temperature = fit_temperature(raw, data.labels.label)
    probability = with_temperature(raw, temperature)
    _write_predictions(recipe.predictions_path, data, fold, probability, card)
    p_member = probability[:, card.member_index]
    metrics = member_metrics(p_member, data.labels.label == card.member_index)
    final = recipe.draft_card(
        temperature=temperature,
        prevalence=data.prevalence,
        data=data.digests,
        metrics={f"{name}_out_of_fold": value for name, value in metrics.items()},
    )
    save_checkpoint(recipe.checkpoint_path, network, final)
    return recipe.checkpoint_path


def _score_out_of_fold(
    data: TrainingSet, fold: npt.NDArray[np.int64], card: ModelCard, recipe: Recipe, log: Log
) -> npt.NDArray[np.float64]:
    """Return each object's class probabilities by a network that has not seen its fold."""
    probability = np.full((len(data), len(card.classes)), np.nan)
    for number in range(recipe.split.n_folds):
        held = np.flatnonzero(fold == number)
        seen = np.flatnonzero(fold != number)
        network = _fit(data, seen, card, recipe, f"fold-{number}", log)
        probability[held] = score_rows(network, card, data, held)
    return probability


def _fit(
    data: TrainingSet,
    rows: npt.NDArray[np.intp],
    card: ModelCard,
    recipe: Recipe,
    name: str,
    log: Log,
) -> ResNet:
    """Return the network of one fit."""
    return fit_network(
        data, rows, card, recipe.fit, recipe.fit.seed, lambda epoch: log(name, epoch)
    )


@contextmanager
def _opened_log(recipe: Recipe, progress: Progress | None) -> Iterator[Log]:
    """Open the log, a row an epoch, and give what writes to it and reports progress."""
    n_all = (recipe.split.n_folds + 1) * recipe.fit.epochs
    path = recipe.log_path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w", newline="", encoding="utf-8")
    except OSError as error:
        raise RunError(f"{path} can't be written ({error.strerror}); change 'out'") from error
    n_done = 0
    with file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["fit", "epoch", "loss", "rate", "seconds"])

        def log(name: str, epoch: EpochReport) -> None:
            nonlocal n_done
            n_done += 1
            loss, rate, seconds = f"{epoch.loss:.5f}", f"{epoch.rate:.3e}", f"{epoch.seconds:.1f}"
            writer.writerow([name, epoch.epoch, loss, rate, seconds])
            file.flush()  # a training takes long: its log is read while it grows
            if progress is not None:
                progress(n_done, n_all)

        yield log


def _write_predictions(
    path: Path,
    data: TrainingSet,
    fold: npt.NDArray[np.int64],
    probability: npt.NDArray[np.float64],
    card: ModelCard,
) -> None:
    """Write what was said of each object by a network that had not seen it."""
    labels = data.labels
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id", "ra", "dec", "class", "fold", *(f"p_{c}" for c in card.classes)])
        for row in range(len(data)):
            writer.writerow(
                [
                    labels.object_id[row],
                    f"{labels.ra_deg[row]:.7f}",
                    f"{labels.dec_deg[row]:.7f}",
                    card.classes[labels.label[row]],
                    fold[row],
                    *(f"{p:.6f}" for p in probability[row]),
                ]
            )
