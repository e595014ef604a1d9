"""Seals: what the message store holds of a group at one moment, as a list of hashes and the hash of that list, and whether it is
still so.

The list is kept (`sealed`, one short row for each message), so that a check can say what changed, what is missing, and what
was stored after the seal: messages in flight when it was made, and what people still said until the group was gone, are
counted apart and never make a seal false. What retention or an erasure deletes later shows as missing. Everything is read in
pages; no list is ever whole in memory.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, false, func, or_, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from msgcenter.clock import base32
from msgcenter.store import Seal, SealCheck
from msgcenter.store.database import Database
from msgcenter.store.rows import clean
from msgcenter.store.tables import grp, message, sealed

PAGE = 1000
PREFIX = "seal"
"""Of the ids of seals: the time of their making follows."""
#: What the core itself sends (commands, the notice before the end) is no part of what was said.
_OURS = ("command", "event")


class Seals(Database):
    """Make, check, forget; ids are an `IdFactory`'s, by which their age is known."""

    async def seal_group(
        self, seal: str, group: str, chat: str, channels: Sequence[str], at: int
    ) -> Seal:
        """Seal what was sent to `group`, and what was said in `chat` as these channels read it. `seal`: a new id."""
        insert = self._insert(sealed).on_conflict_do_nothing()
        first = last = 0
        for where in _places(group, chat, channels):
            place = (0, "")
            while rows := await self._said(where, place):
                first = min(first or rows[0][1], rows[0][1])
                last = max(last, rows[-1][1])
                place = (rows[-1][1], rows[-1][0])
                values = [
                    {"seal": seal, "message": one, "digest": digest(content)}
                    for one, _, content in rows
                ]

                async def work(
                    connection: AsyncConnection, values: list[dict[str, str]] = values
                ) -> None:
                    await connection.execute(insert, values)

                await self._write(work)
        messages, whole = 0, hashlib.sha256()
        async for page in self._listed(seal):
            messages += len(page)
            whole.update(_lines(page))
        return Seal(seal, at, messages, first, last, whole.hexdigest())

    async def check_seal(
        self, seal: Seal, group: str, chat: str, channels: Sequence[str]
    ) -> SealCheck:
        """Compare a seal with what is there now."""
        changed = missing = messages = 0
        whole = hashlib.sha256()
        async for page in self._listed(seal.id):
            messages += len(page)
            whole.update(_lines(page))
            query = select(message.c.id, message.c.content).where(message.c.id.in_(page))
            async with self._read() as connection:
                found = {row.id: row.content for row in await connection.execute(query)}
            missing += len(page) - len(found)
            changed += sum(digest(content) != page[one] for one, content in found.items())
        here = or_(*_places(group, chat, channels))
        async with self._read() as connection:
            count = select(func.count()).select_from(message).where(here)
            now = int((await connection.execute(count)).scalar_one())
        listed = whole.hexdigest() == seal.sha256 and messages == seal.messages
        return SealCheck(listed, changed, missing, max(0, now - (messages - missing)))

    async def forget_seal(self, seal: str) -> None:
        """Delete the list of a seal that was not used."""

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(delete(sealed).where(sealed.c.seal == seal))

        await self._write(work)

    async def forget_unused_seals(self, before_ms: int, limit: int = 10_000) -> int:
        """Delete lists made before then that no group has: whoever made them died before he could say whose they are. How
        many rows went, about `limit` at the most; call again while it is no less."""
        before = f"{PREFIX}_{base32(before_ms, 10)}"
        # From one list to the next by the key, past the rows of each.
        lists = select(func.min(sealed.c.seal).label("seal")).cte("lists", recursive=True)
        beyond = select(func.min(sealed.c.seal)).where(sealed.c.seal > lists.c.seal)
        lists = lists.union_all(select(beyond.scalar_subquery()).where(lists.c.seal.is_not(None)))
        used = grp.c.seal["id"].as_string()
        query = select(lists.c.seal).where(
            lists.c.seal < before, lists.c.seal.not_in(select(used).where(used.is_not(None)))
        )
        async with self._read() as connection:
            unused = (await connection.execute(query)).scalars().all()
        gone = 0
        for seal in unused:
            gone += await self._forget_some(seal, limit - gone)
            if gone >= limit:
                break
        return gone

    async def _forget_some(self, seal: str, limit: int) -> int:
        some = select(sealed.c.message).where(sealed.c.seal == seal).limit(limit)

        async def work(connection: AsyncConnection) -> int:
            where = (sealed.c.seal == seal, sealed.c.message.in_(some))
            return (await connection.execute(delete(sealed).where(*where))).rowcount

        return await self._write(work)

    async def _said(
        self, where: ColumnElement[bool], after: tuple[int, str]
    ) -> list[tuple[str, int, Mapping[str, Any]]]:
        place = tuple_(message.c.created_at, message.c.id)
        query = (
            select(message.c.id, message.c.created_at, message.c.content)
            .where(where, place > tuple_(*after))
            .order_by(message.c.created_at, message.c.id)
            .limit(PAGE)
        )
        async with self._read() as connection:
            return [tuple(row) for row in await connection.execute(query)]

    async def _listed(self, seal: str) -> AsyncIterator[dict[str, str]]:
        """Pages of message id -> digest, sorted by id."""
        last = ""
        while True:
            query = (
                select(sealed.c.message, sealed.c.digest)
                .where(sealed.c.seal == seal, sealed.c.message > last)
                .order_by(sealed.c.message)
                .limit(PAGE)
            )
            async with self._read() as connection:
                page = {row.message: row.digest for row in await connection.execute(query)}
            if not page:
                return
            yield page
            last = next(reversed(page))


def digest(content: Mapping[str, Any]) -> str:
    """SHA-256 of a message's content as it is stored, as JSON with sorted names and without blanks."""
    plain = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(plain.encode()).hexdigest()


def _lines(page: Mapping[str, str]) -> bytes:
    return "".join(f"{one} {hashed}\n" for one, hashed in page.items()).encode()


def _places(
    group: str, chat: str, channels: Sequence[str]
) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """What was sent there, and what was said there: each has an index of its own."""
    known = and_(message.c.known, message.c.category.not_in(_OURS))
    sent = and_(known, message.c.address == f"group:{clean(group)}")
    said = and_(
        known,
        text("message.chat <> ''"),  # names the partial index
        message.c.chat == clean(chat),
        message.c.channel.in_(channels),
    )
    return sent, said if chat else false()
