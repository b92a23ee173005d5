"""The picture: which bands are which color, that it is the right way up, and what has no data."""

import numpy as np
import pytest
from PIL import Image

from survey_classifier.errors import MosaicError
from survey_classifier.geometry import Box
from survey_classifier.mosaic import legend, preview
from survey_classifier.mosaic.array_mosaic import ArrayMosaic
from survey_classifier.mosaic.exposure import Window
from survey_classifier.mosaic.pixels import BandInfo, MaskBit
from survey_classifier.mosaic.preview import (
    NO_DATA_GREY,
    area_with_data,
    color_bands,
    color_words,
    write_preview,
)
from survey_classifier.mosaic.sky import SkyGrid
from survey_classifier.mosaic.store import Mosaic
from survey_classifier.mosaic.writer import Layout, MosaicWriter
from tests.small_run import HOLE, SHAPE, write_store
from tests.test_mosaic_inspect import rotated_wcs
from tests.test_stamps import tan_wcs

RED, GREEN, BLUE = range(3)


def draw(mosaic, bands):
    """Draw all of a mosaic."""
    return preview.draw(mosaic, bands, Box(0, mosaic.shape[0], 0, mosaic.shape[1]))


@pytest.mark.parametrize(
    ("names", "colors"),
    [
        ("g", "g"),
        ("i g", "i g"),
        ("z g", "z g"),
        ("g r i", "i r g"),
        ("i r g", "i r g"),
        ("g r i z", "z r g"),
        ("z y g i r", "y r g"),
        ("u g r i z", "z r g"),
        ("u g r", "r g u"),
        ("VIS Y J H", "H Y VIS"),
        ("VIS NIR-Y NIR-J NIR-H", "NIR-H NIR-Y VIS"),
        ("H J", "H J"),
        ("HSC-G HSC-R2 HSC-I2", "HSC-I2 HSC-R2 HSC-G"),
        ("y Y", "Y y"),
        ("F606W F814W F160W other", "other F814W F606W"),
        ("first second", "second first"),
    ],
)
def test_bands_of_a_picture(names, colors):
    assert color_bands(names.split()) == tuple(colors.split())


def sky(bands="ziru", ny=120, nx=160):
    """Noise with an object that is bright in all bands, and a hole in one of them."""
    rng = np.random.default_rng(2)
    flux = rng.normal(5, 1, (len(bands), ny, nx)).astype(np.float32)
    flux[:, 100:110, 20:30] += 200
    flux[-1, 0:10, 0:20] = np.nan
    mask = np.zeros(flux.shape, dtype=np.uint8)
    return ArrayMosaic("m", [BandInfo(b, "nJy") for b in bands], flux, tan_wcs(), mask)


def test_it_is_the_right_way_up_and_says_where_data_is_missing():
    picture = draw(sky(), ("z", "r", "u"))
    assert picture.shape == (120, 160, 3)
    assert picture[::-1][103:107, 23:27].min() > 150
    np.testing.assert_array_equal(picture[::-1][0:10, 0:20], np.full((10, 20, 3), NO_DATA_GREY))
    dark = picture[::-1][:90, 40:]
    assert 5 < dark.mean() < 60
    # The noise of the sky is seen: hardly any of it is cut off at black.
    assert (dark.max(axis=-1) > 0).mean() > 0.95


@pytest.mark.parametrize("channel", [RED, GREEN, BLUE])
def test_an_object_has_the_color_of_its_band(channel):
    mosaic = sky("zru")
    mosaic._flux[channel, 60:66, 60:66] += 200
    others = [other for other in range(3) if other != channel]
    pixel = draw(mosaic, ("z", "r", "u"))[::-1][63, 63].astype(int)
    assert pixel[channel] > 2 * pixel[others].max()


def test_bands_of_other_units_are_balanced():
    """The same sky with one band in other units is the same picture, but for rounding."""
    mosaic, other = sky("zru"), sky("zru")
    other._flux[0] *= 1000
    ours = draw(mosaic, ("z", "r", "u")).astype(int)
    assert np.abs(draw(other, ("z", "r", "u")) - ours).max() <= 1


