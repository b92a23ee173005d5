"""The calibration recipe: one TOML file that says what evidence is weighed on.

Owns the keys of a calibration recipe and their defaults. Does not own what is done with them
(``calibration_sample``, ``weighing``, ``calibrate``) nor the recipe of a network (``recipes``).
Paths in the file are relative to it.
"""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, PrivateAttr, model_validator

from survey_classifier.membership.stars import StarEvidence
from survey_classifier.settings import Settings, expand_path, read_settings

__all__ = ["CalibrationRecipe", "LabeledTable", "TruthSettings", "read_calibration_recipe"]

Number = Annotated[float, Field(allow_inf_nan=False)]
RightAscension = Annotated[float, Field(ge=0, lt=360)]
Declination = Annotated[float, Field(ge=-90, le=90)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class ScoreColumns(Settings):
    """``columns`` of ``[scores]``; the defaults are those that ``train`` writes."""

    id: str = "id"
    fold: str = "fold"
    """Number of the part of the sky that the network had not seen when it scored the object."""
    p_image: str = "p_member"
    """Calibrated probability of membership."""


class ScoresSettings(Settings):
    """The ``[scores]`` table: out-of-fold scores of a network, by id."""

    table: str
    columns: ScoreColumns = ScoreColumns()
    checkpoint: str
    """Name of the network that they tell of."""
    same_training: tuple[str, ...] = ()
    """Names of other networks that were trained on the same objects: their scores hold the same
    shares of members."""


class TruthSettings(Settings):
    """The ``[labels]`` table: what the tables' labels mean."""

    member: Annotated[tuple[str, ...], Field(min_length=1)]
    other: Annotated[tuple[str, ...], Field(min_length=1)]
    """Galaxies that are no members."""
    star: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    """Labels whose objects are left out."""

    @model_validator(mode="after")
    def _once(self) -> Self:
        """Check that no label means two things."""
        every = [*self.member, *self.other, *self.star, *self.ignore]
        twice = sorted({label for label in every if every.count(label) > 1})
        if twice:
            raise ValueError(f"the label {twice[0]!r} is listed more than once; keep one")
        return self


class LabeledColumns(Settings):
    """``columns`` of ``[[data]]``."""

    id: str
    ra: str
    dec: str
    label: str
    mag: str
    """Dereddened magnitude."""
    color: Annotated[tuple[str, ...], Field(min_length=1)]
    """Dereddened color: the sum of these columns."""
    color_err: str | None = None
    """Its error."""


class LabeledTable(Settings):
    """One ``[[data]]`` table: labeled objects and their photometry.

    An object within 2 arcsec of one of an earlier ``[[data]]`` is that object, and left out. So
    the table that is trusted most comes first.
    """

    name: str
    """What the figures call it."""
    table: str
    columns: LabeledColumns
    mag_offset: Number = 0.0
    """Magnitude of this table minus that of the red sequence, taken off."""
    color_offset: Number = 0.0
    """Color of this table minus that of the red sequence, taken off."""
    color_err: NotNegative = 0.0
    """Error of all colors in mag, where there is no column of it."""


class CalibrationRecipe(Settings):
    """A calibration recipe."""

    name: str
    """Name of the evidence model."""
    description: str
    out: str
    """Folder of the model's file."""
    red_sequence: str
    """Name of a red sequence that comes with the package, or a file of one."""
    mag_nodes: Annotated[tuple[Number, ...], Field(min_length=2)]
    """Ascending magnitudes between which shares and colors are interpolated."""
    scores: ScoresSettings
    labels: TruthSettings
    data: Annotated[tuple[LabeledTable, ...], Field(min_length=1)]
    stars: StarEvidence = StarEvidence()
    """Evidence of stars, taken over as it is."""
    prior: str = ""
    """A prior table, by name or file, under which the joint is judged besides the sample's own."""
    center_deg: tuple[RightAscension, Declination] | None = None
    """Center of the cluster, for the prior table."""

    _folder: Path = PrivateAttr(default=Path())

    @model_validator(mode="after")
    def _sound(self) -> Self:
        """Check what no single key can."""
        steps = zip(self.mag_nodes, self.mag_nodes[1:], strict=False)
        if any(low >= high for low, high in steps):
            raise ValueError(f"mag_nodes are {self.mag_nodes}; give them in ascending order")
        names = [data.name for data in self.data]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two [[data]] have the name {twice[0]!r}; rename one")
        if bool(self.prior) != (self.center_deg is not None):
            raise ValueError("prior and center_deg go together; give both or none")
        return self

    def path(self, text: str) -> Path:
        """Return the absolute path of one written in the recipe."""
        return expand_path(text, self._folder)

    def named(self, text: str) -> str | Path:
        """Return the path of a TOML file, and any other name, of what is shipped, as it is."""
        return self.path(text) if text.endswith(".toml") else text

    @property
    def model_path(self) -> Path:
        """Where the evidence model is written."""
        return self.path(self.out) / f"{self.name}.toml"


def read_calibration_recipe(path: Path) -> CalibrationRecipe:
    """Read a calibration recipe.

    Raises
    ------
    ConfigError
        If it is missing, is not TOML, or a key or value is wrong.
    """
    recipe = read_settings(path, CalibrationRecipe)
    recipe._folder = path.resolve().parent  # noqa: SLF001 - where it was read from
    return recipe
