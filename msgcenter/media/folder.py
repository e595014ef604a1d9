"""MediaStore: files in a folder (a shared volume where several processes run), named by the hash of their content, written once.

A file is streamed to a temporary name, checked on the way, synced and renamed; then its row goes to the Store. A crash in
between leaves a file without row, which the next upload of the same content finds, or a temporary one, which is swept.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import tempfile
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol, TypeVar

from msgcenter.adapter import MediaFile
from msgcenter.clock import Clock
from msgcenter.media.kinds import (
    HEAD,
    LEAST,
    LIMITS,
    MediaRefused,
    TooLarge,
    checked_upload,
    kept_type,
    kind_of,
)
from msgcenter.store import MediaRow
from msgcenter.unavailable import Unavailable
from protocols.envelope import hashed
from protocols.errors import Malformed

_T = TypeVar("_T")

PIECE = 1 << 20
"""Octets gathered before a thread writes them: fewer hops than the network has chunks."""
MOST_KEPT = 512 << 20
MAX_NAME = 200
CACHE = 10_000
SWEEP_AFTER_S = 86_400
_ID = re.compile(r"med_[0-9a-hjkmnp-tv-z]{26}")
_UNFIT = re.compile(r"[\x00-\x1f\x7f/\\]")


class MediaError(Unavailable):
    """The folder could not be read or written; nothing is known of the file. Worth another try."""


class MediaRows(Protocol):
    """The part of the Store that keeps what is known of files."""

    async def add_media(self, row: MediaRow) -> MediaRow: ...

    async def find_media(self, ids: Sequence[str]) -> list[MediaRow]: ...


def media_id(sha256: str) -> str:
    """The id that a content has, in every installation."""
    return f"med_{hashed('media', sha256)}"


class MediaStore:
    """`accept` what callers upload, `keep` what comes in, `file` to read. Raises StoreError where the Store does."""

    def __init__(
        self, root: Path, rows: MediaRows, clock: Clock, *, most_kept: int = MOST_KEPT
    ) -> None:
        self._root = root
        self._rows = rows
        self._clock = clock
        self._most_kept = most_kept
        self._known: OrderedDict[str, tuple[MediaRow, ...]] = OrderedDict()

    async def accept(
        self, data: AsyncIterator[bytes], *, mime: str, name: str, caller: str
    ) -> MediaRow:
        """Keep a caller's file. Raises TooLarge, MediaRefused (too small, type unknown or not as declared), MediaError."""

        def checks(head: bytes) -> tuple[str, int]:
            kind = checked_upload(head, mime)
            return kind, LIMITS[kind_of(kind)]

        return await self._write(data, checks, least=LEAST, name=name, caller=caller)

    async def keep(self, data: bytes | AsyncIterator[bytes], *, mime: str, name: str) -> MediaFile:
        """Keep a file that came in by a channel; durable on return. Raises TooLarge, MediaRefused (empty), MediaError."""
        stream = _once(data) if isinstance(data, bytes) else data
        row = await self._write(
            stream,
            lambda head: (kept_type(head, mime), self._most_kept),
            least=1,
            name=name,
            caller="",
        )
        return self._file(row)

    async def rows(self, media: str) -> tuple[MediaRow, ...]:
        """What is known of a file, one row for each caller that brought it; empty when there is none."""
        return (await self.many([media])).get(media, ())

    async def many(self, ids: Sequence[str]) -> dict[str, tuple[MediaRow, ...]]:
        """As `rows`, for several files at once; those that are not there are left out."""
        asked = [one for one in dict.fromkeys(ids) if _ID.fullmatch(one)]
        found = {one: self._known[one] for one in asked if one in self._known}
        missing = [one for one in asked if one not in found]
        if missing:
            fresh: dict[str, list[MediaRow]] = {}
            for row in await self._rows.find_media(missing):
                fresh.setdefault(row.id, []).append(row)
            for one, rows in fresh.items():
                found[one] = self._known[one] = tuple(rows)
            while len(self._known) > CACHE:
                self._known.popitem(last=False)
        return found

    async def visible(self, ids: Sequence[str], caller: str, *, all_: bool) -> dict[str, MediaRow]:
        """Of these files those a caller may use: its own and what came in by channels (whose ids only their readers know).
        The row is the caller's own where it has one."""
        out: dict[str, MediaRow] = {}
        found = await self.many(ids)
        # A row of one's own may be newer than what is remembered.
        doubtful = [one for one in ids if not _own(found.get(one, ()), caller, all_)]
        for one in doubtful:
            self._known.pop(one, None)
        if doubtful:
            found |= await self.many(doubtful)
        for one in ids:
            row = _own(found.get(one, ()), caller, all_)
            if row is not None:
                out[one] = row
        return out

    async def file(self, media: str) -> MediaFile:
        """A file to read. Raises Malformed when there is none."""
        rows = await self.rows(media)
        if not rows:
            raise Malformed(f"media {media[:40]!r}: there is no such file")
        file = self._file(rows[0])
        if not file.path.is_file():
            raise Malformed(f"media {media}: its file is gone from the media store")
        return file

    def path(self, media: str) -> Path:
        return self._root / media[4:6] / media

    def _file(self, row: MediaRow) -> MediaFile:
        return MediaFile(row.id, self.path(row.id), row.mime, row.name, row.size)

    # -- writing -------------------------------------------------------------------------------------------------------

    async def _write(
        self,
        data: AsyncIterator[bytes],
        checks: Callable[[bytes], tuple[str, int]],
        *,
        least: int,
        name: str,
        caller: str,
    ) -> MediaRow:
        incoming = await self._disk(lambda: _Incoming(self._root))
        try:
            mime, size, sha256 = await self._stream(data, checks, incoming, least)
            media = media_id(sha256)
            await self._disk(lambda: incoming.settle(self.path(media)))
        finally:
            await asyncio.shield(asyncio.to_thread(incoming.discard))
        row = MediaRow(media, caller, _fit(name), mime, size, sha256, self._clock.now_ms())
        kept = await self._rows.add_media(row)
        self._known.pop(media, None)
        return kept

    async def _stream(
        self,
        data: AsyncIterator[bytes],
        checks: Callable[[bytes], tuple[str, int]],
        incoming: _Incoming,
        least: int,
    ) -> tuple[str, int, str]:
        """(type, size, SHA-256 in hex)."""
        mime = ""
        limit = self._most_kept
        size = 0
        pending = bytearray()
        async for chunk in data:
            pending += chunk
            size += len(chunk)
            if not mime and len(pending) >= HEAD:
                mime, limit = checks(bytes(pending[:HEAD]))
            if size > limit:
                raise TooLarge(limit)
            if mime and len(pending) >= PIECE:
                piece, pending = bytes(pending), bytearray()
                await self._disk(lambda piece=piece: incoming.write(piece))  # type: ignore[misc]
        if size < least:
            raise MediaRefused(f"the file has {size} octets; the least is {least}")
        if not mime:
            mime, limit = checks(bytes(pending))
            if size > limit:
                raise TooLarge(limit)
        await self._disk(lambda: incoming.write(bytes(pending)))
        return mime, size, incoming.digest.hexdigest()

    async def _disk(self, work: Callable[[], _T]) -> _T:
        try:
            return await asyncio.to_thread(work)
        except OSError as error:
            raise MediaError(f"media folder: {type(error).__name__}: {error.strerror}") from error

    async def sweep(self) -> int:
        """Delete temporary files that a crash left behind more than a day ago; how many."""
        before = self._clock.now_ms() / 1000 - SWEEP_AFTER_S
        return await self._disk(lambda: _sweep(self._root / "tmp", before))


