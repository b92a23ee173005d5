"""A population of simulated objects: the table, and what the draws of all kinds share.

Owns the table and the numbers of listed objects. Does not own the distributions of the kinds
(``members``, ``background``, ``stars``), colors at a given type (``colors``), light profiles
(``structure``) or what an observer would write down (``listing``).

What follows Perseus: the shape of each luminosity function, the red sequence, the blue
fractions, the relations of size and Sersic index with luminosity, nuclei and ultra-diffuse
galaxies of the members; sizes, indices and colors of the background; counts and colors of the
stars. What is scaled: the *numbers* of listed objects. A real field of 11.5 arcmin near the
center holds about 100 members to V = 23, 830 background galaxies to V = 24 and 1100 stars to
r = 22; the simulated one holds 360, 1530 and 1110 of 3000, so that a demonstration has members
enough. Unlisted galaxies and stars fainter than that are drawn at their natural density.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from survey_classifier.synthetic.profiles import MAX_INDEX, MIN_INDEX

__all__ = [
    "BACKGROUND_SHARE",
    "MEMBER_SHARE",
    "Population",
    "axis_ratios",
    "bounded_index",
    "magnitudes_from_counts",
]

Float = npt.NDArray[np.float64]

MEMBER_SHARE, BACKGROUND_SHARE = 0.12, 0.51
"""Shares of the listed objects; the others are stars."""


@dataclass(frozen=True, slots=True)
class Population:
    """Simulated objects, one row each; arrays have shape ``(n,)`` unless said otherwise.

    Raises
    ------
    ValueError
        If the arrays differ in length.
    """

    true_class: npt.NDArray[np.object_]
    """``member``, ``background`` or ``star``."""
    mag0: Float
    """Total AB magnitudes free of extinction, shape ``(n, 4)``, bands g r i z."""
    redshift: Float
    r_eff_arcsec: Float
    """Half-light radius of the main component along its major axis; 0 is a point."""
    sersic_n: Float
    axis_ratio: Float
    angle_rad: Float
    bulge_share: Float
    """Share of the r flux in a compact bulge."""
    nucleus_share: Float
    """Share of the flux in a point-like nucleus."""
    knot_share: Float
    """Share of the r flux in star-forming knots."""

    def __post_init__(self) -> None:
        lengths = {len(getattr(self, field.name)) for field in fields(self)}
        if len(lengths) != 1:
            raise ValueError(f"a population needs arrays of one length, got {sorted(lengths)}")

    def __len__(self) -> int:
        return len(self.true_class)

    @classmethod
    def join(cls, parts: Sequence["Population"]) -> "Population":
        """Return all rows of several populations, in order."""
        names = [field.name for field in fields(cls)]
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def take(self, index: npt.NDArray[np.intp]) -> "Population":
        """Return the rows at an index."""
        return Population(*(getattr(self, field.name)[index] for field in fields(self)))


def magnitudes_from_counts(
    rng: np.random.Generator, n: int, magnitude: Float, cumulative: Float
) -> Float:
    """Draw magnitudes whose counts follow a table.

    Parameters
    ----------
    rng
        Source of all randomness.
    n
        How many.
    magnitude
        Edges of the table, ascending.
    cumulative
        Counts brighter than each edge, in any unit; log-linear between them. Where the first is
        0 the first bin rises tenfold.
    """
    low = max(cumulative[0], cumulative[1] * 0.1)
    log_count = np.log(np.maximum(cumulative, low))
    return np.interp(np.log(rng.uniform(low, cumulative[-1], n)), log_count, magnitude)


def bounded_index(log10_n: Float) -> Float:
    """Return Sersic indices; those out of range are folded back so that none pile up there."""
    low, high = np.log10(MIN_INDEX), np.log10(MAX_INDEX)
    folded = low + np.abs(log10_n - low)
    folded = high - np.abs(high - folded)
    return np.clip(10**folded, MIN_INDEX, MAX_INDEX)


def axis_ratios(rng: np.random.Generator, thickness: Float) -> Float:
    """Return apparent axis ratios of oblate spheroids of given thickness, tilted at random."""
    cosine = rng.uniform(0, 1, len(thickness))
    return np.sqrt(thickness**2 + (1 - thickness**2) * cosine**2)
