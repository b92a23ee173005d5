"""Prior tables against interpolation by scipy, published shares, and fields of known shares."""

import numpy as np
import pytest
import tomli_w
from pydantic import ValidationError
from scipy.interpolate import RegularGridInterpolator
from scipy.special import expit, logit

from survey_classifier.errors import ConfigError, RunError
from survey_classifier.membership.completeness import Completeness
from survey_classifier.membership.perseus import perseus_prior
from survey_classifier.membership.prior_estimation import (
    member_share,
    prior_from_field,
    prior_from_spectra,
)
from survey_classifier.membership.priors import PriorTable


def table(**changes):
    content = {
        "source": "made up",
        "magnitudes": (15.0, 18.0, 22.0),
        "marginal_share": (0.8, 0.3, 0.05),
        "radii_deg": (0.05, 0.2, 1.0),
        "share": ((0.9, 0.8, 0.6), (0.5, 0.3, 0.15), (0.1, 0.05, 0.02)),
        "star_share": (0.95, 0.9, 0.6),
        "overall": 0.1,
        "overall_star": 0.7,
    }
    return PriorTable(**(content | changes))


def test_between_nodes_log_odds_are_linear_in_magnitude_and_log_radius():
    prior = table()
    rng = np.random.default_rng(1)
    r0, radius = rng.uniform(13, 24, 500), 10 ** rng.uniform(-2, 0.7, 500)
    oracle = RegularGridInterpolator(
        (prior.magnitudes, np.log(prior.radii_deg)), logit(np.array(prior.share))
    )
    clamped = np.column_stack(
        [np.clip(r0, 15, 22), np.clip(np.log(radius), np.log(0.05), np.log(1))]
    )
    np.testing.assert_allclose(prior.at(r0, radius), expit(oracle(clamped)), rtol=1e-10)
    np.testing.assert_allclose(
        prior.marginal(r0), expit(np.interp(r0, prior.magnitudes, logit(prior.marginal_share)))
    )
    np.testing.assert_allclose(
        prior.stars(r0), expit(np.interp(r0, prior.magnitudes, logit(prior.star_share)))
    )


def test_nodes_are_met_exactly_and_ends_are_clamped_at_the_center_too():
    prior = table()
    assert prior.at([18.0], [0.2]) == pytest.approx(0.3)
    assert prior.at([9.0, 40.0], [0.0, 90.0]) == pytest.approx([0.9, 0.02])


def test_what_is_unknown_falls_back_to_what_is_known():
    prior = table()
    np.testing.assert_allclose(
        prior.at([18, np.nan, np.nan], [np.nan, 0.2, np.nan]), [0.3, 0.1, 0.1]
    )
    np.testing.assert_allclose(prior.stars([np.nan]), 0.7)
    assert prior.at([], []).shape == (0,)


def test_a_constant_knows_neither_magnitude_nor_radius():
    prior = PriorTable.constant(0.05)
    assert not prior.knows_magnitude
    for share in (prior.marginal([10, 20, np.nan]), prior.at([10, 20, np.nan], [0.1, np.nan, 3])):
        np.testing.assert_array_equal(share, 0.05)
    np.testing.assert_array_equal(prior.stars([15, np.nan]), 0.5)
    for share in (0.0, 1.0, np.nan, -1):
        with pytest.raises(ConfigError, match=r"the prior is .*inside \(0, 1\)"):
            PriorTable.constant(share)


def test_a_table_takes_the_profile_and_the_stars_of_another():
    own = PriorTable(source="own", magnitudes=(16.0, 21.0), marginal_share=(0.4, 0.02), overall=0.1)
    other = table()
    both = own.with_stars(other).with_profile(other)
    r0, radius = np.array([16.0, 21.0, 16.0]), np.array([0.05, 1.0, 0.2])
    np.testing.assert_allclose(both.marginal(r0), own.marginal(r0))
    np.testing.assert_allclose(both.stars(r0), other.stars(r0))
    shift = logit(other.at(r0, radius)) - logit(other.marginal(r0))
    np.testing.assert_allclose(logit(both.at(r0, radius)), logit(own.marginal(r0)) + shift)
    assert own.with_profile(PriorTable.constant(0.1)) == own


def test_completeness_counts_likely_stars_as_less_than_a_galaxy():
    cells = Completeness.of(
        [15.5] * 4, [0.1] * 4, [True, False, False, False], [15, 16], galaxy=[0.0, 1.0, 0.5, 0.1]
    )
    np.testing.assert_allclose(cells.n_all, [[2.6]])
    np.testing.assert_allclose(cells.share, [[1 / 2.6]])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"magnitudes": (15.0, 22.0, 18.0)}, "do not rise"),
        ({"marginal_share": (0.8, 0.3)}, "marginal_share has 2 rows for 3"),
        ({"share": ()}, "share has 0 rows for 3"),
        ({"share": ((0.9, 0.8), (0.5, 0.3), (0.1, 0.05))}, "needs 3 values"),
        ({"star_share": (0.5,)}, "star_share has 1 rows"),
        ({"overall": 1.0}, "less than 1"),
        ({"magnitudes": (15.0, float("nan"), 22.0)}, "finite"),
    ],
)
def test_tables_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        table(**changes)


