"""The store: what is written is read back, on all levels, and only a finished store opens."""

import shutil
import subprocess
import sys
import threading
import warnings
from dataclasses import replace

import numpy as np
import pytest
import zarr
from astropy.wcs import WCS, FITSFixedWarning
from hypothesis import given, settings
from hypothesis import strategies as st

from survey_classifier.errors import MosaicError
from survey_classifier.geometry import Box
from survey_classifier.mosaic import blueprint as blueprint_module
from survey_classifier.mosaic import revision as revision_module
from survey_classifier.mosaic import writer as writer_module
from survey_classifier.mosaic.array_mosaic import ArrayMosaic
from survey_classifier.mosaic.exposure import Window
from survey_classifier.mosaic.grids import bare_wcs
from survey_classifier.mosaic.pixels import UNUSABLE, BandInfo, MaskBit
from survey_classifier.mosaic.pyramid import N_LEVELS, pyramid
from survey_classifier.mosaic.seal import is_finished
from survey_classifier.mosaic.store import Mosaic
from survey_classifier.mosaic.writer import Layout, MosaicWriter
from survey_classifier.stamps import cut_stamps
from tests.conftest import REPOSITORY
from tests.test_stamps import tan_wcs

BANDS = (
    BandInfo("g", "nJy", 27.0, 0.7, ("g.fits",), has_variance=True),
    BandInfo("i", "nJy", 27.0, None, ("i.fits",)),
)
SHAPE = (700, 530)
LAYOUT = Layout("m", BANDS, SHAPE, tan_wcs(), "rings:15549")


@pytest.fixture
def pixels():
    return some_pixels()


def some_pixels():
    rng = np.random.default_rng(3)
    flux = rng.normal(size=(2, *SHAPE)).astype(np.float32)
    flux[0, 100:140, 200:260] = np.nan
    mask = np.zeros((2, *SHAPE), dtype=np.uint8)
    mask[1, 300:303, :] = MaskBit.SATURATED
    mask[1, 500, 10] = MaskBit.COSMIC_RAY
    return flux, mask


@pytest.fixture
def small_shards(monkeypatch):
    """Shards of 512 pixels: several of them in an array that a test can hold."""
    for module in (writer_module, blueprint_module):
        monkeypatch.setattr(module, "SHARD_PX", 512)
    monkeypatch.setattr(blueprint_module, "CHUNK_PX", 64)


def variance_of(flux):
    """Return a variance that differs from pixel to pixel, and is not known where flux is not."""
    return (0.5 + flux**2).astype(np.float32)


def planned(writer, bands=("g", "i"), inputs=7):
    grid = writer.shard_grid
    return {band: np.full((grid.n_rows, grid.n_cols), inputs, np.uint64) for band in bands}


def window_of(pixels, band, box):
    index = [b.name for b in BANDS].index(band)
    flux = pixels[0][index][box.slices]
    return Window(flux, pixels[1][index][box.slices], variance_of(flux))


def write(path, pixels, n_shards=None, layout=LAYOUT, inputs=7, backwards=False):
    writer = MosaicWriter.open_or_create(path, layout)
    todo = list(writer.pending(planned(writer, [band.name for band in layout.bands], inputs)))
    for band, box in (todo[::-1] if backwards else todo)[:n_shards]:
        writer.write(band, box, window_of(pixels, band, box), inputs)
    return writer


@pytest.mark.usefixtures("small_shards")
def test_round_trip_equals_the_arrays(tmp_path, pixels):
    mosaic = write(tmp_path / "m.zarr", pixels).finish()
    twin = ArrayMosaic("m", BANDS, pixels[0], tan_wcs(), pixels[1])
    assert mosaic.shape == twin.shape
    assert mosaic.bands == twin.bands
    assert mosaic.scale_arcsec == pytest.approx(0.2)
    for box in (Box(0, 700, 0, 530), Box(-5, 90, -7, 33), Box(650, 720, 500, 560)):
        ours, theirs = mosaic.read(box, ("i", "g")), twin.read(box, ("i", "g"))
        np.testing.assert_array_equal(ours.flux, theirs.flux)
        np.testing.assert_array_equal(ours.mask, theirs.mask)
        np.testing.assert_array_equal(mosaic.read_mask(box, "i"), theirs.mask[0])
    assert mosaic.territory == "rings:15549"
    sky = mosaic.pixel_to_world([3.0], [700.0])
    np.testing.assert_allclose(mosaic.world_to_pixel(*sky), [[3.0], [700.0]], atol=1e-6)


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("level", range(N_LEVELS))
def test_levels_equal_binning_the_whole_array(tmp_path, pixels, level):
    mosaic = write(tmp_path / "m.zarr", pixels).finish()
    mask = pixels[1][0] | np.where(np.isnan(pixels[0][0]), np.uint8(1), np.uint8(0))
    flux, bits = bin_block(pixels[0][0], mask, level)
    block = mosaic.read(Box(0, *flux.shape[:1], 0, flux.shape[1]), ("g",), level)
    np.testing.assert_array_equal(block.flux[0], flux)
    np.testing.assert_array_equal(block.mask[0], bits)


