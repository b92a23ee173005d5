"""Resampling: flux, positions, noise, holes and flaws, and no seams between boxes."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reproject import reproject_exact
from scipy.special import erf

from survey_classifier.errors import MosaicError
from survey_classifier.geometry import Box, nearest_pixel
from survey_classifier.mosaic import regrid
from survey_classifier.mosaic.lattice import Lattice
from survey_classifier.mosaic.pixels import UNUSABLE, MaskBit
from survey_classifier.mosaic.regrid import fwhm_on, read_onto
from survey_classifier.mosaic.sky import SkyGrid
from tests.array_exposure import ArrayExposure, plane_wcs
from tests.test_mosaic_sky import sip_wcs

FLAWS = (MaskBit.SATURATED, MaskBit.BAD, MaskBit.EDGE)


def image(flux, scale=0.2, unit="nJy", angle_deg=0.0, **more):
    wcs = plane_wcs(scale, (flux.shape[1] / 2 + 0.5, flux.shape[0] / 2 + 0.5), angle_deg)
    return ArrayExposure("image.fits", flux.astype(np.float32), wcs, unit=unit, **more)


def target(scale, shape):
    return plane_wcs(scale, (shape[1] / 2 + 0.5, shape[0] / 2 + 0.5))


def whole(shape):
    return Box(0, shape[0], 0, shape[1])


def star(shape, x, y, sigma):
    """Return a star of flux 1, integrated over each pixel."""
    edges = [np.arange(n + 1) - 0.5 for n in shape]
    profiles = [
        np.diff(erf((edge - at) / sigma / np.sqrt(2))) / 2
        for edge, at in zip(edges, (y, x), strict=True)
    ]
    return np.outer(*profiles)


def moments(flux):
    """Return flux, position ``(x, y)`` and the mean of the variances along both axes."""
    y, x = np.indices(flux.shape)
    total = np.nansum(flux)
    center = np.nansum(flux * x) / total, np.nansum(flux * y) / total
    spread = np.nansum(flux * ((x - center[0]) ** 2 + (y - center[1]) ** 2)) / total / 2
    return total, center, spread


def on_tract(scale, crval, angle_deg=0.0):
    """Return a grid about a point beside the field, with the field's middle near pixel 60."""
    wcs = plane_wcs(scale, (1.0, 1.0), angle_deg, crval)
    x, y = SkyGrid(wcs).world_to_pixel(49.95, 41.51)
    wcs.wcs.crpix = [61 - np.round(x), 61 - np.round(y)]
    return wcs


SURVEYS = {
    "NISP on VIS": (plane_wcs(0.3, (61, 61), 1.7), target(0.1, (360, 360)), 0.48),
    "HSC tract on tract": (
        on_tract(0.168, (49.3, 40.5)), on_tract(0.168, (51.3, 40.5)), 0.6,
    ),
    "SDSS frame": (plane_wcs(0.396, (61, 61), 67.0), target(0.2, (240, 240)), 1.43),
    "HSC on VIS": (plane_wcs(0.168, (61, 61), 0.3), target(0.1, (210, 210)), 0.6),
    "VIS on NISP": (plane_wcs(0.1, (61, 61), 3.0), target(0.3, (44, 44)), 0.5),
}  # fmt: skip


def resampled_star(survey, sigma_arcsec, offset):
    """Return exposure, resampled pixels around a star, and its position ``(x, y)`` there."""
    wcs_in, wcs, _ = SURVEYS[survey]
    scale_in, scale = SkyGrid(wcs_in).scale_arcsec, SkyGrid(wcs).scale_arcsec
    n = 121 if sigma_arcsec < 5 * scale_in else 240
    at = np.add(60 if n == 121 else 120, offset)
    exposure = ArrayExposure("g.fits", star((n, n), *at, sigma_arcsec / scale_in), wcs_in)
    x, y = SkyGrid(wcs).world_to_pixel(*SkyGrid(wcs_in).pixel_to_world(*at))
    half = int(7 * np.hypot(sigma_arcsec, scale_in) / scale) + 4
    box = Box(int(y) - half, int(y) + half, int(x) - half, int(x) + half)
    return exposure, read_onto(exposure, wcs, box).flux, (x - box.x0, y - box.y0)


