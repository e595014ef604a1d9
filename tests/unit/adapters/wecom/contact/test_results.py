"""What became of a mass message: each customer's result, the end of waiting, cancelling, and calls whose answer was lost.

Long because each end of a task is a short test on one stand.
"""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from adapters.wecom import WeComContact
from adapters.wecom.contact.watch import remote_id
from msgcenter.adapter import Dispatch, Rejected, Retry, Sent, Unknown
from protocols.payload import Native, Pull, Recall, Text
from tests.port import FakePort
from tests.unit.adapters.wecom.contact.parts import (
    answer,
    command,
    contact,
    customer,
    midmonth,
    reports,
    ring,
    to_chat,
    to_customer,
)
from tests.unit.adapters.wecom.parts import Corp, corp, one

ADD = "externalcontact/add_msg_template"
RESULT = "externalcontact/get_groupmsg_send_result"
TASK = "externalcontact/get_groupmsg_task"
DELIVERED = ("delivered", "")
DAY = 86_400


async def sent(c: Corp, adapter: WeComContact, *numbers: int, sender: str = "") -> str:
    """One task to customers of staff0001; its msgid."""
    for number in numbers:
        c.far.world.relate("staff0001", f"wm{number:04d}")
    outcomes = await adapter.deliver(
        [to_customer(n, sender=sender or "staff0001") for n in numbers]
    )
    assert all(isinstance(o, Sent) for o in outcomes), outcomes
    return next(reversed(c.far.tasks.tasks))


async def rounds(c: Corp, adapter: WeComContact, port: FakePort, seconds: float) -> int:
    """Answer doorbells until so much time has passed or none is left; how many there were."""
    end, count = c.clock.monotonic() + seconds, 0
    while port.rung and c.clock.monotonic() < end:
        assert all(isinstance(o, Sent) for o in await answer(c, adapter, port))
        count += 1
        assert count < 1000
    return count


async def test_each_customers_result_is_reported_once_the_member_has_confirmed() -> None:
    async with corp(limits={"mass_month": 1}) as c, contact(c) as (adapter, port):
        midmonth(c)
        first = await sent(c, adapter, 3)
        c.far.tasks.member_confirms(msgid=first)
        await rounds(c, adapter, port, 1e9)
        assert reports(port) == {remote_id(first, "wm0003"): DELIVERED}
        assert port.reports[0].report.at > 0
        msgid = await sent(c, adapter, 1, 2, 3)
        c.far.contacts.customer_deletes(userid="staff0001", external_userid="wm0002")
        await answer(c, adapter, port)
        assert len(port.reports) == 1, "nothing before anybody has confirmed"
        c.far.tasks.member_confirms(msgid=msgid)
        await rounds(c, adapter, port, 1e9)
        assert not port.rung, "over"
        told = reports(port)
        assert told[remote_id(msgid, "wm0001")] == DELIVERED
        assert told[remote_id(msgid, "wm0002")] == ("undelivered", "not_a_contact")
        assert told[remote_id(msgid, "wm0003")] == ("undelivered", "mass_allowance_used")
        assert {str(r.recipient) for r in port.reports} == {
            customer(f"wm000{n}") for n in (1, 2, 3)
        }


async def test_a_large_task_is_read_page_by_page() -> None:
    async with corp(customers=600) as c, contact(c) as (adapter, port):
        for number in range(1, 601):
            c.far.world.relate("staff0001", f"wm{number:04d}")
        batch = [to_customer(n, sender="staff0001") for n in range(1, 601)]
        assert all(isinstance(o, Sent) for o in await adapter.deliver(batch))
        [msgid] = c.far.tasks.tasks
        c.far.tasks.member_confirms(msgid=msgid)
        await rounds(c, adapter, port, 1e9)
        assert set(reports(port).values()) == {DELIVERED}
        assert len(reports(port)) == 600


