"""The command line as a newcomer meets it: words, exit codes, and nothing left behind."""

import io
import shutil

import numpy as np
import pytest
from astropy.io import fits
from rich.console import Console
from rich.progress import Progress

from survey_classifier.cli import terminal
from survey_classifier.errors import MosaicError, SourcesError, SurveyClassifierError
from tests import small_run

VERBS = [
    "demo",
    "simulate",
    "ingest",
    "inspect",
    "plan",
    "classify",
    "status",
    "publish",
    "train",
    "explain",
]


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    return small_run.make(tmp_path_factory.mktemp("cli"))


@pytest.fixture
def run(pieces, tmp_path):
    shutil.copytree(pieces.folder, tmp_path / "run")
    return small_run.SmallRun(tmp_path / "run")


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(call, verb):
    code, out, _ = call(verb, "--help")
    assert code == 0
    assert "Example: survey-classifier" in out


def test_the_whole_way_ends_with_the_sum(run, call):
    path = run.write()
    code, out, _ = call("plan", path)
    assert code == 0
    assert "sources      80, 76 of them on the mosaic, in " in out
    assert "of 9 tiles, at most " in out
    assert "9 tiles; 0 are finished" in out
    code, out, _ = call("classify", path)
    assert code == 0
    assert out.splitlines()[-1].startswith("80 sources = ")
    assert (run.folder / "out-run" / "run.parquet").exists()
    assert (run.folder / "out-run" / "report.html").exists()
    code, out, _ = call("status", run.folder / "out-run")
    assert code == 0
    assert "9 of 9 tiles are finished" in out
    code, out, _ = call("publish", run.folder / "out-run")
    assert code == 0
    assert out.splitlines()[-1].startswith("80 sources = ")


def test_inspect_says_what_a_store_holds(run, call):
    store, picture, moc = (run.folder / name for name in ("small.zarr", "s.png", "s.fits"))
    code, out, _ = call("inspect", store, "--preview", picture, "--moc", moc)
    assert code == 0
    assert "2 of 2 shards are written" in out
    assert max(len(line) for line in out.splitlines() if str(run.folder) not in line) <= 100
    rows = [line.split()[:2] for line in out.splitlines()]
    assert rows.index(["g", "nJy"]) + 1 == rows.index(["i", "nJy"])
    assert f"{picture} (red i, blue g)" in out
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert fits.getval(moc, "MOCORDER", 1) == 14


def test_inspect_names_damaged_files(run, call):
    store = run.folder / "small.zarr"
    code, out, _ = call("inspect", store, "--check")
    assert (code, out.splitlines()[0]) == (0, "check      every file is as it was written")
    (store / "g/0/flux/c/0/0").write_bytes(b"")
    (store / "i/1/mask/c/0/0").unlink()
    code, out, err = call("inspect", store, "--check")
    assert code == 2
    assert [line.split(": ")[1] for line in out.splitlines()] == [
        "g/0/flux/c/0/0 cannot be read",
        "i/1/mask/c/0/0 is missing",
    ]
    assert f"{store} is damaged in 2 files: copy them again, or remove" in err.splitlines()[-1]


def test_inspect_of_what_is_no_store_is_one_line(run, call):
    code, out, err = call("inspect", run.folder / "no.zarr")
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "make one with the verb ingest" in err


def test_plan_before_there_is_a_mosaic_checks_and_says_what_ingest_will_make(run, call):
    header = small_run.grid().to_header()
    for band in ("g", "i"):
        fits.PrimaryHDU(np.zeros(small_run.SHAPE, np.float32), header).writeto(
            run.folder / f"{band}.fits"
        )
    entries = [{"path": f"{band}.fits", "band": band, "zero_point": 27.0} for band in ("g", "i")]
    code, out, _ = call("plan", run.write(mosaic={"store": "new.zarr", "inputs": entries}))
    assert code == 0
    assert "to be ingested: bands g, i, 530 x 600 px of 0.4 arcsec, 2 shards" in out
    assert "80, 76 of them on the mosaic" in out
    assert not (run.folder / "new.zarr").exists()
    assert "images       1 of g, 1 of i" in out


