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
    pass to another process. A name given up is first drained (its `stop` is set and awaited) and the next renewal, which
    would free it, waits for that up to TTL_S / 3. A drain that takes longer than that (a far end that answers no sooner)
    may overlap with the successor's first work: then the bus's single active consumer and the claims in State keep
    messages from being sent twice.
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
                asked = (
                    self._clock.monotonic()
                )  # the lease may run from here, however late the answer
                try:
                    held = await self._held()
                except StateError as error:
                    if self._running and self._clock.monotonic() - renewed > TTL_S / 2:
                        self._log.warning("leases_lost", error=error)
                        await self._drain()
                else:
                    renewed = asked
                    self._adjust(held)
                await _pause(stop, TTL_S / 3)
                await self._handed_over()
            await self._drain()
        except asyncio.CancelledError:
            for task, _ in self._running.values():
                task.cancel()
            await asyncio.gather(
                *(task for task, _ in self._running.values()), return_exceptions=True
            )
            raise
        else:
            try:
                if not self._sole:
                    await self._state.lease(self._group, self._owner, [], TTL_S)
            except StateError as error:
                self._log.info("leases_left_to_expire", error=error)

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

    async def _handed_over(self) -> None:
        """State frees what was given up at the next renewal: see it drained by then, as long as the other leases allow."""
        going = [task for task, stop in self._running.values() if stop.is_set()]
        if going:
            await asyncio.wait(going, timeout=TTL_S / 3)

    async def _drain(self) -> None:
        """Stop all work and wait for its end; meanwhile nobody else may begin it, so the leases are renewed, but no oftener
        than must be: State frees a newcomer's share at the second renewal, drained or not."""
        for _, stop in self._running.values():
            stop.set()
        pending = {task for task, _ in self._running.values()}
        while pending:
            _, pending = await asyncio.wait(pending, timeout=TTL_S / 2)
            if pending:
                try:
                    await self._held()
                except StateError as error:
                    self._log.info("lease_not_renewed_in_drain", error=error)
        self._adjust(frozenset())


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    """Sleep, but no longer than until `stop`."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
