"""The model card: everything that must hold for a network's scores to mean something.

Owns the card's fields, their validation and their text form. Does not own the file that
carries it (``checkpoint``) or the arithmetic that applies it (``inputs``).
"""

import re
from collections.abc import KeysView
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from survey_classifier.errors import CheckpointError
from survey_classifier.problems import first_problem

__all__ = [
    "Architecture",
    "Classes",
    "DataDigest",
    "ModelCard",
    "NoveltyFit",
    "StampPx",
    "Stretch",
    "Text",
    "Transformer",
    "Views",
    "Width",
    "Word",
    "parse_card",
]

# A card is read from a file that anyone may have written: sizes are bounded so that what a
# hostile one describes can be laid out at all.
MAX_WIDTH = 512
MAX_STAMP_PX = 1024
MAX_NAMES = 64
MAX_DEPTH = 64
MAX_TOKENS = 4096
"""Patches that a stamp is cut into; attention needs memory as their square."""
MAX_WORD = 80


def _word(text: str) -> str:
    """Check that a name can be one of a file and of a column."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", text) or len(text) > MAX_WORD:
        raise ValueError(
            f"{text[: MAX_WORD + 1]!r} is no name: use letters, digits, '.', '_' and '-', the first"
            f" a letter or digit, and at most {MAX_WORD} of them"
        )
    return text


def _unique(names: tuple[str, ...]) -> tuple[str, ...]:
    """Check that no name occurs twice."""
    if len(set(names)) != len(names):
        raise ValueError(f"must not repeat a name, got {list(names)}")
    return names


def _with_member(classes: tuple[str, ...]) -> tuple[str, ...]:
    """Check that one class is that which all this is about."""
    if "member" not in classes:
        raise ValueError(f"must hold 'member', got {list(classes)}")
    return classes


Architecture = Literal[
    "resnet15", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "vit"
]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Text = Annotated[str, Field(min_length=1)]
Word = Annotated[str, AfterValidator(_word)]
Classes = Annotated[
    tuple[Word, ...],
    Field(min_length=2, max_length=MAX_NAMES),
    AfterValidator(_unique),
    AfterValidator(_with_member),
]
Bands = Annotated[
    tuple[Word, ...], Field(min_length=1, max_length=MAX_NAMES), AfterValidator(_unique)
]
Width = Annotated[int, Field(ge=1, le=MAX_WIDTH)]
StampPx = Annotated[int, Field(ge=8, le=MAX_STAMP_PX)]
Views = Literal[1, 2, 4, 8]


class Stretch(BaseModel):
    """The fixed stretch of one band, ``asinh(f / softening) / asinh(maximum / softening)``.

    Both constants are in the unit that enters it: nJy per square arcsec where the card's unit
    is nJy, the values themselves where it is ``display``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    softening: Positive
    """Where the curve turns from linear to logarithmic; of the order of the noise."""
    maximum: Positive
    """The value that becomes 1."""


class Transformer(BaseModel):
    """The shape of a vision transformer; its width is that of the card."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    patch_px: Annotated[int, Field(ge=1, le=MAX_STAMP_PX)]
    """Side of a patch, in pixels of the network's input."""
    depth: Annotated[int, Field(ge=1, le=MAX_DEPTH)]
    """Number of blocks."""
    n_heads: Annotated[int, Field(ge=1, le=MAX_NAMES)]
    """Attention heads of a block."""


class DataDigest(BaseModel):
    """One file that the network was trained on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """The file's own name, without folders."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Digest of its content."""
    n: Annotated[int, Field(ge=0)]
    """Objects that came from it (0 for pixels)."""
    left_out: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    """Rows of a table that were not used, by the reason."""


