"""Simulated SDSS frames: the fields of one camera column along a scan.

Owns the layout and the HDUs of ``frame-<band>-<run>-<camcol>-<field>.fits.bz2``. Does not own the
pixels (``plate``).

A frame is sky-subtracted, in nanomaggies, and says how it was calibrated and which sky was
subtracted, from which its noise follows. It has neither mask nor gaps; its columns run along
declination, turned by the inclination of the scan.
"""

import bz2
import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
from astropy.io import fits

from survey_classifier.membership.perseus import CENTER_DEG
from survey_classifier.mosaic.pixels import MaskBit
from survey_classifier.synthetic.archive import Archive, Extent
from survey_classifier.synthetic.passbands import SDSS, SDSS_CAMERA, SDSS_SCALE_ARCSEC, Passband
from survey_classifier.synthetic.plane import TangentPlane
from survey_classifier.synthetic.plate import Plate, Shot
from survey_classifier.synthetic.tables import Input

__all__ = ["SDSS_ARCHIVE"]

RUN, CAMCOL, FIRST_FIELD = 7777, 3, 101
ROTATION_DEG = 104.0
"""Position angle of the scan, along which y runs."""
ROWS_PER_COLUMN = 1489 / 2048
SKY_SHAPE = (192, 256)
MOSAIC_SCALE_ARCSEC = 0.3
"""A little finer than the shipped checkpoint needs; the frames are coarser."""
KEPT_BITS = 10
"""Binary digits of a pixel that are kept, as in real frames, for the sake of compression."""


def _frames(extent: Extent, band: Passband) -> list[Plate]:  # noqa: ARG001 - all bands alike
    """Return the frames along the scan that reach across the square of sky."""
    rows = round(extent.tile_px * ROWS_PER_COLUMN)
    step = rows - extent.overlap_px
    turn = np.radians(ROTATION_DEG)
    across = extent.size_px * (abs(np.cos(turn)) + abs(np.sin(turn)))
    count = max(1, int(np.ceil((across - extent.overlap_px) / step)))
    strip = TangentPlane.centered(
        (rows + (count - 1) * step, extent.tile_px), SDSS_SCALE_ARCSEC, *CENTER_DEG, ROTATION_DEG
    )
    middle = (rows - 1) / 2 + np.arange(count, dtype=np.float64) * step
    ra, dec = strip.pixel_to_world(np.full(count, strip.x_px), middle)
    return [
        Plate(
            f"{FIRST_FIELD + number:04d}",
            TangentPlane.centered(
                (rows, extent.tile_px), SDSS_SCALE_ARCSEC, float(ra[number]), float(dec[number]),
                ROTATION_DEG,
            ),
            has_gaps=False,
        )
        for number in range(count)
    ]  # fmt: skip


def _write(folder: Path, shot: Shot, extent: Extent) -> None:  # noqa: ARG001 - whole plates
    """Write one frame."""
    name = f"frame-{shot.band.name}-{RUN:06d}-{CAMCOL}-{shot.plate.name}.fits.bz2"
    file = io.BytesIO()
    _hdus(shot).writeto(file)
    (folder / name).write_bytes(bz2.compress(file.getvalue()))


def _hdus(shot: Shot) -> fits.HDUList:
    """Return the HDUs of a frame; the fourth of a real one, the astrometry, is left out."""
    chip = SDSS_CAMERA[shot.band.name]
    ny, nx = shot.flux.shape
    header = fits.Header(
        [
            ("RUN", RUN),
            ("CAMCOL", CAMCOL),
            ("FRAME", int(shot.plate.name)),
            ("FILTER", shot.band.name),
            ("BUNIT", "nanomaggy"),
            *shot.plate.plane.cards().items(),
        ]
    )
    calibration = np.full(nx, chip.nmgy_per_count, dtype=np.float32)
    sky = np.full(SKY_SHAPE, chip.sky, dtype=np.float32)
    table = np.zeros(
        1,
        dtype=[
            ("ALLSKY", ">f4", SKY_SHAPE),
            ("XINTERP", ">f4", (nx,)),
            ("YINTERP", ">f4", (ny,)),
        ],
    )
    table["ALLSKY"] = sky
    table["XINTERP"] = np.linspace(0, SKY_SHAPE[1] - 1, nx)
    table["YINTERP"] = np.linspace(0, SKY_SHAPE[0] - 1, ny)
    return fits.HDUList(
        [
            fits.PrimaryHDU(_rounded(shot.flux), header),
            fits.ImageHDU(calibration),
            fits.BinTableHDU(table),
        ]
    )


def _rounded(flux: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return pixels with ten binary digits."""
    mantissa, exponent = np.frexp(flux)
    return np.ldexp(np.round(mantissa * 2**KEPT_BITS) / 2**KEPT_BITS, exponent).astype(np.float32)


def _inputs(band: Passband, extent: Extent) -> Input:  # noqa: ARG001 - frames of any size
    """Return the run file's table of a band."""
    return {"reader": "sdss", "path": f"frame-{band.name}-*.fits.bz2"}


SDSS_ARCHIVE = Archive(
    bands=SDSS,
    center_deg=CENTER_DEG,
    extent=Extent(size_px=1600, tile_px=2048, overlap_px=128),
    plates=_frames,
    write=_write,
    inputs=_inputs,
    store="perseus-sdss.zarr",
    carried=MaskBit(0),
    scale_arcsec=MOSAIC_SCALE_ARCSEC,
)
