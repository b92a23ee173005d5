"""What the rest of the package knows of imaging: bands, masks, blocks and where they come from.

Owns the vocabulary (`BandInfo`, `MaskBit`, `PixelBlock`) and the seam `PixelSource`. Does not own
sky positions (``sky``), pixels in memory (``array_mosaic``), the store on disk (``store``) nor any
file format (``readers``).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntFlag
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from survey_classifier.errors import MosaicError
from survey_classifier.geometry import Box, overlap

__all__ = [
    "UNUSABLE",
    "BandInfo",
    "Described",
    "MaskBit",
    "PixelBlock",
    "PixelSource",
    "ReadBand",
    "band_index",
    "padded_block",
    "wrong_band_name",
]

Unit = Literal["nJy", "display"]
FloatArray = npt.NDArray[np.float64]


class MaskBit(IntFlag):
    """Bits of a mosaic's mask planes; every survey's own planes are mapped to these."""

    NO_DATA = 1
    SATURATED = 2
    BAD = 4
    COSMIC_RAY = 8
    BRIGHT_STAR = 16
    EDGE = 32
    SUSPECT = 64
    INTERPOLATED = 128


UNUSABLE = MaskBit.NO_DATA | MaskBit.SATURATED | MaskBit.BAD | MaskBit.EDGE
"""A pixel with any of these bits is not shown to the network; the others only raise flags."""


BAND_NAME = r"[A-Za-z0-9][A-Za-z0-9_-]*"
"""A band's name is also a folder of the store."""


def wrong_band_name(name: str) -> str | None:
    """Return what is wrong with the name of a band, None if nothing is.

    Parameters
    ----------
    name
        As it is given.
    """
    if re.fullmatch(BAND_NAME, name) is not None:
        return None
    return (
        f"{name!r} is no name of a band; use letters, digits, - and _, a letter or digit first, "
        "such as 'g' or 'NIR-Y'"
    )


@dataclass(frozen=True, slots=True)
class BandInfo:
    """One band of a mosaic.

    Raises
    ------
    MosaicError
        If the name is not one that a folder can have.
    """

    name: str
    """Band name as the checkpoint's card spells it, such as ``i``."""
    unit: Unit
    """``nJy`` per pixel, or ``display`` for an image without photometric calibration."""
    zero_point: float | None = None
    """Magnitude of one count in the source file, None for ``display``."""
    psf_fwhm_arcsec: float | None = None
    """Seeing, None where the file does not say."""
    source_files: tuple[str, ...] = ()
    """Names of the ingested files."""
    has_variance: bool = False
    """Whether the variance of its pixels is known, of some files at least."""
    variance_in_part: bool = False
    """Whether it is not known of other files."""
    has_mask: bool = True
    """Whether a file said which pixels are flawed, such as saturated; where this is not known (of
    stores of former versions), it counts as said."""

    def __post_init__(self) -> None:
        wrong = wrong_band_name(self.name)
        if wrong is not None:
            raise MosaicError(wrong)


@dataclass(frozen=True, slots=True)
class PixelBlock:
    """Pixels of some bands in one box."""

    box: Box
    """The box, in pixels of its pyramid level; it may stick out of the mosaic."""
    bands: tuple[str, ...]
    """Band names, in the order of the first axis."""
    flux: npt.NDArray[np.float32]
    """``(band, y, x)``, in the bands' units; NaN where there is no data, never infinite."""
    mask: npt.NDArray[np.uint8]
    """``(band, y, x)`` of `MaskBit`; NO_DATA outside the mosaic and wherever flux is NaN.

    On level 0 each bit is the pixel's own. On coarser levels a bit of `UNUSABLE` says that fewer
    than half of the pixels were usable, and then which flaws they have; in a usable pixel a
    warning says that at least one of the pixels has it, and SUSPECT also that a saturated, bad or
    edge pixel was left out of the mean."""
    level: int = 0
    """Pyramid level; level k is binned ``2**k`` x ``2**k``, its values are means."""


class Described(Protocol):
    """What is known of a mosaic before its pixels are there."""

    @property
    def name(self) -> str:
        """Name of the mosaic."""

    @property
    def bands(self) -> tuple[BandInfo, ...]:
        """All bands."""

    @property
    def scale_arcsec(self) -> float:
        """Pixel scale of level 0."""

    @property
    def n_levels(self) -> int:
        """Number of pyramid levels, at least 1."""


class PixelSource(Described, Protocol):
    """Where pixels come from: a store, or arrays in memory.

    Implementations are immutable, safe to read from several threads, and cheap to open. `read`
    never fails for a box that sticks out of the mosaic: what lies outside is NaN and NO_DATA.
    """

    @property
    def shape(self) -> tuple[int, int]:
        """``(ny, nx)`` of level 0 in pixels."""

    @property
    def chunk_px(self) -> int:
        """Side of the square that is read at once."""

    @property
    def digest(self) -> str:
        """SHA-256 over what the mosaic holds, hexadecimal."""

    def world_to_pixel(
        self, ra_deg: npt.ArrayLike, dec_deg: npt.ArrayLike
    ) -> tuple[FloatArray, FloatArray]:
        """Return ``(x, y)`` on level 0; NaN where a position is NaN or not on the projection."""

    def pixel_to_world(
        self, x_px: npt.ArrayLike, y_px: npt.ArrayLike
    ) -> tuple[FloatArray, FloatArray]:
        """Return ``(ra, dec)`` in degrees, right ascension in [0, 360)."""

    def read(self, box: Box, bands: Sequence[str], level: int = 0) -> PixelBlock:
        """Return the pixels of the named bands in a box of a pyramid level."""


def band_index(bands: Sequence[BandInfo], names: Sequence[str], where: str) -> list[int]:
    """Return the index of each named band.

    Raises
    ------
    MosaicError
        If a band is not there.
    """
    known = [band.name for band in bands]
    for name in names:
        if name not in known:
            raise MosaicError(f"{where} has no band {name!r}; it has {', '.join(known)}")
    return [known.index(name) for name in names]


class ReadBand(Protocol):
    """Reads flux and mask of the n-th requested band within slices of the mosaic."""

    def __call__(self, number: int, slices: tuple[slice, slice], /) -> tuple[Any, Any]:
        """Return ``(flux, mask)`` arrays of the slices' shape."""


def padded_block(
    box: Box, bands: Sequence[str], shape: tuple[int, int], level: int, read_band: ReadBand
) -> PixelBlock:
    """Return a block that keeps the contract of `PixelBlock` whatever is read.

    What lies outside an array of ``shape`` is NaN, and NO_DATA is set wherever flux is not
    finite: also where the mask that was read does not say so.

    Parameters
    ----------
    box
        What to read, in pixels of the level.
    bands
        Names of the bands to read.
    shape
        ``(ny, nx)`` of the level.
    level
        Pyramid level.
    read_band
        Reads one band inside the array.
    """
    flux = np.empty((len(bands), *box.shape), dtype=np.float32)
    mask = np.empty((len(bands), *box.shape), dtype=np.uint8)
    slices = overlap(box, shape)
    if slices is None or slices[1] != Box(0, box.shape[0], 0, box.shape[1]).slices:
        flux.fill(np.nan)
        mask.fill(MaskBit.NO_DATA)
    if slices is not None:
        large, small = slices
        for number in range(len(bands)):
            flux[number][small], mask[number][small] = read_band(number, large)
            empty = ~np.isfinite(flux[number])
            if empty.any():
                flux[number][empty] = np.nan
                mask[number][empty] |= np.uint8(MaskBit.NO_DATA)
    return PixelBlock(box, tuple(bands), flux, mask, level)
