"""SIMULATOR ONLY: the archive of a simulated WeCom, over HTTP paths and with a cipher that no real WeCom has.

For the sandbox and for tests. The outer envelope (RSA, key versions) is the real one; what the vendor's library does inside
is replaced by the simulator's own scheme.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from adapters.wecom.archive.settings import WeComArchiveSettings
from adapters.wecom.archive.source import Keys, SourceError
from adapters.wecom.calls import Http, Refusal
from adapters.wecom.settings import HttpSettings
from protocols.fields import as_int, as_text
from protocols.jsontext import write
from protocols.wecom.answers import Answer
from protocols.wecom.archive import Chunk, Encrypted, Page


class SimulatedSource:
    """Reads what `/sim-archive/` of a simulator answers."""

    def __init__(self, settings: WeComArchiveSettings, keys: Keys) -> None:
        self._settings = settings
        self._keys = keys
        self._http = Http(
            HttpSettings(
                base_url=settings.simulator,
                connect_s=settings.connect_s,
                read_s=settings.read_s,
                total_s=settings.total_s,
            )
        )

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        async with self._http.open():
            yield

    async def fetch(self, seq: int, limit: int) -> Page:
        return Page.of(await self._call("chatdata", seq=seq, limit=limit))

    async def decrypt(self, item: Encrypted) -> bytes:
        return await asyncio.to_thread(self._decrypt, item)

    async def media(self, file_id: str, index: str) -> Chunk:
        answer = await self._call("mediadata", sdkfileid=file_id, indexbuf=index)
        fields = answer.fields
        try:
            data = base64.b64decode(as_text(fields.get("data")), validate=True)
        except binascii.Error:
            raise SourceError(10002, "data is no base64") from None
        return data, as_text(fields.get("outindexbuf")), as_int(fields.get("is_finish")) == 1

    async def _call(self, name: str, **asked: Any) -> Answer:
        who = {"corpid": self._settings.corp, "secret": self._settings.secret.reveal()}
        try:
            answer = await self._http.call(f"sim-archive/{name}", {}, write(who | asked))
        except Refusal as refusal:
            raise SourceError(10001, refusal.outcome.detail) from None
        if answer.errcode:
            raise SourceError(answer.errcode, answer.errmsg)
        return answer

    def _decrypt(self, item: Encrypted) -> bytes:
        # Only here: what a production process never runs, it need not load.
        from adapters.sim.wecom.archive_cipher import unseal_message

        try:
            return unseal_message(self._keys.open(item), item.chat_msg)
        except ValueError as error:
            raise SourceError(10006, str(error)) from None
