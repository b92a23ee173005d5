"""Color regions: names, edges, how errors widen them, and the counts of a real field."""

import csv
from collections import Counter

import numpy as np
import pytest

from survey_classifier.errors import ConfigError
from survey_classifier.membership.color import ColorCuts, color_region, delta_rs, legacy_strip
from survey_classifier.membership.red_sequence import PERSEUS_GZ, RED_SEQUENCES
from survey_classifier.membership.redshift import RedshiftCuts, z_class

CUTS = ColorCuts()
SCATTER = PERSEUS_GZ.scatter


def test_distances_are_from_the_sequence_and_its_offset():
    suprime = ColorCuts(sequence=PERSEUS_GZ.shifted(-0.07))
    on_sequence = PERSEUS_GZ.color(18.0)
    assert delta_rs(on_sequence, 18.0, CUTS) == 0
    assert delta_rs(on_sequence + 0.3, 18.0, CUTS) == pytest.approx(0.3)
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
    true_delta = rng.normal(0, SCATTER, 200_000)
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


@pytest.mark.parametrize("name", RED_SEQUENCES)
def test_regions_about_another_sequence_are_as_many_sigma_wide(name):
    sequence = RED_SEQUENCES[name]
    cuts = ColorCuts.around(sequence)
    assert cuts.sequence is sequence
    assert cuts.red_sequence_max / sequence.scatter == pytest.approx(0.20 / 0.086)
    assert cuts.red_sequence_min / sequence.scatter == pytest.approx(-0.25 / 0.086)
    assert cuts.blue_cloud / sequence.scatter == pytest.approx(-0.60 / 0.086)
    # The same object, so many sigma away, in the same region, also with an error.
    sigma = np.linspace(-9, 4, 200)
    region = color_region(sigma * sequence.scatter, 0.5 * sequence.scatter, cuts)
    assert (region == color_region(sigma * SCATTER, 0.5 * SCATTER, CUTS)).all()


def test_the_default_regions_are_those_of_perseus():
    assert ColorCuts.around(PERSEUS_GZ) == CUTS


@pytest.mark.parametrize("wrong", [{"blue_cloud": -0.2}, {"red_sequence_max": np.nan}])
def test_impossible_cuts_cannot_be_built(wrong):
    with pytest.raises(ConfigError, match="give blue_cloud < red_sequence_min"):
        ColorCuts(**wrong)


def test_the_legacy_strip_at_r_16():
    color = [1.468, 1.469, 2.097, 2.098, np.nan]
    expected = ["blue_side", "red_sequence", "red_sequence", "red_side", ""]
    assert legacy_strip(16.0, color).tolist() == expected
    assert legacy_strip([37.0, 46.0], 0.0).tolist() == ["blue_side", "red_side"]


def by_hand(row):
    """Return class, strip and region of an object, from the table's text."""
    z, r = float(row["z"]), float(row["r_mag"])
    k = r + 14.3 * (float(row["g_mag"]) - float(row["z_mag"]))
    ebv = (r - float(row["r0"])) / 2.285
    r0 = r - 2.285 * ebv
    gz0 = float(row["g_mag"]) - float(row["z_mag"]) - (3.303 - 1.263) * ebv
    lines = (1.373 - 0.079 * (r0 - 15.5), 1.138 - 0.035 * (r0 + 0.27 - 18), 1.0)
    delta = gz0 - max(lines)
    kind = "star" if z < 0.01 else "cluster" if z < 0.033 else "background"
    side = "blue_side" if k <= 37 else "red_sequence" if k < 46 else "red_side"
    edges = (("red_shoulder", 0.20), ("red_sequence", -0.25), ("green_valley", -0.60))
    region = next((name for name, edge in edges if delta > edge), "blue_cloud")
    return kind, side, region


@pytest.fixture
def west(real_data):
    """Objects of the real field by id, the last spectrum of each."""
    with (real_data / "perseus" / "sdss_spectra_dev.csv").open() as file:
        return list({row["objID"]: row for row in csv.DictReader(file)}.values())


def test_counts_of_the_real_field_are_those_by_hand(west):
    number = {name: np.array([float(row[name]) for row in west])
              for name in ("z", "r_mag", "g_mag", "z_mag", "r0")}  # fmt: skip
    ebv = (number["r_mag"] - number["r0"]) / 2.285
    gz0 = number["g_mag"] - number["z_mag"] - (3.303 - 1.263) * ebv
    ours = zip(
        z_class(number["z"], RedshiftCuts()).tolist(),
        legacy_strip(number["r_mag"], number["g_mag"] - number["z_mag"]).tolist(),
        color_region(delta_rs(gz0, number["r0"], CUTS), 0.0, CUTS).tolist(),
        strict=True,
    )
    found = Counter(ours)
    assert found == Counter(map(by_hand, west))
    totals = Counter(kind for kind, _, _ in found.elements())
    assert totals == {"star": 84, "cluster": 83, "background": 65}
    strip = Counter((kind, side) for kind, side, _ in found.elements() if kind != "star")
    assert strip["cluster", "red_sequence"] == 72
    region = Counter((kind, name) for kind, _, name in found.elements() if kind != "star")
    assert region["cluster", "red_sequence"] == 68
    assert region["background", "red_shoulder"] == 46
