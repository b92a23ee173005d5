"""What recipes take from one another, and which objects they take, how often and at what angle."""

import colorsys
import csv
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from survey_classifier.errors import ConfigError, MosaicError, SourcesError
from survey_classifier.model.inputs import to_network_input
from survey_classifier.training.dataset import load_training_set
from survey_classifier.training.fit_settings import FitSettings
from survey_classifier.training.hue import hue, is_red_first, mostly_red
from survey_classifier.training.inheritance import shipped_recipes
from survey_classifier.training.labels import read_labels
from survey_classifier.training.recipes import Recipe, read_recipe
from survey_classifier.training.samples import Samples, batches, random_views
from survey_classifier.training.team import Team
from tests.labeled_field import N_OBJECT, RECIPE, make_field, write_table

ALONE = Team(torch.device("cpu"))
FIVE_LINES = """
extends = "{base}"
name = "mine"
description = "mine"
fit.epochs = 3
data = [{{ table = "mine.csv", store = "mine.zarr", columns = {columns} }}]
"""
COLUMNS_MINE = '{ id = "i", ra = "r", dec = "d", label = "l" }'


def five_lines(base: str) -> str:
    return FIVE_LINES.format(base=base, columns=COLUMNS_MINE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_field(tmp_path_factory.mktemp("field"))
    (folder / "base.toml").write_text(RECIPE.format(out="out", epochs=2))
    return folder


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def extending(folder: Path, tmp_path: Path, lines: str) -> Recipe:
    """Read a recipe that differs from the field's by some lines."""
    text = f'extends = "base.toml"\nname = "x"\ndescription = "x"\n{lines}'
    path = written(folder / f"{tmp_path.name}.toml", text)
    recipe = read_recipe(path)
    path.unlink()
    return recipe


def test_five_lines_are_a_recipe(tmp_path: Path) -> None:
    path = written(tmp_path / "mine.toml", five_lines("perseus-sdss"))
    mine, base = read_recipe(path), read_recipe(shipped_recipes()["perseus-sdss"])
    assert (mine.name, mine.description, mine.fit.epochs) == ("mine", "mine", 3)
    assert mine.checkpoint_path == tmp_path / "mine.safetensors"
    assert [mine.path(d.store) for d in mine.data] == [tmp_path / "mine.zarr"]
    for field in ("unit", "network", "stamps", "stretch", "labels", "split"):
        assert getattr(mine, field) == getattr(base, field)
    assert mine.fit == base.fit.model_copy(update={"epochs": 3})


def test_what_is_taken_over_means_the_same_in_another_folder(folder: Path, tmp_path: Path) -> None:
    text = 'extends = "{base}"\nname = "x"\ndescription = "x"\n'
    far = written(tmp_path / "a" / "far.toml", text.format(base=folder / "base.toml"))
    near = written(tmp_path / "near.toml", text.format(base="a/far.toml") + 'out = "out"\n')
    base, mine = read_recipe(folder / "base.toml"), read_recipe(near)
    assert [mine.path(d.table) for d in mine.data] == [base.path(d.table) for d in base.data]
    assert mine.path(mine.data[0].store) == folder / "field.zarr"
    assert mine.data[1].thumbnails is not None
    assert mine.path(mine.data[1].thumbnails.path) == folder / "thumbs.zip"
    assert mine.checkpoint_path == tmp_path / "out" / "x.safetensors"
    assert read_recipe(far).checkpoint_path.parent == far.parent  # not the base's folder
    same = ("network", "stamps", "stretch", "labels", "split", "fit", "unit")
    assert [getattr(mine, name) for name in same] == [getattr(base, name) for name in same]


def test_tables_are_taken_over_key_by_key_but_bands_as_a_whole(
    folder: Path, tmp_path: Path
) -> None:
    text = f"""
extends = "{folder / "base.toml"}"
name = "x"
description = "x"
data = [{{ table = "t", store = "s", columns = {COLUMNS_MINE} }}]
stretch = {{ z = {{ softening = 1, maximum = 2 }} }}
labels = {{ mapping = {{ yes = "member" }} }}
stamps = {{ n_views = 8 }}
"""
    mine = read_recipe(written(tmp_path / "x.toml", text))
    assert list(mine.stretch) == ["z"]
    assert mine.labels.mapping == {"yes": "member"}
    assert mine.labels.ignore == ("merger",)
    assert (mine.stamps.n_views, mine.stamps.stamp_px) == (8, 32)


@pytest.mark.parametrize(
    ("base", "message"),
    [
        ("perseus-sds", "did you mean 'perseus-sdss'"),
        ("absent.toml", r"no such file: .*absent\.toml"),
        ("mine.toml", "extends itself"),
        ("perseus-evidence", "no recipe 'perseus-evidence'"),
    ],
)
def test_a_base_that_can_not_be_is_one_line(tmp_path: Path, base: str, message: str) -> None:
    path = written(tmp_path / "mine.toml", five_lines(base))
    with pytest.raises(ConfigError, match=message) as caught:
        read_recipe(path)
    assert "\n" not in str(caught.value)


def test_a_base_gives_no_name(tmp_path: Path) -> None:
    text = five_lines("perseus-sdss").replace('name = "mine"\n', "")
    with pytest.raises(ConfigError, match="the key 'name' is missing"):
        read_recipe(written(tmp_path / "mine.toml", text))
    wrong = written(tmp_path / "mine.toml", "extends = 3\n")
    with pytest.raises(ConfigError, match="extends: a name or path is expected, got 3"):
        read_recipe(wrong)


@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_shipped_recipes_say_what_they_are(name: str) -> None:
    recipe = read_recipe(shipped_recipes()[name])
    assert recipe.name == name
    assert "real data" in recipe.description.lower() or "simulated" in recipe.description.lower()


def magnitudes(folder: Path, name: str) -> dict[str, float]:
    """Write the table of objects with a magnitude: its number, none for every tenth."""
    with (folder / "objects.csv").open() as file:
        rows = list(csv.DictReader(file))
    mags = {row["id"]: (math.nan if n % 10 == 9 else float(n)) for n, row in enumerate(rows)}
    with (folder / name).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*rows[0], "mag"])
        writer.writerows(
            [*row.values(), "" if math.isnan(mags[row["id"]]) else mags[row["id"]]] for row in rows
        )
    return mags


