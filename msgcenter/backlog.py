"""Backlog: what waits for a channel that was removed goes back to submit, parked conversations first, so that nothing is stranded."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from msgcenter.bus import Bus, Queue
from msgcenter.bus.topology import SUBMIT, place
from msgcenter.ordered import ParkStore
from msgcenter.settle import frames, publish_frames
from msgcenter.worker import Leased
from protocols import wire
from protocols.envelope import Envelope
from protocols.payload import Pull

ROWS = 100


class Backlog:
    """Makes a worker's handler for each queue of the channel; the workers run until the process ends, since other
    processes may still route to the channel for a moment."""

    def __init__(
        self, channel: str, bus: Bus, park: ParkStore, *, partitions: int, log: Any
    ) -> None:
        self._bus = bus
        self._park = park
        self._partitions = partitions
        self._log = log.bind(channel=channel)

    def handler(self, queue: Queue) -> Returning:
        return Returning(self, queue)

    async def back(self, envelopes: Sequence[Envelope]) -> None:
        """Publish to submit as a further pass: the earlier one's stored decision named the channel that is gone. Doorbells
        end here: no other channel can answer them, and this one asks anew when it comes back."""
        envelopes = [one for one in envelopes if not isinstance(one.payload, Pull)]
        groups: dict[Queue, list[bytes]] = {}
        for envelope in envelopes:
            again = replace(envelope.again(counts=False), channel="")
            groups.setdefault(place(SUBMIT, again, self._partitions), []).append(wire.seal(again))
        await publish_frames(
            self._bus, [f for q, sealed in groups.items() for f in frames(q, sealed)]
        )
        self._log.info("returned_to_submit", messages=len(envelopes))

    async def back_from_park(self, queue: str) -> None:
        """Parked conversations of a queue, whole and in order."""
        for key in await self._park.parked_wakes(queue):
            while rows := (await self._park.parked_rows(queue, [key], ROWS))[key]:
                opened = [wire.open_sealed(row.body) for row in rows]
                await self.back([one for one in opened if isinstance(one, Envelope)])
                await self._park.settle_parked(
                    queue, done=[row.id for row in rows], changed={}, wake={key: 0}
                )


class Returning:
    """The handler of one queue."""

    def __init__(self, backlog: Backlog, queue: Queue) -> None:
        self._backlog = backlog
        self._queue = queue

    async def begin(self) -> None:
        if self._queue.lane == "conv":
            await self._backlog.back_from_park(self._queue.name)

    async def between(self) -> None:
        return

    def wait_s(self, longest: float) -> float:
        return longest

    async def __call__(self, leased: Sequence[Leased], stop: asyncio.Event) -> None:
        items = [item for one in leased for item in one.items]
        await self._backlog.back([item.envelope for item in items])
        for item in items:
            item.done = True
