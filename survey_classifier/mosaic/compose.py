"""The pixels of a mosaic's box, out of overlapping images.

Owns which image fills which pixel: each pixel is one image's, never a mean of several. Does not
own how an image is read (``readers``) or resampled (``regrid``).

First a pixel goes to the image that the survey gives it to: the one in whose core it lies (the
inner region of a patch), and in whose territory where territories overlap (a tract). What is
then still without data goes to the image that has data there and whose rim is farthest away; of
equally far ones, to the first by name. So the result does not depend on the order of the images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from astropy.wcs import WCS

from survey_classifier.geometry import Box
from survey_classifier.mosaic.exposure import Exposure, Window
from survey_classifier.mosaic.pixels import MaskBit
from survey_classifier.mosaic.regrid import read_onto
from survey_classifier.mosaic.sky import SkyGrid, pixel_scale_arcsec

__all__ = ["Placed", "compose"]

Bool = npt.NDArray[np.bool_]
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
        """Return where on the image the pixels of a box lie, ``(x, y)`` of the box's shape."""
        y, x = np.mgrid[box.y0 : box.y1, box.x0 : box.x1].astype(np.float64)
        if self.offset is not None:
            return x - self.offset[1], y - self.offset[0]
        return SkyGrid(self.exposure.wcs).world_to_pixel(*SkyGrid(wcs).pixel_to_world(x, y))


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
    canvas = _Canvas(wcs, box, any(image.exposure.band.has_variance for image in here))
    contested = len({_territory(image) for image in here}) > 1
    for image in here:
        canvas.add_own(image, contested)
    canvas.add_rest(here)
    return canvas.window()


def _territory(image: Placed) -> str:
    """Return the name of the territory that an image belongs to, '' if it is none's."""
    territory = image.exposure.territory
    return "" if territory is None else territory.name


class _Canvas:
    """A box that is filled image by image."""

    def __init__(self, wcs: WCS, box: Box, has_variance: bool) -> None:
        self.wcs, self.box = wcs, box
        self.flux = np.full(box.shape, np.nan, dtype=np.float32)
        self.mask = np.zeros(box.shape, dtype=np.uint8)
        self.variance = np.full(box.shape, np.nan, dtype=np.float32) if has_variance else None

    def add_own(self, image: Placed, contested: bool) -> None:
        """Fill the pixels that the survey gives to an image."""
        part = self._core_part(image)
        if part is None:
            return
        mine = self._claim(image, part, contested)
        if mine is None or mine.any():
            self._put(part, image.read(self.wcs, part), mine)

    def add_rest(self, images: Sequence[Placed]) -> None:
        """Fill what is still without data from the image whose rim is farthest away."""
        empty = np.isnan(self.flux)
        if not empty.any():
            return
        rest = _bounding_box(empty, self.box)
        parts = [(image, part) for image in images if (part := image.box.intersection(rest))]
        best = np.full(self.box.shape, -np.inf, dtype=np.float32)
        for image, part in parts:
            inner = self._inner(part)
            window = image.read(self.wcs, part)
            mine = empty[inner] & ~np.isnan(window.flux)
            if len(parts) > 1:
                depth = self._depth_arcsec(image, part)
                mine &= depth > best[inner]
                best[inner][mine] = depth[mine]
            self._put(part, window, mine)
            # Where no image has data, what each of them says of it is kept.
            nothing = np.isnan(self.flux[inner])
            self.mask[inner][nothing] |= window.mask[nothing]

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

    def _claim(self, image: Placed, part: Box, contested: bool) -> Bool | None:
        """Return which pixels of a part the survey gives to the image; None means all."""
        mine: Bool | None = None
        core, territory = image.exposure.core, image.exposure.territory
        if image.offset is None and core is not None:
            x, y = image.positions(self.wcs, part)
            # NaN fails these comparisons, as it should.
            mine = (x >= core.x0 - 0.5) & (x < core.x1 - 0.5)
            mine &= (y >= core.y0 - 0.5) & (y < core.y1 - 0.5)
        if contested and territory is not None:
            y_px, x_px = np.mgrid[part.y0 : part.y1, part.x0 : part.x1]
            inside = territory.contains(*SkyGrid(self.wcs).pixel_to_world(x_px, y_px))
            mine = inside if mine is None else mine & inside
        return mine

    def _depth_arcsec(self, image: Placed, part: Box) -> npt.NDArray[np.float32]:
        """Return how far the pixels of a part lie within the image's rim."""
        x, y = image.positions(self.wcs, part)
        ny, nx = image.exposure.shape
        depth = np.minimum(np.minimum(x, nx - 1 - x), np.minimum(y, ny - 1 - y))
        return np.where(np.isnan(depth), -np.inf, depth * image.scale_arcsec).astype(np.float32)

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


def _bounding_box(empty: Bool, box: Box) -> Box:
    """Return the smallest box that holds all empty pixels, on the mosaic's grid."""
    rows, cols = np.flatnonzero(empty.any(axis=1)), np.flatnonzero(empty.any(axis=0))
    return Box(
        box.y0 + int(rows[0]), box.y0 + int(rows[-1]) + 1,
        box.x0 + int(cols[0]), box.x0 + int(cols[-1]) + 1,
    )  # fmt: skip
