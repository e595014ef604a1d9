"""Checkpoints: how far a channel has read at each of its sources, kept for whichever process reads on."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from msgcenter.store.database import Database
from msgcenter.store.rows import clean
from msgcenter.store.tables import checkpoint


class Checkpoints(Database):
    """Read and save; the last word saved stands (one reader at a time is the caller's business)."""

    async def checkpoint(self, channel: str, name: str) -> str:
        """The cursor of a channel's source, "" when none was saved."""
        query = select(checkpoint.c.value).where(
            checkpoint.c.channel == clean(channel), checkpoint.c.name == clean(name)
        )
        async with self._read() as connection:
            return (await connection.execute(query)).scalar_one_or_none() or ""

    async def checkpoints(self, channel: str) -> dict[str, tuple[str, int]]:
        """Every cursor of a channel: name -> (value, when it was saved)."""
        query = select(checkpoint).where(checkpoint.c.channel == clean(channel))
        async with self._read() as connection:
            rows = await connection.execute(query.order_by(checkpoint.c.name))
            return {row.name: (row.value, row.at) for row in rows}

    async def save_checkpoint(self, channel: str, name: str, value: str) -> None:
        """Keep a cursor; durable on return."""
        row = {
            "channel": clean(channel),
            "name": clean(name),
            "value": clean(value),
            "at": self._clock.now_ms(),
        }
        insert = self._insert(checkpoint)
        upsert = insert.on_conflict_do_update(
            index_elements=[checkpoint.c.channel, checkpoint.c.name],
            set_={"value": insert.excluded.value, "at": insert.excluded.at},
        )

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(upsert, row)

        await self._write(work)
