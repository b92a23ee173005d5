"""The cluster driver: the tile kernel in one Dask graph.

Owns where workers come from, for tiles and for an ingest, the shape of the graph and the events
that tell the dashboard of each tile. Does not own the kernel (``tile``) nor the dashboard's page
(``monitor``).

A tile is two tasks: ``cut`` (reading and cutting) and ``finish`` (scoring, evidence, writing),
the second bound to the resource SCORER, of which a worker process has one. All tiles go in one
submission: the scheduler then hands out cuts only as fast as they are scored, so that at most
``ceil(1.1 x threads)`` cut tiles wait in a worker's memory. Mosaics and weights are opened by
each worker, once; what travels is each tile's own sources, and its receipt back.
"""

import logging
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import dask
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer
from dask.sizeof import sizeof
from distributed import Client, Future, LocalCluster, as_completed, get_worker
from distributed.cfexecutor import ClientExecutor
from distributed.scheduler import KilledWorker

from survey_classifier.errors import ClusterError, TileError
from survey_classifier.model.scorer import TorchScorer
from survey_classifier.mosaic.ingest import n_threads, shard_bytes
from survey_classifier.mosaic.layout import IngestPlan
from survey_classifier.run.config import ClusterSettings
from survey_classifier.run.opened import mosaic_of
from survey_classifier.run.survey_messages import SCORER, TILE_TOPIC
from survey_classifier.run.task import TileContext, TileFailure, TileReceipt, TileTask
from survey_classifier.run.tile import CutTile, cut_tile, finish_tile

__all__ = ["check_memory", "ingest_executor", "open_client", "run_on_client"]

MONITOR = "survey_classifier.run.monitor"
OPENMP = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
RETRIES = 1
CONNECT_SECONDS = 20


@contextmanager
def open_client(settings: ClusterSettings, *, scores: bool = True) -> Iterator[Client]:
    """Start or join the cluster of a run, and leave it at the end.

    Parameters
    ----------
    settings
        The ``[cluster]`` table; its kind is ``local``, ``cuda`` or a scheduler's address.
    scores
        Whether a worker that may score is needed.

    Raises
    ------
    ClusterError
        If there is no such cluster, or it has no worker that may score.
    """
    with ExitStack() as stack:
        # The page is part of the scheduler, so it must be named before that starts.
        preload = {"distributed.scheduler.preload": [MONITOR]}
        if settings.kind in ("local", "cuda"):
            stack.enter_context(dask.config.set(preload))
            start = _local if settings.kind == "local" else _cuda
            client = stack.enter_context(Client(stack.enter_context(start(settings))))
        else:
            client = stack.enter_context(_connect(settings.kind, scores=scores))
        yield client


def _local(settings: ClusterSettings) -> LocalCluster:
    """Return one worker process with a thread a core."""
    threads = settings.threads or dask.system.CPU_COUNT
    # Not Dask's own: one OpenMP thread, where one scorer has all cores to itself, and a small
    # MALLOC_TRIM_THRESHOLD_, which gives memory back after every layer. Measured: half the speed.
    environ = {"distributed.nanny.pre-spawn-environ": dict.fromkeys(OPENMP, threads)}
    with _quiet_start(), dask.config.set(environ):
        return LocalCluster(
            n_workers=1,
            threads_per_worker=threads,
            host="127.0.0.1",
            dashboard_address=settings.dashboard,
            resources={SCORER: 1},
            # Workers would print a traceback for each failed tile; the receipt lists them instead.
            silence_logs=logging.CRITICAL,
        )


