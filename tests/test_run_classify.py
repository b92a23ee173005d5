"""The main job on a small run: who gets a row, what is the same whatever the order of work."""

import json
import shutil

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import Table
from filelock import FileLock

from survey_classifier import classify, plan, publish
from survey_classifier.catalog.parts import part_path
from survey_classifier.errors import CheckpointError, ConfigError, RunMismatchError, TileError
from survey_classifier.membership.flags import Flag
from survey_classifier.model.inputs import cut_size_px
from survey_classifier.model.scorer import Scores, TorchScorer
from survey_classifier.mosaic.store import Mosaic
from survey_classifier.run import serial
from survey_classifier.stamps import cut_stamps
from tests import small_run


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    return small_run.make(tmp_path_factory.mktemp("small"))


@pytest.fixture
def run(pieces, tmp_path):
    """A copy that a test may change."""
    shutil.copytree(pieces.folder, tmp_path / "run", ignore=shutil.ignore_patterns("out-*"))
    return small_run.SmallRun(tmp_path / "run")


@pytest.fixture(scope="module")
def reference(pieces):
    """The serial run, and its rows by source."""
    receipt = classify(pieces.write("reference"))
    return receipt, rows_of(receipt)


def rows_of(receipt):
    return pd.read_parquet(receipt.catalog).sort_values("source_id", ignore_index=True)


def assert_same_rows(ours, theirs):
    """Equal but for the tile's name; scores to the rounding of another batch size."""
    pd.testing.assert_frame_equal(
        ours.drop(columns="tile"), theirs.drop(columns="tile"), rtol=1e-4, atol=2e-6
    )


def test_every_source_has_one_row_and_the_sum_is_stated(reference):
    receipt, rows = reference
    assert receipt.n_in == len(rows) == rows.source_id.nunique() == 80
    assert receipt.n_classified + sum(receipt.n_by_reason.values()) == 80
    assert receipt.line.startswith(f"80 sources = {receipt.n_classified} classified + ")
    assert receipt.exit_code == 0


@pytest.mark.parametrize(
    ("source", "status"),
    [
        ("S-000", "no_data"),
        ("S-005", "off_mosaic"),
        ("S-006", "off_mosaic"),
        ("S-007", "off_mosaic"),
        ("S-008", "saturated"),
        ("S-009", "no_position"),
        ("S-002", "low_coverage"),
        ("S-004", "classified"),
    ],
)
def test_each_kind_of_source_has_its_reason(reference, source, status):
    row = reference[1].set_index("source_id").loc[source]
    assert row.status == status
    assert np.isfinite(row.p_member) == (status == "classified")


def test_scores_equal_scoring_all_stamps_at_once(pieces, reference):
    """The oracle without tiles: one cut, one call of the network."""
    rows = reference[1]
    mosaic = Mosaic.open(pieces.folder / "small.zarr")
    scorer = TorchScorer.load(pieces.folder / "net.safetensors", "cpu")
    good = rows[rows.status == "classified"]
    cut = plan(pieces.write("reference")).sheets[0].pixels
    stamps = cut_stamps(mosaic, good.x, good.y, cut.size_px, ("g", "i"), cut.level)
    np.testing.assert_allclose(good.p_image, scorer.score(stamps).p_image, atol=1e-6)
    assert good.p_image.std() > 1e-4
    np.testing.assert_allclose(good.valid_fraction, stamps.valid_fraction)


def test_with_the_training_share_as_prior_the_posterior_is_the_calibrated_score(pieces):
    alone = {"prior": 0.2, "without": ["color", "redshift", "position", "star"]}
    rows = rows_of(classify(pieces.write("training-share", membership=alone)))
    good = rows.query("status == 'classified'")
    np.testing.assert_allclose(good.p_member, good.p_image, atol=1e-6)
    np.testing.assert_allclose(good.p_member + good.p_nonmember, 1.0, atol=1e-6)


