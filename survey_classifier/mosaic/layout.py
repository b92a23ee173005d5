"""The layout of a mosaic: its grid, its bands and which images each shard is made of.

Owns the plan of an ingest, as data. Does not own which files there are (``inputs``), what the
pixels become (``compose``) nor the work (``ingest``).
"""

import hashlib
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product

import numpy as np
import numpy.typing as npt
from astropy.wcs import WCS, FITSFixedWarning

from survey_classifier.errors import MosaicError
from survey_classifier.geometry import Box, TileGrid, inside
from survey_classifier.mosaic.compose import Placed
from survey_classifier.mosaic.exposure import Exposure, PixelGrid
from survey_classifier.mosaic.grids import (
    bare_wcs,
    grid_offset,
    mosaic_grid,
    own_grid,
    reached_box,
    spread,
)
from survey_classifier.mosaic.inputs import MosaicSettings, StoreInputs
from survey_classifier.mosaic.pixels import BandInfo
from survey_classifier.mosaic.place import Place
from survey_classifier.mosaic.psf import match_psf
from survey_classifier.mosaic.pyramid import N_LEVELS
from survey_classifier.mosaic.readers import READERS
from survey_classifier.mosaic.regrid import fwhm_on
from survey_classifier.mosaic.sky import SkyGrid, pixel_scale_arcsec
from survey_classifier.mosaic.store import SHARD_PX
from survey_classifier.mosaic.writer import Layout

__all__ = ["IngestPlan", "lay_out"]

COMPOSITION = 1
"""Raised whenever this code makes other pixels of the same files: shards are then made again."""
MAX_EMPTINESS = 20
"""Area of a mosaic over that of its images, beyond which they are not one field."""
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
            there[image.exposure.band.name] |= _reaches(image, ra, dec)
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
        field, or two of a band differ in unit.
    """
    exposures: Sequence[Exposure] = _opened(group)
    if not exposures:
        raise MosaicError(f"there is no file yet for {group.store}; mend the paths of its inputs")
    _require_single(exposures)
    grid = _grid(settings, exposures)
    if settings.match_psf:
        exposures = match_psf(exposures, grid.wcs)
    bands = _bands(exposures, grid.wcs)
    _require_together(exposures, grid, own=settings.center_deg is not None)
    images = tuple(_placed(exposure, grid.wcs) for exposure in exposures)
    territories = {e.territory.name if e.territory else "" for e in exposures}
    territory = territories.pop() if len(territories) == 1 else ""
    plan = IngestPlan(
        group.store, grid, bands, images, territory, settings.quantize,
        settings.memory_mib * 2**20, group.superseded,
    )  # fmt: skip
    if not partial:
        _require_overlap(plan)
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
    """Return the grid that the settings ask for."""
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
    return replace(grid, wcs=bare_wcs(grid.wcs))


def _require_single(exposures: Sequence[Exposure]) -> None:
    """Refuse two files for one piece of the survey: nobody has said which is right."""
    seen: dict[tuple[str, str], Exposure] = {}
    for exposure in exposures:
        if not exposure.slot:
            continue
        key = (exposure.band.name, exposure.slot)
        if key in seen:
            raise MosaicError(
                f"{seen[key].path} and {exposure.path} are both band {key[0]} of {key[1]}; "
                "leave one of them out"
            )
        seen[key] = exposure


def _require_together(exposures: Sequence[Exposure], grid: PixelGrid, *, own: bool) -> None:
    """Refuse images that lie far apart: the mosaic between them would be empty and monstrous."""
    scale = pixel_scale_arcsec(grid.wcs)
    filled = sum(
        exposure.shape[0] * exposure.shape[1] * (pixel_scale_arcsec(exposure.wcs) / scale) ** 2
        for exposure in exposures
    )
    ny, nx = grid.shape
    survey = exposures[0].survey_grid
    whole = survey is not None and survey.shape == grid.shape
    if ny * nx > MAX_EMPTINESS * filled and not own and not whole:
        names = sorted({file for exposure in exposures for file in exposure.band.source_files})
        raise MosaicError(
            f"the mosaic of {', '.join(names[:4])}{', ...' if len(names) > 4 else ''} would have "
            f"{nx} x {ny} px, {ny * nx / filled:.0f} times the area of its images; "
            "make a mosaic of each group of images that lie together"
        )


def _require_overlap(plan: IngestPlan) -> None:
    """Refuse bands that share no part of the sky: no source would have all of them."""
    whole = Box(0, plan.shape[0], 0, plan.shape[1])
    for band in plan.bands:
        if not any(_share(plan, whole, image) for image in plan.images_of(band.name)):
            raise MosaicError(
                f"the images of band {band.name} lie off the mosaic of {plan.store}; mend "
                "center_deg, or leave them out"
            )
    first, *others = plan.bands
    for band in others:
        pairs = product(plan.images_of(first.name), plan.images_of(band.name))
        if not any(_share(plan, whole, *pair) for pair in pairs):
            raise MosaicError(
                f"bands {first.name} and {band.name} of {plan.store} share no part of the sky; "
                "make a mosaic of each"
            )


def _share(plan: IngestPlan, box: Box, *images: Placed) -> bool:
    """Return whether images have a place of a box in common.

    It is looked for at points spread over what their boxes have in common, however small that is.
    """
    common: Box | None = box
    for image in images:
        common = common and common.intersection(image.box)
    if common is None:
        return False
    x, y = spread(common.shape)
    ra, dec = plan.sky.pixel_to_world(x + common.x0, y + common.y0)
    return bool(np.logical_and.reduce([_reaches(image, ra, dec) for image in images]).any())


def _reaches(image: Placed, ra_deg: FloatArray, dec_deg: FloatArray) -> npt.NDArray[np.bool_]:
    """Return which positions lie on an image."""
    x, y = SkyGrid(image.exposure.wcs).world_to_pixel(ra_deg, dec_deg)
    return inside(x, y, image.exposure.shape)


def _bands(exposures: Sequence[Exposure], wcs: WCS) -> tuple[BandInfo, ...]:
    """Return one description a band, in the order in which bands first appear."""
    parts: dict[str, list[BandInfo]] = {}
    for exposure in exposures:
        seen = replace(exposure.band, psf_fwhm_arcsec=fwhm_on(exposure, wcs))
        parts.setdefault(seen.name, []).append(seen)
    return tuple(_band(name, of_band) for name, of_band in parts.items())


def _band(name: str, parts: Sequence[BandInfo]) -> BandInfo:
    """Return what holds for all images of a band."""
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
    )
