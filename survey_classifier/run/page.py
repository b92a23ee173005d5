"""The pieces of an HTML page: escaped text, tables, figures, and the page around them.

Owns form and style, and the rule that whatever comes from outside is escaped. Does not own any
content (``report``). A page is one file that loads nothing.
"""

import base64
import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

__all__ = [
    "Html",
    "cards",
    "columns",
    "facts",
    "figure",
    "heading",
    "is_page_of_ours",
    "join",
    "note",
    "page",
    "section",
    "table",
]


@dataclass(frozen=True, slots=True)
class Html:
    """Text that is HTML already; any other text is escaped on its way into a page."""

    text: str


Cell = str | int | float | Html

_GENERATOR = '<meta name="generator" content="survey_classifier">'
_HEAD_CHARACTERS = 1000
"""A page's title stands within."""
_STYLE = """
:root { --ink: #1f2933; --grey: #616e7c; --line: #e4e7eb; --blue: #0b5394; --soft: #f5f7fa; }
* { box-sizing: border-box; }
body { margin: 0; color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 1.4rem 1.6rem 4rem; }
h1 { font-size: 1.7rem; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; padding-top: .8rem;
     border-top: 1px solid var(--line); }
p { margin: .5rem 0; max-width: 75ch; }
.lead { font-size: 1.08rem; }
.note, figcaption { color: var(--grey); font-size: .88rem; }
.badge { font-size: .8rem; font-weight: 600; vertical-align: middle; padding: .15rem .55rem;
         border-radius: 1rem; background: #fff3d6; color: #7a4b00; border: 1px solid #f0d493; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.6rem, 1fr)); gap: .6rem;
         margin: 1rem 0; }
.cards div { background: var(--soft); border-radius: .5rem; padding: .55rem .8rem; }
.cards b { display: block; font-size: 1.4rem; line-height: 1.25; color: var(--blue);
           font-variant-numeric: tabular-nums; }
.cards span { color: var(--grey); font-size: .82rem; line-height: 1.3; display: block; }
.columns { display: grid; grid-template-columns: fit-content(66%) minmax(0, 1fr); gap: 1.6rem; }
@media (max-width: 860px) { .columns { grid-template-columns: minmax(0, 1fr); } }
table { border-collapse: collapse; margin: .4rem 0 1rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .2rem 0; }
th, td { padding: .28rem .8rem .28rem 0; border-bottom: 1px solid var(--line); text-align: left;
         vertical-align: top; }
td:last-child { overflow-wrap: anywhere; }
th { font-weight: 600; color: var(--grey); }
th.number, td.number { text-align: right; white-space: nowrap; }
figure { margin: .6rem 0 1.2rem; }
figcaption { max-width: 62ch; }
img { max-width: 100%; height: auto; display: block; }
"""


def page(title: str, body: Html) -> str:
    """Return a whole page.

    Parameters
    ----------
    title
        Of the window.
    body
        Everything in it.
    """
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"{_GENERATOR}\n<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n{body.text}\n</main>\n</body>\n</html>\n"
    )


def is_page_of_ours(path: Path, title: str) -> bool:
    """Say whether a file is a page that `page` made.

    Parameters
    ----------
    path
        Of a file that need not be there.
    title
        How the page's title begins.
    """
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            head = file.read(_HEAD_CHARACTERS)
    except OSError:
        return False  # what can't be read is not known to be ours
    return f"{_GENERATOR}\n<title>{escape(title)}" in head


def join(pieces: Iterable[Html]) -> Html:
    """Return pieces one below the other."""
    return Html("\n".join(piece.text for piece in pieces))


def section(title: str, *pieces: Html) -> Html:
    """Return pieces under a heading."""
    return join([Html(f"<h2>{escape(title)}</h2>"), *pieces])


def note(text: str, kind: str = "note") -> Html:
    """Return a paragraph; ``kind`` is ``note`` or ``lead``."""
    return Html(f'<p class="{kind}">{escape(text)}</p>')


def heading(text: str, mark: str | None = None) -> Html:
    """Return the page's heading, with a mark beside it that stands out."""
    badge = "" if mark is None else f' <span class="badge">{escape(mark)}</span>'
    return Html(f"<h1>{escape(text)}{badge}</h1>")


def columns(left: Html, right: Html) -> Html:
    """Return two pieces side by side, one below the other on a narrow screen."""
    return Html(f'<div class="columns"><div>{left.text}</div><div>{right.text}</div></div>')


def cards(pairs: Iterable[tuple[str, str]]) -> Html:
    """Return large figures, each with what it is: pairs of (figure, meaning)."""
    boxes = (f"<div><b>{escape(n)}</b><span>{escape(what)}</span></div>" for n, what in pairs)
    return Html(f'<div class="cards">{"".join(boxes)}</div>')


def facts(caption: str, pairs: Iterable[tuple[str, Cell]]) -> Html:
    """Return a table of names and values."""
    rows = (
        f'<tr><th scope="row">{escape(name)}</th><td>{_cell_text(value)}</td></tr>'
        for name, value in pairs
    )
    return Html(f"<table><caption>{escape(caption)}</caption>{''.join(rows)}</table>")


def table(caption: str, header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Html:
    """Return a table; numbers stand to the right, and so do the headings above them.

    Parameters
    ----------
    caption
        What it shows.
    header
        One heading for each column.
    rows
        The cells.
    """
    cells = [list(row) for row in rows]
    first = cells[0] if cells else [""] * len(header)
    head = "".join(
        f'<th scope="col"{_side(value)}>{escape(name)}</th>'
        for name, value in zip(header, first, strict=True)
    )
    body = "".join(
        f"<tr>{''.join(f'<td{_side(value)}>{_cell_text(value)}</td>' for value in row)}</tr>"
        for row in cells
    )
    return Html(
        f"<table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table>"
    )


def _side(value: Cell) -> str:
    return ' class="number"' if isinstance(value, int | float) else ""


def _cell_text(value: Cell) -> str:
    if isinstance(value, Html):
        return value.text
    return escape(_number(value) if isinstance(value, float) else str(value))


def _number(value: float) -> str:
    if math.isnan(value):
        return "undefined"
    return f"{value:.0f}" if value.is_integer() else f"{value:.4g}"


def figure(picture: bytes, alternative: str, caption: str) -> Html:
    """Return a picture within the page itself.

    Parameters
    ----------
    picture
        PNG; it is shown at two thirds of its size, so that it is sharp on fine screens.
    alternative
        What it shows, for those who cannot see it.
    caption
        What one should know of it.
    """
    width, height = (round(size / 1.5) for size in struct.unpack(">2I", picture[16:24]))
    data = base64.b64encode(picture).decode("ascii")
    return Html(
        f'<figure><img src="data:image/png;base64,{data}" alt="{escape(alternative)}" '
        f'width="{width}" height="{height}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )
