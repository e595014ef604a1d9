"""Callbacks of the WeCom simulator, opened by wechatpy: echo, envelopes, retries, and every way to disturb them."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.unit.adapters.sim.wecomed import listening, running, until


async def test_an_address_is_saved_only_when_it_echoes() -> None:
    async with running() as (sim, _):
        app = web.Application()

        async def wrong(_: web.Request) -> web.Response:
            return web.Response(text="hello")

        app.router.add_get("/", wrong)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
        with pytest.raises(ValueError, match="not the echo"):
            await sim.control("callback_set", {"agentid": 1000002, "url": url})
        await runner.cleanup()
        with pytest.raises(ValueError, match="no echo"):
            await sim.control("callback_set", {"agentid": 1000002, "url": url})
        with pytest.raises(ValueError, match="43 characters"):
            await sim.control("callback_set", {"agentid": 1000002, "url": url, "aes_key": "short"})
        assert not sim.pusher.targets


async def test_the_address_given_at_the_start_is_saved_once_it_echoes() -> None:
    async with running() as (other, _), listening(other) as listener:
        options = {"aes_key": other.options.aes_key, "callback": listener.url}
        async with running(**options) as (sim, _):
            await until(lambda: sim.options.agent in sim.pusher.targets)
            await sim.control("member_writes", {"userid": "staff0001", "text": "a"})
            await until(lambda: len(listener.heard) == 1)


async def test_what_a_member_writes_is_pushed_encrypted() -> None:
    async with running() as (sim, _), listening(sim) as listener:
        await sim.control("member_writes", {"userid": "staff0001", "text": "你好 ]]> <b>&"})
        await sim.control(
            "member_event",
            {
                "userid": "staff0001",
                "event": "template_card_event",
                "fields": {
                    "TaskId": "t1",
                    "SelectedItems": {
                        "SelectedItem": [
                            {"QuestionKey": "q", "OptionIds": {"OptionId": ["1", "2"]}}
                        ]
                    },
                },
            },
        )
        await until(lambda: len(listener.heard) == 2)
        message, event = sorted(listener.heard, key=lambda one: one["MsgType"], reverse=True)
        assert message["Content"] == "你好 ]]> <b>&"
        assert message["FromUserName"] == "staff0001"
        assert message["ToUserName"] == "wwsandbox"
        assert message["MsgId"].isdigit()
        assert event["SelectedItems"]["SelectedItem"]["OptionIds"]["OptionId"] == ["1", "2"]
        assert "MsgId" not in event
        assert {one["AgentID"] for one in listener.envelopes} == {"1000002"}


async def test_contact_events_have_no_agent_on_the_envelope() -> None:
    async with running() as (sim, _), listening(sim) as listener:
        await sim.control("customer_adds", {"userid": "staff0001", "external_userid": "wmnew"})
        await until(lambda: len(listener.heard) == 1)
        assert listener.envelopes[0]["AgentID"] is None


async def test_a_callback_is_tried_three_times() -> None:
    async with running(callback_pause=0.01) as (sim, _), listening(sim) as listener:
        listener.statuses = [500, 503]
        await sim.control("member_writes", {"userid": "staff0001", "text": "a"})
        await sim.pusher.drained()
        assert sim.pusher.pushes[-1].statuses == [500, 503, 200]
        assert sim.pusher.pushes[-1].taken
        listener.statuses = [500] * 9
        await sim.control("member_writes", {"userid": "staff0001", "text": "b"})
        await sim.pusher.drained()
        assert sim.pusher.pushes[-1].statuses == [500, 500, 500]
        assert not sim.pusher.pushes[-1].taken
        assert [one["Content"] for one in listener.heard] == ["a"]


async def test_one_that_takes_too_long_is_cut_and_sent_again() -> None:
    options = {"callback_timeout": 0.1, "callback_pause": 0.01}
    async with running(**options) as (sim, _), listening(sim) as listener:
        listener.slow = 0.5
        await sim.control("member_writes", {"userid": "staff0001", "text": "a"})
        await sim.pusher.drained()
        assert sim.pusher.pushes[-1].statuses == [0, 0, 0]


async def test_callbacks_are_disturbed_as_ordered() -> None:
    async with running(callback_pause=0.0) as (sim, _), listening(sim) as listener:

        async def write(text: str) -> None:
            await sim.control("member_writes", {"userid": "staff0001", "text": text})
            await sim.pusher.drained()

        await sim.control("callback_fault", {"kind": "duplicate"})
        await write("twice")
        assert [one["Content"] for one in listener.heard] == ["twice", "twice"]
        assert listener.heard[0]["MsgId"] == listener.heard[1]["MsgId"]
        listener.heard.clear()

        await sim.control("callback_fault", {"kind": "reorder"})
        await write("first")
        await write("second")
        assert [one["Content"] for one in listener.heard] == ["second", "first"]
        listener.heard.clear()

        await sim.control("callback_fault", {"kind": "bad_signature"})
        await write("forged")
        assert listener.forged == 3
        assert not listener.heard

        await sim.control("callback_fault", {"kind": "drop"})
        await write("lost")
        assert not listener.heard

        await sim.control("callback_fault", {"kind": "delay", "seconds": 60})
        await sim.control("member_writes", {"userid": "staff0001", "text": "late"})
        await sim.control("member_writes", {"userid": "staff0001", "text": "now"})
        await until(lambda: len(listener.heard) == 1)
        await sim.control("advance", {"seconds": 60})
        await sim.pusher.drained()
        assert [one["Content"] for one in listener.heard] == ["now", "late"]


async def test_a_passive_reply_reaches_the_member() -> None:
    async with running() as (sim, _), listening(sim) as listener:
        inner = (
            "<xml><ToUserName>staff0001</ToUserName><FromUserName>wwsandbox</FromUserName>"
            "<CreateTime>1</CreateTime><MsgType>text</MsgType><Content>收到</Content></xml>"
        )
        listener.reply = listener.crypto.encrypt_message(inner, "nonce", "1700000000")
        await sim.control("member_writes", {"userid": "staff0001", "text": "a"})
        await sim.pusher.drained()
        entry = sim.journal.entries()[-1]
        assert (entry["kind"], entry["to"], entry["text"]) == ("passive", "staff0001", "收到")
        listener.reply = "nonsense"
        await sim.control("member_writes", {"userid": "staff0001", "text": "a"})
        await sim.pusher.drained()
        assert sim.world.counters["bad_passive_replies"] == 1


async def test_the_json_envelope_exists() -> None:
    async with running() as (sim, _):
        taken: list[dict[str, Any]] = []
        async with listening(sim) as listener:

            async def take(request: web.Request) -> web.Response:
                if request.method == "GET":
                    return await listener.take(request)
                taken.append(await request.json())
                return web.Response()

            app = web.Application()
            app.router.add_route("*", "/", take)
            runner = web.AppRunner(app)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
            await sim.control("callback_set", {"agentid": 1000002, "url": url, "form": "json"})
            await sim.control("member_writes", {"userid": "staff0001", "text": "a"})
            await sim.pusher.drained()
            await runner.cleanup()
        assert taken[0]["tousername"] == "wwsandbox"
        assert taken[0]["agentid"] == "1000002"


async def test_it_starts_again_on_the_same_port() -> None:
    async with running() as (sim, api):
        port = sim.port
        await sim.stop()
        with pytest.raises(aiohttp.ClientConnectorError):
            await api.get("gettoken")
        await sim.start()
        assert sim.port == port
        assert (await api.get("appchat/get", chatid="x"))["errcode"] == 86003
