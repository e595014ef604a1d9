"""SqliteBus: the embedded Bus, one SQLite file owned by one process, group-committed throughout.

What is leased lives in memory only, so the leases of a process that died are free at once for the
next one; the delivery number is stored before a frame is handed out, so that a frame which kills
its reader shows. A caller that is cancelled does not undo its commit: the accounts in memory follow
the commit (`_run`), never the caller.

One file, for publishing, leasing and settling are transactions over the same few tables.
"""

from __future__ import annotations

import asyncio
import heapq
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TypeVar

from msgcenter.bus import BusError, Delivery, Depth, Frame, Queue, Unroutable
from msgcenter.bus.sqlite_rows import SCHEMA, QueueRow, Rows, lock_file
from msgcenter.clock import Clock
from msgcenter.sqlite import Writer

T = TypeVar("T")


class _State:
    """One queue in memory: how many frames are ready and leased, and which were given back."""

    def __init__(self, number: int, name: str) -> None:
        self.id = number
        self.name = name
        self.ready = 0
        self.leased = 0
        self.returned: list[int] = []
        self.wake = asyncio.Event()

    def add(self, count: int) -> None:
        self.ready += count
        if self.ready > 0:
            self.wake.set()

    def give_back(self, ids: Iterable[int], count: int) -> None:
        """`count` leased frames are ready again; `ids` are those that the writer has read."""
        for number in ids:
            heapq.heappush(self.returned, number)
        self.leased -= count
        self.add(count)


class _Lease:
    """See `msgcenter.bus.Lease`."""

    def __init__(self, bus: SqliteBus, state: _State, deliveries: Sequence[Delivery]) -> None:
        self.deliveries = deliveries
        self._bus = bus
        self._state = state
        self._held = {delivery.tag for delivery in deliveries}

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        ids = [d.tag for d in deliveries if d.tag in self._held]
        if not ids:
            return
        # Not held while the commit runs: should the caller be cancelled, the commit alone decides.
        self._held.difference_update(ids)
        await self._bus._settle(self._state, ids)

    def give_back(self) -> None:
        self._state.give_back(self._held, len(self._held))
        self._held.clear()


