"""The figure of an explanation: what the network saw of a source, and where it looked.

Owns how it is drawn. Does not own the maps (``model.explain``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from survey_classifier.model.card import ModelCard
from survey_classifier.model.explain import Explanation
from survey_classifier.mosaic.preview import color_bands
from survey_classifier.run.figures import as_png

__all__ = ["explanation_figure"]

Floats = npt.NDArray[np.float32]

BANDS_PER_ROW = 5
N_MAP = 3
"""Colors, focus and occlusion."""
NO_DATA = 0.19
"""Grey of what has no data."""
INK = "#d6dae0"
BRIGHTEST = 99.7
"""Percentile of the stretched pixels that is white."""
CONTOUR = "#e8eaed"
MAX_TITLE = 60
"""Letters of a source's name that the title has room for."""
MAX_SHARE = 5.0
"""Up to here a scale of shares has a mark at 1."""
BEYOND = "\u0530"
"""The font has the letters before this one."""


@dataclass(frozen=True, slots=True)
class _Scale:
    """How the values of a map are shown."""

    label: str
    """What they are, with their unit."""
    is_signed: bool
    least: float
    """Where the scale ends if all values are smaller, so that nothing does not look like much."""


SCALES = {
    "Grad-CAM": _Scale("log odds in a cell of the maps", is_signed=True, least=0.01),
    "attention rollout": _Scale("attention, 1 = an equal share", is_signed=False, least=2.0),
    "occlusion": _Scale("fall of the log odds", is_signed=True, least=0.1),
}
"""Of each kind of map."""


def explanation_figure(
    explanation: Explanation,
    card: ModelCard,
    arrows: Mapping[str, tuple[float, float]],
    name: str,
    says: str,
) -> bytes:
    """Return the picture (PNG) of an explanation: bands, colors, focus and occlusion.

    Parameters
    ----------
    explanation
        What is drawn.
    card
        The network's card.
    arrows
        Unit vectors ``(x, y)`` to north and east, by their letters; may be empty.
    name
        What the source is called.
    says
        What its score is, for the title.
    """
    views = _scaled(explanation.x)
    n_col = max(N_MAP, min(len(card.bands), BANDS_PER_ROW))
    n_row = -(-len(card.bands) // n_col)
    figure = Figure((2.4 * n_col, 2.55 * n_row + 3.35), layout="constrained")
    figure.suptitle(f"{_shown(name)}\n{says}", fontsize=10, parse_math=False)
    axes = figure.subplots(n_row + 1, n_col, height_ratios=[*[1.0] * n_row, 1.15])
    for axis in axes.flat:
        axis.set_axis_off()
    half = card.stamp_arcsec / 2
    extent = (-half, half, -half, half)
    for axis, band, view in zip(axes.flat, card.bands, views, strict=False):
        _show(axis, view, extent, f"band {band}", vmin=0, vmax=1, cmap="gray")
    color, focus, occlusion = axes[-1, :N_MAP]
    rgb = color_image(views, card.bands)
    _show(color, rgb, extent, "colors")
    _draw_arrows(color, arrows, half)
    shape = views.mean(axis=0)
    _draw_map(focus, explanation.focus, shape, extent, explanation.method)
    _draw_map(occlusion, explanation.occlusion, shape, extent, "occlusion")
    for axis in axes[:, 0]:
        axis.set_ylabel("arcsec", fontsize=8)
    return as_png(figure)


def _scaled(x: Floats) -> Floats:
    """Return the bands of a network's input from black 0 to white 1, the same for all; NaN = none.

    One scale keeps what the network sees of colors.
    """
    bands = np.where(x[-1] > 0, x[:-1], np.nan)
    known = bands[np.isfinite(bands)]
    low = min(0.0, float(np.percentile(known, 1)))
    high = max(float(np.percentile(known, BRIGHTEST)), low + 1e-6)
    scaled: Floats = np.clip((bands - low) / (high - low), 0, 1)
    return scaled


def color_image(views: Floats, bands: Sequence[str]) -> Floats:
    """Return the colors ``(y, x, 3)`` of bands that run from 0 to 1; what has no data is grey.

    Parameters
    ----------
    views
        ``(band, y, x)``, NaN = no data.
    bands
        Their names.
    """
    chosen = [views[list(bands).index(name)] for name in color_bands(bands)]
    red, blue = chosen[0], chosen[-1]
    green = chosen[1] if len(chosen) == 3 else (red + blue) / 2
    rgb: Floats = np.nan_to_num(np.stack([red, green, blue], axis=-1), nan=NO_DATA)
    return rgb


def _show(
    axes: Axes,
    image: Floats,
    extent: tuple[float, float, float, float],
    title: str,
    **options: object,
) -> None:
    """Draw an image with its title."""
    axes.set_axis_on()
    axes.set_anchor("N")  # those of a row at one height
    axes.set_facecolor(str(NO_DATA))
    axes.imshow(image, origin="lower", extent=extent, interpolation="nearest", **options)  # type: ignore[arg-type]
    axes.set_title(title, fontsize=9)
    axes.tick_params(labelsize=7, length=2)


def _draw_map(
    axes: Axes, values: Floats, shape: Floats, extent: tuple[float, float, float, float], kind: str
) -> None:
    """Draw a map with its scale; contours show where the source is."""
    scale = SCALES[kind]
    top = max(float(np.nanmax(np.abs(values))), scale.least)
    low = -top if scale.is_signed else 0.0
    cmap = "RdBu_r" if scale.is_signed else "magma"
    _show(axes, values, extent, kind, vmin=low, vmax=top, cmap=cmap)
    levels = [0.35, 0.7]
    if np.nanmax(shape) > levels[0]:
        axes.contour(
            np.nan_to_num(shape), levels, origin="lower", extent=extent, linewidths=0.7,
            colors="#1f2933" if scale.is_signed else CONTOUR,
        )  # fmt: skip
    image = axes.get_images()[0]
    place = axes.inset_axes((0.05, -0.2, 0.9, 0.05))
    bar = axes.figure.colorbar(image, cax=place, orientation="horizontal")
    # Far to the left, 1 would run into 0.
    middle = (low + top) / 2 if scale.is_signed or top > MAX_SHARE else 1.0
    ticks = [low, middle, top]
    bar.set_ticks(ticks, labels=[f"{tick:.2g}" for tick in ticks])
    bar.set_label(scale.label, fontsize=7, labelpad=1)
    bar.ax.tick_params(labelsize=7, length=2)


def _shown(name: str) -> str:
    """Return a name as a title can show it."""
    short = name if len(name) <= MAX_TITLE else f"{name[:MAX_TITLE]}..."
    return "".join(c if c < BEYOND and c.isprintable() else "?" for c in short)


def _draw_arrows(axes: Axes, arrows: Mapping[str, tuple[float, float]], half: float) -> None:
    """Draw the directions of the sky into a corner."""
    foot = np.array([0.62, -0.62]) * half
    for letter, direction in arrows.items():
        tip = foot + 0.24 * half * np.array(direction)
        axes.annotate(
            "", tuple(tip), tuple(foot),
            arrowprops={"arrowstyle": "-|>", "color": INK, "lw": 1, "shrinkA": 0, "shrinkB": 0},
        )  # fmt: skip
        at = foot + 0.34 * half * np.array(direction)
        axes.text(at[0], at[1], letter, color=INK, fontsize=8, ha="center", va="center")
