"""Payload: what a message says or asks for; a closed union, so that every adapter can be exhaustive about it.

Documents (Text), events that travel to subscribers (Notice), and reports from the far end (DeliveryReport).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

#: What a far end says became of a message part. `enroute` and the like are not reports and are dropped by the adapters.
ReportState: TypeAlias = Literal["delivered", "undelivered", "unknown", "read"]
REPORT_STATES: frozenset[str] = frozenset({"delivered", "undelivered", "unknown", "read"})


@dataclass(frozen=True, slots=True)
class Text:
    """Plain text, at most 64 KB in UTF-8."""

    text: str


@dataclass(frozen=True, slots=True)
class DeliveryReport:
    """A receipt: the far end's word on one part, found again by `remote_id` within the channel it came on."""

    remote_id: str
    state: ReportState
    code: str = ""
    """The far end's own code, as it came (e.g. `DELIVRD`, `MK:0001`)."""
    at: int = 0
    """When the far end says it happened; epoch milliseconds, 0 = not said."""


@dataclass(frozen=True, slots=True)
class Notice:
    """An event on its way to a subscriber: `body` is the finished CloudEvents JSON document (UTF-8 text)."""

    event_id: str
    type: str
    body: str


Payload: TypeAlias = Text | DeliveryReport | Notice
