"""The pixels of a block out of those of an image on another grid.

Owns the kernel, and what becomes of masks and variances under it. Does not own the positions
(``lattice``) nor what is read for which block (``regrid``).

A pixel of the grid takes the mean, over points spread evenly in it, of the image smoothed with the
quadratic B-spline: three pixels wide, positive, its weights at any position adding up to one. With
the Jacobian, the sum over a source is then its flux, if the points are close enough: see
`Sampling`. Unusable pixels are left out of the weights.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, product
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.ndimage import map_coordinates

from survey_classifier.geometry import Box, nearest_pixel, overlap
from survey_classifier.mosaic.exposure import Window, empty_window
from survey_classifier.mosaic.lattice import Lattice
from survey_classifier.mosaic.pixels import UNUSABLE, MaskBit
from survey_classifier.mosaic.pyramid import merged_mask

__all__ = ["FWHM_PER_SIGMA", "Sampling", "resample", "spread_bits"]

FloatArray = npt.NDArray[np.float64]

FLUX_ERROR = 1e-3
"""Relative error of a star's flux that the choice of points allows,"""
FINEST_FWHM_PX = 1.6
"""for stars of this seeing in pixels of the image; sharper ones are hardly sampled at all."""
NOISE_ERROR = 1e-2
"""Relative error of the variance of sums that it allows."""
N_ORDERS = 8
"""Multiples of the points' frequency that are looked at; the B-spline has died away then."""
FWHM_PER_SIGMA = float(np.sqrt(8 * np.log(2)))
FAR_PX = -100.0
"""A position off every image, for points that are nowhere."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How pixels of a grid are made of an image's."""

    ratio: float
    """Pixels of the image along one of the grid, the most anywhere."""
    n_points: int
    """Points along each axis of a pixel of the grid over which the image is averaged."""

    @classmethod
    def of(cls, steps: FloatArray) -> "Sampling":
        """Choose the fewest points that keep stars to `FLUX_ERROR` and noise to `NOISE_ERROR`.

        Parameters
        ----------
        steps
            ``(n, 2, 2)``: at n places all over the image, the change of the position on the grid,
            a column each for a step of one pixel along each axis of the image.
        """
        n = next(n for n in count(1) if all(_is_dense(n * step) for step in steps))
        return cls(float(np.abs(np.linalg.det(steps)).min() ** -0.5), n)

    @property
    def n_mask_points(self) -> int:
        """Points along each axis at which the mask is looked up: they meet every pixel."""
        return max(int(np.ceil(self.ratio - 0.1)), 1)

    @property
    def reach_px(self) -> int:
        """How far from a pixel's center the image is needed, in its pixels."""
        return int(np.ceil(1.5 + self.ratio / np.sqrt(2))) + 1

    @property
    def blur_variance(self) -> float:
        """Variance along an axis that stars gain, in squared pixels of the image.

        1/4 is the quadratic B-spline's, ``(1 - 1/n^2) / 12`` that of n points in a pixel.
        """
        return 1 / 4 + self.ratio**2 * (1 - 1 / self.n_points**2) / 12


def _is_dense(inverse: FloatArray) -> bool:
    """Return whether sums over a lattice of points keep a star's flux and the noise.

    By Poisson's formula: a sum over points is the spectrum of what is summed at the frequencies
    of their lattice. Here that is the star's, repeated by the image's own pixels, times the
    B-spline's ``sinc(f)**3``. The spectrum of noise is flat, so the weight that the image's pixels
    have in the sum varies by the B-spline's alone.

    Parameters
    ----------
    inverse
        ``(2, 2)``, its rows the frequencies that span those of the points, in cycles per pixel.
    """
    orders = range(-N_ORDERS, N_ORDERS + 1)
    frequency = np.array([order for order in product(orders, repeat=2) if any(order)]) @ inverse
    passed = np.abs(np.sinc(frequency) ** 3).prod(axis=1)
    beside = np.abs(frequency - np.rint(frequency))
    # The nearest two repetitions on each axis; the others are far fainter.
    width = 2 * (np.pi * FINEST_FWHM_PX / FWHM_PER_SIGMA) ** 2
    star = np.exp(-width * beside**2) + np.exp(-width * (1 - beside) ** 2)
    flux_error, noise_error = (passed * star.prod(axis=1)).sum(), (passed**2).sum()
    return bool(flux_error <= FLUX_ERROR and noise_error <= NOISE_ERROR)


def resample(
    pixels: Window,
    window: Box,
    lattice: Lattice,
    sampling: Sampling,
    unit: Literal["nJy", "display"],
) -> Window:
    """Resample the pixels of a block.

    Parameters
    ----------
    pixels
        A part of the image that holds all that the block needs of it.
    window
        The box of these pixels on the image.
    lattice
        Positions of the block on the image.
    sampling
        The same for all blocks of an image.
    unit
        Flux in ``nJy`` is conserved, values of ``display`` are kept.

    Returns
    -------
    Window
        Of the block's shape; `read_onto` says what becomes of masks and variances.
    """
    source = _Source.around(lattice, pixels, window, sampling.reach_px)
    if source is None:
        return empty_window(lattice.shape, has_variance=pixels.variance is not None)
    means = source.means(lattice, sampling.n_points)
    mask = source.mask_onto(lattice, sampling)
    area = lattice.areas()
    flux = means[0] * (area if unit == "nJy" else 1.0)
    flux[(mask & np.uint8(UNUSABLE)) != 0] = np.nan
    mask[np.isnan(flux)] |= np.uint8(MaskBit.NO_DATA)
    if len(means) == 1:
        return Window(flux.astype(np.float32), mask)
    # The variance of the sum over an aperture is kept, so it grows as flux does. Of values that are
    # means the aperture has ``area`` times fewer, and their sum is as much smaller.
    variance = means[1] * (area if unit == "nJy" else 1.0 / area)
    variance[np.isnan(flux)] = np.nan
    return Window(flux.astype(np.float32), mask, variance.astype(np.float32))


