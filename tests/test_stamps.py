"""Stamps against a naive padded cut and astropy's Cutout2D."""

import numpy as np
import pytest
from astropy.nddata import Cutout2D
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st

from survey_classifier.geometry import nearest_pixel
from survey_classifier.mosaic.array_mosaic import ArrayMosaic
from survey_classifier.mosaic.pixels import BandInfo, MaskBit
from survey_classifier.stamps import MASK_BITS, Stamps, cut_stamps

NY, NX = 37, 29


def tan_wcs(scale_arcsec=0.2, crpix=(15.0, 19.0)):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [49.95, 41.51]
    wcs.wcs.crpix = list(crpix)
    wcs.wcs.cdelt = [-scale_arcsec / 3600, scale_arcsec / 3600]
    return wcs


@pytest.fixture(scope="module")
def mosaic():
    rng = np.random.default_rng(1)
    flux = rng.normal(size=(2, NY, NX)).astype(np.float32)
    return ArrayMosaic("m", [BandInfo("g", "nJy"), BandInfo("i", "nJy")], flux, tan_wcs())


def naive_cut(image, x, y, size):
    """Pad far beyond any stamp, then slice: obviously right, and slow."""
    pad = 300
    padded = np.pad(image, pad, constant_values=np.nan)
    x0 = int(nearest_pixel(x)) - size // 2 + pad
    y0 = int(nearest_pixel(y)) - size // 2 + pad
    return padded[y0 : y0 + size, x0 : x0 + size]


positions = st.one_of(
    st.floats(-60, 90), st.sampled_from([-0.5, 0.0, 0.49, 0.5, 5.0, NX - 1.0, NX - 0.5, NY - 0.5])
)


@settings(max_examples=300)
@given(st.lists(st.tuples(positions, positions), min_size=1, max_size=5), st.integers(1, 70))
def test_stamps_equal_a_naive_padded_cut(mosaic, where, size):
    x, y = np.array(where).T
    stamps = cut_stamps(mosaic, x, y, size, ("g", "i"))
    for row in range(len(x)):
        for band in range(2):
            twin = naive_cut(mosaic._flux[band], x[row], y[row], size)
            np.testing.assert_array_equal(stamps.flux[row, band], twin)
        assert stamps.valid_fraction[row] == pytest.approx(np.isfinite(twin).mean(), abs=1e-6)


@settings(max_examples=200)
@given(st.floats(-8, NX + 8), st.floats(-8, NY + 8), st.integers(1, 40))
def test_stamps_equal_cutout2d(mosaic, x, y, size):
    """Cutout2D is asked for the source's pixel; an even size puts its extra pixel left."""
    stamp = cut_stamps(mosaic, [x], [y], size, ("g",)).flux[0, 0]
    pixel = float(nearest_pixel(x)), float(nearest_pixel(y))
    # An even Cutout2D is centred on a pixel edge; a quarter pixel to the left picks ours.
    shift = 0.25 if size % 2 == 0 else 0.0
    try:
        cutout = Cutout2D(
            mosaic._flux[0],
            (pixel[0] - shift, pixel[1] - shift),
            size,
            mode="partial",
            fill_value=np.nan,
        )
    except ValueError:  # NoOverlapError: Cutout2D refuses where we return an empty stamp
        assert np.isnan(stamp).all()
        return
    np.testing.assert_array_equal(stamp, cutout.data)


