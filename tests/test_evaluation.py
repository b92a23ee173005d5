"""Evaluations from end to end: of a small run, of a table, and of real scores."""

import csv
import json
import re
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from PIL import Image
from typer.testing import CliRunner

from survey_classifier.catalog.footer import PROVENANCE_KEY, Provenance
from survey_classifier.catalog.tables import markdown_table
from survey_classifier.cli import app
from survey_classifier.errors import ConfigError, MosaicError, SourcesError
from survey_classifier.images.frame import ImageFrame
from survey_classifier.model.card import DataDigest
from survey_classifier.model.checkpoint import file_digest, read_card
from survey_classifier.model.shipped import resolve_checkpoint
from survey_classifier.run.classify import classify
from survey_classifier.run.config import read_run
from survey_classifier.run.score import ImageTable, score
from survey_classifier.sources.digest import table_digest
from survey_classifier.training.evaluation.evaluate import evaluate
from survey_classifier.training.evaluation.folder import OURS, replaced_folder
from survey_classifier.training.evaluation.galleries import visible, worst_errors
from survey_classifier.training.evaluation.origin import origin_of
from survey_classifier.training.evaluation.pixels import Pixels
from survey_classifier.training.evaluation.settings import TruthFile, read_truth_file
from tests.conftest import REPOSITORY
from tests.small_run import SmallRun, make, write_checkpoint, write_store

FILES = {
    "evaluation.html", "evaluation.md", "measures.parquet", "confusion.parquet", "curves.parquet",
    "reliability.parquet", "objects.parquet", "curves.png", "reliability.png", "confusion.png",
    "by-magnitude.png", "color-pairs.png", "false-members.png", "missed-members.png",
    "compared.parquet", "errors.parquet", "error-fifths.parquet", "errors.png", "truth.parquet",
}  # fmt: skip


