"""Reconcile: for one day and each account, what the platform's archive kept against what was relayed, with a reason for each difference.

The equation, per account: archived = relayed and archived + missing; relayed = relayed and archived + exceptions, each of which has
a stated reason: no archive licence, no consent of the customer, too young to be archived yet. What is left over is unexplained,
and is named with the conversation; what is missing, with its id in the archive.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

from msgcenter.adapter import UNREAD, unread_key
from msgcenter.clock import Clock
from msgcenter.store import Alone, Coverage, Missing
from protocols.envelope import hashed
from protocols.payload import Pull

ZONE = ZoneInfo("Asia/Shanghai")
YOUNG_MS = 10 * 60_000
"""How long the platform may take until a message is in its archive."""
ASKED = 100
"""Conversations in one such question."""
PATIENCE_S = 20.0
REASONS = ("no_licence", "no_consent", "too_young", "unexplained")


class Books(Protocol):
    """The part of the Store that counts."""

    async def coverage(
        self, archives: Sequence[str], from_ms: int, to_ms: int
    ) -> list[Coverage]: ...

    async def missing(self, archives: Sequence[str], from_ms: int, to_ms: int) -> list[Missing]: ...

    async def alone(self, archives: Sequence[str], from_ms: int, to_ms: int) -> list[Alone]: ...

    async def relayed(self, from_ms: int, to_ms: int) -> dict[str, dict[str, int]]: ...


@dataclass(frozen=True, slots=True)
class Ask:
    """How archive channels are asked. `ring(channel, pull)`; `answers(channel, keys)` reads what it remembered."""

    ring: Callable[[str, Pull], Awaitable[None]]
    answers: Callable[[str, Sequence[str]], Awaitable[list[bytes | None]]]


@dataclass(slots=True)
class Line:
    """One account's day. `archived`: in the platform's archive (None: no archive reads it); `missing` of them were not relayed,
    `filled` were relayed from the archive alone, `own` are copies of what we sent. `relayed`: by direction. `exceptions`:
    relayed and not in the archive, by reason."""

    account: str
    archived: int | None = None
    missing: int = 0
    filled: int = 0
    own: int = 0
    relayed: Mapping[str, int] = field(default_factory=dict)
    not_relayed: list[Missing] = field(default_factory=list)
    """The first of `missing`, one by one."""
    exceptions: Counter[str] = field(default_factory=Counter)
    unexplained: list[tuple[str, int]] = field(default_factory=list)
    """(person, messages)."""

    @property
    def balanced(self) -> bool:
        return not self.missing and not self.exceptions["unexplained"]


def bounds(day: date, zone: ZoneInfo = ZONE) -> tuple[int, int]:
    """[from, to) of a business day, epoch milliseconds."""
    start = datetime(day.year, day.month, day.day, tzinfo=zone)
    end = start + timedelta(days=1)
    return round(start.timestamp() * 1000), round(end.timestamp() * 1000)


async def reconcile(
    day: date,
    books: Books,
    *,
    archives: Mapping[str, str],
    far_names: Mapping[str, str],
    homes: Mapping[str, str],
    ask: Ask,
    clock: Clock,
) -> list[Line]:
    """One line for each account that has messages of that day, by name.

    `archives`: archive channel -> the channel whose accounts it reads. `far_names`, `homes`: account -> its name at the far end,
    its channel. Raises StoreError, StateError.
    """
    from_ms, to_ms = bounds(day)
    lines: dict[str, Line] = {}
    read_by = {home: archive for archive, home in archives.items()}

    def line(account: str) -> Line:
        if account not in lines:
            lines[account] = Line(account)
            if homes.get(account) in read_by:
                lines[account].archived = 0
        return lines[account]

    for account, counts in (await books.relayed(from_ms, to_ms)).items():
        line(account).relayed = counts
    names = list(archives)
    for kept in await books.coverage(names, from_ms, to_ms):
        at = line(kept.account)
        at.archived = kept.read
        at.missing = kept.read - kept.relayed
        at.filled, at.own = kept.first, kept.copies
    if any(one.missing for one in lines.values()):
        for lost in await books.missing(names, from_ms, to_ms):
            line(lost.account).not_relayed.append(lost)
    alone = [
        one for one in await books.alone(names, from_ms, to_ms) if homes.get(one.account) in read_by
    ]
    reasons = await _reasons(
        alone, far_names, {a: read_by[h] for a, h in homes.items() if h in read_by}, ask, clock
    )
    for one, said in zip(alone, reasons, strict=True):
        reason = said
        if not reason:
            young = one.last_at > clock.now_ms() - YOUNG_MS
            reason = "too_young" if young else "unexplained"
        at = line(one.account)
        at.exceptions[reason] += one.messages
        if reason == "unexplained":
            at.unexplained.append((one.person, one.messages))
    return [lines[name] for name in sorted(lines)]


async def _reasons(
    alone: Sequence[Alone],
    far_names: Mapping[str, str],
    archive_of: Mapping[str, str],
    ask: Ask,
    clock: Clock,
) -> list[str]:
    """What the archive channels say of each conversation, "" = nothing; those that do not answer in time say nothing."""
    asked: dict[str, list[tuple[str, str]]] = {}
    for one in alone:
        pair = (far_names.get(one.account, one.account), one.person)
        asked.setdefault(archive_of[one.account], []).append(pair)
    said: dict[tuple[str, str, str], str] = {}
    for channel, pairs in asked.items():
        for start in range(0, len(pairs), ASKED):
            token = json.dumps(pairs[start : start + ASKED], ensure_ascii=False)
            # A source each: doorbells of one source that wait together are answered once.
            await ask.ring(channel, Pull(f"{UNREAD}:{hashed(token)[:13]}", token))
    give_up = clock.monotonic() + PATIENCE_S
    for channel, pairs in asked.items():
        left = list(pairs)
        while left:
            answers = await ask.answers(channel, [unread_key(*pair) for pair in left])
            for pair, answer in zip(left, answers, strict=True):
                if answer is not None:
                    said[channel, *pair] = answer.decode()
            left = [pair for pair, answer in zip(left, answers, strict=True) if answer is None]
            if left and clock.monotonic() > give_up:
                break
            if left:
                await clock.sleep(0.2)
    return [
        said.get((archive_of[one.account], far_names.get(one.account, one.account), one.person), "")
        for one in alone
    ]
