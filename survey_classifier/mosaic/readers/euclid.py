"""Reading Euclid images: Early Release Observations and tiles of the merged survey (MER).

Owns their conventions: what stands for no data, which keyword is the zero point, which files go
with a tile's image, and what its flags mean. Does not own FITS (``fits``, ``fits_file``).

A MER tile of one band is three files of one folder, each with its own hash and time-stamp::

    EUC_MER_BGSUB-MOSAIC-NIR-Y_TILE102018665-1A2B3C_20241024T210115.034411Z_00.00.fits
    EUC_MER_MOSAIC-NIR-Y-RMS_TILE102018665-4D5E6F_20241018T151216.371028Z_00.00.fits
    EUC_MER_MOSAIC-NIR-Y-FLAG_TILE102018665-7A8B9C_20241018T151216.371049Z_00.00.fits

Files made again have a newer time-stamp; the newest of each kind is meant.
"""

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from survey_classifier.errors import MosaicError
from survey_classifier.geometry import Box
from survey_classifier.mosaic.exposure import MosaicInput, Window
from survey_classifier.mosaic.pixels import MaskBit
from survey_classifier.mosaic.readers.calibration import calibrated, njy_per_count
from survey_classifier.mosaic.readers.fits import open_fits
from survey_classifier.mosaic.readers.fits_file import (
    find_image,
    opened,
    opened_to_describe,
    sampled_digest,
    section,
)
from survey_classifier.mosaic.readers.piece import (
    NOISE_KEYS,
    SurveyPiece,
    emptied,
    refuse_settings,
)

__all__ = [
    "EroExposure",
    "MerExposure",
    "companions",
    "fixes_tile",
    "mask_of_flags",
    "newest",
    "open_euclid_ero",
    "open_euclid_mer",
]

MER_NAME = re.compile(
    r"EUC_MER_(?:BGSUB-MOSAIC-(?P<band>[\w-]+?)|MOSAIC-(?P<of>[\w-]+)-(?P<kind>RMS|FLAG))"
    r"_TILE(?P<tile>\d{9})-[0-9A-Za-z]+_(?P<time>\d{8}T\d{6}(?:\.\d+)?)Z_\d\d\.\d\d\.fits"
    r"(?:\.(?:fz|gz|bz2))?"
)
ONE_TILE = re.compile(r"(?:TILE|/|^)\d{9}[-/]")
"""A tile's number in a path, in a name or as a folder; a star beside it could stand for more."""
FLAGGED_BANDS = re.compile(r"VIS|NIR-[YJH]")
"""Bands whose flags are Euclid's own; those of ground-based cameras have other tables."""
SETTLED_NS = 2_000_000_000
"""A folder that changed more recently may change again without another time-stamp."""
UNKNOWN_RMS = 1e15
"""Where nothing was observed the RMS map of a tile holds 1e16, and the image 0."""
Plane = tuple[str, str, Path]
"""Kind (``RMS`` or ``FLAG``), time-stamp and file."""
Planes = Mapping[tuple[str, str], Sequence[Plane]]
"""By band and tile."""
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
        As `open_fits` does.
    """
    keyword = settings.zero_point_keyword or "ZP_STACK"
    image = open_fits(settings.model_copy(update={"zero_point_keyword": keyword}), path)
    return EroExposure(image, image.band, repr(("euclid-ero", image.identity)), image.slot)


@dataclass(frozen=True)
class MerExposure(SurveyPiece):
    """One band of a MER tile, with the noise and flags of the files beside it; see `Exposure`."""

    rms: Path | None
    """File of the noise's standard deviation in counts, None if there is none."""
    flags: Path | None
    """File of the flags, None if there is none that this reader understands."""

    @property
    def files(self) -> tuple[Path, ...]:
        """See `Exposure.files`."""
        return (self.path, *(file for file in (self.rms, self.flags) if file is not None))

    def read(self, box: Box) -> Window:
        """See `Exposure.read`.

        Raises
        ------
        MosaicError
            If one of the files cannot be read there.
        """
        window = self.image.read(box)
        if self.rms is None:
            window.mask[window.flux == 0] |= np.uint8(MaskBit.NO_DATA)
        else:
            rms = _plane(self.rms, box)
            window.mask[rms >= UNKNOWN_RMS] |= np.uint8(MaskBit.NO_DATA)
            # The flux is in the band's unit already, so the noise must be, too.
            noise = rms * njy_per_count(self.band.zero_point)
            window = calibrated(window.flux, 1.0, window.mask, ("rms", noise))
        if self.flags is not None:
            mask = mask_of_flags(_plane(self.flags, box))
            np.bitwise_or(window.mask, mask, out=window.mask)
        return emptied(window, (window.mask & np.uint8(MaskBit.NO_DATA)) != 0)


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
        As `open_fits` does; also if the name is not a MER image's, if two files of noise or flags
        have the same time-stamp, or if they are not of the image's shape.
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
    keyword = settings.zero_point_keyword or "MAGZERO"
    image = open_fits(settings.model_copy(update={"zero_point_keyword": keyword}), path)
    beside = _beside(path, match["band"], match["tile"])
    rms = _described(beside.get("RMS"), image.shape, path)
    known = FLAGGED_BANDS.fullmatch(match["band"]) is not None
    flags = _described(beside.get("FLAG") if known else None, image.shape, path)
    digests = [file and (file.name, sampled_digest(file)) for file in (rms, flags)]
    identity = repr(("euclid-mer", image.identity, digests))
    band = replace(image.band, has_variance=rms is not None)
    return MerExposure(image, band, identity, f"TILE{match['tile']}", rms, flags)


