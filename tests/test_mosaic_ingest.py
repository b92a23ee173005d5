"""Ingest: pixels come out as they are in the files, and bad files are refused in a line."""

import bz2
import gzip
import os
import resource
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from survey_classifier.errors import ConfigError, MosaicError
from survey_classifier.geometry import Box
from survey_classifier.mosaic import backlog, blueprint, capacity, layout, store, writer
from survey_classifier.mosaic import ingest as ingest_module
from survey_classifier.mosaic.backlog import Ingested
from survey_classifier.mosaic.exposure import MosaicInput
from survey_classifier.mosaic.ingest import carry_out, ingest_mosaics
from survey_classifier.mosaic.mosaic_settings import MosaicSettings
from survey_classifier.mosaic.pixels import MaskBit
from survey_classifier.mosaic.place import Place
from survey_classifier.mosaic.planning import plan_ingests, plan_or_open
from survey_classifier.mosaic.readers.fits import open_fits
from survey_classifier.mosaic.store import Mosaic
from survey_classifier.mosaic.writer import MosaicWriter
from survey_classifier.run.cluster import ingest_executor
from survey_classifier.run.config import ClusterSettings
from tests.test_stamps import tan_wcs

SHAPE = (300, 260)


@pytest.fixture
def image():
    return np.random.default_rng(5).normal(size=SHAPE).astype(np.float32)


def write_fits(path, image, wcs=None, **cards):
    header = (tan_wcs() if wcs is None else wcs).to_header(relax=True)
    header.update(cards)
    fits.PrimaryHDU(image, header).writeto(path)
    return path


def settings(*inputs, store="m.zarr", scale="native", **more):
    return MosaicSettings(store=store, inputs=inputs, scale_arcsec=scale, **more)


def ingest_mosaic(run, folder):
    """Ingest a run of one mosaic."""
    (mosaic,) = ingest_mosaics(run, folder)
    return mosaic


@pytest.fixture
def small_shards(monkeypatch):
    """Make shards of 128 px, so that a small mosaic has many."""
    for module in (blueprint, layout, store, writer, backlog):
        monkeypatch.setattr(module, "SHARD_PX", 128)
    monkeypatch.setattr(blueprint, "CHUNK_PX", 16)


@pytest.fixture
def written(monkeypatch):
    """Record the shards that are written."""
    boxes, original = [], MosaicWriter.write

    def counting(self, band, box, window, inputs):
        boxes.append((band, box))
        original(self, band, box, window, inputs)

    monkeypatch.setattr(MosaicWriter, "write", counting)
    return boxes


def read_all(mosaic, band):
    ny, nx = mosaic.shape
    block = mosaic.read(Box(0, ny, 0, nx), (band,))
    return block.flux[0], block.mask[0]


def test_counts_become_njy_by_the_files_own_zero_point(tmp_path, image):
    write_fits(tmp_path / "g.fits", image, MAGZERO=27.0)
    mosaic = ingest_mosaic(settings(MosaicInput(path="g.fits", band="g", zero_point=30)), tmp_path)
    flux, _ = read_all(mosaic, "g")
    # DOMAIN's golden value: 1 count at zero point 27 is 57.544 nJy
    np.testing.assert_allclose(flux, image * 57.544, rtol=1e-5)
    assert mosaic.bands[0].zero_point == 27.0


def test_the_declared_zero_point_is_only_a_default(tmp_path, image):
    write_fits(tmp_path / "g.fits", image)
    with pytest.raises(MosaicError, match=r"has no zero point \(MAGZERO, .*unit = 'display'"):
        ingest_mosaic(settings(MosaicInput(path="g.fits", band="g")), tmp_path)
    assert not (tmp_path / "m.zarr").exists()
    mosaic = ingest_mosaic(
        settings(MosaicInput(path="g.fits", band="g", zero_point=31.4)), tmp_path
    )
    np.testing.assert_array_equal(read_all(mosaic, "g")[0], image)


def test_display_units_scaled_integers_compression_and_coverage(tmp_path):
    rng = np.random.default_rng(2)
    image = rng.integers(0, 255, SHAPE).astype(np.uint8)
    coverage = (rng.random(SHAPE) > 0.2).astype(np.uint8)
    header = tan_wcs().to_header(relax=True)
    fits.HDUList(
        [
            fits.PrimaryHDU(),
            fits.CompImageHDU(image, header, name="I", compression_type="RICE_1"),
            fits.CompImageHDU(coverage, header, name="COVERAGE"),
        ]
    ).writeto(tmp_path / "i.fits")
    entry = MosaicInput(path="i.fits", band="i", hdu="I", unit="display", coverage_hdu="COVERAGE")
    flux, mask = read_all(ingest_mosaic(settings(entry), tmp_path), "i")
    np.testing.assert_array_equal(flux, np.where(coverage, image, np.nan).astype(np.float32))
    np.testing.assert_array_equal(mask, np.where(coverage, 0, 1))


