"""Append-only files that survive a crash: whole writes, fsync, and the repair of a torn tail."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

#: Writes octets to a file descriptor, answers how many it took; a test puts a failing disk here.
Writer = Callable[[int, bytes], int]


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable: a new file is not there after a power cut without
    it."""
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class AppendFile:
    """One file, open for appending. `size`: how much of it is whole and durable.

    A write that fails is cut off again; when even that fails the file is `broken` and must be
    opened anew, so that nothing is ever written behind a torn piece.
    """

    def __init__(self, path: Path, *, write: Writer = os.write) -> None:
        new = not path.exists()
        self.path = path
        self.broken = False
        self._write = write
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o640)
        self.size = os.fstat(self._fd).st_size
        if new:
            sync_directory(path.parent)

    def append(self, data: bytes) -> None:
        """Write all of `data` and make it durable. Raises OSError; then the file is as it was
        before."""
        if self.broken:
            raise OSError(f"{self.path}: a failed write could not be undone; open it again")
        try:
            view = memoryview(data)
            while view:
                view = view[self._write(self._fd, bytes(view)) :]
            os.fsync(self._fd)
        except OSError:
            try:
                self.truncate(self.size)
            except OSError:
                self.broken = True
            raise
        self.size += len(data)

    def truncate(self, size: int) -> None:
        """Cut the file. Raises OSError."""
        os.ftruncate(self._fd, size)
        os.fsync(self._fd)
        self.size = size

    def close(self) -> None:
        """Idempotent."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)
            self.broken = True


def cut_tail(path: Path, whole: int, *, keep: bool) -> None:
    """Shorten a file to its `whole` part. With `keep` the rest goes to `<name>.damaged-<offset>`
    first, because it holds something readable behind the damage."""
    with path.open("r+b") as file:
        if keep:
            file.seek(whole)
            saved = path.with_name(f"{path.name}.damaged-{whole}")
            with saved.open("wb") as copy:
                copy.write(file.read())
                copy.flush()
                os.fsync(copy.fileno())
            sync_directory(path.parent)
        file.truncate(whole)
        file.flush()
        os.fsync(file.fileno())
