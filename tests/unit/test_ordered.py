"""Ordered: strictly one after the other inside a key, whatever fails, crashes or waits; other keys run on.

Long because each way of failing is a short test on one stand.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from msgcenter.bus import Queue
from msgcenter.ordered import IN_PLACE_S, Ordered
from msgcenter.policy.retry import RetryRule
from msgcenter.state import Accepted, Admit, StateError
from msgcenter.store import ParkRow, StoreError
from msgcenter.suspects import CAREFUL_FROM, DEATHS
from msgcenter.worker import SPLIT_FROM, Passage, Worker
from protocols import wire
from protocols.envelope import Envelope
from protocols.outcome import Outcome, Rejected, Retry, Sent, Unknown
from tests.unit.rig import LOG, Rig, message
from tests.unit.test_worker import Quick

CONV = Queue("out.east", "conv")


class Park:
    """A ParkStore in memory, with the meaning of `msgcenter.store.park`."""

    def __init__(self) -> None:
        self.rows: list[ParkRow] = []
        self.wakes: dict[str, int] = {}
        self.fail = 0

    def _maybe_fail(self) -> None:
        if self.fail:
            self.fail -= 1
            raise StoreError("away")

    async def park(self, rows: Sequence[ParkRow]) -> None:
        self._maybe_fail()
        for row in rows:
            self.wakes.setdefault(row.order_key, row.wake_at)
            if row.id not in {known.id for known in self.rows}:
                self.rows.append(row)

    async def parked_wakes(self, queue: str) -> dict[str, int]:
        self._maybe_fail()
        return dict(self.wakes)

    async def parked_rows(
        self, queue: str, keys: Sequence[str], limit: int
    ) -> dict[str, list[ParkRow]]:
        return {key: [r for r in self.rows if r.order_key == key][:limit] for key in keys}

    async def settle_parked(
        self,
        queue: str,
        *,
        done: Sequence[str],
        changed: Mapping[str, bytes],
        wake: Mapping[str, int],
    ) -> frozenset[str]:
        self._maybe_fail()
        kept = [r for r in self.rows if r.id not in done]
        self.rows = [
            ParkRow(r.id, r.queue, r.order_key, changed.get(r.id, r.body), r.message) for r in kept
        ]
        gone = {key for key in wake if not any(r.order_key == key for r in self.rows)}
        for key, at in wake.items():
            self.wakes[key] = at
        for key in gone:
            self.wakes.pop(key)
        return frozenset(gone)

    def parked(self, key: str) -> list[str]:
        return [row.message for row in self.rows if row.order_key == key]


class Bench:
    """One partition's worker over a scripted far end; `start` is a new process on the same data."""

    def __init__(self, rule: RetryRule | None = None) -> None:
        self.rig = Rig(rule=rule or RetryRule(max_tries=1000, max_age_s=1e9))
        self.clock = self.rig.clock = Quick(self.rig.clock)
        self.bus, self.adapter = self.rig.bus, self.rig.adapter
        self.park = Park()
        self.order: dict[str, list[str]] = defaultdict(list)
        self.script: Any = lambda envelope: None
        self.tried: list[tuple[str, int, int]] = []
        self.stages: list[Any] = []
        self.adapter.script = self.answer
        self.start()

    def answer(self, dispatch: Any) -> Outcome:
        envelope: Envelope = dispatch.envelope
        self.tried.append((envelope.id, envelope.attempt, envelope.tries))
        said = self.script(envelope)
        if said is None:
            self.order[envelope.order_key].append(envelope.id)
            return Sent((f"f-{envelope.id}-{envelope.attempt}",))
        return said

    def start(self) -> None:
        settle = self.rig.settle()
        passage = Passage(
            CONV,
            [*self.stages, _replay(self.rig), self.rig.deliver(settle)],
            settle,
            bus=self.bus,
            clock=self.clock,
            metrics=self.rig.metrics,
            log=LOG,
        )
        self.handler = Ordered(
            CONV,
            passage,
            self.park,
            clock=self.clock,
            log=LOG,
            ready=self.ready,
            memory=self.rig.state,
        )
        self.worker = Worker(
            self.bus,
            CONV,
            self.handler,
            clock=self.clock,
            rng=random.Random(1),
            metrics=self.rig.metrics,
            log=LOG,
            max_wait=0.01,
        )

    async def take(self, items: Sequence[Envelope], number: int = 0) -> None:
        """Accepted, as the API does before a frame is on its way."""
        await self.rig.state.accepted([Accepted(item.id, b"m") for item in items])
        self.bus.put(CONV, items, number)

    async def ready(self) -> bool:
        return True

    async def until(self, condition: Any) -> None:
        stop = asyncio.Event()
        task = asyncio.create_task(self.worker.run(stop))
        async with asyncio.timeout(5):
            while not condition() and not task.done():
                await asyncio.sleep(0)
        stop.set()
        await task

    async def drained(self) -> None:
        await self.until(lambda: not self.bus.queues[CONV.name] and self.bus.acked)

    async def finished(self) -> None:
        """Until nothing is parked either; time passes as fast as it may."""
        async with asyncio.timeout(5):
            while self.bus.queues[CONV.name] or self.park.rows:
                await self.clock.inner.advance(1.0)
                before = self.bus.acked
                await self.until(
                    lambda before=before: (
                        not self.bus.queues[CONV.name]
                        and (
                            self.bus.acked > before
                            or all(w > self.clock.now_ms() for w in self.park.wakes.values())
                        )
                    )
                )


