"""Drain: how fast one channel process empties a full queue, as a fraction of a bare loop that consumes, decodes and acks the same frames.

Both read frames of 100 envelopes from a quorum queue of the same private broker, each in a process of its own, in turns. The
product's process does all that a channel does (replay, expire, render, admit, deliver to a far end that takes everything at
once, conclude, publish records, ack); the bare loop is the product's own bus with nothing around it: what no program on this
bus can beat.

`python -m bench.drain bare|product SETTINGS` is such a process.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import BaseModel

from adapters.devnull import DevNull
from bench.report import Run
from bench.stand import ROOT, Servers, product_env, write_config
from msgcenter.adapter import Dispatch
from msgcenter.bus import Queue
from msgcenter.bus.rabbit import RabbitBus
from msgcenter.bus.topology import out_topic, topology
from msgcenter.clock import IdFactory, SystemClock, system_random
from msgcenter.serve import Process, quiet_collector
from msgcenter.settle import frames
from protocols import wire
from protocols.address import Address
from protocols.envelope import Envelope
from protocols.outcome import Outcome
from protocols.payload import Text

FULL, QUICK = 400, 100
"""Frames of 100 messages."""
QUEUE = Queue(out_topic("main"), "normal")
POLL_S = 0.01
STALLED_S = 120.0


class Job(BaseModel):
    """What a child process is told."""

    rabbit: str
    prefix: str
    frames: int
    config: str
    env: dict[str, str]


def run(rounds: int, count: int, step: Callable[[str, int], None]) -> list[Run]:
    """All runs, sides in turns. Raises tests.servers.ServerError, RuntimeError (a child failed)."""
    total = rounds * 2
    runs: list[Run] = []
    with tempfile.TemporaryDirectory(prefix="msgcenter-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        step("starting servers", total)
        with Servers(folder) as servers:
            config = write_config(folder / "config", "devnull", {})
            store_url = servers.postgres.create_database()
            env = product_env(servers, store_url, 0)
            for number in range(rounds):
                for side in ("product", "bare") if number % 2 else ("bare", "product"):
                    step(f"drain: {side}", total)
                    prefix = f"drain{number}{side}"
                    own = {
                        "MSGCENTER__BUS__PREFIX": prefix,
                        "MSGCENTER__STATE__PREFIX": prefix,
                        "MSGCENTER__ROLES": "channel",
                        "MSGCENTER__DATA": str(folder / prefix),
                    }
                    job = Job(
                        rabbit=servers.rabbit.url,
                        prefix=prefix,
                        frames=count,
                        config=str(config),
                        env={**env, **own},
                    )
                    asyncio.run(_fill(job))
                    runs.append(_child(side, job, servers))
    return runs


def _child(side: str, job: Job, servers: Servers) -> Run:
    before = servers.cpu()
    done = subprocess.run(
        [sys.executable, "-m", "bench.drain", side, job.model_dump_json()],
        cwd=ROOT,
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=STALLED_S + 60,
    )
    if done.returncode:
        raise RuntimeError(f"drain {side}: {done.stderr.decode()[-2000:]}")
    seconds, cpu = json.loads(done.stdout.splitlines()[-1])
    messages = job.frames * wire.MAX_ITEMS
    after = servers.cpu()
    spent = {
        name: sum(v - before[name].get(pid, 0.0) for pid, v in now.items()) / messages * 1e6
        for name, now in after.items()
    }
    spent["worker"] = cpu / messages * 1e6
    return Run("drain", side, messages, seconds, messages / seconds, cpu=spent)


async def _fill(job: Job) -> None:
    """Declare the topology as a process with every role would, and publish the frames."""
    clock, rng = SystemClock(), system_random()
    bus = RabbitBus(job.rabbit, clock, rng, prefix=job.prefix)
    try:
        await bus.declare(topology(["main"], ["messages", "events", "callbacks"], 4))
        out = frames(QUEUE, [wire.seal(one) for one in _envelopes(job.frames * wire.MAX_ITEMS)])
        for start in range(0, len(out), 50):
            await bus.publish(out[start : start + 50])
    finally:
        await bus.close()


def _envelopes(count: int) -> list[Envelope]:
    clock = SystemClock()
    ids = IdFactory(clock, system_random())
    now = clock.now_ms()
    people = [f"+86138{number:08d}" for number in range(count)]
    return [
        Envelope(
            id=ids.message(f"tel:{number}"),
            caller="bench",
            to=Address("tel", number),
            category="transactional",
            tier=2,
            payload=Text(f"您的业务已办理成功,流水号{at:010d},详情请咨询10086。"),
            created_at=now,
            person=f"tel:{number}",
            channels=("devnull",),
            channel="main",
            expires_at=now + 86_400_000,
        )
        for at, number in enumerate(people)
    ]


# -- the two child processes ----------------------------------------------------------------------------------------------


async def bare(job: Job) -> tuple[float, float]:
    """Consume, decode, ack; (seconds, CPU seconds)."""
    bus = RabbitBus(job.rabbit, SystemClock(), system_random(), prefix=job.prefix)
    left = job.frames * wire.MAX_ITEMS
    quiet_collector()
    began, cpu = time.monotonic(), time.process_time()
    try:
        while left:
            async with bus.consume(QUEUE, max_batch=8, max_wait=5.0) as lease:
                if not lease.deliveries:
                    raise RuntimeError(f"{left} messages are missing")
                for delivery in lease.deliveries:
                    left -= len([wire.open_sealed(d) for d in wire.unpack_frame(delivery.body)])
                await lease.ack(lease.deliveries)
        return time.monotonic() - began, time.process_time() - cpu
    finally:
        await bus.close()


class Counted(DevNull):
    """Takes everything, and notes when the channel began and how many came."""

    began = 0.0
    cpu = 0.0
    count = 0

    async def session(self, up: Callable[[bool], None]) -> None:
        Counted.began, Counted.cpu = time.monotonic(), time.process_time()
        await super().session(up)

    async def deliver(self, batch: Sequence[Dispatch]) -> list[Outcome]:
        outcomes = await super().deliver(batch)
        Counted.count += len(batch)
        return outcomes


async def product(job: Job) -> tuple[float, float]:
    """Run a channel process until its queue is empty; (seconds, CPU seconds) from the moment its channel came up."""
    process = Process(Path(job.config), env=job.env, adapters={"devnull": Counted})
    await process.start()
    quiet_collector()
    try:
        assert process.parts is not None
        deadline = time.monotonic() + STALLED_S
        while Counted.count < job.frames * wire.MAX_ITEMS or await _left(process):
            if time.monotonic() > deadline:
                raise RuntimeError(f"{Counted.count} messages delivered, then no end")
            await asyncio.sleep(POLL_S)
        return time.monotonic() - Counted.began, time.process_time() - Counted.cpu
    finally:
        await process.stop()


async def _left(process: Process) -> int:
    assert process.parts is not None
    depth = (await process.parts.bus.depths([QUEUE]))[QUEUE.name]
    return depth.ready + depth.leased


if __name__ == "__main__":
    import uvloop

    work = {"bare": bare, "product": product}[sys.argv[1]]
    print(json.dumps(uvloop.run(work(Job.model_validate_json(sys.argv[2])))))
