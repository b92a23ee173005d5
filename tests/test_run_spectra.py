"""The radial spectroscopic search: who is in the circle, the labels, the file and the verb."""

import numpy as np
import pandas as pd
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import Table

from survey_classifier.catalog.spectra import spectra_columns
from survey_classifier.errors import ConfigError
from survey_classifier.membership.radial import radial_sample
from survey_classifier.membership.redshift import RedshiftCuts
from survey_classifier.run.spectra import read_columns, search_spectra
from survey_classifier.sources.cone import Cone
from survey_classifier.sources.redshifts import read_redshifts
from survey_classifier.sources.spectra import RedshiftColumns

COLUMNS = RedshiftColumns(id="id", z_err="err", z_warning="warn", spec_class="class")
HEADER = "id,ra,dec,z,err,warn,class\n"
SDSS = "id=objID,z_err=zErr,z_warning=zWarning,spec_class=class"


def write(path, rows):
    path.write_text(HEADER + rows)
    return path


@pytest.mark.parametrize("center", [(49.95, 41.5), (0.01, -89.9), (359.999, 0.0)])
def test_the_circle_is_that_of_astropy(tmp_path, center):
    rng = np.random.default_rng(1)
    radius = rng.uniform(0, 2, 300)
    middle = SkyCoord(*center, unit="deg")
    places = middle.directional_offset_by(rng.uniform(0, 360, 300) * u.deg, radius * u.deg)
    rows = (f"{k},{p.ra.deg},{p.dec.deg},.02,1e-5,0,GALAXY\n" for k, p in enumerate(places))
    table = read_redshifts(write(tmp_path / "z.csv", "".join(rows)), COLUMNS)
    sample = radial_sample(table, center, 1.0)
    inside = np.flatnonzero(radius <= 1)
    expected = inside[np.argsort(radius[inside])]
    assert sample["source_id"].tolist() == [str(k) for k in expected]
    np.testing.assert_allclose(sample["radius_deg"], radius[expected], atol=1e-9)


def test_labels_are_the_classes_but_of_ambiguous_objects(tmp_path):
    rows = (
        "star,10,0,0.0001,1e-5,0,STAR\nmember,10,0.1,0.0175,1e-5,0,GALAXY\n"
        "behind,10,0.2,0.1,1e-5,0,GALAXY\nedge,10,0.3,0.0099,1e-5,0,GALAXY\n"
        "near,10,0.4,0.002,1e-5,0,GALAXY\ngroup,10,0.5,0.03,1e-5,4,GALAXY\n"
    )
    table = read_redshifts(write(tmp_path / "z.csv", rows), COLUMNS)
    sample = radial_sample(table, (10, 0), 1.0)
    assert sample["label"].tolist() == ["star", "cluster", "background", "cluster", "", "cluster"]
    assert sample["z_class"].tolist()[3:] == ["star", "star", "cluster"]
    assert sample["ambiguous_lowz"].tolist() == [0, 0, 0, 1, 1, 0]
    assert sample["dynamic_member"].tolist() == [0, 1, 0, 1, 0, 0]
    coma = RedshiftCuts().moved(0.0231, 1000.0)
    assert radial_sample(table, (10, 0), 1.0, coma)["dynamic_member"].tolist()[5] == 1


def test_another_clusters_window_keeps_its_far_side():
    coma = RedshiftCuts().moved(0.0231, None)
    assert coma.cluster_max_z - coma.z_cluster == pytest.approx(0.033 - 0.01754)
    assert (coma.star_max_z, coma.sigma_km_s) == (0.01, 1040.0)
    assert RedshiftCuts().moved(None, None) == RedshiftCuts()
    with pytest.raises(ConfigError, match=r"star_max_z 0\.01, z_cluster 0\.005"):
        RedshiftCuts().moved(0.005, None)


@pytest.mark.parametrize(
    ("center", "radius"), [((360, 0), 1), ((0, 91), 1), ((0, 0), 0), ((0, 0), np.nan)]
)
def test_no_circle_is_refused(tmp_path, center, radius):
    table = read_redshifts(write(tmp_path / "z.csv", ""), COLUMNS)
    with pytest.raises(ConfigError, match="no circle on the sky"):
        radial_sample(table, center, radius)


def test_velocities_with_their_unit_are_redshifts(tmp_path):
    table = Table({"object_id": ["a", "b"], "ra": [1.0, 2.0], "dec": [0.0, 0.0],
                   "cz": [5258.0, 5.258] * u.km / u.s, "e": [30.0, 1.0] * u.km / u.s})  # fmt: skip
    table["cz"].unit = "km/s"
    table.write(tmp_path / "v.fits")
    redshifts = read_redshifts(tmp_path / "v.fits", RedshiftColumns(z="cz", z_err="e"))
    np.testing.assert_allclose(redshifts.z, np.array([5258, 5.258]) / 299792.458)
    np.testing.assert_allclose(redshifts.z_err, np.array([30, 1]) / 299792.458)


