"""What a benchmark reports."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Result:
    """One row of out/bench.json."""

    name: str
    value: float
    goal: float
    at_most: bool = False
    """Whether the goal is an upper bound."""
    detail: dict[str, Any] = field(default_factory=dict)

    def row(self) -> dict[str, Any]:
        """Return the row."""
        holds = self.value <= self.goal if self.at_most else self.value >= self.goal
        return {
            "name": self.name,
            "value": round(self.value, 3),
            "goal": self.goal,
            "holds": holds,
            "detail": self.detail,
        }


def paired_seconds(sides: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """Return the median time of each side, run in turns so that noise hits all alike."""
    seconds: list[list[float]] = [[] for _ in sides]
    for _ in range(rounds):
        for number, side in enumerate(sides):
            start = time.perf_counter()
            side()
            seconds[number].append(time.perf_counter() - start)
    return [statistics.median(values) for values in seconds]
