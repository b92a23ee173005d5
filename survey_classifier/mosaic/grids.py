"""The grid of a mosaic, and where images lie on it.

Owns the choice of a grid, the offset of an image on it, and whether pixels can be copied. Does
not own resampling (``regrid``) nor sky positions (``sky``).
"""

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from astropy.io import fits
from astropy.wcs import WCS

from survey_classifier.errors import MosaicError
from survey_classifier.geometry import Box
from survey_classifier.mosaic.exposure import Exposure, PixelGrid
from survey_classifier.mosaic.lattice import box_around
from survey_classifier.mosaic.sky import REACH_DEG, SkyGrid, pixel_scale_arcsec

__all__ = [
    "MAX_SIDE_PX",
    "bare_wcs",
    "grid_offset",
    "mosaic_grid",
    "own_grid",
    "reached_box",
    "shifted_wcs",
    "spread",
]

GRID_KEYS = re.compile(
    r"WCSAXES|CTYPE\d|CUNIT\d|CRVAL\d|CRPIX\d|CDELT\d|PC\d_\d|PV\d_\d+|RADESYS|EQUINOX|LONPOLE|"
    r"LATPOLE|[AB]P?_(ORDER|\d_\d)"
)
"""The words of a header that say where its pixels are on the sky."""
SAME_GRID_PX = 1e-3
"""Grids that agree this well all over an image are one grid, and pixels are copied."""
MARGIN_PX = 2
"""Pixels of the grid that an image may fill beyond its rim."""
MAX_SIDE_PX = 2**20
"""Side of a mosaic. A tract of HSC has 36000 px; whoever asks for more meant another scale."""
MAX_PX = 10**12
"""Pixels of a mosaic: a band of it takes five terabytes."""
MAX_FINER = 10
"""Times that a grid may be finer than all of its images: it has a hundred times their pixels."""
ANYWHERE_PX = 2**31
"""Beyond the side of any mosaic."""


