"""A mosaic of noise and blobs, as FITS files and as a store, large enough to time."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from survey_classifier.mosaic.exposure import MosaicInput
from survey_classifier.mosaic.ingest import ingest_mosaics
from survey_classifier.mosaic.mosaic_settings import MosaicSettings
from survey_classifier.mosaic.store import Mosaic

BANDS = ("g", "r", "i", "z")


@dataclass(frozen=True)
class Field:
    """Files of one sky."""

    images: dict[str, Path]
    mosaic: Mosaic


def wcs_of(size_px: int) -> WCS:
    """Return a gnomonic grid of HSC's pixel scale."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [49.95, 41.51]
    wcs.wcs.crpix = [size_px / 2, size_px / 2]
    wcs.wcs.cdelt = [-0.168 / 3600, 0.168 / 3600]
    return wcs


def make_field(folder: Path, size_px: int) -> Field:
    """Write the files, unless they are there from before."""
    folder.mkdir(parents=True, exist_ok=True)
    images = {band: folder / f"{band}.fits" for band in BANDS}
    header = wcs_of(size_px).to_header()
    header["BUNIT"] = "nJy"
    for number, (_band, path) in enumerate(images.items()):
        if not path.exists():
            rng = np.random.default_rng(number)
            image = rng.normal(0, 3, (size_px, size_px)).astype(np.float32)
            y, x = rng.integers(8, size_px - 8, (2, size_px))
            for dy in range(-3, 4):
                for dx in range(-3, 4):
                    image[y + dy, x + dx] += 100 * np.exp(-(dy**2 + dx**2) / 4)
            fits.PrimaryHDU(image, header).writeto(path)
    inputs = tuple(MosaicInput(path=path.name, band=band) for band, path in images.items())
    settings = MosaicSettings(store="field.zarr", inputs=inputs)
    return Field(images, *ingest_mosaics(settings, folder))
