"""The figures of a report.

Owns how a result is drawn; every function takes arrays and returns a PNG picture. Does not own
what is worth showing (``report``). No pyplot, so nothing here changes a caller's figures.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from survey_classifier.membership.color import ColorCuts
from survey_classifier.membership.skill import Reliability

__all__ = [
    "Frame",
    "Unclassified",
    "as_png",
    "color_magnitude",
    "histogram",
    "probability_against_magnitude",
    "reliability_diagram",
    "sky_frame",
    "sky_map",
    "stacked_histogram",
    "style_axes",
]

Array = npt.NDArray[np.floating]

_INK, _GREY, _BLUE, _ORANGE, _GREEN = "#1f2933", "#7b8794", "#0072b2", "#d55e00", "#009e73"
_PROBABILITY = LinearSegmentedColormap.from_list(
    "probability", ["#c3cbd6", "#8fb3d9", "#3f7fbf", "#7a3e9d", "#c2185b"]
)
_CLASS_COLOR = {"cluster": _ORANGE, "background": _BLUE, "star": _GREEN}
_CROSS, _CROSSES = "#616e7c", ("x", "+", "1", "2", "3", "4")
_BINS = tuple(np.linspace(0, 1, 21).tolist())
_MIN_COS_DEC = 0.02


@dataclass(frozen=True, slots=True)
class Frame:
    """What a figure shows of its plane: the limits of both axes, in data units."""

    x: tuple[float, float]
    y: tuple[float, float]

    def holds(self, x: Array, y: Array) -> npt.NDArray[np.bool_]:
        """Return whether each point is shown; a point with a NaN is not."""
        return (x >= self.x[0]) & (x <= self.x[1]) & (y >= self.y[0]) & (y <= self.y[1])

    def holds_sky(self, ra_deg: Array, dec_deg: Array) -> npt.NDArray[np.bool_]:
        """Return whether each position is shown by a sky map with this frame."""
        return self.holds(_unwrapped(ra_deg, sum(self.x) / 2), dec_deg)


@dataclass(frozen=True, slots=True)
class Unclassified:
    """Sources that were not classified, for one reason."""

    reason: str
    ra_deg: Array
    dec_deg: Array


def sky_frame(ra_deg: Array, dec_deg: Array) -> Frame:
    """Return the part of the sky that holds some positions, with a margin.

    Parameters
    ----------
    ra_deg, dec_deg
        Positions in degrees, shape ``(n,)``; NaN is left out. Right ascension in the frame runs
        on across 0, so it may be below 0 or above 360.
    """
    dec = dec_deg[np.isfinite(dec_deg)]
    if not len(dec):
        return Frame((0.0, 360.0), (-90.0, 90.0))
    ra = _unwrapped(ra_deg[np.isfinite(ra_deg)], _middle_ra(ra_deg))
    return Frame(_limits(ra, 0.01), _limits(dec, 0.01))


def _middle_ra(ra_deg: Array) -> float:
    """Return the circular mean of right ascensions, 0 to 360."""
    angle = np.radians(ra_deg[np.isfinite(ra_deg)])
    return float(np.degrees(np.arctan2(np.sin(angle).sum(), np.cos(angle).sum())) % 360)


def _unwrapped(ra_deg: Array, middle_deg: float) -> Array:
    """Return right ascensions within 180 degrees of a middle."""
    return np.asarray((ra_deg - middle_deg + 180) % 360 - 180 + middle_deg)


def _limits(values: Array, least: float) -> tuple[float, float]:
    """Return the range of values and a margin, at least so wide."""
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    margin = max(0.06 * (high - low), least)
    return low - margin, high + margin


def _robust_limits(values: Array, least: float) -> tuple[float, float]:
    """Return limits that leave out a few outliers."""
    if not len(values):
        return 0.0, 1.0
    return _limits(np.percentile(values, [0.3, 99.7]), least)


def sky_map(
    frame: Frame,
    ra_deg: Array,
    dec_deg: Array,
    p_member: Array,
    unclassified: tuple[Unclassified, ...],
) -> bytes:
    """Return the sky with each source in the color of its probability.

    Parameters
    ----------
    frame
        From `sky_frame`.
    ra_deg, dec_deg
        Of the classified sources, degrees, shape ``(n,)``.
    p_member
        Their probabilities, the highest drawn last.
    unclassified
        Drawn as crosses, one kind a reason.
    """
    middle = sum(frame.x) / 2
    cos_dec = max(float(np.cos(np.radians(sum(frame.y) / 2))), _MIN_COS_DEC)
    figure, axes = _figure(7.2, 6.0)
    _scatter(axes, _unwrapped(ra_deg, middle), dec_deg, p_member)
    for number, group in enumerate(unclassified):
        ra = _unwrapped(group.ra_deg, middle)
        shown = frame.holds(ra, group.dec_deg)
        label = f"{group.reason} ({int(shown.sum())})"
        marker = _CROSSES[number % len(_CROSSES)]
        axes.plot(
            ra[shown], group.dec_deg[shown], marker, color=_CROSS, ms=5.5, mew=1.1, label=label
        )
    axes.set(xlim=frame.x[::-1], ylim=frame.y, xlabel="RA (deg)", ylabel="Dec (deg)")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda ra, _: f"{ra % 360:g}"))
    axes.set_aspect(1 / cos_dec)
    _color_bar(figure, axes)
    if unclassified:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=3, title="not classified")
    return as_png(figure)


def color_magnitude(
    mag_r: Array, color_gz: Array, p_member: Array, cuts: ColorCuts
) -> tuple[bytes, int]:
    """Return the color-magnitude diagram with the red sequence.

    Parameters
    ----------
    mag_r, color_gz
        Dereddened r and g - z, finite, shape ``(n,)``.
    p_member
        Probabilities, shape ``(n,)``.
    cuts
        Hold the red sequence and the edges of the regions about it.

    Returns
    -------
    picture
        The PNG.
    n_outside
        Outliers that lie outside of the figure's limits.
    """
    frame = Frame(_robust_limits(mag_r, 0.2), _robust_limits(color_gz, 0.1))
    figure, axes = _figure(7.4, 4.8)
    _scatter(axes, mag_r, color_gz, p_member)
    r_mag = np.linspace(*frame.x, 200)
    sequence = cuts.sequence.color(r_mag)
    axes.plot(r_mag, sequence, color=_INK, lw=1.4, label="red sequence")
    for edge in (cuts.red_sequence_min, cuts.red_sequence_max):
        axes.plot(r_mag, sequence + edge, color=_INK, lw=0.8, ls=(0, (5, 4)))
    axes.set(xlim=frame.x, ylim=frame.y, xlabel="$r_0$ (mag)", ylabel="$(g-z)_0$ (mag)")
    axes.legend(loc="upper left")
    _color_bar(figure, axes)
    return as_png(figure), int((~frame.holds(mag_r, color_gz)).sum())


def probability_against_magnitude(mag: Array, p_member: Array, band: str) -> bytes:
    """Return p_member against the magnitude in a band, both finite, shape ``(n,)``."""
    figure, axes = _figure(7.4, 4.2)
    _scatter(axes, mag, p_member, p_member)
    axes.set(xlim=_robust_limits(mag, 0.2), ylim=(-0.03, 1.03))
    axes.set(xlabel=f"mag_{band} (mag)", ylabel="p_member")
    _color_bar(figure, axes)
    return as_png(figure)


def histogram(p_member: Array, p_image: Array) -> bytes:
    """Return how often each probability occurs, on a logarithmic scale; shapes ``(n,)``."""
    figure, axes = _figure(5.5, 3.5)
    axes.hist(p_member, _BINS, color=_BLUE, alpha=0.75, label="p_member (with the prior)")
    axes.hist(p_image, _BINS, color=_ORANGE, histtype="step", lw=1.8, label="p_image (network)")
    _probability_axis(axes, "probability", len(p_member))
    axes.legend(loc="upper center", ncols=2)
    return as_png(figure)


def stacked_histogram(p_image_by_class: Mapping[str, Array]) -> bytes:
    """Return how often each probability occurs among sources of known redshift.

    Parameters
    ----------
    p_image_by_class
        Class by redshift to the probabilities of its sources, shape ``(n,)``.
    """
    figure, axes = _figure(5.5, 3.5)
    for name, p_image in p_image_by_class.items():
        label = f"{name} ({len(p_image)})"
        color = _CLASS_COLOR.get(name, _GREY)
        axes.hist(p_image, _BINS, color=color, histtype="step", lw=1.8, label=label)
    _probability_axis(axes, "p_image", max(map(len, p_image_by_class.values()), default=0))
    if p_image_by_class:
        axes.legend(loc="upper center", ncols=3, title="class by spectroscopic redshift")
    return as_png(figure)


def reliability_diagram(found: Reliability) -> bytes:
    """Return the share of true members against the probability that was given."""
    figure, axes = _figure(4.8, 4.4)
    axes.plot([0, 1], [0, 1], color=_GREY, lw=1, ls=(0, (5, 4)), label="perfect")
    axes.errorbar(
        found.mean_p, found.member_share, found.share_err,
        color=_BLUE, marker="o", ms=5, lw=1.4, capsize=2, label="found",
    )  # fmt: skip
    for x, y, n in zip(found.mean_p, found.member_share, found.n, strict=True):
        axes.annotate(str(n), (x, y), (6, -9), textcoords="offset points", fontsize=7, color=_GREY)
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
    axes.set(xlabel="mean p_member in bin", ylabel="share of true members")
    axes.legend(loc="upper left")
    return as_png(figure)


def style_axes(axes: Axes) -> None:
    """Draw axes in our style."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e4e7eb", lw=0.6)
    axes.set_axisbelow(True)


