"""The private servers keep what they confirmed across kill -9, isolate tests, say why they fail,
and die with their owner.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import aio_pika
import asyncpg
import pytest
import redis.asyncio

from tests import provision
from tests.servers import (
    QUORUM_SETTLE_SECONDS,
    MissingBinary,
    PostgresServer,
    RabbitNode,
    RedisServer,
    ServerError,
    find_binary,
    free_port,
)

STANDARD_PORTS = {4369, 5432, 5672, 6379, 15672, 25672}


def _dsn(url: str) -> str:
    return url.replace("+asyncpg", "")


async def test_redis_keeps_acknowledged_writes_across_kill_9(own_redis: RedisServer) -> None:
    async with redis.asyncio.from_url(own_redis.url) as client:
        await client.set("k", "v")
        assert (await client.config_get("maxmemory-policy"))["maxmemory-policy"] == "noeviction"
        assert (await client.config_get("appendfsync"))["appendfsync"] == "always"
    first = own_redis.pid
    own_redis.kill9()
    assert not own_redis.running
    own_redis.start()
    assert own_redis.pid != first
    async with redis.asyncio.from_url(own_redis.url) as client:
        assert await client.get("k") == b"v"
    own_redis.stop()
    own_redis.start()
    async with redis.asyncio.from_url(own_redis.url) as client:
        assert await client.get("k") == b"v"


async def test_postgres_keeps_commits_across_kill_9(own_postgres: PostgresServer) -> None:
    url = own_postgres.create_database()
    link = await asyncpg.connect(_dsn(url))
    await link.execute("CREATE TABLE t AS SELECT generate_series(1, 500) AS n")
    own_postgres.kill9()
    with pytest.raises((OSError, asyncpg.PostgresError, asyncpg.InterfaceError)):
        await link.execute("SELECT 1")
    link.terminate()
    own_postgres.start()
    assert own_postgres.sql("SELECT count(*) FROM t", url.rpartition("/")[2]) == "500"
    own_postgres.stop()
    own_postgres.start()
    assert own_postgres.sql("SELECT count(*) FROM t", url.rpartition("/")[2]) == "500"


async def test_rabbit_keeps_confirmed_messages_across_kill_9(own_rabbit: RabbitNode) -> None:
    link = await aio_pika.connect(own_rabbit.url)
    channel = await link.channel(on_return_raises=True)
    await channel.declare_queue("q", durable=True, arguments={"x-queue-type": "quorum"})
    message = aio_pika.Message(b"x", delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
    for _ in range(10):
        await channel.default_exchange.publish(message, "q", timeout=5)
    await asyncio.sleep(QUORUM_SETTLE_SECONDS)
    await asyncio.to_thread(own_rabbit.kill9)
    await asyncio.to_thread(own_rabbit.start)  # from a thread: the node must outlive it
    async with await aio_pika.connect(own_rabbit.url) as again:
        channel = await again.channel()
        for _ in range(10):  # a get waits for the recovery that the queue's counter runs ahead of
            queue = await channel.get_queue("q")
            assert (await queue.get(timeout=10)).body == b"x"
    own_rabbit.term()
    assert not own_rabbit.running


async def test_every_test_gets_an_empty_piece(
    redis_url: str, postgres_url: str, rabbit: RabbitNode, rabbit_vhost_url: str
) -> None:
    async with redis.asyncio.from_url(redis_url) as client:
        assert await client.dbsize() == 0
    link = await asyncpg.connect(_dsn(postgres_url))
    assert await link.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0
    await link.close()
    async with await aio_pika.connect(rabbit_vhost_url) as connection:
        channel = await connection.channel()
        await channel.declare_queue("only-here", exclusive=True)
    assert "only-here" not in rabbit.ctl("list_queues", "name")


def test_no_standard_port_is_used(
    rabbit: RabbitNode, redis_server: RedisServer, postgres: PostgresServer
) -> None:
    assert not STANDARD_PORTS & {rabbit.port, redis_server.port, postgres.port}


def test_ports_are_free_and_never_given_twice() -> None:
    ports = [free_port() for _ in range(50)]
    assert len(set(ports)) == 50
    for port in ports:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))


def test_a_reserved_port_is_not_given_to_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setattr("random.shuffle", lambda ports: ports.insert(0, port))
    assert free_port() != port


@pytest.mark.usefixtures("redis_server")
def test_a_failing_start_shows_the_log(tmp_path: Path) -> None:
    server = RedisServer(tmp_path, {"maxmemory-policy": "nonsense"})
    with pytest.raises(ServerError, match=r"redis ended with 1 at start\n(.|\n)*maxmemory-policy"):
        server.start()
    assert not server.running
    server.close()


@pytest.mark.usefixtures("redis_server", "postgres")
def test_servers_die_with_the_process_that_started_them(tmp_path: Path) -> None:
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from tests.servers import PostgresServer, RedisServer\n"
        "folder = Path(sys.argv[1])\n"
        "redis = RedisServer(folder / 'r').start()\n"
        "postgres = PostgresServer(folder / 'p').start()\n"
        "print(redis.pid, postgres.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        text=True,
    )
    assert owner.stdout is not None
    with owner.stdout:
        pids = [int(pid) for pid in owner.stdout.readline().split()]
    assert len(pids) == 2
    assert all(_alive(pid) for pid in pids)
    owner.send_signal(signal.SIGKILL)
    owner.wait(10)
    deadline = time.monotonic() + 10
    while any(_alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(_alive(pid) for pid in pids)
    PostgresServer.remove_orphans()


def _alive(pid: int) -> bool:
    """Whether a process runs; a dead one that nobody has collected yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_missing_binary_names_its_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tests.process.BINARIES", {"redis-server": ("redis-server", str(tmp_path))})
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingBinary, match="Debian package redis-server"):
        find_binary("redis-server")
    assert provision.missing_packages(["redis-server", "redis-server"]) == ["redis-server"]


