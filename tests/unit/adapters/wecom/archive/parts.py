"""A simulated WeCom with an archive, the adapter that reads it, and what came of it; read by hand, one round at a time, or by its session."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from adapters.sim.wecom.archive_rig import archive_settings
from adapters.wecom import WeComArchive
from msgcenter.adapter import Received
from msgcenter.rig import kept
from protocols.payload import Happening
from tests.port import FakePort
from tests.unit.adapters.wecom.parts import Corp, corp


class Archived:
    """`write` = somebody says something; `read` = one reading of all there is."""

    def __init__(self, corp: Corp, port: FakePort, adapter: WeComArchive) -> None:
        self.corp = corp
        self.port = port
        self.adapter = adapter
        self.archive = corp.far.archive

    def write(
        self, text: str = "您好", sender: str = "wm0001", to: str = "staff0001", **more: Any
    ) -> dict[str, Any]:
        return self.archive.archive_message(sender=sender, to=to.split("|"), text=text, **more)

    async def read(self) -> list[Received]:
        """What this reading brought."""
        before = len(self.port.received)
        await self.adapter.puller.pull()
        return self.port.received[before:]

    async def one(self, **written: Any) -> Received:
        """The one that comes of what is written."""
        self.write(**written)
        [received] = await self.read()
        return received

    def fault(self, name: str, **more: Any) -> None:
        self.corp.far.faults.fault(endpoint=f"sim-archive/{name}", **more)


@asynccontextmanager
async def archived(
    limits: dict[str, int] | None = None, **settings: Any
) -> AsyncIterator[Archived]:
    """The source is open, and nothing is read but by `read`."""
    async with corp(limits) as c, beside(c, **settings) as found:
        yield found


@asynccontextmanager
async def beside(c: Corp, port: FakePort | None = None, **settings: Any) -> AsyncIterator[Archived]:
    """Another adapter at the same archive; with `port` it goes on where that one was."""
    own = port or c.port("archive")
    adapter = WeComArchive(
        WeComArchive.Settings.model_validate(archive_settings(c.far) | settings), own
    )
    try:
        async with adapter.api.open(), adapter.source.open():
            yield Archived(c, own, adapter)
    finally:
        if port is None:
            await own.close()


@asynccontextmanager
async def running(c: Corp, port: FakePort, **settings: Any) -> AsyncIterator[Archived]:
    """The adapter with its session, as the core would have it."""
    known = archive_settings(c.far) | settings
    adapter = WeComArchive(WeComArchive.Settings.model_validate(known), port)
    async with kept(adapter):
        yield Archived(c, port, adapter)


def told(received: Received) -> tuple[str, dict[str, Any]]:
    """Kind and body of a happening."""
    assert isinstance(received.payload, Happening)
    return received.payload.kind, json.loads(received.payload.body)
