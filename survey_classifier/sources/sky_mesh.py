"""The sky under the sources: its level and its noise, on a mesh of the mosaic's own grid.

Owns the mesh, its measuring and what it says of any pixel. Does not own sources.

The sky is measured twice. First by the mode of each cell, which the wings of the sources in it
still pull up; then, when it is known where sources are, by the median of what lies between them.

The cells of the mesh begin at the mosaic's first pixel and not at a tile's, and the sky of a
pixel is interpolated by its place on the mosaic alone: so it is the same in every window.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import sep
from scipy.ndimage import distance_transform_edt, generic_filter

from survey_classifier.errors import SourcesError
from survey_classifier.geometry import Box
from survey_classifier.mosaic.pixels import UNUSABLE, MaskBit, PixelSource

__all__ = ["CellRow", "Hides", "Pixels", "SkyMesh", "cell_edges", "measure_cells", "unseen"]

Plane = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]

MIN_GOOD = 0.5
"""Share of a cell's pixels that have data, for its sky to be measured."""
MIN_CLEAR = 0.2
"""The same, of pixels with data and without sources."""
MIN_BLOCKS = 16
"""Pairs of aperture-sized blocks in a cell, for their scatter to be measured."""
MAD_TO_SIGMA = 1.4826


class Pixels(PixelSource, Protocol):
    """A mosaic of which the variance may be known."""

    def read_variance(self, box: Box, band: str, level: int = 0) -> Plane:
        """Return the variance of a band's flux; asked only of a band that has one."""


def unseen(mask: npt.NDArray[np.uint8]) -> Bool:
    """Return where there is no light to be measured.

    A saturated pixel has light, if too little of it: without it a bright star would be a ring.
    """
    return (mask & np.uint8(UNUSABLE & ~MaskBit.SATURATED)) != 0


@dataclass(frozen=True, slots=True, eq=False)
class CellRow:
    """One row of the mesh as measured, each array of shape ``(band, column)``; NaN unknown."""

    level: Plane
    """Sky level."""
    rms: Plane
    """Noise of a pixel."""
    excess: Plane
    """Scatter of the sky in aperture-sized blocks over that of independent pixels."""


def cell_edges(length_px: int, cell_px: int) -> npt.NDArray[np.int64]:
    """Return where the cells of a mesh begin and the last one ends, along an axis.

    The last cell takes what is left, so it has 0.5 to 1.5 times the size of the others.
    """
    n_cells = max(1, round(length_px / cell_px))
    return np.append(np.arange(n_cells) * cell_px, length_px)


class Hides(Protocol):
    """Says which pixels of a box are light of sources and not sky."""

    def __call__(self, box: Box, /) -> Bool:
        """Return them, shape of the box."""


def measure_cells(
    mosaic: Pixels,
    bands: Sequence[str],
    row: int,
    cell_px: int,
    block_px: int,
    hides: Hides | None = None,
) -> CellRow:
    """Measure one row of the mesh.

    Parameters
    ----------
    mosaic
        Where the pixels are.
    bands
        Names of the bands.
    row
        Which row.
    cell_px
        Side of a cell.
    block_px
        Side of a square as large as an aperture.
    hides
        Which pixels to leave out, once it is known where sources are.
    """
    ny, nx = mosaic.shape
    y_edges, x_edges = cell_edges(ny, cell_px), cell_edges(nx, cell_px)
    box = Box(int(y_edges[row]), int(y_edges[row + 1]), 0, nx)
    n_cols = len(x_edges) - 1
    values = np.full((3, len(bands), n_cols), np.nan, dtype=np.float32)
    hidden = None if hides is None else hides(box)
    for index, band in enumerate(bands):
        block = mosaic.read(box, [band])
        bad = unseen(block.mask[0])
        for col in range(n_cols):
            cut = slice(x_edges[col], x_edges[col + 1])
            flux, gaps = block.flux[0][:, cut], np.ascontiguousarray(bad[:, cut])
            if hidden is None:
                values[:, index, col] = _crowded_cell(flux, gaps)
            else:
                values[:, index, col] = _clear_cell(flux, gaps | hidden[:, cut], block_px)
    return CellRow(*values)


def _crowded_cell(flux: Plane, bad: Bool) -> tuple[float, float, float]:
    """Return level and noise of a cell with sources in it."""
    if (~bad).mean() < MIN_GOOD:
        return np.nan, np.nan, np.nan
    ny, nx = flux.shape
    # One cell at a time: a mesh of sep's own would begin at the window's first pixel.
    clean = np.ascontiguousarray(np.where(bad, np.float32(0), flux))
    sky = sep.Background(clean, mask=bad, bw=nx, bh=ny, fw=1, fh=1)
    rms = float(sky.globalrms)
    return (float(sky.globalback), rms, np.nan) if rms > 0 else (np.nan, np.nan, np.nan)


def _clear_cell(flux: Plane, bad: Bool, block_px: int) -> tuple[float, float, float]:
    """Return level, noise and excess of a cell whose sources are hidden."""
    if (~bad).mean() < MIN_CLEAR:
        return np.nan, np.nan, np.nan
    clear = flux[~bad].astype(np.float64)
    level = float(np.median(clear))
    rms = MAD_TO_SIGMA * float(np.median(np.abs(clear - level)))
    if not rms > 0:
        return np.nan, np.nan, np.nan
    above_sky = np.where(bad, np.float32(0), flux - np.float32(level))
    return level, rms, _excess(above_sky, bad, block_px) / rms


