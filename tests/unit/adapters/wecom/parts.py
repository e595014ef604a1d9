"""A simulated WeCom, adapters beside it, and a clock that both share and a test can push forward."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from adapters.sim.jumps import JumpClock
from adapters.sim.rigs import dispatch_of
from adapters.sim.wecom import WeComSim
from adapters.sim.wecom.rigs import app_settings, callback_settings, simulated
from adapters.wecom import WeComApp, WeComGroup, WeComRobot
from msgcenter.adapter import Account, Adapter, Dispatch
from msgcenter.clock import SystemClock
from msgcenter.rig import kept
from msgcenter.state.memory import MemoryState
from protocols.address import Address
from protocols.outcome import Outcome
from protocols.payload import Payload, Text
from tests.port import FakePort


class Corp:
    """The far end, and how adapters are put beside it. `jump` moves everybody's time."""

    def __init__(self, far: WeComSim, clock: JumpClock) -> None:
        self.far = far
        self.clock = clock
        self.state = MemoryState(clock)

    def port(self, channel: str = "wecom") -> FakePort:
        port = FakePort(channel, self.clock, self.state)
        port.known_accounts = [Account("staff-app", str(self.far.options.agent))]
        return port

    @asynccontextmanager
    async def app(self, port: FakePort | None = None, **settings: Any) -> AsyncIterator[WeComApp]:
        known = app_settings(self.far) | callback_settings(self.far) | settings
        async with self._kept(WeComApp, known, port) as adapter:
            yield adapter

    @asynccontextmanager
    async def group(
        self, port: FakePort | None = None, **settings: Any
    ) -> AsyncIterator[WeComGroup]:
        async with self._kept(WeComGroup, app_settings(self.far) | settings, port) as adapter:
            yield adapter

    @asynccontextmanager
    async def robot(
        self, port: FakePort | None = None, **settings: Any
    ) -> AsyncIterator[WeComRobot]:
        known = {"base_url": f"{self.far.url}/cgi-bin/"} | settings
        async with self._kept(WeComRobot, known, port) as adapter:
            yield adapter

    @asynccontextmanager
    async def _kept(
        self, kind: type[Adapter], settings: dict[str, Any], port: FakePort | None
    ) -> AsyncIterator[Any]:
        own = port or self.port(kind.spec.kind)
        adapter = kind(kind.Settings.model_validate(settings), own)
        try:
            async with kept(adapter):
                yield adapter
        finally:
            if port is None:
                await own.close()

    def jump(self, seconds: float) -> None:
        self.clock.jump(seconds)

    def calls(self, api: str) -> int:
        return self.far.gate.calls[api]

    def shown(self, kind: str = "app") -> list[dict[str, Any]]:
        """What appeared on screens."""
        return [e for e in self.far.journal.entries() if e["kind"] == kind and not e["dropped"]]

    def dropped(self) -> list[dict[str, Any]]:
        return [e for e in self.far.journal.entries() if e["dropped"]]


@asynccontextmanager
async def corp(limits: dict[str, int] | None = None, **options: Any) -> AsyncIterator[Corp]:
    clock = JumpClock(SystemClock())
    async with simulated(clock, limits=limits or {}, **options) as far:
        yield Corp(far, clock)


def to_staff(
    number: int, payload: Payload | None = None, user: str = "", **fields: Any
) -> Dispatch:
    """Message `number` to a member (staff0001 …); `fields` of the envelope, as tier=5."""
    address = Address("staff", user or f"staff{number % 400 + 1:04d}")
    item = dispatch_of(number, address, payload or Text(f"第{number}条"))
    envelope = replace(item.envelope, **fields)
    return Dispatch(envelope, envelope.token())


def to_group(number: int, payload: Payload, group: str = "grp_1", target: str = "") -> Dispatch:
    item = dispatch_of(number, Address("group", group), payload)
    return Dispatch(replace(item.envelope, order_key=group), item.token, target=target)


async def one(adapter: Adapter, item: Dispatch) -> Outcome:
    [outcome] = await adapter.deliver([item])
    return outcome