@pytest.mark.parametrize("bands", ["i", "ig"])
def test_fewer_bands(bands):
    picture = draw(sky(bands), tuple(bands))[::-1].astype(int)
    assert picture[103:107, 23:27].min() > 150
    if len(bands) == 1:
        lit = picture[20:]
        assert (lit == lit[..., :1]).all()


def test_saturated_pixels_without_value_are_white():
    mosaic = sky("zru")
    mosaic._flux[:, 30:33, 80:90] = np.nan
    mosaic._mask[1, 30:33, 80:90] = MaskBit.SATURATED
    picture = draw(mosaic, ("z", "r", "u"))[::-1]
    assert (picture[30:33, 80:90] == 255).all()


def test_saturated_pixels_do_not_count_for_the_balance_of_colors():
    """A trail of light in one band only, as bright as all objects together."""
    plain, trailed = sky("zru"), sky("zru")
    trailed._flux[2, 30:33, 80:140] = 500
    trailed._mask[2, 30:33, 80:140] = MaskBit.SUSPECT | MaskBit.SATURATED
    ours, theirs = (
        draw(mosaic, ("z", "r", "u"))[::-1][103:107, 23:27].astype(int)
        for mosaic in (trailed, plain)
    )
    assert np.abs(ours - theirs).max() <= 2


def test_only_the_part_with_data_is_shown(tmp_path):
    """Of a mosaic that is mostly to come, alike on one level and on many."""
    flux = np.full((2, 900, 1000), np.nan, dtype=np.float32)
    flux[0, 300:420, 650:700] = 1
    flux[1, 310:430, 650:690] = 1
    bands = [BandInfo(band, "nJy") for band in "gi"]
    mosaic = ArrayMosaic("m", bands, flux, tan_wcs())
    assert area_with_data(mosaic, ("g", "i")) == Box(299, 431, 649, 701)
    assert area_with_data(mosaic, ("i",)) == Box(309, 431, 649, 691)
    writer = MosaicWriter.open_or_create(
        tmp_path / "m.zarr", Layout("m", tuple(bands), (900, 1000), tan_wcs())
    )
    for number, band in enumerate("gi"):
        window = Window(flux[number], np.zeros(flux[number].shape, np.uint8))
        writer.write(band, Box(0, 900, 0, 1000), window, 7)
    area = area_with_data(writer.finish(), ("g", "i"))
    assert area.intersection(Box(300, 430, 650, 700)) == Box(300, 430, 650, 700)
    assert max(area.shape) <= 130 + 4 * 8
    write_preview(tmp_path / "m.png", Mosaic.open(tmp_path / "m.zarr"))
    with Image.open(tmp_path / "m.png") as picture:
        assert picture.size[1] == area.shape[0] + legend.HEIGHT_PX
    nothing = ArrayMosaic("m", bands, flux * np.nan, tan_wcs())
    assert area_with_data(nothing, ("g", "i")) == Box(0, 900, 0, 1000)


@pytest.mark.parametrize("angle_deg", [0, 35, 180, 290])
@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize("center", [(49.95, 41.51), (0.0, -30.0), (120.0, 89.5)])
def test_the_arrows_point_to_north_and_east(angle_deg, flipped, center):
    """Held against the sky itself: a step along the arrow changes one coordinate only."""
    wcs = rotated_wcs(0.2, angle_deg, center)
    if flipped:
        wcs.wcs.cd = wcs.wcs.cd @ np.diag([-1, 1])
    grid = SkyGrid(wcs)
    x, y = 14.0, 18.0
    ra0, dec0 = grid.pixel_to_world([x], [y])
    for letter, (dx, dy) in legend.directions(grid, (x, y)).items():
        assert np.hypot(dx, dy) == pytest.approx(1)
        ra, dec = grid.pixel_to_world([x + dx], [y + dy])
        east = ((ra - ra0 + 180) % 360 - 180) * np.cos(np.radians(dec0)) * 3600
        north = (dec - dec0) * 3600
        wanted = (0, 0.2) if letter == "N" else (0.2, 0)
        np.testing.assert_allclose((east[0], north[0]), wanted, atol=2e-4)


def test_there_are_no_arrows_where_there_is_no_sky():
    wcs = rotated_wcs(600.0)
    wcs.wcs.ctype = ["RA---AIT", "DEC--AIT"]
    assert legend.directions(SkyGrid(wcs), (5e3, 5e3)) == {}