def read_rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def write_truth(path, positions, seed=2):
    rng = np.random.default_rng(seed)
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["source_id", "ra", "dec", "label"])
        for row, (ra, dec) in enumerate(zip(*positions, strict=True)):
            label = ["member", "nonmember", "star"][rng.integers(0, 3)]
            if np.isfinite(ra):
                table.writerow([f"S-{row:03d}", ra, dec, label])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run whose sources are labeled at random, and its evaluation."""
    folder = tmp_path_factory.mktemp("run")
    run = make(folder)
    rows = read_rows(folder / "sources.csv")
    positions = [[float(row[key] or "nan") for row in rows] for key in ("ra", "dec")]
    write_truth(folder / "truth.csv", positions)
    digest = DataDigest(name="truth.csv", sha256=table_digest(folder / "truth.csv"), n=70)
    write_checkpoint(folder / "net.safetensors", seed=1, data=(digest,))
    classify(read_run(run.write()))
    truth = read_truth_file(folder / "truth.csv", {}, ())
    done = evaluate(folder / "out-run", truth,
                    folder / "judged", p_names=("p_image", "p_member"))  # fmt: skip
    return folder, done


def columns(folder, name):
    return pq.read_table(folder / "judged" / f"{name}.parquet").to_pydict()


def test_everything_is_written(finished):
    folder, done = finished
    assert {path.name for path in (folder / "judged").iterdir()} == FILES
    for path in (folder / "judged").glob("*.png"):
        with Image.open(path) as image:
            image.verify()
    assert done.page == folder / "judged" / "evaluation.html"


def test_the_tables_hold_together(finished):
    folder, done = finished
    objects, found = columns(folder, "objects"), columns(folder, "measures")
    p, member = np.array(objects["p_image"]), np.array(objects["true_class"]) == "cluster"
    row = list(zip(found["group"], found["forecast"], strict=True)).index(("all", "p_image"))
    assert found["n"][row] == len(p) == len(done.results.judged)
    assert found["accuracy"][row] == pytest.approx(((p >= 0.5) == member).mean())
    for k in range(len(found["n"])):
        cells = [found[f"n_{name}"][k] for name in ("hit", "missed", "false", "rejected")]
        assert sum(cells) == found["n"][k]
        assert cells[0] + cells[1] == found["n_member"][k]
    counts = columns(folder, "confusion")
    assert sum(counts["called_member"][:3]) == int((p >= 0.5).sum())
    assert set(columns(folder, "curves")["curve"]) == {"roc", "precision_recall"}
    assert (
        "sha256"
        in pq.read_schema(folder / "judged" / "objects.parquet").metadata[b"truth"].decode()
    )


def test_every_object_is_judged_or_counted(finished):
    folder, done = finished
    n_truth = len(read_rows(folder / "truth.csv"))
    lost = sum(done.results.judged.n_unscored.values())
    assert 0 < lost < 12  # the hole, and what lies outside of the mosaic
    # Sources within 2 arcsec of each other are one object.
    assert n_truth - 3 <= len(done.results.judged) + lost <= n_truth


def test_the_page_loads_nothing_and_says_that_the_network_knew_the_objects(finished):
    _, done = finished
    text = done.page.read_text()
    assert "The network was trained on objects of truth.csv" in text
    assert "objects that were trained on" in text
    assert not re.findall(r'(?:src|href)="(?!data:)', text)
    for name in ("majority", "red sequence", "photometry", "radial profile"):
        assert name in text


def test_markdown_tables_are_whole(finished):
    folder, _ = finished
    lines = (folder / "judged" / "evaluation.md").read_text().splitlines()
    widths = [line.count("|") for line in lines if line.startswith("|")]
    heads = [k for k, line in enumerate(lines) if line.startswith("| ---")]
    assert len(heads) > 4
    assert all(lines[k].count("|") == lines[k + 1].count("|") for k in heads)
    assert min(widths) > 2


def test_a_cell_cannot_break_a_markdown_table():
    text = markdown_table(["a|b", "n"], [["x|\ny", 1.23456], ["z", float("nan")]])
    assert text.splitlines() == [
        "| a\\|b | n |",
        "| --- | ---: |",
        "| x\\| y | 1.235 |",
        "| z | - |",
    ]


def test_the_worst_errors_come_first(finished):
    _, done = finished
    judged = done.results.judged
    p = judged.p["p_image"]
    found = worst_errors(judged, p)
    assert list(found) == ["false members", "missed members"]
    false, missed = found["false members"], found["missed members"]
    assert not judged.truth.is_member[false].any()
    assert judged.truth.is_member[missed].all()
    assert (np.diff(p[false]) <= 0).all()
    assert (np.diff(p[missed]) >= 0).all()
    wrong = (p >= 0.5) != judged.truth.is_member
    assert sorted([*false, *missed]) == np.flatnonzero(wrong).tolist()


def test_stamps_are_those_of_the_objects(finished):
    folder, done = finished
    truth = read_truth_file(folder / "truth.csv", {}, (str(folder / "small.zarr"),))
    pixels = Pixels.of(truth, None)
    objects = done.results.judged.truth
    rows = np.arange(len(objects))[::-1]
    seen = []
    for stamps, some in pixels.stamps(objects, rows):
        x, y = pixels.mosaics[0].world_to_pixel(objects.ra_deg[some], objects.dec_deg[some])
        middle = stamps.flux.shape[-1] // 2
        for stamp, col, row in zip(stamps.flux, np.rint(x), np.rint(y), strict=True):
            block = pixels.mosaics[0].read(_pixel(int(row), int(col)), pixels.bands, 0)
            np.testing.assert_array_equal(stamp[:, middle, middle], block.flux[:, 0, 0])
        seen += some.tolist()
    assert sorted(seen) == sorted(rows.tolist())  # each once; those without pixels have no score


def _pixel(y, x):
    from survey_classifier.geometry import Box

    return Box(y, y + 1, x, x + 1)


def test_all_stamps_of_a_gallery_have_one_stretch(finished):
    folder, _ = finished
    pixels = Pixels.of(
        read_truth_file(folder / "truth.csv", {}, (str(folder / "small.zarr"),)), None
    )
    rng = np.random.default_rng(0)
    faint = rng.normal(0, 1, (2, 31, 31)).astype(np.float32)
    bright = faint.copy()
    faint[:, 15, 15], bright[:, 15, 15] = 8, 80
    bright[:, 0, 0] = np.nan
    one, other = visible([faint, bright], pixels)
    assert one[15, 15].mean() + 0.2 < other[15, 15].mean()
    np.testing.assert_allclose(one[5], other[5], atol=1e-3)
    assert (other[0, 0] == other[0, 0, 0]).all()


def test_origins_of_other_bands_are_refused(finished, tmp_path):
    folder, _ = finished
    write_store(tmp_path / "other.zarr", bands=("g", "z"))
    stores = (str(folder / "small.zarr"), str(tmp_path / "other.zarr"))
    with pytest.raises(MosaicError, match=r"bands g, i in nJy, .* has g in nJy; name stores"):
        Pixels.of(read_truth_file(folder / "truth.csv", {}, stores), None)


def test_thumbnails_may_be_fluxes(finished, tmp_path):
    """FITS files with an HDU a band, named after it, as a recipe in nJy takes them."""
    folder, done = finished
    objects = done.results.judged.truth
    rng = np.random.default_rng(4)
    flux = rng.normal(5, 1, (2, 51, 51)).astype(np.float32)
    hdus = [fits.ImageHDU(plane, name=band) for band, plane in zip("gi", flux, strict=True)]
    for hdu in hdus:
        hdu.header["BUNIT"] = "uJy"
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(tmp_path / "a.fits")
    settings = {"path": str(tmp_path), "planes": ["i", "g"], "scale_arcsec": 0.4,
                "source_px": [25.0, 25.0]}  # fmt: skip
    table = {"table": str(folder / "truth.csv"), "columns": {"thumb": "thumb"},
             "thumbnails": settings}  # fmt: skip
    thumb = np.full(len(objects), "a.fits", dtype=object)
    shown = replace(objects, table=np.zeros(len(objects), dtype=int), thumb=thumb)
    pixels = Pixels.of(TruthFile(data=[table], unit="nJy", stamp_arcsec=8.0), None)
    assert (pixels.bands, pixels.unit) == (("i", "g"), "nJy")
    ((stamps, rows),) = pixels.stamps(shown, np.array([3]))
    assert rows.tolist() == [3]
    np.testing.assert_allclose(stamps.flux[0], 1000 * flux[::-1, 15:36, 15:36], rtol=1e-6)
    # Of display values there is none of that, and they stand beside no mosaic of fluxes.
    with pytest.raises(SourcesError, match="is a flux"):
        list(Pixels.of(TruthFile(data=[table]), None).stamps(shown, np.array([3])))


def test_the_verb(finished, tmp_path):
    folder, _ = finished
    command = [
        "evaluate",
        str(folder / "out-run"),
        "--truth",
        str(folder / "truth.csv"),
        "--out",
        str(tmp_path / "judged"),
        "--by",
        "class",
        "--match",
        "position",
    ]
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert done.stdout.splitlines()[-1] == f"page: {tmp_path / 'judged' / 'evaluation.html'}"
    with pytest.raises(SourcesError, match="did you mean 'p_image'"):
        CliRunner().invoke(app, [*command, "--score", "p_imag"], catch_exceptions=False)


def test_scores_are_compared_with_others(finished, tmp_path):
    """With the same scores there is no difference; objects that they lack are left out."""
    folder, done = finished
    objects = columns(folder, "objects")
    rows = list(zip(objects["id"], objects["p_image"], strict=True))
    for name, some in (("same", rows), ("fewer", rows[3:])):
        with (tmp_path / f"{name}-out-of-fold.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("id", "p_member"), *some])
    command = ["evaluate", str(folder / "out-run"), "--score", "p_image", "--by", "class,mag",
               "--truth", str(folder / "truth.csv"), "--out", str(tmp_path / "judged")]  # fmt: skip
    for name in ("same", "fewer"):
        command += ["--against", str(tmp_path / f"{name}-out-of-fold.csv")]
    lines = CliRunner().invoke(app, command, catch_exceptions=False).stdout.splitlines()
    n = len(done.results.judged) - 3
    assert " of truth = " in lines[0]
    assert "3 without a score in fewer" in lines[0]
    assert lines[1].endswith("+ 3 without one in fewer")
    assert lines[2].startswith(f"{n} objects, ")
    assert lines[3].endswith("same-out-of-fold.csv")
    assert lines[4].endswith("fewer-out-of-fold.csv; lacks 3 objects, left out")
    assert lines[5].startswith("Of out-run: The network was trained on objects of truth.csv")
    found = pq.read_table(tmp_path / "judged" / "compared.parquet").to_pylist()
    kinds = {(row["by"], row["group"]) for row in found}
    assert {("set", "all"), ("set", "galaxies"), ("class", "star")} <= kinds
    keys = ("auc", "accuracy", "brier", "calibration_error", "log_loss")
    cells = [f"{key}{end}" for key in keys for end in ("", "_low", "_high")]
    everyone = [row for row in found if row["group"] == "all"]
    names = ["same", "fewer", "majority", "red sequence", "photometry", "radial profile"]
    assert [row["forecast"] for row in everyone] == names
    assert {row["less"] for row in found} == {"out-run"}
    for row in everyone[:2]:
        # Tables written as CSV have the very same numbers.
        assert [row[cell] for cell in cells] == [0] * 15
    assert all(row["brier"] != 0 for row in everyone[2:])
    page = (tmp_path / "judged" / "evaluation.html").read_text()
    text = (tmp_path / "judged" / "evaluation.md").read_text()
    assert "Differences from out-run" in page
    assert "Of out-run: The network was trained on objects of truth.csv" in page
    assert "| same | +0.0000 [+0.0000, +0.0000] |" in text
    assert "fewer-out-of-fold.csv | 3 |" in text


def test_a_table_that_says_what_wrote_it_is_judged_as_its_run_is(finished, tmp_path):
    folder, _ = finished
    truth = read_truth_file(folder / "truth.csv", {}, ())
    catalog = read_run(folder / "out-run" / "run.toml").catalog_path
    seen = evaluate(catalog, truth, tmp_path / "judged", by=()).page.read_text()
    assert "The network was trained on objects of truth.csv" in seen
    # Elsewhere, too: the footer says where the network is, and which it is.
    shutil.copy(catalog, tmp_path / "catalog.parquet")
    lines = []
    evaluate(tmp_path / "catalog.parquet", truth, tmp_path / "judged", by=(), say=lines.append)
    known = "The network was trained on objects of truth.csv: "
    assert any(line.startswith(known) for line in lines)


def test_a_network_that_was_replaced_is_not_taken_for_the_one_that_made_the_scores(
    finished, tmp_path
):
    folder, _ = finished
    catalog = read_run(folder / "out-run" / "run.toml").catalog_path
    net = folder / "net.safetensors"
    known = origin_of(catalog)
    assert known.trained_on is not None
    kept = net.read_bytes()
    truth = read_truth_file(folder / "truth.csv", {}, ())
    try:
        write_checkpoint(net, seed=2)
        assert origin_of(catalog) == replace(known, trained_on=None, is_replaced=True)
        lines = []
        evaluate(folder / "out-run", truth, tmp_path / "judged", by=(), say=lines.append)
        said = f"The file of the network {known.network} is not the one any more that made these"
        assert any(line.startswith(said) for line in lines)
        net.unlink()
        assert origin_of(catalog) == replace(known, trained_on=None)
    finally:
        net.write_bytes(kept)
    assert origin_of(catalog) == known
    assert origin_of(folder / "truth.csv").trained_on is None


@pytest.fixture(scope="module")
def circular(finished):
    """A run whose table of redshifts is the truth itself: its folder, and that table."""
    folder, _ = finished
    rng = np.random.default_rng(6)
    rows = [row for row in read_rows(folder / "truth.csv") if row["label"] != "star"]
    with (folder / "spectra.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["id", "ra", "dec", "z", "z_err", "label"])
        for row in rows[:40]:
            z = rng.normal(0.0175, 0.002) if row["label"] == "member" else rng.uniform(0.05, 0.3)
            table.writerow([row["source_id"], row["ra"], row["dec"], z, 1e-4, row["label"]])
    spectra = {"path": str(folder / "spectra.csv"), "columns": {"id": "id", "z_err": "z_err"}}
    run = SmallRun(folder).write("circular", redshifts=spectra)
    classify(read_run(run))
    columns = {"id": "id", "label": "label"}
    return folder / "out-circular", read_truth_file(folder / "spectra.csv", columns, ())


def test_no_default_forecast_holds_a_redshift(circular, tmp_path):
    """The oracle is the sum of evidence."""
    out, truth = circular
    lines = []
    done = evaluate(out, truth, tmp_path / "judged", by=(), say=lines.append)
    judged = done.results.judged
    assert list(judged.p) == ["p_image", "p_member without redshift"]
    n = len(judged)
    assert f"p_member is judged without the redshifts of {n} of {n} objects: " in "\n".join(lines)
    catalog = pq.read_table(read_run(out / "run.toml").catalog_path).to_pandas()
    catalog = catalog.set_index("source_id").loc[judged.truth.object_id]
    p = catalog["p_member"].to_numpy(float)
    llr = catalog["llr_redshift"].to_numpy(float)
    sound = (p > 1e-3) & (p < 1 - 1e-3)
    assert sound.sum() > 3
    less = 1 / (1 + np.exp(-(np.log(p / (1 - p)) - llr)))
    np.testing.assert_allclose(judged.p["p_member without redshift"][sound], less[sound], rtol=2e-3)
    # With them it is perfect, and that says nothing: so it is said.
    asked = evaluate(
        out, truth, tmp_path / "judged", p_names=("p_member",), by=(),
        say=lines.append,
    )  # fmt: skip
    assert asked.results.measured[0].figures["p_member"]["auc"].value > 0.99
    assert f"p_member holds the redshifts of {n} of {n} objects: judging it" in "\n".join(lines)
    assert done.results.measured[0].figures["p_member without redshift"]["auc"].value < 0.9


def test_a_posterior_that_is_not_what_its_file_says_is_not_judged(circular, tmp_path):
    """Then its redshifts can't be taken out of it."""
    out, truth = circular
    path = tmp_path / "changed.parquet"
    table = pq.read_table(read_run(out / "run.toml").catalog_path)
    place = table.column_names.index("p_member")
    field = table.schema.field(place)
    changed = pa.array(np.clip(table["p_member"].to_numpy() * 0.9, 0, 1).astype(np.float32))
    pq.write_table(table.set_column(place, field, changed), path)
    lines = []
    done = evaluate(path, truth, tmp_path / "judged", by=(), say=lines.append)
    assert list(done.results.judged.p) == ["p_image"]
    assert "p_member is not judged: it may hold the redshifts of" in "\n".join(lines)