class NoveltyFit(BaseModel):
    """What the novelty of stamps is measured against."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_fitted: Annotated[int, Field(ge=1)]
    """Training objects that distances are taken from."""
    n_unseen: Annotated[int, Field(ge=1)]
    """Training objects whose distances, by networks that had not seen them, give the shares."""


class ModelCard(BaseModel):
    """What a checkpoint was trained on and how its input is made.

    Raises
    ------
    pydantic.ValidationError
        If a field is missing, unknown or inconsistent with another; `parse_card` turns that
        into a `CheckpointError`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Word
    """Short name, such as ``perseus-sdss``."""
    description: Text
    """What it was trained on; says "simulated" where that is so."""
    architecture: Architecture
    """The network (see ``resnet`` and ``vit``)."""
    width: Width
    """Channels of the first stage, 64 is the published network; of ``vit`` those of a token."""
    transformer: Transformer | None = None
    """Shape of a ``vit``."""
    classes: Classes
    """Names of the logits, in order; one of them is ``member``."""
    bands: Bands
    """Names of the input bands, in the network's order."""
    unit: Literal["nJy", "display"]
    """Unit of the mosaic's pixels."""
    stamp_arcsec: Positive
    """Side of the stamp on the sky."""
    stamp_px: StampPx
    """Side of the network's input."""
    stretch: dict[str, Stretch]
    """The stretch of each band, by name."""
    gray: bool = False
    """Whether the network sees the mean of the stretched bands in each of them."""
    n_views: Views
    """Orientations that a score is averaged over, of the eight of the square."""
    temperature: Positive
    """Divides the mean logits (Guo et al. 2017)."""
    prevalence: dict[str, Annotated[float, Field(gt=0, lt=1)]]
    """Share of each class among the training objects."""
    label_mapping: dict[str, str]
    """From the label as the table spells it to the class."""
    data: tuple[DataDigest, ...]
    """What it was trained on."""
    novelty: NoveltyFit | None = None
    """None = the checkpoint holds nothing to tell novelty by."""
    metrics: dict[str, Finite]
    """Figures on objects that the scoring network had not seen; names say how."""
    code_version: str
    """Version of this package that trained it."""
    trained_by: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""
    """Digest of the recipe and of all that it names; empty where it is not known."""

    @property
    def scale_arcsec(self) -> float:
        """Pixel scale of the network's input, arcsec per pixel."""
        return self.stamp_arcsec / self.stamp_px

    @property
    def member_index(self) -> int:
        """Index of the class ``member``."""
        return self.classes.index("member")

    @property
    def n_channel(self) -> int:
        """Channels of the network's input: the bands, and one validity channel."""
        return len(self.bands) + 1

    @model_validator(mode="after")
    def _agree(self) -> Self:
        """Check the fields against each other."""
        _check_keys("stretch", self.stretch.keys(), self.bands)
        _check_keys("prevalence", self.prevalence.keys(), self.classes)
        if abs(sum(self.prevalence.values()) - 1) > 1e-6:
            raise ValueError(f"prevalence must add up to 1, got {self.prevalence}")
        _check_transformer(self)
        unknown = set(self.label_mapping.values()) - set(self.classes)
        if unknown:
            raise ValueError(f"label_mapping leads to {sorted(unknown)}, which are no classes")
        return self


def _check_keys(field: str, keys: KeysView[str], names: tuple[str, ...]) -> None:
    """Raise unless the keys are exactly the names."""
    if set(keys) != set(names):
        raise ValueError(f"{field} must be given for exactly {list(names)}, got {sorted(keys)}")


def _check_transformer(card: ModelCard) -> None:
    """Raise unless the shape of a transformer is given for one, and fits its stamps."""
    shape = card.transformer
    if (card.architecture == "vit") != (shape is not None):
        raise ValueError(
            f"transformer is for the architecture vit, not for {card.architecture}; leave it out"
            if shape
            else "the architecture vit needs the table transformer (patch_px, depth and n_heads)"
        )
    if shape is None:
        return
    if card.stamp_px % shape.patch_px or (card.stamp_px // shape.patch_px) ** 2 > MAX_TOKENS:
        raise ValueError(
            f"stamp_px {card.stamp_px} must be a multiple of patch_px {shape.patch_px}, and hold"
            f" at most {MAX_TOKENS} patches"
        )
    if card.width % shape.n_heads:
        raise ValueError(f"width {card.width} must be a multiple of n_heads {shape.n_heads}")


def parse_card(text: str | bytes, origin: str) -> ModelCard:
    """Return the card that a JSON text spells.

    Parameters
    ----------
    text
        JSON of all fields.
    origin
        Where the text comes from, for the message.

    Raises
    ------
    CheckpointError
        If the text is no JSON or breaks a rule of the card; names the first broken field.
    """
    try:
        return ModelCard.model_validate_json(text)
    except ValidationError as error:
        raise CheckpointError(
            f"the model card of {origin} is not valid: {first_problem(error, ModelCard)};"
            " write the checkpoint again with 'survey-classifier train'"
        ) from error
