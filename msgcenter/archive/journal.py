"""A spill journal: a queue of octets in local append-only files, framed and checked, that survives
kill -9.

`spill-000001.log`, `spill-000002.log` …: frames of 4 octets length, 4 octets CRC-32 of what
follows, 8 octets time (epoch milliseconds) and the entry, all big-endian. `taken` says how far the
reader is; a file that has been read to its end is deleted. A lost `taken` only makes entries come
again. All methods block (they are called in a thread) and may be called from any thread.
"""

from __future__ import annotations

import os
import re
import struct
import threading
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import structlog

from msgcenter.archive.files import AppendFile, Writer, cut_tail

_HEAD = struct.Struct(">II")
_AT = struct.Struct(">Q")
_NAME = re.compile(r"spill-(\d{6,})\.log")
MAX_ENTRY = 4 * 1024 * 1024

_log = structlog.get_logger(__name__)


class JournalFull(Exception):
    """The journal has reached its size; nothing of the batch was written."""


def _frames(data: bytes, offset: int = 0) -> Iterator[tuple[int, int, bytes]]:
    """(end offset, time, entry) of each whole frame, up to the first that is not."""
    while offset + _HEAD.size <= len(data):
        length, check = _HEAD.unpack_from(data, offset)
        end = offset + _HEAD.size + length
        if not _AT.size <= length <= MAX_ENTRY + _AT.size or end > len(data):
            return
        body = data[offset + _HEAD.size : end]
        if zlib.crc32(body) != check:
            return
        yield end, _AT.unpack_from(body)[0], body[_AT.size :]
        offset = end


