"""Bringing exposures onto a mosaic's grid.

Owns what is read and resampled at once, and what becomes of the seeing. Does not own the kernel
(``resample``), the map between two grids (``lattice``), nor the choice of a grid and between
copying and resampling (``grids``).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from astropy.wcs import WCS

from survey_classifier.errors import MosaicError
from survey_classifier.geometry import Box
from survey_classifier.mosaic.exposure import Exposure, Window, empty_window
from survey_classifier.mosaic.grids import grid_offset, reached_box, spread
from survey_classifier.mosaic.lattice import STEP_PX, Lattice, box_around
from survey_classifier.mosaic.resample import FWHM_PER_SIGMA, Sampling, resample
from survey_classifier.mosaic.sky import SkyGrid, pixel_scale_arcsec

__all__ = ["fwhm_on", "read_onto"]

BLOCK_PX = 256
"""Side of what is resampled at once, on grids no coarser than the image: it fits the caches."""
RESAMPLING_BYTES = 128 * 2**20
"""Memory of one resampling; what would need more of the image is read in pieces."""
BYTES_PER_PX = 24
"""Memory of a resampling for each pixel of the image, with what its reader needs."""


def fwhm_on(exposure: Exposure, wcs: WCS) -> float | None:
    """Return the seeing of an exposure after `read_onto`, in arcsec; None if it is not known.

    Parameters
    ----------
    exposure
        The image.
    wcs
        The grid; on its own grid an image is copied and keeps its seeing.
    """
    fwhm = exposure.band.psf_fwhm_arcsec
    if fwhm is None or grid_offset(exposure, wcs) is not None:
        return fwhm
    scale_arcsec = pixel_scale_arcsec(exposure.wcs)
    added = _Job.of(exposure, wcs).sampling.blur_variance * scale_arcsec**2
    return float(np.sqrt(fwhm**2 + FWHM_PER_SIGMA**2 * added))


def read_onto(exposure: Exposure, wcs: WCS, box: Box) -> Window:
    """Resample an exposure onto a box of another grid.

    Flux of calibrated bands is conserved, display values are kept. Unusable pixels reach no
    other: they are left out, and a pixel is NaN if the nearest pixel (on coarser grids, more than
    half of what it covers) is unusable. It has the warnings of all pixels that its value is made
    of, and is SUSPECT where a flaw among them was left out.

    The variance is that of sums: summed over an aperture of many pixels, it is the variance of
    the flux in there, as on the image. The noise of neighbors is correlated now, so single pixels
    scatter less than it says.

    However a sky is cut in boxes, the result is the same bit for bit: blocks aligned on the grid
    are resampled whole.

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
    Window
        Of the box's shape; NaN and NO_DATA where the exposure has nothing.

    Raises
    ------
    MosaicError
        If the image cannot be read, or lies where the grid does not reach.
    """
    out = empty_window(box.shape, has_variance=exposure.band.has_variance)
    reached = reached_box(exposure, wcs, None).intersection(box)
    if reached is None:
        return out
    job = _Job.of(exposure, wcs)
    for piece, window in job.pieces(reached.aligned(job.block_px)):
        pixels = exposure.read(window)
        for block in _blocks(piece, job.block_px):
            shared = block.intersection(box)
            if shared is not None:
                lattice = Lattice.between(job.grid, job.image, block)
                whole = resample(pixels, window, lattice, job.sampling, exposure.band.unit)
                _paste(out, box, whole, block, shared)
    return out


@dataclass(frozen=True, slots=True)
class _Job:
    """What all blocks of one exposure on one grid share."""

    exposure: Exposure
    image: SkyGrid
    grid: SkyGrid
    sampling: Sampling

    @classmethod
    def of(cls, exposure: Exposure, wcs: WCS) -> "_Job":
        """Look at how an image lies on a grid."""
        image, grid = SkyGrid(exposure.wcs), SkyGrid(wcs)
        ny, nx = exposure.shape
        y, x = np.meshgrid(np.linspace(0, ny - 1, 3), np.linspace(0, nx - 1, 3))
        # A pixel's step from there along each of the image's axes.
        x, y = x.ravel() + np.array([[0], [1], [0]]), y.ravel() + np.array([[0], [0], [1]])
        on_grid = np.array(grid.world_to_pixel(*image.pixel_to_world(x, y)))
        if not np.isfinite(on_grid).all():
            raise MosaicError(
                f"the grid of the mosaic does not reach all of {exposure.path}; "
                "make a mosaic of its own of it, or set scale_arcsec for a new grid"
            )
        steps = np.moveaxis(on_grid[:, 1:] - on_grid[:, :1], 2, 0)
        return cls(exposure, image, grid, Sampling.of(steps))

    @property
    def block_px(self) -> int:
        """Side of a block; it shrinks where the grid is the coarser one, for the image to fit."""
        halvings = max(int(np.ceil(np.log2(self.sampling.ratio))), 0)
        return max(BLOCK_PX >> halvings, STEP_PX)

    def pieces(self, piece: Box) -> Iterator[tuple[Box, Box]]:
        """Cut a box of whole blocks until what it needs of the image fits the memory.

        Yields
        ------
        piece, window
            Blocks, and the box of the image that they need.
        """
        is_block = max(piece.shape) <= self.block_px
        needed, is_certain = self._needed(piece, is_block=is_block)
        window = needed and needed.intersection(
            Box(0, self.exposure.shape[0], 0, self.exposure.shape[1])
        )
        fits = window is None or window.area * BYTES_PER_PX <= RESAMPLING_BYTES
        if not is_block and not (fits and is_certain):
            for half in _halves(piece, self.block_px):
                yield from self.pieces(half)
        elif window is not None:
            yield piece, window

    def _needed(self, piece: Box, *, is_block: bool) -> tuple[Box | None, bool]:
        """Return what a piece needs of the image, and whether there may not be more of it."""
        margin_px = self.sampling.reach_px
        if is_block:
            return Lattice.between(self.grid, self.image, piece).extent(margin_px), True
        x, y = spread(piece.shape)
        x, y = self.image.world_to_pixel(*self.grid.pixel_to_world(x + piece.x0, y + piece.y0))
        known = np.isfinite(x) & np.isfinite(y)
        needed = box_around(y[known], x[known], margin_px + 1) if known.any() else None
        return needed, bool(known.all())


def _blocks(piece: Box, block_px: int) -> Iterator[Box]:
    """Yield the blocks of a piece."""
    for y0 in range(piece.y0, piece.y1, block_px):
        for x0 in range(piece.x0, piece.x1, block_px):
            yield Box(y0, y0 + block_px, x0, x0 + block_px)


def _halves(piece: Box, block_px: int) -> tuple[Box, Box]:
    """Cut a piece of several blocks across its longer axis."""
    ny, nx = piece.shape
    if ny >= nx:
        middle = piece.y0 + ny // block_px // 2 * block_px
        return (Box(piece.y0, middle, piece.x0, piece.x1),
                Box(middle, piece.y1, piece.x0, piece.x1))  # fmt: skip
    middle = piece.x0 + nx // block_px // 2 * block_px
    return (Box(piece.y0, piece.y1, piece.x0, middle),
            Box(piece.y0, piece.y1, middle, piece.x1))  # fmt: skip


def _paste(out: Window, box: Box, whole: Window, block: Box, shared: Box) -> None:
    """Put the pixels that a block and a box share from the one's window to the other's."""
    to = shared.shifted(-box.y0, -box.x0).slices
    at = shared.shifted(-block.y0, -block.x0).slices
    out.flux[to], out.mask[to] = whole.flux[at], whole.mask[at]
    if out.variance is not None and whole.variance is not None:
        out.variance[to] = whole.variance[at]
