"""Whether a source looks like a point: 0 to 1, calibrated on the field's own stars.

Owns the locus of the stars and the probability. Does not own the apertures (``photometry``).

In each band the concentration, the share of the light within 1.5 FWHM that lies within 0.5 FWHM,
has one value for all point sources, whatever their magnitude: the locus. It is found where the
bright sources crowd, as galaxies scatter below it. The concentrations of a source, in units of
the loci, are averaged over the bands by their errors; that mean is u, with an error s. Then

    point_likeness = P / (P + E),    P = normal(u; 1, s)    E = the same, for a source whose true
                                                            value lies anywhere from 0.2 to 1

so it is what a point source's probability would be if half of all sources were points, and goes
to about one half where the noise leaves nothing to see. Whoever knows the share of stars at a
magnitude can put it in as a prior. Saturated sources are often called extended: their core is cut.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from survey_classifier.sources.detection import DetectionFlag, Detections

__all__ = ["Locus", "point_likeness", "star_locus"]

FloatArray = npt.NDArray[np.float64]

BRIGHT_SNR = 50.0
"""Of the sources that the locus is found with."""
MIN_BRIGHT = 20
"""How many there must be."""
LEAST_SPREAD = 0.01
"""Relative width of the locus that is always reckoned with: the seeing varies over a field."""
MOST_EXTENDED = 0.2
"""Lowest concentration of a source, in units of the locus."""
UNSUITABLE = DetectionFlag.EDGE | DetectionFlag.SATURATED | DetectionFlag.CUT
MAD_TO_SIGMA = 1.4826


@dataclass(frozen=True, slots=True)
class Locus:
    """Where the point sources lie in one band."""

    concentration: float
    spread: float
    """Relative scatter about it that is not noise."""
    n_bright: int
    """Sources that it was found with."""


def star_locus(detections: Detections, band: str) -> Locus | None:
    """Find the locus of the point sources of a band.

    Parameters
    ----------
    detections
        Sources with photometry, in any order.
    band
        Which band.

    Returns
    -------
    Locus or None
        None where fewer than `MIN_BRIGHT` sources are bright enough.
    """
    values = detections[f"concentration_{band}"]
    with np.errstate(invalid="ignore"):
        bright = (
            np.isfinite(values)
            & (detections[f"snr_{band}"] > BRIGHT_SNR)
            & ((detections["detection_flags"] & UNSUITABLE) == 0)
        )
    chosen = np.sort(values[bright])
    if len(chosen) < MIN_BRIGHT:
        return None
    mode = _half_sample_mode(chosen)
    # Galaxies are below the mode only.
    above = chosen[chosen >= mode] - mode
    spread = MAD_TO_SIGMA * float(np.median(above)) / mode
    return Locus(mode, max(spread, LEAST_SPREAD), len(chosen))


def _half_sample_mode(values: FloatArray) -> float:
    """Return where sorted values are densest: of each half-sample the narrowest, again and again.

    Robertson & Cryer (1974).
    """
    while len(values) > 3:
        half = (len(values) + 1) // 2
        widths = values[half - 1 :] - values[: len(values) - half + 1]
        first = int(np.argmin(widths))
        values = values[first : first + half]
    return float(np.mean(values))


def point_likeness(
    detections: Detections, bands: Sequence[str]
) -> tuple[FloatArray, dict[str, Locus]]:
    """Return how much each source looks like a point.

    Parameters
    ----------
    detections
        Sources with photometry; the result does not depend on their order.
    bands
        Bands to look at.

    Returns
    -------
    likeness
        0 to 1, shape ``(n,)``; NaN where no band has a locus and a concentration.
    loci
        By band, of those that have one.
    """
    found = {band: star_locus(detections, band) for band in bands}
    loci = {band: locus for band, locus in found.items() if locus is not None}
    weighted, weights = np.zeros(len(detections)), np.zeros(len(detections))
    for band, locus in loci.items():
        value = detections[f"concentration_{band}"] / locus.concentration
        error = detections[f"concentrationerr_{band}"] / locus.concentration
        known = np.isfinite(value) & np.isfinite(error)
        weight = np.where(known, 1 / (np.where(known, error, 1) ** 2 + locus.spread**2), 0)
        weighted += np.where(known, value, 0) * weight
        weights += weight
    likeness = np.full(len(detections), np.nan)
    known = weights > 0
    likeness[known] = _probability(weighted[known] / weights[known], 1 / np.sqrt(weights[known]))
    return likeness, loci


def _probability(u: FloatArray, s: FloatArray) -> FloatArray:
    """Return P / (P + E) of the module's docstring."""
    z = (u - 1) / s
    point = np.exp(-0.5 * np.minimum(np.abs(z), 30) ** 2) / (np.sqrt(2 * np.pi) * s)
    # Far above the locus both vanish, the second one sooner.
    extended = (ndtr((u - MOST_EXTENDED) / s) - ndtr(np.minimum(z, 30))) / (1 - MOST_EXTENDED)
    return point / (point + np.maximum(extended, 0))
