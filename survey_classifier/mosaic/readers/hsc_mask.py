"""The mask planes of HSC and LSST images, and what they become here.

Owns the meaning of the planes' names, and the way from a file's ``MP_*`` cards to `MaskBit`. Does
not own reading the mask (``hsc``).

Which bit a plane has differs from file to file and is said by cards of the file: ``MP_SAT = 1``,
or ``HIERARCH MP_BRIGHT_OBJECT = 9`` for names that are too long for a card.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.io import fits

from survey_classifier.errors import MosaicError
from survey_classifier.mosaic.pixels import MaskBit

__all__ = ["N_BITS", "PLANES", "mask_bits", "translated"]

PLANES: Mapping[str, MaskBit] = MappingProxyType(
    {
        "NO_DATA": MaskBit.NO_DATA,
        "SAT": MaskBit.SATURATED,
        "BAD": MaskBit.BAD,
        "CR": MaskBit.COSMIC_RAY,
        "BRIGHT_OBJECT": MaskBit.BRIGHT_STAR,
        "EDGE": MaskBit.EDGE,
        "SUSPECT": MaskBit.SUSPECT,
        "CLIPPED": MaskBit.SUSPECT,
        "REJECTED": MaskBit.SUSPECT,
        "INEXACT_PSF": MaskBit.SUSPECT,
        "SENSOR_EDGE": MaskBit.SUSPECT,
        "CROSSTALK": MaskBit.SUSPECT,
        "INTRP": MaskBit.INTERPOLATED,
    }
)
"""What a plane becomes, by its name; planes that are not here, such as DETECTED, are no flaws.

SENSOR_EDGE says that a chip's edge is among the inputs of a coadd, where the seeing has a step:
a warning. EDGE says that the pixel itself is at one."""

N_BITS = 32
"""Bits of a mask pixel."""
HALF = N_BITS // 2
CARD = "MP_"


def mask_bits(header: fits.Header, where: str) -> tuple[int, ...]:
    """Return what each bit of a file's mask becomes.

    Parameters
    ----------
    header
        Header of the mask's HDU.
    where
        HDU and file, for messages.

    Returns
    -------
    tuple of int
        `MaskBit` value by bit, of length `N_BITS`; 0 for planes that are no flaws. A bit that no
        card names becomes SUSPECT: nobody knows what is wrong with such a pixel.

    Raises
    ------
    MosaicError
        If the file does not say which plane is which.
    """
    cards = {str(card).upper(): header[card] for card in header if str(card).startswith(CARD)}
    if not cards or header["BITPIX"] not in (8, 16, N_BITS):
        bad_kind = f"holds no integers of up to {N_BITS} bits (BITPIX = {header['BITPIX']})"
        problem = bad_kind if cards else "says no planes (it has no MP_ cards)"
        raise MosaicError(
            f"the mask in {where} {problem}; fetch the file again, or take reader 'fits' to read "
            "it without its mask"
        )
    named: dict[int, int] = {}
    for card, bit in cards.items():
        if not isinstance(bit, int) or not 0 <= bit < N_BITS:
            raise MosaicError(
                f"{where} gives a mask plane the bit {bit!r} ({card}), expected 0 to "
                f"{N_BITS - 1}; fetch the file again"
            )
        named[bit] = named.get(bit, 0) | int(PLANES.get(card.removeprefix(CARD), 0))
    return tuple(named.get(bit, int(MaskBit.SUSPECT)) for bit in range(N_BITS))


def translated(plane: npt.NDArray[Any], bits: Sequence[int]) -> npt.NDArray[np.uint8]:
    """Return `MaskBit` values of a survey's mask.

    Parameters
    ----------
    plane
        Integers of at most `N_BITS` bits, of any shape; a sign is their last bit.
    bits
        What each bit becomes, as `mask_bits` returns it.
    """
    # As unsigned of the same size, so that a sign is a bit like any other.
    values = plane.view(plane.dtype.str.replace("i", "u"))
    mask = _table(bits[:HALF])[values.astype(np.uint16)]  # the lower half, the rest falls off
    # Most masks use the lower bits only, and a second look-up costs as much as the first.
    upper = values >> HALF
    if upper.any():
        mask |= _table(bits[HALF:])[upper.astype(np.uint16)]
    return mask


def _table(bits: Sequence[int]) -> npt.NDArray[np.uint8]:
    """Return what each value made of these bits becomes, shape ``(2**len(bits),)``."""
    table = np.zeros(1, dtype=np.uint8)
    for bit in bits:
        table = np.concatenate([table, table | np.uint8(bit)])
    return table
