"""Bringing exposures onto a mosaic's grid.

Owns the choice between copying and resampling, and the grid of a new mosaic. Does not own
reading files or writing shards.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt
from astropy.wcs import WCS
from reproject import reproject_adaptive

from survey_classifier.errors import MosaicError
from survey_classifier.geometry import Box, nearest_pixel
from survey_classifier.mosaic.exposure import Exposure
from survey_classifier.mosaic.pixels import UNUSABLE, MaskBit
from survey_classifier.mosaic.pyramid import merged_mask
from survey_classifier.mosaic.sky import REACH_DEG, SkyGrid, pixel_scale_arcsec

__all__ = ["PixelGrid", "grid_offset", "mosaic_grid", "read_onto"]

SAME_GRID_PX = 1e-3
"""Grids that agree this well all over an image are one grid, and pixels are copied."""
KERNEL_PX = 4
"""Width of the resampling kernel in pixels of the coarser of grid and image."""
PAD_PX = 2
"""Pixels of the grid that are resampled around a box: the kernel's Jacobian is a difference."""
RESAMPLING_BYTES = 128 * 2**20
"""Memory of one resampling; larger boxes are resampled in pieces."""
BYTES_PER_TARGET_PX, BYTES_PER_SOURCE_PX = 180, 20
"""Memory of a resampling for each pixel of the grid and of the image."""
SMALLEST_PIECE_PX = 64
"""Smaller pieces would mostly be margin."""


@dataclass(frozen=True, slots=True)
class PixelGrid:
    """A celestial WCS with the extent of an image on it."""

    wcs: WCS
    shape: tuple[int, int]
    """``(ny, nx)`` in pixels."""


