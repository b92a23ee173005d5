"""The Dask driver: memory that it may use, failures, killed processes, other people's clusters."""

import dataclasses
import math
import shutil
import signal
import subprocess
import sys
import threading
import time

import dask.sizeof
import pandas as pd
import pytest
from distributed import Client, LocalCluster

from survey_classifier import classify, plan
from survey_classifier.errors import ClusterError, TileError
from survey_classifier.run import cluster, graph
from survey_classifier.run.config import ClusterSettings
from survey_classifier.run.opened import mosaic_of
from tests import small_run
from tests.test_run_classify import assert_same_rows, rows_of

THREADS = 2


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    return small_run.make(tmp_path_factory.mktemp("cluster"))


@pytest.fixture(scope="module")
def reference(pieces):
    return rows_of(classify(pieces.write("reference")))


@pytest.fixture
def in_process():
    """A cluster in this process, so that a test can reach into its work."""
    with (
        LocalCluster(
            n_workers=1,
            threads_per_worker=THREADS,
            processes=False,
            dashboard_address="127.0.0.1:0",
            resources={"SCORER": 1},
        ) as local,
        Client(local) as client,
    ):
        yield client


def tasks_of(pieces, name, size_px=128):
    laid_out = plan(pieces.write(name, tiles={"size_px": size_px}))
    return laid_out.context("2026-01-01T00:00:00+00:00"), list(laid_out.tasks())


def test_few_cut_tiles_wait_to_be_scored(pieces, in_process, monkeypatch):
    """A slow scorer must hold the cuts back, or their stamps fill the memory."""
    context, tasks = tasks_of(pieces, "waiting")
    lock, waiting, most = threading.Lock(), set(), [0]
    cut_tile, finish_tile = graph.cut_tile, graph.finish_tile

    def cut(context, task, mosaic):
        done = cut_tile(context, task, mosaic)
        with lock:
            waiting.add(task.name)
            most[0] = max(most[0], len(waiting))
        return done

    def finish(context, cut, scorer):
        with lock:
            waiting.discard(cut.task.name)
        time.sleep(0.03)
        return finish_tile(context, cut, scorer)

    monkeypatch.setattr(graph, "cut_tile", cut)
    monkeypatch.setattr(graph, "finish_tile", finish)
    receipts = []
    failures = graph.run_on_client(in_process, context, tasks, receipts.append)
    assert not failures
    assert len(receipts) == len(tasks) >= 20
    assert most[0] <= math.ceil(1.1 * THREADS)


def test_a_tile_that_fails_is_tried_again_and_the_others_go_on(pieces, in_process, monkeypatch):
    context, tasks = tasks_of(pieces, "failing", 256)
    tries = []
    finish_tile = graph.finish_tile

    def finish(context, cut, scorer):
        name = cut.task.name
        if name in ("r000-c000", "r001-c001"):
            tries.append(name)
            if name == "r000-c000" or tries.count(name) == 1:
                raise TileError(name, "finish", str(cut.task.core), "disk gone")
        return finish_tile(context, cut, scorer)

    monkeypatch.setattr(graph, "finish_tile", finish)
    receipts = []
    failures = graph.run_on_client(in_process, context, tasks, receipts.append)
    assert [(f.tile, f.stage, f.reason) for f in failures] == [("r000-c000", "finish", "disk gone")]
    assert failures[0].box == "y 0:256, x 0:256"
    assert len(receipts) == len(tasks) - 1
    assert tries.count("r000-c000") == 2


def test_dask_knows_what_a_cut_tile_weighs(pieces):
    context, tasks = tasks_of(pieces, "weight", 256)
    cut = graph.cut_tile(context, tasks[4], mosaic_of(tasks[4]))
    assert dask.sizeof.sizeof(cut) >= len(tasks[4].sources) * 2 * tasks[4].pixels.size_px ** 2 * 4


def test_tiles_larger_than_the_workers_memory_are_refused_with_advice(in_process):
    with pytest.raises(ClusterError, match=r"use smaller tiles.size_px or fewer cluster.threads"):
        cluster.check_memory(in_process, 10**15)
    cluster.check_memory(in_process, 10**6)


def test_any_scheduler_address_will_do(pieces, in_process, reference):
    receipt = classify(pieces.write("address"), cluster=in_process.scheduler.address)
    assert_same_rows(rows_of(receipt), reference)


def test_a_worker_with_another_mosaic_refuses_to_work(pieces, in_process):
    context, tasks = tasks_of(pieces, "stale", 256)
    pixels = dataclasses.replace(tasks[0].pixels, digest="0" * 64)
    other = dataclasses.replace(tasks[0], pixels=pixels)
    failures = graph.run_on_client(in_process, context, [other], print)
    assert "is not the mosaic of the plan" in failures[0].reason


def test_workers_without_the_resource_are_refused_with_the_command(pieces):
    with (
        LocalCluster(n_workers=1, processes=False, dashboard_address="127.0.0.1:0") as local,
        pytest.raises(
            ClusterError, match=r"1 worker at .* none with .* SCORER; start them with: dask worker"
        ),
    ):
        classify(pieces.write("bare"), cluster=local.scheduler_address)


def test_no_scheduler_and_no_gpu_are_said_in_a_line(pieces, monkeypatch):
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 1)
    with pytest.raises(ClusterError, match=r"no Dask scheduler at 'tcp://127.0.0.1:9'"):
        classify(pieces.write("nobody"), cluster="tcp://127.0.0.1:9")


def test_kind_cuda_without_a_card_is_a_clear_error():
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    settings = ClusterSettings(kind="cuda", dashboard="127.0.0.1:0")
    with (
        pytest.raises(ClusterError, match=r"kind = 'cuda' (needs dask-cuda|found no usable CUDA)"),
        cluster.open_client(settings),
    ):
        pass


SLOW_RUN = """
import sys, time
from pathlib import Path
from survey_classifier.run import serial
finish = serial.finish_tile
def slow(*arguments):
    time.sleep(0.2)
    return finish(*arguments)
serial.finish_tile = slow
from survey_classifier import classify
classify(Path(sys.argv[1]))
"""


def test_a_killed_process_leaves_nothing_half_written(pieces, tmp_path, reference):
    """SIGKILL in the middle: no handler runs, nothing is cleaned up; the next call goes on."""
    folder = tmp_path / "run"
    shutil.copytree(pieces.folder, folder, ignore=shutil.ignore_patterns("out-*"))
    run = small_run.SmallRun(folder).write("killed")
    parts = folder / "out-killed" / "parts"
    process = subprocess.Popen([sys.executable, "-c", SLOW_RUN, str(run)])
    deadline = time.monotonic() + 60
    while len(list(parts.glob("*.parquet"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    n_done = len(list(parts.glob("*.parquet")))
    assert 3 <= n_done < 9
    assert all(len(pd.read_parquet(path)) >= 0 for path in parts.glob("*.parquet"))
    receipt = classify(run)
    assert receipt.n_tiles_resumed == n_done
    assert_same_rows(rows_of(receipt), reference)
