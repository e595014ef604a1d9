"""Noisy callers: what one caller at ten times its quota does to another's latency, and what all together at three times the capacity do
to the service; each against the same without, in one run.

Every load is a process of its own. Four conditions take turns in each round, so the machine's own noise falls on all of them:
`alone`; `burner`, beside a process that only burns as much CPU as the noise cost in all, which is the floor for everything that shares
these cores; `quota`, beside the noisy caller at its quota; `noisy`, beside it at ten times its quota, in an open loop that no refusal
slows down. Then an overload: crowds without quotas offer three times what was found to be the capacity.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Literal

import psutil
from rich.console import Console
from rich.table import Table

from bench.load import Loaded
from bench.offer import DIFFERENT, Offered
from bench.stand import PEPPER, PRODUCT_ROLES, Child, Servers, cpu_of, product_env
from msgcenter.api.keys import create_key
from msgcenter.clock import SystemClock
from msgcenter.serve import Process as Product
from msgcenter.store.store import Store
from tests.servers import free_port

Parts = Literal["embedded", "production"]
Step = Callable[[str, int], None]
RATE = 60
"""The noisy caller's quota, messages a second; it offers ten times as much."""
TIMES = 10
TARGET = 1.5
QUIET = (4, 0.03)
"""Connections of the quiet caller, and the rest that each takes between two posts: a steady hundred a second or so."""
CROWDS = 3
OVER = 3
"""What the crowds offer together, in capacities."""
OVERLOAD_S = 10.0
CROWD_CONNECTIONS = 500
"""Of each: more requests than the API lets wait."""
CALM = 0.4
"""Cores that others may use while this measures, when it is asked to wait for that."""
CONDITIONS = ("alone", "burner", "quota", "noisy")
_FILES = {
    "channels.yaml": "main: {kind: devnull}\n",
    "callers.yaml": f"""
quiet: {{scopes: [send, read], categories: [transactional]}}
noisy: {{scopes: [send], categories: [transactional], quota: {{rate: {RATE}, burst: {RATE}}}}}
"""
    + "".join(
        f"crowd{n}: {{scopes: [send], categories: [transactional]}}\n" for n in range(CROWDS)
    ),
}


@dataclass(frozen=True, slots=True)
class Turn:
    """The quiet caller's figures of one turn (milliseconds), and the product's CPU meanwhile in seconds a second. `others`: cores that
    processes outside this bench used. `noise`: what was offered beside it."""

    condition: str
    p50: float
    p99: float
    cpu: float
    others: float
    noise: Offered | None = None


@dataclass(frozen=True, slots=True)
class Overload:
    """`capacity`: accepted a second by one crowd in a closed loop. `rss`: MB before, at most, after. `recovered_s`: from the end of the
    overload until a second of the quiet caller's posts was within TARGET of alone again; None: not within a minute."""

    capacity: float
    crowds: list[Offered]
    quiet: Offered
    rss: tuple[float, float, float]
    recovered_s: float | None
    recovered_p99: float


@dataclass(slots=True)
class Result:
    parts: Parts
    turns: list[Turn] = field(default_factory=list)
    calm_s: float = 0.0
    overload: Overload | None = None

    def of(self, condition: str) -> list[Turn]:
        return [turn for turn in self.turns if turn.condition == condition]

    def ratio(self, condition: str, to: str = "alone") -> float:
        """p99 in one condition to p99 in another, medians of the rounds."""
        return median(turn.p99 for turn in self.of(condition)) / median(
            turn.p99 for turn in self.of(to)
        )

    @property
    def refused_us(self) -> float:
        """The product's CPU for one refusal, in microseconds: what ten times the quota cost more than the quota alone."""
        out = []
        for noisy, quota in zip(self.of("noisy"), self.of("quota"), strict=True):
            if noisy.noise is not None and noisy.noise.refused:
                out.append((noisy.cpu - quota.cpu) * noisy.noise.seconds / noisy.noise.refused)
        return median(out) * 1e6 if out else 0.0


