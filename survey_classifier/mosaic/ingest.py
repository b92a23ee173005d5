"""From image files to a mosaic: plan, copy or resample, resume.

Owns which file fills which pixel and the order of the work. Does not own file formats
(``readers``), resampling (``regrid``) nor the layout on disk (``store``).

Nothing is created before every input was opened and found usable. Then each shard of each band
is composed, written once and marked; a second call goes on with the shards that are missing.
"""

import glob
import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from survey_classifier.errors import MosaicError
from survey_classifier.geometry import Box, overlap
from survey_classifier.mosaic.exposure import Exposure, MosaicInput
from survey_classifier.mosaic.pixels import BandInfo, MaskBit, pixel_scale_arcsec
from survey_classifier.mosaic.pyramid import N_LEVELS
from survey_classifier.mosaic.readers import READERS
from survey_classifier.mosaic.regrid import PixelGrid, grid_offset, mosaic_grid, read_onto
from survey_classifier.mosaic.store import Mosaic
from survey_classifier.mosaic.writer import MosaicWriter
from survey_classifier.settings import Settings, expand_path

__all__ = ["IngestPlan", "MosaicSettings", "ingest_mosaic", "plan_ingest"]

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


@dataclass(frozen=True, slots=True)
class IngestPlan:
    """What an ingest will do, before it does anything."""

    store: Path
    grid: PixelGrid
    bands: tuple[BandInfo, ...]
    exposures: tuple[tuple[Exposure, tuple[int, int] | None], ...]
    """Each image with its offset on the grid, None where it must be resampled."""

    n_levels: int = N_LEVELS

    @property
    def name(self) -> str:
        """Name of the mosaic."""
        return self.store.name.removesuffix(".zarr")

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
    placed = tuple((exposure, grid_offset(exposure, grid.wcs)) for exposure in exposures)
    return IngestPlan(expand_path(settings.store, folder), grid, _bands(exposures), placed)


def _files(entry: MosaicInput, folder: Path) -> list[Path]:
    """Return the files of an input, in the order of their names."""
    pattern = str(expand_path(entry.path, folder))
    files = sorted(glob.glob(pattern, recursive=True)) or (  # noqa: PTH207 - absolute pattern
        [pattern] if Path(pattern).exists() else []
    )
    if not files:
        raise MosaicError(f"no such file: {pattern} (band {entry.band})")
    return [Path(file) for file in files]


def _bands(exposures: Sequence[Exposure]) -> tuple[BandInfo, ...]:
    """Return one description a band, in the order in which bands first appear."""
    names = list(dict.fromkeys(exposure.band.name for exposure in exposures))
    bands = []
    for name in names:
        of_band = [exposure.band for exposure in exposures if exposure.band.name == name]
        units = sorted({band.unit for band in of_band})
        if len(units) > 1:
            raise MosaicError(f"the files of band {name!r} have units {' and '.join(units)}")
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
    store = expand_path(settings.store, folder)
    if not settings.inputs and store.exists():
        return Mosaic.open(store)
    plan = plan_ingest(settings, folder)
    writer = MosaicWriter.open_or_create(
        plan.store, plan.name, plan.bands, plan.grid.shape, plan.grid.wcs, plan.digest
    )
    _write_pending(plan, writer, progress)
    return writer.finish()


def _write_pending(plan: IngestPlan, writer: MosaicWriter, progress: Progress | None) -> None:
    """Compose and write each missing shard, a few at a time."""

    def one(band: str, box: Box) -> None:
        flux, mask = compose(plan, band, box)
        try:
            writer.write(band, box, flux, mask)
        except OSError as error:
            raise MosaicError(
                f"cannot write band {band}, {box} of {plan.store}: {error}; "
                "make room or mend the store's place, then run again: finished shards stay"
            ) from error

    pending = list(writer.pending())
    done = writer.n_shards - len(pending)
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
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


def compose(
    plan: IngestPlan, band: str, box: Box
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """Return flux and mask of a box: each pixel from the first file that has data there.

    Parameters
    ----------
    plan
        The ingest.
    band
        Name of the band.
    box
        Pixels of the mosaic's grid.
    """
    flux = np.full(box.shape, np.nan, dtype=np.float32)
    mask = np.full(box.shape, MaskBit.NO_DATA, dtype=np.uint8)
    for exposure, offset in plan.exposures:
        if exposure.band.name != band:
            continue
        if offset is None:
            _fill(flux, mask, *read_onto(exposure, plan.grid.wcs, box))
            continue
        slices = overlap(box.shifted(-offset[0], -offset[1]), exposure.shape)
        if slices is not None:
            (large, small) = slices
            window = Box(large[0].start, large[0].stop, large[1].start, large[1].stop)
            _fill(flux[small], mask[small], *exposure.read(window))
    return flux, mask


def _fill(
    flux: npt.NDArray[np.float32],
    mask: npt.NDArray[np.uint8],
    new_flux: npt.NDArray[np.float32],
    new_mask: npt.NDArray[np.uint8],
) -> None:
    """Put new pixels where there are none yet, in place; a pixel without data keeps its why."""
    empty = np.isnan(flux)
    flux[empty] = new_flux[empty]
    filled = empty & ~np.isnan(new_flux)
    mask[filled] = new_mask[filled]
    mask[empty & ~filled] |= new_mask[empty & ~filled]
