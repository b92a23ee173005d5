"""The FITS reader: what it refuses, and what its masks say."""

import pickle

import numpy as np
import pytest
from astropy.io import fits
from pydantic import ValidationError

from survey_classifier.errors import MosaicError
from survey_classifier.geometry import Box
from survey_classifier.mosaic.exposure import MosaicInput
from survey_classifier.mosaic.mosaic_settings import MosaicSettings
from survey_classifier.mosaic.pixels import BandInfo, MaskBit
from survey_classifier.mosaic.readers.fits import open_fits
from tests.test_stamps import tan_wcs

SHAPE = (30, 40)
WHOLE = Box(0, 30, 0, 40)


def write(path, image=None, plane=None, plane_cards=None, **cards):
    header = tan_wcs().to_header()
    header.update({"MAGZERO": 31.4, **cards})
    image = np.ones(SHAPE, np.float32) if image is None else image
    hdus = [fits.PrimaryHDU(image, header)]
    if plane is not None:
        hdus.append(fits.ImageHDU(plane, fits.Header(plane_cards or {}), name="MASK"))
    fits.HDUList(hdus).writeto(path)
    return path


def opened(path, **keys):
    return open_fits(MosaicInput(path=path.name, band="g", **keys), path)


def test_no_data_is_said_wherever_flux_is_nan(tmp_path):
    image = np.ones(SHAPE, np.float32)
    image[3, 4], image[5, 6] = np.nan, np.inf
    coverage = np.ones(SHAPE, np.uint8)
    coverage[7, 8] = 0
    path = write(tmp_path / "g.fits", image, coverage)
    window = opened(path, coverage_hdu="MASK").read(WHOLE)
    holes = [(3, 4), (5, 6), (7, 8)]
    assert sorted(zip(*np.nonzero(np.isnan(window.flux)), strict=True)) == holes
    assert sorted(zip(*np.nonzero(window.mask == MaskBit.NO_DATA), strict=True)) == holes
    assert window.variance is None


@pytest.mark.parametrize(
    ("cards", "message"),
    [
        ({"CTYPE1": "GLON-TAN", "CTYPE2": "GLAT-TAN"}, "GLON.*right ascension"),
        ({"CTYPE1": "ELON-TAN", "CTYPE2": "ELAT-TAN"}, "ELON.*right ascension"),
        ({"CTYPE1": "DEC--TAN", "CTYPE2": "RA---TAN"}, "first axis"),
        ({"RADESYS": "FK4", "EQUINOX": 1950.0}, "FK4"),
        ({"RADESYS": "", "EQUINOX": 1950.0}, "FK4"),
        ({"RADESYS": "FK5", "EQUINOX": 1975.0}, "FK5.*1975"),
        ({"RADESYS": "GAPPT"}, "GAPPT"),
        ({"CDELT1": -0.2 / 3600, "CDELT2": 0.21 / 3600}, r"0\.2000.*0\.2100"),
        ({"MAGZERO": "nan"}, "zero point.*nan"),
        ({"MAGZERO": "about 27"}, "zero point.*about 27"),
        ({"PSFFWHM": 0.0}, "PSFFWHM"),
        ({"PSFFWHM": "bad"}, "PSFFWHM"),
    ],
)
def test_what_would_be_silently_wrong_is_refused(tmp_path, cards, message):
    path = write(tmp_path / "g.fits", **cards)
    with pytest.raises(MosaicError, match=message) as caught:
        opened(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("cards", [{"RADESYS": "FK5", "EQUINOX": 2000.0}, {"EQUINOX": 2000.0}, {}])
def test_icrs_and_fk5_are_read(tmp_path, cards):
    path = write(tmp_path / "g.fits", CDELT1=-0.2 / 3600, CDELT2=0.2015 / 3600, **cards)
    assert opened(path).shape == SHAPE


@pytest.mark.parametrize(
    ("plane", "cards", "message"),
    [
        (np.full(SHAPE, 256, np.int32), {}, "256"),
        (np.full(SHAPE, -1, np.int16), {}, "-1"),
        (np.zeros(SHAPE, np.float32), {}, "float"),
        (np.zeros(SHAPE, np.int32), {"MP_BAD": 0, "MP_SAT": 1}, "MP_BAD"),
        (np.zeros(SHAPE, np.uint8), {"MP_EDGE": 4}, "MP_EDGE"),
    ],
)
def test_a_foreign_mask_is_refused(tmp_path, plane, cards, message):
    path = write(tmp_path / "g.fits", plane=plane, plane_cards=cards)
    with pytest.raises(MosaicError, match=f"{message}.*mask bits"):
        opened(path, mask_hdu="MASK").read(WHOLE)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32])
