"""A simulated field of the Perseus cluster on disk: images, tables and a run file.

Owns which files are written and how. Does not own what is in the scene (``scene``), its light
(``render``), the camera (``exposure``) or the columns of the tables (``listing``).
Everything in it is simulated. The same seed gives the same bytes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from astropy.io import fits

from survey_classifier.errors import ConfigError
from survey_classifier.membership.perseus import CENTER_DEG
from survey_classifier.synthetic.colors import BANDS
from survey_classifier.synthetic.exposure import (
    FILTERS,
    GAIN,
    SCALE_ARCSEC,
    ZERO_POINT,
    Filter,
    Hole,
    observe,
)
from survey_classifier.synthetic.folder import making, require_seed, require_unused, write_csv
from survey_classifier.synthetic.listing import redshift_table, source_table, truth_table
from survey_classifier.synthetic.pointing import Pointing
from survey_classifier.synthetic.render import draw
from survey_classifier.synthetic.scene import MIN_SEPARATION_ARCSEC, Scene, fill_scene, list_objects

__all__ = ["SimulatedField", "simulate"]

Progress = Callable[[int, int], None]
"""Called with the number of finished images and of all."""

MIN_SIZE_PX, MIN_SOURCES = 256, 20

_HOLE_RADIUS = 150 / 4096
"""Of the hole, in sides of the image."""
_PACKING = 0.1
"""Sources per square of the smallest separation that still find places quickly."""
_FLOOR = 0.002
"""Light below this share of the noise is not drawn."""


@dataclass(frozen=True, slots=True)
class SimulatedField:
    """Where the files of a simulated field are, and what is in it."""

    folder: Path
    run_file: Path
    """Ready for ``survey-classifier classify``."""
    images: Mapping[str, Path]
    """Band name to FITS file."""
    sources: Path
    redshifts: Path
    truth: Path
    n_by_class: Mapping[str, int]
    """Listed sources by true class."""


def simulate(
    folder: Path,
    *,
    seed: int,
    size_px: int = 4096,
    n_sources: int = 3000,
    progress: Progress | None = None,
) -> SimulatedField:
    """Simulate a field and write it; the folder appears complete or not at all.

    Parameters
    ----------
    folder
        What to make; it may exist only if it is empty.
    seed
        Seed of all randomness.
    size_px
        Side of the images, 0.168 arcsec per pixel; the brightest objects and the hole scale
        with it.
    n_sources
        Length of the source list.
    progress
        Called after each image.

    Returns
    -------
    SimulatedField
        The files.

    Raises
    ------
    ConfigError
        If the folder is in use, the seed negative, or the field too small or too full.
    """
    _check(folder, seed, size_px, n_sources)
    with making(folder) as partial:
        counts = _write_all(partial, seed, size_px, n_sources, progress)
    return SimulatedField(
        folder=folder,
        run_file=folder / "run.toml",
        images={band: folder / f"field-{band}.fits" for band in BANDS},
        sources=folder / "sources.csv",
        redshifts=folder / "redshifts.csv",
        truth=folder / "truth.csv",
        n_by_class=counts,
    )


def _check(folder: Path, seed: int, size_px: int, n_sources: int) -> None:
    """Refuse what can't be simulated before anything is made."""
    require_unused(folder)
    require_seed(seed)
    if size_px < MIN_SIZE_PX or n_sources < MIN_SOURCES:
        raise ConfigError(
            f"a simulated field of {size_px} px and {n_sources} sources is too small: "
            f"give at least {MIN_SIZE_PX} px and {MIN_SOURCES} sources"
        )
    most = int(_PACKING * (size_px * SCALE_ARCSEC / MIN_SEPARATION_ARCSEC) ** 2)
    if n_sources > most:
        raise ConfigError(
            f"{n_sources} sources do not fit {MIN_SEPARATION_ARCSEC} arcsec apart into "
            f"{size_px} px: give at most {most}"
        )


