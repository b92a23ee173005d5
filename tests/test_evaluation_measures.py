"""Figures of merit under resampling, held against the plain ones and against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics

from survey_classifier.membership.calibration_noise import (
    INTERVAL,
    calibration_noise,
    honest_calibration_errors,
)
from survey_classifier.membership.skill import calibration_error
from survey_classifier.training.evaluation import resampling
from survey_classifier.training.evaluation.curves import curves
from survey_classifier.training.evaluation.forms import N_BINS, Form
from survey_classifier.training.evaluation.measures import COMPARED, MEASURES, Measures
from survey_classifier.training.evaluation.resampling import Resampler, share_interval
from survey_classifier.training.judging import figures


def measure(forecasts, is_member, rows, resampler):
    return Measures.of(forecasts, is_member, rows, resampler).figures()


def forecast(seed, n=60, levels=8):
    """Probabilities with many ties, and truths that go with them."""
    rng = np.random.default_rng(seed)
    p = rng.integers(0, levels + 1, n) / levels
    is_member = rng.random(n) < 0.15 + 0.7 * p
    is_member[:2] = True, False
    return p, is_member


@given(st.integers(0, 10_000))
def test_a_resample_has_the_figures_of_its_repeated_objects(seed):
    p, is_member = forecast(seed)
    counts = np.random.default_rng(seed + 1).multinomial(len(p), np.full(len(p), 1 / len(p)), 5)
    form = Form.of(p, is_member)
    found = form.figures(counts.astype(float))
    for row, drawn in enumerate(counts):
        repeated = np.repeat(np.arange(len(p)), drawn)
        for name, plain in MEASURES.items():
            expected = plain(p[repeated], is_member[repeated])
            np.testing.assert_allclose(found[name][row], expected, rtol=1e-9, atol=1e-12)


def test_figures_are_those_of_scikit_learn():
    p, is_member = forecast(3, 400)
    everyone = np.ones(400, dtype=bool)
    found = measure({"p": p}, is_member, everyone, Resampler(400, n_resamples=20))["p"]
    called = p >= 0.5
    expected = {
        "accuracy": metrics.accuracy_score(is_member, called),
        "precision": metrics.precision_score(is_member, called),
        "recall": metrics.recall_score(is_member, called),
        "f1": metrics.f1_score(is_member, called),
        "false_positive_rate": 1 - metrics.recall_score(~is_member, ~called),
        "auc": metrics.roc_auc_score(is_member, p),
        "average_precision": metrics.average_precision_score(is_member, p),
        "brier": metrics.brier_score_loss(is_member, p),
        "log_loss": metrics.log_loss(is_member, np.clip(p, 1e-6, 1 - 1e-6)),
    }
    for name, value in expected.items():
        assert found[name].value == pytest.approx(value), name


def test_the_interval_of_a_share_is_that_of_a_binomial():
    rng = np.random.default_rng(0)
    p, is_member = np.full(900, 0.9), rng.random(900) < 0.8
    figure = measure({"p": p}, is_member, np.ones(900, dtype=bool), Resampler(900))["p"]["accuracy"]
    half = 1.96 * np.sqrt(figure.value * (1 - figure.value) / 900)
    assert figure.low == pytest.approx(figure.value - half, abs=0.15 * half)
    assert figure.high == pytest.approx(figure.value + half, abs=0.15 * half)


def test_the_interval_of_a_calibration_error_holds_it():
    rng = np.random.default_rng(1)
    p = rng.random(150)
    found = measure({"p": p}, rng.random(150) < p, np.ones(150, dtype=bool), Resampler(150))
    error = found["p"]["calibration_error"]
    assert 0 <= error.low < error.value < error.high


@pytest.mark.parametrize(("n", "sharpness"), [(247, 1.0), (247, 1.5), (247, 2.5), (600, 1.25)])
def test_intervals_of_calibration_errors_hold_the_true_one_as_often_as_they_say(n, sharpness):
    """By simulation; with probabilities that are perfect, and that are too sure."""
    rng = np.random.default_rng(n)

    def drawn(size):
        log_odds = rng.normal(-1, 2, size)
        return 1 / (1 + np.exp(-sharpness * log_odds)), 1 / (1 + np.exp(-log_odds))

    p, is_true = drawn(1_000_000)
    bins = np.minimum((p * N_BINS).astype(int), N_BINS - 1)
    true = np.abs(np.bincount(bins, p - is_true, N_BINS)).sum() / len(p)
    true = 0.0 if sharpness == 1 else true
    n_trial, n_held, n_judged = 80, 0, 0
    for trial in range(n_trial):
        p, chance = drawn(n)
        is_member = rng.random(n) < chance
        found = measure({"p": p}, is_member, np.ones(n, dtype=bool), Resampler(n, trial, 200))
        error = found["p"]["calibration_error"]
        assert error.low <= error.value <= error.high
        n_held += error.low <= true <= error.high
        _, low, high = figures(p, is_member)["calibration_error"] if trial < 20 else (0, 0, 0)
        n_judged += trial < 20 and low - 1e-4 <= true <= high + 1e-4
    assert n_held >= 0.9 * n_trial
    assert n_judged >= 17  # of 20: there is one definition


def test_honest_calibration_errors_are_those_of_drawn_truths():
    p = np.random.default_rng(2).random(60)
    one, other = np.random.default_rng(3), np.random.default_rng(3)
    found = honest_calibration_errors(p, 5, one)
    np.testing.assert_allclose(
        found, [calibration_error(p, other.random(60) < p) for _ in range(5)]
    )
    assert np.isnan(honest_calibration_errors([], 2, one)).all()


def test_an_interval_of_a_difference_of_calibration_errors_holds_the_true_one():
    rng = np.random.default_rng(8)
    n, n_held = 400, 0

    def drawn(size):
        log_odds = rng.normal(-1, 2, size)
        return 1 / (1 + np.exp(-log_odds)), 1 / (1 + np.exp(-2 * log_odds))

    chance, sure = drawn(1_000_000)
    bins = np.minimum((sure * N_BINS).astype(int), N_BINS - 1)
    true = np.abs(np.bincount(bins, sure - chance, N_BINS)).sum() / len(sure)
    for trial in range(60):
        chance, sure = drawn(n)
        is_member = rng.random(n) < chance
        everyone = np.ones(n, dtype=bool)
        forecasts = {"honest": chance, "sure": sure}
        found = Measures.of(forecasts, is_member, everyone, Resampler(n, trial, 200)).differences()
        figure = found["sure"]["calibration_error"]
        n_held += figure.low <= true <= figure.high
    assert n_held >= 0.9 * 60


def test_the_same_seed_gives_the_same_intervals_and_each_forecast_the_same_resamples():
    p, is_member = forecast(5, 200)
    everyone = np.ones(200, dtype=bool)
    one = measure({"a": p, "b": p}, is_member, everyone, Resampler(200, 7))
    again = measure({"a": p}, is_member, everyone, Resampler(200, 7))
    other = measure({"a": p}, is_member, everyone, Resampler(200, 8))
    assert one["a"] == one["b"] == again["a"]
    assert one["a"] != other["a"]


def test_differences_are_those_of_the_same_resampled_objects():
    """Held against a loop over the draws, of a part of the objects."""
    p, is_member = forecast(11, 150)
    other = np.clip(p + np.random.default_rng(12).normal(0, 0.2, 150), 0, 1)
    rows = np.arange(150) % 3 > 0
    found = Measures.of({"p": p, "other": other}, is_member, rows, Resampler(150, 4, 60))
    spread = {key: [] for key in COMPARED}
    rng = np.random.default_rng(4)
    for _ in range(60):
        drawn = rng.integers(0, 150, 150)
        drawn = drawn[rows[drawn]]
        for key in COMPARED:
            one, two = (MEASURES[key](of[drawn], is_member[drawn]) for of in (p, other))
            spread[key].append(two - one)
    differences = found.differences()
    assert list(differences) == ["other"]
    for key, figure in differences["other"].items():
        value = MEASURES[key](other[rows], is_member[rows]) - MEASURES[key](
            p[rows], is_member[rows]
        )
        assert figure.value == pytest.approx(value)
        draws = np.array(spread[key])
        low, high = np.percentile(draws, INTERVAL)
        if key == "calibration_error":
            moved = value - draws.mean()
            noise = [calibration_noise(MEASURES[key](of[rows], is_member[rows]), found.honest[name])
                     for name, of in (("p", p), ("other", other))]  # fmt: skip
            low, high = low + moved, high + moved
            low, high = low + min(noise[0] - noise[1], 0), high + max(noise[0] - noise[1], 0)
        np.testing.assert_allclose([figure.low, figure.high], [low, high])


def test_the_same_scores_differ_by_nothing():
    p, is_member = forecast(13, 120)
    everyone = np.ones(120, dtype=bool)
    found = Measures.of({"p": p, "again": p.copy()}, is_member, everyone, Resampler(120))
    for figure in found.differences()["again"].values():
        assert (figure.value, figure.low, figure.high) == (0, 0, 0)
        assert not figure.is_beyond_chance


def test_a_difference_is_known_better_than_either_figure():
    p, is_member = forecast(14, 300, 100)
    worse = np.clip(p + np.random.default_rng(15).normal(0, 0.05, 300), 0, 1)
    everyone = np.ones(300, dtype=bool)
    found = Measures.of({"p": p, "worse": worse}, is_member, everyone, Resampler(300))
    auc, difference = found.figures()["p"]["auc"], found.differences()["worse"]["auc"]
    assert difference.high - difference.low < 0.5 * (auc.high - auc.low)


def test_what_the_objects_do_not_define_is_unknown():
    p, is_member = forecast(6, 80)
    found = measure({"p": p}, is_member, ~is_member, Resampler(80, n_resamples=50))["p"]
    for name in ("recall", "auc", "average_precision"):
        assert np.isnan([found[name].value, found[name].low, found[name].high]).all()
    assert found["accuracy"].value == pytest.approx(1 - found["false_positive_rate"].value)
    differences = Measures.of({"p": p, "q": p}, is_member, ~is_member, Resampler(80)).differences()
    assert np.isnan(differences["q"]["auc"].value)
    assert not differences["q"]["auc"].is_beyond_chance


def test_resamples_in_pieces_are_as_many_and_as_large(monkeypatch):
    monkeypatch.setattr(resampling, "CELLS_AT_ONCE", 250)
    rows = np.ones(100, dtype=bool)
    counts = np.concatenate(list(Resampler(100, n_resamples=7).counts(rows)))
    assert counts.shape == (7, 100)
    assert (counts.sum(axis=1) == 100).all()


def test_curves_are_those_of_scikit_learn():
    p, is_member = forecast(9, 300, 40)
    found = curves(p, is_member, Resampler(300, n_resamples=100))
    x, y, _ = metrics.roc_curve(is_member, p, drop_intermediate=False)
    upper = [np.interp(at, x[np.append(np.diff(x) > 0, True)], y[np.append(np.diff(x) > 0, True)])
             for at in found["roc"]["x"]]  # fmt: skip
    np.testing.assert_allclose(found["roc"]["y"], upper)
    precision, recall, _ = metrics.precision_recall_curve(is_member, p)
    line = found["precision_recall"]
    for at, value in zip(line["x"], line["y"], strict=True):
        # The curve of scikit-learn runs from full recall down to none, and has a last point of 1.
        reached = np.flatnonzero(recall[:-1] >= at - 1e-9)
        assert value == pytest.approx(precision[:-1][reached[-1]])
    for line in found.values():
        assert (line["low"] <= line["high"]).all()
        assert ((line["low"] - 1e-9 <= line["y"]) & (line["y"] <= line["high"] + 1e-9)).mean() > 0.9


@given(st.integers(1, 400), st.floats(0, 1))
def test_the_interval_of_a_share_is_wilsons(n, at):
    """Held against scipy."""
    part = round(at * n)
    expected = stats.binomtest(part, n).proportion_ci(0.95, "wilson")
    np.testing.assert_allclose(share_interval(part, n), (expected.low, expected.high), atol=1e-12)


def test_where_all_are_right_the_interval_is_not_certainty():
    """25 of 25: every resample says 1, and it may be .87."""
    is_member = np.arange(25) < 10
    p = np.where(is_member, 0.9, 0.1)
    found = measure({"p": p}, is_member, np.ones(25, dtype=bool), Resampler(25))["p"]
    assert (found["accuracy"].value, found["accuracy"].high) == (1, 1)
    assert found["accuracy"].low == pytest.approx(25 / (25 + 1.96**2), abs=1e-3)
    assert found["recall"].low == found["precision"].low == pytest.approx(10 / 13.84, abs=1e-3)
    jaccard = 10 / 13.84
    assert found["f1"].low == pytest.approx(2 * jaccard / (1 + jaccard), abs=1e-3)
    rate = found["false_positive_rate"]
    assert (rate.value, rate.low, rate.high) == (0, 0, pytest.approx(3.84 / 18.84, abs=1e-3))
    # Ten pairs of a member and another that share no object are in order.
    assert (found["auc"].low, found["auc"].high) == (pytest.approx(10 / 13.84, abs=1e-3), 1)
    assert found["average_precision"].value == 1
    assert np.isnan([found["average_precision"].low, found["average_precision"].high]).all()


def test_intervals_of_perfect_shares_hold_the_true_one():
    """By simulation: of 25 objects of which 93 % are called rightly, often all are."""
    rng = np.random.default_rng(5)
    n_held = 0
    for trial in range(200):
        is_right = rng.random(25) < 0.93
        is_member = np.arange(25) < 12
        p = np.where(is_right == is_member, 0.8, 0.2)
        found = measure({"p": p}, is_member, np.ones(25, dtype=bool), Resampler(25, trial, 100))
        n_held += found["p"]["accuracy"].low <= 0.93 <= found["p"]["accuracy"].high
    assert n_held >= 185  # percentiles of the bootstrap hold it in 162


@pytest.mark.parametrize(("n_member", "is_given"), [(4, False), (5, True), (16, False)])
def test_a_ranking_of_few_of_a_class_has_no_interval(n_member, is_given):
    rng = np.random.default_rng(2)
    is_member = np.arange(20) < n_member
    forecasts = {"p": rng.random(20), "q": rng.random(20)}
    found = Measures.of(forecasts, is_member, np.ones(20, dtype=bool), Resampler(20))
    for name in ("auc", "average_precision"):
        figure = found.figures()["p"][name]
        assert np.isfinite(figure.value)
        assert np.isfinite([figure.low, figure.high]).all() == is_given
    difference = found.differences()["q"]["auc"]
    assert np.isfinite(difference.low) == is_given
    assert is_given or not difference.is_beyond_chance


def test_two_forecasts_that_are_both_right_are_not_known_to_be_alike():
    is_member = np.arange(12) < 6
    one, other = (np.where(is_member, 0.5 + d, 0.5 - d) for d in (0.1, 0.3))
    everyone = np.ones(12, dtype=bool)
    found = Measures.of({"p": one, "q": other}, is_member, everyone, Resampler(12)).differences()
    accuracy = found["q"]["accuracy"]
    assert accuracy.value == 0
    assert np.isnan([accuracy.low, accuracy.high]).all()


def test_the_noise_of_a_calibration_error_of_one_object_is_all_of_it():
    """Its honest errors are small but for a few, whose mean is above most of them."""
    honest = np.repeat([0.01, 0.99], [395, 5])
    assert np.percentile(honest, INTERVAL[1]) < 0.011 < honest.mean()
    assert calibration_noise(0.011, honest) == 0.011
    assert 0 <= calibration_noise(0.5, honest) < 0.5
