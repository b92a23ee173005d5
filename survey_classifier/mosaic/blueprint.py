"""What a new store is: attributes and empty arrays.

Owns `Layout` and what is made of it. Does not own the names on disk (``schema``), what a layout
changes in a store that is there (``revision``) nor the writing of pixels (``writer``).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import zarr
from astropy.wcs import WCS
from zarr.codecs import BloscCodec
from zarr.core.buffer import Buffer
from zarr.storage import MemoryStore

from survey_classifier import __version__
from survey_classifier.errors import MosaicError
from survey_classifier.geometry import TileGrid
from survey_classifier.mosaic.pixels import BandInfo, MaskBit
from survey_classifier.mosaic.pyramid import N_LEVELS
from survey_classifier.mosaic.schema import (
    ATTRIBUTE,
    CHUNK_PX,
    DIGESTS,
    NOISE,
    SCHEMA,
    SHARD_PX,
    SHARDS,
    WCS_ATTRIBUTE,
)
from survey_classifier.mosaic.sky import SkyGrid

__all__ = ["Layout", "attributes_of", "create_band", "empty_store"]


@dataclass(frozen=True)
class Layout:
    """What a store is made by.

    Raises
    ------
    MosaicError
        If it has no bands, two of one name, or ``quantize`` is not positive.
    """

    name: str
    """Name of the mosaic."""
    bands: tuple[BandInfo, ...]
    """The bands that are to be written."""
    shape: tuple[int, int]
    """``(ny, nx)`` in pixels."""
    wcs: WCS
    """Celestial WCS of the grid."""
    territory: str = ""
    """Name of the part of the sky that the survey gives to the mosaic, empty without a rule."""
    quantize: int | None = None
    """Steps to one standard deviation of the sky noise that flux is rounded to; None: to none."""

    def __post_init__(self) -> None:
        names = [band.name for band in self.bands]
        if not names or len(set(names)) < len(names):
            raise MosaicError(f"{self.name} needs bands of different names, got {names}")
        if self.quantize is not None and self.quantize < 1:
            raise MosaicError(f"{self.name}: quantize is a positive number, got {self.quantize}")


def empty_store(layout: Layout) -> dict[str, bytes]:
    """Return the files of a store without shards, content by path."""
    # Read from its dictionary: a notebook has an event loop, in which no other can be run.
    files: dict[str, Buffer] = {}
    group = zarr.open_group(
        MemoryStore(files), mode="w", attributes=attributes_of(layout, layout.bands)
    )
    for band in layout.bands:
        create_band(group, band, layout.shape)
    return {path: content.to_bytes() for path, content in files.items()}


def attributes_of(layout: Layout, bands: Sequence[BandInfo]) -> dict[str, Any]:
    """Return the attributes of a store that is not sealed.

    Parameters
    ----------
    layout
        What it is made by.
    bands
        All bands that it has.
    """
    scale = SkyGrid(layout.wcs).scale_arcsec
    return {
        WCS_ATTRIBUTE: layout.wcs.to_header_string(relax=True),
        "ome": _ome(bands, scale),
        "created_by": f"survey_classifier {__version__}",
        ATTRIBUTE: {
            "schema": SCHEMA,
            "name": layout.name,
            "bands": [asdict(band) | {"source_files": list(band.source_files)} for band in bands],
            "shape": list(layout.shape),
            "scale_arcsec": scale,
            "footprint": _footprint(layout.wcs, layout.shape),
            "territory": layout.territory,
            "quantize": layout.quantize,
            "digest": "",
        },
    }


def create_band(group: zarr.Group, band: BandInfo, shape: tuple[int, int]) -> None:
    """Create the arrays of a band, empty; what an interrupted call left is replaced.

    Parameters
    ----------
    group
        The store.
    band
        The band.
    shape
        ``(ny, nx)`` of level 0.
    """
    for level in range(N_LEVELS):
        inner = group.create_group(f"{band.name}/{level}", overwrite=True)
        _create_level(inner, shape, level, has_variance=band.has_variance)
    grid = TileGrid(shape, SHARD_PX)
    size = (grid.n_rows, grid.n_cols)
    plain: dict[str, Any] = {"compressors": None, "overwrite": True}
    group.create_array(
        f"{band.name}/{SHARDS}", shape=(*size, 2), chunks=(1, 1, 2), dtype="uint64", **plain
    )
    group.create_array(
        f"{band.name}/{NOISE}", shape=size, chunks=(1, 1), dtype="float32", fill_value=np.nan,
        **plain,
    )  # fmt: skip
    group.create_array(f"{band.name}/{DIGESTS}", shape=size, chunks=size, dtype="uint64", **plain)


def _create_level(
    group: zarr.Group, shape: tuple[int, int], level: int, *, has_variance: bool
) -> None:
    """Create the planes of one level; a shard of level k covers what one of level 0 does."""
    common: dict[str, Any] = {
        "shape": tuple(-(-side // 2**level) for side in shape),
        "chunks": (CHUNK_PX, CHUNK_PX),
        "shards": (SHARD_PX >> level, SHARD_PX >> level),
        "compressors": BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle"),
        "dimension_names": ("y", "x"),
    }
    group.create_array("flux", dtype="float32", fill_value=np.nan, **common)
    group.create_array("mask", dtype="uint8", fill_value=int(MaskBit.NO_DATA), **common)
    if has_variance:
        group.create_array("variance", dtype="float32", fill_value=np.nan, **common)


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
