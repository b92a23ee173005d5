"""Sources from nothing: found and measured on a mosaic, tile by tile.

Owns the order of the work on one mosaic and what a tile gives. Does not own its steps
(``sky_mesh``, ``significance``, ``segments``, ``photometry``, ``pointlike``), several mosaics
(``overlaps``), files, nor where the tiles are worked on (``run.detect``).

First the sky of the whole mosaic is measured, row by row of a mesh of cells, and once more without
the light that stands out of it. Then each tile finds the sources that it owns and measures them.
Which tiles there are changes nothing: the list of one tile size is that of any other, to the last
bit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from survey_classifier.errors import SourcesError
from survey_classifier.geometry import Box, TileGrid
from survey_classifier.mosaic.pixels import BandInfo, band_index
from survey_classifier.sources.apertures import Apertures, reach
from survey_classifier.sources.detection import Detections, DetectSettings, joined
from survey_classifier.sources.photometry import Columns, measured
from survey_classifier.sources.segments import MARGIN_PX, Footprint, Segment, find_segments
from survey_classifier.sources.significance import DetectionImage, detection_image, grown
from survey_classifier.sources.sky_mesh import CellRow, Pixels, SkyMesh, cell_edges, measure_cells

__all__ = [
    "Search",
    "common_seeing",
    "detect",
    "image_of",
    "measure",
    "n_mesh_rows",
    "require_calibrated",
]

_PIXEL = Footprint(Box(0, 1, 0, 1), np.ones((1, 1), dtype=np.bool_))
MIN_CELL_PX = 32
"""Side of a cell of the sky's mesh where ``background_arcsec`` would be fewer pixels."""


def require_calibrated(name: str, bands: Sequence[BandInfo], settings: DetectSettings) -> None:
    """Refuse photometry on pixels without calibration, and bands that are not there.

    Parameters
    ----------
    name
        Of the mosaic.
    bands
        Those that are used.
    settings
        How to search.

    Raises
    ------
    MosaicError
        If a band of the settings is missing.
    SourcesError
        If fluxes are wanted of a band in display units.
    """
    band_index(bands, settings.bands, name)
    display = [band.name for band in bands if band.unit != "nJy"]
    if settings.photometry and display:
        raise SourcesError(
            f"band {display[0]} of {name} is in display units, so its sources have no magnitudes; "
            "set photometry = false in [detect] for positions and shapes, or ingest calibrated "
            "images"
        )


def common_seeing(bands: Sequence[BandInfo]) -> float | None:
    """Return the worst seeing of some bands in arcsec, None if one is not known."""
    known = [band.psf_fwhm_arcsec for band in bands if band.psf_fwhm_arcsec is not None]
    return max(known) if len(known) == len(bands) else None


def n_mesh_rows(mosaic: Pixels, settings: DetectSettings) -> int:
    """Return how many rows the mesh of a mosaic's sky has."""
    return len(cell_edges(mosaic.shape[0], _cell_px(mosaic, settings))) - 1


def _cell_px(mosaic: Pixels, settings: DetectSettings) -> int:
    return max(MIN_CELL_PX, round(settings.background_arcsec / mosaic.scale_arcsec))


def measure(
    mosaic: Pixels,
    bands: Sequence[str],
    settings: DetectSettings,
    row: int,
    first: DetectionImage | None = None,
) -> CellRow:
    """Measure one row of the mesh of a mosaic's sky.

    Parameters
    ----------
    mosaic
        Where the pixels are.
    bands
        Those that are used.
    settings
        How to search.
    row
        Which row, below `n_mesh_rows`.
    first
        Of `image_of`, for the second time.
    """
    block_px = round(settings.aperture_arcsec / 2 * np.sqrt(np.pi) / mosaic.scale_arcsec)
    hides = None if first is None else first.hides
    cell_px = _cell_px(mosaic, settings)
    return measure_cells(mosaic, bands, row, cell_px, max(1, block_px), hides)


def image_of(
    mosaic: Pixels, bands: Sequence[str], settings: DetectSettings, rows: Sequence[CellRow]
) -> DetectionImage:
    """Return the detection image of a mosaic by its sky, as measured the first or second time.

    Parameters
    ----------
    mosaic
        Where the pixels are.
    bands
        Those that are used.
    settings
        How to search.
    rows
        From `measure`, of each row of the mesh.

    Raises
    ------
    SourcesError
        If there is no sky.
    """
    mesh = SkyMesh.of_rows(bands, rows, mosaic.shape, _cell_px(mosaic, settings))
    return detection_image(mosaic, settings.bands or bands, mesh)


