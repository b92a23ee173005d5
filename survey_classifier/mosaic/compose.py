"""The pixels of a mosaic's box, out of overlapping images.

Owns which image fills which pixel: each pixel is one image's, never a mean of several. Does not
own how an image is read (``readers``) or resampled (``regrid``).

First a pixel goes to the image that the survey gives it to: the one in whose core it lies (the
inner region of a patch), and in whose territory where territories overlap (a tract). What is
then still without data goes to the image that has data there and whose rim is farthest away; of
equally far ones, to the first by name. So the result does not depend on the order of the images.

A saturated pixel counts as data, also where its value is lost: it says something of the source
there, and what another image has in its place is hardly better, and not marked as such.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from astropy.wcs import WCS

from survey_classifier.geometry import Box
from survey_classifier.mosaic.exposure import Exposure, Territory, Window
from survey_classifier.mosaic.lattice import STEP_PX, Lattice, Projection
from survey_classifier.mosaic.pixels import MaskBit
from survey_classifier.mosaic.regrid import read_onto
from survey_classifier.mosaic.sky import SkyGrid, pixel_scale_arcsec

__all__ = ["Placed", "compose"]

Bool = npt.NDArray[np.bool_]
ARCSEC_PER_DEG = 3600.0
STRIP_ROWS = 8 * STEP_PX
"""Rows whose sky positions are held at once: each takes as much as twenty pixels do."""
Positions = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]


@dataclass(frozen=True)
class Placed:
    """An image and where it lies on the mosaic's grid."""

    exposure: Exposure
    offset: tuple[int, int] | None
    """``(dy, dx)`` of its first pixel; None where it must be resampled."""
    box: Box
    """All pixels of the grid that it may fill."""

    @cached_property
    def scale_arcsec(self) -> float:
        """Pixel scale of the image."""
        return pixel_scale_arcsec(self.exposure.wcs)

    @property
    def order(self) -> tuple[str, str]:
        """What images are sorted by."""
        return self.exposure.path.name, self.exposure.identity

    def read(self, wcs: WCS, box: Box) -> Window:
        """Return the pixels of a box within `box`, on the mosaic's grid."""
        if self.offset is None:
            return read_onto(self.exposure, wcs, box)
        return self.exposure.read(box.shifted(-self.offset[0], -self.offset[1]))

    def positions(self, wcs: WCS, box: Box) -> Positions:
        """Return where on the image the pixels of a box lie, ``(x, y)`` that broadcast to it."""
        if self.offset is not None:
            y, x = np.ogrid[box.y0 : box.y1, box.x0 : box.x1]
            return (x - self.offset[1]).astype(np.float64), (y - self.offset[0]).astype(np.float64)
        return _mapped(SkyGrid(wcs), SkyGrid(self.exposure.wcs), box)


def compose(images: Sequence[Placed], wcs: WCS, box: Box) -> Window:
    """Return the pixels of a box.

    Parameters
    ----------
    images
        Images of one band, in any order.
    wcs
        The mosaic's grid.
    box
        Pixels of the mosaic's grid.
    """
    here = sorted((image for image in images if image.box.intersection(box)), key=lambda i: i.order)
    if len(here) == 1 and here[0].box.intersection(box) == box:
        return here[0].read(wcs, box)
    canvas = _Canvas(wcs, box, here)
    canvas.add_own()
    canvas.add_rest()
    return canvas.window()


class _Plate:
    """The sky itself as a grid: right ascension and declination in arcsec from a position.

    Unlike right ascension it has no jump near that position, so it can be interpolated.
    """

    def __init__(self, ra_deg: float, dec_deg: float) -> None:
        self.ra_deg, self.dec_deg = ra_deg, dec_deg

    def world_to_pixel(self, ra_deg: npt.ArrayLike, dec_deg: npt.ArrayLike) -> Positions:
        """Return ``(x, y)`` in arcsec."""
        ra, dec = np.asarray(ra_deg, dtype=np.float64), np.asarray(dec_deg, dtype=np.float64)
        x = np.mod(ra - self.ra_deg + 180.0, 360.0) - 180.0
        return x * ARCSEC_PER_DEG, (dec - self.dec_deg) * ARCSEC_PER_DEG

    def pixel_to_world(self, x_px: npt.ArrayLike, y_px: npt.ArrayLike) -> Positions:
        """Return ``(ra, dec)`` in degrees."""
        x, y = np.asarray(x_px, dtype=np.float64), np.asarray(y_px, dtype=np.float64)
        return np.mod(x / ARCSEC_PER_DEG + self.ra_deg, 360.0), y / ARCSEC_PER_DEG + self.dec_deg


