"""From image files to a mosaic: plan, copy or resample, resume.

Owns the plan and the order of the work. Does not own file formats (``readers``), which file fills
which pixel (``compose``), resampling (``regrid``) nor the layout on disk (``store``).

Nothing is created before every input was opened and found usable. Then each shard of each band
is composed, written once and marked; a second call goes on with the shards that are missing.
"""

import glob
import hashlib
import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from survey_classifier.errors import MosaicError
from survey_classifier.geometry import Box
from survey_classifier.mosaic.compose import Placed, compose
from survey_classifier.mosaic.exposure import Exposure, MosaicInput
from survey_classifier.mosaic.pixels import BandInfo
from survey_classifier.mosaic.pyramid import N_LEVELS
from survey_classifier.mosaic.readers import READERS
from survey_classifier.mosaic.regrid import (
    RESAMPLING_BYTES,
    PixelGrid,
    grid_offset,
    mosaic_grid,
)
from survey_classifier.mosaic.sky import SkyGrid, pixel_scale_arcsec
from survey_classifier.mosaic.store import Mosaic
from survey_classifier.mosaic.writer import MosaicWriter, is_finished, require_inputs
from survey_classifier.settings import Settings, expand_path

__all__ = [
    "IngestPlan",
    "MosaicSettings",
    "carry_out",
    "ingest_mosaic",
    "plan_ingest",
    "plan_or_open",
]

MEMORY_BYTES = 2**30
"""Memory that an ingest may take for pixels."""
MAX_EMPTINESS = 20
"""Area of a mosaic over that of its images, beyond which they are not one field."""
BYTES_PER_SHARD_PX = 40
"""Memory of a shard for each of its pixels, from reading to writing."""

Progress = Callable[[int, int], None]
"""Called with the number of finished shards and of all."""


class MosaicSettings(Settings):
    """The ``[mosaic]`` table of a run file."""

    store: str
    """Folder of the Zarr store; it is made from ``inputs`` if it is not there."""
    scale_arcsec: Literal["native"] | float = "native"
    """``native``: the grid of the first input. A number: every band is resampled to it."""
    inputs: tuple[MosaicInput, ...] = Field(default=())
    """Image files; none are needed when the store is there."""

    @field_validator("store")
    @classmethod
    def _local(cls, store: str) -> str:
        if "://" in store:
            raise ValueError(f"stores are local folders in this version, got {store!r}")
        return store

    @field_validator("scale_arcsec")
    @classmethod
    def _positive(cls, scale: str | float) -> str | float:
        if not isinstance(scale, str) and not (math.isfinite(scale) and scale > 0):
            raise ValueError(f"a positive number of arcsec, or 'native', got {scale}")
        return scale


@dataclass(frozen=True, slots=True)
class IngestPlan:
    """What an ingest will do, before it does anything."""

    store: Path
    grid: PixelGrid
    bands: tuple[BandInfo, ...]
    exposures: tuple[Placed, ...]

    n_levels: int = N_LEVELS

    @property
    def name(self) -> str:
        """Name of the mosaic."""
        return self.store.name.removesuffix(".zarr")

    @property
    def sky(self) -> SkyGrid:
        """The grid on the sky."""
        return SkyGrid(self.grid.wcs)

    @property
    def shape(self) -> tuple[int, int]:
        """``(ny, nx)`` in pixels."""
        return self.grid.shape

    @property
    def scale_arcsec(self) -> float:
        """Pixel scale of level 0."""
        return pixel_scale_arcsec(self.grid.wcs)

    @property
    def digest(self) -> str:
        """SHA-256 over all that the pixels depend on."""
        state = hashlib.sha256(self.grid.wcs.to_header_string(relax=True).encode())
        state.update(repr((self.grid.shape, self.bands)).encode())
        for exposure, offset in self.exposures:
            state.update(f"{exposure.identity}{offset}".encode())
        return state.hexdigest()


def plan_ingest(settings: MosaicSettings, folder: Path) -> IngestPlan:
    """Open every input and lay out the mosaic.

    Parameters
    ----------
    settings
        The ``[mosaic]`` table.
    folder
        What its paths are relative to.

    Raises
    ------
    MosaicError
        If there are no inputs, one cannot be used, or two of a band differ in unit.
    """
    if not settings.inputs:
        raise MosaicError(f"no store at {settings.store} and no [[mosaic.inputs]] to make it of")
    exposures = [
        READERS[entry.reader](entry, path)
        for entry in settings.inputs
        for path in _files(entry, folder)
    ]
    scale = None if settings.scale_arcsec == "native" else settings.scale_arcsec
    grid = mosaic_grid(exposures, scale)
    _require_together(exposures, grid)
    placed = tuple((exposure, grid_offset(exposure, grid.wcs)) for exposure in exposures)
    return IngestPlan(expand_path(settings.store, folder), grid, _bands(exposures), placed)


def _require_together(exposures: Sequence[Exposure], grid: PixelGrid) -> None:
    """Refuse images that lie far apart: the mosaic between them would be empty and monstrous."""
    scale = pixel_scale_arcsec(grid.wcs)
    filled = sum(
        exposure.shape[0] * exposure.shape[1] * (pixel_scale_arcsec(exposure.wcs) / scale) ** 2
        for exposure in exposures
    )
    ny, nx = grid.shape
    if ny * nx > MAX_EMPTINESS * filled:
        names = sorted({file for exposure in exposures for file in exposure.band.source_files})
        raise MosaicError(
            f"the mosaic of {', '.join(names[:4])}{', ...' if len(names) > 4 else ''} would have "
            f"{nx} x {ny} px, {ny * nx / filled:.0f} times the area of its images; "
            "make a mosaic of each group of images that lie together"
        )


