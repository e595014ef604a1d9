"""The Store's contract for what it no longer keeps: the event log's beginning, messages by category; on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import select

from msgcenter.clock import ManualClock
from msgcenter.store import Event
from msgcenter.store.store import Store
from msgcenter.store.tables import record as rows
from protocols.envelope import Record
from protocols.outcome import Sent
from tests.records import T0, envelope, record


@pytest.fixture(params=["sqlite", "postgres"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    url = f"sqlite:///{tmp_path}/store.db"
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
    store = Store(url, ManualClock(T0))
    await store.open()
    await store.migrate()
    yield store
    await store.close()


def an_event(n: int, at: int = T0) -> Event:
    return Event(f"evt_{n}", "crm", "msgcenter.message.sent.v1", at, f"msg_{n}", f"msg_{n}", {})


async def test_the_event_log_loses_its_beginning_and_readers_are_told(store: Store) -> None:
    await store.append_events(0, [an_event(n, at=T0 + n) for n in range(1, 7)])
    # A late one stands behind a younger one: it keeps what follows it, never a hole.
    await store.append_events(
        1, [an_event(20, at=T0 + 3), an_event(21, at=T0 + 9), an_event(22, at=T0 + 2)]
    )
    assert await store.forget_events(T0 + 4, limit=2) == 2
    assert await store.forget_events(T0 + 4, limit=2) == 2
    assert await store.forget_events(T0 + 4, limit=2) == 0
    kept = await store.read_events(None, {}, 100)
    assert [one.event.id for one in kept.items if one.partition == 0] == ["evt_4", "evt_5", "evt_6"]
    assert [one.event.id for one in kept.items if one.partition == 1] == ["evt_21", "evt_22"]
    assert kept.missed == 0  # who begins at the beginning misses nothing
    assert (await store.read_events(None, {0: 3, 1: 1})).missed == 0
    behind = await store.read_events("crm", {0: 1, 1: 1}, 1)
    assert behind.missed == 2
    assert behind.items[0].position > 1
    # The cursor given back is past the gap, in partitions that the page did not come to as well.
    assert (await store.read_events(None, behind.cursor)).missed == 0
    first = await store.read_events(None, {}, 1)
    assert (await store.read_events(None, first.cursor)).missed == 0


async def test_an_emptied_event_log_goes_on_counting(store: Store) -> None:
    await store.append_events(0, [an_event(1), an_event(2)])
    assert await store.forget_events(T0 + 1_000_000) == 2
    assert (await store.read_events(None, {})).items == ()
    assert (await store.read_events(None, {0: 1})).missed == 1
    assert await store.append_events(0, [an_event(3)]) == 3
    page = await store.read_events(None, {0: 2})
    assert ([one.event.id for one in page.items], page.missed) == (["evt_3"], 0)


async def test_messages_are_forgotten_by_category_with_their_records(store: Store) -> None:
    def of(number: int, category: str, status: str, at: int) -> Record:
        said = envelope(f"msg_{number}", category=category, created_at=at)
        return record(Sent(("r",)), of=said, status=status)

    records = [
        of(1, "code", "delivered", T0),
        of(2, "code", "queued", T0),
        of(3, "care", "delivered", T0),
        of(4, "code", "delivered", T0 + 50),
        of(5, "", "received", T0),
    ]
    await store.write_records(records, lambda _: "full")
    assert await store.forget_messages(["code"], 0, T0 + 10) == 1
    left = {one.id for one in (await store.messages()).items}
    assert left == {records[n].envelope.id for n in (1, 2, 3, 4)}
    assert await store.message(records[0].envelope.id) is None
    assert await store.forget_messages(["code"], 0, T0 + 10, others=True) == 2
    assert await store.forget_messages(["code"], T0 + 51, T0 + 100) == 0
    assert await store.forget_messages(["code"], T0 + 50, T0 + 100, limit=5) == 1
    async with store._read() as connection:
        rest = (await connection.execute(select(rows.c.id))).scalars().all()
    assert rest == [records[1].id]
