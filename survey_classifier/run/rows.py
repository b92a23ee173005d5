"""Catalog rows: everything that is known of a source, side by side.

Owns which room fills which column. Does not own any formula (``membership``), the columns'
meaning (``catalog``) nor the order of the work (``tile``).
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from survey_classifier.catalog.columns import PIXEL_COLUMN_NAMES
from survey_classifier.catalog.schema import healpix_29
from survey_classifier.membership.evidence import Weighed
from survey_classifier.membership.flags import Flag, Status, pack_flags, pixel_flags
from survey_classifier.membership.redshift import ambiguous_lowz, dynamic_member, z_class
from survey_classifier.model.scorer import Scores
from survey_classifier.mosaic.pixels import MaskBit
from survey_classifier.run.colors import photometry_columns, photometry_flags
from survey_classifier.run.task import Spectra, TileContext, TileTask
from survey_classifier.stamps import Stamps

__all__ = ["catalog_rows", "failed_rows", "stamp_statuses", "statuses"]

Column = npt.NDArray[np.generic]
Columns = dict[str, Column]
_TWO = 2
"""Of so many classes p_image says all that the network does."""


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
    status[rows] = stamp_statuses(stamps, min_valid_fraction)
    return status


def stamp_statuses(stamps: Stamps, min_valid_fraction: float) -> npt.NDArray[np.object_]:
    """Return why each stamp can or cannot be scored, shape ``(n,)``.

    Parameters
    ----------
    stamps
        The stamps.
    min_valid_fraction
        Least usable share of a stamp.
    """
    # A binned or resampled pixel that saturation made unusable has no data either.
    saturated = (stamps.center_mask & np.uint8(MaskBit.SATURATED)) != 0
    checks = (
        (saturated, Status.SATURATED),
        # A missing tile may have been filled with zeros or a level of sky: no sky is that flat.
        (~stamps.center_valid | stamps.is_flat, Status.NO_DATA),
        (stamps.valid_fraction < min_valid_fraction, Status.LOW_COVERAGE),
    )
    reasons = [np.full(len(stamps), reason.value, dtype=object) for _, reason in checks]
    found = np.select(
        [condition for condition, _ in checks], reasons, default=Status.CLASSIFIED.value
    )
    return np.asarray(found, dtype=object)


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
        "flags": _flags(context, task, rows, stamps),
        **_redshift_columns(context, task.spectra),
        **photometry_columns(task.sources, context.photometry, context.cuts),
        **_pixel_columns(len(status), rows, stamps),
    }
    return context.schema.to_arrow(columns | _evidence_columns(context, scores, columns))


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
    nothing = np.full((n, len(context.classes)), np.nan, dtype=np.float32)
    scores = Scores(nothing, unknown, unknown, unknown)
    columns = _source_columns(task) | {
        "status": np.full(n, Status.TILE_FAILED.value, dtype=object),
        "flags": _table_flags(context, task),
        **_redshift_columns(context, task.spectra),
        **photometry_columns(task.sources, context.photometry, context.cuts),
        **dict.fromkeys(PIXEL_COLUMN_NAMES, unknown),
    }
    return context.schema.to_arrow(columns | _evidence_columns(context, scores, columns))


def _only(scores: Scores, good: npt.NDArray[np.bool_]) -> Scores:
    """Return scores that are NaN in every row but the good ones."""
    return Scores(
        np.where(good[:, None], scores.probability, np.float32(np.nan)),
        np.where(good, scores.p_image, np.float32(np.nan)),
        np.where(good, scores.p_image_err, np.float32(np.nan)),
        np.where(good, scores.novelty, np.float32(np.nan)),
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


def _flags(
    context: TileContext, task: TileTask, rows: npt.NDArray[np.intp], stamps: Stamps
) -> npt.NDArray[np.int32]:
    """Return the flags that pixels, edges and tables raise."""
    flags = _table_flags(context, task)
    flags[rows] |= pixel_flags(stamps.mask_fraction, stamps.valid_fraction)
    flags[rows] |= pack_flags(len(rows), {Flag.EDGE_STAMP: stamps.sticks_out})
    return flags


def _table_flags(context: TileContext, task: TileTask) -> npt.NDArray[np.int32]:
    """Return the flags that redshifts, the source list and the table of bright stars raise."""
    spectra = task.spectra
    conditions = photometry_flags(task.sources, context.photometry) | {
        Flag.REDSHIFT_AMBIGUOUS: spectra.ambiguous,
        Flag.Z_WARNING: spectra.z_warning > 0,
        Flag.BRIGHT_STAR: task.is_near_star,
        Flag.AMBIGUOUS_LOWZ: ambiguous_lowz(
            spectra.z, spectra.spec_class, context.membership.redshift_cuts()
        ),
    }
    return pack_flags(len(spectra.z), conditions)


def _pixel_columns(n: int, rows: npt.NDArray[np.intp], stamps: Stamps) -> Columns:
    """Return what the stamps are made of; NaN where there is no stamp."""
    pixels = np.full((len(PIXEL_COLUMN_NAMES), n), np.nan, dtype=np.float32)
    pixels[0, rows] = stamps.valid_fraction
    pixels[1:, rows] = stamps.mask_fraction.T
    return dict(zip(PIXEL_COLUMN_NAMES, pixels, strict=True))


def _evidence_columns(context: TileContext, scores: Scores, known: Columns) -> Columns:
    """Return what the image says, and what follows with all other evidence.

    Parameters
    ----------
    context
        What all tiles share.
    scores
        Of the tile's sources, NaN where there is none.
    known
        The columns of all other observations.
    """
    image = {
        f"p_image_{name}": scores.probability[:, index]
        for index, name in enumerate(context.classes)
        if name != "member" and len(context.classes) > _TWO
    }
    weighed = context.weighing.weigh(known | image | {"p_image": scores.p_image})
    flags = known["flags"].astype(np.int32) | weighed.flags
    return {
        "p_image": scores.p_image,
        "p_image_err": scores.p_image_err,
        "novelty": scores.novelty,
        **image,
        **weighed.columns,
        **_other_classes(context, scores, weighed),
        "flags": flags,
    }


def _other_classes(context: TileContext, scores: Scores, weighed: Weighed) -> Columns:
    """Return the posterior of each class that is neither member nor star."""
    others = [i for i, name in enumerate(context.classes) if name not in ("member", "star")]
    if not others:
        return {}
    network = [scores.probability[:, index] for index in others]
    shares = weighed.shared(network, "star" in context.classes)
    return {f"p_{context.classes[i]}": share for i, share in zip(others, shares, strict=True)}


def _redshift_columns(context: TileContext, spectra: Spectra) -> Columns:
    """Return the redshift and what it says of membership by itself."""
    cuts = context.membership.redshift_cuts()
    return {
        "z": spectra.z,
        "z_err": spectra.z_err,
        "z_class": z_class(spectra.z, cuts).astype(object),
        "dynamic_member": dynamic_member(spectra.z, cuts),
        "caustic_member": spectra.caustic_member,
        "z_source": spectra.z_source,
        "spec_class": spectra.spec_class,
        "z_separation_arcsec": spectra.separation_arcsec,
        "z_warning": spectra.z_warning,
    }
