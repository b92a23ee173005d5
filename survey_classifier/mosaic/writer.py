"""Writing a mosaic shard by shard, so that an interrupted write can be resumed.

Owns the making of a store, its shards, their records and its seal. Does not own the names on
disk (``store``), what a new store holds (``blueprint``) nor what the pixels are (``ingest``).

A sealed store has a digest and opens for reading. The first shard that is written to it breaks
the seal, so an update that was killed never looks finished; before a shard is written over, its
record is erased, so it is written again whatever it is planned to be made of by then.
"""

import hashlib
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from survey_classifier.errors import MosaicError
from survey_classifier.geometry import Box, TileGrid
from survey_classifier.mosaic.blueprint import (
    Layout,
    bring_up_to,
    digest_of,
    empty_store,
    new_bands,
    require_alike,
)
from survey_classifier.mosaic.exposure import Window
from survey_classifier.mosaic.pixels import MaskBit, band_index
from survey_classifier.mosaic.place import WRITE_FAILURES, Place, reason
from survey_classifier.mosaic.pyramid import pyramid
from survey_classifier.mosaic.quantize import rounded, sky_noise
from survey_classifier.mosaic.store import (
    ATTRIBUTE,
    DIGESTS,
    NOISE,
    PLANES,
    SHARD_PX,
    SHARDS,
    VARIANCE,
    Mosaic,
    bands_of,
    open_about,
    open_array,
    open_group,
)

__all__ = ["Layout", "MosaicWriter", "is_finished"]


