"""What images of a set have in common, and its spelling.

Owns which planes of a file are the bands, their unit, the pixel scale and where the source is. Does
not own the reading of files (``decode``).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from survey_classifier.errors import ConfigError
from survey_classifier.mosaic.pixels import wrong_band_name

__all__ = ["ImageFrame", "read_bands", "read_position"]

MAX_POSITION_PX = 1e6
"""Beyond, no image has a pixel."""


@dataclass(frozen=True, slots=True)
class ImageFrame:
    """What all images of a set have in common."""

    bands: tuple[str, ...]
    """Bands of the planes, in the order of the file."""
    scale_arcsec: float | None = None
    """Pixel scale; None where each file says its own (FITS)."""
    source_px: tuple[float, float] | None = None
    """The source's x from the left and y from the file's first row (the top of PNG and JPEG, the
    bottom of FITS), first pixel 0; None is the middle of each image."""
    unit: Literal["nJy", "display"] = "display"
    """What the pixels are to be: nJy takes a FITS file with a zero point."""
    zero_point: float | None = None
    """AB magnitude of one count, for files in nJy that do not say it themselves."""
    hdus: Mapping[str, str | int] = field(default_factory=dict)
    """Name or number of each band's HDU; where there are none, a cube's planes are the bands, or
    else the HDUs with their names."""


def read_bands(text: str) -> tuple[tuple[str, ...], dict[str, str | int]]:
    """Return the bands that a text names, and the HDUs that hold them.

    Parameters
    ----------
    text
        ``i,r,g``: planes in this order. ``i=HSC_I,r=3,g=HSC_G``: HDUs of FITS files, by name or
        number.

    Returns
    -------
    bands : tuple of str
        The bands, in order.
    hdus : dict
        Name or number of each band's HDU, empty if the text names none.

    Raises
    ------
    ConfigError
        If a band is no name, is there twice, or only some have an HDU.
    """
    hdus: dict[str, str | int] = {}
    bands = []
    for part in text.split(","):
        band, has_hdu, hdu = (piece.strip() for piece in part.partition("="))
        wrong = wrong_band_name(band)
        if wrong is not None or band in bands or (has_hdu and not hdu):
            reason = wrong or f"{part.strip()!r} is a band given twice, or lacks its HDU"
            raise ConfigError(f"bands {text!r}: {reason}")
        bands.append(band)
        if has_hdu:
            hdus[band] = int(hdu) if hdu.isdecimal() else hdu
    if hdus and len(hdus) < len(bands):
        raise ConfigError(f"bands {text!r}: give an HDU for each band or for none")
    return tuple(bands), hdus


def read_position(text: str) -> tuple[float, float]:
    """Return the pixel position that ``x,y`` spells.

    Raises
    ------
    ConfigError
        If it is none.
    """
    try:
        x, y = (float(part) for part in text.split(","))
        if x >= 0 and y >= 0 and max(x, y) < MAX_POSITION_PX:
            return x, y
    except ValueError:
        pass
    raise ConfigError(f"{text!r} is no position in pixels; give x,y such as 99.5,99.5")
