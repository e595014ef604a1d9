"""What State keeps and says when a process, a server or an answer is lost."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis import Redis

from msgcenter.clock import ManualClock, SystemClock
from msgcenter.state import Accepted, Begin, Conclude, Mark, State, StateError, Suppression
from msgcenter.state.cells import Retention
from msgcenter.state.memory import MemoryState
from msgcenter.state.redis import RedisState
from msgcenter.state.sqlite import SqliteState
from tests.contract.state_rig import RedisCluster, ask, key, message
from tests.servers import RedisServer, free_port

WRITER = """
import asyncio, sys
from msgcenter.clock import SystemClock
from msgcenter.state import Admit, Conclude
from msgcenter.state.sqlite import SqliteState
from protocols.envelope import Key

async def one(state, n):
    key = Key(f"msg_{n}", 0, 0, "channel")
    await state.admit([Admit(key, (), "w", 60.0)])
    print("claimed", n, flush=True)
    if n % 2:
        await state.conclude([Conclude(key, b"sent %d" % n)])
        print("sent", n, flush=True)

async def main():
    state = SqliteState(sys.argv[1], SystemClock())
    for start in range(0, 100_000, 10):
        await asyncio.gather(*(one(state, n) for n in range(start, start + 10)))

asyncio.run(main())
"""


@asynccontextmanager
async def connected(url: str, **options: object) -> AsyncIterator[RedisState]:
    state = RedisState(url, **options)  # type: ignore[arg-type]
    try:
        yield state
    finally:
        await state.close()


# -- processes and servers die --------------------------------------------------------------------


async def test_sqlite_keeps_what_it_said_through_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WRITER, str(path), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    said: list[list[str]] = []
    while len(said) < 300:
        said.append((await process.stdout.readline()).decode().split())
    os.kill(process.pid, signal.SIGKILL)
    said += [line.split() for line in (await process.stdout.read()).decode().splitlines()[:-1]]
    await process.wait()
    state = SqliteState(path, SystemClock())
    try:
        for word, number in said:
            one = key(f"msg_{number}")
            if word == "sent":
                assert await state.replay([one]) == [f"sent {number}".encode()]
            else:
                [found] = await state.admit([ask(one)])
                assert found.verdict in {"claimed", "done"}
    finally:
        await state.close()


async def test_redis_keeps_what_it_said_through_kill_9(own_redis: RedisServer) -> None:
    async with connected(own_redis.url, timeout_s=0.5) as state:
        one, two = key(), key()
        epoch = await state.epoch()
        await state.admit([ask(one), ask(two)])
        await state.conclude([Conclude(one, b"sent", correlate=(("r", 0),))])
        await state.suppress([Suppression("account:a", "paused")])
        await asyncio.to_thread(own_redis.kill9)
        started = time.monotonic()
        with pytest.raises(StateError, match="redis: ConnectionError"):
            await state.admit([ask(key())])
        with pytest.raises(StateError):
            await state.ping()
        assert time.monotonic() - started < 3
        await asyncio.to_thread(own_redis.start)
        found = await state.admit([ask(one), ask(two), ask(key(), "account:a")])
        assert [said.verdict for said in found] == ["done", "claimed", "suppressed"]
        assert await state.epoch() == epoch


async def test_a_refused_connection_is_a_state_error_at_once() -> None:
    async with connected(f"redis://127.0.0.1:{free_port()}/0") as state:
        started = time.monotonic()
        for call in (lambda: state.replay([key()]), state.ping, state.epoch, state.check):
            with pytest.raises(StateError):
                await call()
        assert time.monotonic() - started < 3
    async with connected(f"redis://127.0.0.1:{free_port()}", cluster=True) as state:
        started = time.monotonic()
        with pytest.raises(StateError):
            await state.get_many([message()])
        assert time.monotonic() - started < 3


async def test_a_server_that_hangs_is_a_state_error_in_bounded_time(own_redis: RedisServer) -> None:
    async with connected(own_redis.url, timeout_s=0.3, max_connections=4) as state:
        await state.ping()
        os.kill(own_redis.pid, signal.SIGSTOP)
        try:
            started = time.monotonic()
            said = await asyncio.gather(
                *(state.replay([key()]) for _ in range(20)), return_exceptions=True
            )
            assert all(isinstance(one, StateError) for one in said), said
            assert time.monotonic() - started < 2
        finally:
            os.kill(own_redis.pid, signal.SIGCONT)
        assert await state.replay([key()]) == [None]


# -- answers are lost -----------------------------------------------------------------------------


class Proxy:
    """A TCP proxy in front of Redis that once, when `lose` is set, drops the answer and hangs up."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.lose = False
        self.lost = 0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        try:
            yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.port)

        async def forward() -> None:
            while data := await reader.read(65536):
                far_writer.write(data)
            far_writer.close()

        sending = asyncio.create_task(forward())
        while data := await far_reader.read(65536):
            if self.lose:
                self.lose = False
                self.lost += 1
                break
            writer.write(data)
        sending.cancel()
        far_writer.close()
        writer.close()


