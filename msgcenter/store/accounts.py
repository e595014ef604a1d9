"""The runtime state of accounts: health as adapters report it, when each last sent and received, who revoked it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import case, select
from sqlalchemy.ext.asyncio import AsyncConnection

from msgcenter.store import AccountRow
from msgcenter.store.database import Database
from msgcenter.store.rows import clean
from msgcenter.store.tables import account_state

_BLANK: dict[str, Any] = {
    "channel": "",
    "health": "",
    "detail": "",
    "since": 0,
    "last_in": 0,
    "last_out": 0,
    "revoked_at": 0,
    "revoked_by": "",
}


class AccountStates(Database):
    """Every write touches its own columns only, so that reports, times and revocations never undo one another."""

    async def account_states(self) -> dict[str, AccountRow]:
        """Name -> what is known; accounts of which nothing was ever said are not in it."""
        async with self._read() as connection:
            rows = await connection.execute(select(account_state))
            return {row.name: AccountRow(**row._mapping) for row in rows}

    async def save_health(self, rows: Sequence[AccountRow]) -> None:
        """Keep channel, health, detail and since of each; a report older than the kept one changes nothing."""
        values = [
            {
                **_BLANK,
                "name": clean(row.name),
                "channel": row.channel,
                "health": row.health,
                "detail": clean(row.detail),
                "since": row.since,
            }
            for row in sorted(rows, key=lambda row: row.name)
        ]
        insert = self._insert(account_state)
        new = insert.excluded
        statement = insert.on_conflict_do_update(
            index_elements=[account_state.c.name],
            set_={name: new[name] for name in ("channel", "health", "detail", "since")},
            where=new.since >= account_state.c.since,
        )
        await self._upsert(statement, values)

    async def touch_accounts(self, received: Mapping[str, int], sent: Mapping[str, int]) -> None:
        """Account -> when it last received, when it last sent; never moves back."""
        values = [
            {
                **_BLANK,
                "name": clean(name),
                "last_in": received.get(name, 0),
                "last_out": sent.get(name, 0),
            }
            for name in sorted({*received, *sent})
        ]
        insert = self._insert(account_state)
        new = insert.excluded
        later = {
            name: case((new[name] > account_state.c[name], new[name]), else_=account_state.c[name])
            for name in ("last_in", "last_out")
        }
        statement = insert.on_conflict_do_update(index_elements=[account_state.c.name], set_=later)
        await self._upsert(statement, values)

    async def revoke_account(self, name: str, at: int, by: str) -> None:
        """`at` 0 restores. An earlier revocation stands until then."""
        insert = self._insert(account_state)
        new = insert.excluded
        statement = insert.on_conflict_do_update(
            index_elements=[account_state.c.name],
            set_={"revoked_at": new.revoked_at, "revoked_by": new.revoked_by},
            where=(new.revoked_at == 0) | (account_state.c.revoked_at == 0),
        )
        row = {**_BLANK, "name": clean(name), "revoked_at": at, "revoked_by": clean(by)}
        await self._upsert(statement, [row])

    async def _upsert(self, statement: Any, values: Sequence[Mapping[str, Any]]) -> None:
        if not values:
            return

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(statement, list(values))

        await self._write(work)