def test_an_evaluation_is_replaced_whole(finished, tmp_path):
    """Of a former one nothing stays, of others everything."""
    folder, _ = finished
    assert {path.name for path in (folder / "judged").iterdir()} <= OURS
    shutil.copytree(folder / "judged", tmp_path / "judged")
    (tmp_path / "judged" / "notes.txt").write_text("mine")
    truth = read_truth_file(folder / "truth.csv", {}, ())
    bare = truth.model_copy(update={"stores": ()})
    objects = columns(folder, "objects")
    with (tmp_path / "s.csv").open("w", newline="") as file:
        rows = zip(objects["id"], objects["p_image"], strict=True)
        csv.writer(file).writerows([("id", "p_member"), *rows])
    evaluate(tmp_path / "s.csv", bare, tmp_path / "judged", by=())
    names = {path.name for path in (tmp_path / "judged").iterdir()}
    gone = {"false-members.png", "missed-members.png", "errors.png", "errors.parquet",
            "error-fifths.parquet", "by-magnitude.png", "color-pairs.png"}  # fmt: skip
    assert names == (FILES - gone) | {"notes.txt"}


def write_half(folder):
    """Write a page, and then fail."""
    with replaced_folder(folder) as new:
        (new / "evaluation.html").write_text("new")
        raise OSError("full")


