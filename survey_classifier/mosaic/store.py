"""A mosaic on disk: one Zarr group, one sky area, one pixel grid, any number of named bands.

Owns the layout (every name on disk is a constant here) and reading boxes of pixels. Does not own
writing (``writer``), where a store lies (``place``), where the pixels come from (``ingest``) nor
file formats (``readers``)::

    NAME.zarr/             attributes survey_classifier, fits_wcs_header, ome, created_by
      <band>/<k>/flux      float32 (y, x); NaN = no data; level k holds means of 2^k x 2^k pixels
      <band>/<k>/mask      uint8 (y, x) of MaskBit
      <band>/<k>/variance  float32 (y, x), of what flux holds, where the band's is known
      <band>/shards        uint64 (row, column, 2): digests of each finished shard's pixels and of
                           what they were made of; 0 = not written
      <band>/noise         float32 (row, column): sky noise of a pixel in the shard
      <band>/digests       uint64 (row, column): those of the pixels again, for reading at once

A shard has one writer, and its record is written last: what has a record is complete. Every
shard of a finished store is a file, with or without data, so a file that is missing is noticed.
"""

import threading
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import zarr
from astropy.io import fits
from astropy.wcs import WCS

from survey_classifier.errors import MosaicError
from survey_classifier.geometry import Box, overlap
from survey_classifier.mosaic.pixels import (
    BandInfo,
    MaskBit,
    PixelBlock,
    band_index,
    padded_block,
)
from survey_classifier.mosaic.place import READ_FAILURES, Place, reason
from survey_classifier.mosaic.pyramid import N_LEVELS
from survey_classifier.mosaic.sky import SkyGrid

__all__ = ["CHUNK_PX", "SHARD_PX", "Mosaic", "bands_of", "open_about", "open_array", "open_group"]

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
"""A shard without data is a file too: a missing one then means a store copied in part."""
COPIED_IN_PART = "copy it again, or remove it and run the ingest again"

_OPENING = threading.Lock()


