"""Rounding keeps its bound whatever the pixels are, and the noise is that of the sky alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from survey_classifier.mosaic.pixels import MaskBit
from survey_classifier.mosaic.quantize import rounded, sky_noise

any_flux = hnp.arrays(np.float32, (7, 9), elements=st.floats(width=32))
noises = st.floats(1e-30, 1e30)


@given(any_flux, noises, st.integers(1, 64))
def test_no_value_moves_by_more_than_half_a_step(flux, noise, steps):
    near = rounded(flux, noise, steps)
    assert near.dtype == np.float32
    wild = ~np.isfinite(flux)
    np.testing.assert_array_equal(near[wild], flux[wild])
    moved = np.abs(near[~wild].astype(np.float64) - flux[~wild])
    assert (moved <= noise / (2 * steps)).all()


@given(any_flux, noises, st.integers(1, 64))
def test_rounding_twice_is_rounding_once(flux, noise, steps):
    once = rounded(flux, noise, steps)
    np.testing.assert_array_equal(rounded(once, noise, steps), once)


@given(st.floats(1e-6, 1e6), st.integers(1, 64))
def test_the_step_is_the_largest_power_of_two_that_is_allowed(noise, steps):
    flux = np.random.default_rng(1).normal(0, 100 * noise, 4000).astype(np.float32)
    step = 2.0 ** np.floor(np.log2(noise / steps))
    np.testing.assert_array_equal(rounded(flux, noise, steps), np.rint(flux / step) * step)


@pytest.mark.parametrize("noise", [np.nan, 0.0, -1.0, np.inf])
def test_nothing_is_rounded_where_the_noise_is_not_known(noise):
    flux = np.array([[1.2345, np.nan, np.inf]], dtype=np.float32)
    np.testing.assert_array_equal(rounded(flux, noise, 16), flux)


def noisy(sigma=3.0, side=1024, seed=5):
    rng = np.random.default_rng(seed)
    return rng.normal(0, sigma, (side, side)).astype(np.float32), np.zeros((side, side), np.uint8)


def test_sky_noise_of_noise():
    flux, mask = noisy()
    assert sky_noise(flux, mask) == pytest.approx(3, rel=0.01)
    assert sky_noise(flux * 1e-3, mask) == pytest.approx(3e-3, rel=0.01)


def test_sky_noise_heeds_neither_sources_nor_flaws_nor_slopes_nor_holes():
    flux, mask = noisy()
    y, x = np.mgrid[:1024, :1024]
    for row, col in np.random.default_rng(2).integers(0, 1024, (100, 2)):
        near = np.s_[max(row - 25, 0) : row + 26, max(col - 25, 0) : col + 26]
        flux[near] += 200 * np.exp(-((y[near] - row) ** 2 + (x[near] - col) ** 2) / 50)
    flux += (0.002 * x).astype(np.float32)
    flux[200:400, 300:700] = np.nan
    flux[:, 500] = 1e6
    mask[:, 500] = MaskBit.SATURATED
    flux[600:700] = np.random.default_rng(3).normal(0, 100, (100, 1024))
    mask[600:700] = MaskBit.BAD
    assert sky_noise(flux, mask) == pytest.approx(3, rel=0.03)


def test_sky_noise_of_an_image_on_pixels_of_a_third_is_that_of_a_pixel():
    """Neighbors are alike there, and their differences would tell a third of the truth."""
    coarse, _ = noisy(side=400)
    fine = np.repeat(np.repeat(coarse, 3, axis=0), 3, axis=1)
    mask = np.zeros(fine.shape, np.uint8)
    assert sky_noise(fine, mask) == pytest.approx(3, rel=0.02)


def test_sky_noise_is_not_told_by_too_few_pixels():
    flux, mask = noisy(side=64)
    flux[:, 3:] = np.nan
    assert np.isnan(sky_noise(flux, mask))
    assert np.isnan(sky_noise(flux[:, :2], mask[:, :2]))
    mask[:] = MaskBit.NO_DATA
    assert np.isnan(sky_noise(*noisy(side=64)[:1], mask))
    assert sky_noise(np.ones((64, 64), np.float32), np.zeros((64, 64), np.uint8)) == 0
