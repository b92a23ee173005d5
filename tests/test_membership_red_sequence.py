"""Red sequences: their lines, their files, and what can't be one."""

import numpy as np
import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from survey_classifier.errors import ConfigError
from survey_classifier.membership.red_sequence import (
    PERSEUS_GZ,
    RED_SEQUENCES,
    Branch,
    RedSequence,
)


def test_branches_of_perseus_meet():
    bright = 1.373 - 0.079 * (19.05 - 15.5)
    assert PERSEUS_GZ.color(15.5) == 1.373
    assert abs(PERSEUS_GZ.color(19.05) - bright) < 0.002
    assert PERSEUS_GZ.color(19.0) > bright
    assert PERSEUS_GZ.color(18.0 - 0.27 + 2) == pytest.approx(1.138 - 0.07)
    assert PERSEUS_GZ.color(30.0) == 1.0


@given(st.floats(10, 30), st.floats(0, 2), st.sampled_from(sorted(RED_SEQUENCES)))
def test_they_only_fall_to_the_faint(mag, fainter, name):
    sequence = RED_SEQUENCES[name]
    assert sequence.color(mag + fainter) <= sequence.color(mag)


@pytest.mark.parametrize(
    ("name", "zero", "slope", "scatter"),
    [
        ("perseus-gz", 1.373, -0.079, 0.086),
        ("perseus-gr", 0.747, -0.040, 0.037),
        ("perseus-gi", 1.103, -0.060, 0.065),
        ("perseus-rz", 0.628, -0.035, 0.051),
    ],
)
def test_published_numbers_by_name(name, zero, slope, scatter):
    sequence = RedSequence.read(name)
    assert sequence.color(15.5) == pytest.approx(zero)
    assert sequence.color(16.5) - sequence.color(15.5) == pytest.approx(slope)
    assert sequence.scatter == scatter
    assert sequence.bands == {*name.removeprefix("perseus-"), "r"}


def test_colors_of_perseus_agree_with_each_other():
    """g - z is g - r and r - z together, where all are of bright members."""
    mag = np.linspace(13.5, 17.5, 9)
    sum_ = RED_SEQUENCES["perseus-gr"].color(mag) + RED_SEQUENCES["perseus-rz"].color(mag)
    np.testing.assert_allclose(sum_, PERSEUS_GZ.color(mag), atol=0.02)


def test_an_offset_moves_it_and_nothing_else():
    moved = PERSEUS_GZ.shifted(-0.07)
    mag = np.array([14.0, 20.0, np.nan])
    np.testing.assert_allclose(moved.color(mag), PERSEUS_GZ.color(mag) - 0.07)
    assert moved.shifted(0.0) == PERSEUS_GZ
    with pytest.raises(ValidationError):
        PERSEUS_GZ.shifted(np.inf)


def test_what_is_unknown_stays_unknown():
    delta = PERSEUS_GZ.delta([1.2, np.nan, 1.2], [18.0, 18.0, np.nan])
    np.testing.assert_array_equal(np.isnan(delta), [False, True, True])
    error = PERSEUS_GZ.delta_err([0.03, np.nan, 0.1], [0.04, 0.1, np.nan])
    np.testing.assert_allclose(error, [0.05, np.nan, np.nan])


def write(tmp_path, content):
    path = tmp_path / "sequence.toml"
    path.write_text(tomli_w.dumps(content))
    return path


@pytest.mark.parametrize("name", RED_SEQUENCES)
def test_a_file_gives_the_same_sequence(tmp_path, name):
    content = RED_SEQUENCES[name].model_dump(mode="json", exclude_none=True)
    assert RedSequence.read(write(tmp_path, content)) == RED_SEQUENCES[name]


def test_a_file_needs_only_a_line():
    line = Branch(pivot=17, zero=1.0, slope=-0.05)
    short = RedSequence(blue="g", red="z", mag="r", branches=(line,), scatter=0.05)
    assert short.color(19.0) == pytest.approx(0.9)


GOOD = {
    "blue": "g",
    "red": "z",
    "mag": "r",
    "scatter": 0.05,
    "branches": [{"pivot": 17.0, "zero": 1.0, "slope": -0.05}],
}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"scatter": 0.0}, "scatter"),
        ({"branches": []}, "branches"),
        ({"red": "g"}, "the color is g - g: give two bands"),
        ({"mag_range": [20.0, 14.0]}, "give the brighter end first"),
        ({"slop": 1.0}, "unknown key 'slop'"),
        ({"floor": float("nan")}, "floor"),
    ],
)
def test_what_can_be_no_sequence_is_refused(tmp_path, wrong, message):
    with pytest.raises(ConfigError, match=message):
        RedSequence.read(write(tmp_path, GOOD | wrong))


def test_an_unknown_name_is_refused():
    with pytest.raises(ConfigError, match="did you mean 'perseus-gz'"):
        RedSequence.read("perseus_gz")
    with pytest.raises(ConfigError, match="no such file"):
        RedSequence.read("absent.toml")
