"""HSC and LSST files: planes, units, masks by their own cards, places in the sky map."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from hypothesis import given
from hypothesis import strategies as st

from survey_classifier.errors import MosaicError
from survey_classifier.geometry import Box
from survey_classifier.mosaic.exposure import MosaicInput
from survey_classifier.mosaic.grids import grid_offset
from survey_classifier.mosaic.pixels import MaskBit
from survey_classifier.mosaic.readers import READERS
from survey_classifier.mosaic.readers.fits import open_fits
from survey_classifier.mosaic.readers.hsc import open_hsc
from survey_classifier.mosaic.readers.hsc_mask import N_BITS, PLANES, mask_bits, translated
from survey_classifier.mosaic.sky import SkyGrid
from survey_classifier.mosaic.skymap import FIRST, Patches, RingsTract, tract_at

SMALL = Patches(400, 20)
NJY_PER_COUNT = 57.544  # zero point 27
FLUXMAG0 = 63095734448.0194
USUAL = {"BAD": 0, "SAT": 1, "INTRP": 2, "CR": 3, "EDGE": 4, "DETECTED": 5, "NO_DATA": 8}
OTHER = {"NO_DATA": 0, "BRIGHT_OBJECT": 2, "DETECTED": 3, "SAT": 5, "INEXACT_PSF": 17, "BAD": 9}


def header_of(tract, box, **cards):
    """The header of a box of a tract, as the pipeline writes it."""
    header = SMALL.grid(RingsTract(tract)).wcs.to_header()
    header["CRPIX1"] -= box.x0
    header["CRPIX2"] -= box.y0
    for axis, origin in (("1", box.x0), ("2", box.y0)):
        header.update({f"CTYPE{axis}A": "LINEAR", f"CRPIX{axis}A": 1.0})
        header.update({f"CRVAL{axis}A": float(origin), f"CUNIT{axis}A": "PIXEL"})
    header.update(cards)
    return header


def write(
    path, tract=15549, column=3, row=5, *, box=None, planes=USUAL, mask=None, primary=None,
    names="EXTTYPE", compressed=False, variance=True, **cards,
):  # fmt: skip
    """Write a patch with random pixels; returns its image, mask and variance."""
    box = SMALL.outer(column, row) if box is None else box
    random = np.random.default_rng(row * 100 + column)
    image = random.normal(0, 1, box.shape).astype(np.float32)
    weights = random.uniform(1, 2, box.shape).astype(np.float32)
    mask = np.zeros(box.shape, np.int32) if mask is None else mask
    header = header_of(tract, box, **cards)
    hdus = [fits.PrimaryHDU(header=fits.Header(primary or {"FLUXMAG0": FLUXMAG0}))]
    for role, plane in (("IMAGE", image), ("MASK", mask), ("VARIANCE", weights)):
        if plane is None or (role == "VARIANCE" and not variance):
            continue
        own = header.copy()
        if names is not None:
            own[names] = role
        if role == "MASK":
            for name, bit in planes.items():
                own[f"HIERARCH MP_{name}"] = bit
        if compressed:
            kind = {"compression_type": "RICE_1" if role == "MASK" else "GZIP_2"}
            hdus.append(fits.CompImageHDU(plane, own, quantize_level=0, **kind))
        else:
            hdus.append(fits.ImageHDU(plane, own))
    hdus.append(fits.BinTableHDU.from_columns([fits.Column("x", "D", array=[1.0])]))
    fits.HDUList(hdus).writeto(path)
    return image, mask, weights


def opened(path, **keys):
    sizes = {"patch_inner_px": SMALL.inner_px, "patch_border_px": SMALL.border_px}
    settings = MosaicInput(**({"reader": "hsc", "path": path.name, "band": "g"} | sizes | keys))
    return READERS["hsc"](settings, path)


def whole(exposure):
    return Box(0, exposure.shape[0], 0, exposure.shape[1])


# ---- planes, units, masks --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "names", "compressed"),
    [
        ("calexp-HSC-G-15549-3,5.fits", "EXTTYPE", False),
        ("calexp-HSC-G-15549-3%2C5.fits", "EXTNAME", False),
        ("calexp-HSC-G-15549-3,5.fits.fz", "EXTTYPE", True),
        ("calexp-HSC-G-15549-3,5.fits", "EXTNAME", True),
        ("calexp-HSC-G-15549-3,5.fits.gz", None, False),
        ("calexp-HSC-I2-15549-3,5.fits", None, True),
    ],
)
def test_all_ways_to_write_a_patch_give_the_same_pixels(tmp_path, name, names, compressed):
    path = tmp_path / name
    image, _, weights = write(path, names=names, compressed=compressed)
    exposure = opened(path)
    assert exposure.slot == "15549-3,5"
    assert exposure.band.zero_point == pytest.approx(27, abs=1e-9)
    assert exposure.band.has_variance
    box = Box(7, 301, 11, 250)
    window = exposure.read(box)
    np.testing.assert_allclose(window.flux, image[box.slices] * NJY_PER_COUNT, rtol=1e-5)
    np.testing.assert_allclose(window.variance, weights[box.slices] * NJY_PER_COUNT**2, rtol=1e-5)
    assert not window.mask.any()
    assert window.flux.dtype == window.variance.dtype == np.float32


@pytest.mark.parametrize("planes", [USUAL, OTHER])
@pytest.mark.parametrize("dtype", [np.int32, np.uint16])
def test_each_plane_is_known_by_the_cards_of_that_file(tmp_path, planes, dtype):
    mask = np.zeros(SMALL.outer(3, 5).shape, np.int32)
    usable = {name: bit for name, bit in planes.items() if bit < np.dtype(dtype).itemsize * 8}
    for number, bit in enumerate(usable.values()):
        mask[10 + number, 20 + number] = 1 << bit
    mask[0, 0] = sum(1 << bit for bit in usable.values())
    path = tmp_path / "calexp-HSC-G-15549-3,5.fits"
    write(path, planes=usable, mask=mask.astype(dtype))
    exposure = opened(path)
    window = exposure.read(whole(exposure))
    expected = np.zeros(mask.shape, np.uint8)
    for number, name in enumerate(usable):
        expected[10 + number, 20 + number] = PLANES.get(name, 0)
        expected[0, 0] |= PLANES.get(name, 0)
    np.testing.assert_array_equal(window.mask, expected)
    empty = (expected & MaskBit.NO_DATA) != 0
    assert empty.sum() == 2
    np.testing.assert_array_equal(np.isnan(window.flux), empty)
    np.testing.assert_array_equal(np.isnan(window.variance), empty)


def test_pixels_without_a_value_are_no_data(tmp_path):
    path = tmp_path / "calexp-HSC-G-15549-3,5.fits"
    write(path)
    with fits.open(path, mode="update") as hdus:
        hdus[1].data[4, 5], hdus[1].data[6, 7], hdus[3].data[8, 9] = np.nan, np.inf, np.inf
    exposure = opened(path)
    window = exposure.read(Box(0, 20, 0, 20))
    holes = [(4, 5), (6, 7)]
    assert sorted(zip(*np.nonzero(np.isnan(window.flux)), strict=True)) == holes
    assert sorted(zip(*np.nonzero(window.mask == MaskBit.NO_DATA), strict=True)) == holes
    assert sorted(zip(*np.nonzero(np.isnan(window.variance)), strict=True)) == [*holes, (8, 9)]


@given(st.integers(0, 2**32 - 1))
def test_translation_is_that_of_each_bit_alone(seed):
    random = np.random.default_rng(seed)
    bits = random.choice([0, *(int(bit) for bit in MaskBit)], N_BITS)
    plane = random.integers(-(2**31), 2**31, (5, 7)).astype(np.int32)
    plane[0] &= 0xFFFF
    expected = np.zeros(plane.shape, np.uint8)
    for bit in range(N_BITS):
        expected[(plane.astype(np.int64) >> bit) & 1 == 1] |= np.uint8(bits[bit])
    np.testing.assert_array_equal(translated(plane, bits), expected)
    np.testing.assert_array_equal(translated(plane[:1], bits), expected[:1])
    assert translated(plane, bits).dtype == np.uint8
    # Smaller integers, whatever their sign and the order of their bytes.
    low = plane.astype(np.uint16)
    expected = translated(low.astype(np.int32), bits)
    for dtype in (np.int16, ">i2", ">u2", ">i4"):
        np.testing.assert_array_equal(translated(low.astype(dtype), bits), expected)


def test_what_becomes_of_planes_and_of_bits_that_no_card_names():
    header = fits.ImageHDU(np.zeros((2, 2), np.int32)).header
    for name, bit in {**USUAL, "INEXACT_PSF": 9, "SENSOR_EDGE": 10, "NOT_DEBLENDED": 11}.items():
        header[f"HIERARCH MP_{name}"] = bit
    bits = mask_bits(header, "a file")
    assert [MaskBit(bit) for bit in bits[:5]] == [
        MaskBit.BAD, MaskBit.SATURATED, MaskBit.INTERPOLATED, MaskBit.COSMIC_RAY, MaskBit.EDGE,
    ]  # fmt: skip
    assert bits[5] == bits[11] == 0  # DETECTED, NOT_DEBLENDED
    assert bits[8:11] == (MaskBit.NO_DATA, MaskBit.SUSPECT, MaskBit.SUSPECT)
    assert set(bits[12:]) == {MaskBit.SUSPECT}
    assert set(bits) <= {0, *MaskBit}


@pytest.mark.parametrize(
    ("primary", "cards", "keys", "zero_point"),
    [
        ({"FLUXMAG0": FLUXMAG0}, {}, {"zero_point": 25.0}, 27),
        ({"FLUXMAG0": 0.0}, {}, {"zero_point": 25.0}, 25),
        ({"HIERARCH EXPINFO_V": 1}, {}, {"zero_point": 25.0}, 25),
        ({"HIERARCH EXPINFO_V": 1}, {"FLUXMAG0": 1e12}, {}, 30),
        ({"HIERARCH EXPINFO_V": 1}, {"BUNIT": "nJy"}, {}, 31.4),
        ({"FLUXMAG0": 0.0}, {}, {"unit": "display"}, None),
    ],
)
def test_zero_points(tmp_path, primary, cards, keys, zero_point):
    path = tmp_path / "calexp-HSC-G-15549-3,5.fits"
    image, _, _ = write(path, primary=primary, **cards)
    exposure = opened(path, **keys)
    if zero_point is None:
        assert exposure.band.zero_point is None
        scale = 1
    else:
        assert exposure.band.zero_point == pytest.approx(zero_point, abs=0.01)
        scale = 10 ** (0.4 * (31.4 - zero_point))
    flux = exposure.read(Box(0, 9, 0, 9)).flux
    np.testing.assert_allclose(flux, image[:9, :9] * scale, rtol=0.002)


def test_variance_and_mask_may_be_missing(tmp_path):
    path = tmp_path / "calexp-HSC-G-15549-3,5.fits"
    write(path, variance=False)
    exposure = opened(path)
    assert not exposure.band.has_variance
    assert exposure.read(Box(0, 5, 0, 5)).variance is None
    assert exposure.band.has_mask
    assert exposure.lacks == ("a variance plane (the variance is not known)",)
    with fits.open(path) as hdus:
        fits.HDUList(hdus[:2]).writeto(path, overwrite=True)
    exposure = opened(path)
    assert not exposure.band.has_mask
    assert exposure.lacks[1:] == ("a mask plane (saturated and bad pixels are not known)",)


def test_a_window_opens_the_file_once(tmp_path, monkeypatch):
    path, real = tmp_path / "calexp-HSC-G-15549-3,5.fits", Path.open
    write(path)
    exposure, calls = opened(path), []
    monkeypatch.setattr(
        Path, "open", lambda self, *args, **kw: (calls.append(self), real(self, *args, **kw))[1]
    )
    exposure.read(Box(0, 5, 0, 5))
    assert calls == [path]


# ---- places in the sky map -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "slot"),
    [
        ("calexp-HSC-G-15549-3,5.fits", "15549-3,5"),
        ("deepCoadd/HSC-G/15549/3,5.fits", "15549-3,5"),
        ("deepCoadd_calexp_15549_413_g_hsc_rings_v1_HSC_runs.fits", "15549-3,5"),
        ("deep_coadd_15549_413_g_hsc_rings_v1.fits.fz", "15549-3,5"),
        ("2-cutout-HSC-I-15549-pdr2_wide.fits", "15549-3,5"),
        ("field.fits", "15549-3,5"),
    ],
)
def test_names(tmp_path, name, slot):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path)
    assert SMALL.per_side == 82  # 413 = 3 + 82 x 5
    exposure = opened(path)
    assert exposure.slot == slot
    assert exposure.territory == RingsTract(15549)
    assert exposure.lacks == ()


@pytest.mark.parametrize("own_origin", [True, False])
@pytest.mark.parametrize(("column", "row"), [(0, 0), (3, 5), (81, 0)])
def test_a_patch_under_another_name_is_known_by_its_pixels(tmp_path, own_origin, column, row):
    """It shows exactly the pixels of a patch, on exactly a tract's grid."""
    paths = tmp_path / f"calexp-HSC-G-15549-{column},{row}.fits", tmp_path / "renamed.fits"
    for path in paths:
        write(path, column=column, row=row)
        if not own_origin:
            fits.delval(path, "CTYPE1A", ext=1)
    named, renamed = (opened(path) for path in paths)
    for part in ("slot", "core", "territory"):
        assert getattr(named, part) == getattr(renamed, part)
    assert (named.survey_grid.wcs.wcs.crpix == renamed.survey_grid.wcs.wcs.crpix).all()


