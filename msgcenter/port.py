"""Port: what the core lends one channel; above all `emit`, which makes what the far end says durable on the inbound topic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import aiohttp

from msgcenter.adapter import Received, Report, Subscriber
from msgcenter.bus import Bus
from msgcenter.bus.topology import INBOUND, place
from msgcenter.clock import Clock, Random
from msgcenter.metrics import Metrics
from msgcenter.settle import frames, publish_frames
from protocols import wire
from protocols.address import Address
from protocols.envelope import Envelope, hashed

UNASSIGNED = Address("caller", "unassigned")


class ChannelPort:
    """The Port of one channel. Ids of what comes in follow from the far end's ids, so that a repeat is recognised."""

    def __init__(
        self,
        channel: str,
        *,
        bus: Bus,
        clock: Clock,
        random: Random,
        metrics: Metrics,
        log: Any,
        partitions: int,
        http: Callable[[], aiohttp.ClientSession],
        subscriber: Callable[[str], Subscriber | None],
    ) -> None:
        self.channel = channel
        self.figures: dict[str, float] = {}
        """The latest of what `gauge` was told."""
        self.clock = clock
        self.random = random
        self.log = log.bind(channel=channel)
        self._bus = bus
        self._metrics = metrics
        self._partitions = partitions
        self.http = http
        self.subscriber = subscriber

    def gauge(self, name: str, value: float) -> None:
        gauges = {"window_in_use": self._metrics.window_in_use, "links_up": self._metrics.link_up}
        if name not in gauges:
            raise ValueError(f"gauge {name!r}: one of {', '.join(sorted(gauges))}")
        gauges[name].labels(self.channel).set(value)
        self.figures[name] = value

    async def emit(self, items: Sequence[Received | Report]) -> None:
        groups: dict[Any, list[bytes]] = {}
        for item in items:
            envelope = self._received(item) if isinstance(item, Received) else self._report(item)
            queue = place(INBOUND, envelope, self._partitions)
            groups.setdefault(queue, []).append(wire.seal(envelope))
        await publish_frames(
            self._bus, [f for queue, sealed in groups.items() for f in frames(queue, sealed)]
        )

    def _received(self, item: Received) -> Envelope:
        return Envelope(
            id=f"msg_{hashed('in', self.channel, item.remote_id)}",
            caller="",
            to=UNASSIGNED,
            category="inbound",
            tier=1,
            payload=item.payload,
            created_at=item.at or self.clock.now_ms(),
            person=str(item.sender),
            sender=item.sender,
            inbound=True,
            account=item.account_number,
            channel=self.channel,
            order_key=item.order_key or f"{self.channel}|{item.account_number}|{item.sender}",
            remote_id=item.remote_id,
        )

    def _report(self, item: Report) -> Envelope:
        report = item.report
        return Envelope(
            id=f"rcp_{hashed('rcp', self.channel, report.remote_id, report.state, report.code, item.unique)}",
            caller="",
            to=item.recipient or UNASSIGNED,
            category="receipt",
            tier=2,
            payload=report,
            created_at=self.clock.now_ms(),
            inbound=True,
            channel=self.channel,
            remote_id=report.remote_id,
        )
