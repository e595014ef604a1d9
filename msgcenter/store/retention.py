"""Retention: what the readable history and the event log no longer keep, deleted a little at a time.

The event log loses whole beginnings of partitions, never a row from the middle: what is left is contiguous, and a reader whose
cursor stands before its first row can be told so.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from msgcenter.status import PENDING
from msgcenter.store.database import Database, chunks
from msgcenter.store.tables import event, event_head, message, record


class Retention(Database):
    """Each deletes at most `limit` and says how many went: call it again while that is `limit`."""

    async def forget_events(self, before_ms: int, limit: int = 5_000) -> int:
        """Delete events that happened before then, from the beginning of each partition up to the first that did not."""

        async def work(connection: AsyncConnection) -> int:
            partitions = (await connection.execute(select(event_head.c.partition))).scalars().all()
            gone = 0
            for partition in sorted(partitions):
                oldest = (
                    select(event.c.position, event.c.at)
                    .where(event.c.partition == partition)
                    .order_by(event.c.position)
                    .limit(limit - gone)
                )
                last = 0
                for row in await connection.execute(oldest):
                    if row.at >= before_ms:
                        break
                    last = row.position
                if last:
                    done = await connection.execute(
                        delete(event).where(
                            event.c.partition == partition, event.c.position <= last
                        )
                    )
                    gone += done.rowcount
                if gone >= limit:
                    break
            return gone

        return await self._write(work)

    async def forget_messages(
        self,
        categories: Sequence[str],
        since_ms: int,
        before_ms: int,
        limit: int = 5_000,
        *,
        others: bool = False,
    ) -> int:
        """Delete messages of these categories (`others`: of all but these), with their records, that were accepted or received
        in [since, before). What is pending stays: it is due, parked, or somebody has to look at it."""
        category = message.c.category
        concerned = category.not_in(categories) if others else category.in_(categories)
        old = (
            select(message.c.id)
            .where(
                message.c.created_at >= since_ms,
                message.c.created_at < before_ms,
                concerned,
                message.c.known.is_(True),  # a status that came before its message has no time yet
                message.c.status.not_in(PENDING),
            )
            .order_by(message.c.created_at)
            .limit(limit)
        )

        async def work(connection: AsyncConnection) -> int:
            ids = (await connection.execute(old)).scalars().all()
            for chunk in chunks(ids):
                await connection.execute(delete(record).where(record.c.message.in_(chunk)))
                await connection.execute(delete(message).where(message.c.id.in_(chunk)))
            return len(ids)

        return await self._write(work)
