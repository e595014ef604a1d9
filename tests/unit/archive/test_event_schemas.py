"""Every event that records make is valid by the schema that is published for its type, and the schemas are not so wide that
anything would be."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from msgcenter.archive.content import TYPES
from msgcenter.archive.event_page import page
from msgcenter.archive.event_schemas import MODELS, Content, schema_of
from msgcenter.archive.events_sink import (
    GROUP_WORDS,
    PLAN_WORDS,
    SHARE_EXCEEDED,
    WORDS,
    cloud_event,
    event_of,
    event_type,
    group_type,
    plan_type,
)
from msgcenter.callers import Tally
from msgcenter.callers import told as share_told
from protocols.address import Address
from protocols.envelope import Record
from protocols.outcome import Held, Rejected, Routed, Sent, Unknown
from protocols.payload import (
    Advance,
    Card,
    CreateGroup,
    DissolveGroup,
    Happening,
    Link,
    Markdown,
    Media,
    MiniProgram,
    Native,
    Payload,
    Recall,
    Text,
)
from tests.records import T0, envelope, record
from tests.unit.archive.test_events import CASES, INBOUND

PAGE = Path(__file__).parents[3] / "docs" / "events.md"
WRITTEN: list[Payload] = [
    Text("您好"),
    Markdown("**好**"),
    Media("image", "med_1"),
    Media("file", "med_2", name="账单.pdf"),
    Link("标题", "https://example.com/", "说明", "med_3"),
    MiniProgram("wx1", "pages/index", "云店"),
    Card("标题", "说明", "https://example.com/", "查看"),
    Native("location", '{"latitude": 23.1}'),
    Happening("add_external_contact", '{"state": "qr1"}'),
]


def check(document: dict[str, Any]) -> None:
    """Raises ValidationError."""
    schema = schema_of(document["type"])
    Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(
        json.loads(json.dumps(document))
    )


def told(item: Record) -> dict[str, Any]:
    event = event_of(item)
    assert event is not None
    return cloud_event(event)


@pytest.mark.parametrize("item", [item for _, item, word in CASES if word])
def test_news_of_messages(item: Record) -> None:
    check(told(item))


@pytest.mark.parametrize("payload", WRITTEN, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("group", [False, True])
def test_every_kind_that_comes_in(payload: Payload, group: bool) -> None:
    more: dict[str, Any] = {"chat": "wr1", "mentions": ("staff:li",)} if group else {}
    came = envelope(
        "msg_in", caller="hall", inbound=True, to=INBOUND.to, sender=INBOUND.sender, payload=payload,
        order_key="conv1", account="10086", channel="wecom", **more,
    )  # fmt: skip
    document = told(record(Routed(("hall",)), of=came, pipeline="inbound", status="received"))
    assert document["data"]["content"]["type"] == TYPES[type(payload)]
    check(document)


def test_every_kind_has_a_schema() -> None:
    described = {model.model_fields["type"].annotation.__args__[0]  # type: ignore[union-attr]
                 for model in Content.__origin__.__args__}  # type: ignore[attr-defined]  # fmt: skip
    assert described == {TYPES[type(payload)] for payload in WRITTEN}


@pytest.mark.parametrize(
    "outcome", [Sent(("wr1",)), Rejected("account", "no", "86001"), Unknown("timeout")]
)
def test_group_commands(outcome: Any) -> None:
    group = Address("group", "grp_1")
    for payload in (CreateGroup("grp_1", "群", "li", ("a", "b")), DissolveGroup("grp_1")):
        of = envelope("msg_1", to=group, payload=payload, order_key="grp_1")
        status = {Sent: "sent", Rejected: "rejected"}.get(type(outcome), "unknown")
        check(told(record(outcome, of=of, status=status, final=True)))


def test_every_type_of_event_is_published() -> None:
    words = {event_type(word) for word in WORDS}
    words |= {group_type(word) for word in GROUP_WORDS} | {plan_type(word) for word in PLAN_WORDS}
    assert set(MODELS) == words | {SHARE_EXCEEDED}
    for kind in MODELS:
        Draft202012Validator.check_schema(schema_of(kind))


def test_what_is_not_as_described_is_refused() -> None:
    good = told(record(Held(T0, "quiet"), status="held"))
    check(good)
    wrong: list[dict[str, Any]] = [
        {**good, "type": event_type("received")},
        {**good, "data": {**good["data"], "new": 1}},
        {**good, "data": {name: v for name, v in good["data"].items() if name != "status"}},
        {**good, "data": {**good["data"], "final": "no"}},
    ]
    for document in wrong:
        with pytest.raises(ValidationError):
            check(document)


@pytest.mark.parametrize("result", ["reached", "unreached", "expired", "stopped", "cancelled"])
def test_the_end_of_a_plan(result: str) -> None:
    of = envelope("msg_t", payload=Advance("msg_1", "timer"))
    ended = record(Routed((f"close {result} delivered",)), of=of)
    document = told(replace(ended, subject="msg_1", subject_caller="crm", reference="r1"))
    assert document["type"].startswith("msgcenter.plan.")
    assert document["data"]["result"] == result
    check(document)


@pytest.mark.parametrize(
    ("outcome", "word"),
    [(Sent(()), "recalled"), (Rejected("message", "too late", "late"), "recall_failed")],
)
def test_a_recall(outcome: Any, word: str) -> None:
    of = envelope("msg_r", payload=Recall("msg_1", ("far-1",)))
    document = told(replace(record(outcome, of=of), subject="msg_1", reference="r1"))
    assert document["type"] == event_type(word)
    check(document)


def test_a_share_that_was_exceeded() -> None:
    found = Tally(10, sent=6, held=1, dropped=3, rules=(("dropped", "no_consent", 3),))
    of = share_told("crm", T0, T0 + 3_600_000, found, 0.2)
    document = told(record(Sent(()), of=of))
    assert document["type"] == SHARE_EXCEEDED
    assert document["data"]["from"] < document["data"]["to"]
    check(document)


def test_the_page_is_up_to_date() -> None:
    made = page()
    assert PAGE.read_text("utf-8") == made, "run `msgcenter events --out docs/events.md`"
    for kind in MODELS:
        assert f"- `{kind}`\n" in made
