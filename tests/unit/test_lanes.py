"""LaneGate: slots are never exceeded nor leaked, the highest lane goes first, bulk gets its tenth, the rate is kept."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from msgcenter.bus import LANES, Lane
from msgcenter.clock import ManualClock
from msgcenter.lanes import LaneGate, turn_size
from msgcenter.state import Grant, StateError
from msgcenter.state.memory import MemoryState


async def settle_down() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def opened(slots: int, **options) -> LaneGate:
    gate = LaneGate(slots, options.pop("clock", ManualClock()), **options)
    gate.open()
    return gate


class Turns:
    """Starts turns and notes who got one, in order."""

    def __init__(self, gate: LaneGate) -> None:
        self.gate = gate
        self.went: list[tuple[Lane, bool]] = []
        self.release = asyncio.Event()
        self.tasks: list[asyncio.Task[None]] = []

    def start(self, lane: Lane, n: int = 1) -> asyncio.Task[None]:
        async def one() -> None:
            async with self.gate.turn(lane, n) as granted:
                self.went.append((lane, granted))
                if granted:
                    await self.release.wait()

        self.tasks.append(asyncio.create_task(one()))
        return self.tasks[-1]


async def test_no_more_than_its_slots_run_and_the_next_follows_at_once() -> None:
    gate = opened(2)
    turns = Turns(gate)
    for _ in range(5):
        turns.start("normal")
    await settle_down()
    assert (len(turns.went), gate.busy) == (2, 2)
    turns.release.set()
    await asyncio.gather(*turns.tasks)
    assert (len(turns.went), gate.busy) == (5, 0)


async def test_the_highest_waiting_lane_goes_first() -> None:
    gate = opened(1)
    turns = Turns(gate)
    turns.start("normal")
    await settle_down()
    for lane in ("bulk", "normal", "conv", "urgent", "normal", "urgent"):
        turns.start(lane)
    await settle_down()
    turns.release.set()
    await asyncio.gather(*turns.tasks)
    went = [lane for lane, _ in turns.went][1:]
    assert went == sorted(went, key=LANES.index)


async def test_bulk_gets_a_tenth_under_endless_urgent_load() -> None:
    gate = opened(1)
    counted: Counter[str] = Counter()
    stop = asyncio.Event()

    async def load(lane: Lane) -> None:
        while not stop.is_set():
            async with gate.turn(lane, 1):
                counted[lane] += 1
                await asyncio.sleep(0)
            if counted.total() >= 1000:
                stop.set()

    async with asyncio.timeout(10):
        await asyncio.gather(*(load(lane) for lane in ("urgent", "urgent", "normal", "bulk")))
    assert counted["bulk"] + 1 >= 100
    assert counted["bulk"] <= 110
    assert counted["urgent"] > 800


async def test_a_shut_gate_turns_away_who_waits_and_who_comes() -> None:
    gate = opened(1)
    turns = Turns(gate)
    turns.start("normal")
    await settle_down()
    turns.start("urgent")
    turns.start("bulk")
    await settle_down()
    gate.shut()
    turns.start("conv")
    await settle_down()
    assert turns.went[1:] == [("urgent", False), ("bulk", False), ("conv", False)] or sorted(
        turns.went[1:]
    ) == [("bulk", False), ("conv", False), ("urgent", False)]
    assert gate.busy == 1  # the turn under way runs on
    gate.open()
    turns.start("normal")
    turns.release.set()
    await asyncio.gather(*turns.tasks)
    assert turns.went[-1] == ("normal", True)
    assert gate.busy == 0


async def test_cancelled_waiters_and_holders_leak_no_slot() -> None:
    gate = opened(2)
    rng = random.Random(4)
    for _ in range(50):
        turns = Turns(gate)
        tasks = [turns.start(rng.choice(LANES)) for _ in range(6)]
        for _ in range(rng.randrange(4)):
            await asyncio.sleep(0)
        for task in rng.sample(tasks, 4):
            task.cancel()
        if rng.random() < 0.3:
            gate.shut()
            gate.open()
        turns.release.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert gate.busy == 0
    turns = Turns(gate)
    turns.start("bulk")
    turns.start("bulk")
    await settle_down()
    assert gate.busy == 2
    turns.release.set()
    await asyncio.gather(*turns.tasks)


async def test_a_turn_granted_in_the_moment_of_its_cancellation_gives_its_slot_back() -> None:
    gate = opened(1)
    turns = Turns(gate)
    first, second, third = (turns.start("normal") for _ in range(3))
    await settle_down()
    first.cancel()
    await asyncio.sleep(0)  # the slot passes to the second in this very step
    second.cancel()
    await settle_down()
    turns.release.set()
    await third
    assert turns.went == [("normal", True)] * 2
    assert gate.busy == 0


async def test_an_exception_inside_a_turn_gives_the_slot_back() -> None:
    gate = opened(1)
    with pytest.raises(ZeroDivisionError):
        async with gate.turn("normal", 1):
            raise ZeroDivisionError
    assert gate.busy == 0


def rated(clock: ManualClock, rate: float) -> LaneGate:
    state = MemoryState(clock)

    async def take(want: int) -> Grant:
        return await state.tokens("c", want=want, rate=rate, burst=max(1.0, rate / 5))

    return opened(100, clock=clock, take=take)


async def test_the_rate_is_kept_and_used_up() -> None:
    clock = ManualClock()
    gate = rated(clock, 100.0)
    went: list[float] = []

    async def one() -> None:
        async with gate.turn("normal", 5) as granted:
            assert granted
            went.append(clock.monotonic())

    tasks = [asyncio.create_task(one()) for _ in range(100)]
    await clock.advance(1.0)
    first = len(went) * 5
    await clock.advance(1.0)
    assert 100 <= first <= 100 + 20 + 5  # the saved-up burst comes on top
    assert 95 <= len(went) * 5 - first <= 105
    await clock.advance(5.0)
    assert all(task.done() for task in tasks)


async def test_what_waits_longest_for_tokens_is_not_what_came_first() -> None:
    clock = ManualClock()
    gate = rated(clock, 10.0)
    turns = Turns(gate)
    turns.release.set()
    turns.start("normal", 2)
    await clock.advance(0.0)
    for _ in range(3):
        turns.start("bulk", 1)
    await clock.advance(0.01)
    turns.start("urgent", 1)
    await clock.advance(1.0)
    assert [lane for lane, _ in turns.went] == ["normal", "urgent", "bulk", "bulk", "bulk"]


async def test_shut_while_waiting_for_tokens_then_open_again() -> None:
    clock = ManualClock()
    gate = rated(clock, 1.0)
    turns = Turns(gate)
    turns.release.set()
    turns.start("normal", 1)
    turns.start("normal", 1)
    await clock.advance(0.1)
    gate.shut()
    await clock.advance(2.0)
    assert turns.went == [("normal", True), ("normal", False)]
    gate.open()
    turns.start("bulk", 1)
    await clock.advance(2.0)
    assert turns.went[-1] == ("bulk", True)
    assert gate.busy == 0


async def test_a_cancelled_waiter_does_not_stop_the_pump() -> None:
    clock = ManualClock()
    gate = rated(clock, 2.0)
    turns = Turns(gate)
    turns.release.set()
    tasks = [turns.start("normal", 1) for _ in range(4)]
    await clock.advance(0.1)
    tasks[1].cancel()
    await clock.advance(5.0)
    assert len(turns.went) == 3
    assert gate.busy == 0


async def test_without_state_nothing_leaves_until_it_is_back() -> None:
    clock = ManualClock()
    away = True

    async def take(want: int) -> Grant:
        if away:
            raise StateError("away")
        return Grant(want)

    gate = opened(2, clock=clock, take=take)
    turns = Turns(gate)
    turns.release.set()
    turns.start("urgent", 3)
    await clock.advance(10.0)
    assert turns.went == []
    away = False
    await clock.advance(0.6)
    assert turns.went == [("urgent", True)]


@pytest.mark.parametrize(
    ("batch", "rate", "size"),
    [(100, None, 100), (100, 0, 100), (100, 500, 50), (10, 500, 10), (100, 5, 1), (1, 10_000, 1)],
)
def test_a_turn_is_at_most_a_tenth_of_a_second(batch: int, rate: float | None, size: int) -> None:
    assert turn_size(batch, rate) == size