@pytest.mark.parametrize("spread", [False, True])
async def test_a_lost_answer_is_given_again(own_redis: RedisServer, spread: bool) -> None:
    proxy = Proxy(own_redis.port)
    async with proxy.open() as url, connected(url, spread=spread) as state:
        one, first = key(), message()
        outcome = Conclude(one, b"sent", "sent", 1, (Mark(one.message, 0, 0, 0, "sent", "", 1),))

        async def lossy(call: Callable[[], object]) -> object:
            await state.ping()
            proxy.lose, before = True, proxy.lost
            said = await call()  # type: ignore[misc]
            assert proxy.lost == before + 1
            return said

        # Load the scripts, so that the answer lost is that of the script itself.
        await state.begin([Begin("c", "other", "f", message())])
        await state.admit([ask(key())])
        await state.conclude([Conclude(key(), b"x")])
        [begun] = await lossy(lambda: state.begin([Begin("c", "k", "f", first)]))
        assert begun.verdict == "new"
        [go, twin] = await lossy(lambda: state.admit([ask(one), ask(one)]))
        assert (go.verdict, twin.verdict) == ("go", "claimed")
        [held] = await state.admit([ask(one)])
        assert held.verdict == "claimed"
        [said] = await lossy(lambda: state.conclude([outcome]))
        assert (said.outcome, said.snapshot.view) == (b"sent", "sent")
        await lossy(lambda: state.accepted([Accepted(first, b"m", "c", "k", b"202")]))
        assert (await state.begin([Begin("c", "k", "f", message())]))[0].answer == b"202"
        names = ["x", "y"]
        assert (await lossy(lambda: state.lease("g", "a", names, 9))).held == {"x", "y"}


# -- the server's own troubles --------------------------------------------------------------------


async def test_forgotten_scripts_are_loaded_again(own_redis: RedisServer) -> None:
    admin = Redis(port=own_redis.port)
    for spread in (False, True):
        async with connected(own_redis.url, spread=spread, prefix=f"m{spread}") as state:
            keys = [key() for _ in range(20)]
            assert len(await state.admit([ask(one) for one in keys])) == 20
            admin.script_flush()
            assert {said.verdict for said in await state.admit([ask(one) for one in keys])} == {
                "claimed"
            }
    admin.close()


async def test_a_full_server_refuses_and_stores_nothing(own_redis: RedisServer) -> None:
    admin = Redis(port=own_redis.port)
    async with connected(own_redis.url) as state:
        one, two = key(), key()
        await state.admit([ask(one)])
        admin.config_set("maxmemory", "1mb")
        for call in (
            lambda: state.admit([ask(two)]),
            lambda: state.conclude([Conclude(one, b"sent", "sent", 1)]),
            lambda: state.suppress([Suppression("account:a", "x")]),
            lambda: state.begin([Begin("c", "k", "f", message())]),
        ):
            with pytest.raises(StateError, match=r"OOM|OutOfMemory"):
                await call()
        assert await state.replay([one, two]) == [None, None], "reading still works"
        admin.config_set("maxmemory", "0")
        found = await state.admit([ask(one), ask(two, "account:a")])
        assert [said.verdict for said in found] == ["claimed", "go"]
    admin.close()


