"""Figures of merit under resampling, held against the plain ones and against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from survey_classifier.training.evaluation import measures
from survey_classifier.training.evaluation.measures import MEASURES, Resampler, curves, measure


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
    form = measures._Form.of(p, is_member)
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
    figures = measure({"p": p}, rng.random(150) < p, np.ones(150, dtype=bool), Resampler(150))
    error = figures["p"]["calibration_error"]
    assert 0 <= error.low < error.value < error.high


def test_the_same_seed_gives_the_same_intervals_and_each_forecast_the_same_resamples():
    p, is_member = forecast(5, 200)
    everyone = np.ones(200, dtype=bool)
    one = measure({"a": p, "b": p}, is_member, everyone, Resampler(200, 7))
    again = measure({"a": p}, is_member, everyone, Resampler(200, 7))
    other = measure({"a": p}, is_member, everyone, Resampler(200, 8))
    assert one["a"] == one["b"] == again["a"]
    assert one["a"] != other["a"]


def test_what_the_objects_do_not_define_is_unknown():
    p, is_member = forecast(6, 80)
    found = measure({"p": p}, is_member, ~is_member, Resampler(80, n_resamples=50))["p"]
    for name in ("recall", "auc", "average_precision"):
        assert np.isnan([found[name].value, found[name].low, found[name].high]).all()
    assert found["accuracy"].value == pytest.approx(1 - found["false_positive_rate"].value)


def test_resamples_in_pieces_are_as_many_and_as_large(monkeypatch):
    monkeypatch.setattr(measures, "CELLS_AT_ONCE", 250)
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
