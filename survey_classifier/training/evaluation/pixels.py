"""Pixels of judged objects: cut from mosaics, or read from thumbnails.

Owns where each object's pixels come from. Does not own the cut (``stamps``), the reading of
thumbnails (``thumbnails``) nor what is made of stamps (``profiles``, ``galleries``).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import numpy.typing as npt

from survey_classifier.errors import MosaicError
from survey_classifier.geometry import TileGrid
from survey_classifier.mosaic.inputs import mosaic_stores
from survey_classifier.mosaic.pixels import BandInfo
from survey_classifier.mosaic.store import Mosaic
from survey_classifier.mosaic.survey import owner_of
from survey_classifier.run.config import RunConfig
from survey_classifier.stamps import Stamps, cut_stamps
from survey_classifier.training.evaluation.settings import TruthFile
from survey_classifier.training.evaluation.truth import Truth
from survey_classifier.training.thumbnails import ThumbnailFrame, read_thumbnails

__all__ = ["Pixels"]

Rows = npt.NDArray[np.intp]

READ_PX = 2048
"""Side of the piece of a mosaic that is held in memory while stamps are cut."""
AT_ONCE = 512
"""Stamps that are held in memory together."""


@dataclass(frozen=True)
class Pixels:
    """Where the pixels of judged objects are."""

    file: TruthFile
    mosaics: tuple[Mosaic, ...]
    bands: tuple[str, ...]
    """Of every stamp; none where there are no pixels."""
    unit: Literal["nJy", "display"]

    @classmethod
    def of(cls, file: TruthFile, run: RunConfig | None) -> Self:
        """Open the mosaics of a truth file, or else those of a run.

        Raises
        ------
        MosaicError
            If a mosaic can't be opened, or bands or units of the origins differ.
        """
        stores = [str(file.path(store)) for store in file.stores]
        if not stores and run is not None:
            stores = mosaic_stores(run.mosaic, run.folder)
        mosaics = tuple(Mosaic.open(store) for store in stores)
        wanted = None if run is None else run.mosaic.bands
        infos = [info for info in mosaics[0].bands if wanted is None or info.name in wanted] if (
            mosaics
        ) else [BandInfo(name, file.unit) for name in _planes(file)]  # fmt: skip
        found = cls(
            file, mosaics, tuple(i.name for i in infos), infos[0].unit if infos else file.unit
        )
        found.check()
        return found

    def check(self) -> None:
        """Raise unless every origin has the bands and the unit of the first."""
        for mosaic in self.mosaics:
            units = {info.name: info.unit for info in mosaic.bands}
            self._require(mosaic.name, {b: units[b] for b in self.bands if b in units})
        for data in self.file.data:
            if data.thumbnails is not None:
                # A thumbnail of another unit is refused where it is read.
                self._require(
                    data.thumbnails.path, dict.fromkeys(data.thumbnails.planes, self.unit)
                )

    def _require(self, name: str, units: dict[str, str]) -> None:
        if set(units) != set(self.bands) or set(units.values()) != {self.unit}:
            has = ", ".join(f"{band} in {unit}" for band, unit in units.items()) or "none of them"
            raise MosaicError(
                f"stamps are of the bands {', '.join(self.bands)} in {self.unit}, {name} has {has};"
                " name stores and thumbnails that are alike"
            )

    def stamps(self, truth: Truth, rows: Rows) -> Iterator[tuple[Stamps, Rows]]:
        """Yield the stamps of some objects with their rows, a few hundred at a time.

        An object without usable pixels at its position is left out.

        Parameters
        ----------
        truth
            The objects.
        rows
            Which of them.
        """
        left = np.asarray(rows, dtype=np.intp)
        for stamps, some in self._from_mosaics(truth, left):
            usable = np.flatnonzero(stamps.center_valid)
            left = np.setdiff1d(left, some[usable])
            if len(usable):
                yield stamps.take(usable), some[usable]
        for number, data in enumerate(self.file.data):
            shown = left[(truth.table[left] == number) & (truth.thumb[left] != "")]
            if data.thumbnails is None:
                continue
            settings = data.thumbnails
            frame = ThumbnailFrame(
                settings.planes, settings.scale_arcsec, settings.source_px, self.unit
            )
            size_px = self._size_px(frame.scale_arcsec)
            for some in _chunks(shown):
                names = truth.thumb[some].tolist()
                stamps = read_thumbnails(self.file.path(settings.path), names, frame, size_px)
                yield self._in_order(stamps), some

    def _from_mosaics(self, truth: Truth, rows: Rows) -> Iterator[tuple[Stamps, Rows]]:
        """Yield the stamps of the objects that lie on a mosaic."""
        if not self.mosaics:
            return
        ra, dec = truth.ra_deg[rows], truth.dec_deg[rows]
        owner = owner_of(self.mosaics, ra, dec, self.bands)
        for number, mosaic in enumerate(self.mosaics):
            own = np.flatnonzero(owner == number)
            x, y = mosaic.world_to_pixel(ra[own], dec[own])
            row, col = TileGrid(mosaic.shape, READ_PX).owner(x, y)
            size_px = self._size_px(mosaic.scale_arcsec)
            # By columns within a row of tiles, so that what is read for one chunk lies together.
            order = np.lexsort((col, row))
            steps = np.flatnonzero(np.diff(row[order]) | np.diff(col[order])) + 1
            for piece in np.split(order, steps):
                for some in _chunks(piece):
                    stamps = cut_stamps(mosaic, x[some], y[some], size_px, self.bands)
                    yield stamps, rows[own[some]]

    def _in_order(self, stamps: Stamps) -> Stamps:
        """Return stamps with the bands in our order."""
        index = [stamps.bands.index(band) for band in self.bands]
        return Stamps(
            self.bands,
            stamps.flux[:, index],
            stamps.offset_px,
            stamps.valid_fraction,
            stamps.center_mask,
            stamps.sticks_out,
            stamps.mask_fraction,
            stamps.scale_arcsec,
        )

    def _size_px(self, scale_arcsec: float) -> int:
        """Return the odd side of a stamp that holds the wanted angle."""
        return 2 * math.ceil(self.file.stamp_arcsec / scale_arcsec / 2) + 1


def _planes(file: TruthFile) -> tuple[str, ...]:
    """Return the bands of the first thumbnails."""
    return next((d.thumbnails.planes for d in file.data if d.thumbnails is not None), ())


def _chunks(rows: Rows) -> Iterator[Rows]:
    for start in range(0, len(rows), AT_ONCE):
        yield rows[start : start + AT_ONCE]
