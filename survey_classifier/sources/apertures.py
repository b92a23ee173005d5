"""The sizes of apertures, and the units of what is measured in them.

Owns which apertures there are, how far from a source pixels matter, and magnitudes. Does not own
the measuring (``photometry``).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from survey_classifier.geometry import Box
from survey_classifier.mosaic.pixels import BandInfo
from survey_classifier.mosaic.psf import matching_kernel
from survey_classifier.sources.segments import LIMIT_PX, Segment
from survey_classifier.sources.significance import FWHM_PER_SIGMA

__all__ = ["MOST_AXES", "OUTER_FWHM", "Apertures", "magnitudes", "reach"]

FloatArray = npt.NDArray[np.float64]

AB_OF_ONE_NJY = 31.4
"""Magnitude of 1 nJy."""
MOST_AXES = 8.0
"""The total aperture is never larger than this, in half axes."""
OUTER_FWHM = 1.5
"""Radius of the larger of the two apertures whose ratio tells a star from a galaxy."""
UNKNOWN_FWHM = 1 / 3
"""Seeing, in diameters of the matched aperture, where no file says it."""


@dataclass(frozen=True)
class Apertures:
    """Sizes that all sources of a run share."""

    diameter_arcsec: float
    """Of the matched apertures."""
    seeing_arcsec: float | None
    """To which all bands are smoothed for them; None: they are not."""

    def radius_px(self, scale_arcsec: float) -> float:
        """Return the radius of the matched apertures."""
        return self.diameter_arcsec / 2 / scale_arcsec

    def kernel(self, band: BandInfo, scale_arcsec: float) -> FloatArray | None:
        """Return one axis of what brings a band to the common seeing, None if it is there."""
        own = band.psf_fwhm_arcsec
        if self.seeing_arcsec is None or own is None or own >= self.seeing_arcsec:
            return None
        added_arcsec = float(np.sqrt(self.seeing_arcsec**2 - own**2)) / FWHM_PER_SIGMA
        return matching_kernel(added_arcsec / scale_arcsec)

    def margin_px(self, bands: Sequence[BandInfo], scale_arcsec: float) -> int:
        """Return how far from a source's center pixels matter, whatever the source."""
        kernels = [self.kernel(band, scale_arcsec) for band in bands]
        widest = max((len(kernel) // 2 for kernel in kernels if kernel is not None), default=0)
        fwhm = max(self.fwhm_arcsec(band) for band in bands)
        radius = max(self.diameter_arcsec / 2, OUTER_FWHM * fwhm) / scale_arcsec
        return int(np.ceil(radius)) + widest + 2

    def fwhm_arcsec(self, band: BandInfo) -> float:
        """Return the seeing of a band, or a guess that is the same for all."""
        return band.psf_fwhm_arcsec or self.diameter_arcsec * UNKNOWN_FWHM


def reach(segment: Segment, margin_px: int) -> Box:
    """Return the pixels that could matter for a source.

    Parameters
    ----------
    segment
        The source.
    margin_px
        From `Apertures.margin_px`.
    """
    half = max(int(np.ceil(min(MOST_AXES * segment.a, LIMIT_PX))) + 2, margin_px)
    x, y = round(segment.x), round(segment.y)
    own = segment.footprint.box
    return Box(
        min(y - half, own.y0), max(y + half + 1, own.y1),
        min(x - half, own.x0), max(x + half + 1, own.x1),
    )  # fmt: skip


def magnitudes(flux: FloatArray, error: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return AB magnitudes and their errors of fluxes in nJy; NaN where a flux is not positive."""
    lit = np.isfinite(flux) & (flux > 0)
    safe = np.where(lit, flux, 1.0)
    mag = np.where(lit, AB_OF_ONE_NJY - 2.5 * np.log10(safe), np.nan)
    return mag, np.where(lit, 2.5 / np.log(10) * error / safe, np.nan)
