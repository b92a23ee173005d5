"""Scoring images that exist already: a table of sources, their images, and a checkpoint.

Owns the order of the work, what becomes of each row, and the table that comes out. Does not own
the reading of images (``images``), the network (``model``) nor what the evidence of an image is
worth (``membership``).

Only some images are in memory at a time, whatever their number.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tomli_w

from survey_classifier import __version__
from survey_classifier.catalog.footer import FINGERPRINT_KEY, PROVENANCE_KEY, Provenance
from survey_classifier.errors import CatalogError, CheckpointError, ConfigError, SourcesError
from survey_classifier.files import require_writable
from survey_classifier.images.archive import open_archive
from survey_classifier.images.frame import ImageFrame
from survey_classifier.membership.flags import Status
from survey_classifier.model.card import ModelCard
from survey_classifier.model.checkpoint import file_digest
from survey_classifier.model.inputs import SCALE_TOLERANCE
from survey_classifier.model.scorer import TorchScorer
from survey_classifier.model.shipped import resolve_checkpoint
from survey_classifier.run.reweigh import unwritten
from survey_classifier.run.scored_images import ImageScores, Reason
from survey_classifier.sources.digest import table_digest
from survey_classifier.sources.formats import read_table
from survey_classifier.sources.wider import table_columns, widen_table
from survey_classifier.words import counted

__all__ = ["ImageTable", "Scored", "score"]

Columns = dict[str, npt.NDArray[Any]]
PACKAGES = ("numpy", "torch", "astropy", "pillow", "pyarrow")
TWO_CLASSES = 2
"""Of so many classes p_image says all that the network does."""
MAX_TOLD = 12
"""Reasons that are told at the end; the table has them all."""


@dataclass(frozen=True, slots=True)
class ImageTable:
    """A table of sources and where their images are."""

    table: Path
    """A CSV, FITS, VOTable or Parquet file."""
    name_column: str
    """Column with the name of each source's image; empty where it has none."""
    images: Path
    """A folder or a zip of PNG, JPEG or FITS files."""


@dataclass(frozen=True, slots=True)
class Scored:
    """What came out."""

    path: Path
    """The new table."""
    n_by_status: Mapping[str, int]
    reasons: tuple[Reason, ...]
    """Why rows have no score: the reason of most rows first."""

    @property
    def exit_code(self) -> int:
        """0 if all went well, 1 if no row has a score, or the network failed on some.

        A row whose image is not there or can't be used is a row with its reason, as one off the
        mosaic is in a run.
        """
        done, failed = Status.CLASSIFIED.value, Status.SCORE_FAILED.value
        return int(bool(self.n_by_status.get(failed)) or not self.n_by_status.get(done))

    @property
    def lines(self) -> list[str]:
        """What is said at the end: the sum, and the reasons with their numbers of rows."""
        done = Status.CLASSIFIED.value
        statuses = [f"{n} {status}" for status, n in self.n_by_status.items() if status != done]
        n_rows = sum(self.n_by_status.values())
        parts = [f"{self.n_by_status.get(done, 0)} {done}", *statuses]
        told, rest = self.reasons[:MAX_TOLD], self.reasons[MAX_TOLD:]
        lines = [_line(reason) for reason in told]
        if rest:
            n_rest = counted(sum(reason.n_row for reason in rest), "row")
            lines.append(f"{n_rest} for {counted(len(rest), 'reason')} more: see status_reason")
        return [f"{counted(n_rows, 'row')} = {' + '.join(parts)}", *lines]


def _line(reason: Reason) -> str:
    """Return what is said of the rows that have no score for one reason."""
    first = f" (first: {reason.first})" if reason.first else ""
    return f"{reason.n_row} {reason.status}: {reason.text}{first}"