@pytest.mark.parametrize(
    ("contents", "keys"),
    [
        ({"box": Box(2000, 2300, 1200, 1500)}, {}),  # a cut-out
        ({"box": Box(1981, 2421, 1180, 1620)}, {}),  # a pixel off
        ({"CRVAL1A": 0.0}, {}),  # its two WCS contradict each other
        ({"CRPIX1": 700.5}, {}),
        ({"CRVAL1": 50.0}, {}),  # on a grid that is no tract's
        ({"CDELT1": -0.2 / 3600, "CDELT2": 0.2 / 3600}, {}),
        ({}, {"patch_inner_px": 4000, "patch_border_px": 100}),
        ({}, {"patch_border_px": 30}),
    ],
)
def test_what_is_no_patch_by_its_pixels_is_a_plain_image_and_says_so(tmp_path, contents, keys):
    path = tmp_path / "field.fits"
    write(path, **contents)
    exposure = opened(path, **keys)
    assert exposure.core is exposure.territory is exposure.survey_grid is None
    assert exposure.slot == ""
    assert len(exposure.lacks) == 1
    assert "patch of the sky map" in exposure.lacks[0]


@pytest.mark.parametrize("own_origin", [True, False])
@pytest.mark.parametrize(("column", "row"), [(0, 0), (3, 5), (81, 81), (0, 81)])
def test_a_patch_lies_in_its_tract_where_the_sky_map_has_it(tmp_path, column, row, own_origin):
    path = tmp_path / f"calexp-HSC-G-15549-{column},{row}.fits"
    write(path, column=column, row=row)
    if not own_origin:
        with fits.open(path, mode="update") as hdus:
            for axis in "12":
                del hdus[1].header[f"CTYPE{axis}A"]
    exposure = opened(path)
    outer, inner = SMALL.outer(column, row), SMALL.inner(column, row)
    assert exposure.shape == outer.shape
    assert exposure.core == inner.shifted(-outer.y0, -outer.x0)
    assert whole(exposure).intersection(exposure.core) == exposure.core
    grid = exposure.survey_grid
    assert grid.shape == (32800, 32800)
    assert grid_offset(exposure, grid.wcs) == (outer.y0, outer.x0)
    # Exactly the file's own: copied pixels are the survey's, and so are their positions.
    assert (grid.wcs.wcs.crpix - [outer.x0, outer.y0]).tolist() == exposure.wcs.wcs.crpix.tolist()
    assert grid.wcs.wcs.crpix.tolist() == [SMALL.center_px + 1] * 2
    again = pickle.loads(pickle.dumps(exposure))  # noqa: S301 - our own
    np.testing.assert_array_equal(again.read(exposure.core).flux, exposure.read(exposure.core).flux)


