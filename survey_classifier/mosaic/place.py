"""Where a store lies: a folder of this machine, or a URL of an object store.

Owns paths and URLs of stores and what can be asked of either kind. Does not own what is in a
store (``store``), how it is written (``writer``) nor the clients of object stores (``objects``).

``s3://`` and ``gs://`` take credentials, region and endpoint from the environment, as the
surveys' own tools do: ``AWS_ACCESS_KEY_ID``, ``AWS_ENDPOINT_URL``, ``AWS_SKIP_SIGNATURE`` for
public buckets, and so on. ``http(s)://`` can be read only.
"""

import glob
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import obstore
from filelock import Timeout
from obstore.exceptions import BaseError, NotFoundError
from zarr.abc.store import Store
from zarr.storage import LocalStore, ObjectStore

from survey_classifier.errors import MosaicError
from survey_classifier.files import lock
from survey_classifier.mosaic.objects import (
    FIRST_ANSWER_S,
    client,
    has_object,
    reason,
    unreachable,
)

__all__ = ["READ_FAILURES", "ROOT", "WRITE_FAILURES", "Place", "reason"]

WRITE_FAILURES = (OSError, RuntimeError, BaseError)
"""What the file system, the codecs and the object stores raise when bytes cannot be kept."""
READ_FAILURES = (*WRITE_FAILURES, ValueError)
"""The same, when they cannot be had or are not what was written."""
ROOT = "zarr.json"
"""The file that a group has, and that is written last when a store is made."""
SCHEMES = ("s3", "gs", "http", "https")
ID = "[0-9a-f]" * 32
"""Pattern of the unique part of a temporary name."""