def test_a_mask_of_any_integers_that_fit_is_read(tmp_path, dtype):
    plane = np.arange(SHAPE[0] * SHAPE[1]).reshape(SHAPE) % 256
    path = write(tmp_path / "g.fits", plane=plane.astype(dtype))
    np.testing.assert_array_equal(opened(path, mask_hdu="MASK").read(WHOLE).mask, plane)


@pytest.mark.parametrize("box", [WHOLE, Box(3, 9, 0, 40), Box(3, 9, 5, 11)])
def test_scaled_integers_with_blanks_are_read(tmp_path, box):
    """As many surveys store them; whole and by window."""
    image = np.arange(SHAPE[0] * SHAPE[1], dtype=np.int16).reshape(SHAPE)
    path = write(tmp_path / "g.fits", image)
    with fits.open(path, mode="update", do_not_scale_image_data=True) as hdus:
        hdus[0].header.update({"BSCALE": 0.5, "BZERO": 3.0, "BLANK": 250})
    window = opened(path).read(box)
    expected = np.where(image == 250, np.nan, image * 0.5 + 3)[box.slices]
    np.testing.assert_array_equal(window.flux, expected.astype(np.float32))
    np.testing.assert_array_equal(window.mask, np.isnan(expected))


@pytest.mark.parametrize(
    "keys",
    [
        {"zero_point": float("nan")},
        {"zero_point": float("inf")},
        {"psf_fwhm_arcsec": 0.0},
        {"psf_fwhm_arcsec": -1.0},
        {"psf_fwhm_arcsec": float("nan")},
        {"band": "a/b"},
        {"band": ""},
        {"band": ".."},
        {"band": "g\n"},
    ],
)
def test_settings_of_an_input_that_are_no_settings(keys):
    with pytest.raises(ValidationError):
        MosaicInput(**({"path": "g.fits", "band": "g"} | keys))


@pytest.mark.parametrize("scale", [0, -0.2, float("nan"), float("inf"), "coarse"])
def test_a_scale_that_is_no_scale(scale):
    with pytest.raises(ValidationError, match="scale_arcsec"):
        MosaicSettings(store="m.zarr", scale_arcsec=scale)


def test_band_names_are_parts_of_paths():
    with pytest.raises(MosaicError, match="'a/b'"):
        BandInfo("a/b", "nJy")


NOISE = np.linspace(0.5, 2.0, SHAPE[0] * SHAPE[1]).reshape(SHAPE)
"""Standard deviation in counts."""


@pytest.mark.parametrize(
    ("kind", "plane"), [("variance", NOISE**2), ("rms", NOISE), ("weight", NOISE**-2)]
)
@pytest.mark.parametrize("zero_point", [31.4, 27.0])
def test_the_three_ways_to_say_the_noise_agree(tmp_path, kind, plane, zero_point):
    path = write(tmp_path / "g.fits", plane=plane.astype(np.float32), MAGZERO=zero_point)
    exposure = opened(path, **{f"{kind}_hdu": "MASK"})
    assert exposure.band.has_variance
    box = Box(3, 9, 5, 11)
    njy_per_count = 1.0 if zero_point == 31.4 else 57.544  # 1 count of zero point 27 in nJy
    expected = (NOISE[box.slices] * njy_per_count) ** 2
    variance = exposure.read(box).variance
    assert variance.dtype == np.float32
    np.testing.assert_allclose(variance, expected, rtol=3e-5)
    np.testing.assert_allclose(exposure.read(box).flux, njy_per_count, rtol=1e-5)


