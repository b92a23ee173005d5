"""One column of a catalog: its name, type and meaning, and what may stand in it.

Owns the types that a catalog may hold and the conversion of one array, which refuses what may
never be published. Does not own which columns there are, nor rules across columns (``schema``).

The types are few, because every reader must take them: 4 and 8 byte floats, 2, 4 and 8 byte
integers, strings. Nothing is null: an unknown float is NaN, an unknown integer has a sentinel
that its description names, an unknown string is empty.
"""

import re
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from survey_classifier.errors import CatalogError

__all__ = ["Column", "DType", "Values", "refuse", "strings"]

DType = Literal["float32", "float64", "int16", "int32", "int64", "string"]
Values = npt.NDArray[Any]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a catalog.

    Raises
    ------
    CatalogError
        If the name is not a plain identifier or the type is not one that every reader takes.
    """

    name: str
    """Public name: letters, digits and underscores, so that no reader needs quotes."""
    dtype: DType
    """Type of the values."""
    unit: str
    """Unit in VOUnit syntax, empty for a number without one."""
    ucd: str
    """Unified Content Descriptor (UCD1+)."""
    description: str
    """What the values are, and what stands for an unknown one; one line."""
    limits: tuple[float, float] | None = None
    """Smallest and largest value allowed, both included; NaN always is."""
    scored: bool = False
    """Whether the values are finite in the rows with status ``classified``, and only there."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise CatalogError(
                f"{self.name!r} cannot be a column; "
                "rename the band or class with letters, digits and underscores"
            )
        if self.dtype not in get_args(DType):
            raise CatalogError(
                f"column {self.name}: {self.dtype!r} is not a type that every reader takes; "
                f"use one of {', '.join(get_args(DType))}"
            )

    @property
    def arrow_field(self) -> pa.Field:
        """The column in an Arrow schema; never nullable."""
        kind = pa.string() if self.dtype == "string" else pa.from_numpy_dtype(self.dtype)
        return pa.field(self.name, kind, nullable=False)

    def convert(self, values: Values, source_ids: Values) -> Values:
        """Return the values in the column's type, with nothing lost but float precision.

        Parameters
        ----------
        values
            Shape ``(n,)``.
        source_ids
            Whose values they are, for the message.

        Raises
        ------
        CatalogError
            If a value is not of the column's kind, is infinite, or lies outside the type's range
            or the column's limits.
        """
        if self.dtype == "string":
            return strings(self.name, values)
        is_float = self.dtype.startswith("float")
        if values.dtype.kind not in ("fiu" if is_float else "iu"):
            raise CatalogError(f"column {self.name}: {values.dtype} does not fit {self.dtype}")
        converted = (self._floats if is_float else self._integers)(values, source_ids)
        if self.limits is not None:
            low, high = self.limits
            outside = (converted < low) | (converted > high)
            refuse(self.name, values, source_ids, outside, f"lies outside {low:g} to {high:g}")
        return converted

    def _floats(self, values: Values, source_ids: Values) -> Values:
        with np.errstate(over="ignore"):
            converted = values.astype(self.dtype)
        infinite = np.isinf(converted)
        refuse(
            self.name, values, source_ids, infinite, f"is infinite in {self.dtype}; unknown is NaN"
        )
        return converted

    def _integers(self, values: Values, source_ids: Values) -> Values:
        info = np.iinfo(self.dtype)
        outside = (values < info.min) | (values > info.max)
        refuse(self.name, values, source_ids, outside, f"does not fit {self.dtype}")
        return values.astype(self.dtype)


def refuse(
    name: str, values: Values, source_ids: Values, bad: npt.NDArray[np.bool_], why: str
) -> None:
    """Raise for the first bad row of a column, naming the source and the value.

    Raises
    ------
    CatalogError
        If any row is bad.
    """
    if bad.any():
        row = int(np.argmax(bad))
        raise CatalogError(f"column {name}, source {source_ids[row]!r}: {values[row]!s} {why}")


def strings(name: str, values: Values) -> Values:
    """Return an object array of str.

    Raises
    ------
    CatalogError
        If a value is not a string.
    """
    converted = np.empty(len(values), dtype=np.object_)
    converted[:] = values.tolist()
    for row, value in enumerate(converted):
        if not isinstance(value, str):
            raise CatalogError(
                f"column {name}, row {row}: {value!r} is not a string; unknown is the empty string"
            )
    return converted