@pytest.mark.parametrize("name", ["truth.parquet", "evaluation.html", "errors.png"])
def test_files_that_are_no_evaluation_s_are_not_written_over(finished, tmp_path, name):
    folder, _ = finished
    (tmp_path / name).write_text("mine")
    truth = read_truth_file(folder / "truth.csv", {}, ())
    with pytest.raises(ConfigError, match=rf"has a file {name} that is not known to be an"):
        evaluate(folder / "judged" / "objects.parquet", truth, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_an_input_is_not_written_over_by_any_name(finished, tmp_path):
    """Not even in the folder of an evaluation, or by a link."""
    folder, _ = finished
    shutil.copytree(folder / "judged", tmp_path / "judged")
    (tmp_path / "link.parquet").symlink_to(tmp_path / "judged" / "objects.parquet")
    truth = read_truth_file(folder / "truth.csv", {}, ())
    before = (tmp_path / "judged" / "objects.parquet").read_bytes()
    with pytest.raises(ConfigError, match=r"would write over .*link\.parquet, which is read"):
        evaluate(tmp_path / "link.parquet", truth, tmp_path / "judged")
    assert (tmp_path / "judged" / "objects.parquet").read_bytes() == before


def test_what_fails_midway_leaves_a_former_evaluation_as_it_was(tmp_path):
    (tmp_path / "evaluation.html").write_text("old")
    (tmp_path / "errors.png").write_text("old")
    with pytest.raises(OSError, match="full"):
        write_half(tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == dict.fromkeys(
        ("evaluation.html", "errors.png"), "old"
    )


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"seed": -1}, "--seed is -1; give 0 or more"),
        ({"out": "file"}, r"--out cannot be .*file \(it is a file\)"),
        ({"out": "file/below"}, r"--out cannot be .*below \(Not a directory\)"),
        ({"out": "/proc/nowhere"}, "--out cannot be /proc/nowhere"),
        ({"by": ["color"]}, "--by has the unknown 'color'; "),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(tmp_path, option, message):
    """Neither scores nor truth exist: nothing of them is looked at."""
    (tmp_path / "file").write_text("")
    with (tmp_path / "truth.csv").open("w") as file:
        file.write("source_id,ra,dec,label\n")
    given = {"out": tmp_path / "made" / "below"} | option
    given["out"] = tmp_path / given["out"]
    truth = read_truth_file(tmp_path / "truth.csv", {}, ())
    with pytest.raises(ConfigError, match=message) as caught:
        evaluate(tmp_path / "none.csv", truth, **given)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "made").exists()


