"""RabbitBus against what a broker does to its clients: it dies, it blocks, its queues go away."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator

import aiormq
import pytest
import pytest_asyncio
from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from msgcenter.bus import BusBlocked, BusError, Queue
from msgcenter.bus import rabbit as rabbit_bus
from msgcenter.bus.rabbit import RabbitBus
from msgcenter.bus.rabbit.link import close_channel
from msgcenter.bus.topology import INVALID
from tests.contract.buses import SUBMIT, Rig, bodies, drain, frame, until
from tests.servers import QUORUM_SETTLE_SECONDS, RabbitNode

pytestmark = pytest.mark.real

CONV = Queue("out.sms", "conv", 3)


@pytest_asyncio.fixture
async def rig(rabbit_url: str, prefix: str) -> AsyncIterator[Rig]:
    rig = Rig("rabbit", rabbit_url, prefix)
    yield rig
    await rig.clean()


async def delete_queue(rig: Rig, queue: Queue) -> None:
    connection = await aiormq.connect(rig.place)
    channel = await connection.channel()
    await channel.queue_delete(f"{rig.prefix}.{queue.name}")
    await connection.close()


async def test_nothing_confirmed_is_lost_when_the_broker_is_killed(own_rabbit: RabbitNode) -> None:
    """Publish through a kill -9 and a restart: confirmed frames are there, the reader resumes."""
    rig = Rig("rabbit", own_rabbit.url)
    bus, reader = rig.open(), rig.open()
    await bus.declare([SUBMIT, CONV])
    await asyncio.sleep(QUORUM_SETTLE_SECONDS + 0.5)
    confirmed: set[str] = set()
    tried: set[str] = set()
    got: Counter[str] = Counter()
    slowest = 0.0
    stop, published = asyncio.Event(), asyncio.Event()

    async def publisher(name: int) -> None:
        nonlocal slowest
        n = 0
        while not stop.is_set():
            n += 1
            body = f"{name}:{n}"
            tried.add(body)
            began = time.monotonic()
            try:
                await bus.publish([frame(body)])
                confirmed.add(body)
                # A measured load: how much the reader must catch up with is not left to the machine's speed.
                await asyncio.sleep(0.01)
            except BusError:
                await asyncio.sleep(0.05)
            slowest = max(slowest, time.monotonic() - began)

    async def consumer() -> None:
        while not published.is_set() or not confirmed <= set(got):
            async with reader.consume(SUBMIT, max_batch=20, max_wait=0.3) as lease:
                got.update(bodies(list(lease.deliveries)))
                await lease.ack(lease.deliveries)

    tasks = [asyncio.create_task(publisher(n)) for n in range(10)]
    eater = asyncio.create_task(consumer())
    await asyncio.sleep(0.5)
    await asyncio.to_thread(own_rabbit.kill9)
    before = len(confirmed)
    await asyncio.sleep(0.5)
    assert bus.healthy() != ""
    with pytest.raises(BusError):
        async with asyncio.timeout(5):
            await bus.publish([frame("while it is down")])
    async with reader.consume(SUBMIT, max_batch=1, max_wait=0.2) as lease:
        assert len(lease.deliveries) <= 1  # fetched before the kill, or none: no error
    await asyncio.to_thread(own_rabbit.start)
    listening = time.monotonic()

    async def resumed() -> bool:
        return len(confirmed) > before + 50 and sum(got.values()) > before

    await until(resumed, 10)
    assert time.monotonic() - listening < 10
    assert bus.healthy() == ""
    stop.set()
    await asyncio.gather(*tasks)
    published.set()
    try:
        async with asyncio.timeout(10):
            await eater
    except TimeoutError:
        missing = confirmed - set(got)
        depth = (await bus.depths([SUBMIT]))[SUBMIT.name]
        pytest.fail(f"{len(missing)} of {len(confirmed)} confirmed frames not read; {depth}")
    assert confirmed <= set(got)
    assert set(got) <= tried
    assert slowest < 12
    for each in (bus, reader):
        await each.close()


async def test_a_blocking_broker_is_noticed_and_costs_bounded_memory(
    rig: Rig, rabbit: RabbitNode
) -> None:
    bus = rig.open(publish_timeout=1.0, publish_in_flight=50)
    await bus.declare([SUBMIT])
    await bus.publish([frame("before")])
    await asyncio.to_thread(rabbit.ctl, "set_vm_memory_high_watermark", "absolute", "1MB")
    try:
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        body = b"x" * 100_000

        async def attempt(content: bytes) -> BusError | None:
            try:
                await bus.publish([frame(content)])
            except BusError as error:
                return error
            return None

        async with asyncio.timeout(10):
            first = await asyncio.gather(*(attempt(body + b"%d" % n) for n in range(200)))
            assert any(type(error) is BusError for error in first), "a confirm that was not given"
            assert any(isinstance(error, BusBlocked) for error in first), "the window has an end"
            assert bus.healthy() != ""
            later = await asyncio.gather(*(attempt(body) for _ in range(2000)))
        assert all(isinstance(error, BusBlocked) for error in later)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
        assert grown < 60_000, f"{grown} KiB more for a broker that takes nothing"
        began = time.monotonic()
        async with bus.consume(SUBMIT, max_batch=1, max_wait=5) as lease:
            assert bodies(list(lease.deliveries)) == ["before"]  # readers go on
            await lease.ack(lease.deliveries)
        assert time.monotonic() - began < 2
    finally:
        await asyncio.to_thread(rabbit.ctl, "set_vm_memory_high_watermark", "0.4")

    async def healthy() -> bool:
        return bus.healthy() == ""

    await until(healthy, 10)
    await bus.publish([frame("after")])

    seen: list[bytes] = []

    async def after() -> bool:
        seen.extend(d.body for d in await drain(bus, SUBMIT, 1, seconds=1))
        return b"after" in seen

    await until(after, 10)
    # What timed out was not known to be stored, and was: each of them once, none that was refused.
    numbers = [int(body[100_000:]) for body in seen if body != b"after"]
    assert len(numbers) == len(set(numbers)) <= 50
    assert all(type(first[n]) is BusError for n in numbers)


async def test_closing_while_blocked_does_not_hang(rig: Rig, rabbit: RabbitNode) -> None:
    bus = rig.open(publish_timeout=0.5)
    await bus.declare([SUBMIT])
    await asyncio.to_thread(rabbit.ctl, "set_vm_memory_high_watermark", "absolute", "1MB")
    try:
        with pytest.raises(BusError):
            await bus.publish([frame("x" * 500_000)] * 30)
        async with asyncio.timeout(8):
            await bus.close()
    finally:
        await asyncio.to_thread(rabbit.ctl, "set_vm_memory_high_watermark", "0.4")


async def test_a_queue_deleted_under_its_reader_comes_back(rig: Rig) -> None:
    bus = rig.open()
    await bus.declare([SUBMIT, CONV])
    await bus.publish([frame("first")])
    assert bodies(await drain(bus, SUBMIT, 1)) == ["first"]
    await delete_queue(rig, SUBMIT)

    async def takes() -> bool:
        try:
            await bus.publish([frame("second")])
        except BusError:
            return False
        return True

    await until(takes, 10)
    assert "second" in bodies(await drain(bus, SUBMIT, 1))


async def test_a_reader_that_did_not_declare_reports_a_missing_queue(rig: Rig) -> None:
    await rig.open().declare([SUBMIT])
    stranger = rig.open()
    async with stranger.consume(SUBMIT, max_batch=1, max_wait=0.5) as lease:
        assert not lease.deliveries
    await delete_queue(rig, SUBMIT)
    with pytest.raises(BusError, match=rf"{rig.prefix}\.submit\.normal\.0"):
        for _ in range(20):
            async with stranger.consume(SUBMIT, max_batch=1, max_wait=0.2):
                pass


async def test_a_reader_lost_without_a_word_is_found(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rabbit_bus, "WATCH", 0.3)
    bus = rig.open()
    assert isinstance(bus, RabbitBus)
    await bus.declare([SUBMIT])
    async with bus.consume(SUBMIT, max_batch=1, max_wait=0.3):
        pass
    channel = bus._consumers[SUBMIT.name]._channel
    assert channel is not None
    await channel.basic_cancel("frames")  # the broker forgets it, nobody here is told
    await bus.publish([frame("waits")])
    assert bodies(await drain(bus, SUBMIT, 1, seconds=5)) == ["waits"]


async def test_a_topology_that_differs_is_refused_with_its_remedy(rig: Rig) -> None:
    connection = await aiormq.connect(rig.place)
    channel = await connection.channel()
    name = f"{rig.prefix}.{CONV.name}"
    await channel.queue_declare(
        name, durable=True, arguments={"x-queue-type": "quorum", "x-delivery-limit": 3}
    )
    await connection.close()
    with pytest.raises(BusError) as caught:
        await rig.open().declare([SUBMIT, CONV])
    text = str(caught.value)
    assert f"queue {name} on the broker differs" in text
    assert "argument x-" in text
    assert f"rabbitmqctl delete_queue {name}" in text


async def test_a_delayed_frame_whose_queue_is_gone_is_kept_as_invalid(rig: Rig) -> None:
    """... and does not stop the tier for those whose queue is there."""
    bus = rig.open()
    await bus.declare([SUBMIT, CONV])
    await bus.publish([frame(f"homeless {n}", CONV, delay=1) for n in range(40)])
    await bus.publish([frame("fine", delay=1)])
    await delete_queue(rig, CONV)
    assert bodies(await drain(bus, SUBMIT, 1, seconds=5)) == ["fine"]
    got = bodies(await drain(bus, Queue(INVALID), 40, seconds=5))
    assert sorted(got) == sorted(f"homeless {n}" for n in range(40))


async def test_two_readers_of_a_conversation_queue_do_not_share_it(rig: Rig) -> None:
    first, second = rig.open(), rig.open()
    await first.declare([CONV])
    async with first.consume(CONV, max_batch=1, max_wait=0.3):
        pass
    async with second.consume(CONV, max_batch=1, max_wait=0.3):
        pass
    await first.publish([frame(f"{n}", CONV) for n in range(30)])
    async with second.consume(CONV, max_batch=5, max_wait=0.3) as lease:
        assert not lease.deliveries
    async with first.consume(CONV, max_batch=10, max_wait=5) as lease:
        settled = bodies(list(lease.deliveries))
        await lease.ack(lease.deliveries)
    assert settled
    await first.release(CONV)
    settled += bodies(await drain(second, CONV, 30 - len(settled)))
    assert settled == [f"{n}" for n in range(30)]


async def test_a_channel_lost_in_full_flow_loses_no_frame(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames of a lost channel must not be settled on the next one, where tags begin anew."""
    monkeypatch.setattr("msgcenter.bus.rabbit.consume.LAST", 0.1)
    bus = rig.open()
    assert isinstance(bus, RabbitBus)
    await bus.declare([SUBMIT])
    await bus.publish([frame(f"{n}" + " " * 20_000) for n in range(1500)])
    got: set[int] = set()
    began = time.monotonic()
    turns = 0
    while len(got) < 1500 and time.monotonic() - began < 15:
        async with bus.consume(SUBMIT, max_batch=10, max_wait=1) as lease:
            turns += 1
            if turns % 12 == 0 and turns < 200:
                bus._consumers[SUBMIT.name].rebuild("the test says so")
                await asyncio.sleep(0)
            await lease.ack(lease.deliveries)
            got |= {int(d.body) for d in lease.deliveries}
    assert got == set(range(1500))


