"""How complete spectroscopy is, in cells of magnitude and radius, since observers choose by both.

Owns the counting, and bins that hold enough. Does not own what is estimated with it
(``prior_estimation``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from survey_classifier.errors import ConfigError

__all__ = ["FEWEST", "Completeness", "bin_of", "filled_bins"]

Floats = npt.NDArray[np.float64]

FEWEST = 5
"""Sources that a bin of its own needs; one with fewer joins the next."""


@dataclass(frozen=True)
class Completeness:
    """Share of sources that have a spectrum, in cells of magnitude and radius."""

    magnitude_edges: tuple[float, ...]
    radius_edges_deg: tuple[float, ...]
    """Rising; two edges are one ring."""
    n_all: Floats
    """Sources in each cell, shape (n_magnitude, n_radius)."""
    n_spectra: Floats
    """Those with a spectrum."""

    @classmethod
    def of(
        cls,
        r0: npt.ArrayLike,
        radius_deg: npt.ArrayLike,
        has_spectrum: npt.ArrayLike,
        magnitude_edges: Sequence[float],
        radius_edges_deg: Sequence[float] = (0.0, 180.0),
        galaxy: npt.ArrayLike = 1.0,
    ) -> "Completeness":
        """Count sources and spectra.

        Parameters
        ----------
        r0, radius_deg
            Of all sources that could have a spectrum, shape (n,); those of unknown or outlying
            magnitude or radius are not counted.
        has_spectrum
            Which of them have one, shape (n,).
        magnitude_edges, radius_edges_deg
            Edges of the cells, rising.
        galaxy
            Probability of each that it is no star, shape (n,) or scalar, for counting those
            without a spectrum.

        Raises
        ------
        ConfigError
            If edges do not rise.
        """
        for edges in (magnitude_edges, radius_edges_deg):
            if len(edges) < 2 or any(low >= high for low, high in pairwise(edges)):
                raise ConfigError(f"bins with the edges {list(edges)}: give two or more that rise")
        mag, radius = np.asarray(r0, dtype=np.float64), np.asarray(radius_deg, dtype=np.float64)
        taken = np.asarray(has_spectrum, dtype=np.bool_)
        bins = (np.asarray(magnitude_edges), np.asarray(radius_edges_deg))
        worth = np.where(taken, 1.0, np.broadcast_to(np.asarray(galaxy, np.float64), mag.shape))
        n_all = np.histogram2d(mag, radius, bins, weights=worth)[0]
        n_spectra = np.histogram2d(mag[taken], radius[taken], bins)[0]
        return cls(tuple(magnitude_edges), tuple(radius_edges_deg), n_all, n_spectra)

    @property
    def share(self) -> Floats:
        """The completeness of each cell; NaN where there is no source."""
        empty = np.full(self.n_all.shape, np.nan)
        return np.divide(self.n_spectra, self.n_all, out=empty, where=self.n_all > 0)

    @property
    def share_err(self) -> Floats:
        """Its binomial standard error, with one source of each kind added to the cell."""
        smooth = (self.n_spectra + 1) / (self.n_all + 2)
        n = np.maximum(self.n_all, 1)
        return np.where(self.n_all > 0, np.sqrt(smooth * (1 - smooth) / n), np.nan)

    def weights(self, r0: npt.ArrayLike, radius_deg: npt.ArrayLike) -> Floats:
        """Return what each source with a spectrum stands for: 1 / completeness of its cell.

        NaN outside the cells.
        """
        row = bin_of(r0, self.magnitude_edges)
        column = bin_of(radius_deg, self.radius_edges_deg)
        inside = (row >= 0) & (column >= 0)
        with np.errstate(divide="ignore"):
            inverse = 1 / self.share
        found = inverse[np.where(inside, row, 0), np.where(inside, column, 0)]
        return np.where(inside & np.isfinite(found), found, np.nan)


def bin_of(values: npt.ArrayLike, edges: Sequence[float]) -> npt.NDArray[np.intp]:
    """Return the bin of each value, the last one closed as in numpy's histograms; -1: none.

    Parameters
    ----------
    values
        Shape (n,); NaN is in no bin.
    edges
        Of the bins, rising.
    """
    numbers = np.asarray(values, dtype=np.float64)
    row = np.searchsorted(edges, numbers, side="right") - 1
    row = np.where(numbers == edges[-1], len(edges) - 2, row)
    inside = (numbers >= edges[0]) & (numbers <= edges[-1])
    return np.asarray(np.where(inside, row, -1), dtype=np.intp)


def filled_bins(row: npt.NDArray[np.intp]) -> list[npt.NDArray[np.intp]]:
    """Return the rows of each bin, those of fewer than `FEWEST` joined to the next.

    What is left over at the end joins the last bin that is full.

    Parameters
    ----------
    row
        Bin of each row, from `bin_of`; those in none are left out.
    """
    bins: list[npt.NDArray[np.intp]] = []
    waiting = np.empty(0, dtype=np.intp)
    for number in range(int(row.max(initial=-1)) + 1):
        waiting = np.concatenate([waiting, np.flatnonzero(row == number)])
        if len(waiting) >= FEWEST:
            bins.append(waiting)
            waiting = np.empty(0, dtype=np.intp)
    if len(waiting) and bins:
        bins[-1] = np.concatenate([bins[-1], waiting])
    elif len(waiting):
        bins.append(waiting)
    return bins