async def test_members_who_confirm_at_different_times_are_told_of_one_by_one() -> None:
    async with corp() as c, contact(c) as (adapter, port):
        assert all(
            isinstance(o, Sent) for o in await adapter.deliver([to_customer(n) for n in (1, 2)])
        )
        [msgid] = c.far.tasks.tasks
        c.far.tasks.member_confirms(msgid=msgid, userid="staff0002")
        await answer(c, adapter, port)
        assert reports(port) == {remote_id(msgid, "wm0002"): DELIVERED}
        before = c.calls(RESULT)
        await answer(c, adapter, port)
        assert c.calls(RESULT) == before + 1, "a part that was told is not read again"
        c.far.tasks.member_confirms(msgid=msgid)
        await rounds(c, adapter, port, 1e9)
        assert len(reports(port)) == len(port.reports) == 2


async def test_the_pauses_grow_and_a_long_wait_is_slept_in_pieces() -> None:
    async with corp() as c, contact(c) as (adapter, port):
        await sent(c, adapter, 1)
        waits = []
        for _ in range(8):
            waits.append(round(port.rung[0][1]))
            await answer(c, adapter, port)
        assert waits == [60, 60, 120, 240, 480, 960, 1800, 1800]
        [(pull, _)] = port.rung
        port.rung.clear()
        c.jump(600)  # the longest that a ring waits
        before = c.calls(TASK)
        assert isinstance(await ring(adapter, pull), Sent)
        assert c.calls(TASK) == before
        assert 1100 < port.rung[0][1] <= 1200


async def test_a_task_still_being_dispatched_is_looked_at_later() -> None:
    async with corp(limits={"mass_dispatch": 70}) as c, contact(c) as (adapter, port):
        msgid = await sent(c, adapter, 1)
        assert all(isinstance(o, Sent) for o in await answer(c, adapter, port))  # 41063
        assert not port.reports
        c.jump(20)
        c.far.tasks.member_confirms(msgid=msgid)
        await rounds(c, adapter, port, 1e9)
        assert reports(port) == {remote_id(msgid, "wm0001"): DELIVERED}


async def test_what_nobody_confirmed_is_over_in_the_end_and_cannot_be_sent_any_more() -> None:
    async with corp() as c, contact(c, confirm_s=DAY) as (adapter, port):
        msgid = await sent(c, adapter, 1, 2, 3)
        c.far.tasks.member_confirms(msgid=msgid, only=["wm0002"])
        other = await sent(c, adapter, 4)
        await rounds(c, adapter, port, 2 * DAY)
        assert not port.rung
        assert reports(port) == {
            remote_id(msgid, "wm0001"): ("undelivered", "not_confirmed"),
            remote_id(msgid, "wm0002"): DELIVERED,
            remote_id(msgid, "wm0003"): ("undelivered", "not_confirmed"),
            remote_id(other, "wm0004"): ("undelivered", "not_confirmed"),
        }
        with pytest.raises(ValueError, match="cancelled"):
            c.far.tasks.member_confirms(msgid=other)


async def test_an_end_without_cancelling_where_it_is_so_configured() -> None:
    async with corp() as c, contact(c, confirm_s=3600, cancel_at_end=False) as (adapter, port):
        msgid = await sent(c, adapter, 1)
        await rounds(c, adapter, port, DAY)
        assert reports(port) == {remote_id(msgid, "wm0001"): ("undelivered", "not_confirmed")}
        c.far.tasks.member_confirms(msgid=msgid)


async def test_an_end_that_cannot_be_cancelled_is_told_all_the_same() -> None:
    async with corp() as c, contact(c, confirm_s=3600) as (adapter, port):
        msgid = await sent(c, adapter, 1)
        cancel = "externalcontact/cancel_groupmsg_send"
        c.far.faults.fault(endpoint=cancel, errcode=-1, times=2)
        await rounds(c, adapter, port, 3600)
        c.far.faults.faults_clear()
        c.far.faults.fault(endpoint=cancel, errcode=41093)
        await rounds(c, adapter, port, 86_400)
        assert reports(port) == {remote_id(msgid, "wm0001"): ("undelivered", "not_confirmed")}
        lost = await sent(c, adapter, 2)
        del c.far.tasks.tasks[lost]
        await rounds(c, adapter, port, 10 * DAY)
        assert not port.rung, "given up in the end"


