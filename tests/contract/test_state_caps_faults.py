"""What becomes of caps when a process, a server or an answer is lost: never over a limit, and nothing held for good."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from msgcenter.clock import ManualClock
from msgcenter.state import Admit, Conclude, State, StateError
from msgcenter.state.memory import MemoryState
from msgcenter.state.redis import RedisState
from msgcenter.state.units import Reserve, Take
from protocols.envelope import Key
from tests.contract.state_rig import KINDS, Rig, message, opened
from tests.contract.test_state_caps import DAY, ask, rolling, send, take, used
from tests.contract.test_state_faults import Proxy, connected
from tests.servers import RedisServer


@pytest.fixture(params=KINDS)
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rig]:
    async with opened(request.param, request, tmp_path) as rig:
        yield rig


class Killed(Exception):
    """The process is gone."""


@dataclass
class Mortal:
    """A process's State that dies at its n-th step: before the step is done, or after it and before its answer. On Redis a step
    is one round trip, so that every place between the shards of a Cluster is met too."""

    state: State
    dies_at: int
    after: bool
    steps: int = field(default=0)

    def __post_init__(self) -> None:
        if isinstance(self.state, RedisState):
            scripts: Any = self.state._scripts
            run = type(scripts).run

            async def step(*args: object) -> object:
                return await self._step(lambda: run(scripts, *args))

            scripts.run = step
            self._verbs = False
        else:
            self._verbs = True

    async def _step(self, work: Any) -> Any:
        self.steps += 1
        if self.steps == self.dies_at and not self.after:
            raise Killed
        answer = await work()
        if self.steps == self.dies_at:
            raise Killed
        return answer

    async def call(self, verb: str, *args: object) -> Any:
        def work() -> Any:
            return getattr(self.state, verb)(*args)

        return await (self._step(work) if self._verbs else work())


@dataclass
class Pipeline:
    """What the stages do with four messages to one person, again after every crash; what really left is written down."""

    items: list[Reserve]
    sent: list[str] = field(default_factory=list)
    over: set[str] = field(default_factory=set)

    async def run(self, life: Mortal) -> None:
        for number, item in enumerate(self.items):
            if item.id in self.over:
                continue
            key = Key(item.id, 0, 0, "channel")
            [reserved] = await life.call("reserve", [item])
            if not reserved.ok:
                continue
            ticket = reserved.ticket
            [admitted] = await life.call("admit", [Admit(key, (), "w", 600.0, ticket)])
            if admitted.verdict == "go":
                self.sent.append(item.id)
                # The second message is refused by the far end.
                unspent = "refunded" if number == 1 else ""
                if unspent:
                    self.sent.remove(item.id)
                outcome = Conclude(key, b"x", reservation=ticket, unspent=unspent)  # type: ignore[arg-type]
                await life.call("conclude", [outcome])
            elif admitted.verdict == "claimed":
                # The claim of one that died: as nobody knows, an unknown; it may have been sent.
                await life.call("conclude", [Conclude(key, b"unknown")])
            self.over.add(item.id)


@pytest.mark.parametrize("after", [False, True])
async def test_killed_between_any_two_steps_never_over_the_limit(rig: Rig, after: bool) -> None:
    for dies_at in range(1, 60):
        person, account = f"p{dies_at}{after}", f"a{dies_at}{after}"
        takes: tuple[Take, ...] = (
            take(person, rolling(2)),
            take(account, rolling(2), series="account"),
            take(f"c{account}", rolling(50), series="caller"),
        )
        pipeline = Pipeline([ask(message(person), *takes) for _ in range(4)])
        state = rig.new()
        if isinstance(state, RedisState):
            vars(state._scripts).pop("run", None)
        life = Mortal(state, dies_at, after)
        died = False
        try:
            await pipeline.run(life)
        except Killed:
            died = True
        if isinstance(state, RedisState):
            vars(state._scripts).pop("run", None)
        reborn = Pipeline(pipeline.items, pipeline.sent, pipeline.over)
        await reborn.run(Mortal(state, 0, False))
        await reborn.run(Mortal(state, 0, False))
        assert len(set(reborn.sent)) == len(reborn.sent) <= 2
        spent = await used(state, *takes)
        assert all(len(reborn.sent) <= units <= 2 for units, _ in spent), (dies_at, spent)
        if not died:
            assert dies_at > 8
            assert (len(reborn.sent), spent) == (2, [(2, 0)] * 3)
            break
    else:
        raise AssertionError("it never got to the end")


WORKER = """
import asyncio, os, signal, sys
from random import Random
from msgcenter.clock import IdFactory, SystemClock
from msgcenter.state import Admit, Conclude
from msgcenter.state.redis import RedisState
from msgcenter.state.sqlite import SqliteState
from msgcenter.state.units import Counter, Reserve, Take, Window
from protocols.envelope import Key

