"""The WeCom simulator against wechatpy, a client and a cipher that know nothing of this project."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pytest
import requests
from requests.adapters import HTTPAdapter
from wechatpy.enterprise import WeChatClient
from wechatpy.exceptions import APILimitedException, WeChatClientException

from adapters.sim.wecom import WeComSim
from tests.unit.adapters.sim.wecomed import listening, running, until

T = TypeVar("T")
JPG = b"\xff\xd8\xff" + bytes(2000)


class _Here(HTTPAdapter):
    """Sends what is meant for the real platform to the simulator."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._port = port

    def send(self, request: Any, *args: Any, **more: Any) -> Any:
        parts = urlsplit(request.url)
        assert parts.hostname == "qyapi.weixin.qq.com"
        request.url = parts._replace(scheme="http", netloc=f"127.0.0.1:{self._port}").geturl()
        return super().send(request, *args, **more)


def client_of(sim: WeComSim, secret: str = "") -> WeChatClient:
    client = WeChatClient(sim.options.corp, secret or sim.options.secret, timeout=5)
    client._http.trust_env = False
    client._http.mount("https://", _Here(sim.port))
    return client


async def run(call: Callable[..., T], *args: Any, **more: Any) -> T:
    """Its client blocks, so it works in a thread."""
    return await asyncio.to_thread(call, *args, **more)


async def test_it_gets_one_token_and_sends() -> None:
    async with running() as (sim, _):
        asked = sim.tokens.asked[1000002]
        client = client_of(sim)
        answer = await run(client.message.send_text, 1000002, ["staff0001", "Nobody"], "您好")
        assert answer["errcode"] == 0
        assert answer["invaliduser"] == "nobody"
        await run(client.message.send_text, 1000002, "staff0002", "again")
        assert sim.tokens.asked[1000002] == asked + 1
        entries = sim.journal.entries()
        assert [(one["to"], one["text"]) for one in entries] == [
            ("staff0001", "您好"),
            ("staff0002", "again"),
        ]


async def test_it_fetches_a_new_token_when_ours_is_gone() -> None:
    async with running() as (sim, _):
        client = client_of(sim)
        await run(client.message.send_text, 1000002, "staff0001", "one")
        for order in ("token_rotate", "token_expire"):
            await sim.control(order, {})
            answer = await run(client.message.send_text, 1000002, "staff0001", order)
            assert answer["errcode"] == 0
        assert [one["text"] for one in sim.journal.entries()] == [
            "one",
            "token_rotate",
            "token_expire",
        ]


async def test_its_errors_are_ours() -> None:
    async with running({"appchat_create_day": 1}) as (sim, _):
        client = client_of(sim)
        with pytest.raises(WeChatClientException) as caught:
            await run(client.message.send_text, 1000002, "nobody", "x")
        assert caught.value.errcode == 81013
        with pytest.raises(WeChatClientException) as caught:
            await run(client_of(sim, "wrong").message.send_text, 1000002, "staff0001", "x")
        assert caught.value.errcode == 40001
        users = ["staff0001", "staff0002"]
        await run(client.appchat.create, chat_id="c1", name="群", owner=users[0], user_list=users)
        with pytest.raises(APILimitedException):
            await run(
                client.appchat.create, chat_id="c2", name="群", owner=users[0], user_list=users
            )


async def test_it_uploads_media_and_sends_it() -> None:
    async with running() as (sim, _):
        client = client_of(sim)
        answer = await run(client.media.upload, "image", ("照片.jpg", io.BytesIO(JPG)))
        media_id = answer["media_id"]
        sent = await run(client.message.send_image, 1000002, "staff0001", media_id)
        assert sent["errcode"] == 0
        assert sim.journal.entries()[-1]["body"]["size"] == len(JPG)
        url = await run(client.media.get_url, media_id)
        local = url.replace("https://qyapi.weixin.qq.com", sim.url)
        got = await run(requests.get, local, timeout=5)
        assert got.content == JPG
        picture = await run(client.media.upload_img, ("a.jpg", io.BytesIO(JPG)))
        assert picture["url"].startswith(sim.url)


async def test_it_makes_a_group_and_writes_into_it() -> None:
    async with running() as (sim, _):
        client = client_of(sim)
        users = ["staff0001", "staff0002"]
        made = await run(
            client.appchat.create, chat_id="c1", name="群", owner=users[0], user_list=users
        )
        assert made["chatid"] == "c1"
        found = await run(client.appchat.get, "c1")
        assert found["userlist"] == users
        await run(client.appchat.send_text, "c1", "大家好")
        assert [one["to"] for one in sim.journal.entries()] == users


async def test_it_works_with_customers() -> None:
    async with running(members=2, customers=2) as (sim, _):
        client = client_of(sim)
        contact = client.external_contact
        assert (await run(contact.list, "staff0001"))["external_userid"] == ["wm0001"]
        found = await run(contact.get, "wm0001")
        assert found["follow_user"][0]["userid"] == "staff0001"
        task = await run(
            contact.add_msg_template,
            {
                "external_userid": ["wm0001"],
                "sender": "staff0001",
                "text": {"content": "大促"},
            },
        )
        assert task["errcode"] == 0
        await sim.control("member_confirms", {"msgid": task["msgid"]})
        assert sim.journal.entries()[-1]["text"] == "大促"


async def test_its_cipher_opens_every_kind_of_callback() -> None:
    async with running() as (sim, _), listening(sim) as listener:
        await sim.control("member_writes", {"userid": "staff0001", "text": "汉字" * 500})
        await sim.control("customer_adds", {"userid": "staff0001", "external_userid": "wmX"})
        await sim.control(
            "customer_writes", {"open_kfid": "wk0001", "external_userid": "wmX", "text": "a"}
        )
        await sim.control(
            "archive_message", {"sender": "staff0001", "to": ["wmX"], "text": "archived"}
        )
        await until(lambda: len(listener.heard) == 4)
        assert listener.forged == 0
        assert {one.get("Event", one["MsgType"]) for one in listener.heard} == {
            "text",
            "change_external_contact",
            "kf_msg_or_event",
            "msgaudit_notify",
        }
