"""The tiles of a planned run: worked on, published and reported.

Owns what is done once a run is planned, and the workers that stay for the next plan. Does not own
the plan (``plan``), the kernel (``tile``) nor the order in which a run comes to this (``classify``,
``watch``).
"""

import json
from collections.abc import Callable, Container, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, Self

import numpy as np

from survey_classifier.catalog.parts import done_parts, part_path, write_part
from survey_classifier.catalog.publish import PublishResult, publish_catalog
from survey_classifier.errors import once_written
from survey_classifier.files import write_text
from survey_classifier.membership.flags import Status
from survey_classifier.run.claim import begin, unwritable
from survey_classifier.run.config import ClusterSettings
from survey_classifier.run.listener import Listener
from survey_classifier.run.plan import Plan
from survey_classifier.run.receipt import RunReceipt
from survey_classifier.run.report import report
from survey_classifier.run.rows import failed_rows
from survey_classifier.run.serial import run_serial
from survey_classifier.run.survey_messages import PLAN_TOPIC
from survey_classifier.run.task import (
    HISTOGRAM_BINS,
    TileContext,
    TileFailure,
    TileReceipt,
    TileTask,
)

__all__ = ["Workers", "announcement", "publish_only", "work_off"]


def work_off(laid_out: Plan, workers: "Workers", listener: Listener) -> RunReceipt:
    """Work on the tiles that are not finished, then publish and report.

    Parameters
    ----------
    laid_out
        The run, whose folder is claimed.
    workers
        Who works on the tiles.
    listener
        Told of the progress.

    Raises
    ------
    RunMismatchError
        If the folder holds parts of another run.
    ClusterError
        If the cluster cannot be used.
    LostSourcesError
        If the catalog would not hold each source once.
    """
    work = _Work(laid_out, begin(laid_out), listener)
    with once_written(lambda: bool(work.receipts)):
        work.run(workers)
        return _finish(work)


def publish_only(laid_out: Plan) -> RunReceipt:
    """Publish and report what is finished.

    Parameters
    ----------
    laid_out
        The run, whose folder is claimed.

    Raises
    ------
    RunMismatchError
        If the folder holds parts of another run.
    """
    return _finish(_Work(laid_out, begin(laid_out), Listener()))


class Workers:
    """Who works on tiles: this process, or a cluster, which is started when there is work.

    A context manager; it keeps the cluster until it ends.

    Parameters
    ----------
    settings
        Where to work.
    listener
        Told where the dashboard is.
    """

    def __init__(self, settings: ClusterSettings, listener: Listener) -> None:
        self._settings, self._listener = settings, listener
        self._stack = ExitStack()
        self._client: Any = None  # Dask's; a serial run needs no dask

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def run(
        self, laid_out: Plan, context: TileContext, tasks: Sequence[TileTask], done: Container[str],
        on_receipt: Callable[[TileReceipt], None],
    ) -> list[TileFailure]:  # fmt: skip
        """Work on tiles; return those that failed.

        Parameters
        ----------
        laid_out
            The run.
        context
            What its tiles share.
        tasks
            At least one tile.
        done
            Names of the tiles that are finished, for the dashboard.
        on_receipt
            Called with the receipt of each finished tile.

        Raises
        ------
        ClusterError
            If the cluster cannot be used.
        """
        if self._settings.kind == "serial":
            return run_serial(context, tasks, on_receipt)
        from survey_classifier.run import cluster, graph

        if self._client is None:
            self._client = self._stack.enter_context(cluster.open_client(self._settings))
            page = self._client.dashboard_link.removesuffix("status")
            self._listener.say(f"dashboard: {page}survey")
        cluster.check_memory(self._client, laid_out.tile_bytes)
        self._client.log_event(PLAN_TOPIC, announcement(laid_out, done))
        return graph.run_on_client(self._client, context, tasks, on_receipt)


def announcement(laid_out: Plan, done: Container[str]) -> dict[str, object]:
    """Return what the dashboard needs to know of a plan.

    Parameters
    ----------
    laid_out
        The run.
    done
        Names of the tiles that are finished.
    """
    corners = np.concatenate([sheet.corners() for sheet in laid_out.sheets])
    return {
        "name": laid_out.config.name,
        "fingerprint": laid_out.fingerprint,
        "n_sources": laid_out.n_sources,
        "histogram_bins": HISTOGRAM_BINS,
        "tiles": [
            {
                "tile": tile.name,
                "corners": around,
                "n_sources": len(tile.rows),
                "done": tile.name in done,
            }
            for tile, around in zip(laid_out.tiles, corners.tolist(), strict=True)
        ],
    }


