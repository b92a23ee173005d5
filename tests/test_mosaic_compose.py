"""Composing: each pixel is that of exactly one image, by the survey's rule, in any order."""

import tracemalloc
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from survey_classifier.geometry import Box
from survey_classifier.mosaic.capacity import BYTES_PER_SHARD_PX
from survey_classifier.mosaic.compose import Placed, compose
from survey_classifier.mosaic.grids import grid_offset, reached_box
from survey_classifier.mosaic.pixels import MaskBit
from survey_classifier.mosaic.psf import MatchedExposure
from tests.array_exposure import ArrayExposure, plane_wcs

SCALE = 0.2
CANVAS = Box(0, 40, 0, 50)


def placed(exposure):
    wcs = plane_wcs(SCALE)
    offset = grid_offset(exposure, wcs)
    return Placed(exposure, offset, reached_box(exposure, wcs, offset))


def at(y0, x0, flux, name, **more):
    """Return an image whose first pixel is ``(y0, x0)`` of the canvas."""
    return ArrayExposure(name, flux, plane_wcs(SCALE, (1.0 - x0, 1.0 - y0)), **more)


@dataclass(frozen=True)
class West:
    """The sky on one side of a meridian."""

    name: str
    ra_deg: float
    west: bool

    def contains(self, ra_deg, dec_deg):
        assert ra_deg.shape == dec_deg.shape
        return (ra_deg < self.ra_deg) == self.west


def brute(images, box, owner):
    """Return the composed flux pixel by pixel; ``owner(image, y, x)`` says whose a pixel is."""
    out = np.full(box.shape, np.nan, dtype=np.float32)
    for y in range(box.y0, box.y1):
        for x in range(box.x0, box.x1):
            best = (-1, -np.inf, "")
            for image in sorted(images, key=lambda i: i.exposure.name):
                flux, (dy, dx) = image.exposure.flux, image.offset
                iy, ix = y - dy, x - dx
                ny, nx = flux.shape
                if not (0 <= iy < ny and 0 <= ix < nx) or np.isnan(flux[iy, ix]):
                    continue
                own = int(owner(image, y, x))
                depth = 0 if own else min(iy, ix, ny - 1 - iy, nx - 1 - ix)
                if (own, depth) > best[:2]:
                    best = (own, depth, image.exposure.name)
                    out[y - box.y0, x - box.x0] = flux[iy, ix]
    return out


@st.composite
def scenes(draw):
    """Return one to four images with holes, at whole-pixel offsets; some have a core."""
    images = []
    for number in range(draw(st.integers(1, 4))):
        ny, nx = draw(st.integers(3, 30)), draw(st.integers(3, 30))
        y0, x0 = draw(st.integers(-10, 35)), draw(st.integers(-10, 45))
        rng = np.random.default_rng(draw(st.integers(0, 99)))
        flux = (1000 * (number + 1) + rng.permutation(ny * nx)).reshape(ny, nx).astype(np.float32)
        flux[rng.random((ny, nx)) < draw(st.sampled_from([0, 0.2]))] = np.nan
        images.append(at(y0, x0, flux, f"{number}.fits"))
    return images


@settings(max_examples=60, deadline=None)
@given(scenes(), st.randoms(use_true_random=False))
def test_without_a_rule_the_deepest_image_with_data_wins_in_any_order(exposures, random):
    images = [placed(exposure) for exposure in exposures]
    expected = brute(images, CANVAS, lambda *_: False)
    random.shuffle(images)
    window = compose(images, plane_wcs(SCALE), CANVAS)
    np.testing.assert_array_equal(window.flux, expected)
    np.testing.assert_array_equal((window.mask & 1) != 0, np.isnan(expected))


def patches(rng, inner=16, border=3):
    """Return 2 x 2 patches of one sky with shared borders; each has values of its own."""
    for row in range(2):
        for col in range(2):
            side = inner + 2 * border
            flux = rng.normal(10 * (2 * row + col), 1, (side, side)).astype(np.float32)
            core = Box(border, border + inner, border, border + inner)
            yield at(
                row * inner - border, col * inner - border, flux, f"p{row}{col}.fits", core=core
            )


def test_patches_are_copied_by_their_inner_regions():
    exposures = list(patches(np.random.default_rng(1)))
    exposures[0].flux[10:14, 8:21] = np.nan  # a hole that reaches into the neighbor's border
    images = [placed(exposure) for exposure in exposures]

    def owner(image, y, x):
        (dy, dx), core = image.offset, image.exposure.core
        return core.y0 <= y - dy < core.y1 and core.x0 <= x - dx < core.x1

    expected = brute(images, Box(-2, 34, -3, 37), owner)
    for order in permutations(images):
        window = compose(order, plane_wcs(SCALE), Box(-2, 34, -3, 37))
        np.testing.assert_array_equal(window.flux, expected)
    assert np.isnan(expected).sum() > 0


