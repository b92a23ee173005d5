"""Color evidence: densities that integrate to one, and a ratio that is the true one."""

import pickle

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.integrate import quad
from scipy.stats import norm

from survey_classifier.errors import SourcesError
from survey_classifier.membership.color_evidence import ColorEvidence, fit_color_evidence
from survey_classifier.membership.color_fit import hat_weights

EDGES = np.arange(13.5, 23)


def other_mean(r0):
    """Other galaxies are redder to the faint."""
    return 0.5 + 0.08 * (r0 - 18)


def true_llr(delta, error, r0):
    member = 0.8 * norm.pdf(delta, 0, np.hypot(0.08, error))
    member += 0.2 * norm.pdf(delta, -0.3, np.hypot(0.25, error))
    other = 0.6 * norm.pdf(delta, other_mean(r0), np.hypot(0.3, error))
    other += 0.4 * norm.pdf(delta, -0.2, np.hypot(0.3, error))
    return np.log(member / other)


def draw(n, share=0.3, error=(0.01, 0.15), seed=1):
    rng = np.random.default_rng(seed)
    r0, err = rng.uniform(14, 22, n), rng.uniform(*error, n)
    is_member = rng.random(n) < share
    first = rng.random(n) < np.where(is_member, 0.8, 0.6)
    member = np.where(first, rng.normal(0, 0.08, n), rng.normal(-0.3, 0.25, n))
    other = np.where(first, rng.normal(other_mean(r0), 0.3), rng.normal(-0.2, 0.3, n))
    return np.where(is_member, member, other) + err * rng.normal(size=n), err, r0, is_member


@pytest.fixture(scope="module")
def evidence():
    return fit_color_evidence(*draw(20_000), EDGES)


def test_hats_are_linear_interpolation():
    nodes = np.array([14.0, 15.0, 17.0])
    values = np.array([1.0, 5.0, -3.0])
    mag = np.array([10, 14, 14.25, 15, 16, 17, 30.0])
    weights = np.array(hat_weights(mag, nodes))
    np.testing.assert_allclose(values @ weights, np.interp(mag, nodes, values))
    np.testing.assert_allclose(weights.sum(axis=0), 1)
    assert not np.array(hat_weights(np.array([np.nan]), nodes)).any()
    assert hat_weights(np.array([3.0, np.nan]), np.array([14.0]))[0].tolist() == [1, 0]


@pytest.mark.parametrize("name", ["member", "other"])
@pytest.mark.parametrize("error", [0.0, 0.1, 0.6])
@pytest.mark.parametrize("r0", [10.0, 14.0, 17.4, 22.0, 30.0])
def test_densities_integrate_to_one(evidence, name, error, r0):
    def density(delta):
        return evidence.density(name, np.array([delta]), error, r0)[0]

    total = quad(density, -40, 40, points=[-1, -0.3, 0, 0.3, 1], limit=400)[0]
    assert total == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("error", [0.0, 0.05, 0.12])
def test_the_ratio_is_the_true_one_where_objects_are(evidence, error):
    _, _, r0, is_member = draw(20_000, seed=2)
    rng = np.random.default_rng(3)
    delta = draw(20_000, seed=2, error=(0, 0))[0] + error * rng.normal(size=len(r0))
    found, true = evidence.llr(delta, error, r0), true_llr(delta, error, r0)
    assert np.median(np.abs(found - true)) < 0.15
    # What counts: the log-likelihood of the labels is lost by next to nothing.
    prior = np.log(0.3 / 0.7)

    def loss(llr):
        sign = np.where(is_member, -1, 1)
        return np.logaddexp(0, sign * (prior + llr)).mean()

    assert loss(true) < loss(found) < loss(true) + 0.005 < loss(0)


def test_a_larger_error_says_less(evidence):
    error = np.array([0.0, 0.05, 0.1, 0.2, 0.5, 2.0, 20.0])
    llr = evidence.llr(np.zeros(7), error, np.full(7, 18.0))
    assert (np.diff(llr) < 0).all()
    assert llr[0] > 1.5
    assert abs(llr[-1]) < 0.05