def bin_block(flux, mask, level):
    """Return flux and mask of one level."""
    binned = list(pyramid(Window(flux, mask)))[level]
    return binned.flux, binned.mask


def bin_variance(variance, flux, mask, level):
    return list(pyramid(Window(flux, mask, variance)))[level].variance


def naive_bin(flux, mask, step):
    """One bin at a time, in words: the mean of the usable pixels, if they are half or more.

    A usable bin keeps warnings, and is suspect where a saturated, bad or edge pixel was left out.
    """
    flaws = MaskBit.SATURATED | MaskBit.BAD | MaskBit.EDGE
    ny, nx = (-(-side // step) for side in flux.shape)
    mean, bits = np.full((ny, nx), np.nan), np.zeros((ny, nx), dtype=int)
    for y in range(ny):
        for x in range(nx):
            values, n_in, any_bits = [], 0, 0
            for yy in range(y * step, (y + 1) * step):
                for xx in range(x * step, (x + 1) * step):
                    if yy >= flux.shape[0] or xx >= flux.shape[1]:
                        any_bits |= MaskBit.NO_DATA
                        continue
                    n_in += 1
                    any_bits |= int(mask[yy, xx])
                    if np.isfinite(flux[yy, xx]) and not mask[yy, xx] & UNUSABLE:
                        values.append(flux[yy, xx])
            if len(values) >= step * step / 2:
                mean[y, x] = np.mean(values)
                suspect = MaskBit.SUSPECT if any_bits & flaws else 0
                bits[y, x] = (any_bits & ~int(UNUSABLE)) | suspect
            else:
                bits[y, x] = any_bits | MaskBit.NO_DATA
    return mean, bits


@settings(max_examples=30)
@given(st.integers(1, 19), st.integers(1, 19), st.integers(0, 3), st.integers(0, 2**32 - 1))
def test_binning_equals_a_naive_loop(ny, nx, level, seed):
    rng = np.random.default_rng(seed)
    flux = rng.normal(size=(ny, nx)).astype(np.float32)
    mask = rng.choice(np.array([0, 0, 0, 1, 2, 4, 8, 32, 64], dtype=np.uint8), size=(ny, nx))
    flux[(mask & 1) != 0] = np.nan
    ours = bin_block(flux, mask, level)
    if level == 0:
        assert ours[0] is flux
        return
    mean, bits = naive_bin(flux, mask, 2**level)
    np.testing.assert_allclose(ours[0], mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(ours[1], bits)
    # usable or not is said by the mask alone
    np.testing.assert_array_equal(np.isfinite(ours[0]), (ours[1] & np.uint8(UNUSABLE)) == 0)


@pytest.mark.usefixtures("small_shards")
def test_a_store_that_is_not_finished_does_not_open_and_goes_on(tmp_path, pixels):
    path = tmp_path / "m.zarr"
    write(path, pixels, n_shards=3)
    with pytest.raises(MosaicError, match="not finished"):
        Mosaic.open(path)
    again = MosaicWriter.open_or_create(path, LAYOUT)
    assert len(list(again.pending(planned(again)))) == 8 - 3
    with pytest.raises(MosaicError, match="lacks 5 of 8 shards"):
        again.finish()
    resumed = write(path, pixels).finish()
    assert resumed.digest == write(tmp_path / "other.zarr", pixels, backwards=True).finish().digest


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("shard", ["0/0", "1/1"])
def test_a_file_that_a_kill_cut_off_is_written_over(tmp_path, pixels, shard):
    """Also at the rim, where codecs read first what they write a part of."""
    path = tmp_path / "m.zarr"
    whole = write(tmp_path / "whole.zarr", pixels).finish().digest
    write(path, pixels, n_shards=3)
    for plane in ("flux", "mask", "variance"):
        file = path / "g" / "0" / plane / "c" / shard
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"begun")
    zarr.open_group(path)["g/shards"][tuple(map(int, shard.split("/")))] = 0
    mosaic = write(path, pixels).finish()
    assert mosaic.digest == whole
    box = Box(0, 700, 0, 530)
    np.testing.assert_array_equal(mosaic.read(box, ("g",)).flux[0], pixels[0][0])


@pytest.mark.usefixtures("small_shards")
def test_the_digest_follows_the_pixels(tmp_path, pixels):
    one = write(tmp_path / "one.zarr", pixels).finish()
    pixels[0][1, 600, 500] += 1
    two = write(tmp_path / "two.zarr", pixels).finish()
    assert two.digest != one.digest
    changed = one.shard_digests("i") != two.shard_digests("i")
    np.testing.assert_array_equal(changed, [[False, False], [True, False]])
    np.testing.assert_array_equal(one.shard_digests("g"), two.shard_digests("g"))


@pytest.mark.usefixtures("small_shards")
def test_only_shards_of_other_inputs_are_written_again(tmp_path, pixels):
    path = tmp_path / "m.zarr"
    sealed = write(path, pixels).finish().digest
    writer = MosaicWriter.open_or_create(path, LAYOUT)
    plan = planned(writer)
    assert list(writer.pending(plan)) == []
    plan["i"][1, 0] = 8
    ((band, box),) = writer.pending(plan)
    assert (band, box) == ("i", Box(512, 700, 0, 512))
    pixels[0][1, 600, 300] = 5
    writer.write(band, box, window_of(pixels, band, box), 8)
    assert not is_finished(path), "an update that was killed must not look finished"
    mosaic = writer.finish()
    assert mosaic.digest != sealed
    assert mosaic.read(Box(600, 601, 300, 301), ("i",)).flux.item() == 5
    assert mosaic.digest == write(tmp_path / "new.zarr", pixels).finish().digest


@pytest.mark.usefixtures("small_shards")
def test_a_store_that_others_wrote_to_is_sealed_anew(tmp_path, pixels):
    """The driver opens a sealed store, workers write, and the driver seals it."""
    path = tmp_path / "m.zarr"
    write(path, pixels).finish()
    driver, worker = (MosaicWriter.open_or_create(path, LAYOUT) for _ in range(2))
    pixels[0][1, 600, 300] = 5
    box = Box(512, 700, 0, 512)
    worker.write("i", box, window_of(pixels, "i", box), 8)
    mosaic = driver.finish()
    assert mosaic.digest == write(tmp_path / "new.zarr", pixels).finish().digest


@pytest.mark.usefixtures("small_shards")
def test_a_writer_opened_before_the_seal_breaks_it_too(tmp_path, pixels, monkeypatch):
    path = tmp_path / "m.zarr"
    write(path, pixels, n_shards=7)
    early = MosaicWriter.open(path)
    write(path, pixels).finish()

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(writer_module, "pyramid", killed)
    box = Box(0, 512, 0, 512)
    with pytest.raises(KeyboardInterrupt):
        early.write("g", box, window_of(pixels, "g", box), 7)
    with pytest.raises(MosaicError, match="not finished"):
        Mosaic.open(path)


@pytest.mark.usefixtures("small_shards")
def test_a_band_of_which_nothing_was_written_is_given_up(tmp_path, pixels):
    """One that was begun stays: its shards are worth something."""
    path = tmp_path / "m.zarr"
    only_i = replace(LAYOUT, bands=BANDS[1:])
    first = write(path, pixels, layout=only_i).finish().digest
    MosaicWriter.open_or_create(path, LAYOUT)
    with pytest.raises(MosaicError, match="not finished"):
        Mosaic.open(path)
    assert write(path, pixels, layout=only_i).finish().digest == first
    assert not (path / "g").exists()
    write(path, pixels, n_shards=1)
    assert MosaicWriter.open_or_create(path, only_i).bands == ("i", "g")


def test_a_grid_is_the_same_whatever_else_its_header_says(tmp_path, pixels):
    dated = tan_wcs()
    dated.wcs.dateobs = "2024-03-01T00:00:00"
    write(tmp_path / "m.zarr", pixels, layout=replace(LAYOUT, wcs=dated)).finish()
    assert MosaicWriter.open(tmp_path / "m.zarr").is_sealed_as(LAYOUT)


def test_a_bare_grid_keeps_positions():
    """CD matrix, SIP and PV terms; dates and units of time go."""
    header = tan_wcs().to_header()
    for key in ("PC1_1", "PC1_2", "PC2_1", "PC2_2", "CDELT1", "CDELT2"):
        header.pop(key, None)
    header.update({"CD1_1": -5e-5, "CD1_2": 1e-6, "CD2_1": 1e-6, "CD2_2": 5e-5})
    sip = header.copy()
    sip.update({"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 2, "B_ORDER": 2})
    sip.update({"A_2_0": 1e-6, "B_0_2": -2e-6})
    tpv = header.copy()
    tpv.update({"CTYPE1": "RA---TPV", "CTYPE2": "DEC--TPV", "PV1_1": 1.0, "PV2_1": 1.0})
    tpv.update({"PV1_4": 1e-3, "PV2_4": 2e-3})
    for cards in (header, sip, tpv):
        cards["DATE-OBS"], cards["MJD-OBS"] = "2024-03-01", 60370.0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FITSFixedWarning)
            wcs = WCS(cards)
        bare = bare_wcs(wcs)
        x, y = np.array([0.0, 50.0, 2000.0]), np.array([10.0, -3.0, 1500.0])
        positions = wcs.all_pix2world(x, y, 0)
        np.testing.assert_allclose(bare.all_pix2world(x, y, 0), positions, rtol=0, atol=1e-9)
        assert not [key for key in bare.to_header(relax=True) if "OBS" in key]


@pytest.mark.usefixtures("small_shards")
def test_a_store_knows_whether_it_is_sealed_as_a_layout_says(tmp_path, pixels):
    write(tmp_path / "m.zarr", pixels, n_shards=7)
    assert not MosaicWriter.open(tmp_path / "m.zarr").is_sealed_as(LAYOUT)
    write(tmp_path / "m.zarr", pixels).finish()
    writer = MosaicWriter.open(tmp_path / "m.zarr")
    assert writer.is_sealed_as(LAYOUT)
    assert writer.is_sealed_as(replace(LAYOUT, bands=BANDS[:1]))
    renamed = replace(BANDS[0], source_files=("new.fits",))
    assert not writer.is_sealed_as(replace(LAYOUT, bands=(renamed,)))
    with pytest.raises(MosaicError, match="territory"):
        writer.is_sealed_as(replace(LAYOUT, territory="rings:1"))


@pytest.mark.usefixtures("small_shards")
def test_a_shard_that_was_being_written_over_is_pending_whatever_is_planned(
    tmp_path, pixels, monkeypatch
):
    path = tmp_path / "m.zarr"
    write(path, pixels).finish()
    writer = MosaicWriter.open_or_create(path, LAYOUT)
    box = Box(0, 512, 0, 512)

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(writer_module, "pyramid", killed)
    with pytest.raises(KeyboardInterrupt):
        writer.write("g", box, window_of(pixels, "g", box), 8)
    assert list(writer.pending(planned(writer))) == [("g", box)]


@pytest.mark.usefixtures("small_shards")
def test_bands_are_added_and_the_others_stay(tmp_path, pixels):
    path = tmp_path / "m.zarr"
    only_i = replace(LAYOUT, bands=BANDS[1:])
    write(path, pixels, layout=only_i).finish()
    before = {file: file.stat().st_mtime_ns for file in (path / "i").rglob("*")}
    writer = write(path, pixels, layout=replace(LAYOUT, bands=BANDS[:1]))
    assert writer.bands == ("g", "i")
    mosaic = writer.finish()
    after = {file: file.stat().st_mtime_ns for file in (path / "i").rglob("*") if file in before}
    changed = {file.relative_to(path).parts[:2] for file in before if before[file] != after[file]}
    assert changed <= {("i", "digests")}, "the seal is all that is written anew"
    assert mosaic.digest == write(tmp_path / "both.zarr", pixels).finish().digest
    np.testing.assert_array_equal(mosaic.read(Box(0, 700, 0, 530), ("i",)).flux[0], pixels[0][1])


def test_adding_a_band_that_was_interrupted_goes_on(tmp_path, pixels, monkeypatch):
    path = tmp_path / "m.zarr"
    write(path, pixels, layout=replace(LAYOUT, bands=BANDS[1:])).finish()

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(revision_module, "attributes_of", killed)
        with pytest.raises(KeyboardInterrupt):
            MosaicWriter.open_or_create(path, LAYOUT)
    assert [band.name for band in Mosaic.open(path).bands] == ["i"]
    assert [band.name for band in write(path, pixels).finish().bands] == ["g", "i"]


@pytest.mark.usefixtures("small_shards")
def test_a_sealed_store_that_is_described_anew_stays_sealed(tmp_path, pixels):
    path = tmp_path / "m.zarr"
    digest = write(path, pixels).finish().digest
    described = replace(LAYOUT, bands=(BANDS[0], replace(BANDS[1], psf_fwhm_arcsec=0.6)))
    MosaicWriter.open_or_create(path, described)
    mosaic = Mosaic.open(path)
    assert mosaic.bands == described.bands
    assert mosaic.digest != digest
    assert mosaic.digest == write(tmp_path / "b.zarr", pixels, layout=described).finish().digest
    assert MosaicWriter.files_of(path) == {"g": ("g.fits",), "i": ("i.fits",)}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"shape": (701, 530)}, r"shape \(700, 530\), not \(701, 530\)"),
        (
            {"wcs": tan_wcs(scale_arcsec=0.3)},
            r"WCS .*0.2000 arcsec', not .*0.3000 arcsec \(.*CDELT",
        ),
        ({"wcs": tan_wcs(crpix=(15.5, 19.0))}, r"WCS .*\(CRPIX1 differ\)"),
        ({"territory": "rings:15548"}, "territory 'rings:15549', not 'rings:15548'"),
        ({"quantize": 16}, "quantize None, not 16"),
        ({"bands": (BandInfo("i", "display"),)}, "band i .* nJy without .* display without"),
        ({"bands": (BandInfo("g", "nJy"),)}, "with variance.*without variance"),
    ],
)
def test_a_store_of_another_kind_is_refused(tmp_path, change, words):
    MosaicWriter.open_or_create(tmp_path / "m.zarr", LAYOUT)
    with pytest.raises(MosaicError, match=words):
        MosaicWriter.open_or_create(tmp_path / "m.zarr", replace(LAYOUT, **change))