def test_masks_are_carried_and_no_data_is_nan(tmp_path, image):
    mask = np.zeros(SHAPE, dtype=np.uint8)
    mask[10, 20], mask[11, 21] = MaskBit.NO_DATA, MaskBit.SATURATED
    header = tan_wcs().to_header(relax=True)
    fits.HDUList(
        [
            fits.PrimaryHDU(image, header),
            fits.ImageHDU(mask, header, name="MASK"),
        ]
    ).writeto(tmp_path / "g.fits")
    entry = MosaicInput(path="g.fits", band="g", zero_point=31.4, mask_hdu="MASK")
    flux, bits = read_all(ingest_mosaic(settings(entry), tmp_path), "g")
    assert np.isnan(flux[10, 20])
    assert flux[11, 21] == image[11, 21]
    assert bits[11, 21] == MaskBit.SATURATED


def test_overlapping_files_of_one_grid_are_copied_bit_for_bit(tmp_path, image):
    """Two halves with an overlap and different values there: the deeper one wins."""
    wcs = tan_wcs()
    right = tan_wcs(crpix=(15.0 - 100, 19.0))
    write_fits(tmp_path / "a.fits", image[:, :160], wcs, MAGZERO=31.4)
    write_fits(tmp_path / "b.fits", image[:, 100:] + 1, right, MAGZERO=31.4)
    mosaic = ingest_mosaic(settings(MosaicInput(path="[ab].fits", band="g")), tmp_path)
    flux, _ = read_all(mosaic, "g")
    # at both rims of the image the two are equally deep
    np.testing.assert_array_equal(flux[30:-30, :130], image[30:-30, :130])
    np.testing.assert_array_equal(flux[:, 160:], image[:, 160:] + 1)
    np.testing.assert_array_equal(flux[30:-30, 130:], image[30:-30, 130:] + 1)
    assert mosaic.bands[0].source_files == ("a.fits", "b.fits")


@pytest.mark.usefixtures("small_shards")
def test_a_kill_between_shards_is_resumed_without_rewriting(tmp_path, image, monkeypatch, written):
    write_fits(tmp_path / "g.fits", image, MAGZERO=31.4)
    entry = MosaicInput(path="g.fits", band="g")
    counting = MosaicWriter.write

    def failing(self, band, box, window, inputs):
        if len(written) == 4:
            raise MosaicError("No space left on device")
        counting(self, band, box, window, inputs)

    monkeypatch.setattr(capacity, "n_cpu", lambda: 1)
    monkeypatch.setattr(MosaicWriter, "write", failing)
    with pytest.raises(MosaicError, match="No space left on device"):
        ingest_mosaic(settings(entry), tmp_path)
    monkeypatch.setattr(MosaicWriter, "write", counting)
    mosaic = ingest_mosaic(settings(entry), tmp_path)
    assert len(written) == len(set(written)) == 9
    np.testing.assert_array_equal(read_all(mosaic, "g")[0], image)
    # and once more: nothing to do
    ingest_mosaic(settings(entry), tmp_path)
    assert len(written) == 9


@pytest.mark.usefixtures("small_shards")
def test_a_band_and_an_image_that_come_later_are_added(tmp_path, image, written):
    """Only what is new is written; the result is that of one ingest of everything."""
    right = tan_wcs(crpix=(15.0 - 130, 19.0))
    own_grid = {"center_deg": (49.95, 41.51), "size_px": (400, 330), "scale": 0.2}
    write_fits(tmp_path / "a.fits", image[:, :130], MAGZERO=31.4)
    g, i = (MosaicInput(path=path, band=band) for path, band in (("[ab].fits", "g"),
                                                                ("i.fits", "i")))  # fmt: skip
    ingest_mosaic(settings(g, **own_grid), tmp_path)
    n_shards = len(written)
    written.clear()
    write_fits(tmp_path / "i.fits", image + 5, MAGZERO=31.4)
    ingest_mosaic(settings(g, i, **own_grid), tmp_path)
    assert {band for band, _ in written} == {"i"}
    assert len(written) == n_shards
    written.clear()
    write_fits(tmp_path / "b.fits", image[:, 130:], right, MAGZERO=31.4)
    grown = ingest_mosaic(settings(g, i, **own_grid), tmp_path)
    assert {band for band, _ in written} == {"g"}
    assert 0 < len(written) < n_shards
    at_once = ingest_mosaic(settings(g, i, store="once.zarr", **own_grid), tmp_path)
    assert grown.digest == at_once.digest
    for band in "gi":
        np.testing.assert_array_equal(read_all(grown, band)[0], read_all(at_once, band)[0])


