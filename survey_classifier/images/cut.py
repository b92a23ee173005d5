"""Stamps made of images that exist already.

Owns how an image's pixels reach its stamp. Does not own files (``archive``, ``decode``) nor the
resampling to a network's grid (``model.inputs``), which is that of stamps cut from a mosaic.
"""

from collections.abc import Iterable

import numpy as np

from survey_classifier.geometry import Box, nearest_pixel, overlap, stamp_start
from survey_classifier.images.decode import Planes
from survey_classifier.mosaic.pixels import MaskBit
from survey_classifier.stamps import MASK_BITS, Stamps

__all__ = ["stamps_from_images"]


def stamps_from_images(
    images: Iterable[Planes],
    n: int,
    bands: tuple[str, ...],
    scale_arcsec: float,
    size_px: int,
    rim_px: int = 0,
) -> Stamps:
    """Return images as stamps, y upward, with the source's pixel at ``size_px // 2``.

    Parameters
    ----------
    images
        The images, n of them; taken one by one.
    n
        How many there are.
    bands
        Bands of their planes.
    scale_arcsec
        Their pixel scale.
    size_px
        Side of the stamps; what an image does not cover is NaN.
    rim_px
        By so much an image is continued with its outermost pixels. One that is a pixel of the
        network too small, because its source is not quite in its middle, would else show the
        network a row without data, which says something to it: on the SDSS thumbnails of Perseus
        0.3 in log-odds.
    """
    flux = np.full((n, len(bands), size_px, size_px), np.nan, dtype=np.float32)
    offset = np.empty((n, 2), dtype=np.float32)
    for row, image in enumerate(images):
        planes = np.pad(image.flux, ((0, 0), (rim_px, rim_px), (rim_px, rim_px)), mode="edge")
        x, y = (position + rim_px for position in image.source_px)
        x0, y0 = int(stamp_start(x, size_px)), int(stamp_start(y, size_px))
        box = Box(y0, y0 + size_px, x0, x0 + size_px)
        slices = overlap(box, (planes.shape[1], planes.shape[2]))
        if slices is not None:
            flux[row][:, *slices[1]] = planes[:, *slices[0]]
        offset[row] = x - nearest_pixel(x), y - nearest_pixel(y)
    valid = np.asarray(np.isfinite(flux).all(axis=1))
    center = valid[:, size_px // 2, size_px // 2]
    return Stamps(
        bands=bands,
        flux=flux,
        offset_px=offset,
        valid_fraction=valid.mean(axis=(1, 2)).astype(np.float32),
        center_mask=np.where(center, 0, MaskBit.NO_DATA).astype(np.uint8),
        sticks_out=np.zeros(n, dtype=np.bool_),
        mask_fraction=np.zeros((n, len(MASK_BITS)), dtype=np.float32),
        scale_arcsec=scale_arcsec,
    )
