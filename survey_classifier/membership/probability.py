"""Probabilities of membership: priors, likelihood ratios and how they combine.

Owns the arithmetic between a calibrated score and a posterior. Does not know where a score or a
prior comes from. Probabilities are computed in float64; NaN is unknown and stays unknown.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy import special

from survey_classifier.errors import ConfigError, RunError

__all__ = [
    "MIN_PROBABILITY",
    "PERSEUS_MEMBER_SHARE",
    "PriorTable",
    "expit",
    "llr_image",
    "logit",
    "posterior",
    "saerens_em",
    "shift_prior",
]

Floats = npt.NDArray[np.float64]

MIN_PROBABILITY = 2.0**-24
"""A float32 score can't tell anything between 1 and this much less: the limit of evidence."""

_EM_MAX_STEPS = 10_000
_EM_TOLERANCE = 1e-9


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


def shift_prior(p: npt.ArrayLike, pi_field: npt.ArrayLike, pi_train: float) -> Floats:
    """Return what p becomes when members are pi_field of all sources instead of pi_train.

    p' = p w1 / (p w1 + (1 - p) w0) with w1 = pi_field / pi_train and
    w0 = (1 - pi_field) / (1 - pi_train) (Saerens et al. 2002, eq. 4).

    Parameters
    ----------
    p
        Calibrated probabilities, shape (n,); NaN = unknown.
    pi_field
        Share of members among sources like these, shape (n,) or scalar, inside (0, 1); NaN =
        unknown, and so is the result.
    pi_train
        Share of members in training, inside (0, 1).

    Raises
    ------
    ConfigError
        If a share is outside its range.
    RunError
        If a probability is outside 0 <= p <= 1.
    """
    probability, field = _checked(p), np.asarray(pi_field, dtype=np.float64)
    _require_share(field[~np.isnan(field)], "pi_field")
    _require_share(pi_train, "pi_train")
    member = probability * (field / pi_train)
    other = (1 - probability) * ((1 - field) / (1 - pi_train))
    return np.asarray(member / (member + other), dtype=np.float64)


def llr_image(p: npt.ArrayLike, pi_train: float) -> Floats:
    """Return the log-likelihood ratio, member over nonmember, that a calibrated score carries.

    logit(p) - logit(pi_train): the score without the prior it was trained with.

    Parameters
    ----------
    p
        Calibrated probabilities, shape (n,); NaN = unknown.
    pi_train
        Share of members in training, inside (0, 1).

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


@dataclass(frozen=True, slots=True)
class PriorTable:
    """Share of members in bins of magnitude.

    Raises
    ------
    ConfigError
        Unless edges rise, there is one more edge than values, and shares are inside (0, 1).
    """

    magnitude_edges: tuple[float, ...]
    """Edges of the bins in mag, rising; bins are half-open, the last one closed."""
    values: tuple[float, ...]
    """Share of members in each bin."""
    default: float
    """Share of members among sources without a magnitude."""

    def __post_init__(self) -> None:
        n_edge, n_value = len(self.magnitude_edges), len(self.values)
        if n_value == 0 or n_edge != n_value + 1:
            raise ConfigError(
                f"a prior table with {n_edge} edges and {n_value} values: "
                "give one edge more than values"
            )
        rising = all(low < high for low, high in pairwise(self.magnitude_edges))
        if not rising or not np.isfinite(self.magnitude_edges).all():
            raise ConfigError(
                f"magnitude_edges {self.magnitude_edges}: give finite numbers that rise"
            )
        for value in (*self.values, self.default):
            _require_share(value, "a prior")

    def lookup(self, magnitude: npt.ArrayLike) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """Return the prior of each magnitude, and where the table didn't reach.

        Parameters
        ----------
        magnitude
            Shape (n,); NaN = unknown.

        Returns
        -------
        prior
            Shape (n,), inside (0, 1); the nearest bin's outside the table, ``default`` where the
            magnitude is unknown.
        outside
            Shape (n,), True where the magnitude is known and outside the table.
        """
        mag = np.asarray(magnitude, dtype=np.float64)
        edges = np.array(self.magnitude_edges)
        row = np.clip(np.searchsorted(edges, mag, side="right") - 1, 0, len(self.values) - 1)
        prior = np.where(np.isnan(mag), self.default, np.array(self.values)[row])
        return prior, (mag < edges[0]) | (mag > edges[-1])


def saerens_em(p: npt.ArrayLike, pi_train: float) -> float:
    """Return the share of members that makes the scores of a field most likely.

    Expectation maximization of Saerens et al. (2002, eq. 9): shift the scores to the present
    share, take their mean as the next share, until it rests.

    Parameters
    ----------
    p
        Calibrated probabilities of the field's sources, shape (n,); NaN is left out.
    pi_train
        Share of members in training, inside (0, 1).

    Raises
    ------
    ConfigError
        If pi_train is outside its range.
    RunError
        If no probability is known, one is outside 0 <= p <= 1, or the share doesn't come to rest.
    """
    known = _checked(p)
    known = known[~np.isnan(known)]
    if known.size == 0:
        raise RunError("no source has a score to estimate the share of members from: set a prior")
    share = pi_train
    for _ in range(_EM_MAX_STEPS):
        mean = float(shift_prior(known, share, pi_train).mean())
        following = min(max(mean, MIN_PROBABILITY), 1 - MIN_PROBABILITY)
        if abs(following - share) <= _EM_TOLERANCE:
            return following
        share = following
    raise RunError(
        f"the share of members still moves at {share:.6f} after {_EM_MAX_STEPS} steps: set a prior"
    )


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


PERSEUS_MEMBER_SHARE = PriorTable(
    magnitude_edges=(15.73, 16.73, 17.73, 18.73, 19.73, 20.73, 21.73, 22.73, 23.73),
    values=(0.81, 0.57, 0.35, 0.25, 0.18, 0.10, 0.058, 0.028),
    default=0.092,
)
"""Share of likely and possible members among the galaxies of Wittmann et al. (2019), by r_0.

Their bins V_0 = 16 ... 24, with r_0 = V_0 - 0.27. The default is the share among all of their
objects but mergers, 496 of 5414. A list that holds stars too needs lower values.
"""
