"""One simulated exposure: the scene with sky residuals, noise, saturation, bleeds and a hole.

Owns what an instrument makes of light: noise, the saturation level and the mask, and the bands of
the plain field. Does not own the noiseless light (``render``), the surveys' bands (``passbands``)
or files (``field``). Image quality is that of the HSC survey's Wide layer; the noise is white,
where a real coadd's is correlated over some pixels.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import zoom

from survey_classifier.geometry import Box, overlap
from survey_classifier.mosaic.pixels import MaskBit
from survey_classifier.synthetic.profiles import Seeing

__all__ = [
    "BLEED_MAG",
    "FILTERS",
    "MASKED_STAR_MAG",
    "SCALE_ARCSEC",
    "ZERO_POINT",
    "BrightStars",
    "Filter",
    "Hole",
    "add_noise",
    "bright_star_radius_arcsec",
    "mark_disc",
    "observe",
    "star_mask",
]

Float = npt.NDArray[np.float64]
Image = npt.NDArray[np.float32]
Mask = npt.NDArray[np.uint8]

SCALE_ARCSEC = 0.168
ZERO_POINT = 27.0
"""AB magnitude of one count."""
GAIN = 2000.0
"""Photons per count of a coadd of some ten minutes: sets the noise of bright objects."""
SATURATION_MAG = 17.5
"""A star of this magnitude just saturates in its central pixel."""
BLEED_MAG = 1.0
"""A star brighter than saturation by this much bleeds along its rows."""
MASKED_STAR_MAG = 16.0
"""Stars brighter than this have a circle of BRIGHT_STAR around them."""

_RESIDUAL = 0.25
"""Rms of the large-scale sky residual, in units of the noise of a pixel."""
_RESIDUAL_SLOPE = -2.9
_RESIDUAL_STEP_PX = 16
_SMALLEST_WAVENUMBER = 3
"""Waves longer than a third of the field are lost in the sky subtraction."""


@dataclass(frozen=True, slots=True)
class Filter:
    """A band of a camera; HSC's, where nothing else is said."""

    name: str
    seeing_arcsec: float
    noise: float
    """Standard deviation of the sky in a pixel, counts."""
    scale_arcsec: float = SCALE_ARCSEC
    zero_point: float = ZERO_POINT
    """AB magnitude of one count."""
    gain: float = GAIN
    """Photons per count: sets the noise of bright objects."""
    saturation_mag: float = SATURATION_MAG
    """A star of this magnitude just saturates in its central pixel."""

    @property
    def seeing(self) -> Seeing:
        """Point-spread function."""
        return Seeing(self.seeing_arcsec)

    @property
    def saturation(self) -> float:
        """Counts in a pixel at which the detector is full."""
        peak = self.seeing.peak_per_arcsec2 * self.scale_arcsec**2
        return float(10 ** (0.4 * (self.zero_point - self.saturation_mag)) * peak)


FILTERS = (
    Filter("g", 0.70, 0.037),
    Filter("r", 0.53, 0.054),
    Filter("i", 0.64, 0.069),
    Filter("z", 0.62, 0.138),
)
"""Seeing of the Perseus field in the HSC Legacy Archive, noise of HSC-SSP Wide."""


@dataclass(frozen=True, slots=True)
class Hole:
    """A disc without data.

    Raises
    ------
    ValueError
        If the radius is not positive.
    """

    x_px: float
    y_px: float
    radius_px: float

    def __post_init__(self) -> None:
        if not self.radius_px > 0:
            raise ValueError(f"a hole needs a positive radius, got {self.radius_px}")


@dataclass(frozen=True, slots=True)
class BrightStars:
    """Stars that may saturate: positions and observed magnitudes, all of shape ``(n,)``."""

    x_px: Float
    y_px: Float
    mag: Float
    """In the band observed: decides about the bleed."""
    reference_mag: Float
    """In r: decides about the masked circle, the same in all bands."""


def observe(
    light: Image, band: Filter, stars: BrightStars, hole: Hole, rng: np.random.Generator
) -> tuple[Image, Mask]:
    """Turn noiseless light into an exposure.

    Parameters
    ----------
    light
        Counts, shape ``(ny, nx)``; used up.
    band
        Through which filter.
    stars
        Stars that may saturate.
    hole
        Where there is no data.
    rng
        Source of the noise.

    Returns
    -------
    flux, mask
        Counts (NaN in the hole) and `MaskBit` values, shape ``(ny, nx)``.
    """
    add_noise(light, band, rng)
    mask = star_mask(light, band, stars)
    np.copyto(light, band.saturation, where=(mask & np.uint8(MaskBit.SATURATED)) != 0)
    mark_disc(mask, hole.x_px, hole.y_px, hole.radius_px, MaskBit.NO_DATA)
    light[(mask & np.uint8(MaskBit.NO_DATA)) != 0] = np.nan
    return light, mask