async def test_results_wait_while_wecom_is_away() -> None:
    async with corp() as c, contact(c) as (adapter, port):
        msgid = await sent(c, adapter, 1)
        c.far.tasks.member_confirms(msgid=msgid)
        for fault in ({"kind": "http"}, {"errcode": 45009}, {"kind": "timeout"}):
            c.far.faults.fault(endpoint=TASK, **fault)  # type: ignore[arg-type]
            assert all(isinstance(o, Sent) for o in await answer(c, adapter, port))
            assert not port.reports
        port.refuse = 1
        [(pull, _)] = port.rung
        c.jump(3600)
        assert isinstance(await ring(adapter, pull), Retry), "not durable: it rings again"
        assert isinstance(await ring(adapter, pull), Sent)
        assert reports(port) == {remote_id(msgid, "wm0001"): DELIVERED}


async def test_groups_are_reported_under_our_own_name() -> None:
    async with corp() as c, contact(c) as (adapter, port):
        c.far.chats.chat_create(owner="staff0001", chat_id="wr1")
        await one(adapter, to_chat(1, Text("群发"), "wr1"))
        [msgid] = c.far.tasks.tasks
        c.far.tasks.member_confirms(msgid=msgid)
        await rounds(c, adapter, port, 1e9)
        assert reports(port) == {remote_id(msgid, "wr1"): DELIVERED}
        assert str(port.reports[0].recipient) == "group:grp_1"


# -- cancelling and reminding ------------------------------------------------------------------------------------------------


def recall(number: int, remote: str) -> Dispatch:
    return to_customer(number, Recall(f"msg_{number}", (remote,)))


async def test_a_message_alone_in_its_task_is_recalled_by_cancelling_it() -> None:
    async with corp() as c, contact(c) as (adapter, port):
        msgid = await sent(c, adapter, 1)
        assert await one(adapter, recall(50, remote_id(msgid, "wm0001"))) == Sent(
            detail="cancelled"
        )
        assert c.far.tasks.tasks[msgid].cancelled
        assert reports(port) == {remote_id(msgid, "wm0001"): ("undelivered", "task_cancelled")}
        again = await one(adapter, recall(51, remote_id(msgid, "wm0001")))
        assert again == Sent(detail="it was cancelled already")
        await rounds(c, adapter, port, 1e9)
        assert set(reports(port).values()) == {("undelivered", "task_cancelled")}


async def test_others_in_the_same_task_are_not_recalled_with_it() -> None:
    async with corp() as c, contact(c) as (adapter, _):
        msgid = await sent(c, adapter, 1, 2)
        outcome = await one(adapter, recall(50, remote_id(msgid, "wm0001")))
        assert isinstance(outcome, Rejected)
        assert (outcome.scope, outcome.code) == ("message", "sent_jointly")
        both = [recall(n, remote_id(msgid, f"wm000{n}")) for n in (1, 2)]
        assert await adapter.deliver(both) == [Sent(detail="cancelled")] * 2
        assert c.far.tasks.tasks[msgid].cancelled


async def test_what_was_confirmed_cannot_be_recalled() -> None:
    async with corp() as c, contact(c) as (adapter, _):
        msgid = await sent(c, adapter, 1)
        c.far.tasks.member_confirms(msgid=msgid)
        outcome = await one(adapter, recall(50, remote_id(msgid, "wm0001")))
        assert isinstance(outcome, Rejected)
        assert outcome.code == "too_late"
        nameless = await one(adapter, to_customer(51, Recall("msg_1", ())))
        assert isinstance(nameless, Rejected)
        assert nameless.code == "no_remote_id"


async def test_a_whole_task_is_cancelled_by_command() -> None:
    async with corp() as c, contact(c) as (adapter, port):
        msgid = await sent(c, adapter, 1, 2, 3)
        item = command("cancel_groupmsg_send", msgid=remote_id(msgid, "wm0001"))
        adapter.render(item.envelope)
        assert await one(adapter, item) == Sent(detail='{"cancelled": 3}')
        assert set(reports(port).values()) == {("undelivered", "task_cancelled")}
        assert len(reports(port)) == 3


