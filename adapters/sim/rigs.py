"""Rigs of the built-in kinds: an adapter and its simulated far end, both up, for the contract
suite and the sandbox.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar, cast

from adapters.devnull import DevNull, DevNullSettings
from adapters.platform import Platform, PlatformSettings
from adapters.sim.platform import PlatformOptions, PlatformSim
from adapters.sim.smsc import Options, Smsc
from adapters.sms import Sms, SmsSettings
from msgcenter.adapter import Dispatch, Port, Secret, Subscriber
from msgcenter.rig import kept
from msgcenter.simulator import Journal
from protocols.address import Address
from protocols.envelope import Envelope
from protocols.payload import Notice, Payload, Text


def dispatch_of(number: int, to: Address, payload: Payload, sender: str = "") -> Dispatch:
    """A message of its own conversation, `msg_` and 26 digits of `number`."""
    envelope = Envelope(
        id=f"msg_{number:026d}",
        caller="rig",
        to=to,
        category="transactional",
        tier=2,
        payload=payload,
        created_at=1_790_000_000_000,
        order_key=f"rig-{number}",
    )
    return Dispatch(envelope, envelope.token(), sender)


class _DevNullRunning:
    def __init__(self, adapter: DevNull) -> None:
        self.adapter = adapter

    def dispatch(self, number: int) -> Dispatch:
        return dispatch_of(number, Address("tel", f"+86138{number:08d}"), Text(f"第{number}条"))

    def refused(self, number: int) -> Dispatch:
        return dispatch_of(number, Address("tel", "+8613900000000"), Text("好"))

    def received(self) -> Sequence[str]:
        return list(self.adapter.taken)

    async def unplug(self) -> None:
        self.adapter.plugged = False

    async def plug(self) -> None:
        self.adapter.plugged = True

    async def lose_answer(self) -> None:
        self.adapter.lose = 1

    async def say(self, text: str) -> None:
        raise RuntimeError(f"devnull hears nothing: {len(text)} characters lost")


class DevNullRig:
    """Rig of `devnull`."""

    kind: ClassVar[str] = "devnull"

    def settings(self) -> dict[str, Any]:
        return {}

    @asynccontextmanager
    async def run(self, port: Port) -> AsyncIterator[_DevNullRunning]:
        adapter = DevNull(DevNullSettings(refuse=frozenset({"tel:+8613900000000"})), port)
        async with kept(adapter):
            yield _DevNullRunning(adapter)


class _Subscribed:
    """A Port that knows some subscribers more than the one it stands before."""

    def __init__(self, port: Port, subscribers: dict[str, Subscriber]) -> None:
        self._port = port
        self._subscribers = subscribers

    def __getattr__(self, name: str) -> Any:
        return getattr(self._port, name)

    def subscriber(self, caller: str) -> Subscriber | None:
        return self._subscribers.get(caller) or self._port.subscriber(caller)


class _PlatformRunning:
    def __init__(self, adapter: Platform, far: PlatformSim) -> None:
        self.adapter = adapter
        self.far = far

    def dispatch(self, number: int, caller: str = "crm") -> Dispatch:
        event_id = f"msg_{number:026d}"
        event = {
            "specversion": "1.0",
            "id": event_id,
            "source": "/msgcenter",
            "type": "msgcenter.message.delivered.v1",
            "data": {"number": number},
        }
        notice = Notice(event_id, str(event["type"]), json.dumps(event))
        return dispatch_of(number, Address("caller", caller), notice)

    def refused(self, number: int) -> Dispatch:
        return self.dispatch(number, "gone")

    def received(self) -> Sequence[str]:
        return [entry["id"] for entry in self.far.journal.entries() if not entry["repeat"]]

    async def unplug(self) -> None:
        await self.far.stop()

    async def plug(self) -> None:
        await self.far.start()

    async def lose_answer(self) -> None:
        self.far.drop_next = 1

    async def say(self, text: str) -> None:
        raise RuntimeError(f"a subscriber only listens: {len(text)} characters lost")


class PlatformRig:
    """Rig of `platform`: subscriber `crm` takes events, subscriber `gone` answers 410."""

    kind: ClassVar[str] = "platform"

    def settings(self) -> dict[str, Any]:
        return {
            "egress": {"allow": ["127.0.0.0/8"], "https_only": False},
            "connect_s": 1.0,
            "read_s": 2.0,
        }

    @asynccontextmanager
    async def run(self, port: Port) -> AsyncIterator[_PlatformRunning]:
        far = PlatformSim(PlatformOptions(), Journal())
        await far.start()
        try:
            far.answers["/events/gone"] = 410
            known = {
                "crm": Subscriber(far.url, far.secrets),
                "gone": Subscriber(f"{far.url}/gone", far.secrets),
            }
            settings = PlatformSettings.model_validate(self.settings())
            adapter = Platform(settings, cast(Port, _Subscribed(port, known)))
            async with kept(adapter):
                yield _PlatformRunning(adapter, far)
        finally:
            await far.stop()


class _SmsRunning:
    def __init__(self, adapter: Sms, far: Smsc) -> None:
        self.adapter = adapter
        self.far = far
        self._ids: dict[str, str] = {}
        self._losing = False
        far.journal.watch(self._taken)

    def dispatch(self, number: int) -> Dispatch:
        digits = f"138{number:08d}"
        item = dispatch_of(number, Address("tel", f"+86{digits}"), Text(f"您有第{number}条通知"))
        self._ids[digits] = item.envelope.id
        return item

    def refused(self, number: int) -> Dispatch:
        digits = f"139{number:08d}"
        item = dispatch_of(number, Address("tel", f"+86{digits}"), Text("您好"))
        self._ids[digits] = item.envelope.id
        return item

    def received(self) -> Sequence[str]:
        return [self._ids[entry["recipient"]] for entry in self.far.journal.entries()]

    async def unplug(self) -> None:
        await self.far.stop()
        async with asyncio.timeout(5):
            while self.adapter.links_up:  # noqa: ASYNC110 - a few milliseconds, in a rig
                await asyncio.sleep(0.005)

    async def plug(self) -> None:
        await self.far.start()

    async def lose_answer(self) -> None:
        self._losing = True
        self.far.faults.drop_responses = 1.0

    def _taken(self, _entry: Mapping[str, Any]) -> None:
        if self._losing:  # the answer follows in this very turn of the loop
            self._losing = False
            asyncio.get_running_loop().call_soon(self._answer_again)

    def _answer_again(self) -> None:
        self.far.faults.drop_responses = 0.0

    async def say(self, text: str) -> None:
        while True:
            done = await self.far.inject_mo("13800000001", "106900001", text)
            if done["delivered"]:
                return


class SmsRig:
    """Rig of `sms` over CMPP 3.0; numbers that begin with 139 are refused."""

    kind: ClassVar[str] = "sms"

    def settings(self) -> dict[str, Any]:
        return {
            "protocol": "cmpp3",
            "host": "127.0.0.1",
            "port": 7890,
            "account": "901234",
            "secret": "${env:SMS_SECRET}",
            "src": "106900001",
            "connections": 2,
            "response_timeout_s": 1.0,
            "reconnect_min_s": 0.05,
            "reconnect_max_s": 0.5,
        }

    @asynccontextmanager
    async def run(self, port: Port) -> AsyncIterator[_SmsRunning]:
        options = Options.model_validate({"port": 0, "report_delay": 0.01})
        far = Smsc(options, Journal())
        far.faults.refuse["139"] = 13
        await far.start()
        try:
            known = {"port": far.port, "secret": Secret(options.secret)}
            settings = SmsSettings.model_validate(self.settings() | known)
            adapter = Sms(settings, port)
            async with kept(adapter):
                yield _SmsRunning(adapter, far)
        finally:
            await far.stop()
