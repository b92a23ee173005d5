"""Where on the sky a mosaic's pixels lie: corners, solid angle, coverage map (MOC).

Owns the way from pixels to areas and HEALPix cells. Does not own which pixels have data
(``inspect``).
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from astropy import units
from astropy_healpix import lonlat_to_healpix
from mocpy import MOC

from survey_classifier.errors import MosaicError
from survey_classifier.files import replacing
from survey_classifier.geometry import Box
from survey_classifier.mosaic.sky import SkyGrid

__all__ = ["corners_deg", "coverage_cells", "moc_order", "pixel_area_deg2", "write_moc"]

FINEST_ORDER = 14
"""HEALPix order of cells of 12.9 arcsec: fine enough for the hole around a bright star."""
ORDER_0_ARCSEC = float(np.degrees(np.sqrt(np.pi / 3.0)) * 3600.0)
"""Side of a cell of order 0, the root of 1/12 of the sky; each order halves it."""
SAMPLES_PER_CELL = 4
"""Positions along a cell's side that are looked at: then none is missed that is half covered."""


def corners_deg(grid: SkyGrid, shape: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Return the sky positions of a grid's four corners, the outer ones of its corner pixels.

    Parameters
    ----------
    grid
        The grid.
    shape
        ``(ny, nx)`` of the array on it.

    Returns
    -------
    ndarray
        ``(4, 2)``: right ascension and declination in degrees, from pixel (0, 0) along the first
        row and on around.
    """
    ny, nx = shape
    ra, dec = grid.pixel_to_world(
        [-0.5, nx - 0.5, nx - 0.5, -0.5], [-0.5, -0.5, ny - 0.5, ny - 0.5]
    )
    return np.stack([ra, dec], axis=1)


def pixel_area_deg2(grid: SkyGrid, box: Box) -> float:
    """Return the solid angle of the pixel in the middle of a box.

    Pixels far from the reference point of a projection are smaller or larger than those at it:
    for a gnomonic one by ``cos(distance)**3``, so ask for boxes that are small on the sky.
    """
    x, y = (box.x0 + box.x1 - 1) / 2.0, (box.y0 + box.y1 - 1) / 2.0
    ra, dec = grid.pixel_to_world([x - 0.5, x + 0.5, x, x], [y, y, y - 0.5, y + 0.5])
    ra, dec = np.radians(ra), np.radians(dec)
    points = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)
    along_x, along_y = points[1] - points[0], points[3] - points[2]
    return float(np.linalg.norm(np.cross(along_x, along_y)) * np.degrees(1.0) ** 2)


def moc_order(scale_arcsec: float) -> int:
    """Return the HEALPix order of the coverage map of a grid.

    `FINEST_ORDER`, or as many orders less as coarse pixels ask for.
    """
    finest = np.floor(np.log2(ORDER_0_ARCSEC / (SAMPLES_PER_CELL * scale_arcsec)))
    return int(np.clip(finest, 0, FINEST_ORDER))


def coverage_cells(
    grid: SkyGrid, box: Box, covered: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int64]:
    """Return the HEALPix cells that the covered pixels of a box lie in.

    Pixels are taken together in squares of at most a quarter of a cell, so what lies within an
    eighth of a cell of the rim may be counted to the neighbor.

    Parameters
    ----------
    grid
        The grid.
    box
        Where the pixels lie on it.
    covered
        ``(y, x)`` of the box's shape.

    Returns
    -------
    ndarray of int64
        Numbers of the cells in nested order, each once, of the order `moc_order`.
    """
    order = moc_order(grid.scale_arcsec)
    widest = ORDER_0_ARCSEC / 2**order / (SAMPLES_PER_CELL * grid.scale_arcsec)
    step = max(int(widest), 1)
    starts_y, starts_x = np.arange(0, box.shape[0], step), np.arange(0, box.shape[1], step)
    by_rows = np.logical_or.reduceat(covered, starts_y, axis=0)
    rows, cols = np.nonzero(np.logical_or.reduceat(by_rows, starts_x, axis=1))
    y = box.y0 + (starts_y[rows] + np.minimum(starts_y[rows] + step, box.shape[0]) - 1) / 2.0
    x = box.x0 + (starts_x[cols] + np.minimum(starts_x[cols] + step, box.shape[1]) - 1) / 2.0
    ra, dec = grid.pixel_to_world(x, y)
    cells = lonlat_to_healpix(ra * units.deg, dec * units.deg, 2**order, order="nested")
    return np.unique(np.asarray(cells, dtype=np.int64))


def write_moc(path: Path, cells: npt.NDArray[np.int64], order: int) -> None:
    """Write a coverage map as the FITS file that Aladin, TOPCAT and mocpy read.

    Parameters
    ----------
    path
        The file; one that is there is replaced.
    cells
        Numbers of its HEALPix cells in nested order, each once.
    order
        Their order.

    Raises
    ------
    MosaicError
        If it cannot be written.
    """
    orders = np.full(len(cells), order, dtype=np.uint8)
    moc = MOC.from_healpix_cells(cells.astype(np.uint64), orders, max_depth=order)
    try:
        with replacing(path) as temporary:
            # Of version 1 of the standard too: not every program in use reads the newer one.
            moc.save(temporary, format="fits", v1_compatible=True)
    except OSError as error:
        raise MosaicError(f"cannot write {path}: {error}; name another file") from error