def newest(paths: Sequence[Path]) -> list[Path]:
    """Return the images of MER tiles without those that were made again.

    Parameters
    ----------
    paths
        Files, in any order.

    Returns
    -------
    list of Path
        In the same order; of the images of one tile and band, those of the newest time-stamp.
        What is no image of a MER tile by its name stays.
    """
    latest: dict[tuple[str, str], str] = {}
    keyed = [(path, MER_NAME.fullmatch(path.name)) for path in paths]
    for _, match in keyed:
        if match is not None and match["band"] is not None:
            key = match["band"], match["tile"]
            latest[key] = max(latest.get(key, ""), match["time"])
    return [
        path
        for path, match in keyed
        if match is None
        or match["band"] is None
        or latest[match["band"], match["tile"]] == match["time"]
    ]


def companions(paths: Iterable[Path]) -> dict[Path, tuple[Path, ...]]:
    """Return the files of noise and flags beside images of MER tiles, of any time-stamp.

    Each folder is listed once, so this is quick for a whole survey.

    Parameters
    ----------
    paths
        Images, in any order.

    Returns
    -------
    dict
        Of every image, the files that it may be read with.
    """
    keyed = [(path, MER_NAME.fullmatch(path.name)) for path in paths]
    planes = {folder: _planes(folder) for folder in {path.parent for path, _ in keyed}}
    return {
        path: ()
        if match is None
        else tuple(file for *_, file in planes[path.parent].get((match["band"], match["tile"]), ()))
        for path, match in keyed
    }


def fixes_tile(pattern: str) -> bool:
    """Return whether a pattern of paths fits images of one MER tile only.

    Parameters
    ----------
    pattern
        With the tile's number, if it has one, after ``TILE`` or as the name of a folder.
    """
    return ONE_TILE.search(pattern) is not None


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


def _planes(folder: Path) -> Planes:
    """Return the files of noise and flags in a folder, which is listed when it has changed."""
    changed_ns = folder.stat().st_mtime_ns if folder.is_dir() else 0
    if abs(time.time_ns() - changed_ns) < SETTLED_NS:
        return _listed(folder)
    return _listed_once(folder, changed_ns)


@lru_cache(maxsize=16)
def _listed_once(folder: Path, changed_ns: int) -> Planes:  # noqa: ARG001 - part of the key
    return _listed(folder)


def _listed(folder: Path) -> Planes:
    """Return the files of noise and flags in a folder."""
    planes: dict[tuple[str, str], list[Plane]] = {}
    for file in sorted(folder.glob("EUC_MER_MOSAIC-*_TILE*")):
        match = MER_NAME.fullmatch(file.name)
        if match is not None and match["of"] is not None:
            plane = match["kind"], match["time"], file
            planes.setdefault((match["of"], match["tile"]), []).append(plane)
    return planes


def _beside(path: Path, band: str, tile: str) -> dict[str, Path]:
    """Return the newest file of each kind that belongs to an image."""
    found: dict[str, list[tuple[str, Path]]] = {}
    for kind, stamp, file in _planes(path.parent).get((band, tile), ()):
        found.setdefault(kind, []).append((stamp, file))
    for kind, files in found.items():
        last = max(time for time, _ in files)
        same = [file for time, file in files if time == last]
        if len(same) > 1:
            raise MosaicError(
                f"{path} has two {kind} files of one time-stamp, {same[0].name} and "
                f"{same[1].name}; take one away"
            )
    return {kind: max(files)[1] for kind, files in found.items()}


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


def _plane(path: Path, box: Box) -> npt.NDArray[Any]:
    """Return a window of the image of a file."""
    with opened(path) as hdus:
        return section(hdus[find_image(hdus, None, path)], box)
