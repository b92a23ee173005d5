"""The messages that a run sends about itself: their fields and their checks.

Owns what a plan and a tile say of themselves while a run goes on. Does not own how messages
travel (``monitor``) nor what follows from them (``survey_state``).
"""

from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    NonNegativeInt,
    ValidationError,
    model_validator,
)

from survey_classifier.errors import ClusterError
from survey_classifier.membership.flags import Status
from survey_classifier.run.task import HISTOGRAM_BINS

__all__ = [
    "PLAN_TOPIC",
    "TILE_TOPIC",
    "PlanMessage",
    "PlannedTile",
    "TileMessage",
    "TileState",
    "parsed",
]

SCORER = "SCORER"
"""Resource of a worker that may score; it has one."""
PLAN_TOPIC = "survey-plan"
"""Under which a run sends its plan, once."""
TILE_TOPIC = "survey-tiles"
"""Under which its tiles say where they are."""

Corner = tuple[float, float]


Seconds = Annotated[FiniteFloat, Field(ge=0)]


class TileState(StrEnum):
    """Where a tile is on its way."""

    PENDING = "pending"
    CUTTING = "cutting"
    WAITING = "waiting"
    """Cut, and not yet scored: its stamps are held in memory."""
    SCORING = "scoring"
    DONE = "done"
    FAILED = "failed"


class Message(BaseModel):
    """A message of a run: fields that we do not know are left alone, wrong ones refused."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class PlannedTile(Message):
    """One tile of a plan."""

    tile: str
    corners: tuple[Corner, Corner, Corner, Corner]
    """(RA, Dec) in degrees, around the tile; NaN where the projection has no sky."""
    n_sources: NonNegativeInt
    done: bool
    """Whether an earlier run with this fingerprint has finished it."""


class PlanMessage(Message):
    """What a run is going to do; sent once, before its first tile."""

    name: str
    fingerprint: str
    n_sources: NonNegativeInt
    tiles: tuple[PlannedTile, ...]
    histogram_bins: Annotated[int, Field(ge=1)] = HISTOGRAM_BINS

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = Counter(tile.tile for tile in self.tiles)
        twice = [name for name, n in names.items() if n > 1]
        if twice:
            raise ValueError(f"tile {twice[0]!r} is planned {names[twice[0]]} times")
        return self


class TileMessage(Message):
    """A tile has come to a state; what it counted is there when it is done."""

    tile: str
    state: TileState
    time: FiniteFloat
    """Unix seconds, by the worker's clock."""
    n_sources: NonNegativeInt = 0
    n_by_status: Mapping[Status, NonNegativeInt] = Field(default_factory=dict)
    n_stamps: NonNegativeInt = 0
    score_seconds: Seconds = 0.0
    finish_seconds: Seconds = 0.0
    p_member_histogram: tuple[NonNegativeInt, ...] = ()
    reason: str = ""
    """Why it failed."""

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        counted = sum(self.n_by_status.values())
        if self.state is TileState.DONE and counted != self.n_sources:
            raise ValueError(f"n_by_status adds up to {counted}, not n_sources = {self.n_sources}")
        return self


_Kind = TypeVar("_Kind", bound=Message)


def parsed(kind: type[_Kind], message: Mapping[str, Any]) -> _Kind:
    """Return a message as what it should be.

    Raises
    ------
    ClusterError
        If a field is missing or wrong.
    """
    try:
        return kind.model_validate(message)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "message"
        raise ClusterError(
            f"a {kind.__name__} cannot be read: {where}: {first['msg']} "
            f"(got {str(first['input'])[:80]}): run scheduler and workers with the same version"
        ) from error
