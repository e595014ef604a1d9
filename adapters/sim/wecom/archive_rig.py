"""Rig of `wecom-archive`: the simulated platform's archive, read with a key pair made for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar

from adapters.sim.rigs import dispatch_of
from adapters.sim.wecom.rigs import (
    simulated,
)
from adapters.sim.wecom.server import WeComSim
from adapters.wecom import WeComArchive
from msgcenter.adapter import Dispatch, Port, Secret
from msgcenter.rig import kept
from protocols.address import Address
from protocols.payload import Pull


class _ArchiveRunning:
    """Nothing can be given to it: only what it reads is heard."""

    def __init__(self, adapter: WeComArchive, far: WeComSim) -> None:
        self.adapter = adapter
        self.far = far

    def dispatch(self, number: int) -> Dispatch:
        return dispatch_of(number, Address("caller", "unassigned"), Pull("archive"))

    def refused(self, number: int) -> Dispatch:
        raise RuntimeError(f"nothing is sent here: {number}")

    def received(self) -> Sequence[str]:
        return []

    async def unplug(self) -> None:
        await self.far.stop()

    async def plug(self) -> None:
        await self.far.start()

    async def lose_answer(self) -> None:
        self.far.faults.fault(endpoint="sim-archive/chatdata", kind="timeout", times=1)

    async def say(self, text: str) -> None:
        archive, puller = self.far.archive, self.adapter.puller
        seq = archive.archive_message(sender="wm0001", to=["staff0001"], text=text)["seq"]
        while puller.cursor.seq < seq:
            await self.far.world.clock.sleep(0.02)


class WeComArchiveRig:
    """Rig of `wecom-archive`: the simulator's archive, in which the customer wm0001 talks to staff0001."""

    kind: ClassVar[str] = "wecom-archive"

    def settings(self) -> dict[str, Any]:
        return {
            "corp": "wwsandbox",
            "secret": "${env:WECOM_ARCHIVE_SECRET}",
            "library": "/opt/wework/libWeWorkFinanceSdk_C.so",
            "keys": {1: "${file:/run/secrets/archive-1.pem}"},
        }

    @asynccontextmanager
    async def run(self, port: Port) -> AsyncIterator[_ArchiveRunning]:
        async with simulated() as far:
            known = archive_settings(far) | {"poll": 0.1}
            adapter = WeComArchive(WeComArchive.Settings.model_validate(known), port)
            async with kept(adapter):
                yield _ArchiveRunning(adapter, far)


def archive_settings(far: WeComSim) -> dict[str, Any]:
    """Settings of the archive of this platform; makes a key pair if there is none yet."""
    if not far.archive.private_keys:
        far.archive.archive_key()
    keys = {version: Secret(pem) for version, pem in far.archive.private_keys.items()}
    return {
        "base_url": f"{far.url}/cgi-bin/",
        "simulator": far.url,
        "corp": far.options.corp,
        "secret": Secret(far.options.archive_secret),
        "keys": keys,
        "connect_s": 20.0,
        "read_s": 20.0,
        "total_s": 30.0,
    }


__all__ = ["WeComArchiveRig", "archive_settings"]
