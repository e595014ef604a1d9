"""Rigs of `push`, one for each engine: the simulated engine, registered devices, receipts told or asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Literal, cast

from adapters.push import Push
from adapters.sim.hooks import Hooks
from adapters.sim.push.options import PushOptions
from adapters.sim.push.server import PushSim
from adapters.sim.rigs import dispatch_of
from msgcenter.adapter import Adapter, Dispatch, Port, Secret, Sent, Unavailable, Unreachable
from msgcenter.clock import Clock
from msgcenter.rig import kept
from msgcenter.simulator import Journal
from protocols.address import Address
from protocols.payload import Pull, Text

Name = Literal["getui", "jpush", "umeng", "huawei", "plain"]
_PEOPLE = 500


class _Asking:
    """A Port whose registry has a device for everybody (`d<number>`; `gone…` have a dead one), and whose doorbells are answered
    by the adapter itself; all else is the Port it was made from."""

    def __init__(self, port: Port) -> None:
        self._port = port
        self._rung: asyncio.Queue[Pull] = asyncio.Queue()
        self.adapter: Adapter | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._port, name)

    async def ring(self, pull: Pull, *, delay_s: float = 0.0, channel: str = "") -> None:
        del delay_s, channel
        self._rung.put_nowait(pull)

    async def answer(self) -> None:
        assert self.adapter is not None
        number = 0
        while True:
            pull = await self._rung.get()
            number += 1
            item = dispatch_of(1_000_000 + number, Address("caller", "unassigned"), pull)
            try:
                [outcome] = await self.adapter.deliver([item])
            except (Unreachable, Unavailable):  # unplugged: again, as the core would
                outcome = None
            if not isinstance(outcome, Sent):
                self._rung.put_nowait(pull)
            await asyncio.sleep(0.02)


class _PushRunning:
    def __init__(self, adapter: Push, far: PushSim) -> None:
        self.adapter = adapter
        self.far = far
        self._ids: dict[str, str] = {}

    def dispatch(self, number: int) -> Dispatch:
        return self._made(number, f"p{number % _PEOPLE}")

    def refused(self, number: int) -> Dispatch:
        return self._made(number, f"gone{number % 10}")

    def _made(self, number: int, person: str) -> Dispatch:
        text = f"您有第{number}条通知"
        item = dispatch_of(number, Address("gridapp", person), Text(text))
        self._ids[text] = item.envelope.id
        return item

    def received(self) -> Sequence[str]:
        return [self._ids[entry["body"]] for entry in self.far.journal.entries()]

    async def unplug(self) -> None:
        await self.far.stop()

    async def plug(self) -> None:
        await self.far.start()

    async def lose_answer(self) -> None:
        self.far.faults.lose_next = 1

    async def say(self, text: str) -> None:
        raise RuntimeError(f"a device says nothing: {len(text)} characters lost")


class PlainRig:
    """Rig of `push`: accounts p0 and so on have a device each; those of gone0 and so on are dead."""

    kind: ClassVar[str] = "push"
    profile: ClassVar[Name] = "plain"

    def settings(self) -> dict[str, Any]:
        return {
            "profile": self.profile,
            "base_url": "https://push.internal",
            "app": "app1",
            "key": "key1",
            "secret": "${env:PUSH_SECRET}",
            "total": 2.0,
        }

    @asynccontextmanager
    async def run(self, port: Port) -> AsyncIterator[_PushRunning]:
        async with simulated(self.profile) as far:
            asking = _Asking(port)
            adapter = Push(settings_of(far), cast(Port, asking))
            asking.adapter = adapter
            for number in range(_PEOPLE):
                await port.save_checkpoint(f"device:gridapp:p{number}", _devices(f"d{number}"))
            for number in range(10):
                await port.save_checkpoint(
                    f"device:gridapp:gone{number}", _devices(f"dead{number}")
                )
            answering = asyncio.create_task(asking.answer())
            try:
                async with kept(adapter), listening(adapter, far):
                    yield _PushRunning(adapter, far)
            finally:
                answering.cancel()
                await asyncio.gather(answering, return_exceptions=True)


def _devices(token: str) -> str:
    return f'[{{"token":"{token}"}}]'


class GetuiRig(PlainRig):
    profile: ClassVar[Name] = "getui"


class JPushRig(PlainRig):
    profile: ClassVar[Name] = "jpush"


class UmengRig(PlainRig):
    profile: ClassVar[Name] = "umeng"


class HuaweiRig(PlainRig):
    profile: ClassVar[Name] = "huawei"


@asynccontextmanager
async def simulated(
    profile: str, clock: Clock | None = None, **options: Any
) -> AsyncIterator[PushSim]:
    """A started engine."""
    given = {"profile": profile, **options}
    far = PushSim(PushOptions.model_validate(given), Journal(), clock)
    await far.start()
    try:
        yield far
    finally:
        await far.stop()


@asynccontextmanager
async def listening(adapter: Push, far: PushSim) -> AsyncIterator[None]:
    """The engine's receipts reach the adapter, at a port of its own."""
    paths = adapter.webhooks()
    if "receipts" not in paths:
        yield
        return
    hooks = Hooks(paths)
    await hooks.start()
    far.receipts_url = f"http://127.0.0.1:{hooks.port}/receipts"
    try:
        yield
    finally:
        far.receipts_url = ""
        await hooks.stop()


def settings_of(far: PushSim, **over: Any) -> Any:
    """Settings of a channel to this engine."""
    options = far.options
    known = {
        "profile": options.profile,
        "base_url": far.url,
        "app": options.app,
        "key": options.key,
        "secret": Secret(options.secret),
        "total": 2.0,
        "poll_after": (0.02,),
    }
    return Push.Settings.model_validate(known | over)
