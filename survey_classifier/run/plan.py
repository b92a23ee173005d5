"""The plan of a run: data that is made, checked and printed before anything is classified.

Owns what a run will do: which source belongs to which tile, what each tile needs, how much
memory that is, and the fingerprint. Does not do any of it (``tile``), nor decides where
(``cluster``).
"""

import hashlib
import json
from collections.abc import Container, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt

from survey_classifier import __version__
from survey_classifier.catalog.footer import Provenance
from survey_classifier.catalog.schema import CatalogSchema, build_schema
from survey_classifier.errors import SourcesError
from survey_classifier.geometry import Box, Tile, TileGrid, inside
from survey_classifier.model.card import ModelCard
from survey_classifier.model.checkpoint import file_digest, read_card, resolve_checkpoint
from survey_classifier.model.inputs import cut_size_px, pyramid_level, require_mosaic
from survey_classifier.mosaic.pixels import Described, PixelSource
from survey_classifier.mosaic.sky import SkyGrid
from survey_classifier.mosaic.store import Mosaic
from survey_classifier.run.config import RunConfig, as_run
from survey_classifier.run.task import Spectra, TileContext, TileTask
from survey_classifier.run.truth import Truth
from survey_classifier.sources.redshifts import (
    RedshiftMatch,
    Redshifts,
    match_redshifts,
    read_redshifts,
)
from survey_classifier.sources.table import Sources, read_sources

__all__ = ["Inputs", "Plan", "plan", "read_inputs"]


