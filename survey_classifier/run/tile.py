"""The tile kernel: from the sources of one tile to its part of the catalog.

Owns the two stages of a tile, `cut_tile` and `finish_tile`. Plain functions with no Dask in
them: the serial driver calls them in a loop, the cluster driver puts them in a graph, and the
rows are the same. Does not own what a row holds (``rows``).
"""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from survey_classifier.catalog.parts import part_path, write_part
from survey_classifier.errors import TileError
from survey_classifier.geometry import inside
from survey_classifier.membership.flags import Status
from survey_classifier.model.scorer import Scorer, Scores
from survey_classifier.mosaic.pixels import PixelSource
from survey_classifier.run.rows import catalog_rows, statuses
from survey_classifier.run.task import HISTOGRAM_BINS, TileContext, TileReceipt, TileTask
from survey_classifier.stamps import Stamps, cut_stamps

__all__ = ["CutTile", "cut_tile", "finish_tile", "stage"]


@dataclass(frozen=True, slots=True)
class CutTile:
    """A tile between its stages: its task and its stamps."""

    task: TileTask
    rows: npt.NDArray[np.intp]
    """The sources that have a stamp: those whose pixel is one of the mosaic's."""
    stamps: Stamps
    """One for each of `rows`."""
    cut_seconds: float


def cut_tile(context: TileContext, task: TileTask, mosaic: PixelSource) -> CutTile:
    """Cut the stamps of a tile's sources.

    Parameters
    ----------
    context
        What all tiles share.
    task
        The tile.
    mosaic
        The tile's mosaic.

    Raises
    ------
    TileError
        If the pixels cannot be read.
    """
    start = time.perf_counter()
    with stage(task, "cut"):
        pixels = task.pixels
        rows = np.flatnonzero(inside(task.x_px, task.y_px, pixels.shape))
        x, y = task.x_px[rows], task.y_px[rows]
        stamps = cut_stamps(mosaic, x, y, pixels.size_px, context.bands, pixels.level)
    return CutTile(task, rows, stamps, time.perf_counter() - start)


def finish_tile(context: TileContext, cut: CutTile, scorer: Scorer) -> TileReceipt:
    """Score a tile's stamps, join the evidence and write the part.

    Parameters
    ----------
    context
        What all tiles share.
    cut
        The tile with its stamps.
    scorer
        The run's scorer.

    Raises
    ------
    TileError
        If scoring or writing fails.
    """
    start = time.perf_counter()
    task, stamps = cut.task, cut.stamps
    with stage(task, "finish"):
        status = statuses(task, cut.rows, stamps, context.membership.min_valid_fraction)
        good = np.flatnonzero(status[cut.rows] == Status.CLASSIFIED.value)
        # Without a rejected source there is no need of a copy: stamps fill most of the memory.
        scored = scorer.score(stamps if len(good) == len(stamps) else stamps.take(good))
        score_seconds = time.perf_counter() - start
        scores = _scatter(scored, cut.rows[good], len(status))
        rows = catalog_rows(context, task, cut.rows, stamps, status, scores)
        path = part_path(context.parts, task.name)
        origin = replace(context.provenance, mosaics={task.pixels.mosaic: task.pixels.digest})
        write_part(path, rows, context.schema, origin, task.digest)
    return TileReceipt(
        task.name,
        len(status),
        dict(Counter(rows["status"].to_pylist())),
        len(good),
        cut.cut_seconds,
        score_seconds,
        time.perf_counter() - start,
        _histogram(rows),
    )


def _scatter(scored: Scores, rows: np.ndarray, n: int) -> Scores:
    """Return scores of n sources, NaN but for those that were scored."""

    def spread(values: np.ndarray) -> np.ndarray:
        full = np.full((n, *values.shape[1:]), np.nan, dtype=np.float32)
        full[rows] = values
        return full

    return Scores(
        spread(scored.probability),
        spread(scored.p_image),
        spread(scored.p_image_err),
        spread(scored.novelty),
    )


def _histogram(rows: pa.Table) -> tuple[int, ...]:
    """Count p_member in equal bins."""
    p_member = rows["p_member"].to_numpy()
    counts, _ = np.histogram(p_member[np.isfinite(p_member)], HISTOGRAM_BINS, (0.0, 1.0))
    return tuple(int(count) for count in counts)


@contextmanager
def stage(task: TileTask, name: str) -> Iterator[None]:
    """Name the tile, the stage and the box in whatever goes wrong.

    Parameters
    ----------
    task
        The tile.
    name
        ``cut`` or ``finish``.

    Raises
    ------
    TileError
        In place of any exception.
    """
    try:
        yield
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else "no message"
        message = f"{type(error).__name__}: {reason}"
        raise TileError(task.name, name, str(task.core), message) from error
