"""A small simulated field: pixels against the truth, tables against each other, seeds, masks."""

import csv
import filecmp

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from scipy.spatial import cKDTree

from survey_classifier.errors import ConfigError, RunError
from survey_classifier.membership.extinction import deredden
from survey_classifier.membership.red_sequence import PERSEUS_GZ
from survey_classifier.mosaic.pixels import MaskBit
from survey_classifier.mosaic.planning import plan_ingests
from survey_classifier.run.config import read_run
from survey_classifier.sources.redshifts import read_redshifts
from survey_classifier.sources.table import read_sources
from survey_classifier.synthetic import field as field_module
from survey_classifier.synthetic.exposure import (
    FILTERS,
    SCALE_ARCSEC,
    ZERO_POINT,
    BrightStars,
    Filter,
    Hole,
    bright_star_radius_arcsec,
    observe,
)
from survey_classifier.synthetic.field import simulate
from survey_classifier.synthetic.pointing import Pointing

SIZE_PX, N_SOURCES = 1024, 320
APERTURE_PX = 14.0


@pytest.fixture(scope="module")
def field(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated") / "field"
    return simulate(folder, seed=7, size_px=SIZE_PX, n_sources=N_SOURCES)


@pytest.fixture(scope="module")
def truth(field):
    return read_csv(field.truth)


@pytest.fixture(scope="module")
def images(field):
    opened = {band: fits.open(path, memmap=False) for band, path in field.images.items()}
    yield {band: (hdus["IMAGE"].data, hdus["MASK"].data) for band, hdus in opened.items()}
    for hdus in opened.values():
        hdus.close()


def read_csv(path):
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def number(column):
    return np.array([float(text) if text else np.nan for text in column])


def isolated_stars(truth, mask):
    """Return rows of unsaturated stars alone in 25 px, none brighter by 1 mag within 60 px."""
    x, y, r = (number(truth[name]) for name in ("x_px", "y_px", "r_total"))
    inside = (x > 40) & (x < SIZE_PX - 41) & (y > 40) & (y < SIZE_PX - 41)
    candidate = inside & (truth["true_class"] == "star") & (r > 17.8) & (r < 21.0)
    tree = cKDTree(np.column_stack([x, y]))
    rows = []
    for row in np.flatnonzero(candidate):
        alone = tree.query_ball_point([x[row], y[row]], 25) == [row]
        outshone = (r[tree.query_ball_point([x[row], y[row]], 60)] < r[row] - 1).any()
        here = mask[int(y[row]) - 30 : int(y[row]) + 31, int(x[row]) - 30 : int(x[row]) + 31]
        if alone and not outshone and not here.any():
            rows.append(row)
    return rows


def photometry(image, x, y):
    """Return sky-subtracted flux and the centroid about a position, by plain sums."""
    x0, y0 = round(x) - 30, round(y) - 30
    stamp = image[y0 : y0 + 61, x0 : x0 + 61].astype(np.float64)
    v, u = np.indices(stamp.shape)
    distance = np.hypot(u + x0 - x, v + y0 - y)
    stamp -= np.median(stamp[(distance > 18) & (distance < 28)])
    core, aperture = distance < 5, distance < APERTURE_PX
    flux = stamp[core].sum()
    center = [x0 + (stamp * u)[core].sum() / flux, y0 + (stamp * v)[core].sum() / flux]
    return stamp[aperture].sum(), center


@pytest.mark.parametrize("row", range(4))
def test_stars_have_their_flux_and_place(truth, images, row):
    band = FILTERS[row]
    image, mask = images[band.name]
    stars = isolated_stars(truth, mask)
    assert len(stars) >= 8
    radius2 = (APERTURE_PX * SCALE_ARCSEC) ** 2
    seeing = band.seeing
    within = (seeing.weight * (1 - np.exp(-0.5 * radius2 / seeing.variance_arcsec2))).sum()
    ratios, offsets = [], []
    for star in stars:
        x, y = float(truth["x_px"][star]), float(truth["y_px"][star])
        flux, center = photometry(image, x, y)
        expected = 10 ** (0.4 * (ZERO_POINT - float(truth[f"{band.name}_total"][star]))) * within
        ratios.append(flux / expected)
        offsets.append(np.subtract(center, [x, y]))
    assert np.median(ratios) == pytest.approx(1, abs=0.03)
    assert np.abs(np.median(offsets, axis=0)).max() < 0.05


def test_listed_positions_are_those_of_the_pixels(field, truth):
    header = fits.getheader(field.images["r"])
    sources = read_csv(field.sources)
    x, y = WCS(header).all_world2pix(number(sources["ra"]), number(sources["dec"]), 0)
    offset = np.column_stack([x - number(truth["x_px"]), y - number(truth["y_px"])]) * SCALE_ARCSEC
    assert offset.std() == pytest.approx(0.03, rel=0.15)
    assert np.abs(offset.mean(axis=0)).max() < 0.01


def test_the_projection_is_astropys():
    pointing = Pointing(4096, SCALE_ARCSEC, 49.950667, 41.511696)
    x, y = np.random.default_rng(0).uniform(-500, 4596, (2, 200))
    ra, dec = pointing.pixel_to_world(x, y)
    expected = WCS(fits.Header(pointing.cards())).all_pix2world(x, y, 0)
    np.testing.assert_allclose([ra, dec], expected, rtol=0, atol=1e-10)


def test_listed_magnitudes_scatter_about_the_truth(field, truth):
    sources = read_csv(field.sources)
    error = number(sources["r"]) - number(truth["r_total"])
    assert np.abs(np.nanmedian(error)) < 0.01
    assert 0.01 < np.nanmedian(np.abs(error)) < 0.05
    blank = np.mean([np.isnan(number(sources[band])).mean() for band in "griz"])
    assert 0 < blank < 0.05


def test_members_are_on_the_red_sequence_once_dereddened(field, truth):
    sources = read_csv(field.sources)
    ebv = number(sources["ebv"])
    assert 0.12 < ebv.min() < ebv.max() < 0.27
    g, r, z = (deredden(number(sources[band]), band, ebv) for band in "grz")
    member = truth["label"] == "member"
    delta = (g - z - PERSEUS_GZ.color(r))[member]
    assert np.nanmedian(delta) == pytest.approx(0, abs=0.05)
    assert np.nanmean(np.abs(delta) < 0.25) > 0.6


def test_counts_by_class_and_labels(field, truth):
    assert field.n_by_class == {"background": 163, "member": 38, "star": 119}
    assert ((truth["true_class"] == "member") == (truth["label"] == "member")).all()
    assert set(truth["label"]) == {"member", "nonmember"}


def test_the_order_of_the_list_says_nothing_about_the_class(field, truth):
    rank = np.arange(N_SOURCES)
    for name in ("member", "background", "star"):
        chosen = rank[truth["true_class"] == name]
        spread = N_SOURCES / np.sqrt(12 * len(chosen))
        assert abs(chosen.mean() - N_SOURCES / 2) < 4 * spread
    assert (truth["source_id"] == read_csv(field.sources)["source_id"]).all()


def test_listed_objects_are_apart_and_three_lie_off_the_image(truth):
    x, y = number(truth["x_px"]), number(truth["y_px"])
    off = (x < -0.5) | (x >= SIZE_PX - 0.5) | (y < -0.5) | (y >= SIZE_PX - 0.5)
    assert sorted(truth["true_class"][off]) == ["background", "member", "star"]
    assert not cKDTree(np.column_stack([x, y])).query_pairs(1.49 / SCALE_ARCSEC)


def test_the_hole_has_no_data_and_holds_a_source(truth, images):
    x, y = number(truth["x_px"]), number(truth["y_px"])
    assert (np.hypot(x - 0.25 * SIZE_PX, y - 0.75 * SIZE_PX) < 37).any()
    yy, xx = np.indices((SIZE_PX, SIZE_PX))
    hole = np.hypot(xx - 256, yy - 768) <= 37.5
    for image, mask in images.values():
        np.testing.assert_array_equal(np.isnan(image), hole)
        np.testing.assert_array_equal((mask & MaskBit.NO_DATA) != 0, hole)


def test_the_bright_star_is_saturated_masked_and_bleeds_along_its_row(images):
    x, y = round(0.72 * SIZE_PX), round(0.30 * SIZE_PX)
    for row, (image, mask) in enumerate(images.values()):
        saturated = (mask & MaskBit.SATURATED) != 0
        assert saturated[y, x]
        np.testing.assert_allclose(image[saturated], FILTERS[row].saturation, rtol=1e-6)
        along, across = saturated[y, x - 150 : x + 151].sum(), saturated[y - 150 : y + 151, x].sum()
        assert along > 2 * across
        assert mask[y + 40, x] & MaskBit.BRIGHT_STAR
        assert not mask[y + 250, x] & MaskBit.BRIGHT_STAR


def test_masked_radius_of_known_stars():
    radii = [bright_star_radius_arcsec(mag) for mag in (7, 10, 13, 16)]
    np.testing.assert_allclose(radii, [233.8, 59.5, 23.3, 13.1], atol=0.06)


def test_noise_is_that_of_the_band():
    band = Filter("r", 0.53, 0.054)
    nobody = BrightStars(*(np.zeros(0) for _ in range(4)))
    light = np.zeros((400, 400), dtype=np.float32)
    image, mask = observe(light, band, nobody, Hole(50, 60, 10), np.random.default_rng(1))
    step = np.diff(image[:, 100:], axis=1) / np.sqrt(2)
    assert step.std() == pytest.approx(band.noise, rel=0.02)
    assert set(np.unique(mask)) == {0, MaskBit.NO_DATA}


@pytest.mark.parametrize("band", FILTERS, ids=lambda band: band.name)
def test_a_star_of_17_5_just_saturates(band):
    assert 10 ** (0.4 * (ZERO_POINT - 17.5)) * band.seeing.peak_per_arcsec2 * SCALE_ARCSEC**2 == (
        pytest.approx(band.saturation)
    )


def test_redshifts_are_of_bright_objects_and_some_are_repeated(tmp_path):
    dense = simulate(tmp_path / "dense", seed=1, size_px=768, n_sources=700)
    spectra, truth = read_csv(dense.redshifts), read_csv(dense.truth)
    assert len(set(spectra["object_id"])) < len(spectra["object_id"])
    sky = np.column_stack([number(truth["ra"]) * np.cos(np.radians(41.5)), number(truth["dec"])])
    ra, dec = number(spectra["ra"]), number(spectra["dec"])
    here = np.column_stack([ra * np.cos(np.radians(41.5)), dec])
    distance, index = cKDTree(sky).query(here)
    assert (distance * 3600 < 0.6).all()
    assert number(truth["r_total"])[index].max() < 18.5
    good = spectra["z_warning"] == "0"
    error = np.abs(number(spectra["z"]) - number(truth["z_true"])[index]) / number(spectra["z_err"])
    assert error[good].max() < 5
    star = truth["true_class"][index] == "star"
    np.testing.assert_array_equal(spectra["spec_class"] == "STAR", star)


def test_the_run_file_is_read_and_all_it_names_is_there(field):
    config = read_run(field.run_file)
    sources = read_sources(config.path(config.sources.path), config.sources.columns)
    assert len(sources) == N_SOURCES
    assert tuple(sources.mag) == ("g", "r", "i", "z")
    redshifts = read_redshifts(config.path(config.redshifts[0].path), config.redshifts[0].columns)
    assert len(redshifts.z) > 0
    (plan,) = plan_ingests(config.mosaic, config.folder)
    assert [band.name for band in plan.bands] == ["g", "r", "i", "z"]
    assert [band.zero_point for band in plan.bands] == [27.0] * 4
    assert [band.psf_fwhm_arcsec for band in plan.bands] == [0.70, 0.53, 0.64, 0.62]
    assert config.path(config.truth.path) == field.truth
    assert config.truth.simulated


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path):
    folders = [tmp_path / name for name in ("one", "again", "other")]
    for folder, seed in zip(folders, (5, 5, 6), strict=True):
        simulate(folder, seed=seed, size_px=256, n_sources=20)
    names = sorted(path.name for path in folders[0].iterdir())
    assert len(names) == 8
    same, differ, failed = filecmp.cmpfiles(folders[0], folders[1], names, shallow=False)
    assert (sorted(same), differ, failed) == (names, [], [])
    _, differ, _ = filecmp.cmpfiles(folders[0], folders[2], names, shallow=False)
    assert sorted(differ) == names


def test_progress_counts_the_images(tmp_path):
    calls = []
    simulate(
        tmp_path / "field",
        seed=1,
        size_px=256,
        n_sources=20,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(field_module, "_write_image", fail)
    with pytest.raises(RunError, match=r"cannot write .*field \(disk full\): make room"):
        simulate(tmp_path / "field", seed=1, size_px=256, n_sources=20)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size_px": 255}, "too small"),
        ({"n_sources": 19}, "too small"),
        ({"n_sources": 2000}, "do not fit"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_a_field_that_cannot_be_made_is_refused(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        simulate(tmp_path / "field", **({"seed": 1, "size_px": 256, "n_sources": 20} | changes))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_is_not_touched(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="in use"):
        simulate(tmp_path, seed=1, size_px=256, n_sources=20)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("made", [lambda: Hole(0, 0, 0), lambda: Pointing(0, 0.1, 0, 0)])
def test_values_that_cannot_be_are_refused(made):
    with pytest.raises(ValueError, match="positive"):
        made()
