"""What a tile is given and what it gives back: values small enough to travel.

Owns the values that pass between the plan, the kernel and the drivers. Does not own any step.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from survey_classifier.catalog.footer import Provenance
from survey_classifier.catalog.schema import CatalogSchema
from survey_classifier.errors import TileError
from survey_classifier.geometry import Box
from survey_classifier.membership.color import ColorCuts
from survey_classifier.membership.weighing import Weighing
from survey_classifier.run.evidence_settings import MembershipSettings, SourcesSettings
from survey_classifier.sources.redshift_match import RedshiftMatch
from survey_classifier.sources.redshifts import Redshifts
from survey_classifier.sources.table import Sources

__all__ = [
    "HISTOGRAM_BINS",
    "Spectra",
    "TileContext",
    "TileFailure",
    "TilePixels",
    "TileReceipt",
    "TileTask",
]

HISTOGRAM_BINS = 20
"""Equal bins of p_member between 0 and 1 in a receipt."""


@dataclass(frozen=True, slots=True)
class Spectra:
    """What spectroscopy says of n sources; every array has shape ``(n,)``."""

    z: npt.NDArray[np.float64]
    """NaN = no redshift."""
    z_err: npt.NDArray[np.float64]
    """NaN = unknown."""
    z_warning: npt.NDArray[np.int32]
    """-1 = unknown."""
    spec_class: npt.NDArray[np.object_]
    """'' = unknown."""
    separation_arcsec: npt.NDArray[np.float32]
    """NaN = no redshift, or one that was joined by name."""
    ambiguous: npt.NDArray[np.bool_]
    z_source: npt.NDArray[np.object_]
    """Name of the table that the redshift is of; '' = no redshift."""
    caustic_member: npt.NDArray[np.int16]
    """Whether it lies within the cluster's caustics: 1 yes, 0 no, -1 unknown."""

    @classmethod
    def none(cls, n: int) -> Self:
        """Return what is known of n sources when there are no redshifts."""
        nothing = np.full(n, np.nan)
        return cls(
            nothing,
            nothing,
            np.full(n, -1, dtype=np.int32),
            np.full(n, "", dtype=object),
            nothing.astype(np.float32),
            np.zeros(n, dtype=np.bool_),
            np.full(n, "", dtype=object),
            np.full(n, -1, dtype=np.int16),
        )

    @classmethod
    def matched(
        cls,
        redshifts: Redshifts,
        caustic_member: npt.NDArray[np.int16],
        match: RedshiftMatch,
        rows: npt.NDArray[np.intp],
    ) -> Self:
        """Return the redshifts of some sources.

        Parameters
        ----------
        redshifts
            The objects.
        caustic_member
            Of each object.
        match
            Of all sources to them.
        rows
            The sources.
        """
        if not len(redshifts):
            return cls.none(len(rows))
        index = match.index[rows]
        found = index >= 0
        row = np.where(found, index, 0)
        return cls(
            np.where(found, redshifts.z[row], np.nan),
            np.where(found, redshifts.z_err[row], np.nan),
            np.where(found, redshifts.z_warning[row], -1).astype(np.int32),
            np.where(found, redshifts.spec_class[row], ""),
            match.separation_arcsec[rows],
            match.ambiguous[rows],
            np.where(found, redshifts.z_source[row], ""),
            np.where(found, caustic_member[row], -1).astype(np.int16),
        )


@dataclass(frozen=True, slots=True)
class TilePixels:
    """The mosaic that stamps are cut from, and how; it is named here, never carried."""

    mosaic: str
    """Name of the mosaic."""
    store: str
    """Its place."""
    digest: str
    """SHA-256 over what it holds, hexadecimal."""
    shape: tuple[int, int]
    """``(ny, nx)`` of level 0."""
    level: int
    """Pyramid level that stamps are cut from."""
    size_px: int
    """Side of a stamp on that level."""


@dataclass(frozen=True, slots=True)
class TileTask:
    """The work of one tile: its sources, and where they are."""

    name: str
    """Name of the tile, unique in the run."""
    core: Box
    """Its pixels on level 0 of the mosaic."""
    pixels: TilePixels
    digest: str
    """SHA-256 over the pixels, sources and cut of this tile alone, hexadecimal."""
    sources: Sources
    x_px: npt.NDArray[np.float64]
    """``(n,)`` on level 0, NaN where a source has no position."""
    y_px: npt.NDArray[np.float64]
    spectra: Spectra
    is_near_star: npt.NDArray[np.bool_]
    """Whether a source lies in the halo of a star of the run's table, shape ``(n,)``."""


@dataclass(frozen=True, slots=True)
class TileContext:
    """What all tiles of a run share; the weights are named here, never carried."""

    checkpoint: Path
    checkpoint_digest: str
    device: str
    batch_size: int
    parts: Path
    schema: CatalogSchema
    provenance: Provenance
    """Of the run; names no mosaic, as a part names only the one that it was made of."""
    bands: tuple[str, ...]
    """Bands that are cut, in the network's order."""
    classes: tuple[str, ...]
    """The network's classes, in the order of its scores."""
    membership: MembershipSettings
    weighing: Weighing
    """How evidence becomes a probability."""
    cuts: ColorCuts
    """The red sequence, and the regions about it."""
    photometry: SourcesSettings


@dataclass(frozen=True, slots=True)
class TileReceipt:
    """What a finished tile reports: all that returns to the client."""

    tile: str
    n_sources: int
    n_by_status: dict[str, int]
    n_stamps: int
    """Stamps that were scored."""
    cut_seconds: float
    score_seconds: float
    """In the scorer alone."""
    finish_seconds: float
    """Scoring, evidence and writing the part."""
    p_member_histogram: tuple[int, ...] = field(default=(0,) * HISTOGRAM_BINS)
    """Counts of classified sources in equal bins of p_member."""


@dataclass(frozen=True, slots=True)
class TileFailure:
    """A tile that failed for good: where, and why."""

    tile: str
    stage: str
    """``cut``, ``finish``, or ``worker`` where a worker was lost or could not begin."""
    box: str
    """Core of the tile."""
    reason: str

    @classmethod
    def of(cls, error: TileError) -> Self:
        """Return the failure that an exception describes."""
        return cls(error.tile, error.stage, error.box, error.reason)
