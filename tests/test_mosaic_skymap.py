"""The rings sky map: golden values, and twins that go another way."""

import pickle
import re

import numpy as np
import pytest
from astropy.table import Table
from hypothesis import given
from hypothesis import strategies as st

from survey_classifier.errors import MosaicError
from survey_classifier.mosaic.sky import SkyGrid
from survey_classifier.mosaic.skymap import (
    FIRST,
    N_RINGS,
    N_TRACTS,
    OVERLAP_DEG,
    PER_RING,
    RING_DEG,
    Patches,
    RingsTract,
    territory_of,
    tract_at,
)

CENTERS_DEG = np.array([RingsTract(number).center for number in range(N_TRACTS)])
RING_CENTERS_DEG = -90 + 180 / 121 * np.arange(122)  # both caps are rings too


@pytest.mark.parametrize(
    ("ra", "dec", "number"),
    [
        (150.1, 2.2, 9813),
        (49.9507, 41.5117, 15549),
        (49.2658, 41.2486, 15548),
        (49.2658 - 360, 41.2486, 15548),
        (0, -90, 0),
        (123, 90, N_TRACTS - 1),
        (0, -88.7, 1),
        (359.99, -88.7, 1),
        (10, 90.1, -1),
        (np.nan, 2, -1),
        (10, np.nan, -1),
        (np.inf, 2, -1),
    ],
)
def test_known_tracts(ra, dec, number):
    assert tract_at(ra, dec) == number
    assert N_TRACTS == 18938  # of the sky maps hsc_rings_v1 and lsst_cells_v1


@pytest.mark.parametrize(
    ("number", "center"),
    [
        (8279, (29.8755186721992, -6.69421487603305)),  # a PDR2 file's reference point
        (8763, (31.239669421488, -3.7190082644628)),
        (0, (0, -90)),
        (N_TRACTS - 1, (0, 90)),
    ],
)
def test_centers_are_those_in_the_headers_of_real_files(number, center):
    assert RingsTract(number).center == pytest.approx(center, abs=1e-11)


def test_each_center_belongs_to_its_own_tract():
    np.testing.assert_array_equal(tract_at(*CENTERS_DEG.T), np.arange(N_TRACTS))
    assert [RingsTract(n).ring for n in (0, 1, 4, 5, N_TRACTS - 1)] == [-1, 0, 0, 0, N_RINGS]


def test_a_ring_has_as_many_tracts_as_it_needs_and_no_more():
    edges = np.linspace(-90 + 90 / 121, 90 - 90 / 121, 121)
    across = np.linspace(edges[:-1], edges[1:], 1001)  # (points, ring)
    widest_deg = 360 * np.cos(np.radians(across)).max(axis=0)
    assert (widest_deg / PER_RING < RING_DEG).all()
    assert (widest_deg / (PER_RING - 1) >= RING_DEG * (1 - 1e-9)).all()


def nearest_tract(ra, dec):
    """The tract of the ring whose middle is nearest, nearest in right ascension there."""
    ring = np.abs(RING_CENTERS_DEG - dec).argmin()
    if ring in (0, 121):
        return 0 if ring == 0 else N_TRACTS - 1
    members = np.flatnonzero(np.abs(CENTERS_DEG[:, 1] - RING_CENTERS_DEG[ring]) < 1e-6)
    turns = np.abs((CENTERS_DEG[members, 0] - ra + 180) % 360 - 180)
    return members[turns.argmin()]


@given(ra=st.floats(-720, 720), dec=st.floats(-90, 90))
def test_a_position_belongs_to_the_nearest_tract_of_the_nearest_ring(ra, dec):
    number = int(tract_at(ra, dec))
    if number != nearest_tract(ra, dec):
        # On the border, to the last bits, either may be right.
        nudged = {nearest_tract(ra + a, dec + d) for a in (-1e-9, 1e-9) for d in (-1e-9, 1e-9)}
        assert number in nudged
        assert len(nudged) > 1


@given(st.integers(0, 2**32 - 1))
def test_every_position_belongs_to_exactly_one_tract(seed):
    random = np.random.default_rng(seed)
    ra, dec = random.uniform(0, 360, 5), np.degrees(np.arcsin(random.uniform(-1, 1, 5)))
    # The borders themselves too.
    number = random.integers(1, N_TRACTS - 1, 5)
    center = CENTERS_DEG[number]
    width = 360 / PER_RING[[RingsTract(int(n)).ring for n in number]]
    ra = np.concatenate([ra, center[:, 0] + width / 2, center[:, 0]])
    dec = np.concatenate([dec, center[:, 1], center[:, 1] + RING_DEG / 2])
    near = {
        int(n)
        for a in (-1e-6, 0, 1e-6)
        for d in (-1e-6, 0, 1e-6)
        for n in tract_at(ra + a, np.clip(dec + d, -90, 90))
    }
    claims = np.sum([RingsTract(n).contains(ra, dec) for n in near], axis=0)
    np.testing.assert_array_equal(claims, 1)


@given(st.integers(0, 2**32 - 1))
def test_the_image_of_a_tract_holds_what_belongs_to_it_and_the_overlap(seed):
    random = np.random.default_rng(seed)
    ra, dec = random.uniform(0, 360), np.degrees(np.arcsin(random.uniform(-1, 1)))
    tract = RingsTract(int(tract_at(ra, dec)))
    x, y = SkyGrid(tract.grid.wcs).world_to_pixel(ra, dec)
    margin_px = min(x, y, 35999 - x, 35999 - y)
    assert margin_px > OVERLAP_DEG * 3600 / 0.168
    assert tract.grid.shape == (36000, 36000)