@pytest.mark.parametrize("kind", ["variance", "rms", "weight"])
def test_noise_that_is_not_known(tmp_path, kind):
    """A weight of nothing is no data, nor is an endless rms; others are only not known."""
    image = np.ones(SHAPE, np.float32)
    image[1, 1] = np.nan
    plane = np.ones(SHAPE, np.float32)
    odd = [(3, 4), (5, 6), (7, 8)]
    plane[3, 4], plane[5, 6], plane[7, 8], plane[9, 9] = 0, -1, np.nan, np.inf
    window = opened(write(tmp_path / "g.fits", image, plane), **{f"{kind}_hdu": 1}).read(WHOLE)
    unknown = np.argwhere(np.isnan(window.variance)).tolist()
    assert unknown == [[1, 1], *map(list, odd), [9, 9]]
    empty = {"weight": [*map(list, odd)], "rms": [[9, 9]], "variance": []}[kind]
    assert np.argwhere(np.isnan(window.flux)).tolist() == [[1, 1], *empty]
    np.testing.assert_array_equal(window.mask, np.isnan(window.flux))


def test_an_rms_that_no_observation_has_is_no_data(tmp_path):
    """So Euclid's tiles and others fill it where nothing was observed."""
    plane = np.full(SHAPE, 9e14, np.float32)
    plane[2, 3], plane[4, 5], plane[6, 7] = 1e15, 1e16, 3e38
    window = opened(write(tmp_path / "g.fits", plane=plane), rms_hdu=1).read(WHOLE)
    empty = [[2, 3], [4, 5], [6, 7]]
    assert np.argwhere(np.isnan(window.flux)).tolist() == empty
    assert np.argwhere(np.isnan(window.variance)).tolist() == empty
    assert np.argwhere(window.mask == MaskBit.NO_DATA).tolist() == empty


@pytest.mark.parametrize(
    ("kind", "value"), [("variance", 1e35), ("rms", 9e14), ("weight", 1e-35), ("weight", 1e-40)]
)
def test_a_variance_beyond_our_numbers_is_not_known(tmp_path, kind, value):
    """In nJy it would be infinite; in counts it is not."""
    path = write(tmp_path / "g.fits", plane=np.full(SHAPE, value), MAGZERO=18.9)
    window = opened(path, **{f"{kind}_hdu": 1}).read(WHOLE)
    assert np.isnan(window.variance).all()
    assert np.isfinite(window.flux).all()
    assert not window.mask.any()


def test_noise_is_given_once():
    with pytest.raises(ValidationError, match="band g has rms_hdu and weight_hdu; give one"):
        MosaicInput(path="g.fits", band="g", rms_hdu=1, weight_hdu=0)


@pytest.mark.parametrize(
    ("unit", "njy"),
    [
        ("nJy", 1.0),
        ("uJy", 1e3),
        ("microJy", 1e3),
        ("mJy", 1e6),
        ("Jy", 1e9),
        ("1e-9 Jy", 1.0),
        ("nanomaggy", 3631.0),
        ("nanomaggies", 3631.0),
        ("erg s-1 cm-2 Hz-1", 1e32),
    ],
)
def test_a_unit_of_flux_needs_no_zero_point(tmp_path, unit, njy):
    """1 Jy is 1e-23 erg / (s cm2 Hz), a maggy 3631 Jy; whatever else the header says."""
    path = write(tmp_path / "g.fits", BUNIT=unit, MAGZERO=20.0)
    window = opened(path, zero_point=21.0).read(WHOLE)
    np.testing.assert_allclose(window.flux, njy, rtol=2e-4)


@pytest.mark.parametrize("unit", ["", "adu", "ADU/s", "electron", "ELECTRONS/S", "counts", "e-/s"])
def test_counts_need_a_zero_point(tmp_path, unit):
    path = write(tmp_path / "g.fits", BUNIT=unit, MAGZERO=28.9)
    np.testing.assert_allclose(opened(path).read(WHOLE).flux, 10.0, rtol=1e-6)
    with pytest.raises(MosaicError, match=r"no zero point.*MYZERO.*zero_point"):
        opened(path, zero_point_keyword="MYZERO")
    own = opened(path, zero_point_keyword="MYZERO", zero_point=26.4)
    np.testing.assert_allclose(own.read(WHOLE).flux, 100.0, rtol=1e-6)


@pytest.mark.parametrize("unit", ["MJy/sr", "erg/s", "mag", "nJy/arcsec2", "Jy/beam", "K"])
def test_a_unit_that_is_no_flux_of_a_pixel_is_refused(tmp_path, unit):
    """Also if there is a zero point: it cannot be meant for such numbers."""
    path = write(tmp_path / "g.fits", BUNIT=unit)
    with pytest.raises(MosaicError, match=f"BUNIT = '{unit}'.*display"):
        opened(path, zero_point=27.0)
    assert opened(path, unit="display").read(WHOLE).flux[0, 0] == 1.0


