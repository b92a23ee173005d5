"""The stamps of one ``[[data]]`` of a recipe: cut from a mosaic, or made of thumbnails.

Owns their size, where they come from, and which of them can't be used. Does not own the cut
(``stamps``), the reading of thumbnails (``thumbnails``) nor which objects there are (``dataset``).
"""

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from survey_classifier.errors import ConfigError, MosaicError
from survey_classifier.geometry import TileGrid
from survey_classifier.model.card import DataDigest, ModelCard
from survey_classifier.model.inputs import (
    MAX_CUT_PX,
    SCALE_TOLERANCE,
    cut_size_px,
    pyramid_level,
    require_mosaic,
)
from survey_classifier.mosaic.pixels import MaskBit
from survey_classifier.mosaic.store import Mosaic
from survey_classifier.sources.sky import separation_deg
from survey_classifier.stamps import Stamps, cut_stamps
from survey_classifier.training.hue import mostly_red
from survey_classifier.training.labels import Labels
from survey_classifier.training.recipes import DataSettings, Recipe, ThumbnailSettings
from survey_classifier.training.roll import BAD_PIXELS, FLAT, NO_DATA, OFF_MOSAIC, RED
from survey_classifier.training.thumbnails import (
    ThumbnailFrame,
    read_thumbnails,
    thumbnails_digest,
)

__all__ = ["cut_block", "distance_from_mosaic", "fates", "frame_arcsec"]

READ_PX = 2048
"""Side of the piece of a mosaic that is held in memory while stamps are cut."""


def cut_block(
    recipe: Recipe, data: DataSettings, card: ModelCard, labels: Labels
) -> tuple[Stamps, DataDigest]:
    """Return the stamps of one ``[[data]]``, large enough for any rotation, and their origin.

    Parameters
    ----------
    recipe
        The recipe.
    data
        One of its ``[[data]]``.
    card
        The recipe's draft card.
    labels
        Objects of it.

    Raises
    ------
    SourcesError
        If a thumbnail can't be used.
    MosaicError
        If the store can't be opened or lacks a band.
    CheckpointError
        If the store has another unit, or a coarser scale.
    ConfigError
        If stamps would be too large, or thumbnails are too coarse.
    """
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
    if frame.scale_arcsec > card.scale_arcsec * SCALE_TOLERANCE:
        raise ConfigError(
            f"the thumbnails {path.name} have scale_arcsec = {frame.scale_arcsec:g}, the network"
            f" sees pixels of {card.scale_arcsec:.4g} arcsec or finer ones; correct scale_arcsec,"
            " or lower stamp_px of [stamps]"
        )
    # A thumbnail is as a rule cut to the stamp, so it is continued as `score` continues it, and for
    # the shifts.
    rim_px = _margin_px(recipe, card, frame.scale_arcsec)
    size_px = _size_px(recipe, card, frame.scale_arcsec, rim_px)
    stamps = read_thumbnails(path, names, frame, size_px, rim_px)
    if stamps.bands != card.bands:
        flux = stamps.flux[:, [stamps.bands.index(band) for band in card.bands]]
        stamps = replace(stamps, bands=card.bands, flux=flux)
    digest = thumbnails_digest(path, names)
    return stamps, DataDigest(name=path.name, sha256=digest, n=0)


def _cut_from_mosaic(mosaic: Mosaic, recipe: Recipe, card: ModelCard, labels: Labels) -> Stamps:
    """Return stamps from the mosaic, one piece of it in memory at a time."""
    level = pyramid_level(card, mosaic.scale_arcsec, mosaic.n_levels)
    scale_arcsec = mosaic.scale_arcsec * 2**level
    margin_px = _margin_px(recipe, card, scale_arcsec)
    size_px = _size_px(recipe, card, scale_arcsec, margin_px)
    x, y = mosaic.world_to_pixel(labels.ra_deg, labels.dec_deg)
    grid = TileGrid(mosaic.shape, READ_PX)
    row, col = grid.owner(x, y)
    owner = row * grid.n_cols + col
    order = np.argsort(owner, kind="stable")
    pieces = np.split(order, np.flatnonzero(np.diff(owner[order])) + 1)
    cuts = [cut_stamps(mosaic, x[rows], y[rows], size_px, card.bands, level) for rows in pieces]
    return Stamps.join(cuts).take(np.argsort(order))


def _size_px(recipe: Recipe, card: ModelCard, scale_arcsec: float, margin_px: int) -> int:
    """Return the side of stamps that are turned and shifted."""
    size_px = cut_size_px(card, scale_arcsec, rotated=True) + 2 * margin_px
    if size_px > MAX_CUT_PX:
        raise ConfigError(
            f"stamps of {card.stamp_arcsec:g} arcsec, turned and shifted by up to"
            f" {recipe.fit.jitter_px:g} of {card.stamp_px} px, have {size_px} px of"
            f" {scale_arcsec:.4g} arcsec a side, {MAX_CUT_PX} are allowed; lower stamp_arcsec of"
            " [stamps] or jitter_px of [fit]"
        )
    return size_px


def _margin_px(recipe: Recipe, card: ModelCard, scale_arcsec: float) -> int:
    """Return by how many of a stamp's pixels the random shifts reach farther."""
    return math.ceil((1 + recipe.fit.jitter_px) * card.scale_arcsec / scale_arcsec)


def fates(stamps: Stamps, data: DataSettings, stamp_arcsec: float) -> npt.NDArray[np.object_]:
    """Return why objects have no pixels that the recipe wants, '' where they have.

    Parameters
    ----------
    stamps
        Of the objects.
    data
        Says what is wanted.
    stamp_arcsec
        Side of what the network sees of the stamps: their rims, which are for turning and
        shifting, do not say what is red.

    Returns
    -------
    ndarray of str
        Shape ``(n,)``; see `Roll`.
    """
    has_none = (stamps.center_mask & np.uint8(MaskBit.NO_DATA)) != 0
    fate = np.full(len(stamps), "", dtype=object)
    # What is decided last holds.
    if data.drop_red:
        size = stamps.flux.shape[-1]
        seen_px = min(round(stamp_arcsec / stamps.scale_arcsec), size)
        seen = slice(size // 2 - seen_px // 2, size // 2 - seen_px // 2 + seen_px)
        fate[mostly_red(stamps.flux[:, :, seen, seen])] = RED
    fate[stamps.is_flat] = FLAT
    fate[~stamps.center_valid] = BAD_PIXELS
    fate[has_none] = NO_DATA
    fate[has_none & stamps.sticks_out] = OFF_MOSAIC
    return fate


def distance_from_mosaic(recipe: Recipe, data: DataSettings, labels: Labels) -> str:
    """Say how far from a mosaic labeled objects are.

    Parameters
    ----------
    recipe
        The recipe.
    data
        One of its ``[[data]]``, with a store.
    labels
        Objects of it, at least one.
    """
    mosaic = Mosaic.open(recipe.path(data.store))
    ny, nx = mosaic.shape
    ra, dec = (float(angle) for angle in mosaic.pixel_to_world((nx - 1) / 2, (ny - 1) / 2))
    nearest = separation_deg(labels.ra_deg, labels.dec_deg, ra, dec).min()
    return (
        f"the nearest lies {nearest:.3g} deg from the middle of {mosaic.name}, which is at"
        f" {ra:.4f}, {dec:.4f}"
    )


def frame_arcsec(stamps: Stamps) -> float:
    """Return the side of the largest square about the source that a typical stamp fills.

    Parameters
    ----------
    stamps
        At least one.
    """
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
