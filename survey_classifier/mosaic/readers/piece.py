"""What the readers of surveys share: a FITS image of which the survey says more.

Owns what a survey says of an image, the refusal of settings that a survey's reader has its own
answer to, and the emptying of pixels. Does not own any survey's file format.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from survey_classifier.errors import MosaicError
from survey_classifier.mosaic.exposure import DerivedExposure, MosaicInput, Window
from survey_classifier.mosaic.pixels import BandInfo, MaskBit

__all__ = [
    "FLAWS_UNKNOWN",
    "NOISE_UNKNOWN",
    "SurveyPiece",
    "emptied",
    "refuse_settings",
]

FLAWS_UNKNOWN = "saturated and bad pixels are not known"
NOISE_UNKNOWN = "the variance is not known"


@dataclass(frozen=True)
class SurveyPiece(DerivedExposure):
    """An image as the generic reader sees it, with what its survey adds; see `Exposure`."""

    band: BandInfo
    """See `Exposure.band`."""
    identity: str
    """See `Exposure.identity`."""
    slot: str
    """See `Exposure.slot`."""


def refuse_settings(settings: MosaicInput, keys: Sequence[str], reason: str) -> None:
    """Refuse settings that the reader would not follow.

    Parameters
    ----------
    settings
        The input's table of the run file.
    keys
        Names of settings that must be left out.
    reason
        What the reader does instead.

    Raises
    ------
    MosaicError
        If one is given.
    """
    for key in keys:
        if getattr(settings, key) is not None:
            raise MosaicError(
                f"{key} = {getattr(settings, key)!r} of band {settings.band}: reader "
                f"{settings.reader} {reason}; leave it out, or take reader 'fits'"
            )


def emptied(window: Window, empty: npt.NDArray[np.bool_]) -> Window:
    """Return a window without data where a survey says that there are none.

    Parameters
    ----------
    window
        Pixels, changed in place.
    empty
        ``(y, x)``, True where there are no data.
    """
    window.flux[empty] = np.nan
    window.mask[empty] |= np.uint8(MaskBit.NO_DATA)
    if window.variance is not None:
        window.variance[empty] = np.nan
    return window