def _figure(width_inch: float, height_inch: float) -> tuple[Figure, Axes]:
    """Return an empty figure in our style."""
    figure = Figure((width_inch, height_inch), layout="constrained")
    axes = figure.add_subplot()
    style_axes(axes)
    return figure, axes


def _scatter(axes: Axes, x: Array, y: Array, p_member: Array) -> None:
    """Draw sources in the color of their probability, likely members last and larger."""
    order = np.argsort(p_member)
    p = p_member[order]
    area = float(np.clip(40_000 / max(len(p), 1), 1.5, 16))
    axes.scatter(
        x[order], y[order], area * (1 + 1.2 * p), p,
        cmap=_PROBABILITY, norm=Normalize(0, 1), linewidths=0,
    )  # fmt: skip


def _color_bar(figure: Figure, axes: Axes) -> None:
    """Add the scale of p_member."""
    scale = ScalarMappable(Normalize(0, 1), _PROBABILITY)
    bar = figure.colorbar(scale, ax=axes, shrink=0.75, aspect=28, pad=0.02)
    bar.set_label("p_member")
    bar.outline.set_visible(False)


def _probability_axis(axes: Axes, label: str, n: int) -> None:
    """Set the axes of a histogram of n probabilities."""
    # Room for the legend above the highest bar that there could be. First the limits: without
    # any source, the scale could not find them.
    axes.set_ylim(0.7, 12 * max(n, 1))
    axes.set(xlim=(0, 1), xlabel=label, ylabel="sources", yscale="log")


def as_png(figure: Figure) -> bytes:
    """Return a figure as a picture, the same bytes for the same figure."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=150, metadata={"Software": None})
    return stream.getvalue()