@dataclass(frozen=True, slots=True)
class Stand:
    """The product, running: where to post, its processes, and the servers that it uses."""

    port: int
    keys: Mapping[str, str]
    product: list[int]
    servers: list[int]

    def cpu(self) -> float:
        """CPU seconds so far of the product and its servers."""
        return sum(sum(cpu_of(pid).values()) for pid in (*self.product, *self.servers))

    def rss(self) -> float:
        """MB that the product's processes hold."""
        return float(sum(psutil.Process(pid).memory_info().rss for pid in self.product)) / 1e6


def run(parts: Parts, rounds: int, count: int, calm_s: float, step: Step) -> Result:
    """`count` messages of the quiet caller each turn; before each, up to `calm_s` are waited for others to leave this machine alone.

    Raises tests.servers.ServerError, RuntimeError (a load that failed).
    """
    with tempfile.TemporaryDirectory(prefix="msgcenter-bench-") as name:
        step("starting", len(CONDITIONS) * rounds + 1)
        with _stand(parts, Path(name)) as stand:
            return asyncio.run(_all(stand, Result(parts, calm_s=calm_s), rounds, count, step))


@contextmanager
def _stand(parts: Parts, folder: Path) -> Iterator[Stand]:
    config = folder / "config"
    config.mkdir()
    for file, text in _FILES.items():
        (config / file).write_text(text)
    with ExitStack() as stack:
        port, servers = free_port(), []
        if parts == "embedded":
            roles = ["api,submit,channel,inbound,archive,schedule"]
            env = {
                "MSGCENTER__API__PORT": str(port),
                "MSGCENTER__API__PEPPER": PEPPER,
                "MSGCENTER__LOG__FORMAT": "json",
            }
        else:
            roles = list(PRODUCT_ROLES)
            three = stack.enter_context(Servers(folder))
            env = product_env(three, three.postgres.create_database(), port)
            servers = [three.rabbit.pid, three.redis.pid, three.postgres.pid]
        data = {one: folder / "data" / one.partition(",")[0] for one in roles}
        for path in data.values():
            path.mkdir(parents=True)
        keys = asyncio.run(_keys(config, env, data[roles[0]]))
        children = [
            stack.enter_context(
                Child(
                    folder / "run" / one.partition(",")[0],
                    one.partition(",")[0],
                    ["-m", "msgcenter", "serve", "--config", str(config)],
                    {**env, "MSGCENTER__ROLES": one, "MSGCENTER__DATA": str(data[one])},
                    lambda said: "started" in said and "roles" in said,
                )
            )
            for one in roles
        ]
        yield Stand(port, keys, [child.pid for child in children], servers)


async def _keys(config: Path, env: Mapping[str, str], data: Path) -> dict[str, str]:
    clock = SystemClock()
    loaded = Product(config, env={**env, "MSGCENTER__DATA": str(data)}).config
    url = loaded.process.store.url
    store = Store(url.reveal() if url is not None else f"sqlite:///{data}/store.db", clock)
    await store.open()
    try:
        await store.migrate()
        made = {}
        for caller in loaded.callers:
            _, made[caller] = await create_key(
                store,
                loaded,
                caller=caller,
                pepper=PEPPER.encode(),
                now_ms=clock.now_ms(),
                who="bench",
            )
        return made
    finally:
        await store.close()


# -- one noisy caller -----------------------------------------------------------------------------------------------


async def _all(stand: Stand, result: Result, rounds: int, count: int, step: Step) -> Result:
    total = len(CONDITIONS) * rounds + 1
    numbers = _Numbers()
    await _quiet(stand, 200, numbers)
    burn = 0.3
    for number in range(rounds):
        for condition in ("alone", "quota", "noisy", "burner"):
            step(f"{condition}: round {number + 1} of {rounds}", total)
            await _calm(result.calm_s)
            turn = await _turn(stand, condition, count, numbers, burn)
            result.turns.append(turn)
            if turn.noise is not None and condition == "noisy":
                client = turn.noise.cpu / turn.noise.seconds
                burn = max(0.05, turn.cpu - result.of("alone")[-1].cpu + client)
    step("overload: everybody", total)
    await _calm(result.calm_s)
    result.overload = await _overload(stand, result, numbers)
    return result


class _Numbers:
    """Messages differ, whoever sends them."""

    def __init__(self) -> None:
        self._next = 0

    def take(self, count: int) -> int:
        self._next += count
        return self._next - count


