"""Reading images of the HSC and LSST pipelines: patches of coadds, cut-outs, exposures.

Owns which HDU is what, and the zero point ``FLUXMAG0``. Does not own the place of a patch in the
sky map (``hsc_patch``), the meaning of mask planes (``hsc_mask``) nor FITS (``fits``,
``fits_file``).

A file holds image, mask and variance in HDUs of their own, plain or compressed by tiles, and
tables that only the pipeline reads.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from astropy.io import fits

from survey_classifier.errors import MosaicError
from survey_classifier.geometry import Box
from survey_classifier.mosaic.exposure import NOISE_KEYS, MosaicInput, PixelGrid, Territory, Window
from survey_classifier.mosaic.pixels import MaskBit
from survey_classifier.mosaic.readers.calibration import stated_zero_point
from survey_classifier.mosaic.readers.filters import filters_of, require_band
from survey_classifier.mosaic.readers.fits import FitsExposure, open_fits
from survey_classifier.mosaic.readers.fits_file import (
    find_plane,
    image_shape,
    number,
    opened,
    opened_to_describe,
)
from survey_classifier.mosaic.readers.hsc_mask import mask_bits, translated
from survey_classifier.mosaic.readers.hsc_patch import TractPatch, tract_patch
from survey_classifier.mosaic.readers.piece import (
    FLAWS_UNKNOWN,
    NOISE_UNKNOWN,
    SurveyPiece,
    emptied,
    refuse_settings,
)

__all__ = ["HscExposure", "open_hsc"]

FLUXMAG0 = "FLUXMAG0"
"""Counts of a source of magnitude 0; 0 or absent where the calibration is elsewhere."""
PLAIN_IMAGE = "in overlaps patches come first, then the image whose rim is farther"
ROLES = ("IMAGE", "MASK", "VARIANCE")
OWN_KEYS = (*NOISE_KEYS, "hdu", "mask_hdu", "coverage_hdu")
"""Settings that this reader has its own answer to."""


@dataclass(frozen=True)
class HscExposure(SurveyPiece):
    """An image of the HSC or LSST pipeline; see `Exposure`."""

    image: FitsExposure
    mask_hdu: int | None
    mask_bits: tuple[int, ...]
    """What each bit of the file's mask becomes, see ``hsc_mask``."""
    patch: TractPatch | None

    @property
    def core(self) -> Box | None:
        """See `Exposure.core`: the inner region of the patch."""
        return None if self.patch is None else self.patch.core

    @property
    def territory(self) -> Territory | None:
        """See `Exposure.territory`: the patch's tract."""
        return None if self.patch is None else self.patch.tract

    @property
    def survey_grid(self) -> PixelGrid | None:
        """See `Exposure.survey_grid`: the patch's tract."""
        return None if self.patch is None else self.patch.grid

    @property
    def lacks(self) -> tuple[str, ...]:
        """See `Exposure.lacks`."""
        has = {
            f"a variance plane ({NOISE_UNKNOWN})": self.band.has_variance,
            f"a mask plane ({FLAWS_UNKNOWN})": self.band.has_mask,
            f"a patch of the sky map ({PLAIN_IMAGE})": self.patch is not None,
        }
        return tuple(what for what, is_there in has.items() if not is_there)

    def read(self, box: Box) -> Window:
        """See `Exposure.read`.

        Raises
        ------
        MosaicError
            If the file cannot be read there.
        """
        with opened(self.path) as hdus:
            window = self.image.window(hdus, box)
            if self.mask_hdu is None:
                return window
            mask = translated(self.image.plane(hdus, self.mask_hdu, box), self.mask_bits)
        np.bitwise_or(window.mask, mask, out=window.mask)
        return emptied(window, (window.mask & np.uint8(MaskBit.NO_DATA)) != 0)


