"""Four simple forecasts, fitted on the same split as the scores that they are put beside.

Owns the four. Does not own the split (``judged``), photometry (``truth``) nor profiles
(``profiles``). Each object is forecast by a fit to the other folds, never to the second sample; a
bright one, where the truth says what is bright, by a fit to their bright objects, as the many faint
ones would drown them.
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

__all__ = ["BASELINES", "baselines"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

BASELINES = {
    "majority": "the share of members of the other folds, whatever the object",
    "red sequence": "logistic regression on the distance from the red sequence and its square",
    "photometry": "random forest on all magnitudes, colors, sizes and shapes that the tables of "
    "the truth and of the scores give; who classified by eye may have used some of them, too",
    "radial profile": "logistic regression on mean brightness in rings of each band",
}
"""What each forecast is."""
SEED = 0
N_TREES = 300
LEAST_LEAF = 5
"""Objects in a leaf, so that shares in it are probabilities."""


def baselines(judged: Judged, profiles: Floats | None) -> dict[str, Floats]:
    """Return the forecasts that there are data for, shape ``(n,)`` each.

    Parameters
    ----------
    judged
        The objects and the folds.
    profiles
        From `radial_profiles`.
    """
    truth = judged.truth
    delta = truth.delta_rs
    columns = [truth.mag, delta, *truth.photometry.values()]
    known = [column for column in columns if np.isfinite(column).any()]
    found = {"majority": _out_of_fold(judged, None, None)}
    if np.isfinite(delta).any():
        found["red sequence"] = _out_of_fold(judged, np.stack([delta, delta**2], 1), _logistic())
    if known:
        forest = RandomForestClassifier(
            N_TREES, min_samples_leaf=LEAST_LEAF, random_state=SEED, n_jobs=1
        )
        found["photometry"] = _out_of_fold(judged, np.stack(known, axis=1), forest)
    if profiles is not None:
        found["radial profile"] = _out_of_fold(judged, profiles, _logistic())
    return found


def _logistic() -> ClassifierMixin:
    """Return a logistic regression that takes unknown values: their mean, and that they are."""
    return make_pipeline(
        StandardScaler(),
        SimpleImputer(add_indicator=True, keep_empty_features=True),
        LogisticRegression(max_iter=2000),
    )


def _out_of_fold(
    judged: Judged, features: Floats | None, classifier: ClassifierMixin | None
) -> Floats:
    """Return each object's probability by a fit to the other folds."""
    p = np.empty(len(judged))
    bright = judged.truth.is_bright
    everyone = np.ones_like(bright)
    for fold in np.unique(judged.fold):
        # The bright ones are forecast by the first fit, too, and again by the second.
        for kind in (everyone,) if bright.all() else (everyone, bright):
            held = kind & (judged.fold == fold)
            seen = kind & (judged.fold != fold) & ~judged.is_second
            if held.any():
                p[held] = _fitted(judged.truth.is_member, features, classifier, seen, held)
    return p


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
    classifier.fit(features[seen], is_member[seen])
    return np.asarray(classifier.predict_proba(features[held])[:, 1], dtype=np.float64)
