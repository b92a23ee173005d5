"""The words and colors of the Survey page.

Owns the headline, the legend and what a color means, as HTML. Does not own the figures
(``survey_page``) nor the numbers (``survey_state``).
"""

import math
from html import escape

from survey_classifier.run.survey_messages import TileState
from survey_classifier.run.survey_state import Snapshot

__all__ = ["COLORS", "headline_html", "legend_html"]

# Okabe & Ito (2008, "Color universal design"), told apart with any color vision; a failed tile
# is hatched besides, so that it shows in grey too.
COLORS = {
    TileState.PENDING: "#DDDDDD",
    TileState.CUTTING: "#56B4E9",
    TileState.WAITING: "#F0E442",
    TileState.SCORING: "#E69F00",
    TileState.DONE: "#009E73",
    TileState.FAILED: "#D55E00",
}
"""Fill color of a tile in each state."""


def headline_html(snapshot: Snapshot) -> str:
    """Return the figures that one looks for first, as HTML; the run's name is escaped.

    Parameters
    ----------
    snapshot
        The state.
    """
    if snapshot["name"] is None:
        return (
            '<p style="font-size:18px">No run yet. It shows here as soon as '
            "<code>survey-classifier classify</code> sends its plan to this scheduler.</p>"
        )
    settled, total = snapshot["n_sources_settled"], snapshot["n_sources"]
    share = settled / total if total else 1.0
    earlier = snapshot["n_sources_earlier"]
    cards = {f"of {total:,} sources ({math.floor(100 * share)} %)": f"{settled:,}"}
    if earlier:
        cards["of these by an earlier run"] = f"{earlier:,}"
    cards |= {
        "time left": _duration(snapshot["seconds_left"]),
        "elapsed": _duration(snapshot["elapsed_seconds"]),
        "stamps per second": _number(snapshot["stamps_per_second"], ",.0f"),
        "scorer at work": _number(snapshot["scorer_utilization"], ".0%").replace("%", " %"),
    }
    blocks = "".join(
        f'<div style="margin-right:28px"><div style="font-size:24px">{value}</div>'
        f'<div style="color:#555">{name}</div></div>'
        for name, value in cards.items()
    )
    return (
        f'<div style="display:flex;flex-wrap:wrap;align-items:flex-end;font-size:13px">'
        f'<div style="margin-right:28px;font-size:24px;font-weight:bold">'
        f"{escape(snapshot['name'])}</div>{blocks}</div>"
        f'<div style="background:{COLORS[TileState.PENDING]};height:8px;margin-top:8px">'
        f'<div style="background:{COLORS[TileState.DONE]};height:8px;width:{100 * share:.1f}%">'
        "</div></div>"
    )


def legend_html(tiles_by_state: dict[str, int]) -> str:
    """Return what the colors mean, with the number of tiles of each, as HTML.

    Parameters
    ----------
    tiles_by_state
        Number of tiles of every state.
    """
    hatch = "repeating-linear-gradient(45deg,#0008 0 2px,transparent 2px 6px),"
    entries = "".join(
        f'<span style="margin-right:18px;white-space:nowrap"><span style="display:inline-block;'
        f"width:14px;height:14px;vertical-align:-2px;margin-right:5px;border:1px solid #999;"
        f'background:{hatch if state is TileState.FAILED else ""}{color}"></span>'
        f"{state.value} <b>{tiles_by_state[state.value]:,}</b></span>"
        for state, color in COLORS.items()
    )
    return f'<div style="font-size:13px;line-height:1.8">Tiles: {entries}</div>'


def _number(value: float | None, form: str) -> str:
    """Return a number as text; a dash where it is not known."""
    return "–" if value is None else format(value, form)


def _duration(seconds: float | None) -> str:
    """Return a time in its two largest units; a dash where it is not known."""
    if seconds is None:
        return "–"
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