def test_a_unit_that_nobody_knows_needs_a_declared_zero_point(tmp_path):
    path = write(tmp_path / "g.fits", BUNIT="ADUperSecond", MYZERO=28.9)
    with pytest.raises(MosaicError, match=r"ADUperSecond.*zero_point"):
        opened(path)
    exposure = opened(path, zero_point_keyword="MYZERO")
    np.testing.assert_allclose(exposure.read(WHOLE).flux, 10.0, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["u1", ">i2", ">i4", ">i8", ">f4", ">f8"])
def test_images_of_every_number_type(tmp_path, dtype):
    image = (np.arange(SHAPE[0] * SHAPE[1]).reshape(SHAPE) % 200).astype(dtype)
    flux = opened(write(tmp_path / "g.fits", image)).read(Box(3, 9, 5, 11)).flux
    assert flux.dtype == np.dtype("=f4")
    np.testing.assert_array_equal(flux, image[3:9, 5:11])


def test_a_number_too_large_for_us_is_no_data(tmp_path):
    image = np.ones(SHAPE)
    image[2, 3] = 1e300
    window = opened(write(tmp_path / "g.fits", image)).read(WHOLE)
    assert np.argwhere(window.mask == MaskBit.NO_DATA).tolist() == [[2, 3]]


def many_hdus(path):
    """An empty primary HDU, two images of one name, another, a table and a cube."""
    header = tan_wcs().to_header()
    header["MAGZERO"] = 31.4
    images = [np.full(SHAPE, value, np.float32) for value in (1, 2, 3)]
    hdus = [fits.PrimaryHDU()]
    hdus += [fits.ImageHDU(image, header, name="SCI") for image in images[:2]]
    hdus += [fits.ImageHDU(images[2], header)]
    hdus[-1].header["EXTNAME"] = "Other"  # a name that is given to the HDU becomes upper case
    hdus += [fits.BinTableHDU.from_columns([fits.Column("a", "E", array=[1.0])], name="TABLE")]
    hdus += [fits.ImageHDU(np.ones((1, *SHAPE), np.float32), header, name="CUBE")]
    fits.HDUList(hdus).writeto(path)
    return path


@pytest.mark.parametrize(("hdu", "value"), [(1, 1), (2, 2), ("other", 3), ("OTHER", 3), (3, 3)])
def test_an_hdu_by_name_or_number(tmp_path, hdu, value):
    path = many_hdus(tmp_path / "g.fits")
    assert opened(path, hdu=hdu).read(WHOLE).flux[0, 0] == value


@pytest.mark.parametrize(
    ("hdu", "message"),
    [
        ("SCI", "2 HDUs 'SCI'; give a number: .*1:SCI, 2:SCI"),
        ("ERR", "no HDU 'ERR'; it has 0:PRIMARY, 1:SCI"),
        (6, "no HDU 6"),
        (-1, "no HDU -1"),
        (0, "HDU 0 of .* no pixels"),
        ("TABLE", "'TABLE' of .* no pixels"),
        ("CUBE", "'CUBE' of .* 1 x 30 x 40 pixels"),
        (None, "several images of the sky .1:SCI, 2:SCI, 3:Other, 5:CUBE"),
    ],
)
def test_an_hdu_that_is_no_image(tmp_path, hdu, message):
    with pytest.raises(MosaicError, match=message):
        opened(many_hdus(tmp_path / "g.fits"), hdu=hdu)


def test_a_cube_is_not_passed_over_for_a_later_image(tmp_path):
    """That may be its mask."""
    hdus = [fits.PrimaryHDU(np.ones((1, *SHAPE), np.float32)), fits.ImageHDU(np.zeros(SHAPE))]
    fits.HDUList(hdus).writeto(tmp_path / "g.fits")
    with pytest.raises(MosaicError, match=r"HDU 0 of .* is no two-dimensional image"):
        opened(tmp_path / "g.fits")


def test_a_file_without_pixels(tmp_path):
    fits.HDUList([fits.PrimaryHDU()]).writeto(tmp_path / "g.fits")
    with pytest.raises(MosaicError, match="holds no two-dimensional image"):
        opened(tmp_path / "g.fits")


