"""A watched folder: whatever arrives first, the end is the run with all files from the start."""

import contextlib
import math
import shutil
import threading
import time

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from distributed import LocalCluster
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from survey_classifier import classify, ingest
from survey_classifier.errors import (
    CheckpointError,
    ClusterError,
    ConfigError,
    MosaicError,
    RunMismatchError,
)
from survey_classifier.mosaic import backlog, blueprint, layout, store, writer
from survey_classifier.mosaic import ingest as ingest_module
from survey_classifier.mosaic.arrivals import require_way_into
from survey_classifier.mosaic.exposure import MosaicInput
from survey_classifier.mosaic.mosaic_settings import MosaicSettings
from survey_classifier.mosaic.sky import SkyGrid
from survey_classifier.mosaic.skymap import Patches, RingsTract
from survey_classifier.mosaic.store import Mosaic
from survey_classifier.mosaic.writer import MosaicWriter
from survey_classifier.run import rounds, sheet, watch
from survey_classifier.run.listener import Listener
from tests import small_run
from tests.array_exposure import plane_wcs
from tests.test_mosaic_euclid import mer_name
from tests.test_run_classify import assert_same_rows, rows_of

TILES = {"n": (0.0, 40.0, 3.0), "s": (0.0, -30.0, 0.0), "w": (-45.0, 5.0, -20.0)}
"""Offset of each tile's center in arcsec, and by how much it is turned."""
TILE_PX = 200
PATCHES = Patches(150, 10, 8.0)
"""Coarse patches: a tract that a test can hold."""
TRACT = 15549


class Field:
    """A run whose images are at hand, and a folder to which they come one by one."""

    def __init__(self, folder, mosaic, card=None, tile_px=128):
        self.folder, self.ready, self.come = folder, folder / "ready", folder / "come"
        self.mosaic, self.tile_px = mosaic, tile_px
        self.ready.mkdir(parents=True)
        small_run.write_checkpoint(folder / "net.safetensors", **(card or {}))

    @property
    def names(self):
        return sorted(path.name for path in self.ready.iterdir())

    def listed(self, ra, dec):
        """Write the source list."""
        small_run.write_redshifts(self.folder / "redshifts.csv", ra, dec)
        mags = np.random.default_rng(2).normal(19, 1, (3, len(ra)))
        table = {"name": [f"S-{row:03d}" for row in range(len(ra))], "ra": ra, "dec": dec}
        table |= {f"mag_{band}": mag for band, mag in zip("grz", mags, strict=True)}
        pd.DataFrame(table).to_csv(self.folder / "sources.csv", index=False)

    def deliver(self, *names):
        self.come.mkdir(exist_ok=True)
        for name in names:
            shutil.copyfile(self.ready / name, self.come / name)

    def run_file(self, name="run", **mosaic):
        """Write a run file of what has come, with stores and output of its own."""
        content = self.mosaic | mosaic
        content["store"] = f"{name}/{content['store']}"
        (self.folder / name).mkdir(exist_ok=True)
        tiles = {"size_px": self.tile_px}
        return small_run.SmallRun(self.folder).write(name, mosaic=content, tiles=tiles)

    def empty(self, name):
        """Remove what came and what was made of it."""
        for folder in (self.come, self.folder / name, self.folder / f"out-{name}"):
            shutil.rmtree(folder, ignore_errors=True)
        self.come.mkdir()


def digests(field, name="run"):
    return {path.name: Mosaic.open(path).digest for path in (field.folder / name).glob("*.zarr")}


class Told(Listener):
    """Keeps what was said."""

    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)


@pytest.fixture
def watched(monkeypatch):
    """Watch with a clock whose every wait does the next of some steps; return the end and lines."""

    def run(path, folder, steps, **keys):
        steps, now = iter(steps), [0.0]

        class Clock:
            @staticmethod
            def monotonic():
                return now[0]

            @staticmethod
            def sleep(seconds):
                now[0] += seconds
                # Twice as often as something comes: a file counts at the second look.
                for step in [next(steps, None)] if now[0] % 2 == 0 else []:
                    if step is not None:
                        step()

        monkeypatch.setattr(watch, "time", Clock)
        told = Told()
        keys = {"until_idle_seconds": 6.0, "poll_seconds": 1.0} | keys
        return watch.watch(path, folder, listener=told, **keys), told.lines

    return run


