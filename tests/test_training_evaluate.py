"""The figures against brute force."""

import numpy as np
import pytest
from scipy.special import softmax

from survey_classifier.membership.skill import average_precision, calibration_error
from survey_classifier.training.evaluate import fit_temperature, member_metrics, with_temperature


def scores(seed: int, n: int = 80) -> tuple[np.ndarray, np.ndarray]:
    """Return scores with many ties, and truths that follow them."""
    rng = np.random.default_rng(seed)
    score = np.round(rng.random(n), 1)
    return score, rng.random(n) < score


@pytest.mark.parametrize("seed", range(4))
def test_average_precision_is_the_step_sum_over_thresholds(seed: int) -> None:
    score, truth = scores(seed)
    want, recall = 0.0, 0.0
    for threshold in sorted(set(score.tolist()), reverse=True):
        chosen = score >= threshold
        now = truth[chosen].sum() / truth.sum()
        want += (now - recall) * truth[chosen].mean()
        recall = now
    assert average_precision(score, truth) == pytest.approx(want)


def test_calibration_error_of_known_bins() -> None:
    p = np.repeat([0.02, 0.5, 1.0], [10, 20, 10])
    truth = np.concatenate([np.arange(10) < 1, np.arange(20) < 4, np.ones(10, bool)])
    # 10 objects claim .02 and give .1, 20 claim .5 and give .2, 10 claim 1 and give 1.
    assert calibration_error(p, truth) == pytest.approx((10 * 0.08 + 20 * 0.3) / 40)


def test_perfect_scores_have_perfect_figures() -> None:
    truth = np.arange(20) % 3 == 0
    figures = member_metrics(truth.astype(float), truth)
    assert figures == {
        "auc": 1.0,
        "average_precision": 1.0,
        "accuracy": 1.0,
        "brier": 0.0,
        "calibration_error": 0.0,
        "n": 20.0,
        "n_member": 7.0,
    }


def test_temperature_scales_logits() -> None:
    logits = np.random.default_rng(0).normal(0, 3, (10, 3))
    np.testing.assert_allclose(
        with_temperature(softmax(logits, axis=1), 2.5), softmax(logits / 2.5, axis=1), atol=1e-12
    )
    certain = with_temperature(np.array([[0.0, 1.0]]), 2.0)  # float32 may run down to zero
    assert np.isfinite(certain).all()


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_of_overconfident_scores_is_found(temperature: float) -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 2, (20_000, 2))
    true = softmax(logits, axis=1)
    label = (rng.random(len(true)) < true[:, 1]).astype(np.int64)
    claimed = softmax(logits * temperature, axis=1)
    assert fit_temperature(claimed, label) == pytest.approx(temperature, rel=0.05)
