"""The lookup believes its memory only while it hears of changes, and keeps nothing that was changed while it was read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from msgcenter.clock import ManualClock
from msgcenter.customers.lookup import BELIEVED_S, POLL_S, CustomerLookup
from msgcenter.customers.sheet import Claim, Put
from msgcenter.customers.writes import By, CustomerWrites
from msgcenter.state.memory import MemoryState
from msgcenter.store import StoreError
from msgcenter.store.customers import Changes, Found
from msgcenter.store.store import Store
from tests.migrated import placed

T0 = 1_790_000_000_000
TEL, TEL2 = "tel:+8613800138000", "tel:+8613900139000"
BY = By("crm", "k")


class Watched:
    """The Store, counted; it can be away, and a question can be held back after it was answered."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.asked: list[tuple[list[str], list[str]]] = []
        self.away = False
        self.hold: asyncio.Event | None = None
        self.read = asyncio.Event()

    async def find_customers(self, addresses: Sequence[str], ids: Sequence[str]) -> Found:
        if self.away:
            raise StoreError("away")
        self.asked.append((list(addresses), list(ids)))
        found = await self.store.find_customers(addresses, ids)
        self.read.set()
        if self.hold is not None:
            await self.hold.wait()
        return found

    async def customer_changes(self, after: int) -> Changes:
        if self.away:
            raise StoreError("away")
        return await self.store.customer_changes(after)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(T0)


@pytest.fixture
async def store(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Store]:
    store = Store(placed(tmp_path), clock)
    await store.open()
    yield store
    await store.close()


@pytest.fixture
def source(store: Store) -> Watched:
    return Watched(store)


@pytest.fixture
def lookup(source: Watched, clock: ManualClock) -> CustomerLookup:
    return CustomerLookup(source, clock)


@pytest.fixture
def writes(store: Store, clock: ManualClock) -> CustomerWrites:
    """Another process."""
    return CustomerWrites(MemoryState(clock), store, CustomerLookup(store, clock), clock)


async def test_a_batch_is_one_question_and_the_next_is_none(
    lookup: CustomerLookup, source: Watched, writes: CustomerWrites
) -> None:
    await writes.put([Put("c1", addresses=(Claim(TEL),)), Put("c2")], BY)
    await lookup.catch_up()
    first = await lookup.many([TEL, TEL2, "customer:c2", "c1", "c9", TEL], T0)
    assert {key: person.key for key, person in first.items()} == {
        TEL: "c1",
        TEL2: TEL2,
        "customer:c2": "c2",
        "c1": "c1",
    }
    assert len(source.asked) == 1
    assert await lookup.many([TEL, TEL2, "customer:c2", "c1"], T0) == first
    assert len(source.asked) == 1
    await lookup.many([TEL, "tel:+8613700000000"], T0)
    assert source.asked[1:] == [(["tel:+8613700000000"], [])]


async def test_another_process_s_change_is_seen_after_the_next_look(
    lookup: CustomerLookup, writes: CustomerWrites
) -> None:
    await writes.put([Put("c1", addresses=(Claim(TEL),)), Put("c2", addresses=(Claim(TEL2),))], BY)
    await lookup.catch_up()
    assert (await lookup.many([TEL], T0))[TEL].tags == ()
    await writes.put([Put("c1", add_tags=("vip",))], BY)
    assert (await lookup.many([TEL], T0))[TEL].tags == ()
    await lookup.catch_up()
    assert (await lookup.many([TEL], T0))[TEL].tag_names == {"vip"}
    await writes.put([Put("c1", addresses=(Claim("tel:+8613700000000"),))], BY)
    await lookup.catch_up()
    assert len((await lookup.many([TEL], T0))[TEL].holdings) == 2


async def test_the_task_looks_twice_a_second(
    lookup: CustomerLookup, writes: CustomerWrites, source: Watched
) -> None:
    assert POLL_S <= 0.5
    stop = asyncio.Event()
    task = asyncio.create_task(lookup.run(stop))
    try:
        source.away = True
        await asyncio.sleep(0)
        source.away = False
        async with asyncio.timeout(20):
            while lookup._position < 0:
                await asyncio.sleep(0.01)
            await lookup.many([TEL], T0)
            await writes.put([Put("c1", addresses=(Claim(TEL),))], BY)
            while (await lookup.many([TEL], T0))[TEL].key != "c1":
                await asyncio.sleep(0.01)
    finally:
        stop.set()
        await task


async def test_what_is_changed_while_it_is_read_is_not_kept(
    lookup: CustomerLookup, source: Watched, writes: CustomerWrites
) -> None:
    await writes.put([Put("c1", addresses=(Claim(TEL),))], BY)
    await lookup.catch_up()
    source.hold = asyncio.Event()
    reading = asyncio.create_task(lookup.many([TEL], T0))
    await source.read.wait()
    await writes.put([Put("c1", add_tags=("late",))], BY)
    await lookup.catch_up()
    source.hold.set()
    assert (await reading)[TEL].tags == ()  # as it was when asked
    assert (await lookup.many([TEL], T0))[TEL].tag_names == {"late"}


async def test_memory_is_believed_for_a_while_when_the_store_is_away(
    lookup: CustomerLookup, source: Watched, clock: ManualClock
) -> None:
    await lookup.catch_up()
    await lookup.many([TEL], T0)
    source.away = True
    with pytest.raises(StoreError):
        await lookup.catch_up()
    await clock.advance(BELIEVED_S - 1)
    assert (await lookup.many([TEL], T0))[TEL].key == TEL
    with pytest.raises(StoreError):
        await lookup.many([TEL2], T0)
    await clock.advance(1.5)
    with pytest.raises(StoreError):
        await lookup.many([TEL], T0)


async def test_without_the_log_nothing_is_remembered(
    lookup: CustomerLookup, source: Watched
) -> None:
    await lookup.many([TEL], T0)
    await lookup.many([TEL], T0)
    assert len(source.asked) == 2


async def test_memory_is_bounded(
    source: Watched, clock: ManualClock, writes: CustomerWrites
) -> None:
    lookup = CustomerLookup(source, clock, kept=10)
    await lookup.catch_up()
    names = [f"tel:+86138{number:08d}" for number in range(50)]
    await writes.put([Put(f"c{n}", addresses=(Claim(name),)) for n, name in enumerate(names)], BY)
    await lookup.catch_up()
    found = await lookup.many(names, T0)
    assert [person.id for person in found.values()] == [f"c{n}" for n in range(50)]
    assert len(lookup._holdings) == len(lookup._people) == 10
    assert (await lookup.many(names[-3:], T0))[names[-1]].id == "c49"
