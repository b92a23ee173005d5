"""Published catalogs as tables at hand: asked for once, in our names and units, with a record.

Owns the mapping of the archive's columns to ours, the file and the record beside it. Does not own
the definitions (``published``) nor the talking to services (``services``).

The table is a VOTable (binary2, so that a missing whole number stays missing), which the run file
reads as it is. The record ``<file>.toml`` says where it came from; file and record appear
together and whole, or not at all.
"""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import tomli_w
from astropy import units as u
from astropy.table import Column, Table

from survey_classifier import __version__
from survey_classifier.errors import ConfigError, SourcesError
from survey_classifier.files import replacing
from survey_classifier.problems import nearest_name
from survey_classifier.sources.cone import Cone
from survey_classifier.sources.digest import table_digest
from survey_classifier.sources.published import Published, PublishedColumn, read_definition
from survey_classifier.sources.services import answer_of, table_of
from survey_classifier.words import counted

__all__ = ["Fetched", "fetch_catalog", "record_path"]

TIMEOUT_S = 300.0
"""Longest silence of a service, and longest wait for a job, that are borne."""
_ASKED = ("identifier", "endpoint", "query")
"""What of a record must be as asked for, or the file is not the one wanted."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A published catalog at hand."""

    path: Path
    definition: Published
    n_rows: int
    mapped: dict[str, str]
    """Our names of columns by the archive's."""
    kept: tuple[str, ...]
    """Columns that came and have no name of ours; they keep the archive's."""
    is_new: bool
    """Whether it was fetched now, or was there."""

    def lines(self) -> Iterator[str]:
        """Yield what there is to say of it, a line each."""
        come = "fetched" if self.is_new else "was there, as it was fetched"
        yield f"{self.path}: {counted(self.n_rows, 'row')} of {self.definition.identifier}, {come}"
        if self.mapped:
            pairs = (f"{theirs} -> {our}" for theirs, our in self.mapped.items())
            yield f"columns: {', '.join(pairs)}"
        if self.kept:
            yield f"columns under the archive's own names: {', '.join(self.kept)}"
        yield f"record: {record_path(self.path)}"
        yield f"cite: {self.definition.citation}"


def record_path(path: Path) -> Path:
    """Return the path of the record beside a fetched table."""
    return path.with_name(f"{path.name}.toml")


def fetch_catalog(
    name: str,
    out: Path,
    *,
    cone: Cone | None = None,
    table: str | None = None,
    refresh: bool = False,
    timeout_s: float = TIMEOUT_S,
) -> Fetched:
    """Fetch a published catalog, unless the file is there already.

    Parameters
    ----------
    name
        Name of a definition that comes with the package, or path of a definition file.
    out
        The VOTable to write; its record is written beside it.
    cone
        Which part of the sky; None = the whole table.
    table
        The archive's name of the table, for a definition that leaves it open.
    refresh
        Whether to fetch it anew although a file is there.
    timeout_s
        Longest silence of the service that is borne, in seconds.

    Raises
    ------
    ConfigError
        If the definition can't be read, or can't be asked in this way.
    ServiceError
        If the service can't be reached, refuses, or its answer is unusable or incomplete.
    SourcesError
        If it has no such rows, if a column that the definition names did not come or holds
        something else, or if the file there is of another query or was changed.
    """
    definition = read_definition(name)
    if table is not None:
        definition = definition.model_copy(update={"table": table})
    template = _template(definition, cone)
    asked = {"identifier": definition.identifier, "endpoint": definition.endpoint,
             "query": _filled(template, definition.table, cone)}  # fmt: skip
    if not refresh and (found := _at_hand(out, definition, asked)):
        return found
    served_table = table_of(definition, timeout_s)
    query = _filled(template, served_table, cone)
    answer = answer_of(definition, query, timeout_s)
    ours, mapped, kept = _in_our_names(answer, definition)
    _store(out, ours, {
        **asked,
        "query_sent": query,
        "table": served_table,
        "service": definition.service,
        "fetched_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "n_rows": len(ours),
        "software": f"survey-classifier {__version__}",
        "title": definition.title,
        "citation": definition.citation,
        "credit": definition.credit,
        "licence": definition.licence,
        "columns": mapped,
        "columns_kept": list(kept),
    })  # fmt: skip
    return Fetched(out, definition, len(ours), mapped, kept, is_new=True)


