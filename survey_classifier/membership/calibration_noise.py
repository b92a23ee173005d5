"""What noise makes of a calibration error: of few sources even perfect probabilities show one.

Owns that noise, and the interval of a calibration error. Does not own the error (``skill``).
"""

import numpy as np
import numpy.typing as npt

from survey_classifier.membership.skill import checked

__all__ = ["INTERVAL", "calibration_interval", "calibration_noise", "honest_calibration_errors"]

Floats = npt.NDArray[np.float64]

INTERVAL = (2.5, 97.5)
"""Percentiles of an interval."""
CELLS_AT_ONCE = 2_000_000
"""Draws times sources held in memory together."""


def honest_calibration_errors(
    p: npt.ArrayLike, n_draws: int, rng: np.random.Generator, n_bins: int = 15
) -> Floats:
    """Return the calibration errors that perfect probabilities of so few sources would show.

    Parameters
    ----------
    p
        Probabilities, shape ``(n,)``.
    n_draws
        How often truths are drawn with the very probabilities claimed.
    rng
        Draws them.
    n_bins
        As in `calibration_error`.

    Returns
    -------
    ndarray
        Shape ``(n_draws,)``; NaN for no source.

    Raises
    ------
    RunError
        As `confusion`.
    """
    probability, _ = checked(p, np.zeros(np.shape(p), dtype=np.bool_))
    n = len(probability)
    if not n:
        return np.full(n_draws, np.nan)
    in_bin = np.eye(n_bins)[np.minimum((probability * n_bins).astype(np.int64), n_bins - 1)]
    claimed = probability @ in_bin
    step = max(1, CELLS_AT_ONCE // n)
    drawn = [
        (rng.random((min(step, n_draws - start), n)) < probability).astype(np.float64) @ in_bin
        for start in range(0, n_draws, step)
    ]
    return np.asarray(np.abs(claimed - np.concatenate(drawn)).sum(axis=1) / n)


def calibration_noise(value: float, honest: Floats) -> float:
    """Return how much of a calibration error is noise, as far as that can be told.

    All of it where perfect probabilities would often show as much; else as if noise and the true
    one added up in square.

    Parameters
    ----------
    value
        The calibration error.
    honest
        From `honest_calibration_errors`.
    """
    if value <= np.percentile(honest, INTERVAL[1]):
        return value
    # Of one source the mean may be above most honest errors, and above this one.
    return value - float(np.sqrt(max(value**2 - honest.mean() ** 2, 0.0)))


def calibration_interval(value: float, resampled: Floats, honest: Floats) -> tuple[float, float]:
    """Return the 95 % interval of a calibration error.

    Noise makes the calibration error of few sources larger than it is, and that of resamples
    larger still: percentiles of the bootstrap hardly ever hold a true 0. So the interval begins
    where the error is less by what perfect probabilities would at most show, and ends where the
    resamples do that are moved to have the error itself as their mean. It holds the true one in at
    least 95 % of cases, in more than that where the error is large.

    Parameters
    ----------
    value
        Of the sources.
    resampled
        Of resamples of them, NaN where they do not define it, shape ``(resample,)``.
    honest
        From `honest_calibration_errors`.

    Returns
    -------
    tuple
        Its ends, NaN where no resample defines it.
    """
    known = resampled[np.isfinite(resampled)]
    if not len(known):
        return float("nan"), float("nan")
    low = value - float(np.percentile(honest, INTERVAL[1]))
    high = value + float(np.percentile(known, INTERVAL[1]) - known.mean())
    return max(low, 0.0), min(max(high, value), 1.0)
