"""Many overlapping mosaics as one survey: which of them a source belongs to.

Owns the rule by which each source is given to exactly one mosaic. Does not own how a survey
shares the sky (``skymap``), nor what is done with the sources (``run``).

Of the mosaics whose grid holds a source, it belongs to the one that comes first by:

1. it has usable pixels of all bands there, by the mask of its coarsest level (in a store, pixels
   of 8 x 8: a cosmic ray does not move a source to another mosaic, a gap does);
2. the survey gives it that part of the sky: its own territory, such as a tract, holds the source;
3. the source lies farthest from the rim of the area with usable pixels of all bands, gaps counted;
4. its name.

So the result is the same for any order of the mosaics.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy.spatial import KDTree

from survey_classifier.geometry import Box, inside, level_position, nearest_pixel
from survey_classifier.mosaic.pixels import UNUSABLE, PixelSource
from survey_classifier.mosaic.sky import SkyGrid
from survey_classifier.mosaic.skymap import territory_of
from survey_classifier.mosaic.store import CHUNK_PX

__all__ = ["Area", "Held", "SurveyMosaic", "held_by", "owner_of"]

FloatArray = npt.NDArray[np.float64]

DEPTH_DECIMALS = 6
"""Distances to a rim are compared to a millionth of an arcsec: less is only rounding."""
RIM_SAMPLES = 9
"""Points along each side of a grid by which its circle is found."""
MARGIN = 1.02
"""By how much that circle is wider: a side bulges a little between two points."""


class Area(Protocol):
    """A pixel grid on the sky, of a mosaic that is there or only planned."""

    @property
    def sky(self) -> SkyGrid:
        """The grid."""

    @property
    def shape(self) -> tuple[int, int]:
        """``(ny, nx)`` in pixels."""


class SurveyMosaic(Area, PixelSource, Protocol):
    """A mosaic that is one of several."""

    @property
    def territory(self) -> str:
        """Name of the part of the sky that the survey gives to it, '' without such a rule."""


@dataclass(frozen=True, slots=True)
class Held:
    """The sources that the grid of one mosaic holds."""

    rows: npt.NDArray[np.intp]
    """Which sources, ascending, shape ``(n,)``."""
    x_px: FloatArray
    """Where on the grid they are, shape ``(n,)``."""
    y_px: FloatArray

    def take(self, index: npt.NDArray[np.bool_]) -> "Held":
        """Return some of them."""
        return Held(self.rows[index], self.x_px[index], self.y_px[index])


def owner_of(
    mosaics: Sequence[SurveyMosaic], ra_deg: FloatArray, dec_deg: FloatArray, bands: Sequence[str]
) -> npt.NDArray[np.int64]:
    """Return the one mosaic that owns each source, by the rule of this module.

    Pixels are read only of mosaics that share sources with another, at the coarsest level, and
    only as far around such sources as a rim could matter.

    Parameters
    ----------
    mosaics
        In any order; all have the bands and names of their own.
    ra_deg, dec_deg
        Positions of the sources, shape ``(n,)``, NaN where there is none.
    bands
        Names of the bands that a source should have.

    Returns
    -------
    ndarray of int64
        Index of the mosaic, shape ``(n,)``; -1 where no mosaic's grid holds the source.

    Raises
    ------
    MosaicError
        If the mask of a mosaic cannot be read.
    """
    held = held_by(mosaics, ra_deg, dec_deg)
    owner = np.full(len(ra_deg), -1, dtype=np.int64)
    n_holding = np.zeros(len(ra_deg), dtype=np.int32)
    for index, sources in enumerate(held):
        n_holding[sources.rows] += 1
        owner[sources.rows] = index
    best = _Best(owner)
    for index in sorted(range(len(mosaics)), key=lambda index: mosaics[index].name):
        contested = held[index].take(n_holding[held[index].rows] > 1)
        if len(contested.rows):
            mosaic = mosaics[index]
            depth = _depth_arcsec(mosaic, bands, contested)
            own = _in_territory(mosaic, ra_deg[contested.rows], dec_deg[contested.rows])
            best.offer(index, contested.rows, 2 * (depth > 0) + own, depth)
    return best.owner


class _Best:
    """The best mosaic so far of each source; of equals, the first that was offered."""

    def __init__(self, owner: npt.NDArray[np.int64]) -> None:
        self.owner = owner
        self._rank = np.full(len(owner), -1, dtype=np.int8)
        self._depth = np.full(len(owner), -1.0)

    def offer(
        self,
        index: int,
        rows: npt.NDArray[np.intp],
        rank: npt.NDArray[np.integer],
        depth: FloatArray,
    ) -> None:
        """Give some sources to a mosaic where it is better."""
        higher = rank > self._rank[rows]
        deeper = (rank == self._rank[rows]) & (depth > self._depth[rows])
        won = higher | deeper
        self.owner[rows[won]] = index
        self._rank[rows[won]] = rank[won]
        self._depth[rows[won]] = depth[won]


def held_by(areas: Sequence[Area], ra_deg: FloatArray, dec_deg: FloatArray) -> list[Held]:
    """Return which sources lie on each of some grids.

    Parameters
    ----------
    areas
        The grids.
    ra_deg, dec_deg
        Positions of the sources, shape ``(n,)``, NaN where there is none.
    """
    held = []
    for area, rows in zip(areas, _near(areas, ra_deg, dec_deg), strict=True):
        x, y = area.sky.world_to_pixel(ra_deg[rows], dec_deg[rows])
        held.append(Held(rows, x, y).take(inside(x, y, area.shape)))
    return held


def _near(
    areas: Sequence[Area], ra_deg: FloatArray, dec_deg: FloatArray
) -> Iterator[npt.NDArray[np.intp]]:
    """Yield, for each grid, the sources within a circle around it; of a single grid, all."""
    located = np.flatnonzero(np.isfinite(ra_deg) & np.isfinite(dec_deg))
    if len(areas) < 2 or not len(located):
        yield from [located] * len(areas)
        return
    tree = KDTree(_unit_vectors(ra_deg[located], dec_deg[located]), balanced_tree=False)
    for area in areas:
        center, radius = _circle(area)
        found = np.array(tree.query_ball_point(center, radius), dtype=np.intp)
        yield np.sort(located[found])


def _circle(area: Area) -> tuple[FloatArray, float]:
    """Return a circle around a grid: the unit vector of its center, and a chord."""
    ny, nx = area.shape
    along = np.linspace(-0.5, 0.5, RIM_SAMPLES)
    side = np.full(RIM_SAMPLES, 0.5)
    # The center first, then the four sides.
    x = np.concatenate([[0.0], along, along, side, -side]) * nx + (nx - 1) / 2
    y = np.concatenate([[0.0], side, -side, along, along]) * ny + (ny - 1) / 2
    points = _unit_vectors(*area.sky.pixel_to_world(x, y))
    chords = np.linalg.norm(points[1:] - points[0], axis=1)
    if not np.isfinite(points).all():
        # A side that lies nowhere on the sky: the grid reaches as far as its projection does.
        return np.array([0.0, 0.0, 1.0]), 2.0
    return points[0], float(chords.max()) * MARGIN


def _unit_vectors(ra_deg: FloatArray, dec_deg: FloatArray) -> FloatArray:
    """Return unit vectors, shape ``(n, 3)``."""
    ra, dec = np.radians(ra_deg), np.radians(dec_deg)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)


def _in_territory(
    mosaic: SurveyMosaic, ra_deg: FloatArray, dec_deg: FloatArray
) -> npt.NDArray[np.bool_]:
    """Return whether each position lies in a mosaic's own part of the sky."""
    if not mosaic.territory:
        return np.zeros(len(ra_deg), dtype=np.bool_)
    return territory_of(mosaic.territory).contains(ra_deg, dec_deg)


