"""From the bytes of an image file to planes of pixels: PNG, JPEG and FITS.

Owns what is read of a file, and how it is checked against what is said of it (``frame``). Does not
own where files lie (``archive``) nor the stamps (``cut``). A file's size in pixels is known before
its pixels are.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.io import fits
from PIL import Image, UnidentifiedImageError

from survey_classifier.errors import ImageError, MosaicError
from survey_classifier.images.frame import ImageFrame
from survey_classifier.mosaic.exposure import MosaicInput
from survey_classifier.mosaic.readers.calibration import (
    flux_zero_point,
    njy_per_count,
    zero_point_of,
)
from survey_classifier.mosaic.readers.fits_file import find_image, image_shape, opened_bytes
from survey_classifier.mosaic.readers.header_wcs import header_scale_arcsec
from survey_classifier.words import counted

__all__ = ["MAX_SIDE_PX", "Planes", "decode"]

FORMATS = ("PNG", "JPEG")
MODES = ("L", "LA", "RGB", "RGBA", "I", "I;16", "F")
"""Pillow's modes whose planes are light, and perhaps opacity."""
MAX_SIDE_PX = 4096
SAME_SCALE = 0.01
"""Relative difference of two pixel scales that count as one."""
OTHERS = {
    b"GIF8": "a GIF",
    b"BM": "a BMP",
    b"II*\0": "a TIFF",
    b"MM\0*": "a TIFF",
    b"RIFF": "a WebP",
    b"\x1f\x8b": "compressed",
    b"BZh": "compressed",
}
"""What other files that hold images begin with."""
THIS = "the image"
"""What stands for the image's name in a reason, see `ImageError`."""


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
    ImageError
        If it is no image that can be read, too large, has other planes than the frame or other
        units, or nothing says its scale; a FITS file also if it lacks an HDU or a zero point.
    """
    is_fits = content.startswith(b"SIMPLE  =")
    try:
        flux, scale_arcsec = (_of_fits if is_fits else _of_picture)(content, frame)
        if scale_arcsec is None:
            raise ImageError(f"nothing says the pixel scale of {THIS}; give scale_arcsec")
    except ImageError as error:
        raise ImageError(error.reason, name, is_damage=error.is_damage) from error
    ny, nx = flux.shape[1:]
    x, y = frame.source_px or ((nx - 1) / 2, (ny - 1) / 2)
    if not is_fits:
        y = ny - 1 - y
    return Planes(flux, scale_arcsec, (x, y))


def _of_picture(content: bytes, frame: ImageFrame) -> tuple[npt.NDArray[np.float32], float | None]:
    """Return the planes of a PNG or JPEG and its scale; a pixel that is all clear is unknown."""
    values = _pixels(content)
    if frame.unit != "display":
        raise ImageError(
            f"{THIS} holds display values, {frame.unit} is needed; give FITS files, or choose a"
            " checkpoint for display images"
        )
    n_plane, n_band = values.shape[2], len(frame.bands)
    has_opacity = n_plane == n_band + 1 and n_plane in (2, 4)
    if n_plane != n_band and not has_opacity:
        raise _other_planes(n_plane, frame)
    flux = np.ascontiguousarray(values[::-1, :, :n_band].transpose(2, 0, 1))
    if has_opacity:
        flux[:, values[::-1, :, -1] == 0] = np.nan
    return flux, frame.scale_arcsec


def _pixels(content: bytes) -> npt.NDArray[np.float32]:
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
        raise _unreadable(content, error) from error
    _check_side((ny, nx))
    if mode not in MODES:
        raise ImageError(
            f"{THIS} has colors of the kind {mode}; gray, RGB and RGBA are read: convert it"
        )
    return np.atleast_3d(pixels)


def _unreadable(content: bytes, error: Exception) -> ImageError:
    """Return the error for bytes that are no picture, or a damaged one."""
    kind = next((kind for start, kind in OTHERS.items() if content.startswith(start)), None)
    if kind is not None:
        remedy = "unpack" if kind == "compressed" else "convert"
        return ImageError(f"{THIS} is no readable PNG, JPEG or FITS but {kind}; {remedy} it")
    # Some of Pillow's messages name the object in memory, which differs from file to file.
    reason = "it is of no such format" if isinstance(error, UnidentifiedImageError) else error
    return ImageError(
        f"{THIS} is no readable PNG, JPEG or FITS ({reason}); get it again", is_damage=True
    )


def _of_fits(content: bytes, frame: ImageFrame) -> tuple[npt.NDArray[np.float32], float | None]:
    """Return the planes of a FITS file in the frame's unit, and its scale."""
    with _as_image_error(is_damage=True), opened_bytes(content, Path(THIS)) as hdus:
        with _as_image_error():
            chosen = _chosen(hdus, frame)
        planes = [_plane(hdu, plane, frame) for hdu, plane in chosen]
        with _as_image_error():
            scales = [header_scale_arcsec(hdu.header, THIS) for hdu, _ in chosen]
    shapes = {plane.shape for plane in planes}
    if len(shapes) > 1:
        raise ImageError(f"the bands of {THIS} have the shapes {sorted(shapes)}; align them")
    known = [scale for scale in scales if scale is not None]
    if known and max(known) / min(known) - 1 > SAME_SCALE:
        raise ImageError(
            f"the bands of {THIS} have from {min(known):.4g} to {max(known):.4g} arcsec/px; align"
            " them"
        )
    return np.stack(planes), _one_scale(scales[0], frame.scale_arcsec)


