"""Rig of `wecom-hosted`: the simulated gateway with its accounts and groups, events included."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar

from adapters.sim.hooks import Hooks
from adapters.sim.hosted.options import HostedOptions
from adapters.sim.hosted.server import HostedSim
from adapters.sim.rigs import dispatch_of
from adapters.wecom import WeComHosted
from msgcenter.adapter import Dispatch, Port, Secret
from msgcenter.clock import Clock
from msgcenter.rig import kept
from msgcenter.simulator import Journal
from protocols.address import Address
from protocols.payload import CreateGroup, Payload, Text

CORP = "wwsandbox"
ACCOUNTS, CUSTOMERS = 20, 500
_SETTINGS = {
    "gateway": "https://gateway.internal",
    "corp": CORP,
    "command_secrets": ["${env:HOSTED_SECRET}"],
    "event_secrets": ["${env:HOSTED_EVENT_SECRET}"],
    "connect": 1.0,
    "total": 2.0,
}


def customer(number: int) -> Address:
    return Address("wecom", f"{CORP}/wm{number % CUSTOMERS + 1:04d}")


class _HostedRunning:
    def __init__(self, adapter: WeComHosted, far: HostedSim) -> None:
        self.adapter = adapter
        self.far = far
        self._ids: dict[str, str] = {}

    def dispatch(self, number: int) -> Dispatch:
        return self._made(number, customer(number), Text(f"您有第{number}条通知"))

    def refused(self, number: int) -> Dispatch:
        to = Address("wecom", f"{CORP}/gone{number}")
        return self._made(number, to, Text(f"您有第{number}条通知"))

    def create(self, number: int) -> Dispatch:
        """A group of two customers; the same number is the same command."""
        members = (str(customer(number)), str(customer(number + 1)))
        group = CreateGroup(f"grp_{number}", f"第{number}群", "", members)
        return self._made(number, Address("group", f"grp_{number}"), group)

    def _made(self, number: int, to: Address, payload: Payload) -> Dispatch:
        item = dispatch_of(number, to, payload, f"staff{number % ACCOUNTS + 1:04d}")
        self._ids[item.token] = item.envelope.id
        return item

    def received(self) -> Sequence[str]:
        kinds = ("hosted", "hosted_group")
        entries = [entry for entry in self.far.journal.entries() if entry["kind"] in kinds]
        return [self._ids[entry["command"]] for entry in entries if not entry["dropped"]]

    async def unplug(self) -> None:
        await self.far.stop()

    async def plug(self) -> None:
        await self.far.start()

    async def lose_answer(self) -> None:
        self.far.faults.timeout_next = 1

    async def say(self, text: str) -> None:
        while True:
            taken = self.far.outbox.counters["taken"]
            self.far.customer_writes("staff0001", "wm0001", text)
            await self.far.outbox.drained()
            if self.far.outbox.counters["taken"] > taken:
                return


class WeComHostedRig:
    """Rig of `wecom-hosted`: accounts staff0001 and so on, customers wm0001 and so on; whoever is called gone… is unknown."""

    kind: ClassVar[str] = "wecom-hosted"

    def settings(self) -> dict[str, Any]:
        return dict(_SETTINGS)

    @asynccontextmanager
    async def run(self, port: Port) -> AsyncIterator[_HostedRunning]:
        async with simulated() as far:
            adapter = WeComHosted(WeComHosted.Settings.model_validate(settings_of(far)), port)
            async with kept(adapter), listening(adapter, far):
                yield _HostedRunning(adapter, far)


@asynccontextmanager
async def simulated(clock: Clock | None = None, **options: Any) -> AsyncIterator[HostedSim]:
    """A started gateway."""
    given = {"accounts": ACCOUNTS, "customers": CUSTOMERS, "pause": 0.05} | options
    far = HostedSim(HostedOptions.model_validate(given), Journal(), clock)
    await far.start()
    try:
        yield far
    finally:
        await far.stop()


@asynccontextmanager
async def listening(adapter: WeComHosted, far: HostedSim) -> AsyncIterator[Hooks]:
    """The gateway's events reach the adapter, at a port of its own."""
    hooks = Hooks(adapter.webhooks())
    await hooks.start()
    far.outbox.url = f"http://127.0.0.1:{hooks.port}/events"
    try:
        yield hooks
    finally:
        far.outbox.url = ""
        await hooks.stop()


def settings_of(far: HostedSim) -> dict[str, Any]:
    """Settings of a channel to this gateway."""
    known = {
        "gateway": far.url,
        "command_secrets": [Secret(secret) for secret in far.secrets],
        "event_secrets": [Secret(secret) for secret in far.event_secrets],
    }
    return _SETTINGS | known


__all__ = [
    "ACCOUNTS",
    "CORP",
    "CUSTOMERS",
    "WeComHostedRig",
    "customer",
    "listening",
    "settings_of",
    "simulated",
]
