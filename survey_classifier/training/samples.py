"""What a fit goes through: objects at angles, in which batches, and their random views.

Owns the order of the objects, how often each is shown, and what is drawn at random of a view.
Does not own the objects (``dataset``), the resampling (``model.inputs``) or the fit
(``optimize``).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import torch

from survey_classifier.model.card import ModelCard
from survey_classifier.model.inputs import to_network_input
from survey_classifier.training.dataset import TrainingSet
from survey_classifier.training.fit_settings import FitSettings
from survey_classifier.training.team import Team

__all__ = ["Samples", "batches", "random_views", "still_views"]

Picks = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Samples:
    """Objects of a training set, each at an angle."""

    rows: Picks
    """Rows of the training set, shape ``(n,)``."""
    angle_deg: npt.NDArray[np.float64]
    """Angle by which the object is turned, shape ``(n,)``; NaN = another each time, at random."""

    @classmethod
    def of(cls, rows: Picks, angles_deg: Sequence[float] = ()) -> Self:
        """Return each object at each angle, or where there are none, once at any angle."""
        angles = np.array(angles_deg or [np.nan], dtype=np.float64)
        return cls(np.repeat(rows, len(angles)), np.tile(angles, len(rows)))

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, picks: Picks) -> "Samples":
        """Return some of them."""
        return Samples(self.rows[picks], self.angle_deg[picks])


def batches(
    weight: npt.NDArray[np.float64], size: int, rng: np.random.Generator
) -> Iterator[Picks]:
    """Yield an epoch: as many batches as it takes to show as many samples as there are.

    Where all weigh the same, each is shown once, in batches as equal as can be: a batch norm
    can't do with a single object. Else each batch is a systematic sample (Madow & Madow 1944)
    of all in random order: no sample strays by one from its share of the batch.

    Parameters
    ----------
    weight
        How often a sample is shown, relative to the others, shape ``(n,)``.
    size
        Largest size of a batch.
    rng
        Source of the order.
    """
    n = len(weight)
    n_batch = math.ceil(n / size)
    if (weight == weight[0]).all():
        yield from np.array_split(rng.permutation(n), n_batch)
        return
    for _ in range(n_batch):
        order = rng.permutation(n)
        reached = np.cumsum(weight[order])
        points = (np.arange(min(size, n)) + rng.random()) * (reached[-1] / min(size, n))
        # Rounding may put the last point on the end.
        yield order[np.minimum(np.searchsorted(reached, points, side="right"), n - 1)]


def random_views(
    data: TrainingSet,
    samples: Samples,
    card: ModelCard,
    settings: FitSettings,
    rng: np.random.Generator,
    team: Team,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return network input and labels of this process's share of some samples, on its device.

    Each is turned, and as the settings say flipped, shifted and scaled at random. What is drawn
    is the same in every process of a team.

    Returns
    -------
    x, label
        ``(n, band + 1, stamp_px, stamp_px)`` and ``(n,)``; the samples in the order of their
        blocks, which need not be theirs.
    """
    inputs, labels, n_before = [], [], 0
    for stamps, places in data.by_block(samples.rows):
        n = len(places)
        given = samples.angle_deg[places]
        drawn = rng.uniform(0, 360, n)
        angle = np.where(np.isnan(given), drawn, given).astype(np.float32)
        flip = (rng.random(n) < 0.5) & settings.flip
        largest = settings.jitter_px * card.scale_arcsec / stamps.scale_arcsec
        shift = rng.uniform(-largest, largest, (n, 2)).astype(np.float32)
        factor = np.exp(rng.normal(0, settings.flux_scatter, (n, 1, 1, 1))).astype(np.float32)
        mine = np.flatnonzero((n_before + np.arange(n)) % team.size == team.rank)
        n_before += n
        arrays = stamps.flux[mine] * factor[mine], stamps.offset_px[mine] + shift[mine]
        flux, offset = (torch.from_numpy(array).to(team.device) for array in arrays)
        turned, mirrored = (torch.from_numpy(array[mine]) for array in (angle, flip))
        inputs.append(to_network_input(flux, offset, stamps.scale_arcsec, card, turned, mirrored))
        labels.append(torch.from_numpy(data.labels.label[samples.rows[places[mine]]]))
    x = torch.cat(inputs).contiguous(memory_format=torch.channels_last)
    return x, torch.cat(labels).to(team.device)


def still_views(
    data: TrainingSet, samples: Samples, card: ModelCard, size: int
) -> Iterator[tuple[torch.Tensor, Picks]]:
    """Yield the network input of samples at their own angle, by pieces of a size, and which.

    Parameters
    ----------
    data
        The training set.
    samples
        All with an angle.
    card
        Says what the input is.
    size
        Largest number at once.
    """
    for start in range(0, len(samples), size):
        piece = samples.take(np.arange(start, min(start + size, len(samples))))
        for stamps, places in data.by_block(piece.rows):
            flux, offset = torch.from_numpy(stamps.flux), torch.from_numpy(stamps.offset_px)
            angle = torch.from_numpy(piece.angle_deg[places].astype(np.float32))
            yield to_network_input(flux, offset, stamps.scale_arcsec, card, angle), start + places
