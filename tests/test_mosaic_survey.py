"""Which of many mosaics owns a source: the rule against a twin that looks at every pixel."""

import numpy as np
import pytest
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st

from survey_classifier.mosaic import survey
from survey_classifier.mosaic.array_mosaic import ArrayMosaic
from survey_classifier.mosaic.pixels import UNUSABLE, BandInfo, MaskBit
from survey_classifier.mosaic.sky import SkyGrid
from survey_classifier.mosaic.skymap import RingsTract, tract_at
from survey_classifier.mosaic.survey import held_by, owner_of

BANDS = ("g", "i")


class Sheet(ArrayMosaic):
    """A mosaic in memory that is one of several, and counts the pixels that are read."""

    def __init__(self, name, flux, wcs, mask=None, territory=""):
        super().__init__(name, [BandInfo(band, "nJy") for band in BANDS], flux, wcs, mask)
        self.territory = territory
        self.n_read = 0

    @property
    def sky(self):
        return self

    def read(self, box, bands, level=0):
        self.n_read += box.area
        return super().read(box, bands, level)


def wcs_at(ra, dec, shape, scale_arcsec=20.0, angle_deg=0.0):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [ra, dec]
    wcs.wcs.crpix = [(shape[1] + 1) / 2, (shape[0] + 1) / 2]
    cos, sin = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    wcs.wcs.cd = np.array([[-cos, sin], [sin, cos]]) * scale_arcsec / 3600
    return wcs


def whole(name, ra, dec, shape=(30, 40), **more):
    """Return a mosaic without a gap."""
    flux = np.zeros((2, *shape), dtype=np.float32)
    grid = {key: more.pop(key) for key in ("scale_arcsec", "angle_deg") if key in more}
    return Sheet(name, flux, wcs_at(ra, dec, shape, **grid), **more)


def twin(mosaics, ra, dec):
    """Return the owner of one position by comparing with every pixel of every mosaic."""
    claims = []
    for index, mosaic in enumerate(mosaics):
        x, y = (float(p) for p in mosaic.world_to_pixel(ra, dec))
        ny, nx = mosaic.shape
        if not (-0.5 <= x < nx - 0.5 and -0.5 <= y < ny - 0.5):
            continue
        framed = np.ones((ny + 2, nx + 2), dtype=bool)
        unusable = np.isnan(mosaic._flux) | ((mosaic._mask & np.uint8(UNUSABLE)) != 0)
        framed[1:-1, 1:-1] = unusable.any(axis=0)
        rows, cols = np.nonzero(framed)
        depth = np.hypot(rows - 1 - y, cols - 1 - x).min() * mosaic.scale_arcsec
        if framed[int(np.floor(y + 0.5)) + 1, int(np.floor(x + 0.5)) + 1]:
            depth = 0.0
        own = bool(mosaic.territory) and tract_at(ra, dec) == int(mosaic.territory[6:])
        claims.append((-int(depth > 0), -int(own), -round(depth, 6), mosaic.name, index))
    return min(claims)[-1] if claims else -1


