"""Who is drawn: counts, colors, sizes and shares against the figures they were taken from."""

import numpy as np
import pytest

from survey_classifier.membership.red_sequence import PERSEUS_GZ
from survey_classifier.synthetic.background import draw_background, draw_faint_galaxies
from survey_classifier.synthetic.colors import galaxy_colors, member_colors, star_colors, v_minus_r
from survey_classifier.synthetic.members import draw_brightest, draw_members
from survey_classifier.synthetic.population import Population, bounded_index
from survey_classifier.synthetic.profiles import MAX_INDEX, MIN_INDEX
from survey_classifier.synthetic.stars import draw_bright_star, draw_faint_stars, draw_stars
from survey_classifier.synthetic.structure import build_structure


def rng(seed=0):
    return np.random.default_rng(seed)


def g_z(population):
    return population.mag0[:, 0] - population.mag0[:, 3]


def v_mag(population):
    g_r = population.mag0[:, 0] - population.mag0[:, 1]
    return population.mag0[:, 1] + v_minus_r(g_r)


def test_members_follow_the_counts_per_magnitude():
    members = draw_members(rng(), 30000)
    counts, _ = np.histogram(members.mag0[:, 1] + 0.27, np.arange(14, 24))
    expected = np.array([17, 30, 71, 101, 118, 193, 301, 328, 365]) / 1524
    np.testing.assert_allclose(counts / 30000, expected, atol=0.01)


def test_most_members_lie_on_the_red_sequence_and_some_are_blue():
    members = draw_members(rng(), 30000)
    delta = g_z(members) - PERSEUS_GZ.color(members.mag0[:, 1])
    blue = delta < -0.25
    assert 0.10 < blue.mean() < 0.20
    assert np.median(delta[~blue]) == pytest.approx(0, abs=0.01)
    assert 0.06 < delta[~blue].std() < 0.09


def test_members_have_the_sizes_and_the_share_of_diffuse_dwarfs_of_perseus():
    members = draw_members(rng(), 30000)
    circular = members.r_eff_arcsec * np.sqrt(members.axis_ratio)
    absolute = v_mag(members) - 34.29
    dwarf = np.abs(absolute + 15) < 0.5
    assert np.median(circular[dwarf]) * 0.349 == pytest.approx(10**-0.055, rel=0.15)
    mu_e = v_mag(members) + 2.5 * np.log10(2 * np.pi * circular**2)
    assert 0.05 < ((circular >= 4.3) & (mu_e >= 24)).mean() < 0.09


def test_redshifts_are_the_clusters():
    members = draw_members(rng(), 30000)
    assert members.redshift.mean() == pytest.approx(0.01754, abs=2e-4)
    sigma_km_s = members.redshift.std() * 299792.458 / 1.01754
    assert sigma_km_s == pytest.approx(1040, rel=0.02)


@pytest.mark.parametrize(
    ("v", "g_z_range", "r_eff_arcsec"),
    [(18.5, (0.86, 1.55, 1.83), 1.86), (20.5, (0.99, 1.73, 2.40), 0.99),
     (22.5, (1.06, 1.59, 2.48), 0.65)],
)  # fmt: skip
def test_background_has_the_colors_and_sizes_of_the_field(v, g_z_range, r_eff_arcsec):
    galaxies = draw_background(rng(), 60000)
    here = np.abs(v_mag(galaxies) - v) < 0.5
    percentiles = np.percentile(g_z(galaxies)[here], [16, 50, 84])
    np.testing.assert_allclose(percentiles, g_z_range, atol=0.3)
    circular = (galaxies.r_eff_arcsec * np.sqrt(galaxies.axis_ratio))[here]
    assert np.median(circular) == pytest.approx(r_eff_arcsec, rel=0.25)


def test_background_counts_rise_as_the_table_says():
    counts, _ = np.histogram(v_mag(draw_background(rng(), 60000)), np.arange(18, 25))
    expected = np.array([217, 562, 1343, 2828, 5866, 11732])
    np.testing.assert_allclose(counts / counts[-1], expected / expected[-1], atol=0.03)


def test_background_lies_behind_the_gap():
    assert draw_background(rng(), 20000).redshift.min() >= 0.034


def test_stars_follow_the_cumulative_counts():
    r0 = draw_stars(rng(), 30000).mag0[:, 1]
    within = [(r0 < limit).mean() for limit in (16, 18, 20)]
    np.testing.assert_allclose(within, [3.2 / 31, 8.1 / 31, 16.7 / 31], atol=0.02)


