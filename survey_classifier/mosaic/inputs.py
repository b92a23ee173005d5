"""Which files make which mosaic: patterns and groups.

Owns how file patterns sort files into stores. Does not own the ``[mosaic]`` table
(``mosaic_settings``), what is in a file (``readers``) nor what is made of them (``layout``).

A pattern may hold words in braces. Each matches any text but a slash; where the name of the
store has the word too, the files of each text become a mosaic of their own::

    store = "out/tile-{tile}.zarr"
    path  = "mer/EUC_MER_BGSUB-MOSAIC-VIS_TILE{tile}-*.fits"
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from survey_classifier.errors import MosaicError
from survey_classifier.mosaic.exposure import MosaicInput
from survey_classifier.mosaic.mosaic_settings import MosaicSettings
from survey_classifier.mosaic.patterns import (
    WORD,
    fitting_files,
    fitting_stores,
    made_stores,
)
from survey_classifier.mosaic.readers import SELECT
from survey_classifier.settings import expand_path

__all__ = [
    "WORD",
    "StoreInputs",
    "grouped_inputs",
    "matching_files",
    "mosaic_stores",
    "place_text",
    "require_files",
    "stores_there",
]


@dataclass(frozen=True, slots=True)
class StoreInputs:
    """One store, and the files that it is made of."""

    store: str
    """Its place."""
    files: tuple[tuple[MosaicInput, Path], ...]
    """Each file with its settings, in the order of the inputs and then of the names."""
    superseded: tuple[str, ...] = ()
    """Names of files that were left out, as a newer version of them is there."""


def place_text(text: str, folder: Path) -> str:
    """Return the place of a store as written in a run file: a URL as it is, a path absolute.

    Parameters
    ----------
    text
        A URL, or a path relative to the run file.
    folder
        Folder of the run file.
    """
    return text if "://" in text else str(expand_path(text, folder))


def mosaic_stores(settings: MosaicSettings, folder: Path) -> list[str]:
    """Return the places of the stores of a run, sorted; those to be made among them.

    A store that was made belongs to the run as long as it is there, also without its images.

    Parameters
    ----------
    settings
        The ``[mosaic]`` table.
    folder
        What its paths are relative to.

    Raises
    ------
    MosaicError
        If there are none.
    """
    if settings.store is not None and not WORD.search(settings.store):
        return [place_text(settings.store, folder)]
    if settings.store is not None:
        found = set(stores_there(settings, folder))
        if settings.inputs:
            found |= {group.store for group in grouped_inputs(settings, folder)}
    else:
        places = [place_text(text, folder) for text in settings.stores]
        found = {place for text in places for place in fitting_stores(text)}
    if not found:
        patterns = ", ".join(settings.stores) or settings.store
        raise MosaicError(f"no store fits {patterns}; make them with the verb ingest")
    return sorted(found)


def stores_there(settings: MosaicSettings, folder: Path) -> list[str]:
    """Return the stores that were made already, whether their images are still there or not.

    Parameters
    ----------
    settings
        The ``[mosaic]`` table, with ``store``.
    folder
        What its paths are relative to.
    """
    return made_stores(place_text(str(settings.store), folder))


def grouped_inputs(
    settings: MosaicSettings, folder: Path, arrived: Container[Path] | None = None
) -> list[StoreInputs]:
    """Return the stores to be made with the files of each, sorted by place.

    Parameters
    ----------
    settings
        The ``[mosaic]`` table, with ``inputs``.
    folder
        What its paths are relative to.
    arrived
        Files that count; by default all do. Of these there may be none yet.

    Raises
    ------
    MosaicError
        If an input lacks a word of the store's name, or there is no file at all and no store.
    """
    template = place_text(str(settings.store), folder)
    words = set(WORD.findall(template))
    groups: dict[str, list[tuple[MosaicInput, Path]]] = {}
    for entry in settings.inputs:
        missing = sorted(words - set(WORD.findall(entry.path)))
        if missing:
            raise MosaicError(
                f"store = {settings.store!r} has {{{missing[0]}}}, path = {entry.path!r} (band "
                f"{entry.band}) has not; put it where the files' names differ from store to store"
            )
        for path, texts in matching_files(entry, folder):
            if arrived is not None and path not in arrived:
                continue
            store = WORD.sub(lambda match, texts=texts: texts[match[1]], template)  # type: ignore[misc]
            groups.setdefault(store, []).append((entry, path))
    if words and not groups and arrived is None and not stores_there(settings, folder):
        raise MosaicError(f"no file fits the inputs of {settings.store}; mend their paths")
    if not words:
        groups.setdefault(template, [])
    return [_newest(store, files) for store, files in sorted(groups.items())]


def _newest(store: str, files: Sequence[tuple[MosaicInput, Path]]) -> StoreInputs:
    """Leave out the files of which their survey has delivered a newer version."""
    kept: list[tuple[MosaicInput, Path]] = []
    superseded: list[str] = []
    for entry in dict.fromkeys(entry for entry, _ in files):
        paths = [path for other, path in files if other is entry]
        chosen = set(SELECT[entry.reader](paths) if entry.reader in SELECT else paths)
        kept += [(entry, path) for path in paths if path in chosen]
        superseded += [path.name for path in paths if path not in chosen]
    return StoreInputs(store, tuple(kept), tuple(superseded))


def matching_files(entry: MosaicInput, folder: Path) -> Iterable[tuple[Path, Mapping[str, str]]]:
    """Return the files that an input names or its pattern fits, with what its words stand for.

    Parameters
    ----------
    entry
        The input.
    folder
        What its path is relative to.
    """
    return fitting_files(str(expand_path(entry.path, folder)))


def require_files(groups: Sequence[StoreInputs], settings: MosaicSettings, folder: Path) -> None:
    """Refuse an input of which there is no file anywhere.

    Parameters
    ----------
    groups
        What `grouped_inputs` found.
    settings
        The ``[mosaic]`` table.
    folder
        What its paths are relative to.

    Raises
    ------
    MosaicError
        Naming the input.
    """
    used = {entry for group in groups for entry, _ in group.files}
    for entry in settings.inputs:
        if entry not in used:
            raise MosaicError(
                f"no such file: {expand_path(entry.path, folder)} (band {entry.band}); "
                "mend the path, or fetch the file"
            )
