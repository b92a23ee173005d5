"""Simulated survey files, read back with astropy alone: headers, units, overlaps, WCS, flaws."""

import csv
import filecmp
import re
import tomllib
from contextlib import nullcontext

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given
from hypothesis import strategies as st

from survey_classifier import cli
from survey_classifier.errors import CheckpointError, ConfigError
from survey_classifier.geometry import Box
from survey_classifier.mosaic.exposure import MosaicInput
from survey_classifier.run.describe import describe
from survey_classifier.synthetic.archive import Extent
from survey_classifier.synthetic.euclid_files import OUTDATED
from survey_classifier.synthetic.plane import TangentPlane
from survey_classifier.synthetic.render import draw
from survey_classifier.synthetic.survey import SURVEYS, simulate_survey
from survey_classifier.synthetic.tiles import simulate_tiles

SIZES = {
    "hsc": {"size_px": 600, "tile_px": 400, "overlap_px": 20, "bands": ["g", "r"]},
    "euclid-mer": {"size_px": 700, "tile_px": 420, "overlap_px": 40, "bands": ["VIS", "H"]},
    "euclid-ero": {"size_px": 900, "bands": ["VIS", "Y"]},
    "sdss": {"size_px": 320, "tile_px": 440, "overlap_px": 30, "bands": ["r", "i"]},
}
NAMES = sorted(SIZES)
PLANES = {
    "hsc": {"NO_DATA": "NO_DATA", "SATURATED": "SAT", "COSMIC_RAY": "CR",
            "BRIGHT_STAR": "BRIGHT_OBJECT"},
    "euclid-mer": {"NO_DATA": 22, "SATURATED": 3, "COSMIC_RAY": 4, "BRIGHT_STAR": 19},
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("surveys")


@pytest.fixture(scope="module")
def noisy(folder):
    return {name: simulate_survey(folder / name, name, seed=3, **SIZES[name]) for name in NAMES}


@pytest.fixture(scope="module")
def pure(folder):
    return {
        name: simulate_survey(folder / f"{name}-pure", name, seed=3, noise=False, **SIZES[name])
        for name in NAMES
    }


def read_csv(path):
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


class Image:
    """What astropy says is in a file of some survey: counts, flaws by name, WCS, zero point."""

    def __init__(self, survey, path):
        self.path, self.flaws = path, {}
        with fits.open(path, memmap=False) as hdus:
            number = 1 if survey == "hsc" else 0
            self.header = hdus[number].header
            self.flux = hdus[number].data.astype(np.float64)
            self.wcs = WCS(self.header)
            if survey == "hsc":
                self.zero_point = 2.5 * np.log10(hdus[0].header["FLUXMAG0"])
                self.band = hdus[0].header["FILTER"].removeprefix("HSC-").lower()
                self.plate = path.name.split("-")[3]
                self.variance = hdus[3].data.astype(np.float64)
                planes, cards = hdus[2].data, hdus[2].header
                self.flaws = {
                    flaw: (planes >> cards[f"MP_{name}"]) & 1
                    for flaw, name in PLANES[survey].items()
                }
            elif survey == "sdss":
                self.zero_point, self.band = 22.5, self.header["FILTER"]
                self.plate = path.name.split("-")[4][:4]
            else:
                self.zero_point = self.header["MAGZERO" if "mer" in survey else "ZP_STACK"]
                self.band = self.header["FILTER"].removeprefix("NIR-")
                self.plate = "Perseus"
        if survey == "euclid-mer":
            self.plate = re.search(r"_TILE(\d{9})-", path.name)[1]
            self.variance = beside(path, "RMS").astype(np.float64) ** 2
            flags = beside(path, "FLAG")
            self.flaws = {flaw: (flags >> bit) & 1 for flaw, bit in PLANES[survey].items()}
        elif survey == "euclid-ero":
            self.flaws = {"NO_DATA": self.flux == 0}

    def holds(self, ra, dec, margin=0.0):
        x, y = self.wcs.all_world2pix(ra, dec, 0)
        ny, nx = self.flux.shape
        return margin <= x < nx - margin and margin <= y < ny - margin


def beside(path, kind):
    """The newest plane of a kind that belongs to a MER image."""
    band, tile = re.search(r"BGSUB-MOSAIC-([\w-]+)_TILE(\d+)-", path.name).groups()
    found = sorted(path.parent.glob(f"EUC_MER_MOSAIC-{band}-{kind}_TILE{tile}-*_2024*"))
    assert len(found) == 1
    return fits.getdata(found[0])


@pytest.fixture(scope="module")
def images():
    """Cached images of a simulated survey; of MER tiles the newer ones."""
    known = {}

    def of(survey, simulated):
        paths = [p for p in simulated.images if survey != "euclid-mer" or "BGSUB" in p.name]
        paths = [p for p in paths if "_2023" not in p.name]
        for path in paths:
            if path not in known:
                known[path] = Image(survey, path)
        return [known[path] for path in paths]

    return of


def brightest_star(simulated, band):
    stars = [row for row in read_csv(simulated.truth) if row["true_class"] == "star"]
    best = max(stars, key=lambda row: float(row[f"flux_{band}_njy"]))
    return float(best["ra"]), float(best["dec"]), float(best[f"flux_{band}_njy"])


def enclosed(seeing, radius_arcsec):
    """Share of a star's light within a circle."""
    return (seeing.weight * (1 - np.exp(-0.5 * radius_arcsec**2 / seeing.variance_arcsec2))).sum()


def distances(image, ra, dec):
    x, y = image.wcs.all_world2pix(ra, dec, 0)
    yy, xx = np.indices(image.flux.shape)
    return np.hypot(xx - x, yy - y), xx - x, yy - y


def aperture_flux(image, ra, dec, radius_px):
    """Sum within a circle, pixels at its rim by their share."""
    distance, _, _ = distances(image, ra, dec)
    return (np.clip(radius_px + 0.5 - distance, 0, 1) * image.flux)[distance < radius_px + 1].sum()


@pytest.mark.parametrize("survey", NAMES)
def test_stars_have_the_flux_of_the_truth_in_every_file(survey, pure, images):
    seen = 0
    for image in images(survey, pure[survey]):
        band = SURVEYS[survey].bands[image.band].filter
        ra, dec, flux_njy = brightest_star(pure[survey], image.band)
        radius_px = max(4 * band.seeing_arcsec / band.scale_arcsec, 8)
        if not image.holds(ra, dec, radius_px + 2):
            continue
        njy = aperture_flux(image, ra, dec, radius_px) * 10 ** (0.4 * (31.4 - image.zero_point))
        share = enclosed(band.seeing, radius_px * band.scale_arcsec)
        assert njy == pytest.approx(share * flux_njy, rel=1e-3), image.path.name
        seen += 1
    assert seen >= 2


@pytest.mark.parametrize("survey", NAMES)
def test_stars_are_where_the_wcs_says(survey, pure, images):
    seen = 0
    for image in images(survey, pure[survey]):
        ra, dec, _ = brightest_star(pure[survey], image.band)
        if not image.holds(ra, dec, 8):
            continue
        distance, dx, dy = distances(image, ra, dec)
        light = np.where(distance < 6, image.flux, 0)
        assert np.hypot((light * dx).sum(), (light * dy).sum()) < 0.02 * light.sum()
        seen += 1
    assert seen >= 2


def within(image, row):
    """Index of the pixels of an image that a row of the table of flaws speaks of."""
    scale = abs(image.header["CD2_2"]) * 3600
    ra, dec, radius_px = float(row["ra"]), float(row["dec"]), float(row["radius_arcsec"]) / scale
    if radius_px:
        return np.nonzero(distances(image, ra, dec)[0] < radius_px - 0.01)
    x, y = np.round(image.wcs.all_world2pix([ra], [dec], 0)).astype(int)
    ny, nx = image.flux.shape
    there = (x >= 0) & (x < nx) & (y >= 0) & (y < ny)
    return y[there], x[there]


@pytest.mark.parametrize("survey", ["hsc", "euclid-mer"])
def test_flaws_are_where_the_table_says(survey, noisy, images):
    rows = read_csv(noisy[survey].flaws)
    assert {row["flaw"] for row in rows} == set(PLANES[survey])
    found = set()
    for image in images(survey, noisy[survey]):
        mine = [r for r in rows if (r["plate"], r["band"]) == (image.plate, image.band)]
        assert mine
        for row in mine:
            flawed = within(image, row)
            assert image.flaws[row["flaw"]][flawed].all(), (image.path.name, row)
            found.update({row["flaw"]} if len(flawed[0]) else ())
    assert found == set(PLANES[survey])


def test_an_ero_is_zero_where_there_is_no_data(noisy, images):
    rows = read_csv(noisy["euclid-ero"].flaws)
    assert {row["flaw"] for row in rows} == {"NO_DATA"}
    for image in images("euclid-ero", noisy["euclid-ero"]):
        inside = np.zeros(image.flux.shape, bool)
        for row in rows:
            if row["band"] == image.band:
                inside[within(image, row)] = True
        assert 0.002 < inside.mean() < (image.flux == 0).mean() < 0.02
        assert (image.flux[inside] == 0).all()
        assert np.isfinite(image.flux).all()


@pytest.mark.parametrize("survey", ["hsc", "euclid-mer"])
def test_noise_is_what_the_variance_says(survey, noisy, pure, images):
    for seen, true in zip(images(survey, noisy[survey]), images(survey, pure[survey]), strict=True):
        empty = seen.flaws["NO_DATA"] != 0
        clean = ~empty & (seen.flaws["SATURATED"] == 0) & (seen.flaws["COSMIC_RAY"] == 0)
        pull = ((seen.flux - true.flux) / np.sqrt(true.variance))[clean]
        # White noise, and a quarter of it as a large-scale residual.
        step = np.diff(pull)
        assert step.std() / np.sqrt(2) == pytest.approx(1, abs=0.02)
        # Without noise light is followed further out.
        np.testing.assert_allclose(seen.variance[clean], true.variance[clean], rtol=0.01)
        assert (seen.variance[empty] > 1e30).all()


def test_hsc_headers_are_those_of_a_coadd(noisy, images):
    grids = {}
    for image in images("hsc", noisy["hsc"]):
        band, tract, patch = re.fullmatch(
            r"calexp-HSC-([GR])-(15548|15549)-(\d+,\d+)\.fits", image.path.name
        ).groups()
        with fits.open(image.path) as hdus:
            assert hdus[0].data is None
            assert hdus[0].header["FILTER"] == f"HSC-{band}"
            assert [h.header["EXTTYPE"] for h in hdus[1:]] == [
                "IMAGE", "MASK", "VARIANCE", "ARCHIVE_INDEX",
            ]  # fmt: skip
            assert hdus[0].header["AR_HDU"] == 5
            assert [h.data.dtype.kind + str(h.data.dtype.itemsize) for h in hdus[1:4]] == [
                "f4", "i4", "f4",
            ]  # fmt: skip
            column, row = (int(index) for index in patch.split(","))
            for hdu in hdus[1:4]:
                assert hdu.shape == (440, 440)
                assert (hdu.header["CRVAL1A"], hdu.header["CRVAL2A"]) == (
                    400 * column - 20, 400 * row - 20,
                )  # fmt: skip
                assert hdu.header["CTYPE1A"] == "LINEAR"
                # Every patch of a tract is a window of one grid, about the tract's center.
                grids.setdefault(tract, set()).add(
                    (
                        hdu.header["CRPIX1"] + hdu.header["CRVAL1A"],
                        hdu.header["CRPIX2"] + hdu.header["CRVAL2A"],
                        hdu.header["CRVAL1"],
                        hdu.header["CRVAL2"],
                    )
                )
        np.testing.assert_array_equal(np.isnan(image.flux), image.flaws["NO_DATA"] != 0)
    (west,), (east,) = grids["15548"], grids["15549"]
    height = 180 / 121
    ring = np.floor((41.5117 + 90 - height / 2) / height)
    nearest_equator = np.radians((ring + 0.5) * height - 90)
    count = np.floor(2 * np.pi * np.cos(nearest_equator) / np.radians(height)) + 1
    assert east[2] - west[2] == pytest.approx(360 / count)
    assert east[3] == west[3] == pytest.approx((ring + 1) * height - 90)
    assert east[2] == pytest.approx(49.9507, abs=180 / count)


def test_hsc_real_tracts_have_the_survey_s_reference_pixel():
    plates = SURVEYS["hsc"].plates(Extent(600, 4000, 100), SURVEYS["hsc"].bands["g"])
    assert [plate.name for plate in plates] == ["15548", "15549"]
    for plate in plates:
        # Pixel 18000 of FITS, less the origin of a patch: multiples of 4000, less the border.
        origin_x, origin_y = 17999 - plate.plane.x_px, 17999 - plate.plane.y_px
        assert (origin_x + 100) % 4000 == 0 or origin_x == 0
        assert (origin_y + 100) % 4000 == 0
        assert plate.plane.shape[0] % 4000 in (100, 200)


def patches(images):
    """Images by (band, tract), each with its window in pixels of the tract."""
    sorted_out = {}
    for image in images:
        x0, y0 = int(image.header["CRVAL1A"]), int(image.header["CRVAL2A"])
        box = Box(y0, y0 + image.flux.shape[0], x0, x0 + image.flux.shape[1])
        sorted_out.setdefault((image.band, image.plate), []).append((box, image))
    return sorted_out


def test_hsc_patches_of_a_tract_are_identical_where_they_overlap(noisy, images):
    pairs = 0
    for group in patches(images("hsc", noisy["hsc"])).values():
        for number, (box, image) in enumerate(group):
            for other_box, other in group[:number]:
                shared = box.intersection(other_box)
                if shared is None:
                    continue
                here = shared.shifted(-box.y0, -box.x0).slices
                there = shared.shifted(-other_box.y0, -other_box.x0).slices
                np.testing.assert_array_equal(image.flux[here], other.flux[there])
                np.testing.assert_array_equal(image.variance[here], other.variance[there])
                for flaw, plane in image.flaws.items():
                    np.testing.assert_array_equal(plane[here], other.flaws[flaw][there])
                pairs += 1
    assert pairs > 20


def test_hsc_tracts_show_one_sky_with_noise_of_their_own(noisy, pure, images):
    ra, dec, _ = brightest_star(pure["hsc"], "r")
    for simulated, rel in ((pure, 1e-3), (noisy, None)):
        seen = {}
        for image in images("hsc", simulated["hsc"]):
            if image.band == "r" and image.holds(ra, dec, 20):
                seen[image.plate] = image
        assert set(seen) == {"15548", "15549"}
        sums = [aperture_flux(image, ra, dec, 15) for image in seen.values()]
        if rel is None:
            assert sums[0] != sums[1]
        else:
            assert sums[0] == pytest.approx(sums[1], rel=rel)


def test_hsc_files_differ_in_mask_planes_and_compression(noisy, images):
    orders, compressed = {}, set()
    for image in images("hsc", noisy["hsc"]):
        with fits.open(image.path) as hdus:
            mask = hdus[2].header
            names = sorted((mask[key], key) for key in mask if key.startswith("MP_"))
            orders.setdefault(tuple(name for _, name in names), []).append(image.path.name)
            if isinstance(hdus[1], fits.CompImageHDU):
                compressed.add(image.path.name)
            assert "HIERARCH MP_DETECTED_NEGATIVE" in repr(mask)
    assert sorted(map(len, orders.values())) == [2, len(images("hsc", noisy["hsc"])) - 2]
    assert len(compressed) == 2


def test_mer_tiles_are_three_files_a_band_and_the_older_ones_differ(noisy, images):
    simulated = noisy["euclid-mer"]
    pattern = (
        r"EUC_MER_(BGSUB-MOSAIC-(VIS|NIR-H)|MOSAIC-(VIS|NIR-H)-(RMS|FLAG))_TILE\d{9}-[0-9A-F]{6}"
        r"_\d{8}T\d{6}\.\d{6}Z_00\.00\.fits"
    )
    assert all(re.fullmatch(pattern, path.name) for path in simulated.images)
    old = [path for path in simulated.images if "_2023" in path.name]
    assert len(old) == 6
    tiles = {image.plate for image in images("euclid-mer", simulated)}
    assert len(simulated.images) == 6 * len(tiles) + 6
    (older,) = (path for path in old if "BGSUB-MOSAIC-VIS" in path.name)
    tile = re.search("TILE([0-9]+)", older.name)[1]
    (newer,) = (i for i in images("euclid-mer", simulated) if (i.plate, i.band) == (tile, "VIS"))
    np.testing.assert_allclose(fits.getdata(older), OUTDATED * newer.flux, rtol=1e-5)
    for image in images("euclid-mer", simulated):
        assert image.flux.shape == (420, 420)
        empty = image.flaws["NO_DATA"] != 0
        assert (image.flux[empty] == 0).all()
        np.testing.assert_allclose(np.sqrt(image.variance[empty]), 1e16)


def test_mer_tiles_overlap_by_what_was_asked_for(noisy, images):
    vis = [i for i in images("euclid-mer", noisy["euclid-mer"]) if i.band == "VIS"]
    first = min(vis, key=lambda image: image.plate)
    centers = {i.plate: i.wcs.all_pix2world(209.5, 209.5, 0) for i in vis}
    offsets = [
        np.array(first.wcs.all_world2pix(*centers[plate], 0)) - 209.5 for plate in sorted(centers)
    ]
    expected = [[0, 0], [380, 0], [0, 380], [380, 380]]
    np.testing.assert_allclose(offsets, expected, atol=0.3)


def test_ero_bands_have_their_own_grids(noisy, images):
    vis, nisp = (
        next(i for i in images("euclid-ero", noisy["euclid-ero"]) if i.band == band)
        for band in ("VIS", "Y")
    )
    assert (vis.flux.shape, nisp.flux.shape) == ((900, 900), (300, 300))
    assert [i.path.name.split("-ERO")[0] for i in (vis, nisp)] == ["Euclid-VIS", "Euclid-NISP-Y"]
    corner = np.array(vis.wcs.all_world2pix(*nisp.wcs.all_pix2world(0, 0, 0), 0))
    offset = (corner - 1) % 1  # an aligned grid has its pixel centers on every third of VIS's
    assert (np.minimum(offset, 1 - offset) > 0.05).all()


def test_sdss_frames_are_as_the_data_model_says(noisy, images):
    frames = [image for image in images("sdss", noisy["sdss"]) if image.band == "r"]
    assert len(frames) == 2
    for image in frames:
        assert re.fullmatch(r"frame-r-007777-3-\d{4}\.fits\.bz2", image.path.name)
        assert image.path.read_bytes()[:3] == b"BZh"
        assert image.header["BUNIT"] == "nanomaggy"
        assert image.flux.shape == (320, 440)
        with fits.open(image.path) as hdus:
            assert hdus[1].shape == (440,)
            table = hdus[2].data
            assert table["ALLSKY"].shape == (1, 192, 256)
            assert table["XINTERP"].shape == (1, 440)
            assert table["YINTERP"].shape == (1, 320)
            counts = table["ALLSKY"].mean()
            sigma = hdus[1].data.mean() * np.sqrt(counts / 4.72 + 1.3225)
        step = np.abs(np.diff(image.flux, axis=1))
        assert np.median(step) / 0.6745 / np.sqrt(2) == pytest.approx(sigma, rel=0.1)
        north = np.array(image.wcs.all_pix2world(220, 160, 0))
        ahead = np.array(image.wcs.all_pix2world(220, 170, 0))
        east = (ahead[0] - north[0]) * np.cos(np.radians(north[1]))
        assert np.degrees(np.arctan2(east, ahead[1] - north[1])) == pytest.approx(104, abs=0.2)


def test_sdss_frames_share_rows(noisy, images):
    first, second = (image for image in images("sdss", noisy["sdss"]) if image.band == "r")
    middle = second.wcs.all_pix2world(220, 0, 0)
    x, y = first.wcs.all_world2pix(*middle, 0)
    assert x == pytest.approx(220, abs=0.5)
    assert y == pytest.approx(320 - 30, abs=0.5)


@pytest.mark.parametrize("survey", NAMES)
def test_every_source_on_the_sky_is_on_a_file_of_every_band(survey, noisy, images):
    truth = read_csv(noisy[survey].truth)
    assert len(truth) == len(read_csv(noisy[survey].sources)) == len(noisy[survey].sky.listed)
    listed = noisy[survey].sky.listed
    size = noisy[survey].sky.grid.shape[0]
    on = (np.abs(np.column_stack([listed.x_px, listed.y_px]) - (size - 1) / 2) < size / 2 - 2).all(
        axis=1
    )
    for band in SIZES[survey]["bands"]:
        files = [i for i in images(survey, noisy[survey]) if i.band == band]
        for row in np.flatnonzero(on):
            assert any(i.holds(listed.ra_deg[row], listed.dec_deg[row]) for i in files)


@pytest.mark.parametrize("survey", NAMES)
def test_the_run_file_names_the_files(survey, noisy):
    content = tomllib.loads(noisy[survey].run_file.read_text())
    inputs = [MosaicInput.model_validate(entry) for entry in content["mosaic"]["inputs"]]
    assert [entry.band for entry in inputs] == SIZES[survey]["bands"]
    assert {entry.reader for entry in inputs} == {survey}
    matched = set()
    for entry in inputs:
        paths = set(noisy[survey].folder.glob(entry.path.replace("{tile}", "*")))
        assert paths
        assert not paths & matched
        matched |= paths
    planes = {p for p in noisy[survey].images if "-RMS_" in p.name or "-FLAG_" in p.name}
    assert matched == set(noisy[survey].images) - planes


@pytest.mark.parametrize("survey", NAMES)
def test_the_run_file_can_be_classified_or_says_that_it_cannot(survey, tmp_path):
    sizes = {key: value for key, value in SIZES[survey].items() if key != "bands"}
    run = simulate_survey(tmp_path / survey, survey, seed=3, **sizes).run_file
    cannot = "# For ingest, inspect and detect only" in run.read_text()
    assert cannot == survey.startswith("euclid")
    with pytest.raises(CheckpointError, match="none that is shipped") if cannot else nullcontext():
        assert "perseus-synthetic" in "".join(describe(run))


def test_the_run_file_of_some_bands_is_for_ingest(noisy):
    for survey in NAMES:
        assert "# For ingest, inspect and detect only" in noisy[survey].run_file.read_text()


@given(
    ra=st.floats(0, 360), dec=st.floats(-80, 80), turn=st.floats(-180, 180),
    x0=st.integers(-500, 500), y0=st.integers(-500, 500),
)  # fmt: skip
def test_a_plane_is_what_its_cards_say(ra, dec, turn, x0, y0):
    plane = TangentPlane.centered((300, 400), 0.3, ra, dec, turn)
    plane = plane.window(Box(y0, y0 + 50, x0, x0 + 70))
    wcs = WCS(fits.Header(plane.cards()))
    x, y = np.array([0.0, 69.0, 0.0, 12.5]), np.array([0.0, 49.0, 49.0, -3.25])
    sky, oracle = plane.pixel_to_world(x, y), wcs.all_pix2world(x, y, 0)
    away = (sky[0] - oracle[0] + 180) % 360 - 180
    np.testing.assert_allclose(away * np.cos(np.radians(dec)), 0, atol=1e-9)
    np.testing.assert_allclose(sky[1], oracle[1], atol=1e-9)
    np.testing.assert_allclose(plane.world_to_pixel(*sky), (x, y), atol=1e-5)


def test_what_is_far_from_an_image_is_left_out_without_a_trace(pure):
    sky = pure["hsc"].sky
    band = SURVEYS["hsc"].bands["r"]
    seen = sky.through(band, 0.002 * band.filter.noise)
    # The scene's own grid, so that nothing is turned.
    plane = sky.grid.window(Box(40, 140, 300, 420))
    every = np.zeros(sky.grid.shape, dtype=np.float32)
    draw(every, seen.components, band.filter.seeing, plane.scale_arcsec, seen.floor)
    np.testing.assert_allclose(
        seen.light(plane), every[40:140, 300:420], rtol=1e-3, atol=2 * seen.floor
    )


def test_colors_of_members_are_those_of_each_camera(pure):
    sky = pure["hsc"].sky
    early = sky.scene.population.true_class == "member"
    early &= np.abs(np.diff(sky.scene.population.mag0[:, [3, 1]])[:, 0] - 0.628) < 0.06
    mag0, nothing = sky.scene.population.mag0[early], np.zeros(early.sum())
    vis, y, j, h = (
        SURVEYS["euclid-ero"].bands[name].observed(mag0, nothing) for name in ("VIS", "Y", "J", "H")
    )
    assert len(mag0) > 0
    assert np.median(mag0[:, 1] - vis) == pytest.approx(0.29, abs=0.03)
    for pair, color in (((vis, y), 0.66), ((y, j), 0.14), ((j, h), 0.16)):
        assert np.median(pair[0] - pair[1]) == pytest.approx(color, abs=0.07)
    dust = SURVEYS["hsc"].bands["g"].observed(mag0, nothing + 0.1)
    bare = SURVEYS["hsc"].bands["g"].observed(mag0, nothing)
    np.testing.assert_allclose(dust - bare, 0.324)
    np.testing.assert_allclose(bare, mag0[:, 0] - 0.080 * (mag0[:, 0] - mag0[:, 1]))


@pytest.mark.parametrize("survey", ["hsc", "euclid-mer"])
def test_the_same_seed_gives_the_same_bytes_and_another_does_not(survey, tmp_path):
    sizes = {"size_px": 420, "tile_px": 300, "overlap_px": 10}
    band = next(iter(SURVEYS[survey].bands))
    folders = [tmp_path / name for name in ("one", "again", "other")]
    for folder, seed in zip(folders, (5, 5, 6), strict=True):
        made = simulate_survey(folder, survey, seed=seed, bands=[band], n_sources=20, **sizes)
    names = sorted(path.name for path in folders[0].iterdir())
    assert len(names) == len(made.images) + 5
    _, differ, failed = filecmp.cmpfiles(folders[0], folders[1], names, shallow=False)
    assert failed == []
    for name in differ:  # gzip puts the time into the one that is tile-compressed
        with fits.open(folders[0] / name) as one, fits.open(folders[1] / name) as again:
            assert isinstance(one[1], fits.CompImageHDU)
            assert fits.FITSDiff(one, again).identical
    assert len(differ) <= 1
    _, differ, _ = filecmp.cmpfiles(folders[0], folders[2], names, shallow=False)
    # What is masked only may be the same by chance.
    assert {name for name in names if "FLAG" not in name} <= set(differ)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"survey": "des"}, "no survey 'des'"),
        ({"bands": ["y"]}, "hsc has no band 'y'"),
        ({"bands": []}, "no band of hsc"),
        ({"seed": -1}, "seed is -1"),
        ({"size_px": 100}, "too small"),
        ({"tile_px": 100, "overlap_px": 60}, "share 60 px"),
        ({"n_sources": 19}, "give 20 to"),
        ({"n_sources": 100_000}, "give 20 to"),
    ],
)
def test_a_survey_that_cannot_be_made_is_refused(tmp_path, changes, message):
    wanted = {"survey": "hsc", "seed": 1, "size_px": 600, "tile_px": 400} | changes
    with pytest.raises(ConfigError, match=message):
        simulate_survey(tmp_path / "survey", **wanted)
    assert list(tmp_path.iterdir()) == []