@pytest.mark.usefixtures("small_shards")
def test_what_was_done_is_said(tmp_path, image):
    """Shards that are new, there already, of other images than before, and that were lost."""

    def line(run):
        (item,) = carry_out(plan_or_open(run, tmp_path))
        assert item.mosaic.digest == Mosaic.open(tmp_path / "m.zarr").digest
        return item.line

    own_grid = {"center_deg": (49.95, 41.51), "size_px": (256, 256), "scale": 0.2}
    write_fits(tmp_path / "g.fits", image, MAGZERO=31.4)
    g, i = (MosaicInput(path=f"{band}.fits", band=band) for band in "gi")
    assert line(settings(g, **own_grid)) == "4 of 4 shards written"
    assert line(settings(g, **own_grid)) == "0 of 4 shards written; 4 were there already"
    write_fits(tmp_path / "i.fits", image, MAGZERO=31.4)
    assert line(settings(g, i, **own_grid)) == "4 of 8 shards written; 4 were there already"
    (tmp_path / "g.fits").unlink()
    write_fits(tmp_path / "g.fits", image + 1, MAGZERO=31.4)
    assert line(settings(g, i, **own_grid)) == (
        "4 of 8 shards written, 4 of them again, as their images have changed; 4 were there already"
    )
    (tmp_path / "m.zarr" / "i" / "1" / "mask" / "c" / "0" / "0").unlink()
    assert line(settings(g, i, **own_grid)) == (
        "1 of 8 shards written, 1 of them again, as files were missing or cut off; "
        "7 were there already"
    )
    assert Ingested(Mosaic.open(tmp_path / "m.zarr"), 1, 1).line == "1 of 1 shard written"


@pytest.mark.usefixtures("small_shards")
def test_where_there_is_no_image_nothing_is_composed(tmp_path, image, monkeypatch):
    composed, original = [], ingest_module.compose

    def counting(images, wcs, box):
        composed.append(box)
        return original(images, wcs, box)

    monkeypatch.setattr(ingest_module, "compose", counting)
    write_fits(tmp_path / "g.fits", image, MAGZERO=31.4)
    own_grid = {"center_deg": (49.95, 41.51), "size_px": (2000, 1500), "scale": 0.2}
    run = settings(MosaicInput(path="g.fits", band="g"), **own_grid)
    (item,) = carry_out(plan_or_open(run, tmp_path))
    assert item.line == "192 of 192 shards written"
    assert 6 <= len(composed) <= 16
    flux, mask = read_all(item.mosaic, "g")
    assert np.isfinite(flux).sum() == pytest.approx(image.size, rel=0.01)
    np.testing.assert_array_equal((mask & MaskBit.NO_DATA) != 0, np.isnan(flux))
    assert carry_out(plan_or_open(run, tmp_path))[0].n_new == 0


def test_an_image_that_is_gone_does_not_erase_its_pixels(tmp_path, image):
    write_fits(tmp_path / "a.fits", image[:, :130], MAGZERO=31.4)
    write_fits(tmp_path / "b.fits", image[:, 130:], tan_wcs(crpix=(15.0 - 130, 19.0)), MAGZERO=31.4)
    run = settings(MosaicInput(path="[ab].fits", band="g"))
    ingest_mosaic(run, tmp_path)
    (tmp_path / "b.fits").unlink()
    with pytest.raises(MosaicError, match=r"made of b.fits too, which is not among the inputs"):
        ingest_mosaic(run, tmp_path)


def test_words_in_the_paths_make_one_store_each(tmp_path, image):
    for tile, band in ((t, b) for t in ("n1", "n2") for b in "gi"):
        write_fits(tmp_path / f"tile-{tile}-{band}.fits", image + len(tile), MAGZERO=31.4)
    entries = [MosaicInput(path=f"tile-{{tile}}-{band}.fits", band=band) for band in "gi"]
    mosaics = ingest_mosaics(settings(*entries, store="out/{tile}.zarr"), tmp_path)
    assert [mosaic.name for mosaic in mosaics] == ["n1", "n2"]
    assert all([band.name for band in mosaic.bands] == ["g", "i"] for mosaic in mosaics)
    opened = carry_out(plan_or_open(MosaicSettings(stores="out/*.zarr"), tmp_path))
    assert [item.mosaic.digest for item in opened] == [mosaic.digest for mosaic in mosaics]
    with pytest.raises(MosaicError, match=r"has \{field\}, path = 'tile-\{tile\}-g.fits'"):
        ingest_mosaics(settings(*entries, store="out/{field}.zarr"), tmp_path)
    with pytest.raises(MosaicError, match=r"no store fits none/\*.zarr"):
        plan_or_open(MosaicSettings(stores="none/*.zarr"), tmp_path)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, "either store"),
        ({"store": "a.zarr", "stores": "*.zarr"}, "either store"),
        ({"store": "a.zarr", "center_deg": (1, 2)}, "go together"),
        ({"store": "a.zarr", "center_deg": (1, 2), "size_px": (9, 9)}, "need a number"),
        ({"store": "a.zarr", "center_deg": (-1, 2), "size_px": (9, 9), "scale_arcsec": 1.0},
         "no position"),
        ({"store": "a.zarr", "scale_arcsec": -1.0}, "positive number"),
        ({"stores": "*.zarr", "inputs": (MosaicInput(path="a", band="g"),)}, "finished mosaics"),
    ],
)  # fmt: skip
def test_settings_that_contradict_each_other_are_refused(keys, message):
    with pytest.raises(ValueError, match=message):
        MosaicSettings(**keys)


