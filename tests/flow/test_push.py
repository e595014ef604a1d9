"""Push and inbox over the whole core: receipts and clicks on the message's id, a lost answer never sent twice, read and taken back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from adapters.inbox import Inbox
from adapters.push import Push
from adapters.sim.push import PushSim
from adapters.sim.push.rigs import listening, simulated
from msgcenter.adapter import Adapter, Report
from msgcenter.app import App
from msgcenter.clock import IdFactory, SystemClock, system_random
from msgcenter.status import derive
from protocols.address import Address
from protocols.envelope import Envelope
from protocols.outcome import Sent, Unknown
from protocols.payload import DeliveryReport, Recall, Text
from tests.flow.rigging import Records, config_folder, running, submit, until

ME = Address("gridapp", "zhangsan")
IDS = IdFactory(SystemClock(), system_random())


def message(text: str, **more: Any) -> Envelope:
    return Envelope(
        id=IDS.message(str(ME)),
        caller="crm",
        to=ME,
        category="transactional",
        tier=2,
        payload=Text(text),
        created_at=SystemClock().now_ms(),
        person=str(ME),
        channels=("devnull",),
        **more,
    )


@asynccontextmanager
async def core(
    tmp_path: Path, kind: type[Adapter], settings: str, records: Records
) -> AsyncIterator[tuple[App, Any]]:
    made: list[Any] = []

    class Seen(kind):  # type: ignore[misc,valid-type]
        def __init__(self, settings: Any, port: Any) -> None:
            super().__init__(settings, port)
            made.append(self)

    folder = config_folder(tmp_path / "config")
    channels = f"nowhere:\n  kind: devnull\n  send_timeout: 10s\n  settings: {{{settings}}}\n"
    (folder / "channels.yaml").write_text(channels)
    async with running(folder, Seen, records, env={"PUSH": "master-secret"}) as app:
        yield app, made[-1]


def settings_of(far: PushSim) -> str:
    options = far.options
    return (
        f'profile: {options.profile}, base_url: "{far.url}", app: {options.app}, '
        f'key: {options.key}, secret: "${{env:PUSH}}"'
    )


async def status_of(app: App, message: str) -> str:
    [snapshot] = await app.parts.state.get_many([message])
    return derive(snapshot)


async def becomes(app: App, message: str, wanted: str) -> None:
    seen = ""

    async def look() -> None:
        nonlocal seen
        seen = await status_of(app, message)

    for _ in range(1500):
        await look()
        if seen == wanted:
            return
        await SystemClock().sleep(0.01)
    raise AssertionError(f"{seen}, not {wanted}")


async def test_receipt_and_click_come_back_on_the_message(tmp_path: Path) -> None:
    records = Records()
    async with (
        simulated("plain") as far,
        core(tmp_path, Push, settings_of(far), records) as (app, adapter),
        listening(adapter, far),
    ):
        await adapter.devices.register(ME, "d1", "", 1)
        one = message("新装机工单")
        await submit(app, [one])
        await becomes(app, one.id, "delivered")
        entry = far.journal.entries()[0]
        await far.control("receipt", {"id": entry["request"], "device": "d1", "code": "clicked"})
        await becomes(app, one.id, "read")
        assert far.journal.total == 1


async def test_a_lost_answer_is_not_sent_twice_where_repeats_are_lost(tmp_path: Path) -> None:
    records = Records()
    async with (
        simulated("getui") as far,
        core(tmp_path, Push, settings_of(far), records) as (app, adapter),
    ):
        await adapter.devices.register(ME, "d1", "", 1)
        far.faults.lose_next = 1
        lost, next_ = message("一"), message("二")
        await submit(app, [lost])
        await until(lambda: any(isinstance(r.outcome, Unknown) for r in records.of("channel")))
        await submit(app, [next_])
        await becomes(app, next_.id, "sent")
        await becomes(app, lost.id, "unknown")
        assert [entry["body"] for entry in far.journal.entries()] == ["一", "二"]


async def test_an_inbox_item_is_read_and_taken_back(tmp_path: Path) -> None:
    records = Records()
    async with core(tmp_path, Inbox, "", records) as (app, adapter):
        first, second = message("待办一"), message("待办二")
        await submit(app, [first])
        await becomes(app, first.id, "delivered")
        await adapter.port.emit([Report(DeliveryReport(first.id, "read"), ME)])
        await becomes(app, first.id, "read")
        await submit(app, [second])
        await becomes(app, second.id, "delivered")
        assert (await app.parts.store.inbox(str(ME), before=None)).unread == 2
        recall = replace(message("x"), payload=Recall(second.id, (second.id,)), channel="nowhere")
        await submit(app, [recall])
        await until(
            lambda: any(
                isinstance(r.outcome, Sent) and r.envelope.id == recall.id
                for r in records.of("channel")
            )
        )
        page = await app.parts.store.inbox(str(ME), before=None)
        assert ([row.id for row in page.items], page.unread) == ([first.id], 1)
