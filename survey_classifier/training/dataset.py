"""The training set: labeled objects and their stamps.

Owns which object of which table enters. Does not own the labels (``labels``), the stamps of a table
(``blocks``), the words for what is left out (``roll``) or the folds (``split``).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from survey_classifier.errors import SourcesError
from survey_classifier.model.card import DataDigest, ModelCard
from survey_classifier.sources.digest import table_digest
from survey_classifier.stamps import Stamps
from survey_classifier.training.blocks import (
    cut_block,
    distance_from_mosaic,
    fates,
    frame_arcsec,
)
from survey_classifier.training.labels import Labels, joined, read_labels, without_known
from survey_classifier.training.recipes import DataSettings, Recipe
from survey_classifier.training.roll import KNOWN, Roll

__all__ = ["TrainingSet", "load_training_set"]


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Labeled objects with stamps; blocks differ in pixel scale.

    Raises
    ------
    SourcesError
        If a class has no object at all.
    """

    labels: Labels
    """All objects, block after block."""
    blocks: tuple[Stamps, ...]
    """Stamps of the objects, in the card's order of bands, large enough for any rotation."""
    origins: tuple[tuple[DataDigest, ...], ...]
    """Files that each block came from: its table, and its pixels."""
    classes: tuple[str, ...]
    """Names of the classes that `Labels.label` counts."""
    frame_arcsec: float | None = None
    """Side of what there is of a stamp where some are too small to be turned whole."""
    rolls: tuple[Roll, ...] = ()
    """What became of the rows of each block's table."""

    def __post_init__(self) -> None:
        for name, n in zip(self.classes, self._counts(), strict=True):
            if n == 0:
                rows = "; ".join(roll.line for roll in self.rolls)
                raise SourcesError(
                    f"no training object of class {name!r} is left ({rows}); add data, or correct"
                    " mapping and ignore of [labels]"
                )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def digests(self) -> tuple[DataDigest, ...]:
        """Files that it came from."""
        return tuple(digest for origin in self.origins for digest in origin)

    @property
    def block_of(self) -> npt.NDArray[np.intp]:
        """Number of each object's block, shape ``(n,)``."""
        return np.repeat(np.arange(len(self.blocks)), [len(block) for block in self.blocks])

    @property
    def for_training(self) -> npt.NDArray[np.intp]:
        """Rows of the objects that networks may be fitted to."""
        return np.flatnonzero(~self.labels.is_test)

    @property
    def prevalence(self) -> dict[str, float]:
        """Share of each class among the objects for training, each counted once."""
        counts = self._counts()
        return {name: float(n / counts.sum()) for name, n in zip(self.classes, counts, strict=True)}

    def _counts(self) -> npt.NDArray[np.int64]:
        """Return the number of objects for training of each class."""
        return np.bincount(self.labels.label[self.for_training], minlength=len(self.classes))

    def by_block(
        self, rows: npt.NDArray[np.intp], at_most: int | None = None
    ) -> Iterator[tuple[Stamps, npt.NDArray[np.intp]]]:
        """Yield the stamps of some rows, each block's by themselves, and places in ``rows``.

        Parameters
        ----------
        rows
            Rows of the set.
        at_most
            How many at once; the stamps are copies, and may fill the memory.
        """
        start = 0
        for block in self.blocks:
            places = np.flatnonzero((rows >= start) & (rows < start + len(block)))
            size = at_most or max(len(places), 1)
            for first in range(0, len(places), size):
                some = places[first : first + size]
                yield block.take(rows[some] - start), some
            start += len(block)


def load_training_set(recipe: Recipe, card: ModelCard) -> TrainingSet:
    """Read the labels and cut the stamps of a recipe.

    Parameters
    ----------
    recipe
        The recipe.
    card
        Its draft card.

    Raises
    ------
    SourcesError
        If a table or thumbnail can't be used, or a class has no object.
    MosaicError
        If a store can't be opened or lacks a band.
    CheckpointError
        If a store has another unit, or a coarser scale.
    """
    parts: list[_Part] = []
    for data in recipe.data:
        parts.append(_read_part(recipe, data, card, [part.labels for part in parts]))
    frames = [frame_arcsec(part.stamps) for part in parts if part.is_of_thumbnails]
    smallest = min(frames, default=math.inf)
    # A square that is turned needs one that is larger by the square root of two.
    is_small = smallest < math.sqrt(2) * card.stamp_arcsec
    return TrainingSet(
        joined([part.labels for part in parts]),
        tuple(part.stamps for part in parts),
        tuple(part.origin for part in parts),
        card.classes,
        smallest if is_small else None,
        tuple(part.roll for part in parts),
    )


@dataclass(frozen=True, slots=True)
class _Part:
    """What one ``[[data]]`` gives."""

    labels: Labels
    stamps: Stamps
    origin: tuple[DataDigest, DataDigest]
    roll: Roll
    is_of_thumbnails: bool


def _read_part(
    recipe: Recipe, data: DataSettings, card: ModelCard, earlier: Sequence[Labels]
) -> _Part:
    """Return what one ``[[data]]`` gives besides the objects of earlier ones."""
    named, roll = read_labels(data, recipe)
    labels = without_known(named, earlier)
    roll = roll.without(KNOWN, len(named) - len(labels))
    if not len(labels):
        raise SourcesError(f"no object is left, {roll.line}; {roll.remedy}")
    stamps, pixels = cut_block(recipe, data, card, labels)
    fate = fates(stamps, data, card.stamp_arcsec)
    for reason in dict.fromkeys(fate.tolist()):
        roll = roll.without(reason, int((fate == reason).sum())) if reason else roll
    usable = np.flatnonzero(fate == "")
    if not len(usable):
        where = "" if data.thumbnails else f" ({distance_from_mosaic(recipe, data, labels)})"
        raise SourcesError(f"no object is left, {roll.line}{where}; {roll.remedy}")
    path = recipe.path(data.table)
    digest = table_digest(path)
    table = DataDigest(name=path.name, sha256=digest, n=len(usable), left_out=roll.left_out)
    return _Part(
        labels.take(usable),
        # Copied only where it must be: this is what fills the memory.
        stamps if len(usable) == len(stamps) else stamps.take(usable),
        (table, pixels),
        roll,
        data.thumbnails is not None,
    )
