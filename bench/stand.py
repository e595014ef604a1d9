"""The stand: private RabbitMQ, Redis and PostgreSQL, the processes of both sides, and a CPU meter over all of them.

Everything dies with this process and lies in one temporary folder; the machine's own servers are not touched (tests/servers.py).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

from bench import far_end
from bench.naive import ROLES as NAIVE_ROLES
from bench.naive import Settings as NaiveSettings
from bench.naive import sms_settings
from msgcenter.api.keys import create_key
from msgcenter.clock import SystemClock
from msgcenter.serve import Process as Product
from msgcenter.store.store import Store
from tests import process as spawning
from tests.servers import PostgresServer, RabbitNode, RedisServer, free_port

ROOT = Path(__file__).parent.parent
PEPPER = "a pepper for the bench alone"
ROWS = {"message": 1, "record": 2, "event": 1}
"""Table -> rows that one message leaves there on either side: the records of its submit and its channel pass, the event `sent`.
When all are there, the message is archived."""
PRODUCT_ROLES = ("api", "submit", "channel", "inbound,archive,schedule")
"""One process each: as many as the baseline has."""
_CALLERS = """
bench:
  name_zh: 压测
  scopes: [send, read]
  categories: [transactional]
"""


class Child(spawning.Process):
    """One of our own programs: `python ARGV`, ready when `ready` says so of its output."""

    ready_seconds = 30.0

    def __init__(
        self,
        folder: Path,
        name: str,
        argv: Sequence[str],
        env: Mapping[str, str],
        ready: Callable[[str], bool],
    ) -> None:
        self.name = name
        super().__init__(folder)
        self._argv = [sys.executable, *argv]
        self._own = {**env, "PYTHONPATH": str(ROOT)}
        self._is_ready = ready

    def start(self) -> Self:
        """Raises ServerError with the tail of its log when it does not come up."""
        self._launch(self._argv, lambda: self._is_ready(self.log_tail(100_000)), self._own)
        return self

    def cpu(self) -> dict[int, float]:
        """Seconds of CPU so far, by process id."""
        return cpu_of(self.pid)


def cpu_of(pid: int) -> dict[int, float]:
    """CPU seconds (user and system) so far of a process and all its descendants."""
    out: dict[int, float] = {}
    parent = psutil.Process(pid)
    for one in (parent, *parent.children(recursive=True)):
        try:
            times = one.cpu_times()
        except psutil.NoSuchProcess:
            continue
        out[one.pid] = times.user + times.system
    return out


@dataclass(slots=True)
class Side:
    """One of the two middlewares, running: where to post, and what it consists of."""

    name: str
    port: int
    key: str
    store_url: str
    children: dict[str, Child]


class Servers:
    """The three servers, as a context manager; `folder` is the caller's."""

    def __init__(self, folder: Path) -> None:
        self.rabbit = RabbitNode(folder / "rabbit")
        self.redis = RedisServer(folder / "redis")
        self.postgres = PostgresServer(folder / "postgres")
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for server in (self.rabbit, self.redis, self.postgres):
                stack.enter_context(server)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def cpu(self) -> dict[str, dict[int, float]]:
        servers = {"rabbitmq": self.rabbit, "redis": self.redis, "postgres": self.postgres}
        return {name: cpu_of(server.pid) for name, server in servers.items()}