@pytest.mark.parametrize(
    "key", ["coverage_hdu", "mask_hdu", "variance_hdu", "rms_hdu", "weight_hdu"]
)
def test_a_plane_of_another_shape_is_refused(tmp_path, key):
    path = write(tmp_path / "g.fits", plane=np.zeros((30, 41), np.uint8))
    with pytest.raises(MosaicError, match=r"shape \(30, 41\), its image \(30, 40\)"):
        opened(path, **{key: "MASK"})


def test_the_identity_knows_every_plane(tmp_path):
    path = write(tmp_path / "g.fits", plane=np.ones(SHAPE, np.uint8))
    keys = ("coverage_hdu", "mask_hdu", "variance_hdu", "rms_hdu", "weight_hdu")
    exposures = [opened(path), *(opened(path, **{key: 1}) for key in keys)]
    assert len({exposure.identity for exposure in exposures}) == len(exposures)
    assert opened(path).identity == opened(path).identity


def test_the_identity_knows_every_header(tmp_path):
    """Also where no piece of a large file is sampled: a new WCS or checksum in place."""
    path, size = tmp_path / "g.fits", 1500
    header = tan_wcs().to_header()
    ra = header["CRVAL1"]

    def identity(ra, flaw):
        plane = np.zeros((size, size), np.uint8)
        plane[500, 500] = flaw
        header.update({"MAGZERO": 31.4, "CRVAL1": ra})
        image = fits.ImageHDU(np.ones((size, size), np.float32), header)
        between = fits.ImageHDU(np.zeros((size, size), np.float32))
        hdus = [fits.PrimaryHDU(), between, image, fits.ImageHDU(plane), between.copy()]
        hdus[3].add_datasum(when="now")  # else the header says when, to the second
        fits.HDUList(hdus).writeto(path, overwrite=True)
        return opened(path, hdu=2, mask_hdu=3).identity

    assert identity(ra, 0) == identity(ra, 0)
    assert len({identity(ra, 0), identity(ra + 5 / 3600, 0), identity(ra, 1)}) == 3


def test_the_identity_does_not_know_the_seeing(tmp_path):
    """It changes no pixel."""
    path = write(tmp_path / "g.fits")
    sharp, unknown = opened(path, psf_fwhm_arcsec=0.7), opened(path)
    assert (sharp.band.psf_fwhm_arcsec, unknown.band.psf_fwhm_arcsec) == (0.7, None)
    assert sharp.identity == unknown.identity


def test_images_of_one_name_are_not_one_piece(tmp_path):
    assert opened(write(tmp_path / "g.fits")).slot == ""


def test_an_exposure_can_be_pickled(tmp_path):
    path = write(tmp_path / "g.fits", plane=np.ones(SHAPE, np.float32))
    exposure = opened(path, rms_hdu=1)
    again = pickle.loads(pickle.dumps(exposure))  # noqa: S301 - our own
    assert again.identity == exposure.identity
    np.testing.assert_array_equal(again.read(WHOLE).variance, exposure.read(WHOLE).variance)
    np.testing.assert_array_equal(again.wcs.wcs.crval, exposure.wcs.wcs.crval)


def test_among_several_images_of_the_sky_none_is_chosen_silently(tmp_path):
    """Each band of a stamp is an HDU of its own; the first is not what was asked for."""
    header = tan_wcs().to_header(relax=True)
    planes = [fits.ImageHDU(np.full((20, 20), i, np.float32), header, name=n)
              for i, n in enumerate(("DES_G", "VIS"))]  # fmt: skip
    fits.HDUList([fits.PrimaryHDU(), *planes]).writeto(tmp_path / "stamp.fits")
    entry = {"path": "stamp.fits", "band": "VIS", "zero_point": 24.6}
    with pytest.raises(MosaicError, match=r"several images of the sky \(1:DES_G, 2:VIS\); say"):
        open_fits(MosaicInput(**entry), tmp_path / "stamp.fits")
    exposure = open_fits(MosaicInput(**entry, hdu="VIS"), tmp_path / "stamp.fits")
    assert (exposure.read(Box(0, 20, 0, 20)).flux > 0).all()
    alone = open_fits(MosaicInput(**entry, rms_hdu="VIS"), tmp_path / "stamp.fits")
    assert (alone.read(Box(0, 20, 0, 20)).flux == 0).all()
