"""Parked keys: when the head of a conversation fails, what follows it waits here in order, and only
that conversation waits.

The row of `park_key` is the lock of one key's list: parking and unparking both hold it, so the
order in which rows are written is the order in which they come back.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from sqlalchemy import and_, bindparam, delete, exists, func, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from msgcenter.store import Backlog, ParkedKey, ParkRow
from msgcenter.store.database import Database, chunks
from msgcenter.store.tables import park_key, parked

_SAME_KEY = and_(parked.c.queue == park_key.c.queue, parked.c.order_key == park_key.c.order_key)


class Parked(Database):
    """Park, wake, unpark."""

    async def park(self, rows: Sequence[ParkRow]) -> None:
        """Append these to the lists of their keys, in the order given; known ids are left out.
        Durable on return."""
        if not rows:
            return
        now = self._clock.now_ms()
        keys: dict[tuple[str, str], int] = {}
        for row in rows:
            keys.setdefault((row.queue, row.order_key), row.wake_at)
        # Sorted, so that two processes never wait for each other's keys in a circle.
        heads = [
            {"queue": queue, "order_key": key, "wake_at": keys[queue, key], "since": now}
            for queue, key in sorted(keys)
        ]
        lock = self._insert(park_key)
        lock = lock.on_conflict_do_update(
            index_elements=[park_key.c.queue, park_key.c.order_key],
            set_={"wake_at": park_key.c.wake_at},
        )
        append = self._insert(parked).on_conflict_do_nothing()
        values = [
            {
                "id": row.id,
                "queue": row.queue,
                "order_key": row.order_key,
                "message": row.message,
                "body": row.body,
            }
            for row in rows
        ]

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(lock, heads)
            await connection.execute(append, values)

        await self._write(work)

    async def parked_keys(self, queue: str, limit: int = 10_000) -> tuple[ParkedKey, ...]:
        """The parked keys of a queue, the one to wake first in front."""
        query = (
            select(
                park_key.c.queue,
                park_key.c.order_key,
                park_key.c.wake_at,
                park_key.c.since,
                select(func.count()).select_from(parked).where(_SAME_KEY).scalar_subquery(),
            )
            .where(park_key.c.queue == queue)
            .order_by(park_key.c.wake_at, park_key.c.order_key)
            .limit(limit)
        )
        async with self._read() as connection:
            return tuple(ParkedKey(*row) for row in await connection.execute(query))

    async def is_parked(self, queue: str, keys: Sequence[str]) -> frozenset[str]:
        """Which of these keys have a list on this queue."""
        found: set[str] = set()
        if keys:
            async with self._read() as connection:
                for chunk in chunks(keys):
                    query = select(park_key.c.order_key).where(
                        park_key.c.queue == queue, park_key.c.order_key.in_(chunk)
                    )
                    found.update((await connection.execute(query)).scalars())
        return frozenset(found)

    async def parked_wakes(self, queue: str) -> dict[str, int]:
        """Key -> when to look again (epoch ms), of every parked key of a queue."""
        query = select(park_key.c.order_key, park_key.c.wake_at).where(park_key.c.queue == queue)
        async with self._read() as connection:
            return {row.order_key: row.wake_at for row in await connection.execute(query)}

    async def parked_rows(
        self, queue: str, keys: Sequence[str], limit: int
    ) -> dict[str, list[ParkRow]]:
        """The first `limit` rows of each of these keys, in order; nothing is taken. For the one process that works the
        queue: it reads here, sends, and says what became of them with `settle_parked`."""
        out: dict[str, list[ParkRow]] = {key: [] for key in keys}
        place = (
            func.row_number().over(partition_by=parked.c.order_key, order_by=parked.c.seq)
        ).label("place")
        for chunk in chunks(keys):
            ranked = (
                select(parked.c.id, parked.c.order_key, parked.c.body, parked.c.message, place)
                .where(parked.c.queue == queue, parked.c.order_key.in_(chunk))
                .subquery()
            )
            query = (
                select(ranked)
                .where(ranked.c.place <= limit)
                .order_by(ranked.c.order_key, ranked.c.place)
            )
            async with self._read() as connection:
                for row in await connection.execute(query):
                    out[row.order_key].append(
                        ParkRow(row.id, queue, row.order_key, row.body, row.message)
                    )
        return out

    async def settle_parked(
        self,
        queue: str,
        *,
        done: Sequence[str],
        changed: Mapping[str, bytes],
        wake: Mapping[str, int],
    ) -> frozenset[str]:
        """Remove the rows `done`, replace the bodies of `changed` (row id -> envelope) in place, set the wake-ups; the
        keys of `wake` that have no row left are no longer parked and are returned."""
        mine = tuple(wake)

        async def work(connection: AsyncConnection) -> frozenset[str]:
            for chunk in chunks(sorted(mine)):  # sorted: two processes never wait in a circle
                lock = select(park_key.c.order_key).where(
                    park_key.c.queue == queue, park_key.c.order_key.in_(chunk)
                )
                await connection.execute(lock.order_by(park_key.c.order_key).with_for_update())
            for chunk in chunks(done):
                await connection.execute(delete(parked).where(parked.c.id.in_(chunk)))
            if changed:
                replace = (
                    update(parked)
                    .where(parked.c.id == bindparam("row"))
                    .values(body=bindparam("new"))
                )
                values = [{"row": row, "new": body} for row, body in changed.items()]
                await connection.execute(replace, values)
            gone: set[str] = set()
            for chunk in chunks(mine):
                rows = select(parked.c.order_key).where(
                    parked.c.queue == queue, parked.c.order_key.in_(chunk)
                )
                left = set((await connection.execute(rows.distinct())).scalars())
                gone.update(set(chunk) - left)
            for chunk in chunks(sorted(gone)):
                await connection.execute(
                    delete(park_key).where(
                        park_key.c.queue == queue, park_key.c.order_key.in_(chunk)
                    )
                )
            again = [{"key": key, "at": at} for key, at in wake.items() if key not in gone]
            if again:
                later = (
                    update(park_key)
                    .where(park_key.c.queue == queue, park_key.c.order_key == bindparam("key"))
                    .values(wake_at=bindparam("at"))
                )
                await connection.execute(later, again)
            return frozenset(gone)

        return await self._write(work)

    async def park_wake(self, queue: str, order_key: str, at_ms: int) -> bool:
        """Look at this key again at `at_ms`; False when it is not parked."""
        statement = (
            update(park_key)
            .where(park_key.c.queue == queue, park_key.c.order_key == order_key)
            .values(wake_at=at_ms)
        )

        async def work(connection: AsyncConnection) -> bool:
            return bool((await connection.execute(statement)).rowcount)

        return await self._write(work)

    @asynccontextmanager
    async def unpark(
        self, queue: str, order_key: str, limit: int = 100
    ) -> AsyncIterator[tuple[ParkRow, ...]]:
        """Take the first `limit` rows of a key, in order. Publish them inside the block: when it
        ends well they are deleted, and with the last one the key is no longer parked; when it
        raises all of them stay, in place.

        Others who park or unpark this key wait for the block to end; do not do either inside it.
        """
        lock = (
            select(park_key.c.wake_at)
            .where(park_key.c.queue == queue, park_key.c.order_key == order_key)
            .with_for_update()
        )
        query = (
            select(parked.c.seq, parked.c.id, parked.c.body, parked.c.message)
            .where(parked.c.queue == queue, parked.c.order_key == order_key)
            .order_by(parked.c.seq)
            .limit(limit)
        )
        async with self._take(lock, "park") as taken:
            wake_at = taken.rows[0][0] if taken.rows else 0
            rows = await taken.more(query) if taken.rows else ()
            yield tuple(
                ParkRow(row.id, queue, order_key, row.body, row.message, wake_at) for row in rows
            )
            if taken.rows:
                left = exists().where(parked.c.queue == queue, parked.c.order_key == order_key)
                await taken.finish(
                    delete(parked).where(parked.c.seq.in_([row.seq for row in rows])),
                    delete(park_key).where(
                        park_key.c.queue == queue, park_key.c.order_key == order_key, ~left
                    ),
                )

    async def drop_parked(self, ids: Sequence[tuple[str, str]]) -> int:
        """Delete the lists of (queue, order_key), rows and all, when an operator gives them up; how
        many rows."""
        if not ids:
            return 0
        mine = list(ids)

        async def work(connection: AsyncConnection) -> int:
            rows = delete(parked).where(tuple_(parked.c.queue, parked.c.order_key).in_(mine))
            keys = delete(park_key).where(tuple_(park_key.c.queue, park_key.c.order_key).in_(mine))
            # The key first: it is the lock of the list.
            await connection.execute(keys)
            return int((await connection.execute(rows)).rowcount)

        async with self._alone("park"):
            return await self._write(work)

    async def count_parked(self) -> Backlog:
        """How many envelopes are parked, and since when the oldest key has been."""
        async with self._read() as connection:
            count = (
                await connection.execute(select(func.count()).select_from(parked))
            ).scalar_one()
            since = (await connection.execute(select(func.min(park_key.c.since)))).scalar_one()
        return Backlog(int(count), since)