def score(
    checkpoint: str,
    source: ImageTable,
    out: Path,
    frame: ImageFrame | None = None,
    *,
    device: str = "auto",
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Scored:
    """Score images of sources: the table, row by row, with ``p_image``, its error and a status.

    ``valid_fraction`` is the share of what the network sees that the image has data for.
    ``status_reason`` says why a row has no score; it is null where there is one. ``novelty`` is
    added where the checkpoint tells it, and ``p_image_NAME`` of each other class where there are
    more than two.

    Parameters
    ----------
    checkpoint
        A shipped name, or a path to a checkpoint.
    source
        The table and its images.
    out
        The new table (Parquet): all columns of the old one, in its order, and the new ones.
    frame
        What the images have in common; its unit is taken from the checkpoint. By default the
        planes are the checkpoint's bands, and each file says its scale.
    device
        Where to compute: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
    overwrite
        Whether a file that is there may be replaced.
    progress
        Called with the rows that are done and all.

    Raises
    ------
    CheckpointError
        If the checkpoint can't be used, or needs other bands or a finer scale.
    SourcesError
        If the table can't be read or has a column that is to be new, the images are in no folder
        and no zip, or none of the first ones fits the frame and the network.
    CatalogError
        If there is such a file already, or it can't be written.
    ConfigError
        If the new table's name is none of a Parquet file, or the frame can't be.
    RunError
        If there is no such device, or not enough memory.
    """
    if out.suffix != ".parquet":
        raise ConfigError(f"cannot write {out}: give a name that ends in .parquet")
    target = unwritten(out, source.table, overwrite)
    try:
        require_writable(target)
    except OSError as error:
        raise CatalogError(
            f"cannot write {out}: {error.strerror}; name another place with --out"
        ) from error
    path = resolve_checkpoint(checkpoint, Path())
    digest = file_digest(path)
    scorer = TorchScorer.load(path, device, expected_digest=digest)
    card = scorer.card
    frame = replace(frame or ImageFrame(card.bands), unit=card.unit)
    _require_fit(card, frame)
    _require_new(source.table, _names(card))
    names = read_table(source.table, [source.name_column]).text(source.name_column)
    with open_archive(source.images) as archive:
        found = ImageScores(scorer, archive, frame, len(names))
        for row, name in enumerate(names):
            found.take(row, name)
            if progress is not None:
                progress(row + 1, len(names))
        found.finish()
    origin = _provenance(source, card, digest, frame, found.digest, target.stem)
    footer = {PROVENANCE_KEY: json.dumps(asdict(origin)), FINGERPRINT_KEY: origin.fingerprint}
    widen_table(source.table, target, _columns(card, found), footer)
    statuses, counts = np.unique(found.status.astype(str), return_counts=True)
    n_by_status = dict(zip(statuses.tolist(), counts.tolist(), strict=True))
    return Scored(target, n_by_status, tuple(found.reasons))


def _require_fit(card: ModelCard, frame: ImageFrame) -> None:
    """Raise if no image of a set can be what the network needs."""
    scale_arcsec, zero_point = frame.scale_arcsec, frame.zero_point
    if scale_arcsec is not None and not (scale_arcsec > 0 and math.isfinite(scale_arcsec)):
        raise ConfigError(
            f"scale_arcsec = {scale_arcsec:g} is no pixel scale; give arcsec/px, such as 0.1"
        )
    if zero_point is not None and not math.isfinite(zero_point):
        raise ConfigError(f"zero_point = {zero_point:g} is none; give a magnitude, such as 27.0")
    if zero_point is not None and card.unit == "display":
        raise ConfigError(
            f"zero_point = {zero_point:g} means nothing to {card.name}, which takes display values;"
            " leave it out"
        )
    if sorted(frame.bands) != sorted(card.bands):
        raise CheckpointError(
            f"the images have the bands {', '.join(frame.bands)}, the checkpoint {card.name} needs"
            f" exactly {', '.join(card.bands)}; correct the bands or choose another checkpoint"
        )
    if scale_arcsec is not None and scale_arcsec > card.scale_arcsec * SCALE_TOLERANCE:
        raise CheckpointError(
            f"the images have {scale_arcsec:.4g} arcsec/px, the checkpoint {card.name} needs"
            f" {card.scale_arcsec:.4g} or finer; choose another checkpoint"
        )


def _names(card: ModelCard) -> list[str]:
    """Return the names of the new columns."""
    others = [name for name in card.classes if name != "member"]
    more = [f"p_image_{name}" for name in others] if len(card.classes) > TWO_CLASSES else []
    if card.novelty is not None:
        more.append("novelty")
    return ["p_image", "p_image_err", *more, "valid_fraction", "status", "status_reason"]


def _columns(card: ModelCard, found: ImageScores) -> Columns:
    """Return the new columns."""
    known: Columns = {
        "p_image": found.p_image,
        "p_image_err": found.p_image_err,
        "novelty": found.novelty,
        "valid_fraction": found.valid_fraction,
        "status": found.status,
        "status_reason": found.reason,
    }
    for index, name in enumerate(card.classes):
        known[f"p_image_{name}"] = found.probability[:, index]
    return {name: known[name] for name in _names(card)}


def _require_new(table: Path, names: list[str]) -> None:
    """Raise if a column would be lost: the table is to come out with all that it has."""
    there = [name for name in table_columns(table) if name in names]
    if there:
        raise SourcesError(
            f"the table {table} has a column {there[0]!r}, which is to be a new one; rename it"
        )


def _provenance(
    source: ImageTable,
    card: ModelCard,
    checkpoint_digest: str,
    frame: ImageFrame,
    images_digest: str,
    name: str,
) -> Provenance:
    """Return what the new table says of where its rows come from."""
    said = {key: value for key, value in asdict(frame).items() if value not in (None, {})}
    configuration = {
        "table": source.table.name,
        "table_sha256": table_digest(source.table),
        "name_column": source.name_column,
        "images": source.images.name,
        "checkpoint": card.name,
        "trained_on": sorted({data.sha256 for data in card.data}),
        "frame": said,
    }
    content = [configuration, checkpoint_digest, images_digest]
    return Provenance(
        fingerprint=hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest(),
        run=name,
        checkpoint=card.name,
        checkpoint_digest=checkpoint_digest,
        configuration=tomli_w.dumps(configuration),
        versions={"survey_classifier": __version__} | {p: version(p) for p in PACKAGES},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        mosaics={source.images.name: images_digest},
    )
