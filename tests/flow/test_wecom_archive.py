"""The conversation archive over the whole core: both directions recorded once, rung by an app's or its own callback, and again after a crash."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from adapters.sim.wecom import WeComSim
from adapters.sim.wecom.archive_rig import archive_settings
from adapters.sim.wecom.rigs import simulated
from adapters.wecom import WeComArchive
from msgcenter.app import App
from protocols.payload import Media, Pull, Text
from tests.flow.rigging import Records, config_folder, running, until

SETTINGS = """  settings:
    simulator: {url}
    base_url: {url}/cgi-bin/
    corp: wwsandbox
    secret: ${{env:ARCHIVE_SECRET}}
    keys: {{1: "${{env:ARCHIVE_KEY}}"}}
    poll: {poll}
"""


@asynccontextmanager
async def core(
    tmp_path: Path, far: WeComSim, records: Records, poll: str
) -> AsyncIterator[tuple[App, WeComArchive]]:
    made: list[WeComArchive] = []

    class Seen(WeComArchive):
        def __init__(self, settings: Any, port: Any) -> None:
            super().__init__(settings, port)
            made.append(self)

    known = archive_settings(far)
    channel = SETTINGS.format(url=far.url, poll=poll)
    folder = config_folder(tmp_path / "config", channel=channel)
    env = {"ARCHIVE_SECRET": known["secret"].reveal(), "ARCHIVE_KEY": known["keys"][1].reveal()}
    async with running(folder, Seen, records, env=env) as app:
        yield app, made[-1]


def inbound(records: Records) -> list[Any]:
    return [record.envelope for record in records.unique().values() if record.envelope.inbound]


async def test_both_directions_arrive_once_and_a_restart_goes_on(tmp_path: Path) -> None:
    records = Records()
    async with simulated() as far:
        archive = far.archive
        archive.archive_message(sender="wm0001", to=["staff0001"], text="怎么退订？")
        archive.archive_message(sender="staff0001", to=["wm0001"], text="已为您退订。")
        archive.archive_message(sender="wm0001", to=["staff0001"], msgtype="image", size=600_000)
        async with core(tmp_path, far, records, "1h") as (_, adapter):
            await until(lambda: len(inbound(records)) == 3)
            asked, answered, picture = sorted(inbound(records), key=lambda one: one.created_at)
            assert (asked.payload, answered.payload) == (Text("怎么退订？"), Text("已为您退订。"))
            assert str(asked.sender) == "wecom:wwsandbox/wm0001"
            assert str(answered.sender) == "staff:staff0001"
            assert asked.order_key == answered.order_key == picture.order_key
            assert asked.account == answered.account == "staff0001"
            assert isinstance(picture.payload, Media)
            file = await adapter.port.media(picture.payload.media)
            assert file.size == 600_000

            # No poll for an hour: the doorbell alone has it read.
            archive.archive_message(sender="wm0001", to=["staff0001"], text="谢谢")
            await adapter.port.ring(Pull("archive"))
            await until(lambda: len(inbound(records)) == 4)
        archive.archive_message(sender="wm0001", to=["staff0001"], text="再见")
        async with core(tmp_path, far, records, "1h") as (_, adapter):
            await until(lambda: len(inbound(records)) == 5)
            assert adapter.puller.gaps == 0, "it went on where it stopped"
