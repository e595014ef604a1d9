"""Configurations: every text that was in force, who agreed to which text, and what was ordered about one (break-glass, rollback)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Row, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from msgcenter.policy.approvals import Approval
from msgcenter.store import ConfigOrder, ConfigVersion
from msgcenter.store.database import Database
from msgcenter.store.rows import clean
from msgcenter.store.tables import config_approval, config_order, config_text, config_version


def _version(row: Row[Any]) -> ConfigVersion:
    return ConfigVersion(**row._mapping)


class Configs(Database):
    """Versions are only ever added; the newest is the one in force."""

    async def add_config_version(
        self, version: ConfigVersion, texts: Mapping[str, bytes]
    ) -> ConfigVersion:
        """Keep what came into force, unless the newest one is the same text that came in the same way; the newest then.
        `texts`: by file name."""
        bodies = [
            {"sha256": hashlib.sha256(body).hexdigest(), "body": body} for body in texts.values()
        ]
        values = {
            "hash": version.hash,
            "at": version.at,
            "how": version.how,
            "who": clean(version.who),
            "reason": clean(version.reason),
            "until": version.until,
            "files": dict(version.files),
        }

        async def work(connection: AsyncConnection) -> ConfigVersion:
            newest = await _newest(connection)
            if newest is not None and (newest.hash, newest.how) == (version.hash, version.how):
                return newest
            if bodies:
                await connection.execute(self._insert(config_text).on_conflict_do_nothing(), bodies)
            await connection.execute(config_version.insert(), values)
            made = await _newest(connection)
            assert made is not None
            return made

        return await self._write(work)

    async def newest_config(self) -> ConfigVersion | None:
        async with self._read() as connection:
            return await _newest(connection)

    async def config_versions(self, limit: int = 50, before: int = 0) -> tuple[ConfigVersion, ...]:
        """Newest first; `before`: older than this number, 0 = all."""
        query = select(config_version).order_by(config_version.c.number.desc()).limit(limit)
        if before:
            query = query.where(config_version.c.number < before)
        async with self._read() as connection:
            return tuple(map(_version, await connection.execute(query)))

    async def config_texts(self, version: ConfigVersion) -> dict[str, bytes]:
        """File name -> its text in this version; absent files are absent."""
        wanted = {name: digest for name, digest in version.files.items() if digest}
        query = select(config_text).where(config_text.c.sha256.in_(set(wanted.values())))
        async with self._read() as connection:
            found = {row.sha256: bytes(row.body) for row in await connection.execute(query)}
        return {name: found[digest] for name, digest in wanted.items()}

    async def approve_config(self, given: Sequence[Approval]) -> None:
        """Write down words on texts; a person's last word on a text for a role counts."""
        if not given:
            return
        insert = self._insert(config_approval)
        new = insert.excluded
        columns = config_approval.c
        statement = insert.on_conflict_do_update(
            index_elements=[columns.file, columns.sha256, columns.role, columns.who],
            set_={"state": new.state, "at": new.at},
        )
        values = [
            {
                "file": one.file,
                "sha256": one.sha256,
                "role": one.role,
                "who": clean(one.who),
                "state": one.state,
                "at": one.at,
            }
            for one in given
        ]

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(statement, values)

        await self._write(work)

    async def config_approvals(self, digests: Sequence[str]) -> tuple[Approval, ...]:
        """All words on these texts."""
        query = select(config_approval).where(config_approval.c.sha256.in_(set(digests)))
        async with self._read() as connection:
            return tuple(Approval(**row._mapping) for row in await connection.execute(query))

    async def order_config(self, order: ConfigOrder) -> None:
        """Say what becomes of one text of the folder; the last order on it counts."""
        insert = self._insert(config_order)
        new = insert.excluded
        names = ("kind", "version", "who", "reason", "at", "until")
        statement = insert.on_conflict_do_update(
            index_elements=[config_order.c.hash], set_={name: new[name] for name in names}
        )
        values = {
            "hash": order.hash,
            "kind": order.kind,
            "version": order.version,
            "who": clean(order.who),
            "reason": clean(order.reason),
            "at": order.at,
            "until": order.until,
        }

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(statement, values)

        await self._write(work)

    async def config_ordered(self, hash_: str) -> ConfigOrder | None:
        query = select(config_order).where(config_order.c.hash == hash_)
        async with self._read() as connection:
            row = (await connection.execute(query)).one_or_none()
        return ConfigOrder(**row._mapping) if row is not None else None

    async def config_mark(self) -> tuple[int, int, int]:
        """Changes when anything here does: cheap enough to be asked every second."""
        newest = select(func.coalesce(func.max(config_version.c.number), 0)).scalar_subquery()
        word = select(func.coalesce(func.max(config_approval.c.at), 0)).scalar_subquery()
        order = select(func.coalesce(func.max(config_order.c.at), 0)).scalar_subquery()
        async with self._read() as connection:
            row = (await connection.execute(select(newest, word, order))).one()
        return int(row[0]), int(row[1]), int(row[2])


async def _newest(connection: AsyncConnection) -> ConfigVersion | None:
    query = select(config_version).order_by(config_version.c.number.desc()).limit(1)
    row = (await connection.execute(query)).one_or_none()
    return _version(row) if row is not None else None
