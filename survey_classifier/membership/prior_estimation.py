"""How many members there are, estimated: from spectra, or from the field's own evidence.

Owns the two estimates of a `PriorTable`. Does not own the table (``priors``) nor the evidence.

From spectra: the share of members in bins of magnitude, each object weighted by the inverse of the
chance that its like has a spectrum (Horvitz & Thompson 1952), the ``completeness``. A Jeffreys
prior keeps shares off 0 and 1. The radius shifts the log-odds alike at all magnitudes: for each
ring the shift that makes the expected number of members the weighted one.

From the field: the share that makes the evidence of its sources most likely, per bin of magnitude.
That is where the expectation maximization of Saerens, Latinne & Decaestecker (2002, Neural
Computation 14, 21) comes to rest; the likelihood has one maximum, which is found by Brent's method.
A share that was assumed before counts as `ASSUMED` sources, so that a bin of few or clear ones does
not end at no members, or at nothing else.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import optimize

from survey_classifier.errors import RunError
from survey_classifier.membership.completeness import FEWEST, Completeness, bin_of, filled_bins
from survey_classifier.membership.priors import PriorTable
from survey_classifier.membership.probability import MIN_PROBABILITY, expit, logit

__all__ = ["MemberShare", "member_share", "prior_from_field", "prior_from_spectra"]

Floats = npt.NDArray[np.float64]

JEFFREYS = 0.5
"""Of a member and of a nonmember, added to each bin."""
LEAST_SHARE = 1e-5
"""A field's likelihood may be highest at no members at all; the share is kept above this."""
ASSUMED = 2.0
"""A share that was assumed before counts as so many sources of known class."""
MAX_SHIFT = 10.0
"""Largest shift of log-odds by radius."""


def prior_from_spectra(
    r0: npt.ArrayLike,
    radius_deg: npt.ArrayLike,
    is_member: npt.ArrayLike,
    completeness: Completeness,
    source: str = "spectra, weighted by their completeness",
) -> PriorTable:
    """Return the shares that galaxies with spectra tell of all galaxies.

    Parameters
    ----------
    r0, radius_deg
        Of the galaxies with a spectrum, shape (n,); those outside the cells are left out.
    is_member
        Whether each is a member, shape (n,).
    completeness
        What share of all galaxies has one, in cells; its rings become nodes of the table, its
        magnitudes too (bins with fewer than `FEWEST` spectra join the next fainter one).
    source
        Where the spectra come from.

    Raises
    ------
    RunError
        If fewer than `FEWEST` galaxies are inside the cells.
    """
    mag, radius = np.asarray(r0, dtype=np.float64), np.asarray(radius_deg, dtype=np.float64)
    weight = completeness.weights(mag, radius)
    used = np.isfinite(weight)
    if used.sum() < FEWEST:
        raise RunError(
            f"{int(used.sum())} galaxies with a spectrum in the bins of magnitude and radius: a "
            f"prior needs {FEWEST} or more; give wider bins, or a prior"
        )
    mag, radius, weight = mag[used], radius[used], weight[used]
    member = np.asarray(is_member, dtype=np.float64)[used]
    bins = filled_bins(bin_of(mag, completeness.magnitude_edges))
    shares, errors = zip(*(_weighted_share(member[b], weight[b]) for b in bins), strict=True)
    nodes = [float(np.average(mag[b], weights=weight[b])) for b in bins]
    log_odds = np.interp(mag, nodes, logit(shares))
    radii, shifts = _radial_shifts(radius, member, weight, log_odds, completeness.radius_edges_deg)
    table = expit(logit(shares)[:, None] + shifts)
    several = len(radii) > 1
    return PriorTable(
        source=source,
        magnitudes=tuple(nodes),
        marginal_share=tuple(map(float, shares)),
        marginal_err=tuple(map(float, errors)),
        radii_deg=radii if several else (),
        share=tuple(tuple(map(float, _inside(row))) for row in table) if several else (),
        overall=float(_weighted_share(member, weight)[0]),
    )


def _weighted_share(member: Floats, weight: Floats) -> tuple[float, float]:
    """Return a weighted share with a Jeffreys prior, and the error of its log-odds.

    The effective number of objects is (sum w)^2 / sum w^2 (Kish 1965).
    """
    n = weight.sum() ** 2 / (weight**2).sum()
    share = (np.average(member, weights=weight) * n + JEFFREYS) / (n + 2 * JEFFREYS)
    return float(share), float(1 / np.sqrt((n + 2 * JEFFREYS) * share * (1 - share)))


def _radial_shifts(
    radius: Floats, member: Floats, weight: Floats, log_odds: Floats, edges: tuple[float, ...]
) -> tuple[tuple[float, ...], Floats]:
    """Return the middle of each ring, and how much it shifts the log-odds."""
    ring = bin_of(radius, edges)
    radii, shifts = [], []
    for rows in filled_bins(ring):
        # Half a member and half a nonmember more, so that a ring of one kind has a finite shift.
        scale = weight[rows] * len(rows) / weight[rows].sum()
        target = float((scale * member[rows]).sum()) + JEFFREYS
        share = target / (len(rows) + 2 * JEFFREYS)

        def excess(shift: float, rows: npt.NDArray[np.intp] = rows, share: float = share) -> float:
            expected = np.average(expit(log_odds[rows] + shift), weights=weight[rows])
            return float(expected) - share

        radii.append(float(np.exp(np.mean(np.log(np.maximum(radius[rows], 1e-6))))))
        low, high = excess(-MAX_SHIFT), excess(MAX_SHIFT)
        if low < 0 < high:
            shift = optimize.brentq(excess, -MAX_SHIFT, MAX_SHIFT)
        else:
            shift = MAX_SHIFT if high <= 0 else -MAX_SHIFT
        shifts.append(float(shift))
    return tuple(radii), np.array(shifts)


