"""Builders of envelopes and records for tests of what lies behind the record topic."""

from __future__ import annotations

from typing import Any

from protocols.address import Address
from protocols.envelope import Decision, Envelope, Record
from protocols.outcome import Outcome, Routed, Sent
from protocols.payload import DeliveryReport, ReportState, Text

T0 = 1_790_000_000_000


def envelope(message: str = "msg_1", **fields: Any) -> Envelope:
    """An outbound SMS unless told otherwise."""
    values: dict[str, Any] = {
        "caller": "crm",
        "to": Address("tel", "+8613800138000"),
        "category": "transactional",
        "tier": 2,
        "payload": Text("您的余额为 100 元"),
        "created_at": T0,
        "channels": ("sms",),
        "reference": f"ref-{message}",
    }
    return Envelope(id=message, **{**values, **fields})


def record(
    outcome: Outcome,
    *,
    of: Envelope | None = None,
    pipeline: str = "channel",
    status: str = "",
    at: int = T0 + 1000,
    decisions: tuple[Decision, ...] = (),
    final: bool = False,
) -> Record:
    """The record of one pass of an envelope."""
    of = of or envelope()
    return Record(
        id=of.key(pipeline).derived("record"),
        at=at,
        pipeline=pipeline,
        envelope=of,
        outcome=outcome,
        decisions=decisions,
        status=status,
        reference=of.reference,
        final=final,
    )


def receipt(
    state: ReportState,
    *,
    message: str = "msg_1",
    caller: str = "crm",
    step: int = 0,
    attempt: int = 0,
    status: str = "",
    at: int = T0 + 2000,
    code: str = "",
    part: int = 0,
    final: bool = False,
) -> Record:
    """The record of a far end's report on one part of one pass of a message."""
    report_id = f"rpt_{message}_{step}_{attempt}_{part}_{state}"
    report = Envelope(
        id=report_id,
        caller="",
        to=Address("tel", "+8610086"),
        category="reply",
        tier=1,
        payload=DeliveryReport(f"remote-{part}", state, code or state.upper(), at),
        created_at=at,
        inbound=True,
        channel="sms-east",
    )
    return Record(
        id=report.key("inbound").derived("record"),
        at=at,
        pipeline="inbound",
        envelope=report,
        outcome=Routed(("status",)),
        subject=message,
        subject_step=step,
        subject_attempt=attempt,
        status=status or state,
        subject_caller=caller,
        reference=f"ref-{message}",
        final=final,
    )


def many(count: int, start: int = 0) -> list[Record]:
    """`count` records of as many messages, sent."""
    return [
        record(
            Sent((f"r{n}",)),
            of=envelope(f"msg_{n:08d}", created_at=T0 + n, channel="sms-east"),
            status="sent",
        )
        for n in range(start, start + count)
    ]
