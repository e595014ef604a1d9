"""Welcome messages: inside the 20 s of their code, once, or not at all."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from adapters.wecom import WeComContact
from msgcenter.adapter import Dispatch, Malformed, Rejected, Sent, Unknown
from protocols.outcome import Outcome
from tests.unit.adapters.wecom.contact.parts import (
    answer,
    command,
    contact,
    customer,
    listening,
    ring,
    told,
)
from tests.unit.adapters.wecom.parts import Corp, corp, one

API = "externalcontact/send_welcome_msg"
HELLO = {"text": "您好，我是您的客户经理"}
JPG = b"\xff\xd8\xff" + b"x" * 100


def added(c: Corp, name: str = "wm0900", **traits: Any) -> str:
    given = {"userid": "staff0001", "external_userid": name} | traits
    code: str = c.far.contacts.customer_adds(**given)["welcome_code"]
    return code


def welcome(code: str, **more: Any) -> Dispatch:
    return command("welcome", customer("wm0900"), code=code, **HELLO | more)


async def jumping(c: Corp, work: asyncio.Future[Any], api: str, calls: int, step: float) -> None:
    """Push time on by `step` whenever another call of `api` was made, until `work` is done."""
    async with asyncio.timeout(10):
        while not work.done():
            if c.calls(api) > calls:
                calls = c.calls(api)
                c.jump(step)
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("half", [False, True])
async def test_who_adds_a_member_is_greeted_and_everybody_hears_of_it(half: bool) -> None:
    async with corp() as c, listening(c, greeting=HELLO) as (adapter, port):
        before = c.clock.now_ms()
        code = added(c, state="poster-7", half=half)
        await c.far.pusher.drained()
        [event] = told(port, "wecom_change_external_contact")
        assert event["change_type"] == f"add_{'half_' if half else ''}external_contact"
        assert (event["welcome_code"], event["state"]) == (code, "poster-7")
        assert before + 18_000 < event["deadline"] <= c.clock.now_ms() + 20_000
        assert str(port.received[0].sender) == customer("wm0900")
        assert port.received[0].account_number == "staff0001"
        await answer(c, adapter, port)
        [shown] = c.shown("welcome")
        assert (shown["to"], shown["from"], shown["text"]) == ("wm0900", "staff0001", HELLO["text"])
        assert told(port, "wecom_welcome") == [
            {
                "code": code,
                "external_userid": "wm0900",
                "outcome": "sent",
                "userid": "staff0001",
            }
        ]


async def test_a_repeated_event_greets_once() -> None:
    async with corp() as c, listening(c, greeting=HELLO) as (adapter, port):
        c.far.faults.callback_fault(kind="duplicate", times=1)
        added(c)
        await c.far.pusher.drained()
        assert len(port.received) == 2
        assert port.received[0].remote_id == port.received[1].remote_id
        assert len(port.rung) == 2
        async with contact(c, greeting=HELLO) as (other, _):  # another process
            first, second = [pull for pull, _ in port.rung]
            outcomes = await asyncio.gather(ring(adapter, first), ring(other, second))
        assert all(isinstance(o, Sent) for o in outcomes)
        assert len(c.shown("welcome")) == 1
        assert c.calls(API) == 1


async def test_members_may_have_a_greeting_of_their_own_with_attachments() -> None:
    async with corp() as c:
        port = c.port()
        picture = port.put_media(JPG, "image/jpeg", "名片.jpg")
        own = {"text": "小李为您服务", "attachments": [image(picture.id)]}
        async with listening(c, greeting=HELLO, greetings={"Staff0002": own}) as (adapter, mine):
            mine.files[picture.id] = picture
            added(c, "wm0901")
            added(c, "wm0902", userid="staff0002")
            await c.far.pusher.drained()
            await answer(c, adapter, mine)
            texts = {e["from"]: e["text"] for e in c.shown("welcome")}
            assert texts == {"staff0001": HELLO["text"], "staff0002": own["text"]}
            [entry] = [e for e in c.shown("welcome") if e["from"] == "staff0002"]
            assert [a["msgtype"] for a in entry["body"]["attachments"]] == ["image"]
        await port.close()


def image(media: str) -> dict[str, Any]:
    return {"msgtype": "image", "image": {"media_id": media}}


async def test_without_a_greeting_the_caller_sends_it_by_the_code() -> None:
    async with corp() as c, listening(c) as (adapter, port):
        code = added(c)
        await c.far.pusher.drained()
        assert not port.rung
        item = welcome(code)
        adapter.render(item.envelope)
        assert await one(adapter, item) == Sent(detail="greeted")
        again = await one(adapter, item)
        assert isinstance(again, Rejected)
        assert again.code == "wecom_41051", "once"


async def test_no_code_no_welcome() -> None:
    async with corp() as c, listening(c, greeting=HELLO) as (_, port):
        c.far.member_change(userid="staff0001", native_welcome=True)
        assert added(c) == ""
        await c.far.pusher.drained()
        assert "deadline" not in told(port, "wecom_change_external_contact")[0]
        assert not port.rung


async def test_a_late_welcome_is_refused_and_told_and_never_becomes_a_message() -> None:
    async with corp() as c, listening(c, greeting=HELLO) as (adapter, port):
        code = added(c)
        await c.far.pusher.drained()
        c.jump(21)
        await answer(c, adapter, port)
        [said] = told(port, "wecom_welcome")
        assert (said["outcome"], said["reason"]) == ("rejected", "welcome_late")
        outcome = await one(adapter, welcome(code))
        assert isinstance(outcome, Rejected)
        assert (outcome.scope, outcome.code) == ("message", "welcome_late")
        late = await one(adapter, welcome("WCother", deadline=c.clock.now_ms() - 1))
        assert isinstance(late, Rejected)
        assert late.code == "welcome_late"
        assert c.calls(API) == 0
        assert c.calls("externalcontact/add_msg_template") == 0


async def test_while_another_app_sends_it_is_tried_again_inside_the_window() -> None:
    async with corp() as c, contact(c) as (adapter, _):
        code = added(c)
        c.far.faults.fault(endpoint=API, errcode=41096, times=3)
        work = asyncio.ensure_future(one(adapter, welcome(code)))
        await jumping(c, work, API, 0, 2.1)
        assert work.result() == Sent(detail="greeted")
        assert c.calls(API) == 4


async def test_another_app_that_is_busy_until_the_end_leaves_it_late() -> None:
    async with corp() as c, contact(c) as (adapter, _):
        code = added(c)
        c.far.faults.fault(endpoint=API, errcode=41096, times=-1)
        work = asyncio.ensure_future(one(adapter, welcome(code)))
        await jumping(c, work, API, 0, 2.1)
        outcome = work.result()
        assert isinstance(outcome, Rejected)
        assert outcome.code == "welcome_late"
        assert c.calls(API) <= 11


@pytest.mark.parametrize("kind", ["lost", "http"])
async def test_a_lost_answer_is_tried_again_because_a_code_is_good_for_one(kind: Any) -> None:
    async with corp() as c, contact(c) as (adapter, _):
        code = added(c)
        c.far.faults.fault(endpoint=API, kind=kind)
        work = asyncio.ensure_future(one(adapter, welcome(code)))
        await jumping(c, work, API, 0, 1.1)
        assert work.result() == Sent(detail="greeted")
        assert len(c.shown("welcome")) == 1


async def test_a_welcome_that_was_sent_with_its_answer_lost_is_unknown_and_not_repeated() -> None:
    async with corp() as c, contact(c) as (adapter, _):
        code = added(c)
        c.far.faults.fault(endpoint=API, kind="timeout")
        work = asyncio.ensure_future(one(adapter, welcome(code)))
        await jumping(c, work, API, 0, 1.1)
        assert isinstance(work.result(), Unknown)
        assert len(c.shown("welcome")) == 1


@pytest.mark.parametrize(
    ("errcode", "code"),
    [
        (41049, "wecom_41049"),
        (41050, "wecom_41050"),
        (41051, "wecom_41051"),
        (41053, "wecom_41053"),
    ],
)
async def test_a_window_that_is_closed_is_final(errcode: int, code: str) -> None:
    async with corp() as c, contact(c) as (adapter, _):
        given = added(c)
        c.far.faults.fault(endpoint=API, errcode=errcode)
        outcome: Outcome = await one(adapter, welcome(given))
        assert isinstance(outcome, Rejected)
        assert (outcome.scope, outcome.code) == ("recipient", code)
        assert c.calls(API) == 1


async def test_a_chat_that_began_is_not_greeted() -> None:
    async with corp() as c, listening(c, greeting=HELLO) as (adapter, port):
        added(c)
        await c.far.pusher.drained()
        c.far.contacts.customer_chats(userid="staff0001", external_userid="wm0900", text="在吗")
        await answer(c, adapter, port)
        [said] = told(port, "wecom_welcome")
        assert (said["outcome"], said["reason"]) == ("rejected", "wecom_41051")


@pytest.mark.parametrize(
    "greeting",
    [
        {"text": ""},
        {"text": "字" * 1334},
        {"attachments": [{"msgtype": "voice", "voice": {"media_id": "M"}}]},
        {"attachments": [image("M")] * 10},
    ],
)
async def test_a_greeting_that_cannot_be_sent_is_refused_at_start(greeting: Any) -> None:
    async with corp() as c:
        with pytest.raises((ValueError, Malformed)):
            async with contact(c, greeting=greeting):
                raise AssertionError("it was taken")


# -- notes on customers --------------------------------------------------------------------------------------------------------


async def noted(adapter: WeComContact, kind: str, sender: str = "", **body: Any) -> Outcome:
    item = command(kind, customer("wm0001"), sender, **body)
    adapter.render(item.envelope)
    return await one(adapter, item)


async def test_remarks_and_tags_are_commands_of_their_own() -> None:
    async with corp() as c, contact(c) as (adapter, _):
        c.far.faults.fault(endpoint="externalcontact/mark_tag", errcode=-1)
        remark = command(
            "remark", customer("wm0001"), "staff0001", remark="王总", remark_company=""
        )
        tags = command("mark_tag", customer("wm0001"), userid="staff0001", add_tag=["et0001"])
        outcomes = await adapter.deliver([remark, tags])
        assert [type(o).__name__ for o in outcomes] == ["Sent", "Retry"]
        assert isinstance(await one(adapter, tags), Sent), "only what failed comes again"
        relation = c.far.world.relation("staff0001", "wm0001")
        assert relation is not None
        assert (relation.remark, relation.tags) == ("王总", ["et0001"])
        gone = await noted(adapter, "mark_tag", "staff0001", remove_tag=["et0001"])
        assert isinstance(gone, Sent)
        assert relation.tags == []
        for sender, code in (("staff0009", "wecom_84061"), ("nobody", "wecom_60111")):
            refused = await noted(adapter, "remark", sender, remark="x")
            assert isinstance(refused, Rejected)
            assert refused.code == code
        nobody = await noted(adapter, "remark", remark="x")
        assert isinstance(nobody, Rejected), "no account and no userid"
        assert nobody.code == "malformed"


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("remark", {"remark": "字" * 21}),
        ("remark", {"description": "字" * 151}),
        ("remark", {}),
        ("mark_tag", {}),
        ("welcome", {"text": "好"}),
        ("welcome", {"code": "c"}),
        ("remind_groupmsg_send", {}),
        ("transfer_customer", {}),
        ("nonsense", {}),
    ],
)
async def test_a_command_that_cannot_be_carried_out_is_refused_before(
    kind: str, body: dict[str, Any]
) -> None:
    async with corp() as c, contact(c) as (adapter, _):
        with pytest.raises(Malformed):
            adapter.render(command(kind, customer("wm0001"), **body).envelope)