@pytest.mark.parametrize("survey", SURVEYS)
@pytest.mark.parametrize("radius_arcsec", [0.0, 1.0])
def test_flux_and_position_of_stars_and_galaxies_are_kept(survey, radius_arcsec):
    """To 0.1 % and 0.02 pixels."""
    sigma = np.hypot(SURVEYS[survey][2] / 2.3548, radius_arcsec)
    for offset in np.random.default_rng(5).uniform(-0.5, 0.5, (4, 2)):
        exposure, out, position = resampled_star(survey, sigma, offset)
        flux, center, _ = moments(out)
        assert flux == pytest.approx(exposure.flux.sum(), rel=1e-3)
        np.testing.assert_allclose(center, position, atol=0.02)


@settings(max_examples=25)
@given(
    ratio=st.floats(0.3, 4.0), angle_deg=st.floats(0, 90),
    dx=st.floats(-0.5, 0.5), dy=st.floats(-0.5, 0.5),
)  # fmt: skip
def test_flux_is_kept_at_any_ratio_and_angle(ratio, angle_deg, dx, dy):
    exposure = image(star((41, 41), 20 + dx, 20 + dy, 1.6 / 2.3548), angle_deg=angle_deg)
    n = int(60 / ratio)
    out = read_onto(exposure, target(0.2 * ratio, (n, n)), whole((n, n)))
    assert np.nansum(out.flux) == pytest.approx(1.0, abs=1.2e-3)


def test_flux_is_kept_under_distortion():
    """The area of the pixels of this SIP grid differs over the image by a tenth."""
    wcs_in, wcs = sip_wcs(8e-8), plane_wcs(0.2, (1, 1))
    sip = wcs_in.sip
    wcs_in.sip = type(sip)(sip.a, np.abs(sip.b), None, None, sip.crpix)
    spreads = []
    for x0, y0 in ((60, 60), (500, 500), (930, 60)):
        exposure = ArrayExposure("g.fits", star((999, 999), x0 + 0.3, y0, 1.5), wcs_in)
        x, y = SkyGrid(wcs).world_to_pixel(*SkyGrid(wcs_in).pixel_to_world(x0 + 0.3, y0))
        box = Box(int(y) - 20, int(y) + 21, int(x) - 20, int(x) + 21)
        flux, center, spread = moments(read_onto(exposure, wcs, box).flux)
        assert flux == pytest.approx(1.0, abs=1e-3)
        np.testing.assert_allclose(np.add(center, (box.x0, box.y0)), (x, y), atol=0.02)
        spreads.append(spread)
    assert max(spreads) > 1.08 * min(spreads)


@pytest.mark.parametrize("scale", [0.1, 0.2, 0.4, 0.8])
@pytest.mark.parametrize("unit", ["nJy", "display"])
def test_a_constant_keeps_its_unit(scale, unit):
    """Flux per pixel grows with the pixel's area; a display value does not."""
    exposure = image(np.full((120, 120), 100.0), 0.2, unit, angle_deg=10)
    out = read_onto(exposure, target(scale, (10, 10)), Box(0, 10, 0, 10))
    expected = 100.0 * (scale / 0.2) ** 2 if unit == "nJy" else 100.0
    np.testing.assert_allclose(out.flux, expected, rtol=1e-5)
    assert not out.mask.any()
    assert out.variance is None


@pytest.mark.parametrize("survey", SURVEYS)
def test_the_seeing_after_resampling_is_known(survey):
    wcs_in, wcs, fwhm = SURVEYS[survey]
    scale_in, scale = SkyGrid(wcs_in).scale_arcsec, SkyGrid(wcs).scale_arcsec
    before, after = [], []
    for offset in product((-0.4, -0.15, 0.1, 0.35), repeat=2):
        exposure, out, _ = resampled_star(survey, fwhm / 2.3548, offset)
        before.append(moments(exposure.flux)[2])
        after.append(moments(out)[2])
    fwhm_in, measured = 2.3548 * np.sqrt([np.mean(before), np.mean(after)]) * (scale_in, scale)
    exposure.psf_fwhm_arcsec = float(fwhm_in)
    assert fwhm_on(exposure, wcs) == pytest.approx(measured, rel=0.01)
    assert measured > 1.02 * fwhm_in


def test_a_copied_image_keeps_its_seeing():
    exposure = image(np.zeros((30, 30)), psf_fwhm_arcsec=0.7)
    assert fwhm_on(exposure, exposure.wcs) == 0.7
    assert fwhm_on(image(np.zeros((30, 30))), target(0.3, (9, 9))) is None


