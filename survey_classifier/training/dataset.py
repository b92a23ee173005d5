"""The training set: labeled objects and their stamps.

Owns which object of which table enters, with which label and which pixels. Does not own table
formats (``sources.formats``), the cut (``stamps``), thumbnails (``thumbnails``) or the folds
(``split``).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.spatial import KDTree

from survey_classifier.errors import SourcesError
from survey_classifier.geometry import TileGrid
from survey_classifier.model.card import DataDigest, ModelCard
from survey_classifier.model.inputs import cut_size_px, pyramid_level, require_mosaic
from survey_classifier.mosaic.store import Mosaic
from survey_classifier.sources.digest import table_digest
from survey_classifier.sources.formats import read_table
from survey_classifier.sources.sky import SAME_OBJECT_ARCSEC, chord_of_separation, on_unit_sphere
from survey_classifier.stamps import Stamps, cut_stamps
from survey_classifier.training.recipes import (
    DataSettings,
    LabelSettings,
    Recipe,
    ThumbnailSettings,
)
from survey_classifier.training.thumbnails import (
    ThumbnailFrame,
    read_thumbnails,
    thumbnails_digest,
)

__all__ = ["Labels", "TrainingSet", "load_training_set", "read_labels"]

READ_PX = 2048
"""Side of the piece of a mosaic that is held in memory while stamps are cut."""
MARGIN_PX = 2
"""Added to stamps for the random shifts, in pixels of the stamp."""


@dataclass(frozen=True, slots=True)
class Labels:
    """Labeled objects, each once."""

    object_id: npt.NDArray[np.object_]
    """Unique ``str``, shape ``(n,)``."""
    ra_deg: npt.NDArray[np.float64]
    """ICRS right ascension, shape ``(n,)``."""
    dec_deg: npt.NDArray[np.float64]
    """ICRS declination, shape ``(n,)``."""
    label: npt.NDArray[np.int64]
    """Index of the class, shape ``(n,)``."""
    thumb: npt.NDArray[np.object_]
    """Name of the thumbnail, '' where there is none, shape ``(n,)``."""

    def __len__(self) -> int:
        return len(self.object_id)

    def take(self, rows: npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> "Labels":
        """Return some of the objects."""
        return Labels(
            self.object_id[rows],
            self.ra_deg[rows],
            self.dec_deg[rows],
            self.label[rows],
            self.thumb[rows],
        )


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

    def __post_init__(self) -> None:
        counts = np.bincount(self.labels.label, minlength=len(self.classes))
        for name, n in zip(self.classes, counts, strict=True):
            if n == 0:
                raise SourcesError(
                    f"no training object of class {name!r} has pixels; add data or correct"
                    " the label mapping"
                )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def prevalence(self) -> dict[str, float]:
        """Share of each class."""
        counts = np.bincount(self.labels.label, minlength=len(self.classes))
        return {name: float(n / len(self)) for name, n in zip(self.classes, counts, strict=True)}

    def by_block(self, rows: npt.NDArray[np.intp]) -> list[tuple[Stamps, npt.NDArray[np.intp]]]:
        """Return, for each block that has some of the rows, their stamps and those rows."""
        parts, start = [], 0
        for block in self.blocks:
            inside = rows[(rows >= start) & (rows < start + len(block))]
            if len(inside):
                parts.append((block.take(inside - start), inside))
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
        If a store can't be opened.
    CheckpointError
        If a store does not have the recipe's bands, unit or scale.
    """
    labels: list[Labels] = []
    blocks: list[Stamps] = []
    digests: list[DataDigest] = []
    for data in recipe.data:
        found = _without_known(read_labels(data, recipe), labels)
        if not len(found):
            raise SourcesError(f"{data.table} has no object that is new and labeled; leave it out")
        stamps, origin = _cut_block(recipe, data, card, found)
        usable = np.flatnonzero(stamps.center_valid)
        labels.append(found.take(usable))
        blocks.append(stamps.take(usable))
        table = recipe.path(data.table)
        digests += [
            DataDigest(name=table.name, sha256=table_digest(table), n=len(usable)),
            origin,
        ]
    return TrainingSet(_joined(labels), tuple(blocks), tuple(digests), card.classes)


def read_labels(data: DataSettings, recipe: Recipe) -> Labels:
    """Return the labeled objects of a table.

    Those with an ignored label are left out, and those without a thumbnail where thumbnails are
    what their pixels come from.

    Raises
    ------
    SourcesError
        If the table can't be read, a label is unknown, a position is missing, or the rows of one
        object have different labels.
    """
    columns = data.columns
    thumb = () if columns.thumb is None else (columns.thumb,)
    table = read_table(
        recipe.path(data.table), [columns.id, columns.ra, columns.dec, columns.label, *thumb]
    )
    text = table.text(columns.label)
    kept = np.flatnonzero(~np.isin(text, recipe.labels.ignore))
    no_thumb = np.full(len(text), "", dtype=object)
    rows = Labels(
        table.text(columns.id)[kept],
        table.angles_deg(columns.ra)[kept],
        table.angles_deg(columns.dec)[kept],
        _class_index(text[kept], recipe.labels, data.table),
        (no_thumb if columns.thumb is None else table.text(columns.thumb))[kept],
    )
    lost = ~(np.isfinite(rows.ra_deg) & np.isfinite(rows.dec_deg))
    if lost.any():
        raise SourcesError(
            f"object {rows.object_id[lost][0]!r} of {data.table} has no position; leave it out"
        )
    once = _each_once(rows, data.table)
    return once if data.thumbnails is None else once.take(once.thumb != "")


