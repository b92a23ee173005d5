"""Catalog rows: everything that is known of a source, side by side.

Owns which room fills which column. Does not own any formula (``membership``), the columns'
meaning (``catalog``) nor the order of the work (``tile``).
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from survey_classifier.catalog.columns import PIXEL_COLUMN_NAMES
from survey_classifier.catalog.schema import healpix_29
from survey_classifier.membership.color import color_region, delta_rs, deredden
from survey_classifier.membership.flags import Flag, Status, pack_flags, pixel_flags
from survey_classifier.membership.probability import llr_image, posterior
from survey_classifier.membership.redshift import dynamic_member, z_class
from survey_classifier.model.scorer import Scores
from survey_classifier.mosaic.pixels import MaskBit
from survey_classifier.run.config import SourcesSettings
from survey_classifier.run.task import Spectra, TileContext, TileTask
from survey_classifier.sources.table import Sources
from survey_classifier.stamps import Stamps

__all__ = ["catalog_rows", "failed_rows", "statuses"]

Column = npt.NDArray[np.generic]
Columns = dict[str, Column]


def statuses(
    task: TileTask, rows: npt.NDArray[np.intp], stamps: Stamps, min_valid_fraction: float
) -> npt.NDArray[np.object_]:
    """Return why each source can or cannot be scored, shape ``(n,)``.

    Parameters
    ----------
    task
        The tile's n sources.
    rows
        The sources that have a stamp.
    stamps
        Their stamps.
    min_valid_fraction
        Least usable share of a stamp.
    """
    placed = np.isfinite(task.sources.ra_deg) & np.isfinite(task.sources.dec_deg)
    status = np.where(placed, Status.OFF_MOSAIC.value, Status.NO_POSITION.value).astype(object)
    # A binned or resampled pixel that saturation made unusable has no data either.
    saturated = (stamps.center_mask & np.uint8(MaskBit.SATURATED)) != 0
    checks = (
        (saturated, Status.SATURATED),
        (~stamps.center_valid, Status.NO_DATA),
        (stamps.valid_fraction < min_valid_fraction, Status.LOW_COVERAGE),
    )
    reasons = [np.full(len(rows), reason.value, dtype=object) for _, reason in checks]
    status[rows] = np.select(
        [condition for condition, _ in checks], reasons, default=Status.CLASSIFIED.value
    )
    return status


def catalog_rows(
    context: TileContext,
    task: TileTask,
    rows: npt.NDArray[np.intp],
    stamps: Stamps,
    status: npt.NDArray[np.object_],
    scores: Scores,
) -> pa.Table:
    """Return the rows of a tile.

    Parameters
    ----------
    context
        What all tiles share.
    task
        The tile's n sources.
    rows
        The sources that have a stamp.
    stamps
        Their stamps.
    status
        Of each source; where it is classified and the score is not finite, it becomes
        score_failed here.
    scores
        One row a source, NaN where it was not scored.

    Raises
    ------
    CatalogError
        If a value may not be published.
    """
    failed = (status == Status.CLASSIFIED.value) & ~np.isfinite(scores.probability).all(axis=1)
    status = np.where(failed, Status.SCORE_FAILED.value, status).astype(object)
    scores = _only(scores, status == Status.CLASSIFIED.value)
    columns = _source_columns(task) | {
        "status": status,
        "flags": _flags(task, rows, stamps),
        **_score_columns(context, scores),
        **_redshift_columns(context, task.spectra),
        **_color_columns(context, task.sources),
        **_pixel_columns(len(status), rows, stamps),
    }
    return context.schema.to_arrow(columns)


def failed_rows(context: TileContext, task: TileTask) -> pa.Table:
    """Return the rows of a tile that failed: what the user brought, and the status.

    Parameters
    ----------
    context
        What all tiles share.
    task
        The tile's sources.
    """
    n = len(task.sources)
    unknown = np.full(n, np.nan, dtype=np.float32)
    scores = Scores(np.full((n, len(context.classes)), np.nan, dtype=np.float32), unknown, unknown)
    columns = _source_columns(task) | {
        "status": np.full(n, Status.TILE_FAILED.value, dtype=object),
        "flags": _redshift_flags(task.spectra),
        **_score_columns(context, scores),
        **_redshift_columns(context, task.spectra),
        **_color_columns(context, task.sources),
        **dict.fromkeys(PIXEL_COLUMN_NAMES, unknown),
    }
    return context.schema.to_arrow(columns)


def _only(scores: Scores, good: npt.NDArray[np.bool_]) -> Scores:
    """Return scores that are NaN in every row but the good ones."""
    return Scores(
        np.where(good[:, None], scores.probability, np.float32(np.nan)),
        np.where(good, scores.p_image, np.float32(np.nan)),
        np.where(good, scores.p_image_err, np.float32(np.nan)),
    )


def _source_columns(task: TileTask) -> Columns:
    """Return who a source is and where."""
    sources = task.sources
    return {
        "source_id": sources.source_id,
        "ra": sources.ra_deg,
        "dec": sources.dec_deg,
        "x": task.x_px,
        "y": task.y_px,
        "tile": np.full(len(sources), task.name, dtype=object),
        "_healpix_29": healpix_29(sources.ra_deg, sources.dec_deg),
    }


def _flags(task: TileTask, rows: npt.NDArray[np.intp], stamps: Stamps) -> npt.NDArray[np.int32]:
    """Return the flags that pixels, edges and redshifts raise."""
    flags = _redshift_flags(task.spectra)
    flags[rows] |= pixel_flags(stamps.mask_fraction, stamps.valid_fraction)
    flags[rows] |= pack_flags(len(rows), {Flag.EDGE_STAMP: stamps.sticks_out})
    return flags


def _redshift_flags(spectra: Spectra) -> npt.NDArray[np.int32]:
    """Return the flags that redshifts raise."""
    conditions = {
        Flag.REDSHIFT_AMBIGUOUS: spectra.ambiguous,
        Flag.Z_WARNING: spectra.z_warning > 0,
    }
    return pack_flags(len(spectra.z), conditions)


def _pixel_columns(n: int, rows: npt.NDArray[np.intp], stamps: Stamps) -> Columns:
    """Return what the stamps are made of; NaN where there is no stamp."""
    pixels = np.full((len(PIXEL_COLUMN_NAMES), n), np.nan, dtype=np.float32)
    pixels[0, rows] = stamps.valid_fraction
    pixels[1:, rows] = stamps.mask_fraction.T
    return dict(zip(PIXEL_COLUMN_NAMES, pixels, strict=True))


def _score_columns(context: TileContext, scores: Scores) -> Columns:
    """Return what the image says, and what follows with the prior."""
    unknown = np.full(len(scores.p_image), np.nan, dtype=np.float32)
    evidence = llr_image(scores.p_image, context.prevalence)
    prior = np.full(len(scores.p_image), context.prior)
    p_member = np.where(np.isnan(evidence), np.nan, posterior([evidence], prior))
    return {
        "p_image": scores.p_image,
        "p_image_err": scores.p_image_err,
        "llr_image": evidence,
        # No room computes these yet; the schema says so.
        "llr_color": unknown,
        "llr_redshift": unknown,
        "llr_position": unknown,
        "prior_member": prior,
        "p_member": p_member,
        **_other_classes(context, scores, p_member),
    }


def _other_classes(
    context: TileContext, scores: Scores, p_member: npt.NDArray[np.float64]
) -> Columns:
    """Share what is not member among the other classes, in the network's proportions."""
    others = [index for index, name in enumerate(context.classes) if name != "member"]
    network = scores.probability[:, others].astype(np.float64)
    total = network.sum(axis=1, keepdims=True)
    # A network that is certain of member says nothing of the others: they share equally.
    share = np.full(network.shape, 1.0 / len(others))
    np.divide(network, total, out=share, where=total > 0)
    return {
        f"p_{context.classes[index]}": (1.0 - p_member) * share[:, column]
        for column, index in enumerate(others)
    }


