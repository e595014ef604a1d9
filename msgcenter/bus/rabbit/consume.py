"""Consumer: one queue read over a channel of its own, fetching ahead, rebuilt whenever it is lost.

A frame that a lease gives back stays with this process, at its old place before all that was
fetched later, and its number goes up: the broker would put it behind them. That also keeps a
channel that is away for hours from using up the delivery limit, which is a net for readers that
die. `stop` returns to the broker what is not leased.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

from aiormq.abc import AbstractChannel, AbstractConnection, DeliveredMessage
from aiormq.exceptions import AMQPChannelError, ChannelNotFoundEntity
from pamqp.commands import Basic

from msgcenter.bus import BusError, Delivery, Queue
from msgcenter.bus.rabbit.link import FAILURES, FIRST, LAST, Link, call, close_channel
from msgcenter.clock import Clock, Random
from msgcenter.log import said

log = logging.getLogger(__name__)

#: A channel that lasted this many seconds was a good one: the next is asked for without delay.
STEADY = 1.0
#: A tag is the channel's generation above the broker's delivery tag.
_TAG_BITS = 48
_TAG_MASK = (1 << _TAG_BITS) - 1
#: Known before the broker's answer, which may come after the first frames. Unique in its channel.
_CONSUMER = "frames"


class Lease:
    """See `msgcenter.bus.Lease`."""

    def __init__(self, consumer: Consumer | None, deliveries: Sequence[Delivery]) -> None:
        self.deliveries = deliveries
        self._consumer = consumer
        self._held = {delivery.tag: delivery for delivery in deliveries}

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        tags = sorted(d.tag for d in deliveries if self._held.pop(d.tag, None) is not None)
        if tags and self._consumer is not None:
            await self._consumer.ack(tags)

    async def give_back(self) -> None:
        held, self._held = list(self._held.values()), {}
        if held and self._consumer is not None:
            await self._consumer.give_back(held)


#: Header of our own: when a frame was published, epoch ms; a delayed frame counts from its first publish.
PUBLISHED_AT = "at"


class Consumer:
    """Reads `queue` from creation to `stop`; `heal` is asked to declare a queue that is gone.

    `problem` says what keeps it from reading although the connection is up.
    """

    def __init__(
        self,
        link: Link,
        queue: Queue,
        name: str,
        *,
        prefetch: int,
        clock: Clock,
        random: Random,
        heal: Callable[[Queue], Awaitable[None]],
    ) -> None:
        self.queue = queue
        self.name = name
        self.problem = ""
        self.heard = clock.monotonic()
        self.buffer: deque[Delivery] = deque()
        self._link = link
        self._prefetch = prefetch
        self._clock = clock
        self._random = random
        self._heal = heal
        self._wake = asyncio.Event()
        self._rebuild = asyncio.Event()
        self._idle = asyncio.Event()
        self._outstanding: dict[int, int] = {}  # tag -> when it was published, epoch ms
        self._generation = 0
        self._channel: AbstractChannel | None = None
        self._stopped = False
        self._in_order = False
        self._cancelled = False  # at the broker: what is returned before comes straight back
        self._task = asyncio.create_task(self._run(), name=f"amqp consume {name}")

    @property
    def attached(self) -> bool:
        return self._channel is not None

    @property
    def leased(self) -> int:
        return len(self._outstanding) - len(self.buffer)

    @property
    def oldest_s(self) -> float | None:
        """Age of the frame that has been on its way longest, of those fetched here; None = none is."""
        if not self._outstanding:
            return None
        first = next(iter(self._outstanding.values()))
        return max(0.0, (self._clock.now_ms() - first) / 1000)

    @property
    def waiting(self) -> bool:
        """Nothing at all is fetched or leased."""
        return not self._outstanding

    async def take(self, max_batch: int, max_wait: float) -> list[Delivery]:
        """Up to `max_batch` frames, oldest first. Raises BusError when the queue cannot be read."""
        if self.buffer:
            await asyncio.sleep(0)  # a reader that finds frames each time must not starve others
        else:
            with suppress(TimeoutError):
                async with asyncio.timeout(max_wait):
                    while not self.buffer and not self._stopped:
                        self._wake.clear()
                        await self._wake.wait()
        if self._stopped:
            return []
        if not self.buffer and self.problem:
            raise BusError(f"queue {self.name}: {self.problem}")
        return [self.buffer.popleft() for _ in range(min(max_batch, len(self.buffer)))]

    async def ack(self, tags: Sequence[int]) -> None:
        """Settle; with one ack for all that nothing unsettled comes before."""
        current = [tag for tag in tags if tag in self._outstanding]
        channel = self._channel
        if not current or channel is None:
            return  # of a connection that is gone: they come again
        wanted = set(current)
        last = 0
        for tag in self._outstanding:
            if tag not in wanted:
                break
            last = tag
        for tag in current:
            del self._outstanding[tag]
        try:
            if last:
                await channel.basic_ack(last & _TAG_MASK, multiple=True, wait=False)
            for tag in current:
                if tag > last:
                    await channel.basic_ack(tag & _TAG_MASK, wait=False)
        except FAILURES:
            return
        except asyncio.CancelledError:
            self.rebuild("an ack was cancelled half way")
            raise
        self._settled()

    async def give_back(self, deliveries: Sequence[Delivery]) -> None:
        again = [replace(d, number=d.number + 1) for d in deliveries if d.tag in self._outstanding]
        if self._cancelled:
            await self._requeue([d.tag for d in again])
        elif again:
            self.buffer = deque(sorted([*again, *self.buffer], key=lambda d: d.tag))
            self._wake.set()
            self._settled()

    def rebuild(self, reason: str) -> None:
        """Drop the channel and take a new one; all that was not settled comes again."""
        log.warning("consumer of %s rebuilt: %s", self.name, reason)
        self._rebuild.set()

    async def stop(self, *, in_order: bool) -> None:
        """Return what is not leased; the channel stays until the leases are settled.

        `in_order`: return nothing before that, then all at once. When a consumer is cancelled the
        broker passes the queue on to the next, which would get later frames before the returned.
        """
        self._stopped = True
        self._in_order = in_order
        self._wake.set()
        channel = self._channel
        if channel is None:
            self._task.cancel()
            return
        if in_order:
            self._settled()
            if self._idle.is_set():
                await asyncio.wait((self._task,))
            return
        with suppress(BusError, AMQPChannelError):
            await call(channel.basic_cancel(_CONSUMER))
        self._cancelled = True
        tags = [delivery.tag for delivery in self.buffer]
        self.buffer.clear()
        await self._requeue(tags)
        with suppress(BusError, AMQPChannelError):
            # Answered after the returns were passed on: whoever reads next finds them at the head.
            await call(channel.queue_declare(self.name, passive=True))
        if self._idle.is_set():
            await asyncio.wait((self._task,))

    async def close(self) -> None:
        """Let go at once: the broker takes back everything that is not settled."""
        self._stopped = True
        self._task.cancel()
        self._wake.set()
        await asyncio.wait((self._task,))

    async def _requeue(self, tags: Sequence[int]) -> None:
        channel = self._channel
        for tag in tags:
            self._outstanding.pop(tag, None)
            if channel is not None:
                with suppress(*FAILURES):
                    await channel.basic_nack(tag & _TAG_MASK, requeue=True, wait=False)
        self._settled()

    def _settled(self) -> None:
        if self._stopped and not (self.leased if self._in_order else self._outstanding):
            self._idle.set()

    async def _run(self) -> None:
        pause = FIRST
        while True:
            began = self._clock.monotonic()
            try:
                await self._serve(await self._link.wait_up(None))
            except ChannelNotFoundEntity:
                log.error("queue %s is gone from the broker", self.name)
                self.problem = "it is gone from the broker: declare the topology"
                try:
                    await self._heal(self.queue)
                except (BusError, AMQPChannelError) as error:
                    self.problem = said(error)
            except (BusError, AMQPChannelError) as error:
                if self._link.connection is not None:
                    self.problem = said(error)
                log.warning("consumer of %s: %s", self.name, said(error))
            if self._stopped:
                return
            if self._clock.monotonic() - began > STEADY:
                pause = FIRST
            await self._clock.sleep(self._random.uniform(0, pause))
            pause = min(pause * 2, LAST)

    async def _serve(self, connection: AbstractConnection) -> None:
        """Attach, and return when the channel is lost or no longer wanted."""
        channel = await call(connection.channel(publisher_confirms=False))
        try:
            await call(channel.basic_qos(prefetch_count=self._prefetch))
            await call(channel.queue_declare(self.name, passive=True))
            self._generation += 1
            self._rebuild.clear()
            channel.on_consumer_cancel_callbacks.add(self._on_cancel)
            self._channel = channel
            await call(
                channel.basic_consume(
                    self.name, partial(self._on_message, self._generation), consumer_tag=_CONSUMER
                )
            )
            self.problem = ""
            self.heard = self._clock.monotonic()
            waits = [channel.closing]
            waits += [asyncio.ensure_future(e.wait()) for e in (self._rebuild, self._idle)]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits[1:]:
                    wait.cancel()
        finally:
            # Frames that the library still has in hand belong to no channel from here on: their
            # tags would settle other frames on the next one.
            self._generation += 1
            self._channel = None
            self.buffer.clear()
            self._outstanding.clear()
            await close_channel(channel)

    def _on_cancel(self, _: Basic.Cancel) -> None:
        self.rebuild("the broker cancelled it")

    async def _on_message(self, generation: int, message: DeliveredMessage) -> None:
        frame = message.delivery
        if generation != self._generation or not isinstance(frame, Basic.Deliver):
            return
        headers = message.header.properties.headers or {}
        before = headers.get("x-delivery-count", 0)
        number = (before if isinstance(before, int) else 0) + 1
        tag = generation << _TAG_BITS | (frame.delivery_tag or 0)
        at = headers.get(PUBLISHED_AT)
        self._outstanding[tag] = at if isinstance(at, int) else self._clock.now_ms()
        self.heard = self._clock.monotonic()
        if self._cancelled:
            await self._requeue([tag])
            return
        self.buffer.append(Delivery(self.queue, message.body, number, tag))
        self._wake.set()