@pytest.mark.usefixtures("small_shards")
def test_a_band_that_gets_variance_is_made_anew_and_nothing_else(tmp_path, pixels):
    """As if its files had had variance from the start; a store of two areas is no one's."""
    before = replace(LAYOUT, bands=(replace(BANDS[0], has_variance=False), BANDS[1]))
    path = tmp_path / "m.zarr"
    assert write(path, pixels, layout=before).finish().territory == "rings:15549"
    after = replace(LAYOUT, territory="")
    assert not MosaicWriter.open(path).is_sealed_as(after)
    writer = MosaicWriter.open_or_create(path, after)
    with pytest.raises(MosaicError, match="not finished"):
        Mosaic.open(path)
    pending = [band for band, _ in writer.pending(planned(writer))]
    assert pending == ["g"] * writer.shard_grid.n_rows * writer.shard_grid.n_cols
    remade = write(path, pixels, layout=after).finish()
    at_once = write(tmp_path / "b.zarr", pixels, layout=after).finish()
    assert (remade.digest, remade.territory) == (at_once.digest, "")
    assert np.isfinite(remade.read_variance(Box(0, 64, 0, 64), "g")).any()


def test_layouts_that_make_no_sense_are_refused():
    with pytest.raises(MosaicError, match="different names"):
        replace(LAYOUT, bands=(BANDS[0], BANDS[0]))
    with pytest.raises(MosaicError, match="positive"):
        replace(LAYOUT, quantize=0)


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("level", range(N_LEVELS))
def test_variance_is_read_back_on_all_levels(tmp_path, pixels, level):
    mosaic = write(tmp_path / "m.zarr", pixels).finish()
    flux = pixels[0][0]
    wanted = bin_variance(variance_of(flux), flux, np.zeros(SHAPE, np.uint8), level)
    ny, nx = wanted.shape
    np.testing.assert_array_equal(mosaic.read_variance(Box(0, ny, 0, nx), "g", level), wanted)
    outside = mosaic.read_variance(Box(-2, 1, nx - 1, nx + 1), "g", level)
    assert np.isnan(outside[:2]).all()
    assert np.isnan(outside[:, 1]).all()
    np.testing.assert_array_equal(outside[2, 0], wanted[0, nx - 1])
    with pytest.raises(MosaicError, match=r"band i .* has no variance"):
        mosaic.read_variance(Box(0, 1, 0, 1), "i")
    with pytest.raises(MosaicError, match="no band 'y'"):
        mosaic.read_variance(Box(0, 1, 0, 1), "y")


