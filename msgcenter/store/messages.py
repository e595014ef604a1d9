"""The message store: one row for each message, one for each record of it; what `GET /v1/messages`
reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, Select, case, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from msgcenter.store import ContentPolicy, MessageFilter, MessageRow, Page, RecordRow, Traced
from msgcenter.store.bulk import Bulk
from msgcenter.store.cursors import decode_place, encode_place
from msgcenter.store.database import Database, wanted
from msgcenter.store.rows import (
    ENVELOPE_COLUMNS,
    PIPELINES,
    STATUS_COLUMNS,
    clean,
    merged,
    record_row,
)
from msgcenter.store.tables import message, record
from protocols.envelope import Record

_MESSAGE = tuple(
    column for column in message.c if column.name not in ("status_order", "envelope_order")
)
_RECORD = tuple(record.c)


class Messages(Database):
    """Write records, read messages."""

    _archive: tuple[Bulk, Bulk] | None = None

    async def write_records(self, records: Sequence[Record], policy: ContentPolicy) -> None:
        """Store records and bring their messages up to date, in one transaction; repeats and late
        ones do no harm."""
        if not records:
            return
        records_in, messages_in = self._archive_statements()
        record_rows = [record_row(item) for item in records]
        message_rows = merged(records, policy)

        async def work(connection: AsyncConnection) -> None:
            if message_rows:
                await connection.execute(messages_in.insert, messages_in.parameters(message_rows))
            await connection.execute(records_in.insert, records_in.parameters(record_rows))

        await self._write(work)

    def _archive_statements(self) -> tuple[Bulk, Bulk]:
        """(records, messages), built at first use."""
        if self._archive is None:
            records_in = Bulk(record, self.is_sqlite)
            records_in.insert = records_in.insert.on_conflict_do_nothing()
            messages_in = Bulk(message, self.is_sqlite)
            upsert = messages_in.insert
            new = upsert.excluded
            newer_status = new.status_order > message.c.status_order
            newer_envelope = new.envelope_order > message.c.envelope_order
            later = new.updated_at > message.c.updated_at
            changes = {
                name: case((newer_status, new[name]), else_=message.c[name])
                for name in STATUS_COLUMNS
            }
            changes |= {
                name: case((newer_envelope, new[name]), else_=message.c[name])
                for name in ENVELOPE_COLUMNS
            }
            changes["updated_at"] = case((later, new.updated_at), else_=message.c.updated_at)
            messages_in.insert = upsert.on_conflict_do_update(
                index_elements=[message.c.id],
                set_=changes,
                where=or_(newer_status, newer_envelope, later),
            )
            self._archive = (records_in, messages_in)
        return self._archive

    async def message(self, message_id: str) -> Traced | None:
        """One message with its trace; None when unknown."""
        rows = select(*_MESSAGE).where(message.c.id == clean(message_id))
        trace = select(*_RECORD).where(record.c.message == clean(message_id))
        async with self._read() as connection:
            found = (await connection.execute(rows)).one_or_none()
            if found is None:
                return None
            records = [_read_record(row) for row in await connection.execute(trace)]
        records.sort(
            key=lambda r: (r.at, r.step, r.attempt, r.receipt, PIPELINES.get(r.pipeline, 1), r.id)
        )
        return Traced(_read_message(found), tuple(records))

    async def messages(
        self,
        filters: MessageFilter | None = None,
        cursor: str = "",
        limit: int = 100,
        *,
        oldest_first: bool = False,
    ) -> Page[MessageRow]:
        """Messages by creation time, newest first unless asked otherwise. Raises BadCursor."""
        f = filters or MessageFilter()
        place = tuple_(message.c.created_at, message.c.id)
        query: Select[Any] = select(*_MESSAGE).where(
            *wanted(
                (message.c.caller, f.caller),
                (message.c.address, f.address),
                (message.c.person, f.person),
                (message.c.account, f.account),
                (message.c.direction, f.direction),
                (message.c.channel, f.channel),
                (message.c.category, f.category),
                (message.c.campaign, f.campaign),
                (message.c.status, f.status),
                (message.c.order_key, f.order_key),
            )
        )
        if f.from_ms:
            query = query.where(message.c.created_at >= f.from_ms)
        if f.to_ms:
            query = query.where(message.c.created_at < f.to_ms)
        if cursor:
            last = tuple_(*decode_place(cursor))
            query = query.where(place > last if oldest_first else place < last)
        if oldest_first:
            query = query.order_by(message.c.created_at, message.c.id)
        else:
            query = query.order_by(message.c.created_at.desc(), message.c.id.desc())
        async with self._read() as connection:
            found = await connection.execute(query.limit(limit + 1))
            rows = [_read_message(row) for row in found]
        more = len(rows) > limit
        rows = rows[:limit]
        return Page(tuple(rows), encode_place(rows[-1].created_at, rows[-1].id) if more else "")


def _read_message(row: Row[Any]) -> MessageRow:
    values = dict(row._mapping)
    values["mentions"] = tuple(values["mentions"])
    return MessageRow(**values)


def _read_record(row: Row[Any]) -> RecordRow:
    values = dict(row._mapping)
    values["decisions"] = tuple(values["decisions"])
    values["remote_ids"] = tuple(values["remote_ids"])
    return RecordRow(**values)
