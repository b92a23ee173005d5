"""Reading Euclid images: Early Release Observations and tiles of the merged survey (MER).

Owns their conventions: what stands for no data, which keyword is the zero point, and what flags
mean. Does not own which files belong to a tile (``mer_files``) nor FITS (``fits``, ``fits_file``).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from survey_classifier.errors import MosaicError
from survey_classifier.geometry import Box
from survey_classifier.mosaic.exposure import NOISE_KEYS, MosaicInput, Window
from survey_classifier.mosaic.pixels import MaskBit
from survey_classifier.mosaic.readers.calibration import Noise
from survey_classifier.mosaic.readers.filters import require_band
from survey_classifier.mosaic.readers.fits import FitsExposure, open_fits
from survey_classifier.mosaic.readers.fits_file import (
    find_image,
    opened,
    opened_to_describe,
    sampled_digest,
)
from survey_classifier.mosaic.readers.mer_files import MER_NAME, beside
from survey_classifier.mosaic.readers.piece import (
    FLAWS_UNKNOWN,
    NOISE_UNKNOWN,
    SurveyPiece,
    emptied,
    refuse_settings,
)
from survey_classifier.mosaic.readers.section import section_of

__all__ = [
    "EroExposure",
    "MerExposure",
    "mask_of_flags",
    "open_euclid_ero",
    "open_euclid_mer",
]

ERO_NAME = re.compile(r"Euclid-(VIS|NISP-[YJH])-.*")
FLAGGED_BANDS = re.compile(r"VIS|NIR-[YJH]")
"""Bands whose flags are Euclid's own; those of ground-based cameras have other tables."""
FLAGS: Mapping[MaskBit, tuple[int, ...]] = MappingProxyType(
    {
        MaskBit.NO_DATA: (0, 22),  # INVALID, NO_DATA
        MaskBit.BAD: (1, 2, 7),  # HOT, COLD, BAD_COLUMN
        MaskBit.SATURATED: (3,),  # SAT
        MaskBit.COSMIC_RAY: (4,),  # COSMIC
        MaskBit.SUSPECT: (5, 14),  # GHOST, SCATLIGHT
        MaskBit.BRIGHT_STAR: (19,),  # SATURATEDSTAR
    }
)
"""Bits of a flag map by what they become; bits that are not named here (such as those of detected
objects) are no flaws. The table is that of the VIS flag map's product description; bits of the NISP
mosaics are read by it, too, and may mean something else."""


@dataclass(frozen=True)
class EroExposure(SurveyPiece):
    """An Early Release Observation: one image, 0 where there is no data; see `Exposure`."""

    def read(self, box: Box) -> Window:
        """See `Exposure.read`."""
        window = self.image.read(box)
        return emptied(window, window.flux == 0)


def open_euclid_ero(settings: MosaicInput, path: Path) -> EroExposure:
    """Check an Early Release Observation and describe its image.

    Parameters
    ----------
    settings
        The input's table of the run file; the zero point is the keyword ``ZP_STACK`` unless it
        names another.
    path
        One file of it.

    Raises
    ------
    MosaicError
        As `open_fits` does; also if the name is that of another band's image.
    """
    match = ERO_NAME.fullmatch(path.name)
    if match is not None:
        require_band(settings.band, [match[1]], path, "name")
    keyword = settings.zero_point_keyword or "ZP_STACK"
    image = open_fits(settings.model_copy(update={"zero_point_keyword": keyword}), path)
    return EroExposure(image, image.band, repr(("euclid-ero", image.identity)), image.slot)


