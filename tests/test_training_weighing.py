"""The fits of a calibration recover what simulated objects were made with."""

import numpy as np
import pytest
from scipy import special, stats
from scipy.interpolate import interp1d

from survey_classifier.errors import SourcesError
from survey_classifier.membership.evidence_model import MAX_WEIGHT
from survey_classifier.membership.skill import calibration_error
from survey_classifier.training.judging import PURITY_CUTS, figures
from survey_classifier.training.weighing import fit_share, fit_weights, nodal_weights

NODES = np.array([14.0, 16.0, 17.0, 20.0, 23.0])


def test_nodal_weights_are_linear_interpolation():
    mag = np.random.default_rng(1).uniform(10, 27, 300)
    values = np.array([3.0, -1.0, 4.0, 1.0, -5.0])
    weights = nodal_weights(mag, NODES)
    assert weights.min() >= 0
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    expected = interp1d(NODES, values)(np.clip(mag, NODES[0], NODES[-1]))
    np.testing.assert_allclose(weights @ values, expected)


def test_the_share_of_members_is_recovered():
    rng = np.random.default_rng(2)
    log_odds = np.array([3.0, 1.0, 0.0, -1.5, -3.0])
    mag = rng.uniform(13, 24, 40_000)
    is_member = rng.random(len(mag)) < special.expit(np.interp(mag, NODES, log_odds))
    share = fit_share(mag, is_member, NODES)
    np.testing.assert_allclose(special.logit(share), log_odds, atol=0.25)
    # Objects without a magnitude change nothing.
    more = np.append(mag, np.full(50, np.nan)), np.append(is_member, np.ones(50, bool))
    np.testing.assert_array_equal(fit_share(*more, NODES), share)


@pytest.mark.parametrize("truth", [True, False])
def test_a_share_stays_inside_0_and_1(truth):
    share = fit_share(np.full(30, 15.0), np.full(30, truth), NODES)
    assert ((share > 0) & (share < 1)).all()
    assert ((share > 0.5) == truth).all()


def test_a_node_without_objects_is_like_its_neighbor():
    rng = np.random.default_rng(3)
    mag = rng.uniform(14, 17, 5000)
    is_member = rng.random(len(mag)) < special.expit(17 - mag - 1.5)
    share = special.logit(fit_share(mag, is_member, NODES))
    assert share[0] > share[1] > share[2]
    np.testing.assert_allclose(share[3:], share[2], atol=0.1)


def test_no_magnitude_at_all_is_said():
    with pytest.raises(SourcesError, match="has a magnitude"):
        fit_share(np.array([np.nan]), np.array([True]), NODES)


def pair(rng, n, correlation, share=0.2):
    """Return truths and two llrs, each exact by itself, of normal measurements that correlate."""
    is_member = rng.random(n) < share
    noise = rng.multivariate_normal([0, 0], [[1, correlation], [correlation, 1]], n).T
    shift = np.array([[2.0], [1.5]])
    measured = np.where(is_member, shift, 0) + noise
    return is_member, stats.norm.logpdf(measured, shift) - stats.norm.logpdf(measured)


@pytest.mark.parametrize("correlation", [0.0, 0.4, 0.7])
def test_weights_are_those_of_the_true_joint(correlation):
    """For normal measurements the joint is a weighted sum: weights C^-1 d / d, by Fisher."""
    rng = np.random.default_rng(4)
    is_member, llrs = pair(rng, 60_000, correlation)
    shift = np.array([2.0, 1.5])
    covariance = np.array([[1, correlation], [correlation, 1]])
    expected = np.linalg.solve(covariance, shift) / shift
    # The constant of the joint differs from the weighted constants; the prior takes it up.
    constant = shift @ np.linalg.solve(covariance, shift) / 2 - expected @ (shift**2 / 2)
    prior = np.full(len(is_member), special.logit(0.2) - constant)
    weights, error = fit_weights(llrs, is_member, prior)
    assert (error < 0.03).all()
    assert (np.abs(weights - expected) < 4 * error).all()


def test_one_witness_heard_twice_counts_once():
    rng = np.random.default_rng(5)
    is_member, llrs = pair(rng, 20_000, 0.0)
    twice = np.stack([llrs[0], llrs[0]])
    prior = np.full(len(is_member), special.logit(0.2))
    weights, _ = fit_weights(twice, is_member, prior)
    assert weights.sum() == pytest.approx(1, abs=0.05)
    naive = special.expit(prior + twice.sum(axis=0))
    honest = special.expit(prior + weights @ twice)
    assert calibration_error(honest, is_member) < 0.01 < 0.03 < calibration_error(naive, is_member)


def test_few_objects_leave_the_weights_near_1():
    is_member, llrs = pair(np.random.default_rng(6), 3, 0.0)
    weights, error = fit_weights(llrs, is_member, np.full(3, special.logit(0.2)))
    np.testing.assert_allclose(weights, 1, atol=0.8)
    assert (error <= 1).all()
    assert (error > 0.3).all()


def test_misleading_evidence_is_dropped_not_inverted():
    is_member, llrs = pair(np.random.default_rng(7), 5000, 0.0)
    prior = np.full(len(is_member), special.logit(0.2))
    weights, _ = fit_weights(np.stack([llrs[0], -llrs[1]]), is_member, prior)
    assert weights[1] == 0
    assert weights[0] > 0.9


def test_figures_of_an_honest_forecast():
    rng = np.random.default_rng(8)
    p = rng.beta(0.3, 1.5, 2000)
    is_member = rng.random(len(p)) < p
    found = figures(p, is_member)
    assert found["n"] == 2000
    assert found["n_member"] == is_member.sum()
    for name in ("auc", "accuracy", "brier"):
        value, low, high = found[name]
        assert low < value < high
    floor = found["calibration_error_if_honest"]
    assert 0.3 * floor < found["calibration_error"][0] < 2 * floor
    assert [row["cut"] for row in found["purity"]] == list(PURITY_CUTS)
    for row in found["purity"]:
        assert row["n"] == (p >= row["cut"]).sum()
        assert row["low"] <= row["measured"] <= row["high"]
        # The interval is of the measured purity: the claimed one is inside nearly always.
        assert row["low"] - 0.03 < row["claimed"] < row["high"] + 0.03


def test_figures_show_overconfidence():
    rng = np.random.default_rng(9)
    p = rng.beta(0.3, 1.5, 2000)
    is_member = rng.random(len(p)) < p
    bold = special.expit(2.5 * special.logit(np.clip(p, 1e-6, 1 - 1e-6)))
    found = figures(bold, is_member)
    assert found["calibration_error"][0] > 3 * found["calibration_error_if_honest"]
    assert found["purity"][1]["claimed"] > found["purity"][1]["high"]


def test_a_cut_that_nothing_passes_has_no_purity():
    found = figures(np.full(20, 0.1), np.arange(20) < 2)
    assert found["purity"] == [{"cut": cut, "n": 0} for cut in PURITY_CUTS]


def test_no_weight_is_above_its_bound():
    """Of scores that are far too unsure a fit wants more than an evidence file may say."""
    rng = np.random.default_rng(3)
    llrs = rng.normal(0, 2, (2, 4000))
    is_member = rng.random(4000) < special.expit(llrs.sum(axis=0))
    weights, error = fit_weights(llrs * [[0.2], [1]], is_member, np.zeros(4000))
    assert weights[0] == MAX_WEIGHT
    assert 0.5 < weights[1] < 1.1  # less than 1, as the other can not say enough
    assert np.isfinite(error).all()
