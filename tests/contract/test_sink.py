"""One suite over all sinks: what is written is there, once, in order, also after a crash and a
reopen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from msgcenter.archive.file_sink import read_file
from msgcenter.archive.journal import Journal
from msgcenter.archive.sink import Sink, SinkContext
from msgcenter.archive.spill import Spilled
from msgcenter.clock import ManualClock
from msgcenter.store.store import Store
from tests.migrated import placed
from tests.records import T0, many, receipt

SINKS = {
    "messages": "msgcenter.archive.store_sink:make",
    "events": "msgcenter.archive.events_sink:make",
    "files": "msgcenter.archive.file_sink:make",
}


@dataclass
class Rig:
    """How the suite makes a sink anew and reads back the messages it holds, in its own order."""

    make: Callable[[], Sink]
    read: Callable[[], Awaitable[list[str]]]


@pytest.fixture(
    params=[
        "messages-sqlite", "messages-postgres", "events-sqlite", "events-postgres", "files",
        "files-spilled", "messages-sqlite-spilled",
    ]
)  # fmt: skip
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rig]:
    kind, *rest = request.param.split("-")
    url = placed(tmp_path)
    if "postgres" in rest:
        url = request.getfixturevalue("postgres_store_url")
    clock = ManualClock(T0)
    store = Store(url, clock)
    await store.open()
    context = SinkContext(kind, clock, store, tmp_path / "sink", lambda _: "full")
    factory: Any = EntryPoint(kind, SINKS[kind], "msgcenter.sinks").load()

    def make() -> Sink:
        sink: Sink = factory(context)
        if "spilled" in rest:
            return Spilled(sink, Journal(tmp_path / "spill"), clock)
        return sink

    async def read() -> list[str]:
        if kind == "messages":
            return [row.id for row in (await store.messages(limit=5000, oldest_first=True)).items]
        if kind == "events":
            return [item.event.message for item in (await store.read_events(None, {}, 5000)).items]
        lines = [line for path in sorted((tmp_path / "sink").iterdir()) for line in read_file(path)]
        assert [line["seq"] for line in lines] == list(range(1, len(lines) + 1))
        return [line["message"] for line in lines]

    yield Rig(make, read)
    await store.close()


async def test_what_is_written_is_there_in_order(rig: Rig) -> None:
    sink = rig.make()
    await sink.open()
    records = many(450)
    for start in range(0, 450, 200):
        await sink.write(records[start : start + 200])
    await sink.write([])
    await sink.close()
    assert await rig.read() == [record.envelope.id for record in records]


async def test_a_repeat_changes_nothing(rig: Rig) -> None:
    sink = rig.make()
    await sink.open()
    records = many(30)
    await sink.write(records[:20])
    await sink.write(records[:20])
    await sink.write(records[10:] + records[:5])
    await sink.close()
    assert await rig.read() == [record.envelope.id for record in records]


async def test_reopened_it_goes_on_and_still_knows_what_it_has(rig: Rig) -> None:
    records = many(30)
    for start in (0, 5, 10, 15, 20):
        sink = rig.make()
        await sink.open()
        await sink.open()
        await sink.write(records[start : start + 10])  # half of it for the second time
        await sink.close()
        await sink.close()
    assert await rig.read() == [record.envelope.id for record in records]


async def test_a_receipt_speaks_of_its_message(rig: Rig) -> None:
    sink = rig.make()
    await sink.open()
    await sink.write(many(1))
    await sink.write([receipt("delivered", message="msg_00000000", final=True)])
    await sink.close()
    assert set(await rig.read()) == {"msg_00000000"}


async def test_writers_at_once(rig: Rig) -> None:
    sink = rig.make()
    await sink.open()
    await asyncio.gather(*(sink.write(many(20, n * 20)) for n in range(10)))
    await sink.close()
    assert sorted(await rig.read()) == [f"msg_{n:08d}" for n in range(200)]
