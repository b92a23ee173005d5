"""The verb ``detect``: sources found on a run's mosaics, in one list.

Owns the order of the work, resuming it, and the file. Does not own how sources are found
(``sources.detect``), which of two mosaics keeps one (``sources.overlaps``), the columns
(``catalog.detections``), nor the list once it is there (``detected``).

Each step of the work, a row of the sky's mesh or a tile, leaves a file in the run's folder
``detecting``, in a folder whose name is the fingerprint: of the settings, the bands and the
mosaics. A second call goes on with the steps that have none. The folder is removed when the list
is complete; a list with the fingerprint that is wanted is not made again.
"""

import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from survey_classifier import __version__
from survey_classifier.catalog.detections import detection_columns, write_detections
from survey_classifier.catalog.schema import healpix_29
from survey_classifier.errors import CatalogError, SourcesError, once_written
from survey_classifier.files import remove_leftovers, replacing
from survey_classifier.geometry import TileGrid
from survey_classifier.mosaic.capacity import n_cpu
from survey_classifier.mosaic.layout import IngestPlan
from survey_classifier.mosaic.planning import plan_or_open
from survey_classifier.mosaic.store import Mosaic
from survey_classifier.run.claim import claimed, unwritable
from survey_classifier.run.config import RunConfig, as_run
from survey_classifier.run.detected import (
    bands_used,
    detection_fingerprint,
    is_current,
    named,
)
from survey_classifier.run.listener import Listener
from survey_classifier.run.making import make_mosaics
from survey_classifier.sources.apertures import magnitudes
from survey_classifier.sources.detect import (
    Search,
    common_seeing,
    image_of,
    measure,
    n_mesh_rows,
    require_calibrated,
)
from survey_classifier.sources.detection import Detections, DetectSettings, joined, source_names
from survey_classifier.sources.overlaps import kept_once
from survey_classifier.sources.pointlike import point_likeness
from survey_classifier.sources.segments import LIMIT_PX
from survey_classifier.sources.sky_mesh import CellRow

__all__ = ["detect", "find_sources", "require_detectable"]

Arrays = dict[str, npt.NDArray[Any]]

WORK = "detecting"
BYTES_PER_PX = 64
"""Memory of a tile for each pixel of its widest window."""
Step = TypeVar("Step")


def detect(
    run: str | Path | RunConfig, *, out: Path | None = None, listener: Listener | None = None
) -> Path:
    """Find the sources on a run's mosaics, which are ingested where they are missing.

    Parameters
    ----------
    run
        A run file, or one that was read already; only ``[mosaic]`` and ``[detect]`` are used.
    out
        Where to put the list too, besides ``detected.parquet`` in the run's output folder.
    listener
        Told of the progress.

    Returns
    -------
    Path
        The list. A second call with the same pixels and settings does no work.

    Raises
    ------
    MosaicError
        If the mosaics cannot be made or read.
    SourcesError
        If there is nothing to search, or no calibration where fluxes are wanted.
    CatalogError
        If the list cannot be written.
    """
    config = as_run(run)
    told = Listener() if listener is None else listener
    laid_out = plan_or_open(config.mosaic, config.folder)
    require_detectable(config, laid_out)
    made = make_mosaics(laid_out, told)
    has_written = any(item.n_written for item in made)
    with once_written(lambda: has_written):
        with claimed(config):
            has_written |= find_sources(config, [item.mosaic for item in made], told)
        if out is None:
            return config.detected_path
        try:
            with replacing(out) as temporary:
                shutil.copyfile(config.detected_path, temporary)
        except OSError as error:
            raise CatalogError(f"cannot write {out}: {error}; choose another --out") from error
    return out


def require_detectable(config: RunConfig, mosaics: Sequence[IngestPlan | Mosaic]) -> None:
    """Check before any work that sources can be detected on mosaics, finished or only planned.

    Raises
    ------
    MosaicError
        If a mosaic has not the bands.
    SourcesError
        If one has no calibration where fluxes are wanted.
    """
    names = bands_used(config, mosaics)
    for mosaic in mosaics:
        require_calibrated(mosaic.name, named(mosaic, names), config.detect)
    detection_columns(names, config.detect.aperture_arcsec, None)  # refuses impossible names


def find_sources(config: RunConfig, mosaics: Sequence[Mosaic], listener: Listener) -> bool:
    """Make a run's list of detected sources, unless it is there.

    Parameters
    ----------
    config
        The run file; its output folder is claimed.
    mosaics
        The finished mosaics.
    listener
        Told of the progress.

    Returns
    -------
    bool
        Whether it was made now.

    Raises
    ------
    SourcesError
        If there is nothing to search.
    CatalogError
        If the list cannot be written.
    """
    if is_current(config, mosaics):
        return False
    work = _Work(config, sorted(mosaics, key=lambda mosaic: mosaic.name), listener)
    with once_written(lambda: work.n_done > 0):
        try:
            found = work.tables()
            kept = [np.ones(len(found[0]), dtype=np.bool_)]
            if len(mosaics) > 1:
                kept = kept_once(work.mosaics, found, work.names)
            _write(work, [table.take(index) for table, index in zip(found, kept, strict=True)])
            shutil.rmtree(config.out_folder / WORK)
        except OSError as error:
            raise unwritable(config, error) from error
    return True


