"""Spool: the outlet of web hooks; what the bus does not confirm at once is kept in a local SQLite file and brought to it later, in order.

While nothing waits, parcels go straight to the bus, bundled with whatever comes in meanwhile. Once the bus refuses or takes
longer than `confirm_s`, that bundle and everything behind it goes to the file, and `run` brings it to the bus in order; only
when the file is empty does the straight way open again: no later word overtakes an earlier one. A bundle that was late may
have been stored by the bus all the same and then comes twice; ids follow from the far end's own, so the pipelines absorb it.
When the file is full, `publish` raises SpoolFull and the far end is told to come again.

Each process has a file of its own, `<n>.db`, locked while it runs; files that no process holds are taken over at the start.
"""

from __future__ import annotations

import asyncio
import fcntl
import sqlite3
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from msgcenter.bus import Bus, BusError, Lane, Queue
from msgcenter.clock import Clock
from msgcenter.metrics import Metrics
from msgcenter.outlet import Parcel, to_bus
from msgcenter.sqlite import Writer, connect
from msgcenter.unavailable import Unavailable

SCHEMA = """
CREATE TABLE IF NOT EXISTS spool (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, lane TEXT NOT NULL,
    part INTEGER NOT NULL, delay INTEGER NOT NULL, at INTEGER NOT NULL, body BLOB NOT NULL
);
"""
_ROW_OCTETS = 100
"""What a row costs beside its body."""
_INSERT = "INSERT INTO spool (topic, lane, part, delay, at, body) VALUES (?, ?, ?, ?, ?, ?)"
_COLUMNS = "topic, lane, part, delay, at, body"
MOST_FILES = 64
TAKE_ROWS, TAKE_OCTETS = 500, 4 << 20
BUNDLE = 500
"""Parcels that go to the bus together."""
REOPEN_BELOW = 0.9
"""A full spool takes again when it is below this share: not now this word and then another, in no order."""
RETRY_S = (0.1, 0.2, 0.5, 1.0)
LEAST_CONFIRM_S = 0.05

Row = tuple[str, str, int, int, int, bytes]


class SpoolFull(Unavailable):
    """The bus takes nothing and the spool has reached its size: nothing was kept."""


class SpoolError(Unavailable):
    """The spool file could not be written (disk full, damaged): nothing was kept."""


@dataclass(slots=True)
class _Post:
    """One call of `publish`, waiting."""

    parcels: Sequence[Parcel]
    done: asyncio.Future[None]
    since: float

    @property
    def size(self) -> int:
        return sum(len(parcel.sealed) + _ROW_OCTETS for parcel in self.parcels)


