"""Rig of `sms`: an adapter and a simulated SMSC, both up, over each of the carriers' protocols."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar

from adapters.sim.rigs import dispatch_of
from adapters.sim.smsc import Options, Smsc
from adapters.sms import Sms, SmsSettings
from msgcenter.adapter import Dispatch, Port, Secret
from msgcenter.rig import kept
from msgcenter.simulator import Journal
from protocols.address import Address
from protocols.payload import Text


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
        entries = self.far.journal.entries()
        return [self._ids[entry["recipient"].removeprefix("86")] for entry in entries]

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
    """Rig of `sms`, over CMPP 3.0 or what `protocol` names; numbers that begin with 139 are refused."""

    kind: ClassVar[str] = "sms"
    variants: ClassVar[tuple[str, ...]] = ("cmpp2", "smpp", "smpp-pair", "sgip", "smgp")

    def __init__(self, protocol: str = "cmpp3") -> None:
        self._protocol, _, login = protocol.partition("-")
        self._more: dict[str, Any] = {"login": login} if login else {}
        if self._protocol == "sgip":
            self._more = {
                "sgip": {"node": 3_075_500_001, "corp_id": "00001"},
                "listen": {"host": "127.0.0.1", "port": 8802},
            }

    def settings(self) -> dict[str, Any]:
        return {
            "protocol": self._protocol,
            "host": "127.0.0.1",
            "port": 7890,
            "account": "901234",
            "secret": "${env:SMSC}",
            "src": "106900001",
            "connections": 2,
            "response_timeout_s": 1.0,
            "reconnect_min_s": 0.05,
            "reconnect_max_s": 0.5,
            **self._more,
        }

    @asynccontextmanager
    async def run(self, port: Port) -> AsyncIterator[_SmsRunning]:
        given: dict[str, Any] = {"port": 0, "report_delay": 0.01, "protocol": self._protocol}
        known: dict[str, Any] = {}
        if self._protocol == "sgip":
            with socket.create_server(("127.0.0.1", 0)) as free:
                given["sp_port"] = free.getsockname()[1]
            known["listen"] = {"port": given["sp_port"]}
        far = Smsc(Options.model_validate(given), Journal())
        far.faults.refuse["139"] = far.dialect.results.number
        await far.start()
        try:
            known |= {"port": far.port, "secret": Secret("sandbox")}
            settings = SmsSettings.model_validate(self.settings() | known)
            adapter = Sms(settings, port)
            async with kept(adapter):
                yield _SmsRunning(adapter, far)
        finally:
            await far.stop()


__all__ = ["SmsRig"]
