"""The two ways to fit and judge: by folds of the sky, or by random parts as published work did.

Owns which fits there are, and whose scores give the temperature and the figures. Does not own the
fit of one network (``optimize``), the figures (``evaluate``) or the files (``fit``).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from survey_classifier.errors import SourcesError
from survey_classifier.membership.claimed_errors import error_correlation, error_correlation_alike
from survey_classifier.model.card import NoveltyFit
from survey_classifier.model.network import Network
from survey_classifier.model.novelty import Novelty
from survey_classifier.model.scorer import mean_and_spread
from survey_classifier.sources.sky import object_groups
from survey_classifier.training.evaluate import (
    fit_temperature,
    member_metrics,
    score_rows,
    score_samples,
)
from survey_classifier.training.fit_settings import SplitSettings
from survey_classifier.training.novelty import fit_novelty, unseen_distances
from survey_classifier.training.optimize import Task
from survey_classifier.training.samples import Samples
from survey_classifier.training.split import SECOND_SAMPLE, random_parts, strip_folds
from survey_classifier.words import counted

__all__ = ["Judged", "by_folds", "by_parts"]

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]
Fit = Callable[[Samples, str], Network]
"""Fits a network to samples; the name tells one fit of a training from the others."""

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
    seen: npt.NDArray[np.bool_]
    """Whether the network that says something of it was fitted to that object, shape ``(n,)``; so
    it is of turned copies if a split leaks."""
    probability: Floats
    """Of each class, at a temperature fitted to other objects, shape ``(n, class)``."""
    p_err: Floats
    """Spread of the member probability over the views, shape ``(n,)``; NaN where seen once."""


def by_folds(task: Task, split: SplitSettings, fit: Fit) -> Judged | None:
    """Fit one network a fold to the other folds and score it; keep one that is fitted to all.

    Figures are those of its like, each fitted to a fold's share less, at the temperature that the
    other folds ask for; that of all is for the one that is kept.

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

    Raises
    ------
    SourcesError
        If a class has fewer objects than there are folds.
    """
    labels, rows = task.data.labels, task.data.for_training
    _require_enough(task, rows, split)
    fold = strip_folds(labels.ra_deg[rows], labels.dec_deg[rows], split.axis, split.n_folds)
    logits = np.full((len(rows), task.card.n_views, len(task.card.classes)), np.nan)
    distance = np.full((len(rows), 2), np.nan)
    for number in range(split.n_folds):
        held = fold == number
        network = fit(Samples.of(rows[~held], task.settings.angles_deg), f"fold-{number}")
        if task.team.leads:
            logits[held] = _seen(task, network, Samples.of(rows[held]))
            distance[held] = unseen_distances(task, network, rows[~held], rows[held])
    final = fit(Samples.of(rows, task.settings.angles_deg), "final")
    if not task.team.leads:
        return None
    label = labels.label[rows]
    probability, p_err = np.empty((len(rows), len(task.card.classes))), np.empty(len(rows))
    for held in (fold == number for number in range(split.n_folds)):
        temperature = fit_temperature(logits[~held], label[~held])
        probability[held], p_err[held] = _said(task, logits[held], temperature)
    temperature = fit_temperature(logits, label)
    metrics = _figures(task, rows, probability, p_err, "out_of_fold")
    novelty = fit_novelty(task, final, rows, distance)
    seen = np.zeros(len(rows), dtype=np.bool_)
    judged = Judged(
        final, novelty, temperature, metrics, Samples.of(rows), fold, seen, probability, p_err
    )
    return _with_second_sample(task, judged)


def _require_enough(task: Task, rows: npt.NDArray[np.intp], split: SplitSettings) -> None:
    """Raise unless each class can be in every fold: figures of less would be of chance alone."""
    found = np.bincount(task.data.labels.label[rows], minlength=len(task.card.classes))
    for name, n in zip(task.card.classes, found.tolist(), strict=True):
        if n < split.n_folds:
            raise SourcesError(
                f"class {name!r} has {counted(n, 'object')}, fewer than the {split.n_folds} folds;"
                " add data, or choose fewer n_folds in [split]"
            )


def by_parts(task: Task, split: SplitSettings, fit: Fit) -> Judged | None:
    """Fit a network to a random part of the objects, its temperature to another, judge on a third.

    Turned copies of an object, and positions that are one object, stay together, unless the split
    is to leak. Every copy is judged at its own angle; where there are none, an object is judged as
    a run would see it.

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
    n_copy = len(samples) // len(rows)
    group = np.repeat(object_groups(labels.ra_deg[rows], labels.dec_deg[rows]), n_copy)
    together = np.arange(len(samples)) if split.leaky_split else group
    part = random_parts(together, split.test_share, split.validation_share, task.settings.seed)
    fitted = samples.take(np.flatnonzero(part == FITTED))
    if not task.settings.angles_deg:
        fitted = Samples.of(fitted.rows)
    network = fit(fitted, "final")
    if not task.team.leads:
        return None
    validation = samples.take(np.flatnonzero(part == VALIDATION))
    test = samples.take(np.flatnonzero(part == TEST))
    look = _seen_at if task.settings.angles_deg else _seen
    logits = [look(task, network, part) for part in (validation, test)]
    temperature = fit_temperature(logits[0], labels.label[validation.rows])
    probability, p_err = _said(task, logits[1], temperature)
    metrics = _figures(task, test.rows, probability, p_err, "test")
    fold = np.zeros(len(test), dtype=np.int64)
    known, unknown = (np.unique(of.rows) for of in (fitted, validation))
    distance = unseen_distances(task, network, known, unknown)
    novelty = fit_novelty(task, network, known, distance)
    seen = np.isin(group[part == TEST], group[part == FITTED])
    judged = Judged(network, novelty, temperature, metrics, test, fold, seen, probability, p_err)
    return _with_second_sample(task, judged)


