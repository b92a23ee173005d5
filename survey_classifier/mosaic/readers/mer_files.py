"""The files of Euclid's merged survey (MER): which belong together, and which are newest.

Owns their names, and the listing of folders. Does not own what is in them (``euclid``).

A MER tile of one band is three files of one folder, each with its own hash and time-stamp::

    EUC_MER_BGSUB-MOSAIC-NIR-Y_TILE102018665-1A2B3C_20241024T210115.034411Z_00.00.fits
    EUC_MER_MOSAIC-NIR-Y-RMS_TILE102018665-4D5E6F_20241018T151216.371028Z_00.00.fits
    EUC_MER_MOSAIC-NIR-Y-FLAG_TILE102018665-7A8B9C_20241018T151216.371049Z_00.00.fits

Files made again have a newer time-stamp; the newest of each kind is meant.
"""

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from survey_classifier.errors import MosaicError

__all__ = ["MER_NAME", "beside", "companions", "fixes_tile", "newest"]

MER_NAME = re.compile(
    r"EUC_MER_(?:BGSUB-MOSAIC-(?P<band>[\w-]+?)|MOSAIC-(?P<of>[\w-]+)-(?P<kind>RMS|FLAG))"
    r"_TILE(?P<tile>\d{9})-[0-9A-Za-z]+_(?P<time>\d{8}T\d{6}(?:\.\d+)?)Z_\d\d\.\d\d\.fits"
    r"(?:\.(?:fz|gz|bz2))?"
)
ONE_TILE = re.compile(r"(?:TILE|/|^)\d{9}[-/]")
"""A tile's number in a path, in a name or as a folder; a star beside it could stand for more."""
SETTLED_NS = 2_000_000_000
"""A folder that changed more recently may change again without another time-stamp."""
Plane = tuple[str, str, Path]
"""Kind (``RMS`` or ``FLAG``), time-stamp and file."""
Planes = Mapping[tuple[str, str], Sequence[Plane]]
"""By band and tile."""


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


def beside(path: Path, band: str, tile: str) -> dict[str, Path]:
    """Return the newest file of each kind that belongs to an image.

    Parameters
    ----------
    path
        The image.
    band, tile
        Of its name.

    Returns
    -------
    dict
        By kind, ``RMS`` or ``FLAG``; what is not there is left out.

    Raises
    ------
    MosaicError
        If two files of a kind have the same time-stamp.
    """
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
