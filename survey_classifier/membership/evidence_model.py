"""What each piece of evidence is worth: the model that is fitted, shipped and read.

Owns the evidence file (TOML): the share that the network was trained at, the densities of colors,
the star evidence, and the weights of pieces that are not independent. Does not own the densities
themselves (``color_evidence``, ``stars``), how a model is fitted (``training``), nor what follows
for a source (``evidence``).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from survey_classifier.membership.color_evidence import ColorEvidence
from survey_classifier.membership.probability import expit, llr_image, logit
from survey_classifier.membership.stars import StarEvidence
from survey_classifier.settings import Settings, read_shipped

__all__ = ["MAX_WEIGHT", "SUBSETS", "EvidenceModel", "ImageEvidence", "Weights"]

Floats = npt.NDArray[np.float64]
Share = Annotated[float, Field(gt=0, lt=1)]

SUBSETS = ("image", "color", "image+color")
"""What a source may have of the pieces that are not independent."""
MAX_WEIGHT = 2.0
"""What counts more than twice what it says was never calibrated."""
SHIPPED = Path(__file__).parent / "shipped" / "evidence"


class ImageEvidence(Settings):
    """What the network was trained on: the ``[image]`` table of an evidence file."""

    checkpoint_digest: str = ""
    """SHA-256 of the network's file; '' holds for any network."""
    same_training: tuple[str, ...] = ()
    """SHA-256 of the files of other networks that were trained on the same objects."""
    magnitudes: tuple[float, ...] = ()
    """Nodes in r_0, rising, of ``pi_train``; none: one share for all."""
    pi_train: tuple[Share, ...] = ()
    """Share of members among training objects of each magnitude: the network sees the brightness,
    so its score holds the share at that magnitude. Log-odds are linear between nodes."""
    overall: Share
    """Share of members among all training objects, for sources of unknown magnitude."""
    overall_star: Share | None = None
    """Share of stars among them, for a network that has a class of stars."""

    @model_validator(mode="after")
    def _sound(self) -> "ImageEvidence":
        if len(self.magnitudes) != len(self.pi_train):
            raise ValueError(
                f"{len(self.magnitudes)} magnitudes and {len(self.pi_train)} pi_train: "
                "give one for each"
            )
        if np.any(np.diff(self.magnitudes) <= 0):
            raise ValueError(f"magnitudes {self.magnitudes} do not rise: sort them")
        return self

    def is_of(self, digest: str) -> bool:
        """Return whether the shares are those that the network with this SHA-256 was trained at."""
        return self.checkpoint_digest in ("", digest) or digest in self.same_training

    def llr(self, p_image: npt.ArrayLike, r0: npt.ArrayLike) -> Floats:
        """Return logit p_image - logit pi_train(r_0), shape (n,); NaN where there is no score.

        Parameters
        ----------
        p_image
            Calibrated probabilities, shape (n,).
        r0
            Dereddened r magnitudes, shape (n,); NaN: ``overall``.

        Raises
        ------
        RunError
            If a probability is outside 0 <= p <= 1.
        """
        if not self.magnitudes:
            return llr_image(p_image, self.overall)
        mag = np.asarray(r0, dtype=np.float64)
        share = expit(np.interp(mag, self.magnitudes, logit(self.pi_train)))
        return llr_image(p_image, np.where(np.isnan(mag), self.overall, share))


class Weights(Settings):
    """What image and color are worth where a source has just these: one of ``[weights]``."""

    image: Annotated[float, Field(ge=0, le=MAX_WEIGHT)] = 1.0
    color: Annotated[float, Field(ge=0, le=MAX_WEIGHT)] = 1.0
    offset: Annotated[float, Field(ge=-5, le=5)] = 0.0
    """Added to the log-odds."""


def _even_weights() -> dict[str, Weights]:
    return {subset: Weights() for subset in SUBSETS}


class EvidenceModel(Settings):
    """What each piece of evidence is worth: an evidence file (TOML)."""

    source: str
    """Where its numbers come from, with the digests of what they were fitted to."""
    image: ImageEvidence
    color: ColorEvidence | None = None
    """None: colors say nothing."""
    stars: StarEvidence = StarEvidence()
    weights: dict[str, Weights] = Field(default_factory=_even_weights)
    """By what a source has: ``image``, ``color``, ``image+color``."""
    metrics: dict[str, Any] = Field(default_factory=dict)
    """How well it does on what it was not fitted to, as its maker measured; not used."""

    @model_validator(mode="after")
    def _all_subsets(self) -> "EvidenceModel":
        for subset in SUBSETS:
            if subset not in self.weights:
                raise ValueError(f"no weights for {subset!r}: give image, color and image+color")
        for subset in self.weights:
            if subset not in SUBSETS:
                raise ValueError(f"unknown weights {subset!r}: give image, color and image+color")
        return self

    @classmethod
    def plain(cls, prevalence: Mapping[str, float]) -> Self:
        """Return the model that knows a network's training prevalence and no more.

        Parameters
        ----------
        prevalence
            Class to its share among the training objects, as on the network's card.
        """
        image = ImageEvidence(overall=prevalence["member"], overall_star=prevalence.get("star"))
        return cls(source="the network's training prevalence", image=image)

    @classmethod
    def read(cls, name: str | Path) -> Self:
        """Return a shipped model by its name, or that of a TOML file.

        Raises
        ------
        ConfigError
            If there is no such model or it is not valid.
        """
        unknown = f"no evidence model {str(name)!r}: give a file.toml or a shipped one"
        return read_shipped(name, cls, SHIPPED, unknown)

    def for_network(self, digest: str, prevalence: Mapping[str, float]) -> "EvidenceModel":
        """Return this model for a network: if it is of another, with that one's prevalence.

        The weights stay: how much image and color have in common is more the objects' than the
        network's.

        Parameters
        ----------
        digest
            SHA-256 of the network's file.
        prevalence
            Class to its share among the network's training objects, as on its card.
        """
        if self.image.is_of(digest):
            return self
        return self.model_copy(update={"image": self.plain(prevalence).image})
