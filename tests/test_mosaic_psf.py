"""One seeing for all bands: equal stars, flux kept, honest masks and variances, no seams."""

import pickle
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from survey_classifier.errors import MosaicError
from survey_classifier.geometry import Box
from survey_classifier.mosaic.exposure import Window
from survey_classifier.mosaic.pixels import UNUSABLE, MaskBit
from survey_classifier.mosaic.psf import MatchedExposure, match_psf, matching_kernel
from survey_classifier.mosaic.regrid import fwhm_on, read_onto
from survey_classifier.mosaic.sky import SkyGrid
from tests.array_exposure import ArrayExposure, plane_wcs
from tests.test_mosaic_regrid import moments, star


def image(flux, fwhm=0.6, scale=0.2, band="g", **more):
    wcs = plane_wcs(scale, (flux.shape[1] / 2 + 0.5, flux.shape[0] / 2 + 0.5))
    return ArrayExposure(
        f"{band}.fits", flux.astype(np.float32), wcs, band, psf_fwhm_arcsec=fwhm, **more
    )


def whole(exposure):
    return Box(0, exposure.shape[0], 0, exposure.shape[1])


@given(st.floats(0.01, 12))
def test_the_kernel_is_as_wide_as_asked(sigma_px):
    kernel = matching_kernel(sigma_px)
    n = np.arange(len(kernel)) - len(kernel) // 2
    assert kernel.sum() == pytest.approx(1.0, rel=1e-12)
    assert (kernel * n**2).sum() == pytest.approx(sigma_px**2, rel=1e-4)
    np.testing.assert_array_equal(kernel, kernel[::-1])
    if sigma_px > 3:
        gauss = np.exp(-0.5 * (n / sigma_px) ** 2)
        np.testing.assert_allclose(kernel, gauss / gauss.sum(), atol=0.02 * kernel.max())


@pytest.mark.parametrize("offset", [(0.0, 0.0), (0.5, 0.5), (-0.3, 0.2)])
def test_stars_of_all_bands_become_equal(offset):
    """VIS, HSC and NISP on the grid of VIS, their own pixels and resampling included."""
    grid = plane_wcs(0.1, (200.5, 200.5))
    exposures = []
    for band, scale, fwhm, n in (
        ("VIS", 0.1, 0.25, 401), ("r", 0.168, 0.54, 239), ("g", 0.168, 0.7, 239),
        ("H", 0.3, 0.48, 135),
    ):  # fmt: skip
        center = (n - 1) / 2
        flux = star((n, n), center + offset[0], center + offset[1], fwhm / 2.3548 / scale)
        seen = 2.3548 * scale * np.sqrt(moments(flux)[2])
        exposures.append(image(1000 * flux, seen, scale, band))
    exposures[0].wcs = grid
    matched = match_psf(exposures, grid)
    seeing = [fwhm_on(exposure, grid) for exposure in exposures]
    assert matched[int(np.argmax(seeing))] is exposures[int(np.argmax(seeing))]
    for exposure in matched:
        pixels = (
            exposure.read(whole(exposure))
            if exposure.band.name == "VIS"
            else read_onto(exposure, grid, Box(0, 401, 0, 401))
        )
        flux, _, spread = moments(pixels.flux)
        assert flux == pytest.approx(1000.0, rel=1e-3)
        assert 0.1 * 2.3548 * np.sqrt(spread) == pytest.approx(max(seeing), rel=0.01)
        assert fwhm_on(exposure, grid) == pytest.approx(max(seeing), rel=1e-6)


def test_the_band_says_its_new_seeing():
    sharp, soft = image(np.ones((30, 30)), 0.6), image(np.ones((30, 30)), 0.8, band="r")
    first, second = match_psf([sharp, soft], sharp.wcs)
    assert second is soft
    assert first.band.psf_fwhm_arcsec == pytest.approx(0.8)
    assert first.band.name == "g"
    assert first.shape == sharp.shape
    assert first.files == sharp.files
    assert first.identity.startswith(sharp.identity)
    other, _ = match_psf([sharp, image(np.ones((30, 30)), 0.9)], sharp.wcs)
    assert len({sharp.identity, first.identity, other.identity}) == 3


def test_the_identity_knows_how_much_an_image_is_blurred():
    """Images do not say their own seeing, which changes no pixel of theirs."""
    pixels = np.ones((30, 30))
    matched = [MatchedExposure(image(pixels, own), 0.9) for own in (0.6, 0.7)]
    assert matched[0].image.identity == matched[1].image.identity
    assert matched[0].identity != matched[1].identity


def test_a_band_of_unknown_seeing_cannot_be_matched():
    exposures = [image(np.ones((9, 9)), 0.6), image(np.ones((9, 9)), None, band="z")]
    with pytest.raises(MosaicError, match=r"band z is not known from z\.fits.*psf_fwhm_arcsec"):
        match_psf(exposures, exposures[0].wcs)


def messy(shape=(80, 90)):
    rng = np.random.default_rng(4)
    flux = rng.normal(size=shape) + 5
    flux[20:30, 40:60] = np.nan
    mask = rng.choice(np.array([0] * 80 + [2, 8, 64], np.uint8), size=flux.shape)
    variance = rng.uniform(1, 2, flux.shape).astype(np.float32)
    variance[rng.random(flux.shape) < 0.05] = np.nan
    variance[np.isnan(flux)] = np.nan
    return image(flux, mask=mask, variance=variance)


