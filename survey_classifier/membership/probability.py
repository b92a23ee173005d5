"""Probabilities of membership: priors, likelihood ratios and how they combine.

Owns the arithmetic between a calibrated score and a posterior. Does not know where a score or a
prior comes from. Probabilities are computed in float64; NaN is unknown and stays unknown.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import special

from survey_classifier.errors import ConfigError, RunError

__all__ = [
    "MIN_PROBABILITY",
    "expit",
    "llr_image",
    "logit",
    "posterior",
]

Floats = npt.NDArray[np.float64]

MIN_PROBABILITY = 2.0**-24
"""A float32 score can't tell anything between 1 and this much less: the limit of evidence."""


def logit(p: npt.ArrayLike) -> Floats:
    """Return log(p / (1 - p)), finite: p is kept within MIN_PROBABILITY of 0 and 1.

    A score that rounds to exactly 1 would otherwise be infinite evidence, which nothing else
    could outweigh.

    Parameters
    ----------
    p
        Probabilities, any shape; NaN stays NaN.

    Raises
    ------
    RunError
        If a value is outside 0 <= p <= 1.
    """
    probability = _checked(p)
    return np.asarray(
        special.logit(np.clip(probability, MIN_PROBABILITY, 1 - MIN_PROBABILITY)), dtype=np.float64
    )


def expit(log_odds: npt.ArrayLike) -> Floats:
    """Return 1 / (1 + exp(-log_odds)), without overflow; any shape, NaN stays NaN."""
    return np.asarray(special.expit(np.asarray(log_odds, dtype=np.float64)), dtype=np.float64)


def llr_image(p: npt.ArrayLike, pi_train: npt.ArrayLike) -> Floats:
    """Return the log-likelihood ratio, member over nonmember, that a calibrated score carries.

    logit(p) - logit(pi_train): the score without the prior it was trained with.

    Parameters
    ----------
    p
        Calibrated probabilities, shape (n,); NaN = unknown.
    pi_train
        Share of members among training objects like these, shape (n,) or scalar, inside (0, 1).

    Raises
    ------
    ConfigError
        If pi_train is outside its range.
    RunError
        If a probability is outside 0 <= p <= 1.
    """
    _require_share(pi_train, "pi_train")
    return logit(p) - logit(pi_train)


def posterior(llrs: Sequence[npt.ArrayLike], prior: npt.ArrayLike) -> Floats:
    """Return the probability of membership given independent evidence, by Bayes' rule.

    expit(logit(prior) + sum of the log-likelihood ratios).

    Parameters
    ----------
    llrs
        Log-likelihood ratios, member over nonmember, each of shape (n,); NaN = no evidence.
    prior
        Share of members among sources like these, shape (n,) or scalar, inside (0, 1); NaN =
        unknown, and so is the result.

    Returns
    -------
    ndarray of float64
        Shape (n,). Where there is no evidence at all it is the prior.

    Raises
    ------
    ConfigError
        If a prior is outside its range.
    """
    share = np.asarray(prior, dtype=np.float64)
    _require_share(share[~np.isnan(share)], "prior")
    log_odds: Floats = logit(share)
    for llr in llrs:
        log_odds = log_odds + np.nan_to_num(np.asarray(llr, dtype=np.float64), nan=0.0)
    return expit(log_odds)


def _checked(p: npt.ArrayLike) -> Floats:
    probability = np.asarray(p, dtype=np.float64)
    wrong = (probability < 0) | (probability > 1)
    if wrong.any():
        raise RunError(
            f"{int(wrong.sum())} scores such as {probability[wrong][0]} are no probabilities: "
            "pass scores in 0 <= p <= 1"
        )
    return probability


def _require_share(share: npt.ArrayLike, name: str) -> None:
    values = np.atleast_1d(np.asarray(share, dtype=np.float64))
    right = (values > 0) & (values < 1)
    if not right.all():
        raise ConfigError(f"{name} is {values[~right][0]}: give a share of members inside (0, 1)")
