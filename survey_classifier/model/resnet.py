"""The residual networks of He et al. 2016, for any number of input channels.

Owns the layers and their arrangement. Does not own files (``checkpoint``), devices
(``scorer``) or what the channels mean (``inputs``).

The 18, 34, 50, 101 and 152 layer networks are those of He et al. 2016 (CVPR, p. 770), table 1,
with option B shortcuts and, as in every published set of weights, the stride of a bottleneck on
its 3 x 3 convolution. ``resnet15`` is the same with a stem and seven basic blocks (2, 2, 2, 1).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from survey_classifier.model.classifier import Classifier

__all__ = ["ARCHITECTURES", "ResNet", "fuse_norms"]


class ConvNorm(nn.Module):
    """A convolution without bias, padded to keep the grid, and its batch norm."""

    def __init__(self, n_in: int, n_out: int, kernel_px: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(n_in, n_out, kernel_px, stride, padding=kernel_px // 2, bias=False)
        self.norm = nn.BatchNorm2d(n_out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``(n, n_out, h/stride, w/stride)`` from ``(n, n_in, h, w)``."""
        normed: torch.Tensor = self.norm(self.conv(x))
        return normed


def shortcut(n_in: int, n_out: int, stride: int) -> nn.Module:
    """Return the identity, or a 1 x 1 projection where the shape changes (option B)."""
    if n_in == n_out and stride == 1:
        return nn.Identity()
    return ConvNorm(n_in, n_out, 1, stride)


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut; ``(n, c, h, w) -> (n, width, h/s, w/s)``."""

    expansion = 1

    def __init__(self, n_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            ConvNorm(n_in, width, 3, stride), nn.ReLU(inplace=True), ConvNorm(width, width, 3)
        )
        self.shortcut = shortcut(n_in, width, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``relu(residual + shortcut)``."""
        return torch.relu(self.residual(x) + self.shortcut(x))


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolutions; ``(n, c, h, w) -> (n, 4 width, h/s, w/s)``."""

    expansion = 4

    def __init__(self, n_in: int, width: int, stride: int) -> None:
        super().__init__()
        n_out = self.expansion * width
        self.residual = nn.Sequential(
            ConvNorm(n_in, width, 1),
            nn.ReLU(inplace=True),
            ConvNorm(width, width, 3, stride),
            nn.ReLU(inplace=True),
            ConvNorm(width, n_out, 1),
        )
        self.shortcut = shortcut(n_in, n_out, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``relu(residual + shortcut)``."""
        return torch.relu(self.residual(x) + self.shortcut(x))


@dataclass(frozen=True, slots=True)
class Architecture:
    """A kind of block, and how many of them each of the four stages has."""

    block: type[BasicBlock] | type[Bottleneck]
    n_blocks: tuple[int, int, int, int]


ARCHITECTURES = {
    "resnet15": Architecture(BasicBlock, (2, 2, 2, 1)),
    "resnet18": Architecture(BasicBlock, (2, 2, 2, 2)),
    "resnet34": Architecture(BasicBlock, (3, 4, 6, 3)),
    "resnet50": Architecture(Bottleneck, (3, 4, 6, 3)),
    "resnet101": Architecture(Bottleneck, (3, 4, 23, 3)),
    "resnet152": Architecture(Bottleneck, (3, 8, 36, 3)),
}


def make_blocks(architecture: Architecture, width: int) -> Iterator[nn.Module]:
    """Yield the blocks of all stages; each stage after the first doubles width, halves the grid."""
    n_in = width
    for stage, n_block in enumerate(architecture.n_blocks):
        for block in range(n_block):
            stride = 2 if stage > 0 and block == 0 else 1
            yield architecture.block(n_in, width * 2**stage, stride)
            n_in = width * 2**stage * architecture.block.expansion


class ResNet(Classifier):
    """A residual network: stem, four stages of blocks, mean over the grid, linear head.

    Parameters
    ----------
    architecture
        A key of ``ARCHITECTURES``.
    n_channel
        Channels of the input.
    n_class
        Number of logits.
    width
        Channels of the stem and of the first stage's blocks; 64 is the published network.
    """

    def __init__(self, architecture: str, n_channel: int, n_class: int, width: int = 64) -> None:
        super().__init__()
        plan = ARCHITECTURES[architecture]
        self.stem = nn.Sequential(
            ConvNorm(n_channel, width, 7, 2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        self.blocks = nn.Sequential(*make_blocks(plan, width))
        self.head = nn.Linear(width * 8 * plan.block.expansion, n_class)
        self.n_early = width
        self.apply(_initialize)

    def forward_summaries(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what is known of each stamp early and late: the means of the maps.

        Parameters
        ----------
        x
            Network input, shape ``(n, n_channel, y, x)``.

        Returns
        -------
        early, late
            After the stem, ``(n, width)``, and the features, ``(n, 8 * width * expansion)``.
        """
        x = self.stem(x)  # (n, width, y/4, x/4)
        early = x.mean(dim=(2, 3))  # (n, width)
        x = self.blocks(x)  # (n, 8 width expansion, y/32, x/32)
        return early, x.mean(dim=(2, 3))  # (n, 8 width expansion)


def _initialize(module: nn.Module) -> None:
    """Draw a module's first weights: He et al. 2015 for convolutions, blocks start as identity."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    if isinstance(module, BasicBlock | Bottleneck):
        # Goyal et al. 2017, section 5.1: a zero last scale lets the signal pass at the start.
        last = [part for part in module.residual if isinstance(part, ConvNorm)][-1]
        nn.init.zeros_(last.norm.weight)


def fuse_norms(network: nn.Module) -> None:
    """Fold every batch norm of an ``eval`` network into its convolution, in place.

    The results are the same up to rounding; the network can't be trained or saved afterwards.
    One without batch norms stays as it is.
    """
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, ConvNorm):
                setattr(module, name, fuse_conv_bn_eval(child.conv, child.norm))
