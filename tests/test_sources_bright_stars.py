"""Halos of bright stars: their radii, and who lies in them."""

import time

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord

from survey_classifier.sources.bright_stars import (
    FAINTEST_MAG,
    halo_radius_arcsec,
    near_bright_star,
)


def test_golden_radii():
    radii = halo_radius_arcsec([7.0, 10.0, 13.0, 16.0])
    np.testing.assert_allclose(radii, [233.8, 59.5, 23.3, 13.1], atol=0.05)


@pytest.mark.parametrize("center", [(49.95, 41.51), (0.0, 0.0), (120.0, 89.9), (359.99, -89.95)])
def test_a_source_is_near_a_star_if_it_is_within_its_radius(center):
    rng = np.random.default_rng(1)

    def places(n):
        offset = SkyCoord(*center, unit="deg").directional_offset_by(
            rng.uniform(0, 360, n) * u.deg, 0.5 * np.sqrt(rng.random(n)) * u.deg
        )
        return offset.ra.deg, offset.dec.deg

    ra, dec = places(3000)
    star_ra, star_dec = places(300)
    star_mag = rng.uniform(6, 20, 300)
    sources, stars = (SkyCoord(*place, unit="deg") for place in ((ra, dec), (star_ra, star_dec)))
    separation = sources[:, None].separation(stars).arcsec
    within = (separation <= halo_radius_arcsec(star_mag)) & (star_mag <= FAINTEST_MAG)
    near = near_bright_star(ra, dec, star_ra, star_dec, star_mag)
    np.testing.assert_array_equal(near, within.any(axis=1))
    assert 100 < near.sum() < 2900


def test_what_is_unknown_is_near_nothing_and_hides_nothing():
    star = (np.array([10.0, np.nan, 10.0, 10.0]), np.array([0.0, 0.0, np.nan, 0.0]))
    mags = np.array([np.nan, 5.0, 5.0, -99.0])
    at_star = (np.array([10.0, np.nan, 10.0]), np.array([0.0, 0.0, np.nan]))
    assert not near_bright_star(*at_star, *star, mags).any()
    mags[0] = 17.5
    assert near_bright_star(*at_star, *star, mags).tolist() == [True, False, False]
    mags[0] = 17.51
    assert not near_bright_star(*at_star, *star, mags).any()


def test_no_source_and_no_star():
    nothing = np.empty(0)
    assert near_bright_star(nothing, nothing, np.zeros(1), np.zeros(1), np.zeros(1)).shape == (0,)
    assert not near_bright_star(np.zeros(2), np.zeros(2), nothing, nothing, nothing).any()


def test_a_million_sources_take_seconds():
    """Of a field of 3 square degrees with as many stars as in Perseus; halos cover a part of it."""
    rng = np.random.default_rng(2)
    ra, dec = rng.uniform(49, 51, 1_000_000), rng.uniform(40.5, 42.5, 1_000_000)
    mag = np.maximum(17.5 + np.log10(rng.random(20_000)) / 0.28, 7)
    stars = (rng.uniform(49, 51, mag.size), rng.uniform(40.5, 42.5, mag.size), mag)
    begin = time.perf_counter()
    share = near_bright_star(ra, dec, *stars).mean()
    assert time.perf_counter() - begin < 20
    assert 0.1 < share < 0.8
