"""Claimed errors: whether they tell which probabilities are wrong, and no more than they do."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from survey_classifier.membership.claimed_errors import error_correlation, error_correlation_alike
from survey_classifier.training.evaluation import claims
from survey_classifier.training.evaluation.breakdown import Group
from survey_classifier.training.evaluation.claims import fifths, judge_claims
from survey_classifier.training.evaluation.judged import Judged
from survey_classifier.training.evaluation.resampling import Resampler
from survey_classifier.training.evaluation.scores import Claim
from survey_classifier.training.evaluation.truth import Truth


def honest(seed, n):
    """Probabilities that are right, most of them near 0, and truths drawn with them."""
    rng = np.random.default_rng(seed)
    p = rng.beta(0.15, 0.6, n)
    return rng, p, rng.random(n) < p


def judged(p, p_err, is_member):
    n = len(p)
    nothing = np.full(n, np.nan)
    truth = Truth(
        np.arange(n).astype(str).astype(object),
        np.zeros(n, dtype=int),
        *(np.zeros(n), np.zeros(n)),
        np.where(is_member, "cluster", "background").astype(object),
        np.ones(n, dtype=bool),
        *(nothing, nothing, nothing),
        np.full(n, "", dtype=object),
        {},
    )
    claims = {"p": Claim("p", p, p_err)}
    rest = (np.zeros(n, dtype=bool), {}, np.full(n, "judged", dtype=object), truth.object_id, {})
    nobody = truth.take(np.zeros(n, dtype=bool))
    return Judged(truth, {"p": p}, 1, claims, np.zeros(n), nobody, "folds", {}, {}, *rest)


def correlated(p, p_err, is_member, n_resamples=50):
    everyone = Group("set", "all", np.ones(len(p), dtype=bool))
    found = judge_claims(judged(p, p_err, is_member), [everyone], Resampler(len(p), 0, n_resamples))
    return found[0]


def alike(p):
    """The groups of like certainty, in a loop."""
    size = min(max(len(p) // 40, 5), 25)
    n_group = max(len(p) // size, 1)
    order = sorted(range(len(p)), key=lambda row: abs(p[row] - 0.5))
    group = np.empty(len(p), dtype=int)
    for place, row in enumerate(order):
        group[row] = place * n_group // len(p)
    return group


@given(st.integers(0, 10_000))
def test_a_resample_has_the_correlations_of_its_repeated_objects(seed):
    rng, p, is_member = honest(seed, 70)
    p = np.round(p, 2)  # with ties
    p_err = np.round(p * (1 - p) * rng.lognormal(0, 0.5, 70), 2)
    form = claims._Ranks.of(p, p_err, is_member)
    counts = rng.multinomial(70, np.full(70, 1 / 70), 4)
    plain, among = form.correlations(counts.astype(float))
    group = alike(p)
    for row, drawn in enumerate(counts):
        some = np.repeat(np.arange(70), drawn)
        ranks = [stats.rankdata(values) for values in (p_err[some], np.abs(p - is_member)[some])]
        assert plain[row] == pytest.approx(np.corrcoef(ranks)[0, 1])
        for rank in ranks:
            for number in np.unique(group[some]):
                inside = group[some] == number
                rank[inside] -= rank[inside].mean()
        assert among[row] == pytest.approx(np.corrcoef(ranks)[0, 1])


def test_the_plain_correlation_is_that_of_a_card():
    rng, p, is_member = honest(1, 400)
    p_err = p * (1 - p) * rng.lognormal(0, 1, 400)
    p_err[::7] = np.nan
    found = correlated(p, p_err, is_member)
    assert found.n == 400 - 58
    assert found.correlation.value == pytest.approx(error_correlation(p, p_err, is_member))
    alike = error_correlation_alike(p, p_err, is_member)
    assert found.correlation_alike.value == pytest.approx(alike)
    assert found.correlation.low < found.correlation.value < found.correlation.high
    known = np.isfinite(p_err)
    assert found.n_wrong == ((p >= 0.5) != is_member)[known].sum()


@pytest.mark.parametrize("n", [60, 250, 3000])
def test_an_error_that_p_alone_would_claim_tells_nothing_at_like_certainty(n):
    """It goes with the true errors all the same: that is what the second figure is for."""
    plain, among = [], []
    for seed in range(20):
        rng, p, is_member = honest(seed, n)
        found = correlated(p, np.sqrt(p * (1 - p)) * rng.lognormal(0, 0.4, n), is_member, 2)
        plain.append(found.correlation.value)
        among.append(found.correlation_alike.value)
    assert np.mean(plain) > 0.5
    assert abs(np.mean(among)) < 0.04 + 3 * np.std(among) / np.sqrt(20)


def test_an_error_that_knows_more_than_p_is_seen_at_like_certainty():
    rng, p, is_member = honest(3, 3000)
    is_wrong = (p >= 0.5) != is_member
    p_err = np.sqrt(p * (1 - p)) * rng.lognormal(0, 0.4, 3000) * np.where(is_wrong, 2, 1)
    assert correlated(p, p_err, is_member).correlation_alike.low > 0
    found = fifths(judged(p, p_err, is_member), Resampler(3000, 0, 50))
    among = [fifth for fifth in found if fifth.among == "alike"]
    assert [fifth.number for fifth in among] == [1, 2, 3, 4, 5]
    assert among[4].wrong.low > among[4].expected
    assert among[0].wrong.high < among[0].expected
    # Objects of like certainty would be wrong as often in each fifth.
    expected = [fifth.expected for fifth in among]
    assert max(expected) - min(expected) < 0.01


def test_fifths_are_equal_parts_in_the_order_of_the_claims():
    rng, p, is_member = honest(4, 503)
    p_err = rng.random(503)
    p_err[:3] = np.nan
    found = [f for f in fifths(judged(p, p_err, is_member), Resampler(503)) if f.among == "all"]
    assert [fifth.n for fifth in found] == [100] * 5
    known = np.sort(p_err[3:]).reshape(5, 100)
    assert [fifth.least_err for fifth in found] == known[:, 0].tolist()
    assert [fifth.largest_err for fifth in found] == known[:, -1].tolist()
    wrong = ((p >= 0.5) != is_member)[3:][np.argsort(p_err[3:])].reshape(5, 100).mean(axis=1)
    assert [fifth.wrong.value for fifth in found] == pytest.approx(wrong.tolist())
    unsure = np.minimum(p, 1 - p)[3:][np.argsort(p_err[3:])].reshape(5, 100).mean(axis=1)
    assert [fifth.expected for fifth in found] == pytest.approx(unsure.tolist())
    # The interval is that of a binomial, a little wider as the number drawn varies.
    half = 1.96 * np.sqrt(wrong * (1 - wrong) / 100)
    widths = np.array([fifth.wrong.high - fifth.wrong.low for fifth in found]) / 2
    np.testing.assert_allclose(widths, half, rtol=0.25)


def test_without_claims_nothing_is_said_and_of_equal_ones_no_correlation():
    _, p, is_member = honest(5, 50)
    none = replace(judged(p, p, is_member), claims={})
    everyone = Group("set", "all", np.ones(50, dtype=bool))
    assert judge_claims(none, [everyone], Resampler(50)) == []
    assert fifths(none, Resampler(50)) == []
    equal = correlated(p, np.full(50, 0.1), is_member)
    assert np.isnan([equal.correlation.value, equal.correlation_alike.value]).all()
