"""An exposure in memory, for tests of what is made of exposures."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from astropy.wcs import WCS

from survey_classifier.geometry import Box
from survey_classifier.mosaic.exposure import PixelGrid, Window
from survey_classifier.mosaic.pixels import BandInfo, MaskBit


def plane_wcs(scale_arcsec=0.2, crpix=(1.0, 1.0), angle_deg=0.0, crval=(49.95, 41.51)):
    """Return a gnomonic WCS, north up unless it is turned."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = crval, crpix
    cos, sin = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    step = scale_arcsec / 3600
    wcs.wcs.cd = [[-step * cos, step * sin], [step * sin, step * cos]]
    return wcs


@dataclass
class ArrayExposure:
    """An `Exposure` whose pixels are arrays."""

    name: str
    flux: np.ndarray
    wcs: WCS
    band_name: str = "g"
    mask: np.ndarray | None = None
    variance: np.ndarray | None = None
    core: Box | None = None
    territory: object = None
    survey_grid: PixelGrid | None = None
    slot: str = ""
    unit: str = "nJy"
    psf_fwhm_arcsec: float | None = None
    lacks: tuple[str, ...] = ()

    @property
    def path(self):
        return Path(self.name)

    @property
    def files(self):
        return (self.path,)

    @property
    def identity(self):
        return self.name

    @property
    def shape(self):
        return self.flux.shape

    @property
    def band(self):
        return BandInfo(
            self.band_name, self.unit, 31.4, self.psf_fwhm_arcsec, (self.name,),
            self.variance is not None,
        )  # fmt: skip

    def read(self, box):
        flux = self.flux[box.slices].astype(np.float32)
        mask = np.zeros(box.shape, np.uint8) if self.mask is None else self.mask[box.slices].copy()
        mask[np.isnan(flux)] |= np.uint8(MaskBit.NO_DATA)
        window = Window(flux, mask)
        if self.variance is not None:
            window = replace(window, variance=self.variance[box.slices].copy())
        return window
