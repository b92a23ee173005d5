"""A small vision transformer (Dosovitskiy et al. 2021), for any number of input channels.

Owns the layers and their arrangement. Does not own files (``checkpoint``), devices (``scorer``),
what the channels mean (``inputs``) or what attention is taken for.

Blocks norm first (Xiong et al. 2020). Nothing is dropped at random: at the size of our samples
the turns, flips and shifts of the views do that work, and equal seeds give equal weights.
"""

from collections.abc import Iterable
from typing import cast

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import nn

from survey_classifier.model.classifier import Classifier

__all__ = ["VisionTransformer"]

INITIAL_SCATTER = 0.02
"""Standard deviation of the first weights, as published."""
MLP_RATIO = 4
"""Width of a block's hidden layer, in widths of a token."""


class Attention(nn.Module):
    """Self-attention of several heads; ``(n, token, width)`` to the same shape."""

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.to_qkv = nn.Linear(width, 3 * width)
        self.to_out = nn.Linear(width, width)

    def _queries_keys_values(
        self, x: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return queries, keys and values, ``(n, head, token, width / head)`` each."""
        n, n_token, _ = x.shape
        parts = self.to_qkv(x).reshape(n, n_token, 3, self.n_heads, -1)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        return query, key, value

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return what each token gathers from all."""
        gathered = F.scaled_dot_product_attention(*self._queries_keys_values(x))
        mixed: torch.Tensor = self.to_out(gathered.transpose(1, 2).reshape(x.shape))
        return mixed

    def weights(self, x: torch.Tensor) -> torch.Tensor:
        """Return how much of each token (last axis) each token gathers, ``(n, head, t, t)``."""
        query, key, _ = self._queries_keys_values(x)
        return (query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5).softmax(dim=-1)


class Block(nn.Module):
    """Attention, then a hidden layer for each token, each added to what was there."""

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(width)
        self.attention = Attention(width, n_heads)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, MLP_RATIO * width), nn.GELU(), nn.Linear(MLP_RATIO * width, width)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``(n, token, width)`` from the same shape."""
        x = x + self.attention(self.norm_attention(x))
        added: torch.Tensor = x + self.mlp(self.norm_mlp(x))
        return added


class VisionTransformer(Classifier):
    """A transformer over the patches of a stamp and one class token, whose end is the feature.

    Parameters
    ----------
    n_channel
        Channels of the input: the bands and validity.
    n_class
        Number of logits.
    width
        Channels of a token, a multiple of ``n_heads``.
    n_patch
        Patches along a side of the stamp.
    patch_px
        Side of a patch in pixels.
    depth
        Number of blocks.
    n_heads
        Attention heads of a block.
    """

    def __init__(
        self,
        n_channel: int,
        n_class: int,
        width: int,
        *,
        n_patch: int,
        patch_px: int,
        depth: int,
        n_heads: int,
    ) -> None:
        super().__init__()
        self.patches = nn.Conv2d(n_channel, width, patch_px, stride=patch_px)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Parameter(torch.zeros(1, n_patch**2 + 1, width))
        self.blocks = nn.Sequential(*(Block(width, n_heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, n_class)
        self.n_early = width
        self.apply(_initialize)
        for parameter in (self.class_token, self.position):
            nn.init.trunc_normal_(parameter, std=INITIAL_SCATTER)

    def _tokens(self, x: torch.Tensor) -> torch.Tensor:
        """Return the class token and the patches row by row, ``(n, 1 + patch, width)``."""
        patches = self.patches(x).flatten(2).transpose(1, 2)  # (n, patch, width)
        first = self.class_token.expand(len(x), -1, -1)
        return torch.cat([first, patches], dim=1) + self.position

    def forward_summaries(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what is known of each stamp early and late.

        Parameters
        ----------
        x
            Network input, shape ``(n, n_channel, y, x)``.

        Returns
        -------
        early, late
            The mean of the embedded patches, and what the class token has gathered;
            ``(n, width)`` each.
        """
        tokens = self._tokens(x)
        return tokens[:, 1:].mean(dim=1), self.norm(self.blocks(tokens)[:, 0])

    def attention(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the attention of each block.

        Parameters
        ----------
        x
            Network input, shape ``(n, n_channel, y, x)``.

        Returns
        -------
        list of Tensor
            One a block, ``(n, head, token, token)``: how much of each token (last axis, adds up
            to 1) each token gathers. Token 0 is that of the class, then the patches row by row,
            the bottom row first as in the stamp.
        """
        maps, tokens = [], self._tokens(x)
        for block in cast("Iterable[Block]", self.blocks):
            maps.append(block.attention.weights(block.norm_attention(tokens)))
            tokens = block(tokens)
        return maps


def _initialize(module: nn.Module) -> None:
    """Draw a module's first weights."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.trunc_normal_(module.weight, std=INITIAL_SCATTER)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
