"""Records as rows: what each says of its message, ranked so that repeats and late ones can be
merged in any order.

Records may come twice and out of order, so every column is the maximum over the records seen, never
"the last one":

- `status_order` ranks a record's word on the status: first whether it says delivered or read (good
  news counts whatever step it comes from), then step, attempt, evidence (pending < sent < unknown
  < other final < undelivered), final, pipeline, time, and a hash of the id so that no two are
  equal;
- `envelope_order` ranks what a record knows of the message itself (channel, account, person …):
  step, attempt, pipeline, time. A receipt knows nothing of that kind; one that comes first makes a
  row with `known` false.

Both are texts of digits, so that a database compares them in the upsert and a late record changes
nothing.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

from msgcenter.archive.content import content_of
from msgcenter.store import ContentMode, ContentPolicy, Direction
from protocols.envelope import Decision, Envelope, Record
from protocols.outcome import (
    Held,
    Rejected,
    Retry,
    Routed,
    Sent,
    Suppressed,
    Unknown,
    reason_of,
)
from protocols.payload import DeliveryReport, Notice, Pull, Recall, Signal


def clean(value: str) -> str:
    """A text that PostgreSQL can hold: it refuses NUL."""
    return value.replace("\x00", "\ufffd") if "\x00" in value else value


RECALLED = "recalled"
"""Code of the record that says that a message was taken back."""
MAX_DETAIL = 2000
_EVIDENCE = {"sent": 1, "unknown": 2, "undelivered": 4, "delivered": 5, "read": 6}
_OTHER_FINAL = 3
_GOOD_NEWS = {"delivered": 1, "read": 2}
#: Where in a pass a pipeline stands.
PIPELINES = {"submit": 0, "channel": 1, "inbound": 2}

STATUS_COLUMNS = ("status", "code", "final", "status_order")
ENVELOPE_COLUMNS = (
    "known",
    "caller",
    "direction",
    "to",
    "sender",
    "address",
    "person",
    "account",
    "category",
    "tier",
    "channel",
    "campaign",
    "reference",
    "reply_to",
    "order_key",
    "chat",
    "mentions",
    "created_at",
    "content",
    "envelope_order",
)


def status_order(item: Record) -> str:
    """The rank of what a record says of the status; empty when it says nothing."""
    if not item.status:
        return ""
    step, attempt = (
        (item.subject_step, item.subject_attempt)
        if item.subject
        else (item.envelope.step, item.envelope.attempt)
    )
    evidence = _EVIDENCE.get(item.status, _OTHER_FINAL if item.final else 0)
    return (
        f"{_GOOD_NEWS.get(item.status, 0)}{step:04d}{attempt:06d}{evidence}{item.final:d}"
        f"{PIPELINES.get(item.pipeline, 1)}{item.at:015d}{zlib.crc32(item.id.encode()):010d}"
    )


def envelope_order(item: Record) -> str:
    """The rank of what a record knows of the message itself."""
    envelope = item.envelope
    return (
        f"{envelope.step:04d}{envelope.attempt:06d}{PIPELINES.get(item.pipeline, 1)}"
        f"{item.at:015d}{zlib.crc32(item.id.encode()):010d}"
    )


def code_of(item: Record) -> str:
    """The reason code: the far end's own one of a receipt, else that of the outcome."""
    payload = item.envelope.payload
    if item.subject and isinstance(payload, DeliveryReport):
        return clean(payload.code)
    if isinstance(payload, Recall) and isinstance(item.outcome, Sent):
        return RECALLED
    return clean(reason_of(item.outcome))


def _details(item: Record) -> tuple[str, int, tuple[str, ...]]:
    """(detail, until, remote ids) of the outcome."""
    match item.outcome:
        case Sent(remote_ids=ids, detail=detail) | Unknown(remote_ids=ids, detail=detail):
            return detail, 0, ids
        case Routed(to=to) if (
            isinstance(item.envelope.payload, DeliveryReport) and len(to) == 5
        ):  # a receipt, see settle.receipt_to
            return f"part {to[3]}, matched {to[4]}", 0, (item.envelope.remote_id,)
        case Routed(to=to):
            remote_id = item.envelope.remote_id
            return ", ".join(to), 0, (remote_id,) if remote_id else ()
        case Suppressed() if item.subject and (remote_id := item.envelope.remote_id):
            return "", 0, (remote_id,)  # a second reading, see settle.read_again
        case Held(until=until, detail=detail):
            return detail, until, ()
        case Suppressed(detail=detail) | Retry(detail=detail) | Rejected(detail=detail):
            return detail, 0, ()


