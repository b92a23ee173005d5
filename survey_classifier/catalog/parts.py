"""Catalog files, written whole or not at all, and the parts of a run.

Owns the writing of a file, the names of parts, and which tiles are done. Does not own what the
footer says (``footer``) nor the making of one file from many (``publish``).

A part appears under its name by a rename, after all of it is on disk; a tile without sources
writes a part without rows. Its footer holds the digest of what it was made of, so a part with the
digest that is wanted is done, and nothing else says so. Interrupted writes leave hidden ``.tmp``
files, which nothing reads.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from survey_classifier.catalog.footer import (
    FINGERPRINT_KEY,
    TILE_DIGEST_KEY,
    Provenance,
    footer,
)
from survey_classifier.catalog.schema import CatalogSchema
from survey_classifier.errors import CatalogError, RunMismatchError
from survey_classifier.files import replacing

__all__ = [
    "PARQUET",
    "ROWS_PER_GROUP",
    "CatalogFile",
    "Provenance",
    "check_fingerprint",
    "done_parts",
    "new_catalog",
    "part_path",
    "read_fingerprint",
    "write_part",
]

ROWS_PER_GROUP = 65_536
"""Rows collected before they are written: what a writer holds, and what a reader reads at once."""

# Checksums tell a bit that fell over on disk from a value. The Arrow schema, which pyarrow would
# store, holds all keys a second time and would be one more table parameter in TOPCAT.
PARQUET: Mapping[str, Any] = {
    "compression": "zstd",
    "store_schema": False,
    "write_page_checksum": True,
}
_PREFIX, _SUFFIX = "tile-", ".parquet"


class CatalogFile:
    """A catalog that is being written; made by `new_catalog`.

    Parameters
    ----------
    writer
        Open Parquet writer with the schema's columns.
    schema
        Columns of every table appended.
    """

    def __init__(self, writer: pq.ParquetWriter, schema: CatalogSchema) -> None:
        self.n_rows = 0
        self.string_widths = {c.name: 1 for c in schema if c.dtype == "string"}
        self._writer = writer
        self._arrow = schema.arrow
        self._waiting: list[pa.Table] = []
        self._n_waiting = 0

    def append(self, table: pa.Table) -> None:
        """Add rows.

        Raises
        ------
        CatalogError
            If the columns are not the schema's.
        """
        if not table.schema.equals(self._arrow):
            raise CatalogError(
                f"rows with columns {table.schema.names} do not fit the catalog, which has "
                f"{self._arrow.names}; were they made by another version?"
            )
        self.n_rows += table.num_rows
        for name, width in self.string_widths.items():
            # No value has more UTF-16 units than bytes in UTF-8, and in ASCII the two are equal.
            longest = pc.max(pc.binary_length(table[name])).as_py()
            self.string_widths[name] = max(width, longest or 0)
        self._waiting.append(table.replace_schema_metadata(None))
        self._n_waiting += table.num_rows
        if self._n_waiting >= ROWS_PER_GROUP:
            self.flush()

    def flush(self) -> None:
        """Write what waits, as one row group."""
        if self._n_waiting:
            self._writer.write_table(pa.concat_tables(self._waiting))
        self._waiting, self._n_waiting = [], 0


@contextmanager
def new_catalog(
    path: Path, schema: CatalogSchema, provenance: Provenance, tile_digest: str = ""
) -> Iterator[CatalogFile]:
    """Write a catalog file that appears under its name when the block ends without an error.

    Parameters
    ----------
    path
        The file; one that is there is replaced, its folder is made.
    schema
        Columns of the file.
    provenance
        Where the rows come from.
    tile_digest
        Of a part, SHA-256 over what its tile is made of.

    Raises
    ------
    CatalogError
        If the file cannot be written.
    """
    try:
        with replacing(path) as temporary, temporary.open("xb") as stream:
            yield from _filled(stream, schema, provenance, tile_digest)
    except OSError as error:
        raise CatalogError(f"cannot write {path}: {error}; free or choose another place") from error


def _filled(
    stream: BinaryIO, schema: CatalogSchema, provenance: Provenance, tile_digest: str
) -> Iterator[CatalogFile]:
    """Yield a catalog to append to, then complete its file."""
    # A dictionary of floats that all differ is given up when it is full: it made files of a
    # million rows 40 % larger, and their writing 2.5 times as slow.
    repeated = [column.name for column in schema if not column.dtype.startswith("float")]
    with pq.ParquetWriter(stream, schema.arrow, use_dictionary=repeated, **PARQUET) as writer:
        catalog = CatalogFile(writer, schema)
        yield catalog
        catalog.flush()
        writer.add_key_value_metadata(
            footer(schema, provenance, catalog.n_rows, catalog.string_widths)
            | ({TILE_DIGEST_KEY: tile_digest} if tile_digest else {})
        )
    stream.flush()


def write_part(
    path: Path,
    table: pa.Table,
    schema: CatalogSchema,
    provenance: Provenance,
    tile_digest: str = "",
) -> None:
    """Write the rows of one tile, none included.

    Parameters
    ----------
    path
        From `part_path`.
    table
        From `CatalogSchema.to_arrow`.
    schema
        Columns of the table.
    provenance
        Where the rows come from.
    tile_digest
        SHA-256 over what the tile is made of; without it the part is a stand-in, and never done.

    Raises
    ------
    CatalogError
        If the table does not fit the schema, or the file cannot be written.
    """
    with new_catalog(path, schema, provenance, tile_digest) as catalog:
        catalog.append(table)


def part_path(folder: Path, tile_name: str) -> Path:
    """Return the path of a tile's part."""
    return folder / f"{_PREFIX}{tile_name}{_SUFFIX}"


