"""Sources from every format: the same list, exact ids, angles in degrees, and clear refusals."""

import hashlib
import pickle
import re
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import Column, MaskedColumn, Table
from hypothesis import given
from hypothesis import strategies as st

from survey_classifier.errors import SourcesError
from survey_classifier.sources.digest import table_digest
from survey_classifier.sources.formats import read_table
from survey_classifier.sources.table import SourceColumns, Sources, read_sources

IDS = ["1237661055281726031", "1237661055281726032", "007"]
RA = [49.5, 0.0, 359.999]
DEC = [41.5, -90.0, 90.0]
G = [18.25, np.nan, 20.5]
COLUMNS = SourceColumns(id="name", mag={"g": "g_mag"}, ebv="ebv")
SPELLED = r"[+-]?([0-9]{1,30}\.?[0-9]{0,30}|\.[0-9]{1,30})([eE][+-]?[0-9]{1,4})?"
FORMATS = {"t.csv": "ascii.csv", "t.fits": "fits", "t.xml": "votable", "t.parquet": "parquet"}


def astropy_table(scale=1.0, unit=u.deg):
    return Table(
        {
            "name": IDS,
            "ra": Column(np.array(RA) * scale, unit=unit),
            "dec": Column(np.array(DEC) * scale, unit=unit),
            "g_mag": MaskedColumn(G, mask=np.isnan(G)),
            "ebv": [0.125, 0.25, 0.5],
            "comment": ["a, b", "", "c"],
        }
    )


def write(tmp_path, name, table):
    table.write(tmp_path / name, format=FORMATS[name], overwrite=True)
    return tmp_path / name


def csv(tmp_path, text):
    path = tmp_path / "sources.csv"
    path.write_text(text)
    return path


def sources(n=3, **changed):
    columns = {
        "source_id": np.array([f"s{i}" for i in range(n)], dtype=object),
        "ra_deg": np.linspace(0, 350, n),
        "dec_deg": np.linspace(-80, 80, n),
        "mag": {"g": np.linspace(18, 24, n), "r": np.full(n, np.nan)},
        "ebv": np.full(n, 0.125),
    }
    return Sources(**(columns | changed))


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_list(tmp_path, name):
    read = read_sources(write(tmp_path, name, astropy_table()), COLUMNS)
    assert read.source_id.tolist() == IDS
    np.testing.assert_array_equal(read.ra_deg, RA)
    np.testing.assert_array_equal(read.dec_deg, DEC)
    np.testing.assert_array_equal(read.mag["g"], G)
    np.testing.assert_array_equal(read.ebv, [0.125, 0.25, 0.5])


def test_the_suffix_does_not_matter(tmp_path):
    path = write(tmp_path, "t.fits", astropy_table()).rename(tmp_path / "t.csv")
    assert read_sources(path, COLUMNS).source_id.tolist() == IDS


@pytest.mark.parametrize(
    ("name", "unit", "scale"),
    [
        ("t.fits", u.rad, np.pi / 180),
        ("t.xml", u.rad, np.pi / 180),
        ("t.parquet", u.rad, np.pi / 180),
        ("t.parquet", u.hourangle, 1 / 15),
    ],
)
def test_angles_are_converted_from_the_unit_that_the_file_states(tmp_path, name, unit, scale):
    read = read_sources(write(tmp_path, name, astropy_table(scale, unit)), COLUMNS)
    np.testing.assert_allclose(read.ra_deg, RA, rtol=1e-14, atol=1e-12)
    np.testing.assert_allclose(read.dec_deg, DEC, rtol=1e-14)


def test_units_of_a_voparquet_footer_are_read(tmp_path):
    path = tmp_path / "t.parquet"
    table = astropy_table(np.pi / 180, u.rad)
    table.write(path, format="parquet.votable", metadata={c: {} for c in table.colnames})
    np.testing.assert_allclose(read_sources(path, COLUMNS).ra_deg, RA, atol=1e-12)


def test_a_unit_that_is_no_angle_is_refused(tmp_path):
    path = write(tmp_path, "t.fits", astropy_table(1.0, u.mag))
    with pytest.raises(SourcesError, match=r"'ra'.*'mag'.*state deg"):
        read_sources(path, COLUMNS)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [*((name, np.int64) for name in FORMATS), ("t.fits", np.uint64), ("t.parquet", np.uint64)],
)
def test_big_whole_numbers_stay_exact_as_ids(tmp_path, name, dtype):
    table = Table(
        {"id": np.array([2**63 - 1, 2**53 + 1], dtype=dtype), "ra": [1.0, 2], "dec": [3, 4]}
    )
    path = write(tmp_path, name, table)
    read = read_sources(path, SourceColumns(id="id"))
    assert read.source_id.tolist() == ["9223372036854775807", "9007199254740993"]


