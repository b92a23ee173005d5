"""Several tables of redshifts: joined to one row an object, and matched by name or position."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from survey_classifier.errors import SourcesError
from survey_classifier.sources.redshift_match import match_lines, match_redshifts
from survey_classifier.sources.redshifts import read_redshift_tables, read_redshifts
from survey_classifier.sources.spectra import RedshiftColumns

FULL = RedshiftColumns(id="id", z_err="err", z_warning="warn", spec_class="class", source_id="src",
                       ra="ra", dec="dec")  # fmt: skip
HEADER = "id,src,ra,dec,z,err,warn,class\n"
ARCSEC = 1 / 3600


@pytest.fixture
def tables(tmp_path):
    """Write tables, given by name, and read them as one."""

    def read(columns=FULL, **rows):
        files = []
        for name, text in rows.items():
            path = tmp_path / f"{name}.csv"
            path.write_text(HEADER + text)
            files.append((path, columns, name))
        return read_redshift_tables(files)

    return read


def by_name(redshifts, column):
    return dict(zip(redshifts.object_id, getattr(redshifts, column).tolist(), strict=True))


def test_the_best_spectrum_of_two_tables_is_kept_and_its_table_named(tables):
    both = tables(
        a="p,,10,0,.02,2e-5,0,\nq,,20,0,.03,1e-5,16,STAR\nr,,30,0,.04,1e-5,0,GALAXY\n",
        b=f"1,,{10 + ARCSEC},0,.021,1e-5,0,GALAXY\n2,,20,{ARCSEC},.031,,0,\n3,,40,0,.05,,0,QSO\n"
        f"4,,30,{ARCSEC},.041,1e-5,0,STAR\n",
    )
    assert by_name(both, "z") == {"p": 0.021, "q": 0.031, "r": 0.04, "3": 0.05}
    assert both.z_source.tolist() == ["b", "b", "a", "b"]
    # A spectrum without a class takes that of the other; of two classes the better one's is kept.
    assert both.spec_class.tolist() == ["GALAXY", "STAR", "GALAXY", "QSO"]
    assert both.ra_deg.tolist() == [10, 20, 30, 40]
    assert [table.objects.tolist() for table in both.tables] == [[0, 1, 2], [0, 1, 3, 2]]


def test_the_spectrum_kept_of_an_object_is_that_of_a_brute_force_sort(tables):
    spectra = [(w, e) for w in (0, 4, "") for e in ("1e-5", "2e-5", "", "-1")]
    for first, second in itertools.product(spectra, spectra):
        rows = [f"o,,1,1,{z},{err},{warn},\n" for z, (warn, err) in ((0.1, first), (0.2, second))]
        both = tables(a=rows[0], b=rows[1])

        def rank(row):
            warn, err = row[1]
            return warn != 0, float(err) if err not in ("", "-1") else np.inf

        assert both.z.tolist() == [min([(0.1, first), (0.2, second)], key=rank)[0]]


def test_objects_of_one_table_stay_apart_however_the_tables_follow(tables):
    """A chain: the second table's object lies between two of the first, 2 arcsec apart."""
    pair = f"a,,10,0,.1,,0,\nb,,10,{2 * ARCSEC},.2,,0,\n"
    between = f"c,,10,{0.9 * ARCSEC},.3,1e-5,0,\n"
    assert by_name(tables(x=pair, y=between), "z") == {"a": 0.3, "b": 0.2}
    assert by_name(tables(y=between, x=pair), "z") == {"c": 0.3, "b": 0.2}
    apart = f"c,,10,{-1.6 * ARCSEC},.3,1e-5,0,\n"
    assert by_name(tables(x=pair, y=apart), "z") == {"a": 0.1, "b": 0.2, "c": 0.3}


@given(st.lists(st.lists(st.integers(0, 40), max_size=6, unique=True), min_size=1, max_size=4))
def test_joining_loses_no_object_and_doubles_none(tmp_path_factory, places):
    """On a line in steps of 0.5 arcsec; the spectra of one table have ids of their own."""
    folder = tmp_path_factory.mktemp("tables")
    files = []
    for number, steps in enumerate(places):
        path = folder / f"{number}.csv"
        lines = [f"t{number}-{k},,0,{k * 0.5 / 3600},.1,,0,\n" for k in steps]
        path.write_text(HEADER + "".join(lines))
        files.append((path, FULL, str(number)))
    joined = read_redshift_tables(files)
    seen = np.concatenate([table.objects for table in joined.tables])
    assert set(seen.tolist()) == set(range(len(joined)))
    for table, steps in zip(joined.tables, places, strict=True):
        assert len(set(table.objects.tolist())) == len(steps) == table.n_row
        offset = np.abs(joined.dec_deg[table.objects] * 3600 - 0.5 * np.array(steps))
        assert (offset <= 1.5 + 1e-9).all()