COLUMNS = 'columns = { id = "id", ra = "ra", dec = "dec", label = "label" }\nstore = "field.zarr"'


def test_a_largest_value_leaves_out_the_rest_and_what_has_none(
    folder: Path, tmp_path: Path
) -> None:
    mags = magnitudes(folder, "mags.csv")
    lines = f'[[data]]\ntable = "mags.csv"\nmax = {{ mag = 20 }}\n{COLUMNS}'
    recipe = extending(folder, tmp_path, lines)
    found = read_labels(recipe.data[0], recipe)[0].object_id.tolist()
    assert found == [name for name, mag in mags.items() if mag <= 20 and name != "odd"]
    assert "o020" in found
    assert "o019" not in found


def test_a_table_named_twice_gives_each_object_one_weight(folder: Path, tmp_path: Path) -> None:
    mags = magnitudes(folder, "mags.csv")
    once = f'[[data]]\ntable = "mags.csv"\n{COLUMNS}\n'
    recipe = extending(folder, tmp_path, f"{once}max = {{ mag = 20 }}\nweight = 4\n{once}")
    training = load_training_set(recipe, recipe.draft_card())
    labels = training.labels
    assert sorted(labels.object_id) == sorted(mags.keys() - {"odd"})
    assert [len(block) for block in training.blocks] == [19, N_OBJECT - 19]
    heavy = {name for name, mag in mags.items() if mag <= 20}
    assert [w == 4 for w in labels.weight] == [name in heavy for name in labels.object_id]
    n_member = (labels.label == training.classes.index("member")).sum()
    assert training.prevalence["member"] == pytest.approx(n_member / N_OBJECT)


def test_objects_for_testing_are_in_no_share(folder: Path, tmp_path: Path) -> None:
    magnitudes(folder, "mags.csv")
    once = f'[[data]]\ntable = "mags.csv"\n{COLUMNS}\n'
    lines = f'{once}max = {{ mag = 20 }}\nuse = "test"\n{once}'
    recipe = extending(folder, tmp_path, lines)
    training = load_training_set(recipe, recipe.draft_card())
    assert training.labels.is_test.sum() == 19
    assert training.for_training.tolist() == list(range(19, N_OBJECT))
    kept = training.labels.label[19:] == training.classes.index("member")
    assert training.prevalence["member"] == pytest.approx(kept.mean())
    with pytest.raises(ConfigError, match="nothing is left to train on"):
        extending(folder, tmp_path, f'{once}use = "test"')