def test_neighboring_patches_and_tracts_share_no_pixel_of_their_own(tmp_path):
    """At the border of two tracts, each position is one file's own."""
    random = np.random.default_rng(1)
    ra = 49.6216 + random.uniform(-0.02, 0.02, 300)  # halfway between the two centers
    dec = 41.2 + random.uniform(-0.02, 0.02, 300)
    n_own = np.zeros(300, int)
    for tract in (15548, 15549):
        x, y = SkyGrid(SMALL.grid(RingsTract(tract)).wcs).world_to_pixel(ra, dec)
        patches = {(int(c), int(r)) for c, r in zip(*SMALL.at(x, y), strict=True)}
        for column, row in sorted(patches):
            path = tmp_path / f"calexp-HSC-G-{tract}-{column},{row}.fits"
            write(path, tract, column, row)
            exposure = opened(path)
            x, y = SkyGrid(exposure.wcs).world_to_pixel(ra, dec)
            core = exposure.core
            inside = (x >= core.x0 - 0.5) & (x < core.x1 - 0.5)
            inside &= (y >= core.y0 - 0.5) & (y < core.y1 - 0.5)
            n_own += inside & exposure.territory.contains(ra, dec)
    assert set(tract_at(ra, dec)) == {15548, 15549}
    np.testing.assert_array_equal(n_own, 1)


