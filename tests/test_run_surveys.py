"""From a survey's files to the catalog: tracts with a store each, and many small tiles."""

import tomllib

import numpy as np
import pandas as pd
import pytest
import tomli_w

from survey_classifier import classify, ingest
from survey_classifier.geometry import Box
from survey_classifier.mosaic.pixels import UNUSABLE
from survey_classifier.synthetic.survey import simulate_survey
from survey_classifier.synthetic.tiles import simulate_tiles
from tests import small_run
from tests.survey_oracle import rings_tract
from tests.test_run_classify import assert_same_rows

BIN = 8
"""Pixels of a pixel of the coarsest level, by which it is decided whose a source is."""


def run_file(simulated, name, **tables):
    """Write a run file beside the simulated one, with other tables."""
    content = tomllib.loads(simulated.run_file.read_text())
    content |= {"name": name, "out": f"out-{name}", "cluster": {"kind": "serial"}} | tables
    path = simulated.folder / f"{name}.toml"
    path.write_text(tomli_w.dumps(content))
    return path


def rows_of(receipt):
    return pd.read_parquet(receipt.catalog).sort_values("source_id", ignore_index=True)


class Claimant:
    """A mosaic that may own sources; its coarsest level is made again of all pixels of level 0."""

    def __init__(self, mosaic):
        self.mosaic = mosaic
        ny, nx = (-(-side // BIN) * BIN for side in mosaic.shape)
        bands = [band.name for band in mosaic.bands]
        usable = (mosaic.read(Box(0, ny, 0, nx), bands).mask & np.uint8(UNUSABLE)) == 0
        share = usable.reshape(len(bands), ny // BIN, BIN, nx // BIN, BIN).mean(axis=(2, 4))
        self.is_bad = np.pad(~(share >= 0.5).all(axis=0), 1, constant_values=True)
        self.rim = np.argwhere(self.is_bad) - 1

    def claim(self, ra, dec):
        """Return ``(is_usable, depth_arcsec)`` at a position, None off the mosaic."""
        x, y = (float(axis) for axis in self.mosaic.world_to_pixel(ra, dec))
        ny, nx = self.mosaic.shape
        if not (-0.5 <= x < nx - 0.5 and -0.5 <= y < ny - 0.5):
            return None
        x, y = (x + 0.5) / BIN - 0.5, (y + 0.5) / BIN - 0.5
        depth = np.hypot(*(self.rim - [y, x]).T).min() * BIN * self.mosaic.scale_arcsec
        is_usable = not self.is_bad[int(np.floor(y + 0.5)) + 1, int(np.floor(x + 0.5)) + 1]
        return is_usable, round(depth * is_usable, 6)


def owners(mosaics, rows, territory_of_row=None):
    """Return the name of the mosaic that each source belongs to, '' where there is none."""
    claimants = [Claimant(mosaic) for mosaic in mosaics]
    names = []
    for number, (ra, dec) in enumerate(zip(rows.ra, rows.dec, strict=True)):
        claims = []
        for each in claimants:
            claim = each.claim(ra, dec)
            if claim is not None:
                own = territory_of_row is not None and (
                    each.mosaic.name == str(territory_of_row[number])
                )
                claims.append((not claim[0], not own, -claim[1], each.mosaic.name))
        names.append(min(claims)[-1] if claims else "")
    return np.array(names)


def stores_of(rows):
    """Return the name of the store that each row was made from; '' off all stores."""
    names = rows.tile.str.rpartition(".")[0]
    return names.where(~rows.status.isin(["off_mosaic", "no_position"]), "").to_numpy()


@pytest.fixture(scope="module")
def hsc(tmp_path_factory):
    return simulate_survey(
        tmp_path_factory.mktemp("hsc") / "hsc", "hsc", seed=5, size_px=640, tile_px=400,
        overlap_px=20, n_sources=160,
    )  # fmt: skip


@pytest.fixture(scope="module")
def by_tract(hsc):
    """A run of which each tract is a store, and its rows."""
    inputs = tomllib.loads(hsc.run_file.read_text())["mosaic"]["inputs"]
    for entry in inputs:
        entry["path"] = entry["path"].replace("-*", "-{tract}-*")
    run = run_file(hsc, "tracts", mosaic={"store": "{tract}.zarr", "inputs": inputs})
    receipt = classify(run)
    return run, receipt, rows_of(receipt)


def test_each_source_is_one_tract_s_and_has_one_row(hsc, by_tract):
    run, receipt, rows = by_tract
    listed = pd.read_csv(hsc.sources)
    assert receipt.exit_code == 0
    assert sorted(rows.source_id) == sorted(listed.source_id.astype(str))
    mosaics = [item.mosaic for item in ingest(run)]
    assert [mosaic.territory for mosaic in mosaics] == ["rings:15548", "rings:15549"]
    tract = rings_tract(rows.ra.to_numpy(), rows.dec.to_numpy())
    np.testing.assert_array_equal(stores_of(rows), owners(mosaics, rows, tract))
    assert min((tract == number).sum() for number in (15548, 15549)) > 50


def test_members_stand_out_in_the_catalog_of_the_files(hsc, by_tract):
    """All the way: units, bands and places are those that the shipped network was trained with."""
    truth = pd.read_csv(hsc.truth).set_index("source_id").true_class
    scored = by_tract[2].query("status == 'classified'").set_index("source_id")
    median = scored.p_image.groupby(truth.reindex(scored.index)).median()
    assert median["member"] > 0.6
    assert median[["background", "star"]].max() < 0.1


def test_the_finished_stores_in_any_order_give_the_same_rows(hsc, by_tract):
    again = run_file(hsc, "again", mosaic={"stores": ["15549.zarr", "15548.zarr"]})
    assert_same_rows(rows_of(classify(again)), by_tract[2])


@pytest.fixture(scope="module")
def tiles(tmp_path_factory):
    simulated = simulate_tiles(
        tmp_path_factory.mktemp("tiles") / "tiles", seed=5, n_tiles=40, bands=("r",)
    )
    small_run.write_checkpoint(
        simulated.folder / "net.safetensors", bands=("r",), stamp_arcsec=8.0,
        stretch={"r": {"softening": 20.0, "maximum": 2000.0}},
    )  # fmt: skip
    model = {"checkpoint": "net.safetensors", "device": "cpu"}
    return simulated, run_file(simulated, "tiles", model=model)


def test_a_survey_of_many_small_tiles_is_one_run(tiles):
    simulated, run = tiles
    receipt = classify(run)
    rows = rows_of(receipt)
    listed = pd.read_csv(simulated.sources)
    assert receipt.exit_code == 0
    assert receipt.n_tiles == 40
    assert sorted(rows.source_id) == sorted(listed.source_id.astype(str))
    mosaics = [item.mosaic for item in ingest(run)]
    expected = owners(mosaics, rows)
    np.testing.assert_array_equal(stores_of(rows), expected)
    assert len(set(expected) - {""}) > 35
    # The last row of tiles is short, so some of the sky is on none.
    assert set(rows.status[expected == ""]) == {"off_mosaic"}
    again = classify(run)
    assert (again.n_tiles_resumed, again.fingerprint) == (40, receipt.fingerprint)
    pd.testing.assert_frame_equal(rows_of(again), rows)
