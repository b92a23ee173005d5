"""From image files to mosaics: check, compose, write.

Owns the order of the work. Does not own what is to be done (``planning``, ``backlog``), how much of
it at once (``capacity``), which image fills which pixel (``compose``) nor the layout on disk
(``schema``).

Nothing is created or changed before every image that is to be read was opened and found sound.
Then each shard of each band is composed, written once and recorded with what it was made of.
"""

from collections.abc import Callable, Iterator, MutableSet, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from survey_classifier.errors import MosaicError, once_written
from survey_classifier.mosaic.backlog import Backlog, Ingested, Shard, pending
from survey_classifier.mosaic.capacity import allow_files, n_cpu, n_threads
from survey_classifier.mosaic.compose import compose
from survey_classifier.mosaic.exposure import Exposure
from survey_classifier.mosaic.layout import IngestPlan
from survey_classifier.mosaic.mosaic_settings import MosaicSettings
from survey_classifier.mosaic.place import Place
from survey_classifier.mosaic.planning import plan_or_open
from survey_classifier.mosaic.readers.soundness import has_data, require_checksum
from survey_classifier.mosaic.store import Mosaic
from survey_classifier.mosaic.writer import MosaicWriter

__all__ = ["carry_out", "faults", "ingest_mosaics"]

OTHER_FILES = 512
"""Files that may be open besides the locks of the stores."""

Progress = Callable[[int, int], None]
"""Called with the number of finished shards and of all."""


def ingest_mosaics(
    settings: MosaicSettings, folder: Path, progress: Progress | None = None
) -> list[Mosaic]:
    """Make mosaics of image files, or open those that are there.

    Parameters
    ----------
    settings
        The ``[mosaic]`` table of a run file.
    folder
        What its paths are relative to.
    progress
        Told of each finished shard.

    Returns
    -------
    list of Mosaic
        The finished mosaics, sorted by place. A second call with the same files does no work.

    Raises
    ------
    MosaicError
        If an input cannot be used or a store holds something else.
    StoreError
        If a store cannot be written on.
    """
    return [item.mosaic for item in carry_out(plan_or_open(settings, folder), progress)]


def carry_out(
    laid_out: Sequence[IngestPlan | Mosaic],
    progress: Progress | None = None,
    executor: Executor | None = None,
    *,
    checked: bool = False,
) -> list[Ingested]:
    """Do what `plan_or_open` found to be done.

    A store in a folder is locked meanwhile, so two ingests cannot mix their pixels. One at a URL
    is not: there it is up to the user that no other ingest writes to it.

    Parameters
    ----------
    laid_out
        Ingests, and finished mosaics, for which nothing is done.
    progress
        Told of each finished shard.
    executor
        Where to work, such as a Dask client's; by default threads of this process, as many as
        the memory allows.
    checked
        Whether `faults` found the images sound already.

    Returns
    -------
    list of Ingested
        In the same order.

    Raises
    ------
    MosaicError
        If an image cannot be read, has no data or a wrong checksum, or another process ingests
        into one of the stores.
    StoreError
        If a store cannot be written on.
    """
    plans = [plan for plan in laid_out if isinstance(plan, IngestPlan)]
    with _claimed(plans), _workers(plans, executor) as pool:
        images = [] if checked else _to_read(plans)
        _finish_all([pool.submit(_require_sound, image) for image in images], None, 0, 0)
        made = _made(plans, pool, progress)
    return [made[item.store] if isinstance(item, IngestPlan) else _found(item) for item in laid_out]


def _found(mosaic: Mosaic) -> Ingested:
    return Ingested(mosaic, sum(mosaic.shard_digests(band.name).size for band in mosaic.bands))


@contextmanager
def _claimed(plans: Sequence[IngestPlan]) -> Iterator[None]:
    """Keep other processes from ingesting into the same stores."""
    # Each lock is an open file; a survey has more stores than many systems allow at first.
    allow_files(len(plans) + OTHER_FILES)
    with ExitStack() as stack:
        for plan in plans:
            stack.enter_context(Place.of(plan.store).claimed())
        yield


