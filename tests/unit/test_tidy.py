"""Tidy: old sightings go a chunk at a time, and a Store that is away is no end."""

from __future__ import annotations

import asyncio

import structlog

from msgcenter.clock import ManualClock
from msgcenter.store import StoreError
from msgcenter.tidy import CHUNK, SEALS_MS, SIGHTINGS_MS, tidy


class Others:
    """There is nothing old among the rest."""

    async def forget_reviews(self, before_ms: int, limit: int = CHUNK) -> int:
        return 0

    async def forget_links(self, before_ms: int, limit: int = CHUNK) -> int:
        return 0


async def test_it_goes_on_until_little_is_left() -> None:
    clock, stop = ManualClock(1_790_000_000_000), asyncio.Event()
    asked: list[int] = []

    class Store(Others):
        async def forget_sightings(self, before_ms: int, limit: int = CHUNK) -> int:
            asked.append(before_ms)
            if len(asked) == 3:
                stop.set()
            return CHUNK if len(asked) < 3 else 7

        async def forget_unused_seals(self, before_ms: int, limit: int = CHUNK) -> int:
            raise AssertionError("nothing more once it is to stop")

    task = asyncio.create_task(tidy(Store(), clock, structlog.get_logger(), stop))
    while not task.done():
        await clock.advance(1.0)
        await asyncio.sleep(0)
    assert len(asked) == 3
    assert asked[0] == 1_790_000_000_000 - SIGHTINGS_MS


async def test_a_store_that_is_away_is_logged() -> None:
    stop = asyncio.Event()
    failed = asyncio.Event()

    class Store(Others):
        async def forget_sightings(self, before_ms: int, limit: int = CHUNK) -> int:
            failed.set()
            raise StoreError("away")

        async def forget_unused_seals(self, before_ms: int, limit: int = CHUNK) -> int:
            raise AssertionError("away as well")

    task = asyncio.create_task(tidy(Store(), ManualClock(1), structlog.get_logger(), stop))
    await failed.wait()
    assert not task.done()
    stop.set()
    await task


async def test_seals_that_nobody_uses_go_after_a_day() -> None:
    clock, stop = ManualClock(1_790_000_000_000), asyncio.Event()
    asked: list[int] = []

    class Store(Others):
        async def forget_sightings(self, before_ms: int, limit: int = CHUNK) -> int:
            return 0

        async def forget_unused_seals(self, before_ms: int, limit: int = CHUNK) -> int:
            asked.append(before_ms)
            if len(asked) == 2:
                stop.set()
            return CHUNK if len(asked) < 2 else 0

    task = asyncio.create_task(tidy(Store(), clock, structlog.get_logger(), stop))
    while not task.done():
        await clock.advance(1.0)
        await asyncio.sleep(0)
    assert asked[0] == 1_790_000_000_000 - SEALS_MS
    assert len(asked) == 2