async def test_a_task_cancelled_elsewhere_is_told() -> None:
    async with corp() as c, contact(c) as (adapter, port):
        msgid = await sent(c, adapter, 1, 2)
        c.far.tasks.tasks[msgid].cancelled = True
        await answer(c, adapter, port)
        assert reports(port) == {
            remote_id(msgid, f"wm000{n}"): ("undelivered", "task_cancelled") for n in (1, 2)
        }
        assert not port.rung


async def test_members_are_reminded_three_times_a_day() -> None:
    async with corp() as c, contact(c) as (adapter, _):
        msgid = await sent(c, adapter, 1)
        outcomes = [
            await one(adapter, command("remind_groupmsg_send", msgid=msgid)) for _ in range(4)
        ]
        assert outcomes[:3] == [Sent(detail="reminded")] * 3
        assert isinstance(outcomes[3], Rejected)
        assert outcomes[3].code == "wecom_41094"
        assert len(c.shown("remind")) == 3


# -- lost answers ------------------------------------------------------------------------------------------------------------


def repeat(item: Dispatch) -> Dispatch:
    """As the core hands it to `resolve`: the next pass, with the token of the first."""
    envelope = replace(item.envelope, attempt=item.envelope.attempt + 1, token_of=0)
    return Dispatch(envelope, envelope.token(), item.sender, item.target)


@pytest.mark.parametrize("kind", ["timeout", "malformed"])
async def test_a_task_whose_answer_was_lost_is_found_in_the_list(kind: str) -> None:
    async with corp() as c, contact(c) as (adapter, port):
        c.far.faults.fault(endpoint=ADD, kind=kind)  # type: ignore[arg-type]
        batch = [to_customer(n) for n in (1, 2)]
        assert [type(o) for o in await adapter.deliver(batch)] == [Unknown, Unknown]
        [msgid] = c.far.tasks.tasks
        resolved = await adapter.resolve([repeat(item) for item in batch])
        assert [o.remote_ids for o in resolved if isinstance(o, Sent)] == [
            (remote_id(msgid, "wm0001"),),
            (remote_id(msgid, "wm0002"),),
        ]
        c.far.tasks.member_confirms(msgid=msgid)
        await rounds(c, adapter, port, 1e9)
        assert set(reports(port).values()) == {DELIVERED}
        assert c.calls(ADD) == 1


async def test_whom_a_lost_task_leaves_out_is_known_from_the_list() -> None:
    async with corp() as c, contact(c) as (adapter, port):
        c.far.contacts.member_deletes(userid="staff0001", external_userid="wm0001")
        batch = [to_customer(n) for n in (1, 2)]
        c.far.faults.fault(endpoint=ADD, kind="timeout")
        assert [type(o) for o in await adapter.deliver(batch)] == [Unknown, Unknown]
        left_out, there = await adapter.resolve([repeat(item) for item in batch])
        assert isinstance(left_out, Rejected)
        assert left_out.code == "wecom_not_a_contact"
        assert isinstance(there, Sent)
        c.far.faults.fault(endpoint=ADD, kind="timeout")
        await adapter.deliver([to_customer(n, Text("再见")) for n in (1, 3)])
        await rounds(c, adapter, port, 300)
        [told] = [r for r in port.reports if r.report.code == "not_a_contact"]
        assert str(told.recipient) == customer("wm0001")


async def test_results_of_a_lost_task_are_told_even_if_nobody_asks() -> None:
    async with corp() as c, contact(c) as (adapter, port):
        c.far.faults.fault(endpoint=ADD, kind="timeout")
        assert isinstance(await one(adapter, to_customer(1)), Unknown)
        [msgid] = c.far.tasks.tasks
        c.far.tasks.member_confirms(msgid=msgid)
        await rounds(c, adapter, port, 1e9)
        assert [(r.report.state, str(r.recipient)) for r in port.reports] == [
            ("delivered", customer("wm0001"))
        ]


