"""Kind `inbox`: messages to the inbox that a person has on the platform itself, unread until they are read, and to be taken back.

The inbox is the core's (`/v1/inbox`: pages, server-sent events, WebSocket); a console that has an account on this channel hears
of every item by its callback as well. What is in the inbox is delivered; `read` follows when the console says so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from pydantic import Field

from msgcenter.adapter import (
    Adapter,
    Dispatch,
    Malformed,
    Posted,
    Received,
    Rejected,
    Report,
    Sent,
    Spec,
    Strict,
    Unavailable,
    Unknown,
    Unreachable,
)
from protocols.envelope import Envelope
from protocols.jsontext import parse
from protocols.outcome import Outcome
from protocols.payload import (
    Card,
    DeliveryReport,
    Happening,
    Link,
    Markdown,
    Media,
    Native,
    Payload,
    Recall,
    Text,
)

_TYPES: Mapping[type, str] = {
    Text: "text",
    Markdown: "markdown",
    Media: "media",
    Link: "link",
    Card: "card",
    Native: "native",
}


class InboxSettings(Strict):
    """Settings of kind `inbox`."""

    most_unread: int = Field(default=10_000, ge=1)
    """Unread items of one person; what is over is refused (reason inbox_full)."""


class Inbox(Adapter):
    """Reaches `staff:`, `gridapp:` and `customer:` addresses. The item's id is the message's, so a repeat is the same item."""

    spec = Spec(
        kind="inbox",
        title="Platform inbox (平台站内信)",
        payloads=frozenset({*_TYPES, Recall}),
        schemes=frozenset({"staff", "gridapp", "customer"}),
        max_batch=100,
        in_flight=4,
        receipts=frozenset({"delivered", "read"}),
        idempotent=True,
        recall=True,
        limits={
            "unread": "most_unread items of one person; what is over is refused (reason inbox_full)",
            "native": "any JSON object, given to the console as it is",
        },
    )
    Settings = InboxSettings
    settings: InboxSettings

    def render(self, envelope: Envelope) -> None:
        if envelope.to.scheme not in self.spec.schemes:
            raise Malformed("an inbox is that of a staff:, gridapp: or customer: address")
        if not isinstance(envelope.payload, Recall):
            _content(envelope.payload)

    async def deliver(self, batch: Sequence[Dispatch]) -> list[Outcome]:
        """Raises Unreachable when the Store does not take them: a repeat is the same item."""
        outcomes: dict[int, Outcome] = {}
        items: dict[int, Posted] = {}
        for index, dispatch in enumerate(batch):
            payload = dispatch.envelope.payload
            if isinstance(payload, Recall):
                outcomes[index] = await self._withdraw(dispatch, payload)
                continue
            try:
                items[index] = _posted(dispatch.envelope)
            except Malformed as error:
                outcomes[index] = Rejected("message", str(error), "malformed")
        try:
            fits = await self.port.post(list(items.values()), self.settings.most_unread)
        except Exception as error:
            raise Unreachable(f"inbox: {type(error).__name__}") from error
        told = []
        for (index, item), fit in zip(items.items(), fits, strict=True):
            if fit:
                outcomes[index] = Sent((item.id,))
                told += self._news(item, "inbox_posted")
                told.append(Report(DeliveryReport(item.id, "delivered"), item.owner))
            else:
                full = f"{self.settings.most_unread} items are unread"
                outcomes[index] = Rejected("recipient", full, "inbox_full")
        try:
            if told:
                await self.port.emit(told)
        except (
            Unavailable
        ) as error:  # they are there, but the news of it is not: again, as a repeat
            for index, outcome in outcomes.items():
                if index in items and isinstance(outcome, Sent):
                    lost = f"inbox: put in, not told of: {type(error).__name__}"
                    outcomes[index] = Unknown(lost, outcome.remote_ids)
        return [outcomes[index] for index in range(len(batch))]

    async def _withdraw(self, dispatch: Dispatch, recall: Recall) -> Outcome:
        try:
            gone = await self.port.unpost(recall.remote_ids)
        except Exception as error:
            raise Unreachable(f"inbox: {type(error).__name__}") from error
        if not gone:
            return Rejected("message", "no such item is in the inbox", "not_in_inbox")
        item = Posted(recall.remote_ids[0], dispatch.envelope.to, {})
        try:
            await self.port.emit(self._news(item, "inbox_withdrawn"))
        except Unavailable as error:  # withdrawn all the same; a repeat tells it
            return Unknown(f"inbox: withdrawn, not told of: {type(error).__name__}")
        return Sent()

    def _news(self, item: Posted, kind: str) -> list[Received | Report]:
        """For the console's callback, where the channel has an account that belongs to it."""
        body = json.dumps(
            {"id": item.id, "owner": str(item.owner), "content": dict(item.content)},
            ensure_ascii=False,
        )
        now = self.port.clock.now_ms()
        return [
            Received(item.owner, account.address, Happening(kind, body), f"{kind}:{item.id}", now)
            for account in self.port.accounts()[:1]
        ]


def _posted(envelope: Envelope) -> Posted:
    return Posted(
        envelope.id,
        envelope.to,
        _content(envelope.payload),
        envelope.caller,
        envelope.category,
        envelope.reference,
    )


def _content(payload: Payload) -> dict[str, Any]:
    """JSON as `/v1/messages` shows it. Raises Malformed."""
    name = _TYPES.get(type(payload))
    if name is None:
        raise Malformed(f"an inbox holds {', '.join(_TYPES.values())}")
    if isinstance(payload, Native):
        return {"type": name, "kind": payload.kind, "body": parse(payload.body.encode())}
    return {"type": name, **{key: value for key, value in asdict(payload).items() if value}}


__all__ = ["Inbox", "InboxSettings"]
