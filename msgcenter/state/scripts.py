"""Runs the Lua scripts: one call on one Redis, one per shard on a Cluster, pipelined per node.

A call passes all its keys as KEYS and everything else as one msgpack argument, its last element the
items; the answer is msgpack with one element per item. Packing costs about a microsecond an item,
several times less than as many Redis arguments and replies.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from importlib import resources
from typing import Any, Final, TypeVar, cast

import msgpack
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff
from redis.exceptions import NoScriptError, RedisClusterException, RedisError

from msgcenter.state import StateError
from msgcenter.state.cells import packed

T = TypeVar("T")

NAMES: Final = (
    *("begin", "accepted", "replay", "admit", "conclude", "release", "correlate", "get_many"),
    *("suppress", "unsuppress", "tokens", "lease", "lock", "memo", "remember", "allow", "epoch"),
    *("plan_step", "plans", "enlist", "listed"),
    *("reserve", "peek", "units_away", "backfill", "covered"),
    *("counted", "unite"),
)
OF_UNITS: Final = frozenset(
    {"admit", "conclude", "release", "reserve", "peek", "units_away", "backfill", "covered"}
    | {"counted", "unite"}
)
"""These stand on what `units.lua` says: it is put before them."""
NOBODY: Final = -1
"""The position of an answer that is of no interest."""


class Script:
    """The text of `lua/<name>.lua` (after what it stands on) and the digest that EVALSHA wants."""

    def __init__(self, name: str) -> None:
        folder = resources.files("msgcenter.state").joinpath("lua")
        parts = ["units", name] if name in OF_UNITS else [name]
        self.text = "".join(
            folder.joinpath(f"{part}.lua").read_text(encoding="utf-8") for part in parts
        )
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


class Call:
    """A script call under construction: its keys (each once), constants of its own, its items."""

    __slots__ = ("_at", "constants", "items", "keys", "positions")

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.constants: list[object] = []
        self.items: list[object] = []
        self.positions: list[int] = []
        self._at: dict[str, int] = {}

    def key(self, name: str) -> int:
        """The index of a key, from 1 as Lua counts."""
        at = self._at.get(name)
        if at is None:
            self.keys.append(name)
            at = self._at[name] = len(self.keys)
        return at

    def add(self, position: int, item: object) -> None:
        """`position`: of the item in the verb's arguments, which its answer is returned with."""
        self.positions.append(position)
        self.items.append(item)


class Calls:
    """The calls of one verb, by shard when `spread`, else all in one."""

    def __init__(self, spread: bool) -> None:
        self._spread = spread
        self._by_shard: dict[int, Call] = {}

    def at(self, shard: int) -> Call:
        shard = shard if self._spread else 0
        call = self._by_shard.get(shard)
        if call is None:
            call = self._by_shard[shard] = Call()
        return call

    def __iter__(self) -> Iterator[Call]:
        return (call for call in self._by_shard.values() if call.items)