def b_spline(x):
    """Return the quadratic B-spline."""
    x = np.abs(x)
    return np.where(x < 0.5, 0.75 - x**2, np.where(x < 1.5, (1.5 - x) ** 2 / 2, 0.0))


@pytest.mark.parametrize(("ratio", "n"), [(0.51, 1), (1.0, 1), (3.0, 3)])
@pytest.mark.parametrize("unit", ["nJy", "display"])
def test_pixels_against_the_definition(ratio, n, unit):
    rng = np.random.default_rng(3)
    flux, mask = rng.normal(size=(90, 80)) + 5, np.zeros((90, 80), np.uint8)
    mask[rng.integers(0, 90, 40), rng.integers(0, 80, 40)] = MaskBit.BAD
    variance = rng.uniform(1, 2, flux.shape).astype(np.float32)
    variance[50, 40:60] = np.nan
    exposure = image(flux, unit=unit, mask=mask, variance=variance, angle_deg=2)
    wcs = target(0.2 * ratio, (20, 20))
    out = read_onto(exposure, wcs, Box(0, 20, 0, 20))
    assert np.isfinite(out.flux).sum() > 300
    usable = (mask & np.uint8(UNUSABLE)) == 0
    steps = (np.arange(n) + 0.5) / n - 0.5
    for y, x in product(range(20), range(20)):
        weight = np.zeros(flux.shape)
        for dy, dx in product(steps, steps):
            sky = SkyGrid(wcs).pixel_to_world(x + dx, y + dy)
            x_in, y_in = SkyGrid(exposure.wcs).world_to_pixel(*sky)
            weight += np.outer(b_spline(np.arange(90) - y_in), b_spline(np.arange(80) - x_in))
        if np.isnan(out.flux[y, x]):
            continue
        area = ratio**2 if unit == "nJy" else 1.0
        mean = np.average(exposure.flux[usable], weights=weight[usable])
        assert out.flux[y, x] == pytest.approx(area * mean, rel=1e-4)
        known = usable & np.isfinite(variance)
        if weight[known].sum() == 0:
            assert np.isnan(out.variance[y, x])
            continue
        area = ratio**2 if unit == "nJy" else ratio**-2
        mean = np.average(variance[known], weights=weight[known])
        assert out.variance[y, x] == pytest.approx(area * mean, rel=1e-4)


@pytest.mark.parametrize(
    ("scale_in", "scale", "angle_deg", "unit"),
    [
        (0.3, 0.1, 0.0, "nJy"),
        (0.1, 0.3, 31.0, "nJy"),
        (0.2, 0.2, 20.0, "nJy"),
        (0.2, 0.17, 45.0, "display"),
    ],
)
def test_the_variance_is_that_of_sums(scale_in, scale, angle_deg, unit):
    """Predicted against measured over many large apertures, where noise grows to the right."""
    aperture = int(np.ceil(50 * scale_in / scale))
    side = 5 * aperture
    n = int(side * scale / scale_in * 1.5)
    sigma = np.broadcast_to(np.linspace(1, 2, n), (n, n))
    rng = np.random.default_rng(8)
    measured, predicted = [], []
    for _ in range(16):
        noise = rng.normal(size=(n, n)) * sigma
        exposure = image(noise, scale_in, unit, angle_deg, variance=sigma.astype("f4") ** 2)
        out = read_onto(exposure, target(scale, (side, side)), whole((side, side)))
        sums = out.flux.astype(float).reshape(5, aperture, 5, aperture).sum(axis=(1, 3))
        measured.append(sums**2)
        predicted.append(out.variance.reshape(5, aperture, 5, aperture).sum(axis=(1, 3)))
        if len(measured) == 1:
            spread = predicted[0].max() / predicted[0].min()
            assert spread > 1.5
    ratio = np.mean(np.array(measured) / np.array(predicted))
    # 400 apertures: the mean is known to 7 %; per-pixel variances would be 2 to 20 times too low.
    assert ratio == pytest.approx(1.0, abs=0.18)


@pytest.mark.parametrize(
    ("scale_in", "scale", "angle_deg"),
    [(0.3, 0.1, 0.0), (0.1, 0.3, 31.0), (0.2, 0.2, 20.0), (0.2, 0.17, 45.0), (0.1, 0.41, 10.0)],
)
def test_the_variance_of_sums_exactly(scale_in, scale, angle_deg):
    """The sum over all pixels weighs those of the image nearly alike: no noise is lost."""
    ratio = scale / scale_in
    n = 60
    side = int(60 / ratio * 1.6)
    rng = np.random.default_rng(2)
    weights = [
        np.nansum(read_onto(image(unit_pixel((n, n), y, x), scale_in, angle_deg=angle_deg),
                            target(scale, (side, side)), whole((side, side))).flux)
        for y, x in rng.integers(25, 35, (25, 2))
    ]  # fmt: skip
    # Var(sum) / sum(var) = mean(weight^2), sum(var) being kept as flux is.
    assert np.mean(np.square(weights)) == pytest.approx(1.0, abs=0.03)


