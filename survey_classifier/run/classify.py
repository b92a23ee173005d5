"""The main job: from a run file to a published catalog.

Owns the order: check, ingest what is missing, plan, resume, run, publish, report. Does not own
any of those steps.
"""

import json
import os
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
from filelock import FileLock, Timeout
from pydantic import ValidationError

from survey_classifier.catalog.parts import done_parts, part_path, write_part
from survey_classifier.catalog.publish import PublishResult, publish_catalog
from survey_classifier.errors import CatalogError, ConfigError, RunError, RunMismatchError
from survey_classifier.files import remove_leftovers, write_text
from survey_classifier.membership.flags import Status
from survey_classifier.model.scorer import choose_device
from survey_classifier.mosaic.ingest import carry_out, ingest_mosaics, plan_or_open
from survey_classifier.mosaic.store import Mosaic
from survey_classifier.run.config import CLUSTER_WORDS, ClusterSettings, RunConfig, as_run
from survey_classifier.run.listener import Listener
from survey_classifier.run.plan import Inputs, Plan, plan, read_inputs
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

__all__ = ["classify", "ingest", "publish"]


def classify(
    run: str | Path | RunConfig, *, cluster: str | None = None, listener: Listener | None = None
) -> RunReceipt:
    """Classify every source of a run: ingest, plan, run, publish and report.

    A second call goes on where the first one stopped; a finished run is only published again.

    Parameters
    ----------
    run
        A run file, or one that was read already.
    cluster
        Takes the place of ``cluster.kind``: ``serial``, ``local``, ``cuda`` or an address.
    listener
        Told of the progress.

    Returns
    -------
    RunReceipt
        Counts of what became of the sources; `RunReceipt.exit_code` says whether all went well.

    Raises
    ------
    InputError
        Of the kind that fits, before anything is written.
    ClusterError
        If the cluster cannot be used.
    LostSourcesError
        If the catalog would not hold each source once.
    """
    config = as_run(run)
    listener = Listener() if listener is None else listener
    kind = config.cluster.kind if cluster is None else cluster
    inputs = read_inputs(config)
    _check_place(config, kind)
    laid_out = plan(config, inputs, _mosaics(inputs, listener))
    with _claimed(laid_out) as done:
        work = _Work(laid_out, done, listener)
        work.run(kind)
        return _finish(work)


def _check_place(config: RunConfig, kind: str) -> None:
    """Find out before any work whether the run can be done where it is asked to."""
    try:
        settings = ClusterSettings(kind=kind)
    except ValidationError as error:
        raise ConfigError(f"cluster kind {kind!r} is none of {CLUSTER_WORDS}") from error
    _require_writable(config.out_folder)
    if kind in ("serial", "local") and config.model.device.startswith("cuda"):
        try:
            choose_device(config.model.device)
        except RunError as error:
            raise ConfigError(str(error)) from error
    if kind not in ("serial", "local", "cuda"):
        from survey_classifier.run.cluster import open_client

        with open_client(settings):
            pass  # there is a scheduler, and it has a worker that may score


def _require_writable(folder: Path) -> None:
    """Refuse an output folder that cannot be made or written to."""
    place = next(path for path in (folder, *folder.parents) if path.exists())
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        raise ConfigError(f"cannot write to {place}, for out = {folder}; choose another `out`")


@contextmanager
def _claimed(laid_out: Plan) -> Iterator[set[str]]:
    """Keep the output folder for one process at a time; yield the tiles that are finished in it."""
    config = laid_out.config
    lock = FileLock(config.out_folder / ".lock", timeout=0)
    try:
        config.parts_folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise RunMismatchError(
            f"another process works on {config.out_folder}; wait for it, or choose another `out`"
        ) from error
    except OSError as error:
        raise _unwritable(config, error) from error
    try:
        done = laid_out.done(done_parts(config.parts_folder, laid_out.fingerprint))
        _prepare(config)
        yield done
    finally:
        lock.release()


def _prepare(config: RunConfig) -> None:
    """Clean up after a process that was killed, and leave the run file beside the output."""
    try:
        for folder in (config.out_folder, config.parts_folder):
            remove_leftovers(folder)
        if config.file != config.resolved_path:
            write_text(config.resolved_path, config.resolved_toml())
    except OSError as error:
        raise _unwritable(config, error) from error