def _spread(shape: tuple[int, int]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return ``(x, y)`` of pixels spread over an image, its corners and rim among them."""
    ny, nx = shape
    y, x = np.meshgrid(np.linspace(0, ny - 1, 17), np.linspace(0, nx - 1, 17))
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
    x, y = _spread(exposure.shape)
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
        sky = SkyGrid(exposure.wcs).pixel_to_world(*_spread(exposure.shape))
        x, y = SkyGrid(wcs).world_to_pixel(*sky)
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            raise MosaicError(
                f"{', '.join(exposure.band.source_files)} lies more than {REACH_DEG:.0f} degrees "
                f"from {', '.join(exposures[0].band.source_files)}, or where the distortion of "
                "its grid has no inverse; make two mosaics, or set scale_arcsec for a new grid"
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

    Flux of calibrated bands is conserved, display values are kept (reproject's adaptive method
    with and without its Jacobian). Unusable pixels reach no other: they are left out, and what
    they cover is NaN. Masks go to the nearest pixel; on a coarser grid each pixel takes those of
    all that it covers, merged as in the pyramid. However a sky is cut in boxes, the result is
    the same.

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
    reached = _reached(exposure, wcs, box)
    if reached is not None:
        inside = reached.shifted(-box.y0, -box.x0).slices
        flux[inside], mask[inside] = _resampled(exposure, wcs, reached)
    return flux, mask


def _reached(exposure: Exposure, wcs: WCS, box: Box) -> Box | None:
    """Return the part of a box that the exposure may fill."""
    sky = SkyGrid(exposure.wcs).pixel_to_world(*_spread(exposure.shape))
    x, y = SkyGrid(wcs).world_to_pixel(*sky)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return box
    return _around(x, y, PAD_PX + int(np.ceil(1 / _ratio(exposure, wcs)))).intersection(box)


def _ratio(exposure: Exposure, wcs: WCS) -> float:
    """Return how many pixels of the exposure go along one of the grid."""
    return pixel_scale_arcsec(wcs) / pixel_scale_arcsec(exposure.wcs)


def _around(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], margin_px: int) -> Box:
    """Return the box that holds positions with a margin."""
    return Box(
        int(np.floor(y.min())) - margin_px,
        int(np.ceil(y.max())) + margin_px + 1,
        int(np.floor(x.min())) - margin_px,
        int(np.ceil(x.max())) + margin_px + 1,
    )


def _resampled(
    exposure: Exposure, wcs: WCS, box: Box
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """Resample onto a box, in halves where that would take too much memory."""
    padded = Box(box.y0 - PAD_PX, box.y1 + PAD_PX, box.x0 - PAD_PX, box.x1 + PAD_PX)
    window = _window(exposure, wcs, padded)
    if window is None:
        return (np.full(box.shape, np.nan, dtype=np.float32),
                np.full(box.shape, MaskBit.NO_DATA, dtype=np.uint8))  # fmt: skip
    needed = padded.area * BYTES_PER_TARGET_PX + window.area * BYTES_PER_SOURCE_PX
    if needed > RESAMPLING_BYTES and max(box.shape) > SMALLEST_PIECE_PX:
        axis, pieces = _halves(box)
        first, second = (_resampled(exposure, wcs, piece) for piece in pieces)
        return np.concatenate([first[0], second[0]], axis), np.concatenate(
            [first[1], second[1]], axis
        )
    flux_in, mask_in = exposure.read(window)
    flux_in[(mask_in & np.uint8(UNUSABLE)) != 0] = np.nan
    source = _shifted(exposure.wcs, window.y0, window.x0)
    out, _ = reproject_adaptive(
        (flux_in, source), _shifted(wcs, padded.y0, padded.x0), shape_out=padded.shape,
        conserve_flux=exposure.band.unit == "nJy", kernel="gaussian",
        sample_region_width=KERNEL_PX, boundary_mode="ignore", bad_value_mode="ignore",
    )  # fmt: skip
    inner = (slice(PAD_PX, -PAD_PX), slice(PAD_PX, -PAD_PX))
    mask = _mask_onto(mask_in, exposure, window, wcs, padded)[inner]
    flux = out[inner].astype(np.float32)
    flux[(mask & np.uint8(UNUSABLE)) != 0] = np.nan
    mask[np.isnan(flux)] |= np.uint8(MaskBit.NO_DATA)
    return flux, mask


def _halves(box: Box) -> tuple[int, tuple[Box, Box]]:
    """Cut a box across its longer axis; return that axis and both parts."""
    ny, nx = box.shape
    if ny >= nx:
        middle = box.y0 + ny // 2
        return 0, (Box(box.y0, middle, box.x0, box.x1), Box(middle, box.y1, box.x0, box.x1))
    middle = box.x0 + nx // 2
    return 1, (Box(box.y0, box.y1, box.x0, middle), Box(box.y0, box.y1, middle, box.x1))


def _window(exposure: Exposure, wcs: WCS, box: Box) -> Box | None:
    """Return what to read of an exposure to fill a box of another grid."""
    whole = Box(0, exposure.shape[0], 0, exposure.shape[1])
    x, y = _spread(box.shape)
    sky = SkyGrid(wcs).pixel_to_world(x + box.x0, y + box.y0)
    x_in, y_in = SkyGrid(exposure.wcs).world_to_pixel(*sky)
    if not (np.isfinite(x_in).all() and np.isfinite(y_in).all()):
        return whole
    # Half the kernel's width, along the diagonal; no less than pixels of the image itself.
    reach = KERNEL_PX / np.sqrt(2) * max(_ratio(exposure, wcs), 1.0)
    return _around(x_in, y_in, int(np.ceil(reach)) + 2).intersection(whole)


def _mask_onto(
    mask: npt.NDArray[np.uint8], exposure: Exposure, window: Box, wcs: WCS, box: Box
) -> npt.NDArray[np.uint8]:
    """Return the mask of a box: what the window of an exposure has at points in each pixel.

    One point, the center, where a pixel of the grid is no larger than one of the image;
    otherwise enough of them to meet every pixel that it covers.
    """
    y, x = np.mgrid[box.y0 : box.y1, box.x0 : box.x1]
    x_in, y_in = SkyGrid(exposure.wcs).world_to_pixel(*SkyGrid(wcs).pixel_to_world(x, y))
    x_in, y_in = x_in - window.x0, y_in - window.y0
    x_step, y_step = np.gradient(x_in), np.gradient(y_in)
    n = max(int(np.ceil(_ratio(exposure, wcs) - 0.1)), 1)
    bits = np.zeros(box.shape, dtype=np.uint8)
    n_usable = np.zeros(box.shape, dtype=np.int32)
    # Over one pixel the map is a straight one: no need to go by the sky for each point.
    for dy, dx in product((np.arange(n) + 0.5) / n - 0.5, repeat=2):
        point = _at(
            mask, x_in + dy * x_step[0] + dx * x_step[1], y_in + dy * y_step[0] + dx * y_step[1]
        )
        bits |= point
        n_usable += (point & np.uint8(UNUSABLE)) == 0
    return merged_mask(bits, n_usable, n * n)


def _at(
    mask: npt.NDArray[np.uint8], x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]
) -> npt.NDArray[np.uint8]:
    """Return the mask of the pixels nearest to positions, NO_DATA outside."""
    ny, nx = mask.shape
    inside = (x >= -0.5) & (x < nx - 0.5) & (y >= -0.5) & (y < ny - 0.5)
    values = np.full(x.shape, MaskBit.NO_DATA, dtype=np.uint8)
    values[inside] = mask[nearest_pixel(y[inside]), nearest_pixel(x[inside])]
    return values
