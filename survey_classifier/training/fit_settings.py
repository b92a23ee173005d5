"""The keys of a recipe that say what network is fitted, to which objects and how.

Owns the tables ``[network]``, ``[split]`` and ``[fit]``. Does not own the recipe (``recipes``) or
what is done with them (``split``, ``schedule``, ``optimize``, ``fit``).
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from survey_classifier.model.card import Architecture, Transformer, Width
from survey_classifier.settings import Settings

__all__ = ["FitSettings", "NetworkSettings", "Seed", "SplitSettings"]

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Degrees = Annotated[float, Field(ge=0, le=360)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
"""Such as all sources of random numbers take."""


class NetworkSettings(Settings):
    """The ``[network]`` table."""

    architecture: Architecture = "resnet15"
    width: Width = 32
    """Channels of the first stage, 64 is the published network; of a transformer its tokens."""
    transformer: Transformer | None = None
    """Shape of a ``vit``."""


class SplitSettings(Settings):
    """The ``[split]`` table: which objects judge a network.

    ``strips``: folds of the sky with equally many objects, each scored by a network fitted to
    the others; the network that is kept is fitted to all. ``random``: one network, fitted to a
    random part of the objects, its temperature to a second, and judged on a third.
    """

    kind: Literal["strips", "random"] = "strips"
    axis: Literal["ra", "dec"] = "ra"
    n_folds: Annotated[int, Field(ge=2, le=20)] = 4
    test_share: Share = 0.25
    """Of all objects (random)."""
    validation_share: Share = 0.25
    """Of those that are no test (random)."""
    leaky_split: bool = False
    """Whether turned copies of one object may get into different parts: a fault of published
    work, here to be measured (random)."""


class FitSettings(Settings):
    """The ``[fit]`` table: optimizer, schedule and views."""

    epochs: Count = 30
    batch_size: Annotated[int, Field(ge=2)] = 128
    optimizer: Literal["adamw", "sgd"] = "adamw"
    rate: Positive = 2e-3
    """Highest learning rate."""
    rate_decay: Positive | None = None
    """Epoch t, from 0, has the rate ``rate * exp(-rate_decay * t)``; by default the rate rises
    for a twentieth of the steps and then falls to 0 as half a cosine."""
    weight_decay: NotNegative = 0.05
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    robust_q: Annotated[float, Field(gt=0, le=1)] | None = None
    """Exponent of the generalized cross entropy, which wrong labels pull less the larger it is;
    by default cross entropy, its limit for 0."""
    n_teachers: Annotated[int, Field(ge=0, le=20)] = 0
    """Networks with the seeds that follow, fitted first to the same objects; what they say on
    average is then learned instead of the labels."""
    contrast_epochs: Annotated[int, Field(ge=0)] = 0
    """Epochs before all others in which a network learns, without labels, which views are of one
    object."""
    weight_power: NotNegative = 1.0
    """An object is shown in proportion to its ``weight`` to this power; 0 = all equally often."""
    angles_deg: tuple[Degrees, ...] = ()
    """Angles at each of which an object enters once an epoch; by default an object enters once,
    at any angle."""
    flip: bool = True
    """Whether views are mirrored, half of them."""
    jitter_px: NotNegative = 0.5
    """Largest shift along each axis, in pixels of the network's input."""
    flux_scatter: NotNegative = 0.03
    """Standard deviation of a common factor on all bands (natural logarithm)."""
    start_from: str = ""
    """A checkpoint, by name or path, whose weights are the first ones; of the same network and
    bands."""
    seed: Seed = 0

    @model_validator(mode="after")
    def _agree(self) -> Self:
        """Check that no angle counts twice and that there is one loss."""
        if len({angle % 360 for angle in self.angles_deg}) < len(self.angles_deg):
            raise ValueError(f"angles_deg repeat an angle: {list(self.angles_deg)}; keep one")
        if self.robust_q is not None and self.label_smoothing:
            raise ValueError(
                f"robust_q {self.robust_q} and label_smoothing {self.label_smoothing} are two"
                " losses; keep one"
            )
        return self

    @property
    def n_epoch(self) -> int:
        """Number of epochs until one network is there."""
        return self.contrast_epochs + self.epochs * (1 + self.n_teachers)
