"""Answers that do not end: server-sent events with resume, kept alive, and closed when the key is revoked or the process leaves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import hdrs, web

from msgcenter.api.problems import Problem
from msgcenter.api.web import Call

FIRST_S, LAST_S, GROWTH = 0.05, 0.5, 1.5
BEAT_S = 15.0
CHECK_S = 4.0
"""How often the key is looked at again: a revoked one ends its streams within 5 s."""
MOST_STREAMS = 500
"""Open at once in one process."""
MOST_OF_CALLER = 50


class Streams:
    """How many are open, by caller; a stream is refused rather than let memory grow."""

    def __init__(self) -> None:
        self._open: dict[str, int] = {}

    @asynccontextmanager
    async def one(self, caller: str) -> AsyncIterator[None]:
        """Raises Problem `overloaded`."""
        own = self._open.get(caller, 0)
        if own >= MOST_OF_CALLER or sum(self._open.values()) >= MOST_STREAMS:
            raise Problem("overloaded", retry_after=5, why="too many streams are open")
        self._open[caller] = own + 1
        try:
            yield
        finally:
            self._open[caller] -= 1
            if not self._open[caller]:
                del self._open[caller]


class Pulse:
    """The rhythm of a stream: `await rest()` between looks; False = it is over. `busy()` after there was something."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._clock = call.api.deps.clock
        self._pause = FIRST_S
        now = self._clock.monotonic()
        self._checked = now
        self._said = now

    def busy(self) -> None:
        self._pause, self._said = FIRST_S, self._clock.monotonic()

    @property
    def beat_due(self) -> bool:
        return self._clock.monotonic() - self._said >= BEAT_S

    async def rest(self) -> bool:
        if self._call.api.deps.draining():
            return False
        await self._clock.sleep(self._pause)
        self._pause = min(self._pause * GROWTH, LAST_S)
        now = self._clock.monotonic()
        if now - self._checked < CHECK_S:
            return True
        self._checked = now
        try:
            header = self._call.request.headers.get(hdrs.AUTHORIZATION, "")
            await self._call.api.keyring.identify(header)
        except Problem:
            return False
        return True


class Sse:
    """A stream of server-sent events. Writing raises ConnectionResetError when the reader is gone."""

    def __init__(self) -> None:
        self.response = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream; charset=utf-8",
                "Cache-Control": "no-store",
                "X-Accel-Buffering": "no",
            }
        )

    async def open(self, request: web.Request) -> None:
        await self.response.prepare(request)
        await self.response.write(b"retry: 2000\n\n")

    async def send(self, cursor: str, event: str, data: bytes) -> None:
        """`data`: JSON on one line."""
        head = f"id: {cursor}\nevent: {event}\ndata: ".encode()
        await self.response.write(head + data + b"\n\n")

    async def beat(self) -> None:
        await self.response.write(b": still here\n\n")
