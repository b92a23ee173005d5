"""What all evidence together says: from what was observed to ``p_member``, for n sources at once.

Owns `weigh`, the one function that makes the catalog's evidence columns: a run calls it tile by
tile, reweighing row group by row group. Does not own what a piece is worth (``evidence_model``),
its densities (``color_evidence``, ``redshift``, ``stars``), the prior (``priors``) nor what was
observed (``observed``).

A source is a member (M), another galaxy or a star. Each ``llr_*`` is ln p(piece | M) / p(piece |
not M), by itself. Image and color see the same light, so the two together are worth less than their
sum: weights and an offset are fitted on labelled objects that the network had not seen, for each
subset of the two that a source may have. Redshift and position do not depend on the pixels given
the class: weight 1. With the share of members among galaxies pi(m) = ``prior_member``,

    logit p_member = logit((1 - p_star) pi') + offset + w_i llr_image + w_c llr_color + llr_redshift
    logit pi'      = logit pi(m) + llr_position = logit pi(m, R) of the prior table

so the position is used once, and leaving it out leaves the marginal prior. p_star multiplies the
prior and not the result, because image and redshift tell members from stars too, and may overrule
it; where nothing is known of stars it is 0, so p_member is then that of a galaxy. The others that a
redshift is compared with hold as many stars as p_star says: what looks like a star and has the
cluster's redshift is no star.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from survey_classifier.errors import ConfigError
from survey_classifier.membership.evidence_model import EvidenceModel, Weights
from survey_classifier.membership.flags import Flag, pack_flags
from survey_classifier.membership.observed import Observed
from survey_classifier.membership.priors import PriorTable
from survey_classifier.membership.probability import expit, llr_image, logit
from survey_classifier.membership.redshift import RedshiftCuts
from survey_classifier.membership.redshift_evidence import STAR_SHARE, llr_redshift
from survey_classifier.membership.stars import p_star
from survey_classifier.problems import nearest_name

__all__ = ["PIECES", "Assumptions", "Piece", "Weighed", "weigh"]

Floats = npt.NDArray[np.float64]

Piece = Literal["image", "color", "redshift", "position", "star"]
PIECES: tuple[Piece, ...] = get_args(Piece)
"""Names of the evidence that may be left out."""
USUAL_COLOR_ERR = 0.05
"""Error of a color in mag where none is given."""
BLOCK_ROWS = 8_192
"""Rows weighed at once: their numbers stay in the processor's cache."""


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What is assumed beside the evidence model: what a user may change.

    Raises
    ------
    ConfigError
        If a name in ``without`` is not in `PIECES`.
    """

    prior: PriorTable
    cuts: RedshiftCuts = field(default_factory=RedshiftCuts)
    without: frozenset[str] = frozenset()
    """Pieces of evidence that are left out; their columns are NaN."""

    def __post_init__(self) -> None:
        for name in sorted(self.without):
            if name not in PIECES:
                raise ConfigError(f"no evidence {name!r}; {nearest_name(name, set(PIECES))}")


@dataclass(frozen=True, slots=True, eq=False)
class Weighed:
    """What follows for n sources: the catalog's evidence columns; arrays of shape ``(n,)``."""

    llr_image: Floats
    llr_color: Floats
    llr_redshift: Floats
    llr_position: Floats
    prior_member: Floats
    """Share of members among galaxies of that magnitude, the radius left out."""
    p_star: Floats
    """NaN: nothing is known of stars."""
    p_member: Floats
    """NaN where there is no score of the image."""
    flags: npt.NDArray[np.int32]
    """`Flag.PRIOR_WITHOUT_MAGNITUDE`, to be joined to the others."""

    @property
    def columns(self) -> dict[str, Floats]:
        """The catalog's columns by name; all but the flags."""
        return {
            each.name: getattr(self, each.name) for each in fields(self) if each.name != "flags"
        }

    def shared(self, network: Sequence[npt.NDArray[np.floating]], with_stars: bool) -> list[Floats]:
        """Return the probability of each class that is neither member nor star.

        What is left of ``p_member``, and of ``p_star`` where the network has a class of stars,
        is shared among the others as the network does.

        Parameters
        ----------
        network
            The network's probability of each of these classes, shape (n,).
        with_stars
            Whether it has a class of stars.
        """
        rest = 1.0 - self.p_member
        if with_stars:
            here = expit(logit(self.prior_member) + np.nan_to_num(self.llr_position))
            stars = np.nan_to_num(self.p_star)
            # Of those that are no members: a member is no star.
            rest = rest * (1.0 - stars / (stars + (1.0 - stars) * (1.0 - here)))
        scores = np.stack(list(network), axis=1).astype(np.float64)
        total = scores.sum(axis=1, keepdims=True)
        # A network that is certain of member says nothing of the others: they share equally.
        share = np.full(scores.shape, 1.0 / scores.shape[1])
        np.divide(scores, total, out=share, where=total > 0)
        return [rest * share[:, column] for column in range(scores.shape[1])]


