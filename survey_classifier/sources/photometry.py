"""Light of detected sources: total, in matched apertures, and how it is spread.

Owns the measuring and its errors. Does not own the sizes of apertures (``apertures``), finding
(``segments``), the sky (``sky_mesh``) nor what is a star (``pointlike``).

The total aperture is Kron's (1980) ellipse as SExtractor has it: 2.5 Kron radii, at least 3.5
half axes of the source, found on the detection image and the same in every band. Matched
apertures are circles of one diameter on images that are smoothed to one seeing, the worst of all
bands. In both, pixels of other sources and those without data are left out, and the rest stands
for them. A saturated pixel counts as it is: too faint, and flagged.

A source is measured in the window of its tile if that holds all pixels that could matter, and in
one of its own otherwise. Positions are multiples of 2**-20 px, so that an offset between two
windows is exact: what is measured is the same to the last bit in every window.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import sep

from survey_classifier.geometry import Box
from survey_classifier.mosaic.pixels import BandInfo, MaskBit
from survey_classifier.sources.apertures import MOST_AXES, OUTER_FWHM, Apertures
from survey_classifier.sources.detection import DetectionFlag
from survey_classifier.sources.segments import LIMIT_PX, Segment
from survey_classifier.sources.significance import (
    MIN_WEIGHT,
    DetectionImage,
    smoothed,
)
from survey_classifier.sources.sky_mesh import unseen

__all__ = ["measured"]

Plane = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
Columns = dict[str, npt.NDArray[Any]]

KRON_FACTOR, KRON_LEAST = 2.5, 3.5
"""Of the total aperture, in Kron radii and in half axes."""
KRON_SEARCH = 6.0
"""Half axes within which the Kron radius is found."""
INNER_FWHM = 0.5
"""Radius of the smaller of the two apertures whose ratio tells a star from a galaxy."""
MAX_BAD = 0.5
"""Share of the total aperture without data above which a band has no flux."""


def measured(
    image: DetectionImage,
    bands: Sequence[BandInfo],
    box: Box,
    segments: Sequence[Segment],
    threshold: float,
    apertures: Apertures | None,
) -> Columns:
    """Measure sources.

    Parameters
    ----------
    image
        The detection image.
    bands
        In which to measure; the sky of all of them is known.
    box
        A box that holds the reach of each source.
    segments
        At least one; those at a raised threshold must all be of one object.
    threshold
        The first threshold: above it a pixel belongs to some source.
    apertures
        For photometry; None: shapes only.

    Returns
    -------
    dict of str to ndarray
        Shapes ``(n,)``; lengths in px, fluxes in the bands' units, NaN where not known.
    """
    view = _View(image, box, segments, threshold)
    columns = view.shapes()
    flags = columns["detection_flags"]
    n_bands = np.zeros(len(segments), dtype=np.int16)
    for band in bands:
        pixels = _BandPixels(view, band)
        bad = view.share(pixels.unseen)
        flags[bad > 0] |= DetectionFlag.EDGE
        flags[view.touches(pixels.mask, MaskBit.SATURATED)] |= DetectionFlag.SATURATED
        here = (pixels.mask[view.peak] & np.uint8(MaskBit.BRIGHT_STAR)) != 0
        flags[here] |= DetectionFlag.BRIGHT_STAR
        n_bands += bad < MAX_BAD
        if apertures is not None:
            of_band = _photometry(view, pixels, apertures)
            for name, values in of_band.items():
                columns[f"{name}_{band.name}"] = np.where(bad < MAX_BAD, values, np.nan)
    return columns | {"n_bands": n_bands}


class _View:
    """A window with the sources to be measured in it."""

    def __init__(
        self, image: DetectionImage, box: Box, segments: Sequence[Segment], threshold: float
    ) -> None:
        self.image, self.box, self.segments = image, box, segments
        seen = image.see(box)
        self.light, self.dark = seen.light, seen.dark
        self.number = np.arange(1, len(segments) + 1, dtype=np.int32)
        others = seen.significance > threshold
        whole = segments[0].whole
        if whole is not None:
            # Between its sources, an object too large for a window is nobody else's light.
            whole.paint(others, box, value=False)
        self.owners = np.where(others, np.int32(len(segments) + 1), np.int32(0))
        for number, segment in zip(self.number.tolist(), segments, strict=True):
            segment.footprint.paint(self.owners, box, number)
        self.x = self._of("x") - box.x0
        self.y = self._of("y") - box.y0
        self.a, self.b, self.theta = self._of("a"), self._of("b"), self._of("theta")
        peak_y, peak_x = self._of("peak_y").astype(np.intp), self._of("peak_x").astype(np.intp)
        self.peak = peak_y - box.y0, peak_x - box.x0

    def _of(self, name: str) -> FloatArray:
        return np.array([getattr(segment, name) for segment in self.segments], dtype=np.float64)

    @cached_property
    def axes(self) -> FloatArray:
        """Size of the total apertures in half axes."""
        search = np.minimum(KRON_SEARCH, LIMIT_PX / self.a)
        kron, _ = sep.kron_radius(
            self.light, self.x, self.y, self.a, self.b, self.theta, search,
            mask=self.dark, seg_id=self.number, segmap=self.owners,
        )  # fmt: skip
        kron = np.where(np.isfinite(kron), kron, 0.0)
        return np.minimum(np.maximum(KRON_FACTOR * kron, KRON_LEAST), self.most_axes)

    @cached_property
    def most_axes(self) -> FloatArray:
        """Largest size of the total apertures in half axes."""
        return np.minimum(MOST_AXES, LIMIT_PX / self.a)

    @cached_property
    def area_px(self) -> FloatArray:
        """Area of the total apertures."""
        return np.pi * self.a * self.b * self.axes**2

    def total(
        self, plane: Plane, variance: Plane | None, mask: Bool
    ) -> tuple[FloatArray, FloatArray]:
        """Return sums and their errors in the total apertures, without other sources' pixels."""
        total, error, _ = sep.sum_ellipse(
            plane, self.x, self.y, self.a, self.b, self.theta, self.axes,
            var=variance, mask=mask, seg_id=self.number, segmap=self.owners,
        )  # fmt: skip
        return total, error

    def circle(
        self, plane: Plane, variance: Plane | None, mask: Bool, radius_px: float
    ) -> tuple[FloatArray, FloatArray]:
        """Return sums and their errors in circles, without other sources' pixels."""
        total, error, _ = sep.sum_circle(
            plane, self.x, self.y, radius_px,
            var=variance, mask=mask, seg_id=self.number, segmap=self.owners,
        )  # fmt: skip
        return total, error

    def share(self, pixels: Bool) -> FloatArray:
        """Return which share of the total aperture some pixels are."""
        if not pixels.any():
            return np.zeros(len(self.segments))
        total, _, _ = sep.sum_ellipse(
            pixels.astype(np.float32), self.x, self.y, self.a, self.b, self.theta, self.axes
        )
        return np.asarray(total / self.area_px)

    def touches(self, mask: npt.NDArray[np.uint8], bit: MaskBit) -> Bool:
        """Return whether any pixel of each source has a bit."""
        owners = self.owners[(mask & np.uint8(bit)) != 0]
        found = np.bincount(owners, minlength=len(self.segments) + 2)
        return np.asarray(found[1 : len(self.segments) + 1] > 0)

    def shapes(self) -> Columns:
        """Return what the detection image says of the sources."""
        light, _ = self.total(self.light, None, self.dark)
        rmax = np.minimum(KRON_SEARCH, self.most_axes) * self.a
        half_light, _ = sep.flux_radius(
            self.light, self.x, self.y, rmax, 0.5, normflux=light,
            mask=self.dark, seg_id=self.number, segmap=self.owners,
        )  # fmt: skip
        flags = np.zeros(len(self.segments), dtype=np.int32)
        for row, segment in enumerate(self.segments):
            flags[row] |= DetectionFlag.BLENDED if segment.blended else 0
            flags[row] |= DetectionFlag.RAISED if segment.whole is not None else 0
        flags[self.axes >= self.most_axes] |= DetectionFlag.CUT
        return {
            "x": self._of("x"),
            "y": self._of("y"),
            "detection_sigma": self._of("peak"),
            "half_light_px": np.where(light > 0, half_light, np.nan),
            "ellipticity": 1 - self.b / self.a,
            "theta": self.theta,
            "total_radius_px": self.axes * np.sqrt(self.a * self.b),
            "detection_flags": flags,
        }