def _excess(flux: Plane, bad: Bool, block_px: int) -> float:
    """Return the scatter of sums over blocks per root of their pixels, NaN with few blocks.

    Of neighboring blocks the difference is taken: a slope of the sky is no noise.
    """
    rows, cols = (side // block_px for side in flux.shape)
    inner = slice(0, rows * block_px), slice(0, cols * block_px)
    shape = rows, block_px, cols, block_px
    sums = flux[inner].reshape(shape).sum(axis=(1, 3), dtype=np.float64)
    whole: Bool = np.logical_not(bad[inner].reshape(shape).any(axis=(1, 3)))
    steps = np.abs(np.diff(sums, axis=1))[whole[:, 1:] & whole[:, :-1]]
    if len(steps) < MIN_BLOCKS:
        return np.nan
    return float(MAD_TO_SIGMA * np.median(steps) / np.sqrt(2) / block_px)


@dataclass(frozen=True, slots=True, eq=False)
class SkyMesh:
    """Level and noise of the sky of a mosaic."""

    shape: tuple[int, int]
    """``(ny, nx)`` of the mosaic."""
    cell_px: int
    level: Mapping[str, Plane]
    """By band, ``(row, column)`` of cells, filtered and without gaps."""
    rms: Mapping[str, Plane]
    """By band, noise of a pixel."""
    excess: Mapping[str, float]
    """By band, by how much sums over an aperture scatter more than independent pixels would,
    at least 1: noise is correlated, and faint sources lie in every aperture."""

    @classmethod
    def of_rows(
        cls, bands: Sequence[str], rows: Sequence[CellRow], shape: tuple[int, int], cell_px: int
    ) -> "SkyMesh":
        """Make the mesh of its rows.

        Raises
        ------
        SourcesError
            If a band has no cell with data.
        """
        level: dict[str, Plane] = {}
        rms: dict[str, Plane] = {}
        excess: dict[str, float] = {}
        for index, band in enumerate(bands):
            raw = np.stack([row.level[index] for row in rows])
            if np.isnan(raw).all():
                raise SourcesError(
                    f"no cell of {cell_px} px has enough sky in band {band} to measure it; change "
                    "detect.background_arcsec, or leave the band out of mosaic.bands"
                )
            level[band] = _smooth(raw)
            rms[band] = _smooth(np.stack([row.rms[index] for row in rows]))
            ratios = np.stack([row.excess[index] for row in rows])
            known = ratios[np.isfinite(ratios)]
            excess[band] = max(1.0, float(np.median(known))) if len(known) else 1.0
        return cls(shape, cell_px, level, rms, excess)

    def sky(self, box: Box, band: str) -> tuple[Plane, Plane]:
        """Return level and noise of each pixel of a box, which may stick out of the mosaic."""
        level = self._at(self.level[band], box, beyond=True)
        return level, self._at(self.rms[band], box, beyond=False)

    def _at(self, mesh: Plane, box: Box, *, beyond: bool) -> Plane:
        """Interpolate linearly between the centers of cells.

        Beyond the outer centers it goes on as between the last two, or is constant.
        """
        above, below, part = self._between(box.y0, box.y1, 0, beyond=beyond)
        lines = mesh[above] * (1 - part)[:, None] + mesh[below] * part[:, None]
        left, right, part = self._between(box.x0, box.x1, 1, beyond=beyond)
        across = lines.take(left, axis=1) * (1 - part) + lines.take(right, axis=1) * part
        return np.asarray(across, dtype=np.float32)

    def _between(
        self, first: int, stop: int, axis: int, *, beyond: bool
    ) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Plane]:
        """Return the cells on both sides of each pixel along an axis, and the second's share."""
        edges = cell_edges(self.shape[axis], self.cell_px)
        centers = (edges[1:] + edges[:-1] - 1) / 2
        # What lies outside of the mosaic has no sky; it is given that of its rim.
        place = np.clip(np.arange(first, stop), 0, self.shape[axis] - 1).astype(np.float64)
        if len(centers) == 1:
            nothing = np.zeros(len(place), dtype=np.intp)
            return nothing, nothing, nothing.astype(np.float32)
        before = np.clip(np.searchsorted(centers, place, side="right") - 1, 0, len(centers) - 2)
        part = (place - centers[before]) / (centers[before + 1] - centers[before])
        part = part if beyond else np.clip(part, 0, 1)
        return before, before + 1, part.astype(np.float32)


def _smooth(mesh: Plane) -> Plane:
    """Return a mesh without gaps, each cell the median of the 3 x 3 around it."""
    gaps = np.isnan(mesh)
    if gaps.any():
        nearest = distance_transform_edt(gaps, return_distances=False, return_indices=True)
        filled = mesh[tuple(nearest)]
    else:
        filled = mesh
    smooth = generic_filter(filled, np.median, size=3, mode="nearest")
    return np.asarray(smooth, dtype=np.float32)
