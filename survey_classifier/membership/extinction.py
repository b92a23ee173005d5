"""Extinction by the dust of the Galaxy, and magnitudes without it.

Owns the coefficients of bands. Does not own E(B-V) itself: it comes with the sources, or from a
map (``sources.dust``). Everything is in magnitudes; NaN is unknown and stays unknown.
"""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from survey_classifier.errors import ConfigError

__all__ = ["EXTINCTION", "deredden", "extinction_coefficient"]

Floats = npt.NDArray[np.float64]

EXTINCTION: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "sdss": MappingProxyType({"u": 4.239, "g": 3.303, "r": 2.285, "i": 1.698, "z": 1.263}),
        "hsc": MappingProxyType({"g": 3.240, "r": 2.276, "i": 1.633, "z": 1.263, "y": 1.075}),
        "euclid": MappingProxyType({"VIS": 1.77, "Y": 0.92, "J": 0.62, "H": 0.42}),
    }
)
"""A_band / E(B-V) by photometric system and band, for E(B-V) of Schlegel, Finkbeiner & Davis.

SDSS: Schlafly & Finkbeiner (2011). HSC: the coefficients of LSST's obs_subaru. Euclid: measured
on public tables, good to 2 %.
"""


def extinction_coefficient(band: str, system: str) -> float:
    """Return A_band / E(B-V).

    Parameters
    ----------
    band
        Name of the band in that system.
    system
        A key of :data:`EXTINCTION`.

    Raises
    ------
    ConfigError
        If the system or the band is not in :data:`EXTINCTION`.
    """
    if system not in EXTINCTION:
        raise ConfigError(
            f"no extinction for the photometric system {system!r}: use one of "
            f"{', '.join(EXTINCTION)}"
        )
    if band not in EXTINCTION[system]:
        raise ConfigError(
            f"no extinction for the band {band!r} of {system}: use one of "
            f"{', '.join(EXTINCTION[system])}"
        )
    return EXTINCTION[system][band]


def deredden(mag: npt.ArrayLike, band: str, ebv: npt.ArrayLike, system: str = "sdss") -> Floats:
    """Return magnitudes free of galactic extinction, m - R_band E(B-V).

    Parameters
    ----------
    mag
        Observed magnitudes, shape (n,).
    band, system
        As in :func:`extinction_coefficient`.
    ebv
        E(B-V) of each source in mag, shape (n,) or scalar; NaN makes the result NaN.

    Raises
    ------
    ConfigError
        If the system or the band is unknown.
    """
    reddening = np.asarray(ebv, dtype=np.float64)
    return np.asarray(mag, dtype=np.float64) - extinction_coefficient(band, system) * reddening
