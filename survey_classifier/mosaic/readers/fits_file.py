"""Opening a FITS file, and everything that may be wrong with it.

Owns how files are opened, which HDU is meant, and how a file is told from another. Does not own
the reading of pixels (``section``), what they mean (the readers) nor the WCS (``header_wcs``).
"""

import hashlib
import io
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from astropy.io import fits
from astropy.io.fits.verify import VerifyError
from astropy.utils.exceptions import AstropyUserWarning, AstropyWarning

from survey_classifier.errors import MosaicError, SurveyClassifierError
from survey_classifier.mosaic.readers.unpack import byte_stream

__all__ = [
    "all_hdus",
    "find_image",
    "find_plane",
    "image_shape",
    "number",
    "opened",
    "opened_bytes",
    "opened_to_describe",
    "sampled_digest",
]

N_SAMPLES, SAMPLE_BYTES = 32, 2**16
FITS_ERRORS = (OSError, VerifyError, AstropyUserWarning)
"""What astropy says of a damaged file. It also stumbles over one with errors of any type, as its
unpackers of tiles do; a fault of ours has these types, too."""
NOT_BY_DAMAGE = (FileNotFoundError, IsADirectoryError, SurveyClassifierError, MemoryError)


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
            _sound(path),
            byte_stream(path) as stream,
            fits.open(stream, memmap=False, disable_image_compression=tables) as hdus,
        ):
            yield hdus
    except FileNotFoundError as error:
        raise MosaicError(f"no such file: {path}") from error
    except IsADirectoryError as error:
        raise MosaicError(
            f"{path} is a folder, not an image; name the files in it, such as {path}/*.fits"
        ) from error


@contextmanager
def opened_bytes(content: bytes, path: Path) -> Iterator[fits.HDUList]:
    """Open the content of a file that was read already: like `opened`, and only if it is whole.

    Parameters
    ----------
    content
        All bytes of the file, not compressed as a whole.
    path
        Its name, for messages.

    Raises
    ------
    MosaicError
        See `opened`.
    """
    with warnings.catch_warnings():
        # A header may be written against the standard and be clear all the same.
        warnings.simplefilter("ignore", AstropyWarning)
        warnings.filterwarnings("error", message="File may have been truncated")
        with _sound(path), fits.open(io.BytesIO(content), memmap=False) as hdus:
            yield hdus


@contextmanager
def _sound(path: Path) -> Iterator[None]:
    """Turn what astropy says of a damaged file into our error."""
    try:
        yield
    except NOT_BY_DAMAGE:
        raise
    except Exception as error:
        if not (isinstance(error, FITS_ERRORS) or _is_of_astropy(error)):
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


def image_shape(hdu: Any) -> tuple[int, ...] | None:  # noqa: ANN401 - any HDU
    """Return the shape of an image; None for a table, or an image without pixels.

    Parameters
    ----------
    hdu
        Any HDU; of a damaged one astropy has a stand-in, which is an image without a shape.
    """
    shape = getattr(hdu, "shape", ()) if getattr(hdu, "is_image", False) else ()
    return None if 0 in shape else tuple(shape) or None


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
        found = next((index for index, hdu in enumerate(hdus) if image_shape(hdu)), None)
        if found is None:
            raise MosaicError(f"{path} holds no two-dimensional image; name another file")
    else:
        found = _named(hdus, name, path)
    axes = image_shape(hdus[found])
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