def _write_all(
    folder: Path, seed: int, size_px: int, n_sources: int, progress: Progress | None
) -> dict[str, int]:
    """Draw everything and write it; return the number of listed sources by class."""
    pointing = Pointing(size_px, SCALE_ARCSEC, *CENTER_DEG)
    hole = Hole(0.25 * size_px, 0.75 * size_px, _HOLE_RADIUS * size_px)
    who, tables, *noise = np.random.default_rng(seed).spawn(2 + len(FILTERS))
    listed = list_objects(who, pointing, hole, n_sources)
    scene = fill_scene(who, listed, pointing)
    write_csv(folder / "sources.csv", source_table(tables, listed))
    write_csv(folder / "redshifts.csv", redshift_table(tables, listed))
    write_csv(folder / "truth.csv", truth_table(listed))
    (folder / "run.toml").write_text(_run_file(seed), encoding="utf-8")
    for row, rng in enumerate(noise):
        light = _draw_band(scene, row, pointing)
        image, mask = observe(light, FILTERS[row], scene.stars(row), hole, rng)
        _write_image(folder / f"field-{BANDS[row]}.fits", image, mask, FILTERS[row], pointing)
        if progress is not None:
            progress(row + 1, len(FILTERS))
    classes, numbers = np.unique(listed.population.true_class.astype(str), return_counts=True)
    return dict(zip(classes.tolist(), numbers.tolist(), strict=True))


def _draw_band(scene: Scene, row: int, pointing: Pointing) -> npt.NDArray[np.float32]:
    """Return the noiseless light of the scene in one band, counts."""
    band = FILTERS[row]
    light = np.zeros((pointing.size_px, pointing.size_px), dtype=np.float32)
    flux = 10 ** (0.4 * (ZERO_POINT - scene.mag[:, row]))
    components = scene.structure.components(flux, row)
    draw(light, components, band.seeing, pointing.scale_arcsec, _FLOOR * band.noise)
    return light


def _write_image(
    path: Path,
    image: npt.NDArray[np.float32],
    mask: npt.NDArray[np.uint8],
    band: Filter,
    pointing: Pointing,
) -> None:
    """Write one band: counts in the primary HDU, its mask in the next."""
    header = fits.Header(
        [
            ("EXTNAME", "IMAGE"),
            ("OBJECT", "simulated", "no object in this image is real"),
            ("FILTER", band.name),
            ("BUNIT", "adu", "counts"),
            ("MAGZERO", ZERO_POINT, "AB magnitude of one count"),
            ("PSFFWHM", band.seeing_arcsec, "[arcsec] seeing"),
            ("GAIN", GAIN, "photons per count"),
            *pointing.cards().items(),
        ]
    )
    mask_hdu = fits.ImageHDU(mask, fits.Header(pointing.cards()), name="MASK")
    fits.HDUList([fits.PrimaryHDU(image, header), mask_hdu]).writeto(path)


def _run_file(seed: int) -> str:
    """Return a run file for the simulated field."""
    inputs = "\n".join(
        f'[[mosaic.inputs]]\nreader = "fits"\npath = "field-{band}.fits"\nband = "{band}"\n'
        'hdu = "IMAGE"\nmask_hdu = "MASK"\nunit = "nJy"\n'
        for band in BANDS
    )
    mags = ", ".join(f'{band} = "{band}"' for band in BANDS)
    return f"""\
# A simulated field (seed {seed}): no object in it is real.
name = "simulated-field"
out = "out"

[mosaic]
store = "field.zarr"

{inputs}
[sources]
path = "sources.csv"
columns = {{ id = "source_id", ra = "ra", dec = "dec", ebv = "ebv", mag = {{ {mags} }} }}
system = "sdss"

[redshifts]
path = "redshifts.csv"
columns = {{ id = "object_id", ra = "ra", dec = "dec", z = "z", z_err = "z_err", \
z_warning = "z_warning", spec_class = "spec_class" }}

[model]
checkpoint = "perseus-synthetic"

[tiles]
size_px = 1024

[truth]
path = "truth.csv"
simulated = true
"""
