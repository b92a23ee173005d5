"""Every row of a labeled table is used, or it is said why not."""

import csv
import io
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from survey_classifier.errors import ConfigError, SourcesError
from survey_classifier.model.card import DataDigest
from survey_classifier.stamps import Stamps
from survey_classifier.training.blocks import fates
from survey_classifier.training.dataset import TrainingSet, load_training_set
from survey_classifier.training.labels import read_labels
from survey_classifier.training.recipes import DataSettings, Recipe, read_recipe
from survey_classifier.training.roll import Roll
from tests.labeled_field import N_OBJECT, RECIPE, make_field, write_table

COLUMNS = '{ id = "id", ra = "ra", dec = "dec", label = "label" }'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_field(tmp_path_factory.mktemp("field"))


def recipe_of(folder: Path, data: str, lines: str = "") -> Recipe:
    """Return the field's recipe with other data."""
    text = RECIPE.format(out="out", epochs=1)
    head, tail = text.split("[[data]]")[0], text[text.index("[split]") :]
    path = folder / "mine.toml"
    path.write_text(f"{head}{data}\n{tail}{lines}")
    return read_recipe(path)


def table(folder: Path, name: str, more: str = "", columns: str = COLUMNS) -> str:
    return f'[[data]]\ntable = "{folder / name}"\ncolumns = {columns}\n{more}\n'


def field_rows(folder: Path) -> list[tuple[str, float, float, str, str]]:
    with (folder / "objects.csv").open() as file:
        return [
            (row["id"], float(row["ra"]), float(row["dec"]), row["label"], "")
            for row in csv.DictReader(file)
        ]


FATES = ("used", "ignored", "twice", "in a table above", "off the mosaic")


@given(
    fates=st.lists(st.sampled_from(FATES), min_size=1, max_size=N_OBJECT), seed=st.integers(0, 99)
)
def test_rows_sum_up(folder: Path, fates: list[str], seed: int) -> None:
    """Each row was made to end in a known way."""
    objects = field_rows(folder)[:N_OBJECT]
    first = [row for row in objects if row[3] == "member"][:1]
    first += [row for row in objects if row[3] == "nonmember"][:1]
    fresh = iter([row for row in objects if row not in first])
    rows, used = [], []
    for number, fate in enumerate(fates):
        wanted = fate if used or fate != "twice" else "used"
        if wanted == "used" and (row := next(fresh, None)) is not None:
            used.append(row)
        elif wanted == "twice":
            row = used[0]
        elif wanted == "in a table above":
            row = (f"known{number}", first[0][1], first[0][2], first[0][3], "")
        elif wanted == "ignored":
            row = (f"odd{number}", "", "", "merger", "")
        else:
            row, wanted = (f"far{number}", 120.0 + number, 2.0, "member", ""), "off the mosaic"
        rows.append((wanted, row))
    if not used:
        row = next(fresh)
        rows.append(("used", row))
        used.append(row)
    order = np.random.default_rng(seed).permutation(len(rows))
    with TemporaryDirectory() as name:
        write_table(Path(name) / "first.csv", first)
        write_table(Path(name) / "mine.csv", [rows[k][1] for k in order])
        store = f'store = "{folder / "field.zarr"}"'
        text = table(Path(name), "first.csv", store) + table(Path(name), "mine.csv", store)
        recipe = recipe_of(folder, text)
        data = load_training_set(recipe, recipe.draft_card())
    assert data.rolls[0].line == "first.csv: 2 rows = 2 used"
    roll = data.rolls[1]
    wanted_fates = [fate for fate, _ in rows]
    assert roll.n_row == len(rows) == roll.n_used + sum(roll.left_out.values())
    assert roll.n_used == len(data) - 2 == len(used)
    assert set(data.labels.object_id[2:]) == {row[0] for row in used}
    assert roll.left_out == {f: wanted_fates.count(f) for f in FATES[1:] if f in wanted_fates}
    assert data.origins[1][0].left_out == roll.left_out
    assert roll.line.count("+") == len(roll.left_out)


