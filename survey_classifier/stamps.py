"""Cutting one stamp per source.

Owns the cut: which box a set of stamps reads, and how pixels reach each stamp. Does not own
the pixel convention (``geometry``), the resampling to a network's grid (``model.inputs``) or
the decision whether a stamp is good enough (``run.rows``).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from survey_classifier.geometry import Box, level_position, stamp_start
from survey_classifier.mosaic.pixels import (
    UNUSABLE,
    MaskBit,
    PixelBlock,
    PixelSource,
    band_index,
)

__all__ = ["MASK_BITS", "Stamps", "cut_stamps", "stamps_box"]

MASK_BITS = tuple(MaskBit)
"""The mask bits in the order of `Stamps.mask_fraction`."""
SPARSE_PX = 8
"""Every so many pixels are enough to see that nearly all stamps are not flat."""
ROUNDING = 16 * float(np.finfo(np.float32).eps)
"""Relative difference that resampling leaves between equal pixels."""


@dataclass(frozen=True, slots=True)
class Stamps:
    """Stamps of n sources, each with its source's pixel at index ``s // 2`` of both axes."""

    bands: tuple[str, ...]
    """Band names, in the order of the second axis."""
    flux: npt.NDArray[np.float32]
    """``(n, band, s, s)`` in the bands' units (nJy: of a stamp's own pixel, whatever its level);
    NaN outside the mosaic and where unusable."""
    offset_px: npt.NDArray[np.float32]
    """``(n, 2)``: the sources' ``(x, y)`` less the center of their pixel, in stamp pixels."""
    valid_fraction: npt.NDArray[np.float32]
    """``(n,)``: share of the stamp's pixels that are usable in every band."""
    center_mask: npt.NDArray[np.uint8]
    """``(n,)``: `MaskBit` of the source's own pixel in any band; NO_DATA outside the mosaic."""
    sticks_out: npt.NDArray[np.bool_]
    """``(n,)``: whether some of the stamp lies outside the mosaic."""
    mask_fraction: npt.NDArray[np.float32]
    """``(n, bit)``: share of pixels with each of `MASK_BITS` in any band."""
    scale_arcsec: float
    """Pixel scale of the stamps."""

    def __len__(self) -> int:
        return len(self.flux)

    @property
    def center_valid(self) -> npt.NDArray[np.bool_]:
        """``(n,)``: whether the source's own pixel is usable in every band."""
        return (self.center_mask & np.uint8(UNUSABLE)) == 0

    @property
    def is_flat(self) -> npt.NDArray[np.bool_]:
        """``(n,)``: whether in any band all usable pixels are alike, as in a tile of zeros."""
        found = _is_flat(self.flux[:, :, ::SPARSE_PX, ::SPARSE_PX])
        suspects = np.flatnonzero(found)
        found[suspects] = _is_flat(self.flux[suspects])
        return found

    def take(self, index: npt.NDArray[np.intp] | slice) -> "Stamps":
        """Return the stamps at an index."""
        return Stamps(
            self.bands,
            self.flux[index],
            self.offset_px[index],
            self.valid_fraction[index],
            self.center_mask[index],
            self.sticks_out[index],
            self.mask_fraction[index],
            self.scale_arcsec,
        )

    @classmethod
    def join(cls, parts: "Sequence[Stamps]") -> "Stamps":
        """Return the stamps of several cuts as one, in their order.

        Parameters
        ----------
        parts
            At least one; all of the same bands, size and scale.
        """
        first = parts[0]
        return cls(
            first.bands,
            np.concatenate([part.flux for part in parts]),
            np.concatenate([part.offset_px for part in parts]),
            np.concatenate([part.valid_fraction for part in parts]),
            np.concatenate([part.center_mask for part in parts]),
            np.concatenate([part.sticks_out for part in parts]),
            np.concatenate([part.mask_fraction for part in parts]),
            first.scale_arcsec,
        )


