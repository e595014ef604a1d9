"""Two readings of WeCom's documents meet: what `protocols.wecom` writes the simulator takes, and what the simulator says it reads."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.sim.wecom import WeComSim
from adapters.sim.wecom.archive_cipher import unseal
from protocols.wecom import (
    answers,
    app,
    archive,
    bodies,
    callbacks,
    contact,
    customers,
    inbound,
    kf,
    kf_items,
    robot,
)
from protocols.wecom import contact_answers as ca
from protocols.wecom.bodies import Body
from tests.unit.adapters.sim.wecomed import Api, listening, running

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)
KF = "wk0001"
CARD = {
    "card_type": "button_interaction",
    "task_id": "t1",
    "main_title": {"title": "审批"},
    "button_list": [{"text": "同意", "key": "y"}],
}
NOTICE = {
    "card_type": "text_notice",
    "main_title": {"title": "t"},
    "card_action": {"type": 1, "url": "http://x"},
}


async def post(api: Api, name: str, body: bytes, **query: str) -> answers.Answer:
    params = {"access_token": api.token} | query
    async with api.session.post(api.url(name), params=params, data=body) as response:
        answer = answers.read(await response.read())
    assert answer.errcode == 0, (name, body, answer)
    return answer


async def media(api: Api) -> dict[str, str]:
    files = {
        "image": PNG,
        "voice": b"#!AMR\n" + bytes(13 * 5),
        "video": b"\0\0\0\x18ftypmp42" + bytes(50),
        "file": b"some text",
    }
    return {kind: (await api.upload(data, kind))["media_id"] for kind, data in files.items()}


async def test_application_messages_and_groups() -> None:
    async with running() as (sim, api):
        ids = await media(api)
        everything: list[Body] = [
            bodies.text("您好"),
            bodies.image(ids["image"]),
            bodies.voice(ids["voice"]),
            bodies.video(ids["video"], "t", "d"),
            bodies.file(ids["file"]),
            bodies.textcard("t", "d", "http://x", "更多"),
            bodies.news([bodies.Article("t", url="http://x")]),
            bodies.mpnews([bodies.PageArticle("t", ids["image"], "<b>c</b>")]),
            bodies.markdown("# x"),
        ]
        for body in everything:
            sending = answers.Sending.of(
                await post(api, "message/send", app.message_send(1000002, body, ["staff0001"]))
            )
            assert sending.msgid
        notice = bodies.miniprogram_notice("wx1", "四个字呀", items=[("k", "v")])
        await post(api, "message/send", app.message_send(1000002, notice, ["staff0001"]))
        to = app.message_send(
            1000002, bodies.text("x"), ["staff0001", "NoBody"], duplicate_check_s=60
        )
        some = answers.Sending.of(await post(api, "message/send", to))
        assert some.refuses("NoBody")
        assert not some.refuses("staff0001")
        await post(api, "message/recall", app.recall(some.msgid))
        card = app.message_send(1000002, bodies.template_card(CARD), ["staff0001"])
        code = answers.Sending.of(await post(api, "message/send", card)).response_code
        update = app.update_card(1000002, code, button="已处理", parties=[1])
        await post(api, "message/update_template_card", update)
        assert sim.journal.entries()[-1]["kind"] == "card_update"
        users = ["staff0001", "staff0002", "staff0003"]
        made = app.appchat_create(users, name="群", owner=users[0], chat_id="c1")
        assert answers.Chat.of(await post(api, "appchat/create", made)).chat_id == "c1"
        await post(api, "appchat/update", app.appchat_update("c1", name="新", remove=users[2:]))
        for body in everything:
            await post(api, "appchat/send", app.appchat_send("c1", body))
        read = await api.session.get(
            api.url("appchat/get"), params={"access_token": api.token, "chatid": "c1"}
        )
        chat = answers.Chat.of(answers.read(await read.read()))
        assert (chat.name, chat.owner, chat.users) == ("新", "staff0001", tuple(users[:2]))


async def test_robots() -> None:
    async with running() as (sim, api):
        key = next(iter(sim.robots.keys))
        for body in (
            robot.text("x", ["@all"], ["13800138000"]),
            robot.markdown("# x"),
            robot.markdown_v2("# x"),
            robot.image(PNG),
            robot.news([bodies.Article("t", url="http://x")]),
            robot.card(NOTICE),
        ):
            await post(api, "webhook/send", body, key=key)
        assert sim.journal.total == 6


async def write(sim: WeComSim, **more: Any) -> None:
    who = {"open_kfid": KF, "external_userid": "wmA"}
    await sim.control("customer_writes", who | more)


async def test_customer_service() -> None:
    async with running({"kf_bare_minute": 0, "kf_messages": 99}) as (sim, api):
        ids = await media(api)
        entered = await sim.control(
            "customer_enters", {"open_kfid": KF, "external_userid": "wmA", "scene": "s1"}
        )
        hello = kf.msgmenu([kf.Click("1", "查话费"), kf.View("http://x", "网厅")], "您好", "再见")
        welcome = kf.send_on_event("welcome", entered["welcome_code"], hello)
        await post(api, "kf/send_msg_on_event", welcome)
        await write(sim, text="在吗", menu_id="1")
        await write(sim, msgtype="location", body={"latitude": 1.5, "longitude": 2, "name": "厅"})
        await write(sim, msgtype="image", data="aGFsbG8=")
        await write(sim, msgtype="novelty", body={"deep": {"er": 1}})
        for number, body in enumerate(
            [
                kf.text("x"),
                *(kf.media(kind, media_id) for kind, media_id in ids.items()),
                kf.link("t", "http://x", ids["image"]),
                kf.miniprogram("wx", ids["image"], "pages/a"),
                hello,
                kf.location(1.0, 2.0, "厅"),
                kf.business_card("staff0001"),
                kf.ca_link("http://x"),
            ]
        ):
            sent = answers.KfSent.of(
                await post(api, "kf/send_msg", kf.send(KF, "wmA", body, f"our-{number}"))
            )
            assert sent.msgid == f"our-{number}"
        await sim.control("kf_fail_next", {"fail_type": 6})
        await post(api, "kf/send_msg", kf.send(KF, "wmA", kf.text("lost"), "lost"))
        await sim.control("advance", {"seconds": 1})
        await sim.world.settled()
        state = kf.state_trans(KF, "wmA", 2)
        assert answers.KfState.of(await post(api, "kf/service_state/trans", state)).msg_code
        act = {"open_kfid": KF, "external_userid": "wmA", "userid": "staff0001"}
        for action in ("takes", "ends", "stops", "recalls", "refuses"):
            await sim.control("servicer", act | {"action": action, "msgid": "m"})
        got = answers.KfState.of(await post(api, "kf/service_state/get", kf.state_get(KF, "wmA")))
        assert got.state == 4
        found = (await post(api, "kf/sync_msg", kf.sync(KF))).fields
        items = [kf_items.item(one) for one in found["msg_list"]]
        assert [type(item.content).__name__ for item in items] == [
            "EnterSession",
            "Text",
            "Location",
            "Media",
            "Opaque",
            "SendFailed",
            "SessionChanged",
            "SessionChanged",
            "ServicerChanged",
            "Recalled",
            "RefusalChanged",
        ]
        assert {item.open_kfid for item in items} == {KF}
        assert items[0].external_userid == items[1].external_userid == "wmA"
        asked = kf.customers(["wmA", "wmno"], with_context=True)
        known = answers.KfCustomers.of(await post(api, "kf/customer/batchget", asked))
        assert (known.customers[0].scene, known.invalid) == ("s1", ("wmno",))
        made = answers.KfAccounts.of(
            await post(api, "kf/account/add", kf.account_add("厅", ids["image"]))
        )
        await post(api, "kf/servicer/add", kf.servicers(made.open_kfid, ["staff0001"]))
        listed = answers.KfAccounts.of(await post(api, "kf/account/list", kf.account_list()))
        assert [one.open_kfid for one in listed.accounts] == [KF, made.open_kfid]


async def test_customer_contact() -> None:
    async with running(members=2, customers=3) as (sim, api):
        ids = await media(api)
        attachments = [
            contact.image(ids["image"]),
            contact.image(pic_url="http://x/a.jpg"),
            contact.link("t", "http://x"),
            contact.miniprogram("t", ids["image"], "wx", "p"),
            contact.video(ids["video"]),
            contact.file(ids["file"]),
        ]
        body = contact.mass_to_customers(["wm0001", "nobody"], "大促", attachments)
        task = ca.MassTask.of(await post(api, "externalcontact/add_msg_template", body))
        assert task.failed == ("nobody",)
        await sim.control("member_confirms", {"msgid": task.msgid})
        members = ca.MassMembers.of(
            await post(api, "externalcontact/get_groupmsg_task", contact.mass_task(task.msgid))
        )
        assert [(one.userid, one.status) for one in members.members] == [("staff0001", 2)]
        asked = contact.mass_result(task.msgid, "staff0001")
        results = ca.MassResults.of(
            await post(api, "externalcontact/get_groupmsg_send_result", asked)
        )
        assert [(one.external_userid, one.status) for one in results.results] == [("wm0001", 1)]
        now = sim.world.now()
        lines = ca.MassLines.of(
            await post(
                api,
                "externalcontact/get_groupmsg_list_v2",
                contact.mass_list("single", now - 60, now + 60),
            )
        )
        assert [(one.msgid, one.content) for one in lines.lines] == [(task.msgid, "大促")]
        assert lines.lines[0].created_at
        chat = await sim.control("chat_create", {"owner": "staff0001", "customers": ["wm0001"]})
        groups = contact.mass_to_groups("staff0001", "通知", chat_ids=[chat["chat_id"]])
        await post(api, "externalcontact/add_msg_template", groups)
        found = ca.Group.of(
            await post(api, "externalcontact/groupchat/get", contact.group(chat["chat_id"]))
        )
        assert found.owner == "staff0001"
        assert len(found.members) == 2
        listed = ca.GroupLines.of(
            await post(api, "externalcontact/groupchat/list", contact.groups(["staff0001"]))
        )
        assert [one.chat_id for one in listed.groups] == [chat["chat_id"]]
        code = (
            await sim.control("customer_adds", {"userid": "staff0001", "external_userid": "wmnew"})
        )["welcome_code"]
        welcome = contact.welcome(code, "欢迎", attachments)
        await post(api, "externalcontact/send_welcome_msg", welcome)
        several = ca.CustomersOf.of(
            await post(
                api,
                "externalcontact/batch/get_by_user",
                contact.customers_of(["staff0001", "staff0002"]),
            )
        )
        assert len(several.customers) == 4


async def test_callbacks() -> None:
    async with running() as (sim, _), listening(sim):
        who = {"userid": "staff0001", "external_userid": "wm0001"}
        await sim.control("member_writes", {"userid": "staff0001", "text": "你好 ]]>"})
        await sim.control("customer_adds", {**who, "state": "s"})
        await sim.control("customer_adds", {**who, "half": True})
        await sim.control("customer_edited", who)
        await sim.control("customer_deletes", who)
        await sim.control("member_deletes", who)
        chat = (await sim.control("chat_create", {"owner": "staff0001"}))["chat_id"]
        await sim.control("chat_join", {"chat_id": chat, "ids": ["wm0001", "wm0002"]})
        await sim.control("chat_dismiss", {"chat_id": chat})
        await sim.control("tag_add", {"tag_id": "et9", "name": "新"})
        await write(sim, text="a")
        await sim.control("kf_grant", {"add": [KF]})
        await sim.control("archive_message", {"sender": "staff0001", "to": ["wm0002"]})
        await sim.pusher.drained()
        read = [callbacks.parse(push.plain.encode()) for push in sim.pusher.pushes]
        assert [type(one) for one in read] == [
            inbound.TextMessage,
            customers.CustomerAdded,
            customers.CustomerHalfAdded,
            customers.CustomerEdited,
            customers.MemberDropped,
            customers.CustomerDeleted,
            customers.GroupCreated,
            customers.GroupUpdated,
            customers.GroupDismissed,
            customers.TagCreated,
            inbound.KfNotified,
            inbound.KfAccountsChanged,
            inbound.ArchiveNotified,
        ]
        message, added = read[0], read[1]
        assert isinstance(message, inbound.TextMessage)
        assert message.content == "你好 ]]>"
        assert isinstance(added, customers.CustomerAdded)
        assert added.welcome_code


@pytest.mark.parametrize(
    "msgtype", ["text", "image", "docmsg", "markdown", "external_redpacket", "link", "novelty"]
)
async def test_archived_messages(msgtype: str) -> None:
    async with running() as (sim, _):
        body = {"content": "x", "title": "t"}
        args = {"sender": "staff0001", "to": ["wm0001"], "msgtype": msgtype, "body": body}
        made = await sim.control("archive_message", args | {"control_chars": msgtype == "text"})
        item = sim.archive._items[-1]
        plain = unseal(sim.archive.private_keys[1], item.key, item.message)
        message = archive.read(plain)
        assert (message.msgid, message.msgtype) == (made["msgid"], msgtype)
        assert (message.sender, message.recipients) == ("staff0001", ("wm0001",))
        assert message.is_external
        assert message.content
