"""Gauges: every few seconds look at what waits (queues, held, dead, …) and what answers (bus, state, store); say so in /metrics."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from msgcenter.archive.spill import Spill
from msgcenter.bus import Bus, BusError, Queue
from msgcenter.clock import Clock
from msgcenter.metrics import Metrics
from msgcenter.policy.days import Days
from msgcenter.state import State, StateError
from msgcenter.store import StoreError
from msgcenter.store.store import Store

EVERY_S = 5.0
ANSWER_S = 2.0
"""How long a part may take to answer and still count as up."""


class Gauges:
    """A loop of one process. `channels`: channel name -> (kind, whether its far end reports deliveries), of those enabled."""

    def __init__(
        self,
        bus: Bus,
        state: State,
        store: Store,
        channels: Callable[[], Mapping[str, tuple[str, bool]]],
        queues: Callable[[], Sequence[Queue]],
        spilled: Callable[[], Mapping[str, Spill]],
        days: Callable[[], Days],
        *,
        clock: Clock,
        metrics: Metrics,
        log: Any,
    ) -> None:
        self._bus = bus
        self._state = state
        self._store = store
        self._channels = channels
        self._shown_channels: set[tuple[str, str, str]] = set()
        self._shown_queues: set[tuple[str, str]] = set()
        self._queues = queues
        self._spilled = spilled
        self._days = days
        self._clock = clock
        self._metrics = metrics
        self._log = log

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await self.parts()
            self.channels()
            self.calendar()
            try:
                await self.once()
            except (BusError, StoreError) as error:
                self._log.info("gauges_wait", error=error)
            try:
                async with asyncio.timeout(EVERY_S):
                    await stop.wait()
            except TimeoutError:
                continue

    async def parts(self) -> None:
        """Ask each part whether it answers; never raises."""
        up = self._metrics.part_up
        up.labels("bus").set(not self._bus.healthy())
        up.labels("state").set(await _answers(self._state.ping))
        up.labels("store").set(await _answers(self._store.ping))

    def channels(self) -> None:
        """Say which channels there are; those that are gone take their series with them."""
        now = {
            (name, kind, "true" if receipts else "false")
            for name, (kind, receipts) in self._channels().items()
        }
        for labels in self._shown_channels - now:
            self._metrics.channel_info.remove(*labels)
        for labels in now:
            self._metrics.channel_info.labels(*labels).set(1)
        self._shown_channels = now

    def calendar(self) -> None:
        """Say whether the holidays ahead are known."""
        today = datetime.fromtimestamp(self._clock.now_ms() / 1000, UTC).date()
        unknown = self._days().unknown_years(today)
        self._metrics.holidays_unknown_years.set(len(unknown))

    async def once(self) -> None:
        """Look at what waits. Raises BusError, StoreError."""
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
        for topic, lane in self._shown_queues - set(depth):
            metrics.queue_depth.remove(topic, lane)
            metrics.queue_oldest_seconds.remove(topic, lane)
        self._shown_queues = set(depth)
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


async def _answers(ping: Callable[[], Awaitable[None]]) -> bool:
    try:
        async with asyncio.timeout(ANSWER_S):
            await ping()
    except (StateError, StoreError, TimeoutError):
        return False
    return True
