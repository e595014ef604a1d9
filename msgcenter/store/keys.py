"""API keys, of which only a hash is kept, and the audit log of who changed what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Row, Select, case, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from msgcenter.store import ApiKey, AuditRow, Page
from msgcenter.store.cursors import decode_place, encode_place
from msgcenter.store.database import Database, rows_of, wanted
from msgcenter.store.rows import clean
from msgcenter.store.tables import api_key, audit


def _key(row: Row[Any]) -> ApiKey:
    values = dict(row._mapping)
    values["scopes"] = tuple(values["scopes"])
    return ApiKey(**values)


class Keys(Database):
    """Add, find, list, revoke keys; write and read the audit log."""

    async def add_key(self, key: ApiKey) -> bool:
        """Keep a key; False (and nothing changed) when its keyid is taken."""
        statement, values = self._insert(api_key).on_conflict_do_nothing(), rows_of([key])[0]

        async def work(connection: AsyncConnection) -> bool:
            return bool((await connection.execute(statement, values)).rowcount)

        return await self._write(work)

    async def find_key(self, keyid: str) -> ApiKey | None:
        """Also a revoked or expired one: the caller of this decides."""
        async with self._read() as connection:
            found = await connection.execute(select(api_key).where(api_key.c.keyid == clean(keyid)))
            row = found.one_or_none()
        return _key(row) if row is not None else None

    async def list_keys(self, caller: str = "") -> tuple[ApiKey, ...]:
        """All keys (of one caller), by time of making."""
        query = select(api_key).where(*wanted((api_key.c.caller, caller)))
        async with self._read() as connection:
            rows = await connection.execute(query.order_by(api_key.c.created_at, api_key.c.keyid))
            return tuple(_key(row) for row in rows)

    async def revoke_key(self, keyid: str, at: int) -> bool:
        """End a key at `at`; False when there is none. An earlier revocation stands."""
        statement = (
            update(api_key)
            .where(api_key.c.keyid == clean(keyid))
            .values(revoked_at=case((api_key.c.revoked_at == 0, at), else_=api_key.c.revoked_at))
        )

        async def work(connection: AsyncConnection) -> bool:
            return bool((await connection.execute(statement)).rowcount)

        return await self._write(work)

    async def touch_keys(self, used: Mapping[str, int]) -> None:
        """keyid -> when it was last used; never moves back."""
        statements = [
            update(api_key)
            .where(api_key.c.keyid == keyid, api_key.c.last_used_at < at)
            .values(last_used_at=at)
            for keyid, at in sorted(used.items())
        ]

        async def work(connection: AsyncConnection) -> None:
            for statement in statements:
                await connection.execute(statement)

        await self._write(work)

    async def audit(
        self, who: str, what: str, target: str, detail: Mapping[str, Any], at: int
    ) -> None:
        """Write down that `who` (a caller, key or operator) did `what` to `target`; `detail` is a
        JSON object."""
        values = {"at": at, "who": clean(who), "what": clean(what), "target": clean(target)}
        row = {**values, "detail": dict(detail)}

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(audit.insert(), row)

        await self._write(work)

    async def list_audit(
        self, *, who: str = "", target: str = "", cursor: str = "", limit: int = 100
    ) -> Page[AuditRow]:
        """Newest first. Raises BadCursor."""
        query: Select[Any] = select(audit).where(
            *wanted((audit.c.who, who), (audit.c.target, target))
        )
        if cursor:
            query = query.where(audit.c.seq < decode_place(cursor)[0])
        async with self._read() as connection:
            found = await connection.execute(query.order_by(audit.c.seq.desc()).limit(limit + 1))
            rows = [AuditRow(**row._mapping) for row in found]
        more = len(rows) > limit
        rows = rows[:limit]
        return Page(tuple(rows), encode_place(rows[-1].seq, "") if more else "")
