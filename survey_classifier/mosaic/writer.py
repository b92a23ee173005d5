"""Writing a mosaic shard by shard, so that an interrupted write can be resumed.

Owns the making of a store, its shards and their records. Does not own the names on disk
(``schema``), what a store holds besides (``blueprint``, ``revision``, ``seal``) nor what the
pixels are (``ingest``).

A sealed store has a digest and opens for reading. The first shard that is written to it breaks
the seal, so an update that was killed never looks finished; before a shard is written over, its
record is erased, so it is written again whatever it is planned to be made of by then.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from survey_classifier.errors import MosaicError, StoreError, SurveyClassifierError
from survey_classifier.geometry import Box, TileGrid
from survey_classifier.mosaic.blueprint import Layout, empty_store
from survey_classifier.mosaic.exposure import Window
from survey_classifier.mosaic.pixels import BandInfo, MaskBit, band_index
from survey_classifier.mosaic.place import WRITE_FAILURES, Place, reason
from survey_classifier.mosaic.pyramid import N_LEVELS, pyramid
from survey_classifier.mosaic.quantize import rounded, sky_noise
from survey_classifier.mosaic.revision import bring_up_to, new_bands, require_alike
from survey_classifier.mosaic.schema import (
    NOISE,
    SHARD_PX,
    SHARDS,
    bands_of,
    open_about,
    open_array,
    open_group,
)
from survey_classifier.mosaic.seal import Seal
from survey_classifier.mosaic.shards import (
    ShardFile,
    has_nothing,
    lost_files,
    pixel_digest,
    planes_of,
    read_records,
    void_digest,
)
from survey_classifier.mosaic.store import Mosaic

__all__ = ["Layout", "MosaicWriter"]


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
        self._seal = Seal(place, is_set=bool(about["digest"]))

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
            bands is of another unit or has variance where the layout's has not, or a new one
            cannot be written.
        StoreError
            If one that is there cannot be written on.
        """
        place = Place.of(store)
        if not place.exists():
            with _saying(f"write {place}", MosaicError):
                place.create(empty_store(layout))
        group = open_group(place, "r+")
        with _saying(f"write {place}"):
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
        return self._seal.is_set and same

    def new_bands(self, layout: Layout) -> set[str]:
        """Return the names of a layout's bands of which every shard is to be written.

        Raises
        ------
        MosaicError
            If it cannot be written to by the layout; see `open_or_create`.
        """
        require_alike(layout, self._group, self.place)
        return new_bands(layout, self._infos)

    def pending(self, planned: Mapping[str, npt.NDArray[np.uint64]]) -> Iterator[tuple[str, Box]]:
        """Yield band and box of each shard that is not made of what it is planned to be.

        Neither is one of which a file is missing or, in a folder, cut off: what was lost, or
        removed as damaged, is made again.

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
            (index,) = band_index(self._infos, [band], str(self.place))
            records = self._records(band)
            todo = (records[..., 0] == 0) | (records[..., 1] != inputs)
            flux = self._array(f"{band}/0/flux")
            n_chunks = ((flux.shards or flux.chunks)[0] // flux.chunks[0]) ** 2
            info, grid = self._infos[index], self.shard_grid
            for file in lost_files(self.place, info, grid, records[..., 0], n_chunks):
                todo[file.row, file.col] = True
            for tile in self.shard_grid.tiles():
                if todo[tile.row, tile.col]:
                    yield band, tile.core

    def write(self, band: str, box: Box, window: Window | None, inputs: int) -> None:
        """Write one shard on all levels, then its record; one without data takes no room.

        Parameters
        ----------
        band
            Name of the band.
        box
            One of the boxes of `pending`.
        window
            Its pixels, None if there is no data. Where the band keeps variance and the window has
            none, it is not known.
        inputs
            Digest of what the pixels are made of, of 64 bits.

        Raises
        ------
        StoreError
            If it cannot be written: no room, no permission, no answer. The shard is pending then.
        """
        (index,) = band_index(self._infos, [band], str(self.place))
        info = self._infos[index]
        row, col = shard = (box.y0 // SHARD_PX, box.x0 // SHARD_PX)
        stored, noise = (None, np.nan) if window is None else self._as_stored(info, window)
        with _saying(f"write band {band}, {box} of {self.place}"):
            self._seal.break_open()
            if np.any(self._array(f"{band}/{SHARDS}")[shard]):
                self._array(f"{band}/{SHARDS}")[shard] = 0
            if stored is None or has_nothing(stored):
                digest = void_digest(box.shape, info.has_variance)
                self.place.remove(_files_of(info, row, col))
            else:
                digest = pixel_digest(stored)
                self._write_levels(info, box, stored)
                self._array(f"{band}/{NOISE}")[shard] = noise
            self._array(f"{band}/{SHARDS}")[shard] = np.array([digest, inputs], dtype=np.uint64)

    def _as_stored(self, band: BandInfo, window: Window) -> tuple[Window, float]:
        """Return a shard's pixels as they are kept, and the noise of its sky."""
        mask = window.mask | np.where(
            np.isfinite(window.flux), np.uint8(0), np.uint8(MaskBit.NO_DATA)
        )
        noise = sky_noise(window.flux, mask)
        flux = window.flux if self._steps is None else rounded(window.flux, noise, self._steps)
        variance = window.variance if band.has_variance else None
        if band.has_variance and variance is None:
            variance = np.full(flux.shape, np.nan, dtype=np.float32)
        return Window(flux, mask, variance), noise

    def finish(self) -> Mosaic:
        """Seal the store with its digest and open it for reading; a sealed one is only opened.

        Raises
        ------
        MosaicError
            If a shard was never written.
        StoreError
            If the seal cannot be written.
        """
        with _saying(f"seal {self.place}"):
            self._seal.set({band: self._records(band)[..., 0] for band in self.bands})
        return Mosaic.open(self.place)

    def _write_levels(self, band: BandInfo, box: Box, window: Window) -> None:
        """Write the planes of every level."""
        row, col = box.y0 // SHARD_PX, box.x0 // SHARD_PX
        for level, binned in enumerate(pyramid(window)):
            (y0, x0), (ny, nx) = (box.y0 >> level, box.x0 >> level), binned.flux.shape
            where = (slice(y0, y0 + ny), slice(x0, x0 + nx))
            for plane in planes_of(band):
                file = ShardFile(band.name, level, plane, row, col)
                self._put(file, where, getattr(binned, plane))

    def _put(self, file: ShardFile, where: tuple[slice, slice], pixels: npt.NDArray[Any]) -> None:
        """Write one plane of one level."""
        self.place.discard(str(file))
        self._array(file.array)[where] = pixels
        if self.place.folder is not None and not self.place.has(str(file)):
            # The Rust codecs leave out a shard at the rim that has no data.
            open_array(self._group, file.array, self.place, rust=False)[where] = pixels

    def _records(self, band: str) -> npt.NDArray[np.uint64]:
        return read_records(self._group, band, self.place)

    def _array(self, key: str) -> zarr.Array[Any]:
        if key not in self._arrays:
            self._arrays[key] = open_array(self._group, key, self.place)
        return self._arrays[key]


def _files_of(band: BandInfo, row: int, col: int) -> Iterator[str]:
    """Yield all files that a shard may have besides its record."""
    yield f"{band.name}/{NOISE}/c/{row}/{col}"
    for level, plane in product(range(N_LEVELS), planes_of(band)):
        yield str(ShardFile(band.name, level, plane, row, col))


@contextmanager
def _saying(what: str, kind: type[SurveyClassifierError] = StoreError) -> Iterator[None]:
    """Turn failures of the place into our own, which say what could not be done."""
    try:
        yield
    except WRITE_FAILURES as error:
        raise kind(
            f"cannot {what}: {reason(error)}; make room or mend the place, then run again: "
            "finished shards stay"
        ) from error
