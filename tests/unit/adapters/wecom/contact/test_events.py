"""Events of customers, groups and tags: all told with all their fields, whichever way they came; groups with their details."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from adapters.sim.wecom.pusher import xml
from adapters.wecom import WeComContact
from msgcenter.adapter import Rejected, Sent
from msgcenter.groups import body_of
from protocols.payload import Happening, Pull, Text
from tests.port import FakePort
from tests.unit.adapters.wecom.contact.parts import (
    answer,
    contact,
    customer,
    listening,
    ring,
    told,
)
from tests.unit.adapters.wecom.parts import Corp, corp

GET = "externalcontact/groupchat/get"
EVENT = "wecom_change_external_contact"
CHAT = "wecom_change_external_chat"


def pair(c: Corp) -> dict[str, Any]:
    return {"userid": "staff0001", "external_userid": "wm0001"}


HAPPENED: list[tuple[Callable[[Corp], Any], str, dict[str, Any]]] = [
    (
        lambda c: c.far.contacts.customer_adds(**pair(c), state="s1"),
        "add_external_contact",
        {"state": "s1"},
    ),
    (
        lambda c: c.far.contacts.customer_adds(**pair(c), half=True),
        "add_half_external_contact",
        {"state": ""},
    ),
    (lambda c: c.far.contacts.customer_edited(**pair(c)), "edit_external_contact", {}),
    (lambda c: c.far.contacts.customer_deletes(**pair(c)), "del_follow_user", {}),
    (
        lambda c: c.far.contacts.member_deletes(**pair(c), by_transfer=True),
        "del_external_contact",
        {"source": "DELETE_BY_TRANSFER"},
    ),
    (
        lambda c: c.far.contacts.event(
            "transfer_fail", "staff0001", "wm0001", FailReason="customer_refused"
        ),
        "transfer_fail",
        {"reason": "customer_refused"},
    ),
    (
        lambda c: c.far.contacts.event(
            "msg_audit_approved", "staff0001", "wm0001", WelcomeCode="WC1"
        ),
        "msg_audit_approved",
        {"welcome_code": "WC1"},
    ),
]


@pytest.mark.parametrize(("happen", "change", "more"), HAPPENED, ids=[row[1] for row in HAPPENED])
async def test_every_change_between_member_and_customer_is_told(
    happen: Callable[[Corp], Any], change: str, more: dict[str, Any]
) -> None:
    async with corp() as c, listening(c) as (_, port):
        happen(c)
        await c.far.pusher.drained()
        [event] = told(port, EVENT)
        expected = {"change_type": change, "user_id": "staff0001", "external_user_id": "wm0001"}
        assert expected.items() <= event.items()
        assert more.items() <= event.items()
        assert ("deadline" in event) == bool(event.get("welcome_code"))
        [heard] = port.received
        assert str(heard.sender) == customer("wm0001")
        assert heard.account_number == "staff0001"
        assert heard.order_key
        assert heard.at == event["created"] * 1000


async def test_tags_unknown_events_and_what_members_write_are_told_as_well() -> None:
    async with corp() as c, listening(c) as (_, port):
        c.far.contacts.tag_add(tag_id="et7", name="携号转网")
        c.far.contacts.event("something_new", "staff0001", "wm0001", Novel="1")
        c.far.pusher.member_writes(userid="staff0002", text="您好")
        await c.far.pusher.drained()
        [tag] = told(port, "wecom_change_external_tag")
        assert (tag["change_type"], tag["tag_id"], tag["tag_type"]) == ("create", "et7", "tag")
        [new] = told(port, EVENT)
        assert new["change_type"] == "something_new"
        assert ["Novel", "1"] in new["fields"]
        assert [one.payload for one in port.received if isinstance(one.payload, Text)] == [
            Text("您好")
        ]


async def test_nothing_is_confirmed_before_it_is_durable() -> None:
    async with corp() as c, listening(c) as (_, port):
        port.refuse = 1
        c.far.contacts.customer_edited(**pair(c))
        await c.far.pusher.drained()
        assert port.tries == 2
        assert len(told(port, EVENT)) == 1


def doorbell(c: Corp, event: str, change: str, **fields: Any) -> Pull:
    """A callback that came to another channel, as that one hands it on."""
    outer = {"ToUserName": c.far.options.corp, "FromUserName": "sys", "MsgType": "event"}
    now = {"CreateTime": c.clock.now_ms() // 1000, "Event": event, "ChangeType": change}
    return Pull("contact:evt-1", xml(outer | now | fields))


async def test_events_of_a_shared_receiving_address_come_by_doorbell() -> None:
    hello = {"text": "您好"}
    async with corp() as c, contact(c, greeting=hello) as (adapter, port):
        assert adapter.webhooks() == {}
        code = c.far.contacts.customer_adds(**pair(c))["welcome_code"]
        pull = doorbell(
            c,
            "change_external_contact",
            "add_external_contact",
            UserID="staff0001",
            ExternalUserID="wm0001",
            WelcomeCode=code,
        )
        for _ in range(2):
            assert await ring(adapter, pull) == Sent()
        assert len({one.remote_id for one in port.received}) == 1
        await answer(c, adapter, port)
        assert len(c.shown("welcome")) == 1
        port.refuse = 1
        assert not isinstance(await ring(adapter, pull), Sent | Rejected), "it rings again"


# -- groups --------------------------------------------------------------------------------------------------------------------


async def settled(c: Corp, adapter: WeComContact, port: FakePort) -> int:
    """Let callbacks come and doorbells ring until all is quiet."""
    await c.far.pusher.drained()
    count = 0
    while port.rung:
        assert all(isinstance(o, Sent) for o in await answer(c, adapter, port))
        count += 1
        assert count < 50
    return count


async def test_a_group_is_told_with_its_details_after_a_moment() -> None:
    async with corp() as c, listening(c) as (adapter, port):
        c.far.chats.chat_create(
            owner="staff0001", name="VIP客户群", customers=["wm0001", "wm0002"], chat_id="wr1"
        )
        await c.far.pusher.drained()
        assert not port.received
        assert [delay for _, delay in port.rung] == [2.0]
        await settled(c, adapter, port)
        [event] = told(port, CHAT)
        assert (event["change_type"], event["chat_id"]) == ("create", "wr1")
        assert event["is_current"] is True
        assert event["group"]["name"] == "VIP客户群"
        assert [m["userid"] for m in event["group"]["members"]] == ["staff0001", "wm0001", "wm0002"]
        [known] = told(port, "group_created")
        assert known == {
            "chat": "wr1",
            "members": ["staff:staff0001", customer("wm0001"), customer("wm0002")],
            "name": "VIP客户群",
            "owner": "staff:staff0001",
        }
        assert {one.account_number for one in port.received} == {"staff0001"}
        assert len({one.remote_id for one in port.received}) == 2
        payloads = [one.payload for one in port.received if isinstance(one.payload, Happening)]
        assert [body_of(one) is not None for one in payloads] == [False, True], "for the registry"


async def test_every_change_of_a_group_is_told() -> None:
    async with corp() as c, listening(c) as (adapter, port):
        chats = c.far.chats
        chats.chat_create(owner="staff0001", customers=["wm0001"], chat_id="wr1")
        await settled(c, adapter, port)
        chats.chat_join(chat_id="wr1", ids=["wm0003"], scene=3)
        await settled(c, adapter, port)
        chats.chat_leave(chat_id="wr1", ids=["wm0001"], removed=True)
        await settled(c, adapter, port)
        chats.chat_change(chat_id="wr1", name="新名", owner="staff0002", notice="公告")
        await settled(c, adapter, port)
        chats.chat_dismiss(chat_id="wr1")
        await settled(c, adapter, port)
        events = told(port, CHAT)
        assert [(e["change_type"], e.get("detail", "")) for e in events] == [
            ("create", ""),
            ("update", "add_member"),
            ("update", "del_member"),
            ("update", "change_name"),
            ("update", "change_owner"),
            ("update", "change_notice"),
            ("dismiss", ""),
        ]
        joined, left = events[1], events[2]
        assert (joined["join_scene"], joined["members"], joined["member_count_change"]) == (
            "3",
            ["wm0003"],
            1,
        )
        assert (left["quit_scene"], left["members"]) == ("1", ["wm0001"])
        assert all(e.get("is_current", True) for e in events)
        assert events[5]["group"]["notice"] == "公告"
        kinds = [one.payload.kind for one in port.received if isinstance(one.payload, Happening)]
        assert [kind for kind in kinds if kind != CHAT] == [
            "group_created",
            *["group_member_changed"] * 2,
            *["group_updated"] * 3,
            "group_dismissed",
        ]
        assert told(port, "group_updated")[-1]["owner"] == "staff:staff0002"


async def test_details_that_lag_are_read_again_and_told_as_lagging_in_the_end() -> None:
    async with corp() as c, listening(c) as (adapter, port):
        c.far.chats.chat_create(owner="staff0001", chat_id="wr1")
        await settled(c, adapter, port)
        c.far.chats.chat_join(chat_id="wr1", ids=["wm0003"])
        await c.far.pusher.drained()
        chat = c.far.chats.chats["wr1"]
        chat.version -= 1  # the details are not there yet
        await answer(c, adapter, port)
        assert len(told(port, CHAT)) == 1
        chat.version += 1
        await settled(c, adapter, port)
        assert told(port, CHAT)[1]["is_current"] is True
        c.far.chats.chat_join(chat_id="wr1", ids=["wm0004"])
        await c.far.pusher.drained()
        chat.version -= 1
        before = c.calls(GET)
        await settled(c, adapter, port)
        assert c.calls(GET) == before + 3
        assert told(port, CHAT)[2]["is_current"] is False


async def test_an_event_outlives_trouble_with_its_details() -> None:
    async with corp() as c, listening(c) as (adapter, port):
        c.far.chats.chat_create(owner="staff0001", chat_id="wr1")
        c.far.faults.fault(endpoint=GET, errcode=-1, times=2)
        await settled(c, adapter, port)
        assert told(port, CHAT)[0]["group"]["owner"] == "staff0001"
        c.far.chats.chat_create(owner="staff0001", chat_id="wr2")
        await c.far.pusher.drained()
        del c.far.chats.chats["wr2"]
        await settled(c, adapter, port)
        assert "group" not in told(port, CHAT)[1]
        assert len(told(port, "group_created")) == 1, "of a group that is gone nothing is known"
        c.far.chats.chat_create(owner="staff0001", chat_id="wr3")
        c.far.faults.fault(endpoint=GET, errcode=-1, times=-1)
        assert await settled(c, adapter, port) == 6
        assert "group" not in told(port, CHAT)[2]


async def test_a_large_group_is_told_by_its_count() -> None:
    async with corp(customers=300) as c, listening(c) as (adapter, port):
        many = [f"wm{n:04d}" for n in range(1, 251)]
        c.far.chats.chat_create(owner="staff0001", customers=many, chat_id="wr1")
        await settled(c, adapter, port)
        [event] = told(port, CHAT)
        assert event["group"]["member_count"] == 251
        assert "members" not in event["group"]
        assert len(told(port, "group_created")[0]["members"]) == 251
        assert max(len(json.dumps(b)) for b in told(port, "group_created")) < 64 * 1024