def test_floating_point_ids_are_refused(tmp_path):
    path = write(tmp_path, "t.fits", Table({"id": [1.0], "ra": [1.0], "dec": [1.0]}))
    with pytest.raises(SourcesError, match=r"'id'.*lose digits"):
        read_sources(path, SourceColumns(id="id"))


def test_a_null_in_an_integer_fits_column_is_missing(tmp_path):
    columns = [
        fits.Column("source_id", "5A", array=["a", "b"]),
        fits.Column("ra", "J", null=-99, array=[10, -99]),
        fits.Column("dec", "E", array=[1, 2]),
    ]
    fits.BinTableHDU.from_columns(columns).writeto(tmp_path / "t.fits")
    np.testing.assert_array_equal(
        read_sources(tmp_path / "t.fits", SourceColumns()).ra_deg, [10, np.nan]
    )


def test_a_null_in_a_scaled_fits_column_is_missing(tmp_path):
    """TNULL is the raw cell, TSCAL and TZERO come after."""
    raw = [
        fits.Column("source_id", "5A", array=["a", "b", "c"]),
        fits.Column("ra", "I", null=-99, array=[20, -99, -198]),
        fits.Column("dec", "J", null=7, array=[7 - 2**31, 8 - 2**31, 9 - 2**31]),
        fits.Column("g", "K", null=5 - 2**63, array=[5 - 2**63, 6 - 2**63, 7 - 2**63]),
    ]
    path = tmp_path / "t.fits"
    fits.BinTableHDU.from_columns(raw).writeto(path)
    # Unsigned integers are stored less half their range: a 7 among them is not the null 7.
    scaling = {"TSCAL2": 0.5, "TZERO2": 100.0, "TZERO3": 2**31, "TZERO4": 2**63}
    for key, value in scaling.items():
        fits.setval(path, key, value=value, ext=1)
    read = read_sources(path, SourceColumns(mag={"g": "g"}))
    np.testing.assert_array_equal(read.ra_deg, [110, np.nan, 1])
    np.testing.assert_array_equal(read.dec_deg, [7, 8, 9])
    np.testing.assert_array_equal(read.mag["g"], [np.nan, 6, 7])


def test_a_null_in_an_ascii_fits_table_is_missing(tmp_path):
    columns = [
        fits.Column("source_id", "A5", array=["a", "b"], ascii=True),
        fits.Column("ra", "F8.3", null="---", array=[10.5, 20.5], ascii=True),
        fits.Column("dec", "F8.3", array=[1.0, 2.0], ascii=True),
    ]
    path = tmp_path / "t.fits"
    fits.TableHDU.from_columns(columns).writeto(path)
    whole = path.read_bytes()
    assert whole.count(b"  20.500") == 1
    path.write_bytes(whole.replace(b"  20.500", b"     ---"))
    np.testing.assert_array_equal(read_sources(path, SourceColumns()).ra_deg, [10.5, np.nan])


def parquet(tmp_path, **columns):
    rows = {"source_id": ["a", "b"], "ra": [1.0, 2.0], "dec": [3.0, 4.0]}
    pq.write_table(pa.table(rows | columns), tmp_path / "t.parquet")
    return tmp_path / "t.parquet"


def decimals(*numbers):
    return pa.array([Decimal(number) for number in numbers])


@pytest.mark.parametrize(
    "ids",
    [
        pa.array(["7", "8"]).dictionary_encode(),
        pa.array([7, 8]).dictionary_encode(),
        pa.array([b"7", b"8 "]),
        pa.array([b"7", b"8"], pa.binary(1)),
        pa.array(["7", "8"], pa.large_string()),
        pa.array(["7", "8"], pa.string_view()),
        decimals(7, 8),
    ],
    ids=lambda ids: str(ids.type),
)
def test_however_text_is_encoded_it_is_read(tmp_path, ids):
    read = read_sources(parquet(tmp_path, source_id=ids, ra=ids), SourceColumns())
    assert read.source_id.tolist() == ["7", "8"]
    assert read.ra_deg.tolist() == [7, 8]


