"""Survey files of one simulated sky on disk, with tables, their truth and a run file.

Owns which surveys there are, what is written beside the images and the run file. Does not own a
survey's layout and formats (``hsc_files``, ``euclid_files``, ``sdss_files``), the sky (``sky``) nor
noise and flaws (``plate``). Everything in it is simulated. The same seed gives the same pixels,
and the same bytes of all files but the tile-compressed ones, into which gzip puts the time.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

from survey_classifier.errors import ConfigError
from survey_classifier.synthetic.archive import Archive, Extent
from survey_classifier.synthetic.euclid_files import ERO_ARCHIVE, MER_ARCHIVE
from survey_classifier.synthetic.folder import making, require_seed, require_unused, write_csv
from survey_classifier.synthetic.hsc_files import HSC_ARCHIVE
from survey_classifier.synthetic.passbands import Passband
from survey_classifier.synthetic.plate import Shot, expose, view
from survey_classifier.synthetic.scene import MIN_SEPARATION_ARCSEC
from survey_classifier.synthetic.sdss_files import SDSS_ARCHIVE
from survey_classifier.synthetic.sky import Sky, draw_sky
from survey_classifier.synthetic.tables import Input, run_file, write_tables

__all__ = ["SURVEYS", "SimulatedSurvey", "simulate_survey"]

Progress = Callable[[int, int], None]
"""Called with the number of finished exposures and of all."""

SURVEYS: Mapping[str, Archive] = MappingProxyType(
    {
        "hsc": HSC_ARCHIVE,
        "euclid-mer": MER_ARCHIVE,
        "euclid-ero": ERO_ARCHIVE,
        "sdss": SDSS_ARCHIVE,
    }
)
"""Archives that can be simulated, by name."""
FLAWS = "flaws.csv"
MIN_SOURCES = 20
SOURCES_PER_ARCSEC2 = 3000 / 688**2
"""As in the plain simulated field."""
MIN_SIDE_ARCSEC = 40.0
PACKING = 0.1
"""Sources per square of the smallest separation that still find places quickly."""


@dataclass(frozen=True, slots=True)
class SimulatedSurvey:
    """Where the files of a simulated survey are, and the sky that they show."""

    folder: Path
    sky: Sky
    """For drawing the same sky on other grids."""

    @property
    def run_file(self) -> Path:
        """Ready for ``survey-classifier ingest``."""
        return self.folder / "run.toml"

    @property
    def images(self) -> tuple[Path, ...]:
        """Every image file, sorted."""
        return tuple(sorted([*self.folder.glob("*.fits"), *self.folder.glob("*.fits.bz2")]))

    @property
    def sources(self) -> Path:
        """The source list."""
        return self.folder / "sources.csv"

    @property
    def truth(self) -> Path:
        """Of the listed sources: what they are, and ``flux_<band>_njy``."""
        return self.folder / "truth.csv"

    @property
    def flaws(self) -> Path:
        """Circles in which every pixel has a flaw, where the survey's files can tell of it."""
        return self.folder / FLAWS


def simulate_survey(
    folder: Path,
    survey: str,
    *,
    seed: int,
    size_px: int | None = None,
    tile_px: int | None = None,
    overlap_px: int | None = None,
    n_sources: int | None = None,
    bands: Sequence[str] | None = None,
    noise: bool = True,
    progress: Progress | None = None,
) -> SimulatedSurvey:
    """Simulate a sky and write it as a survey's files; the folder appears complete or not at all.

    Parameters
    ----------
    folder
        What to make; it may exist only if it is empty.
    survey
        Whose files: ``hsc``, ``euclid-mer``, ``euclid-ero`` or ``sdss``.
    seed
        Seed of all randomness.
    size_px
        Side of the square of sky, in pixels of the survey's finest image.
    tile_px
        Side of a patch without its border, of a tile, or columns of a frame. The real ones are
        4000, 19200 and 2048.
    overlap_px
        Border of a patch, what two tiles share, rows that two frames share; by default in the
        real proportion to ``tile_px`` (100 to 4000, 1200 to 19200, 128 to 2048).
    n_sources
        Length of the source list.
    bands
        Which bands, by default all.
    noise
        Without it images show the sky's light alone; see `expose`.
    progress
        Called after each exposure.

    Returns
    -------
    SimulatedSurvey
        The files.

    Raises
    ------
    ConfigError
        If the folder is in use, or survey, band, seed, a size or the number of sources can't be.
    """
    archive = _archive(survey)
    extent = _extent(archive, size_px, tile_px, overlap_px)
    chosen = _bands(archive, survey, bands)
    side_arcsec = extent.size_px * _scale_arcsec(archive)
    count = _count(n_sources, side_arcsec)
    require_unused(folder)
    require_seed(seed)
    who, lists, cameras = np.random.default_rng(seed).spawn(3)
    sky = draw_sky(who, *archive.center_deg, side_arcsec, count)
    with making(folder) as partial:
        write_tables(partial, lists, sky, chosen)
        inputs = _inputs(archive, extent, chosen)
        text = run_file(survey, archive.store, inputs, seed, archive.scale_arcsec)
        (partial / "run.toml").write_text(text, encoding="utf-8")
        _write_images(partial, cameras, sky, archive, extent, chosen, noise, progress)
    return SimulatedSurvey(folder, sky)