def test_tracts_share_the_sky_by_their_territories():
    """Two areas overlap by half; the meridian between them decides, also where one is resampled."""
    middle = float(plane_wcs(SCALE).pixel_to_world_values(19.6, 0)[0])
    west, east = West("a", middle, True), West("b", middle, False)
    right = at(0, 10, np.full((40, 40), 1.0, np.float32), "r.fits", territory=west)
    right.core = Box(0, 40, 0, 40)
    left = at(0, -5, np.full((40, 35), 2.0, np.float32), "l.fits", territory=east)
    left.core = Box(0, 40, 0, 35)
    window = compose([placed(right), placed(left)], plane_wcs(SCALE), CANVAS)
    # right ascension grows to the left
    np.testing.assert_array_equal(window.flux[:, :20], 2.0)
    np.testing.assert_array_equal(window.flux[:, 20:50], 1.0)
    turned = ArrayExposure(
        "t.fits", np.full((90, 90), 2.0, np.float32), plane_wcs(SCALE, (45.0, 45.0), 30.0),
        territory=east, core=Box(0, 90, 0, 90),
    )  # fmt: skip
    window = compose([placed(right), placed(turned)], plane_wcs(SCALE), CANVAS)
    assert placed(turned).offset is None
    np.testing.assert_allclose(window.flux[:20, :20], 2.0, rtol=1e-3)
    np.testing.assert_array_equal(window.flux[:, 20:50], 1.0)


def test_an_image_that_is_missing_is_stood_in_for_by_its_neighbors_border():
    images = [placed(e) for e in list(patches(np.random.default_rng(3)))[1:]]
    window = compose(images, plane_wcs(SCALE), Box(0, 16, 0, 16))
    assert np.isnan(window.flux[:13, :13]).all()
    assert np.isfinite(window.flux[13:, :]).all()
    assert np.isfinite(window.flux[:, 13:]).all()


def test_variance_and_mask_come_with_the_pixel():
    ones = np.ones((20, 20), dtype=np.float32)
    mask = np.zeros((20, 20), dtype=np.uint8)
    mask[5, 5] = MaskBit.COSMIC_RAY
    known = at(0, 0, ones.copy(), "a.fits", variance=4 * ones, mask=mask)
    unknown = at(0, 10, 2 * ones, "b.fits")
    known.flux[7, 7] = np.nan
    window = compose([placed(known), placed(unknown)], plane_wcs(SCALE), Box(0, 20, 0, 30))
    assert window.mask[5, 5] == MaskBit.COSMIC_RAY
    assert window.mask[7, 7] & MaskBit.NO_DATA
    of_known = window.flux == 1
    np.testing.assert_array_equal(window.variance[of_known], 4)
    assert np.isnan(window.variance[~of_known]).all()


@pytest.mark.parametrize("box", [Box(200, 220, 0, 10), Box(-50, -20, 0, 10)])
def test_where_there_is_no_image_there_is_no_data(box):
    window = compose([placed(at(0, 0, np.ones((9, 9)), "a.fits"))], plane_wcs(SCALE), box)
    assert np.isnan(window.flux).all()
    np.testing.assert_array_equal(window.mask, np.uint8(MaskBit.NO_DATA))


def test_territories_cost_little_memory(monkeypatch):
    """Row by row: sky positions of a whole shard are larger than all its pixels."""
    box = Box(0, 1024, 5, 1029)
    middle = float(plane_wcs(SCALE).pixel_to_world_values(500.3, 0)[0])
    flux = np.ones((1100, 1100), np.float32)
    images = []
    for name, west in (("a", True), ("b", False)):
        image = at(0, 0, flux * (1 + west), name, territory=West(name, middle, west))
        image.core = Box(0, 1100, 0, 1100)
        images.append(placed(image))
    compose(images, plane_wcs(SCALE), Box(0, 16, 0, 16))  # what is kept between calls
    tracemalloc.start()
    window = compose(images, plane_wcs(SCALE), box)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak / (1024 * 1024) < 45
    monkeypatch.setattr("survey_classifier.mosaic.compose.STRIP_ROWS", 2048)
    at_once = compose(images, plane_wcs(SCALE), box)
    np.testing.assert_array_equal(window.flux, at_once.flux)
    assert set(np.unique(window.flux)) == {1.0, 2.0}


@pytest.mark.parametrize("has_rule", [True, False])
@pytest.mark.parametrize("angle_deg", [0.0, 3.0])
def test_a_shard_takes_no_more_memory_than_is_reckoned_with(angle_deg, has_rule):
    """The dearest one: matched to another seeing, with variance, holes and two territories."""
    rng = np.random.default_rng(2)
    box, side = Box(0, 1024, 0, 1024), 1200
    middle = float(plane_wcs(SCALE).pixel_to_world_values(500.3, 0)[0])
    flux = rng.normal(size=(side, side)).astype(np.float32)
    mask = (rng.random(flux.shape) < 0.01).astype(np.uint8)
    images = []
    for name, west in (("a", True), ("b", False)):
        image = ArrayExposure(
            name, flux, plane_wcs(SCALE, (60.0, 60.0), angle_deg), mask=mask, variance=flux**2,
            psf_fwhm_arcsec=0.6, territory=West(name, middle, west) if has_rule else None,
            core=Box(20, side - 20, 20, side - 20) if has_rule else None,
        )  # fmt: skip
        images.append(placed(MatchedExposure(image, 0.9)))
    assert (images[0].offset is None) == (angle_deg != 0)
    compose(images, plane_wcs(SCALE), Box(0, 16, 0, 16))  # what is kept between calls
    tracemalloc.start()
    compose(images, plane_wcs(SCALE), box)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak / box.area < BYTES_PER_SHARD_PX