def test_a_prior_shifts_the_posterior_and_leaves_the_image_alone(pieces, reference):
    alone = {"prior": 0.01, "without": ["color", "redshift", "position", "star"]}
    shifted = rows_of(classify(pieces.write("prior", membership=alone)))
    good = shifted.query("status == 'classified'")
    old = reference[1].query("status == 'classified'")
    np.testing.assert_array_equal(good.p_image, old.p_image)
    p, w1, w0 = old.p_image, 0.01 / 0.2, 0.99 / 0.8
    np.testing.assert_allclose(good.p_member, p * w1 / (p * w1 + (1 - p) * w0), rtol=1e-4)


def test_redshifts_are_beside_the_score(reference):
    rows = reference[1].set_index("source_id")
    assert list(rows.loc[["S-020", "S-021", "S-022", "S-023"], "z_class"]) == [
        "cluster", "star", "background", "cluster",
    ]  # fmt: skip
    assert list(rows.loc[["S-020", "S-021", "S-022"], "dynamic_member"]) == [1, 0, 0]
    assert rows.loc["S-023", "z"] == pytest.approx(0.018)
    assert rows.loc["S-022", "flags"] & Flag.Z_WARNING
    assert rows.loc["S-024", "z_class"] == ""
    assert rows.loc["S-024", "dynamic_member"] == -1


def test_flags_follow_the_pixels(reference):
    rows = reference[1].set_index("source_id")
    assert rows.loc["S-002", "flags"] & Flag.EDGE_STAMP
    assert rows.loc["S-001", "flags"] & Flag.PARTIAL_DATA
    inner = rows[(rows.valid_fraction == 1) & (rows.status == "classified")]
    assert not (inner["flags"] & int(Flag.PARTIAL_DATA | Flag.EDGE_STAMP | Flag.SATURATED)).any()
    assert (rows.mask_saturated > 0).any()
    assert ((rows["flags"] & int(Flag.SATURATED)) != 0).equals(rows.mask_saturated > 0)
    # saturated pixels are unusable, so such stamps are partial
    assert ((rows["flags"][rows.mask_saturated > 0] & int(Flag.PARTIAL_DATA)) != 0).all()


@pytest.mark.parametrize("size_px", [512, 1024])
def test_the_tile_size_changes_nothing(pieces, reference, size_px):
    receipt = classify(pieces.write(f"tiles{size_px}", tiles={"size_px": size_px}))
    assert_same_rows(rows_of(receipt), reference[1])


def test_the_batch_size_changes_nothing(pieces, reference):
    receipt = classify(pieces.write("batch", model={"batch_size": 3}))
    assert_same_rows(rows_of(receipt), reference[1])


def test_the_order_of_sources_changes_nothing(run, reference):
    lines = (run.folder / "sources.csv").read_text().splitlines()
    (run.folder / "sources.csv").write_text("\n".join([lines[0], *reversed(lines[1:])]))
    assert_same_rows(rows_of(classify(run.write())), reference[1])


def test_dask_gives_the_rows_of_the_serial_run(pieces, reference):
    receipt = classify(pieces.write("dask"), cluster="local")
    assert receipt.n_stamps == reference[0].n_stamps
    assert_same_rows(rows_of(receipt), reference[1])


def test_band_order_does_not_matter(run, reference):
    shutil.rmtree(run.folder / "small.zarr")
    small_run.write_store(run.folder / "small.zarr", bands=("i", "g"))
    assert_same_rows(rows_of(classify(run.write())), reference[1])


@pytest.mark.parametrize("bands", [("g",), ("g", "i", "z")])
def test_a_missing_or_extra_band_is_refused_in_plan(run, bands):
    shutil.rmtree(run.folder / "small.zarr")
    small_run.write_store(run.folder / "small.zarr", bands=bands)
    with pytest.raises(CheckpointError, match=f"bands {', '.join(bands)}, the checkpoint small"):
        plan(run.write())


def test_the_bands_to_use_of_a_mosaic_that_has_more_can_be_named(run, reference):
    shutil.rmtree(run.folder / "small.zarr")
    small_run.write_store(run.folder / "small.zarr", bands=("g", "z", "i"))
    receipt = classify(run.write(mosaic={"bands": ["g", "i"]}))
    assert_same_rows(rows_of(receipt), reference[1])


