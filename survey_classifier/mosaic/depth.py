"""How faint a source can be seen in a mosaic.

Owns the aperture, the noise of sums of pixels and the magnitude that follows. Does not own the
noise of a pixel, which the store keeps (``quantize``).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from survey_classifier.geometry import Box
from survey_classifier.mosaic.pixels import BandInfo, PixelSource
from survey_classifier.mosaic.quantize import MAD_TO_SIGMA
from survey_classifier.mosaic.readers.calibration import NJY_ZERO_POINT

__all__ = ["SUM_LEVEL", "Depth", "point_source_depth", "sum_noise"]

DETECTION_SIGMA = 5.0
"""How many times its noise the flux of the faintest source is."""
APERTURE_FWHM = 2.0
"""Diameter of the aperture of a point source, in FWHM of the seeing."""
GAUSSIAN_SHARE = 1.0 - 2.0 ** -(APERTURE_FWHM**2)
"""What that aperture holds of a Gaussian's light: ``1 - exp(-4 ln 2 (r / FWHM)**2)``, 15/16."""
DEFAULT_APERTURE_ARCSEC = 2.0
"""Diameter of the aperture where the seeing is not known."""
SUM_LEVEL = 2
"""Pyramid level whose noise shows the pixels' correlation: sums of 4 x 4, as wide as the seeing.
Wider ones hold more of faint galaxies than of noise."""
LAG_PX = 2
"""Distance of the pixels that are compared on it: correlated noise hardly reaches that far."""
DARK_SHARE = 0.25
"""Of the pairs, those that count: the faintest, which hold the least of galaxies."""
MIN_PAIRS = 250
"""With fewer of them noise is known to worse than 8 %, and is not stated."""


@dataclass(frozen=True, slots=True)
class Depth:
    """How faint a point source can be seen in a band.

    The magnitude is that of all its light when the part within the aperture is five times the
    aperture's noise. Without seeing the aperture is 2 arcsec wide and holds all of the light.
    """

    aperture_arcsec: float
    """Diameter of the aperture, twice the FWHM of the seeing."""
    magnitude: float
    """AB magnitude; NaN for ``display`` bands and where the noise is not known."""


def point_source_depth(
    band: BandInfo, noise: float, scale_arcsec: float, correlation: float = 1.0
) -> Depth:
    """Return the 5-sigma depth of a band for point sources.

    Parameters
    ----------
    band
        The band: its seeing and unit.
    noise
        Noise of a pixel in nJy.
    scale_arcsec
        Pixel scale.
    correlation
        What correlation of the pixels multiplies the noise of a sum with; NaN counts as 1.
    """
    fwhm = band.psf_fwhm_arcsec
    aperture = DEFAULT_APERTURE_ARCSEC if fwhm is None else APERTURE_FWHM * fwhm
    share = 1.0 if fwhm is None else GAUSSIAN_SHARE
    n_pixels = np.pi * (aperture / 2.0) ** 2 / scale_arcsec**2
    in_aperture = noise * np.sqrt(n_pixels) * (correlation if np.isfinite(correlation) else 1.0)
    if band.unit != "nJy" or not in_aperture > 0:
        return Depth(aperture, np.nan)
    faintest = DETECTION_SIGMA * in_aperture / share
    return Depth(aperture, float(NJY_ZERO_POINT - 2.5 * np.log10(faintest)))


def sum_noise(mosaic: PixelSource, box: Box, band: str) -> float:
    """Return the noise of a sum of 4 x 4 pixels in a part of a mosaic.

    Parameters
    ----------
    mosaic
        The mosaic.
    box
        In pixels of level 0; what it begins with are whole squares of 4 x 4.
    band
        Name of the band.

    Returns
    -------
    float
        In the band's unit; NaN where there is too little sky.

    Raises
    ------
    MosaicError
        If the pixels cannot be read.
    """
    step = 2**SUM_LEVEL
    coarse = Box(box.y0 // step, -(-box.y1 // step), box.x0 // step, -(-box.x1 // step))
    return _sky_noise(mosaic.read(coarse, [band], SUM_LEVEL).flux[0]) * step**2


def _sky_noise(flux: npt.NDArray[np.float32]) -> float:
    """Return the noise of the sky between the sources of an image, NaN if there is too little.

    From differences of pixels. Sum and difference of two are independent where there is only
    noise, so taking the pairs of the faintest sums leaves out sources and biases nothing.
    """
    across, along = (flux[:, :-LAG_PX], flux[:, LAG_PX:]), (flux[:-LAG_PX], flux[LAG_PX:])
    first, second = (
        np.concatenate([a.ravel(), b.ravel()]) for a, b in zip(across, along, strict=True)
    )
    known = np.isfinite(first) & np.isfinite(second)
    total, difference = (first + second)[known], (first - second)[known]
    if DARK_SHARE * len(total) < MIN_PAIRS:
        return float("nan")
    dark = total <= np.quantile(total, DARK_SHARE)
    return float(MAD_TO_SIGMA * np.median(np.abs(difference[dark])) / np.sqrt(2.0))
