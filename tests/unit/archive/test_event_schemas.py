"""Every event that records make is valid by the schema that is published for its type, and the schemas are not so wide that
anything would be."""

from __future__ import annotations

import json
from collections.abc import Iterator
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
from msgcenter.clock import ManualClock
from msgcenter.config.load import load
from msgcenter.dissolution import asked_for, dissolving
from msgcenter.store import Asked, GroupRow
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
    Notice,
    Payload,
    Recall,
    Text,
    UpdateGroup,
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


GROUP = GroupRow(
    *("grp_1", "crm", "天河", "li", ("li", "wm1"), "hosted", "hosted-1", "li", "wr1"),
    command="msg_00000000000000000000000000",
)
ASKED = Asked("crm/key_1", T0, 60.0)
IN_FULL = Asked("crm/key_1", T0, 60.0, "并网格", "order-7", "crm/key_2")
ENDINGS: list[tuple[Any, GroupRow]] = [
    (asked_for, replace(GROUP, asked=ASKED, unapproved_since=T0)),
    (asked_for, replace(GROUP, asked=IN_FULL, unapproved_since=T0, account="", owner="", name="")),
    (asked_for, replace(GROUP, asked=ASKED, caller="")),
    (dissolving, replace(GROUP, state="dissolving", asked=ASKED, undo_until=T0 + 60_000)),
    (dissolving, replace(GROUP, state="dissolving", asked=IN_FULL, undo_until=T0 + 60_000)),
    (dissolving, replace(GROUP, state="dissolving", asked=ASKED)),
    (dissolving, replace(GROUP, state="dissolving", asked=None, caller="crm")),
]


def endings(make: Any, row: GroupRow) -> list[dict[str, Any]]:
    """The events of a dissolution as the API and the sweep publish them, once the core has passed them on."""
    config = load(None, settings_models={}, env={}, clock=ManualClock(T0))
    own = [one for one in make(row, config, T0) if isinstance(one.payload, Notice)]
    return [told(record(Sent(()), of=one, pipeline="submit", status="sent")) for one in own]


@pytest.mark.parametrize(("make", "row"), ENDINGS)
def test_a_dissolution_is_told_before_it_happens(make: Any, row: GroupRow) -> None:
    [document] = endings(make, row)
    assert document["type"] == group_type("dissolve_asked" if make is asked_for else "dissolving")
    assert document["data"]["group"] == document["subject"] == "grp_1"
    assert ("needs" in document["data"]) == (make is asked_for)
    assert ("undo_until" in document["data"]) == bool(row.undo_until)
    check(document)


def everything() -> Iterator[dict[str, Any]]:
    """An event of every type there is, each made by the product itself."""
    yield from (told(item) for _, item, word in CASES if word)
    group = Address("group", "grp_1")
    commands: list[Payload] = [
        CreateGroup("grp_1", "群", "li", ("a", "b")),
        UpdateGroup("grp_1", "群", add=("c",)),
        DissolveGroup("grp_1"),
    ]
    for payload in commands:
        of = envelope("msg_1", to=group, payload=payload, order_key="grp_1")
        for outcome, status in (
            (Sent(("wr1",)), "sent"),
            (Rejected("account", "no", "86001"), "rejected"),
            (Unknown("timeout"), "unknown"),
        ):
            yield told(record(outcome, of=of, status=status, final=True))
    for make, row in ENDINGS:
        yield from endings(make, row)
    for result in ("reached", "unreached", "expired", "stopped", "cancelled"):
        of = envelope("msg_t", payload=Advance("msg_1", "timer"))
        ended = record(Routed((f"close {result} delivered",)), of=of)
        yield told(replace(ended, subject="msg_1", subject_caller="crm", reference="r1"))
    found = Tally(10, sent=6, held=1, dropped=3, rules=(("dropped", "no_consent", 3),))
    yield told(record(Sent(()), of=share_told("crm", T0, T0 + 3_600_000, found, 0.2)))


def test_an_event_of_every_type_is_as_published() -> None:
    seen = set()
    for document in everything():
        check(document)
        seen.add(document["type"])
    assert seen == set(MODELS), "a type that nothing makes, or that this walk does not know"


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