def two_tracts(angle_deg):
    """Return the images of two areas that overlap: a saturated star lies in the one's own part."""
    middle = float(plane_wcs(SCALE).pixel_to_world_values(19.6, 0)[0])
    flux = np.full((90, 90), 1.0, np.float32)
    mask = np.zeros((90, 90), np.uint8)
    mask[40:47, 52:60] = MaskBit.SATURATED
    mask[60:64, 60:64] = MaskBit.BAD
    own = ArrayExposure(
        "own.fits", flux, plane_wcs(SCALE, (45.0, 45.0), angle_deg), mask=mask, variance=flux,
        territory=West("own", middle, False), core=Box(0, 90, 0, 90),
    )  # fmt: skip
    other = ArrayExposure(
        "other.fits", 7 * flux, plane_wcs(SCALE, (60.0, 30.0), 5.0),
        territory=West("other", middle, True), core=Box(0, 90, 0, 90),
    )  # fmt: skip
    return own, other


@pytest.mark.parametrize("rule", ["territories", "depth"])
@pytest.mark.parametrize("angle_deg", [0.0, 30.0])
def test_a_saturated_core_is_not_patched_by_another_image(angle_deg, rule):
    """Its pixels are saturated in the other image too, or would be a lie about the source."""
    own, other = two_tracts(angle_deg)
    if rule == "depth":
        own.core = own.territory = other.core = other.territory = None
        own.wcs = plane_wcs(SCALE, (35.0, 35.0), angle_deg)  # deeper than the other where it counts
    images = [placed(own), placed(other)]
    assert (images[0].offset is None) == (angle_deg != 0)
    alone = compose(images[:1], plane_wcs(SCALE), CANVAS)
    both = compose(images, plane_wcs(SCALE), CANVAS)
    saturated = (alone.mask & MaskBit.SATURATED) != 0
    assert saturated.sum() > 20
    np.testing.assert_array_equal(both.flux[saturated], alone.flux[saturated])
    np.testing.assert_array_equal(both.mask[saturated], alone.mask[saturated])
    assert np.isnan(alone.flux[saturated]).all() == (angle_deg != 0)
    # What is only a flaw of the image is filled.
    if angle_deg:
        bad = (alone.mask & MaskBit.BAD) != 0
        assert np.isnan(alone.flux[bad]).any()
        assert np.isfinite(both.flux[bad]).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 99), st.sampled_from([0.0, 12.0]), st.booleans())
def test_a_part_is_that_of_the_whole(seed, angle_deg, has_cores):
    """Flaws, holes and saturated pixels of several images, copied and resampled."""
    rng = np.random.default_rng(seed)
    exposures = []
    for number, exposure in enumerate(two_tracts(angle_deg)):
        flux = rng.normal(number, 1, (90, 90)).astype(np.float32)
        flux[rng.random(flux.shape) < 0.1] = np.nan
        bits = rng.choice([0, 0, 0, 0, 1, 2, 4, 32, 64, 128], flux.shape).astype(np.uint8)
        exposure.flux, exposure.mask, exposure.variance = flux, bits, flux**2
        exposure.core = Box(10, 70, 5, 80) if has_cores else None
        exposures.append(placed(exposure))
    whole = compose(exposures, plane_wcs(SCALE), CANVAS)
    y, x = int(rng.integers(1, 39)), int(rng.integers(1, 49))
    for box in (Box(0, y, 0, x), Box(y, 40, 0, x), Box(0, y, x, 50), Box(y, 40, x, 50)):
        part = compose(exposures[::-1], plane_wcs(SCALE), box)
        for name in ("flux", "mask", "variance"):
            pixels = getattr(part, name)
            expected = getattr(whole, name)[box.slices]
            if pixels is None:
                assert np.isnan(expected).all()
            else:
                np.testing.assert_array_equal(pixels, expected)


def test_claims_are_looked_up_once(monkeypatch):
    """Also where images have holes: a claim costs the sky positions of all pixels."""
    asked, original = [], Placed.positions

    def counting(self, wcs, box):
        asked.append((self.exposure.name, box.area))
        return original(self, wcs, box)

    monkeypatch.setattr(Placed, "positions", counting)
    own, other = two_tracts(12.0)
    own.flux[40:50, 40:50] = np.nan
    own.core = Box(0, 60, 0, 60)
    other.core = own.territory = other.territory = None
    images = [placed(own), placed(other)]
    whole = compose(images, plane_wcs(SCALE), CANVAS)
    assert {1.0, 7.0} <= set(whole.flux[np.isfinite(whole.flux)])
    claim, depth = (area for name, area in asked if name == "own.fits")
    assert claim == depth == CANVAS.area