async def test_a_task_that_is_not_listed_stays_unknown_and_is_looked_for_a_while() -> None:
    async with corp() as c, contact(c) as (adapter, port):
        c.far.faults.fault(endpoint=ADD, kind="lost")
        item = to_customer(1)
        assert isinstance(await one(adapter, item), Unknown)
        [resolved] = await adapter.resolve([repeat(item)])
        assert isinstance(resolved, Unknown), "the call may still be on its way"
        assert 0 < await rounds(c, adapter, port, 1e9) <= 6
        assert not port.reports
        assert not port.rung


async def test_an_alike_task_of_another_message_is_not_mistaken_for_it() -> None:
    async with corp() as c, contact(c) as (adapter, _):
        first = await one(adapter, to_customer(1))
        assert isinstance(first, Sent)
        c.far.faults.fault(endpoint=ADD, kind="lost")
        item = to_customer(2, customer="wm0001")
        assert isinstance(await one(adapter, item), Unknown)
        [resolved] = await adapter.resolve([repeat(item)])
        assert isinstance(resolved, Unknown), "same words, same customer, but that one is known"
        c.far.faults.fault(endpoint=ADD, kind="timeout")
        third = to_customer(3, customer="wm0001")
        assert isinstance(await one(adapter, third), Unknown)
        [found] = await adapter.resolve([repeat(third)])
        assert isinstance(found, Sent)
        assert found.remote_ids != first.remote_ids


async def test_a_possible_duplicate_looks_first() -> None:
    async with corp() as c, contact(c) as (adapter, _):
        c.far.faults.fault(endpoint=ADD, kind="timeout")
        item = to_customer(1, created_at=c.clock.now_ms())
        assert isinstance(await one(adapter, item), Unknown)
        again = replace(item.envelope, attempt=2, possibly_duplicate=True)
        outcome = await one(adapter, Dispatch(again, again.token()))
        [msgid] = c.far.tasks.tasks
        assert isinstance(outcome, Sent)
        assert outcome.remote_ids == (remote_id(msgid, "wm0001"),)
        assert c.calls(ADD) == 1
        lost = to_customer(2, created_at=c.clock.now_ms())
        c.far.faults.fault(endpoint=ADD, kind="lost")
        assert isinstance(await one(adapter, lost), Unknown)
        again = replace(lost.envelope, attempt=2, possibly_duplicate=True)
        assert isinstance(await one(adapter, Dispatch(again, again.token())), Sent)
        assert len(c.far.tasks.tasks) == 2


async def test_refused_for_certain_is_known_to_be_so() -> None:
    async with corp() as c, contact(c) as (adapter, port):
        c.far.faults.fault(endpoint=ADD, errcode=40058)
        item = to_customer(1)
        assert isinstance(await one(adapter, item), Rejected)
        [resolved] = await adapter.resolve([repeat(item)])
        assert isinstance(resolved, Retry)
        assert resolved.code == "not_created"
        assert await rounds(c, adapter, port, 1e9) == 1, "nobody waits for it"


async def test_what_cannot_be_asked_stays_unknown() -> None:
    async with corp() as c, contact(c) as (adapter, _):
        c.far.faults.fault(endpoint="externalcontact/get_groupmsg_list_v2", errcode=-1, times=1)
        reminder = command("remind_groupmsg_send", msgid="msg1")
        tag = command("mark_tag", customer("wm0001"), userid="staff0001", add_tag=["et0001"])
        answers = await adapter.resolve([to_customer(1), reminder, tag, recall(2, "msg1#wm0001")])
        assert [type(o) for o in answers] == [Unknown, Unknown, Retry, Retry]


async def test_a_damaged_doorbell_is_refused_and_harms_no_message() -> None:
    async with corp() as c, contact(c) as (adapter, _):
        pulls = [Pull(f"{source}:x", "{}") for source in ("mass", "group", "transfer", "welcome")]
        pulls += [Pull("contact:x", "no XML"), Pull("other:x")]
        for pull in pulls:
            assert isinstance(await ring(adapter, pull), Rejected), pull
        body = json.dumps({"text": "好"})
        assert isinstance(await one(adapter, to_customer(1, Native("mass", body))), Sent)
