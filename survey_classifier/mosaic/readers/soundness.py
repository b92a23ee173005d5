"""What is asked of a file before its pixels are used: that it is undamaged, and not empty.

Owns the sums of the FITS standard, version 4, section 4.4.2.7 and appendix J (``DATASUM`` over the
data, ``CHECKSUM`` that makes the whole HDU add up to nothing), and the search for a first pixel.
Does not own opening files (``fits_file``).
"""

from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from survey_classifier.errors import MosaicError
from survey_classifier.geometry import TileGrid
from survey_classifier.mosaic.exposure import Exposure
from survey_classifier.mosaic.readers.fits_file import all_hdus, opened

__all__ = ["has_data", "require_checksum"]

PIECE_BYTES = 2**22
SEARCH_PX = 1024
"""Side of the windows in which `has_data` looks for a pixel."""
ALL_ONES = 2**32 - 1
"""Sums are of 32-bit words in one's complement, which is arithmetic modulo this number."""


def require_checksum(path: Path) -> None:
    """Refuse a file that has checksums and does not agree with them.

    Reads the whole file once, a piece at a time; HDUs without checksums are skipped.

    Parameters
    ----------
    path
        A FITS file, possibly compressed.

    Raises
    ------
    MosaicError
        If it cannot be read, or the bytes of an HDU do not give its ``DATASUM`` or ``CHECKSUM``.
    """
    # Tile-compressed images as the tables that they are stored in: the sums are of those.
    with opened(path, tables=True) as hdus:
        everything = all_hdus(hdus)
        for index, hdu in enumerate(everything):
            wrong = _disagreement(hdu)
            if wrong:
                raise MosaicError(
                    f"HDU {index} ({hdu.name or 'no name'}) of {path} does not give its {wrong} = "
                    f"{hdu.header[wrong]!r}: the file was damaged or changed; fetch it again, "
                    "or write its checksums anew"
                )
        if any(_stated(hdu.header, "DATASUM") for hdu in everything):
            _require_all_read(everything[-1], len(everything), path)


def _require_all_read(last: Any, n_hdus: int, path: Path) -> None:  # noqa: ANN401 - any HDU
    """Refuse bytes after the last HDU: astropy takes a damaged header for the end of the file."""
    info = last.fileinfo()
    n_left = info["file"].size - info["datLoc"] - info["datSpan"]
    if n_left > 0:
        raise MosaicError(
            f"HDU {n_hdus} of {path} cannot be read, {n_left} bytes are left: the file was "
            "damaged; fetch it again"
        )


def _disagreement(hdu: Any) -> str | None:  # noqa: ANN401 - any HDU
    """Return the keyword of a wrong checksum."""
    data_sum, check_sum = _stated(hdu.header, "DATASUM"), _stated(hdu.header, "CHECKSUM")
    if data_sum is None and check_sum is None:
        return None
    info = hdu.fileinfo()
    data = _sum(info["file"], info["datLoc"], info["datSpan"])
    if data_sum is not None and not (data_sum.isdecimal() and int(data_sum) % ALL_ONES == data):
        return "DATASUM"
    head = _sum(info["file"], info["hdrLoc"], info["datLoc"] - info["hdrLoc"])
    return "CHECKSUM" if check_sum is not None and (head + data) % ALL_ONES != 0 else None


def _stated(header: fits.Header, keyword: str) -> str | None:
    """Return a checksum of a header; an empty one means that it was not computed."""
    return str(header.get(keyword, "")).strip() or None


def _sum(file: Any, start: int, n_bytes: int) -> int:  # noqa: ANN401 - astropy's file
    """Return the sum of the big-endian words of a part of a file, modulo `ALL_ONES`."""
    total = 0
    file.seek(start)
    for first in range(0, n_bytes, PIECE_BYTES):
        wanted = min(PIECE_BYTES, n_bytes - first)
        piece = file.read(wanted)
        if len(piece) < wanted:
            raise OSError(f"it ends {wanted - len(piece)} bytes early")
        total += int(np.frombuffer(piece, dtype=">u4").sum(dtype=np.uint64))
    return total % ALL_ONES


def has_data(exposure: Exposure) -> bool:
    """Return whether any pixel of an image has data.

    Reads one window of most images: the search begins in the middle, and ends with the first
    window that is not empty.

    Parameters
    ----------
    exposure
        The image.

    Raises
    ------
    MosaicError
        If it cannot be read.
    """
    ny, nx = exposure.shape
    cores = [tile.core for tile in TileGrid(exposure.shape, SEARCH_PX).tiles()]
    cores.sort(key=lambda box: abs(box.y0 + box.y1 - ny) + abs(box.x0 + box.x1 - nx))
    return any(bool(np.isfinite(exposure.read(box).flux).any()) for box in cores)