class Spool:
    """`await open()`, `publish` as an Outlet, `run(stop)` as a task, `await close()`."""

    def __init__(
        self,
        folder: Path,
        bus: Bus,
        *,
        clock: Clock,
        metrics: Metrics,
        log: Any,
        max_bytes: int = 256 << 20,
        confirm_s: float = 0.4,
    ) -> None:
        self._folder = folder
        self._to_bus = to_bus(bus)
        self._clock = clock
        self._metrics = metrics
        self._log = log
        self._max_bytes = max_bytes
        self._confirm_s = confirm_s
        self._waiting: deque[_Post] = deque()
        self._pump: asyncio.Task[None] | None = None
        self._arrived = asyncio.Event()
        self._full = False
        self._writer: Writer | None = None
        self._lock: IO[str] | None = None
        self.count = 0
        """Parcels in the file."""
        self.bytes = 0

    # -- life ----------------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Take a file of this process's own, and over what ended processes left. Raises SpoolError."""
        try:
            await asyncio.to_thread(self._open)
        except (OSError, sqlite3.Error) as error:
            raise SpoolError(f"{self._folder}: {error}") from error
        self._say()
        if self.count:
            self._log.warning("spool_holds", count=self.count, bytes=self.bytes)
            self._arrived.set()

    def _open(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        for number in range(1, MOST_FILES + 1):
            path = self._folder / f"{number}.db"
            if self._writer is not None and not path.exists():
                continue
            lock = _locked(self._folder / f"{number}.lock")
            if lock is None:
                continue
            if self._writer is None:
                self._lock = lock
                self._writer = Writer(path, SCHEMA)
                with _reading(path) as db:
                    found = "SELECT count(*), coalesce(sum(length(body)), 0) FROM spool"
                    self.count, octets = db.execute(found).fetchone()
                self.bytes = octets + self.count * _ROW_OCTETS
            else:
                self._adopt(path)
                lock.close()
        if self._writer is None:
            raise OSError(f"all of its {MOST_FILES} files are in use")

    def _adopt(self, path: Path) -> None:
        """What a process that is gone left behind becomes ours. Done twice it only repeats, which ids absorb."""
        with _reading(path) as db:
            rows = db.execute(f"SELECT {_COLUMNS} FROM spool ORDER BY seq").fetchall()  # noqa: S608
        if rows:
            assert self._lock is not None
            with _reading(self._folder / f"{Path(self._lock.name).stem}.db") as own:
                own.execute("BEGIN IMMEDIATE")
                own.executemany(_INSERT, rows)
                own.execute("COMMIT")
            self.count += len(rows)
            self.bytes += sum(len(row[5]) + _ROW_OCTETS for row in rows)
            self._log.warning("spool_adopted", file=path.name, count=len(rows))
        for leftover in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
            leftover.unlink(missing_ok=True)

    async def close(self) -> None:
        """Finish what was handed in; what is in the file stays for the next start. Idempotent."""
        if self._pump is not None:
            await self._pump
        if self._writer is not None:
            await self._writer.close()
            self._writer = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    # -- in ------------------------------------------------------------------------------------------------------------

    async def publish(self, parcels: Sequence[Parcel]) -> None:
        """Durable on return, on the bus or in the file. Raises SpoolFull, SpoolError. A caller that gives up waiting leaves
        its parcels on their way."""
        loop = asyncio.get_running_loop()
        post = _Post(parcels, loop.create_future(), self._clock.monotonic())
        post.done.add_done_callback(_seen)  # its caller may have given up waiting
        self._waiting.append(post)
        if self._pump is None or self._pump.done():
            self._pump = asyncio.create_task(self._work(), name="spool")
        await asyncio.shield(post.done)

    async def _work(self) -> None:
        """The one writer: bundles come one after the other, so that order is a matter of arrival."""
        while self._waiting:
            bundle = self._next()
            if not self.count and await self._confirmed(bundle):
                for post in bundle:
                    _settle(post.done, None)
                continue
            await self._store([*bundle, *self._all_waiting()])

    def _next(self) -> list[_Post]:
        bundle: list[_Post] = []
        parcels = 0
        while self._waiting and parcels < BUNDLE:
            bundle.append(self._waiting.popleft())
            parcels += len(bundle[-1].parcels)
        return bundle

    def _all_waiting(self) -> list[_Post]:
        waiting = list(self._waiting)
        self._waiting.clear()
        return waiting

    async def _confirmed(self, bundle: Sequence[_Post]) -> bool:
        """Whether the bus had all of it in time, counted from when the first was handed in."""
        late = self._clock.monotonic() - bundle[0].since
        try:
            async with asyncio.timeout(max(LEAST_CONFIRM_S, self._confirm_s - late)):
                await self._to_bus([parcel for post in bundle for parcel in post.parcels])
        except (BusError, TimeoutError) as error:
            self._log.warning("bus_not_confirming", error=error)
            return False
        return True

    async def _store(self, posts: Sequence[_Post]) -> None:
        now = self._clock.now_ms()
        kept: list[_Post] = []
        size = 0
        for post in posts:
            if self._full or self.bytes + size + post.size > self._max_bytes:
                if not self._full:
                    self._log.error("spool_full", count=self.count, bytes=self.bytes)
                self._full = True
                _settle(post.done, SpoolFull(f"{self.bytes} octets wait for the bus"))
            else:
                kept.append(post)
                size += post.size
        if not kept:
            return
        rows = [_row(parcel, now) for post in kept for parcel in post.parcels]
        problem: Exception | None = None
        try:
            assert self._writer is not None
            await self._writer.run(lambda db: db.executemany(_INSERT, rows))
        except sqlite3.Error as error:
            problem = SpoolError(f"spool: {error}")
            self._log.error("spool_not_written", error=error)
        else:
            self.count += len(rows)
            self.bytes += size
            self._metrics.spooled_total.inc(len(rows))
            self._say()
            self._arrived.set()
        for post in kept:
            _settle(post.done, problem)

    # -- out -----------------------------------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event) -> None:
        """Bring what is in the file to the bus, until `stop`."""
        failures = 0
        stopped = asyncio.ensure_future(stop.wait())
        try:
            while not stop.is_set():
                if not self.count:
                    arrived = asyncio.ensure_future(self._arrived.wait())
                    await asyncio.wait({arrived, stopped}, return_when=asyncio.FIRST_COMPLETED)
                    arrived.cancel()
                    self._arrived.clear()
                    continue
                try:
                    await self.replay()
                    failures = 0
                except (BusError, sqlite3.Error) as error:
                    wait = RETRY_S[min(failures, len(RETRY_S) - 1)]
                    failures += 1
                    self._log.info("spool_waits", error=error, count=self.count)
                    await asyncio.wait({stopped}, timeout=wait)
        finally:
            stopped.cancel()

    async def replay(self) -> int:
        """Publish the oldest parcels, then forget them; how many. Raises BusError, sqlite3.Error."""
        assert self._writer is not None
        rows: list[tuple[int, *Row]] = await self._writer.run(_oldest)
        if not rows:
            return 0
        await self._to_bus([_parcel(row) for row in rows])
        last = rows[-1][0]
        await self._writer.run(lambda db: db.execute("DELETE FROM spool WHERE seq <= ?", (last,)))
        self.count -= len(rows)
        self.bytes -= sum(len(row[6]) + _ROW_OCTETS for row in rows)
        if self._full and self.bytes < self._max_bytes * REOPEN_BELOW:
            self._full = False
        self._say()
        if not self.count:
            self._log.info("spool_empty")
        return len(rows)

    def _say(self) -> None:
        self._metrics.spool_bytes.set(self.bytes)


def _row(parcel: Parcel, now: int) -> Row:
    queue = parcel.queue
    return (queue.topic, queue.lane, queue.partition, parcel.delay, now, parcel.sealed)


def _parcel(row: tuple[Any, ...]) -> Parcel:
    _, topic, lane, partition, delay, _, body = row
    return Parcel(Queue(topic, cast(Lane, lane), partition), body, delay)


def _oldest(db: sqlite3.Connection) -> list[Any]:
    rows: list[Any] = []
    octets = 0
    found = db.execute(f"SELECT seq, {_COLUMNS} FROM spool ORDER BY seq LIMIT ?", (TAKE_ROWS,))  # noqa: S608
    for row in found:
        octets += len(row[6])
        if rows and octets > TAKE_OCTETS:
            break
        rows.append(row)
    return rows


def _seen(future: asyncio.Future[None]) -> None:
    if not future.cancelled():
        future.exception()


def _settle(future: asyncio.Future[None], problem: Exception | None) -> None:
    if future.done():
        return
    if problem is None:
        future.set_result(None)
    else:
        future.set_exception(problem)


def _locked(path: Path) -> IO[str] | None:
    """The lock of one file, None when another process holds it."""
    handle = path.open("a+")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.close()
        return None
    return handle


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection beside the writer's, before there are callers."""
    db = connect(path)
    try:
        db.executescript(SCHEMA)
        yield db
    finally:
        db.close()
