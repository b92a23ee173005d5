"""The Survey page: how the state of a run looks while it goes on.

Owns the figures and the layout; uses public Bokeh only. Does not own the numbers
(``survey_state``), the colors and the words beside the figures (``survey_words``), nor how the
page comes onto the dashboard (``monitor``).
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

from bokeh.layouts import column, row
from bokeh.models import (
    ColumnDataSource,
    CustomJSTickFormatter,
    DataRange1d,
    Div,
    HoverTool,
    NumeralTickFormatter,
    Range1d,
)
from bokeh.plotting import figure

from survey_classifier.membership.flags import Status
from survey_classifier.run.survey_messages import TileState
from survey_classifier.run.survey_state import Snapshot, TileSnapshot
from survey_classifier.run.survey_words import COLORS, headline_html, legend_html

__all__ = ["SurveyPage"]

BAR = "#0072B2"
HOUR = 3600.0
TIME_UNITS = ((1.0, "seconds"), (60.0, "minutes"), (HOUR, "hours"))
FULL_WIDTH = ".bk-clearfix { width: 100%; }"
RA_TICK = "return String(Number((((tick % 360) + 360) % 360).toFixed(4)))"
REJECTS = tuple(status.value for status in Status if status is not Status.CLASSIFIED)

Columns = dict[str, list[Any]]


class SurveyPage:
    """The page of one viewer.

    Parameters
    ----------
    read
        Returns the state as it is now.

    Attributes
    ----------
    root
        The layout to put into a document.
    """

    def __init__(self, read: Callable[[], Snapshot]) -> None:
        self._read = read
        self._fingerprint: str | None = None
        self._drawn: list[TileSnapshot] = []
        self._tiles = ColumnDataSource(_tile_columns([]))
        self._rates = ColumnDataSource(_bars([], []))
        self._bins = ColumnDataSource(_bars([], []))
        self._rejects = ColumnDataSource({"status": [], "count": [], "label": []})
        self._map = _sky_map(self._tiles)
        self._rate_figure = _bar_figure(self._rates, "Stamps per second")
        # The text of a Div lies in a shrunken box of Bokeh's own, which its style sheet can reach.
        self._headline = Div(sizing_mode="stretch_width", stylesheets=[FULL_WIDTH])
        self._legend = Div(sizing_mode="stretch_width")
        histogram = _bar_figure(self._bins, "p_member of the classified sources")
        histogram.x_range = Range1d(0, 1)
        side = [self._rate_figure, histogram, _reject_figure(self._rejects)]
        self._body = row(
            column(self._legend, self._map, sizing_mode="stretch_both"),
            column(*side, sizing_mode="stretch_both"),
            sizing_mode="stretch_both",
        )
        self.root = column(self._headline, self._body, sizing_mode="stretch_both")
        self.update()

    def update(self) -> None:
        """Bring everything up to date."""
        snapshot = self._read()
        self._body.visible = snapshot["name"] is not None
        self._headline.text = headline_html(snapshot)
        self._legend.text = legend_html(snapshot["tiles_by_state"])
        self._update_map(snapshot["fingerprint"], snapshot["tiles"])
        self._update_rates(snapshot["stamp_rates"], snapshot["stamp_rate_seconds"])
        bins = snapshot["p_member_histogram"]
        self._bins.data = _bars([index / len(bins) for index in range(len(bins) + 1)], bins)
        rejects = [snapshot["n_by_status"][status] for status in REJECTS]
        self._rejects.data = {
            "status": list(REJECTS),
            "count": rejects,
            "label": [f"{count:,}" for count in rejects],
        }

    def _update_map(self, fingerprint: str | None, tiles: list[TileSnapshot]) -> None:
        """Draw the tiles of another run; recolor those of the same run."""
        # Corners are most of what is sent to the viewer, and one fingerprint has one grid.
        if fingerprint != self._fingerprint:
            self._tiles.data = _tile_columns(tiles)
            self._map.aspect_scale = _aspect_scale(tiles)
        else:
            pairs = enumerate(zip(tiles, self._drawn, strict=True))
            changed = [index for index, (new, old) in pairs if new != old]
            if changed:
                columns = _state_columns([tiles[index] for index in changed])
                self._tiles.patch(
                    {
                        name: list(zip(changed, values, strict=True))
                        for name, values in columns.items()
                    }
                )
        self._fingerprint, self._drawn = fingerprint, tiles

    def _update_rates(self, rates: list[float], seconds: float) -> None:
        """Redraw the rates in a unit of time that suits the length of the run."""
        length = len(rates) * seconds
        unit, name = next(
            (unit, name) for unit, name in TIME_UNITS if length <= 3 * 60 * unit or unit == HOUR
        )
        step = seconds / unit
        self._rates.data = _bars([index * step for index in range(len(rates) + 1)], rates)
        self._rate_figure.xaxis.axis_label = f"{name} since the first tile"


def _tile_columns(tiles: Sequence[TileSnapshot]) -> Columns:
    """Return what the sky map draws; a tile that is not on the sky has no outline."""
    outlines = _unwrapped(tiles)
    return {
        "ra": [[ra for ra, _ in outline] for outline in outlines],
        "dec": [[dec for _, dec in outline] for outline in outlines],
        "tile": [tile["tile"] for tile in tiles],
        "n_sources": [tile["n_sources"] for tile in tiles],
        **_state_columns(tiles),
    }


def _state_columns(tiles: Sequence[TileSnapshot]) -> Columns:
    """Return the columns of the sky map that change while a run goes on."""
    failed = TileState.FAILED.value
    return {
        "state": [tile["state"] for tile in tiles],
        "color": [COLORS[TileState(tile["state"])] for tile in tiles],
        "hatch": ["x" if tile["state"] == failed else " " for tile in tiles],
        "reason": [tile["reason"] for tile in tiles],
    }


def _unwrapped(tiles: Sequence[TileSnapshot]) -> list[list[list[float]]]:
    """Return the outlines (RA, Dec) in degrees, without a jump where RA passes 360."""
    outlines = [tile["corners"] or [] for tile in tiles]
    middle = next((outline[0][0] for outline in outlines if outline), 0.0)
    return [
        [[middle + (ra - middle + 180) % 360 - 180, dec] for ra, dec in outline]
        for outline in outlines
    ]


def _aspect_scale(tiles: Sequence[TileSnapshot]) -> float:
    """Return how long a degree of RA is, in degrees of Dec, in the middle of the tiles."""
    decs = [dec for tile in tiles for _, dec in tile["corners"] or []]
    middle = (min(decs) + max(decs)) / 2 if decs else 0.0
    return max(math.cos(math.radians(middle)), 0.01)


def _bars(edges: list[float], heights: Sequence[float]) -> Columns:
    """Return bars between consecutive edges."""
    return {"left": edges[:-1], "right": edges[1:], "top": list(heights)}


def _sky_map(tiles: ColumnDataSource) -> figure:
    """Return the map of tiles: north is up, east is left, as on the sky."""
    plot = figure(
        title="Tiles on the sky",
        x_axis_label="RA (deg)",
        y_axis_label="Dec (deg)",
        x_range=DataRange1d(flipped=True),
        match_aspect=True,
        tools="pan,wheel_zoom,reset",
        toolbar_location="right",
        sizing_mode="stretch_both",
        min_height=300,
    )
    plot.xaxis.formatter = CustomJSTickFormatter(code=RA_TICK)
    patches = plot.patches(
        "ra",
        "dec",
        source=tiles,
        fill_color="color",
        line_color="white",
        line_width=1,
        hatch_pattern="hatch",
        hatch_color="black",
        hatch_alpha=0.5,
    )
    tooltips = [(name, f"@{name}") for name in ("tile", "state", "n_sources", "reason")]
    plot.add_tools(HoverTool(renderers=[patches], tooltips=tooltips))
    return plot


def _bar_figure(bars: ColumnDataSource, title: str) -> figure:
    """Return a figure of vertical bars from zero."""
    plot = figure(
        title=title,
        x_range=DataRange1d(start=0, range_padding=0),
        y_range=DataRange1d(start=0, min_interval=1),
        tools="",
        toolbar_location=None,
        sizing_mode="stretch_both",
        min_height=120,
    )
    plot.quad("left", "right", "top", 0, source=bars, fill_color=BAR, line_color="white")
    plot.yaxis.formatter = NumeralTickFormatter(format="0,0.[0]")
    plot.xgrid.visible = False
    return plot


def _reject_figure(rejects: ColumnDataSource) -> figure:
    """Return the bars of sources that were not classified, one a reason."""
    plot = figure(
        title="Sources not classified, by status",
        y_range=list(reversed(REJECTS)),
        # Room for the count beside the longest bar.
        x_range=DataRange1d(start=0, range_padding=0.25, min_interval=1),
        tools="",
        toolbar_location=None,
        sizing_mode="stretch_both",
        min_height=150,
    )
    plot.hbar("status", right="count", height=0.7, source=rejects, color=COLORS[TileState.FAILED])
    plot.text(
        "count",
        "status",
        "label",
        source=rejects,
        x_offset=4,
        text_baseline="middle",
        text_font_size="12px",
    )
    plot.xaxis.visible = False
    plot.grid.visible = False
    return plot
