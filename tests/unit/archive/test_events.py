"""Which record makes which event: the table, row by row."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from msgcenter.archive.events_sink import (
    NEWS,
    WORDS,
    EventsSink,
    event_of,
    event_type,
    order_of,
)
from msgcenter.clock import ManualClock
from msgcenter.status import PENDING, STATUSES
from msgcenter.store.store import Store
from protocols.address import Address
from protocols.envelope import Record
from protocols.outcome import Held, Outcome, Rejected, Retry, Routed, Sent, Suppressed, Unknown
from protocols.payload import DeliveryReport, Notice, Recall, Text
from tests.records import T0, envelope, receipt, record

INBOUND = envelope(
    "msg_in",
    caller="hall",
    inbound=True,
    to=Address("tel", "+8610086"),
    sender=Address("tel", "+8613800138000"),
    payload=Text("CXYE"),
    order_key="conv1",
    account="10086",
)


def recall(outcome: Outcome) -> Record:
    """As settle makes them: a line in the trace of the message that is taken back."""
    of = envelope("rcl_1", payload=Recall("msg_1", ("r",)))
    return replace(record(outcome, of=of), subject="msg_1", status="")


CASES: list[tuple[str, Record, str]] = [
    ("submit routed", record(Routed(("out.sms",)), pipeline="submit", status="queued"), ""),
    ("submit retry", record(Retry("channel", "x"), pipeline="submit", status="queued"), ""),
    ("submit held", record(Held(T0, "quiet"), pipeline="submit", status="held"), "held"),
    (
        "submit rejected",
        record(Rejected("recipient", "bad", "no_route"), pipeline="submit", status="rejected"),
        "rejected",
    ),
    ("suppressed", record(Suppressed("opt_out"), status="suppressed", final=True), "suppressed"),
    ("expired", record(Suppressed("expired"), status="expired", final=True), "suppressed"),
    ("cancelled", record(Suppressed("cancelled"), status="cancelled", final=True), "suppressed"),
    ("a step suppressed", record(Suppressed("cap"), status="queued"), ""),
    ("a step rejected", record(Rejected("recipient", "x", "blocked"), status="queued"), ""),
    ("sent", record(Sent(("r",)), status="sent"), "sent"),
    ("sent after its receipt", record(Sent(("r",)), status="delivered"), "delivered"),
    ("unknown", record(Unknown("timeout"), status="unknown", final=True), "unknown"),
    ("unknown, sent again", record(Unknown("timeout"), status="sending"), ""),
    (
        "rejected after an unknown",
        record(Rejected("message", "x", "y"), status="unknown"),
        "unknown",
    ),
    ("channel retry", record(Retry("channel", "8"), status="queued"), ""),
    ("channel held", record(Held(T0, "quiet"), status="held"), "held"),
    ("delivered", receipt("delivered", final=True), "delivered"),
    ("undelivered", receipt("undelivered", final=True), "undelivered"),
    ("read", receipt("read", final=True), "read"),
    ("receipt says unknown", receipt("unknown"), "unknown"),
    ("first part of two", receipt("delivered", status="sent"), "sent"),
    ("receipt while sending again", receipt("undelivered", status="sending"), ""),
    (
        "inbound",
        record(Routed(("hall",)), of=INBOUND, pipeline="inbound", status="received"),
        "received",
    ),
    ("inbound flood", record(Suppressed("flood"), of=INBOUND, status="suppressed"), ""),
    ("inbound again", record(Retry("message", "x"), of=INBOUND, pipeline="inbound"), ""),
    ("recalled", recall(Sent()), "recalled"),
    ("too late to recall", recall(Rejected("message", "x", "late")), "recall_failed"),
    ("recall tried again", recall(Retry("channel", "x")), ""),
    ("orphan", record(Sent(), of=envelope(payload=DeliveryReport("r", "read")), status="sent"), ""),
    ("notice", record(Sent(), of=envelope(payload=Notice("e", "t", "{}")), status="sent"), ""),
]


@pytest.mark.parametrize(("name", "item", "word"), CASES, ids=[case[0] for case in CASES])
def test_table(name: str, item: Record, word: str) -> None:
    event = event_of(item)
    if not word:
        assert event is None
        return
    assert event is not None
    assert event.type == event_type(word) == f"msgcenter.message.{word}.v1"
    assert event.at == item.at
    assert event.id.startswith("evt_") and len(event.id) == 30
    assert event.message == (item.subject or item.envelope.id)
    assert json.loads(json.dumps(dict(event.data)))["message"] == event.message


def test_the_table_is_covered() -> None:
    assert {word for _, _, word in CASES if word} == WORDS
    told = {
        item.status
        for _, item, word in CASES
        if word and not isinstance(item.envelope.payload, Recall)
    }
    assert told - {"received"} == set(NEWS)
    assert set(NEWS) | set(PENDING) | {"received"} == set(STATUSES)  # no status is forgotten


def test_an_event_about_a_group_is_told_as_it_was_made() -> None:
    data = {"group": "grp_1", "message": "msg_9", "by": "crm/key_1"}
    body = json.dumps({"subject": "grp_1", "data": data})
    payload = Notice("evt_1", "msgcenter.group.dissolving.v1", body)
    own = envelope("msg_8", to=Address("group", "grp_1"), payload=payload, order_key="grp_1")
    event = event_of(record(Sent(), of=own, pipeline="submit", status="sent"))
    assert event is not None
    assert (event.id, event.type, event.subject) == ("evt_1", payload.type, "grp_1")
    assert (event.caller, event.message, event.data) == ("crm", "msg_9", data)
    assert order_of(event, own) == "grp_1"
    assert event_of(record(Suppressed("expired"), of=own, status="expired")) is None


def test_who_is_told() -> None:
    assert event_of(record(Sent(), status="sent")).caller == "crm"  # type: ignore[union-attr]
    told = event_of(receipt("delivered", caller="iop"))
    assert told is not None and told.caller == "iop" and told.subject == "msg_1"
    nobody = event_of(record(Routed(()), of=replace(INBOUND, caller=""), pipeline="inbound"))
    assert nobody is not None and nobody.caller == ""


def test_received_carries_the_content() -> None:
    event = event_of(record(Routed(()), of=INBOUND, pipeline="inbound"))
    assert event is not None
    assert event.subject == event.data["from"] == "tel:+8613800138000"
    assert event.data["to"] == "tel:+8610086"
    assert event.data["content"] == {"type": "text", "text": "CXYE"}
    assert event.data["conversation"] == "conv1"


def test_news_carries_reason_and_reference() -> None:
    event = event_of(receipt("undelivered", code="MK:0001", final=True))
    assert event is not None
    assert (event.data["code"], event.data["reference"]) == ("MK:0001", "ref-msg_1")
    assert event.data["final"] is True
    event = event_of(record(Held(T0, "quiet_hours", "until nine"), status="held"))
    assert event is not None
    assert (event.data["code"], event.data["detail"]) == ("quiet_hours", "until nine")
    assert event.data["until"] == "2026-09-21T14:13:20.000Z"


def test_one_event_for_the_same_news_and_another_for_other_news() -> None:
    def ids(*items: Record) -> set[str]:
        return {event.id for item in items if (event := event_of(item)) is not None}

    assert len(ids(receipt("delivered"), receipt("delivered", part=1))) == 1
    sent = record(Sent(), status="sent")
    assert len(ids(sent, receipt("delivered", status="sent"))) == 1
    assert len(ids(receipt("delivered", attempt=0), receipt("delivered", attempt=1))) == 1
    assert len(ids(receipt("undelivered"), receipt("delivered"))) == 2
    assert len(ids(receipt("delivered"), receipt("delivered", step=1))) == 2
    first, second = envelope(attempt=0), envelope(attempt=1)
    held = [record(Held(T0, "q"), of=of, status="held") for of in (first, first, second)]
    assert len(ids(*held)) == 2


async def test_events_of_a_message_stay_in_one_partition(tmp_path: object) -> None:
    store = Store(f"sqlite:///{tmp_path}/s.db", ManualClock(T0))
    await store.open()
    await store.migrate()
    sink = EventsSink("events", store, 8)
    for n in range(20):
        own = envelope(f"msg_{n}", order_key=f"conv{n % 3}")
        await sink.write([record(Sent(), of=own, status="sent")])
        await sink.write([receipt("delivered", message=f"msg_{n}", final=True)])
        inbound = replace(INBOUND, id=f"in_{n}", order_key=f"conv{n % 3}")
        await sink.write([record(Routed(()), of=inbound, pipeline="inbound")])
    items = (await store.read_events(None, {}, 1000)).items
    assert len(items) == 60
    for n in range(20):
        mine = [item for item in items if item.event.message == f"msg_{n}"]
        assert len({item.partition for item in mine}) == 1
        assert [item.event.data["status"] for item in sorted(mine, key=lambda i: i.position)] == [
            "sent",
            "delivered",
        ]
    for conversation in range(3):
        received = [i for i in items if i.event.data.get("conversation") == f"conv{conversation}"]
        assert len({item.partition for item in received}) == 1
        ordered = sorted(received, key=lambda item: item.position)
        assert [i.event.message for i in ordered] == [f"in_{n}" for n in range(conversation, 20, 3)]
    await store.close()