@pytest.mark.parametrize("x", [0.0, 5.0, NX - 6.0, NX - 1.0])
@pytest.mark.parametrize("y", [0.0, 5.0, NY - 6.0, NY - 1.0])
@pytest.mark.parametrize("size", [5, 32, 33])
def test_a_source_is_always_on_the_center_pixel(x, y, size):
    flux = np.zeros((1, NY, NX), dtype=np.float32)
    flux[0, int(y), int(x)] = 7.0
    mosaic = ArrayMosaic("m", [BandInfo("g", "nJy")], flux, tan_wcs())
    stamp = cut_stamps(mosaic, [x], [y], size, ("g",)).flux[0, 0]
    assert stamp[size // 2, size // 2] == 7.0
    assert np.nansum(stamp) == 7.0


def test_the_subpixel_offset_is_kept(mosaic):
    stamps = cut_stamps(mosaic, [10.3, 10.5], [7.0, 6.9], 5, ("g",))
    np.testing.assert_allclose(stamps.offset_px, [[0.3, 0.0], [-0.5, -0.1]], atol=1e-6)


@settings(max_examples=200)
@given(st.floats(-8, NX + 8), st.floats(-8, NY + 8), st.integers(1, 40))
def test_a_stamp_sticks_out_where_the_naive_cut_is_padded(mosaic, x, y, size):
    ones = ArrayMosaic("m", mosaic.bands, np.ones((2, NY, NX), np.float32), tan_wcs())
    stamps = cut_stamps(ones, [x], [y], size, ("g",))
    assert stamps.sticks_out[0] == np.isnan(naive_cut(np.ones((NY, NX)), x, y, size)).any()


def test_joined_stamps_are_those_of_one_cut(mosaic):
    x, y = np.array([4.0, 9.0, -3.0]), np.array([5.0, 8.0, 2.0])
    whole = cut_stamps(mosaic, x, y, 7, ("g", "i"))
    parts = [cut_stamps(mosaic, x[i], y[i], 7, ("g", "i")) for i in (slice(1), slice(1, 3))]
    for name in ("flux", "offset_px", "center_mask", "sticks_out", "mask_fraction"):
        np.testing.assert_array_equal(
            getattr(Stamps.join(parts), name), getattr(whole, name), err_msg=name
        )


def test_the_mask_of_the_own_pixel_is_kept():
    flux = np.ones((2, 9, 9), dtype=np.float32)
    mask = np.zeros((2, 9, 9), dtype=np.uint8)
    mask[0, 4, 4], mask[1, 4, 4] = MaskBit.SATURATED, MaskBit.COSMIC_RAY
    bands = [BandInfo("g", "nJy"), BandInfo("i", "nJy")]
    mosaic = ArrayMosaic("m", bands, flux, tan_wcs(), mask)
    stamps = cut_stamps(mosaic, [4.0, 3.0, np.nan], [4.0, 4.0, 1.0], 3, ("g", "i"))
    assert list(stamps.center_mask) == [
        MaskBit.SATURATED | MaskBit.COSMIC_RAY, 0, MaskBit.NO_DATA,
    ]  # fmt: skip
    assert list(stamps.center_valid) == [False, True, False]


def test_bands_come_by_name(mosaic):
    one = cut_stamps(mosaic, [4.0], [5.0], 7, ("g", "i"))
    other = cut_stamps(mosaic, [4.0], [5.0], 7, ("i", "g"))
    np.testing.assert_array_equal(one.flux[:, ::-1], other.flux)


def test_nan_and_far_positions_give_empty_stamps_and_read_nothing(mosaic):
    stamps = cut_stamps(mosaic, [np.nan, 1e9, 3.0], [2.0, 1e9, 4.0], 5, ("g",))
    assert np.isnan(stamps.flux[:2]).all()
    assert list(stamps.center_valid) == [False, False, True]
    assert stamps.mask_fraction[0, MASK_BITS.index(MaskBit.NO_DATA)] == 1.0


def test_unusable_pixels_are_nan_and_others_only_counted():
    flux = np.ones((1, 9, 9), dtype=np.float32)
    mask = np.zeros((1, 9, 9), dtype=np.uint8)
    mask[0, 4, 5] = MaskBit.SATURATED
    mask[0, 3, 3] = MaskBit.COSMIC_RAY
    mosaic = ArrayMosaic("m", [BandInfo("g", "nJy")], flux, tan_wcs(), mask)
    stamps = cut_stamps(mosaic, [4.0], [4.0], 3, ("g",))
    assert np.isnan(stamps.flux[0, 0, 1, 2])
    assert stamps.flux[0, 0, 0, 0] == 1.0
    assert stamps.valid_fraction[0] == pytest.approx(8 / 9)
    fractions = dict(zip(MASK_BITS, stamps.mask_fraction[0], strict=True))
    assert fractions[MaskBit.SATURATED] == fractions[MaskBit.COSMIC_RAY] == pytest.approx(1 / 9)
    assert fractions[MaskBit.NO_DATA] == 0


def test_a_read_outside_is_nan_and_no_data(mosaic):
    stamps = cut_stamps(mosaic, [0.0], [0.0], 5, ("g", "i"))
    assert np.isnan(stamps.flux[0, :, :2]).all()
    assert stamps.mask_fraction[0, MASK_BITS.index(MaskBit.NO_DATA)] == pytest.approx(16 / 25)


def test_world_to_pixel_round_trip_and_far_side(mosaic):
    ra, dec = mosaic.pixel_to_world([3.0, 20.5], [4.0, -2.0])
    x, y = mosaic.world_to_pixel(ra, dec)
    np.testing.assert_allclose([x, y], [[3.0, 20.5], [4.0, -2.0]], atol=1e-6)
    # the antipode of the centre projects onto the centre; it must be nowhere instead
    x, y = mosaic.world_to_pixel([49.95 + 180, np.nan], [-41.51, 0.0])
    assert np.isnan(x).all()
    assert np.isnan(y).all()


@settings(max_examples=200)
@given(
    st.integers(1, 21),
    st.sampled_from([0.0, 3.0, -7e4, 1e-3]),
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 20), st.integers(0, 20)), max_size=3),
    st.sampled_from([np.nan, 1.0]),
)
def test_a_stamp_is_flat_where_the_usable_pixels_of_a_band_are_alike(size, level, places, other):
    flux = np.full((2, size, size), level, dtype=np.float32)
    flux[1] += np.float32(2)
    for band, y, x in places:
        flux[band, y % size, x % size] = other
    fields = np.zeros((1, 2)), np.ones(1), np.zeros(1), np.zeros(1), np.zeros((1, 8))
    stamps = Stamps(("g", "i"), flux[None], *fields, 0.2)
    known = [band[np.isfinite(band)] for band in flux]
    assert stamps.is_flat[0] == any(len(np.unique(values)) < 2 for values in known)


def test_rounding_does_not_hide_a_flat_stamp_nor_faint_noise_make_one():
    rng = np.random.default_rng(2)
    flux = np.full((3, 1, 53, 53), 1234.5, dtype=np.float32)
    flux[0] *= 1 + rng.uniform(-4e-7, 4e-7, flux[0].shape).astype(np.float32)
    flux[1] += rng.normal(0, 0.02, flux[1].shape).astype(np.float32)  # of a pedestal, 1.6e-5
    flux[2, 0, 26, 26] += 0.1  # a lone pixel, which a sparse look misses
    fields = np.zeros((3, 2)), np.ones(3), np.zeros(3), np.zeros(3), np.zeros((3, 8))
    assert Stamps(("g",), flux, *fields, 0.2).is_flat.tolist() == [True, False, False]
