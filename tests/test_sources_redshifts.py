"""Redshifts: one row an object by rule, and the match on the sky against astropy."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord, search_around_sky
from hypothesis import given
from hypothesis import strategies as st

from survey_classifier.errors import SourcesError
from survey_classifier.sources.redshift_match import match_redshifts
from survey_classifier.sources.redshifts import Redshifts, read_redshifts
from survey_classifier.sources.repeats import object_names
from survey_classifier.sources.spectra import RedshiftColumns

COLUMNS = RedshiftColumns(id="id", z_err="err", z_warning="warn", spec_class="class")
HEADER = "id,ra,dec,z,err,warn,class\n"


def read(tmp_path, rows, columns=COLUMNS):
    path = tmp_path / "z.csv"
    path.write_text(HEADER + rows)
    return read_redshifts(path, columns)


def redshifts(ra, dec):
    n = len(ra)
    return Redshifts(
        np.array([f"o{i}" for i in range(n)], dtype=object),
        np.asarray(ra, dtype=float),
        np.asarray(dec, dtype=float),
        np.full(n, 0.02),
        np.full(n, np.nan),
        np.zeros(n, dtype=np.int32),
        *(np.full(n, text, dtype=object) for text in ("", "", "table")),
    )


@pytest.mark.parametrize(
    ("spectra", "z"),
    [
        ("b,1,1,.1,1e-5,16,X\nb,1,1,.2,9e-5,0,X\n", 0.2),  # no warning wins over a smaller error
        ("b,1,1,.1,2e-5,0,X\nb,1,1,.2,1e-5,0,X\n", 0.2),  # then the smaller error
        ("b,1,1,.1,,0,X\nb,1,1,.2,1e-5,0,X\n", 0.2),  # an unknown error comes last
        ("b,1,1,.1,-1,0,X\nb,1,1,.2,1e-5,0,X\n", 0.2),  # and so does a mark of failure
        ("b,1,1,.1,1e-5,0,X\nb,1,1,.2,1e-5,0,X\n", 0.1),  # then the order of the file
        ("b,1,1,.1,1e-5,,X\nb,1,1,.2,2e-5,0,X\n", 0.2),  # an unknown warning is not none
        ("b,1,1,-9999,1e-5,0,X\nb,1,1,.2,2e-5,16,X\n", 0.2),  # no redshift, no spectrum
        ("b,,1,.1,1e-5,0,X\nb,1,1,.2,2e-5,16,X\n", 0.2),  # no position, no match
    ],
)
def test_repeated_spectra_are_reduced_by_rule(tmp_path, spectra, z):
    table = read(tmp_path, f"c,5,5,.3,1e-5,0,STAR\n{spectra}a,7,7,.4,1e-5,0,QSO\n")
    assert table.object_id.tolist() == ["c", "b", "a"]
    assert table.z.tolist() == [0.3, z, 0.4]
    assert table.spec_class.tolist() == ["STAR", "X", "QSO"]


@given(st.permutations(range(12)))
def test_the_kept_spectrum_is_the_best_of_a_brute_force_sort(tmp_path_factory, order):
    spectra = [(f"o{i % 4}", 0.01 * (i + 1), (i * 7 % 5 + 1) * 1e-5, i % 3 // 2) for i in range(12)]
    rows = [spectra[i] for i in order]
    text = "".join(f"{name},1,1,{z},{err},{warn},G\n" for name, z, err, warn in rows)
    table = read(tmp_path_factory.mktemp("z"), text)
    for name, z in zip(table.object_id, table.z, strict=True):
        own = [row for row in rows if row[0] == name]
        assert z == min(own, key=lambda row: (row[3] != 0, row[2]))[1]
    assert len(table) == 4


def test_a_placeholder_id_is_no_object(tmp_path):
    """Rows as SDSS writes them: bestObjID 0 or -9999 where there is no photometric object."""
    table = read(
        tmp_path,
        "0,49.5123,41.3011,0.0171,1.2e-5,0,GALAXY\n"
        "1237661055281726031,49.6,41.4,0.0180,1e-5,0,GALAXY\n"
        "0,49.7234,41.5512,0.2410,3e-5,0,GALAXY\n"
        "-9999,49.8001,41.2222,-0.0001,1e-5,0,STAR\n"
        "0,49.72343,41.55125,0.2411,1e-5,0,GALAXY\n"  # 0.2 arcsec from the second: again it
        "-9999,49.9,41.2,1.9,1e-4,4,QSO\n"
        "0,,41.2,1.9,1e-4,4,QSO\n"
        "0,50.1,41.2,0.5,1e-4,0,GALAXY\n"
        "1237661055281726031,49.60001,41.4,0.0181,2e-5,0,GALAXY\n",
    )
    assert dict(zip(table.object_id, table.z, strict=True)) == {
        "0": 0.0171,
        "1237661055281726031": 0.0180,
        "0#2": 0.2411,
        "-9999": -0.0001,
        "-9999#2": 1.9,
        "0#3": 0.5,
    }
    match = match_redshifts(np.array([49.7234]), np.array([41.5512]), table, 1.5)
    assert table.z[match.index].tolist() == [0.2411]


def test_a_name_that_the_file_has_already_is_not_given_again(tmp_path):
    table = read(tmp_path, "0#2,1,1,.1,,,\n0,2,2,.2,,,\n0,3,3,.3,,,\n0#2,4,4,.4,,,\n")
    assert table.object_id.tolist() == ["0#2", "0", "0#3", "0#2#2"]
    assert table.z.tolist() == [0.1, 0.2, 0.3, 0.4]


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 12)), min_size=1, max_size=30),
    st.sampled_from([0.0, 120.0]),
)
def test_an_object_is_one_id_at_one_place(rows, ra):
    """On a line, steps of 1.1 arcsec: neighbors are one object, also through others."""
    name = np.array([name for name, _ in rows], dtype=object)
    dec = np.array([step * 1.1 / 3600 for _, step in rows])
    names = object_names(name, np.full(len(rows), ra), dec)
    for a, (name_a, step_a) in enumerate(rows):
        for b, (name_b, step_b) in enumerate(rows):
            low, high = sorted((step_a, step_b))
            between = sorted({s for n, s in rows if n == name_a and low <= s <= high})
            linked = name_a == name_b and all(np.diff(between) <= 1)
            assert (names[a] == names[b]) == linked
    assert set(name) <= set(names)


def test_thousands_of_rows_at_one_place_are_cheap():
    n = 200_000
    names = object_names(np.full(n, "0", dtype=object), np.zeros(n), np.repeat([0.0, 1.0], n // 2))
    assert set(names) == {"0", "0#2"}


def test_the_digest_tells_every_change_and_nothing_else(tmp_path):
    reference = redshifts([1, 2], [1, 2])
    changed = [
        dataclasses.replace(reference, object_id=np.array(["o0", "p1"], dtype=object)),
        dataclasses.replace(reference, ra_deg=np.array([1, np.nextafter(2, 3)])),
        dataclasses.replace(reference, dec_deg=np.array([1, np.nextafter(2, 3)])),
        dataclasses.replace(reference, z=np.array([0.02, 0.021])),
        dataclasses.replace(reference, z_err=np.array([np.nan, 1e-5])),
        dataclasses.replace(reference, z_warning=np.array([0, 1], dtype=np.int32)),
        dataclasses.replace(reference, spec_class=np.array(["", "STAR"], dtype=object)),
        dataclasses.replace(reference, source_id=np.array(["", "STAR"], dtype=object)),
        dataclasses.replace(reference, z_source=np.array(["table", "b"], dtype=object)),
        redshifts([2, 1], [2, 1]),
        redshifts([1], [1]),
    ]
    assert len({one.digest for one in [reference, *changed]}) == len(changed) + 1
    path = tmp_path / "more.csv"
    path.write_text("id,ra,dec,z,comment\no0,1,1,.02,x\no1,2,2,.02,y\n")
    table = read_redshifts(path, RedshiftColumns(id="id"))
    path.write_text("dec,z,ra,id\n1,.02,1,o0\n2,.02,2,o1\n")
    assert read_redshifts(path, RedshiftColumns(id="id")).digest == table.digest


def test_unknown_values_have_their_sentinels(tmp_path):
    table = read(tmp_path, "a,1,1,.1,,,\n")
    assert np.isnan(table.z_err).all()
    assert table.z_warning.tolist() == [-1]
    assert table.z_warning.dtype == np.int32
    assert table.spec_class.tolist() == [""]
    bare = read(tmp_path, "a,1,1,.1,1e-5,0,STAR\n", RedshiftColumns(id="id"))
    assert np.isnan(bare.z_err).all()
    assert bare.z_warning.tolist() == [-1]
    assert bare.spec_class.tolist() == [""]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a,370,1,.1,,,\n", r"'ra'.*row 1: 370.0 deg is not on the sky"),
        ("a,1,-91,.1,,,\n", r"'dec'.*row 1: -91.0"),
        (",1,1,.1,,,\n", "row 1 .* has no 'id'"),
        ("a,1,1,.1,,0.5,\n", "holds 0.5: redshift warnings are whole numbers"),
        ("a,1,1,.1,,1e12,\n", "whole numbers of 32 bits"),
    ],
)
def test_bad_tables_are_refused(tmp_path, rows, message):
    with pytest.raises(SourcesError, match=message):
        read(tmp_path, rows)


def test_a_misnamed_column_is_refused_with_the_nearest(tmp_path):
    with pytest.raises(SourcesError, match=r"no column 'zerr': did you mean 'err'"):
        read(tmp_path, "a,1,1,.1,,,\n", RedshiftColumns(id="id", z_err="zerr"))


def test_invalid_values_cannot_be_built():
    good = redshifts([1, 2], [1, 2])
    twice = np.array(["a", "a"], dtype=object)
    with pytest.raises(SourcesError, match="keep one an object"):
        dataclasses.replace(good, object_id=twice)
    with pytest.raises(SourcesError, match="1 source ids: keep one"):
        dataclasses.replace(good, source_id=twice)
    with pytest.raises(SourcesError, match=r"of lengths \[1, 2\] for 2 ids"):
        dataclasses.replace(good, z=good.z[:1])
    with pytest.raises(SourcesError, match="'o1' lacks its position"):
        redshifts([1, np.nan], [1, 2])


@pytest.mark.parametrize(("ra0", "dec0"), [(49.95, 41.5), (0.0, 0.0), (120.0, 89.999)])
@pytest.mark.parametrize("radius_arcsec", [1.5, 3.0, 20.0])
def test_matches_equal_those_of_astropy(ra0, dec0, radius_arcsec):
    rng = np.random.default_rng(7)

    def positions(n):
        dec = np.clip(dec0 + rng.uniform(-25, 25, n) / 3600, -90, 90)
        return (ra0 + rng.uniform(-25, 25, n) / 3600 / np.cos(np.radians(dec0))) % 360, dec

    ra, dec = positions(120)
    targets = redshifts(*positions(40))
    match = match_redshifts(ra, dec, targets, radius_arcsec)

    ours = SkyCoord(ra, dec, unit="deg")
    theirs = SkyCoord(targets.ra_deg, targets.dec_deg, unit="deg")
    nearest, separation, _ = ours.match_to_catalog_sky(theirs)
    within = separation.arcsec <= radius_arcsec
    np.testing.assert_array_equal(match.index, np.where(within, nearest, -1))
    np.testing.assert_allclose(
        match.separation_arcsec, np.where(within, separation.arcsec, np.nan), rtol=1e-5, atol=1e-6
    )
    pairs, _, _, _ = search_around_sky(ours, theirs, radius_arcsec * u.arcsec)
    n_near = np.bincount(pairs, minlength=len(ra))
    n_claims = np.bincount(nearest[within], minlength=len(targets))
    shared = within & (n_claims[nearest] > 1)
    np.testing.assert_array_equal(match.ambiguous, (n_near > 1) | shared)
    assert within.any()


def test_the_match_crosses_the_meridian_and_the_pole():
    targets = redshifts([359.9999, 10.0], [0.0, 89.9999])
    match = match_redshifts(np.array([0.0001, 190.0]), np.array([0.0, 89.9999]), targets, 1.0)
    assert match.index.tolist() == [0, 1]
    np.testing.assert_allclose(match.separation_arcsec, [0.72, 0.72], rtol=1e-5)
    assert not match.ambiguous.any()


def test_the_radius_is_inclusive_and_small_separations_are_exact():
    targets = redshifts([10.0], [0.0])
    dec = np.array([1e-6, 1.0]) / 3600
    match = match_redshifts(np.full(2, 10.0), dec, targets, 1.0 + 1e-9)
    np.testing.assert_allclose(match.separation_arcsec, [1e-6, 1.0], rtol=1e-5)
    at_zero = match_redshifts(np.array([10.0]), np.array([0.0]), targets, 1e-6)
    assert at_zero.separation_arcsec.tolist() == [0.0]


def test_one_redshift_claimed_twice_and_two_redshifts_near_one_source_are_ambiguous():
    arcsec = 1 / 3600
    targets = redshifts([10, 20, 20], [0, 0, 1.2 * arcsec])
    ra, dec = np.array([10.0, 10.0, 20.0, np.nan]), np.array([0, 0.5 * arcsec, 0.0, 0.0])
    match = match_redshifts(ra, dec, targets, 1.5)
    assert match.index.tolist() == [0, 0, 1, -1]
    assert match.ambiguous.tolist() == [True, True, True, False]
    assert np.isnan(match.separation_arcsec[3])
    closer = match_redshifts(ra[2:], dec[2:], targets, 1.0)
    assert closer.ambiguous.tolist() == [False, False]


def test_no_sources_and_no_redshifts_match_nothing():
    nothing = match_redshifts(np.zeros(0), np.zeros(0), redshifts([1], [1]), 1.0)
    assert len(nothing.index) == 0
    none = match_redshifts(np.zeros(2), np.zeros(2), redshifts([], []), 1.0)
    assert none.index.tolist() == [-1, -1]


@pytest.mark.parametrize("radius", [0.0, -1.0, np.nan, np.inf, 3601.0])
def test_a_senseless_radius_is_refused(radius):
    with pytest.raises(SourcesError, match=r"match radius is .* give 0 < radius"):
        match_redshifts(np.zeros(1), np.zeros(1), redshifts([1], [1]), radius)


def test_the_real_spectra_reduce_to_one_row_an_object(real_data):
    columns = RedshiftColumns(id="objID", z_err="zErr", z_warning="zWarning", spec_class="class")
    table = read_redshifts(real_data / "perseus" / "sdss_spectra_dev.csv", columns)
    assert len(table) == 232
    assert table.object_id[0] == "1237661055281726031"
    spectra = pd.read_csv(real_data / "perseus" / "sdss_spectra_dev.csv")
    known = set(spectra.dropna(subset="class").objID.astype(str))
    assert {name for name, c in zip(table.object_id, table.spec_class, strict=True) if c} == known
    itself = match_redshifts(table.ra_deg, table.dec_deg, table, 1.5)
    np.testing.assert_array_equal(itself.index, np.arange(232))
