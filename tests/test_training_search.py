"""Searches of a few tiny trials: serial, resumed, and on Dask workers."""

import csv
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import optuna
import pyarrow.parquet as pq
import pytest
import tomli_w
from astropy.io import fits
from typer.testing import CliRunner

from survey_classifier.cli import app
from survey_classifier.errors import ConfigError, MosaicError, RunError, RunMismatchError
from survey_classifier.files import lock
from survey_classifier.model.checkpoint import read_card
from survey_classifier.mosaic.exposure import MosaicInput
from survey_classifier.mosaic.ingest import ingest_mosaics
from survey_classifier.mosaic.mosaic_settings import MosaicSettings
from survey_classifier.run.cluster import open_workers
from survey_classifier.training import search as module
from survey_classifier.training import search_study
from survey_classifier.training.fit import train
from survey_classifier.training.recipes import read_recipe
from survey_classifier.training.search import search
from survey_classifier.training.search_settings import read_search, trial_recipe
from survey_classifier.training.trials import run_trial
from tests.conftest import REPOSITORY
from tests.labeled_field import RECIPE, make_field

SPACE = {
    "fit.rate": {"low": 1e-4, "high": 1e-2, "log": True},
    "network.width": {"choice": [4, 8]},
    "stretch.*.softening": {"low": 2.0, "high": 10.0},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = make_field(tmp_path_factory.mktemp("field"))
    (folder / "base.toml").write_text(RECIPE.format(out="base-out", epochs=30))
    return folder


@pytest.fixture
def write(folder, tmp_path):
    """Write a search file whose results are in a folder of the test's own."""

    def write(**changes):
        content = {
            "name": "tiny-search",
            "recipe": "base.toml",
            "out": str(tmp_path / "out"),
            "n_trials": 3,
            "fixed": {"fit.epochs": 1},
            "space": SPACE,
        } | changes
        path = folder / f"{tmp_path.name}-search.toml"
        path.write_text(tomli_w.dumps(content))
        return path

    return write


def rows_of(result):
    return pq.read_table(result.table).to_pylist()


def test_trials_are_trained_and_the_best_is_told(write):
    said = []
    result = search(write(), say=said.append)
    rows = rows_of(result)
    assert sorted(row["trial"] for row in rows) == [0, 1, 2]
    assert [line.split(" (")[0] for line in said] == ["trial 0", "trial 1", "trial 2"]
    values = [row["auc"] for row in rows]
    assert values == sorted(values, reverse=True)
    assert result.best_value == values[0] == rows[0]["auc_out_of_fold"]
    for row in rows:
        recipe = read_recipe(Path(row["recipe"]))
        assert recipe.fit.epochs == 1
        assert recipe.fit.rate == row["fit.rate"]
        assert recipe.network.width == row["network.width"]
        assert {s.softening for s in recipe.stretch.values()} == {row["stretch.*.softening"]}
        assert read_card(recipe.checkpoint_path).metrics["auc_out_of_fold"] == row["auc"]
    assert Path(rows[0]["recipe"]) == result.best_recipe
    text = result.table.with_suffix(".md").read_text()
    assert text.count("\n| ") == 5
    assert "3 trials of base.toml" in text


def test_a_search_goes_on_and_trains_nothing_twice(write, monkeypatch):
    first = rows_of(search(write(n_trials=2)))
    trained = []
    monkeypatch.setattr(module, "run_trial", lambda path: trained.append(path) or run_trial(path))
    rows = rows_of(search(write()))
    assert len(trained) == 1
    assert {row["trial"]: row["fit.rate"] for row in first}.items() <= {
        row["trial"]: row["fit.rate"] for row in rows
    }.items()
    assert len({row["fit.rate"] for row in rows}) == 3
    again = rows_of(search(write()))
    assert len(trained) == 1
    assert again == rows


def test_a_trial_that_was_interrupted_is_trained_again(write, monkeypatch):
    def interrupted(path):
        if interrupted.n == 1:
            raise KeyboardInterrupt
        interrupted.n += 1
        return run_trial(path)

    interrupted.n = 0
    monkeypatch.setattr(module, "run_trial", interrupted)
    with pytest.raises(KeyboardInterrupt):
        search(write())
    lost = _study(write).trials[1].params
    monkeypatch.setattr(module, "run_trial", run_trial)
    rows = rows_of(search(write()))
    assert len(rows) == 3
    assert [row["trial"] for row in rows if row["fit.rate"] == lost["fit.rate"]] == [1]


def made_up(path):
    """Return an outcome that depends on the trial's values, as a training's does."""
    recipe = read_recipe(path)
    if recipe.fit.rate > 8e-3:
        return module.Outcome(reason="too fast")
    auc = 0.9 - 50 * abs(recipe.fit.rate - 2e-3) + recipe.network.width / 1000
    return module.Outcome({"auc_out_of_fold": auc}, 1.0)


@pytest.mark.parametrize("stops", [{0, 1, 11}, {5, 12}])
@pytest.mark.parametrize("within", ["training", "draw"])
def test_a_search_that_was_stopped_is_the_one_that_was_not(
    write, monkeypatch, tmp_path, stops, within
):
    """More trials than are drawn without regard to the others."""
    left = set(stops)

    def may_stop(number):
        if number in left:
            left.remove(number)
            raise KeyboardInterrupt

    def stopped_in_training(path):
        may_stop(len(_study(write, out).trials) - 1)
        return made_up(path)

    def stopped_in_draw(trial, key, values):
        if key == "network.width":  # the first has been drawn, the last has not
            may_stop(trial.number)
        return draw(trial, key, values)

    monkeypatch.setattr(module, "run_trial", made_up)
    expected = rows_of(search(write(n_trials=14, out=str(tmp_path / "whole"))))
    assert any(row["failed"] for row in expected)
    out, draw = str(tmp_path / "stopped"), search_study._one
    if within == "training":
        monkeypatch.setattr(module, "run_trial", stopped_in_training)
    else:
        monkeypatch.setattr(search_study, "_one", stopped_in_draw)
    for _ in stops:
        with pytest.raises(KeyboardInterrupt):
            search(write(n_trials=14, out=out))
    found = rows_of(search(write(n_trials=14, out=out)))
    for row in (*found, *expected):
        del row["recipe"]  # its folder
    assert str(found) == str(expected)  # some are NaN


def test_more_trials_are_those_of_a_search_that_had_them_from_the_start(
    write, monkeypatch, tmp_path
):
    monkeypatch.setattr(module, "run_trial", made_up)
    whole = rows_of(search(write(n_trials=13, out=str(tmp_path / "whole"))))
    for n_trials in (3, 12, 13):
        grown = rows_of(search(write(n_trials=n_trials, out=str(tmp_path / "grown"))))
    assert [row["fit.rate"] for row in grown] == [row["fit.rate"] for row in whole]


def test_the_seconds_of_a_trial_are_those_of_all_its_epochs(write):
    row = rows_of(search(write(n_trials=1)))[0]
    recipe_path = Path(row["recipe"])
    with read_recipe(recipe_path).log_path.open() as file:
        seconds = sum(float(line["seconds"]) for line in csv.DictReader(file))
    assert row["seconds"] == round(seconds, 1)
    assert run_trial(recipe_path).seconds == seconds  # also of what is not trained again


def test_two_searches_in_one_folder_are_refused(write):
    path = write(n_trials=1)
    with (
        lock(read_search(path).out_folder / ".lock"),
        pytest.raises(RunMismatchError, match="another process works on"),
    ):
        search(path)


def _study(write, out=None):
    out = Path(out or read_search(write()).out_folder)
    backend = optuna.storages.journal.JournalFileBackend(str(out / "study.journal"))
    return optuna.load_study(
        study_name="tiny-search", storage=optuna.storages.JournalStorage(backend)
    )


def test_a_line_that_was_not_written_whole_is_taken_off_the_journal(write):
    """As a power failure leaves it: the search goes on, twice, and trains that trial again."""
    path = write()
    out = search(path).table.parent
    journal, whole = out / "study.journal", (out / "study.journal").read_bytes()
    for cut in (20, 1):
        journal.write_bytes(whole[:-cut])
        again = search(path)
        assert [json.loads(line) for line in journal.read_bytes().splitlines()]
        assert again.table.is_file()
    lines = whole.splitlines(keepends=True)
    journal.write_bytes(b"".join([*lines[:3], b'{"op_code": 4, "wor\n', *lines[3:]]))
    with pytest.raises(RunError, match=r"line 4 of .*study\.journal can't be read; put the file"):
        search(path)


def test_the_same_seed_draws_the_same_trials(write, monkeypatch, tmp_path):
    outcome = module.Outcome({"auc_out_of_fold": 0.7}, 1.0)
    monkeypatch.setattr(module, "run_trial", lambda _path: outcome)
    rates = []
    for seed in (5, 5, 6):
        out = str(tmp_path / f"out-{len(rates)}")
        rows = rows_of(search(write(n_trials=6, seed=seed, out=out)))
        rates.append([row["fit.rate"] for row in rows])
    assert rates[0] == rates[1] != rates[2]
    assert len(set(rates[0])) == 6


def test_trials_on_two_workers_are_those_of_one(write, tmp_path):
    """Both workers train, and what they train is what one alone would have."""
    together, alone = (
        rows_of(
            search(
                write(
                    n_trials=2,
                    out=str(tmp_path / f"out-{n_workers}"),
                    cluster={"kind": "local", "n_workers": n_workers},
                )
            )
        )
        for n_workers in (2, 1)
    )

    def metrics(rows):
        cards = (read_card(read_recipe(Path(row["recipe"])).checkpoint_path) for row in rows)
        return {row["fit.rate"]: card.metrics for row, card in zip(rows, cards, strict=True)}

    found, expected = metrics(together), metrics(alone)
    assert len(found) == 2
    assert found.keys() == expected.keys()
    for rate, known in expected.items():
        assert found[rate] == pytest.approx(known, abs=1e-4)


def test_a_trial_that_fails_is_told_and_the_others_go_on(write):
    space = {"fit.rate": {"choice": [1e-3, 1e30]}}
    said = []
    result = search(write(n_trials=5, space=space), say=said.append)
    rows = rows_of(result)
    failed = [row for row in rows if row["failed"]]
    assert 0 < len(failed) < 5
    assert all(row["fit.rate"] == 1e30 and "lower 'rate'" in row["failed"] for row in failed)
    assert rows[-1]["failed"]  # last in the table
    assert sum("failed:" in line for line in said) == len(failed)
    assert result.best_values == {"fit.rate": 1e-3}


def test_a_search_without_a_result_is_one_line(write):
    space = {"fit.rate": {"choice": [1e30, 1e31]}}
    with pytest.raises(RunError, match="every trial of tiny-search failed, the first so: ") as e:
        search(write(n_trials=2, space=space))
    assert "\n" not in str(e.value)


def test_a_folder_of_another_search_is_refused(write, monkeypatch):
    outcome = module.Outcome({"auc_out_of_fold": 0.7, "brier_out_of_fold": 0.1}, 1.0)
    monkeypatch.setattr(module, "run_trial", lambda _path: outcome)
    search(write(n_trials=1))
    with pytest.raises(RunMismatchError, match="holds a study of another objective; put"):
        search(write(n_trials=1, objective="brier"))
    with pytest.raises(RunMismatchError, match="holds a study of another seed, fixed; put"):
        search(write(n_trials=1, seed=2, fixed={"fit.epochs": 2}))
    with pytest.raises(RunMismatchError, match="holds a study of another name, tiny-search; put"):
        search(write(n_trials=1, name="mine"))
    search(write(n_trials=2))


BASE = """
extends = "under.toml"
name = "over"
description = "x"
fit.start_from = "start.safetensors"
"""


@pytest.fixture(scope="module")
def start(folder):
    """Return the content of a checkpoint that the field's recipe can start from."""
    path = folder / "for-start.toml"
    path.write_text(RECIPE.format(out="start-out", epochs=1))
    return train(path).read_bytes()


def edit(path):
    """Change what a file or a store holds."""
    if path.suffix == ".zarr":
        with fits.open(path.parent / "g.fits", mode="update") as file:
            file[0].data[0, 0] += 1
        inputs = tuple(
            MosaicInput(path=f"{band}.fits", band=band, unit="display") for band in ("g", "i")
        )
        ingest_mosaics(MosaicSettings(store=path.name, inputs=inputs), path.parent)
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            images = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(path, "w") as archive:
            for name, image in images.items():
                archive.writestr(name, image + b" ")
    elif path.suffix == ".safetensors":
        path.write_bytes(path.read_bytes() + b" ")
    else:
        path.write_text(path.read_text().replace("batch_size = 8", "batch_size = 9") + "\n")


@pytest.mark.parametrize(
    ("edited", "called"),
    [
        ("under.toml", "recipe"),
        ("objects.csv", "/objects.csv"),
        ("field.zarr", "/field.zarr"),
        ("thumbs.zip", "/thumbs.zip of /.*/more.csv"),
        ("start.safetensors", "fit.start_from"),
    ],
)
def test_a_search_goes_on_with_the_same_recipe_and_data_only(
    write, monkeypatch, folder, tmp_path, start, edited, called
):
    """Also with what the recipe takes from others."""
    monkeypatch.setattr(module, "run_trial", made_up)
    own = tmp_path / "field"
    shutil.copytree(folder, own, ignore=shutil.ignore_patterns("*.toml", "*-out"))
    (own / "start.safetensors").write_bytes(start)
    (own / "under.toml").write_text(RECIPE.format(out="o", epochs=30))
    (own / "over.toml").write_text(BASE)
    search(write(n_trials=1, recipe=str(own / "over.toml")))
    (own / "over.toml").write_text(f"# as before\n{BASE}")
    search(write(n_trials=2, recipe=str(own / "over.toml")))
    edit(own / edited)
    with pytest.raises(RunMismatchError, match=f"holds a study of another (/.*)?{called}; put"):
        search(write(n_trials=3, recipe=str(own / "over.toml")))


def test_what_is_not_there_is_found_before_any_trial(write, folder):
    base = (folder / "base.toml").read_text()
    (folder / "no-store.toml").write_text(base.replace("field.zarr", "absent.zarr"))
    with pytest.raises(MosaicError, match=r"absent\.zarr"):
        search(write(recipe="no-store.toml"))
    assert not read_search(write()).out_folder.exists()


def test_a_place_that_can_not_be_is_one_line(write, tmp_path):
    (tmp_path / "taken").touch()
    for out in ("taken", "taken/below"):
        with pytest.raises(ConfigError, match=r"cannot write into .*taken.*; change 'out'") as e:
            search(write(out=str(tmp_path / out)))
        assert "\n" not in str(e.value)
    for cluster in ("foo", "cuda", "slurm"):
        with pytest.raises(ConfigError, match=f"cluster kind '{cluster}' is none of serial, loc"):
            search(write(), cluster)
    assert not read_search(write()).out_folder.exists()


def test_a_search_among_objects_that_first_weights_had_seen_has_no_objective(write, monkeypatch):
    outcome = module.Outcome({"auc_out_of_fold_seen": 0.7}, 1.0)
    monkeypatch.setattr(module, "run_trial", lambda _path: outcome)
    with pytest.raises(RunError, match="no auc of objects that its first weights had not seen"):
        search(write(n_trials=1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective": "acuracy"}, "objective must be .*, got 'acuracy'; did you mean 'accuracy'"),
        ({"space": {"fit.rat": {"low": 1.0, "high": 2.0}}}, "unknown key 'fit.rat'; did you mean"),
        ({"space": {"labels.classes": {"choice": ["a"]}}}, "'labels.classes' is no key of a rec"),
        ({"space": {"rate": {"low": 1.0, "high": 2.0}}}, "'rate' is no key of a recipe that can"),
        (
            {"space": {"fit.rate": {"low": -1.0, "high": 2.0}}},
            "fit.rate must be greater than 0, got -1.0",
        ),
        ({"space": {"fit.rate": {"low": 2.0, "high": 1.0}}}, "low = 2.0 is not below high = 1.0"),
        ({"space": {"fit.rate": {"low": 0, "high": 1, "log": True}}}, "log = true needs a posit"),
        ({"space": {"network.architecture": {"choice": ["resnet3"]}}}, "resnet3"),
        ({"space": {"fit.rate": {"high": 1.0}}}, """the key 'space."fit.rate".low' is missing"""),
        ({"space": {"fit.rate": 3}}, 'space."fit.rate" must be a table, got 3'),
        (
            {"space": {"fit.rate": {"lo": 1.0}}},
            """unknown key 'space."fit.rate".lo'; did you mean""",
        ),
        (
            {"space": {"fit.rate": {"choice": []}}},
            'space."fit.rate".choice must have at least 1 it',
        ),
        ({"space": {}}, "space must have at least 1 item"),
        ({"space": {"fit": {"rate": {"low": 1}}}}, "fit.rate is one key here; write it in quotes"),
        ({"fixed": {"fit": {"epochs": 1}}}, 'fit.epochs is one key here; write it in quotes, "fit'),
        (
            {"fixed": {"fit.epochs": [1]}},
            'fixed."fit.epochs" must be a text or a whole number or a',
        ),
        (
            {"fixed": {"fit.rate": 1e-3}},
            '"fit.rate" of .fixed. is "fit.rate" of .space., too; keep',
        ),
        (
            {"fixed": {"stretch.g.softening": 3.0}},
            '"stretch.g.softening" of .fixed. is "stretch...softening" of .space',
        ),
        ({"fixed": {"stretch.z.maximum": 3.0}}, "is of the band 'z', the recipe has g, i"),
        ({"cluster": {"kind": "slurm"}}, "cluster.kind: 'slurm' is none of serial, local, or the"),
        ({"fixed": {"fit.epochs": 0}}, "fit.epochs must be at least 1, got 0"),
        ({"recipe": "none.toml"}, "no such file"),
        ({"seed": -1}, "seed"),
    ],
)
def test_a_wrong_search_file_is_one_line(write, changes, message):
    with pytest.raises(ConfigError, match=message) as caught:
        read_search(write(**changes))
    assert "\n" not in str(caught.value)


def test_keys_that_need_one_another_are_fixed_together(write):
    shape = {"patch_px": 8, "depth": 1, "n_heads": 2}
    fixed = {f"network.transformer.{key}": value for key, value in shape.items()}
    fixed |= {"network.architecture": "vit", "fit.epochs": 1}
    assert read_search(write(fixed=fixed)).fixed == fixed


def test_a_start_is_relative_to_the_search_file(write, folder):
    settings = read_search(
        write(space={"fit.start_from": {"choice": ["perseus", "a.safetensors"]}})
    )
    assert settings.starts == ("perseus", "a.safetensors")
    starts = [
        trial_recipe(settings, "t", {"fit.start_from": start})["fit"]["start_from"]
        for start in settings.starts
    ]
    assert starts == ["perseus", str(folder / "a.safetensors")]


def test_a_trial_says_what_is_different(write):
    settings = read_search(write())
    recipe = trial_recipe(settings, "t", {"network.width": 4, "stretch.*.softening": 3.0})
    assert recipe["network"] == {"width": 4}
    assert recipe["fit"] == {"epochs": 1}
    base = read_recipe(settings.recipe_path)
    assert recipe["stretch"] == {
        band: {"softening": 3.0, "maximum": base.stretch[band].maximum} for band in base.stretch
    }


def test_calls_are_made_in_their_order_in_this_process():
    with open_workers("serial", 4) as workers:
        assert workers.n == 1
        for number in (7, 3):
            workers.submit(number, np.sqrt, 4 * number)
        assert [workers.next_done()[0] for _ in range(2)] == [7, 3]


def test_the_verb(write):
    done = CliRunner().invoke(app, ["search", str(write(n_trials=1))], catch_exceptions=False)
    lines = done.stdout.splitlines()
    assert lines[0].startswith("trial 0 (fit.rate = ")
    assert lines[1].startswith("trials: ")
    assert lines[2].startswith("best:   ")
    assert done.stderr == ""


def test_the_shipped_search_file_is_valid(real_data, monkeypatch):
    monkeypatch.setenv("SURVEY_CLASSIFIER_DATA", str(real_data))
    settings = read_search(REPOSITORY / "deploy" / "recipes" / "perseus-search.toml")
    assert settings.n_trials > 0
