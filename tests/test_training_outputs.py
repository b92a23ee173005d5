"""What a training writes, and what it does not: over its inputs, over others' files, or twice."""

import csv
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from survey_classifier.errors import ConfigError, RunMismatchError
from survey_classifier.model.checkpoint import file_digest, read_card
from survey_classifier.training.fit import train
from tests.labeled_field import RECIPE, make_field

NAMES = ["tiny-log.csv", "tiny-out-of-fold.csv", "tiny.safetensors"]


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_field(tmp_path_factory.mktemp("field"))


@pytest.fixture
def folder(field: Path, tmp_path: Path) -> Iterator[Path]:
    """Inputs and outputs in one folder."""
    folder = tmp_path / "mine"
    shutil.copytree(field, folder)
    (folder / "r.toml").write_text(RECIPE.format(out=".", epochs=1))
    return folder


def edit(folder: Path, old: str, new: str) -> None:
    path = folder / "r.toml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    ("old", "new", "kind", "key"),
    [
        ("objects.csv", "tiny-log.csv", "log", "data.table"),
        ("objects.csv", "tiny-out-of-fold.csv", "table of predictions", "data.table"),
        ("objects.csv", "tiny.safetensors", "checkpoint", "data.table"),
        ("thumbs.zip", "tiny-log.csv", "log", "data.thumbnails.path"),
        ("field.zarr", "tiny.state", "state", "data.store"),
    ],
)
def test_no_input_is_written_over(folder: Path, old: str, new: str, kind: str, key: str) -> None:
    (folder / old).rename(folder / new)
    edit(folder, f'"{old}"', f'"{new}"')
    before = content(folder)
    message = rf"the {kind} of tiny would be written over .*{new}, which is its {key}; change"
    with pytest.raises(ConfigError, match=message) as e:
        train(folder / "r.toml", overwrite=True)
    assert "\n" not in str(e.value)
    assert content(folder) == before


def test_nor_what_it_starts_from(folder: Path) -> None:
    base = train(folder / "r.toml")
    edit(folder, "seed = 3", "seed = 4\nstart_from = 'tiny.safetensors'")
    digest = file_digest(base)
    with pytest.raises(ConfigError, match=r"written over .*, which is its fit\.start_from; change"):
        train(folder / "r.toml", overwrite=True)
    assert file_digest(base) == digest


def test_links_are_seen_through(folder: Path) -> None:
    (folder / "tiny-log.csv").symlink_to("objects.csv")
    with pytest.raises(ConfigError, match=r"the log of tiny .*/objects\.csv, which"):
        train(folder / "r.toml")
    (folder / "tiny-log.csv").unlink()
    (folder / "tiny-log.csv").hardlink_to(folder / "objects.csv")
    with pytest.raises(ConfigError, match=r"the log of tiny .*/objects\.csv, which"):
        train(folder / "r.toml")


