"""Opening a FITS file, and everything that may be wrong with it.

Owns how files are opened, which HDU is meant, and how a file is told from another. Does not own
what the pixels mean (the readers) nor the WCS (``header_wcs``).
"""

import hashlib
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.io import fits
from astropy.io.fits.verify import VerifyError
from astropy.utils.exceptions import AstropyUserWarning

from survey_classifier.errors import MosaicError
from survey_classifier.geometry import Box
from survey_classifier.mosaic.readers.unpack import byte_stream

__all__ = [
    "all_hdus",
    "find_image",
    "find_plane",
    "number",
    "opened",
    "opened_to_describe",
    "sampled_digest",
    "section",
]

N_SAMPLES, SAMPLE_BYTES = 32, 2**16
STRIP_BYTES = 2**20
"""What is read of an image at once: it fits the caches."""
MAX_GAP_BYTES = 2**15
"""Bytes between the rows of a window up to which they are read, too: that takes less time than a
call for each row, and the system reads ahead anyway."""

BY_DAMAGE = (ValueError, TypeError, LookupError, AttributeError)
"""What astropy stumbles with over damaged headers; a fault of ours has these types, too."""


@contextmanager
def opened(path: Path, *, tables: bool = False) -> Iterator[fits.HDUList]:
    """Open a file; the one place where its problems become ours.

    Parameters
    ----------
    path
        The file, which may be compressed.
    tables
        Whether images that are compressed by tiles are given as the tables they are stored in.

    Raises
    ------
    MosaicError
        If it is missing or unreadable, now or while the block reads from it. Other errors of the
        block stay what they are.
    """
    try:
        # Not mapped: astropy maps no scaled integers, and sections are read by window anyhow.
        with (
            byte_stream(path) as stream,
            fits.open(stream, memmap=False, disable_image_compression=tables) as hdus,
        ):
            yield hdus
    except FileNotFoundError as error:
        raise MosaicError(f"no such file: {path}") from error
    except (OSError, VerifyError, AstropyUserWarning, *BY_DAMAGE) as error:
        if isinstance(error, BY_DAMAGE) and not _is_of_astropy(error):
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        reason = f"a header lacks {reason}" if isinstance(error, KeyError) else reason
        reason = reason.partition(" If this is really a FITS file")[0]  # astropy's own options
        raise MosaicError(f"cannot read {path} as FITS: {reason}; fetch it again") from error


def _is_of_astropy(error: Exception) -> bool:
    """Return whether an error arose within astropy, which reads headers only when it must."""
    modules = [frame.f_globals["__name__"] for frame, _ in traceback.walk_tb(error.__traceback__)]
    return any(module.startswith("astropy.") for module in modules)


@contextmanager
def opened_to_describe(path: Path) -> Iterator[fits.HDUList]:
    """Open a file for the first time: like `opened`, and refuse one that is cut short.

    Raises
    ------
    MosaicError
        Also if the file is shorter than its headers say.
    """
    with warnings.catch_warnings():
        # `_require_whole` says it, once.
        warnings.filterwarnings("ignore", message="File may have been truncated")
        with opened(path) as hdus:
            _require_whole(hdus, path)
            yield hdus


def _require_whole(hdus: fits.HDUList, path: Path) -> None:
    """Refuse a file that is shorter than its headers say."""
    info = all_hdus(hdus)[-1].fileinfo()
    expected, size = info["datLoc"] + info["datSpan"], info["file"].size
    if size < expected:
        raise MosaicError(
            f"cannot read {path} as FITS: it is truncated, {size} of {expected} bytes; "
            "fetch it again"
        )


def all_hdus(hdus: fits.HDUList) -> list[Any]:
    """Return every HDU of a file, after a look at its header.

    Raises
    ------
    OSError
        If one is damaged so that astropy has only a stand-in for it.
    """
    found = list(hdus)
    for index, hdu in enumerate(found):
        if not hasattr(hdu, "fileinfo"):
            raise OSError(f"the header of HDU {index} is damaged")
    return found


