"""Inheritance: every item's own code in the outcome, results told as they come, groups and the list of unassigned customers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adapters.wecom import WeComContact
from msgcenter.adapter import Dispatch, Rejected, Retry, Sent, Unknown
from protocols.outcome import Outcome
from tests.port import FakePort
from tests.unit.adapters.wecom.contact.parts import answer, command, contact, customer, told
from tests.unit.adapters.wecom.parts import Corp, corp, one

PAIR = {"handover_userid": "staff0001", "takeover_userid": "staff0002"}
DAY = 86_400


def transfer(*customers: str, kind: str = "transfer_customer", **more: Any) -> Dispatch:
    return command(kind, external_userid=list(customers), **PAIR | more)


def items(outcome: Outcome) -> dict[str, int]:
    assert isinstance(outcome, Sent | Rejected)
    rows = json.loads(outcome.detail)["items"]
    return {row.get("external_userid") or row["chat_id"]: row["errcode"] for row in rows}


async def followed(c: Corp, adapter: WeComContact, port: FakePort, seconds: float) -> None:
    end, count = c.clock.monotonic() + seconds, 0
    while port.rung and c.clock.monotonic() < end:
        assert all(isinstance(o, Sent) for o in await answer(c, adapter, port))
        count += 1
        assert count < 500


async def test_customers_are_handed_over_and_what_came_of_each_is_told() -> None:
    async with corp() as c, contact(c) as (adapter, port):
        for name in ("wm0001", "wm0011", "wm0012"):
            c.far.world.relate("staff0001", name)
        item = transfer("wm0001", "wm0011", "wm0012", "wm0005", transfer_success_msg="您好")
        adapter.render(item.envelope)
        outcome = await one(adapter, item)
        assert isinstance(outcome, Sent), "some were begun"
        assert items(outcome) == {"wm0001": 0, "wm0011": 0, "wm0012": 0, "wm0005": 40131}
        await followed(c, adapter, port, 7200)
        assert not told(port, "wecom_transfer_result")
        c.far.transfers.transfer_refused(external_userid="wm0011")
        c.far.transfers.transfer_refused(external_userid="wm0012", full=True)
        await followed(c, adapter, port, 2 * DAY)
        assert not port.rung
        results = {r["external_userid"]: r for r in told(port, "wecom_transfer_result")}
        assert {name: r["result"] for name, r in results.items()} == {
            "wm0001": "done",
            "wm0011": "refused",
            "wm0012": "takeover_full",
        }
        assert results["wm0001"]["takeover_time"] > 0
        assert results["wm0001"]["takeover_userid"] == "staff0002"
        assert {str(one.sender) for one in port.received} == {customer(n) for n in results}
        again = await one(adapter, transfer("wm0001"))
        assert isinstance(again, Rejected), "not the member's any more"
        assert again.code == "wecom_40131"


async def test_customers_of_a_member_who_left() -> None:
    async with corp() as c, contact(c) as (adapter, port):
        early = await one(adapter, transfer("wm0001", kind="resigned/transfer_customer"))
        assert isinstance(early, Rejected)
        assert early.code == "wecom_40097"
        c.far.member_change(userid="staff0001", resigned=True)
        listing = command("get_unassigned_list")
        adapter.render(listing.envelope)
        assert await one(adapter, listing) == Sent(detail='{"customers": 1}')
        [page] = told(port, "wecom_unassigned")
        assert page["is_last"] is True
        assert [row["external_userid"] for row in page["customers"]] == ["wm0001"]
        later = transfer("wm0001", kind="resigned/transfer_customer", number=901)
        begun = await one(adapter, later)
        assert items(begun) == {"wm0001": 0}
        await followed(c, adapter, port, 2 * DAY)
        [result] = told(port, "wecom_transfer_result")
        assert (result["result"], result["kind"]) == ("done", "resigned/transfer_customer")


async def test_a_long_list_of_unassigned_customers_comes_in_pages() -> None:
    async with corp() as c, contact(c) as (adapter, port):
        for number in range(100, 550):
            c.far.world.add_customer(f"wm{number:04d}")
            c.far.world.relate("staff0001", f"wm{number:04d}")
        c.far.member_change(userid="staff0001", resigned=True)
        outcome = await one(adapter, command("get_unassigned_list"))
        assert outcome == Sent(detail='{"customers": 451}')
        pages = told(port, "wecom_unassigned")
        assert [(p["page"], len(p["customers"]), p["is_last"]) for p in pages] == [
            (0, 200, False),
            (1, 200, False),
            (2, 51, True),
        ]


async def test_nobody_answers_until_the_end() -> None:
    async with corp(limits={"transfer_wait": 10 * DAY}) as c, contact(c) as (adapter, port):
        await one(adapter, transfer("wm0001"))
        await followed(c, adapter, port, 5 * DAY)
        assert not port.rung
        assert [r["result"] for r in told(port, "wecom_transfer_result")] == ["waiting"]


async def test_groups_change_hands() -> None:
    async with corp() as c, contact(c) as (adapter, _):
        for number in (1, 2):
            c.far.chats.chat_create(owner="staff0001", chat_id=f"wr{number}")
        body = {"chat_id_list": ["wr1", "wr2", "wrgone"], "new_owner": "staff0002"}
        resigned = await one(adapter, command("groupchat/transfer", **body))
        assert isinstance(resigned, Rejected)
        assert items(resigned) == {"wr1": 90500, "wr2": 90500, "wrgone": 90501}
        assert resigned.code == "wecom_90500"
        onjob = command("groupchat/onjob_transfer", **body)
        adapter.render(onjob.envelope)
        outcome = await one(adapter, onjob)
        assert isinstance(outcome, Sent)
        assert items(outcome) == {"wr1": 0, "wr2": 0, "wrgone": 90501}
        assert c.far.chats.chats["wr1"].owner == "staff0002"


async def test_a_lost_answer_is_looked_up_in_the_results() -> None:
    async with corp() as c, contact(c) as (adapter, port):
        c.far.faults.fault(endpoint="externalcontact/transfer_customer", kind="timeout")
        item = transfer("wm0001")
        assert isinstance(await one(adapter, item), Unknown)
        assert [type(o) for o in await adapter.resolve([item])] == [Sent]
        await followed(c, adapter, port, 2 * DAY)
        assert [r["result"] for r in told(port, "wecom_transfer_result")] == ["done"]
        c.far.world.relate("staff0001", "wm0007")
        c.far.faults.fault(endpoint="externalcontact/transfer_customer", kind="lost")
        other = transfer("wm0007")
        assert isinstance(await one(adapter, other), Unknown)
        assert [type(o) for o in await adapter.resolve([other])] == [Retry]
        assert items(await one(adapter, other)) == {"wm0007": 0}


@pytest.mark.parametrize("errcode", [-1, 45009, 40098, 60011])
async def test_a_refused_transfer_is_not_followed(errcode: int) -> None:
    async with corp() as c, contact(c) as (adapter, port):
        c.far.faults.fault(endpoint="externalcontact/transfer_customer", errcode=errcode)
        assert not isinstance(await one(adapter, transfer("wm0001")), Sent)
        await answer(c, adapter, port)
        assert not port.rung
        assert c.calls("externalcontact/transfer_result") == 0
