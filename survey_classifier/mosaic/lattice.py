"""Where the pixels of one grid lie on another.

Owns the map between two celestial grids over a block of pixels: evaluated through the sky on a
coarse lattice and linear in between, as the sky is smooth and its projections are slow. Does not
own the projections (``sky``) nor what is done with the positions (``regrid``).
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from survey_classifier.geometry import Box
from survey_classifier.mosaic.sky import SkyGrid

__all__ = ["Lattice", "Projection", "box_around"]

FloatArray = npt.NDArray[np.float64]

STEP_PX = 16
"""Spacing of the lattice; the error of a line over it falls with its square."""
TOLERANCE_PX = 1e-3
"""Largest error of the interpolation in pixels of the image; else every pixel is projected."""


class Projection(Protocol):
    """What positions on the sky are mapped onto."""

    def world_to_pixel(
        self, ra_deg: npt.ArrayLike, dec_deg: npt.ArrayLike
    ) -> tuple[FloatArray, FloatArray]:
        """Return ``(x, y)``; NaN where a position is not on the projection."""


@dataclass(frozen=True, slots=True)
class Lattice:
    """The map of a block of pixels onto an image, at points on the corners of its pixels.

    The points are ``step_px`` apart and span the block, so any position in it lies among them.
    """

    shape: tuple[int, int]
    """``(ny, nx)`` of the block in pixels."""
    step_px: int
    """Spacing of the points in pixels of the block."""
    y: FloatArray
    """Position of each point on the image, in its pixels; NaN where there is none."""
    x: FloatArray
    """As ``y``."""
    area: FloatArray
    """Pixels of the image to one of the block at each point: the Jacobian of the map."""

    @classmethod
    def between(cls, grid: SkyGrid, image: Projection, block: Box) -> "Lattice":
        """Map a block of a grid onto an image.

        Parameters
        ----------
        grid
            The grid that the block belongs to.
        image
            The grid of the image.
        block
            Pixels of the first grid, a multiple of `STEP_PX` on both axes. A block always has
            the same positions, bit for bit, whatever else is mapped.
        """
        step, (y, x) = STEP_PX, _projected(grid, image, block, STEP_PX)
        if not (_is_smooth(y) and _is_smooth(x)):
            step, (y, x) = 1, _projected(grid, image, block, 1)
        (y_v, y_u), (x_v, x_u) = np.gradient(y, step), np.gradient(x, step)
        area = np.abs(y_v * x_u - y_u * x_v)
        return cls(block.shape, step, *(field[1:-1, 1:-1] for field in (y, x, area)))

    def positions(self, dy: float = 0.0, dx: float = 0.0) -> tuple[FloatArray, FloatArray]:
        """Return ``(y, x)`` on the image of one point in each pixel of the block.

        Parameters
        ----------
        dy, dx
            The point's distance from the pixel's center, between -0.5 and 0.5.
        """
        return self._within(self.y, dy, dx), self._within(self.x, dy, dx)

    def areas(self) -> FloatArray:
        """Return the pixels of the image to each pixel of the block."""
        return self._within(self.area, 0.0, 0.0)

    def extent(self, margin_px: int) -> Box | None:
        """Return the pixels of the image around the block's, None if it has no position there.

        Parameters
        ----------
        margin_px
            Pixels of the image to add on each side.
        """
        y, x = self.positions()
        known = np.isfinite(y) & np.isfinite(x)
        return box_around(y[known], x[known], margin_px) if known.any() else None

    def _within(self, field: FloatArray, dy: float, dx: float) -> FloatArray:
        """Interpolate a field linearly, along y on the few columns first."""
        row, t = self._cells(self.shape[0], dy)
        col, s = self._cells(self.shape[1], dx)
        rows = field[row] + t[:, None] * (field[row + 1] - field[row])
        return rows[:, col] + s * (rows[:, col + 1] - rows[:, col])

    def _cells(self, n: int, offset: float) -> tuple[npt.NDArray[np.int64], FloatArray]:
        """Return the cell of each pixel along an axis, and where in it the pixel's point lies."""
        pixel = np.arange(n)
        cell = pixel // self.step_px
        return cell, (pixel - cell * self.step_px + 0.5 + offset) / self.step_px


def box_around(y: FloatArray, x: FloatArray, margin_px: int) -> Box:
    """Return the box that holds positions with a margin.

    Parameters
    ----------
    y, x
        Positions in pixels, at least one, all finite.
    margin_px
        Pixels to add on each side.
    """
    return Box(
        int(np.floor(y.min())) - margin_px,
        int(np.ceil(y.max())) + margin_px + 1,
        int(np.floor(x.min())) - margin_px,
        int(np.ceil(x.max())) + margin_px + 1,
    )


def _projected(
    grid: SkyGrid, image: Projection, block: Box, step_px: int
) -> tuple[FloatArray, FloatArray]:
    """Return ``(y, x)`` on the image of the points of a lattice and of a ring around it."""
    y, x = np.meshgrid(
        np.arange(block.y0 - step_px, block.y1 + step_px + 1, step_px) - 0.5,
        np.arange(block.x0 - step_px, block.x1 + step_px + 1, step_px) - 0.5,
        indexing="ij",
    )
    on_image = image.world_to_pixel(*grid.pixel_to_world(x, y))
    return on_image[1], on_image[0]


def _is_smooth(field: FloatArray) -> bool:
    """Return whether a field may be interpolated; False where it has a NaN.

    Between two points a line misses a parabola by an eighth of its second difference.
    """
    return all(bool((np.abs(np.diff(field, 2, axis)) <= 8 * TOLERANCE_PX).all()) for axis in (0, 1))
