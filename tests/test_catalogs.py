"""Every definition file: its keys, units and UCDs, and its columns against the real tables."""

import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io.votable.ucd import check_ucd

from survey_classifier.membership.color import EXTINCTION
from survey_classifier.membership.redshift import RedshiftCuts, z_class
from survey_classifier.sources.redshifts import RedshiftColumns
from survey_classifier.sources.table import SourceColumns

FOLDER = Path(__file__).parents[1] / "catalogs"
FILES = sorted(FOLDER.glob("*.toml"))
REAL_TABLES = {"wittmann2019": "pcc_dev.csv", "sdss-spectra": "sdss_spectra_dev.csv"}

REQUIRED = {
    "identifier",
    "title",
    "citation",
    "service",
    "table",
    "query",
    "licence",
    "credit",
    "n_rows_published",
    "region",
    "columns",
    "labels",
}
OPTIONAL = {"bibcode", "arxiv", "notes"}
COLUMN_REQUIRED = {"name", "unit", "ucd", "description"}
COLUMN_OPTIONAL = {"maps_to", "derived"}
TRAINING_KEYS = {"label", "thumb"}


def load(path):
    return tomllib.loads(path.read_text(encoding="utf-8"))


def targets():
    sources = set(SourceColumns.model_fields) - {"mag"}
    redshifts = set(RedshiftColumns.model_fields)
    return (
        {f"sources.{key}" for key in sources}
        | {f"sources.mag.{band}" for bands in EXTINCTION.values() for band in bands}
        | {f"redshifts.{key}" for key in redshifts}
        | {f"training.{key}" for key in TRAINING_KEYS}
    )


def test_both_tables_are_defined():
    assert {path.stem for path in FILES} >= set(REAL_TABLES)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_definition_has_the_documented_keys(path):
    definition = load(path)
    assert definition["identifier"] == path.stem
    assert set(definition) >= REQUIRED
    assert set(definition) <= REQUIRED | OPTIONAL
    texts = [value for value in definition.values() if isinstance(value, str)]
    assert all(text.strip() for text in texts)
    assert definition["n_rows_published"] > 0


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_columns_have_units_ucds_and_known_targets(path):
    columns = load(path)["columns"]
    names = [column["name"] for column in columns]
    assert len(set(names)) == len(names)
    for column in columns:
        assert set(column) >= COLUMN_REQUIRED, column["name"]
        assert set(column) <= COLUMN_REQUIRED | COLUMN_OPTIONAL, column["name"]
        u.Unit(column["unit"], parse_strict="raise")
        ucd = column["ucd"]
        assert check_ucd(ucd, check_controlled_vocabulary=True, has_colon=True), ucd
        assert column["description"].endswith("."), column["name"]
        assert set(column.get("maps_to", ())) <= targets(), column["name"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_target_is_claimed_twice(path):
    claimed = [target for c in load(path)["columns"] for target in c.get("maps_to", ())]
    assert len(set(claimed)) == len(claimed)
    assert {"sources.id", "sources.ra", "sources.dec"} <= set(claimed)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_labels_name_columns_and_have_a_meaning(path):
    definition = load(path)
    labels = definition["labels"]
    names = {column["name"] for column in definition["columns"]}
    assert {labels["column"], labels["label_column"]} <= names
    assert {str(entry["label"]) for entry in labels["classes"]} == set(labels["meaning"])
    texts = [entry["text"] for entry in labels["classes"]]
    assert len(set(texts)) == len(texts)


def test_published_counts_of_the_perseus_classes_add_up():
    definition = load(FOLDER / "wittmann2019.toml")
    classes = definition["labels"]["classes"]
    assert sum(entry["n_published"] for entry in classes) == definition["n_rows_published"]
    assert sum(entry["n_published"] for entry in classes if entry["label"] == 1) == 496


@pytest.mark.parametrize("identifier", REAL_TABLES)
def test_columns_are_those_of_the_real_table(real_data, identifier):
    definition = load(FOLDER / f"{identifier}.toml")
    table = pd.read_csv(real_data / "perseus" / REAL_TABLES[identifier])
    assert [column["name"] for column in definition["columns"]] == list(table.columns)
    labels = definition["labels"]
    label_of = {entry["text"]: entry["label"] for entry in labels["classes"]}
    assert (table[labels["column"]].map(label_of) == table[labels["label_column"]]).all()


def test_described_formulae_hold_in_the_real_spectra(real_data):
    table = pd.read_csv(real_data / "perseus" / "sdss_spectra_dev.csv")
    ebv = (table.r_mag - table.r0) / EXTINCTION["sdss"]["r"]
    reddening = (EXTINCTION["sdss"]["g"] - EXTINCTION["sdss"]["z"]) * ebv
    np.testing.assert_allclose(table.g_z - table.g_z0, reddening, atol=1e-4)
    for color in ("u_g", "g_z", "g_r", "g_i", "r_i", "r_z"):
        blue, red = (table[f"{band}_mag"] for band in color.split("_"))
        np.testing.assert_allclose(table[color], blue - red, atol=2e-6)
    centre = SkyCoord(49.9467, 41.5131, unit="deg")
    positions = SkyCoord(table.ra, table.dec, unit="deg")
    np.testing.assert_allclose(positions.separation(centre).arcmin, table.distance, atol=1e-9)
    assert (z_class(table.z.to_numpy(), RedshiftCuts()) == table.z_class).all()


def test_described_surface_brightness_holds_in_the_real_catalog(real_data):
    table = pd.read_csv(real_data / "perseus" / "pcc_dev.csv")
    area = 2 * np.pi * table.re_arcsec**2 * table.axis_ratio
    difference = table.v_mag0 + 2.5 * np.log10(area) - table.mu_e_v
    assert difference.abs().median() < 0.02
