"""The pictures of an evaluation.

Owns how figures of merit and objects are drawn; every function takes arrays and returns a PNG
picture. Does not own what is worth showing (``page``) nor our style (``run.figures``).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from survey_classifier.membership.skill import Reliability
from survey_classifier.run.figures import as_png, style_axes
from survey_classifier.training.evaluation.claims import N_FIFTH, Fifth
from survey_classifier.training.evaluation.resampling import Figure as Measured
from survey_classifier.training.evaluation.truth import CLASSES

__all__ = [
    "MAX_RELIABILITIES",
    "color_pairs_picture",
    "confusion_picture",
    "curves_picture",
    "errors_picture",
    "mag_picture",
    "reliability_picture",
]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_INK, _GREY = "#1f2933", "#7b8794"
_SHADES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#7b8794", "#b58900", "#56b4e9", "#1f2933")
"""Of Okabe and Ito, which color-blind readers tell apart; the first is the first score's."""
_CLASS_SHADE = dict(zip(CLASSES, ("#d55e00", "#0072b2", "#009e73"), strict=True))
_DASHED = (0, (5, 4))
_MAX_PAIRS = 6
MAX_RELIABILITIES = 4
"""Reliability diagrams that can be told apart in one picture."""
_LIMITS = (1.0, 99.0)
"""Percentiles of colors that are shown."""


def _styles(names: Sequence[str], n_bold: tuple[int, int]) -> dict[str, tuple[str, float, str]]:
    """Return color, width and dashes of each forecast's line: baselines are thin and dotted."""
    n_own, n_score = n_bold
    styles: dict[str, tuple[str, float, str]] = {}
    for row, name in enumerate(names):
        shade = _SHADES[row % len(_SHADES)]
        if row < n_own:
            styles[name] = shade, 2.2, "-"
        else:
            styles[name] = (shade, 1.5, "-") if row < n_score else (shade, 1.3, ":")
    return styles


def curves_picture(
    curves: Mapping[str, Mapping[str, Mapping[str, Floats]]],
    n_bold: tuple[int, int],
    member_share: float,
) -> bytes:
    """Return the ROC and the precision-recall curves beside each other.

    Parameters
    ----------
    curves
        By forecast what ``measures.curves`` returns.
    n_bold
        How many of the forecasts, from the first on, are the scores' own, which are drawn with
        their 95 % bands, and how many are scores of any table.
    member_share
        Share of members: the precision of chance.
    """
    figure = Figure((10.2, 4.6), layout="constrained")
    roc, recall = figure.subplots(1, 2)
    roc.plot([0, 1], [0, 1], color=_GREY, lw=0.8, ls=_DASHED)
    recall.axhline(member_share, color=_GREY, lw=0.8, ls=_DASHED)
    styles = _styles(list(curves), n_bold)
    for row, (name, kinds) in enumerate(curves.items()):
        shade, width, dashes = styles[name]
        for axes, kind in ((roc, "roc"), (recall, "precision_recall")):
            line = kinds[kind]
            axes.plot(line["x"], line["y"], color=shade, lw=width, ls=dashes, label=name)
            if row < n_bold[0]:
                axes.fill_between(
                    line["x"], line["low"], line["high"], color=shade, alpha=0.18, lw=0
                )
    for axes, x, y in (
        (roc, "false positive rate", "true positive rate"), (recall, "recall", "precision")
    ):  # fmt: skip
        style_axes(axes)
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02), xlabel=x, ylabel=y, aspect="equal")
    roc.legend(loc="lower right", fontsize=8)
    return as_png(figure)


def reliability_picture(found: Mapping[str, Reliability]) -> bytes:
    """Return the share of members against the probability claimed, of each score.

    Parameters
    ----------
    found
        By score.
    """
    figure = Figure((5.2, 5.6), layout="constrained")
    top, bottom = figure.subplots(2, 1, height_ratios=(3.2, 1), sharex=True)
    top.plot([0, 1], [0, 1], color=_GREY, lw=1, ls=_DASHED, label="perfect")
    for row, (name, bins) in enumerate(found.items()):
        shade = _SHADES[row % len(_SHADES)]
        top.errorbar(
            bins.mean_p, bins.member_share, bins.share_err,
            color=shade, marker="o", ms=4.5, lw=1.3, capsize=2, label=name,
        )  # fmt: skip
        bottom.step(bins.mean_p, bins.n, where="mid", color=shade, lw=1.3, marker="o", ms=3)
    style_axes(top)
    style_axes(bottom)
    top.set(xlim=(-0.02, 1.02), ylim=(-0.03, 1.03), ylabel="share of members")
    top.legend(loc="upper left", fontsize=8)
    bottom.set(yscale="log", xlabel="mean probability in the bin", ylabel="objects")
    return as_png(figure)


def confusion_picture(counts: npt.NDArray[np.int64], names: Sequence[str]) -> bytes:
    """Return what objects of each class are called.

    Parameters
    ----------
    counts
        Called members and others of each class, shape ``(class, 2)``.
    names
        Of the classes.
    """
    figure = Figure((4.6, 0.9 + 0.62 * len(names)), layout="constrained")
    axes = figure.add_subplot()
    whole = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    share = counts / whole
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), n in np.ndenumerate(counts):
        shade = "white" if share[row, column] > 0.55 else _INK
        text = f"{n}  ({share[row, column]:.1%})"
        axes.text(column, row, text, ha="center", va="center", color=shade, fontsize=10)
    axes.set_xticks([0, 1], ["called member", "called nonmember"])
    axes.set_yticks(range(len(names)), list(names))
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return as_png(figure)


