"""The event log as a sink: what of a record its caller wants to know, as CloudEvents-like events,
once each.

| record | event `msgcenter.message.<word>.v1` |
|---|---|
| own pass: Sent, Unknown, Held | sent, unknown, held |
| own pass: Suppressed, Rejected, when final | suppressed, rejected |
| receipt after which the status is delivered, undelivered, read, unknown | the same word |
| inbound message passed on (Routed) | received, with its content |
| anything else (Routed of submit, Retry, a step that failed while the plan goes on) | none |

The id is made of message, step, attempt and word, so that the receipts of two parts with the same
news, or a record that comes twice, make one event. An inbound message that nobody is assigned to
has caller "", which only readers of everything see. Events of one outbound message share a
partition, and so do the inbound messages of one conversation: each is read in order.
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
from protocols.outcome import Held, Outcome, Rejected, Routed, Sent, Suppressed, Unknown
from protocols.payload import DeliveryReport, Notice

#: Outcome of an own pass -> (word, only when the status is final).
OWN: dict[type[Outcome], tuple[str, bool]] = {
    Sent: ("sent", False),
    Unknown: ("unknown", False),
    Held: ("held", False),
    Suppressed: ("suppressed", True),
    Rejected: ("rejected", True),
}
#: Statuses after a receipt that are news.
RECEIPT = frozenset({"delivered", "undelivered", "read", "unknown"})
WORDS = frozenset({word for word, _ in OWN.values()} | RECEIPT | {"received"})


def event_type(word: str) -> str:
    """The CloudEvents type of a word of `WORDS`."""
    return f"msgcenter.message.{word}.v1"


def _event_id(message: str, step: int, attempt: int, word: str) -> str:
    return f"evt_{hashed(message, step, attempt, word, 'event')}"


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
        id=_event_id(envelope.id, 0, 0, "received"),
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
        "code": code_of(record),
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
        id=_event_id(message, step, attempt, word),
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
    if record.subject:
        if record.status not in RECEIPT:
            return None
        return _news(
            record,
            record.status,
            caller=record.subject_caller,
            step=record.subject_step,
            attempt=record.subject_attempt,
        )
    if isinstance(envelope.payload, DeliveryReport | Notice):
        return None  # a report nobody is waiting for; an event about an event
    if envelope.inbound:
        return _received(record) if isinstance(record.outcome, Routed) else None
    word, only_final = OWN.get(type(record.outcome), ("", False))
    if not word or (only_final and not record.final):
        return None
    return _news(record, word, caller=envelope.caller, step=envelope.step, attempt=envelope.attempt)


def order_of(event: Event, envelope: Envelope) -> str:
    """What an event must stay in order with: its conversation (inbound), else its message."""
    if event.type == event_type("received"):
        return envelope.order_key or envelope.id
    return event.message


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