def test_a_table_that_was_scored_tells_what_its_network_was_trained_on(finished, tmp_path):
    """Of 'score', where the checkpoint may lie anywhere."""
    folder, _ = finished
    table = tmp_path / "table.csv"
    with table.open("w", newline="") as file:
        rows = [(row["source_id"], f"{n}.png") for n, row in
                enumerate(read_rows(folder / "truth.csv")[:40])]  # fmt: skip
        csv.writer(file).writerows([("source_id", "thumb"), *rows])
    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(0)
    for _, name in rows:
        pixels = rng.integers(0, 255, (61, 61, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / name)
    digest = DataDigest(name="truth.csv", sha256=table_digest(folder / "truth.csv"), n=70)
    bands, stretch = ("i", "r", "g"), {"softening": 0.1, "maximum": 1.0}
    write_checkpoint(tmp_path / "net.safetensors", data=(digest,), bands=bands, unit="display",
                     stretch=dict.fromkeys(bands, stretch))  # fmt: skip
    frame = ImageFrame(bands, 0.4, (30.0, 30.0))
    source = ImageTable(table, "thumb", tmp_path / "images")
    score(str(tmp_path / "net.safetensors"), source, tmp_path / "scored.parquet", frame)
    truth = read_truth_file(folder / "truth.csv", {}, ())
    done = evaluate(tmp_path / "scored.parquet", truth, tmp_path / "judged", by=())
    page = done.page.read_text()
    assert "The network was trained on objects of truth.csv" in page
    assert "objects that were trained on" in page


def test_a_table_of_a_shipped_network_is_known_by_its_digest(real_data, tmp_path):
    path = resolve_checkpoint("perseus-sdss", Path())
    card = read_card(path)
    origin = Provenance("0" * 64, "scored", card.name, file_digest(path), "", {}, "2026-01-01T00Z")
    for name, known in (("same", origin), ("other", replace(origin, checkpoint_digest="1" * 64))):
        footer = {PROVENANCE_KEY: json.dumps(asdict(known))}
        columns = {"id": ["a"], "p_image": [0.5]}
        table = pa.table(columns).replace_schema_metadata(footer)
        pq.write_table(table, tmp_path / f"{name}.parquet")
    trained_on = origin_of(tmp_path / "same.parquet").trained_on
    assert trained_on == {data.sha256 for data in card.data}
    assert table_digest(real_data / "perseus" / "pcc_dev.csv") in trained_on
    assert origin_of(tmp_path / "other.parquet").trained_on is None
    assert origin_of(tmp_path / "other.parquet").is_replaced


def test_a_picture_leaves_out_what_it_has_no_room_for(finished, tmp_path):
    folder, _ = finished
    objects = columns(folder, "objects")
    others = [tmp_path / f"net-{number}.csv" for number in range(6)]
    for path in others:
        with path.open("w", newline="") as file:
            rows = zip(objects["id"], objects["p_image"], strict=True)
            csv.writer(file).writerows([("id", "p_member"), *rows])
    truth = read_truth_file(folder / "truth.csv", {}, ())
    done = evaluate(folder / "out-run", truth, tmp_path / "judged", against=others,
                    by=("mag",), p_names=("p_image",))  # fmt: skip
    assert done.results.drawn == ["out-run", *(path.stem for path in others), "majority"]
    page = done.page.read_text()
    assert "Not shown: red sequence, photometry, radial profile." in page
    # Tables of many sets show the scores and the best baseline.
    text = (tmp_path / "judged" / "evaluation.md").read_text()
    assert "net-0" not in text[text.index("## By magnitude") :]


def test_claimed_errors_are_shown(finished):
    folder, done = finished
    tests = {test.group.name: test for test in done.results.claims}
    assert list(tests) == ["all", "galaxies"]
    assert {test.forecast for test in tests.values()} == {"p_image"}
    errors, fifths = columns(folder, "errors"), columns(folder, "error-fifths")
    assert errors["correlation"][0] == tests["all"].correlation.value
    assert fifths["among"] == ["all"] * 5 + ["alike"] * 5
    assert sum(fifths["n"][:5]) == sum(fifths["n"][5:]) == len(done.results.judged)
    assert "Claimed errors of p_image, the smallest" in done.page.read_text()
    assert (
        "By fifths among objects of like certainty"
        in (folder / "judged" / "evaluation.md").read_text()
    )


def test_real_scores_are_as_good_as_is_said(real_data, monkeypatch, tmp_path):
    """Out-of-fold scores of the shipped network on bright objects, by an independent count."""
    monkeypatch.setenv("SURVEY_CLASSIFIER_DATA", str(real_data))
    recipes = REPOSITORY / "deploy" / "recipes"
    truth = read_truth_file(recipes / "perseus-truth.toml", {}, ())
    bare = [data.model_copy(update={"thumbnails": None}) for data in truth.data]
    without = truth.model_copy(update={"stores": (), "data": tuple(bare)})
    done = evaluate(recipes / "perseus-out-of-fold.csv", without, tmp_path, by=())
    sets = {found.group.name: found for found in done.results.measured}
    bright = sets["bright"]
    assert (bright.n, bright.n_member, sets["bright galaxies"].n) == (247, 98, 222)
    name = "image score out of fold"
    score, simple = bright.figures[name], bright.figures["photometry"]
    assert score["auc"].value == pytest.approx(0.981, abs=0.001)
    assert score["accuracy"].value == pytest.approx(0.939, abs=0.001)
    assert score["auc"].low > bright.figures["red sequence"]["auc"].value
    # Whether the image or the photometry is better can't be told of so few.
    assert simple["auc"].value == pytest.approx(0.976, abs=0.006)
    assert not bright.differences["photometry"]["auc"].is_beyond_chance
    assert "radial profile" not in bright.figures
    assert "They are out of fold" in done.page.read_text()
