"""Store: what must outlive the bus and can be asked questions: due rows, parked keys, readable
history, event log, dead letters, keys.

One class, `msgcenter.store.store.Store(url, clock)`, on SQLAlchemy Core: SQLite (embedded) and
PostgreSQL (production) under one contract suite (tests/contract/test_store.py). Every write takes a
batch, is one transaction and may be repeated: rows are recognised by the id their maker gave them.
Times are epoch milliseconds UTC, 0 = none. Lists are paged by opaque cursors, stable while rows are
added. All methods raise `StoreError` when the far side is away.

Long because it is a list of row types and what may be asked of them; no logic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from msgcenter.bus import Lane
from msgcenter.unavailable import Unavailable

T = TypeVar("T")

#: What is kept of a message's content: all of it, with digit runs masked, or only its length and
#: hash.
ContentMode: TypeAlias = Literal["full", "masked", "none"]
#: What to keep of the content of a message of this category.
ContentPolicy: TypeAlias = Callable[[str], ContentMode]


class StoreError(Unavailable):
    """The database did not answer, or not in time; whether the write happened is not known. Safe to
    try again."""


class BadCursor(ValueError):
    """A cursor that this release did not make. The text says what to do."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page; `next_cursor` is empty at the end."""

    items: tuple[T, ...]
    next_cursor: str = ""


# -- due rows and parked keys ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DueRow:
    """An envelope that waits for `at_ms`. `id`: made from the pass that held it, so that a repeat
    is the same row.

    `body`: the sealed envelope (protocols.wire), ready to publish. `rule`: why it waits.
    """

    id: str
    at_ms: int
    body: bytes
    message: str
    caller: str = ""
    rule: str = ""
    lane: Lane = "normal"
    person: str = ""


@dataclass(frozen=True, slots=True)
class DueFilter:
    """Empty = any. `from_ms` inclusive, `to_ms` exclusive, both of the due time."""

    caller: str = ""
    person: str = ""
    rule: str = ""
    lane: str = ""
    message: str = ""
    from_ms: int = 0
    to_ms: int = 0


@dataclass(frozen=True, slots=True)
class PauseRow:
    """An operator's stop of what carries `gate` (`campaign:spring`). `until` 0 = until somebody resumes it. `ended_at` 0 = runs."""

    gate: str
    since: int
    until: int
    by: str
    why: str = ""
    ended_at: int = 0


@dataclass(frozen=True, slots=True)
class Backlog:
    """How many wait and the time of the oldest, None when none waits."""

    count: int
    oldest_ms: int | None


@dataclass(frozen=True, slots=True)
class ParkRow:
    """An envelope put aside, in order, behind the failing head of its `order_key` on `queue` (a bus
    queue's name).

    `wake_at`: when to look again; the first row of a key sets it, later rows of a parked key do not
    move it.
    """

    id: str
    queue: str
    order_key: str
    body: bytes
    message: str
    wake_at: int = 0


@dataclass(frozen=True, slots=True)
class ParkedKey:
    """`count` envelopes of `order_key` wait on `queue` until `wake_at`; the first was parked at
    `since`."""

    queue: str
    order_key: str
    wake_at: int
    since: int
    count: int


Direction = Literal["in", "out", "staff"]
"""Of a message: to us, from us, or written by an account's own human in the far end's own client."""


# -- message store ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MessageFilter:
    """Empty = any. `address` is the other side's: recipient of outbound, sender of inbound. Times:
    of creation."""

    caller: str = ""
    address: str = ""
    person: str = ""
    account: str = ""
    direction: str = ""
    """`out` or `in`."""
    channel: str = ""
    category: str = ""
    campaign: str = ""
    status: str = ""
    order_key: str = ""
    from_ms: int = 0
    to_ms: int = 0


