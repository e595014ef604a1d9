"""Every msgtype of the archive as a payload, and who said it to whom, from decrypted messages written by hand after the documents."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.wecom.archive.media import File, Lost
from adapters.wecom.archive.messages import files_of, payload_of, sound_payload
from adapters.wecom.archive.people import People
from adapters.wecom.conversation import customer_address, order_key, room_address
from protocols import wire
from protocols.address import Address
from protocols.envelope import Envelope
from protocols.errors import Malformed
from protocols.payload import (
    Happening,
    Link,
    Markdown,
    Media,
    MiniProgram,
    Native,
    Payload,
    Text,
)
from protocols.wecom.archive import Message, read
from tests.unit.adapters.wecom.archive.parts import archived, told

MD5 = "5d41402abc4b2a76b9719d911017c592"


def message(msgtype: str, body: dict[str, Any], **fields: Any) -> Message:
    tree = {
        "msgid": "16813_external",
        "action": "send",
        "from": "wmAAA",
        "tolist": ["zhangsan"],
        "roomid": "",
        "msgtime": 1_700_000_000_123,
        "msgtype": msgtype,
    }
    return read(json.dumps(tree | body | fields).encode())


def homes(found: Message) -> dict[str, str]:
    return {file.file_id: f"med_{number}" for number, file in enumerate(files_of(found), 1)}


#: (msgtype, what stands in the message, payload, files)
TABLE: list[tuple[str, dict[str, Any], Payload, list[File]]] = [
    ("text", {"text": {"content": "@李四 您好"}}, Text("@李四 您好"), []),
    (
        "image",
        {"image": {"sdkfileid": "F1", "md5sum": MD5, "filesize": 70961}},
        Media("image", "med_1"),
        [File("image", "F1", "image.jpg", 70961, MD5)],
    ),
    (
        "voice",
        {"voice": {"sdkfileid": "F2", "voice_size": 10810, "play_length": 10, "md5sum": MD5}},
        Media("voice", "med_1"),
        [File("voice", "F2", "voice.amr", 10810, MD5)],
    ),
    (
        "video",
        {"video": {"sdkfileid": "F3", "filesize": 15169724, "play_length": 108, "md5sum": ""}},
        Media("video", "med_1"),
        [File("video", "F3", "video.mp4", 15169724, "")],
    ),
    (
        "file",
        {"file": {"sdkfileid": "F4", "filename": "资费.docx", "fileext": "docx", "filesize": 9, "md5sum": MD5}},
        Media("file", "med_1", "资费.docx"),
        [File("file", "F4", "资费.docx", 9, MD5)],
    ),
    (
        "emotion",
        {"emotion": {"type": 1, "sdkfileid": "F5", "md5sum": MD5, "imagesize": 1004, "width": 9, "height": 9}},
        Media("image", "med_1"),
        [File("image", "F5", "", 1004, MD5)],
    ),
    ("agree", {"agree": {"userid": "wmAAA", "agree_time": 1_700_000_000_000}},
     Happening("wecom_archive_agree", '{"at": 1700000000000, "userid": "wmAAA"}'), []),
    ("disagree", {"disagree": {"userid": "wmAAA", "disagree_time": 5}},
     Happening("wecom_archive_disagree", '{"at": 5, "userid": "wmAAA"}'), []),
    ("revoke", {"action": "recall", "revoke": {"pre_msgid": "9_external"}},
     Happening("wecom_archive_recall", '{"pre_msgid": "9_external"}'), []),
    ("card", {"card": {"corpname": "移动公司", "userid": "lisi"}}, Native("business_card", '{"corp_name": "移动公司", "user_id": "lisi"}'), []),
    (
        "location",
        {"location": {"longitude": 116.586, "latitude": 40.07, "address": "机场", "title": "T3", "zoom": 15}},
        Native("location", '{"address": "机场", "latitude": 40.07, "longitude": 116.586, "title": "T3", "zoom": 15}'),
        [],
    ),
    (
        "link",
        {"link": {"title": "宽带", "description": "千兆", "link_url": "https://a.example", "image_url": "https://b.example"}},
        Link("宽带", "https://a.example", "千兆", "https://b.example"),
        [],
    ),
    (
        "weapp",
        {"weapp": {"title": "办理", "description": "掌厅", "username": "gh_1@app", "displayname": "掌上营业厅"}},
        MiniProgram("gh_1@app", "", "办理"),
        [],
    ),
    (
        "chatrecord",
        {"chatrecord": {"title": "群聊", "item": [
            {"type": "ChatRecordText", "msgtime": 7, "content": '{"content":"甲"}', "from_chatroom": False},
            {"type": "ChatRecordImage", "msgtime": 8, "content": '{"sdkfileid":"F6","filesize":3}', "from_chatroom": False},
        ]}},
        Native("chatrecord", '{"media_files": [{"file_id": "F6", "media": "med_1"}], "items": ['
               '{"at": 7, "content": "{\\"content\\":\\"甲\\"}", "from_chatroom": "0", "kind": "ChatRecordText"}, '
               '{"at": 8, "content": "{\\"sdkfileid\\":\\"F6\\",\\"filesize\\":3}", "from_chatroom": "0", '
               '"kind": "ChatRecordImage"}], "title": "群聊"}'),
        [File("image", "F6", "", 3, "")],
    ),
    (
        "mixed",
        {"mixed": {"item": [
            {"type": "text", "content": '{"content":"看图"}'},
            {"type": "image", "content": '{"md5sum":"","filesize":4,"sdkfileid":"F7"}'},
            {"type": "sticker", "content": '{"sdkfileid":"F8"}'},
        ]}},
        Native("mixed", '{"media_files": [{"file_id": "F7", "media": "med_1"}, {"file_id": "F8", "media": "med_2"}], "parts": ['
               '{"content": {"content": "看图"}, "msgtype": "text"}, '
               '{"content": {"extension": "", "file_id": "F7", "kind": "image", "md5": "", "name": "", "play_s": 0, '
               '"size": 4}, "msgtype": "image"}, '
               '{"content": {"content": "{\\"sdkfileid\\":\\"F8\\"}"}, "msgtype": "sticker"}]}'),
        [File("image", "F7", "image.jpg", 4, ""), File("file", "F8")],
    ),
    ("todo", {"todo": {"title": "待办", "content": "回访"}},
     Native("todo", '{"content": "回访", "title": "待办"}'), []),
    ("vote", {"vote": {"votetitle": "投票", "voteitem": ["甲", "乙"], "votetype": 101}, "voteid": "v1"},
     Native("vote", '{"items": ["甲", "乙"], "title": "投票", "top_id": "v1", "vote_type": 101}'), []),
    ("redpacket", {"redpacket": {"type": 1, "wish": "恭喜", "totalcnt": 2, "totalamount": 20}},
     Native("redpacket", '{"amount": 20, "count": 2, "form": 1, "wish": "恭喜"}'), []),
    ("external_redpacket", {"redpacket": {"type": 2, "wish": "", "totalcnt": 1, "totalamount": 1}},
     Native("external_redpacket", '{"amount": 1, "count": 1, "form": 2, "wish": ""}'), []),
    ("docmsg", {"doc": {"title": "表", "link_url": "https://d.example", "doc_creator": "zhangsan"}},
     Native("docmsg", '{"creator": "zhangsan", "title": "表", "url": "https://d.example"}'), []),
    ("markdown", {"info": {"content": "**好**"}}, Markdown("**好**"), []),
    ("news", {"info": {"item": [{"title": "t", "description": "d", "url": "u", "picurl": "p"}]}},
     Native("news", '{"items": [{"description": "d", "pic_url": "p", "title": "t", "url": "u"}]}'), []),
    ("meeting", {"meeting": {"topic": "会", "starttime": 1, "endtime": 2, "address": "a", "remarks": "r",
                             "meetingtype": 102, "meetingid": 3, "status": 1}},
     Native("meeting", '{"address": "a", "ends_at": 2, "meeting_id": "3", "meeting_type": 102, "remarks": "r", '
            '"starts_at": 1, "status": 1, "topic": "会"}'), []),
    ("calendar", {"calendar": {"title": "日程", "creatorname": "c", "attendeename": ["x"], "starttime": 1, "endtime": 2,
                               "place": "p", "remarks": ""}},
     Native("calendar", '{"attendees": ["x"], "creator": "c", "ends_at": 2, "place": "p", "remarks": "", "starts_at": 1, '
            '"title": "日程"}'), []),
    ("collect", {"collect": {"room_name": "群", "creator": "c", "create_time": "2020", "title": "t",
                             "details": [{"id": 1, "ques": "q", "type": "Text"}]}},
     Native("collect", '{"created_at": "2020", "creator": "c", "details": [{"id": "1", "kind": "Text", "question": "q"}], '
            '"room_name": "群", "title": "t"}'), []),
    ("meeting_voice_call",
     {"voiceid": "w1", "meeting_voice_call": {"endtime": 9, "sdkfileid": "F9", "demofiledata": [
         {"filename": "n", "demooperator": "o", "starttime": 1, "endtime": 2}], "sharescreendata": []}},
     Native("meeting_voice_call", '{"ends_at": 9, "file_id": "F9", "media_files": [{"file_id": "F9", "media": "med_1"}], '
            '"screens": [], "files": [{"ends_at": 2, "name": "n", "operator": "o", "starts_at": 1}], "top_id": "w1"}'),
     [File("voice", "F9")]),
    ("voip_doc_share", {"voipid": "w2", "voip_doc_share": {"filename": "a.pdf", "md5sum": MD5, "filesize": 5,
                                                          "sdkfileid": "F10"}},
     Native("voip_doc_share", '{"file_id": "F10", "media_files": [{"file_id": "F10", "media": "med_1"}], '
            f'"md5": "{MD5}", "name": "a.pdf", "size": 5, "top_id": "w2"}}'),
     [File("file", "F10", "a.pdf", 5, MD5)]),
    ("sphfeed", {"sphfeed": {"feed_type": 4, "sph_name": "号", "feed_desc": "述"}},
     Native("sphfeed", '{"description": "述", "feed_type": 4, "name": "号"}'), []),
    ("voiptext", {"info": {"callduration": 10, "invitetype": 2}},
     Native("voiptext", '{"duration_s": 10, "invite_type": 2}'), []),
    ("qydiskfile", {"info": {"filename": "盘.xlsx"}}, Native("qydiskfile", '{"name": "盘.xlsx"}'), []),
    ("hologram", {"hologram": {"depth": 3, "part": {"sdkfileid": "F11"}}},
     Native("hologram", '{"depth": "3", "media_files": [{"file_id": "F11", "media": "med_1"}], "part/sdkfileid": "F11"}'),
     [File("file", "F11")]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("msgtype", "body", "payload", "files"), TABLE, ids=[row[0] for row in TABLE]
)
def test_every_type_has_its_payload(
    msgtype: str, body: dict[str, Any], payload: Payload, files: list[File]
) -> None:
    found = message(msgtype, body)
    assert files_of(found) == files
    made = payload_of(found, homes(found))
    if isinstance(payload, Native):
        assert isinstance(made, Native)
        assert made.kind == payload.kind
        assert json.loads(made.body) == json.loads(payload.body)
    else:
        assert made == payload


def test_a_message_whose_file_is_lost_says_so_and_keeps_its_fields() -> None:
    found = message("voice", {"voice": {"sdkfileid": "F2", "voice_size": 8, "play_length": 10}})
    made = payload_of(found, {"F2": Lost("archive_10010", "expired")})
    assert isinstance(made, Native)
    body = json.loads(made.body)
    assert (made.kind, body["play_s"], body["size"]) == ("voice", 10, 8)
    assert body["media_files"] == [{"file_id": "F2", "lost": "archive_10010"}]


def test_half_a_surrogate_pair_becomes_a_question_mark() -> None:
    found = message("text", {"text": {"content": "坏\ud800字"}})
    payload, octets = sound_payload(payload_of(found, {}))
    assert payload == Text("坏?字")
    assert octets == 7


# -- who, to whom, where ------------------------------------------------------------------------------------------------

CORP = "ww1"
KEY = order_key(CORP, "zhangsan", "wmAAA")
PAIR = order_key(CORP, "lisi", "zhangsan")
ROOM = order_key(CORP, "", "wrROOM")
LONG = "wm" + "A" * 30
#: (accounts, from, tolist, roomid, msgid) -> (sender, account, recipient, order_key)
WAYS: list[tuple[list[str], str, list[str], str, str, tuple[str, str, str, str]]] = [
    ([], "wmAAA", ["zhangsan"], "", "1_external", ("wecom:ww1/wmAAA", "zhangsan", "", KEY)),
    ([], "zhangsan", ["wmAAA"], "", "2_external", ("staff:zhangsan", "zhangsan", "wecom:ww1/wmAAA", KEY)),
    ([], "ZhangSan", ["wmAAA"], "", "3_external", ("staff:ZhangSan", "ZhangSan", "wecom:ww1/wmAAA", KEY)),
    (["zhangsan"], "ZhangSan", ["wmAAA"], "", "4_external", ("staff:ZhangSan", "zhangsan", "wecom:ww1/wmAAA", KEY)),
    # Between members: the same account both ways, the configured one first.
    ([], "zhangsan", ["lisi"], "", "5", ("staff:zhangsan", "lisi", "", PAIR)),
    ([], "lisi", ["zhangsan"], "", "6", ("staff:lisi", "lisi", "staff:zhangsan", PAIR)),
    (["zhangsan"], "lisi", ["zhangsan"], "", "7", ("staff:lisi", "zhangsan", "", PAIR)),
    (["zhangsan"], "zhangsan", ["lisi"], "", "8", ("staff:zhangsan", "zhangsan", "staff:lisi", PAIR)),
    # In a group.
    ([], "wmAAA", ["zhangsan", "lisi", "woBBB"], "wrROOM", "9_external", ("wecom:ww1/wmAAA", "lisi", "", ROOM)),
    ([], "zhangsan", ["wmAAA", "lisi"], "wrROOM", "10_external", ("staff:zhangsan", "lisi", "group:wrROOM", ROOM)),
    (["zhangsan"], "wmAAA", ["lisi", "zhangsan"], "wrROOM", "11_external", ("wecom:ww1/wmAAA", "zhangsan", "", ROOM)),
    ([], "zhangsan", ["lisi"], "wrIN", "12", ("staff:zhangsan", "lisi", "group:wrIN", order_key(CORP, "", "wrIN"))),
    # A member whose userid begins like a customer's id.
    ([], "wong", [LONG], "", "13_external", ("staff:wong", "wong", f"wecom:ww1/{LONG}", order_key(CORP, "wong", LONG))),
    (["womin"], "wmA", ["womin"], "", "14_external", ("wecom:ww1/wmA", "womin", "", order_key(CORP, "womin", "wmA"))),
    ([], "womin", ["zhangsan"], "", "15", ("staff:womin", "womin", "staff:zhangsan", order_key(CORP, "womin", "zhangsan"))),
    # A robot is ours.
    ([], "wbROBOT", ["wmAAA", "lisi"], "wrROOM", "16_external", ("staff:wbROBOT", "lisi", "group:wrROOM", ROOM)),
    # Nobody named.
    ([], "", [], "", "17", ("staff:sys", "sys", "", order_key(CORP, "sys", "sys"))),
]  # fmt: skip


@pytest.mark.parametrize(("accounts", "sender", "to", "room", "msgid", "expected"), WAYS)
def test_who_said_it_to_whom(
    accounts: list[str],
    sender: str,
    to: list[str],
    room: str,
    msgid: str,
    expected: tuple[str, str, str, str],
) -> None:
    found = message(
        "text",
        {"text": {"content": "x"}},
        **{"from": sender, "tolist": to, "roomid": room, "msgid": msgid},
    )
    [heard] = People(CORP, accounts).heard(found)
    recipient = str(heard.recipient) if heard.recipient else ""
    assert (str(heard.sender), heard.account_number, recipient, heard.order_key) == expected


def test_a_conversation_has_one_name_from_every_side() -> None:
    assert order_key("ww1", "ZhangSan", "wmA") == order_key("ww1", "wmA", "zhangsan")
    assert order_key("ww1", "", "wrA") != order_key("ww1", "", "wra"), (
        "a group's id is case-sensitive"
    )
    assert order_key("ww1", "a", "b") != order_key("ww2", "a", "b")
    assert str(customer_address("ww1", "wmA")) == "wecom:ww1/wmA"
    assert str(room_address("wrA")) == "group:wrA"


# -- through the adapter ------------------------------------------------------------------------------------------------


async def test_both_directions_and_groups_as_they_are_read() -> None:
    async with archived() as a:
        corp = a.corp.far.options.corp
        a.write("问", sender="wm0001", to="staff0001")
        a.write("答", sender="staff0001", to="wm0001")
        a.write("群里", sender="staff0002", to="staff0001|wm0001", roomid="wrroom")
        asked, answered, in_room = await a.read()
        assert asked.sender == answered.recipient == customer_address(corp, "wm0001")
        assert asked.recipient is None
        assert asked.account_number == answered.account_number == "staff0001"
        assert asked.order_key == answered.order_key == order_key(corp, "staff0001", "wm0001")
        assert (in_room.chat, asked.chat) == ("wrroom", "")
        assert in_room.recipient == room_address("wrroom")
        assert in_room.order_key == order_key(corp, "", "wrroom")


async def test_a_message_to_several_people_is_one_for_each() -> None:
    async with archived() as a:
        written = a.write("通知", sender="staff0001", to="wm0001|wm0002")
        first, second = await a.read()
        assert first.remote_id == written["msgid"]
        assert second.remote_id != first.remote_id
        assert {str(one.recipient) for one in (first, second)} == {
            "wecom:wwsandbox/wm0001",
            "wecom:wwsandbox/wm0002",
        }


async def test_what_is_too_long_for_a_message_is_kept_as_a_file() -> None:
    async with archived() as a:
        a.write("长" * 40_000)
        [received] = await a.read()
        assert isinstance(received.payload, Native)
        body = json.loads(received.payload.body)
        kept = a.port.files[body["kept_as"]]
        assert json.loads(kept.path.read_text()) == {"text": "长" * 40_000}
        assert (received.payload.kind, body["octets"]) == ("text", 120_000)


async def test_consent_is_told() -> None:
    async with archived() as a:
        body = {"userid": "wm0001", "agree_time": 5}
        received = await a.one(msgtype="agree", body=body)
        assert told(received) == ("wecom_archive_agree", {"userid": "wm0001", "at": 5})
        assert received.account_number == "staff0001"


#: Names that mean something somewhere, so that what is odd stands in places that are read.
FIELDS = st.sampled_from(
    ["msgid", "action", "from", "tolist", "roomid", "msgtime", "user", "content", "item", "type", "sdkfileid", "filesize",
     "userid", "title", "link_url", "username", "pre_msgid", "details", "demofiledata", "voiceid", "fileext", "filename"]
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=5),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(
    msgtype=st.sampled_from([*(row[0] for row in TABLE), "unheard of", ""]),
    inner=JSON,
    fields=st.dictionaries(FIELDS, JSON, max_size=6),
)
def test_no_message_whatever_it_holds_stops_the_archive(
    msgtype: str, inner: Any, fields: dict[str, Any]
) -> None:
    tree = {
        "msgid": "m1_external",
        "msgtype": msgtype,
        msgtype: inner,
        "info": inner,
        "doc": inner,
    } | fields
    try:
        found = read(json.dumps(tree).encode())
    except Malformed:
        return  # relayed unread
    lost = {file.file_id: Lost("x", "y") for file in files_of(found)}
    for homes_ in (homes(found), lost):
        payload, _ = sound_payload(payload_of(found, homes_))
        for heard in People(CORP, ["zhangsan"]).heard(found):
            assert heard.account_number
            assert heard.order_key
            Address.parse(str(heard.sender))
            item = Envelope(
                "msg_1", "", heard.sender, "inbound", 1, payload, 0, sender=heard.sender
            )
            assert wire.open_sealed(wire.seal(item)) == item
