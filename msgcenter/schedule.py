"""Schedule: publish due rows when their time has come; a thousand at a time, deleted only after the bus has them."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from msgcenter.bus import Bus, BusError
from msgcenter.bus.topology import INBOUND, SUBMIT, place
from msgcenter.clock import Clock
from msgcenter.settle import frames, publish_frames
from msgcenter.store import DueRow, StoreError
from msgcenter.worker import invalid_frames
from protocols import wire
from protocols.envelope import Envelope
from protocols.errors import Malformed

POLL_S = 0.5
TAKE = 1000


class DueSource(Protocol):
    def take_due(self, now_ms: int, limit: int = TAKE) -> Any:
        """Async context manager of rows; deleted when the block ends well."""
        ...


class Schedule:
    """The role's loop; any number of processes may run it (rows are taken with SKIP LOCKED)."""

    def __init__(
        self, bus: Bus, store: DueSource, *, clock: Clock, partitions: int, log: Any
    ) -> None:
        self._bus = bus
        self._store = store
        self._clock = clock
        self._partitions = partitions
        self._log = log

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                taken = await self.once()
            except (BusError, StoreError) as error:
                self._log.warning("schedule_waits", error=error)
                taken = 0
            if taken < TAKE:
                try:
                    async with asyncio.timeout(POLL_S):
                        await stop.wait()
                except TimeoutError:
                    continue

    async def once(self) -> int:
        """Take, publish, delete one batch; how many."""
        async with self._store.take_due(self._clock.now_ms(), TAKE) as rows:
            await self._publish(rows)
            return len(rows)

    async def _publish(self, rows: tuple[DueRow, ...]) -> None:
        groups: dict[Any, list[bytes]] = {}
        bad: list[tuple[str, bytes]] = []
        for row in rows:
            try:
                envelope = wire.open_sealed(row.body)
                if not isinstance(envelope, Envelope):
                    raise Malformed("a record among the due rows")
            except Malformed as error:
                self._log.error("unreadable_due_row", row=row.id, msg_id=row.message)
                bad.append((str(error), row.body))
                continue
            queue = place(INBOUND if envelope.inbound else SUBMIT, envelope, self._partitions)
            groups.setdefault(queue, []).append(row.body)
        await publish_frames(
            self._bus,
            [
                *(f for queue, sealed in groups.items() for f in frames(queue, sealed)),
                *invalid_frames("due", bad, self._clock.now_ms()),
            ],
        )
