"""The joint of all evidence against Bayes' rule over three hypotheses, and what stays unknown."""

import numpy as np
import pytest
import tomli_w
from pydantic import ValidationError
from scipy.special import expit, logit

from survey_classifier.errors import CatalogError, ConfigError, RunError
from survey_classifier.membership import evidence as evidence_module
from survey_classifier.membership.evidence import PIECES, USUAL_COLOR_ERR, Assumptions, weigh
from survey_classifier.membership.evidence_model import EvidenceModel, ImageEvidence, Weights
from survey_classifier.membership.flags import Flag
from survey_classifier.membership.observed import Observed
from survey_classifier.membership.priors import PriorTable
from survey_classifier.membership.redshift import RedshiftCuts
from survey_classifier.membership.redshift_evidence import member_log_density, other_log_density
from survey_classifier.membership.stars import p_star
from survey_classifier.membership.weighing import OBSERVED_COLUMNS, Weighing
from survey_classifier.sources.sky import separation_deg
from tests.evidence_sample import model, observed_columns

PERSEUS = PriorTable.read("perseus")
CENTER = (49.950667, 41.511696)


def sample(n=500, seed=3):
    """Sources of every kind: each observation is missing in some."""
    columns = observed_columns(n, seed)
    return Weighing(evidence=model(), prior=PERSEUS, center_deg=CENTER).observe(columns)


def by_bayes(rows, evidence, prior, row):
    """Weigh one source with products of probabilities instead of sums of logarithms."""
    share = float(prior.at(rows.r0[[row]], rows.radius_deg[[row]])[0])
    stars = evidence.stars
    pieces = [stars.llr_point(rows.point_likeness, rows.r0), stars.llr_gaia(rows.gaia, rows.r0),
              stars.locus.llr(rows.g_r, rows.r_z)]  # fmt: skip
    chances = [np.exp(piece[row]) for piece in pieces if np.isfinite(piece[row])]
    star = 0.0
    if chances:
        at = float(prior.stars(rows.r0[[row]])[0])
        star = at * np.prod(chances) / (at * np.prod(chances) + 1 - at)
    image = evidence.image.llr(rows.p_image, rows.r0)[row]
    error = np.nan_to_num(rows.delta_rs_err, nan=USUAL_COLOR_ERR)
    color = evidence.color.llr(rows.delta_rs, error, rows.r0)[row]
    subset = "+".join(n for n, v in (("image", image), ("color", color)) if np.isfinite(v))
    ratio = 1.0
    if subset:
        worth = evidence.weights[subset]
        ratio = np.exp(worth.offset)
        ratio *= np.exp(image) ** worth.image if np.isfinite(image) else 1
        ratio *= np.exp(color) ** worth.color if np.isfinite(color) else 1
    member, galaxy = share * (1 - star) * ratio, (1 - share) * (1 - star)
    if np.isfinite(rows.z[row]):
        z = rows.z[[row]], rows.z_err[[row]]
        eps = {0: 0.01, -1: 0.05}.get(int(rows.z_warning[row]), 0.5)
        failed = eps * np.exp(other_log_density(*z))[0]
        member *= (1 - eps) * np.exp(member_log_density(*z, RedshiftCuts()))[0] + failed
        if chances:
            galaxy *= (1 - eps) * np.exp(other_log_density(*z, 0.0))[0] + failed
            star *= (1 - eps) * np.exp(other_log_density(*z, 1.0))[0] + failed
        else:  # nothing tells stars from galaxies: half of each, as of spectra at large
            galaxy *= failed / eps
    return member / (member + galaxy + star)


def test_the_posterior_is_bayes_rule_over_three_hypotheses():
    rows, evidence = sample(), model()
    found = weigh(rows, evidence, Assumptions(PERSEUS))
    scored = np.flatnonzero(np.isfinite(rows.p_image))
    expected = [by_bayes(rows, evidence, PERSEUS, row) for row in scored]
    np.testing.assert_allclose(found.p_member[scored], expected, rtol=1e-6, atol=1e-12)
    assert np.isnan(np.delete(found.p_member, scored)).all()


