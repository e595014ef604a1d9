"""Every errcode driven through the simulator to its outcome, and to how long the API is left alone for it."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from msgcenter.adapter import Rejected, Retry, Sent, Unknown, Unreachable
from protocols.payload import Recall
from protocols.wecom.errcodes import ROWS, Row
from tests.port import FakePort
from tests.unit.adapters.wecom.parts import Corp, corp, one, to_staff

CLASSES = sorted({row.cls for row in ROWS.values()} - {"ok"})


def test_every_class_of_the_table_is_tried_here() -> None:
    tried = {"transient", "not_ready", "token", "rate", "setup", "media"}
    tried |= {"recipient", "content", "window", "transfer", "abuse"}
    assert set(CLASSES) == tried


def rows(*classes: str) -> list[Row]:
    return [row for row in ROWS.values() if row.cls in classes]


@pytest.mark.parametrize("cls", ["recipient", "content", "window", "transfer", "abuse", "media"])
async def test_a_code_that_no_repeat_helps_rejects_the_message(cls: str) -> None:
    async with corp() as c, c.app() as app:
        for number, row in enumerate(rows(cls)):
            c.far.faults.fault(endpoint="message/send", errcode=row.errcode)
            outcome = await one(app, to_staff(number))
            assert isinstance(outcome, Rejected), row
            assert (outcome.scope, outcome.code) == (row.scope, f"wecom_{row.errcode}")
            assert str(row.errcode) in outcome.detail
            assert isinstance(await one(app, to_staff(number)), Sent), "the next one is not harmed"


@pytest.mark.parametrize("cls", ["transient", "not_ready"])
async def test_a_passing_trouble_is_tried_again(cls: str) -> None:
    async with corp() as c, c.app() as app:
        for number, row in enumerate(rows(cls)):
            c.far.faults.fault(endpoint="message/send", errcode=row.errcode)
            outcome = await one(app, to_staff(number))
            assert outcome == Retry(row.scope, outcome.detail, row.after, row.code), row  # type: ignore[union-attr]
            c.jump(3)
            assert isinstance(await one(app, to_staff(number)), Sent)


async def test_a_token_that_is_refused_is_fetched_again_and_the_call_repeated() -> None:
    async with corp() as c, c.app() as app:
        assert isinstance(await one(app, to_staff(0)), Sent)
        for number, row in enumerate(rows("token")):
            c.jump(60)
            before = c.calls("gettoken")
            c.far.faults.fault(endpoint="message/send", errcode=row.errcode)
            assert isinstance(await one(app, to_staff(number)), Sent), row
            assert c.calls("gettoken") == before + 1


async def test_a_token_that_stays_refused_ends_the_hammering() -> None:
    for row in rows("token"):
        async with corp() as c, c.app(port := c.port()) as app:
            c.far.faults.fault(endpoint="message/send", errcode=row.errcode, times=-1)
            for number in range(5):
                outcome = await one(app, to_staff(number))
                assert isinstance(outcome, Retry)
                assert outcome.scope == "channel"
                assert 20 < outcome.after <= 30
            assert c.calls("message/send") == 2
            assert c.calls("gettoken") == 2
            assert port.account_states[-1][:2] == ("staff-app", "down")
            await port.close()


async def test_a_set_up_error_takes_the_account_down_and_the_api_is_left_alone() -> None:
    async with corp() as c:
        for number, row in enumerate(rows("setup")):
            port = c.port()
            async with c.app(port) as app:
                await slowed(c, app, port, number, row)
            await port.close()


async def slowed(c: Corp, app: object, port: FakePort, number: int, row: Row) -> None:
    c.far.faults.fault(endpoint="message/send", errcode=row.errcode, times=2)
    before = c.calls("message/send")
    for _ in range(4):
        outcome = await one(app, to_staff(number))  # type: ignore[arg-type]
        assert isinstance(outcome, Retry), row
        assert (outcome.scope, outcome.code) == ("channel", row.code)
        assert 25 < outcome.after <= 30
    assert c.calls("message/send") == before + 1, "asked once, then left alone"
    assert [state[:2] for state in port.account_states] == [("staff-app", "down")]
    c.jump(31)
    named = to_staff(number, account="staff-app")
    again = await one(app, named)  # type: ignore[arg-type]
    assert isinstance(again, Retry)
    assert again.scope == "account", "where the app is an account, that account waits"
    assert 55 < again.after <= 60, "longer with every refusal"
    c.jump(61)
    assert isinstance(await one(app, named), Sent)  # type: ignore[arg-type]
    assert port.account_states[-1][:2] == ("staff-app", "up")


#: Whoever is refused with one of these need not try another API of the app.
OF_THE_APP = {40001, 40013, 40014, 41001, 42001, 50003, 60020, 60031, 301007}


async def test_what_is_wrong_with_the_app_stops_its_other_calls_too_and_nothing_else_does() -> None:
    for row in (*rows("setup"), *(row for row in rows("token") if row.errcode != 42009)):
        async with corp() as c, c.app() as app:
            sent = await one(app, to_staff(0))
            assert isinstance(sent, Sent)
            c.far.faults.fault(endpoint="message/send", errcode=row.errcode, times=2)
            assert isinstance(await one(app, to_staff(1)), Retry)
            recalled = await one(app, to_staff(2, Recall("msg_0", sent.remote_ids)))
            stopped = row.errcode in OF_THE_APP
            assert isinstance(recalled, Retry if stopped else Sent), row
            assert c.calls("message/recall") == (0 if stopped else 1)


async def test_too_many_at_once_leaves_the_api_alone_for_a_moment() -> None:
    async with corp() as c, c.app() as app:
        c.far.faults.fault(endpoint="message/send", errcode=45033)
        assert isinstance(await one(app, to_staff(1)), Retry)
        soon = await one(app, to_staff(2))
        assert isinstance(soon, Retry)
        assert (soon.scope, soon.code) == ("channel", "wecom_45033")
        assert 0 < soon.after <= 2
        assert c.calls("message/send") == 1
        c.jump(2.1)
        assert isinstance(await one(app, to_staff(2)), Sent)


async def test_a_refusal_of_one_message_shows_that_the_api_is_there_again() -> None:
    async with corp() as c, c.app(port := c.port()) as app:
        c.far.faults.fault(endpoint="message/send", errcode=48002)
        assert isinstance(await one(app, to_staff(1)), Retry)
        assert port.account_states[-1][1] == "down"
        c.jump(31)
        c.far.faults.fault(endpoint="message/send", errcode=60111)
        assert isinstance(await one(app, to_staff(1)), Rejected)
        assert port.account_states[-1][:2] == ("staff-app", "up")
        await port.close()


async def test_what_somebody_has_to_look_at_is_told_once_for_each_refusal() -> None:
    async with corp() as c, c.app(port := c.port()) as app:
        with capture_logs() as logs:
            for row in (*rows("abuse"), *rows("recipient")[:2]):
                c.far.faults.fault(endpoint="message/send", errcode=row.errcode)
                await one(app, to_staff(1))
            c.far.faults.fault(endpoint="message/send", errcode=999_999)
            await one(app, to_staff(1))
        told = [log["errcode"] for log in logs if log["event"] == "wecom_alert"]
        assert told == [40143, 40201, 40204, 999_999]
        await port.close()


async def test_a_limit_is_waited_out_whole_and_then_the_longer_one() -> None:
    for row in rows("rate"):
        async with corp() as c, c.app(port := c.port()) as app:
            c.far.faults.fault(endpoint="message/send", errcode=row.errcode, times=2)
            outcomes = [await one(app, to_staff(number)) for number in range(5)]
            assert all(isinstance(o, Retry) and 55 < o.after <= 60 for o in outcomes), outcomes
            assert c.calls("message/send") == 1
            assert port.account_states[-1][:2] == ("staff-app", "limited")
            c.jump(61)
            outcome = await one(app, to_staff(9))
            assert isinstance(outcome, Retry)
            assert 3500 < outcome.after <= 3600, "a minute did not help: it is the hour"
            c.jump(3601)
            assert isinstance(await one(app, to_staff(9)), Sent)
            assert port.account_states[-1][:2] == ("staff-app", "up")
            await port.close()


async def test_a_code_nobody_has_heard_of_loses_no_message() -> None:
    async with corp() as c, c.app() as app:
        c.far.faults.fault(endpoint="message/send", errcode=999_999)
        outcome = await one(app, to_staff(1))
        assert isinstance(outcome, Retry)
        assert outcome.code == "wecom_unlisted"


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"kind": "lost"}, Unknown),
        ({"kind": "timeout"}, Unknown),
        ({"kind": "malformed"}, Unknown),
        ({"kind": "http", "status": 502}, Unknown),
        ({"kind": "http", "status": 403}, Retry),
        ({"kind": "errmsg"}, Sent),
    ],
)
async def test_what_a_broken_answer_means(fault: dict[str, object], expected: type) -> None:
    async with corp() as c, c.app() as app:
        assert isinstance(await one(app, to_staff(0)), Sent)
        c.far.faults.fault(endpoint="message/send", **fault)  # type: ignore[arg-type]
        assert isinstance(await one(app, to_staff(1)), expected)


async def test_without_a_connection_nothing_left() -> None:
    async with corp() as c, c.app() as app:
        await c.far.stop()
        with pytest.raises(Unreachable):
            await app.deliver([to_staff(number) for number in range(3)])
        await c.far.start()
        assert all(isinstance(o, Sent) for o in await app.deliver([to_staff(1), to_staff(2)]))
