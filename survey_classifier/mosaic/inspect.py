"""What a store holds: its bands and their depth, what of the sky it covers, its flaws.

Owns these figures. Does not own how they are shown (``tables``), the picture (``preview``) nor
the sky's geometry (``footprint``). The masks of level 0 are read once, shard by shard, and the
pixels only of a coarse level: memory does not grow with the mosaic.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from survey_classifier.geometry import Tile, TileGrid
from survey_classifier.mosaic.depth import SUM_LEVEL, Depth, point_source_depth, sum_noise
from survey_classifier.mosaic.footprint import (
    corners_deg,
    coverage_cells,
    moc_order,
    pixel_area_deg2,
)
from survey_classifier.mosaic.pixels import UNUSABLE, BandInfo, MaskBit
from survey_classifier.mosaic.place import Place
from survey_classifier.mosaic.schema import SHARD_PX, open_about, open_group
from survey_classifier.mosaic.shards import read_records
from survey_classifier.mosaic.store import Mosaic

__all__ = ["BandInspection", "Inspection", "inspect", "open_as_it_is"]


@dataclass(frozen=True, slots=True)
class BandInspection:
    """One band of a store."""

    band: BandInfo
    noise: float
    """Sky noise of a pixel in the band's unit: median over the shards, NaN if not known."""
    correlation: float
    """Noise of the sum of 4 x 4 pixels in units of what independent pixels give it; NaN if too
    little sky is there to tell. 1 on the grid of the detector, more where pixels were regridded."""
    depth: Depth
    data_deg2: float
    """Solid angle of the pixels that have data."""
    masked: Mapping[MaskBit, float]
    """Share of the pixels that have each bit: of those with data, NO_DATA of all."""
    n_finished: int
    """Number of its shards that are finished."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a store holds."""

    store: str
    """Where it lies."""
    name: str
    shape: tuple[int, int]
    """``(ny, nx)`` in pixels."""
    scale_arcsec: float
    territory: str
    """The part of the sky that its survey gives to it, such as ``rings:15549``; or empty."""
    digest: str
    """SHA-256 over what it holds; empty if it isn't finished."""
    n_shards: int
    """Number of shards of a band."""
    corners_deg: npt.NDArray[np.float64]
    """``(4, 2)``: see `footprint.corners_deg`."""
    any_deg2: float
    """Solid angle that has data in at least one band."""
    usable_deg2: float
    """Solid angle that is usable in every band."""
    moc_order: int
    """HEALPix order of the coverage map."""
    cells: npt.NDArray[np.int64]
    """Its cells in nested order: data in at least one band."""
    bands: tuple[BandInspection, ...]


def open_as_it_is(store: str | Path | Place, *, whole: bool = True) -> Mosaic:
    """Open a store also when its ingest is not finished: what isn't written has no data.

    Parameters
    ----------
    store
        Its folder or URL.
    whole
        Whether to refuse a finished one that lacks files.

    Raises
    ------
    MosaicError
        If there is none, or it is finished and shards are missing that should be there.
    """
    place = Place.of(store)
    group = open_group(place)
    is_sealed = open_about(group, place)["digest"]
    return Mosaic.open(place) if is_sealed and whole else Mosaic(place, group)


