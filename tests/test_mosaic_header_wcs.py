"""The WCS of an image's header: distortions against their definitions, and what is refused."""

import pickle

import numpy as np
import pytest
from astropy.io import fits

from survey_classifier.errors import MosaicError
from survey_classifier.mosaic.readers.header_wcs import equatorial_wcs

CRVAL = (49.95, 41.51)
CRPIX = (310.5, 290.25)
SCALE_DEG = 0.2 / 3600
TAN = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"}
SIP = {
    "CTYPE1": "RA---TAN-SIP",
    "CTYPE2": "DEC--TAN-SIP",
    "A_ORDER": 3,
    "B_ORDER": 2,
    "A_2_0": 2e-5,
    "A_1_1": -1e-5,
    "A_0_3": 3e-8,
    "B_0_2": -3e-5,
    "B_1_0": 2e-4,
}
TPV_NAMES = {"CTYPE1": "RA---TPV", "CTYPE2": "DEC--TPV"}
PV = {
    "PV1_0": 1e-5,
    "PV1_1": 1.001,
    "PV1_2": 2e-4,
    "PV1_4": 0.3,
    "PV1_5": -0.2,
    "PV1_6": 0.1,
    "PV1_7": 5.0,
    "PV2_0": -2e-5,
    "PV2_1": 0.999,
    "PV2_2": 1e-4,
    "PV2_4": -0.4,
    "PV2_5": 0.25,
    "PV2_6": 0.1,
    "PV2_10": -3.0,
}


