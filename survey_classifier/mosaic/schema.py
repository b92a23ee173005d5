"""The layout of a store: every name on disk, and the opening of its groups and arrays.

Owns the schema and the sizes of chunks and shards. Does not own reading pixels (``store``),
writing them (``writer``), what a new store holds (``blueprint``) nor where one lies (``place``)::

    NAME.zarr/             attributes survey_classifier, fits_wcs_header, ome, created_by
      <band>/<k>/flux      float32 (y, x); NaN = no data; level k holds means of 2^k x 2^k pixels
      <band>/<k>/mask      uint8 (y, x) of MaskBit
      <band>/<k>/variance  float32 (y, x), of what flux holds, where the band's is known
      <band>/shards        uint64 (row, column, 2): digests of each finished shard's pixels and of
                           what they were made of; 0 = not written
      <band>/noise         float32 (row, column): sky noise of a pixel in the shard
      <band>/digests       uint64 (row, column): those of the pixels again, for reading at once

A shard has one writer, and its record is written last: what has a record is complete. A shard
without data has no files; any other has all of them, so one that is missing is noticed.
"""

import threading
from typing import Any, Literal

import zarr

from survey_classifier.errors import MosaicError
from survey_classifier.mosaic.pixels import BandInfo
from survey_classifier.mosaic.place import READ_FAILURES, Place

__all__ = [
    "ATTRIBUTE",
    "CHUNK_PX",
    "COPIED_IN_PART",
    "DIGESTS",
    "MENDING",
    "NOISE",
    "PIPELINE",
    "PLANES",
    "SCHEMA",
    "SHARDS",
    "SHARD_PX",
    "VARIANCE",
    "WCS_ATTRIBUTE",
    "bands_of",
    "open_about",
    "open_array",
    "open_group",
]

SCHEMA = 2
CHUNK_PX = 128
"""Side of what is decompressed at once."""
SHARD_PX = 2048
"""Side of a file of level 0, the unit of writing."""
PLANES = ("flux", "mask")
VARIANCE = "variance"
ATTRIBUTE, WCS_ATTRIBUTE = "survey_classifier", "fits_wcs_header"
SHARDS, NOISE, DIGESTS = "shards", "noise", "digests"
PIPELINE = {"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}
"""Rust codecs: three to four times the read speed of the default pipeline. In folders only: it
does not share the connections of an object store, and waits for some servers for minutes."""
EVERY_SHARD = {"array.write_empty_chunks": True}
"""A plane without data is a file too, if the shard has any: a missing one then means a store copied
in part."""
COPIED_IN_PART = "copy it again, or remove it and run the ingest again"
"""What to do with a store that lacks more than pixels."""
MENDING = (
    "inspect --check names all damaged files: copy them again, or remove them and run the ingest "
    "again"
)
"""What to do with one that lacks pixels."""

_OPENING = threading.Lock()


def open_group(place: Place, mode: Literal["r", "r+"] = "r") -> zarr.Group:
    """Open a group.

    Raises
    ------
    MosaicError
        If there is none.
    """
    store = place.open(mode)
    # Where nobody answers, Zarr would ask for one file after the other.
    is_there = place.exists()
    try:
        return zarr.open_group(store, mode=mode)
    except (*READ_FAILURES, KeyError) as error:
        remedy = (
            "something else is there: name another store"
            if is_there
            else "make one with the verb ingest"
        )
        raise MosaicError(f"no mosaic at {place}; {remedy}") from error


def open_about(group: zarr.Group, place: Place) -> dict[str, Any]:
    """Return what a store says of itself.

    Raises
    ------
    MosaicError
        If it is no mosaic, or one of another schema.
    """
    about = group.attrs.get(ATTRIBUTE)
    if not isinstance(about, dict):
        raise MosaicError(f"{place} is a Zarr group, but not a mosaic; remove it or name another")
    if about.get("schema") != SCHEMA:
        raise MosaicError(
            f"{place} has mosaic schema {about.get('schema')}, this version reads {SCHEMA}; "
            "ingest it again"
        )
    return dict(about)


def open_array(group: zarr.Group, key: str, place: Place, *, rust: bool = True) -> zarr.Array[Any]:
    """Open an array of a store.

    Parameters
    ----------
    group
        The store's group.
    key
        Path of the array in it.
    place
        Where it lies.
    rust
        Whether to take `PIPELINE`, where the place allows it.

    Raises
    ------
    MosaicError
        If it is missing.
    """
    # Settings of the whole process, which an array takes over while it is opened.
    chosen = EVERY_SHARD | (PIPELINE if rust and place.folder is not None else {})
    with _OPENING, zarr.config.set(chosen):
        try:
            return group[key]  # type: ignore[return-value]
        except KeyError as error:
            raise MosaicError(f"{place} lacks {key}; {COPIED_IN_PART}") from error


def bands_of(about: dict[str, Any]) -> tuple[BandInfo, ...]:
    """Return the bands of a store from what it says of itself."""
    return tuple(
        BandInfo(**{**band, "source_files": tuple(band["source_files"])}) for band in about["bands"]
    )
