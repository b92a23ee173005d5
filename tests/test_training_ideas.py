"""The recipes that measure ideas one by one: each is another recipe but for one thing."""

from pathlib import Path

import numpy as np
import pytest

from survey_classifier.settings import expand_path, read_toml
from survey_classifier.training.labels import joined, read_labels, without_known
from survey_classifier.training.recipes import DataSettings, Recipe, read_recipe

DEPLOY = Path(__file__).parents[1] / "deploy"
FOLDER = DEPLOY / "recipes" / "ideas"
RECIPES = sorted(path.stem for path in FOLDER.glob("*.toml"))
CALLED = ("name", "description", "extends", "out")
COUNTED = 3427
"""Objects that every recipe learns from and is judged on."""


def recipe(name: str) -> Recipe:
    return read_recipe(FOLDER / f"{name}.toml")


def differing(one: Recipe, other: Recipe) -> set[str]:
    """Name the tables in which two recipes differ."""
    mine, others = (of.model_dump(exclude={*CALLED}) for of in (one, other))
    return {key for key in mine if mine[key] != others[key]}


@pytest.mark.parametrize("name", RECIPES)
def test_an_idea_says_what_it_is(name: str) -> None:
    path = FOLDER / f"{name}.toml"
    mine = recipe(name)
    assert mine.name == name
    assert mine.checkpoint_path == DEPLOY.parent / "out" / "ideas" / f"{name}.safetensors"
    assert path.read_text().startswith("# ")
    assert mine.description.startswith("Simulated" if name == "simulated" else "Real")


@pytest.mark.parametrize("name", [n for n in RECIPES if n not in ("base", "simulated")])
def test_an_idea_is_one_thing(name: str) -> None:
    mine, base = recipe(name), recipe("base")
    # Thumbnails are too small for more context.
    only_mosaic = name == "context-40"
    assert len(differing(mine, base) - ({"data"} if only_mosaic else set())) == 1
    if name != "fixed-orientation":  # its one thing is three keys
        mine_keys, base_keys = (of.fit.model_dump() for of in (mine, base))
        assert sum(mine_keys[key] != base_keys[key] for key in mine_keys) <= 1
    kept = [data for data in base.data if not (only_mosaic and data.thumbnails)]
    assert [said(mine, data) for data in mine.data] == [said(base, data) for data in kept]


def said(of: Recipe, data: DataSettings) -> tuple[object, ...]:
    """Return all that a ``[[data]]`` says, with absolute paths."""
    paths = [of.path(text) if text else None for text in (data.table, data.store)]
    thumbnails = data.thumbnails and (of.path(data.thumbnails.path), data.thumbnails.source_px)
    return (*paths, thumbnails, data.columns, data.max, data.weight, data.use, data.drop_red)


def test_base_is_perseus_but_smaller() -> None:
    base, perseus = recipe("base"), read_recipe(DEPLOY / "recipes" / "perseus.toml")
    # Of data, paths are spelled otherwise.
    assert differing(base, perseus) <= {"network", "fit", "data"}
    shorter = {"epochs": base.fit.epochs, "n_teachers": 0}
    assert base.fit == perseus.fit.model_copy(update=shorter)
    assert (base.network.width, perseus.network.width) == (16, 32)
    assert base.network.architecture == perseus.network.architecture
    assert recipe("wide").network == perseus.network
    heavy = {data.weight for data in base.data} - {1.0}
    assert heavy == {4.0}
    assert 4.0 ** recipe("weight-10").fit.weight_power == pytest.approx(10, abs=0.01)
    assert recipe("context-40").draft_card().scale_arcsec == base.draft_card().scale_arcsec


def test_stars_are_a_class_where_they_are_to_be() -> None:
    mapping = recipe("three-classes").labels.mapping
    two = recipe("base").labels.mapping
    assert mapping.keys() == two.keys()
    assert {k for k, v in mapping.items() if v == "star"} == {"star"}
    for spelled, name in mapping.items():
        assert (name == "member") == (two[spelled] == "member")


@pytest.mark.usefixtures("real_data")
@pytest.mark.parametrize("name", ["base", "three-classes"])
def test_the_objects_are_there(name: str) -> None:
    """Tables and thumbnails as they are; the store is the one that the run file makes."""
    mine = recipe(name)
    known = []
    for data in mine.data:
        known.append(without_known(read_labels(data, mine)[0], known))
        if data.thumbnails is not None:
            assert mine.path(data.thumbnails.path).is_file()
    objects = joined(known)
    assert len(objects) >= COUNTED  # some are off the mosaic
    assert (np.bincount(objects.label) > 0).all()
    stores = {mine.path(data.store) for data in mine.data if data.store}
    run = DEPLOY / "runs" / "perseus-west.toml"
    assert stores == {expand_path(read_toml(run)["mosaic"]["store"], run.parent)}


def test_simulated_galaxies_come_first() -> None:
    first, then = recipe("simulated"), recipe("simulated-first")
    shipped = read_recipe(DEPLOY / "recipes" / "perseus-synthetic.toml")
    assert [first.path(d.store) for d in first.data] == [
        shipped.path(d.store) for d in shipped.data
    ]
    assert [first.path(d.table) for d in first.data] == [
        shipped.path(d.table) for d in shipped.data
    ]
    assert then.path(then.fit.start_from) == first.checkpoint_path
    assert first.network == then.network
    assert first.stamps == then.stamps
    assert list(first.stretch) == list(then.stretch)  # the order of the network's bands


def test_the_folder_says_how_to_run_them() -> None:
    text = (FOLDER / "README.md").read_text()
    for word in ("simulated.toml", "ideas/*.toml", "base-out-of-fold.csv", "perseus-truth.toml"):
        assert word in text
