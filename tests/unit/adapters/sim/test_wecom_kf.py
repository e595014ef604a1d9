"""Customer service in the WeCom simulator: log and cursors, sessions, allowances, failures that come later."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from adapters.sim.wecom import WeComSim
from tests.unit.adapters.sim.wecomed import Api, listening, running, until

KF = "wk0001"


async def write(sim: WeComSim, text: str = "你好", customer: str = "wmA") -> str:
    args = {"open_kfid": KF, "external_userid": customer, "text": text}
    return str((await sim.control("customer_writes", args))["msgid"])


async def pull(api: Api, cursor: str = "", **more: Any) -> dict[str, Any]:
    return await api.post("kf/sync_msg", open_kfid=KF, cursor=cursor, **more)


async def pull_all(api: Api, cursor: str = "", **more: Any) -> tuple[list[dict[str, Any]], str]:
    found: list[dict[str, Any]] = []
    for _ in range(1000):
        page = await pull(api, cursor, **more)
        assert page["errcode"] == 0, page
        found += page["msg_list"]
        cursor = page["next_cursor"]
        if not page["has_more"]:
            return found, cursor
    raise AssertionError("no end")


def text(to: str = "wmA", **more: Any) -> dict[str, Any]:
    return {"touser": to, "open_kfid": KF, "msgtype": "text", "text": {"content": "在"}} | more


async def test_a_doorbell_says_where_and_the_log_says_what() -> None:
    async with running() as (sim, api), listening(sim) as listener:
        msgid = await write(sim, "想办套餐")
        await until(lambda: len(listener.heard) == 1)
        bell = listener.heard[0]
        assert bell["Event"] == "kf_msg_or_event"
        assert bell["OpenKfId"] == KF
        assert "FromUserName" not in bell
        assert "Content" not in bell
        page = await pull(api, token=bell["Token"])
        assert page["has_more"] == 0
        (item,) = page["msg_list"]
        assert item["msgid"] == msgid
        assert item["origin"] == 3
        assert (item["open_kfid"], item["external_userid"]) == (KF, "wmA")
        assert item["text"] == {"content": "想办套餐"}
        assert (await pull(api, page["next_cursor"], token=bell["Token"]))["msg_list"] == []


async def test_short_and_empty_pages_lose_nothing() -> None:
    options = {"kf_short_pages": 0.5, "kf_empty_pages": 0.5}
    async with running({"kf_bare_minute": 0}, **options) as (sim, api):
        sent = [await write(sim, str(n)) for n in range(300)]
        page = await pull(api, limit=20)
        sizes, found = [len(page["msg_list"])], [*page["msg_list"]]
        while page["has_more"]:
            page = await pull(api, page["next_cursor"], limit=20)
            sizes.append(len(page["msg_list"]))
            found += page["msg_list"]
        assert [item["msgid"] for item in found] == sent
        assert 0 in sizes
        assert any(0 < size < 20 for size in sizes[:-1])


async def test_cursors_are_opaque_and_belong_to_one_account() -> None:
    async with running({"kf_bare_minute": 0}) as (sim, api):
        await write(sim)
        page = await pull(api)
        assert len(page["next_cursor"]) <= 64
        assert (await pull(api, "nonsense"))["errcode"] == 40058
        await sim.control("kf_account_add", {"open_kfid": "wk0002"})
        answer = await api.post("kf/sync_msg", open_kfid="wk0002", cursor=page["next_cursor"])
        assert answer["errcode"] == 40058
        assert await api.code("kf/sync_msg", open_kfid="wkunknown") == 95000
        assert await api.code("kf/sync_msg", cursor="") == 95000
        assert await api.code("kf/sync_msg", open_kfid=KF, limit=1001) == 40058


async def test_the_log_forgets_after_three_days() -> None:
    async with running({"kf_bare_minute": 0, "token_life": 10**6}) as (sim, api):
        await write(sim, "old")
        early = (await pull(api, limit=1))["next_cursor"]
        await sim.control("advance", {"seconds": 2 * 86_400})
        await write(sim, "middle")
        await sim.control("advance", {"seconds": 2 * 86_400})
        await write(sim, "new")
        assert [item["text"]["content"] for item in (await pull_all(api))[0]] == ["middle", "new"]
        await sim.control("advance", {"seconds": 2 * 86_400})
        found, _ = await pull_all(api, early)
        assert [item["text"]["content"] for item in found] == ["new"]


async def test_tokens_last_ten_minutes_and_bare_pulls_are_few() -> None:
    async with running({"kf_bare_minute": 2}) as (sim, api), listening(sim) as listener:
        await write(sim)
        await until(lambda: len(listener.heard) == 1)
        token = listener.heard[0]["Token"]
        codes = [(await pull(api))["errcode"] for _ in range(3)]
        assert codes == [0, 0, 45009]
        codes = [(await pull(api, token=token))["errcode"] for _ in range(20)]
        assert set(codes) == {0}
        await sim.control("advance", {"seconds": 601})
        assert (await pull(api, token=token))["errcode"] == 95007
        assert (await pull(api, token="unknown"))["errcode"] == 95007


async def test_five_messages_after_each_of_his_within_48_hours() -> None:
    async with running({"token_life": 10**6}) as (sim, api):
        assert await api.code("kf/send_msg", **text("wmunknown")) == 40096
        assert await api.code("kf/send_msg", **text("wm0001")) == 95002
        await write(sim)
        codes = [await api.code("kf/send_msg", **text()) for _ in range(6)]
        assert codes == [0] * 5 + [95001]
        await write(sim)
        assert await api.code("kf/send_msg", **text()) == 0
        await sim.control("advance", {"seconds": 48 * 3600})
        assert await api.code("kf/send_msg", **text()) == 95002
        kinds = {(one["kind"], one["to"], one["from"]) for one in sim.journal.entries()}
        assert kinds == {("kf", "wmA", KF)}
        assert sim.journal.total == 6
        found, _ = await pull_all(api)
        assert all(item["origin"] == 3 for item in found)  # our own sends are not in the log


async def test_our_msgid_is_taken_once() -> None:
    async with running() as (sim, api):
        await write(sim)
        answer = await api.post("kf/send_msg", text(msgid="our-1"))
        assert answer["msgid"] == "our-1"
        assert await api.code("kf/send_msg", **text(msgid="our-1")) == 40058
        assert await api.code("kf/send_msg", **text(msgid="x" * 33)) == 40058
        assert await api.code("kf/send_msg", **text(msgid="Ä")) == 40058
        assert sim.journal.total == 1


@pytest.mark.parametrize(
    ("msgtype", "body", "errcode"),
    [
        ("text", {"content": "x" * 2049}, 40058),
        ("text", {"content": ""}, 44004),
        ("markdown", {"content": "x"}, 95022),
        ("image", {"media_id": "unknown"}, 40007),
        ("msgmenu", {"list": [{"type": "click", "click": {"content": "a"}}] * 11}, 95008),
        ("msgmenu", {"list": [{"type": "nonsense"}]}, 95009),
        ("location", {"latitude": "north"}, 40058),
        ("business_card", {"userid": "nobody"}, 60111),
        (
            "msgmenu",
            {"head_content": "选", "list": [{"type": "click", "click": {"content": "a"}}]},
            0,
        ),
        ("location", {"latitude": 1.5, "longitude": 2, "name": "厅"}, 0),
        ("business_card", {"userid": "staff0001"}, 0),
        ("ca_link", {"link_url": "http://x"}, 0),
    ],
)
async def test_bodies(msgtype: str, body: dict[str, Any], errcode: int) -> None:
    async with running() as (sim, api):
        await write(sim)
        fields = {"touser": "wmA", "open_kfid": KF, "msgtype": msgtype, msgtype: body}
        assert await api.code("kf/send_msg", **fields) == errcode


async def test_acceptance_is_not_delivery() -> None:
    async with running({"kf_bare_minute": 0}) as (sim, api):
        await write(sim)
        await sim.control("kf_fail_next", {"fail_type": 4})
        answer = await api.post("kf/send_msg", text())
        assert answer["errcode"] == 0
        assert sim.journal.entries()[-1]["dropped"] == "fail_4"
        found, cursor = await pull_all(api)
        assert len(found) == 1
        await sim.control("advance", {"seconds": 1})
        await sim.world.settled()
        ((failed,), _) = await pull_all(api, cursor)
        assert failed["origin"] == 4
        assert failed["event"]["event_type"] == "msg_send_fail"
        assert failed["event"]["fail_msgid"] == answer["msgid"]
        assert failed["event"]["fail_type"] == 4
        assert failed["event"]["open_kfid"] == KF
        assert "open_kfid" not in failed
        await sim.control("customer_refuses", {"external_userid": "wmA"})
        await api.post("kf/send_msg", text())
        assert sim.journal.entries()[-1]["dropped"] == "fail_10"


async def test_the_session_goes_its_way() -> None:
    async with running({"kf_bare_minute": 0}) as (sim, api):
        who = {"open_kfid": KF, "external_userid": "wmA"}

        async def trans(state: int, servicer: str = "") -> dict[str, Any]:
            return await api.post(
                "kf/service_state/trans",
                who | {"service_state": state, "servicer_userid": servicer},
            )

        async def state() -> tuple[int, str]:
            answer = await api.post("kf/service_state/get", who)
            return answer["service_state"], answer["servicer_userid"]

        sim.world.add_customer("wmA")
        assert await state() == (4, "")
        assert (await trans(1))["errcode"] == 95016
        await write(sim)
        assert await state() == (0, "")
        assert (await trans(1))["errcode"] == 0
        assert await api.code("kf/send_msg", **text()) == 0
        assert (await trans(0))["errcode"] == 95016
        waiting = (await trans(2))["msg_code"]
        assert await api.code("kf/send_msg", **text()) == 95018
        on_event = {"code": waiting, "msgtype": "text", "text": {"content": "排队中"}}
        assert await api.code("kf/send_msg_on_event", **on_event) == 0
        assert await api.code("kf/send_msg_on_event", **on_event) == 41049
        assert (await trans(3, "staff0020"))["errcode"] == 95014
        await sim.control("servicer", {"open_kfid": KF, "userid": "staff0002", "action": "stops"})
        assert (await trans(3, "staff0002"))["errcode"] == 95019
        assert (await trans(3, "staff0001"))["errcode"] == 0
        assert await state() == (3, "staff0001")
        farewell = (await trans(4))["msg_code"]
        assert await state() == (4, "")
        await sim.control("advance", {"seconds": 21})
        on_event["code"] = farewell
        assert await api.code("kf/send_msg_on_event", **on_event) == 41050
        await write(sim)
        assert await state() == (0, "")


async def test_servicers_act_in_their_client() -> None:
    async with running({"kf_bare_minute": 0}) as (sim, api):
        await write(sim)
        who = {"open_kfid": KF, "external_userid": "wmA"}
        await api.post("kf/service_state/trans", who | {"service_state": 2})
        _, cursor = await pull_all(api)

        async def act(action: str, userid: str = "staff0001", **more: str) -> dict[str, Any]:
            return await sim.control("servicer", who | {"userid": userid, "action": action} | more)

        code = (await act("takes"))["msg_code"]
        said = await act("says", text="我是张三")
        await act("transfers", to="staff0003")
        with pytest.raises(ValueError, match="not possible"):
            await act("takes")
        late = {"code": code, "msgtype": "text", "text": {"content": "x"}}
        assert await api.code("kf/send_msg_on_event", **late) == 0
        await act("ends", userid="staff0003")
        await act("reenters", userid="staff0003")
        await act("recalls", msgid=said["msgid"])
        await act("refuses")
        found, _ = await pull_all(api, cursor)
        changes = [
            item["event"]["change_type"]
            for item in found
            if item["msgtype"] == "event" and "change_type" in item["event"]
        ]
        assert changes == [1, 2, 3, 4]
        spoken = next(item for item in found if item["origin"] == 5)
        assert spoken["servicer_userid"] == "staff0001"
        assert spoken["text"] == {"content": "我是张三"}
        kinds = [item["event"]["event_type"] for item in found[-2:]]
        assert kinds == ["servicer_recall_msg", "reject_customer_msg_switch_change"]


async def test_a_welcome_within_twenty_seconds_once_in_48_hours() -> None:
    async with running({"kf_bare_minute": 0}) as (sim, api):
        who = {"open_kfid": KF, "external_userid": "wmB", "scene": "hall"}
        code = (await sim.control("customer_enters", who))["welcome_code"]
        ((event,), _) = await pull_all(api)
        assert event["event"]["welcome_code"] == code
        assert event["event"]["scene"] == "hall"
        hello = {"code": code, "msgtype": "text", "text": {"content": "欢迎"}}
        assert await api.code("kf/send_msg_on_event", **hello | {"msgtype": "image"}) == 95022
        assert await api.code("kf/send_msg_on_event", **hello) == 0
        assert sim.journal.entries()[-1]["text"] == "欢迎"
        assert not (await sim.control("customer_enters", who))["welcome_code"]
        other = who | {"external_userid": "wmC"}
        hello["code"] = (await sim.control("customer_enters", other))["welcome_code"]
        await sim.control("advance", {"seconds": 20})
        assert await api.code("kf/send_msg_on_event", **hello) == 41050
        await write(sim, customer="wmD")
        fourth = who | {"external_userid": "wmD"}
        assert not (await sim.control("customer_enters", fourth))["welcome_code"]


async def test_media_of_a_customer_can_be_fetched() -> None:
    async with running() as (sim, api):
        data = base64.b64encode(b"\xff\xd8\xffpicture").decode()
        args = {"open_kfid": KF, "external_userid": "wmA", "msgtype": "image", "data": data}
        await sim.control("customer_writes", args)
        ((item,), _) = await pull_all(api)
        query = {"access_token": api.token, "media_id": item["image"]["media_id"]}
        async with api.session.get(api.url("media/get"), params=query) as response:
            assert await response.read() == b"\xff\xd8\xffpicture"


async def test_the_right_to_an_account_comes_and_goes() -> None:
    async with running() as (sim, api), listening(sim) as listener:
        await sim.control("kf_account_add", {"open_kfid": "wk0002"})
        await sim.control("kf_grant", {"add": ["wk0002"], "remove": [KF]})
        await until(lambda: len(listener.heard) == 1)
        event = listener.heard[0]
        assert event["Event"] == "kf_account_auth_change"
        assert (event["AuthAddOpenKfId"], event["AuthDelOpenKfId"]) == ("wk0002", KF)
        assert (await pull(api))["errcode"] == 48007
        await sim.control("kf_grant", {"add": [KF]})
        assert (await pull(api))["errcode"] == 0


async def test_accounts_servicers_and_customers() -> None:
    async with running() as (sim, api):
        made = (await api.post("kf/account/add", {"name": "营业厅"}))["open_kfid"]
        assert await api.code("kf/account/add", name="x" * 17) == 40058
        await api.post("kf/account/update", {"open_kfid": made, "name": "二厅"})
        listed = (await api.post("kf/account/list", {"offset": 1, "limit": 100}))["account_list"]
        assert [(one["open_kfid"], one["name"]) for one in listed] == [(made, "二厅")]
        both = {"open_kfid": made, "userid_list": ["staff0001", "nobody"]}
        result = (await api.post("kf/servicer/add", both))["result_list"]
        assert [one["errcode"] for one in result] == [0, 60111]
        servicers = (await api.get("kf/servicer/list", open_kfid=made))["servicer_list"]
        assert servicers == [{"userid": "staff0001", "status": 0, "stop_type": 0}]
        result = (await api.post("kf/servicer/del", both))["result_list"]
        assert [one["errcode"] for one in result] == [0, 95014]
        way = await api.post("kf/add_contact_way", {"open_kfid": made, "scene": "qr1"})
        assert way["url"].startswith("http")
        assert await api.code("kf/customer/batchget", external_userid_list=["wm0001"]) == 95031
        await write(sim, customer="wm0001")
        asked = {
            "external_userid_list": ["wm0001", "wm0002", "wmno"],
            "need_enter_session_context": 1,
        }
        found = await api.post("kf/customer/batchget", asked)
        assert [one["external_userid"] for one in found["customer_list"]] == ["wm0001"]
        assert found["invalid_external_userid"] == ["wm0002", "wmno"]
        await api.post("kf/account/del", {"open_kfid": made})
        assert await api.code("kf/sync_msg", open_kfid=made) == 95000