RESULTS_VERSION = 1
"""Raised whenever this code gives other rows for the same input: then parts are not mixed."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything a run reads besides the mosaic, read and checked."""

    config: RunConfig
    sources: Sources
    redshifts: Redshifts | None
    checkpoint: Path
    checkpoint_digest: str
    card: ModelCard

    def require(self, mosaic: Described) -> None:
        """Check that the checkpoint fits a mosaic, finished or only planned.

        Raises
        ------
        CheckpointError
            If bands, unit or scale differ.
        """
        require_mosaic(self.card, mosaic)

    def positions(
        self, sky: SkyGrid, shape: tuple[int, int]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return ``(x, y)`` of the sources on a mosaic, NaN where a source has no position.

        A list of which no source lies on the mosaic is of another place or unit, and refused.

        Parameters
        ----------
        sky, shape
            Grid of the mosaic, and its extent in pixels.

        Raises
        ------
        SourcesError
            If there is no source on the mosaic.
        """
        sources = self.sources
        x, y = sky.world_to_pixel(sources.ra_deg, sources.dec_deg)
        if not inside(x, y, shape).any():
            ra, dec = sky.pixel_to_world((shape[1] - 1) / 2, (shape[0] - 1) / 2)
            raise SourcesError(
                f"none of the {len(sources)} sources of {self.config.sources.path} lies on the "
                f"mosaic, which is centered on RA {float(ra):.4f}, Dec {float(dec):.4f}; are the "
                "columns ra and dec in degrees (ICRS)?"
            )
        return x, y


def read_inputs(config: RunConfig) -> Inputs:
    """Read and check everything but the mosaic; nothing is written.

    Raises
    ------
    InputError
        Of the kind that fits: a table, the checkpoint or the run file cannot be used.
    """
    sources = read_sources(config.path(config.sources.path), config.sources.columns)
    redshifts = None
    if config.redshifts is not None:
        path = config.path(config.redshifts.path)
        redshifts = read_redshifts(path, config.redshifts.columns)
    # Only the report uses the truth, but a bad table must not be found out after all the work.
    Truth.read(config)
    checkpoint = resolve_checkpoint(config.checkpoint, config.folder)
    card = read_card(checkpoint)
    build_schema(card.classes, tuple(sources.mag))  # refuses names that no column can have
    return Inputs(config, sources, redshifts, checkpoint, file_digest(checkpoint), card)


@dataclass(frozen=True)
class Plan:
    """What a run will do; a value that can be printed, and worked on anywhere."""

    inputs: Inputs
    mosaic: PixelSource
    store: Path
    grid: TileGrid
    x_px: npt.NDArray[np.float64]
    """Position of each source on level 0, NaN where it has none; shape ``(n,)``."""
    y_px: npt.NDArray[np.float64]
    match: RedshiftMatch | None

    @property
    def config(self) -> RunConfig:
        """The run file."""
        return self.inputs.config

    @property
    def n_sources(self) -> int:
        """Number of sources."""
        return len(self.inputs.sources)

    @cached_property
    def schema(self) -> CatalogSchema:
        """Columns of the catalog."""
        return build_schema(self.inputs.card.classes, tuple(self.inputs.sources.mag))

    @cached_property
    def level(self) -> int:
        """Pyramid level that stamps are cut from."""
        return pyramid_level(self.inputs.card, self.mosaic.scale_arcsec, self.mosaic.n_levels)

    @cached_property
    def size_px(self) -> int:
        """Side of a stamp, in pixels of the level."""
        return cut_size_px(self.inputs.card, self.mosaic.scale_arcsec * 2**self.level)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over all that changes results, and nothing else."""
        config, inputs = self.config, self.inputs
        redshifts = None
        if config.redshifts is not None and inputs.redshifts is not None:
            settings = config.redshifts.model_dump(exclude={"path", "columns"})
            redshifts = [inputs.redshifts.digest, settings]
        content = {
            "results": RESULTS_VERSION,
            "sources": inputs.sources.digest,
            "photometry": config.sources.model_dump(exclude={"path", "columns"}),
            "redshifts": redshifts,
            "mosaic": self.mosaic.digest,
            "checkpoint": inputs.checkpoint_digest,
            "grid": asdict(self.grid),
            "membership": config.membership.model_dump(),
            "schema": self.schema.digest,
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @cached_property
    def rows_of_tile(self) -> dict[tuple[int, int], npt.NDArray[np.intp]]:
        """Rows of the source list that each tile owns, in their order; all tiles are there."""
        row, col = self.grid.owner(self.x_px, self.y_px)
        number = row * self.grid.n_cols + col
        order = np.argsort(number, kind="stable")
        edges = np.searchsorted(number[order], np.arange(self.grid.n_rows * self.grid.n_cols + 1))
        return {
            (tile.row, tile.col): order[edges[index] : edges[index + 1]]
            for index, tile in enumerate(self.grid.tiles())
        }

    def context(self, created: str) -> TileContext:
        """Return what all tiles share.

        Parameters
        ----------
        created
            When the run began, ISO 8601 with time zone.
        """
        membership = self.config.membership
        prevalence = self.inputs.card.prevalence["member"]
        return TileContext(
            store=self.store,
            mosaic_digest=self.mosaic.digest,
            mosaic_shape=self.mosaic.shape,
            checkpoint=self.inputs.checkpoint,
            checkpoint_digest=self.inputs.checkpoint_digest,
            device=self.config.model.device,
            batch_size=self.config.model.batch_size,
            parts=self.config.parts_folder,
            schema=self.schema,
            provenance=self.provenance(created),
            bands=self.inputs.card.bands,
            classes=self.inputs.card.classes,
            level=self.level,
            size_px=self.size_px,
            membership=membership,
            prior=prevalence if membership.prior is None else membership.prior,
            prevalence=prevalence,
            photometry=self.config.sources,
        )

    def provenance(self, created: str) -> Provenance:
        """Return what the catalog's footer says of the run."""
        packages = ("numpy", "torch", "zarr", "astropy", "pyarrow")
        return Provenance(
            fingerprint=self.fingerprint,
            run=self.config.name,
            checkpoint=self.inputs.card.name,
            checkpoint_digest=self.inputs.checkpoint_digest,
            configuration=self.config.resolved_toml(),
            versions={"survey_classifier": __version__} | {p: version(p) for p in packages},
            created=created,
        )

    def tasks(self, done: Container[str] = ()) -> Iterator[TileTask]:
        """Yield the work of each tile, row by row.

        Parameters
        ----------
        done
            Names of the tiles to leave out.
        """
        return (self.task(tile) for tile in self.grid.tiles() if tile.name not in done)

    def task(self, tile: Tile) -> TileTask:
        """Return the work of one tile: its own sources, and nothing of any other's."""
        rows = self.rows_of_tile[tile.row, tile.col]
        return TileTask(
            tile,
            self.inputs.sources.take(rows),
            self.x_px[rows],
            self.y_px[rows],
            self._spectra(rows),
        )

    def _spectra(self, rows: npt.NDArray[np.intp]) -> Spectra:
        """Return the redshifts matched to some sources."""
        if self.match is None or self.inputs.redshifts is None:
            return Spectra.none(len(rows))
        return Spectra.matched(
            self.inputs.redshifts,
            self.match.index[rows],
            self.match.separation_arcsec[rows],
            self.match.ambiguous[rows],
        )

    @cached_property
    def tile_bytes(self) -> int:
        """Memory that the largest tile needs: the pixels it reads and the stamps it cuts."""
        n_bands = len(self.inputs.card.bands)
        # Flux and mask of all bands, and what one band takes while it is decompressed.
        pixel_bytes = (n_bands + 1) * (4 + 1)
        # Scoring copies the stamps if some sources of the tile are rejected.
        stamp_bytes = 2 * 4 * n_bands * self.size_px**2
        return max(
            pixel_bytes * _bounding_area(self, x, y) + stamp_bytes * len(x)
            for x, y in map(self._inside, self.rows_of_tile.values())
        )

    def _inside(
        self, rows: npt.NDArray[np.intp]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return the positions of those of some sources that have a stamp."""
        x, y = self.x_px[rows], self.y_px[rows]
        here = inside(x, y, self.mosaic.shape)
        return x[here], y[here]


def _bounding_area(plan: Plan, x_px: npt.NDArray[np.float64], y_px: npt.NDArray[np.float64]) -> int:
    """Return the pixels of the box that the stamps of some sources read."""
    if not len(x_px):
        return 0
    width, height = (np.ptp(p) / 2**plan.level + plan.size_px for p in (x_px, y_px))
    return int(width * height)


def plan(
    run: str | Path | RunConfig, inputs: Inputs | None = None, mosaic: Mosaic | None = None
) -> Plan:
    """Lay out a run on a finished mosaic.

    Parameters
    ----------
    run
        A run file, or one that was read already.
    inputs
        What it reads, if that was read already.
    mosaic
        The mosaic, if it is open already.

    Raises
    ------
    InputError
        Of the kind that fits: something that the run needs is missing, or does not fit.
    """
    config = as_run(run)
    inputs = read_inputs(config) if inputs is None else inputs
    store = config.path(config.mosaic.store)
    mosaic = Mosaic.open(store) if mosaic is None else mosaic
    inputs.require(mosaic)
    sources = inputs.sources
    x, y = inputs.positions(mosaic.sky, mosaic.shape)
    match = None
    if inputs.redshifts is not None and config.redshifts is not None:
        radius = config.redshifts.radius_arcsec
        match = match_redshifts(sources.ra_deg, sources.dec_deg, inputs.redshifts, radius)
    return Plan(inputs, mosaic, store, TileGrid(mosaic.shape, config.tiles.size_px), x, y, match)


def sky_box(mosaic: PixelSource, core: Box) -> list[list[float]]:
    """Return the sky positions of a box's four corners, in degrees."""
    x = [core.x0 - 0.5, core.x1 - 0.5, core.x1 - 0.5, core.x0 - 0.5]
    y = [core.y0 - 0.5, core.y0 - 0.5, core.y1 - 0.5, core.y1 - 0.5]
    ra, dec = mosaic.pixel_to_world(x, y)
    return [[float(a), float(d)] for a, d in zip(ra, dec, strict=True)]
