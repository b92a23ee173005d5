"""What every catalog file says about itself: the VOTable header and the run it comes from.

Owns the keys and texts of the Parquet footer. Does not own the rows nor the writing of files
(``parts``).

The footer follows VOParquet 1.0 (IVOA Note, January 2025), so that TOPCAT and astropy know units,
UCDs and descriptions. The header is built here, because a header that all of them take must bound
the length of strings, have one FIELD for each column in order, and no DATA.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from xml.etree import ElementTree as ET

from survey_classifier.catalog.column import Column
from survey_classifier.catalog.schema import CatalogSchema
from survey_classifier.errors import CatalogError
from survey_classifier.membership.flags import Flag, Status

__all__ = [
    "CONTENT_KEY",
    "FINGERPRINT_KEY",
    "PROVENANCE_KEY",
    "TILE_DIGEST_KEY",
    "Provenance",
    "footer",
    "table_footer",
    "votable_xml",
]

FINGERPRINT_KEY = "survey_classifier.fingerprint"
PROVENANCE_KEY = "survey_classifier.provenance"
TILE_DIGEST_KEY = "survey_classifier.tile_digest"

_VERSION_KEY = "IVOA.VOTable-Parquet.version"
CONTENT_KEY = "IVOA.VOTable-Parquet.content"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_DATATYPES = {
    "float32": "float",
    "float64": "double",
    "int16": "short",
    "int32": "int",
    "int64": "long",
    "string": "unicodeChar",
}


@dataclass(frozen=True, slots=True)
class Provenance:
    """The run that a catalog comes from.

    Raises
    ------
    CatalogError
        If a digest is not a SHA-256, the run has no name, or the time is not ISO 8601.
    """

    fingerprint: str
    """SHA-256 over all that changes the run's results but the pixels, hexadecimal."""
    run: str
    """Name of the run."""
    checkpoint: str
    """Name of the network."""
    checkpoint_digest: str
    """SHA-256 of the network's file, hexadecimal."""
    configuration: str
    """The run file with every default filled in, TOML."""
    versions: Mapping[str, str]
    """Versions of this package and of those that make its numbers, by name."""
    created: str
    """When the run began, ISO 8601 with time zone."""
    mosaics: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 over what each mosaic holds, hexadecimal, by the mosaic's name."""
    evidence: str = ""
    """How p_member was weighed: a `Weighing` of ``membership.weighing``, JSON."""

    def __post_init__(self) -> None:
        digests = {
            "fingerprint": self.fingerprint,
            "checkpoint_digest": self.checkpoint_digest,
            **{f"digest of mosaic {name}": digest for name, digest in self.mosaics.items()},
        }
        for name, digest in digests.items():
            if not _SHA256.fullmatch(digest):
                raise CatalogError(f"{name} {digest!r} is not a SHA-256; give 64 hex digits")
        if not self.run:
            raise CatalogError("the run has no name; give it one")
        try:
            zone = datetime.fromisoformat(self.created).tzinfo
        except ValueError as error:
            raise CatalogError(f"created {self.created!r} is not an ISO 8601 time") from error
        if zone is None:
            raise CatalogError(f"created {self.created!r} has no time zone; add one")


def footer(
    schema: CatalogSchema, provenance: Provenance, n_rows: int, string_widths: Mapping[str, int]
) -> dict[str, str]:
    """Return the key-value pairs of a file's footer.

    Parameters
    ----------
    schema
        Columns of the file.
    provenance
        Where the rows come from.
    n_rows
        Number of rows.
    string_widths
        For each string column, the length of its longest value (at least 1), in UTF-16 units.
    """
    parameters = _parameters(provenance)
    return table_footer(schema, provenance.run, parameters, n_rows, string_widths) | {
        FINGERPRINT_KEY: provenance.fingerprint,
        PROVENANCE_KEY: json.dumps(asdict(provenance)),
    }


