"""The spool: the straight way while the bus confirms, the file while it does not, order over both, nothing lost."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import structlog
from prometheus_client import CollectorRegistry

from msgcenter.bus import BusError, Frame, Queue
from msgcenter.clock import SystemClock
from msgcenter.metrics import Metrics
from msgcenter.outlet import Parcel
from msgcenter.spool import Spool, SpoolFull
from protocols import wire

INBOUND = Queue("inbound", "conv", 1)


class StubbornBus:
    """`gate` cleared: publishes hang (and are stored when they are let go); `down`: they are refused."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.publishes = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.down = False

    async def publish(self, frames: Sequence[Frame]) -> None:
        self.publishes += 1
        if self.down:
            raise BusError("down")
        await self.gate.wait()
        self.frames += frames

    @property
    def bodies(self) -> list[str]:
        return [body.decode() for f in self.frames for body in wire.unpack_frame(f.body)]


def made(folder: Path, bus: Any, **more: Any) -> Spool:
    return Spool(
        folder,
        bus,
        clock=SystemClock(),
        metrics=Metrics(CollectorRegistry()),
        log=structlog.get_logger(),
        **{"confirm_s": 0.1, **more},
    )


@pytest.fixture
def bus() -> StubbornBus:
    return StubbornBus()


@pytest.fixture
async def spool(tmp_path: Path, bus: StubbornBus) -> AsyncIterator[Spool]:
    spool = made(tmp_path / "spool", bus)
    await spool.open()
    yield spool
    await spool.close()


def parcel(word: object, size: int = 0) -> Parcel:
    return Parcel(INBOUND, str(word).encode().ljust(size, b"."))


async def replayed(spool: Spool, seconds: float = 10.0) -> None:
    """Run the replay until the file is empty."""
    stop = asyncio.Event()
    task = asyncio.create_task(spool.run(stop))
    async with asyncio.timeout(seconds):
        while spool.count:
            await asyncio.sleep(0.01)
    stop.set()
    await task


async def test_what_the_bus_confirms_never_touches_the_file(spool: Spool, bus: StubbornBus) -> None:
    await asyncio.gather(*(spool.publish([parcel(n)]) for n in range(300)))
    assert bus.bodies == [str(n) for n in range(300)]
    assert bus.publishes <= 12, "what waits goes together"
    assert (spool.count, spool.bytes) == (0, 0)


@pytest.mark.parametrize("how", ["stalled", "down"])
async def test_what_the_bus_does_not_confirm_comes_later_in_order(
    spool: Spool, bus: StubbornBus, how: str
) -> None:
    await spool.publish([parcel("a0")])
    bus.gate.clear() if how == "stalled" else setattr(bus, "down", True)
    loop = asyncio.get_running_loop()
    for n in range(1, 50):
        began = loop.time()
        await spool.publish([parcel(f"a{n}")])
        assert loop.time() - began < 0.5
        if n == 1:  # only the first pays for finding out
            tries = bus.publishes
    assert bus.publishes == tries
    assert spool.count == 49
    assert spool.bytes > 0
    bus.down = False
    bus.gate.set()
    await spool.publish([parcel("a50")])
    assert "a50" not in bus.bodies, "it queues behind the older ones"
    await replayed(spool)
    await spool.publish([parcel("a51")])
    assert (spool.count, spool.bytes) == (0, 0)
    once = list(dict.fromkeys(bus.bodies))
    assert once == [f"a{n}" for n in range(52)]


async def test_order_holds_while_the_bus_comes_and_goes(spool: Spool, bus: StubbornBus) -> None:
    stop = asyncio.Event()
    task = asyncio.create_task(spool.run(stop))

    async def flap() -> None:
        for _ in range(15):
            bus.down = not bus.down
            await asyncio.sleep(0.03)
        bus.down = False

    flapping = asyncio.create_task(flap())
    posts = []
    for n in range(600):
        posts.append(asyncio.create_task(spool.publish([parcel(n)])))
        await asyncio.sleep(0.001)
    await asyncio.gather(*posts, flapping)
    async with asyncio.timeout(10):
        while spool.count:
            await asyncio.sleep(0.01)
    stop.set()
    await task
    assert list(dict.fromkeys(bus.bodies)) == [str(n) for n in range(600)]


