"""A simulated gateway with adapters of hosted accounts beside it, its events reaching them, and a clock that a test can push forward."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from random import Random
from typing import Any

from adapters.sim.hosted import HostedSim
from adapters.sim.hosted.rigs import CORP, customer, listening, settings_of, simulated
from adapters.sim.jumps import JumpClock
from adapters.sim.rigs import dispatch_of
from adapters.wecom import WeComHosted
from msgcenter.adapter import Account, Dispatch, Request, Response
from msgcenter.clock import SystemClock
from msgcenter.rig import kept
from msgcenter.state.memory import MemoryState
from protocols.address import Address
from protocols.outcome import Outcome
from protocols.payload import Payload, Text
from tests.port import FakePort

ACCOUNT = "staff0001"


class Hosting:
    """`far` is the gateway; `jump` moves everybody's time."""

    def __init__(self, far: HostedSim, clock: JumpClock) -> None:
        self.far = far
        self.clock = clock
        self.state = MemoryState(clock)
        self._ports = 0

    def port(self) -> FakePort:
        """Of another process of the same channel."""
        port = FakePort("hosted", self.clock, self.state)
        self._ports += 1
        port.random = Random(self._ports)
        port.known_accounts = [Account(f"desk{n}", f"staff{n:04d}") for n in range(1, 21)]
        return port

    @asynccontextmanager
    async def adapter(
        self, port: FakePort | None = None, **settings: Any
    ) -> AsyncIterator[WeComHosted]:
        own = port or self.port()
        quiet = {"status_every": 86_400.0}
        known = settings_of(self.far) | quiet | settings
        adapter = WeComHosted(WeComHosted.Settings.model_validate(known), own)
        try:
            async with kept(adapter), listening(adapter, self.far):
                yield adapter
        finally:
            if port is None:
                await own.close()

    def said(self, kind: str = "hosted") -> list[dict[str, Any]]:
        return [e for e in self.far.journal.entries() if e["kind"] == kind and not e["dropped"]]


@asynccontextmanager
async def hosting(**options: Any) -> AsyncIterator[Hosting]:
    clock = JumpClock(SystemClock())
    async with simulated(clock, **options) as far:
        yield Hosting(far, clock)


def to_customer(number: int, payload: Payload | None = None, account: str = ACCOUNT) -> Dispatch:
    return _of(number, customer(number), payload or Text(f"第{number}条"), account)


def to_group(number: int, payload: Payload, target: str = "", account: str = ACCOUNT) -> Dispatch:
    return replace(
        _of(number, Address("group", "grp_1"), payload, account, order_key="grp_1"), target=target
    )


def _of(number: int, to: Address, payload: Payload, account: str, **fields: Any) -> Dispatch:
    item = dispatch_of(number, to, payload, account)
    name = f"desk{int(account.removeprefix('staff'))}" if account else ""
    return replace(item, envelope=replace(item.envelope, account=name, **fields))


async def one(adapter: WeComHosted, item: Dispatch) -> Outcome:
    [outcome] = await adapter.deliver([item])
    return outcome


async def post(adapter: WeComHosted, body: bytes, headers: dict[str, str]) -> Response:
    return await adapter.inbox.handle(Request("POST", "/hooks/hosted/events", {}, headers, body))


__all__ = [
    "ACCOUNT",
    "CORP",
    "Hosting",
    "customer",
    "hosting",
    "one",
    "post",
    "to_customer",
    "to_group",
]
