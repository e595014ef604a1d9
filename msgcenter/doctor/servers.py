"""RabbitMQ, Redis and PostgreSQL as the doctor sees them: there, set so that they forget nothing, with our queues, and on one clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from importlib.metadata import entry_points
from typing import Any
from urllib.parse import urlsplit

import aiormq
import asyncpg
from aiormq.abc import AbstractChannel, AbstractConnection
from aiormq.exceptions import AMQPError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from msgcenter.bus import BusError
from msgcenter.bus.rabbit.topology import differing
from msgcenter.bus.topology import topology
from msgcenter.doctor import Finding, Look, fail, ok, warn
from msgcenter.state import StateError
from msgcenter.state.redis import RedisState

SKEW_S = 2.0
"""Claims, leases and caps are timed by the server's clock, quiet hours by ours."""
OLDEST_POSTGRES = 13
FULL = 0.8
"""Part of Redis' `maxmemory` from which on it is time to do something: `noeviction` refuses writes at 1."""
AWAY = (OSError, TimeoutError)


def _where(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.hostname or parts.path}{f':{parts.port}' if parts.port else ''}"


async def redis(look: Look) -> AsyncIterator[Finding]:
    state = look.process.state
    if state.kind != "redis":
        return
    url = state.url.reveal()
    remedy = f"start it, or correct state.url (now {_where(url)}); `redis-cli ping` from this machine tells"
    client = Redis.from_url(
        url, socket_timeout=look.patience_s, socket_connect_timeout=look.patience_s
    )
    try:
        sent = look.clock.now_ms() / 1000
        seconds, micros = await client.time()
        look.skews["redis"] = seconds + micros / 1e6 - (sent + look.clock.now_ms() / 1000) / 2
        server: dict[str, Any] = await client.info("server")
        memory: dict[str, Any] = await client.info("memory")
    except (RedisError, *AWAY) as error:
        yield fail("redis", f"no answer from {_where(url)}: {error}", remedy)
        return
    finally:
        await client.aclose()
    yield ok("redis", f"{server['redis_version']} at {_where(url)}")
    checked = RedisState(url, cluster=state.cluster, prefix=state.prefix)
    try:
        await checked.check()
    except StateError as error:
        yield fail(
            "redis.policy",
            str(error),
            "set it as said, then start again: msgcenter refuses to run on this",
        )
    else:
        yield ok("redis.policy", "noeviction, AOF, fsync as it must be")
    finally:
        await checked.close()
    used, most = int(memory["used_memory"]), int(memory.get("maxmemory") or 0)
    if most and used > FULL * most:
        yield warn(
            "redis.memory",
            f"{used / most:.0%} of maxmemory is used; at 100 % nothing can be sent",
            "raise maxmemory (CONFIG SET maxmemory …, and redis.conf), or use a cluster",
        )


async def rabbit(look: Look) -> AsyncIterator[Finding]:
    bus = look.process.bus
    if bus.kind != "rabbit":
        return
    url = bus.url.reveal()
    try:
        async with asyncio.timeout(look.patience_s):
            connection = await aiormq.connect(url)
    except (AMQPError, *AWAY) as error:
        yield fail(
            "rabbit",
            f"no connection to {_where(url)}: {error or type(error).__name__}",
            f"start it, or correct bus.url (now {_where(url)}): address, user, password and virtual host",
        )
        return
    try:
        version = (connection.server_properties or {}).get("version", b"?")
        said = version.decode() if isinstance(version, bytes) else str(version)
        yield ok("rabbit", f"{said} at {_where(url)}")
        async for finding in _queues(look, connection):
            yield finding
        yield await _alarm(look, connection)
    finally:
        await connection.close()


