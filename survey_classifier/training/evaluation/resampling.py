"""Resampled objects, and the intervals that come of them.

Owns the draws, how an interval is read off, and what stands for it where all draws agree: of few
objects they do by chance. Does not own what is computed of a draw (``measures``, ``claims``).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from survey_classifier.membership.calibration_noise import INTERVAL

__all__ = [
    "N_RESAMPLES",
    "Figure",
    "Resampler",
    "figure_of",
    "share",
    "share_figure",
    "share_interval",
]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

N_RESAMPLES = 1000
CELLS_AT_ONCE = 2_000_000
"""Resamples times objects held in memory together."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float
    """Both NaN where there is none."""

    @property
    def is_beyond_chance(self) -> bool:
        """Whether 0 lies outside of the interval; of a difference."""
        return self.low > 0 or self.high < 0


class Resampler:
    """Resamples objects with replacement, the same ones for every forecast.

    Parameters
    ----------
    n
        Number of objects.
    seed
        Of the draws.
    n_resamples
        How many there are.
    """

    def __init__(self, n: int, seed: int = 0, n_resamples: int = N_RESAMPLES) -> None:
        self.n, self.seed, self.n_resamples = n, seed, n_resamples

    def counts(self, rows: Bools) -> Iterator[Floats]:
        """Yield how often each of some objects is drawn, shape ``(resample, row)``.

        Parameters
        ----------
        rows
            Which objects are wanted, shape ``(n,)``; the draws are of all, so that two forecasts
            and two sets of objects are compared on the same resamples.
        """
        rng = np.random.default_rng(self.seed)
        step = max(1, CELLS_AT_ONCE // self.n)
        for start in range(0, self.n_resamples, step):
            n_here = min(step, self.n_resamples - start)
            drawn = rng.integers(0, self.n, (n_here, self.n))
            flat = (drawn + self.n * np.arange(n_here)[:, None]).ravel()
            count = np.bincount(flat, minlength=n_here * self.n).reshape(n_here, self.n)
            yield count[:, rows].astype(np.float64)


def figure_of(value: float, resampled: Floats) -> Figure:
    """Return a figure and its interval, NaN where no resample defines it.

    Percentiles of the bootstrap over objects (Efron 1979).

    Parameters
    ----------
    value
        Of the objects themselves.
    resampled
        Of each resample, NaN where it does not define the figure, shape ``(resample,)``.
    """
    known = resampled[np.isfinite(resampled)]
    if not len(known):
        return Figure(value, float("nan"), float("nan"))
    low, high = np.percentile(known, INTERVAL)
    return Figure(value, float(low), float(high))


def share_figure(part: float, whole: float, resampled: Floats) -> Figure:
    """Return a share of objects and its interval.

    That of `figure_of`; but where all or none of the objects count, all resamples say the same, and
    the interval is that of `share_interval`.

    Parameters
    ----------
    part
        How many objects count.
    whole
        Of how many.
    resampled
        As for `figure_of`.
    """
    if not whole:
        return Figure(float("nan"), float("nan"), float("nan"))
    if part not in (0, whole):
        return figure_of(part / whole, resampled)
    return Figure(part / whole, *share_interval(part, whole))


def share_interval(part: float, whole: float) -> tuple[float, float]:
    """Return the 95 % interval of a share of objects (Wilson 1927).

    Parameters
    ----------
    part
        How many objects count.
    whole
        Of how many, more than none.
    """
    z = float(stats.norm.ppf(INTERVAL[1] / 100))
    value, grown = part / whole, 1 + z**2 / whole
    middle = (value + z**2 / (2 * whole)) / grown
    half = z / grown * float(np.sqrt(value * (1 - value) / whole + (z / (2 * whole)) ** 2))
    # Exactly, as rounding may leave a hair of either end.
    return (0.0 if not part else middle - half), (1.0 if part == whole else middle + half)


def share(part: Floats, whole: Floats) -> Floats:
    """Return part / whole, NaN where there is nothing."""
    return np.divide(part, whole, out=np.full_like(whole, np.nan), where=whole > 0)
