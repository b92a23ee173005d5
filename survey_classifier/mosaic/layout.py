"""The layout of a mosaic: its grid, its bands and which images each shard is made of.

Owns the plan of an ingest, as data. Does not own which files there are (``inputs``), whether they
make one mosaic (``consistency``), what the pixels become (``compose``) nor the work (``ingest``).
"""

import hashlib
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
from astropy.wcs import WCS, FITSFixedWarning

from survey_classifier.errors import MosaicError
from survey_classifier.geometry import TileGrid
from survey_classifier.mosaic.compose import Placed
from survey_classifier.mosaic.consistency import (
    reaches,
    require_overlap,
    require_scale,
    require_single,
    require_together,
)
from survey_classifier.mosaic.exposure import Exposure, PixelGrid
from survey_classifier.mosaic.grids import (
    bare_wcs,
    grid_offset,
    mosaic_grid,
    own_grid,
    reached_box,
)
from survey_classifier.mosaic.inputs import StoreInputs
from survey_classifier.mosaic.mosaic_settings import MosaicSettings
from survey_classifier.mosaic.pixels import BandInfo
from survey_classifier.mosaic.place import Place
from survey_classifier.mosaic.psf import match_psf
from survey_classifier.mosaic.pyramid import N_LEVELS
from survey_classifier.mosaic.readers import READERS
from survey_classifier.mosaic.regrid import fwhm_on
from survey_classifier.mosaic.sky import SkyGrid, as_written, pixel_scale_arcsec
from survey_classifier.mosaic.store import SHARD_PX
from survey_classifier.mosaic.writer import Layout

__all__ = ["IngestPlan", "lay_out"]

COMPOSITION = 2
"""Raised whenever this code makes other pixels of the same files: shards are then made again."""
LATTICE = 64
"""Points along each axis at which the coverage is looked at."""
N_OPENED_AT_ONCE = 16
"""Files that are opened side by side: mostly that is waiting for a disk or a network."""
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class IngestPlan:
    """What the ingest of one store will do, before it does anything."""

    store: str
    grid: PixelGrid
    bands: tuple[BandInfo, ...]
    images: tuple[Placed, ...]
    territory: str
    quantize: int | None
    memory_bytes: int
    superseded: tuple[str, ...]
    """Names of files that newer versions took the place of."""

    n_levels: int = N_LEVELS

    @property
    def name(self) -> str:
        """Name of the mosaic."""
        return Place.of(self.store).name

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
    def layout(self) -> Layout:
        """What the store is made by."""
        return Layout(
            self.name, self.bands, self.grid.shape, self.grid.wcs, self.territory, self.quantize
        )

    def images_of(self, band: str) -> list[Placed]:
        """Return the images of a band."""
        return [image for image in self.images if image.exposure.band.name == band]

    @cached_property
    def inputs(self) -> dict[str, npt.NDArray[np.uint64]]:
        """Digest of what each shard of each band is made of, shape ``(row, column)``."""
        shards = TileGrid(self.grid.shape, SHARD_PX)
        digests = {}
        for band in self.bands:
            images = sorted(self.images_of(band.name), key=lambda image: image.order)
            digests[band.name] = np.array(
                [
                    [_inputs(images, shards, row, col) for col in range(shards.n_cols)]
                    for row in range(shards.n_rows)
                ],
                dtype=np.uint64,
            )
        return digests

    @cached_property
    def coverage(self) -> dict[str, float]:
        """Share of the mosaic's area that the images of each band reach."""
        ny, nx = self.grid.shape
        y, x = np.meshgrid(np.linspace(0, ny - 1, LATTICE), np.linspace(0, nx - 1, LATTICE))
        ra, dec = self.sky.pixel_to_world(x, y)
        there = {band.name: np.zeros(x.shape, dtype=np.bool_) for band in self.bands}
        for image in self.images:
            there[image.exposure.band.name] |= reaches(image, ra, dec)
        return {band: float(reached.mean()) for band, reached in there.items()}


def _inputs(images: Sequence[Placed], shards: TileGrid, row: int, col: int) -> int:
    """Return a digest of the images that reach a shard."""
    core = shards.tile(row, col).core
    state = hashlib.sha256(f"composition {COMPOSITION}".encode())
    for image in images:
        if image.box.intersection(core) is not None:
            state.update(f"{image.exposure.identity}{image.offset}".encode())
    return int.from_bytes(state.digest()[:8])


