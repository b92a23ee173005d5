"""Finding and measuring sources: pixels and sources a second, and the memory that a tile takes."""

import resource
import subprocess
import sys
from pathlib import Path
from time import perf_counter

from survey_classifier.mosaic.ingest import ingest_mosaics
from survey_classifier.mosaic.store import Mosaic
from survey_classifier.run.config import read_run
from survey_classifier.sources.detect import detect
from survey_classifier.sources.detection import DetectSettings
from survey_classifier.synthetic.field import simulate
from tests.bench.result import Result

SIZE_PX, N_SOURCES = 4096, 3000
TILE_PX = 1024


def bench_detection(folder: Path) -> list[Result]:
    """Time one thread on the simulated field, four bands, sky and photometry included."""
    run = folder / f"sky-{SIZE_PX}" / "run.toml"
    if not run.exists():
        simulate(run.parent, seed=1, size_px=SIZE_PX, n_sources=N_SOURCES)
    config = read_run(run)
    (mosaic,) = ingest_mosaics(config.mosaic, config.folder)
    start = perf_counter()
    n_sources = len(detect(mosaic, DetectSettings()))
    seconds = perf_counter() - start
    mpx = SIZE_PX**2 / 1e6
    detail = {"n_sources": n_sources, "sources_per_s": round(n_sources / seconds),
              "bands": len(mosaic.bands), "mpx": round(mpx, 1)}  # fmt: skip
    command = [sys.executable, "-m", "tests.bench.detection", str(mosaic.place)]
    rss = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return [
        Result("detect_mpx_per_s", mpx / seconds, 0.4, detail=detail),
        Result("detect_rss_mb", rss, 1200, at_most=True, detail={"tile_px": TILE_PX}),
    ]


if __name__ == "__main__":
    detect(Mosaic.open(sys.argv[1]), DetectSettings(tile_px=TILE_PX))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
