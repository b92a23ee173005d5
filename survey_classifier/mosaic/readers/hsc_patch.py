"""The place of a coadd's file in the rings sky map.

Owns the names of patches' files, and the check of a name against the file's WCS. Does not own the
arithmetic of tracts and patches (``skymap``).

A patch is known by the name of its file, in one of the forms ::

    calexp-HSC-G-15549-4,5.fits                    also with %2C for the comma
    deepCoadd/HSC-G/15549/4,5.fits
    deepCoadd_calexp_15549_49_g_hsc_rings_v1_HSC_runs_PDR.fits    49 = 4 + 9 x 5

and any other file is an image without a place in the sky map. Where the file has the WCS ``A`` of
the HSC and LSST pipelines, its origin is that of the patch in pixels of the tract.
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
from survey_classifier.mosaic.grids import shifted_wcs
from survey_classifier.mosaic.readers.fits_file import number
from survey_classifier.mosaic.sky import pixel_scale_arcsec
from survey_classifier.mosaic.skymap import Patches, RingsTract, tract_at

__all__ = ["TractPatch", "tract_patch"]

SUFFIX = r"\.fits(?:\.\w+)?$"
PAIR_NAME = re.compile(rf"(?:^|[-/])(\d+)[-/](\d+)(?:,|%2C)(\d+){SUFFIX}")
SEQUENCE_NAME = re.compile(rf"(?:^|/)deep_?[cC]oadd[a-zA-Z_]*_(\d+)_(\d+)_[^/]*{SUFFIX}")
CENTER_DEG = 1e-6
"""How far a patch's reference point may be from its tract's center."""
ORIGIN_PX = 0.01
"""How far a patch's pixels may be off those of its tract."""
NO_PATCH = "a file without tract and patch in its name is read as a plain image"


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
    """Return the place of a file in the sky map, None if its name says none.

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
        return None
    number_in_name, column, row = named
    tract = _tract(path, number_in_name, wcs)
    y0, x0 = _origin(path, header, wcs, patches)
    shown = Box(y0, y0 + shape[0], x0, x0 + shape[1])
    whole = Box(0, patches.tract_px, 0, patches.tract_px)
    inner, outer = patches.inner(column, row), patches.outer(column, row)
    # Patches of LSST's cells reach beyond the tract; those of HSC end with it.
    if shown.intersection(whole) != outer:
        raise MosaicError(
            f"{path} shows the pixels {shown} of its tract, but patch {column},{row} is {outer}; "
            f"set patch_inner_px and patch_border_px (now {patches.inner_px} and "
            f"{patches.border_px}), or mend its name: {NO_PATCH}"
        )
    grid = PixelGrid(shifted_wcs(wcs, -y0, -x0), whole.shape)
    return TractPatch(tract, column, row, inner.shifted(-y0, -x0), grid)


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
    ra, dec = (float(angle) for angle in wcs.wcs.crval)
    tract = RingsTract(int(tract_at(ra, dec)))
    ra_off = (ra - tract.center[0] + 180.0) % 360.0 - 180.0
    off = np.hypot(ra_off * np.cos(np.radians(dec)), dec - tract.center[1])
    if off > CENTER_DEG or number_in_name not in tract.numbers:
        raise MosaicError(
            f"{path} is of tract {number_in_name} by its name, but its reference point "
            f"({ra:.5f}, {dec:.5f}) is no center of that tract (nearest: {tract.number} at "
            f"({tract.center[0]:.5f}, {tract.center[1]:.5f})); mend its name: {NO_PATCH}"
        )
    return tract


def _origin(path: Path, header: fits.Header, wcs: WCS, patches: Patches) -> tuple[int, int]:
    """Return ``(y, x)`` of the file's first pixel in its tract, by both WCS if it has them."""
    y0, x0 = (float(patches.center_px + 1 - pixel) for pixel in wcs.wcs.crpix[::-1])
    said = (y0, x0)
    if str(header.get("CTYPE1A", "")).strip() == "LINEAR":
        said = (_linear_origin(header, 2), _linear_origin(header, 1))
    whole = round(y0), round(x0)
    # A NaN fails this comparison, as it should.
    offs = (abs(a - b) for pair in ((y0, x0), said) for a, b in zip(pair, whole, strict=True))
    if not all(off <= ORIGIN_PX for off in offs):
        raise MosaicError(
            f"{path} starts at y {said[0]:.2f}, x {said[1]:.2f} of its tract by the WCS A, but at "
            f"y {y0:.2f}, x {x0:.2f} by the celestial one in a tract of {patches.tract_px} px; "
            f"set patch_inner_px (now {patches.inner_px}), or mend its name: {NO_PATCH}"
        )
    return whole


def _linear_origin(header: fits.Header, axis: int) -> float:
    """Return what the WCS ``A`` says of the first pixel along an axis."""
    value, pixel = (number(header.get(f"{card}{axis}A")) for card in ("CRVAL", "CRPIX"))
    return value - (pixel - 1.0)