def test_progress_counts_the_exposures(tmp_path):
    calls = []
    simulate_survey(
        tmp_path / "ero", "euclid-ero", seed=1, size_px=420,
        progress=lambda done, total: calls.append((done, total)),
    )  # fmt: skip
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_the_command_line_simulates_a_survey(tmp_path, monkeypatch, capsys):
    words = ["simulate", tmp_path / "s", "--survey", "euclid-ero", "--size-px", "420"]
    monkeypatch.setattr("sys.argv", ["survey-classifier", *map(str, words)])
    with pytest.raises(SystemExit) as done:
        cli.main()
    assert done.value.code in (0, None)
    assert str(tmp_path / "s" / "run.toml") in capsys.readouterr().out.replace("\n", "")
    assert len(list((tmp_path / "s").glob("Euclid-*.fits"))) == 4


@pytest.fixture(scope="module")
def tiles(folder):
    return simulate_tiles(
        folder / "tiles",
        seed=2,
        n_tiles=10,
        tile_px=160,
        overlap_px=60,
        n_sources=200,
        bands=("g", "i"),
    )


def test_tiles_have_a_grid_each_and_their_bands_in_one_file(tiles):
    assert len(tiles.images) == 10
    references = set()
    for number, path in enumerate(tiles.images):
        with fits.open(path) as hdus:
            assert [hdu.name for hdu in hdus[1:]] == ["g", "i"]
            for hdu in hdus[1:]:
                assert hdu.shape == (160, 160)
                assert hdu.header["MAGZERO"] == 27.0
                assert np.isnan(hdu.data).any() or number % 2
                references.add((hdu.header["CRVAL1"], hdu.header["CD1_2"]))
    assert len(references) == 10
    content = tomllib.loads(tiles.run_file.read_text())["mosaic"]
    assert content["store"] == "stores/{tile}.zarr"
    assert [entry["path"] for entry in content["inputs"]] == ["tiles/{tile}.fits"] * 2


