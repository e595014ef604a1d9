"""Tokens: one gettoken for everybody, early renewal, and no haste after a refusal."""

from __future__ import annotations

import asyncio

from msgcenter.adapter import Retry, Secret, Sent
from tests.unit.adapters.wecom.parts import corp, one, to_staff

#: Two hundred connections at once on a busy machine; what is claimed is how often a token is fetched.
PATIENT = {"connect_s": 15.0, "read_s": 30.0, "total_s": 45.0, "slack_s": 60.0}


async def test_two_hundred_at_once_fetch_one_token() -> None:
    async with corp() as c, c.app(**PATIENT) as app:
        outcomes = await asyncio.gather(*[one(app, to_staff(n)) for n in range(200)])
        assert all(isinstance(outcome, Sent) for outcome in outcomes)
        assert c.calls("gettoken") == 1
        for number, end in enumerate((c.far.tokens.token_expire, c.far.tokens.token_rotate), 1):
            end()
            numbers = range(number * 200, number * 200 + 200)
            outcomes = await asyncio.gather(*[one(app, to_staff(n)) for n in numbers])
            assert all(isinstance(outcome, Sent) for outcome in outcomes)
            assert c.calls("gettoken") == 1 + number
        assert not c.dropped()


async def test_a_token_that_wecom_refuses_and_gives_again_is_asked_for_once() -> None:
    async with corp() as c, c.app(port := c.port(), **PATIENT) as app:
        assert isinstance(await one(app, to_staff(0)), Sent)
        # Some are refused when the others have their token again.
        c.far.faults.fault(endpoint="message/send", kind="delay", seconds=1.0, times=10)
        c.far.faults.fault(endpoint="message/send", errcode=40014, times=-1)
        outcomes = await asyncio.gather(*[one(app, to_staff(n)) for n in range(1, 51)])
        assert {getattr(outcome, "code", "") for outcome in outcomes} == {"wecom_40014"}
        assert c.calls("gettoken") == 2, "once for all who were refused"
        assert port.counts == {("token_refreshes", "ok"): 2}
        await port.close()


async def test_several_processes_share_one_token() -> None:
    async with corp() as c:
        ports = [c.port() for _ in range(4)]
        async with (
            c.app(ports[0], **PATIENT) as a,
            c.app(ports[1], **PATIENT) as b,
            c.app(ports[2], **PATIENT) as d,
            c.app(ports[3], **PATIENT) as e,
        ):
            for _ in range(2):
                outcomes = await asyncio.gather(
                    *[one(app, to_staff(n)) for n in range(50) for app in (a, b, d, e)]
                )
                assert all(isinstance(outcome, Sent) for outcome in outcomes)
                c.far.tokens.token_rotate()
            assert c.calls("gettoken") == 2
        for port in ports:
            await port.close()


async def test_a_token_is_renewed_early_while_the_old_one_is_good() -> None:
    async with corp(limits={"token_renew": 900}) as c, c.app() as app:
        assert isinstance(await one(app, to_staff(1)), Sent)
        c.jump(7200 - 650)
        assert isinstance(await one(app, to_staff(2)), Sent)
        assert c.calls("gettoken") == 1, "not yet"
        c.jump(60)
        assert isinstance(await one(app, to_staff(3)), Sent)
        await asyncio.sleep(0.05)
        assert c.calls("gettoken") == 2
        c.jump(600)
        assert isinstance(await one(app, to_staff(4)), Sent)
        assert c.calls("gettoken") == 2, "the new one was ready before the old one ended"
        assert c.far.gate.refused == {}


async def test_a_wrong_secret_is_tried_slowly_and_its_mending_heard() -> None:
    async with corp() as c, c.app(port := c.port(), secret=Secret("wrong")) as app:
        outcomes = await asyncio.gather(*[one(app, to_staff(n)) for n in range(50)])
        assert all(isinstance(o, Retry) and o.code == "wecom_40001" for o in outcomes)
        assert c.calls("gettoken") == 1
        assert port.counts == {("token_refreshes", "refused"): 1}
        assert port.account_states[-1][:2] == ("staff-app", "down")
        c.jump(59)
        await one(app, to_staff(1))
        assert c.calls("gettoken") == 1
        asked = 1
        for pause in (60, 120, 240, 480, 600, 600):
            c.jump(pause + 1)
            outcome = await one(app, to_staff(1))
            asked += 1
            assert isinstance(outcome, Retry)
            assert c.calls("gettoken") == asked
        c.far.tokens.app_change(agentid=c.far.options.agent, secret="wrong")
        c.jump(601)
        assert isinstance(await one(app, to_staff(1)), Sent)
        assert port.account_states[-1][:2] == ("staff-app", "up")
        await port.close()


async def test_an_address_that_is_blocked_waits_its_hour_in_every_process() -> None:
    async with corp() as c:
        c.far.faults.fault(endpoint="gettoken", errcode=45009, times=1)
        ports = [c.port(), c.port()]
        async with c.app(ports[0]) as a, c.app(ports[1]) as b:
            first = await one(a, to_staff(1))
            assert isinstance(first, Retry)
            assert first.after > 3500
            second = await one(b, to_staff(2))
            assert isinstance(second, Retry)
            assert second.after > 3500
            assert c.calls("gettoken") == 1
            c.jump(3601)
            assert isinstance(await one(b, to_staff(2)), Sent)
        for port in ports:
            await port.close()


async def test_another_secret_does_not_meet_the_old_token() -> None:
    async with corp() as c:
        c.far.tokens.app_add(agentid=1_000_009, secret="second")
        port = c.port()
        async with c.app(port) as app:
            assert isinstance(await one(app, to_staff(1)), Sent)
        async with c.app(port, agent_id=1_000_009, secret=Secret("second")) as app:
            assert isinstance(await one(app, to_staff(1)), Sent)
        assert c.calls("gettoken") == 2
        await port.close()
