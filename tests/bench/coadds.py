"""Images to ingest: a plain one, and the patches of an HSC tract with mask and variance."""

from pathlib import Path

import numpy as np
from astropy.io import fits

from survey_classifier.geometry import Box
from survey_classifier.mosaic.exposure import MosaicInput
from survey_classifier.mosaic.mosaic_settings import MosaicSettings
from survey_classifier.mosaic.skymap import Patches, RingsTract
from tests.bench.field import wcs_of

TRACT, FLUXMAG0 = 15549, 63095734448.0194
NOISE = 0.05
SATURATED, DETECTED = 1, 5


def plain_image(folder: Path, side_px: int) -> MosaicSettings:
    """Return the ingest of one image of nothing but flux, written unless it is there."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"plain-{side_px}.fits"
    if not path.exists():
        header = wcs_of(side_px).to_header()
        header["BUNIT"] = "nJy"
        fits.PrimaryHDU(sky(np.random.default_rng(1), (side_px, side_px)), header).writeto(path)
    return MosaicSettings(store="plain.zarr", inputs=(MosaicInput(path=path.name, band="i"),))


def patches(folder: Path, per_side: int, bands: tuple[str, ...] = ("i",)) -> MosaicSettings:
    """Return the ingest of the patches in a corner of a tract, written unless they are there.

    Parameters
    ----------
    folder
        Where the files are.
    per_side
        The square of this many patches of 4000 px, with borders of 100 px.
    bands
        Names of bands, all of the same files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    cut, tract = Patches(), RingsTract(TRACT)
    for row in range(per_side):
        for column in range(per_side):
            path = folder / f"calexp-HSC-I-{TRACT}-{column},{row}.fits"
            if not path.exists():
                write_patch(path, cut, tract, cut.outer(column, row))
    inputs = (MosaicInput(reader="hsc", path="calexp-HSC-I-*.fits", band=band) for band in bands)
    return MosaicSettings(store="patches.zarr", inputs=tuple(inputs))


def write_patch(path: Path, cut: Patches, tract: RingsTract, box: Box) -> None:
    """Write image, mask and variance of one patch: noise, blobs, and the middle of each masked."""
    flux = sky(np.random.default_rng([box.y0, box.x0]), box.shape) * np.float32(NOISE)
    planes = {
        "IMAGE": flux,
        "MASK": ((flux > 5 * NOISE) << DETECTED | (flux > 30 * NOISE) << SATURATED).astype("i4"),
        "VARIANCE": np.float32(NOISE**2) * (1 + np.abs(flux)),
    }
    wcs = cut.grid(tract).wcs.deepcopy()
    wcs.wcs.crpix -= [box.x0, box.y0]
    header = wcs.to_header()
    header.update({"CTYPE1A": "LINEAR", "CTYPE2A": "LINEAR", "CRPIX1A": 1.0, "CRPIX2A": 1.0,
                   "CRVAL1A": float(box.x0), "CRVAL2A": float(box.y0)})  # fmt: skip
    primary = fits.PrimaryHDU()
    primary.header["FLUXMAG0"] = FLUXMAG0
    hdus = fits.HDUList([primary])
    for name, plane in planes.items():
        hdus.append(fits.ImageHDU(plane, header, name=name))
        hdus[-1].header["EXTTYPE"] = name
    hdus["MASK"].header.update({"MP_SAT": SATURATED, "HIERARCH MP_DETECTED": DETECTED})
    hdus.writeto(path)


def sky(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Return noise of one unit with blobs, float32 ``(y, x)``."""
    plane = rng.standard_normal(shape, dtype=np.float32)
    y, x = (rng.integers(8, side - 8, shape[0]) for side in shape)
    for dy in range(-3, 4):
        for dx in range(-3, 4):
            plane[y + dy, x + dx] += np.float32(40 * np.exp(-(dy**2 + dx**2) / 4))
    return plane
