"""Clock: ids that sort by time and carry their shard; a manual clock that unfolds chains of sleeps in order."""

from __future__ import annotations

import asyncio
import random

from hypothesis import given
from hypothesis import strategies as st

from msgcenter.clock import (
    ALPHABET,
    SHARDS,
    IdFactory,
    ManualClock,
    SystemClock,
    base32,
    shard_of,
    shard_of_id,
    system_random,
)


@given(st.lists(st.integers(0, 2**48), min_size=2, max_size=10, unique=True))
def test_ids_sort_by_time(times: list[int]) -> None:
    rng = random.Random(1)
    ids = [IdFactory(ManualClock(at), rng).message("p") for at in sorted(times)]
    assert ids == sorted(ids)
    assert all(len(one) == 30 and set(one[4:]) <= set(ALPHABET) for one in ids)


@given(st.text())
def test_a_message_id_carries_its_shard(person: str) -> None:
    ids = IdFactory(ManualClock(), random.Random(1))
    expected = shard_of(person) if person else 0
    assert shard_of_id(ids.message(person)) == expected


@given(st.text())
def test_any_text_has_a_shard(text: str) -> None:
    assert 0 <= shard_of_id(text) < SHARDS
    assert 0 <= shard_of_id(f"msg_{text}") < SHARDS


def test_an_id_with_an_impossible_shard_gets_one_by_hash() -> None:
    odd = "msg_" + "z" * 26  # shard 1023
    assert shard_of_id(odd) == shard_of(odd)


def test_the_same_dice_make_the_same_ids() -> None:
    one, other = (IdFactory(ManualClock(), random.Random(5)) for _ in range(2))
    assert [one.new("grp") for _ in range(3)] == [other.new("grp") for _ in range(3)]
    assert len({one.new("msg", "p") for _ in range(1000)}) == 1000
    assert system_random().getrandbits(64) != system_random().getrandbits(64)


def test_base32_is_fixed_in_width_and_drops_high_bits() -> None:
    assert base32(0, 3) == "000"
    assert base32(32, 3) == "010"
    assert base32(32**3 + 1, 3) == "001"


async def test_the_manual_clock_wakes_sleepers_in_order_at_their_time() -> None:
    clock = ManualClock(1000)
    seen: list[tuple[str, float, int]] = []

    async def sleeper(name: str, *waits: float) -> None:
        for wait in waits:
            await clock.sleep(wait)
            seen.append((name, clock.monotonic(), clock.now_ms()))

    tasks = [
        asyncio.create_task(sleeper("slow", 2.5)),
        asyncio.create_task(sleeper("chain", 1, 1, 1)),
        asyncio.create_task(sleeper("never", 10)),
    ]
    await clock.advance(2.9)
    assert [(name, at) for name, at, _ in seen] == [("chain", 1), ("chain", 2), ("slow", 2.5)]
    assert seen[-1][2] == 3500
    assert (clock.monotonic(), clock.now_ms()) == (2.9, 3900)
    await clock.advance(0.2)
    assert seen[-1][:2] == ("chain", 3)
    assert not tasks[2].done()
    tasks[2].cancel()
    await clock.sleep(0)


async def test_the_system_clock_moves_forward() -> None:
    clock = SystemClock()
    before, wall = clock.monotonic(), clock.now_ms()
    await clock.sleep(0.01)
    assert clock.monotonic() - before >= 0.009
    assert clock.now_ms() >= wall > 1_700_000_000_000
