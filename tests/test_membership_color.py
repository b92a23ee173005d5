"""Colors: extinction and strip golden values, the red sequence, regions and their edges."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from survey_classifier.errors import ConfigError
from survey_classifier.membership.color import (
    ColorCuts,
    color_region,
    delta_rs,
    deredden,
    extinction_coefficient,
    legacy_strip,
    red_sequence_gz,
)

CUTS = ColorCuts()


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


def test_branches_of_the_red_sequence_meet():
    bright = 1.373 - 0.079 * (19.05 - 15.5)
    assert red_sequence_gz(15.5) == 1.373
    assert abs(red_sequence_gz(19.05) - bright) < 0.002
    assert red_sequence_gz(19.0) > bright
    assert red_sequence_gz(18.0 - 0.27 + 2) == pytest.approx(1.138 - 0.07)
    assert red_sequence_gz(30.0) == 1.0


@given(st.floats(10, 30), st.floats(0, 2))
def test_the_red_sequence_only_falls_to_the_faint(r_mag, fainter):
    assert red_sequence_gz(r_mag + fainter) <= red_sequence_gz(r_mag)


def test_the_offset_of_a_photometric_system_is_taken_off():
    suprime = ColorCuts(offset_gz=-0.07)
    on_sequence = red_sequence_gz(18.0)
    assert delta_rs(on_sequence, 18.0, CUTS) == 0
    assert delta_rs(on_sequence - 0.07, 18.0, suprime) == pytest.approx(0)
    assert np.isnan(delta_rs([np.nan, 1.0], [18.0, np.nan], CUTS)).all()


def test_regions_and_their_edges():
    delta = [9, np.nextafter(0.20, 1), 0.20, 0, -0.25, -0.2501, -0.60, -0.6001, -9, np.nan]
    expected = ["red_shoulder"] * 2 + ["red_sequence"] * 3 + ["green_valley"] * 2
    expected += ["blue_cloud"] * 2 + [""]
    assert color_region(delta, 0.0, CUTS).tolist() == expected
    assert color_region(delta, np.nan, CUTS).tolist() == expected


def test_an_error_widens_the_red_sequence_to_hold_the_same_share_of_members():
    rng = np.random.default_rng(3)
    true_delta = rng.normal(0, CUTS.scatter, 200_000)
    held = []
    for error in (0.0, 0.05, 0.2):
        seen = true_delta + rng.normal(0, error, true_delta.size)
        held.append((color_region(seen, error, CUTS) == "red_sequence").mean())
    np.testing.assert_allclose(held, held[0], atol=1e-3)


def test_the_green_valley_keeps_its_width():
    error = 0.172
    widening = np.hypot(0.086, error) / 0.086
    edge = -0.25 * widening
    near = [edge - 1e-6, edge - 0.35 + 1e-6, edge - 0.35 - 1e-6]
    expected = ["green_valley", "green_valley", "blue_cloud"]
    assert color_region(near, error, CUTS).tolist() == expected


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"blue_cloud": -0.2}, "give blue_cloud < red_sequence_min"),
        ({"red_sequence_max": np.nan}, "give blue_cloud"),
        ({"scatter": 0.0}, "scatter"),
        ({"offset_gz": np.inf}, "offset_gz"),
    ],
)
def test_impossible_cuts_cannot_be_built(wrong, message):
    with pytest.raises(ConfigError, match=message):
        ColorCuts(**wrong)


def test_the_legacy_strip_at_r_16():
    color = [1.468, 1.469, 2.097, 2.098, np.nan]
    expected = ["blue_side", "red_sequence", "red_sequence", "red_side", ""]
    assert legacy_strip(16.0, color).tolist() == expected
    assert legacy_strip([37.0, 46.0], 0.0).tolist() == ["blue_side", "red_side"]


def test_real_members_lie_on_the_sequence_and_real_background_beyond(real_data):
    spectra = pd.read_csv(real_data / "perseus" / "sdss_spectra_dev.csv")
    objects = spectra.drop_duplicates("objID").set_index("z_class")
    delta = delta_rs(objects.g_z0.to_numpy(), objects.r0.to_numpy(), CUTS)
    region = pd.Series(color_region(delta, 0.0, CUTS), index=objects.index)
    assert region["cluster"].value_counts()["red_sequence"] == 68
    assert region["background"].value_counts()["red_shoulder"] == 46
    scatter = delta[(objects.index == "cluster") & (region == "red_sequence")]
    assert abs(np.median(scatter)) < 0.03
    strip = pd.Series(legacy_strip(objects.r_mag, objects.g_z), index=objects.index)
    assert strip["cluster"].value_counts()["red_sequence"] == 72