def test_where_a_window_has_no_variance_it_is_not_known(tmp_path, pixels):
    writer = MosaicWriter.open_or_create(tmp_path / "m.zarr", LAYOUT)
    for band, box in writer.pending(planned(writer)):
        writer.write(band, box, replace(window_of(pixels, band, box), variance=None), 7)
    assert np.isnan(writer.finish().read_variance(Box(0, 700, 0, 530), "g")).all()


def test_the_variance_of_a_mean_is_that_of_monte_carlo():
    """Noise of a variance that differs from pixel to pixel, with masked pixels left out."""
    rng = np.random.default_rng(6)
    variance = rng.uniform(0.5, 4, (16, 16)).astype(np.float32)
    mask = np.where(rng.uniform(size=(16, 16)) < 0.2, MaskBit.BAD, 0).astype(np.uint8)
    draws = (rng.normal(size=(8_000, 16, 16)) * np.sqrt(variance)).astype(np.float32)
    means = np.array([bin_block(draw, mask, 2)[0] for draw in draws])
    predicted = bin_variance(variance, draws[0], mask, 2)
    np.testing.assert_allclose(means.var(axis=0), predicted, rtol=0.08)


@pytest.mark.usefixtures("small_shards")
def test_noise_is_that_of_each_shard(tmp_path, pixels):
    pixels[0][1] *= 5
    pixels[0][1, 512:, 512:] = np.nan
    mosaic = write(tmp_path / "m.zarr", pixels).finish()
    np.testing.assert_allclose(mosaic.noise("g"), 1, rtol=0.05)
    np.testing.assert_allclose(mosaic.noise("i"), [[5, 5], [5, np.nan]], rtol=0.05)