class MosaicWriter:
    """Writes a mosaic shard by shard; what is finished stays until its inputs change.

    Several threads and processes may write at once, each shard by one of them.

    Parameters
    ----------
    place
        Where the store lies.
    group
        The opened group.
    """

    def __init__(self, place: Place, group: zarr.Group) -> None:
        about = open_about(group, place)
        self.place = place
        self.bands = tuple(band.name for band in bands_of(about))
        self.shard_grid = TileGrid((int(about["shape"][0]), int(about["shape"][1])), SHARD_PX)
        self._infos = bands_of(about)
        self._steps: int | None = about["quantize"]
        self._territory = str(about["territory"])
        self._group = group
        self._arrays: dict[str, zarr.Array[Any]] = {}
        self._sealed = bool(about["digest"])
        self._has_unsealed = False
        self._unsealing = threading.Lock()

    @classmethod
    def open(cls, store: str | Path | Place) -> "MosaicWriter":
        """Go on with a store.

        Raises
        ------
        MosaicError
            If there is none.
        """
        place = Place.of(store)
        return cls(place, open_group(place, "r+"))

    @classmethod
    def open_or_create(cls, store: str | Path | Place, layout: Layout) -> "MosaicWriter":
        """Create a store, or go on with one: to resume it, to write parts anew, to add bands.

        Bands of the layout that the store lacks are added, those that it has are described anew,
        and its other bands stay as they are.

        Parameters
        ----------
        store
            Its folder or URL.
        layout
            What it is made by.

        Raises
        ------
        MosaicError
            If something else is there, it is of another grid, territory or rounding, one of its
            bands is of another unit or has variance where the layout's has not, or it cannot be
            written.
        """
        place = Place.of(store)
        with _saying(f"write {place}"):
            if not place.exists():
                place.create(empty_store(layout))
            group = open_group(place, "r+")
            bring_up_to(layout, group, place)
        return cls(place, group)

    @staticmethod
    def files_of(store: str | Path | Place) -> dict[str, tuple[str, ...]]:
        """Return the names of the files that each band of a store was made of.

        Raises
        ------
        MosaicError
            If there is no store.
        """
        place = Place.of(store)
        bands = bands_of(open_about(open_group(place), place))
        return {band.name: band.source_files for band in bands}

    def is_sealed_as(self, layout: Layout) -> bool:
        """Return whether the store is sealed, and its bands are described as in a layout.

        Raises
        ------
        MosaicError
            If it cannot be written to by the layout; see `open_or_create`.
        """
        require_alike(layout, self._group, self.place)
        same = layout.territory == self._territory and set(layout.bands) <= set(self._infos)
        return self._sealed and same

    def new_bands(self, layout: Layout) -> set[str]:
        """Return the names of a layout's bands of which every shard is to be written.

        Raises
        ------
        MosaicError
            If it cannot be written to by the layout; see `open_or_create`.
        """
        require_alike(layout, self._group, self.place)
        return new_bands(layout, self._infos)

    def has_variance(self, band: str) -> bool:
        """Return whether a band keeps the variance of its pixels.

        Raises
        ------
        MosaicError
            If there is no such band.
        """
        (index,) = band_index(self._infos, [band], str(self.place))
        return self._infos[index].has_variance

    def pending(self, planned: Mapping[str, npt.NDArray[np.uint64]]) -> Iterator[tuple[str, Box]]:
        """Yield band and box of each shard that is not made of what it is planned to be.

        Parameters
        ----------
        planned
            For each band that is to be looked at, the digest of what every shard is made of,
            shape ``(row, column)`` of `shard_grid`.

        Raises
        ------
        MosaicError
            If there is no such band.
        """
        for band, inputs in planned.items():
            band_index(self._infos, [band], str(self.place))
            records = self._records(band)
            todo = (records[..., 0] == 0) | (records[..., 1] != inputs)
            for tile in self.shard_grid.tiles():
                if todo[tile.row, tile.col]:
                    yield band, tile.core

    def write(self, band: str, box: Box, window: Window, inputs: int) -> None:
        """Write one shard on all levels, then its record.

        Parameters
        ----------
        band
            Name of the band.
        box
            One of the boxes of `pending`.
        window
            Its pixels. Where the band keeps variance and the window has none, it is not known.
        inputs
            Digest of what the pixels are made of, of 64 bits.

        Raises
        ------
        MosaicError
            If it cannot be written: no room, no permission, no answer. The shard is pending then.
        """
        shard = (box.y0 // SHARD_PX, box.x0 // SHARD_PX)
        mask = window.mask | np.where(
            np.isfinite(window.flux), np.uint8(0), np.uint8(MaskBit.NO_DATA)
        )
        noise = sky_noise(window.flux, mask)
        stored = replace(window, mask=mask)
        if self._steps is not None:
            stored = replace(stored, flux=rounded(window.flux, noise, self._steps))
        with _saying(f"write band {band}, {box} of {self.place}"):
            self._unseal()
            if np.any(self._array(f"{band}/{SHARDS}")[shard]):
                self._array(f"{band}/{SHARDS}")[shard] = 0
            digest = self._write_levels(band, box, stored)
            self._array(f"{band}/{NOISE}")[shard] = noise
            self._array(f"{band}/{SHARDS}")[shard] = np.array([digest, inputs], dtype=np.uint64)

    def finish(self) -> Mosaic:
        """Seal the store with its digest and open it for reading; a sealed one is only opened.

        Raises
        ------
        MosaicError
            If a shard was never written, or the seal cannot be.
        """
        # Others may have written meanwhile, and what is open keeps its first view of the seal.
        self._group = open_group(self.place, "r+")
        about = open_about(self._group, self.place)
        self._has_unsealed = False
        if not about["digest"]:
            with _saying(f"seal {self.place}"):
                self._seal(about)
        return Mosaic.open(self.place)

    def _seal(self, about: dict[str, Any]) -> None:
        records = {band: self._records(band)[..., 0] for band in self.bands}
        missing = sum(int((digests == 0).sum()) for digests in records.values())
        if missing:
            n_shards = sum(digests.size for digests in records.values())
            raise MosaicError(
                f"{self.place} lacks {missing} of {n_shards} shards; run the ingest again"
            )
        for band, digests in records.items():
            self._array(f"{band}/{DIGESTS}")[:] = digests
        self._group.attrs[ATTRIBUTE] = {**about, "digest": digest_of(self._group, about, records)}
        self._sealed = True

    def _unseal(self) -> None:
        """Take the digest away before the pixels that it was made of."""
        with self._unsealing:
            if self._has_unsealed:
                return
            # As it is now: another writer may have sealed the store since this one opened it.
            self._group = open_group(self.place, "r+")
            about = open_about(self._group, self.place)
            if about["digest"]:
                self._group.attrs[ATTRIBUTE] = {**about, "digest": ""}
            self._sealed, self._has_unsealed = False, True

    def _write_levels(self, band: str, box: Box, window: Window) -> int:
        """Write the planes of every level; return the digest of those of level 0."""
        if not self.has_variance(band):
            window = replace(window, variance=None)
        elif window.variance is None:
            window = replace(window, variance=np.full(box.shape, np.nan, dtype=np.float32))
        state = hashlib.sha256()
        for level, binned in enumerate(pyramid(window)):
            (y0, x0), (ny, nx) = (box.y0 >> level, box.x0 >> level), binned.flux.shape
            where = (slice(y0, y0 + ny), slice(x0, x0 + nx))
            for plane in (*PLANES, VARIANCE):
                pixels = getattr(binned, plane)
                if pixels is not None:
                    self._put(f"{band}/{level}/{plane}", box, where, pixels)
                    if level == 0:
                        state.update(np.ascontiguousarray(pixels).data)
        # Zero means that there is no record.
        return max(int.from_bytes(state.digest()[:8]), 1)

    def _put(
        self, key: str, box: Box, where: tuple[slice, slice], pixels: npt.NDArray[Any]
    ) -> None:
        """Write one plane of one level."""
        file = f"{key}/c/{box.y0 // SHARD_PX}/{box.x0 // SHARD_PX}"
        self.place.discard(file)
        self._array(key)[where] = pixels
        if self.place.folder is not None and not self.place.has(file):
            # The Rust codecs leave out a shard at the rim that has no data.
            open_array(self._group, key, self.place, rust=False)[where] = pixels

    def _records(self, band: str) -> npt.NDArray[np.uint64]:
        return np.asarray(self._array(f"{band}/{SHARDS}")[:])

    def _array(self, key: str) -> zarr.Array[Any]:
        if key not in self._arrays:
            self._arrays[key] = open_array(self._group, key, self.place)
        return self._arrays[key]


def is_finished(store: str | Path | Place) -> bool:
    """Return whether a store is sealed.

    Raises
    ------
    MosaicError
        If there is no store.
    """
    place = Place.of(store)
    return bool(open_about(open_group(place), place).get("digest"))


@contextmanager
def _saying(what: str) -> Iterator[None]:
    """Turn failures of the place into our own, which say what could not be done."""
    try:
        yield
    except WRITE_FAILURES as error:
        raise MosaicError(
            f"cannot {what}: {reason(error)}; make room or mend the place, then run again: "
            "finished shards stay"
        ) from error
