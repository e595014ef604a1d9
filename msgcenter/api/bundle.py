"""Natural bundling: while publishes are in flight, whatever arrives forms the next frames; no
timer, and each caller waits for its own frame's confirm.

One flush is at most one `State.begin` (requests with an Idempotency-Key), one `Bus.publish` and one
`State.accepted` for everything in it. A lone caller is flushed at once.

Callers take turns (deficit round robin): a flush takes up to QUANTUM messages of each that waits before it comes to the first
again, so whoever hands in little waits for a flush or two, however much another has lying here. The backlog is shared (api.fair):
when it is full only callers below their equal share still get a place, and a line that stands still takes no more.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal

from msgcenter.api.fair import LONGEST_S, refuse_over_share, refused_late
from msgcenter.api.problems import Problem
from msgcenter.bus import Bus, BusBlocked, BusError, Frame, Queue
from msgcenter.bus.topology import SUBMIT, place
from msgcenter.clock import Clock
from msgcenter.metrics import Metrics
from msgcenter.state import Accepted, Begin, State, StateError
from msgcenter.status import Meta
from protocols import wire
from protocols.envelope import Envelope

MAX_FRAME_OCTETS = 128 * 1024
FRAMES_A_FLUSH = 2
QUANTUM = 10
"""Messages of one caller before it is the next one's turn; a parcel is never cut, so a batch saves up for its place."""
ACCEPTED_TRIES = 3
ACCEPTED_PAUSE_S = 0.05


@dataclass(frozen=True, slots=True)
class Result:
    """`fresh`: durable under `id` now. `done`: an earlier request was; `answer` is what it was
    told."""

    verdict: Literal["fresh", "done"]
    id: str
    answer: bytes = b""


@dataclass(slots=True, eq=False)
class _Parcel:
    """What one request hands in. `answer` makes what its Idempotency-Key will answer, from the
    envelope as published."""

    envelopes: list[Envelope]
    future: asyncio.Future[Result]
    since: float
    begin: Begin | None = None
    answer: Callable[[Envelope], bytes] | None = None
    durable: bool = False


@dataclass(slots=True)
class _Line:
    """What waits of one caller, oldest first. `credit`: messages it may still hand on in this turn."""

    parcels: deque[_Parcel]
    count: int = 0
    credit: int = 0
    in_turn: bool = False


