"""Magnitudes of one photometric system in another.

Owns the color terms between SDSS, HSC and Euclid, and their inverse. Does not own extinction: terms
hold for galaxies as they would look without dust, so deredden first. NaN is unknown and stays
unknown.

The terms were measured on synthetic colors of galaxies at z <= 0.7. Outside of that, and for stars
redder than M0, quasars and lines of emission, they are extrapolated: an error of some 0.05 mag.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from survey_classifier.errors import ConfigError

__all__ = ["euclid_vis", "sdss_to_hsc", "to_sdss"]

Floats = npt.NDArray[np.float64]

GRIZ = ("g", "r", "i", "z")
HSC_TERMS: Mapping[str, tuple[str, float, float, tuple[str, str]]] = MappingProxyType(
    {
        "g": ("g", 0.0, -0.080, ("g", "r")),
        "r": ("r", 0.021, -0.083, ("r", "i")),
        "i": ("i", 0.005, -0.214, ("i", "z")),
        "z": ("z", 0.005, -0.015, ("i", "z")),
        "y": ("z", -0.046, -0.344, ("i", "z")),
    }
)
"""HSC band: the SDSS band that it is like, then constant and slope of a color that is added.

r and i are those of the second filters, r2 and i2.
"""
VIS_SHARES: Mapping[str, float] = MappingProxyType({"r": 0.452, "i": 0.315, "z": 0.223})
"""Flux in Euclid's I_E per flux in SDSS bands; scatter 0.006 mag."""


def sdss_to_hsc(mag: Mapping[str, npt.ArrayLike]) -> dict[str, Floats]:
    """Return magnitudes on the HSC system.

    Parameters
    ----------
    mag
        Dereddened SDSS magnitudes by band, of g, r, i, z, each of shape (n,).

    Returns
    -------
    dict
        HSC magnitudes by band: those of g, r, i, z, y that the given bands determine.
    """
    known = {band: np.asarray(values, dtype=np.float64) for band, values in mag.items()}
    found = {}
    for band, (like, constant, slope, (blue, red)) in HSC_TERMS.items():
        if {like, blue, red} <= known.keys():
            found[band] = known[like] + constant + slope * (known[blue] - known[red])
    return found


def euclid_vis(mag: Mapping[str, npt.ArrayLike]) -> Floats:
    """Return the magnitude in Euclid's I_E.

    f_IE = 0.452 f_r + 0.315 f_i + 0.223 f_z, of AB magnitudes.

    Parameters
    ----------
    mag
        Dereddened SDSS magnitudes by band, of r, i, z, each of shape (n,).

    Raises
    ------
    ConfigError
        If one of these bands is missing.
    """
    for band in VIS_SHARES:
        if band not in mag:
            raise ConfigError(f"I_E follows from r, i and z, and there is no {band}: give it")
    flux = sum(
        share * 10 ** (-0.4 * np.asarray(mag[band], dtype=np.float64))
        for band, share in VIS_SHARES.items()
    )
    return np.asarray(-2.5 * np.log10(flux), dtype=np.float64)


def to_sdss(mag: Mapping[str, npt.ArrayLike], system: str) -> dict[str, Floats]:
    """Return magnitudes on the SDSS system, in which red sequences and priors are written.

    For HSC the terms are a linear system in g, r, i, z, which is solved. A band without its
    neighbors can't be moved: i and z need each other, r needs i, g needs r, so without z there is
    nothing. y is left out, as it follows from i and z.

    Parameters
    ----------
    mag
        Dereddened magnitudes by band, each of shape (n,).
    system
        ``sdss`` (returned as they are), ``hsc`` or ``euclid``. Of Euclid nothing follows: I_E is
        one broad band, and Y, J and H are redder than z.

    Returns
    -------
    dict
        SDSS magnitudes by band: those that the given bands determine.

    Raises
    ------
    ConfigError
        If the system is unknown.
    """
    known = {band: np.asarray(values, dtype=np.float64) for band, values in mag.items()}
    ways: Mapping[str, Callable[[Mapping[str, Floats]], dict[str, Floats]]] = {
        "sdss": dict,
        "hsc": _from_hsc,
        "euclid": lambda _: {},
    }
    if system not in ways:
        raise ConfigError(
            f"no way from the photometric system {system!r} to SDSS: use one of {', '.join(ways)}"
        )
    return ways[system](known)


def _from_hsc(mag: Mapping[str, Floats]) -> dict[str, Floats]:
    """Solve the terms for g, r, i, z, from the reddest band on: each needs the redder ones."""
    bands = [band for k, band in enumerate(GRIZ) if all(red in mag for red in GRIZ[k:])]
    # i and z follow from each other.
    if len(bands) < 2:
        return {}
    terms = np.zeros((len(bands), len(bands)))
    constants = np.zeros(len(bands))
    for row, band in enumerate(bands):
        like, constants[row], slope, (blue, red) = HSC_TERMS[band]
        for name, worth in ((like, 1.0), (blue, slope), (red, -slope)):
            terms[row, bands.index(name)] += worth
    inverse = np.linalg.inv(terms)
    shifted = [mag[band] - constant for band, constant in zip(bands, constants, strict=True)]
    # Band by band: in a sum over all, an unknown bluer band would make a redder one unknown.
    return {
        band: np.asarray(
            sum(
                worth * values for worth, values in zip(inverse[row], shifted, strict=True) if worth
            )
        )
        for row, band in enumerate(bands)
    }
