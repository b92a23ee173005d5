"""The two ways to fit and judge: by folds of the sky, or by random parts as published work did.

Owns which fits there are, and whose scores give the temperature and the figures. Does not own the
fit of one network (``optimize``), the figures (``evaluate``) or the files (``fit``).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from survey_classifier.model.card import NoveltyFit
from survey_classifier.model.network import Network
from survey_classifier.model.novelty import Novelty
from survey_classifier.sources.sky import object_groups
from survey_classifier.training.evaluate import (
    fit_temperature,
    member_metrics,
    score_rows,
    score_samples,
    with_temperature,
)
from survey_classifier.training.fit_settings import SplitSettings
from survey_classifier.training.novelty import fit_novelty, unseen_distances
from survey_classifier.training.optimize import Task
from survey_classifier.training.samples import Samples
from survey_classifier.training.split import random_parts, strip_folds

__all__ = ["SECOND_SAMPLE", "Judged", "by_folds", "by_parts"]

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]
Fit = Callable[[Samples, str], Network]
"""Fits a network to samples; the name tells one fit of a training from the others."""

SECOND_SAMPLE = -1
"""Stands for a fold where objects with ``use = "test"`` are listed."""
FITTED, VALIDATION, TEST = range(3)


@dataclass(frozen=True, slots=True)
class Judged:
    """A network, and what was found out about it on objects that it, or its like, had not seen."""

    network: Network
    """The one that is kept."""
    novelty: tuple[Novelty, NoveltyFit]
    """What tells the novelty of stamps for it, calibrated on objects not seen."""
    temperature: float
    metrics: dict[str, float]
    """Figures, in words that say of what."""
    samples: Samples
    """What was judged."""
    fold: npt.NDArray[np.int64]
    """Fold of each, shape ``(n,)``; `SECOND_SAMPLE` where it is in none."""
    probability: Floats
    """Of each class, at the temperature, shape ``(n, class)``."""


def by_folds(task: Task, split: SplitSettings, fit: Fit) -> Judged | None:
    """Fit one network a fold to the other folds and score it; keep one that is fitted to all.

    Figures are those of its like, each fitted to a fold's share less.

    Parameters
    ----------
    task
        What the fits have in common.
    split
        Says the folds.
    fit
        Fits a network.

    Returns
    -------
    Judged or None
        None in processes that do not lead.
    """
    labels, rows = task.data.labels, task.data.for_training
    fold = strip_folds(labels.ra_deg[rows], labels.dec_deg[rows], split.axis, split.n_folds)
    probability = np.full((len(rows), len(task.card.classes)), np.nan)
    distance = np.full((len(rows), 2), np.nan)
    for number in range(split.n_folds):
        held = fold == number
        network = fit(Samples.of(rows[~held], task.settings.angles_deg), f"fold-{number}")
        if task.team.leads:
            probability[held] = _score(task, network, rows[held])
            distance[held] = unseen_distances(task, network, rows[~held], rows[held])
    final = fit(Samples.of(rows, task.settings.angles_deg), "final")
    if not task.team.leads:
        return None
    temperature = fit_temperature(probability, labels.label[rows])
    held_out = with_temperature(probability, temperature)
    metrics = _figures(task, rows, held_out, "out_of_fold")
    novelty = fit_novelty(task, final, rows, distance)
    judged = Judged(final, novelty, temperature, metrics, Samples.of(rows), fold, held_out)
    return _with_second_sample(task, judged)


def by_parts(task: Task, split: SplitSettings, fit: Fit) -> Judged | None:
    """Fit a network to a random part of the objects, its temperature to another, judge on a third.

    Turned copies of an object, and positions that are one object, stay together, unless the split
    is to leak. Every copy is judged at its own angle.

    Parameters
    ----------
    task
        What the fit needs.
    split
        Says the parts.
    fit
        Fits a network.

    Returns
    -------
    Judged or None
        None in processes that do not lead.
    """
    labels, rows = task.data.labels, task.data.for_training
    samples = Samples.of(rows, task.settings.angles_deg or (0.0,))
    group = object_groups(labels.ra_deg[rows], labels.dec_deg[rows])
    n_copy = len(samples) // len(rows)
    together = np.arange(len(samples)) if split.leaky_split else np.repeat(group, n_copy)
    part = random_parts(together, split.test_share, split.validation_share, task.settings.seed)
    fitted = samples.take(np.flatnonzero(part == FITTED))
    if not task.settings.angles_deg:
        fitted = Samples.of(fitted.rows)
    network = fit(fitted, "final")
    if not task.team.leads:
        return None
    validation = samples.take(np.flatnonzero(part == VALIDATION))
    test = samples.take(np.flatnonzero(part == TEST))
    card, device = task.card, task.team.device
    scored = [score_samples(network, card, task.data, part, device) for part in (validation, test)]
    temperature = fit_temperature(scored[0], labels.label[validation.rows])
    held_out = with_temperature(scored[1], temperature)
    metrics = _figures(task, test.rows, held_out, "test")
    fold = np.zeros(len(test), dtype=np.int64)
    seen, unseen = (np.unique(of.rows) for of in (fitted, validation))
    distance = unseen_distances(task, network, seen, unseen)
    novelty = fit_novelty(task, network, seen, distance)
    judged = Judged(network, novelty, temperature, metrics, test, fold, held_out)
    return _with_second_sample(task, judged)


def _with_second_sample(task: Task, judged: Judged) -> Judged:
    """Return what was judged with the objects that no network is ever fitted to, if any."""
    rows = np.flatnonzero(task.data.labels.is_test)
    if not len(rows):
        return judged
    raw = _score(task, judged.network, rows)
    probability = with_temperature(raw, judged.temperature)
    return replace(
        judged,
        metrics=judged.metrics | _figures(task, rows, probability, "second_sample"),
        samples=Samples(
            np.concatenate([judged.samples.rows, rows]),
            np.concatenate([judged.samples.angle_deg, np.full(len(rows), np.nan)]),
        ),
        fold=np.concatenate([judged.fold, np.full(len(rows), SECOND_SAMPLE)]),
        probability=np.concatenate([judged.probability, probability]),
    )


def _score(task: Task, network: Network, rows: Rows) -> Floats:
    """Return the class probabilities of objects, as a run would score them."""
    return score_rows(network, task.card, task.data, rows, task.team.device)


def _figures(task: Task, rows: Rows, probability: Floats, of: str) -> dict[str, float]:
    """Return the figures of members against all others, in words that say of what."""
    member = task.card.member_index
    found = member_metrics(probability[:, member], task.data.labels.label[rows] == member)
    return {f"{name}_{of}": value for name, value in found.items()}
