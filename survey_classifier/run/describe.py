"""What a run will do, in words.

Owns the lines that the verb ``plan`` prints, with a mosaic or before there is one. Does not own
the plan itself (``plan``).
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from survey_classifier.catalog.parts import done_parts
from survey_classifier.geometry import TileGrid
from survey_classifier.membership.evidence import PIECES
from survey_classifier.model.checkpoint import read_card
from survey_classifier.model.inputs import require_mosaic
from survey_classifier.model.shipped import resolve_checkpoint
from survey_classifier.mosaic.layout import IngestPlan
from survey_classifier.mosaic.planning import plan_or_open
from survey_classifier.mosaic.remarks import remarks
from survey_classifier.mosaic.store import SHARD_PX, Mosaic
from survey_classifier.run.config import RunConfig, as_run
from survey_classifier.run.detect import require_detectable
from survey_classifier.run.inputs import Inputs, read_inputs
from survey_classifier.run.plan import Plan, plan
from survey_classifier.words import are, counted

__all__ = ["describe"]

N_NAMED = 5
"""Mosaics that are named."""


def describe(run: str | Path | RunConfig) -> Iterator[str]:
    """Check a run without doing any of it, and say what it will do.

    What is not wrong is said before the exception of what is.

    Parameters
    ----------
    run
        A run file, or one that was read already.

    Yields
    ------
    str
        Line for a terminal.

    Raises
    ------
    InputError
        Of the kind that fits: something that the run needs is missing, or does not fit.
    """
    config = as_run(run)
    has_list = not config.sources.detect or config.detected_path.exists()
    inputs = read_inputs(config) if has_list else None
    card = read_card(resolve_checkpoint(config.checkpoint, config.folder))
    mosaics = plan_or_open(config.mosaic, config.folder)
    of_results = f", fingerprint {inputs.fingerprint[:12]}" if inputs else ""
    yield f"run          {config.name}{of_results}"
    yield from _mosaics(mosaics)
    yield f"checkpoint   {card.name} ({card.architecture}, {card.stamp_arcsec:g} arcsec stamps)"
    for mosaic in mosaics:
        require_mosaic(card, mosaic, config.mosaic.bands)
    if inputs is not None:
        yield f"evidence     {_evidence(inputs)}"
    finished = [mosaic for mosaic in mosaics if isinstance(mosaic, Mosaic)]
    if inputs is None:
        require_detectable(config, mosaics)
        above = f"above {config.detect.threshold_sigma:g} sigma"
        yield f"sources      to be detected on {_one_of(mosaics)}, {above}"
    elif len(finished) < len(mosaics):
        n_sources, n_on = len(inputs.sources), inputs.n_on(mosaics)
        yield f"sources      {n_sources}, {n_on} of them on {_one_of(mosaics)}"
    else:
        laid_out = plan(config, inputs, finished)
        for line in laid_out.remarks:
            yield f"remark       {line}"
        yield from _tiles(laid_out)


def _mosaics(mosaics: Sequence[IngestPlan | Mosaic]) -> Iterator[str]:
    """Say which mosaics there are or will be, and of how many images."""
    to_ingest = [mosaic for mosaic in mosaics if isinstance(mosaic, IngestPlan)]
    yield f"{_areas(mosaics, len(to_ingest))}{_space(to_ingest) if to_ingest else ''}"
    images = Counter[str]()
    for band in (band for mosaic in mosaics for band in mosaic.bands):
        images[band.name] += len(band.source_files)
    of_bands = ", ".join(f"{n} of {band}" for band, n in images.items())
    yield f"images       {of_bands}"
    for line in remarks(mosaics):
        yield f"remark       {line}"


def _space(to_ingest: Sequence[IngestPlan]) -> str:
    """Say what an ingest will write."""
    n_shards, n_bytes = 0, 0.0
    for mosaic in to_ingest:
        shards = TileGrid(mosaic.shape, SHARD_PX)
        n_shards += len(mosaic.bands) * shards.n_rows * shards.n_cols
        for band in mosaic.bands:
            # Flux, mask and variance of level 0, and a third of that in the levels above.
            px_bytes = 4 + 1 + 4 * band.has_variance
            n_bytes += mosaic.shape[0] * mosaic.shape[1] * px_bytes * 4 / 3
    return f", {counted(n_shards, 'shard')}, up to {n_bytes / 2**30:.1f} GiB on disk"


def _evidence(inputs: Inputs) -> str:
    """Say what evidence is weighed, and with which prior."""
    unused = {*inputs.weighing.without}
    if inputs.weighing.evidence.color is None:
        unused.add("color")
    used = [piece for piece in PIECES if piece not in unused]
    prior = inputs.config.membership.prior or "perseus"
    return f"{', '.join(used)}; prior {prior}"


def _tiles(laid_out: Plan) -> Iterator[str]:
    """Say how the sources are shared among tiles, and what a tile takes."""
    mosaics = [sheet.mosaic for sheet in laid_out.sheets]
    owned = np.array([len(tile.rows) for tile in laid_out.tiles])
    done = laid_out.done(done_parts(laid_out.config.parts_folder, laid_out.fingerprint))
    yield (
        f"sources      {laid_out.n_sources}, {laid_out.n_on_mosaic} of them on {_one_of(mosaics)}, "
        f"in {(owned > 0).sum()} of {counted(len(owned), 'tile')}, at most {owned.max()} in one"
    )
    yield from _stamps(laid_out)
    yield f"tile memory  at most {laid_out.tile_bytes / 2**20:.0f} MiB"
    to_do = counted(len(owned) - len(done), "tile")
    yield f"to do        {to_do}; {len(done)} {are(len(done))} finished"


def _areas(mosaics: Sequence[IngestPlan | Mosaic], n_to_ingest: int) -> str:
    """Say which mosaics there are, and how many of them are to be ingested."""
    first = mosaics[0]
    bands = ", ".join(dict.fromkeys(band.name for mosaic in mosaics for band in mosaic.bands))
    if len(mosaics) == 1:
        state = ", to be ingested: bands" if n_to_ingest else ", bands"
        size = f"{first.shape[1]} x {first.shape[0]} px of {first.scale_arcsec:.4g} arcsec"
        return f"mosaic       {first.name}{state} {bands}, {size}"
    names = ", ".join(mosaic.name for mosaic in mosaics[:N_NAMED])
    state = f", {n_to_ingest} of them to be ingested: bands" if n_to_ingest else ", bands"
    n_px = sum(mosaic.shape[0] * mosaic.shape[1] for mosaic in mosaics)
    scales = sorted({mosaic.scale_arcsec for mosaic in mosaics})
    of_scale = " to ".join(dict.fromkeys(f"{scale:.4g}" for scale in (scales[0], scales[-1])))
    return (
        f"mosaics      {len(mosaics)} ({names}{', ...' if len(mosaics) > N_NAMED else ''})"
        f"{state} {bands}, {n_px / 1e6:.4g} Mpx of {of_scale} arcsec"
    )


def _one_of(mosaics: Sequence[IngestPlan | Mosaic]) -> str:
    return "the mosaic" if len(mosaics) == 1 else "a mosaic"


def _stamps(laid_out: Plan) -> Iterator[str]:
    """Say how large stamps are, for each way in which they are cut."""
    kinds = {
        (sheet.pixels.size_px, sheet.mosaic.scale_arcsec * 2**sheet.pixels.level,
         sheet.pixels.level)
        for sheet in laid_out.sheets
    }  # fmt: skip
    for line in sorted({f"{size} px of {scale:.4g} arcsec, level {k}" for size, scale, k in kinds}):
        yield f"stamps       {line}"
