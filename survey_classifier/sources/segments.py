"""Which pixels are a source: components above a threshold, parted where they are blends.

Owns the finding of segments and the rule by which each belongs to one box. Does not own the
image that is searched (``significance``), nor what is measured in a segment (``photometry``).

A component is a set of touching pixels (also by a corner) above the threshold: a property of the
sky, whatever window is looked through. A component is looked at only where a window holds all of
it, and it is parted alone, cut out of everything else; so its sources are the same to the last bit
for every tile that meets it. Of them a tile keeps those whose peak, a pixel, lies in its core.

A component is whole in a window if it does not touch the window's rim. If one does, the window is
widened to `LIMIT_PX` around the core. What touches the rim even then is larger than that, which
every tile finds alike: such an object (a bright star's halo, a brightest cluster galaxy) is looked
at again at twice the threshold, until its pieces fit.
"""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import sep
from scipy.ndimage import find_objects, label

from survey_classifier.geometry import Box, overlap
from survey_classifier.sources.detection import DetectSettings
from survey_classifier.sources.significance import DetectionImage, grown

__all__ = ["LIMIT_PX", "MARGIN_PX", "Footprint", "Segment", "find_segments"]

Plane = npt.NDArray[np.float32]

MARGIN_PX = 128
"""Around a core in the first window: nearly all objects are smaller."""
LIMIT_PX = 1024
"""Side of the largest component that is looked at as a whole."""
N_SUB_OBJECTS, MANY_SUB_OBJECTS = 1024, 16384
"""Peaks that sep's tree of a blend holds, and when those are too few."""
BRIGHT_BLEND = 1e5
"""Light of a blend, as the sum of its significance, from which on the share that a source needs
falls: else a galaxy of magnitude 21 would be lost in the halo of one of 13."""
BRIGHT_SLOPE = 0.9
"""How the share falls with the blend's light; 1 would ask the same light in every blend, and part
bright galaxies into their arms."""
MIN_AXIS_PX = 0.5
"""Smallest half axis: a segment of few pixels in a row has none."""

_TOUCHING = np.ones((3, 3), dtype=np.int8)
_SEP = threading.Lock()
"""sep's limits are those of the whole process."""
_FINE = 2.0**20


@dataclass(frozen=True, slots=True, eq=False)
class Footprint:
    """A set of pixels within a box."""

    box: Box
    """In pixels of the mosaic."""
    pixels: npt.NDArray[np.bool_]
    """Which of them, shape of the box."""

    def paint(self, canvas: npt.NDArray[Any], at: Box, value: int) -> None:
        """Set the pixels of an array that shows a box of the mosaic."""
        shared = overlap(self.box.shifted(-at.y0, -at.x0), canvas.shape)
        if shared is not None:
            large, small = shared
            canvas[large][self.pixels[small]] = value


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """One source as it was found; positions and lengths in pixels of the mosaic."""

    footprint: Footprint
    peak_x: int
    peak_y: int
    x: float
    """Barycenter on the smoothed image, a multiple of 2**-20: exact in any window's pixels."""
    y: float
    a: float
    """Half axes, as second moments."""
    b: float
    theta: float
    """Angle of the long one, radians from x toward y, -pi/2 to pi/2."""
    peak: float
    """Highest significance."""
    blended: bool
    whole: Footprint | None = field(default=None)
    """The component at the first threshold, of a source that was found at a higher one."""


@dataclass(frozen=True, slots=True, eq=False)
class _Window:
    """A box of the significance image around a core."""

    box: Box
    core: Box
    values: Plane

    @property
    def core_slices(self) -> tuple[slice, slice]:
        return self.core.shifted(-self.box.y0, -self.box.x0).slices


def find_segments(image: DetectionImage, core: Box, settings: DetectSettings) -> list[Segment]:
    """Find the sources whose peak lies in a box.

    Parameters
    ----------
    image
        The detection image.
    core
        The box; neighboring boxes find neighboring sources, each source once.
    settings
        Thresholds.

    Returns
    -------
    list of Segment
        By the place of their component, row by row.
    """
    for margin in (MARGIN_PX, LIMIT_PX):
        box = grown(core, margin)
        window = _Window(box, core, image.see(box).significance)
        components = list(_components(window, settings.threshold_sigma, settings.min_area_px))
        if not any(_touches_rim(component, box) for component in components):
            break
    segments = [
        segment
        for component in components
        for segment in _parted(component, window, settings, settings.threshold_sigma, None)
    ]
    return [
        segment
        for segment in segments
        if core.y0 <= segment.peak_y < core.y1 and core.x0 <= segment.peak_x < core.x1
    ]


