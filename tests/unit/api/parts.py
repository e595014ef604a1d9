"""The API over small real parts: State in memory, the Store on SQLite, a configuration folder, and
a bus that a test can stop."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from aiohttp import TCPConnector
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry
from pydantic import BaseModel

from msgcenter.adapter import Spec
from msgcenter.api.app import API, Api, build_app
from msgcenter.api.deps import Deps
from msgcenter.api.keys import create_key
from msgcenter.bus import BusError, Delivery, Depth, Frame, Lease, Queue
from msgcenter.clock import IdFactory, SystemClock
from msgcenter.config import Config, load
from msgcenter.customers.lookup import CustomerLookup
from msgcenter.customers.writes import CustomerWrites
from msgcenter.directory import Directory
from msgcenter.explain import Explain
from msgcenter.lookup import GroupLookup
from msgcenter.media import MediaStore
from msgcenter.metrics import Metrics
from msgcenter.policy.when import Facts
from msgcenter.rulebook import InForce
from msgcenter.stages.route import Target
from msgcenter.state.memory import MemoryState
from msgcenter.store.store import Store
from protocols import wire
from protocols.envelope import Envelope
from protocols.payload import Text
from tests.migrated import place
from tests.unit.rig import no_facts, no_templates

PEPPER = b"0123456789abcdef-test"

FILES = {
    "channels.yaml": """
sms-east: {kind: sms}
sms-west: {kind: sms}
grid: {kind: push}
""",
    "routes.yaml": """
routes:
- {kind: sms, channel: sms-east}
""",
    "accounts.yaml": """
hotline: {kind: sms, channel: sms-east, number: "10690000", extension: "01", caller: crm}
market: {kind: sms, channel: sms-east, number: "10690000", extension: "02"}
""",
    "callers.yaml": """
crm:
  scopes: [send, read]
  categories: [code, transactional, care, reply]
  defaults: {account: hotline}
iop:
  scopes: [send, read]
  categories: [marketing]
limited:
  scopes: [send, read]
  categories: ['*']
  quota: {rate: 1, burst: 5}
  defaults: {account: hotline}
off:
  enabled: false
  scopes: [read]
ops:
  scopes: [read, "read:all", admin]
""",
    "policy.yaml": """
categories:
  code: {channels: [sms]}
""",
}


class Settings(BaseModel):
    """Of the kinds in this test: none."""


SPECS = {
    "sms": Spec(
        "sms",
        "SMS",
        schemes=frozenset({"tel"}),
        needs_account=True,
        receipts=frozenset({"delivered"}),
    ),
    "push": Spec("push", "Push", schemes=frozenset({"gridapp"})),
}


class MemoryBus:
    """Keeps what was published. `down`: raise; `gate`: a test holds publishes back; `delay`: each
    takes this long."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.publishes: list[list[Frame]] = []
        self.down: Exception | None = None
        self.delay = 0.0
        self.gate: asyncio.Event | None = None
        self.asked = 0

    async def declare(self, queues: Sequence[Queue]) -> None:
        return

    async def publish(self, frames: Sequence[Frame]) -> None:
        self.asked += sum(frame.count for frame in frames)
        if self.gate is not None:
            await self.gate.wait()
        if self.delay:
            await asyncio.sleep(self.delay)
        if self.down is not None:
            raise self.down
        self.publishes.append(list(frames))
        self.frames += frames

    def consume(
        self, queue: Queue, *, max_batch: int, max_wait: float
    ) -> AbstractAsyncContextManager[Lease]:
        raise NotImplementedError

    async def release(self, queue: Queue) -> None:
        return

    async def depths(self, queues: Sequence[Queue]) -> dict[str, Depth]:
        return {queue.name: Depth(3, 1, 2.5) for queue in queues}

    async def purge(self, queue: Queue) -> int:
        return 0

    def healthy(self) -> str:
        return str(self.down) if self.down else ""

    async def close(self) -> None:
        return

    @property
    def envelopes(self) -> list[Envelope]:
        out = []
        for frame in self.frames:
            for sealed in wire.unpack_frame(frame.body):
                item = wire.open_sealed(sealed)
                assert isinstance(item, Envelope)
                out.append(item)
        return out