def _files(entry: MosaicInput, folder: Path) -> list[Path]:
    """Return the files of an input, in the order of their names."""
    files = _matches(entry, folder)
    if not files:
        raise MosaicError(
            f"no such file: {expand_path(entry.path, folder)} (band {entry.band}); "
            "mend the path, or fetch the file"
        )
    return files


def _matches(entry: MosaicInput, folder: Path) -> list[Path]:
    """Return the files that an input names or that its pattern fits; there may be none."""
    path = expand_path(entry.path, folder)
    found = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207 - absolute pattern
    return [Path(file) for file in found] or ([path] if path.exists() else [])


def _bands(exposures: Sequence[Exposure]) -> tuple[BandInfo, ...]:
    """Return one description a band, in the order in which bands first appear."""
    names = list(dict.fromkeys(exposure.band.name for exposure in exposures))
    bands = []
    for name in names:
        of_band = [exposure.band for exposure in exposures if exposure.band.name == name]
        units = sorted({band.unit for band in of_band})
        if len(units) > 1:
            raise MosaicError(
                f"the files of band {name!r} have units {' and '.join(units)}; give all one unit"
            )
        seeing = [band.psf_fwhm_arcsec for band in of_band if band.psf_fwhm_arcsec is not None]
        zero_points = {band.zero_point for band in of_band}
        files = tuple(file for band in of_band for file in band.source_files)
        bands.append(
            BandInfo(
                name,
                of_band[0].unit,
                of_band[0].zero_point if len(zero_points) == 1 else None,
                max(seeing, default=None),
                files,
            )
        )
    return tuple(bands)


def ingest_mosaic(
    settings: MosaicSettings, folder: Path, progress: Progress | None = None
) -> Mosaic:
    """Make a mosaic of image files, or open the one that is there.

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
    Mosaic
        The finished mosaic. A second call with the same inputs does no work.

    Raises
    ------
    MosaicError
        If an input cannot be used or the store holds something else.
    """
    return carry_out(plan_or_open(settings, folder), progress)


def carry_out(laid_out: IngestPlan | Mosaic, progress: Progress | None = None) -> Mosaic:
    """Do what `plan_or_open` found to be done.

    Parameters
    ----------
    laid_out
        An ingest, or a finished mosaic, which is returned.
    progress
        Told of each finished shard.

    Raises
    ------
    MosaicError
        If an image cannot be read or a shard not written.
    """
    if isinstance(laid_out, Mosaic):
        return laid_out
    writer = MosaicWriter.open_or_create(
        laid_out.store,
        laid_out.name,
        laid_out.bands,
        laid_out.grid.shape,
        laid_out.grid.wcs,
        laid_out.digest,
    )
    _write_pending(laid_out, writer, progress)
    return writer.finish()


def plan_or_open(settings: MosaicSettings, folder: Path) -> IngestPlan | Mosaic:
    """Return the finished mosaic if it is there, and otherwise what its ingest will do.

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
        If an input cannot be used, or the finished store was made of others.
    """
    store = expand_path(settings.store, folder)
    if not store.exists():
        return plan_ingest(settings, folder)
    has_files = any(_matches(entry, folder) for entry in settings.inputs)
    if not settings.inputs or (is_finished(store) and not has_files):
        return Mosaic.open(store)
    laid_out = plan_ingest(settings, folder)
    require_inputs(store, laid_out.digest)
    return Mosaic.open(store) if is_finished(store) else laid_out


def _write_pending(plan: IngestPlan, writer: MosaicWriter, progress: Progress | None) -> None:
    """Compose and write each missing shard, a few at a time."""

    def one(band: str, box: Box) -> None:
        flux, mask = compose(plan.exposures, plan.grid.wcs, band, box)
        try:
            writer.write(band, box, flux, mask)
        except OSError as error:
            raise MosaicError(
                f"cannot write band {band}, {box} of {plan.store}: {error}; "
                "make room or mend the store's place, then run again: finished shards stay"
            ) from error

    pending = list(writer.pending())
    done = writer.n_shards - len(pending)
    with ThreadPoolExecutor(max_workers=n_threads(plan, writer.shard_shape)) as pool:
        futures = [pool.submit(one, band, box) for band, box in pending]
        try:
            for future in as_completed(futures):
                future.result()
                done += 1
                if progress is not None:
                    progress(done, writer.n_shards)
        finally:
            # After a failure the shards that have not begun would only delay its report.
            pool.shutdown(cancel_futures=True)


def n_threads(plan: IngestPlan, shard_shape: tuple[int, int]) -> int:
    """Return how many shards are worked on at once: those that fit the memory, one a core.

    Parameters
    ----------
    plan
        The ingest.
    shard_shape
        ``(ny, nx)`` of its largest shard.
    """
    shard_bytes = shard_shape[0] * shard_shape[1] * BYTES_PER_SHARD_PX
    if any(offset is None for _, offset in plan.exposures):
        shard_bytes += RESAMPLING_BYTES
    return max(min(_n_cpu(), MEMORY_BYTES // shard_bytes), 1)


def _n_cpu() -> int:
    """Return the number of cores that this process may use."""
    # Not everywhere is there a set of them; in a container it is smaller than the machine.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