async def _turn(stand: Stand, condition: str, count: int, numbers: _Numbers, burn: float) -> Turn:
    times = {"quota": 1, "noisy": TIMES}.get(condition)
    if times is not None:
        async with _child(
            "bench.offer", *_offer(stand, "noisy", RATE * times, 300.0, numbers)
        ) as noise:
            _go(noise)
            await asyncio.sleep(2.0)  # its burst is used up
            turn = await _measured(stand, condition, count, numbers)
            noise.terminate()
            offered = await _offered(noise)
        await asyncio.sleep(0.5)
        return replace(turn, noise=offered)
    if condition == "burner":
        async with _child("bench.burn", f"{burn:.3f}"):
            return await _measured(stand, condition, count, numbers)
    return await _measured(stand, condition, count, numbers)


async def _measured(stand: Stand, condition: str, count: int, numbers: _Numbers) -> Turn:
    product, machine, began = stand.cpu(), _busy(), time.monotonic()
    ours = _ours()
    quiet = await _quiet(stand, count, numbers)
    took = time.monotonic() - began
    others = _busy() - machine - (_ours() - ours) - quiet.cpu
    return Turn(
        condition, quiet.p50, quiet.p99, (stand.cpu() - product) / took, max(0.0, others / took)
    )


async def _calm(longest_s: float) -> None:
    """Wait until others use less than CALM of this machine, `longest_s` at the most."""
    deadline = time.monotonic() + longest_s
    while time.monotonic() < deadline:
        busy, ours, began = _busy(), _ours(), time.monotonic()
        await asyncio.sleep(1.0)
        others = _busy() - busy - (_ours() - ours)
        if others / (time.monotonic() - began) < CALM:
            return