def _replay(rig: Rig) -> Any:
    from msgcenter.stages.replay import Replay

    return Replay(rig.state, "channel")


def line(key: str, count: int, start: int = 0) -> list[Envelope]:
    return [message(f"{key}-{n}", order_key=key) for n in range(start, start + count)]


def ids(key: str, count: int) -> list[str]:
    return [f"{key}-{n}" for n in range(count)]


async def test_lines_run_side_by_side_and_each_in_order() -> None:
    bench = Bench()
    mixed = [e for pair in zip(line("a", 5), line("b", 5), strict=True) for e in pair]
    await bench.take(mixed)
    await bench.drained()
    assert dict(bench.order) == {"a": ids("a", 5), "b": ids("b", 5)}
    assert len(bench.adapter.batches) == 5  # one of each key together


async def test_a_failing_head_is_tried_in_place_free_of_budget() -> None:
    bench = Bench(RetryRule(max_tries=2))
    failing = [1] * len(IN_PLACE_S)
    bench.script = lambda e: (
        Retry("recipient", "busy") if e.id == "a-0" and failing and failing.pop() else None
    )
    await bench.take(line("a", 2))
    await bench.drained()
    assert bench.order["a"] == ids("a", 2)
    assert [t for t in bench.tried if t[0] == "a-0"] == [("a-0", n, 0) for n in range(4)]
    assert bench.park.rows == []
    assert bench.clock.slept[:3] == list(IN_PLACE_S)


async def test_a_head_that_keeps_failing_parks_its_line_and_others_run_on() -> None:
    bench = Bench()
    bench.script = lambda e: Retry("recipient", "busy") if e.id == "a-0" else None
    await bench.take([*line("a", 3), *line("b", 3)])
    await bench.drained()
    assert bench.order == {"b": ids("b", 3)}
    assert bench.park.parked("a") == ids("a", 3)
    assert bench.handler.parked_keys == 1
    head = wire.open_sealed(bench.park.rows[0].body)
    assert (head.attempt, head.tries) == (4, 1)  # all the tries in place were one of the budget


async def test_what_arrives_for_a_parked_key_joins_its_end_and_wakes_in_order() -> None:
    bench = Bench()
    busy = True
    bench.script = lambda e: Retry("recipient", "busy") if busy and e.order_key == "a" else None
    await bench.take(line("a", 2))
    await bench.drained()
    await bench.take(line("a", 2, 2) + line("b", 1))
    await bench.until(lambda: bench.bus.acked == 2)
    assert bench.park.parked("a") == ids("a", 4)
    assert bench.order == {"b": ids("b", 1)}
    busy = False
    await bench.finished()
    assert bench.order["a"] == ids("a", 4)
    assert bench.handler.parked_keys == 0
    assert bench.park.wakes == {}


async def test_a_long_wish_parks_at_once() -> None:
    bench = Bench()
    bench.script = lambda e: Retry("recipient", "later", 30.0) if not e.attempt else None
    await bench.take(line("a", 1))
    await bench.drained()
    assert bench.tried == [("a-0", 0, 0)]
    assert bench.park.wakes["a"] - bench.clock.now_ms() == pytest.approx(30_000, abs=100)


async def test_a_wake_up_costs_a_try_and_ends_with_the_budget() -> None:
    bench = Bench(RetryRule(max_tries=3, max_age_s=1e9))
    bench.script = lambda e: Retry("recipient", "busy") if e.id == "a-0" else None
    await bench.take(line("a", 2))
    await bench.drained()
    await bench.finished()
    last = {r.envelope.id: r.outcome for r in bench.bus.records()}
    assert isinstance(last["a-0"], Rejected)
    assert last["a-0"].code == "retries_exhausted"
    assert bench.order["a"] == ["a-1"]
    assert {tries for id_, _, tries in bench.tried if id_ == "a-0"} == {0, 1, 2}


