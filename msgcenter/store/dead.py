"""Dead letters, which can be listed and replayed, and invalid frames, which can only be looked
at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Select, func, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from msgcenter.store import Backlog, DeadFilter, DeadRow, InvalidRow, Page
from msgcenter.store.cursors import decode_place, encode_place
from msgcenter.store.database import Database, chunks, rows_of, wanted
from msgcenter.store.rows import clean
from msgcenter.store.tables import dead, invalid

MAX_INVALID = 64 * 1024

_DEAD = (
    dead.c.id,
    dead.c.message,
    dead.c.caller,
    dead.c.channel,
    dead.c.code,
    dead.c.detail,
    dead.c.at,
    dead.c.body,
    dead.c.replayed_at,
)
_INVALID = (
    invalid.c.id,
    invalid.c.queue,
    invalid.c.reason,
    invalid.c.at,
    invalid.c.body,
    invalid.c.size,
)


class Dead(Database):
    """Add, list, get, mark."""

    async def add_dead(self, rows: Sequence[DeadRow]) -> None:
        """Keep these; a known id stays as it is."""
        if not rows:
            return
        statement, values = self._insert(dead).on_conflict_do_nothing(), rows_of(rows)

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(statement, values)

        await self._write(work)

    async def list_dead(
        self,
        caller: str | None = None,
        filters: DeadFilter | None = None,
        cursor: str = "",
        limit: int = 100,
    ) -> Page[DeadRow]:
        """Newest first; `caller` None = everybody's. Raises BadCursor."""
        f = filters or DeadFilter()
        query: Select[Any] = select(*_DEAD).where(
            *wanted((dead.c.channel, f.channel), (dead.c.code, f.code), (dead.c.message, f.message))
        )
        if caller is not None:
            query = query.where(dead.c.caller == clean(caller))
        if f.from_ms:
            query = query.where(dead.c.at >= f.from_ms)
        if f.to_ms:
            query = query.where(dead.c.at < f.to_ms)
        if f.replayed is not None:
            query = query.where(dead.c.replayed_at > 0 if f.replayed else dead.c.replayed_at == 0)
        if cursor:
            query = query.where(tuple_(dead.c.at, dead.c.id) < tuple_(*decode_place(cursor)))
        query = query.order_by(dead.c.at.desc(), dead.c.id.desc()).limit(limit + 1)
        async with self._read() as connection:
            rows = [DeadRow(*row) for row in await connection.execute(query)]
        more = len(rows) > limit
        rows = rows[:limit]
        return Page(tuple(rows), encode_place(rows[-1].at, rows[-1].id) if more else "")

    async def get_dead(self, ids: Sequence[str]) -> tuple[DeadRow, ...]:
        """Those of `ids` that exist, in the order asked for."""
        found: dict[str, DeadRow] = {}
        async with self._read() as connection:
            for chunk in chunks([clean(key) for key in ids]):
                query = select(*_DEAD).where(dead.c.id.in_(chunk))
                found.update((row.id, DeadRow(*row)) for row in await connection.execute(query))
        return tuple(found[key] for key in ids if key in found)

    async def mark_replayed(self, ids: Sequence[str], at: int) -> int:
        """Note that these went back to work at `at`; how many of them existed."""
        if not ids:
            return 0
        statements = [
            update(dead).where(dead.c.id.in_(chunk)).values(replayed_at=at) for chunk in chunks(ids)
        ]

        async def work(connection: AsyncConnection) -> int:
            return sum(
                [int((await connection.execute(statement)).rowcount) for statement in statements]
            )

        return await self._write(work)

    async def count_dead(self) -> Backlog:
        """Not replayed yet: how many, and the time of the oldest."""
        query = select(func.count(), func.min(dead.c.at)).where(dead.c.replayed_at == 0)
        async with self._read() as connection:
            row = (await connection.execute(query)).one()
        return Backlog(int(row[0]), row[1])

    async def add_invalid(self, rows: Sequence[InvalidRow]) -> None:
        """Keep these, of each at most the first 64 KiB; a known id stays as it is."""
        if not rows:
            return
        statement = self._insert(invalid).on_conflict_do_nothing()
        values = rows_of([replace(row, body=row.body[:MAX_INVALID]) for row in rows])

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(statement, values)

        await self._write(work)

    async def list_invalid(self, cursor: str = "", limit: int = 100) -> Page[InvalidRow]:
        """Newest first. Raises BadCursor."""
        query: Select[Any] = select(*_INVALID)
        if cursor:
            query = query.where(tuple_(invalid.c.at, invalid.c.id) < tuple_(*decode_place(cursor)))
        query = query.order_by(invalid.c.at.desc(), invalid.c.id.desc()).limit(limit + 1)
        async with self._read() as connection:
            rows = [InvalidRow(*row) for row in await connection.execute(query)]
        more = len(rows) > limit
        rows = rows[:limit]
        return Page(tuple(rows), encode_place(rows[-1].at, rows[-1].id) if more else "")

    async def count_invalid(self) -> Backlog:
        """How many frames nobody could read, and the time of the first."""
        async with self._read() as connection:
            row = (await connection.execute(select(func.count(), func.min(invalid.c.at)))).one()
        return Backlog(int(row[0]), row[1])
