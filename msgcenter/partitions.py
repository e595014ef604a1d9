"""Partitions: share a group of queues out among the processes by State leases; whoever holds a queue runs its worker, nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from msgcenter.clock import Clock
from msgcenter.state import State, StateError

TTL_S = 6.0


class Partitions:
    """Keeps `work(name, stop)` running for each name this process holds.

    A lease lives TTL_S and is renewed three times in that time. When State is away the work stops before the lease could
    pass to another process. A name given up is first drained (its `stop` is set and awaited), so that two processes never
    work the same conversation; until then it is kept renewed.
    """

    def __init__(
        self,
        group: str,
        names: Sequence[str],
        work: Callable[[str, asyncio.Event], Any],
        *,
        state: State,
        owner: str,
        sole: bool,
        clock: Clock,
        log: Any,
    ) -> None:
        """`sole`: no other process can exist (embedded), so every name is held at once and no lease is waited for."""
        self._sole = sole
        self._group = group
        self._names = list(names)
        self._work = work
        self._state = state
        self._owner = owner
        self._clock = clock
        self._log = log.bind(group=group)
        self._running: dict[str, tuple[asyncio.Task[None], asyncio.Event]] = {}

    async def run(self, stop: asyncio.Event) -> None:
        renewed = self._clock.monotonic()
        try:
            while not stop.is_set():
                try:
                    held = await self._held()
                except StateError as error:
                    if self._clock.monotonic() - renewed > TTL_S / 2:
                        self._log.warning("leases_lost", error=str(error))
                        await self._stop(list(self._running))
                else:
                    renewed = self._clock.monotonic()
                    self._adjust(held)
                await _pause(stop, TTL_S / 3)
        except asyncio.CancelledError:
            for task, _ in self._running.values():
                task.cancel()
            await asyncio.gather(
                *(task for task, _ in self._running.values()), return_exceptions=True
            )
            raise
        else:
            await self._stop(list(self._running))
            try:
                if not self._sole:
                    await self._state.lease(self._group, self._owner, [], TTL_S)
            except StateError as error:
                self._log.info("leases_left_to_expire", error=str(error))

    async def _held(self) -> frozenset[str]:
        if self._sole:
            return frozenset(self._names)
        return (await self._state.lease(self._group, self._owner, self._names, TTL_S)).held

    def _adjust(self, held: frozenset[str]) -> None:
        for name in [name for name, (task, _) in self._running.items() if task.done()]:
            task, _ = self._running.pop(name)
            if not task.cancelled() and (error := task.exception()) is not None:
                self._log.error("worker_ended", queue=name, error=repr(error))
        for name, (_, stop) in self._running.items():
            if name not in held:
                stop.set()
        for name in held:
            if name not in self._running:
                stop = asyncio.Event()
                self._running[name] = (asyncio.create_task(self._work(name, stop), name=name), stop)

    async def _stop(self, names: Sequence[str]) -> None:
        tasks = []
        for name in names:
            task, stop = self._running.pop(name)
            stop.set()
            tasks.append(task)
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                self._log.error("worker_ended", error=repr(result))


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    """Sleep, but no longer than until `stop`."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
