"""The caustic technique: simulated clusters of known members, invariances, and real spectra."""

import numpy as np
import pandas as pd
import pytest

from survey_classifier.errors import ConfigError
from survey_classifier.membership.caustic import (
    _STEEPEST,
    MIN_SPECTRA,
    _contour,
    _cross_validation,
    _density,
    _gentle,
    caustic,
)
from survey_classifier.membership.redshift import (
    SPEED_OF_LIGHT_KM_S,
    RedshiftCuts,
    velocity_offset_km_s,
)

PERSEUS = RedshiftCuts()
CENTER = (49.950667, 41.511696)
MPC_PER_DEG = np.radians(73.58)  # angular diameter distance of z = 0.01754, H0 = 70, Omega_m = 0.3
R200_MPC, V200_KM_S, CONCENTRATION = 2.2, 1531.0, 4.0


def nfw_mass(x):
    return np.log1p(x) - x / (1 + x)


def escape_km_s(x):
    """Escape speed of an NFW halo at x = r / r200."""
    c = CONCENTRATION
    return V200_KM_S * np.sqrt(2 * np.log1p(c * x) / (x * nfw_mass(c)))


def simulated(seed, n_member, n_field):
    """Members of an NFW halo out to 2 r200, none faster than escape, and a uniform field."""
    rng = np.random.default_rng(seed)
    grid = np.geomspace(1e-3, 2 * CONCENTRATION, 2000)
    shares = nfw_mass(grid) / nfw_mass(2 * CONCENTRATION)
    x = np.interp(rng.random(n_member), shares, grid) / CONCENTRATION
    radius = x * R200_MPC * np.sqrt(1 - rng.uniform(-1, 1, n_member) ** 2)
    tries = rng.normal(0, escape_km_s(x)[:, None, None] / 2.45, (n_member, 50, 3))
    bound = np.linalg.norm(tries, axis=2) < escape_km_s(x)[:, None]
    v = tries[np.arange(n_member), bound.argmax(axis=1), 0]
    sigma = v.std()
    radius = np.concatenate([radius, 2 * R200_MPC * np.sqrt(rng.random(n_field))])
    v = np.concatenate([v, rng.uniform(-4000, 4000, n_field)])
    ra, dec = placed(radius, rng.uniform(0, 2 * np.pi, len(radius)))
    z = PERSEUS.z_cluster + v * (1 + PERSEUS.z_cluster) / SPEED_OF_LIGHT_KM_S
    return ra, dec, z, np.arange(len(v)) < n_member, sigma


def placed(radius_mpc, angle):
    """Positions at true distances from the center, along great circles."""
    apart = np.radians(radius_mpc / MPC_PER_DEG)
    ra0, dec0 = np.radians(CENTER)
    dec = np.arcsin(np.sin(dec0) * np.cos(apart) + np.cos(dec0) * np.sin(apart) * np.cos(angle))
    ra = ra0 + np.arctan2(
        np.sin(angle) * np.sin(apart) * np.cos(dec0), np.cos(apart) - np.sin(dec0) * np.sin(dec)
    )
    return np.degrees(ra) % 360, np.degrees(dec)


def run(ra, dec, z, sigma=PERSEUS.sigma_km_s, **more):
    return caustic(ra, dec, z, CENTER, PERSEUS.z_cluster, sigma, **more)


