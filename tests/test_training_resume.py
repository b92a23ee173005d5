"""Trainings that are interrupted, shared by processes, or begin with the weights of another."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from survey_classifier.errors import (
    CheckpointError,
    ConfigError,
    RunError,
    RunMismatchError,
    SurveyClassifierError,
)
from survey_classifier.model.card import DataDigest, ModelCard
from survey_classifier.model.checkpoint import (
    file_digest,
    load_network,
    read_card,
    save_checkpoint,
)
from survey_classifier.model.network import Network, build_network
from survey_classifier.training import fit
from survey_classifier.training.dataset import load_training_set
from survey_classifier.training.fit import train
from survey_classifier.training.optimize import Task, fit_network
from survey_classifier.training.recipes import read_recipe
from survey_classifier.training.samples import Samples
from survey_classifier.training.state import FitState
from survey_classifier.training.team import Team
from tests.labeled_field import N_OBJECT, RECIPE, make_field

EPOCHS = 3
VIT = "\n[network]\narchitecture = 'vit'\nwidth = 8\n" \
      "transformer = { patch_px = 8, depth = 1, n_heads = 2 }\n"  # fmt: skip


class StoppedError(Exception):
    """Stands for whatever ends a process."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_field(tmp_path_factory.mktemp("field"))


@pytest.fixture
def recipe_path(folder: Path, tmp_path: Path) -> Iterator[Path]:
    path = folder / f"{tmp_path.name}.toml"
    path.write_text(RECIPE.format(out=tmp_path / "out", epochs=EPOCHS))
    yield path
    path.unlink()


def edit(path: Path, *edits: tuple[str, str]) -> None:
    text = path.read_text()
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)


def interrupt(path: Path, after: int) -> None:
    """Train until some epochs are done."""

    def stop(n_done: int, _: int) -> None:
        if n_done == after:
            raise StoppedError

    with pytest.raises(StoppedError):
        train(path, stop)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("after", [1, EPOCHS, EPOCHS + 2, 3 * EPOCHS])
def test_an_interrupted_training_ends_with_the_same_bytes(
    recipe_path: Path, after: int, optimizer: str
) -> None:
    edit(recipe_path, ("seed = 3", f"seed = 3\noptimizer = '{optimizer}'"))
    recipe = read_recipe(recipe_path)
    whole = file_digest(train(recipe_path))
    said = recipe.predictions_path.read_bytes()
    recipe.checkpoint_path.unlink()
    interrupt(recipe_path, after)
    assert not recipe.checkpoint_path.exists()
    progress: list[int] = []
    assert file_digest(train(recipe_path, lambda done, _: progress.append(done))) == whole
    assert recipe.predictions_path.read_bytes() == said
    # What was done before is reported again, in the log too.
    assert progress == list(range(1, 3 * EPOCHS + 1))
    log = [line.split(",")[:2] for line in recipe.log_path.read_text().splitlines()[1:]]
    assert log == [
        [name, str(n + 1)] for name in ("fold-0", "fold-1", "final") for n in range(EPOCHS)
    ]
    assert not recipe.state_folder.exists()


def test_nothing_that_is_done_is_fitted_again(recipe_path: Path) -> None:
    interrupt(recipe_path, EPOCHS + 2)
    folder = read_recipe(recipe_path).state_folder
    before = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.safetensors")}
    assert sorted(before) == ["fold-0.safetensors", "fold-1.safetensors"]
    interrupt(recipe_path, 2 * EPOCHS)
    assert (folder / "fold-0.safetensors").stat().st_mtime_ns == before["fold-0.safetensors"]
    assert (folder / "fold-1.safetensors").stat().st_mtime_ns > before["fold-1.safetensors"]


