"""Purity and completeness against brute force, and intervals against their coverage."""

import numpy as np
import pytest
from scipy import stats

from survey_classifier.errors import ConfigError
from survey_classifier.membership.purity import measured, selection


def test_the_figures_are_sums_of_probabilities():
    p = np.array([0.9, 0.8, 0.79, 0.5, 0.1, np.nan])
    found = selection(p, 0.8)
    assert (found.n, found.n_selected) == (5, 2)
    assert found.members == pytest.approx(3.09)
    assert found.members_selected == pytest.approx(1.7)
    assert found.purity == pytest.approx(0.85)
    assert found.completeness == pytest.approx(1.7 / 3.09)
    assert found.members_err == pytest.approx(np.sqrt(0.9 * 0.1 + 0.8 * 0.2))


def test_the_error_is_that_of_the_poisson_binomial():
    rng = np.random.default_rng(1)
    p = rng.beta(0.4, 0.4, 300)
    chosen = p[p >= 0.6]
    drawn = (rng.random((20_000, len(chosen))) < chosen).sum(axis=1)
    found = selection(p, 0.6)
    assert found.members_selected == pytest.approx(drawn.mean(), rel=0.01)
    assert found.members_err == pytest.approx(drawn.std(), rel=0.03)


def test_intervals_hold_the_truth_of_as_many_fields_as_they_say():
    hits_purity, hits_completeness, n_field = 0, 0, 100
    for seed in range(n_field):
        rng = np.random.default_rng(seed)
        p = rng.beta(0.3, 0.9, 400)
        truth = rng.random(400) < p
        other = rng.beta(0.3, 0.9, 400)  # another field like it gives the forecast
        found = selection(other, 0.7, seed=seed)
        chosen = p >= 0.7
        purity, completeness = truth[chosen].mean(), truth[chosen].sum() / truth.sum()
        hits_purity += found.purity_interval[0] <= purity <= found.purity_interval[1]
        low, high = found.completeness_interval
        hits_completeness += low <= completeness <= high
    for hits in (hits_purity, hits_completeness):
        # The other field has its own scatter too, so less than 95 %.
        assert 0.75 < hits / n_field <= 1


def test_intervals_hold_the_figures_and_shrink_with_the_field():
    rng = np.random.default_rng(3)
    widths = []
    for n in (100, 1000, 10_000, 100_000):
        found = selection(rng.beta(0.3, 0.9, n), 0.5)
        for value, (low, high) in ((found.purity, found.purity_interval),
                                   (found.completeness, found.completeness_interval)):  # fmt: skip
            assert low < value < high
        widths.append(found.purity_interval[1] - found.purity_interval[0])
    np.testing.assert_allclose(np.log10(widths[0] / np.array(widths)), [0, 0.5, 1, 1.5], atol=0.15)


def test_nothing_selected_or_nothing_there_is_unknown():
    found = selection([0.1, 0.2], 0.9)
    assert found.n_selected == 0
    assert np.isnan(found.purity)
    assert np.isnan(found.purity_interval).all()
    assert found.completeness == 0
    empty = selection([np.nan], 0.5)
    assert empty.n == 0
    assert np.isnan([empty.purity, empty.completeness, *empty.completeness_interval]).all()
    for cut in (-0.1, 1.1, np.nan):
        with pytest.raises(ConfigError, match="give a probability from 0 to 1"):
            selection([0.5], cut)


def test_what_a_truth_measures():
    p = np.array([0.9, 0.85, 0.95, 0.3, 0.2, np.nan])
    truth = np.array([True, False, True, True, False, True])
    found = measured(p, truth, 0.8)
    assert (found.n, found.n_selected, found.n_members) == (5, 3, 3)
    assert found.purity == pytest.approx(2 / 3)
    assert found.completeness == pytest.approx(2 / 3)
    expected = stats.binomtest(2, 3).proportion_ci(0.95, method="wilson")
    assert found.purity_interval == pytest.approx((expected.low, expected.high))
    none = measured([0.1], [False], 0.5)
    assert np.isnan([none.purity, none.completeness]).all()


def test_an_interval_holds_its_value():
    few = selection(np.array([0.992, 0.985]), 0.8)
    assert few.purity_interval[0] <= few.purity <= few.purity_interval[1]
    assert few.completeness_interval[0] <= few.completeness <= few.completeness_interval[1]
