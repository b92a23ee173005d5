"""Weighing again: what a new run would give, without pixels; any table; and purity of a cut."""

import csv
import shutil

import numpy as np
import pytest
from astropy.table import Table
from typer.testing import CliRunner

from survey_classifier.catalog.footer import Provenance
from survey_classifier.catalog.parts import new_catalog
from survey_classifier.catalog.read import column_names, read_columns, read_provenance
from survey_classifier.catalog.rewrite import read_schema
from survey_classifier.catalog.schema import build_schema
from survey_classifier.cli import app
from survey_classifier.errors import CatalogError, ConfigError, InputError, RunError, SourcesError
from survey_classifier.membership.flags import Flag
from survey_classifier.membership.priors import PriorTable
from survey_classifier.membership.weighing import Weighing
from survey_classifier.model.checkpoint import read_card
from survey_classifier.model.shipped import resolve_checkpoint
from survey_classifier.run.classify import classify
from survey_classifier.run.config import TruthSettings, read_run
from survey_classifier.run.purity import check_table, purity
from survey_classifier.run.reweigh import Changes, reweigh
from survey_classifier.run.reweigh_table import read_mapping, reweigh_table
from survey_classifier.run.truth import Truth
from tests import small_run
from tests.evidence_sample import model, observed_columns

PERSEUS = PriorTable.read("perseus")
CENTER = (49.950667, 41.511696)


def weighing(**changes):
    return Weighing(evidence=model(), prior=PERSEUS, center_deg=CENTER, **changes)


def write_catalog(path, n=3000, seed=1, weigher=None, member=None):
    """Write a made-up catalog of a finished run, with true members if they are given."""
    weigher = weigher or weighing()
    schema = build_schema(("nonmember", "member"), ("g", "r", "z"))
    known = observed_columns(n, seed)
    known["r0"] = known["mag_r"]
    if member is not None:
        known |= member
    weighed = weigher.weigh(known)
    rng = np.random.default_rng(seed)
    columns = {}
    for column in schema:
        fill = {"string": np.full(n, "", dtype=object)}.get(column.dtype)
        if fill is None:
            is_float = column.dtype.startswith("float")
            fill = np.full(n, np.nan if is_float else 0, dtype=column.dtype)
        columns[column.name] = fill
    columns |= {name: values for name, values in known.items() if name in columns}
    columns |= weighed.columns
    columns["source_id"] = np.array([f"S-{row:05d}" for row in range(n)], dtype=object)
    status = np.where(np.isfinite(known["p_image"]), "classified", "no_data")
    columns["status"] = status.astype(object)
    columns["p_nonmember"] = 1 - weighed.p_member
    columns["flags"] = weighed.flags | np.int32(Flag.EDGE_STAMP)
    columns["color_region"] = rng.choice(["", "red_sequence", "blue_cloud"], n).astype(object)
    provenance = Provenance("0" * 64, "made-up", "net", "a" * 64, "", {"numpy": "2"},
                            "2026-01-01T00:00:00+00:00", evidence=weigher.statement)  # fmt: skip
    with new_catalog(path, schema, provenance) as catalog:
        for start in range(0, n, 1000):
            part = {name: values[start : start + 1000] for name, values in columns.items()}
            catalog.append(schema.to_arrow(part))
            catalog.flush()
    return path


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    return write_catalog(tmp_path_factory.mktemp("reweigh") / "made-up.parquet")


def same(first, second, names=None):
    for name in names or column_names(first):
        left, right = read_columns(first, [name])[name], read_columns(second, [name])[name]
        np.testing.assert_array_equal(left, right, err_msg=name)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (Changes(), weighing()),
        (Changes(without=("color", "star")), weighing(without=("color", "star"))),
        (Changes(prior="0.05"),
         weighing().model_copy(update={"prior": PriorTable.constant(0.05, PERSEUS)})),
    ],
)  # fmt: skip
def test_a_catalog_weighed_again_is_that_of_a_run_with_these_settings(
    catalog, tmp_path, changes, expected
):
    wanted = write_catalog(tmp_path / "wanted.parquet", weigher=expected)
    done = reweigh(catalog, changes, out=tmp_path / "again.parquet")
    assert done.n_rows == 3000
    same(done.path, wanted)
    assert read_provenance(done.path).evidence == expected.statement


