"""Image files that arrive one by one: which of them are there, whole and readable.

Owns when a file counts, and which runs make the same mosaics whatever comes first. Does not own
what is made of the files (``layout``), nor when that is done (``run.watch``).

A file counts when its size and time are the same at two looks in a row, those of the files beside
it that it is read with too, and it opens. One that does not is said once, and tried again when it
changes.
"""

import glob
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from survey_classifier.errors import ConfigError, MosaicError
from survey_classifier.mosaic.exposure import MosaicInput
from survey_classifier.mosaic.inputs import WORD, matching_files
from survey_classifier.mosaic.mosaic_settings import MosaicSettings
from survey_classifier.mosaic.readers import COMPANIONS, READERS, SELECT
from survey_classifier.mosaic.readers.mer_files import fixes_tile
from survey_classifier.settings import expand_path

__all__ = ["Arrivals", "has_fixed_grid", "require_steady_grid", "require_way_into"]

Stamp = tuple[int, int]
"""Size in bytes and time of the last change in nanoseconds."""
Version = tuple[tuple[str, Stamp], ...]
"""Name and stamp of a file and of those beside it: another version of it is another value."""


class Arrivals:
    """The files of a run's inputs that count, brought up to date by each look.

    Parameters
    ----------
    settings
        The ``[mosaic]`` table, with inputs.
    folder
        What its paths are relative to.
    say
        Told in a line of each file that cannot be used.
    """

    def __init__(self, settings: MosaicSettings, folder: Path, say: Callable[[str], None]) -> None:
        self.arrived: Mapping[Path, Version] = {}
        """The files that count."""
        self.refused: dict[Path, str] = {}
        """Why others do not, although they are there."""
        self._settings, self._folder, self._say = settings, folder, say
        self._seen: dict[Path, Stamp] = {}
        self._tried: dict[Path, Version] = {}

    def look(self) -> bool:
        """Look which files there are; return whether any is another than at the last look."""
        inputs = self._inputs()
        beside = _beside(inputs)
        groups = {path: (path, *beside.get(path, ())) for path in inputs}
        now = {file: stamp for file in {file for group in groups.values() for file in group}
               if (stamp := _stamp(file)) is not None}  # fmt: skip
        before, self._seen = self._seen, now
        arrived = {}
        for path, group in groups.items():
            if all(file in now and before.get(file) == now[file] for file in group):
                version = tuple((file.name, now[file]) for file in group)
                if self._is_usable(path, version, inputs[path]):
                    arrived[path] = version
        self.refused = {path: why for path, why in self.refused.items() if path in now}
        self.arrived = arrived
        return now != before

    def is_as_seen(self, file: Path) -> bool:
        """Return whether a file is still the one of the last look."""
        return self._seen.get(file) == _stamp(file)

    @property
    def coming(self) -> set[str]:
        """Names of files that are there, but may still be growing."""
        return {path.name for path in self._seen.keys() - self.arrived.keys() - self.refused.keys()}

    def refuse(self, path: Path, reason: str) -> None:
        """Leave out a file that has arrived, until it changes.

        Parameters
        ----------
        path
            The file.
        reason
            Why, in a line.
        """
        self.refused[path] = reason
        self.arrived = {file: kept for file, kept in self.arrived.items() if file != path}
        self._say(f"{reason} (left out until the file changes)")

    def _inputs(self) -> dict[Path, list[MosaicInput]]:
        """Return the files that there are, with the inputs that they are of."""
        inputs: dict[Path, list[MosaicInput]] = {}
        for entry in self._settings.inputs:
            for path, _ in matching_files(entry, self._folder):
                inputs.setdefault(path, []).append(entry)
        return inputs

    def _is_usable(self, path: Path, version: Version, inputs: Iterable[MosaicInput]) -> bool:
        """Open a file that was not tried yet as it is."""
        if self._tried.get(path) != version:
            self._tried[path] = version
            self.refused.pop(path, None)
            try:
                for entry in inputs:
                    READERS[entry.reader](entry, path)
            except MosaicError as error:
                self.refuse(path, str(error))
        return path not in self.refused