def open_hsc(settings: MosaicInput, path: Path) -> HscExposure:
    """Check a file of the HSC or LSST pipeline and describe its image.

    Parameters
    ----------
    settings
        The input's table of the run file; its zero point counts where the file does not say it.
    path
        One file of it. Cut-outs may lack mask and variance.

    Raises
    ------
    MosaicError
        As `open_fits` does; also if the mask's planes are not said, or name and WCS give the patch
        different places in the sky map.
    """
    refuse_settings(settings, OWN_KEYS, "finds image, mask and variance itself")
    with opened_to_describe(path) as hdus:
        planes = _planes(hdus, path)
        header, shape = hdus[planes.image].header, hdus[planes.image].shape
        bits: tuple[int, ...] = ()
        if find_plane(hdus, planes.mask, shape, path) is not None:
            bits = mask_bits(hdus[planes.mask].header, f"HDU {planes.mask} of {path}")
        zero_point = _zero_point((header, hdus[0].header), path)
        said = [*filters_of(header), *filters_of(hdus[0].header)]
        require_band(settings.band, said, path, "header")
    if zero_point is None and settings.unit == "nJy":
        _require_calibration(header, settings, path)
    chosen: dict[str, Any] = {"hdu": planes.image, "variance_hdu": planes.variance}
    if zero_point is not None:
        chosen["zero_point"] = zero_point
    image = open_fits(settings.model_copy(update=chosen), path)
    patch = tract_patch(path, header, image.wcs, shape, settings)
    identity = repr(("hsc", image.identity, planes.mask, bits, patch and (patch.name, patch.core)))
    slot = image.slot if patch is None else patch.name
    band = replace(image.band, has_mask=planes.mask is not None)
    return HscExposure(image, band, identity, slot, planes.mask, bits, patch)


class _Planes(NamedTuple):
    """Numbers of the HDUs of a file."""

    image: int
    mask: int | None
    variance: int | None


def _planes(hdus: fits.HDUList, path: Path) -> _Planes:
    """Return which HDU is what: by its card EXTTYPE or EXTNAME, else by order and kind."""
    # Planes that a cut-out leaves out have no pixels.
    images = [index for index, hdu in enumerate(hdus) if len(image_shape(hdu) or ()) == 2]
    named = {_role(hdus[index].header): index for index in reversed(images)}
    if "IMAGE" in named:
        return _Planes(named["IMAGE"], named.get("MASK"), named.get("VARIANCE"))
    floats = [index for index in images if hdus[index].header["BITPIX"] < 0]
    if not floats:
        raise MosaicError(
            f"{path} holds no image of the HSC or LSST pipeline (an HDU of floats, or of EXTTYPE "
            "IMAGE); name another file, or take reader 'fits'"
        )
    like = [i for i in images if i > floats[0] and hdus[i].shape == hdus[floats[0]].shape]
    mask = next((index for index in like if index not in floats), None)
    variance = next((index for index in like if index in floats), None)
    return _Planes(floats[0], mask, variance)


def _role(header: fits.Header) -> str:
    """Return what a header says that its HDU is, '' if that is none of `ROLES`."""
    said = (str(header.get(card, "")).strip().upper() for card in ("EXTTYPE", "EXTNAME"))
    return next((name for name in said if name in ROLES), "")


def _zero_point(headers: tuple[fits.Header, ...], path: Path) -> float | None:
    """Return the magnitude of one count by FLUXMAG0, None if the file does not say it so."""
    for header in headers:
        value = number(header.get(FLUXMAG0, 0.0))
        if not (np.isfinite(value) and value >= 0):
            raise MosaicError(
                f"the zero point of {path} is no number ({FLUXMAG0} = {header[FLUXMAG0]!r}); "
                "mend it, or take reader 'fits' with zero_point"
            )
        if value > 0:
            return float(2.5 * np.log10(value))
    return None


def _require_calibration(header: fits.Header, settings: MosaicInput, path: Path) -> None:
    """Refuse an image of unknown zero point, in the words of its survey."""
    if stated_zero_point(header, settings, f"the image of {path}") is None:
        raise MosaicError(
            f"{path} does not say its zero point ({FLUXMAG0} is 0, or is not there); set "
            "zero_point, such as zero_point = 27.0, which is that of HSC's coadds"
        )
