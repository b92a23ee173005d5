"""Radial profiles: the mean of each band in rings around a source.

Owns the rings and the means. Does not own the pixels (``pixels``) nor what is fitted to profiles
(``baselines``).
"""

import numpy as np
import numpy.typing as npt

from survey_classifier.mosaic.quantize import MAD_TO_SIGMA
from survey_classifier.stamps import Stamps
from survey_classifier.training.evaluation.pixels import Pixels
from survey_classifier.training.evaluation.truth import Truth

__all__ = ["radial_profiles", "ring_means"]

Floats = npt.NDArray[np.float64]

RING_EDGES = np.array([0.0, 0.04, 0.08, 0.12, 0.16, 0.24, 0.32, 0.44, 0.56, 0.72, 1.0])
"""Edges of the rings, in half stamps: 0.4 to 10 arcsec of the usual 20."""


def radial_profiles(truth: Truth, pixels: Pixels) -> Floats | None:
    """Return the profiles of objects, or None where there are no pixels at all.

    Means are in units of the scatter of the outermost ring over all objects, its median
    subtracted. Those of calibrated flux are put through asinh, so that bright centers do not
    outweigh all else; display images have been through such a stretch already.

    Parameters
    ----------
    truth
        The objects.
    pixels
        Where their pixels are.

    Returns
    -------
    ndarray
        Shape ``(n, band x ring)``, NaN where an object has no pixels in a ring.
    """
    if not pixels.bands:
        return None
    n_ring = len(RING_EDGES) - 1
    means = np.full((len(truth), len(pixels.bands), n_ring), np.nan)
    for stamps, rows in pixels.stamps(truth, np.arange(len(truth))):
        # Flux a pixel depends on the pixel's size, surface brightness does not.
        per_area = stamps.scale_arcsec**-2 if pixels.unit == "nJy" else 1.0
        edges = RING_EDGES * pixels.file.stamp_arcsec / 2
        means[rows] = ring_means(stamps, edges) * per_area
    if not np.isfinite(means).any():
        return None
    sky = means[:, :, -1]
    middle = np.nanmedian(sky, axis=0)
    scatter = MAD_TO_SIGMA * np.nanmedian(np.abs(sky - middle), axis=0)
    scaled = (means - middle[:, None]) / np.where(scatter > 0, scatter, 1)[:, None]
    stretched = scaled if pixels.unit == "display" else np.arcsinh(scaled)
    return np.asarray(stretched.reshape(len(truth), -1), dtype=np.float64)


def ring_means(stamps: Stamps, edges_arcsec: Floats) -> Floats:
    """Return the mean of the usable pixels in rings around each source.

    Parameters
    ----------
    stamps
        Stamps of n sources.
    edges_arcsec
        Ascending edges of the rings, half-open.

    Returns
    -------
    ndarray
        Shape ``(n, band, ring)``, NaN where a ring has no usable pixel.
    """
    n, n_band, size, _ = stamps.flux.shape
    along = np.arange(size) - size // 2
    offset = stamps.offset_px.astype(np.float64)
    x, y = (along - offset[:, axis, None] for axis in (0, 1))
    radius = np.hypot(x[:, None, :], y[:, :, None]).reshape(n, -1) * stamps.scale_arcsec
    n_ring = len(edges_arcsec) - 1
    ring = np.searchsorted(edges_arcsec, radius, side="right") - 1
    flux = stamps.flux.reshape(n, n_band, -1).astype(np.float64)
    means = np.full((n, n_band, n_ring), np.nan)
    for number in range(n_ring):
        inside = (ring == number)[:, None] & np.isfinite(flux)
        count = inside.sum(axis=2)
        total = np.where(inside, flux, 0).sum(axis=2)
        np.divide(total, count, out=means[:, :, number], where=count > 0)
    return means
