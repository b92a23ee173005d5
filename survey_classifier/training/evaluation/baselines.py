"""Four simple forecasts, fitted on the same split as the scores that they are put beside.

Owns the four. Does not own the split (``judged``), photometry (``truth``) nor profiles
(``profiles``). Each object is forecast by a fit to the other folds, never to the second sample. One
line can't hold for bright and faint objects, so where the truth says what is bright, bright ones
are forecast by lines fitted to bright ones; a forest knows the magnitude and learns of all.
"""

import numpy as np
import numpy.typing as npt
from sklearn.base import ClassifierMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from survey_classifier.training.evaluation.judged import Judged
from survey_classifier.training.split import SECOND_SAMPLE

__all__ = ["BASELINES", "baselines"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

BASELINES = {
    "majority": "the share of members of the other folds, of bright objects that of bright ones",
    "red sequence": "logistic regression on the distance from the red sequence and its square; for "
    "bright objects fitted to bright ones",
    "photometry": "random forest on all magnitudes, colors, sizes and shapes that the tables of "
    "the truth and of the scores give, fitted to all objects; who classified by eye may have used "
    "some of them, too",
    "radial profile": "logistic regression on mean brightness in rings of each band; for bright "
    "objects fitted to bright ones",
}
"""What each forecast is."""
BESIDE = -2
"""Stands for the fold of objects that are beside those that are judged."""
SEED = 0
N_TREES = 300
MOST_FITTED = 50_000
"""Objects that are fitted to; of more these are drawn, which are enough for forecasts so simple."""
LEAST_LEAF = 5
"""Objects in a leaf, so that shares in it are probabilities."""


def baselines(judged: Judged, profiles: Floats | None) -> dict[str, Floats]:
    """Return the forecasts that there are data for, shape ``(n,)`` each.

    Parameters
    ----------
    judged
        The objects and the folds.
    profiles
        From `radial_profiles`, of ``judged.known``.
    """
    truth = judged.known
    delta = truth.delta_rs
    columns = [truth.mag, delta, *truth.photometry.values()]
    known = [column for column in columns if np.isfinite(column).any()]
    found = {"majority": _out_of_fold(judged, None, None, by_brightness=True)}
    if np.isfinite(delta).any():
        square = np.stack([delta, delta**2], axis=1)
        found["red sequence"] = _out_of_fold(judged, square, _logistic(), by_brightness=True)
    if known:
        forest = RandomForestClassifier(
            N_TREES, min_samples_leaf=LEAST_LEAF, random_state=SEED, n_jobs=1
        )
        measured = np.stack(known, axis=1)
        found["photometry"] = _out_of_fold(judged, measured, forest, by_brightness=False)
    if profiles is not None:
        found["radial profile"] = _out_of_fold(judged, profiles, _logistic(), by_brightness=True)
    return found


def _logistic() -> ClassifierMixin:
    """Return a logistic regression that takes unknown values: their mean, and that they are."""
    return make_pipeline(
        StandardScaler(),
        SimpleImputer(add_indicator=True, keep_empty_features=True),
        LogisticRegression(max_iter=2000),
    )


def _out_of_fold(
    judged: Judged,
    features: Floats | None,
    classifier: ClassifierMixin | None,
    *,
    by_brightness: bool,
) -> Floats:
    """Return each judged object's probability by a fit to the other folds."""
    known = judged.known
    p = np.empty(len(known))
    bright = known.is_bright
    everyone = np.ones_like(bright)
    is_judged = np.arange(len(known)) < len(judged)
    fold = np.append(judged.fold, np.full(len(judged.beside), BESIDE))
    for part in np.unique(judged.fold):
        # The bright ones are forecast by the first fit, too, and again by the second.
        for kind in (everyone, bright) if by_brightness and not bright.all() else (everyone,):
            held = kind & is_judged & (fold == part)
            seen = kind & (fold != part) & (fold != SECOND_SAMPLE)
            if held.any():
                p[held] = _fitted(known.is_member, features, classifier, seen, held)
    return p[: len(judged)]


def _fitted(
    is_member: Bools,
    features: Floats | None,
    classifier: ClassifierMixin | None,
    seen: Bools,
    held: Bools,
) -> Floats:
    """Return probabilities of held objects by a fit to seen ones.

    Where nothing is to be fitted, or those are of one class, it is the share of members among
    them; without any, that of ignorance.
    """
    share = float(is_member[seen].mean()) if seen.any() else 0.5
    if classifier is None or features is None or share in (0.0, 1.0) or not seen.any():
        return np.full(int(held.sum()), share)
    rows = np.flatnonzero(seen)
    if len(rows) > MOST_FITTED:
        rows = np.random.default_rng(SEED).choice(rows, MOST_FITTED, replace=False)
    classifier.fit(features[rows], is_member[rows])
    return np.asarray(classifier.predict_proba(features[held])[:, 1], dtype=np.float64)
