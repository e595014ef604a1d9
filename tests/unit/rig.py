"""Parts of a core for unit tests: a bus of lists, a scripted adapter, a settle, envelopes; only the clock moves time."""

from __future__ import annotations

import asyncio
import random
import tempfile
import textwrap
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import structlog
from prometheus_client import CollectorRegistry
from pydantic import BaseModel

from msgcenter.adapter import Adapter, Dispatch, Spec, Unreachable
from msgcenter.bus import Delivery, Depth, Frame, Queue
from msgcenter.clock import Clock, ManualClock
from msgcenter.config import load
from msgcenter.customers import Person
from msgcenter.customers.person import nobody
from msgcenter.holds import Holds
from msgcenter.lanes import LaneGate
from msgcenter.lookup import GroupLookup
from msgcenter.metrics import Metrics
from msgcenter.pipeline import Item
from msgcenter.policy.retry import RetryRule
from msgcenter.policy.when import Facts
from msgcenter.rulebook import InForce
from msgcenter.settle import Settle
from msgcenter.stages.deliver import Deliver
from msgcenter.stages.fill import Fill
from msgcenter.stages.policy import Hours
from msgcenter.state import State
from msgcenter.state.memory import MemoryState
from msgcenter.store import DueRow, GroupRow
from msgcenter.templates.book import Book
from protocols import wire
from protocols.address import Address
from protocols.envelope import Envelope, Record
from protocols.outcome import Outcome, Sent
from protocols.payload import Text

T0 = 1_790_000_000_000
LOG = structlog.get_logger()
SPEC = Spec(kind="fake", title="fake", schemes=frozenset({"tel"}), max_batch=10, in_flight=2)


def metrics() -> Metrics:
    return Metrics(CollectorRegistry())


def message(id_: str = "msg_1", **more: Any) -> Envelope:
    to = Address("tel", "+8613800138000")
    values: dict[str, Any] = {
        "caller": "crm",
        "to": to,
        "category": "transactional",
        "tier": 2,
        "payload": Text("hi"),
        "created_at": T0,
        "person": str(to),
        "channels": ("fake",),
        "channel": "east",
    }
    return Envelope(id=id_, **{**values, **more})


SCHEMES = {"fake": frozenset({"tel"}), "desk": frozenset({"wecom"})}