async def test_a_frame_that_comes_after_its_channel_is_dropped(rig: Rig) -> None:
    bus = rig.open()
    assert isinstance(bus, RabbitBus)
    await bus.declare([SUBMIT])
    async with bus.consume(SUBMIT, max_batch=1, max_wait=0.3):
        pass
    consumer = bus._consumers[SUBMIT.name]
    old = consumer._generation
    consumer.rebuild("the test says so")
    async with asyncio.timeout(5):
        while consumer.attached:
            await asyncio.sleep(0)
    late = DeliveredMessage(
        delivery=Basic.Deliver(consumer_tag="frames", delivery_tag=1),
        header=ContentHeader(properties=Basic.Properties()),
        body=b"late",
        channel=None,
    )
    await consumer._on_message(old, late)
    await bus.publish([frame("of the next channel")])
    assert bodies(await drain(bus, SUBMIT, 1)) == ["of the next channel"]


async def test_a_channel_that_closes_slowly_leaves_the_others_alone(
    own_rabbit: RabbitNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker under load may take longer over one channel than anybody waits: the connection and all its readers stay."""
    monkeypatch.setattr("msgcenter.bus.rabbit.link.CLOSE", 0.5)
    connection = await aiormq.connect(own_rabbit.url)
    slow, other = await connection.channel(), await connection.channel()
    await other.queue_declare("slowly", auto_delete=True)
    os.killpg(own_rabbit.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        await close_channel(slow)
        assert time.monotonic() - began < 5.0
    finally:
        os.killpg(own_rabbit.pid, signal.SIGCONT)
    for _ in range(10):
        await asyncio.wait_for(other.queue_declare("slowly", passive=True), 30)
        await asyncio.sleep(0.1)
    assert not connection.is_closed
    await asyncio.wait({slow.closing}, timeout=10)
    assert slow.is_closed
    await connection.close()
