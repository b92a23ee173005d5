"""Whether images make one mosaic.

Owns what is refused: two files for one piece of the survey, a grid far finer than the images,
images that lie far apart, bands that share no part of the sky. Does not own the layout of the
mosaic that they make (``layout``).
"""

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import numpy.typing as npt

from survey_classifier.errors import MosaicError
from survey_classifier.geometry import Box, inside
from survey_classifier.mosaic.compose import Placed
from survey_classifier.mosaic.exposure import Exposure, PixelGrid
from survey_classifier.mosaic.grids import MAX_FINER, MAX_PX, MAX_SIDE_PX, spread
from survey_classifier.mosaic.sky import SkyGrid, pixel_scale_arcsec

__all__ = ["reaches", "require_overlap", "require_scale", "require_single", "require_together"]

MAX_EMPTINESS = 20
"""Area of a mosaic over that of its images, beyond which they are not one field."""
FloatArray = npt.NDArray[np.float64]


def require_single(exposures: Sequence[Exposure]) -> None:
    """Refuse two files for one piece of the survey: nobody has said which is right.

    Parameters
    ----------
    exposures
        All images of a mosaic.

    Raises
    ------
    MosaicError
        If two of one band have the same slot.
    """
    seen: dict[tuple[str, str], Exposure] = {}
    for exposure in exposures:
        if not exposure.slot:
            continue
        key = (exposure.band.name, exposure.slot)
        if key in seen:
            raise MosaicError(
                f"{seen[key].path} and {exposure.path} are both band {key[0]} of {key[1]}; "
                "leave one of them out"
            )
        seen[key] = exposure


def require_scale(exposures: Sequence[Exposure], scale_arcsec: float | None) -> None:
    """Refuse a grid that is far finer than the images: it would hold nothing but interpolation.

    Parameters
    ----------
    exposures
        All images of a mosaic, at least one.
    scale_arcsec
        Pixel scale that was asked for, None for that of an image.

    Raises
    ------
    MosaicError
        If it is more than `MAX_FINER` times finer than the finest image.
    """
    if scale_arcsec is None:
        return
    finest = min(exposures, key=lambda exposure: pixel_scale_arcsec(exposure.wcs))
    finer = pixel_scale_arcsec(finest.wcs) / scale_arcsec
    if round(finer, 6) > MAX_FINER:  # a header has fewer digits than a run file
        raise MosaicError(
            f"scale_arcsec = {scale_arcsec:.4g} is {finer:.4g} times finer than the finest image "
            f"({finest.path.name}, {pixel_scale_arcsec(finest.wcs):.4g} arcsec), more than "
            f"{MAX_FINER}; mend it, or leave it out for the scale of the first image"
        )


def require_together(exposures: Sequence[Exposure], grid: PixelGrid, *, own: bool) -> None:
    """Refuse images that lie far apart: the mosaic between them would be empty and monstrous.

    Parameters
    ----------
    exposures
        All images of a mosaic, at least one.
    grid
        The mosaic's.
    own
        Whether its size was asked for.

    Raises
    ------
    MosaicError
        If the mosaic has far more pixels than they, or than any mosaic should.
    """
    scale = pixel_scale_arcsec(grid.wcs)
    names = sorted({file for exposure in exposures for file in exposure.band.source_files})
    ny, nx = grid.shape
    what = (
        f"the mosaic of {', '.join(names[:4])}{', ...' if len(names) > 4 else ''} would have "
        f"{nx} x {ny} px of {scale:.4g} arcsec"
    )
    if max(grid.shape) > MAX_SIDE_PX or ny * nx > MAX_PX:
        inputs = min(pixel_scale_arcsec(exposure.wcs) for exposure in exposures)
        raise MosaicError(
            f"{what}, more than {MAX_SIDE_PX} along a side or {MAX_PX:.0e} in all; mend "
            f"scale_arcsec (its images have {inputs:.4g} arcsec), or make several mosaics"
        )
    filled = sum(
        exposure.shape[0] * exposure.shape[1] * (pixel_scale_arcsec(exposure.wcs) / scale) ** 2
        for exposure in exposures
    )
    survey = exposures[0].survey_grid
    whole = survey is not None and survey.shape == grid.shape
    if ny * nx > MAX_EMPTINESS * filled and not own and not whole:
        raise MosaicError(
            f"{what}, {ny * nx / filled:.0f} times the area of its images; make a mosaic of each "
            "group of images that lie together, or mend scale_arcsec"
        )


def require_overlap(images: Mapping[str, Sequence[Placed]], grid: PixelGrid, store: str) -> None:
    """Refuse bands that share no part of the sky: no source would have all of them.

    Parameters
    ----------
    images
        Those of each band, at least one.
    grid
        The mosaic's.
    store
        Its place, for messages.

    Raises
    ------
    MosaicError
        If a band has nothing on the mosaic, or nothing in common with the first one.
    """
    for band, of_band in images.items():
        if not any(_share(grid, image) for image in of_band):
            raise MosaicError(
                f"the images of band {band} lie off the mosaic of {store}; mend center_deg, or "
                "leave them out"
            )
    first, *others = images
    for band in others:
        if not any(_share(grid, *pair) for pair in product(images[first], images[band])):
            raise MosaicError(
                f"bands {first} and {band} of {store} share no part of the sky; make a mosaic of "
                "each"
            )


def _share(grid: PixelGrid, *images: Placed) -> bool:
    """Return whether images have a place of a grid in common.

    It is looked for at points spread over what their boxes have in common, however small that is.
    """
    common: Box | None = Box(0, grid.shape[0], 0, grid.shape[1])
    for image in images:
        common = common and common.intersection(image.box)
    if common is None:
        return False
    x, y = spread(common.shape)
    ra, dec = SkyGrid(grid.wcs).pixel_to_world(x + common.x0, y + common.y0)
    return bool(np.logical_and.reduce([reaches(image, ra, dec) for image in images]).any())


def reaches(image: Placed, ra_deg: FloatArray, dec_deg: FloatArray) -> npt.NDArray[np.bool_]:
    """Return which positions lie on an image.

    Parameters
    ----------
    image
        One of the mosaic's.
    ra_deg, dec_deg
        Positions, of one shape.
    """
    x, y = SkyGrid(image.exposure.wcs).world_to_pixel(ra_deg, dec_deg)
    return inside(x, y, image.exposure.shape)
