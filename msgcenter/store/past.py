"""Past sends: what left in a stretch of time, by person; what counters are built from anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import or_, select

from msgcenter.store import PastSend
from msgcenter.store.database import Database
from msgcenter.store.tables import message, record

MOST_NAMES = 500
"""Names of one statement."""
BEFORE_MS = 31 * 86_400_000
"""How long before its send a message may have been accepted."""


class Past(Database):
    """Read-only; by the index of messages by person."""

    async def people_sent_to(self, since_ms: int, after: str, limit: int) -> list[str]:
        """Person keys behind `after`, in order, with a message that may have left since then."""
        query = (
            select(message.c.person)
            .distinct()
            .where(
                message.c.person > after,
                message.c.direction == "out",
                message.c.created_at >= since_ms - BEFORE_MS,
            )
            .order_by(message.c.person)
            .limit(limit)
        )
        async with self._read() as connection:
            return list((await connection.execute(query)).scalars())

    async def past_sends(self, people: Sequence[str], since_ms: int) -> list[PastSend]:
        """Every pass to these people that left since then."""
        out: list[PastSend] = []
        for start in range(0, len(people), MOST_NAMES):
            out += await self._sends_to(people[start : start + MOST_NAMES], since_ms)
        return out

    async def _sends_to(self, people: Sequence[str], since_ms: int) -> list[PastSend]:
        columns = (message.c[name] for name in ("person", "to", "caller", "account", "category"))
        query = (
            select(
                record.c.message,
                record.c.step,
                record.c.attempt,
                record.c.at,
                record.c.kind,
                record.c.channel,
                record.c.decisions,
                message.c.tier,
                message.c.campaign,
                *columns,
            )
            .join_from(message, record, record.c.message == message.c.id)
            .where(
                message.c.person.in_(people),
                message.c.direction == "out",
                message.c.created_at >= since_ms - BEFORE_MS,
                record.c.receipt.is_(False),
                or_(
                    (record.c.pipeline == "channel") & record.c.kind.in_(("sent", "unknown")),
                    (record.c.pipeline == "submit") & (record.c.kind == "routed"),
                ),
            )
        )
        async with self._read() as connection:
            rows = [row._mapping for row in await connection.execute(query)]
        once = {
            (row["message"], row["step"]): key
            for row in rows
            if row["kind"] == "routed" and (key := _once_of(row["decisions"]))
        }
        return [
            PastSend(
                **{name: row[name] for name in _PLAIN},
                once_key=once.get((row["message"], row["step"]), ""),
            )
            for row in rows
            if row["kind"] != "routed" and row["at"] >= since_ms
        ]


_PLAIN = (
    *("message", "step", "attempt", "at", "person", "to", "caller", "account"),
    *("category", "tier", "channel", "campaign"),
)


def _once_of(decisions: Sequence[Mapping[str, Any]]) -> str:
    """The once key that a pass has paid for, as `reserve` wrote it down."""
    for decision in decisions:
        if decision.get("stage") == "reserve":
            key = decision.get("facts", {}).get("once", "")
            if key:
                return str(key)
    return ""