def test_patches_of_cells_reach_beyond_their_tract(tmp_path):
    path = tmp_path / "deep_coadd_15549_0_g_lsst_cells_v1.fits"
    write(path, box=Box(-20, 420, -20, 420))
    exposure = opened(path)
    assert (exposure.slot, exposure.core) == ("15549-0,0", Box(20, 420, 20, 420))
    assert grid_offset(exposure, exposure.survey_grid.wcs) == (-20, -20)


def test_a_tract_at_right_ascension_0_under_its_former_number(tmp_path):
    now, former = int(FIRST[61]), int(FIRST[62])
    path = tmp_path / f"calexp-HSC-G-{former}-3,5.fits"
    write(path, tract=now)
    exposure = opened(path)
    assert exposure.territory == RingsTract(now)
    assert exposure.slot == f"{now}-3,5"


# ---- what is refused -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "keys", "message"),
    [
        ("calexp-HSC-G-15550-3,5.fits", {}, "tract 15550 by its name.*15549"),
        ("calexp-HSC-G-15549-5,3.fits", {}, "patch 5,3 is"),
        ("calexp-HSC-G-15549-82,3.fits", {}, "no patch 82,3"),
        ("calexp-HSC-G-15549-3,5.fits", {"patch_border_px": 30}, "patch 3,5 .*patch_border_px"),
        ("calexp-HSC-G-15549-3,5.fits", {"patch_inner_px": 4000}, "patch_inner_px"),
        ("calexp-HSC-G-15549-3,5.fits", {"mask_hdu": "MASK"}, "mask_hdu.*leave it out"),
        ("calexp-HSC-G-15549-3,5.fits", {"hdu": 1}, "hdu.*leave it out"),
        ("calexp-HSC-G-15549-3,5.fits", {"rms_hdu": 3}, "rms_hdu.*leave it out"),
    ],
)
def test_names_and_settings_that_do_not_fit_the_file(tmp_path, name, keys, message):
    path = tmp_path / name
    write(path)
    with pytest.raises(MosaicError, match=message) as caught:
        opened(path, **keys)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({"CRVAL1A": 0.0}, "by the WCS A"),
        ({"CRPIX1": 700.5}, "by the WCS A"),
        ({"CRVAL1": 50.0}, "no center of that tract"),
        ({"primary": {"FLUXMAG0": "unknown"}}, "FLUXMAG0 = 'unknown'"),
        ({"primary": {"FLUXMAG0": -1.0}}, "FLUXMAG0 = -1.0"),
        ({"primary": {"FLUXMAG0": 0.0}}, "FLUXMAG0 is 0.*set zero_point, such as zero_point = 27"),
        ({"planes": {}}, "no MP_ cards"),
        ({"planes": {"SAT": 40}}, "bit 40"),
        ({"planes": {"SAT": "one"}}, "bit 'one'"),
        ({"mask": np.zeros((440, 440), np.float32)}, "BITPIX = -32"),
        ({"mask": np.zeros((440, 440), np.int64)}, "BITPIX = 64"),
        ({"mask": np.zeros((440, 441), np.int32)}, "shape"),
    ],
)
def test_contents_that_would_be_silently_wrong(tmp_path, contents, message):
    path = tmp_path / "calexp-HSC-G-15549-3,5.fits"
    write(path, **contents)
    with pytest.raises(MosaicError, match=message) as caught:
        opened(path)
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)


