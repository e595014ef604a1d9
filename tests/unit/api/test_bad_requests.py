"""Every bad request answers a problem document that names field, value and remedy, and all faults
at once."""

from __future__ import annotations

from typing import Any

import pytest
from yarl import URL

from tests.unit.api.parts import Parts, message

FAULTS: list[tuple[str, dict[str, Any], list[tuple[str, str]]]] = [
    ("no recipient", message(to=None), [("to", "missing")]),
    ("no content", message(content=None), [("content", "missing")]),
    ("unknown field", message(chanels=["sms"]), [("chanels", "unknown_field")]),
    ("short number", message(to="1380013"), [("to", "number_invalid")]),
    ("letters", message(to="not a number"), [("to", "address_invalid")]),
    ("long number", message(to="tel:+86138001380001234"), [("to", "number_invalid")]),
    ("no such country", message(to="tel:+999123456789"), [("to", "number_invalid")]),
    ("unknown scheme", message(to="fax:123456"), [("to", "address_invalid")]),
    ("empty value", message(to="gridapp:"), [("to", "address_invalid")]),
    ("nothing reaches it", message(to="kf:wk1/wm1", channels=None), [("to", "scheme_unreachable")]),
    (
        "wrong channel for the address",
        message(to="gridapp:zhang3"),
        [("channels[0]", "channel_unreachable")],
    ),
    ("unknown channel", message(channels=["smoke"]), [("channels[0]", "channel_unknown")]),
    ("a channel's name", message(channels=["sms-east"]), [("channels[0]", "channel_unknown")]),
    ("no channel", message(channels=[]), [("channels", "too_short")]),
    ("twice", message(channels=["sms", "sms"]), [("channels[1]", "channel_repeated")]),
    (
        "not for this category",
        message(category="code", to="gridapp:zhang3", channels=["push"]),
        [("channels[0]", "channel_not_allowed")],
    ),
    ("unknown category", message(category="spam"), [("category", "category_unknown")]),
    ("no category", message(category=None), [("category", "category_required")]),
    ("unknown account", message(**{"from": "nobody"}), [("from", "account_unknown")]),
    (
        "content type",
        message(content={"type": "poem", "text": "x"}),
        [("content.type", "not_one_of")],
    ),
    ("no text", message(content={"type": "text"}), [("content.text", "missing")]),
    ("empty text", message(content={"type": "text", "text": ""}), [("content.text", "too_short")]),
    (
        "text too long",
        message(content={"type": "text", "text": "长" * 30_000}),
        [("content.text", "too_long")],
    ),
    (
        "unknown field inside",
        message(content={"type": "text", "text": "x", "body": "y"}),
        [("content.body", "unknown_field")],
    ),
    (
        "number for text",
        message(content={"type": "text", "text": 5}),
        [("content.text", "wrong_type")],
    ),
    ("text for object", message(content="hello"), [("content", "wrong_type")]),
    ("time without zone", message(send_at="2030-01-01T00:00:00"), [("send_at", "time_invalid")]),
    ("no time", message(send_at="tomorrow"), [("send_at", "time_invalid")]),
    ("long ago", message(send_at="2001-01-01T00:00:00Z"), [("send_at", "time_past")]),
    ("far ahead", message(send_at="2999-01-01T00:00:00Z"), [("send_at", "time_far")]),
    ("no duration", message(expires_in="soon"), [("expires_in", "duration_invalid")]),
    ("zero", message(expires_in=0), [("expires_in", "duration_invalid")]),
    ("too long a life", message(expires_in="31d"), [("expires_in", "duration_invalid")]),
    ("control character", message(reference="a\nb"), [("reference", "pattern")]),
    ("long reference", message(reference="r" * 129), [("reference", "too_long")]),
    (
        "unknown reply",
        message(to=None, reply_to="msg_x", channels=None),
        [("reply_to", "reply_unknown")],
    ),
    (
        "reply with recipient",
        message(reply_to="msg_x", channels=None),
        [("to", "reply_conflict"), ("reply_to", "reply_unknown")],
    ),
    (
        "everything at once",
        message(
            to="12", category="spam", channels=["smoke"], **{"from": "nobody"}, expires_in="x", y=1
        ),
        [
            ("to", "number_invalid"),
            ("category", "category_unknown"),
            ("channels[0]", "channel_unknown"),
            ("from", "account_unknown"),
            ("expires_in", "duration_invalid"),
            ("y", "unknown_field"),
        ],
    ),
]


