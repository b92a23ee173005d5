"""The store: what is written is read back, on all levels, and only a finished store opens."""

import shutil
import threading

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from survey_classifier.errors import MosaicError
from survey_classifier.geometry import Box
from survey_classifier.mosaic import writer as writer_module
from survey_classifier.mosaic.pixels import UNUSABLE, ArrayMosaic, BandInfo, MaskBit
from survey_classifier.mosaic.pyramid import N_LEVELS, bin_block
from survey_classifier.mosaic.store import Mosaic
from survey_classifier.mosaic.writer import MosaicWriter
from survey_classifier.stamps import cut_stamps
from tests.test_stamps import tan_wcs

BANDS = (
    BandInfo("g", "nJy", 27.0, 0.7, ("g.fits",)),
    BandInfo("i", "nJy", 27.0, None, ("i.fits",)),
)
SHAPE = (700, 530)


@pytest.fixture
def pixels():
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
    monkeypatch.setattr(writer_module, "SHARD_PX", 512)
    monkeypatch.setattr(writer_module, "CHUNK_PX", 64)


def write(path, pixels, n_shards=None):
    flux, mask = pixels
    writer = MosaicWriter.open_or_create(path, "m", BANDS, SHAPE, tan_wcs(), "digest")
    for band, box in list(writer.pending())[:n_shards]:
        index = [b.name for b in BANDS].index(band)
        writer.write(band, box, flux[index][box.slices], mask[index][box.slices])
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
    again = MosaicWriter.open_or_create(path, "m", BANDS, SHAPE, tan_wcs(), "digest")
    assert len(list(again.pending())) == again.n_shards - 3
    with pytest.raises(MosaicError, match="lacks 5 of 8 shards"):
        again.finish()
    resumed = write(path, pixels).finish()
    assert resumed.digest == write(tmp_path / "other.zarr", pixels).finish().digest


@pytest.mark.usefixtures("small_shards")
def test_the_digest_follows_the_pixels(tmp_path, pixels):
    one = write(tmp_path / "one.zarr", pixels).finish()
    pixels[0][1, 600, 500] += 1
    assert write(tmp_path / "two.zarr", pixels).finish().digest != one.digest


def test_other_inputs_are_refused(tmp_path, pixels):
    path = tmp_path / "m.zarr"
    write(path, pixels)
    with pytest.raises(MosaicError, match="other inputs"):
        MosaicWriter.open_or_create(path, "m", BANDS, SHAPE, tan_wcs(), "another digest")


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
    bands = (BandInfo("g", unit),)
    writer = MosaicWriter.open_or_create(tmp_path / "m.zarr", "m", bands, SHAPE, tan_wcs(), "d")
    for band, box in list(writer.pending()):
        writer.write(band, box, np.full(box.shape, 3, np.float32), np.zeros(box.shape, np.uint8))
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
    with pytest.raises(MosaicError, match=r"band i.*shard \(1, 0\)"):
        Mosaic.open(path)
    shutil.rmtree(path / "g" / "1" / "flux" / "c" / "0")
    with pytest.raises(MosaicError, match=r"band g.*shard \(0, 0\)"):
        Mosaic.open(path)


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("size", [0, 1000])
def test_a_shard_that_was_cut_off_is_said(tmp_path, pixels, size):
    path = tmp_path / "m.zarr"
    write(path, pixels).finish()
    shard = path / "i" / "0" / "flux" / "c" / "0" / "0"
    shard.write_bytes(shard.read_bytes()[:size])
    with pytest.raises(MosaicError, match=r"cannot read band i, level 0, y 0:9, x 0:9"):
        Mosaic.open(path).read(Box(0, 9, 0, 9), ("g", "i"))


@pytest.mark.usefixtures("small_shards")
def test_shards_without_data_are_files_too(tmp_path, pixels):
    pixels[0][:] = np.nan
    mosaic = write(tmp_path / "m.zarr", pixels).finish()
    assert (mosaic.read(Box(0, 700, 0, 530), ("g", "i")).mask & MaskBit.NO_DATA).all()


def test_a_sealed_store_is_not_written_again(tmp_path, pixels):
    path = tmp_path / "m.zarr"
    digest = write(path, pixels).finish().digest
    about = path / "zarr.json"
    before = about.stat().st_mtime_ns
    assert write(path, pixels).finish().digest == digest
    assert about.stat().st_mtime_ns == before


def test_threads_that_read_first_all_get_the_fast_pipeline(tmp_path, pixels):
    """The pipeline is chosen by a global setting while an array is opened."""
    write(tmp_path / "m.zarr", pixels).finish()
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
        for mosaic in mosaics
        for array in mosaic._arrays.values()
    }
    assert pipelines == {"ZarrsCodecPipeline"}
    assert "zarrs" not in zarr.config.get("codec_pipeline.path")
