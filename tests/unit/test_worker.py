"""Worker: what cannot be read goes to `invalid`, poison alone goes to `dead`, an outage of a part of ours harms no message.

Long because each way of failing is a short test on one stand.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import msgpack
import pytest

from msgcenter import worker as worker_module
from msgcenter.bus import BusError, Queue
from msgcenter.invalid import INVALID_KEPT
from msgcenter.pipeline import Item
from msgcenter.state import Admit, StateError
from msgcenter.suspects import DEATHS
from msgcenter.worker import SPLIT_FROM, Leased, Passage, Worker
from protocols import wire
from protocols.envelope import Key, Record
from protocols.outcome import Rejected, Sent, Unknown
from tests.unit.rig import LOG, Failing, ListBus, Rig, message

QUEUE = Queue("out.east")
CONV = Queue("out.east", "conv")
ACCEPT = Sent(("f",))


class Quick:
    """A clock whose sleeps take a moment and are noted."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.slept: list[float] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await self.inner.advance(seconds)
        await asyncio.sleep(0)


class Stage:
    """Sends everything, unless told otherwise; notes its batches."""

    name = "stage"

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.fail: Any = lambda items: None

    async def __call__(self, items: Sequence[Item]) -> None:
        self.batches.append([item.envelope.id for item in items])
        if (error := self.fail(items)) is not None:
            raise error
        for item in items:
            item.outcome = ACCEPT


class Bench:
    """A worker with a passage over one stage."""

    def __init__(self, queue: Queue = QUEUE, takes: Any = "envelopes") -> None:
        self.rig = Rig()
        self.clock = self.rig.clock = Quick(self.rig.clock)
        self.bus: ListBus = self.rig.bus
        self.stage = Stage()
        self.up = True
        self.queue = queue
        self.passage = self.make()
        self.worker = self.over(self.passage, takes)

    def make(self) -> Passage:
        return Passage(
            self.queue,
            [self.stage],
            self.rig.settle(),
            bus=self.bus,
            clock=self.clock,
            metrics=self.rig.metrics,
            log=LOG,
            ready=self.ready,
        )

    def over(self, handler: Any, takes: Any = "envelopes") -> Worker:
        return Worker(
            self.bus,
            self.queue,
            handler,
            clock=self.clock,
            rng=random.Random(3),
            metrics=self.rig.metrics,
            log=LOG,
            ready=self.ready,
            memory=self.rig.state,
            takes=takes,
            max_wait=0.0,
        )

    async def ready(self) -> bool:
        if not self.up:
            await self.clock.sleep(1.0)
        return self.up

    async def until(self, condition: Any) -> None:
        stop = asyncio.Event()
        task = asyncio.create_task(self.worker.run(stop))
        async with asyncio.timeout(30):
            while not condition() and not task.done():
                await asyncio.sleep(0)
        stop.set()
        await task

    async def drained(self) -> None:
        await self.until(lambda: not self.bus.queues[self.queue.name] and self.bus.acked)

    def invalid(self) -> list[list[Any]]:
        return [
            msgpack.unpackb(data)
            for frame in self.bus.published
            if frame.topic == "invalid"
            for data in wire.unpack_frame(frame.body)
        ]


def many(count: int, **more: Any) -> list[Any]:
    return [message(f"m{n}", **more) for n in range(count)]


# -- reading -------------------------------------------------------------------------------------


async def test_an_unreadable_frame_goes_to_invalid_with_its_cause() -> None:
    bench = Bench()
    bench.bus.queues[QUEUE.name].append((b"\x09garbage", 0))
    await bench.drained()
    ((queue, reason, data, size, _),) = bench.invalid()
    assert (queue, data, size) == (QUEUE.name, b"\x09garbage", 8)
    assert "version 9" in reason
    assert bench.rig.metrics.invalid_frames_total.labels("out.east")._value.get() == 1
    assert bench.stage.batches == []