def test_another_unit_or_a_coarser_mosaic_is_refused_in_plan(run):
    small_run.write_checkpoint(run.folder / "net.safetensors", unit="display")
    with pytest.raises(CheckpointError, match="in nJy, the checkpoint small needs display"):
        plan(run.write())
    small_run.write_checkpoint(run.folder / "net.safetensors", stamp_px=64)
    with pytest.raises(CheckpointError, match=r"0\.4 arcsec/px, the checkpoint small needs 0\.2"):
        plan(run.write())


def test_a_source_without_a_stamp_has_no_number_of_one(reference):
    """Off the mosaic or without a position there are no pixels: NaN, and no flag of pixels."""
    rows = reference[1]
    nowhere = rows[rows.status.isin(["off_mosaic", "no_position"])]
    assert len(nowhere) == 4
    pixels = [name for name in rows if name.startswith("mask_")] + ["valid_fraction"]
    assert nowhere[pixels].isna().all(axis=None)
    assert (nowhere["flags"] == 0).all()
    assert rows[rows.status == "no_data"][pixels].notna().all(axis=None)


def test_sources_off_the_mosaic_take_no_memory(run):
    """A wide catalog on a small mosaic: thousands of rows, but no stamp for any of them."""
    before = plan(run.write()).tile_bytes
    far = [f"F{n},{60 + n / 1000},41.5,,," for n in range(5000)]
    with (run.folder / "sources.csv").open("a") as file:
        file.write("\n".join([*far, ""]))
    laid_out = plan(run.write())
    assert laid_out.tile_bytes == before
    receipt = classify(run.write())
    assert receipt.n_in == 5080
    assert receipt.n_by_reason["off_mosaic"] == 5003


def test_a_folder_of_the_user_is_left_alone(run):
    """`out` may hold other things: only what is ours is written and removed."""
    path = run.write(name="run")
    text = path.read_text().replace('out = "out-run"', 'out = "."')
    path.write_text(text)
    (run.folder / "failed").mkdir()
    (run.folder / "failed" / "notes.txt").write_text("mine")
    classify(path)
    assert path.read_text() == text
    assert (run.folder / "failed" / "notes.txt").read_text() == "mine"


def test_one_process_at_a_time_works_in_a_folder(run):
    path = run.write()
    folder = run.folder / "out-run"
    folder.mkdir()
    with FileLock(folder / ".lock"), pytest.raises(RunMismatchError, match="another process"):
        classify(path)
    assert classify(path).exit_code == 0


def test_what_a_killed_run_left_is_removed(run):
    path = run.write()
    parts = run.folder / "out-run" / "parts"
    parts.mkdir(parents=True)
    leftovers = [parts / ".tile-r000-c000.parquet.ab.tmp", parts.parent / ".run.parquet.cd.tmp"]
    for leftover in leftovers:
        leftover.write_bytes(b"half")
    classify(path)
    assert not any(leftover.exists() for leftover in leftovers)


def test_places_that_cannot_be_are_refused_before_any_work(run):
    with pytest.raises(ConfigError, match="kind"):
        classify(run.write(cluster={"kind": "slrum"}))
    with pytest.raises(ConfigError, match="device"):
        classify(run.write(model={"device": "gpu"}))
    with pytest.raises(ConfigError, match="kind"):
        classify(run.write(), cluster="everywhere")
    assert not (run.folder / "out-run").exists()


def test_two_reddenings_are_refused(run):
    columns = {"id": "name", "ebv": "mag_g"}
    with pytest.raises(ConfigError, match="not both"):
        plan(run.write(sources={"columns": columns}))


def test_a_path_may_be_text(pieces):
    assert plan(str(pieces.write("text"))).n_sources == 80


def test_a_tile_that_is_no_multiple_of_the_chunk_is_refused(run):
    with pytest.raises(ConfigError, match=r"size_px = 300 is no multiple .* 128 px; choose 256"):
        plan(run.write(tiles={"size_px": 300}))