class Stand:
    """Servers, far end and both sides, started together: `with Stand(folder) as stand`."""

    def __init__(self, folder: Path, window: int = 16) -> None:
        self._folder = folder
        self._window = window
        self._stack = ExitStack()
        self.servers = Servers(folder)
        self.counts = far_end.Counts(folder / "counts")
        self.sides: dict[str, Side] = {}
        self._far_port = free_port()
        arguments = ["-m", "bench.far_end", str(self._far_port), str(folder / "counts")]
        self.far_end = Child(folder / "far", "far", arguments, {}, lambda _: self.counts.ready)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self.servers)
            stack.enter_context(self.far_end)
            for side in (self._product(), self._naive()):
                for child in side.children.values():
                    stack.enter_context(child)
                self.sides[side.name] = side
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def cpu(self, side: Side) -> dict[str, dict[int, float]]:
        """CPU seconds so far of everything that `side` keeps busy, by process name."""
        own = {name: child.cpu() for name, child in side.children.items()}
        return {**own, **self.servers.cpu(), "far end": self.far_end.cpu()}

    def _naive_settings(self, port: int, store_url: str, key: str) -> NaiveSettings:
        return NaiveSettings(
            rabbit=self.servers.rabbit.url,
            redis=self.servers.redis.db_url(1),
            postgres=store_url,
            port=port,
            key_hash=hashlib.sha256(key.encode()).hexdigest(),
            far_end=self._far_port,
            account=far_end.ACCOUNT,
            secret=far_end.SECRET,
            window=self._window,
        )

    def _naive(self) -> Side:
        port, key = free_port(), "naive-key"
        store_url = self.servers.postgres.create_database()
        settings = self._naive_settings(port, store_url, key)
        env = {"NAIVE": settings.model_dump_json()}
        folder = self._folder / "naive"
        children: dict[str, Child] = {
            role: Child(
                folder, role, ["-m", "bench.naive", role], env, lambda said: "ready" in said
            )
            for role in NAIVE_ROLES
        }
        return Side("naive", port, key, store_url, children)

    def _product(self) -> Side:
        port = free_port()
        store_url = self.servers.postgres.create_database()
        settings = sms_settings(self._naive_settings(port, store_url, ""))
        config = write_config(self._folder / "config", "sms", settings)
        env = product_env(self.servers, store_url, port)
        key = asyncio.run(_product_key(config, env, self._folder))
        children = {
            roles.partition(",")[0] if roles in ("api", "submit", "channel") else "archive": Child(
                self._folder / "product" / roles,
                roles.replace(",", "-"),
                ["-m", "msgcenter", "serve", "--config", str(config)],
                {
                    **env,
                    "MSGCENTER__ROLES": roles,
                    "MSGCENTER__DATA": str(self._folder / "product" / roles / "data"),
                },
                lambda said: "started" in said and "roles" in said,
            )
            for roles in PRODUCT_ROLES
        }
        return Side("product", port, key, store_url, children)


def write_config(folder: Path, kind: str, settings: Mapping[str, object]) -> Path:
    """A configuration folder with one channel `main` of `kind`."""
    folder.mkdir(parents=True)
    channel = {"kind": kind, "settings": dict(settings)}
    (folder / "channels.yaml").write_text(json.dumps({"main": channel}))  # YAML holds JSON
    (folder / "callers.yaml").write_text(_CALLERS)
    return folder


def product_env(servers: Servers, store_url: str, port: int) -> dict[str, str]:
    """Overrides for production parts on the stand's servers."""
    values = {
        "BUS__KIND": "rabbit",
        "BUS__URL": servers.rabbit.url,
        "STATE__KIND": "redis",
        "STATE__URL": servers.redis.db_url(0),
        "STORE__KIND": "postgres",
        "STORE__URL": store_url,
        "API__PORT": str(port),
        "API__PEPPER": PEPPER,
        "ARCHIVE__FILE__ENABLED": "false",
        "LOG__FORMAT": "json",
    }
    named = {f"MSGCENTER__{name}": value for name, value in values.items()}
    return {**named, "FAR_END_SECRET": far_end.SECRET}


async def _product_key(config: Path, env: Mapping[str, str], folder: Path) -> str:
    clock = SystemClock()
    product = Product(config, env={**env, "MSGCENTER__DATA": str(folder / "keys")})
    url = product.config.process.store.url
    assert url is not None
    store = Store(url.reveal(), clock)
    await store.open()
    try:
        await store.migrate()
        _, full = await create_key(
            store,
            product.config,
            caller="bench",
            pepper=PEPPER.encode(),
            now_ms=clock.now_ms(),
            who="bench",
        )
    finally:
        await store.close()
    return full
