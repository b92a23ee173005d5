"""Regions of color: where a source lies beside the red sequence, by name.

Owns the regions' names and edges, and the strip that an earlier study used. Does not own the red
sequence (``red_sequence``), extinction (``extinction``) nor what a color says of membership
(``color_evidence``). Everything is in magnitudes; NaN is unknown and stays unknown.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from survey_classifier.errors import ConfigError
from survey_classifier.membership.red_sequence import PERSEUS_GZ, RedSequence

__all__ = ["ColorCuts", "color_region", "delta_rs", "legacy_strip"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ColorCuts:
    """Regions in the distance from the red sequence, in mag.

    Raises
    ------
    ConfigError
        Unless blue_cloud < red_sequence_min < red_sequence_max, all finite.
    """

    red_sequence_max: float = 0.20
    """Above: ``red_shoulder``."""
    red_sequence_min: float = -0.25
    """From here to ``red_sequence_max``: ``red_sequence``."""
    blue_cloud: float = -0.60
    """Below: ``blue_cloud``; from here to ``red_sequence_min``: ``green_valley``."""
    sequence: RedSequence = PERSEUS_GZ
    """What distances are measured from; its scatter says how errors widen the regions."""

    def __post_init__(self) -> None:
        ordered = -np.inf < self.blue_cloud < self.red_sequence_min < self.red_sequence_max < np.inf
        if not ordered:
            raise ConfigError(
                f"color cuts {self.blue_cloud}, {self.red_sequence_min}, {self.red_sequence_max}: "
                "give blue_cloud < red_sequence_min < red_sequence_max"
            )

    @classmethod
    def around(cls, sequence: RedSequence) -> Self:
        """Return the default regions about a sequence, as many times its scatter from it.

        For the sequence of Perseus in g - z these are the defaults.

        Parameters
        ----------
        sequence
            Of any colors.
        """
        cuts = cls()
        scale = sequence.scatter / cuts.sequence.scatter
        return cls(
            scale * cuts.red_sequence_max,
            scale * cuts.red_sequence_min,
            scale * cuts.blue_cloud,
            sequence,
        )


def delta_rs(color: npt.ArrayLike, mag: npt.ArrayLike, cuts: ColorCuts) -> Floats:
    """Return the distance from the red sequence in mag, positive = redder.

    Parameters
    ----------
    color
        Dereddened color in the bands of the sequence, shape (n,).
    mag
        Dereddened magnitudes in its magnitude band, shape (n,).
    cuts
        Hold the sequence.
    """
    return cuts.sequence.delta(color, mag)


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
    scatter = cuts.sequence.scatter
    widening = np.hypot(scatter, error) / scatter
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
