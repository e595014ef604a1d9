"""Rig of `wecom-kf`: two accounts and their customers beside the simulated platform; a desk answers the doorbells as the core would."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar, cast

from adapters.sim.rigs import dispatch_of
from adapters.sim.wecom.rigs import app_settings, callback_settings, called, simulated
from adapters.sim.wecom.server import WeComSim
from adapters.wecom import WeComKf
from msgcenter.adapter import (
    Account,
    Adapter,
    Dispatch,
    Port,
    Received,
    Report,
    Sent,
    Unavailable,
    Unreachable,
)
from msgcenter.rig import kept
from protocols.address import Address
from protocols.payload import Pull, Text

KF = "wk0001"
CUSTOMERS = 500


class Desk:
    """A Port whose doorbells are answered at once, one at a time, again until they are; all else is the Port it was made from."""

    def __init__(self, port: Port) -> None:
        self._port = port
        self._rung: asyncio.Queue[Pull] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self.adapter: Adapter | None = None
        self.was_rung = asyncio.Event()
        self.is_opening = True
        """What is read meanwhile was said before anybody listened."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._port, name)

    def accounts(self) -> list[Account]:
        return [Account("service", KF)]

    async def emit(self, items: Sequence[Received | Report]) -> None:
        if not self.is_opening:
            await self._port.emit(items)

    async def ring(self, pull: Pull, *, delay_s: float = 0.0, channel: str = "") -> None:
        del delay_s, channel
        self._rung.put_nowait(pull)
        self.was_rung.set()

    @asynccontextmanager
    async def open(self, adapter: Adapter) -> AsyncIterator[None]:
        self.adapter = adapter
        self._task = asyncio.create_task(self._answer())
        try:
            yield
        finally:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def answered(self) -> None:
        """Until every doorbell that was rung is answered."""
        await self._rung.join()

    async def _answer(self) -> None:
        number = 0
        assert self.adapter is not None
        while True:
            pull = await self._rung.get()
            while True:
                number += 1
                item = dispatch_of(1_000_000 + number, Address("caller", "unassigned"), pull)
                try:
                    [outcome] = await self.adapter.deliver([item])
                except (Unreachable, Unavailable):  # unplugged: again, as the core would
                    outcome = None
                if isinstance(outcome, Sent):
                    break
                await asyncio.sleep(0.02)
            self._rung.task_done()


class _KfRunning:
    """Customers wm0001 and so on have written; whoever is called gone… is unknown. What is taken fails to arrive, so that
    every message has its receipt."""

    def __init__(self, adapter: WeComKf, far: WeComSim, desk: Desk) -> None:
        self.adapter: Adapter = adapter
        self.far = far
        self._desk = desk
        self._ids: dict[str, str] = {}

    def dispatch(self, number: int) -> Dispatch:
        return self._dispatch(number, f"wm{number % CUSTOMERS + 1:04d}")

    def refused(self, number: int) -> Dispatch:
        return self._dispatch(number, f"gone{number}")

    def _dispatch(self, number: int, customer: str) -> Dispatch:
        text = f"您有第{number}条通知"
        item = dispatch_of(number, Address("kf", f"{KF}/{customer}"), Text(text))
        self._ids[text] = item.envelope.id
        return item

    def received(self) -> list[str]:
        return [self._ids[e["text"]] for e in self.far.journal.entries() if e["kind"] == "kf"]

    async def unplug(self) -> None:
        await self.far.stop()

    async def plug(self) -> None:
        await self.far.start()

    async def lose_answer(self) -> None:
        self.far.faults.fault(endpoint="kf/send_msg", kind="timeout", times=1)

    async def say(self, text: str) -> None:
        self.far.kf.customer_writes(open_kfid=KF, external_userid="wm0001", text=text)
        await self.far.pusher.drained()
        await self._desk.answered()


class WeComKfRig:
    """Rig of `wecom-kf`."""

    kind: ClassVar[str] = "wecom-kf"

    def settings(self) -> dict[str, Any]:
        return {
            "corp": "wwsandbox",
            "agent_id": 1_000_002,
            "secret": "${env:WECOM_SECRET}",
            "connect_s": 1.0,
            "read_s": 2.0,
            "greetings": {"*": {"text": "您好，请问有什么可以帮您？"}},
        }

    @asynccontextmanager
    async def run(self, port: Port) -> AsyncIterator[_KfRunning]:
        async with simulated(customers=CUSTOMERS, kf_fail_delay=0.01) as far:
            for customer in list(far.world.customers):
                far.kf.customer_writes(open_kfid=KF, external_userid=customer, text="在吗")
            far.kf_sessions.kf_fail_next(fail_type=10, times=100_000)
            desk = Desk(port)
            settings = app_settings(far) | callback_settings(far)
            adapter = WeComKf(WeComKf.Settings.model_validate(settings), cast(Port, desk))
            async with kept(adapter), desk.open(adapter), called(far, adapter):
                await desk.was_rung.wait()
                await desk.answered()  # what was there at the start is read, and past
                desk.is_opening = False
                yield _KfRunning(adapter, far, desk)


__all__ = ["CUSTOMERS", "KF", "Desk", "WeComKfRig"]