def decision_to_json(decision: Decision) -> dict[str, Any]:
    """A decision as the API shows it; empty fields are left out."""
    out: dict[str, Any] = {
        "stage": decision.stage,
        "rule": decision.rule,
        "verdict": decision.verdict,
    }
    if decision.detail:
        out["detail"] = decision.detail
    if decision.next_at:
        out["next_at"] = decision.next_at
    if decision.facts:
        out["facts"] = dict(decision.facts)
    return out


def record_row(item: Record) -> dict[str, Any]:
    detail, until, remote_ids = _details(item)
    receipt = bool(item.subject)
    return {
        "id": item.id,
        "message": item.subject or item.envelope.id,
        "at": item.at,
        "pipeline": item.pipeline,
        "step": item.subject_step if receipt else item.envelope.step,
        "attempt": item.subject_attempt if receipt else item.envelope.attempt,
        "kind": type(item.outcome).__name__.lower(),
        "code": code_of(item),
        "detail": clean(detail[:MAX_DETAIL]),
        "channel": item.envelope.channel,
        "receipt": receipt,
        "status": item.status,
        "final": item.final,
        "until": until,
        "decisions": [decision_to_json(decision) for decision in item.decisions],
        "remote_ids": remote_ids,
    }


def direction_of(envelope: Envelope) -> Direction:
    """`staff`: written by the account's own human in the far end's own client."""
    if not envelope.inbound:
        return "out"
    return "staff" if envelope.typed_by_us else "in"


def envelope_row(envelope: Envelope, mode: ContentMode, order: str) -> dict[str, Any]:
    to, sender = str(envelope.to), str(envelope.sender or "")
    return {
        "known": True,
        "caller": envelope.caller,
        "direction": direction_of(envelope),
        "to": to,
        "sender": sender,
        "address": to if not envelope.inbound or envelope.typed_by_us else sender,
        "person": clean(envelope.person),
        "account": envelope.account,
        "category": envelope.category,
        "tier": envelope.tier,
        "channel": envelope.channel,
        "campaign": clean(envelope.campaign),
        "reference": clean(envelope.reference),
        "reply_to": clean(envelope.reply_to),
        "order_key": clean(envelope.order_key),
        "chat": clean(envelope.chat),
        "mentions": [clean(one) for one in envelope.mentions],
        "created_at": envelope.created_at,
        "content": content_of(envelope, mode),
        "envelope_order": order,
    }


def _stub(item: Record) -> dict[str, Any]:
    """A message of which so far only others have spoken."""
    blank: dict[str, Any] = dict.fromkeys(ENVELOPE_COLUMNS, "")
    blank.update(
        id=item.subject or item.envelope.id,
        known=False,
        caller=item.subject_caller,
        tier=0,
        reference=clean(item.reference),
        created_at=item.at,
        content={},
        mentions=[],
        status="",
        code="",
        final=False,
        status_order="",
        updated_at=item.at,
    )
    return blank


def merged(records: Sequence[Record], policy: ContentPolicy) -> list[dict[str, Any]]:
    """One row for each message spoken of, sorted by id so that two writers never wait in a
    circle."""
    rows: dict[str, dict[str, Any]] = {}
    for item in records:
        envelope = item.envelope
        # Reports, notices and doorbells are not messages of anybody: they leave records only.
        if not item.subject and isinstance(
            envelope.payload, DeliveryReport | Notice | Pull | Signal
        ):
            continue
        # What was read may yet turn out to be a copy of another: it is a message once it is passed on, or refused for good.
        if not item.subject and envelope.inbound and isinstance(item.outcome, Retry):
            continue
        row = rows.get(item.subject or envelope.id)
        if row is None:
            row = rows[item.subject or envelope.id] = _stub(item)
        if not item.subject and (order := envelope_order(item)) > row["envelope_order"]:
            row.update(envelope_row(envelope, policy(envelope.category), order))
        if (order := status_order(item)) > row["status_order"]:
            row.update(status=item.status, code=code_of(item), final=item.final, status_order=order)
        row["updated_at"] = max(row["updated_at"], item.at)
    return [rows[key] for key in sorted(rows)]
