"""The calibration sample: every object once, with the label that is trusted most."""

from pathlib import Path

import numpy as np
import pytest

from survey_classifier.errors import ConfigError, SourcesError
from survey_classifier.membership.red_sequence import PERSEUS_GZ
from survey_classifier.training.calibration_recipe import read_calibration_recipe
from survey_classifier.training.calibration_sample import load_calibration_sample

RECIPE = """
name = "small"
description = "simulated"
out = "."
red_sequence = "perseus-gz"
mag_nodes = [14, 18, 22]

[scores]
table = "scores.csv"
checkpoint = "net"

[labels]
member = ["cluster", "1"]
other = ["background", "0"]
star = ["star"]
ignore = ["-1"]

[[data]]
name = "spectra"
table = "spectra.csv"
[data.columns]
id = "id"
ra = "ra"
dec = "dec"
label = "class"
mag = "r"
color = ["gz"]
color_err = "err"

[[data]]
name = "catalog"
table = "catalog.csv"
columns = { id = "id", ra = "ra", dec = "dec", label = "label", mag = "v", color = ["gr", "rz"] }
mag_offset = 0.25
color_offset = -0.5
color_err = 0.05
"""
SPECTRA = """id,ra,dec,class,r,gz,err
10,49.50,41.5,cluster,15.0,1.4,0.02
10,49.50,41.5,cluster,15.0,1.4,0.02
11,49.60,41.5,star,16.0,-9999,0.03
12,48.00,41.5,background,17.0,1.9,
"""
# a is object 10, 1 arcsec away; b is an object of its own, 3 arcsec away.
CATALOG = """id,ra,dec,label,v,gr,rz
a,49.50,41.500278,0,15.25,0.8,0.6
b,49.50,41.500833,0,20.25,0.5,0.25
c,49.70,41.5,1,21.25,,0.5
d,49.71,41.5,-1,18,0.5,0.5
e,49.72,41.5,0,99,0.5,0.5
"""
SCORES = """id,fold,p_member,p_err
10,0,0.9,0.01
11,1,0.1,
b,0,0.2,0.02
c,1,0.7,0.1
x,1,0.4,0.2
"""


@pytest.fixture
def write(tmp_path):
    def write_all(**changed) -> Path:
        files = {"recipe.toml": RECIPE, "spectra.csv": SPECTRA, "catalog.csv": CATALOG}
        for name, text in (files | {"scores.csv": SCORES} | changed).items():
            (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / "recipe.toml"

    return write_all


def load(path):
    return load_calibration_sample(read_calibration_recipe(path))


def test_every_object_enters_once(write):
    sample = load(write())
    assert sample.object_id.tolist() == ["10", "11", "12", "b", "c", "e"]
    assert sample.table.tolist() == ["spectra"] * 3 + ["catalog"] * 3
    assert sample.is_member.tolist() == [True, False, False, False, True, False]
    assert sample.is_star.tolist() == [False, True, False, False, False, False]


def test_photometry_is_brought_to_one_system(write):
    sample = load(write())
    nan = np.nan
    np.testing.assert_allclose(sample.mag, [15, 16, 17, 20, 21, nan])
    color = sample.delta_rs + PERSEUS_GZ.color(sample.mag)
    np.testing.assert_allclose(color, [1.4, nan, 1.9, 1.25, nan, nan])
    np.testing.assert_allclose(sample.delta_rs_err, [0.02, 0.03, nan, 0.05, 0.05, 0.05])


def test_scores_are_joined_by_id_and_folds_are_parts_of_the_sky(write):
    sample = load(write())
    np.testing.assert_array_equal(sample.p_image, [0.9, 0.1, np.nan, 0.2, 0.7, np.nan])
    # 12 lies west of everything and is of the fold of 10; e lies near c.
    assert sample.fold.tolist() == [0, 1, 0, 0, 1, 1]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"spectra.csv": SPECTRA.replace("background", "quasar")}, "label 'quasar'"),
        ({"spectra.csv": SPECTRA.replace("12,48.00", "12,")}, "object '12' .* no position"),
        ({"spectra.csv": SPECTRA.replace("12,48", "10,48")}, "object '10' .* different labels"),
        ({"scores.csv": "id,fold,p_member\nq,0,0.5\n"}, "no id of"),
        ({"scores.csv": SCORES.replace("b,0,0.2", "b,0,1.2")}, "outside 0 to 1"),
        ({"scores.csv": SCORES.replace("b,0,0.2", "b,0.5,0.2")}, "a fold that is no number"),
        ({"scores.csv": SCORES + "b,0,0.3,\n"}, "an id twice"),
        ({"scores.csv": "id,fold\nb,1\n"}, "p_member"),
        (
            {"recipe.toml": RECIPE.replace('["cluster", "1"]', '["never"]').replace(
                '["-1"]', '["-1", "1", "cluster"]'
            )},
            "no member",
        ),
    ],
)  # fmt: skip
def test_bad_tables_are_refused_in_a_line(write, changed, message):
    with pytest.raises(SourcesError, match=message) as caught:
        load(write(**changed))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[14, 18, 22]", "[14, 22, 18]", "ascending"),
        ('star = ["star"]', 'star = ["star", "0"]', "'0' is listed more than once"),
        ('name = "catalog"', 'name = "spectra"', "two .* 'spectra'"),
        ("mag_offset", "mag_offest", "mag_offset"),
        ("color_err = 0.05", "color_err = -1", "color_err"),
    ],
)
def test_a_wrong_recipe_is_refused_in_a_line(write, old, new, message):
    with pytest.raises(ConfigError, match=message) as caught:
        read_calibration_recipe(write(**{"recipe.toml": RECIPE.replace(old, new)}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (SCORES.replace(",1,", ",0,"), r"all scores of .*scores\.csv are of one fold"),
        (
            "id,fold,seen,p_member\n10,0,no,0.9\nb,0,yes,0.2\nc,1,yes,0.7\nx,1,yes,0.1\n",
            r"2 of the 3 labeled objects of .*scores\.csv had been seen .*'seen'",
        ),
        (
            "id,fold,p_member\n10,0,\nb,0,\nc,1,\n",
            "no labeled object has a score in",
        ),
        ("id,fold,p_member\n10,0,0.9\nc,1,0.7\n", "hold no other galaxy with a score"),
        ("id,fold,p_member\nb,0,0.9\n12,1,0.7\n", "hold no member with a score"),
    ],
)
def test_scores_that_nothing_can_be_judged_by_are_refused(write, scores, message):
    with pytest.raises(SourcesError, match=message):
        load_calibration_sample(read_calibration_recipe(write(**{"scores.csv": scores})))


def test_scores_that_say_that_no_network_had_seen_them_are_taken(write):
    scores = "id,fold,seen,p_member\n10,0,no,0.9\nb,0,no,0.2\nc,1,no,0.7\n"
    sample = load_calibration_sample(read_calibration_recipe(write(**{"scores.csv": scores})))
    assert np.isfinite(sample.p_image).sum() == 3
