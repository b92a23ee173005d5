"""Scoring stamps: the seam between a run and whatever network it uses.

Owns batches, and what becomes of memory that does not suffice. Does not own devices (``devices``),
the input's making (``inputs``), the views that a score is averaged over (``views``), what novelty
is (``novelty``) or what a probability means for the field (``membership.probability``).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt
import torch

from survey_classifier.errors import CheckpointError, RunError
from survey_classifier.model.card import ModelCard
from survey_classifier.model.checkpoint import load_checkpoint
from survey_classifier.model.devices import choose_device, full_float32
from survey_classifier.model.inputs import SCALE_TOLERANCE, to_network_input
from survey_classifier.model.network import Network
from survey_classifier.model.novelty import Novelty
from survey_classifier.model.resnet import fuse_norms
from survey_classifier.model.views import oriented
from survey_classifier.stamps import Stamps

__all__ = ["Scorer", "Scores", "Seen", "TorchScorer", "mean_and_spread"]


@dataclass(frozen=True, slots=True)
class Scores:
    """What a network says of n stamps; NaN where it can't say anything.

    Raises
    ------
    ValueError
        If the arrays are not of the same n.
    """

    probability: npt.NDArray[np.float32]
    """``(n, class)``: temperature-scaled, at the training prevalence; classes as in the card."""
    p_image: npt.NDArray[np.float32]
    """``(n,)``: the probability of the class ``member``."""
    p_image_err: npt.NDArray[np.float32]
    """``(n,)``: standard deviation (of the population) of it over the views, NaN for one view."""
    novelty: npt.NDArray[np.float32]
    """``(n,)``: see `Novelty`; NaN also where the checkpoint holds nothing to tell it by."""

    def __post_init__(self) -> None:
        n = len(self.probability)
        for name in ("p_image", "p_image_err", "novelty"):
            shape = getattr(self, name).shape
            if shape != (n,):
                raise ValueError(f"scores of {n} stamps can't have {name} {shape}")


@dataclass(frozen=True, slots=True)
class Seen:
    """What a network makes of n stamps, before any of it is turned into a probability."""

    logits: npt.NDArray[np.float32]
    """``(n, view, class)``; NaN where the network would see no valid pixel."""
    early: npt.NDArray[np.float32]
    """``(n, n_early)``: what it knows early, mean over the views."""
    late: npt.NDArray[np.float32]
    """``(n, feature)``: what its head sees, mean over the views."""


class Scorer(Protocol):
    """Gives each stamp its class probabilities.

    A scorer's answer for a stamp does not depend on the other stamps of the call. A stamp of
    which the network would see no valid pixel is NaN, and a network's output that isn't finite
    stays NaN: a failed score is never a number. Not for use by several threads at once.
    """

    @property
    def card(self) -> ModelCard:
        """The card that says what stamps are needed and what the classes are."""

    def score(self, stamps: Stamps) -> Scores:
        """Return the scores of stamps, in their order."""


class TorchScorer:
    """Scores with a network on one device, in float32.

    Parameters
    ----------
    network
        In ``eval`` mode; belongs to the scorer from now on (its batch norms are folded).
    card
        Its card.
    device
        Where to compute.
    batch_size
        Stamps at once; halved for good whenever a CUDA device runs out of memory.
    novelty
        What tells how unlike the training a stamp is, if there is such a thing.
    """

    def __init__(
        self,
        network: Network,
        card: ModelCard,
        device: torch.device,
        batch_size: int = 256,
        novelty: Novelty | None = None,
    ) -> None:
        fuse_norms(network)
        # torch's annotations leave out this overload of Module.to.
        self._network: Network = network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._card = card
        self._device = device
        self._batch_size = batch_size
        self._novelty = novelty

    @classmethod
    def load(
        cls,
        path: Path,
        device: str = "auto",
        batch_size: int = 256,
        expected_digest: str | None = None,
    ) -> Self:
        """Return the scorer of a checkpoint.

        Parameters
        ----------
        path
            The checkpoint.
        device
            ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
        batch_size
            Stamps at once.
        expected_digest
            SHA-256 that the file must have; None accepts any.

        Raises
        ------
        CheckpointError
            If the checkpoint can't be used.
        ConfigError
            If there is no such device.
        """
        network, card, novelty = load_checkpoint(path, expected_digest)
        return cls(network, card, choose_device(device), batch_size, novelty)

    @property
    def card(self) -> ModelCard:
        """The network's card."""
        return self._card

    @property
    def device(self) -> torch.device:
        """Where scores are computed."""
        return self._device

    def score(self, stamps: Stamps) -> Scores:
        """Return the scores of stamps, in their order.

        Parameters
        ----------
        stamps
            Bands in any order; the scale as fine as the card's.

        Raises
        ------
        CheckpointError
            If the stamps have other bands than the card, or a coarser scale.
        RunError
            If the device has no memory for even one stamp.
        """
        seen = self.look(stamps)
        return _scores(seen.logits, self._novelty_of(seen), self._card)

    def look(self, stamps: Stamps) -> Seen:
        """Return what the network makes of stamps, in their order; see `score`."""
        order = self._band_order(stamps)
        n, n_class = len(stamps), len(self._card.classes)
        n_early, n_late = self._network.n_early, self._network.head.in_features
        seen = Seen(
            np.empty((n, self._card.n_views, n_class), dtype=np.float32),
            np.empty((n, n_early), dtype=np.float32),
            np.empty((n, n_late), dtype=np.float32),
        )
        start = 0
        while start < n:
            rows = slice(start, min(start + self._batch_size, n))
            try:
                self._fill(seen, stamps, rows, order)
            except torch.cuda.OutOfMemoryError as error:
                self._halve_batch(error)
            else:
                start = rows.stop
        return seen

    def _novelty_of(self, seen: Seen) -> npt.NDArray[np.float32]:
        """Return the novelty of stamps, shape ``(n,)``."""
        if self._novelty is None:
            return np.full(len(seen.logits), np.nan, dtype=np.float32)
        with torch.inference_mode():
            novelty = self._novelty(torch.from_numpy(seen.early), torch.from_numpy(seen.late))
        level: npt.NDArray[np.float32] = novelty.float().numpy()
        return level

    def _band_order(self, stamps: Stamps) -> list[int]:
        """Return the index of each of the card's bands in the stamps."""
        card = self._card
        if sorted(stamps.bands) != sorted(card.bands):
            raise CheckpointError(
                f"the stamps have the bands {', '.join(stamps.bands)}, the checkpoint {card.name}"
                f" needs exactly {', '.join(card.bands)}; cut the stamps with the card's bands"
            )
        if stamps.scale_arcsec > card.scale_arcsec * SCALE_TOLERANCE:
            raise CheckpointError(
                f"the stamps have {stamps.scale_arcsec:.4g} arcsec/px, the checkpoint {card.name}"
                f" needs {card.scale_arcsec:.4g} or finer; cut them from a finer pyramid level"
            )
        return [stamps.bands.index(band) for band in card.bands]

    def _fill(self, seen: Seen, stamps: Stamps, rows: slice, order: list[int]) -> None:
        """Fill in what the network makes of some rows."""
        flux = torch.from_numpy(stamps.flux[rows][:, order]).to(self._device)
        offset = torch.from_numpy(stamps.offset_px[rows]).to(self._device)
        with torch.inference_mode(), full_float32():
            x = to_network_input(flux, offset, stamps.scale_arcsec, self._card)
            views = [
                self._network.forward_summaries(view.contiguous(memory_format=torch.channels_last))
                for view in oriented(x, self._card.n_views)
            ]
            early, late = (torch.stack(each, dim=1) for each in zip(*views, strict=True))
            logits = self._network.forward_head(late)
            blind = (x[:, -1] == 0).all(dim=(1, 2))  # no pixel is valid in every band
            parts = logits, early.mean(dim=1), late.mean(dim=1)
        for into, part in zip((seen.logits, seen.early, seen.late), parts, strict=True):
            into[rows] = part.cpu().numpy()
            into[rows][blind.cpu().numpy()] = np.nan

    def _halve_batch(self, error: torch.cuda.OutOfMemoryError) -> None:
        """Make batches half as large, or give up if they are of one stamp."""
        if self._batch_size == 1:
            raise RunError(
                f"{self._device} has no memory for a single stamp with {self._card.name};"
                " free the device or score on the CPU"
            ) from error
        self._batch_size //= 2
        torch.cuda.empty_cache()