def _depth_arcsec(mosaic: SurveyMosaic, bands: Sequence[str], sources: Held) -> FloatArray:
    """Return how far each source is from the nearest pixel that is not usable in all bands.

    Pixels are those of the coarsest level, distances those to their centers; what lies outside
    of the mosaic is not usable. 0 where the source's own pixel is not.
    """
    level = mosaic.n_levels - 1
    x, y = level_position(sources.x_px, level), level_position(sources.y_px, level)
    usable = _usable_area(mosaic, bands, level, x, y)
    here = usable[nearest_pixel(y) + 1, nearest_pixel(x) + 1]
    depth = np.zeros(len(x))
    if here.any():
        positions = np.stack([y[here] + 1, x[here] + 1], axis=-1)
        depth[here], _ = KDTree(_rim(usable), balanced_tree=False).query(positions)
    return np.round(depth * mosaic.scale_arcsec * 2**level, DEPTH_DECIMALS)


def _usable_area(
    mosaic: SurveyMosaic, bands: Sequence[str], level: int, x: FloatArray, y: FloatArray
) -> npt.NDArray[np.bool_]:
    """Return the usable pixels of a level with a frame of unusable ones around them.

    Only what some sources at ``(x, y)`` of the level need is read: nothing that is farther from
    each of them than the frame. The rest is taken as usable, and so never is the nearest rim.
    """
    ny, nx = (-(-side // 2**level) for side in mosaic.shape)
    usable = np.zeros((ny + 2, nx + 2), dtype=np.bool_)
    usable[1:-1, 1:-1] = True
    for box in _needed(x, y, (ny, nx)):
        mask = np.bitwise_or.reduce(mosaic.read(box, bands, level).mask, axis=0)
        usable[1:-1, 1:-1][box.slices] = (mask & np.uint8(UNUSABLE)) == 0
    return usable


def _needed(x: FloatArray, y: FloatArray, shape: tuple[int, int]) -> Iterator[Box]:
    """Yield boxes that hold all pixels that are as near to a position as the array's frame."""
    ny, nx = shape
    reach = np.minimum(np.minimum(x + 1, nx - x), np.minimum(y + 1, ny - y))
    first_row, last_row = _chunks_within(y, reach, ny)
    first_col, last_col = _chunks_within(x, reach, nx)
    # Corners of all rectangles of chunks, whose running sums count the rectangles over a chunk.
    count = np.zeros((ny // CHUNK_PX + 2, nx // CHUNK_PX + 2), dtype=np.int64)
    np.add.at(count, (first_row, first_col), 1)
    np.add.at(count, (last_row + 1, first_col), -1)
    np.add.at(count, (first_row, last_col + 1), -1)
    np.add.at(count, (last_row + 1, last_col + 1), 1)
    for row, wanted in enumerate(count.cumsum(axis=0).cumsum(axis=1) > 0):
        y0, y1 = row * CHUNK_PX, min((row + 1) * CHUNK_PX, ny)
        edges = np.flatnonzero(np.diff(np.concatenate([[False], wanted, [False]])))
        for first, stop in edges.reshape(-1, 2):
            yield Box(y0, y1, int(first) * CHUNK_PX, min(int(stop) * CHUNK_PX, nx))


def _chunks_within(
    position: FloatArray, reach: FloatArray, length: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the first and the last chunk within reach of each position, along one axis."""
    first = nearest_pixel(np.maximum(position - reach, 0.0)) // CHUNK_PX
    last = nearest_pixel(np.minimum(position + reach, length - 1.0)) // CHUNK_PX
    return first, last


def _rim(usable: npt.NDArray[np.bool_]) -> FloatArray:
    """Return ``(y, x)`` of each pixel that is not usable beside one that is, shape ``(n, 2)``.

    The pixel nearest to a usable one that is not usable itself is always one of these.
    """
    beside = np.zeros_like(usable)
    beside[1:] |= usable[:-1]
    beside[:-1] |= usable[1:]
    beside[:, 1:] |= usable[:, :-1]
    beside[:, :-1] |= usable[:, 1:]
    return np.argwhere(beside & ~usable).astype(np.float64)