@pytest.mark.parametrize(("body", "faults"), [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS])
async def test_faults(parts: Parts, body: dict[str, Any], faults: list[tuple[str, str]]) -> None:
    status, problem, headers = await parts.post("/v1/messages", body)
    assert status == 422, problem
    assert headers["Content-Type"].startswith("application/problem+json")
    assert problem["type"] == f"/problems/{problem['code']}"
    assert problem["status"] == 422
    assert {(e["field"], e["code"]) for e in problem["errors"]} == set(faults)
    for error in problem["errors"]:
        assert error["detail"]
        assert error["remedy"]
        assert "{" not in error["detail"] + error["remedy"]
        if error["code"] not in ("missing", "category_required"):
            assert "value" in error, error
    assert not parts.bus.frames
    # the same faults inside a batch, the neighbours accepted
    items = {"messages": [message(), body, message()]}
    status, batch, _ = await parts.post("/v1/messages:batch", items)
    assert (status, batch["accepted"]) == (202, 2)
    inside = batch["results"][1]["problem"]["errors"]
    assert {(e["field"], e["code"]) for e in inside} == set(faults)


async def test_remedies_name_what_would_be_right(parts: Parts) -> None:
    _, problem, _ = await parts.post("/v1/messages", message(chanels=["sms"], category="spam"))
    remedies = {error["field"]: error["remedy"] for error in problem["errors"]}
    assert "channels" in remedies["chanels"]
    assert "transactional" in remedies["category"]
    _, problem, _ = await parts.post("/v1/messages", message(channels=["smoke"]))
    assert problem["errors"][0]["value"] == "smoke"
    assert "sms" in problem["errors"][0]["remedy"]


async def test_an_account_that_is_not_clear_is_asked_for(parts: Parts) -> None:
    body = message(category="marketing")
    status, problem, _ = await parts.post("/v1/messages", body, caller="iop")
    assert status == 422
    [error] = problem["errors"]
    assert (error["field"], error["code"]) == ("from", "account_ambiguous")
    assert "hotline" in error["remedy"]
    assert "market" in error["remedy"]
    status, _, _ = await parts.post("/v1/messages", {**body, "from": "market"}, caller="iop")
    assert status == 202
    assert parts.bus.envelopes[0].account == "market"


async def test_a_category_that_was_not_granted_is_403_with_the_list(parts: Parts) -> None:
    status, problem, _ = await parts.post("/v1/messages", message(category="marketing"))
    assert (status, problem["code"]) == (403, "category_not_granted")
    assert "transactional" in problem["granted"]
    assert "marketing" not in problem["granted"]
    assert problem["errors"][0]["field"] == "category"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "json_invalid"),
        (b"{", 400, "json_invalid"),
        (b"\xff\xfe", 400, "json_invalid"),
        (b'{"to": NaN}', 400, "json_invalid"),
        (b'{"to":"13800138000","to":"13800138001"}', 400, "json_duplicate_key"),
        (
            b'{"to":"13800138000","category":"transactional","content":'
            b'{"type":"text","text":"a","text":"b"}}',
            400,
            "json_duplicate_key",
        ),
        (b"[]", 422, "validation_failed"),
        (b"null", 422, "validation_failed"),
        (b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400, "json_too_deep"),
        (b'{"x":' + b"9" * 100_000 + b"}", 400, "json_invalid"),
    ],
)
async def test_what_is_not_json(parts: Parts, body: bytes, status: int, code: str) -> None:
    for path in ("/v1/messages", "/v1/messages:batch"):
        headers = {"Content-Type": "application/json"}
        got, problem, _ = await parts.call("POST", path, data=body, headers=headers)
        assert (got, problem["code"]) == (status, code)


async def test_a_colon_in_a_text_is_no_key(parts: Parts) -> None:
    for text in (':"hello":', '":":', "a\\", '\\":', ": :", '{"a":1,"a":2}'):
        content = {"type": "text", "text": text}
        status, body, _ = await parts.post("/v1/messages", message(content=content, reference=":"))
        assert status == 202, body
        assert parts.bus.envelopes[-1].payload.text == text  # type: ignore[union-attr]


