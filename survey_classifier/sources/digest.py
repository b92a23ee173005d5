"""Digests of tables: of what was read from one, and of the whole file.

Owns the bytes that stand for text and numbers. Does not own which columns count.
"""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from survey_classifier.errors import SourcesError

__all__ = ["Column", "content_digest", "table_digest"]

Column = npt.NDArray[np.float64] | npt.NDArray[np.int32]
"""One number a row."""


def content_digest(texts: Iterable[str], numbers: Mapping[str, Column]) -> str:
    """Return the SHA-256 (hex) over texts and columns of numbers.

    Parameters
    ----------
    texts
        Any texts, in order.
    numbers
        Columns by name, in order; each is digested as float64, every NaN as the same.
    """
    state = hashlib.sha256()
    for text in [*texts, *numbers]:
        content = text.encode()
        # The length in front keeps ("ab", "c") apart from ("a", "bc").
        state.update(len(content).to_bytes(8, "little") + content)
    for values in numbers.values():
        # One bit pattern for every NaN.
        state.update(np.where(np.isnan(values), np.nan, values).astype("<f8").tobytes())
    return state.hexdigest()


def table_digest(path: Path) -> str:
    """Return the SHA-256 (hex) of a table's file.

    Raises
    ------
    SourcesError
        If the file can't be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise SourcesError(
            f"cannot read the table {path} ({error.strerror}): check the path"
        ) from error
