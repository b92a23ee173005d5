"""Every definition file: its keys, units and UCDs, and its columns against the real tables."""

import re
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tomli_w
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io.votable.ucd import check_ucd

from survey_classifier.errors import ConfigError
from survey_classifier.membership.extinction import EXTINCTION
from survey_classifier.membership.redshift import RedshiftCuts, z_class
from survey_classifier.sources.published import (
    UNKNOWN,
    Published,
    PublishedColumn,
    catalog_files,
    read_definition,
)
from survey_classifier.sources.spectra import RedshiftColumns
from survey_classifier.sources.table import SourceColumns

FOLDER = Path(__file__).parents[1] / "catalogs"
FILES = sorted(FOLDER.glob("*.toml"))
ONLY_FETCHED = {"ebv"}
REAL_TABLES = {"wittmann2019": "pcc_dev.csv", "sdss-spectra": "sdss_spectra_dev.csv"}

TRAINING_KEYS = {"label", "thumb"}


NAMED = {
    "wittmann2019": ("J/ApJS/245/10", 5437),
    "kang2024": ("J/ApJS/272/22", 1447),
    "meusinger2020": ("J/A+A/640/A30", 1294),
    "cuillandre2025": ("J/A+A/697/A11", None),
    "marleau2025": ("J/A+A/697/A12", None),
    "sdss-spectra": (None, 652),
    "gaia-dr3": (None, None),
    "kang2025": ("J/ApJS/278/51", None),
}


def load(path):
    return tomllib.loads(path.read_text(encoding="utf-8"))


def columns_of(path):
    columns = load(path)["columns"]
    return [] if columns == UNKNOWN else columns


def targets():
    sources = set(SourceColumns.model_fields) - {"mag", "mag_err"}
    redshifts = set(RedshiftColumns.model_fields)
    return (
        {f"sources.{key}" for key in sources}
        | {
            f"sources.{kind}.{band}"
            for kind in ("mag", "mag_err")
            for bands in EXTINCTION.values()
            for band in bands
        }
        | {f"redshifts.{key}" for key in redshifts}
        | {f"training.{key}" for key in TRAINING_KEYS}
    )


def test_every_table_is_defined_under_its_archive_name():
    assert {path.stem for path in FILES} == set(NAMED) == set(catalog_files())
    for name, (catalog, n_rows) in NAMED.items():
        definition = read_definition(name)
        assert (definition.catalog, definition.n_rows_published) == (catalog, n_rows)
        if catalog is not None and definition.table != UNKNOWN:
            assert definition.table.startswith(f"{catalog}/")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_definition_has_the_documented_keys(path):
    definition = load(path)
    assert definition["identifier"] == path.stem
    texts = [value for value in definition.values() if isinstance(value, str)]
    assert all(text.strip() for text in texts)
    documented = set(re.findall(r"`(\w+)`", (FOLDER / "README.md").read_text(encoding="utf-8")))
    for model in (Published, PublishedColumn):
        assert set(model.model_fields) <= documented
    assert read_definition(str(path)) == read_definition(path.stem)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_is_asked_for_is_what_is_expected(path):
    """A query that lists its columns lists those of the definition, and no others."""
    definition = read_definition(path.stem)
    for query in filter(None, (definition.query, definition.query_cone)):
        chosen = re.search(r"SELECT\s+(.*?)\s+FROM", query, re.DOTALL).group(1)
        if chosen != "*":
            names = [part.split(" AS ")[-1].strip() for part in chosen.split(",")]
            assert names == list(definition.served)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("colour", "blue", "unknown key"),
        ("endpoint", "tapvizier", "endpoint"),
        ("query_cone", "SELECT * FROM {table}", "query_cone must have"),
        ("protocol", "ftp", "protocol"),
        ("table", UNKNOWN, "needs the key 'catalog'"),
    ],
)
def test_a_faulty_definition_is_refused(tmp_path, key, value, message):
    definition = load(FOLDER / "gaia-dr3.toml") | {key: value}
    path = tmp_path / "faulty.toml"
    path.write_text(tomli_w.dumps(definition), encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        read_definition(str(path))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_columns_have_units_ucds_and_known_targets(path):
    columns = columns_of(path)
    names = [column["name"] for column in columns]
    assert len({name.lower() for name in names}) == len(names) or path.stem == "sdss-spectra"
    for column in columns:
        u.Unit(column["unit"], parse_strict="raise")
        ucd = column["ucd"]
        assert check_ucd(ucd, check_controlled_vocabulary=True, has_colon=True), ucd
        assert column["description"].endswith("."), column["name"]
        assert set(column.get("maps_to", ())) <= targets(), column["name"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_target_is_claimed_twice(path):
    claimed = [target for c in columns_of(path) for target in c.get("maps_to", ())]
    assert len(set(claimed)) == len(claimed)
    if columns_of(path):
        assert {"sources.id", "sources.ra", "sources.dec"} <= set(claimed)


@pytest.mark.parametrize(
    "path", [path for path in FILES if "labels" in load(path)], ids=lambda path: path.stem
)
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
    names = [column["name"] for column in definition["columns"]]
    assert [name for name in names if name not in ONLY_FETCHED] == list(table.columns)
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