def test_the_faint_sky_has_its_natural_density_and_lies_below_the_list():
    area_deg2 = 0.04
    galaxies, stars = draw_faint_galaxies(rng(), area_deg2), draw_faint_stars(rng(), area_deg2)
    expected = 46 * 3600 * (10 ** (0.31 * 0.2) - 10 ** (-0.31 * 1.8)) * area_deg2
    assert len(galaxies) == pytest.approx(expected, abs=5 * expected**0.5)
    assert len(stars) == pytest.approx(22e3 * area_deg2, abs=5 * (22e3 * area_deg2) ** 0.5)
    assert v_mag(galaxies).min() > 23.99
    assert stars.mag0[:, 1].min() >= 22


@pytest.mark.parametrize("draw", [draw_members, draw_background, draw_stars])
def test_draws_are_finite_and_drawable_and_repeat(draw):
    first, again, other = draw(rng(3), 5000), draw(rng(3), 5000), draw(rng(4), 5000)
    np.testing.assert_array_equal(first.mag0, again.mag0)
    assert not np.array_equal(first.mag0, other.mag0)
    assert np.isfinite(first.mag0).all()
    assert ((first.sersic_n >= MIN_INDEX) & (first.sersic_n <= MAX_INDEX)).all()
    assert ((first.axis_ratio > 0) & (first.axis_ratio <= 1)).all()


def test_no_indices_pile_up_at_the_bounds():
    index = bounded_index(rng().normal(-0.1, 0.3, 20000))
    counts, _ = np.histogram(np.log10(index), np.linspace(np.log10(MIN_INDEX), 0.6, 20))
    assert counts[0] < 1.2 * counts[1]


def test_the_brightest_keep_surface_brightness_and_masked_share_in_a_smaller_field():
    large, small = draw_brightest(4096), draw_brightest(1024)
    assert small.mag0[0, 1] - large.mag0[0, 1] == pytest.approx(5 * np.log10(4))
    assert large.r_eff_arcsec[0] / small.r_eff_arcsec[0] == pytest.approx(4)
    assert draw_bright_star(rng(), 4096).mag0[0, 1] == pytest.approx(9)


def test_colors_of_known_types():
    zero = np.zeros((1, 3))
    elliptical = galaxy_colors(np.array([2.0]), np.array([0.2]), zero)[0]
    np.testing.assert_allclose(elliptical, [1.30, 0, -0.48, -0.80])
    between = galaxy_colors(np.array([0.5]), np.array([0.0]), zero)[0]
    np.testing.assert_allclose(between, [0.415, 0, -0.18, -0.28])
    turn_off = star_colors(np.array([0.6]), np.zeros((1, 2)))[0]
    np.testing.assert_allclose(turn_off, [0.44, 0, -0.16, -0.21])
    member = member_colors(np.array([15.5]), np.zeros(1), np.zeros((1, 2)))[0]
    np.testing.assert_allclose(member, [0.747, 0, -0.356, -0.626], atol=0.001)


def test_structure_shares_all_flux_and_none_is_negative():
    people = Population.join([draw_members(rng(1), 3000), draw_background(rng(2), 3000)])
    x_px, y_px = rng(3).uniform(0, 4096, (2, 6000))
    structure = build_structure(rng(4), people, x_px, y_px, 0.168)
    total = np.zeros((6000, 4))
    np.add.at(total, structure.owner, structure.share)
    np.testing.assert_allclose(total, 1, rtol=1e-12)
    assert (structure.share >= 0).all()


def test_a_bulge_reddens_the_center_and_knots_are_blue_and_inside():
    people = draw_background(rng(2), 500)
    structure = build_structure(rng(4), people, np.zeros(500), np.zeros(500), 0.168)
    extra = np.arange(len(structure.owner)) >= 500
    off_center = np.hypot(structure.x_px, structure.y_px) > 0
    color = structure.share[:, 0] / np.where(structure.share[:, 3] > 0, structure.share[:, 3], 1)
    assert (color[extra & ~off_center] < 1).all()
    assert (color[off_center] > 1).all()
    reach = 1.8 * people.r_eff_arcsec[structure.owner] / 0.168 + 1e-9
    assert (np.hypot(structure.x_px, structure.y_px) <= reach).all()


def test_a_ragged_population_is_refused():
    stars = draw_stars(rng(), 3)
    columns = {name: getattr(stars, name) for name in Population.__slots__}
    with pytest.raises(ValueError, match="one length"):
        Population(**(columns | {"redshift": np.zeros(2)}))
