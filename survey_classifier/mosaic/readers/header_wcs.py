"""The WCS of an image's header, of the one kind that the package understands.

Owns what is demanded of it: equatorial, ICRS or FK5 of equinox 2000, right ascension on the first
axis, square pixels, east to the left of north. Anything else is refused, as its positions would be
silently wrong. The distortions SIP and TPV (also SCAMP's TAN with the terms of TPV) are understood;
of others, and where the header leaves it open, an error says so. Does not own the use of it
(``sky``).
"""

import warnings

import numpy as np
from astropy.coordinates import FK5, ICRS
from astropy.io import fits
from astropy.time import Time
from astropy.wcs import WCS, FITSFixedWarning
from astropy.wcs.utils import proj_plane_pixel_scales, wcs_to_celestial_frame

from survey_classifier.errors import MosaicError
from survey_classifier.mosaic.sky import as_written, pixel_scale_arcsec

__all__ = ["equatorial_wcs", "header_scale_arcsec"]

SQUARE = 0.01
"""Relative difference of the two pixel scales that still counts as square."""
REFERENCE_DEG = 0.1
"""How far the sky position of the reference pixel may be from CRVAL, for the constant terms of a
distortion."""
FOREIGN_PROJECTIONS = ("TNX", "ZPX")
"""Of IRAF; wcslib would leave the distortion out and say nothing."""
J2000 = Time("J2000")


def equatorial_wcs(header: fits.Header, where: str) -> WCS:
    """Return the WCS of a header.

    Parameters
    ----------
    header
        Header of an image HDU.
    where
        HDU and file, for messages.

    Raises
    ------
    MosaicError
        If there is none, or it is not of the kind described above.
    """
    _require_clear(header, where)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FITSFixedWarning)
            wcs = WCS(header)
            wcs.wcs.set()
    except ValueError as error:  # wcslib's errors are of this type too
        reason = str(error).strip().splitlines()[-1]
        raise MosaicError(
            f"the WCS of {where} is not understood ({reason}); write one that FITS defines, "
            "a plate solution for example"
        ) from error
    if not wcs.has_celestial or wcs.naxis != 2:
        raise MosaicError(
            f"{where} has no celestial WCS (CTYPE1 = "
            f"{header.get('CTYPE1', 'absent')!r}); add one, a plate solution for example"
        )
    _require_equatorial(wcs, where)
    _require_square(wcs, where)
    _require_consistent(wcs, where)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)
        # Workers get it in that form, and are to make the same pixels as this process.
        return as_written(wcs)


def header_scale_arcsec(header: fits.Header, where: str) -> float | None:
    """Return the pixel scale of a header, None if it has no celestial WCS.

    Unlike positions, it does not depend on which celestial system the WCS is of, nor on how the
    image is turned.

    Parameters
    ----------
    header
        Header of an image HDU, of a cube too.
    where
        HDU and file, for messages.

    Raises
    ------
    MosaicError
        If the WCS is not understood, or the pixels are no squares.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FITSFixedWarning)
            wcs = WCS(header)
            wcs.wcs.set()
    except Exception as error:  # of wcslib or astropy; what a damaged header leads to is open
        reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        raise MosaicError(f"the WCS of {where} is not understood ({reason[0]}); mend it") from error
    if not wcs.has_celestial:
        return None
    _require_square(wcs.celestial, where)
    return pixel_scale_arcsec(wcs)


def _require_clear(header: fits.Header, where: str) -> None:
    """Refuse distortions that wcslib leaves out, or applies though they may not be meant."""
    axis = str(header.get("CTYPE1", ""))
    if axis[5:8] in FOREIGN_PROJECTIONS:
        raise MosaicError(
            f"the WCS of {where} has the axis {axis}, a distortion that is not read; bring it to "
            "TPV or SIP, or resample the image"
        )
    if "A_ORDER" in header and not axis.endswith("-SIP"):
        raise MosaicError(
            f"the WCS of {where} has SIP terms (A_ORDER) but CTYPE1 = {axis!r}; add -SIP to CTYPE1 "
            "and CTYPE2 if they hold, else remove them"
        )


def _require_equatorial(wcs: WCS, where: str) -> None:
    """Refuse other axes than right ascension and declination, and old equinoxes."""
    axes = ", ".join(wcs.wcs.ctype)
    if wcs.wcs.lngtyp.strip() != "RA" or wcs.wcs.lattyp.strip() != "DEC":
        raise MosaicError(
            f"the WCS of {where} has the axes {axes}, not right ascension and declination; "
            "resample the image to an equatorial grid"
        )
    if wcs.wcs.lng != 0:
        raise MosaicError(
            f"the WCS of {where} has the axes {axes}: right ascension must be the first axis; "
            "transpose the image"
        )
    try:
        frame = wcs_to_celestial_frame(wcs)
    except ValueError:
        frame = None
    if not (isinstance(frame, ICRS) or (isinstance(frame, FK5) and frame.equinox == J2000)):
        system, equinox = wcs.wcs.radesys or type(frame).__name__, wcs.wcs.equinox
        raise MosaicError(
            f"the WCS of {where} is of the system {system}, equinox {equinox:g}, not ICRS or FK5 "
            "of 2000; bring the image to ICRS"
        )


def _require_square(wcs: WCS, where: str) -> None:
    """Refuse pixels that are no squares: the package has one pixel scale."""
    first, second = proj_plane_pixel_scales(wcs) * 3600.0
    # A NaN fails this comparison, as it should.
    if not abs(first - second) <= SQUARE * max(first, second):
        raise MosaicError(
            f"the pixels of {where} measure {first:.4f} x {second:.4f} arcsec; resample the image "
            "to square ones"
        )


def _require_consistent(wcs: WCS, where: str) -> None:
    """Refuse a mirrored image, and a reference pixel that is somewhere else on the sky.

    The second is what becomes of distortion terms that wcslib takes for another parameter.
    """
    if np.linalg.det(wcs.pixel_scale_matrix) > 0:
        raise MosaicError(
            f"the WCS of {where} is mirrored: east is to the right of north; flip the image and "
            "its WCS, or mend the sign of CD1_1 or CDELT1 if the image itself is not mirrored"
        )
    ra, dec = wcs.all_pix2world([wcs.wcs.crpix], 1)[0]
    ra0, dec0 = wcs.wcs.crval
    ra_deg = ((ra - ra0 + 180) % 360 - 180) * np.cos(np.radians(dec0))
    off_deg = np.hypot(ra_deg, dec - dec0)
    if not off_deg <= REFERENCE_DEG:
        raise MosaicError(
            f"the WCS of {where} contradicts itself: its reference pixel is at {ra:.4f} "
            f"{dec:+.4f}, CRVAL is {ra0:.4f} {dec0:+.4f}; if its PV terms are a distortion, "
            "set CTYPE1 = 'RA---TPV' and CTYPE2 = 'DEC--TPV'"
        )
