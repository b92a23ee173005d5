"""From the bytes of an image file to planes of pixels: PNG, JPEG and FITS.

Owns what is read of a file, and how it is checked against what is said of it (``frame``). Does not
own where files lie (``archive``) nor the stamps (``cut``). A file's size in pixels is known before
its pixels are.
"""

import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.io import fits
from PIL import Image

from survey_classifier.errors import SourcesError
from survey_classifier.images.frame import ImageFrame
from survey_classifier.mosaic.exposure import MosaicInput
from survey_classifier.mosaic.readers.calibration import (
    flux_zero_point,
    njy_per_count,
    zero_point_of,
)
from survey_classifier.mosaic.readers.fits_file import find_image, image_shape, opened_bytes
from survey_classifier.mosaic.readers.header_wcs import header_scale_arcsec

__all__ = ["MAX_SIDE_PX", "Planes", "decode"]

FORMATS = ("PNG", "JPEG")
MODES = ("L", "LA", "RGB", "RGBA", "I", "I;16", "F")
"""Pillow's modes whose planes are light, and perhaps opacity."""
MAX_SIDE_PX = 4096
SAME_SCALE = 0.01
"""Relative difference of two pixel scales that count as one."""


@dataclass(frozen=True, slots=True)
class Planes:
    """The pixels of one image."""

    flux: npt.NDArray[np.float32]
    """``(band, y, x)`` in the frame's unit, first row at the bottom; NaN where unknown."""
    scale_arcsec: float
    source_px: tuple[float, float]
    """The source's x from the left and y from the bottom, first pixel 0."""


def decode(name: str, content: bytes, frame: ImageFrame) -> Planes:
    """Return the planes of an image.

    Parameters
    ----------
    name
        The file's name, for messages.
    content
        Its bytes.
    frame
        What is known of it.

    Raises
    ------
    SourcesError
        If it is no image that can be read, too large, has other planes than the frame or other
        units, or nothing says its scale.
    MosaicError
        If a FITS file is damaged, or lacks an HDU or a zero point.
    """
    is_fits = content.startswith(b"SIMPLE  =")
    flux, scale_arcsec = (_of_fits if is_fits else _of_picture)(name, content, frame)
    if scale_arcsec is None:
        raise SourcesError(f"nothing says the pixel scale of the image {name}; give scale_arcsec")
    ny, nx = flux.shape[1:]
    x, y = frame.source_px or ((nx - 1) / 2, (ny - 1) / 2)
    if not is_fits:
        y = ny - 1 - y
    return Planes(flux, scale_arcsec, (x, y))


def _of_picture(
    name: str, content: bytes, frame: ImageFrame
) -> tuple[npt.NDArray[np.float32], float | None]:
    """Return the planes of a PNG or JPEG and its scale; a pixel that is all clear is unknown."""
    values = _pixels(name, content)
    if frame.unit != "display":
        raise SourcesError(
            f"the image {name} holds display values, {frame.unit} is needed; give FITS files, or"
            " choose a checkpoint for display images"
        )
    n_plane, n_band = values.shape[2], len(frame.bands)
    has_opacity = n_plane == n_band + 1 and n_plane in (2, 4)
    if n_plane != n_band and not has_opacity:
        raise _other_planes(name, n_plane, frame)
    flux = np.ascontiguousarray(values[::-1, :, :n_band].transpose(2, 0, 1))
    if has_opacity:
        flux[:, values[::-1, :, -1] == 0] = np.nan
    return flux, frame.scale_arcsec