def test_the_columns_alone_give_the_posterior():
    """What a user computes from a catalog with the weights in its footer."""
    rows, evidence = sample(), model()
    found = weigh(rows, evidence, Assumptions(PERSEUS))
    here = expit(logit(found.prior_member) + np.nan_to_num(found.llr_position))
    log_odds = logit(here * (1 - np.nan_to_num(found.p_star)))
    has_image, has_color = np.isfinite(found.llr_image), np.isfinite(found.llr_color)
    for subset, there in (("image", has_image & ~has_color), ("color", ~has_image & has_color),
                          ("image+color", has_image & has_color)):  # fmt: skip
        worth = evidence.weights[subset]
        pixels = worth.offset + worth.image * np.nan_to_num(found.llr_image) * ("image" in subset)
        pixels += worth.color * np.nan_to_num(found.llr_color) * ("color" in subset)
        log_odds += np.where(there, pixels, 0)
    log_odds += np.nan_to_num(found.llr_redshift)
    scored = np.isfinite(rows.p_image)
    np.testing.assert_allclose(found.p_member[scored], expit(log_odds)[scored], rtol=1e-6)


def test_each_piece_left_out_is_as_if_it_had_not_been_observed():
    rows, evidence = sample(), model()
    unknown = np.full(len(rows), np.nan)
    hidden = {
        "color": {"delta_rs": unknown},
        "redshift": {"z": unknown},
        "position": {"radius_deg": unknown},
        "star": {"point_likeness": unknown, "gaia": unknown, "g_r": unknown},
    }
    everything = weigh(rows, evidence, Assumptions(PERSEUS))
    for piece, changes in hidden.items():
        blind = Observed(
            **{name: changes.get(name, getattr(rows, name)) for name in Observed.__slots__}
        )
        left_out = weigh(rows, evidence, Assumptions(PERSEUS, without=frozenset({piece})))
        not_seen = weigh(blind, evidence, Assumptions(PERSEUS))
        for name, values in left_out.columns.items():
            np.testing.assert_array_equal(values, not_seen.columns[name], err_msg=f"{piece} {name}")
        column = "p_star" if piece == "star" else f"llr_{piece}"
        assert np.isnan(left_out.columns[column]).all()
        assert np.isfinite(everything.columns[column]).any()


def test_without_anything_the_prior_is_what_is_left():
    rows = sample()
    found = weigh(rows, model(), Assumptions(PERSEUS, without=frozenset(PIECES)))
    scored = np.isfinite(rows.p_image)
    np.testing.assert_allclose(found.p_member[scored], PERSEUS.marginal(rows.r0)[scored], rtol=1e-6)


def test_the_position_changes_the_marginal_prior_into_the_tables_value():
    rows = sample()
    found = weigh(rows, model(), Assumptions(PERSEUS))
    known = np.isfinite(found.llr_position)
    joined = expit(logit(found.prior_member) + found.llr_position)[known]
    np.testing.assert_allclose(joined, PERSEUS.at(rows.r0, rows.radius_deg)[known], rtol=1e-6)
    np.testing.assert_array_equal(known, np.isfinite(rows.radius_deg))
    # Without a magnitude the share of all magnitudes changes as the members' density does.
    near, far = PERSEUS.at([np.nan] * 2, [PERSEUS.radii_deg[0], PERSEUS.radii_deg[-2]])
    assert near > PERSEUS.overall > far


