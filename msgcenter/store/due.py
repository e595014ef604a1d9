"""Due rows: envelopes that wait for a time; taken in batches by one worker each, published, then
deleted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, delete, func, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from msgcenter.store import Backlog, DueFilter, DueRow, Page
from msgcenter.store.cursors import decode_place, encode_place
from msgcenter.store.database import Database, rows_of, wanted
from msgcenter.store.tables import due

_COLUMNS = (
    due.c.id,
    due.c.at_ms,
    due.c.body,
    due.c.message,
    due.c.caller,
    due.c.rule,
    due.c.lane,
    due.c.person,
)


def _row(row: Row[Any]) -> DueRow:
    return DueRow(**row._mapping)


def _by_rules(but: Sequence[str]) -> tuple[ColumnElement[bool], ...]:
    paused = (due.c.rule >= "paused:") & (due.c.rule < "paused;")
    return due.c.rule.not_in((*but, "resumed")), ~paused


class Due(Database):
    """Hold, take, cancel, re-time, list."""

    async def hold(self, rows: Sequence[DueRow]) -> None:
        """Keep these until their time; a row whose id is there already stays as it is. Durable on
        return."""
        if not rows:
            return
        values = rows_of(rows)
        statement = self._insert(due).on_conflict_do_nothing()

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(statement, values)

        await self._write(work)

    @asynccontextmanager
    async def take_due(self, now_ms: int, limit: int = 1000) -> AsyncIterator[tuple[DueRow, ...]]:
        """Take up to `limit` rows whose time has come, earliest first; nobody else gets them
        meanwhile.

        Publish them inside the block: when it ends well they are deleted, when it raises (or the
        process dies) they are all still there, so they may be published twice and never be lost. On
        SQLite one block runs at a time; do not call `cancel_due` or `retime_due` inside the block.
        """
        query: Select[Any] = (
            select(*_COLUMNS)
            .where(due.c.at_ms <= now_ms)
            .order_by(due.c.at_ms, due.c.id)
            .limit(limit)
        )
        async with self._take(query.with_for_update(skip_locked=True), "due") as taken:
            rows = tuple(_row(row) for row in taken.rows)
            yield rows
            if rows:
                await taken.finish(delete(due).where(due.c.id.in_([row.id for row in rows])))

    async def cancel_due(self, message_ids: Sequence[str]) -> frozenset[str]:
        """Delete the rows of these messages; the ids of those that still had one. Rows being taken
        are waited for."""
        if not message_ids:
            return frozenset()
        statement = delete(due).where(due.c.message.in_(message_ids)).returning(due.c.message)

        async def work(connection: AsyncConnection) -> frozenset[str]:
            return frozenset((await connection.execute(statement)).scalars())

        async with self._alone("due"):
            return await self._write(work)

    async def retime_due(self, message_ids: Sequence[str], at_ms: int) -> int:
        """Move the rows of these messages to another time; how many there were."""
        if not message_ids:
            return 0
        statement = update(due).where(due.c.message.in_(message_ids)).values(at_ms=at_ms)

        async def work(connection: AsyncConnection) -> int:
            return int((await connection.execute(statement)).rowcount)

        async with self._alone("due"):
            return await self._write(work)

    async def hasten_due(
        self, at_ms: int, *, but: Sequence[str] = (), only: Sequence[str] = ()
    ) -> int:
        """Move to `at_ms` what waits longer: of the rules `only`; else all except the rules `but`, what waits for the end of a
        pause, and what was let out after one. How many there were."""
        which = (due.c.rule.in_(only),) if only else _by_rules(but)
        statement = update(due).where(due.c.at_ms > at_ms, *which)

        async def work(connection: AsyncConnection) -> int:
            return int((await connection.execute(statement.values(at_ms=at_ms))).rowcount)

        async with self._alone("due"):
            return await self._write(work)

    async def list_due(
        self, filters: DueFilter | None = None, cursor: str = "", limit: int = 100
    ) -> Page[DueRow]:
        """What waits, earliest first. Raises BadCursor."""
        filters = filters or DueFilter()
        query: Select[Any] = select(*_COLUMNS).order_by(due.c.at_ms, due.c.id).limit(limit + 1)
        if cursor:
            at, key = decode_place(cursor)
            query = query.where(tuple_(due.c.at_ms, due.c.id) > tuple_(at, key))
        conditions: list[ColumnElement[bool]] = wanted(
            (due.c.caller, filters.caller),
            (due.c.person, filters.person),
            (due.c.rule, filters.rule),
            (due.c.lane, filters.lane),
            (due.c.message, filters.message),
        )
        if filters.from_ms:
            conditions.append(due.c.at_ms >= filters.from_ms)
        if filters.to_ms:
            conditions.append(due.c.at_ms < filters.to_ms)
        async with self._read() as connection:
            rows = [_row(row) for row in await connection.execute(query.where(*conditions))]
        more = len(rows) > limit
        rows = rows[:limit]
        return Page(tuple(rows), encode_place(rows[-1].at_ms, rows[-1].id) if more else "")

    async def count_due(self) -> Backlog:
        """How many wait, and the earliest due time (in the past = overdue)."""
        async with self._read() as connection:
            row = (await connection.execute(select(func.count(), func.min(due.c.at_ms)))).one()
        return Backlog(int(row[0]), row[1])

    async def count_held(self, but: Sequence[str]) -> int:
        """How many `hasten_due` would move, whatever their time."""
        query = select(func.count()).where(*_by_rules(but))
        async with self._read() as connection:
            return int((await connection.execute(query)).scalar_one())
