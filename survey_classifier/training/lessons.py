"""What a network learns of a batch: its labels, what teachers say, or which views are one object.

Owns the losses. Does not own the views (``samples``), the steps (``optimize``) or which lesson
comes when (``stages``).
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it

from survey_classifier.model.network import Network
from survey_classifier.training.fit_settings import FitSettings

__all__ = [
    "Forward",
    "Lesson",
    "Views",
    "from_labels",
    "from_teachers",
    "from_views",
    "robust_loss",
]

Forward = Callable[[torch.Tensor], torch.Tensor]
"""Network input to logits in float32."""
Views = Callable[[], tuple[torch.Tensor, torch.Tensor]]
"""Gives network input and labels of a batch; other random views at each call, in the same order."""
Lesson = Callable[[Forward, Views, FitSettings], torch.Tensor]
"""Gives the sum of the losses of a batch's objects."""

LIKENESS_SCALE = 0.1
"""Cosines are divided by it: the temperature that Chen et al. (2020) found best."""


def from_labels(forward: Forward, views: Views, settings: FitSettings) -> torch.Tensor:
    """Return the loss of the labels: cross entropy, or what the settings put in its place."""
    x, label = views()
    logits = forward(x)
    if settings.robust_q is not None:
        return robust_loss(logits, label, settings.robust_q)
    smoothing = settings.label_smoothing
    return F.cross_entropy(logits, label, label_smoothing=smoothing, reduction="sum")


def robust_loss(logits: torch.Tensor, label: torch.Tensor, q: float) -> torch.Tensor:
    """Return the sum of the generalized cross entropy (Zhang & Sabuncu 2018), (1 - p^q) / q.

    Its gradient is that of cross entropy times p^q, so labels that a network finds absurd pull
    little. For q = 1 it is the absolute error 1 - p, and its limit for q = 0 is cross entropy.

    Parameters
    ----------
    logits
        Shape ``(n, n_class)``.
    label
        Index of the class, shape ``(n,)``; p is its probability.
    q
        Above 0, at most 1.
    """
    log_p = -F.cross_entropy(logits, label, reduction="none")
    return -torch.expm1(q * log_p).sum() / q


def from_teachers(teachers: Sequence[Network]) -> Lesson:
    """Return the lesson of being as sure as teachers are on average (Hinton et al. 2015).

    Parameters
    ----------
    teachers
        In ``eval`` mode, on the device of the views.
    """

    def lesson(forward: Forward, views: Views, _: FitSettings) -> torch.Tensor:
        x, _labels = views()
        with torch.no_grad():
            said = torch.stack([teacher(x).softmax(dim=1) for teacher in teachers]).mean(dim=0)
        return F.cross_entropy(forward(x), said, reduction="sum")

    return lesson


def from_views(forward: Forward, views: Views, _: FitSettings) -> torch.Tensor:
    """Return the loss of finding each view's partner, another of the object, among all others.

    This is NT-Xent (Chen et al. 2020, "SimCLR") of the head's output; labels have no part in it.
    """
    (first, _labels), (second, _same) = views(), views()
    # In one go: a batch norm that sees both kinds apart could tell them apart.
    direction = F.normalize(forward(torch.cat([first, second])), dim=1)
    likeness = direction @ direction.T / LIKENESS_SCALE
    likeness.fill_diagonal_(-torch.inf)
    n = len(first)
    partner = torch.arange(2 * n, device=first.device).roll(n)
    return F.cross_entropy(likeness, partner, reduction="sum") / 2
