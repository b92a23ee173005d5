"""Where images of sources lie: a folder or a zip, whose files are read by name.

Owns the reading of a file's bytes, which trusts nothing: no name leads out of the folder, nothing
is unpacked to disk, and no more is read than an image can have. Does not own what the bytes mean
(``decode``).
"""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Protocol

from survey_classifier.errors import ImageError, SourcesError

__all__ = ["MAX_FILE_BYTES", "Archive", "open_archive"]

MAX_FILE_BYTES = 16 << 20
"""Largest file that is read, unpacked: seven bands of 750 x 750 floats."""


class Archive(Protocol):
    """Files by their names."""

    def holds(self, name: str) -> bool:
        """Return whether there is a file of a name that may be read."""

    def read(self, name: str) -> bytes:
        """Return the content of a file.

        Raises
        ------
        ImageError
            If there is none, its name leads out of the archive, it is too large, or it can't be
            read.
        """


@contextmanager
def open_archive(origin: Path) -> Iterator[Archive]:
    """Open a folder or a zip.

    Parameters
    ----------
    origin
        The folder or the zip.

    Raises
    ------
    SourcesError
        If it is neither.
    """
    if origin.is_dir():
        yield _Folder(origin.resolve())
        return
    try:
        archive = zipfile.ZipFile(origin)
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
        raise SourcesError(f"{origin} is no folder and no zip: {error}; correct it") from error
    with archive:
        yield _Zip(archive, origin)


class _Folder:
    """See `Archive`; the folder's path is resolved."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._one = next(folder.glob("*.*"), Path()).name

    def holds(self, name: str) -> bool:
        """See `Archive.holds`."""
        path = self._path(name)
        return path is not None and path.is_relative_to(self._folder)

    def read(self, name: str) -> bytes:
        """See `Archive.read`."""
        path = self._path(name)
        if path is None:
            raise _absent(name, self._folder, self._one)
        if not path.is_relative_to(self._folder):
            raise _leading_out(name, self._folder)
        _check_bytes(name, path.stat().st_size)
        try:
            with path.open("rb") as file:
                content = file.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            reason = f"the image can't be read ({error.strerror}); mend its permissions"
            raise ImageError(reason, repr(name), is_damage=True) from error
        _check_bytes(name, len(content))
        return content

    def _path(self, name: str) -> Path | None:
        """Return where a file really lies, None if there is none."""
        try:
            path = (self._folder / name).resolve()
            return path if path.is_file() else None
        except (OSError, ValueError):  # no name that a file could have
            return None


class _Zip:
    """See `Archive`."""

    def __init__(self, archive: zipfile.ZipFile, origin: Path) -> None:
        self._archive = archive
        self._origin = origin
        self._names = frozenset(archive.namelist())
        self._one = min(self._names, default="")

    def holds(self, name: str) -> bool:
        """See `Archive.holds`."""
        return name in self._names and not _leads_out(name)

    def read(self, name: str) -> bytes:
        """See `Archive.read`; a name is never used as a path."""
        if name not in self._names:
            raise _absent(name, self._origin, self._one)
        if _leads_out(name):
            raise _leading_out(name, self._origin)
        member = self._archive.getinfo(name)
        _check_bytes(name, member.file_size)
        try:
            with self._archive.open(member) as file:
                # The stated size may be a lie: never unpack more.
                content = file.read(MAX_FILE_BYTES + 1)
        except Exception as error:  # each method's unpacker stumbles in its own way
            reason = f"the image can't be unpacked ({error}); get the zip again"
            raise ImageError(reason, repr(name), is_damage=True) from error
        _check_bytes(name, len(content))
        return content


def _leads_out(name: str) -> bool:
    """Return whether a member's name, if it were a path, would lie outside of the folder."""
    path = PurePosixPath(name.replace("\\", "/"))
    return path.is_absolute() or ".." in path.parts


def _absent(name: str, origin: Path, other: str) -> ImageError:
    """Return the error for a file that is not there."""
    hint = f", which holds {other!r} for one" if other else ""
    return ImageError(f"the image is not in {origin}{hint}; correct its name", repr(name))


def _leading_out(name: str, origin: Path) -> ImageError:
    """Return the error for a name that nobody should give."""
    return ImageError(f"the image leads out of {origin}; correct its name", repr(name))


def _check_bytes(name: str, n_bytes: int) -> None:
    """Raise if a file is larger than an image of a source can be."""
    if n_bytes > MAX_FILE_BYTES:
        reason = f"the image has {n_bytes} bytes, {MAX_FILE_BYTES} are allowed; shrink it"
        raise ImageError(reason, repr(name))