def _busy() -> float:
    """CPU seconds so far of everything on this machine."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq)


def _ours() -> float:
    """CPU seconds so far of this bench: the product, its servers and the loads that run are its children."""
    return sum(cpu_of(os.getpid()).values())


async def _quiet(stand: Stand, count: int, numbers: _Numbers) -> Loaded:
    connections, pause = QUIET
    return await _load(stand, "quiet", connections, count, numbers, pause)


# -- everybody ------------------------------------------------------------------------------------------------------


async def _overload(stand: Stand, result: Result, numbers: _Numbers) -> Overload:
    before = stand.rss()
    closed = await _load(stand, "crowd0", 100, 2000, numbers, 0.0)
    capacity = closed.posts / (closed.ended - closed.began)
    most = before

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, stand.rss())
            await asyncio.sleep(0.2)

    watching = asyncio.create_task(watch())
    async with AsyncExitStack() as stack:
        offers = []
        for crowd in range(CROWDS):
            rate = capacity * OVER / CROWDS
            arguments = _offer(stand, f"crowd{crowd}", rate, OVERLOAD_S, numbers, CROWD_CONNECTIONS)
            offers.append(await stack.enter_async_context(_child("bench.offer", *arguments)))
        arguments = _offer(stand, "quiet", 50, OVERLOAD_S, numbers)
        offers.append(await stack.enter_async_context(_child("bench.offer", *arguments)))
        for offer in offers:
            _go(offer)
        *crowds, quiet = [await _offered(offer) for offer in offers]
    ended = time.monotonic()
    bound = TARGET * median(turn.p99 for turn in result.of("alone"))
    recovered_s, p99 = None, 0.0
    while recovered_s is None and time.monotonic() - ended < 60:
        p99 = (await _quiet(stand, 100, numbers)).p99
        if p99 <= bound:
            recovered_s = time.monotonic() - ended
    after = stand.rss()
    watching.cancel()
    return Overload(capacity, crowds, quiet, (before, most, after), recovered_s, p99)


# -- loads ----------------------------------------------------------------------------------------------------------


def _offer(
    stand: Stand, caller: str, rate: float, seconds: float, numbers: _Numbers, connections: int = 0
) -> tuple[str, ...]:
    """The arguments of bench.offer; as many connections as can be answered twenty times a second, unless given."""
    first = numbers.take(DIFFERENT)
    connections = connections or max(4, round(rate / 20))
    return tuple(map(str, (stand.port, stand.keys[caller], connections, rate, seconds, first)))


def _go(child: asyncio.subprocess.Process) -> None:
    assert child.stdin is not None
    child.stdin.write(b"go\n")


async def _offered(child: asyncio.subprocess.Process) -> Offered:
    said, _ = await child.communicate()
    if child.returncode:
        raise RuntimeError(f"bench.offer ended with {child.returncode}")
    return Offered(**json.loads(said))


async def _load(
    stand: Stand, caller: str, connections: int, count: int, numbers: _Numbers, pause: float
) -> Loaded:
    first = numbers.take(count)
    arguments = map(str, (stand.port, stand.keys[caller], connections, count, 0, first, pause))
    child = await _start("bench.load", *arguments)
    said, _ = await child.communicate()
    if child.returncode:
        raise RuntimeError(f"bench.load ended with {child.returncode}")
    return Loaded(**json.loads(said))


async def _start(module: str, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", module, *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "BENCH_KIND": "devnull"},
    )


@asynccontextmanager
async def _child(module: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """One that says `ready`; it does not outlive the block."""
    child = await _start(module, *arguments)
    try:
        assert child.stdout is not None
        if (await child.stdout.readline()).strip() != b"ready":
            raise RuntimeError(f"{module} did not come up")
        yield child
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()


# -- what came of it ------------------------------------------------------------------------------------------------


def show(console: Console, result: Result) -> None:
    """The figures as tables, and the verdicts."""
    table = Table(
        title=f"a quiet caller's POST to 202 beside one at {TIMES}x its quota ({result.parts})"
    )
    for name in (
        "condition",
        "p99 ms by round",
        "p50",
        "p99",
        "to alone",
        "product CPU",
        "others' CPU",
    ):
        table.add_column(name, justify="left" if name == "condition" else "right")
    for condition in CONDITIONS:
        turns = result.of(condition)
        table.add_row(
            condition,
            " ".join(f"{turn.p99:.1f}" for turn in turns),
            *(f"{median(getattr(turn, name) for turn in turns):.1f}" for name in ("p50", "p99")),
            f"{result.ratio(condition):.2f}",
            *(f"{median(getattr(turn, name) for turn in turns):.2f}" for name in ("cpu", "others")),
        )
    console.print(table)
    ratio = result.ratio("noisy")
    met = "met" if ratio <= TARGET else "MISSED"
    console.print(
        f"noisy / alone: {ratio:.2f} (at most {TARGET:g}: {met}); the floor, burner / alone: {result.ratio('burner'):.2f}"
    )
    console.print(
        f"the excess alone, noisy / quota: {result.ratio('noisy', 'quota'):.2f}; CPU for one refusal: {result.refused_us:.0f} us; "
        f"refused {sum(turn.noise.refused for turn in result.of('noisy') if turn.noise is not None)}"
    )
    if result.overload is not None:
        _show_overload(console, result.overload)


def _show_overload(console: Console, one: Overload) -> None:
    table = Table(
        title=f"{CROWDS} crowds at {OVER}x the capacity of {one.capacity:.0f}/s, for {OVERLOAD_S:g} s"
    )
    names = (
        "",
        "offered/s",
        "accepted/s",
        "429",
        "503",
        "lost",
        "no Retry-After",
        "accepted p99 ms",
        "refused p99 ms",
    )
    for name in names:
        table.add_column(name, justify="right" if name else "left")
    for label, offered in [
        *((f"crowd {n}", o) for n, o in enumerate(one.crowds)),
        ("quiet", one.quiet),
    ]:
        lost = offered.missed + offered.posts - sum(offered.statuses.values())
        table.add_row(
            label,
            f"{(offered.posts + offered.missed) / offered.seconds:.0f}",
            f"{offered.accepted / offered.seconds:.0f}",
            *(str(offered.statuses.get(status, 0)) for status in ("429", "503")),
            *(
                str(lost),
                str(offered.bare),
                f"{offered.accepted_p99:.0f}",
                f"{offered.refused_p99:.0f}",
            ),
        )
    console.print(table)
    before, most, after = one.rss
    recovered = (
        "not within a minute" if one.recovered_s is None else f"after {one.recovered_s:.1f} s"
    )
    console.print(
        f"memory {before:.0f} -> at most {most:.0f} -> {after:.0f} MB; the quiet caller's p99 is within {TARGET:g}x of alone again "
        f"{recovered} ({one.recovered_p99:.1f} ms)"
    )
