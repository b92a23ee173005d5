"""What the store's chunk, shard, codec and pipeline cost, on pixels like those of a mosaic.

Times are of the processor, all threads together: they hold whatever else the machine does.
"""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec, ZstdCodec

from survey_classifier.mosaic.quantize import rounded, sky_noise
from survey_classifier.mosaic.schema import CHUNK_PX, PIPELINE, SHARD_PX
from tests.bench.result import Result

SIDE_PX, STAMP_PX, N_STAMPS = 4096, 96, 300
READ_PX = 1024
NOISE_NJY = 3.0
ROUNDS = 7
PIXELS = "storage.npy"
CODECS: dict[str, Callable[[], Any]] = {
    "none": lambda: None,
    "lz4 bitshuffle": lambda: BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle"),
    "lz4 shuffle": lambda: BloscCodec(cname="lz4", clevel=5, shuffle="shuffle"),
    "zstd bitshuffle": lambda: BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle"),
    "zstd shuffle": lambda: BloscCodec(cname="zstd", clevel=3, shuffle="shuffle"),
    "zstd": lambda: ZstdCodec(level=3),
}


@dataclass(frozen=True)
class Setting:
    """One way to store the pixels."""

    chunk_px: int = CHUNK_PX
    shard_px: int = SHARD_PX
    codec: str = "lz4 bitshuffle"
    quantize: int = 0
    rust: bool = True
    """Whether the codecs run in the zarrs pipeline; the default one is Python's."""


def settings() -> Iterator[Setting]:
    """Yield the ways that are compared; the store's own first."""
    yield Setting()
    yield Setting(rust=False)
    for chunk_px in (64, 128, 256):
        for shard_px in (1024, 2048, 4096):
            if (chunk_px, shard_px) != (CHUNK_PX, SHARD_PX):
                yield Setting(chunk_px, shard_px)
    for codec in CODECS:
        if codec != Setting.codec:
            yield Setting(codec=codec)
    for codec in ("lz4 bitshuffle", "zstd bitshuffle", "zstd"):
        yield Setting(codec=codec, quantize=16)


def bench_storage(folder: Path) -> list[Result]:
    """Print the table, and hold our stamps against the fastest of those that compress as well."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / PIXELS, sky_plane())
    rows = [(setting, in_own_process(folder, setting)) for setting in settings()]
    print(f"{'chunk':>5} {'shard':>5} {'codec':16}{'quantize':>9}{'pipeline':>9}{'write MB/s':>11}"
          f"{'read MB/s':>10}{'stamp ms':>9}{'ratio':>7}{'peak MB':>8}")  # fmt: skip
    for at, cost in rows:
        print(f"{at.chunk_px:5} {at.shard_px:5} {at.codec:16}{at.quantize or '-':>9}"
              f"{'rust' if at.rust else 'python':>9}{cost['write_mb_s']:11.0f}"
              f"{cost['read_mb_s']:10.0f}{cost['stamp_ms']:9.2f}{cost['ratio']:7.2f}"
              f"{cost['peak_mb']:8.0f}")  # fmt: skip
    ours = rows[0][1]
    rivals = [cost for at, cost in rows if not at.quantize and cost["ratio"] > 0.98 * ours["ratio"]]
    stamp = min(cost["stamp_ms"] for cost in rivals) / ours["stamp_ms"]
    table = [asdict(at) | cost for at, cost in rows]
    return [Result("storage_stamp_vs_best", stamp, 0.8, detail={"ours": ours, "table": table})]


def in_own_process(folder: Path, setting: Setting) -> dict[str, float]:
    """Measure one setting where nothing else has used memory or threads."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.storage", str(folder), json.dumps(asdict(setting))],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def measure(folder: Path, setting: Setting) -> dict[str, float]:
    """Write and read a plane of flux."""
    pixels = np.load(folder / PIXELS)
    if setting.quantize:
        noise = sky_noise(pixels, np.zeros(pixels.shape, dtype=np.uint8))
        pixels = rounded(pixels, noise, setting.quantize)
    store = folder / "storage.zarr"
    shutil.rmtree(store, ignore_errors=True)
    group = zarr.open_group(store, mode="w")
    group.create_array(
        "flux", shape=pixels.shape, chunks=(setting.chunk_px,) * 2, shards=(setting.shard_px,) * 2,
        dtype="float32", fill_value=np.nan, compressors=CODECS[setting.codec](),
    )  # fmt: skip
    with zarr.config.set(PIPELINE if setting.rust else {}):
        array: Any = group["flux"]
    shards = [np.s_[y : y + setting.shard_px, x : x + setting.shard_px]
              for y in range(0, SIDE_PX, setting.shard_px)
              for x in range(0, SIDE_PX, setting.shard_px)]  # fmt: skip
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = memory_mb("VmRSS")
    for shard in shards:
        array[shard] = pixels[shard]
    peak = memory_mb("VmHWM") - before
    size = sum(file.stat().st_size for file in store.rglob("*") if file.is_file())
    starts = np.random.default_rng(2).integers(0, SIDE_PX - STAMP_PX, (N_STAMPS, 2))
    megabytes = pixels.nbytes / 1e6
    return {
        "write_mb_s": megabytes / cpu_s(lambda: [write(array, pixels, at) for at in shards]),
        "read_mb_s": megabytes / cpu_s(lambda: read_all(array)),
        "stamp_ms": cpu_s(lambda: cut_all(array, starts)) / N_STAMPS * 1e3,
        "ratio": pixels.nbytes / size,
        "peak_mb": peak,
    }


def sky_plane() -> np.ndarray:
    """Return noise with galaxies of many sizes; a fiftieth of the pixels are not sky."""
    rng = np.random.default_rng(1)
    plane = rng.normal(0, NOISE_NJY, (SIDE_PX, SIDE_PX)).astype(np.float32)
    y, x = np.mgrid[-12:13, -12:13]
    for row, col in rng.integers(12, SIDE_PX - 12, (SIDE_PX * 2, 2)):
        radius, peak = rng.uniform(1.5, 4), 10 * rng.pareto(1.2)
        blob = peak * np.exp(-(y**2 + x**2) / (2 * radius**2))
        plane[row - 12 : row + 13, col - 12 : col + 13] += blob.astype(np.float32)
    return plane


def write(array: Any, pixels: np.ndarray, where: Any) -> None:
    array[where] = pixels[where]


def read_all(array: Any) -> None:
    for y in range(0, SIDE_PX, READ_PX):
        for x in range(0, SIDE_PX, READ_PX):
            array[y : y + READ_PX, x : x + READ_PX]


def cut_all(array: Any, starts: np.ndarray) -> None:
    for y, x in starts:
        array[y : y + STAMP_PX, x : x + STAMP_PX]


def cpu_s(work: Callable[[], object]) -> float:
    """Return the least processor time of several rounds, in seconds."""
    seconds = []
    for _ in range(ROUNDS):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return min(seconds)


def memory_mb(what: str) -> float:
    """Return the resident memory of this process now (VmRSS), or at most so far (VmHWM)."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{what}:")[2].split()[0]) / 1024


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]), Setting(**json.loads(sys.argv[2])))))
