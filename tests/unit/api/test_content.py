"""What a message may say: every type of content, checked against its channel and the media store."""

from __future__ import annotations

from typing import Any

import pytest

from msgcenter.adapter import Spec
from msgcenter.api.content import PAYLOADS
from msgcenter.archive.content import TYPES
from protocols.payload import (
    CONTENT,
    Card,
    Link,
    Markdown,
    Media,
    MiniProgram,
    Native,
    Payload,
    Text,
)
from tests.unit.api.parts import SPECS, Parts, message

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)
NO_FILE = "med_" + "0" * 26


@pytest.fixture(autouse=True)
def _able(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kind `push` carries everything, `sms` texts alone."""
    spec = Spec("push", "Push", schemes=frozenset({"gridapp"}), payloads=frozenset(CONTENT))
    monkeypatch.setitem(SPECS, "push", spec)


async def picture(parts: Parts) -> str:
    status, made, _ = await parts.call(
        "POST", "/v1/media", data=PNG, headers={"Content-Type": "image/png"}
    )
    assert status == 201
    return str(made["id"])


def push(content: Any, **more: Any) -> dict[str, Any]:
    return message(to="gridapp:li", channels=["push"], content=content, **more)


async def sent(parts: Parts, content: Any) -> Payload:
    status, body, _ = await parts.post("/v1/messages", push(content))
    assert status == 202, body
    return parts.bus.envelopes[-1].payload


def test_types_have_the_same_names_in_and_out() -> None:
    assert set(PAYLOADS.values()) == set(CONTENT)
    assert all(TYPES[payload] == name for name, payload in PAYLOADS.items())


async def test_every_type_becomes_its_payload(parts: Parts) -> None:
    media = await picture(parts)
    for content, payload in (
        ({"type": "text", "text": "你好"}, Text("你好")),
        ({"type": "markdown", "text": "**hi**"}, Markdown("**hi**")),
        (
            {"type": "media", "kind": "image", "media": media, "name": "a.png"},
            Media("image", media, "a.png"),
        ),
        ({"type": "media", "kind": "file", "media": media}, Media("file", media)),
        (
            {"type": "link", "title": "T", "url": "https://h/x", "picture": media},
            Link("T", "https://h/x", "", media),
        ),
        (
            {"type": "link", "title": "T", "url": "https://h/x", "picture": "https://h/p.png"},
            Link("T", "https://h/x", "", "https://h/p.png"),
        ),
        (
            {"type": "miniprogram", "appid": "wx1", "page": "p/i", "title": "T", "picture": media},
            MiniProgram("wx1", "p/i", "T", media),
        ),
        (
            {"type": "card", "title": "T", "description": "D", "url": "https://h", "button": "看"},
            Card("T", "D", "https://h", "看"),
        ),
        (
            {"type": "native", "kind": "template_card", "body": {"a": [1, {"b": "内"}]}},
            Native("template_card", '{"a":[1,{"b":"内"}]}'),
        ),
    ):
        assert await sent(parts, content) == payload


async def faults(parts: Parts, body: dict[str, Any]) -> set[tuple[str, str]]:
    status, answer, _ = await parts.post("/v1/messages", body)
    assert status == 422, answer
    return {(fault["field"], fault["code"]) for fault in answer["errors"]}


async def test_a_channel_refuses_what_it_cannot_carry(parts: Parts) -> None:
    card = {"type": "card", "title": "T", "description": "D", "url": "https://h"}
    status, answer, _ = await parts.post("/v1/messages", message(content=card))
    assert status == 422
    [fault] = answer["errors"]
    assert (fault["field"], fault["code"]) == ("channels[0]", "content_not_supported")
    assert "`card`" in fault["detail"]
    assert "push" in fault["remedy"]
    assert await faults(parts, message(content=card, channels=None)) == {
        ("channels", "content_not_supported")
    }
    # also when something else is wrong with it
    assert await faults(parts, message(content={**card, "url": "ftp://h"})) == {
        ("content.url", "invalid"),
        ("channels[0]", "content_not_supported"),
    }


async def test_files_must_be_there_and_fit(parts: Parts) -> None:
    media = await picture(parts)
    for content, expected in (
        ({"type": "media", "kind": "image", "media": NO_FILE}, ("content.media", "media_unknown")),
        ({"type": "media", "kind": "image", "media": "x"}, ("content.media", "media_unknown")),
        ({"type": "media", "kind": "voice", "media": media}, ("content.media", "media_kind")),
        (
            {"type": "link", "title": "T", "url": "https://h", "picture": NO_FILE},
            ("content.picture", "media_unknown"),
        ),
    ):
        assert await faults(parts, push(content)) == {expected}
    status, answer, _ = await parts.post(
        "/v1/messages:batch",
        {
            "messages": [
                push({"type": "media", "kind": "image", "media": media}),
                push({"type": "media", "kind": "image", "media": NO_FILE}),
            ]
        },
    )
    assert (status, answer["accepted"], answer["refused"]) == (202, 1, 1)
    assert answer["results"][1]["problem"]["errors"][0]["code"] == "media_unknown"


async def test_another_callers_file_does_not_exist(parts: Parts) -> None:
    status, made, _ = await parts.call(
        "POST", "/v1/media", caller="iop", data=PNG, headers={"Content-Type": "image/png"}
    )
    assert status == 201
    body = push({"type": "media", "kind": "image", "media": made["id"]})
    assert await faults(parts, body) == {("content.media", "media_unknown")}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"text": "no type"}, ("content.type", "missing")),
        ({"type": "sms", "text": "x"}, ("content.type", "not_one_of")),
        ({"type": "text", "txt": "x", "text": "y"}, ("content.txt", "unknown_field")),
        ({"type": "text"}, ("content.text", "missing")),
        ({"type": "media", "kind": "film", "media": NO_FILE}, ("content.kind", "not_one_of")),
        ({"type": "link", "title": "T", "url": "javascript:x"}, ("content.url", "invalid")),
        ({"type": "link", "title": "T", "url": "https://["}, ("content.url", "invalid")),
        ({"type": "native", "kind": "A B", "body": {}}, ("content.kind", "pattern")),
        ({"type": "native", "kind": "a", "body": []}, ("content.body", "wrong_type")),
        (
            {"type": "native", "kind": "a", "body": {"x": "y" * 40_000}},
            ("content.body", "too_long"),
        ),
    ],
)
async def test_faults_name_the_field_as_it_stands_in_the_request(
    parts: Parts, content: Any, expected: tuple[str, str]
) -> None:
    assert expected in await faults(parts, push(content))


async def test_a_hint_knows_the_fields_of_the_type_at_hand(parts: Parts) -> None:
    _, answer, _ = await parts.post(
        "/v1/messages", push({"type": "link", "title": "T", "url": "https://h", "titel": "x"})
    )
    [fault] = [one for one in answer["errors"] if one["field"] == "content.titel"]
    assert "title" in fault["remedy"]


async def test_deep_and_repeated_json_is_refused(parts: Parts) -> None:
    deep: Any = {}
    for _ in range(40):
        deep = {"a": deep}
    assert ("content.body", "invalid") in await faults(
        parts, push({"type": "native", "kind": "a", "body": deep})
    )
    raw = (
        '{"to":"gridapp:li","category":"transactional","channels":["push"],'
        '"content":{"type":"native","kind":"a","body":{"x":1,"x":2}}}'
    )
    status, answer, _ = await parts.call(
        "POST", "/v1/messages", data=raw, headers={"Content-Type": "application/json"}
    )
    assert (status, answer["code"]) == (400, "json_duplicate_key")