def test_a_file_without_an_image(tmp_path):
    path = tmp_path / "mask.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.zeros((9, 9), np.int32))]).writeto(path)
    with pytest.raises(MosaicError, match="no image of the HSC or LSST pipeline"):
        opened(path)


# ---- real files ------------------------------------------------------------------------------


def magnitude(flux_njy):
    return 31.4 - 2.5 * np.log10(flux_njy)


def test_real_stars_have_the_magnitudes_of_the_survey(real_data):
    folder = real_data / "hsc/hsc_pdr2_star_cutouts"
    table = Table.read(folder / "star_cat_correct.csv")
    assert len(table) == 10
    for row in table:
        path = folder / row["star_filename"]
        exposure = open_hsc(MosaicInput(reader="hsc", path=path.name, band="i"), path)
        window = exposure.read(whole(exposure))
        assert (window.variance, window.mask.any()) == (None, False)
        assert exposure.core is None
        x, y = SkyGrid(exposure.wcs).world_to_pixel(row["ira"], row["idec"])
        rows, cols = np.indices(exposure.shape)
        near = np.hypot(cols - x, rows - y) < 12  # 2.0 arcsec
        # By hand, from the file itself; then the survey's own PSF magnitude.
        counts = fits.getdata(path, 1)[near].sum(dtype=np.float64)
        by_hand = 27 - 2.5 * np.log10(counts)
        measured = magnitude(window.flux[near].sum(dtype=np.float64))
        assert measured == pytest.approx(by_hand, abs=1e-4)
        assert measured == pytest.approx(row["imag_psf"], abs=0.06)


