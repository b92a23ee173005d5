"""The verb ``detect``, runs whose sources are detected, and what is found of a simulated field."""

import tomllib

import numpy as np
import pytest
import tomli_w
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table
from scipy.spatial import KDTree

from survey_classifier import classify, detect
from survey_classifier.catalog.detections import detection_columns
from survey_classifier.catalog.read import column_names, read_columns
from survey_classifier.errors import ConfigError, SourcesError
from survey_classifier.membership.perseus import CENTER_DEG
from survey_classifier.membership.skill import roc_area
from survey_classifier.mosaic.store import Mosaic
from survey_classifier.run import detect as detect_module
from survey_classifier.run.config import read_run
from survey_classifier.run.describe import describe
from survey_classifier.run.plan import plan
from survey_classifier.sources.detect import detect as detect_on
from survey_classifier.sources.detection import DetectionFlag
from survey_classifier.synthetic import field as field_module
from survey_classifier.synthetic.field import simulate
from survey_classifier.synthetic.pointing import Pointing
from survey_classifier.synthetic.scene import fill_scene, list_objects
from survey_classifier.synthetic.tiles import simulate_tiles
from tests import small_run

SIZE_PX, N_SOURCES, SEED = 1536, 700, 5
BANDS = ("g", "r", "i", "z")


def rewritten(path, name, **changes):
    """Write a run file beside another, with some tables changed; None removes one."""
    content = tomllib.loads(path.read_text()) | {"name": name, "out": f"out-{name}"} | changes
    target = path.with_name(f"{name}.toml")
    target.write_text(tomli_w.dumps({k: v for k, v in content.items() if v is not None}))
    return target


DETECTED = {"sources": {"detect": True, "ebv": 0.17}, "redshifts": None, "truth": None}


@pytest.fixture(scope="module")
def field(tmp_path_factory):
    return simulate(
        tmp_path_factory.mktemp("field") / "f", seed=SEED, size_px=SIZE_PX, n_sources=N_SOURCES
    )


@pytest.fixture(scope="module")
def found(field):
    run = rewritten(field.run_file, "found", **DETECTED)
    return detect(run)


TILES = {
    "sources": {"detect": True},
    "model": {"checkpoint": "perseus-synthetic"},
    "detect": {"threshold_sigma": 6, "background_arcsec": 20},
}


@pytest.fixture(scope="module")
def tiles(tmp_path_factory):
    """Four small overlapping images, each turned a little."""
    folder = tmp_path_factory.mktemp("tiles") / "t"
    return simulate_tiles(folder, seed=2, n_tiles=4, tile_px=320, overlap_px=96, n_sources=60)


@pytest.fixture(scope="module")
def truth():
    """All that was drawn, the unlisted faint sky included; not what lies in the hole."""
    pointing = Pointing(SIZE_PX, field_module.SCALE_ARCSEC, *CENTER_DEG)
    hole = field_module.Hole(0.25 * SIZE_PX, 0.75 * SIZE_PX, field_module._HOLE_RADIUS * SIZE_PX)
    who = np.random.default_rng(SEED).spawn(2 + len(BANDS))[0]
    scene = fill_scene(who, list_objects(who, pointing, hole, N_SOURCES), pointing)
    inside = (abs(scene.x_px - SIZE_PX / 2) < SIZE_PX / 2 - 2) & (
        abs(scene.y_px - SIZE_PX / 2) < SIZE_PX / 2 - 2
    )
    inside &= np.hypot(scene.x_px - hole.x_px, scene.y_px - hole.y_px) > hole.radius_px + 5
    return {
        "place": np.c_[scene.x_px, scene.y_px][inside],
        "mag": scene.mag[inside],
        "class": scene.population.true_class.astype(str)[inside],
        "radius_px": scene.population.r_eff_arcsec[inside] / field_module.SCALE_ARCSEC,
    }


def test_the_file_opens_with_units(found):
    table = Table.read(found, format="parquet.votable")
    assert str(table["ra"].unit) == "deg"
    assert str(table["mag_aper_i"].unit) == "mag"
    assert str(table["flux_i"].unit) == "nJy"
    assert table.colnames == [c.name for c in detection_columns(BANDS, 2.0, 0.7)]
    assert len(set(table["source_id"])) == len(table)
    assert "smoothed to a seeing of 0.7 arcsec" in table["mag_aper_i"].description
    names = SkyCoord(
        [f"{n[1:3]}h{n[3:5]}m{n[5:11]}s {n[11:14]}d{n[14:16]}m{n[16:21]}s" for n in
         table["source_id"][:50]]
    )  # fmt: skip
    apart = names.separation(SkyCoord(table["ra"][:50], table["dec"][:50], unit="deg"))
    assert apart.arcsec.max() < 0.02


