"""Where a survey's image lies on the sky: a tangent-plane grid, rotated or cut out of a larger one.

Owns the projection of the simulated survey files, both ways, written out so that a test can hold
it against the library that reads the files back. Does not own what is drawn on it.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from survey_classifier.geometry import Box
from survey_classifier.synthetic.pointing import deproject

__all__ = ["TangentPlane"]

Float = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class TangentPlane:
    """A TAN grid of square pixels, right ascension to the left of declination.

    Raises
    ------
    ValueError
        If the size or the scale is not positive.
    """

    shape: tuple[int, int]
    """``(ny, nx)`` in pixels."""
    scale_arcsec: float
    ra_deg: float
    dec_deg: float
    """Where the plane touches the sky."""
    x_px: float
    y_px: float
    """Pixel of that point, origin 0; it need not be on the image."""
    rotation_deg: float = 0.0
    """Position angle of the y axis, from north through east."""

    def __post_init__(self) -> None:
        if min(self.shape) < 1 or not self.scale_arcsec > 0:
            raise ValueError(f"a plane needs a positive size and scale, got {self}")

    @classmethod
    def centered(
        cls,
        shape: tuple[int, int],
        scale_arcsec: float,
        ra_deg: float,
        dec_deg: float,
        rotation_deg: float = 0.0,
    ) -> "TangentPlane":
        """Return a grid that touches the sky in the middle of its image."""
        middle = (shape[1] - 1) / 2, (shape[0] - 1) / 2
        return cls(shape, scale_arcsec, ra_deg, dec_deg, *middle, rotation_deg)

    def window(self, box: Box) -> "TangentPlane":
        """Return the grid of a box of the image, which may stick out of it."""
        return replace(self, shape=box.shape, x_px=self.x_px - box.x0, y_px=self.y_px - box.y0)

    def world_to_pixel(self, ra_deg: Float, dec_deg: Float) -> tuple[Float, Float]:
        """Return pixel positions ``(x, y)``, origin 0, of sky positions.

        The gnomonic projection (Calabretta & Greisen 2002, equations 12, 13 and 54).

        Parameters
        ----------
        ra_deg, dec_deg
            Shape ``(n,)``, in the hemisphere around the tangent point.
        """
        angle, dec, dec0 = (np.radians(a) for a in (ra_deg - self.ra_deg, dec_deg, self.dec_deg))
        height = np.sin(dec) * np.sin(dec0) + np.cos(dec) * np.cos(dec0) * np.cos(angle)
        east = np.cos(dec) * np.sin(angle) / height
        north = (np.sin(dec) * np.cos(dec0) - np.cos(dec) * np.sin(dec0) * np.cos(angle)) / height
        cos, sin, step = self._turn
        return (
            self.x_px + (-cos * east + sin * north) / step,
            self.y_px + (sin * east + cos * north) / step,
        )

    def pixel_to_world(self, x_px: Float, y_px: Float) -> tuple[Float, Float]:
        """Return right ascension in [0, 360) and declination, degrees, of pixel positions.

        Parameters
        ----------
        x_px, y_px
            Origin 0, shape ``(n,)``.
        """
        cos, sin, step = self._turn
        u, v = (x_px - self.x_px) * step, (y_px - self.y_px) * step
        return deproject(-cos * u + sin * v, sin * u + cos * v, self.ra_deg, self.dec_deg)

    @property
    def _turn(self) -> tuple[float, float, float]:
        """Cosine and sine of the rotation, and the pixel in radians."""
        angle = np.radians(self.rotation_deg)
        return (
            float(np.cos(angle)),
            float(np.sin(angle)),
            float(np.radians(self.scale_arcsec / 3600)),
        )

    def cards(self) -> dict[str, str | float]:
        """Return the FITS cards of the grid (origin 1 there)."""
        cos, sin, _ = self._turn
        step = self.scale_arcsec / 3600
        return {
            "CTYPE1": "RA---TAN",
            "CTYPE2": "DEC--TAN",
            "CRVAL1": self.ra_deg,
            "CRVAL2": self.dec_deg,
            "CRPIX1": self.x_px + 1,
            "CRPIX2": self.y_px + 1,
            "CD1_1": -cos * step,
            "CD1_2": sin * step,
            "CD2_1": sin * step,
            "CD2_2": cos * step,
            "CUNIT1": "deg",
            "CUNIT2": "deg",
            "RADESYS": "ICRS",
        }
