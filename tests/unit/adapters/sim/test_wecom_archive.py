"""The archive of the WeCom simulator: fetched, decrypted and re-pulled as a client of the native library would."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest

from adapters.sim.wecom.archive_cipher import new_key, unseal
from tests.unit.adapters.sim.wecomed import Api, listening, running, until


async def fetch(api: Api, seq: int = 0, limit: int = 1000, **more: Any) -> dict[str, Any]:
    body = {"corpid": "wwsandbox", "secret": "sandbox-archive", "seq": seq, "limit": limit} | more
    async with api.session.post(f"{api.sim.url}/sim-archive/chatdata", json=body) as response:
        return await response.json()


def opened(api: Api, item: dict[str, Any]) -> dict[str, Any]:
    pem = api.sim.archive.private_keys[item["publickey_ver"]]
    plain = unseal(pem, item["encrypt_random_key"], item["encrypt_chat_msg"])
    found = json.loads(plain)
    assert found["msgid"] == item["msgid"]
    return dict(found)


async def test_items_come_after_seq_in_order_and_again() -> None:
    async with running() as (sim, api):
        for number in range(5):
            args = {"sender": "staff0001", "to": ["wm0001"], "text": str(number)}
            await sim.control("archive_message", args)
        items = (await fetch(api))["chatdata"]
        assert [one["seq"] for one in items] == [1, 2, 3, 4, 5]
        assert [opened(api, one)["text"]["content"] for one in items] == list("01234")
        first = opened(api, items[0])
        assert (first["action"], first["from"], first["tolist"]) == (
            "send",
            "staff0001",
            ["wm0001"],
        )
        assert first["msgid"].endswith("_external")
        assert first["roomid"] == ""
        assert [one["seq"] for one in (await fetch(api, 2, 2))["chatdata"]] == [3, 4]
        assert (await fetch(api, 5))["chatdata"] == []
        assert (await fetch(api))["chatdata"] == items


async def test_only_five_days_are_kept_and_seq_goes_on() -> None:
    async with running() as (sim, api):
        args = {"sender": "staff0001", "to": ["wm0001"], "text": "x"}
        await sim.control("archive_message", args)
        await sim.control("advance", {"seconds": 5 * 86_400 + 1})
        assert (await fetch(api))["chatdata"] == []
        await sim.control("archive_message", args)
        assert [one["seq"] for one in (await fetch(api))["chatdata"]] == [2]


async def test_several_key_versions() -> None:
    async with running() as (sim, api):
        args = {"sender": "staff0001", "to": ["wm0001"], "text": "x"}
        await sim.control("archive_message", args)
        private, public = new_key()
        await sim.control("archive_key", {"public_pem": public})
        await sim.control("archive_message", args)
        one, two = (await fetch(api))["chatdata"]
        assert (one["publickey_ver"], two["publickey_ver"]) == (1, 2)
        assert json.loads(unseal(private, two["encrypt_random_key"], two["encrypt_chat_msg"]))
        with pytest.raises(ValueError, match="cannot be decrypted"):
            unseal(private, one["encrypt_random_key"], one["encrypt_chat_msg"])
        with pytest.raises(ValueError):
            await sim.control("archive_key", {"public_pem": "nonsense"})


async def test_recall_switch_duplicates_and_control_characters() -> None:
    async with running() as (sim, api):
        args = {"sender": "wm0001", "to": ["staff0001"], "text": "x", "control_chars": True}
        msgid = (await sim.control("archive_message", args))["msgid"]
        await sim.control("archive_recall", {"msgid": msgid})
        await sim.control("archive_switch", {"userid": "staff0001"})
        await sim.control("archive_repeat", {"msgid": msgid})
        raw, recall, switch, again = (await fetch(api))["chatdata"]
        pem = sim.archive.private_keys[1]
        plain = unseal(pem, raw["encrypt_random_key"], raw["encrypt_chat_msg"])
        assert b"\x02" in plain
        with pytest.raises(ValueError, match="control character"):
            json.loads(plain)
        assert opened(api, recall)["action"] == "recall"
        assert opened(api, recall)["revoke"] == {"pre_msgid": msgid}
        assert opened(api, switch).keys() == {"msgid", "action", "time", "user"}
        assert again["msgid"] == raw["msgid"]
        assert again["seq"] > raw["seq"]


async def test_without_consent_or_licence_nothing_is_archived() -> None:
    async with running() as (sim, api):
        pair = {"userid": "staff0001", "external_userid": "wm0001"}
        await sim.control("archive_consent", pair | {"status": "Disagree"})
        chat = pair | {"text": "x"}
        await sim.control("customer_chats", chat)
        assert (await fetch(api))["chatdata"] == []
        await sim.control("archive_consent", pair | {"status": "Agree"})
        await sim.control("archive_permit", {"userids": ["staff0002"]})
        await sim.control("customer_chats", chat)
        assert (await fetch(api))["chatdata"] == []
        await sim.control("archive_permit", {})
        await sim.control("customer_chats", chat | {"by": "member"})
        (item,) = (await fetch(api))["chatdata"]
        assert opened(api, item)["from"] == "staff0001"


async def test_media_come_in_pieces_of_512_kilobytes() -> None:
    async with running() as (sim, api):
        args = {"sender": "staff0001", "to": ["wm0001"], "msgtype": "file"}
        size = 2 * 524_288 + 100
        body = {"filename": "a.bin", "fileext": "bin"}
        made = await sim.control("archive_message", args | {"size": size, "body": body})
        (item,) = (await fetch(api))["chatdata"]
        file = opened(api, item)["file"]
        assert (file["filename"], file["filesize"]) == ("a.bin", size)

        async def piece(index: str, fileid: str = file["sdkfileid"]) -> dict[str, Any]:
            asked = {"corpid": "wwsandbox", "secret": "sandbox-archive"}
            asked |= {"indexbuf": index, "sdkfileid": fileid}
            url = f"{sim.url}/sim-archive/mediadata"
            async with api.session.post(url, json=asked) as response:
                return await response.json()

        data, index, sizes = b"", "", []
        for _ in range(10):
            got = await piece(index)
            part = base64.b64decode(got["data"])
            sizes.append(len(part))
            data, index = data + part, got["outindexbuf"]
            if got["is_finish"]:
                break
        assert sizes == [524_288, 524_288, 100]
        assert hashlib.md5(data).hexdigest() == file["md5sum"]
        assert made["sdkfileid"] == file["sdkfileid"]
        assert (await piece("Range:bytes=524288-1048575"))["data"]
        assert (await piece("nonsense"))["errcode"] == 10000
        assert (await piece("", "unknown"))["errcode"] == 10005
        await sim.control("advance", {"seconds": 5 * 86_400})
        assert (await piece(""))["errcode"] == 10010


async def test_the_library_refuses() -> None:
    async with running({"archive_minute": 3}) as (sim, api):
        assert (await fetch(api, corpid="wwother"))["errcode"] == 10000
        assert (await fetch(api, secret="wrong"))["errcode"] == 10003
        assert (await fetch(api, limit=1001))["errcode"] == 10000
        await sim.control("fault", {"endpoint": "sim-archive/chatdata", "errcode": 10001})
        codes = [(await fetch(api))["errcode"] for _ in range(5)]
        assert codes == [10001, 0, 0, 0, 10001]


async def test_the_notice_comes_at_most_every_fifteen_seconds() -> None:
    async with running() as (sim, _), listening(sim) as listener:
        args = {"sender": "staff0001", "to": ["wm0001"], "text": "x"}
        for _ in range(3):
            await sim.control("archive_message", args)
        await until(lambda: len(listener.heard) == 1)
        assert listener.heard[0]["Event"] == "msgaudit_notify"
        assert listener.envelopes[0]["AgentID"] == "2000004"
        await sim.control("advance", {"seconds": 15})
        await until(lambda: len(listener.heard) == 2)
        await sim.control("advance", {"seconds": 60})
        await sim.world.settled()
        await sim.pusher.drained()
        assert len(listener.heard) == 2


async def test_the_helpers_over_http() -> None:
    async with running(members=2, customers=2) as (sim, api):
        await api.login("sandbox-archive")
        ids = (await api.post("msgaudit/get_permit_user_list", {"type": 1}))["ids"]
        assert ids == ["staff0001", "staff0002"]
        pair = {"userid": "staff0001", "external_userid": "wm0001"}
        await sim.control("archive_consent", pair | {"status": "Disagree"})
        info = [
            {"userid": "staff0001", "exteranalopenid": "wm0001"},
            {"userid": "staff0001", "exteranalopenid": "wm0002"},
        ]
        agreed = (await api.post("msgaudit/check_single_agree", {"info": info}))["agreeinfo"]
        assert [one["agree_status"] for one in agreed] == ["Disagree", "Agree"]
        assert await api.code("msgaudit/check_single_agree", info=info * 51) == 301060
        chat = await sim.control("chat_create", {"owner": "staff0001", "customers": ["wm0001"]})
        room = {"roomid": chat["chat_id"]}
        rows = (await api.post("msgaudit/check_room_agree", room))["agreeinfo"]
        assert [(one["exteranalopenid"], one["agree_status"]) for one in rows] == [
            ("wm0001", "Disagree")
        ]
        assert await api.code("msgaudit/groupchat/get", **room) == 301059
        inner = {"roomid": "r1", "name": "内部", "creator": "staff0001", "members": ["staff0001"]}
        await sim.control("archive_room", inner)
        found = await api.post("msgaudit/groupchat/get", {"roomid": "r1"})
        assert (found["roomname"], found["members"][0]["memberid"]) == ("内部", "staff0001")
        robot = await api.get("msgaudit/get_robot_info", robot_id="wb1")
        assert robot["data"]["robot_id"] == "wb1"
        assert await api.code("message/send") == 48002
