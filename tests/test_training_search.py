"""Searches of a few tiny trials: serial, resumed, and on Dask workers."""

from pathlib import Path

import numpy as np
import optuna
import pyarrow.parquet as pq
import pytest
import tomli_w
from typer.testing import CliRunner

from survey_classifier.cli import app
from survey_classifier.errors import ConfigError, RunError, RunMismatchError
from survey_classifier.model.checkpoint import read_card
from survey_classifier.run.cluster import open_workers
from survey_classifier.training import search as module
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
    assert [row["trial"] for row in rows if row["fit.rate"] == lost["fit.rate"]] == [2]


def _study(write):
    out = read_search(write()).out_folder
    backend = optuna.storages.journal.JournalFileBackend(str(out / "study.journal"))
    return optuna.load_study(
        study_name="tiny-search", storage=optuna.storages.JournalStorage(backend)
    )


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
    with pytest.raises(
        RunMismatchError, match="holds a study of another recipe, table, space or obj"
    ):
        search(write(n_trials=1, objective="brier"))


@pytest.mark.parametrize("edited", ["under.toml", "labels.csv"])
def test_a_search_is_of_what_its_recipe_extends_and_of_its_tables(
    write, monkeypatch, folder, edited
):
    outcome = module.Outcome({"auc_out_of_fold": 0.7}, 1.0)
    monkeypatch.setattr(module, "run_trial", lambda _path: outcome)
    (folder / "labels.csv").write_bytes((folder / "objects.csv").read_bytes())
    base = RECIPE.format(out="o", epochs=30).replace("objects.csv", "labels.csv")
    (folder / "under.toml").write_text(base)
    lines = 'extends = "under.toml"\nname = "over"\ndescription = "x"\n'
    (folder / "over.toml").write_text(lines)
    search(write(n_trials=1, recipe="over.toml"))
    (folder / "over.toml").write_text(f"# as before\n{lines}")
    search(write(n_trials=1, recipe="over.toml"))
    text = (folder / edited).read_text()
    (folder / edited).write_text(text.replace("batch_size = 8", "batch_size = 9") + "\n")
    with pytest.raises(RunMismatchError, match="a study of another recipe, table, space or obj"):
        search(write(n_trials=1, recipe="over.toml"))


def test_a_search_among_objects_that_first_weights_had_seen_has_no_objective(write, monkeypatch):
    outcome = module.Outcome({"auc_out_of_fold_seen": 0.7}, 1.0)
    monkeypatch.setattr(module, "run_trial", lambda _path: outcome)
    with pytest.raises(RunError, match="no auc of objects that its first weights had not seen"):
        search(write(n_trials=1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective": "acuracy"}, "objective 'acuracy' is none; did you mean 'accuracy'"),
        ({"space": {"fit.rat": {"low": 1.0, "high": 2.0}}}, "unknown key 'fit.rat'; did you mean"),
        ({"space": {"labels.classes": {"choice": ["a"]}}}, "'labels.classes' is no key of a rec"),
        ({"space": {"rate": {"low": 1.0, "high": 2.0}}}, "'rate' is no key of a recipe that can"),
        ({"space": {"fit.rate": {"low": -1.0, "high": 2.0}}}, "fit.rate: .* greater than 0"),
        ({"space": {"fit.rate": {"low": 2.0, "high": 1.0}}}, "low = 2.0 is not below high = 1.0"),
        ({"space": {"fit.rate": {"low": 0, "high": 1, "log": True}}}, "log = true needs a posit"),
        ({"space": {"network.architecture": {"choice": ["resnet3"]}}}, "resnet3"),
        ({"space": {"fit.rate": {"high": 1.0}}}, "the key 'space.fit.rate.range.low' is missing"),
        ({"space": {"fit.rate": 3}}, "space.fit.rate"),
        ({"fixed": {"fit.epochs": 0}}, "fit.epochs"),
        ({"recipe": "none.toml"}, "no such file"),
        ({"seed": -1}, "seed"),
    ],
)
def test_a_wrong_search_file_is_one_line(write, changes, message):
    with pytest.raises(ConfigError, match=message) as caught:
        read_search(write(**changes))
    assert "\n" not in str(caught.value)


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
