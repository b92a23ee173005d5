"""The registry of flags and statuses: what a catalog row says about its own quality.

Owns names, bits and meanings; they are public and never change (a test freezes them), new ones
take the next bit. Does not decide thresholds.
"""

from collections.abc import Mapping
from enum import IntFlag, StrEnum
from typing import Self

import numpy as np
import numpy.typing as npt

from survey_classifier.mosaic.pixels import MaskBit

__all__ = ["Flag", "ImageStatus", "Status", "pack_flags", "pixel_flags"]


class Flag(IntFlag):
    """Bits of the catalog's ``flags``: the row is usable, but look at this."""

    meaning: str

    def __new__(cls, bit: int, meaning: str) -> "Flag":
        """Make the flag of this bit, with its meaning in one sentence."""
        flag = int.__new__(cls, bit)
        flag._value_ = bit
        flag.meaning = meaning
        return flag

    EDGE_STAMP = 1 << 0, "The stamp sticks out of the mosaic."
    PARTIAL_DATA = 1 << 1, "Some pixels of the stamp have no usable data in some band."
    SATURATED = 1 << 2, "Some pixels of the stamp are saturated."
    COSMIC_RAY = 1 << 3, "A cosmic ray was found in the stamp."
    BRIGHT_STAR = 1 << 4, "Some pixels of the stamp lie in the halo of a bright star."
    SUSPECT_PIXELS = (
        1 << 5,
        "Some pixels of the stamp are suspect: the survey says so, or a part of them is unusable.",
    )
    INTERPOLATED = 1 << 6, "Some pixels of the stamp were interpolated by the survey."
    REDSHIFT_AMBIGUOUS = (
        1 << 7,
        "Several redshifts lie within the match radius, or several sources match one redshift.",
    )
    Z_WARNING = 1 << 8, "The redshift pipeline warns about the matched redshift."
    AMBIGUOUS_LOWZ = (
        1 << 9,
        "The redshift is in the window of stars, but spectrum or speed are those of a galaxy.",
    )
    EBV_UNKNOWN = (
        1 << 10,
        "No usable E(B-V) is known, so magnitudes without extinction and colors are not, either.",
    )
    MAGNITUDE_UNKNOWN = (
        1 << 11,
        "The magnitude is missing in some band of the source list, or is no number.",
    )
    PRIOR_WITHOUT_MAGNITUDE = (
        1 << 12,
        "The source has no dereddened r magnitude, so its prior is that of all magnitudes.",
    )


class _Reason(StrEnum):
    """A text with its meaning in one sentence."""

    meaning: str

    def __new__(cls, text: str, meaning: str) -> Self:
        """Make the status of this text, with its meaning in one sentence."""
        status = str.__new__(cls, text)
        status._value_ = text
        status.meaning = meaning
        return status


class Status(_Reason):
    """The catalog's ``status``: classified, or the one reason why not."""

    CLASSIFIED = "classified", "The row has a score."
    NO_POSITION = "no_position", "The source list gives no position."
    OFF_MOSAIC = "off_mosaic", "The position lies outside the mosaic."
    NO_DATA = "no_data", "The source's pixel has no usable data, or a band of the stamp one value."
    SATURATED = "saturated", "The source's own pixel is saturated."
    LOW_COVERAGE = "low_coverage", "Too small a fraction of the stamp has usable data."
    SCORE_FAILED = "score_failed", "The network's output is not finite."
    TILE_FAILED = "tile_failed", "The tile of the source failed; the run's report says why."


class ImageStatus(_Reason):
    """More values of ``status``, where stamps are images that exist already."""

    NO_IMAGE = "no_image", "The table names no image, or there is none of that name."
    BAD_IMAGE = (
        "bad_image",
        "The image can't be read, or its planes, scale or unit are not those needed.",
    )


_FLAG_OF_MASK_BIT: Mapping[MaskBit, Flag] = {
    MaskBit.SATURATED: Flag.SATURATED,
    MaskBit.COSMIC_RAY: Flag.COSMIC_RAY,
    MaskBit.BRIGHT_STAR: Flag.BRIGHT_STAR,
    MaskBit.SUSPECT: Flag.SUSPECT_PIXELS,
    MaskBit.INTERPOLATED: Flag.INTERPOLATED,
}


def pack_flags(
    n_row: int, conditions: Mapping[Flag, npt.NDArray[np.bool_]]
) -> npt.NDArray[np.int32]:
    """Return the ``flags`` column: the bits of the conditions that hold.

    Parameters
    ----------
    n_row
        Number of rows.
    conditions
        Flag to where it is raised, each of shape (n_row,).
    """
    flags = np.zeros(n_row, dtype=np.int32)
    for flag, raised in conditions.items():
        flags |= np.where(raised, np.int32(flag), np.int32(0))
    return flags


def pixel_flags(
    mask_fraction: npt.NDArray[np.floating], valid_fraction: npt.NDArray[np.floating]
) -> npt.NDArray[np.int32]:
    """Return the flags that the pixels of the stamps raise.

    Parameters
    ----------
    mask_fraction
        Fraction of the stamp's pixels with each :class:`~survey_classifier.mosaic.pixels.MaskBit`,
        in bit order, shape (n, 8); NaN = no stamp, and raises nothing.
    valid_fraction
        Fraction of the stamp's pixels with usable data, shape (n,); NaN = no stamp.
    """
    bits = {bit: mask_fraction[:, int(bit).bit_length() - 1] > 0 for bit in MaskBit}
    conditions = {flag: bits[bit] for bit, flag in _FLAG_OF_MASK_BIT.items()}
    conditions[Flag.PARTIAL_DATA] = valid_fraction < 1
    return pack_flags(len(valid_fraction), conditions)
