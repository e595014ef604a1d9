"""Rigs of the built-in kinds: an adapter and its simulated far end, both up, for the contract
suite and the sandbox.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar, cast

from adapters.devnull import DevNull, DevNullSettings
from adapters.inbox import Inbox, InboxSettings
from adapters.platform import Platform, PlatformSettings
from adapters.sim.platform import PlatformOptions, PlatformSim
from msgcenter.adapter import Dispatch, Port, Posted, Received, Report, Subscriber, Unavailable
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

    async def subscriber(self, name: str) -> Subscriber | None:
        return self._subscribers.get(name) or await self._port.subscriber(name)


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


class _Shelf:
    """Inboxes in memory before a Port, which can be away; all else is the Port. `lose`: the next news of an item gets lost."""

    def __init__(self, port: Port) -> None:
        self._port = port
        self.items: dict[str, Posted] = {}
        self.away = False
        self.lose = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._port, name)

    async def post(self, items: Sequence[Posted], most_unread: int) -> list[bool]:
        del most_unread
        if self.away:
            raise Unavailable("the store is away")
        out = []
        for item in items:
            fits = not item.owner.value.startswith("full")
            if fits:
                self.items.setdefault(item.id, item)
            out.append(fits)
        return out

    async def unpost(self, ids: Sequence[str]) -> set[str]:
        return {one for one in ids if self.items.pop(one, None)}

    async def emit(self, items: Sequence[Received | Report]) -> None:
        if self.lose:
            self.lose -= 1
            raise Unavailable("the bus is away")
        await self._port.emit(items)


class _InboxRunning:
    def __init__(self, adapter: Inbox, shelf: _Shelf) -> None:
        self.adapter = adapter
        self.shelf = shelf

    def dispatch(self, number: int) -> Dispatch:
        return dispatch_of(number, Address("staff", f"s{number}"), Text(f"第{number}条"))

    def refused(self, number: int) -> Dispatch:
        return dispatch_of(number, Address("staff", f"full{number}"), Text("好"))

    def received(self) -> Sequence[str]:
        return list(self.shelf.items)

    async def unplug(self) -> None:
        self.shelf.away = True

    async def plug(self) -> None:
        self.shelf.away = False

    async def lose_answer(self) -> None:
        self.shelf.lose = 1

    async def say(self, text: str) -> None:
        raise RuntimeError(f"an inbox only listens: {len(text)} characters lost")


class InboxRig:
    """Rig of `inbox`: inboxes that begin with full are full."""

    kind: ClassVar[str] = "inbox"

    def settings(self) -> dict[str, Any]:
        return {"most_unread": 1000}

    @asynccontextmanager
    async def run(self, port: Port) -> AsyncIterator[_InboxRunning]:
        shelf = _Shelf(port)
        adapter = Inbox(InboxSettings.model_validate(self.settings()), cast(Port, shelf))
        async with kept(adapter):
            yield _InboxRunning(adapter, shelf)
