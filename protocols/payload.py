"""Payload: what a message says or asks for; a closed union, so that every adapter can be exhaustive about it.

Documents (Text, Media, Link, …), commands (CreateGroup, UpdateGroup, DissolveGroup, Recall, Pull), events that travel to
subscribers (Notice), and what the far end tells (DeliveryReport, Happening).
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


MediaKind: TypeAlias = Literal["image", "voice", "video", "file"]
MEDIA_KINDS: frozenset[str] = frozenset({"image", "voice", "video", "file"})


@dataclass(frozen=True, slots=True)
class Media:
    """A file by claim check: `media` is an id of our media store (`med_…`); the channel uploads it where it must."""

    kind: MediaKind
    media: str
    name: str = ""
    title: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class Link:
    """A page with a preview. `picture`: an https URL or a media id."""

    title: str
    url: str
    description: str = ""
    picture: str = ""


@dataclass(frozen=True, slots=True)
class MiniProgram:
    """A mini program card (小程序卡片). `picture`: a media id."""

    appid: str
    page: str
    title: str
    picture: str = ""


@dataclass(frozen=True, slots=True)
class Card:
    """A text card with one button."""

    title: str
    description: str
    url: str
    button: str = ""


@dataclass(frozen=True, slots=True)
class Markdown:
    """Markdown in the far end's own dialect."""

    text: str


@dataclass(frozen=True, slots=True)
class Native:
    """A kind of message that only one far end knows (template card, menu, location …): `body` is its JSON object, checked by
    the adapter's `render` and sent as it is."""

    kind: str
    body: str


@dataclass(frozen=True, slots=True)
class Happening:
    """Inbound: something happened that nobody wrote (customer added, session entered, group changed): `body` is JSON."""

    kind: str
    body: str


@dataclass(frozen=True, slots=True)
class CreateGroup:
    """Make the group `group` (our id, `grp_…`) at the far end; a repeat must find the first, never make a second."""

    group: str
    name: str
    owner: str
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UpdateGroup:
    """Change a group; empty = leave as it is."""

    group: str
    name: str = ""
    owner: str = ""
    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DissolveGroup:
    """End a group; one that is gone already counts as done."""

    group: str


@dataclass(frozen=True, slots=True)
class Recall:
    """Take back a message that was sent as `remote_ids`."""

    message: str
    remote_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pull:
    """A doorbell: fetch what is new at `source` (one of the adapter's own); `token` as the far end gave it."""

    source: str
    token: str = ""


#: Content that a caller may send.
CONTENT: tuple[type, ...] = (Text, Media, Link, MiniProgram, Card, Markdown, Native)

Payload: TypeAlias = (
    Text
    | DeliveryReport
    | Notice
    | Media
    | Link
    | MiniProgram
    | Card
    | Markdown
    | Native
    | Happening
    | CreateGroup
    | UpdateGroup
    | DissolveGroup
    | Recall
    | Pull
)
