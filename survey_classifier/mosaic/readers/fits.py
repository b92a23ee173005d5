"""Reading any FITS image with a celestial WCS.

Owns HDU look-up, zero points from headers and the unit conversion to nJy. Does not own the WCS
(``header_wcs``), nor masks or file layouts of particular surveys.
"""

import hashlib
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
from astropy.wcs import WCS

from survey_classifier.errors import MosaicError
from survey_classifier.geometry import Box
from survey_classifier.mosaic.exposure import MosaicInput
from survey_classifier.mosaic.pixels import BandInfo, MaskBit
from survey_classifier.mosaic.readers.header_wcs import equatorial_wcs

__all__ = ["FitsExposure", "open_fits"]

ZERO_POINT_KEYWORDS = ("MAGZERO", "MAGZPT", "MAGZP", "ZP_STACK", "PHOTZP")
PSF_KEYWORD = "PSFFWHM"
ALL_BITS = 255
NOT_OURS = (
    "a mask plane must hold this package's mask bits (MaskBit, integers 0 to 255): "
    "map the survey's planes to them, or leave mask_hdu out"
)
COMPRESSED = (b"\x1f\x8b", b"BZh", b"PK", b"\xfd7zXZ")
"""First bytes of the compressed files that astropy reads: gzip, bzip2, zip, xz."""
N_SAMPLES, SAMPLE_BYTES = 32, 2**16
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
    identity: str
    """See `Exposure.identity`."""

    def read(self, box: Box) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
        """See `Exposure.read`.

        Raises
        ------
        MosaicError
            If the file cannot be read there, or its mask plane has other bits than `MaskBit`.
        """
        with _opened(self.path) as hdus:
            flux = _section(hdus[self.hdu], box).astype(np.float32) * np.float32(self.njy_per_count)
            mask = np.zeros(box.shape, dtype=np.uint8)
            if self.mask_hdu is not None:
                mask = self._mask(_section(hdus[self.mask_hdu], box))
            if self.coverage_hdu is not None:
                flux[_section(hdus[self.coverage_hdu], box) == 0] = np.nan
        empty = ~np.isfinite(flux) | ((mask & np.uint8(MaskBit.NO_DATA)) != 0)
        flux[empty] = np.nan
        mask[empty] |= np.uint8(MaskBit.NO_DATA)
        return flux, mask

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
        not one of `MaskBit`, the WCS is not equatorial, or the zero point is unknown.
    """
    with warnings.catch_warnings(), _opened(path) as hdus:
        # `_require_whole` says it, once.
        warnings.filterwarnings("ignore", message="File may have been truncated")
        _require_whole(hdus, path)
        number = _find_image(hdus, settings.hdu, path)
        header, shape = hdus[number].header, hdus[number].shape
        coverage = _plane(hdus, settings.coverage_hdu, shape, path)
        mask = _plane(hdus, settings.mask_hdu, shape, path)
        if mask is not None:
            _require_mask(hdus[mask].header, mask, path)
        zero_point = _zero_point(header, settings, path)
        psf = settings.psf_fwhm_arcsec or _psf(header, path)
        band = BandInfo(settings.band, settings.unit, zero_point, psf, (path.name,))
        scale = 1.0 if zero_point is None else 10 ** (0.4 * (NJY_ZERO_POINT - zero_point))
        # Not the time of the file: a copy of it is the same image.
        keys = (path.name, _sampled_digest(path), number, coverage, mask, band, scale)
        wcs = equatorial_wcs(header, f"HDU {number} of {path}")
        return FitsExposure(path, number, coverage, mask, band, shape, wcs, scale, repr(keys))


@contextmanager
def _opened(path: Path) -> Iterator[fits.HDUList]:
    """Open a file; the one place where its problems become ours."""
    try:
        # Not mapped: astropy maps no scaled integers, and sections are read by window anyhow.
        with path.open("rb") as stream, fits.open(stream, memmap=False) as hdus:
            yield hdus
    except FileNotFoundError as error:
        raise MosaicError(f"no such file: {path}") from error
    except (OSError, VerifyError, UserWarning, ValueError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        reason = reason.partition(" If this is really a FITS file")[0]  # astropy's own options
        raise MosaicError(f"cannot read {path} as FITS: {reason}; fetch it again") from error


def _require_whole(hdus: fits.HDUList, path: Path) -> None:
    """Refuse a file that is shorter than its headers say; a compressed one fails by itself."""
    with path.open("rb") as stream:
        if stream.read(6).startswith(COMPRESSED):
            return
    info = hdus[-1].fileinfo()
    expected, size = info["datLoc"] + info["datSpan"], path.stat().st_size
    if size < expected:
        raise MosaicError(
            f"cannot read {path} as FITS: it is truncated, {size} of {expected} bytes; "
            "fetch it again"
        )


def _sampled_digest(path: Path) -> str:
    """Return a SHA-256 over a file's size and pieces spread evenly over it.

    Reading a survey whole only to see that it is the same would take as long as its ingest; an
    image that was replaced differs in every piece.
    """
    size = path.stat().st_size
    state = hashlib.sha256(str(size).encode())
    with path.open("rb") as stream:
        for number in range(N_SAMPLES):
            stream.seek(max(0, size - SAMPLE_BYTES) * number // (N_SAMPLES - 1))
            state.update(stream.read(SAMPLE_BYTES))
    return state.hexdigest()


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
            raise MosaicError(f"{path} holds no two-dimensional image; name another file")
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


def _require_mask(header: fits.Header, number: int, path: Path) -> None:
    """Refuse a plane that by its header cannot hold `MaskBit` values."""
    planes = [card for card in header if card.startswith("MP_")]
    problem = f"has the planes of a survey ({planes[0]})" if planes else "holds floats"
    if planes or header["BITPIX"] < 0:
        raise MosaicError(f"HDU {number} of {path} {problem}; {NOT_OURS}")


def _zero_point(header: fits.Header, settings: MosaicInput, path: Path) -> float | None:
    """Return the magnitude of one count: the file's own, else the declared one."""
    if settings.unit == "display":
        return None
    if str(header.get("BUNIT", "")).strip().lower() == "njy":
        return NJY_ZERO_POINT
    own = settings.zero_point_keyword
    for keyword in (own,) if own else ZERO_POINT_KEYWORDS:
        if keyword in header:
            value = _number(header[keyword])
            if not np.isfinite(value):
                raise MosaicError(
                    f"the zero point of {path} is no number ({keyword} = {header[keyword]!r}); "
                    "mend it, or name another keyword as zero_point_keyword"
                )
            return value
    if settings.zero_point is not None:
        return settings.zero_point
    raise MosaicError(
        f"{path} has no zero point ({own or ', '.join(ZERO_POINT_KEYWORDS)}); "
        "set zero_point or zero_point_keyword, or unit = 'display' for an uncalibrated image"
    )


def _psf(header: fits.Header, path: Path) -> float | None:
    """Return the seeing in arcsec, None where the file does not say."""
    if PSF_KEYWORD not in header:
        return None
    value = _number(header[PSF_KEYWORD])
    if not (np.isfinite(value) and value > 0):
        raise MosaicError(
            f"{path} has no sound seeing ({PSF_KEYWORD} = {header[PSF_KEYWORD]!r}); "
            "set psf_fwhm_arcsec"
        )
    return value


def _number(value: Any) -> float:  # noqa: ANN401 - any FITS value
    """Return a header's value as a number, NaN where it is none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")
