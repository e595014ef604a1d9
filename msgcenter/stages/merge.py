"""merge: what a cap with `on_cap: merge` makes wait for one person is sent as one: the newest stands for all.

Who waits with whom is a list in State; each message is still decided in its own pass alone. While a newer one is on its way, the
older ones do not ask for room; once it has left they end as `merged`, with its id; if it ends without being sent, the next newest
asks. So nothing is given up for a message that never left, and a crash costs no more than another look. What is lost with
State are the lists: then each waits for room of its own, as with `on_cap: hold`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

from msgcenter.pipeline import Item
from msgcenter.policy.caps import Asked, Merge
from msgcenter.state import Listing, Snapshot
from msgcenter.status import PENDING, derive
from protocols.envelope import Decision, Envelope, hashed
from protocols.outcome import Held, Suppressed

MERGED = "merged"
"""Why a message was not sent: another one, named beside it, was sent for it."""
STAGE = "reserve"
KEPT_S = 3 * 86_400.0
"""How much longer than its wait a message stays on the list: as long as State knows what became of it."""
WAIT_TOGETHER = 100
"""Members of one list; of more the oldest are taken off, and go by when they were first held."""
LOOK_MS, LAST_LOOK_MS = 2_000, 600_000
"""After so long at least, and at most, it is looked what became of the newest."""
NAMED = 10
"""Messages named in a decision."""

Fate: TypeAlias = Literal["left", "open", "over"]


class Lists(Protocol):
    """The part of State that is needed here."""

    async def listed(self, names: Sequence[str]) -> list[dict[str, str]]: ...

    async def enlist(self, items: Sequence[Listing]) -> None: ...

    async def get_many(self, messages: Sequence[str]) -> list[Snapshot]: ...


@dataclass(frozen=True, slots=True, order=True)
class Member:
    """One on a list. `since`: when it first came to the cap; `at`: when there is room for it, or when it took some; epoch ms."""

    since: int
    message: str
    at: int = field(compare=False)

    @classmethod
    def read(cls, message: str, note: str) -> Member:
        since, at = note.split(" ")
        return cls(int(since), message, int(at))

    @property
    def note(self) -> str:
        return f"{self.since} {self.at}"


def mergeable(envelope: Envelope) -> bool:
    """Not what others wait for the end of (a step of a plan, a conversation), what was promised by itself (a coupon), or what
    may have left already."""
    return not (
        envelope.leaf
        or envelope.order_key
        or envelope.once_key
        or envelope.possibly_duplicate
        or envelope.token_of >= 0
    )


def lists_of(envelope: Envelope, asked: Asked) -> dict[str, str]:
    """Rule -> list, of the rules that merge: of one person, by one kind, in one category, from one caller and account."""
    if not mergeable(envelope):
        return {}
    rules = {
        rule.name
        for take, origins in zip(asked.takes, asked.origins, strict=True)
        if not take.counted_only
        for rule, _ in origins
        if isinstance(rule.on_cap, Merge)
    }
    if not rules:
        return {}
    alike = (
        envelope.person or str(envelope.recipient),
        envelope.channels[envelope.step],
        envelope.category,
        envelope.caller,
        envelope.account,
    )
    return {rule: f"merge:{hashed(rule, *alike)}" for rule in sorted(rules)}


def fate(snapshot: Snapshot) -> Fate:
    """`left`: sent, or it may have been; `over`: it ended without, or nobody knows of it."""
    status = derive(snapshot)
    if status in PENDING:
        return "open" if snapshot.exists else "over"
    return "left" if status in ("sent", "unknown", "undelivered", "delivered", "read") else "over"


class Merging:
    """One round of `reserve`: those who wait together as State has them, and what is to be written about them."""

    def __init__(self, state: Lists, now: int) -> None:
        self._state = state
        self._now = now
        self._mine: dict[str, dict[str, str]] = {}
        self._lists: dict[str, dict[str, Member]] = {}
        self._fates: dict[str, Fate] = {}
        self._writes: dict[tuple[str, str], Listing] = {}

    async def load(self, pairs: Iterable[tuple[Item, Asked]]) -> None:
        """Two State calls for all of them, none where no rule merges."""
        for item, asked in pairs:
            if lists := lists_of(item.envelope, asked):
                self._mine[item.envelope.id] = lists
        names = sorted({name for lists in self._mine.values() for name in lists.values()})
        if not names:
            return
        for name, notes in zip(names, await self._state.listed(names), strict=True):
            self._lists[name] = {id_: Member.read(id_, note) for id_, note in notes.items()}
        ids = sorted({id_ for members in self._lists.values() for id_ in members})
        if ids:
            snapshots = await self._state.get_many(ids)
            self._fates = {id_: fate(one) for id_, one in zip(ids, snapshots, strict=True)}
            known = {id_ for id_, one in zip(ids, snapshots, strict=True) if one.exists}
            self._tidy(known)

    def _tidy(self, known: Iterable[str]) -> None:
        """Take off what nobody waits with any more."""
        known = frozenset(known)
        for name, members in self._lists.items():
            waiting = [one for one in members.values() if self._fates[one.message] == "open"]
            oldest = min(waiting, default=None)
            for one in sorted(members.values()):
                word = self._fates[one.message]
                stale = word == "left" and (oldest is None or one < oldest)
                if stale or (word == "over" and one.message in known):
                    self._off(name, one.message)
            for one in sorted(waiting)[: max(0, len(waiting) - WAIT_TOGETHER)]:
                self._off(name, one.message)

    def _off(self, name: str, message: str) -> None:
        self._writes[name, message] = Listing(name, message, "", 0.0)

    def settle(self, item: Item) -> str:
        """Decide one that waited with others, as far as they decide it; the rule by which it did, "" = it may ask for room."""
        envelope = item.envelope
        for rule, name in self._mine.get(envelope.id, {}).items():
            members = self._lists[name]
            own = members.get(envelope.id)
            if own is None and envelope.held_since and len(members) >= WAIT_TOGETHER:
                own = Member(envelope.held_since, envelope.id, 0)  # a full list has no place for it
            if own is None:
                continue
            newer = sorted(one for one in members.values() if one > own)
            left = [one for one in newer if self._fates[one.message] == "left"]
            if left:
                self._merged(item, rule, left[0])
                return rule
            coming = [one for one in newer if self._fates[one.message] == "open"]
            if coming:
                self._waits(item, rule, coming[-1])
                return rule
        return ""

    def _merged(self, item: Item, rule: str, into: Member) -> None:
        # It stays on its lists until State knows the end of it: this very pass may come again.
        facts = (("message", into.message),)
        item.decide(
            Suppressed(MERGED, into.message),
            Decision(STAGE, rule, "merged", "a newer one was sent for it", 0, facts),
        )

    def _waits(self, item: Item, rule: str, newest: Member) -> None:
        """Until the newest has had its chance; the longer that is under way already, the later it is looked again."""
        now, envelope = self._now, item.envelope
        under_way = min(max(now - newest.at, LOOK_MS), LAST_LOOK_MS)
        until = max(now + under_way, newest.at + LOOK_MS)
        if envelope.expires_at:
            until = min(until, envelope.expires_at)
        facts = (("message", newest.message),)
        item.decide(
            Held(until, rule, f"behind {newest.message}", envelope.held_since or now),
            Decision(STAGE, rule, "merge", "a newer one goes for both", until, facts),
        )

    def waits(self, envelope: Envelope, until: int) -> None:
        """There is no room for it before `until`."""
        for name in self._mine.get(envelope.id, {}).values():
            own = self._lists[name].get(envelope.id)
            since = own.since if own is not None else self._now
            self._on(name, Member(since, envelope.id, until))

    def stands(self, item: Item) -> None:
        """It has room: it goes for those who wait with it."""
        envelope = item.envelope
        for rule, name in self._mine.get(envelope.id, {}).items():
            members = self._lists[name]
            own = members.get(envelope.id) or Member(self._now, envelope.id, 0)
            older = [
                one.message
                for one in sorted(members.values())
                if one < own and self._fates[one.message] == "open"
            ]
            if older:
                self._on(name, Member(own.since, envelope.id, self._now))
                more = f" and {len(older) - NAMED} more" if len(older) > NAMED else ""
                facts = (("messages", " ".join(older[-NAMED:]) + more),)
                detail = f"goes for {len(older)} that waited"
                item.decisions.append(Decision(STAGE, rule, "stands", detail, 0, facts))
            elif envelope.id in members:
                self._off(name, envelope.id)

    def _on(self, name: str, member: Member) -> None:
        ttl_s = max(0, member.at - self._now) / 1000 + KEPT_S
        self._writes[name, member.message] = Listing(name, member.message, member.note, ttl_s)

    async def write(self) -> None:
        """One State call, before anything is decided for good. Idempotent."""
        if self._writes:
            await self._state.enlist(list(self._writes.values()))