def test_a_mosaic_may_have_bands_more_but_not_fewer(folder: Path, tmp_path: Path) -> None:
    data = f'[[data]]\ntable = "objects.csv"\n{COLUMNS}\n'
    stretch = "[stretch]\n{} = {{ softening = 5, maximum = 100 }}\n"
    one = extending(folder, tmp_path, data + stretch.format("i"))
    assert load_training_set(one, one.draft_card()).blocks[0].bands == ("i",)
    other = extending(folder, tmp_path, data + stretch.format("z"))
    with pytest.raises(MosaicError, match=r"lacks the band 'z' .* \(it has g, i\)") as caught:
        load_training_set(other, other.draft_card())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("spelled", ["", "nan", "NaN", "null"])
def test_a_hole_among_labels_is_one_line(folder: Path, tmp_path: Path, spelled: str) -> None:
    rows = [("a", 49.9, 41.5, "member", ""), ("b", 49.8, 41.5, spelled, "")]
    write_table(folder / "holes.csv", rows)
    lines = f'[[data]]\ntable = "holes.csv"\n{COLUMNS}'
    recipe = extending(folder, tmp_path, lines)
    with pytest.raises(
        SourcesError, match=r"holes\.csv has 1 object without a label, the first 'b'"
    ):
        read_labels(recipe.data[0], recipe)
    ignoring = extending(folder, tmp_path, f'labels = {{ ignore = ["{spelled}"] }}\n{lines}')
    assert read_labels(ignoring.data[0], ignoring)[0].object_id.tolist() == ["a"]


@given(st.lists(st.tuples(*[st.integers(0, 255)] * 3), min_size=1, max_size=30))
def test_hue_is_that_of_hsv(colors: list[tuple[int, int, int]]) -> None:
    image = np.array(colors, dtype=np.float32).T[:, None, :]
    want = np.array([colorsys.rgb_to_hsv(*color)[0] * 180 for color in colors])
    apart = np.abs(hue(image)[0] - want)
    assert np.minimum(apart, 180 - apart).max() <= 0.5 + 1e-4


def test_red_is_what_is_mostly_red() -> None:
    def image(n_red: int, color: tuple[float, float, float]) -> np.ndarray:
        pixels = np.tile(np.array([10.0, 20.0, 200.0]), (10, 1))  # blue
        pixels[:n_red] = color
        pixels[9] = np.nan
        return pixels.T.reshape(3, 2, 5).astype(np.float32)

    red, violet, orange, gray = (200, 10, 10), (200, 10, 120), (200, 100, 10), (50, 50, 50)
    cases = [(5, red), (4, red), (5, violet), (5, orange), (5, gray)]
    # 9 pixels have a value. Hue of this violet 163, of this orange 14; gray has hue 0.
    found = mostly_red(np.stack([image(*case) for case in cases]))
    assert found.tolist() == [True, False, True, False, True]
    assert mostly_red(np.zeros((0, 3, 4, 4), np.float32)).tolist() == []


def test_red_images_are_left_out_if_they_are_color_images(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="drop_red is for display images of 3 bands, got 2"):
        extending(folder, tmp_path, f'[[data]]\ntable = "t"\n{COLUMNS}\ndrop_red = true')


@pytest.mark.parametrize(
    ("bands", "is_red"),
    [
        ("irg", True),
        ("rgb", True),
        ("RGB", True),
        ("gri", False),
        ("bgr", False),
        (["x", "r"], True),
    ],
)
def test_the_first_of_color_bands_is_red(bands: Sequence[str], is_red: bool) -> None:
    assert is_red_first(bands) == is_red


def test_red_images_are_not_left_out_by_another_band(tmp_path: Path) -> None:
    stretch = "\n".join(f"{band} = {{ softening = 1, maximum = 255 }}" for band in "gri")
    lines = f'extends = "pruitt-2024"\nname = "x"\ndescription = "x"\n[stretch]\n{stretch}\n'
    with pytest.raises(
        ConfigError, match=r"drop_red takes the first band .* got g, r, i; list"
    ) as e:
        read_recipe(written(tmp_path / "blue.toml", lines))
    assert "\n" not in str(e.value)


