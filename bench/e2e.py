"""End to end: product and baseline take turns on the same servers; a run ends when every message is at the far end and archived.

Scenarios: `single` (one message a POST, many keep-alive connections), `batch` (many messages a POST), `p50_one_client` (one
connection, one POST at a time and a pause after each, so that nothing else is going on, not even the message before).
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from sqlalchemy.engine import make_url

from bench.load import Loaded
from bench.report import Run
from bench.stand import ROOT, ROWS, Side, Stand

POLL_S = 0.03
STALLED_S = 60.0
SETTLE_S = 0.5
"""Between two runs: the other side comes to rest."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """`size` messages a POST, 0 = the single endpoint; `product` and `naive` messages a run, so that both take some seconds."""

    name: str
    connections: int
    size: int
    product: int
    naive: int
    pause: float = 0.0
    """Seconds a connection rests between two POSTs."""

    def count(self, side: str) -> int:
        return self.product if side == "product" else self.naive


FULL = (
    Scenario("single", 64, 0, 8000, 3000),
    Scenario("batch", 8, 100, 30_000, 3000),
    Scenario("p50_one_client", 1, 0, 150, 150, 0.03),
)
QUICK = (
    Scenario("single", 64, 0, 2000, 800),
    Scenario("batch", 8, 100, 8000, 800),
    Scenario("p50_one_client", 1, 0, 60, 60, 0.03),
)


class Lost(RuntimeError):
    """Messages did not arrive, or arrived twice: there is nothing to compare then."""


def run(
    rounds: int, scenarios: tuple[Scenario, ...], step: Callable[[str, int], None]
) -> list[Run]:
    """All runs, sides interleaved (and turned round every other round). `step(what, of)` is told before each run.

    Raises Lost, tests.servers.ServerError, RuntimeError (load generator).
    """
    total = rounds * len(scenarios) * 2
    with tempfile.TemporaryDirectory(prefix="msgcenter-bench-") as folder:
        Path(folder).chmod(0o755)
        step("starting servers and processes", total)
        with Stand(Path(folder)) as stand:
            return asyncio.run(_all(stand, rounds, scenarios, step, total))


async def _all(
    stand: Stand,
    rounds: int,
    scenarios: tuple[Scenario, ...],
    step: Callable[[str, int], None],
    total: int,
) -> list[Run]:
    runs: list[Run] = []
    first = 0
    for (
        side
    ) in stand.sides.values():  # both have compiled, connected and cached before the first run
        step(f"warming up {side.name}", total)
        warm = Scenario("warm-up", 16, 0, 500, 500)
        await one(stand, side, warm, first)
        first += warm.count(side.name)
    for number in range(rounds):
        sides = list(stand.sides.values())
        if number % 2:
            sides.reverse()
        for scenario in scenarios:
            for side in sides:
                step(f"{scenario.name}: {side.name}", total)
                runs.append(await one(stand, side, scenario, first))
                first += scenario.count(side.name)
                await asyncio.sleep(SETTLE_S)
    return runs


async def one(stand: Stand, side: Side, scenario: Scenario, first: int) -> Run:
    """One run: post, wait for the far end and the archive, meter. Raises Lost, RuntimeError."""
    count = scenario.count(side.name)
    url = make_url(side.store_url).set(drivername="postgresql")
    database = await asyncpg.connect(url.render_as_string(hide_password=False))
    try:
        await database.execute(f"TRUNCATE {', '.join(ROWS)}")
        total, distinct = stand.counts.total, stand.counts.distinct
        before = stand.cpu(side)
        loaded = await _load(side, scenario, count, first)
        await _until(lambda: stand.counts.total - total >= count, f"{side.name}: far end")
        sent = time.monotonic()
        for table, each in ROWS.items():
            await _rows(database, table, each * count, side.name)
        ended = time.monotonic()
        after = stand.cpu(side)
    finally:
        await database.close()
    if (stand.counts.total - total, stand.counts.distinct - distinct) != (count, count):
        raise Lost(
            f"{side.name}: {count} messages posted, {stand.counts.total - total} at the far end, "
            f"{stand.counts.distinct - distinct} different ones"
        )
    seconds = ended - loaded.began
    return Run(
        scenario.name,
        side.name,
        count,
        seconds,
        count / seconds,
        count / (sent - loaded.began),
        loaded.p50,
        loaded.p99,
        loaded.refused,
        {**_per_message(before, after, count), "load": loaded.cpu / count * 1e6},
    )


async def _load(side: Side, scenario: Scenario, count: int, first: int) -> Loaded:
    how = (scenario.connections, count, scenario.size, first, scenario.pause)
    arguments = (side.port, side.key, *how)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.load", *map(str, arguments)),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        said, wrong = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode:
        log = side.children["api"].log_tail()
        raise RuntimeError(
            f"load generator against {side.name}: {wrong.decode()[-2000:]}\nits log: {log}"
        )
    return Loaded(**json.loads(said))


async def _until(done: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + STALLED_S
    while not done():
        if time.monotonic() > deadline:
            raise Lost(f"{what} not complete after {STALLED_S:.0f} s")
        await asyncio.sleep(POLL_S)


async def _rows(database: asyncpg.Connection, table: str, wanted: int, side: str) -> None:
    deadline = time.monotonic() + STALLED_S
    while (found := await database.fetchval(f"SELECT count(*) FROM {table}")) < wanted:
        if time.monotonic() > deadline:
            raise Lost(f"{side}: {found} rows of {wanted} in table {table}")
        await asyncio.sleep(POLL_S)


def _per_message(
    before: Mapping[str, Mapping[int, float]],
    after: Mapping[str, Mapping[int, float]],
    count: int,
) -> dict[str, float]:
    """CPU-µs per message by process; a process that came in between counts from its start."""
    return {
        name: sum(cpu - before[name].get(pid, 0.0) for pid, cpu in now.items()) / count * 1e6
        for name, now in after.items()
    }
