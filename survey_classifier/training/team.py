"""Processes that fit one network together, and the device of each.

Owns who takes part: one process, or those that ``torchrun`` has started. Does not own what they
do (``optimize``).
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist

from survey_classifier.errors import RunError
from survey_classifier.model.devices import choose_device

__all__ = ["Team", "gathered_team"]


@dataclass(frozen=True, slots=True)
class Team:
    """One process's place among those that fit a network together."""

    device: torch.device
    """Where this process computes."""
    rank: int = 0
    """Its number, from 0."""
    size: int = 1
    """How many there are."""

    @property
    def leads(self) -> bool:
        """Whether this process is the one that writes files and reports."""
        return self.rank == 0


@contextmanager
def gathered_team(device: str) -> Iterator[Team]:
    """Join the processes that ``torchrun`` started, for a block; else be a team of one.

    Parameters
    ----------
    device
        ``auto``, ``cpu`` or ``cuda``; each process of a node takes the CUDA device of its number.

    Raises
    ------
    ConfigError
        If there is no such device.
    RunError
        If there are more processes than devices.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    chosen = choose_device(device)
    if size == 1:
        yield Team(chosen)
        return
    if chosen.type == "cuda":
        number = int(os.environ["LOCAL_RANK"])
        if number >= torch.cuda.device_count():
            raise RunError(
                f"torchrun started process {number} of this node, which has"
                f" {torch.cuda.device_count()} CUDA devices; start one process for each"
            )
        chosen = torch.device("cuda", number)
        torch.cuda.set_device(chosen)
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield Team(chosen, dist.get_rank(), size)
    finally:
        dist.destroy_process_group()
