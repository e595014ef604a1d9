"""Waits: `?wait=` of any number of requests is served by one task that asks State about all
waited-for messages in one call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from msgcenter.clock import Clock
from msgcenter.state import Snapshot, State, StateError

FIRST_S, LAST_S, GROWTH = 0.02, 0.2, 1.5
MOST_S = 30.0
CHUNK = 500


class Waits:
    """`final(message, seconds)` returns as soon as the message has its last status, or when the
    time is over."""

    def __init__(self, state: State, final: Callable[[Snapshot], bool], clock: Clock) -> None:
        self._state = state
        self._final = final
        self._clock = clock
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}
        self._task: asyncio.Task[None] | None = None
        self._pause = FIRST_S

    async def final(self, message: str, seconds: float) -> None:
        """Never raises for a State that is away: the time just runs out."""
        if seconds <= 0:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(message, set()).add(future)
        self._pause = FIRST_S
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        try:
            async with asyncio.timeout(min(seconds, MOST_S)):
                await future
        except TimeoutError:
            pass
        finally:
            futures = self._waiting.get(message, set())
            futures.discard(future)
            if not futures:
                self._waiting.pop(message, None)

    async def close(self) -> None:
        """Let everybody go."""
        for futures in list(self._waiting.values()):
            for future in futures:
                if not future.done():
                    future.set_result(None)
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        while self._waiting:
            await self._clock.sleep(self._pause)
            self._pause = min(self._pause * GROWTH, LAST_S)
            messages = list(self._waiting)
            for start in range(0, len(messages), CHUNK):
                chunk = messages[start : start + CHUNK]
                try:
                    snapshots = await self._state.get_many(chunk)
                except StateError:
                    break
                for message, snapshot in zip(chunk, snapshots, strict=True):
                    if self._final(snapshot):
                        for future in self._waiting.get(message, ()):
                            if not future.done():
                                future.set_result(None)