def rules(policy: str = "", **files: str) -> InForce:
    """The rulebook of a configuration with this policy.yaml over the shipped one, and these files beside it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, text in {"policy": policy, **files}.items():
            (folder / f"{file}.yaml").write_text(textwrap.dedent(text))
        config = load(
            folder, settings_models=dict.fromkeys(SCHEMES, BaseModel), env={}, clock=ManualClock(T0)
        )
    return InForce(lambda: config, {"command"}, lambda kind: SCHEMES.get(kind, frozenset()))


class Directory:
    """The people behind addresses; whoever is not in it is nobody in particular. `error` is raised instead of an answer."""

    def __init__(self, *people: Person) -> None:
        self.people = {held.address: one for one in people for held in one.holdings}
        self.people |= {f"customer:{one.id}": one for one in people}
        self.error: Exception | None = None
        self.asked: list[list[str]] = []

    async def many(self, asked: Iterable[str], at: int) -> dict[str, Person]:
        keys = list(asked)
        self.asked.append(keys)
        if self.error is not None:
            raise self.error
        found = {key: self.people.get(key) for key in keys}
        return {
            key: one or nobody(key)
            for key, one in found.items()
            if one is not None or not key.startswith("customer:")
        }


def opened(frames: Iterable[Frame]) -> list[Any]:
    """The items of frames, read."""
    return [wire.open_sealed(data) for frame in frames for data in wire.unpack_frame(frame.body)]


class ListBus:
    """A Bus in memory. `failures`: exceptions that the next publishes raise, one each (None = works)."""

    def __init__(self) -> None:
        self.published: list[Frame] = []
        self.queues: dict[str, list[tuple[bytes, int]]] = defaultdict(list)
        self.failures: list[Exception | None] = []
        self.delayed: list[Frame] = []
        self.acked = 0
        self.released: list[str] = []
        self.declared: list[list[Queue]] = []
        self.given_back = 0

    async def declare(self, queues: Sequence[Queue]) -> None:
        self.declared.append(list(queues))

    async def publish(self, frames: Sequence[Frame]) -> None:
        if self.failures and (error := self.failures.pop(0)) is not None:
            raise error
        for frame in frames:
            self.published.append(frame)
            if frame.delay:
                self.delayed.append(frame)
            else:
                self.queues[frame.key].append((frame.body, 0))

    @asynccontextmanager
    async def consume(self, queue: Queue, *, max_batch: int, max_wait: float):
        waiting = self.queues[queue.name]
        taken, waiting[:max_batch] = waiting[:max_batch], []
        lease = _Lease([Delivery(queue, body, n + 1, i) for i, (body, n) in enumerate(taken)])
        try:
            await asyncio.sleep(0 if taken else 0.001)
            yield lease
        finally:
            back = [(d.body, d.number) for d in lease.deliveries if d.tag not in lease.acked]
            self.given_back += len(back)
            self.acked += len(lease.acked)
            waiting[:0] = back

    async def release(self, queue: Queue) -> None:
        self.released.append(queue.name)

    async def depths(self, queues: Sequence[Queue]) -> dict[str, Depth]:
        return {q.name: Depth(len(self.queues[q.name]), 0, None) for q in queues}

    async def purge(self, queue: Queue) -> int:
        count = len(self.queues[queue.name])
        self.queues[queue.name].clear()
        return count

    def healthy(self) -> str:
        return ""

    async def close(self) -> None:
        return

    def ripen(self) -> None:
        """Let every delay be over."""
        for frame in self.delayed:
            self.queues[frame.key].append((frame.body, 0))
        self.delayed.clear()

    def topic(self, topic: str) -> list[Any]:
        """What was published to a topic, read, oldest first."""
        return opened(frame for frame in self.published if frame.topic == topic)

    def records(self) -> list[Record]:
        return self.topic("record")

    def put(self, queue: Queue, items: Sequence[Envelope | Record], number: int = 0) -> None:
        """A frame that was delivered `number` times before."""
        body = wire.pack_frame([wire.seal(item) for item in items])
        self.queues[queue.name].append((body, number))


@dataclass
class _Lease:
    deliveries: list[Delivery]
    acked: set[int] = field(default_factory=set)

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        self.acked.update(d.tag for d in deliveries)


class Due:
    """A DueStore that keeps rows by id."""

    def __init__(self) -> None:
        self.rows: dict[str, DueRow] = {}

    async def hold(self, rows: Sequence[DueRow]) -> None:
        self.rows.update({row.id: row for row in rows})

    async def retime_due(self, message_ids: Sequence[str], at_ms: int) -> int:
        moved = {
            k: replace(row, at_ms=at_ms)
            for k, row in self.rows.items()
            if row.message in message_ids
        }
        self.rows.update(moved)
        return len(moved)


class Scripted(Adapter):
    """Answers with `script(dispatch)`; keeps what it was given. Unplugged it is unreachable."""

    spec = SPEC
    Settings = BaseModel

    def __init__(self, spec: Spec = SPEC, port: Any = None) -> None:
        super().__init__(None, port)
        self.spec = spec  # type: ignore[misc]
        self.batches: list[list[Dispatch]] = []
        self.script: Callable[[Dispatch], Outcome] = lambda d: Sent((f"far-{d.token}",))
        self.answers: Callable[[Sequence[Dispatch]], Any] | None = None
        self.asked: list[str] = []
        self.plugged = True

    @property
    def taken(self) -> list[str]:
        return [d.envelope.id for batch in self.batches for d in batch]

    async def deliver(self, batch: Sequence[Dispatch]) -> list[Outcome]:
        if not self.plugged:
            raise Unreachable("unplugged")
        self.batches.append(list(batch))
        await asyncio.sleep(0)
        return [self.script(one) for one in batch]

    async def resolve(self, claimed: Sequence[Dispatch]) -> list[Outcome]:
        self.asked += [d.token for d in claimed]
        assert self.answers is not None
        return self.answers(claimed)


class Failing:
    """Stands before a State: the verbs of `broken` raise what it says, `count` times."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.broken: dict[str, tuple[Exception, int]] = {}
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.inner, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            self.calls.append(name)
            error, left = self.broken.get(name, (None, 0))
            if error is not None and left:
                self.broken[name] = (error, left - 1)
                raise error
            return await found(*args, **kwargs)

        return call


