"""Drawn components against astropy's Sersic model and a numerical convolution."""

import numpy as np
import pytest
from astropy.modeling.models import Sersic2D
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import fftconvolve
from scipy.special import gamma, gammaincinv

from survey_classifier.synthetic.profiles import Seeing
from survey_classifier.synthetic.render import Components, draw

SCALE = 0.168
SEEING = Seeing(0.6)


def one(x=40.0, y=40.0, flux=1000.0, r_eff=0.0, n=1.0, q=1.0, angle=0.0):
    return Components(*(np.array([value]) for value in (x, y, flux, r_eff, n, q, angle)))


def drawn(components, shape=(81, 81), floor=1e-6):
    image = np.zeros(shape, dtype=np.float32)
    draw(image, components, SEEING, SCALE, floor)
    return image


def point_response(size, fine):
    """Return the seeing on a grid ``fine`` times finer than the pixels, of sum 1."""
    offset = (np.arange(size) - size // 2) * SCALE / fine
    r2 = offset**2 + offset[:, None] ** 2
    variance = SEEING.variance_arcsec2
    levels = SEEING.weight / (2 * np.pi * variance) * np.exp(-0.5 * r2[..., None] / variance)
    return levels.sum(axis=-1) * (SCALE / fine) ** 2


def convolved_sersic(x, y, flux, r_eff, n, q, angle, size=81, fine=5):
    """Return the model sampled ``fine`` times finer, convolved, at the pixel centers."""
    b = gammaincinv(2 * n, 0.5)
    total = 2 * np.pi * n * np.exp(b) * b ** (-2 * n) * gamma(2 * n) * q * r_eff**2
    model = Sersic2D(flux / total, r_eff, n, x * SCALE, y * SCALE, 1 - q, angle)
    position = (np.arange(size * fine) - fine // 2) / fine * SCALE
    sharp = model(*np.meshgrid(position, position)) * SCALE**2
    return fftconvolve(sharp, point_response(size * fine, fine), mode="same")[
        fine // 2 :: fine, fine // 2 :: fine
    ]


@pytest.mark.parametrize(
    "shape",
    [
        {"r_eff": 1.2, "n": 1.0, "q": 0.6, "angle": 0.5},
        {"r_eff": 0.6, "n": 0.8, "q": 0.3, "angle": 2.0},
        {"r_eff": 2.0, "n": 0.7, "q": 0.9, "angle": 0.0},
        {"r_eff": 1.0, "n": 2.0, "q": 0.7, "angle": -1.0},
    ],
)
def test_a_galaxy_is_the_convolved_sersic_profile(shape):
    image = drawn(one(x=40.3, y=39.6, **shape))
    expected = convolved_sersic(40.3, 39.6, 1000.0, **shape)
    assert np.abs(image - expected).max() < 0.02 * expected.max()
    aperture = np.hypot(*(np.indices(image.shape) - np.array([39.6, 40.3])[:, None, None])) < 18
    assert image[aperture].sum() == pytest.approx(expected[aperture].sum(), rel=0.01)


def test_a_point_is_the_seeing():
    expected = 1000 * point_response(81, 1)
    np.testing.assert_allclose(drawn(one()), expected, atol=1e-4 * expected.max())


@given(
    st.floats(0, 5), st.floats(0.6, 2.0), st.floats(0.2, 1.0), st.floats(0, 3.2),
    st.floats(-0.5, 0.5), st.floats(-0.5, 0.5),
)  # fmt: skip
def test_flux_and_place_are_kept(r_eff, n, q, angle, dx, dy):
    image = drawn(one(300 + dx, 300 + dy, 1000.0, r_eff, n, q, angle), (601, 601), 1e-7)
    assert image.sum() == pytest.approx(1000, rel=0.01)
    y, x = np.indices(image.shape)
    assert (image * x).sum() / image.sum() == pytest.approx(300 + dx, abs=0.05)
    assert (image * y).sum() / image.sum() == pytest.approx(300 + dy, abs=0.05)


def test_an_image_shows_its_part_of_what_sticks_out():
    shape = {"r_eff": 1.5, "q": 0.5, "angle": 0.7}
    large = drawn(one(60.2, 52.7, **shape), (120, 130))
    small = drawn(one(60.2 - 55, 52.7 - 50, **shape), (20, 30))
    np.testing.assert_allclose(small, large[50:70, 55:85], rtol=1e-4, atol=1e-6)


def test_what_is_outside_leaves_nothing():
    assert not drawn(one(x=-400.0)).any()


def test_components_add():
    both = Components(*(np.array(pair) for pair in zip(
        (30.0, 40.0, 500.0, 1.0, 1.0, 0.5, 1.0), (50.5, 42.0, 700.0, 0.0, 1.0, 1.0, 0.0),
        strict=True,
    )))  # fmt: skip
    separate = drawn(one(30.0, 40.0, 500.0, 1.0, 1.0, 0.5, 1.0)) + drawn(one(50.5, 42.0, 700.0))
    np.testing.assert_allclose(drawn(both), separate, rtol=1e-5)


def test_a_floor_changes_no_pixel_by_more_than_a_few_of_it():
    galaxy = one(r_eff=1.5, n=2.0, q=0.6, angle=0.4)
    assert np.abs(drawn(galaxy, floor=1e-3) - drawn(galaxy, floor=1e-8)).max() < 0.02


def test_components_of_unequal_length_are_refused():
    arrays = [np.zeros(2)] * 6 + [np.zeros(3)]
    with pytest.raises(ValueError, match="equal shapes"):
        Components(*arrays)
