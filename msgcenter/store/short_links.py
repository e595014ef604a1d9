"""Short links: where each leads, until when, and how often it was opened."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import case, delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from msgcenter.store import ShortLinkRow
from msgcenter.store.database import Database, chunks, rows_of
from msgcenter.store.rows import clean
from msgcenter.store.tables import short_link


class ShortLinks(Database):
    """Add, open, count, forget."""

    async def add_links(self, rows: Sequence[ShortLinkRow]) -> None:
        """Keep new links; durable on return. Known ids are left out."""
        if not rows:
            return
        insert = self._insert(short_link).on_conflict_do_nothing()

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(insert, rows_of(rows))

        await self._write(work)

    async def move_links(self, message: str, to: str) -> None:
        """The links made for one message id belong to another: the request was a repeat, whose message has an id already."""
        statement = (
            update(short_link).where(short_link.c.message == clean(message)).values(message=to)
        )

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(statement)

        await self._write(work)

    async def link(self, link_id: str) -> ShortLinkRow | None:
        """One of them."""
        query = select(short_link).where(short_link.c.id == clean(link_id))
        async with self._read() as connection:
            row = (await connection.execute(query)).one_or_none()
        return ShortLinkRow(**row._mapping) if row is not None else None

    async def links_of(self, message: str) -> list[ShortLinkRow]:
        """Of one message, by name."""
        query = (
            select(short_link)
            .where(short_link.c.message == clean(message))
            .order_by(short_link.c.name, short_link.c.id)
        )
        async with self._read() as connection:
            return [ShortLinkRow(**row._mapping) for row in await connection.execute(query)]

    async def count_click(self, link_id: str, at: int) -> None:
        """It was opened once more."""
        first = case((short_link.c.first_at == 0, at), else_=short_link.c.first_at)
        statement = (
            update(short_link)
            .where(short_link.c.id == clean(link_id))
            .values(clicks=short_link.c.clicks + 1, first_at=first, last_at=at)
        )

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(statement)

        await self._write(work)

    async def forget_links(self, before_ms: int, limit: int = 5_000) -> int:
        """Delete some that ended before then; how many."""
        old = select(short_link.c.id).where(short_link.c.until < before_ms).limit(limit)
        gone: list[str] = []

        async def work(connection: AsyncConnection) -> int:
            gone[:] = list((await connection.execute(old)).scalars())
            for chunk in chunks(gone):
                await connection.execute(delete(short_link).where(short_link.c.id.in_(chunk)))
            return len(gone)

        return await self._write(work)
