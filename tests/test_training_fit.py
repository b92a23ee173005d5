"""Training on a small field whose members are red and whose other objects are blue."""

import csv
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from survey_classifier.errors import (
    CheckpointError,
    ConfigError,
    MosaicError,
    RunError,
    SourcesError,
)
from survey_classifier.membership.claimed_errors import error_correlation, error_correlation_alike
from survey_classifier.model.checkpoint import file_digest, load_network, read_card
from survey_classifier.model.scorer import TorchScorer
from survey_classifier.training import blocks, fit, judgment
from survey_classifier.training.dataset import TrainingSet, load_training_set
from survey_classifier.training.evaluate import fit_temperature, score_rows
from survey_classifier.training.fit import train
from survey_classifier.training.fit_settings import FitSettings
from survey_classifier.training.novelty import unseen_distances
from survey_classifier.training.optimize import Task, fit_network
from survey_classifier.training.recipes import Recipe, read_recipe
from survey_classifier.training.samples import Samples, random_views
from survey_classifier.training.schedule import rate_at
from survey_classifier.training.team import Team
from tests.labeled_field import N_OBJECT, RECIPE, label_of, make_field, write_table

ALONE = Team(torch.device("cpu"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_field(tmp_path_factory.mktemp("field"))


@pytest.fixture
def recipe_path(folder: Path, tmp_path: Path) -> Iterator[Path]:
    path = folder / f"{tmp_path.name}.toml"
    path.write_text(RECIPE.format(out=tmp_path / "out", epochs=12))
    yield path
    path.unlink()


def loaded(path: Path) -> tuple[Recipe, TrainingSet]:
    recipe = read_recipe(path)
    return recipe, load_training_set(recipe, recipe.draft_card())


def test_objects_enter_once_with_their_label(recipe_path: Path) -> None:
    _, data = loaded(recipe_path)
    ids = [*(f"o{n:03d}" for n in range(N_OBJECT)), "t0", "t1", "t2", "t3"]
    assert data.labels.object_id.tolist() == ids
    numbers = [int(name[1:]) for name in ids]
    assert [data.classes[k] for k in data.labels.label] == [label_of(n) for n in numbers]
    assert [len(block) for block in data.blocks] == [N_OBJECT, 4]
    members = sum(label_of(n) == "member" for n in numbers)
    assert data.prevalence["member"] == pytest.approx(members / len(ids))
    assert [roll.line for roll in data.rolls] == [
        "objects.csv: 65 rows = 64 used + 1 ignored",
        "more.csv: 6 rows = 4 used + 1 without a thumbnail + 1 in a table above",
    ]
    assert [(d.name, d.n) for d in data.digests] == [
        ("objects.csv", N_OBJECT),
        ("field", 0),
        ("more.csv", 4),
        ("thumbs.zip", 0),
    ]


def test_a_mosaic_read_piece_by_piece_gives_the_same_stamps(
    recipe_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, whole = loaded(recipe_path)
    monkeypatch.setattr(blocks, "READ_PX", 64)
    _, pieces = loaded(recipe_path)
    assert pieces.labels.object_id.tolist() == whole.labels.object_id.tolist()
    for got, want in zip(pieces.blocks, whole.blocks, strict=True):
        for field in dataclasses.fields(want):
            np.testing.assert_array_equal(getattr(got, field.name), getattr(want, field.name))


@pytest.mark.parametrize("at_most", [None, 1, 4, 100])
def test_stamps_come_in_pieces(recipe_path: Path, at_most: int | None) -> None:
    _, data = loaded(recipe_path)
    rows = np.random.default_rng(0).permutation(len(data))
    found: list[int] = []
    for stamps, places in data.by_block(rows, at_most):
        assert len(stamps) == len(places) <= (at_most or len(data))
        found += places.tolist()
        for flux, row in zip(stamps.flux, rows[places], strict=True):
            block, place = divmod(row, N_OBJECT)
            np.testing.assert_array_equal(flux, data.blocks[block].flux[place])
    assert sorted(found) == list(range(len(data)))


def test_random_views_keep_object_label_and_center(recipe_path: Path) -> None:
    recipe, data = loaded(recipe_path)
    card = recipe.draft_card()
    rows = np.array([67, 3, 12, 1, 65, 40])  # of both blocks
    rng = np.random.default_rng(0)
    samples = Samples.of(rows)
    x, label = random_views(data, samples, card, recipe.fit, rng, ALONE)
    assert x.shape == (6, 3, 32, 32)
    assert sorted(label.tolist()) == sorted(data.labels.label[rows].tolist())
    middle = x[:, :2, 15:17, 15:17].mean(dim=(2, 3))
    assert ((middle[:, 1] > middle[:, 0]) == (label == card.member_index)).all()  # red is member
    assert (x[:4, 2] == 1).all()  # no corner of a turned stamp is empty
    again, _ = random_views(data, samples, card, recipe.fit, rng, ALONE)
    assert not torch.equal(x, again)


def test_a_training_gives_a_checkpoint_with_figures(recipe_path: Path, tmp_path: Path) -> None:
    progress: list[tuple[int, int]] = []
    path = train(recipe_path, lambda done, total: progress.append((done, total)))
    assert path == tmp_path / "out" / "tiny.safetensors"
    assert progress == [(n + 1, 36) for n in range(36)]
    card = read_card(path)
    assert card.bands == ("g", "i")
    assert card.metrics["n_out_of_fold"] == N_OBJECT + 4
    assert card.metrics["auc_out_of_fold"] > 0.95
    assert card.prevalence["member"] == pytest.approx(card.metrics["n_member_out_of_fold"] / 68)
    assert "simulated" in card.description
    with (tmp_path / "out" / "tiny-out-of-fold.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len({row["id"] for row in rows}) == len(rows) == N_OBJECT + 4
    p = np.array([float(row["p_member"]) for row in rows])
    truth = np.array([row["class"] == "member" for row in rows])
    assert ((p - truth) ** 2).mean() == pytest.approx(card.metrics["brier_out_of_fold"], abs=1e-5)
    with (tmp_path / "out" / "tiny-log.csv").open() as file:
        log = list(csv.DictReader(file))
    assert [row["fit"] for row in log] == ["fold-0"] * 12 + ["fold-1"] * 12 + ["final"] * 12
    assert float(log[-1]["loss"]) < float(log[24]["loss"])


def test_errors_are_those_that_a_run_would_give(
    recipe_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each by the network that had not seen the object, at the temperature of other folds."""
    keep: list[Any] = []

    def spy_fit(*of: Any) -> Any:
        keep.append(fit_network(*of))
        return keep[-1]

    monkeypatch.setattr(fit, "fit_network", spy_fit)
    # A network that is not yet certain of everything.
    recipe_path.write_text(recipe_path.read_text().replace("epochs = 12", "epochs = 2"))
    card = read_card(train(recipe_path))
    with (tmp_path / "out" / "tiny-out-of-fold.csv").open() as file:
        rows = list(csv.DictReader(file))
    p, p_err, fold = (
        np.array([float(row[name]) for row in rows]) for name in ("p_member", "p_err", "fold")
    )
    _, data = loaded(recipe_path)
    logits = np.empty((len(rows), card.n_views, 2))
    for number, network in enumerate(keep[:2]):
        held = np.flatnonzero(fold == number)
        logits[held] = score_rows(network, card, data, held, ALONE.device)
    label = data.labels.label
    assert card.temperature == pytest.approx(fit_temperature(logits, label), rel=1e-6)
    for number, network in enumerate(keep[:2]):
        others = fold != number
        temperature = fit_temperature(logits[others], label[others])
        assert min(abs(temperature - wrong) for wrong in (1, card.temperature)) > 1e-3
        at = card.model_copy(update={"temperature": temperature})
        scorer = TorchScorer(network, at, ALONE.device)
        for stamps, places in data.by_block(np.flatnonzero(fold == number)):
            held = np.flatnonzero(fold == number)[places]
            scores = scorer.score(stamps)
            np.testing.assert_allclose(p[held], scores.p_image, atol=1e-6)
            np.testing.assert_allclose(p_err[held], scores.p_image_err, atol=1e-6)
    assert p_err.max() > 1e-4
    truth = np.array([row["class"] == "member" for row in rows])
    found = error_correlation(p, p_err, truth)
    assert card.metrics["error_correlation_out_of_fold"] == pytest.approx(found, abs=0.01)
    found = error_correlation_alike(p, p_err, truth)
    assert card.metrics["error_correlation_alike_out_of_fold"] == pytest.approx(found, abs=0.03)


def test_the_same_recipe_gives_the_same_checkpoint(recipe_path: Path) -> None:
    first = file_digest(train(recipe_path))
    assert file_digest(train(recipe_path, overwrite=True)) == first
    recipe_path.write_text(recipe_path.read_text().replace("seed = 3", "seed = 4"))
    assert file_digest(train(recipe_path, overwrite=True)) != first


def test_no_network_scores_what_it_has_seen(
    recipe_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every object is scored once, by a network fitted without it and all within 2 arcsec."""
    fitted: dict[int, set[int]] = {}
    scored: list[int] = []

    def spy_fit(task: Task, samples: Samples, *rest: Any) -> Any:
        network = fit_network(task, samples, *rest)
        fitted[id(network)] = set(samples.rows.tolist())
        keep.append(network)
        return network

    def spy_score(network: Any, card: Any, data: TrainingSet, rows: np.ndarray, at: Any) -> Any:
        assert not fitted[id(network)] & set(rows.tolist())
        scored.extend(rows.tolist())
        return score_rows(network, card, data, rows, at)

    def spy_far(task: Task, network: Any, seen: np.ndarray, unseen: np.ndarray) -> Any:
        assert set(seen.tolist()) == fitted[id(network)]
        assert not fitted[id(network)] & set(unseen.tolist())
        far.extend(unseen.tolist())
        return unseen_distances(task, network, seen, unseen)

    far: list[int] = []
    keep: list[Any] = []
    monkeypatch.setattr(fit, "fit_network", spy_fit)
    monkeypatch.setattr(judgment, "score_rows", spy_score)
    monkeypatch.setattr(judgment, "unseen_distances", spy_far)
    path = train(recipe_path)
    assert sorted(far) == list(range(N_OBJECT + 4))
    assert sorted(scored) == list(range(N_OBJECT + 4))
    assert [len(rows) for rows in fitted.values()][-1] == N_OBJECT + 4
    for name, tensor in load_network(path)[0].state_dict().items():
        assert torch.equal(tensor, keep[-1].state_dict()[name])


def test_a_class_of_fewer_objects_than_folds_is_refused(recipe_path: Path) -> None:
    """Its figures would be of chance alone."""
    text = recipe_path.read_text()
    table = recipe_path.with_name(f"{recipe_path.stem}.csv")
    with (recipe_path.parent / "objects.csv").open() as file:
        rows = list(csv.reader(file))
    others = [row for row in rows[1:] if row[3] != "member"]
    write_table(table, [tuple(row) for row in [*others, rows[1]]])
    first = text.index("[[data]]", text.index("[[data]]") + 1)
    alone = text[:first] + text[text.index("[split]") :]
    recipe_path.write_text(alone.replace("objects.csv", table.name))
    with pytest.raises(SourcesError, match=r"class 'member' has 1 object, fewer than the 2 folds"):
        train(recipe_path)


def test_the_rate_rises_and_falls() -> None:
    settings = FitSettings(rate=0.5, epochs=10)
    rates = [rate_at(step, 200, settings) / 0.5 for step in range(200)]
    assert rates[:10] == pytest.approx(np.arange(1, 11) / 10)
    assert max(rates) == 1.0
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 1e-3


def test_the_published_rate_falls_from_epoch_to_epoch() -> None:
    settings = FitSettings(rate=0.8, rate_decay=0.9, epochs=5)
    rates = np.array([rate_at(step, 35, settings) for step in range(35)]).reshape(5, 7)
    assert rates == pytest.approx(np.tile(0.8 * np.exp(-0.9 * np.arange(5))[:, None], 7))


def test_a_loss_that_runs_away_is_one_line(recipe_path: Path) -> None:
    recipe_path.write_text(recipe_path.read_text().replace("rate = 1e-2", "rate = 1e30"))
    with pytest.raises(RunError, match=r"the loss of epoch 1 is nan; lower 'rate'"):
        train(recipe_path)
    assert not read_recipe(recipe_path).checkpoint_path.exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("epochs", "epoch", "did you mean 'epochs'"),
        ('unit = "display"', 'unit = "display"\nfold = 3', "unknown key 'fold'"),
        ('store = "field.zarr"', "", "either store or thumbnails"),
        (', thumb = "thumb" }', " }", "thumbnails and columns.thumb"),
        ('planes = ["i", "g"]', 'planes = ["i", "r"]', "planes must be g, i"),
        ("width = 4", "width = -4", "width"),
        ("n_views = 2", "n_views = 3", "n_views"),
        ('member = "member",', 'member = "cluster",', "labels.mapping: 'member' leads to 'clus"),
        ("softening = 5", "softening = 0", "softening"),
        ("n_folds = 2", "n_folds = 1", "n_folds"),
        ("seed = 3", "seed = -1", "fit.seed"),
        ("seed = 3", "seed = 4_294_967_296", "fit.seed"),
        ('name = "tiny"', 'name = "../tiny"', "name"),
        ("[fit]", "[fit", "not valid TOML"),
    ],
)
def test_a_wrong_recipe_is_one_line(recipe_path: Path, old: str, new: str, message: str) -> None:
    text = recipe_path.read_text()
    assert old in text
    recipe_path.write_text(text.replace(old, new))
    with pytest.raises(ConfigError, match=message) as caught:
        read_recipe(recipe_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "error", "message"),
    [
        ('ignore = ["merger"]', "", SourcesError, "label 'merger'"),
        ('label = "label" }', 'label = "lable" }', SourcesError, "did you mean 'label'"),
        ('"objects.csv"', '"absent.csv"', SourcesError, r"absent\.csv"),
        ('"field.zarr"', '"absent.zarr"', MosaicError, r"absent\.zarr"),
        ("\ni = {", "\nr = {", ConfigError, "planes must be"),
        ('unit = "display"', 'unit = "nJy"', CheckpointError, "in display"),
        ("stamp_px = 32", "stamp_px = 320", CheckpointError, "arcsec/px"),
        (
            'table = "more.csv"',
            'table = "objects.csv"',
            SourcesError,
            "64 without a thumbnail; look",
        ),
        (
            'mapping = { member = "member", nonmember = "nonmember" }',
            'mapping = { member = "nonmember", nonmember = "nonmember" }',
            SourcesError,
            "no training object of class 'member'",
        ),
    ],
)
def test_data_that_does_not_fit_is_one_line(
    recipe_path: Path, old: str, new: str, error: type[Exception], message: str
) -> None:
    text = recipe_path.read_text()
    assert old in text
    recipe_path.write_text(text.replace(old, new, 1))
    with pytest.raises(error, match=message) as caught:
        train(recipe_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("o001", 49.9, 41.5, "member", ""), "'o001' .*different labels"),
        (("new", "", 41.5, "member", ""), "'new' .*no position"),
        (("new", 449.9, 41.5, "member", ""), r"'new' of .* right ascension 449\.9: give"),
        (
            ("new", 49.9, -121, "member", ""),
            r"'new' of .* declination -121\.0: give",
        ),
    ],
)
def test_rows_that_contradict_themselves_are_refused(
    folder: Path, recipe_path: Path, tmp_path: Path, row: tuple[Any, ...], message: str
) -> None:
    with (folder / "objects.csv").open() as file:
        rows = [tuple(cells) for cells in csv.reader(file)][1:]
    write_table(tmp_path / "odd.csv", [*rows, row])
    text = recipe_path.read_text().replace('"objects.csv"', f'"{tmp_path / "odd.csv"}"')
    recipe_path.write_text(text)
    with pytest.raises(SourcesError, match=message):
        loaded(recipe_path)


@pytest.mark.parametrize("name", ["perseus", "perseus-sdss", "perseus-synthetic"])
def test_shipped_recipes_are_valid(name: str) -> None:
    recipe = read_recipe(Path(__file__).parents[1] / "deploy" / "recipes" / f"{name}.toml")
    assert recipe.name == name
    assert "real" in recipe.description.lower() or "simulated" in recipe.description.lower()