async def test_one_unreadable_item_among_good_ones_goes_alone() -> None:
    bench = Bench()
    record = wire.seal(Record("r", 1, "channel", message(), Sent()))
    sealed = [wire.seal(one) for one in many(3)] + [b"\xc1rotten", record]
    bench.bus.queues[QUEUE.name].append((wire.pack_frame(sealed), 0))
    await bench.drained()
    assert bench.stage.batches == [["m0", "m1", "m2"]]
    rotten, misplaced = bench.invalid()
    assert (rotten[2], misplaced[2]) == (b"\xc1rotten", record)
    assert misplaced[1] == "record on a queue of envelopes"


async def test_of_a_huge_unreadable_frame_the_beginning_is_kept() -> None:
    bench = Bench()
    bench.bus.queues[QUEUE.name].append((b"\x02" + b"x" * 300_000, 0))
    await bench.drained()
    ((_, _, data, size, _),) = bench.invalid()
    assert (len(data), size) == (INVALID_KEPT, 300_001)


async def test_a_frame_is_not_acked_before_its_garbage_is_durable() -> None:
    bench = Bench()
    bench.bus.failures = [BusError("away"), BusError("away")]
    bench.bus.queues[QUEUE.name].append((b"\x09", 0))
    await bench.drained()
    assert (len(bench.invalid()), bench.bus.given_back) == (1, 2)


@pytest.mark.parametrize("takes", ["records", "raw"])
async def test_other_workers_get_records_or_raw_octets(takes: str) -> None:
    got: list[Leased] = []

    class Handler:
        async def __call__(self, leased: Sequence[Leased], stop: asyncio.Event) -> None:
            got.extend(leased)
            for one in leased:
                one.done = True

        async def begin(self) -> None: ...
        async def between(self) -> None: ...
        def wait_s(self, longest: float) -> float:
            return longest

    bench = Bench()
    bench.worker = bench.over(Handler(), takes)
    record = Record("r", 1, "channel", message(), Sent())
    bench.bus.put(QUEUE, [record])
    bench.bus.queues[QUEUE.name].append((b"odd", 0))
    await bench.drained()
    if takes == "records":
        assert [one.records for one in got] == [[record], []]
    else:
        assert [one.raw for one in got] == [[wire.seal(record)], [b"odd"]]
    assert len(bench.invalid()) == (takes == "records")


# -- poison --------------------------------------------------------------------------------------


async def test_a_stage_that_breaks_singles_out_the_culprit() -> None:
    bench = Bench()
    bench.stage.fail = lambda items: (
        ZeroDivisionError("no price") if any(i.envelope.id == "m2" for i in items) else None
    )
    bench.bus.put(QUEUE, many(5))
    await bench.drained()
    assert bench.stage.batches == [[f"m{n}" for n in range(5)], *[[f"m{n}"] for n in range(5)]]
    (dead,) = bench.bus.topic("dead")
    assert dead.envelope.id == "m2"
    assert dead.outcome == Rejected("message", "ZeroDivisionError: no price", "poison")
    assert len(bench.bus.records()) == 5


@pytest.mark.parametrize(
    ("before", "batches"),
    [(0, [["m0", "m1", "m2"]]), (1, [["m0"], ["m1"], ["m2"]])],
    ids=["first delivery", "second delivery"],
)
async def test_from_the_second_delivery_on_items_run_alone(before: int, batches: Any) -> None:
    bench = Bench()
    bench.bus.put(QUEUE, many(3), before)
    await bench.drained()
    assert bench.stage.batches == batches


async def test_from_the_fifth_delivery_on_each_item_gets_a_frame_of_its_own() -> None:
    bench = Bench()
    bench.bus.put(QUEUE, many(3), 3)
    await bench.drained()
    assert {frame.topic for frame in bench.bus.published} == {"record"}
    bench = Bench()
    bench.bus.put(QUEUE, many(3), 4)
    await bench.drained()
    assert [f.count for f in bench.bus.published if f.topic == "out.east"] == [1, 1, 1]
    assert sorted(one for batch in bench.stage.batches for one in batch) == ["m0", "m1", "m2"]


