"""The scores of images, collected row by row.

Owns which images are in memory together, the status of each row with its reason, and when there is
no use in reading on. Does not own files (``images``) nor the network (``model``).
"""

import hashlib
import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from survey_classifier.errors import ImageError
from survey_classifier.images.archive import Archive
from survey_classifier.images.cut import stamps_from_images
from survey_classifier.images.decode import Planes, decode
from survey_classifier.images.frame import ImageFrame
from survey_classifier.membership.flags import ImageStatus, Status
from survey_classifier.model.card import ModelCard
from survey_classifier.model.inputs import MAX_CUT_PX, SCALE_TOLERANCE, cut_size_px
from survey_classifier.model.scorer import Scorer
from survey_classifier.run.evidence_settings import MembershipSettings
from survey_classifier.run.rows import stamp_statuses
from survey_classifier.words import counted

__all__ = ["ImageScores", "Reason"]

MAX_BYTES = 1 << 28
"""What the images that wait, and the stamps made of them, may take."""
FLOAT_BYTES = 4
MIN_VALID_FRACTION: float = MembershipSettings.model_fields["min_valid_fraction"].default
BRIGHTEST = 1000.0
"""No display image has more, whatever stretches it, unless its network was made for more."""
FAR = 10
"""A stretch may end before the brightest pixels do, or after; by so many times it does not."""
ENOUGH = 20
"""If none of so many images fits what is said of them all, none will."""
FLAT = "a band of the image has one value all over"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why some rows have no score."""

    status: str
    text: str
    n_row: int
    first: str
    """Name of the first image, empty where the row names none."""


class ImageScores:
    """Scores of n rows, NaN where there is none; every array is in the rows' order.

    Parameters
    ----------
    scorer
        The network.
    archive
        The images.
    frame
        What they have in common.
    n
        Number of rows.
    """

    def __init__(self, scorer: Scorer, archive: Archive, frame: ImageFrame, n: int) -> None:
        self.status: npt.NDArray[np.object_] = np.full(n, ImageStatus.NO_IMAGE.value, dtype=object)
        n_class = len(scorer.card.classes)
        self.probability = np.full((n, n_class), np.nan, dtype=np.float32)
        self.p_image = np.full(n, np.nan, dtype=np.float32)
        self.p_image_err = np.full(n, np.nan, dtype=np.float32)
        self.novelty = np.full(n, np.nan, dtype=np.float32)
        self.valid_fraction = np.full(n, np.nan, dtype=np.float32)
        """Share of the stamp that the image has data for; NaN where there is no image of use."""
        self.reason: npt.NDArray[np.object_] = np.full(n, None, dtype=object)
        """Why a row has no score; None where it has one."""
        self._scorer, self._archive, self._frame = scorer, archive, frame
        # A million rows of one reason hold one text.
        self._keys: dict[tuple[str, str], tuple[str, str]] = {}
        self._n_row: Counter[tuple[str, str]] = Counter()
        self._first: dict[tuple[str, str], tuple[int, str]] = {}
        self._absent: ImageError | None = None
        self._misfit: ImageError | None = None
        self._n_misfit = self._n_there = self._n_fit = 0
        self._waiting: dict[float, list[tuple[int, str, Planes]]] = {}
        self._bytes = 0
        self._state = hashlib.sha256()

    @property
    def digest(self) -> str:
        """SHA-256 over names and contents of all images, in the rows' order."""
        return self._state.hexdigest()

    @property
    def reasons(self) -> list[Reason]:
        """Why rows have no score: the reason of most rows first."""
        return [
            Reason(*key, n_row, self._first[key][1]) for key, n_row in self._n_row.most_common()
        ]

    def take(self, row: int, name: str) -> None:
        """Read the image of a row; it is scored now or later.

        Parameters
        ----------
        row
            The row, counted from 0.
        name
            Name of its image, empty where it has none.

        Raises
        ------
        ImageError
            If none of the first images fits what is said of them all, or the network.
        """
        if not name:
            self._leave_out(row, name, ImageStatus.NO_IMAGE, "the table names no image")
            return
        try:
            content = self._archive.read(name)
            self._state.update(f"{name}\0{len(content)}\0".encode() + content)
            self._keep(row, name, decode(name, content, self._frame))
        except ImageError as error:
            is_there = self._archive.holds(name)
            status = ImageStatus.BAD_IMAGE if is_there else ImageStatus.NO_IMAGE
            self._leave_out(row, name, status, error.reason)
            self._count(error, is_there=is_there)
        else:
            self._n_there += 1
            self._n_fit += 1

    def finish(self) -> None:
        """Score the images that wait.

        Raises
        ------
        ImageError
            If no image fits what is said of them all, or the network, or none is there.
        """
        if self._misfit is not None and not self._n_fit:
            raise self._none(self._misfit, f"none of {counted(self._n_there, 'image')} fits")
        if self._absent is not None and not self._n_there:
            raise self._none(self._absent, "no image of the table is there")
        self._score_waiting()

    def _count(self, error: ImageError, *, is_there: bool) -> None:
        """Count an image that can't be used; if none fits of enough, there's no use in more."""
        self._n_there += is_there
        if not is_there:
            self._absent = self._absent or error
        elif not error.is_damage:
            self._misfit = self._misfit or error
            self._n_misfit += 1
            if self._n_misfit == ENOUGH and not self._n_fit:
                raise self._none(self._misfit, f"none of the first {ENOUGH} images fits")

    @staticmethod
    def _none(first: ImageError, words: str) -> ImageError:
        """Return the error for a fault that all images have."""
        return ImageError(f"{words}; the first: {first.reason}", first.name)

    def _leave_out(self, row: int, name: str, status: str, reason: str) -> None:
        """Note why a row has no score."""
        key = self._keys.setdefault((status, reason), (status, reason))
        self._n_row[key] += 1
        # Images are scored by their scales, so not in the order of the rows.
        self._first[key] = min(self._first.get(key, (row, name)), (row, name))
        self.status[row], self.reason[row] = key

    def _keep(self, row: int, name: str, planes: Planes) -> None:
        """Let an image wait for others of its scale, or for the memory's end."""
        card = self._scorer.card
        # Scales of one survey's files differ in digits that do not matter.
        scale_arcsec = float(f"{planes.scale_arcsec:.5g}")
        if scale_arcsec > card.scale_arcsec * SCALE_TOLERANCE:
            raise ImageError(
                f"the image has {scale_arcsec:.4g} arcsec/px, the checkpoint {card.name} needs"
                f" {card.scale_arcsec:.4g} or finer; choose another checkpoint",
                name,
            )
        if card.unit == "display":
            _require_display(card, planes, name)
        size_px = cut_size_px(card, scale_arcsec)
        if size_px > MAX_CUT_PX:
            raise ImageError(
                f"the image has {scale_arcsec:.4g} arcsec/px: {size_px} px for the"
                f" {card.stamp_arcsec:g} arcsec of {card.name}, {MAX_CUT_PX} are allowed; bin it",
                name,
            )
        n_band = len(card.bands)
        # The stamp, and what the resampling makes of it: positions, values and their validity.
        fine = (2 + 2 * n_band) * (size_px + card.stamp_px) ** 2
        n_bytes = planes.flux.nbytes + FLOAT_BYTES * (n_band * size_px**2 + fine)
        if self._bytes + n_bytes > MAX_BYTES:
            self._score_waiting()
        self._waiting.setdefault(scale_arcsec, []).append((row, name, planes))
        self._bytes += n_bytes

    def _score_waiting(self) -> None:
        """Score the images that wait."""
        for scale_arcsec, waiting in self._waiting.items():
            self._score(scale_arcsec, waiting)
        self._waiting, self._bytes = {}, 0

    def _score(self, scale_arcsec: float, waiting: list[tuple[int, str, Planes]]) -> None:
        """Score images of one scale."""
        rows = np.array([row for row, _, _ in waiting], dtype=np.intp)
        card = self._scorer.card
        stamps = stamps_from_images(
            (planes for _, _, planes in waiting),
            len(rows),
            self._frame.bands,
            scale_arcsec,
            cut_size_px(card, scale_arcsec),
            rim_px=math.ceil(card.scale_arcsec / scale_arcsec),
        )
        self.valid_fraction[rows] = stamps.valid_fraction
        status = stamp_statuses(stamps, MIN_VALID_FRACTION)
        good = np.flatnonzero(status == Status.CLASSIFIED.value)
        scores = self._scorer.score(stamps.take(good))
        finite = np.isfinite(scores.probability).all(axis=1)
        status[good[~finite]] = Status.SCORE_FAILED.value
        known = rows[good[finite]]
        self.probability[known] = scores.probability[finite]
        self.p_image[known] = scores.p_image[finite]
        self.p_image_err[known] = scores.p_image_err[finite]
        self.novelty[known] = scores.novelty[finite]
        self.status[known] = Status.CLASSIFIED.value
        words = {
            Status.LOW_COVERAGE.value: f"the image has data in less than {MIN_VALID_FRACTION:.0%}"
            f" of the {card.stamp_arcsec:g} arcsec that are needed",
            Status.SCORE_FAILED.value: "the network's output is not finite",
            Status.NO_DATA.value: "the image has no data where the source is",
        }
        flat = stamps.is_flat & stamps.center_valid
        for place in np.flatnonzero(status != Status.CLASSIFIED.value):
            row, name, _ = waiting[place]
            reason = FLAT if flat[place] else words[status[place]]
            self._leave_out(row, name, status[place], reason)


def _require_display(card: ModelCard, planes: Planes, name: str) -> None:
    """Raise if an image's values can't be of the scale that a network of display images saw."""
    known = planes.flux[np.isfinite(planes.flux)]
    highest = float(known.max(initial=0.0))
    expected = max(stretch.maximum for stretch in card.stretch.values())
    is_share = highest <= 1 and expected > FAR and (known % 1 != 0).any()
    if is_share or highest > max(FAR * expected, BRIGHTEST):
        raise ImageError(
            f"the image has values up to {highest:.4g}, the checkpoint {card.name} is for display"
            f" values, stretched up to {expected:g}; bring it to these",
            name,
        )