def _sky(wcs: WCS, box: Box) -> Positions:
    """Return ``(ra, dec)`` in degrees of the pixels of a box, of its shape."""
    grid = SkyGrid(wcs)
    ra, dec = grid.pixel_to_world((box.x0 + box.x1 - 1) / 2, (box.y0 + box.y1 - 1) / 2)
    plate = _Plate(float(ra), float(dec))
    return plate.pixel_to_world(*_mapped(grid, plate, box))


def _strips(box: Box) -> Iterator[tuple[Box, slice]]:
    """Yield a box piece by piece, each with its rows in the box."""
    for y0 in range(box.y0, box.y1, STRIP_ROWS):
        y1 = min(y0 + STRIP_ROWS, box.y1)
        yield Box(y0, y1, box.x0, box.x1), slice(y0 - box.y0, y1 - box.y0)


def _held(territory: Territory, wcs: WCS, box: Box) -> Bool:
    """Return which pixels of a box lie in a territory."""
    held = np.empty(box.shape, dtype=np.bool_)
    for strip, rows in _strips(box):
        held[rows] = territory.contains(*_sky(wcs, strip))
    return held


def _mapped(grid: SkyGrid, image: Projection, box: Box) -> Positions:
    """Return where the pixels of a box lie on another grid, ``(x, y)`` of the box's shape."""
    block = box.aligned(STEP_PX)
    y, x = Lattice.between(grid, image, block).positions()
    inner = box.shifted(-block.y0, -block.x0).slices
    return x[inner], y[inner]


def _has_data(flux: npt.NDArray[np.float32], mask: npt.NDArray[np.uint8]) -> Bool:
    """Return which pixels say something of the sky, if only that it is too bright there."""
    return ~np.isnan(flux) | ((mask & np.uint8(MaskBit.SATURATED)) != 0)


def _territory(image: Placed) -> str:
    """Return the name of the territory that an image belongs to, '' if it is none's."""
    territory = image.exposure.territory
    return "" if territory is None else territory.name