async def test_a_lane_of_conversations_is_not_split() -> None:
    bench = Bench(CONV)
    bench.bus.put(CONV, many(2, order_key="c"), 6)
    await bench.drained()
    assert [frame.topic for frame in bench.bus.published if frame.topic != "record"] == []


async def test_a_frame_of_one_is_poison_at_its_twentieth_delivery() -> None:
    bench = Bench()
    bench.bus.put(QUEUE, many(1), 18)
    await bench.drained()
    assert bench.stage.batches == [["m0"]]
    bench = Bench()
    bench.bus.put(QUEUE, many(1), 19)
    await bench.drained()
    assert bench.stage.batches == []
    (dead,) = bench.bus.topic("dead")
    assert (dead.outcome.code, "20 times" in dead.outcome.detail) == ("poison", True)


class Killed(BaseException):
    """The end of a process: nothing of ours catches it, and nothing after it is done."""


async def test_who_stands_beside_a_message_that_kills_its_process_is_no_culprit() -> None:
    bench, deaths = Bench(), 0

    class Deadly(Stage):
        async def __call__(self, items: Sequence[Item]) -> None:
            if any(item.envelope.id in ("m2", "m4") for item in items):
                raise Killed
            await super().__call__(items)

    bench.stage = Deadly()
    bench.bus.put(QUEUE, many(7))
    while True:
        bench.passage = bench.make()
        bench.worker = bench.over(bench.passage)
        try:
            await bench.until(lambda: len({r.envelope.id for r in bench.bus.records()}) == 7)
        except Killed:
            deaths += 1
            assert deaths < 50
        else:
            break
    dead = bench.bus.topic("dead")
    assert sorted(one.envelope.id for one in dead) == ["m2", "m4"]
    assert {one.outcome.code for one in dead} == {"poison"}
    sent = {r.envelope.id for r in bench.bus.records() if isinstance(r.outcome, Sent)}
    assert sent == {"m0", "m1", "m3", "m5", "m6"}
    assert deaths <= 2 * SPLIT_FROM + 2 * DEATHS


# -- outages -------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [StateError("away"), BusError("away")])
async def test_after_an_outage_everything_comes_again_and_nothing_is_poison(
    error: Exception,
) -> None:
    """However long it was: thirty give-backs are more than any poison limit."""
    bench = Bench()
    failures = [error] * 30
    bench.stage.fail = lambda items: failures.pop() if failures else None
    bench.bus.put(QUEUE, many(1))
    bench.bus.put(QUEUE, many(3))
    await bench.until(lambda: bench.bus.acked == 2)
    assert bench.bus.given_back == 60
    assert bench.bus.topic("dead") == []
    assert all(isinstance(record.outcome, Sent) for record in bench.bus.records())
    assert not [frame for frame in bench.bus.published if frame.topic == "out.east"]
    waits = bench.clock.slept
    assert len(waits) == 30
    assert 0.1 <= waits[0] <= 0.3
    assert 2.5 <= waits[-1] <= 7.5


async def test_a_broken_handler_does_not_end_the_loop() -> None:
    bench = Bench()
    broken = [1, 1]
    settle = bench.passage._settle
    publish = settle.publish

    async def breaks(items: Any) -> Any:
        if broken:
            broken.pop()
            raise AssertionError("a bug of ours")
        return await publish(items)

    settle.publish = breaks  # type: ignore[method-assign]
    bench.bus.put(QUEUE, many(1))
    await bench.drained()
    assert len(bench.bus.records()) == 1
    assert len(bench.clock.slept) == 2


async def test_what_a_broken_handler_cannot_settle_becomes_poison() -> None:
    """Unlike an outage, a bug that shows at every delivery counts."""
    bench = Bench()

    class Breaks:
        def __init__(self, inner: Passage) -> None:
            self.inner = inner

        def __getattr__(self, name: str) -> Any:
            return getattr(self.inner, name)

        async def __call__(self, leased: Sequence[Leased], stop: asyncio.Event) -> None:
            if any(i.outcome is None for one in leased for i in one.items):
                raise AssertionError
            await self.inner(leased, stop)

    bench.worker = bench.over(Breaks(bench.passage))
    bench.bus.put(QUEUE, many(1))
    await bench.until(lambda: bench.bus.acked)
    assert [dead.outcome.code for dead in bench.bus.topic("dead")] == ["poison"]