def mag_picture(
    middle: Floats,
    measured: Mapping[str, Sequence[Mapping[str, Measured]]],
    n_bold: tuple[int, int],
) -> bytes:
    """Return accuracy and AUC against magnitude.

    Parameters
    ----------
    middle
        Median magnitude of each bin's objects, shape ``(bin,)``.
    measured
        By forecast the figures of each bin.
    n_bold
        As for `curves_picture`.
    """
    figure = Figure((10.2, 3.8), layout="constrained")
    styles = _styles(list(measured), n_bold)
    for axes, key, label in zip(
        figure.subplots(1, 2), ("accuracy", "auc"), ("accuracy", "AUC"), strict=True
    ):
        for row, (name, bins) in enumerate(measured.items()):
            if (key, name) == ("auc", "majority"):
                continue  # only the order of the folds' shares
            shade, width, dashes = styles[name]
            value = np.array([found[key].value for found in bins])
            low = np.array([found[key].low for found in bins])
            high = np.array([found[key].high for found in bins])
            # What has no interval is of too few objects to be shown.
            value = np.where(np.isfinite(low), value, np.nan)
            axes.plot(
                middle, value, color=shade, lw=width, ls=dashes, marker="o", ms=3.5, label=name
            )
            if row < n_bold[0]:
                axes.fill_between(middle, low, high, color=shade, alpha=0.18, lw=0)
        style_axes(axes)
        axes.set(xlabel="dereddened magnitude", ylabel=label)
        if key == "accuracy":  # which shows all of them
            axes.legend(fontsize=8, loc="lower right")
    return as_png(figure)


def errors_picture(found: Sequence[Fifth]) -> bytes:
    """Return the share of wrong calls by fifths of the claimed errors.

    Parameters
    ----------
    found
        The fifths of all objects, and those among objects of like certainty.
    """
    figure = Figure((9.2, 3.8), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    titles = {"all": "of all objects", "alike": "among objects of like certainty"}
    for axes, (among, title) in zip(panels, titles.items(), strict=True):
        some = [fifth for fifth in found if fifth.among == among]
        number = np.array([fifth.number for fifth in some])
        wrong = np.array([(f.wrong.value, f.wrong.low, f.wrong.high) for f in some]).T
        axes.bar(number, wrong[0], 0.62, color=_SHADES[0], alpha=0.85, label="called wrongly")
        axes.vlines(number, wrong[1], wrong[2], color=_INK, lw=1.2)
        axes.plot(number, [f.expected for f in some], "D", ms=6, color=_SHADES[1],
                  mec="white", label="expected of p alone")  # fmt: skip
        style_axes(axes)
        axes.set(xlabel=f"fifth of the claimed errors\n{title}", xticks=range(1, N_FIFTH + 1))
    panels[0].set_ylabel("share of the objects")
    panels[0].yaxis.set_major_formatter(PercentFormatter(1))
    panels[0].legend(loc="upper left", fontsize=8)
    return as_png(figure)


def color_pairs_picture(
    pairs: Sequence[tuple[tuple[str, Floats], tuple[str, Floats]]],
    true_class: npt.NDArray[np.object_],
    is_wrong: Bools,
) -> bytes:
    """Return one quantity against another, of each pair, with what was called wrongly marked.

    Parameters
    ----------
    pairs
        Titles and values ``(n,)`` of what is drawn along x and along y; the first few are drawn,
        and the last.
    true_class
        Of each object.
    is_wrong
        Which were called what they are not.
    """
    pairs = [*pairs[:-1][: _MAX_PAIRS - 1], pairs[-1]]
    n_col = min(len(pairs), 3)
    n_row = -(-len(pairs) // n_col)
    figure = Figure((max(5.1 * n_col, 6.4), 4.6 * n_row), layout="constrained")
    grid = np.atleast_1d(figure.subplots(n_row, n_col)).ravel()
    for axes, ((x_title, x), (y_title, y)) in zip(grid, pairs, strict=False):
        _color_pair(axes, x, y, true_class, is_wrong)
        axes.set(xlabel=x_title, ylabel=y_title)
    for axes in grid[len(pairs) :]:
        axes.set_visible(False)
    grid[0].legend(fontsize=8, loc="upper left")
    return as_png(figure)


def _color_pair(
    axes: Axes, x: Floats, y: Floats, true_class: npt.NDArray[np.object_], is_wrong: Bools
) -> None:
    """Draw the objects of which both are known; a few outliers are outside."""
    known = np.isfinite(x) & np.isfinite(y)
    area = float(np.clip(30_000 / max(int(known.sum()), 1), 3, 22))
    # The many first: the few would be hidden by them.
    for name, marker, growth in (("background", "o", 1), ("cluster", "o", 1), ("star", "*", 4)):
        rows = known & (true_class == name)
        if rows.any():
            axes.scatter(
                x[rows], y[rows], growth * area, color=_CLASS_SHADE[name], marker=marker, lw=0,
                label=name,
            )  # fmt: skip
    rows = known & is_wrong
    axes.scatter(
        x[rows], y[rows], 2 * area + 6, facecolors="none", edgecolors=_INK, lw=0.7,
        label="called wrongly",
    )  # fmt: skip
    style_axes(axes)
    if known.any():
        for values, limit in ((x[known], axes.set_xlim), (y[known], axes.set_ylim)):
            low, high = np.percentile(values, _LIMITS)
            limit(low - 0.15, high + 0.15)