class Journal:
    """Append at the end, take from the front."""

    def __init__(
        self,
        directory: Path,
        *,
        max_bytes: int = 1024 * 1024 * 1024,
        segment_bytes: int = 16 * 1024 * 1024,
        write: Writer = os.write,
    ) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._segment_bytes = segment_bytes
        self._write = write
        self._lock = threading.RLock()
        self._file: AppendFile | None = None
        self._segments: dict[int, int] = {}  # number -> whole octets, oldest first
        self._offset = 0  # within the oldest
        self.count = 0
        """Entries waiting."""
        self.bytes = 0
        """Octets waiting."""
        self.oldest_ms: int | None = None
        """When the first of them was written."""

    def open(self) -> None:
        """Repair the tail, find where the reader was. Raises OSError. Idempotent."""
        with self._lock:
            if self._file is not None and not self._file.broken:
                return
            self.close()
            self._directory.mkdir(parents=True, exist_ok=True)
            names = [_NAME.fullmatch(path.name) for path in self._directory.iterdir()]
            numbers = sorted(int(match[1]) for match in names if match is not None)
            first, offset = self._read_taken()
            self._segments.clear()
            self.count = 0
            self.oldest_ms = None
            for number in numbers:
                if number < first:
                    self._path(number).unlink()
                    continue
                self._segments[number] = self._check(
                    number, offset if number == first else 0, last=number == numbers[-1]
                )
            self._offset = min(offset, self._segments[first]) if first in self._segments else 0
            self.bytes = sum(self._segments.values()) - self._offset
            if self._segments:
                self._file = AppendFile(self._path(max(self._segments)), write=self._write)
            else:
                self._roll(first)

    def append(self, entries: Sequence[bytes], at_ms: int) -> None:
        """Durable on return. Raises JournalFull, OSError; then nothing of the batch is in the
        journal."""
        frames = bytearray()
        stamp = _AT.pack(at_ms)
        for entry in entries:
            if len(entry) > MAX_ENTRY:
                raise ValueError(f"entry of {len(entry)} octets: at most {MAX_ENTRY}")
            body = stamp + entry
            frames += _HEAD.pack(len(body), zlib.crc32(body)) + body
        with self._lock:
            if self._file is None or self._file.broken:
                self.open()
            if self.bytes + len(frames) > self._max_bytes:
                raise JournalFull(
                    f"{self._directory.name}: {self.bytes} octets wait, at most {self._max_bytes}"
                )
            assert self._file is not None
            if self._file.size >= self._segment_bytes:
                self._roll(max(self._segments) + 1)
            self._file.append(bytes(frames))
            self._segments[max(self._segments)] = self._file.size
            self.count += len(entries)
            self.bytes += len(frames)
            if entries and self.oldest_ms is None:
                self.oldest_ms = at_ms

    def peek(self, limit: int) -> list[bytes]:
        """The first entries, at most `limit`, all of one file; they stay until `take`. Raises
        OSError."""
        with self._lock:
            self._skip_read_files()
            return [entry for _, _, entry in self._front(limit)]

    def take(self, count: int) -> None:
        """Forget the first `count` entries, which `peek` gave. Raises OSError."""
        with self._lock:
            taken = self._front(count) if count > 0 else []
            if not taken:
                return
            self.bytes -= taken[-1][0] - self._offset
            self._offset = taken[-1][0]
            self.count -= len(taken)
            self._skip_read_files()
            following = self._front(1)
            self.oldest_ms = following[0][1] if following else None
            self._write_taken()

    def close(self) -> None:
        """Idempotent."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    # -- inside ------------------------------------------------------------------------------------

    def _path(self, number: int) -> Path:
        return self._directory / f"spill-{number:06d}.log"

    def _front(self, limit: int) -> list[tuple[int, int, bytes]]:
        if not self._segments:
            return []
        number = min(self._segments)
        out: list[tuple[int, int, bytes]] = []
        # A piece at a time: a file may be large and the batch small.
        want = 256 * 1024
        with self._path(number).open("rb") as file:
            while True:
                file.seek(self._offset)
                size = min(want, self._segments[number] - self._offset)
                data = file.read(size)
                out.clear()
                for end, at, entry in _frames(data):
                    out.append((self._offset + end, at, entry))
                    if len(out) == limit:
                        return out
                if size < want:
                    return out
                want *= 4

    def _skip_read_files(self) -> None:
        """Delete files that are read to their end; the last one is kept for writing unless it is
        full."""
        while self._segments:
            number = min(self._segments)
            if self._offset < self._segments[number]:
                return
            if len(self._segments) == 1:
                if self._segments[number] == 0:
                    return
                self._roll(number + 1)
            del self._segments[number]
            self._offset = 0
            self._write_taken()
            self._path(number).unlink(missing_ok=True)

    def _roll(self, number: int) -> None:
        if self._file is not None:
            self._file.close()
        self._file = AppendFile(self._path(number), write=self._write)
        self._segments[number] = self._file.size

    def _check(self, number: int, offset: int, *, last: bool) -> int:
        """Count what waits in a file, cut what is not whole; how many octets are."""
        path = self._path(number)
        data = path.read_bytes()
        whole = 0
        for end, at, _ in _frames(data):
            whole = end
            if end > offset:
                self.count += 1
                if self.oldest_ms is None:
                    self.oldest_ms = at
        if whole < len(data):
            _log.warning("spill journal cut", file=path.name, whole=whole, cut=len(data) - whole)
            cut_tail(path, whole, keep=not last)  # only the last file can have been torn
        return whole

    def _read_taken(self) -> tuple[int, int]:
        try:
            number, offset, check = (self._directory / "taken").read_text("ascii").split()
            if zlib.crc32(f"{number} {offset}".encode()) == int(check):
                return int(number), int(offset)
        except FileNotFoundError:
            pass
        except ValueError:
            _log.warning("spill journal position unreadable", directory=self._directory.name)
        return 1, 0

    def _write_taken(self) -> None:
        place = f"{min(self._segments)} {self._offset}"
        new = self._directory / "taken.new"
        new.write_text(f"{place} {zlib.crc32(place.encode())}", "ascii")
        new.replace(self._directory / "taken")