def test_the_grid_is_the_one_in_the_headers_of_real_files():
    """A PDR2 cut-out of tract 8279: pixel 2150, 29608 of the tract is its first one."""
    wcs = RingsTract(8279).grid.wcs.wcs
    assert (wcs.crpix - [2150, 29608]).tolist() == [15850, -11608]
    assert wcs.cdelt == pytest.approx([-4.666666666663e-05, 4.66666666666412e-05], rel=1e-11)


@pytest.mark.parametrize(
    ("patches", "per_side"),
    [
        (Patches(), 9),
        (Patches(4000, 100, 0.2), 7),  # DC2
        (Patches(3000, 200, 0.2), 10),  # lsst_cells_v1
    ],
)
def test_patches_of_known_surveys(patches, per_side):
    assert patches.per_side == per_side


def test_patches_of_hsc():
    patches = Patches()
    assert {
        patches.outer(column, row).shape for column in (0, 4, 8) for row in (0, 4, 8)
    } == {(4100, 4100), (4100, 4200), (4200, 4100), (4200, 4200)}  # fmt: skip
    assert (patches.outer(4, 5).x0, patches.outer(4, 5).y0) == (15900, 19900)
    assert (patches.outer(8, 0).x1, patches.outer(8, 0).y0) == (36000, 0)


@given(
    inner=st.integers(300, 5000), border=st.integers(0, 300), scale=st.floats(0.1, 0.4),
    seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_every_pixel_of_a_tract_belongs_to_exactly_one_patch(inner, border, scale, seed):
    patches = Patches(inner, border, scale)
    n, side = patches.per_side, patches.tract_px
    boxes = {(c, r): patches.inner(c, r) for c in range(n) for r in (0, n // 2, n - 1)}
    assert sum(box.area for (_, row), box in boxes.items() if row == 0) * n == side**2
    assert 0 <= side - 1 - 2 * patches.center_px <= 1
    random = np.random.default_rng(seed)
    x, y = random.integers(0, side, (2, 20))
    column, row = patches.at(x + random.uniform(-0.5, 0.499, 20), y.astype(float))
    for i in range(20):
        box, outer = patches.inner(column[i], row[i]), patches.outer(column[i], row[i])
        assert box.y0 <= y[i] < box.y1
        assert box.x0 <= x[i] < box.x1
        assert outer.intersection(box) == box
        assert min(outer.y0, outer.x0) >= 0
        assert max(outer.y1, outer.x1) <= side
        for other in boxes.values():
            assert other == box or other.intersection(box) is None


def test_positions_off_the_tract_have_no_patch():
    x = np.array([-0.6, -0.5, 35999.4, 35999.5, np.nan, 100])
    column, row = Patches().at(x, np.full(6, 5000.0))
    assert column.tolist() == [-1, 0, 8, -1, -1, 0]
    assert row.tolist() == [-1, 1, 1, -1, -1, 1]


def test_catalogued_stars_lie_in_the_patches_of_their_files(real_data):
    """The survey's own files of these stars are named by tract and patch."""
    table = Table.read(real_data / "hsc/hsc_pdr2_star_cutouts/star_cat_correct.csv")
    named = [re.search(r"-(\d+)-(\d+),(\d+)-", name).groups() for name in table["psf_filename"]]
    ra, dec = np.array(table["ira"]), np.array(table["idec"])
    assert tract_at(ra, dec).tolist() == [int(tract) for tract, _, _ in named]
    x, y = SkyGrid(RingsTract(8279).grid.wcs).world_to_pixel(ra, dec)
    found = list(zip(*Patches().at(x, y), strict=True))
    assert found == [(int(column), int(row)) for _, column, row in named]
    assert len(set(found)) > 1


def test_numbers_in_releases_with_the_first_form_of_the_map():
    """There the loop over rings went one tract too far before it took the next ring."""
    for number in [1, 2, 5, 9813, *FIRST[1:-1:7].tolist(), N_TRACTS - 2]:
        ring, around = 0, number - 1
        while around > PER_RING[ring]:
            around -= PER_RING[ring]
            ring += 1
        tract = RingsTract(int(FIRST[ring] + around % PER_RING[ring]))
        assert number in tract.numbers
    assert RingsTract(9813).numbers == {9813}


def test_a_territory_is_made_again_from_its_name():
    tract = RingsTract(15549)
    assert tract.name == "rings:15549"
    assert territory_of(tract.name) == tract == pickle.loads(pickle.dumps(tract))  # noqa: S301
    for name in ("", "rings", "rings:", "rings:-1", "healpix:7"):
        with pytest.raises(MosaicError, match="names no territory"):
            territory_of(name)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RingsTract(N_TRACTS), "no tract 18938"),
        (lambda: territory_of("rings:20000"), "no tract 20000"),
        (lambda: RingsTract(-1), "no tract -1"),
        (lambda: Patches(0), "positive"),
        (lambda: Patches(scale_arcsec=float("nan")), "positive"),
        (lambda: Patches().inner(9, 0), "no patch 9,0: .* 9 x 9"),
        (lambda: Patches().outer(0, -1), "no patch 0,-1"),
    ],
)
def test_what_there_is_not(make, message):
    with pytest.raises(MosaicError, match=message):
        make()
