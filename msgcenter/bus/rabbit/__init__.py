"""RabbitBus: the Bus of production, on RabbitMQ quorum queues with publisher confirms.

One connection publishes, another consumes, since an alarm on the broker stops a publishing
connection altogether; each has its own supervisor (`link`). The topology (`topology`) is applied by
`declare` at boot: the broker compares arguments then, and consumers only look the queue up. A
one-node broker that is killed within a second of a *first* declare may lose that queue, so declare
at boot and never on the first message.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from aiormq.abc import AbstractChannel
from aiormq.exceptions import AMQPChannelError, ChannelNotFoundEntity

from msgcenter.bus import BusError, Delivery, Depth, Frame, Queue, Unroutable, delay_tier
from msgcenter.bus.rabbit.consume import Consumer, Lease
from msgcenter.bus.rabbit.link import Link, call, close_channel
from msgcenter.bus.rabbit.publish import Publisher
from msgcenter.bus.rabbit.topology import (
    Names,
    declare_base,
    declare_queue,
    known_keys,
    single_active,
    target_key,
)
from msgcenter.clock import Clock, Random

log = logging.getLogger(__name__)

#: Frames of the bulk lane fetched ahead, so that they never fill a process that has urgent ones.
BULK_PREFETCH = 2
#: Seconds between two looks at every consumer, and of silence that call for a new one.
WATCH = 15.0
SILENT = 60.0


class RabbitBus:
    """A Bus (see `msgcenter.bus.Bus`) on the broker at `url`, all names beginning with `prefix`.

    `publish_in_flight`: frames sent and not yet confirmed, at most. `publish_timeout`: seconds to
    wait for the confirms of one call. `prefetch`: frames a queue fetches ahead, raised to twice
    the `max_batch` of its consumer, and 2 in the bulk lane whatever it says. Use it from one event
    loop. Connecting begins with the first call; a broker that is away is waited for.
    """

    def __init__(
        self,
        url: str,
        clock: Clock,
        random: Random,
        *,
        prefix: str = "mc",
        publish_in_flight: int = 1000,
        publish_timeout: float = 10.0,
        prefetch: int = 20,
    ) -> None:
        self._clock = clock
        self._random = random
        self._prefetch = prefetch
        self._names = Names(prefix)
        self._publisher = Publisher(
            url, clock, random, self._names, in_flight=publish_in_flight, timeout=publish_timeout
        )
        self._link = Link(url, f"{prefix} consume", clock, random)
        self._consumers: dict[str, Consumer] = {}
        self._stopping: set[Consumer] = set()
        self._declared: dict[str, Queue] = {}
        self._keys: set[str] = set()
        self._declaring = asyncio.Lock()
        self._watch_task: asyncio.Task[None] | None = None
        self._closed = False

    async def declare(self, queues: Sequence[Queue]) -> None:
        self._started()
        async with self._declaring:
            new = [queue for queue in queues if queue.name not in self._declared]
            if not new:
                return
            async with self._channel() as channel:
                if not self._declared:
                    await declare_base(channel, self._names)
                for queue in new:
                    await declare_queue(channel, self._names, queue)
                    self._declared[queue.name] = queue
            self._keys |= known_keys(new)

    async def publish(self, frames: Sequence[Frame]) -> None:
        self._started()
        for frame in frames:
            key = target_key(frame.target) if frame.target else frame.key
            # A tier takes anything: the broker would notice a wrong key only when it is due.
            if frame.delay and key not in self._keys:
                raise Unroutable(f"no queue takes {key}: declare the topology first")
        await self._publisher.publish(
            [
                frame if frame.delay == 0 else replace(frame, delay=delay_tier(frame.delay))
                for frame in frames
            ]
        )

    @asynccontextmanager
    async def consume(
        self, queue: Queue, *, max_batch: int, max_wait: float
    ) -> AsyncIterator[Lease]:
        self._started()
        consumer = self._consumers.get(queue.name) or self._consumer(queue, max_batch)
        deliveries: list[Delivery] = await consumer.take(max_batch, max_wait)
        lease = Lease(consumer, deliveries)
        try:
            yield lease
        finally:
            await lease.give_back()

    async def release(self, queue: Queue) -> None:
        await self._release(queue, in_order=single_active(queue))

    async def _release(self, queue: Queue, *, in_order: bool) -> None:
        consumer = self._consumers.pop(queue.name, None)
        if consumer is not None:
            self._stopping = {c for c in self._stopping if c.attached}
            self._stopping.add(consumer)
            await consumer.stop(in_order=in_order)

    async def depths(self, queues: Sequence[Queue]) -> dict[str, Depth]:
        """`ready` includes what this process fetched ahead; `leased` is its own leases alone.

        `oldest`: of the frames fetched here (the head of the queue, where this process consumes it), None for an
        empty queue and where others consume it: AMQP has no way to look at a head without taking it.
        """
        self._started()
        out = {}
        async with self._channel() as channel:
            for queue in queues:
                try:
                    ok = await call(channel.queue_declare(self._names.queue(queue), passive=True))
                except ChannelNotFoundEntity:
                    raise BusError(f"no queue {queue.name}: declare the topology first") from None
                ready = ok.message_count or 0
                leased, oldest = 0, None
                if consumer := self._consumers.get(queue.name):
                    ready += len(consumer.buffer)
                    leased = consumer.leased
                    oldest = consumer.oldest_s
                out[queue.name] = Depth(ready, leased, oldest)
        return out

    async def purge(self, queue: Queue) -> int:
        self._started()
        await self._release(queue, in_order=False)  # or what is fetched would be missed
        async with self._channel() as channel:
            ok = await call(channel.queue_purge(self._names.queue(queue)))
        return ok.message_count or 0

    def healthy(self) -> str:
        return "bus is closed" if self._closed else self._publisher.healthy()

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._watch_task is not None:
            self._watch_task.cancel()
            await asyncio.wait((self._watch_task,))
        consumers = {*self._consumers.values(), *self._stopping}
        await asyncio.gather(*(c.close() for c in consumers))
        await asyncio.gather(self._publisher.close(), self._link.close())

    def _started(self) -> None:
        if self._closed:
            raise BusError("bus is closed")
        self._publisher.start()
        self._link.start()
        if self._watch_task is None:
            self._watch_task = asyncio.create_task(self._watch(), name="amqp consumer watch")

    @asynccontextmanager
    async def _channel(self) -> AsyncIterator[AbstractChannel]:
        """A channel for a few calls: a refused call closes it, so it is shared with nobody."""
        connection = await self._link.wait_up(10.0)
        channel = await call(connection.channel(publisher_confirms=False))
        try:
            yield channel
        except AMQPChannelError as error:
            raise BusError(f"the broker refused: {error}") from error
        finally:
            await close_channel(channel)

    def _consumer(self, queue: Queue, max_batch: int) -> Consumer:
        prefetch = BULK_PREFETCH if queue.lane == "bulk" else max(self._prefetch, 2 * max_batch)
        consumer = Consumer(
            self._link,
            queue,
            self._names.queue(queue),
            prefetch=prefetch,
            clock=self._clock,
            random=self._random,
            heal=self._heal,
        )
        self._consumers[queue.name] = consumer
        return consumer

    async def _heal(self, queue: Queue) -> None:
        """Declare again a queue that this process declared and somebody deleted."""
        if queue.name not in self._declared:
            raise BusError(f"no queue {queue.name}: declare the topology first")
        log.error("queue %s was deleted with all it held; declaring it again", queue.name)
        async with self._declaring, self._channel() as channel:
            await declare_queue(channel, self._names, queue)

    async def _watch(self) -> None:
        """Find consumers that the broker or the library lost without a word."""
        while True:
            await self._clock.sleep(WATCH)
            for consumer in list(self._consumers.values()):
                if consumer.attached and self._link.connection is not None:
                    await self._look_at(consumer)

    async def _look_at(self, consumer: Consumer) -> None:
        connection = self._link.connection
        if connection is None:
            return
        try:
            channel = await call(connection.channel(publisher_confirms=False), WATCH)
        except (BusError, AMQPChannelError) as error:
            self._link.tear(f"no channel for a probe: {error}")
            return
        try:
            ok = await call(channel.queue_declare(consumer.name, passive=True))
        except (BusError, AMQPChannelError) as error:
            consumer.rebuild(f"probe failed: {error}")
            return
        finally:
            await close_channel(channel)
        silent = self._clock.monotonic() - consumer.heard
        if not ok.consumer_count:
            consumer.rebuild("the broker knows of no consumer")
        elif (
            ok.message_count
            and consumer.waiting
            and silent > SILENT
            and not single_active(consumer.queue)  # there, another process may be the active one
        ):
            consumer.rebuild(f"{ok.message_count} frames wait, none came for {silent:.0f} s")
