"""What a run has done so far, told by its messages alone.

Owns the state of a run while it goes on, and the figures that a watcher wants: counts, rate,
use of the scorer, time left. Pure: it knows no cluster, no clock and no page, so that it is
tested by telling it a story. Does not own how the state looks (``survey_page``).
"""

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any, TypedDict

import numpy as np

from survey_classifier.errors import ClusterError
from survey_classifier.membership.flags import Status
from survey_classifier.run.survey_messages import (
    PlanMessage,
    PlannedTile,
    TileMessage,
    TileState,
    parsed,
)
from survey_classifier.run.task import HISTOGRAM_BINS

__all__ = ["RateSeries", "Snapshot", "SurveyState", "TileSnapshot"]

SETTLED = frozenset({TileState.DONE, TileState.FAILED})
"""What ends the way of a tile."""
FAILED = frozenset({TileState.FAILED})


class TileSnapshot(TypedDict):
    """One tile of a snapshot."""

    tile: str
    state: str
    corners: list[list[float]] | None
    """None where the tile is not on the sky."""
    n_sources: int
    reason: str


class Snapshot(TypedDict):
    """The whole state at one moment, as JSON values; None = not known (yet)."""

    name: str | None
    """None: no run was announced."""
    fingerprint: str | None
    n_sources: int
    n_sources_settled: int
    """Sources of tiles that are done (now or by an earlier run) or failed."""
    n_sources_earlier: int
    """Sources of tiles that an earlier run finished; they are in none of the counts below."""
    tiles_by_state: dict[str, int]
    n_by_status: dict[str, int]
    n_stamps: int
    elapsed_seconds: float | None
    """From the first event of a tile to now, or to the last event once all are settled."""
    seconds_left: float | None
    stamps_per_second: float | None
    """Mean over the elapsed time."""
    scorer_utilization: float | None
    """Share of the elapsed time that a scorer was at work, mean over the scorers."""
    stamp_rates: list[float]
    """Stamps per second in consecutive equal intervals since the first event."""
    stamp_rate_seconds: float
    """Length of such an interval."""
    p_member_histogram: list[int]
    tiles: list[TileSnapshot]


class RateSeries:
    """Amounts per second since a start, in a bounded number of intervals.

    Intervals are one second long at first and double when the time outgrows them, so that a
    run of minutes and one of days take the same memory.

    Parameters
    ----------
    start
        Unix seconds.
    n_max
        Most intervals; even.
    """

    def __init__(self, start: float, n_max: int = 120) -> None:
        self.start = start
        self.width_seconds = 1.0
        self._end = start
        self._amounts = np.zeros(n_max)

    def add(self, begin: float, end: float, amount: float) -> None:
        """Add an amount that was worked off evenly between two times (unix seconds)."""
        begin, end = max(begin, self.start), max(end, self.start)
        self._end = max(self._end, end)
        while end - self.start >= self.width_seconds * len(self._amounts):
            self._double()
        edges = self.start + self.width_seconds * np.arange(len(self._amounts) + 1)
        if end > begin:
            inside = np.minimum(end, edges[1:]) - np.maximum(begin, edges[:-1])
            self._amounts += amount * np.maximum(inside, 0.0) / (end - begin)
        else:
            self._amounts[int((end - self.start) / self.width_seconds)] += amount

    def rates(self) -> list[float]:
        """Return amounts per second, one an interval that is over."""
        n_over = int((self._end - self.start) / self.width_seconds)
        return [float(rate) for rate in self._amounts[:n_over] / self.width_seconds]

    def _double(self) -> None:
        """Join intervals two by two."""
        pairs = self._amounts.reshape(-1, 2).sum(axis=1)
        self._amounts = np.concatenate([pairs, np.zeros_like(pairs)])
        self.width_seconds *= 2


