"""Outlet: how what an adapter says becomes durable: straight on the bus, or (for web hooks) by way of a local spool."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, TypeAlias

from msgcenter.bus import Bus, Frame, Queue
from msgcenter.settle import frames, publish_frames


class Parcel(NamedTuple):
    """One sealed envelope on its way into a queue. `delay`: a tier of `bus.DELAYS` or 0, seconds."""

    queue: Queue
    sealed: bytes
    delay: int = 0


Outlet: TypeAlias = Callable[[Sequence[Parcel]], Awaitable[None]]
"""Returns when every parcel is durable; raises when one is not known to be."""


def full_frames(parcels: Sequence[Parcel]) -> list[Frame]:
    """Frames as full as can be, each queue's parcels in the order given."""
    groups: dict[tuple[Queue, int], list[bytes]] = {}
    for queue, sealed, delay in parcels:
        groups.setdefault((queue, delay), []).append(sealed)
    return [
        frame for (queue, delay), sealed in groups.items() for frame in frames(queue, sealed, delay)
    ]


def to_bus(bus: Bus) -> Outlet:
    """The outlet of a running channel: what the bus does not confirm, the far end is not told. Raises BusError."""

    async def publish(parcels: Sequence[Parcel]) -> None:
        await publish_frames(bus, full_frames(parcels))

    return publish