def table_footer(
    columns: Iterable[Column],
    name: str,
    parameters: Mapping[str, str],
    n_rows: int,
    string_widths: Mapping[str, int],
) -> dict[str, str]:
    """Return the key-value pairs that any table of ours has in its footer.

    Parameters
    ----------
    columns
        Columns of the file, in order.
    name
        Name of the table.
    parameters
        What the table says of where its rows come from.
    n_rows
        Number of rows.
    string_widths
        As for `footer`.
    """
    return {
        _VERSION_KEY: "1.0",
        CONTENT_KEY: _table_xml(columns, name, parameters, n_rows, string_widths),
        # astropy cannot read a file without rows, and warns of any other, unless it finds these.
        **{f"table::len::{column}": str(width) for column, width in string_widths.items()},
    }


def votable_xml(
    schema: CatalogSchema, provenance: Provenance, n_rows: int, string_widths: Mapping[str, int]
) -> str:
    """Return a VOTable 1.4 document that describes the rows and holds none.

    Takes what `footer` takes.
    """
    parameters = _parameters(provenance)
    return _table_xml(schema, provenance.run, parameters, n_rows, string_widths)


def _table_xml(
    columns: Iterable[Column],
    name: str,
    parameters: Mapping[str, str],
    n_rows: int,
    string_widths: Mapping[str, int],
) -> str:
    """Return the document of any table; takes what `table_footer` takes."""
    document = ET.Element(
        "VOTABLE", {"version": "1.4", "xmlns": "http://www.ivoa.net/xml/VOTable/v1.3"}
    )
    resource = ET.SubElement(document, "RESOURCE")
    ET.SubElement(resource, "COOSYS", {"ID": "icrs", "system": "ICRS"})
    # Without an ID, astropy makes one of the name, and complains when it cannot.
    attributes = {"ID": "catalog", "name": _escaped(name), "nrows": str(n_rows)}
    table = ET.SubElement(resource, "TABLE", attributes)
    for key, value in parameters.items():
        said = {"datatype": "unicodeChar", "arraysize": "*", "value": _escaped(value)}
        ET.SubElement(table, "PARAM", {"name": _escaped(key), **said})
    for column in columns:
        _add_field(table, column, string_widths)
    ET.indent(document)
    return ET.tostring(document, encoding="unicode")


def _parameters(provenance: Provenance) -> dict[str, str]:
    """Return what a catalog says of its run."""
    return {
        "run": provenance.run,
        "fingerprint": provenance.fingerprint,
        "checkpoint": provenance.checkpoint,
        "checkpoint_digest": provenance.checkpoint_digest,
        "created": provenance.created,
        "mosaics": "\n".join(f"{name} {digest}" for name, digest in provenance.mosaics.items()),
        **{f"version_{name}": version for name, version in provenance.versions.items()},
        "configuration": provenance.configuration,
        "evidence": provenance.evidence,
        "flags": "\n".join(f"{flag.value} {flag.name}: {flag.meaning}" for flag in Flag),
        "status": "\n".join(f"{status.value}: {status.meaning}" for status in Status),
    }


def _add_field(table: ET.Element, column: Column, string_widths: Mapping[str, int]) -> None:
    attributes = {"name": column.name, "datatype": _DATATYPES[column.dtype]}
    if column.dtype == "string":
        attributes["arraysize"] = f"{string_widths[column.name]}*"
    if column.unit:
        attributes["unit"] = column.unit
    attributes["ucd"] = column.ucd
    if column.ucd.startswith("pos.eq."):
        attributes["ref"] = "icrs"
    field = ET.SubElement(table, "FIELD", attributes)
    ET.SubElement(field, "DESCRIPTION").text = _escaped(column.description)


def _escaped(text: str) -> str:
    r"""Return text with the characters that no XML document may hold as ``\x0b``."""
    return _NOT_XML.sub(lambda match: match.group().encode("unicode_escape").decode(), text)
