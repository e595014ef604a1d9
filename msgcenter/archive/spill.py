"""A sink that never refuses while the disk has room: what it is too slow or too broken to take
waits in a local journal.

While nothing waits, records go straight to the sink. Once a write fails or takes longer than the
deadline, that batch and everything after it goes to the journal, and `drain` brings it to the sink
in order; only when the journal is empty does the straight way open again. So what one writer hands
in one after the other reaches the sink in that order, though some of it perhaps twice: the sink
knows records by their ids. When the journal is full, `write` raises SinkFull and the bus keeps the
frames.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog

from msgcenter.archive.journal import Journal, JournalFull
from msgcenter.archive.sink import Sink, SinkError, SinkFull
from msgcenter.clock import Clock
from protocols.envelope import Record
from protocols.errors import Malformed
from protocols.wire import open_sealed, seal

T = TypeVar("T")
BACKOFF_S = (1.0, 2.0, 5.0, 10.0, 30.0)


@dataclass(frozen=True, slots=True)
class Spill:
    """What waits in a journal; `oldest_ms` None when nothing does."""

    count: int
    bytes: int
    oldest_ms: int | None


class Spilled:
    """`Spilled(sink, journal, clock)` has the sink's own interface, and `drain()`, to be run as a
    task."""

    def __init__(
        self,
        sink: Sink,
        journal: Journal,
        clock: Clock,
        *,
        deadline_s: float = 5.0,
        drain_deadline_s: float = 30.0,
        batch: int = 200,
        log: Any = None,
    ) -> None:
        self.name = sink.name
        self._sink = sink
        self._journal = journal
        self._clock = clock
        self._deadline_s = deadline_s
        self._drain_deadline_s = drain_deadline_s
        self._batch = batch
        self._log = log if log is not None else structlog.get_logger(__name__)
        self._spilling = False
        self._wake = asyncio.Event()
        self._appending: set[asyncio.Task[None]] = set()

    @property
    def spill(self) -> Spill:
        """For the gauges."""
        journal = self._journal
        return Spill(journal.count, journal.bytes, journal.oldest_ms)

    async def open(self) -> None:
        """Open the journal, and the sink; a sink that cannot be opened is tried again by
        `drain`."""
        await self._on_disk(self._journal.open)
        try:
            await self._sink.open()
        except SinkError as error:
            self._spilling = True
            self._log.warning("sink cannot be opened, spilling", sink=self.name, error=error)
        if self._spilling or self._journal.count:
            self._spilling = True
            self._wake.set()

    async def write(self, records: Sequence[Record]) -> None:
        """Return when every record is durable, in the sink or in the journal. Raises SinkFull,
        SinkError (local disk)."""
        if not records:
            return
        if not self._spilling:
            try:
                async with asyncio.timeout(self._deadline_s):
                    await self._sink.write(records)
                return
            except (SinkError, TimeoutError) as error:
                if not self._spilling:
                    self._spilling = True
                    self._log.warning("sink behind, spilling", sink=self.name, error=error)
        # A task of its own: when the caller is cancelled the thread still writes, and `drain` must
        # not think meanwhile that nothing is coming.
        task = asyncio.create_task(self._append([seal(record) for record in records]))
        self._appending.add(task)
        task.add_done_callback(self._appended)
        await asyncio.shield(task)

    async def drain(self) -> None:
        """Bring what waits to the sink, for ever; cancel it to stop. Failures are tried again with
        growing pauses."""
        failures = 0
        while True:
            if not self._spilling:
                self._wake.clear()
                await self._wake.wait()
                continue
            try:
                await self._drain_once()
                failures = 0
            except SinkError as error:
                pause = BACKOFF_S[min(failures, len(BACKOFF_S) - 1)]
                failures += 1
                self._log.warning(
                    "sink still away", sink=self.name, error=error, waiting=self._journal.count
                )
                await self._clock.sleep(pause)

    async def close(self) -> None:
        """Close sink and journal; what waits is there at the next `open`."""
        await asyncio.gather(*self._appending, return_exceptions=True)
        await self._sink.close()
        await self._on_disk(self._journal.close)

    async def _append(self, sealed: list[bytes]) -> None:
        await self._on_disk(lambda: self._journal.append(sealed, self._clock.now_ms()))

    def _appended(self, task: asyncio.Task[None]) -> None:
        self._appending.discard(task)
        self._wake.set()
        if not task.cancelled():
            task.exception()  # the caller got it, unless it was cancelled: then nobody needs it

    async def _drain_once(self) -> None:
        entries = await self._on_disk(lambda: self._journal.peek(self._batch))
        if entries:
            records = [item for entry in entries if (item := self._record(entry)) is not None]
            try:
                async with asyncio.timeout(self._drain_deadline_s):
                    await self._sink.open()
                    await self._sink.write(records)
            except TimeoutError as error:
                raise SinkError(f"{self.name}: no answer in {self._drain_deadline_s} s") from error
            await self._on_disk(lambda: self._journal.take(len(entries)))
        elif self._appending:
            self._wake.clear()
            await self._wake.wait()
        elif self._journal.count == 0:
            # No await between the question and the answer: a writer sees either the journal or the
            # sink.
            self._spilling = False
            self._log.info("sink caught up", sink=self.name)

    def _record(self, entry: bytes) -> Record | None:
        try:
            item = open_sealed(entry)
        except Malformed as error:  # checked by CRC, so only a release that is too old can say this
            self._log.error("spilled record unreadable, left out", sink=self.name, error=error)
            return None
        return item if isinstance(item, Record) else None

    async def _on_disk(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.to_thread(work)
        except JournalFull as error:
            raise SinkFull(f"{self.name}: {error}") from error
        except OSError as error:
            raise SinkError(f"{self.name}: {error}") from error
