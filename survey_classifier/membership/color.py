"""What colors say about membership: extinction, the red sequence and regions around it.

Owns extinction coefficients, the red sequence of Perseus in g - z and the names of the regions.
Does not turn a color into a probability. Everything is in magnitudes; NaN is unknown and stays
unknown.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from survey_classifier.errors import ConfigError

__all__ = [
    "EXTINCTION",
    "ColorCuts",
    "color_region",
    "delta_rs",
    "deredden",
    "extinction_coefficient",
    "legacy_strip",
    "red_sequence_gz",
]

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


@dataclass(frozen=True, slots=True)
class ColorCuts:
    """Regions in the distance from the red sequence, (g - z)_0 - RS(r_0), in mag.

    Raises
    ------
    ConfigError
        Unless blue_cloud < red_sequence_min < red_sequence_max and scatter > 0, all finite.
    """

    red_sequence_max: float = 0.20
    """Above: ``red_shoulder``."""
    red_sequence_min: float = -0.25
    """From here to ``red_sequence_max``: ``red_sequence``."""
    blue_cloud: float = -0.60
    """Below: ``blue_cloud``; from here to ``red_sequence_min``: ``green_valley``."""
    scatter: float = 0.086
    """Scatter of members about the sequence (SDSS, bright members)."""
    offset_gz: float = 0.0
    """Color of this photometric system minus SDSS model colors; Suprime-Cam's is about -0.07."""

    def __post_init__(self) -> None:
        ordered = -np.inf < self.blue_cloud < self.red_sequence_min < self.red_sequence_max < np.inf
        if not ordered:
            raise ConfigError(
                f"color cuts {self.blue_cloud}, {self.red_sequence_min}, {self.red_sequence_max}: "
                "give blue_cloud < red_sequence_min < red_sequence_max"
            )
        if not 0 < self.scatter < np.inf:
            raise ConfigError(f"the scatter of the red sequence is {self.scatter}: give it > 0")
        if not np.isfinite(self.offset_gz):
            raise ConfigError(f"offset_gz is {self.offset_gz}: give a finite number")


def red_sequence_gz(r0: npt.ArrayLike) -> Floats:
    """Return the (g - z)_0 of the red sequence of Perseus in SDSS model colors.

    The highest of a bright branch (SDSS members), a faint one (dwarfs of Wittmann et al. 2019,
    with V_0 = r_0 + 0.27) and a floor; the branches meet at r_0 = 19.05.

    Parameters
    ----------
    r0
        Dereddened r magnitudes, shape (n,).
    """
    r_mag = np.asarray(r0, dtype=np.float64)
    bright = 1.373 - 0.079 * (r_mag - 15.5)
    faint = 1.138 - 0.035 * (r_mag + 0.27 - 18)
    return np.maximum(np.maximum(bright, faint), 1.00)


def delta_rs(color_gz: npt.ArrayLike, r0: npt.ArrayLike, cuts: ColorCuts) -> Floats:
    """Return the distance from the red sequence in mag, positive = redder.

    Parameters
    ----------
    color_gz
        Dereddened g - z, shape (n,).
    r0
        Dereddened r magnitudes, shape (n,).
    cuts
        Holds the color offset of the photometric system.
    """
    color = np.asarray(color_gz, dtype=np.float64)
    return color - cuts.offset_gz - red_sequence_gz(r0)


def color_region(
    delta: npt.ArrayLike, delta_err: npt.ArrayLike, cuts: ColorCuts
) -> npt.NDArray[np.str_]:
    """Return the region of each distance from the red sequence.

    ``red_shoulder`` > max; ``red_sequence`` from min to max, both included; ``green_valley`` below
    min down to the blue cloud's edge, included; ``blue_cloud`` beyond. A color error widens the
    red sequence as it widens the scatter of members, by sqrt(scatter^2 + err^2) / scatter, so that
    it holds the same share of them; the blue cloud's edge moves along with the sequence's.

    Parameters
    ----------
    delta
        Distances from the red sequence in mag, shape (n,); NaN = unknown.
    delta_err
        Their 1-sigma errors in mag, shape (n,) or scalar; NaN = unknown and taken as 0.
    cuts
        The edges at zero error.

    Returns
    -------
    ndarray of str
        Shape (n,); '' where delta is unknown.
    """
    distance = np.asarray(delta, dtype=np.float64)
    error = np.nan_to_num(np.asarray(delta_err, dtype=np.float64), nan=0.0)
    widening = np.hypot(cuts.scatter, error) / cuts.scatter
    sequence_min = cuts.red_sequence_min * widening
    blue_cloud = sequence_min - (cuts.red_sequence_min - cuts.blue_cloud)
    regions = {
        "red_shoulder": distance > cuts.red_sequence_max * widening,
        "red_sequence": distance >= sequence_min,
        "green_valley": distance >= blue_cloud,
        "blue_cloud": np.isfinite(distance),
    }
    return np.select(list(regions.values()), list(regions), default="")


def legacy_strip(r_mag: npt.ArrayLike, color_gz: npt.ArrayLike) -> npt.NDArray[np.str_]:
    """Return the side of the strip of Pruitt & Romanowsky, k = r + 14.3 (g - z).

    ``blue_side`` k <= 37, ``red_sequence`` 37 < k < 46, ``red_side`` k >= 46.

    Parameters
    ----------
    r_mag, color_gz
        *Observed* SDSS model r and g - z (not dereddened), shape (n,); NaN = unknown.

    Returns
    -------
    ndarray of str
        Shape (n,); '' where k is unknown.
    """
    k = np.asarray(r_mag, dtype=np.float64) + 14.3 * np.asarray(color_gz, dtype=np.float64)
    sides = {"blue_side": k <= 37, "red_sequence": k < 46, "red_side": k >= 46}
    return np.select(list(sides.values()), list(sides), default="")
