"""Publisher: frames confirmed over one channel, many in flight, within a bound of memory.

A frame holds its place in the window until the broker has answered or the connection is gone, not
merely until its caller stopped waiting: the library cannot take back what it has queued, so a
broker that takes nothing costs at most one window of memory.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from aiormq import Channel
from aiormq.abc import AbstractConnection
from aiormq.exceptions import AMQPChannelError, DeliveryError, PublishError
from pamqp.commands import Basic

from msgcenter.bus import BusBlocked, BusError, Frame, Unroutable
from msgcenter.bus.rabbit.consume import PUBLISHED_AT
from msgcenter.bus.rabbit.link import FAILURES, Link, call
from msgcenter.bus.rabbit.topology import Names, declare_live, target_key
from msgcenter.clock import Clock, Random

log = logging.getLogger(__name__)

#: Octets in flight at most, whatever the number of frames.
IN_FLIGHT_OCTETS = 64 * 1024 * 1024
#: Seconds to wait for a free place, or for a connection, before a publish is refused.
PATIENCE = 2.0
#: Nothing confirmed for this long means that the broker takes nothing, whether it said so or not.
STALLED = 3.0
#: ... and for this long, without a word of an alarm, that the connection is dead.
DEAD = 30.0


class Window:
    """How much is in flight; waiting callers are let in first come, first served."""

    def __init__(self, frames: int, octets: int, clock: Clock) -> None:
        self._max_frames = frames
        self._max_octets = octets
        self._clock = clock
        self._octets = 0
        self._waiters: deque[tuple[asyncio.Future[None], int]] = deque()
        self._moved = 0.0
        self.frames = 0

    async def enter(self, size: int) -> None:
        """Raises BusBlocked when there is no place within PATIENCE."""
        if not self._waiters and self._fits(size):
            self._take(size)
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (waiter, size)
        self._waiters.append(entry)
        try:
            async with asyncio.timeout(PATIENCE):
                await waiter
        except (TimeoutError, asyncio.CancelledError) as error:
            if waiter.done() and not waiter.cancelled():
                self.leave(size)
            else:
                with suppress(ValueError):
                    self._waiters.remove(entry)
                self._admit()
            if isinstance(error, TimeoutError):
                raise BusBlocked(
                    f"{self.frames} frames wait for the broker's confirm: try later"
                ) from None
            raise

    def leave(self, size: int) -> None:
        self.frames -= 1
        self._octets -= size
        self._moved = self._clock.monotonic()
        self._admit()

    def still(self) -> float:
        """Seconds since something was confirmed while something waits for it; 0 = all is well."""
        return self._clock.monotonic() - self._moved if self.frames else 0.0

    def _fits(self, size: int) -> bool:
        if self.frames == 0:
            return True  # a frame larger than the whole window must pass, too
        return self.frames < self._max_frames and self._octets + size <= self._max_octets

    def _take(self, size: int) -> None:
        if self.frames == 0:
            self._moved = self._clock.monotonic()
        self.frames += 1
        self._octets += size

    def _admit(self) -> None:
        while self._waiters and self._fits(self._waiters[0][1]):
            waiter, size = self._waiters.popleft()
            if not waiter.done():
                self._take(size)
                waiter.set_result(None)


class Publisher:
    """The publishing connection of a RabbitBus; what it raises is what `Bus.publish` does."""

    def __init__(
        self,
        url: str,
        clock: Clock,
        random: Random,
        names: Names,
        *,
        in_flight: int,
        timeout: float,
    ) -> None:
        self._names = names
        self._clock = clock
        self._timeout = timeout
        self._link = Link(url, f"{names.live} publish", clock, random, self._opened)
        self._window = Window(in_flight, IN_FLIGHT_OCTETS, clock)
        self._numbers = itertools.count(1)
        self._tasks: set[asyncio.Task[BusError | None]] = set()
        self._channel: Channel | None = None
        self._blocked = False
        self._watch_task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._link.start()
        if self._watch_task is None:
            self._watch_task = asyncio.create_task(self._watch(), name="amqp publish watch")

    async def publish(self, frames: Sequence[Frame]) -> None:
        if not frames:
            return
        await self._link.wait_up(PATIENCE)
        if self._blocked:
            raise BusBlocked("the broker takes nothing at present (resource alarm): try later")
        tasks = []
        for frame in frames:
            await self._window.enter(len(frame.body))
            task = asyncio.create_task(self._send(frame))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            tasks.append(task)
        _, pending = await asyncio.wait(tasks, timeout=self._timeout)
        errors = [error for task in tasks if task not in pending and (error := _error(task))]
        returned = sorted({str(error) for error in errors if isinstance(error, Unroutable)})
        if returned:
            raise Unroutable(f"no queue takes {', '.join(returned)}: declare the topology first")
        if errors:
            raise BusError(f"{len(errors)} of {len(tasks)} frames: {errors[0]}")
        if pending:
            raise BusError(
                f"{len(pending)} of {len(tasks)} frames not confirmed in {self._timeout:g} s"
            )

    def healthy(self) -> str:
        if self._link.error:
            return f"the broker is away: {self._link.error}"
        if self._blocked:
            return "the broker takes nothing at present (resource alarm)"
        if (seconds := self._window.still()) > STALLED:
            return f"no confirm for {seconds:.0f} s, {self._window.frames} frames wait"
        return ""

    async def close(self) -> None:
        """Wait for what is in flight, at most as long as a publish would, then let go."""
        if self._tasks and not self._link.error and not self._blocked:
            await asyncio.wait(self._tasks, timeout=self._timeout)
        if self._watch_task is not None:
            self._watch_task.cancel()
            await asyncio.wait((self._watch_task,))
        await self._link.close()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1)

    async def _opened(self, connection: AbstractConnection) -> None:
        channel = await call(connection.channel(publisher_confirms=True, on_return_raises=True))
        await declare_live(channel, self._names)
        if not isinstance(channel, Channel):
            raise TypeError(f"aiormq opened a {type(channel)}")
        channel.closing.add_done_callback(self._on_channel_closed)
        self._blocked = False
        self._channel = channel

    def _on_channel_closed(self, closing: asyncio.Future[Any]) -> None:
        error = None if closing.cancelled() else closing.exception()
        if isinstance(error, AMQPChannelError):
            self._link.tear(f"publish channel closed by the broker: {error}")

    async def _send(self, frame: Frame) -> BusError | None:
        """Publish one frame for which there is a place, and give the place back. Never raises."""
        channel = self._channel
        assert channel is not None
        key = target_key(frame.target) if frame.target else frame.key
        # A number of its own for each attempt: the library tells returned messages apart by it.
        properties = Basic.Properties(
            delivery_mode=2,
            message_id=str(next(self._numbers)),
            headers={PUBLISHED_AT: self._clock.now_ms()},
        )
        try:
            await channel.basic_publish(
                frame.body,
                exchange=self._names.delay(frame.delay) if frame.delay else self._names.live,
                routing_key=key,
                mandatory=True,
                properties=properties,
                wait=False,
            )
        except PublishError:
            return Unroutable(key)
        except DeliveryError:
            return BusError("the broker refused it (nack)")
        except FAILURES as error:
            return BusError(f"connection lost before the confirm: {error!r}")
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return BusError("connection lost before the confirm")
        finally:
            self._window.leave(len(frame.body))
        return None

    async def _watch(self) -> None:
        """Notice a blocked connection, which the library only logs, and a dead one."""
        while True:
            await self._clock.sleep(0.5)
            connection = self._link.connection
            if connection is None:
                continue
            was = self._blocked
            try:
                async with asyncio.timeout(0.1):
                    await connection.ready()  # waits as long as the connection is blocked
                self._blocked = False
            except TimeoutError:
                self._blocked = True
            if was != self._blocked:
                log.warning("the broker %s", "takes nothing" if self._blocked else "takes again")
            if not self._blocked and self._window.still() > DEAD:
                self._link.tear(f"no confirm for {DEAD:g} s")


def _error(task: asyncio.Task[BusError | None]) -> BusError | None:
    return BusError("cancelled") if task.cancelled() else task.result()