class Bundler:
    """One per process. `submit` raises Problem: overloaded, caller_overloaded, bus_unavailable, state_unavailable, or
    about the key."""

    def __init__(
        self,
        bus: Bus,
        state: State,
        *,
        clock: Clock,
        metrics: Metrics,
        partitions: int,
        max_items: int = 100,
        in_flight: int = 2,
        backlog: int = 10_000,
        timeout_s: float = 8.0,
    ) -> None:
        """`timeout_s` is shorter than the lease of an Idempotency-Key, so that two tries never
        overlap."""
        self._bus = bus
        self._state = state
        self._clock = clock
        self._metrics = metrics
        self._partitions = partitions
        self._max_items = max_items
        self._flush_items = max_items * FRAMES_A_FLUSH
        self._in_flight = in_flight
        self._backlog = backlog
        self._timeout_s = timeout_s
        self._lines: dict[str, _Line] = {}
        self._turns: deque[str] = deque()
        self._count = 0
        self._flushes: set[asyncio.Task[None]] = set()
        self._scheduled = False

    @property
    def waiting(self) -> int:
        """Messages that wait for a place in a frame."""
        return self._count

    def refuse_if_full(self, caller: str, more: int) -> None:
        """Raises Problem `caller_overloaded` when `more` messages of `caller` would pass its share, `overloaded` when they would
        pass the bound; either when the first of its line has waited LONGEST_S already."""
        own, others = self._own_and_others(caller)
        refuse_over_share(own, others, self._count, more, self._backlog)
        if own and self._clock.monotonic() - self._lines[caller].parcels[0].since > LONGEST_S:
            raise refused_late(own, others, self._count)

    def _own_and_others(self, caller: str) -> tuple[int, int]:
        """How many messages of the caller wait, and how many other callers' do."""
        line = self._lines.get(caller)
        return (0, len(self._lines)) if line is None else (line.count, len(self._lines) - 1)

    async def submit(
        self,
        envelopes: Sequence[Envelope],
        *,
        begin: Begin | None = None,
        answer: Callable[[Envelope], bytes] | None = None,
    ) -> Result:
        """Make these durable, in one piece (at most one frame's worth), all of one caller; with
        `begin` exactly one envelope."""
        caller = envelopes[0].caller
        own, others = self._own_and_others(caller)
        refuse_over_share(own, others, self._count, len(envelopes), self._backlog)
        loop = asyncio.get_running_loop()
        parcel = _Parcel(
            list(envelopes), loop.create_future(), self._clock.monotonic(), begin, answer
        )
        line = self._lines.get(caller)
        if line is None:
            line = self._lines[caller] = _Line(deque())
            self._turns.append(caller)
        line.parcels.append(parcel)
        line.count += len(envelopes)
        self._count += len(envelopes)
        if not self._scheduled and len(self._flushes) < self._in_flight:
            self._scheduled = True
            # on the loop's next turn: what arrives in this one shares the frame
            loop.call_soon(self._start)
        return await parcel.future

    async def close(self) -> None:
        """Wait for what is in flight; what still waits is flushed too."""
        while self._flushes or self._count:
            if self._flushes:
                await asyncio.wait(self._flushes)
            else:
                self._start()

    def _start(self) -> None:
        self._scheduled = False
        while self._count and len(self._flushes) < self._in_flight:
            task = asyncio.create_task(self._flush(self._next()))
            self._flushes.add(task)
            task.add_done_callback(self._flushed)

    def _next(self) -> list[_Parcel]:
        """What the next flush takes: in turns, until its room is used up or nobody waits."""
        parcels: list[_Parcel] = []
        room = self._flush_items
        while self._turns:
            caller = self._turns[0]
            line = self._lines[caller]
            if not line.in_turn:
                line.in_turn = True
                line.credit += QUANTUM
            while line.parcels and (size := len(line.parcels[0].envelopes)) <= line.credit:
                if parcels and size > room:
                    return parcels
                parcels.append(line.parcels.popleft())
                room -= size
                line.credit -= size
                line.count -= size
                self._count -= size
            line.in_turn = False
            self._turns.popleft()
            if line.parcels:
                self._turns.append(caller)
            else:
                del self._lines[caller]
        return parcels

    def _flushed(self, task: asyncio.Task[None]) -> None:
        self._flushes.discard(task)
        self._start()

    async def _flush(self, parcels: list[_Parcel]) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                live = await self._begun(parcels)
                if not live:
                    return
                await self._publish(live)
                await self._accepted(live)
        except (BusError, StateError, TimeoutError) as error:
            # What has no key and is durable is accepted: a 503 would make its caller send it twice.
            for parcel in parcels:
                if parcel.durable and parcel.begin is None and not parcel.future.done():
                    self._promise(parcel)
            await self._give_up(parcels, _problem(error))
        except BaseException as error:
            # cancelled, or a fault of ours: nobody may wait for ever
            for parcel in parcels:
                if not parcel.future.done():
                    parcel.future.set_exception(
                        error
                        if isinstance(error, Exception)
                        else Problem("bus_unavailable", retry_after=1)
                    )
            raise
        else:
            for parcel in live:
                if not parcel.future.done():
                    self._promise(parcel)

    def _promise(self, parcel: _Parcel) -> None:
        for envelope in parcel.envelopes:
            self._metrics.accepted_total.labels(envelope.category).inc()
        parcel.future.set_result(Result("fresh", parcel.envelopes[0].id))

    async def _begun(self, parcels: list[_Parcel]) -> list[_Parcel]:
        """The parcels that go on; the others are answered."""
        keyed = [parcel for parcel in parcels if parcel.begin is not None]
        if not keyed:
            return parcels
        answers = await self._state.begin([parcel.begin for parcel in keyed if parcel.begin])
        gone: set[int] = set()
        for parcel, begun in zip(keyed, answers, strict=True):
            match begun.verdict:
                case "new" | "retry":
                    if begun.id != parcel.envelopes[0].id:
                        one = parcel.envelopes[0]
                        # A plan is kept in order by its own id.
                        order = begun.id if one.order_key == one.id else one.order_key
                        parcel.envelopes[0] = replace(one, id=begun.id, order_key=order)
                    continue
                case "done":
                    result = Result("done", begun.id, begun.answer)
                    if not parcel.future.done():
                        parcel.future.set_result(result)
                case "busy":
                    _fail(parcel, Problem("idempotency_busy", retry_after=1))
                case "other":
                    _fail(parcel, Problem("idempotency_mismatch"))
            gone.add(id(parcel))
        return [parcel for parcel in parcels if id(parcel) not in gone]

    async def _publish(self, parcels: list[_Parcel]) -> None:
        frames = frames_of(
            [envelope for parcel in parcels for envelope in parcel.envelopes],
            self._partitions,
            self._max_items,
        )
        started = self._clock.monotonic()
        await self._bus.publish(frames)
        for parcel in parcels:
            parcel.durable = True
        took = self._clock.monotonic() - started
        self._metrics.publish_duration_seconds.labels(topic=SUBMIT).observe(took)
        self._metrics.bundle_messages.observe(sum(frame.count for frame in frames))

    async def _accepted(self, parcels: list[_Parcel]) -> None:
        items: list[Accepted] = []
        for parcel in parcels:
            begin = parcel.begin
            if begin is None:
                items += [Accepted(one.id, Meta.packed(one)) for one in parcel.envelopes]
            else:
                envelope = parcel.envelopes[0]
                answer = parcel.answer(envelope) if parcel.answer else b""
                items.append(
                    Accepted(envelope.id, Meta.packed(envelope), begin.caller, begin.key, answer)
                )
        for remaining in reversed(range(ACCEPTED_TRIES)):
            try:
                await self._state.accepted(items)
            except StateError:
                # the messages are durable already: worth more than one try before saying 503
                if not remaining:
                    raise
                await self._clock.sleep(ACCEPTED_PAUSE_S)
            else:
                return

    async def _give_up(self, parcels: list[_Parcel], problem: Problem) -> None:
        """Let go of the keys (a new try need not wait for their leases), then tell everybody."""
        keyed = [
            replace(parcel.begin, lease_s=0.0)
            for parcel in parcels
            if parcel.begin is not None and not parcel.future.done()
        ]
        if keyed:
            with suppress(StateError, TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._state.begin(keyed)
        for parcel in parcels:
            _fail(parcel, problem)


def frames_of(envelopes: Sequence[Envelope], partitions: int, max_items: int) -> list[Frame]:
    """Frames for `submit`: by queue, in order, each at most `max_items` envelopes and 128 KB (one
    larger envelope alone)."""
    open_frames: dict[Queue, tuple[list[bytes], int]] = {}
    frames: list[Frame] = []
    for envelope in envelopes:
        queue = place(SUBMIT, envelope, partitions)
        sealed = wire.seal(envelope)
        items, size = open_frames.get(queue) or ([], 0)
        if items and (len(items) >= max_items or size + len(sealed) > MAX_FRAME_OCTETS):
            frames.append(_frame(queue, items))
            items, size = [], 0
        items.append(sealed)
        open_frames[queue] = (items, size + len(sealed))
    frames += [_frame(queue, items) for queue, (items, _) in open_frames.items()]
    return frames


def _frame(queue: Queue, items: list[bytes]) -> Frame:
    return Frame(queue.topic, queue.lane, queue.partition, wire.pack_frame(items), len(items))


def _fail(parcel: _Parcel, problem: Problem) -> None:
    if not parcel.future.done():
        parcel.future.set_exception(problem)


def _problem(error: Exception) -> Problem:
    if isinstance(error, StateError):
        return Problem("state_unavailable", retry_after=2)
    if isinstance(error, BusBlocked):
        return Problem("overloaded", retry_after=2, why="the bus takes nothing at present")
    return Problem("bus_unavailable", retry_after=2)
