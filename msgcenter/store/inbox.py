"""Inboxes: items per owner with unread, read and withdrawn; every change gets the owner's next position, so that a reader resumes without a gap.

An item has one position, that of its latest change: whoever was away sees its present state once, not its history.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import and_, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from msgcenter.store import InboxPage, InboxRow
from msgcenter.store.database import Database, chunks
from msgcenter.store.rows import clean
from msgcenter.store.tables import inbox_head, inbox_item

_Change = Callable[[dict[str, Any]], dict[str, Any] | None]


def _row(row: Any) -> InboxRow:
    return InboxRow(**row._mapping)


class Inboxes(Database):
    """Put in, mark, take back, read on."""

    async def put_in(self, rows: Sequence[InboxRow], most_unread: int) -> list[bool]:
        """Put these in; one that is there already changes nothing. False: that inbox has `most_unread` unread items."""
        owners = sorted({clean(row.owner) for row in rows})
        blank = [{"owner": owner, "position": 0, "unread": 0} for owner in owners]
        make = self._insert(inbox_head).on_conflict_do_nothing()

        async def work(connection: AsyncConnection) -> list[bool]:
            await connection.execute(make, blank)
            heads = await _locked(connection, owners)
            known: set[str] = set()
            for chunk in chunks([row.id for row in rows]):
                found = select(inbox_item.c.id).where(inbox_item.c.id.in_(chunk))
                known.update((await connection.execute(found)).scalars())
            out, new = [], []
            for row in rows:
                head = heads[clean(row.owner)]
                fits = row.id in known or head["unread"] < most_unread
                out.append(fits)
                if fits and row.id not in known:
                    known.add(row.id)
                    head["position"] += 1
                    head["unread"] += 1
                    fields = {**asdict(row), "position": head["position"]}
                    new.append(
                        {n: clean(v) if isinstance(v, str) else v for n, v in fields.items()}
                    )
            if new:
                await connection.execute(inbox_item.insert(), new)
                await _save(connection, heads)
            return out

        return await self._write(work) if rows else []

    async def inbox_items(self, ids: Sequence[str]) -> list[InboxRow]:
        """Those of at most 1,000 `ids` that are there, withdrawn ones too."""
        query = select(inbox_item).where(inbox_item.c.id.in_([clean(one) for one in ids]))
        async with self._read() as connection:
            return [_row(row) for row in await connection.execute(query)]

    async def mark_inbox_read(self, ids: Sequence[str], at: int) -> list[InboxRow]:
        """Those of `ids` that are there and not withdrawn, as they are now; what was read before stays so."""

        def change(item: dict[str, Any]) -> dict[str, Any] | None:
            return None if item["read_at"] or item["withdrawn_at"] else {"read_at": at}

        rows = await self._change(ids, change)
        return [row for row in rows if not row.withdrawn_at]

    async def withdraw_inbox(self, ids: Sequence[str], at: int) -> list[InboxRow]:
        """Those of `ids` that are there, as they are now: withdrawn, their content gone."""

        def change(item: dict[str, Any]) -> dict[str, Any] | None:
            return None if item["withdrawn_at"] else {"withdrawn_at": at, "content": {}}

        return await self._change(ids, change)

    async def inbox_changes(self, owner: str, after: int, limit: int = 100) -> InboxPage:
        """What changed after a position, in order; `position` of the page is where to read on."""
        changed = (
            select(inbox_item)
            .where(inbox_item.c.owner == clean(owner), inbox_item.c.position > after)
            .order_by(inbox_item.c.position)
            .limit(limit)
        )
        async with self._read() as connection:
            # The head first: what it promises is there when the items are read, more may be.
            position, unread = await _head(connection, owner)
            if position <= after:
                return InboxPage((), after, unread)
            items = tuple(_row(row) for row in await connection.execute(changed))
        last = items[-1].position if items else max(position, after)
        return InboxPage(items, last, unread)

    async def inbox(
        self, owner: str, *, unread: bool = False, before: tuple[int, str] | None, limit: int = 100
    ) -> InboxPage:
        """Items newest first, withdrawn ones left out; `position` of the page is that of the inbox."""
        query = (
            select(inbox_item)
            .where(inbox_item.c.owner == clean(owner), inbox_item.c.withdrawn_at == 0)
            .order_by(inbox_item.c.at.desc(), inbox_item.c.id.desc())
            .limit(limit)
        )
        if unread:
            query = query.where(inbox_item.c.read_at == 0)
        if before is not None:
            at, item_id = before
            query = query.where(
                or_(
                    inbox_item.c.at < at,
                    and_(inbox_item.c.at == at, inbox_item.c.id < clean(item_id)),
                )
            )
        async with self._read() as connection:
            position, count = await _head(connection, owner)
            items = tuple(_row(row) for row in await connection.execute(query))
            return InboxPage(items, position, count)

    async def _change(self, ids: Sequence[str], change: _Change) -> list[InboxRow]:
        wanted = list(dict.fromkeys(clean(one) for one in ids))

        async def work(connection: AsyncConnection) -> list[InboxRow]:
            query = select(inbox_item).where(inbox_item.c.id.in_(wanted))
            owners = sorted({row.owner for row in await connection.execute(query)})
            heads = await _locked(connection, owners)
            out = []
            for row in (await connection.execute(query)).all():  # again, now that nobody else may
                item = dict(row._mapping)
                changed = change(item)
                if changed is not None:
                    head = heads[item["owner"]]
                    head["position"] += 1
                    # It was unread until now, and is not any more.
                    head["unread"] -= not (item["read_at"] or item["withdrawn_at"])
                    changed = {**changed, "position": head["position"]}
                    where = inbox_item.c.id == item["id"]
                    await connection.execute(update(inbox_item).where(where).values(**changed))
                    item |= changed
                out.append(InboxRow(**item))
            await _save(connection, heads)
            return sorted(out, key=lambda row: wanted.index(row.id))

        return await self._write(work) if wanted else []


async def _locked(connection: AsyncConnection, owners: Sequence[str]) -> dict[str, dict[str, Any]]:
    query = (
        select(inbox_head)
        .where(inbox_head.c.owner.in_(owners))
        .order_by(inbox_head.c.owner)  # everybody locks in this order
        .with_for_update()
    )
    return {row.owner: dict(row._mapping) for row in await connection.execute(query)}


async def _save(connection: AsyncConnection, heads: dict[str, dict[str, Any]]) -> None:
    for owner, head in heads.items():
        values = {"position": head["position"], "unread": head["unread"]}
        where = inbox_head.c.owner == owner
        await connection.execute(update(inbox_head).where(where).values(**values))


async def _head(connection: AsyncConnection, owner: str) -> tuple[int, int]:
    query = select(inbox_head.c.position, inbox_head.c.unread).where(
        inbox_head.c.owner == clean(owner)
    )
    row = (await connection.execute(query)).one_or_none()
    return (int(row.position), int(row.unread)) if row is not None else (0, 0)
