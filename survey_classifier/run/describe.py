"""What a run will do, in words.

Owns the lines that the verb ``plan`` prints, with a mosaic or before there is one. Does not own
the plan itself (``plan``).
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from survey_classifier.catalog.parts import done_parts
from survey_classifier.geometry import TileGrid, inside
from survey_classifier.mosaic.ingest import plan_ingest
from survey_classifier.mosaic.store import SHARD_PX
from survey_classifier.run.config import RunConfig, as_run
from survey_classifier.run.plan import Inputs, Plan, plan, read_inputs

__all__ = ["describe"]


def describe(run: str | Path | RunConfig) -> list[str]:
    """Check a run without doing any of it, and say what it will do.

    Parameters
    ----------
    run
        A run file, or one that was read already.

    Returns
    -------
    list of str
        Lines for a terminal.

    Raises
    ------
    InputError
        Of the kind that fits: something that the run needs is missing, or does not fit.
    """
    config = as_run(run)
    inputs = read_inputs(config)
    card = inputs.card
    network = f"checkpoint   {card.name} ({card.architecture}, {card.stamp_arcsec:g} arcsec stamps)"
    if config.mosaic.inputs and not config.path(config.mosaic.store).exists():
        return [f"run          {config.name}", network, *_before_ingest(inputs)]
    laid_out = plan(config, inputs)
    return [
        f"run          {config.name}, fingerprint {laid_out.fingerprint[:12]}",
        network,
        *_tiles(laid_out),
    ]


def _before_ingest(inputs: Inputs) -> Iterator[str]:
    """Say what the ingest will make, and how many sources lie on it."""
    config = inputs.config
    to_ingest = plan_ingest(config.mosaic, config.folder)
    inputs.require(to_ingest)
    shape, sources = to_ingest.shape, inputs.sources
    x, y = inputs.positions(to_ingest.sky, shape)
    shards = TileGrid(shape, SHARD_PX)
    n_shards = len(to_ingest.bands) * shards.n_rows * shards.n_cols
    # Flux and mask of level 0, and a third of that in the levels above.
    n_bytes = len(to_ingest.bands) * shape[0] * shape[1] * (4 + 1) * 4 // 3
    names = ", ".join(band.name for band in to_ingest.bands)
    yield (
        f"mosaic       {to_ingest.name}, to be ingested: bands {names}, {shape[1]} x {shape[0]} px "
        f"of {to_ingest.scale_arcsec:.4g} arcsec, {n_shards} shards, "
        f"up to {n_bytes / 2**30:.1f} GiB on disk"
    )
    yield f"sources      {len(sources)}, {int(inside(x, y, shape).sum())} of them on the mosaic"


def _tiles(laid_out: Plan) -> Iterator[str]:
    """Say how the sources are shared among tiles, and what a tile takes."""
    mosaic = laid_out.mosaic
    names = ", ".join(band.name for band in mosaic.bands)
    owned = np.array([len(rows) for rows in laid_out.rows_of_tile.values()])
    done = done_parts(laid_out.config.parts_folder, laid_out.fingerprint)
    on_mosaic = inside(laid_out.x_px, laid_out.y_px, mosaic.shape).sum()
    scale = mosaic.scale_arcsec * 2**laid_out.level
    yield (
        f"mosaic       {mosaic.name}, bands {names}, {mosaic.shape[1]} x {mosaic.shape[0]} px "
        f"of {mosaic.scale_arcsec:.4g} arcsec"
    )
    yield (
        f"sources      {laid_out.n_sources}, {on_mosaic} of them on the mosaic, in "
        f"{(owned > 0).sum()} of {len(owned)} tiles, at most {owned.max()} in one"
    )
    yield f"stamps       {laid_out.size_px} px of {scale:.4g} arcsec, level {laid_out.level}"
    yield f"tile memory  at most {laid_out.tile_bytes / 2**20:.0f} MiB"
    yield f"to do        {len(owned) - len(done)} tiles; {len(done)} are finished"