kind, where, prefix, dies_at = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
clock = SystemClock()
ids = IdFactory(clock, Random(os.getpid()))
calls = 0

def step():
    global calls
    calls += 1
    if calls == dies_at:
        os.kill(os.getpid(), signal.SIGKILL)

async def one(state):
    takes = (
        Take(Counter("person", "p", 86_400_000, "p"), (Window("rolling", 3, 86_400_000),)),
        Take(Counter("account", "a", 86_400_000), (Window("rolling", 50, 86_400_000),)),
    )
    message = ids.message("p")
    step()
    [found] = await state.reserve([Reserve(message, 0, 0, takes)])
    step()
    if not found.ok:
        return
    key = Key(message, 0, 0, "channel")
    [go] = await state.admit([Admit(key, (), "w", 30.0, found.ticket)])
    if go.verdict == "go":
        print("sent", message, flush=True)
    step()
    await state.conclude([Conclude(key, b"sent", reservation=found.ticket)])

async def main():
    if kind == "sqlite":
        state = SqliteState(where, clock)
    else:
        state = RedisState(where, cluster=kind == "redis-cluster", prefix=prefix)
    for _ in range(5):
        await asyncio.gather(*(one(state) for _ in range(10)))
    await state.close()

asyncio.run(main())
"""


async def processes(kind: str, where: str, prefix: str, deaths: list[int]) -> list[str]:
    """Run one worker a death (the n-th step, 0 = none) at a time; what they said they sent."""
    running = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", WORKER, kind, where, prefix, str(death),
            stdout=asyncio.subprocess.PIPE,
        )
        for death in deaths
    ]  # fmt: skip
    said = await asyncio.gather(*(one.communicate() for one in running))
    for one, death in zip(running, deaths, strict=True):
        assert one.returncode == (-signal.SIGKILL if death else 0)
    return [line for out, _ in said for line in out.decode().splitlines()]


@pytest.mark.parametrize("kind", ["sqlite", "redis", "redis-cluster"])
async def test_four_processes_send_two_hundred_and_three_leave(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    where, prefix = place(kind, request, tmp_path)
    assert len(await processes(kind, where, prefix, [0, 0, 0, 0])) == 3


@pytest.mark.parametrize("kind", ["sqlite", "redis", "redis-cluster"])
async def test_processes_killed_anywhere_never_send_more_than_three(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    where, prefix = place(kind, request, tmp_path)
    sent = await processes(kind, where, prefix, [1, 11, 14, 21])
    sent += await processes(kind, where, prefix, [0, 12])
    assert len(sent) <= 3


def place(kind: str, request: pytest.FixtureRequest, folder: Path) -> tuple[str, str]:
    if kind == "sqlite":
        return str(folder / "state.db"), ""
    cluster = kind == "redis-cluster"
    url = request.getfixturevalue("redis_cluster_url" if cluster else "redis_url")
    return url, request.getfixturevalue("prefix")


@pytest.mark.parametrize("spread", [False, True])
async def test_a_lost_answer_takes_and_gives_back_once(
    own_redis: RedisServer, spread: bool
) -> None:
    proxy = Proxy(own_redis.port)
    takes = (take("p", rolling(3)), take("a", rolling(9), series="account"))
    async with proxy.open() as url, connected(url, spread=spread) as state:
        # Load the scripts, so that the answer lost is that of the script itself.
        assert await send(state, ask(message("q"), *(take("q", rolling(3)), takes[1])), "refunded")
        await state.release([Key("x", 0, 0, "channel")])
        one = ask(message("p"), *takes)
        key = Key(one.id, 0, 0, "channel")

        async def lossy(call: Any) -> Any:
            await state.ping()
            proxy.lose, before = True, proxy.lost
            said = await call
            assert proxy.lost == before + 1
            return said

        [held] = await lossy(state.reserve([one]))
        assert await used(state, *takes) == [(1, 1), (1, 1)]
        [go] = await lossy(state.admit([Admit(key, (), "w", 30.0, held.ticket)]))
        assert go.verdict == "go"
        assert await used(state, *takes) == [(1, 0), (1, 0)]
        await lossy(state.release([key], [held.ticket]))
        assert (await used(state, *takes))[0] == (1, 1)
        [go] = await state.admit([Admit(key, (), "w", 30.0, held.ticket)])
        assert go.verdict == "go"
        back = Conclude(key, b"x", reservation=held.ticket, unspent="refunded")
        await lossy(state.conclude([back]))
        assert await used(state, *takes) == [(0, 0), (0, 0)]


@pytest.mark.parametrize("spread", [False, True])
async def test_lost_state_shows_and_holds_what_must_know(
    own_redis: RedisServer, spread: bool
) -> None:
    admin = Redis(port=own_redis.port)
    cap = take("p", rolling(3, DAY, must_know=True))
    async with connected(own_redis.url, spread=spread) as state:
        await state.covered(["person"], 0)
        one = ask(message("p"), cap)
        [held] = await state.reserve([one])
        before = await state.policy_epoch()
        assert len(before) == (64 if spread else 1)
        admin.flushall()
        key = Key(one.id, 0, 0, "channel")
        [found] = await state.admit([Admit(key, (), "w", 30.0, held.ticket)])
        assert found.verdict == "unreserved"
        [denied] = await state.reserve([one])
        assert [full.use.why for full in denied.denied] == ["history"]
        after = await state.policy_epoch()
        assert all(new > old for new, old in zip(after, before, strict=True))
    admin.close()


async def test_a_full_server_reserves_nothing(own_redis: RedisServer) -> None:
    admin = Redis(port=own_redis.port)
    cap = take("p", rolling(3))
    async with connected(own_redis.url) as state:
        assert await send(state, ask(message("p"), cap))
        admin.config_set("maxmemory", "1mb")
        with pytest.raises(StateError, match=r"OOM|OutOfMemory"):
            await state.reserve([ask(message("p"), cap)])
        admin.config_set("maxmemory", "0")
        assert await used(state, cap) == [(1, 0)]
    admin.close()


async def test_counters_that_nobody_limits_stay_small_and_calendar_exact() -> None:
    """Ten thousand counted sends in a day: what is kept is a few hundred times, and midnight stays where it is."""
    clock = ManualClock(1_790_006_400_000)  # 00:00 in Shanghai
    state = MemoryState(clock)
    cap = take("a", rolling(20_000), series="account")
    for _ in range(1000):
        items = [ask(message(), cap, open_s=60) for _ in range(10)]
        found = await state.reserve(items)
        admits = [
            Admit(Key(item.id, 0, 0, "channel"), (), "w", 30.0, one.ticket)
            for item, one in zip(items, found, strict=True)
        ]
        await state.admit(admits)
        await clock.advance(86.4)
    cells = state.cells.load("n:" + cap.counter.name)
    assert len(cells["c"]) < 8000
    [(now_used, _)] = await used(state, cap)
    assert 9_990 - 110 <= now_used <= 10_000
    await clock.advance(43_200)
    [(half, _)] = await used(state, cap)
    assert 5_000 <= half <= 5_000 + 110, "at most a quarter of an hour more than there is"
    await clock.advance(43_200 + 900)
    assert await used(state, cap) == [(0, 0)]