def test_a_file_that_comes_later_is_told_what_grid_it_needs(run, call):
    image, wcs = np.ones((64, 64), np.float32), small_run.grid()
    path = run.write(
        mosaic={
            "store": "later.zarr",
            "inputs": [{"path": "later-*.fits", "band": "g", "zero_point": 27.0}],
        }
    )
    for number in (0, 1):
        fits.PrimaryHDU(image, wcs[:, 64 * number :].to_header()).writeto(
            run.folder / f"later-{number}.fits"
        )
        code, _, err = call("ingest", path)
        assert code == 2 * number
    assert "later.zarr has shape (64, 64), not (64, 128): it was ingested with other" in err
    assert "extent = 'survey' (HSC), or center_deg, size_px and scale_arcsec" in err
    code, _, again = call("plan", path)
    assert (code, again.splitlines()[-1]) == (2, err.splitlines()[-1])


def test_plan_shows_the_mosaics_also_where_the_checkpoint_does_not_fit(run, call):
    fits.PrimaryHDU(np.zeros(small_run.SHAPE, np.float32), small_run.grid().to_header()).writeto(
        run.folder / "alone.fits"
    )
    entry = {"path": "alone.fits", "band": "VIS", "zero_point": 27.0}
    code, out, err = call("plan", run.write(mosaic={"store": "vis.zarr", "inputs": [entry]}))
    assert "vis, to be ingested: bands VIS, 530 x 600 px of 0.4 arcsec, 1 shard, up to" in out
    assert "images       1 of VIS" in out
    assert (code, len(err.splitlines()), "needs exactly g, i" in err) == (2, 1, True)