async def test_a_given_back_frame_does_not_publish_its_settled_items_again() -> None:
    bench = Bench()

    class Half(Stage):
        async def __call__(self, items: Sequence[Item]) -> None:
            self.batches.append([i.envelope.id for i in items])
            for item in items:
                if item.envelope.id != "m1" or bench.up:
                    item.outcome = ACCEPT

    class GoesAway:
        name = "goes away"

        async def __call__(self, items: Sequence[Item]) -> None:
            bench.up = False

    half = Half()
    bench.passage._stages = [GoesAway(), half]
    bench.bus.put(QUEUE, many(3))
    stop = asyncio.Event()
    task = asyncio.create_task(bench.worker.run(stop))
    async with asyncio.timeout(30):
        while not bench.bus.given_back:
            await asyncio.sleep(0)
    assert len(bench.bus.records()) == 2
    assert bench.clock.monotonic() >= worker_module.GIVE_BACK_AFTER_S
    bench.passage._stages = [half]
    bench.up = True
    async with asyncio.timeout(30):
        while not bench.bus.acked:
            await asyncio.sleep(0)
    stop.set()
    await task
    assert sorted(record.envelope.id for record in bench.bus.records()) == ["m0", "m1", "m2"]
    assert half.batches[-1] == ["m1"]


async def test_nothing_is_leased_while_the_far_end_is_away() -> None:
    bench = Bench()
    bench.bus.put(QUEUE, many(1))
    bench.up = False
    await bench.until(lambda: len(bench.clock.slept) >= 5)
    assert (bench.bus.acked, bench.bus.given_back, bench.stage.batches) == (0, 0, [])
    bench.up = True
    await bench.drained()
    assert bench.stage.batches == [["m0"]]


async def test_the_queue_is_released_when_the_far_end_goes_and_at_the_end() -> None:
    bench = Bench()
    bench.bus.put(QUEUE, many(1))
    await bench.drained()
    assert bench.bus.released == [QUEUE.name]


# -- claims --------------------------------------------------------------------------------------


async def test_a_pass_claimed_elsewhere_waits_behind_that_claim() -> None:
    bench = Bench()
    rig = bench.rig
    settle = rig.settle()
    bench.passage = Passage(
        QUEUE,
        [rig.deliver(settle)],
        settle,
        bus=bench.bus,
        clock=bench.clock,
        metrics=rig.metrics,
        log=LOG,
    )
    bench.worker = bench.over(bench.passage)
    claimed = Key("m1", 0, 0, "channel")
    await rig.state.admit([Admit(claimed, (), "somebody else", 25.0)])
    bench.bus.put(QUEUE, many(3))
    await bench.drained()
    assert rig.adapter.taken == ["m0", "m2"]
    (moved,) = [frame for frame in bench.bus.published if frame.topic == "out.east"]
    assert (moved.delay, moved.count) == (30, 1)
    assert rig.bus.topic("out.east") == [message("m1")]


async def test_state_away_between_send_and_conclude_sends_nothing_twice() -> None:
    bench = Bench()
    rig = bench.rig
    state = rig.state = Failing(rig.state)
    state.broken["conclude"] = (StateError("away"), 200)  # longer than conclude is patient
    settle = rig.settle()
    bench.passage = Passage(
        QUEUE,
        [rig.deliver(settle)],
        settle,
        bus=bench.bus,
        clock=bench.clock,
        metrics=rig.metrics,
        log=LOG,
    )
    bench.worker = bench.over(bench.passage)
    bench.bus.put(QUEUE, many(3))
    await bench.drained()
    await bench.clock.inner.advance(10.0)  # the claims run out
    bench.bus.ripen()
    await bench.until(lambda: len({record.id for record in bench.bus.records()}) == 3)
    assert sorted(rig.adapter.taken) == ["m0", "m1", "m2"]
    assert {type(record.outcome) for record in bench.bus.records()} <= {Sent, Unknown}
