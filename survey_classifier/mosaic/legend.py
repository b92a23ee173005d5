"""What stands under a picture of the sky: where north is, how large it is, what its colors mean.

Owns the strip below the picture. Does not own the picture (``preview``).
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from survey_classifier.mosaic.pixels import PixelSource

__all__ = ["angle_words", "directions", "scale_bar_arcsec", "with_legend"]

HEIGHT_PX = 84
"""Height of the strip."""
BAR_PX = 180
"""Longest bar."""
FONT_PX = 14
ARROW_PX = 20
LETTER_PX = 31
"""Distance of the letters N and E from where the arrows begin."""
MARGIN_PX = 18
BACKGROUND, INK = (14, 16, 20), (214, 218, 224)
NICE_ARCSEC = tuple(
    float(number * unit) for unit in (1, 60, 3600) for number in (1, 2, 5, 10, 20, 30)
)
"""Lengths that a bar may have: of arcseconds, arcminutes and degrees."""


def with_legend(
    picture: npt.NDArray[np.uint8],
    mosaic: PixelSource,
    middle_px: tuple[float, float],
    scale_arcsec: float,
    lines: Sequence[str],
) -> Image.Image:
    """Return a picture with a strip below it: arrows to north and east, a bar, and words.

    Parameters
    ----------
    picture
        ``(y, x, 3)``, the last row of the grid first.
    mosaic
        The mosaic, for its grid on the sky.
    middle_px
        ``(x, y)`` on the grid of the picture's middle, where the directions are taken.
    scale_arcsec
        Of the picture's pixels.
    lines
        The words, at most three lines.
    """
    font = ImageFont.load_default(FONT_PX)
    words_x = HEIGHT_PX + BAR_PX + 2 * MARGIN_PX
    width = max(picture.shape[1], words_x + MARGIN_PX + max(int(font.getlength(s)) for s in lines))
    whole = Image.new("RGB", (width, picture.shape[0] + HEIGHT_PX), BACKGROUND)
    whole.paste(Image.fromarray(picture))
    strip = Image.new("RGB", (width, HEIGHT_PX), BACKGROUND)
    pen = ImageDraw.Draw(strip)
    pen.font = font
    _draw_compass(pen, directions(mosaic, middle_px))
    length = scale_bar_arcsec(scale_arcsec)
    end, y = HEIGHT_PX + length / scale_arcsec, HEIGHT_PX * 0.6
    pen.line([(HEIGHT_PX, y), (end, y)], fill=INK, width=3)
    pen.text(((HEIGHT_PX + end) / 2, y - 7), angle_words(length), fill=INK, anchor="ms")
    for number, line in enumerate(lines):
        pen.text((words_x, 26 + 21 * number), line, fill=INK, anchor="ls")
    whole.paste(strip, (0, picture.shape[0]))
    return whole


def directions(
    mosaic: PixelSource, middle_px: tuple[float, float]
) -> dict[str, tuple[float, float]]:
    """Return the unit vectors ``(x, y)`` to north and east on a grid; empty where there is none.

    Parameters
    ----------
    mosaic
        The mosaic, for its grid on the sky.
    middle_px
        ``(x, y)`` of the place.
    """
    x, y = middle_px
    ra, dec = mosaic.pixel_to_world([x - 0.5, x + 0.5, x, x], [y, y, y - 0.5, y + 0.5])
    ra = np.unwrap(ra, period=360.0)
    # Degrees on the sky, east and north, for a pixel along x and along y.
    east = np.diff(ra)[::2] * np.cos(np.radians(dec.mean()))
    steps = np.stack([east, np.diff(dec)[::2]])
    if not np.isfinite(steps).all() or np.linalg.det(steps) == 0:
        return {}
    vectors = np.linalg.inv(steps).T
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return {"E": (float(units[0, 0]), float(units[0, 1])),
            "N": (float(units[1, 0]), float(units[1, 1]))}  # fmt: skip


def _draw_compass(pen: ImageDraw.ImageDraw, arrows: dict[str, tuple[float, float]]) -> None:
    """Draw the arrows in the square at the left of the strip."""
    middle = np.full(2, HEIGHT_PX / 2)
    for letter, (x, y) in arrows.items():
        along = np.array([x, -y])  # rows of a picture are counted from its top
        across, tip = np.array([y, x]), middle + ARROW_PX * along
        pen.line([tuple(middle), tuple(tip)], fill=INK, width=2)
        barbs = [tip + 4 * along, tip - 3 * along + 4 * across, tip - 3 * along - 4 * across]
        pen.polygon([tuple(barb) for barb in barbs], fill=INK)
        pen.text(tuple(middle + LETTER_PX * along), letter, fill=INK, anchor="mm")


def scale_bar_arcsec(scale_arcsec: float) -> float:
    """Return the length of the longest bar that fits; of the smallest one if none does.

    Parameters
    ----------
    scale_arcsec
        Of the picture's pixels.
    """
    return max(
        (length for length in NICE_ARCSEC if length <= BAR_PX * scale_arcsec),
        default=NICE_ARCSEC[0],
    )


def angle_words(arcsec: float) -> str:
    """Return an angle in the unit that fits it, such as ``6.5 arcmin``."""
    for size, unit in ((3600, "deg"), (60, "arcmin")):
        if arcsec >= size:
            return f"{arcsec / size:.3g} {unit}"
    return f"{arcsec:.3g} arcsec"
