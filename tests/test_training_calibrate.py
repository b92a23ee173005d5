"""A calibration recovers the evidence that simulated objects were made with, and is honest."""

import os
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import special, stats

from survey_classifier.errors import ConfigError, RunError, SourcesError
from survey_classifier.membership.evidence_model import EvidenceModel
from survey_classifier.membership.red_sequence import PERSEUS_GZ
from survey_classifier.membership.skill import roc_area
from survey_classifier.membership.stars import StarEvidence
from survey_classifier.model.checkpoint import file_digest
from survey_classifier.model.shipped import resolve_checkpoint
from survey_classifier.training.calibrate import calibrate
from survey_classifier.training.calibration_sample import CalibrationSample
from survey_classifier.training.evidence_fit import fit_evidence, held_out, sample_prior
from survey_classifier.training.judging import figures
from tests.conftest import REPOSITORY

NODES = np.array([15.0, 17.0, 19.0, 21.0])
LOG_ODDS = np.array([2.0, 0.0, -1.0, -2.0])
SHAPE = 1.5
"""What the image says of a member: normal of unit scatter about this, about 0 of the others."""
RED, OTHER = stats.norm(0.0, 0.12), stats.norm(0.3, 0.4)


def simulated(seed, n, *, image_sees_color=False):
    """Return objects whose true evidence is known, and the true probabilities."""
    rng = np.random.default_rng(seed)
    mag = rng.uniform(14.5, 21.5, n)
    prior = np.interp(mag, NODES, LOG_ODDS)
    is_member = rng.random(n) < special.expit(prior)
    delta = np.where(is_member, RED.rvs(n, rng), OTHER.rvs(n, rng))
    shape = rng.normal(np.where(is_member, SHAPE, 0.0))
    from_color = RED.logpdf(delta) - OTHER.logpdf(delta)
    from_shape = stats.norm.logpdf(shape, SHAPE) - stats.norm.logpdf(shape)
    p_image = special.expit(prior + from_shape + (from_color if image_sees_color else 0))
    sample = CalibrationSample(
        object_id=np.array([f"s{row}" for row in range(n)], dtype=object),
        table=np.full(n, "simulated", dtype=object),
        ra_deg=rng.uniform(40, 41, n),
        dec_deg=rng.uniform(40, 41, n),
        mag=mag,
        delta_rs=delta,
        delta_rs_err=np.zeros(n),
        is_member=is_member,
        is_star=np.zeros(n, bool),
        p_image=p_image,
        fold=rng.integers(0, 3, n),
    )
    return sample, special.expit(prior + from_shape + from_color), from_shape, from_color


def test_independent_evidence_is_recovered():
    sample, _, from_shape, from_color = simulated(1, 6000)
    fit = fit_evidence(sample, NODES, StarEvidence())
    model = fit.model
    np.testing.assert_allclose(special.logit(model.image.pi_train), LOG_ODDS, atol=0.25)
    np.testing.assert_allclose(
        special.logit(sample_prior(sample, NODES).marginal(NODES)), LOG_ODDS, atol=0.25
    )
    image = model.image.llr(sample.p_image, sample.mag)
    assert np.abs(image - from_shape).mean() < 0.1
    color = model.color.llr(sample.delta_rs, np.zeros(len(sample)), sample.mag)
    # Beyond, a fit bounds the evidence.
    usual = np.abs(from_color) < 2
    assert np.abs(color - from_color)[usual].mean() < 0.3
    worth = model.weights["image+color"]
    assert worth.image == pytest.approx(1, abs=4 * fit.weight_err["image"])
    assert worth.color == pytest.approx(1, abs=0.15)
    for alone in ("image", "color"):
        assert (model.weights[alone].image, model.weights[alone].color) == (1, 1)


def test_a_network_that_sees_the_color_makes_the_color_worthless():
    sample, _, _, _ = simulated(2, 6000, image_sees_color=True)
    worth = fit_evidence(sample, NODES, StarEvidence()).model.weights["image+color"]
    assert worth.image == pytest.approx(1, abs=0.12)
    assert worth.color == pytest.approx(0, abs=0.12)


@pytest.mark.parametrize("image_sees_color", [False, True])
def test_the_held_out_joint_is_honest_and_nearly_as_good_as_the_truth(image_sees_color):
    sample, truth, _, _ = simulated(3, 3000, image_sees_color=image_sees_color)
    found = held_out(sample, NODES)
    joint = figures(found["image+color"], sample.is_member)
    assert joint["calibration_error"][0] < 0.05
    assert joint["calibration_error"][0] < 2.5 * joint["calibration_error_if_honest"]
    for row in joint["purity"]:
        assert row["low"] - 0.01 <= row["claimed"] <= row["high"] + 0.01
    best = roc_area(truth, sample.is_member)
    assert best - 0.01 < joint["auc"][0] < best + 0.005
    if not image_sees_color:
        for alone in ("image", "color"):
            assert roc_area(found[alone], sample.is_member) < joint["auc"][0] - 0.02