@dataclass(frozen=True, slots=True)
class MessageRow:
    """What is known of a message now. `known` False: only a receipt has been seen yet, the rest is
    empty."""

    id: str
    known: bool
    caller: str
    direction: str
    to: str
    sender: str
    address: str
    person: str
    account: str
    category: str
    tier: int
    channel: str
    campaign: str
    reference: str
    reply_to: str
    order_key: str
    chat: str
    mentions: tuple[str, ...]
    status: str
    code: str
    final: bool
    created_at: int
    updated_at: int
    content: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PastSend:
    """One pass that left, or may have: what caps count. `channel` by name; `at` epoch milliseconds."""

    message: str
    step: int
    attempt: int
    at: int
    person: str
    to: str
    caller: str
    account: str
    category: str
    tier: int
    channel: str
    campaign: str
    once_key: str = ""


@dataclass(frozen=True, slots=True)
class RecordRow:
    """One line of a message's trace. `kind`: the outcome's name in lower case; `code`: its reason;
    `receipt`: from a far end's report on (step, attempt) rather than from a pass of our own."""

    id: str
    message: str
    at: int
    pipeline: str
    step: int
    attempt: int
    kind: str
    code: str
    detail: str
    channel: str
    receipt: bool
    status: str
    final: bool
    until: int
    decisions: tuple[Mapping[str, Any], ...]
    remote_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Traced:
    """A message with its records in the order they happened."""

    message: MessageRow
    records: tuple[RecordRow, ...]


# -- event log -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Event:
    """Something a caller wants to know. `type` like `msgcenter.message.sent.v1`; `data` is a JSON
    object.

    `subject`: who or what it is about (the message id, or the sender of an inbound message).
    """

    id: str
    caller: str
    type: str
    at: int
    subject: str
    message: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Logged:
    """An event at its place in the log: `position` counts from 1 without gaps within its
    partition."""

    partition: int
    position: int
    event: Event


@dataclass(frozen=True, slots=True)
class EventPage:
    """`cursor`: partition -> last position read; give it to the next `read_events`. `missed`: so many events behind the cursor
    that was given are no longer kept, of whatever caller."""

    items: tuple[Logged, ...]
    cursor: Mapping[int, int]
    missed: int = 0


# -- accounts and groups ---------------------------------------------------------------------------

#: What an adapter says of an account: it works, its login is lost, it may do less, it is banned; "" = nothing yet.
Health: TypeAlias = Literal["", "up", "down", "limited", "banned"]


@dataclass(frozen=True, slots=True)
class AccountRow:
    """What is known of an account at run time. `since`: when `health` began. `last_in`, `last_out`: when it last received
    and sent a message. `revoked_at` 0 = it may send."""

    name: str
    channel: str = ""
    health: Health = ""
    detail: str = ""
    since: int = 0
    last_in: int = 0
    last_out: int = 0
    revoked_at: int = 0
    revoked_by: str = ""


GroupState: TypeAlias = Literal[
    "creating", "active", "dissolving", "dissolved", "failed", "uncertain"
]
GROUP_STATES: tuple[GroupState, ...] = (
    "creating",
    "active",
    "dissolving",
    "dissolved",
    "failed",
    "uncertain",
)


@dataclass(frozen=True, slots=True)
class Asked:
    """Who (`caller/key`) asked for a dissolution, when, on which terms, and by whom it was approved where that is needed."""

    by: str
    at: int
    undo_for_s: float
    reason: str = ""
    reference: str = ""
    approved_by: str = ""


@dataclass(frozen=True, slots=True)
class Seal:
    """What the message store held of a group at `at`: how many messages, the times of the first and the last, and the SHA-256
    over the list of (message id, hash of the content), sorted by id; `id` finds the list. `msgcenter.store.seals` makes it."""

    id: str
    at: int
    messages: int
    first_at: int
    last_at: int
    sha256: str


@dataclass(frozen=True, slots=True)
class SealCheck:
    """What has become of what a seal covers. `listed`: the list itself is the one that was sealed. Of its messages, `changed`
    have another content now and `missing` are no longer there; `after` others of the group were stored later."""

    listed: bool
    changed: int
    missing: int
    after: int

    @property
    def intact(self) -> bool:
        return self.listed and not self.changed and not self.missing


