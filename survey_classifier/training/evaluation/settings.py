"""The truth file: one TOML file that says what scores are compared with.

Owns its keys and their defaults, and the file that a few options stand for. Does not own what is
done with them (``truth``, ``pixels``, ``breakdown``). Paths in the file are relative to it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, PrivateAttr, model_validator

from survey_classifier.errors import ConfigError
from survey_classifier.problems import nearest_name
from survey_classifier.settings import Settings, expand_path, read_settings
from survey_classifier.training.calibration_recipe import TruthSettings
from survey_classifier.training.recipes import ThumbnailSettings

__all__ = ["TruthColumns", "TruthFile", "TruthTable", "parse_columns", "read_truth_file"]

Number = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
USUAL_LABELS = TruthSettings(
    member=("member", "cluster", "1"),
    other=("nonmember", "background", "0"),
    star=("star",),
    ignore=("", "-1"),
)


OPTION_KEYS = ("id", "ra", "dec", "label", "mag", "color", "color_err")
"""Those of `TruthColumns` that an option can give; thumbnails need a truth file."""


class TruthColumns(Settings):
    """``columns`` of ``[[data]]``."""

    id: str = "source_id"
    ra: str = "ra"
    dec: str = "dec"
    label: str = "label"
    mag: str | None = None
    """Dereddened magnitude of the red sequence."""
    color: tuple[str, ...] = ()
    """Dereddened color of the red sequence: the sum of these columns."""
    color_err: str | None = None
    """Its error."""
    thumb: str | None = None
    """File name of the thumbnail."""


class TruthTable(Settings):
    """One ``[[data]]`` table: objects whose class is known.

    An object within 2 arcsec of one of an earlier ``[[data]]`` is that object, and the earlier
    class holds. So the table that is trusted most comes first.
    """

    name: str = "truth"
    """What the figures call it."""
    table: str
    columns: TruthColumns = TruthColumns()
    mag_offset: Number = 0.0
    """Magnitude of this table minus that of the red sequence, taken off."""
    color_offset: Number = 0.0
    """Color of this table minus that of the red sequence, taken off."""
    color_err: NotNegative = 0.0
    """Error of all colors in mag, where there is no column of it."""
    photometry: dict[str, tuple[str, ...] | dict[str, Number]] = Field(default={})
    """By name the columns whose sum is a magnitude, a color, a size or a shape, or these with the
    factors that each is multiplied by; a name with a hyphen, such as ``g-r``, is a color. The same
    name means the same in all tables."""
    bright_mag: Number | None = None
    """Objects of at most this magnitude of the column ``mag`` are bright; by default all are."""
    thumbnails: ThumbnailSettings | None = None
    """Images of the objects that lie on none of the stores."""

    @model_validator(mode="after")
    def _together(self) -> Self:
        """Check what no single key can."""
        if (self.columns.thumb is None) != (self.thumbnails is None):
            raise ValueError(f"data of {self.table}: thumbnails and columns.thumb go together")
        if self.bright_mag is not None and self.columns.mag is None:
            raise ValueError(f"data of {self.table}: bright_mag needs columns.mag")
        return self


class TruthFile(Settings):
    """A truth file."""

    data: Annotated[tuple[TruthTable, ...], Field(min_length=1)]
    labels: TruthSettings = USUAL_LABELS
    """What the tables' labels mean."""
    stores: tuple[str, ...] = ()
    """Mosaics that stamps are cut from; those of the run where scores are a run's."""
    unit: Literal["nJy", "display"] = "display"
    """Of thumbnails where there are no mosaics; else it is theirs."""
    stamp_arcsec: Positive = 20.0
    """Side of the stamps: of the galleries, and twice the reach of the radial profiles."""
    red_sequence: str = "perseus-gz"
    """Name of a red sequence that comes with the package, or a file of one."""
    mag_edges: Annotated[tuple[Number, ...], Field(min_length=2)] = tuple(map(float, range(12, 27)))
    """Ascending edges of the bins of magnitude."""
    axis: Literal["ra", "dec"] = "ra"
    """What strips of the sky follow one another along, where the scores have no folds."""
    n_folds: Annotated[int, Field(ge=2, le=20)] = 4
    """How many there are of them."""

    _folder: Path = PrivateAttr(default=Path())

    @model_validator(mode="after")
    def _sound(self) -> Self:
        """Check what no single key can."""
        steps = zip(self.mag_edges, self.mag_edges[1:], strict=False)
        if any(low >= high for low, high in steps):
            raise ValueError(f"mag_edges are {self.mag_edges}; give them in ascending order")
        names = [data.name for data in self.data]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two [[data]] have the name {twice[0]!r}; rename one")
        return self

    def path(self, text: str) -> Path:
        """Return the absolute path of one written in the file."""
        return expand_path(text, self._folder)

    def named(self, text: str) -> str | Path:
        """Return the path of a TOML file, and any other name, of what is shipped, as it is."""
        return self.path(text) if text.endswith(".toml") else text


def read_truth_file(path: Path, columns: Mapping[str, str], stores: tuple[str, ...]) -> TruthFile:
    """Read a truth file, or make one of a table and options.

    Parameters
    ----------
    path
        A TOML file, or a table of objects.
    columns
        Fields of `TruthColumns` to the columns of the table; none for a TOML file.
    stores
        Mosaics, relative to the working folder; none: those of the file.

    Raises
    ------
    ConfigError
        If the file or an option can't be used.
    """
    places = tuple(str(Path(store).resolve()) for store in stores)
    if path.suffix.lower() == ".toml":
        if columns:
            raise ConfigError(f"{path} says its columns itself; leave --columns out")
        found = read_settings(path, TruthFile)
        found = found.model_copy(update={"stores": places}) if places else found
        found._folder = path.resolve().parent  # noqa: SLF001 - where it was read from
        return found
    for key in columns:
        if key not in OPTION_KEYS:
            known = nearest_name(key, set(OPTION_KEYS))
            raise ConfigError(f"--columns has the unknown key {key!r}; {known}")
    table = TruthTable(
        table=str(path.resolve()), columns=TruthColumns.model_validate(_fields(columns))
    )
    return TruthFile(data=(table,), stores=places)


def _fields(columns: Mapping[str, str]) -> dict[str, object]:
    """Return the fields of the columns; a color is a sum, such as ``color=g_r+r_z``."""
    return {
        key: tuple(name.split("+")) if key == "color" else name for key, name in columns.items()
    }


def parse_columns(text: str) -> dict[str, str]:
    """Return the pairs of ``id=objID,label=z_class``.

    Parameters
    ----------
    text
        Pairs of a key and a column, with commas between them; may be empty.

    Raises
    ------
    ConfigError
        If a part is no pair.
    """
    pairs = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        key, equals, name = part.partition("=")
        if not (key and equals and name):
            raise ConfigError(f"--columns has {part!r}; write pairs such as id=objID,label=z_class")
        pairs[key.strip()] = name.strip()
    return pairs
