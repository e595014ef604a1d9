"""Lanes: how long a code and an opportunity take from durable to the channel's call, on an idle system and under a bulk of 100,000.

Both in one run of one process on embedded SQLite: probes on the idle system, then the bulk, then the same probes while the bulk
is being sent. The channel takes so many messages a second, as carriers do, so the bulk lasts; a probe's time runs from just
before it is published until the adapter is called with it, over submit, routing, admission and pacing.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from adapters.devnull import DevNull
from bench.report import Run
from msgcenter.adapter import Dispatch
from msgcenter.bus.topology import SUBMIT, place
from msgcenter.clock import IdFactory, SystemClock, system_random
from msgcenter.serve import Process, quiet_collector
from msgcenter.settle import frames
from protocols import wire
from protocols.address import Address
from protocols.envelope import Envelope
from protocols.outcome import Outcome
from protocols.payload import Text

FULL, QUICK = 100_000, 10_000
RATE = 1000
PROBES = 200
"""Of each category, on the idle system and under the bulk."""
EVERY_S = 0.05
TIERS = {"code": 0, "opportunity": 3}
STALLED_S = 120.0


@dataclass(slots=True)
class Seen:
    """What the channel was called with: probes by id, and how much of the bulk."""

    at: dict[str, float] = field(default_factory=dict)
    bulk: int = 0
    came: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True, slots=True)
class Found:
    """Milliseconds of each probe by category; `left`: of the bulk not sent yet when the last probe was."""

    idle: dict[str, list[float]]
    loaded: dict[str, list[float]]
    left: int

    def ratio(self, category: str, share: float = 0.99) -> float:
        """That quantile under the bulk, as a multiple of that on the idle system."""
        return quantile(self.loaded[category], share) / quantile(self.idle[category], share)


def quantile(values: Sequence[float], share: float) -> float:
    """The value that this share does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def run(rounds: int, bulk: int, step: Callable[[str, int], None]) -> list[Run]:
    """All runs: each round idle, then loaded."""
    runs: list[Run] = []
    for _ in range(rounds):
        step("lanes: idle, then under the bulk", rounds)
        with tempfile.TemporaryDirectory() as folder:
            found = asyncio.run(measure(Path(folder), bulk, PROBES))
        for category in TIERS:
            for side, times in (("naive", found.idle), ("product", found.loaded)):
                mine = times[category]
                seconds = sum(mine) / 1000
                runs.append(
                    Run(
                        f"lanes_{category}", side, len(mine), seconds, len(mine) / seconds,
                        p50=median(mine), p99=quantile(mine, 0.99),
                    )
                )  # fmt: skip
    return runs


async def measure(folder: Path, bulk: int, probes: int, rate: int = RATE) -> Found:
    """One process, idle and then under `bulk` marketing messages. Raises TimeoutError when a probe does not come through."""
    seen = Seen()

    class Noted(DevNull):
        """Takes everything, and notes when it was called."""

        async def deliver(self, batch: Sequence[Dispatch]) -> list[Outcome]:
            now = time.monotonic()
            for item in batch:
                if item.envelope.category in TIERS:
                    seen.at[item.envelope.id] = now
                else:
                    seen.bulk += 1
            seen.came.set()
            return await super().deliver(batch)

    process = Process(_config(folder, rate), env={}, adapters={"devnull": Noted})
    await process.start()
    quiet_collector()  # as `msgcenter serve` does
    try:
        async with asyncio.timeout(STALLED_S + probes * EVERY_S * 4):
            await _probe(process, seen, 5)  # everything is loaded and warm
            idle = await _probe(process, seen, probes)
            await _publish(process, [_envelope("marketing", 5, n) for n in range(bulk)])
            seen.came.clear()
            await seen.came.wait()  # the channel has begun with it
            loaded = await _probe(process, seen, probes)
        return Found(idle, loaded, bulk - seen.bulk)
    finally:
        await process.stop()


def _config(folder: Path, rate: int) -> Path:
    config = folder / "config"
    config.mkdir()
    pepper = folder / "pepper"
    pepper.write_text("a pepper for the bench alone", encoding="utf-8")
    pepper.chmod(0o600)
    files = {
        "msgcenter": f"data: {folder / 'data'}\ndrain: 5s\n"
        f'api: {{port: 0, pepper: "${{file:{pepper}}}"}}\n',
        "channels": f"main: {{kind: devnull, rate: {rate}}}\n",
        "callers": "bench: {scopes: [send], categories: ['*']}\n",
        # At any hour, and to people who have not agreed to anything: what stops the bulk is the channel's rate alone.
        "policy": "categories: {marketing: {consent: false, quiet: []}, opportunity: {quiet: []}}\n",
    }
    for name, text in files.items():
        (config / f"{name}.yaml").write_text(text, encoding="utf-8")
    return config


async def _probe(process: Process, seen: Seen, count: int) -> dict[str, list[float]]:
    """So many of each category, one at a time of both; their times in milliseconds."""
    began: dict[str, tuple[str, float]] = {}
    for number in range(count):
        for category, tier in TIERS.items():
            envelope = _envelope(category, tier, number)
            began[envelope.id] = (category, time.monotonic())
            await _publish(process, [envelope])
        await asyncio.sleep(EVERY_S)
    while not seen.at.keys() >= began.keys():
        seen.came.clear()
        await seen.came.wait()
    out: dict[str, list[float]] = {category: [] for category in TIERS}
    for message, (category, at) in began.items():
        out[category].append((seen.at[message] - at) * 1000)
    return out


async def _publish(process: Process, envelopes: Sequence[Envelope]) -> None:
    assert process.parts is not None
    queue = place(SUBMIT, envelopes[0], 1)
    out = frames(queue, [wire.seal(one) for one in envelopes])
    for start in range(0, len(out), 50):
        await process.parts.bus.publish(out[start : start + 50])


_CLOCK = SystemClock()
_IDS = IdFactory(_CLOCK, system_random())


def _envelope(category: str, tier: int, number: int) -> Envelope:
    to = Address("tel", f"+86138{number:08d}")
    now = _CLOCK.now_ms()
    return Envelope(
        id=_IDS.message(str(to)),
        caller="bench",
        to=to,
        category=category,
        tier=tier,
        payload=Text("您好，您的业务已受理。"),
        created_at=now,
        person=str(to),
        channels=("devnull",),
        expires_at=now + 86_400_000,
    )
