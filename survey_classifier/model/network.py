"""Networks: which one a card describes.

Owns the choice. Does not own the layers (``resnet``, ``vit``), files (``checkpoint``) or devices
(``scorer``).

What all of them can do is in ``classifier``.
"""

from typing import TypeAlias

from survey_classifier.model.card import ModelCard
from survey_classifier.model.resnet import ResNet
from survey_classifier.model.vit import VisionTransformer

__all__ = ["Network", "build_network"]

Network: TypeAlias = ResNet | VisionTransformer


def build_network(card: ModelCard) -> Network:
    """Return the network that a card describes, with random weights, in ``train`` mode.

    Parameters
    ----------
    card
        The card.
    """
    n_class = len(card.classes)
    if card.transformer is None:
        return ResNet(card.architecture, card.n_channel, n_class, card.width)
    shape = card.transformer
    return VisionTransformer(
        card.n_channel,
        n_class,
        card.width,
        n_patch=card.stamp_px // shape.patch_px,
        patch_px=shape.patch_px,
        depth=shape.depth,
        n_heads=shape.n_heads,
    )
