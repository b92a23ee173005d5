"""The evidence of a run: what a run file says of it, and what comes out beside each score."""

import csv
import shutil

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from survey_classifier import classify, plan
from survey_classifier.catalog.read import read_provenance
from survey_classifier.errors import ConfigError, SourcesError
from survey_classifier.membership.flags import Flag, Status
from survey_classifier.membership.weighing import Weighing
from tests import small_run

EVIDENCE = ["llr_image", "llr_color", "llr_redshift", "llr_position", "prior_member", "p_member"]


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    """The small run with errors of magnitudes, point-likeness and a second table of redshifts."""
    folder = tmp_path_factory.mktemp("evidence")
    pieces = small_run.make(folder)
    sources = pd.read_csv(folder / "sources.csv", dtype={"name": str})
    rng = np.random.default_rng(5)
    for band in "gz":
        sources[f"err_{band}"] = rng.uniform(0.01, 0.3, len(sources))
    sources["pointy"] = rng.uniform(0, 1, len(sources))
    sources.loc[30, "mag_g"] = np.nan
    sources.loc[31, "mag_r"] = np.nan
    sources.to_csv(folder / "sources.csv", index=False)
    with (folder / "more.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["who", "v"])
        writer.writerows([("S-040", 0.0099), ("S-041", 0.0171), ("S-042", "-9999"), ("S-043", "")])
    (folder / "stars.csv").write_text("ra,dec,mag\n49.95,41.51,9.0\n")
    return pieces


def run_file(pieces, name, **membership):
    """Write a run file with all kinds of evidence."""
    return pieces.write(
        name,
        sources={
            "columns": {
                "id": "name",
                "mag": {"g": "mag_g", "r": "mag_r", "z": "mag_z"},
                "mag_err": {"g": "err_g", "z": "err_z"},
                "point_likeness": "pointy",
            }
        },
        redshifts=[
            {
                "path": "redshifts.csv",
                "columns": {"z_err": "z_err", "z_warning": "warn", "spec_class": "kind"},
            },
            {"path": "more.csv", "name": "more", "columns": {"source_id": "who", "z": "v"}},
        ],
        bright_stars={"path": "stars.csv"},
        membership={"evidence": "perseus", **membership},
    )


def rows_of(receipt):
    return pd.read_parquet(receipt.catalog).set_index("source_id").sort_index()


@pytest.fixture(scope="module")
def reference(pieces):
    receipt = classify(run_file(pieces, "evidence"))
    return receipt, rows_of(receipt)


def test_evidence_is_there_where_there_is_something_to_go_by(reference):
    rows = reference[1]
    known = rows[["mag_g", "mag_r", "mag_z"]].notna().all(axis=1)
    assert (rows.llr_color.notna() == known).all()
    assert (rows.llr_redshift.notna() == rows.z.notna()).all()
    assert (rows.llr_image.notna() == (rows.status == Status.CLASSIFIED.value)).all()
    assert rows.llr_position[rows.ra.notna() & rows.mag_r.notna()].notna().all()
    assert rows.p_star.notna().all()
    assert not known["S-030"]
    assert rows.color_region["S-030"] == rows.legacy_strip["S-030"] == ""
    assert rows["flags"]["S-031"] & Flag.PRIOR_WITHOUT_MAGNITUDE
    assert not rows["flags"]["S-030"] & Flag.PRIOR_WITHOUT_MAGNITUDE


def test_what_photometry_lacks_is_flagged(pieces, reference):
    flags = reference[1]["flags"]
    missing = flags.index[(flags & int(Flag.MAGNITUDE_UNKNOWN)) != 0]
    assert list(missing) == ["S-030", "S-031"]
    assert not (flags & int(Flag.EBV_UNKNOWN)).any()
    listed = pd.read_csv(pieces.folder / "sources.csv", dtype={"name": str})
    listed["dust"] = 0.17
    listed.loc[40:41, "dust"] = [np.nan, -0.02]
    listed.to_csv(pieces.folder / "dusty.csv", index=False)
    columns = {"id": "name", "ebv": "dust", "mag": {band: f"mag_{band}" for band in "grz"}}
    dusty = pieces.write("dusty", sources={"path": "dusty.csv", "columns": columns})
    text = dusty.read_text().replace("ebv = 0.17\n", "")
    dusty.write_text(text)
    rows = rows_of(classify(dusty))
    flagged = rows.index[(rows["flags"] & int(Flag.EBV_UNKNOWN)) != 0]
    assert list(flagged) == ["S-040", "S-041"]
    assert rows.loc[flagged, ["ebv", "r0", "delta_rs", "llr_color"]].isna().all(axis=None)
    assert rows.p_member[flagged].notna().all()


def test_the_footer_says_how_and_weighing_by_it_gives_the_catalog_again(reference):
    receipt, rows = reference
    statement = read_provenance(receipt.catalog).evidence
    table = pq.read_table(receipt.catalog)
    columns = {name: table[name].to_numpy() for name in table.column_names}
    again = Weighing.of_statement(statement).weigh(columns).columns
    for name in (*EVIDENCE, "p_star"):
        np.testing.assert_array_equal(again[name].astype(np.float32), columns[name], err_msg=name)
    assert rows.p_member.notna().sum() == receipt.n_classified


def test_the_footer_explains_every_flag_and_status(reference):
    xml = pq.read_metadata(reference[0].catalog).metadata[b"IVOA.VOTable-Parquet.content"].decode()
    for meaning in (*(flag.meaning for flag in Flag), *(status.meaning for status in Status)):
        assert meaning in xml


@pytest.mark.parametrize("piece", ["color", "redshift", "position"])
def test_evidence_left_out_is_nan_and_changes_no_other(pieces, reference, piece):
    less = rows_of(classify(run_file(pieces, f"no-{piece}", without=[piece])))
    assert less[f"llr_{piece}"].isna().all()
    # What a redshift is compared with is mostly stars where few galaxies are members.
    follows = {f"llr_{piece}", "llr_redshift" if piece == "position" else ""}
    for name in EVIDENCE[:-1]:
        if name not in follows:
            pd.testing.assert_series_equal(less[name], reference[1][name])
    assert not less.p_member.equals(reference[1].p_member)


def test_another_piece_left_out_is_another_run(pieces):
    one = plan(run_file(pieces, "fingerprint")).fingerprint
    assert one != plan(run_file(pieces, "fingerprint", without=["color"])).fingerprint
    assert one != plan(run_file(pieces, "fingerprint", prior=0.1)).fingerprint
    assert one == plan(run_file(pieces, "fingerprint", prior="perseus")).fingerprint


def test_redshifts_of_a_second_table_are_joined_by_name(reference):
    rows = reference[1]
    assert rows.z_source["S-040"] == "more"
    assert rows.z_source["S-020"] == "redshifts"
    assert rows.z["S-040"] == pytest.approx(0.0099)
    assert rows["flags"]["S-040"] & Flag.AMBIGUOUS_LOWZ
    assert rows.z_class["S-040"] == "star"
    assert rows.z[["S-042", "S-043"]].isna().all()
    assert rows.llr_redshift["S-041"] > 0 > rows.llr_redshift["S-022"]
    # Six spectra draw no caustic; what is far from the cluster's redshift is outside of any.
    assert set(rows.caustic_member[["S-020", "S-041", "S-024"]]) == {-1}
    assert set(rows.caustic_member[["S-021", "S-022"]]) == {0}


def test_halos_of_bright_stars_are_flagged_and_nothing_is_dropped(reference):
    receipt, rows = reference
    # DOMAIN: 200 * 10**(0.25 * (7 - 9)) + 12 * 10**(0.05 * (16 - 9)) arcsec
    radius_deg = (200 * 10 ** (0.25 * (7 - 9)) + 12 * 10 ** (0.05 * (16 - 9))) / 3600
    x = (rows.ra - 49.95) * np.cos(np.radians(41.51))
    inside = np.hypot(x, rows.dec - 41.51) < radius_deg
    assert inside.sum() > 3
    by_mask = rows.mask_bright_star > 0
    assert (((rows["flags"] & int(Flag.BRIGHT_STAR)) != 0) == (inside | by_mask)).all()
    assert receipt.n_in == len(rows)


def test_the_legacy_strip_is_in_observed_magnitudes(pieces, reference):
    rows = reference[1]
    listed = pd.read_csv(pieces.folder / "sources.csv", dtype={"name": str}).set_index("name")
    k = listed.mag_r + 14.3 * (listed.mag_g - listed.mag_z)
    named = np.select([k <= 37, k < 46, k >= 46], ["blue_side", "red_sequence", "red_side"], "")
    # Magnitudes are stored with three decimals.
    clear = (np.abs(k - 37) > 1e-2) & (np.abs(k - 46) > 1e-2) | k.isna()
    assert (rows.legacy_strip[clear] == named[clear]).all()


def test_errors_of_magnitudes_widen_the_red_sequence(pieces, reference):
    rows = reference[1]
    listed = pd.read_csv(pieces.folder / "sources.csv", dtype={"name": str}).set_index("name")
    expected = np.hypot(listed.err_g, listed.err_z).where(rows.delta_rs.notna())
    np.testing.assert_allclose(rows.delta_rs_err, expected, rtol=1e-5)


def test_hsc_magnitudes_come_to_the_sdss_system(pieces):
    sources = {"system": "hsc", "columns": {"id": "name", "mag": {b: f"mag_{b}" for b in "grz"}}}
    rows = rows_of(classify(pieces.write("hsc", sources=sources)))
    # Without i no band can be moved, so nothing is taken for what it is not.
    assert rows[["r0", "delta_rs", "llr_color"]].isna().all(axis=None)
    assert rows.mag_r.notna().any()


def test_another_cluster_needs_a_prior_of_its_own(pieces):
    with pytest.raises(ConfigError, match="whose prior is the default"):
        plan(pieces.write("coma", membership={"z_cluster": 0.0231}))
    coma = {"z_cluster": 0.0231, "center_deg": [194.95, 27.98], "prior": 0.2}
    laid_out = plan(pieces.write("coma", membership=coma))
    assert laid_out.inputs.weighing.evidence.color is None


@pytest.mark.parametrize(
    ("tables", "error", "said"),
    [
        ({"membership": {"without": ["colour"]}}, ConfigError, "without"),
        ({"membership": {"prior": "persues"}}, ConfigError, "perseus"),
        ({"membership": {"prior": "lost.toml"}}, ConfigError, "lost.toml"),
        ({"membership": {"evidence": "persues"}}, ConfigError, "perseus"),
        ({"membership": {"red_sequence": "perseus-gy"}}, ConfigError, "perseus-g"),
        ({"bright_stars": {"path": "lost.csv"}}, SourcesError, "lost.csv"),
        ({"sources": {"ebv": 0.1, "dust_map": "map.fits"}}, ConfigError, "not both"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(pieces, tmp_path, tables, error, said):
    folder = tmp_path / "run"
    shutil.copytree(pieces.folder, folder, ignore=shutil.ignore_patterns("out-*"))
    with pytest.raises(error, match=said) as caught:
        plan(small_run.SmallRun(folder).write("bad", **tables))
    assert "\n" not in str(caught.value)