def replace(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def misspelt_key(run):
    replace(run.write(), "[tiles]\nsize_px", "[tiles]\nsizepx")


def misspelt_table(run):
    replace(run.write(), "[model]", "[modell]")


def no_source_file(run):
    run.write()
    (run.folder / "sources.csv").unlink()


def no_column(run):
    replace(run.write(), 'id = "name"', 'id = "nme"')


def duplicate_id(run):
    run.write()
    replace(run.folder / "sources.csv", "S-011", "S-012")


def ra_out_of_range(run):
    run.write()
    lines = (run.folder / "sources.csv").read_text().splitlines()
    cells = lines[15].split(",")
    lines[15] = ",".join([cells[0], "361.5", *cells[2:]])
    (run.folder / "sources.csv").write_text("\n".join(lines))


def empty_list(run):
    run.write()
    (run.folder / "sources.csv").write_text("name,ra,dec,mag_g,mag_r,mag_z\n")


def no_store(run):
    run.write(mosaic={"store": "absent.zarr"})


def inputs(run, name, content):
    if content is not None:
        content.writeto(run.folder / name)
    entries = [{"path": name, "band": band, "zero_point": 27.0} for band in ("g", "i")]
    run.write(mosaic={"store": "new.zarr", "inputs": entries})


def unreadable_fits(run):
    (run.folder / "bad.fits").write_bytes(b"SIMPLE  =                    T" * 200)
    inputs(run, "bad.fits", None)


def no_wcs(run):
    inputs(run, "no-wcs.fits", fits.PrimaryHDU(np.zeros((64, 64), np.float32)))


def not_toml(run):
    replace(run.write(), "[tiles]", "[tiles")


def unknown_checkpoint(run):
    run.write(model={"checkpoint": "perseus-sds"})


def no_checkpoint_file(run):
    (run.folder / "net.safetensors").unlink()
    run.write()


def pickled_checkpoint(run):
    (run.folder / "net.safetensors").write_bytes(b"\x80\x04\x95 a pickle, or nearly so")
    run.write()


def truncated_checkpoint(run):
    path = run.folder / "net.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    run.write()


def out_is_a_file(run):
    (run.folder / "taken").write_text("mine")
    replace(run.write(), 'out = "out-run"', 'out = "taken"')


def unknown_table(run):
    replace(run.write(), "[tiles]", "[tile]")


def list_of_another_place(run):
    run.write()
    (run.folder / "sources.csv").write_text(
        "name,ra,dec,mag_g,mag_r,mag_z\nA,3.33,41.5,20,19,18\nB,3.34,41.5,20,19,18\n"
    )


def store_is_something_else(run):
    run.write(mosaic={"store": "sources.csv"})


def unknown_kind(run):
    run.write(cluster={"kind": "slurm"})


def bad_truth(run):
    run.write(truth={"path": "sources.csv", "id": "name", "label": "mag_g"})


def wrong_extinction(run):
    run.write(sources={"system": "hst"})


CASES = [
    (misspelt_key, "unknown key 'tiles.sizepx'; did you mean 'size_px'?"),
    (misspelt_table, "unknown key 'modell'; did you mean 'model'?"),
    (no_source_file, "sources.csv"),
    (no_column, "'nme'"),
    (duplicate_id, "S-012"),
    (ra_out_of_range, "361.5"),
    (empty_list, "sources.csv"),
    (no_store, "absent.zarr"),
    (unreadable_fits, "bad.fits"),
    (no_wcs, "no celestial WCS"),
    (not_toml, "not valid TOML"),
    (unknown_checkpoint, "perseus-sds"),
    (no_checkpoint_file, "net.safetensors"),
    (pickled_checkpoint, "net.safetensors"),
    (truncated_checkpoint, "is truncated"),
    (out_is_a_file, "cannot write to"),
    (unknown_table, "unknown key 'tile'; did you mean 'tiles'?"),
    (list_of_another_place, "none of the 2 sources"),
    (store_is_something_else, "something else is there: name another store"),
    (unknown_kind, "serial, local, cuda, or the address of a scheduler"),
    (bad_truth, "sources.csv"),
    (wrong_extinction, "unknown photometric system 'hst'"),
]


@pytest.mark.parametrize(("spoil", "said"), CASES, ids=lambda case: getattr(case, "__name__", None))
def test_bad_input_is_one_line_exit_2_and_nothing_left(run, call, spoil, said):
    spoil(run)
    before = sorted(run.folder.rglob("*"))
    code, out, err = call("classify", run.folder / "run.toml")
    lines = [line for line in err.splitlines() if line.strip()]
    assert code == 2
    assert out == ""
    assert len(lines) == 1, err
    assert lines[0].startswith("survey-classifier: ")
    assert said in lines[0]
    assert sorted(run.folder.rglob("*")) == before


def test_a_missing_run_file_and_folder(call, tmp_path):
    code, _, err = call("classify", tmp_path / "absent.toml")
    assert (code, "no such file" in err) == (2, True)
    code, _, err = call("status", tmp_path)
    assert (code, "no run in" in err) == (2, True)


def test_another_checkpoint_in_the_same_folder_stops(run, call):
    assert call("classify", run.write())[0] == 0
    small_run.write_checkpoint(run.folder / "net.safetensors", seed=5)
    code, _, err = call("classify", run.write())
    assert code == 2
    assert "belongs to run" in err
    assert "choose another `out` or remove the folder" in err


def test_another_checkpoint_is_found_out_before_an_ingest(run, call):
    path, store = run.write(), run.folder / "new.zarr"
    assert call("classify", path)[0] == 0
    images(run)
    run.write(mosaic={"store": "new.zarr", "inputs": IMAGES})
    small_run.write_checkpoint(run.folder / "net.safetensors", seed=5)
    code, _, err = call("classify", path)
    assert (code, "belongs to run" in err, store.exists()) == (2, True, False)


IMAGES = [{"path": f"new-{band}.fits", "band": band, "zero_point": 27.0} for band in ("g", "i")]


def images(run):
    """Write an image a band."""
    rng = np.random.default_rng(3)
    for entry in IMAGES:
        pixels = rng.normal(0, 1, small_run.SHAPE).astype(np.float32)
        pixels[200:204, 100:104] += 50
        fits.PrimaryHDU(pixels, small_run.grid().to_header()).writeto(run.folder / entry["path"])


def test_what_fails_once_something_was_written_is_exit_1(run, call, monkeypatch):
    def failing(*_):
        raise MosaicError("new-g.fits is damaged; fetch it again")

    images(run)
    path = run.write(mosaic={"store": "new.zarr", "inputs": IMAGES})
    with monkeypatch.context() as patched:
        patched.setattr("survey_classifier.mosaic.ingest.compose", failing)
        for verb in ("ingest", "classify", "detect"):
            code, _, err = call(verb, path)
            assert (code, err.splitlines()[-1]) == (
                1, "survey-classifier: new-g.fits is damaged; fetch it again",
            )  # fmt: skip
    (run.folder / "taken").write_text("mine")
    code, _, err = call("detect", path, "--out", run.folder / "taken" / "list.parquet")
    assert (code, "choose another --out" in err) == (1, True)


def test_an_ingest_that_a_classification_fails_after_is_exit_1(run, call, monkeypatch):
    def elsewhere(*_):
        raise SourcesError("no source is on it")

    images(run)
    path = run.write(mosaic={"store": "new.zarr", "inputs": IMAGES})
    monkeypatch.setattr("survey_classifier.run.classify.plan", elsewhere)
    assert call("classify", path)[0] == 1
    assert call("classify", path)[0] == 2


def test_a_catalog_that_cannot_be_written_is_exit_1(run, call):
    path = run.write()
    (run.folder / "out-run" / "run.parquet").mkdir(parents=True)
    (run.folder / "out-run" / "run.parquet" / "mine").touch()
    code, _, err = call("classify", path)
    assert (code, len([line for line in err.splitlines() if "survey-classifier:" in line])) == (
        1,
        1,
    )


def test_a_folder_that_cannot_be_simulated_into_is_one_line(call, tmp_path):
    (tmp_path / "file").touch()
    for words in (["simulate", tmp_path / "file" / "x"], ["demo", "--out", tmp_path / "file"]):
        code, _, err = call(*words, "--size-px", "256", "--n-sources", "20")
        assert (code, len(err.splitlines())) == (2, 1), err
        assert "simulate into another folder" in err


@pytest.mark.parametrize("option", [("--poll", "3"), ("--until-idle", "3")])
def test_options_of_a_watch_need_one(run, call, option):
    code, _, err = call("classify", run.write(), *option)
    assert (code, f"{option[0]} is for --watch FOLDER" in err) == (2, True)


def test_a_wrong_command_line_is_one_line(call):
    for words in (["classify"], ["clasify", "run.toml"], ["plan", "run.toml", "--fast"]):
        code, out, err = call(*words)
        assert (code, out, len(err.splitlines())) == (2, "", 1)
        assert err.endswith("; see --help\n")


def test_ctrl_c_is_a_line_that_says_how_to_go_on(run, call, monkeypatch):
    from survey_classifier.run import serial

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(serial, "finish_tile", interrupted)
    code, _, err = call("classify", run.write())
    assert code == 130
    assert err.splitlines()[-1] == "survey-classifier: stopped; run it again to go on"


def test_failures_are_exit_code_1(run, call, monkeypatch):
    from survey_classifier.run import serial

    def broken(*_):
        raise SurveyClassifierError("never")

    monkeypatch.setattr(serial, "finish_tile", broken)
    code, _, err = call("classify", run.write())
    assert code == 1
    assert err.splitlines()[-1] == "survey-classifier: never"


def test_progress_in_a_log_is_a_line_now_and_then(monkeypatch):
    log = io.StringIO()
    progress = Progress(console=Console(file=log, width=80))
    shown = terminal.Bars(progress)
    monkeypatch.setattr(terminal, "SECONDS_BETWEEN_LINES", 0.0)
    for done in (1, 2):
        shown.progress("train", done, 2)
    monkeypatch.setattr(terminal, "SECONDS_BETWEEN_LINES", 1e9)
    shown.progress("train", 2, 2)
    assert log.getvalue() == "train: 1 of 2\ntrain: 2 of 2\n"
