"""The FITS reader: what it refuses, and what its masks say."""

import numpy as np
import pytest
from astropy.io import fits
from pydantic import ValidationError

from survey_classifier.errors import MosaicError
from survey_classifier.geometry import Box
from survey_classifier.mosaic.exposure import MosaicInput
from survey_classifier.mosaic.ingest import MosaicSettings
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
    flux, mask = opened(path, coverage_hdu="MASK").read(WHOLE)
    holes = [(3, 4), (5, 6), (7, 8)]
    assert sorted(zip(*np.nonzero(np.isnan(flux)), strict=True)) == holes
    assert sorted(zip(*np.nonzero(mask == MaskBit.NO_DATA), strict=True)) == holes


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
    _, mask = opened(path, mask_hdu="MASK").read(WHOLE)
    np.testing.assert_array_equal(mask, plane)


@pytest.mark.parametrize("box", [WHOLE, Box(3, 9, 0, 40), Box(3, 9, 5, 11)])
def test_scaled_integers_with_blanks_are_read(tmp_path, box):
    """As many surveys store them; whole and by window."""
    image = np.arange(SHAPE[0] * SHAPE[1], dtype=np.int16).reshape(SHAPE)
    path = write(tmp_path / "g.fits", image)
    with fits.open(path, mode="update", do_not_scale_image_data=True) as hdus:
        hdus[0].header.update({"BSCALE": 0.5, "BZERO": 3.0, "BLANK": 250})
    flux, mask = opened(path).read(box)
    expected = np.where(image == 250, np.nan, image * 0.5 + 3)[box.slices]
    np.testing.assert_array_equal(flux, expected.astype(np.float32))
    np.testing.assert_array_equal(mask, np.isnan(expected))


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


@pytest.mark.parametrize("store", ["s3://bucket/m.zarr", "https://host/m.zarr"])
def test_a_store_elsewhere_is_refused(store):
    with pytest.raises(ValidationError, match="stores are local folders in this version"):
        MosaicSettings(store=store)


def test_band_names_are_parts_of_paths():
    with pytest.raises(MosaicError, match="'a/b'"):
        BandInfo("a/b", "nJy")