def test_evidence_is_bounded_and_fades_far_away(evidence):
    delta, r0 = np.meshgrid(np.linspace(-200, 200, 40_001), np.linspace(13, 24, 12))
    llr = evidence.llr(delta.ravel(), 0.0, r0.ravel())
    assert np.abs(llr).max() < 7
    far = np.abs(delta.ravel()) > 10
    np.testing.assert_allclose(llr[far], 0, atol=1e-6)


def test_it_is_smooth_in_magnitude(evidence):
    r0 = np.linspace(12, 25, 5001)
    llr = evidence.llr(np.zeros(5001), 0.03, r0)
    assert np.abs(np.diff(llr)).max() < 0.02
    assert llr[0] == llr[(r0 < 13.9).nonzero()[0][-1]]


def test_what_is_unknown_stays_unknown(evidence):
    llr = evidence.llr([np.nan, 0.1, 0.1, 0.1], [0.1, 0.1, np.nan, 0.0], [18, np.nan, 18, 18])
    np.testing.assert_array_equal(np.isnan(llr), [True, True, False, False])
    assert llr[2] == llr[3]
    assert evidence.llr(np.empty(0), np.empty(0), np.empty(0)).shape == (0,)


def test_few_objects_make_no_spike():
    delta, error, r0, is_member = draw(60, error=(0, 0), seed=4)
    few = fit_color_evidence(delta, error, r0, is_member, EDGES)
    grid = np.linspace(-1.5, 2, 351)
    for mag in (14.0, 17.5, 21.0):
        found = few.llr(grid, 0.0, np.full(351, mag))
        assert np.abs(found).max() < 6
        assert found[np.abs(grid) < 0.05].min() > 0 > found[np.abs(grid - 0.7) < 0.05].max()


def test_one_object_of_a_class_is_enough_and_none_is_refused():
    delta, error, r0, is_member = draw(200, seed=5)
    one = np.arange(200) == 7
    assert np.isfinite(fit_color_evidence(delta, error, r0, one, EDGES).llr([0], 0, [18])).all()
    with pytest.raises(SourcesError, match="no labeled object of a class"):
        fit_color_evidence(delta, error, r0, np.zeros(200, dtype=bool), EDGES)
    delta[is_member] = np.nan
    with pytest.raises(SourcesError, match="no labeled object of a class"):
        fit_color_evidence(delta, error, r0, is_member, EDGES)


def test_rows_without_a_color_change_nothing():
    delta, error, r0, is_member = draw(500, seed=6)
    plain = fit_color_evidence(delta, error, r0, is_member, EDGES)
    more = [np.append(delta, [np.nan, 3.0]), np.append(error, [0.1, 0.1]),
            np.append(r0, [18.0, np.nan]), np.append(is_member, [True, True])]  # fmt: skip
    assert fit_color_evidence(*more, EDGES) == plain


def test_a_table_gives_the_same_evidence(evidence):
    content = evidence.model_dump(mode="json")
    again = ColorEvidence.model_validate(content)
    assert again == evidence
    delta, error, r0, _ = draw(100)
    np.testing.assert_array_equal(again.llr(delta, error, r0), evidence.llr(delta, error, r0))
    copy = pickle.loads(pickle.dumps(evidence))  # noqa: S301
    np.testing.assert_array_equal(copy.llr(delta, error, r0), evidence.llr(delta, error, r0))


def spoiled(evidence, change):
    content = evidence.model_dump(mode="json")
    change(content)
    return content


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["member"]["weights"][0].__setitem__(0, 0.99), "sum to"),
        (lambda c: c["member"]["sigmas"][0].__setitem__(0, 0.0), "greater than 0"),
        (lambda c: c["other"]["means"][0].pop(), "differ in length"),
        (lambda c: c["magnitudes"].pop(), "give one for each"),
        (lambda c: c["magnitudes"].reverse(), "do not rise"),
        (lambda c: c.__setitem__("floor_share", 0), "floor_share"),
    ],
)
def test_an_impossible_table_is_refused(evidence, change, message):
    with pytest.raises(ValidationError, match=message):
        ColorEvidence.model_validate(spoiled(evidence, change))