def header(angle_deg=20.0, **cards):
    """A rotated plane, east to the left of north."""
    angle = np.radians(angle_deg)
    cd = np.array([[-np.cos(angle), np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * SCALE_DEG
    found = fits.Header({"NAXIS": 2, "NAXIS1": 600, "NAXIS2": 600})
    found.update({f"CD{i + 1}_{j + 1}": cd[i, j] for i in range(2) for j in range(2)})
    found.update({"CRVAL1": CRVAL[0], "CRVAL2": CRVAL[1], "CRPIX1": CRPIX[0], "CRPIX2": CRPIX[1]})
    found.update(TAN | cards)
    return found


def from_plane(xi_deg, eta_deg, crval):
    """Return sky positions from the tangent plane (Calabretta & Greisen 2002, section 5.1.3)."""
    xi, eta, ra0, dec0 = np.radians(xi_deg), np.radians(eta_deg), *np.radians(crval)
    down = np.cos(dec0) - eta * np.sin(dec0)
    ra = ra0 + np.arctan2(xi, down)
    dec = np.arctan2(np.sin(dec0) + eta * np.cos(dec0), np.hypot(xi, down))
    return np.degrees(ra) % 360, np.degrees(dec)


def by_definition(cards, x, y):
    """Return the sky position of a pixel with SIP (Shupe et al. 2005) or TPV terms."""
    u, v = x + 1 - cards["CRPIX1"], y + 1 - cards["CRPIX2"]
    if "A_ORDER" in cards:
        terms = [
            sum(
                cards.get(f"{name}_{p}_{q}", 0.0) * u**p * v**q
                for p in range(cards[f"{name}_ORDER"] + 1)
                for q in range(cards[f"{name}_ORDER"] + 1 - p)
            )
            for name in "AB"
        ]
        u, v = u + terms[0], v + terms[1]
    xi = cards["CD1_1"] * u + cards["CD1_2"] * v
    eta = cards["CD2_1"] * u + cards["CD2_2"] * v
    if "PV1_1" in cards:
        xi, eta = polynomial(cards, 1, xi, eta), polynomial(cards, 2, eta, xi)
    return from_plane(xi, eta, (cards["CRVAL1"], cards["CRVAL2"]))


def polynomial(cards, axis, a, b):
    """TPV of the registry of FITS conventions, to the third order."""
    terms = [1, a, b, np.hypot(a, b), a**2, a * b, b**2, a**3, a**2 * b, a * b**2, b**3]
    return sum(cards.get(f"PV{axis}_{m}", 0.0) * term for m, term in enumerate(terms))


def off_arcsec(wcs, cards, x, y):
    ra, dec = wcs.all_pix2world(x, y, 0)
    ra0, dec0 = by_definition(cards, x, y)
    return np.hypot((ra - ra0) * np.cos(np.radians(dec0)), dec - dec0).max() * 3600


@pytest.mark.parametrize("cards", [{}, SIP, TPV_NAMES | PV, PV], ids=["tan", "sip", "tpv", "scamp"])
@pytest.mark.parametrize("pickled", [False, True])
def test_positions_are_those_of_the_definition(cards, pickled):
    """Also after a journey to another process."""
    full = header(**cards)
    wcs = equatorial_wcs(full, "g.fits")
    if pickled:
        wcs = pickle.loads(pickle.dumps(wcs))  # noqa: S301 - our own
    x, y = np.meshgrid(np.linspace(0, 599, 7), np.linspace(0, 599, 7))
    assert off_arcsec(wcs, full, x, y) < 1e-5
    if cards:  # the distortion is one that would be seen
        assert off_arcsec(equatorial_wcs(header(), "g.fits"), full, x, y) > 0.2


def test_a_real_exposure(real_data):
    """TAN-SIP; its reference pixel is far outside."""
    path = real_data / "hsc" / "HSC-0908120-056-small.fits"
    cards = fits.getheader(path, 1)
    x, y = np.meshgrid([0.0, 100.0, 199.0], [0.0, 100.0, 199.0])
    assert off_arcsec(equatorial_wcs(cards, path.name), cards, x, y) < 1e-5


@pytest.mark.parametrize("angle_deg", [0.0, 90.0, 123.0, 180.0, 270.0])
def test_a_mirrored_image_is_refused_however_it_is_turned(angle_deg):
    sound = header(angle_deg)
    assert equatorial_wcs(sound, "g.fits").naxis == 2
    for keys in (("CD1_1", "CD1_2"), ("CD1_1", "CD2_1"), ("CD2_1", "CD2_2")):
        mirrored = sound.copy()
        for key in keys:
            mirrored[key] = -sound[key]
        with pytest.raises(MosaicError, match=r"HDU 1 of g\.fits is mirrored.*north"):
            equatorial_wcs(mirrored, "HDU 1 of g.fits")


def test_a_mirrored_image_with_cdelt_is_refused():
    cards = fits.Header(TAN | {"CRVAL1": 49.95, "CRVAL2": 41.51, "CRPIX1": 1.0, "CRPIX2": 1.0})
    cards.update({"CDELT1": SCALE_DEG, "CDELT2": SCALE_DEG})
    with pytest.raises(MosaicError, match="mirrored"):
        equatorial_wcs(cards, "g.fits")
    cards["CDELT1"] = -SCALE_DEG
    assert equatorial_wcs(cards, "g.fits").wcs.cdelt[0] < 0


LOW_PV = {"PV1_0": 0.0, "PV1_1": 1.0, "PV1_2": 0.0, "PV2_1": 1.0, "PV2_4": 0.1}


@pytest.mark.parametrize(
    ("cards", "message"),
    [
        ({"CTYPE1": "RA---TNX", "CTYPE2": "DEC--TNX"}, "RA---TNX.*TPV or SIP"),
        ({"CTYPE1": "RA---ZPX", "CTYPE2": "DEC--ZPX"}, "RA---ZPX.*TPV or SIP"),
        ({"CTYPE1": "RA---XYZ", "CTYPE2": "DEC--XYZ"}, "not understood"),
        (SIP | TAN, "SIP terms.*-SIP"),
        (LOW_PV, "contradicts itself.*RA---TPV"),
        ({"CPDIS1": "LOOKUP", "CPDIS2": "LOOKUP"}, "not understood"),
        ({"CD1_1": 0.0, "CD1_2": 0.0}, "not understood"),
        ({"CTYPE1": "LINEAR", "CTYPE2": "LINEAR"}, "no celestial WCS"),
    ],
)
def test_what_would_give_wrong_positions_is_refused(cards, message):
    with pytest.raises(MosaicError, match=message) as caught:
        equatorial_wcs(header(**cards), "g.fits")
    assert "\n" not in str(caught.value)


def test_terms_of_low_order_are_read_when_their_name_is_clear():
    cards = header(**LOW_PV | TPV_NAMES)
    x, y = np.array([0.0, 599.0]), np.array([100.0, 300.0])
    assert off_arcsec(equatorial_wcs(cards, "g.fits"), cards, x, y) < 1e-5
