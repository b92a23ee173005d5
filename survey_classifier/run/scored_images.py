"""The scores of images, collected row by row.

Owns which images are in memory together, and the status of each row. Does not own files
(``images``) nor the network (``model``).
"""

import hashlib
import math

import numpy as np
import numpy.typing as npt

from survey_classifier.errors import InputError, SourcesError
from survey_classifier.images.archive import Archive
from survey_classifier.images.cut import stamps_from_images
from survey_classifier.images.decode import Planes, decode
from survey_classifier.images.frame import ImageFrame
from survey_classifier.membership.flags import ImageStatus, Status
from survey_classifier.model.inputs import SCALE_TOLERANCE, cut_size_px
from survey_classifier.model.scorer import Scorer
from survey_classifier.run.evidence_settings import MembershipSettings
from survey_classifier.run.rows import stamp_statuses

__all__ = ["ImageScores"]

MAX_BYTES = 1 << 28
"""What the images that wait, and the stamps made of them, may take."""
MAX_CUT_PX = 2048
"""Side of the largest stamp: one of 1 GB would come of a wrong scale."""
FLOAT_BYTES = 4
MIN_VALID_FRACTION: float = MembershipSettings.model_fields["min_valid_fraction"].default


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
        self.problems: dict[str, str] = {}
        """The first reason for each status of a row whose image can't be used."""
        self._scorer, self._archive, self._frame = scorer, archive, frame
        self._waiting: dict[float, list[tuple[int, Planes]]] = {}
        self._bytes = 0
        self._state = hashlib.sha256()

    @property
    def digest(self) -> str:
        """SHA-256 over names and contents of all images, in the rows' order."""
        return self._state.hexdigest()

    def take(self, row: int, name: str) -> None:
        """Read the image of a row; it is scored now or later.

        Parameters
        ----------
        row
            The row, counted from 0.
        name
            Name of its image, empty where it has none.
        """
        if not name:
            return
        try:
            content = self._archive.read(name)
            self._state.update(f"{name}\0{len(content)}\0".encode() + content)
            self._keep(row, name, decode(name, content, self._frame))
        except InputError as error:
            is_there = self._archive.holds(name)
            status = ImageStatus.BAD_IMAGE if is_there else ImageStatus.NO_IMAGE
            self.status[row] = status.value
            self.problems.setdefault(status.value, str(error))

    def finish(self) -> None:
        """Score the images that wait."""
        for scale_arcsec, waiting in self._waiting.items():
            self._score(scale_arcsec, waiting)
        self._waiting, self._bytes = {}, 0

    def _keep(self, row: int, name: str, planes: Planes) -> None:
        """Let an image wait for others of its scale, or for the memory's end."""
        card = self._scorer.card
        # Scales of one survey's files differ in digits that do not matter.
        scale_arcsec = float(f"{planes.scale_arcsec:.5g}")
        if scale_arcsec > card.scale_arcsec * SCALE_TOLERANCE:
            raise SourcesError(
                f"the image {name} has {scale_arcsec:.4g} arcsec/px, the checkpoint {card.name}"
                f" needs {card.scale_arcsec:.4g} or finer; choose another checkpoint"
            )
        size_px = cut_size_px(card, scale_arcsec)
        if size_px > MAX_CUT_PX:
            raise SourcesError(
                f"the image {name} has {scale_arcsec:.4g} arcsec/px: {size_px} px for the"
                f" {card.stamp_arcsec:g} arcsec of {card.name}, {MAX_CUT_PX} are allowed; bin it"
            )
        n_band = len(card.bands)
        # The stamp, and what the resampling makes of it: positions, values and their validity.
        fine = (2 + 2 * n_band) * (size_px + card.stamp_px) ** 2
        n_bytes = planes.flux.nbytes + FLOAT_BYTES * (n_band * size_px**2 + fine)
        if self._bytes + n_bytes > MAX_BYTES:
            self.finish()
        self._waiting.setdefault(scale_arcsec, []).append((row, planes))
        self._bytes += n_bytes

    def _score(self, scale_arcsec: float, waiting: list[tuple[int, Planes]]) -> None:
        """Score images of one scale."""
        rows = np.array([row for row, _ in waiting], dtype=np.intp)
        card = self._scorer.card
        stamps = stamps_from_images(
            (planes for _, planes in waiting),
            len(rows),
            self._frame.bands,
            scale_arcsec,
            cut_size_px(card, scale_arcsec),
            rim_px=math.ceil(card.scale_arcsec / scale_arcsec),
        )
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
        self.status[rows] = status
