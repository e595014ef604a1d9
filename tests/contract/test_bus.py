"""The Bus contract: one suite, run against the embedded bus and against RabbitMQ."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from msgcenter.bus import Bus, BusError, Delivery, Queue, Unroutable
from tests.contract.buses import SUBMIT, Rig, bodies, drain, frame, until

A = Queue("record", "normal", 0, "a")
B = Queue("record", "normal", 0, "b")
CONV = Queue("out.sms", "conv", 3)
URGENT = Queue("submit", "urgent")
BULK = Queue("submit", "bulk")
ALL = [SUBMIT, URGENT, BULK, CONV, A, B]


@pytest_asyncio.fixture(params=["sqlite", pytest.param("rabbit", marks=pytest.mark.real)])
async def rig(request: pytest.FixtureRequest, tmp_path: Path, prefix: str) -> AsyncIterator[Rig]:
    place = str(tmp_path / "bus.db")
    if request.param == "rabbit":
        place = request.getfixturevalue("rabbit_url")
    rig = Rig(request.param, place, prefix)
    yield rig
    await rig.clean()


@pytest_asyncio.fixture
async def bus(rig: Rig) -> Bus:
    bus = rig.open()
    await bus.declare(ALL)
    return bus


async def test_a_settled_frame_never_comes_again(rig: Rig, bus: Bus) -> None:
    await bus.publish([frame("one"), frame("two"), frame("three")])
    async with bus.consume(SUBMIT, max_batch=2, max_wait=5) as lease:
        first = list(lease.deliveries)
        await lease.ack(first)
    rest = await drain(bus, SUBMIT, 3 - len(first))
    assert bodies(first + rest) == ["one", "two", "three"]
    assert all(d.queue == SUBMIT and d.number == 1 for d in first + rest)
    await bus.close()
    again = rig.open()
    await again.declare(ALL)
    assert await drain(again, SUBMIT, 1, seconds=0.5) == []


async def test_published_frames_outlive_the_bus(rig: Rig, bus: Bus) -> None:
    await bus.publish([frame(f"{n}") for n in range(50)])
    await bus.close()
    again = rig.open()
    await again.declare(ALL)
    assert bodies(await drain(again, SUBMIT, 50)) == [f"{n}" for n in range(50)]


async def test_what_is_given_back_keeps_its_place_and_counts(bus: Bus) -> None:
    await bus.publish([frame(f"{n}") for n in range(6)])
    first: list[Delivery] = []
    while len(first) < 4:  # a lease may be shorter than it might be
        async with bus.consume(SUBMIT, max_batch=4, max_wait=5) as lease:
            first = list(lease.deliveries)
            assert bodies(first) == ["0", "1", "2", "3"][: len(first)]
            if len(first) == 4:
                async with bus.consume(SUBMIT, max_batch=1, max_wait=2) as inner:
                    assert bodies(list(inner.deliveries)) == ["4"]
                    await lease.ack([first[0], first[3]])
    again = await drain(bus, SUBMIT, 4)
    assert bodies(again) == ["1", "2", "4", "5"]
    assert [d.number for d in again] == [first[1].number + 1, first[2].number + 1, 2, 1]


async def test_delivery_number_rises_with_every_lease(bus: Bus) -> None:
    await bus.publish([frame("again")])
    for number in (1, 2, 3):
        async with bus.consume(SUBMIT, max_batch=1, max_wait=5) as lease:
            assert [d.number for d in lease.deliveries] == [number]


async def test_a_block_that_fails_gives_back(bus: Bus) -> None:
    await bus.publish([frame("kept")])
    with pytest.raises(ZeroDivisionError):
        async with bus.consume(SUBMIT, max_batch=1, max_wait=5) as lease:
            assert bodies(list(lease.deliveries)) == ["kept"]
            raise ZeroDivisionError
    assert bodies(await drain(bus, SUBMIT, 1)) == ["kept"]


async def test_every_sink_gets_its_own_copy(bus: Bus) -> None:
    await bus.publish([frame("r1", A), frame("r2", A)])
    assert bodies(await drain(bus, A, 2)) == ["r1", "r2"]
    assert bodies(await drain(bus, B, 2)) == ["r1", "r2"]


async def test_a_target_reaches_one_queue_alone(bus: Bus) -> None:
    await bus.publish([frame("only b", A, target=B.name)])
    await bus.publish([frame("b later", A, target=B.name, delay=1)])
    assert bodies(await drain(bus, B, 2)) == ["only b", "b later"]
    assert await drain(bus, A, 1, seconds=0.3) == []


@pytest.mark.parametrize("delay", [0, 1])
async def test_no_queue_no_frame(bus: Bus, delay: int) -> None:
    with pytest.raises(Unroutable, match=r"nowhere\.normal\.0"):
        await bus.publish([frame("lost", Queue("nowhere"), delay=delay)])
    with pytest.raises(Unroutable, match="nobody"):
        await bus.publish([frame("lost", A, target="nobody", delay=delay)])
    assert await drain(bus, SUBMIT, 1, seconds=0.3) == []
    assert await drain(bus, A, 1, seconds=0.3) == []
    await bus.publish([frame("the bus goes on")])
    assert bodies(await drain(bus, SUBMIT, 1)) == ["the bus goes on"]


async def test_delayed_frames_come_neither_early_nor_never(bus: Bus) -> None:
    began = time.monotonic()
    await bus.publish([frame("much later", delay=5)])
    await bus.publish([frame(f"late {n}", delay=1) for n in range(40)] + [frame("now")])
    async with bus.consume(SUBMIT, max_batch=50, max_wait=5) as lease:
        assert bodies(list(lease.deliveries)) == ["now"]
        await lease.ack(lease.deliveries)
    late: list[Delivery] = []
    while len(late) < 40:
        assert time.monotonic() - began < 6
        async with bus.consume(SUBMIT, max_batch=50, max_wait=3) as lease:
            assert time.monotonic() - began >= 0.99
            late += lease.deliveries
            await lease.ack(lease.deliveries)
    assert sorted(bodies(late)) == sorted(f"late {n}" for n in range(40))
    assert time.monotonic() - began < 4, "a short delay waited behind a long one"


async def test_a_delay_outlives_the_bus(rig: Rig, bus: Bus) -> None:
    began = time.monotonic()
    await bus.publish([frame("later", delay=1)])
    await bus.close()
    again = rig.open()
    await again.declare(ALL)
    async with again.consume(SUBMIT, max_batch=1, max_wait=5) as lease:
        assert bodies(list(lease.deliveries)) == ["later"]
        assert time.monotonic() - began >= 0.99


async def test_a_full_lane_does_not_delay_another(bus: Bus) -> None:
    await bus.publish([frame("x" * 1000, BULK)] * 300)
    async with bus.consume(BULK, max_batch=50, max_wait=5) as held:
        assert held.deliveries
        began = time.monotonic()
        await bus.publish([frame("otp", URGENT)])
        async with bus.consume(URGENT, max_batch=10, max_wait=5) as lease:
            assert bodies(list(lease.deliveries)) == ["otp"]
            await lease.ack(lease.deliveries)
        assert time.monotonic() - began < 1


async def test_a_partition_keeps_its_order(bus: Bus) -> None:
    """Frames are settled in the order published even when heads are given back at random."""
    dice = random.Random(7)
    for start in range(0, 200, 8):
        await bus.publish([frame(f"{n}", CONV) for n in range(start, start + 8)])
    settled: list[str] = []
    deadline = time.monotonic() + 20
    while len(settled) < 200 and time.monotonic() < deadline:
        async with bus.consume(CONV, max_batch=7, max_wait=2) as lease:
            done = lease.deliveries[: dice.randint(0, len(lease.deliveries))]
            await lease.ack(done)
            settled += bodies(list(done))
    assert settled == [f"{n}" for n in range(200)]


async def test_fifty_publishers_at_once(bus: Bus) -> None:
    async def publisher(name: int) -> None:
        for n in range(10):
            await bus.publish([frame(f"{name}:{2 * n}"), frame(f"{name}:{2 * n + 1}")])

    reader = asyncio.create_task(drain(bus, SUBMIT, 1000, seconds=20))
    await asyncio.gather(*(publisher(name) for name in range(50)))
    got = bodies(await reader)
    assert Counter(got) == Counter(f"{a}:{b}" for a in range(50) for b in range(20))
    for name in range(50):
        own = [body for body in got if body.startswith(f"{name}:")]
        assert own == [f"{name}:{n}" for n in range(20)]


async def test_cancelled_callers_lose_nothing(bus: Bus) -> None:
    """Whatever moment a publish, consume or ack is cancelled at, each frame is settled or there."""
    dice = random.Random(11)
    asked: set[str] = set()
    settled: Counter[str] = Counter()

    async def one(n: int) -> None:
        body = f"{n}"
        asked.add(body)
        await bus.publish([frame(body)])
        async with bus.consume(SUBMIT, max_batch=3, max_wait=0.05) as lease:
            await asyncio.sleep(dice.random() / 500)
            taken = lease.deliveries[:2]
            await lease.ack(taken)
            settled.update(bodies(list(taken)))

    for start in range(0, 200, 20):
        tasks = [asyncio.create_task(one(n)) for n in range(start, start + 20)]
        await asyncio.sleep(dice.random() / 100)
        for task in dice.sample(tasks, 10):
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            assert result is None or isinstance(result, asyncio.CancelledError), result
    settled.update(bodies(await drain(bus, SUBMIT, 400, seconds=1.5)))
    assert set(settled) <= asked
    done = await bus.depths([SUBMIT])
    assert (done[SUBMIT.name].ready, done[SUBMIT.name].leased) == (0, 0)


async def test_release_returns_what_was_fetched_ahead(rig: Rig, bus: Bus) -> None:
    await bus.publish([frame(f"{n}") for n in range(10)])
    async with bus.consume(SUBMIT, max_batch=1, max_wait=5) as lease:
        assert bodies(list(lease.deliveries)) == ["0"]
        await bus.release(SUBMIT)
        other = rig.another(bus)
        await other.declare(ALL)
        assert bodies(await drain(other, SUBMIT, 9)) == [f"{n}" for n in range(1, 10)]
        await lease.ack(lease.deliveries)
    await other.release(SUBMIT)
    assert await drain(bus, SUBMIT, 1, seconds=0.3) == []
    await bus.publish([frame("read again")])
    assert bodies(await drain(bus, SUBMIT, 1)) == ["read again"]


async def test_leases_go_back_after_a_release(bus: Bus) -> None:
    await bus.publish([frame("a"), frame("b")])
    async with bus.consume(SUBMIT, max_batch=2, max_wait=5) as lease:
        assert lease.deliveries
        await bus.release(SUBMIT)
    assert sorted(bodies(await drain(bus, SUBMIT, 2))) == ["a", "b"]


async def test_an_empty_queue_is_waited_for_and_no_longer(bus: Bus) -> None:
    began = time.monotonic()
    async with bus.consume(SUBMIT, max_batch=5, max_wait=0.3) as lease:
        assert list(lease.deliveries) == []
        await lease.ack([])
    assert 0.25 <= time.monotonic() - began < 1.0

    async def later() -> float:
        await asyncio.sleep(0.2)
        await bus.publish([frame("wake")])
        return time.monotonic()

    task = asyncio.create_task(later())
    async with bus.consume(SUBMIT, max_batch=5, max_wait=5) as lease:
        assert bodies(list(lease.deliveries)) == ["wake"]
        assert time.monotonic() - await task < 0.5


async def test_an_undeclared_queue_cannot_be_read(bus: Bus) -> None:
    with pytest.raises(BusError, match="nowhere"):
        async with bus.consume(Queue("nowhere"), max_batch=1, max_wait=1):
            pass
    with pytest.raises(BusError, match="nowhere"):
        await bus.depths([Queue("nowhere")])


async def test_depths(rig: Rig, bus: Bus) -> None:
    await bus.publish([frame(f"{n}") for n in range(5)])

    async def ready(count: int) -> None:
        async def there() -> bool:
            return (await bus.depths([SUBMIT]))[SUBMIT.name].ready == count

        await until(there)

    await ready(5)
    async with bus.consume(SUBMIT, max_batch=2, max_wait=5) as lease:
        held = len(lease.deliveries)
        assert held > 0
        await ready(5 - held)
        depth = (await bus.depths([SUBMIT, BULK]))[SUBMIT.name]
        assert depth.leased == held
        assert depth.oldest is not None
        assert 0 <= depth.oldest < 5
        await lease.ack(lease.deliveries)
    await ready(5 - held)
    depth = (await bus.depths([SUBMIT, BULK]))[BULK.name]
    assert (depth.ready, depth.leased, depth.oldest) == (0, 0, None)


async def test_purge_deletes_what_is_ready(bus: Bus) -> None:
    await bus.publish([frame(f"{n}") for n in range(5)])
    async with bus.consume(SUBMIT, max_batch=1, max_wait=5) as lease:
        assert bodies(list(lease.deliveries)) == ["0"]
        assert await bus.purge(SUBMIT) == 4
    assert bodies(await drain(bus, SUBMIT, 1)) == ["0"]


async def test_close_gives_back(rig: Rig, bus: Bus) -> None:
    await bus.publish([frame("a"), frame("b")])
    async with bus.consume(SUBMIT, max_batch=2, max_wait=5) as lease:
        held = list(lease.deliveries)
        await bus.close()
    assert held
    with pytest.raises(BusError, match="closed"):
        await bus.publish([frame("no")])
    assert "closed" in bus.healthy()
    again = rig.open()
    await again.declare(ALL)
    got = await drain(again, SUBMIT, 2)
    assert bodies(got) == ["a", "b"]
    assert got[0].number == 2
    assert again.healthy() == ""


async def test_a_frame_of_one_mebibyte(bus: Bus) -> None:
    body = os.urandom(1024 * 1024)
    await bus.publish([frame(body), frame(body[::-1])])
    got = await drain(bus, SUBMIT, 2)
    assert [d.body for d in got] == [body, body[::-1]]


async def test_leases_of_a_killed_process_come_again(rig: Rig, bus: Bus) -> None:
    await bus.publish([frame(f"{n}") for n in range(8)])
    await bus.close()
    process = await asyncio.to_thread(subprocess.Popen, rig.argv, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(asyncio.to_thread(process.stdout.readline), 20)
        leased = int(line.removeprefix("leased "))
        assert leased > 0
    finally:
        process.kill()
        await asyncio.to_thread(process.wait)
    again = rig.open()
    await again.declare(ALL)
    got = await drain(again, SUBMIT, 8)
    assert sorted(bodies(got)) == [f"{n}" for n in range(8)]
    assert all(d.number >= 2 for d in got if int(d.body) < leased)
    if rig.kind == "sqlite":
        assert all(d.number == 1 for d in got if int(d.body) >= leased)


async def test_one_process_has_the_file(tmp_path: Path) -> None:
    rig = Rig("sqlite", str(tmp_path / "bus.db"))
    first = rig.open()
    with pytest.raises(BusError, match=rf"in use by process {os.getpid()}"):
        rig.open()
    await first.close()
    second = rig.open()
    await second.declare(ALL)
    await rig.clean()


async def test_the_oldest_frames_age_is_told(bus: Bus) -> None:
    """What SREs watch: of a queue that this process reads it is known on every bus."""
    await bus.publish([frame("old")])
    await asyncio.sleep(0.3)
    async with bus.consume(SUBMIT, max_batch=1, max_wait=5.0) as lease:
        assert lease.deliveries
        oldest = (await bus.depths([SUBMIT]))[SUBMIT.name].oldest
        assert oldest is not None or (await bus.depths([SUBMIT]))[SUBMIT.name].ready == 0
    oldest = (await bus.depths([SUBMIT]))[SUBMIT.name].oldest
    assert oldest is not None
    assert 0.2 <= oldest < 30
