"""The seal of a store: the digest over all that it holds, there once it is finished.

Owns setting and breaking it. Does not own the pixels nor their records (``writer``).
"""

import hashlib
import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from survey_classifier.errors import MosaicError
from survey_classifier.mosaic.place import Place
from survey_classifier.mosaic.schema import (
    ATTRIBUTE,
    DIGESTS,
    WCS_ATTRIBUTE,
    open_about,
    open_array,
    open_group,
)
from survey_classifier.words import counted

__all__ = ["Seal", "digest_of", "is_finished"]


class Seal:
    """The seal of a store that several writers, in threads and processes, may write to.

    Parameters
    ----------
    place
        Where the store lies.
    is_set
        Whether the store was sealed when it was opened.
    """

    def __init__(self, place: Place, *, is_set: bool) -> None:
        self.is_set = is_set
        """Whether it is there, as far as this writer knows."""
        self._place = place
        self._was_broken = False
        self._breaking = threading.Lock()

    def break_open(self) -> None:
        """Take the digest away, before the pixels that it was made of.

        Raises
        ------
        OSError, BaseError
            If it cannot be written.
        """
        with self._breaking:
            if self._was_broken:
                return
            # As it is now: another writer may have sealed the store since this one opened it.
            group = open_group(self._place, "r+")
            about = open_about(group, self._place)
            if about["digest"]:
                group.attrs[ATTRIBUTE] = {**about, "digest": ""}
            self.is_set, self._was_broken = False, True

    def set(self, records: Mapping[str, npt.NDArray[np.uint64]]) -> None:
        """Seal the store; one that is sealed stays as it is.

        Parameters
        ----------
        records
            Digests of the pixels of each band's shards, shape ``(row, column)``.

        Raises
        ------
        MosaicError
            If a shard was never written.
        OSError, BaseError
            If it cannot be written.
        """
        # Others may have written meanwhile, and what is open keeps its first view of the seal.
        group = open_group(self._place, "r+")
        about = open_about(group, self._place)
        self._was_broken = False
        if about["digest"]:
            return
        missing = sum(int((digests == 0).sum()) for digests in records.values())
        if missing:
            shards = counted(sum(digests.size for digests in records.values()), "shard")
            raise MosaicError(f"{self._place} lacks {missing} of {shards}; run the ingest again")
        for band, digests in records.items():
            open_array(group, f"{band}/{DIGESTS}", self._place)[:] = digests
        digest = digest_of(str(group.attrs[WCS_ATTRIBUTE]), about, records)
        group.attrs[ATTRIBUTE] = {**about, "digest": digest}
        self.is_set = True


def digest_of(
    header: str, about: dict[str, Any], records: Mapping[str, npt.NDArray[np.uint64]]
) -> str:
    """Return SHA-256 over grid, bands and shards, in the order of the bands' names.

    Parameters
    ----------
    header
        The WCS of its grid, as it is stored.
    about
        What it says of itself.
    records
        Digests of the pixels of each band's shards, shape ``(row, column)``.
    """
    fixed = {key: about[key] for key in ("schema", "shape", "territory", "quantize")}
    bands = sorted(about["bands"], key=lambda band: str(band["name"]))
    state = hashlib.sha256(json.dumps([fixed, bands]).encode())
    state.update(header.encode())
    for name in sorted(records):
        state.update(records[name].astype("<u8").tobytes())
    return state.hexdigest()


def is_finished(store: str | Path | Place) -> bool:
    """Return whether a store is sealed.

    Raises
    ------
    MosaicError
        If there is no store.
    """
    place = Place.of(store)
    return bool(open_about(open_group(place), place).get("digest"))
