"""Payload: what a message says or asks for; a closed union, so that every adapter can be exhaustive about it.

Documents (Text, Media, Link, Template, …), commands (CreateGroup, UpdateGroup, DissolveGroup, Recall, Pull), events that travel to
subscribers (Notice), what the far end tells (DeliveryReport, Happening), and what moves a plan (Plan, Advance, Signal).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from protocols.address import Address

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
class Template:
    """Words that the core keeps: the template's `name`, the `version` asked for (0 = the one valid when it is sent), and its
    `variables`, a JSON object. The core puts the words in before an adapter sees the message; not a carrier's own template."""

    name: str
    version: int = 0
    variables: str = "{}"

    @property
    def reference(self) -> str:
        """`bill-due@2`, or `bill-due` where no version is asked for."""
        return f"{self.name}@{self.version}" if self.version else self.name


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


@dataclass(frozen=True, slots=True)
class Leaf:
    """One step of a plan: one message on one channel kind. What is empty or None is the plan's own."""

    kind: str
    payload: Payload
    account: str = ""
    to: Address | None = None
    wait_ms: int = 0
    """How long its success is waited for before the plan goes on; 0 = as long as the plan runs."""
    success: str = "accepted"
    """`accepted`, `delivered`, `read`, `replied`, `clicked` or `signal:<name>`."""
    cost: int = 0


@dataclass(frozen=True, slots=True)
class Group:
    """`need` of the members must succeed; that many run at a time, the next one starts when one has come to nothing.

    `members` in order: a number above 0 is a leaf (from 1), one below is a group (-1 is `groups[1]`). So `first_success` and
    `wait_then_next` need 1, `all_of` needs all, and `any: n` needs n.
    """

    need: int
    members: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """How one request is tried over several channels. Leaf n runs as step n of the message; step 0 is the plan itself."""

    leaves: tuple[Leaf, ...]
    groups: tuple[Group, ...]
    """`groups[0]` is the whole."""
    cost_limit: int = 0
    """The costs of what may have reached the customer never add up to more; 0 = no limit."""
    stop_on: tuple[str, ...] = ()
    """Words of signals (`replied`, `clicked`, `signal:<name>`) that end the plan."""


#: What a plan hears: that it may begin, what became of a leaf, a receipt, the end of a wait (leaf 0: of the plan), a signal,
#: that it is called off, and what State said to a stop.
NewsKind: TypeAlias = Literal["begin", "outcome", "receipt", "timer", "signal", "cancel", "halted"]
NEWS_KINDS: frozenset[str] = frozenset(
    {"begin", "outcome", "receipt", "timer", "signal", "cancel", "halted"}
)


@dataclass(frozen=True, slots=True)
class Advance:
    """News for the plan of message `plan`; the envelope's id follows from what caused it."""

    plan: str
    news: NewsKind
    leaf: int = 0
    word: str = ""
    """Of an outcome: `sent`, `unknown` (it may have left) or `failed` (it did not). Of a receipt: the evidence. Of a signal:
    its word."""
    code: str = ""
    at: int = 0
    """When it happened; epoch milliseconds."""


@dataclass(frozen=True, slots=True)
class Signal:
    """Something happened outside: the plans that wait for `word` and are listed under one of `names` hear of it."""

    word: str
    names: tuple[str, ...]
    data: str = ""
    """JSON, kept with the trace."""


#: Content that a caller may send.
CONTENT: tuple[type, ...] = (Text, Media, Link, MiniProgram, Card, Markdown, Native, Template)

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
    | Template
    | Happening
    | CreateGroup
    | UpdateGroup
    | DissolveGroup
    | Recall
    | Pull
    | Plan
    | Advance
    | Signal
)