def break_tile(monkeypatch, names):
    """Make some tiles fail, as a lost disk would; the last one stops the run if it is 'stop'."""
    original = serial.finish_tile

    def failing(context, cut, scorer):
        name = cut.task.name
        if name in names:
            raise names[name]
        return original(context, cut, scorer)

    monkeypatch.setattr(serial, "finish_tile", failing)


def test_a_killed_run_goes_on_with_the_same_rows(run, reference, monkeypatch):
    with monkeypatch.context() as patched:
        break_tile(patched, {"r001-c001": KeyboardInterrupt()})
        with pytest.raises(KeyboardInterrupt):
            classify(run.write())
    laid_out = plan(run.write())
    config = laid_out.config
    assert not config.catalog_path.exists()
    done = sorted(path.name for path in config.parts_folder.iterdir())
    assert done == [f"tile-r00{r}-c00{c}.parquet" for r, c in
                    [(0, 0), (0, 1), (0, 2), (1, 0)]]  # fmt: skip
    times = {path: path.stat().st_mtime_ns for path in config.parts_folder.iterdir()}
    receipt = classify(run.write())
    assert receipt.n_tiles_resumed == 4
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())
    assert_same_rows(rows_of(receipt), reference[1])


def test_a_failed_tile_is_reported_and_tried_again(run, reference, monkeypatch):
    with monkeypatch.context() as patched:
        break_tile(patched, {"r000-c001": TileError("r000-c001", "finish", "y, x", "disk gone")})
        receipt = classify(run.write())
    assert receipt.exit_code == 1
    assert receipt.failures[0].tile == "r000-c001"
    assert receipt.failures[0].reason == "disk gone"
    rows = rows_of(receipt)
    assert len(rows) == 80
    lost = rows[rows.status == "tile_failed"]
    assert len(lost) == receipt.n_by_reason["tile_failed"] > 0
    assert lost[["p_image", "p_member"]].isna().all(axis=None)
    again = classify(run.write())
    assert again.exit_code == 0
    assert_same_rows(rows_of(again), reference[1])


def test_another_checkpoint_source_list_or_setting_is_another_run(run):
    classify(run.write())
    with pytest.raises(RunMismatchError, match="belongs to run"):
        classify(run.write(membership={"prior": 0.5}))
    with pytest.raises(RunMismatchError):
        classify(run.write(tiles={"size_px": 512}))
    small_run.write_sources(run.folder / "sources.csv", n=79)
    with pytest.raises(RunMismatchError):
        classify(run.write())
    small_run.write_sources(run.folder / "sources.csv")
    small_run.write_checkpoint(run.folder / "net.safetensors", seed=1)
    with pytest.raises(RunMismatchError):
        classify(run.write())


def test_what_does_not_change_results_is_not_in_the_fingerprint(pieces):
    one = plan(pieces.write("fingerprint")).fingerprint
    assert one == plan(pieces.write("fp", model={"batch_size": 9})).fingerprint
    assert one == plan(pieces.write("fp", cluster={"threads": 7})).fingerprint
    assert one != plan(pieces.write("fp", redshifts={"radius_arcsec": 2.0})).fingerprint
    assert one != plan(pieces.write("fp", sources={"ebv": 0.2})).fingerprint


def test_a_score_that_is_not_finite_is_a_reason_and_never_a_number(run, monkeypatch):
    original = TorchScorer.score

    def broken(self, stamps):
        scores = original(self, stamps)
        probability = scores.probability.copy()
        probability[:1] = np.nan
        return Scores(probability, probability[:, 1], scores.p_image_err, scores.novelty)

    monkeypatch.setattr(TorchScorer, "score", broken)
    receipt = classify(run.write())
    assert receipt.exit_code == 1
    rows = rows_of(receipt)
    failed = rows[rows.status == "score_failed"]
    n_tiles_scored = rows[rows.status.isin(["classified", "score_failed"])].tile.nunique()
    assert len(failed) == receipt.n_by_reason["score_failed"] == n_tiles_scored
    scored = ["p_image", "p_image_err", "llr_image", "p_member", "p_nonmember"]
    assert failed[scored].isna().all(axis=None)


