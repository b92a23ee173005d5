"""The Survey page on a real scheduler's dashboard."""

import json
import logging
import time
from contextlib import contextmanager
from http.client import HTTPConnection

import dask
import pytest
from bokeh.client import pull_session
from distributed import Client, LocalCluster, get_worker
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from survey_classifier.run import monitor
from survey_classifier.run.survey_messages import PLAN_TOPIC, TILE_TOPIC

PLAN = {
    "name": "west",
    "fingerprint": "abc",
    "n_sources": 15,
    "tiles": [
        {
            "tile": f"r000-c00{i}",
            "corners": [[50 - i, 41], [49 - i, 41], [49 - i, 42], [50 - i, 42]],
            "n_sources": 5,
            "done": False,
        }
        for i in range(3)
    ],
    "histogram_bins": 20,
}
DONE = {
    "tile": "r000-c000",
    "state": "done",
    "time": 1000.0,
    "n_sources": 5,
    "n_by_status": {"classified": 4, "low_coverage": 1},
    "n_stamps": 4,
    "cut_seconds": 0.5,
    "score_seconds": 0.25,
    "finish_seconds": 0.5,
    "p_member_histogram": [4] + [0] * 19,
}


@contextmanager
def cluster(**options):
    with (
        dask.config.set({"distributed.scheduler.preload": [monitor.__name__]}),
        LocalCluster(
            processes=False,
            threads_per_worker=1,
            dashboard_address="127.0.0.1:0",
            **({"n_workers": 1, "resources": {"SCORER": 1}} | options),
        ) as local,
        Client(local) as client,
    ):
        yield client


@pytest.fixture
def client():
    with cluster() as client:
        yield client


def dashboard(client):
    server = client.cluster.scheduler.http_server
    return server.address, server.port


def fetch(client, path):
    connection = HTTPConnection(*dashboard(client), timeout=20)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def tiles_json(client):
    status, body = fetch(client, "/survey/tiles.json")
    assert status == 200
    return json.loads(body)


def told(client, holds):
    """The state as JSON once it holds: events travel, so wait for them."""
    deadline = time.monotonic() + 20
    while not holds(state := tiles_json(client)):
        assert time.monotonic() < deadline, state
        time.sleep(0.02)
    return state


def metrics(client):
    status, body = fetch(client, "/metrics")
    assert status == 200
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(body)
        for sample in family.samples
        if sample.name.startswith("survey_")
    }


def test_events_of_clients_and_workers_reach_the_json_route_and_the_metrics(client):
    client.log_event(PLAN_TOPIC, PLAN)
    client.log_event(TILE_TOPIC, {"tile": "r000-c001", "state": "waiting", "time": 999.0})
    client.submit(lambda: get_worker().log_event(TILE_TOPIC, DONE), pure=False).result()
    state = told(client, lambda state: state["tiles_by_state"]["done"] == 1)
    assert state["name"] == "west"
    assert state["tiles_by_state"]["waiting"] == state["tiles_by_state"]["pending"] == 1
    assert state["n_by_status"]["low_coverage"] == 1
    assert state["tiles"][0]["corners"][0] == [50, 41]
    values = metrics(client)
    assert values["survey_tiles", "done"] == 1
    assert values["survey_tiles", "pending"] == 1
    assert values["survey_stamps_total",] == 4
    assert values["survey_sources_total", "classified"] == 4


def test_use_of_the_scorer_is_shared_among_the_workers_that_have_one(client):
    client.log_event(PLAN_TOPIC, PLAN)
    now = time.time()
    client.log_event(TILE_TOPIC, {"tile": "r000-c000", "state": "cutting", "time": now - 100})
    client.log_event(TILE_TOPIC, DONE | {"time": now, "score_seconds": 50.0})
    state = told(client, lambda state: state["n_stamps"] == 4)
    assert state["scorer_utilization"] == pytest.approx(50 / state["elapsed_seconds"])
    assert state["elapsed_seconds"] == pytest.approx(100, abs=10)


