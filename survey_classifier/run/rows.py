"""Catalog rows: everything that is known of a source, side by side.

Owns which room fills which column. Does not own any formula (``membership``), the columns'
meaning (``catalog``) nor the order of the work (``tile``).
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from survey_classifier.catalog.schema import healpix_29
from survey_classifier.membership.color import color_region, delta_rs, deredden
from survey_classifier.membership.flags import Flag, Status, pack_flags, pixel_flags
from survey_classifier.membership.probability import llr_image, posterior
from survey_classifier.membership.redshift import dynamic_member, z_class
from survey_classifier.model.scorer import Scores
from survey_classifier.run.config import SourcesSettings
from survey_classifier.run.task import Spectra, TileContext, TileTask
from survey_classifier.sources.table import Sources
from survey_classifier.stamps import MASK_BITS, Stamps

__all__ = ["catalog_rows", "failed_rows", "inside", "statuses"]

Column = npt.NDArray[np.generic]
Columns = dict[str, Column]
PIXEL_COLUMNS = ("valid_fraction", *(f"mask_{str(bit.name).lower()}" for bit in MASK_BITS))


def inside(task: TileTask) -> npt.NDArray[np.bool_]:
    """Return whether each source's own pixel is one of the mosaic's, shape ``(n,)``."""
    ny, nx = task.mosaic_shape
    x, y = task.x_px, task.y_px
    return (x >= -0.5) & (x < nx - 0.5) & (y >= -0.5) & (y < ny - 0.5)


def statuses(task: TileTask, stamps: Stamps, min_valid_fraction: float) -> npt.NDArray[np.object_]:
    """Return why each source can or cannot be scored, shape ``(n,)``.

    Parameters
    ----------
    task
        The tile's sources.
    stamps
        Their stamps.
    min_valid_fraction
        Least usable share of a stamp.
    """
    checks = (
        (
            ~np.isfinite(task.sources.ra_deg) | ~np.isfinite(task.sources.dec_deg),
            Status.NO_POSITION,
        ),
        (~inside(task), Status.OFF_MOSAIC),
        (~stamps.center_valid, Status.NO_DATA),
        (stamps.valid_fraction < min_valid_fraction, Status.LOW_COVERAGE),
    )
    conditions = [condition for condition, _ in checks]
    reasons = [np.full(len(stamps), status.value, dtype=object) for _, status in checks]
    return np.select(conditions, reasons, default=Status.CLASSIFIED.value).astype(object)


def catalog_rows(
    context: TileContext,
    task: TileTask,
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
        The tile's sources.
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
    pixels = np.column_stack([stamps.valid_fraction, stamps.mask_fraction])
    columns = _source_columns(task) | {
        "status": status,
        "flags": _flags(context, task, stamps),
        **_score_columns(context, scores),
        **_redshift_columns(context, task.spectra),
        **_color_columns(context, task.sources),
        **dict(zip(PIXEL_COLUMNS, pixels.T.astype(np.float32), strict=True)),
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
        "flags": np.zeros(n, dtype=np.int32),
        **_score_columns(context, scores),
        **_redshift_columns(context, task.spectra),
        **_color_columns(context, task.sources),
        **dict.fromkeys(PIXEL_COLUMNS, unknown),
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
        "tile": np.full(len(sources), task.tile.name, dtype=object),
        "_healpix_29": healpix_29(sources.ra_deg, sources.dec_deg),
    }


def _flags(context: TileContext, task: TileTask, stamps: Stamps) -> npt.NDArray[np.int32]:
    """Return the flags that pixels, edges and redshifts raise."""
    conditions = {
        Flag.EDGE_STAMP: _sticks_out(context, task),
        Flag.REDSHIFT_AMBIGUOUS: task.spectra.ambiguous,
        Flag.Z_WARNING: task.spectra.z_warning > 0,
    }
    pixels = pixel_flags(stamps.mask_fraction, stamps.valid_fraction)
    return pixels | pack_flags(len(stamps), conditions)


def _sticks_out(context: TileContext, task: TileTask) -> npt.NDArray[np.bool_]:
    """Return whether some of a stamp lies outside the mosaic; False without a position."""
    # On level 0: half a stamp to both sides of the source, in its pixels.
    half = context.size_px * 2**context.level / 2
    ny, nx = task.mosaic_shape
    x, y = task.x_px, task.y_px
    return (x < half - 0.5) | (x > nx - 0.5 - half) | (y < half - 0.5) | (y > ny - 0.5 - half)


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
