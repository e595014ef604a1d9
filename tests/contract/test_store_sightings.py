"""The Store's contract for sightings: two readings of one message are joined one to one, on SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from msgcenter.clock import ManualClock
from msgcenter.store import Sighting, StoreError
from msgcenter.store.sightings import EARLY_MS, NEAR_MS
from msgcenter.store.store import Store
from tests.migrated import placed

T0 = 1_790_000_000_000


@pytest.fixture(params=["sqlite", "postgres"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    url = placed(tmp_path)
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_store_url")
    store = Store(url, ManualClock(T0))
    await store.open()
    yield store
    await store.close()


def read(channel: str, remote_id: str, at: int = 0, place: str = "p") -> Sighting:
    one = f"msg_{channel}_{remote_id}"
    return Sighting(one, place, T0 + at, channel, one, remote_id=remote_id, account="zhangsan")


def own(message: str, at: int = 0, until: int = 600_000, place: str = "p") -> Sighting:
    one = Sighting(f"own_{message}", place, T0 + at, "live", message, own=True)
    return replace(one, until=T0 + until, step=1, attempt=2)


async def test_the_second_reading_belongs_to_the_first_whichever_comes_first(store: Store) -> None:
    live, kept = read("live", "l1", 0, "a"), read("archive", "k1", 900, "a")
    assert (await store.unite([live]))[0].message == live.id
    assert (await store.unite([kept]))[0].message == live.id
    live, kept = read("live", "l2", 0, "b"), read("archive", "k2", -900, "b")
    assert (await store.unite([kept]))[0].message == kept.id
    assert (await store.unite([live]))[0].message == kept.id


async def test_asked_again_it_answers_the_same(store: Store) -> None:
    live, kept = read("live", "l1"), read("archive", "k1")
    first = await store.unite([live, kept])
    assert [one.message for one in first] == [live.id, live.id]
    assert await store.unite([kept, live, kept]) == [first[1], first[0], first[1]]
    assert [one.channel for one in await store.sightings_of(live.id)] == ["archive", "live"]


async def test_the_same_words_thrice_are_three_messages(store: Store) -> None:
    live = [read("live", f"l{n}", n * 1000) for n in range(3)]
    kept = [read("archive", f"k{n}", n * 1000 + 40) for n in range(3)]
    await store.unite(live)
    joined = await store.unite(kept)
    assert [one.message for one in joined] == [one.id for one in live]


async def test_one_lost_by_the_live_reader_is_a_message_of_the_archive(store: Store) -> None:
    await store.unite([read("live", "l0", 0), read("live", "l2", 2000)])
    joined = await store.unite([read("archive", f"k{n}", n * 1000 + 40) for n in range(3)])
    assert len({one.message for one in joined}) == 3


async def test_far_apart_or_elsewhere_is_not_the_same(store: Store) -> None:
    await store.unite([read("live", "l1")])
    later, elsewhere = read("archive", "k1", NEAR_MS + 1), read("archive", "k2", 0, "q")
    assert [one.message for one in await store.unite([later, elsewhere])] == [
        later.id,
        elsewhere.id,
    ]


async def test_a_copy_of_an_own_send_is_recognised_once(store: Store) -> None:
    await store.announce([own("msg_ours")])
    await store.announce([own("msg_ours")])
    found = await store.announced([read("archive", "k1", 500)])
    assert [one.id for one in found] == ["own_msg_ours"]
    first, second = await store.unite([read("archive", "k1", 500), read("archive", "k2", 600)])
    assert (first.message, first.step, first.attempt, first.copy) == ("msg_ours", 1, 2, True)
    assert second.message == second.id
    assert not second.copy
    assert [one.remote_id for one in await store.sightings_of("msg_ours")] == ["k1"]


@pytest.mark.parametrize("at", [-EARLY_MS - 1, 600_001])
async def test_a_copy_out_of_time_is_somebody_elses(store: Store, at: int) -> None:
    await store.announce([own("msg_ours")])
    assert await store.announced([read("archive", "k1", at)]) == []
    (one,) = await store.unite([read("archive", "k1", at)])
    assert one.message == one.id


async def test_what_came_to_nothing_has_no_copy(store: Store) -> None:
    await store.announce([own("msg_ours")])
    (one,) = await store.unite([read("archive", "k1", 500)], ["own_msg_ours"])
    assert one.message == one.id


async def test_the_sender_itself_reads_no_copy_of_its_own(store: Store) -> None:
    await store.announce([own("msg_ours")])
    (one,) = await store.unite([read("live", "l1", 500)])
    assert one.message == one.id


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_the_order_each_message_is_counted_once(store: Store, seed: int) -> None:
    """Of 60 messages of two texts, some lost by one reader or the other: the number told does not depend on the arrival."""
    dice = random.Random(seed)
    readings: list[Sighting] = []
    for n in range(60):
        place, at = f"p{n % 2}", n * 1500
        lost = dice.choice(["", "", "", "live", "archive"])
        readings += [
            read(channel, f"{channel}{n}", at + dice.randint(-200, 200), place)
            for channel in ("live", "archive")
            if channel != lost
        ]
    told = Counter((one.place, one.channel) for one in readings)
    dice.shuffle(readings)
    messages: Counter[str] = Counter()
    for start in range(0, len(readings), 7):
        for one in await store.unite(readings[start : start + 7]):
            messages[one.message] += 1
    assert max(messages.values()) == 2
    # Of what says the same, as many as the reader told of who lost fewer.
    expected = sum(max(told[p, "live"], told[p, "archive"]) for p in ("p0", "p1"))
    assert len(messages) == expected


async def test_two_that_join_at_once_do_not_join_twice(store: Store) -> None:
    await store.unite([read("live", "l1")])

    async def join(remote_id: str) -> str:
        for _ in range(5):
            try:
                return (await store.unite([read("archive", remote_id)]))[0].message
            except StoreError:
                await asyncio.sleep(0.01)
        raise AssertionError("never joined")

    joined = await asyncio.gather(*(join(f"k{n}") for n in range(6)))
    assert Counter(joined)["msg_live_l1"] == 1
    assert len(set(joined)) == 6


async def test_old_ones_are_forgotten(store: Store) -> None:
    await store.unite([read("live", f"l{n}", n * 1000) for n in range(5)])
    assert await store.forget_sightings(T0 + 3000) == 3
    assert await store.sightings_of("msg_live_l0") == []
