"""Resampling: units, holes, bad pixels, and no seams between boxes."""

from dataclasses import dataclass

import numpy as np
import pytest
from astropy.wcs import WCS

from survey_classifier.geometry import Box
from survey_classifier.mosaic import regrid
from survey_classifier.mosaic.pixels import UNUSABLE, BandInfo, MaskBit
from survey_classifier.mosaic.regrid import read_onto
from tests.test_mosaic_sky import sip_wcs
from tests.test_stamps import tan_wcs


@dataclass
class Image:
    """An exposure in memory."""

    flux: np.ndarray
    mask: np.ndarray
    wcs: WCS
    band: BandInfo
    identity = "image"

    @property
    def shape(self):
        return self.flux.shape

    def read(self, box):
        return self.flux[box.slices].copy(), self.mask[box.slices].copy()


def image(flux, scale=0.2, unit="nJy", mask=None, angle_deg=0.0):
    wcs = tan_wcs(scale, crpix=(flux.shape[1] / 2 + 0.5, flux.shape[0] / 2 + 0.5))
    angle = np.radians(angle_deg)
    wcs.wcs.pc = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    mask = np.zeros(flux.shape, np.uint8) if mask is None else mask
    flux = flux.astype(np.float32)
    mask = mask | np.where(np.isnan(flux), np.uint8(1), np.uint8(0))
    return Image(flux, mask, wcs, BandInfo("g", unit))


def target(scale, shape):
    return tan_wcs(scale, crpix=(shape[1] / 2 + 0.5, shape[0] / 2 + 0.5))


@pytest.mark.parametrize("scale", [0.1, 0.2, 0.4, 0.8])
@pytest.mark.parametrize("unit", ["nJy", "display"])
def test_a_constant_keeps_its_unit(scale, unit):
    """Flux per pixel grows with the pixel's area; a display value does not."""
    exposure = image(np.full((120, 120), 100.0), 0.2, unit, angle_deg=10)
    flux, mask = read_onto(exposure, target(scale, (10, 10)), Box(0, 10, 0, 10))
    expected = 100.0 * (scale / 0.2) ** 2 if unit == "nJy" else 100.0
    np.testing.assert_allclose(flux, expected, rtol=1e-3)
    assert not mask.any()


