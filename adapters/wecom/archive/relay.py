"""What was opened of the archive on its way to the core: files brought home, people named, and all of it emitted in order."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from adapters.wecom.archive.media import Files, Lost
from adapters.wecom.archive.messages import (
    MOST_OCTETS,
    dumped,
    files_of,
    happening,
    lost_of,
    payload_of,
    sound,
    sound_payload,
)
from adapters.wecom.archive.people import NOBODY, People
from adapters.wecom.archive.source import SourceError
from msgcenter.adapter import Port, Received
from protocols.address import Address
from protocols.payload import Native, Payload
from protocols.wecom.archive import Encrypted, Message

LATEST_MS = 10**14
"""A time beyond it (the year 5138) is none; 0 lets the core take the time of reading."""


class Relay:
    """Called with items in their order, each read or with the reason why it could not be."""

    def __init__(self, corp: str, port: Port, files: Files) -> None:
        self._corp = corp
        self._port = port
        self._files = files
        self.unreadable = 0

    async def __call__(self, opened: Sequence[tuple[Encrypted, Message | SourceError]]) -> None:
        """Raises what the Port raises: nothing of it is durable then, or it comes again under the same ids."""
        people = People(self._corp, [one.address for one in self._port.accounts()])
        async with asyncio.TaskGroup() as group:
            made = [
                group.create_task(
                    self._unread(item, result)
                    if isinstance(result, SourceError)
                    else self._received(result, people)
                )
                for item, result in opened
            ]
        if received := [one for some in made for one in some.result()]:
            await self._port.emit(received)

    async def _received(self, message: Message, people: People) -> list[Received]:
        files = files_of(message)
        async with asyncio.TaskGroup() as group:
            found = [group.create_task(self._files.home(file)) for file in files]
        homes = {file.file_id: home.result() for file, home in zip(files, found, strict=True)}
        said = [("", payload_of(message, homes))]
        for number, file in enumerate(files, 1):
            home = homes[file.file_id]
            if isinstance(home, Lost):
                said.append((f"/file{number}", lost_of(message, file, home)))
        heard = people.heard(message)
        received = []
        for suffix, payload in said:
            fitting = await self._fitting(message.msgtype, payload)
            for number, way in enumerate(heard):
                remote_id = sound(message.msgid) + suffix + (f"/to{number + 1}" if number else "")
                received.append(
                    Received(
                        way.sender,
                        way.account_number,
                        fitting,
                        remote_id,
                        message.at if 0 < message.at < LATEST_MS else 0,
                        way.order_key,
                        chat=sound(message.room_id),
                        recipient=way.recipient,
                    )
                )
        return received

    async def _unread(self, item: Encrypted, error: SourceError) -> list[Received]:
        self.unreadable += 1
        told = {"seq": item.seq, "version": item.key_version, "detail": str(error)}
        self._port.log.error("archive_unreadable", alarm=True, **told)
        sealed = {
            "msgid": item.msgid,
            "seq": item.seq,
            "publickey_ver": item.key_version,
            "encrypt_random_key": item.random_key,
            "encrypt_chat_msg": item.chat_msg,
            "code": error.code,
        }
        payload = await self._fitting("unreadable", happening("unreadable", sealed))
        # An id of its own: when the key is found, the message itself is no repeat of this.
        remote_id, now = f"{sound(item.msgid) or item.seq}/unreadable", self._port.clock.now_ms()
        return [Received(Address("staff", NOBODY), NOBODY, payload, remote_id, now)]

    async def _fitting(self, kind: str, payload: Payload) -> Payload:
        """The payload itself, or, where it is longer than a message may be, `Native` that says which file it is kept in."""
        fitting, octets = sound_payload(payload)
        if octets <= MOST_OCTETS:
            return fitting
        names: dict[str, Any] = {name: getattr(fitting, name) for name in type(fitting).__slots__}
        kept = await self._port.keep_media(
            dumped(names).encode(), mime="text/plain", name=f"{kind}.json"
        )
        self._port.log.warning("archive_message_long", kind=kind, octets=octets, media=kept)
        return Native(kind or "unknown", dumped({"kept_as": kept, "octets": octets}))