async def _queues(look: Look, connection: AbstractConnection) -> AsyncIterator[Finding]:
    assert look.config is not None
    sinks = sorted(point.name for point in entry_points(group="msgcenter.sinks"))
    enabled = [name for name, channel in look.config.channels.items() if channel.enabled]
    queues = topology(enabled, sinks, look.process.bus.partitions)

    async def channel() -> AbstractChannel:
        return await connection.channel(publisher_confirms=False)

    try:
        async with asyncio.timeout(look.patience_s + 0.05 * len(queues)):
            missing, wrong = await differing(channel, look.process.bus.prefix, queues)
    except (BusError, AMQPError, *AWAY) as error:
        yield fail("rabbit.queues", f"the queues cannot be read: {error}", "see the broker's log")
        return
    for each in wrong:
        said, _, remedy = each.partition("; ")
        yield fail("rabbit.queues", said, remedy)
    there = len(queues) - len(missing) - len(wrong)
    if missing:
        yield warn(
            "rabbit.queues",
            f"{len(missing)} of {len(queues)} queues do not exist yet, {missing[0]} for one",
            "nothing, if msgcenter was never started here; else start it: it makes them",
        )
    elif not wrong:
        yield ok("rabbit.queues", f"{there} queues with the arguments of this release")


async def _alarm(look: Look, connection: AbstractConnection) -> Finding:
    """A broker in alarm takes connections and reads nothing from those that publish: only a publish tells."""
    try:
        async with asyncio.timeout(look.patience_s):
            channel = await connection.channel(publisher_confirms=True)
            probe = await channel.queue_declare(exclusive=True, auto_delete=True)
            await channel.basic_publish(b"doctor", routing_key=probe.queue or "")
    except TimeoutError:
        return fail(
            "rabbit.alarm",
            "the broker confirms nothing: a memory or disk alarm is up",
            "`rabbitmq-diagnostics alarms`; free disk or memory there, then sending goes on by itself",
        )
    except AMQPError as error:
        return fail(
            "rabbit.alarm",
            f"a publish was refused: {error}",
            "give the user configure, write and read on its virtual host (rabbitmqctl set_permissions)",
        )
    return ok("rabbit.alarm", "a publish is confirmed")


async def postgres(look: Look) -> AsyncIterator[Finding]:
    store = look.process.store
    if store.kind != "postgres":
        return
    url = store.url.reveal().replace("postgresql+asyncpg://", "postgresql://")
    try:
        connection = await asyncpg.connect(
            url, timeout=look.patience_s, command_timeout=look.patience_s
        )
    except (asyncpg.PostgresError, asyncpg.InterfaceError, *AWAY) as error:
        yield fail(
            "postgres",
            f"no connection to {_where(url)}: {error or type(error).__name__}",
            f"start it, or correct store.url (now {_where(url)}): address, user, password and database",
        )
        return
    try:
        version = connection.get_server_version()
        sent = look.clock.now_ms() / 1000
        now = await connection.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8")
        look.skews["postgres"] = now - (sent + look.clock.now_ms() / 1000) / 2
        names = ("fsync", "synchronous_commit", "full_page_writes", "default_transaction_read_only")
        values = {name: await connection.fetchval(f"SHOW {name}") for name in names}
    finally:
        await connection.close()
    yield ok("postgres", f"{version.major}.{version.minor} at {_where(url)}")
    if version.major < OLDEST_POSTGRES:
        yield fail(
            "postgres.version",
            f"release {version.major} is too old",
            f"upgrade to {OLDEST_POSTGRES} or newer",
        )
    wrong = {
        name: values[name]
        for name in ("fsync", "synchronous_commit", "full_page_writes")
        if values[name] == "off"
    }
    for name in wrong:
        yield fail(
            "postgres.durability",
            f"{name} is off: what was answered with 202 can be lost with the power",
            f"ALTER SYSTEM SET {name} = on; SELECT pg_reload_conf();",
        )
    if values["default_transaction_read_only"] == "on":
        yield fail(
            "postgres.writable",
            "this server takes no writes: a standby, or set read-only",
            "point store.url at the primary",
        )
    elif not wrong:
        yield ok("postgres.durability", "fsync, synchronous_commit and full_page_writes are on")


async def clocks(look: Look) -> AsyncIterator[Finding]:
    """The servers' clocks beside ours. Nothing to compare in the embedded set-up."""
    for name, skew in look.skews.items():
        if abs(skew) <= SKEW_S:
            yield ok(f"clock.{name}", f"{abs(skew):.1f} s apart")
            continue
        yield fail(
            f"clock.{name}",
            f"the clock of {name} is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} ours: "
            "quiet hours, caps and leases disagree",
            "run chrony or systemd-timesyncd on both machines; `timedatectl` says whether it is synchronised",
        )