def test_what_pixels_say_is_counted(tmp_path: Path) -> None:
    """Thumbnails that are blank, of one value, red, or not there."""
    names = ["whole", "blank", "flat", "red", "none"]
    rng = np.random.default_rng(1)
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        for name in names[:4]:
            image = rng.uniform(10, 90, (60, 60, 4)).astype(np.uint8)
            image[..., 3] = 0 if name == "blank" else 255
            if name == "flat":
                image[..., :3] = 7
            if name == "red":
                image[..., 0] += 160
            if name == "whole":
                image[..., 2] += 160
            file = io.BytesIO()
            Image.fromarray(image, "RGBA").save(file, "PNG")
            archive.writestr(f"{name}.png", file.getvalue())
    rows = [
        (name, 40 + n, 3.0, "member", "" if name == "none" else f"{name}.png")
        for n, name in enumerate(names)
    ]
    write_table(tmp_path / "t.csv", [*rows, ("other", 50.0, 3.0, "nonmember", "whole.png")])
    thumbs = """drop_red = true
[data.thumbnails]
path = "{}"
planes = ["i", "r", "g"]
scale_arcsec = 0.2
source_px = [30, 30]
"""
    columns = '{ id = "id", ra = "ra", dec = "dec", label = "label", thumb = "thumb" }'
    text = table(tmp_path, "t.csv", thumbs.format(tmp_path / "t.zip"), columns)
    stretch = "".join(f"{band} = {{ softening = 5, maximum = 100 }}\n" for band in "irg")
    whole = RECIPE.format(out="out", epochs=1)
    head = whole[: whole.index("[stretch]")] + "[stretch]\n" + stretch
    path = tmp_path / "r.toml"
    rest = whole[whole.index("[labels]") : whole.index("[[data]]")]
    path.write_text(head + rest + text + whole[whole.index("[split]") :])
    recipe = read_recipe(path)
    data = load_training_set(recipe, recipe.draft_card())
    assert data.rolls[0].line == (
        "t.csv: 6 rows = 2 used + 1 without a thumbnail + 1 without data + 1 flat + 1 red"
    )
    assert data.labels.object_id.tolist() == ["whole", "other"]


@pytest.mark.parametrize("rim_px", [0, 1, 7, 40])
def test_what_is_red_is_told_by_what_the_network_sees(rim_px: int) -> None:
    """Not by the rim for turning and shifting, which is wider for a coarser network."""
    rng = np.random.default_rng(2)
    red, blue = np.array([200.0, 90, 80]), np.array([60.0, 70, 190])
    inner = np.concatenate([np.tile(red, (31, 60, 1)), np.tile(blue, (29, 60, 1))])
    images = [np.moveaxis(one, -1, 0) for one in (inner, inner[:, :, ::-1])]
    pad = [(0, 0), (rim_px, rim_px), (rim_px, rim_px)]
    flux = np.stack([np.pad(one, pad, constant_values=130) for one in images])
    flux += rng.uniform(0, 3, flux.shape)
    size = flux.shape[-1]
    fields = np.zeros((2, 2)), np.ones(2), np.zeros(2, np.uint8), np.zeros(2, bool)
    stamps = Stamps(("i", "r", "g"), flux.astype(np.float32), *fields, np.zeros((2, 8)), 0.1)
    data = DataSettings.model_validate(
        {
            "table": "t.csv",
            "store": "s.zarr",
            "drop_red": True,
            "columns": {"id": "id", "ra": "ra", "dec": "dec", "label": "label"},
        }
    )
    assert size == 60 + 2 * rim_px
    assert fates(stamps, data, 6.0).tolist() == ["red", ""]


@pytest.mark.parametrize(
    ("rows", "lines", "message"),
    [
        ("ignored", "", r"mine\.csv: 2 rows = 0 used \+ 2 ignored; look at ignore of \[labels\]"),
        ("faint", "max = { mag = 3 }", r"= 0 used \+ 2 cut; look at max of its \[\[data\]\], or"),
        ("far", "", r"2 off the mosaic \(the nearest lies 10 deg from the middle of field, which is"
         r" at 49\.9000, 41\.5000\); look at its ra and dec, or"),
    ],
)  # fmt: skip
def test_a_table_that_gives_nothing_says_why(
    folder: Path, tmp_path: Path, rows: str, lines: str, message: str
) -> None:
    label = "merger" if rows == "ignored" else "member"
    dec = 51.5 if rows == "far" else 41.5
    text = f"id,ra,dec,label,mag\na,49.9,{dec},{label},4\nb,49.9,{dec + 1},{label},\n"
    (tmp_path / "mine.csv").write_text(text)
    store = f'store = "{folder / "field.zarr"}"\n{lines}'
    recipe = recipe_of(folder, table(tmp_path, "mine.csv", store))
    with pytest.raises(SourcesError, match=message) as e:
        load_training_set(recipe, recipe.draft_card())
    assert "\n" not in str(e.value)