@dataclass(frozen=True, slots=True)
class GroupRow:
    """A group as the registry knows it; `msgcenter.groups` says how its state changes.

    `chat`: its id at the far end, unique within the channel, empty until it is known. `code`: the reason of `failed`,
    `uncertain`, or of the last change that was refused. `imported`: read in from the far end, not made by us. `command`:
    the message that makes it, later the one that dissolves it, which can be taken back until `undo_until`. `since`: when
    the state began. `asked`: the dissolution that is wanted or under way; `unapproved_since` it waits for an approval, 0 =
    it does not. `seal`: of its messages, before it was dissolved.
    """

    id: str
    caller: str
    name: str
    owner: str
    members: tuple[str, ...]
    kind: str
    channel: str
    account: str = ""
    chat: str = ""
    state: GroupState = "creating"
    code: str = ""
    imported: bool = False
    command: str = ""
    undo_until: int = 0
    created_at: int = 0
    updated_at: int = 0
    since: int = 0
    asked: Asked | None = None
    unapproved_since: int = 0
    seal: Seal | None = None


@dataclass(frozen=True, slots=True)
class GroupFilter:
    """Empty = any. `or_unowned`: with `caller`, also groups read in for nobody in particular."""

    caller: str = ""
    or_unowned: bool = False
    kind: str = ""
    channel: str = ""
    account: str = ""
    state: str = ""
    chat: str = ""


# -- sightings ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class InboxRow:
    """An item of an inbox. `owner`: the address it belongs to. `position`: of its latest change, given by the Store.

    `content`: JSON as in `/v1/messages`, empty once withdrawn. `read_at`, `withdrawn_at`: epoch milliseconds, 0 = not.
    """

    id: str
    owner: str
    channel: str
    caller: str
    category: str
    at: int
    content: dict[str, Any]
    reference: str = ""
    position: int = 0
    read_at: int = 0
    withdrawn_at: int = 0


ReviewState: TypeAlias = Literal["waiting", "approved", "rejected", "expired"]


SubscriptionState = Literal["active", "paused"]


@dataclass(frozen=True, slots=True)
class SubscriptionRow:
    """Where a caller wants which events. `types`: exact ones, or beginnings that end in `.*`; none = all. `everyone`: of all
    callers. `cursor`: the event log up to where it is handed over, as `encode_positions` writes it. `generation`: grows with each
    replay (epoch milliseconds of its beginning). `secret_version`, `secret_mark`: which signing key, and how to tell that it was
    derived alike; the key itself is not here. Times in epoch milliseconds, 0 = never."""

    id: str
    caller: str
    url: str
    types: list[str]
    generation: int
    cursor: str
    secret_mark: str
    created_at: int
    updated_at: int
    description: str = ""
    everyone: bool = False
    state: SubscriptionState = "active"
    secret_version: int = 1
    rotated_at: int = 0
    handed_at: int = 0


@dataclass(frozen=True, slots=True)
class ReviewRow:
    """One content that somebody must look at. `id` follows from message, step and content. `caller`, `key`: who sent it.
    `found`: (rule, what and where) of each hit. `content`: JSON as in `/v1/messages`, empty once it is over. `by`: the caller and
    key that decided, at `decided_at`. Epoch milliseconds."""

    id: str
    message: str
    step: int
    caller: str
    key: str
    category: str
    rule: str
    found: list[list[str]]
    content: dict[str, Any]
    at: int
    until: int
    campaign: str = ""
    reference: str = ""
    state: ReviewState = "waiting"
    by: str = ""
    decided_at: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ShortLinkRow:
    """A short link of a message: `name` as its content calls it, `url` where it leads until `until`; how often, first and last it
    was opened. Epoch milliseconds, 0 = never."""

    id: str
    message: str
    caller: str
    name: str
    url: str
    at: int
    until: int
    clicks: int = 0
    first_at: int = 0
    last_at: int = 0


@dataclass(frozen=True, slots=True)
class InboxPage:
    """Items, the position to read on from, and how many items of the inbox are unread."""

    items: tuple[InboxRow, ...]
    position: int
    unread: int


