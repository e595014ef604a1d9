"""The State implementations under test, each with a way to let time pass and to open its data twice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest
from redis import Redis

from msgcenter.clock import IdFactory, ManualClock, SystemClock
from msgcenter.state import Admit, State
from msgcenter.state.cells import Retention
from msgcenter.state.memory import MemoryState
from msgcenter.state.redis import RedisState
from msgcenter.state.sqlite import SqliteState
from protocols.envelope import Key
from tests.servers import RedisServer, free_port

KINDS = ("memory", "sqlite", "redis", "redis-per-shard", "redis-cluster")
_rng = Random(7)
_ids = IdFactory(SystemClock(), _rng)


def message(person: str = "") -> str:
    """A new message id; its shard is the person's, else any."""
    return _ids.message(person or str(_rng.random()))


def key(message_id: str = "", step: int = 0, attempt: int = 0, pipeline: str = "channel") -> Key:
    return Key(message_id or message(), step, attempt, pipeline)


def ask(one: Key, *gates: str, owner: str = "w1", deadline_s: float = 30.0) -> Admit:
    return Admit(one, gates, owner, deadline_s)


@dataclass
class Rig:
    """`open(**options)` gives a view of the same data (memory and SQLite: always the same one)."""

    kind: str
    open: Callable[..., State]
    later: Callable[[float], Awaitable[None]]
    """Let so many seconds pass, and a little more."""
    opened: list[State] = field(default_factory=list)

    @property
    def state(self) -> State:
        if not self.opened:
            self.new()
        return self.opened[0]

    def new(self, retention: Retention | None = None) -> State:
        """What another process would hold."""
        state = self.open(retention)
        if state not in self.opened:
            self.opened.append(state)
        return state


@asynccontextmanager
async def opened(kind: str, request: pytest.FixtureRequest, folder: Path) -> AsyncIterator[Rig]:
    rig = _local(kind, folder) if kind in {"memory", "sqlite"} else _redis(kind, request)
    try:
        yield rig
    finally:
        for state in rig.opened:
            await state.close()


def _local(kind: str, folder: Path) -> Rig:
    clock = ManualClock()
    made: list[State] = []

    def once(retention: Retention | None) -> State:
        if not made:
            if kind == "memory":
                made.append(MemoryState(clock, retention=retention))
            else:
                made.append(SqliteState(folder / "state.db", clock, retention=retention))
        return made[0]

    return Rig(kind, once, lambda seconds: clock.advance(seconds + 0.01))


def _redis(kind: str, request: pytest.FixtureRequest) -> Rig:
    cluster = kind == "redis-cluster"
    url = request.getfixturevalue("redis_cluster_url" if cluster else "redis_url")
    prefix = request.getfixturevalue("prefix")
    spread = True if kind == "redis-per-shard" else None

    def connect(retention: Retention | None) -> State:
        return RedisState(url, cluster=cluster, prefix=prefix, retention=retention, spread=spread)

    return Rig(kind, connect, lambda seconds: asyncio.sleep(seconds + 0.02))


class RedisCluster:
    """Two nodes that share the 16,384 slots: the smallest Cluster that redirects and pipelines."""

    def __init__(self, directory: Path) -> None:
        self.nodes = [
            RedisServer(
                directory / str(number),
                {"cluster-enabled": "yes", "cluster-port": str(free_port()), "databases": "1"},
            )
            for number in range(2)
        ]

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.nodes[0].port}"

    def start(self) -> None:
        for node in self.nodes:
            node.start()
        clients = [Redis(port=node.port) for node in self.nodes]
        clients[0].execute_command("CLUSTER ADDSLOTSRANGE", 0, 8000)
        clients[1].execute_command("CLUSTER ADDSLOTSRANGE", 8001, 16383)
        one = self.nodes[1]
        clients[0].execute_command(
            "CLUSTER MEET", "127.0.0.1", one.port, one.settings["cluster-port"]
        )
        for _ in range(200):
            if all(_complete(client) for client in clients):
                break
            time.sleep(0.05)
        else:
            raise AssertionError("two Redis nodes formed no cluster in 10 s")
        for client in clients:
            client.close()

    def close(self) -> None:
        for node in self.nodes:
            node.close()


def _complete(client: Redis) -> bool:
    info = client.execute_command("CLUSTER INFO")
    return info["cluster_state"] == "ok" and info["cluster_known_nodes"] == "2"