def test_a_store_is_opened_without_its_files(tmp_path, image):
    path = write_fits(tmp_path / "g.fits", image, MAGZERO=31.4)
    first = ingest_mosaic(settings(MosaicInput(path="g.fits", band="g")), tmp_path)
    path.unlink()
    assert ingest_mosaic(settings(), tmp_path).digest == first.digest


def test_a_finished_store_does_not_need_its_files(tmp_path, image):
    """Gone: opened. Touched: the same. Other: made anew."""
    path = write_fits(tmp_path / "g.fits", image, MAGZERO=31.4)
    run = settings(MosaicInput(path="g.fits", band="g"))
    first = ingest_mosaic(run, tmp_path)
    os.utime(path, (1, 1))
    assert ingest_mosaic(run, tmp_path).digest == first.digest
    kept = path.read_bytes()
    path.unlink()
    assert isinstance(plan_or_open(run, tmp_path)[0], Mosaic)
    assert ingest_mosaic(run, tmp_path).digest == first.digest
    write_fits(path, image, MAGZERO=31.5)
    assert ingest_mosaic(run, tmp_path).digest != first.digest
    path.write_bytes(kept)
    assert ingest_mosaic(run, tmp_path).digest == first.digest


def test_a_finished_store_is_opened_from_a_folder_that_cannot_be_written(tmp_path, image):
    write_fits(tmp_path / "g.fits", image, MAGZERO=31.4)
    run = settings(MosaicInput(path="g.fits", band="g"))
    first = ingest_mosaic(run, tmp_path)
    states = {p: p.stat().st_mtime_ns for p in sorted((tmp_path / "m.zarr").rglob("*"))}
    assert ingest_mosaic(run, tmp_path).digest == first.digest
    assert {p: p.stat().st_mtime_ns for p in sorted((tmp_path / "m.zarr").rglob("*"))} == states


def test_an_unfinished_store_needs_its_files(tmp_path, image, monkeypatch):
    path = write_fits(tmp_path / "g.fits", image, MAGZERO=31.4)
    run = settings(MosaicInput(path="g.fits", band="g"))

    def failing(*_):
        raise MosaicError("No space left on device")

    monkeypatch.setattr(MosaicWriter, "write", failing)
    with pytest.raises(MosaicError, match="No space left"):
        ingest_mosaic(run, tmp_path)
    path.unlink()
    with pytest.raises(MosaicError, match="no such file"):
        ingest_mosaic(run, tmp_path)


def test_a_display_image_keeps_its_values_on_another_grid(tmp_path):
    write_fits(tmp_path / "g.fits", np.full(SHAPE, 100.0, np.float32))
    entry = MosaicInput(path="g.fits", band="g", unit="display")
    flux, _ = read_all(ingest_mosaic(settings(entry, scale=0.4), tmp_path), "g")
    np.testing.assert_allclose(flux[np.isfinite(flux)], 100.0, rtol=1e-3)