def _pixels(name: str, content: bytes) -> npt.NDArray[np.float32]:
    """Return the pixels of a PNG or JPEG as ``(y, x, plane)``, first row at the top."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what matters of a damaged file is an error below
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                mode, (nx, ny) = image.mode, image.size
                fits_in = max(nx, ny) <= MAX_SIDE_PX and mode in MODES
                pixels = np.asarray(image, dtype=np.float32) if fits_in else np.empty((0, 0))
    except Exception as error:  # damage makes decoders raise errors of any type
        raise SourcesError(
            f"the image {name} is no readable PNG, JPEG or FITS ({error}); get it again"
        ) from error
    _check_side(name, (ny, nx))
    if mode not in MODES:
        raise SourcesError(
            f"the image {name} has colors of the kind {mode}; convert it to RGB or to gray"
        )
    return np.atleast_3d(pixels)


def _of_fits(
    name: str, content: bytes, frame: ImageFrame
) -> tuple[npt.NDArray[np.float32], float | None]:
    """Return the planes of a FITS file in the frame's unit, and its scale."""
    with opened_bytes(content, Path(name)) as hdus:
        chosen = _chosen(hdus, name, frame)
        planes = [_plane(hdu, plane, name, frame) for hdu, plane in chosen]
        scales = [header_scale_arcsec(hdu.header, name) for hdu, _ in chosen]
    shapes = {plane.shape for plane in planes}
    if len(shapes) > 1:
        raise SourcesError(f"the bands of {name} have the shapes {sorted(shapes)}; align them")
    known = [scale for scale in scales if scale is not None]
    if known and max(known) / min(known) - 1 > SAME_SCALE:
        raise SourcesError(
            f"the bands of {name} have from {min(known):.4g} to {max(known):.4g} arcsec/px; align"
            " them"
        )
    return np.stack(planes), _one_scale(name, scales[0], frame.scale_arcsec)


def _chosen(hdus: fits.HDUList, name: str, frame: ImageFrame) -> list[tuple[Any, int | None]]:
    """Return each band's HDU, and its plane of a cube."""
    bands = frame.bands
    first = next((hdu for hdu in hdus if image_shape(hdu) is not None), None)
    shape = image_shape(first) or ()
    chosen: list[tuple[Any, int | None]]
    if not frame.hdus and len(shape) == 3:
        if shape[0] != len(bands):
            raise _other_planes(name, shape[0], frame)
        chosen = [(first, plane) for plane in range(shape[0])]
    elif not frame.hdus and len(shape) == 2 and len(bands) == 1:
        chosen = [(first, None)]
    else:
        numbers = [find_image(hdus, frame.hdus.get(band, band), Path(name)) for band in bands]
        chosen = [(hdus[number], None) for number in numbers]
    for hdu, _ in chosen:
        _check_side(name, image_shape(hdu) or ())
    return chosen


def _plane(
    hdu: Any,  # noqa: ANN401 - any image HDU
    plane: int | None,
    name: str,
    frame: ImageFrame,
) -> npt.NDArray[np.float32]:
    """Return one band's pixels in the frame's unit, NaN where they are not finite."""
    header = hdu.header
    if frame.unit == "display":
        if flux_zero_point(str(header.get("BUNIT", ""))) is not None:
            raise SourcesError(
                f"the image {name} is a flux (BUNIT = {header['BUNIT']!r}), display values are"
                " needed; choose a checkpoint for nJy"
            )
        factor = 1.0
    else:
        settings = MosaicInput(path=name, band="x", zero_point=frame.zero_point)
        factor = njy_per_count(zero_point_of(header, settings, name))
    values = hdu.data if plane is None else hdu.data[plane]
    with np.errstate(over="ignore", invalid="ignore"):
        flux = np.asarray(values, dtype=np.float32) * np.float32(factor)
    return np.where(np.isfinite(flux), flux, np.float32(np.nan))


def _one_scale(name: str, own: float | None, given: float | None) -> float | None:
    """Return the scale that the file says, or else the given one; both must agree."""
    if own is not None and given is not None and abs(own / given - 1) > SAME_SCALE:
        raise SourcesError(
            f"the image {name} has {own:.4g} arcsec/px by its WCS, not the {given:.4g} that"
            " scale_arcsec says; correct or leave out scale_arcsec"
        )
    return own or given


def _check_side(name: str, shape: tuple[int, ...]) -> None:
    """Raise if an image is larger than one of a single source can be."""
    if max(shape, default=0) > MAX_SIDE_PX:
        raise SourcesError(
            f"the image {name} is {shape[-1]} x {shape[-2]} px,"
            f" {MAX_SIDE_PX} a side are allowed; shrink it"
        )


def _other_planes(name: str, n_plane: int, frame: ImageFrame) -> SourcesError:
    """Return the error for an image with too many planes, or too few."""
    return SourcesError(
        f"the image {name} has {n_plane} planes for {len(frame.bands)} bands"
        f" ({', '.join(frame.bands)}); correct the bands or the image"
    )