@pytest.mark.usefixtures("small_shards")
def test_quantized_levels_are_binned_from_what_is_stored(tmp_path, pixels):
    layout = replace(LAYOUT, quantize=16)
    mosaic = write(tmp_path / "m.zarr", pixels, layout=layout).finish()
    exact = write(tmp_path / "exact.zarr", pixels).finish()
    block = mosaic.read(Box(0, 700, 0, 530), ("g",))
    off = np.abs(block.flux[0] - pixels[0][0])
    assert 0 < np.nanmax(off) <= np.max(mosaic.noise("g")) / 32
    np.testing.assert_array_equal(np.isnan(block.flux[0]), np.isnan(pixels[0][0]))
    np.testing.assert_array_equal(mosaic.noise("g"), exact.noise("g"))
    binned = mosaic.read(Box(0, 88, 0, 67), ("g",), 3).flux[0]
    np.testing.assert_array_equal(binned, bin_block(block.flux[0], block.mask[0], 3)[0])


def test_what_is_no_mosaic_is_refused(tmp_path):
    with pytest.raises(MosaicError, match="no mosaic at"):
        Mosaic.open(tmp_path / "absent.zarr")
    zarr.open_group(tmp_path / "other.zarr", mode="w")
    with pytest.raises(MosaicError, match="not a mosaic"):
        Mosaic.open(tmp_path / "other.zarr")
    (tmp_path / "file").write_text("no store")
    with pytest.raises(MosaicError, match="no mosaic at"):
        Mosaic.open(tmp_path / "file")


