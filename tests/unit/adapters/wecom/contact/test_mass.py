"""Mass messages: joined into few tasks, made once, counted before the call, an outcome for every customer."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime

import pytest

from adapters.wecom import WeComContact
from adapters.wecom.contact.allowance import Period, period_of
from adapters.wecom.contact.watch import remote_id
from adapters.wecom.conversation import order_key
from msgcenter.adapter import Malformed, Rejected, Retry, Sent, Unreachable
from protocols.address import Address
from protocols.payload import Card, Link, Media, MiniProgram, Native, Payload, Text
from tests.unit.adapters.wecom.contact.parts import contact, midmonth, to_chat, to_customer
from tests.unit.adapters.wecom.parts import Corp, corp, one

ADD = "externalcontact/add_msg_template"
JPG = b"\xff\xd8\xff" + b"x" * 100
MP4 = b"\x00\x00\x00\x18ftypmp42" + b"x" * 100


def tasks(c: Corp) -> list[tuple[str, list[str]]]:
    """(text, targets) of every task."""
    return [
        (task["text"], sorted(to for part in task["parts"].values() for to in part))
        for task in c.far.tasks.mass_tasks().values()
    ]


async def test_equal_messages_of_one_batch_are_one_task() -> None:
    async with corp() as c, contact(c) as (adapter, port):
        batch = [to_customer(n) for n in range(1, 11)]
        outcomes = await adapter.deliver(batch)
        [msgid] = c.far.tasks.tasks
        assert [o.remote_ids for o in outcomes if isinstance(o, Sent)] == [
            (remote_id(msgid, f"wm{n:04d}"),) for n in range(1, 11)
        ]
        assert tasks(c) == [("您好", [f"wm{n:04d}" for n in range(1, 11)])]
        assert c.calls(ADD) == 1
        assert [pull.source.partition(":")[0] for pull, _ in port.rung] == ["mass"]


async def test_what_differs_is_a_task_of_its_own() -> None:
    async with corp() as c, contact(c) as (adapter, _):
        c.far.world.relate("staff0001", "wm0002")
        batch = [
            to_customer(1),
            to_customer(2, category="care"),
            to_customer(3, Text("再见")),
            to_customer(4, customer="wm0002", sender="staff0001"),
            to_customer(5, customer="wm0002", sender="staff0002"),
            to_customer(6, customer="wm0001"),
        ]
        outcomes = await adapter.deliver(batch)
        assert all(isinstance(o, Sent) for o in outcomes), outcomes
        assert len({o.remote_ids for o in outcomes if isinstance(o, Sent)}) == 6
        assert c.calls(ADD) == 6
        senders = [[*task.parts] for task in c.far.tasks.tasks.values()]
        assert sorted(s[0] for s in senders) == [
            *["staff0001"] * 3,
            *["staff0002"] * 2,
            "staff0003",
        ]


async def test_two_alike_for_one_customer_stay_two() -> None:
    async with corp() as c, contact(c) as (adapter, _):
        batch = [to_customer(n, customer="wm0001") for n in range(3)]
        batch.append(to_customer(4))
        outcomes = await adapter.deliver(batch)
        assert all(isinstance(o, Sent) for o in outcomes)
        assert sorted(len(targets) for _, targets in tasks(c)) == [1, 1, 2]


async def test_what_follows_one_that_was_not_taken_waits() -> None:
    async with corp() as c, contact(c) as (adapter, _):
        c.far.faults.fault(endpoint=ADD, errcode=-1)
        batch = [to_customer(n, Text(f"第{n}条"), "wm0001", order_key="wm0001") for n in range(3)]
        outcomes = await adapter.deliver(batch)
        assert [getattr(o, "code", "") for o in outcomes] == ["wecom_-1", "waits", "waits"]
        assert tasks(c) == []
        assert all(isinstance(o, Sent) for o in await adapter.deliver(batch))
        assert [text for text, _ in tasks(c)] == ["第0条", "第1条", "第2条"]


async def test_whom_wecom_leaves_out_is_refused_alone() -> None:
    async with corp() as c, contact(c) as (adapter, _):
        c.far.contacts.member_deletes(userid="staff0002", external_userid="wm0002")
        outcomes = await adapter.deliver([to_customer(n) for n in range(1, 4)])
        assert [type(o) for o in outcomes] == [Sent, Rejected, Sent]
        assert outcomes[1] == Rejected(
            "recipient",
            "WeCom leaves this customer out: not a contact of the member who is to send",
            "wecom_not_a_contact",
        )
        gone = await one(adapter, to_customer(9, customer="wmgone"))
        assert isinstance(gone, Rejected)
        assert (gone.scope, gone.code) == ("recipient", "wecom_41048")


async def test_a_member_who_cannot_send_is_the_accounts_fault() -> None:
    async with corp() as c, contact(c) as (adapter, _):
        c.far.member_change(userid="staff0003", active=False)
        c.far.member_change(userid="staff0004", contact=False)
        for number, sender, code in (
            (3, "staff0003", 41054),
            (4, "staff0004", 84074),
            (5, "x", 60111),
        ):
            outcome = await one(adapter, to_customer(number, sender=sender))
            assert isinstance(outcome, Rejected)
            assert (outcome.scope, outcome.code) == ("account", f"wecom_{code}")


async def test_customer_groups_are_written_to_by_their_owner() -> None:
    async with corp() as c, contact(c) as (adapter, _):
        for number in (1, 2, 3):
            c.far.chats.chat_create(owner=f"staff{number % 2 + 1:04d}", chat_id=f"wr{number}")
        outcomes = await adapter.deliver([to_chat(n, Text("群发"), f"wr{n}") for n in (1, 2, 3)])
        assert all(isinstance(o, Sent) for o in outcomes)
        assert sorted(targets for _, targets in tasks(c)) == [["wr1", "wr3"], ["wr2"]]
        for msgid in list(c.far.tasks.tasks):
            c.far.tasks.member_confirms(msgid=msgid)
        assert {e["to"]: e["from"] for e in c.shown("mass_group")} == {
            "wr1": "staff0002",
            "wr2": "staff0001",
            "wr3": "staff0002",
        }
        other = await one(adapter, to_chat(4, Text("群发"), "wr1", sender="staff0009"))
        assert isinstance(other, Rejected)
        assert other.code == "wecom_41048"
        unknown = await one(adapter, to_chat(5, Text("群发"), "wrgone"))
        assert isinstance(unknown, Rejected)
        assert unknown.code == "wecom_40050"


async def test_every_content_arrives_as_its_attachment() -> None:
    async with corp() as c, contact(c) as (adapter, port):
        image = port.put_media(JPG, "image/jpeg", "a.jpg").id
        video = port.put_media(MP4, "video/mp4", "a.mp4").id
        file = port.put_media(b"%PDF-1.4 text", "application/pdf", "说明.pdf").id
        several = {
            "text": "看看",
            "attachments": [
                {"msgtype": "image", "image": {"media_id": image}},
                {"msgtype": "link", "link": {"title": "资费", "url": "https://u", "picurl": image}},
            ],
        }
        contents: list[tuple[Payload, list[str], str]] = [
            (Media("image", image, description="一张图"), ["image"], "一张图"),
            (Media("video", video), ["video"], ""),
            (Media("file", file), ["file"], ""),
            (Link("资费", "https://u", "说明", image), ["link"], ""),
            (MiniProgram("wx1", "pages/a", "营业厅", image), ["miniprogram"], ""),
            (Native("mass", json.dumps(several)), ["image", "link"], "看看"),
        ]
        for number, (payload, kinds, text) in enumerate(contents, 1):
            item = to_customer(number, payload)
            adapter.render(item.envelope)
            assert isinstance(await one(adapter, item), Sent)
            task = list(c.far.tasks.tasks.values())[-1]
            assert ([a["msgtype"] for a in task.attachments], task.text) == (kinds, text)
        assert c.calls("media/upload") == 3, "every file once"
        assert c.calls("media/uploadimg") == 1


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (Text("字" * 1334), "mass.text.content"),
        (Text(""), "text or attachments"),
        (Media("voice", "med_1"), "voice"),
        (Link("题" * 43, "https://u"), "mass.link.title"),
        (MiniProgram("wx1", "p", "t"), "pic_media_id"),
        (Native("template_card", "{}"), "native"),
        (Native("mass", '{"attachments": [{"msgtype": "voice", "voice": {}}]}'), "msgtype"),
        (Native("mass", '{"text": 1}'), "text"),
        (Card("t", "d", "https://u"), "Card"),
    ],
)
async def test_what_cannot_be_said_is_refused_before_anything_is_claimed(
    payload: Payload, words: str
) -> None:
    async with corp() as c, contact(c) as (adapter, _):
        with pytest.raises(Malformed, match=words):
            adapter.render(to_customer(1, payload).envelope)


async def test_only_customers_of_this_corp_and_groups_are_written_to() -> None:
    async with corp() as c, contact(c) as (adapter, _):
        for to in ("wecom:wwother/wm1", "staff:staff0001", "wecom:wwsandbox"):
            envelope = to_customer(1).envelope
            object.__setattr__(envelope, "to", Address(*to.split(":", 1)))
            with pytest.raises(Malformed):
                adapter.render(envelope)


async def test_a_file_wecom_forgot_is_uploaded_again() -> None:
    async with corp() as c, contact(c) as (adapter, port):
        image = port.put_media(JPG, "image/jpeg", "a.jpg").id
        assert isinstance(await one(adapter, to_customer(1, Media("image", image))), Sent)
        c.far.media.media_expire()
        assert isinstance(await one(adapter, to_customer(2, Media("image", image))), Sent)
        assert c.calls("media/upload") == 2
        assert len(c.far.tasks.tasks) == 2


def at(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


@pytest.mark.parametrize(
    ("kind", "moment", "period"),
    [
        ("month", "2026-02-28T23:59:59+08:00", ("2026-02", 28)),
        ("month", "2026-02-28T16:00:00+00:00", ("2026-03", 31)),
        ("month", "2028-02-10T00:00:00+08:00", ("2028-02", 29)),
        ("week", "2026-11-22T23:59:59+08:00", ("2026-W47", 7)),
        ("week", "2026-11-23T00:00:00+08:00", ("2026-W48", 7)),
        ("week", "2027-01-01T00:00:00+08:00", ("2026-W53", 7)),
        ("day", "2026-11-22T16:00:00+00:00", ("2026-11-23", 1)),
    ],
)
def test_periods_are_those_of_the_calendar(
    kind: Period, moment: str, period: tuple[str, int]
) -> None:
    assert period_of(kind, at(moment)) == period


async def test_the_allowance_is_kept_before_the_call() -> None:
    async with corp() as c, contact(c) as (adapter, _):
        midmonth(c)
        most = period_of("month", c.clock.now_ms())[1]
        outcomes = [await one(adapter, to_customer(n, customer="wm0001")) for n in range(most)]
        assert all(isinstance(o, Sent) for o in outcomes)
        batch = [to_customer(99, customer="wm0001"), to_customer(2)]
        first, second = await adapter.deliver(batch)
        assert isinstance(first, Rejected)
        assert (first.scope, first.code) == ("recipient", "wecom_monthly_allowance")
        assert isinstance(second, Sent), "another customer's is his own"
        assert c.calls(ADD) == most + 1
        assert isinstance(await one(adapter, to_customer(98, customer="wm0001")), Rejected)
        assert c.calls(ADD) == most + 1, "refused before the task is made"
        c.jump(31 * 86_400)
        assert isinstance(await one(adapter, to_customer(99, customer="wm0001")), Sent)


async def test_what_was_certainly_not_sent_gives_its_unit_back() -> None:
    async with corp() as c, contact(c, allowance="day") as (adapter, _):
        midmonth(c)
        for errcode in (40058, -1, 41048):
            c.far.faults.fault(endpoint=ADD, errcode=errcode)
            assert not isinstance(await one(adapter, to_customer(1)), Sent)
        c.far.contacts.member_deletes(userid="staff0002", external_userid="wm0002")
        assert isinstance((await adapter.deliver([to_customer(2), to_customer(3)]))[0], Rejected)
        c.far.world.relate("staff0002", "wm0002")
        for number in (1, 2):
            assert isinstance(await one(adapter, to_customer(number)), Sent)
        for number in (1, 2, 3):
            outcome = await one(adapter, to_customer(number))
            assert isinstance(outcome, Rejected)
            assert outcome.code == "wecom_daily_allowance"
        c.far.faults.fault(endpoint=ADD, kind="lost")
        await one(adapter, to_customer(4))
        assert isinstance(await one(adapter, to_customer(4)), Rejected), "an unknown gives nothing"


async def test_the_allowance_is_exact_under_several_processes() -> None:
    async with (
        corp() as c,
        contact(c, allowance="week") as (one_, _),
        contact(c, allowance="week") as (two, _),
    ):

        async def send(adapter: WeComContact, number: int) -> bool:
            return isinstance(await one(adapter, to_customer(number, customer="wm0001")), Sent)

        sent = await asyncio.gather(*[send((one_, two)[n % 2], n) for n in range(40)])
        assert sum(sent) == 7
        assert c.calls(ADD) == 7


async def test_without_a_connection_nothing_left_and_nothing_is_counted() -> None:
    async with corp() as c, contact(c, allowance="day") as (adapter, _):
        midmonth(c)
        midmonth(c)
        await c.far.stop()
        for _ in range(3):
            with pytest.raises(Unreachable):
                await adapter.deliver([to_customer(n) for n in range(1, 4)])
        await c.far.start()
        outcomes = await adapter.deliver([to_customer(n) for n in range(1, 4)])
        assert all(isinstance(o, Sent) for o in outcomes)


async def test_an_api_that_is_left_alone_costs_no_allowance() -> None:
    async with corp() as c, contact(c, allowance="day") as (adapter, _):
        midmonth(c)
        c.far.faults.fault(endpoint=ADD, errcode=45009)
        for _ in range(3):
            outcome = await one(adapter, to_customer(1))
            assert isinstance(outcome, Retry)
            assert outcome.scope == "channel"
        assert c.calls(ADD) == 1
        c.jump(61)
        assert isinstance(await one(adapter, to_customer(1)), Sent)


async def test_what_the_archive_will_read_of_it_is_known_by_the_conversation() -> None:
    async with corp() as c, contact(c) as (adapter, _):
        known = order_key("wwsandbox", "staff0001", "wm0001")
        assert adapter.copied(to_customer(1, sender="Staff0001")) == known
        assert adapter.copied(to_customer(1)) == "", "nobody knows yet whom WeCom will ask"
        assert adapter.copied(to_chat(1, Text("a"), "wr1")) == order_key("wwsandbox", "", "wr1")
        assert adapter.copied(to_customer(1, Native("mass", "{}"), sender="s")) == ""
