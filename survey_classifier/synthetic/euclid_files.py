"""Simulated Euclid images: tiles of the merged survey (MER) and Early Release Observations (ERO).

Owns their layout, names and headers. Does not own the pixels (``plate``).

A MER tile has its own tangent point and is three files a band: image, noise and flags. The first
tile has an older set of files beside it, a tenth brighter, which the newer ones supersede. An ERO
is one image a band, 0.1 arcsec for VIS and 0.3 for NISP, 0 where there is no data.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from astropy.io import fits

from survey_classifier.membership.perseus import CENTER_DEG
from survey_classifier.mosaic.pixels import MaskBit
from survey_classifier.synthetic.archive import Archive, Extent, as_planes
from survey_classifier.synthetic.passbands import ERO, MER, Passband
from survey_classifier.synthetic.plane import TangentPlane
from survey_classifier.synthetic.plate import Plate, Shot
from survey_classifier.synthetic.tables import Input

__all__ = ["ERO_ARCHIVE", "MER_ARCHIVE", "OUTDATED"]

SCALE_ARCSEC = 0.1
FIRST_TILE = 102000001
NEWER, OLDER = "20241018T214045.289017Z", "20230405T101112.131415Z"
"""Time-stamps."""
OUTDATED = 1.1
"""What the superseded images are multiplied with: who reads one notices."""
NOT_OBSERVED = 1e16
"""Of the noise where there is no data."""
FLAGS = {
    MaskBit.NO_DATA: 22,
    MaskBit.SATURATED: 3,
    MaskBit.COSMIC_RAY: 4,
    MaskBit.BRIGHT_STAR: 19,
}
"""Number of the flag for each flaw of a plate."""


def _tiles(extent: Extent, band: Passband) -> list[Plate]:  # noqa: ARG001 - all bands alike
    """Return the tiles that cover the square of sky, each around its own tangent point."""
    step = extent.tile_px - extent.overlap_px
    side = max(1, -(-(extent.size_px - extent.overlap_px) // step))
    square = TangentPlane.centered((extent.size_px,) * 2, SCALE_ARCSEC, *CENTER_DEG)
    place = square.x_px + (np.arange(side) - (side - 1) / 2) * step
    x_px, y_px = (axis.ravel() for axis in np.meshgrid(place, place))
    ra, dec = square.pixel_to_world(x_px, y_px)
    shape = (extent.tile_px, extent.tile_px)
    return [
        Plate(
            str(FIRST_TILE + number),
            TangentPlane.centered(shape, SCALE_ARCSEC, float(ra[number]), float(dec[number])),
        )
        for number in range(side**2)
    ]


def _write_mer(folder: Path, shot: Shot, extent: Extent) -> None:  # noqa: ARG001 - whole plates
    """Write the three files of a tile in one band, and those that they supersede."""
    _write_set(folder, shot, NEWER, 1.0)
    if shot.plate.name == str(FIRST_TILE):
        _write_set(folder, shot, OLDER, OUTDATED)


def _write_set(folder: Path, shot: Shot, time: str, factor: float) -> None:
    """Write image, noise and flags of a tile in one band."""
    empty = (shot.mask & np.uint8(MaskBit.NO_DATA)) != 0
    planes = {
        "BGSUB-MOSAIC-{}": np.where(empty, 0, shot.flux * np.float32(factor)),
        "MOSAIC-{}-RMS": np.where(empty, NOT_OBSERVED, np.sqrt(shot.variance)).astype(np.float32),
        "MOSAIC-{}-FLAG": as_planes(shot.mask, FLAGS),
    }
    band = _mer_name(shot.band)
    for form, data in planes.items():
        stem = f"EUC_MER_{form.format(band)}_TILE{shot.plate.name}"
        token = hashlib.sha256(f"{stem}{time}".encode()).hexdigest()[:6].upper()
        path = folder / f"{stem}-{token}_{time}_00.00.fits"
        _image(data, shot, {"MAGZERO": shot.band.filter.zero_point}).writeto(path)


def _mer_name(band: Passband) -> str:
    """Return how the names of MER files spell a band."""
    return band.name if band.name == "VIS" else f"NIR-{band.name}"


def _image(
    data: npt.NDArray[np.float32] | npt.NDArray[np.int32], shot: Shot, cards: Mapping[str, float]
) -> fits.PrimaryHDU:
    """Return the one HDU of a file."""
    header = fits.Header(
        [("FILTER", _mer_name(shot.band)), *shot.plate.plane.cards().items(), *cards.items()]
    )
    return fits.PrimaryHDU(data, header)


def _mer_inputs(band: Passband, extent: Extent) -> Input:  # noqa: ARG001 - tiles of any size
    """Return the run file's table of a band."""
    return {
        "reader": "euclid-mer",
        "path": f"EUC_MER_BGSUB-MOSAIC-{_mer_name(band)}_TILE{{tile}}-*.fits",
    }


def _fields(extent: Extent, band: Passband) -> list[Plate]:
    """Return the one image of a band; NISP's grid lies askew of VIS's by part of a pixel."""
    ratio = band.filter.scale_arcsec / SCALE_ARCSEC
    side = max(1, int(extent.size_px / ratio))
    plane = TangentPlane.centered((side, side), band.filter.scale_arcsec, *CENTER_DEG)
    if band.name != "VIS":
        plane = TangentPlane(
            plane.shape, plane.scale_arcsec, *CENTER_DEG, plane.x_px + 0.2, plane.y_px - 0.3
        )
    return [Plate("Perseus", plane)]


def _ero_name(band: Passband) -> str:
    """Return the name of an ERO's file."""
    camera = "VIS" if band.name == "VIS" else f"NISP-{band.name}"
    return f"Euclid-{camera}-ERO-Perseus-Flattened.v9-004.fits"


def _write_ero(folder: Path, shot: Shot, extent: Extent) -> None:  # noqa: ARG001 - whole plates
    """Write the image of a band."""
    flux = np.nan_to_num(shot.flux, copy=True, nan=0.0)
    hdu = _image(flux, shot, {"ZP_STACK": shot.band.filter.zero_point})
    hdu.writeto(folder / _ero_name(shot.band))


def _ero_inputs(band: Passband, extent: Extent) -> Input:  # noqa: ARG001 - one image
    """Return the run file's table of a band."""
    return {"reader": "euclid-ero", "path": _ero_name(band)}


MER_ARCHIVE = Archive(
    bands=MER,
    center_deg=CENTER_DEG,
    extent=Extent(size_px=2400, tile_px=1280, overlap_px=80),
    plates=_tiles,
    write=_write_mer,
    inputs=_mer_inputs,
    store="mer-{tile}.zarr",
    carried=MaskBit.NO_DATA | MaskBit.SATURATED | MaskBit.COSMIC_RAY | MaskBit.BRIGHT_STAR,
)
ERO_ARCHIVE = Archive(
    bands=ERO,
    center_deg=CENTER_DEG,
    extent=Extent(size_px=2400, tile_px=2400, overlap_px=0),
    plates=_fields,
    write=_write_ero,
    inputs=_ero_inputs,
    store="perseus-ero.zarr",
    carried=MaskBit.NO_DATA,
)
