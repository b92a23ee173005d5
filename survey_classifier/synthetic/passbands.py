"""The bands of the simulated surveys: depth, seeing and zero points, and magnitudes through them.

Owns what each survey's camera does to the sky, and the way from SDSS magnitudes to each survey's.
Does not own the sky (``sky``) nor how an exposure is made (``exposure``).

Sky noise and zero points: HSC as in the plain field; Euclid's early release from its images; the
MER tiles from RMS maps of the first quick release; SDSS from its depth. Where a survey's noise is
correlated over pixels this one is not. The near-infrared colors of anything but an early-type
member are an extrapolation along r - z.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from survey_classifier.membership.extinction import extinction_coefficient
from survey_classifier.synthetic.colors import BANDS
from survey_classifier.synthetic.exposure import FILTERS, Filter

__all__ = ["ERO", "HSC", "MER", "SDSS", "SDSS_CAMERA", "SDSS_SCALE_ARCSEC", "Chip", "Passband"]

Float = npt.NDArray[np.float64]
_G, _R, _I, _Z = range(4)
_MEMBER_R_Z = 0.628
"""r - z of an early-type member of r = 15.5."""


@dataclass(frozen=True, slots=True)
class Passband:
    """A band of a survey."""

    filter: Filter
    system: str
    """Photometric system, a key of `EXTINCTION`."""
    mag: Callable[[Float], Float]
    """Magnitudes ``(n,)`` in this band from SDSS g, r, i, z, shape ``(n, 4)``, without dust."""
    tint: int
    """Which of g, r, i, z, 0 to 3, lends its shares of bulges and knots."""

    @property
    def name(self) -> str:
        """Name of the band."""
        return self.filter.name

    def observed(self, mag0: Float, ebv: Float) -> Float:
        """Return magnitudes behind dust, shape ``(n,)``.

        Parameters
        ----------
        mag0
            SDSS magnitudes free of extinction, shape ``(n, 4)``.
        ebv
            E(B-V), mag, shape ``(n,)``.
        """
        return self.mag(mag0) + ebv * extinction_coefficient(self.name, self.system)


@dataclass(frozen=True, slots=True)
class Chip:
    """What the noise of an SDSS frame follows from, for one band of camera column 3."""

    gain: float
    """Electrons per count."""
    dark_variance: float
    """Of a pixel, square counts."""
    sky: float
    """Counts per pixel."""
    nmgy_per_count: float

    @property
    def noise(self) -> float:
        """Standard deviation of the sky in a pixel, nanomaggies."""
        return float(self.nmgy_per_count * np.sqrt(self.sky / self.gain + self.dark_variance))


_Magnitudes = Callable[[Float], Float]


def _mixed(pivot: int, color: tuple[int, int], slope: float, offset: float) -> _Magnitudes:
    """Return a band near one of SDSS's, with a color term."""
    first, second = color

    def mag(sdss: Float) -> Float:
        return sdss[:, pivot] + offset + slope * (sdss[:, first] - sdss[:, second])

    return mag


def _visible(sdss: Float) -> Float:
    """Return Euclid's I_E: shares of the fluxes in r, i and z, good to 0.006 mag for galaxies."""
    flux = 10 ** (-0.4 * sdss)
    return -2.5 * np.log10(0.452 * flux[:, _R] + 0.315 * flux[:, _I] + 0.223 * flux[:, _Z])


def _infrared(member_color: float) -> _Magnitudes:
    """Return a NISP band, whose color to I_E is that of early-type members at their r - z."""

    def mag(sdss: Float) -> Float:
        return _visible(sdss) - member_color * (sdss[:, _R] - sdss[:, _Z]) / _MEMBER_R_Z

    return mag


def _as_sloan(row: int) -> _Magnitudes:
    """Return an SDSS band."""
    return lambda sdss: sdss[:, row]


def _by_name(bands: Sequence[Passband]) -> Mapping[str, Passband]:
    return MappingProxyType({band.name: band for band in bands})


def _euclid(filters: Sequence[Filter]) -> Mapping[str, Passband]:
    """Return Euclid's bands as one of its releases gives them."""
    sky = {
        "VIS": (_visible, _I),
        "Y": (_infrared(0.66), _Z),
        "J": (_infrared(0.80), _Z),
        "H": (_infrared(0.96), _Z),
    }
    return _by_name([Passband(each, "euclid", *sky[each.name]) for each in filters])


_HYPER = {
    "g": _mixed(_G, (_G, _R), -0.080, 0.0),
    "r": _mixed(_R, (_R, _I), -0.083, 0.021),
    "i": _mixed(_I, (_I, _Z), -0.214, 0.005),
    "z": _mixed(_Z, (_I, _Z), -0.015, 0.005),
}
HSC = _by_name([Passband(each, "hsc", _HYPER[each.name], row) for row, each in enumerate(FILTERS)])

_ELECTRONS = 7800.0
"""That four VIS exposures collect for a count of zero point 24.6."""
MER = _euclid(
    [
        Filter("VIS", 0.16, 0.0042, 0.1, 24.6, _ELECTRONS, 18.0),
        Filter("Y", 0.48, 2.54, 0.1, 29.8, 4.2, 16.5),
        Filter("J", 0.48, 2.69, 0.1, 30.0, 3.5, 16.5),
        Filter("H", 0.48, 2.51, 0.1, 29.9, 3.8, 16.5),
    ]
)
ERO = _euclid(
    [
        Filter("VIS", 0.16, 0.5, 0.1, 30.132, _ELECTRONS / 163, 18.0),
        *(Filter(name, 0.48, 6.3, 0.3, 30.0, 3.5, 16.5) for name in ("Y", "J", "H")),
    ]
)

SDSS_CAMERA: Mapping[str, Chip] = MappingProxyType(
    {
        "g": Chip(3.845, 1.3225, 110.0, 0.0038),
        "r": Chip(4.72, 1.3225, 170.0, 0.0051),
        "i": Chip(4.86, 4.6225, 290.0, 0.0066),
        "z": Chip(4.885, 1.0, 73.0, 0.031),
    }
)
"""Gains and dark variances of the SDSS data model; sky and calibration are typical values."""
_SDSS_SEEING_ARCSEC = {"g": 1.53, "r": 1.43, "i": 1.35, "z": 1.33}
SDSS_SCALE_ARCSEC = 0.396


def _sloan(row: int, name: str) -> Passband:
    """Return a band of SDSS: nanomaggies."""
    chip = SDSS_CAMERA[name]
    photons = chip.gain / chip.nmgy_per_count
    seeing = _SDSS_SEEING_ARCSEC[name]
    band = Filter(name, seeing, chip.noise, SDSS_SCALE_ARCSEC, 22.5, photons, 14.0)
    return Passband(band, "sdss", _as_sloan(row), row)


SDSS = _by_name([_sloan(row, name) for row, name in enumerate(BANDS)])
