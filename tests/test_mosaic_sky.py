"""Sky positions on a pixel grid: NaN where there is no answer, never a wrong one or an error."""

import pickle

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS, Sip
from hypothesis import given
from hypothesis import strategies as st

from survey_classifier.mosaic.sky import SkyGrid, as_written, pixel_scale_arcsec
from tests.test_stamps import tan_wcs


def sip_wcs(strength=2e-8):
    """Return a distorted grid: a cubic term that cannot be inverted far from the image."""
    wcs = tan_wcs(crpix=(500.0, 500.0))
    wcs.wcs.ctype = ["RA---TAN-SIP", "DEC--TAN-SIP"]
    a, b = np.zeros((4, 4)), np.zeros((4, 4))
    a[3, 0], b[0, 3], a[1, 1] = strength, -strength, 3e-6
    wcs.sip = Sip(a, b, None, None, wcs.wcs.crpix)
    wcs.wcs.set()
    return wcs


def test_one_far_source_does_not_spoil_the_others():
    grid = SkyGrid(sip_wcs())
    x, y = np.array([0.0, 999.0, 312.4]), np.array([10.0, 3.0, 900.7])
    ra, dec = grid.pixel_to_world(x, y)
    found = grid.world_to_pixel([*ra, 51.9, 49.0, 20.0], [*dec, 43.1, 40.0, 10.0])
    np.testing.assert_allclose(found[0][:3], x, atol=1e-3)
    np.testing.assert_allclose(found[1][:3], y, atol=1e-3)
    assert np.isnan(found).any(axis=0)[3:].any()


@given(st.floats(0, 360, exclude_max=True), st.floats(-90, 90))
def test_a_position_is_right_or_nan(ra, dec):
    """Whatever pixel comes out, it lies at that place of the sky."""
    grid = SkyGrid(sip_wcs())
    x, y = grid.world_to_pixel([ra], [dec])
    assert np.isfinite(x[0]) == np.isfinite(y[0])
    if np.isfinite(x[0]):
        back = grid.pixel_to_world(x, y)
        off_ra = (back[0][0] - ra + 180) % 360 - 180
        off = np.hypot(off_ra * np.cos(np.radians(dec)), back[1][0] - dec) * 3600
        assert off < 0.1 * grid.scale_arcsec


@pytest.mark.parametrize("ra0_deg", [0.0, -1.0])
@pytest.mark.parametrize("offset_deg", [0.0, -1e-15, 1e-15, -1e-9])
def test_right_ascension_is_below_360(offset_deg, ra0_deg):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---CAR", "DEC--CAR"]
    wcs.wcs.crval, wcs.wcs.crpix = [ra0_deg, 0.0], [1.0, 1.0]
    wcs.wcs.cdelt = [-0.1, 0.1]
    ra, _ = SkyGrid(wcs).pixel_to_world([(ra0_deg - offset_deg) / 0.1], [0.0])
    assert 0 <= ra[0] < 360


def test_positions_that_are_nowhere_are_nan():
    for wcs in (tan_wcs(), sip_wcs()):
        x, y = SkyGrid(wcs).world_to_pixel([np.nan, 229.95, 49.95], [0.0, -41.51, np.nan])
        assert np.isnan(x).all()
        assert np.isnan(y).all()


def test_the_pixel_scale_is_a_geometric_mean():
    wcs = tan_wcs(0.2)
    wcs.wcs.cdelt = [-0.1 / 3600, 0.4 / 3600]
    assert pixel_scale_arcsec(wcs) == pytest.approx(0.2)


def numbers(wcs):
    """Return all positions that a WCS has anything to say of, to the last bit."""
    x, y = np.meshgrid(np.linspace(-50, 9000, 9), np.linspace(-50, 9000, 9))
    ra, dec = wcs.all_pix2world(x, y, 0)
    return np.array([ra, dec, *wcs.wcs_world2pix(ra, dec, 0)])


@pytest.mark.parametrize("kind", ["PC", "CD", "SIP", "TPV"])
@given(
    crval=st.tuples(st.floats(0, 359), st.floats(-89, 89)),
    crpix=st.tuples(st.floats(-3e4, 3e4), st.floats(-3e4, 3e4)),
    angle_deg=st.floats(0, 360),
    scale_arcsec=st.floats(0.03, 2),
    seed=st.integers(0, 99),
)
def test_a_grid_as_written_is_the_same_wherever_it_goes(
    kind, crval, crpix, angle_deg, scale_arcsec, seed
):
    rng = np.random.default_rng(seed)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = crval, crpix
    cos, sin = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    turn = np.array([[-cos, sin], [sin, cos]]) + rng.normal(0, 1e-6, (2, 2))
    if kind == "PC":
        wcs.wcs.cdelt, wcs.wcs.pc = [scale_arcsec / 3600] * 2, turn
    else:
        wcs.wcs.cd = turn * scale_arcsec / 3600
    if kind == "SIP":
        wcs.wcs.ctype = ["RA---TAN-SIP", "DEC--TAN-SIP"]
        a, b = rng.normal(0, 1e-10, (2, 4, 4))
        wcs.sip = Sip(np.triu(a[::-1])[::-1], np.triu(b[::-1])[::-1], None, None, crpix)
    if kind == "TPV":
        header = wcs.to_header()
        header["CTYPE1"], header["CTYPE2"] = "RA---TPV", "DEC--TPV"
        for axis in (1, 2):
            terms = [0.0, 1.0, *rng.normal(0, 1e-3, 6)]
            header.update({f"PV{axis}_{m}": term for m, term in enumerate(terms)})
        wcs = WCS(fits.Header.fromstring(header.tostring()))
    written = as_written(wcs)
    pixel_deg = scale_arcsec / 3600
    np.testing.assert_allclose(numbers(written)[1], numbers(wcs)[1], rtol=0, atol=1e-3 * pixel_deg)
    once = pickle.loads(pickle.dumps(written))  # noqa: S301 - our own
    for again in (once, pickle.loads(pickle.dumps(once)), as_written(written)):  # noqa: S301
        np.testing.assert_array_equal(numbers(again), numbers(written))
