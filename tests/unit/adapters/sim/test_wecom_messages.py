"""Application messages, internal groups and robots of the WeCom simulator, as a client meets them over HTTP."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest

from tests.unit.adapters.sim.wecomed import Api, running

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)


def message(msgtype: str = "text", /, to: str = "staff0001", **body: Any) -> dict[str, Any]:
    return {
        "touser": to,
        "msgtype": msgtype,
        "agentid": 1000002,
        msgtype: body or {"content": "hi"},
    }


async def test_a_text_arrives_as_the_member_sees_it() -> None:
    async with running() as (sim, api):
        answer = await api.post("message/send", message(content="您好"))
        assert answer["errcode"] == 0
        assert answer["errmsg"] == "ok"
        assert not answer["invaliduser"]
        entry = sim.journal.entries()[-1]
        assert entry["kind"] == "app"
        assert (entry["to"], entry["from"]) == ("staff0001", "agent:1000002")
        assert (entry["text"], entry["dropped"]) == ("您好", "")
        assert entry["msgid"] == answer["msgid"]


async def test_a_long_text_is_cut_inside_2048_octets() -> None:
    async with running() as (sim, api):
        await api.post("message/send", message(content="好" * 1000))
        assert sim.journal.entries()[-1]["text"] == "好" * 682


async def test_partial_failure_is_success_with_lower_case_names() -> None:
    async with running() as (sim, api):
        await sim.control("member_add", {"userids": ["NoSeat"], "licensed": False})
        await sim.control("member_add", {"userids": ["Tagged"], "tags": [7], "parties": [2]})
        answer = await api.post(
            "message/send",
            message(to="STAFF0001|Nobody|NoSeat") | {"toparty": "2|99", "totag": "7|8"},
        )
        assert answer["errcode"] == 0
        assert answer["invaliduser"] == "nobody"
        assert answer["invalidparty"] == "99"
        assert answer["invalidtag"] == "8"
        assert answer["unlicenseduser"] == "noseat"
        assert [one["to"] for one in sim.journal.entries()] == ["staff0001", "Tagged"]
        answer = await api.post("message/send", message(to="Nobody|Else"))
        assert answer["errcode"] == 81013
        assert answer["invaliduser"] == "nobody|else"
        assert sim.journal.total == 2


async def test_all_reaches_everybody_in_scope() -> None:
    async with running(members=5) as (sim, api):
        await api.post("message/send", message(to="@all"))
        assert sim.journal.total == 5
        await sim.control("app_change", {"agentid": 1000002, "scope": ["staff0002"]})
        await api.post("message/send", message(to="@all"))
        assert sim.journal.total == 6
        assert (await api.post("message/send", message(to="staff0001")))["errcode"] == 81013


@pytest.mark.parametrize(
    ("change", "errcode"),
    [
        ({"touser": ""}, 82001),
        ({"touser": "|".join(f"u{n}" for n in range(1001))}, 40058),
        ({"toparty": "|".join(map(str, range(101)))}, 82002),
        ({"totag": "|".join(map(str, range(101)))}, 82003),
        ({"agentid": 7}, 40056),
        ({"msgtype": "nonsense"}, 40008),
        ({"text": {"content": ""}}, 44004),
        ({"text": "hi"}, 44004),
        ({"safe": 2}, 40058),
        (message("markdown", content="x" * 2049), 40058),
        (message("textcard", title="x" * 129, description="d", url="u"), 40058),
        (message("textcard", title="t", description="d", url="u", btntxt="12345"), 40058),
        (message("news", articles=[]), 45008),
        (message("news", articles=[{"title": "t", "url": "u"}] * 9), 45008),
        (message("image", media_id="unknown"), 40007),
        (message("video", media_id="unknown"), 40007),
        (message("mpnews", articles=[{"title": "t", "thumb_media_id": "no"}]), 40007),
        (message("miniprogram_notice", appid="a", title="abc"), 40058),
        (message("template_card", card_type="nonsense"), 40058),
        (message("template_card", card_type="text_notice", main_title={"title": "t"}), 40058),
        (
            message(
                "template_card",
                card_type="button_interaction",
                task_id="t",
                main_title={"title": "t"},
                button_list=[{"text": "b"}] * 7,
            ),
            40058,
        ),
    ],
)
async def test_send_refuses(change: dict[str, Any], errcode: int) -> None:
    async with running() as (sim, api):
        answer = await api.post("message/send", message() | change)
        assert answer["errcode"] == errcode, answer
        assert sim.journal.total == 0


async def test_every_type_of_message_passes() -> None:
    async with running() as (sim, api):
        image = (await api.upload(PNG))["media_id"]
        voice = (await api.upload(b"#!AMR\n" + bytes(13 * 50), "voice"))["media_id"]
        video = (await api.upload(b"\0\0\0\x18ftypmp42" + bytes(50), "video"))["media_id"]
        file = (await api.upload(b"some text", "file"))["media_id"]
        article = {"title": "t", "url": "http://x", "description": "d"}
        bodies: dict[str, dict[str, Any]] = {
            "text": {"content": "x"},
            "image": {"media_id": image},
            "voice": {"media_id": voice},
            "video": {"media_id": video, "title": "t"},
            "file": {"media_id": file},
            "textcard": {"title": "t", "description": "d", "url": "http://x"},
            "news": {"articles": [article]},
            "mpnews": {"articles": [{"title": "t", "thumb_media_id": image, "content": "c"}]},
            "markdown": {"content": "# x"},
            "miniprogram_notice": {"appid": "wx1", "title": "四个字呀"},
            "template_card": {
                "card_type": "text_notice",
                "main_title": {"title": "t"},
                "card_action": {"type": 1, "url": "http://x"},
            },
        }
        for msgtype, body in bodies.items():
            answer = await api.post("message/send", message(msgtype, **body))
            assert answer["errcode"] == 0, (msgtype, answer)
            assert sim.journal.entries()[-1]["msgtype"] == msgtype
        assert (await api.post("message/send", message("voice", media_id=image)))[
            "errcode"
        ] == 40007


async def test_the_31st_message_a_minute_vanishes_silently() -> None:
    async with running() as (sim, api):
        answers = [await api.post("message/send", message(content=str(n))) for n in range(32)]
        assert {one["errcode"] for one in answers} == {0}
        dropped = [one["dropped"] for one in sim.journal.entries()]
        assert dropped == [""] * 30 + ["member_minute"] * 2
        assert sim.world.counters["dropped"] == 2
        await sim.control("advance", {"seconds": 60})
        await api.post("message/send", message())
        assert sim.journal.entries()[-1]["dropped"] == ""


async def test_the_1001st_message_an_hour_vanishes_too() -> None:
    async with running({"member_minute": 0, "member_hour": 5}) as (sim, api):
        for _ in range(6):
            await api.post("message/send", message())
        assert sim.journal.entries()[-1]["dropped"] == "member_hour"


async def test_the_daily_quota_counts_recipients() -> None:
    async with running({"app_seats": 1}) as (sim, api):
        codes = [(await api.post("message/send", message(to="@all")))["errcode"] for _ in range(11)]
        assert codes == [0] * 10 + [45009]
        assert sim.journal.total == 200


async def test_an_identical_request_is_delivered_once() -> None:
    async with running() as (sim, api):
        checked = message() | {"enable_duplicate_check": 1, "duplicate_check_interval": 60}
        first = await api.post("message/send", checked)
        again = await api.post("message/send", checked)
        assert (first["msgid"], again["errcode"]) == (again["msgid"], 0)
        other = dict(reversed(checked.items()))  # same fields, other bytes
        await api.post("message/send", other)
        assert [one["dropped"] for one in sim.journal.entries()] == ["", "duplicate", ""]
        await sim.control("advance", {"seconds": 61})
        await api.post("message/send", checked)
        assert sim.journal.entries()[-1]["dropped"] == ""
        await api.post("message/send", message())
        await api.post("message/send", message())
        assert [one["dropped"] for one in sim.journal.entries()][-2:] == ["", ""]


async def test_recall_within_a_day_by_the_same_app() -> None:
    async with running({"token_life": 200_000}) as (sim, api):
        msgid = (await api.post("message/send", message()))["msgid"]
        old = (await api.post("message/send", message()))["msgid"]
        assert await api.code("message/recall", msgid=msgid) == 0
        assert await api.code("message/recall", msgid=msgid) == 0
        recalls = [one for one in sim.journal.entries() if one["kind"] == "recall"]
        assert [one["msgid"] for one in recalls] == [msgid]
        assert await api.code("message/recall", msgid="unknown") == 40058
        await sim.control("app_add", {"agentid": 1000003, "secret": "other"})
        await api.login("other")
        assert await api.code("message/recall", msgid=old) == 40058
        await api.login()
        await sim.control("advance", {"seconds": 86_401})
        assert await api.code("message/recall", msgid=old) == 42052


async def test_a_response_code_updates_a_card_once() -> None:
    async with running() as (sim, api):
        card = message(
            "template_card",
            to="staff0001|staff0002",
            card_type="button_interaction",
            task_id="t1",
            main_title={"title": "审批"},
            button_list=[{"text": "同意", "key": "y"}],
        )
        code = (await api.post("message/send", card))["response_code"]
        update = {
            "userids": ["staff0001", "staff0009"],
            "agentid": 1000002,
            "response_code": code,
            "button": {"replace_name": "已处理"},
        }
        answer = await api.post("message/update_template_card", update)
        assert (answer["errcode"], answer["invaliduser"]) == (0, ["staff0009"])
        entry = sim.journal.entries()[-1]
        assert (entry["kind"], entry["to"], entry["text"]) == ("card_update", "staff0001", "已处理")
        assert (await api.post("message/update_template_card", update))["errcode"] == 60140


async def make_chat(api: Api, **more: Any) -> str:
    fields = {"name": "项目群", "owner": "staff0001", "userlist": ["staff0001", "staff0002"]}
    answer = await api.post("appchat/create", fields | more)
    assert answer["errcode"] == 0, answer
    return str(answer["chatid"])


async def test_a_group_is_made_changed_read_and_written_to() -> None:
    async with running() as (sim, api):
        chatid = await make_chat(api, chatid="mychat1")
        assert chatid == "mychat1"
        change = {
            "chatid": chatid,
            "name": "新名",
            "owner": "staff0003",
            "add_user_list": ["staff0003"],
            "del_user_list": ["staff0001"],
        }
        assert await api.code("appchat/update", **change) == 0
        found = (await api.get("appchat/get", chatid=chatid))["chat_info"]
        assert found == {
            "chatid": chatid,
            "name": "新名",
            "owner": "staff0003",
            "userlist": ["staff0002", "staff0003"],
        }
        text = {"chatid": chatid, "msgtype": "text", "text": {"content": "大家好"}}
        answer = await api.post("appchat/send", text)
        assert answer == {"errcode": 0, "errmsg": "ok"}
        assert [(one["to"], one["chatid"], one["text"]) for one in sim.journal.entries()] == [
            ("staff0002", chatid, "大家好"),
            ("staff0003", chatid, "大家好"),
        ]
        await sim.control("appchat_dissolve", {"chatid": chatid})
        assert await api.code("appchat/send", **text) == 86003


@pytest.mark.parametrize(
    ("change", "errcode"),
    [
        ({"chatid": "bad id!"}, 86001),
        ({"chatid": "taken"}, 86215),
        ({"userlist": ["staff0001"]}, 86006),
        ({"userlist": ["staff0001", "nobody"]}, 86216),
        ({"owner": "staff0009"}, 86005),
        ({"name": "x" * 51}, 40058),
    ],
)
async def test_create_refuses(change: dict[str, Any], errcode: int) -> None:
    async with running() as (_, api):
        await make_chat(api, chatid="taken")
        fields = {"name": "n", "owner": "staff0001", "userlist": ["staff0001", "staff0002"]}
        assert await api.code("appchat/create", **(fields | change)) == errcode


async def test_groups_belong_to_an_app_that_sees_the_whole_corp() -> None:
    async with running() as (sim, api):
        chatid = await make_chat(api)
        removed = {"chatid": chatid, "del_user_list": ["staff0001"]}
        assert await api.code("appchat/update", **removed) == 86006
        more = {"chatid": chatid, "add_user_list": ["staff0003"], "del_user_list": ["staff0001"]}
        assert await api.code("appchat/update", **more) == 86005
        await sim.control("app_add", {"agentid": 1000003, "secret": "other"})
        await api.login("other")
        assert (await api.get("appchat/get", chatid=chatid))["errcode"] == 86008
        await sim.control("app_change", {"agentid": 1000003, "scope": ["staff0001"]})
        assert (await api.get("appchat/get", chatid=chatid))["errcode"] == 48002


async def test_group_limits_refuse_or_drop() -> None:
    limits = {"group_member_minute": 2, "appchat_minute": 6, "appchat_create_day": 1}
    async with running(limits) as (sim, api):
        chatid = await make_chat(api)
        two = {"userlist": ["staff0001", "staff0002"]}
        assert await api.code("appchat/create", **two) == 45009
        text = {"chatid": chatid, "msgtype": "text", "text": {"content": "x"}}
        codes = [await api.code("appchat/send", **text) for _ in range(4)]
        assert codes == [0, 0, 0, 45009]
        dropped = [one["dropped"] for one in sim.journal.entries()]
        assert dropped == ["", "", "", "", "group_minute", "group_minute"]


async def test_a_robot_writes_into_its_group() -> None:
    async with running() as (sim, api):
        key = "11111111-2222-4333-8444-555555555555"

        async def send(body: dict[str, Any], name: str = key) -> int:
            url = api.url("webhook/send")
            async with api.session.post(url, params={"key": name}, json=body) as response:
                return int((await response.json(content_type=None))["errcode"])

        md5 = hashlib.md5(PNG).hexdigest()
        image = {"base64": base64.b64encode(PNG).decode(), "md5": md5}
        assert await send({"msgtype": "text", "text": {"content": "x"}}, "unknown") == 93000
        assert await send({"msgtype": "text", "text": {"content": "告警"}}) == 0
        assert await send({"msgtype": "markdown", "markdown": {"content": "x" * 4096}}) == 0
        assert await send({"msgtype": "markdown", "markdown": {"content": "x" * 4097}}) == 40058
        assert await send({"msgtype": "text", "text": {"content": "x" * 2049}}) == 40058
        assert await send({"msgtype": "image", "image": image}) == 0
        assert await send({"msgtype": "image", "image": image | {"md5": "0"}}) == 40058
        media_id = (await api.upload(b"a file here", "file", "webhook/upload_media", key=key))[
            "media_id"
        ]
        assert await send({"msgtype": "file", "file": {"media_id": media_id}}) == 0
        assert (await api.post("message/send", message("file", media_id=media_id)))[
            "errcode"
        ] == 40007
        codes = [await send({"msgtype": "text", "text": {"content": "x"}}) for _ in range(17)]
        assert codes == [0] * 16 + [45009]
        assert sim.journal.entries()[0]["to"] == "沙箱群"
        await sim.control("robot_remove", {"key": key})
        assert await send({"msgtype": "text", "text": {"content": "x"}}) == 93000