def _unwritable(config: RunConfig, error: OSError) -> CatalogError:
    """Return what is said of an output folder that cannot be written to."""
    return CatalogError(
        f"cannot write to {config.out_folder}: {error}; free or choose another `out`"
    )


def ingest(run: str | Path | RunConfig, *, listener: Listener | None = None) -> list[Mosaic]:
    """Make the mosaics of a run, or open those that are there; only ``[mosaic]`` is used.

    Parameters
    ----------
    run
        A run file, or one that was read already.
    listener
        Told of the progress.

    Returns
    -------
    list of Mosaic
        Sorted by place.

    Raises
    ------
    MosaicError
        If an image or a store cannot be used.
    """
    config = as_run(run)
    told = Listener() if listener is None else listener
    return ingest_mosaics(
        config.mosaic, config.folder, lambda done, n: told.progress("ingest", done, n)
    )


def _mosaics(inputs: Inputs, listener: Listener) -> list[Mosaic]:
    """Return the run's mosaics, checked to fit before any is ingested."""
    config = inputs.config
    laid_out = plan_or_open(config.mosaic, config.folder)
    for mosaic in laid_out:
        inputs.require(mosaic)
    inputs.n_on(laid_out)
    return carry_out(laid_out, lambda done, n: listener.progress("ingest", done, n))


def publish(run: str | Path | RunConfig) -> RunReceipt:
    """Publish and report what a run has finished so far, without working on any tile.

    Parameters
    ----------
    run
        The run file, or the ``run.toml`` in the run's output folder.

    Raises
    ------
    InputError
        If the run's inputs are not there any more, or its parts belong to another run.
    """
    config = as_run(run)
    laid_out = plan(config)
    with _claimed(laid_out) as done:
        return _finish(_Work(laid_out, done, Listener()))


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

    def run(self, kind: str) -> None:
        """Work on the tiles that have no part yet."""
        tasks = list(self.plan.tasks(self.done))
        self.listener.progress("classify", self.n_resumed, self.n_resumed + len(tasks))
        start = perf_counter()
        if tasks and kind == "serial":
            self.failures = run_serial(self.context, tasks, self._on_receipt(len(tasks)))
        elif tasks:
            self._run_cluster(kind, tasks)
        self.seconds = perf_counter() - start

    def _run_cluster(self, kind: str, tasks: Sequence[TileTask]) -> None:
        # Imported here: a serial run needs no dask.
        from survey_classifier.run import cluster

        settings = self.plan.config.cluster.model_copy(update={"kind": kind})
        with cluster.open_client(settings) as client:
            self.listener.say(f"dashboard: {client.dashboard_link.removesuffix('status')}survey")
            cluster.check_memory(client, self.plan.tile_bytes)
            client.log_event(PLAN_TOPIC, self._announcement())
            on_receipt = self._on_receipt(len(tasks))
            self.failures = cluster.run_on_client(client, self.context, tasks, on_receipt)

    def _on_receipt(self, n_tasks: int) -> Callable[[TileReceipt], None]:
        def keep(receipt: TileReceipt) -> None:
            self.receipts.append(receipt)
            done = self.n_resumed + len(self.receipts)
            self.listener.progress("classify", done, self.n_resumed + n_tasks)

        return keep

    def _announcement(self) -> dict[str, object]:
        """Return what the dashboard needs to know of the plan."""
        corners = np.concatenate([sheet.corners() for sheet in self.plan.sheets])
        return {
            "name": self.plan.config.name,
            "fingerprint": self.plan.fingerprint,
            "n_sources": self.plan.n_sources,
            "histogram_bins": HISTOGRAM_BINS,
            "tiles": [
                {
                    "tile": tile.name,
                    "corners": around,
                    "n_sources": len(tile.rows),
                    "done": tile.name in self.done,
                }
                for tile, around in zip(self.plan.tiles, corners.tolist(), strict=True)
            ],
        }


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
        raise _unwritable(config, error) from error
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