def test_a_null_among_categories_is_missing(tmp_path):
    cells = pa.array(["1.5", None]).dictionary_encode()
    read = read_sources(parquet(tmp_path, ra=cells, dec=pa.nulls(2)), SourceColumns())
    np.testing.assert_array_equal(read.ra_deg, [1.5, np.nan])
    assert np.isnan(read.dec_deg).all()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"source_id": pa.array([b"a", b"\xff"])}, "'source_id'.* holds binary: .*UTF"),
        ({"source_id": decimals("1.5", "2.5")}, r"'source_id'.* holds decimal.*lose digits"),
        ({"source_id": pa.array([1, 2], pa.timestamp("s"))}, r"holds timestamp\[.*names"),
        ({"source_id": pa.array([1.0, 2.0]).dictionary_encode()}, "holds double .*names"),
        ({"ra": pa.array([1, 2], pa.timestamp("s"))}, r"'ra'.* holds timestamp\[.*numbers"),
        ({"ra": pa.array([True, False])}, "'ra'.* holds bool where numbers"),
        ({"ra": pa.array([b"\xff", b"1"])}, "'ra'.* holds binary: .*UTF"),
    ],
)
def test_a_column_of_a_wrong_type_is_refused_in_one_line(tmp_path, columns, message):
    with pytest.raises(SourcesError, match=message) as caught:
        read_sources(parquet(tmp_path, **columns), SourceColumns())
    assert "\n" not in str(caught.value)


def test_text_that_is_not_what_the_file_claims_is_refused(tmp_path):
    """Parquet readers take a column's word for it that its bytes are UTF-8."""
    cells = pa.array([b"ab", b"\xff"]).view(pa.string())
    with pytest.raises(SourcesError, match=r"'source_id'.*UTF-?8"):
        read_sources(parquet(tmp_path, source_id=cells), SourceColumns())


def numbers_of(tmp_path, *cells):
    pq.write_table(pa.table({"x": list(cells)}), tmp_path / "x.parquet")
    return read_table(tmp_path / "x.parquet", ["x"]).numbers("x")


def test_numbers_are_parsed_as_python_does(tmp_path_factory):
    folder = tmp_path_factory.mktemp("numbers")

    @given(st.lists(st.floats(allow_nan=False).map(repr) | st.from_regex(SPELLED, fullmatch=True)))
    def check(cells):
        want = [float(cell) for cell in cells]
        np.testing.assert_array_equal(numbers_of(folder, "-1", *cells, " +2. "), [-1, *want, 2])

    check()


@pytest.mark.parametrize(
    "cell", ["1_0", "１２", "٣", "0x10", "nan(1)", "1e", "1 2", ".", "1,5", "+"]
)
def test_a_number_is_ascii_digits_and_nothing_else(tmp_path, cell):
    with pytest.raises(SourcesError, match=rf"'x'.*row 3: {re.escape(repr(cell))} is not a number"):
        numbers_of(tmp_path, "1", "", cell, "also wrong")


def test_missing_values_have_many_spellings(tmp_path):
    cells = ["", " -- ", "-", "NA", "n/a", "NaN", "-nan", "None", "NULL", None]
    assert np.isnan(numbers_of(tmp_path, *cells)).all()