def test_a_killed_process_goes_on(recipe_path: Path) -> None:
    edit(recipe_path, (f"epochs = {EPOCHS}", "epochs = 40"))
    recipe = read_recipe(recipe_path)
    process = subprocess.Popen(
        [sys.executable, "-m", "survey_classifier.cli", "train", str(recipe_path)],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    state = recipe.state_folder / "fold-0.safetensors"
    deadline = time.monotonic() + 120
    while not state.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert state.exists()
    assert not recipe.checkpoint_path.exists()
    with safe_open(state, "pt") as file:
        n_done = len(json.loads(file.metadata()["reports"]))
    assert 1 <= n_done < 3 * 40
    interrupt(recipe_path, n_done + 1)


def test_a_state_is_data_only(recipe_path: Path) -> None:
    interrupt(recipe_path, 1)
    path = read_recipe(recipe_path).state_folder / "fold-0.safetensors"
    tensors = load_file(path)
    assert {name.split(".")[0] for name in tensors} == {"weights", "optimizer"}
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    assert json.loads(metadata["random"])["bit_generator"] == "PCG64"
    assert [report["epoch"] for report in json.loads(metadata["reports"])] == [1]


@pytest.mark.parametrize(
    ("old", "new"), [("seed = 3", "seed = 4"), ("batch_size = 8", "batch_size = 9")]
)
def test_a_state_of_another_recipe_is_refused(recipe_path: Path, old: str, new: str) -> None:
    interrupt(recipe_path, 1)
    edit(recipe_path, (old, new))
    log = read_recipe(recipe_path).log_path
    before = log.read_text()
    assert len(before.splitlines()) == 2
    with pytest.raises(RunMismatchError, match=r"fold-0.*another recipe.*delete its folder") as e:
        train(recipe_path)
    assert e.value.exit_code == 2
    assert "\n" not in str(e.value)
    assert log.read_text() == before


def test_two_trainings_of_one_recipe_at_once_are_one_too_many(recipe_path: Path) -> None:
    def another(n_done: int, _: int) -> None:
        if n_done == 2:
            with pytest.raises(RunMismatchError, match=r"works on .*tiny\.state; wait") as e:
                train(recipe_path)
            assert "\n" not in str(e.value)

    recipe = read_recipe(recipe_path)
    train(recipe_path, another)
    assert recipe.checkpoint_path.is_file()
    assert not recipe.state_folder.exists()
    assert len(recipe.log_path.read_text().splitlines()) == 1 + 3 * EPOCHS


def test_a_place_that_can_not_be_written_is_one_line(recipe_path: Path) -> None:
    """The state is kept: what was fitted need not be fitted again."""
    recipe = read_recipe(recipe_path)

    def block(n_done: int, _: int) -> None:
        if n_done == 1:
            recipe.predictions_path.mkdir(parents=True)

    with pytest.raises(RunError, match=r"tiny-out-of-fold\.csv can't be written .*'out'") as e:
        train(recipe_path, block)
    assert "\n" not in str(e.value)
    assert e.value.exit_code == 1
    assert (recipe.state_folder / "final.safetensors").is_file()
    assert sorted(path.name for path in recipe.predictions_path.parent.iterdir()) == [
        "tiny-log.csv", "tiny-out-of-fold.csv", "tiny.state",
    ]  # fmt: skip
    recipe.predictions_path.rmdir()
    recipe.checkpoint_path.mkdir()
    with pytest.raises(
        ConfigError, match=r"tiny\.safetensors is there already and is no check"
    ) as c:
        train(recipe_path)
    assert c.value.exit_code == 2
    recipe.checkpoint_path.rmdir()
    train(recipe_path)


def test_what_fails_after_the_first_epoch_has_written(recipe_path: Path) -> None:
    """The same error, before any and after some: of exit code 2, then 1."""
    recipe = read_recipe(recipe_path)

    def block(n_done: int, _: int) -> None:
        if n_done == 3 * EPOCHS:
            recipe.checkpoint_path.mkdir(parents=True)

    with pytest.raises(CheckpointError, match=r"tiny\.safetensors can't be written") as e:
        train(recipe_path, block)
    assert e.value.exit_code == 1


def test_a_state_that_is_cut_off_is_one_line(recipe_path: Path) -> None:
    interrupt(recipe_path, 1)
    path = read_recipe(recipe_path).state_folder / "fold-0.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(RunError, match=r"fold-0\.safetensors can't be read .*delete it") as e:
        train(recipe_path)
    assert "\n" not in str(e.value)


def by_torchrun(path: Path, n_process: int, rc: int = 0) -> tuple[str, str]:
    """Train with several processes on this machine, and return what they say."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone",
               f"--nproc-per-node={n_process}", "-m", "survey_classifier.cli", "train",
               str(path), "--device", "cpu"]  # fmt: skip
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    assert done.returncode == rc, done.stderr
    return done.stdout, done.stderr


def test_two_processes_fit_the_network_of_one(recipe_path: Path) -> None:
    """Layer norms don't mix objects, so the gradient of the shares is that of the batch."""
    text = recipe_path.read_text()
    recipe_path.write_text(text.replace("[network]\nwidth = 4\n", VIT.lstrip()))
    recipe = read_recipe(recipe_path)
    alone = load_network(train(recipe_path, device="cpu"))[0].state_dict()
    said = np.loadtxt(recipe.predictions_path, delimiter=",", skiprows=1, usecols=(6, 7))
    recipe.checkpoint_path.unlink()
    out, err = by_torchrun(recipe_path, 2)
    assert [line.split(":")[0] for line in out.splitlines()] == [
        "objects.csv", "more.csv", "out of fold", "checkpoint",
    ]  # fmt: skip
    assert "Warning" not in err
    together = load_network(recipe.checkpoint_path)[0].state_dict()
    for name, value in alone.items():
        torch.testing.assert_close(together[name], value, atol=1e-4, rtol=1e-3)
    again = np.loadtxt(recipe.predictions_path, delimiter=",", skiprows=1, usecols=(6, 7))
    np.testing.assert_allclose(again, said, atol=1e-3)
    log = recipe.log_path.read_text().splitlines()
    assert len(log) == 1 + 3 * EPOCHS  # one process writes
    assert not recipe.state_folder.exists()


def test_of_processes_one_says_what_is_wrong(recipe_path: Path) -> None:
    edit(recipe_path, ('"objects.csv"', '"absent.csv"'))
    out, err = by_torchrun(recipe_path, 2, rc=1)  # its own
    assert out == ""
    assert err.count("survey-classifier: cannot read the table") == 1


def test_convolutions_are_shared_without_a_word(recipe_path: Path) -> None:
    edit(recipe_path, (f"epochs = {EPOCHS}", "epochs = 1"))
    _, err = by_torchrun(recipe_path, 2)
    assert "Warning" not in err


def test_a_batch_is_shared_by_as_many_as_it_feeds(recipe_path: Path) -> None:
    edit(recipe_path, ("batch_size = 8", "batch_size = 3"))
    recipe = read_recipe(recipe_path)
    card = recipe.draft_card()
    data = load_training_set(recipe, card)
    task = Task(data, card, recipe.fit, Team(torch.device("cpu"), 0, 2), {})
    state = FitState(recipe.state_folder / "final.safetensors", "")
    with pytest.raises(ConfigError, match="batch_size 3 is too small for 2 processes"):
        fit_network(task, Samples.of(data.for_training), state, lambda _: None)


def test_a_training_starts_from_the_weights_of_another(
    recipe_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network that is shipped does, and those of the folds, which judge it."""
    fitted: list[Network] = []

    def spy(*of: Any) -> Network:
        fitted.append(fit_network(*of))
        return fitted[-1]

    base = train(recipe_path)
    monkeypatch.setattr(fit, "fit_network", spy)
    edit(recipe_path, ('name = "tiny"', 'name = "tuned"'), (f"epochs = {EPOCHS}", "epochs = 1"))
    edit(recipe_path, ("rate = 1e-2", f"rate = 1e-12\nstart_from = '{base}'"))
    tuned = train(recipe_path)
    assert len(fitted) == 3  # two folds, then all
    old = load_network(base)[0].state_dict()
    for new in [load_network(tuned)[0].state_dict(), *(one.state_dict() for one in fitted)]:
        for name, value in old.items():
            if "running" not in name and "num_batches" not in name:
                torch.testing.assert_close(new[name], value, atol=1e-7, rtol=0)
    card = read_card(tuned)
    assert ("tiny.safetensors", file_digest(base), 0) in [
        (d.name, d.sha256, d.n) for d in card.data
    ]


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_norms_and_biases_do_not_decay(recipe_path: Path, optimizer: str) -> None:
    """Decay alone, as the rate is far too low to learn by: it pulls on what is no vector."""
    edit(recipe_path, (f"epochs = {EPOCHS}", "epochs = 1"))
    edit(
        recipe_path, ("rate = 1e-2", f"rate = 1e-7\nweight_decay = 1e5\noptimizer = '{optimizer}'")
    )
    recipe = read_recipe(recipe_path)
    card = recipe.draft_card()
    data = load_training_set(recipe, card)
    torch.manual_seed(recipe.fit.seed)
    first = build_network(card)
    with torch.no_grad():  # biases that are not 0 have something to lose
        for value in first.parameters():
            value += 0.1 if value.ndim == 1 else 0.0
    old = {name: value.clone() for name, value in first.state_dict().items()}
    task = Task(data, card, recipe.fit, Team(torch.device("cpu")), old)
    state = FitState(recipe.state_folder / "final.safetensors", "")
    network = fit_network(task, Samples.of(data.for_training), state, lambda _: None)
    for name, value in network.named_parameters():
        ratio = (value.norm() / old[name].norm()).item()
        assert (ratio < 0.97) == (value.ndim > 1), (name, ratio)
        assert value.ndim > 1 or ratio == pytest.approx(1, abs=1e-3)


def test_other_classes_get_a_new_head(recipe_path: Path) -> None:
    base = train(recipe_path)
    edit(recipe_path, ('name = "tiny"', 'name = "tuned"'), (f"epochs = {EPOCHS}", "epochs = 1"))
    edit(recipe_path, ("rate = 1e-2", f"rate = 1e-12\nstart_from = '{base}'"))
    edit(recipe_path, ("[labels]\n", "[labels]\nclasses = ['member', 'nonmember']\n"))
    old = load_network(base)[0].state_dict()
    new = load_network(train(recipe_path))[0].state_dict()
    torch.testing.assert_close(new["stem.0.conv.weight"], old["stem.0.conv.weight"])
    assert not torch.allclose(new["head.weight"], old["head.weight"], atol=1e-3)


def began_elsewhere(path: Path, base: Path, *data: DataDigest) -> Path:
    """Write a checkpoint as if it had been trained on other files."""
    network, card = load_network(base)
    save_checkpoint(path, network, card.model_copy(update={"data": data, "novelty": None}))
    return path


def test_figures_of_objects_that_the_first_weights_had_seen_say_so(
    recipe_path: Path, tmp_path: Path
) -> None:
    base = train(recipe_path)
    own = read_card(base).data
    other = DataDigest(name="other.csv", sha256="0" * 64, n=7)
    edit(recipe_path, ('name = "tiny"', 'name = "tuned"'), (f"epochs = {EPOCHS}", "epochs = 1"))
    edit(recipe_path, ("seed = 3", "seed = 3\nstart_from = 'START'"))
    text = recipe_path.read_text()

    def tuned(*data: DataDigest) -> tuple[ModelCard, dict[str, str], list[str]]:
        start = began_elsewhere(tmp_path / "start.safetensors", base, *data)
        recipe_path.write_text(text.replace("START", str(start)))
        lines: list[str] = []
        card = read_card(train(recipe_path, say=lines.append, overwrite=True))
        # What the first weights knew is known of these, too, and so on.
        assert [d.name for d in card.data[-1:]] == ["start.safetensors"]
        assert {d.sha256 for d in data} <= {d.sha256 for d in card.data}
        with read_recipe(recipe_path).predictions_path.open() as file:
            said = {row["id"]: row["seen"] for row in csv.DictReader(file)}
        return card, said, lines

    card, said, lines = tuned(other)
    assert "auc_out_of_fold" in card.metrics
    assert not any(name.endswith("_seen") for name in card.metrics)
    # A file of another name may hold these objects, too.
    assert set(said.values()) == {"unknown"}
    names = ["objects.csv", "more.csv", "out of fold", "note", "checkpoint"]
    assert [line.split(":")[0] for line in lines] == names
    unsure = (
        "the first weights, of start.safetensors, were fitted to objects of other.csv{}; whether"
        " {} of 68 scores are of any of these is not known: if so, figures are better than they"
        " would be of other objects"
    )
    assert lines[3] == f"note: {unsure.format('', 68)}"
    of_field = {f"o{n:03d}" for n in range(N_OBJECT)}
    others = said.keys() - of_field
    for shared, seen in (("objects.csv", of_field), ("field", of_field), ("more.csv", others),
                         ("thumbs.zip", others)):  # fmt: skip
        card, said, lines = tuned(other, next(digest for digest in own if digest.name == shared))
        assert "auc_out_of_fold_seen" in card.metrics
        assert all(name.endswith("_seen") for name in card.metrics)
        assert {name for name, word in said.items() if word == "yes"} == seen
        assert set(said.values()) == {"yes", "unknown"}
        aside = " (nobody knows which objects of it)" if shared == "field" else ""
        note = (
            f"the first weights, of start.safetensors, had seen {shared}{aside}, so {len(seen)} of"
            f" {N_OBJECT + 4} scores are of objects that count as seen; figures 'seen' are better"
            " than they would be of other objects"
        )
        also = unsure.format(f", {shared}", 68 - len(seen))
        assert card.description == f"blobs, simulated Note: {note}. Note: {also}."
        assert lines[2].startswith("out of fold seen: 68 objects, ")
        assert lines[3] == f"note: {note}"
        assert lines[4] == f"note: {also}"
        assert [line.split(":")[0] for line in lines[5:]] == ["checkpoint"]


def test_views_can_be_compared_from_the_weights_of_another(recipe_path: Path) -> None:
    base = train(recipe_path)
    edit(recipe_path, ('name = "tiny"', 'name = "tuned"'), (f"epochs = {EPOCHS}", "epochs = 1"))
    edit(recipe_path, ("rate = 1e-2", "rate = 1e-12\ncontrast_epochs = 1"))
    edit(recipe_path, ("seed = 3", f"seed = 3\nstart_from = '{base}'"))
    old, new = (load_network(path)[0].state_dict() for path in (base, train(recipe_path)))
    torch.testing.assert_close(new["stem.0.conv.weight"], old["stem.0.conv.weight"])
    assert not torch.allclose(new["head.weight"], old["head.weight"], atol=1e-3)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ("perseus-sds", "did you mean 'perseus-sdss'"),
        ("absent.safetensors", r"no checkpoint .*absent\.safetensors; correct .*'fit\.start_from'"),
        ("perseus-sdss", "has width 32, the recipe tiny has 4"),
    ],
)
def test_a_start_that_does_not_fit_is_one_line(recipe_path: Path, start: str, message: str) -> None:
    edit(recipe_path, ("seed = 3", f"seed = 3\nstart_from = '{start}'"))
    with pytest.raises(CheckpointError, match=message) as caught:
        train(recipe_path)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, SurveyClassifierError)
