"""Devices: which one is used, and how exactly it computes.

Owns the words for them. Does not own what is computed (``scorer``).
"""

import contextlib
import re
from collections.abc import Iterator

import torch

from survey_classifier.errors import ConfigError

__all__ = ["choose_device", "full_float32"]


def choose_device(name: str = "auto") -> torch.device:
    """Return the device of a name; ``auto`` is a CUDA device where there is one, else the CPU.

    Raises
    ------
    ConfigError
        If the name means no device of this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    # Torch knows others, which nothing here was made for.
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise ConfigError(f"there is no device {name!r}; use 'auto', 'cpu' or 'cuda'")
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"the device {name!r} needs a CUDA device and there is none; use 'auto'")
    return device


@contextlib.contextmanager
def full_float32() -> Iterator[None]:
    """Keep cuDNN from rounding float32 to TF32: a score must not depend on the device."""
    allowed = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = allowed
