"""Customer contact in the WeCom simulator: reading, welcome messages, mass-message tasks, customer groups, inheritance."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.unit.adapters.sim.wecomed import Api, listening, running, until

C = "externalcontact/"


async def test_who_knows_whom() -> None:
    async with running(members=3, customers=3) as (sim, api):
        await sim.control("member_add", {"userids": ["alone"]})
        await sim.control("member_add", {"userids": ["without"], "contact": False})
        users = (await api.get(C + "get_follow_user_list"))["follow_user"]
        assert users == ["staff0001", "staff0002", "staff0003", "alone"]
        assert (await api.get(C + "list", userid="STAFF0001"))["external_userid"] == ["wm0001"]
        assert (await api.get(C + "list", userid="alone"))["errcode"] == 84061
        assert (await api.get(C + "list", userid="without"))["errcode"] == 84074
        assert (await api.get(C + "list", userid="nobody"))["errcode"] == 60111
        found = await api.get(C + "get", external_userid="wm0001")
        assert found["external_contact"]["external_userid"] == "wm0001"
        assert found["external_contact"]["type"] == 1
        assert [one["userid"] for one in found["follow_user"]] == ["staff0001"]
        assert (await api.get(C + "get", external_userid="nobody"))["errcode"] == 40096
        asked = {"userid_list": ["staff0001", "staff0002", "staff0003"], "limit": 2}
        first = await api.post(C + "batch/get_by_user", asked)
        rest = await api.post(C + "batch/get_by_user", asked | {"cursor": first["next_cursor"]})
        rows = first["external_contact_list"] + rest["external_contact_list"]
        assert [one["external_contact"]["external_userid"] for one in rows] == [
            "wm0001",
            "wm0002",
            "wm0003",
        ]
        assert rest["next_cursor"] == ""


async def test_more_than_500_followers_come_in_pages() -> None:
    async with running(members=501) as (sim, api):
        for number in range(1, 502):
            sim.world.relate(f"staff{number:04d}", "wm0001")
        first = await api.get(C + "get", external_userid="wm0001")
        assert len(first["follow_user"]) == 500
        rest = await api.get(C + "get", external_userid="wm0001", cursor=first["next_cursor"])
        assert len(rest["follow_user"]) == 1
        assert "next_cursor" not in rest


async def test_remarks_tags_and_unionids() -> None:
    async with running() as (sim, api), listening(sim) as listener:
        who = {"userid": "staff0001", "external_userid": "wm0001"}
        assert await api.code(C + "remark", **who, remark="老客户", remark_mobiles=["1380"]) == 0
        assert await api.code(C + "mark_tag", **who, add_tag=["et0001", "et0002"]) == 0
        assert await api.code(C + "mark_tag", **who, remove_tag=["et0002"]) == 0
        assert await api.code(C + "mark_tag", **who, add_tag=["nonsense"]) == 40068
        assert await api.code(C + "mark_tag", **who) == 40063
        stranger = {"userid": "staff0001", "external_userid": "wm0002"}
        assert await api.code(C + "remark", **stranger, remark="x") == 84061
        (follow,) = (await api.get(C + "get", external_userid="wm0001"))["follow_user"]
        assert follow["remark"] == "老客户"
        assert follow["remark_mobiles"] == ["1380"]
        assert [tag["tag_name"] for tag in follow["tags"]] == ["重要"]
        await sim.pusher.drained()
        assert listener.heard == []  # changes through the API do not call back
        await sim.control("tag_add", {"tag_id": "et9", "name": "新"})
        groups = (await api.post(C + "get_corp_tag_list"))["tag_group"]
        assert {tag["id"] for group in groups for tag in group["tag"]} == {
            "et0001",
            "et0002",
            "et9",
        }
        asked = {"unionid": "unwm0001", "openid": "o"}
        found = await api.post(C + "unionid_to_external_userid", asked)
        assert found["external_userid"] == "wm0001"
        sim.world.add_customer("wmstray")
        asked["unionid"] = "unwmstray"
        assert await api.code(C + "unionid_to_external_userid", **asked) == 610014
        found = await api.post("idconvert/unionid_to_external_userid", asked)
        assert found["pending_id"]


async def test_a_new_customer_is_welcomed_within_twenty_seconds() -> None:
    async with running() as (sim, api), listening(sim) as listener:
        add = {"userid": "staff0001", "external_userid": "wmnew", "state": "hall7"}
        await sim.control("customer_adds", add)
        await until(lambda: len(listener.heard) == 1)
        event = listener.heard[0]
        assert event["Event"] == "change_external_contact"
        assert event["ChangeType"] == "add_external_contact"
        assert (event["UserID"], event["ExternalUserID"]) == ("staff0001", "wmnew")
        assert (event["State"], event["FromUserName"]) == ("hall7", "sys")
        welcome: dict[str, Any] = {"welcome_code": event["WelcomeCode"]}
        assert await api.code(C + "send_welcome_msg", **welcome) == 41088
        hello = welcome | {"text": {"content": "欢迎"}}
        assert await api.code(C + "send_welcome_msg", **hello) == 0
        entry = sim.journal.entries()[-1]
        assert (entry["kind"], entry["to"], entry["from"]) == ("welcome", "wmnew", "staff0001")
        assert await api.code(C + "send_welcome_msg", **hello) == 41051
        assert await api.code(C + "send_welcome_msg", welcome_code="x", text={"content": "a"}) == (
            41049
        )

        late = await sim.control("customer_adds", add | {"external_userid": "wm2"})
        await sim.control("advance", {"seconds": 20})
        assert await api.code(C + "send_welcome_msg", **hello | late) == 41050

        quick = await sim.control("customer_adds", add | {"external_userid": "wm3"})
        await sim.control("customer_chats", {"userid": "staff0001", "external_userid": "wm3"})
        assert await api.code(C + "send_welcome_msg", **hello | quick) == 41051

        await sim.control("member_change", {"userid": "staff0002", "native_welcome": True})
        none = await sim.control("customer_adds", add | {"userid": "staff0002"})
        assert none["welcome_code"] == ""


async def test_of_two_apps_one_welcomes() -> None:
    async with running(welcome_delay=0.2) as (sim, api):
        add = {"userid": "staff0001", "external_userid": "wmnew"}
        code = (await sim.control("customer_adds", add))["welcome_code"]
        await sim.control("app_add", {"agentid": 1000003, "secret": "other"})
        other = Api(sim, api.session)
        await other.login("other")
        hello = {"welcome_code": code, "text": {"content": "x"}}
        first = asyncio.create_task(api.code(C + "send_welcome_msg", **hello))
        await until(lambda: sim.gate.most_at_once[C + "send_welcome_msg"] == 1)
        await asyncio.sleep(0.05)
        assert await other.code(C + "send_welcome_msg", **hello) == 41096
        assert await first == 0
        assert await other.code(C + "send_welcome_msg", **hello) == 41051


async def test_deletions_are_told_and_have_consequences() -> None:
    async with running() as (sim, api), listening(sim) as listener:
        who = {"userid": "staff0001", "external_userid": "wm0001"}
        await sim.control("customer_deletes", who)
        assert await api.code(C + "remark", **who, remark="x") == 0
        await sim.control("member_deletes", who)
        assert await api.code(C + "remark", **who, remark="x") == 84061
        await sim.control("customer_edited", who)
        await sim.pusher.drained()
        assert {one["ChangeType"] for one in listener.heard} == {
            "del_follow_user",
            "del_external_contact",
            "edit_external_contact",
        }


def mass(**more: Any) -> dict[str, Any]:
    return {"chat_type": "single", "text": {"content": "大促"}} | more


async def test_a_mass_message_waits_for_its_member() -> None:
    async with running(members=2, customers=4) as (sim, api):
        asked = ["wm0001", "wm0002", "wm0003", "nobody"]
        made = await api.post(C + "add_msg_template", mass(external_userid=asked))
        assert made["errcode"] == 0
        assert made["fail_list"] == ["nobody"]
        msgid = made["msgid"]
        assert sim.journal.total == 0
        tasks = (await api.post(C + "get_groupmsg_task", {"msgid": msgid}))["task_list"]
        assert tasks == [{"userid": "staff0001", "status": 0}, {"userid": "staff0002", "status": 0}]
        await sim.control("customer_deletes", {"userid": "staff0001", "external_userid": "wm0003"})
        done = await sim.control("member_confirms", {"msgid": msgid, "userid": "staff0001"})
        assert done == {"wm0001": 1, "wm0003": 2, "wm0002": 0}
        assert [(one["to"], one["from"], one["text"]) for one in sim.journal.entries()] == [
            ("wm0001", "staff0001", "大促")
        ]
        tasks = (await api.post(C + "get_groupmsg_task", {"msgid": msgid}))["task_list"]
        assert [one["status"] for one in tasks] == [2, 0]
        who = {"msgid": msgid, "userid": "staff0001", "limit": 1}
        first = await api.post(C + "get_groupmsg_send_result", who)
        rest = await api.post(
            C + "get_groupmsg_send_result", who | {"cursor": first["next_cursor"]}
        )
        assert first["send_list"][0]["status"] == 1
        assert first["send_list"][0]["send_time"]
        assert rest["send_list"] == [
            {"external_userid": "wm0003", "userid": "staff0001", "status": 2}
        ]
        now = sim.world.now()
        span = {"chat_type": "single", "start_time": now - 60, "end_time": now + 60}
        listed = (await api.post(C + "get_groupmsg_list_v2", span))["group_msg_list"]
        assert [one["msgid"] for one in listed] == [msgid]


async def test_the_member_who_chatted_last_is_asked() -> None:
    async with running(members=2, customers=1) as (sim, api):
        sim.world.relate("staff0002", "wm0001")
        await sim.control("customer_chats", {"userid": "staff0001", "external_userid": "wm0001"})
        made = await api.post(C + "add_msg_template", mass(external_userid=["wm0001"]))
        tasks = (await api.post(C + "get_groupmsg_task", {"msgid": made["msgid"]}))["task_list"]
        assert [one["userid"] for one in tasks] == ["staff0001"]


async def test_the_monthly_allowance_skips_silently() -> None:
    async with running({"mass_month": 2}, members=1, customers=1) as (sim, api):
        statuses = []
        for _ in range(3):
            made = await api.post(C + "add_msg_template", mass(external_userid=["wm0001"]))
            assert made["errcode"] == 0
            done = await sim.control("member_confirms", {"msgid": made["msgid"]})
            statuses.append(done["wm0001"])
        assert statuses == [1, 1, 3]
        assert sim.journal.total == 2
        await sim.control("advance", {"seconds": 31 * 86_400})
        await api.login()
        made = await api.post(C + "add_msg_template", mass(external_userid=["wm0001"]))
        assert (await sim.control("member_confirms", {"msgid": made["msgid"]}))["wm0001"] == 1


async def test_dispatching_cancelled_and_reminded_tasks() -> None:
    async with running({"mass_dispatch": 5}) as (sim, api):
        made = await api.post(C + "add_msg_template", mass(sender="staff0001"))
        which = {"msgid": made["msgid"]}
        result = which | {"userid": "staff0001"}
        assert await api.code(C + "get_groupmsg_send_result", **result) == 41063
        await sim.control("advance", {"seconds": 5})
        assert await api.code(C + "get_groupmsg_send_result", **result) == 0
        codes = [await api.code(C + "remind_groupmsg_send", **which) for _ in range(4)]
        assert codes == [0, 0, 0, 41094]
        assert await api.code(C + "cancel_groupmsg_send", **which) == 0
        assert await api.code(C + "get_groupmsg_send_result", **result) == 41093
        with pytest.raises(ValueError, match="cancelled"):
            await sim.control("member_confirms", which)
        assert await api.code(C + "get_groupmsg_task", msgid="unknown") == 41046


@pytest.mark.parametrize(
    ("body", "errcode"),
    [
        (mass(), 40063),
        (mass(external_userid=["nobody"]), 41048),
        (mass(sender="nobody"), 60111),
        (mass(sender="staff0001", text={"content": "x" * 4001}), 40058),
        ({"sender": "staff0001"}, 41088),
        (mass(sender="staff0001", attachments=[{"msgtype": "nonsense"}]), 41065),
        (
            mass(sender="staff0001", attachments=[{"msgtype": "link", "link": {"url": "u"}}]),
            40058,
        ),
        (
            mass(
                sender="staff0001",
                attachments=[{"msgtype": "link", "link": {"title": "t", "url": "u"}}] * 10,
            ),
            41064,
        ),
        (
            mass(
                sender="staff0001",
                attachments=[{"msgtype": "image", "image": {"media_id": "unknown"}}],
            ),
            40007,
        ),
        (mass(chat_type="group"), 40063),
        (mass(chat_type="nonsense", sender="staff0001"), 40058),
        (mass(sender="staff0001", tag_filter={"group_list": [{"tag_list": ["et1"]}]}), 41048),
    ],
)
async def test_a_task_is_refused(body: dict[str, Any], errcode: int) -> None:
    async with running() as (_, api):
        assert await api.code(C + "add_msg_template", **body) == errcode


async def test_customer_groups_are_read_written_to_by_task_and_told_about() -> None:
    async with running() as (sim, api), listening(sim) as listener:
        made = {"owner": "staff0001", "name": "惠民群", "customers": ["wm0001"]}
        chat_id = (await sim.control("chat_create", made))["chat_id"]
        await sim.control("chat_join", {"chat_id": chat_id, "ids": ["wm0002", "staff0002"]})
        await sim.control("chat_leave", {"chat_id": chat_id, "ids": ["wm0001"], "removed": True})
        await sim.control("chat_change", {"chat_id": chat_id, "name": "新群"})
        filter_ = {"owner_filter": {"userid_list": ["staff0001"]}, "limit": 10}
        listed = (await api.post(C + "groupchat/list", filter_))["group_chat_list"]
        assert listed == [{"chat_id": chat_id, "status": 0}]
        assert await api.code(C + "groupchat/list", **filter_ | {"limit": 1001}) == 40058
        found = (await api.post(C + "groupchat/get", {"chat_id": chat_id, "need_name": 1}))[
            "group_chat"
        ]
        assert found["name"] == "新群"
        assert {(one["userid"], one["type"]) for one in found["member_list"]} == {
            ("staff0001", 1),
            ("staff0002", 1),
            ("wm0002", 2),
        }
        body = {"chat_type": "group", "sender": "staff0001", "text": {"content": "通知"}}
        task = await api.post(C + "add_msg_template", body | {"chat_id_list": [chat_id, "wrX"]})
        assert task["fail_list"] == ["wrX"]
        await sim.control("member_confirms", {"msgid": task["msgid"]})
        entry = sim.journal.entries()[-1]
        assert (entry["kind"], entry["to"], entry["from"]) == ("mass_group", chat_id, "staff0001")
        await sim.control("chat_dismiss", {"chat_id": chat_id})
        assert await api.code(C + "groupchat/get", chat_id=chat_id) == 40050
        await sim.pusher.drained()
        events = {(one["ChangeType"], one.get("UpdateDetail")) for one in listener.heard}
        assert events == {
            ("create", None),
            ("update", "add_member"),
            ("update", "del_member"),
            ("update", "change_name"),
            ("dismiss", None),
        }
        left = next(one for one in listener.heard if one.get("UpdateDetail") == "del_member")
        assert (left["QuitScene"], left["MemChangeCnt"]) == ("1", "1")
        assert left["MemChangeList"] == {"Item": "wm0001"}
        assert left["LastMemVer"] != left["CurMemVer"] == found["member_version"]


async def test_groups_are_inherited() -> None:
    async with running() as (sim, api):
        chat_id = (await sim.control("chat_create", {"owner": "staff0001"}))["chat_id"]
        heir = {"chat_id_list": [chat_id, "wrX"], "new_owner": "staff0002"}
        failed = (await api.post(C + "groupchat/transfer", heir))["failed_chat_list"]
        assert [(one["chat_id"], one["errcode"]) for one in failed] == [
            (chat_id, 90500),
            ("wrX", 90501),
        ]
        failed = (await api.post(C + "groupchat/onjob_transfer", heir))["failed_chat_list"]
        assert [one["errcode"] for one in failed] == [90501]
        assert sim.chats.chats[chat_id].owner == "staff0002"
        await sim.control("member_change", {"userid": "staff0002", "resigned": True})
        heir["new_owner"] = "staff0003"
        failed = (await api.post(C + "groupchat/transfer", heir))["failed_chat_list"]
        assert [one["chat_id"] for one in failed] == ["wrX"]


async def test_customers_are_inherited() -> None:
    async with running({"token_life": 10**7}) as (sim, api), listening(sim) as listener:
        pair = {"handover_userid": "staff0001", "takeover_userid": "staff0002"}
        asked = pair | {"external_userid": ["wm0001", "wm0002"]}
        rows = (await api.post(C + "transfer_customer", asked))["customer"]
        assert [one["errcode"] for one in rows] == [0, 40131]
        rows = (await api.post(C + "transfer_customer", asked))["customer"]
        assert [one["errcode"] for one in rows] == [40129, 40131]
        rows = (await api.post(C + "transfer_result", pair))["customer"]
        assert rows == [{"external_userid": "wm0001", "status": 2}]
        await sim.control("advance", {"seconds": 86_400})
        await until(lambda: len(listener.heard) == 2)
        rows = (await api.post(C + "transfer_result", pair))["customer"]
        assert rows[0]["status"] == 1
        gone = next(o for o in listener.heard if o["ChangeType"] == "del_external_contact")
        assert gone["Source"] == "DELETE_BY_TRANSFER"
        back = {"handover_userid": "staff0002", "takeover_userid": "staff0001"}
        await api.post(C + "transfer_customer", back | {"external_userid": ["wm0001"]})
        await sim.control("transfer_refused", {"external_userid": "wm0001"})
        rows = (await api.post(C + "transfer_result", back))["customer"]
        assert rows[0]["status"] == 3
        await until(lambda: listener.heard[-1]["ChangeType"] == "transfer_fail")
        assert listener.heard[-1]["FailReason"] == "customer_refused"
        same = pair | {"takeover_userid": "staff0001", "external_userid": ["wm0001"]}
        assert await api.code(C + "transfer_customer", **same) == 40130


async def test_customers_of_a_resigned_member() -> None:
    async with running({"token_life": 10**6}) as (sim, api):
        pair = {"handover_userid": "staff0001", "takeover_userid": "staff0002"}
        asked = pair | {"external_userid": ["wm0001"]}
        assert await api.code(C + "resigned/transfer_customer", **asked) == 40097
        await sim.control("member_change", {"userid": "staff0001", "resigned": True})
        left = await api.post(C + "get_unassigned_list", {"page_size": 100})
        assert [one["external_userid"] for one in left["info"]] == ["wm0001"]
        assert left["is_last"] is True
        assert abs(left["info"][0]["dimission_time"] - sim.world.now()) < 60
        rows = (await api.post(C + "resigned/transfer_customer", asked))["customer"]
        assert rows[0]["errcode"] == 0
        assert (await api.post(C + "get_unassigned_list"))["info"] == []
        await sim.control("advance", {"seconds": 86_400})
        await sim.world.settled()
        rows = (await api.post(C + "resigned/transfer_result", pair))["customer"]
        assert rows[0]["status"] == 1
        assert (await api.get(C + "list", userid="staff0002"))["external_userid"] == [
            "wm0002",
            "wm0001",
        ]
