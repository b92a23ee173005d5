"""Peak memory of an ingest, and of one of four times the area."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from survey_classifier.mosaic.mosaic_settings import MosaicSettings
from tests.bench.coadds import patches
from tests.bench.result import Result

PER_SIDE, BANDS = 3, ("r", "i")
MARGIN_MIB = 300e6 / 2**20
"""What the process takes besides pixels: mostly the packages that it loads."""
RUN = """
import json, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from survey_classifier.mosaic.capacity import shard_bytes
from survey_classifier.mosaic.ingest import carry_out
from survey_classifier.mosaic.planning import plan_or_open
from survey_classifier.mosaic.mosaic_settings import MosaicSettings
folder = Path(sys.argv[1])
plans = plan_or_open(MosaicSettings.model_validate_json(sys.argv[2]), folder)
# As many threads as fit the memory, as on a machine of many cores.
n_threads = plans[0].memory_bytes // shard_bytes(plans[0])
with ThreadPoolExecutor(n_threads) as pool:
    carry_out(plans, executor=pool)
n_bytes = sum(image.exposure.path.stat().st_size for image in plans[0].images)
# Not ru_maxrss: a child inherits that of the process that started it.
status = Path("/proc/self/status").read_text()
peak = int(status.partition("VmHWM:")[2].split()[0]) / 1024
print(json.dumps({"peak_mib": peak, "read_gb": n_bytes / 1e9, "threads": n_threads}))
"""


def bench_ingest_memory(folder: Path) -> list[Result]:
    """Ingest a square of patches and one of twice the side, in processes of their own."""
    work = folder / "ingest-memory"
    small, large = (peak(work, per_side) for per_side in (PER_SIDE, 2 * PER_SIDE))
    shutil.rmtree(work)
    budget = MosaicSettings(store="of-the-defaults.zarr").memory_mib
    detail = {"small": small, "large": large, "budget_mib": budget}
    growth = large["peak_mib"] / small["peak_mib"]
    return [
        Result("ingest_rss_mib", large["peak_mib"], round(budget + MARGIN_MIB), True, detail),
        Result("ingest_memory_growth", growth, 1.1, True, detail),
    ]


def peak(folder: Path, per_side: int) -> dict[str, float]:
    """Return the peak resident memory of one ingest; its store is removed."""
    run = patches(folder, per_side, BANDS)
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(folder), run.model_dump_json()],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    shutil.rmtree(folder / str(run.store))
    return {key: round(value, 2) for key, value in json.loads(done.stdout).items()}