def test_two_labels_of_one_place_contradict_each_other(folder: Path, tmp_path: Path) -> None:
    """Neighbors may be of two classes; of two tables the first is right."""
    near, there = 1 / 3600, 0.01 / 3600

    def read(offset: float, label: str) -> TrainingSet:
        a = ("a", 49.9, 41.5, "member", "")
        write_table(tmp_path / "m.csv", [("z", 49.91, 41.5, "nonmember", ""), a,
                                         ("b", 49.9, 41.5 + offset, label, "")])  # fmt: skip
        store = f'store = "{folder / "field.zarr"}"'
        recipe = recipe_of(folder, table(tmp_path, "m.csv", store))
        return load_training_set(recipe, recipe.draft_card())

    assert len(read(near, "nonmember")) == 3
    assert len(read(there, "member")) == 3
    with pytest.raises(SourcesError, match=r"objects 'a' and 'b' of .* are at one position") as e:
        read(there, "nonmember")
    assert "\n" not in str(e.value)


def test_ten_thousand_rows_at_one_place_are_no_burden(folder: Path, tmp_path: Path) -> None:
    rows = [(f"a{n}", 49.9, 41.5, "member", "") for n in range(10_000)]
    write_table(tmp_path / "m.csv", [*rows, ("b", 49.8, 41.5, "nonmember", "")])
    recipe = recipe_of(folder, table(tmp_path, "m.csv", f'store = "{folder / "field.zarr"}"'))
    assert len(read_labels(recipe.data[0], recipe)[0]) == 10_001


def test_the_roll_is_in_the_card() -> None:
    roll = Roll("t.csv", 9).without("red", 2).without("flat", 0).without("cut", 1)
    assert roll.line == "t.csv: 9 rows = 6 used + 2 red + 1 cut"
    digest = DataDigest(name="t.csv", sha256="0" * 64, n=6, left_out=roll.left_out)
    assert DataDigest.model_validate_json(digest.model_dump_json()) == digest
    # Earlier versions refuse what they don't know.
    assert "left_out" not in DataDigest(name="t", sha256="0" * 64, n=1).model_dump(
        exclude_defaults=True
    )


@pytest.mark.parametrize("lines", ["stamp_arcsec = 20000", "jitter_px = 1e6"])
def test_stamps_that_fit_no_memory_are_refused(folder: Path, lines: str) -> None:
    recipe = recipe_of(folder, table(folder, "objects.csv", 'store = "field.zarr"'))
    changed = (
        {"stamps": recipe.stamps.model_copy(update={"stamp_arcsec": 20000.0})}
        if lines.startswith("stamp")
        else {"fit": recipe.fit.model_copy(update={"jitter_px": 1e6})}
    )
    absurd = recipe.model_copy(update=changed)
    with pytest.raises(ConfigError, match=r"px of .* arcsec a side, 2048 are allowed; lower") as e:
        load_training_set(absurd, absurd.draft_card())
    assert "\n" not in str(e.value)


def test_thumbnails_that_are_too_coarse_are_refused(folder: Path) -> None:
    text = (RECIPE.format(out="out", epochs=1)).replace("scale_arcsec = 0.2", "scale_arcsec = 5")
    path = folder / "coarse.toml"
    path.write_text(text)
    recipe = read_recipe(path)
    with pytest.raises(ConfigError, match=r"thumbs\.zip have scale_arcsec = 5, the network") as e:
        load_training_set(recipe, recipe.draft_card())
    assert "\n" not in str(e.value)


def test_two_origins_are_one_too_many(folder: Path) -> None:
    """Whatever one of them lacks."""
    with pytest.raises(ConfigError, match="give either store or thumbnails"):
        recipe_of(folder, table(folder, "objects.csv", 'store = "s"\nthumbnails = { path = "t" }'))