def _template(definition: Published, cone: Cone | None) -> str:
    template = definition.query if cone is None else definition.query_cone
    if template is not None:
        return template
    if cone is None:
        raise ConfigError(
            f"{definition.identifier} is too large to fetch whole: give --center RA,DEC and "
            "--radius DEG"
        )
    raise ConfigError(
        f"{definition.identifier} cannot be asked for a part of the sky (its columns of position "
        "are unknown): leave --center and --radius out"
    )


def _filled(template: str, table: str, cone: Cone | None) -> str:
    """Return the query itself; numbers are written so that they read back as they are."""
    words = {"table": f'"{table}"'}
    if cone is not None:
        words |= {
            "ra_deg": repr(float(cone.ra_deg)),
            "dec_deg": repr(float(cone.dec_deg)),
            "radius_deg": repr(float(cone.radius_deg)),
            "radius_arcmin": repr(float(cone.radius_deg) * 60),
        }
    return template.format(**words)


def _at_hand(path: Path, definition: Published, asked: dict[str, str]) -> Fetched | None:
    """Return what an earlier call fetched; None when there is nothing."""
    if not path.exists():
        return None
    remedy = "give --refresh to fetch it anew, or another --out"
    try:
        record = tomllib.loads(record_path(path).read_text(encoding="utf-8"))
        stored = {key: record[key] for key in _ASKED}
        digest, n_rows = str(record["sha256"]), int(record["n_rows"])
        mapped = {str(key): str(value) for key, value in record["columns"].items()}
        kept = tuple(str(name) for name in record["columns_kept"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SourcesError(
            f"{path} is there without a sound record of its origin ({record_path(path).name}): "
            f"{remedy}"
        ) from error
    for key in _ASKED:
        if stored[key] != asked[key]:
            raise SourcesError(
                f"{path} was fetched with {key} {stored[key]!r}, not {asked[key]!r}: {remedy}"
            )
    if table_digest(path) != digest:
        raise SourcesError(f"{path} is not as it was fetched (its SHA-256 differs): {remedy}")
    return Fetched(path, definition, n_rows, mapped, kept, is_new=False)


def _in_our_names(
    answer: Table, definition: Published
) -> tuple[Table, dict[str, str], tuple[str, ...]]:
    """Return an answer with our names and units, the names by the archive's, and what is left."""
    served = definition.served
    came = set(answer.colnames)
    for name in served:
        if name not in came:
            raise SourcesError(
                f"{definition.service} sent {definition.identifier} without the column {name!r}: "
                f"{nearest_name(name, came)}; mend the definition if the table was renamed"
            )
    ours, kept = Table(), []
    taken = {column.name.lower() for column in served.values()}
    for name in answer.colnames:
        if name in served:
            column = _in_our_unit(answer[name], served[name], definition)
        else:
            column = answer[name].copy()
            # A VOTable's reader may not tell z from Z.
            column.name = f"{name}_served" if name.lower() in taken else name
            kept.append(str(column.name))
        ours.add_column(column)
    return ours, {name: column.name for name, column in served.items()}, tuple(kept)


def _in_our_unit(served: Column, wanted: PublishedColumn, definition: Published) -> Column:
    """Return a column under our name, in our unit."""
    column, where = served.copy(), f"column {served.name!r} of {definition.identifier}"
    column.name, column.description = wanted.name, wanted.description
    column.meta["ucd"] = wanted.ucd
    unit = u.Unit(wanted.unit)
    if wanted.unit and column.dtype.kind not in "iuf":
        raise SourcesError(
            f"{where} came as {column.dtype}, not as numbers in {wanted.unit}: mend the definition"
        )
    if served.unit is not None and served.unit != unit:
        if not served.unit.is_equivalent(unit):
            raise SourcesError(
                f"{where} came in {str(served.unit)!r}, which is no {wanted.unit or 'pure number'}:"
                " mend the definition"
            )
        if column.dtype.kind != "f":
            column = column.astype(np.float64)
        column *= served.unit.to(unit)
    column.unit = unit if wanted.unit else None
    return column


def _store(path: Path, table: Table, record: dict[str, object]) -> None:
    """Write table and record; each has its name only when it is whole."""
    try:
        # The table takes its name first: a crash in between is noticed by the digest.
        with replacing(record_path(path)) as its_record, replacing(path) as temporary:
            table.write(temporary, format="votable", tabledata_format="binary2")
            content = {**record, "sha256": table_digest(temporary)}
            its_record.write_text(tomli_w.dumps(content), encoding="utf-8")
    except OSError as error:
        raise SourcesError(
            f"cannot write {path} ({error.strerror}): free some room, or give another --out"
        ) from error