def _with_second_sample(task: Task, judged: Judged) -> Judged:
    """Return what was judged with the objects that no network is ever fitted to, if any."""
    rows = np.flatnonzero(task.data.labels.is_test)
    if not len(rows):
        return judged
    logits = _seen(task, judged.network, Samples.of(rows))
    probability, p_err = _said(task, logits, judged.temperature)
    return replace(
        judged,
        metrics=judged.metrics | _figures(task, rows, probability, p_err, "second_sample"),
        samples=Samples(
            np.concatenate([judged.samples.rows, rows]),
            np.concatenate([judged.samples.angle_deg, np.full(len(rows), np.nan)]),
        ),
        fold=np.concatenate([judged.fold, np.full(len(rows), SECOND_SAMPLE)]),
        seen=np.concatenate([judged.seen, np.zeros(len(rows), dtype=np.bool_)]),
        probability=np.concatenate([judged.probability, probability]),
        p_err=np.concatenate([judged.p_err, p_err]),
    )


def _seen(task: Task, network: Network, samples: Samples) -> Floats:
    """Return the logits of objects ``(n, view, class)``, as a run would see them."""
    return score_rows(network, task.card, task.data, samples.rows, task.team.device)


def _seen_at(task: Task, network: Network, samples: Samples) -> Floats:
    """Return the logits of samples ``(n, 1, class)``, each at its own angle."""
    return score_samples(network, task.card, task.data, samples, task.team.device)


def _said(task: Task, logits: Floats, temperature: float) -> tuple[Floats, Floats]:
    """Return class probabilities ``(n, class)``, and the spread ``(n,)`` of that of members."""
    probability, spread = mean_and_spread(logits, temperature)
    return probability, spread[:, task.card.member_index]


def _figures(
    task: Task, rows: Rows, probability: Floats, p_err: Floats, of: str
) -> dict[str, float]:
    """Return the figures of members against all others, in words that say of what."""
    member = task.card.member_index
    p, is_member = probability[:, member], task.data.labels.label[rows] == member
    found = member_metrics(p, is_member)
    n_object = len(np.unique(rows))
    if n_object < len(rows):
        found["n_object"] = float(n_object)
    for tells in (error_correlation, error_correlation_alike):
        value = tells(p, p_err, is_member)
        if np.isfinite(value):  # a card holds no figure that is not defined
            found[tells.__name__] = value
    return {f"{name}_{of}": value for name, value in found.items()}
