"""Inbound callbacks: every kind from a vector written by hand, keys that tell repeats, and wechatpy's parser on the same XML."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any, get_args

import pytest
import yaml
from wechatpy.enterprise import parse_message

from protocols.errors import Malformed
from protocols.wecom import callbacks, customers, inbound, xmltext
from protocols.wecom.callbacks import Inbound, key_of, parse

VECTORS = Path(__file__).parents[3] / "vectors" / "wecom"
CASES: list[dict[str, Any]] = yaml.safe_load((VECTORS / "callbacks.yaml").read_text())


def plain(value: Any) -> Any:
    """Tuples as lists and parts as dictionaries, to compare with YAML."""
    if isinstance(value, tuple):
        return [plain(each) for each in value]
    if hasattr(value, "__dataclass_fields__"):
        return {name: plain(getattr(value, name)) for name in value.__dataclass_fields__}
    return value


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["kind"])
def test_vector(case: dict[str, Any]) -> None:
    found = parse(case["xml"].encode())
    assert type(found).__name__ == case["kind"]
    assert (found.corp, found.created) == ("wwcorp", 1790000000)
    for name, value in {**case["fields"], **case.get("lists", {})}.items():
        assert plain(getattr(found, name)) == value, name
    for path, value in case.get("holds", {}).items():
        assert dict(found.fields)[path] == value
    hash(found)


def test_every_kind_and_every_name_of_it_has_a_vector() -> None:
    kinds = {each.__name__ for each in get_args(Inbound)}
    assert kinds == {case["kind"] for case in CASES}
    names = {(kind, event) for kind in get_args(Inbound) for event, _ in kind.KINDS}
    seen = {(type(parse(case["xml"].encode())), parse(case["xml"].encode()).kind) for case in CASES}
    assert not names - seen


def test_the_union_holds_every_public_kind() -> None:
    public = {
        each
        for module in (inbound, customers)
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, inbound.Callback) and each.KINDS
    }
    assert public <= set(get_args(Inbound))


def event(**fields: str) -> dict[str, Any]:
    return {
        "ToUserName": "wwcorp",
        "FromUserName": "sys",
        "CreateTime": "1790000000",
        "MsgType": "event",
        **fields,
    }


def test_keys_of_different_callbacks_differ() -> None:
    keys = [parse(case["xml"].encode()).key for case in CASES]
    assert len(set(keys)) == len(keys)
    assert all(len(key) <= 80 for key in keys)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        # The documented key, FromUserName + CreateTime, is the same in each of these pairs.
        (
            event(Event="change_contact", ChangeType="create_user", UserID="a"),
            event(Event="change_contact", ChangeType="update_user", UserID="a"),
        ),
        (event(Event="click", EventKey="A"), event(Event="click", EventKey="B")),
        (
            event(
                Event="change_external_chat",
                ChangeType="update",
                ChatId="1",
                UpdateDetail="change_name",
            ),
            event(
                Event="change_external_chat",
                ChangeType="update",
                ChatId="2",
                UpdateDetail="change_name",
            ),
        ),
        (event(Event="x", A="1", B=""), event(Event="x", A="", B="1")),
        (event(Event="x", A="1"), event(Event="x", A="1", B="")),
        (event(Event="x", AgentID="1"), event(Event="x", AgentID="2")),
    ],
)
def test_events_that_collide_under_the_documented_key(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    assert key_of(one) != key_of(other)
    assert key_of(one) == key_of(dict(reversed(one.items())))


def test_the_key_does_not_depend_on_spelling() -> None:
    spellings = [
        b"<xml><ToUserName>ww</ToUserName><MsgType>event</MsgType><Event>click</Event><EventKey>A&amp;B</EventKey></xml>",
        b"<xml>\n<Event><![CDATA[click]]></Event>\n<EventKey><![CDATA[A&B]]></EventKey><MsgType>event</MsgType>"
        b"<ToUserName>ww</ToUserName>\n</xml>",
        b'{"ToUserName":"ww","MsgType":"event","Event":"click","EventKey":"A&B"}',
    ]
    assert len({parse(body).key for body in spellings}) == 1


def test_message_keys_are_by_msgid_within_corp_and_app() -> None:
    message = event(MsgType="text", MsgId="1", AgentID="1", Content="a")
    assert key_of(message) == key_of({**message, "Content": "b", "CreateTime": "2"})
    for change in ({"MsgId": "2"}, {"AgentID": "2"}, {"ToUserName": "wwother"}):
        assert key_of(message) != key_of({**message, **change})
    assert key_of({**message, "MsgId": ""}) != key_of({**message, "MsgId": "", "Content": "b"})


def test_odd_fields_become_empty_ones() -> None:
    body = (
        b"<xml><ToUserName><a>1</a></ToUserName><CreateTime>soon</CreateTime><MsgType>location</MsgType>"
        b"<Location_X>north</Location_X><Location_Y>1e400</Location_Y><Scale>"
        + b"9"
        * 5000
        + b"</Scale>"
        b"<MsgId>1</MsgId><MsgId>2</MsgId></xml>"
    )
    found = parse(body)
    assert isinstance(found, inbound.LocationMessage)
    assert (found.corp, found.created, found.latitude, found.longitude, found.scale) == (
        "",
        0,
        0.0,
        0.0,
        0,
    )
    assert found.msg_id == "1"


def test_control_characters_do_not_cost_the_message() -> None:
    found = parse(
        b"<xml><MsgType>text</MsgType><MsgId>1</MsgId><Content>a\x00\x08\x1fb\t\nc</Content></xml>"
    )
    assert isinstance(found, inbound.TextMessage)
    assert found.content == "ab\t\nc"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<xml/>",
        b"<xml></xml>",
        b"<xml>hello</xml>",
        b"<xml><A>1</A></xml>",
        b"<xml><MsgType>event</MsgType></xml>",
        b"{}",
        b"<other><MsgType>text</MsgType></other>",
    ],
)
def test_what_says_no_kind_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        parse(body)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["kind"])
def test_cut_short_at_every_octet(case: dict[str, Any]) -> None:
    body = case["xml"].encode()
    for length in range(len(body)):
        with pytest.raises(Malformed):
            parse(body[:length])


def test_fuzz_20000() -> None:
    rng = Random(7)
    bodies = [case["xml"].encode() for case in CASES]
    kinds = set()
    for _ in range(20_000):
        body = bytearray(rng.choice(bodies))
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(body))
            if rng.random() < 0.5:
                body[at] = rng.randrange(256)
            else:
                other = rng.choice(bodies)
                start = rng.randrange(len(other))
                body[at : at + rng.randint(0, 20)] = other[start : start + rng.randint(0, 20)]
        try:
            kinds.add(type(parse(bytes(body))))
        except Malformed as error:
            assert len(str(error)) < 120
    assert len(kinds) > 40


# -- wechatpy -----------------------------------------------------------------------------------------------------------

THEIRS = {
    "TextMessage": {"content": "content"},
    "ImageMessage": {"image": "pic_url", "media_id": "media_id"},
    "VoiceMessage": {"media_id": "media_id", "format": "format"},
    "VideoMessage": {"media_id": "media_id", "thumb_media_id": "thumb_media_id"},
    "LocationMessage": {"label": "label"},
    "LinkMessage": {
        "title": "title",
        "description": "description",
        "url": "url",
        "pic_url": "pic_url",
    },
    "MenuClicked": {"key": "event_key"},
    "MenuViewed": {"url": "event_key"},
    "Scanned": {"scan_type": "scan_type", "scan_result": "scan_result"},
}


@pytest.mark.parametrize(
    "case", [case for case in CASES if case["kind"] in THEIRS], ids=lambda case: case["kind"]
)
def test_wechatpy_reads_the_same(case: dict[str, Any]) -> None:
    theirs = parse_message(case["xml"])
    ours = parse(case["xml"].encode())
    assert (theirs.source, theirs.target, theirs.time) == (ours.sender, ours.corp, ours.created)
    assert str(theirs.agent) == ours.agent_id
    if isinstance(ours, inbound.Message):
        assert str(theirs.id) == ours.msg_id
    for their_name, our_name in THEIRS[case["kind"]].items():
        assert getattr(theirs, their_name) == getattr(ours, our_name)


@pytest.mark.parametrize(
    "content", ["plain", "a]]>b", "]]]]>>", "<b>&amp;</b>", "您好 😀", "a\x0bb"]
)
def test_wechatpy_reads_what_we_write(content: str) -> None:
    body = xmltext.write(
        {
            "ToUserName": "wwcorp",
            "FromUserName": "zhangsan",
            "CreateTime": 1790000000,
            "MsgType": "text",
            "Content": content,
            "MsgId": 7,
            "AgentID": 1000002,
        }
    )
    theirs, ours = parse_message(body.decode()), callbacks.parse(body)
    assert isinstance(ours, inbound.TextMessage)
    assert theirs.content == ours.content == content.replace("\x0b", "")
    assert (theirs.id, theirs.agent) == (7, 1000002)
