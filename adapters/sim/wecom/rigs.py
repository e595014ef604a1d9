"""Rigs of an app, its groups and a robot beside the simulated platform, and what the rigs of the other WeCom kinds share with them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar

from adapters.sim.hooks import mounted
from adapters.sim.rigs import dispatch_of
from adapters.sim.wecom.appchat import Chat
from adapters.sim.wecom.options import WeComOptions
from adapters.sim.wecom.server import WeComSim
from adapters.wecom import WeComApp, WeComGroup, WeComRobot
from msgcenter.adapter import Adapter, Dispatch, Port, Secret
from msgcenter.clock import Clock
from msgcenter.rig import kept
from msgcenter.simulator import Journal
from protocols.address import Address
from protocols.payload import Text

MEMBERS = 500
SETTINGS = {
    "corp": "wwsandbox",
    "agent_id": 1_000_002,
    "secret": "${env:WECOM_SECRET}",
    "connect_s": 1.0,
    "read_s": 2.0,
}


class Running:
    """What these have in common: the simulator, and message texts that hold the message's number."""

    def __init__(self, adapter: Adapter, far: WeComSim) -> None:
        self.adapter = adapter
        self.far = far
        self._ids: dict[str, str] = {}
        self._losing = ""

    def _dispatch(self, number: int, to: Address) -> Dispatch:
        text = f"您有第{number}条通知"
        item = dispatch_of(number, to, Text(text))
        self._ids[text] = item.envelope.id
        return item

    def received(self) -> Sequence[str]:
        taken: list[str] = []
        for entry in self.far.journal.entries():
            if entry["kind"] not in ("app", "appchat", "robot") or entry["dropped"]:
                continue
            if entry["kind"] == "appchat" and entry["to"] != "staff0001":
                continue  # one entry for each member
            taken.append(self._ids[entry["text"]])
        return taken

    async def unplug(self) -> None:
        await self.far.stop()

    async def plug(self) -> None:
        await self.far.start()

    async def lose_answer(self) -> None:
        self.far.faults.fault(endpoint=self._losing, kind="timeout", times=1)

    async def say(self, text: str) -> None:
        raise RuntimeError(f"nothing is heard here: {len(text)} characters lost")


class Called(Running):
    """Running, with a callback address at which members are heard."""

    async def say(self, text: str) -> None:
        while True:
            self.far.pusher.member_writes(userid="staff0001", text=text)
            push = self.far.pusher.pushes[-1]
            await self.far.pusher.drained()
            if push.taken:
                return


class _AppRunning(Called):
    def __init__(self, adapter: WeComApp, far: WeComSim) -> None:
        super().__init__(adapter, far)
        self._losing = "message/send"

    def dispatch(self, number: int) -> Dispatch:
        return self._dispatch(number, Address("staff", f"staff{number % MEMBERS + 1:04d}"))

    def refused(self, number: int) -> Dispatch:
        return self._dispatch(number, Address("staff", f"gone{number}"))


class WeComAppRig:
    """Rig of `wecom-app`: members staff0001 and so on; whoever is called gone… is unknown."""

    kind: ClassVar[str] = "wecom-app"

    def settings(self) -> dict[str, Any]:
        return dict(SETTINGS)

    @asynccontextmanager
    async def run(self, port: Port) -> AsyncIterator[_AppRunning]:
        async with simulated() as far:
            adapter = WeComApp(
                WeComApp.Settings.model_validate(app_settings(far) | callback_settings(far)), port
            )
            async with kept(adapter), called(far, adapter):
                yield _AppRunning(adapter, far)


class _GroupRunning(Running):
    def __init__(self, adapter: WeComGroup, far: WeComSim) -> None:
        super().__init__(adapter, far)
        self._losing = "appchat/send"

    def dispatch(self, number: int) -> Dispatch:
        return self._dispatch(number, Address("group", f"rig{number % 10}"))

    def refused(self, number: int) -> Dispatch:
        return self._dispatch(number, Address("group", f"gone{number}"))