class _Canvas:
    """A box that is filled image by image."""

    def __init__(self, wcs: WCS, box: Box, images: Sequence[Placed]) -> None:
        self.wcs, self.box, self.images = wcs, box, images
        has_variance = any(image.exposure.band.has_variance for image in images)
        self.flux = np.full(box.shape, np.nan, dtype=np.float32)
        self.mask = np.zeros(box.shape, dtype=np.uint8)
        self.variance = np.full(box.shape, np.nan, dtype=np.float32) if has_variance else None
        # Which image the survey gives each pixel to, counted from 1; 0: to none.
        self._owner = np.zeros(box.shape, dtype=np.min_scalar_type(len(images)))
        self._is_contested = len({_territory(image) for image in images}) > 1
        self._held: dict[str, Bool] = {}

    def add_own(self) -> None:
        """Fill the pixels that the survey gives to an image."""
        for number, image in enumerate(self.images, 1):
            part = self._core_part(image)
            if part is None:
                continue
            mine = self._claim(image, part)
            if mine is None or mine.any():
                self._put(part, image.read(self.wcs, part), mine)
                self._owner[self._inner(part)][... if mine is None else mine] = number
        self._held.clear()

    def add_rest(self) -> None:
        """Fill what is still without data from the image whose rim is farthest away."""
        empty = ~_has_data(self.flux, self.mask)
        if not empty.any():
            return
        parts = [(image, part) for number, image in enumerate(self.images, 1)
                 if (part := self._wanted(number, image, empty))]  # fmt: skip
        best = np.full(self.box.shape, -np.inf, dtype=np.float32) if len(parts) > 1 else None
        for image, part in parts:
            self._put_deeper(image, part, empty, best)

    def _put_deeper(
        self, image: Placed, part: Box, empty: Bool, best: npt.NDArray[np.float32] | None
    ) -> None:
        """Fill the empty pixels of a part that lie deeper in the image than in the ones before."""
        inner = self._inner(part)
        window = image.read(self.wcs, part)
        mine = empty[inner] & _has_data(window.flux, window.mask)
        if best is not None:
            depth = self._depth_arcsec(image, part)
            mine &= depth > best[inner]
            np.copyto(best[inner], depth, where=mine)
        self._put(part, window, mine)
        # Where no image has data, what each of them says of it is kept.
        nothing = ~_has_data(self.flux[inner], self.mask[inner])
        np.bitwise_or(self.mask[inner], window.mask, out=self.mask[inner], where=nothing)

    def _wanted(self, number: int, image: Placed, empty: Bool) -> Box | None:
        """Return the smallest box with all empty pixels that an image may fill."""
        part = image.box.intersection(self.box)
        if part is None:
            return None
        # What the survey gives to the image was read already, and found to be empty.
        missing = empty[self._inner(part)] & (self._owner[self._inner(part)] != number)
        rows, cols = np.flatnonzero(missing.any(axis=1)), np.flatnonzero(missing.any(axis=0))
        if not len(rows):
            return None
        inner = Box(int(rows[0]), int(rows[-1]) + 1, int(cols[0]), int(cols[-1]) + 1)
        return inner.shifted(part.y0, part.x0)

    def window(self) -> Window:
        """Return what was filled."""
        empty = np.isnan(self.flux)
        self.mask[empty] |= np.uint8(MaskBit.NO_DATA)
        return Window(self.flux, self.mask, self.variance)

    def _core_part(self, image: Placed) -> Box | None:
        """Return the part of the canvas in which the image's core may lie."""
        core = image.exposure.core
        if core is None:
            return None
        if image.offset is None:
            return image.box.intersection(self.box)
        return core.shifted(*image.offset).intersection(self.box)

    def _claim(self, image: Placed, part: Box) -> Bool | None:
        """Return which pixels of a part the survey gives to the image; None means all."""
        mine: Bool | None = None
        core, territory = image.exposure.core, image.exposure.territory
        if image.offset is None and core is not None:
            mine = np.empty(part.shape, dtype=np.bool_)
            for strip, rows in _strips(part):
                x, y = image.positions(self.wcs, strip)
                # NaN fails these comparisons, as it should.
                mine[rows] = (x >= core.x0 - 0.5) & (x < core.x1 - 0.5)
                mine[rows] &= (y >= core.y0 - 0.5) & (y < core.y1 - 0.5)
        if self._is_contested and territory is not None:
            if territory.name not in self._held:
                self._held[territory.name] = _held(territory, self.wcs, self.box)
            inside = self._held[territory.name][self._inner(part)]
            mine = inside if mine is None else mine & inside
        return mine

    def _depth_arcsec(self, image: Placed, part: Box) -> npt.NDArray[np.float32]:
        """Return how far the pixels of a part lie within the image's rim."""
        ny, nx = image.exposure.shape
        depth = np.empty(part.shape, dtype=np.float32)
        for strip, rows in _strips(part):
            x, y = image.positions(self.wcs, strip)
            rim_px = np.minimum(np.minimum(x, nx - 1 - x), np.minimum(y, ny - 1 - y))
            depth[rows] = np.where(np.isnan(rim_px), -np.inf, rim_px * image.scale_arcsec)
        return depth

    def _inner(self, part: Box) -> tuple[slice, slice]:
        return part.shifted(-self.box.y0, -self.box.x0).slices

    def _put(self, part: Box, window: Window, mine: Bool | None) -> None:
        """Put a window's pixels where they are the image's own."""
        inner = self._inner(part)
        where = np.ones(part.shape, dtype=np.bool_) if mine is None else mine
        np.copyto(self.flux[inner], window.flux, where=where)
        np.copyto(self.mask[inner], window.mask, where=where)
        if self.variance is not None:
            unknown = np.float32(np.nan)
            known = unknown if window.variance is None else window.variance
            np.copyto(self.variance[inner], known, where=where)
