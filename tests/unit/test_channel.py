"""Channel: the session is started again with back-off, an unreachable far end closes the gate for a while, the end is in order."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from msgcenter.adapter import Dispatch
from msgcenter.bus import Queue
from msgcenter.bus.sqlite import SqliteBus
from msgcenter.bus.topology import topology
from msgcenter.channel import BACKOFF_LAST_S, Channel, Core
from msgcenter.clock import ManualClock, SystemClock
from msgcenter.config import ChannelConfig
from msgcenter.precedence import Precedence
from msgcenter.settle import frames, publish_frames
from msgcenter.stages.policy import Hours
from protocols import wire
from protocols.outcome import Outcome
from tests.unit.rig import LOG, Directory, Rig, Scripted, lookup, message, no_templates, rules
from tests.unit.test_ordered import Park


class Linked(Scripted):
    """Its session does what `sessions` says, one entry each start; notes what happens in `log`."""

    def __init__(self, settings: Any, port: Any) -> None:
        super().__init__(port=port)
        self.log: list[str] = []
        self.started: list[float] = []
        self.sessions: list[Callable[[Callable[[bool], None]], Any]] = []
        self.clock: Any = None
        self.slow = 0.0

    async def session(self, up: Callable[[bool], None]) -> None:
        self.started.append(self.clock.monotonic())
        if self.sessions:
            await self.sessions.pop(0)(up)
            return
        up(True)
        try:
            await asyncio.Event().wait()
        finally:
            self.log.append("session ended")

    async def deliver(self, batch: Sequence[Dispatch]) -> list[Outcome]:
        if self.slow:
            await asyncio.sleep(self.slow)
        out = await super().deliver(batch)
        self.log.append("delivered")
        return out

    async def drain(self) -> None:
        self.log.append("drained")


def channel(rig: Rig, bus: Any = None, **config: Any) -> tuple[Channel, Linked]:
    core = Core(
        bus=bus or rig.bus,
        state=rig.state,
        park=Park(),  # type: ignore[arg-type]
        clock=rig.clock,
        rng=random.Random(1),
        metrics=rig.metrics,
        log=LOG,
        owner="me",
        sole=True,
        in_flight=set(),
        partitions=2,
        prefetch=lambda lane: 4,
        precedence=Precedence(rig.clock),
        settle=rig.settle,
        sender=lambda _: "",
        refusable=lambda _: False,
        groups=lookup(rig.clock),
        fill=no_templates(rig.clock),
        hours=Hours(Directory(), rules(), rig.clock),
        sightings=None,
    )
    made = Channel(
        "east",
        ChannelConfig(kind="fake", **config),
        None,
        Linked,
        SimpleNamespace(figures={}),
        core,
    )  # type: ignore[arg-type]
    adapter: Linked = made.adapter  # type: ignore[assignment]
    adapter.clock = rig.clock
    return made, adapter


async def test_a_session_that_ends_or_breaks_is_started_again_ever_later() -> None:
    rig = Rig(clock=ManualClock())
    made, adapter = channel(rig)

    async def breaks(up: Any) -> None:
        raise OSError("refused")

    adapter.sessions = [breaks] * 12
    task = asyncio.create_task(made._supervise())
    await rig.clock.advance(0.0)
    assert (made.up, made.detail) == (False, "OSError: refused")
    await rig.clock.advance(400)
    task.cancel()
    gaps = [b - a for a, b in zip(adapter.started, adapter.started[1:], strict=False)]
    assert len(gaps) >= 10
    for number, gap in enumerate(gaps):
        longest = min(0.2 * 2 ** (number + 1), BACKOFF_LAST_S)
        assert longest / 2 <= gap <= longest
    assert made.up


async def test_after_a_good_session_the_back_off_begins_anew() -> None:
    rig = Rig(clock=ManualClock())
    made, adapter = channel(rig)

    async def breaks(up: Any) -> None:
        raise OSError("refused")

    async def lasts(up: Any) -> None:
        up(True)
        await rig.clock.sleep(61)

    adapter.sessions = [breaks] * 6 + [lasts, breaks]
    task = asyncio.create_task(made._supervise())
    await rig.clock.advance(200)
    task.cancel()
    assert adapter.started[7] - adapter.started[6] - 61 <= 0.2
    assert made.detail == ""


async def test_unreachable_closes_the_gate_for_a_while_that_grows() -> None:
    rig = Rig(clock=ManualClock())
    made, _ = channel(rig)
    task = asyncio.create_task(made._supervise())
    await rig.clock.advance(0.0)
    assert made.up
    waits = []
    for _ in range(9):
        made._unreachable("nobody there")
        made._unreachable("nobody there")  # a second slice of the same moment
        assert (made.up, made.detail) == (False, "nobody there")
        began = rig.clock.monotonic()
        while not made.up:
            await rig.clock.advance(0.05)
        waits.append(rig.clock.monotonic() - began)
    for number, wait in enumerate(waits):
        longest = min(0.2 * 2 ** (number + 1), BACKOFF_LAST_S)
        assert longest / 2 - 0.1 <= wait <= longest + 0.1
    made._delivered()
    made._unreachable("again")
    await rig.clock.advance(0.41)
    assert made.up
    task.cancel()


async def test_the_gate_stays_closed_when_the_link_went_meanwhile() -> None:
    rig = Rig(clock=ManualClock())
    made, _ = channel(rig)
    made._session_says(True)
    made._unreachable("nobody there")
    made._session_says(False)
    await rig.clock.advance(5)
    assert (made.up, made.detail) == (False, "the link is down")
    made._session_says(True)
    assert made.up
    assert rig.metrics.link_up.labels("east")._value.get() == 1


async def test_ready_waits_a_moment_for_the_link(monkeypatch: pytest.MonkeyPatch) -> None:
    made, _ = channel(Rig(clock=ManualClock()))
    waiting = asyncio.create_task(made.ready())
    await asyncio.sleep(0.01)
    assert not waiting.done()
    made._session_says(True)
    assert await waiting
    assert await made.ready()
    made._session_says(False)
    assert not await made.ready()


async def test_work_then_drain_then_the_end_of_the_session(tmp_path: Path) -> None:
    clock = SystemClock()
    rig = Rig(clock=clock)
    bus = SqliteBus(tmp_path / "bus.db", clock)
    rig.bus = bus  # type: ignore[assignment]
    await bus.declare(topology(["east"], ["s"], 2))
    made, adapter = channel(rig, bus)
    adapter.slow = 0.05
    stop = asyncio.Event()
    running = asyncio.create_task(made.run(stop))
    for number, (tier, key) in enumerate([(0, ""), (2, ""), (5, ""), (2, "c1")]):
        envelope = message(f"m{number}", tier=tier, order_key=key, created_at=clock.now_ms())
        lane = ("urgent", "normal", "bulk", "conv")[number]
        await publish_frames(bus, frames(Queue("out.east", lane), [wire.seal(envelope)]))
    async with asyncio.timeout(5):
        while not adapter.batches:
            await asyncio.sleep(0.005)
    stop.set()
    async with asyncio.timeout(5):
        await running
    assert adapter.log[-2:] == ["drained", "session ended"]
    assert set(adapter.log[:-2]) == {"delivered"}
    assert (made.up, made.detail) == (False, "stopped")
    depths = await bus.depths(topology(["east"], [], 2))
    left = sum(d.ready + d.leased for name, d in depths.items() if name.startswith("out."))
    assert left + len(adapter.taken) == 4  # what was not taken waits for the next start
    await bus.close()


@pytest.mark.parametrize(
    ("config", "slots", "turn"),
    [
        ({}, 2, 10),
        ({"in_flight": 40}, 4, 10),
        ({"in_flight": 3}, 1, 10),
        ({"rate": 20.0, "in_flight": 40}, 20, 2),
    ],
)
def test_slots_follow_from_what_may_be_in_flight(
    config: dict[str, Any], slots: int, turn: int
) -> None:
    made, _ = channel(Rig(), **config)
    assert (made._gate._slots, made._turn) == (slots, turn)