def test_missing_positions_are_kept_and_marks_of_missing_magnitudes_dropped(tmp_path):
    path = csv(
        tmp_path,
        "source_id,ra,dec,g\na,,41,99\nb,nan,NaN,-9999\n c ,10, +41.5 ,inf\nd,1,2,18.5\n",
    )
    read = read_sources(path, SourceColumns(mag={"g": "g"}))
    assert read.source_id.tolist() == ["a", "b", "c", "d"]
    np.testing.assert_array_equal(read.ra_deg, [np.nan, np.nan, 10, 1])
    np.testing.assert_array_equal(read.dec_deg, [41, np.nan, 41.5, 2])
    np.testing.assert_array_equal(read.mag["g"], [np.nan, np.nan, np.nan, 18.5])
    assert np.isnan(read.ebv).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("source_id,ra,dec\na,360,0\n", r"source 'a' has the right ascension 360.0.*< 360"),
        ("source_id,ra,dec\na,-0.1,0\nb,-1,0\n", r"right ascension -0.1 \(and 1 more\)"),
        ("source_id,ra,dec\na,inf,0\n", "right ascension inf"),
        ("source_id,ra,dec\na,0,90.1\n", r"declination 90.1"),
        ("source_id,ra,dec\na,0,0\nb,1,1\na,2,2\n", r"'a' occurs more than once .*row 3.*unique"),
        ("source_id,ra,dec\na,0,0\n ,1,1\n", r"row 2 has the id ''"),
        ("source_id,ra,dec\na,03:19:48,0\n", r"'ra'.*row 1: '03:19:48' is not a number"),
        ("source_id,RA,dec\na,1,0\n", r"no column 'ra': did you mean 'RA'\?"),
        ("source_id,x,y\na,1,0\n", r"no column 'ra': known are source_id, x, y"),
        ("source_id,ra,dec,ra\na,1,0,2\n", r"several columns 'ra'"),
        ("source_id,ra,dec\n", "has no rows"),
        ("", "it is empty"),
        ("source_id,ra,dec\na,1\n", "Expected 3 columns, got 2"),
        ("\0\1\2", "of no known format"),
        ("SIMPLE  = nonsense", "cannot read the table"),
        ("PAR1 nonsense", "cannot read the table"),
        ("<?xml version='1.0'?><VOTABLE>", "cannot read the table"),
        ("<VOTABLE/>", "cannot read the table"),
    ],
)
def test_bad_tables_are_refused_in_one_line_that_names_the_file(tmp_path, text, message):
    path = csv(tmp_path, text)
    with pytest.raises(SourcesError, match=message) as caught:
        read_sources(path, SourceColumns())
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_impossible_reddening_is_unknown(tmp_path):
    path = csv(tmp_path, "source_id,ra,dec,ebv\na,1,1,-0.01\nb,1,1,inf\nc,1,1,-999\nd,1,1,0\n")
    read = read_sources(path, SourceColumns(ebv="ebv"))
    np.testing.assert_array_equal(read.ebv, [np.nan, np.nan, np.nan, 0])


EVIDENCE = SourceColumns(
    mag={"g": "g"}, mag_err={"g": "g_err"}, point_likeness="point", gaia="gaia"
)


