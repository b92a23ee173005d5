import astropy.units as u
import numpy as np
import pyarrow as pa
import pytest
from astropy.coordinates import SkyCoord
from astropy.io.votable import ucd
from astropy_healpix import HEALPix
from hypothesis import given
from hypothesis import strategies as st

from survey_classifier.catalog.column import Column
from survey_classifier.catalog.schema import CatalogSchema, build_schema, healpix_29
from survey_classifier.errors import CatalogError
from survey_classifier.membership.flags import Flag, Status
from survey_classifier.mosaic.pixels import MaskBit

SCHEMA = build_schema(("star", "background", "member"), ("g", "r"), ("g",))
SCORED = ("p_image", "p_member", "p_image_star", "p_image_background", "p_background")


def rows(n=3, **changed):
    """Columns of n classified sources, with some of them changed."""
    columns = {}
    for column in SCHEMA:
        if column.dtype == "string":
            columns[column.name] = np.full(n, "", dtype=object)
        else:
            columns[column.name] = np.full(n, 0.25 if column.dtype[0] == "f" else 0, column.dtype)
    columns["source_id"] = np.array([f"S{i}" for i in range(n)])
    columns["status"] = np.full(n, "classified", dtype=object)
    return columns | changed


def test_public_names_are_frozen():
    assert SCHEMA.names == (
        *("source_id", "ra", "dec", "x", "y", "tile", "status", "flags"),
        *(
            "p_image",
            "p_image_err",
            "novelty",
            "llr_image",
            "llr_color",
            "llr_redshift",
            "llr_position",
        ),
        *("prior_member", "p_star", "p_member", "p_image_star", "p_image_background"),
        *("p_background", "z", "z_err", "z_class", "dynamic_member", "caustic_member"),
        *("spec_class", "z_source", "z_separation_arcsec", "z_warning"),
        *("mag_g", "mag_r", "magerr_g", "point_likeness", "gaia", "ebv", "r0"),
        *("color_gz", "delta_rs", "delta_rs_err", "color_region", "legacy_strip"),
        *("valid_fraction", "mask_no_data", "mask_saturated", "mask_bad", "mask_cosmic_ray"),
        *("mask_bright_star", "mask_edge", "mask_suspect", "mask_interpolated", "_healpix_29"),
    )
    assert {c.name for c in SCHEMA if c.scored} == set(SCORED)


def test_a_mask_column_for_each_bit():
    masks = [name.removeprefix("mask_") for name in SCHEMA.names if name.startswith("mask_")]
    assert masks == [bit.name.lower() for bit in MaskBit]


@pytest.mark.parametrize("column", SCHEMA.columns, ids=lambda column: column.name)
def test_units_and_ucds_are_known_and_descriptions_are_lines(column):
    u.Unit(column.unit, format="vounit", parse_strict="raise")
    ucd.parse_ucd(column.ucd, check_controlled_vocabulary=True)
    assert column.description
    assert column.description.isprintable()


def test_descriptions_name_every_flag_and_status():
    of = {column.name: column.description for column in SCHEMA}
    assert all(f"{flag.value} {flag.name}" in of["flags"] for flag in Flag)
    assert all(status.value in of["status"] for status in Status)
    for name in ("llr_color", "llr_redshift", "llr_position"):
        assert "NaN: none, or left out" in of[name]


def test_member_is_not_listed_twice():
    two = build_schema(("nonmember", "member"), ())
    assert [n for n in two.names if n.startswith("p_")] == [
        "p_image",
        "p_image_err",
        "p_star",
        "p_member",
        "p_nonmember",
    ]


@pytest.mark.parametrize(
    ("classes", "bands", "told"),
    [
        (("star", "galaxy"), (), "no class 'member'"),
        (("member", "image"), (), "two columns are called 'p_image'"),
        (("member",), ("g", "g"), "two columns are called 'mag_g'"),
        (("member",), ("NIR-Y",), "'mag_NIR-Y' cannot be a column"),
        (("member", "back ground"), (), "'p_back ground' cannot be a column"),
    ],
)
def test_classes_and_bands_that_cannot_be_columns(classes, bands, told):
    with pytest.raises(CatalogError, match=told):
        build_schema(classes, bands)


def test_a_type_that_readers_refuse_cannot_be_a_column():
    with pytest.raises(CatalogError, match="'float16' is not a type"):
        Column("a", "float16", "", "meta.code", "half")


def test_a_schema_without_identifier():
    with pytest.raises(CatalogError, match="no column 'source_id'"):
        CatalogSchema((Column("a", "int16", "", "meta.code", "a"),))


def test_digest_sees_names_types_and_meaning():
    changed = build_schema(("star", "background", "member"), ("r", "g"), ("g",))
    assert (
        SCHEMA.digest == build_schema(("star", "background", "member"), ("g", "r"), ("g",)).digest
    )
    assert SCHEMA.digest != changed.digest


def test_rows_keep_order_types_and_values():
    given_rows = rows(2, x=np.array([1.5, np.nan]), flags=np.array([3, 2**31 - 1], np.int64))
    table = SCHEMA.to_arrow(dict(reversed(given_rows.items())))
    assert tuple(table.schema.names) == SCHEMA.names
    assert table.schema.field("flags").type == pa.int32()
    assert not any(field.nullable for field in table.schema)
    assert table["flags"].to_pylist() == [3, 2**31 - 1]
    np.testing.assert_array_equal(table["x"].to_numpy(), [1.5, np.nan])
    assert all(column.null_count == 0 for column in table.columns)


def test_no_rows():
    assert SCHEMA.to_arrow(rows(0)).num_rows == 0