class Log:
    """Keeps what was said."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, Any]]] = []

    def __getattr__(self, level: str) -> Any:
        return lambda event, **facts: self.lines.append((level, event, facts))


class Live:
    def __init__(self, config: Config) -> None:
        self.current = config


class Parts:
    """Everything, with a client; `key(caller)` makes a key, `post`/`get` use it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = SystemClock()
        self.random = random.Random(7)
        self.bus = MemoryBus()
        self.state = MemoryState(self.clock)
        self.store = Store(f"sqlite:///{folder}/store.db", self.clock)
        self.log = Log()
        self.pressure = ""
        self.leaving = False
        self.own: dict[str, Spec] = {}
        """Channel -> what it can do, where that is not what its kind can."""
        self.client: TestClient[Any, Any]
        self.deps: Deps
        self.api: Api
        self._keys: dict[str, str] = {}

    async def start(
        self, files: Mapping[str, str] | None = None, env: Mapping[str, str] | None = None
    ) -> None:
        config = self.folder / "config"
        config.mkdir()
        for name, text in {**FILES, **(files or {})}.items():
            (config / name).parent.mkdir(exist_ok=True)
            (config / name).write_text(text, encoding="utf-8")
        place(self.folder / "store.db")
        await self.store.open()
        loaded = load(
            config,
            settings_models=dict.fromkeys(SPECS, Settings),
            env=dict(env or {}),
            clock=self.clock,
        )
        live, metrics = Live(loaded), Metrics(CollectorRegistry(), "0.0.1")
        self.deps = Deps(
            bus=self.bus,
            state=self.state,
            store=self.store,
            live=live,
            clock=self.clock,
            random=self.random,
            ids=IdFactory(self.clock, self.random),
            metrics=metrics,
            specs=SPECS,
            abilities=self.own.get,
            directory=Directory(
                lambda: live.current,
                bus=self.bus,
                state=self.state,
                store=self.store,
                clock=self.clock,
                metrics=metrics,
                log=self.log,
                partitions=4,
            ),
            customers=CustomerWrites(
                self.state, self.store, CustomerLookup(self.store, self.clock), self.clock
            ),
            explain=self._explain(live),
            pepper=PEPPER,
            media=MediaStore(self.folder / "media", self.store, self.clock),
            env="test",
            version="0.0.1",
            pressure=lambda: self.pressure,
            draining=lambda: self.leaving,
            queues=lambda: [Queue("submit", "normal")],
            log=self.log,
        )
        app = build_app(self.deps)
        self.api = app[API]
        self.client = TestClient(TestServer(app), connector=TCPConnector(limit=0))
        await self.client.start_server()

    def _explain(self, live: Any) -> Explain:
        def route(kind: str, envelope: Envelope, facts: Facts) -> Target | None:
            name = live.current.channel_for(kind, envelope.category, envelope.caller)
            return Target(name, SPECS[kind], f"route of kind {kind}") if name else None

        return Explain(
            self.state,
            CustomerLookup(self.store, self.clock),
            InForce(lambda: live.current, {"command"}, lambda kind: SPECS[kind].schemes),
            self.clock,
            route,
            lambda _: None,
            GroupLookup(self.store, self.clock),
            no_facts,
            no_templates(self.clock),
            lambda: False,
        )

    async def close(self) -> None:
        await self.client.close()
        await self.store.close()

    async def key(self, caller: str = "crm", **more: Any) -> str:
        if more or caller not in self._keys:
            _, full = await create_key(
                self.store,
                self.deps.live.current,
                caller=caller,
                pepper=PEPPER,
                now_ms=self.clock.now_ms(),
                who="test",
                env="test",
                **more,
            )
            if more:
                return full
            self._keys[caller] = full
        return self._keys[caller]

    async def call(
        self,
        method: str,
        path: str,
        json: Any = None,
        *,
        caller: str = "crm",
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> tuple[int, Any, Mapping[str, str]]:
        """(status, JSON, headers)."""
        given = {"Authorization": f"Bearer {await self.key(caller)}", **(headers or {})}
        if json is not None:
            more["json"] = json
        async with self.client.request(method, path, headers=given, **more) as response:
            data = await response.json(content_type=None)
            return response.status, data, response.headers

    async def post(self, path: str, json: Any = None, **more: Any) -> Any:
        return await self.call("POST", path, json, **more)

    async def get(self, path: str, **more: Any) -> Any:
        return await self.call("GET", path, **more)


def message(**over: Any) -> dict[str, Any]:
    """A good request; None removes a field."""
    body = {
        "to": "tel:+8613800138000",
        "category": "transactional",
        "channels": ["sms"],
        "content": {"type": "text", "text": "您的业务已办理"},
        **over,
    }
    return {name: value for name, value in body.items() if value is not None}


def text_of(envelope: Envelope) -> str:
    assert isinstance(envelope.payload, Text)
    return envelope.payload.text


__all__ = ["BusError", "Delivery", "MemoryBus", "Parts", "message", "text_of"]
