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
from survey_classifier.stamps import Stamps
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
        angle, is_clipped = _angles(samples.angle_deg[places], data.frame_arcsec, rng)
        flip = (rng.random(n) < 0.5) & settings.flip
        largest = settings.jitter_px * card.scale_arcsec / stamps.scale_arcsec
        shift = rng.uniform(-largest, largest, (n, 2)).astype(np.float32)
        factor = np.exp(rng.normal(0, settings.flux_scatter, (n, 1, 1, 1))).astype(np.float32)
        mine = np.flatnonzero((n_before + np.arange(n)) % team.size == team.rank)
        n_before += n
        shown = _clipped(stamps, mine, is_clipped[mine], data.frame_arcsec)
        arrays = shown * factor[mine], stamps.offset_px[mine] + shift[mine]
        flux, offset = (torch.from_numpy(array).to(team.device) for array in arrays)
        turned, mirrored = (torch.from_numpy(array[mine]) for array in (angle, flip))
        inputs.append(to_network_input(flux, offset, stamps.scale_arcsec, card, turned, mirrored))
        labels.append(torch.from_numpy(data.labels.label[samples.rows[places[mine]]]))
    x = torch.cat(inputs).contiguous(memory_format=torch.channels_last)
    return x, torch.cat(labels).to(team.device)


def _angles(
    given: npt.NDArray[np.float64], frame_arcsec: float | None, rng: np.random.Generator
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Return the angles of views, and which of them show no more than a frame.

    Where some stamps are too small to be turned whole, missing corners would tell which: on SDSS
    thumbnails of stars and galaxies far out a network takes them for 2 in log-odds against
    membership. So half of all views are turned by quarters, where no corner is missing, and of the
    others all stamps show what the small ones do: neither corners nor angles say anything.
    """
    drawn = rng.uniform(0, 360, len(given))
    is_free = np.isnan(given)
    is_clipped = np.zeros(len(given), dtype=np.bool_)
    if frame_arcsec is not None:
        is_clipped = is_free & (rng.random(len(given)) < 0.5)
        drawn = np.where(is_clipped, drawn, 90 * np.floor(drawn / 90))
    return np.where(is_free, drawn, given).astype(np.float32), is_clipped


def _clipped(
    stamps: Stamps, mine: Picks, is_clipped: npt.NDArray[np.bool_], frame_arcsec: float | None
) -> npt.NDArray[np.float32]:
    """Return the flux of some stamps, NaN beyond the frame about the source where it is clipped."""
    flux = stamps.flux[mine]
    if frame_arcsec is None:
        return flux
    size = flux.shape[-1]
    distance_px = np.arange(size) - (size // 2 + stamps.offset_px[mine][..., None])  # (n, 2, size)
    inside = np.abs(distance_px) * stamps.scale_arcsec <= frame_arcsec / 2
    shown = (inside[:, 1, :, None] & inside[:, 0, None, :]) | ~is_clipped[:, None, None]
    return np.where(shown[:, None], flux, np.float32(np.nan))


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
