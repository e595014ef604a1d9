"""The law: items in = outcomes out = records out, whatever the far end answers and whichever part of ours is away."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from msgcenter import pipelines
from msgcenter.bus import BusError, Queue
from msgcenter.holds import Holds
from msgcenter.policy.retry import RetryRule
from msgcenter.policy.when import Facts
from msgcenter.reviews import Reviews
from msgcenter.stages.deliver import Resolve
from msgcenter.stages.policy import Hours
from msgcenter.stages.route import Target
from msgcenter.stages.unite import Announce
from msgcenter.state import StateError
from msgcenter.store import ReviewRow
from msgcenter.worker import Passage, Worker
from protocols import wire
from protocols.envelope import Envelope, Record
from protocols.outcome import Held, Outcome, Rejected, Retry, Routed, Sent, Suppressed, Unknown
from tests.unit.rig import (
    LOG,
    SPEC,
    T0,
    Directory,
    Failing,
    Rig,
    lookup,
    message,
    metrics,
    no_facts,
    no_templates,
    rules,
)
from tests.unit.test_worker import Quick

BOOK = rules(
    """
    caps:
      person: {scope: person, windows: [{rolling: 1h, limit: 20}, {gap: 1s}], on_cap: hold, max_wait: 3d}
    categories: {transactional: {bypass: false}}
    """
)
LANES = ("urgent", "normal", "bulk")
TERMINAL = (Sent, Suppressed, Rejected, Unknown)
SCOPES: tuple[Any, ...] = ("message", "recipient", "account", "channel")


class Nobody:
    """These rules hold no content."""

    async def ask_reviews(self, rows: Sequence[ReviewRow]) -> dict[str, ReviewRow]:
        raise AssertionError(rows)


class World:
    """Submit and one channel, over a bus, a State and a far end that all fail at random, in lasting order of one seed."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        rule = RetryRule(
            max_tries=4,
            max_age_s=1e6,
            on_unknown=self.rng.choice(["never", "once"]),
            unknown_wait_s=60.0,
        )
        self.rig = Rig(rule=rule)
        self.clock = self.rig.clock = Quick(self.rig.clock)
        self.state = self.rig.state = Failing(self.rig.state)
        self.bus = self.rig.bus
        ability = self.rng.choice([{}, {}, {"idempotent": True}, {"resolves": True}])
        self.rig.adapter.spec = replace(SPEC, **ability)  # type: ignore[misc,arg-type]
        self.left: Counter[tuple[str, str]] = Counter()
        """(message, token) -> times the bytes really left."""
        self.marked: set[str] = set()
        self.rig.adapter.script = self.answer
        self.rig.adapter.answers = lambda batch: [
            Sent(("asked",))
            if self.left[d.envelope.id, d.token]
            else Retry("message", "never came")
            for d in batch
        ]

    def answer(self, dispatch: Any) -> Outcome:
        envelope = dispatch.envelope
        dice = self.rng.random()
        if dice < 0.35:
            said: Outcome = Sent((f"f-{dispatch.token}",))
        elif dice < 0.55:
            return Retry(self.rng.choice(SCOPES), "busy", self.rng.choice([0.0, 40.0, 900.0]))
        elif dice < 0.7:
            return Rejected(self.rng.choice(SCOPES), "no", "refused")
        elif dice < 0.75:
            return Held(self.clock.now_ms() + 60_000, "quiet")
        elif dice < 0.8:
            return Suppressed("opt_out")
        else:
            said = Unknown("answer lost", ("f-part",) if dice < 0.85 else ())
        self.left[envelope.id, dispatch.token] += 1
        if envelope.possibly_duplicate:
            self.marked.add(envelope.id)
        return said

    def workers(self) -> list[Worker]:
        rig = self.rig
        submit, channel = rig.settle("submit"), rig.settle("channel")

        east = Target("east", rig.adapter.spec, "only")

        def route(kind: str, envelope: Envelope, facts: Facts) -> Target:
            return east

        resolve = Resolve(rig.adapter, self.state, lambda _: "", 1.0, LOG)
        lists = {
            "submit": (
                pipelines.submit(
                    self.state,
                    self.clock,
                    route,
                    {"east": east}.get,
                    lookup(self.clock),
                    no_facts,
                    no_templates(self.clock),
                    Directory(),
                    BOOK,
                    Reviews(Nobody(), self.clock),
                    lambda: False,
                    metrics(),
                ),
                submit,
            ),
            "out.east": (
                pipelines.channel(
                    self.state,
                    self.clock,
                    rig.adapter,
                    lookup(self.clock),
                    Holds(self.clock),
                    no_templates(self.clock),
                    resolve,
                    Hours(Directory(), BOOK, self.clock),
                    Announce(None, rig.adapter, lambda _: "", self.clock),
                    rig.deliver(channel),
                ),
                channel,
            ),
        }
        return [
            Worker(
                self.bus,
                queue,
                Passage(
                    queue,
                    stages,
                    settle,
                    bus=self.bus,
                    clock=self.clock,
                    metrics=rig.metrics,
                    log=LOG,
                ),
                clock=self.clock,
                rng=self.rng,
                metrics=rig.metrics,
                log=LOG,
                max_wait=0.0,
            )
            for topic, (stages, settle) in lists.items()
            for queue in (Queue(topic, lane) for lane in LANES)  # type: ignore[arg-type]
        ]

    def trouble(self) -> None:
        """Something of ours goes away for a few calls."""
        verb = self.rng.choice(
            ["replay", "reserve", "admit", "conclude", "publish", "crash", "none", "none"]
        )
        if verb == "publish":
            self.bus.failures = [BusError("away")] * self.rng.randint(1, 3)
        elif verb not in ("none", "crash"):
            self.state.broken[verb] = (StateError("away"), self.rng.randint(1, 3))
        elif verb == "crash":
            for queue in list(self.bus.queues.values()):  # unacked frames come again
                if queue and self.rng.random() < 0.5:
                    queue.append((queue[0][0], queue[0][1] + 1))

    async def run(self, messages: list[Envelope]) -> None:
        await self.state.policy_epoch()  # as a process does before it takes anything
        for number in range(0, len(messages), 7):
            for lane in LANES:
                part = [m for m in messages[number : number + 7] if _lane(m) == lane]
                if part:
                    self.bus.put(Queue("submit", lane), part)  # type: ignore[arg-type]
        for _ in range(400):
            self.trouble()
            stop = asyncio.Event()
            tasks = [asyncio.create_task(worker.run(stop)) for worker in self.workers()]
            async with asyncio.timeout(5):
                while self.waiting():
                    await asyncio.sleep(0)
            stop.set()
            await asyncio.gather(*tasks)
            if self.waiting():
                continue
            if not self.bus.delayed and not self.rig.due.rows:
                return
            await self.clock.inner.advance(1000.0)
            self.bus.ripen()
            rows = list(self.rig.due.rows.values())
            self.rig.due.rows.clear()
            for row in rows:
                self.bus.put(Queue("submit", row.lane), [wire.open_sealed(row.body)])
        raise AssertionError("never came to an end")

    def waiting(self) -> bool:
        return any(
            frames for key, frames in self.bus.queues.items() if key.startswith(("submit", "out."))
        )


