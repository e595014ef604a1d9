"""Tokens, addresses, frequency, concurrency and faults: what every WeCom API call of the simulator passes."""

from __future__ import annotations

import asyncio
import re

import aiohttp
import pytest

from tests.unit.adapters.sim.wecomed import running


def text(to: str = "staff0001", content: str = "hi") -> dict[str, object]:
    return {
        "touser": to,
        "msgtype": "text",
        "agentid": 1000002,
        "text": {"content": content},
    }


async def test_a_token_stays_the_same_until_it_nears_its_end() -> None:
    async with running() as (sim, api):
        first = api.token
        await api.login()
        assert api.token == first
        await sim.control("advance", {"seconds": 6950})
        await api.login()
        assert api.token != first
        assert sim.tokens.asked[1000002] == 3
        assert sim.tokens.issued[1000002] == 2


@pytest.mark.parametrize(
    ("query", "errcode"),
    [
        ({"corpsecret": "x"}, 41002),
        ({"corpid": "wwsandbox"}, 41004),
        ({"corpid": "wwother", "corpsecret": "sandbox-secret"}, 40013),
        ({"corpid": "wwsandbox", "corpsecret": "wrong"}, 40001),
    ],
)
async def test_gettoken_refuses(query: dict[str, str], errcode: int) -> None:
    async with running() as (_, api):
        answer = await api.get("gettoken", **query)
        assert answer["errcode"] == errcode
        assert re.search(
            r", hint: \[\d{25}\], from ip: 127\.0\.0\.1, more info at .*\?e=" + str(errcode),
            answer["errmsg"],
        )


async def test_wrong_secrets_block_the_address_for_an_hour() -> None:
    async with running({"bad_secrets": 3}) as (sim, api):
        for _ in range(3):
            await api.get("gettoken", corpid="wwsandbox", corpsecret="wrong")
        good = {"corpid": "wwsandbox", "corpsecret": "sandbox-secret"}
        assert (await api.get("gettoken", **good))["errcode"] == 45009
        await sim.control("advance", {"seconds": 3601})
        assert (await api.get("gettoken", **good))["errcode"] == 0


async def test_every_way_a_token_can_be_wrong() -> None:
    async with running() as (sim, api):
        good, api.token = api.token, ""
        assert await api.code("message/send", **text()) == 41001
        api.token = "nonsense"
        assert await api.code("message/send", **text()) == 40014
        api.token = good
        assert await api.code("message/send", **text()) == 0
        await sim.control("token_rotate", {})
        assert await api.code("message/send", **text()) == 40014
        await api.login()
        assert await api.code("message/send", **text()) == 0
        await sim.control("token_expire", {})
        assert await api.code("message/send", **text()) == 42001
        await api.login()
        await sim.control("app_change", {"agentid": 1000002, "enabled": False})
        assert await api.code("message/send", **text()) == 50003
        await sim.control("app_change", {"agentid": 1000002, "enabled": True})
        await sim.control("trusted_ips", {"ips": ["10.0.0.1"]})
        assert await api.code("message/send", **text()) == 60020
        await sim.control("trusted_ips", {})
        await sim.control("advance", {"seconds": 7201})
        assert await api.code("message/send", **text()) == 42001


async def test_tokens_of_two_apps_are_not_interchangeable() -> None:
    async with running() as (sim, api):
        await sim.control(
            "app_add", {"agentid": 1000003, "secret": "other", "abilities": ["contact"]}
        )
        await api.login("other")
        assert await api.code("message/send", **text()) == 48002
        await sim.control("app_change", {"agentid": 1000003, "abilities": ["app"]})
        assert await api.code("message/send", **text()) == 40056


async def test_a_full_window_refuses_until_it_ends() -> None:
    async with running({"api_minute": 3}) as (sim, api):
        codes = [(await api.get("appchat/get", chatid="x"))["errcode"] for _ in range(5)]
        assert codes == [86003, 86003, 86003, 45009, 45009]
        await sim.control("advance", {"seconds": 59})
        assert (await api.get("appchat/get", chatid="x"))["errcode"] == 45009
        await sim.control("advance", {"seconds": 1})
        assert (await api.get("appchat/get", chatid="x"))["errcode"] == 86003


async def test_too_many_at_once_are_refused() -> None:
    async with running({"concurrency": 2}) as (sim, api):
        await sim.control(
            "fault", {"endpoint": "appchat/get", "kind": "delay", "seconds": 0.05, "times": -1}
        )
        answers = await asyncio.gather(*[api.get("appchat/get", chatid="x") for _ in range(20)])
        codes = sorted(answer["errcode"] for answer in answers)
        assert codes == [45033] * 18 + [86003] * 2
        assert sim.gate.most_at_once["appchat/get"] == 20


async def test_json_that_is_none_and_the_wrong_method() -> None:
    async with running() as (_, api):
        url, query = api.url("message/send"), {"access_token": api.token}
        async with api.session.post(url, params=query, data=b"{not json") as response:
            answer = await response.json(content_type=None)
        assert answer["errcode"] == 40058
        assert "Warning: wrong json format." in answer["errmsg"]
        assert (await api.get("message/send"))["errcode"] == 40058


async def test_faults_strike_as_ordered() -> None:
    async with running() as (sim, api):
        await sim.control("fault", {"endpoint": "message/send", "errcode": -1, "times": 2})
        assert [await api.code("message/send", **text()) for _ in range(3)] == [-1, -1, 0]
        assert sim.journal.total == 1

        await sim.control("fault", {"endpoint": "message/send", "kind": "http", "status": 503})
        with pytest.raises(aiohttp.ContentTypeError):
            async with api.session.post(
                api.url("message/send"), params={"access_token": api.token}, json=text()
            ) as response:
                assert response.status == 503
                await response.json()
        assert sim.journal.total == 1

        for kind, effect in (("lost", 0), ("timeout", 1)):
            before = sim.journal.total
            await sim.control("fault", {"endpoint": "message/send", "kind": kind})
            with pytest.raises(aiohttp.ClientError):
                await api.post("message/send", **text())
            assert sim.journal.total - before == effect

        await sim.control("fault", {"endpoint": "message/send", "kind": "malformed"})
        with pytest.raises(ValueError, match="Expecting"):
            await api.post("message/send", **text())
        await sim.control("fault", {"endpoint": "*", "kind": "errmsg"})
        assert (await api.post("message/send", **text()))["errmsg"] != "ok"

        await sim.control("fault", {"endpoint": "*", "errcode": 6000, "times": -1, "share": 0.5})
        codes = [await api.code("message/send", **text()) for _ in range(60)]
        assert 10 < codes.count(6000) < 50
        await sim.control("faults_clear", {})
        assert await api.code("message/send", **text()) == 0
        assert ("message/send", "timeout") in sim.faults.met


async def test_orders_that_make_no_sense_are_refused() -> None:
    async with running() as (sim, _):
        for command, args in (
            ("nonsense", {}),
            ("fault", {"endpoint": "*", "kind": "meteor"}),
            ("fault", {"endpoint": "*", "times": 0}),
            ("limits", {"sizes": {"nonsense": 1}}),
            ("advance", {"seconds": -1}),
            ("app_change", {"agentid": 7}),
        ):
            with pytest.raises(ValueError):
                await sim.control(command, args)
        with pytest.raises(TypeError):
            await sim.control("token_rotate", {"nonsense": 1})
        listed = await sim.control("orders", {})
        assert {"customer_writes", "fault", "token_rotate"} <= listed.keys()
        assert (await sim.control("limits", {"sizes": {"robot_minute": 7}}))["robot_minute"] == 7
