"""How honest and how good probabilities are on objects that no fit had seen.

Owns the figures of a calibration and their intervals. Does not own the figures' formulas
(``membership.skill``) nor which objects a fit had seen (``calibrate``).
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import stats

from survey_classifier.membership.calibration_noise import (
    INTERVAL,
    calibration_interval,
    honest_calibration_errors,
)
from survey_classifier.membership.skill import brier_score, calibration_error, roc_area

__all__ = ["PURITY_CUTS", "figures"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Figure = int | float | list[float] | list[dict[str, float]]

PURITY_CUTS = (0.5, 0.8, 0.95)
"""Probabilities above which claimed and measured purity are compared."""
N_RESAMPLE = 400
SEED = 0
N_DIGITS = 4


def figures(p: Floats, is_member: Bools) -> dict[str, Figure]:
    """Return the figures of some objects, each with its 95 % interval: [value, low, high].

    The intervals are percentiles of the bootstrap over objects (Efron 1979), that of the
    calibration error is as `calibration_interval` says. This error is never 0 of few objects:
    ``calibration_error_if_honest`` is its mean when the labels are drawn with the very
    probabilities claimed, what a perfect forecast of this size would show. Purities have the
    interval of Jeffreys (Brown, Cai & DasGupta 2001).

    Parameters
    ----------
    p
        Probabilities of objects that the fit had not seen, finite, shape ``(n,)``.
    is_member
        Truth, shape ``(n,)``.
    """
    rng = np.random.default_rng(SEED)
    drawn = [rng.integers(0, len(p), len(p)) for _ in range(N_RESAMPLE)]
    measures: dict[str, Callable[[Floats, Bools], float]] = {
        "auc": roc_area,
        "accuracy": lambda q, truth: float(((q >= 0.5) == truth).mean()),
        "calibration_error": calibration_error,
        "brier": brier_score,
    }
    found: dict[str, Figure] = {"n": len(p), "n_member": int(is_member.sum())}
    honest = honest_calibration_errors(p, N_RESAMPLE, rng)
    for name, measure in measures.items():
        spread = np.array([measure(p[rows], is_member[rows]) for rows in drawn])
        spread = spread[np.isfinite(spread)]
        ends = np.percentile(spread, INTERVAL) if len(spread) else np.full(2, np.nan)
        value = measure(p, is_member)
        if name == "calibration_error":
            ends = np.array(calibration_interval(value, spread, honest))
        found[name] = _rounded([value, *ends])
    found["calibration_error_if_honest"] = round(float(np.mean(honest)), N_DIGITS)
    found["purity"] = [_purity(p, is_member, cut) for cut in PURITY_CUTS]
    return found


def _purity(p: Floats, is_member: Bools, cut: float) -> dict[str, float]:
    """Return claimed and measured purity of the objects at least as probable as a cut."""
    kept = p >= cut
    n, n_hit = int(kept.sum()), int(is_member[kept].sum())
    row: dict[str, float] = {"cut": cut, "n": n}
    if not n:
        return row
    low, high = stats.beta.ppf(np.array(INTERVAL) / 100, n_hit + 0.5, n - n_hit + 0.5)
    # By convention the interval holds the value where all or none are members.
    low, high = (0.0 if n_hit == 0 else low), (1.0 if n_hit == n else high)
    names = ("claimed", "measured", "low", "high")
    values = _rounded([p[kept].mean(), n_hit / n, low, high])
    return row | dict(zip(names, values, strict=True))


def _rounded(values: list[float]) -> list[float]:
    return [round(float(value), N_DIGITS) for value in values]
