"""How good a network is, on objects that it has not seen.

Owns scoring the objects of a training set, the temperature, and the figures of a card. Does not
own which objects a network has seen (``fit``).
"""

import copy

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from survey_classifier.errors import RunError
from survey_classifier.membership.skill import (
    average_precision,
    brier_score,
    calibration_error,
    roc_area,
)
from survey_classifier.model.card import ModelCard
from survey_classifier.model.network import Network
from survey_classifier.model.scorer import TorchScorer
from survey_classifier.training.dataset import TrainingSet
from survey_classifier.training.samples import Samples, still_views

__all__ = [
    "BATCH_SIZE",
    "fit_temperature",
    "member_metrics",
    "score_rows",
    "score_samples",
]

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

BATCH_SIZE = 256
"""Objects that are looked at together."""
TEMPERATURES = (0.05, 20.0)


def score_rows(
    network: Network,
    card: ModelCard,
    data: TrainingSet,
    rows: npt.NDArray[np.intp],
    device: torch.device,
) -> FloatArray:
    """Return logits ``(n, view, class)`` of some objects, as a run would see them.

    Raises
    ------
    RunError
        If a score is not finite.
    """
    scorer = TorchScorer(copy.deepcopy(network), card, device)
    logits = np.full((len(rows), card.n_views, len(card.classes)), np.nan)
    for stamps, places in data.by_block(rows, BATCH_SIZE):
        logits[places] = scorer.look(stamps).logits
    _check_finite(logits, data, rows)
    return logits


def score_samples(
    network: Network, card: ModelCard, data: TrainingSet, samples: Samples, device: torch.device
) -> FloatArray:
    """Return logits ``(n, 1, class)`` of samples, each seen once, at its own angle.

    Raises
    ------
    RunError
        If a score is not finite.
    """
    judge = copy.deepcopy(network).to(device).eval()
    logits = np.full((len(samples), 1, len(card.classes)), np.nan)
    with torch.inference_mode():
        for x, places in still_views(data, samples, card, BATCH_SIZE):
            logits[places, 0] = judge(x.to(device)).cpu().numpy()
    _check_finite(logits, data, samples.rows)
    return logits


def _check_finite(logits: FloatArray, data: TrainingSet, rows: npt.NDArray[np.intp]) -> None:
    """Raise if a score is not finite."""
    lost = np.flatnonzero(~np.isfinite(logits).all(axis=(1, 2)))
    if len(lost):
        name = data.labels.object_id[rows[lost[0]]]
        raise RunError(f"the score of object {name!r} is not finite; lower 'rate' in [fit]")


def fit_temperature(logits: FloatArray, label: npt.NDArray[np.int64]) -> float:
    """Return the temperature that makes the labels most likely (Guo et al. 2017).

    Parameters
    ----------
    logits
        Of objects that the network has not seen, shape ``(n, view, class)``; what it says of one
        is by their mean over the views.
    label
        Index of the true class, shape ``(n,)``.
    """
    mean = logits.mean(axis=1)
    rows = np.arange(len(label))

    def loss(log_temperature: float) -> float:
        log_p = log_softmax(mean / np.exp(log_temperature), axis=1)
        return float(-log_p[rows, label].mean())

    bounds = (np.log(TEMPERATURES[0]), np.log(TEMPERATURES[1]))
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x))


def member_metrics(p_member: FloatArray, is_member: BoolArray) -> dict[str, float]:
    """Return the figures of a card, members against all others.

    Parameters
    ----------
    p_member
        Probabilities of objects that the network has not seen, shape ``(n,)``.
    is_member
        Their truth, shape ``(n,)``; holds both values.
    """
    return {
        "auc": roc_area(p_member, is_member),
        "average_precision": average_precision(p_member, is_member),
        "accuracy": float(((p_member >= 0.5) == is_member).mean()),
        "brier": brier_score(p_member, is_member),
        "calibration_error": calibration_error(p_member, is_member),
        "n": float(len(p_member)),
        "n_member": float(is_member.sum()),
    }
