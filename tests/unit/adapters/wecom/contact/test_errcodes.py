"""The errcodes that customer contact brings, driven through its own calls to outcome and action."""

from __future__ import annotations

import json

import pytest

from msgcenter.adapter import Dispatch, Rejected, Retry, Sent
from protocols.wecom.errcodes import ROWS
from tests.unit.adapters.wecom.contact.parts import answer, command, contact, customer, to_customer
from tests.unit.adapters.wecom.parts import corp, one

ADD = "externalcontact/add_msg_template"
TASKS = (41046, 41047, 41052, 41064, 41065, 41088, 40096, 41048, 40201, 40204, 84061)
WELCOME = (41049, 41050, 41051, 41053)
CLOSED = (41093, 41094)
TRANSFERS = (*(row.errcode for row in ROWS.values() if row.cls == "transfer"), 40143)


@pytest.mark.parametrize("errcode", TASKS)
async def test_a_task_that_is_refused_for_good(errcode: int) -> None:
    async with corp() as c, contact(c, allowance="day") as (adapter, port):
        c.far.faults.fault(endpoint=ADD, errcode=errcode)
        outcome = await one(adapter, to_customer(1))
        assert isinstance(outcome, Rejected)
        assert (outcome.scope, outcome.code) == (ROWS[errcode].scope, f"wecom_{errcode}")
        assert isinstance(await one(adapter, to_customer(1)), Sent), "not counted, not held"
        assert len(port.rung) == 2


async def test_not_ready_and_busy_come_again() -> None:
    async with corp() as c, contact(c) as (adapter, _):
        for errcode in (-1, 41063, 45033):
            c.far.faults.fault(endpoint=ADD, errcode=errcode)
            outcome = await one(adapter, to_customer(1))
            assert isinstance(outcome, Retry)
            assert outcome.code == f"wecom_{errcode}"
            c.jump(3)
            assert isinstance(await one(adapter, to_customer(1)), Sent)


@pytest.mark.parametrize("errcode", WELCOME)
async def test_a_closed_window_of_a_welcome(errcode: int) -> None:
    async with corp() as c, contact(c) as (adapter, _):
        c.far.faults.fault(endpoint="externalcontact/send_welcome_msg", errcode=errcode)
        outcome = await one(adapter, command("welcome", customer("wm0001"), code="WC", text="好"))
        assert isinstance(outcome, Rejected)
        assert (outcome.scope, outcome.code) == ("recipient", f"wecom_{errcode}")


@pytest.mark.parametrize("errcode", CLOSED)
@pytest.mark.parametrize("kind", ["remind_groupmsg_send", "cancel_groupmsg_send"])
async def test_a_closed_window_of_a_task(kind: str, errcode: int) -> None:
    async with corp() as c, contact(c) as (adapter, _):
        await one(adapter, to_customer(1))
        [msgid] = c.far.tasks.tasks
        c.far.faults.fault(endpoint=f"externalcontact/{kind}", errcode=errcode)
        outcome = await one(adapter, command(kind, msgid=msgid))
        assert isinstance(outcome, Rejected)
        assert outcome.code == f"wecom_{errcode}"


def calls() -> list[tuple[str, Dispatch]]:
    people = {"handover_userid": "staff0001", "takeover_userid": "staff0002"}
    chats = {"chat_id_list": ["wr1"], "new_owner": "staff0002"}
    return [
        (kind, command(kind, **people, external_userid=["wm0001"]))
        for kind in ("transfer_customer", "resigned/transfer_customer")
    ] + [
        (kind, command(kind, **chats))
        for kind in ("groupchat/transfer", "groupchat/onjob_transfer")
    ]


@pytest.mark.parametrize("errcode", TRANSFERS)
async def test_a_transfer_that_is_refused(errcode: int) -> None:
    async with corp() as c, contact(c) as (adapter, port):
        for kind, item in calls():
            c.far.faults.fault(endpoint=f"externalcontact/{kind}", errcode=errcode)
            outcome = await one(adapter, item)
            assert isinstance(outcome, Rejected)
            assert (outcome.scope, outcome.code) == (ROWS[errcode].scope, f"wecom_{errcode}")
        await answer(c, adapter, port)
        assert not port.rung, "nothing to follow"


async def test_items_of_a_transfer_have_codes_of_their_own() -> None:
    async with corp() as c, contact(c) as (adapter, _):
        c.far.world.relate("staff0001", "wm0009")
        people = {"handover_userid": "staff0001", "takeover_userid": "staff0002"}
        await one(adapter, command("transfer_customer", **people, external_userid=["wm0009"]))
        asked = ["wm0001", "wm0009", "wmnone", "wm0003"]
        outcome = await one(adapter, command("transfer_customer", **people, external_userid=asked))
        assert isinstance(outcome, Sent)
        rows = json.loads(outcome.detail)["items"]
        assert [(r["errcode"], r["words"]) for r in rows] == [
            (0, "ok"),
            (40129, ROWS[40129].words),
            (40096, ROWS[40096].words),
            (40131, ROWS[40131].words),
        ]


async def test_a_set_up_error_holds_the_api_and_no_message_is_lost() -> None:
    async with corp() as c, contact(c, allowance="day") as (adapter, port):
        c.far.faults.fault(endpoint=ADD, errcode=48002)
        for _ in range(3):
            outcome = await one(adapter, to_customer(1))
            assert isinstance(outcome, Retry)
            assert outcome.scope == "channel"
        assert c.calls(ADD) == 1
        assert port.account_states[-1][1] == "down"
        tag = command("mark_tag", customer("wm0001"), userid="staff0001", add_tag=["et0001"])
        assert isinstance(await one(adapter, tag), Sent), "only the one API is left alone"
        c.jump(31)
        assert isinstance(await one(adapter, to_customer(1)), Sent)