class Mosaic(SkyGrid):
    """A finished mosaic, opened for reading; see `PixelSource`."""

    chunk_px = CHUNK_PX
    n_levels = N_LEVELS

    def __init__(self, place: Place, group: zarr.Group) -> None:
        about: dict[str, Any] = dict(group.attrs[ATTRIBUTE])  # type: ignore[arg-type]
        super().__init__(WCS(fits.Header.fromstring(str(group.attrs[WCS_ATTRIBUTE]))))
        self.place = place
        self.name = str(about["name"])
        self.bands = bands_of(about)
        self.shape = (int(about["shape"][0]), int(about["shape"][1]))
        self.territory = str(about["territory"])
        self.digest = str(about["digest"])
        self._group = group
        self._arrays: dict[str, zarr.Array[Any]] = {}
        self._seen: set[str] = set()

    @property
    def sky(self) -> SkyGrid:
        """The grid on the sky."""
        return self

    @classmethod
    def open(cls, store: str | Path | Place) -> "Mosaic":
        """Open a finished mosaic.

        Parameters
        ----------
        store
            Its folder or URL.

        Raises
        ------
        MosaicError
            If there is none, its ingest was not finished, or shards are missing.
        """
        place = Place.of(store)
        group = open_group(place)
        about = open_about(group, place)
        if not about.get("digest"):
            raise MosaicError(f"the ingest of {place} is not finished; run the ingest again")
        mosaic = cls(place, group)
        if place.can_list:
            mosaic._require_shards()
        return mosaic

    def read(self, box: Box, bands: Sequence[str], level: int = 0) -> PixelBlock:
        """See `PixelSource.read`."""
        band_index(self.bands, bands, str(self.place))

        def read_band(number: int, slices: tuple[slice, slice]) -> tuple[Any, Any]:
            flux, mask = (f"{bands[number]}/{level}/{plane}" for plane in PLANES)
            return self._cut(flux, slices, box), self._cut(mask, slices, box)

        return padded_block(box, bands, self._level_shape(level), level, read_band)

    def read_variance(self, box: Box, band: str, level: int = 0) -> npt.NDArray[np.float32]:
        """Return the variance of a band's flux in a box of a pyramid level.

        Parameters
        ----------
        box
            In pixels of the level; it may stick out of the mosaic.
        band
            Name of the band.
        level
            Pyramid level.

        Returns
        -------
        ndarray of float32
            ``(y, x)`` in the square of the band's unit; NaN outside and where it is not known.

        Raises
        ------
        MosaicError
            If there is no such band, it has no variance, or it cannot be read.
        """
        (index,) = band_index(self.bands, [band], str(self.place))
        if not self.bands[index].has_variance:
            raise MosaicError(
                f"band {band} of {self.place} has no variance; ingest files that have one"
            )
        variance = np.full(box.shape, np.nan, dtype=np.float32)
        self._fill(variance, f"{band}/{level}/{VARIANCE}", box)
        return variance

    def read_mask(self, box: Box, band: str, level: int = 0) -> npt.NDArray[np.uint8]:
        """Return what `read` has for mask, without reading flux: ``(y, x)`` of `MaskBit`.

        Raises
        ------
        MosaicError
            If there is no such band, or it cannot be read.
        """
        band_index(self.bands, [band], str(self.place))
        mask = np.full(box.shape, MaskBit.NO_DATA, dtype=np.uint8)
        self._fill(mask, f"{band}/{level}/mask", box)
        return mask

    def _fill(self, plane: npt.NDArray[Any], key: str, box: Box) -> None:
        """Put what the mosaic has of a box into an array of the box's shape."""
        level = int(key.split("/")[1])
        slices = overlap(box, self._level_shape(level))
        if slices is not None:
            large, small = slices
            plane[small] = self._cut(key, large, box)

    def shard_digests(self, band: str) -> npt.NDArray[np.uint64]:
        """Return the digest of each shard's pixels, shape ``(row, column)`` of `SHARD_PX`."""
        return self._whole(band, DIGESTS)

    def noise(self, band: str) -> npt.NDArray[np.float32]:
        """Return the sky noise of a pixel in each shard, shape ``(row, column)`` of `SHARD_PX`.

        In the band's unit; NaN where a shard has too few pixels to tell.
        """
        return self._whole(band, NOISE)

    def _whole(self, band: str, name: str) -> Any:  # noqa: ANN401 - of the array's own type
        band_index(self.bands, [band], str(self.place))
        try:
            return np.asarray(self._array(f"{band}/{name}")[:])
        except READ_FAILURES as error:
            raise self._unreadable(f"the {name} of band {band}", error) from error

    def _level_shape(self, level: int) -> tuple[int, int]:
        return -(-self.shape[0] // 2**level), -(-self.shape[1] // 2**level)

    def _cut(self, key: str, slices: tuple[slice, slice], box: Box) -> Any:  # noqa: ANN401
        """Return pixels of a plane; the box is for the message."""
        band, level, plane = key.split("/")
        array = self._array(key)
        try:
            if not self.place.can_list:
                self._require_there(key, array, slices)
            return array[slices]
        except READ_FAILURES as error:
            what = f"band {band}, level {level}, {plane} in {box}"
            raise self._unreadable(what, error) from error

    def _unreadable(self, what: str, error: Exception) -> MosaicError:
        return MosaicError(f"cannot read {what} of {self.place}: {reason(error)}; {COPIED_IN_PART}")

    def _array(self, key: str) -> zarr.Array[Any]:
        if key not in self._arrays:
            self._arrays[key] = open_array(self._group, key, self.place)
        return self._arrays[key]

    def _require_shards(self) -> None:
        """Refuse a store that lacks the file of a shard: it would read as a hole in the sky."""
        for band in self.bands:
            n_rows, n_cols = self._array(f"{band.name}/{DIGESTS}").shape
            there = self.place.files(band.name)
            planes = (*PLANES, VARIANCE) if band.has_variance else PLANES
            for level, plane, row, col in product(
                range(N_LEVELS), planes, range(n_rows), range(n_cols)
            ):
                if f"{band.name}/{level}/{plane}/c/{row}/{col}" not in there:
                    raise MosaicError(
                        f"{self.place} lacks the {plane} of band {band.name}, level {level}, "
                        f"shard ({row}, {col}); {COPIED_IN_PART}"
                    )

    def _require_there(self, key: str, array: Any, slices: tuple[slice, slice]) -> None:  # noqa: ANN401
        """Do the same for the shards of a slice, where a store's files cannot be listed."""
        spans = (
            range(part.start // side, -(-part.stop // side))
            for part, side in zip(slices, array.shards, strict=True)
        )
        for row, col in product(*spans):
            file = f"{key}/c/{row}/{col}"
            if file not in self._seen and not self.place.has(file):
                raise FileNotFoundError(f"{file} is missing")
            self._seen.add(file)


def open_group(place: Place, mode: Literal["r", "r+"] = "r") -> zarr.Group:
    """Open a group.

    Raises
    ------
    MosaicError
        If there is none.
    """
    store = place.open(mode)
    try:
        return zarr.open_group(store, mode=mode)
    except (*READ_FAILURES, KeyError) as error:
        remedy = (
            "something else is there: name another store"
            if place.exists()
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
