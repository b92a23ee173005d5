"""The state of a run while it goes on, told by stories without a cluster."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from survey_classifier.errors import ClusterError
from survey_classifier.membership.flags import Status
from survey_classifier.run.survey_messages import TileState
from survey_classifier.run.survey_state import RateSeries, SurveyState

BINS = 4


def corners(ra=49.9, dec=41.5):
    return [[ra, dec], [ra - 0.1, dec], [ra - 0.1, dec + 0.1], [ra, dec + 0.1]]


def planned(n_tile, n_sources=10, earlier=()):
    tiles = [
        {"tile": f"t{i}", "corners": corners(), "n_sources": n_sources, "done": i in earlier}
        for i in range(n_tile)
    ]
    return {
        "name": "west",
        "fingerprint": "f" * 64,
        "n_sources": n_tile * n_sources,
        "tiles": tiles,
        "histogram_bins": BINS,
    }


def done(tile, time, n_classified=8, n_no_data=2, **facts):
    return {
        "tile": tile,
        "state": "done",
        "time": time,
        "n_sources": n_classified + n_no_data,
        "n_by_status": {"classified": n_classified, "no_data": n_no_data},
        "n_stamps": n_classified,
        "cut_seconds": 1.0,
        "score_seconds": 2.0,
        "finish_seconds": 2.5,
        "p_member_histogram": [n_classified, 0, 0, 0],
    } | facts


def begun(*arguments, **options):
    state = SurveyState()
    state.apply_plan(planned(*arguments, **options))
    return state


def test_a_state_without_a_run_knows_nothing_and_says_so():
    snapshot = SurveyState().snapshot(now=100.0)
    assert snapshot["name"] is None
    assert snapshot["seconds_left"] is None
    assert snapshot["elapsed_seconds"] is None
    assert snapshot["tiles"] == []
    assert set(snapshot["tiles_by_state"]) == {state.value for state in TileState}
    assert not any(snapshot["tiles_by_state"].values())


def test_a_tile_goes_its_way():
    state = begun(3)
    for word in ("cutting", "waiting", "scoring"):
        state.apply_tile({"tile": "t1", "state": word, "time": 100.0})
        assert state.tiles_by_state()[word] == 1
        assert state.tiles_by_state()["pending"] == 2
    state.apply_tile(done("t1", 104.0))
    snapshot = state.snapshot(now=104.0)
    assert snapshot["tiles_by_state"]["done"] == 1
    assert snapshot["n_sources_settled"] == 10
    assert snapshot["n_by_status"]["classified"] == 8
    assert snapshot["n_by_status"]["no_data"] == 2
    assert snapshot["n_stamps"] == 8
    assert snapshot["p_member_histogram"] == [8, 0, 0, 0]


def test_rate_utilization_and_time_left_follow_from_the_clock():
    state = begun(4)
    state.apply_tile({"tile": "t0", "state": "cutting", "time": 100.0})
    state.apply_tile(done("t0", 110.0))
    snapshot = state.snapshot(now=120.0, n_scorers=1)
    assert snapshot["elapsed_seconds"] == pytest.approx(20.0)
    assert snapshot["stamps_per_second"] == pytest.approx(8 / 20)
    assert snapshot["scorer_utilization"] == pytest.approx(2 / 20)
    # 10 sources took 20 s, 30 are open.
    assert snapshot["seconds_left"] == pytest.approx(60.0)
    assert state.snapshot(120.0, n_scorers=4)["scorer_utilization"] == pytest.approx(0.025)


def test_the_clock_stops_when_all_tiles_are_settled():
    state = begun(2)
    state.apply_tile({"tile": "t0", "state": "cutting", "time": 100.0})
    state.apply_tile(done("t0", 108.0))
    state.apply_tile({"tile": "t1", "state": "failed", "time": 110.0, "reason": "disk full"})
    late = state.snapshot(now=99999.0)
    assert late["elapsed_seconds"] == pytest.approx(10.0)
    assert late["seconds_left"] == 0.0
    assert late["n_sources_settled"] == late["n_sources"] == 20


def test_tiles_of_an_earlier_run_are_settled_but_say_nothing_of_this_ones_speed():
    state = begun(4, earlier={0, 1})
    snapshot = state.snapshot(now=50.0)
    assert snapshot["n_sources_settled"] == snapshot["n_sources_earlier"] == 20
    assert snapshot["tiles_by_state"]["done"] == 2
    assert snapshot["seconds_left"] is None
    state.apply_tile({"tile": "t2", "state": "cutting", "time": 100.0})
    state.apply_tile(done("t2", 106.0))
    snapshot = state.snapshot(now=106.0)
    assert snapshot["seconds_left"] == pytest.approx(6.0)
    assert sum(snapshot["n_by_status"].values()) == 10


def test_a_task_that_dask_runs_twice_counts_once():
    state = begun(2)
    state.apply_tile(done("t0", 100.0))
    before = state.snapshot(now=200.0)
    state.apply_tile({"tile": "t0", "state": "cutting", "time": 110.0})
    state.apply_tile({"tile": "t0", "state": "failed", "time": 111.0, "reason": "late"})
    state.apply_tile(done("t0", 112.0))
    assert state.snapshot(now=200.0) == before


def test_a_failed_tile_counts_as_such_until_it_does_better():
    state = begun(2)
    state.apply_tile({"tile": "t0", "state": "failed", "time": 100.0, "reason": "disk full"})
    snapshot = state.snapshot(now=101.0)
    assert snapshot["tiles_by_state"]["failed"] == 1
    assert snapshot["n_by_status"]["tile_failed"] == 10
    assert snapshot["tiles"][0]["reason"] == "disk full"
    assert state.finished_by_status()["tile_failed"] == 0
    state.apply_tile({"tile": "t0", "state": "cutting", "time": 102.0})
    state.apply_tile(done("t0", 103.0))
    snapshot = state.snapshot(now=104.0)
    assert snapshot["n_by_status"]["tile_failed"] == 0
    assert snapshot["tiles"][0]["reason"] == ""


def test_a_second_plan_replaces_the_first_and_strangers_are_ignored():
    state = begun(5)
    state.apply_tile(done("t0", 100.0))
    state.apply_plan(planned(2) | {"name": "east"})
    state.apply_tile(done("t4", 101.0))
    snapshot = state.snapshot(now=102.0)
    assert snapshot["name"] == "east"
    assert snapshot["n_stamps"] == 0
    assert snapshot["elapsed_seconds"] is None
    assert snapshot["tiles_by_state"]["pending"] == 2


def test_tiles_before_any_plan_are_ignored():
    state = SurveyState()
    state.apply_tile(done("t0", 100.0))
    assert state.snapshot(now=101.0) == SurveyState().snapshot(now=101.0)


@pytest.mark.parametrize(
    "change",
    [
        {"state": "resting"},
        {"time": math.nan},
        {"time": "yesterday"},
        {"n_stamps": -1},
        {"n_by_status": {"lost": 10}},
        {"n_sources": 11},
        {"score_seconds": -1.0},
        {"score_seconds": math.inf},
        {"p_member_histogram": [1, 2]},
        {"tile": None},
    ],
)
def test_a_message_that_is_wrong_is_refused_in_one_line_and_changes_nothing(change):
    state = begun(2)
    before = state.snapshot(now=200.0)
    with pytest.raises(ClusterError) as caught:
        state.apply_tile(done("t0", 100.0) | change)
    assert "\n" not in str(caught.value)
    assert state.snapshot(now=200.0) == before


@pytest.mark.parametrize(
    "change",
    [
        {"tiles": [{"tile": "t0"}]},
        {"tiles": planned(1)["tiles"] * 2},
        {"histogram_bins": 0},
        {"n_sources": -1},
        {"name": None},
    ],
)
def test_a_plan_that_is_wrong_is_refused_and_the_run_before_it_stays(change):
    state = begun(2)
    before = state.snapshot(now=200.0)
    with pytest.raises(ClusterError):
        state.apply_plan(planned(3) | change)
    assert state.snapshot(now=200.0) == before


def test_something_that_is_no_message_at_all_is_refused():
    with pytest.raises(ClusterError, match="PlanMessage cannot be read: message"):
        SurveyState().apply_plan("go")


def test_a_snapshot_is_json_even_where_the_projection_has_no_sky():
    plan = planned(2)
    plan["tiles"][0]["corners"][2] = [math.nan, math.nan]
    state = SurveyState()
    state.apply_plan(plan)
    state.apply_tile(done("t0", 100.0))
    snapshot = state.snapshot(now=101.0)
    assert json.loads(json.dumps(snapshot, allow_nan=False)) == snapshot
    assert snapshot["tiles"][0]["corners"] is None
    assert snapshot["tiles"][1]["corners"] == corners()


@given(
    counts=st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=8),
    data=st.data(),
)
def test_what_is_counted_does_not_depend_on_the_order_of_tiles(counts, data):
    events = [done(f"t{i}", 100.0 + i, *count) for i, count in enumerate(counts)]
    shuffled = data.draw(st.permutations(events))
    state = begun(len(counts))
    for event in shuffled:
        state.apply_tile(event)
    snapshot = state.snapshot(now=300.0)
    assert snapshot["n_by_status"]["classified"] == sum(good for good, _ in counts)
    assert snapshot["n_by_status"]["no_data"] == sum(bad for _, bad in counts)
    assert sum(snapshot["p_member_histogram"]) == snapshot["n_stamps"]
    assert set(snapshot["n_by_status"]) == {status.value for status in Status}


@given(
    works=st.lists(
        st.tuples(st.floats(0, 1000), st.floats(0, 300), st.integers(0, 500)), max_size=20
    )
)
def test_rates_hold_every_stamp_that_was_scored(works):
    series = RateSeries(start=5000.0, n_max=8)
    for begin, length, amount in works:
        series.add(5000.0 + begin, 5000.0 + begin + length, amount)
    # Time goes on, so that the last interval with work in it is over.
    series.add(5000.0, 5000.0 + 4 * 1300 + 10, 0)
    total = sum(series.rates()) * series.width_seconds
    assert total == pytest.approx(sum(amount for _, _, amount in works))
    assert len(series.rates()) <= 8


def test_rates_equal_a_count_in_small_steps():
    series = RateSeries(start=0.0, n_max=16)
    works = [(0.25, 3.5, 13), (2.0, 9.75, 31), (8.0, 12.0, 4)]
    for begin, end, amount in works:
        series.add(begin, end, amount)
    step = 1 / 64
    middle = np.arange(0, 12, step) + step / 2
    rate = sum(amount / (e - b) * ((middle > b) & (middle < e)) for b, e, amount in works)
    assert series.width_seconds == 1.0
    np.testing.assert_allclose(series.rates(), rate.reshape(12, -1).mean(axis=1), rtol=1e-12)


def test_work_of_no_duration_and_work_from_before_the_start_are_kept():
    series = RateSeries(start=100.0)
    series.add(100.5, 100.5, 7)
    series.add(90.0, 99.0, 5)
    series.add(102.0, 102.0, 0)
    assert series.rates() == [12.0, 0.0]