@contextmanager
def _quiet_start() -> Iterator[None]:
    """Start workers that leave Ctrl-C to this process, on another port if the wanted one is taken.

    A worker process inherits that SIGINT is ignored; else each would print a traceback of its own.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN) if in_main_thread else None
    try:
        with warnings.catch_warnings():
            # The link that is announced has the port that was found.
            warnings.filterwarnings("ignore", message="Port .* is already in use")
            yield
    finally:
        if in_main_thread:
            signal.signal(signal.SIGINT, previous)


def _cuda(settings: ClusterSettings) -> LocalCluster:
    """Return one worker process a GPU."""
    try:
        from dask_cuda import LocalCUDACluster
    except ImportError as error:
        raise ClusterError(
            f"[cluster] kind = 'cuda' needs dask-cuda ({error}); "
            "install survey-classifier[gpu], or use kind = 'local'"
        ) from error
    try:
        return LocalCUDACluster(
            threads_per_worker=settings.threads or 4,
            host="127.0.0.1",
            dashboard_address=settings.dashboard,
            resources={SCORER: 1},
        )
    except Exception as error:
        raise ClusterError(
            f"[cluster] kind = 'cuda' found no usable CUDA device ({type(error).__name__}: "
            f"{error}); use kind = 'local'"
        ) from error


def _connect(address: str, *, scores: bool) -> Client:
    """Return a client of a scheduler that runs already."""
    try:
        client = Client(address, timeout=CONNECT_SECONDS)
    except (OSError, ValueError) as error:
        raise ClusterError(
            f"no Dask scheduler at {address!r} ({error}); "
            "kind is serial, local, cuda, or the address of one such as tcp://host:8786"
        ) from error
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    if not scores and workers:
        return client
    if not any(worker["resources"].get(SCORER) for worker in workers):
        client.close()
        raise ClusterError(
            f"the {len(workers)} workers of {address} have no resource {SCORER}; "
            f"start them with: dask worker {address} --nworkers 1 --resources {SCORER}=1"
        )
    return client


def check_memory(client: Client, tile_bytes: int) -> None:
    """Refuse tiles that do not fit the workers' memory.

    Parameters
    ----------
    client
        The cluster.
    tile_bytes
        What the largest tile needs.

    Raises
    ------
    ClusterError
        With the advice what to change.
    """
    for address, worker in client.scheduler_info(n_workers=-1)["workers"].items():
        # Each thread may cut a tile while another waits to be scored (module docstring).
        need = tile_bytes * (worker["nthreads"] + 1)
        if worker["memory_limit"] and need > worker["memory_limit"]:
            raise ClusterError(
                f"worker {address} has {worker['memory_limit'] / 2**30:.1f} GiB, but "
                f"{worker['nthreads']} threads need {need / 2**30:.1f} GiB for tiles of "
                f"{tile_bytes / 2**30:.2f} GiB; use smaller tiles.size_px or fewer cluster.threads"
            )


@contextmanager
def ingest_executor(
    settings: ClusterSettings, plans: Sequence[IngestPlan]
) -> Iterator[ClientExecutor]:
    """Start or join a cluster that makes shards, and leave it at the end.

    Parameters
    ----------
    settings
        The ``[cluster]`` table; its kind is ``local`` or a scheduler's address.
    plans
        What is to be ingested, at least one.

    Raises
    ------
    ConfigError
        If an ingest may not take the memory of a single shard.
    ClusterError
        If there is no such cluster, its workers have too little memory, or they are lost.
    """
    # A worker started here shares the memory that the ingest may take among its threads.
    threads = min(map(n_threads, plans))
    here = settings.model_copy(update={"threads": min(settings.threads or threads, threads)})
    try:
        with open_client(here, scores=False) as client:
            _check_shards(client, max(map(shard_bytes, plans)))
            yield client.get_executor(retries=RETRIES)
    except (KilledWorker, CancelledError) as error:
        raise ClusterError(
            f"the workers of {settings.kind} were lost ({error}), out of memory perhaps; run it "
            "again: finished shards stay"
        ) from error


def _check_shards(client: Client, n_bytes: int) -> None:
    """Refuse workers whose threads would need more memory for shards than there is."""
    for address, worker in client.scheduler_info(n_workers=-1)["workers"].items():
        need = n_bytes * worker["nthreads"]
        if worker["memory_limit"] and need > worker["memory_limit"]:
            raise ClusterError(
                f"worker {address} has {worker['memory_limit'] / 2**30:.1f} GiB, but its "
                f"{worker['nthreads']} threads need {need / 2**30:.1f} GiB for a shard each; "
                "start it with fewer --nthreads or more --memory-limit"
            )


def run_on_client(
    client: Client,
    context: TileContext,
    tasks: Sequence[TileTask],
    on_receipt: Callable[[TileReceipt], None],
) -> list[TileFailure]:
    """Work on tiles on a cluster.

    Parameters
    ----------
    client
        The cluster.
    context
        What all tiles share.
    tasks
        The tiles.
    on_receipt
        Called with the receipt of each finished tile.

    Returns
    -------
    list of TileFailure
        The tiles that failed even when tried again; the others are finished.
    """
    if not tasks:
        return []
    boxes = {task.name: str(task.core) for task in tasks}
    graph, keys = _graph(context, tasks)
    futures = client.get(graph, keys, sync=False, retries=RETRIES, optimize_graph=False)
    failures = []
    for future in as_completed(futures):
        if future.status == "finished":
            on_receipt(future.result())
        else:
            failures.append(_failure(future, boxes))
            client.log_event(TILE_TOPIC, _event(failures[-1].tile, "failed", asdict(failures[-1])))
        future.release()
    return failures


def _graph(
    context: TileContext, tasks: Iterable[TileTask]
) -> tuple[HighLevelGraph, list[tuple[str, str]]]:
    """Return the graph of all tiles and the keys of their receipts."""
    run = context.provenance.fingerprint[:8]
    cut, finish = f"cut-{run}", f"finish-{run}"
    cuts: dict[Any, Any] = {}
    finishes: dict[Any, Any] = {}
    for task in tasks:
        cuts[cut, task.name] = (_cut, context, task)
        finishes[finish, task.name] = (_finish, context, (cut, task.name))
    layers = {
        cut: MaterializedLayer(cuts),
        finish: MaterializedLayer(finishes, annotations={"resources": {SCORER: 1}}),
    }
    return HighLevelGraph(layers, {cut: set(), finish: {cut}}), list(finishes)


def _failure(future: Future, boxes: dict[str, str]) -> TileFailure:
    """Return why a tile failed for good."""
    tile = future.key[1]
    error = future.exception()
    if isinstance(error, TileError):
        return TileFailure.of(error)
    if isinstance(error, KilledWorker):
        return TileFailure(tile, "worker", boxes[tile], "its workers died, out of memory perhaps")
    return TileFailure(tile, "worker", boxes[tile], f"{type(error).__name__}: {error}")


def _cut(context: TileContext, task: TileTask) -> CutTile:
    """Cut a tile on a worker."""
    with _told(task.name, "cutting", "waiting"):
        return cut_tile(context, task, mosaic_of(task))


def _finish(context: TileContext, cut: CutTile) -> TileReceipt:
    """Score and write a tile on a worker."""
    with _told(cut.task.name, "scoring", None):
        scorer = _scorer(
            context.checkpoint, context.device, context.batch_size, context.checkpoint_digest
        )
        receipt = finish_tile(context, cut, scorer)
    _tell(receipt.tile, "done", asdict(receipt))
    return receipt


@contextmanager
def _told(tile: str, before: str, after: str | None) -> Iterator[None]:
    """Tell the dashboard of a stage's begin and end; failures are told when they are final."""
    _tell(tile, before)
    yield
    if after is not None:
        _tell(tile, after)


def _tell(tile: str, state: str, facts: Mapping[str, Any] = MappingProxyType({})) -> None:
    """Send one event of a tile from a worker to the scheduler."""
    get_worker().log_event(TILE_TOPIC, _event(tile, state, facts))


def _event(tile: str, state: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event of a tile."""
    return {**facts, "tile": tile, "state": state, "time": time.time()}


@sizeof.register(CutTile)
def _cut_tile_bytes(cut: CutTile) -> int:
    """Tell Dask what a cut tile weighs: it would take an unknown class for a few bytes."""
    return int(cut.stamps.flux.nbytes)


_OPENING = threading.Lock()


def _scorer(path: Path, device: str, batch_size: int, digest: str) -> TorchScorer:
    """Return the worker's scorer, loaded once for a digest."""
    with _OPENING:
        return _load_scorer(path, device, batch_size, digest)


@lru_cache(maxsize=1)
def _load_scorer(path: Path, device: str, batch_size: int, digest: str) -> TorchScorer:
    return TorchScorer.load(path, device, batch_size, digest)
