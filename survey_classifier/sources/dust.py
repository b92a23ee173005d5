"""Maps of the dust of the Galaxy: E(B-V) at a position.

Owns the reading of a user's map of Schlegel, Finkbeiner & Davis (1998, ApJ 500, 525; SFD), as a
HEALPix file or as the original pair of polar images, and its interpolation. Does not own the
coefficients of bands (``membership.extinction``).

Values are those of the map, not scaled: the coefficients are for E(B-V) of SFD and hold the
recalibration of Schlafly & Finkbeiner (2011, ApJ 737, 103) already.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from astropy import units as u
from astropy.coordinates import ICRS, Galactic, SkyCoord
from astropy.io import fits
from astropy_healpix import HEALPix
from scipy.ndimage import map_coordinates

from survey_classifier.errors import SourcesError
from survey_classifier.problems import nearest_name

__all__ = ["DustMap", "read_dust_map"]

Floats = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.float32]

PAIR = {"north": "SFD_dust_4096_ngp.fits", "south": "SFD_dust_4096_sgp.fits"}
"""Names of the original images."""
CARDS = ("CRPIX1", "CRPIX2", "LAM_SCAL", "LAM_NSGP")
"""What their headers say of the projection."""
COLUMNS = ("EBV", "E(B-V)", "EBV_SFD", "TEMPERATURE")
"""What columns of E(B-V) are called; the last is that of LAMBDA's file of SFD."""
FRAMES = {"G": Galactic, "C": ICRS, "Q": ICRS}
"""COORDSYS of a HEALPix file; C and Q are both equatorial."""
AT_ONCE = 1 << 20
"""Positions looked up together."""


