"""Store: what must outlive the bus and can be asked questions: due rows, parked keys, readable
history, event log, dead letters, keys.

One class, `msgcenter.store.store.Store(url, clock)`, on SQLAlchemy Core: SQLite (embedded) and
PostgreSQL (production) under one contract suite (tests/contract/test_store.py). Every write takes a
batch, is one transaction and may be repeated: rows are recognised by the id their maker gave them.
Times are epoch milliseconds UTC, 0 = none. Lists are paged by opaque cursors, stable while rows are
added. All methods raise `StoreError` when the far side is away.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from msgcenter.bus import Lane

T = TypeVar("T")

#: What is kept of a message's content: all of it, with digit runs masked, or only its length and
#: hash.
ContentMode: TypeAlias = Literal["full", "masked", "none"]
#: What to keep of the content of a message of this category.
ContentPolicy: TypeAlias = Callable[[str], ContentMode]


class StoreError(Exception):
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
    status: str
    code: str
    final: bool
    created_at: int
    updated_at: int
    content: Mapping[str, Any]


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
    """`cursor`: partition -> last position read; give it to the next `read_events`."""

    items: tuple[Logged, ...]
    cursor: Mapping[int, int]


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
class AuditRow:
    """Who did what to what, when. `seq`: given by the store."""

    seq: int
    at: int
    who: str
    what: str
    target: str
    detail: Mapping[str, Any] = field(default_factory=dict)
