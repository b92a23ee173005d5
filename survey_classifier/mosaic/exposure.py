"""What a reader makes of an image file: one band on the file's own grid, read by windows.

Owns the seam between file formats (``readers``) and the ingest, and the settings of one input.
Does not own any file format.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Protocol

import numpy as np
import numpy.typing as npt
from astropy.wcs import WCS
from pydantic import Field, field_validator, model_validator

from survey_classifier.geometry import Box
from survey_classifier.mosaic.pixels import BandInfo, MaskBit, wrong_band_name
from survey_classifier.settings import Settings

__all__ = [
    "NOISE_KEYS",
    "DerivedExposure",
    "Exposure",
    "MosaicInput",
    "PixelGrid",
    "Territory",
    "Window",
    "empty_window",
]


NOISE_KEYS = ("variance_hdu", "rms_hdu", "weight_hdu")
"""Settings that say where the noise is."""
HDU_KEYS = ("hdu", "coverage_hdu", "mask_hdu", *NOISE_KEYS)


class MosaicInput(Settings):
    """One ``[[mosaic.inputs]]`` table: a file, or a pattern of files, of one band."""

    reader: Literal["fits", "hsc", "euclid-ero", "euclid-mer", "sdss"] = "fits"
    """Format of the file."""
    path: str
    """File or glob pattern, relative to the run file. A ``{word}`` in it matches any text, and
    sorts the files into the stores of ``mosaic.store = "...{word}..."``."""
    band: str
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
    variance_hdu: str | int | None = None
    """HDU of the variance, in the square of the image's unit."""
    rms_hdu: str | int | None = None
    """HDU of the standard deviation of the noise, in the image's unit."""
    weight_hdu: str | int | None = None
    """HDU of weights, the inverse of the variance; 0 where the image has no data."""
    psf_fwhm_arcsec: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Seeing, for files that do not say it themselves."""
    patch_inner_px: Annotated[int, Field(ge=1)] = 4000
    """Reader ``hsc``: side of a patch without its border."""
    patch_border_px: Annotated[int, Field(ge=0)] = 100
    """Reader ``hsc``: width of the border that a patch shares with its neighbors."""

    @field_validator("band")
    @classmethod
    def _of_a_band(cls, name: str) -> str:
        wrong = wrong_band_name(name)
        if wrong is not None:
            raise ValueError(wrong)
        return name

    @field_validator(*HDU_KEYS, mode="before")
    @classmethod
    def _of_an_hdu(cls, hdu: object) -> object:
        if isinstance(hdu, bool) or not isinstance(hdu, str | int | None):
            raise ValueError(f"the name or number of an HDU, such as 'SCI' or 1, got {hdu!r}")
        return hdu

    @model_validator(mode="after")
    def _one_noise(self) -> "MosaicInput":
        given = [key for key in NOISE_KEYS if getattr(self, key) is not None]
        if len(given) > 1:
            raise ValueError(f"band {self.band} has {' and '.join(given)}; give one of them")
        return self


@dataclass(frozen=True, slots=True)
class Window:
    """Pixels of an image within a box."""

    flux: npt.NDArray[np.float32]
    """``(y, x)`` in the band's unit; NaN where there is no data, never infinite."""
    mask: npt.NDArray[np.uint8]
    """``(y, x)`` of `MaskBit`; NO_DATA wherever flux is NaN."""
    variance: npt.NDArray[np.float32] | None = None
    """``(y, x)`` in the square of the band's unit, NaN where flux is NaN or it is not known;
    None if the image has none."""


def empty_window(shape: tuple[int, int], *, has_variance: bool) -> Window:
    """Return pixels without data.

    Parameters
    ----------
    shape
        ``(ny, nx)`` in pixels.
    has_variance
        Whether there is a variance, all NaN.
    """
    flux = np.full(shape, np.nan, dtype=np.float32)
    mask = np.full(shape, MaskBit.NO_DATA, dtype=np.uint8)
    return Window(flux, mask, flux.copy() if has_variance else None)


@dataclass(frozen=True, slots=True)
class PixelGrid:
    """A celestial WCS with the extent of an image on it."""

    wcs: WCS
    shape: tuple[int, int]
    """``(ny, nx)`` in pixels."""


class Territory(Protocol):
    """The part of the sky that a survey gives to one of its overlapping areas, such as a tract."""

    @property
    def name(self) -> str:
        """Name from which the territory can be made again, such as ``rings:15549``."""

    def contains(
        self, ra_deg: npt.NDArray[np.float64], dec_deg: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.bool_]:
        """Return whether each position belongs to it; False where a position is NaN."""


class Exposure(Protocol):
    """An image of one band on its own grid.

    Implementations open their file only while they read, so they are cheap to keep, can be
    pickled, and may be read from several threads.
    """

    @property
    def path(self) -> Path:
        """The image's file."""

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that it is read from, `path` first."""

    @property
    def band(self) -> BandInfo:
        """The band; its unit is what `read` returns, `has_variance` says whether that is known."""

    @property
    def shape(self) -> tuple[int, int]:
        """``(ny, nx)`` in pixels."""

    @property
    def wcs(self) -> WCS:
        """Equatorial WCS of the file's grid, right ascension first."""

    @property
    def identity(self) -> str:
        """Text that changes when what `read` returns may change: names, sizes, headers, keys."""

    @property
    def slot(self) -> str:
        """Which piece of the survey it is: two files of one band and slot are the same piece.

        A patch such as ``15549-4,5``, a tile such as ``TILE102018665``; '' where the survey has
        no such pieces.
        """

    @property
    def core(self) -> Box | None:
        """The pixels that the survey gives to this image among those of its territory.

        None where the survey has no rule.
        """

    @property
    def territory(self) -> Territory | None:
        """The part of the sky that the survey gives to the image's area, None without a rule."""

    @property
    def survey_grid(self) -> PixelGrid | None:
        """The grid that the image is a piece of, such as its tract's; None if it is none's."""

    @property
    def lacks(self) -> tuple[str, ...]:
        """What files of its survey come with and this one has not, such as ``a mask``.

        Each with what is not known for want of it.
        """

    def read(self, box: Box) -> Window:
        """Return the pixels of a box inside the image; the caller may change them."""


@dataclass(frozen=True)
class DerivedExposure:
    """What an exposure that is made of another one has from it; see `Exposure`.

    Subclasses say band, identity and slot, and read it.
    """

    image: Exposure
    """The image that it is made of."""

    @property
    def path(self) -> Path:
        """See `Exposure.path`."""
        return self.image.path

    @property
    def files(self) -> tuple[Path, ...]:
        """See `Exposure.files`."""
        return self.image.files

    @property
    def shape(self) -> tuple[int, int]:
        """See `Exposure.shape`."""
        return self.image.shape

    @property
    def wcs(self) -> WCS:
        """See `Exposure.wcs`."""
        return self.image.wcs

    @property
    def core(self) -> Box | None:
        """See `Exposure.core`."""
        return self.image.core

    @property
    def territory(self) -> Territory | None:
        """See `Exposure.territory`."""
        return self.image.territory

    @property
    def survey_grid(self) -> PixelGrid | None:
        """See `Exposure.survey_grid`."""
        return self.image.survey_grid

    @property
    def lacks(self) -> tuple[str, ...]:
        """See `Exposure.lacks`."""
        return self.image.lacks
