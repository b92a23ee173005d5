"""Random parts, and what it does to figures if copies of an object are in two of them."""

import csv
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.special import softmax

from survey_classifier.errors import ConfigError, SourcesError
from survey_classifier.model.checkpoint import load_network, read_card
from survey_classifier.model.scorer import TorchScorer
from survey_classifier.training import fit, judgment
from survey_classifier.training.dataset import load_training_set
from survey_classifier.training.evaluate import score_samples
from survey_classifier.training.fit import train
from survey_classifier.training.recipes import read_recipe
from survey_classifier.training.samples import Samples
from survey_classifier.training.split import random_parts
from tests.labeled_field import RECIPE as FIELD_RECIPE
from tests.labeled_field import make_field

N_OBJECT, N_SECOND = 64, 24
RECIPE = """
name = "chance"
description = "noise, simulated"
out = "out-LEAKY"
unit = "display"
network = { width = 16 }
stamps = { stamp_arcsec = 3.2, stamp_px = 16, n_views = 1 }
labels = { mapping = { 0 = "nonmember", 1 = "member" } }
split = { kind = "random", leaky_split = LEAKY }
[stretch]
r = { softening = 100, maximum = 255 }
g = { softening = 100, maximum = 255 }
b = { softening = 100, maximum = 255 }
[[data]]
table = "second.csv"
use = "test"
columns = { id = "id", ra = "ra", dec = "dec", label = "label", thumb = "thumb" }
[data.thumbnails]
path = "t.zip"
planes = ["r", "g", "b"]
scale_arcsec = 0.2
source_px = [9.5, 9.5]
[[data]]
table = "t.csv"
columns = { id = "id", ra = "ra", dec = "dec", label = "label", thumb = "thumb" }
[data.thumbnails]
path = "t.zip"
planes = ["r", "g", "b"]
scale_arcsec = 0.2
source_px = [9.5, 9.5]
[fit]
angles_deg = [45, 90, 135, 180, 225, 270, 315, 360]
flip = false
jitter_px = 0
flux_scatter = 0
epochs = 25
batch_size = 32
rate = 5e-3
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of thumbnails that look different, and labels that have nothing to do with it."""
    folder = tmp_path_factory.mktemp("chance")
    rng = np.random.default_rng(5)
    label = rng.permutation(np.arange(N_OBJECT + N_SECOND) % 2)
    with zipfile.ZipFile(folder / "t.zip", "w") as archive:
        for number in range(N_OBJECT + N_SECOND):
            image = np.clip(rng.normal(rng.uniform(40, 215, 3), 10, (20, 20, 3)), 0, 255)
            file = io.BytesIO()
            Image.fromarray(image.astype(np.uint8)).save(file, "PNG")
            archive.writestr(f"{number}.png", file.getvalue())
    tables = {"t.csv": range(N_OBJECT), "second.csv": range(N_OBJECT, N_OBJECT + N_SECOND)}
    for name, numbers in tables.items():
        with (folder / name).open("w", newline="") as table:
            writer = csv.writer(table)
            writer.writerow(["id", "ra", "dec", "label", "thumb"])
            for number in numbers:
                # Pairs of neighbors are one object: o0 and o1, o2 and o3, ...
                ra = 50 + (number // 2) * 0.01 + (number % 2) * 1e-4
                writer.writerow([f"o{number}", ra, 41, label[number - number % 2], f"{number}.png"])
    return folder


def trained(folder: Path, leaky: str) -> tuple[dict[str, float], list[dict[str, str]]]:
    """Train by a recipe and give its figures and what it says of objects."""
    path = folder / f"{leaky}.toml"
    path.write_text(RECIPE.replace("LEAKY", leaky))
    recipe = read_recipe(path)
    lines: list[str] = []
    card = read_card(train(path, device="cpu", say=lines.append))
    with recipe.predictions_path.open() as file:
        said = list(csv.DictReader(file))
    n_seen = sum(row["seen"] == "yes" for row in said)
    leaks = f"the split leaks: {n_seen} of {N_OBJECT * 8 // 4} copies in the test are of objects"
    assert [leaks in line for line in lines if line.startswith("note: ")] == [True] * (n_seen > 0)
    assert (f"Note: {leaks}" in card.description) == (n_seen > 0)
    return card.metrics, said


def test_copies_in_two_parts_turn_chance_into_skill(folder: Path) -> None:
    """Labels are drawn at random: nothing can be learned but which object is which."""
    honest, said = trained(folder, "false")
    check_probabilities(folder / "false.toml", said)
    assert {row["seen"] for row in said} == {"no"}
    leaky, said_leaky = trained(folder, "true")
    assert honest["accuracy_test"] < 0.65
    # Of some of these objects the network knew other copies, and the figures' names say so.
    assert "accuracy_test" not in leaky
    assert leaky["accuracy_test_seen"] > 0.75
    # Of the second sample both know nothing.
    assert honest["n_second_sample"] == leaky["n_second_sample"] == N_SECOND
    assert max(honest["accuracy_second_sample"], leaky["accuracy_second_sample"]) <= 0.75
    assert honest["n_test"] == leaky["n_test_seen"] == N_OBJECT * 8 / 4
    test = {row["id"] for row in said if row["fold"] == "0"}
    assert len(test) == N_OBJECT / 4
    assert {f"o{int(name[1:]) ^ 1}" for name in test} == test  # pairs stay together
    assert {row["p_err"] for row in said} == {""}  # one angle, one view: no spread
    assert not any(name.startswith("error_correlation") for name in honest)
    assert len({row["id"] for row in said_leaky if row["fold"] == "0"}) > N_OBJECT / 2
    assert {row["seen"] for row in said_leaky if row["fold"] == "-1"} == {"no"}
    check_seen(folder / "true.toml", said_leaky)
    second = [row["id"] for row in said if row["fold"] == "-1"]
    assert second == [f"o{n}" for n in range(N_OBJECT, N_OBJECT + N_SECOND)]
    assert honest["n_object_test"] == N_OBJECT / 4


def check_seen(path: Path, said: list[dict[str, str]]) -> None:
    """Compare with the draw of the parts: a copy is seen if one of its object, or its twin, was."""
    recipe = read_recipe(path)
    split = recipe.split
    n_copy = len(recipe.fit.angles_deg)
    part = random_parts(
        np.arange(N_OBJECT * n_copy), split.test_share, split.validation_share, recipe.fit.seed
    )
    row = np.repeat(np.arange(N_OBJECT), n_copy)
    fitted = {number // 2 for number in row[part == 0].tolist()}
    test = [found for found in said if found["fold"] == "0"]
    assert [found["id"] for found in test] == [f"o{number}" for number in row[part == 2]]
    for found in test:
        assert (found["seen"] == "yes") == (int(found["id"][1:]) // 2 in fitted)


def check_probabilities(path: Path, said: list[dict[str, str]]) -> None:
    """Compare what is said with the network's own logits, copies each at its own angle."""
    recipe = read_recipe(path)
    network, card = load_network(recipe.checkpoint_path)
    assert abs(card.temperature - 1) > 0.1
    data = load_training_set(recipe, card)
    row_of = {name: row for row, name in enumerate(data.labels.object_id)}
    for fold, angles in (("0", recipe.fit.angles_deg), ("-1", (0.0,))):
        found = [row for row in said if row["fold"] == fold]
        rows = np.array([row_of[name] for name in dict.fromkeys(row["id"] for row in found)])
        logits = score_samples(network, card, data, Samples.of(rows, angles), torch.device("cpu"))
        expected = softmax(logits[:, 0] / card.temperature, axis=1)[:, card.member_index]
        np.testing.assert_allclose([float(row["p_member"]) for row in found], expected, atol=1e-4)


def test_what_is_not_turned_is_judged_as_a_run_would_see_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the temperature of objects that are neither fitted to nor judged."""
    fitted: list[int] = []

    def spy(logits: np.ndarray, label: np.ndarray) -> float:
        assert len(logits) == len(label)
        fitted.append(len(label))
        return 1.7

    monkeypatch.setattr(judgment, "fit_temperature", spy)
    path = make_field(tmp_path) / "field.toml"
    text = FIELD_RECIPE.format(out="out", epochs=2).replace("n_folds = 2", 'kind = "random"')
    path.write_text(text)
    lines: list[str] = []
    checkpoint = train(path, device="cpu", say=lines.append)
    assert fitted == [13]  # a quarter of what the 17 for the test leave of 68
    assert lines[2].startswith("test: 17 objects, ")
    recipe = read_recipe(path)
    network, card = load_network(checkpoint)
    assert card.temperature == 1.7
    data = load_training_set(recipe, card)
    with recipe.predictions_path.open() as file:
        said = {row["id"]: row for row in csv.DictReader(file)}
    scorer = TorchScorer(network, card, torch.device("cpu"))
    rows = np.flatnonzero(np.isin(data.labels.object_id, list(said)))
    assert len(rows) == len(said) == 17
    for stamps, places in data.by_block(rows):
        scores = scorer.score(stamps)
        own = [said[name] for name in data.labels.object_id[rows[places]]]
        for name, want in (("p_member", scores.p_image), ("p_err", scores.p_image_err)):
            np.testing.assert_allclose([float(row[name]) for row in own], want, atol=2e-6)


def test_copies_are_no_objects() -> None:
    metrics = dict.fromkeys(
        ("auc_test", "accuracy_test", "brier_test", "calibration_error_test"), 0.5
    )
    counts = {"n_test": 544.0, "n_object_test": 136.0, "n_member_test": 160.0}
    assert fit._summary(metrics | counts) == [
        "test: 544 turned copies of 136 objects, 160 of members: AUC 0.5000, accuracy 0.500,"
        " Brier 0.5000, ECE 0.5000"
    ]


def test_parts_are_of_groups_and_of_the_shares_asked_for() -> None:
    group = np.repeat(np.arange(160), 3)
    part = random_parts(group, 0.25, 0.25, seed=1)
    assert np.bincount(part[::3]).tolist() == [90, 30, 40]
    assert (part.reshape(160, 3) == part[::3, None]).all()
    np.testing.assert_array_equal(part, random_parts(group, 0.25, 0.25, seed=1))
    assert (part != random_parts(group, 0.25, 0.25, seed=2)).any()
    with pytest.raises(SourcesError, match="3 separate objects are too few"):
        random_parts(np.arange(3), 0.25, 0.1, seed=0)


@pytest.mark.parametrize(
    ("old", "new"), [('kind = "random"', 'kind = "strips"'), ("angles_deg = [", "#")]
)
def test_only_random_parts_of_copies_can_leak(folder: Path, old: str, new: str) -> None:
    path = folder / "wrong.toml"
    path.write_text(RECIPE.replace("LEAKY", "true").replace(old, new))
    with pytest.raises(ConfigError, match="leaky_split needs"):
        read_recipe(path)


def test_a_class_that_is_only_in_the_test_is_one_line(folder: Path) -> None:
    """By strips too: all members may lie in one."""
    with (folder / "t.csv").open() as file:
        rows = list(csv.DictReader(file))
    with (folder / "lopsided.csv").open("w", newline="") as table:
        writer = csv.writer(table)
        writer.writerow(rows[0])
        writer.writerows(
            [row["id"], row["ra"], row["dec"], int(n < 10), row["thumb"]]
            for n, row in enumerate(rows)
        )
    path = folder / "lopsided.toml"
    text = RECIPE.replace("LEAKY", "false").replace("t.csv", "lopsided.csv")
    text = text.replace("chance", "lopsided")
    path.write_text(text.replace('kind = "random"', "n_folds = 2"))
    with pytest.raises(SourcesError, match="no object of class 'member' is left") as caught:
        train(path, device="cpu")
    assert "\n" not in str(caught.value)