@dataclass(frozen=True, slots=True)
class _Source:
    """Pixels of an image around the positions of a block."""

    y0: int
    x0: int
    mask: npt.NDArray[np.uint8]
    """``(y, x)`` of `MaskBit`; NO_DATA outside the image."""
    planes: tuple[npt.NDArray[np.float32], ...]
    """Flux, and variance if there is one; 0 where it does not count."""
    counted: tuple[npt.NDArray[np.bool_], ...]
    """For each plane, where it counts; one for both if that is the same."""

    @classmethod
    def around(
        cls, lattice: Lattice, pixels: Window, window: Box, margin_px: int
    ) -> "_Source | None":
        """Cut what a lattice needs out of a window; None if the window has nothing of it."""
        extent = lattice.extent(margin_px)
        if extent is None:
            return None
        slices = overlap(extent.shifted(-window.y0, -window.x0), pixels.mask.shape)
        if slices is None:
            return None
        large, small = slices
        mask = np.full(extent.shape, MaskBit.NO_DATA, dtype=np.uint8)
        mask[small] = pixels.mask[large]
        usable = (mask & np.uint8(UNUSABLE)) == 0
        planes, counted = [], []
        for values in (pixels.flux, pixels.variance):
            if values is not None:
                plane = np.full(extent.shape, np.nan, dtype=np.float32)
                plane[small] = values[large]
                counts = usable & np.isfinite(plane)
                planes.append(np.where(counts, plane, np.float32(0)))
                counted.append(counts)
        if len(counted) > 1 and (counted[0] == counted[1]).all():
            counted.pop()
        return cls(extent.y0, extent.x0, mask, tuple(planes), tuple(counted))

    def means(self, lattice: Lattice, n: int) -> list[FloatArray]:
        """Return the weighted means of the planes over n x n points in each pixel of a block."""
        totals = [np.zeros(lattice.shape) for _ in self.planes]
        weights = [np.zeros(lattice.shape) for _ in self.counted]
        for at in self._points(lattice, n):
            for total, plane in zip(totals, self.planes, strict=True):
                total += _smoothed(plane, at)
            for weight, counts in zip(weights, self.counted, strict=True):
                weight += _weight(counts, at)
        weights *= len(totals) // len(weights)
        return [_ratio_of(total, weight) for total, weight in zip(totals, weights, strict=True)]

    def mask_onto(self, lattice: Lattice, sampling: Sampling) -> npt.NDArray[np.uint8]:
        """Return the mask of a block: all bits that the means met, merged as in the pyramid."""
        bits = np.zeros(lattice.shape, dtype=np.uint8)
        if not self.mask.any():
            return bits
        spread = spread_bits(self.mask, 1)
        for at in self._points(lattice, sampling.n_points):
            bits |= spread[self._nearest(at)]
        n = sampling.n_mask_points
        n_usable = np.zeros(lattice.shape, dtype=np.int32)
        for at in self._points(lattice, n):
            n_usable += (self.mask[self._nearest(at)] & np.uint8(UNUSABLE)) == 0
        return merged_mask(bits, n_usable, n * n)

    def _points(self, lattice: Lattice, n: int) -> Iterator[FloatArray]:
        """Yield positions ``(2, y, x)`` in these pixels: n x n points in each of a block."""
        for dy, dx in product((np.arange(n) + 0.5) / n - 0.5, repeat=2):
            y, x = lattice.positions(dy, dx)
            at = np.stack([y - self.y0, x - self.x0])
            at[:, ~np.isfinite(at).all(axis=0)] = FAR_PX
            yield at

    def _nearest(self, at: FloatArray) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return the index of the pixel nearest to each position; a corner for `FAR_PX`."""
        ny, nx = self.mask.shape
        y, x = nearest_pixel(at)
        return np.clip(y, 0, ny - 1), np.clip(x, 0, nx - 1)


def _smoothed(plane: npt.NDArray[np.float32], at: FloatArray) -> FloatArray:
    """Return a plane smoothed with the quadratic B-spline at positions, 0 at `FAR_PX`."""
    values: FloatArray = map_coordinates(
        plane, at, output=np.float64, order=2, mode="constant", prefilter=False
    )
    return values


def _weight(counts: npt.NDArray[np.bool_], at: FloatArray) -> FloatArray:
    """Return the weight of what counts around positions: 1 where everything does."""
    if counts.all():
        return (at[0] != FAR_PX).astype(np.float64)
    return _smoothed(counts.astype(np.float32), at)


def spread_bits(mask: npt.NDArray[np.uint8], reach_px: int) -> npt.NDArray[np.uint8]:
    """Return the bits that each pixel and those around it have.

    Parameters
    ----------
    mask
        ``(y, x)`` of `MaskBit`.
    reach_px
        Half the side of the square around a pixel.
    """
    spread = mask.copy()
    if mask.any():
        for axis in (0, 1):
            lines, joined = np.moveaxis(spread.copy(), axis, 0), np.moveaxis(spread, axis, 0)
            for step in range(1, reach_px + 1):
                joined[step:] |= lines[:-step]
                joined[:-step] |= lines[step:]
    return spread


def _ratio_of(total: FloatArray, weight: FloatArray) -> FloatArray:
    """Return a weighted mean, NaN where nothing has weight."""
    return np.divide(total, weight, out=np.full(total.shape, np.nan), where=weight > 0)
