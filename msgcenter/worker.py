"""Worker: the only loop; lease frames of one queue, open them, hand the items on, settle, ack, in that order.

What is done with the items is a `Handler`: `Passage` here runs a pipeline and settles; `ordered.py` keeps conversations in
order; `archive/sinking.py` writes records to a sink. A handler says which items are done; a frame is acked when all of its
items are, and comes again otherwise.

One file, for it is one loop and the handler that most of its users give it.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

from msgcenter import pipeline
from msgcenter.archive.reading import RecordFrames
from msgcenter.archive.sink import SinkError
from msgcenter.bus import Bus, BusError, Delivery, Frame, Queue, delay_tier
from msgcenter.bus.topology import INVALID
from msgcenter.clock import Clock, Random
from msgcenter.invalid import pack_invalid
from msgcenter.metrics import Metrics
from msgcenter.pipeline import Item, Stage
from msgcenter.precedence import BEHIND, PIECE, RANKS, Precedence
from msgcenter.settle import Settle, frames, publish_frames
from msgcenter.state import StateError
from msgcenter.store import StoreError
from msgcenter.suspects import DEATHS, KEPT_S, KILLS, Memory
from protocols import wire
from protocols.envelope import Envelope, Record
from protocols.errors import Malformed
from protocols.outcome import Rejected

TRANSIENT = (BusError, StateError, StoreError, SinkError)
"""A part of ours is away: nothing is wrong with the messages, the frames come again."""

SINGLES_FROM = 2
"""From this delivery of a frame on its items run one by one."""
SPLIT_FROM = 5
"""From this delivery on its items become frames of their own, so that one that kills the process is alone."""
POISON_FROM = 20
"""A frame of one item delivered this often without ever being settled is poison, whatever the reason is."""
GIVE_BACK_AFTER_S = 60.0
"""How long a lease is kept while the far end is away; well under the broker's consumer timeout."""
EXCUSED_KEPT = 10_000


@dataclass(slots=True)
class Leased:
    """One frame in hand; only the list that the worker `takes` is filled. The frame is settled when `done` is set, or when
    it holds envelopes and every item is done (settled, parked, moved)."""

    delivery: Delivery
    number: int = 1
    """Which delivery this is, not counting those that this process gave back in good order."""
    items: list[Item] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    done: bool = False

    @property
    def settled(self) -> bool:
        return self.done or (
            not self.records and not self.raw and all(item.done for item in self.items)
        )


class Handler(Protocol):
    """What a worker does with the frames of a lease. Marks the items that are done; may raise TRANSIENT."""

    async def __call__(self, leased: Sequence[Leased], stop: asyncio.Event) -> None: ...

    async def begin(self) -> None:
        """Before the first lease, and again after every failure."""
        ...

    def wait_s(self, longest: float) -> float:
        """How long the next lease may wait for a frame, at most `longest`."""
        ...

    async def between(self) -> None:
        """Between two leases: work that has fallen due."""
        ...


Ready = Callable[[], Awaitable[bool]]
"""Waits until messages can be taken, a second at most; False = not yet."""


Takes: TypeAlias = Literal["envelopes", "records", "raw"]


async def always_ready() -> bool:
    return True