@dataclass(frozen=True, slots=True)
class MemberShare:
    """A share of members that was estimated."""

    share: float
    err: float
    """Standard error of its log-odds, by the curvature of the likelihood; infinite where the
    evidence says nothing."""
    n: int
    """Sources that it rests on."""


def member_share(
    llr: npt.ArrayLike,
    galaxy: npt.ArrayLike = 1.0,
    assumed: float | None = None,
    shift: npt.ArrayLike = 0.0,
) -> MemberShare:
    """Return the share of members that makes the evidence of a field's sources most likely.

    Maximizes sum ln(1 + pi g (L - 1)), L = exp(llr), which is where the expectation maximization of
    Saerens et al. (2002, eq. 9) comes to rest; with an assumed share a, n (a ln pi + (1 - a)
    ln(1 - pi)) is added, n = `ASSUMED`.

    Parameters
    ----------
    llr
        Log-likelihood ratio of member to nonmember, shape (n,); NaN is left out.
    galaxy
        Probability of each that it is no star, shape (n,) or scalar: the share is that among
        galaxies. NaN: 1.
    assumed
        Share that was assumed before, inside (0, 1); None: nothing was.
    shift
        By how much the log-odds of the share differ at each source, shape (n,) or scalar, such as
        by its distance from the center; the share that is returned is that at no shift.

    Raises
    ------
    RunError
        If no source has evidence.
    """
    evidence = np.asarray(llr, dtype=np.float64)
    reach = np.nan_to_num(np.broadcast_to(np.asarray(galaxy, np.float64), evidence.shape), nan=1.0)
    known = np.isfinite(evidence)
    evidence, reach = evidence[known], reach[known]
    offset = np.broadcast_to(np.asarray(shift, dtype=np.float64), known.shape)[known]
    if not len(evidence):
        raise RunError("no source has evidence to estimate the share of members from: give a prior")
    limit = -np.log(MIN_PROBABILITY)
    gain = reach * np.expm1(np.clip(evidence, -limit, limit))

    n_assumed = 0.0 if assumed is None else ASSUMED
    guess = 0.5 if assumed is None else assumed

    def slope(log_odds: float) -> float:
        """Return the derivative by the log-odds of the share."""
        share, here = float(expit(log_odds)), expit(log_odds + offset)
        told = float((gain * here * (1 - here) / (1 + here * gain)).sum())
        return told + n_assumed * (guess - share)

    low, high = float(logit(LEAST_SHARE)), float(logit(1 - LEAST_SHARE))
    if slope(low) <= 0:
        best = low
    elif slope(high) >= 0:
        best = high
    else:
        best = float(optimize.brentq(slope, low, high, xtol=1e-6))
    share = float(expit(best))
    # d(log-odds) = d(share) / (share (1 - share))
    here = expit(best + offset)
    information = ((gain * here * (1 - here) / (1 + here * gain)) ** 2).sum()
    information += n_assumed * share * (1 - share)
    error = float(1 / np.sqrt(information)) if information > 0 else float("inf")
    return MemberShare(share, error, len(evidence))


def prior_from_field(
    llr: npt.ArrayLike,
    r0: npt.ArrayLike,
    magnitude_edges: Sequence[float],
    galaxy: npt.ArrayLike = 1.0,
    source: str = "the evidence of the field's own sources (Saerens et al. 2002)",
    assumed: PriorTable | None = None,
    shift: npt.ArrayLike = 0.0,
) -> PriorTable:
    """Return the shares of members by magnitude that make a field's evidence most likely.

    The evidence must be calibrated: what is overconfident at the faint end invents members there.

    Parameters
    ----------
    llr
        Log-likelihood ratio of member to nonmember by all evidence, shape (n,); NaN is left out.
    r0
        Dereddened r magnitudes, shape (n,); sources without one count for ``overall`` only.
    magnitude_edges
        Edges of the bins, rising; bins with fewer than `FEWEST` sources join the next fainter one.
    galaxy
        As for `member_share`.
    source
        Where the evidence comes from.
    assumed
        The shares that were assumed before, which count as `ASSUMED` sources in each bin.
    shift
        As for `member_share`.

    Raises
    ------
    RunError
        If no source has evidence.
    """
    evidence, mag = np.asarray(llr, dtype=np.float64), np.asarray(r0, dtype=np.float64)
    reach = np.broadcast_to(np.asarray(galaxy, dtype=np.float64), evidence.shape)
    offset = np.broadcast_to(np.asarray(shift, dtype=np.float64), evidence.shape)
    overall = member_share(evidence, reach, shift=offset)
    bins = filled_bins(np.where(np.isfinite(evidence), bin_of(mag, magnitude_edges), -1))
    nodes = [float(mag[b].mean()) for b in bins]
    guess = [None] * len(nodes) if assumed is None else assumed.marginal(nodes).tolist()
    found = [
        member_share(evidence[b], reach[b], before, offset[b])
        for b, before in zip(bins, guess, strict=True)
    ]
    if not found:
        return PriorTable.constant(overall.share).model_copy(update={"source": source})
    return PriorTable(
        source=source,
        magnitudes=tuple(nodes),
        marginal_share=tuple(each.share for each in found),
        marginal_err=tuple(min(each.err, MAX_SHIFT) for each in found),
        overall=overall.share,
    )


def _inside(share: Floats) -> Floats:
    return np.clip(share, MIN_PROBABILITY, 1 - MIN_PROBABILITY)
