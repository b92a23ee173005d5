"""The backlog of a store: the shards that it lacks, as work.

Owns the comparison of a store's shards with those that its images make, and the account of what was
done. Does not own the doing (``ingest``) nor the records on disk (``writer``).
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from uuid import uuid4

import numpy as np
import numpy.typing as npt
from astropy.wcs import WCS

from survey_classifier.geometry import Box
from survey_classifier.mosaic.compose import Placed
from survey_classifier.mosaic.layout import IngestPlan
from survey_classifier.mosaic.schema import SHARD_PX, open_group
from survey_classifier.mosaic.shards import read_records
from survey_classifier.mosaic.store import Mosaic
from survey_classifier.mosaic.writer import MosaicWriter
from survey_classifier.words import counted

__all__ = ["Backlog", "Ingested", "Shard", "pending"]


@dataclass(frozen=True, slots=True)
class Ingested:
    """A finished mosaic, and what was done for it. Shards are counted over all of its bands."""

    mosaic: Mosaic
    n_shards: int
    """How many it has."""
    n_new: int = 0
    """Written for the first time."""
    n_changed: int = 0
    """Written again, because their images are others than before."""
    n_lost: int = 0
    """Written again, because files of them were missing or cut off."""

    @property
    def n_written(self) -> int:
        """Written for whatever reason."""
        return self.n_new + self.n_changed + self.n_lost

    @property
    def line(self) -> str:
        """What was done, in words."""
        words = f"{self.n_written} of {counted(self.n_shards, 'shard')} written"
        if self.n_changed:
            words += f", {self.n_changed} of them again, as their images have changed"
        if self.n_lost:
            words += f", {self.n_lost} of them again, as files were missing or cut off"
        there = self.n_shards - self.n_written
        was = "was" if there == 1 else "were"
        return f"{words}; {there} {was} there already" if there else words


@dataclass(frozen=True)
class Shard:
    """The work of one shard; a value that travels to where it is done."""

    store: str
    token: str
    """Names this ingest: what a worker keeps open is not used for another."""
    wcs: WCS
    band: str
    box: Box
    images: tuple[Placed, ...]
    inputs: int

    @property
    def index(self) -> tuple[int, int]:
        """Its row and column."""
        return self.box.y0 // SHARD_PX, self.box.x0 // SHARD_PX


@dataclass(frozen=True)
class Backlog:
    """What is to be done for one store."""

    plan: IngestPlan
    writer: MosaicWriter
    shards: list[Shard]
    n_again: Counter[bool]
    """Of these, those that were written before: of the same images (True), or of others."""

    @classmethod
    def begun(cls, plan: IngestPlan) -> "Backlog":
        """Make the store, or look at what it lacks.

        Raises
        ------
        MosaicError
            If the store cannot be made, or holds something else.
        """
        writer = MosaicWriter.open_or_create(plan.store, plan.layout)
        group = open_group(writer.place)
        before = {band.name: read_records(group, band.name, writer.place) for band in plan.bands}
        shards = list(pending(plan, writer, plan.inputs))
        old = [(before[shard.band][shard.index], shard) for shard in shards]
        again = Counter(bool(made_of == shard.inputs) for (pixels, made_of), shard in old if pixels)
        return cls(plan, writer, shards, again)

    @property
    def n_shards(self) -> int:
        """Shards of all bands of the store."""
        return (
            len(self.writer.bands) * self.writer.shard_grid.n_rows * self.writer.shard_grid.n_cols
        )

    def finished(self) -> Ingested:
        """Seal the store, when all is written.

        Raises
        ------
        MosaicError
            If it cannot be sealed.
        """
        n_lost, n_changed = self.n_again[True], self.n_again[False]
        n_new = len(self.shards) - n_lost - n_changed
        return Ingested(self.writer.finish(), self.n_shards, n_new, n_changed, n_lost)


def pending(
    plan: IngestPlan, writer: MosaicWriter, planned: Mapping[str, npt.NDArray[np.uint64]]
) -> Iterator[Shard]:
    """Yield the shards to be made.

    Parameters
    ----------
    plan
        The ingest of a store.
    writer
        The store.
    planned
        What the shards of each band are to be made of: all or some of the plan's `inputs`.
    """
    token = uuid4().hex
    images = {band.name: plan.images_of(band.name) for band in plan.bands}
    for band, box in writer.pending(planned):
        reaching = tuple(image for image in images[band] if image.box.intersection(box))
        row, col = box.y0 // SHARD_PX, box.x0 // SHARD_PX
        inputs = int(planned[band][row, col])
        yield Shard(plan.store, token, plan.grid.wcs, band, box, reaching, inputs)