def test_gray_is_the_mean_of_valid_bands(folder: Path, tmp_path: Path) -> None:
    color = extending(folder, tmp_path, "").draft_card()
    gray = extending(folder, tmp_path, "stamps = { gray = true }").draft_card()
    rng = np.random.default_rng(0)
    flux = torch.from_numpy(rng.normal(20, 9, (2, 2, 61, 61)).astype(np.float32))
    flux[0, 0, :30] = torch.nan
    offset = torch.zeros(2, 2)
    one, other = (to_network_input(flux, offset, 0.4, card) for card in (color, gray))
    torch.testing.assert_close(other[:, 0], other[:, 1])
    torch.testing.assert_close(other[:, 2], one[:, 2])
    whole = one[:, 2] == 1
    torch.testing.assert_close(other[:, 0][whole], one[:, :2].mean(dim=1)[whole])
    half = (one[0, 0] == 0) & (one[0, 1] != 0)
    assert half.any()
    torch.testing.assert_close(other[0, 0][half], one[0, 1][half])


@pytest.mark.parametrize(("n", "size"), [(68, 8), (7, 100), (10, 3)])
def test_an_epoch_of_equals_shows_each_once(n: int, size: int) -> None:
    epoch = list(batches(np.full(n, 4.0), size, np.random.default_rng(0)))
    assert sorted(np.concatenate(epoch).tolist()) == list(range(n))
    assert max(map(len, epoch)) - min(map(len, epoch)) <= 1
    assert max(map(len, epoch)) <= size


def test_samples_are_shown_as_often_as_they_weigh() -> None:
    rng = np.random.default_rng(0)
    weight = np.where(np.arange(300) < 60, 4.0, 1.0)
    shown = np.zeros(300)
    for _ in range(60):
        for picks in batches(weight, 32, rng):
            assert len(picks) == 32
            # Systematic: no sample strays by one from its share of the batch.
            n_each = np.bincount(picks, minlength=300)
            assert np.abs(n_each - 32 * weight / weight.sum()).max() < 1
            shown += np.bincount(picks, minlength=300)
    n_drawn = 60 * math.ceil(300 / 32) * 32
    assert shown.sum() == n_drawn
    expected = n_drawn * weight / weight.sum()
    assert np.abs((shown - expected) / np.sqrt(expected)).max() < 5
    assert shown[:60].sum() / n_drawn == pytest.approx(240 / 480, abs=0.01)


def test_copies_are_turned_by_the_angles_that_were_asked_for(folder: Path, tmp_path: Path) -> None:
    fit = "fit = { angles_deg = [90, 180, 360], flip = false, jitter_px = 0, flux_scatter = 0 }"
    recipe = extending(folder, tmp_path, fit)
    card = recipe.draft_card()
    training = load_training_set(recipe, card)
    samples = Samples.of(np.array([3, 66]), recipe.fit.angles_deg)
    assert samples.rows.tolist() == [3, 3, 3, 66, 66, 66]
    x, label = random_views(training, samples, card, recipe.fit, np.random.default_rng(0), ALONE)
    assert label.tolist() == training.labels.label[samples.rows].tolist()
    for number in range(2):
        quarter, half, same = x[3 * number : 3 * number + 3]
        torch.testing.assert_close(quarter, torch.rot90(same, 1, (1, 2)), atol=1e-3, rtol=0)
        torch.testing.assert_close(half, torch.rot90(same, 2, (1, 2)), atol=1e-3, rtol=0)


N_VIEW = 200


def views_by(folder: Path, tmp_path: Path, **changes: float) -> np.ndarray:
    """Return many views of one object, upright and as the settings say, in the field's unit."""
    recipe = extending(folder, tmp_path, "")
    still = {"flip": False, "jitter_px": 0.0, "flux_scatter": 0.0, "angles_deg": (0.0,)}
    settings = recipe.fit.model_copy(update=still | changes)
    card = recipe.draft_card()
    training = load_training_set(recipe, card)
    samples = Samples.of(np.full(N_VIEW, 3), settings.angles_deg)
    x, _ = random_views(training, samples, card, settings, np.random.default_rng(0), ALONE)
    flux = x[:, :2].double().numpy()
    for number, band in enumerate(card.bands):
        of = card.stretch[band]
        flux[:, number] = of.softening * np.sinh(
            flux[:, number] * np.arcsinh(of.maximum / of.softening)
        )
    return flux