@pytest.mark.parametrize(("n_cpu", "expected"), [(1, 1), (2, 2), (64, None)])
def test_threads_fit_the_memory(tmp_path, image, monkeypatch, n_cpu, expected):
    monkeypatch.setattr(capacity, "n_cpu", lambda: n_cpu)
    write_fits(tmp_path / "g.fits", image, MAGZERO=31.4)
    entry = MosaicInput(path="g.fits", band="g")
    monkeypatch.setattr(capacity, "BYTES_PER_SHARD_PX", 2**30 // (5 * image.size))
    copied, resampled = (
        capacity.n_threads(*plan_ingests(settings(entry, scale=scale), tmp_path))
        for scale in ("native", 0.2001)
    )
    if expected is not None:
        assert copied == expected
    else:
        assert 1 < resampled < copied < 64
    with pytest.raises(ConfigError, match="memory_mib = 64 is too little"):
        capacity.n_threads(*plan_ingests(settings(entry, memory_mib=64), tmp_path))


def gaussians(wcs, shape, sky, sigma_arcsec, flux=1000.0):
    """Draw round Gaussians of a known total flux at sky positions."""
    scale = np.sqrt(abs(np.linalg.det(wcs.pixel_scale_matrix))) * 3600
    y, x = np.indices(shape)
    image = np.zeros(shape)
    for ra, dec in sky:
        px, py = wcs.all_world2pix(ra, dec, 0)
        r2 = ((x - px) ** 2 + (y - py) ** 2) * scale**2
        image += flux * np.exp(-r2 / 2 / sigma_arcsec**2) / (2 * np.pi * sigma_arcsec**2) * scale**2
    return image.astype(np.float32)


@pytest.mark.parametrize("scale_in", [0.3, 0.1])
def test_another_grid_is_resampled_with_flux_and_position_kept(tmp_path, scale_in):
    """A 0.3 or a rotated 0.1 arcsec image onto 0.2 arcsec; injected sources keep their flux."""
    base = tan_wcs(0.2, crpix=(100.5, 100.5))
    other = tan_wcs(scale_in, crpix=(101.0, 99.2))
    angle = np.radians(20.0)
    other.wcs.pc = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    sky = np.transpose(base.all_pix2world([60.3, 130.8, 100.0], [80.1, 110.4, 60.7], 0))
    write_fits(tmp_path / "g.fits", gaussians(base, (200, 200), sky, 0.5), base, MAGZERO=31.4)
    n = int(48 / scale_in)
    other.wcs.crpix = [n / 2, n / 2]
    write_fits(tmp_path / "j.fits", gaussians(other, (n, n), sky, 0.5), other, MAGZERO=31.4)
    mosaic = ingest_mosaic(
        settings(MosaicInput(path="g.fits", band="g"), MosaicInput(path="j.fits", band="j")),
        tmp_path,
    )
    y, x = np.indices(mosaic.shape)
    px, py = mosaic.world_to_pixel(*sky.T)
    for band in ("g", "j"):
        flux, _ = read_all(mosaic, band)
        for cx, cy in zip(px, py, strict=True):
            near = np.hypot(x - cx, y - cy) < 22
            total = np.nansum(flux[near])
            assert total == pytest.approx(1000.0, rel=2e-3)
            assert np.nansum((flux * x)[near]) / total == pytest.approx(cx, abs=0.02)
            assert np.nansum((flux * y)[near]) / total == pytest.approx(cy, abs=0.02)


def test_a_wanted_scale_makes_a_new_grid(tmp_path, image):
    write_fits(tmp_path / "g.fits", image, MAGZERO=31.4)
    entry = MosaicInput(path="g.fits", band="g")
    mosaic = ingest_mosaic(settings(entry, scale=0.4), tmp_path)
    assert mosaic.scale_arcsec == pytest.approx(0.4)
    assert mosaic.shape == pytest.approx((150, 130), abs=1)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"path": "absent.fits"}, "no such file"),
        ({"path": "absent-*.fits"}, "no such file"),
        ({"path": "text.fits"}, "cannot read .*text.fits as FITS"),
        ({"path": "cut.fits"}, "cannot read .*cut.fits as FITS"),
        ({"path": "no-wcs.fits"}, "no celestial WCS"),
        ({"path": "cube.fits"}, "no two-dimensional image"),
        ({"path": "good.fits", "hdu": "SCI"}, "has no HDU 'SCI'; it has 0:PRIMARY"),
        ({"path": "good.fits", "hdu": 7}, "has no HDU 7"),
        ({"path": "good.fits", "mask_hdu": "MASK"}, "has no HDU 'MASK'"),
        ({"path": "good.fits", "zero_point_keyword": "ZP"}, r"has no zero point \(ZP\)"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, image, entry, message):
    good = write_fits(tmp_path / "good.fits", image, MAGZERO=27.0)
    (tmp_path / "text.fits").write_text("this is no FITS file")
    (tmp_path / "cut.fits").write_bytes(good.read_bytes()[:40_000])
    fits.PrimaryHDU(image, fits.Header({"MAGZERO": 27.0})).writeto(tmp_path / "no-wcs.fits")
    fits.PrimaryHDU(image[None]).writeto(tmp_path / "cube.fits")
    bad = MosaicInput(band="i", **entry)
    with pytest.raises(MosaicError, match=message) as caught:
        ingest_mosaic(settings(MosaicInput(path="good.fits", band="g"), bad), tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "m.zarr").exists()


def test_the_far_side_of_the_sky_is_another_mosaic(tmp_path, image):
    write_fits(tmp_path / "g.fits", image, MAGZERO=27.0)
    far = tan_wcs()
    far.wcs.crval = [229.95, -41.51]
    write_fits(tmp_path / "i.fits", image, far, MAGZERO=27.0)
    with pytest.raises(MosaicError, match="more than 80 degrees"):
        ingest_mosaic(
            settings(MosaicInput(path="g.fits", band="g"), MosaicInput(path="i.fits", band="i")),
            tmp_path,
        )