class SurveyState:
    """The state of the newest run that was announced.

    A plan replaces whatever was there. A tile that is done stays done, since a scheduler may
    run a task twice; what is said of a tile that is not in the plan is ignored, since it comes
    from an earlier run.
    """

    n_stamps: int
    """Stamps that this run has scored."""
    _rates: RateSeries | None
    _last_event: float

    def __init__(self) -> None:
        self._begin(None)

    def apply_plan(self, message: Mapping[str, Any]) -> None:
        """Begin a run.

        Raises
        ------
        ClusterError
            If the message is not a ``PlanMessage``.
        """
        self._begin(parsed(PlanMessage, message))

    def apply_tile(self, message: Mapping[str, Any]) -> None:
        """Bring a tile to its state, and count it when it is done.

        Raises
        ------
        ClusterError
            If the message is not a ``TileMessage``, or its histogram has not the bins of
            the plan.
        """
        event = parsed(TileMessage, message)
        if self._states.get(event.tile, TileState.DONE) is TileState.DONE:
            return
        rates = self._rates or RateSeries(event.time)
        if event.state is TileState.DONE:
            self._count(event, rates)
        self._rates = rates
        self._last_event = max(self._last_event, event.time)
        self._states[event.tile] = event.state
        self._reasons[event.tile] = event.reason

    def snapshot(self, now: float, n_scorers: int = 1) -> Snapshot:
        """Return everything a watcher wants to know, as JSON values.

        Parameters
        ----------
        now
            Unix seconds.
        n_scorers
            Scorers at work: what the use of the scorer is shared among.
        """
        elapsed = self._elapsed(now)
        tiles = self._tiles
        return {
            "name": self._plan.name if self._plan else None,
            "fingerprint": self._plan.fingerprint if self._plan else None,
            "n_sources": self._plan.n_sources if self._plan else 0,
            "n_sources_settled": self._sources_in(SETTLED),
            "n_sources_earlier": sum(tile.n_sources for tile in tiles if tile.done),
            "tiles_by_state": self.tiles_by_state(),
            "n_by_status": self.finished_by_status() | self._sources_failed(),
            "n_stamps": self.n_stamps,
            "elapsed_seconds": elapsed,
            "seconds_left": self._seconds_left(elapsed),
            "stamps_per_second": self.n_stamps / elapsed if elapsed else None,
            "scorer_utilization": (
                self._score_seconds / elapsed / max(n_scorers, 1) if elapsed else None
            ),
            "stamp_rates": self._rates.rates() if self._rates else [],
            "stamp_rate_seconds": self._rates.width_seconds if self._rates else 1.0,
            "p_member_histogram": [int(count) for count in self._histogram],
            "tiles": [self._tile_snapshot(tile) for tile in tiles],
        }

    def tiles_by_state(self) -> dict[str, int]:
        """Return the number of tiles in each state, zeros too."""
        counts = Counter(self._states.values())
        return {state.value: counts[state] for state in TileState}

    def finished_by_status(self) -> dict[str, int]:
        """Return the sources of each status in the tiles that this run finished, zeros too."""
        return {status.value: self._n_by_status[status] for status in Status}

    def _begin(self, plan: PlanMessage | None) -> None:
        """Forget everything but a plan."""
        self._plan = plan
        self._tiles = plan.tiles if plan else ()
        self._states = {
            tile.tile: TileState.DONE if tile.done else TileState.PENDING for tile in self._tiles
        }
        self._reasons: dict[str, str] = {}
        self._rates = None
        self._last_event = -math.inf
        self._n_by_status: Counter[Status] = Counter()
        self.n_stamps = 0
        self._score_seconds = 0.0
        self._histogram = np.zeros(plan.histogram_bins if plan else HISTOGRAM_BINS, dtype=np.int64)

    def _count(self, event: TileMessage, rates: RateSeries) -> None:
        """Add what a finished tile counted."""
        counts = np.asarray(event.p_member_histogram, dtype=np.int64)
        if counts.shape != self._histogram.shape:
            raise ClusterError(
                f"tile {event.tile} sent a histogram of {counts.size} bins, the plan says "
                f"{self._histogram.size}: run scheduler and workers with the same version"
            )
        self._histogram += counts
        self._n_by_status.update(event.n_by_status)
        self.n_stamps += event.n_stamps
        self._score_seconds += event.score_seconds
        scoring_began = event.time - event.finish_seconds
        rates.add(scoring_began, scoring_began + event.score_seconds, event.n_stamps)

    def _sources_in(self, states: frozenset[TileState]) -> int:
        """Return how many sources lie in tiles of these states."""
        return sum(tile.n_sources for tile in self._tiles if self._states[tile.tile] in states)

    def _sources_failed(self) -> dict[str, int]:
        """Return the count of sources that have no score because their tile failed."""
        n_finished = self._n_by_status[Status.TILE_FAILED]
        return {Status.TILE_FAILED.value: n_finished + self._sources_in(FAILED)}

    def _elapsed(self, now: float) -> float | None:
        """Return the seconds since the first event; None before it."""
        if self._rates is None:
            return None
        settled = all(state in SETTLED for state in self._states.values())
        end = self._last_event if settled else max(now, self._last_event)
        return end - self._rates.start

    def _seconds_left(self, elapsed: float | None) -> float | None:
        """Return the time that the other sources take if they go like the ones of this run."""
        n_settled = self._sources_in(SETTLED)
        n_open = sum(tile.n_sources for tile in self._tiles) - n_settled
        n_now = n_settled - sum(tile.n_sources for tile in self._tiles if tile.done)
        if self._plan and not n_open:
            return 0.0
        return elapsed * n_open / n_now if elapsed and n_now else None

    def _tile_snapshot(self, tile: PlannedTile) -> TileSnapshot:
        """Return one tile as JSON values."""
        on_sky = all(math.isfinite(value) for corner in tile.corners for value in corner)
        return {
            "tile": tile.tile,
            "state": self._states[tile.tile].value,
            "corners": [list(corner) for corner in tile.corners] if on_sky else None,
            "n_sources": tile.n_sources,
            "reason": self._reasons.get(tile.tile, ""),
        }
