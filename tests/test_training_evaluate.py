"""The figures against brute force."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import softmax

from survey_classifier.membership.claimed_errors import error_correlation, error_correlation_alike
from survey_classifier.membership.skill import average_precision, calibration_error
from survey_classifier.training.evaluate import fit_temperature, member_metrics


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


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_of_overconfident_scores_is_found(temperature: float) -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 2, (20_000, 2))
    true = softmax(logits, axis=1)
    label = (rng.random(len(true)) < true[:, 1]).astype(np.int64)
    # Two views that differ, but not in their mean.
    views = logits[:, None] * temperature + np.array([[[1.0, 0.0]], [[-1.0, 0.0]]]).swapaxes(0, 1)
    assert fit_temperature(views, label) == pytest.approx(temperature, rel=0.05)


def test_the_temperature_of_a_certain_network_is_found() -> None:
    """Probabilities of such logits would be 0 and 1."""
    label = np.arange(100) % 2
    logits = np.where(np.arange(2) == label[:, None], 900.0, -900.0)
    logits[:10] *= -1
    assert fit_temperature(logits[:, None], label) == pytest.approx(20, rel=1e-4)  # the largest


def test_an_error_that_grows_with_the_mistake_is_correlated() -> None:
    p, truth = scores(5)
    rng = np.random.default_rng(5)
    claimed = np.abs(p - truth) + rng.normal(0, 0.3, len(p))
    want = stats.spearmanr(claimed, np.abs(p - truth)).statistic
    assert error_correlation(p, claimed, truth) == pytest.approx(want)
    assert error_correlation(p, np.abs(p - truth), truth) == pytest.approx(1)
    some = np.where(np.arange(len(p)) < 50, claimed, np.nan)
    want = stats.spearmanr(claimed[:50], np.abs(p - truth)[:50]).statistic
    assert error_correlation(p, some, truth) == pytest.approx(want)
    for nothing in (np.full(len(p), np.nan), np.full(len(p), 0.1)):
        assert np.isnan(error_correlation(p, nothing, truth))
        assert np.isnan(error_correlation_alike(p, nothing, truth))


def test_an_error_that_grows_with_doubt_alone_tells_nothing_at_like_certainty() -> None:
    p, truth = scores(6, 4000)
    rng = np.random.default_rng(6)
    of_doubt = p * (1 - p) * rng.uniform(0.8, 1.2, len(p))
    assert error_correlation(p, of_doubt, truth) > 0.3
    assert abs(error_correlation_alike(p, of_doubt, truth)) < 0.05
    assert error_correlation_alike(p, of_doubt + 0.1 * np.abs(p - truth), truth) > 0.2
    some = np.where(np.arange(len(p)) < 50, of_doubt, np.nan)
    want = error_correlation_alike(p[:50], of_doubt[:50], truth[:50])
    assert error_correlation_alike(p, some, truth) == want