def test_an_unknown_band_is_named(tmp_path, pixels):
    mosaic = write(tmp_path / "m.zarr", pixels).finish()
    with pytest.raises(MosaicError, match="no band 'y'; it has g, i"):
        mosaic.read(Box(0, 1, 0, 1), ("y",))


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize(("unit", "factor"), [("nJy", 16.0), ("display", 1.0)])
def test_stamps_of_a_coarser_level_keep_the_unit_of_their_own_pixels(tmp_path, unit, factor):
    """A flat sky of 3 nJy per pixel is 48 nJy per pixel of level 2; display values stay."""
    layout = Layout("m", (BandInfo("g", unit),), SHAPE, tan_wcs())
    writer = MosaicWriter.open_or_create(tmp_path / "m.zarr", layout)
    for band, box in writer.pending(planned(writer, ["g"])):
        flat = Window(np.full(box.shape, 3, np.float32), np.zeros(box.shape, np.uint8))
        writer.write(band, box, flat, 7)
    stamps = cut_stamps(writer.finish(), [200.0], [300.0], 9, ("g",), level=2)
    np.testing.assert_array_equal(stamps.flux, 3 * factor)
    assert stamps.scale_arcsec == pytest.approx(0.8)


@pytest.mark.parametrize("pixel", [np.nan, np.inf])
def test_no_data_is_said_wherever_flux_is_not_finite(tmp_path, pixels, pixel):
    """Also where the mask on disk does not say so."""
    mosaic = write(tmp_path / "m.zarr", pixels).finish()
    group = zarr.open_group(tmp_path / "m.zarr", mode="r+")
    for level in range(N_LEVELS):
        group[f"i/{level}/flux"][30:34, 40:44] = pixel
    array = pixels[0].copy()
    array[1, 30:34, 40:44] = pixel
    twin = ArrayMosaic("m", BANDS, array, tan_wcs(), pixels[1])
    for source, levels in ((mosaic, range(N_LEVELS)), (twin, [0])):
        for level in levels:
            block = source.read(Box(25, 40, 35, 50), ("g", "i"), level)
            hole = np.zeros((2, 15, 15), dtype=bool)
            hole[1, 5:9, 5:9] = True
            np.testing.assert_array_equal(np.isnan(block.flux), hole)
            np.testing.assert_array_equal(block.mask == MaskBit.NO_DATA, hole)


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize(("plane", "level"), [("flux", 0), ("mask", 0), ("flux", 3), ("mask", 2)])
def test_a_store_that_was_copied_in_part_is_refused(tmp_path, pixels, plane, level):
    path = tmp_path / "m.zarr"
    write(path, pixels).finish()
    (path / "i" / str(level) / plane / "c" / "1" / "0").unlink()
    with pytest.raises(MosaicError, match=f"lacks i/{level}/{plane}/c/1/0;"):
        Mosaic.open(path)
    shutil.rmtree(path / "g" / "1" / "flux" / "c" / "0")
    with pytest.raises(MosaicError, match="lacks g/1/flux/c/0/0;"):
        Mosaic.open(path)


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("size", [0, 1000])
def test_a_shard_that_was_cut_off_is_said(tmp_path, pixels, size):
    path = tmp_path / "m.zarr"
    write(path, pixels).finish()
    shard = path / "i" / "0" / "flux" / "c" / "0" / "0"
    shard.write_bytes(shard.read_bytes()[:size])
    with pytest.raises(MosaicError, match=r"cannot read band i, level 0, flux in y 0:9, x 0:9"):
        Mosaic.open(path).read(Box(0, 9, 0, 9), ("g", "i"))


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("variance", [False, True])
def test_a_shard_without_data_takes_no_room(tmp_path, pixels, variance):
    """Whether its pixels were given or not: the same digest, no files, and it reads as no data."""
    flux, mask = pixels[0].copy(), pixels[1].copy()
    flux[1, 512:], mask[1, 512:] = np.nan, MaskBit.NO_DATA  # two of the four shards of band i
    band = replace(BANDS[1], has_variance=variance)
    layout = replace(LAYOUT, bands=(BANDS[0], band))
    digests = []
    for name, skipped in (("computed.zarr", False), ("skipped.zarr", True)):
        writer = MosaicWriter.open_or_create(tmp_path / name, layout)
        for of, box in writer.pending(planned(writer)):
            window = window_of((flux, mask), of, box)
            is_empty = of == "i" and box.y0 == 512
            if variance and of == "i":
                window = replace(window, variance=variance_of(window.flux))
            writer.write(of, box, None if is_empty and skipped else window, 7)
        mosaic = writer.finish()
        assert next(MosaicWriter.open(tmp_path / name).pending(planned(writer)), None) is None
        digests.append(mosaic.digest)
        there = mosaic.place.files("i")
        assert "i/0/flux/c/0/1" in there
        assert not [file for file in there if "/c/1/" in file and "shards" not in file]
        block = mosaic.read(Box(500, 700, 0, 530), ("g", "i"))
        np.testing.assert_array_equal(block.flux[1], flux[1, 500:, :530])
        np.testing.assert_array_equal(block.mask[1], mask[1, 500:, :530])
        assert np.isnan(mosaic.noise("i")[1]).all()
        if variance:
            assert np.isnan(mosaic.read_variance(Box(512, 700, 0, 530), "i")).all()
    assert digests[0] == digests[1]


