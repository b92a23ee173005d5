"""The training set: labeled objects and their stamps.

Owns which object of which table enters, and with which pixels. Does not own the labels
(``labels``), the cut (``stamps``), thumbnails (``thumbnails``) or the folds (``split``).
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from survey_classifier.errors import MosaicError, SourcesError
from survey_classifier.geometry import TileGrid
from survey_classifier.model.card import DataDigest, ModelCard
from survey_classifier.model.inputs import cut_size_px, pyramid_level, require_mosaic
from survey_classifier.mosaic.store import Mosaic
from survey_classifier.sources.digest import table_digest
from survey_classifier.stamps import Stamps, cut_stamps
from survey_classifier.training.hue import mostly_red
from survey_classifier.training.labels import Labels, joined, read_labels, without_known
from survey_classifier.training.recipes import DataSettings, Recipe, ThumbnailSettings
from survey_classifier.training.thumbnails import (
    ThumbnailFrame,
    read_thumbnails,
    thumbnails_digest,
)

__all__ = ["TrainingSet", "load_training_set"]

READ_PX = 2048
"""Side of the piece of a mosaic that is held in memory while stamps are cut."""


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
    digests: tuple[DataDigest, ...]
    """Files that it came from."""
    classes: tuple[str, ...]
    """Names of the classes that `Labels.label` counts."""
    frame_arcsec: float | None = None
    """Side of what there is of a stamp where some are too small to be turned whole."""

    def __post_init__(self) -> None:
        for name, n in zip(self.classes, self._counts(), strict=True):
            if n == 0:
                raise SourcesError(
                    f"no training object of class {name!r} has pixels; add data or correct"
                    " the label mapping"
                )

    def __len__(self) -> int:
        return len(self.labels)

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

    def by_block(self, rows: npt.NDArray[np.intp]) -> list[tuple[Stamps, npt.NDArray[np.intp]]]:
        """Return, for each block that has some of the rows, their stamps and places in ``rows``."""
        parts, start = [], 0
        for block in self.blocks:
            places = np.flatnonzero((rows >= start) & (rows < start + len(block)))
            if len(places):
                parts.append((block.take(rows[places] - start), places))
            start += len(block)
        return parts


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
    labels: list[Labels] = []
    frames: list[float] = []
    blocks: list[Stamps] = []
    digests: list[DataDigest] = []
    for data in recipe.data:
        found = without_known(read_labels(data, recipe), labels)
        if not len(found):
            raise SourcesError(f"{data.table} has no object that is new and labeled; leave it out")
        stamps, origin = _cut_block(recipe, data, card, found)
        usable = np.flatnonzero(_shown(stamps, data))
        labels.append(found.take(usable))
        blocks.append(stamps.take(usable))
        if data.thumbnails is not None:
            frames.append(_frame_arcsec(blocks[-1]))
        table = recipe.path(data.table)
        digests += [
            DataDigest(name=table.name, sha256=table_digest(table), n=len(usable)),
            origin,
        ]
    smallest = min(frames, default=math.inf)
    # A square that is turned needs one that is larger by the square root of two.
    is_small = smallest < math.sqrt(2) * card.stamp_arcsec
    return TrainingSet(
        joined(labels),
        tuple(blocks),
        tuple(digests),
        card.classes,
        smallest if is_small else None,
    )


def _frame_arcsec(stamps: Stamps) -> float:
    """Return the side of the largest square about the source that a typical stamp fills."""
    there = np.asarray(np.isfinite(stamps.flux).any(axis=1))  # (n, y, x)
    reach = []
    for lines, offset in (
        (np.asarray(there.any(axis=1)), stamps.offset_px[:, 0]),
        (np.asarray(there.any(axis=2)), stamps.offset_px[:, 1]),
    ):
        size = lines.shape[1]
        first, last = lines.argmax(axis=1), size - 1 - lines[:, ::-1].argmax(axis=1)
        source = size // 2 + offset
        reach += [source - first + 0.5, last - source + 0.5]
    return float(2 * np.median(np.min(reach, axis=0)) * stamps.scale_arcsec)


def _margin_px(recipe: Recipe, card: ModelCard, scale_arcsec: float) -> int:
    """Return by how many of a stamp's pixels the random shifts reach farther."""
    return math.ceil((1 + recipe.fit.jitter_px) * card.scale_arcsec / scale_arcsec)


