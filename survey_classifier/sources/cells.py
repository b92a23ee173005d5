"""The columns of a table file, and what their cells say: text, numbers or degrees.

Owns the conversion of cells, whatever type the file gave them. Does not own the reading of files
(``formats``) or what the columns are for.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from astropy import units as u

from survey_classifier.errors import SourcesError

__all__ = ["RawTable"]

MARK = 90.0
"""From here on a number is a mark of a missing one."""
_NINES = [float("9" * n + "." + "9" * m) for n in (2, 3, 4, 5) for m in range(1, 5)]
_NINES += [float("9" * n) for n in (2, 3, 4, 5)]
_MISSING = r"(?i)^(?:|--?|n/?a|-?nan|none|null)$"
# Stricter than float(): no digit separators, ASCII digits only.
_NUMBER = r"^[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|(?i:inf|infinity))$"


@dataclass(frozen=True, slots=True, eq=False)
class RawTable:
    """Some columns of a table file, as they stand in it.

    Raises
    ------
    SourcesError
        By the reading methods, when a cell is not what is asked for.
    """

    path: Path
    """The file, for messages."""
    data: pa.Table
    """The columns, one cell a row; null where the file says that there is no value."""
    units: Mapping[str, str]
    """Units that the file states, by column name."""

    def __len__(self) -> int:
        return int(self.data.num_rows)

    def text(self, name: str) -> npt.NDArray[np.object_]:
        """Return a column as stripped ``str``, '' where there is no value; shape (n,)."""
        with self._translated(name):
            column = self._plain(name)
            if not _is_name(column):
                raise SourcesError(
                    f"column {name!r} of {self.path} holds {column.type} where names or classes "
                    "are expected (numbers with a fraction lose digits): store it as text or "
                    "whole numbers"
                )
            return np.array(_stripped(column).to_pylist(), dtype=object)

    def numbers(self, name: str) -> npt.NDArray[np.float64]:
        """Return a column as float64, NaN where there is no value; shape (n,)."""
        with self._translated(name):
            column = self._plain(name)
            if _is_text(column):
                return self._parse(name, _stripped(column))
            if not _is_number(column):
                raise SourcesError(
                    f"column {name!r} of {self.path} holds {column.type} where numbers are "
                    "expected: name another column, or store it as numbers"
                )
            return _float64(column)

    def unmarked(self, name: str) -> npt.NDArray[np.float64]:
        """Return a column of magnitudes, colors or the like, NaN where it marks a missing value.

        99, -99, -999 and -9999 are the customary marks; nothing measured comes near.
        """
        values = self.numbers(name)
        return np.where(np.abs(values) < MARK, values, np.nan)

    def without_nines(self, name: str) -> npt.NDArray[np.float64]:
        """Return a column of sizes, shapes or anything, NaN where it marks a missing value.

        Such may well be 100, so a mark is only what is written in nines: 99, 99.99, -999 and so on.
        """
        values = self.numbers(name)
        return np.where(np.isin(np.abs(values), _NINES), np.nan, values)

    def angles_deg(self, name: str) -> npt.NDArray[np.float64]:
        """Return a column of angles in degrees, NaN where there is no value; shape (n,).

        A column whose unit the file doesn't state is in degrees already.
        """
        values = self.numbers(name)
        stated = self.units.get(name, "")
        if not stated:
            return values
        unit = u.Unit(stated, parse_strict="silent")
        if not unit.is_equivalent(u.deg):
            raise SourcesError(
                f"column {name!r} of {self.path} has the unit {stated!r}, which is no angle: "
                "state deg, rad or hourangle"
            )
        return np.asarray(values * unit.to(u.deg), dtype=np.float64)

    def _plain(self, name: str) -> pa.ChunkedArray:
        """Return a column without its encoding: categories as their values, bytes as text."""
        column = self.data.column(name)
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if _is_encoded(column):
            column = column.cast(pa.string())
        return column

    def _parse(self, name: str, text: pa.ChunkedArray) -> npt.NDArray[np.float64]:
        """Return the numbers that stripped text spells."""
        missing = pc.match_substring_regex(text, _MISSING)
        try:
            values = _float64(pc.if_else(missing, pa.scalar(None, text.type), text))
        except pa.ArrowInvalid:
            values = np.full(len(text), np.nan)
        # Arrow also takes nan(1) for a number.
        if np.array_equal(np.isnan(values), missing.to_numpy()):
            return values
        row = pc.index(pc.or_(missing, pc.match_substring_regex(text, _NUMBER)), False).as_py()
        raise SourcesError(
            f"column {name!r} of {self.path}, row {row + 1}: {text[row].as_py()!r} is not a "
            "number (angles are in decimal degrees, missing values are left empty)"
        )

    @contextmanager
    def _translated(self, name: str) -> Iterator[None]:
        """Turn what Arrow says of a column's cells into our own error."""
        try:
            yield
        except (pa.ArrowException, UnicodeError) as error:
            reason = str(error).strip().split("\n")[0]
            raise SourcesError(
                f"cannot read column {name!r} of {self.path}, which holds "
                f"{self.data.column(name).type}: {reason}; store it as text or numbers"
            ) from error


def _is_encoded(column: pa.ChunkedArray) -> bool:
    kinds = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary,
             pa.types.is_binary_view, pa.types.is_string_view)  # fmt: skip
    return any(kind(column.type) for kind in kinds)


def _is_text(column: pa.ChunkedArray) -> bool:
    return bool(pa.types.is_string(column.type) or pa.types.is_large_string(column.type))


def _is_name(column: pa.ChunkedArray) -> bool:
    whole = pa.types.is_decimal(column.type) and column.type.scale == 0
    kinds = (pa.types.is_integer, pa.types.is_boolean, pa.types.is_null)
    return _is_text(column) or whole or any(kind(column.type) for kind in kinds)


def _is_number(column: pa.ChunkedArray) -> bool:
    kinds = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_null)
    return any(kind(column.type) for kind in kinds)


def _stripped(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the cells as text without white space around it, '' where there is no value."""
    text = column if _is_text(column) else column.cast(pa.string())
    return pc.utf8_trim_whitespace(pc.fill_null(text, ""))


def _float64(column: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    filled = pc.fill_null(column.cast(pa.float64(), safe=False), float("nan"))
    return np.asarray(filled.to_numpy(), dtype=np.float64)
