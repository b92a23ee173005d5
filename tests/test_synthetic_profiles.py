"""Light profiles as Gaussians, against the analytic Sersic profile and moments."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import gammainc, gammaincinv

from survey_classifier.synthetic.profiles import (
    MAX_INDEX,
    MIN_INDEX,
    SERSIC_SIGMA,
    Seeing,
    merge_narrow,
    sersic_weights,
)


@pytest.mark.parametrize("index", [MIN_INDEX, 0.77, 1.0, 1.55, 2.5, 3.3, MAX_INDEX])
def test_light_within_a_radius_is_that_of_the_sersic_profile(index):
    radius = np.array([0.25, 0.5, 1.0, 2.0, 3.0, 5.0])
    steepness = gammaincinv(2 * index, 0.5)
    analytic = gammainc(2 * index, steepness * radius ** (1 / index))
    within = 1 - np.exp(-0.5 * (radius[:, None] / SERSIC_SIGMA) ** 2)
    np.testing.assert_allclose(within @ sersic_weights(index)[0], analytic, atol=0.01)


@given(st.lists(st.floats(MIN_INDEX, MAX_INDEX), min_size=1, max_size=20))
def test_weights_are_shares(indices):
    weights = sersic_weights(indices)
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-12)


@pytest.mark.parametrize("index", [MIN_INDEX - 0.01, MAX_INDEX + 0.01, np.nan])
def test_an_index_that_was_not_fitted_is_refused(index):
    with pytest.raises(ValueError, match="Sersic indices must be in"):
        sersic_weights([1.0, index])


def test_no_index_is_no_row():
    assert sersic_weights([]).shape == (0, len(SERSIC_SIGMA))


@given(
    st.lists(st.floats(0, 1), min_size=5, max_size=5),
    st.lists(st.floats(1e-4, 1e2), min_size=5, max_size=5),
    st.floats(0, 1e2),
)
def test_merging_keeps_flux_and_second_moment_and_what_is_wide(weights, variances, limit):
    weight, variance = np.array([weights]), np.sort([variances])
    merged_weight, merged_variance = merge_narrow(weight, variance, np.array([limit]))
    np.testing.assert_allclose(merged_weight.sum(), weight.sum(), atol=1e-12)
    np.testing.assert_allclose(
        (merged_weight * merged_variance).sum(), (weight * variance).sum(), rtol=1e-9, atol=1e-12
    )
    wide = variance >= limit
    np.testing.assert_array_equal(merged_weight[wide], weight[wide])
    np.testing.assert_array_equal(merged_variance[wide], variance[wide])
    assert np.count_nonzero(merged_weight[~wide]) <= 1


@pytest.mark.parametrize("fwhm", [0.53, 0.70])
def test_seeing_has_its_width_and_unit_flux(fwhm):
    seeing = Seeing(fwhm)
    density = seeing.weight / (2 * np.pi * seeing.variance_arcsec2)
    half = (density * np.exp(-0.5 * (fwhm / 2) ** 2 / seeing.variance_arcsec2)).sum()
    assert half == pytest.approx(seeing.peak_per_arcsec2 / 2, rel=1e-9)
    assert seeing.weight.sum() == pytest.approx(1)


@pytest.mark.parametrize("fwhm", [0.0, -1.0, np.nan])
def test_seeing_without_width_is_refused(fwhm):
    with pytest.raises(ValueError, match="seeing must be positive"):
        Seeing(fwhm)
