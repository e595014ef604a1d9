"""N-1 and N on one Store: every migration keeps the rows that are there, and lets the release before it go on writing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import JSON, Boolean, Connection, LargeBinary, MetaData, Table, func, select, text

from msgcenter.clock import ManualClock
from msgcenter.store import DueRow, ParkRow, StoreError, migrate
from msgcenter.store.copying import Copying
from msgcenter.store.store import Store
from msgcenter.store.tables import metadata

#: Alembic's own table, and the one that a migration puts its only row in.
NOT_FILLED = ("alembic_version", "customer_head")
T0 = 1_790_000_000_000
REVISIONS = [
    one.revision
    for one in reversed(list(ScriptDirectory.from_config(migrate._config()).walk_revisions()))
]


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/data/store.db"
    return str(request.getfixturevalue("postgres_url"))


async def at(store: Store, work: Callable[[Connection], Any]) -> Any:
    async with store._writer.begin() as connection:  # type: ignore[union-attr]
        return await connection.run_sync(work)


def value(column: Any, number: int) -> Any:
    """Something for a column, different for each number where that matters."""
    kind = column.type
    if isinstance(kind, Boolean):
        return bool(number % 2)
    if isinstance(kind, JSON):
        return {"n": number}
    if isinstance(kind, LargeBinary):
        return b"%d" % number
    return number if kind.python_type in (int, float) else f"v{number}"


def rows_of(tables: MetaData, number: int) -> Callable[[Connection], None]:
    """One row more in every table, as a release with these tables writes it."""

    def write(connection: Connection) -> None:
        for table in tables.sorted_tables:
            if table.name not in NOT_FILLED:
                row = {
                    c.name: value(metadata.tables[table.name].c[c.name], number) for c in table.c
                }
                ours = metadata.tables[table.name]
                into = Table(table.name, MetaData(), *(ours.c[c.name]._copy() for c in table.c))
                connection.execute(into.insert(), row)

    return write


@pytest.mark.parametrize("revision", REVISIONS[:-1])
async def test_an_older_release_goes_on_writing_after_the_migration(
    url: str, revision: str
) -> None:
    store = Store(url, ManualClock(T0))
    await store.open()
    await at(store, lambda connection: migrate.upgrade(connection, revision))
    before = MetaData()
    await at(store, before.reflect)
    await at(store, rows_of(before, 1))
    await store.migrate()
    await at(store, rows_of(before, 2))  # N-1, with the columns that it knows, on the tables of N

    def count(connection: Connection) -> dict[str, int]:
        return {
            name: connection.execute(
                select(func.count()).select_from(metadata.tables[name])
            ).scalar_one()
            for name in before.tables
            if name not in NOT_FILLED
        }

    assert before.tables.keys() - {"alembic_version"} <= metadata.tables.keys()
    assert set((await at(store, count)).values()) == {2}
    await store.close()


NEWER = ("ALTER TABLE due ADD COLUMN whim TEXT DEFAULT ''", "CREATE TABLE novelty (id TEXT)")


def newer(*statements: str) -> Callable[[Connection], None]:
    """Tables of a release that is not written yet."""

    def change(connection: Connection) -> None:
        for one in statements:
            connection.execute(text(one))
        connection.execute(text("UPDATE alembic_version SET version_num = '0999'"))

    return change


async def test_this_release_starts_and_works_on_the_tables_of_the_next(url: str) -> None:
    store = await filled(url)
    await at(store, newer(*NEWER))
    await store.close()
    store = Store(url, ManualClock(T0))
    await store.open()
    await store.migrate()
    await store.hold([DueRow("d2", T0, b"x", "msg_2", "crm", "quiet", "bulk", "p")])
    assert (await store.revision())[0] == "0999"  # left as it was
    assert (await store.count_due()).count == 2
    await store.close()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("DROP TABLE inbox_item", "table inbox_item is gone"),
        ("ALTER TABLE media DROP COLUMN name", "media.name is gone"),
        ("CREATE TABLE more (id TEXT)", ""),
        ("CREATE TABLE must (id TEXT NOT NULL)", ""),
    ],
)
async def test_it_says_why_it_cannot_work_on_newer_tables(
    url: str, change: str, named: str
) -> None:
    store = await filled(url)
    await at(store, newer(change))
    if named:
        with pytest.raises(StoreError, match=f"newer release.*{named}.*start the newer release"):
            await store.migrate()
    else:
        await store.migrate()
    assert (await store.obstacles() == []) is (not named)
    await store.close()


async def filled(url: str) -> Store:
    store = Store(url, ManualClock(T0))
    await store.open()
    await store.migrate()
    await store.hold([DueRow("d1", T0, b"\x00\xff", "msg_1", "crm", "quiet", "bulk", "p")])
    await store.park(
        [ParkRow(f"p{n}", "submit.conv.1", "talk", b"%d" % n, "m", T0) for n in (1, 2)]
    )
    return store


@pytest.mark.parametrize("to", ["sqlite", "postgres"])
async def test_a_store_written_out_is_read_in_on_either_kind(
    url: str, to: str, tmp_path: Path, postgres_url: str
) -> None:
    await (await filled(url)).close()
    origin = Copying(url, ManualClock(T0))
    await origin.open()
    revision = await origin.write_out(tmp_path, lambda *_: None)
    if to == "postgres" and url == postgres_url:  # empty, yet migrated: as after a first start
        await at(origin, migrate.downgrade)  # type: ignore[arg-type]
        await origin.migrate()
    await origin.close()
    target_url = postgres_url if to == "postgres" else f"sqlite:///{tmp_path / 'new.db'}"
    target = Copying(target_url, ManualClock(T0))
    await target.open()
    told: dict[str, int] = {}
    await target.read_in(tmp_path, revision, told.__setitem__)
    waiting = [(one.body, one.queue, one.rule) async for one in target.waiting()]
    assert waiting == [
        (b"\x00\xff", "", "quiet"),
        (b"1", "submit.conv.1", ""),
        (b"2", "submit.conv.1", ""),
    ]
    with pytest.raises(StoreError, match="has rows"):
        await target.read_in(tmp_path, revision, told.__setitem__)
    await target.close()
    store = Store(target_url, ManualClock(T0))
    await store.open()
    assert store and (await store.revision())[0] == migrate.newest()
    # What counts by itself goes on behind what was read in.
    await store.park([ParkRow("p3", "submit.conv.1", "talk", b"3", "m", T0)])
    rows = await store.parked_rows("submit.conv.1", ["talk"], 9)
    assert [row.body for row in rows["talk"]] == [b"1", b"2", b"3"]
    await store.close()
