"""What of a store is not as it was written: files that are missing, cut off or changed.

Owns reading all of a store and holding it against its records. Does not own the records
(``writer``, ``seal``) nor the mending: what is missing or cut off is made by the next ingest.

The pixels of a shard are held against its record, its coarser levels against what these pixels
make, the records and the description against the seal. Only the noise has no digest.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from survey_classifier.errors import MosaicError
from survey_classifier.geometry import Box, Tile, TileGrid
from survey_classifier.mosaic.exposure import Window
from survey_classifier.mosaic.pixels import BandInfo
from survey_classifier.mosaic.place import ROOT
from survey_classifier.mosaic.pyramid import N_LEVELS, pyramid
from survey_classifier.mosaic.schema import (
    COPIED_IN_PART,
    DIGESTS,
    SHARD_PX,
    SHARDS,
    WCS_ATTRIBUTE,
    open_about,
    open_group,
)
from survey_classifier.mosaic.seal import digest_of
from survey_classifier.mosaic.shards import (
    ShardFile,
    missing_files,
    pixel_digest,
    planes_of,
    read_records,
)
from survey_classifier.mosaic.store import Mosaic
from survey_classifier.words import counted

__all__ = ["Damage", "damages", "verdict"]


@dataclass(frozen=True, slots=True)
class Damage:
    """What is wrong with one shard, or with what the store says of its shards."""

    what: str
    """In a line, without the files."""
    files: tuple[str, ...]
    """Paths in the store, of which at least one is missing or not what was written."""
    band: str = ""
    """The shard's band; empty where it is no shard's."""
    box: Box | None = None
    """Its pixels of level 0."""

    def __str__(self) -> str:
        where = f"band {self.band}, {self.box}: " if self.band else ""
        return f"{where}{', '.join(self.files)} {self.what}"


def damages(mosaic: Mosaic, progress: Callable[[int, int], None] | None = None) -> Iterator[Damage]:
    """Read a whole store, and yield what of it is not as it was written.

    Parameters
    ----------
    mosaic
        The store, opened; of one that isn't finished, the finished shards are read.
    progress
        Called with the number of shards that were read and of all.

    Raises
    ------
    MosaicError
        If its records cannot be read.
    """
    group = open_group(mosaic.place)
    records = {band.name: read_records(group, band.name, mosaic.place) for band in mosaic.bands}
    grid = TileGrid(mosaic.shape, SHARD_PX)
    tiles = list(grid.tiles())
    done = 0
    for band in mosaic.bands:
        digests = records[band.name][..., 0]
        missing: set[str] = set()
        if mosaic.place.can_list:
            missing = {str(file) for file in missing_files(mosaic.place, band, grid, digests)}
        for tile in tiles:
            yield from _of_shard(mosaic, band, tile, int(digests[tile.row, tile.col]), missing)
            done += 1
            if progress is not None:
                progress(done, len(tiles) * len(mosaic.bands))
    if mosaic.digest:
        yield from _of_seal(mosaic, {name: record[..., 0] for name, record in records.items()})


def _of_shard(
    mosaic: Mosaic, band: BandInfo, tile: Tile, record: int, missing: set[str]
) -> Iterator[Damage]:
    """Yield what is wrong with one shard, at most one damage."""
    if record == 0:
        if mosaic.digest:
            file = f"{band.name}/{SHARDS}/c/{tile.row}/{tile.col}/0"
            yield Damage("has no record", (file,), band.name, tile.core)
        return
    stored: dict[tuple[int, str], npt.NDArray[np.generic]] = {}
    what: dict[str, str] = {}
    for level in range(N_LEVELS):
        for plane in planes_of(band):
            file = str(ShardFile(band.name, level, plane, tile.row, tile.col))
            if file in missing:
                what[file] = "is missing"
                continue
            try:
                stored[level, plane] = mosaic.read_plane(_on(level, tile.core), band, plane, level)
            except MosaicError:
                what[file] = "cannot be read"
    if not any((0, plane) not in stored for plane in planes_of(band)):
        what |= _changed(stored, band, tile, record)
    if what:
        words = ", ".join(dict.fromkeys(what.values()))
        yield Damage(words, tuple(what), band.name, tile.core)


def _changed(
    stored: dict[tuple[int, str], npt.NDArray[np.generic]], band: BandInfo, tile: Tile, record: int
) -> dict[str, str]:
    """Return which files of a shard hold other pixels than they did, and what is said of them."""

    def files(level: int, planes: tuple[str, ...]) -> list[str]:
        return [str(ShardFile(band.name, level, name, tile.row, tile.col)) for name in planes]

    window = Window(
        stored[0, "flux"].view(np.float32),
        stored[0, "mask"].view(np.uint8),
        stored[0, "variance"].view(np.float32) if band.has_variance else None,
    )
    if pixel_digest(window) != record:
        # The digest is one over all planes.
        return dict.fromkeys(files(0, planes_of(band)), "holds other pixels than were written")
    changed = []
    for level, binned in enumerate(pyramid(window)):
        for plane in planes_of(band):
            there = stored.get((level, plane))
            expected = getattr(binned, plane)
            if there is not None and there.tobytes() != np.ascontiguousarray(expected).tobytes():
                changed += files(level, (plane,))
    return dict.fromkeys(changed, "does not fit the pixels of level 0")


def _of_seal(mosaic: Mosaic, records: dict[str, npt.NDArray[np.uint64]]) -> Iterator[Damage]:
    """Yield what does not fit the digest of a finished store."""
    sound = True
    for name, digests in records.items():
        copies = mosaic.shard_digests(name)
        if ((copies != digests) & (digests != 0)).any():
            sound = False
            file = f"{name}/{DIGESTS}/c/0/0"
            yield Damage(f"does not fit the records in {name}/{SHARDS}", (file,))
    group = open_group(mosaic.place)
    about = open_about(group, mosaic.place)
    header = str(group.attrs[WCS_ATTRIBUTE])
    whole = all((digests != 0).all() for digests in records.values())
    if sound and whole and digest_of(header, about, records) != mosaic.digest:
        yield Damage("says other things of the store than when it was finished", (ROOT,))


def verdict(mosaic: Mosaic, found: Sequence[Damage]) -> MosaicError:
    """Return what to raise of a store that is damaged.

    Parameters
    ----------
    mosaic
        The store.
    found
        What is wrong with it.
    """
    n_files = sum(len(damage.files) for damage in found)
    them = "it" if n_files == 1 else "them"
    remedy = COPIED_IN_PART
    if all(damage.band for damage in found):
        remedy = f"copy {them} again, or remove {them} and run the ingest again"
    return MosaicError(f"{mosaic.place} is damaged in {counted(n_files, 'file')}: {remedy}")


def _on(level: int, box: Box) -> Box:
    """Return the pixels of a coarser level that a shard makes."""
    size = 2**level
    return Box(box.y0 // size, -(-box.y1 // size), box.x0 // size, -(-box.x1 // size))
