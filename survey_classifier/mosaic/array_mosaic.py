"""A mosaic in memory: pixels that need no store.

Owns the form of `PixelSource` that is arrays. Does not own the vocabulary of pixels (``pixels``)
nor the store on disk (``store``).
"""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.wcs import WCS

from survey_classifier.errors import MosaicError
from survey_classifier.geometry import Box
from survey_classifier.mosaic.pixels import (
    BandInfo,
    PixelBlock,
    ReadBand,
    band_index,
    padded_block,
)
from survey_classifier.mosaic.sky import SkyGrid

__all__ = ["ArrayMosaic"]


class ArrayMosaic(SkyGrid):
    """A mosaic in memory, one pyramid level.

    Parameters
    ----------
    name
        Name of the mosaic.
    bands
        The bands, in the order of the arrays' first axis.
    flux
        ``(band, y, x)`` in the bands' units; NaN where there is no data.
    wcs
        Celestial WCS of the grid.
    mask
        ``(band, y, x)`` of `MaskBit`, by default none; NO_DATA need not be said where flux is NaN.

    Raises
    ------
    MosaicError
        If the arrays and bands do not agree.
    """

    n_levels = 1

    def __init__(
        self,
        name: str,
        bands: Sequence[BandInfo],
        flux: npt.NDArray[np.float32],
        wcs: WCS,
        mask: npt.NDArray[np.uint8] | None = None,
    ) -> None:
        if flux.ndim != 3 or flux.shape[0] != len(bands):
            raise MosaicError(f"{name}: flux of shape {flux.shape} for {len(bands)} bands")
        super().__init__(wcs)
        self.name = name
        self.bands = tuple(bands)
        self._flux = np.asarray(flux, dtype=np.float32)
        self._mask = np.zeros(flux.shape, dtype=np.uint8) if mask is None else mask
        if self._mask.shape != self._flux.shape:
            raise MosaicError(f"{name}: mask {self._mask.shape} and flux {flux.shape} differ")

    @property
    def shape(self) -> tuple[int, int]:
        """``(ny, nx)`` in pixels."""
        return self._flux.shape[1], self._flux.shape[2]

    @property
    def chunk_px(self) -> int:
        """Arrays have no chunks: one pixel."""
        return 1

    @cached_property
    def digest(self) -> str:
        """SHA-256 over bands, WCS and pixels."""
        state = hashlib.sha256(repr(self.bands).encode())
        state.update(self.wcs.to_header_string(relax=True).encode())
        state.update(self._flux.tobytes())
        state.update(self._mask.tobytes())
        return state.hexdigest()

    def read(self, box: Box, bands: Sequence[str], level: int = 0) -> PixelBlock:
        """See `PixelSource.read`."""
        if level != 0:
            raise MosaicError(f"{self.name} is in memory and has level 0 only, not {level}")
        index = band_index(self.bands, bands, self.name)
        return padded_block(box, bands, self.shape, level, self._cut(index))

    def _cut(self, index: Sequence[int]) -> ReadBand:
        def read(number: int, slices: tuple[slice, slice]) -> tuple[Any, Any]:
            return self._flux[index[number]][slices], self._mask[index[number]][slices]

        return read
