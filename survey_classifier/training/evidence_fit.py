"""An evidence model from labeled objects, and what it says of objects that it has not seen.

Owns which objects each part is fitted to. Does not own the fits (``weighing``,
``membership.color_evidence``), the figures (``judging``) nor the model
(``membership.evidence_model``).

Image and color densities are fitted to all objects; the weights to log-likelihood ratios that are
held out: of the network by its own folds, of the color by densities that were fitted to the other
folds. All else would flatter the color.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from survey_classifier.errors import SourcesError
from survey_classifier.membership.color_evidence import ColorEvidence, fit_color_evidence
from survey_classifier.membership.evidence import Assumptions, weigh
from survey_classifier.membership.evidence_model import EvidenceModel, ImageEvidence, Weights
from survey_classifier.membership.observed import Observed
from survey_classifier.membership.priors import PriorTable
from survey_classifier.membership.probability import logit
from survey_classifier.membership.stars import StarEvidence
from survey_classifier.training.calibration_sample import CalibrationSample
from survey_classifier.training.weighing import fit_share, fit_weights

__all__ = ["EvidenceFit", "fit_evidence", "held_out", "sample_prior"]

Floats = npt.NDArray[np.float64]
PAIR = ("image", "color")
N_DIGITS = 4
"""Digits of a model's numbers: errors are larger by far."""
MIN_OBJECTS = 30
"""Fewer galaxies with image and color than this say nothing about their weights."""


@dataclass(frozen=True, slots=True)
class EvidenceFit:
    """A model and the errors of its weights."""

    model: EvidenceModel
    weight_err: dict[str, float]
    """1-sigma error of the weight of ``image`` and ``color`` where a source has both."""


def fit_evidence(sample: CalibrationSample, mag_nodes: Floats, stars: StarEvidence) -> EvidenceFit:
    """Fit an evidence model.

    Parameters
    ----------
    sample
        Labeled objects.
    mag_nodes
        Ascending magnitudes of the model.
    stars
        Star evidence, taken over.

    Raises
    ------
    SourcesError
        If members or other galaxies with a color, or galaxies with image and color, are too few.
    """
    image = _fit_image(sample, mag_nodes)
    color = _fit_color(sample, mag_nodes)
    model = EvidenceModel(source="in the making", image=image, color=color, stars=stars)
    llrs, prior = _held_out_llrs(sample, mag_nodes)
    usable = np.isfinite(llrs).all(axis=0) & ~sample.is_star
    if usable.sum() < MIN_OBJECTS:
        raise SourcesError(
            f"{int(usable.sum())} galaxies have a score, a magnitude and a color: "
            f"{MIN_OBJECTS} are needed to weigh image and color"
        )
    weights, error = fit_weights(llrs[:, usable], sample.is_member[usable], prior[usable])
    # Each alone is calibrated by its own fit.
    both = Weights(**dict(zip(PAIR, weights.round(N_DIGITS).tolist(), strict=True)))
    worth = {"image": Weights(), "color": Weights(), "image+color": both}
    return EvidenceFit(
        model.model_copy(update={"weights": worth}),
        dict(zip(PAIR, error.round(N_DIGITS).tolist(), strict=True)),
    )


def sample_prior(sample: CalibrationSample, mag_nodes: Floats) -> PriorTable:
    """Return the share of members among the sample's own galaxies by magnitude.

    It holds for objects that were chosen as these were, not for a field.
    """
    galaxies = sample.take(~sample.is_star)
    share = fit_share(galaxies.mag, galaxies.is_member, mag_nodes)
    return PriorTable(
        source="labeled galaxies",
        magnitudes=tuple(mag_nodes.tolist()),
        marginal_share=tuple(share.tolist()),
        overall=_inside(float(galaxies.is_member.mean())),
    )


