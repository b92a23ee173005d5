"""Small tables of results: as Parquet for programs, as Markdown for readers.

Owns how such a table is written. Does not own the catalog (``parts``) nor what a table holds.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from survey_classifier.errors import CatalogError
from survey_classifier.files import replacing

__all__ = ["markdown_table", "write_columns"]

Cell = str | int | float


def write_columns(
    path: Path, columns: Mapping[str, npt.NDArray[Any]], notes: Mapping[str, str]
) -> None:
    """Write columns as Parquet; the file appears complete or not at all.

    Parameters
    ----------
    path
        The file; one that is there is replaced, its folder is made.
    columns
        By name, shape ``(n,)`` each.
    notes
        What the footer says of the table.

    Raises
    ------
    CatalogError
        If it cannot be written.
    """
    table = pa.table({name: pa.array(values) for name, values in columns.items()})
    table = table.replace_schema_metadata(dict(notes))
    try:
        with replacing(path) as temporary:
            pq.write_table(table, temporary, compression="zstd")
    except OSError as error:
        raise CatalogError(f"cannot write {path}: {error}; free or choose another place") from error


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """Return a table in Markdown; columns of numbers stand to the right.

    Parameters
    ----------
    header
        One heading for each column.
    rows
        The cells; floats are rounded to four digits, unknown ones are dashes.
    """
    cells = [list(row) for row in rows]
    first = cells[0] if cells else [""] * len(header)
    sides = ["---:" if isinstance(cell, int | float) else "---" for cell in first]
    lines = [_line(header), _line(sides), *(_line([_text(cell) for cell in row]) for row in cells)]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    # A bar would end the cell, and a line the row.
    return "| " + " | ".join(" ".join(c.split()).replace("|", "\\|") for c in cells) + " |"


def _text(cell: Cell) -> str:
    if isinstance(cell, float | np.floating):
        return "-" if math.isnan(cell) else f"{cell:.4g}"
    return str(cell)
