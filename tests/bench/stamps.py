"""The stamps stage against astropy's Cutout2D, and against only reading the pixels."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.nddata import Cutout2D
from astropy.wcs import WCS

from survey_classifier.geometry import Tile, TileGrid
from survey_classifier.mosaic.place import Place
from survey_classifier.mosaic.store import CHUNK_PX, Mosaic
from survey_classifier.run.config import TilesSettings
from survey_classifier.stamps import cut_stamps
from tests.bench.field import BANDS, Field, make_field
from tests.bench.result import Result, paired_seconds

SIZE_PX, STAMP_PX = 9600, 64
N_SOURCES, N_CUTOUT2D = 20_000, 1_000
THREADS = 2  # a worker cuts in as many threads as it has cores

ROUNDS = 5


def bench_stamps(folder: Path) -> list[Result]:
    """Time the stages in turns, from sky positions to float32 stamps."""
    field = make_field(folder / f"field-{SIZE_PX}", SIZE_PX)
    rng = np.random.default_rng(9)
    ra, dec = field.mosaic.pixel_to_world(*rng.uniform(-0.5, SIZE_PX - 0.5, (2, N_SOURCES)))
    few = slice(0, N_CUTOUT2D)
    sides = (
        lambda: our_stage(field.mosaic.place, ra, dec),
        lambda: read_once(field.mosaic.place),
        lambda: cutout2d_loop(field, ra[few], dec[few]),
        lambda: cutout2d_pixel_loop(field, ra[few], dec[few]),
    )
    for side in sides:
        side()  # page cache and imports, for all alike
    ours, reading, loop, pixel_loop = paired_seconds(sides, ROUNDS)
    touched = touched_share(field.mosaic, ra, dec)
    our_rate, loop_rate = N_SOURCES / ours, N_CUTOUT2D / loop
    detail = {"sources_per_s": round(our_rate), "n_sources": N_SOURCES, "rounds": ROUNDS}
    loops = {
        "cutout2d_sources_per_s": round(loop_rate),
        "cutout2d_from_pixels_per_s": round(N_CUTOUT2D / pixel_loop),
        "vs_cutout2d_from_pixels": round(our_rate * pixel_loop / N_CUTOUT2D, 2),
    }
    times = {"stage_s": round(ours, 3), "read_s": round(reading, 3), "touched": touched}
    return [
        Result("stamps_vs_cutout2d", our_rate / loop_rate, 8.0, detail=detail | loops),
        Result("stamps_vs_read", touched * reading / ours, 0.6, detail=detail | times),
    ]


def our_stage(store: Place, ra: np.ndarray, dec: np.ndarray) -> int:
    """Cut all stamps from sky positions, tile by tile, as the threads of a worker do."""
    mosaic = Mosaic.open(store)
    x, y = mosaic.world_to_pixel(ra, dec)
    grid = TileGrid(mosaic.shape, TilesSettings().size_px)
    rows, cols = grid.owner(x, y)

    def cut(tile: Tile) -> int:
        mine = (rows == tile.row) & (cols == tile.col)
        return len(cut_stamps(mosaic, x[mine], y[mine], STAMP_PX, BANDS))

    with ThreadPoolExecutor(THREADS) as pool:
        return sum(pool.map(cut, grid.tiles()))


def touched_share(mosaic: Mosaic, ra: np.ndarray, dec: np.ndarray) -> float:
    """Return the share of the mosaic's chunks that some stamp reaches."""
    x, y = mosaic.world_to_pixel(ra, dec)
    ny, nx = mosaic.shape
    touched = np.zeros((-(-ny // CHUNK_PX), -(-nx // CHUNK_PX)), dtype=bool)
    for dy in (-STAMP_PX // 2, STAMP_PX // 2 - 1):
        for dx in (-STAMP_PX // 2, STAMP_PX // 2 - 1):
            row = np.clip(y + dy, 0, ny - 1).astype(int) // CHUNK_PX
            col = np.clip(x + dx, 0, nx - 1).astype(int) // CHUNK_PX
            touched[row, col] = True
    return float(touched.mean())


def read_once(store: Place) -> None:
    """Read each chunk once, flux and mask, in the pieces that a tile's core is."""
    mosaic = Mosaic.open(store)
    cores = [tile.core for tile in TileGrid(mosaic.shape, TilesSettings().size_px).tiles()]
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda core: mosaic.read(core, BANDS).box, cores))


def cutout2d_loop(field: Field, ra: np.ndarray, dec: np.ndarray) -> list[np.ndarray]:
    """Cut stamps one by one from memory-mapped FITS, as astropy's documentation does."""
    return _cutouts(field, lambda _wcs: SkyCoord(ra, dec, unit="deg"), use_wcs=True)


def cutout2d_pixel_loop(field: Field, ra: np.ndarray, dec: np.ndarray) -> list[np.ndarray]:
    """Do the same with pixel positions computed at once, and no WCS for each cutout."""
    return _cutouts(field, lambda wcs: np.transpose(wcs.all_world2pix(ra, dec, 0)), use_wcs=False)


def _cutouts(field: Field, positions_on: Callable, *, use_wcs: bool) -> list[np.ndarray]:
    stamps = []
    files = [fits.open(path, memmap=True) for path in field.images.values()]
    try:
        grids = [WCS(hdus[0].header) for hdus in files]
        for position in positions_on(grids[0]):
            planes = [
                Cutout2D(
                    hdus[0].data,
                    position,
                    STAMP_PX,
                    wcs=wcs if use_wcs else None,
                    mode="partial",
                    fill_value=np.nan,
                ).data
                for hdus, wcs in zip(files, grids, strict=True)
            ]
            stamps.append(np.stack(planes).astype(np.float32))
    finally:
        for hdus in files:
            hdus.close()
    return stamps
