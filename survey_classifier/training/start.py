"""What a training starts from: the weights of another, and whose objects these know already.

Owns which checkpoints fit, and what it does to the figures if the weights had seen the objects.
Does not own the fit (``optimize``) or the files of a training (``fit``).
"""

from dataclasses import dataclass, field

import torch

from survey_classifier.errors import CheckpointError
from survey_classifier.model.card import DataDigest, ModelCard
from survey_classifier.model.checkpoint import file_digest, load_network
from survey_classifier.model.shipped import resolve_checkpoint
from survey_classifier.training.recipes import Recipe

__all__ = ["Start", "read_start", "without_head"]

Weights = dict[str, torch.Tensor]

FIELDS = ("architecture", "width", "transformer", "bands", "stamp_px")
"""What a checkpoint to start from must have in common with the recipe. Not the unit: what a network
sees is stretched, and so has none."""


@dataclass(frozen=True, slots=True)
class Start:
    """First weights; none where a network begins at random."""

    weights: Weights = field(default_factory=dict)
    """By name; the head is taken over only where the classes are the same."""
    checkpoint: tuple[DataDigest, ...] = ()
    """The file that they came from."""
    data: tuple[DataDigest, ...] = ()
    """What they were fitted to, and those that they were started from."""

    def seen(self, data: tuple[DataDigest, ...]) -> tuple[str, ...]:
        """Return the names of those of some files that the weights were fitted to.

        Parameters
        ----------
        data
            Tables and pixels.
        """
        known = {digest.sha256 for digest in self.data}
        return tuple(dict.fromkeys(digest.name for digest in data if digest.sha256 in known))

    def inherited(self, data: tuple[DataDigest, ...]) -> tuple[DataDigest, ...]:
        """Return all that a network has learned from: its own data, that of the start, the start.

        Parameters
        ----------
        data
            The training's own tables and pixels.
        """
        own = {digest.sha256 for digest in data}
        others = tuple(digest for digest in self.data if digest.sha256 not in own)
        return (*data, *others, *self.checkpoint)


def read_start(recipe: Recipe, card: ModelCard) -> Start:
    """Return what a recipe's networks start from.

    Parameters
    ----------
    recipe
        The recipe.
    card
        Its draft card.

    Raises
    ------
    CheckpointError
        If there is no such checkpoint, or it is of another network.
    """
    if not recipe.fit.start_from:
        return Start()
    path = resolve_checkpoint(recipe.fit.start_from, recipe.path("."), "fit.start_from")
    network, known = load_network(path)
    for name in FIELDS:
        have, need = getattr(known, name), getattr(card, name)
        if have != need:
            raise CheckpointError(
                f"{path} has {name} {_spelled(have)}, the recipe {recipe.name} has"
                f" {_spelled(need)}; start from another checkpoint, or make them agree"
            )
    weights = network.state_dict()
    if known.classes != card.classes:
        weights = without_head(weights)
    digest = DataDigest(name=path.name, sha256=file_digest(path), n=0)
    return Start(weights, (digest,), known.data)


def without_head(weights: Weights) -> Weights:
    """Return the weights below the head, which alone knows how many classes there are."""
    return {name: value for name, value in weights.items() if not name.startswith("head.")}


def _spelled(value: object) -> str:
    """Return a card's field as a message shows it."""
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
