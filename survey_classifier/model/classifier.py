"""What every network is: features of a stamp, and a linear head that makes logits of them.

Owns these two steps. Does not own how features come about (``resnet``, ``vit``).
"""

import torch
from torch import nn

__all__ = ["Classifier"]


class Classifier(nn.Module):
    """A network with ``forward_summaries``, which a kind of network brings, and a ``head``."""

    head: nn.Linear
    n_early: int
    """Length of what is known early of a stamp."""

    def forward_summaries(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what is known of each stamp early, and the features late.

        Parameters
        ----------
        x
            Network input, shape ``(n, n_channel, y, x)``.

        Returns
        -------
        early, late
            ``(n, n_early)`` and ``(n, n_feature)``.
        """
        raise NotImplementedError

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """Return the features of each stamp, shape ``(n, n_feature)``."""
        return self.forward_summaries(x)[1]

    def forward_head(self, features: torch.Tensor) -> torch.Tensor:
        """Return logits, shape ``(n, n_class)``, from features."""
        logits: torch.Tensor = self.head(features)
        return logits

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits, shape ``(n, n_class)``, from network input ``(n, n_channel, y, x)``."""
        return self.forward_head(self.forward_features(x))
