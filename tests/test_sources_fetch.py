"""Fetching published catalogs: through the real clients, from a server on this machine."""

import hashlib
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import tomli_w
from astropy.io import votable as astropy_votable

from survey_classifier import errors, files
from survey_classifier.errors import ConfigError, ServiceError, SourcesError
from survey_classifier.sources import services
from survey_classifier.sources.cone import Cone
from survey_classifier.sources.fetch import fetch_catalog, record_path
from survey_classifier.sources.formats import read_table
from survey_classifier.sources.published import catalog_files
from survey_classifier.sources.redshifts import read_redshifts
from survey_classifier.sources.spectra import RedshiftColumns
from survey_classifier.sources.table import SourceColumns, read_sources
from tests.catalog_service import (
    VIZIER_FIELDS,
    VIZIER_ROWS,
    CatalogService,
    gaia,
    refusal,
    tables,
    votable,
)

pytest.importorskip("pyvo", reason="the extra 'catalogs' is not installed")
pytest.importorskip("astroquery", reason="the extra 'catalogs' is not installed")

CONE = Cone(10.75, -20.5, 0.5)
SKYSERVER = b"""#Table1
objID,ra,dec,r0,g_z0,petroRad_r,specObjID,z,zErr,zWarning,class,subClass,r_mag,g_mag,u_mag,i_mag,z_mag,ebv
1237661068164038656,10.5,-20.25,17.0,1.2,4.5,15000000000000000001,0.0171,0.00001,0,GALAXY,,17.4,18.2,20.0,17.0,16.8,0.175
1237661068164038657,10.75,-20.5,16.1,0.9,1.2,845594848269461504,0.0001,0.00002,4,STAR,K1,16.5,17.2,18.5,16.3,16.2,0.17
"""


@pytest.fixture
def service():
    server = CatalogService()
    server.answer = votable(VIZIER_FIELDS, VIZIER_ROWS)
    yield server
    server.close()


@pytest.fixture
def definition(tmp_path, service):
    """Write a definition that comes with the package, served by the server of the test."""

    def write(name="kang2024", **changes):
        content = tomllib.loads(catalog_files()[name].read_text(encoding="utf-8"))
        base = "" if content["protocol"] == "skyserver" else "/tap"
        content |= {"endpoint": service.address + base, **changes}
        path = tmp_path / f"{name}.toml"
        path.write_text(tomli_w.dumps({k: v for k, v in content.items() if v is not None}))
        return str(path)

    return write