def unit_pixel(shape, y, x):
    flux = np.zeros(shape)
    flux[y, x] = 1.0
    return flux


def messy(ratio, angle_deg, wcs=None):
    """Return an image with a hole, flaws, warnings and a variance, partly unknown."""
    rng = np.random.default_rng(4)
    n = int(60 * ratio) + 8
    flux = rng.normal(size=(n, n)) + 5
    flux[n // 4 : n // 2, n // 3 : n // 2] = np.nan
    mask = rng.choice(np.array([0] * 50 + [2, 8], np.uint8), size=(n, n))
    variance = rng.uniform(1, 2, (n, n)).astype(np.float32)
    variance[rng.random((n, n)) < 0.05] = np.nan
    exposure = image(flux, 0.2, mask=mask, variance=variance, angle_deg=angle_deg)
    exposure.wcs = exposure.wcs if wcs is None else wcs
    return exposure


def assert_same(one, other):
    np.testing.assert_array_equal(one.flux, other.flux)
    np.testing.assert_array_equal(one.mask, other.mask)
    np.testing.assert_array_equal(one.variance, other.variance)


def part(window, box):
    return type(window)(
        window.flux[box.slices], window.mask[box.slices], window.variance[box.slices]
    )


@pytest.mark.parametrize("ratio", [0.5, 1, 3, 4, 8])
@pytest.mark.parametrize("angle_deg", [0.0, 33.0])
def test_any_part_is_that_of_the_whole(ratio, angle_deg):
    exposure, wcs = messy(ratio, angle_deg), target(0.2 * ratio * 1.01, (44, 50))
    everything = read_onto(exposure, wcs, Box(0, 44, 0, 50))
    assert np.isfinite(everything.flux).mean() > 0.5
    for box in (Box(0, 44, 0, 7), Box(0, 44, 7, 50), Box(13, 14, 20, 31), Box(31, 44, 16, 32)):
        assert_same(read_onto(exposure, wcs, box), part(everything, box))


def test_a_distorted_image_has_no_seams():
    wcs = sip_wcs(2e-7)
    wcs.wcs.crpix = [120, 130]
    wcs.sip = type(wcs.sip)(wcs.sip.a, wcs.sip.b, None, None, wcs.wcs.crpix)
    exposure, grid = messy(4, 0.0, wcs), target(0.23, (300, 300))
    everything = read_onto(exposure, grid, Box(0, 300, 0, 300))
    assert np.isfinite(everything.flux).mean() > 0.3
    for box in (Box(0, 300, 0, 151), Box(100, 101, 0, 300), Box(255, 257, 100, 102)):
        assert_same(read_onto(exposure, grid, box), part(everything, box))


def test_an_image_is_read_in_pieces_that_fit_the_memory(monkeypatch):
    exposure, wcs = messy(10, 12.0), target(0.31, (700, 600))
    everything = read_onto(exposure, wcs, Box(0, 700, 0, 600))
    windows = []
    original = ArrayExposure.read
    monkeypatch.setattr(
        ArrayExposure, "read", lambda self, box: windows.append(box) or original(self, box)
    )
    monkeypatch.setattr(regrid, "RESAMPLING_BYTES", 1_500_000)
    assert_same(read_onto(exposure, wcs, Box(0, 700, 0, 600)), everything)
    assert len(windows) > 4
    assert max(window.area for window in windows) * regrid.BYTES_PER_PX <= 1_500_000


@pytest.mark.parametrize("ratio", [0.5, 1.0, 1.09])
def test_a_hole_keeps_its_size(ratio):
    """It may lose or gain no more than the rounding to the nearest pixel at its rim."""
    flux = np.ones((200, 200))
    flux[60:140, 60:140] = np.nan
    wcs = target(0.2 * ratio, (400, 400))
    exposure = image(flux, angle_deg=15)
    out = read_onto(exposure, wcs, Box(0, 400, 0, 400))
    far = np.max(np.abs(np.subtract(positions(exposure, wcs, (400, 400)), 99.5)), axis=0)
    assert np.isnan(out.flux[far < 40 - 0.001]).all()
    ring = (far > 40 + 0.001) & (far < 99)
    assert np.isfinite(out.flux[ring]).all()
    np.testing.assert_allclose(out.flux[ring], ratio**2, rtol=1e-5)
    np.testing.assert_array_equal((out.mask & MaskBit.NO_DATA) != 0, np.isnan(out.flux))


def positions(exposure, wcs, shape):
    """Return ``(y, x)`` on an exposure of the pixels of a grid."""
    y, x = np.indices(shape)
    found = SkyGrid(exposure.wcs).world_to_pixel(*SkyGrid(wcs).pixel_to_world(x, y))
    return found[1], found[0]


@pytest.mark.parametrize("ratio", [0.4, 0.83, 1.0, 2.3, 3.0])
@pytest.mark.parametrize("angle_deg", [0.0, 24.0])
def test_values_of_flaws_reach_nothing(ratio, angle_deg):
    rng = np.random.default_rng(6)
    n = int(50 * max(ratio, 1)) + 20
    mask = rng.choice(np.array([0] * 40 + list(FLAWS), np.uint8), size=(n, n))
    flux = rng.normal(size=(n, n))
    wcs = target(0.2 * ratio, (50, 50))
    one = read_onto(image(flux, mask=mask, angle_deg=angle_deg), wcs, Box(0, 50, 0, 50))
    flux[mask != 0] = 1e30
    other = read_onto(image(flux, mask=mask, angle_deg=angle_deg), wcs, Box(0, 50, 0, 50))
    np.testing.assert_array_equal(one.flux, other.flux)
    assert np.isfinite(one.flux).any()
    assert not (one.mask[np.isfinite(one.flux)] & np.uint8(UNUSABLE)).any()


@pytest.mark.parametrize("bit", FLAWS)
@pytest.mark.parametrize("ratio", [0.4, 0.7, 1.0])
def test_a_pixel_is_as_bad_as_the_one_it_lies_in(bit, ratio):
    rng = np.random.default_rng(7)
    mask = np.where(rng.random((90, 90)) < 0.05, np.uint8(bit), np.uint8(0))
    exposure, wcs = image(rng.normal(size=(90, 90)), mask=mask, angle_deg=7), target(
        0.2 * ratio, (60, 60))  # fmt: skip
    out = read_onto(exposure, wcs, Box(0, 60, 0, 60))
    y, x = positions(exposure, wcs, (60, 60))
    is_bad = mask[nearest_pixel(y), nearest_pixel(x)] != 0
    np.testing.assert_array_equal(np.isnan(out.flux), is_bad)
    assert ((out.mask[is_bad] & bit) != 0).all()
    assert ((out.mask[is_bad] & MaskBit.NO_DATA) != 0).all()
    assert (out.mask[~is_bad] & MaskBit.SUSPECT).any()


@pytest.mark.parametrize("ratio", [0.4, 1.0, 1.3, 3.0])
@pytest.mark.parametrize("bit", [MaskBit.COSMIC_RAY, MaskBit.SATURATED])
def test_whatever_a_flagged_pixel_touches_says_so(ratio, bit):
    """A changed warning changes only pixels with the warning; a lost flaw leaves them suspect."""
    n = int(40 * max(ratio, 1)) + 20
    mask = np.zeros((n, n), np.uint8)
    wcs = target(0.2 * ratio, (40, 40))
    flux = np.random.default_rng(1).normal(size=(n, n))
    plain = read_onto(image(flux, angle_deg=11), wcs, Box(0, 40, 0, 40))
    mask[n // 2, n // 2 - 1] = bit
    flux[n // 2, n // 2 - 1] += 1e3
    out = read_onto(image(flux, mask=mask, angle_deg=11), wcs, Box(0, 40, 0, 40))
    touched = (out.flux != plain.flux) & np.isfinite(out.flux)
    said = MaskBit.SUSPECT if bit == MaskBit.SATURATED else bit
    assert touched.any()
    assert ((out.mask[touched] & said) != 0).all()
    assert (out.mask != 0).sum() < 25 / ratio**2 + 25


def test_a_thin_trail_is_not_lost_on_a_coarser_grid():
    """One saturated row in eight: nearest pixels would miss most of it."""
    flux, mask = np.ones((320, 320)), np.zeros((320, 320), np.uint8)
    mask[163] = MaskBit.SATURATED
    mask[100, 101] = MaskBit.COSMIC_RAY
    out = read_onto(image(flux, mask=mask), target(1.6, (40, 40)), Box(0, 40, 0, 40))
    assert np.isfinite(out.flux[2:-2, 2:-2]).all()
    assert ((out.mask[20] & MaskBit.SUSPECT) != 0).all()
    assert (out.mask & MaskBit.COSMIC_RAY).any()


def test_a_small_distorted_exposure_in_a_large_box_is_found():
    """Far from the image its distortion cannot be inverted; what the image covers still fills."""
    exposure = ArrayExposure("g.fits", np.ones((1000, 1000)), sip_wcs(), unit="display")
    out = read_onto(exposure, plane_wcs(8.0, (1024, 1024)), Box(0, 2048, 0, 2048))
    assert np.isfinite(out.flux).sum() == pytest.approx(25**2, rel=0.15)
    np.testing.assert_allclose(out.flux[np.isfinite(out.flux)], 1.0, rtol=1e-5)


def test_an_exposure_elsewhere_fills_nothing():
    exposure = image(np.ones((50, 50)), variance=np.ones((50, 50), np.float32))
    out = read_onto(exposure, plane_wcs(0.4, (5000, 9)), Box(0, 20, 0, 30))
    assert np.isnan(out.flux).all()
    assert np.isnan(out.variance).all()
    assert (out.mask == MaskBit.NO_DATA).all()


def test_a_grid_on_the_other_side_of_the_sky_is_an_error():
    exposure = image(np.ones((50, 50)), psf_fwhm_arcsec=1.0)
    with pytest.raises(MosaicError, match=r"does not reach all of image\.fits"):
        fwhm_on(exposure, plane_wcs(0.4, crval=(200.0, 41.0)))


@pytest.mark.parametrize(
    ("wcs_in", "step_px"),
    [
        (plane_wcs(0.168, (900, 40), 31.0, (51.3, 40.2)), 16),
        (sip_wcs(2e-9), 16),
        (sip_wcs(3e-7), 1),
    ],
)
def test_positions_are_those_of_the_projections(wcs_in, step_px):
    """Also where a distortion is too strong to be interpolated."""
    wcs, block = plane_wcs(0.2, (500, 500)), Box(128, 192, 16, 64)
    lattice = Lattice.between(SkyGrid(wcs), SkyGrid(wcs_in), block)
    assert lattice.step_px == step_px
    for dy, dx in ((0.0, 0.0), (-0.5, 0.5), (0.3, -0.1)):
        y, x = lattice.positions(dy, dx)
        v, u = np.mgrid[128:192, 16:64].astype(float)
        sky = SkyGrid(wcs).pixel_to_world(u + dx, v + dy)
        x_true, y_true = SkyGrid(wcs_in).world_to_pixel(*sky)
        np.testing.assert_allclose(x, x_true, atol=2e-3)
        np.testing.assert_allclose(y, y_true, atol=2e-3)
    area = np.abs(np.gradient(y_true)[0] * np.gradient(x_true)[1]
                  - np.gradient(y_true)[1] * np.gradient(x_true)[0])  # fmt: skip
    inner = slice(1, -1), slice(1, -1)
    np.testing.assert_allclose(lattice.areas()[inner], area[inner], rtol=1e-3)


@pytest.mark.parametrize(("ratio", "angle_deg"), [(0.7, 0.0), (1.5, 30.0), (3.0, 10.0)])
def test_sums_over_apertures_are_those_of_exact_polygons(ratio, angle_deg):
    """reproject_exact shares each pixel's light by its area on the sky: slow, and beyond doubt."""
    source = image(star((90, 90), 44.6, 45.2, 3.0), 0.2, angle_deg=angle_deg)
    shape = (int(100 / ratio), int(100 / ratio))
    wcs = target(0.2 * ratio, shape)
    ours = read_onto(source, wcs, whole(shape)).flux
    exact, _ = reproject_exact((source.flux, source.wcs), wcs, shape_out=shape, parallel=False)
    exact *= ratio**2
    y, x = np.indices(shape)
    total, (cx, cy) = np.nansum(exact), moments(exact)[1]
    assert np.nansum(ours) == pytest.approx(total, rel=1e-3)
    for radius_px in (6 / ratio, 12 / ratio):
        near = np.hypot(x - cx, y - cy) < radius_px
        assert np.nansum(ours[near]) == pytest.approx(np.nansum(exact[near]), rel=0.03)
