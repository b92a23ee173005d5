"""Many small overlapping images of one simulated sky: a survey of hundreds of mosaics.

Owns their layout, files and run file. Does not own the sky (``sky``) nor noise and flaws
(``plate``). Each image has its own tangent point and its own rotation, so that no two share a
grid; all bands of an image are in one file, without mask planes. Everything in it is simulated.
The same seed gives the same bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from astropy.io import fits

from survey_classifier.errors import ConfigError
from survey_classifier.membership.perseus import CENTER_DEG
from survey_classifier.synthetic.exposure import SCALE_ARCSEC
from survey_classifier.synthetic.folder import making, require_seed, require_unused
from survey_classifier.synthetic.passbands import HSC, Passband
from survey_classifier.synthetic.plane import TangentPlane
from survey_classifier.synthetic.plate import Plate, Shot, expose
from survey_classifier.synthetic.sky import draw_sky
from survey_classifier.synthetic.tables import Input, run_file, write_tables

__all__ = ["SimulatedTiles", "simulate_tiles"]

IMAGES = "tiles"
"""Folder of the images."""
MIN_TILE_PX, MIN_SOURCES = 64, 20
SOURCES_PER_TILE = 4
TURN_DEG = 2.0
"""Largest rotation of an image."""
FLOOR = 0.05
"""Light below this share of the sky's noise is not drawn, for speed."""


@dataclass(frozen=True, slots=True)
class SimulatedTiles:
    """Where the files of simulated tiles are."""

    folder: Path

    @property
    def run_file(self) -> Path:
        """Ready for ``survey-classifier ingest``: one store for each tile."""
        return self.folder / "run.toml"

    @property
    def images(self) -> tuple[Path, ...]:
        """One file for each tile, an HDU for each band."""
        return tuple(sorted((self.folder / IMAGES).glob("*.fits")))

    @property
    def sources(self) -> Path:
        """The source list."""
        return self.folder / "sources.csv"

    @property
    def truth(self) -> Path:
        """Of the listed sources: what they are, and ``flux_<band>_njy``."""
        return self.folder / "truth.csv"


def simulate_tiles(
    folder: Path,
    *,
    seed: int,
    n_tiles: int = 500,
    tile_px: int = 192,
    overlap_px: int = 32,
    n_sources: int | None = None,
    bands: Sequence[str] = ("g", "r", "i", "z"),
) -> SimulatedTiles:
    """Simulate a sky and write it as many small images; the folder appears complete or not at all.

    Parameters
    ----------
    folder
        What to make; it may exist only if it is empty.
    seed
        Seed of all randomness.
    n_tiles
        How many images. They lie in rows of equal length, the last of which may be short: some
        sources of the list are then on none.
    tile_px
        Side of an image, 0.168 arcsec per pixel.
    overlap_px
        What neighbors share, before each is turned by up to two degrees.
    n_sources
        Length of the source list, four a tile by default.
    bands
        Which bands of HSC.

    Returns
    -------
    SimulatedTiles
        The files.

    Raises
    ------
    ConfigError
        If the folder is in use, or a number can't be.
    """
    require_unused(folder)
    count = max(MIN_SOURCES, SOURCES_PER_TILE * n_tiles) if n_sources is None else n_sources
    require_seed(seed)
    _check(n_tiles, tile_px, overlap_px, count, bands)
    per_row = int(np.ceil(np.sqrt(n_tiles)))
    step_px = tile_px - overlap_px
    side_px = per_row * step_px + overlap_px
    who, lists, turns, cameras = np.random.default_rng(seed).spawn(4)
    sky = draw_sky(who, *CENTER_DEG, side_px * SCALE_ARCSEC, count)
    chosen = [HSC[name] for name in bands]
    views = [sky.through(band, FLOOR * band.filter.noise) for band in chosen]
    square = TangentPlane.centered((side_px, side_px), SCALE_ARCSEC, *CENTER_DEG)
    plates = _plates(turns, square, n_tiles, tile_px, step_px, per_row)
    with making(folder) as partial:
        write_tables(partial, lists, sky, chosen)
        (partial / IMAGES).mkdir()
        for plate in plates:
            shots = [expose(cameras, seen, plate, noise=True) for seen in views]
            _write(partial / IMAGES / f"{plate.name}.fits", shots)
        text = run_file("tiles", "stores/{tile}.zarr", [_input(band) for band in chosen], seed)
        (partial / "run.toml").write_text(text, encoding="utf-8")
    return SimulatedTiles(folder)


def _check(
    n_tiles: int, tile_px: int, overlap_px: int, n_sources: int, bands: Sequence[str]
) -> None:
    """Refuse what can't be simulated."""
    if n_tiles < 1 or n_sources < MIN_SOURCES:
        raise ConfigError(
            f"{n_tiles} tiles with {n_sources} sources cannot be: give at least 1 and {MIN_SOURCES}"
        )
    if tile_px < MIN_TILE_PX or not 0 <= overlap_px < tile_px // 2:
        raise ConfigError(
            f"tiles of {tile_px} px that share {overlap_px} px cannot be: give at least "
            f"{MIN_TILE_PX} px, and less than half of that to share"
        )
    unknown = [name for name in bands if name not in HSC]
    if unknown or not bands:
        raise ConfigError(f"no bands {', '.join(unknown) or 'at all'}: use {', '.join(HSC)}")


def _plates(
    rng: np.random.Generator,
    square: TangentPlane,
    n_tiles: int,
    tile_px: int,
    step_px: int,
    per_row: int,
) -> list[Plate]:
    """Return the tiles, row by row."""
    row, column = np.divmod(np.arange(n_tiles), per_row)
    middle = (tile_px - 1) / 2
    ra, dec = square.pixel_to_world(middle + column * step_px, middle + row * step_px)
    turn = rng.uniform(-TURN_DEG, TURN_DEG, n_tiles)
    places: npt.NDArray[np.float64] = np.column_stack([ra, dec, turn])
    return [
        Plate(
            f"tile{number:04d}",
            TangentPlane.centered((tile_px, tile_px), SCALE_ARCSEC, *place),
            has_gaps=number % 2 == 0,
        )
        for number, place in enumerate(places.tolist())
    ]


def _write(path: Path, shots: Sequence[Shot]) -> None:
    """Write all bands of a tile."""
    hdus = fits.HDUList([fits.PrimaryHDU()])
    for shot in shots:
        camera = shot.band.filter
        header = fits.Header(
            [
                ("EXTNAME", shot.band.name),
                ("MAGZERO", camera.zero_point),
                ("PSFFWHM", camera.seeing_arcsec),
                *shot.plate.plane.cards().items(),
            ]
        )
        hdus.append(fits.ImageHDU(shot.flux, header))
    hdus.writeto(path)


def _input(band: Passband) -> Input:
    """Return the run file's table of a band."""
    return {
        "reader": "fits",
        "path": f"{IMAGES}/{{tile}}.fits",
        "band": band.name,
        "hdu": band.name,
    }
