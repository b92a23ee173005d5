"""The recipe: one TOML file that says everything about a training.

Owns the keys that say what is looked at and what it is called, and the recipe as a whole. Does
not own the keys of the fit (``fit_settings``), what recipes take from one another
(``inheritance``) or what is done with the keys (``dataset``, ``split``, ``optimize``, ``fit``).
Paths in the file are relative to it.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from survey_classifier import __version__
from survey_classifier.model.card import (
    MAX_NAMES,
    Classes,
    ModelCard,
    StampPx,
    Stretch,
    Text,
    Views,
    Word,
)
from survey_classifier.problems import first_problem, nearest_name
from survey_classifier.settings import Settings, expand_path, parse_settings
from survey_classifier.training.fit_settings import FitSettings, NetworkSettings, SplitSettings
from survey_classifier.training.hue import is_red_first
from survey_classifier.training.inheritance import read_with_defaults

__all__ = [
    "DataSettings",
    "LabelSettings",
    "Recipe",
    "ThumbnailSettings",
    "read_recipe",
]

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


N_COLOR_PLANES = 3
"""Red, green and blue."""


class StampSettings(Settings):
    """The ``[stamps]`` table: what the network sees of a source."""

    stamp_arcsec: Positive = 20.0
    stamp_px: StampPx = 50
    n_views: Views = 8
    """Orientations that a score is averaged over: 1, 2, 4 or 8."""
    gray: bool = False
    """Whether the network sees the mean of the stretched bands in each of them."""


class LabelSettings(Settings):
    """The ``[labels]`` table: from what the tables spell to classes."""

    classes: Classes = ("nonmember", "member")
    mapping: dict[str, str]
    """From a table's label to a class."""
    ignore: tuple[str, ...] = ()
    """Labels whose objects are left out."""

    @field_validator("mapping")
    @classmethod
    def _leads_to_classes(cls, mapping: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        """Check that each label leads to a class."""
        classes = set(info.data.get("classes", mapping.values()))
        for label, name in mapping.items():
            if name not in classes:
                remedy = nearest_name(name, classes)
                raise ValueError(f"{label!r} leads to {name!r}, which is no class; {remedy}")
        return mapping


class LabelColumns(Settings):
    """``columns`` of ``[[data]]``: which column holds what."""

    id: str
    ra: str
    dec: str
    label: str
    thumb: str | None = None
    """File name of the thumbnail; objects without one are left out."""


class ThumbnailSettings(Settings):
    """``thumbnails`` of ``[[data]]``: small images, one an object."""

    path: str
    """A folder or zip of PNG, JPEG or, for a recipe in nJy, FITS images, north up."""
    planes: tuple[str, ...]
    """Bands of the planes in the order of the file, or names of a FITS file's HDUs."""
    scale_arcsec: Positive
    """Pixel scale."""
    source_px: tuple[NotNegative, NotNegative]
    """Where the source is: x from the left and y from the file's first row (the top of PNG and
    JPEG, the bottom of FITS), first pixel 0."""


class DataSettings(Settings):
    """One ``[[data]]`` table: labeled objects, and where their pixels are.

    An object within 2 arcsec of one of an earlier ``[[data]]`` is that object: the earlier
    label and pixels hold. So the table that is trusted most comes first. A table may be named
    twice, say with ``max`` and a weight, then for the rest.
    """

    table: str
    columns: LabelColumns
    store: str = ""
    """A mosaic to cut stamps from; objects whose own pixel has no data are left out."""
    thumbnails: ThumbnailSettings | None = None
    """Images instead of a mosaic; objects without one are left out."""
    max: dict[str, Finite] = Field(default_factory=dict)
    """Largest value of columns; objects with more, or with none, are left out."""
    drop_red: bool = False
    """Whether objects are left out whose image is mostly red (see ``hue``)."""
    weight: Positive = 1.0
    """How often an object is shown, relative to one with weight 1."""
    use: Literal["train", "test"] = "train"
    """``test``: no network is fitted to these objects, each is only scored."""

    @model_validator(mode="before")
    @classmethod
    def _not_both(cls, content: Any) -> Any:  # noqa: ANN401 - TOML that nobody has checked yet
        """Check that pixels are not said to come from two places, before what either lacks."""
        if isinstance(content, dict) and content.get("store") and "thumbnails" in content:
            raise ValueError("give either store or thumbnails")
        return content

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        """Check that pixels come from one place."""
        if (self.store == "") == (self.thumbnails is None):
            raise ValueError("give either store or thumbnails")
        if (self.columns.thumb is None) != (self.thumbnails is None):
            raise ValueError("thumbnails and columns.thumb go together")
        return self


class Recipe(Settings):
    """A recipe."""

    name: Word
    """Name of the checkpoint."""
    description: Text
    """What it is trained on; says "simulated" where that is so."""
    extends: str = ""
    """A recipe that comes with the package, or the path of one, whose keys are the defaults."""
    out: str = "."
    """Folder of the checkpoint and of the log."""
    unit: Literal["nJy", "display"]
    """Unit of the pixels."""
    network: NetworkSettings = NetworkSettings()
    stamps: StampSettings = StampSettings()
    stretch: Annotated[dict[Word, Stretch], Field(min_length=1, max_length=MAX_NAMES)]
    """Stretch by band; their order is the order of the network's bands."""
    labels: LabelSettings
    data: Annotated[tuple[DataSettings, ...], Field(min_length=1)]
    split: SplitSettings = SplitSettings()
    fit: FitSettings = FitSettings()

    _folder: Path = PrivateAttr(default=Path())

    @model_validator(mode="after")
    def _makes_a_card(self) -> Self:
        """Check everything that the model card will say before any work is done."""
        try:
            self.draft_card()
        except ValidationError as error:
            raise ValueError(first_problem(error, ModelCard)) from error
        for data in self.data:
            self._check_bands(data)
        if all(data.use == "test" for data in self.data):
            raise ValueError("every [[data]] has use = 'test'; nothing is left to train on")
        if self.split.leaky_split and (self.split.kind == "strips" or not self.fit.angles_deg):
            raise ValueError("leaky_split needs [split] kind = 'random' and [fit] angles_deg")
        return self

    def _check_bands(self, data: DataSettings) -> None:
        """Check what one ``[[data]]`` says of bands."""
        planes = None if data.thumbnails is None else data.thumbnails.planes
        if planes is not None and sorted(planes) != sorted(self.stretch):
            raise ValueError(
                f"data of {data.table}: planes must be {', '.join(self.stretch)} in any"
                f" order, got {', '.join(planes)}"
            )
        if data.drop_red and (self.unit != "display" or len(self.stretch) != N_COLOR_PLANES):
            raise ValueError(
                f"data of {data.table}: drop_red is for display images of {N_COLOR_PLANES} bands,"
                f" got {len(self.stretch)} in {self.unit}; leave it out"
            )
        if data.drop_red and not is_red_first(self.stretch):
            raise ValueError(
                f"data of {data.table}: drop_red takes the first band of [stretch] for red, got"
                f" {', '.join(self.stretch)}; list them from red to blue"
            )

    def path(self, text: str) -> Path:
        """Return the absolute path of one written in the recipe."""
        return expand_path(text, self._folder)

    @property
    def checkpoint_path(self) -> Path:
        """Where the checkpoint is written."""
        return self.path(self.out) / f"{self.name}.safetensors"

    @property
    def log_path(self) -> Path:
        """Where the loss of each epoch is written."""
        return self.path(self.out) / f"{self.name}-log.csv"

    @property
    def predictions_path(self) -> Path:
        """Where each training object's out-of-fold probability is written."""
        return self.path(self.out) / f"{self.name}-out-of-fold.csv"

    @property
    def state_folder(self) -> Path:
        """Where an unfinished training keeps its state."""
        return self.path(self.out) / f"{self.name}.state"

    def draft_card(self, **known: Any) -> ModelCard:  # noqa: ANN401 - any fields of the card
        """Return the card as far as the recipe goes, with what else is known filled in.

        Parameters
        ----------
        **known
            Fields of the card that only the training finds out.
        """
        n_class = len(self.labels.classes)
        fields: dict[str, Any] = {
            "name": self.name,
            "description": self.description,
            "architecture": self.network.architecture,
            "width": self.network.width,
            "transformer": self.network.transformer,
            "classes": self.labels.classes,
            "bands": tuple(self.stretch),
            "unit": self.unit,
            "stamp_arcsec": self.stamps.stamp_arcsec,
            "stamp_px": self.stamps.stamp_px,
            "stretch": self.stretch,
            "gray": self.stamps.gray,
            "n_views": self.stamps.n_views,
            "temperature": 1.0,
            "prevalence": dict.fromkeys(self.labels.classes, 1 / max(n_class, 2)),
            "label_mapping": self.labels.mapping,
            "data": (),
            "metrics": {},
            "code_version": __version__,
        }
        return ModelCard(**(fields | known))


def read_recipe(path: Path) -> Recipe:
    """Read a recipe.

    Raises
    ------
    ConfigError
        If it, or one that it extends, is missing, is not TOML, or a key or value is wrong.
    """
    recipe = parse_settings(read_with_defaults(path), path, Recipe)
    recipe._folder = path.resolve().parent  # noqa: SLF001 - where it was read from
    return recipe
