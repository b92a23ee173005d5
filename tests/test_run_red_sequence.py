"""The verb ``red-sequence``: a table in, a file out that a run can name, and a picture."""

import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from survey_classifier.membership.extinction import deredden
from survey_classifier.membership.red_sequence import RedSequence
from tests.test_membership_red_sequence_fit import SCATTER, SLOPE, ZERO, field


@pytest.fixture
def call(call):
    """Run the verb; return exit code, output and error output."""
    return lambda *words: call("red-sequence", *words)


@pytest.fixture
def table(tmp_path):
    """A field of galaxies, dereddened as in a catalog and as observed, with a mark of no value."""
    color, err, mag, is_member = field(600, 0.5, 1)
    ebv = np.random.default_rng(2).uniform(0.1, 0.3, len(mag))
    rows = pd.DataFrame({"mag_r": mag, "mag_z": 18.0, "mag_g": 18.0 + color, "ebv": ebv})
    for band in "grz":
        rows[f"{band}_obs"] = rows[f"mag_{band}"] - deredden(0.0, band, ebv)
    rows["e"], rows["kind"] = err, np.where(is_member, "member", "other")
    rows.loc[0, ["mag_g", "g_obs"]] = -99.0
    rows.to_csv(tmp_path / "table.csv", index=False)
    return tmp_path / "table.csv"


def test_a_catalog_gives_a_file_and_a_picture(call, table, tmp_path):
    out, plot = tmp_path / "new" / "sequence.toml", tmp_path / "plots" / "sequence.png"
    code, said, _ = call(
        table, "--blue", "g", "--red", "z", "--mag", "r", "--err", "g=e", "--out", out,
        "--plot", plot, "--mag-range", "15,20",
    )  # fmt: skip
    assert code == 0
    assert "of 599 objects are on it" in said
    sequence = RedSequence.read(out)
    assert (sequence.blue, sequence.red, sequence.mag) == ("g", "z", "r")
    assert float(sequence.color(17.5)) == pytest.approx(ZERO, abs=0.02)
    assert sequence.branches[0].slope == pytest.approx(SLOPE, abs=0.02)
    assert sequence.scatter == pytest.approx(SCATTER, abs=0.02)
    assert sequence.metrics["objects"] == 599
    assert "table.csv, sha256 " in sequence.source
    with Image.open(plot) as picture:
        assert min(picture.size) > 500
        assert len(picture.convert("RGB").getcolors(1 << 24)) > 20


def test_magnitudes_as_observed_are_dereddened(call, table, tmp_path):
    plain, observed = tmp_path / "plain.toml", tmp_path / "observed.toml"
    assert call(table, "--blue", "g", "--red", "z", "--mag", "r", "--out", plain)[0] == 0
    columns = ("--blue", "g=g_obs", "--red", "z=z_obs", "--mag", "r=r_obs")
    assert call(table, *columns, "--ebv", "ebv", "--out", observed)[0] == 0
    one, other = RedSequence.read(plain), RedSequence.read(observed)
    assert one.branches == other.branches
    assert one.metrics == other.metrics


def test_a_constant_reddening(call, table, tmp_path):
    bands = ("--blue", "g", "--red", "z", "--mag", "r")
    for name, ebv in (("none", "0"), ("some", "0.1")):
        assert call(table, *bands, "--ebv", ebv, "--out", tmp_path / f"{name}.toml")[0] == 0
    none, some = (RedSequence.read(tmp_path / f"{name}.toml") for name in ("none", "some"))
    shift = float(some.color(17.0 - 0.2285) - none.color(17.0))
    assert shift == pytest.approx(-0.1 * (3.303 - 1.263), abs=0.003)


def test_members_only(call, table, tmp_path):
    words = ("--blue", "g", "--red", "z", "--mag", "r", "--members", "kind=member")
    code, said, _ = call(table, *words, "--out", tmp_path / "m.toml")
    assert code == 0
    kind = pd.read_csv(table).kind
    assert f"of {(kind[1:] == 'member').sum()} objects are on it" in said
    assert "kind = member" in RedSequence.read(tmp_path / "m.toml").source


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--mag-range", "19,14"), "--mag-range is '19,14'"),
        (("--mag-range", "15"), "--mag-range is '15'"),
        (("--mag-range", "30,31"), "0 objects have g - z and r"),
        (("--members", "kind"), "--members is 'kind'"),
        (("--members", "kind=x"), "no row of .* has 'x' in 'kind'"),
        (("--err", "u=e"), "of the band 'u', which is none of g, r, z"),
        (("--err", "g=absent"), "no column 'absent'"),
        (("--mag", "g=mag_r"), "the band g is to be 'mag_g' and 'mag_r'"),
        (("--red", "g"), "the color is g - g"),
        (("--red", "y=mag_z", "--ebv", "0.1"), "band 'y' of sdss"),
        (("--ebv", "0.1", "--system", "des"), "photometric system 'des'"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(call, table, tmp_path, words, message):
    out = tmp_path / "out.toml"
    code, _, err = call(table, "--blue", "g", "--red", "z", "--mag", "r", "--out", out, *words)
    assert code == 2
    assert err.count("\n") == 1
    assert re.search(message, err)
    assert not out.exists()


def test_a_place_that_cannot_be_written_is_said(call, table):
    words = ("--blue", "g", "--red", "z", "--mag", "r", "--out", table / "out.toml")
    code, _, err = call(table, *words)
    assert code == 1
    assert "can't be written" in err


def test_help_has_an_example(call):
    code, out, _ = call("--help")
    assert code == 0
    assert "Example: survey-classifier red-sequence" in out
