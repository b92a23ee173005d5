"""Reading a mosaic on disk: one sky area, one pixel grid, any number of named bands.

Owns reading boxes of pixels of a finished store. Does not own the names on disk (``schema``),
writing (``writer``), where a store lies (``place``), where the pixels come from (``ingest``) nor
file formats (``readers``).
"""

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from astropy.io import fits
from astropy.wcs import WCS

from survey_classifier.errors import MosaicError
from survey_classifier.geometry import Box, TileGrid, overlap
from survey_classifier.mosaic.pixels import (
    BandInfo,
    MaskBit,
    PixelBlock,
    band_index,
    padded_block,
)
from survey_classifier.mosaic.place import READ_FAILURES, Place, reason
from survey_classifier.mosaic.pyramid import N_LEVELS
from survey_classifier.mosaic.schema import (
    ATTRIBUTE,
    CHUNK_PX,
    DIGESTS,
    MENDING,
    NOISE,
    PLANES,
    SHARD_PX,
    VARIANCE,
    WCS_ATTRIBUTE,
    bands_of,
    open_about,
    open_array,
    open_group,
)
from survey_classifier.mosaic.shards import is_void, missing_files
from survey_classifier.mosaic.sky import SkyGrid

__all__ = ["CHUNK_PX", "SHARD_PX", "Mosaic"]


