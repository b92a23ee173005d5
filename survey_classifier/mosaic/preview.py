"""A picture of a mosaic that one can look at.

Owns which part is shown, which bands are red, green and blue, and the picture's brightness. Does
not own the pixels (``store``) nor the words below the picture (``legend``). The colors are Lupton
et al.'s (2004, PASP 116, 133): brightness is an arcsinh of the mean of three bands, and their
ratios are kept.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from astropy.visualization import make_lupton_rgb

from survey_classifier.errors import MosaicError
from survey_classifier.files import replacing
from survey_classifier.geometry import Box
from survey_classifier.mosaic.legend import angle_words, with_legend
from survey_classifier.mosaic.pixels import MaskBit, PixelSource
from survey_classifier.mosaic.quantize import MAD_TO_SIGMA

__all__ = ["area_with_data", "color_bands", "color_words", "draw", "write_preview"]

SIDE_PX = 1200
"""Longest side of a picture, at most."""
STRIP_PX = 256
"""Rows of a pyramid level that are read at once, about."""
NO_DATA_GREY = (44, 48, 56)
"""Color of what has no data: not that of an empty sky."""
SOFTENING = 8.0
"""Lupton's Q: how much of the range is logarithmic."""
STRETCH_SIGMA = 15.0
"""Lupton's stretch, in units of the sky noise of the picture."""
BLACK_SIGMA = 2.0
"""How far below the sky is black, in units of the channels' noise: were it the sky itself, half
of its pixels would be black and the others of strong colors."""
BRIGHT_SIGMA = 5.0
"""What sticks out of the noise by more counts as an object when colors are balanced."""

WAVELENGTH_NM = {
    "u": 355, "g": 477, "r": 621, "VIS": 715, "IE": 715, "i": 767, "z": 891, "y": 976,
    "Y": 1081, "J": 1367, "H": 1771, "K": 2190, "Ks": 2150,
}  # fmt: skip
"""Effective wavelengths of SDSS, HSC, Euclid and 2MASS filters, good enough to put in order."""

Pixels = npt.NDArray[np.float32]


