"""Redshift classes and the velocity cut: golden values, half-open edges, real counts."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from survey_classifier.errors import ConfigError
from survey_classifier.membership.redshift import (
    SPEED_OF_LIGHT_KM_S,
    RedshiftCuts,
    ambiguous_lowz,
    dynamic_member,
    velocity_offset_km_s,
    z_class,
)
from survey_classifier.membership.redshift_evidence import (
    llr_redshift,
    member_log_density,
    other_log_density,
)
from survey_classifier.sources.redshifts import read_redshifts
from survey_classifier.sources.spectra import RedshiftColumns

PERSEUS = RedshiftCuts()


def test_windows_are_half_open():
    z = [-0.001, np.nextafter(0.01, 0), 0.01, np.nextafter(0.033, 0), 0.033, 3.0, np.nan]
    expected = ["star", "star", "cluster", "cluster", "background", "background", ""]
    assert z_class(z, PERSEUS).tolist() == expected


def test_the_windows_in_velocity_are_the_published_ones():
    cz = SPEED_OF_LIGHT_KM_S * np.array([PERSEUS.star_max_z, PERSEUS.cluster_max_z])
    assert np.round(cz).tolist() == [2998, 9893]


def test_a_galaxy_just_below_the_window_is_a_star_by_class_and_a_member_by_velocity():
    assert z_class([0.0099], PERSEUS).tolist() == ["star"]
    assert dynamic_member([0.0099], PERSEUS).tolist() == [1]


def test_the_velocity_cut_is_symmetric_and_strict():
    z_edge = PERSEUS.z_cluster + 3 * 1040 / SPEED_OF_LIGHT_KM_S * (1 + PERSEUS.z_cluster)
    mirrored = 2 * PERSEUS.z_cluster - z_edge
    inside, outside = 1e-9, -1e-9
    z = [z_edge - inside, z_edge - outside, mirrored + inside, mirrored + outside, np.nan]
    member = dynamic_member(z, PERSEUS)
    assert member.tolist() == [1, 0, 1, 0, -1]
    assert member.dtype == np.int16
    np.testing.assert_allclose(velocity_offset_km_s([z_edge, mirrored], PERSEUS), [3120, -3120])
    assert velocity_offset_km_s([PERSEUS.z_cluster], PERSEUS).tolist() == [0]


@pytest.mark.parametrize(
    "wrong",
    [
        {"star_max_z": 0.05},
        {"star_max_z": -0.01},
        {"z_cluster": 0.04},
        {"z_cluster": np.nan},
        {"cluster_max_z": 0.01},
        {"cluster_max_z": np.inf},
        {"sigma_km_s": 0.0},
        {"n_sigma": np.nan},
    ],
)
def test_impossible_cuts_cannot_be_built(wrong):
    with pytest.raises(ConfigError, match=f"{next(iter(wrong))}.*give"):
        RedshiftCuts(**wrong)


def test_real_objects_fall_in_the_classes_of_their_table(real_data):
    spectra = pd.read_csv(real_data / "perseus" / "sdss_spectra_dev.csv")
    assert (z_class(spectra.z.to_numpy(), PERSEUS) == spectra.z_class).all()
    objects = spectra.drop_duplicates("objID")
    names, counts = np.unique(z_class(objects.z.to_numpy(), PERSEUS), return_counts=True)
    assert dict(zip(names, counts, strict=True)) == {"star": 84, "cluster": 83, "background": 65}
    assert (dynamic_member(objects.z.to_numpy(), PERSEUS) == 1).sum() == 79


def test_the_classes_of_the_real_objects_follow_from_the_table_alone(real_data):
    """Counted without any code of the package, spectra sorted by pandas."""
    spectra = pd.read_csv(real_data / "perseus" / "sdss_spectra_dev.csv")
    objects = spectra.sort_values(["zWarning", "zErr"], kind="stable").drop_duplicates("objID")
    counts = ((objects.z < 0.01).sum(), objects.z.between(0.01, 0.033, inclusive="left").sum())
    assert (*counts, (objects.z >= 0.033).sum()) == (84, 83, 65)
    columns = RedshiftColumns(id="objID", z_err="zErr", z_warning="zWarning", spec_class="class")
    table = read_redshifts(real_data / "perseus" / "sdss_spectra_dev.csv", columns)
    names, ours = np.unique(z_class(table.z, PERSEUS), return_counts=True)
    assert dict(zip(names, ours, strict=True)) == {"star": 84, "cluster": 83, "background": 65}
    # West of the cluster no galaxy lies below the window.
    assert not ambiguous_lowz(table.z, table.spec_class, PERSEUS).any()
    evidence = llr_redshift(table.z, table.z_err, table.z_warning, PERSEUS)
    member = dynamic_member(table.z, PERSEUS) == 1
    assert (evidence[np.abs(velocity_offset_km_s(table.z, PERSEUS)) < 2000] > 0).all()
    assert (evidence[~member & (z_class(table.z, PERSEUS) != "cluster")] < -0.6).all()


def test_galaxies_and_what_is_too_fast_for_a_star_are_ambiguous_at_low_z():
    z = [0.0099, 0.0099, 0.0099, 0.0099, 0.01, -0.001, 0.0034, 0.0033, np.nan, 0.0001, 0.0099]
    names = ["GALAXY", "Galaxy", "STAR", "", "GALAXY", "GALAXY", "", "", "GALAXY", "", "QSO"]
    expected = [True, True, False, True, False, True, True, False, False, False, False]
    found = ambiguous_lowz(z, np.array(names, dtype=object), PERSEUS)
    assert found.tolist() == expected
    assert found.dtype == np.bool_
    assert len(ambiguous_lowz([], np.array([], dtype=object), PERSEUS)) == 0


@pytest.mark.parametrize("z_err", [1e-5, 1e-3, 0.05, np.nan])
def test_both_densities_integrate_to_one(z_err):
    # Fine steps where the stars are, coarse ones in the tail.
    core, tail = np.linspace(-0.3, 0.3, 600_001), np.linspace(0.3, 8, 200_001)
    z = np.concatenate([core, tail[1:]])
    error = np.full(len(z), z_err)
    others = [other_log_density(z, error, share) for share in (0.5, 0.0, 0.93, 1.0)]
    for density in (member_log_density(z, error, PERSEUS), *others):
        assert np.trapezoid(np.exp(density), z) == pytest.approx(1, abs=1e-5)


def test_the_density_of_others_is_that_of_what_is_drawn():
    """Stars and galaxies with their errors, drawn one by one, against the closed form."""
    rng = np.random.default_rng(3)
    n, z_err = 400_000, 0.01
    galaxy = np.where(
        rng.random(n) < 0.1 / 0.101, rng.exponential(0.1, n), -rng.exponential(0.001, n)
    )
    drawn = np.where(rng.random(n) < 0.5, rng.normal(0, 0.0005, n), galaxy)
    drawn += rng.normal(0, z_err, n)
    edges = np.linspace(-0.03, 0.3, 34)
    counts, _ = np.histogram(drawn, edges)
    fine = np.linspace(edges[:-1], edges[1:], 101)
    density = np.exp(other_log_density(fine, np.full(fine.shape, z_err)))
    expected = n * np.trapezoid(density, fine, axis=0)
    pulls = (counts - expected) / np.sqrt(expected)
    assert np.abs(pulls).max() < 4.5
    assert stats.chi2(len(pulls)).sf(np.square(pulls).sum()) > 0.001


def test_the_evidence_falls_with_the_distance_in_velocity():
    dv = np.arange(30.0, 12_000.0, 30.0)
    for side in (1, -1):
        z = PERSEUS.z_cluster + side * dv * (1 + PERSEUS.z_cluster) / SPEED_OF_LIGHT_KM_S
        evidence = llr_redshift(z, np.full(len(z), 1e-5), np.zeros(len(z)), PERSEUS)
        near = dv < 5000  # further off it has come to its bound
        assert (np.diff(evidence[near]) < 0).all()
        assert (np.diff(evidence) < 1e-3).all()  # on the far side of the stars
        assert evidence[0] > 3
        assert evidence[dv > 5000].max() < -4.5


@given(
    st.floats(-0.9, 19.9),
    st.one_of(st.floats(1e-7, 0.2), st.sampled_from([np.nan, 0.0, -1.0, np.inf])),
    st.sampled_from([0, 4, 16, -1]),
)
def test_the_evidence_is_finite_and_bounded_by_the_failure_rate(z, z_err, warning):
    evidence = float(llr_redshift([z], [z_err], [warning], PERSEUS)[0])
    eps = {0: 0.01, -1: 0.05}.get(warning, 0.5)
    assert np.log(eps) - 1e-12 <= evidence < 4


def test_a_star_a_warning_and_no_redshift():
    z = [0.0001, 0.0001, 0.0001, PERSEUS.z_cluster, PERSEUS.z_cluster, np.nan]
    warning = [0, -1, 16, 0, 16, 0]
    evidence = llr_redshift(z, np.full(6, 1e-5), warning, PERSEUS)
    np.testing.assert_allclose(evidence[:3], np.log([0.01, 0.05, 0.5]), atol=1e-3)
    assert evidence[3] > evidence[4] > 2
    assert np.isnan(evidence[5])
    assert evidence.dtype == np.float64
    assert len(llr_redshift([], [], [], PERSEUS)) == 0


def test_another_cluster_has_its_own_evidence():
    coma = RedshiftCuts(z_cluster=0.0231, sigma_km_s=1000.0)
    at_coma = llr_redshift([0.0231], [1e-5], [0], coma)
    assert at_coma > 3
    assert llr_redshift([0.0231], [1e-5], [0], PERSEUS) < at_coma - 0.5


def test_evidence_is_right_on_a_sample_drawn_from_the_two_densities():
    """Objects with evidence about x are members as often as x says, failures included."""
    rng = np.random.default_rng(5)
    n, share = 300_000, 0.3
    member = rng.random(n) < share
    background = rng.exponential(0.1, n)
    other = np.where(rng.random(n) < 0.5, rng.normal(0, 0.0005, n), background)
    sigma = PERSEUS.sigma_km_s * (1 + PERSEUS.z_cluster) / SPEED_OF_LIGHT_KM_S
    true = np.where(member, rng.normal(PERSEUS.z_cluster, sigma, n), other)
    wrong = member & (rng.random(n) < 0.01)
    measured = np.where(wrong, other, true)
    evidence = llr_redshift(measured, np.full(n, 1e-5), np.zeros(n), PERSEUS)
    odds = np.log(share / (1 - share))
    said = 1 / (1 + np.exp(-(odds + evidence)))
    for low in np.arange(0, 1, 0.1):
        here = (said >= low) & (said < low + 0.1)
        scatter = np.sqrt(np.sum(said[here] * (1 - said[here]))) + 1
        # The galaxies that approach are left out of the sample: 1 % of the galaxies.
        assert abs(member[here].sum() - said[here].sum()) < 4 * scatter + 0.01 * here.sum()


@given(st.floats(-0.9, 19.9), st.sampled_from([0, 16, -1]), st.floats(0, 1))
def test_a_known_share_of_stars_shifts_the_evidence_within_bounds(z, warning, share):
    eps = {0: 0.01, -1: 0.05}.get(warning, 0.5)
    shifted = llr_redshift([z], [1e-5], [warning], PERSEUS, [share])[0]
    shift = shifted - llr_redshift([z], [1e-5], [warning], PERSEUS)[0]
    # The density of others is at most doubled, and the wrong redshifts keep it from vanishing.
    assert -np.log(2) - 1e-9 <= shift <= np.log(1 / eps) + 1e-9
    half = llr_redshift([z], [1e-5], [warning], PERSEUS, 0.5)[0]
    assert half == llr_redshift([z], [1e-5], [warning], PERSEUS)[0]


def test_what_must_be_a_star_by_its_looks_is_not_one_at_the_clusters_redshift():
    at_cluster = np.full(3, PERSEUS.z_cluster)
    evidence = llr_redshift(at_cluster, np.full(3, 1e-5), np.zeros(3), PERSEUS, [0, 0.5, 1])
    assert (np.diff(evidence) > 0.5).all()
    at_zero = llr_redshift(np.zeros(3), np.full(3, 1e-5), np.zeros(3), PERSEUS, [0, 0.5, 1])
    assert (np.diff(at_zero) < 0).all()