class Mosaic(SkyGrid):
    """A finished mosaic, opened for reading; see `PixelSource`."""

    chunk_px = CHUNK_PX
    n_levels = N_LEVELS

    def __init__(self, place: Place, group: zarr.Group) -> None:
        about: dict[str, Any] = dict(group.attrs[ATTRIBUTE])  # type: ignore[arg-type]
        super().__init__(WCS(fits.Header.fromstring(str(group.attrs[WCS_ATTRIBUTE]))))
        self.place = place
        self.name = str(about["name"])
        self.bands = bands_of(about)
        self.shape = (int(about["shape"][0]), int(about["shape"][1]))
        self.territory = str(about["territory"])
        self.digest = str(about["digest"])
        self._group = group
        self._arrays: dict[str, zarr.Array[Any]] = {}
        self._seen: set[str] = set()

    @property
    def sky(self) -> SkyGrid:
        """The grid on the sky."""
        return self

    @classmethod
    def open(cls, store: str | Path | Place) -> "Mosaic":
        """Open a finished mosaic.

        Parameters
        ----------
        store
            Its folder or URL.

        Raises
        ------
        MosaicError
            If there is none, its ingest was not finished, or shards are missing.
        """
        place = Place.of(store)
        group = open_group(place)
        about = open_about(group, place)
        if not about.get("digest"):
            raise MosaicError(f"the ingest of {place} is not finished; run the ingest again")
        mosaic = cls(place, group)
        if place.can_list:
            mosaic._require_shards()
        return mosaic

    def read(self, box: Box, bands: Sequence[str], level: int = 0) -> PixelBlock:
        """See `PixelSource.read`."""
        band_index(self.bands, bands, str(self.place))

        def read_band(number: int, slices: tuple[slice, slice]) -> tuple[Any, Any]:
            flux, mask = (f"{bands[number]}/{level}/{plane}" for plane in PLANES)
            return self._cut(flux, slices, box), self._cut(mask, slices, box)

        return padded_block(box, bands, self._level_shape(level), level, read_band)

    def read_variance(self, box: Box, band: str, level: int = 0) -> npt.NDArray[np.float32]:
        """Return the variance of a band's flux in a box of a pyramid level.

        Parameters
        ----------
        box
            In pixels of the level; it may stick out of the mosaic.
        band
            Name of the band.
        level
            Pyramid level.

        Returns
        -------
        ndarray of float32
            ``(y, x)`` in the square of the band's unit; NaN outside and where it is not known.

        Raises
        ------
        MosaicError
            If there is no such band, it has no variance, or it cannot be read.
        """
        (index,) = band_index(self.bands, [band], str(self.place))
        if not self.bands[index].has_variance:
            raise MosaicError(
                f"band {band} of {self.place} has no variance; ingest files that have one"
            )
        variance = np.full(box.shape, np.nan, dtype=np.float32)
        self._fill(variance, f"{band}/{level}/{VARIANCE}", box)
        return variance

    def read_mask(self, box: Box, band: str, level: int = 0) -> npt.NDArray[np.uint8]:
        """Return what `read` has for mask, without reading flux: ``(y, x)`` of `MaskBit`.

        Raises
        ------
        MosaicError
            If there is no such band, or it cannot be read.
        """
        band_index(self.bands, [band], str(self.place))
        mask = np.full(box.shape, MaskBit.NO_DATA, dtype=np.uint8)
        self._fill(mask, f"{band}/{level}/mask", box)
        return mask

    def read_plane(
        self, box: Box, band: BandInfo, plane: str, level: int = 0
    ) -> npt.NDArray[np.generic]:
        """Return a plane of a band as it is stored.

        Parameters
        ----------
        box
            In pixels of the level, inside the mosaic.
        band
            The band.
        plane
            ``flux``, ``mask`` or ``variance``.
        level
            Pyramid level.

        Raises
        ------
        MosaicError
            If it cannot be read.
        """
        return np.asarray(self._cut(f"{band.name}/{level}/{plane}", box.slices, box))

    def _fill(self, plane: npt.NDArray[Any], key: str, box: Box) -> None:
        """Put what the mosaic has of a box into an array of the box's shape."""
        level = int(key.split("/")[1])
        slices = overlap(box, self._level_shape(level))
        if slices is not None:
            large, small = slices
            plane[small] = self._cut(key, large, box)

    def shard_digests(self, band: str) -> npt.NDArray[np.uint64]:
        """Return the digest of each shard's pixels, shape ``(row, column)`` of `SHARD_PX`."""
        return self._whole(band, DIGESTS)

    def noise(self, band: str) -> npt.NDArray[np.float32]:
        """Return the sky noise of a pixel in each shard, shape ``(row, column)`` of `SHARD_PX`.

        In the band's unit; NaN where a shard has too few pixels to tell.
        """
        return self._whole(band, NOISE)

    def _whole(self, band: str, name: str) -> Any:  # noqa: ANN401 - of the array's own type
        band_index(self.bands, [band], str(self.place))
        try:
            return np.asarray(self._array(f"{band}/{name}")[:])
        except READ_FAILURES as error:
            raise self._unreadable(f"the {name} of band {band}", error) from error

    def _level_shape(self, level: int) -> tuple[int, int]:
        return -(-self.shape[0] // 2**level), -(-self.shape[1] // 2**level)

    def _cut(self, key: str, slices: tuple[slice, slice], box: Box) -> Any:  # noqa: ANN401
        """Return pixels of a plane; the box is for the message."""
        band, level, plane = key.split("/")
        array = self._array(key)
        try:
            if not self.place.can_list:
                self._require_there(key, array, slices)
            return array[slices]
        except READ_FAILURES as error:
            what = f"band {band}, level {level}, {plane} in {box}"
            raise self._unreadable(what, error) from error

    def _unreadable(self, what: str, error: Exception) -> MosaicError:
        return MosaicError(f"cannot read {what} of {self.place}: {reason(error)}; {MENDING}")

    def _array(self, key: str) -> zarr.Array[Any]:
        if key not in self._arrays:
            self._arrays[key] = open_array(self._group, key, self.place)
        return self._arrays[key]

    def _require_shards(self) -> None:
        """Refuse a store that lacks the file of a shard: it would read as a hole in the sky."""
        for band in self.bands:
            digests = self.shard_digests(band.name)
            for file in missing_files(self.place, band, self._shard_grid, digests):
                raise MosaicError(f"{self.place} lacks {file}; {MENDING}")

    def _require_there(self, key: str, array: Any, slices: tuple[slice, slice]) -> None:  # noqa: ANN401
        """Do the same for the shards of a slice, where a store's files cannot be listed."""
        spans = (
            range(part.start // side, -(-part.stop // side))
            for part, side in zip(slices, array.shards, strict=True)
        )
        for row, col in product(*spans):
            file = f"{key}/c/{row}/{col}"
            if file in self._seen:
                continue
            if not self.place.has(file) and not self._is_void(key.split("/")[0], (row, col)):
                raise FileNotFoundError(f"{file} is missing")
            self._seen.add(file)

    def _is_void(self, band: str, shard: tuple[int, int]) -> bool:
        """Return whether a shard is one without data, which needs no files."""
        (index,) = band_index(self.bands, [band], str(self.place))
        return is_void(self.bands[index], self._shard_grid, shard, self.shard_digests(band))

    @property
    def _shard_grid(self) -> TileGrid:
        flux = self._array(f"{self.bands[0].name}/0/{PLANES[0]}")
        side, _ = flux.shards or flux.chunks
        return TileGrid(self.shape, side)
