"""Requests: the same values are the same bytes, every documented limit holds at its edge, and nothing is cut.

Long because the tables of limits are most of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest

from protocols.errors import Malformed
from protocols.wecom import app, archive, bodies, contact, kf, replies, robot, xmltext
from protocols.wecom.bodies import Article, PageArticle

HI = bodies.text("hi")

GOLDEN: list[tuple[bytes, str]] = [
    (
        app.message_send(1000002, bodies.text("您好"), ["u1", "u2"], ["1", "2"], ["3"]),
        '{"agentid":1000002,"msgtype":"text","text":{"content":"您好"},"toparty":"1|2","totag":"3","touser":"u1|u2"}',
    ),
    (
        app.message_send(
            1,
            bodies.markdown("**a**"),
            everyone=True,
            safe=1,
            translate_ids=True,
            duplicate_check_s=1800,
        ),
        '{"agentid":1,"duplicate_check_interval":1800,"enable_duplicate_check":1,"enable_id_trans":1,'
        '"markdown":{"content":"**a**"},"msgtype":"markdown","safe":1,"touser":"@all"}',
    ),
    (
        app.message_send(1, bodies.video("M", "t"), ["u"]),
        '{"agentid":1,"msgtype":"video","touser":"u","video":{"media_id":"M","title":"t"}}',
    ),
    (
        app.message_send(1, bodies.textcard("t", "d", "https://u", "看"), ["u"]),
        '{"agentid":1,"msgtype":"textcard","textcard":{"btntxt":"看","description":"d","title":"t","url":"https://u"},"touser":"u"}',
    ),
    (
        app.message_send(
            1, bodies.news([Article("t", url="https://u", pic_url="https://p")]), ["u"]
        ),
        '{"agentid":1,"msgtype":"news","news":{"articles":[{"picurl":"https://p","title":"t","url":"https://u"}]},"touser":"u"}',
    ),
    (
        app.message_send(
            1, bodies.mpnews([PageArticle("t", "M", "<p>", "a", "https://s", "d")]), ["u"], safe=2
        ),
        '{"agentid":1,"mpnews":{"articles":[{"author":"a","content":"<p>","content_source_url":"https://s","digest":"d",'
        '"thumb_media_id":"M","title":"t"}]},"msgtype":"mpnews","safe":2,"touser":"u"}',
    ),
    (
        app.message_send(
            1,
            bodies.miniprogram_notice(
                "wx1", "会议室预订", items=[("k", "v")], emphasise_first=True
            ),
            ["u"],
        ),
        '{"agentid":1,"miniprogram_notice":{"appid":"wx1","content_item":[{"key":"k","value":"v"}],"emphasis_first_item":true,'
        '"title":"会议室预订"},"msgtype":"miniprogram_notice","touser":"u"}',
    ),
    (
        app.message_send(
            1,
            bodies.template_card({"card_type": "text_notice", "main_title": {"title": "t"}}),
            ["u"],
        ),
        '{"agentid":1,"msgtype":"template_card","template_card":{"card_type":"text_notice","main_title":{"title":"t"}},"touser":"u"}',
    ),
    (app.recall("m1"), '{"msgid":"m1"}'),
    (
        app.update_card(1, "RC", button="已办", users=["u"]),
        '{"agentid":1,"button":{"replace_name":"已办"},"response_code":"RC","userids":["u"]}',
    ),
    (
        app.update_card(1, "RC", card={"card_type": "text_notice"}, everyone=True),
        '{"agentid":1,"atall":1,"response_code":"RC","template_card":{"card_type":"text_notice"}}',
    ),
    (
        app.appchat_create(["a", "b"], name="群", owner="a", chat_id="C1"),
        '{"chatid":"C1","name":"群","owner":"a","userlist":["a","b"]}',
    ),
    (
        app.appchat_update("C1", name="n", owner="b", add=["c"], remove=["a"]),
        '{"add_user_list":["c"],"chatid":"C1","del_user_list":["a"],"name":"n","owner":"b"}',
    ),
    (
        app.appchat_send("C1", HI, safe=1),
        '{"chatid":"C1","msgtype":"text","safe":1,"text":{"content":"hi"}}',
    ),
    (
        kf.send("wk", "wm", kf.text("hi"), "our_id-1"),
        '{"msgid":"our_id-1","msgtype":"text","open_kfid":"wk","text":{"content":"hi"},"touser":"wm"}',
    ),
    (
        kf.send("wk", "wm", kf.media("voice", "M")),
        '{"msgtype":"voice","open_kfid":"wk","touser":"wm","voice":{"media_id":"M"}}',
    ),
    (
        kf.send("wk", "wm", kf.link("t", "https://u", "M", "d")),
        '{"link":{"desc":"d","thumb_media_id":"M","title":"t","url":"https://u"},"msgtype":"link","open_kfid":"wk","touser":"wm"}',
    ),
    (
        kf.send("wk", "wm", kf.location(23.1, 113.3, "n", "a")),
        '{"location":{"address":"a","latitude":23.1,"longitude":113.3,"name":"n"},"msgtype":"location","open_kfid":"wk","touser":"wm"}',
    ),
    (
        kf.send("wk", "wm", kf.miniprogram("wx", "M", "p", "t")),
        '{"miniprogram":{"appid":"wx","pagepath":"p","thumb_media_id":"M","title":"t"},"msgtype":"miniprogram","open_kfid":"wk",'
        '"touser":"wm"}',
    ),
    (
        kf.send("wk", "wm", kf.business_card("u")),
        '{"business_card":{"userid":"u"},"msgtype":"business_card","open_kfid":"wk","touser":"wm"}',
    ),
    (
        kf.send("wk", "wm", kf.ca_link("https://c")),
        '{"ca_link":{"link_url":"https://c"},"msgtype":"ca_link","open_kfid":"wk","touser":"wm"}',
    ),
    (
        kf.send_on_event(
            "welcome",
            "WC",
            kf.msgmenu(
                [
                    kf.Click("1", "a"),
                    kf.View("https://u", "b"),
                    kf.MiniProgramItem("wx", "p", "c"),
                    kf.Words("d", True),
                ],
                "h",
                "t",
            ),
        ),
        '{"code":"WC","msgmenu":{"head_content":"h","list":[{"click":{"content":"a","id":"1"},"type":"click"},'
        '{"type":"view","view":{"content":"b","url":"https://u"}},'
        '{"miniprogram":{"appid":"wx","content":"c","pagepath":"p"},"type":"miniprogram"},'
        '{"text":{"content":"d","no_newline":1},"type":"text"}],"tail_content":"t"},"msgtype":"msgmenu"}',
    ),
    (
        kf.sync("wk", "cur", "tok", 100, silk=True),
        '{"cursor":"cur","limit":100,"open_kfid":"wk","token":"tok","voice_format":1}',
    ),
    (kf.state_get("wk", "wm"), '{"external_userid":"wm","open_kfid":"wk"}'),
    (
        kf.state_trans("wk", "wm", 3, "u"),
        '{"external_userid":"wm","open_kfid":"wk","service_state":3,"servicer_userid":"u"}',
    ),
    (kf.customers(["wm"], True), '{"external_userid_list":["wm"],"need_enter_session_context":1}'),
    (kf.account_add("厅店", "M"), '{"media_id":"M","name":"厅店"}'),
    (kf.account_update("wk", "新"), '{"name":"新","open_kfid":"wk"}'),
    (kf.account_del("wk"), '{"open_kfid":"wk"}'),
    (kf.account_list(), '{"limit":100,"offset":0}'),
    (kf.add_contact_way("wk", "s1"), '{"open_kfid":"wk","scene":"s1"}'),
    (
        kf.servicers("wk", ["u"], [2]),
        '{"department_id_list":[2],"open_kfid":"wk","userid_list":["u"]}',
    ),
    (
        contact.mass_to_customers(
            ["wm1"],
            "您好",
            [
                contact.image("M"),
                contact.link("t", "https://u"),
                contact.miniprogram("t", "M", "wx", "p"),
                contact.video("M"),
                contact.file("M"),
            ],
            sender="zs",
            tags=[["et1"]],
            allow_select=True,
        ),
        '{"allow_select":true,"attachments":[{"image":{"media_id":"M"},"msgtype":"image"},'
        '{"link":{"title":"t","url":"https://u"},"msgtype":"link"},'
        '{"miniprogram":{"appid":"wx","page":"p","pic_media_id":"M","title":"t"},"msgtype":"miniprogram"},'
        '{"msgtype":"video","video":{"media_id":"M"}},{"file":{"media_id":"M"},"msgtype":"file"}],'
        '"chat_type":"single","external_userid":["wm1"],"sender":"zs","tag_filter":{"group_list":[{"tag_list":["et1"]}]},'
        '"text":{"content":"您好"}}',
    ),
    (
        contact.mass_to_groups("zs", "hi", chat_ids=["wr1"]),
        '{"chat_id_list":["wr1"],"chat_type":"group","sender":"zs","text":{"content":"hi"}}',
    ),
    (
        contact.mass_list("single", 1, 2, creator="zs"),
        '{"chat_type":"single","creator":"zs","end_time":2,"filter_type":2,"limit":50,"start_time":1}',
    ),
    (contact.mass_task("m"), '{"limit":500,"msgid":"m"}'),
    (
        contact.mass_result("m", "u", cursor="c"),
        '{"cursor":"c","limit":500,"msgid":"m","userid":"u"}',
    ),
    (contact.mass_id("m"), '{"msgid":"m"}'),
    (contact.welcome("WC", "hi"), '{"text":{"content":"hi"},"welcome_code":"WC"}'),
    (contact.customers_of(["u"]), '{"limit":50,"userid_list":["u"]}'),
    (
        contact.groups(["u"]),
        '{"limit":1000,"owner_filter":{"userid_list":["u"]},"status_filter":0}',
    ),
    (contact.group("wr1"), '{"chat_id":"wr1","need_name":1}'),
    (contact.unionid("un", "op"), '{"openid":"op","unionid":"un"}'),
    (contact.idconvert("un", "op", True), '{"openid":"op","subject_type":1,"unionid":"un"}'),
    (
        contact.remark("zs", "wm", remark="王总", description="", company="某司", mobiles=["138"]),
        '{"description":"","external_userid":"wm","remark":"王总","remark_company":"某司","remark_mobiles":["138"],"userid":"zs"}',
    ),
    (
        contact.remark("zs", "wm", mobiles=[]),
        '{"external_userid":"wm","remark_mobiles":[""],"userid":"zs"}',
    ),
    (
        contact.mark_tag("zs", "wm", ["et1"], ["et2"]),
        '{"add_tag":["et1"],"external_userid":"wm","remove_tag":["et2"],"userid":"zs"}',
    ),
    (
        contact.mark_tag("zs", "wm", remove=["et2"]),
        '{"external_userid":"wm","remove_tag":["et2"],"userid":"zs"}',
    ),
    (
        contact.transfer("a", "b", ["wm"], "m"),
        '{"external_userid":["wm"],"handover_userid":"a","takeover_userid":"b","transfer_success_msg":"m"}',
    ),
    (contact.transfer_result("a", "b"), '{"handover_userid":"a","takeover_userid":"b"}'),
    (contact.unassigned(), '{"page_size":1000}'),
    (contact.transfer_groups(["wr1"], "b"), '{"chat_id_list":["wr1"],"new_owner":"b"}'),
    (
        robot.text("hi", ["@all"], ["13800000000"]),
        '{"msgtype":"text","text":{"content":"hi","mentioned_list":["@all"],"mentioned_mobile_list":["13800000000"]}}',
    ),
    (robot.markdown("a"), '{"markdown":{"content":"a"},"msgtype":"markdown"}'),
    (robot.markdown_v2("|a|"), '{"markdown_v2":{"content":"|a|"},"msgtype":"markdown_v2"}'),
    (
        robot.news([Article("t", url="https://u")]),
        '{"msgtype":"news","news":{"articles":[{"title":"t","url":"https://u"}]}}',
    ),
    (robot.file("M"), '{"file":{"media_id":"M"},"msgtype":"file"}'),
    (robot.voice("M"), '{"msgtype":"voice","voice":{"media_id":"M"}}'),
    (
        robot.card({"card_type": "news_notice"}),
        '{"msgtype":"template_card","template_card":{"card_type":"news_notice"}}',
    ),
    (
        archive.check_single_agree([("u", "wm")]),
        '{"info":[{"exteranalopenid":"wm","userid":"u"}]}',
    ),
]


@pytest.mark.parametrize(
    ("made", "wanted"), GOLDEN, ids=lambda value: value[:40] if isinstance(value, str) else ""
)
def test_bytes(made: bytes, wanted: str) -> None:
    assert made.decode() == wanted
    assert json.loads(made) == json.loads(wanted)


def test_a_robot_picture_carries_the_md5_of_the_raw_file() -> None:
    made = json.loads(robot.image(b"\x89PNG"))
    assert made["image"] == {"base64": "iVBORw==", "md5": hashlib.md5(b"\x89PNG").hexdigest()}


BIG = "a" * 100_000
U = ["u"]
REFUSED: list[tuple[str, Callable[[], Any]]] = [
    ("app.text.content: 100000 octets, at most 2048", lambda: bodies.text(BIG)),
    ("app.text.content: 2049 octets", lambda: bodies.text("您" * 683)),
    ("app.text.content: 0 octets, at least 1", lambda: bodies.text("")),
    ("app.markdown.content", lambda: bodies.markdown(BIG)),
    ("app.video.title: 129 octets, at most 128", lambda: bodies.video("M", "您" * 43)),
    ("app.video.description", lambda: bodies.video("M", "", BIG)),
    ("video.media_id: missing", lambda: bodies.video("")),
    ("image.media_id", lambda: bodies.image("")),
    ("voice.media_id", lambda: bodies.voice("")),
    ("file.media_id", lambda: bodies.file("")),
    ("app.textcard.title", lambda: bodies.textcard("", "d", "u")),
    ("app.textcard.description", lambda: bodies.textcard("t", "d" * 513, "u")),
    ("app.textcard.url", lambda: bodies.textcard("t", "d", "u" * 2049)),
    ("app.textcard.btntxt: 5 characters, at most 4", lambda: bodies.textcard("t", "d", "u", "看看看看看")),
    ("app.news.articles: 0 items, at least 1", lambda: bodies.news([])),
    ("app.news.articles: 9 items, at most 8", lambda: bodies.news([Article("t", url="u")] * 9)),
    ("app.news.title", lambda: bodies.news([Article("t" * 129, url="u")])),
    ("app.news.description", lambda: bodies.news([Article("t", "d" * 513, "u")])),
    ("app.news.url: missing", lambda: bodies.news([Article("t")])),
    ("app.mpnews.content", lambda: bodies.mpnews([PageArticle("t", "M", "a" * 681_985)])),
    ("app.mpnews.author", lambda: bodies.mpnews([PageArticle("t", "M", "a", "a" * 65)])),
    ("app.mpnews.thumb_media_id", lambda: bodies.mpnews([PageArticle("t", "", "a")])),
    ("app.miniprogram_notice.title: 3 characters, at least 4", lambda: bodies.miniprogram_notice("wx", "三个字")),
    ("content_item: 11 items", lambda: bodies.miniprogram_notice("wx", "会议室预订", items=[("k", "v")] * 11)),
    ("notice.value: 31", lambda: bodies.miniprogram_notice("wx", "会议室预订", items=[("k", "v" * 31)])),
    ("template_card.card_type", lambda: bodies.template_card({})),
    ("template_card.task_id", lambda: bodies.template_card({"card_type": "vote_interaction"})),
    ("app.card.jump_list: 4 items", lambda: bodies.template_card({"card_type": "text_notice", "jump_list": [{}] * 4})),
    ("template_card.jump_list: a list", lambda: bodies.template_card({"card_type": "text_notice", "jump_list": {}})),
    ("at least one recipient", lambda: app.message_send(1, HI)),
    ("app.touser: 1001 items, at most 1000", lambda: app.message_send(1, HI, ["u"] * 1001)),
    ("app.toparty: 101 items", lambda: app.message_send(1, HI, U, ["1"] * 101)),
    ("app.totag: 101 items", lambda: app.message_send(1, HI, U, (), ["1"] * 101)),
    ("toparty: 'a' is no number", lambda: app.message_send(1, HI, U, ["a"])),
    ("no userid", lambda: app.message_send(1, HI, ["a|b"])),
    ("no userid", lambda: app.message_send(1, HI, ["@all|"])),
    ("@all makes WeCom ignore", lambda: app.message_send(1, HI, U, everyone=True)),
    ("safe", lambda: app.message_send(1, HI, U, safe=2)),
    ("14401 seconds, at most 14400", lambda: app.message_send(1, HI, U, duplicate_check_s=14_401)),
    ("is not for apps", lambda: app.message_send(1, kf.business_card("u"), U)),
    ("either button or", lambda: app.update_card(1, "RC", users=U)),
    ("response_code: missing", lambda: app.update_card(1, "", button="b", users=U)),
    ("userids: 1001", lambda: app.update_card(1, "RC", button="b", users=U * 1001)),
    ("appchat.userlist: 1 items, at least 2", lambda: app.appchat_create(["a"])),
    ("appchat.userlist: 2001 items", lambda: app.appchat_create([str(n) for n in range(2001)])),
    ("a member twice", lambda: app.appchat_create(["a", "a"])),
    ("appchat.name: 51 characters", lambda: app.appchat_create(["a", "b"], name="群" * 51)),
    ("not in the userlist", lambda: app.appchat_create(["a", "b"], owner="c")),
    ("appchat.chatid", lambda: app.appchat_create(["a", "b"], chat_id="x-y")),
    ("appchat.chatid", lambda: app.appchat_create(["a", "b"], chat_id="x" * 33)),
    ("nothing to change", lambda: app.appchat_update("C1")),
    ("being removed", lambda: app.appchat_update("C1", owner="a", remove=["a"])),
    ("is not for groups", lambda: app.appchat_send("C1", bodies.template_card({"card_type": "text_notice"}))),
    ("kf.text.content", lambda: kf.text("您" * 683)),
    ("kf.link.title", lambda: kf.link("您" * 43, "u", "M")),
    ("kf.link.thumb_media_id", lambda: kf.link("t", "u", "")),
    ("kf.miniprogram.title: 66 octets, at most 64", lambda: kf.miniprogram("wx", "M", "p", "您" * 22)),
    ("kf.msgmenu.list: 11 items", lambda: kf.msgmenu([kf.Words("a")] * 11)),
    ("kf.msgmenu.head_content: 1025", lambda: kf.msgmenu([], "a" * 1025)),
    ("kf.msgmenu.click.id: 65", lambda: kf.msgmenu([kf.Click("a" * 65, "b")])),
    ("kf.msgmenu.click.content: 129", lambda: kf.msgmenu([kf.Click("a", "b" * 129)])),
    ("kf.msgmenu: empty", lambda: kf.msgmenu([])),
    ("has no media_id", lambda: kf.media("text", "M")),
    ("latitude", lambda: kf.location(91, 0)),
    ("latitude", lambda: kf.location(float("nan"), 0)),
    ("kf.msgid", lambda: kf.send("wk", "wm", kf.text("a"), "x" * 33)),
    ("kf.msgid", lambda: kf.send("wk", "wm", kf.text("a"), "a.b")),
    ("is not for kf", lambda: kf.send("wk", "wm", bodies.markdown("a"))),
    ("may not be sent when queued", lambda: kf.send_on_event("queued", "c", kf.msgmenu([], "h"))),
    ("may not be sent when welcome", lambda: kf.send_on_event("welcome", "c", kf.media("image", "M"))),
    ("kf occasion", lambda: kf.send_on_event("never", "c", kf.text("a"))),
    ("kf.cursor: 65", lambda: kf.sync("wk", "c" * 65)),
    ("kf.token: 129", lambda: kf.sync("wk", "", "t" * 129)),
    ("kf.limit: 1001", lambda: kf.sync("wk", limit=1001)),
    ("state 3 needs", lambda: kf.state_trans("wk", "wm", 3)),
    ("0 to 4", lambda: kf.state_trans("wk", "wm", 5)),
    ("kf.customer.batchget: 101", lambda: kf.customers(["wm"] * 101)),
    ("kf.account.name: 17 characters", lambda: kf.account_add("厅" * 17, "M")),
    ("userids or departments", lambda: kf.servicers("wk", [])),
    ("mass: text or attachments", lambda: contact.mass_to_customers(["wm"])),
    ("mass.text.content: 4002 octets, at most 4000", lambda: contact.mass_to_customers(["wm"], "您" * 1334)),
    ("mass.attachments: 10 items", lambda: contact.welcome("c", "a", [contact.image("M")] * 10)),
    ("mass.external_userid: 10001 items", lambda: contact.mass_to_customers(["wm"] * 10_001, "a")),
    ("one of them", lambda: contact.mass_to_customers([], "a")),
    ("mass.sender: missing", lambda: contact.mass_to_groups("", "a")),
    ("mass.chat_id_list: 2001", lambda: contact.mass_to_groups("zs", "a", chat_ids=["wr"] * 2001)),
    ("mass.list.span", lambda: contact.mass_list("single", 0, 32 * 86_400)),
    ("mass.list.span", lambda: contact.mass_list("single", 10, 0)),
    ("mass.link.desc", lambda: contact.link("t", "u", "d" * 513)),
    ("media_id or pic_url", contact.image),
    ("welcome_code: missing", lambda: contact.welcome("", "a")),
    ("userid_list: 101", lambda: contact.customers_of(["u"] * 101)),
    ("contact.remark: 21 characters", lambda: contact.remark("zs", "wm", remark="王" * 21)),
    ("contact.remark.description: 151", lambda: contact.remark("zs", "wm", description="王" * 151)),
    ("contact.remark.company: 21", lambda: contact.remark("zs", "wm", company="王" * 21)),
    ("contact.remark: nothing", lambda: contact.remark("zs", "wm")),
    ("userid: missing", lambda: contact.remark("", "wm", remark="a")),
    ("external_userid: missing", lambda: contact.mark_tag("zs", "", ["et1"])),
    ("mark_tag: add_tag or remove_tag", lambda: contact.mark_tag("zs", "wm")),
    ("transfer.external_userid: 101", lambda: contact.transfer("a", "b", ["wm"] * 101)),
    ("transfer.success_msg: 201 characters", lambda: contact.transfer("a", "b", ["wm"], "您" * 201)),
    ("the same", lambda: contact.transfer("a", "a", ["wm"])),
    ("transfer.chat_id_list: 101", lambda: contact.transfer_groups(["wr"] * 101, "b")),
    ("robot.text.content", lambda: robot.text("您" * 683)),
    ("robot.markdown.content: 4097", lambda: robot.markdown("a" * 4097)),
    ("no <@userid>", lambda: robot.markdown_v2("<@u>")),
    ("no <@userid>", lambda: robot.markdown_v2('<font color="info">a</font>')),
    ("robot.image", lambda: robot.image(b"a" * (2 * 1024 * 1024 + 1))),
    ("robot.news.articles: 9", lambda: robot.news([Article("t", url="u")] * 9)),
    ("card_type", lambda: robot.card({"card_type": "vote_interaction", "task_id": "t"})),
    ("archive.consent: 101", lambda: archive.check_single_agree([("u", "wm")] * 101)),
    ("UnicodeEncodeError", lambda: app.recall("\ud800")),
    ("not valid Unicode", lambda: bodies.text("\ud800")),
    ("ValueError", lambda: app.message_send(1, bodies.template_card({"card_type": "text_notice", "x": float("nan")}), U)),
]  # fmt: skip


@pytest.mark.parametrize(("words", "make"), REFUSED, ids=[words for words, _ in REFUSED])
def test_refused_naming_field_and_limit(words: str, make: Callable[[], Any]) -> None:
    with pytest.raises(Malformed) as caught:
        make()
    assert words in str(caught.value)
    assert len(str(caught.value)) < 200


def test_largest_texts_go_out_whole() -> None:
    text = "您" * 682 + "ab"
    assert json.loads(app.message_send(1, bodies.text(text), U))["text"]["content"] == text
    longest = "您" * 1333 + "a"
    assert json.loads(contact.mass_to_customers(["wm"], longest))["text"]["content"] == longest


def test_the_same_values_are_the_same_bytes_whatever_their_order() -> None:
    one = {"card_type": "text_notice", "main_title": {"title": "t", "desc": "d"}}
    other = {"main_title": {"desc": "d", "title": "t"}, "card_type": "text_notice"}
    made = {app.message_send(1, bodies.template_card(card), U) for card in (one, other)}
    assert len(made) == 1


def test_kf_states() -> None:
    assert {state for state, to in kf.TRANSITIONS.items() if not to} == {4}
    assert {0, 1} == kf.MAY_SEND
    assert 0 not in set().union(*kf.TRANSITIONS.values())


REPLIES = [
    (replies.text("u", "ww", 1, "a]]>b"), {"MsgType": "text", "Content": "a]]>b"}),
    (replies.image("u", "ww", 1, "M"), {"MsgType": "image", "Image": {"MediaId": "M"}}),
    (replies.voice("u", "ww", 1, "M"), {"MsgType": "voice", "Voice": {"MediaId": "M"}}),
    (
        replies.video("u", "ww", 1, "M", "t", "d"),
        {"MsgType": "video", "Video": {"MediaId": "M", "Title": "t", "Description": "d"}},
    ),
    (
        replies.news("u", "ww", 1, [replies.Article("t1"), replies.Article("t2", url="https://u")]),
        {
            "MsgType": "news",
            "ArticleCount": "2",
            "Articles": {
                "item": [
                    {"Title": "t1", "Description": "", "PicUrl": "", "Url": ""},
                    {"Title": "t2", "Description": "", "PicUrl": "", "Url": "https://u"},
                ]
            },
        },
    ),
    (
        replies.update_button("u", "ww", 1, "已办"),
        {"MsgType": "update_button", "Button": {"ReplaceName": "已办"}},
    ),
    (
        replies.update_template_card("u", "ww", 1, {"CardType": "text_notice"}),
        {"MsgType": "update_template_card", "TemplateCard": {"CardType": "text_notice"}},
    ),
]


@pytest.mark.parametrize(
    ("made", "wanted"),
    REPLIES,
    ids=lambda value: value["MsgType"] if isinstance(value, dict) else "",
)
def test_passive_replies(made: bytes, wanted: dict[str, Any]) -> None:
    head = {"ToUserName": "u", "FromUserName": "ww", "CreateTime": "1"}
    assert xmltext.parse(made) == {**head, **wanted}


def test_passive_replies_keep_their_limits() -> None:
    with pytest.raises(Malformed):
        replies.text("u", "ww", 1, "您" * 683)
    with pytest.raises(Malformed):
        replies.news("u", "ww", 1, [replies.Article("t")] * 9)


def test_a_bad_element_name_is_refused() -> None:
    for name in ("", "a b", "a><b", "1a"):
        with pytest.raises(Malformed):
            xmltext.write({name: "x"})
