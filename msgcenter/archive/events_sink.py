"""The event log as a sink: what of a record its caller wants to know, as CloudEvents-like events,
once each.

| record | event `msgcenter.message.<word>.v1` |
|---|---|
| the status is now sent, unknown, undelivered, delivered, read, held, rejected, suppressed | that word |
| the status is now expired or cancelled | suppressed (the code says which) |
| a group command was sent | `msgcenter.group.` created, updated or dissolved `.v1`, with the far end's id of the group |
| a group command was refused, or its outcome is unknown | `msgcenter.group.` failed or uncertain `.v1` |
| an inbound message was passed on (Routed) | received, with its content; direction `staff`: the account's human wrote it |
| an event about a group, made by the API, was passed on | `msgcenter.group.` dissolve_asked or dissolving `.v1`, as it is |
| an event about a caller, made by `msgcenter.callers`, was passed on | `msgcenter.caller.share_exceeded.v1`, as it is |
| a recall was carried out, or could not be | recalled, recall_failed |
| a plan was closed | `msgcenter.plan.` reached, unreached (also: its time was over) or stopped `.v1`; exactly one |
| anything else: pending statuses, a step that failed while the plan goes on | none |

Both a pass of our own and a receipt can bring the news. The id is made of message, step and word (and
attempt, for held: a message may be held again), so that two parts with the same receipt, a pass that
only confirms what a receipt has said, or a record that comes twice make no second event. An inbound
message that nobody is assigned to has caller "", which only readers of everything see. Events of one
outbound message share a partition, and so do the inbound messages of one conversation: each is read
in order.

Long because it is that whole table in code: one function for each kind of record.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from msgcenter.archive.content import content_of
from msgcenter.archive.sink import SinkContext, SinkError
from msgcenter.bus.topology import partition_of
from msgcenter.groups import UNDONE, is_command, verdict
from msgcenter.plans import Told
from msgcenter.store import Event, StoreError
from msgcenter.store.rows import code_of, direction_of
from msgcenter.store.store import Store
from protocols.envelope import Envelope, Record, hashed
from protocols.outcome import Held, Outcome, Rejected, Routed, Sent, Suppressed, Unknown
from protocols.payload import (
    Advance,
    CreateGroup,
    DeliveryReport,
    DissolveGroup,
    Notice,
    Plan,
    Pull,
    Recall,
    Signal,
    UpdateGroup,
)

SOURCE = "/msgcenter"
SHARE_EXCEEDED = "msgcenter.caller.share_exceeded.v1"
"""What `msgcenter.callers` tells a caller of."""

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
WORDS = frozenset({*NEWS.values(), "received", "recalled", "recall_failed"})

#: What a sent command did, and what else may be said of one.
_DONE: dict[type, str] = {
    CreateGroup: "created",
    UpdateGroup: "updated",
    DissolveGroup: "dissolved",
}
_NOT_DONE: dict[str, str] = {"lost": "uncertain", "refused": "failed"}
GROUP_WORDS = frozenset({*_DONE.values(), *_NOT_DONE.values(), "dissolve_asked", "dissolving"})


#: How a plan ended -> what is told of it.
_ENDS: dict[str, str] = {
    "reached": "reached",
    "unreached": "unreached",
    "expired": "unreached",
    "stopped": "stopped",
    "cancelled": "stopped",
}
PLAN_WORDS = frozenset(_ENDS.values())


def plan_type(word: str) -> str:
    """The CloudEvents type of a word of `PLAN_WORDS`."""
    return f"msgcenter.plan.{word}.v1"


def event_type(word: str) -> str:
    """The CloudEvents type of a word of `WORDS`."""
    return f"msgcenter.message.{word}.v1"


def group_type(word: str) -> str:
    """The CloudEvents type of a word of `GROUP_WORDS`."""
    return f"msgcenter.group.{word}.v1"


def _event_id(message: str, step: int, word: str, attempt: int = 0) -> str:
    return f"evt_{hashed(message, step, word, attempt if word == 'held' else 0, 'event')}"


def rfc3339(ms: int) -> str:
    return (
        datetime.fromtimestamp(ms / 1000, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )


def _detail(outcome: Outcome) -> str:
    return outcome.detail if isinstance(outcome, Suppressed | Rejected | Unknown | Held) else ""


def _received(record: Record) -> Event:
    envelope = record.envelope
    sender = str(envelope.sender or "")
    data: dict[str, Any] = {
        "message": envelope.id,
        "from": sender,
        "to": str(envelope.to),
        "direction": direction_of(envelope),
        "account": envelope.account,
        "channel": envelope.channel,
        "category": envelope.category,
        "conversation": envelope.order_key,
        **({"chat": envelope.chat, "mentions": envelope.mentions} if envelope.chat else {}),
        "reply_to": envelope.reply_to,
        "received_at": rfc3339(envelope.created_at),
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
        data["until"] = rfc3339(record.outcome.until)
    return Event(
        id=_event_id(message, step, word, attempt),
        caller=caller,
        type=event_type(word),
        at=record.at,
        subject=message,
        message=message,
        data=data,
    )


def _of_group(record: Record) -> Event | None:
    """What became of a group command; that one waits, or was taken back, is no news."""
    envelope, outcome = record.envelope, record.outcome
    done = _DONE[type(envelope.payload)]
    said = verdict(record)
    word = done if said == "done" else _NOT_DONE.get(said, "")
    code = code_of(record)
    if not word or code == UNDONE:
        return None
    group = envelope.to.value
    data: dict[str, Any] = {
        "group": group,
        "command": done,
        "message": envelope.id,
        "reference": envelope.reference,
        "account": envelope.account,
        "channel": envelope.channel,
        "code": "" if word == done else code,
        "detail": _detail(outcome),
    }
    if isinstance(outcome, Sent) and outcome.remote_ids and done == "created":
        data["chat"] = outcome.remote_ids[0]
    return Event(
        id=_event_id(envelope.id, envelope.step, word),
        caller=envelope.caller,
        type=group_type(word),
        at=record.at,
        subject=group,
        message=envelope.id,
        data=data,
    )


def is_told(envelope: Envelope) -> bool:
    """Whether it is an event about a group or a caller, on its way here and not yet, by a channel, to a subscriber."""
    return isinstance(envelope.payload, Notice) and (
        envelope.to.scheme == "group" or (envelope.to.scheme == "caller" and not envelope.channel)
    )


def _told(record: Record, payload: Notice) -> Event | None:
    """The event as whoever published it made it."""
    if not isinstance(record.outcome, Sent):
        return None
    envelope = record.envelope
    document = json.loads(payload.body)
    return Event(
        id=payload.event_id,
        caller=envelope.caller,
        type=payload.type,
        at=envelope.created_at,
        subject=document["subject"],
        message=document["data"].get("message", ""),
        data=document["data"],
    )


def _of_recall(record: Record, payload: Recall) -> Event | None:
    """Whether a message could be taken back."""
    if not isinstance(record.outcome, Sent | Rejected | Suppressed | Unknown):
        return None
    word = "recalled" if isinstance(record.outcome, Sent) else "recall_failed"
    return Event(
        id=_event_id(record.envelope.id, record.envelope.step, word),
        caller=record.envelope.caller,
        type=event_type(word),
        at=record.at,
        subject=payload.message,
        message=payload.message,
        data={
            "message": payload.message,
            "reference": record.reference,
            "recall": record.envelope.id,
            "channel": record.envelope.channel,
            "code": code_of(record),
            "detail": _detail(record.outcome),
        },
    )


def _of_plan(record: Record, message: str) -> Event | None:
    """How a plan ended. The id follows from the message alone: one event, whoever closes it."""
    said = Told.read(record.outcome.to) if isinstance(record.outcome, Routed) else Told()
    if not said.result:
        return None
    return Event(
        id=_event_id(message, 0, "plan"),
        caller=record.subject_caller,
        type=plan_type(_ENDS[said.result]),
        at=record.at,
        subject=message,
        message=message,
        data={
            "message": message,
            "reference": record.reference,
            "result": said.result,
            "status": said.status,
            "overlap": any(("overlap", "true") in d.facts for d in record.decisions),
        },
    )


def event_of(record: Record) -> Event | None:
    """The event a record makes, if it makes one."""
    envelope = record.envelope
    word = NEWS.get(record.status, "")
    if isinstance(envelope.payload, Advance | Plan):
        plan = _of_plan(record, record.subject or envelope.id)
        if plan is not None or isinstance(envelope.payload, Advance):
            return plan
    if isinstance(envelope.payload, Recall):
        return _of_recall(record, envelope.payload)
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
    if isinstance(envelope.payload, Notice) and is_told(envelope):
        return _told(record, envelope.payload)
    if isinstance(envelope.payload, DeliveryReport | Notice | Pull | Signal):
        return None  # a report nobody is waiting for; an event about an event; a doorbell
    if envelope.inbound:
        return _received(record) if isinstance(record.outcome, Routed) else None
    if is_command(envelope.payload):
        return _of_group(record)
    if not word:
        return None
    return _news(record, word, caller=envelope.caller, step=envelope.step, attempt=envelope.attempt)


def order_of(event: Event, envelope: Envelope) -> str:
    """What an event must stay in order with: its conversation (inbound), its group, else its message."""
    if event.type == event_type("received"):
        return envelope.order_key or envelope.id
    if is_command(envelope.payload) or is_told(envelope):
        return envelope.order_key
    return event.message


def cloud_event(event: Event) -> dict[str, Any]:
    """The event as a CloudEvents 1.0 object, as the event log and callbacks show it."""
    out: dict[str, Any] = {
        "specversion": "1.0",
        "id": event.id,
        "source": SOURCE,
        "type": event.type,
        "time": rfc3339(event.at),
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
