"""Fits of red sequences: simulated fields give their own line back, and fields without one none."""

import time

import numpy as np
import pandas as pd
import pytest

from survey_classifier.errors import SourcesError
from survey_classifier.membership.red_sequence import PERSEUS_GZ
from survey_classifier.membership.red_sequence_fit import fit_red_sequence

BANDS = ("g", "z", "r")
ZERO, SLOPE, SCATTER = 1.2, -0.05, 0.05


def field(n, share, seed, error=(0.01, 0.06)):
    """Return color, error, magnitude and truth: a line at 17.5, and two broad populations."""
    rng = np.random.default_rng(seed)
    mag, err = rng.uniform(15, 20, n), rng.uniform(*error, n)
    is_member = rng.random(n) < share
    line = ZERO + SLOPE * (mag - 17.5) + rng.normal(0, SCATTER, n)
    others = np.where(rng.random(n) < 0.5, rng.normal(0.8, 0.35, n), rng.normal(1.6, 0.45, n))
    return np.where(is_member, line, others) + err * rng.normal(size=n), err, mag, is_member


def pulls(fit):
    """Return how many errors zero, slope and scatter are from the truth."""
    line = fit.sequence.branches[0]
    return np.array([
        (fit.sequence.color(17.5) - ZERO) / np.hypot(fit.zero_err, 1e-4),
        (line.slope - SLOPE) / fit.slope_err,
        (fit.sequence.scatter - SCATTER) / fit.scatter_err,
    ])  # fmt: skip


@pytest.mark.parametrize(
    ("n", "share", "seed"), [(400, 0.6, 1), (1500, 0.3, 1), (1500, 0.3, 2), (5000, 0.1, 1)]
)
def test_the_line_is_recovered_within_its_errors(n, share, seed):
    color, err, mag, is_member = field(n, share, seed)
    fit = fit_red_sequence(color, err, mag, BANDS)
    assert fit.n_sequence == pytest.approx(is_member.sum(), rel=0.25)
    assert fit.p_sequence[is_member].mean() > 2 * fit.p_sequence[~is_member].mean()
    assert np.abs(pulls(fit)).max() < 3.5
    assert fit.zero_err < 0.02
    assert fit.slope_err < 0.012
    assert fit.scatter_err < 0.02


def test_errors_of_colors_are_taken_out_of_the_scatter():
    color, err, mag, _ = field(1500, 0.5, 3, error=(0.08, 0.1))
    known = fit_red_sequence(color, err, mag, BANDS)
    assert known.sequence.scatter == pytest.approx(SCATTER, abs=0.02)
    unknown = fit_red_sequence(color, np.full(len(color), np.nan), mag, BANDS)
    assert unknown.sequence.scatter == pytest.approx(np.hypot(SCATTER, 0.09), abs=0.02)


def test_a_share_that_falls_to_the_faint():
    rng = np.random.default_rng(4)
    n = 2000
    mag = 15 + 7 * rng.random(n) ** 0.4
    is_member = rng.random(n) < np.interp(mag, [15, 22], [0.8, 0.03])
    line = ZERO + SLOPE * (mag - 17.5) + rng.normal(0, SCATTER, n)
    color = np.where(is_member, line, rng.normal(1.2, 0.5, n))
    fit = fit_red_sequence(color, np.zeros(n), mag, BANDS)
    assert fit.n_sequence == pytest.approx(is_member.sum(), rel=0.2)
    assert np.abs(pulls(fit)).max() < 4


@pytest.mark.parametrize(("n", "seed"), [(300, 1), (1500, 2), (3000, 3)])
def test_a_field_without_a_sequence_has_none(n, seed):
    color, err, mag, _ = field(n, 0.0, seed)
    with pytest.raises(SourcesError, match="there is no red sequence in g - z and r of"):
        fit_red_sequence(color, err, mag, BANDS)


def test_what_is_unknown_or_outside_is_not_used():
    color, err, mag, _ = field(1500, 0.5, 5)
    inside = (mag >= 16) & (mag <= 19)
    color[:10], mag[10:20] = np.nan, np.nan
    fit = fit_red_sequence(color, err, mag, BANDS, (16, 19))
    used = inside & np.isfinite(color) & np.isfinite(mag)
    np.testing.assert_array_equal(np.isfinite(fit.p_sequence), used)
    assert fit.n_object == used.sum()
    low, high = fit.sequence.mag_range
    assert 16 <= low < 16.1
    assert 18.9 < high <= 19
    alone = fit_red_sequence(color[used], err[used], mag[used], BANDS)
    assert alone.sequence == fit.sequence


def test_wild_colors_do_not_move_it():
    color, err, mag, _ = field(1500, 0.4, 6)
    color[::50] = np.random.default_rng(6).uniform(-60, 60, len(color[::50]))
    assert np.abs(pulls(fit_red_sequence(color, err, mag, BANDS))).max() < 3.5


def test_too_few_objects_are_refused():
    color, err, mag, _ = field(29, 1.0, 7)
    with pytest.raises(SourcesError, match=r"29 objects have g - z and r .* 30 are needed"):
        fit_red_sequence(color, err, mag, BANDS)


def test_the_real_cluster_has_the_published_sequence(real_data):
    """Galaxies with a spectrum, and dwarfs in Suprime-Cam colors, as the faint branch is."""
    spectra = pd.read_csv(real_data / "perseus" / "sdss_spectra_dev.csv").drop_duplicates("objID")
    galaxies = spectra[spectra.z_class != "star"]
    unknown = np.full(len(galaxies), np.nan)
    photometry = (galaxies.g_z0.to_numpy(), unknown, galaxies.r0.to_numpy())
    bright = fit_red_sequence(*photometry, BANDS, (13, 17.5))
    assert float(bright.sequence.color(15.5)) == pytest.approx(1.373, abs=3 * bright.zero_err)
    assert bright.sequence.branches[0].slope == pytest.approx(-0.079, abs=2 * bright.slope_err)
    assert bright.sequence.scatter == pytest.approx(0.086, abs=0.03)
    dwarfs = pd.read_csv(real_data / "perseus" / "pcc_dev.csv").query("label == 1")
    color = (dwarfs.g_r_a + dwarfs.r_z_a).where(lambda c: c.abs() < 5).to_numpy()
    r0 = dwarfs.v_mag0.to_numpy() - 0.27
    faint = fit_red_sequence(color, np.full(len(color), np.nan), r0, BANDS)
    for mag in (18.0, 20.0):
        assert float(faint.sequence.color(mag)) == pytest.approx(
            float(PERSEUS_GZ.color(mag)), abs=0.06
        )
    assert faint.sequence.branches[0].slope == pytest.approx(-0.035, abs=0.015)


def test_a_large_table_takes_seconds_and_every_object_is_judged():
    color, err, mag, is_member = field(100_000, 0.2, 8)
    begin = time.perf_counter()
    fit = fit_red_sequence(color, err, mag, BANDS)
    assert time.perf_counter() - begin < 60
    assert np.isfinite(fit.p_sequence).all()
    assert fit.n_object == 100_000
    assert fit.n_sequence == pytest.approx(is_member.sum(), rel=0.1)
    assert np.abs(pulls(fit)).max() < 3.5