def tile_images(folder):
    """Write overlapping turned tiles, a file a band."""
    rng = np.random.default_rng(4)
    for tile, (east, north, angle) in TILES.items():
        center = (49.95 + east / 3600 / math.cos(math.radians(41.51)), 41.51 + north / 3600)
        wcs = plane_wcs(0.4, ((TILE_PX + 1) / 2,) * 2, angle, center)
        for band in small_run.BANDS:
            flux = rng.normal(0, 3, (TILE_PX, TILE_PX)).astype(np.float32)
            flux[50:90, 60:120] = np.nan
            header = wcs.to_header(relax=True)
            header["MAGZERO"] = 31.4
            fits.PrimaryHDU(flux, header).writeto(folder / f"{tile}-{band}.fits", checksum=True)


@pytest.fixture(scope="module")
def tiles(tmp_path_factory):
    """A field of three tiles; a source list that reaches beyond them."""
    folder = tmp_path_factory.mktemp("tiles")
    entries = [{"path": f"come/{{tile}}-{band}.fits", "band": band} for band in small_run.BANDS]
    field = Field(folder, {"store": "{tile}.zarr", "inputs": entries})
    tile_images(field.ready)
    rng = np.random.default_rng(8)
    field.listed(49.95 + rng.uniform(-0.03, 0.03, 60), 41.51 + rng.uniform(-0.025, 0.025, 60))
    return field


@pytest.fixture(scope="module")
def tiles_at_once(tiles):
    return at_once(tiles)


def at_once(field):
    """The oracle: the run with all files there."""
    field.deliver(*field.names)
    receipt = classify(field.run_file("once"))
    assert receipt.exit_code == 0
    assert receipt.n_classified > 20
    return rows_of(receipt), digests(field, "once")


def orders(names):
    """Draw an order of arrival, in batches."""
    return st.permutations(names).flatmap(
        lambda order: st.lists(st.integers(1, len(order) - 1), max_size=3, unique=True).map(
            lambda cuts: [
                order[first:stop]
                for first, stop in zip([0, *sorted(cuts)], [*sorted(cuts), None], strict=True)
            ]
        )
    )