def _made(
    plans: Sequence[IngestPlan], pool: Executor, progress: Progress | None
) -> dict[str, Ingested]:
    """Write what the stores lack and seal them; return them by place."""
    works: list[Backlog] = []
    with once_written(lambda: bool(works)):
        works.extend(Backlog.begun(plan) for plan in plans)
        shards = [shard for work in works for shard in work.shards]
        total = sum(work.n_shards for work in works)
        futures = [pool.submit(_write_shard, shard) for shard in shards]
        _finish_all(futures, progress, total - len(shards), total)
        return {work.plan.store: work.finished() for work in works}


def faults(plans: Sequence[IngestPlan], sound: MutableSet[str]) -> dict[Path, str]:
    """Return what is wrong with images that some ingests would read.

    Parameters
    ----------
    plans
        The ingests.
    sound
        Identities of images that were found sound before, to which others are added.

    Returns
    -------
    dict of Path to str
        Of each image that is damaged or empty, why it cannot be used.
    """
    images = {image.identity: image for image in _to_read(plans) if image.identity not in sound}
    with ThreadPoolExecutor(max_workers=n_cpu()) as pool:
        checks = [(image.path, pool.submit(_fault, image)) for image in images.values()]
        _finish_all([check for _, check in checks], None, 0, 0)
    found = {path: fault for path, check in checks if (fault := check.result()) is not None}
    sound |= {name for name, image in images.items() if image.path not in found}
    return found


def _fault(exposure: Exposure) -> str | None:
    """Return why an image cannot be used."""
    try:
        _require_sound(exposure)
    except MosaicError as error:
        return str(error)
    return None


def _to_read(plans: Sequence[IngestPlan]) -> list[Exposure]:
    """Return the images of the shards to be made, each once; nothing is changed by that."""
    return list({image.identity: image for plan in plans for image in _used(plan)}.values())


def _used(plan: IngestPlan) -> list[Exposure]:
    """Return the images of the shards that one ingest is to make."""
    if not Place.of(plan.store).exists():
        return [image.exposure for image in plan.images]
    writer = MosaicWriter.open(plan.store)
    new = writer.new_bands(plan.layout)
    of_new = [image.exposure for image in plan.images if image.exposure.band.name in new]
    others = {band: inputs for band, inputs in plan.inputs.items() if band not in new}
    missing = pending(plan, writer, others)
    return of_new + [image.exposure for shard in missing for image in shard.images]


def _require_sound(exposure: Exposure) -> None:
    """Refuse an image that was damaged on its way, or that is empty."""
    for path in exposure.files:
        require_checksum(path)
    if not has_data(exposure):
        raise MosaicError(f"{exposure.path} has no data at all; fetch it again, or leave it out")


def _write_shard(shard: Shard) -> None:
    """Compose and write one shard; where there is no image it costs next to nothing."""
    window = compose(shard.images, shard.wcs, shard.box) if shard.images else None
    _writer(shard.store, shard.token).write(shard.band, shard.box, window, shard.inputs)


@lru_cache(maxsize=8)
def _writer(store: str, token: str) -> MosaicWriter:  # noqa: ARG001 - the token is part of the key
    return MosaicWriter.open(store)


def _finish_all(
    futures: Sequence["Future[Any]"], progress: Progress | None, done: int, total: int
) -> None:
    """Wait for work, and drop what has not begun when one of them fails."""
    try:
        for future in as_completed(futures):
            future.result()
            done += 1
            if progress is not None:
                progress(done, total)
    except BaseException:
        # After a failure the shards that have not begun would only delay its report.
        for future in futures:
            future.cancel()
        raise


@contextmanager
def _workers(plans: Sequence[IngestPlan], executor: Executor | None) -> Iterator[Executor]:
    """Yield where to work."""
    if executor is not None:
        yield executor
        return
    with ThreadPoolExecutor(max_workers=min(map(n_threads, plans), default=1)) as pool:
        yield pool
