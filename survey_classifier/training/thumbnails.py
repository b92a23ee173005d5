"""Thumbnails of a training set: small images, one an object, in a folder or a zip.

Owns their stamps and their digest. Does not own the reading of images (``images``) nor which object
has which thumbnail (``dataset``).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from survey_classifier.errors import SourcesError
from survey_classifier.images.archive import open_archive
from survey_classifier.images.cut import stamps_from_images
from survey_classifier.images.decode import decode
from survey_classifier.images.frame import ImageFrame
from survey_classifier.stamps import Stamps

__all__ = ["ThumbnailFrame", "read_thumbnails", "thumbnails_digest"]


@dataclass(frozen=True, slots=True)
class ThumbnailFrame:
    """What all thumbnails of a set have in common."""

    bands: tuple[str, ...]
    """Bands of the color planes, in the order of the file."""
    scale_arcsec: float
    """Pixel scale."""
    source_px: tuple[float, float]
    """The source's x from the left and y from the file's first row, first pixel 0."""
    unit: Literal["nJy", "display"] = "display"
    """What the pixels are to be; see `ImageFrame`."""


def read_thumbnails(
    origin: Path, names: Sequence[str], frame: ThumbnailFrame, size_px: int, rim_px: int = 0
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
    rim_px
        By so much a thumbnail is continued with its outermost pixels, as `stamps_from_images` does.

    Raises
    ------
    SourcesError
        If a thumbnail is missing, leads out of the folder, is too large, or is no image with as
        many planes as the frame.
    """
    known = ImageFrame(frame.bands, frame.scale_arcsec, frame.source_px, frame.unit)
    with open_archive(origin) as archive:
        _require_all(origin, [name for name in names if not archive.holds(name)], len(names))
        images = (decode(f"{name} of {origin}", archive.read(name), known) for name in names)
        return stamps_from_images(
            images, len(names), frame.bands, frame.scale_arcsec, size_px, rim_px
        )


def _require_all(origin: Path, absent: Sequence[str], n: int) -> None:
    """Raise if images are not there, and say how many; one is said when it is read."""
    if len(absent) > 1:
        raise SourcesError(
            f"{len(absent)} of {n} images that are named are not in {origin}, {absent[0]!r} first;"
            " correct their names, or leave them empty"
        )


def thumbnails_digest(origin: Path, names: Sequence[str]) -> str:
    """Return the SHA-256 over the named thumbnails, names and contents, in sorted order."""
    state = hashlib.sha256()
    with open_archive(origin) as archive:
        for name in sorted(set(names)):
            content = archive.read(name)
            state.update(f"{name}\0{len(content)}\0".encode())
            state.update(content)
    return state.hexdigest()