def test_a_recipe_may_be_called_as_its_table(folder: Path) -> None:
    edit(folder, 'name = "tiny"', 'name = "objects"')
    before = (folder / "objects.csv").read_bytes()
    train(folder / "r.toml")
    assert (folder / "objects.csv").read_bytes() == before
    with (folder / "objects-log.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 3


@pytest.mark.parametrize("name", [*NAMES, "tiny.state"])
def test_files_of_others_are_left(folder: Path, name: str) -> None:
    """Also where all that is finished may be replaced."""
    if name == "tiny.state":
        (folder / name).mkdir()
        (folder / name / "thesis.tex").write_text("once")
    else:
        (folder / name).write_text("once,upon,a,time,there,was\n")
    before = content(folder)
    with pytest.raises(ConfigError, match=rf"{name} is there already and is no .*; move it") as e:
        train(folder / "r.toml", overwrite=True)
    assert "\n" not in str(e.value)
    assert content(folder) == before


@pytest.mark.parametrize("out", ["objects.csv", "/proc/x", "objects.csv/deep"])
def test_a_place_that_is_none_is_refused_before_any_work(folder: Path, out: str) -> None:
    edit(folder, 'out = "."', f'out = "{out}"')
    before = content(folder)
    with pytest.raises(ConfigError, match=r"can't be written \(.*; change 'out'") as e:
        train(folder / "r.toml")
    assert e.value.exit_code == 2
    assert content(folder) == before


def test_what_is_refused_leaves_nothing(folder: Path) -> None:
    edit(folder, "[fit]", "[fit]\nrobust_q = 0.5")
    edit(folder, "batch_size = 8", "batch_size = 2")
    # All of one class lie in one of two strips.
    with (folder / "objects.csv").open() as file:
        rows = list(csv.DictReader(file))
    southern = sorted(float(row["dec"]) for row in rows)[10]
    with (folder / "objects.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        for row in rows:
            label = "member" if float(row["dec"]) < southern else "nonmember"
            writer.writerow(row | {"label": label})
    edit(folder, '[[data]]\ntable = "more.csv"', "#")
    text = (folder / "r.toml").read_text()
    a, b = text.index("#"), text.index("[split]")
    (folder / "r.toml").write_text(text[:a] + text[b:])
    before = content(folder)
    with pytest.raises(Exception, match="no object of class 'member' is left") as e:
        train(folder / "r.toml")
    assert e.value.exit_code == 2  # type: ignore[attr-defined]
    assert content(folder) == before
    assert not (folder / "tiny.state").exists()


def test_what_is_finished_is_not_done_again(folder: Path) -> None:
    said: list[str] = []
    path = train(folder / "r.toml", say=said.append)
    before = {name: (folder / name).stat().st_mtime_ns for name in NAMES}
    told: list[str] = []
    progress: list[int] = []
    assert train(folder / "r.toml", lambda n, _: progress.append(n), say=told.append) == path
    assert progress == []
    assert told[0] == (
        "tiny.safetensors is there already, by this recipe and of these data; --overwrite trains it"
        " again"
    )
    assert told[1:] == said[2:]  # the figures, and where it is
    assert {name: (folder / name).stat().st_mtime_ns for name in NAMES} == before
    digest = file_digest(path)
    train(folder / "r.toml", lambda n, _: progress.append(n), overwrite=True)
    assert progress == [1, 2, 3]
    assert file_digest(path) == digest


def relabel(folder: Path) -> None:
    path = folder / "objects.csv"
    path.write_text(path.read_text().replace("o001,", "p001,"))


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: edit(folder, "seed = 3", "seed = 4"),
        lambda folder: edit(folder, "blobs, simulated", "other words, simulated"),
        relabel,
        lambda folder: shutil.copy(folder / "more.csv", folder / "objects.csv"),
    ],
)
def test_what_is_finished_by_another_recipe_is_kept(folder: Path, change) -> None:
    path = train(folder / "r.toml")
    change(folder)
    before = content(folder)
    with pytest.raises(
        RunMismatchError, match=r"another recipe, .*'name' or 'out', or --over"
    ) as e:
        train(folder / "r.toml")
    assert "\n" not in str(e.value)
    assert content(folder) == before
    assert read_card(path).trained_by


def test_what_another_version_has_trained_is_kept(folder: Path) -> None:
    from survey_classifier.model.checkpoint import load_checkpoint, save_checkpoint

    path = train(folder / "r.toml")
    network, card, novelty = load_checkpoint(path)
    save_checkpoint(path, network, card.model_copy(update={"trained_by": ""}), novelty)
    digest = file_digest(path)
    with pytest.raises(RunMismatchError, match="or by an earlier version"):
        train(folder / "r.toml")
    assert file_digest(path) == digest


def test_the_verb_tells_and_overwrites(folder: Path, call) -> None:
    code, out, _ = call("train", folder / "r.toml")
    assert code == 0
    assert out.splitlines()[0] == "objects.csv: 65 rows = 64 used + 1 ignored"
    code, out, err = call("train", folder / "r.toml")
    assert (code, err) == (0, "")
    assert out.startswith("tiny.safetensors is there already, by this recipe")
    edit(folder, "seed = 3", "seed = 4")
    code, out, err = call("train", folder / "r.toml")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    code, out, err = call("train", folder / "r.toml", "--overwrite")
    assert code == 0
    assert "checkpoint: " in out