def add_noise(light: Image, band: Filter, rng: np.random.Generator) -> None:
    """Add photon noise and what the sky subtraction left, in place.

    Parameters
    ----------
    light
        Noiseless counts, shape ``(ny, nx)``.
    band
        Through which filter.
    rng
        Source of the noise.
    """
    noise = np.sqrt(band.noise**2 + np.maximum(light, 0) / band.gain)
    light += noise * rng.standard_normal(light.shape, dtype=np.float32)
    light += band.noise * _RESIDUAL * _sky_residual(rng, light.shape)


def star_mask(light: Image, band: Filter, stars: BrightStars) -> Mask:
    """Return where the detector is full, and the circles around the brightest stars.

    Parameters
    ----------
    light
        Counts, shape ``(ny, nx)``.
    band
        Through which filter.
    stars
        Stars that may saturate.

    Returns
    -------
    ndarray of uint8
        SATURATED and BRIGHT_STAR of `MaskBit`, shape ``(ny, nx)``.
    """
    mask = np.zeros(light.shape, dtype=np.uint8)
    mask[light >= band.saturation] |= np.uint8(MaskBit.SATURATED)
    for x, y, mag in zip(stars.x_px, stars.y_px, stars.mag, strict=True):
        _bleed(mask, x, y, mag, band.saturation_mag)
    for x, y, mag in zip(stars.x_px, stars.y_px, stars.reference_mag, strict=True):
        if mag < MASKED_STAR_MAG:
            radius_px = bright_star_radius_arcsec(mag) / band.scale_arcsec
            mark_disc(mask, x, y, radius_px, MaskBit.BRIGHT_STAR)
    return mask


def bright_star_radius_arcsec(mag: float) -> float:
    """Return the radius of the masked circle around a star (HSC-SSP; Coupon et al. 2018)."""
    return float(200 * 10 ** (0.25 * (7 - mag)) + 12 * 10 ** (0.05 * (16 - mag)))


def _sky_residual(rng: np.random.Generator, shape: tuple[int, ...]) -> Image:
    """Return a random field of unit rms with the power spectrum of galactic cirrus."""
    coarse = [max(length // _RESIDUAL_STEP_PX, 8) for length in shape]
    waves = np.hypot(
        np.fft.fftfreq(coarse[0])[:, None] * coarse[0], np.fft.rfftfreq(coarse[1]) * coarse[1]
    )
    kept = waves >= _SMALLEST_WAVENUMBER
    amplitude = np.where(kept, np.maximum(waves, 1) ** (_RESIDUAL_SLOPE / 2), 0.0)
    field = np.fft.irfft2(np.fft.rfft2(rng.standard_normal(coarse)) * amplitude, s=coarse)
    factors = [length / count for length, count in zip(shape, coarse, strict=True)]
    return np.asarray(zoom((field / field.std()).astype(np.float32), factors, order=1))


def _bleed(mask: Mask, x_px: float, y_px: float, mag: float, saturation_mag: float) -> None:
    """Mark the rows that the charge of a saturated star spills along."""
    if mag > saturation_mag - BLEED_MAG:
        return
    half = int(6 * 10 ** (0.18 * (saturation_mag - mag)))
    thick = int(np.clip(saturation_mag - 3.5 - mag, 0, 4))
    x, y = round(x_px), round(y_px)
    shared = overlap(Box(y - thick, y + thick + 1, x - half, x + half + 1), mask.shape)
    if shared is not None:
        mask[shared[0]] |= np.uint8(MaskBit.SATURATED)


def mark_disc(mask: Mask, x_px: float, y_px: float, radius_px: float, bit: MaskBit) -> None:
    """Set a bit in the pixels whose centers lie within a circle.

    Parameters
    ----------
    mask
        Shape ``(ny, nx)``; parts of the circle outside it are left out.
    x_px, y_px, radius_px
        The circle.
    bit
        What to set.
    """
    reach = int(radius_px) + 1
    x, y = round(x_px), round(y_px)
    shared = overlap(Box(y - reach, y + reach + 1, x - reach, x + reach + 1), mask.shape)
    if shared is None:
        return
    rows, cols = shared[0]
    dy = np.arange(rows.start, rows.stop)[:, None] - y_px
    dx = np.arange(cols.start, cols.stop) - x_px
    mask[rows, cols][dy**2 + dx**2 <= radius_px**2] |= np.uint8(bit)
