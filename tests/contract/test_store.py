"""The Store's contract, run against SQLite and PostgreSQL.

Long because each table's promise is a short test, and all run on the same two databases.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from msgcenter.clock import IdFactory, ManualClock, SystemClock
from msgcenter.store import (
    AccountRow,
    ApiKey,
    Asked,
    BadCursor,
    DeadFilter,
    DeadRow,
    DueFilter,
    DueRow,
    Event,
    GroupFilter,
    GroupRow,
    InvalidRow,
    MessageFilter,
    ParkRow,
    SealCheck,
    StoreError,
    migrate,
)
from msgcenter.store.cursors import decode_positions, encode_positions
from msgcenter.store.store import Store
from protocols.address import Address
from protocols.envelope import Decision, Record
from protocols.outcome import Held, Rejected, Retry, Routed, Sent, Suppressed
from protocols.payload import Text
from tests.migrated import placed
from tests.records import T0, envelope, many, receipt, record


def full(_category: str) -> str:
    return "full"


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return placed(tmp_path / "data")
    return request.getfixturevalue("postgres_store_url")


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    store = Store(url, ManualClock(T0))
    await store.open()
    yield store
    await store.close()


def due(n: int, at_ms: int = T0, **fields: str) -> DueRow:
    return DueRow(f"due{n:05d}", at_ms, b"body%d" % n, f"msg_{n}", **fields)


# -- migrations ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_migrated_schema_is_the_metadata_and_quick(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    empty = f"sqlite:///{tmp_path}/data/store.db"
    store = Store(
        empty if kind == "sqlite" else request.getfixturevalue("postgres_url"), SystemClock()
    )
    await store.open()
    assert (await store.revision())[0] == ""
    started = time.monotonic()
    await store.migrate()
    assert time.monotonic() - started < 2.0
    at, needed = await store.revision()
    assert at == needed == "0011"
    async with store._read() as connection:
        assert await connection.run_sync(migrate.differences) == []
    await store.migrate()  # again: nothing to do
    await store.close()


async def test_the_difference_check_can_fail(store: Store) -> None:
    async def work(connection: object) -> None:
        await connection.execute(text("ALTER TABLE due ADD COLUMN surplus INTEGER"))  # type: ignore[attr-defined]

    await store._write(work)
    async with store._read() as connection:
        assert await connection.run_sync(migrate.differences)


async def test_processes_that_start_together_may_all_migrate(postgres_url: str) -> None:
    stores = [Store(postgres_url, SystemClock()) for _ in range(4)]
    for store in stores:
        await store.open()
    await asyncio.gather(*(store.migrate() for store in stores))
    assert (await stores[0].revision())[0] == "0011"
    for store in stores:
        await store.close()


async def test_downgrade_removes_everything(store: Store) -> None:
    def down(connection: object) -> None:
        from alembic import command

        command.downgrade(migrate._config(connection), "base")  # type: ignore[arg-type]

    async with store._writer.begin() as connection:  # type: ignore[union-attr]
        await connection.run_sync(down)
    await store.migrate()
    await store.hold([due(1)])
    assert (await store.count_due()).count == 1


def test_other_databases_are_refused() -> None:
    with pytest.raises(ValueError, match="neither sqlite nor postgresql"):
        Store("mysql://root@localhost/db", SystemClock())
    with pytest.raises(ValueError, match="needs a file"):
        Store("sqlite://", SystemClock())


async def test_closed_store_says_so(url: str) -> None:
    store = Store(url, SystemClock())
    with pytest.raises(StoreError, match="not open"):
        await store.ping()
    with pytest.raises(StoreError, match="not open"):
        await store.hold([due(1)])
    await store.close()


# -- due rows -----------------------------------------------------------------------------------


async def test_hold_is_idempotent_and_take_deletes(store: Store) -> None:
    rows = [due(n, T0 + n) for n in range(5)]
    await store.hold(rows)
    await store.hold([due(0, T0 + 999), due(5, T0 + 5)])
    async with store.take_due(T0 + 4) as taken:
        assert taken == tuple(rows)  # the first word on an id stands; earliest first
    async with store.take_due(T0 + 4) as taken:
        assert taken == ()
    assert (await store.count_due()).count == 1
    assert (await store.count_due()).oldest_ms == T0 + 5


async def test_take_due_that_fails_leaves_the_rows(store: Store) -> None:
    await store.hold([due(n) for n in range(3)])
    with pytest.raises(RuntimeError, match="bus away"):
        async with store.take_due(T0) as taken:
            assert len(taken) == 3
            raise RuntimeError("bus away")
    with pytest.raises(ConnectionError):  # not taken for one of the database's own
        async with store.take_due(T0):
            raise ConnectionError("bus")
    async with store.take_due(T0, limit=2) as taken:
        assert [row.id for row in taken] == ["due00000", "due00001"]
    assert (await store.count_due()).count == 1


async def test_concurrent_takers_never_get_the_same_row(store: Store) -> None:
    await store.hold([due(n) for n in range(400)])
    got: list[str] = []
    held: set[str] = set()

    async def taker() -> None:
        while True:
            async with store.take_due(T0, limit=25) as taken:
                if not taken:
                    return
                ids = {row.id for row in taken}
                assert not held & ids
                held.update(ids)
                await asyncio.sleep(0.01)
                held.difference_update(ids)
                got.extend(ids)

    await asyncio.gather(*(taker() for _ in range(8)))
    # A taker may leave early while others hold the rest: nothing is left or doubled at the end.
    assert len(got) == len(set(got)) == 400
    assert (await store.count_due()).count == 0


async def test_a_taker_that_is_cancelled_leaves_the_rows(store: Store) -> None:
    await store.hold([due(n) for n in range(3)])
    inside = asyncio.Event()

    async def taker() -> None:
        async with store.take_due(T0):
            inside.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(taker())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with store.take_due(T0) as taken:
        assert len(taken) == 3


async def test_cancel_and_retime(store: Store) -> None:
    await store.hold([due(n, T0 + 100) for n in range(4)])
    assert await store.cancel_due(["msg_1", "msg_9"]) == {"msg_1"}
    assert await store.cancel_due(["msg_1"]) == frozenset()
    assert await store.retime_due(["msg_2", "msg_9"], T0) == 1
    async with store.take_due(T0) as taken:
        assert [row.message for row in taken] == ["msg_2"]
    assert (await store.count_due()).count == 2


async def test_cancel_waits_for_a_taker(store: Store) -> None:
    await store.hold([due(1)])
    async with store.take_due(T0) as taken:
        cancelling = asyncio.create_task(store.cancel_due(["msg_1"]))
        await asyncio.sleep(0.1)
        assert not cancelling.done() and len(taken) == 1
    assert await cancelling == frozenset()  # it was published before the cancel came through


async def test_list_due_pages_are_stable_while_rows_come(store: Store) -> None:
    await store.hold([due(n, T0 + n // 3, caller="crm" if n % 2 else "iop") for n in range(20)])
    seen: list[str] = []
    cursor = ""
    while True:
        page = await store.list_due(cursor=cursor, limit=6)
        seen += [row.id for row in page.items]
        await store.hold([due(100 + len(seen), T0 - 1)])  # before every place: never seen
        cursor = page.next_cursor
        if not cursor:
            break
    assert seen == [f"due{n:05d}" for n in range(20)]
    page = await store.list_due(DueFilter(caller="crm", from_ms=T0 + 2, to_ms=T0 + 4))
    assert [row.id for row in page.items] == ["due00007", "due00009", "due00011"]
    with pytest.raises(BadCursor, match="next_cursor"):
        await store.list_due(cursor="rubbish")


# -- parked keys --------------------------------------------------------------------------------


def parked(n: int, key: str = "k1", queue: str = "out.sms.conv.0", wake_at: int = 0) -> ParkRow:
    return ParkRow(f"{key}-{queue}-{n:04d}", queue, key, b"body%d" % n, f"msg_{n}", wake_at)


async def test_park_keeps_order_and_unpark_gives_it_back(store: Store) -> None:
    await store.park([parked(3, wake_at=T0 + 10), parked(1), parked(1, "k2", wake_at=T0 + 5)])
    await store.park([parked(2, wake_at=T0 + 99), parked(1)])  # 1 is known
    keys = await store.parked_keys("out.sms.conv.0")
    assert [(k.order_key, k.wake_at, k.count, k.since) for k in keys] == [
        ("k2", T0 + 5, 1, T0),
        ("k1", T0 + 10, 3, T0),
    ]
    assert await store.is_parked("out.sms.conv.0", ["k1", "k2", "k3"]) == {"k1", "k2"}
    assert await store.is_parked("another", ["k1"]) == frozenset()
    with pytest.raises(RuntimeError):
        async with store.unpark("out.sms.conv.0", "k1") as rows:
            raise RuntimeError
    async with store.unpark("out.sms.conv.0", "k1", limit=2) as rows:
        assert [row.body for row in rows] == [b"body3", b"body1"]
    assert await store.is_parked("out.sms.conv.0", ["k1"]) == {"k1"}
    async with store.unpark("out.sms.conv.0", "k1", limit=2) as rows:
        assert [row.body for row in rows] == [b"body2"]
    assert await store.is_parked("out.sms.conv.0", ["k1"]) == frozenset()
    async with store.unpark("out.sms.conv.0", "k1") as rows:
        assert rows == ()
    assert (await store.count_parked()).count == 1


async def test_park_wake_moves_the_key(store: Store) -> None:
    await store.park([parked(1, wake_at=T0)])
    assert await store.park_wake("out.sms.conv.0", "k1", T0 + 500)
    assert not await store.park_wake("out.sms.conv.0", "k9", T0 + 500)
    assert (await store.parked_keys("out.sms.conv.0"))[0].wake_at == T0 + 500
    assert await store.drop_parked([("out.sms.conv.0", "k1")]) == 1
    assert await store.parked_keys("out.sms.conv.0") == ()


async def test_parking_and_unparking_at_once_never_inverts(store: Store) -> None:
    got: list[int] = []
    done = asyncio.Event()

    async def parker() -> None:
        for n in range(0, 60, 2):
            await store.park([parked(n), parked(n + 1)])
        done.set()

    async def unparker() -> None:
        while True:
            last = done.is_set()
            async with store.unpark("out.sms.conv.0", "k1", limit=3) as rows:
                await asyncio.sleep(0.001)
                got.extend(int(row.id[-4:]) for row in rows)
                more = bool(rows)
            if last and not more:
                return

    await asyncio.gather(parker(), unparker(), unparker())
    assert got == list(range(60))


# -- messages -----------------------------------------------------------------------------------


async def test_a_message_and_its_trace(store: Store) -> None:
    decision = Decision("caps", "day", "ok", facts=(("used", "1"),), next_at=5)
    first = envelope(person="p1", order_key="c1", campaign="c", account="a", reply_to="msg_0")
    later = envelope(person="p1", order_key="c1", campaign="c", account="a", channel="sms-east")
    await store.write_records(
        [
            record(Routed(("out.sms-east",)), of=first, pipeline="submit", status="queued", at=T0),
            record(Sent(("r1", "r2")), of=later, status="sent", decisions=(decision,)),
            receipt("delivered", code="DELIVRD", final=True),
        ],
        full,
    )
    traced = await store.message("msg_1")
    assert traced is not None
    row = traced.message
    assert (row.status, row.code, row.final) == ("delivered", "DELIVRD", True)
    assert (row.channel, row.person, row.address) == ("sms-east", "p1", "tel:+8613800138000")
    assert (row.created_at, row.updated_at, row.known) == (T0, T0 + 2000, True)
    assert row.content == {"type": "text", "text": "您的余额为 100 元"}
    assert [r.kind for r in traced.records] == ["routed", "sent", "routed"]
    assert traced.records[1].remote_ids == ("r1", "r2")
    assert traced.records[1].decisions == (
        {"stage": "caps", "rule": "day", "verdict": "ok", "next_at": 5, "facts": {"used": "1"}},
    )
    assert traced.records[2].receipt and traced.records[2].code == "DELIVRD"
    assert await store.message("msg_2") is None


HISTORY = [
    record(Routed(()), pipeline="submit", status="queued", at=T0 + 10),
    record(Retry("channel", "throttled"), status="queued", at=T0 + 20),
    record(Held(T0 + 99, "quiet"), of=envelope(attempt=1), status="held", at=T0 + 30),
    record(Sent(("r",)), of=envelope(attempt=2, channel="a"), status="sent", at=T0 + 40),
    receipt("undelivered", attempt=2, at=T0 + 35),  # another process's clock is behind
    record(Routed(()), of=envelope(step=1), pipeline="submit", status="queued", at=T0 + 60),
    record(Sent(("q",)), of=envelope(step=1, channel="b"), status="sent", at=T0 + 70),
]
LATE = [
    receipt("unknown", step=1, at=T0 + 75),
    receipt("undelivered", step=1, at=T0 + 80, final=True),
    receipt("delivered", attempt=2, at=T0 + 90, final=True, part=1),
    record(
        Suppressed("expired"), of=envelope(step=1, attempt=1), status="expired", at=T0 + 95,
        final=True,
    ),
]  # fmt: skip


@pytest.mark.parametrize("count", range(1, len(LATE) + 1))
async def test_status_is_the_same_in_every_order(store: Store, count: int) -> None:
    """Status, and everything else, is a function of the set of records; good news is never lost."""
    history = HISTORY + LATE[:count]
    rng = random.Random(count)
    expected = None
    for trial in range(12):
        shuffled = list(history) if trial == 0 else rng.sample(history, len(history))
        shuffled += rng.sample(history, 3)  # redelivery
        message_id = f"msg_{trial}"
        items = [_renamed(item, message_id) for item in shuffled]
        while items:
            size = rng.randint(1, 4)
            await store.write_records(items[:size], full)
            items = items[size:]
        traced = await store.message(message_id)
        assert traced is not None and len(traced.records) == len(history)
        row = traced.message
        summary = (row.status, row.final, row.channel, row.updated_at, row.created_at, row.known)
        expected = expected or summary
        assert summary == expected
    status = ["unknown", "undelivered", "delivered", "delivered"][count - 1]
    assert expected is not None and expected[0] == status


def _renamed(item: Record, message_id: str) -> Record:
    from dataclasses import replace

    own = item.envelope if item.subject else replace(item.envelope, id=message_id)
    return replace(
        item,
        id=f"{item.id}-{message_id}",
        envelope=own,
        subject=message_id if item.subject else "",
    )


async def test_status_never_moves_backwards_along_the_way(store: Store) -> None:
    await store.write_records([receipt("delivered", final=True)], full)
    early = await store.message("msg_1")
    assert early is not None and not early.message.known
    assert (early.message.status, early.message.caller) == ("delivered", "crm")
    await store.write_records([record(Sent(("r",)), of=envelope(channel="x"), status="sent")], full)
    row = (await store.message("msg_1")).message  # type: ignore[union-attr]
    assert (row.status, row.known, row.channel, row.category) == (
        "delivered", True, "x", "transactional",
    )  # fmt: skip
    await store.write_records([receipt("undelivered"), receipt("read", final=True)], full)
    row = (await store.message("msg_1")).message  # type: ignore[union-attr]
    assert row.status == "read"


async def test_content_follows_the_policy(store: Store) -> None:
    modes = {"code": "masked", "care": "none"}
    items = [
        record(Sent(), of=envelope(f"msg_{category}", category=category, payload=Text("码 123456")))
        for category in ("code", "care", "reply")
    ]
    await store.write_records(items, lambda category: modes.get(category, "full"))
    found = {m.category: m.content for m in (await store.messages()).items}
    assert found["code"] == {"type": "text", "text": "码 ******", "masked": True}
    assert found["reply"]["text"] == "码 123456"
    assert set(found["care"]) == {"type", "length", "sha256"} and found["care"]["length"] == 8


async def test_hostile_text_does_not_stop_the_archive(store: Store) -> None:
    bad = envelope(payload=Text("a\x00b"), reference="x\x00y", campaign="\x00", person="\x00")
    await store.write_records([record(Rejected("message", "d\x00d", "c\x00"), of=bad)], full)
    row = (await store.message("msg_1")).message  # type: ignore[union-attr]
    assert row.content["text"] == "a\x00b" and row.reference == "x\ufffdy"
    assert await store.message("\x00") is None
    assert (await store.messages(MessageFilter(campaign="\x00"))).items == (row,)


async def test_messages_filters_and_pages(store: Store) -> None:
    items = []
    for n in range(30):
        inbound = n % 5 == 0
        items.append(
            record(
                Sent(),
                of=envelope(
                    f"msg_{n:02d}",
                    caller="crm" if n % 2 else "iop",
                    created_at=T0 + n // 4,
                    inbound=inbound,
                    to=Address("caller", "crm") if inbound else Address("tel", "+8613800138000"),
                    sender=Address("tel", "+8613800138000") if inbound else None,
                    campaign="spring" if n % 3 else "",
                    channel="a",
                ),
                status="sent",
            )
        )
    await store.write_records(items, full)
    everything = [f"msg_{n:02d}" for n in range(30)]

    async def ids(filters: MessageFilter | None = None, **options: bool) -> list[str]:
        seen: list[str] = []
        cursor = ""
        while True:
            page = await store.messages(filters, cursor, 7, **options)
            assert 0 < len(page.items) <= 7 or not seen
            seen += [row.id for row in page.items]
            cursor = page.next_cursor
            if not cursor:
                return seen

    assert await ids(oldest_first=True) == everything
    assert await ids() == everything[::-1]
    assert await ids(MessageFilter(caller="crm"), oldest_first=True) == everything[1::2]
    assert await ids(MessageFilter(direction="in"), oldest_first=True) == everything[::5]
    assert len(await ids(MessageFilter(address="tel:+8613800138000"))) == 30
    assert len(await ids(MessageFilter(campaign="spring", status="sent", channel="a"))) == 20
    assert await ids(MessageFilter(from_ms=T0 + 2, to_ms=T0 + 3)) == everything[8:12][::-1]
    assert await ids(MessageFilter(account="none")) == []
    with pytest.raises(BadCursor):
        await store.messages(cursor=encode_positions({1: 2}))


async def test_writers_of_the_same_messages_do_not_deadlock(store: Store) -> None:
    items = many(100)
    await asyncio.gather(
        *(store.write_records(random.Random(n).sample(items, 100), full) for n in range(8))
    )
    assert len((await store.messages(limit=1000)).items) == 100


# -- event log ----------------------------------------------------------------------------------


def an_event(n: int | str, caller: str = "crm", at: int = T0) -> Event:
    return Event(f"evt_{n}", caller, "msgcenter.message.sent.v1", at, "s", f"msg_{n}", {"n": n})


async def test_events_are_appended_once_and_read_in_order(store: Store) -> None:
    assert await store.append_events(3, [an_event(1), an_event(2), an_event(1)]) == 2
    assert await store.append_events(3, [an_event(2), an_event(3)]) == 3
    assert await store.append_events(3, []) == 3
    assert await store.append_events(5, [an_event(1)]) == 0  # known in another partition
    page = await store.read_events(None, {}, 2)
    assert [(e.partition, e.position, e.event.id) for e in page.items] == [
        (3, 1, "evt_1"),
        (3, 2, "evt_2"),
    ]
    page = await store.read_events(None, decode_positions(encode_positions(page.cursor)))
    assert [e.event for e in page.items] == [an_event(3)]
    assert (await store.read_events(None, page.cursor)).items == ()
    assert await store.event_heads() == {3: 3, 5: 0}


async def test_a_caller_sees_its_own_events_only(store: Store) -> None:
    await store.append_events(0, [an_event(n, "crm" if n % 2 else "") for n in range(10)])
    cursor: dict[int, int] = {}
    seen: list[str] = []
    for _ in range(5):
        page = await store.read_events("crm", cursor, 2)
        seen += [item.event.id for item in page.items]
        cursor = dict(page.cursor)
    assert seen == [f"evt_{n}" for n in (1, 3, 5, 7, 9)]
    assert cursor == {0: 10}  # nothing of crm's up to there: the next poll costs nothing
    await store.append_events(0, [an_event(11)])
    assert [e.event.id for e in (await store.read_events("crm", cursor)).items] == ["evt_11"]
    assert (await store.read_events("other", {})).items == ()


async def test_positions_are_contiguous_and_no_reader_skips(store: Store) -> None:
    total = 20 * 10
    seen: list[tuple[int, int, str]] = []

    async def appender(n: int) -> None:
        rng = random.Random(n)
        for k in range(5):
            batch = [an_event(f"{n}-{k}-{i}", at=T0 + rng.randint(0, 999)) for i in range(2)]
            await store.append_events(n % 3, batch)
            await store.append_events(n % 3, batch)  # repeated
            await asyncio.sleep(rng.random() / 200)

    async def reader() -> None:
        cursor: dict[int, int] = {}
        while len(seen) < total:
            page = await store.read_events(None, cursor, 7)
            for item in page.items:
                assert item.position == cursor.get(item.partition, 0) + 1
                cursor[item.partition] = item.position
                seen.append((item.partition, item.position, item.event.id))
            assert cursor == {p: n for p, n in page.cursor.items() if n}
            await asyncio.sleep(0)

    async with asyncio.timeout(60):
        await asyncio.gather(reader(), *(appender(n) for n in range(20)))
    assert len({event for _, _, event in seen}) == total
    assert (await store.read_events(None, {}, 1000)).cursor == await store.event_heads()


# -- dead letters, invalid frames, keys, audit --------------------------------------------------


async def test_dead_letters(store: Store) -> None:
    rows = [
        DeadRow(
            f"d{n}", f"msg_{n}", "crm" if n % 2 else "iop", "sms", "poison", "why", T0 + n, b"b"
        )
        for n in range(6)
    ]
    await store.add_dead(rows)
    await store.add_dead(rows[:2])
    first = await store.list_dead(limit=4)
    rest = await store.list_dead(cursor=first.next_cursor)
    assert [*first.items, *rest.items] == rows[::-1]
    assert [row.id for row in (await store.list_dead("crm")).items] == ["d5", "d3", "d1"]
    assert [row.id for row in await store.get_dead(["d3", "nope", "d0"])] == ["d3", "d0"]
    assert (await store.count_dead()).oldest_ms == T0
    assert await store.mark_replayed(["d0", "nope"], T0 + 100) == 1
    assert (await store.count_dead()).count == 5
    page = await store.list_dead(filters=DeadFilter(replayed=True))
    assert [(row.id, row.replayed_at) for row in page.items] == [("d0", T0 + 100)]
    page = await store.list_dead(filters=DeadFilter(replayed=False, message="msg_0"))
    assert page.items == ()


async def test_invalid_frames(store: Store) -> None:
    big = b"x" * 100_000
    await store.add_invalid([InvalidRow("i1", "submit", "not\x00 msgpack", T0, big, len(big))])
    await store.add_invalid([InvalidRow("i1", "q", "again", T0, b"", 0)])
    (row,) = (await store.list_invalid()).items
    assert (row.queue, len(row.body), row.size) == ("submit", 65536, 100_000)
    assert await store.count_invalid() == type(await store.count_invalid())(1, T0)


async def test_keys(store: Store) -> None:
    key = ApiKey("k1", "crm", "laptop", "hash", ("send", "read:all"), T0)
    assert await store.add_key(key)
    assert not await store.add_key(ApiKey("k1", "thief", "x", "other"))
    assert await store.find_key("k1") == key
    assert await store.find_key("k2") is None
    await store.touch_keys({"k1": T0 + 5, "k2": T0})
    await store.touch_keys({"k1": T0 + 1})
    assert await store.revoke_key("k1", T0 + 9)
    assert await store.revoke_key("k1", T0 + 99)
    assert not await store.revoke_key("k2", T0)
    (found,) = await store.list_keys("crm")
    assert (found.revoked_at, found.last_used_at) == (T0 + 9, T0 + 5)
    assert await store.list_keys("iop") == ()


async def test_audit(store: Store) -> None:
    for n in range(3):
        await store.audit("ops", "key.revoke", f"k{n}", {"n": n}, T0 + n)
    page = await store.list_audit(limit=2)
    assert [row.target for row in page.items] == ["k2", "k1"]
    assert [r.target for r in (await store.list_audit(cursor=page.next_cursor)).items] == ["k0"]
    assert (await store.list_audit(target="k1")).items[0].detail == {"n": 1}


# -- faults -------------------------------------------------------------------------------------


async def test_one_bad_write_spoils_no_other(store: Store) -> None:
    async def bad(connection: object) -> None:
        await connection.execute(text("INSERT INTO due (id) VALUES ('half')"))  # type: ignore[attr-defined]

    results = await asyncio.gather(
        store.hold([due(1)]), store._write(bad), store.hold([due(2)]), return_exceptions=True
    )
    assert isinstance(results[1], StoreError)
    assert (await store.count_due()).count == 2


async def test_the_sqlite_writer_outlives_whatever_the_driver_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(f"sqlite:///{tmp_path}/store.db", SystemClock())
    await store.open()
    await store.migrate()

    def gone(_self: object) -> None:
        raise ValueError("no active connection")

    with monkeypatch.context() as patch:
        patch.setattr("sqlalchemy.ext.asyncio.AsyncEngine.begin", gone)
        with pytest.raises(StoreError, match="no active connection"):
            await store.hold([due(1)])
    await store.hold([due(2)])
    assert (await store.count_due()).count == 1
    await store.close()


async def test_many_small_writers_never_meet_a_locked_database(store: Store) -> None:
    await asyncio.gather(*(store.hold([due(n)]) for n in range(300)))
    assert (await store.count_due()).count == 300


async def test_a_write_survives_the_cancelling_of_its_caller_or_is_undone(store: Store) -> None:
    tasks = [asyncio.create_task(store.hold([due(n)])) for n in range(20)]
    await asyncio.sleep(0)
    tasks[3].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (await store.count_due()).count in (19, 20)
    await store.hold([due(99)])


async def test_sqlite_writes_are_there_after_a_reopen(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    for n in range(3):
        store = Store(url, SystemClock())
        await store.open()
        await store.migrate()
        assert (await store.count_due()).count == n
        await store.hold([due(n)])
        await store.close()
        await store.close()


async def test_postgres_killed_is_a_store_error_soon_and_recovers(own_postgres) -> None:  # type: ignore[no-untyped-def]
    store = Store(await asyncio.to_thread(own_postgres.create_database), SystemClock())
    await store.open()
    await store.migrate()
    await store.hold([due(n) for n in range(5)])
    with pytest.raises(StoreError):
        async with store.take_due(T0) as taken:
            assert len(taken) == 5
            await asyncio.to_thread(own_postgres.kill9)
    for _ in range(3):
        started = time.monotonic()
        with pytest.raises(StoreError):
            await store.ping()
        with pytest.raises(StoreError):
            await store.hold([due(7)])
        assert time.monotonic() - started < 3
    await asyncio.to_thread(own_postgres.start)
    for attempt in range(20):
        try:
            await store.ping()
            break
        except StoreError:
            assert attempt < 19
            await asyncio.sleep(0.1)
    async with store.take_due(T0) as taken:
        assert len(taken) == 5
    assert (await store.count_due()).count == 0
    await store.close()


async def test_postgres_that_hangs_counts_as_away(own_postgres) -> None:  # type: ignore[no-untyped-def]
    url = await asyncio.to_thread(own_postgres.create_database)
    store = Store(url, SystemClock(), connect_s=0.5, command_s=0.5)
    await store.open()
    await store.migrate()
    await store.hold([due(1)])
    os.killpg(own_postgres.pid, signal.SIGSTOP)
    children = _children(own_postgres.pid)
    for pid in children:
        os.kill(pid, signal.SIGSTOP)
    try:
        started = time.monotonic()
        with pytest.raises(StoreError):
            await store.hold([due(2)])
        assert time.monotonic() - started < 4
    finally:
        for pid in [*children, own_postgres.pid]:
            os.kill(pid, signal.SIGCONT)
        os.killpg(own_postgres.pid, signal.SIGCONT)
    async with asyncio.timeout(10):
        while True:
            try:
                await store.hold([due(2)])
                break
            except StoreError:
                await asyncio.sleep(0.05)
    assert (await store.count_due()).count == 2
    await store.close()


def _children(pid: int) -> list[int]:
    out = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        out += [int(child) for child in (task / "children").read_text().split()]
    return out


TAKER = """
import asyncio, sys
from msgcenter.clock import SystemClock
from msgcenter.store.store import Store

