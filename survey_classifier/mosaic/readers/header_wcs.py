"""The WCS of an image's header, of the one kind that the package understands.

Owns what is demanded of it: equatorial, ICRS or FK5 of equinox 2000, right ascension on the first
axis, square pixels. Anything else is refused, as its positions would be silently wrong. Does not
own the use of it (``sky``).
"""

import warnings

from astropy.coordinates import FK5, ICRS
from astropy.io import fits
from astropy.time import Time
from astropy.wcs import WCS, FITSFixedWarning
from astropy.wcs.utils import proj_plane_pixel_scales, wcs_to_celestial_frame

from survey_classifier.errors import MosaicError

__all__ = ["equatorial_wcs"]

SQUARE = 0.01
"""Relative difference of the two pixel scales that still counts as square."""
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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)
        wcs = WCS(header)
    if not wcs.has_celestial or wcs.naxis != 2:
        raise MosaicError(
            f"{where} has no celestial WCS (CTYPE1 = "
            f"{header.get('CTYPE1', 'absent')!r}); add one, a plate solution for example"
        )
    _require_equatorial(wcs, where)
    _require_square(wcs, where)
    return wcs


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