async def test_it_refuses_only_when_full_and_takes_again(tmp_path: Path, bus: StubbornBus) -> None:
    spool = made(tmp_path, bus, max_bytes=50_000)
    await spool.open()
    bus.down = True
    kept = []
    with pytest.raises(SpoolFull):
        for n in range(1000):
            await spool.publish([parcel(n, 900)])
            kept.append(n)
    assert len(kept) == 50
    with pytest.raises(SpoolFull):
        await spool.publish([parcel("small")])  # no later word overtakes a refused one
    bus.down = False
    await replayed(spool)
    await spool.publish([parcel("again")])
    assert [int(body.strip(".")) for body in bus.bodies[:-1]] == kept
    assert bus.bodies[-1] == "again"
    await spool.close()


async def test_a_caller_that_gives_up_leaves_its_word_on_its_way(
    spool: Spool, bus: StubbornBus
) -> None:
    bus.gate.clear()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await spool.publish([parcel("x")])
    await asyncio.sleep(0.3)
    assert spool.count == 1


async def test_queues_and_delays_are_kept(spool: Spool, bus: StubbornBus) -> None:
    bus.down = True
    urgent = Queue("out.kf", "conv", 3)
    await spool.publish([Parcel(urgent, b"ring", 5), parcel("in"), Parcel(urgent, b"now")])
    bus.down = False
    await replayed(spool)
    assert [(f.key, f.delay, wire.unpack_frame(f.body)) for f in bus.frames] == [
        ("out.kf.conv.3", 5, [b"ring"]),
        ("inbound.conv.1", 0, [b"in"]),
        ("out.kf.conv.3", 0, [b"now"]),
    ]


async def test_a_restart_takes_over_what_lies_there(tmp_path: Path, bus: StubbornBus) -> None:
    bus.down = True
    one, two = made(tmp_path, bus), made(tmp_path, bus)
    await one.open()
    await two.open()  # a second process with the same folder has a file of its own
    await one.publish([parcel("one")])
    await two.publish([parcel("two")])
    assert (one.count, two.count) == (1, 1)
    await two.close()
    three = made(tmp_path, bus)
    await three.open()
    assert (one.count, three.count) == (1, 1), "what a living process holds is its own"
    await three.close()
    await one.close()
    alone = made(tmp_path, bus)
    await alone.open()
    assert alone.count == 2
    assert alone.bytes == sum(len(word) + 100 for word in ("one", "two"))
    bus.down = False
    await replayed(alone)
    assert sorted(bus.bodies) == ["one", "two"]
    await alone.close()
    again = made(tmp_path, bus)
    await again.open()
    assert (again.count, again.bytes) == (0, 0)
    await again.close()


FILLER = """
import asyncio, sys
from pathlib import Path
from tests.unit.test_spool import StubbornBus, made, parcel
from msgcenter.spool import SpoolFull

async def main():
    bus = StubbornBus()
    bus.down = True
    spool = made(Path(sys.argv[1]), bus, max_bytes=300_000)
    await spool.open()

    async def one(n):
        try:
            await spool.publish([parcel(n, 500)])
        except SpoolFull:
            print("full", flush=True)
        else:
            print(n, flush=True)

    n = 0
    while True:
        await asyncio.gather(*(one(n + i) for i in range(20)))
        n += 20

asyncio.run(main())
"""


@pytest.mark.parametrize("until", ["40", "full"])
async def test_kill_9_loses_nothing_that_was_acknowledged(
    tmp_path: Path, bus: StubbornBus, until: str
) -> None:
    process = subprocess.Popen(  # noqa: ASYNC220 - it only forks
        ["setpriv", "--pdeathsig", "KILL", sys.executable, "-c", FILLER, str(tmp_path)],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    said: list[str] = []

    def listen() -> None:
        for line in process.stdout:  # type: ignore[union-attr]
            said.append(line.strip())
            if line.strip() == until:
                os.kill(process.pid, signal.SIGKILL)
                break
        said.extend(line.strip() for line in process.stdout)  # type: ignore[union-attr]

    await asyncio.to_thread(listen)
    process.wait(10)
    kept = [int(word) for word in said if word.isdigit()]
    assert until in said
    spool = made(tmp_path, bus)
    await spool.open()
    await replayed(spool)
    await spool.close()
    found = [int(body.strip(".")) for body in bus.bodies]
    assert found == sorted(found)
    assert set(kept) <= set(found)