@pytest.mark.parametrize("ratio", [0.5, 1, 3, 4, 8])
@pytest.mark.parametrize("angle_deg", [0.0, 33.0])
def test_two_halves_are_one_box(ratio, angle_deg):
    rng = np.random.default_rng(4)
    n = int(60 * ratio)
    flux = rng.normal(size=(n, n)) + 5
    flux[n // 4 : n // 2, n // 3 : n // 2] = np.nan
    mask = rng.choice(np.array([0] * 50 + [2, 8], np.uint8), size=(n, n))
    exposure = image(flux, 0.2, mask=mask, angle_deg=angle_deg)
    shape = (44, 50)
    wcs = target(0.2 * ratio * 1.01, shape)
    whole = read_onto(exposure, wcs, Box(0, 44, 0, 50))
    for cut in (7, 25):
        parts = [read_onto(exposure, wcs, Box(0, 44, a, b)) for a, b in ((0, cut), (cut, 50))]
        for one, left, right in zip(whole, *parts, strict=True):
            np.testing.assert_allclose(np.hstack([left, right]), one, rtol=1e-6)


@pytest.mark.parametrize("ratio", [1, 4, 8])
def test_aligned_grids_have_no_seam(ratio):
    """Edges of pixels coincide: the kernel's rim falls on pixel edges of the image."""
    flux = np.random.default_rng(4).normal(size=(64 * ratio, 64 * ratio)) + 5
    exposure, wcs = image(flux, 0.2), target(0.2 * ratio, (64, 64))
    whole, _ = read_onto(exposure, wcs, Box(0, 64, 0, 64))
    left, _ = read_onto(exposure, wcs, Box(0, 64, 0, 31))
    right, _ = read_onto(exposure, wcs, Box(0, 64, 31, 64))
    np.testing.assert_allclose(np.hstack([left, right]), whole, rtol=1e-6)


def test_a_box_is_resampled_in_pieces_that_fit_the_memory(monkeypatch):
    exposure = image(np.random.default_rng(1).normal(size=(400, 300)) + 3, 0.2)
    wcs = target(0.33, (250, 200))
    whole = read_onto(exposure, wcs, Box(0, 250, 0, 200))
    windows = []
    original = Image.read
    monkeypatch.setattr(Image, "read", lambda self, box: windows.append(box) or original(self, box))
    monkeypatch.setattr(regrid, "RESAMPLING_BYTES", 2_000_000)
    pieces = read_onto(exposure, wcs, Box(0, 250, 0, 200))
    assert len(windows) > 4
    for one, other in zip(whole, pieces, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


@pytest.mark.parametrize("ratio", [0.5, 1.0, 1.1])
def test_a_hole_keeps_its_size(ratio):
    """It may lose or gain no more than the rounding to the nearest pixel at its rim."""
    flux = np.ones((200, 200))
    flux[60:140, 60:140] = np.nan
    wcs = target(0.2 * ratio, (400, 400))
    out, mask = read_onto(image(flux, angle_deg=15), wcs, Box(0, 400, 0, 400))
    y, x = np.indices(out.shape)
    x_in, y_in = image(flux, angle_deg=15).wcs.all_world2pix(*wcs.all_pix2world(x, y, 0), 0)
    half = 40 * 1.0
    center = 99.5
    far = np.maximum(np.abs(x_in - center), np.abs(y_in - center))
    assert np.isnan(out[far < half - 0.001]).all()
    ring = (far > half + 0.001) & (far < 99)
    assert np.isfinite(out[ring]).all()
    np.testing.assert_allclose(out[ring], ratio**2, rtol=2e-3)
    np.testing.assert_array_equal((mask & MaskBit.NO_DATA) != 0, np.isnan(out))


@pytest.mark.parametrize("bit", [MaskBit.SATURATED, MaskBit.BAD, MaskBit.EDGE])
@pytest.mark.parametrize("ratio", [0.7, 1.0, 2.0])
def test_bad_values_do_not_spread(bit, ratio):
    flux, mask = np.ones((100, 100)), np.zeros((100, 100), np.uint8)
    flux[45:51, 30:70], mask[45:51, 30:70] = 1e6, bit
    out, bits = read_onto(
        image(flux, mask=mask, angle_deg=7), target(0.2 * ratio, (40, 40)), Box(0, 40, 0, 40)
    )
    good = (bits & np.uint8(UNUSABLE)) == 0
    np.testing.assert_array_equal(np.isfinite(out), good)
    np.testing.assert_allclose(out[good], ratio**2, rtol=2e-3)
    assert ((bits & bit) != 0).any()
    assert ((bits & MaskBit.NO_DATA) != 0)[~good].all()


def test_a_thin_trail_is_not_lost_on_a_coarser_grid():
    """One saturated row in eight: nearest pixels would miss most of it."""
    flux, mask = np.ones((320, 320)), np.zeros((320, 320), np.uint8)
    mask[163] = MaskBit.SATURATED
    mask[100, 101] = MaskBit.COSMIC_RAY
    out, bits = read_onto(image(flux, mask=mask), target(1.6, (40, 40)), Box(0, 40, 0, 40))
    assert np.isfinite(out[2:-2, 2:-2]).all()
    assert ((bits[20] & MaskBit.SUSPECT) != 0).all()
    assert (bits & MaskBit.COSMIC_RAY).any()


def test_a_small_distorted_exposure_in_a_large_box_is_found():
    """Far from the image its distortion cannot be inverted; what the image covers still fills."""
    wcs = sip_wcs()
    shape = (1000, 1000)
    exposure = Image(
        np.ones(shape, np.float32), np.zeros(shape, np.uint8), wcs, BandInfo("g", "display")
    )
    grid = tan_wcs(8.0, crpix=(1024, 1024))
    flux, _ = read_onto(exposure, grid, Box(0, 2048, 0, 2048))
    assert np.isfinite(flux).sum() == pytest.approx(25**2, rel=0.15)
    np.testing.assert_allclose(flux[np.isfinite(flux)], 1.0, rtol=1e-3)


def test_an_exposure_elsewhere_fills_nothing():
    flux, mask = read_onto(image(np.ones((50, 50))), tan_wcs(0.4, (5000, 9)), Box(0, 20, 0, 30))
    assert np.isnan(flux).all()
    assert (mask == MaskBit.NO_DATA).all()