def spread(shape: tuple[int, int]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return ``(x, y)`` of pixels spread over an image, its corners and rim among them.

    Parameters
    ----------
    shape
        ``(ny, nx)`` of the image.
    """
    ny, nx = shape
    y, x = np.meshgrid(np.linspace(0, ny - 1, 17), np.linspace(0, nx - 1, 17))
    return x.ravel(), y.ravel()


def bare_wcs(wcs: WCS) -> WCS:
    """Return the celestial grid of a WCS without what else its header says, such as a date.

    Parameters
    ----------
    wcs
        Of an image.
    """
    # By way of the header: wcslib shows the terms of TPV nowhere else.
    header = wcs.celestial.to_header(relax=True)
    bare = fits.Header([card for card in header.cards if GRID_KEYS.fullmatch(card.keyword)])
    return WCS(bare)


def grid_offset(exposure: Exposure, wcs: WCS) -> tuple[int, int] | None:
    """Return the ``(dy, dx)`` of an exposure's first pixel on a grid, None on another grid.

    Parameters
    ----------
    exposure
        The image.
    wcs
        The grid.
    """
    x, y = spread(exposure.shape)
    on_grid = SkyGrid(wcs).world_to_pixel(*SkyGrid(exposure.wcs).pixel_to_world(x, y))
    dx, dy = on_grid[0] - x, on_grid[1] - y
    # NaN (the far side of the sky) fails this comparison, as it should.
    if not (np.abs(dx - np.rint(dx[0])) < SAME_GRID_PX).all():
        return None
    if not (np.abs(dy - np.rint(dy[0])) < SAME_GRID_PX).all():
        return None
    return int(np.rint(dy[0])), int(np.rint(dx[0]))


def mosaic_grid(exposures: Sequence[Exposure], scale_arcsec: float | None) -> PixelGrid:
    """Return the grid that holds all exposures.

    Parameters
    ----------
    exposures
        At least one; without a scale, the first one's grid is taken and extended.
    scale_arcsec
        Pixel scale of a new gnomonic grid about the first exposure's reference point.

    Raises
    ------
    MosaicError
        If an exposure lies where the grid cannot reach.
    """
    first = exposures[0].wcs.celestial
    wcs = bare_wcs(first)
    if scale_arcsec is not None:
        ra_deg, dec_deg = (float(angle) for angle in first.wcs.crval)
        wcs = _tangent_plane(ra_deg, dec_deg, scale_arcsec, first.wcs.radesys)
    x_all, y_all = [], []
    for exposure in exposures:
        sky = SkyGrid(exposure.wcs).pixel_to_world(*spread(exposure.shape))
        x, y = SkyGrid(wcs).world_to_pixel(*sky)
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            raise MosaicError(
                f"{', '.join(exposure.band.source_files)} lies more than {REACH_DEG:.0f} degrees "
                f"from {', '.join(exposures[0].band.source_files)}, or where the distortion of "
                "its grid has no inverse; make two mosaics, or set scale_arcsec for a new grid"
            )
        x_all.append(x)
        y_all.append(y)
    x0, y0 = (int(np.rint(np.min(values))) for values in (x_all, y_all))
    shape = (int(np.rint(np.max(y_all))) - y0 + 1, int(np.rint(np.max(x_all))) - x0 + 1)
    return PixelGrid(shifted_wcs(wcs, y0, x0), shape)


def own_grid(
    center_deg: tuple[float, float], size_px: tuple[int, int], scale_arcsec: float
) -> PixelGrid:
    """Return a gnomonic grid about a position, north up and east left.

    Parameters
    ----------
    center_deg
        Right ascension and declination of the middle of the grid.
    size_px
        Width and height.
    scale_arcsec
        Pixel scale.
    """
    width, height = size_px
    wcs = _tangent_plane(*center_deg, scale_arcsec, "ICRS")
    wcs.wcs.crpix = [(width + 1) / 2, (height + 1) / 2]
    return PixelGrid(wcs, (height, width))


def reached_box(exposure: Exposure, wcs: WCS, offset: tuple[int, int] | None) -> Box:
    """Return the pixels of a grid that an exposure may fill, also those off the mosaic.

    Parameters
    ----------
    exposure
        The image.
    wcs
        The grid.
    offset
        What `grid_offset` returned.
    """
    if offset is not None:
        return Box(0, exposure.shape[0], 0, exposure.shape[1]).shifted(*offset)
    sky = SkyGrid(exposure.wcs).pixel_to_world(*spread(exposure.shape))
    x, y = SkyGrid(wcs).world_to_pixel(*sky)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return Box(-ANYWHERE_PX, ANYWHERE_PX, -ANYWHERE_PX, ANYWHERE_PX)
    ratio = pixel_scale_arcsec(exposure.wcs) / pixel_scale_arcsec(wcs)
    margin = MARGIN_PX + int(np.ceil(ratio))
    return box_around(y, x, margin)


def _tangent_plane(ra_deg: float, dec_deg: float, scale_arcsec: float, system: str) -> WCS:
    """Return a gnomonic grid about a position, north up and east left."""
    plane = WCS(naxis=2)
    plane.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    plane.wcs.crval = [ra_deg, dec_deg]
    plane.wcs.crpix = [1.0, 1.0]
    plane.wcs.cdelt = [-scale_arcsec / 3600.0, scale_arcsec / 3600.0]
    plane.wcs.radesys = system
    return plane


def shifted_wcs(wcs: WCS, y0: int, x0: int) -> WCS:
    """Return a WCS whose pixel (0, 0) is pixel ``(y0, x0)`` of the given one.

    Parameters
    ----------
    wcs
        The grid.
    y0, x0
        A pixel of it.
    """
    shifted = wcs.deepcopy()
    shifted.wcs.crpix = wcs.wcs.crpix - np.array([x0, y0])
    if shifted.sip is not None:
        sip = shifted.sip
        sip_crpix = sip.crpix - np.array([x0, y0])
        shifted.sip = type(sip)(sip.a, sip.b, sip.ap, sip.bp, sip_crpix)
    return shifted