@dataclass(frozen=True, slots=True)
class Place:
    """A folder or a URL, where a store is or will be; cheap, and can be pickled."""

    text: str
    """Path, or URL without a slash at its end."""

    def __str__(self) -> str:
        return self.text

    @classmethod
    def of(cls, place: "str | Path | Place") -> "Place":
        """Return the place of a path or URL.

        Raises
        ------
        MosaicError
            If it is a URL of a kind that is not known.
        """
        if isinstance(place, Place):
            return place
        text = str(place)
        scheme, separator, _ = text.partition("://")
        if not separator:
            return cls(str(Path(text)))
        if scheme not in SCHEMES:
            raise MosaicError(
                f"{text}: stores lie in folders or at {', '.join(SCHEMES)} URLs, not at {scheme}://"
            )
        return cls(text.rstrip("/"))

    @property
    def name(self) -> str:
        """Last part of the path, without ``.zarr``."""
        return self.text.rsplit("/", 1)[-1].removesuffix(".zarr")

    @property
    def folder(self) -> Path | None:
        """The folder on this machine, None for a URL."""
        return None if "://" in self.text else Path(self.text)

    @property
    def can_list(self) -> bool:
        """Whether `names` and `files` work."""
        return not self.text.startswith("http")

    def exists(self) -> bool:
        """Return whether something is there: for a URL, a group.

        Raises
        ------
        MosaicError
            If the object store does not answer or refuses.
        """
        if self.folder is not None:
            return self.folder.exists()
        return has_object(self.text, ROOT, wait_s=FIRST_ANSWER_S)

    def has(self, file: str) -> bool:
        """Return whether a file of the store is there; its path is relative to the place.

        Raises
        ------
        MosaicError
            If the object store does not answer or refuses.
        """
        if self.folder is not None:
            return (self.folder / file).is_file()
        return has_object(self.text, file)

    def names(self, prefix: str = "") -> set[str]:
        """Return the names of files and folders in a folder of the store, which may be absent.

        Raises
        ------
        MosaicError
            If the object store does not answer or refuses.
        """
        if self.folder is not None:
            folder = self.folder / prefix
            return {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        try:
            found = obstore.list_with_delimiter(client(self.text), prefix or None)
        except BaseError as error:
            raise unreachable(self.text, reason(error)) from error
        paths = [*found["common_prefixes"], *(item["path"] for item in found["objects"])]
        return {path.rsplit("/", 1)[-1] for path in paths}

    def files(self, prefix: str) -> set[str]:
        """Return the paths of all files under a folder of the store, relative to the place.

        Raises
        ------
        MosaicError
            If the object store does not answer or refuses.
        """
        if self.folder is not None:
            return set(_walked(self.folder, prefix))
        try:
            pages = obstore.list(client(self.text), prefix)
            return {item["path"] for page in pages for item in page}
        except BaseError as error:
            raise unreachable(self.text, reason(error)) from error

    def open(self, mode: Literal["r", "r+"]) -> Store:
        """Return the place as Zarr's own store object.

        Raises
        ------
        MosaicError
            If it is to be written but can only be read.
        """
        if self.folder is not None:
            return LocalStore(self.folder, read_only=mode == "r")
        if mode != "r":
            self._require_writable()
        return ObjectStore(client(self.text), read_only=mode == "r")

    def _require_writable(self) -> None:
        """Refuse a web server."""
        if not self.can_list:
            raise MosaicError(f"{self} can only be read; name a folder or an s3:// URL to write")

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Keep a folder for one process at a time, by a lock beside it; a URL is not locked.

        What a killed `create` left beside it is removed first.

        Raises
        ------
        MosaicError
            If another process has it, or the folder that it lies in cannot be written to.
        """
        if self.folder is None:
            yield
            return
        file = self.folder.with_name(f".{self.folder.name}.lock")
        try:
            held = lock(file)
        except Timeout as error:
            raise MosaicError(
                f"another process ingests into {self}; wait for it, or name another store"
            ) from error
        except OSError as error:
            raise MosaicError(
                f"cannot make or lock {self}: {reason(error)}; name a store in a folder that can "
                "be written to"
            ) from error
        with held:
            for path in self.folder.parent.glob(_unfinished(glob.escape(self.folder.name), ID)):
                shutil.rmtree(path, ignore_errors=True)
            yield

    def create(self, files: Mapping[str, bytes]) -> None:
        """Write the files of a new store, which appears complete or not at all.

        Parameters
        ----------
        files
            Content by path; `ROOT` is one of them.

        Raises
        ------
        MosaicError
            If there is no such bucket, or it can only be read.
        OSError, BaseError
            If they cannot be written.
        """
        if self.folder is None:
            self._put(files)
            return
        temporary = self.folder.with_name(_unfinished(self.folder.name, uuid.uuid4().hex))
        try:
            for path, content in files.items():
                (temporary / path).parent.mkdir(parents=True, exist_ok=True)
                (temporary / path).write_bytes(content)
            temporary.rename(self.folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _put(self, files: Mapping[str, bytes]) -> None:
        """Write files to a bucket, `ROOT` last."""
        self._require_writable()
        try:
            for path in sorted(files, key=lambda path: path == ROOT):
                obstore.put(client(self.text), path, files[path])
        except (NotFoundError, FileNotFoundError) as error:
            # What is written can be missing only with the bucket that it is written to.
            bucket = "/".join(self.text.split("/")[:3])
            raise MosaicError(
                f"cannot write {self}: there is no bucket {bucket}; make it, or mend the address"
            ) from error

    def discard(self, file: str) -> None:
        """Remove a file that is to be written anew, if it is there.

        In a folder, codecs write files in place and read first what they write a part of: what a
        kill cut off could never be written over. Object stores take a file whole or not at all.

        Raises
        ------
        OSError
            If it cannot be removed.
        """
        if self.folder is not None:
            (self.folder / file).unlink(missing_ok=True)

    def remove(self, files: Iterable[str]) -> None:
        """Remove files of the store, those that are there.

        Raises
        ------
        OSError, BaseError
            If one cannot be removed.
        """
        for file in files:
            if self.folder is not None:
                self.discard(file)
            else:
                with suppress(NotFoundError, FileNotFoundError):
                    obstore.delete(client(self.text), file)


def _unfinished(name: str, unique: str) -> str:
    """Return the name of a folder that is to become a store."""
    return f".{name}.{unique}.tmp"


def _walked(folder: Path, prefix: str) -> Iterator[str]:
    """Yield the files under a folder; by `os.walk`, as a survey has a million of them."""
    for inner, _, names in os.walk(folder / prefix):
        stem = os.path.relpath(inner, folder).replace(os.sep, "/")
        yield from (f"{stem}/{name}" for name in names)