@st.composite
def fields(draw):
    """A few overlapping mosaics with gaps, around any place of the sky, and sources on them."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    ra0 = draw(st.sampled_from([0.0, 49.95, 359.99]))
    dec0 = draw(st.sampled_from([-0.1, 41.5, -88.9, 89.95]))
    tract = int(tract_at(ra0, dec0))
    mosaics = []
    for number in range(draw(st.integers(2, 5))):
        shape = tuple(rng.integers(12, 40, 2))
        dec = np.clip(dec0 + rng.normal(0, 0.02), -89.999, 89.999)
        ra = (ra0 + rng.normal(0, 0.02) / np.cos(np.radians(dec))) % 360
        wcs = wcs_at(ra, dec, shape, rng.uniform(15, 30), rng.uniform(0, 360))
        flux = np.zeros((2, *shape), dtype=np.float32)
        flux[:, rng.random(shape) < rng.choice([0, 0.02, 0.3])] = np.nan
        flux[0, : rng.integers(0, 8)] = np.nan
        mask = rng.choice([0, 0, 0, int(MaskBit.BRIGHT_STAR)], (2, *shape)).astype(np.uint8)
        mask[1, :, : rng.integers(1, 6)] |= np.uint8(MaskBit.SATURATED)
        territory = f"rings:{rng.choice([tract, tract - 1])}" if rng.random() < 0.5 else ""
        mosaics.append(Sheet(f"m{number}", flux, wcs, mask, territory))
    x, y = rng.uniform(-5, 35, (2, 40))
    ra, dec = SkyGrid(mosaics[0].wcs).pixel_to_world(x, y)
    ra[::13] = np.nan
    return mosaics, ra, dec


@settings(max_examples=60)
@given(field=fields(), data=st.data())
def test_the_owner_is_that_of_the_twin_whatever_the_order(field, data):
    mosaics, ra, dec = field
    owner = owner_of(mosaics, ra, dec, BANDS)
    assert [twin(mosaics, *position) for position in zip(ra, dec, strict=True)] == list(owner)
    order = data.draw(st.permutations(range(len(mosaics))))
    again = owner_of([mosaics[index] for index in order], ra, dec, BANDS)
    assert [order[index] if index >= 0 else -1 for index in again] == list(owner)


def test_the_fields_of_the_twin_are_contested():
    """Else the comparison with the twin would show nothing."""
    n_held = []

    @settings(max_examples=60)
    @given(field=fields())
    def count(field):
        held = held_by(*field)
        n_held.extend(np.bincount(np.concatenate([h.rows for h in held]), minlength=40))

    count()
    assert np.mean(np.array(n_held) > 1) > 0.2


def test_usable_pixels_come_before_territory_before_depth_before_the_name():
    border = RingsTract(15549).center[0] - 0.5 * 360 / 181
    border = next(
        ra for ra in np.arange(border - 1, border + 1, 1e-4)
        if tract_at(ra, 41.5) != tract_at(ra + 1e-4, 41.5)
    )  # fmt: skip
    west, east = (f"rings:{tract_at(border + step, 41.5)}" for step in (-0.01, 0.01))
    assert west != east
    here = np.array([border - 0.01]), np.array([41.5])
    off, near = border - 0.02, border - 0.008
    names = lambda *mosaics: mosaics[owner_of(mosaics, *here, BANDS)[0]].name  # noqa: E731
    assert names(whole("a", off, 41.5), whole("b", near, 41.5)) == "b"
    assert names(whole("a", off, 41.5, territory=west), whole("b", near, 41.5)) == "a"
    assert names(whole("a", off, 41.5), whole("b", near, 41.5, territory=east)) == "b"
    gap = whole("a", off, 41.5, territory=west)
    gap._mask[1] = MaskBit.BAD
    assert names(gap, whole("b", near, 41.5)) == "b"
    assert names(gap, gap) == "a"
    assert names(whole("b", near, 41.5), whole("a", near, 41.5)) == "a"


def test_sources_that_nobody_holds():
    one, other = whole("a", 10.0, 0.0), whole("b", 10.0, 0.1)
    ra, dec = np.array([190.0, np.nan, 10.0, 10.0]), np.array([0.0, 0.0, np.nan, 0.0])
    assert list(owner_of([one, other], ra, dec, BANDS)) == [-1, -1, -1, 0]
    assert list(owner_of([one], ra, dec, BANDS)) == [-1, -1, -1, 0]
    assert not len(owner_of([one, other], ra[:0], dec[:0], BANDS))


def test_only_what_a_rim_may_be_in_is_read(monkeypatch):
    """Sources near the side that two mosaics share must not cost the whole mosaics."""
    monkeypatch.setattr(survey, "CHUNK_PX", 5)
    shape = (400, 400)
    left = whole("left", 10.0, 0.0, shape, scale_arcsec=5.0)
    right = whole("right", 10.0 - 340 * 5 / 3600, 0.0, shape, scale_arcsec=5.0)
    alone = whole("alone", 10.0, 0.3 + 400 * 5 / 3600, shape, scale_arcsec=5.0)
    for mosaic in (left, right):
        mosaic._flux[:, np.random.default_rng(7).random(shape) < 0.0008] = np.nan
    x, y = np.random.default_rng(0).uniform([300, 30], [399, 370], (3000, 2)).T
    ra, dec = left.pixel_to_world(x, y)
    mosaics = [left, alone, right]
    owner = owner_of(mosaics, ra, dec, BANDS)
    assert (owner == 0).sum() > 1000
    assert (owner == 2).sum() > 500
    assert alone.n_read == 0
    assert 0 < left.n_read < 0.4 * 400 * 400
    for index in range(0, 3000, 5):
        one = ra[index : index + 1], dec[index : index + 1]
        assert (
            owner_of(mosaics, *one, BANDS)[0]
            == owner[index]
            == twin(mosaics, ra[index], dec[index])
        )


@pytest.mark.parametrize("dec", [0.0, 60.0, 89.9])
def test_no_circle_is_too_small(dec):
    """Sources all over a wide grid are found, also where it holds a pole."""
    mosaic = whole("wide", 30.0, dec, (500, 300), scale_arcsec=600.0, angle_deg=33.0)
    x, y = np.random.default_rng(1).uniform(-0.5, [299.5, 499.5], (2000, 2)).T
    x[:4], y[:4] = [-0.499, 299.499, -0.499, 299.499], [-0.499, -0.499, 499.499, 499.499]
    ra, dec = mosaic.pixel_to_world(x, y)
    far = whole("far", 210.0, -80.0)
    assert len(held_by([mosaic, far], ra, dec)[0].rows) == 2000
