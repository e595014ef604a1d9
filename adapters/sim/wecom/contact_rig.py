"""Rig of `wecom-contact`: customers and the members who confirm at once, beside the simulated platform, callbacks included."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, ClassVar, cast

from adapters.sim.rigs import dispatch_of
from adapters.sim.wecom.rigs import (
    MEMBERS,
    SETTINGS,
    Called,
    app_settings,
    callback_settings,
    called,
    simulated,
)
from adapters.sim.wecom.server import WeComSim
from adapters.wecom import WeComContact
from msgcenter.adapter import Adapter, Dispatch, Port, Unreachable
from msgcenter.rig import kept
from protocols.address import Address
from protocols.payload import Pull


class _Confirming:
    """The Port that the rig stands before, with members who confirm whatever they are asked to, and doorbells that ring."""

    def __init__(self, port: Port, far: WeComSim) -> None:
        self._port = port
        self._far = far
        self._rings: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(
            4
        )  # a hundred tasks must not keep the messages from leaving
        self.adapter: Adapter | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._port, name)

    async def ring(self, pull: Pull, *, delay_s: float = 0.0, channel: str = "") -> None:
        await self._port.ring(pull, delay_s=delay_s, channel=channel)
        task = asyncio.create_task(self._answer(pull, delay_s))
        self._rings.add(task)
        task.add_done_callback(self._rings.discard)

    async def _answer(self, pull: Pull, delay_s: float) -> None:
        await self._port.clock.sleep(delay_s)
        for msgid in self._far.tasks.mass_tasks():
            self._far.tasks.member_confirms(msgid=msgid)
        assert self.adapter is not None
        # Unplugged, the results are nobody's any more.
        async with self._slots:
            with suppress(Unreachable):
                bell = dispatch_of(0, Address("caller", "unassigned"), pull)
                await self.adapter.deliver([bell])

    async def close(self) -> None:
        for task in list(self._rings):
            task.cancel()
        await asyncio.gather(*self._rings, return_exceptions=True)


class _ContactRunning(Called):
    def __init__(self, adapter: WeComContact, far: WeComSim) -> None:
        super().__init__(adapter, far)
        self._losing = "externalcontact/add_msg_template"

    def dispatch(self, number: int) -> Dispatch:
        return self._to(number, f"wm{number % MEMBERS + 1:04d}")

    def refused(self, number: int) -> Dispatch:
        return self._to(number, f"wmgone{number}")

    def _to(self, number: int, customer: str) -> Dispatch:
        return self._dispatch(number, Address("wecom", f"{self.far.options.corp}/{customer}"))

    def received(self) -> Sequence[str]:
        return [
            self._ids[task["text"]]
            for task in self.far.tasks.mass_tasks().values()
            for targets in task["parts"].values()
            for _ in targets
        ]


class WeComContactRig:
    """Rig of `wecom-contact`: customers wm0001 and so on, each of one member, who confirms at once; wmgone… are nobody's."""

    kind: ClassVar[str] = "wecom-contact"

    def settings(self) -> dict[str, Any]:
        return dict(SETTINGS)

    @asynccontextmanager
    async def run(self, port: Port) -> AsyncIterator[_ContactRunning]:
        async with simulated(customers=MEMBERS) as far:
            quick = {"poll_s": 0.3, "poll_most_s": 2.0, "confirm_s": 60.0}
            patient = {"connect_s": 5.0, "read_s": 8.0, "slack_s": 20.0}
            settings = app_settings(far) | callback_settings(far) | quick | patient
            confirming = _Confirming(port, far)
            adapter = WeComContact(
                WeComContact.Settings.model_validate(settings), cast(Port, confirming)
            )
            confirming.adapter = adapter
            try:
                async with kept(adapter), called(far, adapter):
                    yield _ContactRunning(adapter, far)
            finally:
                await confirming.close()


__all__ = ["WeComContactRig"]