@pytest.mark.parametrize("fwhm", [0.61, 0.8, 1.5])
def test_any_window_is_that_of_the_whole(fwhm):
    exposure = MatchedExposure(messy(), fwhm)
    everything = exposure.read(whole(exposure))
    for box in (Box(0, 80, 0, 7), Box(0, 80, 7, 90), Box(13, 14, 20, 31), Box(70, 80, 80, 90)):
        part = exposure.read(box)
        for name in ("flux", "mask", "variance"):
            np.testing.assert_array_equal(
                getattr(part, name), getattr(everything, name)[box.slices]
            )


@pytest.mark.parametrize("fwhm", [0.8, 1.6])
def test_strips_leave_no_seams_and_take_little_memory(fwhm, monkeypatch):
    matched = MatchedExposure(messy((700, 300)), fwhm)
    box = Box(3, 690, 10, 300)
    matched.read(Box(0, 9, 0, 9))  # what is kept between calls
    tracemalloc.start()
    strips = matched.read(box)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    monkeypatch.setattr("survey_classifier.mosaic.psf.STRIP_ROWS", 1000)
    at_once = matched.read(box)
    for name in ("flux", "mask", "variance"):
        np.testing.assert_array_equal(getattr(strips, name), getattr(at_once, name))
    assert peak / box.area < 42  # 18 of it pixels before and after, the rest those of a strip


def test_pixels_against_the_definition():
    exposure = MatchedExposure(messy(), 0.9)
    out = exposure.read(whole(exposure))
    pixels = exposure.image.read(whole(exposure))
    kernel = matching_kernel(exposure.sigma_px)
    assert np.sum(kernel * (np.arange(len(kernel)) - len(kernel) // 2) ** 2) == pytest.approx(
        (0.9**2 - 0.6**2) / 0.2**2 / (8 * np.log(2)), rel=1e-4
    )
    usable = (pixels.mask & np.uint8(UNUSABLE)) == 0
    np.testing.assert_array_equal(np.isfinite(out.flux), usable)
    known = usable & np.isfinite(pixels.variance)
    np.testing.assert_array_equal(np.isfinite(out.variance), known)
    half = len(kernel) // 2
    for y, x in ((0, 0), (18, 45), (40, 33), (79, 50), (60, 89), (25, 39)):
        weight = np.zeros((80 + 2 * half, 90 + 2 * half))
        weight[y : y + 2 * half + 1, x : x + 2 * half + 1] = np.outer(kernel, kernel)
        weight = weight[half:-half, half:-half]
        if usable[y, x]:
            expected = np.average(pixels.flux[usable], weights=weight[usable])
            assert out.flux[y, x] == pytest.approx(expected, rel=1e-5)
        if known[y, x]:
            mean = np.average(pixels.variance[known], weights=weight[known] ** 2)
            expected = mean * (weight[usable] ** 2).sum() / weight[usable].sum() ** 2
            assert out.variance[y, x] == pytest.approx(expected, rel=1e-5)


def test_the_variance_is_that_of_a_pixel():
    rng = np.random.default_rng(3)
    sigma = np.broadcast_to(np.linspace(1, 3, 500), (500, 500))
    noise = rng.normal(size=sigma.shape) * sigma
    exposure = MatchedExposure(image(noise, variance=sigma.astype(np.float32) ** 2), 0.9)
    out = exposure.read(whole(exposure))
    scaled = out.flux / np.sqrt(out.variance)
    assert scaled[:, :250].std() == pytest.approx(1.0, rel=0.03)
    assert scaled[:, 250:].std() == pytest.approx(1.0, rel=0.03)


def test_values_of_flaws_reach_nothing_and_stay_unusable():
    exposure = messy()
    one = MatchedExposure(exposure, 0.9).read(whole(exposure))
    flaws = (exposure.mask & np.uint8(UNUSABLE)) != 0
    exposure.flux[flaws] = 1e30
    other = MatchedExposure(exposure, 0.9).read(whole(exposure))
    np.testing.assert_array_equal(one.flux, other.flux)
    assert ((other.mask[flaws] & MaskBit.SATURATED) != 0).all()
    assert ((other.mask & MaskBit.NO_DATA) != 0)[np.isnan(other.flux)].all()


@pytest.mark.parametrize("bit", [MaskBit.COSMIC_RAY, MaskBit.SATURATED])
def test_what_a_flagged_pixel_changes_much_says_so(bit):
    flux = np.ones((41, 41))
    plain = MatchedExposure(image(flux), 0.9).read(Box(0, 41, 0, 41))
    mask = np.zeros((41, 41), np.uint8)
    mask[20, 20], flux[20, 20] = bit, 1001.0
    out: Window = MatchedExposure(image(flux, mask=mask), 0.9).read(Box(0, 41, 0, 41))
    said = MaskBit.SUSPECT if bit == MaskBit.SATURATED else bit
    change = np.abs(out.flux - plain.flux)
    strong = change > 0.15 * np.nanmax(change)
    if bit == MaskBit.COSMIC_RAY:
        assert strong.sum() > 5
        assert ((out.mask[strong] & said) != 0).all()
    flagged = (out.mask & said) != 0
    assert 20 < flagged.sum() < 60
    assert not out.mask[0].any()


def test_matched_exposures_travel_to_workers():
    exposure = MatchedExposure(messy(), 0.9)
    again = pickle.loads(pickle.dumps(exposure))  # noqa: S301 - our own
    assert again.identity == exposure.identity
    np.testing.assert_array_equal(
        again.read(Box(0, 9, 0, 9)).flux, exposure.read(Box(0, 9, 0, 9)).flux
    )


def test_every_pixel_keeps_its_place_on_the_sky():
    exposure = MatchedExposure(messy(), 0.9)
    assert exposure.core is None
    assert exposure.territory is None
    assert exposure.survey_grid is None
    assert SkyGrid(exposure.wcs).scale_arcsec == pytest.approx(0.2)