def test_the_real_tan_sip_exposure_keeps_its_distortion(tmp_path, real_data):
    """A real HSC exposure: sky positions in the store are those of astropy on the file."""
    path = real_data / "hsc" / "HSC-0908120-056-small.fits"
    with fits.open(path) as hdus:
        number = next(i for i, hdu in enumerate(hdus) if hdu.is_image and len(hdu.shape) == 2)
        reference = WCS(hdus[number].header)
        data = hdus[number].data.astype(np.float32)
    assert reference.sip is not None
    entry = MosaicInput(path=str(path), band="g", hdu=number, zero_point=27.0)
    mosaic = ingest_mosaic(settings(entry), tmp_path)
    flux, _ = read_all(mosaic, "g")
    np.testing.assert_allclose(flux, data * np.float32(57.544), rtol=1e-4)
    x, y = np.array([0.0, 50.0, 200.0]), np.array([10.0, 3.0, 150.0])
    np.testing.assert_allclose(
        mosaic.pixel_to_world(x, y), reference.all_pix2world(x, y, 0), rtol=0, atol=1e-9
    )


def test_the_reader_opens_files_by_window(tmp_path, image):
    write_fits(tmp_path / "g.fits", image, MAGZERO=31.4)
    exposure = open_fits(MosaicInput(path="g.fits", band="g"), tmp_path / "g.fits")
    window = exposure.read(Box(20, 30, 40, 45))
    np.testing.assert_array_equal(window.flux, image[20:30, 40:45])
    assert window.mask.shape == (10, 5)
    assert window.flux.dtype == np.float32
    assert window.flux.dtype.isnative


@pytest.mark.parametrize(("suffix", "module"), [("gz", gzip), ("bz2", bz2)])
def test_compressed_files_are_read(tmp_path, image, suffix, module):
    """Surveys deliver frames as .bz2 and .gz; their size on disk says nothing of the image's."""
    path = write_fits(tmp_path / "g.fits", image, MAGZERO=31.4)
    packed = tmp_path / f"g.fits.{suffix}"
    packed.write_bytes(module.compress(path.read_bytes()))
    path.unlink()
    entry = MosaicInput(path=packed.name, band="g")
    np.testing.assert_array_equal(read_all(ingest_mosaic(settings(entry), tmp_path), "g")[0], image)


def test_pixels_that_were_replaced_are_noticed(tmp_path, image):
    """Same name, header and size, another sky: the store must not pass for it."""
    entry = MosaicInput(path="g.fits", band="g")
    write_fits(tmp_path / "g.fits", image, MAGZERO=31.4)
    ingest_mosaic(settings(entry), tmp_path)
    (tmp_path / "g.fits").unlink()
    write_fits(tmp_path / "g.fits", image[::-1] * 3, MAGZERO=31.4)
    mosaic = ingest_mosaic(settings(entry), tmp_path)
    np.testing.assert_array_equal(read_all(mosaic, "g")[0], image[::-1] * 3)


def test_images_that_lie_far_apart_make_no_mosaic(tmp_path, image):
    write_fits(tmp_path / "g.fits", image, MAGZERO=31.4)
    far = tan_wcs()
    far.wcs.crval = [59.95, 41.51]
    write_fits(tmp_path / "i.fits", image, far, MAGZERO=31.4)
    entries = [MosaicInput(path=f"{band}.fits", band=band) for band in "gi"]
    with pytest.raises(MosaicError, match="times the area of its images"):
        ingest_mosaic(settings(*entries), tmp_path)
    assert not (tmp_path / "m.zarr").exists()


@pytest.mark.parametrize("damage", ["empty", "checksum"])
def test_an_image_that_is_empty_or_damaged_is_refused_before_its_pixels_are_used(
    tmp_path, image, damage
):
    write_fits(tmp_path / "g.fits", image, MAGZERO=31.4)
    header = tan_wcs().to_header(relax=True)
    header["MAGZERO"] = 31.4
    pixels = np.full(SHAPE, np.nan, np.float32) if damage == "empty" else image
    fits.PrimaryHDU(pixels, header).writeto(tmp_path / "i.fits", checksum=True)
    if damage == "checksum":
        content = bytearray((tmp_path / "i.fits").read_bytes())
        content[100_000] ^= 1
        (tmp_path / "i.fits").write_bytes(content)
    run = settings(*(MosaicInput(path=f"{band}.fits", band=band) for band in "gi"))
    message = "i.fits has no data at all" if damage == "empty" else "i.fits .*DATASUM"
    with pytest.raises(MosaicError, match=message) as caught:
        ingest_mosaic(run, tmp_path)
    assert "\n" not in str(caught.value)
    (tmp_path / "i.fits").unlink()
    write_fits(tmp_path / "i.fits", image, MAGZERO=31.4)
    np.testing.assert_array_equal(read_all(ingest_mosaic(run, tmp_path), "i")[0], image)


def test_bands_that_share_no_sky_make_no_mosaic(tmp_path, image):
    write_fits(tmp_path / "g.fits", image, MAGZERO=31.4)
    write_fits(tmp_path / "i.fits", image, tan_wcs(crpix=(15.0 - 300, 19.0)), MAGZERO=31.4)
    run = settings(*(MosaicInput(path=f"{band}.fits", band=band) for band in "gi"))
    with pytest.raises(MosaicError, match=r"bands g and i of .* share no part of the sky"):
        ingest_mosaic(run, tmp_path)