def test_the_same_id_in_two_tables_is_one_object_only_at_one_place(tables):
    both = tables(a="5,,10,0,.1,,0,\n", b="5,,20,0,.2,,0,\n")
    assert by_name(both, "z") == {"5": 0.1, "5#2": 0.2}


def test_tables_need_names_of_their_own(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(HEADER)
    with pytest.raises(SourcesError, match="named a, a: give at least one, each a name"):
        read_redshift_tables([(path, FULL, "a"), (path, FULL, "a")])
    with pytest.raises(SourcesError, match=r"\(none\)"):
        read_redshift_tables([])


def test_rows_of_one_source_are_one_object_wherever_they_are(tables):
    joined = tables(
        a="p,s1,10,0,.1,2e-5,0,\nq,s1,11,0,.2,1e-5,0,\nr,,10,0,.3,1e-5,0,\n",
        b="x,s1,,,.4,1e-6,0,\ny,s2,10,0,.5,1e-6,0,\nz,s3,,,.6,,,\n",
    )
    # y has the place of r, which has no source_id; q, the best of s1, is elsewhere.
    assert joined.source_id.tolist() == ["s1", "s2", "s3"]
    assert joined.z.tolist() == [0.4, 0.5, 0.6]
    assert joined.object_id.tolist() == ["q", "r", "z"]
    assert joined.ra_deg.tolist()[:2] == [11, 10]
    assert np.isnan(joined.ra_deg[2])


def test_two_sources_at_one_place_stay_two(tables):
    joined = tables(a="p,s1,10,0,.1,,0,\n", b="q,s2,10,0,.2,,0,\n")
    assert joined.source_id.tolist() == ["s1", "s2"]


def test_a_table_of_names_and_redshifts_is_enough(tmp_path):
    path = tmp_path / "z.csv"
    path.write_text("source,z\ns2,.1\ns9,.3\ns1,-9999\n")
    columns = RedshiftColumns(source_id="source")
    assert columns.names == ("source", "z", "source")
    redshifts = read_redshifts(path, columns)
    assert redshifts.object_id.tolist() == ["s2", "s9"]
    assert redshifts.tables[0].n_row == 3
    names = np.array(["s1", "s2", "s3"], dtype=object)
    match = match_redshifts(np.full(3, np.nan), np.zeros(3), redshifts, 1.5, names)
    assert match.index.tolist() == [-1, 0, -1]
    assert np.isnan(match.separation_arcsec).all()
    assert not match.ambiguous.any()
    assert match_redshifts(np.zeros(3), np.zeros(3), redshifts, 1.5).index.tolist() == [-1] * 3


def test_half_a_position_is_refused():
    with pytest.raises(ValidationError, match="give both ra and dec, or with source_id neither"):
        RedshiftColumns(source_id="s", ra="RA")


def test_a_name_wins_over_the_place_and_an_unknown_name_falls_back_on_it(tables):
    redshifts = tables(a=f"p,s2,10,0,.1,,0,\nq,s9,20,0,.2,,0,\nr,,10,{ARCSEC},.3,,0,\n")
    ra, dec = np.array([10.0, 10.0, 20.0]), np.array([0.0, 0.2 * ARCSEC, 0.0])
    names = np.array(["s1", "s2", "s3"], dtype=object)
    match = match_redshifts(ra, dec, redshifts, 1.5, names)
    # p is s2's; s1 gets r, and is marked, because r is near s2 as well.
    assert match.index.tolist() == [2, 0, 1]
    assert match.ambiguous.tolist() == [True, False, False]
    np.testing.assert_allclose(match.separation_arcsec, [1, 0.2, 0], atol=1e-6)
    by_place = match_redshifts(ra, dec, redshifts, 1.5)
    assert by_place.index.tolist() == [0, 0, 1]
    assert by_place.ambiguous.tolist() == [True, True, False]


def test_each_table_has_its_own_radius(tables):
    """Against a brute force over all pairs."""
    rng = np.random.default_rng(2)

    def rows(name, n):
        places = rng.uniform(-30, 30, (n, 2)) / 3600
        return "".join(f"{name}{k},,{180 + x},{y},.1,,0,\n" for k, (x, y) in enumerate(places))

    redshifts = tables(a=rows("a", 60), b=rows("b", 60), c=rows("c", 60))
    radius = {"a": 1.0, "b": 4.0, "c": 4.0}
    ra, dec = 180 + rng.uniform(-30, 30, 200) / 3600, rng.uniform(-30, 30, 200) / 3600
    match = match_redshifts(ra, dec, redshifts, radius)
    apart = 3600 * np.hypot(ra[:, None] - redshifts.ra_deg, dec[:, None] - redshifts.dec_deg)
    limit = np.array([radius[name] for name in redshifts.z_source])
    within = apart <= limit
    expected = np.where(within, apart, np.inf).argmin(axis=1)
    np.testing.assert_array_equal(match.index, np.where(within.any(axis=1), expected, -1))
    claimed = np.bincount(match.index[match.index >= 0], minlength=len(redshifts))
    shared = (match.index >= 0) & (claimed[match.index] > 1)
    np.testing.assert_array_equal(match.ambiguous, (within.sum(axis=1) > 1) | shared)
    with pytest.raises(SourcesError, match="redshifts 'c' have no match radius"):
        match_redshifts(ra, dec, redshifts, {"a": 1.0, "b": 4.0})
    with pytest.raises(SourcesError, match="radius is -1"):
        match_redshifts(ra, dec, redshifts, radius | {"b": -1.0})


def test_tables_that_give_nothing_say_so(tables):
    redshifts = tables(
        here="p,,10,0,.1,,0,\np,,10,0,.2,,0,\nx,,10,0,,,0,\nq,,11,0,.3,,0,\n",
        elsewhere="p,,50,0,.1,,0,\n",
        unmeasured="p,,10,0,,,,\nq,,10,0,-9999,,,\nr,,10,0,nan,,,\n",
        empty="",
    )
    match = match_redshifts(np.array([10.0, 30.0]), np.zeros(2), redshifts, 1.5)
    assert match_lines(redshifts, match) == [
        "redshifts here: 4 rows, 3 spectra of 2 objects, 1 source with a redshift",
        "redshifts elsewhere: no source of the list is among its 1 object; is it of another field?",
        "redshifts unmeasured: none of its 3 rows has a redshift and a place; are the columns "
        "right?",
        "redshifts empty: it has no rows",
    ]
    assert match.index.tolist() == [0, -1]


def test_a_table_whose_spectra_are_all_superseded_is_not_said_to_be_elsewhere(tables):
    redshifts = tables(a="p,,10,0,.1,1e-6,0,\n", b="p,,10,0,.2,1e-5,0,\n")
    match = match_redshifts(np.array([10.0]), np.zeros(1), redshifts, 1.5)
    assert [
        line.endswith("1 source with a redshift") for line in match_lines(redshifts, match)
    ] == [
        True,
        True,
    ]


def test_no_redshift_at_all_matches_nothing(tables):
    redshifts = tables(a="p,,10,0,-9999,,,\n")
    assert len(redshifts) == 0
    match = match_redshifts(np.array([10.0]), np.zeros(1), redshifts, 1.5)
    assert match.index.tolist() == [-1]
    assert redshifts.digest != dataclasses.replace(tables(a="p,,10,0,.1,,,\n")).digest


def test_a_large_join_in_pieces_equals_one_in_one(monkeypatch, tables):
    rng = np.random.default_rng(4)
    places = rng.uniform(0, 60, (50, 2)) / 3600
    text = "".join(f"{k},,{180 + x},{y},.1,,0,\n" for k, (x, y) in enumerate(places))
    redshifts = tables(a=text)
    ra, dec = 180 + rng.uniform(0, 60, 333) / 3600, rng.uniform(0, 60, 333) / 3600
    whole = match_redshifts(ra, dec, redshifts, 3.0)
    monkeypatch.setattr("survey_classifier.sources.sky._POINTS_AT_ONCE", 10)
    pieces = match_redshifts(ra, dec, redshifts, 3.0)
    for name in ("index", "separation_arcsec", "ambiguous"):
        np.testing.assert_array_equal(getattr(pieces, name), getattr(whole, name))
    assert (whole.index >= 0).any()