FEW = settings(
    max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@FEW
@given(data=st.data())
def test_tiles_in_any_order_end_as_the_run_with_all_of_them(tiles, tiles_at_once, watched, data):
    batches = data.draw(orders(tiles.names))
    tiles.empty("run")
    steps = [lambda batch=batch: tiles.deliver(*batch) for batch in batches]
    end, _ = watched(tiles.run_file(), tiles.come, steps)
    assert (end.exit_code, end.undone) == (0, ())
    assert_same_rows(rows_of(end.receipt), tiles_at_once[0])
    assert list(rows_of(end.receipt).tile) == list(tiles_at_once[0].tile)
    assert digests(tiles) == tiles_at_once[1]


def test_only_tiles_of_new_pixels_are_worked_on(tiles, watched, monkeypatch):
    tiles.empty("run")
    n_resumed, seen = [], []
    work_off = rounds.work_off

    def counting(laid_out, workers, listener):
        receipt = work_off(laid_out, workers, listener)
        n_resumed.append(receipt.n_tiles_resumed)
        seen.append(rows_of(receipt))
        return receipt

    monkeypatch.setattr(rounds, "work_off", counting)
    steps = [lambda n=name: tiles.deliver(n) for name in ("n-g.fits", "n-i.fits", "w-i.fits")]
    end, lines = watched(tiles.run_file(), tiles.come, steps)
    assert end.undone == ("w waits for images of g",)
    assert end.exit_code == 1
    assert "n waits for images of i" in lines
    watched(tiles.run_file(), tiles.come, [lambda: tiles.deliver("w-g.fits")])
    first, again, both = seen
    assert n_resumed[:2] == [0, 4], "a second call has nothing to do"
    assert 0 < n_resumed[2] < 4
    pd.testing.assert_frame_equal(first, again)
    assert set(first.status) > {"classified", "off_mosaic"}
    assert (both.status == "off_mosaic").sum() < (first.status == "off_mosaic").sum()


def patch_images(folder):
    """Write four patches of a tract in two bands, with borders that overlap."""
    rng = np.random.default_rng(6)
    grid = PATCHES.grid(RingsTract(TRACT))
    for band in small_run.BANDS:
        tract = rng.normal(0, 3, grid.shape).astype(np.float32)
        for column, row in ((2, 2), (3, 2), (2, 3), (3, 3)):
            box = PATCHES.outer(column, row)
            header = grid.wcs.to_header()
            header["CRPIX1"] -= box.x0
            header["CRPIX2"] -= box.y0
            image = fits.ImageHDU(tract[box.slices], header, name="IMAGE")
            mask = fits.ImageHDU(np.zeros(box.shape, np.int32), header, name="MASK")
            mask.header["MP_BAD"] = 0
            variance = fits.ImageHDU(np.full(box.shape, 9, np.float32), header, name="VARIANCE")
            primary = fits.PrimaryHDU(header=fits.Header({"FLUXMAG0": 10 ** (0.4 * 31.4)}))
            fits.HDUList([primary, image, mask, variance]).writeto(
                folder / f"calexp-HSC-{band.upper()}-{TRACT}-{column},{row}.fits"
            )


@pytest.fixture
def small_shards(monkeypatch):
    """Shards of 512 px, so that a tract is a few of them."""
    for module in (blueprint, layout, store, writer, backlog, sheet):
        monkeypatch.setattr(module, "SHARD_PX", 512)
    monkeypatch.setattr(blueprint, "CHUNK_PX", 64)


@pytest.fixture(scope="module")
def patches(tmp_path_factory):
    """A field of HSC patches, of which a store is the whole tract."""
    folder = tmp_path_factory.mktemp("patches")
    sizes = {"patch_inner_px": PATCHES.inner_px, "patch_border_px": PATCHES.border_px}
    entries = [
        {"reader": "hsc", "band": band, "path": f"come/calexp-HSC-{band.upper()}-*.fits", **sizes}
        for band in small_run.BANDS
    ]
    mosaic = {"store": "tract.zarr", "extent": "survey", "inputs": entries}
    field = Field(folder, mosaic, {"stamp_arcsec": 256.0}, 512)
    patch_images(field.ready)
    x, y = np.random.default_rng(8).uniform(250, 650, (2, 60))
    field.listed(*SkyGrid(PATCHES.grid(RingsTract(TRACT)).wcs).pixel_to_world(x, y))
    return field


@pytest.mark.usefixtures("small_shards")
@FEW
@given(data=st.data())
def test_patches_in_any_order_end_as_the_run_with_all_of_them(patches, watched, data):
    if not (patches.folder / "once").exists():
        patches.at_once = at_once(patches)
    patches.empty("run")
    batches = data.draw(orders(patches.names))
    steps = [lambda batch=batch: patches.deliver(*batch) for batch in batches]
    end, _ = watched(patches.run_file(), patches.come, steps)
    assert (end.exit_code, end.undone) == (0, ())
    assert_same_rows(rows_of(end.receipt), patches.at_once[0])
    assert digests(patches) == patches.at_once[1]


def mer_field(folder):
    """A field of one MER tile in one band: image, noise, flags, and the image made again."""
    entry = {
        "reader": "euclid-mer",
        "band": "VIS",
        "path": "come/EUC_MER_BGSUB-*_TILE{tile}-*.fits",
    }
    card = {"bands": ("VIS",), "stretch": {"VIS": {"softening": 20.0, "maximum": 2000.0}}}
    field = Field(folder, {"store": "{tile}.zarr", "inputs": [entry]}, card)
    header = plane_wcs(0.4, (100.5, 100.5)).to_header()
    header["MAGZERO"] = 24.6
    rng = np.random.default_rng(3)
    noise = [rng.normal(0, 1, (200, 200)).astype(np.float32) for _ in range(2)]
    flags = np.zeros((200, 200), np.int32)
    flags[20:60, 30:70] = 1 << 3
    planes = {
        "old": (mer_name("BGSUB", time="20240105T125727.7"), noise[0]),
        "new": (mer_name("BGSUB", time="20240305T125727.7"), noise[1]),
        "rms": (mer_name("RMS"), np.full((200, 200), 1.5, np.float32)),
        "flags": (mer_name("FLAG"), flags),
    }
    for name, plane in planes.values():
        fits.PrimaryHDU(plane, header).writeto(field.ready / name)
    x, y = rng.uniform(0, 200, (2, 30))
    field.listed(*SkyGrid(plane_wcs(0.4, (100.5, 100.5))).pixel_to_world(x, y))
    return field, {key: name for key, (name, _) in planes.items()}


@pytest.mark.parametrize("order", [("old", "rms", "flags", "new"), ("flags", "new", "old", "rms")])
def test_noise_flags_and_newer_images_of_a_tile_may_come_later(tmp_path, watched, order):
    field, names = mer_field(tmp_path)
    steps = [lambda key=key: field.deliver(names[key]) for key in order]
    field.come.mkdir()
    end, _ = watched(field.run_file(), field.come, steps)
    assert end.undone == ()
    once = classify(field.run_file("once"))
    assert digests(field) == digests(field, "once")
    assert_same_rows(rows_of(end.receipt), rows_of(once))
    (mosaic,) = (Mosaic.open(path) for path in (tmp_path / "run").glob("*.zarr"))
    assert mosaic.bands[0].has_variance
    assert mosaic.bands[0].source_files == (names["new"],)


def test_a_file_counts_when_it_has_come_whole_and_is_sound(tiles, tiles_at_once, watched):
    """One that grows, one cut short, one damaged, one empty: each is said once, and mended."""
    tiles.empty("run")
    whole = {name: (tiles.ready / name).read_bytes() for name in tiles.names}
    damaged = bytearray(whole["n-g.fits"])
    damaged[-30000] ^= 255
    nothing = tiles.folder / "nothing.fits"
    header = fits.getheader(tiles.ready / "w-g.fits")
    fits.PrimaryHDU(np.full((TILE_PX, TILE_PX), np.nan, np.float32), header).writeto(
        nothing, overwrite=True, checksum=True
    )

    def puts(name, content):
        return lambda: (tiles.come / name).write_bytes(content)

    rest = [name for name in tiles.names if name not in ("s-g.fits", "n-g.fits", "w-g.fits")]
    steps = [
        lambda: tiles.deliver(*rest),
        puts("s-g.fits", whole["s-g.fits"][:-5000]),
        puts("n-g.fits", bytes(damaged)),
        puts("w-g.fits", nothing.read_bytes()),
        None,
        lambda: tiles.deliver("s-g.fits"),
        lambda: tiles.deliver("n-g.fits"),
        lambda: tiles.deliver("w-g.fits"),
    ]
    end, lines = watched(tiles.run_file(), tiles.come, steps)
    assert end.undone == ()
    for words in ("s-g.fits as FITS: it is truncated", "n-g.fits does not give its DATASUM",
                  "w-g.fits has no data at all"):  # fmt: skip
        assert sum(words in line for line in lines) == 1, "\n".join(lines)
    assert_same_rows(rows_of(end.receipt), tiles_at_once[0])
    assert digests(tiles) == tiles_at_once[1]


def test_a_file_that_grows_does_not_count(tiles, watched):
    tiles.empty("run")
    content = (tiles.ready / "s-g.fits").read_bytes()
    step = -(-len(content) // 10)
    lines = []

    def grow():
        with (tiles.come / "s-g.fits").open("ab") as file:
            file.write(content[file.tell() : file.tell() + step])

    end, lines = watched(tiles.run_file(), tiles.come, [grow] * 10, poll_seconds=2.0)
    assert not any("truncated" in line for line in lines)
    assert end.undone == ("s waits for images of i",)
    assert end.receipt is None
    assert end.exit_code == 1


def test_an_image_that_fails_while_it_is_composed_is_left_out_until_it_changes(tmp_path, watched):
    """Its mask has a value far from the middle that nobody knows."""
    entries = [{"path": f"come/{{tile}}-{band}.fits", "band": band, "mask_hdu": 1}
               for band in small_run.BANDS]  # fmt: skip
    field = Field(tmp_path, {"store": "{tile}.zarr", "inputs": entries})
    tile_images(field.ready)
    for name in field.names:
        with fits.open(field.ready / name) as hdus:
            side = 2500 if name.startswith("n") else TILE_PX
            flux = np.resize(hdus[0].data, (side, side))
            header = fits.Header(hdus[0].header, copy=True)
        for key in ("CHECKSUM", "DATASUM"):
            del header[key]
        mask = fits.ImageHDU(np.zeros(flux.shape, np.int16))
        fits.HDUList([fits.PrimaryHDU(flux, header), mask]).writeto(
            field.ready / name, overwrite=True
        )
    rng = np.random.default_rng(8)
    field.listed(49.95 + rng.uniform(-0.03, 0.03, 60), 41.51 + rng.uniform(-0.025, 0.025, 60))
    once = at_once(field)
    field.empty("run")
    field.deliver(*field.names)
    with fits.open(field.come / "n-i.fits", mode="update") as hdus:
        hdus[1].data[5, 5] = 999
    end, lines = watched(field.run_file(), field.come, [])
    assert sum("n-i.fits holds 999" in line for line in lines) == 1
    assert len(end.undone) == 2
    assert "n-i.fits holds 999" in end.undone[0]
    assert end.undone[1] == "n waits for images of i"
    assert end.receipt.n_classified > 10
    end, lines = watched(field.run_file(), field.come, [None, lambda: field.deliver("n-i.fits")])
    assert sum("n-i.fits holds 999" in line for line in lines) == 1
    assert end.undone == ()
    assert_same_rows(rows_of(end.receipt), once[0])
    assert digests(field) == once[1]


@pytest.mark.usefixtures("small_shards")
def test_the_rest_of_a_store_is_made_without_an_image_that_fails(patches, watched, monkeypatch):
    """The store has begun when one of its images turns out to be damaged."""
    patches.empty("run")
    patches.deliver(*[name for name in patches.names if "HSC-G" not in name or "2,2" not in name])
    rest, _ = watched(patches.run_file(), patches.come, [])
    patches.empty("run")
    patches.deliver(*patches.names)
    damaged = str(patches.come / "calexp-HSC-G-15549-2,2.fits")
    compose = ingest_module.compose

    def failing(images, wcs, box):
        if any(str(image.exposure.path) == damaged for image in images):
            raise MosaicError(f"cannot read {damaged} as FITS: broken; fetch it again")
        return compose(images, wcs, box)

    monkeypatch.setattr(ingest_module, "compose", failing)
    end, lines = watched(patches.run_file(), patches.come, [])
    assert sum("broken" in line for line in lines) == 1
    assert len(end.undone) == 1
    assert_same_rows(rows_of(end.receipt), rows_of(rest.receipt))


def test_what_is_no_image_ends_the_watch(tiles, watched, monkeypatch):
    tiles.empty("run")
    tiles.deliver("s-g.fits", "s-i.fits")

    def full(*_):
        raise MosaicError("cannot write s.zarr: no space left; make room")

    monkeypatch.setattr(MosaicWriter, "write", full)
    with pytest.raises(MosaicError, match="no space left"):
        watched(tiles.run_file(), tiles.come, [])


def test_stores_without_their_images_stay_when_the_watch_begins_anew(tiles, tiles_at_once, watched):
    tiles.empty("run")
    tiles.deliver(*tiles.names)
    watched(tiles.run_file(), tiles.come, [])
    for name in ("s-g.fits", "s-i.fits", "n-g.fits", "n-i.fits"):
        (tiles.come / name).unlink()
    end, _ = watched(tiles.run_file(), tiles.come, [])
    assert end.undone == ()
    assert_same_rows(rows_of(end.receipt), tiles_at_once[0])


def test_an_image_that_is_replaced_is_taken_anew(tiles, watched):
    tiles.empty("run")
    tiles.deliver("s-g.fits", "s-i.fits")
    before = []

    def replace_it():
        before.append(digests(tiles))
        with fits.open(tiles.ready / "s-g.fits") as hdus:
            hdus[0].data = hdus[0].data * 2
            hdus.writeto(tiles.come / "s-g.fits", overwrite=True, checksum=True)

    end, lines = watched(tiles.run_file(), tiles.come, [None, replace_it])
    assert end.undone == ()
    after = digests(tiles)
    assert before[0].keys() == after.keys() == {"s.zarr"}
    assert before[0] != after
    assert not any("made of" in line for line in lines)


@pytest.mark.usefixtures("small_shards")
def test_two_files_of_one_patch_wait_and_the_rest_stays(patches, watched):
    patches.empty("run")
    patches.deliver(*patches.names)
    twin = "calexp-HSC-G-again-15549-2,2.fits"

    def come_again():
        shutil.copyfile(patches.come / "calexp-HSC-G-15549-2,2.fits", patches.come / twin)

    end, lines = watched(patches.run_file(), patches.come, [None, come_again])
    assert sum("leave one of them out" in line for line in lines) == 1
    assert len(end.undone) == 1
    assert end.receipt.n_classified > 20
    assert end.exit_code == 1


def test_ctrl_c_stops_and_a_second_call_goes_on(tiles, tiles_at_once, watched, monkeypatch):
    tiles.empty("run")
    tiles.deliver(*tiles.names)
    write, written = MosaicWriter.write, []

    def interrupted(self, band, box, window, made_of):
        write(self, band, box, window, made_of)
        written.append((str(self.place), band))
        if len(written) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(MosaicWriter, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        watched(tiles.run_file(), tiles.come, [])
    end, _ = watched(tiles.run_file(), tiles.come, [])
    assert len(written) == len(set(written)) == 6
    assert digests(tiles) == tiles_at_once[1]
    assert_same_rows(rows_of(end.receipt), tiles_at_once[0])


def test_sources_elsewhere_may_be_on_what_is_still_to_come(tiles, watched):
    tiles.empty("run")
    path = tiles.run_file()
    table = pd.read_csv(tiles.folder / "sources.csv")
    table.assign(dec=table.dec + 3).to_csv(tiles.folder / "elsewhere.csv", index=False)
    path.write_text(path.read_text().replace("sources.csv", "elsewhere.csv"))
    end, _ = watched(path, tiles.come, [lambda: tiles.deliver("s-g.fits", "s-i.fits")])
    assert end.receipt is None
    assert "none of the 60 sources" in end.undone[0]


def test_what_cannot_fit_ever_stops_the_watch(tiles, watched):
    tiles.empty("run")
    small_run.write_checkpoint(tiles.folder / "fine.safetensors", stamp_arcsec=3.2)
    path = tiles.run_file()
    path.write_text(path.read_text().replace("net.safetensors", "fine.safetensors"))
    with pytest.raises(CheckpointError, match=r"the mosaic has 0.4 arcsec/px"):
        watched(path, tiles.come, [lambda: tiles.deliver("s-g.fits", "s-i.fits")])


def test_an_output_of_another_run_is_refused_before_anything_comes(tiles, tiles_at_once, watched):
    assert tiles_at_once
    path = tiles.run_file("once")
    path.write_text(path.read_text().replace("size_px = 128", "size_px = 256"))
    with pytest.raises(RunMismatchError, match="belongs to run"):
        watched(path, tiles.come, [])


G = {"path": "come/a-{tile}-g.fits", "band": "g"}


@pytest.mark.parametrize(
    ("mosaic", "words"),
    [
        ({"store": "m.zarr", "inputs": [{"path": "come/*-g.fits", "band": "g"}]},
         "may fit several files a store: .* set extent = 'survey'"),
        ({"store": "m.zarr", "inputs": [{"path": "come/{tile}.fits", "band": "g"}]},
         "may fit several files a store"),
        ({"store": "{tile}.zarr", "inputs": [G, {**G, "path": "come/b-{tile}-g.fits"}]},
         "band g of run/{tile}.zarr has 2 inputs"),
        ({"store": "m.zarr", "inputs": []}, "nothing to watch for"),
        ({"store": "{tile}.zarr", "inputs": [{**G, "path": "other/{tile}.fits"}]},
         "no input looks into .*come, the paths are other/{tile}.fits"),
    ],
)  # fmt: skip
def test_runs_that_would_depend_on_the_order_are_refused(tiles, watched, mosaic, words):
    tiles.empty("run")
    path = tiles.run_file(**mosaic)
    with pytest.raises(ConfigError, match=words):
        watched(path, tiles.come, [])
    with pytest.raises(ConfigError, match="no such folder"):
        watched(tiles.run_file(), tiles.folder / "absent", [])


@pytest.mark.parametrize(
    ("path", "leads"),
    [
        ("come/{tile}.fits", True),
        ("c?me/sub/{tile}.fits", True),
        ("{tile}/{tile}.fits", True),
        ("{tile}.fits", False),
        ("**/{tile}.fits", True),
        ("came/**/{tile}.fits", False),
        ("came/{tile}/{tile}.fits", False),
    ],
)
def test_a_path_that_may_not_lead_into_the_folder_is_refused(tmp_path, path, leads):
    mosaic = MosaicSettings(store="m.zarr", inputs=(MosaicInput(path=path, band="g"),))
    (tmp_path / "come").mkdir()
    with contextlib.nullcontext() if leads else pytest.raises(ConfigError, match="no input looks"):
        require_way_into(tmp_path / "come", mosaic, tmp_path)


def test_the_verb_watches_until_nothing_comes(tiles, tiles_at_once, call):
    tiles.empty("run")
    path = tiles.run_file()

    def bring():
        for name in reversed(tiles.names):
            tiles.deliver(name)
            time.sleep(0.1)

    thread = threading.Thread(target=bring)
    thread.start()
    code, out, err = call(
        "classify", path, "--watch", tiles.come, "--until-idle", "3", "--poll", "0.05"
    )
    thread.join()
    assert code == 0, err
    assert out.splitlines()[-1].startswith("60 sources = ")
    assert digests(tiles) == tiles_at_once[1]
    rows = pd.read_parquet(tiles.folder / "out-run" / "run.parquet")
    assert_same_rows(rows.sort_values("source_id", ignore_index=True), tiles_at_once[0])
    (tiles.come / "n-g.fits").unlink()
    code, out, err = call(
        "classify", path, "--watch", tiles.come, "--until-idle", "0", "--poll", "0.05"
    )
    assert code == 1
    assert "left undone: n waits for images of g" in err
    code, _, err = call("classify", path, "--until-idle", "3")
    assert (code, "--until-idle is for --watch FOLDER" in err) == (2, True)


def test_ctrl_c_while_watching_is_the_usual_line(tiles, call, monkeypatch):
    tiles.empty("run")

    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(watch.time, "sleep", interrupted)
    code, _, err = call("classify", tiles.run_file(), "--watch", tiles.come)
    assert code == 130
    assert err.splitlines()[-1] == "survey-classifier: stopped; run it again to go on"


def test_detected_sources_would_depend_on_what_has_come(tiles, watched):
    tiles.empty("run")
    path = tiles.run_file()
    text = path.read_text()
    assert 'path = "sources.csv"' in text
    start, end = text.index("[sources]"), text.index("[redshifts]")
    path.write_text(text[:start] + "[sources]\ndetect = true\n" + text[end:])
    with pytest.raises(ConfigError, match=r"give sources.path to watch a folder"):
        watched(path, tiles.come, [])


def test_what_ends_a_watch_after_an_ingest_is_exit_1(tiles, watched, monkeypatch):
    def gone(*_):
        raise CheckpointError("the checkpoint is gone")

    tiles.empty("run")
    tiles.deliver(*tiles.names)
    monkeypatch.setattr(rounds, "work_off", gone)
    for code in (1, 2):  # the second one finds the stores finished
        with pytest.raises(CheckpointError, match="gone") as caught:
            watched(tiles.run_file(), tiles.come, [])
        assert caught.value.exit_code == code


# Ingest on a cluster


def test_an_ingest_on_a_local_cluster_is_that_of_threads(tiles, tiles_at_once, call):
    tiles.empty("run")
    tiles.deliver(*tiles.names)
    path = tiles.run_file()
    code, out, _ = call("ingest", path, "--cluster", "local")
    assert code == 0
    assert len(out.splitlines()) == 3
    assert digests(tiles) == tiles_at_once[1]
    content = bytearray((tiles.come / "w-i.fits").read_bytes())
    content[-30000] ^= 255
    (tiles.come / "w-i.fits").write_bytes(content)
    shutil.rmtree(tiles.folder / "run" / "w.zarr")
    code, _, err = call("ingest", path, "--cluster", "local")
    assert code == 2
    (line,) = (line for line in err.splitlines() if line.startswith("survey-classifier: "))
    assert "w-i.fits does not give its DATASUM" in line


def test_an_ingest_needs_no_scorer_but_memory(tiles, tiles_at_once):
    tiles.empty("run")
    tiles.deliver(*tiles.names)
    path = tiles.run_file()
    with LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0"
    ) as local:
        ingest(path, cluster=local.scheduler_address)
        assert digests(tiles) == tiles_at_once[1]
        with pytest.raises(ClusterError, match="none with the resource SCORER"):
            classify(path, cluster=local.scheduler_address)
    shutil.rmtree(tiles.folder / "run" / "w.zarr")
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=2, processes=False, memory_limit=2**20,
            dashboard_address="127.0.0.1:0",
        ) as local,
        pytest.raises(ClusterError, match=r"2 threads need .* GiB for a shard each"),
    ):  # fmt: skip
        ingest(path, cluster=local.scheduler_address)
    with pytest.raises(ConfigError, match="needs no GPU"):
        ingest(path, cluster="cuda")