def test_an_event_that_cannot_be_read_is_reported_and_the_rest_goes_on(client, caplog):
    client.log_event(PLAN_TOPIC, PLAN)
    client.log_event(TILE_TOPIC, "nonsense")
    client.log_event(TILE_TOPIC, {"tile": "r000-c000", "state": "resting", "time": 1.0})
    client.log_event(TILE_TOPIC, {"tile": "r000-c000", "state": "scoring", "time": 1.0})
    told(client, lambda state: state["tiles_by_state"]["scoring"] == 1)
    warnings = [r.getMessage() for r in caplog.records if r.name == monitor.__name__]
    assert len(warnings) == 2
    assert "resting" in warnings[1]


def test_the_page_is_in_the_navigation_bar_and_shows_the_run(client):
    client.log_event(PLAN_TOPIC, PLAN | {"name": "page-of-west"})
    told(client, lambda state: state["name"] == "page-of-west")
    for page in ("/survey", "/status"):
        status, body = fetch(client, page)
        assert status == 200
        assert '<a href="survey">Survey</a>' in " ".join(body.split())
    address, port = dashboard(client)
    session = pull_session(url=f"http://{address}:{port}/survey")
    try:
        texts = [
            model.text
            for root in session.document.roots
            for model in root.references()
            if hasattr(model, "stylesheets") and isinstance(getattr(model, "text", None), str)
        ]
    finally:
        session.close()
    assert any("page-of-west" in text for text in texts)


def test_the_dashboard_stays_on_this_machine(client):
    assert dashboard(client)[0] == "127.0.0.1"


def test_metrics_go_with_their_scheduler_and_come_with_the_next():
    with cluster(n_workers=0) as first:
        first.log_event(PLAN_TOPIC, PLAN)
        told(first, lambda state: state["name"] == "west")
        assert metrics(first)["survey_tiles", "pending"] == 3
    assert REGISTRY.get_sample_value("survey_tiles", {"state": "pending"}) is None
    with cluster(n_workers=0) as second:
        assert tiles_json(second)["name"] is None
        assert metrics(second)["survey_tiles", "pending"] == 0


def test_a_scheduler_that_does_not_watch_says_so():
    with (
        dask.config.set({"distributed.scheduler.preload": []}),
        LocalCluster(n_workers=0, processes=False, dashboard_address="127.0.0.1:0") as local,
        Client(local) as client,
    ):
        status, body = fetch(client, "/survey/tiles.json")
        assert status == 404
        assert "--preload survey_classifier.run.monitor" in json.loads(body)["error"]
        assert fetch(client, "/survey")[0] == 200


@pytest.mark.parametrize("hook", ["template_variables", "applications"])
def test_a_hook_that_moved_costs_a_warning_and_nothing_else(hook, monkeypatch, caplog):
    if hook == "template_variables":
        with cluster(n_workers=0) as client, monkeypatch.context() as patch:
            patch.delattr(f"distributed.dashboard.scheduler.{hook}")
            with caplog.at_level(logging.WARNING):
                client.run_on_scheduler(lambda dask_scheduler: monitor.dask_setup(dask_scheduler))
            assert tiles_json(client)["name"] is None
    else:
        with monkeypatch.context() as patch:
            patch.delattr(f"distributed.dashboard.scheduler.{hook}")
            monitor._register()
    assert any(f"distributed.dashboard.scheduler.{hook}" in r.getMessage() for r in caplog.records)


def test_two_schedulers_in_one_process_both_work_and_the_second_has_no_metrics(client, caplog):
    with cluster(n_workers=0) as second:
        second.log_event(PLAN_TOPIC, PLAN | {"name": "second"})
        told(second, lambda state: state["name"] == "second")
    assert any("REGISTRY.register" in r.getMessage() for r in caplog.records)
    client.log_event(PLAN_TOPIC, PLAN | {"name": "first"})
    told(client, lambda state: state["name"] == "first")
    assert metrics(client)["survey_tiles", "pending"] == 3
    assert REGISTRY.get_sample_value("survey_tiles", {"state": "pending"}) == 3