def test_the_verb_writes_the_same_sample_in_both_formats(tmp_path, call):
    a = write(tmp_path / "a.csv", "p,10,0,.0175,1e-5,0,GALAXY\nq,10,0.2,.1,,,\n")
    b = write(tmp_path / "b.csv", "s,10,0.00001,.0176,1e-6,0,STAR\nt,10,5,.2,1e-5,0,GALAXY\n")
    empty = write(tmp_path / "empty.csv", "")
    keys = "id=id,z_err=err,z_warning=warn,spec_class=class"
    words = ("spectra", a, b, empty, "--center", "10,0", "--radius", "1", "--columns", keys)
    tables = []
    for name in ("s.csv", "s.parquet"):
        code, out, err = call(*words, "--out", tmp_path / name)
        assert (code, err) == (0, "")
        assert out.splitlines() == [
            "a.csv: 1 object",
            "b.csv: 1 object",
            "empty.csv: 0 objects",
            f"spectra: {tmp_path / name}",
            "2 objects: 1 cluster, 1 background",
        ]
    tables = [pd.read_csv(tmp_path / "s.csv"), pd.read_parquet(tmp_path / "s.parquet")]
    for table in tables:
        assert list(table.columns) == [column.name for column in spectra_columns()]
        assert table.source_id.tolist() == ["p", "q"]
        assert table.z_source.tolist() == ["b.csv", "a.csv"]
        np.testing.assert_allclose(table.z, [0.0176, 0.1])
        assert np.isnan(table.z_err[1])
        assert table.z_warning.tolist() == [0, -1]
    assert tables[1].spec_class.tolist() == ["STAR", ""]
    described = Table.read(tmp_path / "s.parquet", format="parquet.votable")
    assert described["radius_deg"].unit == u.deg


def test_each_table_may_have_columns_of_its_own(tmp_path, call):
    a = write(tmp_path / "z.csv", "p,10,0,.02,1e-5,0,GALAXY\n")
    (tmp_path / "other").mkdir()
    b = tmp_path / "other" / "z.csv"
    b.write_text("name,RA,DEC,redshift\ns,10,0.5,.1\n")
    mapping = tmp_path / "columns.toml"
    mapping.write_text('id = "name"\nra = "RA"\ndec = "DEC"\nz = "redshift"\n')
    code, out, _ = call(
        "spectra", a, b, "--center", "10,0", "--radius", "1", "--out", tmp_path / "s.csv",
        "--columns", "id=id", "--columns", mapping,
    )  # fmt: skip
    assert code == 0
    assert f"{b}: 1 object" in out  # two files of one name are told apart
    assert read_columns(str(mapping)) == read_columns("id=name, ra=RA ,dec=DEC,z=redshift")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("--columns", "idd=id"), "unknown key 'idd'; did you mean 'id'?"),
        (("--columns", "id"), "--columns 'id': give key=column"),
        (("--columns", "source_id=id,ra=ra"), "give both ra and dec"),
        (("--columns", "id=id", "--columns", "id=id"), "2 times --columns for 1 table: give it"),
        (("--columns", "id=id", "--center", "10"), "--center is '10'"),
        (("--columns", "id=id", "--radius", "-1"), "no circle on the sky"),
        (("--columns", "id=id", "--out", "s.fits"), "ends in .parquet or .csv"),
        (("--columns", "id=nowhere"), "has no column 'nowhere'"),
        (("--columns", "id=id", "--sigma", "-1"), "sigma_km_s is -1.0"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(tmp_path, call, change, message):
    table = write(tmp_path / "z.csv", "p,10,0,.02,1e-5,0,GALAXY\n")
    out = tmp_path / "s.csv"
    words = ("--center", "10,0", "--radius", "1", "--out", out, *change)
    code, _, err = call("spectra", table, *words)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
    assert not out.exists()


def test_the_help_has_an_example(call):
    code, out, _ = call("spectra", "--help")
    assert code == 0
    assert "Example: survey-classifier spectra" in out


def test_real_spectra_within_a_degree(real_data, tmp_path):
    path = real_data / "perseus" / "sdss_spectra_dev.csv"
    cone = Cone(49.950667, 41.511696, 1.0)
    found = search_spectra([path], [read_columns(SDSS)], cone, tmp_path / "s.csv")
    objects = pd.read_csv(path).drop_duplicates("objID")
    apart = SkyCoord(objects.ra, objects.dec, unit="deg").separation(
        SkyCoord(cone.ra_deg, cone.dec_deg, unit="deg")
    )
    classes = objects.z_class[apart.deg <= 1].value_counts().to_dict()
    assert found.n_by_label == classes
    assert set(pd.read_csv(tmp_path / "s.csv").label) == {"star", "cluster", "background"}