def test_without_root_the_reason_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tests.process.BINARIES", {"redis-server": ("redis-server", str(tmp_path))})
    monkeypatch.setattr(
        "shutil.which", lambda name: "/usr/bin/apt-get" if name == "apt-get" else None
    )
    monkeypatch.setattr("tests.provision.os.geteuid", lambda: 1000)
    assert provision.provide("redis") == "redis needs: apt-get install redis-server (not root)"


@pytest.mark.parametrize("own", [None, "#!/bin/sh\nexit 0\n"])
def test_the_machines_own_service_policy_is_put_back(tmp_path: Path, own: str | None) -> None:
    policy = tmp_path / "policy-rc.d"
    if own is not None:
        policy.write_text(own)
        policy.chmod(0o744)
    with pytest.raises(KeyboardInterrupt), provision._services_stay_down(policy):
        assert subprocess.run([str(policy)], check=False).returncode == 101
        raise KeyboardInterrupt
    if own is None:
        assert not policy.exists()
    else:
        assert policy.read_text() == own
        assert policy.stat().st_mode & 0o7777 == 0o744


def test_a_missing_server_fails_when_real_ones_are_required(tmp_path: Path) -> None:
    source = (
        "import pytest\n"
        "from tests import conftest\n"
        "conftest._reasons['redis'] = 'redis is missing'\n"
        "def test_it():\n"
        "    conftest._require('redis')\n"
    )
    (tmp_path / "test_it.py").write_text(source)
    root = str(Path(__file__).parents[2])
    env = {**os.environ, "PYTHONPATH": root}
    for required, line in (("0", "1 skipped"), ("1", "1 failed")):
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                "-c",
                os.devnull,
                "-q",
                "-rs",
                "-p",
                "no:cacheprovider",
            ],
            cwd=tmp_path,
            env={**env, "MSGCENTER_REQUIRE_REAL": required},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert line in done.stdout
        assert "redis is missing" in done.stdout