async def test_parked_rows_survive_a_restart() -> None:
    bench = Bench()
    busy = True
    bench.script = lambda e: Retry("recipient", "busy") if busy else None
    await bench.take(line("a", 3))
    await bench.drained()
    bench.start()
    busy = False
    await bench.take(line("a", 1, 3))
    await bench.finished()
    assert bench.order["a"] == ids("a", 4)


async def test_a_crash_between_park_and_ack_parks_and_sends_once() -> None:
    bench = Bench()
    busy = True
    bench.script = lambda e: Retry("recipient", "busy") if busy and e.id == "a-0" else None
    frame = line("a", 3)
    await bench.take(frame)
    await bench.drained()
    parked = list(bench.park.rows)
    bench.start()  # the ack never reached the broker:
    await bench.take(frame, 1)
    await bench.until(lambda: bench.bus.acked == 2)
    assert [r for r in bench.park.rows if r in parked] == parked
    assert [r.message for r in bench.park.rows[3:]] in (
        [],
        ["a-0"],
    )  # its first pass, already decided
    busy = False
    await bench.finished()
    assert bench.order["a"] == ids("a", 3)
    assert {r.envelope.id for r in bench.bus.records()} == set(ids("a", 3))


async def test_parking_that_fails_is_done_again() -> None:
    bench = Bench()
    bench.script = lambda e: (
        Retry("recipient", "busy", 60.0) if e.id == "a-0" and not e.attempt else None
    )
    bench.park.fail = 3
    await bench.take(line("a", 2))
    await bench.drained()
    assert bench.park.parked("a") == ids("a", 2)
    await bench.finished()
    assert bench.order["a"] == ids("a", 2)


async def test_items_behind_a_claim_that_runs_elsewhere_wait_for_its_end() -> None:
    bench = Bench()
    await bench.rig.state.admit(
        [Admit(line("a", 1)[0].key("channel"), (), "another process", 20.0)]
    )
    await bench.take([*line("a", 2), *line("b", 1)])
    await bench.drained()
    assert bench.order == {"b": ids("b", 1)}
    assert bench.park.parked("a") == ids("a", 2)
    assert bench.park.wakes["a"] - bench.clock.now_ms() == pytest.approx(20_100, abs=10)
    await bench.clock.inner.advance(15)
    await bench.finished()
    assert bench.order["a"] == ["a-1"]  # the first is unknown: its claim ended without a word
    outcomes = {r.envelope.id: type(r.outcome) for r in bench.bus.records()}
    assert outcomes["a-0"] is Unknown


async def test_a_poison_head_is_put_aside_and_its_line_goes_on() -> None:
    bench = Bench()
    stage = bench.handler._passage._stages[1]

    class Breaks:
        name = "breaks"

        async def __call__(self, given: Any) -> None:
            if any(i.envelope.id == "a-1" for i in given):
                raise ZeroDivisionError
            await stage(given)

    bench.handler._passage._stages = [Breaks()]
    await bench.take(line("a", 3) + line("b", 3))
    await bench.drained()
    assert bench.order == {"a": ["a-0", "a-2"], "b": ids("b", 3)}
    assert [dead.envelope.id for dead in bench.bus.topic("dead")] == ["a-1"]


async def test_a_far_end_that_is_away_gives_the_frame_back_in_order() -> None:
    bench = Bench()
    bench.adapter.plugged = False
    await bench.take(line("a", 2))
    turns = 0

    async def ready() -> bool:
        nonlocal turns
        turns += 1
        return False

    bench.handler._ready = ready
    await bench.until(lambda: bench.bus.given_back >= 2)
    assert turns >= 60
    bench.adapter.plugged = True
    await bench.drained()
    assert bench.order["a"] == ids("a", 2)


async def test_state_away_in_a_round_repeats_nothing() -> None:
    bench = Bench()
    failing = [StateError("away")] * 3
    replay = bench.handler._passage._stages[0]

    class Shaky:
        name = "replay"

        async def __call__(self, given: Any) -> None:
            if failing and given[0].envelope.id == "a-1":
                raise failing.pop()
            await replay(given)

    bench.handler._passage._stages = [Shaky(), *bench.handler._passage._stages[1:]]
    await bench.take(line("a", 3))
    await bench.drained()
    assert bench.order["a"] == ids("a", 3)


