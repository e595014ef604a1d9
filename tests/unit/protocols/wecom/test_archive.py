"""The archive: every msgtype read into its value, recalls, switches, control characters, media in chunks."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from protocols.errors import Malformed
from protocols.wecom import answers, archive
from protocols.wecom import archive_contents as c


def answer(**fields: Any) -> answers.Answer:
    return answers.read(json.dumps({"errcode": 0, "errmsg": "ok", **fields}).encode())


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
    """Whatever stands in a field, nothing but Malformed is raised."""
    rng = Random(4)
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
    trees = [
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
        try:
            archive.message(tree)
        except Malformed as error:
            assert "msgid" in str(error)