@dataclass(frozen=True)
class MerExposure(SurveyPiece):
    """One band of a MER tile, with the noise and flags of the files beside it; see `Exposure`."""

    image: FitsExposure
    rms: Path | None
    """File of the noise's standard deviation in counts, None if there is none."""
    flags: Path | None
    """File of the flags, None if there is none that this reader understands."""
    has_own_flags: bool
    """Whether Euclid took the band, so that its flags would be understood."""

    @property
    def files(self) -> tuple[Path, ...]:
        """See `Exposure.files`."""
        return (self.path, *(file for file in (self.rms, self.flags) if file is not None))

    @property
    def lacks(self) -> tuple[str, ...]:
        """See `Exposure.lacks`."""
        rms = () if self.rms else (f"an RMS file beside it ({NOISE_UNKNOWN})",)
        if self.flags is not None:
            return rms
        own = "a FLAG file beside it" if self.has_own_flags else "flags by Euclid's own table"
        return (*rms, f"{own} ({FLAWS_UNKNOWN})")

    def read(self, box: Box) -> Window:
        """See `Exposure.read`.

        Raises
        ------
        MosaicError
            If one of the files cannot be read there.
        """
        # Where nothing was observed the RMS map of a tile holds 1e16, and the image 0.
        noise: Noise | None = None if self.rms is None else ("rms", self._plane(self.rms, box))
        with opened(self.path) as hdus:
            window = self.image.window(hdus, box, noise)
        if noise is None:
            window.mask[window.flux == 0] |= np.uint8(MaskBit.NO_DATA)
        if self.flags is not None:
            mask = mask_of_flags(self._plane(self.flags, box))
            np.bitwise_or(window.mask, mask, out=window.mask)
        return emptied(window, (window.mask & np.uint8(MaskBit.NO_DATA)) != 0)

    def _plane(self, path: Path, box: Box) -> npt.NDArray[Any]:
        """Return a window of the image of a file beside this one."""
        with opened(path) as hdus:
            return section_of(hdus, find_image(hdus, None, path), box, self.shape, path)


def open_euclid_mer(settings: MosaicInput, path: Path) -> MerExposure:
    """Check a MER tile's background-subtracted image and describe it.

    Noise (``RMS``) and flags (``FLAG``) are looked for in the image's folder. Without the first
    the variance is not known, without the second no pixel has a flag. Flags of bands that other
    telescopes took are not read: their bits mean something else.

    Parameters
    ----------
    settings
        The input's table of the run file.
    path
        The image, ``EUC_MER_BGSUB-MOSAIC-...``.

    Raises
    ------
    MosaicError
        As `open_fits` does; also if the name is not that of a MER image of the band, if two files
        of noise or flags have the same time-stamp, or if they are not of the image's shape.
    """
    reason = "finds noise and flags in the files beside the image"
    refuse_settings(settings, (*NOISE_KEYS, "mask_hdu"), reason)
    match = MER_NAME.fullmatch(path.name)
    if match is None or match["band"] is None:
        raise MosaicError(
            f"{path} is no image of a MER tile by its name; let path fit only "
            "EUC_MER_BGSUB-MOSAIC-<band>_TILE<number>-<hash>_<time>Z_00.00.fits, or take reader "
            "'fits'"
        )
    require_band(settings.band, [match["band"]], path, "name")
    keyword = settings.zero_point_keyword or "MAGZERO"
    image = open_fits(settings.model_copy(update={"zero_point_keyword": keyword}), path)
    planes = beside(path, match["band"], match["tile"])
    rms = _described(planes.get("RMS"), image.shape, path)
    known = FLAGGED_BANDS.fullmatch(match["band"]) is not None
    flags = _described(planes.get("FLAG") if known else None, image.shape, path)
    digests = [file and (file.name, sampled_digest(file)) for file in (rms, flags)]
    identity = repr(("euclid-mer", image.identity, digests))
    band = replace(image.band, has_variance=rms is not None, has_mask=flags is not None)
    return MerExposure(image, band, identity, f"TILE{match['tile']}", rms, flags, known)


def mask_of_flags(flags: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Return `MaskBit` values of Euclid's flags.

    Parameters
    ----------
    flags
        Integers of any shape.
    """
    wide = flags.astype(np.int64)  # a file of few flags may hold bytes
    mask = np.zeros(flags.shape, dtype=np.uint8)
    for bit, positions in FLAGS.items():
        mask[(wide & sum(1 << position for position in positions)) != 0] |= np.uint8(bit)
    return mask


def _described(plane: Path | None, shape: tuple[int, int], image: Path) -> Path | None:
    """Return a plane's file after a look at its header, None if there is no file."""
    if plane is None:
        return None
    with opened_to_describe(plane) as hdus:
        hdu = hdus[find_image(hdus, None, plane)]
        if hdu.shape != shape:
            raise MosaicError(
                f"{plane} has shape {hdu.shape}, its image {image.name} {shape}; fetch both again"
            )
        if "-FLAG_" in plane.name and hdu.header["BITPIX"] < 0:
            raise MosaicError(f"{plane} holds floats, not flags; fetch it again")
    return plane
