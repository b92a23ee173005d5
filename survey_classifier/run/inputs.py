"""What a run reads besides its mosaics: tables and the checkpoint, read and checked.

Owns these, whether they fit the mosaics, and the fingerprint, which tells runs apart. Does not own
the formats (``sources``, ``model``) nor what is done with them (``plan``).
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from survey_classifier.catalog.schema import CatalogSchema, build_schema
from survey_classifier.errors import ConfigError, SourcesError
from survey_classifier.membership.color import ColorCuts
from survey_classifier.membership.evidence_model import EvidenceModel
from survey_classifier.membership.priors import PriorTable
from survey_classifier.membership.red_sequence import RedSequence
from survey_classifier.membership.weighing import Weighing
from survey_classifier.model.card import ModelCard
from survey_classifier.model.checkpoint import file_digest, read_card
from survey_classifier.model.inputs import require_mosaic
from survey_classifier.model.shipped import resolve_checkpoint
from survey_classifier.mosaic.pixels import Described
from survey_classifier.mosaic.survey import Area, held_by
from survey_classifier.run.config import RunConfig
from survey_classifier.run.detected import detected_sources
from survey_classifier.run.truth import Truth
from survey_classifier.sources.bright_stars import near_bright_star
from survey_classifier.sources.dust import read_dust_map
from survey_classifier.sources.formats import read_table
from survey_classifier.sources.redshifts import Redshifts, read_redshift_tables
from survey_classifier.sources.table import Sources, read_sources
from survey_classifier.words import counted

__all__ = ["Inputs", "color_cuts", "objects_with_redshifts", "read_inputs"]

RESULTS_VERSION = 3
"""Raised whenever this code gives other rows for the same input: then parts are not mixed."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything a run reads besides the mosaic, read and checked."""

    config: RunConfig
    sources: Sources
    """With E(B-V) of the dust map, where there is one."""
    redshifts: Redshifts | None
    is_near_star: npt.NDArray[np.bool_]
    """Whether each source lies in the halo of a bright star of the table, shape ``(n,)``."""
    weighing: Weighing
    """How evidence becomes a probability."""
    cuts: ColorCuts
    """The red sequence, and the regions about it."""
    checkpoint: Path
    checkpoint_digest: str
    card: ModelCard

    @property
    def schema(self) -> CatalogSchema:
        """Columns of the catalog."""
        return _schema(self.card, self.sources)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over all that changes results and that the tiles share, and nothing else.

        Not over the mosaics: what a tile takes from them is in its own digest, so that a tile
        is worked on again only if its pixels changed.
        """
        config = self.config
        redshifts = None
        if self.redshifts is not None:
            radii = [(table.title, table.radius_arcsec) for table in config.redshifts]
            redshifts = [self.redshifts.digest, radii]
        tables = {"prior", "evidence", "red_sequence", "without"}
        content = {
            "results": RESULTS_VERSION,
            "sources": self.sources.digest,
            "photometry": config.sources.model_dump(
                exclude={"path", "columns", "detect", "dust_map"}
            ),
            "near_star": hashlib.sha256(np.packbits(self.is_near_star).tobytes()).hexdigest(),
            "redshifts": redshifts,
            # Its card says which bands a mosaic has, and their unit.
            "checkpoint": self.checkpoint_digest,
            "tiles": config.tiles.model_dump(),
            "membership": config.membership.model_dump(exclude=tables),
            "weighing": self.weighing.model_dump_json(
                exclude={"evidence": {"source", "metrics"}, "prior": {"source"}}
            ),
            "sequence": self.cuts.sequence.model_dump(mode="json", exclude={"source", "metrics"}),
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
        listed = f"{counted(len(self.sources), 'source')} of {self.config.sources_path}"
        return SourcesError(
            f"none of the {listed} lies on "
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
    sources = _sources(config)
    # Only the report uses the truth, but a bad table must not be found out after all the work.
    Truth.read(config)
    checkpoint = resolve_checkpoint(config.checkpoint, config.folder)
    card = read_card(checkpoint)
    digest = file_digest(checkpoint)
    cuts = color_cuts(config)
    _schema(card, sources)  # refuses names that no column can have
    return Inputs(
        config,
        sources,
        objects_with_redshifts(config),
        _near_star(config, sources),
        _weighing(config, card, digest, cuts.sequence),
        cuts,
        checkpoint,
        digest,
        card,
    )


def color_cuts(config: RunConfig) -> ColorCuts:
    """Return the red sequence of a run and the regions about it.

    Raises
    ------
    ConfigError
        If there is no such sequence.
    """
    sequence = RedSequence.read(config.table_or_name(config.membership.red_sequence))
    offset = sequence.offset + config.membership.color_offset
    return ColorCuts.around(sequence.shifted(offset))


def _schema(card: ModelCard, sources: Sources) -> CatalogSchema:
    """Return the columns of a catalog."""
    return build_schema(card.classes, tuple(sources.mag), tuple(sources.mag_err))


def _sources(config: RunConfig) -> Sources:
    """Return the list of sources, with E(B-V) of the dust map where the list has none."""
    if config.sources.detect:
        sources = detected_sources(config)
    else:
        sources = read_sources(config.sources_path, config.sources.columns)
    if config.sources.dust_map is None:
        return sources
    dust = read_dust_map(config.path(config.sources.dust_map))
    ebv = dust.ebv(sources.ra_deg, sources.dec_deg)
    return replace(sources, ebv=np.where(np.isnan(sources.ebv), ebv, sources.ebv))


def objects_with_redshifts(config: RunConfig) -> Redshifts | None:
    """Return the objects of all tables of redshifts, None without any.

    Raises
    ------
    SourcesError
        If a table can't be read.
    """
    if not config.redshifts:
        return None
    return read_redshift_tables(
        [(config.path(table.path), table.columns, table.title) for table in config.redshifts]
    )


def _near_star(config: RunConfig, sources: Sources) -> npt.NDArray[np.bool_]:
    """Return which sources lie in the halo of a star of the table of bright stars."""
    settings = config.bright_stars
    if settings is None:
        return np.zeros(len(sources), dtype=np.bool_)
    columns = settings.columns
    stars = read_table(config.path(settings.path), (columns.ra, columns.dec, columns.mag))
    return near_bright_star(
        sources.ra_deg,
        sources.dec_deg,
        stars.angles_deg(columns.ra),
        stars.angles_deg(columns.dec),
        stars.numbers(columns.mag),
    )


def _weighing(
    config: RunConfig, card: ModelCard, checkpoint_digest: str, sequence: RedSequence
) -> Weighing:
    """Return how evidence is weighed, for the run's network and red sequence."""
    settings = config.membership
    if settings.evidence is None and not settings.is_perseus:
        evidence = EvidenceModel.plain(card.prevalence)
    else:
        name = "perseus" if settings.evidence is None else config.table_or_name(settings.evidence)
        evidence = EvidenceModel.read(name).for_network(checkpoint_digest, card.prevalence)
    bands = (sequence.blue, sequence.red, sequence.mag)
    if evidence.color is not None and bands != evidence.color.bands:
        if settings.evidence is not None:
            raise ConfigError(
                f"the colors of the evidence {settings.evidence!r} are of the bands "
                f"{', '.join(evidence.color.bands)}, the red sequence of "
                f"{', '.join(bands)}: calibrate it for these"
            )
        evidence = evidence.model_copy(update={"color": None})
    return Weighing(
        evidence=evidence,
        prior=_prior(config),
        center_deg=settings.center_deg,
        cuts=settings.redshift_cuts(),
        without=settings.without,
    )


def _prior(config: RunConfig) -> PriorTable:
    """Return the prior of a run."""
    prior = config.membership.prior
    if isinstance(prior, float):
        # How many stars there are is known of the field of Perseus, not of any other.
        stars = PriorTable.read("perseus") if config.membership.is_perseus else None
        return PriorTable.constant(prior, stars)
    return PriorTable.read("perseus" if prior is None else config.table_or_name(prior))
