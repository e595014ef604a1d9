"""Tidy: deletes, now and then and a little at a time, what the Store no longer needs, and sweeps up what a crash left half done."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from msgcenter.bus import BusError
from msgcenter.clock import Clock
from msgcenter.config import Config
from msgcenter.metrics import Metrics
from msgcenter.state import StateError
from msgcenter.store import StoreError

SIGHTINGS_MS = 35 * 86_400_000
"""Longer than a mass message may wait for its member, and than a month's reconciliation is asked for."""
SEALS_MS = 86_400_000
"""Longer than it takes to seal the largest group and to write down whose seal it is."""
REVIEWS_MS = 180 * 86_400_000
"""How long a decision can be looked up; the audit log keeps it for good."""
LINKS_MS = 180 * 86_400_000
"""How long the clicks of a link that ended can be read."""
EVERY_S = 600.0
CHUNK = 5_000
PAUSE_S = 0.2


class Shelves(Protocol):
    """Each deletes at most `limit`, and says how many."""

    async def forget_sightings(self, before_ms: int, limit: int = CHUNK) -> int: ...

    async def forget_unused_seals(self, before_ms: int, limit: int = CHUNK) -> int: ...

    async def forget_reviews(self, before_ms: int, limit: int = CHUNK) -> int: ...

    async def forget_links(self, before_ms: int, limit: int = CHUNK) -> int: ...

    async def forget_events(self, before_ms: int, limit: int = CHUNK) -> int: ...

    async def forget_messages(
        self,
        categories: Sequence[str],
        since_ms: int,
        before_ms: int,
        limit: int = CHUNK,
        *,
        others: bool = False,
    ) -> int: ...


@dataclass(frozen=True, slots=True)
class Kept:
    """How long messages of these categories (`others`: of all but these) are kept."""

    seconds: float
    categories: tuple[str, ...]
    others: bool = False


class Sweeps(Protocol):
    async def once(self) -> None:
        """Raises BusError, StateError, StoreError."""
        ...


class Tidy:
    """`await run(stop)`; several processes may do it; what is away is tried again at the next time."""

    def __init__(
        self,
        store: Shelves,
        current: Callable[[], Config],
        *,
        clock: Clock,
        metrics: Metrics,
        log: Any,
        groups: Sweeps | None = None,
    ) -> None:
        self._store = store
        self._current = current
        self._clock = clock
        self._metrics = metrics
        self._log = log
        self._groups = groups
        self._done_to: dict[Kept, int] = {}
        """Up to when its messages are gone: a look begins there, so that it never reads what others keep longer."""

    async def run(self, stop: asyncio.Event) -> None:
        """Every EVERY_S until `stop`."""
        while not stop.is_set():
            try:
                await self.once(stop)
            except (BusError, StateError, StoreError) as error:
                self._log.warning("not_tidied", error=error)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(EVERY_S):
                    await stop.wait()

    async def once(self, stop: asyncio.Event) -> None:
        """All that is old now. Raises BusError, StateError, StoreError."""
        if self._groups is not None:
            await self._groups.once()
        store, config = self._store, self._current()
        for kind, forget, kept_ms in (
            ("sightings", store.forget_sightings, SIGHTINGS_MS),
            ("seals", store.forget_unused_seals, SEALS_MS),
            ("reviews", store.forget_reviews, REVIEWS_MS),
            ("links", store.forget_links, LINKS_MS),
            ("events", store.forget_events, round(config.process.archive.events.keep * 1000)),
        ):
            await self._all(kind, partial(forget, self._clock.now_ms() - kept_ms, CHUNK), stop)
        for kept in retentions(config):
            since = self._done_to.get(kept, 0)
            before = self._clock.now_ms() - round(kept.seconds * 1000)
            forget = partial(
                store.forget_messages, kept.categories, since, before, CHUNK, others=kept.others
            )
            if await self._all("messages", forget, stop):
                self._done_to[kept] = max(since, before)

    async def _all(
        self, kind: str, forget: Callable[[], Awaitable[int]], stop: asyncio.Event
    ) -> bool:
        """Until little is left (True), or it is to stop."""
        while not stop.is_set():
            gone = await forget()
            self._metrics.tidied_total.labels(kind).inc(gone)
            if gone < CHUNK:
                return True
            await self._clock.sleep(PAUSE_S)
        return False


def retentions(config: Config) -> Iterator[Kept]:
    """One for each length of time. What came in, and what was sent under a category that is no more, is kept as long as the
    longest."""
    lengths: dict[float, list[str]] = {}
    for name, category in sorted(config.policy.categories.items()):
        lengths.setdefault(category.retention, []).append(name)
    longest = max(lengths)
    shorter = [name for kept, names in lengths.items() if kept < longest for name in names]
    for seconds in sorted(lengths):
        if seconds < longest:
            yield Kept(seconds, tuple(lengths[seconds]))
    yield Kept(longest, tuple(sorted(shorter)), others=True)
