"""Scoring stamps: the seam between a run and whatever network it uses.

Owns devices, batches, the views that a score is averaged over, and what becomes of memory that
does not suffice. Does not own the input's making (``inputs``) or what a probability means for
the field (``membership.probability``).
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt
import torch

from survey_classifier.errors import CheckpointError, RunError
from survey_classifier.model.card import ModelCard
from survey_classifier.model.checkpoint import load_network
from survey_classifier.model.inputs import SCALE_TOLERANCE, to_network_input
from survey_classifier.model.network import Network
from survey_classifier.model.resnet import fuse_norms
from survey_classifier.stamps import Stamps

__all__ = ["Scorer", "Scores", "TorchScorer", "choose_device", "oriented"]


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

    def __post_init__(self) -> None:
        n = len(self.probability)
        if self.p_image.shape != (n,) or self.p_image_err.shape != (n,):
            raise ValueError(
                f"scores of {n} stamps can't have p_image {self.p_image.shape}"
                f" and p_image_err {self.p_image_err.shape}"
            )


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


def choose_device(name: str = "auto") -> torch.device:
    """Return the device of a name; ``auto`` is a CUDA device where there is one, else the CPU.

    Raises
    ------
    RunError
        If the name means no device of this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise RunError(f"there is no device {name!r}; use 'auto', 'cpu' or 'cuda'") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise RunError(f"the device {name!r} needs a CUDA device and there is none; use 'auto'")
    return device


def oriented(x: torch.Tensor, n_views: int) -> Iterator[torch.Tensor]:
    """Yield the first ``n_views`` orientations of the square, ``(n, channel, y, x)`` each.

    In the order: as it is, half a turn, quarter turns, then the same mirrored; so that two views
    are the pair that differs most, four are the rotations and eight are all.
    """
    for view in range(n_views):
        turned = torch.rot90(x, (0, 2, 1, 3)[view % 4], dims=(2, 3))
        yield turned if view < 4 else turned.flip(3)


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
    """

    def __init__(
        self, network: Network, card: ModelCard, device: torch.device, batch_size: int = 256
    ) -> None:
        fuse_norms(network)
        # torch's annotations leave out this overload of Module.to.
        self._network: Network = network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._card = card
        self._device = device
        self._batch_size = batch_size

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
        RunError
            If there is no such device.
        """
        network, card = load_network(path, expected_digest)
        return cls(network, card, choose_device(device), batch_size)

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
        order = self._band_order(stamps)
        n, n_views = len(stamps), self._card.n_views
        logits = np.full((n, n_views, len(self._card.classes)), np.nan, dtype=np.float32)
        start = 0
        while start < n:
            rows = slice(start, min(start + self._batch_size, n))
            try:
                logits[rows] = self._logits(stamps, rows, order)
            except torch.cuda.OutOfMemoryError as error:
                self._halve_batch(error)
            else:
                start = rows.stop
        return _scores(logits, self._card)

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

    def _logits(self, stamps: Stamps, rows: slice, order: list[int]) -> npt.NDArray[np.float32]:
        """Return the logits ``(n, view, class)`` of some rows."""
        flux = torch.from_numpy(stamps.flux[rows][:, order]).to(self._device)
        offset = torch.from_numpy(stamps.offset_px[rows]).to(self._device)
        with torch.inference_mode(), _full_float32():
            x = to_network_input(flux, offset, stamps.scale_arcsec, self._card)
            views = [
                self._network(view.contiguous(memory_format=torch.channels_last))
                for view in oriented(x, self._card.n_views)
            ]
            blind = (x[:, -1] == 0).all(dim=(1, 2))  # no pixel is valid in every band
            logits = torch.stack(views, dim=1).masked_fill(blind[:, None, None], torch.nan)
        known: npt.NDArray[np.float32] = logits.cpu().numpy()
        return known

    def _halve_batch(self, error: torch.cuda.OutOfMemoryError) -> None:
        """Make batches half as large, or give up if they are of one stamp."""
        if self._batch_size == 1:
            raise RunError(
                f"{self._device} has no memory for a single stamp with {self._card.name};"
                " free the device or score on the CPU"
            ) from error
        self._batch_size //= 2
        torch.cuda.empty_cache()


@contextlib.contextmanager
def _full_float32() -> Iterator[None]:
    """Keep cuDNN from rounding float32 to TF32: a score must not depend on the device."""
    allowed = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = allowed


def _scores(logits: npt.NDArray[np.float32], card: ModelCard) -> Scores:
    """Return the scores of logits ``(n, view, class)``."""
    finite = np.asarray(np.isfinite(logits).all(axis=(1, 2)))
    known = np.where(finite[:, None, None], logits, 0.0).astype(np.float64) / card.temperature
    probability = _softmax(known.mean(axis=1))
    spread = _softmax(known)[..., card.member_index].std(axis=1)
    probability[~finite] = np.nan
    spread[~finite | (card.n_views == 1)] = np.nan
    probability32 = probability.astype(np.float32)
    return Scores(probability32, probability32[:, card.member_index], spread.astype(np.float32))


def _softmax(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return class probabilities along the last axis."""
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    share: npt.NDArray[np.float64] = raised / raised.sum(axis=-1, keepdims=True)
    return share