class DustMap(Protocol):
    """A map of E(B-V)."""

    def ebv(self, ra_deg: Floats, dec_deg: Floats) -> Floats:
        """Return E(B-V) in mag, bilinear between the map's pixels, shape ``(n,)``.

        Parameters
        ----------
        ra_deg, dec_deg
            ICRS positions in degrees, shape ``(n,)``; NaN = unknown.

        Returns
        -------
        ndarray of float64
            NaN where the position is unknown, or a pixel beside it has no value or one that is
            negative.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class HealpixDust:
    """A map in HEALPix pixels."""

    pixels: HEALPix
    values: Pixels
    """NaN where there is none."""

    def ebv(self, ra_deg: Floats, dec_deg: Floats) -> Floats:
        """Return E(B-V) as `DustMap.ebv`."""
        ebv = np.full(len(ra_deg), np.nan)
        for rows, sky in _placed(ra_deg, dec_deg):
            ebv[rows] = self.pixels.interpolate_bilinear_skycoord(sky, self.values)
        return ebv


@dataclass(frozen=True, slots=True, eq=False)
class _Hemisphere:
    """One of the original images: Lambert's equal-area projection about a galactic pole.

    x = CRPIX1 + LAM_SCAL sqrt(1 - n sin b) cos l,  y = CRPIX2 - n LAM_SCAL sqrt(1 - n sin b) sin l

    from 1, with n = LAM_NSGP, 1 in the north and -1 in the south (appendix C of SFD).
    """

    values: Pixels
    crpix: tuple[float, float]
    scale: float
    sign: int

    def at(self, longitude: Floats, latitude: Floats) -> Floats:
        """Return E(B-V) at galactic coordinates in radians."""
        radius = self.scale * np.sqrt(1 - self.sign * np.sin(latitude))
        x = self.crpix[0] - 1 + radius * np.cos(longitude)
        y = self.crpix[1] - 1 - self.sign * radius * np.sin(longitude)
        # The equator touches the rim, half a pixel outside of the last pixel's center.
        return np.asarray(map_coordinates(
            self.values, [y, x], output=np.float64, order=1, mode="nearest"
        ))  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class PolarDust:
    """The original pair of images, one a hemisphere."""

    north: _Hemisphere
    south: _Hemisphere

    def ebv(self, ra_deg: Floats, dec_deg: Floats) -> Floats:
        """Return E(B-V) as `DustMap.ebv`."""
        ebv = np.full(len(ra_deg), np.nan)
        for rows, sky in _placed(ra_deg, dec_deg):
            galactic = sky.galactic
            longitude, latitude = galactic.l.radian, galactic.b.radian
            for half, there in ((self.north, latitude >= 0), (self.south, latitude < 0)):
                ebv[rows[there]] = half.at(longitude[there], latitude[there])
        return ebv


def read_dust_map(path: Path, column: str | None = None) -> DustMap:
    """Read a map of E(B-V).

    Parameters
    ----------
    path
        A FITS file of the whole sky in HEALPix pixels, ring or nested, in galactic or equatorial
        coordinates; or a folder with SFD_dust_4096_ngp.fits and SFD_dust_4096_sgp.fits.
    column
        Column of a HEALPix file; by default the only one, or the one that is called as usual.

    Raises
    ------
    SourcesError
        If there is no such file, or it is no such map.
    """
    if path.is_dir():
        north, south = (_read_hemisphere(path / name) for name in PAIR.values())
        for half, sign, name in ((north, 1, "north"), (south, -1, "south")):
            if half.sign != sign:
                raise SourcesError(
                    f"{path / PAIR[name]} is not of the {name} (LAM_NSGP = {half.sign}): "
                    "give each image its own name"
                )
        return PolarDust(north, south)
    with _opened(path) as hdus:
        return _healpix(path, hdus, column)


def _healpix(path: Path, hdus: fits.HDUList, column: str | None) -> HealpixDust:
    """Return the map of a HEALPix file."""
    tables = [hdu for hdu in hdus if isinstance(hdu, fits.BinTableHDU)]
    if not tables:
        raise SourcesError(
            f"the dust map {path} holds no table: give a HEALPix file, or the folder of "
            f"{' and '.join(PAIR.values())}"
        )
    header = tables[0].header
    order = str(header.get("ORDERING", "")).strip().lower()
    frame = str(header.get("COORDSYS", "")).strip().upper()[:1]
    if order not in ("ring", "nested") or frame not in FRAMES:
        raise SourcesError(
            f"the dust map {path} has ORDERING = {header.get('ORDERING')!r} and COORDSYS = "
            f"{header.get('COORDSYS')!r}: give one with RING or NESTED, and G (galactic) or C "
            "(equatorial)"
        )
    name = _column(path, tables[0].columns.names, column)
    values = _usable(tables[0].data[name].reshape(-1))
    n_side = round(np.sqrt(len(values) / 12))
    if not n_side or 12 * n_side**2 != len(values) or n_side & (n_side - 1):
        raise SourcesError(
            f"the dust map {path} has {len(values)} pixels, which is not the whole sky in HEALPix "
            "(12, 48, 192, ...): give a whole map"
        )
    return HealpixDust(HEALPix(n_side, order=order, frame=FRAMES[frame]()), values)


def _column(path: Path, names: list[str], wanted: str | None) -> str:
    """Return the column of E(B-V)."""
    if wanted is not None:
        if wanted in names:
            return wanted
        raise SourcesError(
            f"the dust map {path} has no column {wanted!r}: {nearest_name(wanted, set(names))}"
        )
    usual = [name for known in COLUMNS for name in names if name.upper() == known]
    if usual or len(names) == 1:
        return [*usual, *names][0]
    raise SourcesError(
        f"the dust map {path} has the columns {', '.join(names)}, none of which is called EBV: "
        "rename the one of E(B-V)"
    )


def _read_hemisphere(path: Path) -> _Hemisphere:
    """Read one of the original images."""
    with _opened(path) as hdus:
        header = hdus[0].header
        missing = [name for name in CARDS if name not in header]
        if missing:
            raise SourcesError(f"{path} has no {missing[0]}: give the image as it was published")
        crpix = (float(header["CRPIX1"]), float(header["CRPIX2"]))
        scale, sign = float(header["LAM_SCAL"]), int(header["LAM_NSGP"])
        if hdus[0].data is None or hdus[0].data.ndim != 2:
            raise SourcesError(f"{path} holds no image: give it as it was published")
        return _Hemisphere(_usable(hdus[0].data), crpix, scale, sign)


def _usable(values: npt.NDArray[np.generic]) -> Pixels:
    """Return the values of pixels, NaN where there is none (negative, or HEALPix's -1.6e30)."""
    native = values.astype(np.float32)
    return np.where((native >= 0) & np.isfinite(native), native, np.float32(np.nan))


@contextmanager
def _opened(path: Path) -> Iterator[fits.HDUList]:
    """Open a FITS file, with our own errors."""
    if not path.is_file():
        raise SourcesError(
            f"there is no dust map {path}: give a HEALPix file, or the folder of "
            f"{' and '.join(PAIR.values())}"
        )
    try:
        with fits.open(path, memmap=False) as hdus:
            yield hdus
    except (OSError, ValueError, TypeError, fits.VerifyError) as error:
        reason = str(error).strip().split("\n")[0]
        raise SourcesError(f"cannot read the dust map {path}: {reason}; get it anew") from error


def _placed(ra_deg: Floats, dec_deg: Floats) -> Iterator[tuple[npt.NDArray[np.intp], SkyCoord]]:
    """Yield the rows that have a position, some at once, and their places."""
    known = np.flatnonzero(np.isfinite(ra_deg) & np.isfinite(dec_deg))
    for start in range(0, len(known), AT_ONCE):
        rows = known[start : start + AT_ONCE]
        yield rows, SkyCoord(ra_deg[rows], dec_deg[rows], unit=u.deg, frame="icrs")
