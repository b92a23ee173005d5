"""The account of the truth: what became of each of its rows, and of how many scores.

Owns the words for it, and the sum. Does not own which row is used (``truth``) nor which object is
judged (``judged``).
"""

from collections import Counter
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from survey_classifier.training.evaluation.judged import Judged
from survey_classifier.training.evaluation.settings import TruthFile
from survey_classifier.training.evaluation.truth import TruthRows
from survey_classifier.words import counted

__all__ = ["Account"]

Objects = npt.NDArray[np.object_]


@dataclass(frozen=True, slots=True)
class Account:
    """What became of each row of the truth, and of the scores; arrays have shape ``(row,)``."""

    table: Objects
    """Name of its ``[[data]]``."""
    object_id: Objects
    label: Objects
    fate: Objects
    """``judged``, or why not."""
    judged_as: Objects
    """Identifier that its object is judged under, '' where it is not."""
    n_scores: dict[str, int]
    """What became of the scores, and of how many."""

    @classmethod
    def of(cls, rows: TruthRows, judged: Judged, file: TruthFile) -> Self:
        """Put together what the reading and the joining say of the rows.

        Parameters
        ----------
        rows
            Every row of the truth's tables.
        judged
            What became of the objects that they are.
        file
            Names the tables.
        """
        names = np.array([data.name for data in file.data], dtype=object)
        fate, judged_as = rows.fate.copy(), np.full(len(rows), "", dtype=object)
        used = np.flatnonzero(fate == "")
        fate[used], judged_as[used] = judged.fate, judged.judged_as
        ids = rows.object_id
        return cls(names[rows.table], ids, rows.label, fate, judged_as, judged.n_scores)

    def __len__(self) -> int:
        return len(self.fate)

    @property
    def counts(self) -> dict[str, int]:
        """Number of rows by fate; they sum up to all. The most come first, after the judged."""
        found = Counter(self.fate.tolist())
        n_judged = found.pop("judged")
        return {"judged": n_judged, **dict(found.most_common())}

    @property
    def lines(self) -> list[str]:
        """The sums, in words: of the truth's rows, and of the scores."""
        n_scores = sum(self.n_scores.values())
        sums = {
            f"{counted(len(self), 'row')} of truth": self.counts,
            counted(n_scores, "score"): self.n_scores,
        }
        return [
            f"{what} = {' + '.join(f'{n} {fate}' for fate, n in parts.items())}"
            for what, parts in sums.items()
        ]

    @property
    def columns(self) -> dict[str, Objects]:
        """A table of them."""
        return {
            "table": self.table,
            "id": self.object_id,
            "label": self.label,
            "fate": self.fate,
            "judged_as": self.judged_as,
        }
