"""Scoring images that exist already: the same scores as of a mosaic, and a row for every row."""

import csv
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from astropy.io import fits
from astropy.wcs import WCS
from PIL import Image

from survey_classifier.catalog.read import read_provenance
from survey_classifier.errors import (
    CatalogError,
    CheckpointError,
    ConfigError,
    ImageError,
    SourcesError,
)
from survey_classifier.geometry import Box
from survey_classifier.images.frame import ImageFrame
from survey_classifier.model.card import NoveltyFit
from survey_classifier.model.checkpoint import file_digest, load_network, save_checkpoint
from survey_classifier.model.inputs import cut_size_px
from survey_classifier.model.novelty import make_novelty
from survey_classifier.model.scorer import TorchScorer
from survey_classifier.model.shipped import resolve_checkpoint
from survey_classifier.mosaic.array_mosaic import ArrayMosaic
from survey_classifier.mosaic.pixels import BandInfo
from survey_classifier.run import scored_images
from survey_classifier.run.score import ImageTable, score
from survey_classifier.sources.wider import widen_table
from survey_classifier.stamps import Stamps, cut_stamps
from survey_classifier.training.novelty import fit_distance
from tests import small_run

AT = (30.3, 29.8)
"""Where the source is in the small images."""
FRAME = ImageFrame(small_run.BANDS, source_px=AT)
NEW = ["p_image", "p_image_err", "valid_fraction", "status", "status_reason"]


@pytest.fixture(scope="module")
def sky(tmp_path_factory):
    """A mosaic, and a folder of FITS files cut out of it around sources of known place."""
    folder = tmp_path_factory.mktemp("sky")
    mosaic = small_run.write_store(folder / "small.zarr")
    small_run.write_checkpoint(folder / "net.safetensors")
    corners = np.random.default_rng(3).integers(310, 460, (2, 12))
    (folder / "images").mkdir()
    for n, (y, x) in enumerate(corners.T):
        block = mosaic.read(Box(y, y + 61, x, x + 61), small_run.BANDS)
        header = WCS(small_run.grid().to_header()).to_header()
        header["BUNIT"] = "nJy"
        hdus = [fits.ImageHDU(plane, header, band) for band, plane in
                zip(block.bands, block.flux, strict=True)]  # fmt: skip
        fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(folder / "images" / f"{n}.fits")
    x, y = corners[1] + AT[0], corners[0] + AT[1]
    return folder, mosaic, x, y


@pytest.fixture
def work(sky, tmp_path):
    """A folder of one's own with the images, a checkpoint and a table of them."""
    folder = tmp_path / "work"
    shutil.copytree(sky[0] / "images", folder / "images")
    shutil.copy(sky[0] / "net.safetensors", folder)
    return folder


def write_table(path, names):
    """Write a table with columns of every kind; the first id would be lost as a number."""
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["id", "objID", "mag", "remark", "image"])
        for row, name in enumerate(names):
            mag = "" if row == 1 else f"{17 + row / 7:.5f}"
            table.writerow([f"{row:03d}", 1237661055281726031 + row, mag, f"no. {row}, blue", name])
    return path


def scored(work, names, **options):
    """Score images of the folder; return the rows and what came out."""
    table = write_table(work / "table.csv", names)
    source = ImageTable(table, "image", options.pop("images", work / "images"))
    out = options.pop("out", work / "scores.parquet")
    found = score(str(work / "net.safetensors"), source, out, FRAME, device="cpu", **options)
    return pd.read_parquet(out), found


def scored_on_mosaic(sky):
    folder, mosaic, x, y = sky
    scorer = TorchScorer.load(folder / "net.safetensors", "cpu")
    size_px = cut_size_px(scorer.card, mosaic.scale_arcsec)
    return scorer.score(cut_stamps(mosaic, x, y, size_px, small_run.BANDS))


def test_images_cut_out_of_a_mosaic_score_as_its_stamps(sky, work):
    rows, found = scored(work, [f"{n}.fits" for n in range(12)])
    expected = scored_on_mosaic(sky)
    assert found.lines == ["12 rows = 12 classified"]
    assert found.exit_code == 0
    assert np.ptp(expected.p_image) > 1e-3  # they can be told apart
    np.testing.assert_allclose(rows.p_image, expected.p_image, atol=1e-6)
    np.testing.assert_allclose(rows.p_image_err, expected.p_image_err, atol=1e-6)
    assert (rows.valid_fraction == 1).all()


