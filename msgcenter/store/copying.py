"""The Store as rows: every table written out in one consistent moment and read in again, on either kind of database.

One file `TABLE.ndjson` a table, one JSON object a row; octets are base64 text. Reading in brings empty tables to the revision
the rows were written at, fills them, then migrates: a newer release reads what an older one wrote out.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, LargeBinary, MetaData, Table, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from msgcenter.store import StoreError, migrate
from msgcenter.store.database import Database, chunks, plain_errors
from msgcenter.store.tables import customer_head, due, message, metadata, parked

ROWS = 500
"""Rows inserted at once."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """An envelope that waits in the Store. `queue`: of a parked one, else "". `at_ms`, `rule`: of a due one."""

    body: bytes
    queue: str = ""
    at_ms: int = 0
    rule: str = ""


class Copying(Database):
    """Write out, read in, and look at what waits."""

    async def write_out(self, folder: Path, told: Callable[[str, int], None]) -> str:
        """Every table into `folder`, in one transaction that sees one moment; the revision. `told(table, rows)`."""
        with plain_errors():
            async with self._engine(self._reader).connect() as connection:
                if not self.is_sqlite:
                    await connection.execution_options(isolation_level="REPEATABLE READ")
                revision = await connection.run_sync(migrate.current)
                for table in metadata.sorted_tables:
                    rows = 0
                    with (folder / f"{table.name}.ndjson").open("w", encoding="utf-8") as file:
                        async for line in _lines(connection, table):
                            file.write(line)
                            rows += 1
                            if rows % ROWS == 0:
                                told(table.name, rows)
                    told(table.name, rows)
                return revision

    async def read_in(self, folder: Path, revision: str, told: Callable[[str, int], None]) -> None:
        """Fill an empty database with what `write_out` wrote, in one transaction. Raises StoreError when a table has rows."""

        def work(connection: Connection) -> None:
            if migrate.current(connection):
                for table in metadata.sorted_tables:
                    if table is customer_head:  # a migration puts its only row in
                        continue
                    if connection.execute(select(func.count()).select_from(table)).scalar_one():
                        raise StoreError(
                            f"table {table.name} has rows: restore into an empty database (keep the old one beside it)"
                        )
                migrate.downgrade(connection)
            migrate.upgrade(connection, revision)
            there = MetaData()
            there.reflect(connection)
            for table in metadata.sorted_tables:
                path = folder / f"{table.name}.ndjson"
                if path.exists() and table.name in there.tables:
                    _fill(connection, there.tables[table.name], path, told)
            migrate.upgrade(connection)

        with plain_errors():
            async with self._engine(self._writer).begin() as connection:
                await connection.run_sync(work)

    async def waiting(self) -> AsyncIterator[Waiting]:
        """Every envelope that waits here: due rows, then parked ones in their order."""
        async with self._read() as connection:
            rows = await connection.stream(select(due.c.body, due.c.at_ms, due.c.rule))
            async for row in rows:
                yield Waiting(bytes(row.body), at_ms=row.at_ms, rule=row.rule)
            rows = await connection.stream(
                select(parked.c.body, parked.c.queue).order_by(parked.c.seq)
            )
            async for row in rows:
                yield Waiting(bytes(row.body), queue=row.queue)

    async def known_messages(self, ids: Sequence[str]) -> dict[str, str]:
        """Message -> status, of those among `ids` that the message store has."""
        found: dict[str, str] = {}
        async with self._read() as connection:
            for chunk in chunks(ids):
                query = select(message.c.id, message.c.status).where(message.c.id.in_(chunk))
                found.update((row.id, row.status) for row in await connection.execute(query))
        return found


async def _lines(connection: AsyncConnection, table: Table) -> AsyncIterator[str]:
    keys = list(table.primary_key.columns)
    result = await connection.stream(select(table).order_by(*keys))
    async for row in result:
        value = {
            name: base64.b64encode(cell).decode() if isinstance(cell, bytes) else cell
            for name, cell in row._mapping.items()
        }
        yield json.dumps(value, ensure_ascii=True, separators=(",", ":")) + "\n"


def _fill(
    connection: Connection, table: Table, path: Path, told: Callable[[str, int], None]
) -> None:
    ours = metadata.tables[table.name]
    octets = {c.name for c in ours.columns if isinstance(c.type, LargeBinary)}
    # The types of this release, the columns of the one that wrote: reflection knows JSON on neither kind for sure.
    into = Table(table.name, MetaData(), *(ours.columns[c.name]._copy() for c in table.columns))
    connection.execute(into.delete())  # rows that a migration itself puts in
    rows = 0
    for batch in _batches(path, octets):
        connection.execute(into.insert(), batch)
        rows += len(batch)
        told(table.name, rows)
    if connection.dialect.name == "postgresql":
        for column in ours.columns:
            if column.primary_key and column.autoincrement is True:
                connection.execute(
                    text(
                        f"SELECT setval(pg_get_serial_sequence('{table.name}', '{column.name}'),"  # noqa: S608 - our own names
                        f' (SELECT coalesce(max("{column.name}"), 0) + 1 FROM "{table.name}"), false)'
                    )
                )


def _batches(path: Path, octets: set[str]) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    with path.open(encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            for name in octets & row.keys():
                if row[name] is not None:
                    row[name] = base64.b64decode(row[name])
            batch.append(row)
            if len(batch) >= ROWS:
                yield batch
                batch = []
    if batch:
        yield batch