def test_half_of_the_views_are_mirrored(folder: Path, tmp_path: Path) -> None:
    plain = views_by(folder, tmp_path)
    assert np.ptp(plain, axis=0).max() < 1e-3
    mirrored = views_by(folder, tmp_path, flip=True)
    is_plain = np.abs(mirrored - plain).max(axis=(1, 2, 3)) < 1e-2
    is_flipped = np.abs(mirrored - plain[..., ::-1]).max(axis=(1, 2, 3)) < 1e-2
    assert (is_plain ^ is_flipped).all()
    assert 0.4 < is_flipped.mean() < 0.6


def test_views_are_shifted_both_ways_and_no_farther_than_asked_for(
    folder: Path, tmp_path: Path
) -> None:
    def centroid(flux: np.ndarray) -> np.ndarray:
        light = np.where(flux[:, 1] > 20, flux[:, 1], 0)  # of the member's red light, above noise
        return np.stack(
            [
                (light * place).sum(axis=(1, 2)) / light.sum(axis=(1, 2))
                for place in np.mgrid[:32, :32]
            ],
            axis=1,
        )

    plain = centroid(views_by(folder, tmp_path))
    shift = centroid(views_by(folder, tmp_path, jitter_px=1.5)) - plain
    assert shift.max(axis=0) == pytest.approx([1.5, 1.5], abs=0.15)
    assert shift.min(axis=0) == pytest.approx([-1.5, -1.5], abs=0.15)
    assert shift.std(axis=0) == pytest.approx([1.5 / np.sqrt(3)] * 2, rel=0.1)


def test_views_are_scaled_by_a_factor_that_bands_share(folder: Path, tmp_path: Path) -> None:
    plain, scaled = (views_by(folder, tmp_path, flux_scatter=s)[:, :, 15, 15] for s in (0.0, 0.2))
    factor = np.log(scaled / plain)
    np.testing.assert_allclose(factor[:, 0], factor[:, 1], atol=1e-4)
    assert factor[:, 0].std() == pytest.approx(0.2, rel=0.15)
    assert abs(factor[:, 0].mean()) < 0.05


def test_the_shares_of_a_team_are_the_views_of_one(folder: Path, tmp_path: Path) -> None:
    recipe = extending(folder, tmp_path, "")
    card = recipe.draft_card()
    training = load_training_set(recipe, card)
    samples = Samples.of(np.array([67, 3, 12, 1, 65, 40, 41]))
    device = torch.device("cpu")

    def views(rank: int, size: int) -> torch.Tensor:
        team = Team(device, rank, size)
        return random_views(training, samples, card, recipe.fit, np.random.default_rng(7), team)[0]

    whole, parts = views(0, 1), [views(rank, 3) for rank in range(3)]
    assert [len(part) for part in parts] == [3, 2, 2]
    for rank, part in enumerate(parts):
        torch.testing.assert_close(part, whole[rank::3])


def test_angles_do_not_repeat() -> None:
    with pytest.raises(ValueError, match="repeat an angle"):
        FitSettings(angles_deg=(0, 90, 360))


def test_the_published_recipe_is_what_was_published(real_data: Path) -> None:
    """Counts of Pruitt & Romanowsky's choices in the western field."""
    recipe = read_recipe(shipped_recipes()["pruitt-2024"])
    assert recipe.fit.angles_deg[-1] == 360
    assert len(recipe.fit.angles_deg) == 16
    assert set(np.diff(recipe.fit.angles_deg)) == {15, 30}
    spectra, catalog = (read_labels(data, recipe)[0] for data in recipe.data)
    assert (len(spectra), len(catalog)) == (90, 168)
    classes = np.bincount(catalog.label)
    with (real_data / "perseus" / "pcc_dev.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if float(row["v_mag0"] or "nan") <= 19.4]
    assert classes.tolist() == [sum(row["label"] == k for row in rows) for k in ("0", "1")]