def _redshift_columns(context: TileContext, spectra: Spectra) -> Columns:
    """Return the redshift and what it says of membership by itself."""
    cuts = context.membership.redshift_cuts()
    return {
        "z": spectra.z,
        "z_err": spectra.z_err,
        "z_class": z_class(spectra.z, cuts).astype(object),
        "dynamic_member": dynamic_member(spectra.z, cuts),
        "spec_class": spectra.spec_class,
        "z_separation_arcsec": spectra.separation_arcsec,
        "z_warning": spectra.z_warning,
    }


def _color_columns(context: TileContext, sources: Sources) -> Columns:
    """Return dereddened magnitudes, and the color region where g, r and z are there."""
    settings = context.photometry
    ebv = sources.ebv if settings.ebv is None else np.full(len(sources), settings.ebv)
    mag = {band: _intrinsic(values, band, ebv, settings) for band, values in sources.mag.items()}
    unknown = np.full(len(sources), np.nan)
    color, distance = unknown, unknown
    cuts = context.membership.color_cuts()
    if {"g", "r", "z"} <= mag.keys():
        color = mag["g"] - mag["z"]
        distance = delta_rs(color, mag["r"], cuts)
    return {
        **{f"mag_{band}": values for band, values in mag.items()},
        "ebv": ebv,
        "color_gz": color,
        "delta_rs": distance,
        # Errors of the magnitudes are not known here, so the regions are not widened by them.
        "color_region": color_region(distance, unknown, cuts).astype(object),
    }


def _intrinsic(
    mag: npt.NDArray[np.float64],
    band: str,
    ebv: npt.NDArray[np.float64],
    settings: SourcesSettings,
) -> npt.NDArray[np.float64]:
    """Return magnitudes free of extinction."""
    return mag if settings.dereddened else deredden(mag, band, ebv, settings.system)
