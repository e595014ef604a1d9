"""A whole core in one process for flow tests: real SQLite bus and store, a scripted adapter, no HTTP; parts can be made to crash at any call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import structlog
from prometheus_client import CollectorRegistry
from pydantic import BaseModel

from msgcenter.adapter import Adapter, Dispatch, Outcome, Sent, Spec, Unreachable
from msgcenter.app import App
from msgcenter.bus import Queue
from msgcenter.bus.topology import SUBMIT, place
from msgcenter.clock import Clock, IdFactory, SystemClock, system_random
from msgcenter.config import load
from msgcenter.live import live_config
from msgcenter.metrics import Metrics
from msgcenter.parts import Parts, open_parts
from msgcenter.settle import frames, publish_frames
from protocols import wire
from protocols.address import Address
from protocols.envelope import Envelope, Record
from protocols.payload import Text
from tests import migrated

#: These tests are about the core at any hour of the day: nobody must agree, and no time is quiet.
POLICY = """
categories:
  marketing: {receipt_wait: 1s, quiet: [], consent: false}
  reply: {receipt_wait: 1s, retry: {max_attempts: 1000, max_age: 1h}}
  transactional: {receipt_wait: 1s, retry: {max_attempts: 1000, max_age: 1h}}
"""


class Crash(BaseException):
    """The process is gone: nothing after this line runs."""


class ScriptedSettings(BaseModel):
    pass


class FarEnd:
    """What the far end really took: survives the app that is killed. `answer(dispatch)` may be replaced by a test."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.marked: list[bool] = []
        self.order: dict[str, list[str]] = {}
        self.plugged = True
        self.script: Callable[[Dispatch], Outcome | None] = lambda _: None
        self.delay = 0.0

    def take(self, item: Dispatch) -> Outcome:
        scripted = self.script(item)
        if scripted is not None:
            return scripted
        self.taken.append(item.envelope.id)
        self.marked.append(item.envelope.possibly_duplicate)
        self.order.setdefault(item.envelope.order_key, []).append(item.envelope.reference)
        return Sent((f"far-{item.envelope.id}-{len(self.taken)}",))


def scripted(far_end: FarEnd, *, max_batch: int = 100, in_flight: int = 4) -> type[Adapter]:
    class Scripted(Adapter):
        spec: ClassVar[Spec] = Spec(
            kind="devnull",
            title="scripted",
            payloads=frozenset({Text}),
            schemes=frozenset({"tel"}),
            max_batch=max_batch,
            in_flight=in_flight,
        )
        Settings = ScriptedSettings

        async def deliver(self, batch: Sequence[Dispatch]) -> list[Outcome]:
            if not far_end.plugged:
                raise Unreachable("unplugged")
            if far_end.delay:
                await asyncio.sleep(far_end.delay)
            return [far_end.take(item) for item in batch]

    return Scripted


class Jumping(SystemClock):
    """The system's clock, on another day: it goes on from `start_ms`, and leaps when told to."""

    def __init__(self, start_ms: int) -> None:
        self._ahead = start_ms - super().now_ms()

    def now_ms(self) -> int:
        return super().now_ms() + self._ahead

    def leap_to(self, at_ms: int) -> None:
        self._ahead += at_ms - self.now_ms()


class Records:
    """A sink that keeps what it was given; outlives the app."""

    def __init__(self) -> None:
        self.all: list[Record] = []

    async def write(self, records: Sequence[Record]) -> None:
        self.all.extend(records)

    def unique(self) -> dict[str, Record]:
        return {record.id: record for record in self.all}

    def of(self, pipeline: str) -> list[Record]:
        return [record for record in self.unique().values() if record.pipeline == pipeline]

    def last(self) -> dict[str, Record]:
        """Message id -> its final-most record (highest step, attempt, pipeline order)."""
        rank = {"submit": 0, "channel": 1, "inbound": 2}
        out: dict[str, Record] = {}
        for record in self.unique().values():
            key = (record.envelope.step, record.envelope.attempt, rank[record.pipeline])
            old = out.get(record.envelope.id)
            if old is None or key >= (
                old.envelope.step,
                old.envelope.attempt,
                rank[old.pipeline],
            ):
                out[record.envelope.id] = record
        return out


def config_folder(
    path: Path, *, process: str = "", channel: str = "", policy: str = POLICY, drain: str = "3s"
) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    (path / "channels.yaml").write_text(f"nowhere:\n  kind: devnull\n  send_timeout: 2s\n{channel}")
    (path / "policy.yaml").write_text(policy)
    (path / "callers.yaml").write_text("crm: {scopes: [send, read], categories: ['*']}\n")
    (path / "msgcenter.yaml").write_text(f"data: {path / 'data'}\ndrain: {drain}\n{process}")
    return path


@asynccontextmanager
async def running(
    folder: Path,
    adapter: type[Adapter],
    records: Records,
    *,
    wrap: Callable[[Parts], Parts] = lambda parts: parts,
    env: dict[str, str] | None = None,
    sinks: Callable[[Parts], dict[str, Any]] = lambda _: {},
    clock: Clock | None = None,
):
    """An app with every role but the API. Leaving the block stops it politely; `kill` beforehand for the other way."""
    clock, rng = clock or SystemClock(), system_random()
    config = load(folder, settings_models={"devnull": adapter.Settings}, env=env or {}, clock=clock)
    metrics = Metrics(CollectorRegistry())
    log = structlog.get_logger()
    migrated.place(config.process.data / "store.db")
    parts = await open_parts(config, clock, rng, log)
    live = live_config(
        config,
        settings_models={"devnull": adapter.Settings},
        env=env or {},
        clock=clock,
        metrics=metrics,
        log=log,
    )
    app = App(
        live,
        wrap(parts),
        adapters={"devnull": adapter},
        sinks=lambda _: {"test": records.write, **sinks(parts)},
        clock=clock,
        rng=rng,
        metrics=metrics,
        log=log,
    )
    await app.start()
    try:
        yield app
    finally:
        await app.stop()
        await parts.close()


def text(
    ids: IdFactory,
    number: int,
    *,
    category: str = "transactional",
    tier: int = 2,
    order_key: str = "",
    **more: Any,
) -> Envelope:
    to = Address("tel", f"+861380{number:07d}")
    return Envelope(
        id=ids.message(str(to)),
        caller="crm",
        to=to,
        category=category,
        tier=tier,
        payload=Text(f"text {number}"),
        created_at=SystemClock().now_ms(),
        person=str(to),
        channels=("devnull",),
        order_key=order_key,
        **more,
    )


async def submit(app: App, envelopes: Sequence[Envelope]) -> None:
    groups: dict[Queue, list[bytes]] = {}
    now = SystemClock().now_ms()
    for envelope in (replace(each, created_at=now) for each in envelopes):
        groups.setdefault(place(SUBMIT, envelope, app.partitions), []).append(wire.seal(envelope))
    await publish_frames(
        app.parts.bus,
        [frame for queue, sealed in groups.items() for frame in frames(queue, sealed)],
    )


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait for a condition, or fail."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)
