"""A mosaic on disk: one Zarr group, one sky area, one pixel grid, any number of named bands.

Owns the layout (every name on disk is a constant here) and reading boxes of pixels. Does not own
writing (``writer``), where the pixels come from (``ingest``) nor file formats (``readers``)::

    NAME.zarr/            attributes survey_classifier, fits_wcs_header, ome, created_by
      <band>/<k>/flux     float32 (y, x); NaN = no data; level k holds means of 2^k x 2^k pixels
      <band>/<k>/mask     uint8 (y, x) of MaskBit
      <band>/shards       uint64 (row, column): digest of each finished shard, 0 = not written

A shard has one writer, and its digest is written last: what has a digest is complete. Every
shard of a finished store is a file, with or without data, so a file that is missing is noticed.
"""

import threading
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import zarr
from astropy.io import fits
from astropy.wcs import WCS

from survey_classifier.errors import MosaicError
from survey_classifier.geometry import Box
from survey_classifier.mosaic.pixels import (
    BandInfo,
    PixelBlock,
    band_index,
    padded_block,
)
from survey_classifier.mosaic.pyramid import N_LEVELS
from survey_classifier.mosaic.sky import SkyGrid

__all__ = ["CHUNK_PX", "SHARD_PX", "Mosaic", "open_about", "open_group"]

SCHEMA = 1
CHUNK_PX = 128
"""Side of what is decompressed at once."""
SHARD_PX = 2048
"""Side of a file of level 0, the unit of writing."""
PLANES = ("flux", "mask")
ATTRIBUTE, WCS_ATTRIBUTE, SHARDS = "survey_classifier", "fits_wcs_header", "shards"
PIPELINE = {"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}
"""Rust codecs: three to four times the read speed of the default pipeline."""
COPIED_IN_PART = "copy it again, or remove it and run the ingest again"

_OPENING = threading.Lock()


class Mosaic(SkyGrid):
    """A finished mosaic, opened for reading; see `PixelSource`."""

    chunk_px = CHUNK_PX
    n_levels = N_LEVELS

    def __init__(self, path: Path, group: zarr.Group) -> None:
        about: dict[str, Any] = dict(group.attrs[ATTRIBUTE])  # type: ignore[arg-type]
        super().__init__(WCS(fits.Header.fromstring(str(group.attrs[WCS_ATTRIBUTE]))))
        self.path = path
        self.name = str(about["name"])
        self.bands = tuple(_band_info(band) for band in about["bands"])
        self.shape = (int(about["shape"][0]), int(about["shape"][1]))
        self.digest = str(about["digest"])
        self._group = group
        self._arrays: dict[str, zarr.Array[Any]] = {}

    @property
    def sky(self) -> SkyGrid:
        """The grid on the sky."""
        return self

    @classmethod
    def open(cls, path: Path) -> "Mosaic":
        """Open a finished mosaic.

        Raises
        ------
        MosaicError
            If there is none at the path, its ingest was not finished, or shards are missing.
        """
        group = open_group(path)
        about = open_about(group, path)
        if not about.get("digest"):
            raise MosaicError(f"the ingest of {path} is not finished; run the ingest again")
        mosaic = cls(path, group)
        mosaic._require_shards()
        return mosaic

    def read(self, box: Box, bands: Sequence[str], level: int = 0) -> PixelBlock:
        """See `PixelSource.read`."""
        band_index(self.bands, bands, str(self.path))
        arrays = [(self._array(band, level, "flux"), self._array(band, level, "mask"))
                  for band in bands]  # fmt: skip

        def read_band(number: int, slices: tuple[slice, slice]) -> tuple[Any, Any]:
            flux, mask = arrays[number]
            try:
                return flux[slices], mask[slices]
            except (OSError, RuntimeError, ValueError) as error:
                raise MosaicError(
                    f"cannot read band {bands[number]}, level {level}, {box} of {self.path}: "
                    f"{error}; {COPIED_IN_PART}"
                ) from error

        shape = (-(-self.shape[0] // 2**level), -(-self.shape[1] // 2**level))
        return padded_block(box, bands, shape, level, read_band)

    def _array(self, band: str, level: int, plane: str) -> zarr.Array[Any]:
        key = f"{band}/{level}/{plane}"
        # The pipeline is a setting of the whole process, and is chosen while an array is opened.
        with _OPENING:
            if key not in self._arrays:
                with zarr.config.set(PIPELINE):
                    self._arrays[key] = self._member(key)
            return self._arrays[key]

    def _member(self, key: str) -> zarr.Array[Any]:
        try:
            return self._group[key]  # type: ignore[return-value]
        except KeyError as error:
            raise MosaicError(f"{self.path} lacks {key}; {COPIED_IN_PART}") from error

    def _require_shards(self) -> None:
        """Refuse a store that lacks the file of a shard: it would read as a hole in the sky."""
        for band in self.bands:
            n_rows, n_cols = self._member(f"{band.name}/{SHARDS}").shape
            wanted = {str(col) for col in range(n_cols)}
            for level, plane, row in product(range(N_LEVELS), PLANES, range(n_rows)):
                folder = self.path / band.name / str(level) / plane / "c" / str(row)
                there = folder.iterdir() if folder.is_dir() else ()
                missing = wanted.difference(file.name for file in there)
                if missing:
                    raise MosaicError(
                        f"{self.path} lacks the {plane} of band {band.name}, level {level}, "
                        f"shard ({row}, {min(map(int, missing))}); {COPIED_IN_PART}"
                    )


def open_group(path: Path, mode: Any = "r") -> zarr.Group:  # noqa: ANN401 - zarr's literal
    """Open a group.

    Raises
    ------
    MosaicError
        If there is none.
    """
    try:
        return zarr.open_group(path, mode=mode)
    except (FileNotFoundError, ValueError, KeyError) as error:
        remedy = (
            "something else is there: name another store"
            if path.exists()
            else "make one with the verb ingest"
        )
        raise MosaicError(f"no mosaic at {path}; {remedy}") from error


def open_about(group: zarr.Group, path: Path) -> dict[str, Any]:
    """Return what a store says of itself.

    Raises
    ------
    MosaicError
        If it is no mosaic, or one of another schema.
    """
    about = group.attrs.get(ATTRIBUTE)
    if not isinstance(about, dict):
        raise MosaicError(f"{path} is a Zarr group, but not a mosaic; remove it or name another")
    if about.get("schema") != SCHEMA:
        raise MosaicError(
            f"{path} has mosaic schema {about.get('schema')}, this version reads {SCHEMA}; "
            "ingest it again"
        )
    return dict(about)


def _band_info(about: dict[str, Any]) -> BandInfo:
    return BandInfo(**{**about, "source_files": tuple(about["source_files"])})