def test_the_new_file_says_all_that_the_old_one_said_and_what_changed(catalog, tmp_path):
    done = reweigh(catalog, Changes(without=("redshift",)), out=tmp_path / "again.parquet")
    assert read_schema(done.path) == read_schema(catalog)
    old, new = read_provenance(catalog), read_provenance(done.path)
    assert (old.run, old.created, old.configuration) == (new.run, new.created, new.configuration)
    assert old.fingerprint != new.fingerprint
    assert Weighing.of_statement(new.evidence).without == ("redshift",)
    table = Table.read(done.path, format="parquet.votable")
    assert str(table["ra"].unit) == "deg"
    assert table["p_member"].description == Table.read(catalog, format="parquet.votable")[
        "p_member"
    ].description  # fmt: skip
    back = reweigh(done.path, Changes(without=("nothing",)), out=tmp_path / "back.parquet")
    same(back.path, catalog)


def test_nothing_is_overwritten_unless_told(catalog, tmp_path):
    mine = tmp_path / "made-up.parquet"
    shutil.copy(catalog, mine)
    before = mine.read_bytes()
    done = reweigh(mine, Changes())
    assert done.path == tmp_path / "made-up-reweighed.parquet"
    with pytest.raises(CatalogError, match=r"is there already: .*--overwrite"):
        reweigh(mine, Changes())
    reweigh(mine, Changes(), overwrite=True)
    with pytest.raises(CatalogError, match="is the catalog itself"):
        reweigh(mine, Changes(), out=mine, overwrite=True)
    assert mine.read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (Changes(without=("colour",)), "no evidence 'colour'; did you mean 'color'"),
        (Changes(prior="0"), r"the prior is 0\.0"),
        (Changes(prior="persus"), "no prior 'persus'.*did you mean 'perseus'"),
        (Changes(evidence="nowhere.toml"), "no such file"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(catalog, tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        reweigh(catalog, changes, out=tmp_path / "x.parquet")
    assert not (tmp_path / "x.parquet").exists()


def test_what_is_no_catalog_is_refused(tmp_path):
    with pytest.raises(InputError, match="no run in"):
        reweigh(tmp_path, Changes())
    other = tmp_path / "other.parquet"
    Table({"p_image": [0.5]}).write(other, format="parquet")
    with pytest.raises(CatalogError, match="does not tell its run"):
        reweigh(other, Changes())


def field(n=20_000, seed=3):
    """Sources whose image evidence is exact, in a field with fewer members than in training."""
    rng = np.random.default_rng(seed)
    r0 = rng.uniform(16, 21, n)
    share = 1 / (1 + np.exp(0.8 * (r0 - 17)))
    member = rng.random(n) < share
    score = rng.normal(np.where(member, 2.5, 0), 1)
    llr = 2.5 * score - 2.5**2 / 2
    image = model().image
    p_train = image.llr(np.full(n, 0.5), r0)  # minus the log-odds of training
    unknown = np.full(n, np.nan)
    hidden = dict.fromkeys(("z", "delta_rs", "point_likeness", "gaia", "mag_g"), unknown)
    known = {"p_image": 1 / (1 + np.exp(-(llr - p_train))), "mag_r": r0, "r0": r0}
    return member, known | hidden


def honest():
    """The model with weights of one: the made-up image evidence is exact."""
    exact = model()
    weights = {**exact.weights, "image": exact.weights["image"].model_copy(update={"image": 1.0})}
    return weighing().model_copy(update={"evidence": exact.model_copy(update={"weights": weights})})


def within(prior, r0):
    """Return the nodes of a prior, and their shares, that lie among the magnitudes of sources."""
    nodes = zip(prior.magnitudes, prior.marginal_share, strict=True)
    return [node for node in nodes if r0.min() <= node[0] <= r0.max()]


def test_em_finds_the_shares_of_the_field_and_leaves_a_table_that_a_run_can_use(tmp_path):
    member, columns = field()
    without = honest().model_copy(update={"without": ("position",)})
    path = write_catalog(tmp_path / "field.parquet", len(member), 3, without, columns)
    done = reweigh(path, Changes(prior="em"))
    prior = PriorTable.read(done.prior_path)
    assert prior.radii_deg == PERSEUS.radii_deg
    for mag, share in within(prior, columns["r0"]):
        truth = member[np.abs(columns["r0"] - mag) < 0.5].mean()
        assert share == pytest.approx(truth, abs=0.04)
    changes = Changes(prior=str(done.prior_path), without=("position",))
    again = reweigh(path, changes, out=tmp_path / "again.parquet")
    p = read_columns(again.path, ["p_member"])["p_member"]
    assert p.sum() == pytest.approx(member.sum(), rel=0.03)


def test_em_in_a_part_of_the_cluster_finds_the_shares_of_the_whole(tmp_path):
    rng = np.random.default_rng(17)
    _, columns = field()
    n = len(columns["r0"])
    radius, angle = rng.uniform(0.7, 0.9, n), rng.uniform(0, 2 * np.pi, n)
    dec = weighing().center_deg[1] + radius * np.sin(angle)
    ra = weighing().center_deg[0] + radius * np.cos(angle) / np.cos(np.radians(dec))
    member = rng.random(n) < PERSEUS.at(columns["r0"], radius)
    score = rng.normal(np.where(member, 2.5, 0), 1)
    p_train = model().image.llr(np.full(n, 0.5), columns["r0"])
    llr = 2.5 * score - 2.5**2 / 2
    columns |= {"ra": ra, "dec": dec, "p_image": 1 / (1 + np.exp(-(llr - p_train)))}
    path = write_catalog(tmp_path / "rim.parquet", n, 3, honest(), columns)
    done = reweigh(path, Changes(prior="em"))
    p = read_columns(done.path, ["p_member"])["p_member"]
    assert p.sum() == pytest.approx(member.sum(), rel=0.05)
    prior = PriorTable.read(done.prior_path)
    mag, share = np.array(within(prior, columns["r0"])).T
    np.testing.assert_allclose(share, PERSEUS.marginal(mag), atol=0.06)


def test_spectra_weighted_by_completeness_find_the_shares_of_the_field(tmp_path):
    member, columns = field()
    rng = np.random.default_rng(5)
    taken = rng.random(len(member)) < np.where(columns["r0"] < 18, 0.5, 0.1)
    z = np.where(member, 0.0176, 0.15)
    columns |= {"z": np.where(taken, z, np.nan), "z_warning": np.zeros(len(z), np.int32)}
    columns |= {"ra": rng.uniform(49.5, 50.5, len(z)), "dec": rng.uniform(41, 42, len(z))}
    path = write_catalog(tmp_path / "field.parquet", len(member), 3, honest(), columns)
    prior = PriorTable.read(reweigh(path, Changes(prior="spectra")).prior_path)
    mag, share = np.array(within(prior, columns["r0"][taken])).T
    assert len(mag) > 3
    np.testing.assert_allclose(share, 1 / (1 + np.exp(0.8 * (mag - 17))), atol=0.06)
    faint = columns["r0"].max() + 2
    assert prior.marginal([faint]) == pytest.approx(PERSEUS.marginal([faint]))
    assert prior.star_share
    none = write_catalog(tmp_path / "none.parquet", 500, 4, None, {"z": np.full(500, np.nan)})
    with pytest.raises(RunError, match="no source has a redshift"):
        reweigh(none, Changes(prior="spectra"))


def test_a_run_weighed_again_is_a_new_run(tmp_path):
    run = small_run.make(tmp_path)
    classify(read_run(run.write()))
    other = read_run(run.write("other", membership={"prior": 0.05, "without": ["redshift"]}))
    classify(other)
    done = reweigh(tmp_path / "out-run", Changes(without=("redshift",), prior="0.05"))
    same(done.path, other.catalog_path)


def table_of(n=500, seed=8):
    columns = observed_columns(n, seed)
    rng = np.random.default_rng(seed)
    return columns | {"name": np.array([f"00{row}" for row in range(n)], dtype=object),
                      "note": rng.choice(["a,b", "", "x\"y"], n).astype(object)}  # fmt: skip


MAPPING = ("p_image=p_image,ra=ra,dec=dec,mag.g=mag_g", "mag.r=mag_r,mag.z=mag_z,z=z,z_err=z_err",
           "z_warning=z_warning,delta_rs=delta_rs,delta_rs_err=delta_rs_err,gaia=gaia",
           "point_likeness=point_likeness")  # fmt: skip


@pytest.mark.parametrize("suffix", ["csv", "fits", "parquet", "vot"])
def test_any_table_keeps_its_columns_and_gets_ours(tmp_path, suffix):
    content = table_of()
    path = tmp_path / f"mine.{suffix}"
    written = Table({name: values.astype(str) if values.dtype == object else values
                     for name, values in content.items()})  # fmt: skip
    written.write(path, format={"vot": "votable", "csv": "ascii.csv"}.get(suffix, suffix))
    done = reweigh_table(path, read_mapping(MAPPING), weighing(), Changes())
    assert done.n_rows == 500
    assert done.path.suffix == (".csv" if suffix == "csv" else ".parquet")
    expected = weighing().weigh({name: values for name, values in content.items()
                                 if name not in ("name", "note")})  # fmt: skip
    if suffix == "csv":
        with done.path.open() as file:
            rows = list(csv.DictReader(file))
        assert [row["name"] for row in rows] == content["name"].tolist()
        assert [row["note"] for row in rows] == content["note"].tolist()
        found = np.array([float(row["p_member"] or "nan") for row in rows])
    else:
        found = read_columns(done.path, ["p_member"])["p_member"]
        same_names = read_columns(done.path, ["name", "note", "ra"])
        assert same_names["name"].tolist() == content["name"].tolist()
    np.testing.assert_allclose(found, expected.p_member, rtol=1e-5)
    again = reweigh_table(done.path, read_mapping(MAPPING), weighing(), Changes(),
                          out=tmp_path / "again.parquet")  # fmt: skip
    assert column_names(again.path).count("p_member") == 1


def test_scores_of_another_network_hold_its_own_share_of_members(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("p\n0.5\n0.9\n")
    said = []
    for options in ([], ["--checkpoint", "perseus-synthetic"]):
        out = tmp_path / f"out-{len(options)}.parquet"
        call = ["reweigh", str(path), "--columns", "p_image=p", "--out", str(out), *options]
        done = CliRunner().invoke(app, call)
        assert done.exit_code == 0, done.output
        said.append((done.output, read_columns(out, ["llr_image"])["llr_image"]))
    share = read_card(resolve_checkpoint("perseus-synthetic", tmp_path)).prevalence["member"]
    logit = np.log([0.5 / 0.5, 0.9 / 0.1])
    np.testing.assert_allclose(said[1][1], logit - np.log(share / (1 - share)), rtol=1e-6)
    np.testing.assert_allclose(said[0][1], logit - np.log(0.0928 / 0.9072), atol=0.02)
    assert "taken for those of perseus;" in said[0][0]
    assert "taken for" not in said[1][0]


def test_a_table_with_magnitudes_gets_their_colors_and_its_reddening_off(tmp_path):
    content = table_of()
    ebv = np.full(500, 0.17)
    ebv[:3] = [-0.1, np.nan, 0.0]
    observed = {f"mag_{band}": content[f"mag_{band}"] + factor * np.nan_to_num(ebv)
                for band, factor in (("g", 3.303), ("r", 2.285), ("z", 1.263))}  # fmt: skip
    path = tmp_path / "mine.parquet"
    Table({"p": content["p_image"], "E": ebv} | observed).write(path, format="parquet")
    mapping = read_mapping(["p_image=p,mag.g=mag_g,mag.r=mag_r,mag.z=mag_z,ebv=E"])
    done = reweigh_table(path, mapping, weighing(), Changes())
    found = read_columns(done.path, ["r0", "delta_rs", "llr_color", "p_member"])
    np.testing.assert_allclose(found["r0"][3:], content["mag_r"][3:], rtol=1e-6)
    assert np.isnan(found["r0"][:2]).all()
    color = (content["mag_g"] - content["mag_z"])[3:]
    r0 = content["mag_r"][3:]
    lines = np.maximum(1.373 - 0.079 * (r0 - 15.5), 1.138 - 0.035 * (r0 + 0.27 - 18))
    np.testing.assert_allclose(found["delta_rs"][3:], color - np.maximum(lines, 1.0), atol=1e-5)
    np.testing.assert_array_equal(np.isnan(found["llr_color"]), np.isnan(found["delta_rs"]))
    np.testing.assert_array_equal(np.isnan(found["p_member"]), np.isnan(content["p_image"]))


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["p_image"], "give what=column"),
        (["ra=ra"], "lacks the score"),
        (["p_image=p,ra=ra"], "both ra and dec"),
        (["p_image=p,p_image=q"], "p_image twice"),
        (["p_image=p,redshift=z"], "no observation 'redshift'"),
        (["p_image=p,mag.=z"], "no observation 'mag.'"),
    ],
)
def test_mappings_that_make_no_sense_are_refused(pairs, message):
    with pytest.raises(ConfigError, match=message):
        read_mapping(pairs)


