"""A mosaic on disk: one Zarr group, one sky area, one pixel grid, any number of named bands.

Owns the layout (every name on disk is a constant here), reading boxes of pixels, and writing
shards so that an interrupted write can be resumed. Does not own where the pixels come from
(``ingest``) nor file formats (``readers``)::

    NAME.zarr/            attributes survey_classifier, fits_wcs_header, ome, created_by
      <band>/<k>/flux     float32 (y, x); NaN = no data; level k holds means of 2^k x 2^k pixels
      <band>/<k>/mask     uint8 (y, x) of MaskBit
      <band>/shards       uint64 (row, column): digest of each finished shard, 0 = not written

A shard has one writer, and its digest is written last: what has a digest is complete.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from astropy.io import fits
from astropy.wcs import WCS
from zarr.codecs import BloscCodec

from survey_classifier import __version__
from survey_classifier.errors import MosaicError
from survey_classifier.geometry import Box, TileGrid
from survey_classifier.mosaic.pixels import (
    BandInfo,
    MaskBit,
    PixelBlock,
    SkyGrid,
    band_index,
    padded_block,
)
from survey_classifier.mosaic.pyramid import N_LEVELS, bin_block

__all__ = ["CHUNK_PX", "SHARD_PX", "Mosaic", "MosaicWriter"]

SCHEMA = 1
CHUNK_PX = 128
"""Side of what is decompressed at once."""
SHARD_PX = 2048
"""Side of a file of level 0, the unit of writing."""
ATTRIBUTE, WCS_ATTRIBUTE, SHARDS = "survey_classifier", "fits_wcs_header", "shards"
PIPELINE = {"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}
"""Rust codecs: three to four times the read speed of the default pipeline."""


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

    @classmethod
    def open(cls, path: Path) -> "Mosaic":
        """Open a finished mosaic.

        Raises
        ------
        MosaicError
            If there is none at the path, or its ingest was not finished.
        """
        group = _open_group(path)
        about = _about(group, path)
        if not about.get("digest"):
            raise MosaicError(f"the ingest of {path} is not finished; run the ingest again")
        return cls(path, group)

    def read(self, box: Box, bands: Sequence[str], level: int = 0) -> PixelBlock:
        """See `PixelSource.read`."""
        band_index(self.bands, bands, str(self.path))
        arrays = [(self._array(band, level, "flux"), self._array(band, level, "mask"))
                  for band in bands]  # fmt: skip

        def read_band(number: int, slices: tuple[slice, slice]) -> tuple[Any, Any]:
            flux, mask = arrays[number]
            return flux[slices], mask[slices]

        shape = (-(-self.shape[0] // 2**level), -(-self.shape[1] // 2**level))
        return padded_block(box, bands, shape, level, read_band)

    def _array(self, band: str, level: int, plane: str) -> zarr.Array[Any]:
        key = f"{band}/{level}/{plane}"
        if key not in self._arrays:
            with zarr.config.set(PIPELINE):
                self._arrays[key] = self._group[key]  # type: ignore[assignment]
        return self._arrays[key]

    @cached_property
    def _arrays(self) -> dict[str, zarr.Array[Any]]:
        return {}


class MosaicWriter:
    """Writes a mosaic shard by shard; what is finished is never written again.

    Parameters
    ----------
    path
        Folder of the store.
    group
        The opened group.
    """

    def __init__(self, path: Path, group: zarr.Group) -> None:
        about = _about(group, path)
        self.path = path
        self.shape = (int(about["shape"][0]), int(about["shape"][1]))
        self.bands = tuple(str(band["name"]) for band in about["bands"])
        self._group = group
        self._grid = TileGrid(self.shape, SHARD_PX)

    @classmethod
    def open_or_create(
        cls,
        path: Path,
        name: str,
        bands: Sequence[BandInfo],
        shape: tuple[int, int],
        wcs: WCS,
        inputs_digest: str,
    ) -> "MosaicWriter":
        """Create a store, or go on with one that was begun from the same inputs.

        Parameters
        ----------
        path
            Folder of the store.
        name
            Name of the mosaic.
        bands
            Its bands.
        shape
            ``(ny, nx)`` in pixels.
        wcs
            Celestial WCS of the grid.
        inputs_digest
            SHA-256 over what the pixels are made of.

        Raises
        ------
        MosaicError
            If the folder holds something else, or a mosaic of other inputs.
        """
        if path.exists():
            group = _open_group(path, mode="r+")
            if _about(group, path).get("inputs_digest") != inputs_digest:
                raise MosaicError(
                    f"{path} was ingested from other inputs; remove it or name another store"
                )
            return cls(path, group)
        group = zarr.open_group(path, mode="w-")
        _create_arrays(group, bands, shape)
        scale = SkyGrid(wcs).scale_arcsec
        group.attrs.update(
            {
                WCS_ATTRIBUTE: wcs.to_header_string(relax=True),
                "ome": _ome(bands, scale),
                "created_by": f"survey_classifier {__version__}",
                # Last: a store without this attribute was never begun.
                ATTRIBUTE: {
                    "schema": SCHEMA,
                    "name": name,
                    "bands": [asdict(band) for band in bands],
                    "shape": list(shape),
                    "scale_arcsec": scale,
                    "footprint": _footprint(wcs, shape),
                    "inputs_digest": inputs_digest,
                    "digest": "",
                },
            }
        )
        return cls(path, group)

    def pending(self) -> Iterator[tuple[str, Box]]:
        """Yield band and box of each shard that is not finished."""
        for band in self.bands:
            done = np.asarray(self._shards(band)[:])
            for tile in self._grid.tiles():
                if done[tile.row, tile.col] == 0:
                    yield band, tile.core

    @property
    def n_shards(self) -> int:
        """Number of shards of all bands."""
        return len(self.bands) * self._grid.n_rows * self._grid.n_cols

    def write(
        self, band: str, box: Box, flux: npt.NDArray[np.float32], mask: npt.NDArray[np.uint8]
    ) -> None:
        """Write one shard on all levels, then mark it finished.

        Parameters
        ----------
        band
            Name of the band.
        box
            One of the boxes of `pending`.
        flux
            ``(y, x)`` in the band's unit; NaN where there is no data.
        mask
            ``(y, x)`` of `MaskBit`.
        """
        mask = mask | np.where(np.isnan(flux), np.uint8(MaskBit.NO_DATA), np.uint8(0))
        for level in range(N_LEVELS):
            binned_flux, binned_mask = bin_block(flux, mask, level)
            y0, x0 = box.y0 >> level, box.x0 >> level
            where = (slice(y0, y0 + binned_flux.shape[0]), slice(x0, x0 + binned_flux.shape[1]))
            self._array(band, level, "flux")[where] = binned_flux
            self._array(band, level, "mask")[where] = binned_mask
        state = hashlib.sha256(flux.tobytes() + mask.tobytes()).digest()
        shard = (box.y0 // SHARD_PX, box.x0 // SHARD_PX)
        self._shards(band)[shard] = max(int.from_bytes(state[:8]), 1)

    def finish(self) -> Mosaic:
        """Seal the store with its digest and open it for reading.

        Raises
        ------
        MosaicError
            If a shard is missing.
        """
        missing = sum(1 for _ in self.pending())
        if missing:
            raise MosaicError(f"{self.path} lacks {missing} of {self.n_shards} shards")
        about = _about(self._group, self.path)
        state = hashlib.sha256(
            json.dumps({key: about[key] for key in ("schema", "bands", "shape")}).encode()
        )
        state.update(str(self._group.attrs[WCS_ATTRIBUTE]).encode())
        for band in self.bands:
            state.update(np.asarray(self._shards(band)[:]).astype("<u8").tobytes())
        self._group.attrs[ATTRIBUTE] = {**about, "digest": state.hexdigest()}
        return Mosaic.open(self.path)

    def _array(self, band: str, level: int, plane: str) -> zarr.Array[Any]:
        return self._group[f"{band}/{level}/{plane}"]  # type: ignore[return-value]

    def _shards(self, band: str) -> zarr.Array[Any]:
        return self._group[f"{band}/{SHARDS}"]  # type: ignore[return-value]


def _open_group(path: Path, mode: Any = "r") -> zarr.Group:  # noqa: ANN401 - zarr's literal
    """Open a group, or say that there is none."""
    try:
        return zarr.open_group(path, mode=mode)
    except (FileNotFoundError, ValueError, KeyError) as error:
        raise MosaicError(
            f"no mosaic at {path} ({type(error).__name__}); make one with the verb ingest"
        ) from error


def _about(group: zarr.Group, path: Path) -> dict[str, Any]:
    """Return our attribute."""
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


def _create_arrays(group: zarr.Group, bands: Sequence[BandInfo], shape: tuple[int, int]) -> None:
    """Create all arrays of a store, empty."""
    grid = TileGrid(shape, SHARD_PX)
    for band in bands:
        for level in range(N_LEVELS):
            _create_level(group.create_group(f"{band.name}/{level}"), shape, level)
        group.create_array(
            f"{band.name}/{SHARDS}", shape=(grid.n_rows, grid.n_cols), chunks=(1, 1),
            dtype="uint64", fill_value=0, compressors=None,
        )  # fmt: skip


def _create_level(group: zarr.Group, shape: tuple[int, int], level: int) -> None:
    """Create flux and mask of one level; a shard of level k covers what one of level 0 does."""
    common: dict[str, Any] = {
        "shape": tuple(-(-side // 2**level) for side in shape),
        "chunks": (CHUNK_PX, CHUNK_PX),
        "shards": (SHARD_PX >> level, SHARD_PX >> level),
        "compressors": BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle"),
        "dimension_names": ("y", "x"),
    }
    group.create_array("flux", dtype="float32", fill_value=np.nan, **common)
    group.create_array("mask", dtype="uint8", fill_value=int(MaskBit.NO_DATA), **common)


def _ome(bands: Sequence[BandInfo], scale_arcsec: float) -> dict[str, Any]:
    """Return OME-Zarr 0.5 metadata, for viewers: one multiscale image a band."""
    axes = [{"name": "y", "type": "space"}, {"name": "x", "type": "space"}]
    return {
        "version": "0.5",
        "multiscales": [
            {
                "name": band.name,
                "axes": axes,
                "datasets": [
                    {
                        "path": f"{band.name}/{level}/flux",
                        "coordinateTransformations": [
                            {"type": "scale", "scale": [scale_arcsec * 2**level] * 2}
                        ],
                    }
                    for level in range(N_LEVELS)
                ],
            }
            for band in bands
        ],
    }


def _footprint(wcs: WCS, shape: tuple[int, int]) -> list[list[float]]:
    """Return the sky positions of the grid's four corners, in degrees."""
    ny, nx = shape
    ra, dec = SkyGrid(wcs).pixel_to_world(
        [-0.5, nx - 0.5, nx - 0.5, -0.5], [-0.5, -0.5, ny - 0.5, ny - 0.5]
    )
    return [[float(a), float(d)] for a, d in zip(ra, dec, strict=True)]
