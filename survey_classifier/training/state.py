"""The state of a fit on disk, so that an interrupted training goes on where it was.

Owns the file of one fit: its tensors, random states and reports, and when it may be taken up.
Does not own the fit (``optimize``) or which fits there are (``fit``).

A state is one safetensors file, replaced at once after each epoch. Its metadata are JSON; nothing
is pickled.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from survey_classifier.errors import RunError, RunMismatchError
from survey_classifier.files import replacing
from survey_classifier.model.network import Network

__all__ = ["EpochReport", "FitState"]

WEIGHTS, OPTIMIZER = "weights.", "optimizer."


@dataclass(frozen=True, slots=True)
class EpochReport:
    """How one epoch went."""

    epoch: int
    """From 1."""
    loss: float
    """Mean over the epoch's random views, of several processes over those of the first; in nats,
    but for the generalized cross entropy."""
    rate: float
    """Learning rate at its end."""
    seconds: float
    """Wall-clock."""


@dataclass(frozen=True, slots=True)
class FitState:
    """Where a fit keeps its state.

    Parameters
    ----------
    path
        The file; it need not exist.
    fingerprint
        Of all that the fit's result depends on.
    """

    path: Path
    fingerprint: str

    def save(
        self,
        network: Network,
        optimizer: torch.optim.Optimizer,
        rng: np.random.Generator,
        reports: list[EpochReport],
    ) -> None:
        """Write the state after an epoch.

        Raises
        ------
        RunError
            If it can't be written.
        """
        tensors = {WEIGHTS + name: value for name, value in network.state_dict().items()}
        for number, moments in optimizer.state_dict()["state"].items():
            tensors |= {f"{OPTIMIZER}{number}.{name}": value for name, value in moments.items()}
        whole = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        metadata = {
            "fingerprint": self.fingerprint,
            "reports": json.dumps([asdict(report) for report in reports]),
            "random": json.dumps(rng.bit_generator.state),
        }
        try:
            with replacing(self.path) as temporary:
                save_file(whole, temporary, metadata)
        except (OSError, SafetensorError) as error:
            raise RunError(f"{self.path} can't be written ({error}); change 'out'") from error

    def restore(
        self, network: Network, optimizer: torch.optim.Optimizer, rng: np.random.Generator
    ) -> list[EpochReport]:
        """Put the state back into what a fit works with, in place; where there is none, do nothing.

        Returns
        -------
        list of EpochReport
            The epochs that are done.

        Raises
        ------
        RunMismatchError
            If the state is of another fit.
        RunError
            If it can't be read.
        """
        if not self.path.is_file():
            return []
        try:
            with safe_open(self.path, framework="pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise RunError(f"{self.path} can't be read ({error}); delete it") from error
        if metadata.get("fingerprint") != self.fingerprint:
            raise RunMismatchError(
                f"{self.path} was begun with another recipe, other data or another number of"
                " processes; delete its folder to begin anew, or put them back"
            )
        network.load_state_dict(_under(tensors, WEIGHTS))
        moments: dict[int, dict[str, torch.Tensor]] = {}
        for name, value in _under(tensors, OPTIMIZER).items():
            number, _, moment = name.partition(".")
            moments.setdefault(int(number), {})[moment] = value
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": moments, "param_groups": groups})
        rng.bit_generator.state = json.loads(metadata["random"])
        reports: list[dict[str, Any]] = json.loads(metadata["reports"])
        return [EpochReport(**report) for report in reports]


def _under(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """Return the tensors whose names begin so, without it."""
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
