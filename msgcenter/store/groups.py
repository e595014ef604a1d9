"""The group registry: one row for each group, changed only by reading it and writing what follows, in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, delete, func, select, text, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from msgcenter.store import Asked, GroupFilter, GroupRow, Page, Seal
from msgcenter.store.cursors import decode_place, encode_place
from msgcenter.store.database import Database, chunks, rows_of, wanted
from msgcenter.store.rows import clean
from msgcenter.store.tables import grp, sealed

#: What becomes of a group; None or the same row = nothing.
Change = Callable[[GroupRow], GroupRow | None]


def _row(row: Row[Any]) -> GroupRow:
    values = dict(row._mapping)
    values["members"] = tuple(values["members"])
    values["asked"] = Asked(**values["asked"]) if values["asked"] else None
    values["seal"] = Seal(**values["seal"]) if values["seal"] else None
    return GroupRow(**values)


class Groups(Database):
    """Add, find, list, change."""

    async def add_group(self, row: GroupRow, again: Change) -> GroupRow:
        """Keep a new group; when its id is there already, `again` is applied to it. The row as it is then."""
        statement = self._insert(grp).on_conflict_do_nothing()
        values = _values(row)

        async def work(connection: AsyncConnection) -> GroupRow:
            if (await connection.execute(statement, values)).rowcount:
                return row
            found = await self._locked(connection, grp.c.id == row.id)
            return await self._changed(connection, found[0], again)

        return await self._write(work)

    async def groups_by_id(self, ids: Sequence[str]) -> dict[str, GroupRow]:
        """Those that exist."""
        out: dict[str, GroupRow] = {}
        async with self._read() as connection:
            for chunk in chunks([clean(one) for one in ids]):
                rows = await connection.execute(select(grp).where(grp.c.id.in_(chunk)))
                out.update((row.id, _row(row)) for row in rows)
        return out

    async def group_of_chat(self, channel: str, chat: str) -> GroupRow | None:
        """The group that the far end of this channel calls so; one made here rather than one read in."""
        query = (
            select(grp)
            .where(grp.c.channel == clean(channel), grp.c.chat == clean(chat))
            .order_by(grp.c.imported, grp.c.id)
            .limit(1)
        )
        async with self._read() as connection:
            row = (await connection.execute(query)).one_or_none()
            return None if row is None else _row(row)

    async def list_groups(
        self, filters: GroupFilter | None = None, cursor: str = "", limit: int = 100
    ) -> Page[GroupRow]:
        """Newest first. Raises BadCursor."""
        f = filters or GroupFilter()
        query: Select[Any] = select(grp).where(
            *wanted(
                (grp.c.kind, f.kind),
                (grp.c.channel, f.channel),
                (grp.c.account, f.account),
                (grp.c.state, f.state),
                (grp.c.chat, f.chat),
            )
        )
        if f.caller:
            owners = [clean(f.caller), *([""] if f.or_unowned else [])]
            query = query.where(grp.c.caller.in_(owners))
        if cursor:
            at, key = decode_place(cursor)
            query = query.where(tuple_(grp.c.created_at, grp.c.id) < tuple_(at, key))
        query = query.order_by(grp.c.created_at.desc(), grp.c.id.desc()).limit(limit + 1)
        async with self._read() as connection:
            rows = [_row(row) for row in await connection.execute(query)]
        more = len(rows) > limit
        rows = rows[:limit]
        return Page(tuple(rows), encode_place(rows[-1].created_at, rows[-1].id) if more else "")

    async def groups_under_way(
        self, before_ms: int, after: str = "", limit: int = 500
    ) -> list[GroupRow]:
        """Groups that have been `creating` or `dissolving` since before then, by id, from behind `after`."""
        query = (
            select(grp)
            .where(grp.c.state.in_(("creating", "dissolving")), grp.c.since < before_ms)
            .where(grp.c.command != "", grp.c.id > after)
            .order_by(grp.c.id)
            .limit(limit)
        )
        async with self._read() as connection:
            return [_row(row) for row in await connection.execute(query)]

    async def groups_unapproved(self, before_ms: int, limit: int = 500) -> list[GroupRow]:
        """Groups whose dissolution has waited for an approval since before then."""
        query = (
            select(grp)
            .where(text("unapproved_since > 0"), grp.c.unapproved_since < before_ms)
            .order_by(grp.c.unapproved_since)
            .limit(limit)
        )
        async with self._read() as connection:
            return [_row(row) for row in await connection.execute(query)]

    async def count_groups(self) -> dict[tuple[str, str], int]:
        """(channel, state) -> how many."""
        query = select(grp.c.channel, grp.c.state, func.count()).group_by(
            grp.c.channel, grp.c.state
        )
        async with self._read() as connection:
            rows = await connection.execute(query)
            return {(channel, state): int(count) for channel, state, count in rows}

    async def change_group(self, group: str, change: Change) -> GroupRow | None:
        """Apply `change` to the row as it is now, alone; the row afterwards, None when there is none."""

        async def work(connection: AsyncConnection) -> GroupRow | None:
            found = await self._locked(connection, grp.c.id == clean(group))
            if not found:
                return None
            return await self._changed(connection, found[0], change)

        return await self._write(work)

    async def name_group(self, group: str, change: Change) -> GroupRow | None:
        """`change_group` for a change that may learn the group's chat: a row that was read in under this chat meanwhile is
        the same group, and goes."""

        async def work(connection: AsyncConnection) -> GroupRow | None:
            found = await self._locked(connection, grp.c.id == clean(group))
            if not found:
                return None
            row = await self._changed(connection, found[0], change)
            if row.chat and row.chat != found[0].chat:
                same = (grp.c.channel == row.channel) & (grp.c.chat == row.chat)
                await connection.execute(
                    delete(grp).where(same, grp.c.id != row.id, grp.c.imported.is_(True))
                )
            return row

        return await self._write(work)

    async def see_group(
        self, channel: str, chat: str, change: Change, new: GroupRow | None
    ) -> GroupRow | None:
        """Apply `change` to the group with this chat; keep `new` first when there is none and `new` is given."""
        insert = self._insert(grp).on_conflict_do_nothing()

        async def work(connection: AsyncConnection) -> GroupRow | None:
            here = (grp.c.channel == clean(channel)) & (grp.c.chat == clean(chat))
            found = await self._locked(connection, here)
            if not found and new is not None:
                await connection.execute(insert, _values(new))
                found = await self._locked(connection, here)
            if not found:
                return None
            own = sorted(found, key=lambda row: row.imported)
            return await self._changed(connection, own[0], change)

        return await self._write(work)

    async def _locked(
        self, connection: AsyncConnection, condition: ColumnElement[bool]
    ) -> list[GroupRow]:
        rows = await connection.execute(
            select(grp).where(condition).order_by(grp.c.id).with_for_update()
        )
        return [_row(row) for row in rows]

    async def _changed(
        self, connection: AsyncConnection, row: GroupRow, change: Change
    ) -> GroupRow:
        after = change(row)
        if after is None or after == row:
            return row
        after = replace(after, id=row.id)
        values = _values(after)
        del values["id"]
        await connection.execute(update(grp).where(grp.c.id == row.id).values(values))
        if row.seal is not None and after.seal != row.seal:  # it lives on: its seal is for nothing
            await connection.execute(delete(sealed).where(sealed.c.seal == row.seal.id))
        return after


def _values(row: GroupRow) -> dict[str, Any]:
    values = rows_of([row])[0]
    values["members"] = [clean(member) for member in row.members]
    values["asked"] = asdict(row.asked) if row.asked else {}
    values["seal"] = asdict(row.seal) if row.seal else {}
    return values
