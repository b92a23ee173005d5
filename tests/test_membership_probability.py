"""Probabilities against Bayes' rule by brute force, and the base rate against its likelihood."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from survey_classifier.errors import ConfigError, RunError
from survey_classifier.membership.probability import (
    MIN_PROBABILITY,
    expit,
    llr_image,
    logit,
    posterior,
)

inside = st.floats(1e-4, 1 - 1e-4)
llrs = st.floats(-5, 5)


def shift_prior(p, pi_field, pi_train):
    """Saerens et al. 2002, equation 4: the posterior under another prior, without logarithms."""
    w1, w0 = pi_field / pi_train, (1 - pi_field) / (1 - pi_train)
    return p * w1 / (p * w1 + (1 - p) * w0)


def test_the_published_prior_shift():
    assert round(float(posterior([llr_image(0.9, 0.5)], 0.058)), 4) == 0.3566


def test_logit_is_finite_at_certainty_and_symmetric():
    limit = np.log((1 - MIN_PROBABILITY) / MIN_PROBABILITY)
    np.testing.assert_allclose(logit([0, 1, 0.5, np.nan]), [-limit, limit, 0, np.nan])
    below_one = np.nextafter(np.float32(1), np.float32(0))
    np.testing.assert_allclose(logit(below_one), limit)


@given(st.floats(-16, 16))
def test_expit_undoes_logit(log_odds):
    assert logit(expit(log_odds)) == pytest.approx(log_odds, rel=1e-7, abs=1e-12)


def test_expit_does_not_overflow():
    np.testing.assert_array_equal(expit([-1e9, 1e9, np.nan]), [0, 1, np.nan])


@given(inside, inside, inside)
def test_image_evidence_with_a_prior_is_the_shifted_score(p, pi_train, prior):
    combined = posterior([llr_image([p], pi_train)], prior)
    np.testing.assert_allclose(combined, shift_prior(p, prior, pi_train), rtol=1e-9)


@given(st.lists(st.one_of(llrs, st.just(np.nan)), max_size=5), inside)
def test_the_posterior_is_bayes_rule_over_the_evidence_that_there_is(evidence, prior):
    ratio = np.prod([np.exp(llr) for llr in evidence if not np.isnan(llr)])
    expected = prior * ratio / (prior * ratio + (1 - prior))
    result = posterior([np.array([llr]) for llr in evidence], np.array([prior]))
    np.testing.assert_allclose(result, [expected], rtol=1e-9)


def test_an_unknown_prior_is_an_unknown_posterior():
    result = posterior([np.array([1.0, np.nan])], np.array([np.nan, 0.25]))
    np.testing.assert_allclose(result, [np.nan, 0.25])


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, np.inf])
def test_shares_of_nothing_or_everything_are_refused(share):
    for call in (
        lambda: llr_image(0.5, share),
        lambda: posterior([], share),
    ):
        with pytest.raises(ConfigError, match=r"is .*: give a share of members inside \(0, 1\)"):
            call()


def test_a_training_share_must_be_known():
    with pytest.raises(ConfigError, match="pi_train is nan"):
        llr_image(0.5, np.nan)


@pytest.mark.parametrize("p", [-1e-9, 1.0000001, np.inf])
def test_what_is_no_probability_is_refused(p):
    for call in (
        lambda: logit([0.5, p]),
        lambda: llr_image([p], 0.5),
    ):
        with pytest.raises(RunError, match=r"1 scores such as .* are no probabilities"):
            call()
