"""A Port for tests of adapters: it keeps what was emitted, or refuses to make it durable."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from random import Random

import aiohttp
import structlog

from msgcenter.adapter import Received, Report, Subscriber
from msgcenter.clock import Clock, SystemClock

GAUGES = frozenset({"window_in_use", "links_up"})


class FakePort:
    """`refuse` > 0: so many calls of `emit` fail (after the attempt was counted in `tries`)."""

    def __init__(self, channel: str = "test", clock: Clock | None = None) -> None:
        self.channel = channel
        self.clock: Clock = clock or SystemClock()
        self.random = Random(7)
        self.log = structlog.get_logger("test").bind(channel=channel)
        self.emitted: list[Received | Report] = []
        self.tries = 0
        self.refuse = 0
        self.subscribers: dict[str, Subscriber] = {}
        self.gauges: dict[str, float] = {}
        self.gate = asyncio.Event()
        """Cleared: `emit` waits before it does anything durable."""
        self.gate.set()
        self._http: aiohttp.ClientSession | None = None
        self._changed = asyncio.Event()

    async def emit(self, items: Sequence[Received | Report]) -> None:
        self.tries += 1
        self._changed.set()
        await self.gate.wait()
        if self.refuse > 0:
            self.refuse -= 1
            raise ConnectionError("the bus is down")
        self.emitted.extend(items)
        self._changed.set()

    def http(self) -> aiohttp.ClientSession:
        if self._http is None:
            self._http = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=2.0, sock_read=2.0),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._http

    def subscriber(self, caller: str) -> Subscriber | None:
        return self.subscribers.get(caller)

    def gauge(self, name: str, value: float) -> None:
        if name not in GAUGES:
            raise ValueError(f"unknown gauge {name!r}")
        self.gauges[name] = value

    @property
    def reports(self) -> list[Report]:
        return [item for item in self.emitted if isinstance(item, Report)]

    @property
    def received(self) -> list[Received]:
        return [item for item in self.emitted if isinstance(item, Received)]

    async def until(self, done: Callable[[], bool], seconds: float = 5.0) -> None:
        """Wait until `done` says so, looking again at every emit. Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            while not done():
                self._changed.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.02):
                        await self._changed.wait()

    async def close(self) -> None:
        if self._http is not None:
            await self._http.close()