@contextmanager
def _as_image_error(*, is_damage: bool = False) -> Iterator[None]:
    """Raise what is said of a mosaic's file as said of an image."""
    try:
        yield
    except MosaicError as error:
        raise ImageError(str(error), is_damage=is_damage) from error


def _chosen(hdus: fits.HDUList, frame: ImageFrame) -> list[tuple[Any, int | None]]:
    """Return each band's HDU, and its plane of a cube."""
    bands = frame.bands
    first = next((hdu for hdu in hdus if image_shape(hdu) is not None), None)
    shape = image_shape(first) or ()
    chosen: list[tuple[Any, int | None]]
    if not frame.hdus and len(shape) == 3:
        if shape[0] != len(bands):
            raise _other_planes(shape[0], frame)
        chosen = [(first, plane) for plane in range(shape[0])]
    elif not frame.hdus and len(shape) == 2 and len(bands) == 1:
        chosen = [(first, None)]
    else:
        numbers = [find_image(hdus, frame.hdus.get(band, band), Path(THIS)) for band in bands]
        chosen = [(hdus[number], None) for number in numbers]
    for hdu, _ in chosen:
        _check_side(image_shape(hdu) or ())
    return chosen


def _plane(
    hdu: Any,  # noqa: ANN401 - any image HDU
    plane: int | None,
    frame: ImageFrame,
) -> npt.NDArray[np.float32]:
    """Return one band's pixels in the frame's unit, NaN where they are not finite."""
    header = hdu.header
    if frame.unit == "display":
        if flux_zero_point(str(header.get("BUNIT", ""))) is not None:
            raise ImageError(
                f"{THIS} is a flux (BUNIT = {header['BUNIT']!r}), display values are needed; choose"
                " a checkpoint for nJy"
            )
        factor = 1.0
    else:
        settings = MosaicInput(path=THIS, band="x", zero_point=frame.zero_point)
        with _as_image_error():
            factor = njy_per_count(zero_point_of(header, settings, THIS))
    values = hdu.data if plane is None else hdu.data[plane]
    with np.errstate(over="ignore", invalid="ignore"):
        flux = np.asarray(values, dtype=np.float32) * np.float32(factor)
    return np.where(np.isfinite(flux), flux, np.float32(np.nan))


def _one_scale(own: float | None, given: float | None) -> float | None:
    """Return the scale that the file says, or else the given one; both must agree."""
    if own is not None and given is not None and abs(own / given - 1) > SAME_SCALE:
        raise ImageError(
            f"{THIS} has {own:.4g} arcsec/px by its WCS, not the {given:.4g} that scale_arcsec"
            " says; correct or leave out scale_arcsec"
        )
    return own or given


def _check_side(shape: tuple[int, ...]) -> None:
    """Raise if an image is larger than one of a single source can be."""
    if max(shape, default=0) > MAX_SIDE_PX:
        raise ImageError(
            f"{THIS} is {shape[-1]} x {shape[-2]} px, {MAX_SIDE_PX} a side are allowed; shrink it"
        )


def _other_planes(n_plane: int, frame: ImageFrame) -> ImageError:
    """Return the error for an image with too many planes, or too few."""
    return ImageError(
        f"{THIS} has {counted(n_plane, 'plane')} for {counted(len(frame.bands), 'band')}"
        f" ({', '.join(frame.bands)}); give images of these bands, or a checkpoint for others"
    )