class SqliteBus:
    """A Bus (see `msgcenter.bus.Bus`) in the file `path`, with `path.lock` held beside it.

    Raises BusError when another process holds the file, sqlite3.DatabaseError when it is damaged.
    Use it from one event loop. A wall clock that jumps neither reorders frames nor cuts a delay
    short: within one process, due times follow the monotonic clock.
    """

    def __init__(self, path: Path | str, clock: Clock) -> None:
        self._clock = clock
        self._lock = lock_file(Path(path))
        try:
            self._writer = Writer(path, SCHEMA)
        except BaseException:
            os.close(self._lock)
            raise
        self._rows = Rows()
        self._by_name: dict[str, _State] = {}
        self._by_key: dict[str, list[_State]] = {}
        self._by_id: dict[int, _State] = {}
        self._wall0, self._mono0 = clock.now_ms(), clock.monotonic()
        self._next_due: int | None = None
        self._poke = asyncio.Event()
        self._start: asyncio.Future[None] | None = None
        self._timer: asyncio.Task[None] | None = None
        self._closed = False
        self._problem = ""

    async def declare(self, queues: Sequence[Queue]) -> None:
        await self._started()
        new = {queue.name: queue for queue in queues if queue.name not in self._by_name}
        if new:
            await self._run(lambda db: self._rows.declare(db, new.values()), self._learn)

    async def publish(self, frames: Sequence[Frame]) -> None:
        await self._started()
        now = self._now()
        ready: list[tuple[_State, bytes]] = []
        later: list[tuple[int, int, bytes]] = []
        missing: set[str] = set()
        for frame in frames:
            states = self._route(frame)
            if not states:
                missing.add(frame.target or frame.key)
            for state in states:
                if frame.delay > 0:
                    later.append((now + frame.delay * 1000, state.id, frame.body))
                else:
                    ready.append((state, frame.body))
        if missing:
            names = ", ".join(sorted(missing))
            raise Unroutable(f"no queue takes {names}: declare the topology first")
        if not ready and not later:
            return
        rows = [(state.id, body) for state, body in ready]
        stored_at = self._clock.now_ms()

        def stored(_: None) -> None:
            for state, _body in ready:
                state.add(1)
            if later:
                self._alarm(min(due for due, _, _ in later))

        await self._run(lambda db: self._rows.insert(db, rows, later, stored_at), stored)

    @asynccontextmanager
    async def consume(
        self, queue: Queue, *, max_batch: int, max_wait: float
    ) -> AsyncIterator[_Lease]:
        await self._started()
        state = self._state(queue)
        lease = _Lease(self, state, await self._take(queue, state, max_batch, max_wait))
        try:
            yield lease
        finally:
            lease.give_back()

    async def release(self, queue: Queue) -> None:
        """Nothing to do: this bus fetches nothing ahead."""

    async def depths(self, queues: Sequence[Queue]) -> dict[str, Depth]:
        await self._started()
        states = [self._state(queue) for queue in queues]
        heads = {s.id: s.returned[0] if s.returned else 0 for s in states if s.ready > 0}
        oldest = await self._run(lambda db: self._rows.oldest(db, heads))
        now = self._clock.now_ms()
        ages = {number: max(0, now - at) / 1000 for number, at in oldest.items()}
        return {
            s.name: Depth(max(0, s.ready), s.leased, ages.get(s.id) if s.ready > 0 else None)
            for s in states
        }

    async def purge(self, queue: Queue) -> int:
        await self._started()
        state = self._state(queue)
        returned, state.returned = state.returned, []

        def gone(count: int) -> None:
            state.ready -= count

        return await self._run(
            lambda db: self._rows.purge(db, state.id, returned),
            gone,
            lambda: state.give_back(returned, 0),
        )

    def healthy(self) -> str:
        return "bus is closed" if self._closed else self._problem

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        for state in self._by_name.values():
            state.wake.set()
        if self._timer is not None:
            self._timer.cancel()
            with suppress(asyncio.CancelledError):
                await self._timer
        await self._writer.close()
        os.close(self._lock)

    async def _started(self) -> None:
        """Read what is stored, once, and start the timer of delayed frames."""
        if self._closed:
            raise BusError("bus is closed")
        if self._start is None:
            self._start = asyncio.ensure_future(self._load())
        await asyncio.shield(self._start)

    async def _load(self) -> None:
        stored = await self._run(self._rows.load)
        self._learn(stored.queues)
        for number, count in stored.counts:
            self._by_id[number].add(count)
        self._next_due = stored.next_due
        self._timer = asyncio.create_task(self._promote_for_ever(), name="sqlite bus timer")

    def _learn(self, rows: list[QueueRow]) -> None:
        for number, name, key in rows:
            if name not in self._by_name:
                state = _State(number, name)
                self._by_name[name] = self._by_id[number] = state
                self._by_key.setdefault(key, []).append(state)

    def _state(self, queue: Queue) -> _State:
        state = self._by_name.get(queue.name)
        if state is None:
            raise BusError(f"no queue {queue.name}: declare the topology first")
        return state

    def _route(self, frame: Frame) -> list[_State]:
        if not frame.target:
            return self._by_key.get(frame.key, [])
        state = self._by_name.get(frame.target)
        return [state] if state else []

    async def _take(
        self, queue: Queue, state: _State, max_batch: int, max_wait: float
    ) -> list[Delivery]:
        if state.ready <= 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(max_wait):
                    while state.ready <= 0 and not self._closed:
                        state.wake.clear()
                        await state.wake.wait()
        count = min(max_batch, state.ready)
        if count <= 0 or self._closed:
            return []
        state.ready -= count
        state.leased += count
        again = [heapq.heappop(state.returned) for _ in range(min(count, len(state.returned)))]
        got: list[int] = []

        def taken(rows: list[tuple[int, bytes, int]]) -> None:
            if short := count - len(rows):  # a purge came first
                state.give_back((), short)

        rows = await self._run(
            lambda db: self._rows.take(db, state.id, again, count - len(again), got),
            taken,
            lambda: state.give_back({*again, *got}, count),
            lambda: state.give_back(got, len(got)),
        )
        return [Delivery(queue, body, times, number) for number, body, times in rows]

    async def _settle(self, state: _State, ids: list[int]) -> None:
        def settled(_: None) -> None:
            state.leased -= len(ids)

        await self._run(
            lambda db: self._rows.delete(db, ids),
            settled,
            lambda: state.give_back(ids, len(ids)),
        )

    async def _run(
        self,
        work: Callable[[sqlite3.Connection], T],
        done: Callable[[T], None] | None = None,
        failed: Callable[[], None] | None = None,
        unclaimed: Callable[[], None] | None = None,
    ) -> T:
        """Run `work` in the next commit, then `done(result)` or `failed()`, come what may.

        `unclaimed()` follows `done` when the caller was cancelled and so never saw the result.
        Raises BusError when the commit failed.
        """
        cancelled = finished = False

        def finish(task: asyncio.Task[T]) -> None:
            nonlocal finished
            finished = True
            error = task.exception()
            if error is not None:
                self._problem = f"bus file {self._writer.path}: {error}"
                if failed is not None:
                    failed()
                return
            self._problem = ""
            if done is not None:
                done(task.result())
            if cancelled and unclaimed is not None:
                unclaimed()

        task = asyncio.ensure_future(self._writer.run(work))
        task.add_done_callback(finish)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            cancelled = True
            if finished and task.exception() is None and unclaimed is not None:
                unclaimed()
            raise
        except sqlite3.Error as error:
            raise BusError(f"bus file {self._writer.path}: {error}") from error

    def _now(self) -> int:
        """Milliseconds that begin at the wall clock's and go on with the monotonic clock's."""
        return self._wall0 + round((self._clock.monotonic() - self._mono0) * 1000)

    def _alarm(self, due: int) -> None:
        if self._next_due is None or due < self._next_due:
            self._next_due = due
            self._poke.set()

    async def _promote_for_ever(self) -> None:
        while True:
            self._poke.clear()
            if self._next_due is None:
                await self._poke.wait()
            elif (wait := self._next_due - self._now()) > 0:
                await self._sleep(wait / 1000)
            else:
                try:
                    await self._promote()
                except BusError:  # healthy() tells why; the frames are still there
                    await self._clock.sleep(1.0)

    async def _sleep(self, seconds: float) -> None:
        """Until then, or until an earlier due time becomes known."""
        sleep = asyncio.ensure_future(self._clock.sleep(seconds))
        poke = asyncio.ensure_future(self._poke.wait())
        try:
            await asyncio.wait((sleep, poke), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleep.cancel()
            poke.cancel()

    async def _promote(self) -> None:
        now, stored_at = self._now(), self._clock.now_ms()
        self._next_due = None  # whoever publishes from here on calls _alarm

        def moved(result: tuple[list[int], int | None]) -> None:
            queues, due = result
            for queue in queues:
                self._by_id[queue].add(1)
            if due is not None:
                self._alarm(due)

        await self._run(
            lambda db: self._rows.promote(db, now, stored_at), moved, lambda: self._alarm(now)
        )