def test_status_may_be_given_as_registered():
    status = np.array([Status.CLASSIFIED, Status.CLASSIFIED], dtype=object)
    assert SCHEMA.to_arrow(rows(2, status=status))["status"].to_pylist() == ["classified"] * 2


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"p_image": np.array([0.5, 1.25, 0.5])}, "p_image, source 'S1': 1.25 lies outside 0 to 1"),
        ({"valid_fraction": np.array([0, -0.5, 0])}, "valid_fraction, source 'S1': -0.5 lies"),
        ({"llr_image": np.array([0, 0, np.inf])}, "llr_image, source 'S2': inf is infinite"),
        ({"llr_image": np.array([0, 1e39, 0])}, r"llr_image, source 'S1': 1e\+39 is infinite"),
        ({"ra": np.array([0, 0, 361.0])}, "ra, source 'S2': 361.0 lies outside 0 to 360"),
        ({"dynamic_member": np.array([0, 2, 0])}, "dynamic_member, source 'S1': 2 lies outside"),
        ({"dynamic_member": np.array([0, 2**15, 0])}, "'S1': 32768 does not fit int16"),
        ({"_healpix_29": np.array([0, 2**63, 0], np.uint64)}, "does not fit int64"),
        ({"flags": np.zeros(3)}, "column flags: float64 does not fit int32"),
        ({"flags": np.zeros(3, bool)}, "column flags: bool does not fit int32"),
        ({"ra": np.array(["1", "2", "3"])}, "column ra: <U1 does not fit float64"),
        ({"tile": np.array(["a", None, "b"])}, "column tile, row 1: None is not a string"),
        ({"source_id": np.array([1, 2, 3])}, "column source_id, row 0: 1 is not a string"),
        ({"status": np.array(["classified", "lost", ""])}, "status, source 'S1': lost is none of"),
        ({"z": np.zeros(2)}, r"column z: shape \(2,\) for 3 sources"),
        ({"z": np.zeros((3, 1))}, r"column z: shape \(3, 1\) for 3 sources"),
        ({"p_start": np.zeros(3)}, r"missing: \[\], unknown: \['p_start'\]"),
    ],
)
def test_what_may_not_be_published(changed, told):
    with pytest.raises(CatalogError, match=told):
        SCHEMA.to_arrow(rows(3, **changed))


def test_a_missing_column():
    columns = rows()
    del columns["ebv"]
    with pytest.raises(CatalogError, match=r"missing: \['ebv'\]"):
        SCHEMA.to_arrow(columns)


@pytest.mark.parametrize("name", SCORED)
@pytest.mark.parametrize("status", [s for s in Status if s is not Status.CLASSIFIED])
def test_a_score_needs_its_status(name, status):
    values = {scored: np.array([0.5, np.nan], np.float32) for scored in SCORED}
    statuses = np.array(["classified", status.value])
    SCHEMA.to_arrow(rows(2, status=statuses, **values))
    values[name] = np.array([0.5, 0.0], np.float32)
    with pytest.raises(CatalogError, match=f"{name}, source 'S1': 0.0 in a row that is not"):
        SCHEMA.to_arrow(rows(2, status=statuses, **values))


@pytest.mark.parametrize("name", SCORED)
def test_a_classified_row_needs_its_scores(name):
    with pytest.raises(CatalogError, match=f"{name}, source 'S2': nan in a row that is classified"):
        SCHEMA.to_arrow(rows(3, **{name: np.array([0.0, 1.0, np.nan])}))


@given(
    st.lists(
        st.tuples(st.text(max_size=5), st.floats(0, 1, width=32), st.sampled_from(list(Status))),
        max_size=20,
    )
)
def test_rows_come_back(sources):
    ids = np.array([text for text, _, _ in sources], dtype=object)
    status = np.array([status.value for _, _, status in sources], dtype=object)
    p = np.array([p if s is Status.CLASSIFIED else np.nan for _, p, s in sources], np.float32)
    table = SCHEMA.to_arrow(
        rows(len(sources), source_id=ids, status=status, **dict.fromkeys(SCORED, p))
    )
    assert table["source_id"].to_pylist() == list(ids)
    for name in SCORED:
        np.testing.assert_array_equal(table[name].to_numpy(), p)


def test_healpix_of_the_base_pixels():
    # Gorski et al. 2005, section 4: centers of the twelve base pixels, numbered from the north.
    edge = np.degrees(np.arcsin(2 / 3))
    ra = np.array([45, 135, 225, 315, 0.1, 90, 180, 270, 45, 135, 225, 315])
    dec = np.repeat([edge, 0.0, -edge], 4)
    np.testing.assert_array_equal(healpix_29(ra, dec) >> 58, np.arange(12))


def test_healpix_pixels_hold_their_positions_at_every_order():
    rng = np.random.default_rng(2)
    ra, dec = rng.uniform(0, 360, 200), np.degrees(np.arcsin(rng.uniform(-1, 1, 200)))
    index = healpix_29(ra, dec)
    for order in range(29):
        coarse = HEALPix(2**order, "nested").lonlat_to_healpix(ra * u.deg, dec * u.deg)
        np.testing.assert_array_equal(index >> 2 * (29 - order), coarse)
    lon, lat = HEALPix(2**29, "nested").healpix_to_lonlat(index)
    separation = SkyCoord(lon, lat).separation(SkyCoord(ra, dec, unit="deg"))
    assert separation.max() < 1e-3 * u.arcsec


def test_healpix_of_no_position():
    index = healpix_29([np.nan, 10.0, 10.0], [0.0, np.nan, 10.0])
    assert index.dtype == np.int64
    assert list(index[:2]) == [-1, -1]
    assert index[2] >= 0
