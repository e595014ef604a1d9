"""Customer contact over the whole core: results and lost answers joined to their messages, greetings once, groups read in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from adapters.sim.wecom import WeComSim
from adapters.sim.wecom.rigs import callback_settings, called, simulated
from adapters.wecom import WeComContact
from msgcenter.app import App
from msgcenter.archive.registry_sink import RegistrySink
from msgcenter.clock import IdFactory, SystemClock, system_random
from msgcenter.store import GroupRow
from protocols.address import Address
from protocols.envelope import Envelope, hashed
from protocols.payload import Happening, Text
from tests.flow.rigging import Records, config_folder, running, submit, until

SETTINGS = """  settings:
    base_url: {url}/cgi-bin/
    corp: wwsandbox
    agent_id: 1000002
    secret: ${{env:WECOM_SECRET}}
    callback_token: ${{env:WECOM_TOKEN}}
    callback_aes_key: ${{env:WECOM_KEY}}
    slack_s: 2
    read_s: 1
    poll_s: 0.5
    poll_most_s: 1
    group_wait_s: 0
    greeting: {{text: 您好}}
"""


@asynccontextmanager
async def core(tmp_path: Path, far: WeComSim, records: Records) -> AsyncIterator[tuple[App, Any]]:
    made: list[WeComContact] = []

    class Seen(WeComContact):
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
    stores: list[Any] = []

    def sinks(parts: Any) -> dict[str, Any]:
        stores.append(parts.store)
        registry = RegistrySink("registry", parts.store, lambda _: "wecom-contact")
        return {"registry": registry.write}

    async with running(folder, Seen, records, env=env, sinks=sinks) as app, called(far, made[-1]):
        yield app, stores[-1]


def envelope(ids: IdFactory, number: int, text: str = "回馈老客户") -> Envelope:
    to = Address("wecom", f"wwsandbox/wm{number:04d}")
    return Envelope(
        id=ids.message(str(to)),
        caller="crm",
        to=to,
        category="marketing",
        tier=5,
        payload=Text(text),
        created_at=SystemClock().now_ms(),
        person=str(to),
        channels=("devnull",),
    )


@pytest.fixture
def ids() -> IdFactory:
    return IdFactory(SystemClock(), system_random())


async def test_every_message_ends_as_its_customer_did_whatever_was_lost(
    tmp_path: Path, ids: IdFactory
) -> None:
    records = Records()
    async with simulated(customers=60) as far, core(tmp_path, far, records) as (app, _):
        campaign = [envelope(ids, n) for n in range(1, 41)]
        single = [envelope(ids, n, f"第{n}位") for n in range(41, 51)]
        far.contacts.customer_deletes(userid="staff0001", external_userid="wm0001")
        far.faults.fault(
            endpoint="externalcontact/add_msg_template", kind="timeout", share=0.5, times=4
        )
        await submit(app, [*campaign, *single])

        def asked() -> set[str]:
            return {
                to
                for task in far.tasks.mass_tasks().values()
                for targets in task["parts"].values()
                for to in targets
            }

        await until(lambda: len(asked()) == 50, 30)

        def confirm_and_ask() -> dict[str, str]:
            for msgid in far.tasks.mass_tasks():
                far.tasks.member_confirms(msgid=msgid)
            return {r.subject or r.envelope.id: r.status for r in records.all if r.status}

        everybody = {e.id for e in (*campaign, *single)}
        await until(
            lambda: all(
                confirm_and_ask().get(i) in ("delivered", "undelivered") for i in everybody
            ),
            60,
        )
        statuses = confirm_and_ask()
        assert statuses[campaign[0].id] == "undelivered"
        assert {statuses[i] for i in everybody - {campaign[0].id}} == {"delivered"}
        shown = [e["to"] for e in far.journal.entries() if e["kind"] == "mass"]
        assert len(shown) == len(set(shown)) == 49, "nobody was written to twice"


async def test_who_comes_is_greeted_once_and_groups_are_read_in(tmp_path: Path) -> None:
    records = Records()
    async with simulated() as far, core(tmp_path, far, records) as (_, store):
        far.faults.callback_fault(kind="duplicate", share=1.0, times=-1)
        for number in range(100, 110):
            far.contacts.customer_adds(userid="staff0001", external_userid=f"wm0{number}")
        far.chats.chat_create(owner="staff0001", name="客户群", customers=["wm0100"], chat_id="wr1")
        await far.pusher.drained()

        def greeted() -> list[str]:
            return [e["to"] for e in far.journal.entries() if e["kind"] == "welcome"]

        await until(lambda: len(greeted()) >= 10, 20)

        def happened() -> list[str]:
            payloads = [r.envelope.payload for r in records.of("inbound")]
            return sorted(p.kind for p in payloads if isinstance(p, Happening))

        expected = [
            "group_created",
            "wecom_change_external_chat",
            *["wecom_change_external_contact"] * 10,
            *["wecom_welcome"] * 10,
        ]
        await until(lambda: happened() == expected, 20)
        assert len(greeted()) == len(set(greeted())) == 10
        group = f"grp_{hashed('group', 'nowhere', 'wr1')}"
        rows: dict[str, GroupRow] = {}
        async with asyncio.timeout(10):
            while group not in rows:
                await asyncio.sleep(0.02)
                rows = await store.groups_by_id([group])
        assert (rows[group].name, rows[group].owner) == ("客户群", "staff:staff0001")
        assert rows[group].members == ("staff:staff0001", "wecom:wwsandbox/wm0100")
        assert (rows[group].kind, rows[group].imported) == ("wecom-contact", True)