def test_a_table_without_the_column_or_with_wrong_scores_is_refused(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("score\n0.5\n1.5\n")
    with pytest.raises(SourcesError, match="did you mean 'score'"):
        reweigh_table(path, {"p_image": "scores"}, weighing(), Changes())
    with pytest.raises(SourcesError, match=r"'score' of .* holds 1.5: give 0 to 1"):
        reweigh_table(path, {"p_image": "score"}, weighing(), Changes())
    path.write_text("score\n0.5\n")
    with pytest.raises(SourcesError, match=r"ends in \.csv or \.parquet"):
        reweigh_table(path, {"p_image": "score"}, weighing(), Changes(), out=tmp_path / "x.fits")


def test_purity_of_a_cut_by_groups_sums_to_the_whole(catalog):
    columns = read_columns(catalog, ["p_member", "r0", "color_region"])
    table = purity(catalog, 0.5, ("magnitude", "region"))
    whole, cells = table.groups[0], table.groups[1:]
    p = columns["p_member"][np.isfinite(columns["p_member"])].astype(np.float64)
    assert table.n_unclassified == len(columns["p_member"]) - len(p)
    assert whole.selection.purity == pytest.approx(p[p >= 0.5].mean())
    assert sum(cell.selection.n for cell in cells) == whole.selection.n == len(p)
    total = sum(cell.selection.members_selected for cell in cells)
    assert total == pytest.approx(whole.selection.members_selected)
    bright = next(c for c in cells if (c.magnitude, c.region) == ("15 to 16", "red_sequence"))
    rows = (np.floor(columns["r0"]) == 15) & (columns["color_region"] == "red_sequence")
    assert bright.selection.n == np.isfinite(columns["p_member"][rows]).sum()
    assert {cell.magnitude for cell in cells} >= {"unknown"}


def test_what_is_known_of_the_truth_is_said(catalog, tmp_path):
    columns = read_columns(catalog, ["source_id", "p_member", "llr_redshift"])
    known = np.isfinite(columns["p_member"])
    inside, outside = columns["source_id"][known][:7], columns["source_id"][~known][:2]
    n_redshift = int(np.isfinite(columns["llr_redshift"][known][:7]).sum())
    path = tmp_path / "truth.csv"
    rows = [f"{name},{label}" for name, label in zip(inside, "1010100", strict=True)]
    rows += [f"{name},1" for name in outside] + ["nobody,1", "blank,", "marked,-1"]
    path.write_text("\n".join(["id,label", *rows]) + "\n")
    truth = Truth.of_table(path, TruthSettings(path=str(path), id="id", member="1"))
    table = purity(catalog, 0.5, (), truth)
    assert table.groups[0].measured.n_members == 3
    assert table.notes[0] == (
        "10 sources of known class = 7 compared + 2 without a p_member + 1 not there"
    )
    assert len(table.notes) == 1 + (n_redshift > 0)
    assert all(f"the redshifts of {n_redshift} of these" in note for note in table.notes[1:])
    path.write_text("id,label\nnobody,1\n")
    truth = Truth.of_table(path, TruthSettings(path=str(path), id="id", member="1"))
    with pytest.raises(SourcesError, match="none of the 1 source of known class has a p_member"):
        purity(catalog, 0.5, (), truth)


def test_purity_does_not_write_over_what_it_reads(catalog, tmp_path, call):
    truth = tmp_path / "truth.csv"
    truth.write_text("source_id,label\n1,member\n")
    link = tmp_path / "link.parquet"
    link.symlink_to(catalog)
    before = catalog.read_bytes()
    for out in (catalog, link, truth):
        with pytest.raises(ConfigError, match="which is read; give another name"):
            check_table(out, catalog, truth)
    code, _, said = call("purity", catalog, "--cut", "0.5", "--out", link)
    assert code == 2
    assert "which is read; give another name" in said
    assert catalog.read_bytes() == before


def test_purity_beside_a_truth_and_in_every_format(catalog, tmp_path):
    columns = read_columns(catalog, ["source_id", "p_member"])
    rng = np.random.default_rng(1)
    truth = Truth(dict(zip(columns["source_id"], rng.random(3000) < 0.3, strict=True)))
    table = purity(catalog, 0.5, ("region",), truth)
    known = np.isfinite(columns["p_member"])
    label = np.array([truth.members[name] for name in columns["source_id"]])
    chosen = known & (columns["p_member"] >= 0.5)
    assert table.groups[0].measured.purity == pytest.approx(label[chosen].mean())
    assert table.groups[0].measured.n_members == label[known].sum()
    for suffix in ("csv", "md", "parquet"):
        path = tmp_path / f"table.{suffix}"
        table.write(path)
        assert path.stat().st_size > 100
    read = Table.read(tmp_path / "table.parquet", format="parquet")
    assert len(read) == len(table.groups) == 4
    np.testing.assert_allclose(read["purity"][0], table.groups[0].selection.purity)
    assert len((tmp_path / "table.md").read_text().splitlines()) == 6
    with pytest.raises(ConfigError, match=r"in \.csv, \.md, \.parquet"):
        table.write(tmp_path / "table.txt")
    with pytest.raises(ConfigError, match="no groups by 'color'"):
        purity(catalog, 0.5, ("color",))


def test_purity_of_a_table_and_of_one_without_scores(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("p_member,r0\n0.9,15.5\n,16\n0.2,\n")
    table = purity(path, 0.5, ("magnitude",))
    assert [group.magnitude for group in table.groups] == ["all", "15 to 16", "unknown"]
    with pytest.raises(SourcesError, match="no column 'color_region'"):
        purity(path, 0.5, ("region",))
    path.write_text("p_member,x\n,1\n")
    with pytest.raises(RunError, match="nothing can be selected"):
        purity(path, 0.5)


def test_verbs_say_what_they_did(catalog, tmp_path):
    out = tmp_path / "x.parquet"
    runner = CliRunner()
    done = runner.invoke(app, ["reweigh", str(catalog), "--without", "color", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "3000 sources weighed" in done.output
    shown = runner.invoke(app, ["purity", str(out), "--cut", "0.8", "--by", "magnitude,region"])
    assert shown.exit_code == 0, shown.output
    assert "red_sequence" in shown.output
    table = tmp_path / "score.csv"
    table.write_text("name,score,r\na,0.9,17\nb,0.1,19\n")
    done = runner.invoke(app, ["reweigh", str(table), "--columns", "p_image=score,mag.r=r"])
    assert done.exit_code == 0, done.output