@pytest.mark.parametrize("scale_arcsec", [0.002, 0.05, 0.2, 3.0, 40.0, 1e3])
def test_the_bar_is_as_long_as_it_says(scale_arcsec):
    length = legend.scale_bar_arcsec(scale_arcsec)
    number, unit = legend.angle_words(length).split()
    assert float(number) * {"arcsec": 1, "arcmin": 60, "deg": 3600}[unit] == length
    if scale_arcsec > 1 / legend.BAR_PX:
        assert legend.BAR_PX / 2.5 <= length / scale_arcsec <= legend.BAR_PX
    picture = np.zeros((50, 60, 3), dtype=np.uint8)
    whole = legend.with_legend(picture, SkyGrid(rotated_wcs()), (0, 0), scale_arcsec, ["m"])
    ink = (np.asarray(whole)[-legend.HEIGHT_PX :] == legend.INK).all(axis=-1)
    if scale_arcsec > 1 / legend.BAR_PX:
        row = ink[round(0.6 * legend.HEIGHT_PX), legend.HEIGHT_PX :]
        assert abs(int(row.sum()) - length / scale_arcsec) <= 2


def test_colors_in_words():
    assert color_words(("z", "r", "g")) == "red z, green r, blue g"
    assert color_words(("i", "g")) == "red i, blue g"
    assert color_words(("i",)) == "band i"


def test_a_flat_and_an_empty_mosaic_are_pictures_too():
    flux = np.full((3, 20, 30), 7, dtype=np.float32)
    bands = [BandInfo(band, "nJy") for band in "gri"]
    flat = draw(ArrayMosaic("m", bands, flux, tan_wcs()), tuple("irg"))
    assert (flat == flat[0, 0]).all()
    nothing = draw(ArrayMosaic("m", bands, flux * np.nan, tan_wcs()), tuple("irg"))
    assert (nothing == NO_DATA_GREY).all()


@pytest.mark.parametrize("side_px", [1200, 400, 100, 37])
def test_a_large_mosaic_is_reduced_alike_from_every_level(tmp_path, monkeypatch, side_px):
    """Means of means, read in strips, are the means of the pixels at once."""
    mosaic = write_store(tmp_path / "m.zarr", bands=("g", "r", "i"))
    monkeypatch.setattr(preview, "SIDE_PX", side_px)
    monkeypatch.setattr(preview, "STRIP_PX", 32)
    whole = Box(0, SHAPE[0], 0, SHAPE[1])
    flux, _ = preview._reduced(mosaic, ("i", "r", "g"), whole)
    step = -(-SHAPE[0] // flux.shape[1])
    assert max(flux.shape) <= side_px
    assert flux.shape[1:] == tuple(-(-side // step) for side in SHAPE)
    whole = mosaic.read(whole, ("i", "r", "g")).flux
    if step == 1:
        np.testing.assert_array_equal(flux, whole)
    y, x = 20, 400  # of level 0; far from flaws
    row, col = y // step, x // step
    square = whole[:, row * step : (row + 1) * step, col * step : (col + 1) * step]
    np.testing.assert_allclose(flux[:, row, col], square.mean(axis=(1, 2)), rtol=1e-4, atol=1e-4)
    hole = np.isnan(flux[0])[: 280 // step]  # without the saturated row
    assert hole[120 // step + 1, 240 // step]
    assert hole.sum() * step**2 == pytest.approx(np.prod([s.stop - s.start for s in HOLE]), rel=0.6)


def test_the_file_is_a_png_that_replaces_another(tmp_path):
    write_store(tmp_path / "m.zarr")
    path = tmp_path / "new" / "picture.png"
    for _ in range(2):
        assert write_preview(path, Mosaic.open(tmp_path / "m.zarr")) == ("i", "g")
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert picture.size[1] == SHAPE[0] + legend.HEIGHT_PX
        assert picture.size[0] >= SHAPE[1]
    (tmp_path / "file").write_text("")
    with pytest.raises(MosaicError, match=r"cannot write .*picture.png"):
        write_preview(tmp_path / "file" / "picture.png", Mosaic.open(tmp_path / "m.zarr"))
