"""What a reader makes of an image file: one band on the file's own grid, read by windows.

Owns the seam between file formats (``readers``) and the ingest, and the settings of one input.
Does not own any file format.
"""

from typing import Annotated, Literal, Protocol

import numpy as np
import numpy.typing as npt
from astropy.wcs import WCS
from pydantic import Field

from survey_classifier.geometry import Box
from survey_classifier.mosaic.pixels import BAND_NAME, BandInfo
from survey_classifier.settings import Settings

__all__ = ["Exposure", "MosaicInput"]


class MosaicInput(Settings):
    """One ``[[mosaic.inputs]]`` table: a file, or a pattern of files, of one band."""

    reader: Literal["fits"] = "fits"
    """Format of the file."""
    path: str
    """File or glob pattern, relative to the run file."""
    band: Annotated[str, Field(pattern=BAND_NAME)]
    """Name of the band."""
    hdu: str | int | None = None
    """Name or number of the image HDU; by default the first that holds an image."""
    unit: Literal["nJy", "display"] = "nJy"
    """``display`` for images without photometric calibration, taken as they are."""
    zero_point: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """Magnitude of one count, for files that do not say it themselves."""
    zero_point_keyword: str | None = None
    """Header keyword of the zero point, where it is not one of the usual ones."""
    coverage_hdu: str | int | None = None
    """HDU that is 0 where the image has no data."""
    mask_hdu: str | int | None = None
    """HDU of `MaskBit` values, not of a survey's own planes."""
    psf_fwhm_arcsec: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Seeing, for files without the keyword PSFFWHM."""


class Exposure(Protocol):
    """An image of one band on its own grid.

    Implementations open their file only while they read, so they are cheap to keep, can be
    pickled, and may be read from several threads.
    """

    @property
    def band(self) -> BandInfo:
        """The band; its unit is what `read` returns."""

    @property
    def shape(self) -> tuple[int, int]:
        """``(ny, nx)`` in pixels."""

    @property
    def wcs(self) -> WCS:
        """Equatorial WCS of the file's grid, right ascension first."""

    @property
    def identity(self) -> str:
        """Text that changes when what `read` returns may change: names, sizes, headers, keys."""

    def read(self, box: Box) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
        """Return flux and mask (`MaskBit`) of a box inside the image; the caller may change them.

        Flux is NaN where there is no data and never infinite; NO_DATA is set where it is NaN.
        """
