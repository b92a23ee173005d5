"""The plan of a run: data that is made, checked and printed before anything is classified.

Owns what a run will do: on which mosaics, which of them each source belongs to, how much memory
that takes, and the fingerprint. Does not own the tiles of a mosaic (``sheet``), does not do any
of it (``tile``), nor decides where (``cluster``).
"""

import hashlib
import json
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt

from survey_classifier import __version__
from survey_classifier.catalog.footer import Provenance
from survey_classifier.catalog.schema import CatalogSchema, build_schema
from survey_classifier.errors import MosaicError, SourcesError
from survey_classifier.model.card import ModelCard
from survey_classifier.model.checkpoint import file_digest, read_card, resolve_checkpoint
from survey_classifier.model.inputs import require_mosaic
from survey_classifier.mosaic.inputs import mosaic_stores
from survey_classifier.mosaic.pixels import Described
from survey_classifier.mosaic.store import Mosaic
from survey_classifier.mosaic.survey import Area, held_by, owner_of
from survey_classifier.run.config import RunConfig, as_run
from survey_classifier.run.detected import detected_sources, is_current
from survey_classifier.run.sheet import PlannedTile, Sheet
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


RESULTS_VERSION = 2
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

    @property
    def schema(self) -> CatalogSchema:
        """Columns of the catalog."""
        return build_schema(self.card.classes, tuple(self.sources.mag))

    @property
    def fingerprint(self) -> str:
        """SHA-256 over all that changes results and that the tiles share, and nothing else.

        Not over the mosaics: what a tile takes from them is in its own digest, so that a tile
        is worked on again only if its pixels changed.
        """
        config = self.config
        redshifts = None
        if config.redshifts is not None and self.redshifts is not None:
            settings = config.redshifts.model_dump(exclude={"path", "columns"})
            redshifts = [self.redshifts.digest, settings]
        content = {
            "results": RESULTS_VERSION,
            "sources": self.sources.digest,
            "photometry": config.sources.model_dump(exclude={"path", "columns", "detect"}),
            "redshifts": redshifts,
            # Its card says which bands a mosaic has, and their unit.
            "checkpoint": self.checkpoint_digest,
            "tiles": config.tiles.model_dump(),
            "membership": config.membership.model_dump(),
            "schema": self.schema.digest,
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def require(self, mosaic: Described) -> None:
        """Check that the checkpoint fits a mosaic, finished or only planned.

        Raises
        ------
        CheckpointError
            If bands, unit or scale differ.
        """
        require_mosaic(self.card, mosaic, self.config.mosaic.bands)

    def n_on(self, areas: Sequence[Area]) -> int:
        """Return how many sources lie on any of some mosaics, finished or only planned.

        A list of which no source does is of another place or unit, and refused.

        Parameters
        ----------
        areas
            At least one.

        Raises
        ------
        SourcesError
            If there is no source on any.
        """
        held = held_by(areas, self.sources.ra_deg, self.sources.dec_deg)
        n_on = len(np.unique(np.concatenate([sources.rows for sources in held])))
        if not n_on:
            raise self.elsewhere(areas)
        return n_on

    def elsewhere(self, areas: Sequence[Area]) -> SourcesError:
        """Return what is said of a list without a source on any of some mosaics."""
        ny, nx = areas[0].shape
        ra, dec = areas[0].sky.pixel_to_world((nx - 1) / 2, (ny - 1) / 2)
        where = f"centered on RA {float(ra):.4f}, Dec {float(dec):.4f}"
        several = f"any of the {len(areas)} mosaics, the first of which is {where}"
        return SourcesError(
            f"none of the {len(self.sources)} sources of {self.config.sources_path} lies on "
            f"{several if len(areas) > 1 else f'the mosaic, which is {where}'}; are the columns "
            "ra and dec in degrees (ICRS)?"
        )


def read_inputs(config: RunConfig) -> Inputs:
    """Read and check everything but the mosaic; nothing is written.

    Raises
    ------
    InputError
        Of the kind that fits: a table, the checkpoint or the run file cannot be used.
    """
    if config.sources.detect:
        sources = detected_sources(config)
    else:
        sources = read_sources(config.sources_path, config.sources.columns)
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
    sheets: tuple[Sheet, ...]
    """The run's mosaics with their tiles, sorted by the mosaics' names."""
    n_on_mosaic: int
    """Number of sources that lie on a mosaic."""
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
    def tiles(self) -> tuple[PlannedTile, ...]:
        """All tiles; each source of the list is one tile's."""
        return tuple(tile for sheet in self.sheets for tile in sheet.tiles)

    @property
    def mosaics(self) -> dict[str, str]:
        """Digest of each mosaic by its name."""
        return {sheet.mosaic.name: sheet.mosaic.digest for sheet in self.sheets}

    @cached_property
    def schema(self) -> CatalogSchema:
        """Columns of the catalog."""
        return self.inputs.schema

    @cached_property
    def fingerprint(self) -> str:
        """See `Inputs.fingerprint`."""
        return self.inputs.fingerprint

    def done(self, parts: Mapping[str, str]) -> set[str]:
        """Return the names of the tiles that are finished.

        Parameters
        ----------
        parts
            From `done_parts`: tile to the digest of what its part was made of.
        """
        return {tile.name for tile in self.tiles if parts.get(tile.name) == tile.digest}

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
            checkpoint=self.inputs.checkpoint,
            checkpoint_digest=self.inputs.checkpoint_digest,
            device=self.config.model.device,
            batch_size=self.config.model.batch_size,
            parts=self.config.parts_folder,
            schema=self.schema,
            provenance=self._provenance(created),
            bands=self.inputs.card.bands,
            classes=self.inputs.card.classes,
            membership=membership,
            prior=prevalence if membership.prior is None else membership.prior,
            prevalence=prevalence,
            photometry=self.config.sources,
        )

    def _provenance(self, created: str) -> Provenance:
        """Return what the footers of the parts say of the run, the mosaics left out."""
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
        """Yield the work of each tile, mosaic by mosaic and row by row.

        Parameters
        ----------
        done
            Names of the tiles to leave out.
        """
        return (self.task(tile) for tile in self.tiles if tile.name not in done)

    def task(self, tile: PlannedTile) -> TileTask:
        """Return the work of one tile: its own sources, and nothing of any other's."""
        return TileTask(
            tile.name,
            tile.core,
            tile.pixels,
            tile.digest,
            self.inputs.sources.take(tile.rows),
            tile.x_px,
            tile.y_px,
            self._spectra(tile.rows),
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
        """Memory that the largest tile needs."""
        n_bands = len(self.inputs.card.bands)
        return max(tile.bytes_needed(n_bands) for tile in self.tiles)


def plan(
    run: str | Path | RunConfig,
    inputs: Inputs | None = None,
    mosaics: Sequence[Mosaic] | None = None,
) -> Plan:
    """Lay out a run on finished mosaics.

    Parameters
    ----------
    run
        A run file, or one that was read already.
    inputs
        What it reads, if that was read already.
    mosaics
        The mosaics, if they are open already, in any order.

    Raises
    ------
    InputError
        Of the kind that fits: something that the run needs is missing, or does not fit.
    """
    config = as_run(run)
    inputs = read_inputs(config) if inputs is None else inputs
    if mosaics is None:
        mosaics = [Mosaic.open(store) for store in mosaic_stores(config.mosaic, config.folder)]
    _require_names(mosaics)
    if config.sources.detect and not is_current(config, mosaics):
        raise SourcesError(
            f"{config.detected_path} was detected on other pixels or with other settings; run "
            "detect or classify again"
        )
    for mosaic in mosaics:
        inputs.require(mosaic)
    sources = inputs.sources
    match = None
    if inputs.redshifts is not None and config.redshifts is not None:
        radius = config.redshifts.radius_arcsec
        match = match_redshifts(sources.ra_deg, sources.dec_deg, inputs.redshifts, radius)
    return Plan(inputs, *_sheets(inputs, sorted(mosaics, key=lambda mosaic: mosaic.name)), match)


def _require_names(mosaics: Sequence[Mosaic]) -> None:
    """Refuse two mosaics of one name: their tiles would have one name too."""
    times = Counter(mosaic.name for mosaic in mosaics)
    for name in (name for name, n in times.items() if n > 1):
        places = [str(mosaic.place) for mosaic in mosaics if mosaic.name == name]
        raise MosaicError(
            f"the stores {' and '.join(places)} are both named {name!r}; ingest one of them "
            "into a store of another name"
        )


def _sheets(inputs: Inputs, mosaics: Sequence[Mosaic]) -> tuple[tuple[Sheet, ...], int]:
    """Give each source to one mosaic, and share it among tiles; say how many lie on any."""
    config, card = inputs.config, inputs.card
    ra, dec = inputs.sources.ra_deg, inputs.sources.dec_deg
    owner = owner_of(mosaics, ra, dec, card.bands)
    n_on_mosaic = int((owner >= 0).sum())
    if not n_on_mosaic:
        raise inputs.elsewhere(mosaics)
    # A source that no mosaic holds has a row too, and so a tile: the first mosaic's nearest one.
    order = np.argsort(np.maximum(owner, 0), kind="stable")
    edges = np.searchsorted(np.maximum(owner, 0)[order], np.arange(len(mosaics) + 1))
    sheets = []
    for number, mosaic in enumerate(mosaics):
        rows = order[edges[number] : edges[number + 1]]
        prefix = f"{mosaic.name}." if config.has_many_mosaics else ""
        sky = ra[rows], dec[rows]
        sheets.append(Sheet.lay_out(mosaic, card, config.tiles.size_px, rows, sky, prefix))
    return tuple(sheets), n_on_mosaic