@dataclass(frozen=True, slots=True)
class Sighting:
    """A channel read a message (`own` false), or is about to send one that another channel will read (`own`).

    `place`: conversation, direction and likeness; two sightings of one message have it in common. `at`: when it was said.
    `until`: of an own one, the latest time of its copy. `copy`: it is one of an own send. `message`, `step`, `attempt`: the pass
    it belongs to; of the first reading of a message, its own.
    """

    id: str
    place: str
    at: int
    channel: str
    message: str
    own: bool = False
    copy: bool = False
    until: int = 0
    step: int = 0
    attempt: int = 0
    remote_id: str = ""
    account: str = ""
    person: str = ""


@dataclass(frozen=True, slots=True)
class Coverage:
    """What archives read of one account: `read` messages, of which `relayed` are in the message store, `first` of those told by the
    archive alone, and `copies` are of own sends."""

    account: str
    read: int
    relayed: int
    first: int
    copies: int


@dataclass(frozen=True, slots=True)
class Missing:
    """One message that an archive read and the message store has not. `remote_id`: the archive's; `at`: when it was said."""

    account: str
    person: str
    remote_id: str
    at: int


@dataclass(frozen=True, slots=True)
class Alone:
    """Messages of one conversation that no archive read; `last_at`: the time of the latest."""

    account: str
    person: str
    messages: int
    last_at: int


# -- dead letters, invalid frames, keys, audit -----------------------------------------------------


@dataclass(frozen=True, slots=True)
class DeadRow:
    """A message given up on, with its cause. `body`: the sealed envelope, to be replayed.
    `replayed_at` 0 = not yet."""

    id: str
    message: str
    caller: str
    channel: str
    code: str
    detail: str
    at: int
    body: bytes
    replayed_at: int = 0


@dataclass(frozen=True, slots=True)
class DeadFilter:
    """Empty = any; `replayed` None = both."""

    channel: str = ""
    code: str = ""
    message: str = ""
    from_ms: int = 0
    to_ms: int = 0
    replayed: bool | None = None


@dataclass(frozen=True, slots=True)
class InvalidRow:
    """A frame nobody could read. `body`: its first 64 KiB; `size`: of the whole."""

    id: str
    queue: str
    reason: str
    at: int
    body: bytes
    size: int


@dataclass(frozen=True, slots=True)
class ApiKey:
    """`hash`: of the secret, never the secret. `expires_at`, `revoked_at`, `last_used_at`: 0 =
    never."""

    keyid: str
    caller: str
    name: str
    hash: str
    scopes: tuple[str, ...] = ()
    created_at: int = 0
    expires_at: int = 0
    revoked_at: int = 0
    last_used_at: int = 0


@dataclass(frozen=True, slots=True)
class Fate:
    """So many messages have this status for this reason."""

    status: str
    code: str
    count: int


@dataclass(frozen=True, slots=True)
class MediaRow:
    """A file of the media store as `caller` brought it; "" = it came in by a channel. `id` follows from the content, so
    the same file brought by two callers has two rows and one `id`."""

    id: str
    caller: str
    name: str
    mime: str
    size: int
    sha256: str
    created_at: int


@dataclass(frozen=True, slots=True)
class ConfigVersion:
    """One configuration that came into force. `hash`: of its hot files (`Config.rules_hash`). `files`: name -> sha256 of the
    text, "" = absent. `until`: of a break-glass one, when it must have been approved. `number`: given by the Store."""

    hash: str
    at: int
    how: Literal["edit", "approved", "break_glass", "rollback", "expired"]
    files: Mapping[str, str]
    who: str = ""
    reason: str = ""
    until: int = 0
    number: int = 0


@dataclass(frozen=True, slots=True)
class ConfigOrder:
    """What one person ordered about the folder's text with this hash: that it be taken without approval until `until`
    (`break_glass`), or that `version` be in force instead of it (`rollback`)."""

    hash: str
    kind: Literal["break_glass", "rollback"]
    who: str
    reason: str
    at: int
    version: int = 0
    until: int = 0


@dataclass(frozen=True, slots=True)
class AuditRow:
    """Who did what to what, when. `seq`: given by the store."""

    seq: int
    at: int
    who: str
    what: str
    target: str
    detail: Mapping[str, Any] = field(default_factory=dict)
