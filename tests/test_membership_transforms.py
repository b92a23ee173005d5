"""Transforms between photometric systems: there and back, and what can't be known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from survey_classifier.errors import ConfigError
from survey_classifier.membership.red_sequence import RED_SEQUENCES
from survey_classifier.membership.transforms import euclid_vis, sdss_to_hsc, to_sdss

MAGS = st.floats(10, 28)
GALAXY = {"g": 20.0, "r": 19.2, "i": 18.8, "z": 18.5}


@given(st.tuples(MAGS, MAGS, MAGS, MAGS))
def test_to_hsc_and_back_is_the_identity(mags):
    sdss = {band: np.array([mag]) for band, mag in zip("griz", mags, strict=True)}
    back = to_sdss(sdss_to_hsc(sdss), "hsc")
    assert sorted(back) == ["g", "i", "r", "z"]
    for band, mag in sdss.items():
        np.testing.assert_allclose(back[band], mag, atol=1e-10)


@given(st.tuples(MAGS, MAGS, MAGS, MAGS))
def test_to_sdss_and_back_is_the_identity(mags):
    hsc = {band: np.array([mag]) for band, mag in zip("griz", mags, strict=True)}
    there = sdss_to_hsc(to_sdss(hsc, "hsc"))
    for band, mag in hsc.items():
        np.testing.assert_allclose(there[band], mag, atol=1e-10)


def test_the_published_terms():
    hsc = sdss_to_hsc(GALAXY)
    expected = {
        "g": 20.0 - 0.080 * 0.8,
        "r": 19.2 + 0.021 - 0.083 * 0.4,
        "i": 18.8 + 0.005 - 0.214 * 0.3,
        "z": 18.5 + 0.005 - 0.015 * 0.3,
        "y": 18.5 - 0.046 - 0.344 * 0.3,
    }
    assert {band: float(mag) for band, mag in hsc.items()} == pytest.approx(expected)


def test_the_terms_hold_on_a_flat_spectrum_to_their_constants():
    flat = to_sdss(dict.fromkeys("griz", 20.0), "hsc")
    for mag in flat.values():
        assert mag == pytest.approx(20, abs=0.05)


def test_a_member_in_vis():
    """r - I_E of an old member is 0.29, by its colors of the red sequences."""
    r_i = RED_SEQUENCES["perseus-gi"].color(15.5) - RED_SEQUENCES["perseus-gr"].color(15.5)
    r_z = RED_SEQUENCES["perseus-rz"].color(15.5)
    vis = euclid_vis({"r": 15.5, "i": 15.5 - r_i, "z": 15.5 - r_z})
    assert 15.5 - vis == pytest.approx(0.29, abs=0.03)
    with pytest.raises(ConfigError, match="there is no i"):
        euclid_vis({"r": 15.5, "z": 15.0})


def test_what_is_unknown_in_one_band_is_unknown_where_it_is_needed():
    hsc = {band: np.full(5, float(mag)) for band, mag in sdss_to_hsc(GALAXY).items()}
    for row, band in enumerate("grizy"):
        hsc[band][row] = np.nan
    sdss = to_sdss(hsc, "hsc")
    unknown = {band: np.flatnonzero(np.isnan(mag)).tolist() for band, mag in sdss.items()}
    assert unknown == {"g": [0, 1, 2, 3], "r": [1, 2, 3], "i": [2, 3], "z": [2, 3]}


@pytest.mark.parametrize(
    ("bands", "known"),
    [("riz", "riz"), ("iz", "iz"), ("gri", ""), ("giz", "iz"), ("z", ""), ("", "")],
)
def test_bands_that_are_not_there(bands, known):
    hsc = sdss_to_hsc(GALAXY)
    sdss = to_sdss({band: hsc[band] for band in bands}, "hsc")
    assert sorted(sdss) == sorted(known)
    for band in known:
        assert sdss[band] == pytest.approx(GALAXY[band])


def test_other_systems():
    assert to_sdss(GALAXY, "sdss") == GALAXY
    assert to_sdss({"VIS": 20.0, "Y": 19.0}, "euclid") == {}
    with pytest.raises(ConfigError, match="'des' to SDSS: use one of sdss, hsc, euclid"):
        to_sdss(GALAXY, "des")