def _beside(inputs: Mapping[Path, Iterable[MosaicInput]]) -> dict[Path, tuple[Path, ...]]:
    """Return the files that others are read with."""
    beside: dict[Path, tuple[Path, ...]] = {}
    for reader, companions in COMPANIONS.items():
        beside |= companions(
            path for path, of_path in inputs.items() if any(e.reader == reader for e in of_path)
        )
    return beside


def _stamp(file: Path) -> Stamp | None:
    """Return size and time of a file, None if it is gone."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def has_fixed_grid(settings: MosaicSettings) -> bool:
    """Return whether the grid of a store does not depend on how far its files reach.

    Parameters
    ----------
    settings
        The ``[mosaic]`` table.
    """
    return settings.center_deg is not None or settings.extent == "survey"


def require_steady_grid(settings: MosaicSettings) -> None:
    """Refuse a run whose mosaics would depend on the order in which files arrive.

    Either the grid is fixed, or a store has one file a band, and its grid is known when all bands
    are there.

    Parameters
    ----------
    settings
        The ``[mosaic]`` table.

    Raises
    ------
    ConfigError
        With the remedy.
    """
    if settings.store is None or not settings.inputs:
        raise ConfigError(
            "there is nothing to watch for: give mosaic.store and [[mosaic.inputs]] to make it of"
        )
    if has_fixed_grid(settings):
        return
    remedy = (
        "the grid would depend on what arrives first; set extent = 'survey' (HSC), or center_deg, "
        "size_px and scale_arcsec, or put a {word} of the path in store so that each store has one "
        "file a band"
    )
    band, n_inputs = Counter(entry.band for entry in settings.inputs).most_common(1)[0]
    if n_inputs > 1:
        raise ConfigError(f"band {band} of {settings.store} has {n_inputs} inputs: {remedy}")
    words = set(WORD.findall(settings.store))
    for entry in settings.inputs:
        # A word of the store stands for one text in each store.
        rest = WORD.sub(lambda match: "" if match[1] in words else "*", entry.path)
        if glob.has_magic(rest) and entry.reader not in SELECT:
            raise ConfigError(f"path = {entry.path!r} may fit several files a store: {remedy}")
        if entry.reader in SELECT and not fixes_tile(_as_of_one_store(entry.path, words)):
            raise ConfigError(
                f"path = {entry.path!r} may fit several tiles a store, and the grid would be that "
                "of the first to come; put TILE{tile}- in path and {tile} in store, or the number "
                "of one tile in path"
            )


def _as_of_one_store(path: str, words: Container[str]) -> str:
    """Return a pattern with a number of nine digits for each word of the store, * for others."""
    return WORD.sub(lambda match: "0" * 9 if match[1] in words else "*", path)


def require_way_into(watched: Path, settings: MosaicSettings, folder: Path) -> None:
    """Refuse a folder in which no input looks for files.

    Parameters
    ----------
    watched
        The folder.
    settings
        The ``[mosaic]`` table.
    folder
        What its paths are relative to.

    Raises
    ------
    ConfigError
        If it is no folder, or the paths of all inputs lead elsewhere.
    """
    if not watched.is_dir():
        raise ConfigError(f"no such folder: {watched}; make it, or name the one that files come to")
    place = watched.resolve().parts
    if any(_leads_into(place, expand_path(e.path, folder).parts) for e in settings.inputs):
        return
    paths = ", ".join(dict.fromkeys(entry.path for entry in settings.inputs))
    raise ConfigError(
        f"no input looks into {watched}, the paths are {paths}; mend them, or watch another folder"
    )


def _leads_into(place: Sequence[str], path: Sequence[str]) -> bool:
    """Return whether a pattern may fit files within a folder, both by their parts."""
    if "**" in path:
        path = path[: path.index("**")]
    elif len(path) <= len(place):
        return False
    pairs = zip(place, path, strict=False)
    return all(name == part or fnmatchcase(name, WORD.sub("*", part)) for name, part in pairs)
