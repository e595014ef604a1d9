"""LaneGate: who goes next at a channel; bounded calls in flight, the channel's rate, the highest waiting lane first, bulk never starved."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from msgcenter.bus import LANES, Lane
from msgcenter.clock import Clock
from msgcenter.state import Grant, StateError

Take = Callable[[int], Awaitable[Grant]]
"""Ask for that many tokens of the channel's shared bucket."""

BULK_EVERY = 10
"""One turn in so many goes to bulk when bulk waits: at least 10 % of the channel."""


class LaneGate:
    """`turn(lane, n)` waits for a slot (and `n` tokens when the channel has a rate). Yields False when the gate was shut
    while waiting: the channel is down and nothing may be sent."""

    def __init__(self, slots: int, clock: Clock, take: Take | None = None) -> None:
        self._slots = slots
        self._clock = clock
        self._take = take
        self._waiting: dict[Lane, deque[tuple[int, asyncio.Future[bool]]]] = {
            lane: deque() for lane in LANES
        }
        self._busy = 0
        self._turns = 0
        self._credit = 0
        self._open = False
        self._pump: asyncio.Task[None] | None = None

    @property
    def busy(self) -> int:
        return self._busy

    def open(self) -> None:
        self._open = True
        self._kick()

    def shut(self) -> None:
        """Turn away whoever waits; turns under way run on."""
        self._open = False
        for lane in self._waiting.values():
            while lane:
                _, future = lane.popleft()
                if not future.done():
                    future.set_result(False)

    @asynccontextmanager
    async def turn(self, lane: Lane, n: int) -> AsyncIterator[bool]:
        if not self._open:
            yield False
            return
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting[lane].append((n, future))
        self._kick()
        granted = False
        try:
            granted = await future
            yield granted
        finally:
            if granted or (future.done() and not future.cancelled() and future.result()):
                self._busy -= 1
                self._kick()

    def _next(self) -> deque[tuple[int, asyncio.Future[bool]]] | None:
        for lane in self._waiting.values():
            while lane and lane[0][1].done():  # its waiter was cancelled
                lane.popleft()
        if self._waiting["bulk"] and self._turns % BULK_EVERY == BULK_EVERY - 1:
            return self._waiting["bulk"]
        return next((self._waiting[lane] for lane in LANES if self._waiting[lane]), None)

    def _grant(self, lane: deque[tuple[int, asyncio.Future[bool]]]) -> None:
        _, future = lane.popleft()
        self._busy += 1
        self._turns += 1
        future.set_result(True)

    def _kick(self) -> None:
        if self._take is not None:
            if self._pump is None or self._pump.done():
                self._pump = asyncio.ensure_future(self._pump_tokens(self._take))
            return
        while self._open and self._busy < self._slots and (lane := self._next()) is not None:
            self._grant(lane)

    async def _pump_tokens(self, take: Take) -> None:
        """With a rate: fetch tokens first, then choose, so that what waits longest for tokens is not what came first."""
        while self._open and self._busy < self._slots and (lane := self._next()) is not None:
            need = lane[0][0]
            if self._credit < need:
                try:
                    grant = await take(need - self._credit)
                except StateError:
                    grant = Grant(0, 0.5)
                self._credit += grant.granted
                if self._credit < need:
                    await self._clock.sleep(max(0.005, grant.wait_s))
                continue
            self._credit -= need
            self._grant(lane)


def turn_size(max_batch: int, rate: float | None) -> int:
    """Messages per turn: the adapter's batch, but at a given rate no more than a tenth of a second's worth."""
    return max_batch if not rate else max(1, min(max_batch, int(rate / 10)))
