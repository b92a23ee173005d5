"""One mosaic of a run: its tiles, what each of them works on, and the digest of that.

Owns which source of a mosaic belongs to which of its tiles, and when a tile is the same as
before. Does not own which mosaic a source belongs to (``mosaic.survey``), nor the run (``plan``).
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from survey_classifier.geometry import Box, TileGrid, inside
from survey_classifier.model.card import ModelCard
from survey_classifier.model.inputs import cut_size_px, pyramid_level
from survey_classifier.mosaic.store import SHARD_PX, Mosaic
from survey_classifier.run.task import TilePixels
from survey_classifier.stamps import stamps_box

__all__ = ["PlannedTile", "Sheet"]

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PlannedTile:
    """A tile of one mosaic, and the sources that it owns."""

    name: str
    """Unique in the run."""
    core: Box
    pixels: TilePixels
    rows: npt.NDArray[np.intp]
    """Rows of the source list, ascending, shape ``(n,)``."""
    x_px: FloatArray
    """``(n,)`` on level 0, NaN where a source has no position."""
    y_px: FloatArray
    reads: Box | None
    """What its stamps cover, in pixels of their level; None if none of its sources has one."""
    n_stamps: int
    digest: str
    """SHA-256, hexadecimal, over all that changes its rows in the catalog, and that tiles of one
    run do not share: the mosaic's grid, the pixels that its stamps cover, its sources."""

    def bytes_needed(self, n_bands: int) -> int:
        """Return the memory that it takes: the pixels it reads and the stamps it cuts."""
        if self.reads is None:
            return 0
        # Flux and mask of all bands, and what one band takes while it is decompressed.
        pixel_bytes = (n_bands + 1) * (4 + 1) * self.reads.area
        # Scoring copies the stamps if some sources of the tile are rejected.
        return pixel_bytes + 2 * 4 * n_bands * self.pixels.size_px**2 * self.n_stamps


@dataclass(frozen=True)
class Sheet:
    """A mosaic of a run, cut into tiles as a survey is into sheets."""

    mosaic: Mosaic
    pixels: TilePixels
    """The mosaic's name, and how stamps are cut from it."""
    tiles: tuple[PlannedTile, ...]
    """Row by row, those without sources too."""

    @classmethod
    def lay_out(
        cls,
        mosaic: Mosaic,
        card: ModelCard,
        tile_px: int,
        rows: npt.NDArray[np.intp],
        sky: tuple[FloatArray, FloatArray],
        prefix: str = "",
    ) -> "Sheet":
        """Share the sources of a mosaic among its tiles.

        Parameters
        ----------
        mosaic
            Finished and fitting the card.
        card
            The network's card: says which bands are cut, and how.
        tile_px
            Side of a tile.
        rows
            Rows of the source list that the mosaic owns, shape ``(n,)``; also those that lie
            outside of it (they get no stamp).
        sky
            Right ascension and declination of these, degrees.
        prefix
            What the tiles' names begin with.

        Raises
        ------
        CheckpointError
            If the mosaic is coarser than the network's input.
        """
        level = pyramid_level(card, mosaic.scale_arcsec, mosaic.n_levels)
        size_px = cut_size_px(card, mosaic.scale_arcsec * 2**level)
        pixels = TilePixels(
            mosaic.name, str(mosaic.place), mosaic.digest, mosaic.shape, level, size_px
        )
        x, y = mosaic.world_to_pixel(*sky)
        grid = TileGrid(mosaic.shape, tile_px)
        digests = _TileDigests.of(mosaic, card, pixels)
        tiles = []
        for tile, own in zip(grid.tiles(), _shared(grid, x, y), strict=True):
            here = inside(x[own], y[own], mosaic.shape)
            n_stamps = int(here.sum())
            reads = stamps_box(x[own][here], y[own][here], size_px, level) if n_stamps else None
            name = f"{prefix}{tile.name}"
            digest = digests.digest(name, rows[own], reads)
            tiles.append(
                PlannedTile(
                    name, tile.core, pixels, rows[own], x[own], y[own], reads, n_stamps, digest
                )
            )
        return cls(mosaic, pixels, tuple(tiles))

    def corners(self) -> npt.NDArray[np.float64]:
        """Return (RA, Dec) of each tile's four corners in degrees, shape ``(tile, 4, 2)``."""
        x = [(c.x0, c.x1, c.x1, c.x0) for c in (tile.core for tile in self.tiles)]
        y = [(c.y0, c.y0, c.y1, c.y1) for c in (tile.core for tile in self.tiles)]
        sky = self.mosaic.pixel_to_world(np.array(x) - 0.5, np.array(y) - 0.5)
        return np.stack(sky, axis=-1)


def _shared(grid: TileGrid, x_px: FloatArray, y_px: FloatArray) -> Iterator[npt.NDArray[np.intp]]:
    """Yield the sources of each tile, row by row, in their order."""
    row, col = grid.owner(x_px, y_px)
    number = row * grid.n_cols + col
    order = np.argsort(number, kind="stable")
    edges = np.searchsorted(number[order], np.arange(grid.n_rows * grid.n_cols + 1))
    for first, stop in pairwise(edges):
        yield order[first:stop]


@dataclass(frozen=True, slots=True)
class _TileDigests:
    """What the digests of a mosaic's tiles are made of."""

    grid: bytes
    """SHA-256 over the mosaic's grid and the cut."""
    shards: Mapping[str, npt.NDArray[np.uint64]]
    """Band to digest of each of its shards."""
    shape: tuple[int, int]
    level: int

    @classmethod
    def of(cls, mosaic: Mosaic, card: ModelCard, pixels: TilePixels) -> "_TileDigests":
        """Read the digests of a mosaic's shards."""
        facts = (mosaic.wcs.to_header_string(relax=True), pixels.shape, pixels.level)
        grid = hashlib.sha256(repr((*facts, pixels.size_px)).encode()).digest()
        shards = {band: mosaic.shard_digests(band) for band in sorted(card.bands)}
        return cls(grid, shards, pixels.shape, pixels.level)

    def digest(self, name: str, rows: npt.NDArray[np.intp], reads: Box | None) -> str:
        """Return the digest of a tile; sources that have no stamp depend on no pixel."""
        state = hashlib.sha256(self.grid + repr((name, reads)).encode())
        state.update(rows.astype("<i8").tobytes())
        if reads is not None:
            where = self._shards_of(reads)
            for band, shards in self.shards.items():
                state.update(band.encode() + shards[where].astype("<u8").tobytes())
        return state.hexdigest()

    def _shards_of(self, box: Box) -> tuple[slice, slice]:
        """Return the shards that hold the pixels of a box of the level."""
        step = SHARD_PX // 2**self.level
        ny, nx = (-(-side // 2**self.level) for side in self.shape)
        rows = slice(max(box.y0, 0) // step, (min(box.y1, ny) - 1) // step + 1)
        return rows, slice(max(box.x0, 0) // step, (min(box.x1, nx) - 1) // step + 1)