def lay_out(settings: MosaicSettings, group: StoreInputs, *, partial: bool = False) -> IngestPlan:
    """Open the files of a store and lay out its mosaic.

    Parameters
    ----------
    settings
        The ``[mosaic]`` table.
    group
        One store and its files.
    partial
        Whether more files are to come: then its bands need not share any sky yet.

    Raises
    ------
    MosaicError
        If a file cannot be used, two are the same piece of the survey, they do not make one
        field, the scale is far finer than theirs, or two of a band differ in unit.
    """
    exposures: Sequence[Exposure] = _opened(group)
    if not exposures:
        raise MosaicError(f"there is no file yet for {group.store}; mend the paths of its inputs")
    require_single(exposures)
    require_scale(exposures, settings.scale)
    grid = _grid(settings, exposures)
    if settings.match_psf:
        exposures = match_psf(exposures, grid.wcs)
    bands = _bands(exposures, grid.wcs)
    require_together(exposures, grid, own=settings.center_deg is not None)
    images = tuple(_placed(exposure, grid.wcs) for exposure in exposures)
    territories = {e.territory.name if e.territory else "" for e in exposures}
    territory = territories.pop() if len(territories) == 1 else ""
    plan = IngestPlan(
        group.store, grid, bands, images, territory, settings.quantize,
        settings.memory_mib * 2**20, group.superseded,
    )  # fmt: skip
    if not partial:
        by_band = {band.name: plan.images_of(band.name) for band in bands}
        require_overlap(by_band, grid, group.store)
    return plan


def _opened(group: StoreInputs) -> list[Exposure]:
    """Open files side by side; the first in order that cannot be used raises."""
    with warnings.catch_warnings(), ThreadPoolExecutor(N_OPENED_AT_ONCE) as pool:
        # Readers silence these file by file, which threads would undo for one another.
        warnings.simplefilter("ignore", FITSFixedWarning)
        warnings.filterwarnings("ignore", message="File may have been truncated")
        return list(pool.map(lambda file: READERS[file[0].reader](*file), group.files))


def _placed(exposure: Exposure, wcs: WCS) -> Placed:
    """Return an image with its place on the grid."""
    offset = grid_offset(exposure, wcs)
    return Placed(exposure, offset, reached_box(exposure, wcs, offset))


def _grid(settings: MosaicSettings, exposures: Sequence[Exposure]) -> PixelGrid:
    """Return the grid that the settings ask for, as it will read in the store."""
    grid = _wanted_grid(settings, exposures)
    return replace(grid, wcs=as_written(bare_wcs(grid.wcs)))


def _wanted_grid(settings: MosaicSettings, exposures: Sequence[Exposure]) -> PixelGrid:
    if settings.center_deg is not None and settings.size_px is not None and settings.scale:
        return own_grid(settings.center_deg, settings.size_px, settings.scale)
    if settings.extent == "inputs":
        return mosaic_grid(exposures, settings.scale)
    areas = sorted({e.territory.name for e in exposures if e.territory is not None})
    if len(areas) > 1:
        raise MosaicError(
            f"extent = 'survey' is the grid of one area, but the files of {settings.store} are of "
            f"{areas[0]} and {areas[1]}; sort them by a {{word}} in store, or give center_deg and "
            "size_px"
        )
    grid = exposures[0].survey_grid
    if grid is None:
        raise MosaicError(
            f"{exposures[0].path} is no piece of a survey's grid; use extent = 'inputs', or give "
            "center_deg and size_px"
        )
    return grid


def _bands(exposures: Sequence[Exposure], wcs: WCS) -> tuple[BandInfo, ...]:
    """Return one description a band, in the order in which bands first appear."""
    parts: dict[str, list[BandInfo]] = {}
    for exposure in exposures:
        seen = replace(exposure.band, psf_fwhm_arcsec=fwhm_on(exposure, wcs))
        parts.setdefault(seen.name, []).append(seen)
    return tuple(_band(name, of_band) for name, of_band in parts.items())


def _band(name: str, parts: Sequence[BandInfo]) -> BandInfo:
    """Return what holds for all images of a band.

    Its seeing is the worst of those that are known: a file that does not state its own says
    nothing against the others, which are of the same survey.
    """
    units = sorted({part.unit for part in parts})
    if len(units) > 1:
        raise MosaicError(
            f"the files of band {name!r} have units {' and '.join(units)}; give all one unit"
        )
    seeing = [part.psf_fwhm_arcsec for part in parts if part.psf_fwhm_arcsec is not None]
    zero_points = {part.zero_point for part in parts}
    return BandInfo(
        name,
        parts[0].unit,
        parts[0].zero_point if len(zero_points) == 1 else None,
        max(seeing, default=None),
        tuple(file for part in parts for file in part.source_files),
        has_variance=any(part.has_variance for part in parts),
        variance_in_part=len({part.has_variance for part in parts}) > 1,
        has_mask=any(part.has_mask for part in parts),
    )
