"""The figure of a red sequence: the diagram of color and magnitude, and the distances from it.

Owns how the fit is drawn. Does not own the fit (``membership.red_sequence_fit``).
"""

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from survey_classifier.membership.red_sequence_fit import RedSequenceFit
from survey_classifier.run.figures import as_png, style_axes

__all__ = ["sequence_figure"]

Floats = npt.NDArray[np.float64]

_INK, _GREY, _RED = "#1f2933", "#9aa5b1", "#c2185b"
_DASHED = (0, (5, 4))
_HALF_WIDTH = 1.0
"""Of the distances that are shown, in mag."""


def sequence_figure(mag: Floats, color: Floats, fit: RedSequenceFit) -> bytes:
    """Return the picture (PNG) of a fit.

    Parameters
    ----------
    mag, color
        Dereddened, as they were fitted, shape ``(n,)``.
    fit
        Its result.
    """
    used = np.isfinite(fit.p_sequence)
    figure = Figure((10.0, 4.4), layout="constrained")
    diagram, distances = figure.subplots(1, 2, width_ratios=(1.6, 1))
    style_axes(diagram)
    style_axes(distances)
    _draw_diagram(diagram, mag[used], color[used], fit)
    _draw_distances(distances, mag[used], color[used], fit)
    return as_png(figure)


def _draw_diagram(axes: Axes, mag: Floats, color: Floats, fit: RedSequenceFit) -> None:
    """Draw color against magnitude, with the sequence and twice its scatter."""
    sequence = fit.sequence
    likely = fit.p_sequence[np.isfinite(fit.p_sequence)] > 0.5
    area = float(np.clip(40_000 / len(mag), 2, 16))
    for rows, shade, label in (
        (~likely, _GREY, "elsewhere"), (likely, _RED, "likely on the sequence")
    ):  # fmt: skip
        axes.scatter(mag[rows], color[rows], area, color=shade, linewidths=0, label=label)
    along = np.linspace(mag.min(), mag.max(), 200)
    line = sequence.color(along)
    axes.plot(along, line, color=_INK, lw=1.4, label="red sequence, 2 sigma")
    for side in (-2, 2):
        axes.plot(along, line + side * sequence.scatter, color=_INK, lw=0.8, ls=_DASHED)
    low, high = np.quantile(color, [0.01, 0.99])
    axes.set_ylim(min(low, line.min() - 0.3) - 0.1, max(high, line.max() + 0.3) + 0.4)
    axes.set_xlabel(f"${sequence.mag}_0$ (mag)")
    axes.set_ylabel(f"$({sequence.blue}-{sequence.red})_0$ (mag)")
    axes.legend(loc="upper left", ncols=3, fontsize=8)


def _draw_distances(axes: Axes, mag: Floats, color: Floats, fit: RedSequenceFit) -> None:
    """Draw how many objects lie how far from the sequence, and how many of them are its own."""
    delta = fit.sequence.delta(color, mag)
    p_sequence = fit.p_sequence[np.isfinite(fit.p_sequence)]
    bins = np.linspace(-_HALF_WIDTH, _HALF_WIDTH, 41).tolist()
    axes.hist(delta, bins, color=_GREY, alpha=0.6, label=f"all ({fit.n_object})")
    axes.hist(
        delta, bins, weights=p_sequence, color=_RED, histtype="step", lw=1.6,
        label=f"on the sequence ({fit.n_sequence:.0f} expected)",
    )  # fmt: skip
    line = fit.sequence.branches[0]
    axes.set_title(
        f"{line.zero:.3f} $\\pm$ {fit.zero_err:.3f} at {line.pivot:g},  slope {line.slope:.3f} "
        f"$\\pm$ {fit.slope_err:.3f},  scatter {fit.sequence.scatter:.3f}",
        fontsize=8,
    )
    axes.set_ylim(0, axes.get_ylim()[1] * 1.2)
    axes.set(xlabel="distance from the sequence (mag)", ylabel="objects")
    axes.legend(loc="upper left", fontsize=8)
