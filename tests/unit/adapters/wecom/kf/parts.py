"""A kf channel beside the simulated WeCom, its doorbells answered when a test says so."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count
from typing import Any

from adapters.sim.rigs import dispatch_of
from adapters.sim.wecom.rigs import app_settings, callback_settings, called
from adapters.wecom import WeComKf
from msgcenter.adapter import Account, Dispatch
from msgcenter.rig import kept
from protocols.address import Address
from protocols.outcome import Outcome, Sent
from protocols.payload import Happening, Payload, Pull, Text
from tests.port import FakePort
from tests.unit.adapters.wecom.parts import Corp, corp

KF = "wk0001"
_NUMBERS = count(1)


class Service:
    """`answered()` has every doorbell rung so far answered, as the core would."""

    def __init__(self, c: Corp, port: FakePort, adapter: WeComKf) -> None:
        self.c = c
        self.far = c.far
        self.port = port
        self.adapter = adapter

    def message(
        self, payload: Payload, customer: str = "wm0001", open_kfid: str = KF, **fields: Any
    ) -> Dispatch:
        to = Address("kf", f"{open_kfid}/{customer}")
        envelope = replace(dispatch_of(next(_NUMBERS), to, payload).envelope, **fields)
        return Dispatch(envelope, envelope.token())

    async def send(self, payload: Payload | str = "好的", *names: str, **fields: Any) -> Outcome:
        said = Text(payload) if isinstance(payload, str) else payload
        [outcome] = await self.adapter.deliver([self.message(said, *names, **fields)])
        return outcome

    async def pull(self, open_kfid: str = KF, token: str = "") -> Outcome:
        item = self.message(Pull(f"kf:{open_kfid}", token))
        [outcome] = await self.adapter.deliver([item])
        return outcome

    async def answered(self) -> list[Outcome]:
        """Answer until nothing rings and nothing has to be tried again."""
        await self.far.pusher.drained()
        outcomes = []
        for _ in range(1000):
            if not self.port.rung:
                return outcomes
            pull, _ = self.port.rung.pop()
            self.port.rung = [one for one in self.port.rung if one[0].source != pull.source]
            [outcome] = await self.adapter.deliver([self.message(pull)])
            outcomes.append(outcome)
            if not isinstance(outcome, Sent):
                self.port.rung.append((pull, 0.0))
        raise AssertionError(f"still ringing: {outcomes[-1]}")

    def writes(self, text: str = "您好", customer: str = "wm0001", **more: Any) -> str:
        """A customer writes; the msgid."""
        known = {"open_kfid": KF, "external_userid": customer, "text": text}
        msgid: str = self.far.kf.customer_writes(**known | more)["msgid"]
        return msgid

    def happened(self) -> list[Happening]:
        said = [one.payload for one in self.port.received]
        return [one for one in said if isinstance(one, Happening)]

    def texts(self) -> list[str]:
        said = [one.payload for one in self.port.received]
        return [one.text for one in said if isinstance(one, Text)]


@asynccontextmanager
async def service(
    limits: dict[str, int] | None = None,
    settings: dict[str, Any] | None = None,
    *,
    accounts: tuple[str, ...] = (KF,),
    **options: Any,
) -> AsyncIterator[Service]:
    """Entered when the log, empty, was read once."""
    async with corp(limits, **options) as c:
        port = c.port("kf")
        port.known_accounts = [Account(f"desk-{one}", one) for one in accounts]
        for one in accounts[1:]:
            c.far.kf.kf_account_add(open_kfid=one, servicers=["staff0001"])
        async with beside(c, port, settings) as it:
            await port.until(lambda: len(port.rung) == len(accounts))
            await it.answered()
            port.emitted.clear()
            yield it


@asynccontextmanager
async def beside(
    c: Corp, port: FakePort, settings: dict[str, Any] | None = None
) -> AsyncIterator[Service]:
    """One process of the channel; a second one with a port of the same state and checkpoints."""
    known = app_settings(c.far) | callback_settings(c.far) | {"bare_per_minute": 100}
    adapter = WeComKf(WeComKf.Settings.model_validate(known | (settings or {})), port)
    try:
        async with kept(adapter), called(c.far, adapter):
            yield Service(c, port, adapter)
    finally:
        await port.close()


#: Counters of the simulator that a test of something else does not want to meet.
FREE = {"kf_bare_minute": 0}