def test_bands_of_different_areas_make_the_mosaic_of_all(tmp_path, image):
    write_fits(tmp_path / "g.fits", image, MAGZERO=31.4)
    write_fits(tmp_path / "i.fits", image, tan_wcs(crpix=(15.0 - 130, 19.0)), MAGZERO=31.4)
    run = settings(*(MosaicInput(path=f"{band}.fits", band=band) for band in "gi"))
    (plan,) = plan_ingests(run, tmp_path)
    assert plan.coverage == pytest.approx({"g": 2 / 3, "i": 2 / 3}, abs=0.02)
    mosaic = ingest_mosaic(run, tmp_path)
    assert mosaic.shape == (300, 390)
    assert np.isnan(read_all(mosaic, "g")[0][:, 260:]).all()


def resampled_run(folder, image, store="m.zarr"):
    """Write two images of a turned grid, and return the settings of a mosaic on another one."""
    for number, x0 in enumerate((0.0, 130.0)):
        wcs = tan_wcs(0.168, crpix=(195.123456789012345 - x0, 149.987654321098765))
        turn = np.radians(17.3)
        wcs.wcs.pc = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
        wcs.wcs.crval = [49.95 + 1e-3 / 7, 41.51 + 1e-3 / 3]
        header = wcs.to_header()
        # As surveys write them: more digits than astropy's own headers have.
        header["CRVAL1"], header["CRVAL2"] = (float(angle) for angle in wcs.wcs.crval)
        header["CRPIX1"], header["CRPIX2"] = (float(pixel) for pixel in wcs.wcs.crpix)
        header["MAGZERO"] = 31.4
        path = folder / f"{number}-g.fits"
        if not path.exists():
            fits.PrimaryHDU(1e4 * image, header).writeto(path)
    own_grid = {"center_deg": (49.952 + 1e-9 / 3, 41.506), "size_px": (400, 330), "scale": 1 / 6}
    return settings(MosaicInput(path="?-g.fits", band="g"), store=store, **own_grid)


def test_processes_share_the_shards(tmp_path, image):
    """An executor such as Dask's does the same as threads do, to the last bit."""
    resampled = resampled_run(tmp_path, image)
    copied = settings(MosaicInput(path="0-g.fits", band="g"), store="c.zarr")
    here = [ingest_mosaic(run, tmp_path) for run in (resampled, copied)]
    laid_out = []
    for run in (resampled, copied):
        run = run.model_copy(update={"store": f"p-{run.store}"})
        laid_out += plan_or_open(run, tmp_path)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        there = [item.mosaic for item in carry_out(laid_out, executor=pool)]
    assert np.isfinite(read_all(here[0], "g")[0]).sum() > 50_000
    for one, other in zip(here, there, strict=True):
        for plane in (0, 1):
            np.testing.assert_array_equal(read_all(other, "g")[plane], read_all(one, "g")[plane])
        assert other.digest == one.digest