@dataclass(frozen=True, eq=False)
class Search:
    """A mosaic that is searched for sources; its tiles may be done in any order."""

    image: DetectionImage
    """From `image_of`, by the sky as measured the second time."""
    settings: DetectSettings
    seeing_arcsec: float | None
    """From `common_seeing` of all mosaics that are searched together."""

    @cached_property
    def bands(self) -> tuple[BandInfo, ...]:
        """Bands that are used."""
        return tuple(b for b in self.image.mosaic.bands if b.name in self.image.mesh.level)

    @cached_property
    def apertures(self) -> Apertures:
        """Sizes that all sources share."""
        return Apertures(self.settings.aperture_arcsec, self.seeing_arcsec)

    @cached_property
    def _margin_px(self) -> int:
        return self.apertures.margin_px(self.bands, self.image.mosaic.scale_arcsec)

    def tile(self, core: Box) -> Detections:
        """Return the sources that a box owns.

        Parameters
        ----------
        core
            In pixels of the mosaic.

        Raises
        ------
        MosaicError
            If pixels cannot be read.
        """
        window = grown(core, MARGIN_PX)
        together: list[Segment] = []
        tables: list[Columns] = []
        for segment in find_segments(self.image, core, self.settings):
            needed = reach(segment, self._margin_px)
            if segment.whole is None and needed.intersection(window) == needed:
                together.append(segment)
            else:
                tables.append(self._measured(needed, [segment]))
        if together:
            tables.append(self._measured(window, together))
        return self._table(tables) if tables else self._none()

    def _measured(self, box: Box, segments: Sequence[Segment]) -> Columns:
        apertures = self.apertures if self.settings.photometry else None
        threshold = self.settings.threshold_sigma
        return measured(self.image, self.bands, box, segments, threshold, apertures)

    def _table(self, tables: Sequence[Columns]) -> Detections:
        """Return measured sources with their places on the sky."""
        found = joined([Detections(columns) for columns in tables])
        x, y, theta = found["x"], found["y"], found["theta"]
        mosaic = self.image.mosaic
        ra, dec = mosaic.pixel_to_world(x, y)
        ahead_ra, ahead_dec = mosaic.pixel_to_world(x + np.cos(theta), y + np.sin(theta))
        east = ((ahead_ra - ra + 180) % 360 - 180) * np.cos(np.radians(dec))
        angle = np.degrees(np.arctan2(east, ahead_dec - dec)) % 180
        return found.with_columns(
            {
                "ra": ra,
                "dec": dec,
                "position_angle": angle,
                "half_light_radius_arcsec": found["half_light_px"] * mosaic.scale_arcsec,
                "total_radius_arcsec": found["total_radius_px"] * mosaic.scale_arcsec,
            }
        )

    def _none(self) -> Detections:
        """Return a table without rows that has the columns of one with rows."""
        nowhere = Segment(_PIXEL, 0, 0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, blended=False)
        one = self._table([self._measured(reach(nowhere, self._margin_px), [nowhere])])
        return one.take(np.zeros(0, dtype=np.intp))


def detect(
    mosaic: Pixels, settings: DetectSettings, bands: Sequence[str] | None = None
) -> Detections:
    """Find and measure the sources of one mosaic, in this process.

    Parameters
    ----------
    mosaic
        Where the pixels are.
    settings
        How to search; ``tile_px`` changes nothing in the list.
    bands
        Bands that are used, by default all.

    Returns
    -------
    Detections
        By right ascension.

    Raises
    ------
    SourcesError
        If there is no sky, or no calibration where fluxes are wanted.
    MosaicError
        If pixels cannot be read.
    """
    names = tuple(band.name for band in mosaic.bands) if bands is None else tuple(bands)
    used = [mosaic.bands[index] for index in band_index(mosaic.bands, names, mosaic.name)]
    require_calibrated(mosaic.name, used, settings)
    n_rows = n_mesh_rows(mosaic, settings)
    rows = [measure(mosaic, names, settings, row) for row in range(n_rows)]
    first = image_of(mosaic, names, settings, rows)
    rows = [measure(mosaic, names, settings, row, first) for row in range(n_rows)]
    image = image_of(mosaic, names, settings, rows)
    search = Search(image, settings, common_seeing(used))
    tiles = TileGrid(mosaic.shape, settings.tile_px).tiles()
    return joined([search.tile(tile.core) for tile in tiles]).sorted()
