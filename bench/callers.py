"""One noisy caller: what its ten times of its quota does to the others' latency, against the same others alone, in one run.

One process of msgcenter on embedded SQLite with every role; each load is a process of its own (bench.load). `quiet` sends at a steady
pace; `noisy` has a quota and offers ten times as much. Alone and disturbed take turns, so that the machine's own noise falls on
both. Then all limits go: a crowd without a quota posts as fast as it can, and memory and recovery are looked at.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil
from rich.console import Console
from rich.table import Table

from bench.load import Loaded
from bench.stand import PEPPER, Child
from msgcenter.api.keys import create_key
from msgcenter.clock import SystemClock
from msgcenter.serve import Process as Product
from msgcenter.store.store import Store
from tests.servers import free_port

RATE = 60
"""The noisy caller's quota, messages a second; it offers ten times as much."""
TIMES = 10
AGAIN_S = 0.05
TARGET = 1.5
_FILES = {
    "channels.yaml": "main: {kind: devnull}\n",
    "callers.yaml": f"""
quiet: {{scopes: [send, read], categories: [transactional]}}
noisy: {{scopes: [send], categories: [transactional], quota: {{rate: {RATE}, burst: {RATE}}}}}
crowd: {{scopes: [send], categories: [transactional]}}
""",
}


@dataclass(frozen=True, slots=True)
class Result:
    """p99 in milliseconds by turn; resident memory in MB before, at most during, and after the crowd; the quiet caller's p99
    once it has gone."""

    alone: list[float]
    disturbed: list[float]
    refused: int
    rss: tuple[float, float, float]
    crowd: Loaded
    recovered: float

    @property
    def ratio(self) -> float:
        """Median p99 with the noise to median p99 without."""
        return median(self.disturbed) / median(self.alone)


def run(rounds: int, count: int, step: Callable[[str, int], None]) -> Result:
    """`count` messages of the quiet caller each turn. Raises tests.servers.ServerError, RuntimeError (load generator)."""
    with tempfile.TemporaryDirectory(prefix="msgcenter-bench-") as name:
        folder, port = Path(name), free_port()
        config = folder / "config"
        config.mkdir()
        for file, text in _FILES.items():
            (config / file).write_text(text)
        env = {
            "MSGCENTER__DATA": str(folder / "data"),
            "MSGCENTER__API__PORT": str(port),
            "MSGCENTER__API__PEPPER": PEPPER,
            "MSGCENTER__LOG__FORMAT": "json",
        }
        (folder / "data").mkdir()
        keys = asyncio.run(_keys(config, env, folder / "data"))
        step("starting", 2 * rounds + 2)
        argv = ["-m", "msgcenter", "serve", "--config", str(config)]
        with Child(folder / "run", "serve", argv, env, lambda said: "started" in said) as served:
            return asyncio.run(_all(port, keys, served.pid, rounds, count, step))


async def _keys(config: Path, env: dict[str, str], data: Path) -> dict[str, str]:
    clock = SystemClock()
    loaded = Product(config, env=env).config
    store = Store(f"sqlite:///{data}/store.db", clock)
    await store.open()
    try:
        await store.migrate()
        return {
            caller: (
                await create_key(
                    store,
                    loaded,
                    caller=caller,
                    pepper=PEPPER.encode(),
                    now_ms=clock.now_ms(),
                    who="bench",
                )
            )[1]
            for caller in loaded.callers
        }
    finally:
        await store.close()


async def _all(
    port: int,
    keys: dict[str, str],
    pid: int,
    rounds: int,
    count: int,
    step: Callable[[str, int], None],
) -> Result:
    total = 2 * rounds + 2
    first = 0
    alone: list[float] = []
    disturbed: list[float] = []
    refused = 0

    async def quiet(number: int) -> float:
        nonlocal first
        first += number
        return (await _load(port, keys["quiet"], 4, number, first, 0.03)).p99

    await quiet(200)
    for _ in range(rounds):
        step("alone: quiet", total)
        alone.append(await quiet(count))
        step("disturbed: quiet", total)
        connections = round(RATE * TIMES * AGAIN_S)
        noise = await _start(port, keys["noisy"], connections, 20_000, 10_000_000, 0.0)
        await asyncio.sleep(2.0)  # its burst is used up
        before = _refusals(await _metrics(port))
        disturbed.append(await quiet(count))
        refused += _refusals(await _metrics(port)) - before
        noise.kill()
        await noise.wait()
        await asyncio.sleep(1.0)
    step("crowd: everybody", total)
    memory = psutil.Process(pid)
    before_mb = memory.memory_info().rss / 1e6
    most = before_mb
    work = asyncio.create_task(_load(port, keys["crowd"], 400, 8 * count, 50_000_000, 0.0))
    while not work.done():
        most = max(most, memory.memory_info().rss / 1e6)
        await asyncio.wait([work], timeout=0.2)
    crowd = await work
    await asyncio.sleep(3.0)
    step("recovered: quiet", total)
    recovered = await quiet(count)
    rss = (before_mb, most, memory.memory_info().rss / 1e6)
    return Result(alone, disturbed, refused, rss, crowd, recovered)


async def _metrics(port: int) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    text = (await reader.read()).decode()
    writer.close()
    return text


def _refusals(metrics: str) -> int:
    return sum(
        int(float(line.rpartition(" ")[2]))
        for line in metrics.splitlines()
        if line.startswith("msgcenter_api_requests_total{") and 'status="429"' in line
    )


async def _start(
    port: int, key: str, connections: int, count: int, first: int, pause: float
) -> asyncio.subprocess.Process:
    numbers = (port, key, connections, count, 0, first, pause)
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "bench.load", *map(str, numbers)),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "BENCH_KIND": "devnull"},
    )


async def _load(
    port: int, key: str, connections: int, count: int, first: int, pause: float
) -> Loaded:
    child = await _start(port, key, connections, count, first, pause)
    said, _ = await child.communicate()
    if child.returncode:
        raise RuntimeError(f"load generator ended with {child.returncode}")
    return Loaded(**json.loads(said))


def show(console: Console, result: Result) -> None:
    """The figures as a table, and the verdict."""
    table = Table(title=f"a quiet caller's POST beside one at {TIMES}x its quota")
    for name in ("", "p99 ms by turn", "median"):
        table.add_column(name, justify="left" if not name else "right")
    for label, values in (("alone", result.alone), ("disturbed", result.disturbed)):
        table.add_row(label, " ".join(f"{v:.1f}" for v in values), f"{median(values):.1f}")
    console.print(table)
    met = "met" if result.ratio <= TARGET else "MISSED"
    console.print(
        f"disturbed / alone: {result.ratio:.2f} (at most {TARGET:g}: {met}); noise refused {result.refused} times"
    )
    before, most, after = result.rss
    seconds = result.crowd.ended - result.crowd.began
    console.print(
        f"crowd of 400 connections: {result.crowd.posts / seconds:.0f} accepted/s, {result.crowd.refused} refused and "
        f"tried again; memory {before:.0f} -> at most {most:.0f} -> {after:.0f} MB; p99 afterwards {result.recovered:.1f} ms"
    )
