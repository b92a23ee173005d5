"""What inspect says of a store: counts held against the arrays, depth against simulated stars."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
from astropy import units
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st
from mocpy import MOC
from rich.console import Console

from survey_classifier.errors import MosaicError
from survey_classifier.geometry import Box
from survey_classifier.mosaic.blueprint import Layout
from survey_classifier.mosaic.depth import point_source_depth
from survey_classifier.mosaic.exposure import Window
from survey_classifier.mosaic.footprint import (
    ORDER_0_ARCSEC,
    corners_deg,
    coverage_cells,
    moc_order,
    pixel_area_deg2,
    write_moc,
)
from survey_classifier.mosaic.inspect import inspect, open_as_it_is
from survey_classifier.mosaic.pixels import UNUSABLE, BandInfo, MaskBit
from survey_classifier.mosaic.sky import SkyGrid
from survey_classifier.mosaic.tables import describe
from survey_classifier.mosaic.writer import MosaicWriter

SHAPE = (300, 2200)  # two shards
NOISE = 3.0
DEG = units.deg
FWHM_ARCSEC = 0.7
BANDS = (
    BandInfo("g", "nJy", 27.0, FWHM_ARCSEC),
    BandInfo("i", "nJy", 27.0),
    BandInfo("z", "display"),
)


def rotated_wcs(scale_arcsec=0.2, angle_deg=0.0, center=(49.95, 41.51), crpix=(15.0, 19.0)):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = list(center)
    wcs.wcs.crpix = list(crpix)
    c, s = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    wcs.wcs.cd = np.array([[-c, s], [s, c]]) * scale_arcsec / 3600
    return wcs


@pytest.fixture(scope="module")
def pixels():
    """Noise, correlated in band i, with stars; flaws of every kind, and bands of other areas."""
    rng = np.random.default_rng(5)
    flux = rng.normal(0, NOISE, (3, *SHAPE))
    flux[1] = correlated(flux[1])
    flux[:, rng.integers(0, 300, 400), rng.integers(0, 2200, 400)] += rng.exponential(900, 400)
    mask = np.zeros((3, *SHAPE), dtype=np.uint8)
    for number, bit in enumerate(MaskBit):
        mask[number % 3, 20 * number : 20 * number + 9, 100 : 900 + 100 * number] |= np.uint8(bit)
    mask[2, :, :500] |= np.uint8(MaskBit.NO_DATA)
    flux[(mask & np.uint8(MaskBit.NO_DATA)) != 0] = np.nan
    return flux.astype(np.float32), mask


def correlated(noise):
    """Return the noise of pixels that were each made of four."""
    return noise + np.roll(noise, 1, 0) + np.roll(noise, 1, 1) + np.roll(noise, (1, 1), (0, 1))


def begin(path, pixels, n_shards=None, bands=BANDS, wcs=None):
    flux, mask = pixels
    layout = Layout("m", bands, flux.shape[1:], wcs or rotated_wcs(), "rings:15549")
    writer = MosaicWriter.open_or_create(path, layout)
    shards = [(k, tile.core) for k in range(len(bands)) for tile in writer.shard_grid.tiles()]
    for k, box in shards[:n_shards]:
        writer.write(bands[k].name, box, Window(flux[k][box.slices], mask[k][box.slices]), 7)
    return writer


@pytest.fixture(scope="module")
def found(tmp_path_factory, pixels):
    return inspect(begin(tmp_path_factory.mktemp("inspect") / "m.zarr", pixels).finish())


def text(found):
    console = Console(width=200, highlight=False, markup=False)
    with console.capture() as captured:
        for part in describe(found):
            console.print(part)
    return captured.get()


def test_masked_shares_are_those_of_the_arrays(found, pixels):
    for number, band in enumerate(found.bands):
        mask = pixels[1][number]
        data = (mask & MaskBit.NO_DATA) == 0
        for bit in MaskBit:
            pool = mask if bit is MaskBit.NO_DATA else mask[data]
            assert band.masked[bit] == np.mean((pool & bit) != 0)
    assert sum(band.masked[bit] > 0 for band in found.bands for bit in MaskBit) == 9


def test_areas_are_those_of_the_arrays(found, pixels):
    pixel = (0.2 / 3600) ** 2
    data = (pixels[1] & MaskBit.NO_DATA) == 0
    usable = (pixels[1] & np.uint8(UNUSABLE)) == 0
    assert found.any_deg2 == pytest.approx(data.any(axis=0).sum() * pixel, rel=1e-5)
    assert found.usable_deg2 == pytest.approx(usable.all(axis=0).sum() * pixel, rel=1e-5)
    for number, band in enumerate(found.bands):
        assert band.data_deg2 == pytest.approx(data[number].sum() * pixel, rel=1e-5)


def test_noise_and_its_correlation(found):
    """Sums of 2 x 2 have twice the noise; in sums of 4 x 4 of them it is larger by 1.75."""
    white, smoothed, _ = found.bands
    assert white.noise == pytest.approx(NOISE, rel=0.03)
    assert white.correlation == pytest.approx(1.0, rel=0.04)
    assert smoothed.noise == pytest.approx(2 * NOISE, rel=0.03)
    # Along an axis the sum of four takes up five numbers, 1 2 2 2 1: 14 instead of 4 x 2.
    assert smoothed.correlation == pytest.approx(14 / 8, rel=0.05)


def test_galaxies_do_not_count_as_noise(tmp_path):
    """Blobs of 20 times the noise that cover a tenth of the sky."""
    rng = np.random.default_rng(6)
    flux = rng.normal(0, NOISE, (1, 600, 600))
    y, x = np.mgrid[:600, :600]
    for y0, x0 in rng.uniform(0, 600, (90, 2)):
        flux[0] += 60 * np.exp(-np.hypot(y - y0, x - x0) / 6)
    pixels = flux.astype(np.float32), np.zeros(flux.shape, dtype=np.uint8)
    (band,) = inspect(begin(tmp_path / "m.zarr", pixels, bands=BANDS[:1]).finish()).bands
    assert band.noise * band.correlation == pytest.approx(NOISE, rel=0.1)


@pytest.mark.parametrize("smooth", [False, True])
def test_a_star_of_the_stated_depth_is_five_times_its_noise(tmp_path, smooth):
    """Measured in the way it is meant: circular apertures on pure noise, and on a star."""
    rng = np.random.default_rng(8)
    noise = rng.normal(0, NOISE, (800, 800))
    if smooth:
        noise = correlated(noise)
    pixels = noise[None].astype(np.float32), np.zeros((1, 800, 800), dtype=np.uint8)
    (band,) = inspect(begin(tmp_path / "m.zarr", pixels, bands=BANDS[:1]).finish()).bands
    fwhm_px = FWHM_ARCSEC / 0.2
    y, x = np.mgrid[-20:21, -20:21]
    disk = np.hypot(y, x) <= fwhm_px
    star = np.exp(-4 * np.log(2) * (y**2 + x**2) / fwhm_px**2)
    flux_njy = 10 ** (0.4 * (31.4 - band.depth.magnitude))
    signal = flux_njy * star[disk].sum() / star.sum()
    sums = [
        noise[y0 : y0 + 41, x0 : x0 + 41][disk].sum()
        for y0 in range(0, 759, 20)
        for x0 in range(0, 759, 20)
    ]
    # A correlation of more than 4 px makes apertures of 7 px a little noisier than stated.
    assert signal / np.std(sums) == pytest.approx(5.0, rel=0.1 if smooth else 0.06)
    assert band.depth.aperture_arcsec == 2 * FWHM_ARCSEC


def test_depth_by_hand():
    """HSC g: 0.037 counts at 27 mag are 2.129 nJy in a pixel, 15.72 in 54.5 px, 83.9 in a star."""
    depth = point_source_depth(BANDS[0], 0.037 * 57.544, 0.168)
    assert depth.magnitude == pytest.approx(26.591, abs=0.001)
    # 111.3 px of the default aperture: 22.46, and 5 times that
    assert point_source_depth(BANDS[1], 0.037 * 57.544, 0.168).magnitude == pytest.approx(
        26.274, abs=0.001
    )
    assert point_source_depth(BANDS[0], 2.0, 0.2, np.nan) == point_source_depth(BANDS[0], 2.0, 0.2)


@pytest.mark.parametrize("noise", [np.nan, 0.0])
def test_there_is_no_depth_without_noise_or_calibration(noise):
    assert np.isnan(point_source_depth(BANDS[0], noise, 0.2).magnitude)
    assert np.isnan(point_source_depth(BANDS[2], 3.0, 0.2).magnitude)


@pytest.mark.parametrize("angle_deg", [0, 37, 180])
def test_corners_are_those_of_astropy(angle_deg):
    wcs = rotated_wcs(angle_deg=angle_deg)
    ours = corners_deg(SkyGrid(wcs), (80, 50))
    theirs = wcs.calc_footprint(axes=(50, 80), center=False)  # column by column
    np.testing.assert_allclose(ours[[0, 3, 2, 1]], theirs, atol=1e-9)


@pytest.mark.parametrize("distance_deg", [0.0, 0.5, 2.0])
def test_pixels_shrink_away_from_the_reference_point(distance_deg):
    """On a gnomonic projection the solid angle goes with the cube of the cosine."""
    grid = SkyGrid(rotated_wcs(0.168, 20))
    offset_px = round(np.degrees(np.tan(np.radians(distance_deg))) * 3600 / 0.168)
    area = pixel_area_deg2(grid, Box(18, 19, 14 + offset_px, 15 + offset_px))
    expected = (0.168 / 3600) ** 2 * np.cos(np.radians(distance_deg)) ** 3
    assert area == pytest.approx(expected, rel=1e-6)


centers = st.sampled_from([(49.95, 41.51), (0.0, 0.0), (359.9999, -30.0), (120.0, 89.9)])


@settings(max_examples=25)
@given(
    centers,
    st.sampled_from([0.03, 0.1, 0.4, 5.0, 40.0]),
    st.floats(0, 360),
    st.integers(0, 2**32 - 1),
)
def test_the_coverage_map_holds_all_data_and_little_else(center, scale, angle, seed):
    grid = SkyGrid(rotated_wcs(scale, angle, center))
    rng = np.random.default_rng(seed)
    box = Box(30, 30 + rng.integers(1, 300), -40, rng.integers(-39, 200))
    covered = np.kron(rng.random((20, 16)) < 0.3, np.ones((16, 16), bool))[: box.shape[0]]
    covered = np.resize(covered[:, : box.shape[1]], box.shape)
    order = moc_order(scale)
    cells = coverage_cells(grid, box, covered)
    assert len(np.unique(cells)) == len(cells)
    rows, cols = np.nonzero(covered)
    sky = grid.pixel_to_world(cols + box.x0, rows + box.y0)
    if len(cells) == 0:
        assert not len(rows)
        return
    moc = MOC.from_healpix_cells(cells, np.full(len(cells), order, np.uint8), max_depth=order)
    exact = MOC.from_lonlat(*(angle * DEG for angle in sky), max_norder=order)
    # Pixels are taken together in squares, so a sliver at the rim of a cell goes to its neighbor.
    assert moc.difference(deepcopy(exact).add_neighbours()).empty()
    assert exact.difference(deepcopy(moc).add_neighbours()).empty()
    side = ORDER_0_ARCSEC / 2**order
    assert side >= 4 * scale
    if scale * 4 > side / 2:  # a square is a pixel
        assert moc == exact


def test_the_coverage_map_of_a_store(found, tmp_path, pixels):
    write_moc(tmp_path / "m.fits", found.cells, found.moc_order)
    moc = MOC.from_fits(tmp_path / "m.fits")
    assert moc.max_order == found.moc_order == 14
    data = ((pixels[1] & MaskBit.NO_DATA) == 0).any(axis=0)
    inner = np.nonzero(data)
    ra, dec = SkyGrid(rotated_wcs()).pixel_to_world(inner[1], inner[0])
    assert moc.contains_lonlat(ra * DEG, dec * DEG).mean() > 0.98
    rim = (300 + 2200) * 2 * 0.2 * ORDER_0_ARCSEC / 2**14 / 3600**2
    assert found.any_deg2 - 0.3 * rim < moc.sky_fraction * 41252.96 < found.any_deg2 + rim


def test_a_store_that_is_not_finished_says_how_far_it_is(tmp_path, pixels):
    begin(tmp_path / "m.zarr", pixels, n_shards=3)
    part = inspect(open_as_it_is(tmp_path / "m.zarr"))
    assert [band.n_finished for band in part.bands] == [2, 1, 0]
    assert "not finished, 3 of 6 shards are written" in text(part)
    first = Box(0, 300, 0, 2048)
    data = (pixels[1][1][first.slices] & MaskBit.NO_DATA) == 0
    assert part.bands[1].data_deg2 == pytest.approx(data.sum() * (0.2 / 3600) ** 2, rel=1e-5)
    assert np.isnan(part.bands[2].noise)
    assert part.usable_deg2 == 0
    assert part.bands[2].masked[MaskBit.NO_DATA] == 1


def test_a_store_without_data_is_said_to_have_none(tmp_path):
    pixels = np.full((1, 50, 60), np.nan, np.float32), np.zeros((1, 50, 60), np.uint8)
    empty = inspect(begin(tmp_path / "m.zarr", pixels, bands=BANDS[:1]).finish())
    assert (empty.any_deg2, len(empty.cells)) == (0, 0)
    assert "100.000" in text(empty)
    write_moc(tmp_path / "m.fits", empty.cells, empty.moc_order)
    assert MOC.from_fits(tmp_path / "m.fits").empty()


def test_what_is_printed(found):
    lines = text(found)
    assert "2200 x 300 px of 0.2 arcsec" in lines
    assert "territory  rings:15549" in lines
    (g,) = (line for line in lines.splitlines() if line.split()[:2] == ["g", "nJy"])
    band = found.bands[0]
    assert g.split()[2:] == [
        "27.000", "0.7", f"{band.noise:.3g}", f"{band.correlation:.2f}",
        f"{band.depth.magnitude:.2f}", "1.4", f"{band.data_deg2:.4g}", "no", "2/2",
    ]  # fmt: skip


def test_what_no_file_delivered_is_not_said_to_be_nothing(tmp_path, pixels):
    """A band without masks has no share of flaws, one with variance in part no whole variance."""
    flux, _ = pixels
    bands = (
        BandInfo("g", "nJy", 27.0, has_mask=False, has_variance=True, variance_in_part=True),
        BandInfo("i", "nJy", 27.0, has_variance=True),
    )
    both = flux[:2], np.zeros(flux[:2].shape, dtype=np.uint8)
    lines = text(inspect(begin(tmp_path / "m.zarr", both, bands=bands).finish())).splitlines()
    cells = [line.split() for line in lines]
    (g, i), (g_masked, i_masked) = (
        [row for row in cells if row[0:1] in (["g"], ["i"]) and (row[1] == "nJy") is is_band]
        for is_band in (True, False)
    )
    assert (g[-2], i[-2]) == ("part", "yes")
    assert g_masked[2:] == ["-"] * 7
    assert i_masked[2:] == ["0"] * 7
    assert g_masked[1] != "-"
    assert any("came with a mask" in line for line in lines)
    assert any("came without" in line for line in lines)


def test_the_tables_of_a_large_survey_fit_a_terminal(found):
    """Long names, many shards and large numbers, in 100 columns."""
    bands = tuple(
        replace(band, band=replace(band.band, name=f"HSC-{name}2"), n_finished=10_816, noise=1.23e4)
        for name, band in zip("GRIZYNB", found.bands * 3, strict=False)
    )
    wide = replace(found, bands=bands, n_shards=10_816, store="s")
    lines = text(wide).splitlines()
    assert max(map(len, lines)) <= 100
    assert "75712 of 75712 shards are written" in lines[1]
    one = replace(found, bands=found.bands[:1], n_shards=1)
    assert "2 of 1 shard is written" in text(one)


def test_what_is_no_store_is_refused(tmp_path):
    with pytest.raises(MosaicError, match="no mosaic at"):
        open_as_it_is(tmp_path / "absent.zarr")


def test_an_output_that_cannot_be_written_is_said(found, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MosaicError, match=r"cannot write .*moc.fits"):
        write_moc(tmp_path / "file" / "moc.fits", found.cells, found.moc_order)
