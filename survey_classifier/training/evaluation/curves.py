"""The ROC and the precision-recall curve, with bands by resampling objects.

Owns the points of the curves. Does not own the draws (``resampling``) nor any figure
(``measures``).
"""

import numpy as np
import numpy.typing as npt

from survey_classifier.membership.calibration_noise import INTERVAL
from survey_classifier.training.evaluation.forms import Form
from survey_classifier.training.evaluation.resampling import Resampler

__all__ = ["curves"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

CURVE = np.linspace(0, 1, 101)
"""Where the curves' bands are given."""


def curves(p: Floats, is_member: Bools, resampler: Resampler) -> dict[str, dict[str, Floats]]:
    """Return the ROC and the precision-recall curve, each with a 95 % band.

    Parameters
    ----------
    p
        Probabilities, finite, shape ``(n,)``.
    is_member
        Truth with both values, shape ``(n,)``.
    resampler
        Of n objects.

    Returns
    -------
    dict
        ``roc`` and ``precision_recall``, each with ``x``, ``y``, ``low`` and ``high`` of shape
        ``(101,)``: the true positive rate over the false positive rate, and the precision over
        the recall. Between thresholds the ROC curve is straight; the precision at a recall is
        that of the first threshold which reaches it.
    """
    form = Form.of(p, is_member)
    everyone = np.ones(len(p), dtype=np.bool_)
    rows: dict[str, list[Floats]] = {"roc": [], "precision_recall": []}
    for counts in [np.ones((1, len(p))), *resampler.counts(everyone)]:
        for found, false in zip(*form.steps(counts), strict=True):
            if not (found[-1] and false[-1]):
                continue
            rows["roc"].append(_roc(found, false))
            rows["precision_recall"].append(_precision_recall(found, false))
    result = {}
    for name, (value, *spread) in rows.items():
        low, high = np.percentile(spread, INTERVAL, axis=0)
        result[name] = {"x": CURVE, "y": value, "low": low, "high": high}
    return result


def _roc(found: Floats, false: Floats) -> Floats:
    x, y = np.append(0, false / false[-1]), np.append(0, found / found[-1])
    # Of a vertical step the upper end is the value at its x.
    last = np.append(np.diff(x) > 0, True)
    return np.asarray(np.interp(CURVE, x[last], y[last]))


def _precision_recall(found: Floats, false: Floats) -> Floats:
    # A probability of which no object was drawn is no threshold.
    there = found + false > 0
    found, false = found[there], false[there]
    # A hair less: the recall of a share such as 7/10 may be rounded to just below it.
    first = np.searchsorted(found, CURVE * found[-1] - 1e-9)
    # A recall of 0 is reached by calling the most probable step.
    return np.asarray((found / (found + false))[first])