def test_completeness_by_magnitude_and_class(found, truth):
    rows = read_columns(found, ["x", "y"])
    distance, _ = KDTree(np.c_[rows["x"], rows["y"]]).query(truth["place"])
    near = distance < np.maximum(0.6 / 0.168, 0.5 * truth["radius_px"])
    # Stars are points. Galaxies drown in the halos of brighter ones: this is a cluster's center.
    least = {
        ("star", 17, 20): 0.97, ("star", 20, 22): 0.9, ("star", 22, 24): 0.7,
        ("member", 15, 19): 0.85, ("member", 19, 21): 0.65,
        ("background", 18, 21): 0.8, ("background", 21, 23): 0.65, ("background", 23, 24): 0.45,
    }  # fmt: skip
    for (name, low, high), share in least.items():
        chosen = (truth["class"] == name) & (truth["mag"][:, 2] >= low)
        chosen &= truth["mag"][:, 2] < high
        assert chosen.sum() > 5
        print(f"{name} i {low}-{high}: {near[chosen].mean():.3f} of {chosen.sum()}")
        assert near[chosen].mean() > share, (name, low, high)


def test_purity_by_magnitude(found, truth):
    """A detection is real if something of its magnitude, to 1.5, was drawn within 1 arcsec."""
    rows = read_columns(found, ["x", "y", "mag_i", "detection_flags"])
    clear = (rows["detection_flags"] & int(DetectionFlag.BRIGHT_STAR)) == 0
    tree = KDTree(truth["place"])
    around = tree.query_ball_point(np.c_[rows["x"], rows["y"]], 1 / 0.168)
    real = np.array([
        any(abs(truth["mag"][index, 2] - mag) < 1.5 for index in indices)
        for indices, mag in zip(around, rows["mag_i"], strict=True)
    ])  # fmt: skip
    for low, high, share in ((15, 18, 0.7), (18, 21, 0.75), (21, 24, 0.88), (24, 25, 0.75)):
        chosen = clear & (rows["mag_i"] >= low) & (rows["mag_i"] < high)
        print(f"i {low}-{high}: {real[chosen].mean():.3f} of {chosen.sum()}")
        assert real[chosen].mean() > share, (low, high)


def test_photometry_of_stars(found, truth):
    names = ["x", "y", "detection_flags", "point_likeness"]
    names += [f"{kind}_{b}" for b in "gi" for kind in ("mag", "mag_aper", "magerr_aper")]
    rows = read_columns(found, names)
    star = (truth["class"] == "star") & (truth["mag"][:, 2] > 18) & (truth["mag"][:, 2] < 22)
    distance, row = KDTree(np.c_[rows["x"], rows["y"]]).query(truth["place"][star])
    flawed = int(DetectionFlag.SATURATED | DetectionFlag.EDGE | DetectionFlag.BLENDED)
    good = (distance < 2) & ((rows["detection_flags"][row] & flawed) == 0)
    row, mag = row[good], truth["mag"][star][good]
    assert good.sum() > 40
    off = rows["mag_i"][row] - mag[:, 2]
    assert 0.0 < np.median(off) < 0.06  # the wings of the seeing lie outside of Kron's aperture
    color = rows["mag_aper_g"][row] - rows["mag_aper_i"][row] - (mag[:, 0] - mag[:, 2])
    assert abs(np.median(color)) < 0.02
    assert np.median(abs(color)) < 0.03
    assert (rows["point_likeness"][row] > 0.5).mean() > 0.9


def test_stars_are_told_from_galaxies(found, truth):
    rows = read_columns(found, ["x", "y", "mag_i", "detection_flags", "point_likeness"])
    distance, row = KDTree(np.c_[rows["x"], rows["y"]]).query(truth["place"])
    flawed = int(DetectionFlag.SATURATED | DetectionFlag.EDGE | DetectionFlag.BRIGHT_STAR)
    good = (distance < 3) & ((rows["detection_flags"][row] & flawed) == 0)
    # Else something faint that lies behind a star counts as one.
    good &= abs(rows["mag_i"][row] - truth["mag"][:, 2]) < 0.75
    good &= np.isfinite(rows["point_likeness"][row])
    for low, high, least in ((18, 21, 0.98), (21, 23, 0.93)):
        chosen = good & (truth["mag"][:, 2] >= low) & (truth["mag"][:, 2] < high)
        likeness, star = rows["point_likeness"][row[chosen]], truth["class"][chosen] == "star"
        area = roc_area(likeness, star)
        print(f"i {low}-{high}: star-galaxy AUC {area:.4f}, {star.sum()} stars of {len(star)}")
        assert area > least


