"""The shards of a band: their files, their records and the digest of their pixels.

Owns which files a shard has and which of them are missing or cut off. Does not own reading
(``store``) nor writing them (``writer``), nor whether what is in them is what was written
(``damage``).
"""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt
import zarr

from survey_classifier.errors import MosaicError
from survey_classifier.geometry import TileGrid
from survey_classifier.mosaic.exposure import Window, empty_window
from survey_classifier.mosaic.pixels import BandInfo, MaskBit
from survey_classifier.mosaic.place import READ_FAILURES, Place, reason
from survey_classifier.mosaic.pyramid import N_LEVELS
from survey_classifier.mosaic.schema import COPIED_IN_PART, PLANES, SHARDS, VARIANCE, open_array

__all__ = [
    "ShardFile",
    "has_nothing",
    "is_void",
    "lost_files",
    "missing_files",
    "pixel_digest",
    "planes_of",
    "read_records",
    "void_digest",
]


INDEX_ENTRY_BYTES, CHECKSUM_BYTES = 16, 4
"""Size of offset and length of a chunk, and of the CRC-32C over all of them."""


@dataclass(frozen=True, slots=True)
class ShardFile:
    """One file of a shard: one plane of one level; as text its path in the store."""

    band: str
    level: int
    plane: str
    row: int
    col: int

    def __str__(self) -> str:
        return f"{self.array}/c/{self.row}/{self.col}"

    @property
    def array(self) -> str:
        """Path of its array in the store."""
        return f"{self.band}/{self.level}/{self.plane}"


def planes_of(band: BandInfo) -> tuple[str, ...]:
    """Return the names of the planes that a store keeps of a band."""
    return (*PLANES, VARIANCE) if band.has_variance else PLANES


def missing_files(
    place: Place, band: BandInfo, grid: TileGrid, digests: npt.NDArray[np.uint64]
) -> Iterator[ShardFile]:
    """Yield the files that a finished band should have and has not.

    A shard without data needs none: what is not there reads as no data.

    Parameters
    ----------
    place
        Where the store lies; its files can be listed.
    band
        The band.
    grid
        Its shards.
    digests
        Digests of their pixels, shape ``(row, column)``.

    Raises
    ------
    MosaicError
        If the object store does not answer or refuses.
    """
    there = place.files(band.name)
    for level in range(N_LEVELS):
        for plane in planes_of(band):
            for row, col in np.ndindex(digests.shape):
                file = ShardFile(band.name, level, plane, row, col)
                if str(file) not in there and not is_void(band, grid, (row, col), digests):
                    yield file


def lost_files(
    place: Place, band: BandInfo, grid: TileGrid, digests: npt.NDArray[np.uint64], n_chunks: int
) -> Iterator[ShardFile]:
    """Yield what `missing_files` does; in a folder also the files that are cut off.

    They lack the index of their chunks, which a shard ends with. Of each file only that is read:
    other changes are seen by reading all (``damage``). An object store takes a file whole or not
    at all.

    Parameters
    ----------
    place, band, grid, digests
        See `missing_files`.
    n_chunks
        Chunks of a shard on level 0.

    Raises
    ------
    MosaicError
        If the object store does not answer or refuses.
    """
    if place.folder is None:
        yield from missing_files(place, band, grid, digests)
        return
    for row, col in np.ndindex(digests.shape):
        if digests[row, col] == 0 or is_void(band, grid, (row, col), digests):
            continue
        for level, plane in product(range(N_LEVELS), planes_of(band)):
            file = ShardFile(band.name, level, plane, row, col)
            if not _ends_with_index(place.folder / str(file), n_chunks >> 2 * level):
                yield file


def _ends_with_index(path: Path, n_chunks: int) -> bool:
    """Return whether a file ends as Zarr's sharding codec 1.0 lets a shard end.

    That is offset and length of each chunk, and their CRC-32C. Zarr's own reading of a pixel would
    check the same, and takes sixty times as long.
    """
    n_bytes = n_chunks * INDEX_ENTRY_BYTES + CHECKSUM_BYTES
    try:
        with path.open("rb", buffering=0) as stream:
            stream.seek(max(os.fstat(stream.fileno()).st_size - n_bytes, 0))
            index = stream.read(n_bytes)
    except OSError:
        return False  # made again: if that can't be done either, its writing says why
    stated = int.from_bytes(index[-CHECKSUM_BYTES:], "little")
    return len(index) == n_bytes and google_crc32c.value(index[:-CHECKSUM_BYTES]) == stated


def is_void(
    band: BandInfo, grid: TileGrid, shard: tuple[int, int], digests: npt.NDArray[np.uint64]
) -> bool:
    """Return whether a shard is one without data, by its record.

    Parameters
    ----------
    band
        The band.
    grid
        Its shards.
    shard
        Row and column.
    digests
        Digests of the shards' pixels, shape ``(row, column)``.
    """
    return int(digests[shard]) == void_digest(grid.tile(*shard).core.shape, band.has_variance)


def read_records(group: zarr.Group, band: str, place: Place) -> npt.NDArray[np.uint64]:
    """Return the records of a band's shards, shape ``(row, column, 2)``.

    Raises
    ------
    MosaicError
        If they cannot be read.
    """
    try:
        return np.asarray(open_array(group, f"{band}/{SHARDS}", place)[:])
    except READ_FAILURES as error:
        raise MosaicError(
            f"cannot read the records of band {band} of {place}: {reason(error)}; {COPIED_IN_PART}"
        ) from error


def pixel_digest(window: Window) -> int:
    """Return the digest of a shard's pixels of level 0, of 64 bits and never zero.

    Parameters
    ----------
    window
        Its pixels, as they are stored.
    """
    state = hashlib.sha256()
    planes: tuple[npt.NDArray[Any] | None, ...] = (window.flux, window.mask, window.variance)
    for pixels in planes:
        if pixels is not None:
            state.update(np.ascontiguousarray(pixels).data)
    # Zero means that there is no record.
    return max(int.from_bytes(state.digest()[:8]), 1)


@lru_cache(maxsize=64)
def void_digest(shape: tuple[int, int], has_variance: bool) -> int:
    """Return the digest of a shard without data.

    Parameters
    ----------
    shape
        ``(ny, nx)`` in pixels.
    has_variance
        Whether its band has.
    """
    return pixel_digest(empty_window(shape, has_variance=has_variance))


def has_nothing(window: Window) -> bool:
    """Return whether a shard is one without data: it holds what is read where no file is.

    Parameters
    ----------
    window
        Its pixels, as they are to be stored.
    """
    return (
        bool(np.isnan(window.flux).all())
        and bool((window.mask == MaskBit.NO_DATA).all())
        and (window.variance is None or bool(np.isnan(window.variance).all()))
    )
