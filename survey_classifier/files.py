"""Files that appear complete or not at all, and locks.

Owns the atomic writing of a file, and what keeps a place for one process. Does not own what is in
it, nor what is said of a place that is taken.
"""

import errno
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from filelock import FileLock

__all__ = ["LEFTOVERS", "lock", "remove_leftovers", "replacing", "require_writable", "write_text"]

LEFTOVERS = ".*.tmp"
"""Pattern of what an interrupted write leaves behind."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file under a temporary name; it takes its own when the block ends well.

    Parameters
    ----------
    path
        The file; one that is there is replaced, its folder is made.

    Yields
    ------
    Path
        The temporary name, in the same folder, where nothing is yet.

    Raises
    ------
    OSError
        If the file cannot be written; the old one is untouched then.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield temporary
        # Else a power cut could leave the name without the bytes.
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def require_writable(path: Path) -> None:
    """Find out whether a file could be written, before the work that it is for; nothing is left.

    Parameters
    ----------
    path
        The file; neither it nor its folder need be there.

    Raises
    ------
    OSError
        If it could not.
    """
    folder = path.parent
    while not folder.exists():  # a folder that is to be made later
        folder = folder.parent
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    with tempfile.TemporaryFile(dir=folder):
        pass


def lock(file: Path) -> AbstractContextManager[object]:
    """Lock a file at once, and return what releases it; when its process ends, a lock does, too.

    Parameters
    ----------
    file
        The file; it is made if need be, with its folder.

    Raises
    ------
    filelock.Timeout
        If another process has it.
    OSError
        If it cannot be made.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    # First, as one that can't be made would pass for one that another process has.
    file.touch()
    return FileLock(file, timeout=0).acquire()


def write_text(path: Path, text: str) -> None:
    """Write a text file at once, in UTF-8.

    Parameters
    ----------
    path
        The file.
    text
        Its content.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def remove_leftovers(folder: Path) -> None:
    """Remove what interrupted writes left in a folder; call it while nobody writes there.

    Parameters
    ----------
    folder
        It need not exist.
    """
    for path in folder.glob(LEFTOVERS):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
