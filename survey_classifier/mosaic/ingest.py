"""From image files to mosaics: check, compose, write, resume.

Owns the order of the work. Does not own which files there are (``inputs``), the plan
(``layout``), which image fills which pixel (``compose``) nor the layout on disk (``store``).

Nothing is created before every input was opened and found usable. Then each shard of each band
is composed, written once and recorded with what it was made of. A second call makes only the
shards that are missing, or of which the files are others than before: so a killed ingest is
resumed, and a band or an image that came later is added.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from uuid import uuid4

from astropy.wcs import WCS

from survey_classifier.errors import ConfigError, MosaicError
from survey_classifier.geometry import Box, TileGrid
from survey_classifier.mosaic.compose import Placed, compose
from survey_classifier.mosaic.exposure import Exposure
from survey_classifier.mosaic.inputs import (
    MosaicSettings,
    StoreInputs,
    grouped_inputs,
    mosaic_stores,
    require_files,
)
from survey_classifier.mosaic.layout import IngestPlan, lay_out
from survey_classifier.mosaic.place import Place
from survey_classifier.mosaic.readers.soundness import has_data, require_checksum
from survey_classifier.mosaic.regrid import RESAMPLING_BYTES
from survey_classifier.mosaic.store import SHARD_PX, Mosaic
from survey_classifier.mosaic.writer import MosaicWriter, is_finished

__all__ = ["carry_out", "ingest_mosaics", "plan_ingests", "plan_or_open"]

BYTES_PER_SHARD_PX = 64
"""Memory of a shard for each of its pixels, from reading to writing."""

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


def plan_ingests(settings: MosaicSettings, folder: Path) -> list[IngestPlan]:
    """Open every input and lay out the mosaics.

    Parameters
    ----------
    settings
        The ``[mosaic]`` table.
    folder
        What its paths are relative to.

    Raises
    ------
    MosaicError
        If there are no inputs, or one cannot be used.
    """
    if not settings.inputs:
        raise MosaicError(f"no store at {settings.store} and no [[mosaic.inputs]] to make it of")
    groups = grouped_inputs(settings, folder)
    require_files(groups, settings, folder)
    return [_checked(lay_out(settings, group)) for group in groups]


def plan_or_open(settings: MosaicSettings, folder: Path) -> list[IngestPlan | Mosaic]:
    """Return the mosaics that are finished, and of the others what their ingest will do.

    A finished store does not need its images: if none of them is there any more, it is opened.

    Parameters
    ----------
    settings
        The ``[mosaic]`` table of a run file.
    folder
        What its paths are relative to.

    Raises
    ------
    MosaicError
        If an input cannot be used, or a finished store was made of files that are gone.
    """
    stores = mosaic_stores(settings, folder)
    groups = {group.store: group for group in _groups(settings, folder)}
    if settings.inputs and not _all_finished(stores):
        require_files(list(groups.values()), settings, folder)
    found: list[IngestPlan | Mosaic] = []
    for store in sorted({*stores, *groups}):
        group = groups.get(store)
        if group is None or not group.files:
            found.append(_opened(store, settings, folder))
            continue
        plan = _checked(lay_out(settings, group))
        found.append(Mosaic.open(store) if _is_up_to_date(plan) else plan)
    return found


def _groups(settings: MosaicSettings, folder: Path) -> list[StoreInputs]:
    return grouped_inputs(settings, folder) if settings.inputs else []


def _all_finished(stores: Sequence[str]) -> bool:
    return all(Place.of(store).exists() and is_finished(store) for store in stores)


def _opened(store: str, settings: MosaicSettings, folder: Path) -> Mosaic:
    """Open a store that has no files any more."""
    if not Place.of(store).exists() and settings.inputs:
        plan_ingests(settings, folder)  # says which input has no file
    return Mosaic.open(store)


def _is_up_to_date(plan: IngestPlan) -> bool:
    """Return whether the store is sealed and every shard is made of what it is planned to be."""
    if not Place.of(plan.store).exists():
        return False
    writer = MosaicWriter.open(plan.store)
    return writer.is_sealed_as(plan.layout) and next(writer.pending(plan.inputs), None) is None


def _checked(plan: IngestPlan) -> IngestPlan:
    """Refuse an ingest whose store was made of images that are gone: they would be erased."""
    if not Place.of(plan.store).exists():
        return plan
    made_of = MosaicWriter.files_of(plan.store)
    for band in plan.bands:
        gone = set(made_of.get(band.name, ())) - set(band.source_files) - set(plan.superseded)
        if gone:
            raise MosaicError(
                f"band {band.name} of {plan.store} was made of {min(gone)} too, which is not "
                "among the inputs any more; bring it back, or remove the store"
            )
    return plan


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
) -> list[Mosaic]:
    """Do what `plan_or_open` found to be done.

    Parameters
    ----------
    laid_out
        Ingests, and finished mosaics, which are returned.
    progress
        Told of each finished shard.
    executor
        Where to work, such as a Dask client's; by default threads of this process, as many as
        the memory allows.

    Raises
    ------
    MosaicError
        If an image cannot be read, has no data or a wrong checksum, or a shard is not written.
    """
    plans = [plan for plan in laid_out if isinstance(plan, IngestPlan)]
    writers = [MosaicWriter.open_or_create(plan.store, plan.layout) for plan in plans]
    shards = [shard for plan, writer in zip(plans, writers, strict=True)
              for shard in _pending(plan, writer)]  # fmt: skip
    total = sum(len(writer.bands) * writer.shard_grid.n_rows * writer.shard_grid.n_cols
                for writer in writers)  # fmt: skip
    with _workers(plans, executor) as pool:
        _finish_all([pool.submit(_require_sound, image) for image in _used(shards)], None, 0, 0)
        futures = [pool.submit(_write_shard, shard) for shard in shards]
        _finish_all(futures, progress, total - len(shards), total)
    made = {plan.store: writer.finish() for plan, writer in zip(plans, writers, strict=True)}
    return [made[item.store] if isinstance(item, IngestPlan) else item for item in laid_out]


def _pending(plan: IngestPlan, writer: MosaicWriter) -> Iterator[_Shard]:
    """Yield the shards to be made."""
    token = uuid4().hex
    images = {band.name: plan.images_of(band.name) for band in plan.bands}
    for band, box in writer.pending(plan.inputs):
        reaching = tuple(image for image in images[band] if image.box.intersection(box))
        row, col = box.y0 // SHARD_PX, box.x0 // SHARD_PX
        inputs = int(plan.inputs[band][row, col])
        yield _Shard(plan.store, token, plan.grid.wcs, band, box, reaching, inputs)


def _used(shards: Sequence[_Shard]) -> list[Exposure]:
    """Return the images that shards are made of, each once."""
    images = {image.exposure.identity: image.exposure for shard in shards for image in shard.images}
    return list(images.values())


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
    futures: Sequence["Future[None]"], progress: Progress | None, done: int, total: int
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
    height, width = TileGrid(plan.shape, SHARD_PX).tile(0, 0).core.shape
    shard_bytes = height * width * BYTES_PER_SHARD_PX
    if any(image.offset is None for image in plan.images):
        shard_bytes += RESAMPLING_BYTES
    if shard_bytes > plan.memory_bytes:
        raise ConfigError(
            f"memory_mib = {plan.memory_bytes >> 20} is too little for the ingest of {plan.store}: "
            f"a shard takes {shard_bytes / 2**20:.0f}; give more"
        )
    return min(_n_cpu(), plan.memory_bytes // shard_bytes)


def _n_cpu() -> int:
    """Return the number of cores that this process may use."""
    # Not everywhere is there a set of them; in a container it is smaller than the machine.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
