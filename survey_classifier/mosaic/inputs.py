"""Which files make which mosaic: the ``[mosaic]`` table, patterns and groups.

Owns the settings of an ingest, and how file patterns sort files into stores. Does not own what
is in a file (``readers``) nor what is made of them (``layout``).

A pattern may hold words in braces. Each matches any text but a slash; where the name of the
store has the word too, the files of each text become a mosaic of their own::

    store = "out/tile-{tile}.zarr"
    path  = "mer/EUC_MER_BGSUB-MOSAIC-VIS_TILE{tile}-*.fits"
"""

import math
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from survey_classifier.errors import MosaicError
from survey_classifier.mosaic.exposure import MosaicInput
from survey_classifier.mosaic.patterns import (
    WORD,
    fitting_files,
    fitting_stores,
    made_stores,
)
from survey_classifier.mosaic.readers import SELECT
from survey_classifier.settings import Settings, expand_path

__all__ = [
    "WORD",
    "MosaicSettings",
    "StoreInputs",
    "grouped_inputs",
    "matching_files",
    "mosaic_stores",
    "place_text",
    "require_files",
    "stores_there",
]


class MosaicSettings(Settings):
    """The ``[mosaic]`` table of a run file."""

    store: str | None = None
    """Folder or URL of the Zarr store, made from ``inputs`` if it is not there; with a
    ``{word}`` that the inputs' paths have too, one store for each text that it stands for."""
    stores: tuple[str, ...] = ()
    """Finished stores instead, of which each may be a pattern such as ``tiles/*.zarr``."""
    scale_arcsec: Literal["native"] | float = "native"
    """``native``: the grid of the first input. A number: every band is resampled to it."""
    center_deg: tuple[float, float] | None = None
    """Right ascension and declination of the middle of a grid of your own."""
    size_px: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] | None = None
    """Its width and height; with ``center_deg`` and a number as ``scale_arcsec``."""
    extent: Literal["inputs", "survey"] = "inputs"
    """``inputs``: as far as the files reach. ``survey``: the whole grid that the survey's files
    are pieces of, such as an HSC tract, whether they are all there or not."""
    match_psf: bool = False
    """Whether every band is convolved to the seeing of the worst."""
    quantize: Annotated[int, Field(ge=2, le=1024)] | None = None
    """Steps per sky noise that flux is rounded to, None to keep every bit."""
    memory_mib: Annotated[int, Field(ge=64)] = 1024
    """Memory that an ingest may take for pixels."""
    bands: tuple[str, ...] | None = None
    """Bands that a run uses, where the stores have more than its checkpoint needs; None: all."""
    inputs: tuple[MosaicInput, ...] = Field(default=())
    """Image files; none are needed when the store is there."""

    @field_validator("stores", mode="before")
    @classmethod
    def _one_or_many(cls, stores: object) -> object:
        return (stores,) if isinstance(stores, str) else stores

    @field_validator("scale_arcsec")
    @classmethod
    def _positive(cls, scale: str | float) -> str | float:
        if not isinstance(scale, str) and not (math.isfinite(scale) and scale > 0):
            raise ValueError(f"a positive number of arcsec, or 'native', got {scale}")
        return scale

    @model_validator(mode="after")
    def _sound(self) -> "MosaicSettings":
        if (self.store is None) == (not self.stores):
            raise ValueError("give either store (one, made from inputs) or stores (finished ones)")
        if self.stores and self.inputs:
            raise ValueError("stores are finished mosaics: give store for one made from inputs")
        if (self.center_deg is None) != (self.size_px is None):
            raise ValueError("center_deg and size_px go together: give both or neither")
        if self.center_deg is not None:
            self._require_own_grid(*self.center_deg)
        return self

    def _require_own_grid(self, ra_deg: float, dec_deg: float) -> None:
        """Check what a grid of the user's own needs."""
        if isinstance(self.scale_arcsec, str):
            raise ValueError("center_deg and size_px need a number as scale_arcsec")
        if self.extent == "survey":
            raise ValueError("extent = 'survey' and a grid of your own exclude each other")
        if not (0 <= ra_deg < 360 and -90 < dec_deg < 90):
            raise ValueError(f"center_deg = [{ra_deg}, {dec_deg}] is no position on the sky")

    @property
    def scale(self) -> float | None:
        """The pixel scale in arcsec, None for the first input's."""
        return None if isinstance(self.scale_arcsec, str) else self.scale_arcsec


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