def color_bands(names: Sequence[str]) -> tuple[str, ...]:
    """Choose the bands of a picture.

    A name counts as the filter of its last word, without digits: ``HSC-R2`` is r, ``NIR-Y`` is Y.
    Where each filter is known the reddest band is red, the bluest is blue, and green is the one
    nearest to the middle of their wavelengths on a logarithmic scale; the shallow u is left out
    while three others remain. Otherwise the order of the names is taken for that of wavelengths.

    Parameters
    ----------
    names
        Names of all bands, at least one.

    Returns
    -------
    tuple of str
        Red, green and blue; red and blue of two bands; one band.
    """
    waves = {name: _wavelength_nm(name) for name in names}
    known = {name: wave for name, wave in waves.items() if wave is not None}
    if len(names) < 3 or len(known) < len(names):
        ordered = sorted(names, key=known.__getitem__) if len(known) == len(names) else list(names)
        return tuple(dict.fromkeys([ordered[-1], ordered[(len(names) - 1) // 2], ordered[0]]))
    shown = [name for name in names if len(names) == 3 or known[name] != WAVELENGTH_NM["u"]]
    blue, *between, red = sorted(shown, key=known.__getitem__)
    middle = np.sqrt(known[blue] * known[red])
    green = min(between, key=lambda name: abs(np.log(known[name] / middle)))
    return red, green, blue


def _wavelength_nm(name: str) -> int | None:
    """Return the wavelength of the filter that a band is named after, None if it is not known."""
    word = re.sub(r"\d+$", "", re.split(r"[-_]", name)[-1])
    if word in WAVELENGTH_NM:
        return WAVELENGTH_NM[word]
    # Single letters of the two cases are different filters, but only for Y.
    return WAVELENGTH_NM.get(word.lower(), WAVELENGTH_NM.get(word.upper()))


def color_words(bands: Sequence[str]) -> str:
    """Say which band has which color.

    Parameters
    ----------
    bands
        What `color_bands` returns.
    """
    if len(bands) == 1:
        return f"band {bands[0]}"
    colors = ("red", "green", "blue") if len(bands) == 3 else ("red", "blue")
    return ", ".join(f"{color} {band}" for color, band in zip(colors, bands, strict=True))


def area_with_data(mosaic: PixelSource, bands: Sequence[str]) -> Box:
    """Return the smallest part of a mosaic that has all its data, to a pixel of the last level.

    Parameters
    ----------
    mosaic
        The mosaic; its coarsest level is read in strips.
    bands
        The bands that count.

    Returns
    -------
    Box
        In pixels of level 0; all of the mosaic where it has no data at all.
    """
    level = mosaic.n_levels - 1
    ny, nx = (-(-side // 2**level) for side in mosaic.shape)
    rows, cols = np.zeros(ny, dtype=np.bool_), np.zeros(nx, dtype=np.bool_)
    for y0 in range(0, ny, STRIP_PX):
        strip = Box(y0, min(y0 + STRIP_PX, ny), 0, nx)
        has_data = np.isfinite(mosaic.read(strip, bands, level).flux)
        rows[strip.y0 : strip.y1] = has_data.any(axis=(0, 2))
        cols |= has_data.any(axis=(0, 1))
    whole = Box(0, mosaic.shape[0], 0, mosaic.shape[1])
    y, x = np.flatnonzero(rows), np.flatnonzero(cols)
    if not len(y):
        return whole
    # A coarse pixel has no data where less than half of it has, so one more on each side.
    found = Box(int(y[0]) - 1, int(y[-1]) + 2, int(x[0]) - 1, int(x[-1]) + 2)
    size = 2**level
    area = Box(found.y0 * size, found.y1 * size, found.x0 * size, found.x1 * size)
    return area.intersection(whole) or whole


def draw(mosaic: PixelSource, bands: Sequence[str], area: Box) -> npt.NDArray[np.uint8]:
    """Draw a part of a mosaic in up to three of its bands.

    Each band is scaled so that the objects together are white, so that a picture is alike for
    any filters and units; sky that has no data in one of the bands is dark grey, and white where
    the reason is saturation.

    Parameters
    ----------
    mosaic
        The mosaic; it is read in strips, from the coarsest level that is fine enough.
    bands
        What `color_bands` returns.
    area
        In pixels of level 0.

    Returns
    -------
    ndarray of uint8
        ``(y, x, 3)``, the last row of the grid first, the longest side at most `SIDE_PX`.
    """
    flux, saturated = _reduced(mosaic, bands, area)
    has_data = np.asarray(np.isfinite(flux).all(axis=0))
    picture = np.empty((*has_data.shape, 3), dtype=np.uint8)
    picture[:] = NO_DATA_GREY
    if has_data.any():
        picture[has_data] = _colors(flux[:, has_data], saturated[has_data])
    picture[saturated & ~has_data] = 255
    return picture[::-1]


def write_preview(path: Path, mosaic: PixelSource) -> tuple[str, ...]:
    """Write a picture of the part of a mosaic that has data as PNG, with a legend below it.

    Parameters
    ----------
    path
        The file; one that is there is replaced.
    mosaic
        The mosaic.

    Returns
    -------
    tuple of str
        The bands that are red, green and blue.

    Raises
    ------
    MosaicError
        If it cannot be written.
    """
    bands = color_bands([band.name for band in mosaic.bands])
    area = area_with_data(mosaic, bands)
    level, step = _reduction(mosaic, area)
    height, width = (angle_words(side * mosaic.scale_arcsec) for side in area.shape)
    lines = (
        f"{mosaic.name}, {width} x {height}",
        color_words(bands),
        "dark grey: no data, white: saturated",
    )
    picture = with_legend(
        draw(mosaic, bands, area),
        mosaic,
        ((area.x0 + area.x1 - 1) / 2, (area.y0 + area.y1 - 1) / 2),
        mosaic.scale_arcsec * 2**level * step,
        lines,
    )
    try:
        with replacing(path) as temporary:
            picture.save(temporary, format="PNG")
    except OSError as error:
        raise MosaicError(f"cannot write {path}: {error}; name another file") from error
    return bands


def _reduction(mosaic: PixelSource, area: Box) -> tuple[int, int]:
    """Return the level that a picture is made of, and how many of its pixels make one."""
    long_side = max(area.shape)
    level = max(k for k in range(mosaic.n_levels) if k == 0 or -(-long_side // 2**k) >= SIDE_PX)
    n_px = -(-long_side // 2**level)
    return level, -(-n_px // SIDE_PX)


def _reduced(
    mosaic: PixelSource, bands: Sequence[str], area: Box
) -> tuple[Pixels, npt.NDArray[np.bool_]]:
    """Return flux ``(band, y, x)`` of an area at the picture's size, and saturation."""
    level, step = _reduction(mosaic, area)
    y0, x0 = area.y0 >> level, area.x0 >> level
    ny, nx = -(-area.y1 // 2**level) - y0, -(-area.x1 // 2**level) - x0
    flux = np.empty((len(bands), -(-ny // step), -(-nx // step)), dtype=np.float32)
    saturated = np.empty(flux.shape[1:], dtype=np.bool_)
    rows = max(STRIP_PX // step, 1)
    for row in range(0, flux.shape[1], rows):
        part = slice(row, min(row + rows, flux.shape[1]))
        # Beyond the area is no data, so a strip may be a multiple of the step.
        box = Box(part.start * step, part.stop * step, 0, flux.shape[2] * step).shifted(y0, x0)
        block = mosaic.read(box, bands, level)
        flux[:, part] = _mean(block.flux, step)
        bits = (block.mask & np.uint8(MaskBit.SATURATED)) != 0
        saturated[part] = _squares(bits, step).any(axis=(0, 2, 4))
    return flux, saturated


def _mean(flux: Pixels, step: int) -> Pixels:
    """Return the means of squares of pixels; NaN where none of them has data."""
    squares = _squares(flux, step)
    counts = np.isfinite(squares).sum(axis=(2, 4))
    total = np.nansum(squares, axis=(2, 4))
    mean = np.full(counts.shape, np.nan, dtype=np.float32)
    return np.divide(total, counts, out=mean, where=counts > 0)


def _squares(planes: npt.NDArray[np.generic], step: int) -> npt.NDArray[np.generic]:
    """Return a view ``(band, row, step, column, step)``."""
    n, ny, nx = planes.shape
    return planes.reshape(n, ny // step, step, nx // step, step)


def _colors(flux: Pixels, saturated: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Return the colors ``(n, 3)`` of pixels ``(band, n)`` that all have data."""
    scaled = _balanced(flux, saturated)
    red, blue = scaled[0], scaled[-1]
    channels = [red, scaled[1] if len(scaled) == 3 else (red + blue) / 2, blue]
    noise = _spread(np.mean(channels, axis=0))
    # One for all three, so that the sky is grey.
    black = -BLACK_SIGMA * float(np.mean([_spread(channel) for channel in channels]))
    # A pixel that is exactly black divides zero by zero, and stays black.
    with np.errstate(invalid="ignore", divide="ignore"):
        colors = make_lupton_rgb(
            *(channel[None] for channel in channels),
            minimum=black,
            stretch=STRETCH_SIGMA * (noise or 1.0),
            Q=SOFTENING,
        )
    return np.asarray(colors[0], dtype=np.uint8)


def _balanced(flux: Pixels, saturated: npt.NDArray[np.bool_]) -> Pixels:
    """Return bands with a sky of 0, scaled so that all objects together have equal light in each.

    Saturated pixels do not count: often only one band is, and has light of its own there. A band
    that no object is seen in is scaled to equal noise instead.
    """
    above = flux - np.median(flux, axis=1, keepdims=True)
    noise = np.array([_spread(band) for band in above])
    bright = (above > BRIGHT_SIGMA * noise[:, None]).any(axis=0) & ~saturated
    light = above[:, bright].sum(axis=1)
    if not (light > 0).all():
        light = noise
    return (above / np.where(light > 0, light, 1.0)[:, None]).astype(np.float32)


def _spread(values: Pixels) -> float:
    """Return the standard deviation of the sky in pixels whose sky is 0."""
    return float(MAD_TO_SIGMA * np.median(np.abs(values)))