@pytest.mark.usefixtures("small_shards")
def test_a_shard_that_loses_its_data_loses_its_files(tmp_path, pixels):
    """What it held before must not be read in place of nothing, and takes no room."""
    path = tmp_path / "m.zarr"
    write(path, pixels).finish()
    writer = MosaicWriter.open(path)
    box = Box(512, 700, 0, 512)
    writer.write("i", box, None, 8)
    mosaic = writer.finish()
    assert (mosaic.read(box, ("i",)).mask == MaskBit.NO_DATA).all()
    assert np.isnan(mosaic.noise("i")[1, 0])
    assert not (path / "i" / "2" / "mask" / "c" / "1" / "0").exists()
    writer.write("i", box, window_of(pixels, "i", box), 7)
    assert writer.finish().digest == write(tmp_path / "other.zarr", pixels).finish().digest


def test_a_sealed_store_is_not_written_again(tmp_path, pixels):
    path = tmp_path / "m.zarr"
    digest = write(path, pixels).finish().digest
    about = path / "zarr.json"
    before = about.stat().st_mtime_ns
    assert write(path, pixels).finish().digest == digest
    assert about.stat().st_mtime_ns == before


def test_threads_that_read_first_all_get_the_fast_pipeline(tmp_path, pixels):
    """The pipeline is chosen by a global setting while an array is opened."""
    writer = write(tmp_path / "m.zarr", pixels)
    writer.finish()
    mosaics = [Mosaic.open(tmp_path / "m.zarr") for _ in range(8)]
    start = threading.Barrier(16)

    def first_read(mosaic, band):
        start.wait()
        mosaic.read(Box(0, 9, 0, 9), (band,))

    threads = [threading.Thread(target=first_read, args=(m, b)) for m in mosaics for b in "gi"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pipelines = {
        type(array._async_array.codec_pipeline).__name__
        for owner in (*mosaics, writer)
        for array in owner._arrays.values()
    }
    assert pipelines == {"ZarrsCodecPipeline"}
    assert "zarrs" not in zarr.config.get("codec_pipeline.path")


FULL_DISK = """
import resource, sys
from tests.test_mosaic_store import some_pixels, write
limit = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), limit))
try:
    write(sys.argv[1], some_pixels())
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize("file_size", [100, 20_000, 100_000])
def test_a_disk_that_is_full_is_said_and_the_store_goes_on(tmp_path, pixels, file_size):
    """The limit on the size of a file stops writes in their middle, as a full disk does."""
    path = tmp_path / "m.zarr"
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path), str(file_size)],
        capture_output=True, text=True, check=True, cwd=REPOSITORY,
    )  # fmt: skip
    kind = "MosaicError" if file_size == 100 else "StoreError"  # a new store: nothing was written
    assert done.stdout.startswith(f"{kind} cannot write ")
    assert "make room" in done.stdout
    assert done.stdout.count("\n") == 1
    assert path.exists() == (file_size > 100)
    if path.exists():
        with pytest.raises(MosaicError, match="not finished"):
            Mosaic.open(path)
    mosaic = write(path, pixels).finish()
    assert mosaic.digest == write(tmp_path / "other.zarr", pixels).finish().digest
    assert {file.name for file in tmp_path.iterdir()} == {"m.zarr", "other.zarr"}