def test_how_much_of_a_stamp_an_image_has_is_told(work):
    with fits.open(work / "images" / "2.fits", mode="update") as hdus:
        side = hdus["g"].data.shape[0]
        hdus["g"].data[: side // 2 - 10] = np.nan  # of one band alone
    rows, _ = scored(work, ["2.fits", "none.fits"])
    assert rows.status.tolist() == ["classified", "no_image"]
    assert 0.6 < rows.valid_fraction[0] < 0.9
    assert np.isnan(rows.valid_fraction[1])


def test_every_row_comes_out_in_its_order_with_all_its_columns(work):
    (work / "images" / "2.fits").write_bytes(b"no image")
    content = bytearray((work / "images" / "3.fits").read_bytes())
    (work / "images" / "3.fits").write_bytes(content[: len(content) // 2])
    with fits.open(work / "images" / "4.fits", mode="update") as hdus:
        hdus["g"].data[28:33, 28:33] = np.nan
    with fits.open(work / "images" / "5.fits", mode="update") as hdus:
        hdus["i"].data[:, :29] = hdus["i"].data[:24] = np.nan
    names = ["5.fits", "", "1.fits", "absent.fits", "2.fits", "../net.safetensors", "3.fits",
             "1.fits", "4.fits", "0.fits"]  # fmt: skip
    rows, found = scored(work, names)
    assert rows.status.tolist() == [
        "low_coverage", "no_image", "classified", "no_image", "bad_image", "no_image",
        "bad_image", "classified", "no_data", "classified",
    ]  # fmt: skip
    assert (rows.p_image.notna() == (rows.status == "classified")).all()
    assert rows.p_image[2] == rows.p_image[7] != rows.p_image[9]
    assert found.exit_code == 0  # each has its reason
    assert found.lines[0] == (
        "10 rows = 3 classified + 2 bad_image + 1 low_coverage + 1 no_data + 3 no_image"
    )
    reasons = rows.status_reason
    assert (reasons.isna() == (rows.status == "classified")).all()
    assert reasons[0] == "the image has data in less than 50% of the 12.8 arcsec that are needed"
    assert reasons[1] == "the table names no image"
    assert reasons[3].startswith("the image is not in ")
    assert reasons[4].startswith("the image is no readable PNG, JPEG or FITS")
    assert reasons[5].startswith("the image leads out of ")
    assert reasons[6].startswith("cannot read the image as FITS: File may have been truncated")
    assert reasons[8] == "the image has no data where the source is"
    assert sorted(found.lines[1:]) == sorted(
        f"1 {rows.status[row]}: {reasons[row]}" + (f" (first: {names[row]})" if names[row] else "")
        for row in np.flatnonzero(reasons.notna())
    )
    text = pd.read_csv(work / "table.csv", dtype=str, keep_default_na=False)
    assert list(rows) == [*text, *NEW]
    assert rows.image.tolist() == names
    assert rows.id.tolist() == [f"{row:03d}" for row in range(10)]
    assert rows.objID.dtype == np.int64
    assert rows.objID.astype(str).tolist() == text.objID.tolist()
    assert rows.remark.tolist() == text.remark.tolist()
    assert rows.mag.dtype == np.float64
    np.testing.assert_array_equal(rows.mag, pd.to_numeric(text.mag))


def test_a_table_of_numbers_keeps_them(work):
    table = work / "table.parquet"
    frame = pd.DataFrame({"n": np.arange(3, dtype=np.int16), "x": np.float32([1, np.nan, 3]),
                          "image": ["0.fits", "1.fits", "0.fits"]})  # fmt: skip
    frame.to_parquet(table)
    out = work / "scores.parquet"
    score(str(work / "net.safetensors"), ImageTable(table, "image", work / "images"), out, FRAME)
    pd.testing.assert_frame_equal(pd.read_parquet(out)[list(frame)], frame)


def test_scores_do_not_depend_on_what_is_in_memory_together(work, monkeypatch):
    names = [f"{n}.fits" for n in (5, 1, 11, 3, 3, 8)]
    together, _ = scored(work, names)
    sizes = []
    once = TorchScorer.score
    monkeypatch.setattr(
        TorchScorer, "score", lambda self, stamps: sizes.append(len(stamps)) or once(self, stamps)
    )
    with zipfile.ZipFile(work / "images.zip", "w") as file:
        for path in (work / "images").iterdir():
            file.write(path, path.name)
    monkeypatch.setattr(scored_images, "MAX_BYTES", 600_000)
    alone, _ = scored(work, names, images=work / "images.zip", out=work / "alone.parquet")
    assert sum(sizes) == 6
    assert max(sizes) < 6
    np.testing.assert_allclose(alone.p_image, together.p_image, atol=1e-6)


def test_each_file_is_scored_at_its_own_scale(work):
    """A finer copy of an image scores as it does, but for what the resampling smooths."""
    names = ["0.fits", "7.fits"]
    with fits.open(work / "images" / "0.fits") as hdus:
        for hdu in hdus[1:]:
            hdu.data = hdu.data.repeat(2, axis=0).repeat(2, axis=1) / 4  # flux of a pixel
            hdu.header["CDELT1"], hdu.header["CDELT2"] = -0.2 / 3600, 0.2 / 3600
        hdus.writeto(work / "images" / "fine.fits")
    rows, found = scored(work, names)
    both, found = scored(work, [*names, "fine.fits"], out=work / "both.parquet")
    assert found.n_by_status == {"classified": 3}
    np.testing.assert_allclose(both.p_image[:2], rows.p_image, atol=1e-6)
    for hdu_scale, reason in ((0.5, "0.4 or finer"), (0.001, "2048 are allowed")):
        with fits.open(work / "images" / "0.fits") as hdus:
            for hdu in hdus[1:]:
                hdu.header["CDELT1"] = -hdu_scale / 3600
                hdu.header["CDELT2"] = hdu_scale / 3600
            hdus.writeto(work / "images" / "odd.fits", overwrite=True)
        odd, found = scored(work, [*names, "odd.fits"], out=work / f"{hdu_scale}.parquet")
        assert odd.status.tolist() == ["classified", "classified", "bad_image"]
        assert reason in odd.status_reason[2]
        assert [r.first for r in found.reasons] == ["odd.fits"]


def test_the_file_says_where_its_rows_come_from(work):
    names = ["0.fits", "1.fits"]
    scored(work, names)
    scored(work, names, out=work / "again.parquet")
    first, again = (read_provenance(work / f"{n}.parquet") for n in ("scores", "again"))
    assert first.fingerprint == again.fingerprint
    assert first.checkpoint == "small"
    assert first.checkpoint_digest == file_digest(work / "net.safetensors")
    assert list(first.mosaics) == ["images"]
    assert "name_column" in first.configuration
    shutil.copy(work / "images" / "2.fits", work / "images" / "1.fits")
    scored(work, names, out=work / "other.parquet")
    assert read_provenance(work / "other.parquet").fingerprint != first.fingerprint


def test_more_than_two_classes_have_columns_of_their_own(work):
    classes = {"classes": ("star", "member", "background"),
               "prevalence": {"star": 0.5, "member": 0.2, "background": 0.3}}  # fmt: skip
    small_run.write_checkpoint(work / "net.safetensors", **classes)
    rows, _ = scored(work, ["0.fits", "absent", "1.fits"])
    total = rows.p_image + rows.p_image_star + rows.p_image_background
    np.testing.assert_allclose(total, [1, np.nan, 1], rtol=1e-6)


def test_novelty_comes_out_where_the_checkpoint_tells_it(sky, work):
    folder, mosaic, x, y = sky
    scorer = TorchScorer.load(folder / "net.safetensors", "cpu")
    size_px = cut_size_px(scorer.card, mosaic.scale_arcsec)
    stamps = cut_stamps(mosaic, x, y, size_px, small_run.BANDS)
    seen = scorer.look(stamps)
    early, late = fit_distance(seen.early), fit_distance(seen.late)
    far = [early(torch.from_numpy(seen.early)), late(torch.from_numpy(seen.late))]
    network, card = load_network(folder / "net.safetensors")
    path = work / "net.safetensors"
    known = card.model_copy(update={"novelty": NoveltyFit(n_fitted=12, n_unseen=12)})
    save_checkpoint(path, network, known, make_novelty(early, late, torch.stack(far, 1).numpy()))
    rows, _ = scored(work, ["3.fits", "", "7.fits"])
    assert list(rows)[-6:] == [*NEW[:2], "novelty", *NEW[2:]]
    expected = TorchScorer.load(path, "cpu").score(stamps).novelty[[3, 7]]
    np.testing.assert_allclose(rows.novelty, [expected[0], np.nan, expected[1]], atol=1e-3)


def test_what_cannot_be_scored_at_all_is_said_at_once(work):
    table = write_table(work / "table.csv", ["0.fits"])
    source, net = ImageTable(table, "image", work / "images"), str(work / "net.safetensors")
    out = work / "scores.parquet"
    before = sorted(path.name for path in work.iterdir())

    def fails(kind, message, checkpoint=net, source=source, out=out, frame=FRAME):
        with pytest.raises(kind, match=message):
            score(checkpoint, source, out, frame)
        assert not out.exists()

    fails(ConfigError, r"ends in \.parquet", out=work / "scores.csv")
    fails(CheckpointError, "no checkpoint", checkpoint="absent.safetensors")
    fails(CheckpointError, "needs exactly g, i", frame=ImageFrame(("g", "r")))
    fails(CheckpointError, "needs 0.4 or finer", frame=ImageFrame(("g", "i"), 0.5))
    for scale in (0.0, -1.0, float("nan"), float("inf")):
        fails(ConfigError, "no pixel scale; give", frame=ImageFrame(("g", "i"), scale))
    fails(ConfigError, "zero_point = nan", frame=replace(FRAME, zero_point=float("nan")))
    nowhere = "/proc/x/scores.parquet"
    fails(CatalogError, f"cannot write {nowhere}: .*; name another place", out=Path(nowhere))
    fails(CatalogError, "cannot write .*Not a directory", out=table / "scores.parquet")
    fails(SourcesError, "no column 'imag'", source=ImageTable(table, "imag", work / "images"))
    fails(SourcesError, "no folder and no zip", source=ImageTable(table, "image", table))
    fails(SourcesError, "there is no table", source=ImageTable(out, "image", work / "images"))
    table.write_text(table.read_text().replace("remark", "status"))
    fails(SourcesError, "has a column 'status'")
    assert sorted(path.name for path in work.iterdir()) == before
    out.write_text("mine")
    with pytest.raises(CatalogError, match="--overwrite"):
        score(net, source, out, FRAME)
    assert out.read_text() == "mine"


def colors(work, n, side=140):
    """Make the network one for color pictures, and n of these; return their names."""
    stretch = {band: {"softening": 60.0, "maximum": 255.0} for band in "irg"}
    small_run.write_checkpoint(
        work / "net.safetensors", bands=tuple("irg"), unit="display", stretch=stretch
    )
    pixels = np.random.default_rng(5).integers(0, 255, (n, side, side, 3)).astype(np.uint8)
    names = [f"{row}.png" for row in range(n)]
    for name, plane in zip(names, pixels, strict=True):
        Image.fromarray(plane).save(work / "images" / name)
    return names


def test_what_holds_for_all_images_ends_it_at_once_and_leaves_nothing(work):
    names, net, out = colors(work, 3), str(work / "net.safetensors"), work / "scores.parquet"
    table = write_table(work / "table.csv", ["absent.png", *names * 20])
    source, frame = ImageTable(table, "image", work / "images"), ImageFrame(tuple("irg"))
    before, n_read = sorted(work.rglob("*")), []

    def fails(message, source=source, frame=frame):
        n_read.clear()
        with pytest.raises(ImageError, match=message) as found:
            score(net, source, out, frame, progress=lambda done, _: n_read.append(done))
        assert found.value.exit_code == 2
        assert sorted(work.rglob("*")) == before

    fails(r"none of the first 20 images fits; the first: nothing says the pixel scale of the image"
          r" 0\.png; give scale_arcsec")  # fmt: skip
    assert len(n_read) == 20
    fails(
        r"the image 0\.png has 0\.001 arcsec/px: .* 2048 are allowed",
        frame=ImageFrame(tuple("irg"), 0.001),
    )
    small_run.write_checkpoint(work / "net.safetensors")
    fails(r"none of the first 20 .* the image 0\.png holds display values", frame=FRAME)
    few = write_table(work / "table.csv", ["0.png", "absent", "1.png"])
    fails(r"none of 2 images fits; the first: the image 0\.png holds", frame=FRAME)
    write_table(few, ["absent.png", "", "b"])
    fails(r"no image of the table is there; the first: the image 'absent\.png' is not", frame=FRAME)


def test_what_holds_for_some_images_only_is_their_rows_reason(work):
    names = colors(work, 2)
    for n in range(25):
        Image.fromarray(np.zeros((30, 30), np.uint8)).save(work / "images" / f"gray{n}.png")
        (work / "images" / f"damaged{n}.png").write_bytes(b"<html>")
    frame, images = ImageFrame(tuple("irg"), 0.1), work / "images"

    def status(names):
        table = write_table(work / "table.csv", names)
        out = work / "scores.parquet"
        found = score(str(work / "net.safetensors"), ImageTable(table, "image", images), out, frame,
                      overwrite=True)  # fmt: skip
        return pd.read_parquet(out).status, found

    gray, damaged = ([f"{kind}{n}.png" for n in range(25)] for kind in ("gray", "damaged"))
    rows, found = status([*gray[:19], names[0], *gray[19:], *damaged])
    assert rows.value_counts().to_dict() == {"bad_image": 50, "classified": 1}
    assert found.exit_code == 0
    assert [(r.n_row, r.first) for r in found.reasons] == [(25, gray[0]), (25, damaged[0])]
    assert found.lines[1].startswith("25 bad_image: the image has 1 plane for 3 bands")
    rows, found = status(damaged)  # nothing that is said of them is wrong
    assert found.exit_code == 1
    rows, found = status(["", ""])
    assert found.exit_code == 1
    assert rows.tolist() == ["no_image"] * 2


def test_many_reasons_are_told_in_part(work):
    names = colors(work, 1)
    for side in range(1, 21):
        Image.new("RGB", (5000 + side, 1)).save(work / "images" / f"large{side}.png")
    table = write_table(
        work / "table.csv", [*names, *(f"large{side}.png" for side in range(1, 21))]
    )
    found = score(str(work / "net.safetensors"), ImageTable(table, "image", work / "images"),
                  work / "scores.parquet", ImageFrame(tuple("irg"), 0.1))  # fmt: skip
    assert len(found.lines) == 14
    assert found.lines[-1] == "8 rows for 8 reasons more: see status_reason"


@pytest.mark.parametrize("level", [0, 3, 128, 255])
def test_a_flat_image_has_no_data(work, level):
    names = colors(work, 1)
    Image.new("RGB", (140, 140), (level, level // 2, 7)).save(work / "images" / "flat.png")
    Image.new("RGB", (140, 140), (level, level // 2, 7)).save(work / "images" / "flat.jpg")
    lacking = np.array(Image.open(work / "images" / names[0]).convert("RGB"))
    lacking[..., 1] = level  # one band of three, as where its tile is missing
    Image.fromarray(lacking).save(work / "images" / "lacking.png")
    one = np.full((140, 140, 3), level, np.uint8)
    one[69:72, 69:72] = 99  # a source on a sky of one value, as simulations may have
    Image.fromarray(one).save(work / "images" / "source.png")
    names += ["flat.png", "flat.jpg", "lacking.png", "source.png"]
    table = write_table(work / "table.csv", names)
    score(str(work / "net.safetensors"), ImageTable(table, "image", work / "images"),
          work / "scores.parquet", ImageFrame(tuple("irg"), 0.1))  # fmt: skip
    rows = pd.read_parquet(work / "scores.parquet")
    assert rows.status.tolist() == ["classified", "no_data", "no_data", "no_data", "classified"]
    assert rows.status_reason[1] == "a band of the image has one value all over"
    assert rows.p_image.isna().tolist() == [False, True, True, True, False]


@pytest.mark.parametrize(("factor", "said"), [(1 / 255, "up to 0."), (1000, "up to 2")])
def test_values_that_are_no_display_values_are_refused(work, factor, said):
    """As where a FITS file has 0 to 1, or flux, and does not tell its unit."""
    colors(work, 1)
    image = np.asarray(Image.open(work / "images" / "0.png").convert("RGB")).astype(np.float32)
    planes = [
        fits.ImageHDU(image[..., n] * np.float32(factor), name=b) for n, b in enumerate("irg")
    ]
    fits.HDUList([fits.PrimaryHDU(), *planes]).writeto(work / "images" / "odd.fits")
    table = write_table(work / "table.csv", ["odd.fits"])
    with pytest.raises(ImageError, match=rf"has values {said}.* up to \d+; bring it"):
        score(str(work / "net.safetensors"), ImageTable(table, "image", work / "images"),
              work / "scores.parquet", ImageFrame(tuple("irg"), 0.1))  # fmt: skip
    assert not (work / "scores.parquet").exists()


@pytest.mark.parametrize("maximum", [1.0, 20.0, 100.0])
def test_a_stretch_may_end_before_the_brightest_pixels(work, maximum):
    names = colors(work, 2)
    stretch = {band: {"softening": maximum / 10, "maximum": maximum} for band in "irg"}
    small_run.write_checkpoint(
        work / "net.safetensors", bands=tuple("irg"), unit="display", stretch=stretch
    )
    found = score(str(work / "net.safetensors"),
                  ImageTable(write_table(work / "table.csv", names), "image", work / "images"),
                  work / "scores.parquet", ImageFrame(tuple("irg"), 0.1))  # fmt: skip
    assert found.lines == ["2 rows = 2 classified"]


def test_a_zero_point_means_nothing_to_display_values(work):
    colors(work, 1)
    table = write_table(work / "table.csv", ["0.png"])
    frame = ImageFrame(tuple("irg"), 0.1, zero_point=27.0)
    with pytest.raises(ConfigError, match=r"zero_point = 27 means nothing to small, .*leave it"):
        score(str(work / "net.safetensors"), ImageTable(table, "image", work / "images"),
              work / "scores.parquet", frame)  # fmt: skip


def test_a_csv_table_gets_its_numbers_where_nothing_is_lost(tmp_path):
    columns = {
        "whole": (["1", "-20", "0"], [1, -20, 0]),
        "real": (["1.5", "-2e-3", "7"], [1.5, -0.002, 7.0]),
        "partly": (["1", "", "3"], [1.0, np.nan, 3.0]),
        "zeros": (["007", "008", "010"], ["007", "008", "010"]),
        "empty": (["", "", ""], ["", "", ""]),
        "long": (["12376610552817260310", "1", "2"], ["12376610552817260310", "1", "2"]),
        "digits": (["1234567890123456789", "", "2"], ["1234567890123456789", "", "2"]),
        "day": (["2025-01-01", "2025-01-02", "x"], ["2025-01-01", "2025-01-02", "x"]),
        "truth": (["true", "false", "true"], ["true", "false", "true"]),
    }
    with (tmp_path / "t.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(columns)
        table.writerows(zip(*(cells for cells, _ in columns.values()), strict=True))
    new = {"new": np.arange(3), "said": np.array([None, "7", "8"], object),
           "unsaid": np.full(3, None, object)}  # fmt: skip
    widen_table(tmp_path / "t.csv", tmp_path / "t.parquet", new, {"key": "said"})
    stored = pq.read_table(tmp_path / "t.parquet")
    for name in ("said", "unsaid"):
        assert stored[name].to_pylist() == new[name].tolist()
        assert pa.types.is_string(stored[name].type)
    assert stored.schema.metadata[b"key"] == b"said"
    for name, (_, expected) in columns.items():
        np.testing.assert_array_equal(stored[name].to_pylist(), expected)
        assert {type(cell) for cell in stored[name].to_pylist()} == {type(expected[0])}


def test_the_verb(call, work):
    """A color picture through the command line, with everything that can be said of it."""
    table = write_table(work / "table.csv", [*colors(work, 2), "c.png"])
    words = ["score", work / "net.safetensors", work / "images", "--table", table,
             "--name-column", "image", "--scale-arcsec", 0.1, "--device", "cpu"]  # fmt: skip
    code, out, err = call(*words, "--out", work / "x.parquet",
                          "--bands", "g,i,r", "--source-px", "69.5,70.25")  # fmt: skip
    assert code == 0, err
    lines = out.splitlines()
    assert lines[0] == "3 rows = 2 classified + 1 no_image"
    assert lines[1].startswith("1 no_image: the image is not in ")
    assert lines[1].endswith("correct its name (first: c.png)")
    rows = pd.read_parquet(work / "x.parquet")
    assert rows.p_image.between(0, 1).tolist() == [True, True, False]
    call(*words, "--out", work / "y.parquet")  # bands and place by default
    assert (pd.read_parquet(work / "y.parquet").p_image != rows.p_image)[:2].all()
    for more, message in (
        (["--bands", "i,r,z"], "needs exactly"),
        (["--source-px", "3"], "x,y"),
        (["--scale-arcsec", "-1"], "-1 is no pixel scale"),
        (["--device", "tpu"], "tpu"),
        (["--out", "/proc/z.parquet"], "name another place"),
        (["--zero-point", "27"], "leave it out"),
    ):
        code, _, err = call(*words, "--out", work / "z.parquet", *more)
        assert code == 2
        assert message in err
        assert len(err.splitlines()) == 1
    code, out, _ = call("score", "--help")
    assert "Example: survey-classifier score" in out
    assert "Exit codes: 0" in out


@pytest.fixture(scope="module")
def west(real_data):
    """The mosaic of the west of Perseus."""
    with fits.open(real_data / "perseus" / "perseus_sdss_rgb_0p4_west_dev.fits") as hdus:
        planes = [hdus[f"SDSS_{band}"].data.astype(np.float32) for band in "IRG"]
        flux = np.where(hdus["COVERAGE"].data > 0, planes, np.float32(np.nan))
        return ArrayMosaic(
            "west", [BandInfo(band, "display") for band in "irg"], flux, WCS(hdus["SDSS_I"].header)
        )


@pytest.mark.parametrize(
    ("table", "archive", "every", "n_least"),
    [
        ("pcc_dev.csv", "pcc_thumbs_dev.zip", 30, 90),
        ("sdss_spectra_dev.csv", "spec_thumbs_dev.zip", 1, 15),
    ],
)
def test_real_thumbnails_and_the_mosaic_agree(
    real_data, west, tmp_path, table, archive, every, n_least
):
    """The same objects of Perseus, as thumbnails of an archive and cut from the mosaic.

    Both are color images of SDSS, resampled in other ways, the first table's compressed with loss.
    """
    folder = real_data / "perseus"
    rows = pd.read_csv(folder / table).dropna(subset="thumb").iloc[::every]
    rows.to_csv(tmp_path / "table.csv", index=False)
    frame = ImageFrame(("i", "r", "g"), 0.1, (99.3, 102.7))
    source = ImageTable(tmp_path / "table.csv", "thumb", folder / archive)
    found = score("perseus", source, tmp_path / "scores.parquet", frame, device="cpu")
    assert found.n_by_status == {"classified": len(rows)}
    scorer = TorchScorer.load(resolve_checkpoint("perseus", tmp_path), "cpu")
    x, y = west.world_to_pixel(rows.ra.to_numpy(), rows.dec.to_numpy())
    size_px = cut_size_px(scorer.card, west.scale_arcsec)
    stamps = Stamps.join(
        [cut_stamps(west, [a], [b], size_px, ("i", "r", "g")) for a, b in zip(x, y, strict=True)]
    )
    whole = stamps.valid_fraction == 1
    assert whole.sum() >= n_least
    from_thumbs = pd.read_parquet(found.path).p_image.to_numpy()
    difference = np.abs(from_thumbs - scorer.score(stamps).p_image)[whole]
    assert np.median(difference) < 0.005
    assert np.quantile(difference, 0.95) < 0.06
    assert difference.max() < 0.25