def test_a_redshift_and_an_image_may_overrule_the_star_gate():
    of = {"r0": [17.0] * 4, "gaia": [1.0] * 4, "z_warning": [0] * 4}
    z = [np.nan, 0.0001, 0.0176, 0.0176]
    rows = Observed.of(p_image=[0.5, 0.5, 0.5, 0.9], z=z, **of)
    plain = EvidenceModel.plain({"member": 0.5})
    found = weigh(rows, plain, Assumptions(PERSEUS))
    # Of sources like these one in 1000 is a member: no star has this redshift, but some fail.
    assert found.p_star[0] > 0.99
    assert found.p_member[1] < found.p_member[0] < 0.005
    assert 0.3 < found.p_member[2] < found.p_member[3]
    sure = Observed.of(p_image=[0.999], r0=[17.0], p_star=[1.0])
    assert weigh(sure, plain, Assumptions(PERSEUS)).p_member < 1e-3


def test_the_published_prior_shift():
    rows = Observed.of(p_image=[0.9])
    found = weigh(
        rows, EvidenceModel.plain({"member": 0.5}), Assumptions(PriorTable.constant(0.058))
    )
    assert round(float(found.p_member[0]), 4) == 0.3566


def test_rows_do_not_depend_on_each_other_or_on_blocks(monkeypatch):
    rows, evidence = sample(300), model()
    whole = weigh(rows, evidence, Assumptions(PERSEUS))
    monkeypatch.setattr(evidence_module, "BLOCK_ROWS", 7)
    blocks = weigh(rows, evidence, Assumptions(PERSEUS))
    for name, values in whole.columns.items():
        np.testing.assert_array_equal(values, blocks.columns[name])
    np.testing.assert_array_equal(whole.flags, blocks.flags)
    assert len(weigh(rows.rows(slice(0, 0)), evidence, Assumptions(PERSEUS)).p_member) == 0


def test_nothing_known_is_unknown_never_zero_and_never_a_crash():
    nothing = weigh(Observed.of(p_image=[np.nan, 0.3]), model(), Assumptions(PERSEUS))
    for name in ("llr_color", "llr_redshift", "llr_position", "p_star"):
        assert np.isnan(nothing.columns[name]).all()
    assert np.isnan(nothing.llr_image[0])
    assert np.isnan(nothing.p_member[0])
    assert 0 < nothing.p_member[1] < 1
    assert (nothing.flags == Flag.PRIOR_WITHOUT_MAGNITUDE).all()
    np.testing.assert_allclose(nothing.prior_member, PERSEUS.overall)
    constant = weigh(Observed.of(p_image=[0.3]), model(), Assumptions(PriorTable.constant(0.1)))
    assert constant.flags.tolist() == [0]


def test_marks_of_missing_errors_are_no_errors():
    of = {"p_image": [0.5] * 4, "z": [0.0176] * 4, "z_warning": [0] * 4}
    rows = Observed.of(z_err=[np.nan, 0.0, -1.0, -9999.0], **of)
    llr = weigh(rows, model(), Assumptions(PERSEUS)).llr_redshift
    np.testing.assert_array_equal(llr, llr[0])


def test_a_score_that_is_no_probability_is_refused():
    with pytest.raises(RunError, match="no probabilities"):
        weigh(Observed.of(p_image=[1.5]), model(), Assumptions(PERSEUS))
    with pytest.raises(ConfigError, match="no evidence 'colour'; did you mean 'color'"):
        Assumptions(PERSEUS, without=frozenset({"colour"}))


def test_image_evidence_is_that_of_training_objects_as_bright():
    image = ImageEvidence(magnitudes=(15.0, 20.0), pi_train=(0.8, 0.1), overall=0.3)
    llr = image.llr([0.5, 0.5, 0.5, 0.5, np.nan], [14, 20, 17.5, np.nan, 18])
    between = (logit(0.8) + logit(0.1)) / 2
    expected = [-logit(0.8), -logit(0.1), -between, -logit(0.3), np.nan]
    np.testing.assert_allclose(llr, expected, atol=1e-12)


def test_a_model_of_another_network_keeps_all_but_the_training_shares():
    fitted = model()
    assert fitted.for_network("a" * 64, {"member": 0.4}) is fitted
    other = fitted.for_network("b" * 64, {"member": 0.4, "star": 0.1})
    assert other.image == ImageEvidence(overall=0.4, overall_star=0.1)
    assert other.weights == fitted.weights
    assert other.stars == fitted.stars


