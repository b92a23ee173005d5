"""Files that are compressed as a whole (``.gz``, ``.bz2``, ``.xz``, ``.zip``), as plain ones.

Owns when and where they are unpacked. Does not own what is in them (``fits_file``), nor images
that are compressed by tiles, of which astropy reads a window.

A window of such a file cannot be read without all that is before it. So the file is unpacked,
piece by piece, to a scratch file in ``TMPDIR`` that has no name: the system frees it with the
process, however that ends. A process keeps the files that it used last, up to `SCRATCH_BYTES`.
Where ``TMPDIR`` (``/tmp`` if it is not set) lies in memory, as a tmpfs does, they take memory, and
it should be set to a folder of a disk.
Unpacking costs a hundred times what writing and reading the scratch file does, so small files
are not treated otherwise.
"""

import bz2
import errno
import gzip
import io
import lzma
import os
import tempfile
import threading
import weakref
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from survey_classifier.errors import MosaicError

__all__ = ["byte_stream"]

SCRATCH_BYTES = 2**33
"""What the kept files of one process may take together; the one in use may be larger."""
PIECE_BYTES = 2**20
GZIP, BZIP2, XZ, ZIP = b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"PK\x03\x04"
DAMAGE = (EOFError, OSError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)
"""What Python's own unpackers raise for a file that is damaged or cut short."""

Key = tuple[Path, int, int]
"""Path, size and time of a file: another file of the same name is another key."""


@contextmanager
def byte_stream(path: Path) -> Iterator[BinaryIO]:
    """Open a file to read its bytes, those of its content if it is compressed.

    Parameters
    ----------
    path
        The file; what it is compressed with is seen from its first bytes.

    Raises
    ------
    MosaicError
        If it is compressed, and damaged, or there is no room to unpack it.
    OSError
        If it cannot be opened.
    """
    with path.open("rb") as stream:
        packed = stream.read(6).startswith((GZIP, BZIP2, XZ, ZIP))
        stream.seek(0)
        if not packed:
            yield stream
            return
    with io.BufferedReader(_Reader(_KEPT.get(path))) as stream:
        yield cast(BinaryIO, stream)


class _Scratch:
    """An unpacked file; its space is free again when nothing refers to it any more.

    Parameters
    ----------
    descriptor
        An open file without a name, which this object closes.
    size
        Its length in bytes.
    """

    def __init__(self, descriptor: int, size: int) -> None:
        self.descriptor, self.size = descriptor, size
        weakref.finalize(self, os.close, descriptor)


class _Reader(io.RawIOBase):
    """A reading position of its own in an unpacked file, which several threads may share."""

    def __init__(self, scratch: _Scratch) -> None:
        self._scratch, self._position = scratch, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._scratch.size}
        self._position = start[whence] + offset
        return self._position

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - any writable buffer
        n_bytes = os.preadv(self._scratch.descriptor, [buffer], self._position)
        self._position += n_bytes
        return n_bytes


class _Kept:
    """The unpacked files of this process, the one used last at the end."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._files: OrderedDict[Key, Future[_Scratch]] = OrderedDict()

    def get(self, path: Path) -> _Scratch:
        """Return a file unpacked; of several threads that ask, one unpacks and the others wait."""
        status = path.stat()
        key = path.resolve(), status.st_size, status.st_mtime_ns
        with self._lock:
            ours = key not in self._files
            file = self._files.setdefault(key, Future())
            self._files.move_to_end(key)
        if ours:
            self._fill(key, file)
        return file.result()

    def _fill(self, key: Key, file: "Future[_Scratch]") -> None:
        try:
            scratch = _unpack(key[0])
        except BaseException as error:  # noqa: BLE001 - handed to all who wait for it
            # The next one to ask tries again: room may have been made, the file replaced.
            with self._lock:
                del self._files[key]
            file.set_exception(error)
            return
        file.set_result(scratch)
        with self._lock:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        done = {key: file.result().size for key, file in self._files.items() if file.done()}
        excess = sum(done.values()) - SCRATCH_BYTES
        for key, size in list(done.items())[:-1]:
            if excess <= 0:
                return
            del self._files[key]
            excess -= size


_KEPT = _Kept()


def _unpack(path: Path) -> _Scratch:
    """Unpack a file to a scratch file, a piece at a time."""
    with tempfile.TemporaryFile(buffering=0) as scratch:
        size = 0
        for piece in _pieces(path):
            _write(scratch, piece, path)
            size += len(piece)
        return _Scratch(os.dup(scratch.fileno()), size)


def _pieces(path: Path) -> Iterator[bytes]:
    """Yield the content of a compressed file."""
    try:
        with path.open("rb") as packed, _decompressor(packed, path) as stream:
            while piece := stream.read(PIECE_BYTES):
                yield piece
    except DAMAGE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise MosaicError(f"cannot unpack {path}: {reason}; fetch it again") from error


def _decompressor(packed: BinaryIO, path: Path) -> IO[bytes]:
    """Return a stream of what a compressed stream holds."""
    first = packed.read(6)
    packed.seek(0)
    if first.startswith(GZIP):
        return cast(IO[bytes], gzip.open(packed))
    if first.startswith(BZIP2):
        return bz2.open(packed)
    if first.startswith(XZ):
        return lzma.open(packed)
    archive = zipfile.ZipFile(packed)
    names = archive.namelist()
    if len(names) != 1:
        raise MosaicError(f"{path} holds {len(names)} files, not one image; unpack it")
    return archive.open(names[0])


def _write(scratch: io.FileIO, piece: bytes, path: Path) -> None:
    """Write all bytes of a piece."""
    view = memoryview(piece)
    try:
        while view:
            view = view[scratch.write(view) :]
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise MosaicError(
            f"no room to unpack {path} in {tempfile.gettempdir()} ({error.strerror}); "
            "make some, or set TMPDIR to a folder of a larger disk"
        ) from error
