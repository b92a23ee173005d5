"""Pixels, boxes, stamps and tiles: the pixel convention, said once.

Owns the arithmetic of the pixel grid. Does not own sky coordinates (``mosaic``) or pixels
themselves.

The convention
--------------
The integer coordinate is the pixel's *center*, the first pixel is 0, arrays are ``(band, y, x)``
and boxes are half-open, ``y0 <= y < y1``. A position belongs to the pixel whose center is
nearest; a position exactly between two pixels belongs to the higher one::

    position x     -0.6   -0.5   0.0   0.49   0.5   3.7   99.5
    pixel            -1      0     0      0     1     4    100

A stamp of ``s`` pixels for a source at ``x`` starts at ``nearest_pixel(x) - s // 2``, so the
source's pixel is at index ``s // 2`` of the stamp whatever lies there, and the remainder
``x - nearest_pixel(x)`` in [-0.5, 0.5) is kept as the sub-pixel offset::

    x = 3.7, s = 5:  pixel 4, stamp covers 2..6  (box 2:7),  index of the source 2, offset -0.3
    x = 3.7, s = 4:  pixel 4, stamp covers 2..5  (box 2:6),  index of the source 2, offset -0.3
    x = 0.2, s = 5:  pixel 0, stamp covers -2..2 (box -2:3), index of the source 2, offset +0.2
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = [
    "Box",
    "Tile",
    "TileGrid",
    "inside",
    "level_position",
    "nearest_pixel",
    "overlap",
    "stamp_start",
]


def nearest_pixel(position_px: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Return the pixel that each position belongs to.

    Parameters
    ----------
    position_px
        Positions along one axis, any shape, finite.

    Returns
    -------
    ndarray of int64
        ``floor(position + 0.5)``, computed without the rounding of the sum (for the largest
        float below 0.5 that sum is 1.0).
    """
    position = np.asarray(position_px, dtype=np.float64)
    below = np.floor(position)
    return (below + (position - below >= 0.5)).astype(np.int64)


def level_position(position_px: npt.NDArray[np.float64], level: int) -> npt.NDArray[np.float64]:
    """Return positions on a pyramid level, from positions on level 0.

    Level k bins ``2**k`` pixels into one, so with centers at integers the left edge -0.5 stays
    -0.5: ``(x + 0.5) / 2**k - 0.5``. Pixels 0 and 1 of level 0 (mean position 0.5) are pixel 0
    of level 1.
    """
    return (position_px + 0.5) / 2**level - 0.5


