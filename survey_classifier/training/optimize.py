"""Fitting one network to some of the training objects.

Owns the random views, the loss, the optimizer and its schedule. Does not own which objects are
used (``split``, ``fit``) or how good the result is (``evaluate``).
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch.optim.lr_scheduler import LambdaLR

from survey_classifier.errors import RunError
from survey_classifier.model.card import ModelCard
from survey_classifier.model.inputs import to_network_input
from survey_classifier.model.resnet import ResNet
from survey_classifier.training.dataset import TrainingSet
from survey_classifier.training.recipes import FitSettings

__all__ = ["EpochReport", "fit_network"]

WARM_UP = 0.05
"""Share of the steps in which the learning rate rises."""


@dataclass(frozen=True, slots=True)
class EpochReport:
    """How one epoch went."""

    epoch: int
    """From 1."""
    loss: float
    """Mean cross-entropy over the epoch's random views, in nats."""
    rate: float
    """Learning rate at its end."""
    seconds: float
    """Wall-clock."""


def fit_network(
    data: TrainingSet,
    rows: npt.NDArray[np.intp],
    card: ModelCard,
    settings: FitSettings,
    seed: int,
    report: Callable[[EpochReport], None],
) -> ResNet:
    """Return a network fitted to some rows, in ``eval`` mode.

    The same seed, rows and number of threads give the same network. Classes keep their natural
    shares: the probabilities are to be those of this population.

    Parameters
    ----------
    data
        The training set.
    rows
        Objects to fit.
    card
        Says what the network is and what it sees.
    settings
        Epochs, rates and views.
    seed
        Of the first weights, the order of the objects and their views.
    report
        Called after each epoch.

    Raises
    ------
    RunError
        If the loss is not finite.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    network = ResNet(card.architecture, card.n_channel, len(card.classes), card.width)
    optimizer = torch.optim.AdamW(
        _parameter_groups(network, settings.weight_decay), lr=settings.rate
    )
    n_step = settings.epochs * math.ceil(len(rows) / settings.batch_size)
    schedule = LambdaLR(optimizer, lambda step: _rate_factor(step, n_step))
    for epoch in range(1, settings.epochs + 1):
        start, losses = time.perf_counter(), []
        for batch in _batches(rng.permutation(rows), settings.batch_size):
            x, label = random_views(data, batch, card, settings, rng)
            loss = F.cross_entropy(network(x), label, label_smoothing=settings.label_smoothing)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(float(loss.detach()))
        mean = float(np.mean(losses))
        if not math.isfinite(mean):
            raise RunError(f"the loss of epoch {epoch} is {mean}; lower 'rate' in [fit]")
        rate = float(schedule.get_last_lr()[0])
        report(EpochReport(epoch, mean, rate, time.perf_counter() - start))
    return network.eval()


def random_views(
    data: TrainingSet,
    rows: npt.NDArray[np.intp],
    card: ModelCard,
    settings: FitSettings,
    rng: np.random.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return network input and labels of some objects, each turned, flipped and shifted at random.

    Returns
    -------
    x, label
        ``(n, band + 1, stamp_px, stamp_px)`` and ``(n,)``; the objects in the order of their
        blocks, which need not be that of ``rows``.
    """
    inputs, labels = [], []
    for stamps, inside in data.by_block(rows):
        n = len(inside)
        angle = torch.from_numpy(rng.uniform(0, 360, n).astype(np.float32))
        flip = torch.from_numpy(rng.random(n) < 0.5)
        largest = settings.jitter_px * card.scale_arcsec / stamps.scale_arcsec
        shift = rng.uniform(-largest, largest, (n, 2)).astype(np.float32)
        factor = np.exp(rng.normal(0, settings.flux_scatter, (n, 1, 1, 1))).astype(np.float32)
        flux = torch.from_numpy(stamps.flux * factor)
        offset = torch.from_numpy(stamps.offset_px + shift)
        inputs.append(to_network_input(flux, offset, stamps.scale_arcsec, card, angle, flip))
        labels.append(torch.from_numpy(data.labels.label[inside]))
    return torch.cat(inputs).contiguous(memory_format=torch.channels_last), torch.cat(labels)


def _batches(rows: npt.NDArray[np.intp], size: int) -> Iterator[npt.NDArray[np.intp]]:
    """Yield rows in batches as equal as can be: a batch norm can't do with a single object."""
    yield from np.array_split(rows, math.ceil(len(rows) / size))


def _parameter_groups(network: ResNet, weight_decay: float) -> list[dict[str, object]]:
    """Return the optimizer's groups: norms and biases, which are vectors, do not decay."""
    parameters = list(network.parameters())
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def _rate_factor(step: int, n_step: int) -> float:
    """Return the share of the highest rate: a linear rise, then half a cosine to zero."""
    rise = max(1, round(WARM_UP * n_step))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, n_step - rise)))
