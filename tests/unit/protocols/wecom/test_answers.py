"""Answers, kf pages and archived messages: documented examples read into values, odd and unknown ones without harm."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from protocols.errors import Malformed
from protocols.wecom import answers, archive, kf_items
from protocols.wecom import archive_contents as c
from protocols.wecom import contact_answers as ca
from protocols.wecom.fields import load


def answer(**fields: Any) -> answers.Answer:
    return answers.read(json.dumps({"errcode": 0, "errmsg": "ok", **fields}).encode())


def test_errcode_and_errmsg() -> None:
    found = answers.read(b'{"errcode":40014,"errmsg":"invalid access_token, hint: [1]"}')
    assert (found.errcode, found.errmsg[:20]) == (40014, "invalid access_token")
    assert answers.read(b'{"errcode":"-1"}').errcode == -1
    assert answers.read(b'{"media":1}').errcode == 0


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"<html>",
        b'{"errcode":null}',
        b'{"errcode":true}',
        b'{"errcode":"x"}',
        b'{"errcode":1.5}',
        b"\xff",
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
)
def test_what_is_no_answer(body: bytes) -> None:
    with pytest.raises(Malformed):
        answers.read(body)


def test_partial_failure_comes_with_errcode_0_and_in_lower_case() -> None:
    sent = answers.Sending.of(
        answer(
            invaliduser="zhangsan|lisi",
            invalidparty="1",
            unlicenseduser="wangwu",
            msgid="m1",
            response_code="RC",
        )
    )
    assert sent.invalid_users == ("zhangsan", "lisi")
    assert (sent.invalid_parties, sent.invalid_tags, sent.unlicensed_users) == (
        ("1",),
        (),
        ("wangwu",),
    )
    assert (sent.msgid, sent.response_code) == ("m1", "RC")
    assert sent.refuses("ZhangSan")
    assert sent.refuses("WangWu")
    assert not sent.refuses("zhang")
    assert answers.Sending.of(answer(invaliduser=["a", "b"])).invalid_users == ("a", "b")
    assert answers.Sending.of(answer(invaliduser="")).invalid_users == ()
    assert answers.Sending.of(answer()).invalid_users == ()


def test_tokens_and_media() -> None:
    assert answers.Token.of(answer(access_token="T", expires_in=7200)) == answers.Token(
        access_token="T", expires_in=7200
    )
    media = answers.Media.of(answer(type="image", media_id="M", created_at="1380000000"))
    assert (media.media_id, media.created_at) == ("M", 1380000000)
    job = answers.UploadJob.of(answer(status=2, detail={"media_id": "M", "errcode": 0}))
    assert (job.status, job.media_id) == (2, "M")


def test_groups_and_kf() -> None:
    chat = answers.Chat.of(
        answer(chat_info={"chatid": "C", "name": "n", "owner": "a", "userlist": ["a", "b"]})
    )
    assert (chat.chat_id, chat.users) == ("C", ("a", "b"))
    assert answers.Chat.of(answer(chatid="C")).chat_id == "C"
    for name in ("servicer_userid", "service_userid"):
        assert answers.KfState.of(answer(service_state=3, **{name: "u"})).servicer == "u"
    found = answers.KfCustomers.of(
        answer(
            customer_list=[{"external_userid": "wm", "enter_session_context": {"scene": "s"}}],
            invalid_external_userid=["x"],
        )
    )
    assert (found.customers[0].scene, found.invalid) == ("s", ("x",))
    assert (
        answers.Servicers.of(answer(result_list=[{"userid": "u", "errcode": 95014}]))
        .servicers[0]
        .errcode
        == 95014
    )
    consent = answers.Consents.of(
        answer(agreeinfo=[{"exteranalopenid": "wm", "agree_status": "Agree"}])
    ).consents[0]
    assert (consent.external_userid, consent.status) == ("wm", "Agree")


def test_contacts() -> None:
    detail = ca.CustomerDetail.of(
        answer(
            external_contact={"external_userid": "wm", "name": "李四", "type": 1, "unionid": "un"},
            follow_user=[
                {
                    "userid": "u",
                    "tags": [{"tag_id": "et", "tag_name": "n"}],
                    "remark_mobiles": ["138"],
                    "add_way": 1,
                }
            ],
            next_cursor="c",
        )
    )
    assert (detail.external_userid, detail.name, detail.kind, detail.next_cursor) == (
        "wm",
        "李四",
        1,
        "c",
    )
    assert (detail.follows[0].tags[0].tag_id, detail.follows[0].remark_mobiles) == ("et", ("138",))
    page = ca.CustomersOf.of(
        answer(
            external_contact_list=[
                {
                    "external_contact": {"external_userid": "wm"},
                    "follow_info": {"userid": "u", "tag_id": ["a"]},
                }
            ],
            fail_info={"unlicensed_userid_list": ["x"]},
        )
    )
    assert (page.customers[0].external_userid, page.customers[0].userid, page.unlicensed) == (
        "wm",
        "u",
        ("x",),
    )
    group = ca.Group.of(
        answer(
            group_chat={
                "chat_id": "wr",
                "owner": "u",
                "member_list": [{"userid": "wm", "type": 2, "invitor": {"userid": "u"}}],
                "admin_list": [{"userid": "u"}],
                "member_version": "v",
            }
        )
    )
    assert (group.chat_id, group.members[0].kind, group.members[0].invited_by) == ("wr", 2, "u")
    assert (group.admins[0].userid, group.member_version) == ("u", "v")


def test_mass_messages_and_transfers() -> None:
    assert ca.MassTask.of(answer(msgid="m", fail_list=["wm"])).failed == ("wm",)
    results = ca.MassResults.of(
        answer(send_list=[{"external_userid": "wm", "status": 3}], next_cursor="c")
    )
    assert ca.RESULTS[results.results[0].status] == "already got another mass message"
    assert (
        ca.MassMembers.of(answer(task_list=[{"userid": "u", "status": 2, "send_time": 5}]))
        .members[0]
        .sent_at
        == 5
    )
    assert (
        ca.MassLines.of(answer(group_msg_list=[{"msgid": "m", "text": {"content": "a"}}]))
        .lines[0]
        .content
        == "a"
    )
    assert (
        ca.Transfers.of(answer(customer=[{"external_userid": "wm", "errcode": 40096}]))
        .customers[0]
        .errcode
        == 40096
    )
    assert ca.UnassignedPage.of(answer(info=[{"external_userid": "wm"}], is_last=True)).is_last
    assert (
        ca.GroupTransfers.of(answer(failed_chat_list=[{"chat_id": "wr", "errcode": 90500}]))
        .failed[0]
        .errcode
        == 90500
    )


# -- kf pages -----------------------------------------------------------------------------------------------------------

I = kf_items  # noqa: E741
KF = [
    ("text", {"content": "hi", "menu_id": "1"}, I.Text(content="hi", menu_id="1")),
    ("image", {"media_id": "M"}, I.Media(kind="image", media_id="M")),
    ("voice", {"media_id": "M"}, I.Media(kind="voice", media_id="M")),
    ("video", {"media_id": "M"}, I.Media(kind="video", media_id="M")),
    ("file", {"media_id": "M"}, I.Media(kind="file", media_id="M")),
    (
        "location",
        {"latitude": 23.1, "longitude": "113.3", "name": "n", "address": "a"},
        I.Location(latitude=23.1, longitude=113.3, name="n", address="a"),
    ),
    (
        "link",
        {"title": "t", "desc": "d", "url": "u", "pic_url": "p"},
        I.Link(title="t", desc="d", url="u", pic_url="p"),
    ),
    ("business_card", {"userid": "u"}, I.BusinessCard(userid="u")),
    (
        "miniprogram",
        {"title": "t", "appid": "wx", "pagepath": "p", "thumb_media_id": "M"},
        I.MiniProgram(title="t", app_id="wx", page_path="p", thumb_media_id="M"),
    ),
    (
        "msgmenu",
        {
            "head_content": "h",
            "list": [
                {"type": "click", "click": {"id": "1", "content": "a"}},
                {"type": "view", "view": {"url": "u", "content": "b"}},
            ],
        },
        I.Menu(
            head="h",
            items=(
                I.MenuItem(kind="click", id="1", content="a"),
                I.MenuItem(kind="view", url="u", content="b"),
            ),
        ),
    ),
    (
        "channels_shop_product",
        {"product_id": "p", "sales_price": "1.00"},
        I.ShopProduct(product_id="p", sales_price="1.00"),
    ),
    (
        "channels_shop_order",
        {"order_id": "o", "state": "paid"},
        I.ShopOrder(order_id="o", state="paid"),
    ),
    (
        "merged_msg",
        {
            "title": "t",
            "item": [
                {
                    "send_time": 1,
                    "msgtype": "text",
                    "sender_name": "n",
                    "msg_content": '{"text":{}}',
                }
            ],
        },
        I.Merged(
            title="t",
            items=(
                I.MergedItem(sent_at=1, msgtype="text", sender_name="n", content='{"text":{}}'),
            ),
        ),
    ),
    (
        "channels",
        {"sub_type": 1, "nickname": "n", "title": "t"},
        I.VideoChannel(sub_type=1, nickname="n", title="t"),
    ),
    (
        "meeting",
        {"topic": "t", "who": ["a", "b"]},
        I.Opaque(kind="meeting", fields=(("topic", "t"), ("who[0]", "a"), ("who[1]", "b"))),
    ),
]
KF_EVENTS = [
    (
        "enter_session",
        {
            "scene": "s",
            "scene_param": "p",
            "welcome_code": "WC",
            "wechat_channels": {"nickname": "n", "scene": 3},
        },
        I.EnterSession(
            scene="s", scene_param="p", welcome_code="WC", channel_nickname="n", channel_scene=3
        ),
    ),
    ("msg_send_fail", {"fail_msgid": "m", "fail_type": 4}, I.SendFailed(msgid="m", fail_type=4)),
    (
        "session_status_change",
        {"change_type": 2, "old_servicer_userid": "a", "new_servicer_userid": "b", "msg_code": "c"},
        I.SessionChanged(change_type=2, old_servicer="a", new_servicer="b", msg_code="c"),
    ),
    (
        "servicer_status_change",
        {"servicer_userid": "a", "status": 2, "stop_type": 1},
        I.ServicerChanged(servicer="a", status=2, stop_type=1),
    ),
    ("user_recall_msg", {"recall_msgid": "m"}, I.Recalled(msgid="m")),
    (
        "servicer_recall_msg",
        {"recall_msgid": "m", "servicer_userid": "a"},
        I.Recalled(msgid="m", servicer="a"),
    ),
    (
        "reject_customer_msg_switch_change",
        {"servicer_userid": "a", "reject_switch": 1},
        I.RefusalChanged(servicer="a", refuses=True),
    ),
    (
        "brand_new",
        {"x": 1},
        I.Opaque(
            kind="brand_new",
            fields=(
                ("event_type", "brand_new"),
                ("external_userid", "wm"),
                ("open_kfid", "wk"),
                ("x", "1"),
            ),
        ),
    ),
]


@pytest.mark.parametrize(("msgtype", "fields", "wanted"), KF, ids=[each[0] for each in KF])
def test_kf_messages(msgtype: str, fields: dict[str, Any], wanted: Any) -> None:
    found = kf_items.item(
        {
            "msgid": "1",
            "open_kfid": "wk",
            "external_userid": "wm",
            "send_time": 7,
            "origin": 3,
            "msgtype": msgtype,
            msgtype: fields,
        }
    )
    assert found.content == wanted
    assert (found.msgid, found.open_kfid, found.external_userid, found.sent_at, found.origin) == (
        "1",
        "wk",
        "wm",
        7,
        3,
    )


@pytest.mark.parametrize(
    ("name", "fields", "wanted"), KF_EVENTS, ids=[each[0] for each in KF_EVENTS]
)
def test_kf_events(name: str, fields: dict[str, Any], wanted: Any) -> None:
    event = {"event_type": name, "open_kfid": "wk", "external_userid": "wm", **fields}
    found = kf_items.item(
        {"msgid": "1", "send_time": 7, "origin": 4, "msgtype": "event", "event": event}
    )
    assert found.content == wanted
    assert (found.event_type, found.open_kfid, found.external_userid) == (name, "wk", "wm")


def test_kf_pages() -> None:
    page = load(kf_items.Page, {"next_cursor": "c", "has_more": 1, "msg_list": []})
    assert (page.next_cursor, page.has_more, page.items) == ("c", True, ())
    page = load(
        kf_items.Page,
        {"next_cursor": "c", "has_more": 0, "msg_list": [{"msgtype": "text"}, 7, None, "x"]},
    )
    assert not page.has_more
    assert [each.content for each in page.items] == [kf_items.Text()]
    assert load(kf_items.Page, {}) == kf_items.Page()


# -- archive ------------------------------------------------------------------------------------------------------------

MEDIA = {"sdkfileid": "F", "md5sum": "x"}
ARCHIVE = [
    ("text", "text", {"content": "hi"}, c.Text(content="hi")),
    (
        "image",
        "image",
        {**MEDIA, "filesize": 9},
        c.Media(kind="image", file_id="F", md5="x", size=9),
    ),
    (
        "voice",
        "voice",
        {**MEDIA, "voice_size": 9, "play_length": 3},
        c.Media(kind="voice", file_id="F", md5="x", size=9, play_s=3),
    ),
    (
        "video",
        "video",
        {**MEDIA, "filesize": 9, "play_length": 3},
        c.Media(kind="video", file_id="F", md5="x", size=9, play_s=3),
    ),
    (
        "file",
        "file",
        {**MEDIA, "filename": "a.txt", "fileext": "txt", "filesize": 9},
        c.Media(kind="file", file_id="F", md5="x", size=9, name="a.txt", extension="txt"),
    ),
    (
        "emotion",
        "emotion",
        {**MEDIA, "type": 1, "width": 2, "height": 3, "imagesize": 4},
        c.Emotion(form=1, width=2, height=3, size=4, file_id="F", md5="x"),
    ),
    ("revoke", "revoke", {"pre_msgid": "m0"}, c.Revoked(msgid="m0")),
    (
        "agree",
        "agree",
        {"userid": "wm", "agree_time": 5},
        c.Consent(kind="agree", userid="wm", at=5),
    ),
    (
        "disagree",
        "disagree",
        {"userid": "wm", "disagree_time": 5},
        c.Consent(kind="disagree", userid="wm", at=5),
    ),
    ("card", "card", {"corpname": "c", "userid": "u"}, c.Card(corp_name="c", userid="u")),
    (
        "location",
        "location",
        {"longitude": 113.3, "latitude": 23.1, "address": "a", "title": "t", "zoom": 15},
        c.Location(latitude=23.1, longitude=113.3, address="a", title="t", zoom=15),
    ),
    (
        "link",
        "link",
        {"title": "t", "description": "d", "link_url": "u", "image_url": "i"},
        c.Link(title="t", description="d", url="u", image_url="i"),
    ),
    (
        "weapp",
        "weapp",
        {"title": "t", "username": "u", "displayname": "n"},
        c.WeApp(title="t", username="u", display_name="n"),
    ),
    (
        "chatrecord",
        "chatrecord",
        {
            "title": "t",
            "item": [
                {
                    "type": "ChatRecordText",
                    "msgtime": 5,
                    "content": '{"content":"x"}',
                    "from_chatroom": False,
                }
            ],
        },
        c.ChatRecord(
            title="t",
            items=(
                c.RecordItem(
                    kind="ChatRecordText", content='{"content":"x"}', at=5, from_chatroom="0"
                ),
            ),
        ),
    ),
    (
        "mixed",
        "mixed",
        {
            "item": [
                {"type": "text", "content": '{"content":"hi"}'},
                {"type": "image", "content": '{"sdkfileid":"F"}'},
                {"type": "text", "content": "broken"},
                5,
            ]
        },
        c.Mixed(
            parts=(
                c.Part(msgtype="text", content=c.Text(content="hi")),
                c.Part(msgtype="image", content=c.Media(kind="image", file_id="F")),
                c.Part(msgtype="text", content=c.Opaque(fields=(("content", "broken"),))),
            )
        ),
    ),
    ("todo", "todo", {"title": "t", "content": "x"}, c.Todo(title="t", content="x")),
    (
        "vote",
        "vote",
        {"votetitle": "t", "voteitem": ["a", "b"], "votetype": 101},
        c.Vote(title="t", items=("a", "b"), vote_type=101),
    ),
    (
        "redpacket",
        "redpacket",
        {"type": 1, "wish": "w", "totalcnt": 2, "totalamount": 300},
        c.RedPacket(form=1, wish="w", count=2, amount=300),
    ),
    ("external_redpacket", "redpacket", {"type": 1, "totalcnt": 2}, c.RedPacket(form=1, count=2)),
    (
        "docmsg",
        "doc",
        {"title": "t", "link_url": "u", "doc_creator": "c"},
        c.Document(title="t", url="u", creator="c"),
    ),
    ("markdown", "info", {"content": "x"}, c.Markdown(content="x")),
    (
        "news",
        "info",
        {"item": [{"title": "t", "url": "u"}]},
        c.News(items=(c.NewsItem(title="t", url="u"),)),
    ),
    (
        "meeting",
        "meeting",
        {"topic": "t", "starttime": 1, "endtime": 2, "meetingtype": 101, "meetingid": "7"},
        c.Meeting(topic="t", starts_at=1, ends_at=2, meeting_type=101, meeting_id="7"),
    ),
    (
        "calendar",
        "calendar",
        {"title": "t", "creatorname": "c", "attendeename": ["a"], "starttime": 1},
        c.Calendar(title="t", creator="c", attendees=("a",), starts_at=1),
    ),
    (
        "collect",
        "collect",
        {"room_name": "r", "details": [{"id": 1, "ques": "q", "type": "Text"}]},
        c.Collect(room_name="r", details=(c.CollectDetail(id="1", question="q", kind="Text"),)),
    ),
    (
        "meeting_voice_call",
        "meeting_voice_call",
        {"endtime": 2, "sdkfileid": "F", "demofiledata": [{"filename": "a"}]},
        c.VoiceCall(ends_at=2, file_id="F", files=(c.CallFile(name="a"),)),
    ),
    (
        "voip_doc_share",
        "voip_doc_share",
        {"filename": "a", "md5sum": "x", "filesize": 9, "sdkfileid": "F"},
        c.DocShare(name="a", md5="x", size=9, file_id="F"),
    ),
    (
        "sphfeed",
        "sphfeed",
        {"feed_type": 4, "sph_name": "n", "feed_desc": "d"},
        c.ChannelFeed(feed_type=4, name="n", description="d"),
    ),
    (
        "voiptext",
        "info",
        {"callduration": 10, "invitetype": 1},
        c.CallSummary(duration_s=10, invite_type=1),
    ),
    ("qydiskfile", "info", {"filename": "a"}, c.DiskFile(name="a")),
    ("solitaire", "solitaire", {"who": {"name": "x"}}, c.Opaque(fields=(("who/name", "x"),))),
]


@pytest.mark.parametrize(
    ("msgtype", "name", "fields", "wanted"), ARCHIVE, ids=[each[0] for each in ARCHIVE]
)
def test_archived_messages(msgtype: str, name: str, fields: dict[str, Any], wanted: Any) -> None:
    tree = {
        "msgid": "m1_external",
        "action": "send",
        "from": "zhangsan",
        "tolist": ["wm1"],
        "roomid": "",
        "msgtime": 1790000000123,
        "msgtype": msgtype,
        name: fields,
    }
    found = archive.read(json.dumps(tree).encode())
    assert found.content == wanted
    assert (found.sender, found.recipients, found.at, found.is_external) == (
        "zhangsan",
        ("wm1",),
        1790000000123,
        True,
    )


def test_recall_switch_and_what_stands_beside_the_message() -> None:
    recall = archive.read(
        b'{"msgid":"m","action":"recall","from":"a","tolist":["b"],"roomid":"wr","msgtime":5,"msgtype":"revoke","revoke":{"pre_msgid":"m0"}}'
    )
    assert (recall.action, recall.room_id, recall.content) == (
        "recall",
        "wr",
        c.Revoked(msgid="m0"),
    )
    switch = archive.read(b'{"msgid":"m","action":"switch","time":1536508800000,"user":"zhangsan"}')
    assert (switch.user, switch.at, switch.content) == ("zhangsan", 1536508800000, c.Switched())
    call = archive.read(
        b'{"msgid":"m","action":"send","msgtype":"meeting_voice_call","voiceid":"V","meeting_voice_call":{}}'
    )
    assert (call.top_id, call.is_external) == ("V", False)


def test_control_characters_are_stripped_before_parsing() -> None:
    found = archive.read(
        b'{"msgid":"m","action":"send","msgtype":"text","text":{"content":"a\x01\x0b\x1fb"}}'
    )
    assert found.content == c.Text(content="ab")


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"msgid":""}', b"\xff", b'{"msgid":{}}'])
def test_what_is_no_archived_message(body: bytes) -> None:
    with pytest.raises(Malformed):
        archive.read(body)


def test_pages_of_encrypted_items() -> None:
    page = archive.Page.of(
        answer(
            chatdata=[
                {
                    "seq": 196,
                    "msgid": "m_external",
                    "publickey_ver": 3,
                    "encrypt_random_key": "a",
                    "encrypt_chat_msg": "b",
                }
            ]
        )
    )
    assert page.items == (
        archive.Encrypted(seq=196, msgid="m_external", key_version=3, random_key="a", chat_msg="b"),
    )


def test_media_in_chunks() -> None:
    full, rest = b"a" * 524_288, b"b" * 10
    assert archive.join([(full, "i", False), (rest, "", True)], 524_298) == full + rest
    for chunks, size in (
        ([(full, "i", False)], 0),
        ([], 0),
        ([(full + b"a", "", True)], 0),
        ([(rest, "", True), (rest, "", True)], 0),
        ([(rest, "", True)], 11),
    ):
        with pytest.raises(Malformed):
            archive.join(chunks, size)


def test_fuzz_20000() -> None:
    """Whatever stands in a field, a page is read and nothing but Malformed is raised."""
    rng = Random(3)
    odd: list[Any] = [
        None,
        True,
        -1,
        10**30,
        1.5,
        "",
        "x",
        "９",
        [],
        [[]],
        {},
        {"a": [{}]},
        [None, {"content": 1}],
        "1" * 5000,
    ]
    trees = [{"msgid": "1", "msgtype": kind, kind: dict(fields)} for kind, fields, _ in KF]
    trees += [
        {"msgid": "1", "msgtype": "event", "event": {"event_type": kind, **fields}}
        for kind, fields, _ in KF_EVENTS
    ]
    trees += [
        {"msgid": "1", "action": "send", "msgtype": kind, name: dict(fields)}
        for kind, name, fields, _ in ARCHIVE
    ]
    for _ in range(20_000):
        tree: dict[str, Any] = json.loads(json.dumps(rng.choice(trees)))
        place = tree
        while True:
            name = rng.choice(list(place))
            if isinstance(place[name], dict) and place[name] and rng.random() < 0.7:
                place = place[name]
                continue
            place[name] = rng.choice(odd)
            break
        assert load(kf_items.Page, {"msg_list": [tree]}).items
        try:
            archive.message(tree)
        except Malformed as error:
            assert "msgid" in str(error)
