"""Simulated HSC coadds: the patches of two tracts, around the border between them.

Owns the layout and the headers of ``calexp-HSC-<band>-<tract>-<x>,<y>.fits``. Does not own the
sky map (``mosaic.skymap``) nor the pixels (``plate``).

As in the real survey the patches of a tract share borders, where they are identical; two tracts
show the same sky on different grids, with their own noise. Of each band, one file is
tile-compressed (without loss), and one has its mask planes in another order.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from astropy.io import fits

from survey_classifier.geometry import Box, nearest_pixel
from survey_classifier.membership.perseus import CENTER_DEG
from survey_classifier.mosaic.pixels import MaskBit
from survey_classifier.mosaic.skymap import Patches, RingsTract
from survey_classifier.synthetic.archive import Archive, Extent, as_planes
from survey_classifier.synthetic.exposure import SCALE_ARCSEC
from survey_classifier.synthetic.passbands import HSC, Passband
from survey_classifier.synthetic.plane import TangentPlane
from survey_classifier.synthetic.plate import Plate, Shot
from survey_classifier.synthetic.tables import Input

__all__ = ["HSC_ARCHIVE", "TRACTS"]

Index = tuple[int, int]

TRACTS = (15548, 15549)
FLUXMAG0 = 63095734448.0194
"""Counts of magnitude 0 at zero point 27."""
DETECTION_SNR = 5.0

PLANES = (
    "BAD", "SAT", "INTRP", "CR", "EDGE", "DETECTED", "DETECTED_NEGATIVE", "SUSPECT", "NO_DATA",
    "BRIGHT_OBJECT", "CLIPPED", "REJECTED",
)  # fmt: skip
"""Mask planes in the order in which most files number them."""
NAMES = {
    MaskBit.NO_DATA: "NO_DATA",
    MaskBit.SATURATED: "SAT",
    MaskBit.COSMIC_RAY: "CR",
    MaskBit.BRIGHT_STAR: "BRIGHT_OBJECT",
}
"""The plane of each flaw of a plate."""


def _plates(extent: Extent, band: Passband) -> list[Plate]:  # noqa: ARG001 - all bands alike
    """Return, for each tract, what its patches cover."""
    return [_plate(tract, extent) for tract in TRACTS]


def _plate(tract: int, extent: Extent) -> Plate:
    """Return the bounding box of a tract's patches."""
    first, last = _patches(tract, extent)
    low, high = _cut(extent).outer(*first), _cut(extent).outer(*last)
    return Plate(
        str(tract), _tract_plane(tract, extent).window(Box(low.y0, high.y1, low.x0, high.x1))
    )


def _cut(extent: Extent) -> Patches:
    """Return how the tracts are cut."""
    return Patches(extent.tile_px, extent.overlap_px)


def _tract_plane(tract: int, extent: Extent) -> TangentPlane:
    """Return the grid of a whole tract."""
    cut = _cut(extent)
    side, center = cut.tract_px, float(cut.center_px)
    return TangentPlane((side, side), SCALE_ARCSEC, *RingsTract(tract).center, center, center)


def _center() -> tuple[float, float]:
    """Return where the border between the tracts crosses the cluster's declination."""
    west, east = (RingsTract(tract).center[0] for tract in TRACTS)
    return (west + east) / 2, CENTER_DEG[1]