def _lane(envelope: Envelope) -> str:
    return "urgent" if envelope.tier <= 1 else "normal" if envelope.tier <= 3 else "bulk"


@pytest.mark.parametrize("seed", range(60))
async def test_items_in_are_outcomes_out_are_records_out(seed: int) -> None:
    world = World(seed)
    rng = random.Random(seed)
    messages = [
        message(
            f"m{n}",
            tier=rng.randrange(7),
            channel="",
            channels=("fake",) * rng.choice([1, 1, 2, 3]),
            expires_at=T0 + 5_000_000 if rng.random() < 0.3 else 0,
            not_before=T0 + 100_000 if rng.random() < 0.2 else 0,
        )
        for n in range(30)
    ]
    await world.run(messages)
    records: dict[str, Record] = {}
    for record in world.bus.records():
        known = records.setdefault(record.id, record)
        assert known.outcome == record.outcome  # a repeat says the same
    passes = {r.envelope.key(r.pipeline): r for r in records.values()}
    assert len(passes) == len(records)
    for message_ in messages:
        mine = [r for r in records.values() if r.envelope.id == message_.id]
        last = max(
            mine, key=lambda r: (r.envelope.step, r.envelope.attempt, r.pipeline == "channel")
        )
        assert isinstance(last.outcome, TERMINAL), message_.id
        assert world_agrees(world, mine)
        # Every pass that was begun has its one record: attempts and steps have no gap.
        seen = sorted({(r.envelope.step, r.envelope.attempt) for r in mine})
        for (step, attempt), after in pairwise(seen):
            assert after in [(step, attempt + 1), (step + 1, 0)]
    snapshots = await world.state.get_many([m.id for m in messages])
    assert all(snapshot.view for snapshot in snapshots)


def world_agrees(world: World, mine: list[Record]) -> bool:
    """The far end had each (message, step, attempt) at most once, and twice only what is marked or recognised by token."""
    id_ = mine[0].envelope.id
    sent = {token: n for (owner, token), n in world.left.items() if owner == id_}
    steps = {r.envelope.step for r in mine}
    if world.rig.adapter.spec.idempotent:
        return len(sent) <= len(steps)
    extra = sum(sent.values()) - len(steps)
    return all(n == 1 for n in sent.values()) and (extra <= 0 or id_ in world.marked)


def test_the_scripts_reach_every_outcome() -> None:
    """Else the law would be tested on less than it says."""

    async def kinds() -> set[type]:
        out: set[type] = set()
        for seed in range(3):
            world = World(seed)
            await world.run(
                [message(f"m{n}", channel="", channels=("fake",) * 2) for n in range(40)]
            )
            out |= {type(record.outcome) for record in world.bus.records()}
        return out

    assert asyncio.run(kinds()) == {Sent, Routed, Suppressed, Held, Retry, Unknown, Rejected}
