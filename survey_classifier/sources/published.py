"""Definitions of published catalogs: what a table is called, who serves it, what its columns mean.

Owns the keys of the files in ``catalogs/`` and where such a file lies. Does not own the asking
(``services``) nor what is done with the answer (``fetch``).
"""

import sysconfig
from pathlib import Path
from typing import Annotated, Literal

from astropy import units as u
from pydantic import Field, field_validator, model_validator

from survey_classifier.errors import ConfigError
from survey_classifier.problems import nearest_name
from survey_classifier.settings import Settings, read_settings

__all__ = [
    "UNKNOWN",
    "LabelClass",
    "Labels",
    "Published",
    "PublishedColumn",
    "catalog_files",
    "read_definition",
]

UNKNOWN = "unknown until fetched"
"""Stands for columns or a table name that nobody could say for sure."""
_CONE = ("{ra_deg}", "{dec_deg}", "{radius_")
"""What a query of a cone must have; the radius is {radius_deg} or {radius_arcmin}."""
_INSTALLED = "share/survey-classifier/catalogs"


class PublishedColumn(Settings):
    """One column of a published table."""

    name: str
    """Our name of it."""
    unit: str
    """In astropy's spelling, '' = none; what is served in another unit is converted."""
    ucd: str
    description: str
    served_as: str | None = None
    """The archive's name of it; None when it is unknown, or the column is not served."""
    maps_to: tuple[str, ...] = ()
    """Where a run file or recipe uses it."""
    derived: bool = False
    """Computed from other columns, not in the published table."""

    @field_validator("unit")
    @classmethod
    def _known_unit(cls, unit: str) -> str:
        u.Unit(unit, parse_strict="raise")
        return unit

    @model_validator(mode="after")
    def _served_or_derived(self) -> "PublishedColumn":
        if self.derived and self.served_as is not None:
            raise ValueError(f"column {self.name!r} is derived, so nobody serves it: drop one key")
        return self


class LabelClass(Settings):
    """A class as a table spells it."""

    text: str
    label: int | str
    """The label made of it."""
    code: int | None = None
    n_published: Annotated[int, Field(ge=0)] | None = None


class Labels(Settings):
    """How the classes of a table become labels."""

    column: str
    label_column: str
    meaning: dict[str, str]
    classes: tuple[LabelClass, ...]


class Published(Settings):
    """A file of ``catalogs/``; its README explains the keys."""

    identifier: str
    title: str
    citation: str
    service: str
    protocol: Literal["tap", "tap-async", "skyserver"]
    """``tap-async`` where a service cuts direct answers short."""
    endpoint: Annotated[str, Field(pattern=r"^https?://\S+$")]
    licence: str
    credit: str
    region: str
    table: str
    """The archive's name of the table, or :data:`UNKNOWN`: then ``catalog`` says whose it is."""
    columns: tuple[PublishedColumn, ...] | Literal["unknown until fetched"]
    query: str | None = None
    """Asks for all rows; ``{table}`` stands for the table's name, quoted. None: only by cone."""
    query_cone: str | None = None
    """Asks for the rows within ``{radius_deg}`` (or ``{radius_arcmin}``) of ``{ra_deg}``,
    ``{dec_deg}``; None: cannot be asked so."""
    catalog: str | None = None
    release: int | None = None
    """Data release of the SDSS."""
    bibcode: str | None = None
    arxiv: str | None = None
    n_rows_published: Annotated[int, Field(gt=0)] | None = None
    """Rows of the whole table; None = unknown."""
    notes: tuple[str, ...] = ()
    labels: Labels | None = None

    @property
    def known_columns(self) -> tuple[PublishedColumn, ...]:
        """The columns, none when they are unknown until fetched."""
        return () if isinstance(self.columns, str) else self.columns

    @property
    def served(self) -> dict[str, PublishedColumn]:
        """The columns that an answer must have, by the archive's names."""
        return {c.served_as: c for c in self.known_columns if c.served_as is not None}

    @model_validator(mode="after")
    def _can_be_asked(self) -> "Published":
        if self.query is None and self.query_cone is None:
            raise ValueError("neither query nor query_cone is given: give one")
        if self.query_cone is not None and not all(word in self.query_cone for word in _CONE):
            raise ValueError(
                "query_cone must have {ra_deg}, {dec_deg} and {radius_deg} or {radius_arcmin}"
            )
        if self.table == UNKNOWN and self.catalog is None:
            raise ValueError("a table that is unknown until fetched needs the key 'catalog'")
        if self.protocol == "skyserver" and self.release is None:
            raise ValueError("the protocol skyserver needs the key 'release'")
        names = [column.name for column in self.known_columns]
        if len(set(names)) < len(names):
            raise ValueError("two columns have one name: rename one")
        return self


def catalog_files() -> dict[str, Path]:
    """Return the definition files that come with the package, by name.

    They are in the checkout's ``catalogs/``, or where an installation put them.
    """
    checkout = Path(__file__).parents[2] / "catalogs"
    folder = checkout if checkout.is_dir() else Path(sysconfig.get_path("data")) / _INSTALLED
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def read_definition(name: str) -> Published:
    """Read the definition of a published catalog.

    Parameters
    ----------
    name
        Name of one that comes with the package, or path of a TOML file.

    Raises
    ------
    ConfigError
        If there is none of that name, or the file is not a sound definition.
    """
    if name.endswith(".toml"):
        return read_settings(Path(name), Published)
    files = catalog_files()
    if name not in files:
        raise ConfigError(
            f"no published catalog {name!r}: {nearest_name(name, set(files))}; or give the path "
            "of a definition file (.toml)"
        )
    return read_settings(files[name], Published)
