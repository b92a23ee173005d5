"""One run over several overlapping stores: who owns a source, and what is worked on again."""

import shutil

import numpy as np
import pandas as pd
import pytest

from survey_classifier import classify, plan, publish
from survey_classifier.catalog.read import read_provenance
from survey_classifier.errors import MosaicError, SourcesError, TileError
from survey_classifier.geometry import Box
from survey_classifier.mosaic.exposure import Window
from survey_classifier.mosaic.pixels import UNUSABLE, BandInfo
from survey_classifier.mosaic.store import SHARD_PX, Mosaic
from survey_classifier.mosaic.writer import Layout, MosaicWriter
from survey_classifier.run import serial
from survey_classifier.run.describe import describe
from survey_classifier.run.opened import mosaic_of
from survey_classifier.run.survey_messages import PlanMessage, parsed
from survey_classifier.run.work import announcement
from tests import small_run
from tests.test_run_classify import assert_same_rows, rows_of

PIECES = {
    "north": (Box(250, 600, 0, 530), 0.0),
    "east": (Box(0, 330, 0, 300), 0.0),
    "west": (Box(0, 330, 220, 530), 25.0),
}
"""What each store shows of the field, and by how much its grid is turned."""


def write_piece(folder, name, box, angle_deg=0.0, seed=3):
    """Write one store of noise with a hole, on a grid of its own."""
    ny, nx = box.shape
    wcs = small_run.grid()
    middle = wcs.all_pix2world([[(box.x0 + box.x1 - 1) / 2, (box.y0 + box.y1 - 1) / 2]], 0)[0]
    wcs.wcs.crval, wcs.wcs.crpix = middle, [(nx + 1) / 2, (ny + 1) / 2]
    cos, sin = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    wcs.wcs.pc = [[cos, -sin], [sin, cos]]
    infos = tuple(BandInfo(band, "nJy") for band in small_run.BANDS)
    layout = Layout(name, infos, box.shape, wcs)
    writer = MosaicWriter.open_or_create(folder / f"{name}.zarr", layout)
    rng = np.random.default_rng([seed, *name.encode()])
    for band in small_run.BANDS:
        flux = rng.normal(0, 3, box.shape).astype(np.float32)
        flux[ny // 2 : ny // 2 + 40, nx // 3 : nx // 3 + 50] = np.nan
        for tile in writer.shard_grid.tiles():
            shard = flux[tile.core.slices]
            writer.write(band, tile.core, Window(shard, np.zeros(shard.shape, np.uint8)), 1)
    return writer.finish()


class ManyRun(small_run.SmallRun):
    """A run over several stores."""

    def over(self, *stores, name="many", **changes):
        """Write a run file over stores, or patterns of them."""
        path = self.write(name, **changes)
        text = path.read_text()
        assert 'store = "small.zarr"' in text
        path.write_text(text.replace('store = "small.zarr"', f"stores = {list(stores)!r}"))
        return path


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    folder = tmp_path_factory.mktemp("many")
    small_run.write_checkpoint(folder / "net.safetensors")
    ra, dec = small_run.write_sources(folder / "sources.csv", n=240)
    small_run.write_redshifts(folder / "redshifts.csv", ra, dec)
    for name, (box, angle) in PIECES.items():
        write_piece(folder, name, box, angle)
    return ManyRun(folder)


@pytest.fixture(scope="module")
def reference(pieces):
    receipt = classify(pieces.over("*.zarr"))
    return receipt, rows_of(receipt)


@pytest.fixture
def run(pieces, tmp_path):
    """A copy that a test may change."""
    shutil.copytree(pieces.folder, tmp_path / "run", ignore=shutil.ignore_patterns("out-*"))
    return ManyRun(tmp_path / "run")


def owner(folder, ra, dec):
    """Return the store of a position by looking at all pixels of all stores; '' if there is none.

    The coarsest level is made here again, of the pixels of level 0.
    """
    claims = []
    for name in PIECES:
        mosaic = Mosaic.open(folder / f"{name}.zarr")
        x, y = (float(p) for p in mosaic.world_to_pixel(ra, dec))
        ny, nx = mosaic.shape
        if not (-0.5 <= x < nx - 0.5 and -0.5 <= y < ny - 0.5):
            continue
        mask = mosaic.read(Box(0, -(-ny // 8) * 8, 0, -(-nx // 8) * 8), small_run.BANDS).mask
        good = (mask & np.uint8(UNUSABLE)) == 0
        binned = good.reshape(2, good.shape[1] // 8, 8, -1, 8).sum(axis=(2, 4)) >= 32
        bad = np.pad(~binned.all(axis=0), 1, constant_values=True)
        x, y = (x + 0.5) / 8 - 0.5, (y + 0.5) / 8 - 0.5
        rows, cols = np.nonzero(bad)
        depth = np.hypot(rows - 1 - y, cols - 1 - x).min() * 8 * mosaic.scale_arcsec
        depth *= not bad[int(np.floor(y + 0.5)) + 1, int(np.floor(x + 0.5)) + 1]
        claims.append((-round(depth, 6), name))
    return min(claims)[1] if claims else ""


def test_each_source_has_the_row_of_a_run_on_its_own_store_alone(pieces, reference):
    """The oracle: a run on each store with all the sources, and of each source its owner's row."""
    rows = reference[1].set_index("source_id")
    alone = {
        name: rows_of(classify(pieces.write(name, mosaic={"store": f"{name}.zarr"}))).set_index(
            "source_id"
        )
        for name in PIECES
    }
    owners = [owner(pieces.folder, *sky) for sky in zip(rows.ra, rows.dec, strict=True)]
    assert {*owners} == {"", *PIECES}
    assert min(owners.count(name) for name in PIECES) > 20
    expected = [
        alone[name or "east"].loc[key] for name, key in zip(owners, rows.index, strict=True)
    ]
    assert_same_rows(rows, pd.DataFrame(expected).astype(rows.dtypes).rename_axis("source_id"))
    for name, tile in zip(owners, rows.tile, strict=True):
        assert tile.startswith(f"{name or 'east'}.r00")
    off = rows[np.array(owners) == ""]
    assert set(off.status) == {"off_mosaic", "no_position"}


def test_every_source_has_one_row(reference):
    receipt, rows = reference
    assert receipt.n_in == len(rows) == rows.source_id.nunique() == 240
    assert receipt.exit_code == 0
    assert receipt.n_tiles == 6 + 4 + 4


def test_the_order_of_the_stores_changes_nothing(pieces, reference):
    named = classify(pieces.over("west.zarr", "east.zarr", "nor*.zarr", name="order"))
    assert named.fingerprint == reference[0].fingerprint
    pd.testing.assert_frame_equal(
        pd.read_parquet(named.catalog), pd.read_parquet(reference[0].catalog)
    )


def test_dask_gives_the_rows_of_the_serial_run(pieces, reference):
    receipt = classify(pieces.over("*.zarr", name="dask"), cluster="local")
    assert receipt.n_tiles == reference[0].n_tiles
    assert_same_rows(rows_of(receipt), reference[1])


def test_the_catalog_names_every_mosaic_and_a_part_its_own(pieces, reference):
    digests = {name: Mosaic.open(pieces.folder / f"{name}.zarr").digest for name in PIECES}
    assert read_provenance(reference[0].catalog).mosaics == digests
    parts = plan(pieces.over("*.zarr")).config.parts_folder
    part = parts / "tile-west.r000-c001.parquet"
    assert read_provenance(part).mosaics == {"west": digests["west"]}
    page = plan(pieces.over("*.zarr")).config.report_path.read_text(encoding="utf-8")
    assert "3: east, north, west" in page


@pytest.mark.usefixtures("reference")
def test_the_plan_can_be_announced_and_said(pieces):
    run = pieces.over("*.zarr")
    laid_out = plan(run)
    message = parsed(PlanMessage, announcement(laid_out, {"west.r000-c000"}))
    assert len(message.tiles) == 14
    assert sum(tile.n_sources for tile in message.tiles) == 240
    assert [tile.tile for tile in message.tiles if tile.done] == ["west.r000-c000"]
    west = laid_out.sheets[2]
    planned = next(tile for tile in message.tiles if tile.tile == "west.r001-c001")
    x, y = west.mosaic.world_to_pixel(*np.transpose(planned.corners))
    np.testing.assert_allclose(x, [255.5, 309.5, 309.5, 255.5], atol=1e-6)
    np.testing.assert_allclose(y, [255.5, 255.5, 329.5, 329.5], atol=1e-6)
    text = "\n".join(describe(run))
    assert "mosaics      3 (east, north, west), bands g, i, " in text
    assert "on a mosaic, in " in text
    assert "to do        0 tiles; 14 are finished" in text
    assert publish(laid_out.config.resolved_path).n_tiles_resumed == 14


def test_a_worker_takes_no_other_mosaic_for_the_planned_one(run):
    task = next(plan(run.over("*.zarr")).tasks())
    shutil.rmtree(run.folder / "east.zarr")
    write_piece(run.folder, "east", *PIECES["east"], seed=4)
    with pytest.raises(TileError, match=r"east\.r000-c000 failed in cut .* is not the mosaic of"):
        mosaic_of(task)


def test_two_stores_of_one_name_are_refused(run):
    shutil.copytree(run.folder / "west.zarr", run.folder / "copy.zarr")
    with pytest.raises(MosaicError, match=r"copy\.zarr and .*west\.zarr are both named 'west'"):
        plan(run.over("*.zarr"))


def test_a_list_of_another_place_is_refused(run):
    text = (run.folder / "sources.csv").read_text().replace(",49.", ",89.").replace(",50.", ",89.")
    (run.folder / "sources.csv").write_text(text)
    with pytest.raises(
        SourcesError, match=r"none of the 240 .* on any of the 3 mosaics, the first"
    ):
        plan(run.over("*.zarr"))


def test_a_store_that_is_gone_leaves_its_sources_to_the_others(run, reference):
    """Its parts stay in the folder, but are no part of the catalog any more."""
    classify(run.over("*.zarr"))
    shutil.rmtree(run.folder / "west.zarr")
    receipt = classify(run.over("*.zarr"))
    rows = rows_of(receipt)
    assert receipt.fingerprint == reference[0].fingerprint
    assert len(rows) == rows.source_id.nunique() == 240
    assert not rows.tile.str.startswith("west").any()
    fresh = classify(run.over("*.zarr", name="fresh"))
    assert_same_rows(rows, rows_of(fresh))
    assert 0 < receipt.n_tiles_resumed < receipt.n_tiles == 10


@pytest.fixture
def wide(run):
    """A store of two shards beside another store, classified."""
    write_piece(run.folder, "wide", Box(80, 330, 0, SHARD_PX + 300))
    path = run.over("wide.zarr", "north.zarr")
    wide = Mosaic.open(run.folder / "wide.zarr")
    x, y = np.random.default_rng(5).uniform([0, 0], [SHARD_PX + 299, 249], (150, 2)).T
    ra, dec = wide.pixel_to_world(x, y)
    lines = [f"W-{n},{ra[n]:.9f},{dec[n]:.9f},,," for n in range(150)]
    with (run.folder / "sources.csv").open("a") as file:
        file.write("\n".join([*lines, ""]))
    return path, classify(path)


def change_second_shard(folder):
    """Write the pixels of a shard anew, as an ingest does when a file was added."""
    writer = MosaicWriter.open(folder / "wide.zarr")
    core = writer.shard_grid.tile(0, 1).core
    flux = np.random.default_rng(6).normal(5, 3, core.shape).astype(np.float32)
    writer.write("i", core, Window(flux, np.zeros(core.shape, np.uint8)), 2)
    return writer.finish()


def part_times(path):
    return {part.name: part.stat().st_mtime_ns for part in plan(path).config.parts_folder.iterdir()}


def test_only_tiles_whose_pixels_changed_are_worked_on_again(run, wide):
    path, first = wide
    before, rows = part_times(path), rows_of(first)
    change_second_shard(run.folder)
    again = classify(path)
    after = part_times(path)
    changed = {name for name in before if before[name] != after[name]}
    # Tiles of 256 px; a stamp is 35 px wide, so the tile before the shard reads of it too.
    assert changed == {f"tile-wide.r000-c{col:03d}.parquet" for col in (7, 8, 9)}
    assert again.n_tiles_resumed == again.n_tiles - 3
    assert again.fingerprint == first.fingerprint
    fresh = classify(run.over("wide.zarr", "north.zarr", name="fresh"))
    assert_same_rows(rows_of(again), rows_of(fresh))
    assert (rows_of(again).p_image != rows.p_image).sum() > 10
    assert read_provenance(again.catalog).mosaics == read_provenance(fresh.catalog).mosaics


def test_what_became_stale_is_never_published(run, wide, monkeypatch):
    """A tile whose pixels changed and that failed since has no rows of before."""
    path, _ = wide
    change_second_shard(run.folder)
    finish = serial.finish_tile

    def failing(context, cut, scorer):
        if cut.task.name == "wide.r000-c008":
            raise TileError(cut.task.name, "finish", "", "disk gone")
        return finish(context, cut, scorer)

    with monkeypatch.context() as patched:
        patched.setattr(serial, "finish_tile", failing)
        receipt = classify(path)
    rows = rows_of(receipt)
    lost = rows[rows.tile == "wide.r000-c008"]
    assert len(lost) > 5
    assert set(lost.status) == {"tile_failed"}
    assert receipt.exit_code == 1
    assert classify(path).exit_code == 0
