"""What is known of each file of the media store, one row for each caller that brought it ("" = it came in by a channel)."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from msgcenter.store import MediaRow
from msgcenter.store.database import Database, chunks, rows_of
from msgcenter.store.rows import clean
from msgcenter.store.tables import media


class MediaRows(Database):
    """Add and find; files themselves lie in the media store."""

    async def add_media(self, row: MediaRow) -> MediaRow:
        """Keep a row; the one that stands (the first of its id and caller) comes back."""
        insert = self._insert(media).on_conflict_do_nothing()
        values = rows_of([row])[0]
        query = select(media).where(media.c.id == row.id, media.c.caller == row.caller)

        async def work(connection: AsyncConnection) -> MediaRow:
            await connection.execute(insert, values)
            return MediaRow(**(await connection.execute(query)).one()._mapping)

        return await self._write(work)

    async def find_media(self, ids: Sequence[str]) -> list[MediaRow]:
        """All rows of these files, by id and then caller."""
        found: list[MediaRow] = []
        async with self._read() as connection:
            for some in chunks(sorted({clean(one) for one in ids})):
                query = select(media).where(media.c.id.in_(some))
                rows = await connection.execute(query.order_by(media.c.id, media.c.caller))
                found += [MediaRow(**row._mapping) for row in rows]
        return found
