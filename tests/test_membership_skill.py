import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from survey_classifier.errors import RunError
from survey_classifier.membership.skill import (
    Confusion,
    brier_score,
    confusion,
    reliability,
    roc_area,
)

# Few distinct values, so that ties and the threshold itself occur.
CASES = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.7, 1.0]), st.booleans()), max_size=40
)


def split(cases):
    return np.array([p for p, _ in cases]), np.array([t for _, t in cases], dtype=bool)


@given(CASES)
def test_confusion_equals_counting(cases):
    found = confusion(*split(cases))
    assert found == Confusion(
        n_hit=sum(p >= 0.5 and t for p, t in cases),
        n_missed=sum(p < 0.5 and t for p, t in cases),
        n_false=sum(p >= 0.5 and not t for p, t in cases),
        n_rejected=sum(p < 0.5 and not t for p, t in cases),
    )
    assert found.n == len(cases)


def test_shares():
    counts = Confusion(n_hit=30, n_missed=10, n_false=20, n_rejected=40)
    assert (counts.precision, counts.recall, counts.accuracy) == (0.6, 0.75, 0.7)
    nothing = Confusion(0, 0, 0, 0)
    assert np.isnan([nothing.precision, nothing.recall, nothing.accuracy]).all()


@given(CASES)
def test_roc_area_equals_all_pairs(cases):
    members, others = ([p for p, t in cases if t is which] for which in (True, False))
    pairs = [(a > b) + 0.5 * (a == b) for a in members for b in others]
    found = roc_area(*split(cases))
    if pairs:
        assert found == pytest.approx(np.mean(pairs))
    else:
        assert np.isnan(found)


def test_brier_score():
    assert brier_score([0.2, 0.9], [False, True]) == pytest.approx((0.04 + 0.01) / 2)
    assert np.isnan(brier_score([], []))


@given(CASES)
def test_reliability_equals_sorting_into_bins(cases):
    found = reliability(*split(cases), n_bins=4)
    bins = [[c for c in cases if min(int(c[0] * 4), 3) == row] for row in range(4)]
    bins = [rows for rows in bins if rows]
    np.testing.assert_array_equal(found.n, [len(rows) for rows in bins])
    np.testing.assert_allclose(found.mean_p, [np.mean([p for p, _ in rows]) for rows in bins])
    np.testing.assert_allclose(found.member_share, [np.mean([t for _, t in rows]) for rows in bins])
    assert (found.share_err > 0).all()


@pytest.mark.parametrize(
    ("p", "is_member", "words"),
    [
        ([0.1, np.nan], [True, False], "1 values such as nan"),
        ([1.5], [True], "1.5 are no probabilities"),
        ([0.1, 0.2], [True], r"shape \(2,\) and truths of shape \(1,\)"),
    ],
)
def test_refuses_what_is_no_probability(p, is_member, words):
    with pytest.raises(RunError, match=words):
        roc_area(p, is_member)
