"""Extinction: golden values, and what is unknown."""

import numpy as np
import pytest

from survey_classifier.errors import ConfigError
from survey_classifier.membership.extinction import deredden, extinction_coefficient


def test_extinction_of_the_median_reddening():
    extinction = {band: -float(deredden(0.0, band, 0.169)) for band in "ugriz"}
    rounded = {band: round(value, 3) for band, value in extinction.items()}
    assert rounded == {"u": 0.716, "g": 0.558, "r": 0.386, "i": 0.287, "z": 0.213}


def test_systems_have_their_own_bands():
    assert extinction_coefficient("g", "hsc") == 3.240
    assert extinction_coefficient("VIS", "euclid") == 1.77
    with pytest.raises(ConfigError, match=r"band 'y' of sdss: use one of u, g, r, i, z"):
        deredden(20.0, "y", 0.1)
    with pytest.raises(ConfigError, match=r"'des': use one of sdss, hsc, euclid"):
        deredden(20.0, "g", 0.1, "des")


def test_unknown_magnitude_or_reddening_is_unknown():
    mag = deredden([20.0, np.nan, 20.0], "g", [0.0, 0.1, np.nan], "hsc")
    np.testing.assert_array_equal(mag, [20, np.nan, np.nan])