def held_out(
    sample: CalibrationSample,
    mag_nodes: Floats,
    table: PriorTable | None = None,
    radius_deg: Floats | None = None,
) -> dict[str, Floats]:
    """Return probabilities of objects by models fitted to the other folds.

    Parameters
    ----------
    sample
        As in `fit_evidence`.
    mag_nodes
        The same.
    table
        A prior table under which the joint is computed as well.
    radius_deg
        Distances from the center for it, shape ``(n,)``.

    Returns
    -------
    dict
        ``image``, ``color`` and ``image+color`` under the sample's own prior, and
        ``image+color+prior`` under the table; each of shape ``(n,)``, NaN where there is no score.
    """
    pieces = {"image": "color", "color": "image", "image+color": ""}
    found = {name: np.full(len(sample), np.nan) for name in pieces}
    if table is not None:
        found["image+color+prior"] = np.full(len(sample), np.nan)
    for seen, held in _folds(sample):
        model = fit_evidence(sample.take(seen), mag_nodes, StarEvidence()).model
        prior = sample_prior(sample.take(seen), mag_nodes)
        rows = _observed(sample.take(held), None if radius_deg is None else radius_deg[held])
        for name, left_out in pieces.items():
            without = frozenset({left_out, "position"} - {""})
            found[name][held] = weigh(rows, model, Assumptions(prior, without=without)).p_member
        if table is not None:
            found["image+color+prior"][held] = weigh(rows, model, Assumptions(table)).p_member
    return found


def _observed(sample: CalibrationSample, radius_deg: Floats | None = None) -> Observed:
    """Return what is known of the sample's objects besides their labels."""
    radius = np.full(len(sample), np.nan) if radius_deg is None else radius_deg
    return Observed.of(
        p_image=sample.p_image,
        r0=sample.mag,
        delta_rs=sample.delta_rs,
        delta_rs_err=sample.delta_rs_err,
        radius_deg=radius,
    )


def _fit_image(sample: CalibrationSample, mag_nodes: Floats) -> ImageEvidence:
    """Return the share of members among the galaxies that the network was trained on.

    The prior is a share among galaxies too. Stars were among the training's nonmembers; to a source
    that does not look like one they add nothing, so they must not count here.
    """
    scored = sample.take(np.isfinite(sample.p_image) & ~sample.is_star)
    share = fit_share(scored.mag, scored.is_member, mag_nodes)
    return ImageEvidence(
        magnitudes=tuple(mag_nodes.tolist()),
        pi_train=tuple(share.clip(1e-3, 1 - 1e-3).round(N_DIGITS).tolist()),
        overall=round(_inside(float(scored.is_member.mean())), N_DIGITS),
    )


def _fit_color(sample: CalibrationSample, mag_nodes: Floats) -> ColorEvidence:
    """Return the densities of the colors of members and of other galaxies."""
    known = np.isfinite(sample.delta_rs) & np.isfinite(sample.mag) & ~sample.is_star
    rows = sample.take(known)
    for what, n in (("members", rows.is_member.sum()), ("other galaxies", (~rows.is_member).sum())):
        if n < MIN_OBJECTS:
            raise SourcesError(f"{int(n)} {what} have a color: {MIN_OBJECTS} are needed")
    # Bins whose middles are the nodes.
    middles = (mag_nodes[1:] + mag_nodes[:-1]) / 2
    edges = np.concatenate(
        [[2 * mag_nodes[0] - middles[0]], middles, [2 * mag_nodes[-1] - middles[-1]]]
    )
    error = np.nan_to_num(rows.delta_rs_err)
    return fit_color_evidence(rows.delta_rs, error, rows.mag, rows.is_member, edges)


def _held_out_llrs(sample: CalibrationSample, mag_nodes: Floats) -> tuple[Floats, Floats]:
    """Return llr_image and llr_color, shape ``(2, n)``, and the log-odds of the prior.

    Each of an object is by densities of the other folds; of a single fold, as where one of two is
    held out, by its own.
    """
    llrs, prior = np.full((2, len(sample)), np.nan), np.full(len(sample), np.nan)
    for seen, held in _folds(sample):
        others, rows = sample.take(seen), sample.take(held)
        image, color = _fit_image(others, mag_nodes), _fit_color(others, mag_nodes)
        llrs[0, held] = image.llr(rows.p_image, rows.mag)
        llrs[1, held] = color.llr(rows.delta_rs, np.nan_to_num(rows.delta_rs_err), rows.mag)
        prior[held] = logit(sample_prior(others, mag_nodes).marginal(rows.mag))
    return llrs, prior


def _folds(
    sample: CalibrationSample,
) -> Iterator[tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]]:
    """Yield for each fold the objects of the others and its own; of one fold, all and all."""
    numbers = np.unique(sample.fold)
    for number in numbers:
        held = sample.fold == number
        yield (~held if len(numbers) > 1 else held), held


def _inside(share: float) -> float:
    """Return a share that is neither 0 nor 1, also when it is rounded."""
    return float(np.clip(share, 1e-3, 1 - 1e-3))
