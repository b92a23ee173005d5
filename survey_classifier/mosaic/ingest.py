"""From image files to mosaics: check, compose, write.

Owns the order of the work, and how much of it is done at once. Does not own what is to be done
(``planning``), which image fills which pixel (``compose``) nor the layout on disk (``store``).

Nothing is created or changed before every image that is to be read was opened and found sound.
Then each shard of each band is composed, written once and recorded with what it was made of.
"""

import os
import resource
from collections.abc import Callable, Iterator, Mapping, MutableSet, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import numpy.typing as npt
from astropy.wcs import WCS

from survey_classifier.errors import ConfigError, MosaicError
from survey_classifier.geometry import Box, TileGrid
from survey_classifier.mosaic.compose import Placed, compose
from survey_classifier.mosaic.exposure import Exposure
from survey_classifier.mosaic.inputs import MosaicSettings
from survey_classifier.mosaic.layout import IngestPlan
from survey_classifier.mosaic.place import Place
from survey_classifier.mosaic.planning import plan_or_open
from survey_classifier.mosaic.readers.soundness import has_data, require_checksum
from survey_classifier.mosaic.regrid import RESAMPLING_BYTES
from survey_classifier.mosaic.store import SHARD_PX, Mosaic
from survey_classifier.mosaic.writer import MosaicWriter

__all__ = [
    "carry_out",
    "faults",
    "ingest_mosaics",
    "n_threads",
    "shard_bytes",
]

BYTES_PER_SHARD_PX = 64
"""Memory of a shard for each of its pixels, from reading to writing."""
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
    """
    return carry_out(plan_or_open(settings, folder), progress)


@dataclass(frozen=True)
class _Shard:
    """The work of one shard; a value that travels to where it is done."""

    store: str
    token: str
    """Names this ingest: what a worker keeps open is not used for another."""
    wcs: WCS
    band: str
    box: Box
    images: tuple[Placed, ...]
    inputs: int


def carry_out(
    laid_out: Sequence[IngestPlan | Mosaic],
    progress: Progress | None = None,
    executor: Executor | None = None,
    *,
    checked: bool = False,
) -> list[Mosaic]:
    """Do what `plan_or_open` found to be done.

    A store in a folder is locked meanwhile, so two ingests cannot mix their pixels. One at a URL
    is not: there it is up to the user that no other ingest writes to it.

    Parameters
    ----------
    laid_out
        Ingests, and finished mosaics, which are returned.
    progress
        Told of each finished shard.
    executor
        Where to work, such as a Dask client's; by default threads of this process, as many as
        the memory allows.
    checked
        Whether `faults` found the images sound already.

    Raises
    ------
    MosaicError
        If an image cannot be read, has no data or a wrong checksum, a shard is not written, or
        another process ingests into one of the stores.
    """
    plans = [plan for plan in laid_out if isinstance(plan, IngestPlan)]
    with _claimed(plans), _workers(plans, executor) as pool:
        images = [] if checked else _to_read(plans)
        _finish_all([pool.submit(_require_sound, image) for image in images], None, 0, 0)
        made = _made(plans, pool, progress)
    return [made[item.store] if isinstance(item, IngestPlan) else item for item in laid_out]


@contextmanager
def _claimed(plans: Sequence[IngestPlan]) -> Iterator[None]:
    """Keep other processes from ingesting into the same stores."""
    # Each lock is an open file; a survey has more stores than many systems allow at first.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = len(plans) + OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    with ExitStack() as stack:
        for plan in plans:
            stack.enter_context(Place.of(plan.store).claimed())
        yield


def _made(
    plans: Sequence[IngestPlan], pool: Executor, progress: Progress | None
) -> dict[str, Mosaic]:
    """Write what the stores lack and seal them; return them by place."""
    writers = [MosaicWriter.open_or_create(plan.store, plan.layout) for plan in plans]
    shards = [shard for plan, writer in zip(plans, writers, strict=True)
              for shard in _pending(plan, writer, plan.inputs)]  # fmt: skip
    total = sum(len(writer.bands) * writer.shard_grid.n_rows * writer.shard_grid.n_cols
                for writer in writers)  # fmt: skip
    futures = [pool.submit(_write_shard, shard) for shard in shards]
    _finish_all(futures, progress, total - len(shards), total)
    return {plan.store: writer.finish() for plan, writer in zip(plans, writers, strict=True)}


def _pending(
    plan: IngestPlan, writer: MosaicWriter, planned: Mapping[str, npt.NDArray[np.uint64]]
) -> Iterator[_Shard]:
    """Yield the shards to be made, of all or of some of the plan's inputs."""
    token = uuid4().hex
    images = {band.name: plan.images_of(band.name) for band in plan.bands}
    for band, box in writer.pending(planned):
        reaching = tuple(image for image in images[band] if image.box.intersection(box))
        row, col = box.y0 // SHARD_PX, box.x0 // SHARD_PX
        inputs = int(planned[band][row, col])
        yield _Shard(plan.store, token, plan.grid.wcs, band, box, reaching, inputs)


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
    with ThreadPoolExecutor(max_workers=_n_cpu()) as pool:
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
    pending = _pending(plan, writer, others)
    return of_new + [image.exposure for shard in pending for image in shard.images]


def _require_sound(exposure: Exposure) -> None:
    """Refuse an image that was damaged on its way, or that is empty."""
    for path in exposure.files:
        require_checksum(path)
    if not has_data(exposure):
        raise MosaicError(f"{exposure.path} has no data at all; fetch it again, or leave it out")


def _write_shard(shard: _Shard) -> None:
    """Compose and write one shard."""
    window = compose(shard.images, shard.wcs, shard.box)
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


def n_threads(plan: IngestPlan) -> int:
    """Return how many shards are worked on at once: those that fit the memory, one a core.

    Parameters
    ----------
    plan
        The ingest.

    Raises
    ------
    ConfigError
        If not even one shard fits.
    """
    return min(_n_cpu(), plan.memory_bytes // shard_bytes(plan))


def shard_bytes(plan: IngestPlan) -> int:
    """Return the memory that one shard of an ingest takes.

    Parameters
    ----------
    plan
        The ingest.

    Raises
    ------
    ConfigError
        If that is more than the ingest may take.
    """
    height, width = TileGrid(plan.shape, SHARD_PX).tile(0, 0).core.shape
    n_bytes = height * width * BYTES_PER_SHARD_PX
    if any(image.offset is None for image in plan.images):
        n_bytes += RESAMPLING_BYTES
    if n_bytes > plan.memory_bytes:
        raise ConfigError(
            f"memory_mib = {plan.memory_bytes >> 20} is too little for the ingest of {plan.store}: "
            f"a shard takes {n_bytes / 2**20:.0f}; give more"
        )
    return n_bytes


def _n_cpu() -> int:
    """Return the number of cores that this process may use."""
    # Not everywhere is there a set of them; in a container it is smaller than the machine.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
