"""The place of a coadd's file in the rings sky map.

Owns the names of patches' files, and what their WCS says of their place. Does not own the
arithmetic of tracts and patches (``skymap``).

A patch is known by the name of its file, against which its WCS is held, in one of the forms ::

    calexp-HSC-G-15549-4,5.fits                    also with %2C for the comma
    deepCoadd/HSC-G/15549/4,5.fits
    deepCoadd_calexp_15549_49_g_hsc_rings_v1_HSC_runs_PDR.fits    49 = 4 + 9 x 5

A file of any other name is a patch if it lies on a tract's grid and shows all of one patch and
nothing else; otherwise it is an image without a place in the sky map, such as a cut-out. Where the
file has the WCS ``A`` of the HSC and LSST pipelines, its origin is that of the patch in pixels of
the tract.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from survey_classifier.errors import MosaicError
from survey_classifier.geometry import Box
from survey_classifier.mosaic.exposure import MosaicInput, PixelGrid
from survey_classifier.mosaic.grids import shifted_wcs, spread
from survey_classifier.mosaic.readers.fits_file import number
from survey_classifier.mosaic.sky import SkyGrid, pixel_scale_arcsec
from survey_classifier.mosaic.skymap import Patches, RingsTract, tract_at

__all__ = ["TractPatch", "tract_patch"]

SUFFIX = r"\.fits(?:\.\w+)?$"
PAIR_NAME = re.compile(rf"(?:^|[-/])(\d+)[-/](\d+)(?:,|%2C)(\d+){SUFFIX}")
SEQUENCE_NAME = re.compile(rf"(?:^|/)deep_?[cC]oadd[a-zA-Z_]*_(\d+)_(\d+)_[^/]*{SUFFIX}")
CENTER_DEG = 1e-6
"""How far a patch's reference point may be from its tract's center."""
ORIGIN_PX = 0.01
"""How far a patch's pixels may be off those of its tract."""
NO_PATCH = "a file of another name is a patch only if its pixels are"
Origin = tuple[float, float]
"""``(y, x)`` of a file's first pixel in its tract."""


@dataclass(frozen=True, slots=True)
class TractPatch:
    """The place of a patch's file in its tract."""

    tract: RingsTract
    column: int
    row: int
    core: Box
    """The patch's inner region, in pixels of the file."""
    grid: PixelGrid
    """The whole tract, on exactly the file's own WCS."""

    @property
    def name(self) -> str:
        """Such as ``15549-4,5``; the tract by its present number."""
        return f"{self.tract.number}-{self.column},{self.row}"


def tract_patch(
    path: Path, header: fits.Header, wcs: WCS, shape: tuple[int, int], settings: MosaicInput
) -> TractPatch | None:
    """Return the place of a file in the sky map, None if neither name nor pixels have one.

    Parameters
    ----------
    path
        The file.
    header, wcs, shape
        Of its image.
    settings
        The input's table of the run file, with the sizes of patches.

    Raises
    ------
    MosaicError
        If the name says another tract or patch than the WCS.
    """
    patches = Patches(settings.patch_inner_px, settings.patch_border_px, pixel_scale_arcsec(wcs))
    named = _named(path, patches)
    if named is None:
        return _by_pixels(header, wcs, shape, patches)
    number_in_name, column, row = named
    tract = _tract(path, number_in_name, wcs)
    y0, x0 = _origin(path, header, wcs, patches)
    shown, outer = _shown(y0, x0, shape), patches.outer(column, row)
    if not _is_all_of(shown, outer, patches):
        raise MosaicError(
            f"{path} shows the pixels {shown} of its tract, but patch {column},{row} is {outer}; "
            f"set patch_inner_px and patch_border_px (now {patches.inner_px} and "
            f"{patches.border_px}), or mend its name: {NO_PATCH}"
        )
    return _placed(tract, column, row, shown, wcs, patches)


def _by_pixels(
    header: fits.Header, wcs: WCS, shape: tuple[int, int], patches: Patches
) -> TractPatch | None:
    """Return the place of the patch that a file shows exactly, None if it shows none so."""
    tract = _tract_at(wcs)
    origin = _agreed(_origins(header, wcs, patches))
    if origin is None or not _is_center(tract, wcs) or not _is_on_grid(tract, wcs, origin, patches):
        return None
    shown = _shown(*origin, shape)
    middle = np.array([shown.x0 + shown.x1]) / 2, np.array([shown.y0 + shown.y1]) / 2
    column, row = (int(index[0]) for index in patches.at(*middle))
    if column < 0 or not _is_all_of(shown, patches.outer(column, row), patches):
        return None
    return _placed(tract, column, row, shown, wcs, patches)


def _placed(
    tract: RingsTract, column: int, row: int, shown: Box, wcs: WCS, patches: Patches
) -> TractPatch:
    """Return the place of a file that shows some pixels of a tract."""
    core = patches.inner(column, row).shifted(-shown.y0, -shown.x0)
    grid = PixelGrid(shifted_wcs(wcs, -shown.y0, -shown.x0), (patches.tract_px, patches.tract_px))
    return TractPatch(tract, column, row, core, grid)


