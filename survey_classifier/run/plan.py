"""The plan of a run: data that is made, checked and printed before anything is classified.

Owns what a run will do: on which mosaics, which of them each source belongs to, and how much memory
that takes. Does not own what else a run reads (``inputs``) nor the tiles of a mosaic (``sheet``),
does not do any of it (``tile``), nor decides where (``cluster``).
"""

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
from survey_classifier.catalog.schema import CatalogSchema
from survey_classifier.errors import MosaicError, SourcesError
from survey_classifier.membership.caustic import CausticResult, caustic
from survey_classifier.mosaic.inputs import mosaic_stores
from survey_classifier.mosaic.store import Mosaic
from survey_classifier.mosaic.survey import owner_of
from survey_classifier.run.config import RunConfig, as_run
from survey_classifier.run.detected import is_current
from survey_classifier.run.inputs import Inputs, read_inputs
from survey_classifier.run.sheet import PlannedTile, Sheet
from survey_classifier.run.task import Spectra, TileContext, TileTask
from survey_classifier.sources.redshift_match import RedshiftMatch, match_lines, match_redshifts

__all__ = ["Plan", "plan"]


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
            membership=self.config.membership,
            weighing=self.inputs.weighing,
            cuts=self.inputs.cuts,
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
            evidence=self.inputs.weighing.statement,
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
            self.inputs.is_near_star[tile.rows],
        )

    def _spectra(self, rows: npt.NDArray[np.intp]) -> Spectra:
        """Return the redshifts matched to some sources."""
        if self.match is None or self.inputs.redshifts is None or self.caustic is None:
            return Spectra.none(len(rows))
        return Spectra.matched(self.inputs.redshifts, self.caustic.member, self.match, rows)

    @cached_property
    def caustic(self) -> CausticResult | None:
        """The cluster's caustic, and which objects with a redshift lie within; None without any."""
        redshifts, settings = self.inputs.redshifts, self.config.membership
        if redshifts is None:
            return None
        return caustic(
            redshifts.ra_deg,
            redshifts.dec_deg,
            redshifts.z,
            settings.center_deg,
            settings.z_cluster,
            settings.sigma_km_s,
        )

    @property
    def remarks(self) -> list[str]:
        """What is to be said of the redshifts, a line each."""
        if self.match is None or self.inputs.redshifts is None or self.caustic is None:
            return []
        lines = match_lines(self.inputs.redshifts, self.match)
        if self.caustic.reason:
            lines.append(f"no caustic: {self.caustic.reason}")
        return lines

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
    if inputs.redshifts is not None:
        match = match_redshifts(
            sources.ra_deg,
            sources.dec_deg,
            inputs.redshifts,
            {table.title: table.radius_arcsec for table in config.redshifts},
            sources.source_id,
        )
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