class Worker:
    """The loop over one queue. `run(stop)` ends after `stop` is set and the lease in hand is finished."""

    def __init__(
        self,
        bus: Bus,
        queue: Queue,
        handler: Handler,
        *,
        clock: Clock,
        rng: Random,
        metrics: Metrics,
        log: Any,
        ready: Ready = always_ready,
        memory: Memory | None = None,
        takes: Takes = "envelopes",
        shared: RecordFrames | None = None,
        max_frames: int = 8,
        max_wait: float = 1.0,
        precedence: Precedence | None = None,
    ) -> None:
        """`memory`: where it is counted what killed the processes before. `shared`: what the workers of several sinks in this
        process read the same frames through. `precedence`: whom the workers of this process let go first; None: nobody."""
        self.queue = queue
        self._takes = takes
        self._shared = shared
        self._bus = bus
        self._handler = handler
        self._clock = clock
        self._rng = rng
        self._metrics = metrics
        self._log = log.bind(queue=queue.name)
        self._ready = ready
        self._memory = memory
        self._max_frames = max_frames
        self._max_wait = max_wait
        self._precedence = precedence or Precedence(clock)
        self._rank = RANKS[queue.lane] if takes == "envelopes" else BEHIND
        self._excused: OrderedDict[int, int] = OrderedDict()

    async def run(self, stop: asyncio.Event) -> None:
        failures = 0
        fetching = begun = False
        while not stop.is_set():
            try:
                if not await self._ready():
                    if fetching:
                        await self._bus.release(self.queue)
                        fetching = False
                    continue
                if not begun:
                    await self._handler.begin()
                    begun = True
                await self._handler.between()
                if self._gives_way:
                    await self._precedence.give_way(self._rank)
                fetching = True
                wait = self._handler.wait_s(self._max_wait)
                async with self._bus.consume(
                    self.queue, max_batch=self._max_frames, max_wait=wait
                ) as lease:
                    if lease.deliveries:
                        with self._precedence.in_hand(self._rank):
                            await self._lease(lease, stop)
                failures = 0
            except TRANSIENT as error:
                begun = False
                failures += 1
                wait = min(0.1 * 2 ** min(failures, 6), 5.0) * self._rng.uniform(0.5, 1.5)
                self._log.warning(
                    "worker_waits",
                    error=error,
                    kind=type(error).__name__,
                    seconds=round(wait, 2),
                )
                await self._clock.sleep(wait)
            except Exception:  # noqa: BLE001 - the loop must outlive any message; the poison rules put the culprit aside
                begun = False
                failures += 1
                self._log.exception("worker_failed")
                await self._clock.sleep(min(0.1 * 2 ** min(failures, 6), 5.0))
        if fetching:
            try:
                await self._bus.release(self.queue)
            except BusError as error:
                self._log.info("release_failed", error=error)

    async def _lease(self, lease: Any, stop: asyncio.Event) -> None:
        try:
            leased = []
            for delivery in lease.deliveries:
                leased.append(await self._open(delivery))
                if not self._gives_way:
                    continue
                if self._takes == "envelopes":
                    await self._precedence.give_way(self._rank)
                else:  # gave way before the lease; once for each small frame, they would pile up under steady traffic
                    await asyncio.sleep(0)
            for one in leased:
                await self._against_poison(one)
            # Who stands with a suspect in this lease must not pay for it: first all others, then one suspect after the other.
            await self._work(lease, [one for one in leased if not self._is_suspect(one)], stop)
            for one in leased:
                if self._is_suspect(one):
                    await self._alone(lease, one, stop)
        except TRANSIENT:
            self._excuse(lease.deliveries)
            raise

    async def _work(self, lease: Any, leased: Sequence[Leased], stop: asyncio.Event) -> None:
        if not leased:
            return
        await self._handler(leased, stop)
        self._excuse([one.delivery for one in leased if not one.settled])
        done = [one.delivery for one in leased if one.settled]
        if done:
            await lease.ack(done)

    @property
    def _gives_way(self) -> bool:
        return self._rank >= RANKS["bulk"]

    def _is_suspect(self, one: Leased) -> bool:
        """One message alone in a frame that keeps coming back: it may kill its process, or stand beside one that does."""
        if self._memory is None or self.queue.lane == "conv":
            return False
        return one.number >= SPLIT_FROM and len(one.items) == 1 and one.items[0].undecided

    async def _alone(self, lease: Any, one: Leased, stop: asyncio.Event) -> None:
        """Work one suspect by itself, counted in State: who never ended after `DEATHS` beginnings is poison, nobody else."""
        assert self._memory is not None
        envelope = one.items[0].envelope
        key = (
            f"begun\x1f{self.queue.name}\x1f{envelope.id}\x1f{envelope.step}\x1f{envelope.attempt}"
        )
        [kept] = await self._memory.memo([key])
        begun = int(kept or 0)
        if begun >= DEATHS:
            one.items[0].outcome = Rejected("message", KILLS, "poison")
            self._log.error("poison", msg_id=envelope.id, detail=KILLS)
        await self._memory.remember(key, b"%d" % (begun + 1), KEPT_S)
        try:
            await self._work(lease, [one], stop)
        except (
            Exception
        ):  # whatever it was, the process lives: no death is counted, and it goes on up
            with suppress(StateError):
                await self._memory.remember(key, b"", 0)
            raise
        await self._memory.remember(key, b"", 0)

    def _excuse(self, given_back: Sequence[Delivery]) -> None:
        """A frame that comes again because the far end or a part of ours was away is no suspect, however often it comes."""
        for delivery in given_back:
            frame = hash(delivery.body)
            self._excused[frame] = self._excused.pop(frame, 0) + 1
        while len(self._excused) > EXCUSED_KEPT:
            self._excused.popitem(last=False)

    async def _open(self, delivery: Delivery) -> Leased:
        """Read a frame; what cannot be read goes to `invalid`, alone, and is counted."""
        number = delivery.number
        if number > 1:
            number = max(1, number - self._excused.get(hash(delivery.body), 0))
        leased = Leased(delivery, number)
        if self._shared is not None and (known := self._shared.get(delivery.body)) is not None:
            leased.records = list(known)
            return leased
        bad: list[tuple[str, bytes]] = []
        try:
            sealed = wire.unpack_frame(delivery.body)
        except Malformed as error:
            sealed = []
            bad.append((str(error), delivery.body))
        if self._takes == "raw":
            leased.raw = sealed or [delivery.body]
            return leased
        for data in sealed:
            try:
                opened = wire.open_sealed(data)
            except Malformed as error:
                bad.append((str(error), data))
                continue
            if isinstance(opened, Envelope) and self._takes == "envelopes":
                leased.items.append(Item(opened, again=delivery.number > 1))
            elif isinstance(opened, Record) and self._takes == "records":
                leased.records.append(opened)
            else:
                bad.append((f"{type(opened).__name__.lower()} on a queue of {self._takes}", data))
        if bad:
            await publish_frames(
                self._bus, invalid_frames(self.queue.name, bad, self._clock.now_ms())
            )
            self._metrics.invalid_frames_total.labels(self.queue.topic).inc(len(bad))
            self._log.error("unreadable", count=len(bad), reason=bad[0][0])
        elif self._shared is not None:
            self._shared.put(delivery.body, tuple(leased.records))
        return leased

    async def _against_poison(self, one: Leased) -> None:
        """A frame that keeps coming back may hold a message that kills the process: give each item a frame of its own.
        Where order is kept the handler puts it aside."""
        number = one.number
        if self.queue.lane == "conv":
            return
        if number >= SPLIT_FROM and len(one.items) > 1:
            out = [
                frame
                for item in one.items
                for frame in frames(self.queue, [wire.seal(item.envelope)])
            ]
            for frame in out:  # one after the other: they share a queue and keep their order
                await self._bus.publish([frame])
            for item in one.items:
                item.done = True
            self._log.warning("frame_split", items=len(one.items), deliveries=number)
        elif number >= POISON_FROM and len(one.items) == 1:
            one.items[0].outcome = Rejected(
                "message",
                f"delivered {number} times without being settled; it may crash its worker",
                "poison",
            )