class _Work:
    """The tiles of a run while they are worked on, and what came of them."""

    def __init__(self, laid_out: Plan, done: set[str], listener: Listener) -> None:
        created = datetime.now(UTC).isoformat(timespec="seconds")
        self.plan, self.context, self.listener = laid_out, laid_out.context(created), listener
        self.n_resumed = len(done)
        self.done = done
        self.receipts: list[TileReceipt] = []
        self.failures: list[TileFailure] = []
        self.seconds = 0.0

    def run(self, workers: Workers) -> None:
        """Work on the tiles that have no part yet."""
        tasks = list(self.plan.tasks(self.done))
        self.listener.progress("classify", self.n_resumed, self.n_resumed + len(tasks))
        start = perf_counter()
        if tasks:
            keep = self._on_receipt(len(tasks))
            self.failures = workers.run(self.plan, self.context, tasks, self.done, keep)
        self.seconds = perf_counter() - start

    def _on_receipt(self, n_tasks: int) -> Callable[[TileReceipt], None]:
        def keep(receipt: TileReceipt) -> None:
            self.receipts.append(receipt)
            done = self.n_resumed + len(self.receipts)
            self.listener.progress("classify", done, self.n_resumed + n_tasks)

        return keep


def _finish(work: _Work) -> RunReceipt:
    """Publish, report and write the receipt."""
    config = work.plan.config
    # Asked again: a worker may be lost just after it wrote a part, and that tile is finished.
    done = work.plan.done(done_parts(config.parts_folder, work.plan.fingerprint))
    result = _publish(work.plan, work.context, done)
    by_reason = {k: n for k, n in result.n_by_status.items() if k != Status.CLASSIFIED.value}
    receipt = RunReceipt(
        name=config.name,
        fingerprint=work.plan.fingerprint,
        catalog=str(config.catalog_path),
        n_in=work.plan.n_sources,
        n_classified=result.n_by_status.get(Status.CLASSIFIED.value, 0),
        n_by_reason=by_reason,
        n_tiles=len(work.plan.tiles),
        n_tiles_resumed=work.n_resumed,
        failures=tuple(failure for failure in work.failures if failure.tile not in done),
        n_stamps=sum(receipt.n_stamps for receipt in work.receipts),
        tiles_seconds=work.seconds,
        cut_seconds=sum(receipt.cut_seconds for receipt in work.receipts),
        score_seconds=sum(receipt.score_seconds for receipt in work.receipts),
    )
    try:
        write_text(config.receipt_path, json.dumps(asdict(receipt), indent=1))
    except OSError as error:
        raise unwritable(config, error) from error
    report(config.catalog_path, config, receipt)
    return receipt


def _publish(laid_out: Plan, context: TileContext, done: Container[str]) -> PublishResult:
    """Join the parts of a run to its catalog; tiles that are not done get rows that say so.

    Other parts are left out: those of tiles whose pixels or sources changed since, and of tiles
    that the run has no more.

    Parameters
    ----------
    laid_out
        The run.
    context
        What its tiles share.
    done
        Names of the tiles that are finished.

    Raises
    ------
    LostSourcesError
        If the catalog would not hold each source once.
    """
    config = laid_out.config
    # Not among the parts: the next call must work on these tiles again.
    with TemporaryDirectory(dir=config.out_folder, prefix=".failed-", suffix=".tmp") as stand_ins:
        parts = []
        for tile in laid_out.tiles:
            path = part_path(config.parts_folder, tile.name)
            if tile.name not in done:
                path = part_path(Path(stand_ins), tile.name)
                rows = failed_rows(context, laid_out.task(tile))
                write_part(path, rows, context.schema, context.provenance)
            parts.append(path)
        ids = laid_out.inputs.sources.source_id
        origin = replace(context.provenance, mosaics=laid_out.mosaics)
        return publish_catalog(parts, config.catalog_path, context.schema, origin, ids)
