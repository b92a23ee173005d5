"""The cluster driver: the tile kernel in one Dask graph.

Owns the shape of the graph and the events that tell the dashboard of each tile. Does not own the
kernel (``tile``), the workers (``cluster``) nor the dashboard's page (``monitor``).

A tile is two tasks: ``cut`` (reading and cutting) and ``finish`` (scoring, evidence, writing),
the second bound to the resource SCORER, of which a worker process has one. All tiles go in one
submission: the scheduler then hands out cuts only as fast as they are scored, so that at most
``ceil(1.1 x threads)`` cut tiles wait in a worker's memory. Mosaics and weights are opened by
each worker, once; what travels is each tile's own sources, and its receipt back.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dask.highlevelgraph import HighLevelGraph, MaterializedLayer
from dask.sizeof import sizeof
from distributed import Client, Future, as_completed, get_worker
from distributed.scheduler import KilledWorker

from survey_classifier.errors import TileError
from survey_classifier.model.scorer import TorchScorer
from survey_classifier.run.cluster import RETRIES
from survey_classifier.run.opened import mosaic_of
from survey_classifier.run.survey_messages import SCORER, TILE_TOPIC
from survey_classifier.run.task import TileContext, TileFailure, TileReceipt, TileTask
from survey_classifier.run.tile import CutTile, cut_tile, finish_tile

__all__ = ["run_on_client"]


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
