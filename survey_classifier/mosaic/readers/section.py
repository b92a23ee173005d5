"""Windows of the images of an open FITS file, without the rest of them.

Owns how the bytes of a window are read. Does not own the opening of files (``fits_file``) nor what
the pixels mean (the readers).
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.io import fits

from survey_classifier.errors import MosaicError
from survey_classifier.geometry import Box
from survey_classifier.mosaic.readers.fits_file import image_shape

__all__ = ["section", "section_of"]

STRIP_BYTES = 2**20
"""What is read of an image at once: it fits the caches."""
MAX_GAP_BYTES = 2**15
"""Bytes between the rows of a window up to which they are read, too: that takes less time than a
call for each row, and the system reads ahead anyway."""


def section_of(
    hdus: fits.HDUList, number: int, box: Box, shape: tuple[int, int], path: Path
) -> npt.NDArray[Any]:
    """Read a window of an image that was described before.

    Parameters
    ----------
    hdus
        The file, within a block of ``opened``.
    number
        Number of the image HDU.
    box
        The window, inside the image.
    shape
        ``(ny, nx)`` that the image had when it was described.
    path
        The file, for messages.

    Returns
    -------
    ndarray
        As `section` gives it.

    Raises
    ------
    MosaicError
        If there is no image of that shape any more.
    OSError
        As `section` does.
    """
    try:
        hdu = hdus[number]
    except IndexError:
        hdu = None
    if image_shape(hdu) != shape:
        raise MosaicError(
            f"HDU {number} of {path} is no image of {shape[1]} x {shape[0]} px any more: the file "
            "was changed meanwhile, or damaged; fetch it again"
        )
    return section(hdu, box)


def section(hdu: Any, box: Box) -> npt.NDArray[Any]:  # noqa: ANN401 - any image HDU
    """Read a window of an image without the rest of it.

    Parameters
    ----------
    hdu
        An image HDU of a file that is open.
    box
        The window, inside the image.

    Returns
    -------
    ndarray
        ``(y, x)`` in the machine's byte order, scaled as the header says (BSCALE, BZERO), with
        NaN for BLANK. Bit for bit what astropy's ``hdu.section`` gives.

    Raises
    ------
    OSError
        If the file ends before the window does, a compressed tile of it is damaged, or its header
        says no kind of number.
    """
    return _section_of_plain(hdu, box) if _is_plain(hdu) else _section_by_astropy(hdu, box)


def _section_of_plain(hdu: Any, box: Box) -> npt.NDArray[Any]:  # noqa: ANN401 - any image HDU
    """Read a window of an image whose bytes are its pixels, several rows at a time."""
    # astropy makes an array of each row first, which takes up to ten times as long as this.
    info, (height, width) = hdu.fileinfo(), box.shape
    kind = fits.BITPIX2DTYPE.get(hdu.header["BITPIX"])
    if kind is None:
        raise OSError(f"BITPIX = {hdu.header['BITPIX']} is no kind of number that FITS has")
    pixels = np.empty(box.shape, dtype=np.dtype(kind))
    stored = pixels.dtype.newbyteorder(">")
    n_bytes, row_bytes = stored.itemsize, hdu.shape[1] * stored.itemsize
    is_dense = row_bytes - width * n_bytes <= MAX_GAP_BYTES
    at_once = max(STRIP_BYTES // row_bytes, 1) if is_dense else 1
    for first in range(0, height, at_once):
        n_rows, y = min(at_once, height - first), box.y0 + first
        wanted = (n_rows - 1) * row_bytes + width * n_bytes
        info["file"].seek(info["datLoc"] + y * row_bytes + box.x0 * n_bytes)
        raw = info["file"].read(wanted)
        if len(raw) < wanted:
            row = y + (box.x0 * n_bytes + len(raw)) // row_bytes
            raise OSError(f"it ends within row {row} of its image")
        strip: npt.NDArray[Any] = np.ndarray(
            (n_rows, width), stored, raw, strides=(row_bytes, n_bytes)
        )
        pixels[first : first + n_rows] = strip
    return pixels


def _section_by_astropy(hdu: Any, box: Box) -> npt.NDArray[Any]:  # noqa: ANN401 - any image HDU
    """Read a window of an image that is compressed by tiles, or scaled."""
    try:
        return np.asarray(hdu.section[box.slices])
    except (OSError, MemoryError):
        raise
    except Exception as error:  # cfitsio's errors are of a type that is not public
        raise OSError(f"a tile of it is damaged ({error})") from error


def _is_plain(hdu: Any) -> bool:  # noqa: ANN401 - any image HDU
    """Return whether an image's bytes are its pixels: neither compressed nor scaled."""
    header = hdu.header
    return (
        isinstance(hdu, fits.PrimaryHDU | fits.ImageHDU)
        and not isinstance(hdu, fits.CompImageHDU)  # which is an ImageHDU too
        and header.get("BSCALE", 1) == 1
        and header.get("BZERO", 0) == 0
        and "BLANK" not in header
    )