def _shown(y0: int, x0: int, shape: tuple[int, int]) -> Box:
    """Return the pixels of its tract that a file shows."""
    return Box(y0, y0 + shape[0], x0, x0 + shape[1])


def _is_all_of(shown: Box, outer: Box, patches: Patches) -> bool:
    """Return whether a file shows a patch and nothing else of its tract."""
    # Patches of LSST's cells reach beyond the tract; those of HSC end with it.
    return shown.intersection(Box(0, patches.tract_px, 0, patches.tract_px)) == outer


def _named(path: Path, patches: Patches) -> tuple[int, int, int] | None:
    """Return ``(tract, column, row)`` of a file's name."""
    if match := PAIR_NAME.search(path.as_posix()):
        return int(match[1]), int(match[2]), int(match[3])
    if match := SEQUENCE_NAME.search(path.as_posix()):
        row, column = divmod(int(match[2]), patches.per_side)
        return int(match[1]), column, row
    return None


def _tract(path: Path, number_in_name: int, wcs: WCS) -> RingsTract:
    """Return the tract whose center is the file's reference point; the name must agree."""
    ra, dec = wcs.wcs.crval
    tract = _tract_at(wcs)
    if not _is_center(tract, wcs) or number_in_name not in tract.numbers:
        raise MosaicError(
            f"{path} is of tract {number_in_name} by its name, but its reference point "
            f"({ra:.5f}, {dec:.5f}) is no center of that tract (nearest: {tract.number} at "
            f"({tract.center[0]:.5f}, {tract.center[1]:.5f})); mend its name: {NO_PATCH}"
        )
    return tract


def _tract_at(wcs: WCS) -> RingsTract:
    """Return the tract that the file's reference point belongs to."""
    return RingsTract(int(tract_at(*wcs.wcs.crval)))


def _is_center(tract: RingsTract, wcs: WCS) -> bool:
    """Return whether the file's reference point is the center of a tract."""
    ra, dec = wcs.wcs.crval
    ra_off = (ra - tract.center[0] + 180.0) % 360.0 - 180.0
    off = np.hypot(ra_off * np.cos(np.radians(dec)), dec - tract.center[1])
    return bool(off <= CENTER_DEG)


def _is_on_grid(tract: RingsTract, wcs: WCS, origin: tuple[int, int], patches: Patches) -> bool:
    """Return whether a file's pixels are those of the tract all over a patch."""
    x, y = spread((patches.inner_px, patches.inner_px))
    there = SkyGrid(patches.grid(tract).wcs).world_to_pixel(*SkyGrid(wcs).pixel_to_world(x, y))
    # A NaN fails these comparisons, as it should.
    on_x, on_y = (np.abs(there[0] - x - origin[1]), np.abs(there[1] - y - origin[0]))
    return bool((on_x <= ORIGIN_PX).all() and (on_y <= ORIGIN_PX).all())


def _origin(path: Path, header: fits.Header, wcs: WCS, patches: Patches) -> tuple[int, int]:
    """Return ``(y, x)`` of the file's first pixel in its tract, by both WCS if it has them."""
    celestial, said = origins = _origins(header, wcs, patches)
    agreed = _agreed(origins)
    if agreed is None:
        raise MosaicError(
            f"{path} starts at y {said[0]:.2f}, x {said[1]:.2f} of its tract by the WCS A, but at "
            f"y {celestial[0]:.2f}, x {celestial[1]:.2f} by the celestial one in a tract of "
            f"{patches.tract_px} px; set patch_inner_px (now {patches.inner_px}), or mend its "
            f"name: {NO_PATCH}"
        )
    return agreed


def _origins(header: fits.Header, wcs: WCS, patches: Patches) -> tuple[Origin, Origin]:
    """Return where a file begins by the celestial WCS and by the WCS ``A``, if it has that."""
    y0, x0 = (float(patches.center_px + 1 - pixel) for pixel in wcs.wcs.crpix[::-1])
    if str(header.get("CTYPE1A", "")).strip() != "LINEAR":
        return (y0, x0), (y0, x0)
    return (y0, x0), (_linear_origin(header, 2), _linear_origin(header, 1))


def _agreed(origins: tuple[Origin, Origin]) -> tuple[int, int] | None:
    """Return the pixel of the tract at which a file begins, None if none is meant."""
    whole = round(origins[0][0]), round(origins[0][1])
    offs = (abs(a - b) for origin in origins for a, b in zip(origin, whole, strict=True))
    # A NaN fails this comparison, as it should.
    return whole if all(off <= ORIGIN_PX for off in offs) else None


def _linear_origin(header: fits.Header, axis: int) -> float:
    """Return what the WCS ``A`` says of the first pixel along an axis."""
    value, pixel = (number(header.get(f"{card}{axis}A")) for card in ("CRVAL", "CRPIX"))
    return value - (pixel - 1.0)