class _Work:
    """The steps of one list, and what is left of them by a call that was stopped."""

    def __init__(self, config: RunConfig, mosaics: Sequence[Mosaic], listener: Listener) -> None:
        self.settings: DetectSettings = config.detect
        self.mosaics, self.listener = mosaics, listener
        self.names = bands_used(config, mosaics)
        self.fingerprint = detection_fingerprint(config, mosaics)
        self.target = config.detected_path
        self.seeing_arcsec = common_seeing(
            [band for mosaic in mosaics for band in named(mosaic, self.names)]
        )
        self.folder = config.out_folder / WORK / self.fingerprint[:16]
        self.n_done = 0
        self._total = sum(
            2 * n_mesh_rows(mosaic, self.settings) + self._tiles(mosaic).n_rows
            * self._tiles(mosaic).n_cols
            for mosaic in mosaics
        )  # fmt: skip

    def _tiles(self, mosaic: Mosaic) -> TileGrid:
        return TileGrid(mosaic.shape, self.settings.tile_px)

    def tables(self) -> list[Detections]:
        """Return the sources found on each mosaic."""
        self.folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(self.folder)
        with ThreadPoolExecutor(max_workers=_n_threads(self.settings.tile_px)) as pool:
            return [self._searched(mosaic, pool) for mosaic in self.mosaics]

    def _searched(self, mosaic: Mosaic, pool: ThreadPoolExecutor) -> Detections:
        """Search one mosaic."""
        rows = range(n_mesh_rows(mosaic, self.settings))

        def measured(row: int, first: Any = None) -> Arrays:  # noqa: ANN401 - an image, or None
            found = measure(mosaic, self.names, self.settings, row, first)
            return {field.name: getattr(found, field.name) for field in fields(found)}

        def mesh(sweep: int, first: Any = None) -> list[CellRow]:  # noqa: ANN401
            steps = {f"{mosaic.name}.sky{sweep}-{row:04d}": row for row in rows}
            found = self._each(pool, steps, lambda row: measured(row, first))
            return [CellRow(**arrays) for arrays in found]

        first = image_of(mosaic, self.names, self.settings, mesh(1))
        image = image_of(mosaic, self.names, self.settings, mesh(2, first))
        search = Search(image, self.settings, self.seeing_arcsec)
        side = self.settings.tile_px
        tiles = {f"{mosaic.name}.{side}-{tile.name}": tile.core
                 for tile in self._tiles(mosaic).tiles()}  # fmt: skip
        found = self._each(pool, tiles, lambda core: dict(search.tile(core).columns))
        return joined([Detections(columns) for columns in found])

    def _each(
        self, pool: ThreadPoolExecutor, steps: dict[str, Step], work: Callable[[Step], Arrays]
    ) -> list[Arrays]:
        """Do the steps that have no file yet; return what all of them gave."""

        def done(name: str, step: Step) -> None:
            path = self.folder / f"{name}.npz"
            if not path.exists():
                arrays = work(step)
                with replacing(path) as temporary, temporary.open("wb") as stream:
                    np.savez(stream, allow_pickle=False, **arrays)

        futures = [pool.submit(done, name, step) for name, step in steps.items()]
        try:
            for future in as_completed(futures):
                future.result()
                self.n_done += 1
                self.listener.progress("detect", self.n_done, self._total)
        except BaseException:
            # After a failure the steps that have not begun would only delay its report.
            for future in futures:
                future.cancel()
            raise
        return [_loaded(self.folder / f"{name}.npz") for name in steps]


def _n_threads(tile_px: int) -> int:
    """Return how many tiles are worked on at once: one a core, in half of the machine's memory."""
    tile_bytes = (tile_px + 2 * LIMIT_PX) ** 2 * BYTES_PER_PX
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(1, min(n_cpu(), memory // 2 // tile_bytes))


def _loaded(path: Path) -> Arrays:
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _write(work: _Work, tables: Sequence[Detections]) -> None:
    """Join the tables of all mosaics, complete their columns, and write them."""
    named = [
        table.with_columns({"mosaic": np.full(len(table), mosaic.name, dtype=np.object_)})
        for table, mosaic in zip(tables, work.mosaics, strict=True)
    ]
    found = joined(named).sorted()
    if not len(found):
        raise SourcesError(
            f"nothing on {work.mosaics[0].name} is brighter than threshold_sigma = "
            f"{work.settings.threshold_sigma:g}; lower it, or look at the mosaic with inspect"
        )
    bands = work.names if work.settings.photometry else ()
    likeness, loci = point_likeness(found, bands)
    columns: Arrays = {
        **found.columns,
        "source_id": source_names(found["ra"], found["dec"]),
        "point_likeness": likeness,
        "_healpix_29": healpix_29(found["ra"], found["dec"]),
    }
    for band in bands:
        for kind in ("", "_aper"):
            flux, error = found[f"flux{kind}_{band}"], found[f"fluxerr{kind}_{band}"]
            columns[f"mag{kind}_{band}"], columns[f"magerr{kind}_{band}"] = magnitudes(flux, error)
    parameters = {
        "settings": work.settings.model_dump_json(),
        "mosaics": "\n".join(f"{mosaic.name} {mosaic.digest}" for mosaic in work.mosaics),
        "star_locus": "\n".join(
            f"{band} {locus.concentration:.4f} +- {locus.spread:.4f} of {locus.n_bright} sources"
            for band, locus in loci.items()
        ),
        "version_survey_classifier": __version__,
    }
    shown = detection_columns(bands, work.settings.aperture_arcsec, work.seeing_arcsec)
    write_detections(work.target, shown, columns, parameters, work.fingerprint)
