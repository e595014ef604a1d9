"""Feed: hands each subscription its events from the event log, in order, from where it stands; one process at a time does it.

A subscription's cursor moves when its events are durable on the bus; after a crash in between they are handed over again under the
same ids, which the channel knows. Events of one conversation, group or message share an order_key, so they arrive in order, and
one receiver that is down parks its own keys and delays nobody else.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from msgcenter.archive.events_sink import cloud_event, event_type
from msgcenter.bus import Bus, BusError, Queue
from msgcenter.bus.topology import out_topic, place
from msgcenter.clock import Clock
from msgcenter.settle import frames, publish_frames
from msgcenter.store import Event, EventPage, StoreError, SubscriptionRow
from msgcenter.store.cursors import decode_positions, encode_positions
from msgcenter.subscriptions import address_of, wants
from protocols import wire
from protocols.envelope import Envelope, hashed
from protocols.payload import Notice

CATEGORY = "event"
TIER = 2
PAGE = 500
FIRST_S, LAST_S, GROWTH = 0.05, 0.5, 1.5
AWAY_S = 2.0


class Shelf(Protocol):
    """The part of the Store that is needed here."""

    async def list_subscriptions(
        self, caller: str = "", state: str = ""
    ) -> tuple[SubscriptionRow, ...]: ...

    async def event_heads(self) -> dict[int, int]: ...

    async def read_events(
        self, caller: str | None, cursor: Mapping[int, int], limit: int = 100
    ) -> EventPage: ...

    async def move_subscription(
        self, subscription_id: str, generation: int, cursor: str, at: int
    ) -> bool: ...


class Feed:
    """`await run(stop)`, in one process at a time; a second one for a moment does no harm but twice the work."""

    def __init__(
        self,
        bus: Bus,
        store: Shelf,
        channel: Callable[[], tuple[str, str] | None],
        may_have: Callable[[SubscriptionRow], bool],
        *,
        clock: Clock,
        partitions: int,
        log: Any,
        missed: Callable[[float], object] = lambda _: None,
    ) -> None:
        """`channel()`: (name, kind) of the channel that delivers to subscribers, None = there is none. `may_have(row)`: its
        caller is still there and may still see what it asked for. `missed(count)`: so many events were deleted before a
        subscription was handed them."""
        self._bus = bus
        self._store = store
        self._channel = channel
        self._may_have = may_have
        self._clock = clock
        self._partitions = partitions
        self._log = log
        self._missed = missed

    async def run(self, stop: asyncio.Event) -> None:
        pause = FIRST_S
        while not stop.is_set():
            try:
                pause = FIRST_S if await self.once() else min(pause * GROWTH, LAST_S)
            except (BusError, StoreError) as error:
                self._log.warning("subscriptions_wait", error=error)
                pause = AWAY_S
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await stop.wait()

    async def once(self) -> int:
        """Give each a page of what is new for it; how many events. Raises BusError, StoreError; what was not moved comes again."""
        channel = self._channel()
        if channel is None:
            return 0
        rows = await self._store.list_subscriptions(state="active")
        if not rows:
            return 0
        heads = await self._store.event_heads()
        handed = 0
        for row in rows:
            positions = decode_positions(row.cursor)
            behind = any(positions.get(part, 0) < head for part, head in heads.items())
            if behind and self._may_have(row):
                handed += await self._hand_over(row, positions, *channel)
        return handed

    async def _hand_over(
        self, row: SubscriptionRow, positions: Mapping[int, int], channel: str, kind: str
    ) -> int:
        page = await self._store.read_events(None if row.everyone else row.caller, positions, PAGE)
        if page.missed:
            self._missed(page.missed)
            self._log.error("events_missed", subscription=row.id, count=page.missed)
        events = [logged.event for logged in page.items if wants(row, logged.event.type)]
        groups: dict[Queue, list[bytes]] = {}
        for event in events:
            envelope = self._envelope(row, event, channel, kind)
            queue = place(out_topic(channel), envelope, self._partitions)
            groups.setdefault(queue, []).append(wire.seal(envelope))
        await publish_frames(
            self._bus, [one for queue, sealed in groups.items() for one in frames(queue, sealed)]
        )
        cursor = encode_positions(page.cursor)
        await self._store.move_subscription(row.id, row.generation, cursor, self._clock.now_ms())
        return len(page.items)

    def _envelope(self, row: SubscriptionRow, event: Event, channel: str, kind: str) -> Envelope:
        body = json.dumps(cloud_event(event), ensure_ascii=False, separators=(",", ":"))
        to = address_of(row)
        return Envelope(
            id=f"evt_{hashed(row.id, row.generation, event.id)}",
            caller=row.caller,
            to=to,
            category=CATEGORY,
            tier=TIER,
            payload=Notice(event.id, event.type, body),
            # As old as its way to this subscriber: an event of last month, replayed, has all its tries before it.
            created_at=self._clock.now_ms(),
            person=f"caller:{row.caller}/{row.id}",
            channel=channel,
            channels=(kind,),
            order_key=f"{to.value}|{order_of(event)}",
        )


def order_of(event: Event) -> str:
    """What an event must stay in order with: its conversation (inbound), its message, else its group or caller."""
    if event.type == event_type("received"):
        return str(event.data.get("conversation") or event.message)
    if event.type.startswith("msgcenter.group."):
        return event.subject
    return event.message or event.subject


__all__ = ["Feed", "order_of"]
