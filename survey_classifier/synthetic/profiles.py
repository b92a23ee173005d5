"""Light profiles as sums of Gaussians: Sersic galaxies and a seeing disc with wings.

Owns the approximation of a profile by concentric Gaussians, which makes the convolution with
the seeing exact: variances add. Does not own what galaxies there are (``population``) or pixels
(``render``).

A Sersic profile is written as Gaussians of fixed widths in units of the half-light radius, the
weights fitted once for a grid of indices and interpolated between (the method of Hogg & Lang
2013, PASP 125, 719, with our own fit).
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq, nnls
from scipy.special import gammaincinv

__all__ = ["MAX_INDEX", "MIN_INDEX", "SERSIC_SIGMA", "Seeing", "merge_narrow", "sersic_weights"]

Float = npt.NDArray[np.float64]

MIN_INDEX, MAX_INDEX = 0.6, 4.0
"""Sersic indices that the mixture can draw."""

SERSIC_SIGMA: Float = np.geomspace(0.012, 7.0, 19)
"""Widths of the Gaussians of a Sersic profile, in half-light radii, ascending."""

_INDEX_GRID = np.linspace(MIN_INDEX, MAX_INDEX, 35)

# Core, shoulder and three wings: flux fractions and widths relative to the core's.
_SEEING_WEIGHT = np.array([0.78, 0.16, 0.04, 0.014, 0.006])
_SEEING_SIGMA = np.array([1.0, 1.8, 4.0, 12.0, 40.0])


@cache
def _weight_grid() -> Float:
    """Return the weights of ``SERSIC_SIGMA`` for each index of the grid, rows of sum 1."""
    rows = [_fit_sersic(float(index)) for index in _INDEX_GRID]
    return np.array(rows)


def _fit_sersic(index: float) -> Float:
    """Fit the flux per logarithmic radius, so that each decade of radius counts by its light."""
    radius = np.geomspace(1e-3, 30.0, 400)
    steepness = float(gammaincinv(2 * index, 0.5))
    target = radius**2 * np.exp(-steepness * (radius ** (1 / index) - 1))
    ratio = radius[:, None] / SERSIC_SIGMA
    design = ratio**2 * np.exp(-0.5 * ratio**2)
    weights, _ = nnls(design, target / np.trapezoid(target, np.log(radius)))
    return weights / weights.sum()


def sersic_weights(index: npt.ArrayLike) -> Float:
    """Return the flux fractions of the Gaussians of Sersic profiles.

    Parameters
    ----------
    index
        Sersic indices, shape ``(n,)``, within ``MIN_INDEX`` and ``MAX_INDEX``.

    Returns
    -------
    ndarray of float64
        Shape ``(n, len(SERSIC_SIGMA))``, not negative, rows of sum 1.

    Raises
    ------
    ValueError
        If an index is outside the fitted range.
    """
    values = np.atleast_1d(np.asarray(index, dtype=np.float64))
    if values.size and not (values.min() >= MIN_INDEX and values.max() <= MAX_INDEX):
        raise ValueError(
            f"Sersic indices must be in [{MIN_INDEX}, {MAX_INDEX}], "
            f"got {values.min()} to {values.max()}"
        )
    grid = _weight_grid()
    place = (values - MIN_INDEX) / (_INDEX_GRID[1] - _INDEX_GRID[0])
    below = np.minimum(place.astype(np.int64), len(grid) - 2)
    part = (place - below)[:, None]
    return (1 - part) * grid[below] + part * grid[below + 1]


def merge_narrow(weight: Float, variance: Float, limit: Float) -> tuple[Float, Float]:
    """Merge, in each row, the Gaussians narrower than a limit into one of equal second moment.

    Total weight and weighted variance are kept, so a blur wider than the limit hides the merge.

    Parameters
    ----------
    weight, variance
        Shape ``(n, k)``; variances ascend along a row.
    limit
        Largest variance that is merged, shape ``(n,)``.

    Returns
    -------
    weight, variance
        Shape ``(n, k)``; the merged Gaussians but the last have weight 0.
    """
    n_narrow = (variance < limit[:, None]).sum(axis=1)
    slot = np.arange(weight.shape[1])
    total = np.cumsum(weight, axis=1)
    moment = np.cumsum(weight * variance, axis=1)
    merged = slot == (n_narrow - 1)[:, None]
    dropped = slot < (n_narrow - 1)[:, None]
    mean = np.divide(moment, total, out=variance.copy(), where=total > 0)
    return (
        np.where(dropped, 0.0, np.where(merged, total, weight)),
        np.where(merged, mean, variance),
    )


@dataclass(frozen=True, slots=True)
class Seeing:
    """A round point-spread function: five concentric Gaussians, pixel response included.

    Parameters
    ----------
    fwhm_arcsec
        Full width at half maximum.

    Raises
    ------
    ValueError
        If the width is not positive.
    """

    fwhm_arcsec: float

    def __post_init__(self) -> None:
        if not self.fwhm_arcsec > 0:
            raise ValueError(f"the seeing must be positive, got {self.fwhm_arcsec} arcsec")

    @property
    def weight(self) -> Float:
        """Flux fractions of the Gaussians, sum 1."""
        return _SEEING_WEIGHT

    @property
    def variance_arcsec2(self) -> Float:
        """Variances of the Gaussians along one axis, ascending."""
        return (_SEEING_SIGMA * self.fwhm_arcsec / _relative_fwhm()) ** 2

    @property
    def peak_per_arcsec2(self) -> float:
        """Central surface brightness of a point source of unit flux."""
        return float((self.weight / (2 * np.pi * self.variance_arcsec2)).sum())


@cache
def _relative_fwhm() -> float:
    """Return the full width at half maximum in units of the core's sigma."""
    density = _SEEING_WEIGHT / _SEEING_SIGMA**2

    def above_half(radius: float) -> float:
        level = density * np.exp(-0.5 * (radius / _SEEING_SIGMA) ** 2)
        return float(level.sum() - 0.5 * density.sum())

    return 2 * float(brentq(above_half, 0.1, 5.0))