def _is_flat(flux: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Return whether some band of each image ``(n, band, y, x)`` has one value; NaN is none."""
    low, high = np.fmin.reduce(flux, axis=(2, 3)), np.fmax.reduce(flux, axis=(2, 3))
    alike = high - low <= ROUNDING * np.maximum(np.abs(low), np.abs(high))
    flat: npt.NDArray[np.bool_] = (alike | np.isnan(low)).any(axis=1)
    return flat


def cut_stamps(
    source: PixelSource,
    x_px: npt.ArrayLike,
    y_px: npt.ArrayLike,
    size_px: int,
    bands: Sequence[str],
    level: int = 0,
) -> Stamps:
    """Cut a stamp around each position, reading each pixel of the mosaic at most once.

    Parameters
    ----------
    source
        The mosaic.
    x_px, y_px
        Positions on level 0, shape ``(n,)``; NaN and positions far outside give empty stamps.
    size_px
        Side of a stamp in pixels of the level.
    bands
        Names of the bands, in the order wanted.
    level
        Pyramid level to cut from.
    """
    x = level_position(np.asarray(x_px, dtype=np.float64), level)
    y = level_position(np.asarray(y_px, dtype=np.float64), level)
    known = np.isfinite(x) & np.isfinite(y)
    x_start = stamp_start(np.where(known, x, 0.0), size_px)
    y_start = stamp_start(np.where(known, y, 0.0), size_px)
    offset = np.stack([x - x_start - size_px // 2, y - y_start - size_px // 2], axis=-1)
    ny, nx = (-(-side // 2**level) for side in source.shape)
    x_stop, y_stop = x_start + size_px, y_start + size_px
    touching = known & (x_start < nx) & (y_start < ny) & (x_stop > 0) & (y_stop > 0)
    within = touching & (x_start >= 0) & (y_start >= 0) & (x_stop <= nx) & (y_stop <= ny)
    cut = _Cut.of(touching, len(bands), size_px)
    if touching.any():
        box = _bounding_box(x_start[touching], y_start[touching], size_px)
        block = source.read(box, bands, level)
        if level:
            block.flux[:] *= _flux_per_mean(source, bands, level)[:, None, None]
        cut.fill(block, np.flatnonzero(touching), x_start - box.x0, y_start - box.y0)
    return Stamps(
        tuple(bands),
        cut.flux,
        np.where(known[:, None], offset, 0.0).astype(np.float32),
        cut.valid_fraction,
        cut.center_mask,
        ~within,
        cut.mask_fraction,
        source.scale_arcsec * 2**level,
    )


def _flux_per_mean(
    source: PixelSource, bands: Sequence[str], level: int
) -> npt.NDArray[np.float32]:
    """Return what turns each band's means into its unit: a binned pixel holds the sum of nJy."""
    index = band_index(source.bands, bands, source.name)
    sums = [source.bands[number].unit == "nJy" for number in index]
    return np.where(sums, np.float32(4**level), np.float32(1))


def stamps_box(
    x_px: npt.NDArray[np.float64], y_px: npt.NDArray[np.float64], size_px: int, level: int = 0
) -> Box:
    """Return the box that `cut_stamps` reads, in pixels of the level.

    Parameters
    ----------
    x_px, y_px
        Positions on level 0 of at least one source, all on the mosaic; shape ``(n,)``.
    size_px
        Side of a stamp in pixels of the level.
    level
        Pyramid level that stamps are cut from.
    """
    x, y = level_position(x_px, level), level_position(y_px, level)
    return _bounding_box(stamp_start(x, size_px), stamp_start(y, size_px), size_px)


def _bounding_box(
    x_start: npt.NDArray[np.int64], y_start: npt.NDArray[np.int64], size_px: int
) -> Box:
    """Return the box that holds all stamps."""
    return Box(
        int(y_start.min()),
        int(y_start.max()) + size_px,
        int(x_start.min()),
        int(x_start.max()) + size_px,
    )


@dataclass(slots=True)
class _Cut:
    """The arrays of a `Stamps` while they are filled."""

    flux: npt.NDArray[np.float32]
    valid_fraction: npt.NDArray[np.float32]
    center_mask: npt.NDArray[np.uint8]
    mask_fraction: npt.NDArray[np.float32]

    @classmethod
    def of(cls, touching: npt.NDArray[np.bool_], n_bands: int, size_px: int) -> "_Cut":
        """Return the arrays with what holds for stamps that do not touch the mosaic."""
        n = len(touching)
        # Not filled where a stamp will be copied: writing gigabytes twice would double the time.
        flux = np.empty((n, n_bands, size_px, size_px), dtype=np.float32)
        flux[~touching] = np.nan
        mask_fraction = np.zeros((n, len(MASK_BITS)), dtype=np.float32)
        mask_fraction[~touching, MASK_BITS.index(MaskBit.NO_DATA)] = 1.0
        center_mask = np.where(touching, np.uint8(0), np.uint8(MaskBit.NO_DATA))
        return cls(flux, touching.astype(np.float32), center_mask, mask_fraction)

    def fill(
        self,
        block: PixelBlock,
        rows: npt.NDArray[np.intp],
        x_start: npt.NDArray[np.int64],
        y_start: npt.NDArray[np.int64],
    ) -> None:
        """Copy each stamp out of the block; the starts are relative to it."""
        size = self.flux.shape[-1]
        for row in rows:
            y, x = y_start[row], x_start[row]
            self.flux[row] = block.flux[:, y : y + size, x : x + size]
        any_mask = np.bitwise_or.reduce(block.mask, axis=0)
        if any_mask.any():
            for row in rows:
                window = (slice(y_start[row], y_start[row] + size),
                          slice(x_start[row], x_start[row] + size))  # fmt: skip
                if any_mask[window].any():
                    self._mask_out(row, block.mask[:, window[0], window[1]])

    def _mask_out(self, row: np.intp, mask: npt.NDArray[np.uint8]) -> None:
        """Blank the unusable pixels of one stamp and count what its mask says."""
        unusable = (mask & np.uint8(UNUSABLE)) != 0
        self.flux[row][unusable] = np.nan
        bad = np.logical_or.reduce(unusable, axis=0)
        any_mask = np.bitwise_or.reduce(mask, axis=0)
        size = len(bad)
        self.valid_fraction[row] = 1.0 - np.count_nonzero(bad) / bad.size
        self.center_mask[row] = any_mask[size // 2, size // 2]
        self.mask_fraction[row] = _fractions(any_mask)


def _fractions(mask: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return the share of pixels with each bit of `MASK_BITS`."""
    counts = np.bincount(mask.ravel(), minlength=256).astype(np.float64)
    return (_HAS_BIT @ counts / mask.size).astype(np.float32)


_HAS_BIT = np.array([[bool(value & bit) for value in range(256)] for bit in MASK_BITS], np.float64)
