"""The event log: per partition, contiguous positions in commit order, so that a reader's cursor
never skips a row.

Positions are given out while the partition's row in `event_head` is locked, and the lock is let go
by the commit: a reader that sees position n sees every one before it. Any number of writers may
append; they take turns.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Row, Select, func, literal, select, union_all, update
from sqlalchemy.ext.asyncio import AsyncConnection

from msgcenter.store import Event, EventPage, Logged
from msgcenter.store.bulk import Bulk
from msgcenter.store.database import Database, chunks, rows_of
from msgcenter.store.rows import clean
from msgcenter.store.tables import event, event_head

_COLUMNS = tuple(event.c)


def _logged(row: Row[Any]) -> Logged:
    return Logged(
        row.partition,
        row.position,
        Event(row.id, row.caller, row.type, row.at, row.subject, row.message, row.data),
    )


class Events(Database):
    """Append and read."""

    _append: Bulk | None = None

    async def append_events(self, partition: int, events: Sequence[Event]) -> int:
        """Append those whose id is not in the log yet, in order; the partition's last position
        afterwards.

        Raises StoreError also when another writer is just now taking the same id elsewhere: try
        again.
        """
        return (await self.append_many({partition: events}))[partition]

    async def append_many(self, batches: Mapping[int, Sequence[Event]]) -> dict[int, int]:
        """`append_events` for several partitions in one transaction; partition -> its last
        position."""
        unique: dict[str, Event] = {}
        place: dict[str, int] = {}
        for partition in sorted(batches):
            for item in batches[partition]:
                unique.setdefault(item.id, item)
                place.setdefault(item.id, partition)
        append = self._append = self._append or Bulk(event, self.is_sqlite)
        make_heads = self._insert(event_head).on_conflict_do_nothing()
        blank = [{"partition": partition, "position": 0} for partition in sorted(batches)]
        lock = (
            select(event_head.c.partition, event_head.c.position)
            .where(event_head.c.partition.in_(sorted(batches)))
            .order_by(event_head.c.partition)  # all writers lock in this order
            .with_for_update()
        )

        async def work(connection: AsyncConnection) -> dict[int, int]:
            found = (await connection.execute(lock)).all()
            if len(found) < len(blank):
                await connection.execute(make_heads, blank)
                found = (await connection.execute(lock)).all()
            heads = {row.partition: int(row.position) for row in found}
            known: set[str] = set()
            for chunk in chunks(list(unique)):
                ids = await connection.execute(select(event.c.id).where(event.c.id.in_(chunk)))
                known.update(ids.scalars())
            new = [item for item in unique.values() if item.id not in known]
            if not new:
                return heads
            rows = rows_of(new)
            for row in rows:
                partition = place[row["id"]]
                heads[partition] += 1
                row["partition"], row["position"] = partition, heads[partition]
            await connection.execute(append.insert, append.parameters(rows))
            for partition in sorted({place[item.id] for item in new}):
                await connection.execute(
                    update(event_head)
                    .where(event_head.c.partition == partition)
                    .values(position=heads[partition])
                )
            return heads

        if not batches:
            return {}
        return await self._write(work)

    async def read_events(
        self, caller: str | None, cursor: Mapping[int, int], limit: int = 100
    ) -> EventPage:
        """Up to `limit` events after `cursor`, of one caller or (None) of all; in order within each
        partition.

        An empty page means that there is nothing new. Partitions that the cursor does not name
        start at the first that is kept.
        """
        heads = await self.event_heads()
        behind = [p for p, head in heads.items() if cursor.get(p, 0) < head]
        begins = await self._event_begins(heads, behind)
        positions = {**dict.fromkeys(heads, 0), **cursor}
        missed = sum(max(0, begins[p] - cursor[p]) for p in behind if p in cursor)
        positions |= {p: max(positions[p], begins[p]) for p in behind}
        queries: list[Select[Any]] = []
        for partition in sorted(heads):
            if positions[partition] >= heads[partition]:
                continue
            query = (
                select(*_COLUMNS)
                .where(event.c.partition == partition, event.c.position > positions[partition])
                .order_by(event.c.position)
                .limit(limit)
            )
            if caller is not None:
                query = query.where(event.c.caller == clean(caller))
            queries.append(query)
        if not queries:
            return EventPage((), positions, missed)
        # SQLite takes no LIMIT directly inside a UNION.
        parts = [select(query.subquery()) for query in queries]
        by_partition: dict[int, list[Logged]] = {}
        async with self._read() as connection:
            for row in await connection.execute(union_all(*parts)):
                by_partition.setdefault(row.partition, []).append(_logged(row))
        for items in by_partition.values():
            items.sort(key=lambda item: item.position)
        merge = heapq.merge(*by_partition.values(), key=lambda item: item.event.at)
        page = [item for _, item in zip(range(limit), merge, strict=False)]
        given: dict[int, int] = {}
        for item in page:
            positions[item.partition] = item.position
            given[item.partition] = given.get(item.partition, 0) + 1
        for partition, head in heads.items():
            # Read to the end: the heads are older than the rows, so nothing up to them is missing.
            if given.get(partition, 0) == len(by_partition.get(partition, ())) < limit:
                positions[partition] = max(positions[partition], head)
        return EventPage(tuple(page), positions, missed)

    async def _event_begins(
        self, heads: Mapping[int, int], partitions: Sequence[int]
    ) -> dict[int, int]:
        """The position before the first event that each of these still has; its head when it has none."""
        if not partitions:
            return {}
        first = [
            select(
                literal(partition).label("partition"), func.min(event.c.position).label("position")
            ).where(event.c.partition == partition)
            for partition in partitions
        ]
        async with self._read() as connection:
            rows = (await connection.execute(union_all(*first))).all()
        return {
            row.partition: heads[row.partition] if row.position is None else int(row.position) - 1
            for row in rows
        }

    async def event_positions(self, before: int) -> dict[int, int]:
        """In each partition the position before its first event that happened at a time (epoch milliseconds) or later: what
        follows is everything since, and perhaps an older event that was written down late."""
        query = (
            select(event.c.partition, func.min(event.c.position))
            .where(event.c.at >= before)
            .group_by(event.c.partition)
        )
        heads = await self.event_heads()  # first: what comes after is not before the time
        async with self._read() as connection:
            first = {int(row[0]): int(row[1]) - 1 for row in await connection.execute(query)}
        return {**heads, **first}

    async def event_heads(self) -> dict[int, int]:
        """The last position of each partition: a cursor that starts now."""
        async with self._read() as connection:
            rows = await connection.execute(select(event_head.c.partition, event_head.c.position))
            return {row.partition: row.position for row in rows}