async def test_frames_around_the_body(parts: Parts) -> None:
    good = b"{}"
    for kind in ("text/plain", "application/xml", "application/json; charset=gbk", ""):
        status, problem, _ = await parts.call(
            "POST", "/v1/messages", data=good, headers={"Content-Type": kind}
        )
        assert (status, problem["code"]) == (415, "content_type"), kind
    status, problem, _ = await parts.call(
        "POST",
        "/v1/messages",
        data=good,
        headers={"Content-Type": "application/json", "Content-Encoding": "identity"},
    )
    assert (status, problem["code"]) == (415, "content_encoding")
    status, problem, _ = await parts.post("/v1/messages", {"x": "y" * (5 << 20)})
    assert (status, problem["code"]) == (413, "body_too_large")
    status, problem, headers = await parts.call("PUT", "/v1/messages")
    assert (status, problem["code"]) == (405, "method_not_allowed")
    assert headers["Allow"] == "GET,HEAD,POST" or "POST" in headers["Allow"]
    status, problem, _ = await parts.get("/v1/nothing")
    assert (status, problem["code"]) == (404, "route_not_found")
    status, problem, _ = await parts.get("/v1/messages?limit=0&x=1")
    assert (status, problem["errors"][0]["field"]) == (422, "x")
    for query in ("limit=0", "limit=x", "limit=1001", "cursor=!", "after=noon", "direction=up"):
        status, problem, _ = await parts.get(f"/v1/messages?{query}")
        assert status == 422, query
        assert problem["errors"][0]["field"] == query.partition("=")[0]


async def test_texts_follow_the_language(parts: Parts) -> None:
    body = message(to="12")
    for wish, language, word in (
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh", "号码"),
        ("en;q=0.5, zh;q=0.4", "en", "number"),
        ("fr", "en", "number"),
    ):
        _, problem, headers = await parts.post(
            "/v1/messages", body, headers={"Accept-Language": wish}
        )
        assert headers["Content-Language"] == language
        assert word in problem["errors"][0]["detail"]


async def test_a_problems_type_leads_to_a_page(parts: Parts) -> None:
    async with parts.client.get("/problems/too_late") as response:
        assert response.status == 200
        assert "too_late" in await response.text()
    async with parts.client.get("/problems/nonsense") as response:
        assert response.status == 404


async def test_an_error_of_ours_is_a_problem_without_detail(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(parts.store, "message", broken)
    status, problem, _ = await parts.get("/v1/messages/msg_1")
    assert (status, problem["code"]) == (500, "internal")
    assert "secret" not in str(problem)
    assert len(problem["trace_id"]) == 32


@pytest.mark.parametrize(
    "body",
    [
        rb'{"to":"\ud800","content":{"type":"text","text":"x"}}',
        rb'{"to":"13800138000","content":{"type":"text","text":"\ud800"}}',
        rb'{"to":"13800138000","\ud800":1,"content":{"type":"text","text":"x"}}',
        rb'{"to":"13800138000","reference":"\u0000","content":{"type":"text","text":"x"}}',
    ],
)
async def test_half_characters_are_refused(parts: Parts, body: bytes) -> None:
    for path, data in (
        ("/v1/messages", body),
        ("/v1/messages:batch", b'{"messages":[' + body + b"]}"),
    ):
        headers = {"Content-Type": "application/json"}
        status, answer, _ = await parts.call("POST", path, data=data, headers=headers)
        if status == 202:
            assert answer["accepted"] == 0
        else:
            assert status in (400, 422), answer
    assert not parts.bus.frames


async def test_odd_paths_and_queries_are_no_errors_of_ours(parts: Parts) -> None:
    for path in (
        "/v1/messages/%ff",
        "/v1/messages/%00",
        "/v1/messages/" + "x" * 3000,
        "/v1/messages?address=%ed%a0%80",
        "/v1/messages?campaign=%00",
        "/v1/events?cursor=%ff",
        "/v1/dead-letters/%00",
        "/v1/dead-letters?code=%ff",
    ):
        async with parts.client.get(
            URL(path, encoded=True), headers={"Authorization": f"Bearer {await parts.key()}"}
        ) as response:
            assert response.status < 500, (path, await response.text())
