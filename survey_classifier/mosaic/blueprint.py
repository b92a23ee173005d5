"""What a store is besides its pixels: attributes, empty arrays, and the digest over all.

Owns `Layout` and what is made of it, in a new store or in one that is there. Does not own the
names on disk (``store``), where the store lies (``place``) nor the writing of pixels (``writer``).
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from astropy.io import fits
from astropy.wcs import WCS
from zarr.codecs import BloscCodec
from zarr.core.buffer import Buffer
from zarr.storage import MemoryStore

from survey_classifier import __version__
from survey_classifier.errors import MosaicError
from survey_classifier.geometry import TileGrid
from survey_classifier.mosaic.grids import bare_wcs
from survey_classifier.mosaic.pixels import BandInfo, MaskBit
from survey_classifier.mosaic.place import Place
from survey_classifier.mosaic.pyramid import N_LEVELS
from survey_classifier.mosaic.sky import SkyGrid
from survey_classifier.mosaic.store import (
    ATTRIBUTE,
    CHUNK_PX,
    DIGESTS,
    NOISE,
    SCHEMA,
    SHARD_PX,
    SHARDS,
    WCS_ATTRIBUTE,
    bands_of,
    open_about,
    open_array,
)

__all__ = ["Layout", "bring_up_to", "digest_of", "empty_store", "new_bands", "require_alike"]


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
        MemoryStore(files), mode="w", attributes=_attributes_of(layout, layout.bands)
    )
    for band in layout.bands:
        _create_band(group, band, layout.shape)
    return {path: content.to_bytes() for path, content in files.items()}


def _attributes_of(layout: Layout, bands: Sequence[BandInfo]) -> dict[str, Any]:
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


def _create_band(group: zarr.Group, band: BandInfo, shape: tuple[int, int]) -> None:
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


def bring_up_to(layout: Layout, group: zarr.Group, place: Place) -> None:
    """Add to a store what a layout has besides, and describe the layout's bands anew.

    A band that the layout has not stays, unless nothing was ever written of it: then it was given
    up, and the store could never be finished with it.
    A band that gets variance is made anew: the digests of its shards are over the variance too.

    Raises
    ------
    MosaicError
        If the layout cannot be written to it; see `require_alike`.
    """
    about = open_about(group, place)
    require_alike(layout, group, place)
    stored = {band.name: band for band in bands_of(about)}
    given_up = set() if about["digest"] else _given_up(layout, stored, group, place)
    new = new_bands(layout, stored.values())
    if new & stored.keys() and about["digest"]:
        group.attrs[ATTRIBUTE] = {**about, "digest": ""}
    for band in layout.bands:
        if band.name in new:
            _create_band(group, band, layout.shape)
    # The layout's order, so that it does not matter which band came first.
    wanted = {band.name: band for band in layout.bands}
    kept = {name: band for name, band in stored.items() if name not in {*wanted, *given_up}}
    bands = wanted | kept
    attributes = _attributes_of(layout, list(bands.values()))
    described = attributes[ATTRIBUTE]
    if {**about, "digest": ""} == described:
        return
    if about["digest"] and not new:
        # Only words have changed: a sealed store stays sealed.
        records = {
            name: np.asarray(open_array(group, f"{name}/{DIGESTS}", place)[:]) for name in bands
        }
        described["digest"] = digest_of(group, described, records)
    group.attrs.update(attributes)
    for name in given_up:
        del group[name]


def _given_up(layout: Layout, stored: Iterable[str], group: zarr.Group, place: Place) -> set[str]:
    """Return the names of a store's other bands of which no shard was ever written."""
    others = set(stored) - {band.name for band in layout.bands}
    return {name for name in others if not np.any(open_array(group, f"{name}/{SHARDS}", place)[:])}


def new_bands(layout: Layout, stored: Iterable[BandInfo]) -> set[str]:
    """Return the names of a layout's bands that a store is to have as if they had not been there.

    Parameters
    ----------
    layout
        What is to be written.
    stored
        The bands of the store.
    """
    there = {(band.name, band.has_variance) for band in stored}
    # With variance where there is none is new; the other way around is refused.
    return {band.name for band in layout.bands if (band.name, band.has_variance) not in there}


def require_alike(layout: Layout, group: zarr.Group, place: Place) -> None:
    """Refuse a store that a layout cannot be written to.

    A store of one of the survey's areas may become one of several, that is, of no territory.

    Raises
    ------
    MosaicError
        If the store is of another grid, territory or rounding, or a band of it is of another unit
        or has variance where the layout's has not.
    """
    about = open_about(group, place)
    old_grid, new_grid = _grid_words(str(group.attrs[WCS_ATTRIBUTE]), layout)
    for what, has, wanted in (
        ("shape", tuple(about["shape"]), tuple(layout.shape)),
        ("WCS", old_grid, new_grid),
        ("territory", about["territory"], layout.territory or about["territory"]),
        ("quantize", about["quantize"], layout.quantize),
    ):
        if has != wanted:
            raise MosaicError(
                f"{place} has {what} {has!r}, not {wanted!r}: it was ingested with other settings "
                "or inputs; remove it or name another store"
            )
    stored = {band.name: band for band in bands_of(about)}
    for band in layout.bands:
        old = stored.get(band.name, band)
        if old.unit != band.unit or old.has_variance > band.has_variance:
            raise MosaicError(
                f"band {band.name} of {place} is in {_kind(old)}, its files are in {_kind(band)}; "
                "remove the store or name another"
            )


def _grid_words(header: str, layout: Layout) -> tuple[str, str]:
    """Say what a store's WCS and a layout's are, in the same words if they are the same."""
    old, new = bare_wcs(WCS(fits.Header.fromstring(header))), bare_wcs(layout.wcs)
    old_cards, new_cards = old.to_header(relax=True), new.to_header(relax=True)
    if old_cards.tostring() == new_cards.tostring():
        return "", ""
    words = []
    ny, nx = layout.shape
    for wcs in (old, new):
        ra, dec = SkyGrid(wcs).pixel_to_world([(nx - 1) / 2], [(ny - 1) / 2])
        scale = SkyGrid(wcs).scale_arcsec
        words.append(f"{wcs.wcs.ctype[0]}, center {ra[0]:.5f} {dec[0]:+.5f}, {scale:.4f} arcsec")
    keys = sorted({*old_cards, *new_cards})
    others = [key for key in keys if old_cards.get(key) != new_cards.get(key)]
    return words[0], f"{words[1]} ({', '.join(others[:4])} differ)"


def _kind(band: BandInfo) -> str:
    return f"{band.unit} {'with' if band.has_variance else 'without'} variance"


def digest_of(
    group: zarr.Group, about: dict[str, Any], records: Mapping[str, npt.NDArray[np.uint64]]
) -> str:
    """Return SHA-256 over grid, bands and shards, in the order of the bands' names.

    Parameters
    ----------
    group
        The store.
    about
        What it says of itself.
    records
        Digests of the pixels of each band's shards, shape ``(row, column)``.
    """
    fixed = {key: about[key] for key in ("schema", "shape", "territory", "quantize")}
    bands = sorted(about["bands"], key=lambda band: str(band["name"]))
    state = hashlib.sha256(json.dumps([fixed, bands]).encode())
    state.update(str(group.attrs[WCS_ATTRIBUTE]).encode())
    for name in sorted(records):
        state.update(records[name].astype("<u8").tobytes())
    return state.hexdigest()
