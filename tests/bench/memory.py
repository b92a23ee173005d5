"""Peak memory of a run at four times the area."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import tomli_w

from survey_classifier.mosaic.sky import SkyGrid
from tests import small_run
from tests.bench.field import BANDS, make_field, wcs_of
from tests.bench.result import Result

SIDE_PX, N_SOURCES, TILE_PX = 4096, 1500, 2048
RUN = """
import json, sys
from pathlib import Path
from survey_classifier import classify
receipt = classify(Path(sys.argv[1]))
# Not ru_maxrss: a child inherits that of the process that started it.
status = Path("/proc/self/status").read_text()
peak = int(status.partition("VmHWM:")[2].split()[0])
print(json.dumps({"n": receipt.n_in, "peak_kib": peak}))
"""


def bench_memory(folder: Path) -> list[Result]:
    """Classify two mosaics of one density in processes of their own."""
    small, large = (peak_mib(folder, side) for side in (SIDE_PX, 2 * SIDE_PX))
    detail = {"peak_mib": [round(small), round(large)], "side_px": [SIDE_PX, 2 * SIDE_PX]}
    return [Result("memory_growth", large / small, 1.15, at_most=True, detail=detail)]


def peak_mib(folder: Path, side_px: int) -> float:
    """Return the peak resident memory of one serial run."""
    work = folder / f"field-{side_px}"
    make_field(work, side_px)
    n_sources = N_SOURCES * (side_px // SIDE_PX) ** 2
    rng = np.random.default_rng(4)
    sky = SkyGrid(wcs_of(side_px)).pixel_to_world(*rng.uniform(0, side_px - 1, (2, n_sources)))
    lines = [f"{n},{ra:.7f},{dec:.7f}" for n, (ra, dec) in enumerate(zip(*sky, strict=True))]
    (work / "sources.csv").write_text("\n".join(["source_id,ra,dec", *lines]))
    stretch = {band: {"softening": 20.0, "maximum": 2000.0} for band in BANDS}
    small_run.write_checkpoint(
        work / "net.safetensors", bands=BANDS, stretch=stretch, stamp_arcsec=20.0, stamp_px=56
    )
    run = work / "run.toml"
    run.write_text(
        tomli_w.dumps(
            {
                "name": "memory",
                "out": f"out-{np.random.default_rng().integers(1 << 60)}",
                "mosaic": {"store": "field.zarr"},
                "sources": {"path": "sources.csv"},
                "model": {"checkpoint": "net.safetensors", "device": "cpu"},
                "tiles": {"size_px": TILE_PX},
                "cluster": {"kind": "serial"},
            }
        )
    )
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(run)], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])["peak_kib"] / 1024
