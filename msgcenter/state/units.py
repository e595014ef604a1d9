"""Units: what a cap counts, as the State verbs take and give it: counters, windows, reservations, and what was refused.

A *counter* holds send times (with units) of one thing: one person, one account. A *window* asks it "how many lately". A
*reservation* holds units of several counters for one pass of a message: **open** until `admit` confirms it with the send
time, then **spent**. Open units count in every window. Nothing is ever over a limit, because a window is only asked together
with taking, in one step per shard, and an open unit never becomes younger than it was counted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Per: TypeAlias = Literal["message", "step", "attempt"]
"""How often a message pays: once whatever it does (a coupon), once a step of its plan, or once an attempt."""
PERS: tuple[Per, ...] = ("message", "step", "attempt")
NEVER = 0
"""The `next_ms` of what no waiting helps."""


@dataclass(frozen=True, slots=True)
class Counter:
    """`series`: what is counted how (`person`, `person_channel?category=care`); `of`: of whom. `keep_ms`: how far back it must
    remember, the longest window that anybody asks of the series. `home`: whose shard it lies in (the person); "" = its own.
    """

    series: str
    of: str
    keep_ms: int
    home: str = ""
    name: str = field(init=False)
    """What it is kept under; made once, for it is asked often."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", f"{self.series}\x1f{self.of}")


@dataclass(frozen=True, slots=True)
class Window:
    """At most `limit` units within: any `span_ms` (`rolling`); the calendar period that the server's time lies in
    (`calendar`; `edges`: starts of the previous, this, the next and the one after next, epoch milliseconds); `gap`: no other
    send, however many units it had, within `span_ms`.

    `must_know`: refuse also while State does not know the whole window (its memory was lost, the rule is new).
    Raises ValueError for a window that means nothing.
    """

    kind: Literal["rolling", "calendar", "gap"]
    limit: int
    span_ms: int = 0
    edges: tuple[int, int, int, int] = (0, 0, 0, 0)
    must_know: bool = False

    def __post_init__(self) -> None:
        if self.limit < 0:
            raise ValueError(f"window: the limit {self.limit} is below 0")
        if self.kind == "calendar":
            if not self.edges[0] < self.edges[1] < self.edges[2] < self.edges[3]:
                raise ValueError(f"window: the edges {self.edges} do not ascend")
        elif self.span_ms < 1:
            raise ValueError(f"window: the span {self.span_ms} ms is not above 0")
        elif self.kind == "gap" and self.limit != 1:
            raise ValueError("window: a gap has the limit 1")


@dataclass(frozen=True, slots=True)
class Take:
    """`units` of one counter, if all its windows have room; `counted_only`: counted whether they have or not."""

    counter: Counter
    windows: tuple[Window, ...]
    units: int = 1
    per: Per = "step"
    counted_only: bool = False


@dataclass(frozen=True, slots=True)
class Reserve:
    """All takes for one pass, or none. `id`: the message, or the plan whose steps share what they pay (an id of the same
    shard). `open_s`: so long it stands without being confirmed, then it is as released: `admit` finds that out in the very
    step that claims, so no claim ever sends on a reservation that is over. It starts anew
    with every reopening; `Retention.message_s` bounds it."""

    id: str
    step: int
    attempt: int
    takes: tuple[Take, ...]
    open_s: float = 3600.0


@dataclass(frozen=True, slots=True)
class Use:
    """What a window says. `used` units, `open` of them not yet sent. `next_ms`: when `units` more have room if nothing else
    comes (what is open taken as sent now): the server's now when they have, `NEVER` when no waiting helps.

    `why`: "" = has room, `limit`, or `history` (there may be sends that State does not know of: `must_know`)."""

    used: int
    open: int
    limit: int
    next_ms: int
    why: Literal["", "limit", "history"] = ""


@dataclass(frozen=True, slots=True)
class Denied:
    """A window without room: position of its take in the Reserve and of the window in the take."""

    take: int
    window: int
    use: Use


@dataclass(frozen=True, slots=True)
class Reserved:
    """`ticket`, opaque and short: hand it to Admit, Conclude and release. Denied: nothing was taken, and no ticket."""

    ticket: str
    denied: tuple[Denied, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.denied


@dataclass(frozen=True, slots=True)
class Usage:
    """One counter read: a Use per window; `since_ms`: from when on State knows all its sends (0 = always)."""

    uses: tuple[Use, ...]
    since_ms: int


@dataclass(frozen=True, slots=True)
class Backfill:
    """The sends of a counter from `since_ms` until State began to count it: (id, epoch milliseconds, units). An id (message
    and step) counts once. The list must be whole: it replaces what an earlier backfill said of that time."""

    counter: Counter
    since_ms: int
    sends: tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, slots=True)
class Unite:
    """`into` counts what the others have sent, too: their persons are one. Each send once, however often and by whatever way it
    is told. Open units stay where they are: who unites sees to it that nothing leaves on them."""

    into: Counter
    of: tuple[Counter, ...]


Unspent: TypeAlias = Literal["", "open", "refunded"]
"""What a concluded pass does with its units: "" leaves them (sent, unknown, only routed on); `open`: surely not sent, the
next attempt follows without a new reserve (a short retry); `refunded`: surely not sent, and given back."""


def checked(items: Iterable[Reserve]) -> None:
    """Raises ValueError for a reservation that cannot be kept: a counter twice, or remembered shorter than it is asked."""
    for item in items:
        names = {take.counter.name for take in item.takes}
        if len(names) < len(item.takes):
            raise ValueError(
                f"{item.id}: a counter is taken twice: give it one take with all windows"
            )
        if "@" in item.id or not item.id:
            raise ValueError(f"reservation id {item.id!r}: give the message's or the plan's id")
        if item.open_s <= 0:
            raise ValueError(f"{item.id}: open_s {item.open_s} must be above 0")
        for take in item.takes:
            checked_take(take)


def checked_take(take: Take) -> None:
    """Raises ValueError as `checked` does."""
    if take.units < 1:
        raise ValueError(f"{take.counter.series}: {take.units} units, must be at least 1")
    for window in take.windows:
        span = window.span_ms or window.edges[2] - window.edges[1]
        if span > take.counter.keep_ms:
            raise ValueError(
                f"{take.counter.series}: keep_ms {take.counter.keep_ms} is shorter than a window of {span} ms"
            )


def ticket(id_: str, shards: Iterable[int]) -> str:
    """What a reservation is found by; `shards`: those beside the id's own that hold a part of it."""
    away = ".".join(str(shard) for shard in sorted(shards))
    return f"{id_}@{away}" if away else id_


def from_ticket(text: str) -> tuple[str, tuple[int, ...]]:
    """The reverse of `ticket`."""
    id_, _, away = text.partition("@")
    return id_, tuple(int(shard) for shard in away.split(".")) if away else ()