def test_a_table_survives_its_file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(tomli_w.dumps(table().model_dump()))
    assert PriorTable.read(path) == table()
    assert PriorTable.read(str(path)) == table()
    path.write_text(path.read_text().replace("overall_star", "overal_star"))
    with pytest.raises(ConfigError, match=r"mine\.toml: .*did you mean 'overall_star'"):
        PriorTable.read(path)
    with pytest.raises(ConfigError, match=r"no prior 'persus'.*did you mean 'perseus'"):
        PriorTable.read("persus")


def test_the_shipped_table_is_that_of_its_maker():
    assert PriorTable.read("perseus") == perseus_prior()


def test_the_shipped_table_says_the_published_shares_and_profile():
    prior = PriorTable.read("perseus")
    v0 = np.arange(16.5, 24)
    published = [0.81, 0.57, 0.35, 0.25, 0.18, 0.10, 0.058, 0.028]
    np.testing.assert_allclose(prior.marginal(v0 - 0.27), published, atol=0.006)
    # With an even background, odds go with the members' density, at any magnitude.
    for r0 in (15.0, 18.0, 21.5):
        center, outskirts = prior.at([r0, r0], [2.5 / 60, 33 / 60])
        odds = center / (1 - center) / (outskirts / (1 - outskirts))
        assert odds == pytest.approx(914 / 350, rel=0.01)
    r0, radius = np.meshgrid(np.linspace(12, 25, 60), np.geomspace(0.01, 10, 50))
    share = prior.at(r0.ravel(), radius.ravel()).reshape(r0.shape)
    assert (np.diff(share, axis=0) <= 1e-12).all()
    assert (np.diff(share, axis=1) <= 1e-12).all()
    assert (np.diff(prior.stars(r0[0])) <= 1e-12).all()


def true_share(r0, radius):
    return expit(1.5 - 0.6 * (r0 - 16) - 0.8 * np.log(radius / 0.2))


def field(rng, n):
    """Galaxies whose spectra favor bright ones and the center."""
    r0 = 21 - rng.exponential(1.7, n).clip(0, 6)
    radius = 1.0 * np.sqrt(rng.uniform(0.001, 1, n))
    member = rng.random(n) < true_share(r0, radius)
    chance = expit(2 - 1.2 * (r0 - 17)) * np.where(radius < 0.3, 0.9, 0.3)
    return r0, radius, member, rng.random(n) < chance


def test_weighted_spectra_tell_the_shares_of_all():
    rng = np.random.default_rng(2)
    r0, radius, member, chosen = field(rng, 40_000)
    mag_edges, rings = np.arange(15, 21.1, 0.5), (0.0, 0.15, 0.3, 0.6, 1.0)
    cells = Completeness.of(r0, radius, chosen, mag_edges, rings)
    prior = prior_from_spectra(r0[chosen], radius[chosen], member[chosen], cells)
    shares = np.array(prior.marginal_share)
    truth = np.array([member[np.abs(r0 - mag) < 0.25].mean() for mag in prior.magnitudes])
    pulls = (logit(shares) - logit(truth)) / np.hypot(prior.marginal_err, 0.05)
    assert np.abs(pulls).max() < 3.5
    assert 0.3 < np.sqrt(np.mean(pulls**2)) < 1.6
    # Unweighted, the center is taken for the whole, and the shares are too high.
    naive = np.array(
        [member[chosen & (np.abs(r0 - mag) < 0.25)].mean() for mag in prior.magnitudes]
    )
    assert abs((logit(shares) - logit(truth)).mean()) < 0.08
    assert (logit(naive) - logit(truth)).mean() > 0.15
    assert prior.overall == pytest.approx(member.mean(), abs=0.02)
    for place in prior.radii_deg:
        near = np.abs(np.log(radius / place)) < 0.15
        expected = prior.at(r0[near], radius[near]).sum()
        assert expected == pytest.approx(member[near].sum(), rel=0.12)


def test_completeness_counts_as_by_hand_and_weights_are_its_inverse():
    r0 = np.array([15.2, 15.5, 15.9, 17.0, 17.5, 30.0, np.nan])
    radius = np.array([0.1, 0.1, 0.1, 0.5, 0.5, 0.1, 0.1])
    cells = Completeness.of(r0, radius, [1, 0, 0, 1, 1, 1, 1], [15, 16, 18], [0, 0.2, 1])
    np.testing.assert_array_equal(cells.n_all, [[3, 0], [0, 2]])
    np.testing.assert_allclose(cells.share, [[1 / 3, np.nan], [np.nan, 1]])
    assert (cells.share_err[[0, 1], [0, 1]] > 0).all()
    expected = [3, 3, 3, 1, 1, np.nan, np.nan]
    np.testing.assert_allclose(cells.weights(r0, radius), expected)
    with pytest.raises(ConfigError, match="that rise"):
        Completeness.of(r0, radius, r0 > 0, [16, 15])


