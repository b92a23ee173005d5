"""Writing a mosaic shard by shard, so that an interrupted write can be resumed.

Owns the making of a store, its shards and its digest. Does not own the layout (``store``) nor
what the pixels are (``ingest``).
"""

import hashlib
import json
import shutil
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from astropy.wcs import WCS
from zarr.codecs import BloscCodec

from survey_classifier import __version__
from survey_classifier.errors import MosaicError
from survey_classifier.geometry import Box, TileGrid
from survey_classifier.mosaic.pixels import BandInfo, MaskBit
from survey_classifier.mosaic.pyramid import N_LEVELS, bin_block
from survey_classifier.mosaic.sky import SkyGrid
from survey_classifier.mosaic.store import (
    ATTRIBUTE,
    CHUNK_PX,
    SCHEMA,
    SHARD_PX,
    SHARDS,
    WCS_ATTRIBUTE,
    Mosaic,
    open_about,
    open_group,
)

__all__ = ["MosaicWriter", "is_finished", "require_inputs"]


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
        about = open_about(group, path)
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
        if not path.exists():
            _create(path, name, bands, shape, wcs, inputs_digest)
        require_inputs(path, inputs_digest)
        return cls(path, open_group(path, mode="r+"))

    def pending(self) -> Iterator[tuple[str, Box]]:
        """Yield band and box of each shard that is not finished."""
        for band in self.bands:
            done = np.asarray(self._shards(band)[:])
            for tile in self._grid.tiles():
                if done[tile.row, tile.col] == 0:
                    yield band, tile.core

    @property
    def shard_shape(self) -> tuple[int, int]:
        """``(ny, nx)`` of the largest shard."""
        return self._grid.tile(0, 0).core.shape

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
        """Seal the store with its digest and open it for reading; a sealed one is only opened.

        Raises
        ------
        MosaicError
            If a shard is missing.
        """
        missing = sum(1 for _ in self.pending())
        if missing:
            raise MosaicError(f"{self.path} lacks {missing} of {self.n_shards} shards")
        about = open_about(self._group, self.path)
        state = hashlib.sha256(
            json.dumps({key: about[key] for key in ("schema", "bands", "shape")}).encode()
        )
        state.update(str(self._group.attrs[WCS_ATTRIBUTE]).encode())
        for band in self.bands:
            state.update(np.asarray(self._shards(band)[:]).astype("<u8").tobytes())
        if about["digest"] != state.hexdigest():
            self._group.attrs[ATTRIBUTE] = {**about, "digest": state.hexdigest()}
        return Mosaic.open(self.path)

    def _array(self, band: str, level: int, plane: str) -> zarr.Array[Any]:
        array: zarr.Array[Any] = self._group[f"{band}/{level}/{plane}"]  # type: ignore[assignment]
        # A shard without data is a file too: a missing one then means a store copied in part.
        return array.with_config({"write_empty_chunks": True})

    def _shards(self, band: str) -> zarr.Array[Any]:
        return self._group[f"{band}/{SHARDS}"]  # type: ignore[return-value]


def is_finished(path: Path) -> bool:
    """Return whether the store at a path is sealed.

    Raises
    ------
    MosaicError
        If there is no store.
    """
    return bool(open_about(open_group(path), path).get("digest"))


def require_inputs(path: Path, inputs_digest: str) -> None:
    """Check that the store at a path was begun from the inputs of a digest.

    Raises
    ------
    MosaicError
        If it was not, or there is no store.
    """
    if open_about(open_group(path), path).get("inputs_digest") != inputs_digest:
        raise MosaicError(f"{path} was ingested from other inputs; remove it or name another store")


def _create(
    path: Path,
    name: str,
    bands: Sequence[BandInfo],
    shape: tuple[int, int],
    wcs: WCS,
    inputs_digest: str,
) -> None:
    """Make an empty store; it appears under its name complete with its attributes or not at all."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        group = zarr.open_group(temporary, mode="w-")
        _create_arrays(group, bands, shape)
        group.attrs.update(_attributes(name, bands, shape, wcs, inputs_digest))
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _attributes(
    name: str, bands: Sequence[BandInfo], shape: tuple[int, int], wcs: WCS, inputs_digest: str
) -> dict[str, Any]:
    """Return the attributes of a store that has no shard yet."""
    scale = SkyGrid(wcs).scale_arcsec
    return {
        WCS_ATTRIBUTE: wcs.to_header_string(relax=True),
        "ome": _ome(bands, scale),
        "created_by": f"survey_classifier {__version__}",
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
