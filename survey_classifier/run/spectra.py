"""The radial spectroscopic search, from tables to a file.

Owns the order of the steps and what is said of them. Does not own the search
(``membership.radial``), the tables (``sources.redshifts``) nor the file (``catalog.spectra``).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import ValidationError

from survey_classifier import __version__
from survey_classifier.catalog.spectra import SUFFIXES, write_spectra
from survey_classifier.errors import ConfigError
from survey_classifier.membership.radial import radial_sample
from survey_classifier.membership.redshift import RedshiftCuts
from survey_classifier.problems import nearest_name
from survey_classifier.settings import read_settings
from survey_classifier.sources.cone import Cone
from survey_classifier.sources.redshifts import read_redshift_tables
from survey_classifier.sources.spectra import RedshiftColumns
from survey_classifier.words import counted

__all__ = ["Search", "read_columns", "search_spectra"]


@dataclass(frozen=True, slots=True)
class Search:
    """What a search found."""

    path: Path
    """The file that was written."""
    n_by_label: dict[str, int]
    """Objects by label; '' = none."""
    n_by_table: dict[str, int]
    """Objects by the table that their redshift is of; 0 for a table that gave none."""

    def lines(self) -> list[str]:
        """Return what is said of it."""
        labels = ", ".join(
            f"{n} {name or 'without a label'}" for name, n in self.n_by_label.items()
        )
        n = sum(self.n_by_label.values())
        return [
            *(f"{name}: {counted(n_here, 'object')}" for name, n_here in self.n_by_table.items()),
            f"spectra: {self.path}",
            f"{counted(n, 'object')}: {labels}" if n else "no object in the circle has a redshift",
        ]


def read_columns(text: str) -> RedshiftColumns:
    """Return which columns hold what, from ``id=objID,z_err=zErr`` or the name of a TOML file.

    Parameters
    ----------
    text
        Pairs of a key of `RedshiftColumns` and a column; or a file that ends in .toml with them.

    Raises
    ------
    ConfigError
        If it is neither, or a key is unknown.
    """
    if text.endswith(".toml"):
        return read_settings(Path(text), RedshiftColumns)
    pairs = {}
    for part in text.split(","):
        key, equals, column = (piece.strip() for piece in part.partition("="))
        if not (key and equals and column):
            raise ConfigError(f"--columns {part!r}: give key=column, such as id=objID")
        if key not in RedshiftColumns.model_fields:
            known = nearest_name(key, set(RedshiftColumns.model_fields))
            raise ConfigError(f"--columns {part!r}: unknown key {key!r}; {known}")
        pairs[key] = column
    try:
        return RedshiftColumns.model_validate(pairs)
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ConfigError(f"--columns {text!r}: {reason}") from error


def search_spectra(
    tables: Sequence[Path],
    columns: Sequence[RedshiftColumns],
    cone: Cone,
    out: Path,
    cuts: RedshiftCuts | None = None,
) -> Search:
    """Write all objects with a spectrum within a circle, with their classes and labels.

    Parameters
    ----------
    tables
        Files of spectra; they are joined to one row an object, and called by their names.
    columns
        Which of their columns hold what: one for all, or one a table.
    cone
        The circle.
    out
        Parquet or CSV file to write.
    cuts
        Windows and velocity cut of the cluster; by default those of Perseus.

    Raises
    ------
    ConfigError
        If there are several columns, but not one a table.
    SourcesError
        If a table cannot be read.
    CatalogError
        If the file cannot be written.
    """
    if out.suffix not in SUFFIXES:  # before the work
        raise ConfigError(f"--out {out}: give a name that ends in {' or '.join(SUFFIXES)}")
    if len(columns) not in (1, len(tables)):
        raise ConfigError(
            f"{len(columns)} times --columns for {counted(len(tables), 'table')}: give it once, "
            "or once a table"
        )
    cuts = cuts or RedshiftCuts()
    per_table = list(columns) * (len(tables) if len(columns) == 1 else 1)
    names = _names(tables)
    redshifts = read_redshift_tables(list(zip(tables, per_table, names, strict=True)))
    sample = radial_sample(redshifts, (cone.ra_deg, cone.dec_deg), cone.radius_deg, cuts)
    parameters = {
        "circle": f"RA {cone.ra_deg} Dec {cone.dec_deg} radius {cone.radius_deg} deg",
        "cuts": ", ".join(f"{name} = {value}" for name, value in asdict(cuts).items()),
        "tables": "\n".join(f"{name} {path}" for name, path in zip(names, tables, strict=True)),
        "version_survey_classifier": __version__,
    }
    content = [redshifts.digest, parameters["circle"], parameters["cuts"]]
    digest = hashlib.sha256("\n".join(content).encode()).hexdigest()
    write_spectra(out, sample, parameters, digest)
    labels, of = sample["label"].tolist(), sample["z_source"].tolist()
    shown = ("cluster", "background", "star", "")
    n_by_label = {label: labels.count(label) for label in shown if label in labels}
    return Search(out, n_by_label, {name: of.count(name) for name in names})


def _names(tables: Sequence[Path]) -> list[str]:
    """Return what the tables are called: their files' names, or paths where those are alike."""
    names = [path.name for path in tables]
    return [str(path) if names.count(path.name) > 1 else path.name for path in tables]
