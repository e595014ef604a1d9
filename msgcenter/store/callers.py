"""Callers: what became of the messages of one caller in a stretch of time, counted in the message store."""

from __future__ import annotations

from sqlalchemy import func, select

from msgcenter.store import Fate
from msgcenter.store.database import Database
from msgcenter.store.rows import clean
from msgcenter.store.tables import message

_INTERNAL = ("event", "command", "signal")
"""Categories of what the core itself sends in a caller's name."""


class Callers(Database):
    """Counts by caller; one pass over its messages of that time, by index."""

    async def fates(self, caller: str, from_ms: int, to_ms: int) -> list[Fate]:
        """Messages that the caller sent and that were created in the time, by status and reason code; most first."""
        query = (
            select(message.c.status, message.c.code, func.count().label("count"))
            .where(
                message.c.caller == clean(caller),
                message.c.created_at >= from_ms,
                message.c.created_at < to_ms,
                message.c.direction == "out",
                message.c.category.not_in(_INTERNAL),
            )
            .group_by(message.c.status, message.c.code)
        )
        async with self._read() as connection:
            found = [Fate(*row) for row in await connection.execute(query)]
        return sorted(found, key=lambda fate: (-fate.count, fate.status, fate.code))
