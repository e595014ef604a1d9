"""Sightings: which channels read a message; two that read the same one are joined, one to one and by time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from typing import Any

from sqlalchemy import Select, delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from msgcenter.store import Sighting
from msgcenter.store.database import Database, chunks
from msgcenter.store.rows import clean
from msgcenter.store.tables import sighting

NEAR_MS = 300_000
"""How far apart two readings of one message may say it was said."""
EARLY_MS = 60_000
"""How much earlier than its send the copy of an own message may say it was said: clocks differ."""


def _row(item: Sighting) -> dict[str, Any]:
    return {
        name: clean(value) if isinstance(value, str) else value
        for name, value in asdict(item).items()
    }


def _distance(item: Sighting, other: Sighting) -> int | None:
    """How far apart; None when too far, or both read by one channel."""
    if other.channel == item.channel:
        return None
    apart = item.at - other.at
    if other.own:
        return abs(apart) if apart >= -EARLY_MS and item.at <= other.until else None
    return abs(apart) if abs(apart) <= NEAR_MS else None


class Sightings(Database):
    """Announce own sends, join readings, tell what was read."""

    async def announce(self, items: Sequence[Sighting]) -> None:
        """These are about to be sent; a repeat changes nothing."""
        statement = self._insert(sighting).on_conflict_do_nothing()
        rows = [_row(item) for item in items]

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(statement, rows)

        if rows:
            await self._write(work)

    async def announced(self, items: Sequence[Sighting]) -> list[Sighting]:
        """The own sends that may be what these readings are copies of."""
        own = await self._at(items, select(sighting).where(sighting.c.own.is_(True)))
        return [
            one
            for one in own
            if any(one.place == item.place and _distance(item, one) is not None for item in items)
        ]

    async def unite(
        self, items: Sequence[Sighting], not_sent: Iterable[str] = ()
    ) -> list[Sighting]:
        """Each reading as it is kept: with the message (and pass) it belongs to, which is its own when no other channel has
        read it, or was about to send it (`announce`). `not_sent`: ids of announcements that came to nothing. Asked again for
        the same reading, the answer is the same. Raises StoreError; two processes that join the same message at once make one
        of them do it again."""
        barred = frozenset(not_sent)
        ids = [clean(item.id) for item in items]

        async def work(connection: AsyncConnection) -> list[Sighting]:
            known: dict[str, Sighting] = {}
            for chunk in chunks(ids):
                found = await connection.execute(select(sighting).where(sighting.c.id.in_(chunk)))
                known.update((row.id, Sighting(**row._mapping)) for row in found)
            rows = await connection.execute(_near(items))
            near: dict[str, list[Sighting]] = {}
            for row in rows:
                near.setdefault(row.place, []).append(Sighting(**row._mapping))
            out, new = [], []
            for item in items:
                one = known.get(clean(item.id))
                if one is None:
                    one = _joined(item, near.setdefault(clean(item.place), []), barred)
                    near[clean(item.place)].append(one)
                    known[one.id] = one
                    new.append(_row(one))
                out.append(one)
            if new:
                await connection.execute(self._insert(sighting), new)
            return out

        return await self._write(work) if items else []

    async def _at(self, items: Sequence[Sighting], query: Select[Any]) -> list[Sighting]:
        out: list[Sighting] = []
        async with self._read() as connection:
            for chunk in chunks(sorted({clean(item.place) for item in items})):
                rows = await connection.execute(query.where(sighting.c.place.in_(chunk)))
                out.extend(Sighting(**row._mapping) for row in rows)
        return out

    async def sightings_of(self, message: str) -> list[Sighting]:
        """Who read this message, earliest first; its own announcements are left out."""
        query = (
            select(sighting)
            .where(sighting.c.message == clean(message), sighting.c.own.is_(False))
            .order_by(sighting.c.at, sighting.c.id)
        )
        async with self._read() as connection:
            return [Sighting(**row._mapping) for row in await connection.execute(query)]

    async def forget_sightings(self, before_ms: int, limit: int = 10_000) -> int:
        """Delete those that are older; how many went. Call again while it is `limit`."""
        old = select(sighting.c.id).where(sighting.c.at < before_ms).limit(limit)

        async def work(connection: AsyncConnection) -> int:
            done = await connection.execute(delete(sighting).where(sighting.c.id.in_(old)))
            return done.rowcount

        return await self._write(work)


def _near(items: Sequence[Sighting]) -> Select[Any]:
    """What may be joined with any of these. Own sends wait for their copy longer than readings for one another, and are
    found by their place alone: places are as narrow as one text in one conversation."""
    earliest = min(item.at for item in items) - NEAR_MS
    latest = max(item.at for item in items) + NEAR_MS
    return (
        select(sighting)
        .where(
            sighting.c.place.in_(sorted({clean(item.place) for item in items})),
            (sighting.c.own.is_(True) & (sighting.c.until >= earliest))
            | (sighting.c.at.between(earliest, latest)),
        )
        .order_by(sighting.c.at, sighting.c.id)
    )


def _joined(item: Sighting, near: Sequence[Sighting], barred: frozenset[str]) -> Sighting:
    """`item` with the message it belongs to: that of the nearest sighting whose message its channel has not read yet."""
    mine = {(one.message, one.step, one.attempt) for one in near if one.channel == item.channel}
    best: tuple[int, Sighting] | None = None
    for one in near:
        distance = _distance(item, one)
        if distance is None or one.id in barred or (one.message, one.step, one.attempt) in mine:
            continue
        if best is None or distance < best[0]:
            best = (distance, one)
    if best is None:
        return item
    other = best[1]
    return replace(
        item,
        message=other.message,
        step=other.step,
        attempt=other.attempt,
        copy=other.own or other.copy,
    )