def test_a_real_exposure_needs_its_zero_point(real_data):
    path = real_data / "hsc/HSC-0908120-056-small.fits"
    settings = MosaicInput(reader="hsc", path=path.name, band="i")
    with pytest.raises(MosaicError, match=r"zero point.*set zero_point"):
        open_hsc(settings, path)
    exposure = open_hsc(settings.model_copy(update={"zero_point": 27.0}), path)
    window = exposure.read(whole(exposure))
    with fits.open(path) as hdus:
        counts, planes, variance = (hdus[number].data for number in (1, 2, 3))
        wcs = WCS(hdus[1].header)
    np.testing.assert_allclose(window.flux, counts * NJY_PER_COUNT, rtol=1e-5)
    np.testing.assert_allclose(window.variance, variance * NJY_PER_COUNT**2, rtol=1e-5)
    # Noise by the variance plane and by neighboring pixels, in which there is no source.
    steps = np.diff(window.flux[:, ::2], axis=0)[(planes[1:, ::2] | planes[:-1, ::2]) == 0]
    sigma = np.diff(np.percentile(steps, [25, 75]))[0] / 1.349 / np.sqrt(2)
    assert sigma == pytest.approx(np.sqrt(np.median(window.variance)), rel=0.1)
    # Its cards give DETECTED bit 5 and CROSSTALK bit 8, and nothing else is set.
    assert set(np.unique(planes)) == {0, 32, 256}
    np.testing.assert_array_equal(window.mask, np.where(planes == 256, MaskBit.SUSPECT, 0))
    # The brightest star, by hand with the zero point, and where the distorted WCS has it.
    y, x = np.unravel_index(counts.argmax(), counts.shape)
    box = (slice(y - 12, y + 13), slice(x - 12, x + 13))
    by_hand = 27 - 2.5 * np.log10(counts[box].sum(dtype=np.float64))
    assert magnitude(window.flux[box].sum(dtype=np.float64)) == pytest.approx(by_hand, abs=1e-4)
    assert wcs.has_distortion
    np.testing.assert_allclose(
        SkyGrid(exposure.wcs).pixel_to_world(x, y), wcs.all_pix2world(x, y, 0), atol=1e-9
    )


