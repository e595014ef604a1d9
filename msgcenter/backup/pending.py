"""What waits in a restored deployment, and its end: it is older than reality, so nobody knows whether it has left since.

Each waiting pass gets its outcome now: `Suppressed("restored")`, which settle calls unknown and never follows with a send. When the
process starts, `replay` finds the outcome and tells callers and sinks of it, as of any other. A gate on the message stops
whatever else of it may come (later tries, the next leaf of its plan).
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import msgpack

from msgcenter import status
from msgcenter.bus.topology import INBOUND, SUBMIT, out_topic
from msgcenter.settle import RESTORED, order_of_pass
from msgcenter.state import Conclude, Snapshot, State, Suppression
from msgcenter.state.cells import snapshot
from msgcenter.status import Meta
from msgcenter.store.copying import Waiting
from protocols import wire
from protocols.envelope import Envelope, Key, Record
from protocols.errors import Malformed
from protocols.outcome import Suppressed
from protocols.payload import Advance, DeliveryReport, Notice, Pull, Recall, Signal

GATE_S = 90 * 86400.0
"""How long the gate of a restored message stands; what of it came later than this would have to be a plan of months."""
BATCH = 200
NEVER_EARLY = ("send_at", "retry")
"""Rules of due rows that nothing but their time, or a cancellation, lets out: others go when rules are edited, a review is
decided, a pause ends, caps are counted."""
_OUT = out_topic("")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass that waits. `due`: it waits for a time that is not yet, and has not left unless it was let out `early`."""

    envelope: Envelope
    pipeline: str
    due: bool = False
    early: bool = False


@dataclass(slots=True)
class Pending:
    """What waits: passes by key, and how many frames could not be read."""

    passes: dict[Key, Pass] = field(default_factory=dict)
    unreadable: int = 0

    def add(self, one: Pass) -> None:
        self.passes.setdefault(one.envelope.key(one.pipeline), one)


@dataclass(frozen=True, slots=True)
class Remembered:
    """A message as a state file knows it."""

    id: str
    snapshot: Snapshot
    meta: Meta

    @property
    def status(self) -> str:
        return status.derive(self.snapshot)

    @property
    def open_plan(self) -> bool:
        return status.plan_open(self.snapshot)


def remembered(path: Path) -> Iterator[Remembered]:
    """The messages that were accepted, of an embedded State's file. Raises sqlite3.Error."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10.0)) as db:
        for key, value in db.execute(
            "SELECT key, value FROM cells WHERE key >= 'm:' AND key < 'm;'"
        ):
            cells = msgpack.unpackb(value)
            if "meta" in cells:
                seen = snapshot(cells["meta"], cells.get("v"), cells.get("e"))
                yield Remembered(key[2:], seen, Meta.unpack(cells["meta"]))


def concerns(envelope: Envelope) -> bool:
    """Whether it must not be done twice. What was received, its receipts and the news of plans are only read again; events to
    callers carry their id and may be repeated; a look at a far end and a withdrawal do no harm."""
    harmless = Advance | DeliveryReport | Notice | Pull | Recall | Signal
    return not envelope.inbound and not isinstance(envelope.payload, harmless)


def on_the_bus(path: Path, found: Pending) -> None:
    """The passes of an embedded bus's file, delayed ones included. Raises sqlite3.Error."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10.0)) as db:
        for table in ("frame", "later"):
            query = f"SELECT q.key, f.body FROM {table} f JOIN queue q ON q.id = f.queue"  # noqa: S608 - our own names
            for key, body in db.execute(query):
                pipeline = pipeline_of(key)
                if pipeline:
                    _open(body, pipeline, found)


def pipeline_of(queue: str) -> str:
    """Which pipeline works the queue of this name; "" = none that sends (records, dead letters)."""
    topic = queue.partition("@")[0].rsplit(".", 2)[0]
    if topic in (SUBMIT, INBOUND):
        return topic
    return "channel" if topic.startswith(_OUT) else ""


def _open(body: bytes, pipeline: str, found: Pending) -> None:
    try:
        sealed = wire.unpack_frame(body)
    except Malformed:
        found.unreadable += 1  # the process puts it with the invalid ones at its start
        return
    for data in sealed:
        _one(data, pipeline, found)


def _one(
    data: bytes, pipeline: str, found: Pending, due: bool = False, early: bool = False
) -> None:
    try:
        item = wire.open_sealed(data)
    except Malformed:
        found.unreadable += 1
        return
    if not isinstance(item, Record) and concerns(item):
        found.add(Pass(item, pipeline, due, early))


async def in_the_store(waiting: AsyncIterator[Waiting], now_ms: int, found: Pending) -> None:
    """The passes of due and parked rows."""
    async for one in waiting:
        if one.queue:
            _one(one.body, pipeline_of(one.queue), found)
        else:
            _one(one.body, SUBMIT, found, one.at_ms > now_ms, one.rule not in NEVER_EARLY)


def outcome(made_at: str) -> Suppressed:
    return Suppressed(RESTORED, f"it waited in the backup of {made_at}; it may have left since")


async def mark(
    state: State, passes: Iterable[Pass], gates: Iterable[str], ended: Suppressed
) -> None:
    """End these passes, and let nothing more of these messages leave. Raises StateError; may be repeated."""
    sealed = wire.seal_outcome(ended)
    calls = [
        Conclude(
            key=one.envelope.key(one.pipeline),
            outcome=sealed,
            view=f"unknown:{RESTORED}",
            order=order_of_pass(one.envelope.step, one.envelope.attempt, one.pipeline),
        )
        for one in passes
    ]
    for batch in _batches(calls):
        # The gate first: whatever fails in between, nothing leaves.
        await state.suppress(
            [Suppression(f"message:{call.key.message}", RESTORED, GATE_S) for call in batch]
        )
        stored = await state.replay([call.key for call in batch])
        fresh = [call for call, had in zip(batch, stored, strict=True) if had is None]
        if fresh:
            await state.conclude(fresh)
    for some in _batches(list(gates)):
        await state.suppress([Suppression(f"message:{one}", RESTORED, GATE_S) for one in some])


def _batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for at in range(0, len(items), BATCH):
        yield items[at : at + BATCH]