class _BandPixels:
    """One band in a window, free of its sky."""

    def __init__(self, view: _View, band: BandInfo) -> None:
        image, self.band = view.image, band
        block = image.mosaic.read(view.box, [band.name])
        level, self.rms = image.mesh.sky(view.box, band.name)
        self.mask = block.mask[0]
        self.unseen = unseen(self.mask)
        self.flux = np.where(self.unseen, np.float32(0), block.flux[0] - level)
        self.variance = self.rms**2
        if band.has_variance:
            known = image.mosaic.read_variance(view.box, band.name)
            # A pixel of unknown variance is one of the sky.
            self.variance = np.where(np.isfinite(known), known, self.variance)
        self.excess = image.mesh.excess[band.name]

    def error(self, of_pixels: FloatArray, area_px: FloatArray, view: _View) -> FloatArray:
        """Return the error of a sum: that of its pixels, and that by which the sky exceeds it."""
        sky = self.rms[view.peak].astype(np.float64) ** 2
        return np.sqrt(of_pixels**2 + (self.excess**2 - 1) * sky * area_px)


def _photometry(view: _View, pixels: _BandPixels, apertures: Apertures) -> Columns:
    """Return fluxes and concentrations of one band."""
    flux, of_pixels = view.total(pixels.flux, pixels.variance, pixels.unseen)
    error = pixels.error(of_pixels, view.area_px, view)
    in_aperture, aperture_error = _matched(view, pixels, apertures)
    concentration, concentration_error, signal_to_noise = _concentration(view, pixels, apertures)
    return {
        "flux": flux,
        "fluxerr": error,
        "flux_aper": in_aperture,
        "fluxerr_aper": aperture_error,
        "concentration": concentration,
        "concentrationerr": concentration_error,
        "snr": signal_to_noise,
    }