@pytest.mark.parametrize("seed", range(8))
async def test_random_failures_and_restarts_never_turn_a_conversation_round(seed: int) -> None:
    rng = random.Random(seed)
    bench = Bench()
    bench.script = lambda e: (
        Retry("recipient", "busy", rng.choice([0.0, 0.0, 5.0])) if rng.random() < 0.4 else None
    )
    keys = ["a", "b", "c"]
    sent: dict[str, int] = dict.fromkeys(keys, 0)
    for _ in range(8):
        frame = []
        for _ in range(rng.randint(1, 6)):
            key = rng.choice(keys)
            frame += line(key, 1, sent[key])
            sent[key] += 1
        await bench.take(frame)
        if rng.random() < 0.3:
            await bench.take(frame, 1)  # delivered again after a crash
        if rng.random() < 0.5:
            await bench.until(lambda: not bench.bus.queues[CONV.name])
        if rng.random() < 0.3:
            bench.start()
    await bench.finished()
    for key in keys:
        assert bench.order[key] == ids(key, sent[key])


# -- what kills its process ----------------------------------------------------------------------


class Killed(BaseException):
    """The end of a process: nothing of ours catches it, and nothing after it is done."""


class Deadly:
    """A stage that kills the process over some messages, before anything of them is claimed."""

    name = "deadly"

    def __init__(self, bench: Bench, *culprits: str) -> None:
        self.culprits = set(culprits)
        self.deaths = 0
        bench.stages = [self]

    async def __call__(self, given: Any) -> None:
        if any(i.envelope.id in self.culprits for i in given):
            self.deaths += 1
            raise Killed


async def survived(bench: Bench, until: Any) -> None:
    """Start process after process until one lives to see it."""
    for _ in range(100):
        try:
            await bench.until(until)
        except Killed:
            bench.start()
        else:
            return
    raise AssertionError("they die for ever")


def ended(bench: Bench, count: int) -> Any:
    """So many messages have ended, and nothing is parked."""
    return lambda: (
        len({r.envelope.id for r in bench.bus.records()}) == count and not bench.park.rows
    )


async def test_of_a_frame_that_kills_its_process_the_culprit_alone_is_given_up() -> None:
    bench = Bench()
    deadly = Deadly(bench, "a-1", "c-0")
    bench.start()
    bench.bus.put(CONV, [*line("a", 3), *line("b", 2), *line("c", 2)])
    bench.bus.put(CONV, [*line("a", 1, 3), *line("d", 1)])
    await survived(bench, ended(bench, 9))
    assert bench.order == {
        "a": ["a-0", "a-2", "a-3"], "b": ids("b", 2), "c": ["c-1"], "d": ids("d", 1),
    }  # fmt: skip
    dead = bench.bus.topic("dead")
    assert sorted(one.envelope.id for one in dead) == ["a-1", "c-0"]
    assert {one.outcome.code for one in dead} == {"poison"}
    outcomes = {r.envelope.id: type(r.outcome) for r in bench.bus.records()}
    assert len(outcomes) == 9
    assert set(outcomes.values()) == {Sent, Rejected}
    assert deadly.deaths <= SPLIT_FROM + 2 * DEATHS


async def test_of_a_parked_line_that_kills_its_process_the_culprit_alone_is_given_up() -> None:
    """It was parked for another reason, and kills whoever wakes it."""
    bench = Bench()
    bench.script = lambda e: Retry("recipient", "busy", 60.0) if e.id[2:] == "0" else None
    bench.bus.put(CONV, [*line("a", 3), *line("b", 3)])
    await bench.drained()
    bench.script = lambda e: None
    deadly = Deadly(bench, "b-1")
    bench.start()
    await bench.clock.inner.advance(90.0)
    await survived(bench, ended(bench, 6))
    assert bench.order == {"a": ids("a", 3), "b": ["b-0", "b-2"]}
    assert [one.envelope.id for one in bench.bus.topic("dead")] == ["b-1"]
    assert deadly.deaths == CAREFUL_FROM + DEATHS
    assert await bench.rig.state.memo([f"suspects\x1f{CONV.name}"]) == [None], "all is forgotten"


async def test_what_waits_among_suspects_is_no_culprit() -> None:
    """However often it is begun: it comes back, or a part of ours is away."""
    bench = Bench()
    bench.script = lambda e: Retry("recipient", "busy", 10.0) if e.id == "a-0" else None
    bench.bus.put(CONV, [*line("a", 2), *line("b", 1)], SPLIT_FROM - 1)
    await bench.drained()
    bench.park.fail = 5
    for _ in range(2 * DEATHS):
        await bench.until(lambda: all(w > bench.clock.now_ms() for w in bench.park.wakes.values()))
        await bench.clock.inner.advance(3600.0)
    assert bench.park.parked("a") == ids("a", 2)
    assert len([one for one in bench.tried if one[0] == "a-0"]) > DEATHS
    bench.script = lambda e: None
    await bench.until(ended(bench, 3))
    assert bench.order == {"a": ids("a", 2), "b": ids("b", 1)}
    assert bench.bus.topic("dead") == []