def test_a_real_galaxy_through_the_generic_reader(real_data):
    """A coadd of five bands in one file, on a tract's grid; its zero point is not in the file."""
    path = real_data / "hsc/hsc_lsbg_grizy.fits"
    magnitudes = {}
    for band in "grizy":
        settings = MosaicInput(path=path.name, band=band, hdu=f"HSC_{band.upper()}")
        with pytest.raises(MosaicError, match="zero point"):
            open_fits(settings, path)
        exposure = open_fits(settings.model_copy(update={"zero_point": 27.0}), path)
        window = exposure.read(whole(exposure))
        rows, cols = np.indices(exposure.shape)
        near = np.hypot(cols - 95, rows - 95) < 30  # 5 arcsec
        counts = fits.getdata(path, f"HSC_{band.upper()}")[near].sum(dtype=np.float64)
        magnitudes[band] = magnitude(window.flux[near].sum(dtype=np.float64))
        assert magnitudes[band] == pytest.approx(27 - 2.5 * np.log10(counts), abs=1e-4)
    # Colors of a galaxy, which five wrong units would not have.
    assert 0.2 < magnitudes["g"] - magnitudes["i"] < 1.5
    # Its reference point is the center of the tract that it was cut out of.
    tract = int(tract_at(*SkyGrid(exposure.wcs).pixel_to_world(95, 95)))
    assert RingsTract(tract).center == pytest.approx(tuple(exposure.wcs.wcs.crval), abs=1e-10)


def test_a_file_of_another_band_is_refused_and_names_of_ones_own_are_free(tmp_path):
    path = tmp_path / "image.fits"
    write(path, primary={"FLUXMAG0": FLUXMAG0, "FILTER": "HSC-R2"})
    for band in ("g", "HSC-G", "VIS"):
        with pytest.raises(
            MosaicError, match=f"of the filter HSC-R2 by its header, not of.*'{band}'"
        ):
            opened(path, band=band)
    for band in ("r", "HSC-R", "red"):
        assert opened(path, band=band).band.name == band
