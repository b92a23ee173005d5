"""Fitting one network to some of the training objects.

Owns the optimizer and the loop over epochs. Does not own the views (``samples``), the loss
(``lessons``), the rate (``schedule``), which objects are used (``split``, ``fit``) or how good the
result is (``evaluate``).
"""

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from survey_classifier.errors import ConfigError, RunError, SourcesError
from survey_classifier.model.card import ModelCard
from survey_classifier.model.network import Network, build_network
from survey_classifier.training.dataset import TrainingSet
from survey_classifier.training.fit_settings import FitSettings
from survey_classifier.training.lessons import Lesson, from_labels
from survey_classifier.training.samples import Samples, batches, random_views
from survey_classifier.training.schedule import rate_at
from survey_classifier.training.state import EpochReport, FitState
from survey_classifier.training.team import Team

__all__ = ["Task", "fit_network"]


@dataclass(frozen=True, slots=True)
class Task:
    """What all fits of a training have in common."""

    data: TrainingSet
    card: ModelCard
    """Says what the network is and what it sees."""
    settings: FitSettings
    team: Team
    start: dict[str, torch.Tensor]
    """First weights by name, others are drawn at random; empty = all are."""


def fit_network(
    task: Task,
    samples: Samples,
    state: FitState,
    report: Callable[[EpochReport], None],
    lesson: Lesson = from_labels,
) -> Network:
    """Return a network fitted to some samples, in ``eval`` mode, on the CPU.

    The same seed, samples and number of threads and processes give the same network on the CPU,
    also after an interruption. Classes are not balanced: probabilities are those of this
    population, if its objects have equal weights; else of one that is made up as the weights say.

    Parameters
    ----------
    task
        Objects, network, settings and processes.
    samples
        What to fit.
    state
        Where the state is kept; a fit that was interrupted goes on.
    report
        Called after each epoch, and for each that was done before.
    lesson
        What is learned of a batch.

    Raises
    ------
    ConfigError
        If a batch is too small to be shared.
    SourcesError
        If a class has no object among the samples.
    RunError
        If the loss is not finite, or the state can't be read or written.
    RunMismatchError
        If the state is of another fit.
    """
    settings, team = task.settings, task.team
    _check_samples(task, samples)
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    network = build_network(task.card)
    network.load_state_dict(network.state_dict() | task.start)
    _place(network, team.device, _memory_format(team))
    optimizer = _make_optimizer(network, settings)
    reports = state.restore(network, optimizer, rng)
    for done in reports:
        report(done)
    shared = network if team.size == 1 else DistributedDataParallel(network)
    for epoch in range(len(reports) + 1, settings.epochs + 1):
        reports.append(_fit_epoch(task, shared, optimizer, samples, lesson, rng, epoch))
        if team.leads:
            state.save(network, optimizer, rng, reports)
        report(reports[-1])
    return _settled(network)


def _place(network: Network, device: torch.device, order: torch.memory_format) -> None:
    """Move a network, in place."""
    # torch's annotations leave out this overload of Module.to.
    network.to(device=device, memory_format=order)  # type: ignore[call-overload]


def _settled(network: Network) -> Network:
    """Return a network as it is scored with and saved."""
    _place(network, torch.device("cpu"), torch.contiguous_format)
    return network.eval()


def _check_samples(task: Task, samples: Samples) -> None:
    """Raise unless every class has samples and every process gets some of a batch."""
    found = np.bincount(task.data.labels.label[samples.rows], minlength=len(task.data.classes))
    for name, n in zip(task.data.classes, found, strict=True):
        if n == 0:
            raise SourcesError(
                f"no object of class {name!r} is left to fit a network to, once those that judge it"
                " are taken out; add data, or choose another split"
            )
    smallest = min(task.settings.batch_size, len(samples)) // 2
    if smallest < task.team.size:
        raise ConfigError(
            f"batch_size {task.settings.batch_size} is too small for {task.team.size} processes;"
            " raise it, or start fewer"
        )


def _fit_epoch(
    task: Task,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    samples: Samples,
    lesson: Lesson,
    rng: np.random.Generator,
    epoch: int,
) -> EpochReport:
    """Go through an epoch and say how it went."""
    settings, team = task.settings, task.team
    start, losses, rate = time.perf_counter(), [], 0.0
    n_step = math.ceil(len(samples) / settings.batch_size)
    weight = task.data.labels.weight[samples.rows] ** settings.weight_power

    def forward(x: torch.Tensor) -> torch.Tensor:
        with _mixed_precision(team):
            logits: torch.Tensor = network(x)
        return logits.float()

    network.train()
    for number, picks in enumerate(batches(weight, settings.batch_size, rng)):
        rate = rate_at((epoch - 1) * n_step + number, settings.epochs * n_step, settings)
        for group in optimizer.param_groups:
            group["lr"] = rate
        shown = task.data, samples.take(picks), task.card, settings, rng, team
        # Processes' gradients are averaged, and their shares may differ by one object.
        loss = lesson(forward, partial(random_views, *shown), settings) * (team.size / len(picks))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    mean = float(torch.stack(losses).mean())
    if not math.isfinite(mean):
        raise RunError(f"the loss of epoch {epoch} is {mean}; lower 'rate' in [fit]")
    return EpochReport(epoch, mean, rate, time.perf_counter() - start)


def _mixed_precision(team: Team) -> AbstractContextManager[object]:
    """Return the context of the forward pass: bfloat16 where there are tensor cores."""
    if team.device.type == "cuda":
        return torch.autocast("cuda", torch.bfloat16)
    return nullcontext()


def _memory_format(team: Team) -> torch.memory_format:
    """Return the order in memory that the device's convolutions are fastest in.

    Views come in this order, so gradients do, too; those that processes share must be as weights.
    """
    is_last = team.device.type == "cuda" or team.size > 1
    return torch.channels_last if is_last else torch.preserve_format


def _make_optimizer(network: Network, settings: FitSettings) -> torch.optim.Optimizer:
    """Return the optimizer of the settings; norms and biases, which are vectors, do not decay."""
    parameters = list(network.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=settings.rate)
    return torch.optim.AdamW(groups, lr=settings.rate)