def _scores(
    logits: npt.NDArray[np.float32], novelty: npt.NDArray[np.float32], card: ModelCard
) -> Scores:
    """Return the scores of logits ``(n, view, class)``."""
    finite = np.asarray(np.isfinite(logits).all(axis=(1, 2)))
    known = np.where(finite[:, None, None], logits, 0.0)
    probability, spread = mean_and_spread(known, card.temperature)
    probability[~finite], spread[~finite] = np.nan, np.nan
    probability32 = probability.astype(np.float32)
    return Scores(
        probability32,
        probability32[:, card.member_index],
        spread[:, card.member_index].astype(np.float32),
        np.where(finite, novelty, np.float32(np.nan)),
    )


def mean_and_spread(
    logits: npt.NDArray[np.floating], temperature: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return class probabilities by the mean logits of the views, and how far the views disagree.

    Parameters
    ----------
    logits
        Finite, shape ``(n, view, class)``.
    temperature
        Divides them.

    Returns
    -------
    probability, spread
        ``(n, class)`` each; the spread is the standard deviation (of the population) of the
        probability over the views, NaN for one view.
    """
    scaled = logits.astype(np.float64) / temperature
    spread = _softmax(scaled).std(axis=1)
    if logits.shape[1] == 1:
        spread[:] = np.nan
    return _softmax(scaled.mean(axis=1)), spread


def _softmax(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return class probabilities along the last axis."""
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    share: npt.NDArray[np.float64] = raised / raised.sum(axis=-1, keepdims=True)
    return share