def test_a_networks_word_on_stars_is_published_and_not_used_twice():
    plain = EvidenceModel.plain({"member": 0.2, "star": 0.3})
    of = {"p_image": [0.4, 0.4], "r0": [18.0, 18.0]}
    told = weigh(Observed.of(p_image_star=[0.05, 0.95], **of), plain, Assumptions(PERSEUS))
    silent = weigh(Observed.of(**of), plain, Assumptions(PERSEUS))
    np.testing.assert_array_equal(told.p_member, silent.p_member)
    share = PERSEUS.stars(np.array([18.0]))
    expected = p_star(share, logit([0.95]) - logit(0.3))
    np.testing.assert_allclose(told.p_star[1], expected[0])
    assert told.p_star[0] < told.p_star[1]


def test_a_model_survives_its_file_and_odd_ones_are_refused(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(tomli_w.dumps(model().model_dump(exclude_none=True)))
    rows = sample(50)
    back = EvidenceModel.read(path)
    for name, values in weigh(rows, back, Assumptions(PERSEUS)).columns.items():
        expected = weigh(rows, model(), Assumptions(PERSEUS)).columns[name]
        np.testing.assert_allclose(values, expected, rtol=1e-12)
    path.write_text(path.read_text().replace("pi_train", "pi_trian"))
    with pytest.raises(ConfigError, match=r"mine\.toml: .*did you mean 'pi_train'"):
        EvidenceModel.read(path)
    with pytest.raises(ConfigError, match="no evidence model 'perseusx'"):
        EvidenceModel.read("perseusx")
    plain = EvidenceModel.plain({"member": 0.2})
    for weights in ({"image": Weights()}, {**plain.weights, "size": Weights()}):
        with pytest.raises(ValidationError, match="give image, color and image"):
            EvidenceModel(source="odd", image=plain.image, weights=weights)


def test_a_statement_says_all_that_a_weighing_is():
    weighing = Weighing(evidence=model(), prior=PERSEUS, center_deg=CENTER, without=("position",),
                        cuts=RedshiftCuts(z_cluster=0.0231, sigma_km_s=1000))  # fmt: skip
    back = Weighing.of_statement(weighing.statement)
    assert back.statement == weighing.statement
    columns = observed_columns(200, 9)
    for name, values in weighing.weigh(columns).columns.items():
        np.testing.assert_array_equal(values, back.weigh(columns).columns[name])
    with pytest.raises(CatalogError, match="statement of its evidence cannot be read"):
        Weighing.of_statement('{"prior": 3}')


def test_columns_as_stored_give_the_same_numbers_as_those_before():
    columns = observed_columns(500, 10)
    exact = {"ra", "dec", "z", "z_warning"}
    stored = {name: values if name in exact else values.astype(np.float32)
              for name, values in columns.items()}  # fmt: skip
    weighing = Weighing(evidence=model(), prior=PERSEUS, center_deg=CENTER)
    first, again = weighing.weigh(columns), weighing.weigh(stored)
    for name, values in first.columns.items():
        np.testing.assert_array_equal(values, again.columns[name])
    assert set(columns) <= set(OBSERVED_COLUMNS)


def test_distances_from_the_center_are_astropys():
    from astropy import units as u
    from astropy.coordinates import SkyCoord

    rng = np.random.default_rng(2)
    ra, dec = rng.uniform(0, 360, 200), rng.uniform(-90, 90, 200)
    there = SkyCoord(ra * u.deg, dec * u.deg).separation(SkyCoord(*CENTER, unit="deg"))
    np.testing.assert_allclose(separation_deg(ra, dec, *CENTER), there.deg, rtol=1e-9)
    assert separation_deg([CENTER[0]], [CENTER[1]], *CENTER)[0] == pytest.approx(0, abs=1e-7)
    assert np.isnan(separation_deg([np.nan], [1.0], *CENTER))[0]
