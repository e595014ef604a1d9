"""Turns: one at a time over all processes, for as long as it takes; a State lock that is renewed and ends with its holder."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from msgcenter.clock import Clock, Random
from msgcenter.state import State, StateError

TTL_S = 15.0
"""How long a turn outlives a process that was killed."""
POLL_S = (0.02, 0.25)
"""How often a taken turn is asked for: the first wait, and the longest."""


class Turns:
    """`async with turn(name) as mine`. In one process the waiters of a name queue up and only the first asks State."""

    def __init__(
        self, state: State, owner: str, clock: Clock, rng: Random, *, ttl_s: float = TTL_S
    ) -> None:
        self._state = state
        self._owner = owner
        self._clock = clock
        self._rng = rng
        self._ttl_s = ttl_s
        self._local: dict[str, tuple[asyncio.Lock, int]] = {}
        self._numbers = 0

    @asynccontextmanager
    async def turn(self, name: str, *, wait_s: float = 10.0) -> AsyncIterator[bool]:
        """Yields True when it is ours, False when it was not within `wait_s` (or State was away all that time).

        A turn that cannot be kept (State away for longer than its time) ends the block with TimeoutError before anybody
        else may have it.
        """
        until = self._clock.monotonic() + wait_s
        lock, waiting = self._local.get(name, (asyncio.Lock(), 0))
        self._local[name] = (lock, waiting + 1)
        locked = False
        try:
            locked = await _within(lock, wait_s)
            if not locked:
                yield False
                return
            self._numbers += 1
            owner = f"{self._owner}#{self._numbers}"
            began = await self._take(name, owner, until)
            if began is None:
                yield False
                return
            async with self._kept(name, owner, began):
                yield True
        finally:
            if locked:
                lock.release()
            lock, waiting = self._local[name]
            if waiting == 1:
                del self._local[name]
            else:
                self._local[name] = (lock, waiting - 1)

    async def _take(self, name: str, owner: str, until: float) -> float | None:
        """When the call that took it began (monotonic); None = not within the time."""
        wait = POLL_S[0]
        while True:
            began = self._clock.monotonic()
            try:
                remaining = await self._state.lock(name, owner, self._ttl_s)
            except StateError:
                remaining = self._ttl_s
            if remaining == 0.0:
                return began
            left = until - self._clock.monotonic()
            if left <= 0:
                return None
            await self._clock.sleep(min(left, remaining, wait * self._rng.uniform(0.5, 1.5)))
            wait = min(wait * 2, POLL_S[1])

    @asynccontextmanager
    async def _kept(self, name: str, owner: str, began: float) -> AsyncIterator[None]:
        """Renew until the block ends; then let go."""
        loop = asyncio.get_running_loop()
        lag = self._clock.monotonic() - began
        renewing: asyncio.Task[None] | None = None
        try:
            async with asyncio.timeout(self._ttl_s - lag) as bound:
                renewing = asyncio.create_task(self._renew(name, owner, bound, loop))
                yield
        finally:
            if renewing is not None:
                renewing.cancel()
                with suppress(asyncio.CancelledError):
                    await renewing
            with suppress(StateError):  # it ends by itself
                await self._state.lock(name, owner, 0.0)

    async def _renew(
        self, name: str, owner: str, bound: asyncio.Timeout, loop: asyncio.AbstractEventLoop
    ) -> None:
        while True:
            await self._clock.sleep(self._ttl_s / 3)
            began = loop.time()
            try:
                remaining = await self._state.lock(name, owner, self._ttl_s)
            except StateError:
                continue  # asked again soon; if it stays away, the bound ends the block
            if remaining > 0.0:
                bound.reschedule(loop.time())  # State lost it and somebody else has it now
                return
            bound.reschedule(began + self._ttl_s)


async def _within(lock: asyncio.Lock, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await lock.acquire()
    except TimeoutError:
        return False
    return True