class _Tally:
    """What is summed over the shards of a mosaic.

    Parameters
    ----------
    mosaic
        The mosaic.
    """

    def __init__(self, mosaic: Mosaic) -> None:
        n_bands = len(mosaic.bands)
        self._mosaic = mosaic
        self.written = _written(mosaic)
        """``(band, row, column)``: which shards are finished."""
        self.counts = np.zeros((n_bands, 256), dtype=np.int64)
        """Number of pixels of each value of the mask, of each band."""
        self.data_deg2 = np.zeros(n_bands)
        self.any_deg2 = self.usable_deg2 = 0.0
        self.cells = np.zeros(0, dtype=np.int64)
        self.sum_noise = np.full(self.written.shape, np.nan)
        """Noise of a sum of pixels in each shard."""

    def add(self, tile: Tile) -> None:
        """Add one shard."""
        mosaic, box = self._mosaic, tile.core
        area = pixel_area_deg2(mosaic, box)
        seen, usable = np.zeros(box.shape, dtype=np.bool_), np.ones(box.shape, dtype=np.bool_)
        for number, band in enumerate(mosaic.bands):
            shard = (number, tile.row, tile.col)
            mask = np.full(box.shape, MaskBit.NO_DATA, dtype=np.uint8)
            if self.written[shard]:
                mask = mosaic.read_mask(box, band.name)
                self.sum_noise[shard] = sum_noise(mosaic, box, band.name)
            data = (mask & np.uint8(MaskBit.NO_DATA)) == 0
            self.counts[number] += np.bincount(mask.ravel(), minlength=256)
            self.data_deg2[number] += area * np.count_nonzero(data)
            seen |= data
            usable &= (mask & np.uint8(UNUSABLE)) == 0
        self.any_deg2 += area * np.count_nonzero(seen)
        self.usable_deg2 += area * np.count_nonzero(usable)
        self.cells = np.union1d(self.cells, coverage_cells(mosaic, box, seen))


def inspect(mosaic: Mosaic, progress: Callable[[int, int], None] | None = None) -> Inspection:
    """Say what a store holds.

    Parameters
    ----------
    mosaic
        The store, opened.
    progress
        Called with the number of shards looked at and of all of them.

    Raises
    ------
    MosaicError
        If its pixels cannot be read.
    """
    grid, tally = TileGrid(mosaic.shape, SHARD_PX), _Tally(mosaic)
    n_shards = grid.n_rows * grid.n_cols
    for done, tile in enumerate(grid.tiles(), start=1):
        tally.add(tile)
        if progress is not None:
            progress(done, n_shards)
    return Inspection(
        store=str(mosaic.place),
        name=mosaic.name,
        shape=mosaic.shape,
        scale_arcsec=mosaic.scale_arcsec,
        territory=mosaic.territory,
        digest=mosaic.digest,
        n_shards=n_shards,
        corners_deg=corners_deg(mosaic, mosaic.shape),
        any_deg2=tally.any_deg2,
        usable_deg2=tally.usable_deg2,
        moc_order=moc_order(mosaic.scale_arcsec),
        cells=tally.cells,
        bands=tuple(_band(mosaic, tally, number) for number in range(len(mosaic.bands))),
    )


def _band(mosaic: Mosaic, tally: _Tally, number: int) -> BandInspection:
    """Return what is known of a band, from the sums over its shards."""
    band, written = mosaic.bands[number], tally.written[number]
    noise = _median(np.where(written, mosaic.noise(band.name), np.nan))
    # Independent pixels add up as the root of their number, 2**level squared.
    correlation = _median(tally.sum_noise[number]) / (noise * 2**SUM_LEVEL) if noise > 0 else np.nan
    return BandInspection(
        band=band,
        noise=noise,
        correlation=correlation,
        depth=point_source_depth(band, noise, mosaic.scale_arcsec, correlation),
        data_deg2=float(tally.data_deg2[number]),
        masked=_shares(tally.counts[number]),
        n_finished=int(np.count_nonzero(written)),
    )


def _written(mosaic: Mosaic) -> npt.NDArray[np.bool_]:
    """Return which shards are finished, ``(band, row, column)``."""
    names = [band.name for band in mosaic.bands]
    if mosaic.digest:
        return np.stack([mosaic.shard_digests(name) != 0 for name in names])
    group = open_group(mosaic.place)
    records = [read_records(group, name, mosaic.place) for name in names]
    return np.stack(records)[..., 0] != 0


def _shares(counts: npt.NDArray[np.int64]) -> dict[MaskBit, float]:
    """Return the share of pixels that have each bit, from the numbers of each mask value."""
    values = np.arange(256)
    has_data = (values & MaskBit.NO_DATA) == 0
    shares = {}
    for bit in MaskBit:
        pool = counts if bit is MaskBit.NO_DATA else np.where(has_data, counts, 0)
        n_set = int(pool[(values & bit) != 0].sum())
        shares[bit] = n_set / n_pool if (n_pool := int(pool.sum())) else float("nan")
    return shares


def _median(values: npt.NDArray[np.floating]) -> float:
    """Return the median of what is known, NaN if nothing is."""
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else float("nan")
