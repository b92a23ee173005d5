"""From a truth file and a table of scores to judged objects."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tomli_w
from astropy.io import votable
from astropy.table import Table

from survey_classifier.errors import ConfigError, SourcesError
from survey_classifier.membership.evidence_model import EvidenceModel
from survey_classifier.membership.priors import PriorTable
from survey_classifier.membership.red_sequence import PERSEUS_GZ
from survey_classifier.membership.weighing import Weighing
from survey_classifier.sources.digest import table_digest
from survey_classifier.sources.formats import table_columns
from survey_classifier.training.evaluation.account import Account
from survey_classifier.training.evaluation.breakdown import KINDS, groups, regions
from survey_classifier.training.evaluation.compared import read_compared
from survey_classifier.training.evaluation.judged import join
from survey_classifier.training.evaluation.scores import read_scores
from survey_classifier.training.evaluation.setting import setting_of
from survey_classifier.training.evaluation.settings import parse_columns, read_truth_file
from survey_classifier.training.evaluation.truth import read_truth
from survey_classifier.training.evaluation.wanted import Wanted

ARCSEC = 1 / 3600


def write(path, header, rows):
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(header)
        table.writerows(rows)
    return path


@pytest.fixture
def folder(tmp_path):
    """Two tables of truth that share an object, and scores of most of them."""
    write(
        tmp_path / "spectra.csv",
        ["name", "ra", "dec", "kind", "r", "gz", "g_r"],
        [
            ("s1", 50.00, 41.0, "cluster", 16.0, 1.33, 0.8),
            ("s1", 50.00, 41.0, "cluster", 16.0, 1.33, 0.8),  # a second spectrum
            ("s2", 50.01, 41.0, "background", 17.0, 1.9, 1.1),
            ("s3", 50.02, 41.0, "star", 15.0, 0.3, 0.2),
            ("s4", 50.03, 41.0, "cluster", 18.0, 0.4, 0.3),
        ],
    )
    write(
        tmp_path / "visual.csv",
        ["id", "ra", "dec", "label", "V"],
        [
            ("p1", 50.00, 41.0 + 0.5 * ARCSEC, "0", 16.3),  # s1 by its spectrum
            ("p2", 50.04, 41.0, "1", 19.0),
            ("p3", 50.05, 41.0, "0", 22.0),
            ("p4", 50.06, 41.0, "-1", 20.0),
        ],
    )
    content = {
        "data": [
            {
                "name": "spectra",
                "table": "spectra.csv",
                "columns": {"id": "name", "label": "kind", "mag": "r", "color": ["gz"]},
                "photometry": {"g-r": ["g_r"], "odd": {"g_r": 2.0, "r": -1.0}},
            },
            {
                "name": "visual",
                "table": "visual.csv",
                "columns": {"id": "id", "label": "label", "mag": "V"},
                "mag_offset": 0.27,
                "bright_mag": 20.0,
            },
        ],
        "mag_edges": [14, 16, 18, 20, 23],
        "n_folds": 2,
    }
    (tmp_path / "truth.toml").write_text(tomli_w.dumps(content))
    write(
        tmp_path / "scores.csv",
        ["id", "fold", "p_member"],
        [("s1", 0, 0.9), ("s2", 0, 0.2), ("s3", 1, 0.6), ("p1", 0, 0.8), ("p2", 1, 0.7),
         ("p3", 1, 0.1), ("x", 1, 0.5)],
    )  # fmt: skip
    return tmp_path


def judged(folder, match="id", scores="scores.csv"):
    file = read_truth_file(folder / "truth.toml", {}, ())
    return join(read_truth(file)[0], read_scores(folder / scores), file, match), file


def account(folder, scores="scores.csv", match="id"):
    file = read_truth_file(folder / "truth.toml", {}, ())
    objects, rows = read_truth(file)
    found = join(objects, read_scores(folder / scores), file, match)
    return Account.of(rows, found, file)


def setting(found, file, *paths):
    """What is said of scores."""
    rows = read_truth(file)[1]
    tables = [read_scores(path) for path in paths]
    return setting_of(tables, found, file, Account.of(rows, found, file))


def test_objects_are_joined_by_id_and_each_is_judged_once(folder):
    found, _ = judged(folder)
    assert found.truth.object_id.tolist() == ["s1", "s2", "s3", "p2", "p3"]
    assert found.p["image score"].tolist() == [0.9, 0.2, 0.6, 0.7, 0.1]
    assert found.truth.true_class.tolist() == [
        "cluster", "background", "star", "cluster", "background",
    ]  # fmt: skip
    assert found.fold.tolist() == [0, 0, 1, 1, 1]
    assert found.split == "folds"
    assert found.n_unscored == {"cluster": 1, "background": 0, "star": 0}


def test_where_only_the_later_row_of_an_object_has_a_score_the_class_is_of_the_first(folder):
    write(folder / "few.csv", ["id", "p_member"], [("p1", 0.8), ("s2", 0.1), ("s4", 0.3)])
    found, _ = judged(folder, scores="few.csv")
    assert found.truth.object_id.tolist() == ["s2", "s4", "s1"]
    assert found.p["p_member"].tolist() == [0.1, 0.3, 0.8]
    # By its spectrum it is a member, whatever the later table says; so is its magnitude.
    assert found.truth.true_class.tolist() == ["background", "cluster", "cluster"]
    assert found.truth.mag[2] == 16.0
    assert found.split == "unknown"
    assert found.n_unscored == {"cluster": 1, "background": 1, "star": 1}  # not s1: it is p1


def test_objects_are_joined_by_position(folder):
    offset = {"a": (50.0, 0.8), "b": (50.01, 1.9), "c": (50.02, 2.1), "d": (50.04, 0.0)}
    rows = [(n, ra, 41 + d * ARCSEC, 0.1 * k) for k, (n, (ra, d)) in enumerate(offset.items())]
    write(folder / "catalog.csv", ["source_id", "ra", "dec", "p_image"], rows)
    found, _ = judged(folder, "position", "catalog.csv")
    assert found.truth.object_id.tolist() == ["s1", "s2", "p2"]
    assert found.p["p_image"] == pytest.approx([0.0, 0.1, 0.3])


def test_a_score_between_two_objects_is_that_of_the_nearer_one(folder):
    rows = [("a", 50.0, 41.0, 0.5), ("b", 50.01, 41.0, 0.5)]
    write(folder / "catalog.csv", ["source_id", "ra", "dec", "p_image"], rows)
    write(
        folder / "pair.csv",
        ["source_id", "ra", "dec", "label"],
        [("far", 50.0, 41 + 1.8 * ARCSEC, "star"), ("near", 50.0, 41 - 0.5 * ARCSEC, "cluster"),
         ("else", 50.01, 41.0, "star")],
    )  # fmt: skip
    file = read_truth_file(folder / "pair.csv", {}, ()).model_copy(update={"n_folds": 2})
    found = join(read_truth(file)[0], read_scores(folder / "catalog.csv"), file, "position")
    assert found.truth.object_id.tolist() == ["near", "else"]
    assert found.n_unscored["star"] == 1


def test_photometry_is_that_of_the_truth_and_then_of_the_scores(folder):
    rows = [("s1", 0.9, 20.0, 19.0, 15.0), ("s2", 0.1, 19.0, 18.5, np.nan),
            ("p2", 0.7, 21.0, 20.0, 18.0)]  # fmt: skip
    header = ["id", "p_member", "mag_g", "mag_r", "r0"]
    write(folder / "catalog.csv", header, rows)
    found, _ = judged(folder, scores="catalog.csv")
    truth = found.truth
    assert truth.mag == pytest.approx([16.0, 17.0, 18.73])
    np.testing.assert_allclose(truth.photometry["g-r"], [0.8, 1.1, np.nan])
    np.testing.assert_allclose(truth.photometry["odd"], [-14.4, -14.8, np.nan])
    np.testing.assert_allclose(truth.photometry["g"], [20.0, 19.0, 21.0])
    np.testing.assert_allclose(truth.delta_rs[:2], [1.33, 1.9] - PERSEUS_GZ.color([16.0, 17.0]))


def test_a_table_of_redder_colors_is_brought_to_the_red_sequence(folder):
    text = (folder / "truth.toml").read_text()
    (folder / "truth.toml").write_text(
        text.replace('"spectra.csv"', '"spectra.csv"\ncolor_offset = 0.1')
    )
    found, _ = judged(folder)
    expected = np.array([1.33, 1.9]) - 0.1 - PERSEUS_GZ.color([16.0, 17.0])
    np.testing.assert_allclose(found.truth.delta_rs[:2], expected)


def test_sizes_may_be_large_and_what_is_written_in_nines_is_unknown(folder):
    text = (folder / "spectra.csv").read_text()
    (folder / "spectra.csv").write_text(
        text.replace("1.1\n", "150.0\n").replace("0.8\n", "-99.99\n")
    )
    found, _ = judged(folder)
    assert found.truth.photometry["g-r"][1] == 150
    assert np.isnan(found.truth.photometry["g-r"][0])


def test_sets_of_objects_are_what_their_names_say(folder):
    found, file = judged(folder)
    sets = {(g.by, g.name): np.flatnonzero(g.rows).tolist() for g in groups(found, file, KINDS)}
    assert sets["set", "all"] == [0, 1, 2, 3, 4]
    assert sets["set", "galaxies"] == [0, 1, 3, 4]
    assert sets["set", "bright"] == [0, 1, 2, 3]
    assert sets["set", "bright galaxies"] == [0, 1, 3]
    assert sets["class", "star"] == [2]
    assert regions(found, file).tolist() == ["red_sequence", "red_shoulder", "blue_cloud", "", ""]
    assert sets["region", "red_sequence"] == [0]
    assert sets["region-mag", "red_shoulder 16-18"] == [1]
    assert sets["mag", "16-18"] == [0, 1]  # half-open
    assert sets["mag", "18-20"] == [3]
    assert sets["table", "visual"] == [3, 4]
    assert sets["table", "spectra galaxies"] == [0, 1]
    assert ("table", "visual galaxies") not in sets  # there are no stars in it
    assert sets["fold", "1"] == [2, 3, 4]
    assert ("region", "green_valley") not in sets


def test_scores_without_folds_are_in_strips_of_the_sky(folder):
    write(folder / "few.csv", ["id", "p_member"],
          [(name, 0.5) for name in ("s1", "s2", "s3", "s4", "p2", "p3")])  # fmt: skip
    found, _ = judged(folder, scores="few.csv")
    order = np.argsort(found.truth.ra_deg)
    assert found.fold[order].tolist() == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        (["id", "p_member"], [("s1", 1.2)], "1.2, which is no probability"),
        (["id", "p_member"], [("s1", 0.2), ("s1", 0.3)], "has 's1' in several rows of 'id'"),
        (["id", "p"], [("s1", 0.2)], "neither p_image nor p_member: name a column with --score"),
        (["name", "p_member"], [("s1", 0.2)], "neither source_id nor id"),
        (["id", "p_member", "fold"], [("s1", 0.2, 0.5)], "a fold that is no whole number"),
        (["id", "p_member"], [("q", 0.2)], "no object of the truth has a score .* --match pos"),
        (["id", "p_member"], [("s1", 0.2), ("s4", 0.2)], "2 objects with a score hold members"),
        (["id", "p_member"], [("s2", "")], "no object of the truth has a score"),
    ],
)
def test_bad_scores_are_refused_in_a_line(folder, header, rows, message):
    write(folder / "bad.csv", header, rows)
    with pytest.raises(SourcesError, match=message) as caught:
        judged(folder, scores="bad.csv")
    assert "\n" not in str(caught.value)


def test_scores_without_positions_cannot_be_joined_by_them(folder):
    with pytest.raises(SourcesError, match="has no positions ra, dec; use --match id"):
        judged(folder, "position")


def test_turned_copies_of_an_object_are_one_with_the_mean_score(folder):
    rows = [("s1", 0, 0.2), ("s2", 0, 0.5), ("s1", 0, 0.4), ("p2", 0, 0.1), ("s3", 0, 0.9)]
    write(folder / "copies.csv", ["id", "fold", "p_member"], rows)
    found, _ = judged(folder, scores="copies.csv")
    assert found.truth.object_id.tolist() == ["s1", "s2", "s3", "p2"]
    assert found.p["image score"] == pytest.approx([0.3, 0.5, 0.9, 0.1])
    # One part of a random split has no folds that simple forecasts could be fitted to, and there
    # are fewer objects beside it.
    assert found.split == "part"
    assert found.fold.tolist() == [0, 0, 1, 1]
    assert len(found.beside) == 0


def test_objects_beside_a_part_are_those_of_known_class_without_a_score(folder):
    write(folder / "part.csv", ["id", "fold", "p_member"], [("s2", 0, 0.2), ("p2", 0, 0.9)])
    found, _ = judged(folder, scores="part.csv")
    assert found.truth.object_id.tolist() == ["s2", "p2"]
    assert found.beside.object_id.tolist() == ["s1", "s3", "s4", "p3"]  # p1 is s1
    assert found.known.object_id.tolist() == ["s2", "p2", "s1", "s3", "s4", "p3"]
    assert found.fold.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("header", "rows", "named"),
    [
        (("id", "fold", "ra", "dec", "p_member"),
         [("s1", 0, 50.0, 41.0, 0.2), ("s1", 0, 50.0, 41.001, 0.9)], "rows 1 and 2"),
        (("id", "fold", "p_member"),
         [("s1", 0, 0.2), ("s2", 1, 0.5), ("s1", 1, 0.4)], "rows 1 and 3"),
    ],
)  # fmt: skip
def test_rows_of_one_id_that_are_several_objects_are_refused(folder, header, rows, named):
    write(folder / "odd.csv", header, rows)
    with pytest.raises(SourcesError, match=rf"'s1' in {named}, at different places or in diff"):
        judged(folder, scores="odd.csv")


def test_an_id_that_two_tables_give_to_different_objects_is_refused(folder):
    text = (folder / "visual.csv").read_text()
    (folder / "visual.csv").write_text(text.replace("p3", "s2"))
    with pytest.raises(SourcesError, match=r"'s2' names objects at different places .*--match pos"):
        judged(folder)


def test_several_rows_of_an_object_are_said(folder):
    rows = [("s1", 0, 0.2), ("s2", 1, 0.5), ("s1", 0, 0.4), ("p2", 0, 0.1), ("s3", 0, 0.9)]
    path = write(folder / "copies.csv", ["id", "fold", "p_member"], rows)
    assert (
        "copies.csv has 5 rows of 4 objects"
        in setting(*judged(folder, scores="copies.csv"), path).said
    )


def test_an_error_below_zero_is_refused(folder):
    write(folder / "err.csv", ["id", "fold", "p_member", "p_err"], [("s1", 0, 0.2, -0.1)])
    with pytest.raises(SourcesError, match=r"'p_err' of .*err\.csv holds -0\.1; an error is 0 or"):
        judged(folder, scores="err.csv")


def second_sample(folder, *rows):
    """Write scores of one part of a random split, and of a second sample."""
    return write(folder / "second.csv", ["id", "fold", "p_member"], rows)


def test_the_second_sample_is_no_fold(folder):
    rows = [("s1", -1, 0.9), ("s2", -1, 0.2), ("s4", 0, 0.3), ("p2", 0, 0.7), ("p3", 0, 0.1)]
    path = second_sample(folder, *rows)
    found, file = judged(folder, scores=path.name)
    assert found.split == "part"
    assert found.truth.object_id.tolist() == ["s1", "s2", "s4", "p2", "p3"]
    assert found.fold.tolist() == [-1, -1, 0, 1, 1]  # strips of the part alone
    sets = {(g.by, g.name): np.flatnonzero(g.rows).tolist() for g in groups(found, file, KINDS)}
    assert sets["set", "first sample"] == [2, 3, 4]
    assert sets["set", "second sample"] == [0, 1]
    assert ("fold", "-1") not in sets
    said = setting(found, file, path).seen
    assert "one part of the split; if it was leaky" in said
    assert "of the second sample are of objects that no network was fitted to" in said


def test_the_second_sample_of_folds_is_none_either(folder):
    rows = [("s1", -1, 0.9), ("s2", 0, 0.2), ("p2", 1, 0.7), ("p3", 1, 0.1)]
    found, _ = judged(folder, scores=second_sample(folder, *rows).name)
    assert (found.split, found.fold.tolist()) == ("folds", [-1, 0, 1, 1])
    rows = [(name, -1, p) for name, _, p in rows]
    path = second_sample(folder, *rows)
    found, file = judged(folder, scores=path.name)
    assert (found.split, found.fold.tolist()) == ("second sample", [0, 0, 1, 1])
    assert "no network was fitted to" in setting(found, file, path).seen


def test_scores_of_networks_whose_first_weights_had_seen_the_objects_are_marked(folder):
    rows = [("s1", 0, 0.9), ("s2", 0, 0.2), ("p2", 1, 0.7)]
    path = write(folder / "begun.csv", ["id", "fold_seen", "p_member"], rows)
    found, file = judged(folder, scores=path.name)
    assert (found.split, found.fold.tolist()) == ("folds", [0, 0, 1])
    known = setting(found, file, path)
    assert known.is_optimistic
    assert known.seen.startswith("The networks began with weights that had seen these objects")


def compared(folder, *names, match="id"):
    """Judge scores beside others."""
    file = read_truth_file(folder / "truth.toml", {}, ())
    tables = read_compared([folder / name for name in ("scores.csv", *names)], Wanted(), ())
    return join(read_truth(file)[0], tables[0], file, match, tables[1:])


def test_other_scores_are_of_the_same_objects(folder):
    """One of them knows an object by another of its names, and lacks two."""
    rows = [("p3", 0.6), ("p1", 0.4), ("s2", 0.3), ("s3", ""), ("y", 0.1)]
    write(folder / "next-out-of-fold.csv", ["id", "p_member"], rows)
    found = compared(folder, "next-out-of-fold.csv")
    assert found.truth.object_id.tolist() == ["s1", "s2", "p3"]
    assert {name: p.tolist() for name, p in found.p.items()} == {
        "scores": [0.9, 0.2, 0.1],
        "next": [0.4, 0.3, 0.6],
    }
    assert found.n_own == 1
    assert found.n_lacking == {"next": 2}
    assert found.n_unscored == judged(folder)[0].n_unscored
    assert found.fold.tolist() == [0, 0, 1]


def test_other_scores_by_position(folder):
    positions = {"s1": 50.0, "s2": 50.01, "s3": 50.02, "p2": 50.04, "p3": 50.05}
    rows = [(name, ra, 41 + 0.3 * ARCSEC, k / 10) for k, (name, ra) in enumerate(positions.items())]
    header = ["source_id", "ra", "dec", "p_image"]
    write(folder / "scores.csv", header, rows)
    write(folder / "other.csv", header, [(f"x{n}", *row[1:]) for n, row in enumerate(rows[::-1])])
    found = compared(folder, "other.csv", match="position")
    assert len(found) == 5
    assert found.p["scores"].tolist() == found.p["other"].tolist() == [0, 0.1, 0.2, 0.3, 0.4]


def test_scores_that_share_no_object_cannot_be_compared(folder):
    write(folder / "other.csv", ["id", "p_member"], [("s4", 0.5)])
    message = r"no object has a score in all of .*scores.csv, .*other.csv; compare tables"
    with pytest.raises(SourcesError, match=message):
        compared(folder, "other.csv")
    write(folder / "other.csv", ["id", "p_member"], [("q", 0.5)])
    with pytest.raises(SourcesError, match=r"no object of the truth has a score in .*other.csv"):
        compared(folder, "other.csv")


def test_compared_tables_have_names_of_their_own(folder):
    for name in ("a", "b"):
        (folder / name).mkdir()
        write(folder / name / "net.csv", ["id", "p_member"], [("s1", 0.1)])
    write(folder / "majority.csv", ["id", "p_member"], [("s1", 0.1)])
    paths = [folder / "a" / "net.csv", folder / "b" / "net.csv", folder / "a" / "net.csv",
             folder / "scores.csv", folder / "majority.csv"]  # fmt: skip
    tables = read_compared(paths, Wanted(), {"majority"})
    assert [table.name for table in tables] == ["a/net", "b/net", "a/net 2", "scores", "majority 2"]
    assert [list(table.p) for table in tables] == [[table.name] for table in tables]


def test_columns_asked_for_are_those_of_the_others_where_they_have_them(folder):
    header = ["key", "id", "p_image", "p_member", "p_image_err"]
    write(folder / "run.csv", header, [("s1", "s1", 0.1, 0.2, 0.01)])
    asked = Wanted("key", ("p_member", "p_image"))
    one, other = read_compared([folder / "run.csv", folder / "scores.csv"], asked, ())
    assert list(one.p) == ["run p_member", "run p_image"]
    assert one.claim.of == "run p_image"
    assert list(other.p) == ["scores"]
    asked = Wanted("key", ("p_imag",))
    with pytest.raises(SourcesError, match="no column 'p_imag'"):
        read_compared([folder / "run.csv", folder / "scores.csv"], asked, ())


def test_claimed_errors_are_read_with_what_they_are_errors_of(folder):
    header = ["id", "fold", "p_member", "p_err"]
    rows = [("s1", 0, 0.2, 0.1), ("s2", 0, 0.5, ""), ("s1", 0, 0.4, 0.3), ("p2", 1, 0.6, 0.2)]
    write(folder / "scores.csv", header, rows)
    claim = judged(folder)[0].claims["image score"]
    assert claim.p == pytest.approx([0.3, 0.5, 0.6])
    np.testing.assert_allclose(claim.p_err, [0.2, np.nan, 0.2])
    # A run's are those of the network's score, whatever is judged; of one view there are none.
    write(folder / "run.csv", ["id", "p_member", "p_image", "p_image_err"], [("s1", 0.9, 0.8, 0.1)])
    claim = read_scores(folder / "run.csv").claim
    assert (claim.of, claim.p.tolist(), claim.p_err.tolist()) == ("p_image", [0.8], [0.1])
    write(folder / "one-view.csv", header, [("s1", 0, 0.2, ""), ("s2", 0, 0.5, "")])
    assert read_scores(folder / "one-view.csv").claim is None


def test_named_columns_of_scores(folder):
    rows = [("s1", 0.2, 0.3, 0.4), ("s2", 0.5, 0.6, 0.7)]
    write(folder / "odd.csv", ["key", "a", "b", "p_member"], rows)
    scores = read_scores(folder / "odd.csv", Wanted("key", ("b", "a")))
    assert list(scores.p) == ["b", "a"]
    assert scores.p["a"].tolist() == [0.2, 0.5]
    with pytest.raises(SourcesError, match="no column 'kee': did you mean 'key'"):
        read_scores(folder / "odd.csv", Wanted("kee"))


@pytest.mark.parametrize(
    ("old", "new", "error", "message"),
    [
        ('"kind"', '"r"', SourcesError, "label '16.0', which means nothing .* under .labels."),
        ('name = "visual"', 'name = "spectra"', ConfigError, "two .* the name 'spectra'"),
        ("bright_mag = 20.0", "bright = 20.0", ConfigError, "did you mean 'bright_mag'"),
        ("    18,\n", "    15,\n", ConfigError, "give them in ascending order"),
        ("n_folds", "red_sequence = 'none'\nn_folds", ConfigError, "no red sequence 'none'"),
    ],
)
def test_bad_truth_files_are_refused_in_a_line(folder, old, new, error, message):
    path = folder / "truth.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(error, match=message) as caught:
        judged(folder)
    assert "\n" not in str(caught.value)


def test_one_object_with_two_classes_is_refused(folder):
    rows = [("a", 50.0, 41.0, "star"), ("a", 50.0, 41.0, "cluster")]
    path = write(folder / "two.csv", ["source_id", "ra", "dec", "label"], rows)
    with pytest.raises(SourcesError, match=r"'a' of .*two.csv has different classes"):
        read_truth(read_truth_file(path, {}, ()))


def test_options_stand_for_a_truth_file(folder):
    columns = parse_columns("id=name, label=kind,mag=r,color=gz+g_r")
    file = read_truth_file(folder / "spectra.csv", columns, ("some.zarr",))
    assert file.data[0].columns.color == ("gz", "g_r")
    assert file.stores == (str(Path("some.zarr").resolve()),)
    assert read_truth(file)[0].object_id.tolist() == ["s1", "s2", "s3", "s4"]
    with pytest.raises(ConfigError, match="unknown key 'lable'; did you mean 'label'"):
        read_truth_file(folder / "spectra.csv", {"lable": "kind"}, ())
    with pytest.raises(ConfigError, match="says its columns itself"):
        read_truth_file(folder / "truth.toml", {"label": "kind"}, ())
    with pytest.raises(ConfigError, match="the unknown key 'foo'; known are color, color_err, d"):
        read_truth_file(folder / "spectra.csv", {"foo": "bar"}, ())
    with pytest.raises(ConfigError, match="the unknown key 'thumb'; known are"):
        read_truth_file(folder / "spectra.csv", {"thumb": "t"}, ())
    with pytest.raises(ConfigError, match="--columns has 'id'; write pairs"):
        parse_columns("id")


def test_names_of_columns_are_told_of_every_format(tmp_path):
    names = ("id", "ra", "p_member")
    table = Table({name: [1.0, 2.0] for name in names})
    table.write(tmp_path / "t.csv")
    table.write(tmp_path / "t.fits")
    votable.from_table(table).to_xml(str(tmp_path / "t.vot"))
    pq.write_table(pa.table({name: [1.0] for name in names}), tmp_path / "t.parquet")
    for kind in ("csv", "fits", "vot", "parquet"):
        assert table_columns(tmp_path / f"t.{kind}") == names
    with pytest.raises(SourcesError, match="there is no table"):
        table_columns(tmp_path / "none.csv")


def test_every_row_of_the_truth_and_every_score_is_accounted_for(folder):
    found = account(folder)
    assert found.lines == [
        "9 rows of truth = 5 judged + 1 of an id that came before + 1 without a score "
        "+ 1 within 2 arcsec of another, which has another class + 1 of an ignored label",
        "7 scores = 5 judged + 1 of an object judged by another score "
        "+ 1 of no object of the truth",
    ]
    rows = dict(zip(found.object_id, zip(found.fate, found.judged_as, strict=True), strict=True))
    assert rows["p1"] == ("within 2 arcsec of another, which has another class", "s1")
    assert rows["s4"] == ("without a score", "")
    assert rows["p4"] == ("of an ignored label", "")
    assert rows["p2"] == ("judged", "p2")
    assert found.table.tolist() == ["spectra"] * 5 + ["visual"] * 4


@pytest.mark.parametrize("match", ["id", "position"])
def test_accounts_sum_up_whatever_is_lacking(folder, match):
    rng = np.random.default_rng(3)
    ids = [f"o{number}" for number in range(60)]
    ra, dec = 50 + rng.integers(0, 12, (2, 60)) * 1.1 * ARCSEC / np.cos(np.radians(41))
    label = np.where(rng.random(60) < 0.4, "cluster", "background")
    label[rng.random(60) < 0.2] = ""
    write(folder / "truth.csv", ["source_id", "ra", "dec", "label"],
          [*zip(ids, ra, dec - 9, label, strict=True),
           *((name, ra[n], dec[n] - 9, label[n]) for n, name in enumerate(ids[:3]))])  # fmt: skip
    file = read_truth_file(folder / "truth.csv", {}, ()).model_copy(update={"n_folds": 2})
    for number in range(2):
        some = rng.permutation(60)[:45]
        lines = [
            (ids[n], ra[n], dec[n] - 9, "" if rng.random() < 0.1 else rng.random()) for n in some
        ]
        write(folder / f"s{number}.csv", ["id", "ra", "dec", "p_image"], lines)
    tables = read_compared([folder / "s0.csv", folder / "s1.csv"], Wanted(), ())
    objects, rows = read_truth(file)
    found = join(objects, tables[0], file, match, tables[1:])
    whole = Account.of(rows, found, file)
    assert sum(whole.counts.values()) == len(whole) == 63
    assert whole.counts["judged"] == len(found) == found.n_scores["judged"]
    assert sum(found.n_scores.values()) == 45
    assert whole.counts.get("without a score in s1", 0) == found.n_lacking["s1"]
    assert whole.counts.get("without a score", 0) == sum(found.n_unscored.values())
    judged_ids = set(found.truth.object_id)
    assert {name for name in whole.judged_as if name} == judged_ids


def test_the_sets_of_a_kind_hold_all_objects_once(folder):
    rows = [("s1", 0.9), ("s2", 0.1), ("s3", 0.3), ("s4", 0.8), ("p2", 0.7), ("p3", 0.2)]
    write(folder / "few.csv", ["id", "p_member"], rows)
    path = folder / "truth.toml"
    path.write_text(path.read_text().replace("    14,\n", "").replace("    23,\n", ""))
    found, file = judged(folder, scores="few.csv")
    assert file.mag_edges == (16, 18, 20)
    sets = groups(found, file, KINDS)
    for kind in ("class", "region", "mag", "region-mag", "fold"):
        held = np.sum([group.rows for group in sets if group.by == kind], axis=0)
        assert held.tolist() == [1] * len(found), kind
    named = {group.name: np.flatnonzero(group.rows).tolist() for group in sets}
    assert named["< 16"] == [2]
    assert named[">= 20"] == [5]
    assert named["no color"] == [4, 5]


SEEN = [("s1", 0, "no", 0.9), ("s2", 0, "yes", 0.2), ("s3", 1, "no", 0.6), ("s4", 1, "no", 0.6),
        ("p2", 1, "no", 0.7), ("p3", 1, "yes", 0.1)]  # fmt: skip


def test_objects_that_networks_had_seen_are_counted_and_the_others_judged_apart(folder):
    path = write(folder / "seen.csv", ["id", "fold", "seen", "p_member"], SEEN)
    found, file = judged(folder, scores="seen.csv")
    assert found.truth.object_id[found.is_seen].tolist() == ["s2", "p3"]
    sets = {(g.by, g.name): np.flatnonzero(g.rows).tolist() for g in groups(found, file, ())}
    assert sets["set", "not seen"] == np.flatnonzero(~found.is_seen).tolist()
    known = setting(found, file, path)
    assert known.is_optimistic
    assert known.seen.startswith("2 of 6 objects had been seen by the network that scored them: ")
    assert list(found.p) == ["image score"]  # not all are out of fold


@pytest.mark.parametrize("fold", ["fold", "fold_seen"])
def test_objects_that_no_network_had_seen(folder, fold):
    rows = [(name, number, "no", p) for name, number, _, p in SEEN]
    path = write(folder / "unseen.csv", ["id", fold, "seen", "p_member"], rows)
    found, file = judged(folder, scores="unseen.csv")
    known = setting(found, file, path)
    # First weights may have seen them, if that is what the older column says.
    assert known.is_optimistic == (fold == "fold_seen")
    assert ("out of fold" in known.seen) == (fold == "fold")
    rows = [(name, 0, "no", p) for name, _, _, p in rows]
    path = write(folder / "part.csv", ["id", "fold", "seen", "p_member"], rows)
    found, file = judged(folder, scores="part.csv")
    assert setting(found, file, path).seen == "No score is of an object that its network had seen."


def test_a_leaky_copy_makes_an_object_seen(folder):
    rows = [*((*row[:2], "no", row[3]) for row in SEEN), ("s1", 0, "yes", 0.3)]
    write(folder / "leaky.csv", ["id", "fold", "seen", "p_member"], rows)
    found, _ = judged(folder, scores="leaky.csv")
    assert found.truth.object_id[found.is_seen].tolist() == ["s1"]


def test_where_first_weights_may_know_the_objects_that_is_said(folder):
    rows = [("s1", 0, "unknown", 0.9), ("s2", 1, "unknown", 0.2), ("p2", 1, "no", 0.7)]
    path = write(folder / "began.csv", ["id", "fold", "seen", "p_member"], rows)
    found, file = judged(folder, scores="began.csv")
    assert list(found.p) == ["image score"]
    said = setting(found, file, path)
    assert said.seen.startswith("The networks began with weights of another training; whether that")
    assert not said.is_optimistic
    # Where it had seen some, the others are not known to be new.
    rows[0] = ("s1", 0, "yes", 0.9)
    write(path, ["id", "fold", "seen", "p_member"], rows)
    found, file = judged(folder, scores="began.csv")
    assert found.is_seen.tolist() == [True, True, False]
    said = setting(found, file, path)
    assert said.seen.endswith("Whether it had seen others of them is not known.")
    assert said.is_optimistic


def test_a_truth_that_evidence_was_fitted_to_is_no_test_of_it(folder):
    path = write(folder / "run.csv", ["id", "p_member"], [("s1", 0.9), ("s2", 0.2), ("p2", 0.7)])
    file = read_truth_file(folder / "truth.toml", {}, ())
    objects, rows = read_truth(file)
    scores = read_scores(path)
    digest = table_digest(folder / "visual.csv")
    for source, is_said in ((f"Fitted to visual.csv sha256 {digest}.", True), ("Others.", False)):
        evidence = EvidenceModel.plain({"member": 0.1}).model_copy(update={"source": source})
        weighing = Weighing(
            evidence=evidence, prior=PriorTable.read("perseus"), center_deg=(50, 41)
        )
        known = replace(scores, origin=replace(scores.origin, weighing=weighing))
        found = join(objects, known, file, "id")
        said = setting_of([known], found, file, Account.of(rows, found, file)).said
        note = "image and color are worth in p_member was fitted to visual.csv: its figures are no"
        assert (note in said) == is_said


def test_seen_is_yes_or_no(folder):
    write(folder / "odd.csv", ["id", "fold", "seen", "p_member"], [("s1", 0, "perhaps", 0.5)])
    with pytest.raises(
        SourcesError, match=r"'seen' of .* holds 'perhaps'; write yes, no or unknown"
    ):
        read_scores(folder / "odd.csv")


def test_many_folds_are_regrouped_for_what_is_fitted_beside_the_scores(folder):
    rng = np.random.default_rng(0)
    names = [f"o{number}" for number in range(40)]
    write(folder / "many.csv", ["source_id", "ra", "dec", "label"],
          [(name, 50 + n / 100, 41, "cluster" if n % 2 else "background")
           for n, name in enumerate(names)])  # fmt: skip
    rows = [(name, n, p) for n, (name, p) in enumerate(zip(names, rng.random(40), strict=True))]
    path = write(folder / "loo.csv", ["id", "fold", "p_member"], rows)
    file = read_truth_file(folder / "many.csv", {}, ())
    found = join(read_truth(file)[0], read_scores(path), file, "id")
    assert np.unique(found.fold).tolist() == [0, 1, 2, 3]
    assert found.split == "folds"
    (note,) = setting(found, file, path).notes
    assert note.startswith("loo.csv has 40 folds, more than 20: simple forecasts are fitted in 4")
    write(folder / "loo.csv", ["id", "fold", "p_member"], [(n, k % 20, p) for n, k, p in rows])
    found = join(read_truth(file)[0], read_scores(path), file, "id")
    assert len(np.unique(found.fold)) == 20


def test_the_column_of_identifiers_is_found_table_by_table(folder):
    """Under the usual names, and under those that the truth has for its own."""
    write(folder / "own.csv", ["name", "p_image"], [("s1", 0.9), ("s2", 0.3), ("p2", 0.4)])
    paths = [folder / "own.csv", folder / "scores.csv"]
    one, other = read_compared(paths, Wanted(truth_ids=("id", "name")), ())
    assert one.object_id.tolist() == ["s1", "s2", "p2"]
    assert other.object_id.tolist() == ["s1", "s2", "s3", "p1", "p2", "p3", "x"]
    # One that is named is that of the tables which have it.
    one, other = read_compared(paths[::-1], Wanted("name"), ())
    assert (len(one), other.object_id.tolist()) == (7, ["s1", "s2", "p2"])
    with pytest.raises(SourcesError, match=r"scores.csv has no column 'nam'"):
        read_compared(paths[::-1], Wanted("nam"), ())
    write(folder / "both.csv", ["id", "name", "p_image"], [("1", "s1", 0.9)])
    with pytest.raises(SourcesError, match=r"has id and name, and each may be .* which by --id"):
        read_scores(folder / "both.csv", Wanted(truth_ids=("name",)))
    with pytest.raises(SourcesError, match="neither source_id nor id: name the column of ident"):
        read_scores(folder / "own.csv")


def test_the_posterior_of_an_unknown_table_is_judged_with_a_word_of_caution(folder):
    rows = [("s1", 0.8, 0.9, ""), ("s2", 0.3, 0.1, -4.0), ("p2", 0.4, 0.2, "")]
    header = ["id", "p_image", "p_member", "llr_redshift"]
    path = write(folder / "both.csv", header, rows)
    found, file = judged(folder, scores="both.csv")
    assert list(found.p) == ["p_image"]
    (note,) = setting(found, file, path).notes
    assert note.startswith("p_member is not judged: it may hold the redshifts of 1 of 3 objects")
    path = write(folder / "alone.csv", ["id", "p_member"], [(row[0], row[2]) for row in rows])
    found, file = judged(folder, scores="alone.csv")
    (note,) = setting(found, file, path).notes
    assert note.startswith("Whether p_member holds redshifts is not known")
    # Where there is no redshift it is as good as any score.
    path = write(folder / "none.csv", header, [(*row[:3], "") for row in rows])
    found, file = judged(folder, scores="none.csv")
    assert list(found.p) == ["p_image", "p_member"]
    assert setting(found, file, path).notes == ()
