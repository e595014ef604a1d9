"""The callbacks as a sink: what a record's caller wants to know goes on to the channel that delivers events, if the caller has a callback.

Events of one conversation (else of one message) share an order_key, so they reach the subscriber in order; one subscriber
that is down has its keys parked and delays nobody else.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from msgcenter.archive.events_sink import cloud_event, event_of, order_of
from msgcenter.bus import Bus, Queue
from msgcenter.bus.topology import out_topic, place
from msgcenter.settle import frames, publish_frames
from protocols import wire
from protocols.address import Address
from protocols.envelope import Envelope, Record
from protocols.payload import Notice

CATEGORY = "event"
TIER = 2


class CallbacksSink:
    """Publishes to the bus; raises BusError, so the records come again. The channel dedupes by the event's id."""

    name = "callbacks"

    def __init__(
        self,
        bus: Bus,
        channel_of: Callable[[str], tuple[str, str] | None],
        partitions: Callable[[], int],
    ) -> None:
        """`channel_of(caller)`: (channel, its kind) that delivers this caller's events, None = the caller has no callback."""
        self._bus = bus
        self._channel_of = channel_of
        self._partitions = partitions

    async def write(self, records: Sequence[Record]) -> None:
        groups: dict[Queue, list[bytes]] = {}
        for record in records:
            envelope = self._envelope(record)
            if envelope is not None:
                queue = place(out_topic(envelope.channel), envelope, self._partitions())
                groups.setdefault(queue, []).append(wire.seal(envelope))
        out = [frame for queue, sealed in groups.items() for frame in frames(queue, sealed)]
        await publish_frames(self._bus, out)

    def _envelope(self, record: Record) -> Envelope | None:
        event = event_of(record)
        if event is None or not event.caller:
            return None
        found = self._channel_of(event.caller)
        if found is None:
            return None
        channel, kind = found
        body = json.dumps(cloud_event(event), ensure_ascii=False, separators=(",", ":"))
        return Envelope(
            id=event.id,
            caller=event.caller,
            to=Address("caller", event.caller),
            category=CATEGORY,
            tier=TIER,
            payload=Notice(event.id, event.type, body),
            created_at=event.at,
            person=f"caller:{event.caller}",
            channel=channel,
            channels=(kind,),
            order_key=f"{event.caller}|{order_of(event, record.envelope)}",
        )
