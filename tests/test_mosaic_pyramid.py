"""Levels of a pyramid, where numbers are as large as they can be."""

import numpy as np
import pytest

from survey_classifier.mosaic.exposure import Window
from survey_classifier.mosaic.pyramid import N_LEVELS, pyramid

LARGEST = np.finfo(np.float32).max


def blocks(plane, side):
    """The pixels of each bin of a level, shape (y, x, pixels of the bin)."""
    ny, nx = plane.shape[0] // side, plane.shape[1] // side
    return plane.reshape(ny, side, nx, side).swapaxes(1, 2).reshape(ny, nx, side * side)


@pytest.mark.parametrize("size", [1.0, 1e30, LARGEST / 2, LARGEST])
def test_means_and_their_variances_are_finite_however_large_their_sums(size):
    """Against sums of float64, in which 64 of the largest numbers have room."""
    random = np.random.default_rng(3)
    flux = (random.uniform(0.5, 1.0, (24, 32)) * size).astype(np.float32)
    variance = (random.uniform(0.5, 1.0, (24, 32)) * size).astype(np.float32)
    levels = list(pyramid(Window(flux, np.zeros((24, 32), np.uint8), variance)))
    assert len(levels) == N_LEVELS
    for level, found in enumerate(levels):
        in_bins = [blocks(plane.astype(np.float64), 2**level) for plane in (flux, variance)]
        np.testing.assert_allclose(found.flux, in_bins[0].mean(axis=2), rtol=1e-6)
        np.testing.assert_allclose(found.variance, in_bins[1].mean(axis=2) / 4**level, rtol=1e-6)
        assert not found.mask.any()