def test_no_object_is_judged_by_a_fit_that_saw_it():
    """What is said of a fold does not change with its labels."""
    sample, *_ = simulated(4, 1500)
    flipped = replace(sample, is_member=sample.is_member ^ (sample.fold == 1))
    before, after = held_out(sample, NODES), held_out(flipped, NODES)
    own, others = sample.fold == 1, sample.fold != 1
    for name, p in before.items():
        np.testing.assert_array_equal(p[own], after[name][own])
        if name != "image":  # alone it is p_image: what its llr takes off, the prior adds
            assert (p[others] != after[name][others]).mean() > 0.9


def test_objects_without_score_color_or_magnitude_are_taken_along():
    sample, *_ = simulated(5, 2000)
    rng = np.random.default_rng(5)
    nan = np.nan
    holes = replace(
        sample,
        p_image=np.where(rng.random(2000) < 0.3, nan, sample.p_image),
        delta_rs=np.where(rng.random(2000) < 0.3, nan, sample.delta_rs),
        mag=np.where(rng.random(2000) < 0.1, nan, sample.mag),
    )
    found = held_out(holes, NODES)
    for p in found.values():
        np.testing.assert_array_equal(np.isnan(p), np.isnan(holes.p_image))
    no_color = np.isnan(holes.delta_rs)
    np.testing.assert_array_equal(found["image+color"][no_color], found["image"][no_color])


def test_intervals_are_as_wide_as_chance_makes_them():
    rng = np.random.default_rng(9)
    p = rng.random(400)
    is_member = rng.random(400) < p
    value, low, high = figures(p, is_member)["accuracy"]
    assert (high - low) / 2 == pytest.approx(1.96 * np.sqrt(value * (1 - value) / 400), rel=0.15)


def test_too_few_objects_are_said():
    sample, *_ = simulated(6, 40)
    with pytest.raises(SourcesError, match="30 are needed"):
        fit_evidence(sample, NODES, StarEvidence())
    sample, *_ = simulated(6, 800)
    unscored = replace(sample, p_image=np.where(np.arange(800) < 10, sample.p_image, np.nan))
    with pytest.raises(SourcesError, match="galaxies have a score"):
        fit_evidence(unscored, NODES, StarEvidence())


SCORED, ALIKE = "perseus-sdss", "perseus-synthetic"
RECIPE = """
name = "made"
description = "Simulated."
out = "out"
red_sequence = "perseus-gz"
mag_nodes = [15, 17, 19, 21]
prior = "prior.toml"
center_deg = [40.5, 40.5]

[scores]
table = "scores.csv"
checkpoint = "perseus-sdss"
same_training = ["perseus-synthetic"]

[labels]
member = ["1"]
other = ["0"]

[[data]]
name = "simulated"
table = "table.csv"
columns = { id = "id", ra = "ra", dec = "dec", label = "label", mag = "r", color = ["gz"] }
"""
PRIOR = """
source = "simulated"
magnitudes = [15, 17, 19, 21]
marginal_share = [0.88, 0.5, 0.27, 0.12]
overall = 0.4
"""


@pytest.fixture
def recipe(tmp_path):
    """Return a recipe with its tables."""
    sample, *_ = simulated(7, 1500)
    color = sample.delta_rs + PERSEUS_GZ.color(sample.mag)
    rows = zip(sample.object_id, sample.ra_deg, sample.dec_deg, sample.is_member.astype(int),
               sample.mag, color, strict=True)  # fmt: skip
    text = "\n".join(",".join(map(str, row)) for row in rows)
    (tmp_path / "table.csv").write_text(f"id,ra,dec,label,r,gz\n{text}\n")
    rows = zip(sample.object_id, sample.fold, sample.p_image, strict=True)
    text = "\n".join(",".join(map(str, row)) for row in rows)
    (tmp_path / "scores.csv").write_text(f"id,fold,p_member\n{text}\n")
    (tmp_path / "prior.toml").write_text(PRIOR)
    (tmp_path / "recipe.toml").write_text(RECIPE)
    return tmp_path / "recipe.toml"