def _matched(
    view: _View, pixels: _BandPixels, apertures: Apertures
) -> tuple[FloatArray, FloatArray]:
    """Return fluxes and errors in the matched apertures."""
    scale = view.image.mosaic.scale_arcsec
    radius = apertures.radius_px(scale)
    kernel = apertures.kernel(pixels.band, scale)
    plane, shrunk = pixels.flux, 1.0
    if kernel is not None:
        plane, shrunk = _at_seeing(pixels, kernel), _variance_left(kernel, radius)
    flux, _ = view.circle(plane, None, pixels.unseen, radius)
    _, of_pixels = view.circle(pixels.flux, pixels.variance, pixels.unseen, radius)
    area = np.full(len(flux), np.pi * radius**2)
    return flux, pixels.error(of_pixels, area, view) * np.sqrt(shrunk)


def _at_seeing(pixels: _BandPixels, kernel: FloatArray) -> Plane:
    """Return a band at the common seeing: each pixel the mean of those with data around it."""
    lost = smoothed(pixels.unseen.astype(np.float32), kernel)
    weight = np.maximum(1 - lost, np.float32(1 - MIN_WEIGHT))
    return np.asarray(smoothed(pixels.flux, kernel) / weight, dtype=np.float32)


def _variance_left(kernel: FloatArray, radius_px: float) -> float:
    """Return by how much smoothing lowers the variance of an aperture, for independent pixels."""
    half = int(np.ceil(radius_px)) + 1
    side = 2 * (half + len(kernel) // 2) + 1
    middle = side // 2
    distance = np.hypot(*np.indices((side, side), dtype=np.float64) - middle)
    weight = np.clip(radius_px + 0.5 - distance, 0, 1).astype(np.float32)
    return float((smoothed(weight, kernel) ** 2).sum() / (weight**2).sum())


def _concentration(
    view: _View, pixels: _BandPixels, apertures: Apertures
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the share of a source's light within a core, its error, and the light's S/N."""
    fwhm_px = apertures.fwhm_arcsec(pixels.band) / view.image.mosaic.scale_arcsec
    inner, inner_error = view.circle(
        pixels.flux, pixels.variance, pixels.unseen, INNER_FWHM * fwhm_px
    )
    outer, outer_error = view.circle(
        pixels.flux, pixels.variance, pixels.unseen, OUTER_FWHM * fwhm_px
    )
    ring = np.maximum(outer_error**2 - inner_error**2, 0)
    usable = outer > 0
    share = np.divide(inner, outer, out=np.full(len(outer), np.nan), where=usable)
    spread = np.sqrt((1 - share) ** 2 * inner_error**2 + share**2 * ring)
    error = np.divide(spread, outer, out=np.full(len(outer), np.nan), where=usable)
    return share, error, outer / outer_error
