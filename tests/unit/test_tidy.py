"""Tidy: what is old goes a chunk at a time, messages by their category's retention, and a Store that is away is no end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import structlog
from prometheus_client import CollectorRegistry

from msgcenter.clock import ManualClock
from msgcenter.config import Config
from msgcenter.metrics import Metrics
from msgcenter.store import StoreError
from msgcenter.tidy import CHUNK, EVERY_S, SEALS_MS, SIGHTINGS_MS, Kept, Tidy, retentions

T0 = 1_790_000_000_000
D = 86_400.0


def config(events: float = 30 * D, **retention: float) -> Config:
    kept = retention or {"code": 30 * D, "care": 365 * D}
    categories = {name: SimpleNamespace(retention=seconds) for name, seconds in kept.items()}
    return cast(
        Config,
        SimpleNamespace(
            policy=SimpleNamespace(categories=categories),
            process=SimpleNamespace(archive=SimpleNamespace(events=SimpleNamespace(keep=events))),
        ),
    )


class Store:
    """`old[kind]` rows are left of each; `asked` says what for, in order."""

    def __init__(self, **old: int) -> None:
        self.old = old
        self.asked: list[tuple[Any, ...]] = []
        self.away = False

    def _forget(self, kind: str, *args: Any) -> int:
        if self.away:
            raise StoreError("away")
        self.asked.append((kind, *args))
        gone = min(self.old.get(kind, 0), CHUNK)
        self.old[kind] = self.old.get(kind, 0) - gone
        return gone

    async def forget_sightings(self, before_ms: int, limit: int = CHUNK) -> int:
        return self._forget("sightings", before_ms)

    async def forget_unused_seals(self, before_ms: int, limit: int = CHUNK) -> int:
        return self._forget("seals", before_ms)

    async def forget_reviews(self, before_ms: int, limit: int = CHUNK) -> int:
        return self._forget("reviews", before_ms)

    async def forget_links(self, before_ms: int, limit: int = CHUNK) -> int:
        return self._forget("links", before_ms)

    async def forget_events(self, before_ms: int, limit: int = CHUNK) -> int:
        return self._forget("events", before_ms)

    async def forget_messages(
        self,
        categories: Sequence[str],
        since_ms: int,
        before_ms: int,
        limit: int = CHUNK,
        *,
        others: bool = False,
    ) -> int:
        return self._forget("messages", tuple(categories), others, since_ms, before_ms)


def made(store: Store, current: Config, clock: ManualClock) -> tuple[Tidy, Metrics]:
    metrics = Metrics(CollectorRegistry(), version="1")
    log = structlog.get_logger()
    return Tidy(store, lambda: current, clock=clock, metrics=metrics, log=log), metrics


async def ended(task: asyncio.Task[None], clock: ManualClock) -> None:
    for _ in range(1000):
        if task.done():
            return
        await clock.advance(1.0)
        await asyncio.sleep(0)
    raise AssertionError("never ends")


async def test_it_goes_on_until_little_is_left_and_counts() -> None:
    clock, store = ManualClock(T0), Store(sightings=2 * CHUNK + 7, events=CHUNK, seals=3)
    tidy, metrics = made(store, config(events=10 * D), clock)
    await ended(asyncio.create_task(tidy.once(asyncio.Event())), clock)
    assert [one[0] for one in store.asked] == [
        "sightings", "sightings", "sightings", "seals", "reviews", "links", "events", "events",
        "messages", "messages",
    ]  # fmt: skip
    assert store.asked[0][1] == T0 - SIGHTINGS_MS
    assert T0 <= store.asked[3][1] + SEALS_MS <= T0 + 60_000
    assert T0 <= store.asked[6][1] + round(10 * D * 1000) <= T0 + 60_000
    text = metrics.render().decode()
    assert f'msgcenter_tidied_total{{kind="sightings"}} {2 * CHUNK + 7}.0' in text
    assert f'msgcenter_tidied_total{{kind="events"}} {CHUNK}.0' in text


async def test_messages_go_by_their_category_and_a_second_look_begins_where_the_first_ended() -> (
    None
):
    clock, store = ManualClock(T0), Store()
    tidy, _ = made(store, config(code=30 * D, reply=90 * D, care=90 * D), clock)
    for _ in range(2):
        await tidy.once(asyncio.Event())
        await clock.advance(EVERY_S)
    before = [T0 - round(days * D * 1000) for days in (30, 90)]
    later = [at + round(EVERY_S * 1000) for at in before]
    assert [one[1:] for one in store.asked if one[0] == "messages"] == [
        (("code",), False, 0, before[0]),
        (("code",), True, 0, before[1]),
        (("code",), False, before[0], later[0]),
        (("code",), True, before[1], later[1]),
    ]


def test_a_category_whose_retention_changed_is_looked_at_from_its_beginning() -> None:
    assert list(retentions(config(code=30 * D, care=365 * D))) == [
        Kept(30 * D, ("code",)),
        Kept(365 * D, ("code",), others=True),
    ]
    assert list(retentions(config(code=30 * D))) == [Kept(30 * D, (), others=True)]
    changed = list(retentions(config(code=30 * D, reply=30 * D, care=365 * D)))
    assert replace(changed[0], categories=("code",)) != changed[0]  # another key: from 0 again


async def test_a_store_that_is_away_is_tried_again() -> None:
    clock, store, stop = ManualClock(T0), Store(), asyncio.Event()
    store.away = True
    tidy, _ = made(store, config(), clock)
    task = asyncio.create_task(tidy.run(stop))
    await asyncio.sleep(0.05)
    assert not task.done()
    stop.set()
    await task


async def test_nothing_more_once_it_is_to_stop() -> None:
    clock, store, stop = ManualClock(T0), Store(sightings=CHUNK), asyncio.Event()
    tidy, _ = made(store, config(), clock)
    stop.set()
    await tidy.once(stop)
    assert store.asked == []
