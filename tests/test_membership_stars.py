"""Star evidence against Bayes' rule by counting, bounds, and the real stars of the field."""

import csv

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.integrate import quad
from scipy.special import expit, logit
from scipy.stats import norm

from survey_classifier.membership.stars import StarEvidence, StellarLocus, p_star

STARS = StarEvidence()
LOCUS = StellarLocus(
    g_r=(-0.2, 0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2),
    r_z=(-0.311, -0.101, 0.112, 0.199, 0.318, 0.446, 0.533, 0.649),
    star_scatter=0.10,
    galaxy_offset=0.24,
    galaxy_scatter=0.07,
    floor=0.3,
)


@given(st.lists(st.one_of(st.floats(-6, 6), st.just(np.nan)), min_size=1, max_size=4),
       st.floats(0.01, 0.99))  # fmt: skip
def test_p_star_is_bayes_rule_over_the_pieces_that_there_are(llrs, share):
    found = p_star([share], *[[llr] for llr in llrs])
    known = [np.exp(llr) for llr in llrs if not np.isnan(llr)]
    if not known:
        assert np.isnan(found[0])
        return
    star = share * np.prod(known)
    assert found[0] == pytest.approx(star / (star + 1 - share), rel=1e-9)


def test_point_likeness_is_a_ratio_of_chances_that_counting_confirms():
    rng = np.random.default_rng(1)
    n, r0, share = 400_000, 22.0, 0.6
    star = rng.random(n) < share
    small = STARS.pointlike_galaxies[STARS.magnitudes.index(r0)]
    # Two kinds of looks, of known density; l / (1 - l) is their ratio.
    looks_small = np.where(star, rng.random(n) >= STARS.extended_stars, rng.random(n) < small)
    seen = rng.normal(np.where(looks_small, 1.0, -1.0), 1.0)
    index = norm.pdf(seen, 1) / (norm.pdf(seen, 1) + norm.pdf(seen, -1))
    p = p_star(np.full(n, share), STARS.llr_point(index, np.full(n, r0)))
    for low, high in ((0.05, 0.2), (0.4, 0.6), (0.8, 0.9)):
        there = (p > low) & (p < high)
        assert there.sum() > 500
        assert star[there].mean() == pytest.approx(p[there].mean(), abs=0.02)


def test_evidence_is_bounded_rises_with_likeness_and_fades_with_magnitude():
    index = np.linspace(0, 1, 101)
    for r0 in (14, 19, 22, 30):
        llr = STARS.llr_point(index, np.full(101, r0))
        assert (np.diff(llr) > 0).all()
        assert np.isfinite(llr).all()
    points = STARS.llr_point(np.ones(60), np.linspace(14, 26, 60))
    assert (np.diff(points) <= 1e-12).all()
    assert points[-1] == pytest.approx(np.log(0.98 / 0.45))
    assert STARS.llr_point([0.5], [18.0]) == pytest.approx(0.0, abs=1e-12)
    np.testing.assert_array_equal(STARS.llr_point([1.0], [np.nan]), STARS.llr_point([1.0], [24.0]))
    assert np.isnan(STARS.llr_point([np.nan], [18.0]))[0]


def test_gaias_silence_counts_only_where_it_would_have_seen_a_star():
    llr = STARS.llr_gaia([1, 0, 0, 0, np.nan, 1], [18, 18, 21, np.nan, 18, 21])
    star, silent = np.log(0.95 / 0.02), np.log(0.05 / 0.98)
    np.testing.assert_allclose(llr, [star, silent, np.nan, np.nan, np.nan, star])


def test_color_densities_are_those_of_the_locus_and_beyond_it_nothing_is_said():
    for mean, scatter in ((0.0, LOCUS.star_scatter), (LOCUS.galaxy_offset, LOCUS.galaxy_scatter)):
        assert quad(lambda x, m=mean, s=scatter: norm.pdf(x, m, s), -3, 3)[0] == pytest.approx(1)
    at = np.linspace(-1.5, 1.5, 301)
    llr = LOCUS.llr(np.full(301, 0.4), 0.199 + at)
    expected = (norm.pdf(at, 0, 0.10) + 0.3) / (norm.pdf(at, 0.24, 0.07) + 0.3)
    np.testing.assert_allclose(llr, np.log(expected), atol=1e-12)
    assert np.abs(llr).max() < np.log(norm.pdf(0, 0, 0.07) / 0.3 + 1) + 0.1
    outside = LOCUS.llr([-0.5, 1.5, np.nan, 0.4], [0.2, 0.2, 0.2, np.nan])
    assert np.isnan(outside).all()


def test_real_stars_lie_on_the_locus_and_real_galaxies_do_not(real_data):
    with (real_data / "perseus" / "sdss_spectra_dev.csv").open() as file:
        rows = {row["objID"]: row for row in csv.DictReader(file)}.values()
    number = {key: np.array([float(row[f"{key}_mag"]) for row in rows]) for key in "grz"}
    ebv = np.array([(float(row["r_mag"]) - float(row["r0"])) / 2.285 for row in rows])
    kind = np.array([row["z_class"] for row in rows])
    g_r = number["g"] - number["r"] - (3.303 - 2.285) * ebv
    r_z = number["r"] - number["z"] - (2.285 - 1.263) * ebv
    p = p_star(np.full(len(ebv), 0.5), LOCUS.llr(g_r, r_z))
    known = np.isfinite(p)
    assert known.mean() > 0.8
    assert np.mean(p[known & (kind == "star")] > 0.5) > 0.7
    assert np.mean(p[known & (kind != "star")] < 0.5) > 0.93


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"magnitudes": (20.0, 18.0, 22.0, 24.0)}, "do not rise"),
        ({"magnitudes": (18.0,)}, "1 magnitudes and 4"),
        ({"extended_stars": 0.0}, "greater than 0"),
        ({"locus": {"g_r": (0.0, 1.0), "r_z": (0.0,), "star_scatter": 0.1,
                    "galaxy_offset": 0.2, "galaxy_scatter": 0.1}}, "at least 2"),
    ],
)  # fmt: skip
def test_numbers_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        StarEvidence(**changes)


def test_a_share_alone_is_no_evidence():
    assert np.isnan(p_star([0.9], [np.nan], [np.nan]))[0]
    assert expit(logit(0.9)) == pytest.approx(p_star([0.9], [0.0])[0])