def _archive(survey: str) -> Archive:
    """Return the archive of a survey."""
    if survey not in SURVEYS:
        raise ConfigError(f"no survey {survey!r} can be simulated: use one of {', '.join(SURVEYS)}")
    return SURVEYS[survey]


def _extent(
    archive: Archive, size_px: int | None, tile_px: int | None, overlap_px: int | None
) -> Extent:
    """Return the extent that is asked for; what is not said keeps its proportion."""
    usual = archive.extent
    tile = usual.tile_px if tile_px is None else tile_px
    size = round(usual.size_px * tile / usual.tile_px) if size_px is None else size_px
    overlap = round(usual.overlap_px * tile / usual.tile_px) if overlap_px is None else overlap_px
    if size * _scale_arcsec(archive) < MIN_SIDE_ARCSEC:
        raise ConfigError(
            f"a simulated sky of {size} px is too small: give at least "
            f"{int(np.ceil(MIN_SIDE_ARCSEC / _scale_arcsec(archive)))} px"
        )
    try:
        return Extent(size, tile, overlap)
    except ValueError as error:
        raise ConfigError(
            f"tiles of {tile} px that share {overlap} px cannot be: give tiles of more than twice "
            "what they share"
        ) from error


def _scale_arcsec(archive: Archive) -> float:
    """Return the finest pixel scale of a survey."""
    return min(band.filter.scale_arcsec for band in archive.bands.values())


def _bands(archive: Archive, survey: str, names: Sequence[str] | None) -> list[Passband]:
    """Return the bands that are asked for."""
    if names is not None and not names:
        raise ConfigError(
            f"no band of {survey} was asked for: {', '.join(archive.bands)} are there"
        )
    for name in names or ():
        if name not in archive.bands:
            raise ConfigError(f"{survey} has no band {name!r}: use {', '.join(archive.bands)}")
    return [archive.bands[name] for name in names or archive.bands]


def _count(n_sources: int | None, side_arcsec: float) -> int:
    """Return how many sources are listed."""
    if n_sources is None:
        return max(MIN_SOURCES, round(SOURCES_PER_ARCSEC2 * side_arcsec**2))
    most = int(PACKING * (side_arcsec / MIN_SEPARATION_ARCSEC) ** 2)
    if not MIN_SOURCES <= n_sources <= most:
        raise ConfigError(
            f"{n_sources} sources in a sky of {side_arcsec:.0f} arcsec cannot be: give "
            f"{MIN_SOURCES} to {most}"
        )
    return n_sources


def _write_images(
    folder: Path,
    rng: np.random.Generator,
    sky: Sky,
    archive: Archive,
    extent: Extent,
    bands: Sequence[Passband],
    noise: bool,
    progress: Progress | None,
) -> None:
    """Expose every plate in every band; write its files, and at last where the flaws are."""
    plates = {band.name: archive.plates(extent, band) for band in bands}
    done, total = 0, sum(map(len, plates.values()))
    rows: list[list[str]] = []
    for band in bands:
        seen = view(sky, band, noise=noise)
        for plate in plates[band.name]:
            shot = expose(rng.spawn(1)[0], seen, plate, noise=noise)
            archive.write(folder, shot, extent)
            rows += _flaw_rows(shot, archive)
            done += 1
            if progress is not None:
                progress(done, total)
    names = ("plate", "band", "flaw", "ra", "dec", "radius_arcsec")
    write_csv(folder / FLAWS, {name: [row[at] for row in rows] for at, name in enumerate(names)})


def _flaw_rows(shot: Shot, archive: Archive) -> list[list[str]]:
    """Return the rows of the table of flaws that the files of a plate tell of."""
    plane, rows = shot.plate.plane, []
    for flaw in shot.flaws:
        if flaw.bit & archive.carried:
            ra, dec = plane.pixel_to_world(np.array([flaw.x_px]), np.array([flaw.y_px]))
            radius = f"{flaw.radius_px * plane.scale_arcsec:.4f}"
            place = f"{ra[0]:.8f}", f"{dec[0]:.8f}"
            rows.append([shot.plate.name, shot.band.name, str(flaw.bit.name), *place, radius])
    return rows


def _inputs(archive: Archive, extent: Extent, bands: Sequence[Passband]) -> list[Input]:
    """Return the run file's tables of the bands."""
    return [
        {
            **archive.inputs(band, extent),
            "band": band.name,
            "psf_fwhm_arcsec": band.filter.seeing_arcsec,
        }
        for band in bands
    ]