async def test_check_names_every_setting_that_could_forget(own_redis: RedisServer) -> None:
    admin = Redis(port=own_redis.port)
    async with (
        connected(own_redis.url) as strict,
        connected(own_redis.url, fsync="everysec") as relaxed,
    ):
        await strict.check()
        admin.config_set("appendfsync", "everysec")
        await relaxed.check()
        with pytest.raises(StateError, match=r"appendfsync is everysec, must be always \(redis"):
            await strict.check()
        admin.config_set("maxmemory-policy", "volatile-lru")
        admin.config_set("appendonly", "no")
        with pytest.raises(StateError, match=r"maxmemory-policy .*noeviction.*appendonly is no"):
            await relaxed.check()
    admin.close()


@pytest.mark.parametrize("spread", [False, True])
async def test_a_flushed_server_shows_in_the_epoch(own_redis: RedisServer, spread: bool) -> None:
    admin = Redis(port=own_redis.port)
    async with connected(own_redis.url, spread=spread) as state:
        before = await state.epoch()
        assert await state.epoch() == before
        # On a Cluster one lost node takes some shards' keys with it: that is loss too.
        if spread:
            assert admin.delete("mc:{s17}:epoch") == 1
        else:
            admin.flushall()
        after = await state.epoch()
        assert after != before
        assert await state.epoch() == after
    admin.close()


async def test_a_cluster_is_checked_on_every_node(redis_cluster_url: str) -> None:
    async with connected(redis_cluster_url, cluster=True) as state:
        await state.check()
        await state.ping()


@pytest.mark.fault
async def test_a_lost_cluster_node_is_nothing_but_state_errors(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    del redis_server  # it proves that Redis is there
    cluster = RedisCluster(tmp_path)
    await asyncio.to_thread(cluster.start)
    said: list[BaseException | str] = []
    stop = asyncio.Event()

    async def work(state: State) -> None:
        while not stop.is_set():
            try:
                await state.admit([ask(key(), "account:a") for _ in range(20)])
                said.append("ok")
            except Exception as error:  # noqa: BLE001 - which kinds come is what is tested
                said.append(error)
                await asyncio.sleep(0.02)

    try:
        async with connected(cluster.url, cluster=True, timeout_s=0.5) as state:
            workers = [asyncio.create_task(work(state)) for _ in range(20)]
            for _ in range(2):
                await asyncio.sleep(0.5)
                await asyncio.to_thread(cluster.nodes[1].kill9)
                await asyncio.sleep(1)
                await asyncio.to_thread(cluster.nodes[1].start)
                for _ in range(200):
                    await asyncio.sleep(0.05)
                    if said[-20:] == ["ok"] * 20:
                        break
                else:
                    raise AssertionError(f"not back in 10 s: {said[-1]!r}")
            stop.set()
            await asyncio.gather(*workers)
    finally:
        await asyncio.to_thread(cluster.close)
    failures = [one for one in said if not isinstance(one, str)]
    assert failures
    assert {type(one) for one in failures} == {StateError}


# -- space is given back --------------------------------------------------------------------------


async def churn(state: State, clock: ManualClock, rounds: int) -> None:
    for _ in range(rounds):
        await state.conclude([Conclude(key(), b"sent") for _ in range(20)])
        await clock.advance(1)


async def test_expired_cells_are_swept_in_passing(tmp_path: Path) -> None:
    clock = ManualClock()
    retention = Retention(message_s=5)
    memory = MemoryState(clock, retention=retention)
    await churn(memory, clock, 200)
    assert len(memory.cells) < 400, "of 4,000 written, 100 are alive"
    path = tmp_path / "state.db"
    state = SqliteState(path, clock, retention=retention)
    await state.suppress([Suppression("account:a", "paused")])
    await churn(state, clock, 500)
    await state.close()
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT count(*) FROM cells").fetchone()[0] < 1000
        kept = db.execute("SELECT key FROM cells WHERE key LIKE 'g:%'").fetchall()
    db.close()
    assert kept == [("g:account:a",)]


async def test_a_closed_sqlite_state_says_so(tmp_path: Path) -> None:
    state = SqliteState(tmp_path / "state.db", ManualClock())
    await state.close()
    await state.close()
    with pytest.raises(StateError, match="closed"):
        await state.ping()