def _shown(stamps: Stamps, data: DataSettings) -> npt.NDArray[np.bool_]:
    """Say which objects have pixels that the recipe wants."""
    shown = stamps.center_valid
    if data.drop_red:
        shown = shown & ~mostly_red(stamps.flux)
    if not shown.any():
        raise SourcesError(f"no labeled object of {data.table} has pixels; leave it out")
    return shown


def _cut_block(
    recipe: Recipe, data: DataSettings, card: ModelCard, labels: Labels
) -> tuple[Stamps, DataDigest]:
    """Return the stamps of one ``[[data]]`` and what they came from."""
    if data.thumbnails is not None:
        return _cut_thumbnails(recipe, data.thumbnails, card, labels)
    mosaic = Mosaic.open(recipe.path(data.store))
    missing = [band for band in card.bands if band not in {known.name for known in mosaic.bands}]
    if missing:
        raise MosaicError(
            f"the mosaic {mosaic.name} lacks the band {missing[0]!r} of [stretch] (it has"
            f" {', '.join(band.name for band in mosaic.bands)}); ingest it, or leave it out there"
        )
    require_mosaic(card, mosaic, card.bands)
    origin = DataDigest(name=mosaic.name, sha256=mosaic.digest, n=0)
    return _cut_from_mosaic(mosaic, recipe, card, labels), origin


def _cut_thumbnails(
    recipe: Recipe, settings: ThumbnailSettings, card: ModelCard, labels: Labels
) -> tuple[Stamps, DataDigest]:
    """Return thumbnails as stamps, and what they came from."""
    path, names = recipe.path(settings.path), labels.thumb.tolist()
    frame = ThumbnailFrame(settings.planes, settings.scale_arcsec, settings.source_px, recipe.unit)
    # A thumbnail is as a rule cut to the stamp, so it is continued as `score` continues it, and for
    # the shifts.
    rim_px = _margin_px(recipe, card, frame.scale_arcsec)
    size_px = cut_size_px(card, frame.scale_arcsec, rotated=True) + 2 * rim_px
    stamps = read_thumbnails(path, names, frame, size_px, rim_px)
    in_order = replace(
        stamps,
        bands=card.bands,
        flux=stamps.flux[:, [stamps.bands.index(band) for band in card.bands]],
    )
    digest = thumbnails_digest(path, names)
    return in_order, DataDigest(name=path.name, sha256=digest, n=0)


def _cut_from_mosaic(mosaic: Mosaic, recipe: Recipe, card: ModelCard, labels: Labels) -> Stamps:
    """Return stamps from the mosaic, one piece of it in memory at a time."""
    level = pyramid_level(card, mosaic.scale_arcsec, mosaic.n_levels)
    scale_arcsec = mosaic.scale_arcsec * 2**level
    margin_px = _margin_px(recipe, card, scale_arcsec)
    size_px = cut_size_px(card, scale_arcsec, rotated=True) + 2 * margin_px
    x, y = mosaic.world_to_pixel(labels.ra_deg, labels.dec_deg)
    grid = TileGrid(mosaic.shape, READ_PX)
    row, col = grid.owner(x, y)
    owner = row * grid.n_cols + col
    order = np.argsort(owner, kind="stable")
    pieces = np.split(order, np.flatnonzero(np.diff(owner[order])) + 1)
    cuts = [cut_stamps(mosaic, x[rows], y[rows], size_px, card.bands, level) for rows in pieces]
    return Stamps.join(cuts).take(np.argsort(order))