def test_a_run_finds_its_sources_and_classifies_each(field, found):
    run = rewritten(field.run_file, "found", **DETECTED)
    receipt = classify(run, cluster="serial")
    listed = read_columns(found, ["source_id", "mag_r"])
    rows = read_columns(read_run(run).catalog_path, ["source_id", "mag_r"])
    assert receipt.n_in == len(listed["source_id"]) > 500
    assert sorted(rows["source_id"]) == sorted(listed["source_id"])
    # Dereddened by the constant of the run file.
    at = dict(zip(listed["source_id"], listed["mag_r"], strict=True))
    off = np.array([at[n] - m for n, m in zip(rows["source_id"], rows["mag_r"], strict=True)])
    np.testing.assert_allclose(off[np.isfinite(off)], 0.17 * 2.285, atol=1e-4)
    again = read_run(read_run(run).resolved_path)
    assert again.sources.detect
    assert plan(again).fingerprint == receipt.fingerprint


def test_a_stopped_detection_goes_on_to_the_same_list(tiles, monkeypatch):
    whole = detect(rewritten(tiles.run_file, "whole", **TILES))
    smaller = TILES | {"detect": TILES["detect"] | {"tile_px": 128}}
    run = rewritten(tiles.run_file, "stopped", **smaller)
    steps = []

    def stops(search, core):
        steps.append(core)
        if len(steps) == 14:
            raise KeyboardInterrupt
        return tile(search, core)

    tile = detect_module.Search.tile
    monkeypatch.setattr(detect_module.Search, "tile", stops)
    with pytest.raises(KeyboardInterrupt):
        detect(run)
    config = read_run(run)
    assert not config.detected_path.exists()
    with pytest.raises(SourcesError, match="no sources are detected yet"):
        plan(run)
    assert any("to be detected" in line for line in describe(run))
    n_before = len(steps)
    path = detect(run, out=config.folder / "copy.parquet")
    n_tiles = 4 * 9
    assert n_tiles - n_before <= len(steps) - n_before < n_tiles - 10
    assert path.read_bytes() == config.detected_path.read_bytes()
    assert not (config.out_folder / "detecting").exists()
    for name in column_names(whole):
        one, other = (read_columns(file, [name])[name] for file in (whole, path))
        assert np.array_equal(one, other, equal_nan=one.dtype.kind == "f"), name


def test_a_list_of_other_settings_is_made_again(tiles):
    run = rewritten(tiles.run_file, "changed", **TILES)
    path = detect(run)
    before, n = path.stat().st_mtime_ns, len(read_columns(path, ["x"])["x"])
    assert detect(run).stat().st_mtime_ns == before
    run = rewritten(tiles.run_file, "changed", **TILES | {"detect": {"threshold_sigma": 40}})
    with pytest.raises(SourcesError, match="other settings; run detect"):
        plan(run)
    assert len(read_columns(detect(run), ["x"])["x"]) < n


def test_sources_of_overlapping_mosaics_are_kept_once(tiles):
    run = rewritten(tiles.run_file, "tiles", **TILES)
    path = detect(run)
    rows = read_columns(path, ["ra", "dec", "mosaic"])
    assert len(set(rows["mosaic"])) == 4
    places = SkyCoord(rows["ra"], rows["dec"], unit="deg")
    one, other, _, _ = places.search_around_sky(places, 0.5 * units.arcsec)
    assert (rows["mosaic"][one] == rows["mosaic"][other]).all()
    # What stands out on any of them is in the list, once.
    n_seen = n_listed = 0
    for store in tiles.folder.rglob("*.zarr"):
        alone = detect_on(Mosaic.open(store), read_run(run).detect)
        bright = (alone["detection_sigma"] > 40) & (alone["detection_flags"] == 0)
        seen = SkyCoord(alone["ra"][bright], alone["dec"][bright], unit="deg")
        _, apart, _ = seen.match_to_catalog_sky(places)
        n_seen, n_listed = n_seen + len(seen), n_listed + (apart.arcsec < 0.5).sum()
    assert n_seen > 30
    assert n_listed > 0.98 * n_seen


def test_sources_are_a_list_or_detected(tmp_path):
    run = small_run.make(tmp_path)
    path = run.write("both", sources={"detect": True})
    with pytest.raises(ConfigError, match=r"either path .* or detect = true"):
        read_run(path)
    content = tomllib.loads(path.read_text())
    content["sources"] = {"detect": True, "columns": {"id": "name"}}
    path.write_text(tomli_w.dumps(content))
    with pytest.raises(ConfigError, match="columns of their own"):
        read_run(path)


def test_display_units_are_refused_before_the_ingest(tmp_path):
    header = small_run.grid().to_header()
    fits.PrimaryHDU(np.ones((300, 300), np.float32), header).writeto(tmp_path / "i.fits")
    run = tmp_path / "run.toml"
    run.write_text(
        'name = "d"\nout = "out"\n[mosaic]\nstore = "d.zarr"\n[[mosaic.inputs]]\n'
        'path = "i.fits"\nband = "i"\nunit = "display"\n[sources]\ndetect = true\n'
        '[model]\ncheckpoint = "perseus-sdss"\n'
    )
    with pytest.raises(SourcesError, match="display units"):
        detect(run)
    assert not (tmp_path / "d.zarr").exists()
