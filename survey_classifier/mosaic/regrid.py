"""Bringing exposures onto a mosaic's grid.

Owns the choice between copying and resampling, and the grid of a new mosaic. Does not own
reading files or writing shards.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from astropy.wcs import WCS
from reproject import reproject_adaptive, reproject_interp

from survey_classifier.errors import MosaicError
from survey_classifier.geometry import Box
from survey_classifier.mosaic.exposure import Exposure
from survey_classifier.mosaic.pixels import MaskBit, SkyGrid

__all__ = ["PixelGrid", "grid_offset", "mosaic_grid", "read_onto"]

SAME_GRID_PX = 1e-3
"""Grids that agree this well at all corners are one grid, and pixels are copied."""
MARGIN_PX = 6
"""Input pixels read around a box that is resampled: the kernel's reach."""


@dataclass(frozen=True, slots=True)
class PixelGrid:
    """A celestial WCS with the extent of an image on it."""

    wcs: WCS
    shape: tuple[int, int]
    """``(ny, nx)`` in pixels."""


def _corners(shape: tuple[int, int]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return ``(x, y)`` of nine pixels spread over an image."""
    ny, nx = shape
    y, x = np.meshgrid(np.linspace(0, ny - 1, 3), np.linspace(0, nx - 1, 3))
    return x.ravel(), y.ravel()


def grid_offset(exposure: Exposure, wcs: WCS) -> tuple[int, int] | None:
    """Return the ``(dy, dx)`` of an exposure's first pixel on a grid, None on another grid.

    Parameters
    ----------
    exposure
        The image.
    wcs
        The grid.
    """
    x, y = _corners(exposure.shape)
    on_grid = SkyGrid(wcs).world_to_pixel(*SkyGrid(exposure.wcs).pixel_to_world(x, y))
    dx, dy = on_grid[0] - x, on_grid[1] - y
    # NaN (the far side of the sky) fails this comparison, as it should.
    if not (np.abs(dx - np.rint(dx[0])) < SAME_GRID_PX).all():
        return None
    if not (np.abs(dy - np.rint(dy[0])) < SAME_GRID_PX).all():
        return None
    return int(np.rint(dy[0])), int(np.rint(dx[0]))


def mosaic_grid(exposures: Sequence[Exposure], scale_arcsec: float | None) -> PixelGrid:
    """Return the grid that holds all exposures.

    Parameters
    ----------
    exposures
        At least one; without a scale, the first one's grid is taken and extended.
    scale_arcsec
        Pixel scale of a new gnomonic grid about the first exposure's reference point.
    """
    first = exposures[0].wcs.celestial
    wcs = first.deepcopy() if scale_arcsec is None else _tangent_plane(first, scale_arcsec)
    x_all, y_all = [], []
    for exposure in exposures:
        sky = SkyGrid(exposure.wcs).pixel_to_world(*_corners(exposure.shape))
        x, y = SkyGrid(wcs).world_to_pixel(*sky)
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            raise MosaicError(
                f"{', '.join(exposure.band.source_files)} lies more than 80 degrees from "
                f"{', '.join(exposures[0].band.source_files)}; make two mosaics of them"
            )
        x_all.append(x)
        y_all.append(y)
    x0, y0 = (int(np.rint(np.min(values))) for values in (x_all, y_all))
    shape = (int(np.rint(np.max(y_all))) - y0 + 1, int(np.rint(np.max(x_all))) - x0 + 1)
    return PixelGrid(_shifted(wcs, y0, x0), shape)


def _tangent_plane(wcs: WCS, scale_arcsec: float) -> WCS:
    """Return a gnomonic grid about a WCS's reference point, north up and east left."""
    plane = WCS(naxis=2)
    plane.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    plane.wcs.crval = wcs.wcs.crval
    plane.wcs.crpix = [1.0, 1.0]
    plane.wcs.cdelt = [-scale_arcsec / 3600.0, scale_arcsec / 3600.0]
    plane.wcs.radesys = wcs.wcs.radesys
    return plane


def _shifted(wcs: WCS, y0: int, x0: int) -> WCS:
    """Return a WCS whose pixel (0, 0) is pixel ``(y0, x0)`` of the given one."""
    shifted = wcs.deepcopy()
    shifted.wcs.crpix = wcs.wcs.crpix - np.array([x0, y0])
    if shifted.sip is not None:
        sip = shifted.sip
        sip_crpix = sip.crpix - np.array([x0, y0])
        shifted.sip = type(sip)(sip.a, sip.b, sip.ap, sip.bp, sip_crpix)
    return shifted


def read_onto(
    exposure: Exposure, wcs: WCS, box: Box
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """Resample an exposure onto a box of another grid.

    Flux is conserved (reproject's adaptive method with its Jacobian); masks go to the nearest
    pixel.

    Parameters
    ----------
    exposure
        The image, on its own grid.
    wcs
        The mosaic's grid.
    box
        What to fill.

    Returns
    -------
    flux, mask
        Arrays of the box's shape; NaN and NO_DATA where the exposure has nothing.
    """
    flux = np.full(box.shape, np.nan, dtype=np.float32)
    mask = np.full(box.shape, MaskBit.NO_DATA, dtype=np.uint8)
    window = _window(exposure, wcs, box)
    if window is None:
        return flux, mask
    flux_in, mask_in = exposure.read(window)
    target, source = _shifted(wcs, box.y0, box.x0), _shifted(exposure.wcs, window.y0, window.x0)
    flux, _ = reproject_adaptive(
        (flux_in, source), target, shape_out=box.shape, conserve_flux=True, kernel="gaussian",
        boundary_mode="ignore_threshold", bad_value_mode="ignore",
    )  # fmt: skip
    mask_out, covered = reproject_interp(
        (mask_in.astype(np.float32), source), target, shape_out=box.shape, order="nearest-neighbor"
    )
    inside = covered > 0
    mask[inside] = mask_out[inside].astype(np.uint8)
    flux[~inside | ((mask & MaskBit.NO_DATA) != 0)] = np.nan
    return flux.astype(np.float32), mask


def _window(exposure: Exposure, wcs: WCS, box: Box) -> Box | None:
    """Return what to read of an exposure to fill a box of another grid."""
    x, y = _corners(box.shape)
    sky = SkyGrid(wcs).pixel_to_world(x + box.x0, y + box.y0)
    x_in, y_in = SkyGrid(exposure.wcs).world_to_pixel(*sky)
    if not (np.isfinite(x_in).all() and np.isfinite(y_in).all()):
        return None
    reach = Box(
        int(np.floor(y_in.min())) - MARGIN_PX,
        int(np.ceil(y_in.max())) + MARGIN_PX + 1,
        int(np.floor(x_in.min())) - MARGIN_PX,
        int(np.ceil(x_in.max())) + MARGIN_PX + 1,
    )
    return reach.intersection(Box(0, exposure.shape[0], 0, exposure.shape[1]))