def _class_index(
    text: npt.NDArray[np.object_], labels: LabelSettings, where: str
) -> npt.NDArray[np.int64]:
    """Return the class of each label as the table spells it."""
    for spelled in dict.fromkeys(text.tolist()):
        if spelled not in labels.mapping:
            raise SourcesError(
                f"{where} has the label {spelled!r}, which is in neither mapping nor ignore of"
                f" [labels] (mapped are {', '.join(labels.mapping)}); add it to one of them"
            )
    number = {spelled: labels.classes.index(name) for spelled, name in labels.mapping.items()}
    return np.array([number[spelled] for spelled in text], dtype=np.int64)


def _each_once(rows: Labels, where: str) -> Labels:
    """Return the first row of each object."""
    first = dict(zip(rows.object_id[::-1], range(len(rows) - 1, -1, -1), strict=True))
    for row, name in enumerate(rows.object_id):
        if rows.label[row] != rows.label[first[name]]:
            raise SourcesError(
                f"object {name!r} of {where} has different labels in different rows; keep one"
            )
    return rows.take(np.array(sorted(first.values()), dtype=np.intp))


def _without_known(labels: Labels, earlier: Sequence[Labels]) -> Labels:
    """Return the objects that are none of the earlier ones."""
    if not earlier or not len(labels):
        return labels
    known = _joined(earlier)
    tree = KDTree(on_unit_sphere(known.ra_deg, known.dec_deg))
    distance, _ = tree.query(on_unit_sphere(labels.ra_deg, labels.dec_deg))
    return labels.take(np.asarray(distance) > chord_of_separation(SAME_OBJECT_ARCSEC))


def _joined(labels: Sequence[Labels]) -> Labels:
    """Return the objects of several blocks as one."""
    return Labels(
        np.concatenate([part.object_id for part in labels]),
        np.concatenate([part.ra_deg for part in labels]),
        np.concatenate([part.dec_deg for part in labels]),
        np.concatenate([part.label for part in labels]),
        np.concatenate([part.thumb for part in labels]),
    )


def _cut_block(
    recipe: Recipe, data: DataSettings, card: ModelCard, labels: Labels
) -> tuple[Stamps, DataDigest]:
    """Return the stamps of one ``[[data]]`` and what they came from."""
    if data.thumbnails is not None:
        return _cut_thumbnails(recipe, data.thumbnails, card, labels)
    mosaic = Mosaic.open(recipe.path(data.store))
    require_mosaic(card, mosaic)
    origin = DataDigest(name=mosaic.name, sha256=mosaic.digest, n=0)
    return _cut_from_mosaic(mosaic, card, labels), origin


def _cut_thumbnails(
    recipe: Recipe, settings: ThumbnailSettings, card: ModelCard, labels: Labels
) -> tuple[Stamps, DataDigest]:
    """Return thumbnails as stamps, and what they came from."""
    path, names = recipe.path(settings.path), labels.thumb.tolist()
    frame = ThumbnailFrame(settings.planes, settings.scale_arcsec, settings.source_px)
    size_px = cut_size_px(card, frame.scale_arcsec, rotated=True) + MARGIN_PX
    stamps = read_thumbnails(path, names, frame, size_px)
    in_order = replace(
        stamps,
        bands=card.bands,
        flux=stamps.flux[:, [stamps.bands.index(band) for band in card.bands]],
    )
    digest = thumbnails_digest(path, names)
    return in_order, DataDigest(name=path.name, sha256=digest, n=0)


def _cut_from_mosaic(mosaic: Mosaic, card: ModelCard, labels: Labels) -> Stamps:
    """Return stamps from the mosaic, one piece of it in memory at a time."""
    level = pyramid_level(card, mosaic.scale_arcsec, mosaic.n_levels)
    size_px = cut_size_px(card, mosaic.scale_arcsec * 2**level, rotated=True) + MARGIN_PX
    x, y = mosaic.world_to_pixel(labels.ra_deg, labels.dec_deg)
    grid = TileGrid(mosaic.shape, READ_PX)
    row, col = grid.owner(x, y)
    owner = row * grid.n_cols + col
    order = np.argsort(owner, kind="stable")
    pieces = np.split(order, np.flatnonzero(np.diff(owner[order])) + 1)
    cuts = [cut_stamps(mosaic, x[rows], y[rows], size_px, card.bands, level) for rows in pieces]
    return Stamps.join(cuts).take(np.argsort(order))
