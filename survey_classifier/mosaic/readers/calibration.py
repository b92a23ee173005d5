"""What the numbers of an image file are: the magnitude of one count, the noise, the seeing.

Owns units (``BUNIT``), zero points and seeing of headers, and the conversion of counts and noise
planes to a `Window`. Does not own the conventions of particular surveys, nor files
(``fits_file``).
"""

import re
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from astropy import units
from astropy.io import fits

from survey_classifier.errors import MosaicError
from survey_classifier.mosaic.exposure import MosaicInput, Window
from survey_classifier.mosaic.pixels import MaskBit
from survey_classifier.mosaic.readers.fits_file import number

__all__ = [
    "NJY_ZERO_POINT",
    "Noise",
    "NoiseKind",
    "calibrated",
    "flux_zero_point",
    "known_variance",
    "njy_per_count",
    "seeing_arcsec",
    "stated_zero_point",
    "zero_point_of",
]

NJY_ZERO_POINT = 31.4
"""AB magnitude of 1 nJy, ``-2.5 log10(1e-9 / 3631)`` to 0.0003 mag (Oke & Gunn 1983)."""
ZERO_POINT_KEYWORDS = ("MAGZERO", "MAGZPT", "MAGZP", "ZP_STACK", "PHOTZP")
PSF_KEYWORD = "PSFFWHM"
COUNTS = re.compile(
    r"(|adu|dn|counts?|cts?|cps|e-?|(photo)?electrons?|photons?)(/s(ec(ond)?)?|\.?s\^?-1)?(/pix(el)?)?"
)
"""Spellings of a unit that needs a zero point; an absent one is among them."""
MAGGIES = {"": 0.0, "n": 22.5, "nano": 22.5, "micro": 15.0}
JANSKYS = {"jy": 8.9, "ujy": 23.9, "microjy": 23.9, "njy": NJY_ZERO_POINT}
"""Zero points of spellings in any case; milli and mega differ in case, and are left to astropy."""

NoiseKind = Literal["variance", "rms", "weight"]
Noise = tuple[NoiseKind, npt.NDArray[Any]]
"""What a plane of the noise holds, and the plane ``(y, x)``: variance, standard deviation (rms) or
inverse variance (weight) of the counts."""
UNOBSERVED_RMS = 1e15
"""Counts; surveys write an rms of 1e16 or more where there is no data, whatever the image says."""


def zero_point_of(header: fits.Header, settings: MosaicInput, where: str) -> float | None:
    """Return the AB magnitude of one count of an image, as `stated_zero_point` has it.

    Parameters
    ----------
    header
        The image's header.
    settings
        The input's table of the run file.
    where
        The image, for messages.

    Returns
    -------
    float or None
        None for ``unit = "display"``.

    Raises
    ------
    MosaicError
        If the unit is no flux of a pixel and no count, or nothing says the zero point.
    """
    if settings.unit == "display":
        return None
    stated = stated_zero_point(header, settings, where)
    if stated is None:
        own = settings.zero_point_keyword
        raise MosaicError(
            f"{where} has no zero point ({own or ', '.join(ZERO_POINT_KEYWORDS)}); "
            "set zero_point or zero_point_keyword, or unit = 'display' for an uncalibrated image"
        )
    return stated


def stated_zero_point(header: fits.Header, settings: MosaicInput, where: str) -> float | None:
    """Return the AB magnitude of one count: the file's own, else the declared one, else None.

    Parameters
    ----------
    header
        The image's header. A unit that is a flux (``BUNIT`` in janskys or maggies) comes first,
        then the keyword of the zero point.
    settings
        The input's table of the run file.
    where
        The image, for messages.

    Raises
    ------
    MosaicError
        If the unit is no flux of a pixel and no count, or the zero point is no number.
    """
    declared = settings.zero_point is not None or settings.zero_point_keyword is not None
    from_unit = _unit_zero_point(str(header.get("BUNIT", "")), declared, where)
    if from_unit is not None:
        return from_unit
    own = settings.zero_point_keyword
    for keyword in (own,) if own else ZERO_POINT_KEYWORDS:
        if keyword in header:
            value = number(header[keyword])
            if not np.isfinite(value):
                raise MosaicError(
                    f"the zero point of {where} is no number ({keyword} = {header[keyword]!r}); "
                    "mend it, or name another keyword as zero_point_keyword"
                )
            return value
    return settings.zero_point


def _unit_zero_point(text: str, declared: bool, where: str) -> float | None:
    """Return the zero point of a unit of flux, None for counts.

    A unit that astropy does not know is one of counts if the run file declares their zero point.
    """
    found = flux_zero_point(text)
    if found is not None or COUNTS.fullmatch(_plain(text)):
        return found
    is_known = _unit(text) is not None
    if declared and not is_known:
        return None
    raise MosaicError(
        f"BUNIT = {text!r} of {where} is neither a flux per pixel (janskys, maggies) nor counts; "
        "convert the image, or set unit = 'display' to take it as it is"
        + ("" if is_known else ", or zero_point if it is proportional to flux")
    )


