"""Bus: durable topics between the stages; publish returns when every frame is durable, consume leases frames until they are settled.

Two implementations under one contract suite (tests/contract/test_bus.py): `sqlite` (embedded) and `rabbit` (production).
A bus moves bytes: what a frame's body holds is the business of `protocols.wire`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from msgcenter.unavailable import Unavailable

Lane: TypeAlias = Literal["conv", "urgent", "normal", "bulk"]
LANES: tuple[Lane, ...] = ("urgent", "conv", "normal", "bulk")
"""Highest first."""

#: Short retries wait in one of these tiers (seconds); a wish is rounded up, so that delayed frames stay full.
DELAYS = (1, 5, 30, 120, 600)


class BusError(Unavailable):
    """The bus could not do it now. For `publish`: at least one frame is *not known to be* durable; it may be."""


class Unroutable(BusError):
    """No queue takes this topic: the topology was not applied. Nothing was stored for the frames named."""


class BusBlocked(BusError):
    """The broker takes nothing at present (alarm) or the in-flight bound is reached; try later."""


def delay_tier(seconds: float) -> int:
    """The smallest tier of DELAYS that is at least `seconds` (0 stays 0; more than the last is the last)."""
    if seconds <= 0:
        return 0
    return next((tier for tier in DELAYS if tier >= seconds), DELAYS[-1])


@dataclass(frozen=True, slots=True)
class Queue:
    """One queue: a topic's lane and partition, or (`sink` given) one sink's own copy of a topic."""

    topic: str
    lane: Lane = "normal"
    partition: int = 0
    sink: str = ""

    @property
    def key(self) -> str:
        """What a frame is routed by: `topic.lane.partition`."""
        return f"{self.topic}.{self.lane}.{self.partition}"

    @property
    def name(self) -> str:
        """Unique name: the key, plus `@sink` where several queues take the same key."""
        return f"{self.key}@{self.sink}" if self.sink else self.key


@dataclass(frozen=True, slots=True)
class Frame:
    """A micro-batch on its way: `body` from `wire.pack_frame`, `count` its items, `delay` a tier of DELAYS or 0 (seconds).

    `target`: deliver only to the queue of this name instead of all queues of the key (a sink's own retry); "" = all.
    """

    topic: str
    lane: Lane
    partition: int
    body: bytes
    count: int
    delay: int = 0
    target: str = ""

    @property
    def key(self) -> str:
        return f"{self.topic}.{self.lane}.{self.partition}"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One leased frame. `number`: which delivery of it this is, from 1; more than 1 means an earlier one was not settled."""

    queue: Queue
    body: bytes
    number: int
    tag: int
    """The bus's own handle."""


@dataclass(frozen=True, slots=True)
class Depth:
    """How much waits in a queue: frames ready, frames leased, age of the oldest ready one in seconds (None = bus cannot tell)."""

    ready: int
    leased: int
    oldest: float | None


class Lease(Protocol):
    """The frames one `consume` block holds. What is not acked when the block ends goes back, at its old place where the bus can."""

    deliveries: Sequence[Delivery]

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Settle: these never come again, once the bus has it durable. A lost connection is no error: they come again."""
        ...


class Bus(Protocol):
    """The message channels. All methods may raise BusError; all are safe to call from many tasks."""

    async def declare(self, queues: Sequence[Queue]) -> None:
        """Make these queues exist with this release's arguments; idempotent. Raises BusError naming a queue that differs."""
        ...

    async def publish(self, frames: Sequence[Frame]) -> None:
        """Return when every frame is durable in every queue of its key. Raises Unroutable, BusBlocked, BusError."""
        ...

    def consume(
        self, queue: Queue, *, max_batch: int, max_wait: float
    ) -> AbstractAsyncContextManager[Lease]:
        """Lease up to `max_batch` frames, waiting at most `max_wait` seconds for the first; may lease none.

        A connection that is away counts as none: the block waits `max_wait` and returns empty.
        """
        ...

    async def release(self, queue: Queue) -> None:
        """Stop consuming a queue: what was fetched ahead and not leased goes back. The next `consume` starts again."""
        ...

    async def depths(self, queues: Sequence[Queue]) -> dict[str, Depth]:
        """By queue name."""
        ...

    async def purge(self, queue: Queue) -> int:
        """Delete what is ready in a queue (tests, ops); how many frames."""
        ...

    def healthy(self) -> str:
        """Empty when the bus can take frames now, else why not, for /readyz. Never blocks."""
        ...

    async def close(self) -> None:
        """Give back every lease and let go of every connection and file."""
        ...
