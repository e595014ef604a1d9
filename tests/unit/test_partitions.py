"""Partitions: two owners never run one name at once, lost State stops the work, what is given up is drained first."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from msgcenter import partitions
from msgcenter.clock import SystemClock
from msgcenter.partitions import Partitions
from msgcenter.state import StateError
from msgcenter.state.memory import MemoryState
from tests.unit.rig import LOG, Failing

NAMES = [f"q{n}" for n in range(4)]
TTL = 0.3


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partitions, "TTL_S", TTL)


class Floor:
    """Where the work of all owners is seen: who runs what, and whether ever two did."""

    def __init__(self, drain: float = 0.0) -> None:
        self.running: dict[str, str] = {}
        self.starts: list[tuple[str, str]] = []
        self.clashes: list[str] = []
        self.drain = drain

    def of(self, owner: str) -> set[str]:
        return {name for name, by in self.running.items() if by == owner}

    def work(self, owner: str):
        async def work(name: str, stop: asyncio.Event) -> None:
            if name in self.running:
                self.clashes.append(name)
            self.running[name] = owner
            self.starts.append((name, owner))
            try:
                await stop.wait()
                await asyncio.sleep(self.drain)
            finally:
                if self.running.get(name) == owner:
                    del self.running[name]

        return work

    def owner(
        self, name: str, state: Any, stop: asyncio.Event, *, sole: bool = False, work: Any = None
    ) -> asyncio.Task[None]:
        shared = Partitions(
            "g",
            NAMES,
            work or self.work(name),
            state=state,
            owner=name,
            sole=sole,
            clock=SystemClock(),
            log=LOG,
        )
        return asyncio.create_task(shared.run(stop))


async def until(condition: Any, seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("drain", [0.0, TTL / 2], ids=["quick", "slow to drain"])
async def test_two_owners_share_and_never_run_the_same_name_at_once(drain: float) -> None:
    state, floor = MemoryState(SystemClock()), Floor(drain)
    stop_a, stop_b = asyncio.Event(), asyncio.Event()
    a = floor.owner("a", state, stop_a)
    await until(lambda: floor.of("a") == set(NAMES))
    b = floor.owner("b", state, stop_b)
    await until(lambda: len(floor.of("a")) == len(floor.of("b")) == 2)
    stop_a.set()
    await a
    assert not floor.of("a")
    await until(lambda: floor.of("b") == set(NAMES))
    stop_b.set()
    await b
    assert floor.clashes == []
    assert floor.running == {}


async def test_an_owner_that_ends_keeps_its_names_until_they_are_drained() -> None:
    """Though another process joins and the lease of the last renewal runs out meanwhile."""
    state, floor = MemoryState(SystemClock()), Floor(drain=TTL * 0.9)
    stop_a, stop_b = asyncio.Event(), asyncio.Event()
    a = floor.owner("a", state, stop_a)
    await until(lambda: floor.of("a") == set(NAMES))
    stop_a.set()
    await asyncio.sleep(TTL / 2)
    floor.drain = 0.0
    b = floor.owner("b", state, stop_b)
    await a
    await until(lambda: floor.of("b") == set(NAMES))
    stop_b.set()
    await b
    assert floor.clashes == []


async def test_work_stops_before_a_lease_that_cannot_be_renewed_passes_on() -> None:
    floor = Floor()
    state = Failing(MemoryState(SystemClock()))
    stop = asyncio.Event()
    a = floor.owner("a", state, stop)
    await until(lambda: floor.of("a") == set(NAMES))
    state.broken["lease"] = (StateError("away"), 1_000_000)
    began = asyncio.get_running_loop().time()
    await until(lambda: not floor.running)
    assert asyncio.get_running_loop().time() - began < TTL
    state.broken.clear()
    await until(lambda: floor.of("a") == set(NAMES))
    assert len(floor.starts) == 2 * len(NAMES)
    stop.set()
    await a


async def test_one_failed_renewal_stops_nothing() -> None:
    floor = Floor()
    state = Failing(MemoryState(SystemClock()))
    stop = asyncio.Event()
    a = floor.owner("a", state, stop)
    await until(lambda: floor.of("a") == set(NAMES))
    state.broken["lease"] = (StateError("hiccup"), 1)
    await until(lambda: state.calls.count("lease") >= 5)
    assert len(floor.starts) == len(NAMES)
    stop.set()
    await a


async def test_a_worker_that_ends_by_an_error_is_started_again() -> None:
    floor, stop = Floor(), asyncio.Event()
    good = floor.work("a")
    failures = ["q1", "q1"]

    async def work(name: str, halt: asyncio.Event) -> None:
        if name in failures:
            failures.remove(name)
            raise ZeroDivisionError
        await good(name, halt)

    a = floor.owner("a", MemoryState(SystemClock()), stop, work=work)
    await until(lambda: floor.of("a") == set(NAMES))
    stop.set()
    await a


async def test_the_only_process_holds_all_at_once_and_asks_nobody() -> None:
    floor, stop = Floor(), asyncio.Event()
    state = Failing(MemoryState(SystemClock()))
    a = floor.owner("a", state, stop, sole=True)
    await asyncio.sleep(0.01)
    assert floor.of("a") == set(NAMES)
    stop.set()
    await a
    assert state.calls == []


@pytest.mark.parametrize("draining", [False, True])
async def test_cancelling_leaves_no_work_behind(draining: bool) -> None:
    floor, stop = Floor(drain=60.0), asyncio.Event()
    a = floor.owner("a", MemoryState(SystemClock()), stop)
    await until(lambda: floor.of("a") == set(NAMES))
    if draining:
        stop.set()
        await asyncio.sleep(0.02)
    a.cancel()
    with pytest.raises(asyncio.CancelledError):
        await a
    assert floor.running == {}
