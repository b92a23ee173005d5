"""Novelty: how unlike the stamps of a network's training a stamp is.

Owns the arithmetic, and the tensors that it needs beside the weights. Does not own what a network
knows of a stamp (``network``) or the fit to a training set (``training.novelty``).

A network knows a stamp early, by the mean of its first maps, and late, by the features that its
head sees. In each a stamp has a Mahalanobis distance from the training objects (Lee et al. 2018,
NeurIPS, p. 7167, who take several depths too). On the way to the head much is lost that does not
matter for the classes: bands in a wrong order, or a sky of a wrong color, show early and hardly
late. A distance counts by the share of training objects that are farther out, in the eyes of
networks that had not seen them. Of the two the odder one is taken, and as that is the worse of
two chances, what is given is the share of objects that are odder still.
"""

from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

__all__ = ["Novelty", "Tail", "make_novelty"]

Floats = npt.NDArray[np.float64]
N_KNOT = 129
"""Points at which a share is stored, equally far apart in its logarithm."""


class Distance(nn.Module):
    """Squared Mahalanobis distances from the mean of the training objects, per feature."""

    mean: torch.Tensor
    whitener: torch.Tensor

    def __init__(self, n_feature: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_feature))
        self.register_buffer("whitener", torch.zeros(n_feature, n_feature))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return ``(n,)`` in float64 from features ``(n, n_feature)``."""
        white = (features.double() - self.mean.double()) @ self.whitener.double()
        return white.square().mean(dim=1)


class Tail(nn.Module):
    """From values to minus log10 of the share of objects that have a larger one.

    Beyond the largest it goes on as a straight line, so that what is odder still counts as more.
    """

    value: torch.Tensor
    level: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("value", torch.zeros(N_KNOT))
        self.register_buffer("level", torch.zeros(N_KNOT))

    @classmethod
    def of(cls, values: Floats) -> Self:
        """Return the tail of values of objects, shape ``(n,)``."""
        n = len(values)
        # A new object is beyond the k-th largest of n with the chance k / (n + 1).
        level = np.linspace(0, np.log10(n + 1), N_KNOT)
        within = np.arange(1, n + 1) / (n + 1)
        tail = cls()
        tail.value = torch.from_numpy(np.interp(1 - 10**-level, within, np.sort(values))).float()
        tail.level = torch.from_numpy(level).float()
        return tail

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Return the levels of values, ``(n,)`` each, in float64."""
        value, level = self.value.double(), self.level.double()
        right = torch.searchsorted(value, values.contiguous(), right=True).clamp(1, N_KNOT - 1)
        left = right - 1
        beyond = values > value[-1]
        # The last knots lean on single objects: the line goes through the middle one.
        left = torch.where(beyond, torch.full_like(left, N_KNOT // 2), left)
        step = (value[right] - value[left]).clamp(min=torch.finfo(torch.float32).tiny)
        risen = level[left] + (values - value[left]) / step * (level[right] - level[left])
        return risen.clamp(min=0)


class Novelty(nn.Module):
    """The novelty of stamps, from what a network knows of them early and late.

    Parameters
    ----------
    n_early, n_late
        Features that it knows early and late.
    """

    def __init__(self, n_early: int, n_late: int) -> None:
        super().__init__()
        self.early, self.late = Distance(n_early), Distance(n_late)
        self.early_tail, self.late_tail, self.tail = Tail(), Tail(), Tail()

    def distances(self, early: torch.Tensor, late: torch.Tensor) -> torch.Tensor:
        """Return both distances, ``(n, 2)``, from features ``(n, n_early)`` and ``(n, n_late)``."""
        return torch.stack([self.early(early), self.late(late)], dim=1)

    def forward(self, early: torch.Tensor, late: torch.Tensor) -> torch.Tensor:
        """Return the novelty of stamps.

        Parameters
        ----------
        early, late
            What the network knows of them, ``(n, n_early)`` and ``(n, n_late)``; NaN gives NaN.

        Returns
        -------
        Tensor
            Shape ``(n,)``, float64: minus log10 of the share of training objects that are farther
            out. 0 is the most typical, 2 means that 1 % are farther out; above log10 of their
            number it is extrapolated.
        """
        worse = _worse(self, self.distances(early, late))
        known = worse.isfinite()
        level: torch.Tensor = self.tail(worse.nan_to_num())
        return level.masked_fill(~known, torch.nan)


def _worse(novelty: Novelty, distances: torch.Tensor) -> torch.Tensor:
    """Return the level of the odder of both distances, ``(n,)`` from ``(n, 2)``."""
    known = distances.isfinite().all(dim=1)
    safe = distances.nan_to_num(nan=0.0, posinf=0.0)
    worse = torch.maximum(novelty.early_tail(safe[:, 0]), novelty.late_tail(safe[:, 1]))
    return worse.masked_fill(~known, torch.nan)


def make_novelty(early: Distance, late: Distance, unseen: Floats) -> Novelty:
    """Return what gives the novelty of stamps.

    Parameters
    ----------
    early, late
        Distances from the training objects of the network that is kept.
    unseen
        Both distances of training objects, each by a network like it that had not seen the
        object, shape ``(n, 2)``.
    """
    novelty = Novelty(len(early.mean), len(late.mean))
    novelty.early, novelty.late = early, late
    novelty.early_tail, novelty.late_tail = Tail.of(unseen[:, 0]), Tail.of(unseen[:, 1])
    novelty.tail = Tail.of(_worse(novelty, torch.from_numpy(unseen)).numpy())
    return novelty
