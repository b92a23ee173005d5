"""The ingest against a bare loop that copies the same pixels, and its peak memory."""

import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from survey_classifier.geometry import Box
from survey_classifier.mosaic.capacity import n_threads
from survey_classifier.mosaic.compose import Placed
from survey_classifier.mosaic.ingest import ingest_mosaics
from survey_classifier.mosaic.layout import IngestPlan
from survey_classifier.mosaic.mosaic_settings import MosaicSettings
from survey_classifier.mosaic.place import Place
from survey_classifier.mosaic.planning import plan_ingests
from survey_classifier.mosaic.pyramid import N_LEVELS
from survey_classifier.mosaic.schema import open_array, open_group
from survey_classifier.mosaic.writer import MosaicWriter
from tests.bench.coadds import patches, plain_image
from tests.bench.result import Result

SIDE_PX, PER_SIDE, ROUNDS = 8192, 2, 5
HSC_HDUS = {"flux": 1, "mask": 2, "variance": 3}


def bench_ingest(folder: Path) -> list[Result]:
    """Time both sides in turns, on a plain image and on patches with mask and variance."""
    work = folder / "ingest"
    return [
        compared("ingest_vs_copy", plain_image(work, SIDE_PX), {"flux": 0}, work),
        compared("ingest_vs_copy_hsc", patches(work, PER_SIDE), HSC_HDUS, work),
    ]


def compared(name: str, run: MosaicSettings, hdus: dict[str, int], folder: Path) -> Result:
    """Return the throughput of the ingest over that of the copy."""
    (plan,) = plan_ingests(run, folder)
    store = Path(plan.store)
    sides = (
        lambda: ingest_mosaics(run, folder),
        lambda: copy(replace(plan, store=str(store)), hdus),
    )
    wall: list[list[float]] = [[], []]
    work: list[list[float]] = [[], []]
    for _ in range(ROUNDS + 1):
        for number, side in enumerate(sides):
            shutil.rmtree(store, ignore_errors=True)
            start, start_cpu = time.perf_counter(), time.process_time()
            side()
            wall[number].append(time.perf_counter() - start)
            work[number].append(time.process_time() - start_cpu)
    ours, bare = (float(np.median(times[1:])) for times in wall)
    megabytes = sum(path.stat().st_size for path in {i.exposure.path for i in plan.images}) / 1e6
    detail = {
        "ingest_mb_per_s": round(megabytes / ours), "copy_mb_per_s": round(megabytes / bare),
        "of_processor_time": round(float(np.median(work[1][1:]) / np.median(work[0][1:])), 3),
        "threads": n_threads(plan), "megabytes": round(megabytes), "rounds": ROUNDS,
    }  # fmt: skip
    shutil.rmtree(store)
    return Result(name, bare / ours, 0.8, detail=detail)


def copy(plan: IngestPlan, hdus: dict[str, int]) -> None:
    """Write each shard as the files have it: no units, no checks, no record."""
    writer = MosaicWriter.open_or_create(plan.store, plan.layout)
    group, place = open_group(Place.of(plan.store), "r+"), Place.of(plan.store)
    arrays = {
        (level, plane): open_array(group, f"i/{level}/{plane}", place)
        for level in range(N_LEVELS) for plane in {"flux", "mask", *hdus}
    }  # fmt: skip
    boxes = [tile.core for tile in writer.shard_grid.tiles()]
    with ThreadPoolExecutor(n_threads(plan)) as pool:
        list(pool.map(lambda box: copy_shard(plan, box, hdus, arrays), boxes))


def copy_shard(plan: IngestPlan, box: Box, hdus: dict[str, int], arrays: dict[Any, Any]) -> None:
    """Copy one shard, and means of it."""
    planes = {"flux": np.empty(box.shape, "f4"), "mask": np.zeros(box.shape, "u1")}
    planes |= {name: np.empty(box.shape, "f4") for name in hdus if name not in planes}
    for path, there, here in sections(plan.images, box):
        with fits.open(path, memmap=False) as opened:
            for name, hdu in hdus.items():
                planes[name][here] = opened[hdu].section[there]
    for level in range(N_LEVELS):
        y0, x0 = box.y0 >> level, box.x0 >> level
        for name, plane in planes.items():
            ny, nx = plane.shape
            arrays[level, name][y0 : y0 + ny, x0 : x0 + nx] = plane
            planes[name] = halved(plane)


def sections(
    images: tuple[Placed, ...], box: Box
) -> Iterator[tuple[Path, tuple[slice, slice], tuple[slice, slice]]]:
    """Yield the file of each image, what is to be read of it, and where in the box it belongs."""
    for image in images:
        assert image.offset is not None
        core = image.exposure.core
        mine = image.box if core is None else core.shifted(*image.offset)
        part = mine.intersection(box)
        if part is not None:
            there = part.shifted(-image.offset[0], -image.offset[1])
            yield image.exposure.path, there.slices, part.shifted(-box.y0, -box.x0).slices


def halved(plane: np.ndarray) -> np.ndarray:
    """Return means of 2 x 2 pixels; of masks, all bits."""
    if any(side % 2 for side in plane.shape):
        plane = np.pad(plane, [(0, side % 2) for side in plane.shape], mode="edge")
    if plane.dtype == np.uint8:
        rows = plane[0::2] | plane[1::2]
        return rows[:, 0::2] | rows[:, 1::2]
    rows = plane[0::2] + plane[1::2]
    return (rows[:, 0::2] + rows[:, 1::2]) * np.float32(0.25)
