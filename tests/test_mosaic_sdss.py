"""The SDSS reader: frames as the survey writes them, and their noise."""

import bz2
import pickle

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from survey_classifier.errors import MosaicError
from survey_classifier.geometry import Box
from survey_classifier.mosaic.exposure import MosaicInput
from survey_classifier.mosaic.readers import READERS
from survey_classifier.mosaic.readers.sdss import dark_variance, gain

SHAPE = (149, 205)
WHOLE = Box(0, 149, 0, 205)
NAME = "frame-r-006073-4-0063.fits"
NJY_PER_NANOMAGGY = 10 ** (0.4 * (31.4 - 22.5))


def opened(path, **keys):
    return READERS["sdss"](MosaicInput(reader="sdss", path=path.name, band="r", **keys), path)


def frame_header():
    """As in frames near the equator: rows along right ascension, columns along declination."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = [49.95, 41.51], [103.0, 75.0]
    angle = np.radians(86.0)
    wcs.wcs.cd = (
        0.396 / 3600 * np.array([[-np.cos(angle), np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    )
    header = wcs.to_header()
    header.update({"BUNIT": "nanomaggy", "FILTER": "r", "RUN": 6073, "CAMCOL": 4, "NMGY": 0.005})
    return header


class Frame:
    """A frame made forward from electrons, so that its noise is known."""

    def __init__(self, seed=1, filter_name="r", camcol=4, run=6073):
        rng = np.random.default_rng(seed)
        self.calibration = (0.005 * rng.uniform(0.95, 1.05, SHAPE[1])).astype(np.float32)
        self.coarse = rng.uniform(120, 130, (20, 26)).astype(np.float32)
        # The map's points are the centers of squares of 8 pixels: the frame's rim is beyond them.
        self.x = ((np.arange(SHAPE[1]) + 0.5) / 8 - 0.5).astype(np.float32)
        self.y = ((np.arange(SHAPE[0]) + 0.5) / 8 - 0.5).astype(np.float32)
        self.sky = bilinear(self.coarse, self.y, self.x)
        self.source = np.zeros(SHAPE)
        self.source[60:80, 90:110] = 900.0
        self.gain, self.dark = (
            gain(filter_name, camcol, run),
            dark_variance(filter_name, camcol, run),
        )
        electrons = rng.poisson((self.sky + self.source) * self.gain)
        counts = electrons / self.gain + rng.normal(0, np.sqrt(self.dark), SHAPE)
        self.image = ((counts - self.sky) * self.calibration).astype(np.float32)

    def hdus(self):
        columns = [
            fits.Column("ALLSKY", f"{self.coarse.size}E", dim=str(self.coarse.shape[::-1])),
            fits.Column("XINTERP", f"{SHAPE[1]}E"),
            fits.Column("YINTERP", f"{SHAPE[0]}E"),
        ]
        table = fits.BinTableHDU.from_columns(columns, nrows=1)
        for name, array in (("ALLSKY", self.coarse), ("XINTERP", self.x), ("YINTERP", self.y)):
            table.data[name][0] = array
        primary = fits.PrimaryHDU(self.image, frame_header())
        return fits.HDUList([primary, fits.ImageHDU(self.calibration), table])

    def write(self, path, keep=3):
        fits.HDUList(self.hdus()[:keep]).writeto(path)
        return path


def bilinear(coarse, rows, columns):
    """Interpolate point by point; beyond the outermost points the value of the nearest."""
    out = np.empty((len(rows), len(columns)))
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            y, x = (
                min(max(float(at), 0), n - 1)
                for at, n in zip((row, column), coarse.shape, strict=True)
            )
            y0, x0 = min(int(y), coarse.shape[0] - 2), min(int(x), coarse.shape[1] - 2)
            square = coarse[y0 : y0 + 2, x0 : x0 + 2].astype(float)
            weights = np.outer([1 - (y - y0), y - y0], [1 - (x - x0), x - x0])
            out[i, j] = (square * weights).sum()
    return out


@pytest.fixture(scope="module")
def frame():
    return Frame()


@pytest.mark.parametrize("packed", [False, True])
def test_a_frame_is_in_nanojansky(tmp_path, frame, packed):
    path = frame.write(tmp_path / NAME)
    if packed:
        path = tmp_path / f"{NAME}.bz2"
        path.write_bytes(bz2.compress((tmp_path / NAME).read_bytes()))
        (tmp_path / NAME).unlink()
    exposure = opened(path)
    window = exposure.read(WHOLE)
    np.testing.assert_allclose(window.flux, frame.image * NJY_PER_NANOMAGGY, rtol=1e-6)
    assert not window.mask.any()
    assert exposure.slot == "6073-4-63"
    assert exposure.band.zero_point == 22.5
    assert exposure.band.has_variance
    assert exposure.files == (path,)
    assert (exposure.core, exposure.territory, exposure.survey_grid) == (None, None, None)
    # The first pixel of the file, by its header alone.
    ra, dec = exposure.wcs.pixel_to_world_values(0, 0)
    np.testing.assert_allclose([ra, dec], WCS(frame_header()).wcs_pix2world([[0, 0]], 0)[0])
    pickle.loads(pickle.dumps(exposure))  # noqa: S301 - our own


def test_the_variance_is_the_formula_of_the_product(tmp_path, frame):
    window = opened(frame.write(tmp_path / NAME)).read(WHOLE)
    counts = frame.image / frame.calibration + frame.sky
    sigma = np.sqrt(counts / frame.gain + frame.dark) * frame.calibration
    np.testing.assert_allclose(window.variance, (sigma * NJY_PER_NANOMAGGY) ** 2, rtol=1e-4)


def test_the_variance_is_that_of_the_noise(tmp_path, frame):
    """Against electrons drawn by hand: flux over its error has the scatter 1, source and sky."""
    window = opened(frame.write(tmp_path / NAME)).read(WHOLE)
    truth = frame.source * frame.calibration * NJY_PER_NANOMAGGY
    pull = (window.flux - truth) / np.sqrt(window.variance)
    bright = frame.source > 0
    assert pull[~bright].std() == pytest.approx(1, abs=0.02)  # 30 000 pixels
    assert pull[bright].std() == pytest.approx(1, abs=0.12)  # 400 pixels


def test_a_display_band_keeps_nanomaggies(tmp_path, frame):
    path = frame.write(tmp_path / NAME)
    plain, shown = opened(path).read(WHOLE), opened(path, unit="display").read(WHOLE)
    np.testing.assert_array_equal(shown.flux, frame.image)
    np.testing.assert_allclose(
        shown.variance * np.float32(NJY_PER_NANOMAGGY**2), plain.variance, rtol=1e-5
    )


@pytest.mark.parametrize("box", [Box(0, 1, 0, 1), Box(40, 99, 80, 205), Box(148, 149, 204, 205)])
def test_a_window_of_a_frame_is_a_cut_of_the_whole(tmp_path, frame, box):
    exposure = opened(frame.write(tmp_path / NAME))
    whole, part = exposure.read(WHOLE), exposure.read(box)
    for name in ("flux", "mask", "variance"):
        np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[box.slices])


def test_pixels_and_columns_without_calibration(tmp_path):
    frame = Frame()
    frame.image[5, 6], frame.calibration[7] = np.nan, 0
    window = opened(frame.write(tmp_path / NAME)).read(WHOLE)
    assert np.isnan(window.variance[5, 6])
    assert np.isnan(window.variance[:, 7]).all()
    assert np.isfinite(window.flux[:, 7]).all()
    assert np.isnan(window.variance).sum() == SHAPE[0] + 1
    # Far below the sky, which no electron could be: the noise of the read-out stays.
    frame.image[:] = -10.0
    (tmp_path / NAME).unlink()
    window = opened(frame.write(tmp_path / NAME)).read(WHOLE)
    expected = frame.dark * (frame.calibration[9] * NJY_PER_NANOMAGGY) ** 2
    assert window.variance[3, 9] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("keep", [1, 2])
def test_a_frame_without_sky_has_no_variance(tmp_path, frame, keep):
    exposure = opened(frame.write(tmp_path / NAME, keep))
    assert not exposure.band.has_variance
    assert exposure.read(WHOLE).variance is None


def test_a_calibration_of_another_size_is_refused(tmp_path):
    frame = Frame()
    frame.calibration = frame.calibration[:-1]
    with pytest.raises(MosaicError, match=r"calibration \(204,\).*\(149, 205\).*fetch it again"):
        opened(frame.write(tmp_path / NAME))


@pytest.mark.parametrize(
    ("name", "position", "value"),
    [("coarse", (1, 2), np.nan), ("y", 5, np.nan), ("x", 7, 1e6)],
)
def test_a_damaged_sky_is_refused(tmp_path, name, position, value):
    """A map in which nobody finds the way would make the interpolation fail, or lie."""
    frame = Frame()
    getattr(frame, name)[position] = value
    path = frame.write(tmp_path / NAME)
    with pytest.raises(MosaicError, match=r"damaged numbers in its sky.*fetch it again"):
        opened(path)


@pytest.mark.parametrize("keep", [1, 2])
def test_a_frame_that_lost_its_sky_after_it_was_described(tmp_path, frame, keep):
    exposure = opened(frame.write(tmp_path / NAME))
    fits.HDUList(frame.hdus()[:keep]).writeto(tmp_path / NAME, overwrite=True)
    with pytest.raises(MosaicError, match=f"{NAME} has lost calibration and sky.*fetch it again"):
        exposure.read(WHOLE)


def test_a_frame_whose_calibration_is_a_table(tmp_path, frame):
    image, calibration, sky = frame.hdus()
    calibration = fits.BinTableHDU.from_columns([fits.Column("x", "D", array=[1.0])])
    fits.HDUList([image, calibration, sky]).writeto(tmp_path / NAME)
    with pytest.raises(MosaicError, match=r"calibration None.*fetch it again"):
        opened(tmp_path / NAME)


@pytest.mark.parametrize("name", ["frame-r-6073-4-63.fits", "frame-y-006073-4-0063.fits", "r.fits"])
def test_a_frame_must_be_named_as_one(tmp_path, frame, name):
    with pytest.raises(MosaicError, match=r"no SDSS frame by its name.*name it so"):
        opened(frame.write(tmp_path / name))


@pytest.mark.parametrize("key", ["variance_hdu", "rms_hdu", "weight_hdu"])
def test_settings_that_a_frame_would_not_follow_are_refused(tmp_path, frame, key):
    with pytest.raises(MosaicError, match=f"{key} = 1.*computes the noise itself"):
        opened(frame.write(tmp_path / NAME), **{key: 1})


@pytest.mark.parametrize(
    ("name", "band", "by"),
    [(NAME, "g", "name"), (NAME.replace("-r-", "-i-"), "r", "name"),
     (NAME.replace("-r-", "-i-"), "i", "header")],
)  # fmt: skip
def test_a_frame_of_another_band_is_refused(tmp_path, frame, name, band, by):
    """Of name and header both count: the name decides which detector's noise is computed."""
    path = frame.write(tmp_path / name)
    settings = MosaicInput(reader="sdss", path=name, band=band)
    with pytest.raises(MosaicError, match=f"of the filter . by its {by}, not of band '{band}'"):
        READERS["sdss"](settings, path)
    if name == NAME:
        for own in ("r", "SDSS_r", "red"):
            named = settings.model_copy(update={"band": own})
            assert READERS["sdss"](named, path).band.name == own


def test_constants_of_the_camera():
    """Golden values of the data model's tables, on both sides of the runs where they change."""
    assert gain("r", 4, 6073) == 4.76
    assert (gain("u", 2, 1099), gain("u", 2, 1100)) == (1.595, 1.825)
    assert gain("z", 5, 94) == gain("z", 5, 8000) == 3.48
    assert dark_variance("g", 1, 6073) == 15.6025
    assert (dark_variance("z", 4, 1499), dark_variance("z", 4, 1500)) == (9.61, 12.6025)
    assert (dark_variance("i", 2, 1499), dark_variance("i", 2, 1500)) == (5.76, 6.25)
