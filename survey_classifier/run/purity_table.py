"""The table of what a cut selects, group by group, and its files.

Owns its columns and formats. Does not own the groups (``purity``) nor the figures
(``membership.purity``).
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from astropy.table import Table

from survey_classifier.errors import ConfigError, RunError
from survey_classifier.files import replacing
from survey_classifier.membership.purity import Measured, Selection

__all__ = ["Group", "PurityTable", "require_suffix"]

_SUFFIXES = (".csv", ".md", ".parquet")


@dataclass(frozen=True, slots=True)
class Group:
    """The sources of one bin of magnitude and region."""

    magnitude: str
    region: str
    selection: Selection
    measured: Measured | None
    """None without a truth."""


@dataclass(frozen=True, slots=True)
class PurityTable:
    """What a cut selects, group by group; the first group is all sources."""

    cut: float
    groups: tuple[Group, ...]
    n_unclassified: int
    """Sources without a probability, which no figure holds."""
    notes: tuple[str, ...] = ()
    """What is to be known of the comparison with a truth."""

    @property
    def rows(self) -> list[dict[str, str | float]]:
        """The table, a row a group; unknown figures are NaN."""
        return [_row(self.cut, group) for group in self.groups]

    def write(self, path: Path) -> None:
        """Write the table as CSV, Markdown or Parquet, by the suffix.

        Raises
        ------
        ConfigError
            If the suffix is another.
        RunError
            If the file cannot be written.
        """
        require_suffix(path)
        rows = self.rows
        try:
            with replacing(path) as temporary:
                if path.suffix == ".parquet":
                    Table(rows).write(temporary, format="parquet")
                elif path.suffix == ".md":
                    temporary.write_text("\n".join(_markdown(rows)) + "\n", encoding="utf-8")
                else:
                    with temporary.open("w", newline="", encoding="utf-8") as file:
                        writer = csv.DictWriter(file, rows[0])
                        writer.writeheader()
                        writer.writerows(rows)
        except OSError as error:
            raise RunError(f"cannot write {path}: {error}; choose another place") from error


def require_suffix(path: Path) -> None:
    """Refuse a file whose suffix is of no format of the table.

    Raises
    ------
    ConfigError
        Naming those that are.
    """
    if path.suffix not in _SUFFIXES:
        raise ConfigError(f"cannot write {path}: give a name in {', '.join(_SUFFIXES)}")


def _row(cut: float, group: Group) -> dict[str, str | float]:
    """Return a group as a row of the table."""
    chosen = group.selection
    row: dict[str, str | float] = {
        "magnitude": group.magnitude,
        "region": group.region,
        "cut": cut,
        "n": chosen.n,
        "n_selected": chosen.n_selected,
        "members": chosen.members,
        "members_selected": chosen.members_selected,
        "members_selected_err": chosen.members_err,
        **_shares("", chosen),
    }
    if group.measured is None:
        return row
    seen = group.measured
    counts = {"truth_n": seen.n, "truth_selected": seen.n_selected, "truth_members": seen.n_members}
    return row | counts | _shares("truth_", seen)


def _shares(prefix: str, figures: Selection | Measured) -> dict[str, float]:
    return {
        f"{prefix}purity": figures.purity,
        f"{prefix}purity_low": figures.purity_interval[0],
        f"{prefix}purity_high": figures.purity_interval[1],
        f"{prefix}completeness": figures.completeness,
        f"{prefix}completeness_low": figures.completeness_interval[0],
        f"{prefix}completeness_high": figures.completeness_interval[1],
    }


def _markdown(rows: Sequence[Mapping[str, str | float]]) -> Iterator[str]:
    """Yield the lines of a table."""
    yield "| " + " | ".join(rows[0]) + " |"
    yield "|" + " --- |" * len(rows[0])
    for row in rows:
        cells = (value if isinstance(value, str) else f"{value:.4g}" for value in row.values())
        yield "| " + " | ".join(cells) + " |"