def weigh(rows: Observed, model: EvidenceModel, assumptions: Assumptions) -> Weighed:
    """Return the evidence of each source, and its probability of membership.

    Rows do not depend on each other. The formula is in the module's docstring.

    Parameters
    ----------
    rows
        What is known of n sources.
    model
        What each piece is worth.
    assumptions
        The prior, the cluster's redshift and velocity dispersion, and what to leave out.

    Raises
    ------
    RunError
        If a ``p_image`` is outside 0 <= p <= 1.
    """
    starts = range(0, max(len(rows), 1), BLOCK_ROWS)
    blocks = [
        _weigh_block(rows.rows(slice(start, start + BLOCK_ROWS)), model, assumptions)
        for start in starts
    ]
    return Weighed(
        *(
            np.concatenate([getattr(block, each.name) for block in blocks])
            for each in fields(Weighed)
        )
    )


def _weigh_block(rows: Observed, model: EvidenceModel, assumptions: Assumptions) -> Weighed:
    """Weigh few enough rows for the cache."""
    prior, used = assumptions.prior, set(PIECES) - assumptions.without
    unknown = np.full(len(rows), np.nan)
    image = model.image.llr(rows.p_image, rows.r0) if "image" in used else unknown
    color = unknown
    if "color" in used and model.color is not None:
        error = np.nan_to_num(rows.delta_rs_err, nan=USUAL_COLOR_ERR)
        color = model.color.llr(rows.delta_rs, error, rows.r0)
    marginal = prior.marginal(rows.r0)
    here = prior.at(rows.r0, rows.radius_deg) if "position" in used else marginal
    gate, star = _stars(rows, model, prior, used)
    redshift = unknown
    if "redshift" in used and np.isfinite(rows.z).any():
        redshift = _redshift(rows, assumptions.cuts, here, gate)
    log_odds = logit(here * (1 - np.nan_to_num(gate)))
    log_odds += _pixels(image, color, model.weights) + np.nan_to_num(redshift)
    return Weighed(
        llr_image=image,
        llr_color=color,
        llr_redshift=redshift,
        llr_position=_position(here, marginal, rows, prior) if "position" in used else unknown,
        prior_member=marginal,
        p_star=star,
        p_member=np.where(np.isnan(rows.p_image), np.nan, expit(log_odds)),
        flags=pack_flags(
            len(rows), {Flag.PRIOR_WITHOUT_MAGNITUDE: np.isnan(rows.r0) & prior.knows_magnitude}
        ),
    )


def _redshift(rows: Observed, cuts: RedshiftCuts, here: Floats, gate: Floats) -> Floats:
    """Return the evidence of redshifts against others of which as many are stars as here.

    An error of 0 or less, a customary mark, is unknown.
    """
    others = gate / (gate + (1 - gate) * (1 - here))
    star_share = np.where(np.isnan(gate), STAR_SHARE, others)
    error = np.where(rows.z_err > 0, rows.z_err, np.nan)
    warning = np.nan_to_num(rows.z_warning, nan=-1)
    return llr_redshift(rows.z, error, warning, cuts, star_share)


def _position(here: Floats, marginal: Floats, rows: Observed, prior: PriorTable) -> Floats:
    """Return the evidence of the position, NaN where the prior could not use it."""
    usable = np.isfinite(rows.radius_deg)
    llr = logit(here) - logit(marginal)
    return np.where(usable & bool(prior.radii_deg), llr, np.nan)


def _stars(
    rows: Observed, model: EvidenceModel, prior: PriorTable, used: set[Piece]
) -> tuple[Floats, Floats]:
    """Return p_star by what is independent of the image, and by all.

    A network with a class of stars has told members from them in ``p_image`` already, so what it
    says of stars is published and does not enter a second time.
    """
    if "star" not in used:
        unknown = np.full(len(rows), np.nan)
        return unknown, unknown
    stars, share = model.stars, prior.stars(rows.r0)
    pieces = [stars.llr_point(rows.point_likeness, rows.r0), stars.llr_gaia(rows.gaia, rows.r0)]
    if stars.locus is not None:
        pieces.append(stars.locus.llr(rows.g_r, rows.r_z))
    gate = p_star(share, *pieces)
    gate = np.where(np.isnan(gate), rows.p_star, gate)
    if "image" not in used or model.image.overall_star is None:
        return gate, gate
    network = llr_image(rows.p_image_star, model.image.overall_star)
    by_all = p_star(share, *pieces, network)
    return gate, np.where(np.isnan(by_all), gate, by_all)


def _pixels(image: Floats, color: Floats, weights: Mapping[str, Weights]) -> Floats:
    """Return the joint evidence of image and color, 0 where there is neither."""
    joint = np.zeros(len(image))
    has_image, has_color = ~np.isnan(image), ~np.isnan(color)
    subsets = {
        "image": has_image & ~has_color,
        "color": has_color & ~has_image,
        "image+color": has_image & has_color,
    }
    for subset, there in subsets.items():
        worth = weights[subset]
        sum_ = np.full(len(image), worth.offset)
        if "image" in subset:
            sum_ = sum_ + worth.image * image
        if "color" in subset:
            sum_ = sum_ + worth.color * color
        joint = np.where(there, sum_, joint)
    return joint