def read_fingerprint(path: Path) -> str:
    """Return the fingerprint of the run that wrote a catalog file.

    Raises
    ------
    CatalogError
        If the file cannot be read, or says nothing of a run of ours.
    """
    return _read_keys(path)[0]


def _read_keys(path: Path) -> tuple[str, str]:
    """Return the fingerprint of a catalog file, and the digest of its tile or ''."""
    try:
        pairs = pq.read_metadata(path).metadata or {}
    except (OSError, pa.ArrowException) as error:
        raise CatalogError(
            f"{path} is damaged or no Parquet file ({error}); an interrupted run leaves none such, "
            "so look at the disk, remove the file and run again"
        ) from error
    found = pairs.get(FINGERPRINT_KEY.encode())
    if found is None:
        raise CatalogError(f"{path} was not written by survey_classifier; move it elsewhere")
    return str(found.decode()), str(pairs.get(TILE_DIGEST_KEY.encode(), b"").decode())


def check_fingerprint(path: Path, fingerprint: str) -> None:
    """Refuse a file of another run.

    Raises
    ------
    RunMismatchError
        If it has another fingerprint.
    CatalogError
        If the file cannot be read.
    """
    _tile_digest(path, fingerprint)


def _tile_digest(path: Path, fingerprint: str) -> str:
    """Return the digest of a part's tile, after the check that it is a part of this run."""
    found, tile_digest = _read_keys(path)
    if found != fingerprint:
        raise RunMismatchError(
            f"{path} belongs to run {found[:12]}, this is run {fingerprint[:12]} (another source "
            "list, checkpoint or setting); choose another `out` or remove the folder"
        )
    return tile_digest


def done_parts(folder: Path, fingerprint: str) -> dict[str, str]:
    """Return the tiles whose parts are there, each with the digest of what it was made of.

    A part is done if that is the digest of its tile now; else its pixels or sources changed.

    Parameters
    ----------
    folder
        The run's folder of parts; it need not exist.
    fingerprint
        That of this run.

    Raises
    ------
    RunMismatchError
        If a part belongs to another run.
    CatalogError
        If a part cannot be read.
    """
    return {
        path.name.removeprefix(_PREFIX).removesuffix(_SUFFIX): _tile_digest(path, fingerprint)
        for path in sorted(folder.glob(f"{_PREFIX}*{_SUFFIX}"))
    }
