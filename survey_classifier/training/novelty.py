"""What novelty is measured against: the training objects, seen by networks that know them or not.

Owns the fit of distances and of their shares. Does not own their arithmetic (``model.novelty``)
or which networks there are (``judgment``).
"""

import copy

import numpy as np
import numpy.typing as npt
import torch
from sklearn.covariance import ledoit_wolf

from survey_classifier.model.card import NoveltyFit
from survey_classifier.model.network import Network
from survey_classifier.model.novelty import Distance, Novelty, make_novelty
from survey_classifier.model.scorer import TorchScorer
from survey_classifier.training.evaluate import BATCH_SIZE
from survey_classifier.training.optimize import Task

__all__ = ["fit_novelty", "unseen_distances"]

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]

LEAST_VARIANCE = 1e-6
"""Share of the mean variance that every direction has at least: a feature may never fire."""
TINY = 1e-20
"""Where none of them fires, it is this."""


def unseen_distances(task: Task, network: Network, seen: Rows, unseen: Rows) -> Floats:
    """Return how far objects that a network has not seen are from those that it has.

    Parameters
    ----------
    task
        Holds the objects.
    network
        The network.
    seen, unseen
        Rows of the training set, at least one each.

    Returns
    -------
    ndarray of float64
        Shape ``(n, 2)``: early and late, for each unseen object.
    """
    rows = np.concatenate([seen, unseen])
    early, late = _look(task, network, rows)
    n_seen = len(seen)
    distances = (fit_distance(early[:n_seen]), fit_distance(late[:n_seen]))
    with torch.inference_mode():
        far = [
            distance(torch.from_numpy(features[n_seen:])).numpy()
            for distance, features in zip(distances, (early, late), strict=True)
        ]
    return np.stack(far, axis=1)


def fit_novelty(
    task: Task, network: Network, rows: Rows, unseen: Floats
) -> tuple[Novelty, NoveltyFit]:
    """Return what tells the novelty of stamps for a network, and what the card says of it.

    Parameters
    ----------
    task
        Holds the objects.
    network
        The network that is kept.
    rows
        Rows of the training set that it was fitted to.
    unseen
        From `unseen_distances`, of as many objects as there are.
    """
    early, late = _look(task, network, rows)
    novelty = make_novelty(fit_distance(early), fit_distance(late), unseen)
    return novelty, NoveltyFit(n_fitted=len(rows), n_unseen=len(unseen))


def fit_distance(features: npt.NDArray[np.float32]) -> Distance:
    """Return the distance from features of objects, shape ``(n, feature)``.

    The covariance is shrunk (Ledoit & Wolf 2004): objects may be fewer than features.
    """
    known = features.astype(np.float64)
    covariance, _ = ledoit_wolf(known)
    variance, axes = np.linalg.eigh(covariance)
    least = LEAST_VARIANCE * float(variance.mean()) + TINY
    distance = Distance(known.shape[1])
    distance.mean = torch.from_numpy(known.mean(axis=0)).float()
    distance.whitener = torch.from_numpy(axes / np.sqrt(np.maximum(variance, least))).float()
    return distance


def _look(
    task: Task, network: Network, rows: Rows
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return what a network knows of objects early and late, ``(n, feature)`` each."""
    scorer = TorchScorer(copy.deepcopy(network), task.card, task.team.device)
    early = np.empty((len(rows), network.n_early), dtype=np.float32)
    late = np.empty((len(rows), network.head.in_features), dtype=np.float32)
    for stamps, places in task.data.by_block(rows, BATCH_SIZE):
        seen = scorer.look(stamps)
        early[places], late[places] = seen.early, seen.late
    return early, late
