"""The truth that a run is compared with, where there is one.

Owns the reading of the ``[truth]`` table and which sources are compared. Does not own the
figures of merit (``membership.skill``), and nothing that makes a score ever sees it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from survey_classifier.errors import SourcesError
from survey_classifier.membership.skill import (
    Confusion,
    Reliability,
    brier_score,
    confusion,
    reliability,
    roc_area,
)
from survey_classifier.run.config import RunConfig, TruthSettings
from survey_classifier.sources.formats import read_table

__all__ = ["Comparison", "Truth"]

UNKNOWN_LABELS = {"", "-1"}
"""Labels of objects whose class nobody knows, by custom."""


@dataclass(frozen=True, slots=True)
class Truth:
    """Which sources are members."""

    members: Mapping[str, bool]
    """Source identifier to whether it is a member; sources of unknown class are left out."""

    @classmethod
    def read(cls, config: RunConfig) -> Self | None:
        """Return the truth that a run file names, None if it names none.

        Raises
        ------
        SourcesError
            If the table cannot be read, names a source twice, or no label of it means member.
        """
        if config.truth is None:
            return None
        return cls.of_table(config.path(config.truth.path), config.truth)

    @classmethod
    def of_table(cls, path: Path, settings: TruthSettings) -> Self:
        """Return the truth of a table.

        Parameters
        ----------
        path
            The table.
        settings
            Its columns, and which label means member.

        Raises
        ------
        SourcesError
            If the table cannot be read, names a source twice, or no label of it means member.
        """
        table = read_table(path, (settings.id, settings.label))
        ids, labels = table.text(settings.id), table.text(settings.label)
        unique, n_times = np.unique(ids.astype(str), return_counts=True)
        if (n_times > 1).any():
            raise SourcesError(
                f"{path} names the source {str(unique[n_times > 1][0])!r} more than once; "
                "keep one row a source"
            )
        if settings.member not in labels:
            found = ", ".join(sorted(set(labels))[:5])
            raise SourcesError(
                f"no {settings.label!r} of {path} is {settings.member!r}; "
                f"it holds {found}: correct truth.label or truth.member"
            )
        pairs = zip(ids, labels, strict=True)
        unknown = UNKNOWN_LABELS - {settings.member}
        known = {name: label for name, label in pairs if label not in unknown}
        return cls({name: label == settings.member for name, label in known.items()})

    def compare(
        self, source_ids: npt.NDArray[np.object_], p_member: npt.NDArray[np.floating]
    ) -> "Comparison":
        """Return how probabilities of sources compare with the truth.

        Parameters
        ----------
        source_ids
            Shape ``(n,)``.
        p_member
            Shape ``(n,)``, NaN where a source was not classified.
        """
        known = np.array([name in self.members for name in source_ids], dtype=np.bool_)
        truth = np.array([self.members.get(name, False) for name in source_ids], dtype=np.bool_)
        scored = np.isfinite(p_member)
        p, is_member = p_member[known & scored], truth[known & scored]
        return Comparison(
            confusion=confusion(p, is_member),
            auc=roc_area(p, is_member),
            brier=brier_score(p, is_member),
            reliability=reliability(p, is_member),
            n_unknown=int((scored & ~known).sum()),
            n_members_unclassified=int((truth & ~scored).sum()),
        )


@dataclass(frozen=True, slots=True)
class Comparison:
    """How the classified sources of known truth compare with it."""

    confusion: Confusion
    """At p_member >= 0.5."""
    auc: float
    brier: float
    reliability: Reliability
    n_unknown: int
    """Classified sources whose truth is not known, which are left out."""
    n_members_unclassified: int
    """True members that were not classified, which are left out."""