@dataclass(frozen=True, slots=True)
class Box:
    """A half-open rectangle of pixels, ``y0 <= y < y1`` and ``x0 <= x < x1``.

    Raises
    ------
    ValueError
        If the box is empty or inverted: an absent overlap is None, never an empty box.
    """

    y0: int
    y1: int
    x0: int
    x1: int

    def __post_init__(self) -> None:
        if self.y1 <= self.y0 or self.x1 <= self.x0:
            raise ValueError(f"a box needs y0 < y1 and x0 < x1, got {self}")

    @property
    def shape(self) -> tuple[int, int]:
        """``(ny, nx)`` in pixels."""
        return self.y1 - self.y0, self.x1 - self.x0

    @property
    def area(self) -> int:
        """Number of pixels."""
        return (self.y1 - self.y0) * (self.x1 - self.x0)

    @property
    def slices(self) -> tuple[slice, slice]:
        """``(y, x)`` slices of an array that this box lies in."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    def intersection(self, other: "Box") -> "Box | None":
        """Return the pixels that both boxes hold, None where there are none."""
        y0, y1 = max(self.y0, other.y0), min(self.y1, other.y1)
        x0, x1 = max(self.x0, other.x0), min(self.x1, other.x1)
        return Box(y0, y1, x0, x1) if y0 < y1 and x0 < x1 else None

    def shifted(self, dy: int, dx: int) -> "Box":
        """Return the box moved by ``dy`` rows and ``dx`` columns."""
        return Box(self.y0 + dy, self.y1 + dy, self.x0 + dx, self.x1 + dx)

    def aligned(self, step_px: int) -> "Box":
        """Return the smallest box around this one whose edges are multiples of a step."""
        return Box(
            self.y0 // step_px * step_px,
            -(-self.y1 // step_px) * step_px,
            self.x0 // step_px * step_px,
            -(-self.x1 // step_px) * step_px,
        )

    def __str__(self) -> str:
        return f"y {self.y0}:{self.y1}, x {self.x0}:{self.x1}"


def inside(
    x_px: npt.NDArray[np.float64], y_px: npt.NDArray[np.float64], shape: tuple[int, int]
) -> npt.NDArray[np.bool_]:
    """Return whether each position belongs to a pixel of an array; False where it is NaN.

    Parameters
    ----------
    x_px, y_px
        Positions, shape ``(n,)``.
    shape
        ``(ny, nx)`` of the array.
    """
    ny, nx = shape
    return (x_px >= -0.5) & (x_px < nx - 0.5) & (y_px >= -0.5) & (y_px < ny - 0.5)


def overlap(
    box: Box, shape: tuple[int, int]
) -> tuple[tuple[slice, slice], tuple[slice, slice]] | None:
    """Return where a box and an array of a shape share pixels.

    Parameters
    ----------
    box
        A box that may stick out of the array on any side.
    shape
        ``(ny, nx)`` of the array.

    Returns
    -------
    large, small
        ``(y, x)`` slices of the array and of the box's own array, of equal extent; None when
        they share no pixel.
    """
    shared = box.intersection(Box(0, shape[0], 0, shape[1]))
    if shared is None:
        return None
    return shared.slices, shared.shifted(-box.y0, -box.x0).slices


def stamp_start(position_px: npt.ArrayLike, size_px: int) -> npt.NDArray[np.int64]:
    """Return the first pixel of the stamp of each position along one axis.

    Parameters
    ----------
    position_px
        Positions, any shape, finite.
    size_px
        Side of the stamps.
    """
    return nearest_pixel(position_px) - size_px // 2


@dataclass(frozen=True, slots=True)
class Tile:
    """One cell of a tile grid; it owns the sources whose pixel lies in its core."""

    row: int
    col: int
    core: Box

    @property
    def name(self) -> str:
        """Stable name, such as ``r003-c011``."""
        return f"r{self.row:03d}-c{self.col:03d}"


@dataclass(frozen=True, slots=True)
class TileGrid:
    """Tiles that partition an array: every pixel lies in exactly one core.

    Parameters
    ----------
    shape
        ``(ny, nx)`` of the array.
    tile_px
        Side of a tile; the last row and column may be narrower.
    """

    shape: tuple[int, int]
    tile_px: int

    def __post_init__(self) -> None:
        if self.tile_px < 1 or min(self.shape) < 1:
            raise ValueError(f"a tile grid needs positive sizes, got {self}")

    @property
    def n_rows(self) -> int:
        """Number of tile rows."""
        return -(-self.shape[0] // self.tile_px)

    @property
    def n_cols(self) -> int:
        """Number of tile columns."""
        return -(-self.shape[1] // self.tile_px)

    def tile(self, row: int, col: int) -> Tile:
        """Return the tile at a row and column of the grid."""
        if not (0 <= row < self.n_rows and 0 <= col < self.n_cols):
            raise IndexError(f"no tile ({row}, {col}) in {self.n_rows} x {self.n_cols}")
        y0, x0 = row * self.tile_px, col * self.tile_px
        y1, x1 = min(y0 + self.tile_px, self.shape[0]), min(x0 + self.tile_px, self.shape[1])
        return Tile(row, col, Box(y0, y1, x0, x1))

    def tiles(self) -> Iterator[Tile]:
        """Yield all tiles, row by row."""
        for row in range(self.n_rows):
            for col in range(self.n_cols):
                yield self.tile(row, col)

    def owner(
        self, x_px: npt.ArrayLike, y_px: npt.ArrayLike
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return the row and column of the one tile that owns each position.

        A position outside the array belongs to the nearest tile and a position that is not
        finite to the first one: such sources have no pixels, but they have a row.

        Parameters
        ----------
        x_px, y_px
            Positions, shape ``(n,)``.
        """
        return _owner(y_px, self.shape[0], self.tile_px), _owner(x_px, self.shape[1], self.tile_px)


def _owner(position_px: npt.ArrayLike, length: int, tile_px: int) -> npt.NDArray[np.int64]:
    """Return the tile index along one axis of ``length`` pixels."""
    position = np.asarray(position_px, dtype=np.float64)
    inside = np.clip(np.where(np.isfinite(position), position, 0.0), 0, length - 1)
    return np.minimum(nearest_pixel(inside), length - 1) // tile_px
