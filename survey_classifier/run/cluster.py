"""The cluster that a run works on: where its workers come from.

Owns starting and joining one, for tiles and for an ingest, and whether its memory suffices. Does
not own what it works on (``graph``) nor the dashboard's page (``monitor``).
"""

import logging
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import dask
from distributed import Client, LocalCluster, as_completed
from distributed.cfexecutor import ClientExecutor
from distributed.scheduler import KilledWorker

from survey_classifier.errors import ClusterError
from survey_classifier.mosaic.capacity import n_threads, shard_bytes
from survey_classifier.mosaic.layout import IngestPlan
from survey_classifier.run.config import ClusterSettings
from survey_classifier.run.survey_messages import SCORER
from survey_classifier.words import counted

__all__ = ["RETRIES", "Workers", "check_memory", "ingest_executor", "open_client", "open_workers"]

MONITOR = "survey_classifier.run.monitor"
OPENMP = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
RETRIES = 1
"""How often what failed is tried again."""
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
            f"{counted(len(workers), 'worker')} at {address}, none with the resource {SCORER}; "
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
        # Each thread may cut a tile while another waits to be scored (``graph``).
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


class Workers:
    """Where calls that take minutes are made, one at a time in each process.

    Parameters
    ----------
    client
        A cluster; None for this very process.
    n
        How many calls are made at once.
    """

    def __init__(self, client: Client | None, n: int) -> None:
        self.n = n
        self._client = client
        self._done = as_completed() if client is not None else None
        self._keys: dict[str, int] = {}
        self._waiting: list[tuple[int, Callable[[], Any]]] = []

    def submit(self, number: int, function: Callable[[Any], Any], argument: object) -> None:
        """Have a call made; its number tells it from others."""
        if self._client is None or self._done is None:
            self._waiting.append((number, partial(function, argument)))
            return
        future = self._client.submit(function, argument, pure=False, retries=RETRIES)
        self._keys[future.key] = number
        self._done.add(future)

    def next_done(self) -> tuple[int, Any]:
        """Wait for any of the calls and return its number and result.

        Raises
        ------
        ClusterError
            If the worker was lost.
        """
        if self._done is None:
            number, call = self._waiting.pop(0)
            return number, call()
        future = next(self._done)
        try:
            return self._keys.pop(future.key), future.result()
        except (KilledWorker, CancelledError) as error:
            raise ClusterError(
                f"a worker was lost ({error}), out of memory perhaps; run it again with fewer"
                " workers: what is finished stays"
            ) from error


@contextmanager
def open_workers(kind: str, n_workers: int) -> Iterator[Workers]:
    """Start worker processes of a thread each, or join a scheduler, and leave it at the end.

    Parameters
    ----------
    kind
        ``serial``, ``local`` or a scheduler's address.
    n_workers
        Processes of a local cluster.

    Raises
    ------
    ClusterError
        If there is no such cluster.
    """
    if kind == "serial":
        yield Workers(None, 1)
    elif kind == "local":
        with _quiet_start():
            cluster = LocalCluster(
                n_workers=n_workers,
                threads_per_worker=1,
                host="127.0.0.1",
                # Nobody is told of it; without an address it would take that of a run's.
                dashboard_address="127.0.0.1:0",
                silence_logs=logging.CRITICAL,
            )
        with cluster, Client(cluster) as client:
            yield Workers(client, n_workers)
    else:
        with _connect(kind, scores=False) as client:
            yield Workers(client, max(1, len(client.scheduler_info(n_workers=-1)["workers"])))
