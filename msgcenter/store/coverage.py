"""Coverage: for one stretch of time, what each account's channels read of its conversations, and what only one of them did."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Boolean, and_, case, cast, distinct, exists, func, or_, select

from msgcenter.store import Alone, Coverage, Missing
from msgcenter.store.database import Database
from msgcenter.store.rows import clean
from msgcenter.store.tables import message, sighting

_LEFT = ("sent", "unknown", "delivered", "read")
"""Statuses of an own send that left."""


class Reconciling(Database):
    """Counts for the comparison of what we relayed with what the platform keeps."""

    async def coverage(self, archives: Sequence[str], from_ms: int, to_ms: int) -> list[Coverage]:
        """What these channels (archives) read of each account, by account; times are those of the messages."""
        read, live = sighting, sighting.alias()
        archived = [clean(one) for one in archives]
        read_live = exists().where(
            live.c.message == read.c.message, live.c.channel.not_in(archived)
        )
        query = (
            select(
                read.c.account,
                func.count(),
                func.count(message.c.id),
                func.sum(case((and_(message.c.id.is_not(None), ~read_live), 1), else_=0)),
                func.sum(case((cast(read.c.copy, Boolean), 1), else_=0)),
            )
            .select_from(
                read.outerjoin(
                    message, and_(message.c.id == read.c.message, message.c.known.is_(True))
                )
            )
            .where(
                read.c.channel.in_(archived),
                read.c.own.is_(False),
                read.c.at >= from_ms,
                read.c.at < to_ms,
            )
            .group_by(read.c.account)
            .order_by(read.c.account)
        )
        async with self._read() as connection:
            rows = await connection.execute(query)
            return [Coverage(*row) for row in rows]

    async def missing(
        self, archives: Sequence[str], from_ms: int, to_ms: int, limit: int = 1000
    ) -> list[Missing]:
        """What these read and was not relayed, by account and time."""
        read = sighting
        relayed = exists().where(message.c.id == read.c.message, message.c.known.is_(True))
        query = (
            select(read.c.account, read.c.person, read.c.remote_id, read.c.at)
            .where(
                read.c.channel.in_([clean(one) for one in archives]),
                read.c.own.is_(False),
                read.c.at >= from_ms,
                read.c.at < to_ms,
                ~relayed,
            )
            .order_by(read.c.account, read.c.at, read.c.id)
            .limit(limit)
        )
        async with self._read() as connection:
            return [Missing(*row) for row in await connection.execute(query)]

    async def alone(
        self, archives: Sequence[str], from_ms: int, to_ms: int, limit: int = 10_000
    ) -> list[Alone]:
        """What we relayed of conversations that an archive might have kept, and none of these did: by account and person."""
        archived = [clean(one) for one in archives]
        other = sighting.alias()
        kept = exists().where(
            other.c.message == sighting.c.message,
            other.c.channel.in_(archived),
        )
        query = (
            select(
                sighting.c.account,
                sighting.c.person,
                func.count(distinct(sighting.c.message)),
                func.max(sighting.c.at),
            )
            .select_from(sighting.join(message, message.c.id == sighting.c.message))
            .where(
                sighting.c.channel.not_in(archived),
                sighting.c.at >= from_ms,
                sighting.c.at < to_ms,
                or_(sighting.c.own.is_(False), message.c.status.in_(_LEFT)),
                ~kept,
            )
            .group_by(sighting.c.account, sighting.c.person)
            .order_by(sighting.c.account, sighting.c.person)
            .limit(limit)
        )
        async with self._read() as connection:
            return [Alone(*row) for row in await connection.execute(query)]

    async def relayed(self, from_ms: int, to_ms: int) -> dict[str, dict[str, int]]:
        """Account -> direction -> messages of that time."""
        query = (
            select(message.c.account, message.c.direction, func.count())
            .where(
                message.c.created_at >= from_ms,
                message.c.created_at < to_ms,
                message.c.known.is_(True),
                message.c.account != "",
                or_(message.c.direction != "out", message.c.status.in_(_LEFT)),
            )
            .group_by(message.c.account, message.c.direction)
        )
        out: dict[str, dict[str, int]] = {}
        async with self._read() as connection:
            for account, direction, count in await connection.execute(query):
                out.setdefault(account, {})[direction] = count
        return out