def sampled_digest(path: Path) -> str:
    """Return a SHA-256 over a file's size, all its headers, and pieces spread evenly over it.

    Reading a survey whole only to see that it is the same would take as long as its ingest; an
    image that was replaced differs in every piece. A few pixels that were mended in place are
    seen by the checksum of their HDU, if it has one.

    Parameters
    ----------
    path
        A FITS file; if it is compressed, the headers are those within.

    Raises
    ------
    MosaicError
        If it cannot be read.
    """
    size = path.stat().st_size
    state = hashlib.sha256(str(size).encode())
    with path.open("rb") as stream:
        for piece in range(N_SAMPLES):
            stream.seek(max(0, size - SAMPLE_BYTES) * piece // (N_SAMPLES - 1))
            state.update(stream.read(SAMPLE_BYTES))
    with opened(path, tables=True) as hdus:
        for hdu in all_hdus(hdus):
            info = hdu.fileinfo()
            info["file"].seek(info["hdrLoc"])
            state.update(info["file"].read(info["datLoc"] - info["hdrLoc"]))
    return state.hexdigest()


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
        If the file ends before the window does, or a compressed tile of it is damaged.
    """
    return _section_of_plain(hdu, box) if _is_plain(hdu) else _section_by_astropy(hdu, box)


def _section_of_plain(hdu: Any, box: Box) -> npt.NDArray[Any]:  # noqa: ANN401 - any image HDU
    """Read a window of an image whose bytes are its pixels, several rows at a time."""
    # astropy makes an array of each row first, which takes up to ten times as long as this.
    info, (height, width) = hdu.fileinfo(), box.shape
    pixels = np.empty(box.shape, dtype=np.dtype(fits.BITPIX2DTYPE[hdu.header["BITPIX"]]))
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


def _axes(hdu: Any) -> tuple[int, ...] | None:  # noqa: ANN401 - any HDU
    """Return the shape of an image; None for a table, or an image without pixels."""
    if not getattr(hdu, "is_image", False) or 0 in hdu.shape:
        return None
    return tuple(hdu.shape) or None


def find_image(hdus: fits.HDUList, name: str | int | None, path: Path) -> int:
    """Return the number of the HDU that holds the image.

    Parameters
    ----------
    hdus
        The opened file.
    name
        Name or number of the HDU; None is the first that holds pixels.
    path
        The file, for messages.

    Raises
    ------
    MosaicError
        If there is none, or it holds no two-dimensional image. A cube is refused even if it has
        a single plane, and is never passed over for a later image, which may be its mask.
    """
    if name is None:
        found = next((index for index, hdu in enumerate(hdus) if _axes(hdu)), None)
        if found is None:
            raise MosaicError(f"{path} holds no two-dimensional image; name another file")
    else:
        found = _named(hdus, name, path)
    axes = _axes(hdus[found])
    if axes is None or len(axes) != 2:
        shape = "no pixels" if axes is None else " x ".join(map(str, axes)) + " pixels"
        raise MosaicError(
            f"HDU {found if name is None else repr(name)} of {path} is no two-dimensional image, "
            f"it has {shape}; name another HDU, or write one plane as an image of its own"
        )
    return found


def _named(hdus: fits.HDUList, name: str | int, path: Path) -> int:
    """Return the number of an HDU from its name or number."""
    names = [hdu.name for hdu in hdus]
    known = ", ".join(f"{index}:{other}" for index, other in enumerate(names))
    if isinstance(name, int):
        found = [name] if 0 <= name < len(names) else []
    else:
        # As in FITS, upper and lower case are alike.
        wanted = name.strip().upper()
        found = [index for index, other in enumerate(names) if other.strip().upper() == wanted]
    if len(found) == 1:
        return found[0]
    if found:
        raise MosaicError(f"{path} has {len(found)} HDUs {name!r}; give a number: {known}")
    raise MosaicError(f"{path} has no HDU {name!r}; it has {known}")


def find_plane(
    hdus: fits.HDUList, name: str | int | None, shape: tuple[int, int], path: Path
) -> int | None:
    """Return the number of a plane that goes with the image; None if none is named.

    Parameters
    ----------
    hdus
        The opened file.
    name
        Name or number of the plane's HDU.
    shape
        ``(ny, nx)`` of the image.
    path
        The file, for messages.

    Raises
    ------
    MosaicError
        If it is not there, or of another shape.
    """
    if name is None:
        return None
    found = find_image(hdus, name, path)
    if hdus[found].shape != shape:
        raise MosaicError(
            f"HDU {name!r} of {path} has shape {hdus[found].shape}, its image {shape}"
        )
    return found


def number(value: Any) -> float:  # noqa: ANN401 - any FITS value
    """Return a header's value as a number, NaN where it is none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")