def _patches(tract: int, extent: Extent) -> tuple[Index, Index]:
    """Return the first and the last patch, ``(column, row)``, that meet the square of sky."""
    square = TangentPlane.centered((extent.size_px,) * 2, SCALE_ARCSEC, *_center())
    edge = np.linspace(-0.5, extent.size_px - 0.5, 9)
    x, y = (axis.ravel() for axis in np.meshgrid(edge, edge))
    x_px, y_px = _tract_plane(tract, extent).world_to_pixel(*square.pixel_to_world(x, y))
    # A large square sticks out of either tract, but not out of both.
    last = _cut(extent).per_side - 1
    columns, rows = (
        np.clip(nearest_pixel(axis) // extent.tile_px, 0, last) for axis in (x_px, y_px)
    )
    return (int(columns.min()), int(rows.min())), (int(columns.max()), int(rows.max()))


def _write(folder: Path, shot: Shot, extent: Extent) -> None:
    """Write the patches of a tract in one band."""
    tract = int(shot.plate.name)
    (column0, row0), (column1, row1) = _patches(tract, extent)
    cut, plane = _cut(extent), _tract_plane(tract, extent)
    origin = cut.outer(column0, row0)
    letter = shot.band.name.upper()
    for row in range(row0, row1 + 1):
        for column in range(column0, column1 + 1):
            box = cut.outer(column, row)
            name = f"calexp-HSC-{letter}-{tract}-{column},{row}.fits"
            first_of_all = tract == TRACTS[0] and (column, row) == (column0, row0)
            last_of_all = tract == TRACTS[-1] and (column, row) == (column1, row1)
            hdus = _hdus(
                shot, box.shifted(-origin.y0, -origin.x0), box, plane.window(box),
                planes=PLANES[::-1] if last_of_all else PLANES, compressed=first_of_all,
            )  # fmt: skip
            hdus.writeto(folder / name)


def _hdus(
    shot: Shot, on_plate: Box, box: Box, plane: TangentPlane, *, planes: tuple[str, ...],
    compressed: bool,
) -> fits.HDUList:  # fmt: skip
    """Return the HDUs of one patch.

    Parameters
    ----------
    shot
        What it is cut from.
    on_plate, box
        The patch, in pixels of the plate and of the tract.
    plane
        The grid of the patch.
    planes
        Mask planes in the order of their numbers.
    compressed
        Whether the images are tile-compressed.
    """
    flux, mask, variance = shot.cut(on_plate)
    detected = flux > DETECTION_SNR * np.sqrt(variance)
    images: list[tuple[str, npt.NDArray[np.float32] | npt.NDArray[np.int32]]] = [
        ("IMAGE", flux),
        ("MASK", _own_planes(mask, detected, planes)),
        ("VARIANCE", variance),
    ]
    primary = fits.PrimaryHDU()
    primary.header.update(
        {"AR_HDU": 5, "FLUXMAG0": FLUXMAG0, "FILTER": f"HSC-{shot.band.name.upper()}"}
    )
    hdus = fits.HDUList([primary])
    for name, data in images:
        header = _header(name, plane, box)
        if name == "MASK":
            for number, plane_name in enumerate(planes):
                keyword = f"MP_{plane_name}"
                header[keyword if len(keyword) <= 8 else f"HIERARCH {keyword}"] = number
        hdus.append(_compressed(data, header) if compressed else fits.ImageHDU(data, header))
    hdus.append(_archive_index())
    return hdus


def _own_planes(
    mask: npt.NDArray[np.uint8], detected: npt.NDArray[np.bool_], planes: tuple[str, ...]
) -> npt.NDArray[np.int32]:
    """Return the mask plane of a file; what is saturated or hit was interpolated, too."""
    number: Mapping[str, int] = {name: count for count, name in enumerate(planes)}
    values = as_planes(mask, {bit: number[name] for bit, name in NAMES.items()})
    mended = (mask & np.uint8(MaskBit.SATURATED | MaskBit.COSMIC_RAY)) != 0
    values[mended] |= np.int32(1 << number["INTRP"])
    values[detected] |= np.int32(1 << number["DETECTED"])
    return values


def _header(exttype: str, plane: TangentPlane, box: Box) -> fits.Header:
    """Return the header of an image, with the patch's place in its tract as WCS 'A'."""
    return fits.Header(
        [
            ("EXTTYPE", exttype),
            ("EXTNAME", exttype),
            *plane.cards().items(),
            ("LTV1", -box.x0),
            ("LTV2", -box.y0),
            ("CTYPE1A", "LINEAR"),
            ("CTYPE2A", "LINEAR"),
            ("CRPIX1A", 1.0),
            ("CRPIX2A", 1.0),
            ("CRVAL1A", float(box.x0)),
            ("CRVAL2A", float(box.y0)),
            ("CUNIT1A", "PIXEL"),
            ("CUNIT2A", "PIXEL"),
        ]
    )


def _compressed(
    data: npt.NDArray[np.float32] | npt.NDArray[np.int32], header: fits.Header
) -> fits.CompImageHDU:
    """Return a tile-compressed image that keeps every bit."""
    return fits.CompImageHDU(data, header, compression_type="GZIP_2", quantize_level=0)


def _archive_index() -> fits.BinTableHDU:
    """Return the table that in real files lists the model of the PSF and the like: empty here."""
    columns = [
        fits.Column(name, form)
        for name, form in (
            ("id", "J"), ("cat.archive", "J"), ("cat.persistable", "J"), ("row0", "J"),
            ("nrows", "J"), ("name", "64A"), ("module", "64A"),
        )
    ]  # fmt: skip
    table = fits.BinTableHDU.from_columns(columns, nrows=0)
    table.header["EXTTYPE"] = "ARCHIVE_INDEX"
    return table


def _inputs(band: Passband, extent: Extent) -> Input:
    """Return the run file's table of a band."""
    return {
        "reader": "hsc",
        "path": f"calexp-HSC-{band.name.upper()}-*.fits",
        "patch_inner_px": extent.tile_px,
        "patch_border_px": extent.overlap_px,
    }


HSC_ARCHIVE = Archive(
    bands=HSC,
    center_deg=_center(),
    extent=Extent(size_px=1600, tile_px=1000, overlap_px=25),
    plates=_plates,
    write=_write,
    inputs=_inputs,
    store="perseus-hsc.zarr",
    carried=MaskBit.NO_DATA | MaskBit.SATURATED | MaskBit.COSMIC_RAY | MaskBit.BRIGHT_STAR,
)
