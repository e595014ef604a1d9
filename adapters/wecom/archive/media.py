"""Files of archived messages: brought home piece by piece, taken up again where a piece failed, and given up after a bounded number of tries."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from mimetypes import guess_type
from typing import Any

from adapters.wecom.archive.settings import WeComArchiveSettings
from adapters.wecom.archive.source import Means, Source, SourceError
from msgcenter.adapter import Malformed, Port
from protocols.payload import MediaKind
from protocols.wecom.limits import BOUNDS

PIECE = BOUNDS["archive.chunk"].most
PAUSE_S = (0.25, 5.0)
"""Before a piece that failed is asked for again: doubled from the first to the last."""
_MIMES: dict[MediaKind, str] = {"image": "image/jpeg", "voice": "audio/amr", "video": "video/mp4"}


@dataclass(frozen=True, slots=True)
class File:
    """A file that a message refers to. `size` 0 and `md5` "" are not told; an md5 that is told may be wrong."""

    kind: MediaKind
    file_id: str
    name: str = ""
    size: int = 0
    md5: str = ""


@dataclass(frozen=True, slots=True)
class Lost:
    """Why a file could not be had."""

    code: str
    detail: str


@dataclass(slots=True)
class _Seen:
    """What has come so far."""

    size: int = 0
    md5: Any = field(default_factory=lambda: hashlib.md5(usedforsecurity=False))


class Files:
    """`home(file)` is its id in our media store, or why it is lost."""

    def __init__(self, settings: WeComArchiveSettings, port: Port, source: Source) -> None:
        self._settings = settings
        self._port = port
        self._source = source
        self._slots = asyncio.Semaphore(settings.threads)
        self.lost = 0

    async def home(self, file: File) -> str | Lost:
        """Raises what the media store raises when it cannot keep anything now: the message then comes again."""
        async with self._slots:
            try:
                async with asyncio.timeout(self._settings.media_time):
                    return await self._checked(file)
            except TimeoutError:
                lost = Lost("timeout", f"not whole after {self._settings.media_time:g} s")
            except SourceError as error:
                lost = Lost(f"archive_{error.code}", str(error))
            except Malformed as error:
                lost = Lost("not_kept", str(error))
        self.lost += 1
        self._port.log.warning("archive_file_lost", code=lost.code, detail=lost.detail)
        return lost

    async def _checked(self, file: File) -> str:
        """A file of another size than told is fetched once more, and then taken as it is."""
        kind = guess_type(file.name)[0] if file.kind == "file" else _MIMES[file.kind]
        for again in (True, False):
            seen = _Seen()
            pieces = self._pieces(file.file_id, seen)
            mime = kind or "application/octet-stream"
            media = await self._port.keep_media(pieces, mime=mime, name=file.name or file.kind)
            if not file.size or seen.size == file.size:
                break
            if not again:
                told = {"told": file.size, "came": seen.size, "media": media}
                self._port.log.warning("archive_file_size_differs", **told)
        if file.md5 and seen.md5.hexdigest() != file.md5.lower():
            self._port.log.warning("archive_file_md5_differs", media=media, size=seen.size)
        return media

    async def _pieces(self, file_id: str, seen: _Seen) -> AsyncIterator[bytes]:
        index, failures = "", 0
        while True:
            try:
                data, after, is_last = await self._source.media(file_id, index)
            except SourceError as error:
                failures += 1
                if error.means is not Means.AGAIN or failures >= self._settings.media_tries:
                    raise
                pause = min(PAUSE_S[0] * 2**failures, PAUSE_S[1])
                await self._port.clock.sleep(pause * self._port.random.uniform(0.5, 1.0))
                continue
            failures = 0
            if len(data) > PIECE:
                raise SourceError(10002, f"a piece of {len(data)} octets, at most {PIECE}")
            seen.size += len(data)
            seen.md5.update(data)
            if data:
                yield data
            if is_last:
                return
            if not data or after in ("", index):
                raise SourceError(10002, "the pieces lead nowhere")
            index = after
