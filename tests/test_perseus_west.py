"""The real run: the west of Perseus, from the mosaic's FITS file to the published catalog."""

import numpy as np
import pandas as pd
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from survey_classifier import classify
from survey_classifier.run.config import read_run
from tests.conftest import REPOSITORY


@pytest.fixture(scope="module")
def run(real_data, tmp_path_factory):
    """Run deploy/runs/perseus-west.toml through Dask, into a folder of its own."""
    folder = tmp_path_factory.mktemp("west")
    patch = pytest.MonkeyPatch()
    patch.setenv("SURVEY_CLASSIFIER_DATA", str(real_data))
    config = read_run(REPOSITORY / "deploy" / "runs" / "perseus-west.toml")
    mosaic = config.mosaic.model_copy(update={"store": str(folder / "west.zarr")})
    cluster = config.cluster.model_copy(update={"dashboard": "127.0.0.1:0"})
    changes = {"out": str(folder / "out"), "mosaic": mosaic, "cluster": cluster}
    receipt = classify(config.model_copy(update=changes))
    patch.undo()
    return receipt


@pytest.fixture(scope="module")
def rows(run):
    return pd.read_parquet(run.catalog).set_index("source_id")


@pytest.fixture(scope="module")
def pcc(real_data):
    return pd.read_csv(real_data / "perseus" / "pcc_dev.csv").set_index("pcc_id")


def test_every_source_of_the_catalog_has_its_row(run, rows, pcc):
    assert run.exit_code == 0
    assert run.n_in == len(rows) == len(pcc) == 3362
    assert set(rows.index) == set(pcc.index)
    assert run.n_classified + sum(run.n_by_reason.values()) == 3362
    np.testing.assert_allclose(rows.ra, pcc.ra.reindex(rows.index), atol=1e-12)


def test_positions_and_coverage_are_those_of_the_file(rows, real_data):
    with fits.open(real_data / "perseus" / "perseus_sdss_rgb_0p4_west_dev.fits") as hdus:
        x, y = WCS(hdus["SDSS_I"].header).all_world2pix(rows.ra, rows.dec, 0)
        coverage = hdus["COVERAGE"].data
    np.testing.assert_allclose(rows.x, x, atol=1e-6)
    np.testing.assert_allclose(rows.y, y, atol=1e-6)
    size = 53  # 20 arcsec at 0.4 arcsec, and what sub-pixel centring needs
    for row in rows.sample(200, random_state=1).itertuples():
        x0, y0 = (int(np.floor(v + 0.5)) - size // 2 for v in (row.x, row.y))
        box = coverage[max(y0, 0) : y0 + size, max(x0, 0) : x0 + size]
        assert row.valid_fraction == pytest.approx((box > 0).sum() / size**2, abs=1e-6)
    assert ((rows["flags"] & 2) != 0).equals(rows.valid_fraction < 1)
    assert 20 < (rows.valid_fraction < 1).sum() < 60


def test_redshifts_are_those_that_astropy_matches(rows, real_data):
    spectra = pd.read_csv(real_data / "perseus" / "sdss_spectra_dev.csv")
    sky = SkyCoord(spectra.ra, spectra.dec, unit="deg")
    index, separation, _ = SkyCoord(rows.ra, rows.dec, unit="deg").match_to_catalog_sky(sky)
    near = separation < 1.5 * u.arcsec
    assert near.sum() == rows.z.notna().sum() == 11
    expected = spectra.z_class.to_numpy()[index]
    assert (rows.z_class[near] == expected[near]).all()
    assert (rows.z_class[~near] == "").all()


def test_scores_know_members_of_their_own_training_field(rows, pcc):
    """In sample, so no figure of merit: only that nothing is upside down or displaced."""
    labels = pcc.label.reindex(rows.index)
    members, others = rows.p_member[labels == 1], rows.p_member[labels == 0]
    assert members.median() > 0.4
    assert others.median() < 0.05
    bright = rows.mag_V < 20
    assert (members[bright] > 0.5).mean() > 0.85


def test_the_catalog_opens_with_units(run):
    table = Table.read(run.catalog, format="parquet.votable")
    assert str(table["dec"].unit) == "deg"
    assert len(table) == 3362