def invalid_frames(source: str, bad: Sequence[tuple[str, bytes]], now_ms: int) -> list[Frame]:
    """What could not be read, as frames for `invalid`: (why, octets), found in `source` (a queue's name)."""
    return frames(Queue(INVALID), pack_invalid(source, bad, now_ms))


class Passage:
    """Run a pipeline over the items of a lease and settle them. Order is not kept; see `ordered.Ordered` for that."""

    def __init__(
        self,
        queue: Queue,
        stages: Sequence[Stage],
        settle: Settle,
        *,
        bus: Bus,
        clock: Clock,
        metrics: Metrics,
        log: Any,
        ready: Ready = always_ready,
        precedence: Precedence | None = None,
    ) -> None:
        self._precedence = precedence
        self._rank = RANKS[queue.lane]
        self._queue = queue
        self._stages = stages
        self._settle = settle
        self._bus = bus
        self._clock = clock
        self._metrics = metrics
        self._log = log.bind(queue=queue.name)
        self._ready = ready

    async def begin(self) -> None:
        return

    async def between(self) -> None:
        return

    def wait_s(self, longest: float) -> float:
        return longest

    async def __call__(self, leased: Sequence[Leased], stop: asyncio.Event) -> None:
        together = [i for one in leased if one.number < SINGLES_FROM for i in one.items]
        alone = [i for one in leased if one.number >= SINGLES_FROM for i in one.items]
        await self._until_decided(together, stop, singles=False)
        await self._until_decided(alone, stop, singles=True)

    async def _until_decided(
        self, items: Sequence[Item], stop: asyncio.Event, *, singles: bool
    ) -> None:
        """Run, settle what is decided, wait for the far end to come back, run the rest; give back after a minute."""
        patience = self._clock.monotonic() + GIVE_BACK_AFTER_S
        rest = [item for item in items if not item.done]
        while rest:
            for piece in self._pieces(rest):
                await self.attempt(piece, singles=singles)
                if len(piece) < len(rest):  # its frames are formed with those of the others
                    await self._settle.conclude(
                        [item for item in piece if item.outcome is not None and not item.done]
                    )
            await self.settle(rest)
            rest = [item for item in rest if not item.done]
            if not rest or stop.is_set() or self._clock.monotonic() > patience:
                return
            while not await self._ready():
                if stop.is_set() or self._clock.monotonic() > patience:
                    return

    def _pieces(self, items: Sequence[Item]) -> list[Sequence[Item]]:
        """Bulk is decided a few at a time, and others go in between. A channel cuts its own pieces: those that leave at once."""
        if self._give_way is None or self._settle.pipeline == "channel":
            return [items]
        return [items[start : start + PIECE] for start in range(0, len(items), PIECE)]

    @property
    def _give_way(self) -> Callable[[], Awaitable[None]] | None:
        precedence = self._precedence
        if precedence is None or self._rank < RANKS["bulk"]:
            return None
        return lambda: precedence.give_way(self._rank)

    async def attempt(self, items: Sequence[Item], *, singles: bool = False) -> None:
        """One run of the pipeline; an exception in a stage singles out the culprit, which alone is rejected as poison."""
        for item in items:
            if self._settle.is_settled(item.envelope):
                item.done = True
        batches = [[item] for item in items] if singles else [list(items)]
        for batch in batches:
            try:
                await pipeline.run(
                    self._stages,
                    batch,
                    monotonic=self._clock.monotonic,
                    observe=self._observe,
                    between=self._give_way,
                )
            except TRANSIENT:
                raise
            except Exception as error:  # noqa: BLE001 - the culprit is found and put aside
                undecided = [item for item in batch if item.undecided]
                if len(batch) > 1:
                    self._log.warning(
                        "batch_run_as_singles", error=repr(error), items=len(undecided)
                    )
                    await self.attempt(undecided, singles=True)
                else:
                    self._log.exception("poison", msg_id=batch[0].envelope.id)
                    batch[0].outcome = Rejected(
                        "message", f"{type(error).__name__}: {error}", "poison"
                    )

    def _observe(self, stage: str, seconds: float) -> None:
        self._metrics.stage_duration_seconds.labels(self._settle.pipeline, stage).observe(seconds)

    async def settle(self, items: Sequence[Item]) -> list[tuple[Envelope, float]]:
        """Conclude, publish, mark done; returns the ordered further passes. Items without outcome stay undone, except those
        whose claim another worker holds: they are moved behind that claim's deadline (kept by the caller when ordered)."""
        decided = [item for item in items if item.outcome is not None and not item.done]
        await self._settle.conclude(decided)
        if self._give_way is not None:
            await self._give_way()
        ordered = await self._settle.publish(decided)
        if self._queue.lane != "conv":
            await self._move([item for item in items if item.undecided and item.retry_in > 0])
        for item in decided:
            item.done = True
        further = {
            envelope.id for envelope, _ in ordered
        }  # not settled before they are run or parked
        self._settle.mark_settled([item for item in decided if item.envelope.id not in further])
        return ordered

    async def _move(self, items: Sequence[Item]) -> None:
        groups: dict[int, list[bytes]] = {}
        for item in items:
            groups.setdefault(delay_tier(item.retry_in), []).append(wire.seal(item.envelope))
        await publish_frames(
            self._bus,
            [f for delay, sealed in groups.items() for f in frames(self._queue, sealed, delay)],
        )
        for item in items:
            item.done = True