class Scripts:
    """The connection to a Redis or a Cluster. Every method raises StateError when it is away.

    `timeout_s`: for one connect, one answer, and one wait for a free connection; anything as a
    whole gives up after 2.5 times that.
    """

    def __init__(self, url: str, *, cluster: bool, timeout_s: float, max_connections: int) -> None:
        options: dict[str, Any] = {
            # The default of redis-py 8 is ten silent tries of five seconds each.
            "retry": Retry(ConstantBackoff(0.02), 1),
            "protocol": 2,
            "socket_timeout": timeout_s,
            "socket_connect_timeout": timeout_s,
        }
        self._client: Redis | RedisCluster
        if cluster:
            # Only 64 slots are in use, so a resharding is at most 64 redirects. The client's other
            # answer to redirects, closing everything, would cut off what other tasks have in flight.
            self._client = RedisCluster.from_url(
                url, max_connections=2 * max_connections, reinitialize_steps=0, **options
            )
        else:
            # The default pool raises when it is exhausted; this one waits.
            pool = BlockingConnectionPool.from_url(
                url, max_connections=max_connections, timeout=timeout_s, **options
            )
            self._client = Redis.from_pool(pool)
        # A Cluster's node pools raise when exhausted; this is what waits there.
        self._in_flight = asyncio.Semaphore(max_connections)
        self._timeout_s = timeout_s * 2.5
        self._scripts = {name: Script(name) for name in NAMES}

    async def run(self, name: str, calls: Calls, *constants: object) -> list[tuple[int, Any]]:
        """Run the script `name` once per call; (position, answer) of every item, in any order."""
        script = self._scripts[name]
        wanted = list(calls)
        commands: list[tuple[Any, ...]] = [
            ("EVALSHA", script.sha, len(call.keys), *call.keys, _argument(call, constants))
            for call in wanted
        ]
        if not commands:
            return []
        replies = await self._guard(lambda: self._evaluate(script, commands))
        answers: list[tuple[int, Any]] = []
        for call, reply in zip(wanted, replies, strict=True):
            answers += zip(call.positions, msgpack.unpackb(reply, raw=True), strict=True)
        return answers

    async def ping(self) -> None:
        await self._guard(lambda: self._command("PING"))

    async def settings(self, *names: str) -> list[tuple[str, dict[str, str]]]:
        """The CONFIG values of every primary: (node, name -> value)."""
        found: list[tuple[str, dict[str, str]]] = []
        if isinstance(self._client, RedisCluster):
            await self.ping()
            nodes: list[Any] = list(self._client.get_primaries())
        else:
            nodes = [None]
        for node in nodes:
            where: dict[str, Any] = {"target_nodes": node} if node is not None else {}
            values: dict[str, str] = {}
            for name in names:
                reply = await self._guard(partial(self._client.config_get, name, **where))
                values |= {_text(key): _text(value) for key, value in reply.items()}
            found.append(("redis" if node is None else str(node.name), values))
        return found

    async def close(self) -> None:
        await self._client.aclose()
        if isinstance(self._client, Redis):
            await self._client.connection_pool.disconnect()

    async def _evaluate(self, script: Script, commands: Sequence[tuple[Any, ...]]) -> list[bytes]:
        try:
            return await self._send(commands)
        except NoScriptError:
            # A server that is new or was restarted. Calls that other nodes ran already run again:
            # the scripts answer a repeat as they did at first.
            everywhere = isinstance(self._client, RedisCluster)
            load: dict[str, Any] = {"target_nodes": RedisCluster.PRIMARIES} if everywhere else {}
            await self._command("SCRIPT LOAD", script.text, **load)
            return await self._send(commands)

    async def _send(self, commands: Sequence[tuple[Any, ...]]) -> list[bytes]:
        if len(commands) == 1:
            return [await self._command(*commands[0])]
        if isinstance(self._client, RedisCluster):
            pipe: Any = self._client.pipeline()
        else:
            pipe = self._client.pipeline(transaction=False)
        async with pipe:
            for command in commands:
                pipe.execute_command(*command)
            return cast("list[bytes]", await pipe.execute())

    async def _command(self, *args: Any, **where: Any) -> Any:
        return await self._client.execute_command(*args, **where)

    async def _guard(self, work: Callable[[], Awaitable[T]]) -> T:
        try:
            async with asyncio.timeout(self._timeout_s), self._in_flight:
                if isinstance(self._client, RedisCluster):
                    # redis-py 8.1 sends a first command that comes before this to any node.
                    await self._client.initialize()
                return await work()
        except (RedisError, RedisClusterException, OSError) as error:
            # TimeoutError is an OSError.
            raise StateError(f"redis: {type(error).__name__}: {error}") from error
        except AttributeError as error:
            if not isinstance(self._client, RedisCluster):
                raise
            # On CLUSTERDOWN redis-py 8.1 closes all connections of a Cluster, and those that other
            # tasks are just opening fail on a writer that is None.
            raise StateError(f"redis: connection closed by another task: {error}") from error


def _argument(call: Call, constants: Sequence[object]) -> bytes:
    return packed([*constants, *call.constants, call.items])


def _text(value: bytes | str | None) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