@dataclass
class Rig:
    """One channel's settle and deliver over a MemoryState and a ListBus."""

    clock: Any = field(default_factory=lambda: ManualClock(T0))
    bus: ListBus = field(default_factory=ListBus)
    due: Due = field(default_factory=Due)
    rule: RetryRule = field(default_factory=RetryRule)
    adapter: Scripted = field(default_factory=Scripted)
    downs: list[str] = field(default_factory=list)
    in_flight: set[tuple[str, int, int]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.state: Any = MemoryState(self.clock, rng=random.Random(1))
        self.metrics = metrics()

    def settle(
        self,
        pipeline: str = "channel",
        *,
        clock: Clock | None = None,
        in_service: Callable[[str], bool] = lambda _: True,
    ) -> Settle:
        return Settle(
            pipeline,
            bus=self.bus,
            state=self.state,
            due=self.due,
            rules=lambda _: self.rule,
            spec_of=lambda channel: self.adapter.spec if channel else None,
            in_service=in_service,
            clock=clock or self.clock,
            rng=random.Random(2),
            metrics=self.metrics,
            partitions=2,
        )

    def gate(self, slots: int = 4) -> LaneGate:
        gate = LaneGate(slots, self.clock)
        gate.open()
        return gate

    def deliver(
        self,
        settle: Settle,
        *,
        gate: LaneGate | None = None,
        sole: bool = False,
        state: State | None = None,
        timeout: float = 1.0,
        max_batch: int = 10,
        adapter: Adapter | None = None,
        hours: Hours | None = None,
    ) -> Deliver:
        return Deliver(
            "east",
            adapter or self.adapter,
            state=state or self.state,
            conclude=settle.conclude,
            gate=gate or self.gate(),
            hours=hours,
            holds=Holds(self.clock),
            sender=lambda account: f"number of {account}" if account else "",
            refusable=lambda category: category == "marketing",
            down=self.downs.append,
            delivered=lambda: None,
            owner="me",
            sole=sole,
            in_flight=self.in_flight,
            send_timeout_s=timeout,
            max_batch=max_batch,
            clock=self.clock,
            metrics=self.metrics,
            log=LOG,
        )


def item(envelope: Envelope, outcome: Outcome | None = None) -> Item:
    return Item(envelope, outcome)


def items(count: int, **more: Any) -> list[Item]:
    return [Item(replace(message(f"msg_{n}"), **more)) for n in range(count)]


class GroupRows:
    """The registry as the stages read it."""

    def __init__(self, *rows: GroupRow) -> None:
        self.rows = {row.id: row for row in rows}

    async def groups_by_id(self, ids: Sequence[str]) -> dict[str, GroupRow]:
        return {one: self.rows[one] for one in ids if one in self.rows}


def lookup(clock: Clock, *rows: GroupRow) -> GroupLookup:
    return GroupLookup(GroupRows(*rows), clock)


def no_templates(clock: Clock) -> Fill:
    """A stage that knows no template."""
    return Fill(Book, no_facts, clock)


async def no_facts(envelopes: Sequence[Envelope]) -> list[Facts]:
    """Nothing is known beyond what routes need not ask."""
    return [Facts(person=envelope.person) for envelope in envelopes]
