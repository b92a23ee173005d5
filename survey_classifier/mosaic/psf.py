"""Bringing all bands to one seeing.

Owns the matching kernel and what becomes of masks and variances under it. Does not own reading
(``readers``) nor resampling (``regrid``), whose own blur it reckons with.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
from astropy.wcs import WCS
from scipy.ndimage import convolve1d
from scipy.special import ive

from survey_classifier.errors import MosaicError
from survey_classifier.geometry import Box
from survey_classifier.mosaic.exposure import (
    DerivedExposure,
    Exposure,
    Window,
    empty_window,
)
from survey_classifier.mosaic.pixels import UNUSABLE, BandInfo, MaskBit
from survey_classifier.mosaic.pyramid import merged_mask
from survey_classifier.mosaic.regrid import fwhm_on
from survey_classifier.mosaic.resample import FWHM_PER_SIGMA, spread_bits
from survey_classifier.mosaic.sky import pixel_scale_arcsec

__all__ = ["MatchedExposure", "match_psf", "matching_kernel"]

FloatArray = npt.NDArray[np.float64]
Plane = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]

KERNEL_SIGMAS = 5.0
"""Half width of the kernel; what lies beyond is 6e-7 of it."""
MASK_SIGMAS = 2.0
"""How far a warning spreads: a pixel farther away gives less than 14 % of what a near one does."""
STRIP_ROWS = 256
"""Rows that are convolved at once: each takes as much memory as six of the image do."""


def match_psf(exposures: Sequence[Exposure], wcs: WCS) -> list[Exposure]:
    """Bring exposures to the seeing that the worst of them has on a grid.

    Parameters
    ----------
    exposures
        Images of all bands.
    wcs
        The mosaic's grid. Resampling blurs too, and more where an image's pixels are larger, so
        on the grid the bands are equal and on their own grids they need not be.

    Returns
    -------
    list of Exposure
        In the same order; the worst are returned as they are.

    Raises
    ------
    MosaicError
        If the seeing of one is not known, or an image is smaller than the worst.
    """
    seeing = [_known_fwhm(exposure, wcs) for exposure in exposures]
    worst = max(seeing, default=0.0)
    matched = [
        exposure if fwhm == worst else _blurred(exposure, worst**2 - fwhm**2)
        for exposure, fwhm in zip(exposures, seeing, strict=True)
    ]
    for image in matched:
        if isinstance(image, MatchedExposure) and image.blur_px > min(image.shape):
            cause = exposures[seeing.index(worst)]
            raise MosaicError(
                f"match_psf would blur {image.path} by {image.blur_px:.0f} px, more than it is "
                f"wide, as the seeing of {cause.path} is {worst:.3g} arcsec; mend its "
                "psf_fwhm_arcsec, or leave out match_psf"
            )
    return matched


def _known_fwhm(exposure: Exposure, wcs: WCS) -> float:
    """Return the seeing of an exposure on a grid."""
    fwhm = fwhm_on(exposure, wcs)
    if fwhm is None:
        raise MosaicError(
            f"the seeing of band {exposure.band.name} is not known from {exposure.path}, so it "
            "cannot be matched; give psf_fwhm_arcsec in its [[mosaic.inputs]], or leave out "
            "match_psf"
        )
    return fwhm


def _blurred(exposure: Exposure, added: float) -> Exposure:
    """Return an exposure with some squared arcsec more FWHM on its own grid."""
    own = exposure.band.psf_fwhm_arcsec or 0.0
    return MatchedExposure(exposure, float(np.sqrt(own**2 + added)))


def matching_kernel(sigma_px: float) -> FloatArray:
    """Return the Gaussian for pixels, one axis of it, its sum 1 and its length odd.

    That is ``exp(-t) I_n(t)`` with ``t = sigma_px**2`` (Lindeberg 1990): its variance is t
    however narrow it is, which a Gaussian looked up at the pixels' centers does not have.

    Parameters
    ----------
    sigma_px
        Width, positive.
    """
    half = int(np.ceil(KERNEL_SIGMAS * sigma_px)) + 2
    kernel = ive(np.abs(np.arange(-half, half + 1)), sigma_px**2)
    return np.asarray(kernel / kernel.sum(), dtype=np.float64)


@dataclass(frozen=True)
class MatchedExposure(DerivedExposure):
    """An exposure convolved to a worse seeing; see `Exposure`.

    A pixel takes the mean of the usable pixels around it, by the kernel's weights, so values keep
    their unit. Unusable pixels stay so, are NaN and NO_DATA besides, and reach no other. Warnings
    spread by `MASK_SIGMAS` of the kernel, and as SUSPECT so do flaws, which are left out there.

    The variance is that of each pixel, for pixels independent on the original. Matched
    neighbors are not independent, so the sum of an aperture varies more than its variances
    add up to.
    """

    fwhm_arcsec: float
    """Seeing to bring it to, on its own grid: worse than its own."""

    @property
    def band(self) -> BandInfo:
        """See `Exposure.band`; with the new seeing."""
        return replace(self.image.band, psf_fwhm_arcsec=self.fwhm_arcsec)

    @property
    def identity(self) -> str:
        """See `Exposure.identity`; with both seeings, which say how wide the kernel is."""
        own = self.image.band.psf_fwhm_arcsec
        return f"{self.image.identity} matched from {own!r} to {self.fwhm_arcsec!r} arcsec"

    @property
    def slot(self) -> str:
        """See `Exposure.slot`."""
        return self.image.slot

    @cached_property
    def sigma_px(self) -> float:
        """Width of the kernel."""
        own = self.image.band.psf_fwhm_arcsec or 0.0
        added_arcsec = np.sqrt(self.fwhm_arcsec**2 - own**2) / FWHM_PER_SIGMA
        return float(added_arcsec / pixel_scale_arcsec(self.image.wcs))

    @property
    def blur_px(self) -> float:
        """FWHM of the kernel."""
        return self.sigma_px * FWHM_PER_SIGMA

    def read(self, box: Box) -> Window:
        """See `Exposure.read`."""
        kernel = matching_kernel(self.sigma_px)
        margin = len(kernel) // 2
        around = self._with_margin(box, margin)
        pixels = self.image.read(around)
        out = empty_window(box.shape, has_variance=pixels.variance is not None)
        for y0 in range(box.y0, box.y1, STRIP_ROWS):
            strip = Box(y0, min(y0 + STRIP_ROWS, box.y1), box.x0, box.x1)
            wide = self._with_margin(strip, margin)
            part = _cut(pixels, wide.shifted(-around.y0, -around.x0))
            matched = _matched(part, kernel, int(np.ceil(MASK_SIGMAS * self.sigma_px)))
            inner = _cut(matched, strip.shifted(-wide.y0, -wide.x0))
            to = strip.shifted(-box.y0, -box.x0).slices
            out.flux[to], out.mask[to] = inner.flux, inner.mask
            if out.variance is not None and inner.variance is not None:
                out.variance[to] = inner.variance
        return out

    def _with_margin(self, box: Box, margin_px: int) -> Box:
        """Return a box with the pixels around it that the image has."""
        wide = Box(
            box.y0 - margin_px, box.y1 + margin_px, box.x0 - margin_px, box.x1 + margin_px
        ).intersection(Box(0, self.shape[0], 0, self.shape[1]))
        if wide is None:
            raise ValueError(f"{box} lies outside the image of shape {self.shape}")
        return wide


def _cut(pixels: Window, box: Box) -> Window:
    """Return the pixels of a box within a window."""
    variance = None if pixels.variance is None else pixels.variance[box.slices]
    return Window(pixels.flux[box.slices], pixels.mask[box.slices], variance)


def _matched(pixels: Window, kernel: FloatArray, reach_px: int) -> Window:
    """Convolve a window; near its rim it is as if the image ended there."""
    usable = (pixels.mask & np.uint8(UNUSABLE)) == 0
    weight = _convolved(usable.astype(np.float32), kernel)
    flux = _convolved(np.where(usable, pixels.flux, np.float32(0)), kernel)
    flux = np.divide(flux, weight, out=np.full_like(flux, np.nan), where=usable)
    warned = merged_mask(spread_bits(pixels.mask, reach_px), usable, 1)
    mask = np.where(usable, warned, pixels.mask | np.uint8(MaskBit.NO_DATA))
    if pixels.variance is None:
        return Window(flux, mask)
    return Window(flux, mask, _matched_variance(pixels.variance, usable, weight, kernel))


def _matched_variance(variance: Plane, usable: Bool, weight: Plane, kernel: FloatArray) -> Plane:
    """Return the variance of weighted means; pixels of unknown variance count like the others."""
    known = usable & np.isfinite(variance)
    of_known = _convolved(np.where(known, variance, np.float32(0)), kernel**2)
    n_known = _convolved(known.astype(np.float32), kernel**2)
    n_usable = _convolved(usable.astype(np.float32), kernel**2)
    out = np.full_like(variance, np.nan)
    return np.divide(of_known * n_usable, n_known * weight**2, out=out, where=known)


def _convolved(plane: Plane, kernel: FloatArray) -> Plane:
    """Convolve with a kernel along both axes, with zeros beyond the rim."""
    for axis in (0, 1):
        plane = convolve1d(plane, kernel, axis=axis, mode="constant")
    return plane