@pytest.mark.parametrize("n_member", [100, 200])
def test_known_members_are_found_and_fewer_others_than_by_a_cut_in_velocity(n_member):
    figures = []
    for seed in range(4):
        ra, dec, z, truth, sigma = simulated(seed, n_member, n_member // 2)
        result = run(ra, dec, z, sigma)
        assert result.reason == ""
        assert result.n_used == len(z)
        inside = result.member == 1
        cut = np.abs(velocity_offset_km_s(z, PERSEUS)) < 3 * sigma
        figures.append([inside[truth].mean(), 1 - truth[inside].mean(), 1 - truth[cut].mean()])
    completeness, contamination, contamination_of_cut = np.mean(figures, axis=0)
    # Serra & Diaferio (2013) have 0.95 +- 0.03 on simulated clusters.
    assert completeness > 0.88
    assert contamination < 0.20
    assert contamination < 0.75 * contamination_of_cut


def test_the_amplitude_is_that_of_the_potential():
    """Along the line of sight it is the escape speed over sqrt(g), g = 3 for isotropic orbits."""
    ra, dec, z, _, sigma = simulated(1, 500, 100)
    result = run(ra, dec, z, sigma)
    at = np.array([0.3, 0.5, 1.0])
    amplitude = np.interp(at * R200_MPC, result.radius_mpc, result.amplitude_km_s)
    expected = escape_km_s(at) / np.sqrt(3)
    assert (np.abs(np.log(amplitude / expected)) < np.log(1.5)).all()
    inner, outer = np.interp([0.5, 4.0], result.radius_mpc, result.amplitude_km_s)
    assert outer < inner


def test_order_and_side_of_the_sky_do_not_matter():
    ra, dec, z, _, sigma = simulated(2, 80, 40)
    result = run(ra, dec, z, sigma)
    order = np.random.default_rng(0).permutation(len(ra))
    shuffled = run(ra[order], dec[order], z[order], sigma)
    np.testing.assert_allclose(shuffled.amplitude_km_s, result.amplitude_km_s, rtol=1e-6)
    np.testing.assert_array_equal(shuffled.member, result.member[order])
    mirrored = run(ra, dec, 2 * PERSEUS.z_cluster - z, sigma)
    np.testing.assert_allclose(mirrored.amplitude_km_s, result.amplitude_km_s, rtol=1e-6)
    np.testing.assert_array_equal(mirrored.member, result.member)


def test_stars_remote_and_unknown_objects_change_nothing():
    ra, dec, z, _, sigma = simulated(3, 80, 40)
    result = run(ra, dec, z, sigma)
    more_z = np.array([-0.01, 0.1, np.nan, PERSEUS.z_cluster, PERSEUS.z_cluster])
    more_ra = np.array([CENTER[0], CENTER[0], CENTER[0], np.nan, CENTER[0]])
    more_dec = np.array([CENTER[1], CENTER[1], CENTER[1], CENTER[1], -CENTER[1]])
    wider = run(*map(np.concatenate, ((ra, more_ra), (dec, more_dec), (z, more_z))), sigma)
    np.testing.assert_array_equal(wider.amplitude_km_s, result.amplitude_km_s)
    np.testing.assert_array_equal(wider.member[: len(z)], result.member)
    assert wider.member[len(z) :].tolist() == [0, 0, -1, -1, -1]
    assert wider.member.dtype == np.int16


def test_too_few_redshifts_leave_it_unknown_and_say_so():
    ra, dec, z, _, sigma = simulated(4, MIN_SPECTRA - 1, 0)
    result = run(np.append(ra, ra[0]), np.append(dec, dec[0]), np.append(z, 0.1), sigma)
    assert result.reason == "29 redshifts about the cluster: a caustic needs 30"
    assert result.member.tolist() == [-1] * 29 + [0]
    assert len(result.radius_mpc) == len(result.amplitude_km_s) == 0
    nothing = run(np.zeros(0), np.zeros(0), np.zeros(0))
    assert nothing.reason.startswith("0 redshifts")
    assert len(nothing.member) == 0


@pytest.mark.parametrize("v", [0.0, 3000.0])
def test_what_is_no_cluster_is_unknown(v):
    """All of one velocity: at the cluster's no contour is wide enough, beside it none is there."""
    ra, dec, z, _, _ = simulated(5, 40, 0)
    z = np.full(len(z), PERSEUS.z_cluster + v * (1 + PERSEUS.z_cluster) / SPEED_OF_LIGHT_KM_S)
    result = run(ra, dec, z)
    assert result.reason.startswith("no contour about v = 0")
    assert set(result.member.tolist()) == {-1}
    at_one_place = run(np.full(40, CENTER[0]), np.full(40, CENTER[1]), z)
    assert at_one_place.reason.startswith("no contour about v = 0")


@pytest.mark.parametrize("wrong", ["z_cluster", "sigma_km_s", "max_radius_mpc"])
def test_senseless_settings_are_refused(wrong):
    given = {"z_cluster": 0.02, "sigma_km_s": 1000.0, "max_radius_mpc": 5.0, wrong: -1.0}
    with pytest.raises(ConfigError, match=f"{wrong} is -1.0: give a number > 0"):
        caustic([], [], [], CENTER, **given)


def test_the_density_and_its_cross_validation_are_those_of_the_definition():
    rng = np.random.default_rng(6)
    n = 25
    x, y, width = rng.exponential(30, n), rng.normal(0, 30, n), rng.uniform(5, 40, n)

    def kernel(px, py, i):
        t = np.hypot(px - x[i], py - y[i]) / width[i]
        return 4 / np.pi * (1 - t**2) ** 3 / width[i] ** 2 if t < 1 else 0.0

    def f(px, py, leave=None):
        some = [i for i in range(n) if i != leave]
        return sum(kernel(px, py, i) + kernel(-px, py, i) for i in some) / len(some)

    points = np.column_stack([rng.uniform(0, 60, 20), rng.uniform(-60, 60, 20)])
    ours = _density(points, x, y, width)
    np.testing.assert_allclose(ours, [f(*point) for point in points], rtol=1e-9, atol=1e-15)
    along, across = np.linspace(0, 250, 500), np.linspace(-200, 200, 500)
    mesh = np.stack(np.meshgrid(along, across, indexing="ij"), axis=-1).reshape(-1, 2)
    fine = _density(mesh, x, y, width).reshape(500, 500)

    def integral(values):
        return np.trapezoid(np.trapezoid(values, across, axis=1), along)

    assert integral(fine) == pytest.approx(1, abs=1e-3)
    left_out = np.mean([f(x[i], y[i], leave=i) for i in range(n)])
    expected = integral(fine**2) - 2 * left_out
    assert _cross_validation(x, y, width) == pytest.approx(expected, rel=0.02)


def test_the_contour_is_the_nearer_crossing_and_interpolated():
    speeds = np.linspace(-10, 10, 21)
    tent = np.maximum(0, 8 - np.abs(speeds))
    cases = {
        "both sides alike": (tent, 6.5),
        "the nearer side": (np.where(speeds > 4, 0, tent), 4 + 2.5 / 4),
        "a hole beyond is not looked into": (np.where(np.abs(speeds) == 5, 0, tent), 4 + 2.5 / 4),
        "too low at v = 0": (np.where(speeds == 0, 1, tent), 0),
        "never below": (np.full(21, 5.0), 10),
    }
    found = _contour(np.array([row for row, _ in cases.values()]), 1.5, speeds)
    np.testing.assert_allclose(found, [expected for _, expected in cases.values()])


def test_steep_rises_are_replaced_and_nothing_follows_a_zero():
    grid = np.linspace(0, 4, 9)
    amplitude = np.array([5, 4, 3, 30, 3, 2, 0, 5, 1.0])
    gentle = _gentle(amplitude, grid)
    assert gentle[[0, 1, 2, 4, 5]].tolist() == [5, 4, 3, 3, 2]
    assert gentle[3] == pytest.approx(3 * 1.5**0.25)
    assert gentle[6:].tolist() == [0, 0, 0]
    steps = np.diff(np.log(gentle[1:6])) / np.diff(np.log(grid[1:6]))
    assert steps.max() <= _STEEPEST


def test_real_spectra_west_of_the_cluster(real_data):
    spectra = pd.read_csv(real_data / "perseus" / "sdss_spectra_dev.csv")
    objects = spectra.sort_values(["zWarning", "zErr"], kind="stable").drop_duplicates("objID")
    result = run(objects.ra, objects.dec, objects.z)
    assert result.reason == ""
    v = velocity_offset_km_s(objects.z, PERSEUS)
    inside = result.member == 1
    assert (np.isin(objects.z_class[inside], "cluster")).all()
    # 83 galaxies in the window; 13 are a group behind the cluster, at 2600 to 3900 km/s.
    assert 60 <= inside.sum() <= 72
    assert not inside[v > 2500].any()
    assert (inside & (np.abs(v) < 1500)).sum() >= 60
    assert 1500 < np.interp(0.75, result.radius_mpc, result.amplitude_km_s) < 2600