class WeComGroupRig:
    """Rig of `wecom-group`: groups rig0 to rig9 are there, others are not."""

    kind: ClassVar[str] = "wecom-group"

    def settings(self) -> dict[str, Any]:
        return dict(SETTINGS)

    @asynccontextmanager
    async def run(self, port: Port) -> AsyncIterator[_GroupRunning]:
        async with simulated() as far:
            for number in range(10):
                chat_id, members = f"rig{number}", ["staff0001", f"staff{number + 2:04d}"]
                chat = Chat(chat_id, far.options.agent, "值班群", members[0], members)
                far.appchats.chats[chat_id] = chat
            adapter = WeComGroup(WeComGroup.Settings.model_validate(app_settings(far)), port)
            async with kept(adapter):
                yield _GroupRunning(adapter, far)


class _RobotRunning(Running):
    def __init__(self, adapter: WeComRobot, far: WeComSim) -> None:
        super().__init__(adapter, far)
        self._losing = "webhook/send"

    def dispatch(self, number: int) -> Dispatch:
        return self._dispatch(number, Address("group", f"robot{number % 40}"))

    def refused(self, number: int) -> Dispatch:
        return self._dispatch(number, Address("group", "removed"))


class WeComRobotRig:
    """Rig of `wecom-robot`: forty robots, and one that was removed from its group."""

    kind: ClassVar[str] = "wecom-robot"

    def settings(self) -> dict[str, Any]:
        return {
            "robots": {"sandbox": "${env:WECOM_ROBOT_KEY}"},
            "connect_s": 1.0,
            "read_s": 2.0,
        }

    @asynccontextmanager
    async def run(self, port: Port) -> AsyncIterator[_RobotRunning]:
        async with simulated() as far:
            robots = {f"robot{number}": Secret(f"key-{number}") for number in range(40)}
            for name, key in robots.items():
                far.robots.robot_add(key=key.reveal(), group=name)
            robots["removed"] = Secret("key-removed")
            settings = {"base_url": f"{far.url}/cgi-bin/", "robots": robots, "read_s": 2.0}
            adapter = WeComRobot(WeComRobot.Settings.model_validate(settings), port)
            async with kept(adapter):
                yield _RobotRunning(adapter, far)


@asynccontextmanager
async def simulated(clock: Clock | None = None, **options: Any) -> AsyncIterator[WeComSim]:
    """A started platform with `MEMBERS` members."""
    given = {"members": MEMBERS, "callback_pause": 0.05} | options
    far = WeComSim(WeComOptions.model_validate(given), Journal(), clock)
    await far.start()
    try:
        yield far
    finally:
        await far.stop()


@asynccontextmanager
async def called(far: WeComSim, adapter: Adapter) -> AsyncIterator[None]:
    """The adapter's callback at an address of its own, which the platform's first app has saved."""
    async with mounted(adapter.webhooks()) as hooks:
        url = f"http://127.0.0.1:{hooks.port}/callback"
        await far.pusher.callback_set(agentid=far.options.agent, url=url)
        yield


def app_settings(far: WeComSim) -> dict[str, Any]:
    """Settings of an app of this platform, by its first app."""
    options = far.options
    known = {
        "base_url": f"{far.url}/cgi-bin/",
        "corp": options.corp,
        "agent_id": options.agent,
        "secret": Secret(options.secret),
    }
    return SETTINGS | known


def callback_settings(far: WeComSim) -> dict[str, Any]:
    options = far.options
    return {
        "callback_token": Secret(options.callback_token),
        "callback_aes_key": Secret(options.aes_key),
    }


__all__ = [
    "MEMBERS",
    "SETTINGS",
    "Called",
    "Running",
    "WeComAppRig",
    "WeComGroupRig",
    "WeComRobotRig",
    "app_settings",
    "callback_settings",
    "called",
    "simulated",
]