def test_tiles_that_overlap_show_the_same_sky(tiles):
    truth = [row for row in read_csv(tiles.truth) if row["true_class"] == "star"]
    ratios = []
    for row in truth:
        ra, dec, sums = float(row["ra"]), float(row["dec"]), []
        for path in tiles.images:
            with fits.open(path) as hdus:
                wcs, data = WCS(hdus["i"].header), hdus["i"].data.astype(float)
            x, y = wcs.all_world2pix(ra, dec, 0)
            if 12 < x < 148 and 12 < y < 148:
                yy, xx = np.indices(data.shape)
                sums.append(data[np.hypot(xx - x, yy - y) < 8].sum())
        bright = 17.5 < float(row["i_total"]) < 20
        if bright and len(sums) > 1 and np.isfinite(sums).all():
            ratios.append(max(sums) / min(sums))
    assert len(ratios) > 0
    assert max(ratios) < 1.03


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_tiles": 0}, "0 tiles"),
        ({"tile_px": 40}, "at least 64 px"),
        ({"overlap_px": 100}, "share 100 px"),
        ({"n_sources": 5}, "5 sources"),
        ({"bands": ("g", "y")}, "no bands y"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_tiles_that_cannot_be_made_are_refused(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        simulate_tiles(tmp_path / "tiles", **({"seed": 1, "n_tiles": 4} | changes))
    assert list(tmp_path.iterdir()) == []