def test_the_evidence_file_is_read_back_and_says_how_good_it_is(recipe):
    lines = []
    path = calibrate(recipe, lines.append)
    assert path == recipe.parent / "out" / "made.toml"
    model = EvidenceModel.read(path)
    assert model.source.startswith("Simulated. Fitted to scores.csv sha256 ")
    assert "table.csv sha256" in model.source
    shipped = {name: resolve_checkpoint(name, recipe.parent) for name in (SCORED, ALIKE)}
    digests = {name: file_digest(path) for name, path in shipped.items()}
    assert model.image.checkpoint_digest == digests[SCORED]
    assert model.for_network(digests[ALIKE], {"member": 0.5}) is model
    assert model.for_network("c" * 64, {"member": 0.5}).image.overall == 0.5
    metrics = model.metrics["all"]
    assert set(metrics) == {"p_image", "image", "color", "image+color", "image+color+prior"}
    for used in ("image+color", "image+color+prior"):
        assert metrics[used]["n"] == 1500
        assert metrics[used]["calibration_error"][0] < 0.05
        assert [row["cut"] for row in metrics[used]["purity"]] == [0.5, 0.8, 0.95]
    assert any(line.startswith("all (1500), image+color: AUC") for line in lines)
    # The same again is the same, bit for bit.
    first = path.read_bytes()
    assert calibrate(recipe).read_bytes() == first


def test_what_cannot_be_written_or_found_is_said_in_a_line(recipe):
    (recipe.parent / "out").write_text("a file where the folder should be")
    with pytest.raises(RunError, match="can't be written"):
        calibrate(recipe)
    recipe.write_text(RECIPE.replace("prior.toml", "none-such"))
    with pytest.raises(ConfigError, match="none-such"):
        calibrate(recipe)


@pytest.fixture(scope="module")
def made(real_data, tmp_path_factory):
    """Calibrate on the real field; return the model."""
    folder = tmp_path_factory.mktemp("evidence")
    recipes = REPOSITORY / "deploy" / "recipes"
    text = (recipes / "perseus-evidence.toml").read_text(encoding="utf-8")
    text = text.replace("../../survey_classifier/membership/shipped/evidence", str(folder))
    scores = "perseus-out-of-fold.csv"
    (folder / "recipe.toml").write_text(text.replace(scores, str(recipes / scores)))
    before = os.environ.get("SURVEY_CLASSIFIER_DATA")
    os.environ["SURVEY_CLASSIFIER_DATA"] = str(real_data)
    try:
        return EvidenceModel.read(calibrate(folder / "recipe.toml"))
    finally:
        os.environ.pop("SURVEY_CLASSIFIER_DATA")
        if before is not None:
            os.environ["SURVEY_CLASSIFIER_DATA"] = before


def test_the_shipped_evidence_is_what_its_recipe_makes(made):
    shipped = EvidenceModel.read("perseus")
    assert made.source == shipped.source
    assert made.image.checkpoint_digest == shipped.image.checkpoint_digest
    assert made.image.magnitudes == shipped.image.magnitudes
    assert made.image.pi_train == pytest.approx(shipped.image.pi_train, abs=1e-3)
    delta, mag = np.meshgrid(np.linspace(-1.5, 1.5, 31), np.linspace(13, 24, 23))
    color = (model.color.llr(delta.ravel(), 0.05, mag.ravel()) for model in (made, shipped))
    np.testing.assert_allclose(*color, atol=0.02)
    for subset, worth in shipped.weights.items():
        assert made.weights[subset].image == pytest.approx(worth.image, abs=1e-3)
        assert made.weights[subset].color == pytest.approx(worth.color, abs=1e-3)


def test_the_joint_is_honest_on_unseen_sky(made):
    """Expected calibration error at most 0.05, and purities as claimed, out of fold."""
    for used in ("image+color", "image+color+prior"):
        found = made.metrics["all"][used]
        assert found["n"] == 3427
        assert found["calibration_error"][0] <= 0.05
        for row in found["purity"]:
            assert row["low"] - 0.01 <= row["claimed"] <= row["high"] + 0.01


def test_the_joint_beats_image_and_color_alone_out_of_fold(made):
    for name in ("all", "catalog"):
        found = made.metrics[name]
        # The lower end of the joint is above what each says alone.
        assert found["image+color"]["auc"][1] > found["image"]["auc"][0]
        assert found["image+color"]["auc"][1] > found["color"]["auc"][0]
    spectra, galaxies = (
        made.metrics[name]["image+color+prior"] for name in ("spectra", "spectra galaxies")
    )
    assert (spectra["n"], galaxies["n"]) == (90, 65)
    assert spectra["auc"][0] >= 0.985
    assert spectra["accuracy"][0] >= 0.95
    assert galaxies["auc"][0] >= 0.97
    assert galaxies["accuracy"][0] >= 0.95


def test_the_shipped_evidence_file_is_plain_toml():
    path = (
        Path(REPOSITORY)
        / "survey_classifier"
        / "membership"
        / "shipped"
        / "evidence"
        / "perseus.toml"
    )
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    assert {"source", "image", "color", "stars", "weights", "metrics"} <= set(content)
