"""Galleries of the worst errors: what the objects look like that are called wrongly.

Owns which objects are shown and how their stamps are made visible. Does not own the pixels
(``pixels``) nor the page (``page``).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from survey_classifier.mosaic.preview import color_bands
from survey_classifier.mosaic.quantize import MAD_TO_SIGMA
from survey_classifier.run.figures import as_png
from survey_classifier.stamps import Stamps
from survey_classifier.training.evaluation.forms import THRESHOLD
from survey_classifier.training.evaluation.judged import Judged
from survey_classifier.training.evaluation.pixels import Pixels

__all__ = ["Gallery", "gallery", "visible", "worst_errors"]

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]

N_SHOWN = 24
N_COLUMNS = 8
CELL_INCH = 1.28
MAX_NAME = 22
"""Letters that there is room for above a stamp; identifiers of the SDSS have 19."""
NO_DATA_GREY = 0.18
DISPLAY_MAX = 255.0
SKY_SIGMA = 2.0
"""What is as bright is seen as different from the sky."""
BRIGHT_SIGMA = 200.0
"""What is as bright is white."""


@dataclass(frozen=True, slots=True)
class Gallery:
    """A picture of some objects."""

    png: bytes
    rows: Rows
    """The objects shown, in order."""
    n_errors: int
    """How many there were to be shown."""


def worst_errors(judged: Judged, p: Floats) -> dict[str, Rows]:
    """Return the objects that are called wrongly, the most confident errors first.

    Bright ones apart, too, where the truth says which those are.

    Parameters
    ----------
    judged
        The objects.
    p
        Probabilities, shape ``(n,)``.

    Returns
    -------
    dict
        ``false members``, ``missed members`` and the like.
    """
    truth = judged.truth
    called = p >= THRESHOLD
    false = np.flatnonzero(called & ~truth.is_member)
    missed = np.flatnonzero(~called & truth.is_member)
    false = false[np.argsort(-p[false], kind="stable")]
    missed = missed[np.argsort(p[missed], kind="stable")]
    found = {"false members": false, "missed members": missed}
    if not truth.is_bright.all():
        bright = {f"bright {name}": rows[truth.is_bright[rows]] for name, rows in found.items()}
        found = bright | found
    return found


def gallery(judged: Judged, p: Floats, rows: Rows, pixels: Pixels) -> Gallery | None:
    """Return a picture of the first objects that have pixels, None if none has any.

    Parameters
    ----------
    judged
        The objects.
    p
        Probabilities, shape ``(n,)``.
    rows
        Which objects, in order.
    pixels
        Where their pixels are.
    """
    cuts: dict[int, tuple[Stamps, int]] = {}
    # Twice as many as are shown: some may have no pixels.
    for stamps, some in pixels.stamps(judged.truth, rows[: 2 * N_SHOWN]):
        cuts |= {int(row): (stamps, number) for number, row in enumerate(some)}
    shown = [int(row) for row in rows if int(row) in cuts][:N_SHOWN]
    if not shown:
        return None
    pictures = visible([cuts[row][0].flux[cuts[row][1]] for row in shown], pixels)
    return Gallery(_drawn(judged, p, shown, pictures), np.array(shown, dtype=np.intp), len(rows))


def visible(flux: Sequence[npt.NDArray[np.float32]], pixels: Pixels) -> list[Floats]:
    """Return stamps as pictures ``(y, x, 3)`` of 0 to 1, first row at the bottom.

    All get the same stretch, so that their surface brightness can be compared: display images
    a root; calibrated flux an asinh in units of the sky noise, the same in each band.

    Parameters
    ----------
    flux
        Stamps ``(band, y, x)`` of any sizes.
    pixels
        Says their bands and unit.
    """
    shown = color_bands(pixels.bands)
    index = [pixels.bands.index(band) for band in shown]
    channels = [np.stack([stamp[i] for i in index]) for stamp in flux]
    if pixels.unit == "display":
        scaled = [np.sqrt(np.maximum(stamp, 0) / DISPLAY_MAX) for stamp in channels]
    else:
        noise = np.median([_noise(stamp) for stamp in channels], axis=0)
        bright = np.arcsinh(BRIGHT_SIGMA / SKY_SIGMA)
        scaled = [
            np.arcsinh((stamp - _sky(stamp)) / (SKY_SIGMA * noise[:, None, None])) / bright + 0.1
            for stamp in channels
        ]
    return [_rgb(stamp) for stamp in scaled]


def _sky(stamp: npt.NDArray[np.float32]) -> Floats:
    """Return the median of each band, 0 where it has no pixels; shape ``(band, 1, 1)``."""
    finite = [band[np.isfinite(band)] for band in stamp]
    return np.array([np.median(band) if len(band) else 0.0 for band in finite])[:, None, None]


def _noise(stamp: npt.NDArray[np.float32]) -> Floats:
    """Return the scatter of each band's pixels, 1 where it can't be told."""
    off = np.abs(stamp - _sky(stamp))
    finite = [band[np.isfinite(band)] for band in off]
    return np.array([MAD_TO_SIGMA * np.median(band) if len(band) else 1.0 for band in finite])


def _rgb(stamp: npt.NDArray[np.floating]) -> Floats:
    """Return red, green and blue; of two bands, green is their mean, of one all are the same."""
    planes = [stamp[0], stamp[len(stamp) // 2], stamp[-1]]
    if len(stamp) == 2:
        planes[1] = (stamp[0] + stamp[1]) / 2
    picture = np.clip(np.stack(planes, axis=-1), 0, 1).astype(np.float64)
    return np.where(np.isfinite(picture).all(axis=-1, keepdims=True), picture, NO_DATA_GREY)


def _drawn(judged: Judged, p: Floats, rows: Sequence[int], pictures: Sequence[Floats]) -> bytes:
    """Return the stamps in a grid, with what each is and what was said of it."""
    n_columns = min(N_COLUMNS, len(rows))
    n_lines = -(-len(rows) // n_columns)
    figure = Figure((n_columns * CELL_INCH, n_lines * (CELL_INCH + 0.42)))
    figure.set_layout_engine("constrained", w_pad=0.02, h_pad=0.02)
    grid = np.atleast_1d(figure.subplots(n_lines, n_columns)).ravel()
    for axes in grid:
        axes.set_axis_off()
    for axes, row, picture in zip(grid, rows, pictures, strict=False):
        axes.imshow(picture, origin="lower", interpolation="nearest")
        mag = judged.truth.mag[row]
        known = f"{mag:.1f} mag, " if np.isfinite(mag) else ""
        name = _short(str(judged.truth.object_id[row]))
        text = f"{name}\n{known}p = {p[row]:.3f}"
        axes.set_title(text, fontsize=6.5, pad=2)
    return as_png(figure)


def _short(name: str) -> str:
    """Return an identifier that fits above a stamp; of long ones, the end tells them apart."""
    return name if len(name) <= MAX_NAME else f"…{name[1 - MAX_NAME :]}"
