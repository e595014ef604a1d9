"""Tidy: deletes, now and then and a little at a time, what the Store no longer needs, and sweeps up what a crash left half done."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Protocol

from msgcenter.bus import BusError
from msgcenter.clock import Clock
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
    async def forget_sightings(self, before_ms: int, limit: int = CHUNK) -> int: ...

    async def forget_unused_seals(self, before_ms: int, limit: int = CHUNK) -> int: ...

    async def forget_reviews(self, before_ms: int, limit: int = CHUNK) -> int: ...

    async def forget_links(self, before_ms: int, limit: int = CHUNK) -> int: ...


class Sweeps(Protocol):
    async def once(self) -> None:
        """Raises BusError, StateError, StoreError."""
        ...


async def tidy(
    store: Shelves, clock: Clock, log: Any, stop: asyncio.Event, groups: Sweeps | None = None
) -> None:
    """Until `stop`. Several processes may do it; what is away is tried again at the next time."""
    while not stop.is_set():
        try:
            if groups is not None:
                await groups.once()
            for forget, kept_ms in (
                (store.forget_sightings, SIGHTINGS_MS),
                (store.forget_unused_seals, SEALS_MS),
                (store.forget_reviews, REVIEWS_MS),
                (store.forget_links, LINKS_MS),
            ):
                while not stop.is_set() and (
                    await forget(clock.now_ms() - kept_ms, CHUNK) == CHUNK
                ):
                    await clock.sleep(PAUSE_S)
        except (BusError, StateError, StoreError) as error:
            log.warning("not_tidied", error=error)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(EVERY_S):
                await stop.wait()
