"""The rings sky map: the tracts and patches in which HSC and LSST deliver their coadds.

Owns which tract a position belongs to, a tract's pixel grid and the patches that it is cut into.
Does not own the files of patches (``readers.hsc``).

The sky is cut into 120 rings of declination, 180/121 deg high, and two polar caps of half that
height. A ring is cut into as many tracts as fit where it is widest, rounded up; the first one is
centered at right ascension 0. Tracts are numbered from the southern cap, which is 0, eastward
around each ring and northward from ring to ring, to the northern cap. A tract's image reaches an
arcminute and more into its neighbors: a position *belongs* to one tract only, though several show
it. An image is cut into square patches that share borders; the inner regions share nothing.

Source: ``RingsSkyMap``, ``ExplicitTractInfo`` and ``LegacyTractBuilder`` of lsst.skymap, with the
``numRings = 120`` and ``tractOverlap = 1/60`` of HSC-SSP, HSCLA, DC2 and the LSST sky map.
"""

import re
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
from astropy.wcs import WCS

from survey_classifier.errors import MosaicError
from survey_classifier.geometry import Box, inside, nearest_pixel
from survey_classifier.mosaic.exposure import PixelGrid, Territory

__all__ = ["N_TRACTS", "Patches", "RingsTract", "territory_of", "tract_at"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

N_RINGS = 120
RING_DEG = 180.0 / (N_RINGS + 1)
"""Height of a ring: both polar caps together make up one more."""
OVERLAP_DEG = 1.0 / 60.0
"""How far the image of a tract reaches beyond its ring, at least."""


def _tracts_per_ring() -> IntArray:
    """Return how many tracts each ring has, shape ``(N_RINGS,)``, from south to north."""
    edges = (np.arange(N_RINGS + 1) + 0.5) * RING_DEG - 90.0
    widest = np.minimum(np.abs(edges[:-1]), np.abs(edges[1:]))
    return np.floor(360.0 * np.cos(np.radians(widest)) / RING_DEG).astype(np.int64) + 1


PER_RING = _tracts_per_ring()
FIRST = 1 + np.concatenate([[0], np.cumsum(PER_RING)]).astype(np.int64)
"""Number of each ring's first tract, and of the northern cap."""
N_TRACTS = int(FIRST[-1]) + 1
"""Number of tracts, both caps among them."""


def tract_at(ra_deg: npt.ArrayLike, dec_deg: npt.ArrayLike) -> IntArray:
    """Return the number of the one tract that each position belongs to.

    Parameters
    ----------
    ra_deg, dec_deg
        ICRS positions in degrees, shapes that broadcast.

    Returns
    -------
    ndarray of int64
        -1 where a position is NaN, infinite or beyond a pole.
    """
    ra, dec = np.broadcast_arrays(
        np.asarray(ra_deg, dtype=np.float64), np.asarray(dec_deg, dtype=np.float64)
    )
    known = np.isfinite(ra) & (np.abs(dec) <= 90.0)  # NaN fails the comparison
    ra, dec = np.where(known, ra, 0.0), np.where(known, dec, 0.0)
    ring = np.floor((dec + 90.0) / RING_DEG - 0.5).astype(np.int64)
    inner = np.clip(ring, 0, N_RINGS - 1)
    around = np.floor(np.mod(ra, 360.0) * PER_RING[inner] / 360.0 + 0.5).astype(np.int64)
    number = FIRST[inner] + around % PER_RING[inner]
    number = np.where(ring < 0, 0, np.where(ring >= N_RINGS, N_TRACTS - 1, number))
    return np.where(known, number, -1).astype(np.int64)


@dataclass(frozen=True, slots=True)
class RingsTract:
    """One tract; a `Territory`.

    Raises
    ------
    MosaicError
        If there is no tract of that number.
    """

    number: int

    def __post_init__(self) -> None:
        if not 0 <= self.number < N_TRACTS:
            raise MosaicError(
                f"there is no tract {self.number}: the rings sky map has 0 to {N_TRACTS - 1}"
            )

    @property
    def name(self) -> str:
        """See `Territory.name`: such as ``rings:15549``."""
        return f"rings:{self.number}"

    @property
    def ring(self) -> int:
        """Its ring, counted from the south; -1 and `N_RINGS` for the polar caps."""
        if self.number == 0:
            return -1
        return int(np.searchsorted(FIRST, self.number, side="right")) - 1

    @property
    def center(self) -> tuple[float, float]:
        """``(ra, dec)`` in degrees; also the reference point of its WCS."""
        ring = self.ring
        if not 0 <= ring < N_RINGS:
            return 0.0, (-90.0 if ring < 0 else 90.0)
        around = self.number - int(FIRST[ring])
        return around * 360.0 / int(PER_RING[ring]), (ring + 1) * RING_DEG - 90.0

    @property
    def numbers(self) -> frozenset[int]:
        """Its number, and the one that it has in releases with the first form of the sky map.

        That form (version 0, corrected in lsst.skymap in 2018) gave the tract at right ascension 0
        the number that is now that of the same tract one ring farther north.
        """
        ring = self.ring
        if not 0 <= ring < N_RINGS or self.number != FIRST[ring]:
            return frozenset({self.number})
        return frozenset({self.number, int(FIRST[ring + 1])})

    @property
    def grid(self) -> PixelGrid:
        """The tract's whole image as HSC has it: 36000 x 36000 px of 0.168 arcsec."""
        return Patches().grid(self)

    def contains(self, ra_deg: FloatArray, dec_deg: FloatArray) -> npt.NDArray[np.bool_]:
        """See `Territory.contains`."""
        return cast("npt.NDArray[np.bool_]", tract_at(ra_deg, dec_deg) == self.number)


@dataclass(frozen=True, slots=True)
class Patches:
    """How a survey cuts the image of any tract into patches; the defaults are those of HSC.

    Raises
    ------
    MosaicError
        If a size is not positive.
    """

    inner_px: int = 4000
    """Side of a patch without its border."""
    border_px: int = 100
    """Width of the border that a patch shares with its neighbors."""
    scale_arcsec: float = 0.168
    """Pixel scale at the tract's center."""

    def __post_init__(self) -> None:
        if self.inner_px < 1 or self.border_px < 0 or not self.scale_arcsec > 0:
            raise MosaicError(f"patches need positive sizes, got {self}")

    @property
    def per_side(self) -> int:
        """Patches along each side of a tract: enough to cover ring and overlap."""
        reach_px = np.tan(np.radians(RING_DEG / 2 + OVERLAP_DEG)) / np.radians(
            self.scale_arcsec / 3600.0
        )
        needed_px = 2 * int(np.ceil(reach_px - 0.5)) + 1
        return -(-needed_px // self.inner_px)

    @property
    def tract_px(self) -> int:
        """Side of a tract's image."""
        return self.per_side * self.inner_px

    @property
    def center_px(self) -> int:
        """Pixel of a tract's center along each axis; of an even number, the lower middle one."""
        return (self.tract_px - 1) // 2

    def inner(self, column: int, row: int) -> Box:
        """Return the pixels of a tract that belong to a patch.

        Parameters
        ----------
        column, row
            Index of the patch, in the order of its name ``column,row``.

        Raises
        ------
        MosaicError
            If there is no such patch.
        """
        if not (0 <= column < self.per_side and 0 <= row < self.per_side):
            raise MosaicError(
                f"there is no patch {column},{row}: patches of {self.inner_px} px of "
                f"{self.scale_arcsec:.4g} arcsec are {self.per_side} x {self.per_side} a tract; "
                "mend patch_inner_px, or the name of the file"
            )
        y0, x0 = row * self.inner_px, column * self.inner_px
        return Box(y0, y0 + self.inner_px, x0, x0 + self.inner_px)

    def outer(self, column: int, row: int) -> Box:
        """Return the pixels of a tract that a patch shows: its border ends with the tract.

        Raises
        ------
        MosaicError
            If there is no such patch.
        """
        box = self.inner(column, row)
        last, border = self.tract_px, self.border_px
        return Box(
            max(box.y0 - border, 0), min(box.y1 + border, last),
            max(box.x0 - border, 0), min(box.x1 + border, last),
        )  # fmt: skip

    def at(self, x_px: FloatArray, y_px: FloatArray) -> tuple[IntArray, IntArray]:
        """Return ``(column, row)`` of the patch that each position belongs to.

        Parameters
        ----------
        x_px, y_px
            Positions on a tract's image, shape ``(n,)``; -1 outside of it or for NaN.
        """
        there = inside(x_px, y_px, (self.tract_px, self.tract_px))
        column, row = (
            np.where(there, nearest_pixel(np.where(there, axis, 0.0)) // self.inner_px, -1)
            for axis in (x_px, y_px)
        )
        return column, row

    def grid(self, tract: RingsTract) -> PixelGrid:
        """Return the whole image of a tract: a gnomonic projection about its center."""
        wcs = WCS(naxis=2)
        wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
        wcs.wcs.cunit = ["deg", "deg"]
        wcs.wcs.crval = tract.center
        wcs.wcs.crpix = [self.center_px + 1.0, self.center_px + 1.0]
        wcs.wcs.cdelt = [-self.scale_arcsec / 3600.0, self.scale_arcsec / 3600.0]
        wcs.wcs.radesys = "ICRS"
        wcs.wcs.set()
        return PixelGrid(wcs, (self.tract_px, self.tract_px))


def territory_of(name: str) -> Territory:
    """Return the territory of a name, as `Territory.name` gives it.

    Parameters
    ----------
    name
        Such as ``rings:15549``.

    Raises
    ------
    MosaicError
        If it names none.
    """
    match = re.fullmatch(r"rings:(\d+)", name)
    if match is None:
        raise MosaicError(
            f"{name!r} names no territory, expected such as 'rings:15549'; ingest the mosaic again"
        )
    return RingsTract(int(match[1]))