def leftovers(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_a_vizier_table_comes_in_our_names_and_is_read_by_the_run(tmp_path, service, definition):
    out = tmp_path / "out" / "kang.vot"
    fetched = fetch_catalog(definition(), out)
    assert fetched.is_new
    assert fetched.n_rows == 3
    assert service.asked == ['SELECT * FROM "J/ApJS/272/22/table2"']
    assert fetched.mapped == {
        "Seq": "seq", "objID": "sdss_id", "RAJ2000": "ra", "DEJ2000": "dec", "rmag": "r_mag",
        "z": "z", "Mm": "member",
    }  # fmt: skip
    assert fetched.kept == ("recno", "e_z")

    sources = read_sources(out, SourceColumns(id="seq", mag={"r": "r_mag"}))
    assert sources.source_id.tolist() == ["1", "2", "3"]
    np.testing.assert_array_equal(sources.ra_deg, [row[3] for row in VIZIER_ROWS])
    np.testing.assert_array_equal(sources.mag["r"], [17.25, np.nan, 16.5])
    redshifts = read_redshifts(out, RedshiftColumns(id="seq", z_err="e_z"))
    np.testing.assert_array_equal(redshifts.z, [row[6] for row in VIZIER_ROWS])
    np.testing.assert_array_equal(redshifts.z_err, [0.0001, 0.0002, np.nan])
    # Nineteen digits, and a missing whole number, survive.
    ids = read_table(out, ["sdss_id"]).text("sdss_id")
    assert ids.tolist() == ["1237661068164038656", "", "1237661068164038658"]


def test_the_table_says_units_and_meaning(tmp_path, definition):
    out = tmp_path / "kang.vot"
    fetch_catalog(definition(), out)
    fields = {f.name: f for f in astropy_votable.parse(out).get_first_table().fields}
    assert str(fields["ra"].unit) == "deg"
    assert fields["ra"].ucd == "pos.eq.ra;meta.main"
    assert str(fields["r_mag"].unit) == "mag"
    assert fields["z"].description == "Redshift."
    assert fields["e_z"].ucd == "stat.error;src.redshift"


def test_the_record_says_where_it_came_from(tmp_path, service, definition):
    out = tmp_path / "kang.vot"
    fetch_catalog(definition(), out, cone=CONE)
    record = tomllib.loads(record_path(out).read_text(encoding="utf-8"))
    assert record["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    assert record["query_sent"] == service.asked[0]
    assert "CIRCLE('ICRS', 10.75, -20.5, 0.5)" in record["query"]
    assert record["endpoint"] == f"{service.address}/tap"
    assert (record["n_rows"], record["service"]) == (3, "VizieR")
    assert record["table"] == "J/ApJS/272/22/table2"
    assert {"citation", "credit", "licence", "fetched_at", "software"} <= set(record)


def test_what_is_at_hand_is_not_asked_for_again(tmp_path, service, definition):
    out = tmp_path / "kang.vot"
    first = fetch_catalog(definition(), out)
    content = out.read_bytes()
    service.close()
    again = fetch_catalog(definition(), out)
    assert not again.is_new
    assert (again.n_rows, again.mapped, again.kept) == (first.n_rows, first.mapped, first.kept)
    assert out.read_bytes() == content


def test_refresh_asks_again(tmp_path, service, definition):
    out = tmp_path / "kang.vot"
    fetch_catalog(definition(), out)
    service.answer = votable(VIZIER_FIELDS, VIZIER_ROWS[:1])
    assert fetch_catalog(definition(), out, refresh=True).n_rows == 1
    assert len(service.asked) == 2
    assert fetch_catalog(definition(), out).n_rows == 1


def test_a_file_of_another_query_changed_or_without_record_is_refused(tmp_path, definition):
    out = tmp_path / "kang.vot"
    fetch_catalog(definition(), out)
    with pytest.raises(SourcesError, match=r"was fetched with query .* --refresh"):
        fetch_catalog(definition(), out, cone=CONE)
    out.write_bytes(out.read_bytes() + b"\n")
    with pytest.raises(SourcesError, match=r"not as it was fetched .* --refresh"):
        fetch_catalog(definition(), out)
    record_path(out).unlink()
    with pytest.raises(SourcesError, match=r"without a sound record .* --refresh"):
        fetch_catalog(definition(), out)


def test_units_are_converted_and_others_refused(tmp_path, service, definition):
    fields = VIZIER_FIELDS.replace('"RAJ2000" datatype="double" unit="deg"',
                                   '"RAJ2000" datatype="double" unit="arcmin"')  # fmt: skip
    service.answer = votable(fields, VIZIER_ROWS)
    out = tmp_path / "kang.vot"
    fetch_catalog(definition(), out)
    ra = read_table(out, ["ra"]).numbers("ra")
    np.testing.assert_allclose(ra, [row[3] / 60 for row in VIZIER_ROWS], rtol=1e-15)
    service.answer = votable(fields.replace('unit="arcmin"', 'unit="km"'), VIZIER_ROWS)
    with pytest.raises(SourcesError, match=r"'RAJ2000' of kang2024 came in 'km', which is no deg"):
        fetch_catalog(definition(), out, refresh=True)
    text = fields.replace('"RAJ2000" datatype="double"', '"RAJ2000" datatype="char" arraysize="*"')
    service.answer = votable(text, VIZIER_ROWS)
    with pytest.raises(SourcesError, match="not as numbers in deg"):
        fetch_catalog(definition(), out, refresh=True)
    # What was there before is as it was.
    assert fetch_catalog(definition(), out).n_rows == 3


def test_a_column_of_the_archive_does_not_take_one_of_our_names(tmp_path, service, definition):
    fields = VIZIER_FIELDS.replace('name="e_z"', 'name="DEC"')
    service.answer = votable(fields, VIZIER_ROWS)
    out = tmp_path / "kang.vot"
    assert fetch_catalog(definition(), out).kept == ("recno", "DEC_served")
    dec = read_table(out, ["dec"]).numbers("dec")
    np.testing.assert_array_equal(dec, [row[4] for row in VIZIER_ROWS])


def test_a_table_without_a_known_name_is_asked_for(tmp_path, service, definition):
    out = tmp_path / "dwarfs.vot"
    service.schema = tables("J/A+A/697/A12/catalog")
    fetched = fetch_catalog(definition("marleau2025"), out)
    assert service.asked == ['SELECT * FROM "J/A+A/697/A12/catalog"']
    assert fetched.mapped == {}
    assert fetched.kept[:2] == ("recno", "Seq")
    assert not fetch_catalog(definition("marleau2025"), out).is_new


def test_of_several_tables_the_user_chooses(tmp_path, service, definition):
    service.schema = tables("J/A+A/697/A12/tableb1", "J/A+A/697/A12/tablea1")
    out = tmp_path / "dwarfs.vot"
    with pytest.raises(SourcesError, match=r"2 tables: choose one with --table: .*tablea1, .*b1"):
        fetch_catalog(definition("marleau2025"), out)
    fetch_catalog(definition("marleau2025"), out, table="J/A+A/697/A12/tablea1")
    assert service.asked == ['SELECT * FROM "J/A+A/697/A12/tablea1"']
    service.schema = tables()
    with pytest.raises(SourcesError, match="has no table of"):
        fetch_catalog(definition("marleau2025"), tmp_path / "other.vot")


def gaia_answer(rows):
    defined = tomllib.loads(catalog_files()["gaia-dr3"].read_text(encoding="utf-8"))["columns"]
    units = {"mas / yr": "mas.yr**-1"}
    columns = [
        (
            c["served_as"],
            "long" if c["name"] == "source_id" else "float" if "error" in c["name"] else "double",
            units.get(c["unit"], c["unit"]),
        )
        for c in defined
    ]
    return columns, gaia(columns, rows)


def test_gaia_is_asked_by_a_job_that_is_deleted(tmp_path, service, definition, monkeypatch):
    monkeypatch.setattr(services, "_POLL_S", 0.01)
    columns, _ = gaia_answer([])
    rows = [[4583627001381815936, *np.arange(1.0, len(columns))], [2, *[None] * (len(columns) - 1)]]
    service.answer = gaia_answer(rows)[1]
    out = tmp_path / "gaia.vot"
    assert fetch_catalog(definition("gaia-dr3"), out, cone=CONE).n_rows == 2
    assert "CIRCLE('ICRS', 10.75, -20.5, 0.5)" in service.asked[0]
    assert service.deleted == 1
    table = read_table(out, ["source_id", "pmra", "phot_g_mean_mag"])
    assert table.text("source_id").tolist() == ["4583627001381815936", "2"]
    names = [name for name, _, _ in columns]
    np.testing.assert_array_equal(table.numbers("pmra"), [rows[0][names.index("pmra")], np.nan])
    assert table.units["pmra"].replace(" ", "") in {"mas/yr", "mas.yr**-1"}


def test_gaia_whole_is_refused(tmp_path, service, definition):
    with pytest.raises(ConfigError, match="too large to fetch whole: give --center RA,DEC"):
        fetch_catalog(definition("gaia-dr3"), tmp_path / "gaia.vot")
    assert service.asked == []


def test_a_job_that_fails_or_never_ends_is_deleted(tmp_path, service, definition, monkeypatch):
    monkeypatch.setattr(services, "_POLL_S", 0.01)
    service.phases, service.job_error = ["ERROR"], "Table is being rebuilt"
    with pytest.raises(ServiceError, match="Table is being rebuilt"):
        fetch_catalog(definition("gaia-dr3"), tmp_path / "out" / "g.vot", cone=CONE)
    service.phases, service.job_error = ["EXECUTING"], ""
    with pytest.raises(ServiceError, match=r"did not answer within 0\.2 s"):
        fetch_catalog(definition("gaia-dr3"), tmp_path / "out" / "g.vot", cone=CONE, timeout_s=0.2)
    assert service.deleted == 2
    assert leftovers(tmp_path / "out") == []


def test_sdss_spectra_come_as_csv_and_keep_their_ids(tmp_path, service, definition):
    service.answer, service.kind = SKYSERVER, "text/plain"
    out = tmp_path / "sdss.vot"
    assert fetch_catalog(definition("sdss-spectra"), out, cone=CONE).n_rows == 2
    assert "fGetNearbySpecObjAllEq(10.75, -20.5, 30.0)" in service.asked[0]
    columns = RedshiftColumns(id="objID", z_err="zErr", z_warning="zWarning", spec_class="class")
    redshifts = read_redshifts(out, columns)
    assert redshifts.object_id.tolist() == ["1237661068164038656", "1237661068164038657"]
    np.testing.assert_array_equal(redshifts.z, [0.0171, 0.0001])
    np.testing.assert_array_equal(redshifts.z_warning, [0, 4])
    assert redshifts.spec_class.tolist() == ["GALAXY", "STAR"]
    # Beyond 2^63, where no whole number of a VOTable reaches.
    assert read_table(out, ["specObjID"]).text("specObjID")[0] == "15000000000000000001"
    assert read_table(out, ["subClass"]).text("subClass").tolist() == ["", "K1"]


def no_table(service):
    service.answer, service.kind = b"<html>maintenance</html>", "text/html"


def http_500(service):
    service.answer, service.status, service.kind = b"Internal error", 500, "text/plain"


def refused(service):
    service.answer, service.status = refusal("Unknown table J/ApJS/272/22/table2"), 400


def cut(service):
    service.cut_at = len(service.answer) - 150


def cut_in_a_row(service):
    service.cut_at = len(service.answer) // 2


def cut_without_length(service):
    service.answer = service.answer[: len(service.answer) // 2]


def overflow(service):
    end = '<INFO name="QUERY_STATUS" value="OVERFLOW"/>'
    service.answer = votable(VIZIER_FIELDS, VIZIER_ROWS, after=end)


def empty(service):
    service.answer = votable(VIZIER_FIELDS, [])


def renamed(service):
    service.answer = votable(VIZIER_FIELDS.replace("DEJ2000", "DECJ2000"), VIZIER_ROWS)


def silent(service):
    service.silent.set()


@pytest.mark.parametrize(
    ("trouble", "kind", "message"),
    [
        (
            http_500,
            ServiceError,
            r"^VizieR \(127\.0\.0\.1:\d+\) gave no .*: Internal error",
        ),
        (no_table, ServiceError, "no usable answer"),
        (refused, ServiceError, "Unknown table J/ApJS/272/22/table2"),
        (cut, ServiceError, "no usable answer"),
        (cut_in_a_row, ServiceError, "no usable answer"),
        (cut_without_length, ServiceError, "no usable answer"),
        (overflow, ServiceError, "cut the answer short after 3 rows: choose a smaller --radius"),
        (silent, ServiceError, r"did not answer within 0\.3 s: try again"),
        (empty, SourcesError, "has no rows of kang2024 for this query: check"),
        (renamed, SourcesError, r"without the column 'DEJ2000': did you mean 'DECJ2000'\?"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_trouble_is_one_line_and_leaves_nothing(
    tmp_path, service, definition, trouble, kind, message
):
    trouble(service)
    out = tmp_path / "out" / "kang.vot"
    with pytest.raises(kind, match=message) as caught:
        fetch_catalog(definition(), out, timeout_s=0.3)
    assert "\n" not in str(caught.value)
    assert leftovers(out.parent) == []


@pytest.mark.parametrize("trouble", [http_500, no_table, cut_in_a_row, cut, silent])
def test_trouble_of_the_skyserver_likewise(tmp_path, service, definition, trouble):
    service.answer, service.kind = SKYSERVER, "text/plain"
    trouble(service)
    out = tmp_path / "out" / "sdss.vot"
    with pytest.raises(ServiceError) as caught:
        fetch_catalog(definition("sdss-spectra"), out, cone=CONE, timeout_s=0.3)
    assert "\n" not in str(caught.value)
    assert leftovers(out.parent) == []


def test_the_skyserver_explains_a_faulty_query(tmp_path, service, definition):
    # With status 200, as the real one did for years.
    service.answer = b'[{"error_message": "Invalid object name SpecObjAl."}]'
    with pytest.raises(ServiceError, match="Invalid object name SpecObjAl"):
        fetch_catalog(definition("sdss-spectra"), tmp_path / "sdss.vot", cone=CONE)
    service.answer = SKYSERVER[: SKYSERVER.index(b"\n1237") + 1]
    with pytest.raises(SourcesError, match="no rows of sdss-spectra"):
        fetch_catalog(definition("sdss-spectra"), tmp_path / "sdss.vot", cone=CONE)


def test_nobody_listening_is_one_line(tmp_path, service, definition):
    service.close()
    with pytest.raises(ServiceError, match="no usable answer"):
        fetch_catalog(definition(), tmp_path / "kang.vot")


def test_a_crash_between_table_and_record_is_noticed(tmp_path, service, definition, monkeypatch):
    out = tmp_path / "kang.vot"
    fetch_catalog(definition(), out)
    service.answer = votable(VIZIER_FIELDS, VIZIER_ROWS[:2])

    whole = Path.replace

    def dies(temporary, path):
        if path.suffix == ".toml":
            raise KeyboardInterrupt
        return whole(temporary, path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", dies)
        with pytest.raises(KeyboardInterrupt):
            fetch_catalog(definition(), out, refresh=True)
    with pytest.raises(SourcesError, match="not as it was fetched"):
        fetch_catalog(definition(), out)
    assert fetch_catalog(definition(), out, refresh=True).n_rows == 2


def test_a_disk_that_is_full_leaves_what_was_there(tmp_path, definition, monkeypatch):
    out = tmp_path / "kang.vot"
    fetch_catalog(definition(), out)
    before = out.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(SourcesError, match=r"cannot write .* \(No space left on device\)"):
        fetch_catalog(definition(), out, refresh=True)
    assert out.read_bytes() == before
    assert not fetch_catalog(definition(), out).is_new


@pytest.mark.parametrize(
    "values", [(-1.0, 0.0, 1.0), (360.0, 0.0, 1.0), (0.0, 91.0, 1.0), (0.0, 0.0, 0.0),
               (float("nan"), 0.0, 1.0)],
)  # fmt: skip
def test_a_circle_that_is_none_is_refused(values):
    with pytest.raises(ConfigError, match="no circle on the sky"):
        Cone(*values)


def test_a_table_of_unknown_columns_is_not_asked_by_position(tmp_path, definition):
    with pytest.raises(ConfigError, match="leave --center and --radius out"):
        fetch_catalog(definition("marleau2025"), tmp_path / "x.vot", cone=CONE)


def command(*words):
    done = subprocess.run(
        [sys.executable, "-m", "survey_classifier.cli", "fetch-catalog", *map(str, words)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def test_the_verb_fetches_and_reports(tmp_path, service, definition):
    out = tmp_path / "kang.vot"
    name = definition()
    code, said, _ = command(
        name, "--center", "10.75,-20.5", "--radius", 0.5, "--out", out,
    )  # fmt: skip
    assert code == 0, said
    assert "3 rows" in said
    assert "RAJ2000 -> ra" in said
    assert "recno, e_z" in said
    assert "Kang" in said
    code, said, _ = command(name, "--out", out, "--center", "10.75,-20.5", "--radius", 0.5)
    assert (code, len(service.asked)) == (0, 1)
    assert "was there" in said


def test_the_verb_fails_in_one_line(tmp_path, service, definition):
    http_500(service)
    code, _, line = command(definition(), "--out", tmp_path / "kang.vot")
    assert code == errors.RunError.exit_code
    assert line.startswith("survey-classifier: VizieR (127.0.0.1:")
    assert line.count("\n") == 1
    for words in (["--center", "10.75"], ["--center", "a,b", "--radius", 1], ["--radius", 1]):
        code, _, line = command(definition(), *words)
        assert (code, line.count("\n")) == (2, 1), line
    code, _, line = command("kang2042")
    assert (code, line.count("\n")) == (2, 1)
    assert "did you mean 'kang202" in line


def test_without_the_clients_the_remedy_is_named(tmp_path, definition, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyvo.dal", None)
    with pytest.raises(ConfigError, match=r"pip install 'survey-classifier\[catalogs\]'"):
        fetch_catalog(definition(), tmp_path / "kang.vot")


def test_definitions_lie_where_the_package_finds_them():
    assert {path.parent for path in catalog_files().values()} == {
        Path(__file__).parents[1] / "catalogs"
    }
