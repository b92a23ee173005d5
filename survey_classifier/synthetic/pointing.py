"""Where the simulated image lies on the sky: a tangent-plane projection, north up, east left.

Owns the projection of the simulation, written out so that a test can hold it against the
library that reads the files back. Does not own the grids of survey files (``plane``) or of real
mosaics (``mosaic``).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Pointing", "deproject"]

Float = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Pointing:
    """A square TAN grid, its reference point in the middle.

    Parameters
    ----------
    size_px
        Side of the image.
    scale_arcsec
        Pixel size.
    ra_deg, dec_deg
        Sky position of the middle.

    Raises
    ------
    ValueError
        If the size or the scale is not positive.
    """

    size_px: int
    scale_arcsec: float
    ra_deg: float
    dec_deg: float

    def __post_init__(self) -> None:
        if self.size_px < 1 or not self.scale_arcsec > 0:
            raise ValueError(f"a pointing needs a positive size and scale, got {self}")

    @property
    def center_px(self) -> float:
        """Pixel coordinate of the middle, along both axes (origin 0)."""
        return (self.size_px - 1) / 2

    @property
    def area_deg2(self) -> float:
        """Area of the image, flat-sky."""
        return (self.size_px * self.scale_arcsec / 3600) ** 2

    def cards(self) -> dict[str, str | float]:
        """Return the FITS cards of the projection (origin 1 there)."""
        return {
            "CTYPE1": "RA---TAN",
            "CTYPE2": "DEC--TAN",
            "CRVAL1": self.ra_deg,
            "CRVAL2": self.dec_deg,
            "CRPIX1": self.center_px + 1,
            "CRPIX2": self.center_px + 1,
            "CDELT1": -self.scale_arcsec / 3600,
            "CDELT2": self.scale_arcsec / 3600,
            "CUNIT1": "deg",
            "CUNIT2": "deg",
            "RADESYS": "ICRS",
        }

    def pixel_to_world(self, x_px: Float, y_px: Float) -> tuple[Float, Float]:
        """Return right ascension and declination in degrees of pixel positions.

        Parameters
        ----------
        x_px, y_px
            Positions, origin 0, shape ``(n,)``.
        """
        step = np.radians(self.scale_arcsec / 3600)
        east, north = -(x_px - self.center_px) * step, (y_px - self.center_px) * step
        return deproject(east, north, self.ra_deg, self.dec_deg)


def deproject(east: Float, north: Float, ra_deg: float, dec_deg: float) -> tuple[Float, Float]:
    """Return the sky positions of points on a tangent plane.

    The inverse gnomonic projection (Calabretta & Greisen 2002, equations 14, 15 and 54).

    Parameters
    ----------
    east, north
        Coordinates on the plane, radians.
    ra_deg, dec_deg
        Where it touches the sky.

    Returns
    -------
    tuple of ndarray
        Right ascension in [0, 360) and declination, degrees.
    """
    sin0, cos0 = np.sin(np.radians(dec_deg)), np.cos(np.radians(dec_deg))
    along = cos0 - north * sin0
    ra = ra_deg + np.degrees(np.arctan2(east, along))
    dec = np.degrees(np.arctan2(sin0 + north * cos0, np.hypot(east, along)))
    return ra % 360.0, dec
