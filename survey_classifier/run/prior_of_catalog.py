"""A prior that a catalog tells of itself: from its spectra, or from the evidence of its sources.

Owns what is read and in which bins. Does not own the estimates (``membership.prior_estimation``).
The share of stars stays that of the prior that the catalog was made with, and for ``em`` the radial
profile too; so do the shares at magnitudes that the estimate does not reach.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from survey_classifier.errors import RunError
from survey_classifier.membership.completeness import Completeness
from survey_classifier.membership.evidence import Weighed, weigh
from survey_classifier.membership.observed import Observed
from survey_classifier.membership.prior_estimation import prior_from_field, prior_from_spectra
from survey_classifier.membership.priors import PriorTable
from survey_classifier.membership.probability import logit
from survey_classifier.membership.redshift import dynamic_member
from survey_classifier.membership.weighing import Weighing

__all__ = ["ESTIMATES", "estimated_prior"]

Floats = npt.NDArray[np.float64]
Columns = Mapping[str, npt.NDArray[Any]]

ESTIMATES = ("em", "spectra")
"""Names of the two estimates."""
SPECTRA_A_RING = 100
"""So many galaxies with spectra each ring of the radius has, and at most `MOST_RINGS` there are."""
MOST_RINGS = 6


def estimated_prior(how: str, groups: Iterable[Columns], weighing: Weighing) -> PriorTable:
    """Return the prior that a catalog tells of itself.

    Parameters
    ----------
    how
        ``em``: the shares by magnitude that make the evidence of all classified sources most
        likely, position left out. ``spectra``: the shares of members (by the velocity cut) among
        galaxies with a redshift, weighted by their completeness in magnitude and radius.
    groups
        Columns of the catalog, some rows at a time.
    weighing
        How the evidence is weighed.

    Raises
    ------
    RunError
        If no source is classified, or too few have a redshift.
    """
    estimate = _by_field if how == "em" else _by_spectra
    return estimate(groups, weighing)


def _by_field(groups: Iterable[Columns], weighing: Weighing) -> PriorTable:
    left_out = tuple(sorted({*weighing.without, "position", "star"}))
    evidence_only = weighing.model_copy(update={"without": left_out})
    llr, r0, galaxy, shift = [], [], [], []
    for columns in groups:
        rows = weighing.observe(columns)
        known = np.isfinite(rows.p_image)
        alone = weigh(rows, evidence_only.evidence, evidence_only.assumptions)
        llr.append((logit(alone.p_member) - logit(alone.prior_member))[known])
        r0.append(rows.r0[known])
        weighed = weigh(_unseen(rows), weighing.evidence, weighing.assumptions)
        galaxy.append(_galaxy(weighed)[known])
        shift.append(np.nan_to_num(weighed.llr_position)[known])
    if not llr or not sum(map(len, llr)):
        raise RunError("no source is classified: em has no evidence to estimate a prior from")
    mag = np.concatenate(r0)
    before = weighing.prior
    prior = prior_from_field(
        np.concatenate(llr),
        mag,
        _edges(mag),
        np.concatenate(galaxy),
        assumed=before,
        shift=np.concatenate(shift),
    )
    if np.isfinite(mag).any():
        prior = prior.beyond(before)
    return prior.with_stars(before).with_profile(before)


def _by_spectra(groups: Iterable[Columns], weighing: Weighing) -> PriorTable:
    pieces = []
    for columns in groups:
        rows = weighing.observe(columns)
        member = dynamic_member(rows.z, weighing.cuts)
        star = (rows.z < weighing.cuts.star_max_z) & (member != 1)
        used = np.isfinite(rows.r0) & np.isfinite(rows.radius_deg) & ~star
        galaxy = _galaxy(weigh(_unseen(rows), weighing.evidence, weighing.assumptions))
        # Half of the redshifts with a warning are wrong.
        has_z = np.isfinite(rows.z) & ~(rows.z_warning > 0)
        columns_used = (rows.r0, rows.radius_deg, has_z, member == 1, galaxy)
        pieces.append([values[used] for values in columns_used])
    if not pieces:
        raise RunError("the catalog has no rows: spectra tell no prior")
    joined = (np.concatenate(parts) for parts in zip(*pieces, strict=True))
    r0, radius, has_z, member, galaxy = joined
    if not has_z.any():
        raise RunError(
            "no source has a redshift, a magnitude and a position: spectra tell no prior"
        )
    n_ring = int(np.clip(has_z.sum() // SPECTRA_A_RING, 1, MOST_RINGS))
    rings = np.unique(np.quantile(radius[has_z], np.linspace(0, 1, n_ring + 1)))
    rings = np.concatenate([[0.0], rings[1:-1], [180.0]])
    cells = Completeness.of(r0, radius, has_z, _edges(r0[has_z]), rings.tolist(), galaxy)
    found = prior_from_spectra(r0[has_z], radius[has_z], member[has_z], cells)
    return found.beyond(weighing.prior).with_stars(weighing.prior)


def _unseen(rows: Observed) -> Observed:
    """Return rows without what the network says of stars: ``p_image`` holds it already."""
    return replace(rows, p_image_star=np.full(len(rows), np.nan))


def _galaxy(weighed: Weighed) -> Floats:
    """Return the probability that a source is no star; 1 where nothing is known of it."""
    return np.asarray(1 - np.nan_to_num(weighed.p_star), dtype=np.float64)


def _edges(r0: Floats) -> list[float]:
    """Return bins of one magnitude that hold all."""
    known = r0[np.isfinite(r0)]
    if not len(known):
        return [0.0, 1.0]
    return np.arange(np.floor(known.min()), np.floor(known.max()) + 2).tolist()
