"""Gauges: every few seconds look at what waits (queues, held, parked, dead, spilled) and say so in /metrics."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgcenter.archive.spill import Spill
from msgcenter.bus import Bus, BusError, Queue
from msgcenter.clock import Clock
from msgcenter.metrics import Metrics
from msgcenter.store import StoreError
from msgcenter.store.store import Store

EVERY_S = 5.0


class Gauges:
    """A loop of one process; run it where the numbers are read (roles api and schedule)."""

    def __init__(
        self,
        bus: Bus,
        store: Store,
        queues: Callable[[], Sequence[Queue]],
        spilled: Callable[[], Mapping[str, Spill]],
        *,
        clock: Clock,
        metrics: Metrics,
        log: Any,
    ) -> None:
        self._bus = bus
        self._store = store
        self._queues = queues
        self._spilled = spilled
        self._clock = clock
        self._metrics = metrics
        self._log = log

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await self.once()
            except (BusError, StoreError) as error:
                self._log.info("gauges_wait", error=str(error))
            try:
                async with asyncio.timeout(EVERY_S):
                    await stop.wait()
            except TimeoutError:
                continue

    async def once(self) -> None:
        metrics, now = self._metrics, self._clock.now_ms()
        queues = list(self._queues())
        depths = await self._bus.depths(queues)
        depth: dict[tuple[str, str], int] = defaultdict(int)
        oldest: dict[tuple[str, str], float] = defaultdict(float)
        for queue in queues:
            found = depths.get(queue.name)
            if found is not None:
                topic = f"{queue.topic}@{queue.sink}" if queue.sink else queue.topic
                place: tuple[str, str] = (topic, queue.lane)
                depth[place] += found.ready + found.leased
                oldest[place] = max(oldest[place], found.oldest or 0.0)
        for (topic, lane), count in depth.items():
            metrics.queue_depth.labels(topic, lane).set(count)
            metrics.queue_oldest_seconds.labels(topic, lane).set(oldest[topic, lane])
        held = await self._store.count_due()
        metrics.held.set(held.count)
        overdue = max(0, now - held.oldest_ms) if held.oldest_ms is not None else 0
        metrics.held_oldest_seconds.set(overdue / 1000)
        metrics.parked.set((await self._store.count_parked()).count)
        metrics.dead_letters.set((await self._store.count_dead()).count)
        for group_place, number in (await self._store.count_groups()).items():
            metrics.groups.labels(*group_place).set(number)
        for name, spill in self._spilled().items():
            metrics.spill_journal_bytes.labels(name).set(spill.bytes)
            lag = 0.0 if spill.oldest_ms is None else (now - spill.oldest_ms) / 1000
            metrics.archive_lag_seconds.labels(name).set(max(0.0, lag))
