"""The figure of an explanation: what the network saw of a source, and where it looked.

Owns how it is drawn. Does not own the maps (``model.explain``).
"""

from collections.abc import Mapping, Sequence

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


def explanation_figure(
    explanation: Explanation, card: ModelCard, arrows: Mapping[str, tuple[float, float]]
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
    """
    views = _scaled(explanation.x)
    n_col = max(N_MAP, min(len(card.bands), BANDS_PER_ROW))
    n_row = -(-len(card.bands) // n_col)
    figure = Figure((2.4 * n_col, 2.55 * n_row + 2.85), layout="constrained")
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
    is_signed = explanation.method == "Grad-CAM"
    _draw_map(focus, explanation.focus, shape, extent, explanation.method, is_signed=is_signed)
    _draw_map(occlusion, explanation.occlusion, shape, extent, "occlusion", is_signed=True)
    axes[0, 0].set_ylabel("arcsec")
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
    axes: Axes,
    values: Floats,
    shape: Floats,
    extent: tuple[float, float, float, float],
    title: str,
    *,
    is_signed: bool,
) -> None:
    """Draw a map with its scale; contours show where the source is."""
    top = float(np.abs(values).max()) or 1.0
    low = -top if is_signed else 0.0
    _show(axes, values, extent, title, vmin=low, vmax=top, cmap="RdBu_r" if is_signed else "magma")
    levels = [0.35, 0.7]
    if np.nanmax(shape) > levels[0]:
        axes.contour(
            np.nan_to_num(shape), levels, origin="lower", extent=extent, linewidths=0.7,
            colors="#1f2933" if is_signed else CONTOUR,
        )  # fmt: skip
    image = axes.get_images()[0]
    place = axes.inset_axes((0.05, -0.2, 0.9, 0.05))
    bar = axes.figure.colorbar(image, cax=place, orientation="horizontal")
    bar.ax.tick_params(labelsize=7, length=2)


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
