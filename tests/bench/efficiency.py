"""How much of a run's time is the scorer's own."""

import shutil
import time
from pathlib import Path

import numpy as np

from survey_classifier import classify, plan, simulate
from survey_classifier.model.scorer import TorchScorer
from survey_classifier.mosaic.sky import SkyGrid
from survey_classifier.mosaic.store import Mosaic
from survey_classifier.stamps import cut_stamps
from tests.bench.result import Result, paired_seconds

N_SOURCES, SIZE_PX, ROUNDS = 40_000, 4096, 2


def bench_efficiency(folder: Path) -> list[Result]:
    """Time a whole run through Dask and the scorer alone on the same stamps, in turns."""
    field = folder / "simulated"
    if not field.exists():
        simulate(field, seed=3, size_px=SIZE_PX)
    run = dense_run(field)
    shutil.rmtree(field / "dense", ignore_errors=True)  # of another code or list, perhaps
    classify(run)  # ingest, so that it is not timed: a mosaic is ingested once

    def end_to_end() -> None:
        shutil.rmtree(plan(run).config.out_folder)
        classify(run)

    laid_out = plan(run)
    (sheet,), sources = laid_out.sheets, laid_out.inputs.sources
    x, y = sheet.mosaic.world_to_pixel(sources.ra_deg, sources.dec_deg)
    bands = laid_out.inputs.card.bands
    stamps = cut_stamps(sheet.mosaic, x, y, sheet.pixels.size_px, bands, sheet.pixels.level)
    scorer = TorchScorer.load(laid_out.inputs.checkpoint)
    scorer.score(stamps.take(slice(0, 256)))
    total, alone = paired_seconds((end_to_end, lambda: scorer.score(stamps)), ROUNDS)
    start = time.perf_counter()
    classify(run)
    detail = {
        "n_sources": N_SOURCES,
        "end_to_end_s": round(total, 2),
        "scorer_s": round(alone, 2),
        "stamps_per_s": round(N_SOURCES / total),
        "without_tiles_s": round(time.perf_counter() - start, 2),
        "rounds": ROUNDS,
    }
    return [Result("classify_efficiency", alone / total, 0.8, detail=detail)]


def dense_run(field: Path) -> Path:
    """Write a run over random positions: more sources than the field's own list."""
    mosaic_wcs = Mosaic.open(field / "field.zarr").wcs if (field / "field.zarr").exists() else None
    if mosaic_wcs is None:
        from survey_classifier import ingest

        mosaic = ingest(field / "run.toml")[0].mosaic
        mosaic_wcs = mosaic.wcs
    rng = np.random.default_rng(4)
    sky = SkyGrid(mosaic_wcs).pixel_to_world(*rng.uniform(100, SIZE_PX - 100, (2, N_SOURCES)))
    lines = [f"{n},{ra:.7f},{dec:.7f}" for n, (ra, dec) in enumerate(zip(*sky, strict=True))]
    (field / "dense.csv").write_text("\n".join(["source_id,ra,dec", *lines]))
    run = field / "dense.toml"
    run.write_text(
        'name = "dense"\nout = "dense"\n[mosaic]\nstore = "field.zarr"\n'
        '[sources]\npath = "dense.csv"\n[model]\ncheckpoint = "perseus-synthetic"\n'
        '[tiles]\nsize_px = 1024\n[cluster]\ndashboard = "127.0.0.1:0"\n'
    )
    return run