def _components(window: _Window, threshold: float, min_area_px: int) -> Iterator[Footprint]:
    """Yield the components that reach into the core."""
    numbers, _ = label(window.values > threshold, structure=_TOUCHING)
    n_pixels = np.bincount(numbers.ravel())
    places = find_objects(numbers)
    for number in np.unique(numbers[window.core_slices]).tolist():
        if number and n_pixels[number] >= min_area_px:
            rows, cols = places[number - 1]
            box = Box(rows.start, rows.stop, cols.start, cols.stop)
            inside = box.shifted(window.box.y0, window.box.x0)
            yield Footprint(inside, numbers[rows, cols] == number)


def _touches_rim(component: Footprint, box: Box) -> bool:
    part = component.box
    return part.y0 == box.y0 or part.y1 == box.y1 or part.x0 == box.x0 or part.x1 == box.x1


def _parted(
    component: Footprint,
    window: _Window,
    settings: DetectSettings,
    threshold: float,
    whole: Footprint | None,
) -> list[Segment]:
    """Return the sources of a component, in the window that holds it."""
    values = _alone(component, window)
    if max(component.box.shape) <= LIMIT_PX and not _touches_rim(component, window.box):
        objects = _extract(values, threshold, settings)
        if objects is not None:
            return _segments(component.box, *objects, whole)
    alone = _Window(component.box, window.core, values)
    inner = component.box.intersection(window.core)
    higher = 2 * threshold
    pieces = [] if inner is None else _components(
        replace(alone, core=inner), higher, settings.min_area_px
    )  # fmt: skip
    first = component if whole is None else whole
    # A piece at the rim of its component is not at the rim of the window.
    return [segment for piece in pieces
            for segment in _parted(piece, window, settings, higher, first)]  # fmt: skip


def _alone(component: Footprint, window: _Window) -> Plane:
    """Return the values of a component, and 0 around it."""
    at = component.box.shifted(-window.box.y0, -window.box.x0).slices
    return np.where(component.pixels, window.values[at], np.float32(0))


def _extract(
    values: Plane, threshold: float, settings: DetectSettings
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int32]] | None:
    """Return the objects of one component and the map of them, None if they are too many."""
    framed = np.pad(values, 1)
    contrast = settings.deblend_contrast
    if contrast < 1:
        light = float(values.sum(dtype=np.float64))
        contrast *= min(1.0, (BRIGHT_BLEND / light) ** BRIGHT_SLOPE)
    with _SEP:
        sep.set_extract_pixstack(framed.size)
        for limit in (N_SUB_OBJECTS, MANY_SUB_OBJECTS):
            sep.set_sub_object_limit(limit)
            try:
                objects, numbers = sep.extract(
                    framed,
                    threshold,
                    minarea=settings.min_area_px,
                    filter_kernel=None,
                    deblend_nthresh=settings.deblend_levels,
                    deblend_cont=contrast,
                    clean=False,
                    segmentation_map=True,
                )
            except Exception as error:
                # sep has no type of its own for this.
                if "sub-objects" not in str(error):
                    raise
            else:
                return objects, numbers[1:-1, 1:-1]
    return None


def _segments(
    box: Box,
    objects: npt.NDArray[Any],
    numbers: npt.NDArray[np.int32],
    whole: Footprint | None,
) -> list[Segment]:
    """Return sep's objects in pixels of the mosaic; those of sep have a frame of 1."""
    dy, dx = box.y0 - 1, box.x0 - 1
    segments = []
    for number, found in enumerate(objects, start=1):
        y0, y1 = int(found["ymin"]) - 1, int(found["ymax"])
        x0, x1 = int(found["xmin"]) - 1, int(found["xmax"])
        own = Box(y0, y1, x0, x1)
        segments.append(
            Segment(
                footprint=Footprint(own.shifted(box.y0, box.x0), numbers[own.slices] == number),
                peak_x=int(found["xcpeak"]) + dx,
                peak_y=int(found["ycpeak"]) + dy,
                x=float(np.round(found["x"] * _FINE) / _FINE) + dx,
                y=float(np.round(found["y"] * _FINE) / _FINE) + dy,
                a=max(float(found["a"]), MIN_AXIS_PX),
                b=max(float(found["b"]), MIN_AXIS_PX),
                theta=float(np.clip(found["theta"], -np.pi / 2, np.pi / 2)),
                peak=float(found["cpeak"]),
                blended=len(objects) > 1,
                whole=whole,
            )
        )
    return segments
