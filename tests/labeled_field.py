"""A small field whose members are red and whose other objects are blue, and a recipe for it."""

import csv
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from PIL import Image

from survey_classifier.mosaic.exposure import MosaicInput
from survey_classifier.mosaic.ingest import ingest_mosaics
from survey_classifier.mosaic.mosaic_settings import MosaicSettings

N_SIDE, SPACING_PX, FIRST_PX = 8, 40, 50
N_OBJECT = N_SIDE**2
FLUX = {"member": {"g": 20.0, "i": 90.0}, "nonmember": {"g": 60.0, "i": 50.0}}


def blob(size: int, x: float, y: float, sigma_px: float, peak: float) -> np.ndarray:
    rows, cols = np.mgrid[:size, :size]
    return peak * np.exp(-((cols - x) ** 2 + (rows - y) ** 2) / 2 / sigma_px**2)


def label_of(number: int) -> str:
    return "member" if number % 3 == 0 else "nonmember"


def make_field(folder: Path) -> Path:
    """Fill a folder with a mosaic, a table of its objects and thumbnails of four more."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ["RA---TAN", "DEC--TAN"], [49.9, 41.5]
    wcs.wcs.cdelt, wcs.wcs.crpix = [-0.4 / 3600, 0.4 / 3600], [190.5, 190.5]
    rng = np.random.default_rng(0)
    place = FIRST_PX + SPACING_PX * np.arange(N_SIDE)
    x, y = (a.ravel() + rng.uniform(-3, 3, N_OBJECT) for a in np.meshgrid(place, place))
    ra, dec = wcs.all_pix2world(x, y, 0)
    settings = []
    for band in ("g", "i"):
        image = rng.normal(0, 2, (380, 380))
        for number in range(N_OBJECT):
            image += blob(380, x[number], y[number], 3, FLUX[label_of(number)][band])
        path = folder / f"{band}.fits"
        fits.PrimaryHDU(image.astype(np.float32), wcs.to_header()).writeto(path)
        settings.append(MosaicInput(path=path.name, band=band, unit="display"))
    ingest_mosaics(MosaicSettings(store="field.zarr", inputs=tuple(settings)), folder)
    rows = [(f"o{n:03d}", ra[n], dec[n], label_of(n), "") for n in range(N_OBJECT)]
    write_table(folder / "objects.csv", [*rows, ("odd", 49.9, 41.5, "merger", "")])
    write_thumbnails(folder, rows)
    return folder


def write_table(path: Path, rows: list[tuple[Any, ...]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "ra", "dec", "label", "thumb"])
        writer.writerows(rows)


def write_thumbnails(folder: Path, known: list[tuple[Any, ...]]) -> None:
    """Write thumbnails of four objects off the mosaic, and of one that is on it."""
    rows = [(f"t{n}", 50.2 + n / 100, 41.4, label_of(n), f"t{n}.png") for n in range(4)]
    rows += [("again", known[7][1] + 1 / 3600, known[7][2], label_of(7), "t0.png")]
    rows += [("blind", 50.4, 41.4, "member", "")]
    write_table(folder / "more.csv", rows)
    with zipfile.ZipFile(folder / "thumbs.zip", "w") as archive:
        for number in range(4):
            flux = FLUX[label_of(number)]
            planes = [blob(100, 48, 52, 6, flux[band]) for band in ("i", "g")]
            file = io.BytesIO()
            # Gray and alpha: a PNG of two planes.
            Image.fromarray(np.stack(planes, axis=-1).astype(np.uint8)).save(file, "PNG")
            archive.writestr(f"t{number}.png", file.getvalue())


RECIPE = """
name = "tiny"
description = "blobs, simulated"
out = "{out}"
unit = "display"
[network]
width = 4
[stamps]
stamp_arcsec = 12.8
stamp_px = 32
n_views = 2
[stretch]
g = {{ softening = 5, maximum = 100 }}
i = {{ softening = 5, maximum = 100 }}
[labels]
mapping = {{ member = "member", nonmember = "nonmember" }}
ignore = ["merger"]
[[data]]
table = "objects.csv"
columns = {{ id = "id", ra = "ra", dec = "dec", label = "label" }}
store = "field.zarr"
[[data]]
table = "more.csv"
columns = {{ id = "id", ra = "ra", dec = "dec", label = "label", thumb = "thumb" }}
[data.thumbnails]
path = "thumbs.zip"
planes = ["i", "g"]
scale_arcsec = 0.2
source_px = [48, 52]
[split]
axis = "dec"
n_folds = 2
[fit]
epochs = {epochs}
batch_size = 8
rate = 1e-2
seed = 3
"""