def test_a_cluster_and_other_numbers_of_threads_make_the_same_pixels(tmp_path, image):
    run = resampled_run(tmp_path, image)
    plans = plan_or_open(run, tmp_path)
    cluster = ClusterSettings(kind="local", threads=2, dashboard="127.0.0.1:0")
    with ingest_executor(cluster, plans) as executor:
        mosaic = carry_out(plans, executor=executor)[0].mosaic
    assert mosaic.digest == ingest_mosaic(resampled_run(tmp_path, image, "t.zarr"), tmp_path).digest
    for n_threads in (1, 3):
        environ = {key: str(n_threads) for key in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
        store = f"omp{n_threads}.zarr"
        done = subprocess.run(
            [sys.executable, "-c", INGEST, str(tmp_path), store], check=True, text=True,
            cwd=Path(__file__).parents[1], env=os.environ | environ, capture_output=True,
        )  # fmt: skip
        assert done.stdout.strip() == mosaic.digest


INGEST = """
import sys
from pathlib import Path
from tests.test_mosaic_ingest import ingest_mosaic, resampled_run
folder = Path(sys.argv[1])
print(ingest_mosaic(resampled_run(folder, None, sys.argv[2]), folder).digest)
"""


def test_a_bad_band_that_comes_later_leaves_a_finished_store_as_it_is(tmp_path, image):
    write_fits(tmp_path / "g.fits", image, MAGZERO=31.4)
    header = tan_wcs().to_header(relax=True)
    header["MAGZERO"] = 31.4
    fits.PrimaryHDU(image, header).writeto(tmp_path / "i.fits", checksum=True)
    content = bytearray((tmp_path / "i.fits").read_bytes())
    content[100_000] ^= 1
    (tmp_path / "i.fits").write_bytes(content)
    g, i = (MosaicInput(path=f"{band}.fits", band=band) for band in "gi")
    first = ingest_mosaic(settings(g), tmp_path)
    with pytest.raises(MosaicError, match=r"i.fits .*DATASUM"):
        ingest_mosaic(settings(g, i), tmp_path)
    kept = Mosaic.open(tmp_path / "m.zarr")
    assert (kept.digest, kept.bands) == (first.digest, first.bands)
    np.testing.assert_array_equal(read_all(kept, "g")[0], image)
    assert ingest_mosaic(settings(g), tmp_path).digest == first.digest


def write_mer(folder, time, image, **cards):
    name = f"EUC_MER_BGSUB-MOSAIC-VIS_TILE102018665-AB_{time}Z_00.00.fits"
    return write_fits(folder / name, image, MAGZERO=31.4, **cards)


@pytest.mark.parametrize("keep_old", [True, False])
def test_a_newer_version_of_an_image_takes_the_place_of_the_old_one(tmp_path, image, keep_old):
    """Of another date, and whether the old one stays beside it or is deleted."""
    run = settings(MosaicInput(reader="euclid-mer", path="EUC*.fits", band="VIS"))
    cards = {"DATE-OBS": "2024-03-01T00:00:00", "MJD-OBS": 60370.0}
    old = write_mer(tmp_path, "20241024T210115.0", image, **cards)
    ingest_mosaic(run, tmp_path)
    cards = {"DATE-OBS": "2024-03-02T00:00:00", "MJD-OBS": 60371.0}
    new = write_mer(tmp_path, "20241025T210115.0", image + 1, **cards)
    if not keep_old:
        old.unlink()
    mosaic = ingest_mosaic(run, tmp_path)
    np.testing.assert_array_equal(read_all(mosaic, "VIS")[0], image + 1)
    # The other way around is no newer version.
    new.unlink()
    write_mer(tmp_path, "20241023T210115.0", image)
    with pytest.raises(MosaicError, match=r"made of EUC.*20241025.* too, which is not among"):
        ingest_mosaic(run, tmp_path)


def test_a_store_has_one_ingest_at_a_time(tmp_path, image):
    write_fits(tmp_path / "g.fits", image, MAGZERO=31.4)
    run = settings(MosaicInput(path="g.fits", band="g"))
    with (
        Place.of(tmp_path / "m.zarr").claimed(),
        pytest.raises(MosaicError, match=r"another process ingests into .*m.zarr; wait for it"),
    ):
        ingest_mosaic(run, tmp_path)
    assert not (tmp_path / "m.zarr").exists()
    first = ingest_mosaic(run, tmp_path)
    with Place.of(tmp_path / "m.zarr").claimed():
        assert ingest_mosaic(run, tmp_path).digest == first.digest, "a finished one is only opened"


RUN = """
name = "x"
out = "out"
[model]
checkpoint = "perseus-synthetic"
[sources]
path = "none.csv"
[mosaic]
store = "m.zarr"
inputs = [{ path = "g.fits", band = "g" }]
"""
FULL_DISK = """
import resource, sys
from survey_classifier import cli
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop()), hard))
cli.main()
"""


@pytest.mark.parametrize(("file_size", "code"), [(50, 2), (100_000, 1)])
def test_a_full_disk_is_no_wrong_input_once_something_was_written(tmp_path, image, file_size, code):
    """The exit code says whether to mend the run or the disk; the next call goes on."""
    write_fits(tmp_path / "g.fits", image, MAGZERO=31.4)
    run = tmp_path / "run.toml"
    run.write_text(RUN)
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, "ingest", str(run), str(file_size)],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1],
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert "m.zarr: " in done.stderr.splitlines()[-1]
    assert "make room or mend the place, then run again" in done.stderr.splitlines()[-1]
    assert (tmp_path / "m.zarr").exists() == (code == 1)
    entry = MosaicInput(path="g.fits", band="g")
    np.testing.assert_array_equal(read_all(ingest_mosaic(settings(entry), tmp_path), "g")[0], image)


def test_what_a_killed_creation_left_is_removed(tmp_path, image):
    write_fits(tmp_path / "g.fits", image, MAGZERO=31.4)
    names = [f".m.zarr.{'0a' * 16}.tmp", f".m.zarr.b.zarr.{'0a' * 16}.tmp"]
    for name in names:
        (tmp_path / name / "g").mkdir(parents=True)
    ingest_mosaic(settings(MosaicInput(path="g.fits", band="g")), tmp_path)
    assert [(tmp_path / name).exists() for name in names] == [False, True]


def test_locks_of_many_stores_are_within_what_may_be_open(monkeypatch):
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    asked = []
    monkeypatch.setattr(ingest_module, "OTHER_FILES", before[0] + 7)
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: asked.append(limits))
    with ingest_module._claimed([]):
        assert asked == [(min(before[0] + 7, before[1]), before[1])]
