"""The receipt of a run: what became of its sources.

Owns the counts that every run must account for. Does not own how they come about (``classify``)
or how they are shown (``report``).
"""

from dataclasses import dataclass

from survey_classifier.membership.flags import Status
from survey_classifier.run.task import TileFailure
from survey_classifier.words import counted

__all__ = ["RunReceipt"]


@dataclass(frozen=True, slots=True)
class RunReceipt:
    """What became of a run's sources; written as receipt.json."""

    name: str
    fingerprint: str
    catalog: str
    """Path of the published catalog."""
    n_in: int
    n_classified: int
    n_by_reason: dict[str, int]
    """Sources that were not classified, by status."""
    n_tiles: int
    n_tiles_resumed: int
    """Tiles whose parts were there from before."""
    failures: tuple[TileFailure, ...]
    n_stamps: int
    """Stamps scored by this call."""
    tiles_seconds: float
    """From the first tile to the last, starting workers included."""
    cut_seconds: float
    """Sum over tiles of reading and cutting."""
    score_seconds: float
    """Sum over tiles of scoring alone."""

    @property
    def exit_code(self) -> int:
        """0 if all went well, 1 if tiles or scores failed."""
        failed = (Status.TILE_FAILED.value, Status.SCORE_FAILED.value)
        return int(any(self.n_by_reason.get(reason) for reason in failed))

    @property
    def line(self) -> str:
        """The sum that every run ends with."""
        reasons = (
            " + ".join(f"{n} {reason}" for reason, n in self.n_by_reason.items())
            or "0 unclassified"
        )
        return f"{counted(self.n_in, 'source')} = {self.n_classified} classified + {reasons}"
