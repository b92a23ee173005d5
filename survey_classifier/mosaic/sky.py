"""Sky positions on a pixel grid.

Owns the way from right ascension and declination to pixels and back. Does not own the pixels
(``pixels``) nor the pixel convention (``geometry``). FK5 positions of equinox 2000 are taken as
ICRS: the two differ by less than 0.1 arcsec.
"""

from functools import cached_property

import numpy as np
import numpy.typing as npt
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales

__all__ = ["SkyGrid", "as_written", "pixel_scale_arcsec"]

FloatArray = npt.NDArray[np.float64]

REACH_DEG = 80.0
"""A gnomonic projection maps the far hemisphere onto the near one; beyond this is nowhere."""
INVERSION_PX = 0.01
"""A pixel position is believed when its own sky position is this near to the one asked for."""


def pixel_scale_arcsec(wcs: WCS) -> float:
    """Return the pixel scale: the geometric mean over both axes, at the reference pixel."""
    scales = proj_plane_pixel_scales(wcs.celestial)
    return float(np.sqrt(scales[0] * scales[1]) * 3600.0)


def as_written(wcs: WCS) -> WCS:
    """Return a WCS as it reads when it was written into a FITS header.

    Its numbers have fewer digits there: some 1e-7 px are lost, once. What was written before comes
    out as it is, bit for bit, from a header, a store and a pickle. So the pixels made with it are
    the same in this process and in any other.

    Parameters
    ----------
    wcs
        Of an image or a mosaic.
    """
    return WCS(fits.Header.fromstring(wcs.to_header_string(relax=True)))


class SkyGrid:
    """A pixel grid on the sky: what every `PixelSource` with a celestial WCS shares.

    Parameters
    ----------
    wcs
        Equatorial WCS, right ascension on its first axis.
    """

    def __init__(self, wcs: WCS) -> None:
        self.wcs = wcs

    @cached_property
    def scale_arcsec(self) -> float:
        """Pixel scale."""
        return pixel_scale_arcsec(self.wcs)

    def world_to_pixel(
        self, ra_deg: npt.ArrayLike, dec_deg: npt.ArrayLike
    ) -> tuple[FloatArray, FloatArray]:
        """See `PixelSource.world_to_pixel`.

        NaN also more than `REACH_DEG` from the reference point, and where a distortion cannot be
        inverted: far from the image its polynomials run away.
        """
        ra, dec = np.broadcast_arrays(
            np.asarray(ra_deg, dtype=np.float64), np.asarray(dec_deg, dtype=np.float64)
        )
        near = _separation_cosine(ra, dec, *self.wcs.wcs.crval) > np.cos(np.radians(REACH_DEG))
        x, y = np.full(ra.shape, np.nan), np.full(ra.shape, np.nan)
        if near.any():
            x[near], y[near] = self._inverted(ra[near], dec[near])
        return x, y

    def pixel_to_world(
        self, x_px: npt.ArrayLike, y_px: npt.ArrayLike
    ) -> tuple[FloatArray, FloatArray]:
        """See `PixelSource.pixel_to_world`."""
        x, y = np.asarray(x_px, dtype=np.float64), np.asarray(y_px, dtype=np.float64)
        ra, dec = self.wcs.all_pix2world(x, y, 0)
        wrapped = np.mod(ra, 360.0)
        # The remainder of -1e-15 is rounded up to 360 itself.
        return np.where(wrapped >= 360.0, 0.0, wrapped), np.asarray(dec)

    def _inverted(self, ra: FloatArray, dec: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return pixel positions of shape ``(n,)``, NaN where the iteration did not converge."""
        with np.errstate(over="ignore", invalid="ignore"):
            # Quiet: otherwise one position that does not converge is an error for all of them.
            x, y = self.wcs.all_world2pix(ra, dec, 0, quiet=True)
            if not self.wcs.has_distortion:
                return x, y
            ra_back, dec_back = self.pixel_to_world(x, y)
            ra_off = (np.mod(ra_back - ra + 180.0, 360.0) - 180.0) * np.cos(np.radians(dec))
            off_px = np.hypot(ra_off, dec_back - dec) * 3600.0 / self.scale_arcsec
        right = off_px < INVERSION_PX
        return np.where(right, x, np.nan), np.where(right, y, np.nan)


def _separation_cosine(
    ra_deg: FloatArray, dec_deg: FloatArray, ra0_deg: float, dec0_deg: float
) -> FloatArray:
    """Return the cosine of the angle to a point; NaN for NaN."""
    ra, dec, ra0, dec0 = (np.radians(angle) for angle in (ra_deg, dec_deg, ra0_deg, dec0_deg))
    return np.sin(dec0) * np.sin(dec) + np.cos(dec0) * np.cos(dec) * np.cos(ra - ra0)