def test_the_catalog_and_its_parts_open_with_units(reference, pieces):
    receipt, _ = reference
    config = plan(pieces.write("reference")).config
    for path in (receipt.catalog, part_path(config.parts_folder, "r000-c000")):
        table = Table.read(path, format="parquet.votable")
        assert str(table["ra"].unit) == "deg"
        assert str(table["z_separation_arcsec"].unit) == "arcsec"
        assert table["p_member"].description
        assert pq.read_table(path).num_rows == len(pd.read_parquet(path)) == len(table)


def test_a_published_run_can_be_published_again_from_its_folder(reference, pieces):
    receipt, rows = reference
    out = plan(pieces.write("reference")).config.out_folder
    before = json.loads((out / "receipt.json").read_text())
    assert publish(out / "run.toml").n_classified == receipt.n_classified
    assert_same_rows(rows_of(receipt), rows)
    assert before["n_in"] == json.loads((out / "receipt.json").read_text())["n_in"] == 80


def test_the_plan_bounds_the_memory_of_a_tile(pieces):
    laid_out = plan(pieces.write("memory", tiles={"size_px": 1024}))
    biggest = 2 * 4 * small_run.SHAPE[0] * small_run.SHAPE[1]
    assert biggest < laid_out.tile_bytes < 6 * biggest


def test_a_saturated_center_is_saturated_at_every_level(run):
    """A wide stamp of coarse pixels is cut from level 1; the reason must not become no_data."""
    small_run.write_checkpoint(run.folder / "net.safetensors", stamp_px=16)
    receipt = classify(run.write())
    assert plan(run.write()).sheets[0].pixels.level == 1
    assert rows_of(receipt).set_index("source_id").loc["S-008", "status"] == "saturated"


@pytest.mark.parametrize("level", [0.0, 3.7])
def test_a_tile_that_was_filled_with_one_value_has_no_data(run, level):
    rng = np.random.default_rng(3)
    for band in small_run.BANDS:
        image = rng.normal(0, 3, small_run.SHAPE).astype(np.float32)
        image[small_run.HOLE] = level
        fits.PrimaryHDU(image, small_run.grid().to_header()).writeto(run.folder / f"{band}.fits")
    entries = [{"path": f"{b}.fits", "band": b, "zero_point": 31.4} for b in small_run.BANDS]
    receipt = classify(run.write(mosaic={"store": "new.zarr", "inputs": entries}))
    rows = rows_of(receipt).set_index("source_id")
    assert rows.status["S-000"] == "no_data"
    assert np.isnan(rows.p_image["S-000"])
    half = cut_size_px(small_run.card(), small_run.SCALE_ARCSEC) // 2
    y, x = (slice(cut.start + half, cut.stop - half) for cut in small_run.HOLE)
    in_tile = rows.x.round().between(x.start, x.stop - 1) & rows.y.round().between(
        y.start, y.stop - 1
    )
    assert (rows.status[in_tile] == "no_data").all()
    assert receipt.n_by_reason["no_data"] == in_tile.sum()


def test_a_finished_mosaic_does_not_need_its_files(run):
    header = small_run.grid().to_header()
    rng = np.random.default_rng(3)
    for band in small_run.BANDS:
        image = rng.normal(0, 3, small_run.SHAPE).astype(np.float32)
        fits.PrimaryHDU(image, header).writeto(run.folder / f"{band}.fits")
    entries = [{"path": f"{b}.fits", "band": b, "zero_point": 31.4} for b in small_run.BANDS]
    mosaic = {"store": "new.zarr", "inputs": entries}
    first = classify(run.write(mosaic=mosaic))
    for band in small_run.BANDS:
        (run.folder / f"{band}.fits").unlink()
    again = classify(run.write(mosaic=mosaic))
    assert again.fingerprint == first.fingerprint
    assert again.n_tiles_resumed == again.n_tiles
