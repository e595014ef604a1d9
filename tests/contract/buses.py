"""Rigs that open the buses under test; run as a program it is a process that dies holding leases.

python -m tests.contract.buses KIND PLACE PREFIX     leases 5 of `submit.normal.0` and waits
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable

import aiormq
from aiormq.exceptions import AMQPError

from msgcenter.bus import Bus, Delivery, Frame, Queue
from msgcenter.bus.rabbit import RabbitBus
from msgcenter.bus.sqlite import SqliteBus
from msgcenter.clock import SystemClock, system_random

SUBMIT = Queue("submit")


class Rig:
    """Opens one bus again and again: `kind` sqlite (place = a file) or rabbit (place = a URL)."""

    def __init__(self, kind: str, place: str, prefix: str = "mc") -> None:
        self.kind = kind
        self.place = place
        self.prefix = prefix
        self._open: list[Bus] = []

    def open(self, **settings: float) -> Bus:
        bus: Bus
        if self.kind == "sqlite":
            bus = SqliteBus(self.place, SystemClock())
        else:
            bus = RabbitBus(
                self.place, SystemClock(), system_random(), prefix=self.prefix, **settings
            )
        self._open.append(bus)
        return bus

    def another(self, bus: Bus) -> Bus:
        """A second reader of the same queues: a process has one SQLite bus, but RabbitMQ has many."""
        return bus if self.kind == "sqlite" else self.open()

    async def clean(self) -> None:
        for bus in self._open:
            await bus.close()
        if self.kind == "rabbit":
            await delete_queues(self.place, self.prefix)

    @property
    def argv(self) -> list[str]:
        return [sys.executable, "-m", "tests.contract.buses", self.kind, self.place, self.prefix]


async def delete_queues(url: str, prefix: str) -> None:
    """Remove what the tests may have declared, so that a long session does not slow the node."""
    connection = await aiormq.connect(url)
    try:
        channel = await connection.channel()
        names = [f"delay.{n}" for n in (1, 5, 30, 120, 600)] + ["invalid.normal.0"]
        names += [f"submit.{lane}.0" for lane in ("urgent", "normal", "bulk", "conv")]
        names += ["out.sms.conv.3", "record.normal.0@a", "record.normal.0@b"]
        for name in names:
            await channel.queue_delete(f"{prefix}.{name}")
        for name in (f"{prefix}.due", f"{prefix}.lost", prefix):
            await channel.exchange_delete(name)
    except (AMQPError, RuntimeError) as error:
        raise AssertionError(f"could not clean up: {error!r}") from error
    finally:
        await connection.close()


def frame(body: bytes | str, queue: Queue = SUBMIT, *, delay: int = 0, target: str = "") -> Frame:
    data = body.encode() if isinstance(body, str) else body
    return Frame(queue.topic, queue.lane, queue.partition, data, 1, delay, target)


def bodies(deliveries: list[Delivery] | tuple[Delivery, ...]) -> list[str]:
    return [delivery.body.decode() for delivery in deliveries]


async def drain(
    bus: Bus, queue: Queue, count: int, *, seconds: float = 10.0, max_batch: int = 20
) -> list[Delivery]:
    """Take and settle until `count` frames came or the time is up, and a little longer for extras."""
    out: list[Delivery] = []
    deadline = time.monotonic() + seconds
    while len(out) < count and time.monotonic() < deadline:
        async with bus.consume(queue, max_batch=max_batch, max_wait=0.5) as lease:
            out += lease.deliveries
            await lease.ack(lease.deliveries)
    async with bus.consume(queue, max_batch=max_batch, max_wait=0.1) as lease:
        out += lease.deliveries
        await lease.ack(lease.deliveries)
    return out


async def until(what: Callable[[], Awaitable[bool]], seconds: float = 5.0) -> None:
    """Wait for something that the broker does in its own time."""
    deadline = time.monotonic() + seconds
    while not await what():
        assert time.monotonic() < deadline, "it did not come true in time"
        await asyncio.sleep(0.02)


async def hold(rig: Rig) -> None:
    bus = rig.open()
    await bus.declare([SUBMIT])
    async with bus.consume(SUBMIT, max_batch=5, max_wait=10) as lease:
        print("leased", len(lease.deliveries), flush=True)
        await asyncio.sleep(60)


if __name__ == "__main__":
    asyncio.run(hold(Rig(*sys.argv[1:])))