def flux_zero_point(text: str) -> float | None:
    """Return the AB magnitude of one unit of flux, None if the unit is none.

    Parameters
    ----------
    text
        The unit as a header spells it (``BUNIT``), such as ``uJy`` or ``nanomaggy``.
    """
    plain = _plain(text)
    maggies = re.fullmatch(r"(n|nano|micro|)(mgy|maggy|maggies)", plain)
    if maggies is not None:
        return MAGGIES[maggies[1]]
    if plain in JANSKYS:
        return JANSKYS[plain]
    unit = None if COUNTS.fullmatch(plain) else _unit(text)
    if unit is None or not unit.is_equivalent(units.nJy):
        return None
    return float(NJY_ZERO_POINT - 2.5 * np.log10(unit.to(units.nJy)))


def _plain(text: str) -> str:
    """Return a unit's spelling without case and ornament."""
    return re.sub(r"[\s_*]", "", text).lower()


def _unit(text: str) -> Any:  # noqa: ANN401 - astropy's units have no types
    """Return the unit that astropy reads a text as, None if it does not know it."""
    try:
        return units.Unit(text)
    except ValueError:
        return None


def njy_per_count(zero_point: float | None) -> float:
    """Return what counts are multiplied with to give nJy; 1 for an image without zero point.

    Parameters
    ----------
    zero_point
        AB magnitude of one count, ``m = zero_point - 2.5 log10(counts)``.
    """
    return 1.0 if zero_point is None else float(10 ** (0.4 * (NJY_ZERO_POINT - zero_point)))


def seeing_arcsec(header: fits.Header, settings: MosaicInput, where: str) -> float | None:
    """Return the FWHM of the PSF: the declared one, else the file's, None if neither says it.

    Parameters
    ----------
    header
        The image's header.
    settings
        The input's table of the run file.
    where
        The image, for messages.

    Raises
    ------
    MosaicError
        If the header's is no positive number.
    """
    if settings.psf_fwhm_arcsec is not None or PSF_KEYWORD not in header:
        return settings.psf_fwhm_arcsec
    value = number(header[PSF_KEYWORD])
    if not (np.isfinite(value) and value > 0):
        raise MosaicError(
            f"{where} has no sound seeing ({PSF_KEYWORD} = {header[PSF_KEYWORD]!r}); "
            "set psf_fwhm_arcsec"
        )
    return value


def calibrated(
    counts: npt.NDArray[Any],
    scale: float,
    mask: npt.NDArray[np.uint8],
    noise: Noise | None = None,
) -> Window:
    """Return a window that keeps the contract of `Window`, from a file's numbers.

    Parameters
    ----------
    counts
        ``(y, x)``, changed in place if they are float32; NaN or infinite where there is no data.
    scale
        What counts are multiplied with; see `njy_per_count`.
    mask
        ``(y, x)`` of `MaskBit`, changed in place.
    noise
        The noise of the counts. Where it is not positive and finite the variance is not known; a
        weight that is not positive, and an rms of `UNOBSERVED_RMS` or more, also say that there
        is no data.
    """
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # what overflows is no data
        flux = counts.astype(np.float32, copy=False)
        flux *= np.float32(scale)
        variance = None if noise is None else _variance(*noise, scale)
    empty = ~np.isfinite(flux) | ((mask & np.uint8(MaskBit.NO_DATA)) != 0)
    if noise is not None:
        empty |= _unobserved(*noise)
    if empty.any():
        flux[empty] = np.nan
        mask[empty] |= np.uint8(MaskBit.NO_DATA)
        if variance is not None:
            variance[empty] = np.nan
    return Window(flux, mask, variance)


def _unobserved(kind: NoiseKind, plane: npt.NDArray[Any]) -> npt.NDArray[np.bool_] | np.bool_:
    """Return where the noise says that there is no data."""
    if kind == "weight":
        return np.asarray(~(plane > 0))  # a NaN, too
    return np.asarray(plane >= UNOBSERVED_RMS) if kind == "rms" else np.False_


def _variance(kind: NoiseKind, plane: npt.NDArray[Any], scale: float) -> npt.NDArray[np.float32]:
    """Return the variance in the band's unit; NaN where the plane does not say it."""
    known = plane.astype(np.float32, copy=False)
    if kind == "rms":
        variance = np.square(np.maximum(known, 0) * np.float32(scale))
    elif kind == "weight":
        variance = np.float32(scale) ** 2 / known
    else:
        variance = known * np.float32(scale) ** 2
    return known_variance(variance)


def known_variance(variance: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return variances with NaN where they are not positive and finite, and so not known.

    Parameters
    ----------
    variance
        Of any shape, changed in place.
    """
    # NaN fails these comparisons, as it should.
    unknown = ~((variance > 0) & (variance < np.inf))
    if unknown.any():
        variance[unknown] = np.nan
    return variance
