"""Callers: what became of a caller's messages of late, and the event that tells it when too many of them do not arrive.

A message is *held* while a rule keeps it back and *dropped* when a rule or the far end ended it without a send; what the caller
cancelled itself is neither. `Watch` looks once a minute at the window that runs and at the one before it. The ids of event
and message follow from caller and window, so however many processes watch, there is one event a window.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from msgcenter.archive.events_sink import SHARE_EXCEEDED, cloud_event, rfc3339
from msgcenter.bus import Bus, BusError
from msgcenter.bus.topology import SUBMIT, place
from msgcenter.clock import SHARDS, Clock, base32, shard_of
from msgcenter.config import Config
from msgcenter.settle import frames, publish_frames
from msgcenter.store import Event, Fate, StoreError
from protocols import wire
from protocols.address import Address
from protocols.envelope import Envelope, hashed
from protocols.payload import Notice

CATEGORY = "event"
TIER = 2
EVERY_S = 60.0
TOP = 5

_SENT = frozenset({"sent", "unknown", "undelivered", "delivered", "read"})
_DROPPED = frozenset({"suppressed", "expired", "rejected"})


@dataclass(frozen=True, slots=True)
class Tally:
    """Messages of one caller: `total` of them, and of these so many left, wait for a rule, or ended without leaving. `rules`:
    (held or dropped, reason code, count), most first."""

    total: int
    sent: int
    held: int
    dropped: int
    rules: tuple[tuple[str, str, int], ...]

    @property
    def share(self) -> float:
        """Part of the total that is held or dropped; 0 without messages."""
        return (self.held + self.dropped) / self.total if self.total else 0.0


def tally(fates: Sequence[Fate]) -> Tally:
    """Counts by status and code as a Tally; `rules` has the TOP most frequent."""
    counts = {"sent": 0, "held": 0, "dropped": 0}
    rules: list[tuple[str, str, int]] = []
    for fate in fates:
        word = (
            "sent"
            if fate.status in _SENT
            else "held"
            if fate.status == "held"
            else "dropped"
            if fate.status in _DROPPED
            else ""
        )
        if word:
            counts[word] += fate.count
        if word in ("held", "dropped"):
            rules.append((word, fate.code or fate.status, fate.count))
    rules.sort(key=lambda rule: (-rule[2], rule))
    return Tally(sum(fate.count for fate in fates), **counts, rules=tuple(rules[:TOP]))


class Shelf(Protocol):
    """The part of the Store that is needed here."""

    async def fates(self, caller: str, from_ms: int, to_ms: int) -> list[Fate]: ...


class Watch:
    """Any number of processes may watch."""

    def __init__(
        self,
        current: Callable[[], Config],
        *,
        bus: Bus,
        store: Shelf,
        clock: Clock,
        partitions: int,
        log: Any,
    ) -> None:
        self._current = current
        self._bus = bus
        self._store = store
        self._clock = clock
        self._partitions = partitions
        self._log = log
        self._told: dict[str, int] = {}
        """Caller -> the last window told of, so that it is not counted again."""

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await self.once()
            except (BusError, StoreError) as error:
                self._log.warning("shares_not_watched", error=error)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(EVERY_S):
                    await stop.wait()

    async def once(self) -> int:
        """Look at every caller that wants to be told; how many events went out. Raises BusError, StoreError."""
        events = 0
        for name, caller in self._current().callers.items():
            terms = caller.tell
            if terms is None or not caller.enabled:
                continue
            window_ms = round(terms.window * 1000)
            running = self._clock.now_ms() // window_ms
            for window in (running - 1, running):
                if self._told.get(name, -1) >= window:
                    continue
                begins = window * window_ms
                found = tally(await self._store.fates(name, begins, begins + window_ms))
                if found.total < terms.least or found.share <= terms.share:
                    continue
                envelope = told(name, begins, begins + window_ms, found, terms.share)
                queue = place(SUBMIT, envelope, self._partitions)
                await publish_frames(self._bus, frames(queue, [wire.seal(envelope)]))
                self._told[name] = window
                events += 1
        return events


def told(caller: str, from_ms: int, to_ms: int, found: Tally, limit: float) -> Envelope:
    """The event on its way to the event log and the caller's callback."""
    key = f"caller:{caller}"
    at = from_ms // 1000 * 1000
    digest = hashed(caller, from_ms, to_ms, "share")
    event = Event(
        id=f"evt_{digest}",
        caller=caller,
        type=SHARE_EXCEEDED,
        at=at,
        subject=caller,
        message="",
        data={
            "from": rfc3339(from_ms),
            "to": rfc3339(to_ms),
            "limit": limit,
            "share": round(found.share, 4),
            "total": found.total,
            "sent": found.sent,
            "held": found.held,
            "dropped": found.dropped,
            "rules": [
                {"what": what, "code": code, "count": count} for what, code, count in found.rules
            ],
        },
    )
    body = json.dumps(cloud_event(event), ensure_ascii=False, separators=(",", ":"))
    shard = base32(shard_of(key) % SHARDS, 2)
    return Envelope(
        id=f"msg_{base32(at, 10)}{shard}{digest[:14]}",
        caller=caller,
        to=Address("caller", caller),
        category=CATEGORY,
        tier=TIER,
        payload=Notice(event.id, event.type, body),
        created_at=at,
        person=key,
        order_key=f"{caller}|share",
    )
