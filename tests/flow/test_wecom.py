"""WeCom over the whole core: lost answers repeated once, limits waited out, callbacks and their files all the way in."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from adapters.sim.wecom import WeComSim
from adapters.sim.wecom.rigs import callback_settings, called, simulated
from adapters.wecom import WeComApp
from msgcenter.app import App
from msgcenter.clock import IdFactory, SystemClock, system_random
from protocols.address import Address
from protocols.envelope import Envelope
from protocols.outcome import Sent
from protocols.payload import Media, Text
from tests.flow.rigging import Records, config_folder, running, submit, until

SETTINGS = """  settings:
    base_url: {url}/cgi-bin/
    corp: wwsandbox
    agent_id: 1000002
    secret: ${{env:WECOM_SECRET}}
    callback_token: ${{env:WECOM_TOKEN}}
    callback_aes_key: ${{env:WECOM_KEY}}
    slack_s: 2
    read_s: 2
"""


@asynccontextmanager
async def core(
    tmp_path: Path, far: WeComSim, records: Records
) -> AsyncIterator[tuple[App, WeComApp]]:
    made: list[WeComApp] = []

    class Seen(WeComApp):
        def __init__(self, settings: Any, port: Any) -> None:
            super().__init__(settings, port)
            made.append(self)

    folder = config_folder(tmp_path / "config", channel=SETTINGS.format(url=far.url))
    secrets = callback_settings(far)
    env = {
        "WECOM_SECRET": far.options.secret,
        "WECOM_TOKEN": secrets["callback_token"].reveal(),
        "WECOM_KEY": secrets["callback_aes_key"].reveal(),
    }
    async with running(folder, Seen, records, env=env) as app:
        yield app, made[-1]


def envelope(ids: IdFactory, number: int, user: str, **fields: Any) -> Envelope:
    to = Address("staff", user)
    known: dict[str, Any] = {
        "id": ids.message(str(to)),
        "caller": "crm",
        "to": to,
        "category": "transactional",
        "tier": 2,
        "payload": Text(f"第{number}条"),
        "created_at": SystemClock().now_ms(),
        "person": str(to),
        "channels": ("devnull",),
    }
    return Envelope(**known | fields)


@pytest.fixture
def ids() -> IdFactory:
    return IdFactory(SystemClock(), system_random())


async def test_answers_lost_on_the_way_cost_nobody_a_message_or_a_second_one(
    tmp_path: Path, ids: IdFactory
) -> None:
    records = Records()
    async with simulated() as far, core(tmp_path, far, records) as (app, _):
        batch = [envelope(ids, n, f"staff{n % 100 + 1:04d}") for n in range(100)]
        campaign = [
            envelope(
                ids, n, f"staff{n + 200:04d}", payload=Text("活动"), tier=5, category="marketing"
            )
            for n in range(100)
        ]
        far.faults.fault(endpoint="message/send", kind="timeout", share=0.2, times=10)
        far.faults.fault(endpoint="message/send", errcode=-1, share=0.1, times=5)
        far.tokens.token_rotate()
        await submit(app, [*batch, *campaign])

        def shown() -> Counter[str]:
            return Counter(e["to"] for e in far.journal.entries() if not e["dropped"])

        await until(lambda: sum(shown().values()) >= 200, 30)
        everybody = {e.id for e in (*batch, *campaign)}

        def sent() -> set[str]:
            last = records.last()
            return {i for i in everybody if i in last and isinstance(last[i].outcome, Sent)}

        await until(lambda: sent() == everybody, 30)
        assert set(shown().values()) == {1}
        assert far.faults.met


async def test_the_excess_for_one_member_waits_in_the_core(tmp_path: Path, ids: IdFactory) -> None:
    records = Records()
    async with simulated() as far, core(tmp_path, far, records) as (app, _):
        await submit(app, [envelope(ids, n, "staff0001") for n in range(45)])
        await until(lambda: far.journal.total >= 30 and len(records.of("channel")) >= 45, 20)
        assert far.journal.total == 30
        waiting = [r for r in records.of("channel") if not isinstance(r.outcome, Sent)]
        assert len(waiting) == 15
        assert {r.outcome.code for r in waiting} == {"wecom_member_limit"}  # type: ignore[union-attr]
        assert all(not entry["dropped"] for entry in far.journal.entries())


async def test_what_a_member_sends_comes_in_files_included(tmp_path: Path) -> None:
    records = Records()
    async with (
        simulated() as far,
        core(tmp_path, far, records) as (_, adapter),
        called(far, adapter),
    ):
        far.faults.callback_fault(kind="duplicate", share=1.0, times=-1)
        medium = far.media.add("image", "现场.jpg", b"\xff\xd8\xff" + b"picture" * 10)
        for number in range(5):
            far.pusher.member_writes(userid="staff0001", text=f"第{number}句")
        fields = {"MediaId": medium.media_id}
        far.pusher.member_writes(userid="staff0001", msgtype="image", fields=fields)
        await far.pusher.drained()

        def heard() -> Counter[str]:
            said: Counter[str] = Counter()
            for record in records.of("inbound"):
                payload = record.envelope.payload
                if isinstance(payload, Text):
                    said[payload.text] += 1
                elif isinstance(payload, Media):
                    said[payload.kind] += 1
            return said

        await until(lambda: len(heard()) == 6, 20)
        assert heard() == {**{f"第{n}句": 1 for n in range(5)}, "image": 1}
