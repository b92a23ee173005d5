"""Thumbnails: small color images, one an object, in a folder or a zip.

Owns their reading, which trusts nothing: no path leads out of the folder, nothing is
unpacked to disk, and an image's size is known before its pixels are. Does not own which object
has which thumbnail (``dataset``).
"""

import hashlib
import io
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from survey_classifier.errors import SourcesError
from survey_classifier.geometry import Box, nearest_pixel, overlap, stamp_start
from survey_classifier.mosaic.pixels import MaskBit
from survey_classifier.stamps import MASK_BITS, Stamps

__all__ = ["ThumbnailFrame", "read_thumbnails", "thumbnails_digest"]

FORMATS = ("PNG", "JPEG")
MAX_FILE_BYTES = 16 << 20
MAX_SIDE_PX = 4096

ReadBytes = Callable[[str], bytes]


@dataclass(frozen=True, slots=True)
class ThumbnailFrame:
    """What all thumbnails of a set have in common."""

    bands: tuple[str, ...]
    """Bands of the color planes, in the order of the file."""
    scale_arcsec: float
    """Pixel scale."""
    source_px: tuple[float, float]
    """The source's x from the left and y from the top, first pixel 0."""


def read_thumbnails(
    origin: Path, names: Sequence[str], frame: ThumbnailFrame, size_px: int
) -> Stamps:
    """Return thumbnails as stamps, y upward, with the source's pixel at ``size_px // 2``.

    Parameters
    ----------
    origin
        A folder, or a zip.
    names
        File names within it, one a stamp.
    frame
        What they have in common.
    size_px
        Side of the stamps; what a thumbnail does not cover is NaN.

    Raises
    ------
    SourcesError
        If a thumbnail is missing, leads out of the folder, is too large, or is no PNG or JPEG
        with as many planes as the frame.
    """
    flux = np.full((len(names), len(frame.bands), size_px, size_px), np.nan, dtype=np.float32)
    offset = np.empty((len(names), 2), dtype=np.float32)
    with _opened(origin) as read:
        for row, name in enumerate(names):
            image = _decode(f"{name} of {origin}", read(name), len(frame.bands))
            x, y = frame.source_px[0], image.shape[1] - 1 - frame.source_px[1]
            x0, y0 = int(stamp_start(x, size_px)), int(stamp_start(y, size_px))
            box = Box(y0, y0 + size_px, x0, x0 + size_px)
            slices = overlap(box, (image.shape[1], image.shape[2]))
            if slices is not None:
                flux[row][:, *slices[1]] = image[:, *slices[0]]
            offset[row] = x - nearest_pixel(x), y - nearest_pixel(y)
    valid = np.asarray(np.isfinite(flux).all(axis=1))
    center = valid[:, size_px // 2, size_px // 2]
    return Stamps(
        bands=frame.bands,
        flux=flux,
        offset_px=offset,
        valid_fraction=valid.mean(axis=(1, 2)).astype(np.float32),
        center_mask=np.where(center, 0, MaskBit.NO_DATA).astype(np.uint8),
        sticks_out=np.zeros(len(names), dtype=np.bool_),
        mask_fraction=np.zeros((len(names), len(MASK_BITS)), dtype=np.float32),
        scale_arcsec=frame.scale_arcsec,
    )


def thumbnails_digest(origin: Path, names: Sequence[str]) -> str:
    """Return the SHA-256 over the named thumbnails, names and contents, in sorted order."""
    state = hashlib.sha256()
    with _opened(origin) as read:
        for name in sorted(set(names)):
            content = read(name)
            state.update(f"{name}\0{len(content)}\0".encode())
            state.update(content)
    return state.hexdigest()


@contextmanager
def _opened(origin: Path) -> Iterator[ReadBytes]:
    """Open a folder or zip and give a function from a name to the file's bytes."""
    if origin.is_dir():
        yield lambda name: _from_folder(origin.resolve(), name)
        return
    try:
        archive = zipfile.ZipFile(origin)
    except (OSError, zipfile.BadZipFile) as error:
        raise SourcesError(f"{origin} is no folder and no zip: {error}; correct it") from error
    with archive:
        yield lambda name: _from_zip(archive, name)


def _from_folder(folder: Path, name: str) -> bytes:
    """Return the content of a file that really lies in the folder."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder):
        raise SourcesError(f"the thumbnail {name!r} leads out of {folder}; correct its name")
    if not path.is_file():
        raise SourcesError(f"there is no thumbnail {name!r} in {folder}; correct its name")
    _check_bytes(name, path.stat().st_size)
    return path.read_bytes()


def _from_zip(archive: zipfile.ZipFile, name: str) -> bytes:
    """Return the content of an archive's member; a member's name is never used as a path."""
    try:
        member = archive.getinfo(name)
        _check_bytes(name, member.file_size)
        with archive.open(member) as file:
            # The stated size may be a lie: never unpack more.
            content = file.read(MAX_FILE_BYTES + 1)
    except KeyError as error:
        raise SourcesError(
            f"there is no thumbnail {name!r} in {archive.filename}; correct its name"
        ) from error
    except (OSError, RuntimeError, NotImplementedError, zipfile.BadZipFile) as error:
        raise SourcesError(
            f"the thumbnail {name!r} of {archive.filename} can't be unpacked ({error});"
            " get the zip again"
        ) from error
    _check_bytes(name, len(content))
    return content


def _check_bytes(name: str, n_bytes: int) -> None:
    """Raise if a file is larger than a thumbnail can be."""
    if n_bytes > MAX_FILE_BYTES:
        raise SourcesError(
            f"the thumbnail {name!r} has {n_bytes} bytes, {MAX_FILE_BYTES} are allowed; shrink it"
        )


def _decode(name: str, content: bytes, n_plane: int) -> npt.NDArray[np.float32]:
    """Return an image as ``(plane, y, x)``, first row at the bottom."""
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if max(image.size) > MAX_SIDE_PX:
                raise SourcesError(
                    f"the thumbnail {name} is {image.size[0]} x {image.size[1]} px,"
                    f" {MAX_SIDE_PX} a side are allowed; shrink it"
                )
            planes = np.atleast_3d(np.asarray(image, dtype=np.float32))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise SourcesError(
            f"the thumbnail {name} is no readable PNG or JPEG ({error}); get it again"
        ) from error
    if planes.shape[2] != n_plane:
        raise SourcesError(
            f"the thumbnail {name} has {planes.shape[2]} planes for {n_plane} bands;"
            " correct 'planes' or the image"
        )
    return np.ascontiguousarray(planes[::-1].transpose(2, 0, 1))