class _Incoming:
    """A file under way: a temporary name in the same file system. All methods block."""

    def __init__(self, root: Path) -> None:
        folder = root / "tmp"
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder, prefix="in-")
        self._path = Path(name)
        self._handle = handle
        self.digest = hashlib.sha256()

    def write(self, piece: bytes) -> None:
        self.digest.update(piece)
        view = memoryview(piece)
        while view:
            view = view[os.write(self._handle, view) :]

    def settle(self, place: Path) -> None:
        """Durable under its own name when this returns; the same content is there at most once."""
        size = os.fstat(self._handle).st_size
        with suppress(FileNotFoundError):
            if place.stat().st_size == size:
                return
        os.fsync(self._handle)
        os.fchmod(self._handle, 0o640)
        place.parent.mkdir(exist_ok=True)
        self._path.replace(place)
        for folder in (place.parent, place.parent.parent):
            _sync(folder)

    def discard(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
        self._path.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sweep(folder: Path, before: float) -> int:
    swept = 0
    for path in folder.glob("in-*"):
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < before:
                path.unlink()
                swept += 1
    return swept


def _own(rows: Sequence[MediaRow], caller: str, all_: bool) -> MediaRow | None:
    for row in rows:
        if row.caller == caller:
            return row
    return next((row for row in rows if all_ or not row.caller), None)


def _fit(name: str) -> str:
    """A file's own name as it may be shown and sent on: no path, no control characters, bounded."""
    return _UNFIT.sub("_", name.replace("\\", "/").rpartition("/")[2])[:MAX_NAME]


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