async def main():
    store = Store(sys.argv[1], SystemClock())
    await store.open()
    async with store.take_due(2**60) as rows, store.unpark("q", "k") as parked:
        print(len(rows), len(parked), flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_a_process_killed_while_publishing_leaves_its_rows(store: Store, url: str) -> None:
    await store.hold([due(n) for n in range(10)])
    await store.park([ParkRow(f"p{n}", "q", "k", b"x", f"msg_{n}") for n in range(3)])
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", TAKER, url, stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert process.stdout is not None
    assert await asyncio.wait_for(process.stdout.readline(), 20) == b"10 3\n"
    if not store.is_sqlite:  # another process cannot have them meanwhile
        async with store.take_due(T0) as rows:
            assert rows == ()
    process.kill()
    await process.wait()
    async with asyncio.timeout(10):
        got = 0
        while got < 10:  # the server needs a moment to see that its client is gone
            async with store.take_due(T0) as rows:
                got += len(rows)
            await asyncio.sleep(0.02)
    async with store.unpark("q", "k") as parked_rows:
        assert [row.id for row in parked_rows] == ["p0", "p1", "p2"]


# -- accounts and groups ------------------------------------------------------------------------


async def test_account_reports_times_and_revocations_do_not_undo_one_another(store: Store) -> None:
    assert await store.account_states() == {}
    await store.touch_accounts({"a": 5}, {"a": 7, "b": 3})
    await store.save_health([AccountRow("a", "h", "down", "nul \x00", 10), AccountRow("c", "h")])
    await store.revoke_account("a", 20, "ops/k")
    await store.revoke_account("a", 30, "late/k")
    await store.touch_accounts({"a": 4}, {"a": 9})
    await store.save_health([AccountRow("a", "h", "up", "", 9)])  # older than what is kept
    states = await store.account_states()
    assert states["a"] == AccountRow("a", "h", "down", "nul \ufffd", 10, 5, 9, 20, "ops/k")
    assert (states["b"].last_out, states["b"].revoked_at) == (3, 0)
    await store.save_health([AccountRow("a", "h", "up", "", 11)])
    await store.revoke_account("a", 0, "")
    back = (await store.account_states())["a"]
    assert (back.health, back.last_in, back.last_out, back.revoked_at) == ("up", 5, 9, 0)
    await store.save_health([])
    await store.touch_accounts({}, {})


def group(n: int, **fields: object) -> GroupRow:
    base = GroupRow(f"grp_{n}", "crm", f"群\x00{n}", "li", ("li", "a"), "hosted", "h1")
    return replace(base, created_at=T0 + n, **fields)  # type: ignore[arg-type]


async def test_groups_are_added_once_found_listed_and_changed_alone(store: Store) -> None:
    row = group(1)
    assert await store.add_group(row, lambda r: None) == row
    kept = await store.add_group(replace(row, name="other"), lambda r: replace(r, code="again"))
    assert (kept.name, kept.code) == ("群\ufffd1", "again")
    for n in range(2, 6):
        await store.add_group(group(n, state="active", chat=f"c{n}"), lambda r: None)
    assert set(await store.groups_by_id(["grp_1", "grp_4", "grp_9"])) == {"grp_1", "grp_4"}
    assert await store.groups_by_id([]) == {}
    page = await store.list_groups(GroupFilter(state="active"), limit=3)
    assert [r.id for r in page.items] == ["grp_5", "grp_4", "grp_3"]
    rest = await store.list_groups(GroupFilter(state="active"), page.next_cursor, limit=3)
    assert ([r.id for r in rest.items], rest.next_cursor) == (["grp_2"], "")
    assert await store.count_groups() == {("h1", "creating"): 1, ("h1", "active"): 4}
    assert await store.change_group("grp_9", lambda r: r) is None

    async def join(n: int) -> None:
        await store.change_group("grp_1", lambda r: replace(r, members=(*r.members, f"m{n:02d}")))

    await asyncio.gather(*(join(n) for n in range(20)))
    members = (await store.groups_by_id(["grp_1"]))["grp_1"].members
    assert sorted(members) == sorted(["li", "a", *(f"m{n:02d}" for n in range(20))])


async def test_groups_under_way_are_paged_and_requests_found(store: Store) -> None:
    asked = Asked("crm/k", T0, 600.0, "r\x00", "ref")
    for n in range(1, 6):
        row = group(n, command=f"msg_{n}", since=n, asked=asked, unapproved_since=n % 2 * n)
        await store.add_group(row, lambda r: None)
    await store.change_group("grp_2", lambda r: replace(r, state="active"))
    await store.change_group("grp_3", lambda r: replace(r, command=""))
    first = await store.groups_under_way(5, "", 1)
    rest = await store.groups_under_way(5, first[-1].id)
    assert [row.id for row in (*first, *rest)] == ["grp_1", "grp_4"]
    assert first[0].asked is not None
    assert (first[0].asked.by, first[0].asked.undo_for_s) == ("crm/k", 600.0)
    assert [row.id for row in await store.groups_unapproved(5)] == ["grp_1", "grp_3"]


async def test_a_seal_covers_what_is_there_and_goes_with_its_purpose(store: Store) -> None:
    out = [envelope(f"msg_o{n}", to=Address("group", "grp_1")) for n in range(3)]
    said = [
        envelope(
            f"msg_i{n}", inbound=True, to=Address("caller", "crm"), chat="wr1", channel=channel
        )
        for n, channel in enumerate(("h1", "archive", "other"))
    ]
    await store.write_records([record(Sent(()), of=one) for one in (*out, *said)], lambda _: "none")
    channels = ["h1", "archive"]
    seal = await store.seal_group("seal_1", "grp_1", "wr1", channels, T0)
    assert (seal.messages, seal.first_at, seal.last_at) == (5, T0, T0)
    assert await store.seal_group("seal_1", "grp_1", "wr1", channels, T0) == seal
    assert await store.check_seal(seal, "grp_1", "wr1", channels) == SealCheck(True, 0, 0, 0)
    check = await store.check_seal(replace(seal, messages=4), "grp_1", "wr1", channels)
    assert not check.intact
    check = await store.check_seal(seal, "grp_1", "wr1", [*channels, "other"])
    assert (check.intact, check.after) == (True, 1)
    nothing = await store.seal_group("seal_2", "grp_2", "", [], T0)
    assert (nothing.messages, nothing.first_at) == (0, 0)
    await store.add_group(group(1, seal=seal), lambda r: None)
    await store.change_group("grp_1", lambda r: replace(r, name="other"))
    assert (await store.check_seal(seal, "grp_1", "wr1", channels)).listed
    await store.change_group("grp_1", lambda r: replace(r, seal=None))
    assert not (await store.check_seal(seal, "grp_1", "wr1", channels)).listed


async def test_a_seal_that_nobody_uses_goes_when_it_is_old(store: Store) -> None:
    """Made by a process that died before the group had it."""
    sent = [envelope(f"msg_o{n}", to=Address("group", "grp_1")) for n in range(5)]
    await store.write_records([record(Sent(()), of=one) for one in sent], lambda _: "none")
    ids = IdFactory(clock := ManualClock(T0), random.Random(3))
    names = {}
    for name in ("lost", "used", "lost too", "young"):
        names[name] = ids.new("seal")
        if name == "lost too":
            await clock.advance(60.0)
    seals = {name: await store.seal_group(i, "grp_1", "", [], T0) for name, i in names.items()}
    await store.add_group(group(1, seal=seals["used"]), lambda r: None)
    await store.add_group(group(2, id="grp_2"), lambda r: None)

    async def kept() -> set[str]:
        checks = {name: await store.check_seal(s, "grp_1", "", []) for name, s in seals.items()}
        return {name for name, check in checks.items() if check.listed}

    assert await store.forget_unused_seals(T0) == 0, "none is older"
    assert len(await kept()) == 4
    before = T0 + 30_000
    gone = []
    while not gone or gone[-1] >= 3:
        gone.append(await store.forget_unused_seals(before, limit=3))
    assert (sum(gone), max(gone)) == (10, 3)
    assert await kept() == {"used", "young"}
    assert await store.forget_unused_seals(T0 + 120_000) == 5
    assert await kept() == {"used"}


async def test_a_group_seen_before_its_name_was_known_becomes_one_with_it(store: Store) -> None:
    own = group(1)
    await store.add_group(own, lambda r: None)
    read = group(2, id="grp_in", chat="wr1", imported=True, state="active")
    seen = await store.see_group("h1", "wr1", lambda r: replace(r, owner="wang"), read)
    assert seen is not None
    assert (seen.id, seen.owner) == ("grp_in", "wang")
    assert await store.see_group("h2", "wr1", lambda r: r, None) is None
    named = await store.name_group("grp_1", lambda r: replace(r, chat="wr1", state="active"))
    assert named is not None
    assert [r.id for r in (await store.list_groups()).items] == ["grp_1"]
    seen = await store.see_group("h1", "wr1", lambda r: replace(r, owner="zhao"), read)
    assert seen is not None
    assert (seen.id, seen.owner) == ("grp_1", "zhao")
    assert await store.name_group("grp_9", lambda r: r) is None