def test_too_few_spectra_are_refused_in_a_line():
    cells = Completeness.of([15, 16], [0.1, 0.1], [True, True], [14, 17])
    with pytest.raises(RunError, match=r"2 galaxies with a spectrum .* or a prior"):
        prior_from_spectra([15, 16], [0.1, 0.1], [True, False], cells)


def gaussian_llr(rng, member, separation=2.0):
    """Evidence of a normal score whose mean differs by `separation`: exact likelihood ratios."""
    score = rng.normal(np.where(member, separation, 0.0), 1)
    return separation * score - separation**2 / 2


@pytest.mark.parametrize("share", [0.02, 0.2, 0.7])
def test_the_share_of_a_field_is_found_within_its_error(share):
    pulls = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        member = rng.random(4000) < share
        found = member_share(gaussian_llr(rng, member))
        pulls.append((logit(found.share) - logit(share)) / found.err)
    assert abs(np.mean(pulls)) < 1
    assert 0.5 < np.std(pulls) < 1.6


def test_the_share_is_where_saerens_iteration_rests():
    rng = np.random.default_rng(4)
    llr = gaussian_llr(rng, rng.random(2000) < 0.1)
    share = 0.5
    for _ in range(5000):
        share = expit(logit(share) + llr).mean()
    assert member_share(llr).share == pytest.approx(share, rel=1e-4)


def test_the_share_is_that_among_galaxies():
    rng = np.random.default_rng(5)
    n = 20_000
    star_chance = rng.choice([0.0, 0.9], n)
    star = rng.random(n) < star_chance
    member = ~star & (rng.random(n) < 0.3)
    llr = gaussian_llr(rng, member, 3.0)
    assert member_share(llr, 1 - star_chance).share == pytest.approx(0.3, abs=0.02)
    assert member_share(llr).share == pytest.approx(member.mean(), abs=0.02)


def test_a_field_without_members_or_evidence_does_not_crash():
    rng = np.random.default_rng(6)
    assert member_share(np.full(100, -5.0)).share == pytest.approx(1e-5)
    assert member_share(np.full(100, 5.0)).share == pytest.approx(1 - 1e-5)
    nothing = member_share(np.zeros(100))
    assert nothing.err == np.inf
    with pytest.raises(RunError, match="no source has evidence"):
        member_share(np.full(5, np.nan))
    llr = gaussian_llr(rng, rng.random(500) < 0.3)
    without = prior_from_field(llr, np.full(500, np.nan), [15, 20])
    assert not without.knows_magnitude
    assert without.overall == pytest.approx(0.3, abs=0.1)


def test_shares_by_magnitude_are_found_from_the_field():
    rng = np.random.default_rng(7)
    n = 60_000
    r0 = rng.uniform(15, 22, n)
    truth = expit(2 - 0.8 * (r0 - 15))
    llr = gaussian_llr(rng, rng.random(n) < truth)
    llr[rng.random(n) < 0.1] = np.nan
    prior = prior_from_field(llr, r0, np.arange(15, 22.1, 1))
    expected = expit(2 - 0.8 * (np.array(prior.magnitudes) - 15))
    pulls = (logit(prior.marginal_share) - logit(expected)) / np.hypot(prior.marginal_err, 0.05)
    assert np.abs(pulls).max() < 3.5


def test_an_estimate_holds_where_it_reaches_and_the_older_one_beyond():
    old = PriorTable.read("perseus")
    new = PriorTable(
        source="counted", magnitudes=(16.0, 17.0), marginal_share=(0.2, 0.3), overall=0.25
    )
    both = new.with_profile(old).beyond(old).with_stars(old)
    inside, outside = np.array([16.0, 17.0]), np.array([14.0, 14.9, 18.1, 20.0, 25.0])
    np.testing.assert_allclose(both.marginal(inside), [0.2, 0.3])
    np.testing.assert_allclose(both.marginal(outside), old.marginal(outside), rtol=1e-3)
    between = both.marginal([17.5])
    assert min(0.3, *old.marginal([18.0])) < between < max(0.3, *old.marginal([18.0]))
    radii = np.full(len(outside), 0.1)
    np.testing.assert_allclose(both.at(outside, radii), old.at(outside, radii), rtol=1e-3)
    assert "16.00 to 17.00" in both.source
    assert "counted" in both.source
    np.testing.assert_allclose(both.stars(outside), old.stars(outside), atol=0.02)


def test_an_assumed_share_keeps_clear_bins_off_all_and_nothing():
    clear = np.full(30, 12.0)
    alone, guided = member_share(clear), member_share(clear, assumed=0.9)
    assert alone.share > 0.9999
    assert 0.97 < guided.share < 0.9999
    none = member_share(-clear, assumed=0.05)
    # Two sources were assumed, a tenth of one a member.
    assert none.share == pytest.approx(0.1 / 32, rel=1e-3)
    many = np.concatenate([np.full(3000, 9.0), np.full(7000, -9.0)])
    assert member_share(many, assumed=0.9).share == pytest.approx(0.3, abs=0.01)
