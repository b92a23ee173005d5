"""Reading any FITS image with a celestial WCS.

Owns HDU look-up, zero points from headers and the unit conversion to nJy. Does not own masks
or file layouts of particular surveys.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.io import fits
from astropy.io.fits.verify import VerifyError
from astropy.wcs import WCS, FITSFixedWarning

from survey_classifier.errors import MosaicError
from survey_classifier.geometry import Box
from survey_classifier.mosaic.exposure import MosaicInput
from survey_classifier.mosaic.pixels import BandInfo, MaskBit

__all__ = ["FitsExposure", "open_fits"]

ZERO_POINT_KEYWORDS = ("MAGZERO", "MAGZPT", "MAGZP", "ZP_STACK", "PHOTZP")
PSF_KEYWORD = "PSFFWHM"
NJY_ZERO_POINT = 31.4
"""AB magnitude of 1 nJy, ``-2.5 log10(1e-9 / 3631)`` to 0.0003 mag (Oke & Gunn 1983)."""


@dataclass(frozen=True, slots=True)
class FitsExposure:
    """One image HDU of a FITS file; see `Exposure`."""

    path: Path
    hdu: int
    """Number of the image HDU."""
    coverage_hdu: int | None
    mask_hdu: int | None
    band: BandInfo
    shape: tuple[int, int]
    wcs: WCS
    njy_per_count: float
    """What counts are multiplied with; 1 for display units."""

    @property
    def identity(self) -> str:
        """See `Exposure.identity`."""
        status = self.path.stat()
        keys = (self.path.name, status.st_size, status.st_mtime_ns, self.hdu, self.coverage_hdu,
                self.mask_hdu, self.band, self.njy_per_count)  # fmt: skip
        return repr(keys)

    def read(self, box: Box) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
        """See `Exposure.read`.

        Raises
        ------
        MosaicError
            If the file cannot be read there, as when it is truncated.
        """
        with _opened(self.path) as hdus:
            flux = _section(hdus[self.hdu], box).astype(np.float32) * np.float32(self.njy_per_count)
            mask = np.zeros(box.shape, dtype=np.uint8)
            if self.mask_hdu is not None:
                mask |= _section(hdus[self.mask_hdu], box).astype(np.uint8)
            if self.coverage_hdu is not None:
                flux[_section(hdus[self.coverage_hdu], box) == 0] = np.nan
        flux[~np.isfinite(flux) | ((mask & MaskBit.NO_DATA) != 0)] = np.nan
        return flux, mask


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
        If the file is missing or unreadable, an HDU is not there or no image, the WCS is not
        celestial, or the zero point is unknown.
    """
    with _opened(path) as hdus:
        _require_whole(hdus, path)
        number = _find_image(hdus, settings.hdu, path)
        header, shape = hdus[number].header, hdus[number].shape
        coverage = _plane(hdus, settings.coverage_hdu, shape, path)
        mask = _plane(hdus, settings.mask_hdu, shape, path)
        zero_point = _zero_point(header, settings, path)
        psf = settings.psf_fwhm_arcsec or header.get(PSF_KEYWORD)
        band = BandInfo(settings.band, settings.unit, zero_point, psf, (path.name,))
        scale = 1.0 if zero_point is None else 10 ** (0.4 * (NJY_ZERO_POINT - zero_point))
        wcs = _wcs(header, path, number)
        return FitsExposure(path, number, coverage, mask, band, shape, wcs, scale)


@contextmanager
def _opened(path: Path) -> Iterator[fits.HDUList]:
    """Open a file; the one place where its problems become ours."""
    try:
        with path.open("rb") as stream, fits.open(stream, memmap=True) as hdus:
            yield hdus
    except FileNotFoundError as error:
        raise MosaicError(f"no such file: {path}") from error
    except (OSError, VerifyError, UserWarning, ValueError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise MosaicError(f"cannot read {path} as FITS: {reason}; fetch it again") from error


def _require_whole(hdus: fits.HDUList, path: Path) -> None:
    """Refuse a file that is shorter than its headers say."""
    info = hdus[-1].fileinfo()
    expected, size = info["datLoc"] + info["datSpan"], path.stat().st_size
    if size < expected:
        raise MosaicError(
            f"cannot read {path} as FITS: it is truncated, {size} of {expected} bytes; "
            "fetch it again"
        )


def _section(hdu: Any, box: Box) -> npt.NDArray[Any]:  # noqa: ANN401 - any image HDU
    """Read a window of an image without the rest of it."""
    return np.asarray(hdu.section[box.slices])


def _is_image(hdu: Any) -> bool:  # noqa: ANN401 - any HDU
    return bool(getattr(hdu, "is_image", False) and len(hdu.shape) == 2 and min(hdu.shape) > 0)


def _find_image(hdus: fits.HDUList, name: str | int | None, path: Path) -> int:
    """Return the number of the HDU that holds the image."""
    if name is None:
        images = [number for number, hdu in enumerate(hdus) if _is_image(hdu)]
        if not images:
            raise MosaicError(f"{path} holds no two-dimensional image")
        return images[0]
    try:
        number = int(hdus.index_of(name))
        hdu = hdus[number]
    except (KeyError, IndexError) as error:
        known = ", ".join(f"{number}:{hdu.name}" for number, hdu in enumerate(hdus))
        raise MosaicError(f"{path} has no HDU {name!r}; it has {known}") from error
    if not _is_image(hdu):
        raise MosaicError(f"HDU {name!r} of {path} is no two-dimensional image")
    return number


def _plane(
    hdus: fits.HDUList, name: str | int | None, shape: tuple[int, int], path: Path
) -> int | None:
    """Return the number of a plane that goes with the image."""
    if name is None:
        return None
    number = _find_image(hdus, name, path)
    if hdus[number].shape != shape:
        raise MosaicError(
            f"HDU {name!r} of {path} has shape {hdus[number].shape}, its image {shape}"
        )
    return number


def _zero_point(header: fits.Header, settings: MosaicInput, path: Path) -> float | None:
    """Return the magnitude of one count: the file's own, else the declared one."""
    if settings.unit == "display":
        return None
    if str(header.get("BUNIT", "")).strip().lower() == "njy":
        return NJY_ZERO_POINT
    own = settings.zero_point_keyword
    for keyword in (own,) if own else ZERO_POINT_KEYWORDS:
        if keyword in header:
            return float(header[keyword])
    if settings.zero_point is not None:
        return settings.zero_point
    raise MosaicError(
        f"{path} has no zero point ({own or ', '.join(ZERO_POINT_KEYWORDS)}); "
        "set zero_point or zero_point_keyword, or unit = 'display' for an uncalibrated image"
    )


def _wcs(header: fits.Header, path: Path, number: int) -> WCS:
    """Return the celestial WCS of a header."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)
        wcs = WCS(header)
    if not wcs.has_celestial or wcs.naxis != 2:
        raise MosaicError(
            f"HDU {number} of {path} has no celestial WCS (CTYPE1 = "
            f"{header.get('CTYPE1', 'absent')!r}); add one, a plate solution for example"
        )
    return wcs
