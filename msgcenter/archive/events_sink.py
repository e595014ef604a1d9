"""The event log as a sink: what of a record its caller wants to know, as CloudEvents-like events,
once each.

| record | event `msgcenter.message.<word>.v1` |
|---|---|
| the status is now sent, unknown, undelivered, delivered, read, held, rejected, suppressed | that word |
| the status is now expired or cancelled | suppressed (the code says which) |
| an inbound message was passed on (Routed) | received, with its content |
| anything else: pending statuses, a step that failed while the plan goes on | none |

Both a pass of our own and a receipt can bring the news. The id is made of message, step and word (and
attempt, for held: a message may be held again), so that two parts with the same receipt, a pass that
only confirms what a receipt has said, or a record that comes twice make no second event. An inbound
message that nobody is assigned to has caller "", which only readers of everything see. Events of one
outbound message share a partition, and so do the inbound messages of one conversation: each is read
in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from msgcenter.archive.content import content_of
from msgcenter.archive.sink import SinkContext, SinkError
from msgcenter.bus.topology import partition_of
from msgcenter.store import Event, StoreError
from msgcenter.store.rows import code_of
from msgcenter.store.store import Store
from protocols.envelope import Envelope, Record, hashed
from protocols.outcome import Held, Outcome, Rejected, Routed, Suppressed, Unknown
from protocols.payload import DeliveryReport, Notice, Pull

SOURCE = "/msgcenter"

#: Status after a record -> word of the event, where it is news to the caller.
NEWS: dict[str, str] = {
    "sent": "sent",
    "unknown": "unknown",
    "undelivered": "undelivered",
    "delivered": "delivered",
    "read": "read",
    "held": "held",
    "rejected": "rejected",
    "suppressed": "suppressed",
    "expired": "suppressed",
    "cancelled": "suppressed",
}
_OF_RECEIPTS = frozenset({"undelivered", "delivered", "read"})
WORDS = frozenset({*NEWS.values(), "received"})


def event_type(word: str) -> str:
    """The CloudEvents type of a word of `WORDS`."""
    return f"msgcenter.message.{word}.v1"


def _event_id(message: str, step: int, word: str, attempt: int = 0) -> str:
    return f"evt_{hashed(message, step, word, attempt if word == 'held' else 0, 'event')}"


def _rfc3339(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")


def _detail(outcome: Outcome) -> str:
    return outcome.detail if isinstance(outcome, Suppressed | Rejected | Unknown | Held) else ""


def _received(record: Record) -> Event:
    envelope = record.envelope
    sender = str(envelope.sender or "")
    data: dict[str, Any] = {
        "message": envelope.id,
        "from": sender,
        "to": str(envelope.to),
        "account": envelope.account,
        "channel": envelope.channel,
        "category": envelope.category,
        "conversation": envelope.order_key,
        "reply_to": envelope.reply_to,
        "received_at": _rfc3339(envelope.created_at),
        "content": content_of(envelope, "full"),
    }
    return Event(
        id=_event_id(envelope.id, 0, "received"),
        caller=envelope.caller,
        type=event_type("received"),
        at=record.at,
        subject=sender or envelope.id,
        message=envelope.id,
        data=data,
    )


def _news(record: Record, word: str, *, caller: str, step: int, attempt: int) -> Event:
    message = record.subject or record.envelope.id
    data: dict[str, Any] = {
        "message": message,
        "reference": record.reference or ("" if record.subject else record.envelope.reference),
        "status": record.status,
        "final": record.final,
        # A pass that only confirms what a receipt has said knows no code of the far end's.
        "code": code_of(record) if record.subject or word not in _OF_RECEIPTS else "",
        "detail": _detail(record.outcome),
        "channel": record.envelope.channel,
        "step": step,
        "attempt": attempt,
    }
    if not record.subject:
        data["category"] = record.envelope.category
        data["campaign"] = record.envelope.campaign
        data["possibly_duplicate"] = record.envelope.possibly_duplicate
    if isinstance(record.outcome, Held):
        data["until"] = _rfc3339(record.outcome.until)
    return Event(
        id=_event_id(message, step, word, attempt),
        caller=caller,
        type=event_type(word),
        at=record.at,
        subject=message,
        message=message,
        data=data,
    )


def event_of(record: Record) -> Event | None:
    """The event a record makes, if it makes one."""
    envelope = record.envelope
    word = NEWS.get(record.status, "")
    if record.subject:
        if not word:
            return None
        return _news(
            record,
            word,
            caller=record.subject_caller,
            step=record.subject_step,
            attempt=record.subject_attempt,
        )
    if isinstance(envelope.payload, DeliveryReport | Notice | Pull):
        return None  # a report nobody is waiting for; an event about an event; a doorbell
    if envelope.inbound:
        return _received(record) if isinstance(record.outcome, Routed) else None
    if not word:
        return None
    return _news(record, word, caller=envelope.caller, step=envelope.step, attempt=envelope.attempt)


def order_of(event: Event, envelope: Envelope) -> str:
    """What an event must stay in order with: its conversation (inbound), else its message."""
    if event.type == event_type("received"):
        return envelope.order_key or envelope.id
    return event.message


def cloud_event(event: Event) -> dict[str, Any]:
    """The event as a CloudEvents 1.0 object, as the event log and callbacks show it."""
    out: dict[str, Any] = {
        "specversion": "1.0",
        "id": event.id,
        "source": SOURCE,
        "type": event.type,
        "time": _rfc3339(event.at),
        "subject": event.subject,
        "data": dict(event.data),
    }
    if not event.subject:
        del out["subject"]
    return out


class EventsSink:
    """Appends to the event log of a Store that the composition root opens and closes."""

    def __init__(self, name: str, store: Store, partitions: int) -> None:
        self.name = name
        self._store = store
        self._partitions = partitions

    async def open(self) -> None:
        """Nothing to get ready."""

    async def write(self, records: Sequence[Record]) -> None:
        """One transaction for all of them. Raises SinkError."""
        batches: dict[int, list[Event]] = {}
        for record in records:
            event = event_of(record)
            if event is not None:
                key = order_of(event, record.envelope)
                batches.setdefault(partition_of(key, self._partitions), []).append(event)
        try:
            await self._store.append_many(batches)
        except StoreError as error:
            raise SinkError(f"{self.name}: {error}") from error

    async def close(self) -> None:
        """Nothing of its own to let go of."""


def make(context: SinkContext) -> EventsSink:
    """Entry point."""
    return EventsSink(context.name, context.store, context.partitions)
