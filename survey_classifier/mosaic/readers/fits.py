"""Reading any FITS image with a celestial WCS.

Owns which HDUs of a file are read and how they become an `Exposure`. Does not own files
(``fits_file``), units and noise (``calibration``), the WCS (``header_wcs``), nor the conventions of
particular surveys.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.io import fits
from astropy.wcs import WCS

from survey_classifier.errors import MosaicError
from survey_classifier.geometry import Box
from survey_classifier.mosaic.exposure import MosaicInput, PixelGrid, Territory, Window
from survey_classifier.mosaic.pixels import BandInfo, MaskBit
from survey_classifier.mosaic.readers.calibration import (
    Noise,
    NoiseKind,
    calibrated,
    njy_per_count,
    seeing_arcsec,
    zero_point_of,
)
from survey_classifier.mosaic.readers.filters import filters_of, require_band
from survey_classifier.mosaic.readers.fits_file import (
    find_image,
    find_plane,
    opened,
    opened_to_describe,
    sampled_digest,
)
from survey_classifier.mosaic.readers.header_wcs import equatorial_wcs
from survey_classifier.mosaic.readers.section import section_of

__all__ = ["FitsExposure", "NoisePlane", "open_fits"]

ALL_BITS = 255
NOT_OURS = (
    "a mask plane must hold this package's mask bits (MaskBit, integers 0 to 255): "
    "map the survey's planes to them, or leave mask_hdu out"
)
NOISE_KINDS: tuple[NoiseKind, ...] = ("variance", "rms", "weight")


@dataclass(frozen=True, slots=True)
class NoisePlane:
    """The HDU that says how large the noise is."""

    kind: NoiseKind
    hdu: int


@dataclass(frozen=True, slots=True)
class FitsExposure:
    """One image HDU of a FITS file; see `Exposure`."""

    path: Path
    hdu: int
    """Number of the image HDU."""
    coverage_hdu: int | None
    mask_hdu: int | None
    noise: NoisePlane | None
    band: BandInfo
    shape: tuple[int, int]
    wcs: WCS
    identity: str
    """See `Exposure.identity`."""

    @property
    def files(self) -> tuple[Path, ...]:
        """See `Exposure.files`."""
        return (self.path,)

    @property
    def slot(self) -> str:
        """See `Exposure.slot`."""
        return ""

    @property
    def core(self) -> Box | None:
        """See `Exposure.core`."""
        return None

    @property
    def territory(self) -> Territory | None:
        """See `Exposure.territory`."""
        return None

    @property
    def survey_grid(self) -> PixelGrid | None:
        """See `Exposure.survey_grid`."""
        return None

    @property
    def lacks(self) -> tuple[str, ...]:
        """See `Exposure.lacks`."""
        return ()

    def read(self, box: Box) -> Window:
        """See `Exposure.read`.

        Raises
        ------
        MosaicError
            If the file cannot be read there, or its mask plane has other bits than `MaskBit`.
        """
        with opened(self.path) as hdus:
            return self.window(hdus, box)

    def window(self, hdus: fits.HDUList, box: Box, noise: Noise | None = None) -> Window:
        """Return what `read` does, for readers that have the file open.

        Parameters
        ----------
        hdus
            The file, within a block of `opened`.
        box
            The window, inside the image.
        noise
            Kind and plane of the noise, where they are not of this file.
        """
        counts = self.plane(hdus, self.hdu, box)
        mask = np.zeros(box.shape, dtype=np.uint8)
        if self.mask_hdu is not None:
            mask = self._mask(self.plane(hdus, self.mask_hdu, box))
        if self.coverage_hdu is not None:
            coverage = self.plane(hdus, self.coverage_hdu, box)
            mask[(coverage == 0) | np.isnan(coverage)] |= np.uint8(MaskBit.NO_DATA)
        if self.noise is not None:
            noise = self.noise.kind, self.plane(hdus, self.noise.hdu, box)
        return calibrated(counts, njy_per_count(self.band.zero_point), mask, noise)

    def plane(self, hdus: fits.HDUList, number: int, box: Box) -> npt.NDArray[Any]:
        """Return a window of any HDU of the image's shape, as the file has it.

        Parameters
        ----------
        hdus, box
            See `window`.
        number
            Number of the HDU.
        """
        return section_of(hdus, number, box, self.shape, self.path)

    def _mask(self, plane: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        """Return a window of the mask plane; `_require_mask` saw only its header."""
        low, high = plane.min(), plane.max()
        if plane.dtype.kind not in "iu" or low < 0 or high > ALL_BITS:
            raise MosaicError(
                f"HDU {self.mask_hdu} of {self.path} holds {low if low < 0 else high}; {NOT_OURS}"
            )
        return plane.astype(np.uint8)


def open_fits(settings: MosaicInput, path: Path) -> FitsExposure:
    """Check a FITS file and describe its image.

    Parameters
    ----------
    settings
        The input's table of the run file.
    path
        One file of it.

    Raises
    ------
    MosaicError
        If the file is missing or unreadable, an HDU is not there or no image, the mask plane is
        not one of `MaskBit`, the image is plainly of another band, the WCS is not of the kind that
        is understood, or unit or zero point are unknown.
    """
    with opened_to_describe(path) as hdus:
        image = find_image(hdus, settings.hdu, path)
        header, shape = hdus[image].header, hdus[image].shape
        where = f"HDU {image} of {path}"
        require_band(settings.band, filters_of(header), path, "header")
        coverage = find_plane(hdus, settings.coverage_hdu, shape, path)
        mask = find_plane(hdus, settings.mask_hdu, shape, path)
        if mask is not None:
            _require_mask(hdus[mask].header, mask, path)
        noise = _noise_plane(hdus, settings, shape, path)
        if settings.hdu is None:
            _require_only_image(hdus, image, (coverage, mask, noise.hdu if noise else None), path)
        zero_point = zero_point_of(header, settings, where)
        band = BandInfo(
            settings.band,
            settings.unit,
            zero_point,
            seeing_arcsec(header, settings, where),
            (path.name,),
            has_variance=noise is not None,
            has_mask=mask is not None,
        )
        # Not the time of the file: a copy of it is the same image. Nor the seeing: it changes no
        # pixel until bands are matched, and `MatchedExposure` adds it then.
        pixels = replace(band, psf_fwhm_arcsec=None)
        keys = (path.name, sampled_digest(path), image, coverage, mask, noise, pixels)
        wcs = equatorial_wcs(header, where)
        return FitsExposure(path, image, coverage, mask, noise, band, shape, wcs, repr(keys))


def _require_only_image(
    hdus: fits.HDUList, image: int, planes: Collection[int | None], path: Path
) -> None:
    """Refuse to choose among images of the sky: the first may be of another band."""
    sky = [
        index
        for index, hdu in enumerate(hdus)
        if str(hdu.header.get("CTYPE1", "")).startswith("RA-") or index == image
    ]
    if any(index not in planes and index != image for index in sky):
        names = ", ".join(f"{index}:{hdus[index].name}" for index in sky)
        raise MosaicError(
            f"{path} holds several images of the sky ({names}); say which is meant as hdu, and "
            "name planes that belong to it as mask_hdu, rms_hdu and so on"
        )


def _require_mask(header: fits.Header, number: int, path: Path) -> None:
    """Refuse a plane that by its header cannot hold `MaskBit` values."""
    planes = [card for card in header if card.startswith("MP_")]
    problem = f"has the planes of a survey ({planes[0]})" if planes else "holds floats"
    if planes or header["BITPIX"] < 0:
        raise MosaicError(f"HDU {number} of {path} {problem}; {NOT_OURS}")


def _noise_plane(
    hdus: fits.HDUList, settings: MosaicInput, shape: tuple[int, int], path: Path
) -> NoisePlane | None:
    """Return the plane of the noise that the run file names; it names at most one."""
    for kind in NOISE_KINDS:
        found = find_plane(hdus, getattr(settings, f"{kind}_hdu"), shape, path)
        if found is not None:
            return NoisePlane(kind, found)
    return None