def test_errors_and_star_evidence_are_read_and_marks_of_missing_ones_are_unknown(tmp_path):
    rows = ["a,1,1,20,0.5,0.25,1", "b,1,1,20,-1,-99,0", "c,1,1,20,99,1,", "d,1,1,20,inf,0,-1"]
    path = csv(tmp_path, "\n".join(["source_id,ra,dec,g,g_err,point,gaia", *rows]))
    read = read_sources(path, EVIDENCE)
    np.testing.assert_array_equal(read.mag_err["g"], [0.5, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(read.point_likeness, [0.25, np.nan, 1, 0])
    np.testing.assert_array_equal(read.gaia, [1, 0, np.nan, np.nan])


@pytest.mark.parametrize(("column", "row"), [("point_likeness", "2,0"), ("gaia", "0,4e18")])
def test_what_is_no_share_is_refused(tmp_path, column, row):
    path = csv(tmp_path, f"source_id,ra,dec,g,g_err,point,gaia\na,1,1,20,0.1,{row}\n")
    with pytest.raises(SourcesError, match=f"'a' has the {column} .*give 0 to 1"):
        read_sources(path, EVIDENCE)


def test_an_error_needs_its_magnitude():
    with pytest.raises(ValueError, match="mag_err has the band 'z', which mag lacks"):
        SourceColumns(mag={"g": "g"}, mag_err={"z": "g_err"})
    with pytest.raises(SourcesError, match="errors of the band 'z'"):
        sources(mag_err={"z": np.zeros(3)})


def test_evidence_that_is_not_given_is_unknown():
    plain = sources()
    assert plain.mag_err == {}
    assert np.isnan(plain.point_likeness).all()
    assert plain.gaia.shape == (3,)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    for path in (tmp_path / "absent.csv", tmp_path):
        with pytest.raises(SourcesError, match=re.escape(f"there is no table {path}")):
            read_sources(path, SourceColumns())


@pytest.mark.parametrize("name", ["t.fits", "t.parquet", "t.xml"])
def test_a_truncated_file_is_refused(tmp_path, name):
    table = Table({"source_id": np.arange(5000), "ra": np.ones(5000), "dec": np.ones(5000)})
    path = write(tmp_path, name, table)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SourcesError, match="cannot read the table"):
        read_sources(path, SourceColumns())


def test_a_vector_column_is_refused_and_left_alone_when_not_asked_for(tmp_path):
    table = Table({"source_id": ["a"], "ra": [1.0], "dec": [2.0], "aper": [[1.0, 2.0]]})
    path = write(tmp_path, "t.fits", table)
    assert len(read_sources(path, SourceColumns())) == 1
    with pytest.raises(SourcesError, match="several values a row"):
        read_sources(path, SourceColumns(mag={"g": "aper"}))
    pq.write_table(pa.table({"aper": [[1.0, 2.0]]}), tmp_path / "v.parquet")
    with pytest.raises(SourcesError, match="several values a row"):
        read_table(tmp_path / "v.parquet", ["aper"])


def test_names_beyond_ascii_and_quoted_line_ends_survive(tmp_path):
    path = csv(tmp_path, '\ufeffsource_id,ra,dec\n"NGC 1275, é",1,2\n"two\nlines",3,4\n')
    read = read_sources(path, SourceColumns())
    assert read.source_id.tolist() == ["NGC 1275, é", "two\nlines"]


def test_columns_of_unequal_length_are_refused():
    with pytest.raises(SourcesError, match=r"ra_deg has the shape \(2,\) for 3 ids"):
        sources(ra_deg=np.zeros(2))


@given(st.lists(st.integers(0, 8), unique=True))
def test_take_keeps_rows_together(rows):
    whole = sources(9)
    part = whole.take(np.array(rows, dtype=np.int64))
    assert len(part) == len(rows)
    for column in ("source_id", "ra_deg", "dec_deg", "ebv"):
        np.testing.assert_array_equal(getattr(part, column), getattr(whole, column)[rows])
    np.testing.assert_array_equal(part.mag["g"], whole.mag["g"][rows])


def test_take_by_mask_may_leave_nothing():
    assert len(sources().take(np.zeros(3, dtype=bool))) == 0


def test_the_digest_tells_every_change_and_nothing_else():
    reference = sources().digest
    negative_nan = np.copysign(np.full(3, np.nan), -1)
    same = [
        sources(),
        sources(mag=dict(reversed(sources().mag.items()))),
        sources(mag={"g": np.linspace(18, 24, 3), "r": negative_nan}),
        pickle.loads(pickle.dumps(sources())),  # noqa: S301
    ]
    changed = [
        sources(source_id=np.array(["s0s", "1", "s2"], dtype=object)),
        sources(ra_deg=np.array([0, 175, np.nextafter(350, 0)])),
        sources(dec_deg=np.array([-80, np.nan, 80])),
        sources(mag={"g": np.linspace(18, 24, 3)}),
        sources(mag={"g": np.linspace(18, 24, 3), "i": np.full(3, np.nan)}),
        sources(ebv=np.full(3, np.nan)),
        sources(mag_err={"g": np.zeros(3)}),
        sources(gaia=np.zeros(3)),
        sources(point_likeness=np.zeros(3)),
        sources().take(np.array([1, 0, 2])),
    ]
    assert {other.digest for other in same} == {reference}
    assert len({other.digest for other in changed} | {reference}) == len(changed) + 1


def test_the_digest_of_a_file_is_sha256(tmp_path):
    path = csv(tmp_path, "abc")
    assert table_digest(path) == hashlib.sha256(b"abc").hexdigest()
    with pytest.raises(SourcesError, match=r"cannot read the table .*absent\.csv"):
        table_digest(tmp_path / "absent.csv")


def test_the_real_catalog_reads_whole(real_data):
    columns = SourceColumns(id="pcc_id", mag={"V": "v_mag0"})
    read = read_sources(real_data / "perseus" / "pcc_dev.csv", columns)
    assert len(read) == 3362
    assert read.source_id[0] == "PCC-0001"
    assert (read.ra_deg < 49.74).all()


def test_four_formats_of_one_real_table_agree(real_data):
    folder = real_data / "hsc" / "hsc_pdr2_star_cutouts"
    columns = SourceColumns(id="# object_id", ra="ira", dec="idec")
    lists = [
        read_sources(folder / f"star_cat_correct.{suffix}", columns)
        for suffix in ("csv", "fits", "pq", "votable")
    ]
    assert len(lists[0]) == 10
    for other in lists[1:]:
        assert other.source_id.tolist() == lists[0].source_id.tolist()
        np.testing.assert_allclose(other.ra_deg, lists[0].ra_deg, rtol=1e-14)
